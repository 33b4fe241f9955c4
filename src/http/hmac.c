/*
 * hmac.c - signed webhooks: an HMAC over the body and, mostly, the time.
 *
 * Two forms. Standard Webhooks (https://www.standardwebhooks.com): three headers, HMAC-SHA256 over "id.timestamp.body", several secrets while
 * one replaces another. And what everybody did before there was a standard: one header whose parts the destination describes.
 *
 * Bodies are not compressed (ond_connector_check_auth refuses it): receivers do not agree on whether the signature is over what came or what it was.
 */
#include "http/auth_kinds.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "core/mem.h"

#define SECRET_PREFIX    "whsec_"
#define KEY_BYTES_MAX    4096
#define HEADER_BYTES_MAX 4096
#define SIGNED_EXTRA_MAX (256 * 1024)

static bool fail_secret(OndError *err, const char *form) {
  ond_error_set(err, "the secret of the destination's auth is not %s", form);
  ond_error_hint(err, "Copy the signing secret from the receiver as it is shown there.");
  return false;
}

/* The key of a secret, as bytes. */
static bool read_key(const char *secret, OndHmacSecret how, OndBuf *key, OndError *err) {
  ond_buf_init(key, KEY_BYTES_MAX);
  switch (how) {
  case OND_HMAC_SECRET_TEXT:
    return ond_buf_append_str(key, secret) || fail_secret(err, "short enough");
  case OND_HMAC_SECRET_HEX:
    return ond_hex_decode(key, secret, strlen(secret)) || fail_secret(err, "hex");
  case OND_HMAC_SECRET_BASE64:
    return ond_base64_decode(key, secret, strlen(secret)) || fail_secret(err, "base64");
  }
  return false;
}

static OndBytes body_of(const OndHttpRequest *r) {
  return (OndBytes){r->body.data ? r->body.data : "", r->body.data ? r->body.len : 0};
}

/* --- Standard Webhooks ---------------------------------------------------------------------------------------- */

static bool append_standard(const char *secret, const OndBuf *text, OndBuf *out, OndError *err) {
  size_t prefix = strncmp(secret, SECRET_PREFIX, strlen(SECRET_PREFIX)) == 0 ? strlen(SECRET_PREFIX) : 0;
  unsigned char mac[OND_HASH_BYTES_MAX];
  OndBuf key;
  bool ok = read_key(secret + prefix, OND_HMAC_SECRET_BASE64, &key, err);

  if (ok) {
    size_t n = ond_hmac(OND_HASH_SHA256, key.data, key.len, text->data, text->len, mac);

    ok = ond_buf_append_str(out, out->len > 0 ? " v1," : "v1,") && n > 0 && ond_base64(out, mac, n);
  }
  ond_buf_free_wiped(&key);
  return ok;
}

/* One signature for each secret; false where there is none. */
static bool sign_standard(const OndAuth *a, const OndBuf *text, OndBuf *out, OndError *err) {
  bool any = false;

  for (int i = 0; i < a->n; i++) {
    const OndCredential *c = &a->items[i];

    if (c->use != OND_USE_REQUEST) {
      continue;
    }
    if (!ond_credential_value(c) || !append_standard(ond_credential_value(c), text, out, err)) {
      if (!ond_credential_value(c)) {
        ond_error_set(err, "credential \"%s\" of the destination is not resolved", c->name);
      }
      return false;
    }
    any = true;
  }
  if (!any) {
    ond_error_set(err, "auth of the destination names no secret");
  }
  return any;
}

static bool apply_standard(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  OndBytes body = body_of(r);
  OndBuf text, signature;
  char now[24];
  bool ok;

  snprintf(now, sizeof(now), "%" PRId64, ond_auth_now_s(a));
  ond_buf_init(&text, body.n + sizeof(r->id) + 64);
  ond_buf_init(&signature, HEADER_BYTES_MAX);
  ond_buf_appendf(&text, "%s.%s.", r->id, now);
  ond_buf_append_bytes(&text, body);
  ok = a->redacted ? ond_buf_append_str(&signature, OND_AUTH_MARK) : sign_standard(a, &text, &signature, err);
  ok = ok && ond_auth_replace_header(r, "webhook-id", r->id, err) && ond_auth_replace_header(r, "webhook-timestamp", now, err) &&
       ond_auth_replace_header(r, "webhook-signature", signature.data, err);
  ond_buf_free(&text);
  ond_buf_free_wiped(&signature);
  return ok;
}

/* --- one header ----------------------------------------------------------------------------------------------- */

static void append_over(const OndHmacPlan *h, const OndHttpRequest *r, const char *now, OndBuf *text) {
  for (int i = 0; i < h->n_over; i++) {
    switch (h->over[i].word) {
    case OND_HMAC_LITERAL: ond_buf_append_str(text, h->over[i].literal); break;
    case OND_HMAC_BODY: ond_buf_append_bytes(text, body_of(r)); break;
    case OND_HMAC_TIMESTAMP: ond_buf_append_str(text, now); break;
    case OND_HMAC_ID: ond_buf_append_str(text, r->id); break;
    case OND_HMAC_METHOD: ond_buf_append_str(text, r->method); break;
    case OND_HMAC_URL: ond_buf_append_str(text, r->url); break;
    }
  }
}

static bool sign(const OndAuth *a, const OndHttpRequest *r, const char *now, OndBuf *out, OndError *err) {
  const OndHmacPlan *h = a->hmac;
  const char *secret = ond_auth_need(a, OND_USE_REQUEST, "secret", false, err);
  unsigned char mac[OND_HASH_BYTES_MAX];
  OndBuf key, text;
  bool ok;

  if (!secret) {
    return false;
  }
  ond_buf_init(&text, body_of(r).n * (size_t)h->n_over + SIGNED_EXTRA_MAX);
  append_over(h, r, now, &text);
  ok = read_key(secret, h->secret, &key, err);
  if (ok) {
    size_t n = ond_hmac(h->hash, key.data, key.len, text.data, text.len, mac);

    ok = n > 0 && !text.overflow && (h->encoding == OND_HMAC_HEX ? ond_hex(out, mac, n) : ond_base64(out, mac, n));
    if (!ok) {
      ond_error_set(err, "the request could not be signed");
    }
  }
  ond_buf_free_wiped(&key);
  ond_buf_free(&text);
  return ok;
}

static bool apply_header(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  const OndHmacPlan *h = a->hmac;
  OndBuf value;
  char now[24];
  bool ok;

  snprintf(now, sizeof(now), "%" PRId64, ond_auth_now_s(a));
  ond_buf_init(&value, HEADER_BYTES_MAX);
  ok = ond_buf_append_str(&value, h->prefix ? h->prefix : "") &&
       (a->redacted ? ond_buf_append_str(&value, OND_AUTH_MARK) : sign(a, r, now, &value, err));
  ok = ok && ond_auth_replace_header(r, h->header, value.data, err) &&
       (!h->timestamp_header || ond_auth_replace_header(r, h->timestamp_header, now, err));
  ond_buf_free_wiped(&value);
  return ok;
}

bool ond_hmac_apply(const OndAuth *a, OndHttpRequest *r, OndError *err) {
  return a->hmac && a->hmac->header ? apply_header(a, r, err) : apply_standard(a, r, err);
}
