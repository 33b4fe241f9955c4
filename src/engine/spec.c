/*
 * spec.c - compiling a sync; see spec.h. Also the signature of the columns it uses.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "catalog/connector.h"
#include "catalog/session.h"
#include "catalog/utf8.h"
#include "engine/change_row.h"
#include "engine/encode.h"
#include "engine/script.h"
#include "engine/spec.h"
#include "engine/state_table.h"

static void free_compiled(void *arg) {
  OndSpec *spec = arg;

  ond_connector_free(spec->connector);
  ond_mapping_free(spec->mapping);
}

/* The mapping and the connector are in UTF-8, SQL and the model's names in the database's encoding. */
static char *own(const char *text) {
  return ond_from_utf8(text, strlen(text));
}

/* --- values ----------------------------------------------------------------------------------------------- */

static int add_value(OndSpec *spec, const char *name, const char *sql, Oid type) {
  OndValue *value;

  for (int i = 0; i < spec->n_values; i++)
    if (strcmp(spec->values[i].sql, sql) == 0)
      return i;
  spec->values = spec->values == NULL ? palloc(sizeof(OndValue)) : repalloc(spec->values, sizeof(OndValue) * (spec->n_values + 1));
  value = &spec->values[spec->n_values];
  value->name = name;
  value->sql = sql;
  value->type = type;
  return spec->n_values++;
}

static void unknown_column(const OndModel *model, const char *column, const char *of) {
  ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("column \"%s\" of %s does not exist in %s", column, of, ond_model_words(model)),
                  errhint("%s", ond_model_columns_hint(model))));
}

static int column_value(OndSpec *spec, const char *name, const char *of) {
  int c = ond_model_column(spec->model, name);

  if (c < 0)
    unknown_column(spec->model, name, of);
  return add_value(spec, spec->model->columns[c].name, psprintf("q.%s", quote_identifier(name)), spec->model->columns[c].type);
}

/* --- the key ---------------------------------------------------------------------------------------------- */

/* Types whose equality and text form are fixed by pg_catalog alone; everything else is kept as text. */
static const char *key_type_sql(Oid type) {
  switch (type) {
    case BOOLOID: return "pg_catalog.bool";
    case INT2OID: return "pg_catalog.int2";
    case INT4OID: return "pg_catalog.int4";
    case INT8OID: return "pg_catalog.int8";
    case OIDOID: return "pg_catalog.oid";
    case NUMERICOID: return "pg_catalog.numeric";
    case UUIDOID: return "pg_catalog.uuid";
    case DATEOID: return "pg_catalog.date";
    case TIMESTAMPOID: return "pg_catalog.timestamp";
    case TIMESTAMPTZOID: return "pg_catalog.timestamptz";
    case BYTEAOID: return "pg_catalog.bytea";
    default: return NULL;
  }
}

void ond_key_column(const OndModel *model, const char *name, OndKeyColumn *key) {
  int c = ond_model_column(model, name);
  Oid type;
  char typtype;

  if (c < 0)
    unknown_column(model, name, "the key");
  type = getBaseType(model->columns[c].type);
  typtype = get_typtype(type);
  if (OidIsValid(get_element_type(type)) || typtype == TYPTYPE_COMPOSITE || typtype == TYPTYPE_RANGE || typtype == TYPTYPE_MULTIRANGE ||
      typtype == TYPTYPE_PSEUDO || type == JSONOID || type == JSONBOID || type == FLOAT4OID || type == FLOAT8OID)
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("column \"%s\" of type %s cannot be part of the key", name, format_type_be(type)),
                    errhint("Cast it to text in the model, or take another column.")));
  key->name = pstrdup(name);
  key->member = ond_to_utf8(key->name);
  key->value = -1;
  key->type_sql = key_type_sql(type);
  key->text = key->type_sql == NULL;
  key->type = key->text ? TEXTOID : type;
  if (key->text)
    key->type_sql = "pg_catalog.text";
}

/* --- the mapping ------------------------------------------------------------------------------------------ */

