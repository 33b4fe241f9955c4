/*
 * model.c - the model's text: one relation or exactly one SELECT; its columns; its primary key.
 *
 * Everything here runs as the sync's owner with the search_path of the model's creation (catalog/session.h); the caller sees to that.
 * Nothing is executed. The text is parsed alone, so that it cannot close the parentheses it is put into. Within them the server refuses a WITH
 * that changes data.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parser.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "engine/model.h"

/* A name, maybe qualified, and nothing else: its parts; NIL when the text is something else. */
static List *as_relation_name(const char *text) {
  List *parts;
  List *names = NIL;
  ListCell *cell;

  if (!SplitIdentifierString(pstrdup(text), '.', &parts) || list_length(parts) < 1 || list_length(parts) > 3)
    return NIL;
  foreach (cell, parts)
    names = lappend(names, makeString(pstrdup(lfirst(cell))));
  return names;
}

static void analyze_relation(OndModel *model, const char *text, List *names) {
  RangeVar *rv = makeRangeVarFromNameList(names);
  Oid relid = RangeVarGetRelid(rv, NoLock, true);
  char kind;

  if (!OidIsValid(relid))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("model \"%s\" does not exist", text),
                    errhint("A model is the name of a table, view, materialized view or foreign table, with its schema if need be, or one SELECT.")));
  kind = get_rel_relkind(relid);
  if (kind != RELKIND_RELATION && kind != RELKIND_VIEW && kind != RELKIND_MATVIEW && kind != RELKIND_FOREIGN_TABLE && kind != RELKIND_PARTITIONED_TABLE)
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("model \"%s\" is not a table or view", text),
                    errhint("A model is the name of a table, view, materialized view or foreign table, or one SELECT.")));
  if (get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
    ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION), errmsg("model \"%s\" is a temporary table or view", text),
                    errdetail("Runs are other sessions and cannot see it."), errhint("Use a permanent one.")));
  model->relid = relid;
  model->display = pstrdup(text);
  model->query = psprintf("SELECT * FROM %s", quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)));
}

static void not_one_select(const char *detail) {
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the model is not one SELECT"), errdetail("%s", detail),
                  errhint("A model is the name of a table or view, or exactly one SELECT (VALUES and WITH are fine) that changes nothing.")));
}

static void check_select(const SelectStmt *select) {
  if (select->intoClause != NULL)
    not_one_select("It has an INTO clause.");
  if (select->lockingClause != NIL)
    not_one_select("It locks rows (FOR UPDATE or the like).");
  if (select->op != SETOP_NONE) {
    check_select(select->larg);
    check_select(select->rarg);
  }
}

static void analyze_query(OndModel *model, const char *text) {
  List *raw = raw_parser(text, RAW_PARSE_DEFAULT);
  RawStmt *stmt;
  int len;

  if (list_length(raw) != 1)
    not_one_select(raw == NIL ? "It is empty." : "It has more than one statement.");
  stmt = linitial_node(RawStmt, raw);
  if (!IsA(stmt->stmt, SelectStmt))
    not_one_select("It is another kind of statement.");
  check_select((SelectStmt *)stmt->stmt);
  len = stmt->stmt_len > 0 ? stmt->stmt_len : (int)strlen(text + stmt->stmt_location);
  model->query = pnstrdup(text + stmt->stmt_location, len);
  model->display = pstrdup("the query");
}

static void add_column(OndModel *model, const TargetEntry *entry) {
  OndModelColumn *column = &model->columns[model->n_columns];
  Node *expr = (Node *)entry->expr;

  for (int i = 0; i < model->n_columns; i++)
    if (strcmp(model->columns[i].name, entry->resname) == 0)
      ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN), errmsg("the model has two columns named \"%s\"", entry->resname),
                      errhint("Give one of them another name with AS.")));
  column->name = pstrdup(entry->resname);
  column->type = exprType(expr);
  column->typmod = exprTypmod(expr);
  column->collation = exprCollation(expr);
  if (column->type == UNKNOWNOID)
    column->type = TEXTOID;
  model->n_columns++;
}

