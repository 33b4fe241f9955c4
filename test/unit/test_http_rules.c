/*
 * test_http_rules.c - what must not happen: proxies, netrc, forbidden addresses, leaked descriptors, waiting for what hangs, handlers
 * in the wrong thread.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "core/mem.h"
#include "test_http_support.h"

static void serve_ok(TestServer *s, int fd, int connection) {
  (void)connection;
  while (test_server_read(s, fd)) {
    test_server_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  }
}

static void serve_silence(TestServer *s, int fd, int connection) {
  (void)connection;
  test_server_read(s, fd);
  test_server_drain(fd);
}

TEST(rules_proxies_of_the_environment_are_ignored) {
  static const char *const NAMES[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"};
  TestServer *proxy = test_server_start(serve_ok), *s = test_server_start(serve_ok);
  char url[64];
  OndHttpResponse *p;

  snprintf(url, sizeof(url), "http://127.0.0.1:%d", test_server_port(proxy));
  for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
    setenv(NAMES[i], url, 1);
  }
  p = test_get(NULL, "loopback.example", test_server_port(s), "/");
  for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
    unsetenv(NAMES[i]);
  }
  CHECK_INT(p->status, 200);
  CHECK_INT(test_server_requests(s), 1);
  CHECK_INT(test_server_connections(proxy), 0);
  ond_http_response_free(p);
  test_server_stop(s);
  test_server_stop(proxy);
}

TEST(rules_netrc_is_ignored) {
  TestServer *s = test_server_start(serve_ok);
  char directory[] = "/tmp/ondatra_netrc.XXXXXX", path[64];
  char *home = getenv("HOME") ? ond_strdup(getenv("HOME")) : NULL, *seen;
  OndHttpResponse *p;
  size_t n;
  FILE *f;

  REQUIRE(mkdtemp(directory) != NULL);
  snprintf(path, sizeof(path), "%s/.netrc", directory);
  REQUIRE((f = fopen(path, "w")) != NULL);
  fprintf(f, "machine 127.0.0.1 login ann password hunter2\ndefault login ann password hunter2\n");
  fclose(f);
  chmod(path, 0600);
  setenv("HOME", directory, 1);
  p = test_get(NULL, "127.0.0.1", test_server_port(s), "/");
  if (home) {
    setenv("HOME", home, 1);
  }
  CHECK_INT(p->status, 200);
  seen = test_server_last_request(s, &n);
  CHECK(n > 0 && strstr(seen, "Authorization") == NULL);
  unlink(path);
  rmdir(directory);
  ond_free(seen);
  ond_free(home);
  ond_http_response_free(p);
  test_server_stop(s);
}

/* A GET to this spelling of an address. */
static void check_reach(const OndHttpOptions *o, const char *host, bool reached) {
  TestServer *s = test_server_start(serve_ok);
  OndHttpResponse *p = test_get(o, host, test_server_port(s), "/x?key=hunter2");

  if (!CHECK_INT(p->transfer, reached ? OND_TRANSFER_OK : OND_TRANSFER_NOT_SENT)) {
    unit_note("%s: %s", host, p->error);
  }
  CHECK_INT(test_server_connections(s), reached ? 1 : 0);
  if (!reached) {
    if (!CHECK(strstr(p->error, "allowed") != NULL)) {
      unit_note("%s: %s", host, p->error);
    }
    CHECK(strstr(p->error, "hunter2") == NULL);
  }
  ond_http_response_free(p);
  test_server_stop(s);
}

TEST(rules_loopback_is_refused_in_every_spelling) {
  static const char *const HOSTS[] = {"127.0.0.1", "127.1", "0x7f000001",         "2130706433", "0177.0.0.1",       "localhost",
                                      "[::1]",     "0",     "[::ffff:127.0.0.1]", "0.0.0.0",    "loopback.example", "[64:ff9b::7f00:1]",
                                      NULL};
  OndHttpOptions o = test_options();

  o.addresses.allow_private = false;
  for (const char *const *host = HOSTS; *host; host++) {
    check_reach(&o, *host, false);
  }
}

TEST(rules_allowed_hosts) {
  OndHttpOptions o = test_options();

  o.addresses.allow_private = false;
  snprintf(o.addresses.allowed_hosts, sizeof(o.addresses.allowed_hosts), "loopback.example, 127.0.0.1");
  check_reach(&o, "loopback.example", true);
  check_reach(&o, "LOOPBACK.example", true);
  check_reach(&o, "127.0.0.1", true);
  check_reach(&o, "other.example", false);
  check_reach(&o, "localhost", false);
}

