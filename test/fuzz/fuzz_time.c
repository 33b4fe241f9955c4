/*
 * fuzz_time.c - what servers and people say about time: Retry-After, RateLimit-Reset, schedules, and the calendar below them.
 *
 * libc's calendar is the second opinion. Waits are bounded; a due time is after now, stands on the anchor's grid and none lies between.
 *
 * Input: eight bytes now, eight bytes anchor, a line a header's value, the rest a schedule.
 */
#include <time.h>
#include "core/backoff.h"
#include "core/civil.h"
#include "core/schedule.h"
#include "fuzz.h"

#define YEAR_S      (366 * OND_DAY_S)
#define TEN_YEARS_S (3653 * OND_DAY_S)

static void check_calendar(int64_t days) {
  OndDate date = ond_civil_from_days(days);
  time_t seconds = (time_t)(days * OND_DAY_S);
  struct tm tm;

  MUST(ond_civil_is_date(date) && ond_civil_to_days(date) == days);
  MUST(gmtime_r(&seconds, &tm) && tm.tm_year + INT64_C(1900) == date.year && tm.tm_mon + 1 == date.month && tm.tm_mday == date.day);
  date.day = ond_civil_month_days(date.year, date.month) + 1;
  MUST(!ond_civil_is_date(date));
}

/* Around the ends of a century, where the rule of leap years has its exceptions. */
static void check_century(int64_t century) {
  const OndDate dates[] = {{century * 100, 2, ond_civil_month_days(century * 100, 2)}, {century * 100, 3, 1}, {century * 100 - 1, 12, 31}};

  for (int i = 0; i < 3; i++) {
    check_calendar(ond_civil_to_days(dates[i]));
  }
}

/* Of a year with two digits: the one that is at most 50 years ahead, and not 50 years ago. */
static int nearest_year(int two_digits, int64_t now_s) {
  int64_t this_year = ond_civil_from_days(ond_floor_div(now_s, OND_DAY_S)).year;
  int64_t year = this_year - 49;

  while (((year % 100) + 100) % 100 != two_digits) {
    year++;
  }
  return (int)year;
}

/* strptime knows the three forms too; it is laxer, so only what both read is compared. */
static void check_http_date(const char *value, int64_t now_s, int64_t us) {
  static const char *const FORMS[] = {"%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y", "%A, %d-%b-%y %H:%M:%S GMT"};

  for (int i = 0; i < 3; i++) {
    struct tm tm = {0};
    const char *end = strptime(value, FORMS[i], &tm);
    int64_t wait;

    if (end && i == 2) {
      tm.tm_year = nearest_year(tm.tm_year % 100, now_s) - 1900;
    }
    if (end && *end == '\0' && tm.tm_mday <= ond_civil_month_days(tm.tm_year + INT64_C(1900), tm.tm_mon + 1)) {
      wait = (int64_t)timegm(&tm) - now_s;
      MUST(us == (wait < 0 ? 0 : wait > TEN_YEARS_S ? TEN_YEARS_S : wait) * OND_SECOND_US);
    }
  }
}

static void check_headers(const char *value, size_t n, int64_t now_s) {
  int64_t us = ond_retry_after_us(value, n, now_s);
  int64_t reset_us = ond_rate_reset_us(value, n, now_s);
  bool digits = n > 0 && strspn(value, "0123456789") == n;

  MUST(us >= -1 && us <= TEN_YEARS_S * OND_SECOND_US);
  MUST(reset_us >= -1 && reset_us <= TEN_YEARS_S * OND_SECOND_US);
  if (digits && n <= 8) {
    MUST(us == atoll(value) * OND_SECOND_US && reset_us == us);
  } else if (digits) {
    MUST(us >= 0 && reset_us >= 0);
  } else if (us >= 0) {
    check_http_date(value, now_s, us);
  }
}

