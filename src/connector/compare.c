/*
 * compare.c - see compare.h.
 */
#include "connector/compare.h"

#include <string.h>
#include "connector/list.h"
#include "connector/members.h"
#include "core/same.h"
#include "core/text.h"

#define PATH_BYTES_MAX  1000
#define VALUE_BYTES_MAX OND_DOCUMENT_BYTES_MAX
#define SHOWN_BYTES     1000

bool ond_list_tells_key(const OndConnector *c, int n_keys) {
  return c->list->key.n == n_keys || (c->list->key.n == 0 && n_keys == 1 && c->key_field);
}

bool ond_list_tells_id(const OndConnector *c) {
  return c->list->id != NULL;
}

bool ond_list_gives_texts(const OndConnector *c) {
  return c->list->compare_text;
}

const char *ond_list_folded_field(const OndConnector *c) {
  return c->fold ? c->key_field : NULL;
}

/* ---- keys ---- */

bool ond_json_scalar_text(OndBytes json, OndBuf *out) {
  OndBytes text = ond_json_trim(json);

  switch (ond_json_kind(text)) {
  case OND_JSON_STRING: return text.n >= 2 && ond_json_unescape((OndBytes){text.p + 1, text.n - 2}, out);
  case OND_JSON_SCALAR: return ond_buf_append_bytes(out, text);
  default: return false;
  }
}

static void fold(OndBuf *out, size_t from) {
  for (size_t i = from; i < out->len; i++) {
    if (out->data[i] >= 'A' && out->data[i] <= 'Z') {
      out->data[i] = (char)(out->data[i] - 'A' + 'a');
    }
  }
}

/* Each part with its length in front, so that ("a", "bc") is not ("ab", "c"). */
bool ond_natural_key(const OndConnector *c, int n, const OndBytes *texts, const bool *numeric, OndBuf *out) {
  OndBuf number;
  bool ok = true;

  ond_buf_init(&number, PATH_BYTES_MAX);
  for (int i = 0; i < n && ok; i++) {
    size_t start;
    OndBytes text = texts[i];

    ond_buf_reset(&number);
    if (numeric[i] && ond_number_canonical(text, &number)) {
      text = (OndBytes){number.data, number.len};
    }
    ok = n == 1 || ond_buf_appendf(out, "%zu:", text.n);
    start = out->len;
    ok = ok && ond_buf_append_bytes(out, text);
    if (c->fold) {
      fold(out, start);
    }
  }
  ond_buf_free(&number);
  return ok;
}

/* ---- values ---- */

typedef struct Comparison {
  bool texts;
  struct json_object *null; /* what a null is sent as; NULL: null */
  const char *const *skip;
  OndBuf *out;
  OndBuf path, one, other;
  int different;
} Comparison;

static bool is_number(struct json_object *value) {
  return json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double);
}

static OndBytes text_of(struct json_object *value, OndBuf *out) {
  ond_buf_reset(out);
  return ond_document_text(value, out) ? (OndBytes){out->data ? out->data : "", out->len} : OND_BYTES_NONE;
}

static bool is_empty(const Comparison *c, struct json_object *value) {
  return !value || (c->null && json_object_equal(value, c->null)) || ((c->texts || c->null) && json_object_is_type(value, json_type_string) && json_object_get_string_len(value) == 0);
}

static bool same_scalar(Comparison *c, struct json_object *ours, struct json_object *theirs) {
  bool alike = json_object_is_type(ours, json_object_get_type(theirs)) || (is_number(ours) && is_number(theirs));
  OndBytes a, b;

  if (!alike && !c->texts) {
    return false;
  }
  a = text_of(ours, &c->one);
  b = text_of(theirs, &c->other);
  if (!a.p || !b.p) {
    return false;
  }
  if (a.n == b.n && memcmp(a.p, b.p, a.n) == 0) {
    return true;
  }
  return is_number(ours) ? ond_same_number(a, b) : json_object_is_type(ours, json_type_string) && ond_same_time(a, b);
}

static bool same(Comparison *c, struct json_object *ours, struct json_object *theirs);

static bool same_members(Comparison *c, struct json_object *ours, struct json_object *theirs) {
  struct json_object_iterator it = json_object_iter_begin(ours);
  struct json_object_iterator end = json_object_iter_end(ours);

  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    struct json_object *member = NULL;

    (void)json_object_object_get_ex(theirs, json_object_iter_peek_name(&it), &member);
    if (!same(c, json_object_iter_peek_value(&it), member)) {
      return false;
    }
  }
  return true;
}

