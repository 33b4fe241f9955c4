/*
 * fuzz_url.c - any URL, and any bytes percent-encoded.
 *
 * libcurl is the one that connects, so what we read out of a URL (scheme, host, port) must be what libcurl reads: a difference would be a way
 * around the checks of host and origin. What was encoded is plain ASCII and decodes to what it was.
 *
 * Input: first line a URL, the rest bytes to encode.
 */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <strings.h>
#include "core/url.h"
#include "fuzz.h"

static char *curl_part(CURLU *u, CURLUPart part, unsigned int flags) {
  char *text = NULL;

  return curl_url_get(u, part, &text, flags) == CURLUE_OK ? text : NULL;
}

static bool is_ipv4(const char *host) {
  struct in_addr address;

  return inet_pton(AF_INET, host, &address) == 1;
}

/* libcurl writes out short and odd forms of IPv4 addresses ("0x7f.1"); the policy looks at the address that comes of them. */
static void check_host(const OndUrl *url, const char *host) {
  struct in6_addr ours;
  struct in6_addr theirs;
  char inner[INET6_ADDRSTRLEN] = "";

  if (host[0] == '[') {
    snprintf(inner, sizeof(inner), "%.*s", (int)strlen(host) - 2, host + 1);
    MUST(inet_pton(AF_INET6, url->host, &ours) == 1 && inet_pton(AF_INET6, inner, &theirs) == 1 && memcmp(&ours, &theirs, sizeof(ours)) == 0);
  } else if (!is_ipv4(host)) {
    MUST(strcasecmp(url->host, host) == 0);
  }
}

static void check_against_curl(const char *text, const OndUrl *url) {
  CURLU *u = curl_url();
  char *scheme;
  char *host;
  char *port;
  char *user;

  if (curl_url_set(u, CURLUPART_URL, text, CURLU_PATH_AS_IS) == CURLUE_OK) {
    scheme = curl_part(u, CURLUPART_SCHEME, 0);
    host = curl_part(u, CURLUPART_HOST, 0);
    port = curl_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    user = curl_part(u, CURLUPART_USER, 0);
    MUST(scheme && host && port && !user);
    MUST(strcasecmp(scheme, url->https ? "https" : "http") == 0);
    MUST(atoi(port) == url->port);
    check_host(url, host);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
  }
  curl_url_cleanup(u);
}

static void check_url(const char *text) {
  OndUrl url;
  OndUrl again;
  OndError err = {0};
  char *rebuilt;

  if (!ond_url_parse(text, &url, &err)) {
    fuzz_check_error(&err);
    return;
  }
  for (const char *p = text; *p; p++) {
    MUST(*p > 0x20 && *p < 0x7F && *p != '\\' && *p != '#');
  }
  MUST(url.host[0] && url.port >= 1 && url.port <= 65535);
  for (const char *p = url.host; *p; p++) {
    MUST(*p > 0x20 && *p < 0x7F && !(*p >= 'A' && *p <= 'Z') && !strchr("/?#@\\[]%", *p));
  }
  MUST(url.path.n == 0 || url.path.p[0] == '/' || url.path.p[0] == '?');
  MUST(url.path.p + url.path.n == text + strlen(text));
  check_against_curl(text, &url);
  rebuilt = malloc(strlen(text) + 600);
  sprintf(rebuilt, "%s://%s%s%s:%d%s", url.https ? "https" : "http", strchr(url.host, ':') ? "[" : "", url.host,
          strchr(url.host, ':') ? "]" : "", url.port, url.path.p);
  MUST(ond_url_parse(rebuilt, &again, &err) && ond_url_same_origin(&url, &again) && strcmp(url.path.p, again.path.p) == 0);
  again.port = again.port == 1 ? 2 : again.port - 1;
  MUST(!ond_url_same_origin(&url, &again));
  free(rebuilt);
}

static void check_encoded(const char *bytes, size_t n) {
  OndBuf out;
  int back_n;
  char *back;

  ond_buf_init(&out, 3 * n + 1);
  MUST(ond_url_encode(&out, bytes, n));
  for (size_t i = 0; i < out.len; i++) {
    MUST(out.data[i] == '%' || strchr("-._~", out.data[i]) || (out.data[i] >= '0' && out.data[i] <= '9') ||
         ((out.data[i] | 0x20) >= 'a' && (out.data[i] | 0x20) <= 'z'));
  }
  back = curl_easy_unescape(NULL, out.data, (int)out.len, &back_n); /* of nothing: nothing */
  MUST(back && (size_t)back_n == n && memcmp(back, bytes, n) == 0);
  curl_free(back);
  ond_buf_reset(&out);
  MUST(ond_form_encode(&out, bytes, n) && !memchr(out.data, ' ', out.len) && !memchr(out.data, '&', out.len) && !memchr(out.data, '=', out.len));
  for (size_t i = 0; i < out.len; i++) {
    out.data[i] = out.data[i] == '+' ? ' ' : out.data[i];
  }
  back = curl_easy_unescape(NULL, out.data, (int)out.len, &back_n);
  MUST(back && (size_t)back_n == n && memcmp(back, bytes, n) == 0);
  curl_free(back);
  ond_buf_free(&out);
  MUST(ond_url_piece_is_unsafe(bytes, n) == (n == 0 || (n <= 2 && bytes[0] == '.' && bytes[n - 1] == '.')));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  size_t text_n;
  size_t bytes_n;
  char *text = fuzz_line(&f, &text_n);
  char *bytes = fuzz_rest(&f, &bytes_n);

  check_url(text);
  check_encoded(bytes, bytes_n);
  free(text);
  free(bytes);
  return 0;
}
