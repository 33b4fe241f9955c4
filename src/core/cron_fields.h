/*
 * cron_fields.h - when five cron fields are due next, as pg_cron reads them: to be shown. What runs when is pg_cron's own affair.
 *
 *   minute hour day-of-month month day-of-week: each "*", a number, a range "1-5", with a step of either ("*" "/15"), or a list of these; names of months
 *   and weekdays in three letters; 7 is Sunday, too; "$" is a month's last day. When both days are restricted (begin with no "*"), either will do.
 */
#ifndef OND_CORE_CRON_FIELDS_H
#define OND_CORE_CRON_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct OndCronFields {
  uint64_t minutes, hours, days, months, weekdays;  /* a bit for each value */
  bool last_day;
  bool any_day, any_weekday;                        /* begins with "*" */
} OndCronFields;

/* False: not a text that this knows. */
extern bool ond_cron_fields_parse(const char *text, OndCronFields *out);
/* The first minute after `after`, in minutes since 1970-01-01 00:00 of the time zone's wall clock; INT64_MAX: none in the next nine years. */
extern int64_t ond_cron_fields_next(const OndCronFields *f, int64_t after);

#endif
