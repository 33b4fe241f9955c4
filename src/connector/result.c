/*
 * result.c - what an operation says about reading its answers, compiled.
 *
 * Five shapes, told apart by what is given:
 *
 *   rows (with match order, key, index or map)   a record per row, perhaps errors beside
 *   errors alone                                 only failures are listed
 *   counts                                       only numbers
 *   lines, format                                NDJSON or CSV, a record a line
 *   none of these                                one row a request: the answer is its record
 */
#include <string.h>
#include "connector/operation.h"
#include "connector/reference.h"

#define LIST_MAX 64

typedef struct Reader {
  OndConnector *c;
  OndOperation *o;
  OndError *err;
} Reader;

/* ---- conditions ---- */

/* A scalar to compare with; NULL for JSON null. */
static bool parse_scalar(OndConnector *c, const OndNode *at, const char **out, OndError *err) {
  OndBuf text;
  bool ok;

  *out = NULL;
  if (!at->value) {
    return true;
  }
  ond_buf_init(&text, 1000);
  ok = ond_document_text(at->value, &text);
  if (ok) {
    *out = ond_arena_strndup(c->arena, text.data ? text.data : "", text.len);
  }
  ond_buf_free(&text);
  return ok || ond_node_fail(at, err, "this must be a string, a number, true, false or null");
}

static bool parse_scalars(OndConnector *c, const OndNode *at, int *n, const char ***out, OndError *err) {
  size_t length;

  if (!ond_node_array(at, &length, err)) {
    return false;
  }
  if (length == 0 || length > LIST_MAX) {
    return ond_node_fail(at, err, "\"%s\" must have 1 to %d elements", at->member, LIST_MAX);
  }
  *out = ond_arena_alloc(c->arena, length * sizeof(**out));
  for (size_t i = 0; i < length; i++) {
    OndNode element = ond_node_element(at, i);

    if (!parse_scalar(c, &element, &(*out)[i], err)) {
      return false;
    }
  }
  *n = (int)length;
  return true;
}

const OndCondition *ond_condition_parse(OndConnector *c, const OndNode *at, OndError *err) {
  static const char *const VALID[] = {"path", "equals", "in", "absent", NULL};
  OndCondition *condition = ond_arena_alloc(c->arena, sizeof(*condition));
  OndNode member;

  if (!ond_node_object(at, VALID, err)) {
    return NULL;
  }
  if (!ond_node_get(at, "path", &member)) {
    ond_node_missing(at, "path", "{\"path\": \"/ok\", \"equals\": true}", err);
    return NULL;
  }
  if (!ond_node_json_pointer(&member, c->arena, &condition->path, err)) {
    return NULL;
  }
  if (json_object_object_length(at->value) != 2) {
    ond_node_fail(at, err, "a condition needs one of \"equals\", \"in\" and \"absent\"");
    ond_error_hint(err, "Write {\"path\": \"/ok\", \"equals\": true}.");
    return NULL;
  }
  if (ond_node_get(at, "absent", &member)) {
    if (!ond_node_bool(&member, &condition->absent, err)) {
      return NULL;
    }
    condition->present = !condition->absent;
    return condition;
  }
  if (ond_node_get(at, "in", &member)) {
    return parse_scalars(c, &member, &condition->n, &condition->values, err) ? condition : NULL;
  }
  ond_node_get(at, "equals", &member);
  condition->n = 1;
  condition->values = ond_arena_alloc(c->arena, sizeof(*condition->values));
  return parse_scalar(c, &member, &condition->values[0], err) ? condition : NULL;
}

static bool parse_condition(Reader *r, const OndNode *object, const char *member, const OndCondition **out) {
  OndNode at;

  if (!ond_node_get(object, member, &at)) {
    return true;
  }
  *out = ond_condition_parse(r->c, &at, r->err);
  return *out != NULL;
}

/* ---- identities ---- */

