/*
 * test_core_same.c - the same number and the same time, however they are written.
 */
#include <stdio.h>
#include <string.h>
#include "core/same.h"
#include "unit.h"

static OndBytes bytes(const char *text) {
  return (OndBytes){text, strlen(text)};
}

static const char *canonical(const char *text) {
  static char out[200];
  OndBuf buf;

  ond_buf_init(&buf, sizeof(out) - 1);
  snprintf(out, sizeof(out), "%s", ond_number_canonical(bytes(text), &buf) ? buf.data : "no number");
  ond_buf_free(&buf);
  return out;
}

TEST(numbers_have_one_form) {
  static const char *const CASES[][2] = {
      {"1.50", "15E-1"}, {"15e-1", "15E-1"},   {"+1.5", "15E-1"},    {"001.5", "15E-1"},  {"0.0150E2", "15E-1"}, {"-1.5", "-15E-1"}, {"0", "0"},          {"-0.00", "0"},
      {"0e99", "0"},     {"1000", "1E3"},      {"1e3", "1E3"},       {"1E+3", "1E3"},     {"10.0e2", "1E3"},     {".5", "5E-1"},     {"5.", "5E0"},       {"7", "7E0"},
      {"9007199254740993", "9007199254740993E0"}, {"0.1000000000000000000000000000000000000001", "1000000000000000000000000000000000000001E-40"},
  };

  for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
    CHECK_STR(canonical(CASES[i][0]), CASES[i][1]);
  }
}

TEST(what_is_no_number) {
  static const char *const CASES[] = {"", "-", "+", ".", "1.2.3", "1e", "1e+", "e5", "1 ", " 1", "0x1", "NaN", "Infinity", "1,5", "--1", "1e99999999999", "1e5.0"};

  for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
    CHECK_STR(canonical(CASES[i]), "no number");
    CHECK(!ond_same_number(bytes(CASES[i]), bytes(CASES[i])));
  }
  CHECK(!ond_same_number(OND_BYTES_NONE, bytes("1")));
}

TEST(numbers_are_compared_digit_for_digit) {
  CHECK(ond_same_number(bytes("1.50"), bytes("1.5")));
  CHECK(ond_same_number(bytes("-0"), bytes("0.000")));
  CHECK(!ond_same_number(bytes("1.5"), bytes("-1.5")));
  CHECK(!ond_same_number(bytes("9007199254740993"), bytes("9007199254740992")));
  CHECK(!ond_same_number(bytes("1e400"), bytes("1e401")));
  CHECK(ond_same_number(bytes("1e400"), bytes("10e399")));
}

static bool same(const char *ours, const char *theirs) {
  return ond_same_time(bytes(ours), bytes(theirs));
}

TEST(times_are_compared_as_points) {
  CHECK(same("2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00"));
  CHECK(same("2026-01-31T12:00:00Z", "2026-01-31 12:00:00"));
  CHECK(same("2026-01-31T12:00:00Z", "2026-01-31T07:30:00-0430"));
  CHECK(same("2026-01-31T12:00:00Z", "2026-02-01T02:00+14"));
  CHECK(same("2026-01-31T12:00:00Z", "2026-01-31t12:00:00.000z"));
  CHECK(same("1969-12-31T23:59:59.5Z", "1970-01-01T00:59:59.5+01"));
  CHECK(same("2026-01-31", "2026-01-31T00:00:00Z"));
  CHECK(!same("2026-01-31", "2026-01-31T00:00:01Z"));
  CHECK(!same("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+01:00"));
}

TEST(times_are_compared_as_exactly_as_the_other_side_keeps_them) {
  CHECK(same("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00.123Z"));
  CHECK(same("2026-01-31T12:00:00.9999Z", "2026-01-31T12:00:01Z"));
  CHECK(same("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00Z"));
  CHECK(!same("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00.121Z"));
  CHECK(!same("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00.123457Z"));
  CHECK(same("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00.123456000Z"));
  CHECK(!same("2026-01-31T12:00:00.5Z", "2026-01-31"));
}

TEST(what_is_no_time) {
  static const char *const CASES[] = {"",
                                      "2026",
                                      "2026-02-30",
                                      "2026-13-01",
                                      "2026-01-31T",
                                      "2026-01-31T12",
                                      "2026-01-31T12:60:00Z",
                                      "2026-01-31T12:00:00.",
                                      "2026-01-31T12:00:00X",
                                      "2026-01-31T12:00:00+1",
                                      "2026-01-31T12:00:00+25:00",
                                      "2026-01-31T12:00:00Z tail",
                                      "20260131",
                                      "yesterday"};

  for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
    CHECK(!same(CASES[i], CASES[i]));
  }
  CHECK(!ond_same_time(OND_BYTES_NONE, bytes("2026-01-31")));
}
