/*
 * test_core_schedule.c - the calendar, what schedules may say, and that the next due time is on the grid, after now,
 * and the first such one.
 */
#include <stdint.h>
#include <string.h>
#include <time.h>
#include "core/civil.h"
#include "core/schedule.h"
#include "unit.h"

#define S      INT64_C(1000000)
#define MINUTE (60 * S)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

TEST(civil_counts_every_day_of_a_thousand_years) {
  OndDate date = {1500, 1, 1};
  int64_t days = ond_civil_to_days(date);
  int wrong = 0;

  CHECK_INT(ond_civil_to_days((OndDate){1970, 1, 1}), 0);
  CHECK_INT(ond_civil_to_days((OndDate){2000, 3, 1}), 11017);
  for (; date.year < 2500; days++) {
    OndDate back = ond_civil_from_days(days);

    wrong += ond_civil_to_days(date) != days || back.year != date.year || back.month != date.month || back.day != date.day;
    wrong += !ond_civil_is_date(date);
    if (++date.day > ond_civil_month_days(date.year, date.month)) {
      wrong += ond_civil_is_date(date);
      date.day = 1;
      if (++date.month > 12) {
        date.month = 1;
        date.year++;
      }
    }
  }
  CHECK_INT(wrong, 0);
}

TEST(civil_agrees_with_the_c_library) {
  unsigned long long random = 11;

  for (int i = 0; i < 5000; i++) {
    time_t t = (time_t)(unit_random(&random) % 2000000000000ULL) - 1000000000000LL;
    struct tm tm;
    OndDate date = ond_civil_from_days(ond_floor_div(t, 86400));

    if (!CHECK(gmtime_r(&t, &tm)) || !CHECK_INT(date.year, tm.tm_year + 1900LL) || !CHECK_INT(date.month, tm.tm_mon + 1) ||
        !CHECK_INT(date.day, tm.tm_mday)) {
      return;
    }
  }
}

static void check_interval(const char *text, int32_t months, int64_t us) {
  OndSchedule s;
  OndError err = {0};

  if (!CHECK(ond_schedule_parse(text, &s, &err)) || !CHECK_INT(s.kind, OND_SCHEDULE_INTERVAL) || !CHECK_INT(s.months, months) ||
      !CHECK_INT(s.us, us)) {
    unit_note("\"%s\": %s", text, err.message);
  }
}

TEST(schedule_parses_intervals) {
  check_interval("90 seconds", 0, 90 * S);
  check_interval("15 minutes", 0, 15 * MINUTE);
  check_interval("1 second", 0, S);
  check_interval("1s", 0, S);
  check_interval("  5   min  ", 0, 5 * MINUTE);
  check_interval("1h 30m", 0, 90 * MINUTE);
  check_interval("1h30m", 0, 90 * MINUTE);
  check_interval("1 day 2 hours 3 minutes 4 seconds", 0, DAY + 2 * HOUR + 3 * MINUTE + 4 * S);
  check_interval("1 DAY\t12 Hours", 0, 36 * HOUR);
  check_interval("2 w", 0, 14 * DAY);
  check_interval("2 hr", 0, 2 * HOUR);
  check_interval("3 d", 0, 3 * DAY);
  check_interval("7 sec", 0, 7 * S);
  check_interval("1 month", 1, 0);
  check_interval("3 mon", 3, 0);
  check_interval("6 months", 6, 0);
  check_interval("1 year", 12, 0);
  check_interval("1 month 2 months", 3, 0);
  check_interval("366 days", 0, 366 * DAY);
  check_interval("31622400 s", 0, 366 * DAY);
  check_interval("0 days 5 minutes", 0, 5 * MINUTE);
}

static void check_kind(const char *text, OndScheduleKind kind) {
  OndSchedule s;
  OndError err = {0};

  if (!CHECK(ond_schedule_parse(text, &s, &err)) || !CHECK_INT(s.kind, kind)) {
    unit_note("\"%s\": %s", text, err.message);
  }
}

TEST(schedule_knows_manual_and_cron) {
  check_kind("manual", OND_SCHEDULE_MANUAL);
  check_kind(" Manual ", OND_SCHEDULE_MANUAL);
  check_kind("*/5 * * * *", OND_SCHEDULE_CRON);
  check_kind("0 9 * * mon-fri", OND_SCHEDULE_CRON);
  check_kind("0 9 1 JAN *", OND_SCHEDULE_CRON);
  check_kind(" 0,30 0-6/2 $ * 7 ", OND_SCHEDULE_CRON);
  check_kind("1 2 3 4 5", OND_SCHEDULE_CRON);
}