/* {"tenant": "/tenant", "id": "/id"}: a pointer for each column of a composite key */
static bool parse_columns(Reader *r, const OndNode *at, OndIdentity *out) {
  struct json_object_iterator it = json_object_iter_begin(at->value);
  struct json_object_iterator end = json_object_iter_end(at->value);
  int n = json_object_object_length(at->value);
  OndScope scope = {.c = r->c, .o = r->o};

  if (n == 0 || n > LIST_MAX) {
    return ond_node_fail(at, r->err, "\"%s\" must name a pointer for each key column", at->member);
  }
  out->pointers = ond_arena_alloc(r->c->arena, (size_t)n * sizeof(*out->pointers));
  out->columns = ond_arena_alloc(r->c->arena, (size_t)n * sizeof(*out->columns));
  out->keys = ond_arena_alloc(r->c->arena, (size_t)n * sizeof(*out->keys));
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode column = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    out->columns[out->n] = ond_arena_strdup(r->c->arena, column.member);
    if (!ond_reference_pointer(r->c, &column, &out->pointers[out->n++], r->err)) {
      return false;
    }
  }
  ond_reference_note_key(&scope, at, NULL, out);
  return true;
}

/* What of a row the record's text is compared with: "by", or the key. */
static bool parse_by(Reader *r, const OndNode *object, OndIdentity *out) {
  OndScope scope = {.c = r->c, .o = r->o, .rows = true, .each = true};
  const char *text = "{{key}}";
  OndNode at = *object;

  if (ond_node_get(object, "by", &at) && !ond_node_string(&at, &text, r->err)) {
    return false;
  }
  return ond_reference_parse(&scope, &at, text, &out->by, r->err);
}

/* The members `key` (or `keys`) and `by`, or `index`, of object. */
static bool parse_identity(Reader *r, const OndNode *object, OndIdentity *out) {
  OndNode at;

  out->index = ond_node_get(object, "index", &at);
  if (!out->index && !ond_node_get(object, "key", &at)) {
    ond_node_get(object, "keys", &at);
  }
  if (!out->index && json_object_is_type(at.value, json_type_object)) {
    return parse_columns(r, &at, out);
  }
  out->n = 1;
  out->pointers = ond_arena_alloc(r->c->arena, sizeof(*out->pointers));
  if (!ond_reference_pointer(r->c, &at, out->pointers, r->err)) {
    return false;
  }
  return out->index || parse_by(r, object, out);
}

bool ond_identity_parse(OndConnector *c, OndOperation *o, const OndNode *object, OndIdentity *out, OndError *err) {
  Reader r = {.c = c, .o = o, .err = err};

  return parse_identity(&r, object, out);
}

static int count_members(const OndNode *object, const char *const *names) {
  OndNode at;
  int n = 0;

  for (; *names; names++) {
    n += ond_node_get(object, *names, &at);
  }
  return n;
}

static bool fail_match(Reader *r, const OndNode *at) {
  ond_node_fail(at, r->err, "\"match\" must be \"order\", \"map\", {\"key\": …}, {\"index\": …} or {\"map\": true, \"by\": …}");
  ond_error_hint(r->err, "For example \"order\", {\"key\": \"/email\"} or {\"index\": \"/index\"}.");
  return false;
}

static bool parse_match(Reader *r, const OndNode *at, OndResult *out) {
  static const char *const VALID[] = {"key", "index", "map", "by", NULL};
  static const char *const WAYS[] = {"key", "index", "map", NULL};
  OndNode map;
  bool yes = false;

  if (json_object_is_type(at->value, json_type_string)) {
    const char *text = json_object_get_string(at->value);
    OndNode nothing = *at;

    if (strcmp(text, "order") == 0) {
      out->match = OND_MATCH_ORDER;
      return true;
    }
    out->match = OND_MATCH_MAP;
    nothing.value = NULL;
    return strcmp(text, "map") == 0 ? parse_by(r, &nothing, &out->identity) : fail_match(r, at);
  }
  if (!json_object_is_type(at->value, json_type_object)) {
    return fail_match(r, at);
  }
  if (!ond_node_object(at, VALID, r->err)) {
    return false;
  }
  if (count_members(at, WAYS) != 1) {
    return fail_match(r, at);
  }
  if (ond_node_get(at, "map", &map)) {
    out->match = OND_MATCH_MAP;
    return ond_node_bool(&map, &yes, r->err) && (yes || fail_match(r, at)) && parse_by(r, at, &out->identity);
  }
  if (!parse_identity(r, at, &out->identity)) {
    return false;
  }
  out->match = out->identity.index ? OND_MATCH_INDEX : OND_MATCH_KEY;
  return true;
}

/* ---- parts ---- */

