/*
 * document.c - JSON text in, json-c values out; pointers into them, and their text.
 *
 * One pass over the text (scan) goes before json-c: it refuses what is not JSON though json-c takes it, counts values so that a hostile
 * answer cannot make a small text into gigabytes of objects, and notices integers past 64 bits. json-c would clamp those; "e0" is
 * put behind them in a copy, which makes json-c keep their text, and is taken off again wherever text is produced.
 *
 * json-c's own strict mode is not asked: in 0.18 it refuses every string that is not ASCII. What it is for (trailing commas, words like
 * nan, text behind the value) is found here.
 */
#include "connector/document.h"
#include "connector/members.h"

#include <string.h>
#include "core/text.h"

#define INTEGER_DIGITS_MAX 18 /* always fits into an int64 */

typedef struct Scan {
  const char *p;
  const char *end;
  size_t values;
  size_t long_integers;
  OndBuf *copy; /* where the text goes with "e0" behind long integers; NULL: only look */
} Scan;

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool skip_digits(Scan *s) {
  const char *start = s->p;

  while (s->p < s->end && is_digit(*s->p)) {
    s->p++;
  }
  return s->p > start;
}

/* The number grammar of RFC 8259. */
static bool scan_number(Scan *s) {
  const char *start = s->p;
  const char *digits;
  bool integer = true;

  s->p += *s->p == '-';
  digits = s->p;
  if (!skip_digits(s) || (*digits == '0' && s->p - digits > 1)) {
    return false;
  }
  if (s->p < s->end && *s->p == '.') {
    integer = false;
    s->p++;
    if (!skip_digits(s)) {
      return false;
    }
  }
  if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
    integer = false;
    s->p++;
    s->p += s->p < s->end && (*s->p == '+' || *s->p == '-');
    if (!skip_digits(s)) {
      return false;
    }
  }
  if (s->copy) {
    ond_buf_append(s->copy, start, (size_t)(s->p - start));
  }
  if (integer && s->p - digits > INTEGER_DIGITS_MAX) {
    s->long_integers++;
    if (s->copy) {
      ond_buf_append_str(s->copy, "e0");
    }
  }
  return true;
}

static bool scan_string(Scan *s) {
  const char *start = s->p;

  for (s->p++; s->p < s->end && *s->p != '"'; s->p++) {
    if ((unsigned char)*s->p < 0x20) {
      return false;
    }
    if (*s->p == '\\' && ++s->p == s->end) {
      return false;
    }
  }
  if (s->p == s->end) {
    return false;
  }
  s->p++;
  if (s->copy) {
    ond_buf_append(s->copy, start, (size_t)(s->p - start));
  }
  return true;
}

static bool scan_word(Scan *s) {
  static const char *const words[] = {"true", "false", "null"};

  for (int i = 0; i < 3; i++) {
    size_t n = strlen(words[i]);

    if ((size_t)(s->end - s->p) >= n && memcmp(s->p, words[i], n) == 0) {
      s->p += n;
      if (s->copy) {
        ond_buf_append(s->copy, words[i], n);
      }
      return true;
    }
  }
  return false;
}

static bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool scan_mark(Scan *s, char before) {
  char c = *s->p;

  if (before == ',' && (c == '}' || c == ']')) {
    return false;
  }
  s->values += c == ',' || c == '{' || c == '[';
  if (s->copy) {
    ond_buf_append_char(s->copy, c);
  }
  s->p++;
  return true;
}

static bool scan(Scan *s) {
  char before = '\0'; /* the token before this one, by its first character */

  while (s->p < s->end) {
    char c = *s->p;
    bool ok;

    if (c == '"') {
      ok = scan_string(s);
    } else if (c == '-' || is_digit(c)) {
      ok = scan_number(s);
    } else if (c && strchr("{}[]:, \t\r\n", c)) {
      ok = scan_mark(s, before);
    } else {
      ok = scan_word(s);
    }
    if (!ok) {
      return false;
    }
    before = is_space(c) ? before : c;
  }
  return true;
}

static bool only_space(const char *p, const char *end) {
  while (p < end && is_space(*p)) {
    p++;
  }
  return p == end;
}

static bool parse(const char *text, size_t n, struct json_object **out, const char **problem) {
  struct json_tokener *tokener = json_tokener_new_ex(OND_DOCUMENT_DEPTH_MAX);
  enum json_tokener_error error;

  if (!tokener) {
    *problem = "out of memory";
    return false;
  }
  *out = json_tokener_parse_ex(tokener, text, (int)n);
  error = json_tokener_get_error(tokener);
  if (error == json_tokener_success && !only_space(text + json_tokener_get_parse_end(tokener), text + n)) {
    error = json_tokener_error_parse_unexpected;
  } else if (error == json_tokener_continue) {
    /* A number at the very end is complete only when something follows it. */
    *out = json_tokener_parse_ex(tokener, "", 1);
    error = json_tokener_get_error(tokener);
  }
  json_tokener_free(tokener);
  if (error == json_tokener_success) {
    return true;
  }
  json_object_put(*out);
  *out = NULL;
  *problem = error == json_tokener_error_depth ? "is nested too deeply" : "is not JSON";
  return false;
}

