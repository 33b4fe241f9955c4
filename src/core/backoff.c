/*
 * backoff.c - when to try again.
 *
 * Pure arithmetic: randomness and the wall clock are arguments. Every result is bounded (a delay by the policy, a
 * Retry-After by ten years), so callers can add it to a time without overflow.
 */
#include "core/backoff.h"

#include "core/civil.h"
#include "core/scan.h"

#define MINUTE_US           (60 * OND_SECOND_US)
#define BETWEEN_RUNS_MAX_US (360 * MINUTE_US)
#define RETRY_AFTER_MAX_S   (3653 * OND_DAY_S)
#define RESET_SECONDS_MAX   INT64_C(1000000000)   /* more is a moment */
#define RESET_EPOCH_MAX     INT64_C(100000000000) /* more is one in milliseconds */
#define RESET_DIGITS_MAX    18

void ond_retry_policy_default(OndRetryPolicy *p) {
  p->attempts = 5;
  p->base_us = OND_SECOND_US / 2;
  p->max_us = 60 * OND_SECOND_US;
  p->retry_after_max_us = 10 * MINUTE_US;
}

/* min(max, base * 2^doublings), without overflow. */
static int64_t exponential(int64_t base, int64_t max, int doublings) {
  int64_t delay = base;

  if (base <= 0 || max <= 0) {
    return 0;
  }
  for (int i = 0; i < doublings && delay < max; i++) {
    delay = delay > max / 2 ? max : delay * 2;
  }
  return delay < max ? delay : max;
}

int64_t ond_backoff_us(const OndRetryPolicy *p, int attempt, int64_t retry_after_us, uint64_t random) {
  uint64_t range = (uint64_t)exponential(p->base_us, p->max_us, attempt - 1) + 1;
  int64_t delay = (int64_t)(((unsigned __int128)random * range) >> 64);
  int64_t floor = retry_after_us < p->retry_after_max_us ? retry_after_us : p->retry_after_max_us;

  return delay > floor ? delay : floor;
}

int64_t ond_backoff_between_runs_us(int attempts) {
  return exponential(MINUTE_US, BETWEEN_RUNS_MAX_US, attempts - 1);
}

/* One of n names; its index counted from 1. */
static bool read_name(OndScan *c, const char *const *names, int n, int *out) {
  for (int i = 0; i < n; i++) {
    if (ond_scan_text(c, names[i])) {
      *out = i + 1;
      return true;
    }
  }
  return false;
}

