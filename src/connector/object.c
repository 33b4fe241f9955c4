/*
 * object.c - one object of a connector: what identifies a record, what must be mapped, and its operations.
 *
 * A connector has many objects, a sync one: only that one is compiled. "*" stands for every other name; {{object}} is the name then.
 */
#include <stdio.h>
#include <string.h>
#include "connector/compile.h"
#include "connector/list.h"
#include "connector/operation.h"
#include "connector/reference.h"
#include "connector/request.h"

#define NAMES_MAX 200

/* What an object of the options of `http` has: nobody reads titles there, and any column may be named. */
static const char *const HTTP_MEMBERS[] = {"key", "required", "null", "variables", "headers", "upsert", "create", "update", "delete", "lookup", "list", NULL};

static const char *const MEMBERS[] = {"title",   "description", "key",    "required", "columns", "null", "variables",
                                      "headers", "upsert",      "create", "update",   "delete",  "lookup", "list", NULL};

/* ---- which one ---- */

/* "contacts, companies, or any other name". Returns how many have a name of their own. */
static int list_objects(const OndNode *objects, char *out, size_t n) {
  struct json_object_iterator it = json_object_iter_begin(objects->value);
  struct json_object_iterator end = json_object_iter_end(objects->value);
  const char *names[NAMES_MAX + 1] = {NULL};
  bool any = false;
  int count = 0;

  for (; !json_object_iter_equal(&it, &end) && count < NAMES_MAX; json_object_iter_next(&it)) {
    if (strcmp(json_object_iter_peek_name(&it), "*") == 0) {
      any = true;
    } else {
      names[count++] = json_object_iter_peek_name(&it);
    }
  }
  if (any) {
    names[count] = "or any other name";
  }
  ond_names_join(names, out, n);
  return count;
}

bool ond_object_choose(OndConnector *c, const OndNode *objects, const char *name, OndNode *out, OndError *err) {
  char names[240];

  if (name && *name && strcmp(name, "*") != 0) {
    c->object = ond_arena_strdup(c->arena, name);
    if (ond_node_get(objects, c->object, out) || ond_node_get(objects, "*", out)) {
      return true;
    }
  }
  if (!name || !*name) {
    ond_error_set(err, "connector \"%s\" needs an object", c->name);
  } else {
    ond_error_set(err, "connector \"%s\" has no object \"%s\"", c->name, name);
  }
  if (list_objects(objects, names, sizeof(names)) > 0) {
    ond_error_hint(err, "Its objects are %s.", names);
  } else {
    ond_error_hint(err, "It takes any name: that of a table, database or index of the destination.");
  }
  memcpy(err->sqlstate, "42704", 6);
  return false;
}

/* ---- its parts ---- */

/* The field that identifies a record; variables may stand in it. */
static bool parse_key_field(OndConnector *c, const OndNode *at, OndError *err) {
  const char *field;

  if (!ond_node_string(at, &field, err) || !ond_reference_constant(c, at, field, &c->key_field, err)) {
    return false;
  }
  return !c->key_field || *c->key_field || ond_node_fail(at, err, "\"key\" is empty");
}

/* "key": "email" or {"field": "email", "fold": "lower"} */
static bool parse_key(OndConnector *c, const OndNode *object, OndError *err) {
  static const char *const VALID[] = {"field", "fold", NULL};
  static const char *const FOLDS[] = {"lower", NULL};
  int fold;
  OndNode at;
  OndNode member;

  if (!ond_node_get(object, "key", &at)) {
    return true;
  }
  if (!json_object_is_type(at.value, json_type_object)) {
    return parse_key_field(c, &at, err);
  }
  if (!ond_node_object(&at, VALID, err) || (ond_node_get(&at, "field", &member) && !parse_key_field(c, &member, err))) {
    return false;
  }
  c->fold = ond_node_get(&at, "fold", &member);
  return !c->fold || ond_node_word(&member, FOLDS, &fold, err);
}

/* A list of names; variables may stand in them. */
static bool parse_names(OndConnector *c, const OndNode *object, const char *member, int *n, const char ***out, OndError *err) {
  OndNode at;
  size_t length;

  if (!ond_node_get(object, member, &at)) {
    return true;
  }
  if (!ond_node_array(&at, &length, err)) {
    return false;
  }
  if (length > NAMES_MAX) {
    return ond_node_fail(&at, err, "\"%s\" has more than %d names", member, NAMES_MAX);
  }
  *out = ond_arena_alloc(c->arena, (length + 1) * sizeof(**out));
  for (size_t i = 0; i < length; i++) {
    OndNode element = ond_node_element(&at, i);
    const char *text;

    if (!ond_node_string(&element, &text, err)) {
      return false;
    }
    if (!*text) {
      return ond_node_fail(&element, err, "this name is empty");
    }
    if (!ond_reference_constant(c, &element, text, &text, err)) {
      return false;
    }
    if (text) {
      (*out)[(*n)++] = text;
    }
  }
  return true;
}

