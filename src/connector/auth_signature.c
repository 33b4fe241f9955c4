/*
 * auth_signature.c - auth documents of the kinds that sign requests: aws_sigv4, hmac.
 */
#include "connector/auth_document.h"

#include <stdio.h>
#include <string.h>
#include "connector/request.h"
#include "core/template.h"

#define OVER_MAX 16

/* --- aws_sigv4 ------------------------------------------------------------------------------------------------ */

bool ond_auth_read_aws_sigv4(OndAuthReader *r, const OndNode *auth) {
  static const char *const VALID[] = {OND_AUTH_COMMON, "region", "service", "access_key", "secret_key", "session_token", "s3", NULL};
  OndSigv4Plan *plan = r->auth->sigv4 = ond_calloc(sizeof(*plan));

  if (!ond_node_object(auth, VALID, r->err) || !ond_auth_read_text(r, auth, "region", false, &plan->region) ||
      !ond_auth_read_text(r, auth, "service", false, &plan->service) ||
      !ond_auth_read_identifier(r, auth, OND_USE_REQUEST, "access_key", false) ||
      !ond_auth_read_member(r, auth, OND_USE_REQUEST, "secret_key", false) ||
      !ond_auth_read_member(r, auth, OND_USE_REQUEST, "session_token", true)) {
    return false;
  }
  plan->s3 = strcmp(plan->service, "s3") == 0;
  return ond_member_bool(auth, "s3", &plan->s3, r->err);
}

/* --- hmac ----------------------------------------------------------------------------------------------------- */

/* "secret": a reference, or a list of them while one replaces another. */
static bool read_secrets(OndAuthReader *r, const OndNode *auth, bool several) {
  OndNode at;
  size_t n;

  if (!ond_node_get(auth, "secret", &at) || !json_object_is_type(at.value, json_type_array)) {
    return ond_auth_read_member(r, auth, OND_USE_REQUEST, "secret", false);
  }
  if (!several) {
    ond_node_fail(&at, r->err, "several secrets are for the Standard Webhooks form only");
    ond_error_hint(r->err, "Name one secret, or leave \"header\" out.");
    return false;
  }
  if (!ond_node_array(&at, &n, r->err)) {
    return false;
  }
  if (n < 1 || n > OND_HMAC_SECRETS_MAX) {
    return ond_node_fail(&at, r->err, "\"secret\" must have 1 to %d references", OND_HMAC_SECRETS_MAX);
  }
  for (size_t i = 0; i < n; i++) {
    OndNode one = ond_node_element(&at, i);

    if (!ond_auth_read_reference(r, &one, OND_USE_REQUEST, "secret")) {
      return false;
    }
  }
  return true;
}

static bool read_piece(OndAuthReader *r, const OndNode *at, const OndTemplatePart *part, OndHmacPiece *out) {
  static const char *const WORDS[] = {"body", "timestamp", "id", "method", "url"};

  if (!part->name.p) {
    out->literal = ond_strndup(part->literal.p, part->literal.n);
    return true;
  }
  for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++) {
    if (part->name.n == strlen(WORDS[i]) && memcmp(part->name.p, WORDS[i], part->name.n) == 0 && part->n_filters == 0) {
      out->word = (OndHmacWord)(OND_HMAC_BODY + i);
      return true;
    }
  }
  ond_node_fail(at, r->err, "{{%.*s}} is not known here", (int)(part->name.n < 100 ? part->name.n : 100), part->name.p);
  ond_error_hint(r->err, "A signature is over {{body}}, {{timestamp}}, {{id}}, {{method}} and {{url}}, and text between them.");
  return false;
}

