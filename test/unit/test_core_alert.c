/*
 * test_core_alert.c - what makes a problem, which one is worse, and when time alone changes it.
 */
#include <stdint.h>
#include "core/alert.h"
#include "unit.h"

#define S INT64_C(1000000)

static const OndAlertRules all = {.failed = 2, .held = true, .error = true, .partial_percent = 5, .slower_than_us = 60 * S, .no_run_us = 3600 * S};

static OndProblem judge(const OndAlertRules *rules, OndAlertFacts facts) {
  int64_t changes_at;

  return ond_alert_judge(rules, &facts, 10000 * S, &changes_at);
}

TEST(a_sync_has_the_worst_problem_that_holds) {
  OndAlertFacts f = {.error = true, .held = true, .failures = 9, .rows = 100, .rows_left = 50, .took_us = 61 * S, .good_since = 1};

  CHECK_INT(judge(&all, f), OND_PROBLEM_ERROR);
  f.error = false;
  CHECK_INT(judge(&all, f), OND_PROBLEM_HELD);
  f.held = false;
  CHECK_INT(judge(&all, f), OND_PROBLEM_FAILED);
  f.failures = 1;
  CHECK_INT(judge(&all, f), OND_PROBLEM_NO_RUN);
  f.good_since = 9000 * S;
  CHECK_INT(judge(&all, f), OND_PROBLEM_PARTIAL);
  f.rows_left = 5;
  CHECK_INT(judge(&all, f), OND_PROBLEM_SLOW);
  f.took_us = 60 * S;
  CHECK_INT(judge(&all, f), OND_PROBLEM_OK);
}

TEST(what_is_not_watched_is_no_problem) {
  static const OndAlertRules none = {.partial_percent = -1};
  OndAlertFacts f = {.error = true, .held = true, .failures = 9, .rows = 100, .rows_left = 100, .took_us = 9000 * S, .running_since = 1};

  CHECK_INT(judge(&none, f), OND_PROBLEM_OK);
}

TEST(a_sync_that_rests_has_no_problem) {
  OndAlertFacts f = {.rests = true, .held = true, .failures = 9, .rows = 100, .rows_left = 100, .running_since = 1};
  int64_t changes_at;

  CHECK_INT(ond_alert_judge(&all, &f, 10000 * S, &changes_at), OND_PROBLEM_OK);
  CHECK_INT(changes_at, INT64_MAX);
}

TEST(time_alone_makes_a_run_slow_and_a_sync_late) {
  OndAlertFacts f = {.running_since = 100 * S, .good_since = 50 * S};
  int64_t changes_at;

  CHECK_INT(ond_alert_judge(&all, &f, 120 * S, &changes_at), OND_PROBLEM_OK);
  CHECK_INT(changes_at, 160 * S);
  CHECK_INT(ond_alert_judge(&all, &f, 160 * S, &changes_at), OND_PROBLEM_SLOW);
  CHECK_INT(changes_at, 3650 * S);
  CHECK_INT(ond_alert_judge(&all, &f, 3650 * S, &changes_at), OND_PROBLEM_NO_RUN);
  CHECK_INT(changes_at, INT64_MAX);
}

TEST(any_row_is_too_many_at_0_percent_and_none_of_an_empty_model) {
  static const OndAlertRules any = {.partial_percent = 0};

  CHECK_INT(judge(&any, (OndAlertFacts){.rows = 1000000, .rows_left = 1}), OND_PROBLEM_PARTIAL);
  CHECK_INT(judge(&any, (OndAlertFacts){.rows = 0, .rows_left = 0}), OND_PROBLEM_OK);
}

TEST(problems_have_names) {
  for (int p = OND_PROBLEM_OK; p <= OND_PROBLEM_ERROR; p++)
    CHECK_INT(ond_problem_parse(ond_problem_name((OndProblem)p)), p);
  CHECK_INT(ond_problem_parse("nothing"), OND_PROBLEM_OK);
}

TEST(waits_grow_to_an_hour) {
  CHECK_INT(ond_alert_wait_us(1), 10 * S);
  CHECK_INT(ond_alert_wait_us(2), 20 * S);
  CHECK_INT(ond_alert_wait_us(9), 2560 * S);
  CHECK_INT(ond_alert_wait_us(10), 3600 * S);
  CHECK_INT(ond_alert_wait_us(INT32_MAX), 3600 * S);
}
