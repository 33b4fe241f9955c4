/*
 * auth.c - puts credentials on requests: what all kinds share, and the kinds that need no more than a header or a parameter.
 *
 * Applying replaces: a header or query parameter of the same name that is on the request already goes away, so that applying
 * again (a refreshed token, a retry) never sends two, and neither data nor a constant header of a connector wins over the auth.
 *
 * Owns nothing beyond a call; every temporary copy of a value is wiped. Messages name credentials, never show them.
 * Does not read documents or resolve references (connector/auth_document.c, catalog/secrets.c), does not fetch tokens (engine/tokens.c).
 * Kinds with more to do: digest.c, sigv4.c, hmac.c. What must not be seen: scrub.c.
 */
#include "http/auth_kinds.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "core/mem.h"

#define URL_BYTES_MAX     (1 << 20)
#define ORIGINS_MAX       32
#define OLD_TOKENS_BYTES_MAX 32768

void ond_free_wiped(char *s) {
  if (s) {
    ond_wipe(s, strlen(s));
    ond_free(s);
  }
}

void ond_buf_free_wiped(OndBuf *b) {
  ond_wipe(b->data, b->len);
  ond_buf_free(b);
}

static void free_token_plan(OndTokenPlan *t) {
  if (t) {
    char *texts[] = {t->url, t->scope, t->audience, t->client_key_id, t->client_audience, t->issuer, t->subject, t->key_id, t->claims};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
      ond_free(texts[i]);
    }
    ond_free(t);
  }
}

static void free_hmac_plan(OndHmacPlan *h) {
  if (h) {
    for (int i = 0; i < h->n_over; i++) {
      ond_free(h->over[i].literal);
    }
    ond_free(h->over);
    ond_free(h->header);
    ond_free(h->prefix);
    ond_free(h->timestamp_header);
    ond_free(h);
  }
}

void ond_auth_free(OndAuth *a) {
  if (!a) {
    return;
  }
  for (int i = 0; i < a->n; i++) {
    ond_free(a->items[i].name);
    ond_free(a->items[i].ref);
    ond_free_wiped(a->items[i].value);
  }
  ond_free(a->items);
  ond_free(a->prefix);
  free_token_plan(a->token);
  free_hmac_plan(a->hmac);
  if (a->sigv4) {
    ond_free(a->sigv4->region);
    ond_free(a->sigv4->service);
    ond_free(a->sigv4);
  }
  ond_digest_free(a->digest);
  ond_free_wiped(a->access_token);
  ond_free_wiped(a->scrub_also);
  ond_free(a->token_base);
  ond_free(a->origins);
  ond_free(a);
}

bool ond_auth_wants_token(const OndAuth *a) {
  return a && a->token;
}

/* What was a token stays out of sight: answers to requests that carried it are still to come. */
void ond_auth_hide(OndAuth *a, const char *token) {
  size_t old_n = a->scrub_also ? strlen(a->scrub_also) : 0, n = strlen(token);
  char *all;

  if (old_n + n + 2 > OLD_TOKENS_BYTES_MAX) {
    old_n = 0; /* requests live for minutes, this many tokens for hours */
  }
  all = ond_malloc(old_n + n + 2);
  if (old_n > 0) {
    memcpy(all, a->scrub_also, old_n);
  }
  memcpy(all + old_n, token, n);
  memcpy(all + old_n + n, "\n", 2);
  ond_free_wiped(a->scrub_also);
  a->scrub_also = all;
}

void ond_auth_set_token(OndAuth *a, const char *access_token) {
  if (a->access_token && strcmp(a->access_token, access_token) == 0) {
    return;
  }
  if (a->access_token) {
    ond_auth_hide(a, a->access_token);
  }
  ond_free_wiped(a->access_token);
  a->access_token = ond_strdup(access_token);
}

void ond_auth_set_token_base(OndAuth *a, char *base) {
  ond_free(a->token_base);
  a->token_base = base;
}

bool ond_auth_trust(OndAuth *a, const char *url, OndError *err) {
  OndUrl parsed;

  if (!ond_url_parse(url, &parsed, err)) {
    return false;
  }
  parsed.path = OND_BYTES_NONE; /* it points into the caller's text */
  for (int i = 0; i < a->n_origins; i++) {
    if (ond_url_same_origin(&a->origins[i], &parsed)) {
      return true;
    }
  }
  if (a->n_origins == ORIGINS_MAX) {
    ond_error_set(err, "credentials may go to at most %d hosts", ORIGINS_MAX);
    return false;
  }
  a->origins = ond_realloc(a->origins, ((size_t)a->n_origins + 1) * sizeof(*a->origins));
  a->origins[a->n_origins++] = parsed;
  return true;
}

