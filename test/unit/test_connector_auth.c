/*
 * test_connector_auth.c - the auth document: references only.
 */
#include <string.h>
#include "connector/connector.h"
#include "unit.h"

static OndAuth *parse(const char *text, OndError *err) {
  memset(err, 0, sizeof(*err));
  return ond_auth_parse(text, text ? strlen(text) : 0, err);
}

static void fails(const char *text, const char *pointer, const char *message, const char *hint) {
  OndError err;
  OndAuth *auth = parse(text, &err);

  CHECK(!auth);
  CHECK_STR(err.pointer, pointer);
  if (!CHECK(strstr(err.message, message) != NULL)) {
    unit_note("%s", err.message);
  }
  CHECK(!hint || strstr(err.hint, hint) != NULL);
  ond_auth_free(auth);
}

TEST(auth_kinds_parse) {
  OndError err;
  OndAuth *auth = parse(NULL, &err);

  CHECK(auth && auth->type == OND_AUTH_NONE && auth->n == 0);
  ond_auth_free(auth);
  auth = parse("{\"type\": \"none\"}", &err);
  CHECK(auth && auth->type == OND_AUTH_NONE);
  ond_auth_free(auth);

  auth = parse("{\"type\": \"bearer\", \"token\": {\"secret\": \"crm\"}}", &err);
  REQUIRE(auth);
  CHECK(auth->type == OND_AUTH_BEARER && auth->n == 1);
  CHECK_STR(auth->prefix, "Bearer");
  CHECK_STR(auth->items[0].name, "token");
  CHECK_STR(auth->items[0].ref, "crm");
  CHECK(auth->items[0].source == OND_CREDENTIAL_SECRET && !auth->items[0].value);
  ond_auth_free(auth);

  auth = parse("{\"type\": \"bearer\", \"prefix\": \"Klaviyo-API-Key\", \"token\": {\"env\": \"KEY\"}}", &err);
  REQUIRE(auth);
  CHECK_STR(auth->prefix, "Klaviyo-API-Key");
  CHECK(auth->items[0].source == OND_CREDENTIAL_ENV);
  ond_auth_free(auth);

  auth = parse("{\"type\": \"basic\", \"username\": \"me\", \"password\": {\"file\": \"p\"}}", &err);
  REQUIRE(auth);
  CHECK(auth->n == 2 && auth->items[0].source == OND_CREDENTIAL_LITERAL && auth->items[1].source == OND_CREDENTIAL_FILE);
  CHECK_STR(auth->items[0].ref, "me");
  CHECK_STR(auth->items[1].name, "password");
  ond_auth_free(auth);

  auth = parse("{\"type\": \"basic\", \"username\": {\"secret\": \"key\"}, \"password\": \"\"}", &err);
  REQUIRE(auth);
  CHECK(auth->n == 2 && auth->items[0].source == OND_CREDENTIAL_SECRET && auth->items[1].source == OND_CREDENTIAL_LITERAL);
  ond_auth_free(auth);

  auth = parse("{\"type\": \"header\", \"headers\": {\"X-App\": {\"secret\": \"a\"}, \"X-Key\": {\"secret\": \"b\"}}}", &err);
  REQUIRE(auth);
  CHECK(auth->type == OND_AUTH_HEADER && auth->n == 2);
  CHECK_STR(auth->items[1].name, "X-Key");
  ond_auth_free(auth);

  auth = parse("{\"type\": \"query\", \"parameters\": {\"api_token\": {\"secret\": \"a\"}}}", &err);
  REQUIRE(auth);
  CHECK(auth->type == OND_AUTH_QUERY && auth->n == 1);
  ond_auth_free(auth);
}

TEST(literal_credentials_are_refused) {
  fails("{\"type\": \"bearer\", \"token\": \"abc\"}", "/token", "must be a reference", "set_secret");
  fails("{\"type\": \"basic\", \"username\": \"me\", \"password\": \"pw\"}", "/password", "must be a reference", "set_secret");
  fails("{\"type\": \"header\", \"headers\": {\"X-Key\": \"abc\"}}", "/headers/X-Key", "must be a reference", "set_secret");
  fails("{\"type\": \"query\", \"parameters\": {\"key\": 5}}", "/parameters/key", "must be a reference", "set_secret");
}

TEST(auth_documents_are_checked) {
  fails("[", "", "is not JSON", NULL);
  fails("[]", "", "\"type\"", "bearer");
  fails("{}", "", "\"type\"", "bearer");
  fails("{\"type\": \"oauth\"}", "/type", "cannot be \"oauth\"", "none, bearer, basic, header, query");
  fails("{\"type\": \"none\", \"token\": {}}", "/token", "unknown member", "type");
  fails("{\"type\": \"bearer\"}", "", "\"token\" is missing", "set_secret");
  fails("{\"type\": \"bearer\", \"token\": {}}", "/token", "needs one of", NULL);
  fails("{\"type\": \"bearer\", \"token\": {\"secret\": \"a\", \"env\": \"b\"}}", "/token", "needs one of", NULL);
  fails("{\"type\": \"bearer\", \"token\": {\"vault\": \"a\"}}", "/token/vault", "unknown member", "secret, env, file");
  fails("{\"type\": \"bearer\", \"token\": {\"secret\": \"\"}}", "/token/secret", "is empty", NULL);
  fails("{\"type\": \"bearer\", \"token\": {\"secret\": 1}}", "/token/secret", "a string", NULL);
  fails("{\"type\": \"bearer\", \"token\": {\"secret\": \"a\"}, \"prefix\": \"a\\nb\"}", "/prefix", "cannot stand in a header", NULL);
  fails("{\"type\": \"basic\", \"username\": \"me\"}", "", "\"password\" is missing", NULL);
  fails("{\"type\": \"header\"}", "", "\"headers\" is missing", NULL);
  fails("{\"type\": \"header\", \"headers\": {}}", "/headers", "1 to 20", NULL);
  fails("{\"type\": \"header\", \"headers\": {\"Host\": {\"secret\": \"a\"}}}", "/headers/Host", "cannot be set", NULL);
  fails("{\"type\": \"header\", \"headers\": {\"a b\": {\"secret\": \"a\"}}}", "/headers/a b", "is not a header name", NULL);
  fails("{\"type\": \"query\", \"parameters\": {\"\": {\"secret\": \"a\"}}}", "/parameters/", "needs a name", NULL);
}
