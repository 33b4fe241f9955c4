/*
 * classify.h - what an answer (or the lack of one) means, before its body is read.
 */
#ifndef OND_CORE_CLASSIFY_H
#define OND_CORE_CLASSIFY_H

#include <stdbool.h>

/* How the transfer itself ended. */
typedef enum OndTransfer {
  OND_TRANSFER_OK,            /* a complete response with a status */
  OND_TRANSFER_NOT_SENT,      /* name resolution, connect, TLS, refused by our policy: the server cannot have acted */
  OND_TRANSFER_NO_ANSWER,     /* sent at least in part: time-out, reset, cut response: the server may have acted */
  OND_TRANSFER_TOO_LARGE      /* the response passed the cap: the server has acted, we cannot read how */
} OndTransfer;

/* What one request's answer says about its rows as a whole. */
typedef enum OndAnswer {
  OND_ANSWER_READ,            /* 2xx (or a status the connector calls fine): read the body row by row */
  OND_ANSWER_REFUSED,         /* definite no for the content: 400, 404, 409, 413, 422 and other 4xx, 3xx */
  OND_ANSWER_THROTTLED,       /* 429: definite no, for now */
  OND_ANSWER_AUTH,            /* 401, 403, 407 */
  OND_ANSWER_UNAVAILABLE,     /* nothing reached the server, or 408, 425: definite no, for now */
  OND_ANSWER_IN_DOUBT,        /* 5xx, no answer, too large: the server may have acted */
  OND_ANSWER_AGAIN,           /* likewise the engine's: a definite no that only asks for other credentials; the same request goes again, this try does not count */
  OND_ANSWER_CONTINUE         /* never classified from a status: the engine's word that the request goes on with another step */
} OndAnswer;

/* Lists of statuses a connector treats in its own way; they win over the defaults. Each ends with 0; NULL: none. */
typedef struct OndStatusRules {
  const int *fine;    /* counts as success: 404 on a delete */
  const int *refused; /* definite no for the content: a database API that answers 500 for a bad row */
  const int *retry;   /* definite no, worth another try: 409 of Notion, 423 */
} OndStatusRules;

extern OndAnswer ond_classify(OndTransfer transfer, int http_status, const OndStatusRules *rules);
/* True when a refusal of a batch may be about single rows (400, 413, 422, or a status in rules->refused): worth bisecting. */
extern bool ond_classify_bisect(int http_status, const OndStatusRules *rules);
/*
 * The request may still take effect later: nobody answered (a time-out, a reset), or a gateway did for a server that may be at work (502, 504). A server
 * that itself answered 5xx is done with the request, whatever it did with it. http_status: 0 for none.
 */
extern bool ond_classify_may_arrive(OndAnswer answer, int http_status);
/* True when the same request is worth another try in this run. */
extern bool ond_classify_retry(OndAnswer answer);

#endif
