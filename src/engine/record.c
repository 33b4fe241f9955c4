/*
 * record.c - acks; see record.h.
 *
 * Invariants:
 *   - a state row says `accepted` only in the commit that also counts the row and takes it out of its send window;
 *   - a send window goes away only in the commit that records its last change;
 *   - the commit checks that the sync still is the one of the run: same version, extension still there.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "catalog/settings.h"
#include "catalog/utf8.h"
#include "core/text.h"
#include "engine/job_rows.h"
#include "engine/kept.h"
#include "engine/record.h"
#include "engine/state_table.h"
#include "engine/window.h"

#define PAYLOAD_MAX 2000
#define SETTLE_ROWS 1000

struct OndRecorder {
  MemoryContext context;      /* of the run */
  MemoryContext chunk;        /* reset for every commit */
  const OndSync *sync;
  int64 run_id;
  int n_keys;
  const char *const *key_types;
  bool hold_create, hold_update, hold_delete;
  int64 in_doubt_wait_us;
  OndCounters counters;
  int *window_left;           /* by window number: changes that are not durable yet */
  int n_windows;
  int windows_max;
  int64 log_left;             /* lines of ondatra.sync_log that this run may still write */
};

/* --- failed rows ------------------------------------------------------------------------------------------ */

/* Words for a column: in the database's encoding; what it cannot express becomes '?'. */
static Datum text_datum(const char *s, size_t n) {
  char *copy = pnstrdup(s, n);

  ond_text_clean(copy);
  return CStringGetTextDatum(ond_words_from_utf8(copy));
}

static Datum key_datum(OndBytes json) {
  return CStringGetTextDatum(ond_from_utf8(json.p, json.n));
}

enum { F_KEY, F_OPERATION, F_CLASS, F_STATUS, F_MESSAGE, F_PAYLOAD, F_ATTEMPTS, F_NEXT, F_COLUMNS };

static Datum failure_datum(const OndFailure *f, int column, bool *isnull) {
  switch (column) {
    case F_KEY: return key_datum(f->key_json);
    case F_OPERATION: return CStringGetTextDatum(ond_op_name(f->op));
    case F_CLASS: return CStringGetTextDatum(ond_outcome_class(f->outcome));
    case F_STATUS: *isnull = f->http_status == 0; return Int32GetDatum(f->http_status);
    case F_MESSAGE: return text_datum(f->message, strlen(f->message));
    case F_PAYLOAD:
      *isnull = f->payload.p == NULL;
      return *isnull ? (Datum)0 : text_datum(f->payload.p, ond_utf8_cut(f->payload.p, f->payload.n, PAYLOAD_MAX));
    case F_ATTEMPTS: return Int32GetDatum(f->attempts);
    case F_NEXT: *isnull = f->next_attempt_at == OND_NEVER; return *isnull ? (Datum)0 : TimestampTzGetDatum(ond_from_unix_us(f->next_attempt_at));
  }
  elog(ERROR, "unknown column %d", column);
}

static Datum failure_array(int n, const OndFailure *failures, int column, Oid element, int16 len, bool byval, char align) {
  Datum *values = palloc(sizeof(Datum) * n);
  bool *nulls = palloc0(sizeof(bool) * n);
  int dims[1] = {n};
  int lbs[1] = {1};

  for (int i = 0; i < n; i++)
    values[i] = failure_datum(&failures[i], column, &nulls[i]);
  return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs, element, len, byval, align));
}

/*
 * What is there already in the same words is not written again: runs with the same invalid rows write nothing. A row that the diff finds invalid
 * (0 attempts) keeps what was said of an earlier version: that version may come back, and is held back then.
 */