/* "null": what a null of a field without a type becomes. */
static bool parse_null(OndConnector *c, const OndNode *object, OndError *err) {
  OndBuf json;
  OndNode at;
  bool ok;

  if (!ond_node_get(object, "null", &at)) {
    return true;
  }
  if (!at.value || json_object_is_type(at.value, json_type_object) || json_object_is_type(at.value, json_type_array)) {
    ond_node_fail(&at, err, "\"null\" must be a string, a number or a boolean");
    ond_error_hint(err, "For example \"\", where an empty text clears a field.");
    return false;
  }
  ond_buf_init(&json, OND_DOCUMENT_BYTES_MAX);
  ok = ond_document_json(at.value, &json) || ond_node_fail(&at, err, "\"null\" contains a NUL character");
  c->null_form = (OndBytes){ond_arena_strndup(c->arena, json.data ? json.data : "", json.len), json.len};
  ond_buf_free(&json);
  return ok;
}

/* An error about a member of an operation. */
static bool fail_way(const OndNode *object, const OndOperation *o, const char *member, const char *needs, OndError *err) {
  OndNode operation;
  OndNode at;

  ond_node_get(object, o->info.name, &operation);
  ond_node_get(&operation, member, &at);
  return ond_node_fail(&at, err, "\"%s\" of \"%s\" needs %s", member, o->info.name, needs);
}

/* A row that is sent another way must find it. */
static bool check_ways(const OndConnector *c, const OndNode *object, OndError *err) {
  const OndOperation *lookup = c->operations[OND_KIND_LOOKUP];

  for (int kind = 0; kind < OND_KINDS; kind++) {
    const OndOperation *o = c->operations[kind];

    if (!o) {
      continue;
    }
    if (o->info.exists && !ond_connector_operation(c, OND_OP_UPDATE)) {
      return fail_way(object, o, "exists", "an \"update\" to go on with", err);
    }
    if (kind == OND_KIND_UPDATE && o->info.missing && !ond_connector_operation(c, OND_OP_CREATE)) {
      return fail_way(object, o, "missing", "a \"create\" to go on with", err);
    }
    if (o->info.conflict && (!lookup || (lookup->info.deletes_only && kind != OND_KIND_DELETE))) {
      return fail_way(object, o, "conflict", "a \"lookup\" that reads the record again", err);
    }
  }
  return true;
}

static bool parse_operations(OndConnector *c, const OndNode *object, int *n, OndError *err) {
  OndNode at;

  for (int kind = 0; kind < OND_KINDS; kind++) {
    if (ond_node_get(object, ond_kind_name((OndKind)kind), &at)) {
      c->operations[kind] = ond_operation_parse(c, (OndKind)kind, &at, err);
      if (!c->operations[kind]) {
        return false;
      }
      *n += kind != OND_KIND_LOOKUP;
    }
  }
  if (ond_node_get(object, "list", &at)) {
    c->list = ond_list_parse(c, &at, err);
    if (!c->list) {
      return false;
    }
    (*n)++;
  }
  return check_ways(c, object, err) && ond_groups_check(c, object, err);
}

static bool parse_members(OndConnector *c, const OndNode *at, int *n, OndError *err) {
  OndScope scope = {.c = c};
  const char *words;
  OndNode member;

  if (!ond_node_object(at, c->document ? MEMBERS : HTTP_MEMBERS, err) || !ond_member_string(at, "title", &words, err) ||
      !ond_member_string(at, "description", &words, err) || !parse_key(c, at, err) ||
      !parse_names(c, at, "required", &c->n_required, &c->required, err) ||
      !parse_names(c, at, "columns", &c->n_known_columns, &c->known_columns, err) || !parse_null(c, at, err)) {
    return false;
  }
  if (ond_node_get(at, "headers", &member) && !ond_request_headers(&scope, &member, &c->n_headers, &c->headers, err)) {
    return false;
  }
  return parse_operations(c, at, n, err);
}

bool ond_object_parse(OndConnector *c, const OndNode *at, OndError *err) {
  char pointer[sizeof(err->pointer)];
  int n = 0;

  ond_node_pointer(at, pointer, sizeof(pointer));
  c->object_pointer = ond_arena_strdup(c->arena, pointer);
  if (at->value && !parse_members(c, at, &n, err)) {
    return false;
  }
  if (n > 0) {
    return true;
  }
  if (c->document) {
    ond_node_fail(at, err, "the object has no operation");
    ond_error_hint(err, "Give it \"upsert\", or \"create\" and \"update\", or \"list\".");
    return false;
  }
  c->operations[OND_KIND_UPSERT] = ond_operation_default(c, err);
  return c->operations[OND_KIND_UPSERT] != NULL;
}
