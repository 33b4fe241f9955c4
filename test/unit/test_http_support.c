/*
 * test_http_support.c - the scripted server, the name service and the waiting client of the tests of src/http.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test_http_support.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "core/mem.h"

#define CONNECTIONS_MAX   512
#define REQUEST_BYTES_MAX (1 << 20)
#define AWAIT_MAX_S       60 /* a test that hangs ends */

typedef struct Connection {
  TestServer *server;
  pthread_t thread;
  int fd, number;
  bool open;
} Connection;

struct TestServer {
  pthread_mutex_t lock;
  pthread_t thread;
  TestServe serve;
  int fd, port;
  int n, requests;
  Connection connections[CONNECTIONS_MAX];
  char *last;
  size_t last_n;
};

static void *serve_connection(void *arg) {
  Connection *c = arg;
  TestServer *s = c->server;

  s->serve(s, c->fd, c->number);
  pthread_mutex_lock(&s->lock);
  close(c->fd);
  c->open = false;
  pthread_mutex_unlock(&s->lock);
  return NULL;
}

static void *accept_connections(void *arg) {
  TestServer *s = arg;
  int fd;

  while (s->n < CONNECTIONS_MAX && (fd = accept(s->fd, NULL, NULL)) >= 0) {
    Connection *c = &s->connections[s->n];

    pthread_mutex_lock(&s->lock);
    *c = (Connection){.server = s, .fd = fd, .number = s->n, .open = true};
    s->n++;
    pthread_create(&c->thread, NULL, serve_connection, c);
    pthread_mutex_unlock(&s->lock);
  }
  return NULL;
}

TestServer *test_server_start(TestServe serve) {
  TestServer *s = ond_calloc(sizeof(*s));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t n = sizeof(address);
  sigset_t all, before;

  signal(SIGPIPE, SIG_IGN); /* as in a server process */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the thread that tests */
  pthread_mutex_init(&s->lock, NULL);
  s->serve = serve;
  s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(s->fd, (struct sockaddr *)&address, n) != 0 || listen(s->fd, 128) != 0 ||
      getsockname(s->fd, (struct sockaddr *)&address, &n) != 0) {
    perror("test server");
    abort();
  }
  s->port = ntohs(address.sin_port);
  pthread_create(&s->thread, NULL, accept_connections, s);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return s;
}

void test_server_stop(TestServer *s) {
  shutdown(s->fd, SHUT_RDWR);
  pthread_join(s->thread, NULL);
  close(s->fd);
  pthread_mutex_lock(&s->lock);
  for (int i = 0; i < s->n; i++) {
    if (s->connections[i].open) {
      shutdown(s->connections[i].fd, SHUT_RDWR);
    }
  }
  pthread_mutex_unlock(&s->lock);
  for (int i = 0; i < s->n; i++) {
    pthread_join(s->connections[i].thread, NULL);
  }
  ond_free(s->last);
  pthread_mutex_destroy(&s->lock);
  ond_free(s);
}

int test_server_port(const TestServer *s) {
  return s->port;
}

static int locked(TestServer *s, const int *value) {
  int copy;

  pthread_mutex_lock(&s->lock);
  copy = *value;
  pthread_mutex_unlock(&s->lock);
  return copy;
}

int test_server_connections(TestServer *s) {
  return locked(s, &s->n);
}

int test_server_requests(TestServer *s) {
  return locked(s, &s->requests);
}

char *test_server_last_request(TestServer *s, size_t *n) {
  char *copy;

  pthread_mutex_lock(&s->lock);
  copy = ond_malloc(s->last_n + 1);
  if (s->last_n > 0) {
    memcpy(copy, s->last, s->last_n);
  }
  copy[s->last_n] = '\0';
  *n = s->last_n;
  pthread_mutex_unlock(&s->lock);
  return copy;
}

/* Length of the request in buf, or 0 while it is not whole. */
static size_t request_length(const char *buf) {
  const char *end = strstr(buf, "\r\n\r\n");
  const char *length = end ? strcasestr(buf, "\r\nContent-Length:") : NULL;
  size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;

  return end ? (size_t)(end - buf) + 4 + body : 0;
}

bool test_server_read(TestServer *s, int fd) {
  char *buf = ond_calloc(REQUEST_BYTES_MAX + 1);
  size_t n = 0;

  while (n < REQUEST_BYTES_MAX && (request_length(buf) == 0 || n < request_length(buf))) {
    ssize_t got = read(fd, buf + n, REQUEST_BYTES_MAX - n);

    if (got <= 0) {
      ond_free(buf);
      return false;
    }
    n += (size_t)got;
    buf[n] = '\0';
  }
  pthread_mutex_lock(&s->lock);
  s->requests++;
  ond_free(s->last);
  s->last = buf;
  s->last_n = n;
  pthread_mutex_unlock(&s->lock);
  return true;
}

void test_server_drain(int fd) {
  char buf[4096];

  while (read(fd, buf, sizeof(buf)) > 0) {
  }
}

void test_server_write(int fd, const void *data, size_t n) {
  const char *p = data;

  while (n > 0) {
    ssize_t put = send(fd, p, n, MSG_NOSIGNAL);

    if (put <= 0) {
      return;
    }
    p += put;
    n -= (size_t)put;
  }
}

void test_server_say(int fd, const char *text) {
  test_server_write(fd, text, strlen(text));
}

void test_server_reset_on_close(int fd) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};

  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* The name service: numeric addresses of names under .example. */
typedef struct FakeName {
  const char *name;
  const char *addresses[3];
} FakeName;

