/*
 * test_http_transfer.c - how transfers end: answers, half answers, none at all, and that a request is sent once.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>
#include "core/mem.h"
#include "test_http_support.h"

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

/* Answers every request of a connection with 200. */
static void serve_ok(TestServer *s, int fd, int connection) {
  (void)connection;
  while (test_server_read(s, fd)) {
    test_server_say(fd, "HTTP/1.1 200 OK\r\nX-Id: 7\r\nContent-Length: 5\r\n\r\nhello");
  }
}

static void serve_once(TestServer *s, int fd, const char *answer) {
  if (test_server_read(s, fd)) {
    test_server_say(fd, answer);
  }
}

static void check_response(OndHttpResponse *p, OndTransfer transfer, int status) {
  if (!CHECK_INT(p->transfer, transfer)) {
    unit_note("status %d, error \"%s\"", p->status, p->error);
  }
  CHECK_INT(p->status, status);
  CHECK((p->error[0] == '\0') == (transfer == OND_TRANSFER_OK));
}

/* One GET to a server of this script. */
static void check_get(TestServe serve, OndTransfer transfer, int status) {
  TestServer *s = test_server_start(serve);
  OndHttpResponse *p = test_get(NULL, "127.0.0.1", test_server_port(s), "/x?key=hunter2");

  check_response(p, transfer, status);
  CHECK(strstr(p->error, "hunter2") == NULL);
  ond_http_response_free(p);
  test_server_stop(s);
}

TEST(transfer_answer) {
  TestServer *s = test_server_start(serve_ok);
  OndHttp *h = test_http(NULL);
  OndHttpRequest r;
  OndHttpResponse *p;
  OndError err;
  char *seen;
  size_t n;

  test_request(&r, "POST", "127.0.0.1", test_server_port(s), "/a/../b?c=%20d");
  test_request_body(&r, "{\"a\":1}", 7);
  CHECK(ond_http_request_header(&r, "Content-Type", "application/json", 16, &err));
  CHECK(ond_http_request_header(&r, "X-Empty", "", 0, &err));
  r.tag = s;
  p = test_perform(h, &r);
  check_response(p, OND_TRANSFER_OK, 200);
  CHECK(p->tag == s);
  CHECK_MEM(p->body.data, p->body.len, "hello", 5);
  CHECK_STR(p->headers.data, "X-Id: 7\r\nContent-Length: 5\r\n");
  CHECK(p->bytes_sent > 100 && p->bytes_sent < 1000);
  CHECK(p->bytes_received > 40 && p->bytes_received < 200);
  CHECK(p->elapsed_us > 0);
  ond_http_response_free(p);
  seen = test_server_last_request(s, &n);
  CHECK(strncmp(seen, "POST /a/../b?c=%20d HTTP/1.1\r\n", 30) == 0);
  CHECK(strstr(seen, "\r\nContent-Type: application/json\r\n") != NULL);
  CHECK(strstr(seen, "\r\nX-Empty:\r\n") != NULL);
  CHECK(strstr(seen, "\r\nContent-Length: 7\r\n") != NULL);
  CHECK(strstr(seen, "\r\nUser-Agent: ondatra/0.1.0\r\n") != NULL);
  CHECK(strstr(seen, "Expect") == NULL && strstr(seen, "Cookie") == NULL);
  CHECK(strstr(seen, "\r\n\r\n{\"a\":1}") != NULL);
  ond_free(seen);
  ond_http_destroy(h);
  test_server_stop(s);
}

/* What the server saw of a request with this method on a handle that other methods used before. */
static void check_method(TestServer *s, OndHttp *h, const char *method, const char *body, bool has_length) {
  OndHttpRequest r;
  OndHttpResponse *p;
  char *seen, line[64];
  size_t n;

  test_request(&r, method, "127.0.0.1", test_server_port(s), "/m");
  if (body) {
    test_request_body(&r, body, strlen(body));
  }
  p = test_perform(h, &r);
  check_response(p, OND_TRANSFER_OK, 200);
  CHECK_INT(p->body.len, strcmp(method, "HEAD") == 0 ? 0 : 5);
  ond_http_response_free(p);
  seen = test_server_last_request(s, &n);
  snprintf(line, sizeof(line), "%s /m HTTP/1.1\r\n", method);
  CHECK(strncmp(seen, line, strlen(line)) == 0);
  snprintf(line, sizeof(line), "\r\nContent-Length: %zu\r\n", body ? strlen(body) : 0);
  if (!CHECK((strstr(seen, line) != NULL) == has_length)) {
    unit_note("%s", seen);
  }
  CHECK(strstr(seen, "Content-Type") == NULL);
  CHECK_STR(strstr(seen, "\r\n\r\n") + 4, body ? body : "");
  ond_free(seen);
}

