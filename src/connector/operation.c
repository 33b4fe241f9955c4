/*
 * operation.c - one operation of an object: its description compiled.
 *
 * Order matters once: batch and encoding come first, because they decide which names templates may use and what the default
 * body is. Cross-checks that need all parts come last.
 */
#include "connector/operation.h"

#include <string.h>
#include "connector/body.h"
#include "connector/csv.h"
#include "connector/step.h"
#include "connector/request.h"

#define STATUSES_MAX 64
#define ROWS_MAX     100000
#define BYTES_MAX    ((int64_t)OND_BODY_BYTES_MAX)

static const char *const KINDS[] = {"upsert", "create", "update", "delete", "lookup", "list"};

static const char *const MEMBERS[] = {"method", "path",   "query",      "headers",     "encoding", "content_type", "body",
                                      "batch",  "atomic", "idempotent", "idempotency", "rate",     "fine",         "refused",
                                      "retry",  "ok",     "error",      "result",      "exists",   "missing",      "conflict", "csv",
                                      "steps",  "jobs",   NULL};

static const char *const LOOKUP_MEMBERS[] = {"method", "path",    "query",   "headers", "encoding", "content_type", "body",   "batch", "rate",
                                             "refused", "retry",  "missing", "ok",      "error",    "result",       "when",   NULL};

/* How the idempotency key travels. */
typedef struct Idempotency {
  bool given;
  const char *header; /* NULL: none */
  bool replays_errors;
  OndBodyExtra extra;
} Idempotency;

const char *ond_kind_name(OndKind kind) {
  return KINDS[kind];
}

static bool parse_group(OndConnector *c, const OndNode *batch, OndOperation *o, OndError *err) {
  OndNode at;

  if (!ond_node_get(batch, "group", &at)) {
    return true;
  }
  if (!ond_node_string(&at, &o->info.group, err)) {
    return false;
  }
  o->info.group = ond_arena_strdup(c->arena, o->info.group);
  return *o->info.group || ond_node_fail(&at, err, "this name is empty");
}

static bool parse_batch(OndConnector *c, const OndNode *operation, OndOperation *o, OndError *err) {
  static const char *const VALID[] = {"rows", "bytes", "row_bytes", "group", NULL};
  static const char *const READING_VALID[] = {"rows", "bytes", "row_bytes", NULL};
  bool reads = o->kind == OND_KIND_LOOKUP || o->kind == OND_KIND_LIST;
  int64_t rows = 1;
  OndNode at;

  o->info.batch_rows = 1;
  if (!ond_node_get(operation, "batch", &at)) {
    return true;
  }
  if (!ond_node_object(&at, reads ? READING_VALID : VALID, err) || !parse_group(c, &at, o, err) || !ond_member_int(&at, "rows", 1, ROWS_MAX, &rows, err) ||
      !ond_member_int(&at, "bytes", 1, BYTES_MAX, &o->info.batch_bytes, err) ||
      !ond_member_int(&at, "row_bytes", 1, BYTES_MAX, &o->info.row_bytes, err)) {
    return false;
  }
  o->info.batch_rows = (int)rows;
  return true;
}

static bool parse_encoding(OndConnector *c, const OndNode *operation, OndOperation *o, OndError *err) {
  static const char *const WORDS[] = {"json", "ndjson", "form", "csv", NULL};
  static const char *const READING_WORDS[] = {"json", "ndjson", "form", NULL};
  static const char *const TYPES[] = {"application/json", "application/x-ndjson", "application/x-www-form-urlencoded", "text/csv"};
  bool reads = o->kind == OND_KIND_LOOKUP || o->kind == OND_KIND_LIST;
  int encoding = OND_ENCODING_JSON;
  const char *type = NULL;
  OndNode at;

  if (ond_node_get(operation, "encoding", &at) && !ond_node_word(&at, reads ? READING_WORDS : WORDS, &encoding, err)) {
    return false;
  }
  o->encoding = (OndEncoding)encoding;
  o->content_type = TYPES[encoding];
  if (encoding == OND_ENCODING_FORM && o->info.batch_rows > 1) {
    return ond_node_fail(&at, err, "a form carries one row a request: \"batch\" cannot have more rows");
  }
  if (!ond_node_get(operation, "content_type", &at)) {
    return true;
  }
  if (!ond_node_string(&at, &type, err)) {
    return false;
  }
  for (const char *p = type; *p; p++) {
    if (*p < 0x20 || *p >= 0x7F) {
      return ond_node_fail(&at, err, "\"content_type\" contains a character that cannot stand in a header");
    }
  }
  if (!strchr(type, '/') || strlen(type) > 200) {
    return ond_node_fail(&at, err, "\"content_type\" must be a media type such as application/vnd.api+json");
  }
  o->content_type = ond_arena_strdup(c->arena, type);
  return true;
}