#define UPSERT_FAILED \
  "INSERT INTO ondatra.all_failed_rows AS f (sync_id, run_id, key, operation, error_class, http_status, error_message, payload, attempts," \
  " next_attempt_at, first_failed_at, last_failed_at)" \
  " SELECT $1, $2, u.k::pg_catalog.jsonb, u.o, u.c, u.s, u.m, u.p, u.a, u.n, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp()" \
  " FROM unnest($3, $4, $5, $6, $7, $8, $9, $10) u(k, o, c, s, m, p, a, n)" \
  " ON CONFLICT (sync_id, key) DO UPDATE SET run_id = excluded.run_id, operation = excluded.operation, error_class = excluded.error_class," \
  " http_status = excluded.http_status, error_message = excluded.error_message, payload = excluded.payload, attempts = excluded.attempts," \
  " next_attempt_at = excluded.next_attempt_at, last_failed_at = excluded.last_failed_at," \
  " before = CASE WHEN excluded.attempts OPERATOR(pg_catalog.>) 0 THEN NULL WHEN f.attempts OPERATOR(pg_catalog.>) 0 THEN pg_catalog.to_jsonb(f) ELSE f.before END" \
  " WHERE excluded.attempts OPERATOR(pg_catalog.>) 0 OR f.error_message OPERATOR(pg_catalog.<>) excluded.error_message" \
  " OR f.error_class OPERATOR(pg_catalog.<>) excluded.error_class"

void ond_failed_rows_upsert(int64 sync_id, int64 run_id, int n, const OndFailure *failures, bool log) {
  static const Oid arrays[F_COLUMNS] = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID};
  Oid types[F_COLUMNS + 2];
  Datum values[F_COLUMNS + 2];

  if (n == 0)
    return;
  types[0] = types[1] = INT8OID;
  values[0] = Int64GetDatum(sync_id);
  values[1] = Int64GetDatum(run_id);
  for (int c = 0; c < F_COLUMNS; c++) {
    types[c + 2] = arrays[c];
    if (arrays[c] == TEXTARRAYOID)
      values[c + 2] = failure_array(n, failures, c, TEXTOID, -1, false, TYPALIGN_INT);
    else if (arrays[c] == INT4ARRAYOID)
      values[c + 2] = failure_array(n, failures, c, INT4OID, 4, true, TYPALIGN_INT);
    else
      values[c + 2] = failure_array(n, failures, c, TIMESTAMPTZOID, 8, true, TYPALIGN_DOUBLE);
  }
  ond_spi(SPI_OK_INSERT,
          log ? "WITH f AS (" UPSERT_FAILED " RETURNING f.key, f.operation, f.error_class, f.http_status, f.error_message)"
                " INSERT INTO ondatra.all_sync_log (sync_id, run_id, key, operation, outcome, http_status, message) SELECT $1, $2, f.* FROM f"
              : UPSERT_FAILED,
          F_COLUMNS + 2, types, values, NULL);
}

static Datum key_array(int n, const OndBytes *key_jsons) {
  Datum *keys = palloc(sizeof(Datum) * Max(n, 1));

  for (int i = 0; i < n; i++)
    keys[i] = key_datum(key_jsons[i]);
  return PointerGetDatum(construct_array(keys, n, TEXTOID, -1, false, TYPALIGN_INT));
}

void ond_failed_rows_delete(int64 sync_id, int n, const OndBytes *key_jsons) {
  Oid types[2] = {INT8OID, TEXTARRAYOID};
  Datum values[2] = {Int64GetDatum(sync_id), 0};

  if (n == 0)
    return;
  values[1] = key_array(n, key_jsons);
  ond_spi(SPI_OK_DELETE,
          "DELETE FROM ondatra.all_failed_rows f USING pg_catalog.unnest($2) u(k)"
          " WHERE f.sync_id OPERATOR(pg_catalog.=) $1 AND f.key OPERATOR(pg_catalog.=) u.k::pg_catalog.jsonb",
          2, types, values, NULL);
}

static int compare_invalid(const void *a, const void *b) {
  return strcmp(((const OndInvalidRow *)a)->key_json, ((const OndInvalidRow *)b)->key_json);
}

/* Lines of rows that were invalid when they were read, and are not any more. $2: keys of those that are; $3: a pass over the whole model. */
#define NO_MORE_INVALID \
  "f.sync_id OPERATOR(pg_catalog.=) $1 AND f.error_class OPERATOR(pg_catalog.=) 'invalid' AND f.attempts OPERATOR(pg_catalog.=) 0" \
  " AND NOT EXISTS (SELECT FROM pg_catalog.unnest($2) u(k) WHERE u.k::pg_catalog.jsonb OPERATOR(pg_catalog.=) f.key)" \
  " AND ($3 OR NOT EXISTS (SELECT FROM pg_catalog.jsonb_each(f.key) e WHERE e.value OPERATOR(pg_catalog.=) 'null'))"

