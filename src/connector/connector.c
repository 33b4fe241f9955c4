/*
 * connector.c - a connector's document and a destination's options into a connector.
 *
 * The documents are read once, top-down: what is about the account (limits, variables, base URL, headers) comes before the object's operations,
 * whose templates refer to it. They are gone when parsing ends: everything kept is a copy in the arena. `http` has no document: there the
 * options describe the one object. What meets the sync's key and mode is in bind.c, finding all mistakes of a document in check.c.
 */
#include "connector/connector.h"

#include <stdio.h>
#include <string.h>
#include "connector/compile.h"
#include "connector/operation.h"
#include "connector/request.h"

/* The texts of a source, parsed. */
typedef struct Documents {
  struct json_object *document; /* NULL: http */
  struct json_object *options;
} Documents;

static const char *const DOCUMENT_MEMBERS[] = {"title",       "description",        "docs",  "base_url", "variables",    "auth",
                                               "headers",     "rate_limit",         "retry", "gzip",     "rate_headers", "concurrency",
                                               "timeout_ms",  "connect_timeout_ms", "check", "objects",  "hosts",        "types",       "unverified",
                                               "base_url_from_token", NULL};

static const char *const OPTION_MEMBERS[] = {"rate_limit", "concurrency", "timeout_ms", "connect_timeout_ms", "retry", "headers",
                                             "variables",  "gzip",        "check",      NULL};

static const char *const HTTP_MEMBERS[] = {"object",    "rate_limit", "concurrency", "timeout_ms", "connect_timeout_ms", "retry", "headers",
                                           "variables", "gzip",       "check",       NULL};

static const char *const AUTH_KINDS[] = {"none",       "bearer",    "basic", "digest", "header", "query", "oauth2_client_credentials", "oauth2_refresh_token",
                                         "jwt_bearer", "aws_sigv4", "hmac",  NULL};

/* ---- the connector's own document ---- */

/* Words for people. */
static bool parse_words(const OndNode *document, OndError *err) {
  static const char *const WORDS[] = {"title", "description", "docs", NULL};
  const char *text;
  size_t n = 0;
  OndNode at;

  for (int i = 0; WORDS[i]; i++) {
    if (!ond_member_string(document, WORDS[i], &text, err)) {
      return false;
    }
  }
  if (ond_node_get(document, "unverified", &at) && !ond_node_array(&at, &n, err)) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    OndNode element = ond_node_element(&at, i);

    if (!ond_node_string(&element, &text, err)) {
      return false;
    }
  }
  if (!ond_node_get(document, "title", &at)) {
    return ond_node_missing(document, "title", "the API's name as people know it: {\"title\": \"HubSpot CRM\", …}", err);
  }
  return true;
}

static bool parse_auth(OndConnector *c, const OndNode *document, OndError *err) {
  OndNode at;
  size_t n;

  if (!ond_node_get(document, "auth", &at)) {
    return true;
  }
  if (!ond_node_array(&at, &n, err)) {
    return false;
  }
  if (n >= sizeof(AUTH_KINDS) / sizeof(AUTH_KINDS[0])) {
    return ond_node_fail(&at, err, "\"auth\" names a kind twice");
  }
  if (n == 0) {
    ond_node_fail(&at, err, "\"auth\" is empty");
    ond_error_hint(err, "List the kinds that the API takes, or leave it out: then every kind is accepted.");
    return false;
  }
  c->auth = ond_arena_alloc(c->arena, (n + 1) * sizeof(*c->auth));
  for (size_t i = 0; i < n; i++) {
    OndNode element = ond_node_element(&at, i);
    int kind;

    if (!ond_node_word(&element, AUTH_KINDS, &kind, err)) {
      return false;
    }
    c->auth[c->n_auth++] = AUTH_KINDS[kind];
  }
  return true;
}

/* What of a document is not about one object. */
static bool parse_document(OndConnector *c, const OndNode *document, OndError *err) {
  OndNode at;

  if (!ond_node_object(document, DOCUMENT_MEMBERS, err) || !parse_words(document, err) || !ond_limits_parse(c, document, err) ||
      !parse_auth(c, document, err)) {
    return false;
  }
  if (ond_node_get(document, "types", &at) && !ond_types_parse(c, &at, err)) {
    return false;
  }
  if (ond_node_get(document, "hosts", &at) && !ond_hosts_parse(c, &at, err)) {
    return false;
  }
  if (ond_node_get(document, "rate_headers", &at) && !ond_rate_headers_parse(c, &at, err)) {
    return false;
  }
  if (ond_node_get(document, "variables", &at) && !ond_variables_declare(c, &at, err)) {
    return false;
  }
  if (!ond_node_get(document, "objects", &at)) {
    return ond_node_missing(document, "objects", "{\"objects\": {\"contacts\": {\"upsert\": {…}}}}", err);
  }
  if (!json_object_is_type(at.value, json_type_object)) {
    return ond_node_fail(&at, err, "\"objects\" must be an object");
  }
  return json_object_object_length(at.value) > 0 || ond_node_fail(&at, err, "\"objects\" is empty");
}

