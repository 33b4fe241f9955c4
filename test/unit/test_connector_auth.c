/*
 * test_connector_auth.c - the auth document: references only.
 */
#include <stdio.h>
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

TEST(auth_signing_kinds_parse) {
  OndError err;
  OndAuth *auth = parse("{\"type\": \"aws_sigv4\", \"region\": \"eu-central-1\", \"service\": \"s3\", \"access_key\": \"AKIA1\", \"secret_key\": {\"secret\": \"aws\"}}", &err);

  REQUIRE(auth && auth->sigv4);
  CHECK(auth->n == 2 && auth->items[0].source == OND_CREDENTIAL_LITERAL && auth->sigv4->s3);
  CHECK_STR(auth->sigv4->region, "eu-central-1");
  ond_auth_free(auth);

  auth = parse("{\"type\": \"hmac\", \"secret\": [{\"secret\": \"new\"}, {\"secret\": \"old\"}]}", &err);
  REQUIRE(auth && auth->hmac);
  CHECK(auth->n == 2 && !auth->hmac->header);
  CHECK_STR(auth->items[1].ref, "old");
  ond_auth_free(auth);

  auth = parse("{\"type\": \"hmac\", \"secret\": {\"secret\": \"s\"}, \"header\": \"X-Sig\", \"algorithm\": \"sha512\", \"encoding\": \"base64\", \"prefix\": \"v0=\", "
               "\"secret_encoding\": \"hex\", \"timestamp_header\": \"X-Time\", \"over\": \"v0:{{timestamp}}:{{body}}\"}", &err);
  REQUIRE(auth && auth->hmac);
  CHECK(auth->hmac->hash == OND_HASH_SHA512 && auth->hmac->encoding == OND_HMAC_BASE64 && auth->hmac->secret == OND_HMAC_SECRET_HEX);
  REQUIRE(auth->hmac->n_over == 4);
  CHECK_STR(auth->hmac->over[0].literal, "v0:");
  CHECK(auth->hmac->over[1].word == OND_HMAC_TIMESTAMP && auth->hmac->over[3].word == OND_HMAC_BODY);
  ond_auth_free(auth);

  auth = parse("{\"type\": \"hmac\", \"secret\": {\"secret\": \"s\"}, \"header\": \"X-Sig\"}", &err);
  REQUIRE(auth && auth->hmac);
  CHECK(auth->hmac->hash == OND_HASH_SHA256 && auth->hmac->encoding == OND_HMAC_HEX && auth->hmac->n_over == 1 && auth->hmac->over[0].word == OND_HMAC_BODY);
  ond_auth_free(auth);
}

TEST(auth_signing_kinds_are_checked) {
  fails("{\"type\": \"aws_sigv4\", \"region\": \"r\", \"access_key\": \"a\", \"secret_key\": {\"secret\": \"s\"}}", "", "\"service\" is missing", NULL);
  fails("{\"type\": \"aws_sigv4\", \"region\": \"r\", \"service\": \"s\", \"access_key\": \"a\", \"secret_key\": \"s\"}", "/secret_key", "must be a reference", "set_secret");
  fails("{\"type\": \"aws_sigv4\", \"region\": \"r\\n\", \"service\": \"s\", \"access_key\": \"a\", \"secret_key\": {\"secret\": \"s\"}}", "/region", "control character", NULL);
  fails("{\"type\": \"hmac\"}", "", "\"secret\" is missing", "set_secret");
  fails("{\"type\": \"hmac\", \"secret\": []}", "/secret", "1 to 5", NULL);
  fails("{\"type\": \"hmac\", \"secret\": [\"x\"]}", "/secret/0", "must be a reference", "set_secret");
  fails("{\"type\": \"hmac\", \"secret\": {\"secret\": \"s\"}, \"algorithm\": \"sha256\"}", "/algorithm", "unknown member", "Standard Webhooks");
  fails("{\"type\": \"hmac\", \"header\": \"X\", \"secret\": [{\"secret\": \"s\"}]}", "/secret", "Standard Webhooks form only", NULL);
  fails("{\"type\": \"hmac\", \"header\": \"Host\", \"secret\": {\"secret\": \"s\"}}", "/header", "cannot be set", NULL);
  fails("{\"type\": \"hmac\", \"header\": \"X\", \"secret\": {\"secret\": \"s\"}, \"algorithm\": \"md5\"}", "/algorithm", "cannot be \"md5\"", "sha256");
  fails("{\"type\": \"hmac\", \"header\": \"X\", \"secret\": {\"secret\": \"s\"}, \"over\": \"{{bdy}}\"}", "/over", "is not known here", "{{body}}");
  fails("{\"type\": \"hmac\", \"header\": \"X\", \"secret\": {\"secret\": \"s\"}, \"over\": \"{{body\"}", "/over", "", NULL);
  fails("{\"type\": \"hmac\", \"header\": \"X\", \"secret\": {\"secret\": \"s\"}, \"prefix\": \"a\\nb\"}", "/prefix", "printable", NULL);
}

