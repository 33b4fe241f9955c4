/*
 * buf.h - a growing byte buffer with a mandatory maximum.
 *
 * Every buffer that grows with what comes from outside has a cap (bytes_max).
 * Passing it does not raise: the buffer keeps what it has, `overflow` turns
 * true and stays true until ond_buf_reset().
 */
#ifndef OND_CORE_BUF_H
#define OND_CORE_BUF_H

#include <stdbool.h>
#include <stddef.h>

/* A piece of memory that somebody else owns. p == NULL: absent (not empty). */
typedef struct OndBytes {
  const char *p;
  size_t n;
} OndBytes;

#define OND_BYTES_NONE ((OndBytes){NULL, 0})
#define OND_BYTES_LIT(s) ((OndBytes){(s), sizeof(s) - 1})

typedef struct OndBuf {
  char *data; /* NUL-terminated whenever data != NULL */
  size_t len;
  size_t cap;
  size_t bytes_max;
  bool overflow;
} OndBuf;

extern void ond_buf_init(OndBuf *b, size_t bytes_max);
extern void ond_buf_reset(OndBuf *b); /* len = 0, keeps the memory */
extern void ond_buf_free(OndBuf *b);
/* Appends; false (and overflow) when bytes_max would be passed. Calls the OOM handler when malloc fails. */
extern bool ond_buf_append(OndBuf *b, const void *p, size_t n);
/* Like ond_buf_append, but malloc failing also only returns false: for libcurl callbacks. */
extern bool ond_buf_try_append(OndBuf *b, const void *p, size_t n);
extern bool ond_buf_append_str(OndBuf *b, const char *s);
extern bool ond_buf_append_bytes(OndBuf *b, OndBytes bytes);
extern bool ond_buf_append_char(OndBuf *b, char c);
extern bool ond_buf_appendf(OndBuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends s as a JSON string with its quotes; input must be UTF-8. Control characters are \u00XX. */
extern bool ond_buf_append_json_string(OndBuf *b, const char *s, size_t n);

#endif
