/*
 * text.c - UTF-8 checks and cuts for text that comes from outside.
 *
 * One decoder, utf8_length(), says how long the character at a place is; 0 means it is none. It knows the table of
 * well-formed byte sequences (Unicode, table 3-7) and nothing else.
 */
#include "core/text.h"

#include <string.h>

/* Bytes of the character at s (n >= 1 bytes left); 0: not well-formed. */
static size_t utf8_length(const unsigned char *s, size_t n) {
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  size_t length;

  if (s[0] < 0x80) {
    return 1;
  }
  if (s[0] < 0xC2 || s[0] > 0xF4) {
    return 0;
  }
  length = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
  if (n < length) {
    return 0;
  }
  switch (s[0]) {
  case 0xE0:
    low = 0xA0; /* overlong below */
    break;
  case 0xED:
    high = 0x9F; /* surrogates above */
    break;
  case 0xF0:
    low = 0x90; /* overlong below */
    break;
  case 0xF4:
    high = 0x8F; /* past U+10FFFF above */
    break;
  default: break;
  }
  if (s[1] < low || s[1] > high) {
    return 0;
  }
  for (size_t i = 2; i < length; i++) {
    if (s[i] < 0x80 || s[i] > 0xBF) {
      return 0;
    }
  }
  return length;
}

bool ond_utf8_valid(const char *s, size_t n) {
  for (size_t i = 0; i < n;) {
    size_t length = utf8_length((const unsigned char *)s + i, n - i);

    if (length == 0) {
      return false;
    }
    i += length;
  }
  return true;
}

size_t ond_utf8_put(unsigned int c, char out[4]) {
  if (c < 0x80) {
    out[0] = (char)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (char)(0xe0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 0x3f));
    out[2] = (char)(0x80 | (c & 0x3f));
    return 3;
  }
  out[0] = (char)(0xf0 | c >> 18);
  out[1] = (char)(0x80 | (c >> 12 & 0x3f));
  out[2] = (char)(0x80 | (c >> 6 & 0x3f));
  out[3] = (char)(0x80 | (c & 0x3f));
  return 4;
}

size_t ond_utf8_cut(const char *s, size_t n, size_t max) {
  size_t end = max;

  if (n <= max) {
    return n;
  }
  /* s[end] is the first byte left out: if it continues a character, the cut goes before that character's first byte. */
  for (int back = 0; back < 4; back++) {
    if (((unsigned char)s[end] & 0xC0) != 0x80) {
      return end;
    }
    if (end == 0) {
      break;
    }
    end--;
  }
  return max; /* no UTF-8 at all: there is no character to protect */
}

void ond_text_clean(char *s) {
  size_t n = strlen(s);
  size_t to = 0;

  for (size_t from = 0; from < n;) {
    const unsigned char *p = (const unsigned char *)s + from;
    size_t length = utf8_length(p, n - from);

    if (length == 0) {
      s[to++] = '?';
      from++;
    } else if (p[0] < 0x20 || p[0] == 0x7F || (p[0] == 0xC2 && p[1] < 0xA0)) {
      s[to++] = ' ';
      from += length;
    } else {
      memmove(s + to, p, length);
      to += length;
      from += length;
    }
  }
  s[to] = '\0';
}