TEST(rules_special_ranges_are_refused_to_everybody) {
  OndHttpOptions o = test_options();

  snprintf(o.addresses.allowed_hosts, sizeof(o.addresses.allowed_hosts), "metadata.example, mapped.example, 169.254.169.254");
  check_reach(&o, "metadata.example", false);
  check_reach(&o, "mapped.example", false);
  check_reach(&o, "169.254.169.254", false);
  check_reach(&o, "255.255.255.255", false);
  check_reach(&o, "224.0.0.1", false);
  check_reach(&o, "[fe80::1]", false);
}

TEST(rules_each_address_of_a_name_is_judged) {
  check_reach(NULL, "mixed.example", true);
}

typedef struct FdCounter {
  int open, opened, max;
} FdCounter;

static bool acquire(void *arg) {
  FdCounter *c = arg;

  if (c->open >= c->max) {
    return false;
  }
  c->open++;
  c->opened++;
  return true;
}

static void release(void *arg) {
  ((FdCounter *)arg)->open--;
}

TEST(rules_descriptors_are_accounted_for) {
  static const char *const HOSTS[] = {"127.0.0.1", "loopback.example", "mixed.example", "metadata.example", "unknown.example", NULL};
  TestServer *s = test_server_start(serve_ok), *silent = test_server_start(serve_silence);
  FdCounter counter = {.max = 100};
  OndHttpOptions o = test_options();
  OndHttpRequest r;
  OndHttp *h;
  OndError err = {0};

  o.acquire_fd = acquire;
  o.release_fd = release;
  o.fd_arg = &counter;
  h = test_http(&o);
  for (const char *const *host = HOSTS; *host; host++) {
    test_request(&r, "GET", *host, test_server_port(s), "/");
    ond_http_response_free(test_perform(h, &r));
  }
  test_request(&r, "GET", "127.0.0.1", 1, "/"); /* nobody listens there */
  ond_http_response_free(test_perform(h, &r));
  CHECK_INT(counter.open, 3);
  test_request(&r, "GET", "127.0.0.1", test_server_port(silent), "/");
  CHECK(ond_http_start(h, &r, &err));
  while (test_server_requests(silent) == 0) {
    ond_http_poll(h, 10);
  }
  CHECK_INT(counter.open, 4);
  ond_http_destroy(h);
  CHECK_INT(counter.open, 0);
  CHECK_INT(counter.opened, 5);
  ond_http_request_free(&r);
  test_server_stop(s);
  test_server_stop(silent);
}

TEST(rules_no_descriptor_no_socket) {
  TestServer *s = test_server_start(serve_ok);
  FdCounter counter = {.max = 0};
  OndHttpOptions o = test_options();
  OndHttpResponse *p;

  o.acquire_fd = acquire;
  o.release_fd = release;
  o.fd_arg = &counter;
  p = test_get(&o, "127.0.0.1", test_server_port(s), "/");
  CHECK_INT(p->transfer, OND_TRANSFER_NOT_SENT);
  CHECK(strstr(p->error, "file descriptor") != NULL);
  CHECK_INT(counter.open, 0);
  CHECK_INT(test_server_connections(s), 0);
  ond_http_response_free(p);
  test_server_stop(s);
}

TEST(rules_abandon_all) {
  TestServer *s = test_server_start(serve_silence);
  OndHttp *h = test_http(NULL);
  OndHttpRequest sent, waiting, fresh;
  OndHttpResponse *p;
  OndError err = {0};

  test_request(&sent, "POST", "127.0.0.1", test_server_port(s), "/");
  test_request(&waiting, "POST", "hang.example", 80, "/");
  test_request(&fresh, "POST", "127.0.0.1", test_server_port(s), "/");
  sent.tag = &sent;
  waiting.tag = &waiting;
  fresh.tag = &fresh;
  CHECK(ond_http_start(h, &sent, &err));
  CHECK(ond_http_start(h, &waiting, &err));
  while (test_server_requests(s) == 0 || test_resolver_hanging() == 0) {
    ond_http_poll(h, 10);
  }
  CHECK(ond_http_start(h, &fresh, &err));
  CHECK_INT(ond_http_in_flight(h), 3);
  ond_http_abandon_all(h);
  CHECK(test_resolver_hanging() > 0); /* nobody waited for it */
  CHECK_INT(ond_http_in_flight(h), 0);
  for (int i = 0; i < 3; i++) {
    p = ond_http_take(h);
    REQUIRE(p != NULL);
    CHECK_INT(p->transfer, p->tag == &sent ? OND_TRANSFER_NO_ANSWER : OND_TRANSFER_NOT_SENT);
    CHECK_STR(p->error, "request was abandoned");
    ond_http_response_free(p);
  }
  CHECK(ond_http_take(h) == NULL);
  /* The handle still works. */
  ond_http_request_free(&fresh);
  test_request(&fresh, "GET", "unknown.example", 80, "/");
  ond_http_response_free(test_perform(h, &fresh));
  ond_http_destroy(h);
  CHECK(test_resolver_hanging() > 0);
  test_resolver_release();
  while (test_resolver_hanging() > 0) {
    sched_yield();
  }
  ond_http_request_free(&sent);
  ond_http_request_free(&waiting);
  test_server_stop(s);
}

