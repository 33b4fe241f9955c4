/*
 * text.h - UTF-8 checks and cuts for text that comes from outside.
 */
#ifndef OND_CORE_TEXT_H
#define OND_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. NUL counts as a character. */
extern bool ond_utf8_valid(const char *s, size_t n);
/* Writes the 1 to 4 bytes of a character of at most U+10FFFF; how many. */
extern size_t ond_utf8_put(unsigned int c, char out[4]);
/* Length of the longest prefix of s (n bytes) that has at most `max` bytes and does not cut a character. */
extern size_t ond_utf8_cut(const char *s, size_t n, size_t max);
/* In place: each control character (C0, DEL, C1) becomes a blank, each byte that is not UTF-8 a '?'. */
extern void ond_text_clean(char *s);

#endif