void ond_failed_rows_invalid(const OndSync *sync, int64 run_id, const OndDiff *diff, OndPass pass) {
  int64 sync_id = sync->sync_id;
  OndFailure *failures = palloc0(sizeof(OndFailure) * Max(diff->n_invalid, 1));
  OndBytes *keys = palloc(sizeof(OndBytes) * Max(diff->n_invalid, 1));
  int n = 0;

  if (diff->n_invalid > 0)
    qsort(diff->invalid, diff->n_invalid, sizeof(OndInvalidRow), compare_invalid);
  for (int i = 0; i < diff->n_invalid; i++) {
    const char *key = diff->invalid[i].key_json;

    /* several rows can have the key {"id": null}; a statement may touch a key only once */
    if (i > 0 && strcmp(key, diff->invalid[i - 1].key_json) == 0)
      continue;
    failures[n].key_json = keys[n] = (OndBytes){key, strlen(key)};
    failures[n].op = diff->invalid[i].op;
    failures[n].outcome = OND_OUT_INVALID;
    failures[n].message = diff->invalid[i].message;
    failures[n].next_attempt_at = OND_NEVER;
    n++;
  }
  ond_failed_rows_upsert(sync_id, run_id, n, failures, sync->options.sync_log != OND_LOG_NONE);
  if (pass != OND_PASS_KEYS && !diff->invalid_cut) {
    Oid types[3] = {INT8OID, TEXTARRAYOID, BOOLOID};
    Datum values[3] = {Int64GetDatum(sync_id), key_array(n, keys), BoolGetDatum(pass == OND_PASS_FULL)};

    ond_spi(SPI_OK_UPDATE,
            "UPDATE ondatra.all_failed_rows f SET run_id = b.run_id, operation = b.operation, error_class = b.error_class, http_status = b.http_status,"
            " error_message = b.error_message, payload = b.payload, attempts = b.attempts, next_attempt_at = b.next_attempt_at,"
            " first_failed_at = b.first_failed_at, last_failed_at = b.last_failed_at, before = NULL"
            " FROM ondatra.all_failed_rows w, pg_catalog.jsonb_populate_record(NULL::ondatra.all_failed_rows, w.before) b"
            " WHERE w.sync_id OPERATOR(pg_catalog.=) f.sync_id AND w.key OPERATOR(pg_catalog.=) f.key AND w.before IS NOT NULL AND " NO_MORE_INVALID,
            3, types, values, NULL);
    ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.all_failed_rows f WHERE " NO_MORE_INVALID, 3, types, values, NULL);
  }
}

/* --- counters --------------------------------------------------------------------------------------------- */

void ond_run_write_counters(int64 run_id, const OndCounters *c) {
  int64 numbers[] = {run_id,          c->scanned,  c->unchanged, c->created,      c->updated,    c->deleted,    c->failed,
                     c->invalid,      c->held_back, c->skipped,  c->pending,      c->unconfirmed, c->deletes_failed, c->deletes_pending,
                     c->requests,     c->retries,  c->throttled_ms, c->bytes_sent, c->bytes_received, c->diff_ms, c->deliver_ms};
  Oid types[lengthof(numbers)];
  Datum values[lengthof(numbers)];

  for (int i = 0; i < (int)lengthof(numbers); i++) {
    types[i] = INT8OID;
    values[i] = Int64GetDatum(numbers[i]);
  }
  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_runs SET rows_scanned = $2, rows_unchanged = $3, rows_created = $4, rows_updated = $5, rows_deleted = $6, rows_failed = $7,"
          " rows_invalid = $8, rows_held_back = $9, rows_skipped = $10, rows_pending = $11, rows_unconfirmed = $12, deletes_failed = $13,"
          " deletes_pending = $14, requests = $15, retries = $16, throttled_ms = $17, bytes_sent = $18, bytes_received = $19, diff_ms = $20,"
          " deliver_ms = $21 WHERE run_id OPERATOR(pg_catalog.=) $1",
          (int)lengthof(numbers), types, values, NULL);
}

