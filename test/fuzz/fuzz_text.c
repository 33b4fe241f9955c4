/*
 * fuzz_text.c - any bytes as text: UTF-8, cuts, cleaning, JSON strings.
 *
 * Well-formed is what decoding and encoding again gives back, no surrogate and nothing above U+10FFFF. A cut is a prefix that is as long as
 * it can be; what was cleaned is one line of UTF-8, and clean text stays as it is.
 *
 * Input: a byte (how long a cut may be), then text.
 */
#include "core/scan.h"
#include "fuzz.h"

/* One character at p, decoded without any rule but the lengths, then encoded by the book: 0 when that is not what stands there. */
static size_t character(const unsigned char *p, size_t n) {
  size_t length = p[0] < 0x80 ? 1 : (p[0] & 0xE0) == 0xC0 ? 2 : (p[0] & 0xF0) == 0xE0 ? 3 : (p[0] & 0xF8) == 0xF0 ? 4 : 0;
  unsigned long code = length == 1 ? p[0] : length > 1 ? p[0] & (0x7F >> length) : 0;
  size_t needed;

  if (length == 0 || length > n) {
    return 0;
  }
  for (size_t i = 1; i < length; i++) {
    if ((p[i] & 0xC0) != 0x80) {
      return 0;
    }
    code = code << 6 | (p[i] & 0x3F);
  }
  needed = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  return needed == length && code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF) ? length : 0;
}

static bool is_valid(const char *s, size_t n) {
  size_t length;

  for (size_t i = 0; i < n; i += length) {
    length = character((const unsigned char *)s + i, n - i);
    if (length == 0) {
      return false;
    }
  }
  return true;
}

static void check_cut(const char *s, size_t n, size_t max) {
  size_t cut = ond_utf8_cut(s, n, max);

  MUST(cut <= n && cut <= max && (n > max || cut == n));
  if (is_valid(s, n)) {
    MUST(is_valid(s, cut));
    MUST(cut == n || cut + character((const unsigned char *)s + cut, n - cut) > max);
  }
}

static void check_clean(const char *s) {
  size_t n = strlen(s);
  char *clean = strdup(s);
  char *again;
  bool was_clean = is_valid(s, n);

  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)s[i];

    was_clean = was_clean && c >= 0x20 && c != 0x7F && !(c == 0xC2 && (unsigned char)s[i + 1] < 0xA0);
  }
  ond_text_clean(clean);
  MUST(strlen(clean) <= n);
  fuzz_check_words(clean, n);
  MUST(!was_clean || strcmp(clean, s) == 0);
  again = strdup(clean);
  ond_text_clean(again);
  MUST(strcmp(again, clean) == 0);
  free(again);
  free(clean);
}

static void check_json_string(const char *s, size_t n) {
  struct json_object *value;
  OndBuf out;

  ond_buf_init(&out, 6 * n + 2);
  MUST(ond_buf_append_json_string(&out, s, n) && is_valid(out.data, out.len));
  for (size_t i = 0; i < out.len; i++) {
    MUST((unsigned char)out.data[i] >= 0x20);
  }
  MUST(fuzz_json(out.data, out.len, &value) && json_object_is_type(value, json_type_string));
  MUST((size_t)json_object_get_string_len(value) == n && memcmp(json_object_get_string(value), s, n) == 0);
  json_object_put(value);
  ond_buf_free(&out);
}

/* An error keeps what fits of any text, as one line. */
static void check_errors(const char *s) {
  OndError err = {0};

  ond_error_set(&err, "x%s", s);
  ond_error_detail(&err, "%s%s", s, s);
  ond_error_hint(&err, "%s", s);
  ond_error_pointer(&err, "%s", s);
  fuzz_check_error(&err);
}

static int value_of(const char *digits, int n) {
  char text[10];

  memcpy(text, digits, (size_t)n);
  text[n] = '\0';
  return (int)strtol(text, NULL, 10);
}

static void check_scan(const char *s, size_t n) {
  OndScan scan = ond_scan_trimmed(s, n);
  int number;

  MUST(scan.p >= s && scan.p <= scan.end && scan.end <= s + n);
  for (int digits = 1; digits <= 9; digits++) {
    OndScan at = scan;

    if (ond_scan_number(&at, digits, &number)) {
      MUST(at.p == scan.p + digits && number >= 0 && number == value_of(scan.p, digits));
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  size_t max = fuzz_byte(&f);
  size_t n;
  char *s = fuzz_rest(&f, &n);

  MUST(ond_utf8_valid(s, n) == is_valid(s, n));
  check_cut(s, n, max);
  check_clean(s);
  if (is_valid(s, n)) {
    check_json_string(s, n);
  }
  check_errors(s);
  check_scan(s, n);
  free(s);
  return 0;
}
