/*
 * deliver_policy.h - what delivery decides by numbers: sizes of batches and windows, when to stop, how a request ends. No state but what is passed in.
 */
#ifndef OND_CORE_DELIVER_POLICY_H
#define OND_CORE_DELIVER_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/backoff.h"
#include "core/change.h"
#include "core/classify.h"

/* Which of the connector's operations carries a task next. The engine decides; a read changes nothing at the destination. */
typedef enum OndRoute { OND_ROUTE_CREATE, OND_ROUTE_UPDATE, OND_ROUTE_DELETE, OND_ROUTE_LOOKUP } OndRoute;
#define OND_ROUTES (OND_ROUTE_LOOKUP + 1)
extern OndRoute ond_op_route(OndOp op); /* an operation's own */

typedef enum OndStop { OND_STOP_NONE, OND_STOP_CANCELLED, OND_STOP_TIMEOUT, OND_STOP_BREAKER, OND_STOP_AUTH, OND_STOP_REFUSALS, OND_STOP_RATE, OND_STOP_COMMIT, OND_STOP_SCRIPT } OndStop;
extern const char *ond_stop_name(OndStop s);

typedef struct OndDeliveryOp {
  int batch_rows;            /* >= 1 */
  size_t batch_bytes;        /* payload; 0: none */
  bool bisect;               /* atomic or idempotent: a refused batch may be cut and sent again */
  bool repeat_in_doubt;      /* a try without an answer may be repeated in this run (on_unknown = resend) */
  bool reads;                /* changes nothing: no answer is no doubt */
  int group;                 /* routes of one number (not 0) share requests, the first task's limits hold; 0: none */
  bool replays_errors;       /* what has its answer gets the same one again under the same idempotency key, errors too */
  int open_max;              /* requests begun and not ended, steps included; 0: no limit of its own */
} OndDeliveryOp;

typedef struct OndDeliveryPolicy {
  int concurrency;           /* requests in flight, >= 1 */
  bool ordered;              /* one at a time (whatever concurrency says), and nothing starts before what came earlier has ended */
  OndRetryPolicy retry;
  OndDeliveryOp create, update, delete, lookup;
  int breaker_failures;      /* consecutive transport, 5xx or no-answer failures; default 10 */
  int breaker_auth;          /* consecutive 401/403; default 3 */
  int breaker_refusals;      /* rows refused or not mentioned by answers, without one accepted; default 100 */
  int breaker_throttled;     /* consecutive 429s: the rest is left for later; default 20 */
  int64_t permit_wait_max_us; /* a longer wait for the rate limit, or to begin while nothing of ours goes on, ends the run, the rest pending; default 15 min */
  int window_rows_max;       /* default 20000 */
  size_t window_bytes_max;   /* payload held in memory, from next() to its ack; one task may pass it; default 32 MB */
  int ack_rows;              /* default 2000 */
  int64_t ack_us;            /* default 200 ms */
} OndDeliveryPolicy;

extern void ond_delivery_policy_default(OndDeliveryPolicy *p);
extern const OndDeliveryOp *ond_delivery_op(const OndDeliveryPolicy *p, OndRoute route);

/* How a request ends whose last try got this answer. */
extern OndOutcome ond_delivery_outcome(OndAnswer answer, int http_status);

/* Answers in a row that say how the destination is. */
typedef struct OndDeliveryHealth {
  int failures, auth_failures, throttled;
} OndDeliveryHealth;

/* Counts one more answer. The stop that it means, or NONE. */
extern OndStop ond_delivery_note(const OndDeliveryPolicy *p, OndDeliveryHealth *h, OndAnswer answer);

/* Whether one more row may be held in memory beside these. */
extern bool ond_delivery_may_hold(const OndDeliveryPolicy *p, int64_t rows, size_t bytes);

/*
 * The rows of a send window. It is as large as what can be sent in some hundred milliseconds: whoever crashes leaves little in doubt that was never
 * sent. It doubles when the one before was used up fast and halves when slow, and has at least one full request of the route for each connection.
 */
extern int ond_delivery_window_min(const OndDeliveryPolicy *p, OndRoute route);
extern int ond_delivery_window_next(const OndDeliveryPolicy *p, OndRoute route, int rows, int64_t used_us, bool first);

#endif
