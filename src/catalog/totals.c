/*
 * totals.c - see totals.h.
 *
 * Invariant: a run is added in the transaction that sets its finished_at, and so exactly once; until then ondatra.metrics adds the run's
 * own row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "catalog/session.h"
#include "catalog/totals.h"
#include "executor/spi.h"

static const char add_sql[] =
    "INSERT INTO ondatra.sync_totals AS t SELECT r.sync_id, pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.=) 'succeeded'),"
    " pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.=) 'partial'),"
    " pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.=) 'failed'),"
    " pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.=) 'cancelled'),"
    " pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.=) 'interrupted'),"
    " pg_catalog.sum(r.rows_created), pg_catalog.sum(r.rows_updated), pg_catalog.sum(r.rows_deleted),"
    " pg_catalog.sum(r.rows_failed OPERATOR(pg_catalog.+) r.deletes_failed), pg_catalog.sum(r.rows_invalid), pg_catalog.sum(r.requests),"
    " pg_catalog.sum(r.retries), pg_catalog.sum(r.throttled_ms), pg_catalog.sum(r.bytes_sent), pg_catalog.sum(r.bytes_received),"
    " coalesce(pg_catalog.sum(pg_catalog.date_part('epoch', r.finished_at OPERATOR(pg_catalog.-) r.started_at)"
    " OPERATOR(pg_catalog.*) 1000), 0)::bigint"
    " FROM ondatra.all_runs r WHERE r.run_id OPERATOR(pg_catalog.=) ANY ($1) GROUP BY r.sync_id"
    " ON CONFLICT (sync_id) DO UPDATE SET runs_succeeded = t.runs_succeeded OPERATOR(pg_catalog.+) excluded.runs_succeeded,"
    " runs_partial = t.runs_partial OPERATOR(pg_catalog.+) excluded.runs_partial,"
    " runs_failed = t.runs_failed OPERATOR(pg_catalog.+) excluded.runs_failed,"
    " runs_cancelled = t.runs_cancelled OPERATOR(pg_catalog.+) excluded.runs_cancelled,"
    " runs_interrupted = t.runs_interrupted OPERATOR(pg_catalog.+) excluded.runs_interrupted,"
    " rows_created = t.rows_created OPERATOR(pg_catalog.+) excluded.rows_created,"
    " rows_updated = t.rows_updated OPERATOR(pg_catalog.+) excluded.rows_updated,"
    " rows_deleted = t.rows_deleted OPERATOR(pg_catalog.+) excluded.rows_deleted,"
    " rows_failed = t.rows_failed OPERATOR(pg_catalog.+) excluded.rows_failed,"
    " rows_invalid = t.rows_invalid OPERATOR(pg_catalog.+) excluded.rows_invalid,"
    " requests = t.requests OPERATOR(pg_catalog.+) excluded.requests, retries = t.retries OPERATOR(pg_catalog.+) excluded.retries,"
    " throttled_ms = t.throttled_ms OPERATOR(pg_catalog.+) excluded.throttled_ms,"
    " bytes_sent = t.bytes_sent OPERATOR(pg_catalog.+) excluded.bytes_sent,"
    " bytes_received = t.bytes_received OPERATOR(pg_catalog.+) excluded.bytes_received,"
    " run_ms = t.run_ms OPERATOR(pg_catalog.+) excluded.run_ms";

void ond_totals_add(const int64 *run_ids, int n) {
  Oid types[] = {INT8ARRAYOID};
  Datum *elements = palloc(sizeof(Datum) * Max(n, 1));
  Datum values[1];

  if (n == 0)
    return;
  for (int i = 0; i < n; i++)
    elements[i] = Int64GetDatum(run_ids[i]);
  values[0] = PointerGetDatum(construct_array(elements, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
  ond_spi(SPI_OK_INSERT, add_sql, 1, types, values, NULL);
}