static void compile_mapping_document(OndSpec *spec) {
  OndError err = {0};

  if (spec->sync->mapping != NULL) {
    char *text = ond_to_utf8(spec->sync->mapping);

    spec->mapping = ond_mapping_parse(text, strlen(text), &err);
  } else {
    const char **names = palloc(sizeof(char *) * spec->model->n_columns);

    for (int i = 0; i < spec->model->n_columns; i++)
      names[i] = ond_to_utf8(spec->model->columns[i].name);
    spec->mapping = ond_mapping_identity(spec->model->n_columns, names);
  }
  if (spec->mapping == NULL)
    ond_raise(&err);
}

/* On lines of its own: it may end with a comment. */
static char *in_parentheses(const char *text) {
  return psprintf("(\n%s\n)", text);
}

/* One expression and nothing else: the text must parse alone as SELECT (text) with one target and no other clause. */
static void check_expression(const char *what, const char *text) {
  List *raw = raw_parser(psprintf("SELECT (\n%s\n)", text), RAW_PARSE_DEFAULT);
  SelectStmt *select = list_length(raw) == 1 ? (SelectStmt *)linitial_node(RawStmt, raw)->stmt : NULL;

  if (select == NULL || !IsA(select, SelectStmt) || list_length(select->targetList) != 1 || select->fromClause != NIL || select->whereClause != NULL ||
      select->groupClause != NIL || select->havingClause != NULL || select->sortClause != NIL || select->op != SETOP_NONE || select->limitCount != NULL ||
      select->limitOffset != NULL || select->intoClause != NULL || select->lockingClause != NIL || select->windowClause != NIL)
    ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("%s is not one expression", what),
                    errhint("Write an expression over the model's columns, as in lower(email).")));
}

/* A value for each row: what makes more rows, or fewer, or one of many would change what is in the model. */
static void check_row_expression(const char *what, const char *sql) {
  Query *query = linitial_node(Query, pg_analyze_and_rewrite_fixedparams(linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT)), sql, NULL, 0, NULL));

  if (query->hasTargetSRFs || query->hasAggs)
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("%s %s", what, query->hasAggs ? "is an aggregate" : "returns a set"),
                    errhint("Write an expression with one value for each row; aggregates and sets belong into the model, or into a subquery.")));
}

/* A position in the text would be shown in the caller's statement; the expression's own place is said instead. */
static void expression_error(void *what) {
  if (geterrposition() > 0) {
    errposition(0);
    errcontext("%s", (const char *)what);
  }
}

/* The type of one expression, given as it was written; type_of analyses it over the model. */
static Oid analyze_expression(const OndSpec *spec, char *what, const char *text, Oid (*type_of)(const OndSpec *spec, const char *what, const char *sql)) {
  ErrorContextCallback context = {error_context_stack, expression_error, what};
  Oid type;

  error_context_stack = &context;
  check_expression(what, text);
  type = type_of(spec, what, in_parentheses(text));
  error_context_stack = context.previous;
  return type;
}

/* The type of an expression over each row of the model. */
static Oid row_type(const OndSpec *spec, const char *what, const char *sql) {
  char *text = psprintf("SELECT %s AS x FROM (\n%s\n) q", sql, spec->model->query); /* no joins: an expression is over the model alone */
  OndModel *probe = ond_model_analyze(text);

  check_row_expression(what, text);
  return probe->columns[0].type;
}

static void compile_template(OndSpec *spec, int field, const OndField *f) {
  int *parts = palloc(sizeof(int) * Max(f->template.n, 1));

  for (int i = 0; i < f->template.n; i++) {
    const OndTemplatePart *part = &f->template.parts[i];

    parts[i] = part->name.p == NULL ? -1 : column_value(spec, ond_from_utf8(part->name.p, part->name.n), psprintf("the template of \"%s\"", own(f->target)));
  }
  spec->field_parts[field] = parts;
}

/* --- lookups ---------------------------------------------------------------------------------------------- */

