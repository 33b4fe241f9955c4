/*
 * read.c - an answer, row by row.
 *
 * Every row starts as unknown and only becomes something else because the answer says so. Where an answer says two things about one row
 * the worse one counts (rank). Words of the answer are cut and cleaned, ids and captures are checked before they are kept: what is
 * not valid text for a database is dropped, never repaired.
 *
 * Invariants (tests in test/unit/test_connector_read.c): a list of the wrong length is never read by position; what cannot be parsed says
 * nothing; where only failures are listed, a failure that cannot be placed makes every other row unknown.
 */
#include "connector/read.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "connector/condition.h"
#include "connector/csv.h"
#include "connector/operation.h"
#include "connector/message.h"
#include "core/text.h"

/* ---- marking rows ---- */

/* How bad an outcome is; a worse one replaces a better one. */
static int rank(OndOutcome outcome) {
  switch (outcome) {
  case OND_OUT_ACCEPTED: return 0;
  case OND_OUT_UNKNOWN: return 1;
  case OND_OUT_THROTTLED: return 2;
  default: return 3;
  }
}

/* The result to fill in, or NULL when what is known of the row is worse or as bad. */
static OndRowResult *mention(OndReading *r, int row, OndOutcome outcome) {
  OndRowResult *result = &r->results[row];

  if (r->mentioned[row] && rank(outcome) <= rank(result->outcome)) {
    return NULL;
  }
  r->mentioned[row] = true;
  *result = (OndRowResult){.outcome = outcome, .created = -1};
  return result;
}