/* ---- both ---- */

/* Values of variables, and what is made of them at once: the base URL. object->value may be NULL. */
static bool parse_variables(OndConnector *c, const OndConnectorSource *s, const OndNode *document, const OndNode *options,
                            const OndNode *object, OndError *err) {
  OndNode objects;
  OndNode at;

  c->n_account_variables = c->n_variables;
  if (ond_node_get(object, "variables", &at) && !ond_variables_declare(c, &at, err)) {
    return false;
  }
  ond_node_get(document, "objects", &objects);
  if (ond_node_get(options, "variables", &at) && !ond_variables_of_destination(c, &at, c->document ? &objects : NULL, err)) {
    return false;
  }
  ond_node_get(document, "base_url", &at);
  return ond_base_url_parse(c, &at, s->base_url, err) && (!c->document || ond_token_base_parse(c, document, err)) && ond_variables_of_sync(c, s->variables, err);
}

static bool parse_headers(OndConnector *c, const OndNode *document, const OndNode *options, OndError *err) {
  OndScope scope = {.c = c};
  OndNode at;

  if (ond_node_get(document, "headers", &at) && !ond_request_headers(&scope, &at, &c->n_headers, &c->headers, err)) {
    return false;
  }
  if (!ond_node_get(options, "headers", &at)) {
    return true;
  }
  return c->document ? ond_request_headers(&scope, &at, &c->n_overrides, &c->overrides, err)
                     : ond_request_headers(&scope, &at, &c->n_headers, &c->headers, err);
}

static bool parse_check(OndConnector *c, const OndNode *document, const OndNode *options, OndError *err) {
  OndNode at;
  bool given = ond_node_get(options, "check", &at) || ond_node_get(document, "check", &at);

  return ond_operation_parse_check(c, given ? &at : NULL, err);
}

static bool parse_all(OndConnector *c, const OndConnectorSource *s, const Documents *documents, OndError *err) {
  OndNode document = ond_node_root(documents->document);
  OndNode options = ond_node_root(documents->options);
  OndNode objects;
  OndNode object = ond_node_root(NULL);
  bool has_object = !c->document || !s->account_only;

  if (c->document && !parse_document(c, &document, err)) {
    return false;
  }
  if (!ond_node_object(&options, c->document ? OPTION_MEMBERS : HTTP_MEMBERS, err) || !ond_limits_parse(c, &options, err)) {
    return false;
  }
  if (c->document) {
    ond_node_get(&document, "objects", &objects);
    if (has_object && !ond_object_choose(c, &objects, s->object, &object, err)) {
      return false;
    }
  } else if (s->object && *s->object) {
    ond_error_set(err, "the destination has no object \"%s\"", s->object);
    ond_error_hint(err, "Connector \"http\" describes one object without a name: leave object out.");
    return false;
  } else {
    ond_node_get(&options, "object", &object);
  }
  return parse_variables(c, s, &document, &options, &object, err) && parse_headers(c, &document, &options, err) &&
         parse_check(c, &document, &options, err) && (!has_object || ond_object_parse(c, &object, err)) &&
         (s->account_only || c->lenient || ond_variables_check(c, err));
}

/* ---- texts ---- */

static bool parse_text(const char *what, OndBytes text, struct json_object **out, OndError *err) {
  const char *problem;

  if (!text.p || text.n == 0) {
    text = OND_BYTES_LIT("{}");
  }
  if (ond_document_parse(text.p, text.n, out, &problem)) {
    return true;
  }
  ond_error_set(err, "%s text %s", what, problem);
  return false;
}

OndConnector *ond_connector_compile(const OndConnectorSource *s, struct json_object *document, struct json_object *options, bool lenient,
                                    OndError *err) {
  OndArena *arena = ond_arena_create();
  OndConnector *c = ond_arena_alloc(arena, sizeof(*c));
  Documents documents = {document, options};

  c->arena = arena;
  c->name = ond_arena_strdup(arena, s->connector);
  c->document = document != NULL;
  c->lenient = lenient;
  c->object_pointer = "";
  ond_limits_default(c);
  if (parse_all(c, s, &documents, err)) {
    return c;
  }
  ond_arena_destroy(arena);
  return NULL;
}