/* The sync looked up, as far as the owner may see it: its number; its key's length and display form. */
static int64 find_looked_up(const char *target, const char *name, int *n_keys, char **key) {
  Oid types[1] = {TEXTOID};
  Datum values[1] = {CStringGetTextDatum(name)};
  MemoryContext caller = CurrentMemoryContext;
  int64 sync_id = 0;
  bool isnull;

  if (SPI_connect() != SPI_OK_CONNECT ||
      SPI_execute_with_args("SELECT sync_id, pg_catalog.cardinality(key), pg_catalog.array_to_string(key, ', ') FROM ondatra.syncs WHERE name OPERATOR(pg_catalog.=) $1",
                            1, types, values, NULL, true, 0) != SPI_OK_SELECT)
    elog(ERROR, "could not look for sync \"%s\"", name);
  if (SPI_processed > 0) {
    HeapTuple tuple = SPI_tuptable->vals[0];

    sync_id = DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
    *n_keys = DatumGetInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
    *key = MemoryContextStrdup(caller, SPI_getvalue(tuple, SPI_tuptable->tupdesc, 3));
  }
  SPI_finish();
  if (sync_id == 0)
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("sync \"%s\", which the lookup of \"%s\" names, does not exist", name, target),
                    errhint("Name a sync of the same owner: SELECT name FROM ondatra.syncs.")));
  return sync_id;
}

static bool is_integer_type(const char *type_sql) {
  return strcmp(type_sql, "pg_catalog.int2") == 0 || strcmp(type_sql, "pg_catalog.int4") == 0 || strcmp(type_sql, "pg_catalog.int8") == 0;
}

/* q.company_id = l1.k1: without a cast that could fail for a value. */
static void append_join_condition(OndSpec *spec, StringInfo s, const OndField *f, int i, const char *state_type, int number) {
  OndKeyColumn by;
  char *column = own(f->by[i]);
  int value = column_value(spec, column, psprintf("the lookup of \"%s\"", own(f->target)));

  ond_key_column(spec->model, column, &by);
  if (strcmp(by.type_sql, state_type) != 0 && !(is_integer_type(by.type_sql) && is_integer_type(state_type)))
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                    errmsg("column \"%s\" of the lookup of \"%s\" cannot be compared with the key of sync \"%s\"", column, own(f->target), own(f->text)),
                    errdetail("The column is of type %s, the key of type %s.", by.type_sql + strlen("pg_catalog."), state_type + strlen("pg_catalog.")),
                    errhint("Cast it in the model.")));
  spec->joins[number].by[i] = value;
  appendStringInfo(s, "%s(%s)::%s%s OPERATOR(pg_catalog.=) l%d.k%d", i > 0 ? " AND " : "", spec->values[value].sql, by.type_sql,
                   by.text ? " COLLATE pg_catalog.\"C\"" : "", number + 1, i + 1);
}

static void compile_lookup(OndSpec *spec, int field, const OndField *f) {
  int number = spec->n_joins++;
  int n_keys = 0;
  char *key = NULL;
  int64 sync_id = find_looked_up(own(f->target), own(f->text), &n_keys, &key);
  const char **types = ond_state_key_types(sync_id, n_keys);
  StringInfoData s;

  if (f->n_by != n_keys)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the lookup of \"%s\" has %d columns in \"by\", the key of sync \"%s\" has %d", own(f->target), f->n_by, own(f->text), n_keys),
                    errhint("List the columns that hold its key: %s.", key)));
  initStringInfo(&s);
  appendStringInfo(&s, "LEFT JOIN %s l%d ON ", ond_state_table_name(sync_id), number + 1);
  spec->joins[number].n_by = n_keys;
  for (int i = 0; i < n_keys; i++)
    append_join_condition(spec, &s, f, i, types[i], number);
  spec->joins[number].sql = s.data;
  spec->field_join[field] = number;
  spec->field_value[field] = add_value(spec, own(f->target), psprintf("l%d._remote_id", number + 1), TEXTOID);
}

void ond_spec_append_from(StringInfo s, const OndSpec *spec) {
  appendStringInfo(s, "FROM (\n%s\n) q", spec->model->query);
  for (int i = 0; i < spec->n_joins; i++)
    appendStringInfo(s, " %s", spec->joins[i].sql);
}