static void all(OndReading *r, OndOutcome outcome, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Every row shares one fate; fmt NULL: nothing to say about it. */
static void all(OndReading *r, OndOutcome outcome, const char *fmt, ...) {
  char text[OND_MESSAGE_BYTES_MAX + 1];
  const char *message = NULL;
  va_list args;

  if (fmt) {
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    message = ond_arena_strdup(r->arena, text);
  }
  for (int i = 0; i < r->n; i++) {
    r->results[i] = (OndRowResult){.outcome = outcome, .created = -1, .message = message};
  }
}

/* The same for the rows that nothing was said about. */
static void others(OndReading *r, OndOutcome outcome, const char *message) {
  for (int i = 0; i < r->n; i++) {
    if (!r->mentioned[i]) {
      r->results[i] = (OndRowResult){.outcome = outcome, .created = -1, .message = message};
    }
  }
}

/* Likewise for an answer that could be read. */
static void others_silent(OndReading *r) {
  others(r, OND_OUT_UNKNOWN, "the answer does not mention the row");
  for (int i = 0; i < r->n; i++) {
    r->results[i].silent = !r->mentioned[i];
  }
}

/* ---- looking into records ---- */

static bool text_at(OndReading *r, struct json_object *record, const OndJsonPtr *pointer, OndBytes *out) {
  struct json_object *value;

  if (!pointer || !ond_document_at(record, pointer, &value)) {
    return false;
  }
  ond_buf_reset(&r->text);
  if (!ond_document_text(value, &r->text)) {
    return false;
  }
  *out = (OndBytes){r->text.data ? r->text.data : "", r->text.len};
  return true;
}

static bool is_retry(OndReading *r, struct json_object *record, const OndJsonPtr *code) {
  OndBytes text;

  if (!r->result || !text_at(r, record, code, &text)) {
    return false;
  }
  for (int i = 0; i < r->result->n_retry; i++) {
    const char *word = r->result->retry[i];

    if (word && strlen(word) == text.n && memcmp(word, text.p, text.n) == 0) {
      return true;
    }
  }
  return false;
}

/* The words of a failure: where the description says, else in the usual places, else the reason or the code. */
static const char *failure_words(OndReading *r, struct json_object *record, const OndJsonPtr *pointer, const OndJsonPtr *code,
                                 const char *reason) {
  char out[OND_MESSAGE_BYTES_MAX + 1];
  struct json_object *value;
  OndBytes text;

  if (pointer && ond_document_at(record, pointer, &value)) {
    struct json_object *list = json_object_new_array();
    bool found;

    /* As an element of a list an object without the usual words is shown as it is. */
    json_object_array_add(list, json_object_get(value));
    found = ond_message_words(list, out, sizeof(out));
    json_object_put(list);
    if (found) {
      return ond_arena_strdup(r->arena, out);
    }
  }
  if (reason) {
    ond_message_copy(reason, strlen(reason), out, sizeof(out));
    return ond_arena_strdup(r->arena, out);
  }
  if (ond_message_words(record, out, sizeof(out))) {
    return ond_arena_strdup(r->arena, out);
  }
  if (text_at(r, record, code, &text)) {
    ond_message_copy(text.p, text.n, out, sizeof(out));
    return ond_arena_strdup(r->arena, out);
  }
  return NULL;
}

static const char *remote_id(OndReading *r, struct json_object *record) {
  OndBytes text;

  if (!text_at(r, record, r->result->id, &text) || text.n == 0 || text.n > OND_REMOTE_ID_BYTES_MAX || memchr(text.p, 0, text.n) ||
      !ond_utf8_valid(text.p, text.n)) {
    return NULL;
  }
  return ond_arena_strndup(r->arena, text.p, text.n);
}

/* The captures as a JSON object; NULL: none was found. */
static const char *captures(OndReading *r, struct json_object *record) {
  struct json_object *value;
  const char *text = NULL;
  OndBuf json;

  if (r->result->n_captures == 0) {
    return NULL;
  }
  ond_buf_init(&json, OND_REMOTE_BYTES_MAX);
  ond_buf_append_char(&json, '{');
  for (int i = 0; i < r->result->n_captures; i++) {
    const OndCapture *capture = &r->result->captures[i];
    size_t start = json.len;

    if (!ond_document_at(record, &capture->pointer, &value) || !value) {
      continue;
    }
    if (!(start == 1 || ond_buf_append_char(&json, ',')) || !ond_buf_append_json_string(&json, capture->name, strlen(capture->name)) ||
        !ond_buf_append_char(&json, ':') || !ond_document_json(value, &json)) {
      /* A capture that does not fit or is no valid text is left out; the others stay. */
      json.len = start;
      json.data[start] = '\0';
      json.overflow = false;
    }
  }
  if (json.len > 1 && ond_buf_append_char(&json, '}') && ond_utf8_valid(json.data, json.len)) {
    text = ond_arena_strndup(r->arena, json.data, json.len);
  }
  ond_buf_free(&json);
  return text;
}

/* A lookup that finds two records for one row: which one is meant nobody can tell. */
static void note_ambiguous(OndReading *r, int row, struct json_object *record) {
  OndRowResult *result = &r->results[row];
  const char *id = r->o->kind == OND_KIND_LOOKUP && result->outcome == OND_OUT_ACCEPTED ? remote_id(r, record) : NULL;

  if (id && result->remote_id && strcmp(id, result->remote_id) != 0) {
    char text[OND_MESSAGE_BYTES_MAX + 1];

    snprintf(text, sizeof(text), "the destination has several records for this row: %.200s and %.200s", result->remote_id, id);
    *result = (OndRowResult){.outcome = OND_OUT_REJECTED, .created = -1, .message = ond_arena_strdup(r->arena, text)};
  }
}

static void take(OndReading *r, int row, struct json_object *record) {
  OndRowResult *result = mention(r, row, OND_OUT_ACCEPTED);
  OndHolds created = OND_SILENT;

  if (!result) {
    note_ambiguous(r, row, record);
    return;
  }
  if (r->result->created) {
    created = ond_condition_holds(r->result->created, record);
  }
  result->created = created == OND_SILENT ? -1 : created == OND_HOLDS;
  result->remote_id = remote_id(r, record);
  result->remote = captures(r, record);
}

static void refuse(OndReading *r, int row, bool retry, const char *message) {
  OndRowResult *result = mention(r, row, retry ? OND_OUT_THROTTLED : OND_OUT_REJECTED);

  if (result) {
    result->message = message ? message : retry ? "the destination asks to try again later" : "the destination refused the row";
  }
}

/* Whether a place holds something. */
static bool holds_something(struct json_object *record, const OndJsonPtr *pointer) {
  struct json_object *value;

  return pointer && ond_document_at(record, pointer, &value) && value;
}

/* A record that is about one row. Without "ok" being there is enough, unless its code asks for another try. */
static void read_own(OndReading *r, int row, struct json_object *record, const char *reason) {
  const OndResult *result = r->result;
  bool retry = result->fate == OND_FATE_RETRY || is_retry(r, record, result->code);
  OndHolds verdict = !record ? OND_SILENT : result->ok ? ond_condition_holds(result->ok, record) : retry ? OND_FAILS : OND_HOLDS;
  OndRowResult *unknown;

  if (result->fate == OND_FATE_ACCEPTED || (verdict == OND_HOLDS && result->fate == OND_FATE_TOLD)) {
    take(r, row, record);
    return;
  }
  if (verdict == OND_FAILS || result->fate == OND_FATE_REFUSED || retry || holds_something(record, result->error)) {
    refuse(r, row, retry, failure_words(r, record, result->error, result->code, reason));
    return;
  }
  unknown = mention(r, row, OND_OUT_UNKNOWN);
  if (unknown) {
    unknown->message = "the answer does not say whether the row was accepted";
  }
}

/* In a request of several operations each row is read as its own one says. */
static void read_record(OndReading *r, int row, struct json_object *record, const char *reason) {
  const OndResult *shared = r->result;

  r->result = ond_group_member(r->c, r->o, r->rows[row])->result;
  read_own(r, row, record, reason);
  r->result = shared;
}

/* ---- shapes of answers ---- */

static void read_error(OndReading *r, int row, struct json_object *record, const char *reason) {
  const OndResult *result = r->result;

  refuse(r, row, is_retry(r, record, result->error_code), failure_words(r, record, result->error_message, result->error_code, reason));
}

/* The list of failures. False: it is something that cannot be read. */
static bool read_errors(OndReading *r, struct json_object *document) {
  struct json_object *errors = document;
  size_t n;

  if (r->result->errors && !ond_document_at(document, r->result->errors, &errors)) {
    return true;
  }
  if (!errors) {
    return true;
  }
  if (json_object_is_type(errors, json_type_object)) {
    /* One record; what it does not list has not happened. */
    ond_rows_named(r, &r->result->error_identity, &r->error_names, errors, read_error);
    return true;
  }
  if (!json_object_is_type(errors, json_type_array)) {
    return false;
  }
  n = json_object_array_length(errors);
  for (size_t i = 0; i < n; i++) {
    if (!ond_rows_named(r, &r->result->error_identity, &r->error_names, json_object_array_get_idx(errors, i), read_error)) {
      r->unplaced = true;
    }
  }
  return true;
}

static void read_order(OndReading *r, struct json_object *rows) {
  size_t n = json_object_is_type(rows, json_type_array) ? json_object_array_length(rows) : 0;

  if (n != (size_t)r->n) {
    all(r, OND_OUT_UNKNOWN, "the answer has %zu results for %d rows", n, r->n);
    return;
  }
  for (int i = 0; i < r->n; i++) {
    read_record(r, i, json_object_array_get_idx(rows, (size_t)i), NULL);
  }
}

static void read_named(OndReading *r, struct json_object *rows) {
  size_t n = json_object_is_type(rows, json_type_array) ? json_object_array_length(rows) : 0;

  if (json_object_is_type(rows, json_type_object)) {
    ond_rows_named(r, &r->result->identity, &r->names, rows, read_record);
  }
  for (size_t i = 0; i < n; i++) {
    if (!ond_rows_named(r, &r->result->identity, &r->names, json_object_array_get_idx(rows, i), read_record)) {
      r->strangers++;
    }
  }
}

static void read_map(OndReading *r, struct json_object *rows) {
  struct json_object_iterator it;
  struct json_object_iterator end;

  if (!json_object_is_type(rows, json_type_object)) {
    return;
  }
  it = json_object_iter_begin(rows);
  end = json_object_iter_end(rows);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    ond_rows_by_text(r, &r->result->identity, &r->names, json_object_iter_peek_name(&it), json_object_iter_peek_value(&it), read_record);
  }
}

