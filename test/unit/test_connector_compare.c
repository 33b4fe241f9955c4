/*
 * test_connector_compare.c - rows against records: the same key, the same fields, and what differs.
 */
#include <stdio.h>
#include <string.h>
#include "connector/compare.h"
#include "connector_case.h"

/* In single quotes; "(unreadable)" when it cannot be compared. */
static const char *differs_null(const char *ours, const char *theirs, bool texts, const char *null, const char *const *skip) {
  static char out[8000];
  static Case t;
  OndBuf buf;
  int n;

  ond_buf_init(&buf, sizeof(out) - 1);
  n = ond_compare_fields(case_bytes(case_json(&t, ours)), case_bytes(theirs ? case_json(&t, theirs) : NULL), texts, case_bytes(null ? case_json(&t, null) : NULL), skip, &buf);
  snprintf(out, sizeof(out), "%s", n < 0 ? "(unreadable)" : buf.data);
  ond_buf_free(&buf);
  for (char *p = out; *p; p++) {
    *p = *p == '"' ? '\'' : *p;
  }
  return out;
}

static const char *differs(const char *ours, const char *theirs, bool texts, const char *const *skip) {
  return differs_null(ours, theirs, texts, NULL, skip);
}

TEST(what_clears_a_field_is_a_null) {
  CHECK_STR(differs_null("{'a':'#N/A','b':'#N/A','c':'#N/A'}", "{'a':'','b':null}", false, "'#N/A'", NULL), "{}");
  CHECK_STR(differs_null("{'a':'','b':'x'}", "{'b':'x'}", false, "''", NULL), "{}");
  CHECK_STR(differs_null("{'a':'#N/A'}", "{'a':'x'}", false, "'#N/A'", NULL), "{'a':{'model':'#N/A','destination':'x'}}");
  CHECK_STR(differs_null("{'a':'#N/A'}", "{'a':''}", false, NULL, NULL), "{'a':{'model':'#N/A','destination':''}}");
}

#define EXACT(ours, theirs) differs(ours, theirs, false, NULL)
#define TEXTS(ours, theirs) differs(ours, theirs, true, NULL)

TEST(the_same_in_other_words) {
  CHECK_STR(EXACT("{'a':1.50,'b':'x','c':null,'d':[1,{'e':2}],'f':true}", "{'f':true,'d':[1.0,{'e':2e0,'more':1}],'b':'x','a':1.5,'z':1}"), "{}");
  CHECK_STR(EXACT("{'at':'2026-01-01T12:00:00.123456Z'}", "{'at':'2026-01-01T13:00:00.123+01:00'}"), "{}");
  CHECK_STR(EXACT("{'a':null}", "{'a':null}"), "{}");
  CHECK_STR(EXACT("{'a':null,'b':{'c':null}}", NULL), "{}");
  CHECK_STR(EXACT("{}", "[1,2]"), "{}");
}

TEST(what_differs_is_told_with_its_path) {
  CHECK_STR(EXACT("{'a':1,'b':{'c':'x','d':2}}", "{'a':2,'b':{'c':'x','d':3,'e':1}}"), "{'a':{'model':1,'destination':2},'b.d':{'model':2,'destination':3}}");
  CHECK_STR(EXACT("{'a':'x'}", "{}"), "{'a':{'model':'x','destination':null}}");
  CHECK_STR(EXACT("{'b':{'c':1}}", "{}"), "{'b.c':{'model':1,'destination':null}}");
  CHECK_STR(EXACT("{'b':{'c':1}}", "{'b':5}"), "{'b':{'model':{'c':1},'destination':5}}");
  CHECK_STR(EXACT("{'a':[1,2]}", "{'a':[1,2,3]}"), "{'a':{'model':[1,2],'destination':[1,2,3]}}");
  CHECK_STR(EXACT("{'a':9007199254740993}", "{'a':9007199254740992}"), "{'a':{'model':9007199254740993,'destination':9007199254740992}}");
}

