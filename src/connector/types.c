/*
 * types.c - "types": forms that an API gives its values, named by mappings: {"column": "name", "as": "title"}.
 *
 *   "types": {"title": {"value": {"title": [{"text": {"content": "$text"}}]}, "null": {"title": []}}}
 *
 * A form is JSON with "$value" (the value as it is) or "$text" (the value as a string) in it, cut into literal pieces once. Without "null" a
 * null stays null.
 */
#include <string.h>
#include "connector/compile.h"
#include "connector/members.h"

#define TYPES_MAX      100
#define FORM_BYTES_MAX ((size_t)64 * 1024)

typedef struct Former {
  OndConnector *c;
  OndForm *form;
  OndBuf literal;
  OndError *err;
  bool fill; /* "$value" and "$text" have a meaning */
} Former;

static void add_piece(Former *f, OndFormKind kind) {
  OndForm *form = f->form;

  form->pieces[form->n++] = (OndFormPiece){kind, {ond_arena_strndup(f->c->arena, f->literal.data ? f->literal.data : "", f->literal.len), f->literal.len}};
  ond_buf_reset(&f->literal);
}

static bool cut(Former *f, const OndNode *at);

static bool cut_string(Former *f, const OndNode *at) {
  const char *text;
  bool value;

  if (!ond_node_string(at, &text, f->err)) {
    return false;
  }
  value = strcmp(text, "$value") == 0;
  if (!value && strcmp(text, "$text") != 0) {
    if (strstr(text, "{{")) {
      return ond_node_fail(at, f->err, "a type knows only \"$value\" and \"$text\"");
    }
    return ond_buf_append_json_string(&f->literal, text, strlen(text));
  }
  if (!f->fill) {
    return ond_node_fail(at, f->err, "\"%s\" of a null says nothing", text);
  }
  if (f->form->n == OND_FORM_PIECES_MAX - 1) {
    return ond_node_fail(at, f->err, "a type has more than %d places for the value", OND_FORM_PIECES_MAX - 1);
  }
  add_piece(f, value ? OND_FORM_VALUE : OND_FORM_TEXT);
  return true;
}

static bool cut_object(Former *f, const OndNode *at) {
  struct json_object_iterator it = json_object_iter_begin(at->value);
  struct json_object_iterator end = json_object_iter_end(at->value);
  bool first = true;

  ond_buf_append_char(&f->literal, '{');
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode member = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    ond_buf_append_str(&f->literal, first ? "" : ",");
    ond_buf_append_json_string(&f->literal, member.member, strlen(member.member));
    ond_buf_append_char(&f->literal, ':');
    if (!cut(f, &member)) {
      return false;
    }
    first = false;
  }
  return ond_buf_append_char(&f->literal, '}');
}

static bool cut_array(Former *f, const OndNode *at) {
  size_t n = json_object_array_length(at->value);

  ond_buf_append_char(&f->literal, '[');
  for (size_t i = 0; i < n; i++) {
    OndNode element = ond_node_element(at, i);

    ond_buf_append_str(&f->literal, i > 0 ? "," : "");
    if (!cut(f, &element)) {
      return false;
    }
  }
  return ond_buf_append_char(&f->literal, ']');
}

static bool cut(Former *f, const OndNode *at) {
  switch (json_object_get_type(at->value)) {
  case json_type_string: return cut_string(f, at);
  case json_type_object: return cut_object(f, at);
  case json_type_array: return cut_array(f, at);
  default: return ond_document_json(at->value, &f->literal);
  }
}

static bool parse_form(OndConnector *c, const OndNode *at, bool fill, OndForm *out, OndError *err) {
  Former f = {.c = c, .form = out, .err = err, .fill = fill};
  bool ok;

  out->pieces = ond_arena_alloc(c->arena, OND_FORM_PIECES_MAX * sizeof(*out->pieces));
  ond_buf_init(&f.literal, FORM_BYTES_MAX);
  ok = cut(&f, at);
  if (f.literal.overflow) {
    ok = ond_node_fail(at, err, "the type is larger than %zu bytes", FORM_BYTES_MAX);
  }
  if (ok) {
    add_piece(&f, OND_FORM_END);
  }
  ond_buf_free(&f.literal);
  return ok;
}