static void check_backoff(int64_t seed, int64_t retry_after_us) {
  OndRetryPolicy p;
  int64_t last = 0;

  ond_retry_policy_default(&p);
  for (int attempt = 1; attempt <= 70; attempt++) {
    int64_t most = ond_backoff_us(&p, attempt, -1, UINT64_MAX);
    int64_t delay = ond_backoff_us(&p, attempt, retry_after_us, (uint64_t)seed);
    int64_t floor = retry_after_us < p.retry_after_max_us ? retry_after_us : p.retry_after_max_us;

    MUST(most >= last && most <= p.max_us && ond_backoff_us(&p, attempt, -1, 0) == 0);
    MUST(delay >= 0 && delay >= floor && delay <= (most > floor ? most : floor));
    MUST(ond_backoff_between_runs_us(attempt) > 0 && ond_backoff_between_runs_us(attempt) <= 6 * 3600 * OND_SECOND_US);
    last = most;
  }
}

/* Day and time of the month's last day at most: the anchor k months later, by counting on. */
static int64_t months_later(int64_t anchor_us, int64_t months) {
  int64_t days = ond_floor_div(anchor_us, OND_DAY_S * OND_SECOND_US);
  OndDate date = ond_civil_from_days(days);
  int64_t in_day = anchor_us - days * OND_DAY_S * OND_SECOND_US;

  for (; months > 0; months--) {
    date.year += date.month == 12;
    date.month = date.month == 12 ? 1 : date.month + 1;
  }
  for (; months < 0; months++) {
    date.year -= date.month == 1;
    date.month = date.month == 1 ? 12 : date.month - 1;
  }
  while (!ond_civil_is_date(date)) {
    date.day--;
  }
  return ond_civil_to_days(date) * OND_DAY_S * OND_SECOND_US + in_day;
}

static void check_due(const OndSchedule *s, int64_t anchor_us, int64_t now_us) {
  int64_t due = ond_schedule_next(s, anchor_us, now_us);
  int64_t k;

  MUST(due > now_us);
  if (s->months == 0) {
    MUST(due - s->us <= now_us && (due - anchor_us) % s->us == 0);
    return;
  }
  k = (now_us - anchor_us) / (31 * OND_DAY_S * OND_SECOND_US) / s->months - 2; /* not after the first that is due, but near */
  while (months_later(anchor_us, k * s->months) > now_us) {
    k--;
  }
  while (months_later(anchor_us, k * s->months) <= now_us) {
    k++;
  }
  MUST(due == months_later(anchor_us, k * s->months));
}

static void check_schedule(const char *text, int64_t anchor, int64_t now) {
  const int64_t span_us = 100 * YEAR_S * OND_SECOND_US;
  OndError err = {0};
  OndSchedule s;

  if (!ond_schedule_parse(text, &s, &err)) {
    fuzz_check_error(&err);
    return;
  }
  MUST(strlen(text) <= 200);
  if (s.kind != OND_SCHEDULE_INTERVAL) {
    MUST(s.months == 0 && s.us == 0 && ond_schedule_next(&s, anchor, now) == INT64_MAX);
    return;
  }
  MUST((s.months > 0) != (s.us > 0));
  MUST(s.months <= 12 && (s.us == 0 || s.us >= OND_SECOND_US) && s.us <= YEAR_S * OND_SECOND_US);
  (void)ond_schedule_next(&s, anchor, now); /* any times at all */
  check_due(&s, anchor % span_us, now % span_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  int64_t now = fuzz_int64(&f);
  int64_t anchor = fuzz_int64(&f);
  int64_t now_s = now % (INT64_C(10000) * YEAR_S);
  size_t value_n;
  size_t text_n;
  char *value = fuzz_line(&f, &value_n);
  char *text = fuzz_rest(&f, &text_n);

  check_calendar(anchor % (INT64_C(100000) * 366));
  check_century(now % 1000);
  check_headers(value, value_n, now_s);
  check_backoff(now, anchor);
  check_schedule(text, anchor, now);
  free(value);
  free(text);
  return 0;
}
