/*
 * list.c - compiles "list"; see list.h. Reading pages is in page.c.
 */
#include "connector/list.h"

#include <string.h>
#include "connector/operation.h"
#include "connector/reference.h"
#include "connector/request.h"
#include "connector/step.h"

#define PAGES_MAX 1000000

static const char *const MEMBERS[] = {"method", "path",   "query", "headers", "encoding", "content_type", "body",   "rate",    "refused", "retry", "ok",   "error",
                                      "rows",   "format", "key",   "id",      "fields",   "remote",       "compare", "skip", "next",    "pages_max",
                                      "url",    "steps",  "jobs",  NULL};

static bool parse_key(OndConnector *c, OndList *l, const OndNode *list, OndError *err) {
  OndNode at;

  return !ond_node_get(list, "key", &at) || ond_identity_parse(c, l->request, list, &l->key, err);
}

static bool parse_captures(OndConnector *c, OndList *l, const OndNode *list, OndError *err) {
  OndNode at;

  return !ond_node_get(list, "remote", &at) || ond_captures_parse(c, &at, &l->n_captures, &l->captures, err);
}

static bool parse_records(OndConnector *c, OndList *l, const OndNode *list, OndError *err) {
  static const char *const FORMATS[] = {"json", "lines", "csv", NULL};
  static const char *const COMPARE[] = {"exact", "text", NULL};
  int format = 0, compare = 0;
  OndNode at;

  if ((ond_node_get(list, "format", &at) && !ond_node_word(&at, FORMATS, &format, err)) ||
      (ond_node_get(list, "compare", &at) && !ond_node_word(&at, COMPARE, &compare, err)) ||
      !ond_member_json_pointer(list, "rows", c->arena, &l->rows, err) || !ond_member_json_pointer(list, "id", c->arena, &l->id, err) ||
      !ond_member_json_pointer(list, "fields", c->arena, &l->fields, err) || !parse_key(c, l, list, err) || !parse_captures(c, l, list, err)) {
    return false;
  }
  l->lines = format == 1;
  l->csv = format == 2;
  l->compare_text = compare == 1 || l->csv;
  if ((l->lines || l->csv) && l->rows) {
    return ond_node_fail(list, err, "an answer of %s has no \"rows\": each line is a record", FORMATS[format]);
  }
  if (!ond_node_get(list, "skip", &at)) {
    return true;
  }
  l->skip = ond_condition_parse(c, &at, err);
  return l->skip != NULL;
}

/* {"first": 1, "step": 100} of a page or an offset */
static bool parse_numbers(OndList *l, const OndNode *at, bool page, OndError *err) {
  static const char *const PAGE[] = {"first", NULL};
  static const char *const OFFSET[] = {"first", "step", NULL};

  l->first = page ? 1 : 0;
  l->step = page ? 1 : 0;
  return ond_node_object(at, page ? PAGE : OFFSET, err) && ond_member_int(at, "first", 0, 1000000, &l->first, err) &&
         (page || ond_member_int(at, "step", 1, 1000000, &l->step, err));
}

/* {"header": "X-Next"} of a cursor */
static bool parse_header(OndConnector *c, OndList *l, const OndNode *at, OndError *err) {
  static const char *const VALID[] = {"header", NULL};
  OndNode header;

  if (!ond_node_object(at, VALID, err)) {
    return false;
  }
  if (!ond_node_get(at, "header", &header)) {
    return ond_node_missing(at, "header", "{\"header\": \"X-Next-Cursor\"}", err);
  }
  if (!ond_node_string(&header, &l->header, err) || !ond_request_header_name(&header, l->header, err)) {
    return false;
  }
  l->header = ond_arena_strdup(c->arena, l->header);
  return true;
}

