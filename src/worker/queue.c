/*
 * queue.c - the scheduler's SQL.
 *
 * A run is asked for by a due time (all_syncs.next_run_at: the schedule; recover_at: rows in doubt) or by rows of run_requests. Neither is
 * taken away here: the run itself consumes the requests that it saw and moves the due times, so a run that did not get through leaves its
 * reasons in place. What keeps that from spinning is not_before: while the last runs of a sync were interrupted or could not start, each
 * waits twice as long as the one before.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/after.h"
#include "catalog/edit.h"
#include "catalog/session.h"
#include "catalog/sync.h"
#include "catalog/totals.h"
#include "worker/queue.h"

#define DELAY_MAX_S 300
#define LOOK_BACK   12 /* runs: more do not make the delay longer */

static Datum column(uint64 row, int number, bool *isnull) {
  return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, isnull);
}

static TimestampTz time_column(uint64 row, int number, TimestampTz otherwise) {
  bool isnull;
  Datum d = column(row, number, &isnull);

  return isnull ? otherwise : DatumGetTimestampTz(d);
}

static int64 number_column(uint64 row, int number) {
  bool isnull;
  Datum d = column(row, number, &isnull);

  return isnull ? 0 : DatumGetInt64(d);
}

static void text_column(uint64 row, int number, char *out, size_t size) {
  char *text = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number);

  strlcpy(out, text != NULL ? text : "", size);
}

/* "All syncs that it runs after have finished well since it last ran": counted anew each time, so that nothing has to be remembered. */
static const char after_sql[] = "LEFT JOIN LATERAL " OND_AFTER_SINCE " l ON s.options ? 'after' "
                                "LEFT JOIN LATERAL (SELECT max(d.finished_at) AS finished_at FROM " OND_AFTER_PARENTS
                                "HAVING count(*) = count(d.finished_at)) f ON s.options ? 'after' ";

/* "Did not get through": interrupted, or failed without having started. */
static const char due_columns[] =
    "SELECT s.sync_id, s.name, s.owner::pg_catalog.oid, s.next_run_at, q.trigger, q.requested_by, q.requested_at, b.lost, b.finished_at, "
    "LEAST(q.requested_at, s.next_run_at, s.recover_at, f.finished_at) AS due_at, f.finished_at <= $1 "
    "FROM ondatra.all_syncs s ";

static const char due_reasons[] =
    "LEFT JOIN LATERAL (SELECT r.trigger, r.requested_by, r.requested_at FROM ondatra.run_requests r "
    "                   WHERE r.sync_id = s.sync_id ORDER BY r.request_id LIMIT 1) q ON true "
    "CROSS JOIN LATERAL ("
    "  SELECT count(*) AS lost, max(u.finished_at) AS finished_at FROM ("
    "    SELECT t.finished_at, sum(CASE WHEN t.status = 'interrupted' OR (t.status = 'failed' AND t.started_at IS NULL) THEN 0 ELSE 1 END) "
    "             OVER (ORDER BY t.run_id DESC) AS others "
    "    FROM (SELECT r.run_id, r.status, r.started_at, r.finished_at FROM ondatra.all_runs r "
    "          WHERE r.sync_id = s.sync_id AND r.finished_at IS NOT NULL AND r.trigger <> 'reconcile' ORDER BY r.run_id DESC LIMIT " CppAsString2(
        LOOK_BACK) ") t) u "
                   "  WHERE u.others = 0) b "
                   "WHERE s.state IN ('created', 'active') AND NOT s.sync_id = ANY ($2) AND NOT s.owner::pg_catalog.oid = ANY ($3) AND (s.next_run_at <= $1 OR s.recover_at <= $1 OR "
                   "q.requested_at IS NOT NULL OR f.finished_at <= $1) "
                   "  AND NOT EXISTS (SELECT FROM ondatra.all_runs r WHERE r.sync_id = s.sync_id AND r.finished_at IS NULL AND r.status = "
                   "'held' AND r.approved_by IS NULL) "
                   "ORDER BY due_at, s.sync_id LIMIT " CppAsString2(OND_QUEUE_MAX);

static TimestampTz not_before(uint64 row) {
  int64 lost = number_column(row, 8);
  TimestampTz finished_at = time_column(row, 9, 0);

  if (lost == 0)
    return DT_NOBEGIN;
  return finished_at + Min(INT64CONST(1) << (lost - 1), DELAY_MAX_S) * USECS_PER_SEC;
}

