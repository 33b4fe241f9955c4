/*
 * fuzz_header.c - headers of both directions: any name and value onto a request, any bytes as the headers of a response.
 *
 * What gets onto a request holds no line break, no control character and frames nothing. Of a response the first line of the name counts,
 * found here by a second reading. A Link header's targets stand in it.
 *
 * Input: first line a name, second line a value, the rest the headers of a response.
 */
#include <strings.h>
#include "core/link.h"
#include "core/mem.h"
#include "http/http.h"
#include "fuzz.h"

static void check_request(const char *name, const char *value, size_t value_n) {
  static const char *const FRAMING[] = {"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"};
  OndHttpRequest r;
  OndError err = {0};

  ond_http_request_init(&r);
  if (ond_http_request_header(&r, name, value, value_n, &err)) {
    MUST(r.n_headers == 1 && strcmp(r.headers[0].name, name) == 0 && strlen(r.headers[0].value) == value_n);
    MUST(memcmp(r.headers[0].value, value, value_n) == 0);
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
      MUST(*p > 0x20 && *p < 0x7F && !strchr(":;,=()<>@[]{}\\\"/?", *p));
    }
    for (size_t i = 0; i < value_n; i++) {
      MUST(((unsigned char)value[i] >= 0x20 || value[i] == '\t') && value[i] != 0x7F);
    }
    for (size_t i = 0; i < sizeof(FRAMING) / sizeof(FRAMING[0]); i++) {
      MUST(strcasecmp(name, FRAMING[i]) != 0);
    }
  } else {
    MUST(r.n_headers == 0);
    fuzz_check_error(&err);
  }
  ond_http_request_free(&r);
}

/* By lines: the first that begins with name and a colon. */
static const char *look_up(const char *headers, size_t n, const char *name) {
  size_t name_n = strlen(name);

  for (size_t at = 0; at < n; at++) {
    if ((at == 0 || headers[at - 1] == '\n') && n - at > name_n && strncasecmp(headers + at, name, name_n) == 0 &&
        headers[at + name_n] == ':' && !memchr(headers + at, '\n', name_n)) {
      return headers + at + name_n + 1;
    }
  }
  return NULL;
}

static void check_response(const char *name, const char *headers, size_t n) {
  OndHttpResponse r = {0};
  OndBytes found;
  const char *expected;

  ond_buf_init(&r.headers, n);
  ond_buf_append(&r.headers, headers, n);
  found = ond_http_response_header(&r, name);
  expected = look_up(r.headers.data, r.headers.len, name);
  MUST((found.p != NULL) == (expected != NULL));
  if (found.p) {
    MUST(found.p >= expected && found.p + found.n <= r.headers.data + r.headers.len);
    MUST(!memchr(found.p, '\n', found.n));
    for (const char *p = expected; p < found.p; p++) {
      MUST(*p == ' ' || *p == '\t');
    }
    MUST(found.n == 0 || (!strchr(" \t", found.p[0]) && !strchr(" \t\r", found.p[found.n - 1])) || !found.p[0] || !found.p[found.n - 1]);
  }
  ond_buf_free(&r.headers);
}

/* Whether the word is there, in any case. The text may have NULs. */
static bool has_word(const char *text, size_t n, const char *word) {
  size_t word_n = strlen(word);

  for (size_t i = 0; i + word_n <= n; i++) {
    if (strncasecmp(text + i, word, word_n) == 0) {
      return true;
    }
  }
  return false;
}

/* A link's target stands between angle brackets inside the header; a relation that the header does not contain is not found. */
static void check_link(const char *relation, const char *value, size_t n) {
  OndBytes header = {value, n};
  OndBytes target;

  if (!ond_link_find(header, relation, &target)) {
    return;
  }
  MUST(*relation && target.p > value && target.p + target.n < value + n);
  MUST(target.p[-1] == '<' && target.p[target.n] == '>' && !memchr(target.p, '>', target.n));
  MUST(has_word(target.p + target.n, (size_t)(value + n - target.p) - target.n, relation));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  size_t name_n;
  size_t value_n;
  size_t n;
  char *name = fuzz_line(&f, &name_n);
  char *value = fuzz_line(&f, &value_n);
  char *headers = fuzz_rest(&f, &n);

  check_request(name, value, value_n);
  check_response(name, headers, n);
  check_response("Retry-After", headers, n);
  check_link(name, value, value_n);
  check_link("next", value, value_n);
  free(name);
  free(value);
  free(headers);
  return 0;
}