static bool parse_errors(Reader *r, const OndNode *result, OndResult *out) {
  static const char *const VALID[] = {"rows", "keys", "index", "key", "by", "message", "code", NULL};
  static const char *const WAYS[] = {"keys", "index", "key", NULL};
  OndNode at;

  if (!ond_node_get(result, "errors", &at)) {
    return true;
  }
  out->has_errors = true;
  if (!ond_node_object(&at, VALID, r->err)) {
    return false;
  }
  if (count_members(&at, WAYS) != 1) {
    ond_node_fail(&at, r->err, "\"errors\" needs one of \"index\", \"key\" and \"keys\"");
    ond_error_hint(r->err, "It says which row an error is about: {\"rows\": \"/errors\", \"index\": \"/index\"}.");
    return false;
  }
  return ond_member_json_pointer(&at, "rows", r->c->arena, &out->errors, r->err) && parse_identity(r, &at, &out->error_identity) &&
         ond_member_json_pointer(&at, "message", r->c->arena, &out->error_message, r->err) &&
         ond_member_json_pointer(&at, "code", r->c->arena, &out->error_code, r->err);
}

/* A pointer or a list of pointers whose numbers are added. */
static bool parse_count(Reader *r, const OndNode *counts, const char *member, int *n, const OndJsonPtr **out) {
  OndJsonPtr *pointers;
  OndNode at;
  size_t length = 1;

  if (!ond_node_get(counts, member, &at)) {
    return true;
  }
  if (json_object_is_type(at.value, json_type_array)) {
    ond_node_array(&at, &length, r->err);
    if (length == 0 || length > LIST_MAX) {
      return ond_node_fail(&at, r->err, "\"%s\" must have 1 to %d pointers", member, LIST_MAX);
    }
  }
  pointers = ond_arena_alloc(r->c->arena, length * sizeof(*pointers));
  for (size_t i = 0; i < length; i++) {
    OndNode one = json_object_is_type(at.value, json_type_array) ? ond_node_element(&at, i) : at;

    if (!ond_node_json_pointer(&one, r->c->arena, &pointers[i], r->err)) {
      return false;
    }
  }
  *n = (int)length;
  *out = pointers;
  return true;
}

static bool parse_counts(Reader *r, const OndNode *result, OndResult *out) {
  static const char *const VALID[] = {"accepted", "failed", NULL};
  OndNode at;

  if (!ond_node_get(result, "counts", &at)) {
    return true;
  }
  out->match = OND_MATCH_COUNTS;
  if (json_object_object_length(result->value) != 1) {
    return ond_node_fail(result, r->err, "\"counts\" stands alone: an answer of counts says nothing about single rows");
  }
  if (!ond_node_object(&at, VALID, r->err)) {
    return false;
  }
  if (!parse_count(r, &at, "accepted", &out->n_accepted, &out->accepted) || !parse_count(r, &at, "failed", &out->n_failed, &out->failed)) {
    return false;
  }
  return out->n_accepted + out->n_failed > 0 || ond_node_fail(&at, r->err, "\"counts\" needs \"accepted\" or \"failed\"");
}

bool ond_captures_parse(OndConnector *c, const OndNode *at, int *n, const OndCapture **out, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;
  OndCapture *captures;

  if (!json_object_is_type(at->value, json_type_object) || json_object_object_length(at->value) > LIST_MAX) {
    return ond_node_fail(at, err, "\"%s\" must be an object of at most %d pointers", at->member, LIST_MAX);
  }
  captures = ond_arena_alloc(c->arena, (size_t)json_object_object_length(at->value) * sizeof(*captures));
  it = json_object_iter_begin(at->value);
  end = json_object_iter_end(at->value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode capture = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    captures[*n].name = ond_arena_strdup(c->arena, capture.member);
    if (!ond_node_json_pointer(&capture, c->arena, &captures[(*n)++].pointer, err)) {
      return false;
    }
  }
  *out = captures;
  return true;
}

static bool parse_captures(Reader *r, const OndNode *result, OndResult *out) {
  OndNode at;

  return !ond_node_get(result, "remote", &at) || ond_captures_parse(r->c, &at, &out->n_captures, &out->captures, r->err);
}