static void fill_due(OndDue *due, uint64 row, TimestampTz now, MemoryContext context) {
  TimestampTz next_run_at = time_column(row, 4, DT_NOEND);
  bool isnull;

  due->sync_id = number_column(row, 1);
  due->name = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2));
  due->owner = DatumGetObjectId(column(row, 3, &isnull));
  due->queued_at = time_column(row, 10, now);
  due->not_before = not_before(row);
  (void)column(row, 5, &isnull);
  if (isnull) {
    char *owner = GetUserNameFromId(due->owner, true);

    bool no_parents;
    bool after = DatumGetBool(column(row, 11, &no_parents)) && !no_parents;

    strlcpy(due->trigger, next_run_at <= now ? "schedule" : after ? "after" : "recovery", sizeof(due->trigger));
    strlcpy(due->requested_by, owner != NULL ? owner : "", sizeof(due->requested_by));
  } else {
    text_column(row, 5, due->trigger, sizeof(due->trigger));
    text_column(row, 6, due->requested_by, sizeof(due->requested_by));
  }
}

OndDue *ond_queue_due(TimestampTz now, const int64 *running, int n_running, const Oid *not_of, int n_not_of, MemoryContext context, int *n) {
  Oid types[] = {TIMESTAMPTZOID, INT8ARRAYOID, OIDARRAYOID};
  Datum *owners = palloc(sizeof(Datum) * Max(n_not_of, 1));
  Datum *elements = palloc(sizeof(Datum) * Max(n_running, 1));
  Datum values[3];
  OndDue *list;

  for (int i = 0; i < n_running; i++)
    elements[i] = Int64GetDatum(running[i]);
  for (int i = 0; i < n_not_of; i++)
    owners[i] = ObjectIdGetDatum(not_of[i]);
  values[0] = TimestampTzGetDatum(now);
  values[2] = PointerGetDatum(construct_array(owners, n_not_of, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
  values[1] = PointerGetDatum(construct_array(elements, n_running, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
  *n = (int)ond_spi(SPI_OK_SELECT, psprintf("%s%s%s", due_columns, after_sql, due_reasons), 3, types, values, NULL);
  list = MemoryContextAllocZero(context, sizeof(OndDue) * Max(*n, 1));
  for (int i = 0; i < *n; i++)
    fill_due(&list[i], i, now, context);
  return list;
}

TimestampTz ond_queue_next_due(TimestampTz now) {
  Oid types[] = {TIMESTAMPTZOID};
  Datum values[] = {TimestampTzGetDatum(now)};

  ond_spi(SPI_OK_SELECT,
          "SELECT min(v.due_at) FROM ondatra.all_syncs s, LATERAL (VALUES (s.next_run_at), (s.recover_at)) v (due_at) "
          "WHERE s.state IN ('created', 'active') AND v.due_at > $1",
          1, types, values, NULL);
  return time_column(0, 1, DT_NOEND);
}

void ond_queue_drop_leftovers(void) {
  ond_spi(SPI_OK_DELETE,
          "DELETE FROM ondatra.run_requests WHERE request_id IN (SELECT q.request_id FROM ondatra.run_requests q "
          "WHERE NOT EXISTS (SELECT FROM ondatra.all_syncs s WHERE s.sync_id = q.sync_id AND s.state <> 'archived') "
          "FOR UPDATE OF q SKIP LOCKED)",
          0, NULL, NULL, NULL);
  ond_spi(SPI_OK_DELETE,
          "DELETE FROM ondatra.quota_leases l WHERE NOT EXISTS (SELECT FROM ondatra.all_destinations d WHERE d.destination_id = "
          "l.destination_id)",
          0, NULL, NULL, NULL);
}

void ond_queue_thin_out(void) {
  ond_spi(SPI_OK_DELETE,
          "DELETE FROM ondatra.run_requests WHERE request_id IN (SELECT q.request_id FROM ondatra.run_requests q "
          "WHERE EXISTS (SELECT FROM ondatra.run_requests o WHERE o.sync_id = q.sync_id AND o.request_id < q.request_id) FOR UPDATE OF q SKIP LOCKED)",
          0, NULL, NULL, NULL);
}

OndOpenRun *ond_queue_open_runs(MemoryContext context, int *n) {
  OndOpenRun *list;

  *n =
      (int)ond_spi(SPI_OK_SELECT,
                   "SELECT run_id, sync_id, started_at FROM ondatra.all_runs WHERE finished_at IS NULL AND status IN ('queued', 'running')",
                   0, NULL, NULL, NULL);
  list = MemoryContextAlloc(context, sizeof(OndOpenRun) * Max(*n, 1));
  for (int i = 0; i < *n; i++) {
    list[i].run_id = number_column(i, 1);
    list[i].sync_id = number_column(i, 2);
    list[i].started_at = time_column(i, 3, 0);
  }
  return list;
}

bool ond_queue_end_run(int64 run_id, bool cancelled, const char *code, const char *message) {
  Oid types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
  Datum values[] = {Int64GetDatum(run_id), CStringGetTextDatum(cancelled ? "cancelled" : "interrupted"), CStringGetTextDatum(code),
                    CStringGetTextDatum(message)};

  (void)ond_sync_lock_of_run(run_id);
  /* What it had read and not resolved by its last commit is pending, so that the counts add up. */
  if (ond_spi(SPI_OK_UPDATE,
              "UPDATE ondatra.all_runs SET status = $2, finished_at = clock_timestamp(), error_code = $3, error_message = $4, "
              "rows_pending = greatest(0, rows_scanned - rows_unchanged - rows_created - rows_updated - rows_failed - rows_invalid "
              "- rows_held_back - rows_skipped) WHERE run_id = $1 AND finished_at IS NULL",
              4, types, values, NULL) == 0)
    return false;
  ond_totals_add(&run_id, 1);
  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_syncs s SET last_run_id = r.run_id FROM ondatra.all_runs r WHERE r.run_id = $1 AND s.sync_id = r.sync_id AND r.trigger <> 'reconcile'",
          1, types, values, NULL);
  if (!cancelled)
    ond_spi(SPI_OK_INSERT,
            "INSERT INTO ondatra.run_requests (sync_id, trigger, requested_by) SELECT s.sync_id, 'recovery', 'ondatra' "
            "FROM ondatra.all_runs r JOIN ondatra.all_syncs s USING (sync_id) WHERE r.run_id = $1 AND s.state IN ('created', 'active') AND r.trigger <> 'reconcile' "
            "AND NOT EXISTS (SELECT FROM ondatra.run_requests q WHERE q.sync_id = s.sync_id AND q.trigger = 'recovery')",
            1, types, values, NULL);
  return true;
}

static int64 next_run_id(void) {
  ond_spi(SPI_OK_SELECT, "SELECT nextval('ondatra.run_ids')", 0, NULL, NULL, NULL);
  return number_column(0, 1);
}

int64 ond_queue_record_failure(int64 run_id, const OndDue *due, const char *code, const char *message, const char *detail, bool fatal,
                               bool *state_changed) {
  Oid types[] = {INT8OID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID};
  OndSync *sync = ond_sync_load(due->sync_id);
  Datum values[8];

  *state_changed = false;
  if (sync == NULL || !ond_sync_lock(sync->sync_id))
    return 0;
  if (run_id == 0)
    run_id = next_run_id();
  values[0] = Int64GetDatum(run_id);
  values[1] = Int64GetDatum(due->sync_id);
  values[2] = CStringGetTextDatum(due->trigger);
  values[3] = CStringGetTextDatum(due->requested_by);
  values[4] = TimestampTzGetDatum(due->queued_at);
  values[5] = CStringGetTextDatum(code);
  values[6] = CStringGetTextDatum(message);
  values[7] = CStringGetTextDatum(detail != NULL ? detail : "");
  if (ond_spi(SPI_OK_INSERT,
              "INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, requested_by, queued_at, finished_at, "
              "error_code, error_message, error_detail) SELECT $1, s.sync_id, s.name, s.owner, 'failed', $3, $4, $5, clock_timestamp(), "
              "$6, $7, "
              "nullif($8, '') FROM ondatra.all_syncs s WHERE s.sync_id = $2 ON CONFLICT (run_id) DO NOTHING",
              8, types, values, NULL) == 0)
    return 0;
  ond_totals_add(&run_id, 1);
  *state_changed = ond_sync_run_finished(sync, run_id, true, fatal, message);
  return run_id;
}

int64 *ond_queue_expire_held(TimestampTz before, MemoryContext context, int *n) {
  Oid types[] = {TIMESTAMPTZOID};
  Datum values[] = {TimestampTzGetDatum(before)};
  int64 *ids;

  *n = (int)ond_spi(SPI_OK_UPDATE_RETURNING,
                    "UPDATE ondatra.all_runs SET status = 'cancelled', finished_at = clock_timestamp(), error_detail = 'Nobody decided in time "
                    "(ondatra.held_run_expiry).' WHERE finished_at IS NULL AND status = 'held' AND approved_by IS NULL AND held_at < $1 "
                    "RETURNING run_id, sync_id",
                    1, types, values, NULL);
  ids = MemoryContextAlloc(context, sizeof(int64) * 2 * Max(*n, 1));
  for (int i = 0; i < *n; i++) {
    ids[2 * i] = number_column(i, 1);
    ids[2 * i + 1] = number_column(i, 2);
  }
  for (int i = 0; i < *n; i++)
    ond_totals_add(&ids[2 * i], 1);
  if (*n > 0)
    ond_spi(SPI_OK_DELETE,
            "DELETE FROM ondatra.held_changes c WHERE NOT EXISTS (SELECT FROM ondatra.all_runs r WHERE r.run_id = c.run_id AND r.finished_at IS NULL)", 0, NULL,
            NULL, NULL);
  return ids;
}

TimestampTz ond_queue_held_since(void) {
  ond_spi(SPI_OK_SELECT, "SELECT min(held_at) FROM ondatra.all_runs WHERE finished_at IS NULL AND status = 'held' AND approved_by IS NULL", 0, NULL, NULL, NULL);
  return time_column(0, 1, DT_NOEND);
}
