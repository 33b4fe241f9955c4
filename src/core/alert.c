/*
 * alert.c - see alert.h.
 */
#include "core/alert.h"

#include <string.h>

#define SECOND_US      INT64_C(1000000)
#define WAIT_FIRST_S   10
#define WAIT_MAX_S     3600
#define WAIT_DOUBLINGS 10

static const char *const names[] = {"ok", "slow", "partial", "no_run", "failed", "held", "error"};

const char *ond_problem_name(OndProblem p) {
  return names[p];
}

OndProblem ond_problem_parse(const char *name) {
  for (int i = 0; i <= OND_PROBLEM_ERROR; i++) {
    if (strcmp(names[i], name) == 0)
      return (OndProblem)i;
  }
  return OND_PROBLEM_OK;
}

/* Whether `at` has passed; if not, that is when things may change. */
static bool has_passed(int64_t at, int64_t now, int64_t *changes_at) {
  if (at <= now)
    return true;
  if (at < *changes_at)
    *changes_at = at;
  return false;
}

static bool is_slow(const OndAlertRules *r, const OndAlertFacts *f, int64_t now, int64_t *changes_at) {
  if (r->slower_than_us == 0)
    return false;
  if (f->running_since > 0 && has_passed(f->running_since + r->slower_than_us, now, changes_at))
    return true;
  return f->took_us > r->slower_than_us;
}

static bool is_partial(const OndAlertRules *r, const OndAlertFacts *f) {
  return r->partial_percent >= 0 && f->rows_left > 0 && (double)f->rows_left * 100 > r->partial_percent * (double)f->rows;
}

OndProblem ond_alert_judge(const OndAlertRules *r, const OndAlertFacts *f, int64_t now, int64_t *changes_at) {
  bool slow, late;

  *changes_at = INT64_MAX;
  if (f->rests)
    return OND_PROBLEM_OK;
  slow = is_slow(r, f, now, changes_at);
  late = r->no_run_us > 0 && has_passed(f->good_since + r->no_run_us, now, changes_at);
  if (f->error && r->error)
    return OND_PROBLEM_ERROR;
  if (f->held && r->held)
    return OND_PROBLEM_HELD;
  if (r->failed > 0 && f->failures >= r->failed)
    return OND_PROBLEM_FAILED;
  if (late)
    return OND_PROBLEM_NO_RUN;
  if (is_partial(r, f))
    return OND_PROBLEM_PARTIAL;
  return slow ? OND_PROBLEM_SLOW : OND_PROBLEM_OK;
}

int64_t ond_alert_wait_us(int attempts) {
  int64_t s = attempts > WAIT_DOUBLINGS ? WAIT_MAX_S : (int64_t)WAIT_FIRST_S << (attempts > 0 ? attempts - 1 : 0);

  return (s < WAIT_MAX_S ? s : WAIT_MAX_S) * SECOND_US;
}