TEST(schedule_refuses) {
  static const char *const BAD[] = {"",
                                    " ",
                                    "0 seconds",
                                    "0s",
                                    "-5 minutes",
                                    "+5 minutes",
                                    "1.5 hours",
                                    "five minutes",
                                    "15",
                                    "minutes",
                                    "15 minutess",
                                    "15 fortnights",
                                    "every 15 minutes",
                                    "15 minutes,",
                                    "00:15:00",
                                    "manually",
                                    "man ual",
                                    "1 month 1 day",
                                    "1 day 1 month",
                                    "1 month 1 second",
                                    "13 months",
                                    "2 years",
                                    "1 year 1 month",
                                    "12 months 1 month",
                                    "367 days",
                                    "366 days 1 second",
                                    "53 weeks",
                                    "31622401 seconds",
                                    "99999999999999999999 seconds",
                                    "31622400 weeks",
                                    "31622400 years",
                                    "* * * *",
                                    "* * * * * *",
                                    "a b c d e",
                                    "* * * * %",
                                    "@hourly",
                                    "100 ms",
                                    "15 minutes or so ok",
                                    "1 secondsecondsecond"};

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    OndSchedule s;
    OndError err = {0};

    if (!CHECK(!ond_schedule_parse(BAD[i], &s, &err)) || !CHECK(strstr(err.hint, "15 minutes") != NULL)) {
      unit_note("accepted \"%s\"", BAD[i]);
    }
  }
}

TEST(schedule_refuses_endless_text) {
  static char text[100000];
  OndSchedule s;
  OndError err;

  memset(text, '1', sizeof(text) - 1);
  CHECK(!ond_schedule_parse(text, &s, &err));
  memset(text, ' ', sizeof(text) - 1);
  CHECK(!ond_schedule_parse(text, &s, &err));
}

static int64_t at(int64_t year, int month, int day, int64_t us) {
  return ond_civil_to_days((OndDate){year, month, day}) * DAY + us;
}

static int64_t next(const char *text, int64_t anchor, int64_t now) {
  OndSchedule s;
  OndError err;

  CHECK(ond_schedule_parse(text, &s, &err));
  return ond_schedule_next(&s, anchor, now);
}

TEST(schedule_next_is_anchored) {
  const int64_t anchor = at(2026, 1, 1, 3 * MINUTE);

  CHECK_INT(next("15 minutes", anchor, anchor), anchor + 15 * MINUTE);
  CHECK_INT(next("15 minutes", anchor, anchor + 1), anchor + 15 * MINUTE);
  CHECK_INT(next("15 minutes", anchor, anchor + 15 * MINUTE - 1), anchor + 15 * MINUTE);
  CHECK_INT(next("15 minutes", anchor, anchor + 15 * MINUTE), anchor + 30 * MINUTE);
  CHECK_INT(next("15 minutes", anchor, anchor - 1), anchor);
}

TEST(schedule_next_makes_up_missed_runs_once) {
  const int64_t anchor = at(2026, 1, 1, 0);

  /* Down for ten days and seven minutes: one due time is ahead, on the grid. */
  CHECK_INT(next("15 minutes", anchor, anchor + 10 * DAY + 7 * MINUTE), anchor + 10 * DAY + 15 * MINUTE);
  CHECK_INT(next("1 month", anchor, at(2027, 7, 4, 5)), at(2027, 8, 1, 0));
}

TEST(schedule_next_with_an_anchor_in_the_future_keeps_the_phase) {
  const int64_t anchor = at(2030, 6, 15, 7 * MINUTE);

  CHECK_INT(next("1 hour", anchor, at(2026, 1, 1, 0)), at(2026, 1, 1, 7 * MINUTE));
  CHECK_INT(next("1 hour", anchor, at(2026, 1, 1, 7 * MINUTE)), at(2026, 1, 1, HOUR + 7 * MINUTE));
  CHECK_INT(next("1 month", anchor, at(2026, 1, 1, 0)), at(2026, 1, 15, 7 * MINUTE));
  CHECK_INT(next("1 month", anchor, at(2026, 1, 15, 7 * MINUTE)), at(2026, 2, 15, 7 * MINUTE));
  CHECK_INT(next("3 months", anchor, at(2029, 12, 15, 7 * MINUTE)), at(2030, 3, 15, 7 * MINUTE));
}

TEST(schedule_next_at_the_ends_of_months) {
  const int64_t anchor = at(2024, 1, 31, 9 * HOUR);

  CHECK_INT(next("1 month", anchor, anchor), at(2024, 2, 29, 9 * HOUR));
  CHECK_INT(next("1 month", anchor, at(2024, 2, 29, 9 * HOUR - 1)), at(2024, 2, 29, 9 * HOUR));
  CHECK_INT(next("1 month", anchor, at(2024, 2, 29, 9 * HOUR)), at(2024, 3, 31, 9 * HOUR));
  CHECK_INT(next("1 month", anchor, at(2024, 3, 31, 9 * HOUR)), at(2024, 4, 30, 9 * HOUR));
  CHECK_INT(next("1 month", anchor, at(2025, 2, 1, 0)), at(2025, 2, 28, 9 * HOUR));
  CHECK_INT(next("1 month", anchor, at(2100, 2, 1, 0)), at(2100, 2, 28, 9 * HOUR));
  CHECK_INT(next("1 year", at(2024, 2, 29, 0), at(2025, 1, 1, 0)), at(2025, 2, 28, 0));
  CHECK_INT(next("1 year", at(2024, 2, 29, 0), at(2027, 3, 1, 0)), at(2028, 2, 29, 0));
  CHECK_INT(next("1 month", at(2024, 12, 31, 1), at(2024, 12, 31, 1)), at(2025, 1, 31, 1));
}