static void analyze_columns(OndModel *model) {
  char *text = psprintf("SELECT * FROM (\n%s\n) q", model->query);
  RawStmt *stmt = linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT));
  Query *query = linitial_node(Query, pg_analyze_and_rewrite_fixedparams(stmt, text, NULL, 0, NULL));
  ListCell *cell;

  model->columns = palloc0(sizeof(OndModelColumn) * Max(list_length(query->targetList), 1));
  foreach (cell, query->targetList)
    if (!lfirst_node(TargetEntry, cell)->resjunk)
      add_column(model, lfirst_node(TargetEntry, cell));
  if (model->n_columns == 0)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the model has no columns")));
}

OndModel *ond_model_analyze(const char *text) {
  OndModel *model = palloc0(sizeof(OndModel));
  List *names = as_relation_name(text);

  if (names != NIL)
    analyze_relation(model, text, names);
  else
    analyze_query(model, text);
  analyze_columns(model);
  return model;
}

const char *ond_model_words(const OndModel *model) {
  return OidIsValid(model->relid) ? psprintf("model \"%s\"", model->display) : "the model";
}

int ond_model_column(const OndModel *model, const char *name) {
  for (int i = 0; i < model->n_columns; i++)
    if (strcmp(model->columns[i].name, name) == 0)
      return i;
  return -1;
}

char *ond_model_columns_hint(const OndModel *model) {
  StringInfoData s;

  initStringInfo(&s);
  appendStringInfoString(&s, "The model has the columns ");
  for (int i = 0; i < model->n_columns; i++)
    appendStringInfo(&s, "%s%s", i > 0 ? ", " : "", model->columns[i].name);
  appendStringInfoChar(&s, '.');
  return s.data;
}

char **ond_model_primary_key(const OndModel *model, int *n) {
  Relation rel;
  Oid index = InvalidOid;
  char **names = NULL;

  if (OidIsValid(model->relid)) {
    rel = table_open(model->relid, AccessShareLock);
    if (rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) {
      (void)RelationGetIndexList(rel);
      index = rel->rd_pkindex;
    }
    table_close(rel, AccessShareLock);
  }
  if (OidIsValid(index)) {
    HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
    Form_pg_index form;

    if (!HeapTupleIsValid(tuple))
      elog(ERROR, "cache lookup failed for index %u", index);
    form = (Form_pg_index)GETSTRUCT(tuple);
    *n = form->indnkeyatts;
    names = palloc(sizeof(char *) * *n);
    for (int i = 0; i < *n; i++)
      names[i] = get_attname(model->relid, form->indkey.values[i], false);
    ReleaseSysCache(tuple);
    return names;
  }
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the sync needs a key"),
                  OidIsValid(model->relid) ? errdetail("Model \"%s\" has no primary key.", model->display)
                                           : errdetail("The model is a query, which has no primary key."),
                  errhint("Name the columns that identify a row, as in key => '{id}'. %s", ond_model_columns_hint(model))));
}

/* All of its columns are in the key, and no row is left out of it. */
static bool index_covers(Oid index, Oid relid, int n_keys, char *const *keys) {
  HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
  Form_pg_index form;
  bool covers;

  if (!HeapTupleIsValid(tuple))
    return false;
  form = (Form_pg_index)GETSTRUCT(tuple);
  covers = form->indisunique && form->indisvalid && heap_attisnull(tuple, Anum_pg_index_indpred, NULL) && heap_attisnull(tuple, Anum_pg_index_indexprs, NULL);
  for (int i = 0; i < form->indnkeyatts && covers; i++) {
    const char *column = get_attname(relid, form->indkey.values[i], true);
    bool found = false;

    for (int k = 0; k < n_keys && column != NULL; k++)
      found = found || strcmp(keys[k], column) == 0;
    covers = found;
  }
  ReleaseSysCache(tuple);
  return covers;
}

bool ond_model_key_is_unique(const OndModel *model, int n_keys, char *const *keys) {
  Relation rel;
  List *indexes;
  ListCell *cell;
  bool unique = false;

  if (!OidIsValid(model->relid))
    return false;
  rel = relation_open(model->relid, AccessShareLock);
  indexes = rel->rd_rel->relhasindex ? RelationGetIndexList(rel) : NIL;
  foreach (cell, indexes)
    unique = unique || index_covers(lfirst_oid(cell), model->relid, n_keys, keys);
  relation_close(rel, AccessShareLock);
  return unique;
}
