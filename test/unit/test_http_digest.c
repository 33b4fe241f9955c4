/*
 * test_http_digest.c - HTTP Digest: the examples of RFC 7616, 2617 and 2069, challenges as servers write them, nonces that grow stale.
 */
#include <stdio.h>
#include <string.h>
#include "core/mem.h"
#include "http/auth.h"
#include "http/digest.h"
#include "unit.h"

#define RFC7616_REALM                                                                                                                      \
  "realm=\"http-auth@example.org\", qop=\"auth, auth-int\", nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", "                       \
  "opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
#define RFC7616_CNONCE "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"

static bool parse(const char *value, OndDigestChallenge *out) {
  OndError err = {0};

  return ond_digest_parse(value, strlen(value), out, &err);
}

/* The answer to a challenge holds this piece. */
static void check_answer(const char *challenge, const char *username, const char *password, const char *uri, const char *cnonce,
                         const char *expected) {
  OndDigestChallenge c;
  OndBuf out;

  REQUIRE(parse(challenge, &c));
  ond_buf_init(&out, 4096);
  CHECK(ond_digest_answer(&c, username, password, "GET", (OndBytes){uri, strlen(uri)}, cnonce, 1, &out));
  if (!CHECK(out.data && strstr(out.data, expected))) {
    unit_note("%s", out.data ? out.data : "nothing");
  }
  ond_buf_free(&out);
}

