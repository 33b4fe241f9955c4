/*
 * exchange.h - one request on its way and the response that comes of it: an easy handle and what it needs.
 *
 * Inside of src/http; http.c owns exchanges, pools them and moves them through the multi handle.
 */
#ifndef OND_HTTP_EXCHANGE_H
#define OND_HTTP_EXCHANGE_H

#include <curl/curl.h>
#include "core/url.h"
#include "http/http.h"

typedef struct OndExchange OndExchange;
struct OndExchange {
  OndExchange *next, *prev; /* in one list of the OndHttp: idle, in flight or done */
  CURL *easy;
  const OndHttpOptions *options; /* of the OndHttp; outlives the connections that an exchange opened */
  const OndHttpRequest *request;
  OndHttpResponse *response;       /* from begin on */
  OndUrl url;                      /* of the request */
  struct curl_slist *header_nodes; /* libcurl reads this list in place: nodes and text are ours, reused */
  size_t header_nodes_max;
  char *header_text;
  size_t header_text_len, header_text_max;
  char *gzipped; /* the compressed body, or NULL */
  size_t gzipped_len;
  int64_t started_us;
  bool handed_over;      /* a connection stood and libcurl was about to write the request */
  bool repeat_refused;   /* libcurl wanted to write it once more */
  bool headers_complete; /* of the final response; what follows is body or trailers */
  bool out_of_memory;
  char refusal[256]; /* why no socket was opened, or empty */
  char curl_error[CURL_ERROR_SIZE];
};

/* gzip of a body: *out is malloc'd. */
extern bool ond_http_gzip(const OndBuf *body, char **out, size_t *out_n, OndError *err);

/* NULL and err when libcurl cannot do what the rules of http.h need. */
extern OndExchange *ond_exchange_create(const OndHttpOptions *options, OndError *err);
/* Not while in the multi handle. NULL is fine. */
extern void ond_exchange_destroy(OndExchange *x);
/* Makes the easy handle ready for r. False and err: nothing to send, nothing kept of r. */
extern bool ond_exchange_begin(OndExchange *x, const OndHttpRequest *r, OndError *err);
/* Completes x->response with how the transfer ended. abandoned: result does not matter, the owner gave up. */
extern void ond_exchange_finish(OndExchange *x, CURLcode result, bool abandoned);
/* Lets go of the request; the caller took the response. */
extern void ond_exchange_clear(OndExchange *x);

#endif