/* Moves a change from pending to what became of it. */
static void count(OndCounters *c, const OndChangeRow *row, bool failed) {
  OndOp op = row->task.op;

  if (row->task.outcome != OND_OUT_ACCEPTED && !failed)
    return; /* not sent, or interrupted: stays pending */
  if (op == OND_OP_DELETE) {
    c->deletes_pending--;
    if (row->task.outcome == OND_OUT_ACCEPTED)
      c->deleted++;
    else
      c->deletes_failed++;
    return;
  }
  c->pending--;
  if (row->task.outcome == OND_OUT_ACCEPTED) {
    if (row->created == 1 || (row->created < 0 && op == OND_OP_CREATE))
      c->created++;
    else
      c->updated++;
    if (row->unconfirmed)
      c->unconfirmed++;
  } else if (row->task.outcome == OND_OUT_INVALID)
    c->invalid++;
  else
    c->failed++;
}

/* --- acks ------------------------------------------------------------------------------------------------- */

OndRecorder *ond_recorder_create(const OndSync *sync, int64 run_id, int n_keys, const char *const *key_types, bool hold_create, bool hold_update,
                                 bool hold_delete, int64 in_doubt_wait_us) {
  OndRecorder *r = palloc0(sizeof(OndRecorder));

  r->context = CurrentMemoryContext;
  r->chunk = AllocSetContextCreate(CurrentMemoryContext, "ondatra acks", ALLOCSET_DEFAULT_SIZES);
  r->sync = sync;
  r->run_id = run_id;
  r->n_keys = n_keys;
  r->key_types = key_types;
  r->hold_create = hold_create;
  r->hold_update = hold_update;
  r->hold_delete = hold_delete;
  r->in_doubt_wait_us = in_doubt_wait_us;
  r->log_left = ond_setting_log_retention_count < 0 ? PG_INT64_MAX : ond_setting_log_retention_count;
  return r;
}

OndCounters *ond_recorder_counters(OndRecorder *r) {
  return &r->counters;
}

static OndResolution resolve(const OndRecorder *r, const OndChangeRow *row) {
  OndOp op = row->task.op;
  OndSending sending = {row->task.in_doubt, row->task.route != ond_op_route(op), row->task.sent_at, row->task.late_at, row->task.renewed};
  OndResolvePolicy policy;

  policy.now = ond_to_unix_us(GetCurrentTimestamp());
  policy.in_doubt_wait_us = r->in_doubt_wait_us;
  policy.hold_unknown = op == OND_OP_CREATE ? r->hold_create : op == OND_OP_UPDATE ? r->hold_update : r->hold_delete;
  policy.max_attempts = r->sync->options.max_attempts;
  policy.interrupted = row->task.interrupted;
  return ond_change_resolve(row->has_before ? &row->before : NULL, op, row->hash, row->change_id, row->task.outcome, &sending, &policy);
}

static bool same_state(const OndChangeRow *row, const OndKeyState *after) {
  static const OndKeyState none;

  return memcmp(row->has_before ? &row->before : &none, after, sizeof(OndKeyState)) == 0;
}

static void set_failure(OndFailure *f, const OndChangeRow *row, const OndResolution *resolution) {
  f->key_json = row->key_json;
  f->op = row->task.op;
  f->outcome = resolution->failed_as;
  f->http_status = row->task.http_status;
  f->message = row->message != NULL ? row->message : "no reason was given";
  f->payload = row->row.fields;
  f->attempts = resolution->attempts;
  f->next_attempt_at = resolution->next_attempt_at;
}

/* Whether n more lines of this level go into ondatra.sync_log: what retention would delete again is not written. */
static bool log_more(OndRecorder *r, OndLogLevel level, int n) {
  if (r->sync->options.sync_log < level || n == 0 || r->log_left < n)
    return false;
  r->log_left -= n;
  return true;
}

