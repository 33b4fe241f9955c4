/*
 * test_core_memory.c - mem and buf: caps hold, what is there stays, arenas hand out zeroed memory that overlaps nothing.
 */
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include "core/buf.h"
#include "core/mem.h"
#include "unit.h"

static jmp_buf oom_jump;
static size_t oom_bytes;

static void oom_note(size_t bytes) {
  oom_bytes = bytes;
  longjmp(oom_jump, 1);
}

TEST(mem_calls_the_handler_when_memory_runs_out) {
  volatile bool reached = false;
  OndArena *arena = ond_arena_create();

  ond_mem_set_oom_handler(oom_note);
  if (setjmp(oom_jump) == 0) {
    ond_arena_alloc(arena, SIZE_MAX - 3);
    reached = true;
  }
  CHECK(!reached);
  CHECK(oom_bytes == SIZE_MAX - 3);
  oom_bytes = 0;
  if (setjmp(oom_jump) == 0) {
    ond_arena_strndup(arena, "x", SIZE_MAX);
    reached = true;
  }
  CHECK(!reached);
  CHECK(oom_bytes == SIZE_MAX);
  ond_mem_set_oom_handler(NULL);
  ond_arena_destroy(arena);
}

TEST(mem_takes_zero_bytes_and_null) {
  void *p = ond_malloc(0);

  CHECK(p != NULL);
  p = ond_realloc(p, 0);
  CHECK(p != NULL);
  ond_free(p);
  ond_free(NULL);
  ond_wipe(NULL, 0);
  ond_arena_destroy(NULL);
}

TEST(mem_copies_strings) {
  char *a = ond_strdup("abc");
  char *b = ond_strndup("abcdef", 2);
  char *c = ond_strndup("ab", 100);
  char *d = ond_strndup(NULL, 0);

  CHECK_STR(a, "abc");
  CHECK_STR(b, "ab");
  CHECK_STR(c, "ab");
  CHECK_STR(d, "");
  ond_free(a);
  ond_free(b);
  ond_free(c);
  ond_free(d);
}

TEST(mem_wipes) {
  char secret[16] = "correct horse";
  const char zeros[16] = {0};

  ond_wipe(secret, sizeof(secret));
  CHECK_MEM(secret, sizeof(secret), zeros, sizeof(zeros));
}

TEST(arena_memory_is_zeroed_aligned_and_its_own) {
  enum { PIECES = 400 };
  unsigned long long random = 42;
  unsigned char *pieces[PIECES];
  size_t sizes[PIECES];
  OndArena *arena = ond_arena_create();

  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < PIECES; i++) {
      bool zero = true;

      sizes[i] = (size_t)(unit_random(&random) % (i % 50 == 0 ? 30000 : 300));
      pieces[i] = ond_arena_alloc(arena, sizes[i]);
      CHECK((uintptr_t)pieces[i] % _Alignof(max_align_t) == 0);
      for (size_t k = 0; k < sizes[i]; k++) {
        zero = zero && pieces[i][k] == 0;
      }
      CHECK(zero);
      memset(pieces[i], i & 0xFF, sizes[i]);
    }
    for (int i = 0; i < PIECES; i++) {
      bool intact = true;

      for (size_t k = 0; k < sizes[i]; k++) {
        intact = intact && pieces[i][k] == (i & 0xFF);
      }
      CHECK(intact);
    }
    ond_arena_reset(arena);
  }
  ond_arena_reset(arena);
  CHECK_STR(ond_arena_strdup(arena, "after"), "after");
  CHECK_MEM(ond_arena_strndup(arena, "a\0b", 3), 4, "a\0b", 4);
  CHECK_STR(ond_arena_strndup(arena, NULL, 0), "");
  ond_arena_destroy(arena);
}

TEST(arena_reset_lets_go_of_a_huge_block) {
  OndArena *arena = ond_arena_create();
  char *huge = ond_arena_alloc(arena, 1 << 20);

  huge[(1 << 20) - 1] = 'x';
  ond_arena_reset(arena);
  ond_arena_reset(arena);
  CHECK_STR(ond_arena_strdup(arena, "small"), "small");
  ond_arena_destroy(arena);
}

