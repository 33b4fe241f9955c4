/*
 * test_connector_token.c - answers of token endpoints: read with suspicion, kept, read again.
 */
#include <stdio.h>
#include <string.h>
#include "connector/connector.h"
#include "connector/token.h"
#include "core/mem.h"
#include "unit.h"

static OndToken *read_body(const char *body, OndError *err) {
  OndHttpResponse response = {.status = 200};
  OndToken *t;

  memset(err, 0, sizeof(*err));
  ond_buf_init(&response.body, 1 << 20);
  ond_buf_append_str(&response.body, body);
  t = ond_token_read(&response, err);
  ond_buf_free(&response.body);
  return t;
}

static int64_t life(const char *expires_in) {
  char body[200];
  OndError err;
  OndToken *t;
  int64_t seconds;

  snprintf(body, sizeof(body), "{\"access_token\": \"a\", \"expires_in\": %s}", expires_in);
  t = read_body(body, &err);
  seconds = t ? t->life_s : -2;
  ond_token_free(t);
  return seconds;
}

TEST(token_lives) {
  CHECK_INT(life("3600"), 3600);
  CHECK_INT(life("\"3600\""), 3600);
  CHECK_INT(life("59.9"), 59);
  CHECK_INT(life("0.5"), 1);
  CHECK_INT(life("0"), -1);
  CHECK_INT(life("-5"), -1);
  CHECK_INT(life("null"), -1);
  CHECK_INT(life("true"), -1);
  CHECK_INT(life("\"soon\""), -1);
  CHECK_INT(life("1e300"), (int64_t)10 * 366 * 86400);
}

TEST(token_is_kept_and_read_again) {
  OndError err;
  OndToken *t = read_body("{\"access_token\": \"a.b\", \"refresh_token\": \"r \\u00e4\", \"id_token\": \"secret\", \"instance_url\": \"https://x.test\", "
                          "\"n\": 12345678901234567890, \"deep\": {\"a\": [1, {\"b\": true}]}, \"expires_in\": 5}", &err);
  OndToken *again;
  OndBuf text;
  char *found;

  REQUIRE(t);
  CHECK(!strstr(t->response, "secret") && !strstr(t->response, "a.b"));
  memset(t->made_of.chain, 'c', 64);
  memset(t->made_of.all, 'd', 64);
  ond_buf_init(&text, 1 << 20);
  CHECK(ond_token_write(t, &text));
  again = ond_token_parse(text.data, text.len);
  REQUIRE(again);
  CHECK_STR(again->access_token, "a.b");
  CHECK_STR(again->refresh_token, "r \xc3\xa4");
  CHECK_STR(again->made_of.chain, t->made_of.chain);
  CHECK_STR(again->made_of.all, t->made_of.all);
  CHECK_STR(again->response, t->response);
  found = ond_token_response_text(again, "/instance_url");
  CHECK_STR(found, "https://x.test");
  ond_free(found);
  found = ond_token_response_text(again, "/n");
  CHECK_STR(found, "12345678901234567890");
  ond_free(found);
  CHECK(!ond_token_response_text(again, "/deep") && !ond_token_response_text(again, "/none") && !ond_token_response_text(again, "bad"));
  CHECK(!ond_token_parse("{}", 2) && !ond_token_parse("", 0));
  ond_buf_free(&text);
  ond_token_free(t);
  ond_token_free(again);
}

TEST(token_lies_are_refused) {
  static const char *const LIES[] = {"", "[]", "null", "{}", "{\"access_token\": \"\"}", "{\"access_token\": null}", "{\"access_token\": \"a b\"}", "{\"access_token\": \"a\\u0000b\"}",
                                     "{\"access_token\": \"\\u00e4\"}", "{\"access_token\": \"a\", \"token_type\": \"MAC\"}", "{\"access_token\": \"a\", \"refresh_token\": 7}"};
  OndError err;

  for (size_t i = 0; i < sizeof(LIES) / sizeof(LIES[0]); i++) {
    OndToken *t = read_body(LIES[i], &err);

    if (!CHECK(!t && err.message[0] && err.hint[0])) {
      unit_note("%s", LIES[i]);
    }
    ond_token_free(t);
  }
}

static OndAuth *client(const char *secret, const char *refresh) {
  static const char TEXT[] = "{\"type\": \"oauth2_refresh_token\", \"token_url\": \"https://issuer.test/token\", \"client_id\": \"me\", \"client_secret\": {\"secret\": \"s\"}, "
                             "\"refresh_token\": {\"secret\": \"r\"}}";
  OndError err;
  OndAuth *a = ond_auth_parse(TEXT, sizeof(TEXT) - 1, &err);

  a->items[1].value = ond_strdup(secret);
  a->items[2].value = ond_strdup(refresh);
  return a;
}

/* A stored rotation belongs to the refresh token that a person gave; an access token to everything. */
TEST(token_fingerprints_tell_what_changed) {
  OndAuth *a = client("s1", "r1"), *b = client("s2", "r1"), *c = client("s1", "r2");
  OndTokenFingerprints fa, fa2, fb, fc;

  CHECK(ond_token_fingerprints(a, &fa) && ond_token_fingerprints(a, &fa2) && ond_token_fingerprints(b, &fb) && ond_token_fingerprints(c, &fc));
  CHECK(strcmp(fa.all, fa2.all) == 0 && strlen(fa.all) == 64);
  CHECK(strcmp(fa.chain, fb.chain) == 0 && strcmp(fa.all, fb.all) != 0);
  CHECK(strcmp(fa.chain, fc.chain) != 0 && strcmp(fa.all, fc.all) != 0);
  ond_free(b->items[1].value);
  b->items[1].value = NULL;
  CHECK(!ond_token_fingerprints(b, &fb));
  ond_auth_free(a);
  ond_auth_free(b);
  ond_auth_free(c);
}
