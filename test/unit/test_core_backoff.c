/*
 * test_core_backoff.c - delays stay inside their bounds and reach them; Retry-After in all its forms.
 */
#include <stdint.h>
#include <string.h>
#include "core/backoff.h"
#include "unit.h"

#define S INT64_C(1000000)

TEST(backoff_defaults) {
  OndRetryPolicy p;

  ond_retry_policy_default(&p);
  CHECK_INT(p.attempts, 5);
  CHECK_INT(p.base_us, S / 2);
  CHECK_INT(p.max_us, 60 * S);
  CHECK_INT(p.retry_after_max_us, 600 * S);
}

TEST(backoff_full_jitter_covers_the_whole_range) {
  static const int64_t CEILINGS[] = {500000, 1000000, 2000000, 4000000, 8000000, 16000000, 32000000, 60000000, 60000000};
  OndRetryPolicy p;

  ond_retry_policy_default(&p);
  for (int attempt = 1; attempt <= 9; attempt++) {
    unsigned long long random = 3;
    int64_t ceiling = CEILINGS[attempt - 1];
    int quarters[4] = {0};

    CHECK_INT(ond_backoff_us(&p, attempt, -1, 0), 0);
    CHECK_INT(ond_backoff_us(&p, attempt, -1, UINT64_MAX), ceiling);
    for (int i = 0; i < 4000; i++) {
      int64_t delay = ond_backoff_us(&p, attempt, -1, unit_random(&random));

      if (!CHECK(delay >= 0 && delay <= ceiling)) {
        return;
      }
      quarters[delay * 4 / (ceiling + 1)]++;
    }
    for (int q = 0; q < 4; q++) {
      CHECK(quarters[q] > 850 && quarters[q] < 1150);
    }
  }
}

TEST(backoff_waits_for_retry_after_up_to_its_ceiling) {
  OndRetryPolicy p;

  ond_retry_policy_default(&p);
  CHECK_INT(ond_backoff_us(&p, 1, 5 * S, 0), 5 * S);
  CHECK_INT(ond_backoff_us(&p, 1, 5 * S, UINT64_MAX), 5 * S);
  CHECK_INT(ond_backoff_us(&p, 20, 5 * S, UINT64_MAX), 60 * S); /* never earlier, but later is fine */
  CHECK_INT(ond_backoff_us(&p, 1, 0, 0), 0);
  CHECK_INT(ond_backoff_us(&p, 1, 3600 * S, 0), 600 * S);
  CHECK_INT(ond_backoff_us(&p, 1, INT64_MAX, 0), 600 * S);
}

TEST(backoff_takes_odd_policies) {
  OndRetryPolicy p = {1, 0, 0, 0};

  CHECK_INT(ond_backoff_us(&p, 3, -1, UINT64_MAX), 0);
  p = (OndRetryPolicy){1, INT64_MAX, INT64_MAX, INT64_MAX};
  CHECK_INT(ond_backoff_us(&p, 3, -1, UINT64_MAX), INT64_MAX);
  p = (OndRetryPolicy){1, 3, INT64_MAX, 0};
  CHECK_INT(ond_backoff_us(&p, INT32_MAX, -1, UINT64_MAX), INT64_MAX);
  CHECK_INT(ond_backoff_us(&p, 0, -1, UINT64_MAX), 3);
  CHECK_INT(ond_backoff_us(&p, INT32_MIN + 1, -1, UINT64_MAX), 3);
  p = (OndRetryPolicy){1, 100 * S, 10 * S, 0};
  CHECK_INT(ond_backoff_us(&p, 1, -1, UINT64_MAX), 10 * S);
}

TEST(backoff_between_runs_grows_to_six_hours) {
  static const int64_t MINUTES[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360};

  for (int n = 1; n <= 11; n++) {
    CHECK_INT(ond_backoff_between_runs_us(n), MINUTES[n - 1] * 60 * S);
  }
  CHECK_INT(ond_backoff_between_runs_us(0), 60 * S);
  CHECK_INT(ond_backoff_between_runs_us(INT32_MAX), 360 * 60 * S);
}

/* 1994-11-06 08:49:37 UTC: the example of RFC 9110. */
#define EXAMPLE INT64_C(784111777)

static void check_retry_after(const char *value, int64_t now_s, int64_t expected_us) {
  int64_t us = ond_retry_after_us(value, strlen(value), now_s);

  if (!CHECK_INT(us, expected_us)) {
    unit_note("Retry-After: %s", value);
  }
}

TEST(retry_after_seconds) {
  check_retry_after("0", 0, 0);
  check_retry_after("120", 0, 120 * S);
  check_retry_after(" \t7 ", 0, 7 * S);
  check_retry_after("007", 0, 7 * S);
  check_retry_after("315619200", 0, 315619200 * S);
  check_retry_after("315619201", 0, 315619200 * S); /* the ceiling: ten years */
  check_retry_after("9223372036854775808", 0, 315619200 * S);
  check_retry_after("99999999999999999999999999999999999999", 0, 315619200 * S);
}

