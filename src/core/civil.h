/*
 * civil.h - the proleptic Gregorian calendar as arithmetic: no time zone, no libc, no locale.
 */
#ifndef OND_CORE_CIVIL_H
#define OND_CORE_CIVIL_H

#include <stdbool.h>
#include <stdint.h>

#define OND_DAY_S     INT64_C(86400)
#define OND_SECOND_US INT64_C(1000000)

typedef struct OndDate {
  int64_t year;
  int month; /* 1..12 */
  int day;   /* 1..31 */
} OndDate;

/* 28..31. */
extern int ond_civil_month_days(int64_t year, int month);
/* Whether the day exists. */
extern bool ond_civil_is_date(OndDate date);
/* Days since 1970-01-01 (negative before) and back. The date must exist. */
extern int64_t ond_civil_to_days(OndDate date);
extern OndDate ond_civil_from_days(int64_t days);
/* Quotient rounded towards minus infinity; b > 0. */
extern int64_t ond_floor_div(int64_t a, int64_t b);

#endif