static const char *accepted_word(const OndChangeRow *row) {
  if (row->task.op == OND_OP_DELETE)
    return "deleted";
  return row->created == 1 || (row->created < 0 && row->task.op == OND_OP_CREATE) ? "created" : "updated";
}

/* Inside "ours": a line for each accepted row. */
static void log_accepted(const OndRecorder *r, int n, const OndChangeRow *const *rows) {
  enum { KEYS, OPERATIONS, OUTCOMES, IDS, ARRAYS };
  Datum *texts[ARRAYS], values[2 + ARRAYS] = {Int64GetDatum(r->sync->sync_id), Int64GetDatum(r->run_id)};
  bool *nulls = palloc0(sizeof(bool) * n);
  Oid types[2 + ARRAYS] = {INT8OID, INT8OID};
  int dims[1] = {n}, lbs[1] = {1};

  for (int a = 0; a < ARRAYS; a++)
    texts[a] = palloc(sizeof(Datum) * n);
  for (int i = 0; i < n; i++) {
    texts[KEYS][i] = key_datum(rows[i]->key_json);
    texts[OPERATIONS][i] = CStringGetTextDatum(ond_op_name(rows[i]->task.op));
    texts[OUTCOMES][i] = CStringGetTextDatum(accepted_word(rows[i]));
    nulls[i] = rows[i]->remote_id == NULL;
    texts[IDS][i] = nulls[i] ? (Datum)0 : text_datum(rows[i]->remote_id, strlen(rows[i]->remote_id));
  }
  for (int a = 0; a < ARRAYS; a++) {
    types[2 + a] = TEXTARRAYOID;
    values[2 + a] = PointerGetDatum(construct_md_array(texts[a], a == IDS ? nulls : NULL, 1, dims, lbs, TEXTOID, -1, false, TYPALIGN_INT));
  }
  ond_spi(SPI_OK_INSERT,
          "INSERT INTO ondatra.all_sync_log (sync_id, run_id, key, operation, outcome, remote_id)"
          " SELECT $1, $2, u.k::pg_catalog.jsonb, u.o, u.w, u.i FROM unnest($3, $4, $5, $6) u(k, o, w, i)",
          2 + ARRAYS, types, values, NULL);
}

/* Inside "ours": state rows, failed rows and counts of some outcomes. */
static void record(OndRecorder *r, OndTask **resolved, int n) {
  OndStateWrite *writes = palloc0(sizeof(OndStateWrite) * Max(n, 1));
  OndFailure *failures = palloc0(sizeof(OndFailure) * Max(n, 1));
  OndBytes *closed = palloc(sizeof(OndBytes) * Max(n, 1));
  const OndChangeRow **good = palloc(sizeof(OndChangeRow *) * Max(n, 1));
  int n_writes = 0, n_failures = 0, n_closed = 0, n_accepted = 0;

  for (int i = 0; i < n; i++) {
    const OndChangeRow *row = resolved[i]->row;
    OndResolution resolution = resolve(r, row);
    bool accepted = row->task.outcome == OND_OUT_ACCEPTED;

    if (row->settled)
      continue;
    if (!row->resumed)
      count(&r->counters, row, resolution.failed);
    if (accepted)
      good[n_accepted++] = row;
    if (accepted || !same_state(row, &resolution.after)) {
      OndStateWrite *w = &writes[n_writes++];

      w->key_text = row->key_text;
      w->state = resolution.after;
      w->remote_id = row->remote_id;
      w->remote = row->remote;
      w->kept = ond_kept_after(row->kept_before, row->has_before ? &row->before : NULL, row->kept, &resolution.after, accepted);
      w->accepted_now = accepted;
      w->is_new = !row->has_before;
      if (!row->resumed)
        r->counters.state_added += (ond_key_state_is_empty(&w->state) ? 0 : 1) - (row->has_before ? 1 : 0);
    }
    if (resolution.failed)
      set_failure(&failures[n_failures++], row, &resolution);
    else if (resolution.closes_failure)
      closed[n_closed++] = row->key_json;
  }
  ond_state_write(r->sync->sync_id, r->n_keys, r->key_types, n_writes, writes);
  ond_failed_rows_upsert(r->sync->sync_id, r->run_id, n_failures, failures, log_more(r, OND_LOG_FAILED, n_failures));
  if (log_more(r, OND_LOG_ALL, n_accepted))
    log_accepted(r, n_accepted, good);
  ond_failed_rows_delete(r->sync->sync_id, n_closed, closed);
}

