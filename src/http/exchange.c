/*
 * exchange.c - one request on its way: options of an easy handle, callbacks, and what the end of a transfer means.
 *
 * Model: create() sets what is the same for every request, begin() what is this request's, libcurl calls back while
 * http.c drives it, finish() reads the outcome. An exchange is reused; its header list and text keep their memory.
 *
 * Sent or not. PREREQFUNCTION is called when a connection stands and the request is about to be written; REQUEST_SIZE counts
 * what has been written over all tries of a transfer. Nothing written: NOT_SENT. Anything written and no complete response:
 * NO_ANSWER. Where HTTP/2 may have been agreed on, frames can leave before REQUEST_SIZE counts them, so "about to be written"
 * counts as written there.
 *
 * Sent once. libcurl repeats a request by itself, POST as well, up to five times: when a reused connection breaks before a byte
 * of the answer, when an HTTP/2 server refuses the stream (GOAWAY included) or asks for HTTP/1.1 (Curl_retry_request() in 7.88,
 * 8.14 and 8.22). The server may have acted on the first one. PREREQFUNCTION comes before the repetition too: it lets it pass
 * only where nothing of the first try was written, else the transfer ends as NO_ANSWER. A stream that the server refused for
 * certain is not told apart from a lost connection: libcurl does not say which it was; where a doubt is expensive, http2 = false
 * avoids it. Two things keep the first case rare: libcurl looks whether an idle connection is still open before it reuses it (8.22:
 * at most once a second), and MAXAGE_CONN ends reuse before the idle time after which common servers close theirs.
 *
 * Callbacks run inside libcurl frames: they copy into capped buffers, return codes, never raise and never call an allocator that
 * does. Nothing here may include postgres.h.
 *
 * Owns: the easy handle, header list, compressed body, the response until it is taken. Does not own the request, does not touch
 * the multi handle.
 */
#include "http/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "core/mem.h"
#include "core/text.h"
#include "core/version.h"

#define USER_AGENT         "ondatra/" OND_VERSION
#define HEADERS_BYTES_MAX  65536
#define CONNECT_DEFAULT_MS 10000
#define IDLE_MAX_S         3L  /* reuse of connections; servers close idle ones after 5 s and more */
#define KEEPALIVE_S        60L /* before the first TCP probe, and between probes */
#define HEADER_EXTRA_NODES 3   /* Expect, Content-Type, Content-Encoding */
#define HEADER_EXTRA_BYTES 64

#define SET(rc, easy, option, value)                                                                                                       \
  do {                                                                                                                                     \
    if ((rc) == CURLE_OK) {                                                                                                                \
      (rc) = curl_easy_setopt((easy), (option), (value));                                                                                  \
    }                                                                                                                                      \
  } while (0)