TEST(rules_destroy_does_not_wait_for_a_resolver) {
  OndHttp *h = test_http(NULL);
  OndHttpRequest r;
  OndError err = {0};

  test_request(&r, "POST", "hang.example", 80, "/");
  CHECK(ond_http_start(h, &r, &err));
  while (test_resolver_hanging() == 0) {
    ond_http_poll(h, 10);
  }
  ond_http_destroy(h);
  CHECK(test_resolver_hanging() > 0);
  test_resolver_release();
  while (test_resolver_hanging() > 0) {
    sched_yield();
  }
  ond_http_request_free(&r);
}

TEST(rules_a_hanging_resolver_times_out) {
  OndHttp *h = test_http(NULL);
  OndHttpRequest r;
  OndHttpResponse *p;

  test_request(&r, "POST", "hang.example", 80, "/");
  r.timeout_ms = 150;
  p = test_perform(h, &r);
  CHECK_INT(p->transfer, OND_TRANSFER_NOT_SENT);
  CHECK(test_resolver_hanging() > 0);
  test_resolver_release();
  while (test_resolver_hanging() > 0) {
    sched_yield();
  }
  ond_http_response_free(p);
  ond_http_destroy(h);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signal_number) {
  (void)signal_number;
  alarms++;
}

TEST(rules_a_signal_ends_the_wait) {
  TestServer *s = test_server_start(serve_silence);
  OndHttp *h = test_http(NULL);
  struct itimerval soon = {.it_value.tv_usec = 200000, .it_interval.tv_usec = 200000}, never = {0};
  struct sigaction action = {.sa_handler = on_alarm}, before;
  time_t start = time(NULL);
  OndHttpRequest r;
  OndError err = {0};
  sigset_t mask;

  test_request(&r, "GET", "127.0.0.1", test_server_port(s), "/");
  CHECK(ond_http_start(h, &r, &err));
  while (test_server_requests(s) == 0) {
    ond_http_poll(h, 10);
  }
  alarms = 0;
  sigaction(SIGALRM, &action, &before);
  setitimer(ITIMER_REAL, &soon, NULL);
  while (alarms == 0 && time(NULL) - start < 100) {
    ond_http_poll(h, 120000);
  }
  setitimer(ITIMER_REAL, &never, NULL);
  sigaction(SIGALRM, &before, NULL);
  CHECK(alarms > 0);
  CHECK(time(NULL) - start < 100);
  CHECK_INT(ond_http_in_flight(h), 1);
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  CHECK_INT(sigismember(&mask, SIGALRM), 0);
  CHECK_INT(sigismember(&mask, SIGTERM), 0);
  ond_http_destroy(h);
  ond_http_request_free(&r);
  test_server_stop(s);
}

TEST(rules_handlers_stay_out_of_resolver_threads) {
  int calls = test_resolver_calls();

  ond_http_response_free(test_get(NULL, "unknown.example", 80, "/"));
  CHECK(test_resolver_calls() > calls);
  CHECK(test_resolver_signals_blocked());
}

TEST(rules_options_are_checked) {
  OndHttpOptions o = test_options();
  OndError err = {0};

  CHECK(ond_http_global_init(&err));
  CHECK(ond_http_global_init(&err));
  snprintf(o.ca_file, sizeof(o.ca_file), "/nonexistent/ca.pem");
  CHECK(ond_http_create(&o, &err) == NULL);
  CHECK(strstr(err.message, "/nonexistent/ca.pem") != NULL);
  o = test_options();
  o.connections_max = 0;
  CHECK(ond_http_create(&o, &err) == NULL);
  ond_http_destroy(NULL);
}
