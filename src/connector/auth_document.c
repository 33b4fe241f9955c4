/*
 * auth_document.c - destinations.auth into an OndAuth: which credentials, and where they are kept.
 *
 * The document never holds a credential, only references to them; a literal one is refused before it can be stored. The one value that
 * may stand there is the user name of basic authentication, and an empty password beside it (APIs whose key is the user name).
 */
#include <string.h>
#include "connector/connector.h"
#include "connector/document.h"
#include "connector/request.h"

#define ITEMS_MAX 20

static const char *const TYPES[] = {"none", "bearer", "basic", "header", "query", NULL};

const char *ond_auth_type_name(OndAuthType type) {
  return TYPES[type];
}

typedef struct Reader {
  OndAuth *auth;
  OndError *err;
} Reader;

static bool fail_literal(Reader *r, const OndNode *at) {
  ond_node_fail(at, r->err, "\"%s\" must be a reference to a credential, not the credential itself", at->member);
  ond_error_hint(r->err, "Store it with set_secret('name', value) and write \"%.100s\": {\"secret\": \"name\"}.", at->member);
  return false;
}

static void add_item(Reader *r, const char *name, OndCredentialSource source, const char *ref) {
  OndCredential *item = &r->auth->items[r->auth->n++];

  *item = (OndCredential){.name = ond_strdup(name), .source = source, .ref = ond_strdup(ref)};
}

/* {"secret": "name"} | {"env": "NAME"} | {"file": "path"} */
static bool parse_reference(Reader *r, const OndNode *at, const char *name) {
  static const char *const VALID[] = {"secret", "env", "file", NULL};
  static const OndCredentialSource SOURCES[] = {OND_CREDENTIAL_SECRET, OND_CREDENTIAL_ENV, OND_CREDENTIAL_FILE};
  OndNode ref;
  const char *text;

  if (!json_object_is_type(at->value, json_type_object)) {
    return fail_literal(r, at);
  }
  if (!ond_node_object(at, VALID, r->err)) {
    return false;
  }
  if (json_object_object_length(at->value) != 1) {
    return ond_node_fail(at, r->err, "\"%s\" needs one of \"secret\", \"env\" and \"file\"", at->member);
  }
  for (int i = 0; VALID[i]; i++) {
    if (ond_node_get(at, VALID[i], &ref)) {
      if (!ond_node_string(&ref, &text, r->err)) {
        return false;
      }
      if (!*text) {
        return ond_node_fail(&ref, r->err, "\"%s\" is empty", VALID[i]);
      }
      add_item(r, name, SOURCES[i], text);
    }
  }
  return true;
}

static bool parse_member(Reader *r, const OndNode *auth, const char *name) {
  OndNode at;

  if (!ond_node_get(auth, name, &at)) {
    ond_node_fail(auth, r->err, "\"%s\" is missing", name);
    ond_error_hint(r->err, "Store it with set_secret('name', value) and write \"%s\": {\"secret\": \"name\"}.", name);
    return false;
  }
  return parse_reference(r, &at, name);
}

static bool parse_bearer(Reader *r, const OndNode *auth) {
  static const char *const VALID[] = {"type", "token", "prefix", NULL};
  const char *prefix = "Bearer";
  OndNode at;

  if (!ond_node_object(auth, VALID, r->err) || !parse_member(r, auth, "token")) {
    return false;
  }
  if (ond_node_get(auth, "prefix", &at)) {
    if (!ond_node_string(&at, &prefix, r->err)) {
      return false;
    }
    for (const char *p = prefix; *p; p++) {
      if (*p < 0x20 || *p >= 0x7F) {
        return ond_node_fail(&at, r->err, "\"prefix\" contains a character that cannot stand in a header");
      }
    }
    if (strlen(prefix) > 100) {
      return ond_node_fail(&at, r->err, "\"prefix\" is longer than 100 bytes");
    }
  }
  r->auth->prefix = ond_strdup(prefix);
  return true;
}

