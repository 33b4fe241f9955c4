/*
 * test_core_jsonptr.c - JSON pointers: the examples of RFC 6901 and what must not pass.
 */
#include <stdint.h>
#include <string.h>
#include "core/jsonptr.h"
#include "unit.h"

/* Parses and compares token by token; expected ends with NULL. */
static void check_tokens(const char *text, const char *const *expected) {
  OndArena *arena = ond_arena_create();
  OndJsonPtr p;
  OndError err;
  int n = 0;

  if (CHECK(ond_jsonptr_parse(arena, text, &p, &err))) {
    for (; expected[n]; n++) {
      if (n < p.n) {
        CHECK_MEM(p.tokens[n].p, p.tokens[n].n + 1, expected[n], strlen(expected[n]) + 1);
      }
    }
    CHECK_INT(p.n, n);
  }
  ond_arena_destroy(arena);
}

#define CHECK_TOKENS(text, ...) check_tokens((text), (const char *const[]){__VA_ARGS__, NULL})

TEST(jsonptr_reads_the_examples_of_the_rfc) {
  check_tokens("", (const char *const[]){NULL});
  CHECK_TOKENS("/foo", "foo");
  CHECK_TOKENS("/foo/0", "foo", "0");
  CHECK_TOKENS("/", "");
  CHECK_TOKENS("/a~1b", "a/b");
  CHECK_TOKENS("/c%d", "c%d");
  CHECK_TOKENS("/e^f", "e^f");
  CHECK_TOKENS("/i\\j", "i\\j");
  CHECK_TOKENS("/k\"l", "k\"l");
  CHECK_TOKENS("/ ", " ");
  CHECK_TOKENS("/m~0n", "m~n");
  CHECK_TOKENS("/~01", "~1"); /* not "/" */
  CHECK_TOKENS("//", "", "");
  CHECK_TOKENS("/a//b/", "a", "", "b", "");
}

TEST(jsonptr_knows_indexes) {
  static const struct {
    const char *text;
    int64_t index;
  } CASES[] = {{"/0", 0},
               {"/7", 7},
               {"/10", 10},
               {"/01", -1},
               {"/-", -1},
               {"/-1", -1},
               {"/+1", -1},
               {"/1.0", -1},
               {"/1a", -1},
               {"/", -1},
               {"/ 1", -1},
               {"/9223372036854775807", INT64_MAX},
               {"/9223372036854775808", -1},
               {"/99999999999999999999999", -1}};
  OndArena *arena = ond_arena_create();

  for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
    OndJsonPtr p;
    OndError err;

    if (CHECK(ond_jsonptr_parse(arena, CASES[i].text, &p, &err)) && CHECK_INT(p.n, 1)) {
      CHECK_INT(p.indexes[0], CASES[i].index);
    }
  }
  ond_arena_destroy(arena);
}

TEST(jsonptr_refuses) {
  static const char *const BAD[] = {"a", "a/b", "#/a", " /a", "~0", "/~", "/a~", "/~2", "/a~/b", "/~~0"};
  OndArena *arena = ond_arena_create();

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    OndJsonPtr p;
    OndError err = {0};

    if (!CHECK(!ond_jsonptr_parse(arena, BAD[i], &p, &err))) {
      unit_note("accepted \"%s\"", BAD[i]);
    }
    CHECK(strstr(err.message, BAD[i]) != NULL);
    CHECK(err.hint[0] != '\0');
  }
  ond_arena_destroy(arena);
}

TEST(jsonptr_has_at_most_32_steps) {
  OndArena *arena = ond_arena_create();
  OndJsonPtr p;
  OndError err;
  char text[200] = "";

  for (int i = 0; i < 32; i++) {
    strcat(text, "/ab");
  }
  CHECK(ond_jsonptr_parse(arena, text, &p, &err));
  CHECK_INT(p.n, 32);
  strcat(text, "/");
  CHECK(!ond_jsonptr_parse(arena, text, &p, &err));
  CHECK(strstr(err.message, "32") != NULL);
  ond_arena_destroy(arena);
}
