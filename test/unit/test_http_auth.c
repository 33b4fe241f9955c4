/*
 * test_http_auth.c - credentials get onto requests whole or not at all, and out of texts in every spelling.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "core/mem.h"
#include "http/auth.h"
#include "unit.h"

static OndAuth *auth_create(OndAuthType type, int n) {
  OndAuth *a = ond_calloc(sizeof(*a));

  a->type = type;
  a->n = n;
  a->items = ond_calloc((size_t)n * sizeof(*a->items) + 1);
  return a;
}

static void put(OndAuth *a, int i, const char *name, const char *value) {
  a->items[i].name = ond_strdup(name);
  a->items[i].source = OND_CREDENTIAL_SECRET;
  a->items[i].ref = ond_strdup("crm_token");
  a->items[i].value = value ? ond_strdup(value) : NULL;
}

static OndAuth *auth_one(OndAuthType type, const char *name, const char *value) {
  OndAuth *a = auth_create(type, 1);

  put(a, 0, name, value);
  return a;
}

static OndAuth *auth_basic(const char *username, const char *password) {
  OndAuth *a = auth_create(OND_AUTH_BASIC, 2);

  put(a, 0, "username", username);
  put(a, 1, "password", password);
  return a;
}

static void request(OndHttpRequest *r) {
  ond_http_request_init(r);
  snprintf(r->method, sizeof(r->method), "GET");
  r->url = ond_strdup("https://api.test/v1/x?a=1");
}

static const char *header_of(const OndHttpRequest *r, const char *name) {
  const char *value = NULL;
  int n = 0;

  for (int i = 0; i < r->n_headers; i++) {
    if (strcmp(r->headers[i].name, name) == 0) {
      value = r->headers[i].value;
      n++;
    }
  }
  CHECK(n <= 1);
  return value;
}

/* Applies a twice (a retry) and frees it; what is expected must stand there once. */
static void check_applied(OndAuth *a, const char *header, const char *value, const char *url) {
  OndHttpRequest r;
  OndError err = {0};

  request(&r);
  if (!CHECK(ond_auth_apply(a, &r, &err)) || !CHECK(ond_auth_apply(a, &r, &err))) {
    unit_note("%s", err.message);
  }
  if (header) {
    CHECK_STR(header_of(&r, header), value);
  } else {
    CHECK_INT(r.n_headers, 0);
  }
  CHECK_STR(r.url, url ? url : "https://api.test/v1/x?a=1");
  ond_http_request_free(&r);
  ond_auth_free(a);
}

/* Applying fails, the request stays bare, and the message shows nothing. */
static void check_refused(OndAuth *a) {
  OndHttpRequest r;
  OndError err = {0};

  request(&r);
  CHECK(!ond_auth_apply(a, &r, &err));
  CHECK(err.message[0] != '\0');
  CHECK(strstr(err.message, "hunter2") == NULL && strstr(err.detail, "hunter2") == NULL && strstr(err.hint, "hunter2") == NULL);
  ond_http_request_free(&r);
  ond_auth_free(a);
}

TEST(auth_none_and_null) {
  check_applied(auth_create(OND_AUTH_NONE, 0), NULL, NULL, NULL);
  check_applied(NULL, NULL, NULL, NULL);
}

TEST(auth_bearer) {
  OndAuth *a = auth_one(OND_AUTH_BEARER, "token", "hunter2");

  check_applied(auth_one(OND_AUTH_BEARER, "token", "hunter2"), "Authorization", "Bearer hunter2", NULL);
  a->prefix = ond_strdup("Token");
  check_applied(a, "Authorization", "Token hunter2", NULL);
  a = auth_one(OND_AUTH_BEARER, "token", "hunter2");
  a->prefix = ond_strdup("");
  check_applied(a, "Authorization", "hunter2", NULL);
}

