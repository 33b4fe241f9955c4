/*
 * connector.c - the options of a destination into a connector, and a connector bound to a sync.
 *
 * The document is read once, top-down; what it sets for the whole destination (rates, variables, headers) comes before the
 * operations, whose templates refer to it. The document is gone when parsing ends: everything kept is a copy in the arena.
 *
 * Bind is the second, small step: it gives {{key}} its columns and checks that the object can do what the mode needs. It may be called
 * again with another sync.
 */
#include "connector/connector.h"

#include <stdio.h>
#include <string.h>
#include "connector/operation.h"
#include "connector/request.h"

#define VARIABLES_MAX       100
#define GZIP_BYTES_MIN      1024
#define CONCURRENCY_DEFAULT 4
#define TIMEOUT_MS          30000
#define CONNECT_TIMEOUT_MS  10000

/* ---- limits ---- */

static bool parse_windows(const OndNode *at, OndRateGroup *group, OndError *err) {
  size_t n = 1;
  const char *text;

  if (json_object_is_type(at->value, json_type_array)) {
    ond_node_array(at, &n, err);
    if (n > OND_RATE_WINDOWS_MAX) {
      return ond_node_fail(at, err, "a rate limit has at most %d windows", OND_RATE_WINDOWS_MAX);
    }
  }
  for (size_t i = 0; i < n; i++) {
    OndNode one = json_object_is_type(at->value, json_type_array) ? ond_node_element(at, i) : *at;

    if (!ond_node_string(&one, &text, err)) {
      return false;
    }
    if (!ond_rate_limit_parse(text, &group->limits[i], err)) {
      return ond_node_place(&one, err);
    }
  }
  group->n = (int)n;
  return true;
}

static bool parse_rate_group(OndConnector *c, const OndNode *at, OndError *err) {
  OndRateSpec *rate = &c->limits.rate;
  OndRateGroup *group = &rate->groups[0];
  size_t n = strlen(at->member);

  if (n == 0 || n >= OND_RATE_GROUP_NAME_MAX) {
    return ond_node_fail(at, err, "the name of a rate group must have 1 to %d bytes", OND_RATE_GROUP_NAME_MAX - 1);
  }
  if (strcmp(at->member, "default") != 0) {
    if (rate->n_groups == OND_RATE_GROUPS_MAX) {
      return ond_node_fail(at, err, "a destination has at most %d rate groups, \"default\" among them", OND_RATE_GROUPS_MAX);
    }
    group = &rate->groups[rate->n_groups++];
    memcpy(group->name, at->member, n + 1);
  }
  return parse_windows(at, group, err);
}

