/*
 * buf.c - a growing byte buffer with a mandatory maximum.
 *
 * One place grows (reserve) and one place decides about the cap (room_for). Once a piece did not fit nothing is
 * appended any more until ond_buf_reset(): what is in the buffer is always a prefix of what was meant, without holes. A
 * formatted or JSON piece goes in whole or not at all.
 */
#include "core/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/mem.h"

#define BUF_BYTES_MIN 64

void ond_buf_init(OndBuf *b, size_t bytes_max) {
  *b = (OndBuf){0};
  /* Keeps len + n + 1 and doubling free of overflow. */
  b->bytes_max = bytes_max < SIZE_MAX / 4 ? bytes_max : SIZE_MAX / 4;
}

void ond_buf_reset(OndBuf *b) {
  b->len = 0;
  b->overflow = false;
  if (b->data) {
    b->data[0] = '\0';
  }
}

void ond_buf_free(OndBuf *b) {
  free(b->data);
  ond_buf_init(b, b->bytes_max);
}

/* Whether n more bytes stay below the cap; notes it when not. */
static bool room_for(OndBuf *b, size_t n) {
  if (b->overflow || n > b->bytes_max - b->len) {
    b->overflow = true;
    return false;
  }
  return true;
}

/* Memory for n more bytes and the NUL; false only when malloc failed and may_fail. */
static bool reserve(OndBuf *b, size_t n, bool may_fail) {
  size_t need = b->len + n + 1;
  size_t cap = b->cap ? b->cap : BUF_BYTES_MIN;
  char *data;

  if (b->data && need <= b->cap) {
    return true;
  }
  while (cap < need) {
    cap *= 2;
  }
  if (cap > b->bytes_max + 1) {
    cap = b->bytes_max + 1;
  }
  data = may_fail ? realloc(b->data, cap) : ond_realloc(b->data, cap);
  if (!data) {
    return false;
  }
  b->data = data;
  b->cap = cap;
  b->data[b->len] = '\0';
  return true;
}

static bool append(OndBuf *b, const void *p, size_t n, bool may_fail) {
  if (!room_for(b, n) || !reserve(b, n, may_fail)) {
    return false;
  }
  if (n) {
    memcpy(b->data + b->len, p, n);
  }
  b->len += n;
  b->data[b->len] = '\0';
  return true;
}

bool ond_buf_append(OndBuf *b, const void *p, size_t n) {
  return append(b, p, n, false);
}

bool ond_buf_try_append(OndBuf *b, const void *p, size_t n) {
  return append(b, p, n, true);
}

bool ond_buf_append_str(OndBuf *b, const char *s) {
  return append(b, s, strlen(s), false);
}

bool ond_buf_append_bytes(OndBuf *b, OndBytes bytes) {
  return append(b, bytes.p, bytes.n, false);
}

bool ond_buf_append_char(OndBuf *b, char c) {
  return append(b, &c, 1, false);
}

bool ond_buf_appendf(OndBuf *b, const char *fmt, ...) {
  va_list args;
  int n;

  va_start(args, fmt);
  n = vsnprintf(NULL, 0, fmt, args);
  va_end(args);
  if (n < 0 || !room_for(b, (size_t)n)) {
    b->overflow = true;
    return false;
  }
  reserve(b, (size_t)n, false);
  va_start(args, fmt);
  vsnprintf(b->data + b->len, (size_t)n + 1, fmt, args);
  va_end(args);
  b->len += (size_t)n;
  return true;
}

/* One byte of a JSON string that needs an escape. */
static bool append_json_escape(OndBuf *b, unsigned char c) {
  static const char HEX[] = "0123456789abcdef";

  if (c == '"' || c == '\\') {
    const char escape[2] = {'\\', (char)c};

    return append(b, escape, sizeof(escape), false);
  } else {
    const char escape[6] = {'\\', 'u', '0', '0', HEX[c >> 4], HEX[c & 15]};

    return append(b, escape, sizeof(escape), false);
  }
}

bool ond_buf_append_json_string(OndBuf *b, const char *s, size_t n) {
  size_t before = b->len;
  size_t clean = 0; /* start of the run that needs no escape */
  bool ok = append(b, "\"", 1, false);

  for (size_t i = 0; ok && i < n; i++) {
    unsigned char c = (unsigned char)s[i];

    if (c >= 0x20 && c != '"' && c != '\\') {
      continue;
    }
    ok = append(b, s + clean, i - clean, false) && append_json_escape(b, c);
    clean = i + 1;
  }
  if (ok && append(b, s + clean, n - clean, false) && append(b, "\"", 1, false)) {
    return true;
  }
  b->len = before;
  if (b->data) {
    b->data[before] = '\0';
  }
  return false;
}