static bool parse_statuses(OndConnector *c, const OndNode *operation, const char *member, const int **out, OndError *err) {
  OndNode at;
  size_t n;
  int *list;

  if (!ond_node_get(operation, member, &at)) {
    return true;
  }
  if (!ond_node_array(&at, &n, err)) {
    return false;
  }
  if (n > STATUSES_MAX) {
    return ond_node_fail(&at, err, "\"%s\" has more than %d statuses", member, STATUSES_MAX);
  }
  list = ond_arena_alloc(c->arena, (n + 1) * sizeof(*list));
  for (size_t i = 0; i < n; i++) {
    OndNode element = ond_node_element(&at, i);
    int64_t status;

    if (!ond_node_int(&element, 100, 599, &status, err)) {
      return false;
    }
    list[i] = (int)status;
  }
  *out = list;
  return true;
}

static bool overlap(const int *a, const int *b) {
  for (; a && *a; a++) {
    for (const int *p = b; p && *p; p++) {
      if (*p == *a) {
        return true;
      }
    }
  }
  return false;
}

static bool parse_status_rules(OndConnector *c, const OndNode *operation, OndOperation *o, OndError *err) {
  OndStatusRules *r = &o->info.statuses;

  if (!parse_statuses(c, operation, "fine", &r->fine, err) || !parse_statuses(c, operation, "refused", &r->refused, err) ||
      !parse_statuses(c, operation, "retry", &r->retry, err)) {
    return false;
  }
  if (overlap(r->fine, r->refused) || overlap(r->fine, r->retry) || overlap(r->refused, r->retry)) {
    return ond_node_fail(operation, err, "a status can be in one of \"fine\", \"refused\" and \"retry\" only");
  }
  return true;
}

/* Statuses that send a row another way: each is about one record, and means one thing. */
static bool parse_ways(OndConnector *c, const OndNode *operation, OndOperation *o, OndError *err) {
  static const char *const WORDS[] = {"exists", "missing", "conflict"};
  const int **lists[] = {&o->info.exists, &o->info.missing, &o->info.conflict};
  const int *rules[] = {o->info.statuses.fine, o->info.statuses.refused, o->info.statuses.retry, NULL, NULL};
  OndNode at;

  for (int i = 0; i < 3; i++) {
    if (!ond_node_get(operation, WORDS[i], &at)) {
      continue;
    }
    if ((i == 0 && o->kind != OND_KIND_CREATE) || (i == 1 && (o->kind == OND_KIND_CREATE || o->kind == OND_KIND_UPSERT))) {
      return ond_node_fail(&at, err, "\"%s\" says nothing about \"%s\"", WORDS[i], o->info.name);
    }
    if (!parse_statuses(c, operation, WORDS[i], lists[i], err)) {
      return false;
    }
    if (o->info.batch_rows > 1 && o->kind != OND_KIND_LOOKUP) {
      ond_node_fail(&at, err, "\"%s\" is about one record, but \"batch\" sends many", WORDS[i]);
      ond_error_hint(err, "Leave \"batch\" out.");
      return false;
    }
    for (size_t k = 0; k < sizeof(rules) / sizeof(rules[0]); k++) {
      if (overlap(*lists[i], rules[k])) {
        return ond_node_fail(&at, err, "a status of \"%s\" has another meaning too", WORDS[i]);
      }
    }
    rules[i == 0 ? 3 : 4] = *lists[i];
  }
  return true;
}

static bool parse_rate(OndConnector *c, const OndNode *operation, OndOperation *o, OndError *err) {
  const OndRateSpec *rate = &c->limits.rate;
  const char *names[OND_RATE_GROUPS_MAX + 1] = {NULL};
  char joined[160];
  const char *name = NULL;
  OndNode at;

  if (!ond_node_get(operation, "rate", &at)) {
    return true;
  }
  if (!ond_node_string(&at, &name, err)) {
    return false;
  }
  for (int i = 0; i < rate->n_groups; i++) {
    names[i] = rate->groups[i].name;
    if (strcmp(name, names[i]) == 0) {
      o->info.rate_group = i;
      return true;
    }
  }
  ond_node_fail(&at, err, "\"rate_limit\" has no group \"%s\"", name);
  ond_names_join(names, joined, sizeof(joined));
  ond_error_hint(err, "The groups are %s.", joined);
  return false;
}

