/*
 * auth_token.c - auth documents of the kinds whose credential is fetched from a token endpoint: oauth2_client_credentials,
 * oauth2_refresh_token, jwt_bearer.
 */
#include "connector/auth_document.h"

#include <string.h>
#include "core/url.h"

#define LIFETIME_S     300 /* of an assertion: all that is asked for is that it arrives */
#define LIFETIME_S_MAX 3600
#define CLAIMS_MAX     8192
#define SCOPES_MAX     100

static bool read_token_url(OndAuthReader *r, const OndNode *auth, OndTokenPlan *plan) {
  OndNode at;
  OndUrl url;

  if (!ond_auth_read_text(r, auth, "token_url", false, &plan->url)) {
    return false;
  }
  ond_node_get(auth, "token_url", &at);
  if (!ond_url_parse(plan->url, &url, r->err)) {
    return ond_node_place(&at, r->err);
  }
  memcpy(plan->host, url.host, sizeof(plan->host));
  return true;
}

/* "scope": a text, or a list of them. */
static bool read_scope(OndAuthReader *r, const OndNode *auth, OndTokenPlan *plan) {
  OndBuf joined;
  OndNode at;
  size_t n;
  bool ok;

  if (!ond_node_get(auth, "scope", &at) || !json_object_is_type(at.value, json_type_array)) {
    return ond_auth_read_text(r, auth, "scope", true, &plan->scope);
  }
  ok = ond_node_array(&at, &n, r->err) && ((n > 0 && n <= SCOPES_MAX) || ond_node_fail(&at, r->err, "\"scope\" must have 1 to %d elements", SCOPES_MAX));
  ond_buf_init(&joined, SCOPES_MAX * 256);
  for (size_t i = 0; ok && i < n; i++) {
    OndNode one = ond_node_element(&at, i);
    const char *text;

    ok = ond_node_string(&one, &text, r->err) && (i == 0 || ond_buf_append_char(&joined, ' ')) && ond_buf_append_str(&joined, text);
  }
  if (ok && joined.data) {
    plan->scope = ond_strdup(joined.data);
  }
  ond_buf_free(&joined);
  return ok;
}

/* One more parameter of the token request: a plain text, or a reference. */
static bool read_parameter(OndAuthReader *r, const OndNode *item) {
  OndNode object = *item->parent;

  if (!*item->member) {
    return ond_node_fail(item, r->err, "a parameter needs a name");
  }
  return ond_auth_read_identifier(r, &object, OND_USE_TOKEN_PARAMETER, item->member, false);
}

static bool read_parameters(OndAuthReader *r, const OndNode *auth) {
  OndNode at;

  return !ond_node_get(auth, "parameters", &at) || ond_auth_read_object(r, &at, read_parameter);
}

static bool fail_client(OndAuthReader *r, const OndNode *at, const char *form, const char *member) {
  ond_node_fail(at, r->err, "client_auth \"%s\" needs \"%s\"", form, member);
  ond_error_hint(r->err, "Write \"%s\": {\"secret\": \"name\"}.", member);
  return false;
}

/* Who the client is and how it shows that. Without "client_auth": by what there is to show. */
static bool read_client(OndAuthReader *r, const OndNode *auth, OndTokenPlan *plan, bool required) {
  static const char *const FORMS[] = {"none", "basic", "post", "private_key_jwt", NULL};
  OndNode at, secret, key, id;
  bool has_secret = ond_node_get(auth, "client_secret", &secret), has_key = ond_node_get(auth, "client_key", &key);
  int form = has_key ? OND_CLIENT_PRIVATE_KEY_JWT : has_secret ? OND_CLIENT_BASIC : OND_CLIENT_NONE;
  bool said = ond_node_get(auth, "client_auth", &at);

  if (!ond_auth_read_identifier(r, auth, OND_USE_TOKEN, "client_id", !required) ||
      !ond_auth_read_member(r, auth, OND_USE_TOKEN, "client_secret", true) || !ond_auth_read_member(r, auth, OND_USE_TOKEN, "client_key", true) ||
      !ond_auth_read_text(r, auth, "client_key_id", true, &plan->client_key_id) ||
      !ond_auth_read_text(r, auth, "client_audience", true, &plan->client_audience) || (said && !ond_node_word(&at, FORMS, &form, r->err))) {
    return false;
  }
  plan->client_auth = (OndClientAuth)form;
  if (plan->client_auth != OND_CLIENT_NONE && !ond_node_get(auth, "client_id", &id)) {
    return fail_client(r, auth, FORMS[form], "client_id");
  }
  if (plan->client_auth == OND_CLIENT_PRIVATE_KEY_JWT && !has_key) {
    return fail_client(r, &at, FORMS[form], "client_key");
  }
  if ((plan->client_auth == OND_CLIENT_BASIC || plan->client_auth == OND_CLIENT_POST) && !has_secret) {
    return fail_client(r, &at, FORMS[form], "client_secret");
  }
  if ((has_secret && plan->client_auth != OND_CLIENT_BASIC && plan->client_auth != OND_CLIENT_POST) ||
      (has_key && plan->client_auth != OND_CLIENT_PRIVATE_KEY_JWT)) {
    return ond_node_fail(auth, r->err, "client_auth \"%s\" does not use \"%s\"", FORMS[form], has_secret ? "client_secret" : "client_key");
  }
  return true;
}