TEST(buf_grows_to_its_cap_and_no_further) {
  OndBuf b;

  ond_buf_init(&b, 100);
  CHECK(b.data == NULL);
  for (int i = 0; i < 100; i++) {
    CHECK(ond_buf_append_char(&b, 'a'));
    CHECK_INT(b.data[b.len], 0);
  }
  CHECK(!b.overflow);
  CHECK(!ond_buf_append_char(&b, 'b'));
  CHECK(b.overflow);
  CHECK_INT(b.len, 100);
  CHECK(b.cap <= 101);
  CHECK_INT(strspn(b.data, "a"), 100);
  ond_buf_free(&b);
  CHECK(b.data == NULL && b.len == 0 && b.bytes_max == 100);
}

TEST(buf_overflow_sticks_until_reset) {
  OndBuf b;

  ond_buf_init(&b, 10);
  CHECK(ond_buf_append_str(&b, "12345678"));
  CHECK(!ond_buf_append_str(&b, "abc"));
  CHECK(!ond_buf_append_char(&b, 'x')); /* would fit, but would hide the hole */
  CHECK(!ond_buf_try_append(&b, "x", 1));
  CHECK(!ond_buf_appendf(&b, "%d", 1));
  CHECK_STR(b.data, "12345678");
  CHECK(b.overflow);
  ond_buf_reset(&b);
  CHECK(!b.overflow);
  CHECK_STR(b.data, "");
  CHECK(ond_buf_append_str(&b, "1234567890"));
  CHECK_STR(b.data, "1234567890");
  ond_buf_free(&b);
}

TEST(buf_caps_do_not_wrap_around) {
  OndBuf b;

  ond_buf_init(&b, SIZE_MAX);
  CHECK(ond_buf_append_str(&b, "abc"));
  CHECK(!ond_buf_try_append(&b, "x", SIZE_MAX - 1));
  CHECK(b.overflow);
  CHECK_STR(b.data, "abc");
  ond_buf_free(&b);
}

TEST(buf_without_a_cap_takes_only_nothing) {
  OndBuf b = {0};

  CHECK(!ond_buf_append(&b, "x", 1));
  CHECK(b.overflow);
  ond_buf_reset(&b);
  CHECK(ond_buf_append(&b, NULL, 0));
  CHECK_STR(b.data, "");
  ond_buf_free(&b);
}

TEST(buf_formats_whole_or_not_at_all) {
  OndBuf b;

  ond_buf_init(&b, 12);
  CHECK(ond_buf_appendf(&b, "%s-%d", "row", 42));
  CHECK_STR(b.data, "row-42");
  CHECK(!ond_buf_appendf(&b, "%010d", 7));
  CHECK_STR(b.data, "row-42");
  CHECK(b.overflow);
  ond_buf_free(&b);
}

TEST(buf_appends_bytes_with_nuls) {
  OndBuf b;

  ond_buf_init(&b, 100);
  CHECK(ond_buf_append_bytes(&b, OND_BYTES_LIT("a\0b")));
  CHECK(ond_buf_append_bytes(&b, OND_BYTES_NONE));
  CHECK_MEM(b.data, b.len, "a\0b", 3);
  ond_buf_free(&b);
}

TEST(buf_writes_json_strings) {
  OndBuf b;

  ond_buf_init(&b, 200);
  CHECK(ond_buf_append_json_string(&b, "a\"b\\c\n\x01\x7f\0z\xc3\xa9", 12));
  CHECK_STR(b.data, "\"a\\\"b\\\\c\\u000a\\u0001\x7f\\u0000z\xc3\xa9\"");
  ond_buf_reset(&b);
  CHECK(ond_buf_append_json_string(&b, "", 0));
  CHECK_STR(b.data, "\"\"");
  ond_buf_free(&b);
}

TEST(buf_json_strings_go_in_whole_or_not_at_all) {
  for (size_t max = 0; max < 20; max++) {
    OndBuf b;
    bool fits = max >= 2 + 14;

    ond_buf_init(&b, max);
    CHECK(ond_buf_append_json_string(&b, "a\x01\x02z", 4) == fits);
    CHECK_INT(b.len, fits ? 16 : 0);
    CHECK(b.overflow == !fits);
    CHECK(!b.data || b.data[b.len] == '\0');
    ond_buf_free(&b);
  }
}