static bool parse_rate_limit(OndConnector *c, const OndNode *options, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;
  OndNode at;

  memcpy(c->limits.rate.groups[0].name, "default", sizeof("default"));
  c->limits.rate.n_groups = 1;
  if (!ond_node_get(options, "rate_limit", &at)) {
    return true;
  }
  if (!json_object_is_type(at.value, json_type_object)) {
    return parse_windows(&at, &c->limits.rate.groups[0], err);
  }
  it = json_object_iter_begin(at.value);
  end = json_object_iter_end(at.value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode group = {.parent = &at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (!parse_rate_group(c, &group, err)) {
      return false;
    }
  }
  return true;
}

static bool parse_retry(OndConnector *c, const OndNode *options, OndError *err) {
  static const char *const VALID[] = {"attempts", "base_ms", "max_ms", NULL};
  OndRetryPolicy *retry = &c->limits.retry;
  int64_t attempts;
  int64_t base_ms;
  int64_t max_ms;
  OndNode at;

  ond_retry_policy_default(retry);
  attempts = retry->attempts;
  base_ms = retry->base_us / 1000;
  max_ms = retry->max_us / 1000;
  if (!ond_node_get(options, "retry", &at)) {
    return true;
  }
  if (!ond_node_object(&at, VALID, err) || !ond_member_int(&at, "attempts", 1, 100, &attempts, err) ||
      !ond_member_int(&at, "base_ms", 1, 600000, &base_ms, err) || !ond_member_int(&at, "max_ms", 1, 86400000, &max_ms, err)) {
    return false;
  }
  if (max_ms < base_ms) {
    return ond_node_fail(&at, err, "\"max_ms\" (%lld) is less than \"base_ms\" (%lld)", (long long)max_ms, (long long)base_ms);
  }
  retry->attempts = (int)attempts;
  retry->base_us = base_ms * 1000;
  retry->max_us = max_ms * 1000;
  return true;
}

static bool parse_gzip(OndConnector *c, const OndNode *options, OndError *err) {
  static const char *const VALID[] = {"min_bytes", NULL};
  int64_t min = GZIP_BYTES_MIN;
  OndNode at;

  if (!ond_node_get(options, "gzip", &at)) {
    return true;
  }
  if (json_object_is_type(at.value, json_type_object)) {
    if (!ond_node_object(&at, VALID, err) || !ond_member_int(&at, "min_bytes", 0, (int64_t)OND_BODY_BYTES_MAX, &min, err)) {
      return false;
    }
    c->gzip = true;
  } else if (!ond_node_bool(&at, &c->gzip, err)) {
    return false;
  }
  c->gzip_bytes_min = (size_t)min;
  return true;
}

static bool parse_limits(OndConnector *c, const OndNode *options, OndError *err) {
  int64_t concurrency = CONCURRENCY_DEFAULT;
  int64_t timeout_ms = TIMEOUT_MS;
  int64_t connect_timeout_ms = CONNECT_TIMEOUT_MS;

  if (!parse_rate_limit(c, options, err) || !parse_retry(c, options, err) || !parse_gzip(c, options, err) ||
      !ond_member_int(options, "concurrency", 1, 1000, &concurrency, err) ||
      !ond_member_int(options, "timeout_ms", 1, 3600000, &timeout_ms, err) ||
      !ond_member_int(options, "connect_timeout_ms", 1, 600000, &connect_timeout_ms, err)) {
    return false;
  }
  c->limits.concurrency = (int)concurrency;
  c->limits.timeout_ms = (int)timeout_ms;
  c->limits.connect_timeout_ms = (int)connect_timeout_ms;
  return true;
}

/* ---- variables, headers, operations ---- */

static bool parse_variable(OndConnector *c, const OndNode *at, OndError *err) {
  OndVariable *variable = &c->variables[c->n_variables++];
  json_type type = json_object_get_type(at->value);
  OndBuf json;
  bool ok;

  if (type == json_type_null || type == json_type_object || type == json_type_array) {
    return ond_node_fail(at, err, "the variable \"%s\" must be a string, a number or a boolean", at->member);
  }
  ond_buf_init(&json, OND_DOCUMENT_BYTES_MAX);
  ok = ond_document_json(at->value, &json);
  variable->name = ond_arena_strdup(c->arena, at->member);
  variable->json = (OndBytes){ond_arena_strndup(c->arena, json.data ? json.data : "", json.len), json.len};
  ond_buf_free(&json);
  return ok || ond_node_fail(at, err, "the variable \"%s\" contains a NUL character", at->member);
}

static bool parse_variables(OndConnector *c, const OndNode *options, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;
  OndNode at;
  int n;

  if (!ond_node_get(options, "variables", &at)) {
    return true;
  }
  if (!json_object_is_type(at.value, json_type_object)) {
    return ond_node_fail(&at, err, "\"variables\" must be an object");
  }
  n = json_object_object_length(at.value);
  if (n > VARIABLES_MAX) {
    return ond_node_fail(&at, err, "\"variables\" has more than %d members", VARIABLES_MAX);
  }
  c->variables = ond_arena_alloc(c->arena, (size_t)n * sizeof(*c->variables));
  it = json_object_iter_begin(at.value);
  end = json_object_iter_end(at.value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode variable = {.parent = &at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (!parse_variable(c, &variable, err)) {
      return false;
    }
  }
  return true;
}

/* "key": "email" or {"field": "email", "fold": "lower"} */
static bool parse_key(OndConnector *c, const OndNode *object, OndError *err) {
  static const char *const VALID[] = {"field", "fold", NULL};
  static const char *const FOLDS[] = {"lower", NULL};
  const char *field = NULL;
  int fold;
  OndNode at;
  OndNode member;

  if (!ond_node_get(object, "key", &at)) {
    return true;
  }
  if (!json_object_is_type(at.value, json_type_object)) {
    return ond_node_string(&at, &field, err);
  }
  if (!ond_node_object(&at, VALID, err) || !ond_member_string(&at, "field", &field, err)) {
    return false;
  }
  c->fold = ond_node_get(&at, "fold", &member);
  return !c->fold || ond_node_word(&member, FOLDS, &fold, err);
}

static bool parse_object(OndConnector *c, const OndNode *options, OndError *err) {
  static const char *const VALID[] = {"key", "upsert", "create", "update", "delete", NULL};
  OndNode object;
  OndNode at;
  int n = 0;

  if (ond_node_get(options, "object", &object)) {
    if (!ond_node_object(&object, VALID, err) || !parse_key(c, &object, err)) {
      return false;
    }
    for (int kind = 0; kind < OND_KINDS; kind++) {
      if (ond_node_get(&object, ond_kind_name((OndKind)kind), &at)) {
        c->operations[kind] = ond_operation_parse(c, (OndKind)kind, &at, err);
        if (!c->operations[kind]) {
          return false;
        }
        n++;
      }
    }
  }
  if (n == 0) {
    c->operations[OND_KIND_UPSERT] = ond_operation_default(c, err);
    return c->operations[OND_KIND_UPSERT] != NULL;
  }
  return true;
}

static bool parse_options(OndConnector *c, const OndNode *options, OndError *err) {
  static const char *const VALID[] = {"object",    "rate_limit", "concurrency", "timeout_ms", "connect_timeout_ms", "retry", "headers",
                                      "variables", "gzip",       "check",       NULL};
  OndScope scope = {.c = c};
  OndNode at;
  bool has_check;

  if (!ond_node_object(options, VALID, err) || !parse_limits(c, options, err) || !parse_variables(c, options, err)) {
    return false;
  }
  if (ond_node_get(options, "headers", &at) && !ond_request_headers(&scope, &at, &c->n_headers, &c->headers, err)) {
    return false;
  }
  if (!parse_object(c, options, err)) {
    return false;
  }
  has_check = ond_node_get(options, "check", &at);
  return ond_operation_parse_check(c, has_check ? &at : NULL, err);
}

static bool parse_text(OndConnector *c, const char *options, size_t n, OndError *err) {
  struct json_object *document;
  const char *problem;
  OndNode root;
  bool ok;

  if (!options || n == 0) {
    options = "{}";
    n = 2;
  }
  if (!ond_document_parse(options, n, &document, &problem)) {
    ond_error_set(err, "the destination's options text %s", problem);
    return false;
  }
  root = ond_node_root(document);
  ok = parse_options(c, &root, err);
  json_object_put(document);
  return ok;
}

OndConnector *ond_connector_parse(const char *connector, const char *base_url, const char *options, size_t options_n, OndError *err) {
  OndArena *arena;
  OndConnector *c;

  if (strcmp(connector, "http") != 0) {
    ond_error_set(err, "connector \"%s\" does not exist", connector);
    ond_error_hint(err, "The only connector is \"http\": the destination's options describe the API.");
    memcpy(err->sqlstate, "42704", 6);
    return NULL;
  }
  arena = ond_arena_create();
  c = ond_arena_alloc(arena, sizeof(*c));
  c->arena = arena;
  if (ond_request_base(c, base_url, err) && parse_text(c, options, options_n, err)) {
    return c;
  }
  ond_arena_destroy(arena);
  return NULL;
}

void ond_connector_free(OndConnector *c) {
  if (c) {
    ond_arena_destroy(c->arena);
  }
}

const OndConnectorLimits *ond_connector_limits(const OndConnector *c) {
  return &c->limits;
}

const char *ond_connector_column(const OndConnector *c, int index) {
  return index >= 0 && index < c->n_columns ? c->columns[index] : NULL;
}

const OndOperationInfo *ond_operation_info(const OndOperation *o) {
  return &o->info;
}

const OndOperation *ond_connector_operation(const OndConnector *c, OndOp op) {
  const OndOperation *upsert = c->operations[OND_KIND_UPSERT];

  switch (op) {
  case OND_OP_CREATE: return c->operations[OND_KIND_CREATE] ? c->operations[OND_KIND_CREATE] : upsert;
  case OND_OP_UPDATE: return c->operations[OND_KIND_UPDATE] ? c->operations[OND_KIND_UPDATE] : upsert;
  case OND_OP_DELETE: return c->operations[OND_KIND_DELETE];
  default: return NULL;
  }
}

/* ---- bind ---- */

typedef struct ModeNeed {
  const char *name;
  bool creates;
  bool updates;
  bool deletes;
  const char *words;
} ModeNeed;

static const ModeNeed MODES[] = {
    [OND_MODE_UPSERT] = {"upsert", true, true, false, "\"upsert\", or \"create\" and \"update\""},
    [OND_MODE_INSERT] = {"insert", true, false, false, "\"create\" or \"upsert\""},
    [OND_MODE_UPDATE] = {"update", false, true, false, "\"update\" or \"upsert\""},
    [OND_MODE_MIRROR] = {"mirror", true, true, true, "\"delete\", and \"upsert\" or both \"create\" and \"update\""},
    [OND_MODE_APPEND] = {"append", true, false, false, "\"create\" or \"upsert\""},
    [OND_MODE_REPLACE] = {"replace", true, true, false, "\"upsert\", or \"create\" and \"update\""},
};

static bool check_mode(const OndConnector *c, OndMode mode, OndError *err) {
  const ModeNeed *need = &MODES[mode];
  const char *names[OND_KINDS + 1] = {NULL};
  char joined[80];
  int n = 0;

  if ((!need->creates || ond_connector_operation(c, OND_OP_CREATE)) && (!need->updates || ond_connector_operation(c, OND_OP_UPDATE)) &&
      (!need->deletes || ond_connector_operation(c, OND_OP_DELETE))) {
    return true;
  }
  for (int kind = 0; kind < OND_KINDS; kind++) {
    if (c->operations[kind]) {
      names[n++] = ond_kind_name((OndKind)kind);
    }
  }
  ond_names_join(names, joined, sizeof(joined));
  ond_error_set(err, "mode \"%s\" is not possible with the operations of the destination", need->name);
  ond_error_detail(err, "The mode needs %s. The object has: %s.", need->words, joined);
  ond_error_hint(err, "Add the operation to \"object\" of the destination's options, or choose another mode.");
  ond_error_pointer(err, "/object");
  return false;
}

static int find_key(const char *name, size_t n, int n_keys, const char *const *key_names) {
  for (int i = 0; i < n_keys; i++) {
    if (strlen(key_names[i]) == n && memcmp(key_names[i], name, n) == 0) {
      return i;
    }
  }
  return -1;
}

/* "{{key.a}}, {{key.b}}" */
static void key_references(int n_keys, const char *const *key_names, char *out, size_t n) {
  size_t length = 0;

  out[0] = '\0';
  for (int i = 0; i < n_keys && length < n; i++) {
    int wrote = snprintf(out + length, n - length, "%s{{key.%s}}", i > 0 ? ", " : "", key_names[i]);

    length += wrote > 0 ? (size_t)wrote : 0;
  }
}

static bool fail_key(const OndKeyUse *use, const char *what, int n_keys, const char *const *key_names, OndError *err) {
  char references[240];

  key_references(n_keys, key_names, references, sizeof(references));
  ond_error_set(err, "operation \"%s\" names %s", ond_kind_name(use->kind), what);
  ond_error_hint(err, "The sync's key is %s.", references);
  ond_error_pointer(err, "%s", use->pointer);
  return false;
}

static bool bind_part(const OndKeyUse *use, int n_keys, const char *const *key_names, OndError *err) {
  static const char PREFIX[] = "key.";
  const size_t prefix_n = sizeof(PREFIX) - 1;
  OndTemplatePart *part = use->part;
  char what[200];

  if (part->name.n <= prefix_n) {
    part->index = n_keys == 1 ? 0 : -1;
    snprintf(what, sizeof(what), "{{key}}, but the key has %d columns", n_keys);
  } else {
    part->index = find_key(part->name.p + prefix_n, part->name.n - prefix_n, n_keys, key_names);
    snprintf(what, sizeof(what), "{{%.100s}}, but the key has no such column", part->name.p);
  }
  return part->index >= 0 || fail_key(use, what, n_keys, key_names, err);
}

static bool bind_identity(const OndKeyUse *use, int n_keys, const char *const *key_names, OndError *err) {
  OndIdentity *identity = use->identity;
  char what[200];

  for (int i = 0; i < identity->n; i++) {
    identity->keys[i] = find_key(identity->columns[i], strlen(identity->columns[i]), n_keys, key_names);
    if (identity->keys[i] < 0) {
      snprintf(what, sizeof(what), "\"%.100s\" in what its answer is matched by, but the key has no such column", identity->columns[i]);
      return fail_key(use, what, n_keys, key_names, err);
    }
  }
  if (identity->n != n_keys) {
    snprintf(what, sizeof(what), "%d key columns in what its answer is matched by, but the key has %d", identity->n, n_keys);
    return fail_key(use, what, n_keys, key_names, err);
  }
  return true;
}

bool ond_connector_bind(OndConnector *c, const char *object, OndMode mode, int n_keys, const char *const *key_names, OndError *err) {
  if (object && *object) {
    ond_error_set(err, "the destination has no object \"%s\"", object);
    ond_error_hint(err, "Connector \"http\" describes one object without a name: leave object out.");
    return false;
  }
  if (!check_mode(c, mode, err)) {
    return false;
  }
  for (const OndKeyUse *use = c->key_uses; use; use = use->next) {
    OndError ignored;
    /* A delete that is never sent may name what this sync has not. */
    OndError *to = use->kind == OND_KIND_DELETE && !MODES[mode].deletes ? &ignored : err;
    bool ok = use->part ? bind_part(use, n_keys, key_names, to) : bind_identity(use, n_keys, key_names, to);

    if (!ok && to == err) {
      return false;
    }
  }
  return true;
}
