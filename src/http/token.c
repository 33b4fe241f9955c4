/*
 * token.c - see token.h. Everything secret is in the body or in Authorization, wiped with the request.
 */
#include "http/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "core/mem.h"
#include "http/auth_kinds.h"

#define BODY_BYTES_MAX      (256 * 1024)
#define CLAIMS_BYTES_MAX    (32 * 1024)
#define CLIENT_LIFETIME_S   60 /* of an assertion of who the client is */
#define ASSERTION_TYPE      "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define GRANT_JWT           "urn:ietf:params:oauth:grant-type:jwt-bearer"
#define JTI_BYTES           16

static void append_parameter(OndBuf *body, const char *name, const char *value) {
  if (body->len > 0) {
    ond_buf_append_char(body, '&');
  }
  ond_form_encode(body, name, strlen(name));
  ond_buf_append_char(body, '=');
  ond_form_encode(body, value, strlen(value));
}

/* --- assertions ----------------------------------------------------------------------------------------------- */

static void append_claim(OndBuf *claims, const char *name, const char *value) {
  ond_buf_appendf(claims, "%s\"%s\":", claims->len > 1 ? "," : "", name);
  ond_buf_append_json_string(claims, value, strlen(value));
}

/* {"iss": …, "sub": …, "aud": …, and when: now, and till when. */
static bool begin_claims(const OndAuth *a, OndBuf *claims, const char *issuer, const char *subject, const char *audience, int lifetime_s) {
  int64_t now = ond_auth_now_s(a);
  OndBuf jti;
  bool ok;

  ond_buf_init(claims, CLAIMS_BYTES_MAX);
  ond_buf_init(&jti, 2 * JTI_BYTES);
  ond_buf_append_char(claims, '{');
  append_claim(claims, "iss", issuer);
  if (subject) {
    append_claim(claims, "sub", subject);
  }
  append_claim(claims, "aud", audience);
  ok = ond_random_hex(&jti, JTI_BYTES);
  append_claim(claims, "jti", jti.data ? jti.data : "");
  ond_buf_appendf(claims, ",\"iat\":%" PRId64 ",\"exp\":%" PRId64, now, now + lifetime_s);
  ond_buf_free(&jti);
  return ok;
}

static bool append_assertion(OndBuf *body, const char *name, const char *key, const char *key_id, OndBuf *claims, OndError *err) {
  OndBuf jwt;
  bool ok;

  ond_buf_append_char(claims, '}');
  ond_buf_init(&jwt, BODY_BYTES_MAX);
  ok = !claims->overflow && ond_jwt_sign(&jwt, key, key_id, claims->data, claims->len, err);
  if (ok) {
    append_parameter(body, name, jwt.data);
  } else if (claims->overflow) {
    ond_error_set(err, "the claims of the destination's auth are too long");
  }
  ond_buf_free_wiped(&jwt);
  return ok;
}

static bool append_jwt_grant(const OndAuth *a, OndBuf *body, OndError *err) {
  const OndTokenPlan *t = a->token;
  const char *key = ond_auth_need(a, OND_USE_TOKEN, "key", false, err);
  OndBuf claims;
  bool ok;

  if (!key) {
    return false;
  }
  append_parameter(body, "grant_type", GRANT_JWT);
  if (!begin_claims(a, &claims, t->issuer, t->subject, t->audience ? t->audience : t->url, t->lifetime_s)) {
    ond_error_set(err, "there are no random numbers for a JWT");
    ond_buf_free(&claims);
    return false;
  }
  if (t->scope) {
    append_claim(&claims, "scope", t->scope);
  }
  if (t->claims) {
    ond_buf_append_str(&claims, t->claims);
  }
  ok = append_assertion(body, "assertion", key, t->key_id, &claims, err);
  ond_buf_free(&claims);
  return ok;
}

/* --- the client ----------------------------------------------------------------------------------------------- */

/* RFC 6749 2.3.1: both parts form-encoded, then as basic authentication. */
static bool put_basic(OndHttpRequest *r, const char *id, const char *secret, OndError *err) {
  OndBuf pair, value;
  bool ok;

  ond_buf_init(&pair, BODY_BYTES_MAX);
  ond_buf_init(&value, BODY_BYTES_MAX);
  ond_form_encode(&pair, id, strlen(id));
  ond_buf_append_char(&pair, ':');
  ond_form_encode(&pair, secret, strlen(secret));
  ond_buf_append_str(&value, "Basic ");
  ond_base64(&value, pair.data, pair.len);
  ok = ond_auth_replace_header(r, "Authorization", value.data, err);
  ond_buf_free_wiped(&pair);
  ond_buf_free_wiped(&value);
  return ok;
}

static bool append_client_assertion(const OndAuth *a, OndBuf *body, const char *id, OndError *err) {
  const OndTokenPlan *t = a->token;
  const char *key = ond_auth_need(a, OND_USE_TOKEN, "client_key", false, err);
  OndBuf claims;
  bool ok;

  if (!key) {
    return false;
  }
  ok = begin_claims(a, &claims, id, id, t->client_audience ? t->client_audience : t->url, CLIENT_LIFETIME_S);
  append_parameter(body, "client_id", id);
  append_parameter(body, "client_assertion_type", ASSERTION_TYPE);
  ok = ok && append_assertion(body, "client_assertion", key, t->client_key_id, &claims, err);
  ond_buf_free(&claims);
  return ok;
}