/* A string where an empty or harmless value may stand, else a reference. */
static bool parse_basic_part(Reader *r, const OndNode *auth, const char *name, bool literal) {
  OndNode at;
  const char *text;

  if (ond_node_get(auth, name, &at) && json_object_is_type(at.value, json_type_string)) {
    if (!ond_node_string(&at, &text, r->err)) {
      return false;
    }
    if (!literal && *text) {
      return fail_literal(r, &at);
    }
    add_item(r, name, OND_CREDENTIAL_LITERAL, text);
    return true;
  }
  return parse_member(r, auth, name);
}

static bool parse_basic(Reader *r, const OndNode *auth) {
  static const char *const VALID[] = {"type", "username", "password", NULL};

  return ond_node_object(auth, VALID, r->err) && parse_basic_part(r, auth, "username", true) &&
         parse_basic_part(r, auth, "password", false);
}

/* {"headers": {name: reference}} or {"parameters": {…}} */
static bool parse_named(Reader *r, const OndNode *auth, const char *member, bool headers) {
  const char *const valid[] = {"type", member, NULL};
  struct json_object_iterator it;
  struct json_object_iterator end;
  OndNode at;

  if (!ond_node_object(auth, valid, r->err)) {
    return false;
  }
  if (!ond_node_get(auth, member, &at)) {
    ond_node_fail(auth, r->err, "\"%s\" is missing", member);
    ond_error_hint(r->err, "Write \"%s\": {\"name\": {\"secret\": \"name\"}}.", member);
    return false;
  }
  if (!json_object_is_type(at.value, json_type_object) || json_object_object_length(at.value) == 0 ||
      json_object_object_length(at.value) > ITEMS_MAX) {
    return ond_node_fail(&at, r->err, "\"%s\" must be an object of 1 to %d references", member, ITEMS_MAX);
  }
  it = json_object_iter_begin(at.value);
  end = json_object_iter_end(at.value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode item = {.parent = &at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (headers && !ond_request_header_name(&item, item.member, r->err)) {
      return false;
    }
    if (!*item.member) {
      return ond_node_fail(&item, r->err, "a parameter needs a name");
    }
    if (!parse_reference(r, &item, item.member)) {
      return false;
    }
  }
  return true;
}

static bool parse_auth(Reader *r, const OndNode *auth) {
  static const char *const ONLY_TYPE[] = {"type", NULL};
  OndNode at;
  int type = OND_AUTH_NONE;

  if (!json_object_is_type(auth->value, json_type_object) || !ond_node_get(auth, "type", &at)) {
    ond_node_fail(auth, r->err, "auth must be an object with \"type\"");
    ond_error_hint(r->err, "For example {\"type\": \"bearer\", \"token\": {\"secret\": \"name\"}}.");
    return false;
  }
  if (!ond_node_word(&at, TYPES, &type, r->err)) {
    return false;
  }
  r->auth->type = (OndAuthType)type;
  switch (r->auth->type) {
  case OND_AUTH_BEARER: return parse_bearer(r, auth);
  case OND_AUTH_BASIC: return parse_basic(r, auth);
  case OND_AUTH_HEADER: return parse_named(r, auth, "headers", true);
  case OND_AUTH_QUERY: return parse_named(r, auth, "parameters", false);
  default: return ond_node_object(auth, ONLY_TYPE, r->err);
  }
}

OndAuth *ond_auth_parse(const char *text, size_t n, OndError *err) {
  OndAuth *auth = ond_calloc(sizeof(*auth));
  Reader r = {auth, err};
  struct json_object *document;
  const char *problem;
  OndNode root;
  bool ok;

  if (!text) {
    return auth;
  }
  if (!ond_document_parse(text, n, &document, &problem)) {
    ond_error_set(err, "the destination's auth text %s", problem);
    ond_auth_free(auth);
    return NULL;
  }
  auth->items = ond_calloc(ITEMS_MAX * sizeof(*auth->items));
  root = ond_node_root(document);
  ok = parse_auth(&r, &root);
  json_object_put(document);
  if (ok) {
    return auth;
  }
  ond_auth_free(auth);
  return NULL;
}