TEST(auth_tls_and_values_go_with_every_type) {
  OndError err;
  OndAuth *auth = parse("{\"type\": \"none\", \"tls\": {\"certificate\": \"-----BEGIN CERTIFICATE-----\\n\", \"key\": {\"secret\": \"k\"}, \"ca\": {\"file\": \"/ca\"}}, "
                        "\"values\": {\"api_key\": {\"secret\": \"x\"}}}", &err);

  REQUIRE(auth);
  CHECK(auth->n == 4 && auth->items[0].use == OND_USE_TLS && auth->items[3].use == OND_USE_VALUE);
  CHECK_STR(auth->items[3].name, "api_key");
  CHECK(!ond_auth_named_value(auth, "api_key", 7));
  ond_auth_redact(auth);
  CHECK_STR(ond_auth_named_value(auth, "api_key", 7), "***");
  CHECK(!ond_auth_named_value(auth, "api_ke", 6) && !ond_auth_named_value(NULL, "a", 1));
  ond_auth_free(auth);
  fails("{\"type\": \"none\", \"tls\": {}}", "/tls", "neither", NULL);
  fails("{\"type\": \"none\", \"tls\": {\"verify\": false}}", "/tls/verify", "unknown member", "certificate, key, key_password, ca");
  fails("{\"type\": \"none\", \"tls\": {\"key\": {\"secret\": \"k\"}}}", "/tls", "needs \"certificate\" and \"key\"", "secret");
  fails("{\"type\": \"none\", \"tls\": {\"certificate\": \"c\", \"key\": \"k\"}}", "/tls/key", "must be a reference", "set_secret");
  fails("{\"type\": \"none\", \"values\": {}}", "/values", "1 to 20", NULL);
  fails("{\"type\": \"none\", \"values\": {\"a b\": {\"secret\": \"x\"}}}", "/values/a b", "cannot be the name", NULL);
  fails("{\"type\": \"none\", \"values\": {\"a\": \"x\"}}", "/values/a", "must be a reference", "set_secret");
}

#define CLIENT "\"token_url\": \"https://issuer.test:8443/token\", \"client_id\": \"me\""

