/*
 * schedule.h - interval schedules: '90 seconds', '15 minutes', '1 month'.
 *
 * Anchored: due times are anchor + k * interval, whatever the runs took; a missed run is made up once.
 * All arithmetic in UTC: a day is 24 hours, a month is a calendar month (the 31st becomes the last day).
 */
#ifndef OND_CORE_SCHEDULE_H
#define OND_CORE_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

typedef enum OndScheduleKind { OND_SCHEDULE_MANUAL, OND_SCHEDULE_INTERVAL, OND_SCHEDULE_CRON } OndScheduleKind;

typedef struct OndSchedule {
  OndScheduleKind kind;
  int32_t months;      /* interval: months, or else us */
  int64_t us;
} OndSchedule;

/*
 * Parses 'manual', "<n> <unit> [<n> <unit> ...]" (seconds, minutes, hours, days, weeks, months, with usual short forms
 * s sec min m h hr d w mon) or five cron fields (kind CRON; not looked into here). 1 second up to 1 year; months do not mix with other units.
 */
extern bool ond_schedule_parse(const char *text, OndSchedule *out, OndError *err);

/* The first due time after now_us; both in microseconds since 1970-01-01 UTC. anchor may lie in the future. */
extern int64_t ond_schedule_next(const OndSchedule *s, int64_t anchor_us, int64_t now_us);

#endif