static OndTokenPlan *new_plan(OndAuthReader *r) {
  OndTokenPlan *plan = ond_calloc(sizeof(*plan));

  plan->lifetime_s = LIFETIME_S;
  r->auth->token = plan;
  return plan;
}

#define TOKEN_MEMBERS                                                                                                                      \
  OND_AUTH_COMMON, "token_url", "client_id", "client_secret", "client_auth", "client_key", "client_key_id", "client_audience", "scope",    \
      "audience", "parameters", "prefix"

static bool read_common(OndAuthReader *r, const OndNode *auth, OndTokenPlan *plan, bool client_required) {
  return read_token_url(r, auth, plan) && read_client(r, auth, plan, client_required) && read_scope(r, auth, plan) &&
         ond_auth_read_text(r, auth, "audience", true, &plan->audience) && read_parameters(r, auth) && ond_auth_read_prefix(r, auth);
}

bool ond_auth_read_client_credentials(OndAuthReader *r, const OndNode *auth) {
  static const char *const VALID[] = {TOKEN_MEMBERS, NULL};

  return ond_node_object(auth, VALID, r->err) && read_common(r, auth, new_plan(r), true);
}

bool ond_auth_read_refresh_token(OndAuthReader *r, const OndNode *auth) {
  static const char *const VALID[] = {TOKEN_MEMBERS, "refresh_token", NULL};

  return ond_node_object(auth, VALID, r->err) && read_common(r, auth, new_plan(r), true) &&
         ond_auth_read_member(r, auth, OND_USE_TOKEN, "refresh_token", false);
}

/* "claims": more members of the assertion, as they are. */
static bool read_claims(OndAuthReader *r, const OndNode *auth, OndTokenPlan *plan) {
  static const char *const OURS[] = {"iss", "sub", "aud", "scope", "iat", "exp", "jti", NULL};
  OndNode at, one;
  OndBuf text;
  bool ok;

  if (!ond_node_get(auth, "claims", &at)) {
    return true;
  }
  if (!json_object_is_type(at.value, json_type_object)) {
    return ond_node_fail(&at, r->err, "\"claims\" must be an object");
  }
  for (int i = 0; OURS[i]; i++) {
    if (ond_node_get(&at, OURS[i], &one)) {
      return ond_node_fail(&one, r->err, "the claim \"%s\" is set from issuer, subject, audience, scope and lifetime_s", OURS[i]);
    }
  }
  ond_buf_init(&text, CLAIMS_MAX);
  ok = ond_document_json(at.value, &text) && !text.overflow;
  if (!ok) {
    ond_node_fail(&at, r->err, "\"claims\" is larger than %d bytes", CLAIMS_MAX);
  } else if (text.len > 2) {
    text.data[0] = ','; /* {"a":1} becomes ,"a":1 */
    text.data[text.len - 1] = '\0';
    plan->claims = ond_strdup(text.data);
  }
  ond_buf_free(&text);
  return ok;
}

bool ond_auth_read_jwt_bearer(OndAuthReader *r, const OndNode *auth) {
  static const char *const VALID[] = {TOKEN_MEMBERS, "issuer", "subject", "key", "key_id", "claims", "lifetime_s", NULL};
  OndTokenPlan *plan = new_plan(r);
  int64_t lifetime = LIFETIME_S;

  if (!ond_node_object(auth, VALID, r->err) || !read_common(r, auth, plan, false) ||
      !ond_auth_read_text(r, auth, "issuer", false, &plan->issuer) || !ond_auth_read_text(r, auth, "subject", true, &plan->subject) ||
      !ond_auth_read_text(r, auth, "key_id", true, &plan->key_id) || !ond_auth_read_member(r, auth, OND_USE_TOKEN, "key", false) ||
      !read_claims(r, auth, plan) || !ond_member_int(auth, "lifetime_s", 10, LIFETIME_S_MAX, &lifetime, r->err)) {
    return false;
  }
  plan->lifetime_s = (int)lifetime;
  return true;
}