static void serve_methods(TestServer *s, int fd, int connection) {
  (void)connection;
  while (test_server_read(s, fd)) {
    size_t n;
    char *seen = test_server_last_request(s, &n);
    const char *answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

    test_server_write(fd, answer, strlen(answer) - (strncmp(seen, "HEAD", 4) == 0 ? 5 : 0));
    ond_free(seen);
  }
}

TEST(transfer_methods_on_one_handle) {
  static const char *const METHODS[] = {"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "REPORT"};
  const int N = sizeof(METHODS) / sizeof(METHODS[0]);
  TestServer *s = test_server_start(serve_methods);
  OndHttp *h = test_http(NULL);

  for (int i = 0; i < N * N * 2; i++) {
    const char *method = METHODS[i / 2 % N];
    bool writes = method[0] == 'P';
    const char *body = i % 2 == 1 && strcmp(method, "HEAD") != 0 ? "body" : NULL;

    check_method(s, h, method, body, writes || body);
    method = METHODS[i / 2 / N];
    check_method(s, h, method, NULL, method[0] == 'P');
  }
  CHECK_INT(test_server_connections(s), 1);
  ond_http_destroy(h);
  test_server_stop(s);
}

static void serve_204(TestServer *s, int fd, int connection) {
  (void)connection;
  while (test_server_read(s, fd)) {
    test_server_say(fd, "HTTP/1.1 204 No Content\r\n\r\n");
  }
}

TEST(transfer_no_content) {
  check_get(serve_204, OND_TRANSFER_OK, 204);
}

static void serve_error(TestServer *s, int fd, int connection) {
  (void)connection;
  serve_once(s, fd, "HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\nno");
}

TEST(transfer_error_status_is_an_answer) {
  check_get(serve_error, OND_TRANSFER_OK, 503);
}

static void serve_redirect(TestServer *s, int fd, int connection) {
  char answer[200];

  (void)connection;
  snprintf(answer, sizeof(answer), "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/elsewhere\r\nContent-Length: 0\r\n\r\n",
           test_server_port(s));
  while (test_server_read(s, fd)) {
    test_server_say(fd, answer);
  }
}

TEST(transfer_redirect_is_not_followed) {
  TestServer *s = test_server_start(serve_redirect);
  OndHttpResponse *p = test_get(NULL, "127.0.0.1", test_server_port(s), "/");

  check_response(p, OND_TRANSFER_OK, 302);
  CHECK_INT(test_server_requests(s), 1);
  ond_http_response_free(p);
  test_server_stop(s);
}

static void serve_half_body(TestServer *s, int fd, int connection) {
  (void)connection;
  serve_once(s, fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
}

static void serve_half_chunk(TestServer *s, int fd, int connection) {
  (void)connection;
  serve_once(s, fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo");
}

static void serve_half_head(TestServer *s, int fd, int connection) {
  (void)connection;
  serve_once(s, fd, "HTTP/1.1 200 OK\r\nContent-Le");
}

static void serve_nothing(TestServer *s, int fd, int connection) {
  (void)connection;
  test_server_read(s, fd);
}

static void serve_reset(TestServer *s, int fd, int connection) {
  (void)connection;
  test_server_read(s, fd);
  test_server_reset_on_close(fd);
}

static void serve_garbage(TestServer *s, int fd, int connection) {
  (void)connection;
  serve_once(s, fd, "\x16\x03\x01 this is no HTTP\r\n\r\n");
}

static void serve_bad_gzip(TestServer *s, int fd, int connection) {
  (void)connection;
  serve_once(s, fd, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd");
}

TEST(transfer_cut_answers_are_no_answers) {
  check_get(serve_half_body, OND_TRANSFER_NO_ANSWER, 200);
  check_get(serve_half_chunk, OND_TRANSFER_NO_ANSWER, 200);
  check_get(serve_half_head, OND_TRANSFER_NO_ANSWER, 0);
  check_get(serve_nothing, OND_TRANSFER_NO_ANSWER, 0);
  check_get(serve_reset, OND_TRANSFER_NO_ANSWER, 0);
  check_get(serve_garbage, OND_TRANSFER_NO_ANSWER, 0);
  check_get(serve_bad_gzip, OND_TRANSFER_NO_ANSWER, 200);
}

static void serve_slow(TestServer *s, int fd, int connection) {
  (void)connection;
  test_server_read(s, fd);
  test_server_drain(fd);
}

static void serve_slow_body(TestServer *s, int fd, int connection) {
  (void)connection;
  serve_once(s, fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
  test_server_drain(fd);
}

static void serve_continue_only(TestServer *s, int fd, int connection) {
  (void)connection;
  serve_once(s, fd, "HTTP/1.1 100 Continue\r\n\r\n");
  test_server_drain(fd);
}

static void check_timeout(TestServe serve, const char *scheme, OndTransfer transfer, int status) {
  TestServer *s = test_server_start(serve);
  OndHttp *h = test_http(NULL);
  OndHttpRequest r;
  OndHttpResponse *p;
  char url[100];

  test_request(&r, "POST", "x", 1, "/");
  ond_free(r.url);
  snprintf(url, sizeof(url), "%s://127.0.0.1:%d/x?key=hunter2", scheme, test_server_port(s));
  r.url = ond_strdup(url);
  r.timeout_ms = 200;
  p = test_perform(h, &r);
  check_response(p, transfer, status);
  CHECK(strstr(p->error, "imed out") != NULL || strstr(p->error, "timeout") != NULL);
  CHECK(strstr(p->error, "hunter2") == NULL);
  CHECK((p->bytes_sent > 0) == (transfer != OND_TRANSFER_NOT_SENT));
  ond_http_response_free(p);
  ond_http_destroy(h);
  test_server_stop(s);
}

TEST(transfer_timeouts) {
  check_timeout(serve_slow, "http", OND_TRANSFER_NO_ANSWER, 0);
  check_timeout(serve_slow_body, "http", OND_TRANSFER_NO_ANSWER, 200);
  check_timeout(serve_continue_only, "http", OND_TRANSFER_NO_ANSWER, 0);
}

static void serve_silence(TestServer *s, int fd, int connection) {
  (void)s;
  (void)connection;
  test_server_drain(fd);
}

TEST(transfer_timeout_in_tls_handshake_is_not_sent) {
  check_timeout(serve_silence, "https", OND_TRANSFER_NOT_SENT, 0);
}

TEST(transfer_refused_connection_is_not_sent) {
  TestServer *s = test_server_start(serve_ok);
  int port = test_server_port(s);
  OndHttpResponse *p;

  test_server_stop(s);
  p = test_get(NULL, "127.0.0.1", port, "/x?key=hunter2");
  check_response(p, OND_TRANSFER_NOT_SENT, 0);
  CHECK(strstr(p->error, "refused") != NULL);
  CHECK(strstr(p->error, "hunter2") == NULL);
  ond_http_response_free(p);
}

TEST(transfer_unknown_host_is_not_sent) {
  OndHttpResponse *p = test_get(NULL, "unknown.example", 80, "/x?key=hunter2");

  check_response(p, OND_TRANSFER_NOT_SENT, 0);
  CHECK(strstr(p->error, "unknown.example") != NULL);
  CHECK(strstr(p->error, "hunter2") == NULL);
  ond_http_response_free(p);
}

/* The first request is answered; the second is read and the connection closed without a word. */
static void serve_one_then_close(TestServer *s, int fd, int connection) {
  (void)connection;
  if (test_server_read(s, fd)) {
    test_server_say(fd, OK_EMPTY);
    test_server_read(s, fd);
  }
}

static void serve_one_then_reset(TestServer *s, int fd, int connection) {
  serve_one_then_close(s, fd, connection);
  test_server_reset_on_close(fd);
}

static void check_sent_once(TestServe serve, const char *method, const char *body, size_t n) {
  TestServer *s = test_server_start(serve);
  OndHttp *h = test_http(NULL);
  OndHttpRequest r;
  OndHttpResponse *p;

  test_request(&r, "GET", "127.0.0.1", test_server_port(s), "/first");
  p = test_perform(h, &r);
  check_response(p, OND_TRANSFER_OK, 200);
  ond_http_response_free(p);
  test_request(&r, method, "127.0.0.1", test_server_port(s), "/second");
  if (body) {
    test_request_body(&r, body, n);
  }
  p = test_perform(h, &r);
  check_response(p, OND_TRANSFER_NO_ANSWER, 0);
  CHECK_INT(test_server_requests(s), 2);
  ond_http_response_free(p);
  ond_http_destroy(h);
  test_server_stop(s);
}

TEST(transfer_is_sent_once) {
  char *large = ond_calloc(300000);

  memset(large, 'x', 300000);
  check_sent_once(serve_one_then_close, "POST", "{}", 2);
  check_sent_once(serve_one_then_close, "POST", NULL, 0);
  check_sent_once(serve_one_then_close, "POST", large, 300000);
  check_sent_once(serve_one_then_close, "DELETE", NULL, 0);
  check_sent_once(serve_one_then_close, "GET", NULL, 0);
  check_sent_once(serve_one_then_reset, "POST", "{}", 2);
  check_sent_once(serve_one_then_reset, "PATCH", large, 300000);
  ond_free(large);
}

static void serve_one(TestServer *s, int fd, int connection) {
  (void)connection;
  if (test_server_read(s, fd)) {
    test_server_say(fd, OK_EMPTY);
    shutdown(fd, SHUT_WR);
    test_server_drain(fd);
  }
}

/*
 * A connection that the server closed while it was idle is found dead before anything is written, so the request goes over a new one.
 * From 8.22 on libcurl looks at most once a second: there the request may be lost on it, but then it must not count as answered.
 */
TEST(transfer_after_idle_close_uses_a_new_connection) {
  bool looks_always = curl_version_info(CURLVERSION_NOW)->version_num < 0x081600;
  TestServer *s = test_server_start(serve_one);
  OndHttp *h = test_http(NULL);
  int answered = 0;

  for (int i = 0; i < 4; i++) {
    OndHttpRequest r;
    OndHttpResponse *p;

    test_request(&r, "POST", "127.0.0.1", test_server_port(s), "/");
    test_request_body(&r, "{}", 2);
    p = test_perform(h, &r);
    check_response(p, looks_always || p->transfer == OND_TRANSFER_OK ? OND_TRANSFER_OK : OND_TRANSFER_NO_ANSWER, p->status);
    answered += p->transfer == OND_TRANSFER_OK;
    ond_http_response_free(p);
    ond_http_poll(h, 50); /* time for the end of the stream to cross the loopback */
  }
  CHECK_INT(test_server_requests(s), answered);
  CHECK(answered >= 2);
  ond_http_destroy(h);
  test_server_stop(s);
}

static void serve_ten_megabytes(TestServer *s, int fd, int connection) {
  char *body = ond_calloc(10 << 20);

  (void)connection;
  memset(body, 'x', 10 << 20);
  serve_once(s, fd, "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n");
  test_server_write(fd, body, 10 << 20);
  ond_free(body);
}

TEST(transfer_ten_megabytes) {
  TestServer *s = test_server_start(serve_ten_megabytes);
  OndHttpOptions o = test_options();
  OndHttpResponse *p = test_get(&o, "127.0.0.1", test_server_port(s), "/");

  check_response(p, OND_TRANSFER_OK, 200);
  CHECK_INT(p->body.len, 10 << 20);
  ond_http_response_free(p);
  o.response_bytes_max = (10 << 20) - 1;
  p = test_get(&o, "127.0.0.1", test_server_port(s), "/");
  check_response(p, OND_TRANSFER_TOO_LARGE, 200);
  CHECK(p->body.len <= o.response_bytes_max);
  ond_http_response_free(p);
  o.response_bytes_max = 10 << 20;
  p = test_get(&o, "127.0.0.1", test_server_port(s), "/");
  check_response(p, OND_TRANSFER_OK, 200);
  ond_http_response_free(p);
  test_server_stop(s);
}

/* 100 MB of zeros in 100 kB. */
static void serve_bomb(TestServer *s, int fd, int connection) {
  z_stream z = {0};
  char *zeros = ond_calloc(1 << 20), *out = ond_calloc(1 << 20);
  char head[200];

  (void)connection;
  deflateInit2(&z, 9, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY);
  z.next_out = (Bytef *)out;
  z.avail_out = 1 << 20;
  for (int i = 0; i < 100; i++) {
    z.next_in = (Bytef *)zeros;
    z.avail_in = 1 << 20;
    deflate(&z, i == 99 ? Z_FINISH : Z_NO_FLUSH);
  }
  if (test_server_read(s, fd)) {
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %lu\r\n\r\n", z.total_out);
    test_server_say(fd, head);
    test_server_write(fd, out, z.total_out);
  }
  deflateEnd(&z);
  ond_free(zeros);
  ond_free(out);
}

TEST(transfer_gzip_bomb_is_capped) {
  TestServer *s = test_server_start(serve_bomb);
  OndHttpOptions o = test_options();
  OndHttpResponse *p;

  o.response_bytes_max = 1 << 20;
  p = test_get(&o, "127.0.0.1", test_server_port(s), "/");
  check_response(p, OND_TRANSFER_TOO_LARGE, 200);
  CHECK(p->body.len <= o.response_bytes_max);
  CHECK(strstr(p->error, "1048576") != NULL);
  ond_http_response_free(p);
  test_server_stop(s);
}

static void serve_large_head(TestServer *s, int fd, int connection) {
  (void)connection;
  serve_once(s, fd, "HTTP/1.1 200 OK\r\n");
  for (int i = 0; i < 1000; i++) {
    test_server_say(fd,
                    "X-Filler: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n");
  }
  test_server_say(fd, "Content-Length: 0\r\n\r\n");
}

TEST(transfer_headers_are_capped) {
  check_get(serve_large_head, OND_TRANSFER_TOO_LARGE, 0);
}

static void serve_hints_and_trailers(TestServer *s, int fd, int connection) {
  (void)connection;
  serve_once(s, fd,
             "HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Folded: a\r\n b\r\n\r\n"
             "5\r\nhello\r\n0\r\nX-Trailer: 1\r\nHTTP/1.1 500 no: 1\r\n\r\n");
}

TEST(transfer_only_the_final_head_counts) {
  TestServer *s = test_server_start(serve_hints_and_trailers);
  OndHttpResponse *p = test_get(NULL, "127.0.0.1", test_server_port(s), "/");
  OndBytes folded;

  check_response(p, OND_TRANSFER_OK, 200);
  CHECK_MEM(p->body.data, p->body.len, "hello", 5);
  CHECK(ond_http_response_header(p, "X-Early").p == NULL);
  CHECK(ond_http_response_header(p, "X-Trailer").p == NULL);
  CHECK(ond_http_response_header(p, "Transfer-Encoding").p != NULL);
  folded = ond_http_response_header(p, "X-Folded");
  CHECK_MEM(folded.p, folded.n, "a b", 3);
  ond_http_response_free(p);
  test_server_stop(s);
}

TEST(transfer_gzip_request) {
  TestServer *s = test_server_start(serve_ok);
  OndHttp *h = test_http(NULL);
  OndHttpRequest r;
  OndHttpResponse *p;
  char *body = ond_calloc(100000), *plain = ond_calloc(100001), *seen, *sent;
  size_t n;
  z_stream z = {0};

  memset(body, 'y', 100000);
  test_request(&r, "POST", "127.0.0.1", test_server_port(s), "/");
  test_request_body(&r, body, 100000);
  r.gzip = true;
  p = test_perform(h, &r);
  check_response(p, OND_TRANSFER_OK, 200);
  CHECK(p->bytes_sent < 10000);
  ond_http_response_free(p);
  seen = test_server_last_request(s, &n);
  CHECK(strstr(seen, "\r\nContent-Encoding: gzip\r\n") != NULL);
  sent = strstr(seen, "\r\n\r\n") + 4;
  inflateInit2(&z, 16 + 15);
  z.next_in = (Bytef *)sent;
  z.avail_in = (uInt)(n - (size_t)(sent - seen));
  z.next_out = (Bytef *)plain;
  z.avail_out = 100001;
  CHECK_INT(inflate(&z, Z_FINISH), Z_STREAM_END);
  CHECK_MEM(plain, z.total_out, body, 100000);
  inflateEnd(&z);
  ond_free(seen);
  ond_free(plain);
  ond_free(body);
  ond_http_destroy(h);
  test_server_stop(s);
}

static void check_not_started(OndHttp *h, const char *method, const char *url, bool twice_encoded) {
  OndHttpRequest r;
  OndError err = {0};

  test_request(&r, method, "x", 1, "/");
  test_request_body(&r, "b", 1);
  ond_free(r.url);
  r.url = ond_strdup(url);
  if (twice_encoded) {
    r.gzip = true;
    CHECK(ond_http_request_header(&r, "content-encoding", "br", 2, &err));
  }
  if (!CHECK(!ond_http_start(h, &r, &err))) {
    unit_note("%s %s", method, url);
  }
  CHECK(err.message[0] != '\0');
  CHECK_INT(ond_http_in_flight(h), 0);
  ond_http_request_free(&r);
}

TEST(transfer_requests_that_do_not_start) {
  OndHttp *h = test_http(NULL);
  OndHttpRequest r;
  OndError err = {0};

  check_not_started(h, "POST", "file:///etc/passwd", false);
  check_not_started(h, "POST", "ftp://127.0.0.1/", false);
  check_not_started(h, "POST", "gopher://127.0.0.1/", false);
  check_not_started(h, "POST", "127.0.0.1/", false);
  check_not_started(h, "POST", "http://user:secret@127.0.0.1/", false);
  check_not_started(h, "POST", "http://127.0.0.1/a b", false);
  check_not_started(h, "POST", "http://127.0.0.1/\r\nX: 1", false);
  check_not_started(h, "", "http://127.0.0.1/", false);
  check_not_started(h, "post", "http://127.0.0.1/", false);
  check_not_started(h, "GE T", "http://127.0.0.1/", false);
  check_not_started(h, "GET\r\nX:", "http://127.0.0.1/", false);
  check_not_started(h, "CONNECT", "http://127.0.0.1/", false);
  check_not_started(h, "HEAD", "http://127.0.0.1/", false);
  check_not_started(h, "POST", "http://127.0.0.1/", true);
  test_request(&r, "GET", "127.0.0.1", 1, "/");
  r.timeout_ms = 0;
  CHECK(!ond_http_start(h, &r, &err));
  ond_http_request_free(&r);
  CHECK(ond_http_take(h) == NULL);
  ond_http_destroy(h);
}

#define LOAD_REQUESTS    300
#define LOAD_CONCURRENCY 16

/* Refills each slot as soon as it is free; every request comes back exactly once. */
TEST(transfer_refill) {
  TestServer *s = test_server_start(serve_ok);
  OndHttp *h = test_http(NULL);
  OndHttpRequest *requests = ond_calloc(LOAD_REQUESTS * sizeof(*requests));
  bool *back = ond_calloc(LOAD_REQUESTS * sizeof(*back));
  int started = 0;
  OndError err = {0};

  for (int done = 0; done < LOAD_REQUESTS; done++) {
    OndHttpResponse *p;
    long i;

    for (; started < LOAD_REQUESTS && ond_http_in_flight(h) < LOAD_CONCURRENCY; started++) {
      test_request(&requests[started], "POST", "127.0.0.1", test_server_port(s), "/");
      test_request_body(&requests[started], "{}", 2);
      requests[started].tag = &requests[started];
      CHECK(ond_http_start(h, &requests[started], &err));
    }
    p = test_await(h);
    check_response(p, OND_TRANSFER_OK, 200);
    i = (OndHttpRequest *)p->tag - requests;
    CHECK(i >= 0 && i < started && !back[i]);
    back[i] = true;
    ond_http_request_free(&requests[i]);
    ond_http_response_free(p);
  }
  CHECK_INT(ond_http_in_flight(h), 0);
  CHECK(ond_http_take(h) == NULL);
  CHECK_INT(test_server_requests(s), LOAD_REQUESTS);
  CHECK(test_server_connections(s) <= LOAD_CONCURRENCY);
  ond_http_destroy(h);
  test_server_stop(s);
  ond_free(requests);
  ond_free(back);
}

static int sockets_open, sockets_open_max;

static bool count_socket(void *arg) {
  (void)arg;
  sockets_open++;
  sockets_open_max = sockets_open > sockets_open_max ? sockets_open : sockets_open_max;
  return true;
}

static void uncount_socket(void *arg) {
  (void)arg;
  sockets_open--;
}

TEST(transfer_connections_are_capped) {
  TestServer *s = test_server_start(serve_ok);
  OndHttpOptions o = test_options();
  OndHttpRequest requests[12];
  OndHttp *h;
  OndError err = {0};

  o.connections_max = 2;
  o.acquire_fd = count_socket;
  o.release_fd = uncount_socket;
  h = test_http(&o);
  for (int i = 0; i < 12; i++) {
    /* Two hosts: idle connections to the one make room for the other. */
    test_request(&requests[i], "GET", i % 2 ? "loopback.example" : "other.example", test_server_port(s), "/");
    CHECK(ond_http_start(h, &requests[i], &err));
  }
  for (int i = 0; i < 12; i++) {
    OndHttpResponse *p = test_await(h);

    check_response(p, OND_TRANSFER_OK, 200);
    ond_http_response_free(p);
  }
  CHECK_INT(sockets_open_max, 2);
  for (int i = 0; i < 12; i++) {
    ond_http_request_free(&requests[i]);
  }
  ond_http_destroy(h);
  test_server_stop(s);
}
