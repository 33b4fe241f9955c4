/*
 * test_core_text.c - text and error: nothing but clean UTF-8 lines that fit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/error.h"
#include "core/scan.h"
#include "core/text.h"
#include "unit.h"

/* Encodes a code point the way UTF-8 would, valid or not. */
static size_t encode(unsigned long c, char *out) {
  if (c < 0x80) {
    out[0] = (char)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (char)(0xC0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3F));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (char)(0xE0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 0x3F));
    out[2] = (char)(0x80 | (c & 0x3F));
    return 3;
  }
  out[0] = (char)(0xF0 | c >> 18);
  out[1] = (char)(0x80 | (c >> 12 & 0x3F));
  out[2] = (char)(0x80 | (c >> 6 & 0x3F));
  out[3] = (char)(0x80 | (c & 0x3F));
  return 4;
}

TEST(utf8_knows_every_code_point) {
  long wrong = 0;

  for (unsigned long c = 0; c <= 0x1FFFFF; c++) {
    char text[4];
    size_t n = encode(c, text);
    bool valid = c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);

    wrong += ond_utf8_valid(text, n) != valid;
    wrong += n > 1 && ond_utf8_valid(text, n - 1);
  }
  CHECK_INT(wrong, 0);
}

TEST(utf8_refuses_malformed_bytes) {
  static const char *const BAD[] = {"\x80",         "\xBF",     "\xC0\x80",         "\xC1\xBF",         "\xC3",
                                    "\xE0\x80\x80", "\xE2\x82", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
                                    "\xFE",         "\xFF",     "a\xC3(",           "\xED\xA0\x80",     "\xE2(\x82",
                                    "ok\xE2\x82"};

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    CHECK(!ond_utf8_valid(BAD[i], strlen(BAD[i])));
  }
  CHECK(ond_utf8_valid("", 0));
  CHECK(ond_utf8_valid("z\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80", 10));
}

TEST(utf8_cuts_between_characters) {
  static const char TEXT[] = "a\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80z"; /* starts at 0 1 3 6 10 */
  static const size_t EXPECTED[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};

  for (size_t max = 0; max < sizeof(EXPECTED) / sizeof(EXPECTED[0]); max++) {
    CHECK_INT(ond_utf8_cut(TEXT, sizeof(TEXT) - 1, max), EXPECTED[max]);
  }
  CHECK_INT(ond_utf8_cut("\x80\x80\x80\x80\x80\x80\x80\x80", 8, 6), 6);
  CHECK_INT(ond_utf8_cut("\x80\x80\x80", 3, 1), 1);
}

static void check_clean(const char *dirty, const char *expected) {
  char text[64];

  snprintf(text, sizeof(text), "%s", dirty);
  ond_text_clean(text);
  CHECK_STR(text, expected);
}

TEST(text_clean_leaves_one_line_of_utf8) {
  check_clean("", "");
  check_clean("plain", "plain");
  check_clean("a\r\nb\tc\x1b[0m\x7f", "a  b c [0m ");
  check_clean("x\xC2\x85y", "x y"); /* next line, a C1 control */
  check_clean("x\xC2\xA0y\xC3\xA9", "x\xC2\xA0y\xC3\xA9");
  check_clean("\xFF\xC3(\xE2\x82", "?\?(?\?");
  check_clean("\xED\xA0\x80", "???");
}

TEST(text_clean_makes_anything_valid) {
  unsigned long long random = 7;

  for (int i = 0; i < 20000; i++) {
    char text[33];

    for (int k = 0; k < 32; k++) {
      text[k] = (char)(1 + unit_random(&random) % 255);
    }
    text[32] = '\0';
    ond_text_clean(text);
    if (!CHECK(ond_utf8_valid(text, strlen(text))) || !CHECK(strpbrk(text, "\r\n\t\x1b\x7f") == NULL)) {
      return;
    }
  }
}

TEST(error_set_clears_the_rest) {
  OndError e;

  memset(&e, 'x', sizeof(e));
  ond_error_set(&e, "column \"%s\" is %d", "a", 1);
  CHECK_STR(e.message, "column \"a\" is 1");
  CHECK_STR(e.sqlstate, "");
  CHECK_STR(e.pointer, "");
  CHECK_STR(e.detail, "");
  CHECK_STR(e.hint, "");
  ond_error_detail(&e, "d %s", "1");
  ond_error_hint(&e, "h %s", "2");
  ond_error_pointer(&e, "/%s", "3");
  CHECK_STR(e.message, "column \"a\" is 1");
  CHECK_STR(e.detail, "d 1");
  CHECK_STR(e.hint, "h 2");
  CHECK_STR(e.pointer, "/3");
}

TEST(error_wraps_its_own_message) {
  OndError e;

  ond_error_set(&e, "inner");
  ond_error_detail(&e, "why");
  ond_error_set(&e, "outer: %s", e.message);
  CHECK_STR(e.message, "outer: inner");
  ond_error_detail(&e, "[%s]", e.message);
  CHECK_STR(e.detail, "[outer: inner]");
}

TEST(error_cuts_long_text_at_a_character) {
  OndError e;
  char *longer = malloc(4002);

  for (int shift = 0; shift < 4; shift++) {
    memset(longer, 'a', 4);
    for (int i = shift; i + 3 < 4001; i += 3) {
      memcpy(longer + i, "\xE2\x82\xAC", 4);
    }
    ond_error_set(&e, "%s", longer);
    ond_error_detail(&e, "%s", longer);
    ond_error_hint(&e, "%s", longer);
    ond_error_pointer(&e, "%s", longer);
    CHECK(strlen(e.message) < sizeof(e.message) && strlen(e.message) > sizeof(e.message) - 8);
    CHECK(strlen(e.detail) < sizeof(e.detail) && strlen(e.detail) > sizeof(e.detail) - 8);
    CHECK(strlen(e.hint) < sizeof(e.hint));
    CHECK(strlen(e.pointer) < sizeof(e.pointer));
    CHECK(ond_utf8_valid(e.message, strlen(e.message)) && !strchr(e.message, '?'));
    CHECK_STR(e.message + strlen(e.message) - 3, "...");
  }
  free(longer);
}

static const char *put(unsigned int c) {
  static char bytes[5];

  bytes[ond_utf8_put(c, bytes)] = '\0';
  return bytes;
}

TEST(utf8_is_written) {
  CHECK_STR(put('a'), "a");
  CHECK_STR(put(0x7F), "\x7F");
  CHECK_STR(put(0x80), "\xC2\x80");
  CHECK_STR(put(0x7FF), "\xDF\xBF");
  CHECK_STR(put(0x800), "\xE0\xA0\x80");
  CHECK_STR(put(0xFFFF), "\xEF\xBF\xBF");
  CHECK_STR(put(0x10000), "\xF0\x90\x80\x80");
  CHECK_STR(put(0x10FFFF), "\xF4\x8F\xBF\xBF");
}

TEST(hexadecimal_digits_are_read) {
  CHECK_INT(ond_scan_hex("00fF", 4, 4), 0xFF);
  CHECK_INT(ond_scan_hex("Ab", 2, 2), 0xAB);
  CHECK_INT(ond_scan_hex("Ab", 1, 2), -1);
  CHECK_INT(ond_scan_hex("a:", 2, 2), -1);
  CHECK_INT(ond_scan_hex("-1", 2, 2), -1);
}

TEST(error_is_one_clean_line) {
  OndError e;

  ond_error_set(&e, "server said \"%s\"", "no\r\nway\xFF");
  CHECK_STR(e.message, "server said \"no  way?\"");
}