static void check_sync(const OndRecorder *r) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(r->sync->sync_id)};
  bool isnull;

  if (ond_run_lock_regain() &&
      ond_spi(SPI_OK_SELECT, "SELECT version FROM ondatra.all_syncs WHERE sync_id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL) == 1 &&
      DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) == r->sync->version)
    return;
  ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("sync \"%s\" was changed or dropped while it ran", r->sync->name)));
}

static void window_grow(OndRecorder *r, int window_no) {
  if (window_no < r->windows_max)
    return;
  r->windows_max = Max(64, window_no * 2);
  if (r->window_left == NULL)
    r->window_left = MemoryContextAllocZero(r->context, sizeof(int) * r->windows_max);
  else
    r->window_left = repalloc(r->window_left, sizeof(int) * r->windows_max);
}

/* Windows whose last change is among these. Counts down; call once per task. */
static int finished_windows(OndRecorder *r, OndTask **resolved, int n, int32 *numbers) {
  int n_finished = 0;

  for (int i = 0; i < n; i++) {
    int w = resolved[i]->window_no;

    if (w > 0 && --r->window_left[w] == 0)
      numbers[n_finished++] = w;
  }
  return n_finished;
}

static void undo_finished(OndRecorder *r, OndTask **resolved, int n) {
  for (int i = 0; i < n; i++)
    if (resolved[i]->window_no > 0)
      r->window_left[resolved[i]->window_no]++;
}

/* Jobs that have ended, all of whose rows are among these: nobody will ask for them again. */
static void delete_jobs(const OndRecorder *r, OndTask **resolved, int n) {
  for (int i = 0; i < n; i++) {
    const OndJob *job = ((OndChangeRow *)resolved[i]->row)->job;
    int held = 0;

    if (job == NULL || !job->saved || !job->ended || (i > 0 && ((OndChangeRow *)resolved[i - 1]->row)->job == job))
      continue;
    for (int k = i; k < n; k++)
      held += ((OndChangeRow *)resolved[k]->row)->job == job;
    if (held == job->held)
      ond_job_row_delete(r->sync->sync_id, job);
  }
}

/* One transaction; raises. */
static void commit_chunk(OndRecorder *r, OndTask **resolved, int n_resolved, OndTask **window, int n_window, int window_no) {
  int32 *numbers = palloc(sizeof(int32) * Max(n_resolved, 1));
  OndCounters saved = r->counters;
  int n_finished = finished_windows(r, resolved, n_resolved, numbers);

  PG_TRY();
  {
    ond_tx_begin();
    check_sync(r);
    record(r, resolved, n_resolved);
    delete_jobs(r, resolved, n_resolved);
    if (n_finished > 0)
      ond_window_delete(r->sync->sync_id, r->run_id, n_finished, numbers);
    if (n_window > 0)
      ond_window_insert(r->sync->sync_id, r->run_id, window_no, n_window, window);
    ond_run_write_counters(r->run_id, &r->counters);
    ond_tx_commit();
  }
  PG_CATCH();
  {
    r->counters = saved;
    undo_finished(r, resolved, n_resolved);
    PG_RE_THROW();
  }
  PG_END_TRY();
}

typedef struct Chunk {
  OndTask **resolved, **window;
  int n_resolved, n_window, window_no;
  OndJob *job;                /* to be written; NULL: the chunk is acks and a window */
} Chunk;

/* One transaction: what a job has reached. */
static void commit_job(OndRecorder *r, const Chunk *c) {
  ond_tx_begin();
  check_sync(r);
  if (c->job->ended)
    ond_job_row_delete(r->sync->sync_id, c->job);
  else
    ond_job_row_write(r->sync, c->job, c->n_window, c->window);
  ond_tx_commit();
}

