/*
 * test_connector_members.c - the raw reader of JSON bytes, and the document reader over json-c.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include "connector/document.h"
#include "connector/form.h"
#include "connector/members.h"
#include "unit.h"

static OndBytes bytes(const char *s) {
  return (OndBytes){s, strlen(s)};
}

/* "name=value;" of all members; "!" at the end when malformed. */
static const char *list(const char *json) {
  static char out[1024];
  OndMembers m;
  OndMember member;
  size_t n = 0;

  if (!ond_members_begin(&m, bytes(json))) {
    return "none";
  }
  while (ond_members_next(&m, &member)) {
    n += (size_t)snprintf(out + n, sizeof(out) - n, "%.*s=%.*s;", (int)member.name.n, member.name.p ? member.name.p : "",
                          (int)member.value.n, member.value.p);
  }
  snprintf(out + n, sizeof(out) - n, "%s", m.bad ? "!" : "");
  return out;
}

TEST(members_are_found) {
  CHECK_STR(list("{}"), "");
  CHECK_STR(list("[]"), "");
  CHECK_STR(list(" { \"a\" : 1 , \"b\":[1,{\"c\":\"]}\"}],\"d\" : \"x,\\\"y\" } "), "a=1;b=[1,{\"c\":\"]}\"}];d=\"x,\\\"y\";");
  CHECK_STR(list("[1, \"two\",null,{\"a\":[]}]"), "=1;=\"two\";=null;={\"a\":[]};");
  CHECK_STR(list("{\"n\":123456789012345678901234567890.10}"), "n=123456789012345678901234567890.10;");
}

TEST(members_of_broken_text_end) {
  static const char *const BROKEN[] = {
      "{",          "{\"a\"",   "{\"a\":",           "{\"a\":1", "{\"a\":1,", "{\"a\":\"x", "{\"a\":\"x\\", "{a:1}",
      "{\"a\" 1}",  "{\"a\":}", "{\"a\":1 \"b\":2}", "[",        "[1",        "[1,",        "[,]",          "[1 2]",
      "{\"a\":[1}", "{,}",      "{\"a\":1,}"};

  for (size_t i = 0; i < sizeof(BROKEN) / sizeof(BROKEN[0]); i++) {
    const char *found = list(BROKEN[i]);

    if (!CHECK(found[0] && found[strlen(found) - 1] == '!')) {
      unit_note("%s", BROKEN[i]);
    }
  }
  CHECK_STR(list(""), "none");
  CHECK_STR(list("12"), "none");
  CHECK_STR(list("\"a\""), "none");
}

TEST(member_names_compare_by_text) {
  OndMembers m;
  OndMember a;
  OndMember b;

  CHECK(ond_members_begin(&m, bytes("{\"caf\\u00e9\":1,\"caf\xC3\xA9\":2}")));
  CHECK(ond_members_next(&m, &a) && ond_members_next(&m, &b));
  CHECK(ond_member_same_name(&a, &b));
  CHECK(ond_member_same_name(&b, &a));
  CHECK(ond_member_same_name(&a, &a));
  CHECK(ond_member_is(&a, bytes("caf\xC3\xA9")));
  CHECK(!ond_member_is(&a, bytes("cafe")));
}

static const char *unescape(const char *s) {
  static OndBuf b;

  ond_buf_init(&b, 100);
  static char out[100];
  bool ok = ond_json_unescape(bytes(s), &b);

  snprintf(out, sizeof(out), "%s", b.data ? b.data : "");
  ond_buf_free(&b);
  return ok ? out : NULL;
}