TEST(digest_examples_of_rfc_7616) {
  check_answer("Digest " RFC7616_REALM ", algorithm=MD5", "Mufasa", "Circle of Life", "/dir/index.html", RFC7616_CNONCE,
               "response=\"8ca523f5e9506fed4657c9700eebdbec\"");
  check_answer("Digest " RFC7616_REALM ", algorithm=SHA-256", "Mufasa", "Circle of Life", "/dir/index.html", RFC7616_CNONCE,
               "response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\"");
  check_answer("Digest " RFC7616_REALM ", algorithm=SHA-256", "Mufasa", "Circle of Life", "/dir/index.html", RFC7616_CNONCE,
               "algorithm=SHA-256, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", cnonce=\"" RFC7616_CNONCE
               "\", nc=00000001, qop=auth, opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"");
}

/* As its erratum 4897 corrects it: the RFC's own numbers are not SHA-512/256. */
TEST(digest_hides_user_names) {
  static const char CHALLENGE[] = "Digest realm=\"api@example.org\", qop=\"auth\", algorithm=SHA-512-256, "
                                  "nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", "
                                  "opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\", charset=UTF-8, userhash=true";
  static const char CNONCE[] = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v";

  check_answer(CHALLENGE, "J\xc3\xa4s\xc3\xb8n Doe", "Secret, or not?", "/doe.json", CNONCE,
               "username=\"793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b\"");
  check_answer(CHALLENGE, "J\xc3\xa4s\xc3\xb8n Doe", "Secret, or not?", "/doe.json", CNONCE,
               "response=\"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5\"");
}

TEST(digest_of_older_servers) {
  check_answer("Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", "
               "opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
               "Mufasa", "Circle Of Life", "/dir/index.html", "0a4f113b", "response=\"6629fae49393a05397450978507c4ef1\"");
  check_answer("Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", "
               "opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
               "Mufasa", "CircleOfLife", "/dir/index.html", "unused", "response=\"1949323746fe6a43ef61f9606e7febea\"");
}

/* md5(md5(md5(u:r:p):nonce:cnonce):nonce:nc:cnonce:auth:md5(GET:/)) */
TEST(digest_session_keys) {
  check_answer("Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=MD5-sess", "u", "p", "/", "c", "algorithm=MD5-sess");
  check_answer("Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=MD5-sess", "u", "p", "/", "c",
               "response=\"6e4aac8b22e97762f88ccd0d5ccf5b1d\"");
}

TEST(digest_challenges_as_servers_write_them) {
  OndDigestChallenge c;

  CHECK(parse("digest realm=\"a \\\"b\\\", c\",nonce=abc , algorithm=\"SHA-256\",stale=TRUE,qop=auth", &c));
  CHECK_STR(c.realm, "a \"b\", c");
  CHECK_STR(c.nonce, "abc");
  CHECK(c.hash == OND_HASH_SHA256 && c.stale && c.qop_auth && !c.session && !c.has_opaque);
  CHECK(parse("Basic realm=\"x\", Digest realm=\"y\", nonce=\"1\", qop=\"auth\", Digest realm=\"z\", nonce=\"2\", qop=\"auth\", algorithm=SHA-256", &c));
  CHECK_STR(c.realm, "z");
  CHECK(parse("Digest realm=\"z\", nonce=\"2\", algorithm=SHA-256, Digest realm=\"y\", nonce=\"1\"", &c));
  CHECK_STR(c.realm, "z");
  CHECK(parse("Negotiate, Digest realm=\"z\", nonce=\"2\"", &c));
  CHECK(!c.qop_auth);
  CHECK(!parse("Basic realm=\"nonce=1\"", &c));
  CHECK(!parse("Digest realm=\"z\"", &c));
  CHECK(!parse("Digest nonce=\"1", &c));
  CHECK(!parse("Digest nonce=\"1\", qop=\"auth-int\"", &c));
  CHECK(!parse("Digest nonce=\"1\", algorithm=token", &c));
  CHECK(!parse("", &c));
  CHECK(!parse("Digest", &c));
}

static OndAuth *digest_auth(void) {
  OndAuth *a = ond_calloc(sizeof(*a));

  a->type = OND_AUTH_DIGEST;
  a->n = 2;
  a->items = ond_calloc(2 * sizeof(*a->items));
  a->items[0] = (OndCredential){.name = ond_strdup("username"), .ref = ond_strdup("u"), .value = ond_strdup("u")};
  a->items[1] = (OndCredential){.name = ond_strdup("password"), .ref = ond_strdup("p"), .value = ond_strdup("hunter2")};
  return a;
}

static void request(OndHttpRequest *r) {
  ond_http_request_init(r);
  snprintf(r->method, sizeof(r->method), "PUT");
  r->url = ond_strdup("https://api.test/v1/x?a=1");
}

static const char *authorization(const OndHttpRequest *r) {
  const char *value = NULL;

  for (int i = 0; i < r->n_headers; i++) {
    value = strcmp(r->headers[i].name, "Authorization") == 0 ? r->headers[i].value : value;
  }
  return value;
}

static bool challenge(OndAuth *a, const OndHttpRequest *r, const char *header) {
  OndHttpResponse response = {.status = 401};
  OndError err = {0};
  bool again;

  ond_buf_init(&response.headers, 4096);
  ond_buf_append_str(&response.headers, "Content-Type: text/html\r\nWWW-Authenticate: Basic realm=\"b\"\r\n");
  ond_buf_append_str(&response.headers, header);
  again = ond_auth_challenged(a, r, &response, &err);
  ond_buf_free(&response.headers);
  return again;
}

TEST(digest_answers_a_challenge_and_counts) {
  OndAuth *a = digest_auth();
  OndHttpRequest first, second;
  OndError err = {0};

  request(&first);
  CHECK(ond_auth_apply(a, &first, &err));
  CHECK_STR(authorization(&first), NULL);
  CHECK(challenge(a, &first, "WWW-Authenticate: Digest realm=\"r\", nonce=\"one\", qop=\"auth\"\r\n"));
  CHECK(ond_auth_apply(a, &first, &err));
  REQUIRE(authorization(&first));
  CHECK(strstr(authorization(&first), "uri=\"/v1/x?a=1\"") && strstr(authorization(&first), "nc=00000001"));
  request(&second);
  CHECK(ond_auth_apply(a, &second, &err));
  REQUIRE(authorization(&second));
  CHECK(strstr(authorization(&second), "nc=00000002"));
  CHECK(!strstr(authorization(&second), "hunter2"));
  ond_http_request_free(&first);
  ond_http_request_free(&second);
  ond_auth_free(a);
}

TEST(digest_heeds_stale_and_gives_up_on_a_wrong_password) {
  OndAuth *a = digest_auth();
  OndHttpRequest early, r;
  OndError err = {0};

  request(&early);
  request(&r);
  CHECK(ond_auth_apply(a, &early, &err) && ond_auth_apply(a, &r, &err));
  CHECK(challenge(a, &r, "WWW-Authenticate: Digest realm=\"r\", nonce=\"one\", qop=\"auth\"\r\n"));
  CHECK(ond_auth_apply(a, &r, &err));
  CHECK(challenge(a, &early, "WWW-Authenticate: Digest realm=\"r\", nonce=\"other\", qop=\"auth\"\r\n")); /* went out before */
  CHECK(!challenge(a, &r, "WWW-Authenticate: Digest realm=\"r\", nonce=\"two\", qop=\"auth\"\r\n"));
  CHECK(challenge(a, &r, "WWW-Authenticate: Digest realm=\"r\", nonce=\"two\", qop=\"auth\", stale=true\r\n"));
  CHECK(ond_auth_apply(a, &r, &err));
  CHECK(strstr(authorization(&r), "nonce=\"two\"") && strstr(authorization(&r), "nc=00000001"));
  CHECK(!challenge(a, &r, "X-Nothing: 1\r\n"));
  ond_http_request_free(&early);
  ond_http_request_free(&r);
  ond_auth_free(a);
}
