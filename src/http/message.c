/*
 * message.c - requests and responses as their owners see them.
 *
 * What a header may contain is decided here, at the only door through which a header gets onto a request. Headers that frame the
 * message or route it (Content-Length, Host, ...) belong to the transport: a caller's own would let data cut a request in two or
 * carry credentials to another virtual host.
 *
 * Owns nothing beyond a call. Freed requests are wiped: URL, headers and body may carry credentials.
 * Does not send: that is http.c with exchange.c.
 */
#include "http/http.h"

#include <string.h>
#include <strings.h>
#include "core/mem.h"

#define HEADERS_MAX            128
#define HEADER_NAME_BYTES_MAX  128
#define HEADER_VALUE_BYTES_MAX 16384
#define TIMEOUT_DEFAULT_MS     30000
#define CONNECT_DEFAULT_MS     10000

static const char *const TRANSPORT_HEADERS[] = {
    "Connection", "Content-Length",    "Expect",  "Host", "HTTP2-Settings", "Keep-Alive", "Proxy-Connection", "TE",
    "Trailer",    "Transfer-Encoding", "Upgrade",
};

void ond_http_request_init(OndHttpRequest *r) {
  memset(r, 0, sizeof(*r));
  r->timeout_ms = TIMEOUT_DEFAULT_MS;
  r->connect_timeout_ms = CONNECT_DEFAULT_MS;
}

static void free_wiped(char *s) {
  if (s) {
    ond_wipe(s, strlen(s));
    ond_free(s);
  }
}

void ond_http_request_free(OndHttpRequest *r) {
  for (int i = 0; i < r->n_headers; i++) {
    ond_free(r->headers[i].name);
    free_wiped(r->headers[i].value);
  }
  ond_free(r->headers);
  free_wiped(r->url);
  ond_wipe(r->body.data, r->body.len);
  ond_buf_free(&r->body);
  memset(r, 0, sizeof(*r));
}

/* A token of RFC 9110 5.6.2. */
static bool name_is_token(const char *name) {
  size_t n = strspn(name, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

  return n > 0 && n <= HEADER_NAME_BYTES_MAX && name[n] == '\0';
}

static bool value_is_clean(const char *value, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)value[i];

    if ((c < 0x20 && c != '\t') || c == 0x7f) {
      return false;
    }
  }
  return true;
}

static bool is_transport_header(const char *name) {
  for (size_t i = 0; i < sizeof(TRANSPORT_HEADERS) / sizeof(TRANSPORT_HEADERS[0]); i++) {
    if (strcasecmp(name, TRANSPORT_HEADERS[i]) == 0) {
      return true;
    }
  }
  return false;
}

/* The value itself is never named: it may be a credential. */
static bool check_header(const OndHttpRequest *r, const char *name, const char *value, size_t value_n, OndError *err) {
  if (!name_is_token(name)) {
    ond_error_set(err, "header name is not valid");
    ond_error_hint(err, "A header name has 1 to %d letters, digits and characters of !#$%%&'*+-.^_`|~.", HEADER_NAME_BYTES_MAX);
    return false;
  }
  if (is_transport_header(name)) {
    ond_error_set(err, "header \"%s\" cannot be set", name);
    ond_error_hint(err, "The transport sets it; leave it out.");
    return false;
  }
  if (!value_is_clean(value, value_n)) {
    ond_error_set(err, "value of header \"%s\" contains a line break or another control character", name);
    ond_error_hint(err, "Remove it or encode the value, for example as base64.");
    return false;
  }
  if (value_n > HEADER_VALUE_BYTES_MAX) {
    ond_error_set(err, "value of header \"%s\" is too long", name);
    ond_error_detail(err, "It has %zu bytes, at most %d are sent.", value_n, HEADER_VALUE_BYTES_MAX);
    return false;
  }
  if (r->n_headers >= HEADERS_MAX) {
    ond_error_set(err, "request has too many headers");
    ond_error_detail(err, "At most %d are sent.", HEADERS_MAX);
    return false;
  }
  return true;
}

bool ond_http_request_header(OndHttpRequest *r, const char *name, const char *value, size_t value_n, OndError *err) {
  OndHttpHeader *header;

  if (!check_header(r, name, value, value_n, err)) {
    return false;
  }
  r->headers = ond_realloc(r->headers, (size_t)(r->n_headers + 1) * sizeof(*r->headers));
  header = &r->headers[r->n_headers++];
  header->name = ond_strdup(name);
  header->value = ond_strndup(value, value_n);
  return true;
}

void ond_http_response_free(OndHttpResponse *r) {
  if (r) {
    ond_buf_free(&r->headers);
    ond_buf_free(&r->body);
    ond_free(r);
  }
}

static OndBytes trimmed(const char *p, size_t n) {
  while (n > 0 && (*p == ' ' || *p == '\t')) {
    p++;
    n--;
  }
  while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t' || p[n - 1] == '\r')) {
    n--;
  }
  return (OndBytes){p, n};
}

OndBytes ond_http_response_header_at(const OndHttpResponse *r, const char *name, int index) {
  size_t name_n = strlen(name);
  const char *line = r->headers.data;
  size_t left = r->headers.len;

  while (left > 0) {
    const char *end = memchr(line, '\n', left);
    size_t n = end ? (size_t)(end - line) : left;

    if (n > name_n && line[name_n] == ':' && strncasecmp(line, name, name_n) == 0 && index-- == 0) {
      return trimmed(line + name_n + 1, n - name_n - 1);
    }
    left -= end ? n + 1 : n;
    line = end ? end + 1 : line;
  }
  return OND_BYTES_NONE;
}

OndBytes ond_http_response_header(const OndHttpResponse *r, const char *name) {
  return ond_http_response_header_at(r, name, 0);
}
