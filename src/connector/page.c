/*
 * page.c - reading "list" page by page: the request for a page, its records, and where the next one is.
 *
 * A page is parsed at once (its size is capped by the transport), records are handed over one by one. The way to the next page is a cursor, a
 * URL or a number; a list that comes back to a cursor it had is an error, found in constant memory: one earlier cursor is kept, and replaced after
 * 1, 2, 4, 8 … pages (Brent, "An improved Monte Carlo factorization algorithm", 1980), so that a circle of any length is met.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "connector/condition.h"
#include "connector/csv.h"
#include "connector/document.h"
#include "connector/list.h"
#include "connector/members.h"
#include "connector/message.h"
#include "core/link.h"
#include "core/text.h"
#include "core/url.h"

#define CURSOR_BYTES_MAX ((size_t)64 * 1024)
#define RECORD_BYTES_MAX OND_DOCUMENT_BYTES_MAX
#define MEMBERS_NAMED_MAX 12 /* in an error */
#define MEMBER_BYTES_MAX 40   /* longer names are left out there */

const OndList *ond_connector_list(const OndConnector *c) {
  return c->list;
}

const char *ond_connector_arg(const OndConnector *c, int index) {
  return index >= 0 && index < c->n_args ? c->args[index] : NULL;
}

void ond_paging_init(OndPaging *p, const OndConnector *c, const OndList *list) {
  *p = (OndPaging){.c = c, .list = list, .more = true, .until = 1};
  ond_buf_init(&p->job, CURSOR_BYTES_MAX);
  ond_buf_init(&p->cursor, CURSOR_BYTES_MAX);
  ond_buf_init(&p->url, CURSOR_BYTES_MAX);
  ond_buf_init(&p->seen, CURSOR_BYTES_MAX);
  if (list->next == OND_NEXT_PAGE || list->next == OND_NEXT_OFFSET) {
    char number[24];

    snprintf(number, sizeof(number), "%" PRId64, list->first);
    ond_buf_append_str(&p->cursor, number);
  }
}

void ond_paging_free(OndPaging *p) {
  ond_buf_free(&p->job);
  ond_buf_free(&p->cursor);
  ond_buf_free(&p->url);
  ond_buf_free(&p->seen);
}

static OndBytes bytes_of(const OndBuf *b) {
  return b->len == 0 ? OND_BYTES_NONE : (OndBytes){b->data, b->len};
}

bool ond_paging_render(OndPaging *p, OndListInput *input, OndHttpRequest *out, OndError *err) {
  const OndOperation *o = ond_paging_operation(p);
  OndRenderContext context = {.list = input, .job = bytes_of(&p->job)};
  OndError ignored;

  ond_paging_place(p, input);
  if (!ond_connector_render(p->c, o, NULL, 0, &context, out, NULL, err)) {
    return false;
  }
  if (o->request.absolute && p->url.len == 0) {
    p->foreign = ond_connector_host(p->c, out->url, &ignored) != OND_HOST_OWN;
  } else if (p->pages == 0) {
    p->foreign = false;
  }
  ond_paging_aim(p, out);
  return true;
}

/* ---- records ---- */

typedef struct Page {
  OndPaging *p;
  bool want_parts;
  OndRecordTaker take;
  void *arg;
  int64_t n;
  bool stopped;
  OndBuf json, fields, remote, id, keys[8], last;
  OndError *err;
} Page;

static OndBytes text_of(struct json_object *value, OndBuf *out) {
  ond_buf_reset(out);
  if (!value || !ond_document_text(value, out) || !ond_utf8_valid(out->data, out->len)) {
    return OND_BYTES_NONE;
  }
  return (OndBytes){out->data ? out->data : "", out->len};
}

static OndBytes text_part(struct json_object *record, const OndJsonPtr *pointer, OndBuf *out) {
  struct json_object *value;

  return pointer && ond_document_at(record, pointer, &value) ? text_of(value, out) : OND_BYTES_NONE;
}

static OndBytes member_part(struct json_object *fields, const char *name, OndBuf *out) {
  struct json_object *value;

  return json_object_object_get_ex(fields, name, &value) ? text_of(value, out) : OND_BYTES_NONE;
}

