/*
 * execute.c - plans and executes the diff's statement; see execute.h.
 *
 * The planner counts a probe of a hash table the same however large the table is. In fact each is a cache miss or two: for millions of rows a merge
 * over the two sides' indexes, which costs half as much again by that count, takes a third of the time, no memory and no temporary files. So a large
 * statement is planned a second time without hash joins, and that plan is taken when the planner thinks it at most MERGE_COST_RATIO as expensive.
 * A side that would have to be sorted, or an index whose order is not the table's, costs more than that: then the hash join stays.
 *
 * The statement goes to the executor directly: under SPI it would be planned once more, and what runs inside of it under the second plan's settings.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "catalog/settings.h"
#include "compat.h"
#include "engine/execute.h"

#define MERGE_ROWS_MIN 100000
#define MERGE_COST_RATIO 2.0

static void set(const char *name, const char *value) {
  (void)set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void ond_execute_pin(void) {
  char work_mem[32];

  snprintf(work_mem, sizeof(work_mem), "%d", ond_setting_work_mem_kb);
  set("work_mem", work_mem);
  set("jit", "off");
}

static Query *analyze_statement(const char *sql) {
  List *raw = pg_parse_query(sql);
  List *queries = pg_analyze_and_rewrite_fixedparams(linitial_node(RawStmt, raw), sql, NULL, 0, NULL);

  if (list_length(raw) != 1 || list_length(queries) != 1)
    elog(ERROR, "the diff is not one statement");
  return linitial_node(Query, queries);
}

static PlannedStmt *plan_without_hash(const Query *query, const char *sql) {
  int nest = NewGUCNestLevel();
  PlannedStmt *plan;

  set("enable_hashjoin", "off");
  plan = pg_plan_query(copyObject(unconstify(Query *, query)), sql, CURSOR_OPT_PARALLEL_OK, NULL);
  AtEOXact_GUC(true, nest);
  return plan;
}

/* *without_hash: the second plan was taken. */
static PlannedStmt *plan_statement(const char *sql, bool *without_hash) {
  Query *query = analyze_statement(sql);
  PlannedStmt *plan = pg_plan_query(copyObject(query), sql, CURSOR_OPT_PARALLEL_OK, NULL);
  PlannedStmt *other;

  *without_hash = false;
  if (plan->planTree->plan_rows < MERGE_ROWS_MIN)
    return plan;
  other = plan_without_hash(query, sql);
  if (other->planTree->total_cost > plan->planTree->total_cost * MERGE_COST_RATIO)
    return plan;
  *without_hash = true;
  return other;
}

bool ond_execute(const char *sql, DestReceiver *dest) {
  bool without_hash, by_key;
  PlannedStmt *plan = plan_statement(sql, &without_hash);
  QueryDesc *query = CreateQueryDesc(plan, sql, GetActiveSnapshot(), InvalidSnapshot, dest, NULL, NULL, 0);

  ExecutorStart(query, 0);
  ond_compat_executor_run(query);
  ExecutorFinish(query);
  ExecutorEnd(query);
  by_key = IsA(plan->planTree, MergeJoin);
  FreeQueryDesc(query);
  return by_key;
}

void ond_execute_explain(const char *sql, bool analyze) {
  bool without_hash;

  (void)plan_statement(sql, &without_hash);
  if (without_hash)
    set("enable_hashjoin", "off");
  if (SPI_execute(psprintf("EXPLAIN%s %s", analyze ? " (ANALYZE, BUFFERS)" : "", sql), false, 0) != SPI_OK_UTILITY)
    elog(ERROR, "could not explain the diff");
}