static bool parse_key_member(OndConnector *c, const OndNode *at, Idempotency *out, OndError *err) {
  const char *path = NULL;
  OndJsonPtr pointer;
  OndNode field;

  if (ond_node_get(at, "field", &field)) {
    if (!ond_node_string(&field, &path, err) || !ond_node_json_pointer(&field, c->arena, &pointer, err)) {
      return false;
    }
    if (pointer.n != 1) {
      ond_node_fail(&field, err, "the idempotency key's field must be at the top of the body");
      ond_error_hint(err, "Write \"/name\", or name {{idempotency_key}} in the body where it belongs.");
      return false;
    }
    out->extra.field = pointer.tokens[0].p;
  } else if (!ond_member_string(at, "item", &out->extra.item, err)) {
    return false;
  }
  if (out->extra.item) {
    out->extra.item = ond_arena_strdup(c->arena, out->extra.item);
  }
  return true;
}

static bool parse_idempotency(OndConnector *c, const OndNode *operation, Idempotency *out, OndError *err) {
  static const char *const VALID[] = {"header", "field", "item", "replays_errors", NULL};
  bool off = true;
  OndNode at;
  OndNode header;

  *out = (Idempotency){.header = "Idempotency-Key"};
  if (!ond_node_get(operation, "idempotency", &at)) {
    return true;
  }
  out->header = NULL;
  if (!at.value) {
    return true;
  }
  if (json_object_is_type(at.value, json_type_boolean)) {
    ond_node_bool(&at, &off, err);
    return !off || ond_node_fail(&at, err, "\"idempotency\" must be an object, null or false");
  }
  if (!ond_node_object(&at, VALID, err) || !ond_member_bool(&at, "replays_errors", &out->replays_errors, err)) {
    return false;
  }
  if (json_object_object_length(at.value) - json_object_object_get_ex(at.value, "replays_errors", NULL) != 1) {
    return ond_node_fail(&at, err, "\"idempotency\" needs one of \"header\", \"field\" and \"item\"");
  }
  out->given = true;
  if (!ond_node_get(&at, "header", &header)) {
    return parse_key_member(c, &at, out, err);
  }
  if (!ond_node_string(&header, &out->header, err) || !ond_request_header_name(&header, out->header, err)) {
    return false;
  }
  out->header = ond_arena_strdup(c->arena, out->header);
  return true;
}

/* The rows are the body. */
static bool parse_csv(const OndScope *s, const OndNode *operation, OndOperation *o, const Idempotency *key, OndError *err) {
  OndNode at;

  if (ond_node_get(operation, "body", &at)) {
    return ond_node_fail(&at, err, "in the encoding csv the rows are the body; \"csv\" says which columns they have");
  }
  if (key->extra.field || key->extra.item) {
    ond_node_fail(operation, err, "a csv has no place for the idempotency key but a column");
    ond_error_hint(err, "Write {\"name\": …, \"value\": \"{{idempotency_key}}\"} in \"columns\".");
    return false;
  }
  o->csv = ond_csv_parse(s, operation, err);
  return o->csv != NULL;
}

static bool parse_body(OndConnector *c, const OndNode *operation, OndOperation *o, const Idempotency *key, OndError *err) {
  OndScope scope = {.c = c, .o = o, .rows = o->info.batch_rows == 1 && o->kind != OND_KIND_LIST};
  OndNode at;
  bool given;

  if (o->encoding == OND_ENCODING_CSV) {
    return parse_csv(&scope, operation, o, key, err);
  }
  if (ond_node_get(operation, "csv", &at)) {
    return ond_node_fail(&at, err, "\"csv\" says something about the encoding csv only");
  }
  given = ond_node_get(operation, "body", &at);
  if ((given && !at.value) || (!given && (o->is_step || o->kind == OND_KIND_DELETE || o->kind == OND_KIND_LOOKUP || o->kind == OND_KIND_LIST))) {
    if (key->extra.field || key->extra.item) {
      return ond_node_fail(operation, err, "there is no body that could carry the idempotency key");
    }
    return true;
  }
  o->body = ond_body_compile(&scope, &at, !given, &key->extra, err);
  return o->body != NULL;
}