static bool is_trusted(const OndAuth *a, const char *url) {
  OndError ignored;
  OndUrl parsed;

  if (a->n_origins == 0) {
    return true;
  }
  if (!ond_url_parse(url, &parsed, &ignored)) {
    return false;
  }
  for (int i = 0; i < a->n_origins; i++) {
    if (ond_url_same_origin(&a->origins[i], &parsed)) {
      return true;
    }
  }
  return false;
}

void ond_auth_redact(OndAuth *a) {
  a->redacted = true;
  for (int i = 0; i < a->n; i++) {
    OndCredential *c = &a->items[i];

    ond_free_wiped(c->value);
    c->value = ond_strdup(c->source == OND_CREDENTIAL_LITERAL ? c->ref : OND_AUTH_MARK);
  }
  if (a->token) {
    ond_auth_set_token(a, OND_AUTH_MARK);
  }
}

int64_t ond_auth_now_s(const OndAuth *a) {
  return a->now_s != 0 ? a->now_s : (int64_t)time(NULL);
}

/* --- credentials ---------------------------------------------------------------------------------------------- */

const char *ond_credential_value(const OndCredential *c) {
  return c->value || c->source != OND_CREDENTIAL_LITERAL ? c->value : c->ref;
}

static bool refuse_credential(const char *name, const char *problem, OndError *err) {
  ond_error_set(err, "credential \"%s\" of the destination %s", name, problem);
  ond_error_hint(err, "Nothing is sent without it: set the secret, variable or file that the destination's auth names.");
  return false;
}

/* may_be_empty: APIs that take a key as user name want no password. */
static bool check_credential(const OndCredential *c, bool may_be_empty, OndError *err) {
  const char *value = ond_credential_value(c);

  if (!value) {
    return refuse_credential(c->name, "is not resolved", err);
  }
  if (value[0] == '\0' && !may_be_empty) {
    return refuse_credential(c->name, "is empty", err);
  }
  if (strlen(value) > OND_CREDENTIAL_BYTES_MAX && c->use == OND_USE_REQUEST) {
    return refuse_credential(c->name, "is too long", err);
  }
  return true;
}

const OndCredential *ond_auth_find(const OndAuth *a, OndCredentialUse use, const char *name) {
  for (int i = 0; i < a->n; i++) {
    if (a->items[i].use == use && strcmp(a->items[i].name, name) == 0) {
      return &a->items[i];
    }
  }
  return NULL;
}

const char *ond_auth_need(const OndAuth *a, OndCredentialUse use, const char *name, bool may_be_empty, OndError *err) {
  const OndCredential *c = ond_auth_find(a, use, name);

  if (!c) {
    refuse_credential(name, "is missing", err);
    return NULL;
  }
  return check_credential(c, may_be_empty, err) ? ond_credential_value(c) : NULL;
}

const char *ond_auth_given(const OndAuth *a, const char *name) {
  const OndCredential *c = ond_auth_find(a, OND_USE_TOKEN, name);

  return c ? ond_credential_value(c) : NULL;
}

const char *ond_auth_named_value(const OndAuth *a, const char *name, size_t name_n) {
  for (int i = 0; a && i < a->n; i++) {
    if (a->items[i].use == OND_USE_VALUE && strlen(a->items[i].name) == name_n && memcmp(a->items[i].name, name, name_n) == 0) {
      return ond_credential_value(&a->items[i]);
    }
  }
  return NULL;
}

/* --- headers -------------------------------------------------------------------------------------------------- */

static void remove_header(OndHttpRequest *r, const char *name) {
  int kept = 0;

  for (int i = 0; i < r->n_headers; i++) {
    if (strcasecmp(r->headers[i].name, name) == 0) {
      ond_free(r->headers[i].name);
      ond_free_wiped(r->headers[i].value);
    } else {
      r->headers[kept++] = r->headers[i];
    }
  }
  r->n_headers = kept;
}

bool ond_auth_replace_header(OndHttpRequest *r, const char *name, const char *value, OndError *err) {
  remove_header(r, name);
  return ond_http_request_header(r, name, value, strlen(value), err);
}

