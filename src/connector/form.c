/*
 * form.c - a JSON object as application/x-www-form-urlencoded.
 *
 * A walk over the bytes with the member reader. The name of the place ("a%5Bb%5D") grows and shrinks in one buffer; the recursion is
 * bounded.
 */
#include "connector/form.h"

#include <string.h>
#include "connector/members.h"
#include "core/url.h"

#define DEPTH_MAX       64
#define NAME_BYTES_MAX  65536
#define VALUE_BYTES_MAX ((size_t)64 * 1024 * 1024)

typedef struct Form {
  OndBuf *out;
  OndBuf name;
  OndBuf text;
  OndError *err;
  bool first;
} Form;

static bool fail(Form *f, const char *why) {
  ond_error_set(f->err, "the body of a form %s", why);
  return false;
}

static bool append_text(Form *f, OndBytes value) {
  switch (ond_json_kind(value)) {
  case OND_JSON_NULL: return true;
  case OND_JSON_STRING:
    ond_buf_reset(&f->text);
    if (value.n < 2 || !ond_json_unescape((OndBytes){value.p + 1, value.n - 2}, &f->text)) {
      return fail(f, "holds text that is not Unicode");
    }
    return f->text.len == 0 || ond_form_encode(f->out, f->text.data, f->text.len);
  default: return ond_form_encode(f->out, value.p, value.n);
  }
}

static bool append_value(Form *f, OndBytes value, int depth);

/* Extends the name by one step. */
static bool push_name(Form *f, const OndMember *member, size_t index) {
  bool nested = f->name.len > 0;

  if (nested && !ond_buf_append_str(&f->name, "%5B")) {
    return fail(f, "has names that are too long");
  }
  if (!member->name.p) {
    ond_buf_appendf(&f->name, "%zu", index);
  } else {
    ond_buf_reset(&f->text);
    if (!ond_json_unescape(member->name, &f->text)) {
      return fail(f, "has a name that is not Unicode");
    }
    if (f->text.len > 0) {
      ond_form_encode(&f->name, f->text.data, f->text.len);
    }
  }
  if (nested) {
    ond_buf_append_str(&f->name, "%5D");
  }
  return !f->name.overflow || fail(f, "has names that are too long");
}

static bool append_nested(Form *f, OndBytes value, int depth) {
  size_t length = f->name.len;
  OndMembers members;
  OndMember member;

  if (depth == DEPTH_MAX) {
    return fail(f, "is nested too deeply");
  }
  if (!ond_members_begin(&members, value)) {
    return fail(f, "is not well-formed");
  }
  for (size_t i = 0; ond_members_next(&members, &member); i++) {
    if (!push_name(f, &member, i) || !append_value(f, member.value, depth + 1)) {
      return false;
    }
    f->name.len = length;
  }
  return !members.bad || fail(f, "is not well-formed");
}

static bool append_value(Form *f, OndBytes value, int depth) {
  OndJsonKind kind = ond_json_kind(value);

  if (kind == OND_JSON_OBJECT || kind == OND_JSON_ARRAY) {
    return append_nested(f, value, depth);
  }
  if (!f->first && !ond_buf_append_char(f->out, '&')) {
    return false;
  }
  f->first = false;
  return ond_buf_append(f->out, f->name.data, f->name.len) && ond_buf_append_char(f->out, '=') && append_text(f, value);
}

bool ond_form_append(OndBytes json, OndBuf *out, OndError *err) {
  Form f = {.out = out, .err = err, .first = true};
  bool ok;

  ond_buf_init(&f.name, NAME_BYTES_MAX);
  ond_buf_init(&f.text, VALUE_BYTES_MAX);
  ok = ond_json_kind(json) == OND_JSON_OBJECT ? append_nested(&f, json, 0) : fail(&f, "must be an object");
  ond_buf_free(&f.name);
  ond_buf_free(&f.text);
  return ok;
}
