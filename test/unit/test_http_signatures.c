/*
 * test_http_signatures.c - primitives of crypto.c, webhooks signed by the Standard Webhooks form and by others' own, JWTs that verify.
 */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>
#include "core/mem.h"
#include "http/auth.h"
#include "unit.h"

/* --- primitives ----------------------------------------------------------------------------------------------- */

static void check_base64(const char *plain, const char *standard, const char *url) {
  OndBuf out;

  ond_buf_init(&out, 64);
  CHECK(ond_base64(&out, plain, strlen(plain)));
  CHECK_STR(out.data ? out.data : "", standard);
  ond_buf_reset(&out);
  CHECK(ond_base64url(&out, plain, strlen(plain)));
  CHECK_STR(out.data ? out.data : "", url);
  ond_buf_reset(&out);
  CHECK(ond_base64_decode(&out, standard, strlen(standard)) && ond_base64_decode(&out, url, strlen(url)));
  CHECK_INT(out.len, 2 * strlen(plain));
  CHECK(strncmp(out.data ? out.data : "", plain, strlen(plain)) == 0);
  ond_buf_free(&out);
}

TEST(crypto_base64_of_rfc_4648) {
  check_base64("", "", "");
  check_base64("f", "Zg==", "Zg");
  check_base64("fo", "Zm8=", "Zm8");
  check_base64("foo", "Zm9v", "Zm9v");
  check_base64("foob", "Zm9vYg==", "Zm9vYg");
  check_base64("fooba", "Zm9vYmE=", "Zm9vYmE");
  check_base64("foobar", "Zm9vYmFy", "Zm9vYmFy");
  check_base64("\xfb\xff\xfe", "+//+", "-__-");
}

TEST(crypto_refuses_what_is_no_code) {
  OndBuf out;

  ond_buf_init(&out, 64);
  CHECK(!ond_base64_decode(&out, "Zg!=", 4));
  CHECK(!ond_base64_decode(&out, "Z", 1));
  CHECK(!ond_base64_decode(&out, "Zm=v", 4));
  CHECK(!ond_hex_decode(&out, "abc", 3));
  CHECK(!ond_hex_decode(&out, "0g", 2));
  ond_buf_reset(&out);
  CHECK(ond_hex_decode(&out, "00fFa1", 6));
  CHECK_MEM(out.data, out.len, "\0\xff\xa1", 3);
  ond_buf_free(&out);
}

static void check_hmac(OndHashKind hash, const char *key, const char *text, const char *expected) {
  unsigned char mac[OND_HASH_BYTES_MAX];
  OndBuf out;

  ond_buf_init(&out, 256);
  ond_hex(&out, mac, ond_hmac(hash, key, strlen(key), text, strlen(text), mac));
  CHECK_STR(out.data, expected);
  ond_buf_free(&out);
}

