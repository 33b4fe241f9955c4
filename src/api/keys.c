/*
 * keys.c - arguments that name rows by their keys, as failed_rows shows them: {"id": 1}, or an array of such objects.
 *
 * Each object has exactly the sync's key columns, each value a string, a number or a boolean that the column's type takes. A key that is in no table is no
 * error.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "api/api.h"
#include "engine/state_table.h"

static void keys_error(const OndSync *sync, const char *what) {
  StringInfoData names;

  initStringInfo(&names);
  for (int i = 0; i < sync->n_keys; i++)
    appendStringInfo(&names, "%s\"%s\": ...", i > 0 ? ", " : "", sync->keys[i]);
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", what),
                  errhint("Give keys => '{%s}', or an array of such objects.", names.data)));
}

/* The number of the key column of that name, or -1. */
static int key_column(const OndSync *sync, const JsonbValue *name) {
  for (int i = 0; i < sync->n_keys; i++) {
    if (strlen(sync->keys[i]) == name->val.string.len && memcmp(sync->keys[i], name->val.string.val, name->val.string.len) == 0)
      return i;
  }
  return -1;
}

static void value_error(void *column) {
  errcontext("column \"%s\" of the sync's key", (const char *)column);
}

/* A value that the column's type does not take is its own error. The types are base types of the server's. */
static void check_value(const OndSync *sync, int column, const char *type, const JsonbValue *value) {
  ErrorContextCallback context = {error_context_stack, value_error, sync->keys[column]};
  Oid input, argument;
  char *text;

  switch (value->type) {
  case jbvString: text = pnstrdup(value->val.string.val, value->val.string.len); break;
  case jbvNumeric: text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric))); break;
  case jbvBool: text = value->val.boolean ? "true" : "false"; break;
  default: keys_error(sync, "a value in keys must be a string, a number or a boolean"); return;
  }
  error_context_stack = &context;
  getTypeInputInfo(DatumGetObjectId(DirectFunctionCall1(regtypein, CStringGetDatum(type))), &input, &argument);
  (void)OidInputFunctionCall(input, text, argument, -1);
  error_context_stack = context.previous;
}

/* Objects with exactly the key columns, each a scalar. */
static void check_keys(const OndSync *sync, Jsonb *keys) {
  const char **types = ond_state_key_types(sync->sync_id, sync->n_keys);
  JsonbIterator *it = JsonbIteratorInit(&keys->root);
  JsonbIteratorToken token;
  JsonbValue v;
  int depth = 0, members = 0, objects = 0, column = -1;

  while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE) {
    switch (token) {
    case WJB_BEGIN_ARRAY:
      if (v.val.array.rawScalar || depth == 1)
        keys_error(sync, "keys must be an object or an array of objects");
      depth += depth == 0 ? 1 : 10;
      break;
    case WJB_END_ARRAY: break;
    case WJB_BEGIN_OBJECT:
      depth += 10;
      members = 0;
      objects++;
      break;
    case WJB_END_OBJECT:
      depth -= 10;
      column = -1;
      if (members != sync->n_keys)
        keys_error(sync, "keys must name each column of the sync's key");
      break;
    case WJB_KEY:
      members++;
      column = key_column(sync, &v);
      if (column < 0)
        keys_error(sync, psprintf("\"%.*s\" is not a column of the sync's key", v.val.string.len, v.val.string.val));
      break;
    case WJB_VALUE:
      if (column < 0)
        keys_error(sync, "keys must be an object or an array of objects");
      check_value(sync, column, types[column], &v);
      break;
    default: keys_error(sync, "keys must be an object or an array of objects");
    }
    if (depth > 11)
      keys_error(sync, "a value in keys must be a string, a number or a boolean");
  }
  if (objects == 0)
    keys_error(sync, "keys is empty");
}

char *ond_arg_keys(FunctionCallInfo fcinfo, int n, const OndSync *sync) {
  Jsonb *keys = PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n);

  if (keys == NULL)
    return NULL;
  check_keys(sync, keys);
  return JB_ROOT_IS_OBJECT(keys) ? psprintf("[%s]", ond_arg_json(fcinfo, n)) : ond_arg_json(fcinfo, n);
}

char *ond_arg_key(FunctionCallInfo fcinfo, int n, const OndSync *sync) {
  if (PG_ARGISNULL(n))
    keys_error(sync, "argument \"key\" must not be NULL");
  if (!JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(n)))
    keys_error(sync, "argument \"key\" must be one key, an object");
  check_keys(sync, PG_GETARG_JSONB_P(n));
  return ond_arg_json(fcinfo, n);
}