static bool parse_type(OndConnector *c, const OndNode *at, OndType *out, OndError *err) {
  static const char *const VALID[] = {"value", "null", NULL};
  OndNode member;

  out->name = ond_arena_strdup(c->arena, at->member);
  if (!ond_node_object(at, VALID, err)) {
    return false;
  }
  if (!ond_node_get(at, "value", &member)) {
    return ond_node_missing(at, "value", "{\"value\": {\"number\": \"$value\"}}", err);
  }
  if (!parse_form(c, &member, true, &out->value, err)) {
    return false;
  }
  if (out->value.n == 1) {
    ond_node_fail(&member, err, "the type does not say where the value belongs");
    ond_error_hint(err, "Put \"$value\" there, or \"$text\" for the value as a string.");
    return false;
  }
  return !ond_node_get(at, "null", &member) || parse_form(c, &member, false, &out->null, err);
}

bool ond_types_parse(OndConnector *c, const OndNode *at, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;

  if (!json_object_is_type(at->value, json_type_object)) {
    return ond_node_fail(at, err, "\"types\" must be an object");
  }
  if (json_object_object_length(at->value) > TYPES_MAX) {
    return ond_node_fail(at, err, "\"types\" has more than %d members", TYPES_MAX);
  }
  c->types = ond_arena_alloc(c->arena, TYPES_MAX * sizeof(*c->types));
  it = json_object_iter_begin(at->value);
  end = json_object_iter_end(at->value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode member = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (!parse_type(c, &member, &c->types[c->n_types++], err)) {
      return false;
    }
  }
  return true;
}

int ond_connector_type(const OndConnector *c, const char *name, OndError *err) {
  const char *names[TYPES_MAX + 1] = {NULL};
  char joined[240];

  for (int i = 0; i < c->n_types; i++) {
    if (strcmp(c->types[i].name, name) == 0) {
      return i;
    }
    names[i] = c->types[i].name;
  }
  ond_names_join(names, joined, sizeof(joined));
  ond_error_set(err, "the connector has no type \"%.100s\"", name);
  if (c->n_types > 0) {
    ond_error_hint(err, "Its types are %s.", joined);
  } else {
    ond_error_hint(err, "It has no \"types\": leave \"as\" out.");
  }
  return -1;
}

OndBytes ond_connector_null(const OndConnector *c) {
  return c->null_form;
}

/* The value as a JSON string. */
static bool append_text(OndBytes value, OndBuf *out) {
  OndBuf text;
  bool ok;

  if (ond_json_kind(value) == OND_JSON_STRING) {
    return ond_buf_append_bytes(out, value);
  }
  ond_buf_init(&text, OND_VALUE_BYTES_MAX);
  ok = ond_json_compact(value, &text) && ond_buf_append_json_string(out, text.data ? text.data : "", text.len);
  ond_buf_free(&text);
  return ok;
}

bool ond_connector_form(const OndConnector *c, int type, OndBytes value, OndBuf *out) {
  const OndForm *form = &c->types[type].value;
  bool ok = true;

  value = ond_json_trim(value);
  if (ond_json_kind(value) == OND_JSON_NULL) {
    form = &c->types[type].null;
    if (form->n == 0) {
      return ond_buf_append_bytes(out, value);
    }
  }
  for (int i = 0; i < form->n && ok; i++) {
    const OndFormPiece *piece = &form->pieces[i];

    ok = ond_buf_append_bytes(out, piece->literal) && (piece->kind == OND_FORM_END || (piece->kind == OND_FORM_VALUE ? ond_buf_append_bytes(out, value) : append_text(value, out)));
  }
  return ok;
}