static bool same_elements(Comparison *c, struct json_object *ours, struct json_object *theirs) {
  size_t n = json_object_array_length(ours);
  bool equal = json_object_array_length(theirs) == n;

  for (size_t i = 0; i < n && equal; i++) {
    equal = same(c, json_object_array_get_idx(ours, i), json_object_array_get_idx(theirs, i));
  }
  return equal;
}

static bool same(Comparison *c, struct json_object *ours, struct json_object *theirs) {
  if (is_empty(c, ours) || is_empty(c, theirs)) {
    return is_empty(c, ours) && is_empty(c, theirs);
  }
  if (json_object_is_type(ours, json_type_object)) {
    return json_object_is_type(theirs, json_type_object) && same_members(c, ours, theirs);
  }
  if (json_object_is_type(ours, json_type_array)) {
    return json_object_is_type(theirs, json_type_array) && same_elements(c, ours, theirs);
  }
  return same_scalar(c, ours, theirs);
}

/* ---- what differs ---- */

/* The value, or its beginning as a text. */
static void show(Comparison *c, struct json_object *value) {
  size_t cut;

  ond_buf_reset(&c->one);
  if (!ond_document_json(value, &c->one)) {
    (void)ond_buf_append_str(c->out, "null");
  } else if (c->one.len <= SHOWN_BYTES) {
    (void)ond_buf_append(c->out, c->one.data, c->one.len);
  } else {
    cut = ond_utf8_cut(c->one.data, c->one.len, SHOWN_BYTES);
    c->one.len = cut;
    (void)(ond_buf_append_str(&c->one, " ...") && ond_buf_append_json_string(c->out, c->one.data, c->one.len));
  }
}

static void tell(Comparison *c, struct json_object *ours, struct json_object *theirs) {
  (void)(c->different == 0 || ond_buf_append_char(c->out, ','));
  (void)(ond_buf_append_json_string(c->out, c->path.data, c->path.len) && ond_buf_append_str(c->out, ":{\"model\":"));
  show(c, ours);
  (void)ond_buf_append_str(c->out, ",\"destination\":");
  show(c, theirs);
  (void)ond_buf_append_char(c->out, '}');
  c->different++;
}

static bool skipped(const Comparison *c, const char *name) {
  for (const char *const *at = c->skip; c->path.len == 0 && at && *at; at++) {
    if (strcmp(*at, name) == 0) {
      return true;
    }
  }
  return false;
}

/* Member by member; in objects of objects "address.city" is told, not the whole address. */
static void compare_members(Comparison *c, struct json_object *ours, struct json_object *theirs) {
  struct json_object_iterator it = json_object_iter_begin(ours);
  struct json_object_iterator end = json_object_iter_end(ours);
  size_t start = c->path.len;

  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    const char *name = json_object_iter_peek_name(&it);
    struct json_object *mine = json_object_iter_peek_value(&it);
    struct json_object *member = NULL;

    if (skipped(c, name)) {
      continue;
    }
    if (json_object_is_type(theirs, json_type_object)) {
      (void)json_object_object_get_ex(theirs, name, &member);
    }
    (void)((start == 0 || ond_buf_append_char(&c->path, '.')) && ond_buf_append_str(&c->path, name));
    if (json_object_is_type(mine, json_type_object) && (!member || json_object_is_type(member, json_type_object))) {
      compare_members(c, mine, member);
    } else if (!same(c, mine, member)) {
      tell(c, mine, member);
    }
    c->path.len = start;
  }
}

int ond_compare_fields(OndBytes ours, OndBytes theirs, bool texts, OndBytes null, const char *const *skip, OndBuf *out) {
  Comparison c = {.texts = texts, .skip = skip, .out = out};
  struct json_object *mine = NULL;
  struct json_object *record = NULL;
  const char *problem;
  bool ok = ours.p && ond_document_parse(ours.p, ours.n, &mine, &problem) && json_object_is_type(mine, json_type_object) &&
            (!theirs.p || ond_document_parse(theirs.p, theirs.n, &record, &problem));

  if (null.p && !ond_document_parse(null.p, null.n, &c.null, &problem)) {
    c.null = NULL;
  }
  ond_buf_init(&c.path, PATH_BYTES_MAX);
  ond_buf_init(&c.one, VALUE_BYTES_MAX);
  ond_buf_init(&c.other, VALUE_BYTES_MAX);
  (void)ond_buf_append_char(out, '{');
  if (ok) {
    compare_members(&c, mine, record);
  }
  (void)ond_buf_append_char(out, '}');
  json_object_put(mine);
  json_object_put(record);
  json_object_put(c.null);
  ond_buf_free(&c.path);
  ond_buf_free(&c.one);
  ond_buf_free(&c.other);
  return ok ? c.different : -1;
}
