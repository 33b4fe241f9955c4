/*
 * unit.h - tests of the rooms without Postgres, in TAP.
 *
 *   TEST(rate_parses_units) {
 *     CHECK(ond_rate_limit_parse("100/10s", &limit, &err));
 *     CHECK_INT(limit.requests, 100);
 *   }
 *
 * A test registers itself; unit.c runs them in the order they were defined. A failed check prints where and what and the
 * test goes on; REQUIRE ends it. A test that checked nothing fails. Arguments of the program choose tests by a piece of
 * their names.
 */
#ifndef OND_TEST_UNIT_H
#define OND_TEST_UNIT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct UnitTest {
  const char *name;
  void (*run)(void);
  struct UnitTest *next;
} UnitTest;

extern void unit_register(UnitTest *test);
/* Each counts one check, prints a diagnostic when it failed and returns whether it passed. */
extern bool unit_check(bool ok, const char *file, int line, const char *condition);
extern bool unit_check_int(long long actual, long long expected, const char *file, int line, const char *expression);
extern bool unit_check_str(const char *actual, const char *expected, const char *file, int line, const char *expression);
extern bool unit_check_mem(const void *actual, size_t actual_n, const void *expected, size_t expected_n, const char *file, int line,
                           const char *expression);
/* A line of explanation ("# ...") in the output. */
extern void unit_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A fixed sequence of random numbers: the same in every run (xorshift64*; the state must not be 0). */
extern unsigned long long unit_random(unsigned long long *state);

#define TEST(test_name)                                                                                                                    \
  static void test_##test_name(void);                                                                                                      \
  __attribute__((constructor)) static void register_##test_name(void) {                                                                    \
    static UnitTest test = {#test_name, test_##test_name, NULL};                                                                           \
    unit_register(&test);                                                                                                                  \
  }                                                                                                                                        \
  static void test_##test_name(void)

#define CHECK(condition)            unit_check((condition) ? true : false, __FILE__, __LINE__, #condition)
#define CHECK_INT(actual, expected) unit_check_int((long long)(actual), (long long)(expected), __FILE__, __LINE__, #actual)
/* NULL equals only NULL. */
#define CHECK_STR(actual, expected) unit_check_str((actual), (expected), __FILE__, __LINE__, #actual)
#define CHECK_MEM(actual, actual_n, expected, expected_n)                                                                                  \
  unit_check_mem((actual), (actual_n), (expected), (expected_n), __FILE__, __LINE__, #actual)
#define REQUIRE(condition)                                                                                                                 \
  do {                                                                                                                                     \
    if (!CHECK(condition)) {                                                                                                               \
      return;                                                                                                                              \
    }                                                                                                                                      \
  } while (0)

#endif
