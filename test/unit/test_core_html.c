/*
 * test_core_html.c - no text leaves its place in a page.
 */
#include <string.h>
#include "core/html.h"
#include "unit.h"

static const char *shown(const char *s, size_t chars_max) {
  static OndBuf out;

  ond_buf_free(&out);
  ond_buf_init(&out, 65536);
  ond_html_text(&out, s, chars_max);
  return out.data == NULL ? "" : out.data;
}

TEST(signs_of_markup_are_references) {
  CHECK_STR(shown("<b a=\"1\" c='2'>&amp;", 99), "&#x3c;b a=&#x22;1&#x22; c=&#x27;2&#x27;&#x3e;&#x26;amp;");
  CHECK_STR(shown("", 99), "");
  CHECK_STR(shown("a\tb\nc", 99), "a\tb\nc");
}

TEST(a_page_is_ascii) {
  CHECK_STR(shown("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 99), "&#xe9;&#x20ac;&#x1f600;");
}

TEST(what_xml_does_not_allow_is_replaced) {
  CHECK_STR(shown("\x01\x1b\x7f\xc2\x85", 99), "&#xfffd;&#xfffd;&#xfffd;&#xfffd;");
  CHECK_STR(shown("\xef\xbf\xbe\xff\xc3(\xed\xa0\x80", 99), "&#xfffd;&#xfffd;&#xfffd;(&#xfffd;&#xfffd;&#xfffd;");
  CHECK_STR(shown("a\xf0\x9f", 99), "a&#xfffd;&#xfffd;");
}

TEST(signs_of_direction_are_replaced) {
  CHECK_STR(shown("\xe2\x80\xae" "x\xe2\x81\xa6\xe2\x80\x8f", 99), "&#xfffd;x&#xfffd;&#xfffd;");
}

TEST(long_text_is_cut_at_a_character) {
  CHECK_STR(shown("abcdef", 3), "abc&#x2026;");
  CHECK_STR(shown("abc", 3), "abc");
  CHECK_STR(shown("\xc3\xa9\xc3\xa9\xc3\xa9", 2), "&#xe9;&#xe9;&#x2026;");
}
