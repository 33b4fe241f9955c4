/*
 * http.c - the transport: the multi handle and a pool of exchanges (easy handles) around it.
 *
 * An exchange is in exactly one of three lists, and moves in a circle:
 *
 *   idle --start--> in flight --poll (libcurl is done with it), abandon_all--> done --take--> idle
 *
 * Starting only adds: bytes move in ond_http_poll, which works, waits when nothing has finished, and works once more.
 * A slot that becomes free can be filled right after ond_http_take, in any order: nothing goes in lock-step.
 *
 * Signals: libcurl's resolver threads inherit the signal mask of the thread that starts them. Every call that may start one runs
 * with all signals blocked, so a handler of the process never runs in a resolver thread. The wait itself runs with the caller's
 * mask: a signal ends it. The caller looks at its interrupts between polls, at least ten times a second.
 *
 * Time to let go: abandon_all and destroy wait for nothing. A resolver thread that hangs in getaddrinfo() is detached
 * (QUICK_EXIT) and frees its own memory when the name service answers.
 *
 * Owns: the multi handle with its connections and DNS cache, all exchanges. Options are copied; callbacks of open
 * connections point to the copy, so the multi handle is always cleaned up before it is freed.
 * Does not retry, count rates or read answers.
 */
#include "http/http.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "core/mem.h"
#include "http/exchange.h"

#define LIBCURL_VERSION_MIN     0x075700 /* 7.87.0: QUICK_EXIT */
#define LIBCURL_VERSION_MIN_STR "7.87.0"
#define CONNECTIONS_DEFAULT     16
#define RESPONSE_DEFAULT_BYTES  (16u << 20)

typedef struct ExchangeList {
  OndExchange *first, *last;
  int n;
} ExchangeList;

struct OndHttp {
  CURLM *multi;
  OndHttpOptions options;
  ExchangeList idle, in_flight, done;
  bool untouched; /* something was started that libcurl has not worked on yet */
};

static void list_append(ExchangeList *list, OndExchange *x) {
  x->prev = list->last;
  x->next = NULL;
  if (list->last) {
    list->last->next = x;
  } else {
    list->first = x;
  }
  list->last = x;
  list->n++;
}

static void list_remove(ExchangeList *list, OndExchange *x) {
  if (x->prev) {
    x->prev->next = x->next;
  } else {
    list->first = x->next;
  }
  if (x->next) {
    x->next->prev = x->prev;
  } else {
    list->last = x->prev;
  }
  x->next = x->prev = NULL;
  list->n--;
}

static void list_destroy(ExchangeList *list) {
  while (list->first) {
    OndExchange *x = list->first;

    list_remove(list, x);
    ond_exchange_destroy(x);
  }
}

/* All but those that the thread itself would cause by a fault: blocking these is undefined. */
static void block_signals(sigset_t *before) {
  static const int FAULTS[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
  sigset_t all;

  sigfillset(&all);
  for (size_t i = 0; i < sizeof(FAULTS) / sizeof(FAULTS[0]); i++) {
    sigdelset(&all, FAULTS[i]);
  }
  pthread_sigmask(SIG_SETMASK, &all, before);
}

static void restore_signals(const sigset_t *before) {
  pthread_sigmask(SIG_SETMASK, before, NULL);
}

void ond_http_options_default(OndHttpOptions *o) {
  memset(o, 0, sizeof(*o));
  o->connections_max = CONNECTIONS_DEFAULT;
  o->response_bytes_max = RESPONSE_DEFAULT_BYTES;
  o->http2 = true;
}

/* What is wrong is the server's, not an argument. */
static bool system_error(OndError *err) {
  memcpy(err->sqlstate, "58000", 6);
  return false;
}

bool ond_http_global_init(OndError *err) {
  static bool initialised = false;
  const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

  if (info->version_num < LIBCURL_VERSION_MIN) {
    ond_error_set(err, "libcurl is too old");
    ond_error_detail(err, "Version %s is loaded, %s or later is needed.", info->version, LIBCURL_VERSION_MIN_STR);
    return system_error(err);
  }
  if (!(info->features & CURL_VERSION_ASYNCHDNS) || !(info->features & CURL_VERSION_SSL)) {
    ond_error_set(err, "libcurl was built without %s", info->features & CURL_VERSION_SSL ? "asynchronous name resolution" : "TLS");
    ond_error_hint(err, "Install a libcurl that has both, as the usual packages do.");
    return system_error(err);
  }
  if (!initialised && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    ond_error_set(err, "could not initialise libcurl");
    return system_error(err);
  }
  initialised = true;
  return true;
}

static bool check_options(const OndHttpOptions *o, OndError *err) {
  if (o->connections_max < 1) {
    ond_error_set(err, "HTTP client needs at least one connection");
    return system_error(err);
  }
  if (o->ca_file[0] != '\0' && access(o->ca_file, R_OK) != 0) {
    ond_error_set(err, "could not read CA file \"%s\"", o->ca_file);
    ond_error_hint(err, "Set ondatra.ca_file to a file of PEM certificates that the server process can read.");
    return system_error(err);
  }
  return true;
}

static bool set_up_multi(CURLM *multi, const OndHttpOptions *o) {
  bool ok = curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)o->connections_max) == CURLM_OK &&
            curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)o->connections_max) == CURLM_OK;