TEST(auth_token_kinds_parse) {
  OndError err;
  OndAuth *auth = parse("{\"type\": \"oauth2_client_credentials\", " CLIENT ", \"client_secret\": {\"secret\": \"s\"}, \"scope\": [\"a\", \"b\"], \"audience\": \"x\", "
                        "\"parameters\": {\"resource\": \"r\", \"pin\": {\"secret\": \"p\"}}}", &err);

  REQUIRE(auth && auth->token);
  CHECK(auth->token->client_auth == OND_CLIENT_BASIC && auth->n == 4);
  CHECK_STR(auth->token->host, "issuer.test");
  CHECK_STR(auth->token->scope, "a b");
  CHECK(auth->items[2].use == OND_USE_TOKEN_PARAMETER && auth->items[2].source == OND_CREDENTIAL_LITERAL);
  CHECK(ond_auth_wants_token(auth));
  ond_auth_free(auth);

  auth = parse("{\"type\": \"oauth2_refresh_token\", " CLIENT ", \"refresh_token\": {\"secret\": \"r\"}}", &err);
  REQUIRE(auth && auth->token);
  CHECK(auth->token->client_auth == OND_CLIENT_NONE);
  ond_auth_free(auth);

  auth = parse("{\"type\": \"oauth2_client_credentials\", " CLIENT ", \"client_key\": {\"secret\": \"k\"}}", &err);
  REQUIRE(auth && auth->token);
  CHECK(auth->token->client_auth == OND_CLIENT_PRIVATE_KEY_JWT);
  ond_auth_free(auth);

  auth = parse("{\"type\": \"jwt_bearer\", \"token_url\": \"https://issuer.test/token\", \"issuer\": \"robot\", \"key\": {\"secret\": \"k\"}, \"claims\": {\"a\": 1, \"b\": [\"c\"]}}", &err);
  REQUIRE(auth && auth->token);
  CHECK_STR(auth->token->claims, ",\"a\":1,\"b\":[\"c\"]");
  CHECK_INT(auth->token->lifetime_s, 300);
  ond_auth_free(auth);
}

TEST(auth_token_kinds_are_checked) {
  static const char CC[] = "{\"type\": \"oauth2_client_credentials\", ";
  char text[512];

#define FAILS(members, pointer, message, hint)                                                                                             \
  do {                                                                                                                                     \
    snprintf(text, sizeof(text), "%s%s}", CC, members);                                                                                    \
    fails(text, pointer, message, hint);                                                                                                   \
  } while (0)
  FAILS("\"client_id\": \"me\"", "", "\"token_url\" is missing", NULL);
  FAILS("\"token_url\": \"ftp://x\", \"client_id\": \"me\"", "/token_url", "does not start with https", NULL);
  FAILS("\"token_url\": \"https://a:b@x\", \"client_id\": \"me\"", "/token_url", "user name or password", NULL);
  FAILS("\"token_url\": \"https://x\"", "", "\"client_id\" is missing", NULL);
  FAILS(CLIENT ", \"client_secret\": \"s\"", "/client_secret", "must be a reference", "set_secret");
  FAILS(CLIENT ", \"client_auth\": \"basic\"", "/client_auth", "needs \"client_secret\"", "secret");
  FAILS(CLIENT ", \"client_auth\": \"private_key_jwt\"", "/client_auth", "needs \"client_key\"", "secret");
  FAILS(CLIENT ", \"client_auth\": \"none\", \"client_secret\": {\"secret\": \"s\"}", "", "does not use \"client_secret\"", NULL);
  FAILS(CLIENT ", \"client_auth\": \"tls\"", "/client_auth", "cannot be \"tls\"", "none, basic, post, private_key_jwt");
  FAILS(CLIENT ", \"refresh_token\": {\"secret\": \"r\"}", "/refresh_token", "unknown member", "scope");
  FAILS(CLIENT ", \"scope\": []", "/scope", "1 to 100", NULL);
  FAILS(CLIENT ", \"parameters\": {\"a\": 1}", "/parameters/a", "must be a reference", NULL);
  fails("{\"type\": \"oauth2_refresh_token\", " CLIENT "}", "", "\"refresh_token\" is missing", "set_secret");
  fails("{\"type\": \"jwt_bearer\", \"token_url\": \"https://x\", \"key\": {\"secret\": \"k\"}}", "", "\"issuer\" is missing", NULL);
  fails("{\"type\": \"jwt_bearer\", \"token_url\": \"https://x\", \"issuer\": \"i\", \"key\": {\"secret\": \"k\"}, \"claims\": {\"iss\": 1}}", "/claims/iss", "is set from", NULL);
  fails("{\"type\": \"jwt_bearer\", \"token_url\": \"https://x\", \"issuer\": \"i\", \"key\": {\"secret\": \"k\"}, \"lifetime_s\": 5}", "/lifetime_s", "", NULL);
#undef FAILS
}