static bool read_month(OndScan *c, int *out) {
  static const char *const MONTHS[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

  return read_name(c, MONTHS, 12, out);
}

/* hh:mm:ss as seconds of the day. */
static bool read_clock(OndScan *c, int64_t *out) {
  int hour;
  int minute;
  int second;

  if (!ond_scan_number(c, 2, &hour) || !ond_scan_text(c, ":") || !ond_scan_number(c, 2, &minute) || !ond_scan_text(c, ":") ||
      !ond_scan_number(c, 2, &second)) {
    return false;
  }
  *out = hour * 3600 + minute * 60 + second;
  return hour <= 23 && minute <= 59 && second <= 60;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static bool read_imf_date(OndScan *c, OndDate *date, int64_t *clock) {
  static const char *const DAYS[] = {"Mon, ", "Tue, ", "Wed, ", "Thu, ", "Fri, ", "Sat, ", "Sun, "};
  int day_name;
  int year;

  if (!read_name(c, DAYS, 7, &day_name) || !ond_scan_number(c, 2, &date->day) || !ond_scan_text(c, " ") || !read_month(c, &date->month) ||
      !ond_scan_text(c, " ") || !ond_scan_number(c, 4, &year) || !ond_scan_text(c, " ")) {
    return false;
  }
  date->year = year;
  return read_clock(c, clock) && ond_scan_text(c, " GMT");
}

/* "Sunday, 06-Nov-94 08:49:37 GMT"; a year more than 50 years ahead is one of the century before (RFC 9110 5.6.7). */
static bool read_rfc850_date(OndScan *c, int64_t this_year, OndDate *date, int64_t *clock) {
  static const char *const DAYS[] = {"Monday, ", "Tuesday, ", "Wednesday, ", "Thursday, ", "Friday, ", "Saturday, ", "Sunday, "};
  int day_name;
  int year;

  if (!read_name(c, DAYS, 7, &day_name) || !ond_scan_number(c, 2, &date->day) || !ond_scan_text(c, "-") || !read_month(c, &date->month) ||
      !ond_scan_text(c, "-") || !ond_scan_number(c, 2, &year) || !ond_scan_text(c, " ")) {
    return false;
  }
  date->year = this_year - ((this_year % 100) + 100) % 100 + year;
  if (date->year > this_year + 50) {
    date->year -= 100;
  } else if (date->year <= this_year - 50) {
    date->year += 100;
  }
  return read_clock(c, clock) && ond_scan_text(c, " GMT");
}

/* "Sun Nov  6 08:49:37 1994" */
static bool read_asctime_date(OndScan *c, OndDate *date, int64_t *clock) {
  static const char *const DAYS[] = {"Mon ", "Tue ", "Wed ", "Thu ", "Fri ", "Sat ", "Sun "};
  int day_name;
  int year;

  if (!read_name(c, DAYS, 7, &day_name) || !read_month(c, &date->month) || !ond_scan_text(c, " ") ||
      !ond_scan_number(c, ond_scan_text(c, " ") ? 1 : 2, &date->day) || !ond_scan_text(c, " ") || !read_clock(c, clock) ||
      !ond_scan_text(c, " ") || !ond_scan_number(c, 4, &year)) {
    return false;
  }
  date->year = year;
  return true;
}

/* Seconds from now to an HTTP date; negative: past. */
static bool read_http_date(OndScan whole, int64_t now_unix_s, int64_t *out) {
  int64_t this_year = ond_civil_from_days(ond_floor_div(now_unix_s, OND_DAY_S)).year;
  OndDate date;
  int64_t clock;
  OndScan c = whole;
  bool ok = read_imf_date(&c, &date, &clock);

  if (!ok) {
    c = whole;
    ok = read_rfc850_date(&c, this_year, &date, &clock);
  }
  if (!ok) {
    c = whole;
    ok = read_asctime_date(&c, &date, &clock);
  }
  if (!ok || c.p != c.end || !ond_civil_is_date(date)) {
    return false;
  }
  *out = ond_civil_to_days(date) * OND_DAY_S + clock - now_unix_s;
  return true;
}

/* Digits only; what is larger than the ceiling is the ceiling. */
static bool read_seconds(OndScan c, int64_t *out) {
  int64_t value = 0;

  for (const char *p = c.p; p < c.end; p++) {
    if (!ond_scan_is_digit(*p)) {
      return false;
    }
    value = value * 10 + (*p - '0');
    if (value > RETRY_AFTER_MAX_S) {
      value = RETRY_AFTER_MAX_S;
    }
  }
  *out = value;
  return c.p < c.end;
}

int64_t ond_retry_after_us(const char *value, size_t n, int64_t now_unix_s) {
  OndScan c = ond_scan_trimmed(value, n);
  int64_t seconds;

  if (!read_seconds(c, &seconds) && !read_http_date(c, now_unix_s, &seconds)) {
    return -1;
  }
  if (seconds < 0) {
    return 0;
  }
  return (seconds < RETRY_AFTER_MAX_S ? seconds : RETRY_AFTER_MAX_S) * OND_SECOND_US;
}

int64_t ond_rate_reset_us(const char *value, size_t n, int64_t now_unix_s) {
  OndScan c = ond_scan_trimmed(value, n);
  int64_t seconds = 0;
  bool fraction = false;
  int digits = 0;

  for (; c.p < c.end && ond_scan_is_digit(*c.p); c.p++) {
    seconds = digits++ < RESET_DIGITS_MAX ? seconds * 10 + (*c.p - '0') : seconds;
  }
  if (digits > 0 && ond_scan_char(&c, '.')) {
    for (; c.p < c.end && ond_scan_is_digit(*c.p); c.p++) {
      fraction = fraction || *c.p != '0';
    }
  }
  if (digits == 0 || !ond_scan_at_end(&c)) {
    return -1;
  }
  if (seconds > RESET_EPOCH_MAX) {
    fraction = fraction || seconds % 1000 > 0;
    seconds /= 1000;
    seconds -= now_unix_s;
  } else if (seconds > RESET_SECONDS_MAX) {
    seconds -= now_unix_s;
  }
  seconds += fraction;
  return seconds < 0 ? 0 : (seconds < RETRY_AFTER_MAX_S ? seconds : RETRY_AFTER_MAX_S) * OND_SECOND_US;
}
