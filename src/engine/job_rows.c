/*
 * job_rows.c - see job_rows.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "engine/job_rows.h"
#include "engine/state_table.h"
#include "engine/window.h"

const char *ond_job_route_name(OndRoute route) {
  switch (route) {
    case OND_ROUTE_CREATE: return "create";
    case OND_ROUTE_UPDATE: return "update";
    case OND_ROUTE_DELETE: return "delete";
    case OND_ROUTE_LOOKUP: break;
  }
  return "lookup";
}

static Datum captures_datum(const OndJob *job) {
  OndBytes captures = ond_job_captures(job);
  char *text = captures.p == NULL ? pstrdup("{}") : pnstrdup(captures.p, captures.n);

  return DirectFunctionCall1(jsonb_in, CStringGetDatum(pg_any_to_server(text, (int)strlen(text), PG_UTF8)));
}

void ond_job_row_write(const OndSync *sync, const OndJob *job, int n, OndTask *const *tasks) {
  Oid types[10] = {INT8OID, INT8OID, INT4OID, TEXTOID, JSONBOID, INT8OID, TEXTOID, BYTEAOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
  Datum values[10];

  values[0] = Int64GetDatum(sync->sync_id);
  values[1] = Int64GetDatum(job->run_id);
  values[2] = Int32GetDatum(job->job_no);
  values[3] = CStringGetTextDatum(ond_step_info(job->operation, job->step)->name);
  values[4] = captures_datum(job);
  if (job->saved) {
    ond_spi(SPI_OK_UPDATE,
            "UPDATE ondatra.jobs SET step = $4, captures = $5 WHERE sync_id OPERATOR(pg_catalog.=) $1 AND run_id OPERATOR(pg_catalog.=) $2"
            " AND job_no OPERATOR(pg_catalog.=) $3",
            5, types, values, NULL);
    return;
  }
  values[5] = Int64GetDatum(sync->destination_id);
  values[6] = CStringGetTextDatum(ond_job_route_name(job->route));
  values[7] = PointerGetDatum(ond_window_pack(n, tasks));
  values[8] = TimestampTzGetDatum(ond_from_unix_us(job->started_at));
  values[9] = TimestampTzGetDatum(ond_from_unix_us(job->deadline));
  ond_spi(SPI_OK_INSERT,
          "INSERT INTO ondatra.jobs (sync_id, run_id, job_no, step, captures, destination_id, operation, changes, started_at, deadline)"
          " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
          10, types, values, NULL);
}

void ond_job_row_delete(int64 sync_id, const OndJob *job) {
  Oid types[3] = {INT8OID, INT8OID, INT4OID};
  Datum values[3] = {Int64GetDatum(sync_id), Int64GetDatum(job->run_id), Int32GetDatum(job->job_no)};

  ond_spi(SPI_OK_DELETE,
          "DELETE FROM ondatra.jobs WHERE sync_id OPERATOR(pg_catalog.=) $1 AND run_id OPERATOR(pg_catalog.=) $2 AND job_no OPERATOR(pg_catalog.=) $3", 3, types,
          values, NULL);
}

static void read_row(HeapTuple tuple, TupleDesc desc, OndJobRow *row) {
  bool isnull;

  row->run_id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
  row->job_no = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull));
  row->destination_id = DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull));
  row->operation = SPI_getvalue(tuple, desc, 4);
  row->step = SPI_getvalue(tuple, desc, 5);
  row->captures = SPI_getvalue(tuple, desc, 6);
  row->captures = pg_server_to_any(row->captures, (int)strlen(row->captures), PG_UTF8);
  row->changes = DatumGetByteaPCopy(SPI_getbinval(tuple, desc, 7, &isnull));
  row->started_at = ond_to_unix_us(DatumGetTimestampTz(SPI_getbinval(tuple, desc, 8, &isnull)));
  row->deadline = ond_to_unix_us(DatumGetTimestampTz(SPI_getbinval(tuple, desc, 9, &isnull)));
}

int ond_job_rows_read(int64 sync_id, MemoryContext context, OndJobRow **rows) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(sync_id)};
  int n = (int)ond_spi(SPI_OK_SELECT,
                       "SELECT run_id, job_no, destination_id, operation, step, captures, changes, started_at, deadline FROM ondatra.jobs"
                       " WHERE sync_id OPERATOR(pg_catalog.=) $1 ORDER BY started_at, run_id, job_no",
                       1, types, values, NULL);
  MemoryContext saved = MemoryContextSwitchTo(context);

  *rows = n > 0 ? palloc(sizeof(OndJobRow) * n) : NULL;
  for (int i = 0; i < n; i++)
    read_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &(*rows)[i]);
  MemoryContextSwitchTo(saved);
  return n;
}
