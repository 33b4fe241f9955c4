/*
 * classify.c - what an answer means, before its body is read.
 *
 * The whole of it is two tables (one by transfer, one by status) and the connector's lists, which win in the order fine,
 * refused, retry. Definite answers ("the server did not do it") are told from doubt ("it may have"): that is what
 * decides whether another value of a key may be sent.
 */
#include "core/classify.h"

#include <stddef.h>

typedef struct StatusRange {
  int first;
  int last;
  OndAnswer answer;
} StatusRange;

/* The first range that fits counts. What none of them names is no answer that HTTP knows. */
static const StatusRange STATUS_RANGES[] = {
    {200, 299, OND_ANSWER_READ},        {300, 399, OND_ANSWER_REFUSED}, /* redirects are not followed: the request was not carried out */
    {401, 401, OND_ANSWER_AUTH},        {403, 403, OND_ANSWER_AUTH},    {407, 407, OND_ANSWER_AUTH},
    {408, 408, OND_ANSWER_UNAVAILABLE}, /* the server gave up waiting for the request */
    {425, 425, OND_ANSWER_UNAVAILABLE}, /* too early: the server declined to act on it */
    {429, 429, OND_ANSWER_THROTTLED},   {400, 499, OND_ANSWER_REFUSED}, {500, 599, OND_ANSWER_IN_DOUBT},
};

static const int BISECT_STATUSES[] = {400, 413, 422, 0};

static bool list_has(const int *list, int status) {
  for (; list && *list; list++) {
    if (*list == status) {
      return true;
    }
  }
  return false;
}

static OndAnswer classify_status(int http_status, const OndStatusRules *rules) {
  if (rules && list_has(rules->fine, http_status)) {
    return OND_ANSWER_READ;
  }
  if (rules && list_has(rules->refused, http_status)) {
    return OND_ANSWER_REFUSED;
  }
  if (rules && list_has(rules->retry, http_status)) {
    /* A 429 still says "slow down" to everybody who uses the destination. */
    return http_status == 429 ? OND_ANSWER_THROTTLED : OND_ANSWER_UNAVAILABLE;
  }
  for (size_t i = 0; i < sizeof(STATUS_RANGES) / sizeof(STATUS_RANGES[0]); i++) {
    if (http_status >= STATUS_RANGES[i].first && http_status <= STATUS_RANGES[i].last) {
      return STATUS_RANGES[i].answer;
    }
  }
  return OND_ANSWER_IN_DOUBT;
}

OndAnswer ond_classify(OndTransfer transfer, int http_status, const OndStatusRules *rules) {
  switch (transfer) {
  case OND_TRANSFER_OK: return classify_status(http_status, rules);
  case OND_TRANSFER_NOT_SENT: return OND_ANSWER_UNAVAILABLE;
  case OND_TRANSFER_NO_ANSWER:
  case OND_TRANSFER_TOO_LARGE: break;
  }
  return OND_ANSWER_IN_DOUBT;
}

bool ond_classify_bisect(int http_status, const OndStatusRules *rules) {
  return classify_status(http_status, rules) == OND_ANSWER_REFUSED &&
         (list_has(BISECT_STATUSES, http_status) || (rules && list_has(rules->refused, http_status)));
}

bool ond_classify_may_arrive(OndAnswer answer, int http_status) {
  return answer == OND_ANSWER_IN_DOUBT && (http_status == 0 || http_status == 502 || http_status == 504);
}

bool ond_classify_retry(OndAnswer answer) {
  return answer == OND_ANSWER_THROTTLED || answer == OND_ANSWER_UNAVAILABLE || answer == OND_ANSWER_IN_DOUBT;
}