TEST(schedule_next_before_1970) {
  CHECK_INT(next("1 day", at(1969, 12, 31, HOUR), at(1960, 2, 29, 2 * HOUR)), at(1960, 3, 1, HOUR));
  CHECK_INT(next("1 month", at(1968, 2, 29, HOUR), at(1967, 2, 1, 0)), at(1967, 2, 28, HOUR));
  CHECK_INT(next("1 second", 0, -1), 0);
  CHECK_INT(next("1 second", 0, -S), 0);
  CHECK_INT(next("1 second", 0, -S - 1), -S);
}

TEST(schedule_next_at_the_ends_of_time) {
  CHECK_INT(next("1 second", 0, INT64_MAX), INT64_MAX);
  CHECK_INT(next("1 second", INT64_MIN, INT64_MAX), INT64_MAX);
  CHECK(next("1 second", INT64_MAX, INT64_MIN) > INT64_MIN);
  CHECK(next("1 second", INT64_MAX, INT64_MIN) <= INT64_MIN + S);
  CHECK_INT(next("1 month", 0, INT64_MAX), INT64_MAX);
  CHECK_INT(next("1 month", INT64_MIN, INT64_MAX), INT64_MAX);
  CHECK(next("1 month", INT64_MAX, INT64_MIN) > INT64_MIN);
  CHECK(next("1 month", INT64_MAX, INT64_MIN) <= INT64_MIN + 31 * DAY);
  CHECK_INT(next("1 second", at(1, 1, 1, 0), at(2026, 1, 1, 1)), at(2026, 1, 1, S)); /* 6e10 intervals later */
}

TEST(schedule_without_an_interval_is_never_due) {
  CHECK_INT(next("manual", 0, 0), INT64_MAX);
  CHECK_INT(next("* * * * *", 0, 0), INT64_MAX);
  CHECK_INT(ond_schedule_next(&(OndSchedule){OND_SCHEDULE_INTERVAL, 0, 0}, 0, 0), INT64_MAX);
}

TEST(schedule_next_is_the_first_on_the_grid) {
  static const char *const TEXTS[] = {"1 second", "7 seconds", "15 minutes", "1 day 3 seconds", "366 days"};
  unsigned long long random = 17;

  for (int i = 0; i < 20000; i++) {
    OndSchedule s;
    OndError err;
    int64_t anchor = (int64_t)(unit_random(&random) % 200000000000000000ULL) - 100000000000000000LL;
    int64_t now = (int64_t)(unit_random(&random) % 200000000000000000ULL) - 100000000000000000LL;
    int64_t due;

    CHECK(ond_schedule_parse(TEXTS[i % 5], &s, &err));
    due = ond_schedule_next(&s, anchor, now);
    if (!CHECK(due > now) || !CHECK(due - s.us <= now) || !CHECK_INT((due - anchor) % s.us, 0)) {
      return;
    }
  }
}

/* The slow way: walks along the grid from three hundred years before. */
static int64_t next_month_slowly(OndDate anchor, int64_t clock, int months, int64_t now) {
  int64_t month = anchor.year * 12 + anchor.month - 1 - 3600 / months * months;
  int64_t due;

  do {
    int64_t year = month / 12;
    int of_year = (int)(month % 12) + 1;
    int last = ond_civil_month_days(year, of_year);

    due = at(year, of_year, anchor.day < last ? anchor.day : last, clock);
    month += months;
  } while (due <= now);
  return due;
}

TEST(schedule_next_month_is_what_walking_finds) {
  unsigned long long random = 23;

  for (int i = 0; i < 3000; i++) {
    OndDate anchor = {(int64_t)(1900 + unit_random(&random) % 200), (int)(1 + unit_random(&random) % 12), 0};
    OndSchedule s = {OND_SCHEDULE_INTERVAL, (int32_t)(1 + unit_random(&random) % 12), 0};
    int64_t clock = (int64_t)(unit_random(&random) % (unsigned long long)DAY);
    int64_t now = at((int64_t)(1900 + unit_random(&random) % 200), 1, 1, 0) + (int64_t)(unit_random(&random) % (366ULL * DAY));

    anchor.day = (int)(1 + unit_random(&random) % (unsigned)ond_civil_month_days(anchor.year, anchor.month));
    if (!CHECK_INT(ond_schedule_next(&s, at(anchor.year, anchor.month, anchor.day, clock), now),
                   next_month_slowly(anchor, clock, s.months, now))) {
      return;
    }
  }
}