static void compile_fields(OndSpec *spec) {
  int n = ond_mapping_count(spec->mapping);

  spec->field_value = palloc(sizeof(int) * Max(n, 1));
  spec->field_parts = palloc0(sizeof(int *) * Max(n, 1));
  spec->field_join = palloc(sizeof(int) * Max(n, 1));
  spec->joins = palloc0(sizeof(OndJoin) * Max(n, 1));
  for (int i = 0; i < n; i++) {
    const OndField *f = ond_mapping_field(spec->mapping, i);

    spec->field_value[i] = spec->field_join[i] = -1;
    switch (f->kind) {
      case OND_SOURCE_CONST: break;
      case OND_SOURCE_COLUMN: spec->field_value[i] = column_value(spec, own(f->text), "the mapping"); break;
      case OND_SOURCE_TEMPLATE: compile_template(spec, i, f); break;
      case OND_SOURCE_LOOKUP: compile_lookup(spec, i, f); break;
      case OND_SOURCE_SQL: {
        const char *text = own(f->text), *target = own(f->target);
        char *what = psprintf("sql source of \"%s\" in the mapping", target);

        spec->field_value[i] = add_value(spec, target, in_parentheses(text), analyze_expression(spec, what, text, row_type));
        break;
      }
    }
  }
}

/* Members of the payload come in the order of the model's columns; what is no column after them. */
static void order_fields(OndSpec *spec) {
  int n = ond_mapping_count(spec->mapping);
  int *ranks = palloc(sizeof(int) * Max(n, 1));

  for (int i = 0; i < n; i++) {
    const OndField *f = ond_mapping_field(spec->mapping, i);

    ranks[i] = f->kind == OND_SOURCE_COLUMN ? ond_model_column(spec->model, own(f->text)) : spec->model->n_columns;
  }
  ond_mapping_order(spec->mapping, ranks);
}

/* --- the connector ---------------------------------------------------------------------------------------- */

/* What a record cannot be made without. */
static void check_required(const OndSpec *spec) {
  StringInfoData missing, all;
  const char *name;

  if (spec->sync->mode == OND_MODE_UPDATE)
    return;
  initStringInfo(&missing);
  initStringInfo(&all);
  for (int i = 0; (name = ond_connector_required(spec->connector, i)) != NULL; i++) {
    appendStringInfo(&all, "%s%s", i > 0 ? ", " : "", own(name));
    if (!ond_mapping_fills(spec->mapping, name))
      appendStringInfo(&missing, "%s%s", missing.len > 0 ? ", " : "", own(name));
  }
  if (missing.len > 0)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the mapping does not fill a field that the destination requires: %s", missing.data),
                    errdetail("Object \"%s\" requires %s.", spec->sync->object == NULL ? "" : spec->sync->object, all.data),
                    errhint("Add it to the mapping, or to the model under that name.")));
}

/* The field by which the API knows a record must not be filled from something else than what the sync knows it by. */
static void check_key_field(const OndSpec *spec) {
  const char *name = ond_connector_key_field(spec->connector);

  for (int i = 0; name != NULL && i < ond_mapping_count(spec->mapping); i++) {
    const OndField *f = ond_mapping_field(spec->mapping, i);

    if (f->kind == OND_SOURCE_COLUMN && strcmp(f->target, name) == 0 && strcmp(own(f->text), spec->sync->keys[0]) != 0)
      ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                      errmsg("the destination identifies a record by its field \"%s\", which is not the key of the sync", own(name)),
                      errdetail("The mapping fills it from column \"%s\", but the key is \"%s\".", own(f->text), spec->sync->keys[0]),
                      errhint("Use key => '{%s}'.", quote_identifier(own(f->text)))));
  }
}

