/*
 * variables.c - {{var.name}}: which there are, what they are, and the base URL made of them.
 *
 * A variable is declared by the connector or by an object; its value comes from the sync, else from the destination, else it is the default.
 * `http` has no document: there the destination's values declare. The base URL is made before the sync is heard: it says where the destination's
 * credentials go, and that is not for a sync to choose.
 */
#include <stdio.h>
#include <string.h>
#include "connector/compile.h"
#include "connector/reference.h"
#include "connector/request.h"

#define VARIABLES_MAX 100

int ond_variable_find(const OndConnector *c, const char *name) {
  for (int i = 0; i < c->n_variables; i++) {
    if (strcmp(c->variables[i].name, name) == 0) {
      return i;
    }
  }
  return -1;
}

static OndVariable *add(OndConnector *c, const OndNode *at, OndError *err) {
  if (!c->variables) {
    c->variables = ond_arena_alloc(c->arena, VARIABLES_MAX * sizeof(*c->variables));
  }
  if (c->n_variables == VARIABLES_MAX) {
    ond_node_fail(at, err, "there are more than %d variables", VARIABLES_MAX);
    return NULL;
  }
  c->variables[c->n_variables] = (OndVariable){.name = ond_arena_strdup(c->arena, at->member)};
  return &c->variables[c->n_variables++];
}

/* A string, a number or a boolean, as JSON. */
static bool read_value(OndConnector *c, const OndNode *at, const char *name, OndBytes *out, OndError *err) {
  json_type type = json_object_get_type(at->value);
  OndBuf json;
  bool ok;

  if (type == json_type_null || type == json_type_object || type == json_type_array) {
    return ond_node_fail(at, err, "the variable \"%s\" must be a string, a number or a boolean", name);
  }
  ond_buf_init(&json, OND_DOCUMENT_BYTES_MAX);
  ok = ond_document_json(at->value, &json);
  *out = (OndBytes){ond_arena_strndup(c->arena, json.data ? json.data : "", json.len), json.len};
  ond_buf_free(&json);
  return ok || ond_node_fail(at, err, "the variable \"%s\" contains a NUL character", name);
}

/* ---- declarations ---- */

static bool declare(OndConnector *c, const OndNode *at, OndError *err) {
  static const char *const VALID[] = {"required", "default", "description", NULL};
  OndVariable *variable;
  const char *description = NULL;
  OndNode member;

  if (ond_variable_find(c, at->member) >= 0) {
    return ond_node_fail(at, err, "the variable \"%s\" is declared twice: by the connector and by the object", at->member);
  }
  if (!*at->member || strpbrk(at->member, "{}|")) {
    return ond_node_fail(at, err, "the name of a variable must not be empty or hold { } |");
  }
  if (!ond_node_object(at, VALID, err)) {
    return false;
  }
  variable = add(c, at, err);
  if (!variable || !ond_member_bool(at, "required", &variable->required, err) || !ond_member_string(at, "description", &description, err)) {
    return false;
  }
  variable->description = description ? ond_arena_strdup(c->arena, description) : NULL;
  if (!ond_node_get(at, "default", &member)) {
    return true;
  }
  if (variable->required) {
    return ond_node_fail(at, err, "the variable \"%s\" has a default, so it cannot be required", at->member);
  }
  return read_value(c, &member, at->member, &variable->json, err);
}

static bool for_each(OndConnector *c, const OndNode *at, bool (*one)(OndConnector *c, const OndNode *at, OndError *err), OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;

  if (!json_object_is_type(at->value, json_type_object)) {
    return ond_node_fail(at, err, "\"variables\" must be an object");
  }
  it = json_object_iter_begin(at->value);
  end = json_object_iter_end(at->value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode member = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};

    if (!one(c, &member, err)) {
      return false;
    }
  }
  return true;
}

bool ond_variables_declare(OndConnector *c, const OndNode *at, OndError *err) {
  return for_each(c, at, declare, err);
}

/* ---- values ---- */

static void names_of(const OndConnector *c, char *out, size_t n) {
  const char *names[VARIABLES_MAX + 1] = {NULL};

  for (int i = 0; i < c->n_variables; i++) {
    names[i] = c->variables[i].name;
  }
  ond_names_join(names, out, n);
}

