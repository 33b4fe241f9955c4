/*
 * cron_fields.c - see cron_fields.h.
 */
#include "core/cron_fields.h"

#include <stddef.h>
#include <string.h>
#include "core/civil.h"

#define MINUTES_A_DAY 1440
#define DAYS_MAX      (9 * 366) /* 29 February skips 1900, 2100: eight years */

static const char MONTHS[] = "janfebmaraprmayjunjulaugsepoctnovdec";
static const char WEEKDAYS[] = "sunmontuewedthufrisat";

static bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A number of at most three digits, or a name of three letters, of which the first stands for `low`. */
static bool read_value(const char **p, const char *names, int low, int *out) {
  int n = 0;

  if (names != NULL && strnlen(*p, 3) == 3 && ((*p)[0] | 0x20) >= 'a' && ((*p)[0] | 0x20) <= 'z') {
    for (size_t i = 0; names[i] != '\0'; i += 3) {
      if (names[i] == ((*p)[0] | 0x20) && names[i + 1] == ((*p)[1] | 0x20) && names[i + 2] == ((*p)[2] | 0x20)) {
        *out = low + (int)(i / 3);
        *p += 3;
        return true;
      }
    }
    return false;
  }
  *out = 0;
  for (; **p >= '0' && **p <= '9' && n < 3; (*p)++, n++) {
    *out = *out * 10 + (**p - '0');
  }
  return n > 0;
}

/* "*", "5", "1-5", with "/2" after the first and the last. */
static bool read_piece(const char **p, const char *names, int low, int high, uint64_t *bits) {
  int from = low, to = high, step = 1;
  bool range = **p == '*';

  if (range) {
    (*p)++;
  } else if (!read_value(p, names, low, &from)) {
    return false;
  } else if (**p == '-') {
    (*p)++;
    range = read_value(p, names, low, &to);
    if (!range) {
      return false;
    }
  } else {
    to = from;
  }
  if (range && **p == '/') {
    (*p)++;
    if (!read_value(p, NULL, 0, &step) || step == 0) {
      return false;
    }
  }
  if (from < low || to > high || from > to) {
    return false;
  }
  for (int i = from; i <= to; i += step) {
    *bits |= UINT64_C(1) << i;
  }
  return true;
}

/* One field and the blanks after it. */
static bool read_field(const char **p, const char *names, int low, int high, uint64_t *bits) {
  *bits = 0;
  do {
    if (!read_piece(p, names, low, high, bits)) {
      return false;
    }
  } while (**p == ',' && (*p)++);
  if (**p != '\0' && !is_blank(**p)) {
    return false;
  }
  while (is_blank(**p)) {
    (*p)++;
  }
  return true;
}

static bool read_days(const char **p, OndCronFields *f) {
  f->any_day = **p == '*';
  f->last_day = **p == '$';
  if (!f->last_day) {
    return read_field(p, NULL, 1, 31, &f->days);
  }
  f->days = 0;
  (*p)++;
  if (!is_blank(**p)) {
    return false;
  }
  while (is_blank(**p)) {
    (*p)++;
  }
  return true;
}

bool ond_cron_fields_parse(const char *text, OndCronFields *out) {
  const char *p = text;

  while (is_blank(*p)) {
    p++;
  }
  if (!read_field(&p, NULL, 0, 59, &out->minutes) || !read_field(&p, NULL, 0, 23, &out->hours) || !read_days(&p, out) ||
      !read_field(&p, MONTHS, 1, 12, &out->months)) {
    return false;
  }
  out->any_weekday = *p == '*';
  if (!read_field(&p, WEEKDAYS, 0, 7, &out->weekdays) || *p != '\0') {
    return false;
  }
  out->weekdays |= (out->weekdays >> 7) & 1;
  return true;
}

static bool has(uint64_t bits, int value) {
  return (bits >> value) & 1;
}

static bool is_day(const OndCronFields *f, int64_t days) {
  OndDate date = ond_civil_from_days(days);
  int weekday = (int)(days + 4 - ond_floor_div(days + 4, 7) * 7); /* 1970-01-01 was a Thursday */
  bool by_day = has(f->days, date.day) || (f->last_day && date.day == ond_civil_month_days(date.year, date.month));
  bool by_weekday = has(f->weekdays, weekday);

  if (!has(f->months, date.month)) {
    return false;
  }
  return f->any_day || f->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

int64_t ond_cron_fields_next(const OndCronFields *f, int64_t after) {
  int64_t first = after + 1;
  int64_t day = ond_floor_div(first, MINUTES_A_DAY);
  int minute = (int)(first - day * MINUTES_A_DAY);

  for (int i = 0; i < DAYS_MAX; i++, day++, minute = 0) {
    if (!is_day(f, day)) {
      continue;
    }
    for (; minute < MINUTES_A_DAY; minute++) {
      if (has(f->hours, minute / 60) && has(f->minutes, minute % 60)) {
        return day * MINUTES_A_DAY + minute;
      }
    }
  }
  return INT64_MAX;
}