/* The sum of some numbers (a list counts by its length); -1: one is missing or none. */
static int64_t sum(struct json_object *document, int n, const OndJsonPtr *pointers) {
  struct json_object *value;
  int64_t total = 0;

  for (int i = 0; i < n; i++) {
    int64_t one = -1;

    if (ond_document_at(document, &pointers[i], &value)) {
      if (json_object_is_type(value, json_type_array)) {
        one = (int64_t)json_object_array_length(value);
      } else if (json_object_is_type(value, json_type_int)) {
        one = json_object_get_int64(value);
      }
    }
    if (one < 0 || one > INT32_MAX) {
      return -1;
    }
    total += one;
  }
  return total;
}

static void read_counts(OndReading *r, struct json_object *document) {
  const OndResult *result = r->result;
  int64_t accepted = result->n_accepted ? sum(document, result->n_accepted, result->accepted) : r->n;
  int64_t failed = result->n_failed ? sum(document, result->n_failed, result->failed) : 0;

  if (accepted == r->n && failed == 0) {
    all(r, OND_OUT_ACCEPTED, NULL);
  } else if (accepted < 0 || failed < 0) {
    all(r, OND_OUT_UNKNOWN, "the answer has no counts of accepted or failed rows");
  } else {
    all(r, OND_OUT_UNKNOWN, "the answer counts %lld of %d rows as accepted and %lld as failed, without saying which", (long long)accepted,
        r->n, (long long)failed);
  }
  for (int i = 0; i < r->n; i++) {
    r->results[i].unconfirmed = true;
  }
}