/* Authorization: prefix and token. */
static bool apply_token(const OndAuth *a, const char *token, OndHttpRequest *r, OndError *err) {
  const char *prefix = a->prefix ? a->prefix : "Bearer";
  OndBuf value;
  bool ok;

  ond_buf_init(&value, 2 * OND_CREDENTIAL_BYTES_MAX);
  ok = ond_buf_append_str(&value, prefix) && (prefix[0] == '\0' || ond_buf_append_char(&value, ' ')) && ond_buf_append_str(&value, token);
  if (!ok) {
    ond_error_set(err, "prefix of the destination's auth is too long");
  }
  ok = ok && ond_auth_replace_header(r, "Authorization", value.data, err);
  ond_buf_free_wiped(&value);
  return ok;
}

static bool apply_bearer(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  const char *token = ond_auth_need(a, OND_USE_REQUEST, "token", false, err);

  return token && apply_token(a, token, r, err);
}

static bool apply_fetched_token(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  if (!a->access_token) {
    ond_error_set(err, "there is no access token for the destination yet");
    return false;
  }
  return apply_token(a, a->access_token, r, err);
}

/* "user:password" in base64. */
static void append_basic(OndBuf *b, const char *username, const char *password) {
  OndBuf pair;

  ond_buf_init(&pair, 2 * OND_CREDENTIAL_BYTES_MAX + 1);
  ond_buf_append_str(&pair, username);
  ond_buf_append_char(&pair, ':');
  ond_buf_append_str(&pair, password);
  ond_base64(b, pair.data, pair.len);
  ond_buf_free_wiped(&pair);
}

static bool apply_basic(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  const char *username = ond_auth_need(a, OND_USE_REQUEST, "username", true, err);
  const char *password = username ? ond_auth_need(a, OND_USE_REQUEST, "password", true, err) : NULL;
  OndBuf value;
  bool ok;

  if (!password) {
    return false;
  }
  if (username[0] == '\0' && password[0] == '\0') {
    return refuse_credential("password", "is empty", err);
  }
  if (strchr(username, ':')) {
    ond_error_set(err, "user name of the destination's basic auth contains a colon");
    return false;
  }
  ond_buf_init(&value, 4 * OND_CREDENTIAL_BYTES_MAX);
  ond_buf_append_str(&value, "Basic ");
  append_basic(&value, username, password);
  ok = ond_auth_replace_header(r, "Authorization", value.data, err);
  ond_buf_free_wiped(&value);
  return ok;
}

static bool apply_headers(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  for (int i = 0; i < a->n; i++) {
    const OndCredential *c = &a->items[i];

    if (c->use == OND_USE_REQUEST && (!check_credential(c, false, err) || !ond_auth_replace_header(r, c->name, ond_credential_value(c), err))) {
      return false;
    }
  }
  return true;
}

/* --- query parameters ----------------------------------------------------------------------------------------- */

static bool is_parameter_of(const OndAuth *a, const char *parameter, size_t n) {
  bool found = false;
  size_t name_n = 0;

  while (name_n < n && parameter[name_n] != '=') {
    name_n++;
  }
  for (int i = 0; i < a->n && !found; i++) {
    OndBuf name;

    if (a->items[i].use != OND_USE_REQUEST) {
      continue;
    }
    ond_buf_init(&name, 3 * OND_CREDENTIAL_BYTES_MAX);
    ond_url_encode(&name, a->items[i].name, strlen(a->items[i].name));
    found = name.len == name_n && memcmp(name.data, parameter, name_n) == 0;
    ond_buf_free(&name);
  }
  return found;
}

/* Copies the URL without the parameters that the auth is about to set; true when some query stays. */
static bool append_url_without(const OndAuth *a, const char *url, OndBuf *out) {
  const char *query = strchr(url, '?');
  bool any = false;

  ond_buf_append(out, url, query ? (size_t)(query - url) : strlen(url));
  for (const char *p = query ? query + 1 : NULL; p;) {
    size_t n = strcspn(p, "&");

    if (n > 0 && !is_parameter_of(a, p, n)) {
      ond_buf_append_char(out, any ? '&' : '?');
      ond_buf_append(out, p, n);
      any = true;
    }
    p = p[n] == '&' ? p + n + 1 : NULL;
  }
  return any;
}

