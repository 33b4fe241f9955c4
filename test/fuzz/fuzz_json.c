/*
 * fuzz_json.c - any bytes as JSON: documents, pointers, members, compact form, forms.
 *
 * json-c's own strict reading is the second opinion: what we take it takes and means the same; what it takes we take, but for depth and size.
 * The member reader, which does not parse, agrees on every well-formed text, and on others never reads past the end.
 *
 * Input: first line a JSON pointer, the rest a document.
 */
#include <curl/curl.h>
#include "connector/document.h"
#include "connector/form.h"
#include "connector/members.h"
#include "fuzz.h"

/* Whether json-c would give back something else than it read: numbers that it clamps or cannot hold, as they are, NUL in names. */
static bool has_odd(const char *text, size_t n) {
  size_t digits = 0;

  for (size_t i = 0; i < n; i++) {
    digits = text[i] >= '0' && text[i] <= '9' ? digits + 1 : 0;
    if (digits > 15 || (text[i] == 'e' && i > 0 && text[i - 1] >= '0' && text[i - 1] <= '9') || text[i] == 'E') {
      return true;
    }
  }
  return memmem(text, n, "\\u0000", 6) != NULL;
}

/* --- pointers --------------------------------------------------------------------------------------------- */

static void check_pointer(const char *text, struct json_object *root) {
  OndArena *arena = ond_arena_create();
  OndError err = {0};
  OndJsonPtr pointer;
  OndBuf again;
  struct json_object *ours;
  struct json_object *theirs;

  ond_buf_init(&again, 1 << 20);
  if (ond_jsonptr_parse(arena, text, &pointer, &err)) {
    MUST(pointer.n <= 32);
    for (int i = 0; i < pointer.n; i++) {
      ond_buf_append_char(&again, '/');
      for (size_t k = 0; k < pointer.tokens[i].n; k++) {
        char c = pointer.tokens[i].p[k];

        ond_buf_append_str(&again, c == '~' ? "~0" : c == '/' ? "~1" : (char[]){c, '\0'});
      }
      MUST(pointer.indexes[i] >= -1);
    }
    MUST(again.len == strlen(text) && (again.len == 0 || memcmp(again.data, text, again.len) == 0));
    /* json-c 0.16 reads an index with leading zeros or signs in its own way, and unescapes "~01" twice. */
    if (root && ond_document_at(root, &pointer, &ours) && !strchr(text, '~')) {
      MUST(json_pointer_get(root, text, &theirs) == 0 && theirs == ours);
    }
  } else {
    fuzz_check_error(&err);
  }
  ond_buf_free(&again);
  ond_arena_destroy(arena);
}

/* --- members ---------------------------------------------------------------------------------------------- */

static void check_unescape(const OndMember *m, struct json_object *parsed_object) {
  struct json_object *value;
  OndBuf name;

  ond_buf_init(&name, 1 << 22);
  if (ond_json_unescape(m->name, &name) && !memchr(name.data ? name.data : "", 0, name.len)) {
    MUST(ond_member_is(m, (OndBytes){name.data ? name.data : "", name.len}));
    MUST(ond_member_same_name(m, m));
    MUST(json_object_object_get_ex(parsed_object, name.data ? name.data : "", &value));
  }
  ond_buf_free(&name);
}

/* The members of a well-formed object or array, one by one. */
static void check_members(const char *text, size_t n, struct json_object *parsed) {
  OndMembers members;
  OndMember m;
  size_t count = 0;

  if (!ond_members_begin(&members, (OndBytes){text, n})) {
    MUST(!json_object_is_type(parsed, json_type_object) && !json_object_is_type(parsed, json_type_array));
    return;
  }
  while (ond_members_next(&members, &m)) {
    struct json_object *value;

    MUST(fuzz_json(m.value.p, m.value.n, &value));
    if (members.object) {
      check_unescape(&m, parsed);
    } else {
      MUST(count < json_object_array_length(parsed) && (has_odd(m.value.p, m.value.n) ||
                                                        json_object_equal(value, json_object_array_get_idx(parsed, count))));
    }
    json_object_put(value);
    count++;
  }
  MUST(!members.bad);
  MUST(members.object ? count >= (size_t)json_object_object_length(parsed) : count == json_object_array_length(parsed));
}

