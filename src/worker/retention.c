/*
 * retention.c - see retention.h.
 *
 * By age in each visit, through the index on the time: that finds nothing in no time. By number, which has to count, every COUNT_EVERY:
 * then also what a
 * sync that was dropped while it ran has left. In batches, each a short transaction, so that nothing waits for them and autovacuum keeps
 * up.
 *
 * Invariants: the last run of a sync stays (it says how it ended); so do runs that deleted within a day (max_deletes adds them up), and
 * open ones.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "catalog/settings.h"
#include "worker/retention.h"

#define BATCH_ROWS  1000
#define BATCHES_MAX 20
#define COUNT_EVERY "10 minutes"

typedef struct Kind {
  const char *table, *id, *at;
  const char *stays; /* a condition: rows t that are not deleted */
  const int *minutes, *count;
} Kind;

#define RUN_STAYS                                                                                                                          \
  "t.finished_at IS NULL OR (t.rows_deleted > 0 AND t.finished_at > now() - interval '1 day')"                                             \
  " OR EXISTS (SELECT FROM ondatra.all_syncs s WHERE s.sync_id = t.sync_id AND s.last_run_id = t.run_id)"

static const Kind kinds[] = {
    {"all_runs", "run_id", "finished_at", RUN_STAYS, &ond_setting_run_retention_min, &ond_setting_run_retention_count},
    {"all_requests", "request_id", "finished_at", "false", &ond_setting_request_retention_min, &ond_setting_request_retention_count},
    {"all_sync_log", "log_id", "logged_at", "false", &ond_setting_log_retention_min, &ond_setting_log_retention_count},
};

/* Runs a statement that deletes at most $2 rows until nothing is left. False: something may be. */
static bool delete_all(const char *sql, Oid type, Datum value) {
  Oid types[] = {type, INT4OID};
  Datum values[] = {value, Int32GetDatum(BATCH_ROWS)};

  for (int i = 0; i < BATCHES_MAX; i++) {
    uint64 deleted;

    CHECK_FOR_INTERRUPTS();
    ond_tx_begin();
    deleted = ond_spi(SPI_OK_DELETE, sql, 2, types, values, NULL);
    ond_tx_commit_soon();
    if (deleted < BATCH_ROWS)
      return true;
  }
  return false;
}

static bool delete_old(const Kind *k) {
  TimestampTz before = GetCurrentTimestamp() - (int64)*k->minutes * 60 * USECS_PER_SEC;
  char sql[1024];

  if (*k->minutes < 0)
    return true;
  snprintf(sql, sizeof(sql),
           "DELETE FROM ondatra.%s WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM ondatra.%s t WHERE t.%s < $1 AND NOT (%s) ORDER BY t.%s "
           "LIMIT $2))",
           k->table, k->table, k->at, k->stays, k->at);
  return delete_all(sql, TIMESTAMPTZOID, TimestampTzGetDatum(before));
}

/* The oldest of each sync that has more than it may. */
static bool delete_surplus(const Kind *k) {
  char sql[1536];

  if (*k->count < 0)
    return true;
  snprintf(sql, sizeof(sql),
           "DELETE FROM ondatra.%s WHERE ctid = ANY (ARRAY(SELECT x.ctid FROM ondatra.all_syncs s"
           " CROSS JOIN LATERAL (SELECT t.%s AS id FROM ondatra.%s t WHERE t.sync_id = s.sync_id ORDER BY t.%s DESC OFFSET $1 LIMIT 1) e"
           " CROSS JOIN LATERAL (SELECT t.ctid FROM ondatra.%s t WHERE t.sync_id = s.sync_id AND t.%s <= e.id AND NOT (%s) ORDER BY t.%s "
           "LIMIT $2) x"
           " LIMIT $2))",
           k->table, k->id, k->table, k->id, k->table, k->id, k->stays, k->id);
  return delete_all(sql, INT8OID, Int64GetDatum(*k->count));
}

/* What belongs to no sync any more. Runs stay: they tell of it. */
static bool delete_orphans(const char *table) {
  return delete_all(psprintf("DELETE FROM ondatra.%s WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM ondatra.%s t WHERE t.sync_id > $1"
                             " AND NOT EXISTS (SELECT FROM ondatra.all_syncs s WHERE s.sync_id = t.sync_id) LIMIT $2))",
                             table, table),
                    INT8OID, Int64GetDatum(0));
}

static bool counting_is_due(void) {
  uint64 n;

  ond_tx_begin();
  n = ond_spi(SPI_OK_SELECT,
              "SELECT FROM ondatra.housekeeping WHERE counted_at BETWEEN clock_timestamp() - interval '" COUNT_EVERY
              "' AND clock_timestamp()",
              0, NULL, NULL, NULL);
  ond_tx_commit();
  return n == 0;
}

static void counting_is_done(void) {
  ond_tx_begin();
  if (ond_spi(SPI_OK_UPDATE, "UPDATE ondatra.housekeeping SET counted_at = clock_timestamp()", 0, NULL, NULL, NULL) == 0)
    ond_spi(SPI_OK_INSERT, "INSERT INTO ondatra.housekeeping VALUES (clock_timestamp())", 0, NULL, NULL, NULL);
  ond_tx_commit_soon();
}

bool ond_retention_tidy(void) {
  bool all = true;

  for (int i = 0; i < lengthof(kinds); i++)
    all = delete_old(&kinds[i]) && all;
  if (!counting_is_due())
    return all;
  for (int i = 0; i < lengthof(kinds); i++)
    all = delete_surplus(&kinds[i]) && all;
  all = delete_orphans("all_requests") && delete_orphans("all_sync_log") && delete_orphans("sync_totals") && all;
  if (all)
    counting_is_done();
  return all;
}