static OndBytes json_part(struct json_object *value, OndBuf *out) {
  ond_buf_reset(out);
  return ond_document_json(value, out) ? (OndBytes){out->data, out->len} : OND_BYTES_NONE;
}

static OndBytes captures(const OndList *l, struct json_object *record, OndBuf *out) {
  ond_buf_reset(out);
  ond_buf_append_char(out, '{');
  for (int i = 0; i < l->n_captures; i++) {
    struct json_object *value;

    if (!ond_document_at(record, &l->captures[i].pointer, &value) || !value) {
      continue;
    }
    if (!((out->len == 1 || ond_buf_append_char(out, ',')) && ond_buf_append_json_string(out, l->captures[i].name, strlen(l->captures[i].name)) &&
          ond_buf_append_char(out, ':') && ond_document_json(value, out))) {
      return OND_BYTES_NONE;
    }
  }
  return out->len > 1 && ond_buf_append_char(out, '}') ? (OndBytes){out->data, out->len} : OND_BYTES_NONE;
}

static void take_parts(Page *page, struct json_object *value, OndRecord *record) {
  const OndList *l = page->p->list;
  struct json_object *fields = value;

  record->id = text_part(value, l->id, &page->id);
  record->remote = l->n_captures > 0 ? captures(l, value, &page->remote) : OND_BYTES_NONE;
  record->fields = !l->fields || ond_document_at(value, l->fields, &fields) ? json_part(fields, &page->fields) : OND_BYTES_NONE;
  record->n_keys = l->key.n;
  for (int i = 0; i < l->key.n && i < 8; i++) {
    int k = l->key.keys ? l->key.keys[i] : i;

    record->keys[k] = text_part(value, &l->key.pointers[i], &page->keys[k]);
  }
  if (l->key.n == 0 && page->p->c->key_field && json_object_is_type(fields, json_type_object)) {
    record->n_keys = 1;
    record->keys[0] = member_part(fields, page->p->c->key_field, &page->keys[0]);
  }
}

/* False: the record cannot be taken. */
static bool take_record(Page *page, struct json_object *value) {
  OndRecord record = {.n_keys = 0};

  page->n++;
  if (page->p->list->skip && ond_condition_holds(page->p->list->skip, value) == OND_HOLDS) {
    return true;
  }
  record.json = json_part(value, &page->json);
  if (!record.json.p || !ond_utf8_valid(record.json.p, record.json.n)) {
    ond_error_set(page->err, "record %" PRId64 " of the list is too large or no valid text", page->p->records + page->n);
    return false;
  }
  if (page->want_parts) {
    take_parts(page, value, &record);
  }
  page->stopped = !page->take(&record, page->arg);
  return true;
}

/* What LAST needs of the last record. */
static void keep_last(Page *page, struct json_object *value) {
  struct json_object *at;

  ond_buf_reset(&page->last);
  if (ond_document_at(value, &page->p->list->next_at, &at) && at) {
    (void)ond_document_json(at, &page->last);
  }
}

static bool fail_read(const Page *page, const char *what) {
  ond_error_set(page->err, "page %" PRId64 " of the list %s", page->p->pages + 1, what);
  return false;
}

/* Names what the answer has instead, never its values. */
static bool fail_rows(const Page *page, struct json_object *document, const char *what) {
  const char *names[MEMBERS_NAMED_MAX + 2] = {NULL};
  char members[(MEMBERS_NAMED_MAX + 1) * (MEMBER_BYTES_MAX + 2)];
  int n = 0;

  (void)fail_read(page, what);
  ond_error_hint(page->err, "\"rows\" of the connector's list says where they are in the answer.");
  if (!json_object_is_type(document, json_type_object) || json_object_object_length(document) == 0) {
    ond_error_detail(page->err, "The answer is %s.", json_object_is_type(document, json_type_object) ? "an empty object" : json_type_to_name(json_object_get_type(document)));
    return false;
  }
  json_object_object_foreach(document, name, value) {
    (void)value;
    if (n == MEMBERS_NAMED_MAX) {
      names[n] = "...";
      break;
    }
    names[n++] = strlen(name) <= MEMBER_BYTES_MAX && ond_utf8_valid(name, strlen(name)) ? name : "...";
  }
  ond_names_join(names, members, sizeof(members));
  ond_error_detail(page->err, "The answer is an object with the members %s.", members);
  return false;
}

