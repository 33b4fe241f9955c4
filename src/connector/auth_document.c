/*
 * auth_document.c - destinations.auth into an OndAuth: which credentials, and where they are kept.
 *
 * The document never holds a credential, only references to them; a literal one is refused before it can be stored. What may stand there as
 * plain text only says who somebody is: user names, client ids, access key ids, certificates; and an empty password beside a user name (APIs
 * whose key is the user name).
 */
#include "connector/auth_document.h"

#include <string.h>
#include "connector/request.h"

#define NAMED_MAX      20
#define ITEMS_MAX      80 /* of all uses together */
#define TEXT_BYTES_MAX 2000
#define PEM_BYTES_MAX  65536

/* In the order of OndAuthType. */
static const char *const TYPES[] = {"none", "bearer", "basic", "header", "query", "digest", "aws_sigv4", "hmac", "oauth2_client_credentials",
                                    "oauth2_refresh_token", "jwt_bearer", NULL};

const char *ond_auth_type_name(OndAuthType type) {
  return TYPES[type];
}

static bool fail_literal(OndAuthReader *r, const OndNode *at) {
  ond_node_fail(at, r->err, "\"%s\" must be a reference to a credential, not the credential itself", at->member ? at->member : "the element");
  ond_error_hint(r->err, "Store it with set_secret('name', value) and write \"%.100s\": {\"secret\": \"name\"}.", at->member ? at->member : "secret");
  return false;
}

static bool add_item(OndAuthReader *r, const OndNode *at, OndCredentialUse use, const char *name, OndCredentialSource source, const char *ref) {
  if (r->auth->n == ITEMS_MAX) {
    return ond_node_fail(at, r->err, "auth names more than %d credentials", ITEMS_MAX);
  }
  r->auth->items[r->auth->n++] = (OndCredential){.name = ond_strdup(name), .use = use, .source = source, .ref = ond_strdup(ref)};
  return true;
}

bool ond_auth_read_reference(OndAuthReader *r, const OndNode *at, OndCredentialUse use, const char *name) {
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
    return ond_node_fail(at, r->err, "\"%s\" needs one of \"secret\", \"env\" and \"file\"", name);
  }
  for (int i = 0; VALID[i]; i++) {
    if (ond_node_get(at, VALID[i], &ref)) {
      if (!ond_node_string(&ref, &text, r->err)) {
        return false;
      }
      if (!*text) {
        return ond_node_fail(&ref, r->err, "\"%s\" is empty", VALID[i]);
      }
      return add_item(r, at, use, name, SOURCES[i], text);
    }
  }
  return true;
}

bool ond_auth_fail_missing(OndAuthReader *r, const OndNode *auth, const char *name) {
  ond_node_fail(auth, r->err, "\"%s\" is missing", name);
  ond_error_hint(r->err, "Store it with set_secret('name', value) and write \"%s\": {\"secret\": \"name\"}.", name);
  return false;
}

bool ond_auth_read_member(OndAuthReader *r, const OndNode *auth, OndCredentialUse use, const char *name, bool optional) {
  OndNode at;

  if (!ond_node_get(auth, name, &at)) {
    return optional || ond_auth_fail_missing(r, auth, name);
  }
  return ond_auth_read_reference(r, &at, use, name);
}

bool ond_auth_read_identifier(OndAuthReader *r, const OndNode *auth, OndCredentialUse use, const char *name, bool optional) {
  OndNode at;
  const char *text;

  if (!ond_node_get(auth, name, &at) || !json_object_is_type(at.value, json_type_string)) {
    return ond_auth_read_member(r, auth, use, name, optional);
  }
  if (!ond_node_string(&at, &text, r->err)) {
    return false;
  }
  if (strlen(text) > PEM_BYTES_MAX) {
    return ond_node_fail(&at, r->err, "\"%s\" is longer than %d bytes", name, PEM_BYTES_MAX);
  }
  return add_item(r, &at, use, name, OND_CREDENTIAL_LITERAL, text);
}