OndConnector *ond_connector_parse(const OndConnectorSource *s, OndError *err) {
  struct json_object *document = NULL;
  struct json_object *options = NULL;
  OndConnector *c = NULL;

  if (!s->document.p && strcmp(s->connector, "http") != 0) {
    ond_error_set(err, "connector \"%s\" does not exist", s->connector);
    if (strstr(s->connector, "://")) {
      ond_error_hint(err, "For a URL name the argument: base_url => '...'; without a connector it is the generic one, http.");
    } else {
      ond_error_hint(err, "The view ondatra.connectors lists those that may be used; ondatra.create_connector() makes one.");
    }
    memcpy(err->sqlstate, "42704", 6);
    return NULL;
  }
  if ((!s->document.p || parse_text("the connector's", s->document, &document, err)) &&
      parse_text("the destination's options", s->options, &options, err)) {
    c = ond_connector_compile(s, document, options, false, err);
  }
  json_object_put(document);
  json_object_put(options);
  return c;
}

void ond_connector_free(OndConnector *c) {
  if (c) {
    ond_arena_destroy(c->arena);
  }
}

void ond_connector_use_auth(OndConnector *c, const OndAuth *auth) {
  c->values = auth;
}

static bool has_value(const OndAuth *auth, const char *name) {
  for (int i = 0; auth && i < auth->n; i++) {
    if (auth->items[i].use == OND_USE_VALUE && strcmp(auth->items[i].name, name) == 0) {
      return true;
    }
  }
  return false;
}

bool ond_connector_check_auth(const OndConnector *c, const OndAuth *auth, OndError *err) {
  if (c->gzip && auth && auth->type == OND_AUTH_HMAC) {
    ond_error_set(err, "bodies signed with \"hmac\" cannot be compressed");
    ond_error_hint(err, "Leave \"gzip\" out: receivers do not agree on what the signature of a compressed body is over.");
    return false;
  }
  if (!ond_token_base_check_auth(c, auth, err)) {
    return false;
  }
  for (const OndName *one = c->auth_values; one; one = one->next) {
    if (!has_value(auth, one->name)) {
      ond_error_set(err, "{{auth.%.100s}} names no value of the destination's auth", one->name);
      ond_error_hint(err, "Write \"values\": {\"%.100s\": {\"secret\": \"name\"}} into auth, beside its \"type\".", one->name);
      return false;
    }
  }
  return true;
}

const OndConnectorLimits *ond_connector_limits(const OndConnector *c) {
  return &c->limits;
}

void ond_connector_set_fields(OndConnector *c, int n, const char *const *names) {
  c->n_fields = n;
  c->fields = ond_arena_alloc(c->arena, (size_t)(n + 1) * sizeof(*c->fields));
  for (int i = 0; i < n; i++) {
    c->fields[i] = (OndBytes){ond_arena_strdup(c->arena, names[i]), strlen(names[i])};
  }
}

const char *ond_connector_base_url(const OndConnector *c) {
  return c->base;
}

const char *ond_connector_key_field(const OndConnector *c) {
  return c->key_field;
}

const char *ond_connector_required(const OndConnector *c, int index) {
  return index >= 0 && index < c->n_required ? c->required[index] : NULL;
}

bool ond_connector_takes_auth(const OndConnector *c, const char *kind, OndError *err) {
  const char *names[sizeof(AUTH_KINDS) / sizeof(AUTH_KINDS[0])] = {NULL};
  char joined[200];

  for (int i = 0; i < c->n_auth; i++) {
    if (strcmp(c->auth[i], kind) == 0) {
      return true;
    }
    names[i] = c->auth[i];
  }
  if (c->n_auth == 0) {
    return true;
  }
  ond_names_join(names, joined, sizeof(joined));
  ond_error_set(err, "connector \"%s\" does not take credentials of type \"%s\"", c->name, kind);
  ond_error_hint(err, "\"type\" of auth can be %s.", joined);
  return false;
}

const char *ond_connector_column(const OndConnector *c, int index) {
  return index >= 0 && index < c->n_columns ? c->columns[index] : NULL;
}

int ond_connector_column_uses(const OndConnector *c, int index) {
  return index < c->n_columns ? c->column_uses[index] : 0;
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

const OndOperation *ond_connector_route(const OndConnector *c, OndRoute route) {
  switch (route) {
  case OND_ROUTE_CREATE: return ond_connector_operation(c, OND_OP_CREATE);
  case OND_ROUTE_UPDATE: return ond_connector_operation(c, OND_OP_UPDATE);
  case OND_ROUTE_DELETE: return c->operations[OND_KIND_DELETE];
  case OND_ROUTE_LOOKUP: return c->operations[OND_KIND_LOOKUP];
  }
  return NULL;
}
