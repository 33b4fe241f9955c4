/*
 * cursor.c - see cursor.h.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "engine/cursor.h"
#include "engine/version.h"

/* Has every transaction of this database that was open at `at` ended? A prepared one may be of before, whenever it was prepared. */
static bool all_ended(TimestampTz at) {
  Oid types[1] = {TIMESTAMPTZOID};
  Datum values[1] = {TimestampTzGetDatum(at)};
  bool isnull;

  ond_spi(SPI_OK_SELECT,
          "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
          " AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() AND a.xact_start OPERATOR(pg_catalog.<=) $1)"
          " AND NOT EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts p WHERE p.database OPERATOR(pg_catalog.=) pg_catalog.current_database())",
          1, types, values, NULL);
  return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static void write_cursor(int64 sync_id, const char *value, const char *seen, TimestampTz seen_at) {
  Oid types[4] = {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID};
  Datum values[4] = {Int64GetDatum(sync_id), value == NULL ? (Datum)0 : CStringGetTextDatum(value), seen == NULL ? (Datum)0 : CStringGetTextDatum(seen),
                     TimestampTzGetDatum(seen_at)};
  char nulls[4] = {' ', value == NULL ? 'n' : ' ', seen == NULL ? 'n' : ' ', seen == NULL ? 'n' : ' '};

  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_syncs SET cursor_value = $2, cursor_seen = $3, cursor_seen_at = $4 WHERE sync_id OPERATOR(pg_catalog.=) $1", 4, types, values,
          nulls);
}

OndPass ond_cursor_pass(const OndSync *sync) {
  int64 every = sync->options.full_every_us;

  if (sync->options.cursor_column == NULL || sync->cursor_value == NULL || sync->resend || sync->mode == OND_MODE_REPLACE ||
      sync->hash_format != OND_HASH_FORMAT)
    return OND_PASS_FULL;
  if (every > 0 && (sync->full_pass_at == 0 || GetCurrentTimestamp() - sync->full_pass_at >= every))
    return OND_PASS_FULL;
  return OND_PASS_CURSOR;
}

bool ond_cursor_settled(const OndSync *sync) {
  return sync->cursor_seen != NULL && all_ended(sync->cursor_seen_at);
}

/*
 * Whoever was open at the snapshot is seen by the call before it or the one after it, or came and went in between; then it either wrote nothing, or is in the
 * snapshot as running, or took a number after it.
 */
bool ond_cursor_quiet(Snapshot snapshot) {
  int others;

  pfree(GetCurrentVirtualXIDs(InvalidTransactionId, false, false, PROC_IS_AUTOVACUUM | PROC_IN_VACUUM, &others));
  if (snapshot == NULL)
    return others == 0;
  return others == 0 && snapshot->xcnt == 0 && !snapshot->suboverflowed && ReadNextTransactionId() == snapshot->xmax;
}

static void note_full_pass(int64 sync_id, TimestampTz at) {
  Oid types[2] = {INT8OID, TIMESTAMPTZOID};
  Datum values[2] = {Int64GetDatum(sync_id), TimestampTzGetDatum(at)};

  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_syncs SET full_pass_at = $2, resend = false WHERE sync_id OPERATOR(pg_catalog.=) $1", 2, types, values, NULL);
}

void ond_cursor_complete(const OndSync *sync, bool full_pass, const char *cursor_seen, TimestampTz snapshot_at, bool settled, bool quiet) {
  const char *value = settled ? sync->cursor_seen : sync->cursor_value;
  bool waits = sync->cursor_seen != NULL && !settled;

  if (full_pass && (sync->options.cursor_column != NULL || sync->resend))
    note_full_pass(sync->sync_id, snapshot_at);
  /* an older value that still waits for its transactions stays: a newer one would wait for ever under steady load */
  if (waits || (cursor_seen == NULL && !settled))
    return;
  if (cursor_seen == NULL || quiet)
    write_cursor(sync->sync_id, cursor_seen == NULL ? value : cursor_seen, NULL, 0);
  else
    write_cursor(sync->sync_id, value, cursor_seen, snapshot_at);
}