static bool check_text(OndAuthReader *r, const OndNode *at, const char *text) {
  for (const char *p = text; *p; p++) {
    if ((unsigned char)*p < 0x20 || *p == 0x7F) {
      return ond_node_fail(at, r->err, "\"%s\" contains a control character", at->member);
    }
  }
  if (!*text || strlen(text) > TEXT_BYTES_MAX) {
    return ond_node_fail(at, r->err, "\"%s\" must have 1 to %d bytes", at->member, TEXT_BYTES_MAX);
  }
  return true;
}

bool ond_auth_read_text(OndAuthReader *r, const OndNode *auth, const char *name, bool optional, char **out) {
  OndNode at;
  const char *text;

  if (!ond_node_get(auth, name, &at)) {
    return optional || ond_node_fail(auth, r->err, "\"%s\" is missing", name);
  }
  if (!ond_node_string(&at, &text, r->err) || !check_text(r, &at, text)) {
    return false;
  }
  *out = ond_strdup(text);
  return true;
}

bool ond_auth_read_object(OndAuthReader *r, const OndNode *at, bool (*each)(OndAuthReader *r, const OndNode *item)) {
  struct json_object_iterator it;
  struct json_object_iterator end;

  if (!json_object_is_type(at->value, json_type_object) || json_object_object_length(at->value) == 0 ||
      json_object_object_length(at->value) > NAMED_MAX) {
    return ond_node_fail(at, r->err, "\"%s\" must be an object of 1 to %d references", at->member, NAMED_MAX);
  }
  it = json_object_iter_begin(at->value);
  end = json_object_iter_end(at->value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode item = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (!each(r, &item)) {
      return false;
    }
  }
  return true;
}

