/*
 * window.c - the compact form of a send window, and the fold after a crash.
 *
 * Form 2: byte 2; then per change: operation (1 byte), hash (16), change id (8, as in memory), number of key columns (1), and for the key's JSON, each key column's text and what
 * is kept of the row (nothing: 0 bytes) a length (4) and the bytes. Read back only by the same server, so byte order does not matter.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "engine/kept.h"
#include "engine/record.h"
#include "engine/state_table.h"
#include "engine/window.h"

#define FORM 2
#define FOLD_ROWS 1000

/* --- writing ---------------------------------------------------------------------------------------------- */

static void append_piece(StringInfo s, OndBytes piece) {
  uint32 n = (uint32)piece.n;

  appendBinaryStringInfo(s, (char *)&n, sizeof(n));
  appendBinaryStringInfo(s, piece.p, (int)piece.n);
}

static void append_change(StringInfo s, const OndChangeRow *row) {
  appendStringInfoChar(s, (char)row->task.op);
  appendBinaryStringInfo(s, (const char *)row->hash.b, sizeof(row->hash.b));
  appendBinaryStringInfo(s, (const char *)&row->change_id, sizeof(row->change_id));
  appendStringInfoChar(s, (char)row->n_keys);
  append_piece(s, row->key_json);
  for (int i = 0; i < row->n_keys; i++)
    append_piece(s, row->key_text[i]);
  append_piece(s, row->kept.p == NULL ? (OndBytes){"", 0} : row->kept);
}

bytea *ond_window_pack(int n, OndTask *const *tasks) {
  StringInfoData s;

  initStringInfo(&s);
  appendStringInfoSpaces(&s, VARHDRSZ);
  appendStringInfoChar(&s, FORM);
  for (int i = 0; i < n; i++)
    append_change(&s, tasks[i]->row);
  SET_VARSIZE(s.data, s.len);
  return (bytea *)s.data;
}

void ond_window_insert(int64 sync_id, int64 run_id, int window_no, int n, OndTask *const *tasks) {
  Oid types[5] = {INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID, BYTEAOID};
  Datum values[5];

  values[0] = Int64GetDatum(sync_id);
  values[1] = Int64GetDatum(run_id);
  values[2] = Int32GetDatum(window_no);
  values[3] = TimestampTzGetDatum(GetCurrentTimestamp());
  values[4] = PointerGetDatum(ond_window_pack(n, tasks));
  ond_spi(SPI_OK_INSERT, "INSERT INTO ondatra.send_windows (sync_id, run_id, window_no, sent_at, changes) VALUES ($1, $2, $3, $4, $5)", 5, types,
          values, NULL);
}

void ond_window_delete(int64 sync_id, int64 run_id, int n, const int32 *window_nos) {
  Oid types[3] = {INT8OID, INT8OID, INT4ARRAYOID};
  Datum values[3] = {Int64GetDatum(sync_id), Int64GetDatum(run_id), 0};
  Datum *numbers = palloc(sizeof(Datum) * Max(n, 1));

  for (int i = 0; i < n; i++)
    numbers[i] = Int32GetDatum(window_nos[i]);
  values[2] = PointerGetDatum(construct_array(numbers, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
  ond_spi(SPI_OK_DELETE,
          "DELETE FROM ondatra.send_windows WHERE sync_id OPERATOR(pg_catalog.=) $1 AND run_id OPERATOR(pg_catalog.=) $2"
          " AND window_no OPERATOR(pg_catalog.=) ANY ($3)",
          3, types, values, NULL);
}

/* --- the fold --------------------------------------------------------------------------------------------- */

typedef OndWindowEntry Entry;

static void damaged(void) {
  ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a send window cannot be read"),
                  errhint("It was written by another version; ask what is delivered with preview_sync() and decide with resend_sync() or rebase_sync().")));
}

static void take(const char **at, const char *end, void *to, Size n) {
  if ((Size)(end - *at) < n)
    damaged();
  memcpy(to, *at, n);
  *at += n;
}

static OndBytes take_piece(const char **at, const char *end) {
  OndBytes piece;
  uint32 n;

  take(at, end, &n, sizeof(n));
  if ((Size)(end - *at) < n)
    damaged();
  piece = (OndBytes){*at, n};
  *at += n;
  return piece;
}

static void take_entry(const char **at, const char *end, int n_keys, Entry *entry) {
  char op, keys;

  take(at, end, &op, 1);
  take(at, end, entry->hash.b, sizeof(entry->hash.b));
  take(at, end, &entry->change_id, sizeof(entry->change_id));
  take(at, end, &keys, 1);
  if (keys != n_keys)
    damaged();
  entry->op = (OndOp)op;
  entry->key_json = take_piece(at, end);
  for (int i = 0; i < n_keys; i++)
    entry->key_text[i] = take_piece(at, end);
  entry->kept = take_piece(at, end);
  if (entry->kept.n == 0)
    entry->kept = OND_BYTES_NONE;
}

