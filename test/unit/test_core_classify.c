/*
 * test_core_classify.c - the whole table: every transfer with every status from below 0 to above 999.
 */
#include <stdlib.h>
#include "core/classify.h"
#include "unit.h"

/* Written out a second time, status by status. */
static OndAnswer expected_by_default(int status) {
  if (status >= 200 && status < 300) {
    return OND_ANSWER_READ;
  }
  if (status == 401 || status == 403 || status == 407) {
    return OND_ANSWER_AUTH;
  }
  if (status == 408 || status == 425) {
    return OND_ANSWER_UNAVAILABLE;
  }
  if (status == 429) {
    return OND_ANSWER_THROTTLED;
  }
  if (status >= 300 && status < 500) {
    return OND_ANSWER_REFUSED;
  }
  return OND_ANSWER_IN_DOUBT;
}

TEST(classify_default_table) {
  static const OndStatusRules EMPTY = {0};

  for (int status = -1; status <= 1000; status++) {
    CHECK_INT(ond_classify(OND_TRANSFER_OK, status, NULL), expected_by_default(status));
    CHECK_INT(ond_classify(OND_TRANSFER_OK, status, &EMPTY), expected_by_default(status));
  }
}

TEST(classify_a_transfer_that_failed_ignores_the_status) {
  static const int FINE[] = {200, 404, 0};
  static const OndStatusRules RULES = {FINE, FINE, FINE};

  for (int status = 0; status < 600; status++) {
    CHECK_INT(ond_classify(OND_TRANSFER_NOT_SENT, status, &RULES), OND_ANSWER_UNAVAILABLE);
    CHECK_INT(ond_classify(OND_TRANSFER_NO_ANSWER, status, &RULES), OND_ANSWER_IN_DOUBT);
    CHECK_INT(ond_classify(OND_TRANSFER_TOO_LARGE, status, &RULES), OND_ANSWER_IN_DOUBT);
  }
}

TEST(classify_rules_win_and_touch_nothing_else) {
  static const int FINE[] = {404, 410, 0};
  static const int REFUSED[] = {500, 429, 0};
  static const int RETRY[] = {409, 423, 503, 0};
  static const OndStatusRules RULES = {FINE, REFUSED, RETRY};

  for (int status = 100; status < 600; status++) {
    OndAnswer expected = expected_by_default(status);

    if (status == 404 || status == 410) {
      expected = OND_ANSWER_READ;
    } else if (status == 500 || status == 429) {
      expected = OND_ANSWER_REFUSED;
    } else if (status == 409 || status == 423 || status == 503) {
      expected = OND_ANSWER_UNAVAILABLE;
    }
    CHECK_INT(ond_classify(OND_TRANSFER_OK, status, &RULES), expected);
  }
}

TEST(classify_order_of_the_lists) {
  static const int SAME[] = {418, 0};
  static const OndStatusRules ALL = {SAME, SAME, SAME};
  static const OndStatusRules TWO = {NULL, SAME, SAME};
  static const OndStatusRules ONE = {NULL, NULL, SAME};

  CHECK_INT(ond_classify(OND_TRANSFER_OK, 418, &ALL), OND_ANSWER_READ);
  CHECK_INT(ond_classify(OND_TRANSFER_OK, 418, &TWO), OND_ANSWER_REFUSED);
  CHECK_INT(ond_classify(OND_TRANSFER_OK, 418, &ONE), OND_ANSWER_UNAVAILABLE);
}

TEST(classify_a_429_to_retry_still_throttles) {
  static const int RETRY[] = {429, 0};
  static const OndStatusRules RULES = {NULL, NULL, RETRY};

  CHECK_INT(ond_classify(OND_TRANSFER_OK, 429, &RULES), OND_ANSWER_THROTTLED);
}

TEST(classify_bisects_only_refusals_about_rows) {
  static const int FINE[] = {400, 0};
  static const int REFUSED[] = {500, 0};
  static const int RETRY[] = {422, 0};
  static const OndStatusRules RULES = {FINE, REFUSED, RETRY};

  for (int status = 0; status < 1000; status++) {
    CHECK(ond_classify_bisect(status, NULL) == (status == 400 || status == 413 || status == 422));
    CHECK(ond_classify_bisect(status, &RULES) == (status == 413 || status == 500));
  }
}

TEST(classify_what_may_still_arrive) {
  CHECK(ond_classify_may_arrive(OND_ANSWER_IN_DOUBT, 0));
  CHECK(ond_classify_may_arrive(OND_ANSWER_IN_DOUBT, 502) && ond_classify_may_arrive(OND_ANSWER_IN_DOUBT, 504));
  CHECK(!ond_classify_may_arrive(OND_ANSWER_IN_DOUBT, 500) && !ond_classify_may_arrive(OND_ANSWER_IN_DOUBT, 503));
  CHECK(!ond_classify_may_arrive(OND_ANSWER_UNAVAILABLE, 0) && !ond_classify_may_arrive(OND_ANSWER_READ, 200));
}

TEST(classify_retries) {
  CHECK(!ond_classify_retry(OND_ANSWER_READ));
  CHECK(!ond_classify_retry(OND_ANSWER_REFUSED));
  CHECK(!ond_classify_retry(OND_ANSWER_AUTH));
  CHECK(ond_classify_retry(OND_ANSWER_THROTTLED));
  CHECK(ond_classify_retry(OND_ANSWER_UNAVAILABLE));
  CHECK(ond_classify_retry(OND_ANSWER_IN_DOUBT));
}