/* RFC 4231 2.3, RFC 2202 3. */
TEST(crypto_hmac_vectors) {
  check_hmac(OND_HASH_SHA256, "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  check_hmac(OND_HASH_SHA1, "Jefe", "what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
  check_hmac(OND_HASH_SHA512, "Jefe", "what do ya want for nothing?",
             "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737");
}

/* --- webhooks ------------------------------------------------------------------------------------------------- */

static OndAuth *hmac_auth(int n, const char *const *secrets) {
  OndAuth *a = ond_calloc(sizeof(*a));

  a->type = OND_AUTH_HMAC;
  a->hmac = ond_calloc(sizeof(*a->hmac));
  a->n = n;
  a->items = ond_calloc((size_t)n * sizeof(*a->items));
  for (int i = 0; i < n; i++) {
    a->items[i] = (OndCredential){.name = ond_strdup("secret"), .source = OND_CREDENTIAL_SECRET, .ref = ond_strdup("x"), .value = ond_strdup(secrets[i])};
  }
  return a;
}

static void message(OndHttpRequest *r, const char *id, const char *body) {
  ond_http_request_init(r);
  snprintf(r->method, sizeof(r->method), "POST");
  r->url = ond_strdup("https://example.com/hook");
  snprintf(r->id, sizeof(r->id), "%s", id);
  ond_buf_init(&r->body, 4096);
  ond_buf_append_str(&r->body, body);
}

static void check_header(const OndHttpRequest *r, const char *name, const char *expected) {
  const char *value = NULL;

  for (int i = 0; i < r->n_headers; i++) {
    value = strcmp(r->headers[i].name, name) == 0 ? r->headers[i].value : value;
  }
  CHECK_STR(value, expected);
}

TEST(hmac_standard_webhooks) {
  static const char *const SECRETS[] = {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
  OndAuth *a = hmac_auth(2, SECRETS);
  OndHttpRequest r;
  OndError err = {0};

  message(&r, "msg_p5jXN8AQM9LWM0D4loKWxJek", "{\"test\": 2432232314}");
  a->now_s = 1614265330;
  CHECK(ond_auth_apply(a, &r, &err));
  check_header(&r, "webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
  check_header(&r, "webhook-timestamp", "1614265330");
  check_header(&r, "webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  a->now_s++;
  CHECK(ond_auth_apply(a, &r, &err));
  CHECK_INT(r.n_headers, 3);
  check_header(&r, "webhook-timestamp", "1614265331");
  ond_http_request_free(&r);
  ond_auth_free(a);
}

TEST(hmac_refuses_a_secret_of_another_form) {
  static const char *const SECRETS[] = {"whsec_not base64"};
  OndAuth *a = hmac_auth(1, SECRETS);
  OndHttpRequest r;
  OndError err = {0};

  message(&r, "1", "{}");
  CHECK(!ond_auth_apply(a, &r, &err));
  CHECK(strstr(err.message, "not base64") != NULL && !strstr(err.message, "whsec_"));
  CHECK_INT(r.n_headers, 0);
  ond_http_request_free(&r);
  ond_auth_free(a);
}

static void set_over(OndAuth *a, int n, const OndHmacPiece *pieces) {
  a->hmac->over = ond_calloc((size_t)n * sizeof(*pieces));
  a->hmac->n_over = n;
  for (int i = 0; i < n; i++) {
    a->hmac->over[i] = (OndHmacPiece){pieces[i].word, pieces[i].literal ? ond_strdup(pieces[i].literal) : NULL};
  }
}

/* The example of GitHub's manual. */
TEST(hmac_over_the_body) {
  static const char *const SECRETS[] = {"It's a Secret to Everybody"};
  static const OndHmacPiece OVER[] = {{OND_HMAC_BODY, NULL}};
  OndAuth *a = hmac_auth(1, SECRETS);
  OndHttpRequest r;
  OndError err = {0};

  a->hmac->header = ond_strdup("X-Hub-Signature-256");
  a->hmac->hash = OND_HASH_SHA256;
  a->hmac->prefix = ond_strdup("sha256=");
  set_over(a, 1, OVER);
  message(&r, "1", "Hello, World!");
  CHECK(ond_auth_apply(a, &r, &err));
  check_header(&r, "X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
  CHECK(ond_auth_is_credential_header(a, "x-hub-signature-256"));
  ond_http_request_free(&r);
  ond_auth_free(a);
}

/* The example of Slack's manual. */
TEST(hmac_over_time_and_body) {
  static const char *const SECRETS[] = {"8f742231b10e8888abcd99yyyzzz85a5"};
  static const OndHmacPiece OVER[] = {{OND_HMAC_LITERAL, "v0:"}, {OND_HMAC_TIMESTAMP, NULL}, {OND_HMAC_LITERAL, ":"}, {OND_HMAC_BODY, NULL}};
  OndAuth *a = hmac_auth(1, SECRETS);
  OndHttpRequest r;
  OndError err = {0};

  a->now_s = 1531420618;
  a->hmac->header = ond_strdup("X-Slack-Signature");
  a->hmac->timestamp_header = ond_strdup("X-Slack-Request-Timestamp");
  a->hmac->hash = OND_HASH_SHA256;
  a->hmac->prefix = ond_strdup("v0=");
  set_over(a, 4, OVER);
  message(&r, "1", "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA"
                   "&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
                   "%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c");
  CHECK(ond_auth_apply(a, &r, &err));
  check_header(&r, "X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503");
  check_header(&r, "X-Slack-Request-Timestamp", "1531420618");
  ond_http_request_free(&r);
  ond_auth_free(a);
}

/* --- JWT ------------------------------------------------------------------------------------------------------ */

static char *pem_of(EVP_PKEY *key) {
  BIO *bio = BIO_new(BIO_s_mem());
  char *data, *copy;
  long n;

  PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
  n = BIO_get_mem_data(bio, &data);
  copy = ond_strndup(data, (size_t)n);
  BIO_free(bio);
  return copy;
}

static bool verify(EVP_PKEY *key, const char *jwt) {
  const char *dot = strrchr(jwt, '.');
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  OndBuf signature;
  bool ok;

  ond_buf_init(&signature, 1024);
  ok = ond_base64_decode(&signature, dot + 1, strlen(dot + 1)) && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
       EVP_DigestVerify(context, (unsigned char *)signature.data, signature.len, (const unsigned char *)jwt, (size_t)(dot - jwt)) == 1;
  EVP_MD_CTX_free(context);
  ond_buf_free(&signature);
  return ok;
}

TEST(jwt_rs256_verifies) {
  EVP_PKEY *key = EVP_RSA_gen(2048);
  char *pem = pem_of(key);
  OndBuf jwt, head;
  OndError err = {0};

  ond_buf_init(&jwt, 8192);
  ond_buf_init(&head, 1024);
  CHECK(ond_jwt_sign(&jwt, pem, "k\"1", "{\"iss\":\"me\"}", 12, &err));
  CHECK(verify(key, jwt.data));
  CHECK(ond_base64_decode(&head, jwt.data, strcspn(jwt.data, ".")));
  CHECK_STR(head.data, "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"k\\\"1\"}");
  CHECK(strstr(jwt.data, ".eyJpc3MiOiJtZSJ9.") != NULL);
  ond_buf_free(&jwt);
  ond_buf_free(&head);
  ond_free(pem);
  EVP_PKEY_free(key);
}

TEST(jwt_es256_has_two_numbers) {
  EVP_PKEY *key = EVP_EC_gen("P-256");
  char *pem = pem_of(key);
  OndBuf jwt;
  OndError err = {0};

  for (int i = 0; i < 8; i++) { /* numbers with leading zeros too */
    ond_buf_init(&jwt, 8192);
    CHECK(ond_jwt_sign(&jwt, pem, NULL, "{}", 2, &err));
    CHECK_INT(strlen(strrchr(jwt.data, '.') + 1), 86);
    CHECK(strncmp(jwt.data, "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.", 37) == 0);
    ond_buf_free(&jwt);
  }
  ond_free(pem);
  EVP_PKEY_free(key);
}

TEST(jwt_refuses_keys_that_cannot_sign) {
  EVP_PKEY *small = EVP_RSA_gen(1024), *other = EVP_EC_gen("P-384");
  char *pems[] = {pem_of(small), pem_of(other), ond_strdup("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"), ond_strdup("")};

  for (int i = 0; i < 4; i++) {
    OndBuf jwt;
    OndError err = {0};

    ond_buf_init(&jwt, 8192);
    CHECK(!ond_jwt_sign(&jwt, pems[i], NULL, "{}", 2, &err));
    CHECK(strstr(err.message, "private key") != NULL && err.hint[0] != '\0' && !strstr(err.message, "hunter2"));
    ond_buf_free(&jwt);
    ond_free(pems[i]);
  }
  EVP_PKEY_free(small);
  EVP_PKEY_free(other);
}
