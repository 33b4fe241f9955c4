/*
 * test_connector_mapping.c - mappings: what a document means, and the payload it makes.
 */
#include <string.h>
#include "connector/mapping.h"
#include "unit.h"

static OndMapping *parse(const char *json, OndError *err) {
  memset(err, 0, sizeof(*err));
  return ond_mapping_parse(json, strlen(json), err);
}

static void renders(const char *json, const OndBytes *values, const char *expected) {
  OndError err;
  OndMapping *m = parse(json, &err);
  OndBuf out;

  CHECK_STR(err.message, "");
  REQUIRE(m);
  ond_buf_init(&out, 10000);
  CHECK(ond_mapping_render(m, values, &out));
  CHECK_STR(out.data, expected);
  ond_buf_free(&out);
  ond_mapping_free(m);
}

static void fails(const char *json, const char *words) {
  OndError err;
  OndMapping *m = parse(json, &err);

  CHECK(m == NULL);
  if (!CHECK(strstr(err.message, words) != NULL)) {
    unit_note("%s: %s", json, err.message);
  }
  ond_mapping_free(m);
}

static const char *constant(const char *json) {
  static char text[1000];
  OndError err;
  OndMapping *m = parse(json, &err);

  text[0] = '\0';
  if (CHECK(m != NULL)) {
    strncpy(text, ond_mapping_field(m, 0)->text, sizeof(text) - 1);
  }
  ond_mapping_free(m);
  return text;
}

/* Digit for digit: a number is not what a double or 64 bits make of it. */
TEST(mapping_constants_are_what_was_written) {
  CHECK_STR(constant("{\"a\": {\"const\": 123456789012345678901234567890}}"), "123456789012345678901234567890");
  CHECK_STR(constant("{\"a\": {\"const\": -99999999999999999999}}"), "-99999999999999999999");
  CHECK_STR(constant("{\"a\": {\"const\": 1.10}}"), "1.10");
  CHECK_STR(constant("{\"a\": {\"const\": 0.1234567890123456789}}"), "0.1234567890123456789");
  CHECK_STR(constant("{\"a\": {\"const\": {\"x\": [null, true, \"a/b\\n\"]}}}"), "{\"x\":[null,true,\"a/b\\u000a\"]}");
  CHECK_STR(constant("{\"a\": {\"const\": null}}"), "null");
}

TEST(mapping_paths_make_a_tree) {
  static const OndBytes VALUES[] = {OND_BYTES_LIT("1"), OND_BYTES_LIT("\"x\""), OND_BYTES_NONE, OND_BYTES_LIT("[2]")};

  renders("{\"a.b\": \"c0\", \"a.c\": \"c1\", \"gone\": \"c2\", \"t[0]\": \"c3\"}", VALUES, "{\"a\":{\"b\":1,\"c\":\"x\"},\"t\":[[2]]}");
  renders("{\"\\\"a.b\\\".c\": \"c0\", \"t[0]\": \"c1\", \"t[1]\": \"c2\", \"t[2].u\": \"c3\"}", VALUES,
          "{\"a.b\":{\"c\":1},\"t\":[\"x\",null,{\"u\":[2]}]}");
}

TEST(mapping_refuses_what_is_none) {
  fails("", "mapping is empty");
  fails("{\"a\": \"b\"}}", "mapping is not JSON");
  fails("{'a': 'b'}", "mapping is not JSON");
  fails("{\"a\": \"b\\u0000c\"}", "NUL character");
  fails("{\"a\": {\"const\": [\"\\u0000\"]}}", "NUL character");
  fails("7", "neither an object nor a list");
  fails("{}", "mapping has no fields");
  fails("{\"a\": \"x\", \"a.b\": \"y\"}", "collides");
  fails("{\"t[1]\": \"x\"}", "collides");
  fails("{\"a..b\": \"x\"}", "a name is empty");
  fails("{\"a\": {\"const\": 1, \"sql\": \"x\"}}", "exactly one");
  fails("{\"a\": {\"column\": \"x\", \"nul\": \"send\"}}", "unknown member \"nul\"");
}