#if LIBCURL_VERSION_NUM >= 0x081400
  /* Resolver threads belong to the multi handle from 8.20 on. */
  ok = ok && curl_multi_setopt(multi, CURLMOPT_QUICK_EXIT, 1L) == CURLM_OK;
#endif
  return ok;
}

OndHttp *ond_http_create(const OndHttpOptions *o, OndError *err) {
  OndHttp *h;

  if (!check_options(o, err)) {
    return NULL;
  }
  h = ond_calloc(sizeof(*h));
  h->options = *o;
  /* A libcurl without HTTP/2 speaks HTTP/1.1 to everybody, as to a server that does not agree on HTTP/2. */
  h->options.http2 = o->http2 && (curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_HTTP2);
  h->multi = curl_multi_init();
  if (!h->multi || !set_up_multi(h->multi, o)) {
    ond_error_set(err, "could not set up the HTTP client");
    (void)system_error(err);
    ond_http_destroy(h);
    return NULL;
  }
  return h;
}

void ond_http_destroy(OndHttp *h) {
  sigset_t before;

  if (!h) {
    return;
  }
  block_signals(&before);
  for (OndExchange *x = h->in_flight.first; x; x = x->next) {
    curl_multi_remove_handle(h->multi, x->easy);
  }
  list_destroy(&h->in_flight);
  list_destroy(&h->done);
  list_destroy(&h->idle);
  if (h->multi) {
    curl_multi_cleanup(h->multi);
  }
  restore_signals(&before);
  ond_free(h);
}

/* An idle exchange, or a new one, put into no list. */
static OndExchange *acquire_exchange(OndHttp *h, OndError *err) {
  OndExchange *x = h->idle.last; /* the one used last: its memory is warm */

  if (x) {
    list_remove(&h->idle, x);
    return x;
  }
  return ond_exchange_create(&h->options, err);
}

bool ond_http_start(OndHttp *h, OndHttpRequest *r, OndError *err) {
  OndExchange *x = acquire_exchange(h, err);
  sigset_t before;
  CURLMcode rc;

  if (!x) {
    return false;
  }
  if (!ond_exchange_begin(x, r, err)) {
    list_append(&h->idle, x);
    return false;
  }
  block_signals(&before);
  rc = curl_multi_add_handle(h->multi, x->easy);
  restore_signals(&before);
  if (rc != CURLM_OK) {
    ond_error_set(err, "could not start the request");
    ond_error_detail(err, "libcurl: %s", curl_multi_strerror(rc));
    ond_exchange_destroy(x);
    return false;
  }
  list_append(&h->in_flight, x);
  h->untouched = true;
  return true;
}

int ond_http_in_flight(const OndHttp *h) {
  return h->in_flight.n;
}

static void finish(OndHttp *h, OndExchange *x, CURLcode result, bool abandoned) {
  curl_multi_remove_handle(h->multi, x->easy);
  ond_exchange_finish(x, result, abandoned);
  list_remove(&h->in_flight, x);
  list_append(&h->done, x);
}

static void abandon(OndHttp *h) {
  while (h->in_flight.first) {
    finish(h, h->in_flight.first, CURLE_ABORTED_BY_CALLBACK, true);
  }
}

/* Lets libcurl read and write what is ready, and collects what came to an end. */
static void work(OndHttp *h) {
  sigset_t before;
  CURLMcode rc;
  CURLMsg *message;
  int n;

  block_signals(&before);
  rc = curl_multi_perform(h->multi, &n);
  while ((message = curl_multi_info_read(h->multi, &n))) {
    if (message->msg == CURLMSG_DONE) {
      char *x = NULL;

      /* The message dies with the handle's removal. */
      CURLcode result = message->data.result;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &x);
      finish(h, (OndExchange *)x, result, false);
    }
  }
  if (rc != CURLM_OK) {
    abandon(h); /* the multi handle is not usable any more: nothing would ever end */
  }
  restore_signals(&before);
  h->untouched = false;
}

void ond_http_poll(OndHttp *h, int timeout_ms) {
  if (h->untouched || timeout_ms <= 0) {
    work(h);
  }
  if (h->done.n > 0 || timeout_ms <= 0) {
    return;
  }
  curl_multi_poll(h->multi, NULL, 0, timeout_ms, NULL);
  work(h);
}

OndHttpResponse *ond_http_take(OndHttp *h) {
  OndExchange *x = h->done.first;
  OndHttpResponse *response;

  if (!x) {
    return NULL;
  }
  response = x->response;
  list_remove(&h->done, x);
  ond_exchange_clear(x);
  list_append(&h->idle, x);
  return response;
}

void ond_http_abandon_all(OndHttp *h) {
  sigset_t before;

  block_signals(&before);
  abandon(h);
  restore_signals(&before);
}