TEST(auth_basic) {
  OndAuth *a;

  check_applied(auth_basic("Aladdin", "open sesame"), "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", NULL);
  check_applied(auth_basic("key", ""), "Authorization", "Basic a2V5Og==", NULL);
  a = auth_basic(NULL, "open sesame");
  a->items[0].source = OND_CREDENTIAL_LITERAL;
  ond_free(a->items[0].ref);
  a->items[0].ref = ond_strdup("Aladdin");
  check_applied(a, "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", NULL);
}

TEST(auth_header) {
  check_applied(auth_one(OND_AUTH_HEADER, "X-Api-Key", "hunter2"), "X-Api-Key", "hunter2", NULL);
}

TEST(auth_query) {
  OndAuth *a = auth_create(OND_AUTH_QUERY, 2);

  put(a, 0, "api key", "h&u=n/t?");
  put(a, 1, "b", "\xc3\xbc");
  check_applied(a, NULL, NULL, "https://api.test/v1/x?a=1&api%20key=h%26u%3Dn%2Ft%3F&b=%C3%BC");
  check_applied(auth_one(OND_AUTH_QUERY, "a", "hunter2"), NULL, NULL, "https://api.test/v1/x?a=hunter2");
}

TEST(auth_query_without_query) {
  OndAuth *a = auth_one(OND_AUTH_QUERY, "k", "v");
  OndHttpRequest r;
  OndError err = {0};

  request(&r);
  r.url[strcspn(r.url, "?")] = '\0';
  CHECK(ond_auth_apply(a, &r, &err));
  CHECK_STR(r.url, "https://api.test/v1/x?k=v");
  ond_http_request_free(&r);
  ond_auth_free(a);
}

TEST(auth_replaces_what_stands_there) {
  OndAuth *a = auth_one(OND_AUTH_BEARER, "token", "hunter2");
  OndHttpRequest r;
  OndError err = {0};

  request(&r);
  CHECK(ond_http_request_header(&r, "authorization", "Bearer other", 12, &err));
  CHECK(ond_http_request_header(&r, "X-Other", "1", 1, &err));
  CHECK(ond_auth_apply(a, &r, &err));
  CHECK_INT(r.n_headers, 2);
  CHECK_STR(header_of(&r, "Authorization"), "Bearer hunter2");
  CHECK_STR(header_of(&r, "X-Other"), "1");
  ond_http_request_free(&r);
  ond_auth_free(a);
}

TEST(auth_is_never_bare) {
  check_refused(auth_one(OND_AUTH_BEARER, "token", NULL));
  check_refused(auth_one(OND_AUTH_BEARER, "token", ""));
  check_refused(auth_create(OND_AUTH_BEARER, 0));
  check_refused(auth_one(OND_AUTH_BASIC, "username", "hunter2"));
  check_refused(auth_one(OND_AUTH_BASIC, "password", "hunter2"));
  check_refused(auth_basic(NULL, "hunter2"));
  check_refused(auth_basic("hunter2", NULL));
  check_refused(auth_basic("", ""));
  check_refused(auth_one(OND_AUTH_HEADER, "X-Api-Key", NULL));
  check_refused(auth_one(OND_AUTH_HEADER, "X-Api-Key", ""));
  check_refused(auth_create(OND_AUTH_HEADER, 0));
  check_refused(auth_one(OND_AUTH_QUERY, "k", NULL));
  check_refused(auth_one(OND_AUTH_QUERY, "k", ""));
  check_refused(auth_create(OND_AUTH_QUERY, 0));
}

TEST(auth_values_cannot_break_requests) {
  char long_value[20000];

  memset(long_value, 'x', sizeof(long_value));
  long_value[sizeof(long_value) - 1] = '\0';
  check_refused(auth_one(OND_AUTH_BEARER, "token", "hunter2\r\nX-Evil: 1"));
  check_refused(auth_one(OND_AUTH_HEADER, "X-Api-Key", "hunter2\n"));
  check_refused(auth_one(OND_AUTH_HEADER, "Content-Length", "hunter2"));
  check_refused(auth_one(OND_AUTH_HEADER, "X Y", "hunter2"));
  check_refused(auth_basic("a:b", "hunter2"));
  check_refused(auth_one(OND_AUTH_BEARER, "token", long_value));
}

