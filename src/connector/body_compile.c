/*
 * body_compile.c - a body template into a flat program.
 *
 * A walk over the template appends steps. Literal bytes collect in a buffer until a step of another kind comes, so that a program is
 * as short as the template is dynamic: {"inputs":[  EACH( {"id":  VALUE  ,"properties":  FIELDS  } )  ]}. Steps that contain others
 * carry the number of the step behind their last one.
 */
#include "connector/body.h"

#include <string.h>

#define STEPS_MAX         20000
#define LITERAL_BYTES_MAX ((size_t)8 * 1024 * 1024)

typedef struct Builder {
  OndScope scope;
  OndError *err;
  const OndBodyExtra *extra;
  bool item_done;
  OndBodyStep *steps;
  int n;
  int max;
  OndBuf literal;
} Builder;

static bool compile(Builder *b, const OndNode *at);

/* ---- building ---- */

static int add_step(Builder *b, OndBodyCode code) {
  if (b->n == b->max) {
    b->max = b->max ? 2 * b->max : 16;
    b->steps = ond_realloc(b->steps, (size_t)b->max * sizeof(*b->steps));
  }
  b->steps[b->n] = (OndBodyStep){.code = code};
  return b->n++;
}

/* Makes a step of the literal bytes that wait. */
static void flush_literal(Builder *b) {
  if (b->literal.len > 0) {
    int i = add_step(b, OND_BODY_LITERAL);

    b->steps[i].literal = (OndBytes){ond_arena_strndup(b->scope.c->arena, b->literal.data, b->literal.len), b->literal.len};
    ond_buf_reset(&b->literal);
  }
}

static int open_step(Builder *b, OndBodyCode code) {
  flush_literal(b);
  return add_step(b, code);
}

static void close_step(Builder *b, int step) {
  flush_literal(b);
  b->steps[step].end = b->n;
}

static void literal_str(Builder *b, const char *s) {
  ond_buf_append_str(&b->literal, s);
}

static bool check_size(Builder *b, const OndNode *at) {
  if (b->n > STEPS_MAX || b->literal.overflow) {
    return ond_node_fail(at, b->err, "the body template is too large");
  }
  return true;
}

/* ---- words ---- */

static bool is_string(const OndNode *at, const char *text) {
  return json_object_is_type(at->value, json_type_string) && strcmp(json_object_get_string(at->value), text) == 0;
}

static bool is_object_of(const OndNode *at, const char *word) {
  return json_object_is_type(at->value, json_type_object) && json_object_object_get_ex(at->value, word, NULL);
}

static bool is_each_array(const OndNode *at) {
  OndNode first;

  if (!json_object_is_type(at->value, json_type_array) || json_object_array_length(at->value) == 0) {
    return false;
  }
  first = ond_node_element(at, 0);
  return is_string(&first, "$each");
}

/* The value of {"$word": value}, which must be its only member. */
static bool only_member(Builder *b, const OndNode *at, const char *word, OndNode *out) {
  if (json_object_object_length(at->value) != 1) {
    ond_node_fail(at, b->err, "\"%s\" must be the only member of its object", word);
    ond_error_hint(b->err, "Join objects with {\"$merge\": [{…}, {…}]}.");
    return false;
  }
  return ond_node_get(at, word, out);
}

static bool check_row_allowed(Builder *b, const OndNode *at, const char *word) {
  if (b->scope.o->kind == OND_KIND_DELETE) {
    ond_node_fail(at, b->err, "\"%s\" is not known in a delete: the row has left the model", word);
    ond_error_hint(b->err, "A delete can name key, remote_id and remote.x.");
    return false;
  }
  if (!b->scope.rows) {
    ond_node_fail(at, b->err, "\"%s\" belongs to one row, but a request of \"%s\" carries up to %d", word, b->scope.o->info.name,
                  b->scope.o->info.batch_rows);
    ond_error_hint(b->err, "Put it behind \"$each\": [\"$each\", \"$fields\"].");
    return false;
  }
  return true;
}

/* ---- strings ---- */

/* The inside of a JSON string. */
static OndBytes escape_literal(Builder *b, OndBytes text) {
  OndBuf escaped;
  OndBytes kept;

  ond_buf_init(&escaped, 6 * text.n + 2);
  ond_buf_append_json_string(&escaped, text.p, text.n);
  kept = (OndBytes){ond_arena_strndup(b->scope.c->arena, escaped.data + 1, escaped.len - 2), escaped.len - 2};
  ond_buf_free(&escaped);
  return kept;
}

