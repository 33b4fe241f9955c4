/*
 * merge_patch.c - JSON merge patch (RFC 7396) over jsonb: how `options` are updated.
 *
 * Members of the patch replace those of the target, objects are merged, null removes. The result holds no nulls that came from the patch.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/jsonb.h"

#include "catalog/edit.h"

/* The object inside a value, or NULL. */
static JsonbContainer *value_object(const JsonbValue *v) {
  return v != NULL && v->type == jbvBinary && JsonContainerIsObject(v->val.binary.data) ? v->val.binary.data : NULL;
}

static void push_merged(JsonbParseState **state, JsonbContainer *target, JsonbContainer *patch);

/* Pushes what becomes of one member: `old` (NULL: absent) under a patch value that is not null. */
static void push_member(JsonbParseState **state, JsonbValue *key, JsonbValue *old, JsonbValue *new) {
  JsonbContainer *object = value_object(new);

  (void)pushJsonbValue(state, WJB_KEY, key);
  if (object != NULL) {
    (void)pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
    push_merged(state, value_object(old), object);
    (void)pushJsonbValue(state, WJB_END_OBJECT, NULL);
  } else {
    (void)pushJsonbValue(state, WJB_VALUE, new);
  }
}

/* The members of `from`: target's that stay or change, or patch's that are new. */
static void push_side(JsonbParseState **state, JsonbContainer *from, JsonbContainer *other, bool from_is_target) {
  JsonbIterator *it = JsonbIteratorInit(from);
  JsonbValue key, v;
  JsonbIteratorToken token;

  while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE) {
    if (token == WJB_KEY) {
      key = v;
    } else if (token == WJB_VALUE) {
      JsonbValue *opposite = other == NULL ? NULL : findJsonbValueFromContainer(other, JB_FOBJECT, &key);

      if (from_is_target && opposite == NULL) {
        (void)pushJsonbValue(state, WJB_KEY, &key);
        (void)pushJsonbValue(state, WJB_VALUE, &v);
      } else if (from_is_target && opposite->type != jbvNull) {
        push_member(state, &key, &v, opposite);
      } else if (!from_is_target && opposite == NULL && v.type != jbvNull) {
        push_member(state, &key, NULL, &v);
      }
    }
  }
}

static void push_merged(JsonbParseState **state, JsonbContainer *target, JsonbContainer *patch) {
  check_stack_depth();
  if (target != NULL) {
    push_side(state, target, patch, true);
  }
  push_side(state, patch, target, false);
}

Jsonb *ond_jsonb_merge_patch(Jsonb *target, Jsonb *patch) {
  JsonbParseState *state = NULL;

  Assert(JB_ROOT_IS_OBJECT(target) && JB_ROOT_IS_OBJECT(patch));
  (void)pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
  push_merged(&state, &target->root, &patch->root);
  return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
