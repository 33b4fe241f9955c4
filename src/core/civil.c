/*
 * civil.c - the proleptic Gregorian calendar as arithmetic.
 *
 * Days are counted in eras of 400 years (146097 days) that begin on 1 March, so that the leap day is the last day of a
 * year and the length of the months before it follows one formula.
 */
#include "core/civil.h"

#define ERA_YEARS        400
#define ERA_DAYS         146097
#define EPOCH_SHIFT_DAYS 719468 /* 0000-03-01 .. 1970-01-01 */

int64_t ond_floor_div(int64_t a, int64_t b) {
  int64_t quotient = a / b;

  return a % b < 0 ? quotient - 1 : quotient;
}

static bool year_is_leap(int64_t year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int ond_civil_month_days(int64_t year, int month) {
  static const int DAYS[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

  return month == 2 && year_is_leap(year) ? 29 : DAYS[month - 1];
}

bool ond_civil_is_date(OndDate date) {
  return date.month >= 1 && date.month <= 12 && date.day >= 1 && date.day <= ond_civil_month_days(date.year, date.month);
}

int64_t ond_civil_to_days(OndDate date) {
  int64_t year = date.month <= 2 ? date.year - 1 : date.year;
  int64_t era = ond_floor_div(year, ERA_YEARS);
  int64_t year_of_era = year - era * ERA_YEARS;
  int month_from_march = (date.month + 9) % 12;
  int64_t day_of_year = (153 * month_from_march + 2) / 5 + date.day - 1;
  int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

  return era * ERA_DAYS + day_of_era - EPOCH_SHIFT_DAYS;
}

OndDate ond_civil_from_days(int64_t days) {
  int64_t shifted = days + EPOCH_SHIFT_DAYS;
  int64_t era = ond_floor_div(shifted, ERA_DAYS);
  int64_t day_of_era = shifted - era * ERA_DAYS;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int month_from_march = (int)((5 * day_of_year + 2) / 153);
  OndDate date;

  date.day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
  date.month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  date.year = era * ERA_YEARS + year_of_era + (date.month <= 2);
  return date;
}