static bool parse_template(Builder *b, const OndNode *at, const char *text, OndTemplate *out) {
  if (!ond_reference_parse(&b->scope, at, text, out, b->err)) {
    return false;
  }
  for (int i = 0; i < out->n; i++) {
    if (!out->parts[i].name.p) {
      out->parts[i].literal = escape_literal(b, out->parts[i].literal);
    }
  }
  return true;
}

static void add_text(Builder *b, OndBodyCode code, const OndTemplate *t) {
  int i = open_step(b, code);

  b->steps[i].text = *t;
}

static bool compile_string(Builder *b, const OndNode *at) {
  OndTemplate t;
  const char *text;

  if (!ond_node_string(at, &text, b->err)) {
    return false;
  }
  if (strcmp(text, "$fields") == 0) {
    if (!check_row_allowed(b, at, "$fields")) {
      return false;
    }
    open_step(b, OND_BODY_FIELDS);
    return true;
  }
  if (strcmp(text, "$each") == 0) {
    ond_node_fail(at, b->err, "\"$each\" must be the first element of an array");
    ond_error_hint(b->err, "Write [\"$each\", a, …].");
    return false;
  }
  if (!parse_template(b, at, text, &t)) {
    return false;
  }
  if (ond_template_is_literal(&t)) {
    ond_buf_append_json_string(&b->literal, text, strlen(text));
  } else {
    add_text(b, t.n == 1 && t.parts[0].n_filters == 0 ? OND_BODY_VALUE : OND_BODY_TEXT, &t);
  }
  return true;
}

/* The name of a member. distinct: it repeats and must differ from row to row. */
static bool compile_name(Builder *b, const OndNode *member, bool distinct) {
  OndTemplate t;

  if (!parse_template(b, member, member->member, &t)) {
    return false;
  }
  if (ond_template_is_literal(&t)) {
    ond_buf_append_json_string(&b->literal, member->member, strlen(member->member));
  } else {
    add_text(b, distinct ? OND_BODY_NAME : OND_BODY_TEXT, &t);
  }
  return true;
}

/* ---- objects ---- */

static bool read_names(Builder *b, const OndNode *at, OndBodyStep *step) {
  OndBytes *names;
  size_t n;

  if (!ond_node_array(at, &n, b->err)) {
    return false;
  }
  names = ond_arena_alloc(b->scope.c->arena, (n + 1) * sizeof(*names));
  for (size_t i = 0; i < n; i++) {
    OndNode element = ond_node_element(at, i);
    const char *text;

    if (!ond_node_string(&element, &text, b->err)) {
      return false;
    }
    names[i] = (OndBytes){ond_arena_strdup(b->scope.c->arena, text), strlen(text)};
  }
  step->names = names;
  step->n_names = (int)n;
  return true;
}

/* {"$fields": {"omit": […]}} or {"$fields": {"only": […]}} */
static bool compile_fields(Builder *b, const OndNode *at) {
  static const char *const VALID[] = {"omit", "only", NULL};
  OndNode part;
  OndNode names;
  int i;

  if (!only_member(b, at, "$fields", &part) || !check_row_allowed(b, at, "$fields") || !ond_node_object(&part, VALID, b->err)) {
    return false;
  }
  if (json_object_object_length(part.value) != 1) {
    return ond_node_fail(&part, b->err, "\"$fields\" takes either \"omit\" or \"only\"");
  }
  i = open_step(b, OND_BODY_FIELDS);
  b->steps[i].only = ond_node_get(&part, "only", &names);
  return (b->steps[i].only || ond_node_get(&part, "omit", &names)) && read_names(b, &names, &b->steps[i]);
}

/* {"$values": ["a", "b"]} or {"$values": true} */
static bool compile_values(Builder *b, const OndNode *at) {
  OndNode names;
  bool all = false;
  int i;

  if (!only_member(b, at, "$values", &names) || !check_row_allowed(b, at, "$values")) {
    return false;
  }
  i = open_step(b, OND_BODY_VALUES);
  if (json_object_is_type(names.value, json_type_array)) {
    return read_names(b, &names, &b->steps[i]);
  }
  b->steps[i].n_names = -1;
  return ond_node_bool(&names, &all, b->err) && (all || ond_node_fail(&names, b->err, "\"$values\" takes a list of fields, or true for all of them"));
}