/* "as" of the mapping's fields. */
static void compile_types(OndSpec *spec) {
  int n = ond_mapping_count(spec->mapping);

  for (int i = 0; i < n; i++) {
    const OndField *f = ond_mapping_field(spec->mapping, i);
    OndError err = {0};

    if (f->as == NULL)
      continue;
    if (spec->field_type == NULL) {
      spec->field_type = palloc(sizeof(int) * n);
      for (int k = 0; k < n; k++)
        spec->field_type[k] = -1;
    }
    spec->field_type[i] = ond_connector_type(spec->connector, f->as, &err);
    if (spec->field_type[i] < 0) {
      ond_error_detail(&err, "The mapping of \"%s\" names it.", f->target);
      ond_raise(&err);
    }
  }
}

const OndBytes *ond_spec_form_values(const OndSpec *spec, const OndBytes *values, OndBuf *scratch) {
  const OndBytes null = ond_connector_null(spec->connector);
  int n = ond_mapping_count(spec->mapping);
  OndBytes *formed;

  if (spec->field_type == NULL && null.p == NULL)
    return values;
  formed = palloc(sizeof(OndBytes) * n);
  for (int i = 0; i < n; i++) {
    formed[i] = values[i];
    if (values[i].p == NULL)
      continue;
    if (spec->field_type == NULL || spec->field_type[i] < 0) {
      if (null.p != NULL && values[i].n == 4 && memcmp(values[i].p, "null", 4) == 0)
        formed[i] = null;
      continue;
    }
    ond_buf_reset(scratch);
    if (!ond_connector_form(spec->connector, spec->field_type[i], values[i], scratch))
      ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("field \"%s\" of a row is too large", own(ond_mapping_field(spec->mapping, i)->target))));
    formed[i] = (OndBytes){pnstrdup(scratch->data, scratch->len), scratch->len};
  }
  return formed;
}

/* For bodies that name all fields. */
static void tell_fields(OndSpec *spec) {
  const char **names = palloc(sizeof(char *) * Max(ond_mapping_count(spec->mapping), 1));
  int n = 0;

  while (n < ond_mapping_count(spec->mapping) && (names[n] = ond_mapping_member(spec->mapping, n)) != NULL)
    n++;
  ond_connector_set_fields(spec->connector, n, names);
}

/* --- kept columns ----------------------------------------------------------------------------------------- */

/* What is written with the acks must not fail there: json can hold what jsonb cannot. */
static void check_kept_type(const OndSpec *spec, const char *column, Oid type) {
  Oid base = getBaseType(type);
  Oid element = get_element_type(base);

  if (OidIsValid(element))
    base = getBaseType(element);
  if (base == JSONOID || get_typtype(base) == TYPTYPE_COMPOSITE)
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("column \"%s\" of type %s cannot be kept", column, format_type_be(type)),
                    errhint("Cast it to jsonb or text in the model.")));
}

static void compile_keep(OndSpec *spec) {
  const OndSyncOptions *o = &spec->sync->options;

  spec->kept_name = palloc(sizeof(char *) * Max(o->n_keep, 1));
  spec->kept_value = palloc(sizeof(int) * Max(o->n_keep, 1));
  for (int i = 0; i < o->n_keep; i++) {
    int value = column_value(spec, o->keep[i], "option keep");

    check_kept_type(spec, o->keep[i], spec->values[value].type);
    spec->kept_name[i] = ond_to_utf8(pstrdup(o->keep[i]));
    spec->kept_value[i] = value;
  }
  spec->n_kept = o->n_keep;
}

static int kept_index(const OndSpec *spec, const char *name) {
  for (int i = 0; i < spec->n_kept; i++)
    if (strcmp(spec->kept_name[i], name) == 0)
      return i;
  return -1;
}