/* A transaction whose errors come back as data. */
static bool try_commit(OndRecorder *r, const Chunk *c, ErrorData **error) {
  volatile bool ok = true;
  MemoryContext saved = MemoryContextSwitchTo(r->chunk);

  PG_TRY();
  {
    if (c->job != NULL)
      commit_job(r, c);
    else
      commit_chunk(r, c->resolved, c->n_resolved, c->window, c->n_window, c->window_no);
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(r->context);
    *error = CopyErrorData();
    FlushErrorState();
    ond_tx_abort();
    HOLD_CANCEL_INTERRUPTS(); /* raising gave up what delivery holds */
    ok = false;
  }
  PG_END_TRY();
  MemoryContextSwitchTo(saved);
  MemoryContextReset(r->chunk);
  return ok;
}

static void free_rows(OndTask **resolved, int n) {
  for (int i = 0; i < n; i++) {
    OndChangeRow *row = resolved[i]->row;

    if (row->message != NULL)
      pfree(row->message);
    if (row->remote_id != NULL)
      pfree(row->remote_id);
    if (row->remote != NULL)
      pfree(row->remote);
    if (row->job != NULL)
      row->job->held--; /* delivery frees those that nobody holds */
    pfree(row);
  }
}

bool ond_recorder_job(OndRecorder *r, OndJob *job, int n, OndTask **tasks) {
  Chunk chunk = {.window = tasks, .n_window = n, .job = job};
  ErrorData *error;

  if (!try_commit(r, &chunk, &error)) {
    ereport(LOG, (errmsg("sync \"%s\": an asynchronous job could not be recorded: %s", r->sync->name, error->message)));
    return false;
  }
  job->saved = !job->ended;
  return true;
}

bool ond_recorder_commit(OndRecorder *r, OndTask **resolved, int n_resolved, OndTask **window, int n_window, int window_no, ErrorData **error) {
  Chunk whole = {.resolved = resolved, .window = window, .n_resolved = n_resolved, .n_window = n_window, .window_no = window_no};
  bool ok;

  if (n_window > 0) {
    window_grow(r, window_no);
    r->window_left[window_no] = n_window;
  }
  ok = try_commit(r, &whole, error);
  if (!ok && n_resolved > 1) {
    Chunk next = {.window = window, .n_window = n_window, .window_no = window_no};
    bool all = true;

    for (int i = 0; i < n_resolved; i++) {
      Chunk one = {.resolved = resolved + i, .n_resolved = 1};

      all = try_commit(r, &one, error) && all;
    }
    ok = all && (n_window == 0 || try_commit(r, &next, error));
  }
  free_rows(resolved, n_resolved);
  return ok;
}

/* --- settle rows ------------------------------------------------------------------------------------------ */

void ond_record_settle(const OndSync *sync, int n_keys, const char *const *key_types, OndStore *store) {
  MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "ondatra settle", ALLOCSET_DEFAULT_SIZES);
  MemoryContext saved = MemoryContextSwitchTo(context);
  OndChangeRow *row;

  ond_store_rewind(store, true);
  do {
    OndStateWrite *writes = palloc0(sizeof(OndStateWrite) * SETTLE_ROWS);
    OndBytes *closed = palloc(sizeof(OndBytes) * SETTLE_ROWS);
    int n = 0;

    while (n < SETTLE_ROWS && (row = ond_store_next(store)) != NULL) {
      writes[n].key_text = row->key_text;
      writes[n].state = row->after;
      writes[n].is_new = !row->has_before;
      writes[n].kept = row->kept.p == NULL ? NULL : pnstrdup(row->kept.p, row->kept.n);
      writes[n].remote_id = row->row.remote_id.p == NULL ? NULL : pnstrdup(row->row.remote_id.p, row->row.remote_id.n);
      writes[n].remote = row->row.remote.p == NULL ? NULL : pnstrdup(row->row.remote.p, row->row.remote.n);
      closed[n] = row->key_json;
      n++;
    }
    ond_state_write(sync->sync_id, n_keys, key_types, n, writes);
    ond_failed_rows_delete(sync->sync_id, n, closed);
    MemoryContextReset(context);
  } while (row != NULL);
  MemoryContextSwitchTo(saved);
  MemoryContextDelete(context);
}