/* {"$names": true} */
static bool compile_names(Builder *b, const OndNode *at) {
  OndNode yes;
  bool all = false;

  if (!only_member(b, at, "$names", &yes) || !ond_node_bool(&yes, &all, b->err)) {
    return false;
  }
  if (!all || b->scope.o->kind == OND_KIND_DELETE || b->scope.o->kind == OND_KIND_LIST) {
    ond_node_fail(at, b->err, all ? "\"$names\" has no meaning here" : "\"$names\" can only be true");
    ond_error_hint(b->err, "The names of the mapped fields go with rows; a list has {{fields}}.");
    return false;
  }
  open_step(b, OND_BODY_FIELD_NAMES);
  return true;
}

/* Whether a template yields an object, as far as one can tell without a row. */
static bool yields_object(const OndNode *at) {
  if (json_object_is_type(at->value, json_type_object)) {
    return !is_object_of(at, "$values") && !is_object_of(at, "$names");
  }
  return json_object_is_type(at->value, json_type_string) && strncmp(json_object_get_string(at->value), "$fields", 8) == 0;
}

static bool compile_part(Builder *b, const OndNode *at) {
  int part = open_step(b, OND_BODY_PART);
  const char *text = json_object_is_type(at->value, json_type_string) ? json_object_get_string(at->value) : "";

  if (!yields_object(at) && strncmp(text, "{{", 2) != 0) {
    return ond_node_fail(at, b->err, "only objects can be merged");
  }
  if (!compile(b, at)) {
    return false;
  }
  close_step(b, part);
  return true;
}

static bool compile_merge(Builder *b, const OndNode *at) {
  OndNode parts;
  size_t n;
  int merge;

  if (!only_member(b, at, "$merge", &parts) || !ond_node_array(&parts, &n, b->err)) {
    return false;
  }
  if (n == 0) {
    return ond_node_fail(&parts, b->err, "\"$merge\" has nothing to join");
  }
  merge = open_step(b, OND_BODY_MERGE);
  for (size_t i = 0; i < n; i++) {
    OndNode part = ond_node_element(&parts, i);

    if (!compile_part(b, &part)) {
      return false;
    }
  }
  close_step(b, merge);
  return true;
}

static void add_idempotency_key(Builder *b, const char *member) {
  OndTemplate t = ond_reference_idempotency_key(&b->scope);

  ond_buf_append_json_string(&b->literal, member, strlen(member));
  literal_str(b, ":");
  add_text(b, OND_BODY_VALUE, &t);
}

/* Members without braces; one named `skip` is left out. Returns how many, -1 on error. */
static int compile_members(Builder *b, const OndNode *at, const char *skip) {
  struct json_object_iterator it = json_object_iter_begin(at->value);
  struct json_object_iterator end = json_object_iter_end(at->value);
  int n = 0;

  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode member = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (skip && strcmp(skip, member.member) == 0) {
      continue;
    }
    if (n++ > 0) {
      literal_str(b, ",");
    }
    if (!compile_name(b, &member, false)) {
      return -1;
    }
    literal_str(b, ":");
    if (!compile(b, &member)) {
      return -1;
    }
  }
  return n;
}

/* A template of an object, with one more member that holds the idempotency key. */
static bool compile_with_key(Builder *b, const OndNode *at, const char *member) {
  bool plain = json_object_is_type(at->value, json_type_object) && !is_object_of(at, "$fields") && !is_object_of(at, "$merge") &&
               !is_object_of(at, "$each") && !is_object_of(at, "$values") && !is_object_of(at, "$names");
  int merge;
  int part;
  int n;

  if (plain) {
    literal_str(b, "{");
    n = compile_members(b, at, member);
    if (n > 0) {
      literal_str(b, ",");
    }
    if (n >= 0) {
      add_idempotency_key(b, member);
      literal_str(b, "}");
    }
    return n >= 0;
  }
  if (!yields_object(at) || is_object_of(at, "$each")) {
    ond_node_fail(at, b->err, "the idempotency key \"%s\" needs an object to stand in", member);
    ond_error_hint(b->err, "Name {{idempotency_key}} in the body, or use {\"header\": \"Idempotency-Key\"}.");
    return false;
  }
  merge = open_step(b, OND_BODY_MERGE);
  if (!compile_part(b, at)) {
    return false;
  }
  part = open_step(b, OND_BODY_PART);
  literal_str(b, "{");
  add_idempotency_key(b, member);
  literal_str(b, "}");
  close_step(b, part);
  close_step(b, merge);
  return true;
}

