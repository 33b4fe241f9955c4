/*
 * group.c - operations that share requests: "batch": {"rows": 500, "group": "bulk"} in create, update, upsert or delete.
 *
 * Their rows travel in one request, deletes first. So the operations say the same of the request and of where the answer has the rows; what may differ is
 * what each row sends (behind "$each") and how its own record of the answer is read.
 */
#include <string.h>

#include "connector/body.h"
#include "connector/operation.h"
#include "connector/request.h"

/* Members of "result" that are about one record. */
static const char *const OF_RECORD[] = {"ok", "error", "code", "retry", "id", "remote", "created", NULL};

const OndOperation *ond_group_member(const OndConnector *c, const OndOperation *o, const OndRow *row) {
  const OndOperation *own;

  if (!o->info.group || !row) {
    return o;
  }
  own = ond_connector_operation(c, row->op);
  return own && own->info.group && strcmp(own->info.group, o->info.group) == 0 ? own : o;
}

/* Empties what stands behind "$each"; returns how many there were. */
static int empty_each(struct json_object *value) {
  int n = 0;

  if (json_object_is_type(value, json_type_array)) {
    struct json_object *first = json_object_array_length(value) > 0 ? json_object_array_get_idx(value, 0) : NULL;

    if (json_object_is_type(first, json_type_string) && strcmp(json_object_get_string(first), "$each") == 0) {
      json_object_array_del_idx(value, 1, json_object_array_length(value) - 1);
      return 1;
    }
    for (size_t i = 0; i < json_object_array_length(value); i++) {
      n += empty_each(json_object_array_get_idx(value, i));
    }
  } else if (json_object_is_type(value, json_type_object)) {
    if (json_object_object_get_ex(value, "$each", NULL)) {
      json_object_object_add(value, "$each", NULL);
      return 1;
    }
    json_object_object_foreach(value, name, member) {
      (void)name;
      n += empty_each(member);
    }
  }
  return n;
}

/* What the operations of a group must have in common; NULL: none of the words can be read. */
static struct json_object *common_part(const OndNode *operation, int *n_each) {
  struct json_object *copy = NULL;
  struct json_object *part;

  if (json_object_deep_copy(operation->value, &copy, NULL) != 0) {
    return NULL;
  }
  *n_each = json_object_object_get_ex(copy, "body", &part) ? empty_each(part) : -1;
  if (*n_each < 0) {
    json_object_object_add(copy, "body", json_object_new_string("$each")); /* the default */
    *n_each = 1;
  }
  json_object_object_del(copy, "atomic");
  json_object_object_del(copy, "idempotent");
  if (json_object_object_get_ex(copy, "result", &part) && json_object_is_type(part, json_type_object)) {
    for (int i = 0; OF_RECORD[i]; i++) {
      json_object_object_del(part, OF_RECORD[i]);
    }
  }
  return copy;
}

static bool check_one(const OndOperation *o, const OndNode *batch, int n_each, OndError *err) {
  if (o->n_steps > 0 || o->csv || !o->body) {
    return ond_node_fail(batch, err, "only requests with rows in a body can be shared");
  }
  if (o->request.n_query > 0 && ond_request_names_rows(&o->request)) {
    return ond_node_fail(batch, err, "\"query\" of a shared request cannot name rows");
  }
  if (n_each != 1) {
    return ond_node_fail(batch, err, "the body of a shared request needs one \"$each\"");
  }
  return true;
}

static bool check_pair(const OndOperation *a, const OndOperation *b, struct json_object *first, struct json_object *second, const OndNode *batch, OndError *err) {
  if (a->info.idempotent != b->info.idempotent || a->info.atomic != b->info.atomic) {
    ond_node_fail(batch, err, "\"%s\" and \"%s\" share requests, but one is idempotent or atomic and the other is not", a->info.name, b->info.name);
    ond_error_hint(err, "Say the same of both in \"idempotent\" and \"atomic\".");
    return false;
  }
  json_object_object_foreach(first, name, value) {
    struct json_object *other = NULL;

    (void)json_object_object_get_ex(second, name, &other);
    if (!json_object_equal(value, other)) {
      ond_node_fail(batch, err, "\"%s\" and \"%s\" share requests, but differ in \"%s\"", a->info.name, b->info.name, name);
      ond_error_hint(err, "Only what follows \"$each\" and how a record of the answer is read may differ.");
      return false;
    }
  }
  return true;
}

static bool check_with(const OndConnector *c, const OndNode *object, int kind, struct json_object *own, const OndNode *batch, OndError *err) {
  bool ok = true;

  for (int k = 0; ok && k < kind; k++) {
    const OndOperation *other = c->operations[k];
    struct json_object *part;
    OndNode at;
    int n;

    if (!other || !other->info.group || strcmp(other->info.group, c->operations[kind]->info.group) != 0) {
      continue;
    }
    ond_node_get(object, other->info.name, &at);
    part = common_part(&at, &n);
    ok = check_pair(other, c->operations[kind], part, own, batch, err) && check_pair(c->operations[kind], other, own, part, batch, err);
    json_object_put(part);
  }
  return ok;
}

bool ond_groups_check(const OndConnector *c, const OndNode *object, OndError *err) {
  bool ok = true;

  for (int kind = 0; ok && kind < OND_KINDS; kind++) {
    const OndOperation *o = c->operations[kind];
    OndNode at, batch, group;
    struct json_object *part;
    int n_each = 0;

    if (!o || !o->info.group) {
      continue;
    }
    ond_node_get(object, o->info.name, &at);
    ond_node_get(&at, "batch", &batch);
    ond_node_get(&batch, "group", &group);
    part = common_part(&at, &n_each);
    ok = check_one(o, &group, n_each, err) && check_with(c, object, kind, part, &group, err);
    json_object_put(part);
  }
  return ok;
}
