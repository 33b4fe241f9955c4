/*
 * fuzz_compare.c - any row against any record.
 *
 * What is told is JSON, whatever the two are. A row is the same as itself. Numbers and times are the same both ways where both are as exact; a number's one form is its own.
 *
 * Input: a byte (texts or not), then the row, a NUL, and the record.
 */
#include "connector/compare.h"
#include "core/same.h"
#include "fuzz.h"

static void compare(OndBytes ours, OndBytes theirs, bool texts, bool equal) {
  struct json_object *told;
  OndBuf out;
  int n;

  ond_buf_init(&out, 1 << 24);
  n = ond_compare_fields(ours, theirs, texts, OND_BYTES_NONE, NULL, &out);
  MUST(n >= -1 && (!equal || n <= 0));
  MUST(fuzz_json(out.data, out.len, &told) && json_object_is_type(told, json_type_object));
  MUST(n < 0 || n >= json_object_object_length(told)); /* two members may have one path */
  MUST((n > 0) == (json_object_object_length(told) > 0));
  json_object_put(told);
  ond_buf_free(&out);
}

static void compare_scalars(OndBytes a, OndBytes b) {
  OndBuf one;
  OndBuf again;

  MUST(ond_same_number(a, b) == ond_same_number(b, a));
  (void)ond_same_time(a, b);
  ond_buf_init(&one, 1 << 20);
  ond_buf_init(&again, 1 << 20);
  if (ond_number_canonical(a, &one)) {
    MUST(ond_same_number(a, a) && one.len > 0);
    if (ond_number_canonical((OndBytes){one.data, one.len}, &again)) { /* its exponent may be too large to be read again */
      MUST(one.len == again.len && memcmp(one.data, again.data, one.len) == 0);
    }
  }
  if (ond_same_time(a, b)) {
    MUST(ond_same_time(a, a) && ond_same_time(b, b));
  }
  ond_buf_reset(&one);
  (void)ond_json_scalar_text(a, &one);
  ond_buf_free(&one);
  ond_buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *nul;
  OndBytes ours;
  OndBytes theirs;

  if (size < 2) {
    return 0;
  }
  nul = memchr(data + 1, 0, size - 1);
  ours = (OndBytes){(const char *)data + 1, nul ? (size_t)(nul - data - 1) : size - 1};
  theirs = nul ? (OndBytes){(const char *)nul + 1, size - 2 - ours.n} : OND_BYTES_NONE;
  compare(ours, theirs, data[0] & 1, false);
  compare(ours, ours, data[0] & 1, true);
  compare_scalars(ours, theirs.p ? theirs : ours);
  return 0;
}