static bool parse_way(OndConnector *c, OndList *l, const OndNode *next, OndError *err) {
  static const char *const WAYS[] = {"cursor", "url", "link", "page", "offset", "last"};
  static const OndNext KINDS[] = {OND_NEXT_CURSOR, OND_NEXT_URL, OND_NEXT_LINK, OND_NEXT_PAGE, OND_NEXT_OFFSET, OND_NEXT_LAST};
  OndNode at, found = *next;
  int n = 0;

  for (int i = 0; i < 6; i++) {
    if (ond_node_get(next, WAYS[i], &at)) {
      l->next = KINDS[i];
      found = at;
      n++;
    }
  }
  if (n != 1) {
    ond_node_fail(next, err, "\"next\" needs one of \"cursor\", \"url\", \"link\", \"page\", \"offset\" and \"last\"");
    ond_error_hint(err, "For example {\"cursor\": \"/paging/next/after\"}, {\"link\": \"next\"} or {\"page\": {\"first\": 1}}.");
    return false;
  }
  if (l->next == OND_NEXT_CURSOR && json_object_is_type(found.value, json_type_object)) {
    return parse_header(c, l, &found, err);
  }
  if (l->next == OND_NEXT_PAGE || l->next == OND_NEXT_OFFSET) {
    return parse_numbers(l, &found, l->next == OND_NEXT_PAGE, err);
  }
  if (l->next != OND_NEXT_LINK) {
    return ond_node_json_pointer(&found, c->arena, &l->next_at, err);
  }
  if (!ond_node_string(&found, &l->link, err)) {
    return false;
  }
  l->link = ond_arena_strdup(c->arena, l->link);
  return *l->link || ond_node_fail(&found, err, "the relation is empty");
}

static bool parse_end(OndConnector *c, OndList *l, const OndNode *next, OndError *err) {
  const OndCondition **conditions[] = {&l->has_more, &l->end};
  static const char *const WORDS[] = {"has_more", "end"};
  OndNode at;

  for (int i = 0; i < 2; i++) {
    if (ond_node_get(next, WORDS[i], &at) && (*conditions[i] = ond_condition_parse(c, &at, err)) == NULL) {
      return false;
    }
  }
  if (!ond_member_json_pointer(next, "total", c->arena, &l->total, err) || !ond_member_json_pointer(next, "total_pages", c->arena, &l->total_pages, err)) {
    return false;
  }
  if ((l->has_more != NULL) + (l->end != NULL) + (l->total != NULL) + (l->total_pages != NULL) > 1) {
    return ond_node_fail(next, err, "the end shows in one of \"has_more\", \"end\", \"total\" and \"total_pages\" only");
  }
  return true;
}

bool ond_list_parse_next(OndConnector *c, OndList *l, const OndNode *list, OndError *err) {
  static const char *const VALID[] = {"cursor", "url", "link", "page", "offset", "last", "has_more", "end", "total", "total_pages", NULL};
  OndNode next;

  if (!ond_node_get(list, "next", &next)) {
    return true;
  }
  if (!ond_node_object(&next, VALID, err) || !parse_way(c, l, &next, err) || !parse_end(c, l, &next, err)) {
    return false;
  }
  if (l->next != OND_NEXT_URL && l->next != OND_NEXT_LINK && !c->names_cursor) {
    ond_node_fail(&next, err, "the request does not name {{cursor}}, so every page would be the first");
    ond_error_hint(err, "Put {{cursor}} into \"query\" or \"body\".");
    return false;
  }
  return true;
}

OndList *ond_list_parse(OndConnector *c, const OndNode *at, OndError *err) {
  OndList *l = ond_arena_alloc(c->arena, sizeof(*l));

  l->pages_max = PAGES_MAX;
  if (!ond_steps_parse_list(c, at, &l->report, err)) {
    return NULL;
  }
  c->names_cursor = false;
  l->request = ond_operation_parse_list(c, at, MEMBERS, err);
  l->uses = c->job_uses;
  c->job_names = c->job_uses = NULL;
  if (!l->request || !parse_records(c, l, at, err) || !ond_list_parse_next(c, l, at, err) ||
      !ond_member_int(at, "pages_max", 1, PAGES_MAX, &l->pages_max, err)) {
    return NULL;
  }
  if (c->names_cursor && l->next == OND_NEXT_NONE) {
    ond_node_fail(at, err, "the request names {{cursor}}, but nothing says where the next one is");
    ond_error_hint(err, "Add \"next\".");
    return NULL;
  }
  return l;
}
