/*
 * http.h - the transport: libcurl's multi interface behind a small door.
 *
 * No postgres.h here, so nothing can raise through libcurl. Callbacks copy bytes into capped buffers and return codes.
 * The caller polls, checks its interrupts between polls, and takes finished responses one by one.
 *
 * What it owns: the multi handle, a pool of easy handles, response buffers. What it does not do: retries, rates,
 * meaning of answers (core/deliver, connector/).
 *
 * Rules (each has a test in test/unit): http and https only; no redirects followed; no proxy or netrc from the environment; TLS always
 * verified; a request is written at most once per ond_http_start; every resolved address passes the address policy before a socket
 * is opened; decoded response size capped; CR, LF, NUL never in header names or values; asynchronous DNS required; signals blocked
 * around calls that may start a thread.
 */
#ifndef OND_HTTP_HTTP_H
#define OND_HTTP_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include "core/buf.h"
#include "core/classify.h"
#include "core/error.h"
#include "core/url.h"
#include "http/address.h"

typedef struct OndHttp OndHttp;

/* What a destination brings of its own for TLS: PEM texts, borrowed; NULL: none. Offered to and believed of its own origin only. */
typedef struct OndHttpTls {
  OndUrl origin;
  const char *certificate, *key, *key_password;
  const char *ca;                 /* in place of every other authority */
} OndHttpTls;

typedef struct OndHttpOptions {
  int connections_max;            /* open sockets at once, idle ones included */
  size_t response_bytes_max;      /* decoded body; headers are capped at 64 kB besides */
  bool http2;                     /* offer HTTP/2 by ALPN; default true. Streams that a server refuses (GOAWAY) count as NO_ANSWER */
  char ca_file[1024];             /* empty: the system's store */
  OndHttpTls tls;
  OndAddressPolicy addresses;
  /* Accounting of file descriptors: called before a socket is opened and after one is closed; may be NULL. acquire false: no socket. */
  bool (*acquire_fd)(void *arg);
  void (*release_fd)(void *arg);
  void *fd_arg;
} OndHttpOptions;

extern void ond_http_options_default(OndHttpOptions *o);

typedef struct OndHttpHeader {
  char *name;
  char *value;
} OndHttpHeader;

/* A request: owned by whoever made it; everything malloc'd. See ond_http_request_free. */
typedef struct OndHttpRequest {
  char method[16];
  char *url;                      /* absolute, encoded */
  int n_headers;
  OndHttpHeader *headers;         /* content-type included when there is a body */
  OndBuf body;                    /* body.data == NULL: none */
  bool gzip;                      /* send the body gzip-compressed with Content-Encoding */
  char id[64];                    /* the same for every try of the same content: part of signatures; may be empty */
  int timeout_ms;                 /* whole request; > 0 */
  int connect_timeout_ms;
  void *tag;                      /* the caller's */
} OndHttpRequest;

extern void ond_http_request_init(OndHttpRequest *r);
extern void ond_http_request_free(OndHttpRequest *r); /* its contents, not r */
/* Adds a header; false and err when name or value hold what may not pass (CR, LF, NUL, controls; an empty or odd name). */
extern bool ond_http_request_header(OndHttpRequest *r, const char *name, const char *value, size_t value_n, OndError *err);

/* Compresses the body now, where r->gzip asks for it: for signatures over the bytes that go out. */
extern bool ond_http_request_compress(OndHttpRequest *r, OndError *err);

typedef struct OndHttpResponse {
  OndTransfer transfer;
  int status;                     /* 0 without a response */
  OndBuf headers;                 /* raw header lines of the final response, CRLF separated, without the status line */
  OndBuf body;                    /* decoded */
  char error[256];                /* words for the log when transfer is not OK: no URL with query, no credentials */
  int64_t bytes_sent;             /* on the wire as far as libcurl tells: headers and body */
  int64_t bytes_received;
  int64_t elapsed_us;
  void *tag;                      /* of the request */
} OndHttpResponse;

extern void ond_http_response_free(OndHttpResponse *r); /* contents and r */
/* The value of a header (case-insensitive, first of its name), trimmed; p == NULL when absent. */
extern OndBytes ond_http_response_header(const OndHttpResponse *r, const char *name);
/* Likewise the index-th of its name, from 0. */
extern OndBytes ond_http_response_header_at(const OndHttpResponse *r, const char *name, int index);

/* Once per process, never in the postmaster. False where libcurl has no asynchronous DNS or no TLS. */
extern bool ond_http_global_init(OndError *err);

extern OndHttp *ond_http_create(const OndHttpOptions *o, OndError *err);
/* Abandons what is in flight at once (no waiting) and frees everything. NULL is fine. */
extern void ond_http_destroy(OndHttp *h);

/*
 * Starts a request. It must stay valid until its response is taken or the handle destroyed. False: not started, err says why
 * (counts as NOT_SENT).
 */
extern bool ond_http_start(OndHttp *h, OndHttpRequest *r, OndError *err);
extern int ond_http_in_flight(const OndHttp *h);
/* Moves transfers on; waits up to timeout_ms for something to happen (a signal ends the wait). */
extern void ond_http_poll(OndHttp *h, int timeout_ms);
/* The next finished response (the caller frees it), or NULL. */
extern OndHttpResponse *ond_http_take(OndHttp *h);
/* Abandons all requests in flight; their responses come as NO_ANSWER (or NOT_SENT where nothing was sent yet) from ond_http_take. */
extern void ond_http_abandon_all(OndHttp *h);

#endif
