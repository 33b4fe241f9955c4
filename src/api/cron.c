/*
 * cron.c - next_cron_run: when a job of pg_cron is due next, for views that say when a sync runs by itself.
 *
 * pg_cron does not tell it. What the fields mean is in core/cron_fields.c; their time zone is pg_cron's: cron.timezone where it has that setting, else GMT.
 */
#include "postgres.h"

#include "fmgr.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "core/civil.h"
#include "core/cron_fields.h"

#define MINUTES_A_DAY 1440

static pg_tz *cron_zone(void) {
  const char *name = GetConfigOption("cron.timezone", true, false);
  pg_tz *zone = name == NULL ? NULL : pg_tzset(name);

  return zone == NULL ? pg_tzset("GMT") : zone;
}

/* A wall clock's minute as a time; one that summer time leaves out is an hour later, one that comes twice is the second, as PostgreSQL reads it. False: it is too late. */
static bool time_of(int64 minute, pg_tz *zone, TimestampTz *time) {
  int64 day = ond_floor_div(minute, MINUTES_A_DAY);
  OndDate date = ond_civil_from_days(day);
  struct pg_tm tm = {0};
  int offset;

  tm.tm_year = (int)date.year;
  tm.tm_mon = date.month;
  tm.tm_mday = date.day;
  tm.tm_hour = (int)(minute - day * MINUTES_A_DAY) / 60;
  tm.tm_min = (int)(minute - day * MINUTES_A_DAY) % 60;
  offset = DetermineTimeZoneOffset(&tm, zone);
  return tm2timestamp(&tm, 0, &offset, time) == 0;
}

/* next_cron_run(schedule, after): NULL for what is no cron text, or never. */
PG_FUNCTION_INFO_V1(ond_sql_next_cron_run);
Datum ond_sql_next_cron_run(PG_FUNCTION_ARGS) {
  TimestampTz after = PG_GETARG_TIMESTAMPTZ(1);
  pg_tz *zone = cron_zone();
  OndCronFields fields;
  struct pg_tm tm;
  int64 next;
  fsec_t fsec;
  int offset;

  if (!ond_cron_fields_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &fields) || TIMESTAMP_NOT_FINITE(after) ||
      timestamp2tm(after, &offset, &tm, &fsec, NULL, zone) != 0)
    PG_RETURN_NULL();
  next = ond_civil_to_days((OndDate){tm.tm_year, tm.tm_mon, tm.tm_mday}) * MINUTES_A_DAY + tm.tm_hour * 60 + tm.tm_min;
  next = ond_cron_fields_next(&fields, next);
  if (next == PG_INT64_MAX || !time_of(next, zone, &after))
    PG_RETURN_NULL();
  PG_RETURN_TIMESTAMPTZ(after);
}