static bool read_array(Page *page, struct json_object *document) {
  struct json_object *rows = document;
  size_t n;

  if (page->p->list->rows && !ond_document_at(document, page->p->list->rows, &rows)) {
    return fail_rows(page, document, "has no records where they should be");
  }
  if (rows && !json_object_is_type(rows, json_type_array)) {
    return fail_rows(page, document, "has no list of records");
  }
  n = rows ? json_object_array_length(rows) : 0;
  for (size_t i = 0; i < n && !page->stopped; i++) {
    if (!take_record(page, json_object_array_get_idx(rows, i))) {
      return false;
    }
  }
  if (n > 0 && page->p->list->next == OND_NEXT_LAST) {
    keep_last(page, json_object_array_get_idx(rows, n - 1));
  }
  return true;
}

static bool read_lines(Page *page, const OndHttpResponse *response) {
  const char *p = response->body.data ? response->body.data : "";
  const char *end = p + response->body.len;

  while (p < end && !page->stopped) {
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    OndBytes line = ond_json_trim((OndBytes){p, (size_t)((newline ? newline : end) - p)});
    struct json_object *value;
    const char *problem;
    bool ok;

    p = newline ? newline + 1 : end;
    if (line.n == 0) {
      continue;
    }
    if (!ond_document_parse(line.p, line.n, &value, &problem)) {
      ond_error_set(page->err, "line %" PRId64 " of the list %s", page->p->records + page->n + 1, problem);
      return false;
    }
    ok = take_record(page, value);
    json_object_put(value);
    if (!ok) {
      return false;
    }
  }
  return true;
}

static bool read_csv(Page *page, const OndHttpResponse *response) {
  struct json_object *record;
  OndCsvReader reader;
  bool ok = true;

  if (ond_csv_open(&reader, response->body.data ? response->body.data : "", response->body.len)) {
    while (ok && !page->stopped && ond_csv_next(&reader, &record)) {
      ok = record ? take_record(page, record) : fail_read(page, "has a record that does not fit the line of names");
      if (record && page->p->list->next == OND_NEXT_LAST) {
        keep_last(page, record);
      }
      json_object_put(record);
    }
  } else if (response->body.len > 0) {
    ok = fail_read(page, "is no CSV");
  }
  ond_csv_close(&reader);
  return ok;
}

/* ---- the next page ---- */

/* -1: not told. */
static int64_t number_at(struct json_object *document, const OndJsonPtr *pointer) {
  struct json_object *value;

  if (!ond_document_at(document, pointer, &value) || !json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0) {
    return -1;
  }
  return json_object_get_int64(value);
}

/* Whether the answer says that this was the last page; the rest (no cursor, no URL) shows in next_cursor(). */
static bool says_end(const Page *page, struct json_object *document, const OndPaging *p) {
  const OndList *l = p->list;

  if (l->has_more) {
    return ond_condition_holds(l->has_more, document) != OND_HOLDS;
  }
  if (l->end) {
    return ond_condition_holds(l->end, document) == OND_HOLDS;
  }
  if (l->total && number_at(document, l->total) >= 0) {
    return p->records >= number_at(document, l->total) || page->n == 0;
  }
  if (l->total_pages && number_at(document, l->total_pages) >= 0) {
    return p->pages >= number_at(document, l->total_pages);
  }
  return page->n == 0 && (l->next == OND_NEXT_PAGE || l->next == OND_NEXT_OFFSET || l->next == OND_NEXT_LAST);
}

static void next_number(Page *page) {
  OndPaging *p = page->p;
  const OndList *l = p->list;
  int64_t now = strtoll(p->cursor.data, NULL, 10);
  char number[24];

  snprintf(number, sizeof(number), "%" PRId64, now + (l->step > 0 ? l->step : page->n));
  ond_buf_reset(&p->cursor);
  ond_buf_append_str(&p->cursor, number);
}