/* A lookup's answer could be read, and these are not in it. */
static void note_absent(OndReading *r) {
  for (int i = 0; i < r->n; i++) {
    r->results[i].absent = !r->mentioned[i];
  }
}

static void read_rows(OndReading *r, struct json_object *document) {
  struct json_object *rows = document;
  bool found = !r->result->rows || ond_document_at(document, r->result->rows, &rows);

  switch (r->result->match) {
  case OND_MATCH_ORDER: read_order(r, found ? rows : NULL); return;
  case OND_MATCH_MAP: read_map(r, found ? rows : NULL); break;
  default: read_named(r, found ? rows : NULL); break;
  }
  others_silent(r);
  if (r->o->kind == OND_KIND_LOOKUP && found && (json_object_is_type(rows, json_type_array) || json_object_is_type(rows, json_type_object))) {
    note_absent(r);
  }
}

static void read_result(OndReading *r, struct json_object *document) {
  bool readable;

  switch (r->result->match) {
  case OND_MATCH_COUNTS: read_counts(r, document); return;
  case OND_MATCH_SINGLE: read_record(r, 0, document, NULL); return;
  case OND_MATCH_ERRORS:
    readable = read_errors(r, document);
    if (readable && !r->unplaced && r->strangers == 0) {
      others(r, OND_OUT_ACCEPTED, NULL);
    } else {
      others(r, OND_OUT_UNKNOWN, "the answer lists an error that belongs to none of the rows sent");
    }
    return;
  default:
    read_rows(r, document);
    if (r->result->has_errors) {
      read_errors(r, document);
    }
    return;
  }
}

/* ---- lines ---- */

/* The next line that is not blank; false: no more. */
static bool next_line(const char **p, const char *end, OndBytes *out) {
  while (*p < end) {
    const char *newline = memchr(*p, '\n', (size_t)(end - *p));
    const char *stop = newline ? newline : end;
    const char *start = *p;

    *p = newline ? newline + 1 : end;
    while (stop > start && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t')) {
      stop--;
    }
    if (stop > start) {
      *out = (OndBytes){start, (size_t)(stop - start)};
      return true;
    }
  }
  return false;
}

static void read_line(OndReading *r, int row, OndBytes line) {
  struct json_object *record;
  const char *problem;

  if (!ond_document_parse(line.p, line.n, &record, &problem)) {
    OndRowResult *result = row >= 0 ? mention(r, row, OND_OUT_UNKNOWN) : NULL;

    if (result) {
      result->message = "the answer's line for the row is not JSON";
    }
    return;
  }
  if (row >= 0) {
    read_record(r, row, record, NULL);
  } else if (!ond_rows_named(r, &r->result->identity, &r->names, record, read_record)) {
    r->strangers++;
  }
  json_object_put(record);
}

static void read_lines(OndReading *r, const OndHttpResponse *response) {
  const char *body = response->body.data ? response->body.data : "";
  const char *end = body + response->body.len;
  const char *p = body;
  bool order = r->result->match == OND_MATCH_ORDER;
  OndBytes line;
  size_t n = 0;

  while (next_line(&p, end, &line)) {
    n++;
  }
  if (order && n != (size_t)r->n) {
    all(r, OND_OUT_UNKNOWN, "the answer has %zu lines for %d rows", n, r->n);
    return;
  }
  p = body;
  for (int i = 0; next_line(&p, end, &line); i++) {
    read_line(r, order ? i : -1, line);
  }
  others_silent(r);
}

/* ---- CSV ---- */

/* How many records there are. */
static size_t count_csv(const char *text, size_t n) {
  OndCsvReader reader;
  struct json_object *record;
  size_t count = 0;

  if (ond_csv_open(&reader, text, n)) {
    for (; ond_csv_next(&reader, &record); count++) {
      json_object_put(record);
    }
  }
  ond_csv_close(&reader);
  return count;
}

