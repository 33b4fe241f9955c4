/*
 * places.c - how many asynchronous jobs a destination has open, over all its syncs.
 *
 *   open = jobs of live runs (in their slots) + jobs that runs which have ended left in ondatra.jobs, until their deadline
 *
 * A run that goes on with a job of an earlier one leaves it where it is counted: in the table, under the earlier run. A job that was begun and cannot be gone on
 * with when its run dies is counted no more: nobody could ask for its end.
 *
 * Invariant: a job is always counted at least once. A live run's place is taken before its job begins; its slot ends in one step, with all its places, and what it
 * leaves was committed to the table before. Who asks takes its own place first, and gives it back when that is one too many: of two, one gets the last.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "catalog/session.h"
#include "worker/state.h"

/* Jobs of the destination that belong to none of these runs. */
static int64 count_left(int64 destination_id, const int64 *runs, int n_runs) {
  Oid types[] = {INT8OID, INT8ARRAYOID};
  Datum *ids = palloc(sizeof(Datum) * n_runs);
  Datum values[2];
  bool isnull;

  for (int i = 0; i < n_runs; i++)
    ids[i] = Int64GetDatum(runs[i]);
  values[0] = Int64GetDatum(destination_id);
  values[1] = PointerGetDatum(construct_array(ids, n_runs, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
  ond_spi(SPI_OK_SELECT, "SELECT count(*) FROM ondatra.jobs WHERE destination_id = $1 AND run_id <> ALL ($2) AND deadline > clock_timestamp()", 2, types, values, NULL);
  return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

bool ond_place_take(int64 destination_id, int most) {
  MemoryContext saved = CurrentMemoryContext;
  int64 *runs;
  int n_runs;
  int64 total = ond_slot_job_begin(destination_id, &runs, &n_runs);

  if (most > 0 && total <= most) {
    ond_tx_begin();
    total += count_left(destination_id, runs, n_runs);
    ond_tx_commit();
    MemoryContextSwitchTo(saved);
  }
  pfree(runs);
  if (most > 0 && total > most) {
    ond_slot_job_end();
    return false;
  }
  return true;
}