TEST(json_text_is_unescaped) {
  CHECK_STR(unescape("plain"), "plain");
  CHECK_STR(unescape("a\\\"b\\\\c\\/d\\n\\t\\r\\b\\f"), "a\"b\\c/d\n\t\r\b\f");
  CHECK_STR(unescape("\\u0041\\u00e9\\u20AC\\ud83d\\ude00"), "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
  CHECK_STR(unescape("\\ud83d"), NULL);
  CHECK_STR(unescape("\\ud83d\\u0041"), NULL);
  CHECK_STR(unescape("\\ude00"), NULL);
  CHECK_STR(unescape("\\u12"), NULL);
  CHECK_STR(unescape("\\u12g4"), NULL);
  CHECK_STR(unescape("\\x"), NULL);
  CHECK_STR(unescape("\\"), NULL);
}

TEST(json_is_compacted) {
  OndBuf b;

  ond_buf_init(&b, 1000);
  CHECK(ond_json_compact(bytes(" { \"a b\" : [ 1 , \" x \\\" \" ] } "), &b));
  CHECK_STR(b.data, "{\"a b\":[1,\" x \\\" \"]}");
  ond_buf_free(&b);
}

/* The document as JSON again, or its problem. */
static const char *document(const char *text, size_t n) {
  static char out[400];
  struct json_object *value;
  const char *problem;
  OndBuf b;

  if (!ond_document_parse(text, n, &value, &problem)) {
    return problem;
  }
  ond_buf_init(&b, sizeof(out) - 1);
  CHECK(ond_document_json(value, &b));
  snprintf(out, sizeof(out), "%s", b.data);
  ond_buf_free(&b);
  json_object_put(value);
  return out;
}

TEST(documents_keep_numbers_digit_for_digit) {
  static const char *const SAME[] = {"[1.10,1e400,0.1000000000000000055511151231257827,1E+2]",
                                     "[123456789012345678901234567890,-99999999999999999999]",
                                     "[18446744073709551616,9223372036854775807]",
                                     "1",
                                     "-12345678901234567890",
                                     "null",
                                     "\"\"",
                                     "[null,true,false]",
                                     "{\"a\":{\"b\":[]},\"c\":{}}",
                                     "{\"\xC3\xA9\":\"\xE6\x97\xA5\xE6\x9C\xAC \xC3\x9F\"}"};

  for (size_t i = 0; i < sizeof(SAME) / sizeof(SAME[0]); i++) {
    CHECK_STR(document(SAME[i], strlen(SAME[i])), SAME[i]);
  }
  CHECK_STR(document("\xEF\xBB\xBF{\"a\":1}", 10), "{\"a\":1}");
}

TEST(documents_that_are_not_json_are_refused) {
  static const char *const BAD[] = {"NaN",
                                    "[Infinity]",
                                    "[-Infinity]",
                                    "01",
                                    "[1.]",
                                    "[.5]",
                                    "[1e]",
                                    "[+1]",
                                    "[-01]",
                                    "[1,]",
                                    "{'a':1}",
                                    "[1]x",
                                    "[1][2]",
                                    "/*c*/[1]",
                                    "[1",
                                    "{\"a\"",
                                    "[\"a\nb\"]",
                                    "[\"\xC0\xAF\"]",
                                    "[\"\xED\xA0\x80\"]",
                                    "[nul]",
                                    "[True]",
                                    "{\"a\":1,}",
                                    "\"a",
                                    "[\"\\x\"]",
                                    "nan",
                                    "[-nan]",
                                    "[truefalse]",
                                    "[1, \n]",
                                    "1 2",
                                    "1true",
                                    "null null",
                                    "<html>"};

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    if (!CHECK(strcmp(document(BAD[i], strlen(BAD[i])), "is not JSON") == 0)) {
      unit_note("%s", BAD[i]);
    }
  }
  CHECK_STR(document("", 0), "is empty");
  CHECK_STR(document("[1]\0[2]", 7), "is not JSON");
}

TEST(documents_have_limits) {
  OndBuf b;

  ond_buf_init(&b, OND_DOCUMENT_BYTES_MAX + 100);
  for (int i = 0; i < 63; i++) {
    ond_buf_append_char(&b, '[');
  }
  for (int i = 0; i < 63; i++) {
    ond_buf_append_char(&b, ']');
  }
  CHECK(document(b.data, b.len)[0] == '[');
  ond_buf_reset(&b);
  for (int i = 0; i < 100000; i++) {
    ond_buf_append_char(&b, '[');
  }
  CHECK_STR(document(b.data, b.len), "is nested too deeply");
  ond_buf_reset(&b);
  ond_buf_append_char(&b, '[');
  for (int i = 0; i <= OND_DOCUMENT_VALUES_MAX; i++) {
    ond_buf_append_str(&b, "0,");
  }
  ond_buf_append_str(&b, "0]");
  CHECK_STR(document(b.data, b.len), "has too many values");
  ond_buf_reset(&b);
  while (b.len <= OND_DOCUMENT_BYTES_MAX) {
    ond_buf_append_str(&b, "                ");
  }
  CHECK_STR(document(b.data, b.len), "is too large");
  ond_buf_free(&b);
}

static const char *form(const char *json) {
  static char out[400];
  OndBuf b;
  OndError err;
  bool ok;

  ond_buf_init(&b, sizeof(out) - 1);
  ok = ond_form_append(bytes(json), &b, &err);
  snprintf(out, sizeof(out), "%s", ok ? (b.data ? b.data : "") : err.message);
  ond_buf_free(&b);
  return out;
}

TEST(forms_nest_in_brackets) {
  CHECK_STR(form("{\"a\":1,\"b\":{\"c\":\"x y\",\"d\":[1.50,{\"e\":true}]},\"n\":null,\"u\":\"\\u00e9&=\"}"),
            "a=1&b%5Bc%5D=x+y&b%5Bd%5D%5B0%5D=1.50&b%5Bd%5D%5B1%5D%5Be%5D=true&n=&u=%C3%A9%26%3D");
  CHECK_STR(form("{}"), "");
  CHECK_STR(form("{\"a\":{},\"b\":[]}"), "");
  CHECK_STR(form("[1]"), "the body of a form must be an object");
  CHECK_STR(form("{\"a\":1"), "the body of a form is not well-formed");
}

TEST(forms_have_a_depth) {
  OndBuf b;

  ond_buf_init(&b, 10000);
  for (int i = 0; i < 70; i++) {
    ond_buf_append_str(&b, "{\"a\":");
  }
  ond_buf_append_str(&b, "1");
  for (int i = 0; i < 70; i++) {
    ond_buf_append_str(&b, "}");
  }
  CHECK_STR(form(b.data), "the body of a form is nested too deeply");
  ond_buf_free(&b);
}