static bool fail_unknown(const OndConnector *c, const OndNode *at, OndError *err) {
  char names[200];

  if (c->document) {
    ond_node_fail(at, err, "connector \"%s\" has no variable \"%s\"", c->name, at->member);
  } else {
    ond_node_fail(at, err, "there is no variable \"%s\"", at->member);
  }
  if (c->n_variables > 0) {
    names_of(c, names, sizeof(names));
    ond_error_hint(err, "The variables are %s.", names);
  } else if (!c->document) {
    ond_error_hint(err, "Declare it in \"variables\" of the destination's options.");
  }
  return false;
}

static bool of_destination(OndConnector *c, const OndNode *at, OndError *err) {
  int i = ond_variable_find(c, at->member);
  OndVariable *variable = i >= 0 ? &c->variables[i] : c->document ? NULL : add(c, at, err);

  if (!variable) {
    return c->document ? fail_unknown(c, at, err) : false;
  }
  return read_value(c, at, at->member, &variable->json, err);
}

/* Whether some object declares it. */
static bool is_of_object(const OndNode *objects, const char *name) {
  struct json_object_iterator it;
  struct json_object_iterator end;

  if (!objects || !json_object_is_type(objects->value, json_type_object)) {
    return false;
  }
  it = json_object_iter_begin(objects->value);
  end = json_object_iter_end(objects->value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    struct json_object *object = json_object_iter_peek_value(&it);
    struct json_object *variables;

    if (json_object_is_type(object, json_type_object) && json_object_object_get_ex(object, "variables", &variables) &&
        json_object_is_type(variables, json_type_object) && json_object_object_get_ex(variables, name, NULL)) {
      return true;
    }
  }
  return false;
}

bool ond_variables_of_destination(OndConnector *c, const OndNode *at, const OndNode *objects, OndError *err) {
  struct json_object_iterator it;
  struct json_object_iterator end;

  if (!json_object_is_type(at->value, json_type_object)) {
    return ond_node_fail(at, err, "\"variables\" must be an object");
  }
  it = json_object_iter_begin(at->value);
  end = json_object_iter_end(at->value);
  for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
    OndNode member = {.parent = at, .member = json_object_iter_peek_name(&it), .value = json_object_iter_peek_value(&it)};
    OndBytes ignored;

    /* of another object than this sync's: only its type matters */
    if (ond_variable_find(c, member.member) < 0 && is_of_object(objects, member.member)) {
      if (!read_value(c, &member, member.member, &ignored, err)) {
        return false;
      }
    } else if (!of_destination(c, &member, err)) {
      return false;
    }
  }
  return true;
}

static bool of_sync(OndConnector *c, const OndNode *at, OndError *err) {
  int i = ond_variable_find(c, at->member);

  if (i < 0) {
    return fail_unknown(c, at, err);
  }
  if (c->variables[i].in_base_url) {
    ond_node_fail(at, err, "the variable \"%s\" is a part of the base URL, which belongs to the destination", at->member);
    ond_error_hint(err, "Give it in \"variables\" of the destination's options.");
    return false;
  }
  return read_value(c, at, at->member, &c->variables[i].json, err);
}

bool ond_variables_of_sync(OndConnector *c, OndBytes text, OndError *err) {
  struct json_object *document;
  const char *problem;
  OndNode root;
  bool ok;

  if (!text.p) {
    return true;
  }
  if (!ond_document_parse(text.p, text.n, &document, &problem)) {
    ond_error_set(err, "the variables of the sync: the text %s", problem);
    return false;
  }
  root = ond_node_root(document);
  ok = for_each(c, &root, of_sync, err);
  err->pointer[0] = '\0'; /* the name says it all, and the text is not the one that other pointers are about */
  json_object_put(document);
  return ok;
}

bool ond_variables_check(const OndConnector *c, OndError *err) {
  for (int i = 0; i < c->n_variables; i++) {
    const OndVariable *variable = &c->variables[i];

    if (variable->json.p || !(variable->named || (variable->required && !(variable->in_base_url && c->base_url_given)))) {
      continue;
    }
    ond_error_set(err, "the variable \"%s\" is not given", variable->name);
    if (variable->description) {
      ond_error_detail(err, "%s", variable->description);
    }
    ond_error_hint(err, "Give it in option \"variables\" of the sync%s: {\"variables\": {\"%.100s\": …}}.",
                   variable->in_base_url ? "'s destination" : " or of its destination", variable->name);
    return false;
  }
  return true;
}

