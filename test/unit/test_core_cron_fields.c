/*
 * test_core_cron_fields.c - what five cron fields mean: the next minute that they name, and texts that they are not.
 */
#include <stdint.h>
#include "core/civil.h"
#include "core/cron_fields.h"
#include "unit.h"

#define NONE INT64_MAX

static int64_t at(int year, int month, int day, int hour, int minute) {
  return ond_civil_to_days((OndDate){year, month, day}) * 1440 + hour * 60 + minute;
}

static int64_t next(const char *text, int64_t after) {
  OndCronFields f;

  return CHECK(ond_cron_fields_parse(text, &f)) ? ond_cron_fields_next(&f, after) : 0;
}

TEST(cron_fields_minutes_and_hours) {
  int64_t now = at(2026, 11, 21, 13, 34); /* a Saturday */

  CHECK_INT(next("* * * * *", now), now + 1);
  CHECK_INT(next("*/5 * * * *", now), at(2026, 11, 21, 13, 35));
  CHECK_INT(next("34 * * * *", now), at(2026, 11, 21, 14, 34));
  CHECK_INT(next("0 3 * * *", now), at(2026, 11, 22, 3, 0));
  CHECK_INT(next(" 50-58/4,10 9-17 * * * ", now), at(2026, 11, 21, 13, 50));
  CHECK_INT(next("50-58/4,10 9-17 * * *", at(2026, 11, 21, 17, 58)), at(2026, 11, 22, 9, 10));
  CHECK_INT(next("59 23 31 12 *", at(2026, 12, 31, 23, 59)), at(2027, 12, 31, 23, 59));
}

TEST(cron_fields_days) {
  int64_t now = at(2026, 11, 21, 13, 34);

  CHECK_INT(next("0 0 * * 0", now), at(2026, 11, 22, 0, 0));
  CHECK_INT(next("0 0 * * 7", now), at(2026, 11, 22, 0, 0));
  CHECK_INT(next("0 0 * * Mon-fri", now), at(2026, 11, 23, 0, 0));
  CHECK_INT(next("0 0 1 jan,MAR *", now), at(2027, 1, 1, 0, 0));
  CHECK_INT(next("0 0 31 * *", now), at(2026, 12, 31, 0, 0));
  CHECK_INT(next("0 0 29 2 *", now), at(2028, 2, 29, 0, 0));
  CHECK_INT(next("0 0 29 2 *", at(2096, 3, 1, 0, 0)), at(2104, 2, 29, 0, 0));
  CHECK_INT(next("0 0 $ * *", now), at(2026, 11, 30, 0, 0));
  CHECK_INT(next("0 0 $ 2 *", now), at(2027, 2, 28, 0, 0));
  CHECK_INT(next("0 0 30 2 *", now), NONE);
}

/* Both days restricted: either; one that begins with a star: both. */
TEST(cron_fields_day_or_weekday) {
  int64_t now = at(2026, 11, 21, 13, 34);

  CHECK_INT(next("0 0 13 * 5", now), at(2026, 11, 27, 0, 0));
  CHECK_INT(next("0 0 25 * 5", now), at(2026, 11, 25, 0, 0));
  CHECK_INT(next("0 0 */13 * 5", now), at(2026, 11, 27, 0, 0));
  CHECK_INT(next("0 0 */13 * 2", now), at(2026, 12, 1, 0, 0));
}

TEST(cron_fields_before_1970) {
  CHECK_INT(next("30 1 * * 4", at(1969, 12, 31, 12, 0)), at(1970, 1, 1, 1, 30));
  CHECK_INT(next("30 1 * * 3", at(1969, 12, 30, 12, 0)), at(1969, 12, 31, 1, 30));
}

TEST(cron_fields_refuses) {
  static const char *const BAD[] = {"",           "* * * *",    "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *",  "* * 32 * *", "* * * 13 *", "* * * * 8",
                                    "5-1 * * * *", "*/0 * * * *", "5/2 * * * *", "1,, * * * *", "a * * * *",  "* * * foo *", "1- * * * *", "* * $1 * *", "* * $",      "1000 * * * *"};
  OndCronFields f;

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    if (!CHECK(!ond_cron_fields_parse(BAD[i], &f))) {
      return;
    }
  }
}