static const FakeName FAKE_NAMES[] = {
    {"loopback.example", {"127.0.0.1"}},
    {"other.example", {"127.0.0.1"}},
    {"private.example", {"10.255.255.1"}},
    {"metadata.example", {"169.254.169.254"}},
    {"mixed.example", {"169.254.169.254", "127.0.0.1"}},
    {"mapped.example", {"::ffff:169.254.169.254"}},
};

static pthread_mutex_t resolver_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_released = PTHREAD_COND_INITIALIZER;
static int resolver_hanging, resolver_generation, resolver_calls;
static bool resolver_signals_blocked = true;

typedef int (*GetAddrInfo)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static void note_resolver(void) {
  static const int HANDLED[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGURG, SIGQUIT};
  sigset_t mask;

  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  pthread_mutex_lock(&resolver_lock);
  resolver_calls++;
  for (size_t i = 0; i < sizeof(HANDLED) / sizeof(HANDLED[0]); i++) {
    resolver_signals_blocked = resolver_signals_blocked && sigismember(&mask, HANDLED[i]) == 1;
  }
  pthread_mutex_unlock(&resolver_lock);
}

static void hang(void) {
  int generation;

  pthread_mutex_lock(&resolver_lock);
  generation = resolver_generation;
  resolver_hanging++;
  while (generation == resolver_generation) {
    pthread_cond_wait(&resolver_released, &resolver_lock);
  }
  resolver_hanging--;
  pthread_mutex_unlock(&resolver_lock);
}

static int fake_lookup(GetAddrInfo next, const FakeName *fake, const char *service, const struct addrinfo *hints,
                       struct addrinfo **result) {
  struct addrinfo numeric = *hints;
  struct addrinfo **tail = result;

  *result = NULL;
  numeric.ai_flags |= AI_NUMERICHOST;
  for (int i = 0; i < 3 && fake->addresses[i]; i++) {
    if (next(fake->addresses[i], service, &numeric, tail) == 0) {
      while (*tail) {
        tail = &(*tail)->ai_next;
      }
    }
  }
  return *result ? 0 : EAI_NONAME;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
  GetAddrInfo next;
  size_t n = name ? strlen(name) : 0;

  *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
  if (n < 8 || strcasecmp(name + n - 8, ".example") != 0) {
    return next(name, service, hints, result);
  }
  note_resolver();
  if (strcmp(name, "hang.example") == 0) {
    hang();
  }
  for (size_t i = 0; i < sizeof(FAKE_NAMES) / sizeof(FAKE_NAMES[0]); i++) {
    if (strcasecmp(name, FAKE_NAMES[i].name) == 0) {
      return fake_lookup(next, &FAKE_NAMES[i], service, hints, result);
    }
  }
  return EAI_NONAME;
}

static int locked_int(const int *value) {
  int copy;

  pthread_mutex_lock(&resolver_lock);
  copy = *value;
  pthread_mutex_unlock(&resolver_lock);
  return copy;
}

int test_resolver_hanging(void) {
  return locked_int(&resolver_hanging);
}

int test_resolver_calls(void) {
  return locked_int(&resolver_calls);
}

bool test_resolver_signals_blocked(void) {
  bool copy;

  pthread_mutex_lock(&resolver_lock);
  copy = resolver_signals_blocked;
  pthread_mutex_unlock(&resolver_lock);
  return copy;
}

void test_resolver_release(void) {
  pthread_mutex_lock(&resolver_lock);
  resolver_generation++;
  pthread_cond_broadcast(&resolver_released);
  pthread_mutex_unlock(&resolver_lock);
}

OndHttpOptions test_options(void) {
  OndHttpOptions o;

  ond_http_options_default(&o);
  o.addresses.allow_private = true;
  return o;
}

/* Without a client or a response no test can go on. */
static void give_up(const OndError *err) {
  unit_note("%s: %s", err->message, err->detail);
  fflush(stdout);
  abort();
}

OndHttp *test_http(const OndHttpOptions *o) {
  OndHttpOptions defaults = test_options();
  OndError err = {0};
  OndHttp *h = NULL;

  if (ond_http_global_init(&err)) {
    h = ond_http_create(o ? o : &defaults, &err);
  }
  if (!CHECK(h != NULL)) {
    give_up(&err);
  }
  return h;
}

void test_request(OndHttpRequest *r, const char *method, const char *host, int port, const char *path) {
  char url[1024];

  ond_http_request_init(r);
  snprintf(r->method, sizeof(r->method), "%s", method);
  snprintf(url, sizeof(url), "http://%s:%d%s", host, port, path);
  r->url = ond_strdup(url);
}

void test_request_body(OndHttpRequest *r, const char *body, size_t n) {
  ond_buf_init(&r->body, n);
  ond_buf_append(&r->body, body, n);
}

OndHttpResponse *test_await(OndHttp *h) {
  OndHttpResponse *response = ond_http_take(h);
  time_t deadline = time(NULL) + AWAIT_MAX_S;

  while (!response && time(NULL) < deadline) {
    ond_http_poll(h, 100);
    response = ond_http_take(h);
  }
  if (!CHECK(response != NULL)) {
    give_up(&(OndError){.message = "no response came"});
  }
  return response;
}

OndHttpResponse *test_perform(OndHttp *h, OndHttpRequest *r) {
  OndError err = {0};
  OndHttpResponse *response;

  if (!CHECK(ond_http_start(h, r, &err))) {
    give_up(&err);
  }
  response = test_await(h);
  ond_http_request_free(r);
  return response;
}

OndHttpResponse *test_get(const OndHttpOptions *o, const char *host, int port, const char *path) {
  OndHttp *h = test_http(o);
  OndHttpRequest r;
  OndHttpResponse *response;

  test_request(&r, "GET", host, port, path);
  response = test_perform(h, &r);
  ond_http_destroy(h);
  return response;
}