bool ond_json_is_valid(OndBytes json) {
  struct json_object *value;
  const char *problem;
  bool ok = json.p && ond_document_parse(json.p, json.n, &value, &problem);

  if (ok) {
    json_object_put(value);
  }
  return ok;
}

bool ond_document_parse(const char *text, size_t n, struct json_object **out, const char **problem) {
  Scan s = {0};
  OndBuf copy;
  bool ok;

  *out = NULL;
  if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
    text += 3;
    n -= 3;
  }
  if (n == 0) {
    *problem = "is empty";
    return false;
  }
  if (n > OND_DOCUMENT_BYTES_MAX) {
    *problem = "is too large";
    return false;
  }
  s.p = text;
  s.end = text + n;
  if (!ond_utf8_valid(text, n) || !scan(&s)) {
    *problem = "is not JSON";
    return false;
  }
  if (s.values > OND_DOCUMENT_VALUES_MAX) {
    *problem = "has too many values";
    return false;
  }
  if (s.long_integers == 0) {
    return parse(text, n, out, problem);
  }
  ond_buf_init(&copy, n + 2 * s.long_integers);
  s = (Scan){.p = text, .end = text + n, .copy = &copy};
  scan(&s);
  ok = parse(copy.data, copy.len, out, problem);
  ond_buf_free(&copy);
  return ok;
}

bool ond_document_at(struct json_object *root, const OndJsonPtr *pointer, struct json_object **out) {
  for (int i = 0; i < pointer->n; i++) {
    if (json_object_is_type(root, json_type_object)) {
      /* A token with a NUL in it names nothing: json-c takes C strings. */
      if (strlen(pointer->tokens[i].p) != pointer->tokens[i].n || !json_object_object_get_ex(root, pointer->tokens[i].p, &root)) {
        return false;
      }
    } else if (json_object_is_type(root, json_type_array)) {
      int64_t index = pointer->indexes[i];

      if (index < 0 || (uint64_t)index >= json_object_array_length(root)) {
        return false;
      }
      root = json_object_array_get_idx(root, (size_t)index);
    } else {
      return false;
    }
  }
  *out = root;
  return true;
}

/* A number as it was written. */
static bool append_number(struct json_object *value, OndBuf *out) {
  const char *text = json_object_get_string(value);
  size_t n = text ? strlen(text) : 0;

  if (n > INTEGER_DIGITS_MAX + 2 && memcmp(text + n - 2, "e0", 2) == 0) {
    n -= 2;
  }
  return n > 0 && ond_buf_append(out, text, n);
}

bool ond_document_text(struct json_object *value, OndBuf *out) {
  switch (json_object_get_type(value)) {
  case json_type_string: return ond_buf_append(out, json_object_get_string(value), (size_t)json_object_get_string_len(value));
  case json_type_boolean: return ond_buf_append_str(out, json_object_get_boolean(value) ? "true" : "false");
  case json_type_int:
  case json_type_double: return append_number(value, out);
  default: return false;
  }
}

static bool append_string(const char *s, size_t n, OndBuf *out) {
  return !memchr(s, 0, n) && ond_buf_append_json_string(out, s, n);
}

static bool append_object(struct json_object *value, OndBuf *out) {
  struct json_object_iterator it = json_object_iter_begin(value);
  struct json_object_iterator end = json_object_iter_end(value);
  bool first = true;

  if (!ond_buf_append_char(out, '{')) {
    return false;
  }
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    const char *name = json_object_iter_peek_name(&it);

    if ((!first && !ond_buf_append_char(out, ',')) || !append_string(name, strlen(name), out) || !ond_buf_append_char(out, ':') ||
        !ond_document_json(json_object_iter_peek_value(&it), out)) {
      return false;
    }
    first = false;
  }
  return ond_buf_append_char(out, '}');
}

static bool append_array(struct json_object *value, OndBuf *out) {
  size_t n = json_object_array_length(value);

  if (!ond_buf_append_char(out, '[')) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if ((i > 0 && !ond_buf_append_char(out, ',')) || !ond_document_json(json_object_array_get_idx(value, i), out)) {
      return false;
    }
  }
  return ond_buf_append_char(out, ']');
}

bool ond_document_json(struct json_object *value, OndBuf *out) {
  switch (json_object_get_type(value)) {
  case json_type_null: return ond_buf_append_str(out, "null");
  case json_type_string: return append_string(json_object_get_string(value), (size_t)json_object_get_string_len(value), out);
  case json_type_object: return append_object(value, out);
  case json_type_array: return append_array(value, out);
  default: return ond_document_text(value, out);
  }
}
