/*
 * fuzz.h - what the fuzz targets share: properties that must hold, an input cut into pieces, JSON compared by json-c.
 *
 * A target is one file, fuzz_<name>.c: LLVMFuzzerTestOneInput() takes bytes, calls what reads them and states with MUST() what is true of the
 * result whatever the bytes are: round trips, bounds, agreement with a second implementation. A property that is broken aborts, as a
 * sanitizer does. Targets keep no state that changes what an input does.
 */
#ifndef OND_TEST_FUZZ_H
#define OND_TEST_FUZZ_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/buf.h"
#include "core/error.h"
#include "core/text.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                                                    \
  do {                                                                                                                                     \
    if (!(condition)) {                                                                                                                    \
      fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                                                              \
      abort();                                                                                                                             \
    }                                                                                                                                      \
  } while (0)

/* The bytes of one run, handed out from the front. */
typedef struct Fuzz {
  const uint8_t *p;
  size_t n;
} Fuzz;

static inline uint8_t fuzz_byte(Fuzz *f) {
  uint8_t byte = 0;

  if (f->n > 0) {
    byte = *f->p;
    f->p++;
    f->n--;
  }
  return byte;
}

/* Eight bytes, the first the lowest; what is missing is 0. */
static inline int64_t fuzz_int64(Fuzz *f) {
  uint64_t value = 0;

  for (int i = 0; i < 8; i++) {
    value |= (uint64_t)fuzz_byte(f) << (8 * i);
  }
  return (int64_t)value;
}

/* What stands before the next line feed, which is taken too; the rest when there is none. A copy of just its size: reads past it are seen. */
static inline char *fuzz_line(Fuzz *f, size_t *n) {
  const uint8_t *end = f->n > 0 ? memchr(f->p, '\n', f->n) : NULL;
  char *copy;

  *n = end ? (size_t)(end - f->p) : f->n;
  copy = malloc(*n + 1);
  if (*n > 0) {
    memcpy(copy, f->p, *n);
  }
  copy[*n] = '\0';
  f->p += *n + (end ? 1 : 0);
  f->n -= *n + (end ? 1 : 0);
  return copy;
}

/* All that is left, likewise. */
static inline char *fuzz_rest(Fuzz *f, size_t *n) {
  char *copy = malloc(f->n + 1);

  *n = f->n;
  if (f->n > 0) {
    memcpy(copy, f->p, f->n);
  }
  copy[*n] = '\0';
  f->p += f->n;
  f->n = 0;
  return copy;
}

/* One line of text that people read. */
static inline void fuzz_check_words(const char *text, size_t bytes_max) {
  size_t n = strlen(text);

  MUST(n <= bytes_max && ond_utf8_valid(text, n));
  for (size_t i = 0; i < n; i++) {
    MUST((unsigned char)text[i] >= 0x20 && text[i] != 0x7F);
  }
}

/* A refusal has words, and they can be shown. */
static inline void fuzz_check_error(const OndError *err) {
  MUST(err->message[0] != '\0');
  fuzz_check_words(err->message, sizeof(err->message) - 1);
  fuzz_check_words(err->detail, sizeof(err->detail) - 1);
  fuzz_check_words(err->hint, sizeof(err->hint) - 1);
  fuzz_check_words(err->pointer, sizeof(err->pointer) - 1);
}

/*
 * What json-c's own reading refuses, as the second opinion. From 0.17 on the strict one refuses whole numbers over 64 bits, and 0.18's check of UTF-8
 * some of what is ASCII: there only the lenient reading is asked.
 */
#if JSON_C_VERSION_NUM < ((0 << 16) | (17 << 8))
#define FUZZ_JSON_FLAGS (JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8)
#else
#define FUZZ_JSON_FLAGS 0
#endif

/* False: json-c does not take the text. null is a NULL object. */
static inline bool fuzz_json(const char *text, size_t n, struct json_object **out) {
  struct json_tokener *tokener = json_tokener_new_ex(200);
  enum json_tokener_error error;

  json_tokener_set_flags(tokener, FUZZ_JSON_FLAGS);
  *out = json_tokener_parse_ex(tokener, text, (int)n);
  error = json_tokener_get_error(tokener);
  if (error == json_tokener_continue) {
    *out = json_tokener_parse_ex(tokener, "", 1);
    error = json_tokener_get_error(tokener);
  }
  json_tokener_free(tokener);
  if (error != json_tokener_success) {
    json_object_put(*out);
    *out = NULL;
  }
  return error == json_tokener_success;
}

/* Whether the two texts are JSON and mean the same to json-c. */
static inline bool fuzz_same_json(const char *a, size_t a_n, const char *b, size_t b_n) {
  struct json_object *left;
  struct json_object *right = NULL;
  bool same = fuzz_json(a, a_n, &left) && fuzz_json(b, b_n, &right) && json_object_equal(left, right);

  json_object_put(left);
  json_object_put(right);
  return same;
}

#endif