static bool put_client(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  OndClientAuth form = a->token->client_auth;
  const OndCredential *given = ond_auth_find(a, OND_USE_TOKEN, "client_id");
  const char *id = given ? ond_auth_need(a, OND_USE_TOKEN, "client_id", false, err) : NULL;
  const char *secret;

  if (!given) {
    return true; /* a JWT bearer grant says by itself who it is */
  }
  if (!id) {
    return false;
  }
  if (form == OND_CLIENT_NONE) {
    append_parameter(&r->body, "client_id", id);
    return true;
  }
  if (form == OND_CLIENT_PRIVATE_KEY_JWT) {
    return append_client_assertion(a, &r->body, id, err);
  }
  secret = ond_auth_need(a, OND_USE_TOKEN, "client_secret", false, err);
  if (!secret || form == OND_CLIENT_BASIC) {
    return secret && put_basic(r, id, secret, err);
  }
  append_parameter(&r->body, "client_id", id);
  append_parameter(&r->body, "client_secret", secret);
  return true;
}

/* --- the request ---------------------------------------------------------------------------------------------- */

static bool append_grant(const OndAuth *a, const char *refresh_token, OndBuf *body, OndError *err) {
  if (a->type == OND_AUTH_JWT_BEARER) {
    return append_jwt_grant(a, body, err);
  }
  if (a->type == OND_AUTH_OAUTH2_CLIENT_CREDENTIALS) {
    append_parameter(body, "grant_type", "client_credentials");
  } else {
    const char *token = refresh_token ? refresh_token : ond_auth_need(a, OND_USE_TOKEN, "refresh_token", false, err);

    if (!token) {
      return false;
    }
    append_parameter(body, "grant_type", "refresh_token");
    append_parameter(body, "refresh_token", token);
  }
  if (a->token->scope) {
    append_parameter(body, "scope", a->token->scope);
  }
  if (a->token->audience) {
    append_parameter(body, "audience", a->token->audience);
  }
  return true;
}

static bool append_parameters(const OndAuth *a, OndBuf *body, OndError *err) {
  for (int i = 0; i < a->n; i++) {
    if (a->items[i].use == OND_USE_TOKEN_PARAMETER) {
      const char *value = ond_auth_need(a, OND_USE_TOKEN_PARAMETER, a->items[i].name, true, err);

      if (!value) {
        return false;
      }
      append_parameter(body, a->items[i].name, value);
    }
  }
  return true;
}

bool ond_token_request(const OndAuth *a, const char *refresh_token, OndHttpRequest *r, OndError *err) {
  static const char FORM[] = "application/x-www-form-urlencoded", JSON[] = "application/json";
  bool ok;

  ond_http_request_init(r);
  snprintf(r->method, sizeof(r->method), "POST");
  r->url = ond_strdup(a->token->url);
  ond_buf_init(&r->body, BODY_BYTES_MAX);
  ok = ond_http_request_header(r, "Accept", JSON, sizeof(JSON) - 1, err) &&
       ond_http_request_header(r, "Content-Type", FORM, sizeof(FORM) - 1, err) && append_grant(a, refresh_token, &r->body, err) &&
       put_client(a, r, err) && append_parameters(a, &r->body, err);
  if (ok && r->body.overflow) {
    ond_error_set(err, "the request to the token endpoint is larger than %d bytes", BODY_BYTES_MAX);
    ok = false;
  }
  if (!ok) {
    ond_http_request_free(r);
    ond_http_request_init(r);
  }
  return ok;
}

/* --- fingerprints --------------------------------------------------------------------------------------------- */

/* A length before each text: no two lists look alike. */
static void append_text(OndBuf *b, const char *text) {
  ond_buf_appendf(b, "%zu:", text ? strlen(text) : 0);
  ond_buf_append_str(b, text ? text : "-");
}

static bool append_items(const OndAuth *a, OndBuf *b, const char *only) {
  for (int i = 0; i < a->n; i++) {
    const OndCredential *c = &a->items[i];

    if ((c->use != OND_USE_TOKEN && c->use != OND_USE_TOKEN_PARAMETER) || (only && !strstr(only, c->name))) {
      continue;
    }
    if (!ond_credential_value(c)) {
      return false;
    }
    append_text(b, c->name);
    append_text(b, ond_credential_value(c));
  }
  return true;
}

static bool finish(OndBuf *b, char out[OND_FINGERPRINT_BYTES]) {
  unsigned char hash[OND_HASH_BYTES_MAX];
  size_t n = b->overflow ? 0 : ond_hash(OND_HASH_SHA256, b->data, b->len, hash);
  OndBuf hex;

  ond_buf_init(&hex, OND_FINGERPRINT_BYTES);
  ond_hex(&hex, hash, n);
  memcpy(out, hex.data ? hex.data : "", hex.len + 1);
  ond_buf_free(&hex);
  ond_buf_free_wiped(b);
  return n > 0;
}

bool ond_token_fingerprints(const OndAuth *a, OndTokenFingerprints *out) {
  const OndTokenPlan *t = a->token;
  const char *texts[] = {t->scope, t->audience, t->issuer, t->subject, t->key_id, t->claims};
  OndBuf chain, all;
  bool ok;

  memset(out, 0, sizeof(*out));
  ond_buf_init(&chain, 4 * BODY_BYTES_MAX);
  ond_buf_init(&all, 4 * BODY_BYTES_MAX);
  append_text(&chain, t->url);
  ok = append_items(a, &chain, "client_id refresh_token");
  ond_buf_appendf(&all, "%d:%d:", (int)a->type, (int)t->client_auth);
  append_text(&all, t->url);
  for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
    append_text(&all, texts[i]);
  }
  ok = append_items(a, &all, NULL) && ok;
  ok = finish(&chain, out->chain) && ok;
  return finish(&all, out->all) && ok;
}