/* "over": "{{timestamp}}.{{body}}"; default "{{body}}" */
static bool read_over(OndAuthReader *r, const OndNode *auth, OndHmacPlan *plan) {
  OndArena *arena = ond_arena_create();
  const char *text = "{{body}}";
  OndNode at = *auth;
  OndTemplate t;
  bool ok = !ond_node_get(auth, "over", &at) || ond_node_string(&at, &text, r->err);

  ok = ok && (ond_template_parse(arena, text, strlen(text), &t, r->err) || ond_node_place(&at, r->err));
  if (ok && (t.n < 1 || t.n > OVER_MAX)) {
    ok = ond_node_fail(&at, r->err, "\"over\" must have 1 to %d parts", OVER_MAX);
  }
  if (ok) {
    plan->over = ond_calloc((size_t)t.n * sizeof(*plan->over));
  }
  for (int i = 0; ok && i < t.n; i++) {
    ok = read_piece(r, &at, &t.parts[i], &plan->over[plan->n_over++]);
  }
  ond_arena_destroy(arena);
  return ok;
}

static bool read_word(OndAuthReader *r, const OndNode *auth, const char *name, const char *const *words, int *out) {
  OndNode at;

  return !ond_node_get(auth, name, &at) || ond_node_word(&at, words, out, r->err);
}

static bool read_header_name(OndAuthReader *r, const OndNode *auth, const char *name, char **out) {
  OndNode at;

  if (!ond_node_get(auth, name, &at)) {
    return true;
  }
  return ond_auth_read_text(r, auth, name, true, out) && ond_request_header_name(&at, *out, r->err);
}

static bool read_form(OndAuthReader *r, const OndNode *auth, OndHmacPlan *plan) {
  static const char *const ALGORITHMS[] = {"sha256", "sha1", "sha512", NULL};
  static const OndHashKind HASHES[] = {OND_HASH_SHA256, OND_HASH_SHA1, OND_HASH_SHA512};
  static const char *const ENCODINGS[] = {"hex", "base64", NULL};
  static const char *const SECRETS[] = {"text", "base64", "hex", NULL};
  int algorithm = 0, encoding = 0, secret = 0;
  OndNode at;
  const char *prefix = "";

  if (!read_word(r, auth, "algorithm", ALGORITHMS, &algorithm) || !read_word(r, auth, "encoding", ENCODINGS, &encoding) ||
      !read_word(r, auth, "secret_encoding", SECRETS, &secret) || !ond_member_string(auth, "prefix", &prefix, r->err)) {
    return false;
  }
  for (const char *p = prefix; *p; p++) {
    if (*p < 0x20 || *p >= 0x7F || p - prefix >= 100) {
      return ond_node_get(auth, "prefix", &at) && ond_node_fail(&at, r->err, "\"prefix\" must have at most 100 printable characters");
    }
  }
  plan->prefix = ond_strdup(prefix);
  plan->hash = HASHES[algorithm];
  plan->encoding = (OndHmacEncoding)encoding;
  plan->secret = (OndHmacSecret)secret;
  return read_header_name(r, auth, "timestamp_header", &plan->timestamp_header) && read_over(r, auth, plan);
}

bool ond_auth_read_hmac(OndAuthReader *r, const OndNode *auth) {
  static const char *const STANDARD[] = {OND_AUTH_COMMON, "secret", "header", NULL};
  static const char *const VALID[] = {OND_AUTH_COMMON,   "secret", "header", "algorithm", "encoding", "prefix",
                                      "secret_encoding", "over",   "timestamp_header", NULL};
  OndHmacPlan *plan = r->auth->hmac = ond_calloc(sizeof(*plan));
  OndNode header;
  bool standard = !ond_node_get(auth, "header", &header);

  if (!ond_node_object(auth, VALID, r->err)) {
    return false;
  }
  if (standard && !ond_node_object(auth, STANDARD, r->err)) {
    ond_error_hint(r->err, "Without \"header\" requests are signed as Standard Webhooks say, and there is nothing to choose.");
    return false;
  }
  return read_secrets(r, auth, standard) && (standard || (read_header_name(r, auth, "header", &plan->header) && read_form(r, auth, plan)));
}
