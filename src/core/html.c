/*
 * html.c - see html.h.
 */
#include "core/html.h"

#include <stdbool.h>
#include <string.h>

#include "core/text.h"

#define REPLACEMENT 0xfffdu
#define ELLIPSIS    "&#x2026;"

/* The character at s (n bytes left) and its length; bytes that are no UTF-8 are one replacement each. */
static unsigned int take(const char *s, size_t n, size_t *length) {
  unsigned char c = (unsigned char)s[0];
  unsigned int value;

  *length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  if (*length > n || !ond_utf8_valid(s, *length)) {
    *length = 1;
    return REPLACEMENT;
  }
  if (*length == 1)
    return c;
  value = c & (0xffu >> (*length + 1));
  for (size_t i = 1; i < *length; i++)
    value = value << 6 | ((unsigned char)s[i] & 0x3f);
  return value;
}

static bool is_refused(unsigned int c) {
  return (c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) ||
         c == 0x200e || c == 0x200f || c == 0x061c || (c >= 0xfff0 && c <= 0xffff && c != REPLACEMENT) || (c & 0xfffe) == 0xfffe;
}

void ond_html_text(OndBuf *out, const char *s, size_t chars_max) {
  size_t n = strlen(s);
  size_t length;

  for (size_t count = 0; n > 0; count++, s += length, n -= length) {
    unsigned int c = take(s, n, &length);

    if (count == chars_max) {
      ond_buf_append_str(out, ELLIPSIS);
      return;
    }
    if (is_refused(c))
      c = REPLACEMENT;
    if (c >= 0x80 || c == '&' || c == '<' || c == '>' || c == '"' || c == '\'')
      ond_buf_appendf(out, "&#x%x;", c);
    else
      ond_buf_append_char(out, (char)c);
  }
}