/* What templates name: columns of the model, or in a delete those of them that are kept. */
static void compile_columns(OndSpec *spec, const OndDestination *destination) {
  const char *name;

  while (ond_connector_column(spec->connector, spec->n_template_columns) != NULL)
    spec->n_template_columns++;
  spec->template_value = palloc(sizeof(int) * Max(spec->n_template_columns, 1));
  spec->template_kept = palloc(sizeof(int) * Max(spec->n_template_columns, 1));
  for (int i = 0; (name = ond_connector_column(spec->connector, i)) != NULL; i++) {
    int uses = ond_connector_column_uses(spec->connector, i);
    char *column = own(name);

    spec->template_value[i] = (uses & OND_COLUMN_OF_ROW) != 0 ? column_value(spec, column, psprintf("the templates of destination \"%s\"", destination->name)) : -1;
    spec->template_kept[i] = kept_index(spec, name);
    if ((uses & OND_COLUMN_OF_DELETE) != 0 && spec->template_kept[i] < 0 && spec->sync->mode == OND_MODE_MIRROR)
      ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the delete of destination \"%s\" names column \"%s\", which is not kept", destination->name, column),
                      errdetail("When a record is deleted, its row has left the model."),
                      errhint("Keep it: options => '{\"keep\": [\"%s\"]}'. What a delete can name besides: key, remote_id, remote.x, var.x.", column)));
  }
}

static void compile_connector(OndSpec *spec, const OndDestination *destination) {
  OndError err = {0};

  spec->connector = ond_destination_compile(destination, spec->sync);
  if (!ond_connector_bind_sync(spec->connector, spec->sync, &err) || !ond_destination_check_auth(destination, spec->connector, &err))
    ond_raise(&err);
  check_required(spec);
  check_key_field(spec);
  compile_types(spec);
  tell_fields(spec);
  compile_columns(spec, destination);
}

/* --- the cursor ------------------------------------------------------------------------------------------- */

const char *ond_spec_overlap_type(const OndSpec *spec) {
  switch (getBaseType(spec->values[spec->cursor_value].type)) {
    case TIMESTAMPTZOID:
    case TIMESTAMPOID: return "pg_catalog.interval";
    case DATEOID: return "pg_catalog.int4";
    case INT2OID:
    case INT4OID:
    case INT8OID: return "pg_catalog.int8";
    case NUMERICOID: return "pg_catalog.numeric";
    default: return NULL;
  }
}

static void compile_cursor(OndSpec *spec) {
  const char *column = spec->sync->options.cursor_column;
  const char *overlap = spec->sync->options.cursor_overlap;
  const char *type;
  Oid typid;
  int32 typmod;

  spec->cursor_value = column == NULL ? -1 : column_value(spec, column, "option cursor_column");
  if (column == NULL)
    return;
  type = ond_spec_overlap_type(spec);
  if (type == NULL)
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                    errmsg("cursor_column \"%s\" has type %s", column, format_type_be(spec->values[spec->cursor_value].type)),
                    errhint("Use a timestamp, a date or a number that grows with every change.")));
  if (overlap != NULL) {
    Oid input, ioparam;

    parseTypeString(type, &typid, &typmod, false);
    getTypeInputInfo(typid, &input, &ioparam);
    (void)OidInputFunctionCall(input, unconstify(char *, overlap), ioparam, typmod); /* raises for what is no such value */
  }
}

/* --- checks ----------------------------------------------------------------------------------------------- */

static void check_condition_type(const char *what, Oid type) {
  if (getBaseType(type) != BOOLOID)
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("%s is of type %s, not a condition", what, format_type_be(type)),
                    errhint("Write what holds where all is well, such as email LIKE '%%@%%' or count(*) > 100.")));
}

/* A condition over all rows has one value for all of them. */
static Oid whole_type(const OndSpec *spec, const char *what, const char *sql) {
  char *text = psprintf("SELECT %s AS x FROM (\n%s\n) q", sql, spec->model->query);
  Query *query = linitial_node(Query, pg_analyze_and_rewrite_fixedparams(linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT)), text, NULL, 0, NULL));

  if (!query->hasAggs || query->hasTargetSRFs)
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("%s has no aggregate, or returns a set", what),
                    errhint("Write a condition over the whole model, such as count(*) > 100; one over each row belongs to \"row\".")));
  return exprType((Node *)linitial_node(TargetEntry, query->targetList)->expr);
}

