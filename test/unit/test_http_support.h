/*
 * test_http_support.h - what the tests of src/http share: a scripted server, a name service of their own, and a client that waits.
 *
 * The server listens on 127.0.0.1 and runs `serve` in a thread for each connection; when it returns the connection is closed.
 * Names under .example are answered here and never leave the machine (see test_http_support.c); libcurl's resolver threads run
 * into that function because the program defines getaddrinfo() itself.
 */
#ifndef OND_TEST_HTTP_SUPPORT_H
#define OND_TEST_HTTP_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include "http/http.h"
#include "unit.h"

typedef struct TestServer TestServer;
typedef void (*TestServe)(TestServer *s, int fd, int connection); /* connection: 0 for the first */

extern TestServer *test_server_start(TestServe serve);
/* Ends all connections and threads. */
extern void test_server_stop(TestServer *s);
extern int test_server_port(const TestServer *s);
extern int test_server_connections(TestServer *s);
extern int test_server_requests(TestServer *s);
/* A copy of the last request, NUL-terminated; n gets its length. The caller frees it. */
extern char *test_server_last_request(TestServer *s, size_t *n);
/* Reads one whole request (head and Content-Length body) and counts it; false when the client is gone. */
extern bool test_server_read(TestServer *s, int fd);
/* Reads until the client is gone. */
extern void test_server_drain(int fd);
extern void test_server_write(int fd, const void *data, size_t n);
extern void test_server_say(int fd, const char *text);
/* Makes the coming close() a reset. */
extern void test_server_reset_on_close(int fd);

/* Resolver threads inside hang.example; they stay until released. */
extern int test_resolver_hanging(void);
extern void test_resolver_release(void);
/* Whether every resolver thread so far had the signals blocked that a server process handles. */
extern bool test_resolver_signals_blocked(void);
extern int test_resolver_calls(void);

/* Options that allow loopback. */
extern OndHttpOptions test_options(void);
extern OndHttp *test_http(const OndHttpOptions *o);
/* A request to http://host:port/path. */
extern void test_request(OndHttpRequest *r, const char *method, const char *host, int port, const char *path);
extern void test_request_body(OndHttpRequest *r, const char *body, size_t n);
/* Polls until a response is there. */
extern OndHttpResponse *test_await(OndHttp *h);
/* Starts r and awaits its response. Frees the request. */
extern OndHttpResponse *test_perform(OndHttp *h, OndHttpRequest *r);
/* One GET of /path with a handle of its own and these options (NULL: test_options()). */
extern OndHttpResponse *test_get(const OndHttpOptions *o, const char *host, int port, const char *path);

#endif
