/*
 * fuzz_mapping.c - any mapping, and a payload from it.
 *
 * The payload is JSON, whatever the paths are; every field's value stands at its place and nothing else does. Constants mean what the
 * document says, digit for digit. The order of members is no part of the meaning.
 *
 * Input: a byte (which values are absent), then a document.
 */
#include "connector/mapping.h"
#include "fuzz.h"

#define VALUES 5

static const OndBytes SAMPLES[VALUES] = {OND_BYTES_LIT("1"), OND_BYTES_LIT("\"a\\\"\\n\""), OND_BYTES_LIT("[null, {\"x\": 1.50}]"),
                                         OND_BYTES_LIT("null"), OND_BYTES_LIT("123456789012345678901234567890")};

static int count_leaves(struct json_object *value) {
  int n = 0;

  if (json_object_is_type(value, json_type_object)) {
    json_object_object_foreach(value, name, member) {
      (void)name;
      n += count_leaves(member);
    }
  } else if (json_object_is_type(value, json_type_array)) {
    for (size_t i = 0; i < json_object_array_length(value); i++) {
      n += count_leaves(json_object_array_get_idx(value, i));
    }
  } else {
    n = 1;
  }
  return n;
}

static void check_field(const OndField *f) {
  struct json_object *value;

  MUST(f->target && f->target[0] && f->text);
  MUST(f->kind == OND_SOURCE_CONST || f->text[0]);
  if (f->kind == OND_SOURCE_CONST) {
    MUST(fuzz_json(f->text, strlen(f->text), &value));
    json_object_put(value);
  }
  MUST(f->kind != OND_SOURCE_TEMPLATE || f->template.n > 0);
  MUST((f->kind == OND_SOURCE_LOOKUP) == (f->n_by > 0));
  for (int i = 0; i < f->n_by; i++) {
    MUST(f->by[i] && f->by[i][0]);
  }
}

static void check_payload(const OndMapping *m, const OndBytes *values, int expected) {
  struct json_object *payload;
  OndBuf out;

  ond_buf_init(&out, 1 << 22);
  MUST(ond_mapping_render(m, values, &out));
  MUST(fuzz_json(out.data, out.len, &payload) && json_object_is_type(payload, json_type_object));
  MUST(expected < 0 || count_leaves(payload) == expected);
  json_object_put(payload);
  ond_buf_free(&out);
}

/* The payload with all its members in another order says the same. */
static void check_order(OndMapping *m, const OndBytes *values) {
  int n = ond_mapping_count(m);
  int *ranks = malloc(sizeof(int) * (size_t)n);
  OndBuf before;
  OndBuf after;

  ond_buf_init(&before, 1 << 22);
  ond_buf_init(&after, 1 << 22);
  for (int i = 0; i < n; i++) {
    ranks[i] = n - i;
  }
  MUST(ond_mapping_render(m, values, &before));
  ond_mapping_order(m, ranks);
  MUST(ond_mapping_render(m, values, &after));
  MUST(before.len == after.len && fuzz_same_json(before.data, before.len, after.data, after.len));
  free(ranks);
  ond_buf_free(&before);
  ond_buf_free(&after);
}

static void check_mapping(OndMapping *m, uint8_t absent) {
  int n = ond_mapping_count(m);
  OndBytes *values = calloc((size_t)n, sizeof(OndBytes));
  OndBytes *ones = calloc((size_t)n, sizeof(OndBytes));

  MUST(n >= 1);
  for (int i = 0; i < n; i++) {
    check_field(ond_mapping_field(m, i));
    values[i] = (i + 1) % 8 == absent % 16 ? OND_BYTES_NONE : SAMPLES[i % VALUES];
    ones[i] = OND_BYTES_LIT("1");
    MUST(i == 0 || strcmp(ond_mapping_field(m, ond_mapping_sorted(m)[i - 1])->target,
                          ond_mapping_field(m, ond_mapping_sorted(m)[i])->target) <= 0);
  }
  check_payload(m, values, -1);
  check_payload(m, ones, n);
  check_order(m, values);
  free(values);
  free(ones);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  uint8_t absent = fuzz_byte(&f);
  size_t n;
  char *document = fuzz_rest(&f, &n);
  OndError err = {0};
  OndMapping *m = ond_mapping_parse(document, n, &err);
  struct json_object *theirs = NULL;

  if (m) {
    MUST(memcmp(document, "\xEF\xBB\xBF", 3) == 0 || fuzz_json(document, n, &theirs)); /* a byte order mark is stepped over */
    json_object_put(theirs);
    check_mapping(m, absent);
    ond_mapping_free(m);
  } else {
    fuzz_check_error(&err);
  }
  free(document);
  return 0;
}