static void compile_checks(OndSpec *spec) {
  const OndSyncOptions *options = &spec->sync->options;

  if (options->n_checks == 0)
    return;
  spec->check_value = palloc(sizeof(int) * options->n_checks);
  for (int i = 0; i < options->n_checks; i++) {
    const OndCheck *check = &options->checks[i];
    char *what = psprintf("the condition of check \"%s\"", check->name);
    Oid type = analyze_expression(spec, what, check->sql, check->whole ? whole_type : row_type);

    check_condition_type(what, type);
    spec->check_value[i] = check->whole ? -1 : add_value(spec, check->name, in_parentheses(check->sql), type);
  }
}

/* --- functions -------------------------------------------------------------------------------------------- */

/* They stand for one request and its answer. */
static void check_one_request(const OndSpec *spec) {
  static const OndRoute routes[] = {OND_ROUTE_CREATE, OND_ROUTE_UPDATE, OND_ROUTE_DELETE};

  for (int i = 0; i < (int)lengthof(routes); i++) {
    const OndOperation *operation = ond_connector_route(spec->connector, routes[i]);

    if (operation != NULL && ond_operation_info(operation)->n_steps > 0)
      ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                      errmsg("option \"%s\" does not go with operation \"%s\", which has several steps", spec->render != NULL ? "render" : "parse", ond_operation_info(operation)->name),
                      errhint("A function shapes one request or reads its answer; use an object or a connector whose operations are one request.")));
  }
}

static void compile_scripts(OndSpec *spec) {
  const OndSyncOptions *o = &spec->sync->options;

  if (o->render != NULL)
    spec->render = ond_script_find("render", o->render, true);
  if (o->parse != NULL)
    spec->parse = ond_script_find("parse", o->parse, true);
  if (o->finalize != NULL)
    spec->finalize = ond_script_find("finalize", o->finalize, false);
  if (o->render != NULL || o->parse != NULL)
    check_one_request(spec);
}

static void check_types(const OndSpec *spec) {
  for (int i = 0; i < spec->n_values; i++)
    (void)ond_encoder_create(spec->values[i].type, spec->values[i].name);
}

OndSpec *ond_spec_build(const OndSync *sync, const OndModel *model, const OndDestination *destination) {
  OndSpec *spec = palloc0(sizeof(OndSpec));
  MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

  callback->func = free_compiled;
  callback->arg = spec;
  MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
  spec->sync = sync;
  spec->model = model;
  spec->n_keys = sync->n_keys;
  if (sync->n_keys > OND_KEYS_MAX)
    ereport(ERROR, (errcode(ERRCODE_TOO_MANY_COLUMNS), errmsg("the key has %d columns, at most %d are possible", sync->n_keys, OND_KEYS_MAX)));
  spec->keys = palloc0(sizeof(OndKeyColumn) * sync->n_keys);
  for (int i = 0; i < sync->n_keys; i++) {
    ond_key_column(model, sync->keys[i], &spec->keys[i]);
    spec->keys[i].value = column_value(spec, sync->keys[i], "the key");
  }
  compile_mapping_document(spec);
  compile_fields(spec);
  order_fields(spec);
  compile_keep(spec);
  compile_connector(spec, destination);
  compile_cursor(spec);
  compile_checks(spec);
  compile_scripts(spec);
  check_types(spec);
  return spec;
}

/* --- the signature ---------------------------------------------------------------------------------------- */

/* Used columns of the model (not the expressions) with their types, without length or precision: these do not change what is sent. */
static char *signature(const OndSpec *spec) {
  StringInfoData s;
  bool first = true;

  initStringInfo(&s);
  appendStringInfoChar(&s, '[');
  for (int i = 0; i < spec->model->n_columns; i++) {
    const OndModelColumn *column = &spec->model->columns[i];
    char *sql = psprintf("q.%s", quote_identifier(column->name));

    for (int k = 0; k < spec->n_values; k++) {
      if (strcmp(spec->values[k].sql, sql) != 0)
        continue;
      appendStringInfoString(&s, first ? "{\"name\":" : ",{\"name\":");
      escape_json(&s, column->name);
      appendStringInfoString(&s, ",\"type\":");
      escape_json(&s, format_type_be(column->type));
      appendStringInfoChar(&s, '}');
      first = false;
      break;
    }
  }
  appendStringInfoChar(&s, ']');
  return s.data;
}