TEST(types_count_unless_the_api_gives_texts) {
  CHECK_STR(EXACT("{'a':1}", "{'a':'1'}"), "{'a':{'model':1,'destination':'1'}}");
  CHECK_STR(EXACT("{'a':true}", "{'a':'true'}"), "{'a':{'model':true,'destination':'true'}}");
  CHECK_STR(EXACT("{'a':null}", "{'a':''}"), "{'a':{'model':null,'destination':''}}");
  CHECK_STR(EXACT("{'a':'1'}", "{'a':1}"), "{'a':{'model':'1','destination':1}}");
  CHECK_STR(EXACT("{'a':0}", "{'a':false}"), "{'a':{'model':0,'destination':false}}");
  CHECK_STR(TEXTS("{'a':1.50,'b':true,'c':null,'d':'','e':'x'}", "{'a':'1.5','b':'true','c':'','d':null,'e':'x'}"), "{}");
  CHECK_STR(TEXTS("{'a':'007','b':1}", "{'a':'7','b':'2'}"), "{'a':{'model':'007','destination':'7'},'b':{'model':1,'destination':'2'}}");
  CHECK_STR(TEXTS("{'a':true}", "{'a':'1'}"), "{'a':{'model':true,'destination':'1'}}");
}

TEST(fields_can_be_left_out) {
  static const char *const SKIP[] = {"at", "b", NULL};

  CHECK_STR(differs("{'at':1,'a':1,'b':{'c':1},'d':{'at':1}}", "{'a':1}", false, SKIP), "{'d.at':{'model':1,'destination':null}}");
}

TEST(long_values_are_cut_and_bad_ones_told) {
  char ours[4000];
  const char *told;

  snprintf(ours, sizeof(ours), "{'a':'%0*d'}", 3000, 7);
  told = EXACT(ours, "{'a':'x'}");
  CHECK(strlen(told) < 1200);
  CHECK(strstr(told, " ...','destination':'x'}}") != NULL);
  CHECK_STR(EXACT("{'a':1", "{}"), "(unreadable)");
  CHECK_STR(EXACT("[1]", "{}"), "(unreadable)");
  CHECK_STR(EXACT("{'a':1}", "{'a':"), "(unreadable)");
}

/* Of a connector whose object folds, or not. */
static const char *natural(const char *key, int n, const char *const *texts, bool number) {
  static char out[200];
  static Case t;
  OndBytes parts[3];
  bool numeric[3] = {number, number, number};
  char options[300];
  OndBuf buf;

  snprintf(options, sizeof(options), "{'object': {'upsert': {'method': 'PUT', 'path': '/x/{{key}}'}, 'key': %s, 'list': {'method': 'GET', 'path': '/x', 'id': '/id'}}}", key);
  ond_buf_init(&buf, sizeof(out) - 1);
  if (!case_parse(&t, options)) {
    return t.err.message;
  }
  for (int i = 0; i < n; i++) {
    parts[i] = case_bytes(texts[i]);
  }
  snprintf(out, sizeof(out), "%s", ond_natural_key(t.c, n, parts, numeric, &buf) ? buf.data : "(full)");
  ond_buf_free(&buf);
  ond_connector_free(t.c);
  return out;
}

TEST(keys_as_the_destination_knows_them) {
  static const char *const MAIL[] = {"Ann@Example.com"};
  static const char *const NUMBER[] = {"1.50"};
  static const char *const TWO[] = {"a", "bc"};
  static const char *const OTHER[] = {"ab", "c"};
  char first[200];

  CHECK_STR(natural("{'field': 'email', 'fold': 'lower'}", 1, MAIL, false), "ann@example.com");
  CHECK_STR(natural("'email'", 1, MAIL, false), "Ann@Example.com");
  CHECK_STR(natural("'email'", 1, NUMBER, true), "15E-1");
  CHECK_STR(natural("'email'", 1, NUMBER, false), "1.50");
  CHECK_STR(natural("'email'", 1, MAIL, true), "Ann@Example.com");
  snprintf(first, sizeof(first), "%s", natural("'email'", 2, TWO, false));
  CHECK(strcmp(first, natural("'email'", 2, OTHER, false)) != 0);
}

TEST(texts_of_scalars) {
  static const char *const CASES[][2] = {{"\"a\\u00e9\\n\"", "a\xC3\xA9\n"}, {" 1.50 ", "1.50"}, {"true", "true"}, {"null", NULL}, {"{}", NULL}, {"[]", NULL}, {"", NULL}, {"\"", NULL}};

  for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
    OndBuf buf;

    ond_buf_init(&buf, 100);
    CHECK(ond_json_scalar_text(case_bytes(CASES[i][0]), &buf) == (CASES[i][1] != NULL));
    if (CASES[i][1]) {
      CHECK_STR(buf.data, CASES[i][1]);
    }
    ond_buf_free(&buf);
  }
}
