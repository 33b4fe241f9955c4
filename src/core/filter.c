/*
 * filter.c - the pure functions behind {{name|filter}}.
 *
 * One table: name and function by OndFilter. A filter sees bytes and appends bytes; it keeps nothing. Times are read and
 * written by arithmetic in UTC, digit for digit: a fraction never passes through a double. Hashes are OpenSSL's.
 */
#include "core/filter.h"

#include <openssl/evp.h>
#include <string.h>
#include "core/civil.h"
#include "core/scan.h"
#include "core/text.h"

#define FRACTION_DIGITS_MAX 9
#define NANO                INT64_C(1000000000)
#define YEAR_MAX            9999

typedef bool (*FilterFunction)(const char *value, size_t n, OndBuf *out, OndError *err);

static char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static char ascii_upper(char c) {
  return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static bool map_bytes(const char *value, size_t n, OndBuf *out, char (*map)(char)) {
  for (size_t i = 0; i < n; i++) {
    if (!ond_buf_append_char(out, map(value[i]))) {
      return false;
    }
  }
  return ond_buf_append(out, "", 0);
}

static bool filter_lower(const char *value, size_t n, OndBuf *out, OndError *err) {
  (void)err;
  return map_bytes(value, n, out, ascii_lower);
}

static bool filter_upper(const char *value, size_t n, OndBuf *out, OndError *err) {
  (void)err;
  return map_bytes(value, n, out, ascii_upper);
}

static bool filter_trim(const char *value, size_t n, OndBuf *out, OndError *err) {
  OndScan c = ond_scan_trimmed(value, n);

  (void)err;
  return ond_buf_append(out, c.p, (size_t)(c.end - c.p));
}

static bool digest(const EVP_MD *md, const char *value, size_t n, OndBuf *out, OndError *err) {
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int hash_n = 0;

  if (EVP_Digest(value, n, hash, &hash_n, md, NULL) != 1) {
    ond_error_set(err, "hash function is not available");
    ond_error_detail(err, "The OpenSSL library of this server refuses it; in FIPS mode md5 is switched off.");
    return false;
  }
  for (unsigned int i = 0; i < hash_n; i++) {
    if (!ond_buf_appendf(out, "%02x", hash[i])) {
      return false;
    }
  }
  return true;
}

static bool filter_md5(const char *value, size_t n, OndBuf *out, OndError *err) {
  return digest(EVP_md5(), value, n, out, err);
}

static bool filter_sha256(const char *value, size_t n, OndBuf *out, OndError *err) {
  return digest(EVP_sha256(), value, n, out, err);
}

static bool filter_base64(const char *value, size_t n, OndBuf *out, OndError *err) {
  enum { CHUNK = 3 * 256 }; /* a multiple of three: only the last piece is padded */
  unsigned char text[4 * 256 + 1];

  (void)err;
  for (size_t done = 0; done < n; done += CHUNK) {
    size_t piece = n - done < CHUNK ? n - done : CHUNK;
    int text_n = EVP_EncodeBlock(text, (const unsigned char *)value + done, (int)piece);

    if (!ond_buf_append(out, text, (size_t)text_n)) {
      return false;
    }
  }
  return ond_buf_append(out, "", 0);
}

static bool filter_json(const char *value, size_t n, OndBuf *out, OndError *err) {
  if (!ond_utf8_valid(value, n)) {
    ond_error_set(err, "value is not valid UTF-8");
    return false;
  }
  return ond_buf_append_json_string(out, value, n);
}

/* Digits after the point as nanoseconds; at least one, digits past the ninth must be zeros. */
static bool read_fraction(OndScan *c, int64_t *nanos) {
  int digits = 0;

  *nanos = 0;
  while (c->p < c->end && ond_scan_is_digit(*c->p)) {
    if (digits < FRACTION_DIGITS_MAX) {
      *nanos = *nanos * 10 + (*c->p - '0');
    } else if (*c->p != '0') {
      return false;
    }
    digits++;
    c->p++;
  }
  for (int i = digits; i < FRACTION_DIGITS_MAX; i++) {
    *nanos *= 10;
  }
  return digits > 0;
}

/* hh:mm[:ss[.fraction]]; second 60 is the first of the next minute. */
static bool read_time(OndScan *c, int64_t *seconds, int64_t *nanos) {
  int hour;
  int minute;
  int second = 0;

  if (!ond_scan_number(c, 2, &hour) || !ond_scan_char(c, ':') || !ond_scan_number(c, 2, &minute) || hour > 23 || minute > 59) {
    return false;
  }
  if (ond_scan_char(c, ':')) {
    if (!ond_scan_number(c, 2, &second) || second > 60) {
      return false;
    }
    if ((ond_scan_char(c, '.') || ond_scan_char(c, ',')) && !read_fraction(c, nanos)) {
      return false;
    }
  }
  *seconds = hour * 3600 + minute * 60 + second;
  return true;
}

/* Z, +hh, +hhmm, +hh:mm, +hh:mm:ss or nothing (UTC), as seconds east. */
static bool read_zone(OndScan *c, int64_t *east) {
  int sign = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;

  *east = 0;
  if (c->p == c->end || ond_scan_char(c, 'Z') || ond_scan_char(c, 'z')) {
    return true;
  }
  sign = ond_scan_char(c, '+') ? 1 : ond_scan_char(c, '-') ? -1 : 0;
  if (sign == 0 || !ond_scan_number(c, 2, &hour)) {
    return false;
  }
  if (ond_scan_char(c, ':')) {
    if (!ond_scan_number(c, 2, &minute) || (ond_scan_char(c, ':') && !ond_scan_number(c, 2, &second))) {
      return false;
    }
  } else if (c->p < c->end && !ond_scan_number(c, 2, &minute)) {
    return false;
  }
  *east = sign * (hour * 3600 + minute * 60 + second);
  return hour <= 23 && minute <= 59 && second <= 59;
}

/* An ISO 8601 date, or date and time, as seconds and nanoseconds (0 .. NANO - 1) since 1970. */
static bool read_timestamp(OndScan *c, int64_t *seconds, int64_t *nanos) {
  int year;
  OndDate date;
  int64_t time = 0;
  int64_t east = 0;

  *nanos = 0;
  if (!ond_scan_number(c, 4, &year) || !ond_scan_char(c, '-') || !ond_scan_number(c, 2, &date.month) || !ond_scan_char(c, '-') ||
      !ond_scan_number(c, 2, &date.day)) {
    return false;
  }
  date.year = year;
  if (year == 0 || !ond_civil_is_date(date)) {
    return false;
  }
  if (c->p < c->end) {
    if (!ond_scan_char(c, 'T') && !ond_scan_char(c, 't') && !ond_scan_char(c, ' ')) {
      return false;
    }
    if (!read_time(c, &time, nanos) || !read_zone(c, &east)) {
      return false;
    }
  }
  *seconds = ond_civil_to_days(date) * OND_DAY_S + time - east;
  return c->p == c->end;
}

/* Appends ".5" for 500000000 nanoseconds, nothing for 0. */
static bool append_fraction(OndBuf *out, int64_t nanos) {
  int digits = FRACTION_DIGITS_MAX;

  if (nanos == 0) {
    return ond_buf_append(out, "", 0);
  }
  while (nanos % 10 == 0) {
    nanos /= 10;
    digits--;
  }
  return ond_buf_appendf(out, ".%0*lld", digits, (long long)nanos);
}

static bool filter_epoch(const char *value, size_t n, OndBuf *out, OndError *err) {
  OndScan c = ond_scan_trimmed(value, n);
  int64_t seconds;
  int64_t nanos;
  bool negative;

  if (!read_timestamp(&c, &seconds, &nanos)) {
    ond_error_set(err, "filter \"epoch\" needs an ISO 8601 timestamp");
    ond_error_detail(err, "The value is \"%.*s\".", (int)(n < 100 ? n : 100), value);
    return false;
  }
  /* Before 1970 the fraction counts towards zero: -1 s + 0.5 s is "-0.5". */
  negative = seconds < 0;
  if (negative && nanos > 0) {
    seconds++;
    nanos = NANO - nanos;
  }
  return ond_buf_appendf(out, "%s%lld", negative ? "-" : "", (long long)(negative ? -seconds : seconds)) && append_fraction(out, nanos);
}

/* [-]digits[.digits] as seconds (rounded down) and nanoseconds; false also outside the years 1 .. 9999. */
static bool read_epoch(OndScan *c, int64_t *seconds, int64_t *nanos) {
  const int64_t first = ond_civil_to_days((OndDate){1, 1, 1}) * OND_DAY_S;
  const int64_t end = ond_civil_to_days((OndDate){YEAR_MAX + 1, 1, 1}) * OND_DAY_S;
  bool negative = ond_scan_char(c, '-');
  const char *digits = c->p;

  *seconds = 0;
  *nanos = 0;
  while (c->p < c->end && ond_scan_is_digit(*c->p)) {
    *seconds = *seconds * 10 + (*c->p - '0');
    if (*seconds > end) {
      return false;
    }
    c->p++;
  }
  if (c->p == digits || (ond_scan_char(c, '.') && !read_fraction(c, nanos)) || c->p != c->end) {
    return false;
  }
  if (negative) {
    *seconds = -*seconds - (*nanos > 0);
    *nanos = *nanos > 0 ? NANO - *nanos : 0;
  }
  return *seconds >= first && *seconds < end;
}

static bool filter_iso(const char *value, size_t n, OndBuf *out, OndError *err) {
  OndScan c = ond_scan_trimmed(value, n);
  int64_t seconds;
  int64_t nanos;
  int64_t days;
  int time;
  OndDate date;

  if (!read_epoch(&c, &seconds, &nanos)) {
    ond_error_set(err, "filter \"iso\" needs seconds since 1970, years 1 to %d", YEAR_MAX);
    ond_error_detail(err, "The value is \"%.*s\".", (int)(n < 100 ? n : 100), value);
    return false;
  }
  days = ond_floor_div(seconds, OND_DAY_S);
  time = (int)(seconds - days * OND_DAY_S);
  date = ond_civil_from_days(days);
  return ond_buf_appendf(out, "%04d-%02d-%02dT%02d:%02d:%02d", (int)date.year, date.month, date.day, time / 3600, time / 60 % 60,
                         time % 60) &&
         append_fraction(out, nanos) && ond_buf_append_char(out, 'Z');
}

static bool filter_text(const char *value, size_t n, OndBuf *out, OndError *err) {
  (void)err;
  return ond_buf_append(out, value, n);
}

static const struct {
  const char *name;
  FilterFunction apply;
} FILTERS[] = {
    [OND_FILTER_LOWER] = {"lower", filter_lower},    [OND_FILTER_UPPER] = {"upper", filter_upper},
    [OND_FILTER_TRIM] = {"trim", filter_trim},       [OND_FILTER_MD5] = {"md5", filter_md5},
    [OND_FILTER_SHA256] = {"sha256", filter_sha256}, [OND_FILTER_BASE64] = {"base64", filter_base64},
    [OND_FILTER_JSON] = {"json", filter_json},       [OND_FILTER_EPOCH] = {"epoch", filter_epoch},
    [OND_FILTER_ISO] = {"iso", filter_iso},          [OND_FILTER_TEXT] = {"text", filter_text},
};

#define N_FILTERS (sizeof(FILTERS) / sizeof(FILTERS[0]))

bool ond_filter_find(const char *name, size_t n, OndFilter *out) {
  for (size_t i = 0; i < N_FILTERS; i++) {
    if (strlen(FILTERS[i].name) == n && memcmp(FILTERS[i].name, name, n) == 0) {
      *out = (OndFilter)i;
      return true;
    }
  }
  return false;
}

const char *ond_filter_name(OndFilter filter) {
  return FILTERS[filter].name;
}

const char *ond_filter_names(void) {
  return "lower, upper, trim, md5, sha256, base64, json, epoch, iso, text";
}

bool ond_filter_apply(OndFilter filter, const char *value, size_t n, OndBuf *out, OndError *err) {
  return FILTERS[filter].apply(value, n, out, err);
}
