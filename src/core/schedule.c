/*
 * schedule.c - interval schedules.
 *
 * Due times are anchor + k * interval for every whole k, negative ones too: an anchor in the future fixes the phase,
 * not a start. Only the next due time is ever computed, so a missed run is made up once by whoever sees that the
 * last one has passed. Months count from the anchor's own day, so the 31st comes back after a February.
 *
 * Does not read a clock and does not look into cron fields.
 */
#include "core/schedule.h"

#include <string.h>
#include "core/civil.h"

#define MINUTE_US      (60 * OND_SECOND_US)
#define HOUR_US        (60 * MINUTE_US)
#define DAY_US         (24 * HOUR_US)
#define MONTHS_MAX     12
#define US_MAX         (366 * DAY_US)
#define CRON_FIELDS    5
#define TEXT_BYTES_MAX 200

/* One row a unit; names are separated by blanks. */
static const struct {
  const char *names;
  int32_t months;
  int64_t us;
} UNITS[] = {
    {" s sec secs second seconds ", 0, OND_SECOND_US},
    {" m min mins minute minutes ", 0, MINUTE_US},
    {" h hr hrs hour hours ", 0, HOUR_US},
    {" d day days ", 0, DAY_US},
    {" w week weeks ", 0, 7 * DAY_US},
    {" mon mons month months ", 1, 0},
    {" y year years ", 12, 0},
};

static bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static const char *skip_blanks(const char *p) {
  while (is_blank(*p)) {
    p++;
  }
  return p;
}

/* The unit whose name is the word at *p, or -1. */
static int read_unit(const char **p) {
  char word[12] = " ";
  size_t n = 1;

  while (is_letter(**p)) {
    if (n + 2 >= sizeof(word)) {
      return -1;
    }
    word[n++] = (char)(**p | 0x20);
    (*p)++;
  }
  if (n == 1) {
    return -1;
  }
  word[n] = ' ';
  word[n + 1] = '\0';
  for (size_t i = 0; i < sizeof(UNITS) / sizeof(UNITS[0]); i++) {
    if (strstr(UNITS[i].names, word)) {
      return (int)i;
    }
  }
  return -1;
}

/* "<n> <unit>" at *p, added to s; false for anything else and for sums past a year. */
static bool read_piece(const char **p, OndSchedule *s) {
  int64_t n = 0;
  int unit;

  if (!is_digit(**p)) {
    return false;
  }
  for (; is_digit(**p); (*p)++) {
    n = n * 10 + (**p - '0');
    if (n > US_MAX / OND_SECOND_US) {
      return false;
    }
  }
  *p = skip_blanks(*p);
  unit = read_unit(p);
  if (unit < 0) {
    return false;
  }
  if (UNITS[unit].months ? n > MONTHS_MAX / UNITS[unit].months : n > US_MAX / UNITS[unit].us) {
    return false;
  }
  s->months += (int32_t)(n * UNITS[unit].months);
  s->us += n * UNITS[unit].us;
  return s->months <= MONTHS_MAX && s->us <= US_MAX;
}

static bool parse_interval(const char *text, OndSchedule *out) {
  OndSchedule s = {OND_SCHEDULE_INTERVAL, 0, 0};
  const char *p = skip_blanks(text);

  while (*p) {
    if (!read_piece(&p, &s)) {
      return false;
    }
    p = skip_blanks(p);
  }
  if ((s.months > 0) == (s.us > 0)) {
    return false; /* nothing, or months mixed with the rest */
  }
  *out = s;
  return true;
}

/* Five fields of cron's characters; names (of months and weekdays) only in the last two. */
static bool looks_like_cron(const char *text) {
  const char *p = skip_blanks(text);
  int fields = 0;

  while (*p) {
    fields++;
    for (; *p && !is_blank(*p); p++) {
      if (!is_digit(*p) && !strchr("*,-/$", *p) && !(fields >= 4 && is_letter(*p))) {
        return false;
      }
    }
    p = skip_blanks(p);
  }
  return fields == CRON_FIELDS;
}

static bool is_manual(const char *text) {
  const char *p = skip_blanks(text);

  for (const char *word = "manual"; *word; word++, p++) {
    if ((*p | 0x20) != *word) {
      return false;
    }
  }
  return *skip_blanks(p) == '\0';
}

bool ond_schedule_parse(const char *text, OndSchedule *out, OndError *err) {
  *out = (OndSchedule){OND_SCHEDULE_MANUAL, 0, 0};
  if (strnlen(text, TEXT_BYTES_MAX + 1) <= TEXT_BYTES_MAX) {
    if (is_manual(text) || parse_interval(text, out)) {
      return true;
    }
    if (looks_like_cron(text)) {
      out->kind = OND_SCHEDULE_CRON;
      return true;
    }
  }
  ond_error_set(err, "schedule \"%.100s\" is not valid", text);
  ond_error_detail(err, "An interval is 1 second to 1 year long; months do not mix with other units.");
  ond_error_hint(err, "Write an interval such as '90 seconds', '15 minutes', '1 day 12 hours' or '1 month', five cron fields such as "
                      "'0 3 * * *', or 'manual'.");
  return false;
}

static int64_t clamp_time(__int128 us) {
  return us > INT64_MAX ? INT64_MAX : us < INT64_MIN ? INT64_MIN : (int64_t)us;
}

static int64_t next_by_us(int64_t interval_us, int64_t anchor_us, int64_t now_us) {
  __int128 distance = (__int128)now_us - anchor_us;
  __int128 k = distance / interval_us;

  if (distance % interval_us < 0) {
    k--;
  }
  return clamp_time(anchor_us + (k + 1) * interval_us);
}

/* The anchor `months` calendar months later; a day the month does not have is its last one. */
static __int128 add_months(int64_t anchor_us, int64_t months) {
  int64_t days = ond_floor_div(anchor_us, DAY_US);
  OndDate date = ond_civil_from_days(days);
  int64_t month = date.year * 12 + (date.month - 1) + months;
  OndDate due = {ond_floor_div(month, 12), 0, date.day};

  due.month = (int)(month - due.year * 12) + 1;
  if (due.day > ond_civil_month_days(due.year, due.month)) {
    due.day = ond_civil_month_days(due.year, due.month);
  }
  return (__int128)ond_civil_to_days(due) * DAY_US + (anchor_us - (__int128)days * DAY_US);
}

static int64_t next_by_months(int32_t interval, int64_t anchor_us, int64_t now_us) {
  OndDate anchor = ond_civil_from_days(ond_floor_div(anchor_us, DAY_US));
  OndDate now = ond_civil_from_days(ond_floor_div(now_us, DAY_US));
  int64_t distance = (now.year - anchor.year) * 12 + now.month - anchor.month;
  int64_t k = ond_floor_div(distance, interval);

  /* k is the last due time in a month not after now's, so it or the next one is the answer. */
  if (add_months(anchor_us, k * interval) <= now_us) {
    k++;
  }
  return clamp_time(add_months(anchor_us, k * interval));
}

int64_t ond_schedule_next(const OndSchedule *s, int64_t anchor_us, int64_t now_us) {
  if (s->kind != OND_SCHEDULE_INTERVAL || (s->months <= 0 && s->us <= 0)) {
    return INT64_MAX;
  }
  return s->months > 0 ? next_by_months(s->months, anchor_us, now_us) : next_by_us(s->us, anchor_us, now_us);
}