static void read_csv(OndReading *r, const OndHttpResponse *response) {
  const char *text = response->body.data ? response->body.data : "";
  bool order = r->result->match == OND_MATCH_ORDER;
  size_t n = order ? count_csv(text, response->body.len) : 0;
  struct json_object *record;
  OndCsvReader reader;

  if (order && n != (size_t)r->n) {
    all(r, OND_OUT_UNKNOWN, "the answer has %zu records for %d rows", n, r->n);
    return;
  }
  if (ond_csv_open(&reader, text, response->body.len)) {
    for (int i = 0; ond_csv_next(&reader, &record); i++) {
      if (!record) {
        r->strangers++;
      } else if (order) {
        read_record(r, i, record, NULL);
      } else if (!ond_rows_named(r, &r->result->identity, &r->names, record, read_record)) {
        r->strangers++;
      }
      json_object_put(record);
    }
  }
  ond_csv_close(&reader);
  others_silent(r);
}

/* ---- whole answers ---- */

/* The "ok" of the whole answer. False: it decided about all rows. */
static bool read_ok(OndReading *r, struct json_object *document, const OndHttpResponse *response) {
  OndHolds verdict = ond_condition_holds(r->o->ok, document);
  char message[OND_MESSAGE_BYTES_MAX + 1];
  bool retry = r->result && r->result->match == OND_MATCH_SINGLE && is_retry(r, document, r->result->code);

  if (verdict == OND_HOLDS) {
    return true;
  }
  if (verdict == OND_SILENT && !retry && !holds_something(document, r->o->error)) {
    all(r, OND_OUT_UNKNOWN, "the answer does not say whether it was successful");
    return false;
  }
  ond_connector_message(r->o, response, message, sizeof(message));
  all(r, retry ? OND_OUT_THROTTLED : OND_OUT_REJECTED, "%s", message);
  return false;
}

/* An answer with nothing to read in it: enough where the status says it all or only failures would be listed. */
static void read_nothing(OndReading *r, bool status_suffices, const char *problem) {
  bool lists = r->result && r->result->match != OND_MATCH_SINGLE && r->result->match != OND_MATCH_ERRORS;

  if (status_suffices && !lists) {
    all(r, OND_OUT_ACCEPTED, NULL);
  } else {
    all(r, OND_OUT_UNKNOWN, "the answer %s", problem);
  }
}

static void read_answer(OndReading *r, const OndHttpResponse *response) {
  bool fine = response->status < 200 || response->status > 299; /* a status the description calls a success */
  bool no_content = response->status == 204 || response->status == 205;
  struct json_object *document;
  const char *problem;

  if (r->result && r->result->csv) {
    read_csv(r, response);
    return;
  }
  if (r->result && r->result->lines) {
    read_lines(r, response);
    return;
  }
  if (!ond_document_parse(response->body.data, response->body.len, &document, &problem)) {
    read_nothing(r, no_content || (fine && (!r->result || r->result->match == OND_MATCH_SINGLE)), problem);
    return;
  }
  if (fine && (!r->result || r->result->match == OND_MATCH_SINGLE)) {
    all(r, OND_OUT_ACCEPTED, NULL);
    if (r->result) {
      take(r, 0, document);
    }
  } else if (!r->o->ok || fine || read_ok(r, document, response)) {
    if (r->result) {
      read_result(r, document);
    } else {
      all(r, OND_OUT_ACCEPTED, NULL);
    }
  }
  json_object_put(document);
}

void ond_connector_read(const OndConnector *c, const OndOperation *o, const OndHttpResponse *response, const OndRow *const *rows, int n,
                        OndArena *arena, OndRowResult *results, int *strangers) {
  OndReading r = {.c = c, .o = o, .result = o->result, .rows = rows, .n = n, .arena = arena, .results = results};

  if (!o->ok && !o->result) {
    all(&r, OND_OUT_ACCEPTED, NULL);
  } else {
    r.mentioned = ond_arena_alloc(arena, (size_t)n * sizeof(*r.mentioned));
    ond_values_init(&r.values, c, o, NULL);
    ond_buf_init(&r.text, OND_DOCUMENT_BYTES_MAX);
    read_answer(&r, response);
    ond_buf_free(&r.text);
    ond_values_free(&r.values);
  }
  if (strangers) {
    *strangers = r.strangers;
  }
}