/* How records stand in the answer, and what it means to be one. */
static bool parse_format(Reader *r, const OndNode *result, OndResult *out) {
  static const char *const FORMATS[] = {"json", "lines", "csv", NULL};
  static const char *const FATES[] = {"accepted", "refused", "retry", NULL};
  int format = 0, fate = 0;
  OndNode at;

  if (!ond_member_bool(result, "lines", &out->lines, r->err)) {
    return false;
  }
  if (ond_node_get(result, "format", &at)) {
    if (!ond_node_word(&at, FORMATS, &format, r->err)) {
      return false;
    }
    if (out->lines && format != 1) {
      return ond_node_fail(&at, r->err, "\"lines\" says another format");
    }
    out->lines = format > 0;
    out->csv = format == 2;
  }
  if (!ond_node_get(result, "fate", &at)) {
    return true;
  }
  if (ond_node_get(result, "ok", &at)) {
    return ond_node_fail(result, r->err, "what \"ok\" tells record by record, \"fate\" says of all");
  }
  ond_node_get(result, "fate", &at);
  out->fate = ond_node_word(&at, FATES, &fate, r->err) ? (OndFate)(OND_FATE_ACCEPTED + fate) : OND_FATE_TOLD;
  return out->fate != OND_FATE_TOLD;
}

static bool parse_retry(Reader *r, const OndNode *result, OndResult *out) {
  OndNode at;

  if (!ond_node_get(result, "retry", &at)) {
    return true;
  }
  if (!out->code && !out->error_code) {
    ond_node_fail(&at, r->err, "\"retry\" lists codes, but no \"code\" says where they are");
    ond_error_hint(r->err, "Add \"code\": \"/code\" to \"result\" or to its \"errors\".");
    return false;
  }
  return parse_scalars(r->c, &at, &out->n_retry, &out->retry, r->err);
}

/* Which of the shapes it is. */
static bool parse_shape(Reader *r, const OndNode *at, OndResult *out) {
  OndNode match;
  OndNode rows;
  bool has_match = ond_node_get(at, "match", &match);
  bool has_rows = ond_node_get(at, "rows", &rows);

  if (out->match == OND_MATCH_COUNTS) {
    return true;
  }
  if (out->lines && (has_rows || out->has_errors)) {
    return ond_node_fail(at, r->err, "in this format every line is a record: \"rows\" and \"errors\" have no place");
  }
  if (has_match) {
    if (!parse_match(r, &match, out)) {
      return false;
    }
    return !out->lines || out->match != OND_MATCH_MAP || ond_node_fail(&match, r->err, "lines cannot be matched as a map");
  }
  if (has_rows || out->lines) {
    out->match = OND_MATCH_ORDER;
    return true;
  }
  if (out->has_errors) {
    out->match = OND_MATCH_ERRORS;
    if (out->ok || out->id || out->created || out->n_captures || out->error || out->code) {
      return ond_node_fail(at, r->err, "an answer that lists only errors has no records: \"errors\" takes \"message\" and \"code\"");
    }
    return true;
  }
  out->match = OND_MATCH_SINGLE;
  if (r->o->info.batch_rows > 1) {
    ond_node_fail(at, r->err, "\"result\" of a batch needs \"rows\", \"errors\", \"lines\" or \"counts\"");
    ond_error_hint(r->err, "For example {\"rows\": \"/results\", \"match\": \"order\"}.");
    return false;
  }
  return true;
}

const OndResult *ond_result_parse(OndConnector *c, OndOperation *o, const OndNode *at, OndError *err) {
  static const char *const VALID[] = {"rows",  "match",   "lines",  "ok",     "id",     "error", "code",
                                      "retry", "created", "remote", "errors", "counts", "format", "fate", NULL};
  OndResult *out = ond_arena_alloc(c->arena, sizeof(*out));
  Reader r = {c, o, err};

  if (!ond_node_object(at, VALID, err) || !parse_counts(&r, at, out)) {
    return NULL;
  }
  if (!parse_format(&r, at, out) || !ond_member_json_pointer(at, "rows", c->arena, &out->rows, err) ||
      !parse_condition(&r, at, "ok", &out->ok) || !parse_condition(&r, at, "created", &out->created) ||
      !ond_member_json_pointer(at, "id", c->arena, &out->id, err) || !ond_member_json_pointer(at, "error", c->arena, &out->error, err) ||
      !ond_member_json_pointer(at, "code", c->arena, &out->code, err) || !parse_captures(&r, at, out) || !parse_errors(&r, at, out) ||
      !parse_retry(&r, at, out) || !parse_shape(&r, at, out)) {
    return NULL;
  }
  return out;
}