int ond_window_unpack(bytea *changes, int n_keys, OndWindowEntry **entries) {
  const char *at = VARDATA_ANY(changes);
  const char *end = at + VARSIZE_ANY_EXHDR(changes);
  int n = 0, room = 64;
  char form;

  take(&at, end, &form, 1);
  if (form != FORM)
    damaged();
  *entries = palloc(sizeof(Entry) * room);
  while (at < end) {
    if (n == room)
      *entries = repalloc_huge(*entries, sizeof(Entry) * (room *= 2));
    take_entry(&at, end, n_keys, &(*entries)[n++]);
  }
  return n;
}

/* Applies the crash rule to some entries; how many are in doubt. */
static int64 fold(int64 sync_id, int64 run_id, int n_keys, const char *const *types, int n, Entry *entries, bool hold) {
  const OndBytes **keys = palloc(sizeof(OndBytes *) * n);
  bool *found = palloc(sizeof(bool) * n);
  OndKeyState *states = palloc0(sizeof(OndKeyState) * n);
  OndStateWrite *writes = palloc0(sizeof(OndStateWrite) * n);
  OndBytes *kept = palloc0(sizeof(OndBytes) * n);
  OndFailure *failures = palloc0(sizeof(OndFailure) * n);
  int64 now = ond_to_unix_us(GetCurrentTimestamp());
  int n_writes = 0;

  for (int i = 0; i < n; i++)
    keys[i] = entries[i].key_text;
  ond_state_read(sync_id, n_keys, types, n, keys, found, states, kept);
  for (int i = 0; i < n; i++) {
    Entry *e = &entries[i];
    OndStateWrite *w = &writes[n_writes];

    if (!ond_change_fold(found[i] ? &states[i] : NULL, e->op, e->hash, e->change_id, now, hold, &w->state))
      continue;
    w->key_text = e->key_text;
    w->kept = ond_kept_after(kept[i], found[i] ? &states[i] : NULL, e->kept, &w->state, false);
    failures[n_writes].key_json = e->key_json;
    failures[n_writes].op = e->op;
    failures[n_writes].outcome = OND_OUT_UNKNOWN;
    failures[n_writes].message = "the run ended before the destination answered";
    failures[n_writes].attempts = w->state.attempts;
    failures[n_writes].next_attempt_at = OND_NEVER;
    n_writes++;
  }
  ond_state_write(sync_id, n_keys, types, n_writes, writes);
  if (hold)
    ond_failed_rows_upsert(sync_id, run_id, n_writes, failures, false);
  return n_writes;
}

static int64 fold_window(int64 sync_id, int64 run_id, int n_keys, const char *const *types, bytea *changes, bool hold) {
  const char *at = VARDATA_ANY(changes);
  const char *end = at + VARSIZE_ANY_EXHDR(changes);
  Entry *entries = palloc(sizeof(Entry) * FOLD_ROWS);
  int64 in_doubt = 0;
  char form;

  take(&at, end, &form, 1);
  if (form != FORM)
    damaged();
  while (at < end) {
    int n = 0;

    while (at < end && n < FOLD_ROWS)
      take_entry(&at, end, n_keys, &entries[n++]);
    in_doubt += fold(sync_id, run_id, n_keys, types, n, entries, hold);
  }
  return in_doubt;
}

int64 ond_window_fold_all(int64 sync_id, int n_keys, bool hold) {
  Oid arg_types[1] = {INT8OID};
  Datum args[1] = {Int64GetDatum(sync_id)};
  uint64 n = ond_spi(SPI_OK_SELECT,
                     "SELECT run_id, changes FROM ondatra.send_windows WHERE sync_id OPERATOR(pg_catalog.=) $1 ORDER BY run_id, window_no", 1, arg_types,
                     args, NULL);
  SPITupleTable *windows = SPI_tuptable;
  const char **types;
  int64 in_doubt = 0;

  if (n == 0)
    return 0;
  types = ond_state_key_types(sync_id, n_keys);
  for (uint64 i = 0; i < n; i++) {
    bool isnull;
    int64 run_id = DatumGetInt64(SPI_getbinval(windows->vals[i], windows->tupdesc, 1, &isnull));
    bytea *changes = DatumGetByteaPP(SPI_getbinval(windows->vals[i], windows->tupdesc, 2, &isnull));

    in_doubt += fold_window(sync_id, run_id, n_keys, types, changes, hold);
  }
  ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.send_windows WHERE sync_id OPERATOR(pg_catalog.=) $1", 1, arg_types, args, NULL);
  return in_doubt;
}
