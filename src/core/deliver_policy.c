/*
 * deliver_policy.c - see deliver_policy.h.
 */
#include <string.h>

#include "core/deliver_policy.h"

#define WINDOW_FAST_US 100000
#define WINDOW_SLOW_US 400000
#define HELD_WINDOWS   4 /* rows in memory, in windows of the largest size */

OndRoute ond_op_route(OndOp op) {
  return op == OND_OP_DELETE ? OND_ROUTE_DELETE : op == OND_OP_UPDATE ? OND_ROUTE_UPDATE : OND_ROUTE_CREATE;
}

const char *ond_stop_name(OndStop s) {
  static const char *const names[] = {"none", "cancelled", "timeout", "breaker", "auth", "refusals", "rate", "commit", "script"};

  return names[s];
}

OndOutcome ond_delivery_outcome(OndAnswer answer, int http_status) {
  switch (answer) {
    case OND_ANSWER_REFUSED: return OND_OUT_REJECTED;
    case OND_ANSWER_THROTTLED: return OND_OUT_THROTTLED;
    case OND_ANSWER_AUTH: return OND_OUT_AUTH;
    case OND_ANSWER_UNAVAILABLE: return OND_OUT_UNAVAILABLE;
    case OND_ANSWER_IN_DOUBT: return http_status >= 500 ? OND_OUT_UNAVAILABLE : OND_OUT_UNKNOWN;
    case OND_ANSWER_READ: /* its rows have outcomes of their own */
    case OND_ANSWER_AGAIN:
    case OND_ANSWER_CONTINUE: break;
  }
  return OND_OUT_UNKNOWN;
}

void ond_delivery_policy_default(OndDeliveryPolicy *p) {
  memset(p, 0, sizeof(*p));
  p->concurrency = 4;
  ond_retry_policy_default(&p->retry);
  p->create.batch_rows = p->update.batch_rows = p->delete.batch_rows = p->lookup.batch_rows = 1;
  p->lookup.bisect = p->lookup.repeat_in_doubt = p->lookup.reads = true;
  p->breaker_failures = 10;
  p->breaker_auth = 3;
  p->breaker_refusals = 100;
  p->breaker_throttled = 20;
  p->permit_wait_max_us = 900000000;
  p->window_rows_max = 20000;
  p->window_bytes_max = 32 * 1024 * 1024;
  p->ack_rows = 2000;
  p->ack_us = 200000;
}

const OndDeliveryOp *ond_delivery_op(const OndDeliveryPolicy *p, OndRoute route) {
  switch (route) {
    case OND_ROUTE_DELETE: return &p->delete;
    case OND_ROUTE_UPDATE: return &p->update;
    case OND_ROUTE_LOOKUP: return &p->lookup;
    case OND_ROUTE_CREATE: break;
  }
  return &p->create;
}

OndStop ond_delivery_note(const OndDeliveryPolicy *p, OndDeliveryHealth *h, OndAnswer answer) {
  switch (answer) {
    case OND_ANSWER_READ:
    case OND_ANSWER_CONTINUE:
    case OND_ANSWER_REFUSED: memset(h, 0, sizeof(*h)); break;
    case OND_ANSWER_AUTH: h->auth_failures++; break;
    case OND_ANSWER_UNAVAILABLE:
    case OND_ANSWER_IN_DOUBT: h->failures++; break;
    case OND_ANSWER_AGAIN: break;
    case OND_ANSWER_THROTTLED: h->throttled++; break; /* the pause is the answer to that, for a while */
  }
  if (h->failures >= p->breaker_failures)
    return OND_STOP_BREAKER;
  if (h->auth_failures >= p->breaker_auth)
    return OND_STOP_AUTH;
  return h->throttled >= p->breaker_throttled ? OND_STOP_RATE : OND_STOP_NONE;
}

bool ond_delivery_may_hold(const OndDeliveryPolicy *p, int64_t rows, size_t bytes) {
  return rows == 0 || (bytes < p->window_bytes_max && rows < (int64_t)HELD_WINDOWS * p->window_rows_max);
}

int ond_delivery_window_min(const OndDeliveryPolicy *p, OndRoute route) {
  int64_t rows = (int64_t)ond_delivery_op(p, route)->batch_rows * p->concurrency;

  return rows < p->window_rows_max ? (int)rows : p->window_rows_max;
}

int ond_delivery_window_next(const OndDeliveryPolicy *p, OndRoute route, int rows, int64_t used_us, bool first) {
  int least = ond_delivery_window_min(p, route);

  if (!first && used_us < WINDOW_FAST_US)
    rows = rows < p->window_rows_max / 2 ? rows * 2 : p->window_rows_max;
  else if (used_us > WINDOW_SLOW_US)
    rows /= 2;
  if (rows < least)
    rows = least;
  return rows > p->window_rows_max ? p->window_rows_max : rows;
}