/* ---- the base URL ---- */

/* What a value may be made of where it names a host: it cannot leave its label, nor start a path, a port or a user. */
static bool is_host_text(OndBytes text) {
  for (size_t i = 0; i < text.n; i++) {
    char ch = text.p[i];

    if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' || (ch == '.' && i > 0))) {
      return false;
    }
  }
  return text.n > 0 && text.p[text.n - 1] != '.';
}

/* Appends one reference; slashes: how many the text before it has. */
static bool append_value(OndValues *values, const OndNode *at, const OndTemplatePart *part, int slashes, OndBuf *out, OndError *err) {
  OndVariable *variable = &values->c->variables[part->index];
  OndBytes text = OND_BYTES_LIT("x");

  if (!variable->json.p && !values->c->lenient) {
    ond_error_set(err, "the base URL needs the variable \"%s\"", variable->name);
    if (variable->description) {
      ond_error_detail(err, "%s", variable->description);
    }
    ond_error_hint(err, "Give it in the destination's options, {\"variables\": {\"%.100s\": …}}, or give base_url.", variable->name);
    return false;
  }
  if (variable->json.p && !ond_reference_text(values, part, &text, err)) {
    return ond_node_place(at, err);
  }
  if (slashes < 3 && !is_host_text(text)) {
    ond_error_set(err, "the variable \"%s\" cannot be a part of a host name", variable->name);
    ond_error_hint(err, "It can have letters, digits, hyphens and dots: of https://acme.example.com only \"acme\", for example.");
    return false;
  }
  if (slashes >= 3 && ond_url_piece_is_unsafe(text.p, text.n)) {
    ond_error_set(err, "the variable \"%s\" cannot be a piece of the base URL's path", variable->name);
    return false;
  }
  return ond_url_encode(out, text.p, text.n);
}

static bool expand(OndConnector *c, const OndNode *at, const OndTemplate *t, OndBuf *out, OndError *err) {
  OndValues values;
  int slashes = 0;
  bool ok = true;

  ond_values_init(&values, c, NULL, NULL);
  for (int i = 0; i < t->n && ok; i++) {
    const OndTemplatePart *part = &t->parts[i];

    if (part->name.p) {
      ok = append_value(&values, at, part, slashes, out, err);
      continue;
    }
    for (size_t k = 0; k < part->literal.n; k++) {
      slashes += part->literal.p[k] == '/';
    }
    ok = ond_buf_append_bytes(out, part->literal);
  }
  ond_values_free(&values);
  return ok;
}

/* The scheme, and what of the host is literal, are the connector's. */
static bool check_start(const OndNode *at, const char *text, OndError *err) {
  if (strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0) {
    return true;
  }
  ond_node_fail(at, err, "\"base_url\" must start with https:// or http://");
  ond_error_hint(err, "Only the rest may hold variables: \"https://{{var.subdomain}}.example.com\".");
  return false;
}

static bool parse_template(OndConnector *c, const OndNode *at, OndTemplate *out, OndError *err) {
  OndScope scope = {.c = c};
  const char *text;

  if (!ond_node_string(at, &text, err) || !check_start(at, text, err) || !ond_reference_parse(&scope, at, text, out, err)) {
    return false;
  }
  for (int i = 0; i < out->n; i++) {
    if (out->parts[i].name.p) {
      c->variables[out->parts[i].index].in_base_url = true;
      c->variables[out->parts[i].index].named = false; /* a destination with a URL of its own does not need it for this */
    }
  }
  return true;
}

bool ond_base_url_parse(OndConnector *c, const OndNode *at, const char *base_url, OndError *err) {
  OndTemplate t = {0};
  OndBuf text;
  bool ok;

  c->base_url_given = base_url && *base_url;
  if (at->value && !parse_template(c, at, &t, err)) {
    return false;
  }
  if (c->base_url_given || !at->value) {
    return ond_request_base(c, c->lenient ? "https://x" : base_url, err);
  }
  ond_buf_init(&text, OND_URL_BYTES_MAX);
  ok = expand(c, at, &t, &text, err) && (ond_request_base(c, text.data, err) || ond_node_place(at, err));
  ond_buf_free(&text);
  return ok;
}