static bool compile_object(Builder *b, const OndNode *at) {
  literal_str(b, "{");
  if (compile_members(b, at, NULL) < 0) {
    return false;
  }
  literal_str(b, "}");
  return true;
}

/* ---- repetition ---- */

/* Enters the scope in which every row stands by itself. */
static bool enter_each(Builder *b, const OndNode *at, OndScope *outer) {
  *outer = b->scope;
  if (b->scope.each) {
    return ond_node_fail(at, b->err, "\"$each\" cannot stand inside of another \"$each\"");
  }
  b->scope.rows = true;
  b->scope.each = true;
  return true;
}

/* One thing that repeats, with the row's idempotency key where one was asked for. */
static bool compile_item(Builder *b, const OndNode *at, size_t items) {
  if (!b->extra->item) {
    return compile(b, at);
  }
  if (items != 1) {
    ond_node_fail(at, b->err, "the idempotency key of an item needs \"$each\" to repeat one thing, not %zu", items);
    ond_error_hint(b->err, "Name {{idempotency_key}} behind \"$each\" where it belongs.");
    return false;
  }
  b->item_done = true;
  return compile_with_key(b, at, b->extra->item);
}

static bool compile_each_array(Builder *b, const OndNode *at) {
  size_t n = json_object_array_length(at->value);
  OndScope outer;
  int each;

  if (n < 2) {
    return ond_node_fail(at, b->err, "\"$each\" has nothing to repeat");
  }
  if (!enter_each(b, at, &outer)) {
    return false;
  }
  literal_str(b, "[");
  each = open_step(b, OND_BODY_EACH);
  b->steps[each].comma = true;
  for (size_t i = 1; i < n; i++) {
    OndNode element = ond_node_element(at, i);

    if (i > 1) {
      literal_str(b, ",");
    }
    if (!compile_item(b, &element, n - 1)) {
      return false;
    }
  }
  close_step(b, each);
  literal_str(b, "]");
  b->scope = outer;
  return true;
}

