/*
 * html.h - text of anybody's in a page: as text, in any encoding of the page.
 */
#ifndef OND_CORE_HTML_H
#define OND_CORE_HTML_H

#include "core/buf.h"

/*
 * Appends at most chars_max characters of s (UTF-8, NUL-terminated), and an ellipsis where it is longer, for element content and quoted
 * attributes. Only ASCII comes out: everything else as numeric
 * references; the five signs of markup likewise. What XML does not allow, bytes that are no UTF-8, and signs that turn the direction of
 * writing become U+FFFD.
 */
extern void ond_html_text(OndBuf *out, const char *s, size_t chars_max);

#endif