/* A cursor of the answer: null, false, "" and what is not there end the list. */
static bool next_cursor(Page *page, struct json_object *document, const OndHttpResponse *response) {
  OndPaging *p = page->p;
  struct json_object *value;

  ond_buf_reset(&p->cursor);
  if (p->list->header) {
    OndBytes text = ond_http_response_header(response, p->list->header);

    p->more = text.p && text.n > 0 && !(text.n == 4 && memcmp(text.p, "null", 4) == 0);
    return !p->more || ond_buf_append_json_string(&p->cursor, text.p, text.n) || fail_read(page, "has a cursor that is too long");
  }
  if (!ond_document_at(document, &p->list->next_at, &value) || !value || json_object_is_type(value, json_type_boolean) ||
      (json_object_is_type(value, json_type_string) && json_object_get_string_len(value) == 0)) {
    p->more = false;
    return true;
  }
  return ond_document_json(value, &p->cursor) || fail_read(page, "has a cursor that is too long");
}

/* "/services/data/query/01-2000": a path stands for the base URL's host. */
static bool absolute(Page *page, OndBytes url) {
  OndPaging *p = page->p;
  OndUrl base;
  OndError ignored;

  ond_buf_reset(&p->url);
  if (url.n > 0 && url.p[0] == '/' && (url.n == 1 || url.p[1] != '/')) {
    if (!ond_url_parse(p->c->base, &base, &ignored) || !ond_buf_append(&p->url, p->c->base, (size_t)(base.path.p - p->c->base))) {
      return fail_read(page, "names a next page that is no URL");
    }
  }
  return ond_buf_append_bytes(&p->url, url) || fail_read(page, "has a next URL that is too long");
}

static bool next_url(Page *page, OndBytes url) {
  OndPaging *p = page->p;
  OndError why;

  if (!url.p || url.n == 0) {
    p->more = false;
    return true;
  }
  if (memchr(url.p, 0, url.n) || !absolute(page, url)) {
    return fail_read(page, "names a next page that is no URL");
  }
  switch (ond_connector_host(p->c, p->url.data, &why)) {
  case OND_HOST_OWN: p->foreign = false; return true;
  case OND_HOST_BARE: p->foreign = true; return true;
  case OND_HOST_FOREIGN: break;
  }
  ond_error_set(page->err, "page %" PRId64 " of the list names a next page at another host: %s", p->pages + 1, why.message);
  ond_error_hint(page->err, "Hosts that pages may be at are listed in \"hosts\" of the connector.");
  return false;
}

static bool find_next(Page *page, struct json_object *document, const OndHttpResponse *response) {
  OndPaging *p = page->p;
  OndBytes target = OND_BYTES_NONE;
  struct json_object *value;

  if (p->list->next == OND_NEXT_NONE || says_end(page, document, p)) {
    p->more = false;
    return true;
  }
  switch (p->list->next) {
  case OND_NEXT_CURSOR: return next_cursor(page, document, response);
  case OND_NEXT_URL:
    if (ond_document_at(document, &p->list->next_at, &value) && json_object_is_type(value, json_type_string)) {
      target = (OndBytes){json_object_get_string(value), (size_t)json_object_get_string_len(value)};
    }
    return next_url(page, target);
  case OND_NEXT_LINK:
    (void)ond_link_find(ond_http_response_header(response, "Link"), p->list->link, &target);
    return next_url(page, target);
  case OND_NEXT_LAST:
    p->more = page->last.len > 0;
    ond_buf_reset(&p->cursor);
    return ond_buf_append_bytes(&p->cursor, bytes_of(&page->last));
  case OND_NEXT_PAGE:
  case OND_NEXT_OFFSET: next_number(page); return true;
  case OND_NEXT_NONE: break;
  }
  return true;
}

/* Numbers grow by themselves; everything else may lead back. */
static bool check_circle(Page *page) {
  OndPaging *p = page->p;
  const OndBuf *now = p->url.len > 0 ? &p->url : &p->cursor;

  if (!p->more || p->list->next == OND_NEXT_PAGE || p->list->next == OND_NEXT_OFFSET) {
    return true;
  }
  if (now->len == p->seen.len && now->len > 0 && memcmp(now->data, p->seen.data, now->len) == 0) {
    ond_error_set(page->err, "the list goes in circles: page %" PRId64 " points to one that was read before", p->pages);
    return false;
  }
  if (p->pages >= p->until) {
    p->until *= 2;
    ond_buf_reset(&p->seen);
    ond_buf_append(&p->seen, now->data, now->len);
  }
  return true;
}