static void check_scrubbed_n(const OndAuth *a, const char *text, size_t n, const char *expected, size_t expected_n) {
  OndBuf b;

  ond_buf_init(&b, n);
  ond_buf_append(&b, text, n);
  ond_auth_scrub(a, &b);
  CHECK_MEM(b.data, b.len, expected, expected_n);
  CHECK(b.data[b.len] == '\0');
  ond_buf_free(&b);
}

static void check_scrubbed(const OndAuth *a, const char *text, const char *expected) {
  check_scrubbed_n(a, text, strlen(text), expected, strlen(expected));
}

TEST(auth_scrubs_every_spelling) {
  OndAuth *a = auth_one(OND_AUTH_BEARER, "token", "p\"a/s\\s w%ö&d+");

  check_scrubbed(a, "x p\"a/s\\s w%ö&d+ y", "x *** y");
  check_scrubbed(a, "x=p%22a%2Fs%5Cs%20w%25%C3%B6%26d%2B&y", "x=***&y");
  check_scrubbed(a, "x=p%22a/s%5cs+w%25%c3%b6%26d%2b&y", "x=***&y");
  check_scrubbed(a, "{\"t\":\"p\\\"a/s\\\\s w%ö&d+\"}", "{\"t\":\"***\"}");
  check_scrubbed(a, "{\"t\":\"p\\\"a\\/s\\\\s w%\\u00f6\\u0026d\\u002B\"}", "{\"t\":\"***\"}");
  ond_auth_free(a);
}

TEST(auth_scrubs_base64) {
  OndAuth *a = auth_basic("Aladdin", "open sesame");
  OndAuth *b = auth_one(OND_AUTH_HEADER, "X-Key", "a?>a?>a?>a");

  check_scrubbed(a, "got Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==.", "got Basic ***==.");
  check_scrubbed(a, "got Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ.", "got Basic ***.");
  check_scrubbed(a, "b3BlbiBzZXNhbWU=", "***=");
  check_scrubbed(b, "YT8+YT8+YT8+YQ==", "***==");
  check_scrubbed(b, "YT8-YT8-YT8-YQ", "***");
  check_scrubbed(b, "YT8%2BYT8%2bYT8%2BYQ%3D%3D", "***%3D%3D");
  ond_auth_free(a);
  ond_auth_free(b);
}

TEST(auth_scrubs_astral_characters) {
  OndAuth *a = auth_one(OND_AUTH_BEARER, "token", "key\xf0\x9f\x94\x91");

  check_scrubbed(a, "\"key\\ud83d\\udd11\"", "\"***\"");
  check_scrubbed(a, "\"key\\ud83d\"", "\"key\\ud83d\"");
  check_scrubbed(a, "\"key\\ud83d\\", "\"key\\ud83d\\");
  ond_auth_free(a);
}

TEST(auth_scrubs_repeats_and_edges) {
  OndAuth *a = auth_one(OND_AUTH_BEARER, "token", "aaaa");
  static const char NULS[] = "\0aaaa\0";

  check_scrubbed(a, "aaaa", "***");
  check_scrubbed(a, "aaaaaaaaa", "******a");
  check_scrubbed(a, "aaa", "aaa");
  check_scrubbed(a, "xaaaay", "x***y");
  check_scrubbed(a, "aaa\\u006", "aaa\\u006");
  check_scrubbed(a, "aaa%6", "aaa%6");
  check_scrubbed(a, "aaa%", "aaa%");
  check_scrubbed(a, "aaa\\", "aaa\\");
  check_scrubbed_n(a, NULS, sizeof(NULS) - 1, "\0***\0", 5);
  ond_auth_free(a);
}

