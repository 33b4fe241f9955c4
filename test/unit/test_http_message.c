/*
 * test_http_message.c - headers that may go onto a request, and headers read from a response.
 */
#include <string.h>
#include "core/mem.h"
#include "http/http.h"
#include "unit.h"

static bool accepts(const char *name, const char *value, size_t n) {
  OndHttpRequest r;
  OndError err = {0};
  bool ok;

  ond_http_request_init(&r);
  ok = ond_http_request_header(&r, name, value, n, &err);
  CHECK_INT(r.n_headers, ok ? 1 : 0);
  CHECK(ok || err.message[0] != '\0');
  CHECK(ok || strstr(err.message, "hunter2") == NULL);
  ond_http_request_free(&r);
  return ok;
}

#define ACCEPTS(name, value) accepts((name), (value), sizeof(value) - 1)

TEST(message_headers_that_pass) {
  CHECK(ACCEPTS("X-Key", "hunter2"));
  CHECK(ACCEPTS("x!#$%&'*+-.^_`|~9", "v"));
  CHECK(ACCEPTS("X-Empty", ""));
  CHECK(ACCEPTS("X-Tab", "a\tb"));
  CHECK(ACCEPTS("X-Utf8", "gr\xc3\xbc\xc3\x9f"));
  CHECK(ACCEPTS("X-Colon", "a: b; c"));
}

TEST(message_values_cannot_break_lines) {
  CHECK(!ACCEPTS("X-Key", "hunter2\r\nX-Evil: 1"));
  CHECK(!ACCEPTS("X-Key", "hunter2\nX-Evil: 1"));
  CHECK(!ACCEPTS("X-Key", "hunter2\r"));
  CHECK(!ACCEPTS("X-Key", "hunter2\n"));
  CHECK(!ACCEPTS("X-Key", "hunter2\0"));
  CHECK(!ACCEPTS("X-Key", "\0hunter2"));
  CHECK(!ACCEPTS("X-Key", "hunter2\x01"));
  CHECK(!ACCEPTS("X-Key", "hunter2\x1b[31m"));
  CHECK(!ACCEPTS("X-Key", "hunter2\x7f"));
}

TEST(message_names_are_tokens) {
  static const char *const NAMES[] = {"",    " ",  "X Y",      "X:",  ":path", "X\r\nY", "X\tY", "X(",
                                      "X\"", "X;", "\xc3\xbc", "X,Y", "X=Y",   "X/Y",    NULL};
  char long_name[256];

  for (const char *const *name = NAMES; *name; name++) {
    CHECK(!ACCEPTS(*name, "v"));
  }
  memset(long_name, 'x', sizeof(long_name));
  long_name[sizeof(long_name) - 1] = '\0';
  CHECK(!ACCEPTS(long_name, "v"));
}

TEST(message_framing_belongs_to_the_transport) {
  CHECK(!ACCEPTS("Content-Length", "5"));
  CHECK(!ACCEPTS("transfer-encoding", "chunked"));
  CHECK(!ACCEPTS("HOST", "evil.test"));
  CHECK(!ACCEPTS("Connection", "close"));
  CHECK(!ACCEPTS("Expect", "100-continue"));
  CHECK(!ACCEPTS("Upgrade", "h2c"));
}

TEST(message_headers_are_bounded) {
  OndHttpRequest r;
  OndError err = {0};
  char *value = ond_calloc(20000);
  int i;

  memset(value, 'v', 20000);
  CHECK(!accepts("X-Long", value, 20000));
  ond_http_request_init(&r);
  for (i = 0; i < 1000 && ond_http_request_header(&r, "X-Many", "v", 1, &err); i++) {
  }
  CHECK(i > 20 && i < 1000);
  CHECK(strstr(err.message, "too many") != NULL);
  ond_http_request_free(&r);
  ond_free(value);
}

static void check_header(const OndHttpResponse *r, const char *name, const char *value) {
  OndBytes found = ond_http_response_header(r, name);

  CHECK_MEM(found.p, found.n, value, value ? strlen(value) : 0);
}

TEST(message_response_headers) {
  OndHttpResponse *r = ond_calloc(sizeof(*r));

  ond_buf_init(&r->headers, 1000);
  CHECK(ond_http_response_header(r, "X").p == NULL);
  ond_buf_append_str(&r->headers, "Retry-After:  12 \r\nX-Empty:\r\nretry-after: 99\r\nX-AB: 1\r\nX-A:2\r\nno colon\r\nLast:\tend");
  check_header(r, "Retry-After", "12");
  check_header(r, "RETRY-AFTER", "12");
  check_header(r, "x-empty", "");
  check_header(r, "X-A", "2");
  check_header(r, "X-AB", "1");
  check_header(r, "Last", "end");
  check_header(r, "no colon", NULL);
  check_header(r, "Retry", NULL);
  check_header(r, "After", NULL);
  ond_http_response_free(r);
}

TEST(message_free_takes_null) {
  OndHttpRequest r;

  ond_http_response_free(NULL);
  ond_http_request_init(&r);
  CHECK(r.timeout_ms > 0 && r.connect_timeout_ms > 0);
  ond_http_request_free(&r);
}
