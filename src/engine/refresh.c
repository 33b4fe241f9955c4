/*
 * refresh.c - see refresh.h.
 *
 * Which ones: what the model's text names, and from there what the rules of views and the queries of materialized views depend on (pg_depend). What a
 * function reads is not seen. Deepest first, so that each is made of fresh ones. CONCURRENTLY where the server can: populated, and with a unique index over
 * plain columns and all rows; then nobody who reads it waits.
 *
 * Rights: a materialized view's query runs as the view's owner in a restricted operation, which the server enters by itself. Around it the user is the
 * sync's owner, who also is the session user, so no identity can be gained; our own SQL is not in these transactions. The transaction cannot be a
 * restricted operation as a whole: REFRESH CONCURRENTLY makes a temporary table. What a query sets is undone by the server and by the scope.
 * One transaction each: its locks end with it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog/session.h"
#include "engine/model.h"
#include "engine/refresh.h"
#include "engine/watch.h"

typedef struct Matviews {
  int n;
  char **names;               /* qualified, deepest first */
  bool *concurrently;
} Matviews;

/* --- which ones ------------------------------------------------------------------------------------------- */

static bool collect_relations(Node *node, List **relations) {
  if (node == NULL)
    return false;
  if (IsA(node, RangeTblEntry)) {
    const RangeTblEntry *entry = (const RangeTblEntry *)node;

    if (entry->rtekind == RTE_RELATION)
      *relations = list_append_unique_oid(*relations, entry->relid);
    return false;
  }
  if (IsA(node, Query))
    return query_tree_walker((Query *)node, collect_relations, relations, QTW_EXAMINE_RTES_BEFORE);
  return expression_tree_walker(node, collect_relations, relations);
}

/* Relations that the model's text names, as it is written: views are not opened up. */
static ArrayType *named_relations(const OndModel *model) {
  List *relations = NIL;
  RawStmt *stmt = linitial_node(RawStmt, raw_parser(model->query, RAW_PARSE_DEFAULT));
  Datum *elements;
  ListCell *cell;
  int n = 0;

  (void)collect_relations((Node *)parse_analyze_fixedparams(stmt, model->query, NULL, 0, NULL), &relations);
  elements = palloc(sizeof(Datum) * Max(list_length(relations), 1));
  foreach (cell, relations)
    elements[n++] = ObjectIdGetDatum(lfirst_oid(cell));
  return construct_array(elements, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT);
}

static const char under_sql[] =
    "WITH RECURSIVE under(relid, depth) AS ("
    "  SELECT r, 0 FROM pg_catalog.unnest($1) r"
    "  UNION"
    "  SELECT d.refobjid, u.depth OPERATOR(pg_catalog.+) 1 FROM under u"
    "  JOIN pg_catalog.pg_rewrite w ON w.ev_class OPERATOR(pg_catalog.=) u.relid AND w.ev_type OPERATOR(pg_catalog.=) '1'"
    "  JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid"
    "   AND d.objid OPERATOR(pg_catalog.=) w.oid AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid"
    "   AND d.refobjid OPERATOR(pg_catalog.<>) u.relid"
    "  WHERE u.depth OPERATOR(pg_catalog.<) 100)"
    "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relispopulated AND EXISTS ("
    "   SELECT FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid"
    "    AND i.indpred IS NULL AND i.indexprs IS NULL)"
    " FROM (SELECT relid, pg_catalog.max(depth) AS depth FROM under GROUP BY relid) u"
    " JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) u.relid JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
    " WHERE c.relkind OPERATOR(pg_catalog.=) 'm' ORDER BY u.depth DESC, u.relid";

/* In the owner's scope; the result is in the current memory context. */
static Matviews find(const OndSync *sync) {
  Oid types[1] = {OIDARRAYOID};
  Datum values[1];
  MemoryContext context = CurrentMemoryContext;
  Matviews found;

  values[0] = PointerGetDatum(named_relations(ond_model_analyze(sync->model)));
  if (SPI_connect() != SPI_OK_CONNECT || SPI_execute_with_args(under_sql, 1, types, values, NULL, true, 0) != SPI_OK_SELECT)
    elog(ERROR, "could not look for materialized views");
  found.n = (int)SPI_processed;
  found.names = MemoryContextAlloc(context, sizeof(char *) * Max(found.n, 1));
  found.concurrently = MemoryContextAlloc(context, sizeof(bool) * Max(found.n, 1));
  for (int i = 0; i < found.n; i++) {
    bool isnull;

    found.names[i] = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
    found.concurrently[i] = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
  }
  SPI_finish();
  return found;
}

void ond_refresh_check(const OndSync *sync) {
  if (find(sync).n == 0)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"refresh\" has nothing to do: there is no materialized view under the model"),
                    errhint("Remove the option. What functions read is not seen: refresh that by other means.")));
}

/* --- refreshing ------------------------------------------------------------------------------------------- */

static void begin(const OndSync *sync, OndScope *scope, bool writes) {
  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  XactIsoLevel = XACT_READ_COMMITTED;
  XactReadOnly = !writes;
  XactDeferrable = false;
  PushActiveSnapshot(GetTransactionSnapshot());
  if (writes)
    ond_owner_write_begin(scope, sync->owner, sync->model_search_path, true);
  else
    ond_owner_begin(scope, sync->owner, sync->model_search_path, false);
}

static void end(OndScope *scope) {
  ond_owner_end(scope);
  PopActiveSnapshot();
  CommitTransactionCommand();
}

/* The server's error, with the view it is about in its message. */
static _Noreturn void rethrow(const char *name, MemoryContext context);
static void rethrow(const char *name, MemoryContext context) {
  ErrorData *error;

  MemoryContextSwitchTo(context);
  error = CopyErrorData();
  FlushErrorState();
  error->message = psprintf("materialized view %s could not be refreshed: %s", name, error->message);
  ReThrowError(error);
}

static void refresh_one(const OndSync *sync, const char *name, bool concurrently, int64 deadline_us, bool (*stop_asked)(void)) {
  MemoryContext context = CurrentMemoryContext;
  OndScope scope;

  begin(sync, &scope, true);
  ond_watch_begin(deadline_us, stop_asked);
  PG_TRY();
  {
    if (SPI_execute(psprintf("REFRESH MATERIALIZED VIEW %s%s", concurrently ? "CONCURRENTLY " : "", name), false, 0) != SPI_OK_UTILITY)
      elog(ERROR, "could not refresh a materialized view");
  }
  PG_CATCH();
  { rethrow(name, context); }
  PG_END_TRY();
  ond_watch_end();
  end(&scope);
}

void ond_refresh(const OndSync *sync, int64 deadline_us, bool (*stop_asked)(void)) {
  MemoryContext context = CurrentMemoryContext;
  Matviews found;
  OndScope scope;

  begin(sync, &scope, false);
  MemoryContextSwitchTo(context);
  found = find(sync);
  end(&scope);
  for (int i = 0; i < found.n; i++) {
    MemoryContextSwitchTo(context);
    refresh_one(sync, found.names[i], found.concurrently[i], deadline_us, stop_asked);
  }
  MemoryContextSwitchTo(context);
}
