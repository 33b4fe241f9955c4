/*
 * unit.c - runs the tests that registered themselves and prints TAP.
 *
 * Exit status: 0 when every chosen test passed and there was one. Passing checks print nothing; after ten failed checks
 * of one test the rest of its diagnostics are counted only.
 */
#include "unit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIAGNOSTICS_MAX 10
#define SHOWN_BYTES_MAX 400

static UnitTest *first_test;
static UnitTest **last_link = &first_test;
static int checks;
static int failures;

void unit_register(UnitTest *test) {
  *last_link = test;
  last_link = &test->next;
}

/* Counts a check; true when its failure should be explained. */
static bool count_check(bool ok) {
  checks++;
  failures += !ok;
  return !ok && failures <= DIAGNOSTICS_MAX;
}

/* Bytes as one line of printable text. */
static void print_bytes(const char *label, const void *bytes, size_t n) {
  const unsigned char *p = bytes;

  if (!p) {
    printf("#   %s: NULL\n", label);
    return;
  }
  printf("#   %s: \"", label);
  for (size_t i = 0; i < n && i < SHOWN_BYTES_MAX; i++) {
    if (p[i] < 0x20 || p[i] == 0x7F) {
      printf("\\x%02x", p[i]);
    } else {
      putchar(p[i]);
    }
  }
  printf("\"%s\n", n > SHOWN_BYTES_MAX ? " ..." : "");
}

bool unit_check(bool ok, const char *file, int line, const char *condition) {
  if (count_check(ok)) {
    printf("# %s:%d: failed: %s\n", file, line, condition);
  }
  return ok;
}

bool unit_check_int(long long actual, long long expected, const char *file, int line, const char *expression) {
  bool ok = actual == expected;

  if (count_check(ok)) {
    printf("# %s:%d: %s is %lld, expected %lld\n", file, line, expression, actual, expected);
  }
  return ok;
}

bool unit_check_mem(const void *actual, size_t actual_n, const void *expected, size_t expected_n, const char *file, int line,
                    const char *expression) {
  bool both = actual && expected;
  bool ok = both ? actual_n == expected_n && (actual_n == 0 || memcmp(actual, expected, actual_n) == 0) : actual == expected;

  if (count_check(ok)) {
    printf("# %s:%d: %s differs\n", file, line, expression);
    print_bytes("actual  ", actual, actual_n);
    print_bytes("expected", expected, expected_n);
  }
  return ok;
}

bool unit_check_str(const char *actual, const char *expected, const char *file, int line, const char *expression) {
  return unit_check_mem(actual, actual ? strlen(actual) : 0, expected, expected ? strlen(expected) : 0, file, line, expression);
}

void unit_note(const char *fmt, ...) {
  va_list args;

  va_start(args, fmt);
  printf("# ");
  vprintf(fmt, args);
  printf("\n");
  va_end(args);
}

unsigned long long unit_random(unsigned long long *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 2685821657736338717ULL;
}

static bool is_chosen(const UnitTest *test, int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (strstr(test->name, argv[i])) {
      return true;
    }
  }
  return argc < 2;
}

static bool run_test(const UnitTest *test, int number) {
  checks = 0;
  failures = 0;
  test->run();
  if (checks == 0) {
    unit_note("%s checked nothing", test->name);
    failures++;
  } else if (failures > DIAGNOSTICS_MAX) {
    unit_note("%d of %d checks failed", failures, checks);
  }
  printf("%s %d - %s\n", failures ? "not ok" : "ok", number, test->name);
  fflush(stdout);
  return failures == 0;
}

int main(int argc, char **argv) {
  int run = 0;
  int failed = 0;

  for (const UnitTest *test = first_test; test; test = test->next) {
    if (is_chosen(test, argc, argv)) {
      failed += !run_test(test, ++run);
    }
  }
  printf("1..%d\n", run);
  return run > 0 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