static int64_t now_us(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static long bytes_written(const OndExchange *x) {
  long bytes = 0;

  curl_easy_getinfo(x->easy, CURLINFO_REQUEST_SIZE, &bytes);
  return bytes;
}

/* Whether the server can have seen anything of the request. See the file head. */
static bool was_sent(const OndExchange *x) {
  bool may_be_http2 = x->options->http2 && x->url.https;

  return bytes_written(x) > 0 || (may_be_http2 && x->handed_over);
}

static int on_prereq(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port) {
  OndExchange *x = arg;

  (void)remote_ip;
  (void)local_ip;
  (void)remote_port;
  (void)local_port;
  if (was_sent(x)) {
    x->repeat_refused = true;
    return CURL_PREREQFUNC_ABORT;
  }
  x->handed_over = true;
  return CURL_PREREQFUNC_OK;
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
  OndExchange *x = arg;
  const OndHttpOptions *o = x->options;
  int fd;

  (void)purpose;
  if (!ond_address_allowed(&o->addresses, x->url.host, x->url.port, &address->addr)) {
    bool private = ond_address_kind(&address->addr) == OND_ADDRESS_PRIVATE;

    snprintf(x->refusal, sizeof(x->refusal), "%.128s resolves to a %s", x->url.host,
             private ? "private or loopback address, which ondatra.allowed_hosts does not name" : "link-local or special address, which is not allowed");
    return CURL_SOCKET_BAD;
  }
  if (o->acquire_fd && !o->acquire_fd(o->fd_arg)) {
    snprintf(x->refusal, sizeof(x->refusal), "no file descriptor is left for a connection to %.128s", x->url.host);
    return CURL_SOCKET_BAD;
  }
  fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (fd < 0) {
    snprintf(x->refusal, sizeof(x->refusal), "could not open a socket: %.100s", strerror(errno));
    if (o->release_fd) {
      o->release_fd(o->fd_arg);
    }
    return CURL_SOCKET_BAD;
  }
  return fd;
}

static int on_close_socket(void *arg, curl_socket_t fd) {
  const OndHttpOptions *o = arg;
  int result = close(fd);

  if (o->release_fd) {
    o->release_fd(o->fd_arg);
  }
  return result;
}

/* False: libcurl is to end the transfer. */
static bool keep(OndExchange *x, OndBuf *to, const char *data, size_t n) {
  bool kept = ond_buf_try_append(to, data, n);

  x->out_of_memory |= !kept && !to->overflow;
  return kept;
}

/* Status lines begin a response anew (1xx before the final one); trailers after the final head are ignored. */
static size_t on_header(char *data, size_t size, size_t n, void *arg) {
  OndExchange *x = arg;
  OndBuf *headers = &x->response->headers;
  long status = 0;

  n *= size;
  if (x->headers_complete) {
    return n;
  }
  if (n >= 5 && memcmp(data, "HTTP/", 5) == 0) {
    ond_buf_reset(headers);
    return n;
  }
  if (n > 0 && (data[0] == '\r' || data[0] == '\n')) {
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    x->headers_complete = status >= 200;
    return n;
  }
  /* A folded line goes on with the line before it. */
  if (n > 0 && (data[0] == ' ' || data[0] == '\t')) {
    while (headers->len > 0 && (headers->data[headers->len - 1] == '\n' || headers->data[headers->len - 1] == '\r')) {
      headers->data[--headers->len] = '\0';
    }
  }
  return keep(x, headers, data, n) ? n : (size_t)CURL_WRITEFUNC_ERROR;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg) {
  OndExchange *x = arg;

  n *= size;
  return keep(x, &x->response->body, data, n) ? n : (size_t)CURL_WRITEFUNC_ERROR;
}

/* What http.h promises for every request. */
static CURLcode set_rules(OndExchange *x) {
  CURL *e = x->easy;
  const OndHttpOptions *o = x->options;
  CURLcode rc = CURLE_OK;

  SET(rc, e, CURLOPT_NOSIGNAL, 1L);
  SET(rc, e, CURLOPT_QUICK_EXIT, 1L); /* abandoning must not wait for a resolver thread that hangs */
  SET(rc, e, CURLOPT_PROTOCOLS_STR, "http,https");
  SET(rc, e, CURLOPT_FOLLOWLOCATION, 0L);
  SET(rc, e, CURLOPT_PROXY, "");
  SET(rc, e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
  SET(rc, e, CURLOPT_PATH_AS_IS, 1L);
  SET(rc, e, CURLOPT_SSL_VERIFYPEER, 1L);
  SET(rc, e, CURLOPT_SSL_VERIFYHOST, 2L);
  SET(rc, e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  if (o->ca_file[0] != '\0') {
    SET(rc, e, CURLOPT_CAINFO, o->ca_file);
  }
  SET(rc, e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
  SET(rc, e, CURLOPT_OPENSOCKETDATA, x);
  SET(rc, e, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
  SET(rc, e, CURLOPT_CLOSESOCKETDATA, (void *)o);
  SET(rc, e, CURLOPT_PREREQFUNCTION, on_prereq);
  SET(rc, e, CURLOPT_PREREQDATA, x);
  return rc;
}

/* How requests go out, the same for all. */
static CURLcode set_manner(OndExchange *x) {
  CURL *e = x->easy;
  CURLcode rc = CURLE_OK;

  SET(rc, e, CURLOPT_USERAGENT, USER_AGENT);
  SET(rc, e, CURLOPT_ACCEPT_ENCODING, "");
  SET(rc, e, CURLOPT_HTTP_VERSION, x->options->http2 ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
  SET(rc, e, CURLOPT_TCP_KEEPALIVE, 1L);
  SET(rc, e, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
  SET(rc, e, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S);
  SET(rc, e, CURLOPT_MAXAGE_CONN, IDLE_MAX_S);
  SET(rc, e, CURLOPT_ERRORBUFFER, x->curl_error);
  SET(rc, e, CURLOPT_PRIVATE, x);
  SET(rc, e, CURLOPT_HEADERFUNCTION, on_header);
  SET(rc, e, CURLOPT_HEADERDATA, x);
  SET(rc, e, CURLOPT_WRITEFUNCTION, on_body);
  SET(rc, e, CURLOPT_WRITEDATA, x);
  return rc;
}

static void set_curl_error(OndError *err, const char *what, CURLcode rc) {
  ond_error_set(err, "%s", what);
  ond_error_detail(err, "libcurl %s: %s", curl_version_info(CURLVERSION_NOW)->version, curl_easy_strerror(rc));
}

OndExchange *ond_exchange_create(const OndHttpOptions *options, OndError *err) {
  OndExchange *x = ond_calloc(sizeof(*x));
  CURLcode rc = CURLE_OUT_OF_MEMORY;

  x->options = options;
  x->easy = curl_easy_init();
  if (x->easy) {
    rc = set_rules(x);
  }
  if (rc == CURLE_OK) {
    rc = set_manner(x);
  }
  if (rc != CURLE_OK) {
    set_curl_error(err, "could not set up the HTTP client", rc);
    ond_exchange_destroy(x);
    return NULL;
  }
  return x;
}

static void wipe_sent(OndExchange *x) {
  ond_wipe(x->header_text, x->header_text_len);
  ond_wipe(x->gzipped, x->gzipped_len);
  ond_free(x->gzipped);
  x->header_text_len = 0;
  x->gzipped = NULL;
  x->gzipped_len = 0;
}

void ond_exchange_destroy(OndExchange *x) {
  if (!x) {
    return;
  }
  curl_easy_cleanup(x->easy);
  wipe_sent(x);
  ond_free(x->header_text);
  ond_free(x->header_nodes);
  ond_http_response_free(x->response);
  ond_free(x);
}

void ond_exchange_clear(OndExchange *x) {
  wipe_sent(x);
  x->request = NULL;
  x->response = NULL;
}

static bool has_header(const OndHttpRequest *r, const char *name) {
  for (int i = 0; i < r->n_headers; i++) {
    if (strcasecmp(r->headers[i].name, name) == 0) {
      return true;
    }
  }
  return false;
}

static bool has_body(const OndHttpRequest *r) {
  return r->body.data != NULL && r->body.len > 0;
}

static bool method_is(const OndHttpRequest *r, const char *method) {
  return strcmp(r->method, method) == 0;
}

static bool check_request(const OndHttpRequest *r, OndError *err) {
  size_t n = strnlen(r->method, sizeof(r->method));

  if (n == 0 || n == sizeof(r->method) || strspn(r->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != n || method_is(r, "CONNECT") ||
      method_is(r, "TRACE")) {
    ond_error_set(err, "HTTP method is not valid");
    ond_error_hint(err, "Use GET, HEAD, POST, PUT, PATCH or DELETE, in capital letters.");
    return false;
  }
  if (method_is(r, "HEAD") && has_body(r)) {
    ond_error_set(err, "HEAD request with a body");
    return false;
  }
  if (r->timeout_ms <= 0) {
    ond_error_set(err, "request without a time-out");
    return false;
  }
  if (r->gzip && has_header(r, "Content-Encoding")) {
    ond_error_set(err, "request body is compressed twice");
    ond_error_hint(err, "Leave out the header \"Content-Encoding\" or do not ask for gzip.");
    return false;
  }
  return true;
}

/* One line of the list. libcurl drops a header whose line ends with ':' and sends an empty one for "Name;". */
static void put_header(OndExchange *x, size_t node, const char *name, const char *separator, const char *value) {
  size_t room = x->header_text_max - x->header_text_len;
  int n = snprintf(x->header_text + x->header_text_len, room, "%s%s%s", name, separator, value);

  x->header_nodes[node].data = x->header_text + x->header_text_len;
  x->header_nodes[node].next = NULL;
  if (node > 0) {
    x->header_nodes[node - 1].next = &x->header_nodes[node];
  }
  x->header_text_len += (size_t)n + 1;
}

static void reserve_headers(OndExchange *x, const OndHttpRequest *r) {
  size_t nodes = (size_t)r->n_headers + HEADER_EXTRA_NODES;
  size_t bytes = HEADER_EXTRA_BYTES;

  for (int i = 0; i < r->n_headers; i++) {
    bytes += strlen(r->headers[i].name) + strlen(r->headers[i].value) + 3;
  }
  if (nodes > x->header_nodes_max) {
    x->header_nodes = ond_realloc(x->header_nodes, nodes * sizeof(*x->header_nodes));
    x->header_nodes_max = nodes;
  }
  if (bytes > x->header_text_max) {
    x->header_text = ond_realloc(x->header_text, bytes);
    x->header_text_max = bytes;
  }
}

static void build_headers(OndExchange *x, bool sends_body) {
  const OndHttpRequest *r = x->request;
  size_t n = 0;

  reserve_headers(x, r);
  for (int i = 0; i < r->n_headers; i++) {
    const char *value = r->headers[i].value;
    bool empty = value[strspn(value, " \t")] == '\0';

    put_header(x, n++, r->headers[i].name, empty ? ";" : ": ", empty ? "" : value);
  }
  put_header(x, n++, "Expect", ":", ""); /* no waiting for 100 Continue */
  if (sends_body && !has_header(r, "Content-Type")) {
    put_header(x, n++, "Content-Type", ":", ""); /* not libcurl's default of a form */
  }
  if (x->gzipped) {
    put_header(x, n++, "Content-Encoding", ": ", "gzip");
  }
}

/* libcurl copies. text NULL: takes back what the last request had. */
static CURLcode set_blob(CURL *easy, CURLoption option, const char *text) {
  struct curl_blob blob = {(void *)text, text ? strlen(text) : 0, CURL_BLOB_COPY};

  return curl_easy_setopt(easy, option, text ? &blob : NULL);
}

/* A destination's certificate and authority count at its own origin alone. Without a password OpenSSL would ask the terminal for one. */
static CURLcode set_tls(OndExchange *x) {
  static const OndHttpTls none = {.certificate = NULL};
  const OndHttpTls *tls = &x->options->tls;
  CURL *e = x->easy;
  CURLcode rc = CURLE_OK;

  if (!tls->certificate && !tls->ca) {
    return rc;
  }
  if (!ond_url_same_origin(&tls->origin, &x->url)) {
    tls = &none;
  }
  if (rc == CURLE_OK) {
    rc = set_blob(e, CURLOPT_SSLCERT_BLOB, tls->certificate);
  }
  if (rc == CURLE_OK) {
    rc = set_blob(e, CURLOPT_SSLKEY_BLOB, tls->key);
  }
  SET(rc, e, CURLOPT_KEYPASSWD, tls->key_password ? tls->key_password : "");
  if (rc == CURLE_OK) {
    rc = set_blob(e, CURLOPT_CAINFO_BLOB, tls->ca);
  }
  SET(rc, e, CURLOPT_CAPATH, tls->ca ? NULL : curl_version_info(CURLVERSION_NOW)->capath);
  return rc;
}

static CURLcode set_request(OndExchange *x, bool sends_body) {
  CURL *e = x->easy;
  const OndHttpRequest *r = x->request;
  CURLcode rc = CURLE_OK;

  SET(rc, e, CURLOPT_URL, r->url);
  SET(rc, e, CURLOPT_HTTPGET, 1L); /* also takes back the NOBODY or POST of the last request */
  if (sends_body) {
    const char *body = x->gzipped ? x->gzipped : has_body(r) ? r->body.data : "";
    size_t n = x->gzipped ? x->gzipped_len : has_body(r) ? r->body.len : 0;

    SET(rc, e, CURLOPT_POST, 1L);
    SET(rc, e, CURLOPT_POSTFIELDS, body);
    SET(rc, e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
  } else if (method_is(r, "HEAD")) {
    SET(rc, e, CURLOPT_NOBODY, 1L);
  }
  SET(rc, e, CURLOPT_CUSTOMREQUEST, r->method);
  SET(rc, e, CURLOPT_HTTPHEADER, x->header_nodes);
  SET(rc, e, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
  SET(rc, e, CURLOPT_CONNECTTIMEOUT_MS, (long)(r->connect_timeout_ms > 0 ? r->connect_timeout_ms : CONNECT_DEFAULT_MS));
  /* Streams on one connection instead of many connections, but only where ALPN can agree on HTTP/2. */
  SET(rc, e, CURLOPT_PIPEWAIT, x->options->http2 && x->url.https ? 1L : 0L);
  return rc;
}

bool ond_exchange_begin(OndExchange *x, const OndHttpRequest *r, OndError *err) {
  bool sends_body = has_body(r) || method_is(r, "POST") || method_is(r, "PUT") || method_is(r, "PATCH");
  CURLcode rc;

  if (!check_request(r, err) || !ond_url_parse(r->url, &x->url, err)) {
    return false;
  }
  x->request = r;
  x->handed_over = x->repeat_refused = x->headers_complete = x->out_of_memory = false;
  x->refusal[0] = x->curl_error[0] = '\0';
  if (r->gzip && has_body(r) && !ond_http_gzip(&r->body, &x->gzipped, &x->gzipped_len, err)) {
    ond_exchange_clear(x);
    return false;
  }
  build_headers(x, sends_body);
  rc = set_request(x, sends_body);
  if (rc == CURLE_OK) {
    rc = set_tls(x);
  }
  if (rc != CURLE_OK) {
    set_curl_error(err, "could not prepare the request", rc);
    ond_exchange_clear(x);
    return false;
  }
  x->response = ond_calloc(sizeof(*x->response));
  x->response->tag = r->tag;
  ond_buf_init(&x->response->headers, HEADERS_BYTES_MAX);
  ond_buf_init(&x->response->body, x->options->response_bytes_max);
  x->started_us = now_us();
  return true;
}

static bool is_tls_error(CURLcode rc) {
  switch (rc) {
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_SSL_INVALIDCERTSTATUS: return true;
  default: return false;
  }
}

/* libcurl's words for the end of a transfer, with the system's reason where there is one. */
static void describe_curl(const OndExchange *x, CURLcode rc, char *out, size_t out_size) {
  const char *general = curl_easy_strerror(rc);
  const char *detail = x->curl_error;
  long os_errno = 0;
  bool from_network = rc == CURLE_COULDNT_CONNECT || rc == CURLE_SEND_ERROR || rc == CURLE_RECV_ERROR;
  const char *reason = "";

  curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &os_errno);
  if (from_network && os_errno != 0) {
    reason = strerror((int)os_errno);
  }
  if (strstr(detail, reason)) {
    reason = "";
  }
  if (is_tls_error(rc)) {
    snprintf(out, out_size, "TLS with %.100s:%d failed: %s", x->url.host, x->url.port, detail[0] != '\0' ? detail : general);
  } else {
    bool both = detail[0] != '\0' && !strstr(detail, general);

    snprintf(out, out_size, "%s%s%s%s%s%s", both ? general : "", both ? ": " : "", detail[0] != '\0' ? detail : general,
             reason[0] != '\0' ? " (" : "", reason, reason[0] != '\0' ? ")" : "");
  }
}

/* A URL's query may hold credentials: of anything that looks like one only the part before '?' stays. */
static void hide_query(char *words) {
  char *url = strstr(words, "://");
  char *query = url ? strchr(url, '?') : NULL;

  if (query) {
    size_t n = strcspn(query, " \t'\")");

    memmove(query, query + n, strlen(query + n) + 1);
  }
}

static void describe(OndExchange *x, CURLcode rc, bool abandoned) {
  OndHttpResponse *p = x->response;
  char out[2 * CURL_ERROR_SIZE + 256];
  size_t n = sizeof(out);

  if (p->transfer == OND_TRANSFER_OK) {
    return;
  }
  if (abandoned) {
    snprintf(out, n, "request was abandoned");
  } else if (p->headers.overflow) {
    snprintf(out, n, "response has more than %d bytes of headers", HEADERS_BYTES_MAX);
  } else if (p->body.overflow) {
    snprintf(out, n, "response has more than %zu bytes", p->body.bytes_max);
  } else if (x->out_of_memory) {
    snprintf(out, n, "out of memory while the response was read");
  } else if (x->repeat_refused) {
    snprintf(out, n, "%.128s closed the connection without an answer", x->url.host);
  } else if (p->transfer == OND_TRANSFER_NOT_SENT && x->refusal[0] != '\0') {
    snprintf(out, n, "%s", x->refusal);
  } else if (rc == CURLE_OK) {
    snprintf(out, n, "response of %.128s ended within its headers", x->url.host);
  } else {
    describe_curl(x, rc, out, n);
  }
  hide_query(out);
  ond_text_clean(out);
  n = ond_utf8_cut(out, strlen(out), sizeof(p->error) - 1);
  memcpy(p->error, out, n);
  p->error[n] = '\0';
}

static OndTransfer classify(const OndExchange *x, CURLcode rc, bool abandoned) {
  if (x->response->body.overflow || x->response->headers.overflow) {
    return OND_TRANSFER_TOO_LARGE;
  }
  /* libcurl takes a connection that ends within the headers for a response without a body. */
  if (rc == CURLE_OK && !abandoned && x->headers_complete) {
    return OND_TRANSFER_OK;
  }
  return was_sent(x) ? OND_TRANSFER_NO_ANSWER : OND_TRANSFER_NOT_SENT;
}

/* REQUEST_SIZE holds the headers and, depending on the version, all or the first part of the body. */
static int64_t sent_bytes(const OndExchange *x) {
  curl_off_t body = 0;
  int64_t written = bytes_written(x);
  int64_t with_headers;

  curl_easy_getinfo(x->easy, CURLINFO_SIZE_UPLOAD_T, &body);
  with_headers = written > 0 ? (int64_t)body + (int64_t)x->header_text_len : 0;
  return written > with_headers ? written : with_headers;
}

void ond_exchange_finish(OndExchange *x, CURLcode result, bool abandoned) {
  OndHttpResponse *p = x->response;
  curl_off_t body = 0;
  long status = 0, head = 0;

  curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(x->easy, CURLINFO_HEADER_SIZE, &head);
  curl_easy_getinfo(x->easy, CURLINFO_SIZE_DOWNLOAD_T, &body);
  p->transfer = classify(x, result, abandoned);
  p->status = x->headers_complete ? (int)status : 0;
  p->bytes_sent = sent_bytes(x);
  p->bytes_received = (int64_t)head + (int64_t)body;
  p->elapsed_us = now_us() - x->started_us;
  describe(x, result, abandoned);
}
