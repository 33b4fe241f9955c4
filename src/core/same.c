/*
 * same.c - see same.h.
 */
#include "core/same.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/civil.h"
#include "core/scan.h"

#define NUMBER_BYTES_MAX ((size_t)200000)
#define EXPONENT_MAX     1000000

/* ---- numbers ---- */

typedef struct Number {
  bool negative;
  const char *digits; /* with a point in it, maybe */
  size_t n;
  int64_t exponent;
} Number;

static bool scan_exponent(OndScan *s, int64_t *out) {
  bool negative;
  int64_t value = 0;

  if (s->p == s->end || (*s->p != 'e' && *s->p != 'E')) {
    *out = 0;
    return true;
  }
  s->p++;
  negative = ond_scan_char(s, '-');
  if (!negative) {
    (void)ond_scan_char(s, '+');
  }
  if (s->p == s->end) {
    return false;
  }
  for (; s->p < s->end && ond_scan_is_digit(*s->p) && value <= EXPONENT_MAX; s->p++) {
    value = value * 10 + (*s->p - '0');
  }
  *out = negative ? -value : value;
  return value <= EXPONENT_MAX;
}

static bool scan_number(OndBytes text, Number *out) {
  OndScan s = {text.p, text.p + text.n};
  bool any = false;
  bool point = false;

  if (!text.p || text.n > NUMBER_BYTES_MAX) {
    return false;
  }
  out->negative = ond_scan_char(&s, '-');
  if (!out->negative) {
    (void)ond_scan_char(&s, '+');
  }
  out->digits = s.p;
  for (; s.p < s.end && (ond_scan_is_digit(*s.p) || (*s.p == '.' && !point)); s.p++) {
    any = any || *s.p != '.';
    point = point || *s.p == '.';
  }
  out->n = (size_t)(s.p - out->digits);
  return any && scan_exponent(&s, &out->exponent) && ond_scan_at_end(&s);
}

/* The digits between the zeros at both ends; *exponent is moved to the last of them. n == 0: zero. */
static bool append_digits(const Number *number, OndBuf *out, int64_t *exponent) {
  size_t start = out->len;
  size_t end;
  bool fraction = false;
  int64_t shift = 0;

  for (size_t i = 0; i < number->n; i++) {
    char c = number->digits[i];

    fraction = fraction || c == '.';
    shift -= fraction && c != '.';
    if (c != '.' && (c != '0' || out->len > start) && !ond_buf_append_char(out, c)) {
      return false;
    }
  }
  for (end = out->len; end > start && out->data[end - 1] == '0'; end--) {
    shift++;
  }
  out->len = end;
  if (out->data) {
    out->data[end] = '\0';
  }
  *exponent = number->exponent + shift;
  return true;
}

bool ond_number_canonical(OndBytes text, OndBuf *out) {
  Number number;
  int64_t exponent;
  size_t start = out->len;
  size_t sign;

  if (!scan_number(text, &number) || (number.negative && !ond_buf_append_char(out, '-'))) {
    return false;
  }
  sign = out->len;
  if (!append_digits(&number, out, &exponent)) {
    return false;
  }
  if (out->len == sign) {
    out->len = start;
    return ond_buf_append_char(out, '0');
  }
  return ond_buf_appendf(out, "E%" PRId64, exponent);
}

bool ond_same_number(OndBytes a, OndBytes b) {
  OndBuf one;
  OndBuf other;
  bool same;

  ond_buf_init(&one, NUMBER_BYTES_MAX + 32);
  ond_buf_init(&other, NUMBER_BYTES_MAX + 32);
  same = ond_number_canonical(a, &one) && ond_number_canonical(b, &other) && one.len == other.len && memcmp(one.data, other.data, one.len) == 0;
  ond_buf_free(&one);
  ond_buf_free(&other);
  return same;
}

/* ---- times ---- */

typedef struct Time {
  int64_t us;   /* since 1970 */
  int64_t unit; /* of its last digit: how exact it is */
} Time;

/* ".123456789": digits past the sixth are dropped. */
static bool scan_fraction(OndScan *s, Time *out) {
  int64_t worth = OND_SECOND_US;

  out->unit = OND_SECOND_US;
  if (s->p == s->end || (*s->p != '.' && *s->p != ',')) {
    return true;
  }
  s->p++;
  if (s->p == s->end || !ond_scan_is_digit(*s->p)) {
    return false;
  }
  for (; s->p < s->end && ond_scan_is_digit(*s->p); s->p++) {
    worth /= 10;
    out->us += worth * (*s->p - '0');
    out->unit = worth > 0 ? worth : 1;
  }
  return true;
}

/* "Z", "+02", "+0200", "+02:00", or nothing: UTC */
static bool scan_zone(OndScan *s, Time *out) {
  bool west;
  int hours;
  int minutes = 0;

  (void)ond_scan_char(s, ' ');
  if (ond_scan_at_end(s) || ond_scan_char(s, 'Z') || ond_scan_char(s, 'z')) {
    return ond_scan_at_end(s);
  }
  west = *s->p == '-';
  if ((*s->p != '+' && !west) || (s->p++, !ond_scan_number(s, 2, &hours))) {
    return false;
  }
  if (!ond_scan_at_end(s)) {
    (void)ond_scan_char(s, ':');
    if (!ond_scan_number(s, 2, &minutes)) {
      return false;
    }
  }
  out->us += (west ? 1 : -1) * (int64_t)(hours * 60 + minutes) * 60 * OND_SECOND_US;
  return ond_scan_at_end(s) && hours < 24 && minutes < 60;
}

static bool scan_time(OndBytes text, Time *out) {
  OndScan s = {text.p, text.p + text.n};
  OndDate date;
  int year, hour, minute;
  int second = 0;

  if (!text.p || !ond_scan_number(&s, 4, &year) || !ond_scan_char(&s, '-') || !ond_scan_number(&s, 2, &date.month) || !ond_scan_char(&s, '-') ||
      !ond_scan_number(&s, 2, &date.day)) {
    return false;
  }
  date.year = year;
  if (!ond_civil_is_date(date)) {
    return false;
  }
  *out = (Time){ond_civil_to_days(date) * OND_DAY_S * OND_SECOND_US, 1};
  if (ond_scan_at_end(&s)) {
    return true;
  }
  if ((!ond_scan_char(&s, 'T') && !ond_scan_char(&s, 't') && !ond_scan_char(&s, ' ')) || !ond_scan_number(&s, 2, &hour) || !ond_scan_char(&s, ':') ||
      !ond_scan_number(&s, 2, &minute) || (ond_scan_char(&s, ':') && !ond_scan_number(&s, 2, &second))) {
    return false;
  }
  out->us += ((int64_t)hour * 3600 + minute * 60 + second) * OND_SECOND_US;
  return hour < 25 && minute < 60 && second < 61 && scan_fraction(&s, out) && scan_zone(&s, out);
}

bool ond_same_time(OndBytes ours, OndBytes theirs) {
  Time a;
  Time b;

  return scan_time(ours, &a) && scan_time(theirs, &b) && (a.us > b.us ? a.us - b.us : b.us - a.us) < b.unit;
}