TEST(retry_after_dates_in_three_forms) {
  static const char *const FORMS[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"};

  for (int i = 0; i < 3; i++) {
    check_retry_after(FORMS[i], EXAMPLE, 0);
    check_retry_after(FORMS[i], EXAMPLE - 90, 90 * S);
    check_retry_after(FORMS[i], EXAMPLE - 86400, 86400 * S);
    check_retry_after(FORMS[i], EXAMPLE + 1, 0);
    check_retry_after(FORMS[i], EXAMPLE + 400000000, 0);
  }
  check_retry_after("Wed Nov 16 08:49:37 1994", EXAMPLE, 864000 * S);
  check_retry_after("Thu, 29 Feb 2024 23:59:59 GMT", 1709164800, 86399 * S);
  check_retry_after("Sat, 31 Dec 2016 23:59:60 GMT", 1483228799, S);
  check_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", 0, 315619200 * S);
  check_retry_after("Mon, 01 Jan 0001 00:00:00 GMT", 0, 0);
}

TEST(retry_after_two_digit_years) {
  const int64_t in_2026 = 1767225600; /* 2026-01-01 */
  const int64_t in_2099 = 4070908800; /* 2099-01-01 */

  check_retry_after("Friday, 02-Jan-26 00:00:00 GMT", in_2026, 86400 * S);
  check_retry_after("Saturday, 02-Jan-27 00:00:00 GMT", in_2026, 366 * 86400 * S);
  check_retry_after("Sunday, 06-Nov-94 08:49:37 GMT", in_2026, 0);               /* 2094 is too far: 1994 */
  check_retry_after("Sunday, 06-Nov-77 08:49:37 GMT", in_2026, 0);               /* 1977 */
  check_retry_after("Sunday, 06-Nov-76 08:49:37 GMT", in_2026, 315619200 * S);   /* 2076: fifty years, not more */
  check_retry_after("Friday, 01-Jan-00 00:00:00 GMT", in_2099, 365 * 86400 * S); /* 2100 */
}

TEST(retry_after_garbage) {
  static const char *const BAD[] = {"",
                                    " ",
                                    "-1",
                                    "+1",
                                    "1.5",
                                    "1s",
                                    "0x10",
                                    "1 2",
                                    "soon",
                                    "12,13",
                                    "Sun, 06 Nov 1994 08:49:37",
                                    "Sun, 06 Nov 1994 08:49:37 GMT+1",
                                    "Sun, 06 Nov 1994 08:49:37 PST",
                                    "Sun, 06 Nov 1994 08:49:37 GMTx",
                                    "Sun, 06 Nov 1994 24:00:00 GMT",
                                    "Sun, 06 Nov 1994 08:60:00 GMT",
                                    "Sun, 06 Nov 1994 08:49:61 GMT",
                                    "Sun, 31 Feb 1994 08:49:37 GMT",
                                    "Wed, 29 Feb 2023 08:49:37 GMT",
                                    "Sun, 00 Nov 1994 08:49:37 GMT",
                                    "Sun, 6 Nov 1994 08:49:37 GMT",
                                    "Sun, 06 Foo 1994 08:49:37 GMT",
                                    "Xyz, 06 Nov 1994 08:49:37 GMT",
                                    "Sun,06 Nov 1994 08:49:37 GMT",
                                    "Sunday, 06 Nov 1994 08:49:37 GMT",
                                    "Sunday, 06-Nov-1994 08:49:37 GMT",
                                    "Sun, 06-Nov-94 08:49:37 GMT",
                                    "Sun Nov 6 08:49:37 1994",
                                    "Sun Nov   6 08:49:37 1994",
                                    "Sun Nov  6 08:49:37 94",
                                    "Sun Nov  6 08:49:37 1994 GMT",
                                    "1994-11-06T08:49:37Z",
                                    "Sun, 06 Nov 1994"};

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    check_retry_after(BAD[i], EXAMPLE, -1);
  }
}

TEST(retry_after_does_not_read_past_its_end) {
  static const char *const FORMS[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"};

  for (int i = 0; i < 3; i++) {
    size_t n = strlen(FORMS[i]);

    CHECK_INT(ond_retry_after_us(FORMS[i], n, EXAMPLE), 0);
    for (size_t cut = 0; cut < n; cut++) {
      CHECK_INT(ond_retry_after_us(FORMS[i], cut, EXAMPLE), -1);
    }
  }
  CHECK_INT(ond_retry_after_us("1234", 2, 0), 12 * S);
  CHECK_INT(ond_retry_after_us("12\0", 3, 0), -1);
}

static int64_t reset(const char *value) {
  return ond_rate_reset_us(value, strlen(value), 1767225600);
}

TEST(rate_reset_seconds_and_moments) {
  CHECK_INT(reset("0"), 0);
  CHECK_INT(reset(" 30 "), 30 * S);
  CHECK_INT(reset("0.25"), S); /* rounded up */
  CHECK_INT(reset("2.000"), 2 * S);
  CHECK_INT(reset("1000000000"), 3653 * INT64_C(86400) * S); /* seconds, at most ten years */
  CHECK_INT(reset("1767225660"), 60 * S);
  CHECK_INT(reset("1767225600.5"), S);
  CHECK_INT(reset("1767225000"), 0); /* past */
  CHECK_INT(reset("1767225660001"), 61 * S);
  CHECK_INT(reset("9223372036854775807"), 3653 * INT64_C(86400) * S);
  CHECK_INT(reset("99999999999999999999999999"), 3653 * INT64_C(86400) * S);
}

TEST(rate_reset_refuses_what_is_no_number) {
  static const char *const NONE[] = {"", " ", "-1", "12abc", "0x10", ".5", "1.5.5", "1e3", "Thu, 01 Jan 2026 00:00:00 GMT"};

  for (size_t i = 0; i < sizeof(NONE) / sizeof(NONE[0]); i++) {
    CHECK_INT(reset(NONE[i]), -1);
  }
}