/* A batch must name every row somewhere. */
static bool check_batch(const OndNode *operation, const OndOperation *o, OndError *err) {
  bool named = ond_request_names_rows(&o->request) || o->csv || (o->body && ond_body_has_each(o->body));

  if (o->info.batch_rows == 1 || named) {
    return true;
  }
  ond_node_fail(operation, err, "\"%s\" sends up to %d rows a request, but nothing repeats for every row", o->info.name,
                o->info.batch_rows);
  ond_error_hint(err, "Use [\"$each\", …] in the body or in a parameter of \"query\", or leave \"batch\" out.");
  return false;
}

static bool parse_answer(OndConnector *c, const OndNode *operation, OndOperation *o, OndError *err) {
  OndNode at;

  if (ond_node_get(operation, "ok", &at)) {
    o->ok = ond_condition_parse(c, &at, err);
    if (!o->ok) {
      return false;
    }
  }
  if (!ond_member_json_pointer(operation, "error", c->arena, &o->error, err)) {
    return false;
  }
  if (ond_node_get(operation, "result", &at)) {
    o->result = ond_result_parse(c, o, &at, err);
    if (!o->result) {
      return false;
    }
    o->info.unconfirmed = o->result->match == OND_MATCH_COUNTS;
    o->info.reads_rows = !o->info.unconfirmed;
  }
  return true;
}

static bool parse_request(OndConnector *c, const OndNode *operation, OndOperation *o, const Idempotency *key, OndError *err) {
  OndScope scope = {.c = c, .o = o, .rows = o->info.batch_rows == 1 && o->kind != OND_KIND_LIST};

  if (!ond_request_parse(&scope, operation, &o->request, err)) {
    return false;
  }
  if (key->header) {
    ond_request_default_header(c->arena, &o->request, key->header, ond_reference_idempotency_key(&scope));
  }
  return true;
}

static bool parse_method(const OndNode *operation, const char *const *methods, const char **out, OndError *err) {
  OndNode at;
  int method;
  char names[80];

  if (!ond_node_get(operation, "method", &at)) {
    ond_node_missing(operation, "method", NULL, err);
    ond_names_join(methods, names, sizeof(names));
    ond_error_hint(err, "It can be %s.", names);
    return false;
  }
  if (!ond_node_word(&at, methods, &method, err)) {
    return false;
  }
  *out = methods[method];
  return true;
}

static bool parse_when(const OndNode *operation, OndOperation *o, OndError *err) {
  static const char *const WORDS[] = {"unknown", "always", "delete", NULL};
  int when = 0;
  OndNode at;

  if (ond_node_get(operation, "when", &at) && !ond_node_word(&at, WORDS, &when, err)) {
    return false;
  }
  o->info.always = when == 1;
  o->info.deletes_only = when == 2;
  return true;
}

/* A request that reads: nothing of idempotency. */
static OndOperation *parse_reading(OndConnector *c, OndKind kind, const OndNode *at, const char *const *members, OndError *err) {
  static const char *const METHODS[] = {"GET", "POST", NULL};
  static const Idempotency none;
  OndOperation *o = ond_arena_alloc(c->arena, sizeof(*o));

  o->kind = kind;
  o->info.name = KINDS[kind];
  o->info.idempotent = true;
  if (!ond_node_object(at, members, err) || !parse_method(at, METHODS, &o->request.method, err) || !parse_batch(c, at, o, err) ||
      !parse_encoding(c, at, o, err) || !parse_rate(c, at, o, err) || !parse_status_rules(c, at, o, err) || !parse_ways(c, at, o, err) ||
      !parse_when(at, o, err) || !parse_request(c, at, o, &none, err) || !parse_body(c, at, o, &none, err) || !check_batch(at, o, err) ||
      !parse_answer(c, at, o, err)) {
    return NULL;
  }
  return o;
}

OndOperation *ond_operation_parse_list(OndConnector *c, const OndNode *at, const char *const *members, OndError *err) {
  return parse_reading(c, OND_KIND_LIST, at, members, err);
}