/* On text that may be anything: only that it ends, and stays inside. */
static void walk(OndBytes json, int depth) {
  OndMembers members;
  OndMember m;
  OndBuf out;

  if (depth == 8 || !ond_members_begin(&members, json)) {
    return;
  }
  while (ond_members_next(&members, &m)) {
    MUST(m.value.p >= json.p && m.value.p + m.value.n <= json.p + json.n);
    MUST(!m.name.p || (m.name.p > json.p && m.name.p + m.name.n < m.value.p));
    ond_buf_init(&out, m.name.n + 1);
    MUST(!m.name.p || !ond_json_unescape(m.name, &out) || out.len <= m.name.n);
    ond_buf_free(&out);
    walk(m.value, depth + 1);
  }
  ond_buf_init(&out, json.n);
  MUST(ond_json_compact(json, &out) && out.len <= json.n);
  ond_buf_free(&out);
}

/* --- the whole -------------------------------------------------------------------------------------------- */

static void check_compact(const char *text, size_t n) {
  OndBuf out;

  ond_buf_init(&out, n);
  MUST(ond_json_compact((OndBytes){text, n}, &out) && out.len <= n);
  MUST(has_odd(text, n) || fuzz_same_json(text, n, out.data, out.len));
  ond_buf_free(&out);
}

static void check_written(const char *text, size_t n, struct json_object *parsed) {
  struct json_object *again;
  const char *problem;
  OndBuf out;
  OndBuf twice;

  ond_buf_init(&out, 8 * n + 16);
  ond_buf_init(&twice, 8 * n + 16);
  if (ond_document_json(parsed, &out)) {
    MUST(ond_document_parse(out.data, out.len, &again, &problem));
    MUST(ond_document_json(again, &twice) && twice.len == out.len && memcmp(twice.data, out.data, out.len) == 0);
    MUST(has_odd(text, n) || fuzz_same_json(text, n, out.data, out.len));
    json_object_put(again);
  } else {
    MUST(memmem(text, n, "\\u0000", 6));
  }
  ond_buf_free(&out);
  ond_buf_free(&twice);
}

/* Pairs of names and values, nothing else. */
static void check_form(const char *text, size_t n) {
  OndError err = {0};
  OndBuf out;

  ond_buf_init(&out, 1 << 20);
  if (ond_form_append((OndBytes){text, n}, &out, &err)) {
    for (size_t i = 0; i < out.len; i++) {
      MUST((unsigned char)out.data[i] > 0x20 && (unsigned char)out.data[i] < 0x7F && !strchr("\"<>#[]{}", out.data[i]));
    }
    MUST(out.len == 0 || (out.data[out.len - 1] != '&' && out.data[0] != '&' && strchr(out.data, '=')));
  } else if (!out.overflow) {
    fuzz_check_error(&err);
  }
  ond_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  size_t pointer_n;
  size_t n;
  char *pointer = fuzz_line(&f, &pointer_n);
  char *text = fuzz_rest(&f, &n);
  struct json_object *ours;
  struct json_object *theirs;
  const char *problem = NULL;
  bool taken = ond_document_parse(text, n, &ours, &problem);
  size_t mark = n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0; /* a byte order mark is stepped over */
  bool theirs_taken = fuzz_json(text + mark, n - mark, &theirs);

  if (taken) {
    MUST(theirs_taken && (has_odd(text, n) || json_object_equal(ours, theirs)));
    check_members(text + mark, n - mark, ours);
    check_written(text + mark, n - mark, ours);
    check_compact(text + mark, n - mark);
  } else {
    fuzz_check_words(problem, 100);
    MUST(!ours && *problem);
  }
  check_pointer(pointer, ours);
  check_form(text, n);
  walk((OndBytes){text, n}, 0);
  json_object_put(ours);
  json_object_put(theirs);
  free(pointer);
  free(text);
  return 0;
}