static bool compile_each_map(Builder *b, const OndNode *at) {
  struct json_object_iterator it;
  struct json_object_iterator end;
  OndScope outer;
  OndNode map;
  int each;
  int n = 0;

  if (!only_member(b, at, "$each", &map) || !enter_each(b, at, &outer)) {
    return false;
  }
  if (!json_object_is_type(map.value, json_type_object) || json_object_object_length(map.value) == 0) {
    return ond_node_fail(&map, b->err, "\"$each\" as a member takes an object of what to repeat");
  }
  literal_str(b, "{");
  each = open_step(b, OND_BODY_EACH);
  b->steps[each].comma = true;
  it = json_object_iter_begin(map.value);
  end = json_object_iter_end(map.value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode member = {.parent = &map, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (!strstr(member.member, "{{")) {
      ond_node_fail(&member, b->err, "the member name \"%s\" is the same for every row", member.member);
      ond_error_hint(b->err, "Name it by something of the row: {\"$each\": {\"{{key}}\": …}}.");
      return false;
    }
    if (n++ > 0) {
      literal_str(b, ",");
    }
    if (!compile_name(b, &member, true)) {
      return false;
    }
    literal_str(b, ":");
    if (!compile_item(b, &member, (size_t)json_object_object_length(map.value))) {
      return false;
    }
  }
  close_step(b, each);
  literal_str(b, "}");
  b->scope = outer;
  return true;
}

static bool compile_array(Builder *b, const OndNode *at) {
  size_t n = json_object_array_length(at->value);

  if (is_each_array(at)) {
    return compile_each_array(b, at);
  }
  literal_str(b, "[");
  for (size_t i = 0; i < n; i++) {
    OndNode element = ond_node_element(at, i);

    if (i > 0) {
      literal_str(b, ",");
    }
    if (!compile(b, &element)) {
      return false;
    }
  }
  literal_str(b, "]");
  return true;
}

static bool compile(Builder *b, const OndNode *at) {
  if (!check_size(b, at)) {
    return false;
  }
  switch (json_object_get_type(at->value)) {
  case json_type_string: return compile_string(b, at);
  case json_type_array: return compile_array(b, at);
  case json_type_object:
    if (is_object_of(at, "$fields")) {
      return compile_fields(b, at);
    }
    if (is_object_of(at, "$merge")) {
      return compile_merge(b, at);
    }
    if (is_object_of(at, "$values")) {
      return compile_values(b, at);
    }
    if (is_object_of(at, "$names")) {
      return compile_names(b, at);
    }
    return is_object_of(at, "$each") ? compile_each_map(b, at) : compile_object(b, at);
  default: return ond_document_json(at->value, &b->literal) || check_size(b, at);
  }
}

/* ---- whole bodies ---- */

/* Lines of NDJSON: the template, or each of several, once for every row. */
static bool compile_lines(Builder *b, const OndNode *at) {
  bool several = is_each_array(at);
  size_t n = several ? json_object_array_length(at->value) : 2;
  OndScope outer;
  int each;

  if (n < 2) {
    return ond_node_fail(at, b->err, "\"$each\" has nothing to repeat");
  }
  if (!enter_each(b, at, &outer)) {
    return false;
  }
  each = open_step(b, OND_BODY_EACH);
  for (size_t i = 1; i < n; i++) {
    OndNode line = several ? ond_node_element(at, i) : *at;

    if (!compile_item(b, &line, n - 1)) {
      return false;
    }
    open_step(b, OND_BODY_LINE);
  }
  close_step(b, each);
  b->scope = outer;
  return true;
}

static bool compile_whole(Builder *b, const OndNode *at, OndEncoding encoding) {
  if (encoding == OND_ENCODING_NDJSON) {
    if (b->extra->field) {
      ond_node_fail(at, b->err, "a body of lines has no member for the idempotency key of the request");
      ond_error_hint(b->err, "Use {\"item\": \"%s\"} for a key in every line.", b->extra->field);
      return false;
    }
    return compile_lines(b, at);
  }
  if (encoding == OND_ENCODING_FORM && (!yields_object(at) || is_object_of(at, "$each"))) {
    return ond_node_fail(at, b->err, "the body of a form must be an object");
  }
  return b->extra->field ? compile_with_key(b, at, b->extra->field) : compile(b, at);
}

/* The default body as a document. */
static struct json_object *default_template(const OndScope *s) {
  struct json_object *fields = json_object_new_string("$fields");
  struct json_object *array;

  if (s->o->encoding != OND_ENCODING_JSON || s->o->info.batch_rows == 1) {
    return fields;
  }
  array = json_object_new_array();
  json_object_array_add(array, json_object_new_string("$each"));
  json_object_array_add(array, fields);
  return array;
}

static const OndBody *finish(Builder *b) {
  OndBody *body = ond_arena_alloc(b->scope.c->arena, sizeof(*body));
  OndBodyStep *steps = ond_arena_alloc(b->scope.c->arena, (size_t)b->n * sizeof(*steps));

  memcpy(steps, b->steps, (size_t)b->n * sizeof(*steps));
  body->n = b->n;
  body->steps = steps;
  return body;
}

const OndBody *ond_body_compile(const OndScope *s, const OndNode *at, bool absent, const OndBodyExtra *extra, OndError *err) {
  Builder b = {.scope = *s, .err = err, .extra = extra};
  struct json_object *made = absent ? default_template(s) : NULL;
  OndNode node = *at;
  const OndBody *body = NULL;
  bool ok;

  ond_buf_init(&b.literal, LITERAL_BYTES_MAX);
  if (absent) {
    node.value = made;
  }
  ok = compile_whole(&b, &node, s->o->encoding) && check_size(&b, &node);
  if (ok && extra->item && !b.item_done) {
    ok = ond_node_fail(at, err, "the body has no \"$each\" whose items could get the idempotency key \"%s\"", extra->item);
  }
  if (ok) {
    flush_literal(&b);
    body = finish(&b);
  }
  ond_buf_free(&b.literal);
  ond_free(b.steps);
  json_object_put(made);
  return body;
}

bool ond_body_has_each(const OndBody *body) {
  for (int i = 0; i < body->n; i++) {
    if (body->steps[i].code == OND_BODY_EACH) {
      return true;
    }
  }
  return false;
}