/* Its answer must tell what to go on with. */
static OndOperation *parse_lookup(OndConnector *c, const OndNode *at, OndError *err) {
  OndOperation *o = parse_reading(c, OND_KIND_LOOKUP, at, LOOKUP_MEMBERS, err);

  if (!o) {
    return NULL;
  }
  if (!o->result || (!o->result->id && o->result->n_captures == 0)) {
    ond_node_fail(at, err, "the lookup does not say where the record's id is");
    ond_error_hint(err, "Write {\"result\": {\"id\": \"/id\"}}, with \"rows\" and \"match\" where the answer is a list.");
    return NULL;
  }
  return o;
}

static bool parse_no_jobs(const OndNode *operation, OndError *err) {
  OndNode at;

  return !ond_node_get(operation, "jobs", &at) || ond_node_fail(&at, err, "\"jobs\" says something about an operation of \"steps\" only");
}

bool ond_operation_parse_step(OndConnector *c, OndOperation *o, const OndNode *at, OndError *err) {
  static const char *const METHODS[] = {"GET", "POST", "PUT", "PATCH", "DELETE", NULL};
  static const Idempotency key;

  return parse_method(at, METHODS, &o->request.method, err) && parse_encoding(c, at, o, err) && parse_rate(c, at, o, err) && parse_status_rules(c, at, o, err) && parse_request(c, at, o, &key, err) &&
         parse_body(c, at, o, &key, err) && parse_answer(c, at, o, err);
}

OndOperation *ond_operation_parse(OndConnector *c, OndKind kind, const OndNode *at, OndError *err) {
  static const char *const METHODS[] = {"POST", "PUT", "PATCH", "DELETE", NULL};
  OndOperation *o = ond_arena_alloc(c->arena, sizeof(*o));
  Idempotency key;
  OndNode steps;

  if (kind == OND_KIND_LOOKUP) {
    return parse_lookup(c, at, err);
  }
  o->kind = kind;
  o->info.name = KINDS[kind];
  if (!ond_node_object(at, MEMBERS, err) || (!ond_node_get(at, "steps", &steps) && !parse_method(at, METHODS, &o->request.method, err)) ||
      !parse_batch(c, at, o, err) || !ond_member_bool(at, "atomic", &o->info.atomic, err) || !parse_idempotency(c, at, &key, err)) {
    return NULL;
  }
  o->info.idempotent = kind != OND_KIND_CREATE || key.given;
  o->info.replays_errors = key.replays_errors;
  if (!ond_member_bool(at, "idempotent", &o->info.idempotent, err) || !parse_rate(c, at, o, err)) {
    return NULL;
  }
  if (ond_node_get(at, "steps", &steps)) {
    if (key.extra.field || key.extra.item) {
      ond_node_fail(at, err, "the idempotency key of a job travels in a header");
      ond_error_hint(err, "Name {{idempotency_key}} in the body of the step where it belongs.");
      return NULL;
    }
    return ond_steps_parse(c, at, &steps, o, key.header, err) ? o : NULL;
  }
  if (!parse_no_jobs(at, err) || !parse_encoding(c, at, o, err) || !parse_status_rules(c, at, o, err) ||
      !parse_ways(c, at, o, err) || !parse_request(c, at, o, &key, err) || !parse_body(c, at, o, &key, err) || !check_batch(at, o, err) || !parse_answer(c, at, o, err)) {
    return NULL;
  }
  return o;
}

OndOperation *ond_operation_default(OndConnector *c, OndError *err) {
  struct json_object *description = json_object_new_object();
  OndNode at = ond_node_root(description);
  OndOperation *o;

  json_object_object_add(description, "method", json_object_new_string("POST"));
  o = ond_operation_parse(c, OND_KIND_UPSERT, &at, err);
  json_object_put(description);
  return o;
}

bool ond_operation_parse_check(OndConnector *c, const OndNode *at, OndError *err) {
  static const char *const METHODS[] = {"GET", "HEAD", "POST", NULL};
  static const char *const VALID[] = {"method", "path", "query", "headers", NULL};
  OndNode nothing = ond_node_root(NULL);
  OndScope scope = {.c = c};
  OndNode method;

  c->check.method = "GET";
  if (!at) {
    return ond_request_parse(&scope, &nothing, &c->check, err);
  }
  if (!ond_node_object(at, VALID, err)) {
    return false;
  }
  if (ond_node_get(at, "method", &method) && !parse_method(at, METHODS, &c->check.method, err)) {
    return false;
  }
  return ond_request_parse(&scope, at, &c->check, err);
}