static bool apply_query(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  OndBuf url;
  bool any;

  for (int i = 0; i < a->n; i++) {
    if (a->items[i].use == OND_USE_REQUEST && !check_credential(&a->items[i], false, err)) {
      return false;
    }
  }
  ond_buf_init(&url, URL_BYTES_MAX);
  any = append_url_without(a, r->url, &url);
  for (int i = 0; i < a->n; i++) {
    const char *name = a->items[i].name, *value = ond_credential_value(&a->items[i]);

    if (a->items[i].use != OND_USE_REQUEST) {
      continue;
    }
    ond_buf_append_char(&url, any ? '&' : '?');
    ond_url_encode(&url, name, strlen(name));
    ond_buf_append_char(&url, '=');
    ond_url_encode(&url, value, strlen(value));
    any = true;
  }
  if (url.overflow) {
    ond_buf_free_wiped(&url);
    ond_error_set(err, "URL is too long with the credentials of the destination");
    return false;
  }
  ond_free_wiped(r->url);
  r->url = ond_strdup(url.data);
  ond_buf_free_wiped(&url);
  return true;
}

/* --- all kinds ------------------------------------------------------------------------------------------------ */

static int count_of(const OndAuth *a, OndCredentialUse use) {
  int n = 0;

  for (int i = 0; i < a->n; i++) {
    n += a->items[i].use == use;
  }
  return n;
}

bool ond_auth_apply(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  if (!a || !is_trusted(a, r->url)) {
    return true;
  }
  if ((a->type == OND_AUTH_HEADER || a->type == OND_AUTH_QUERY) && count_of(a, OND_USE_REQUEST) == 0) {
    ond_error_set(err, "auth of the destination names no %s", a->type == OND_AUTH_HEADER ? "header" : "query parameter");
    return false;
  }
  switch (a->type) {
  case OND_AUTH_NONE: return true;
  case OND_AUTH_BEARER: return apply_bearer(a, r, err);
  case OND_AUTH_BASIC: return apply_basic(a, r, err);
  case OND_AUTH_HEADER: return apply_headers(a, r, err);
  case OND_AUTH_QUERY: return apply_query(a, r, err);
  case OND_AUTH_DIGEST: return ond_digest_apply(a, r, err);
  case OND_AUTH_OAUTH2_CLIENT_CREDENTIALS:
  case OND_AUTH_OAUTH2_REFRESH_TOKEN:
  case OND_AUTH_JWT_BEARER: return apply_fetched_token(a, r, err);
  case OND_AUTH_AWS_SIGV4: return ond_sigv4_apply(a, r, err);
  case OND_AUTH_HMAC: return ond_hmac_apply(a, r, err);
  }
  ond_error_set(err, "auth of the destination has an unknown type");
  return false;
}

bool ond_auth_challenged(OndAuth *a, const OndHttpRequest *r, const OndHttpResponse *response, OndError *err) {
  err->message[0] = '\0';
  return a && a->type == OND_AUTH_DIGEST && is_trusted(a, r->url) && ond_digest_challenged(a, r, response, err);
}

bool ond_auth_is_credential_header(const OndAuth *a, const char *name) {
  static const char *const ALWAYS[] = {"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "webhook-signature", "x-amz-security-token"};

  for (size_t i = 0; i < sizeof(ALWAYS) / sizeof(ALWAYS[0]); i++) {
    if (strcasecmp(name, ALWAYS[i]) == 0) {
      return true;
    }
  }
  for (int i = 0; a && a->type == OND_AUTH_HEADER && i < a->n; i++) {
    if (a->items[i].use == OND_USE_REQUEST && strcasecmp(name, a->items[i].name) == 0) {
      return true;
    }
  }
  return a && a->hmac && a->hmac->header && strcasecmp(name, a->hmac->header) == 0;
}

/* A TLS part: its PEM text, or NULL when the auth has none. False: it has one that is not resolved. */
static bool tls_part(const OndAuth *a, const char *name, const char **out, OndError *err) {
  const OndCredential *c = ond_auth_find(a, OND_USE_TLS, name);

  *out = c ? ond_auth_need(a, OND_USE_TLS, name, false, err) : NULL;
  return !c || *out;
}

bool ond_auth_tls(const OndAuth *a, const char *base_url, OndHttpOptions *o, OndError *err) {
  return !a || (ond_url_parse(base_url, &o->tls.origin, err) && tls_part(a, "certificate", &o->tls.certificate, err) &&
                tls_part(a, "key", &o->tls.key, err) && tls_part(a, "key_password", &o->tls.key_password, err) &&
                tls_part(a, "ca", &o->tls.ca, err));
}
