/*
 * test_core_guard.c - limits: what they allow, and in which words.
 */
#include <stdint.h>
#include <string.h>
#include "core/guard.h"
#include "unit.h"

TEST(a_limit_allows_a_number_or_a_part_whichever_is_more) {
  OndLimit none = {false, 5, 5}, number = {true, -1, 5}, part = {true, 5, 0}, both = {true, 10, 20};

  CHECK_INT(ond_limit_most(&none, 10), INT64_MAX);
  CHECK_INT(ond_limit_most(&number, 0), 5);
  CHECK_INT(ond_limit_most(&number, 1000000), 5);
  CHECK_INT(ond_limit_most(&part, 0), 0);
  CHECK_INT(ond_limit_most(&part, 19), 0);
  CHECK_INT(ond_limit_most(&part, 20), 1);
  CHECK_INT(ond_limit_most(&part, 39), 1);
  CHECK_INT(ond_limit_most(&both, 0), 20);
  CHECK_INT(ond_limit_most(&both, 209), 20);
  CHECK_INT(ond_limit_most(&both, 210), 21);
  part.percent = 100;
  CHECK_INT(ond_limit_most(&part, INT64_C(5000000000)), INT64_C(5000000000));
}

TEST(a_part_is_digits_and_a_percent_sign) {
  static const char *const bad[] = {"", "%", "5", "-5%", "+5%", "5 %", "101%", "1e1%", "0x5%", "nan%", "5%%", "1.2.3%", ".5%", "100.001%", "00000000001%"};
  double percent = -1;

  CHECK(ond_limit_percent("5%", &percent) && percent == 5);
  CHECK(ond_limit_percent("0%", &percent) && percent == 0);
  CHECK(ond_limit_percent("100%", &percent) && percent == 100);
  CHECK(ond_limit_percent("0.5%", &percent) && percent == 0.5);
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
    CHECK(!ond_limit_percent(bad[i], &percent));
}

TEST(a_limit_says_what_it_is) {
  OndLimit number = {true, -1, 5}, one = {true, -1, 1}, part = {true, 0.5, 0}, both = {true, 10, 20};
  char words[64];

  ond_limit_words(&number, words, sizeof(words));
  CHECK_STR(words, "5 rows");
  ond_limit_words(&one, words, sizeof(words));
  CHECK_STR(words, "1 row");
  ond_limit_words(&part, words, sizeof(words));
  CHECK_STR(words, "0.5 %");
  ond_limit_words(&both, words, sizeof(words));
  CHECK_STR(words, "10 %, at least 20");
}