char *ond_sync_check(const OndSync *sync, const OndModel *model, const OndDestination *destination) {
  OndSpec *spec = ond_spec_build(sync, model, destination);
  StringInfoData sql;

  /* runs nothing of the model, but checks the owner's rights on all that it reads; what the first run will fill may be without data still */
  initStringInfo(&sql);
  appendStringInfoString(&sql, sync->options.refresh ? "EXPLAIN SELECT " : "SELECT ");
  for (int i = 0; i < spec->n_values; i++)
    appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", spec->values[i].sql);
  appendStringInfoChar(&sql, ' ');
  ond_spec_append_from(&sql, spec);
  appendStringInfoString(&sql, " LIMIT 0");
  if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(sql.data, !sync->options.refresh, 0) < 0)
    elog(ERROR, "could not check the model");
  SPI_finish();
  return signature(spec);
}

/*
 * Types whose values have the same form, so that nothing is sent again: widths of integers, and text with or without a length. A wider integer in the
 * key does count: the state table's column keeps the narrow one.
 */
static bool same_form(const OndSpec *spec, const char *column, const char *was, const char *now) {
  static const char *const integers[] = {"smallint", "integer", "bigint"};
  static const char *const texts[] = {"text", "character varying"};
  int ints = 0, text = 0;

  for (int i = 0; i < (int)lengthof(integers); i++)
    ints += (strcmp(was, integers[i]) == 0) + (strcmp(now, integers[i]) == 0);
  for (int i = 0; i < (int)lengthof(texts); i++)
    text += (strcmp(was, texts[i]) == 0) + (strcmp(now, texts[i]) == 0);
  for (int i = 0; i < spec->n_keys; i++)
    if (strcmp(spec->keys[i].name, column) == 0)
      ints = 0;
  return ints == 2 || text == 2;
}

static void refuse_gone(const OndSpec *spec, const char *name) {
  ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                  errmsg("column \"%s\", which the sync uses, is not in %s any more", name, ond_model_words(spec->model)),
                  errhint("If that is meant, accept it with SELECT ondatra.update_sync('%s', model => ...) and the model as it is now; rows whose version changes are sent again.",
                          spec->sync->name)));
}

static void refuse_retyped(const OndSpec *spec, const OndModelColumn *column, const char *was) {
  ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                  errmsg("column \"%s\" of %s changed its type from %s to %s", column->name, ond_model_words(spec->model), was,
                         format_type_be(column->type)),
                  errhint("If that is meant, accept it with SELECT ondatra.update_sync('%s', model => ...) and the model as it is now; rows whose version changes are sent again.",
                          spec->sync->name)));
}

void ond_spec_check_signature(const OndSpec *spec) {
  Oid types[1] = {TEXTOID};
  Datum values[1] = {CStringGetTextDatum(spec->sync->columns)};
  int rc;

  if (SPI_connect() != SPI_OK_CONNECT)
    elog(ERROR, "SPI_connect failed");
  rc = SPI_execute_with_args("SELECT e.v OPERATOR(pg_catalog.->>) 'name', e.v OPERATOR(pg_catalog.->>) 'type'"
                             " FROM pg_catalog.jsonb_array_elements($1::pg_catalog.jsonb) e(v)",
                             1, types, values, NULL, true, 0);
  if (rc != SPI_OK_SELECT)
    elog(ERROR, "could not read the signature of the sync");
  for (uint64 i = 0; i < SPI_processed; i++) {
    char *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
    char *was = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
    int c = ond_model_column(spec->model, name);

    if (c < 0)
      refuse_gone(spec, name);
    else if (strcmp(was, format_type_be(spec->model->columns[c].type)) != 0 && !same_form(spec, name, was, format_type_be(spec->model->columns[c].type)))
      refuse_retyped(spec, &spec->model->columns[c], was);
  }
  SPI_finish();
}