bool ond_auth_read_prefix(OndAuthReader *r, const OndNode *auth) {
  const char *prefix = "Bearer";
  OndNode at;

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

/* --- kinds ---------------------------------------------------------------------------------------------------- */

static bool parse_none(OndAuthReader *r, const OndNode *auth) {
  static const char *const VALID[] = {OND_AUTH_COMMON, NULL};

  return ond_node_object(auth, VALID, r->err);
}

static bool parse_bearer(OndAuthReader *r, const OndNode *auth) {
  static const char *const VALID[] = {OND_AUTH_COMMON, "token", "prefix", NULL};

  return ond_node_object(auth, VALID, r->err) && ond_auth_read_member(r, auth, OND_USE_REQUEST, "token", false) && ond_auth_read_prefix(r, auth);
}

/* A password: a reference, or nothing at all as plain text. */
static bool parse_password(OndAuthReader *r, const OndNode *auth) {
  OndNode at;
  const char *text;

  if (!ond_node_get(auth, "password", &at) || !json_object_is_type(at.value, json_type_string)) {
    return ond_auth_read_member(r, auth, OND_USE_REQUEST, "password", false);
  }
  if (!ond_node_string(&at, &text, r->err)) {
    return false;
  }
  return *text ? fail_literal(r, &at) : add_item(r, &at, OND_USE_REQUEST, "password", OND_CREDENTIAL_LITERAL, text);
}

static bool parse_basic(OndAuthReader *r, const OndNode *auth) {
  static const char *const VALID[] = {OND_AUTH_COMMON, "username", "password", NULL};

  return ond_node_object(auth, VALID, r->err) && ond_auth_read_identifier(r, auth, OND_USE_REQUEST, "username", false) &&
         parse_password(r, auth);
}

static bool read_header(OndAuthReader *r, const OndNode *item) {
  return ond_request_header_name(item, item->member, r->err) && ond_auth_read_reference(r, item, OND_USE_REQUEST, item->member);
}

static bool read_parameter(OndAuthReader *r, const OndNode *item) {
  if (!*item->member) {
    return ond_node_fail(item, r->err, "a parameter needs a name");
  }
  return ond_auth_read_reference(r, item, OND_USE_REQUEST, item->member);
}

/* {"headers": {name: reference}} or {"parameters": {…}} */
static bool parse_named(OndAuthReader *r, const OndNode *auth, const char *member, bool (*each)(OndAuthReader *r, const OndNode *item)) {
  const char *const valid[] = {OND_AUTH_COMMON, member, NULL};
  OndNode at;

  if (!ond_node_object(auth, valid, r->err)) {
    return false;
  }
  if (!ond_node_get(auth, member, &at)) {
    ond_node_fail(auth, r->err, "\"%s\" is missing", member);
    ond_error_hint(r->err, "Write \"%s\": {\"name\": {\"secret\": \"name\"}}.", member);
    return false;
  }
  return ond_auth_read_object(r, &at, each);
}

static bool parse_kind(OndAuthReader *r, const OndNode *auth) {
  switch (r->auth->type) {
  case OND_AUTH_NONE: return parse_none(r, auth);
  case OND_AUTH_BEARER: return parse_bearer(r, auth);
  case OND_AUTH_BASIC:
  case OND_AUTH_DIGEST: return parse_basic(r, auth);
  case OND_AUTH_HEADER: return parse_named(r, auth, "headers", read_header);
  case OND_AUTH_QUERY: return parse_named(r, auth, "parameters", read_parameter);
  case OND_AUTH_OAUTH2_CLIENT_CREDENTIALS: return ond_auth_read_client_credentials(r, auth);
  case OND_AUTH_OAUTH2_REFRESH_TOKEN: return ond_auth_read_refresh_token(r, auth);
  case OND_AUTH_JWT_BEARER: return ond_auth_read_jwt_bearer(r, auth);
  case OND_AUTH_AWS_SIGV4: return ond_auth_read_aws_sigv4(r, auth);
  case OND_AUTH_HMAC: return ond_auth_read_hmac(r, auth);
  }
  return false;
}

/* --- beside any kind ------------------------------------------------------------------------------------------ */

static bool parse_tls(OndAuthReader *r, const OndNode *auth) {
  static const char *const VALID[] = {"certificate", "key", "key_password", "ca", NULL};
  OndNode tls, certificate, key;
  bool has_certificate, has_key;

  if (!ond_node_get(auth, "tls", &tls)) {
    return true;
  }
  if (!ond_node_object(&tls, VALID, r->err)) {
    return false;
  }
  has_certificate = ond_node_get(&tls, "certificate", &certificate);
  has_key = ond_node_get(&tls, "key", &key);
  if (has_certificate != has_key) {
    ond_node_fail(&tls, r->err, "a client certificate needs \"certificate\" and \"key\"");
    ond_error_hint(r->err, "Write \"tls\": {\"certificate\": {\"secret\": \"crm_cert\"}, \"key\": {\"secret\": \"crm_key\"}}.");
    return false;
  }
  if (json_object_object_length(tls.value) == 0) {
    return ond_node_fail(&tls, r->err, "\"tls\" names neither a client certificate nor a \"ca\"");
  }
  return ond_auth_read_identifier(r, &tls, OND_USE_TLS, "certificate", true) && ond_auth_read_member(r, &tls, OND_USE_TLS, "key", true) &&
         ond_auth_read_member(r, &tls, OND_USE_TLS, "key_password", true) && ond_auth_read_identifier(r, &tls, OND_USE_TLS, "ca", true);
}

static bool read_value(OndAuthReader *r, const OndNode *item) {
  size_t n = strlen(item->member);

  if (n == 0 || n > 63 || strspn(item->member, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != n) {
    ond_node_fail(item, r->err, "\"%s\" cannot be the name of a value", item->member);
    ond_error_hint(r->err, "Use 1 to 63 letters, digits, \"_\" and \"-\".");
    return false;
  }
  return ond_auth_read_reference(r, item, OND_USE_VALUE, item->member);
}

static bool parse_values(OndAuthReader *r, const OndNode *auth) {
  OndNode at;

  return !ond_node_get(auth, "values", &at) || ond_auth_read_object(r, &at, read_value);
}

static bool parse_auth(OndAuthReader *r, const OndNode *auth) {
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
  return parse_kind(r, auth) && parse_tls(r, auth) && parse_values(r, auth);
}

OndAuth *ond_auth_parse(const char *text, size_t n, OndError *err) {
  OndAuth *auth = ond_calloc(sizeof(*auth));
  OndAuthReader r = {auth, err};
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
