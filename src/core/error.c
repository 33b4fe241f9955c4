/*
 * error.c - filling an OndError.
 *
 * Invariant: every field is one line of well-formed UTF-8 that fits, whatever the arguments hold; what is too long is
 * cut at a character and ends in "...". Arguments may point into the error itself: a caller can wrap a message.
 */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "core/text.h"

#define FIELD_BYTES_MAX 1024 /* of the largest field, and to spare */

static const char ELLIPSIS[] = "...";

_Static_assert(sizeof(((OndError *)0)->detail) <= FIELD_BYTES_MAX, "a field must fit into the scratch buffer");

/* Formats into text, cut to fewer than `size` bytes. */
static void __attribute__((format(printf, 3, 0))) field_format(char *text, size_t size, const char *fmt, va_list args) {
  int needed = vsnprintf(text, size, fmt, args);

  if (needed < 0) {
    text[0] = '\0';
  } else if ((size_t)needed >= size) {
    size_t keep = ond_utf8_cut(text, size - 1, size - sizeof(ELLIPSIS));

    memcpy(text + keep, ELLIPSIS, sizeof(ELLIPSIS));
  }
  ond_text_clean(text);
}

#define FIELD_FILL(field)                                                                                                                  \
  do {                                                                                                                                     \
    char text[FIELD_BYTES_MAX];                                                                                                            \
    va_list args;                                                                                                                          \
                                                                                                                                           \
    va_start(args, fmt);                                                                                                                   \
    field_format(text, sizeof(e->field), fmt, args);                                                                                       \
    va_end(args);                                                                                                                          \
    memcpy(e->field, text, strlen(text) + 1);                                                                                              \
  } while (0)

void ond_error_set(OndError *e, const char *fmt, ...) {
  FIELD_FILL(message);
  e->sqlstate[0] = '\0';
  e->pointer[0] = '\0';
  e->detail[0] = '\0';
  e->hint[0] = '\0';
}

void ond_error_detail(OndError *e, const char *fmt, ...) {
  FIELD_FILL(detail);
}

void ond_error_hint(OndError *e, const char *fmt, ...) {
  FIELD_FILL(hint);
}

void ond_error_pointer(OndError *e, const char *fmt, ...) {
  FIELD_FILL(pointer);
}
