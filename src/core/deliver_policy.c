/*
 * deliver_policy.c - what delivery does when nobody says otherwise, and the names of why it ends.
 */
#include <string.h>

#include "core/deliver.h"

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