TEST(auth_scrubs_longer_secrets_first) {
  OndAuth *a = auth_create(OND_AUTH_HEADER, 2);

  put(a, 0, "X-A", "secret");
  put(a, 1, "X-B", "secret-tail-9");
  check_scrubbed(a, "secret-tail-9 secret", "*** ***");
  ond_auth_free(a);
}

TEST(auth_keeps_what_is_no_secret) {
  OndAuth *a = auth_basic("Aladdin", "abc");
  OndBuf empty;

  a->items[0].source = OND_CREDENTIAL_LITERAL;
  check_scrubbed(a, "Aladdin says abc", "Aladdin says abc"); /* a literal, and too short */
  ond_auth_free(a);
  a = auth_one(OND_AUTH_BEARER, "token", NULL);
  check_scrubbed(a, "text", "text");
  ond_buf_init(&empty, 10);
  ond_auth_scrub(a, &empty);
  CHECK(empty.data == NULL);
  ond_auth_scrub(NULL, &empty);
  ond_auth_free(a);
}

TEST(auth_credential_headers) {
  OndAuth *a = auth_one(OND_AUTH_HEADER, "X-Api-Key", "v");
  OndAuth *query = auth_one(OND_AUTH_QUERY, "X-Other", "v");

  CHECK(ond_auth_is_credential_header(a, "x-api-key"));
  CHECK(ond_auth_is_credential_header(a, "Authorization"));
  CHECK(ond_auth_is_credential_header(NULL, "cookie"));
  CHECK(!ond_auth_is_credential_header(NULL, "x-api-key"));
  CHECK(!ond_auth_is_credential_header(query, "x-other"));
  CHECK(!ond_auth_is_credential_header(a, "Content-Type"));
  ond_auth_free(a);
  ond_auth_free(query);
  ond_auth_free(NULL);
}

TEST(auth_goes_to_its_own_origin_only) {
  OndAuth *a = auth_one(OND_AUTH_BEARER, "token", "hunter2");
  static const char *const OTHERS[] = {"http://api.test/v1/x?a=1", "https://api.test:444/", "https://api.test.evil/", "https://evil/?https://api.test"};
  OndHttpRequest r;
  OndError err = {0};

  CHECK(!ond_auth_trust(a, "no url", &err));
  CHECK(ond_auth_trust(a, "https://other.test/base", &err) && ond_auth_trust(a, "https://API.test:443/v1", &err) && ond_auth_trust(a, "https://api.test", &err));
  CHECK_INT(a->n_origins, 2);
  request(&r);
  CHECK(ond_auth_apply(a, &r, &err));
  CHECK_STR(header_of(&r, "Authorization"), "Bearer hunter2");
  ond_http_request_free(&r);
  for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++) {
    request(&r);
    ond_free(r.url);
    r.url = ond_strdup(OTHERS[i]);
    CHECK(ond_auth_apply(a, &r, &err));
    CHECK_INT(r.n_headers, 0);
    ond_http_request_free(&r);
  }
  ond_auth_free(a);
}

TEST(auth_scrubs_tokens_of_the_past) {
  OndAuth *a = auth_create(OND_AUTH_OAUTH2_CLIENT_CREDENTIALS, 0);

  ond_auth_set_token(a, "first-token");
  ond_auth_set_token(a, "second-token");
  ond_auth_set_token(a, "second-token");
  ond_auth_set_token(a, "third-token");
  check_scrubbed(a, "first-token second-token third-token fourth-token", "*** *** *** fourth-token");
  ond_auth_free(a);
}

TEST(auth_redacted_shows_its_form) {
  OndAuth *a = auth_basic("Aladdin", "open sesame");
  OndHttpRequest r;
  OndError err = {0};

  ond_auth_redact(a);
  request(&r);
  CHECK(ond_auth_apply(a, &r, &err));
  CHECK(header_of(&r, "Authorization") && ond_auth_is_credential_header(a, "authorization"));
  check_scrubbed(a, "a *** b", "a *** b");
  ond_http_request_free(&r);
  ond_auth_free(a);
}