static bool check_ok(const Page *page, struct json_object *document, const OndHttpResponse *response) {
  const OndOperation *o = page->p->list->request;
  char words[OND_MESSAGE_BYTES_MAX + 1];

  if (!o->ok || ond_condition_holds(o->ok, document) == OND_HOLDS) {
    return true;
  }
  ond_connector_message(o, response, words, sizeof(words));
  ond_error_set(page->err, "page %" PRId64 " of the list says that it failed: %s", page->p->pages + 1, words);
  return false;
}

static bool read_page(Page *page, const OndHttpResponse *response) {
  OndPaging *p = page->p;
  struct json_object *document = NULL;
  const char *problem;
  bool ok;

  if (p->list->lines || p->list->csv) {
    ok = p->list->csv ? read_csv(page, response) : read_lines(page, response);
  } else if (!ond_document_parse(response->body.data, response->body.len, &document, &problem)) {
    ond_error_set(page->err, "page %" PRId64 " of the list %s", p->pages + 1, problem);
    return false;
  } else {
    ok = check_ok(page, document, response) && read_array(page, document);
  }
  p->pages++;
  p->records += page->n;
  ok = ok && find_next(page, document, response) && check_circle(page);
  json_object_put(document);
  return ok;
}

static bool check_pages(const Page *page) {
  if (page->p->more && page->p->pages >= page->p->list->pages_max) {
    ond_error_set(page->err, "the list has more than %" PRId64 " pages", page->p->list->pages_max);
    ond_error_hint(page->err, "Ask for larger pages, or raise \"pages_max\" of the list.");
    return false;
  }
  return true;
}

/* The records of a page that somebody else reads: how many there are, and the last one. */
static void count_records(Page *page, struct json_object *document, const OndHttpResponse *response) {
  struct json_object *rows = document;

  if (page->p->list->lines) {
    page->n = response->body.len > 0;
  } else if ((!page->p->list->rows || ond_document_at(document, page->p->list->rows, &rows)) && json_object_is_type(rows, json_type_array)) {
    page->n = (int64_t)json_object_array_length(rows);
  }
  if (page->n > 0 && page->p->list->next == OND_NEXT_LAST && !page->p->list->lines) {
    keep_last(page, json_object_array_get_idx(rows, (size_t)page->n - 1));
  }
}

bool ond_paging_follow(OndPaging *p, const OndHttpResponse *response, OndError *err) {
  Page page = {.p = p, .err = err};
  struct json_object *document = NULL;
  const char *problem;
  bool ok;

  if (!ond_document_parse(response->body.data, response->body.len, &document, &problem) && !p->list->lines) {
    ond_error_set(err, "page %" PRId64 " of the results %s", p->pages + 1, problem);
    return false;
  }
  document = p->list->lines ? NULL : document;
  ond_buf_init(&page.last, RECORD_BYTES_MAX);
  count_records(&page, document, response);
  p->pages++;
  p->records += page.n;
  ok = find_next(&page, document, response) && check_circle(&page) && check_pages(&page);
  ond_buf_free(&page.last);
  json_object_put(document);
  return ok;
}

void ond_paging_place(const OndPaging *p, OndListInput *input) {
  input->cursor = bytes_of(&p->cursor);
}

void ond_paging_aim(const OndPaging *p, OndHttpRequest *request) {
  if (p->url.len > 0) {
    ond_free(request->url);
    request->url = ond_strndup(p->url.data, p->url.len);
  }
}

bool ond_paging_read(OndPaging *p, const OndHttpResponse *response, bool want_parts, OndRecordTaker take, void *arg, OndError *err) {
  Page page = {.p = p, .want_parts = want_parts, .take = take, .arg = arg, .err = err};
  OndBuf *bufs[] = {&page.json, &page.fields, &page.remote, &page.id, &page.last};
  bool ok;

  if (ond_paging_in_report(p)) {
    return ond_paging_read_step(p, response, err);
  }
  for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
    ond_buf_init(bufs[i], RECORD_BYTES_MAX);
  }
  for (int i = 0; i < 8; i++) {
    ond_buf_init(&page.keys[i], CURSOR_BYTES_MAX);
  }
  ok = read_page(&page, response) && check_pages(&page);
  if (page.stopped) {
    p->more = false;
  }
  for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
    ond_buf_free(bufs[i]);
  }
  for (int i = 0; i < 8; i++) {
    ond_buf_free(&page.keys[i]);
  }
  return ok;
}
