/*
 * run.c - one run, from request to final row; see run.h.
 *
 *   open      lock, run row, requests consumed         [commit]  a worker's death from here on is seen by the reaper
 *   prepare   the destination and whether the sync may use it, the state table, how far the cursor is   [commit]
 *   diff      the owner's read-only transactions: one compiles the sync, another reads; ended before anything else happens, and begun anew when what
 *             was read was replaced meanwhile. Between them the credentials are resolved, what dead runs left becomes doubt, and jobs that an
 *             earlier run left open are asked for their end (resume.h)   [commits]
 *   note      counters, settle rows, invalid rows      [commit]
 *   guard     what would change against the sync's limits; a run that trips one is held and sends nothing   [commit]
 *   deliver   no transaction but for acks, and for calls of the owner's functions (script.h)
 *   finalize  the owner's, read write, after a run without failures          [commit]
 *   close     final row, sync's next due time, NOTIFY  [commit]
 *
 * An error in prepare, diff, note or deliver ends up in the run's row as status failed. An error in open or close escapes: the reaper does the rest.
 * The lock lasts as long as the process: nothing of the run needs it to be released in order.
 */
#include "postgres.h"

#include <time.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/arming.h"
#include "catalog/connector.h"
#include "catalog/edit.h"
#include "catalog/session.h"
#include "catalog/totals.h"
#include "engine/cursor.h"
#include "engine/delivery.h"
#include "engine/diff.h"
#include "engine/ending.h"
#include "engine/execute.h"
#include "engine/guard.h"
#include "engine/held.h"
#include "engine/listing.h"
#include "engine/reconcile.h"
#include "engine/record.h"
#include "engine/refresh.h"
#include "engine/resume.h"
#include "engine/rewritten.h"
#include "engine/script.h"
#include "engine/run.h"
#include "engine/state_table.h"
#include "engine/transport.h"
#include "engine/version.h"
#include "engine/watch.h"
#include "engine/window.h"

#define READ_TRIES 5

typedef struct Run {
  MemoryContext context;
  const OndRunRequest *request;
  const OndRunHost *host;
  int64 run_id;
  OndSync *sync;
  OndDestination *destination;
  OndSpec *spec;
  const char **key_types;
  OndAuth *auth;
  OndAddressPolicy addresses;
  OndStore *store;
  OndRecorder *recorder;
  OndCounters counters;       /* of the recorder once there is one */
  OndPass pass;
  TimestampTz snapshot_at;
  bool settled, quiet;        /* cursor.h */
  OndDiff *diff;
  bool stale;                 /* what was read was replaced meanwhile (rewritten.h) */
  OndDeliveryResult delivery;
  bool consumed;              /* requests of trigger_sync() */
  bool noted;                 /* what the diff found is recorded */
  bool delivered;             /* delivery ran */
  bool cancelled;
  char *definition;           /* guard.h */
  OndApproval *approval;      /* this run was held, and is resumed */
  OndGuard guard;
  bool held;
  bool stuck;                 /* a job of an earlier run is still open, and could not be asked */
  int64 deadline_us;
  OndProgress progress;
} Run;

int64 ond_clock_us(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void phase(Run *run, OndPhase p) {
  run->progress.phase = p;
  run->host->progress(&run->progress);
}

/* --- open ------------------------------------------------------------------------------------------------- */

/* A run of a few rows, as somebody asked with keys or max_rows, or of none. */
static bool is_canary(const Run *run) {
  return run->request->keys != NULL || run->request->max_rows >= 0 || run->request->reconcile;
}

static void insert_run(const Run *run) {
  Oid types[8] = {INT8OID, INT8OID, TEXTOID, OIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, BOOLOID};
  Datum values[8] = {Int64GetDatum(run->run_id),
                     Int64GetDatum(run->sync->sync_id),
                     CStringGetTextDatum(run->sync->name),
                     ObjectIdGetDatum(run->sync->owner),
                     CStringGetTextDatum(run->request->trigger),
                     CStringGetTextDatum(run->request->requested_by),
                     TimestampTzGetDatum(run->request->queued_at),
                     BoolGetDatum(is_canary(run))};

  ond_spi(SPI_OK_INSERT,
          "INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, requested_by, queued_at, started_at, canary)"
          " VALUES ($1, $2, $3, $4::pg_catalog.regrole, 'running', $5, $6, $7, pg_catalog.clock_timestamp(), $8)",
          8, types, values, NULL);
}

/* What was asked for so far is covered by this run: its snapshot comes later. A canary covers nothing. */
static void consume_requests(Run *run) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(run->sync->sync_id)};

  if (is_canary(run))
    return;
  run->consumed = ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.run_requests WHERE sync_id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL) > 0;
  ond_spi(SPI_OK_UPDATE, "UPDATE ondatra.all_syncs SET recover_at = NULL WHERE sync_id OPERATOR(pg_catalog.=) $1 AND recover_at IS NOT NULL", 1, types,
          values, NULL);
}

static int64 next_run_id(void) {
  bool isnull;

  ond_spi(SPI_OK_SELECT, "SELECT pg_catalog.nextval('ondatra.run_ids')", 0, NULL, NULL, NULL);
  return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* ond_tx_begin() leaves us in SPI's memory: what must outlive the transaction is loaded in the run's. */
static void load_sync(Run *run) {
  MemoryContext saved = MemoryContextSwitchTo(run->context);

  run->sync = ond_sync_load(run->request->sync_id);
  MemoryContextSwitchTo(saved);
  if (run->sync == NULL)
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("sync " INT64_FORMAT " does not exist", run->request->sync_id)));
}

/* A held run that was approved goes on under its number. */
static void resume_run(const Run *run) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(run->run_id)};

  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_runs SET status = 'running', started_at = pg_catalog.clock_timestamp(), error_message = NULL, error_detail = NULL"
          " WHERE run_id OPERATOR(pg_catalog.=) $1",
          1, types, values, NULL);
}

static void load_approval(Run *run) {
  MemoryContext saved = MemoryContextSwitchTo(run->context);

  run->approval = ond_approval_take(run->run_id);
  MemoryContextSwitchTo(saved);
}

/* False: another run or an edit has the lock, or a held run of the sync waits for somebody's word, or was approved and is no canary's to go on with. */
static bool open_run(Run *run) {
  int64 held;
  bool approved;

  ond_tx_begin();
  if (!ond_run_lock_session(run->request->sync_id)) {
    ond_tx_commit();
    return false;
  }
  ond_armed_require(); /* who started this process has asked, too */
  load_sync(run);
  held = ond_held_run(run->sync->sync_id, &approved);
  if (held != 0 && (!approved || is_canary(run))) {
    ond_tx_commit();
    return false;
  }
  run->run_id = held != 0 ? held : next_run_id();
  run->host->set_run(run->run_id);
  if (held != 0) {
    resume_run(run);
    load_approval(run);
  } else
    insert_run(run);
  consume_requests(run);
  if (run->sync->options.alert.rules.slower_than_us > 0)
    run->host->wake_at_commit(); /* to know when it has taken too long */
  ond_tx_commit_soon(); /* the server may forget a run that has sent nothing yet: its requests are there again then */
  if (run->sync->options.run_timeout_ms > 0)
    run->deadline_us = ond_clock_us() + (int64)run->sync->options.run_timeout_ms * 1000;
  return true;
}

/* --- prepare ---------------------------------------------------------------------------------------------- */

static void free_auth(void *arg) {
  ond_auth_free(arg);
}

/* Once it is known where requests go: the base URL is the destination's own or its connector's, which the sync's variables may be part of. */
static void resolve_auth(Run *run) {
  OndError err = {0};
  MemoryContextCallback *callback = MemoryContextAllocZero(run->context, sizeof(MemoryContextCallback));

  ond_tx_begin();
  run->auth = ond_destination_credentials(run->destination, run->spec->connector, &err);
  if (run->auth == NULL)
    ond_raise(&err);
  callback->func = free_auth;
  callback->arg = run->auth;
  MemoryContextRegisterResetCallback(run->context, callback);
  ond_tx_commit();
}

static void prepare(Run *run) {
  MemoryContext saved;

  ond_tx_begin();
  saved = MemoryContextSwitchTo(run->context);
  run->destination = ond_destination_load(run->sync->destination_id);
  if (run->destination == NULL)
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the destination of sync \"%s\" does not exist any more", run->sync->name)));
  ond_destination_check_use(run->sync, run->destination);
  if (run->request->reconcile)
    ond_destination_check_read(run->sync, run->destination);
  ond_state_table_require(run->sync);
  run->key_types = ond_state_key_types(run->sync->sync_id, run->sync->n_keys);
  run->pass = run->request->keys != NULL ? OND_PASS_KEYS : run->request->reconcile ? OND_PASS_FULL : ond_cursor_pass(run->sync);
  run->settled = ond_cursor_settled(run->sync);
  MemoryContextSwitchTo(saved);
  ond_transport_addresses(run->destination, &run->addresses);
  ond_tx_commit();
}

/* Doubt left by runs that died; needs the compiled connector for on_unknown. */
static void fold_windows(Run *run) {
  bool hold = ond_delivery_holds(run->spec, OND_OP_CREATE) || ond_delivery_holds(run->spec, OND_OP_UPDATE);

  ond_tx_begin();
  (void)ond_window_fold_all(run->sync->sync_id, run->sync->n_keys, hold);
  ond_tx_commit();
}

/* --- diff ------------------------------------------------------------------------------------------------- */

static void begin_owner_transaction(Run *run) {
  Snapshot snapshot;

  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  XactIsoLevel = XACT_REPEATABLE_READ;
  XactReadOnly = true;
  XactDeferrable = false;
  run->quiet = ond_cursor_quiet(NULL);
  snapshot = GetTransactionSnapshot();
  run->quiet = run->quiet && ond_cursor_quiet(snapshot);
  /* after the snapshot: who was open at it has begun before this */
  run->snapshot_at = GetCurrentTimestamp();
  PushActiveSnapshot(snapshot);
}

/* When the model has to end, by ond_clock_us(); 0: it need not. Its functions can neither change that nor see it. */
static int64 model_deadline(const Run *run) {
  int64 ms = run->sync->options.statement_timeout_ms > 0 ? run->sync->options.statement_timeout_ms : ond_model_timeout_ms();
  int64 deadline = ms > 0 ? ond_clock_us() + ms * 1000 : 0;

  if (run->deadline_us > 0)
    deadline = deadline > 0 ? Min(deadline, run->deadline_us) : run->deadline_us;
  return deadline;
}

static void read_progress(int64 rows, void *arg) {
  Run *run = arg;

  run->progress.rows_scanned = rows;
  run->host->progress(&run->progress);
  if (run->host->cancelled())
    ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("run cancelled")));
}

static void compile(Run *run) {
  MemoryContext saved = MemoryContextSwitchTo(run->context);
  OndModel *model = ond_model_analyze(run->sync->model);

  run->spec = ond_spec_build(run->sync, model, run->destination);
  run->definition = ond_guard_definition(model);
  MemoryContextSwitchTo(saved);
  ond_spec_check_signature(run->spec);
}

static void do_diff(Run *run) {
  OndDiffInput input = {0};
  MemoryContext saved;

  input.spec = run->spec;
  input.policy.mode = run->sync->mode;
  input.policy.on_leave = run->sync->options.on_leave;
  input.policy.resend = run->sync->resend;
  input.policy.now = ond_to_unix_us(GetCurrentTimestamp());
  input.policy.in_doubt_wait_us = ond_delivery_doubt_wait_us(run->spec);
  input.adopt_known = run->sync->options.on_config_change == OND_CONFIG_REBASE && ond_guard_config_change(run->sync, run->definition) != NULL;
  input.pass = run->pass;
  input.keys_json = run->request->keys;
  input.store = run->store;
  input.everything = run->request->reconcile;
  input.progress = read_progress;
  input.progress_arg = run;
  if (!pg_strong_random(&input.change_id_base, sizeof(input.change_id_base)))
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not make random numbers")));
  input.change_id_base &= INT64CONST(0x3fffffffffffffff);
  saved = MemoryContextSwitchTo(run->context);
  run->diff = ond_diff(&input);
  MemoryContextSwitchTo(saved);
}

static void in_owner_transaction(Run *run, void (*work)(Run *)) {
  OndScope scope;

  begin_owner_transaction(run);
  ond_owner_begin(&scope, run->sync->owner, run->sync->model_search_path, false);
  ond_execute_pin();
  ond_watch_begin(model_deadline(run), run->host->stop_asked);
  work(run);
  ond_watch_end();
  ond_owner_end(&scope);
  PopActiveSnapshot();
  /* nothing was written, and nothing can have been deferred in a restricted operation; an abort would give up the run lock */
  CommitTransactionCommand();
}

static void diff_in_spi(Run *run) {
  if (SPI_connect() != SPI_OK_CONNECT)
    elog(ERROR, "SPI_connect failed");
  do_diff(run);
  SPI_finish();
  run->stale = run->diff->retyped || ond_rewritten_since(GetActiveSnapshot());
}

/* --- jobs of earlier runs --------------------------------------------------------------------------------- */

static void begin_delivery(Run *run, OndDeliveryInput *input) {
  const OndConnectorLimits *limits = ond_connector_limits(run->spec->connector);

  phase(run, OND_PHASE_SENDING);
  run->host->budget_attach(run->destination->destination_id, &limits->rate, limits->concurrency);
  run->recorder = ond_recorder_create(run->sync, run->run_id, run->sync->n_keys, run->key_types, ond_delivery_holds(run->spec, OND_OP_CREATE),
                                      ond_delivery_holds(run->spec, OND_OP_UPDATE), ond_delivery_holds(run->spec, OND_OP_DELETE),
                                      ond_delivery_doubt_wait_us(run->spec));
  *ond_recorder_counters(run->recorder) = run->counters;
  *input = (OndDeliveryInput){.spec = run->spec,
                              .host = run->host,
                              .store = run->store,
                              .recorder = run->recorder,
                              .destination = run->destination,
                              .auth = run->auth,
                              .addresses = run->addresses,
                              .run_id = run->run_id,
                              .max_rows = run->request->max_rows,
                              .approval = run->approval,
                              .deadline_us = run->deadline_us,
                              .progress = &run->progress};
}

static void end_delivery(Run *run) {
  OndCounters before = run->counters;

  run->counters = *ond_recorder_counters(run->recorder);
  run->counters.requests = before.requests + run->delivery.stats.requests;
  run->counters.retries = before.retries + run->delivery.stats.retries;
  run->counters.throttled_ms = before.throttled_ms + run->delivery.stats.throttled_us / 1000;
}

/* Jobs of earlier runs first: rows that they tell of need not be sent, and what is still on its way must not be overtaken. */
static void resume_jobs(Run *run) {
  OndDeliveryInput input;
  instr_time start, end;

  INSTR_TIME_SET_CURRENT(start);
  begin_delivery(run, &input);
  ond_jobs_resume(&input, &run->delivery, &run->stuck);
  run->counters = *ond_recorder_counters(run->recorder);
  run->recorder = NULL;
  INSTR_TIME_SET_CURRENT(end);
  INSTR_TIME_SUBTRACT(end, start);
  run->counters.deliver_ms += (int64)INSTR_TIME_GET_MILLISEC(end);
}

/* Before anything was compared: what is open did not end. */
static bool is_stopped(const Run *run) {
  return run->diff == NULL && (run->stuck || run->delivery.stop != OND_STOP_NONE);
}

/* --- the diff, until what was read stayed as it was ------------------------------------------------------- */

/* Once, when it is known where requests go. False: what is open did not end. A reconciliation has looked already. */
static bool begin_reading(Run *run) {
  resolve_auth(run);
  fold_windows(run);
  if (!ond_jobs_are_open(run->sync->sync_id))
    return true;
  resume_jobs(run);
  if (is_stopped(run))
    return false;
  phase(run, OND_PHASE_READING);
  in_owner_transaction(run, compile); /* that may have taken hours */
  return true;
}

/* Reads again, under a new snapshot, when tables of the model or the state table were replaced while they were read or waited for. */
static void read_until_whole(Run *run) {
  for (int i = 0; i < READ_TRIES; i++) {
    in_owner_transaction(run, compile);
    if (i == 0 && !run->request->reconcile && !begin_reading(run))
      return;
    in_owner_transaction(run, diff_in_spi);
    if (!run->stale)
      return;
  }
  ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE), errmsg("the model was replaced again and again while it was read"),
                  errdetail("%d readings found a table that was truncated, rewritten or replaced after their snapshot.", READ_TRIES),
                  errhint("Reload the tables of the model less often than a run takes to read them.")));
}

static void read_model(Run *run) {
  instr_time start, end;

  phase(run, OND_PHASE_READING);
  INSTR_TIME_SET_CURRENT(start);
  if (run->sync->options.refresh && run->approval == NULL && !run->request->reconcile) /* what was approved is the model as it was */
    ond_refresh(run->sync, model_deadline(run), run->host->stop_asked);
  read_until_whole(run);
  INSTR_TIME_SET_CURRENT(end);
  INSTR_TIME_SUBTRACT(end, start);
  run->counters.diff_ms = (int64)INSTR_TIME_GET_MILLISEC(end);
}

/* --- note ------------------------------------------------------------------------------------------------- */

static void count_verdicts(Run *run) {
  const int64 *v = run->diff->verdicts;
  OndCounters *c = &run->counters;

  c->scanned = run->diff->rows_scanned;
  c->unchanged = v[OND_V_UNCHANGED];
  c->invalid = v[OND_V_INVALID];
  c->held_back = v[OND_V_HELD_BACK];
  c->skipped = v[OND_V_SKIPPED];
  /* until they are resolved, changes are pending */
  c->pending = v[OND_V_PENDING] + v[OND_V_CREATE] + v[OND_V_UPDATE];
  c->deletes_pending = v[OND_V_DELETE_PENDING] + v[OND_V_DELETE_LATER] + v[OND_V_DELETE];
  run->progress.rows_scanned = c->scanned;
  run->progress.to_create = v[OND_V_CREATE];
  run->progress.to_update = v[OND_V_UPDATE];
  run->progress.to_delete = v[OND_V_DELETE];
  run->progress.invalid = c->invalid;
}

static void note_diff(Run *run) {
  count_verdicts(run);
  ond_tx_begin();
  ond_run_write_counters(run->run_id, &run->counters);
  ond_guard_note_checks(run->sync, run->run_id, run->diff);
  ond_record_settle(run->sync, run->sync->n_keys, run->key_types, run->store);
  ond_failed_rows_invalid(run->sync, run->run_id, run->diff, run->pass);
  ond_tx_commit_soon(); /* the first window's commit, or the run's last one, is to come */
  run->noted = true;
}

/* --- guard ------------------------------------------------------------------------------------------------ */

/* True: the run is held. What was approved has passed already. */
static bool guard(Run *run) {
  OndGuardInput input = {run->sync, run->diff, run->pass, run->request->max_rows, 0, run->definition};
  MemoryContext saved;

  if (run->approval != NULL)
    return false;
  ond_tx_begin();
  input.deleted_lately = ond_guard_deleted_lately(run->sync->sync_id);
  saved = MemoryContextSwitchTo(run->context);
  run->held = ond_guard_trips(&input, &run->guard);
  MemoryContextSwitchTo(saved);
  if (run->held)
    ond_hold_run(run->sync, run->run_id, &run->guard, run->store);
  ond_tx_commit();
  return run->held;
}

/* --- deliver ---------------------------------------------------------------------------------------------- */

static void deliver(Run *run) {
  OndDeliveryInput input;
  instr_time start, end;

  INSTR_TIME_SET_CURRENT(start);
  begin_delivery(run, &input);
  ond_delivery_run(&input, &run->delivery);
  run->delivered = true;
  end_delivery(run);
  INSTR_TIME_SET_CURRENT(end);
  INSTR_TIME_SUBTRACT(end, start);
  run->counters.deliver_ms += (int64)INSTR_TIME_GET_MILLISEC(end);
}

static bool has_changes(const Run *run) {
  return ond_store_count(run->store, OND_OP_DELETE) + ond_store_count(run->store, OND_OP_UPDATE) + ond_store_count(run->store, OND_OP_CREATE) > 0;
}

/* --- reconcile -------------------------------------------------------------------------------------------- */

/* The destination's list first: it takes longest, and what goes wrong goes wrong there. */
static OndStore *read_list(Run *run) {
  const OndConnectorLimits *limits = ond_connector_limits(run->spec->connector);
  OndStore *records = ond_store_create();
  OndListing listing = {.spec = run->spec,
                        .host = run->host,
                        .destination = run->destination,
                        .auth = run->auth,
                        .addresses = run->addresses,
                        .progress = &run->progress,
                        .counters = &run->counters,
                        .deadline_us = run->deadline_us};
  int64 start = ond_clock_us();

  run->host->budget_attach(run->destination->destination_id, &limits->rate, limits->concurrency);
  if (ond_listing_read(&listing, records) == 0)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the destination's list is empty"),
                    errdetail("Nothing was compared, and nothing is repaired."),
                    errhint("Look at the rights of the credentials and at the list with ondatra.fetch(). A destination that is empty needs a run, no reconciliation.")));
  run->counters.deliver_ms = (ond_clock_us() - start) / 1000;
  return records;
}

static void reconcile(Run *run) {
  OndStore *records;
  OndReconcileInput input;

  phase(run, OND_PHASE_READING);
  in_owner_transaction(run, compile);
  resolve_auth(run);
  fold_windows(run);
  ond_reconcile_check(run->spec);
  MemoryContextSwitchTo(run->context); /* transactions leave us elsewhere */
  records = read_list(run);
  read_model(run);
  input = (OndReconcileInput){.spec = run->spec,
                              .host = run->host,
                              .repair = run->request->repair,
                              .key_types = run->key_types,
                              .ours = run->store,
                              .theirs = records,
                              .in_doubt_wait_us = ond_delivery_doubt_wait_us(run->spec)};
  ond_tx_begin();
  ond_reconcile_compare(&input);
  ond_tx_commit();
}

/* --- close ------------------------------------------------------------------------------------------------ */

/* A pass that saw the whole model and left nothing behind. Rows that wait for another sync are behind: no state row keeps them in sight of a cursor. */
static bool is_complete(const Run *run) {
  return run->noted && run->diff->waiting == 0 && run->pass != OND_PASS_KEYS && run->counters.pending == run->diff->verdicts[OND_V_PENDING] &&
         run->counters.deletes_pending == run->diff->verdicts[OND_V_DELETE_PENDING] + run->diff->verdicts[OND_V_DELETE_LATER];
}

/* The cursor stays when there were more invalid rows than are recorded: nobody would read the others again. */
static void complete_pass(const Run *run) {
  bool cut = run->diff->invalid_cut;

  ond_cursor_complete(run->sync, run->pass == OND_PASS_FULL, cut ? NULL : run->diff->cursor_seen, run->snapshot_at, run->settled && !cut, run->quiet);
}

/* What a complete run leaves in mind for the guards of later ones. Written only when it is news: an unchanged run writes no more than its own row. */
static void note_sent(const Run *run) {
  const OndSync *s = run->sync;
  int64 rows = run->pass == OND_PASS_FULL ? run->diff->state_rows + run->counters.state_added - run->diff->verdicts[OND_V_FORGET] : s->state_rows;
  Oid types[6] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT4OID};
  Datum values[6] = {Int64GetDatum(s->sync_id), CStringGetTextDatum(s->model)};
  char nulls[6] = {' ', ' ', ' ', ' ', ' ', ' '};

  if (rows == s->state_rows && s->sent_model != NULL && ond_guard_config_change(s, run->definition) == NULL)
    return;
  values[2] = ond_text_or_null(s->mapping, &nulls[2]);
  values[3] = ond_text_or_null(run->definition, &nulls[3]);
  values[4] = Int64GetDatum(Max(rows, 0));
  values[5] = Int32GetDatum(OND_HASH_FORMAT);
  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_syncs SET sent_model = $2, sent_mapping = $3, sent_definition = $4, state_rows = $5, hash_format = $6"
          " WHERE sync_id OPERATOR(pg_catalog.=) $1",
          6, types, values, nulls);
}

/* A run of its own when rows wait for an old request that may still arrive. */
static void plan_recovery(const Run *run) {
  Oid types[2] = {INT8OID, TIMESTAMPTZOID};
  Datum values[2];

  if (run->diff == NULL || run->diff->doubt_ends == OND_NEVER)
    return;
  values[0] = Int64GetDatum(run->sync->sync_id);
  values[1] = TimestampTzGetDatum(ond_from_unix_us(run->diff->doubt_ends));
  ond_spi(SPI_OK_UPDATE, "UPDATE ondatra.all_syncs SET recover_at = LEAST(recover_at, $2) WHERE sync_id OPERATOR(pg_catalog.=) $1", 2, types, values, NULL);
}

/* In a transaction of its own, and never at the cost of the run: a full notification queue is only logged. */
static void notify(const Run *run, const OndRunEnd *e, bool state_changed) {
  MemoryContext saved = CurrentMemoryContext;

  PG_TRY();
  {
    ond_tx_begin();
    ond_notify_run(run->run_id, run->sync->sync_id, e->status);
    if (state_changed)
      ond_notify_state(run->sync->sync_id);
    ond_tx_commit_soon(); /* a crash ends those who listen, too */
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(saved);
    EmitErrorReport();
    FlushErrorState();
    AbortCurrentTransaction();
  }
  PG_END_TRY();
}

/* A run that stopped its sync has covered nothing: what it was asked for waits until the sync is resumed. */
static void put_back_request(const Run *run) {
  Oid types[3] = {INT8OID, TEXTOID, TEXTOID};
  Datum values[3] = {Int64GetDatum(run->sync->sync_id), CStringGetTextDatum(run->request->trigger), CStringGetTextDatum(run->request->requested_by)};

  ond_spi(SPI_OK_INSERT,
          "INSERT INTO ondatra.run_requests (sync_id, trigger, requested_by) SELECT s.sync_id, $2, $3 FROM ondatra.all_syncs s"
          " WHERE s.sync_id OPERATOR(pg_catalog.=) $1 AND s.state OPERATOR(pg_catalog.=) 'error'",
          3, types, values, NULL);
}

/* The sync has finished a run. True: its state changed. */
static bool finish_sync(Run *run, const OndRunEnd *e) {
  bool state_changed;

  if (is_complete(run)) {
    complete_pass(run);
    note_sent(run);
  }
  plan_recovery(run);
  state_changed = ond_sync_run_finished(run->sync, run->run_id, strcmp(e->status, "failed") == 0, e->fatal, e->message);
  if (state_changed && run->consumed)
    put_back_request(run);
  return state_changed;
}

static void close_run(Run *run, OndRunEnd *e) {
  bool state_changed;

  phase(run, OND_PHASE_FINISHING);
  QueryCancelPending = false;
  HOLD_CANCEL_INTERRUPTS(); /* too late to stop, too early to forget */
  ond_tx_begin();
  (void)ond_run_lock_regain(); /* an error's abort gave it up; an edit in between does not matter here */
  (void)ond_sync_lock(run->sync->sync_id);
  ond_run_write_counters(run->run_id, &run->counters);
  ond_run_end_write(run->run_id, e);
  state_changed = !run->request->reconcile && finish_sync(run, e);
  ond_totals_add(&run->run_id, 1);
  ond_tx_commit();
  notify(run, e, state_changed);
  QueryCancelPending = false;
  RESUME_CANCEL_INTERRUPTS();
}

/* --- all -------------------------------------------------------------------------------------------------- */

static void work(Run *run) {
  prepare(run);
  if (run->request->reconcile) {
    reconcile(run);
    return;
  }
  read_model(run);
  if (is_stopped(run))
    return;
  note_diff(run);
  if (!guard(run) && has_changes(run))
    deliver(run);
}

/* --- finalize --------------------------------------------------------------------------------------------- */

/* What the function is told of the run, in UTF-8. */
static void ask_finalize(StringInfo s, void *arg) {
  const Run *run = arg;
  const OndCounters *c = &run->counters;
  StringInfoData text;
  char *utf8;

  initStringInfo(&text);
  appendStringInfoString(&text, "{\"sync\": ");
  escape_json(&text, run->sync->name);
  appendStringInfo(&text, ", \"run_id\": " INT64_FORMAT ", \"trigger\": ", run->run_id);
  escape_json(&text, run->request->trigger);
  appendStringInfo(&text,
                   ", \"rows_scanned\": " INT64_FORMAT ", \"rows_unchanged\": " INT64_FORMAT ", \"rows_created\": " INT64_FORMAT ", \"rows_updated\": " INT64_FORMAT
                   ", \"rows_deleted\": " INT64_FORMAT ", \"rows_skipped\": " INT64_FORMAT ", \"rows_held_back\": " INT64_FORMAT ", \"requests\": " INT64_FORMAT "}",
                   c->scanned, c->unchanged, c->created, c->updated, c->deleted, c->skipped, c->held_back, c->requests);
  utf8 = pg_server_to_any(text.data, text.len, PG_UTF8);
  appendStringInfoString(s, utf8);
}

/* Once after a complete run without failures, before its record is closed, which it can neither see nor touch. That it failed is the run's last word. */
static void finalize(Run *run, OndRunEnd *e) {
  OndScriptHost host = {.sync = run->sync, .deadline_us = run->deadline_us, .stop_asked = run->host->stop_asked};
  OndScriptUse use = {.option = "finalize", .ask = ask_finalize, .arg = run};
  OndError err = {0};
  OndScriptEnd end;

  if (run->spec == NULL || run->spec->finalize == NULL || !run->noted || is_canary(run) || strcmp(e->status, "succeeded") != 0)
    return;
  phase(run, OND_PHASE_FINISHING);
  MemoryContextSwitchTo(run->context);
  use.function = run->spec->finalize;
  end = ond_script_finalize(&host, &use, &err);
  if (end == OND_SCRIPT_DONE)
    return;
  e->status = end == OND_SCRIPT_CANCELLED && run->host->cancelled() ? "cancelled" : "partial";
  strlcpy(e->code, err.sqlstate, sizeof(e->code));
  e->message = pstrdup(err.message);
  e->detail = err.detail[0] == '\0' ? NULL : pstrdup(err.detail);
}

int64 ond_run_execute(const OndRunRequest *request, const OndRunHost *host) {
  Run *run = palloc0(sizeof(Run));
  OndRunEnd ending = {0};

  run->context = CurrentMemoryContext;
  run->request = request;
  run->host = host;
  run->store = ond_store_create();
  if (!open_run(run))
    return 0;
  PG_TRY();
  {
    work(run);
    ond_run_end_of_delivery(&run->delivery, &run->counters, run->stuck, &ending);
    if (!run->held)
      finalize(run, &ending);
  }
  PG_CATCH();
  {
    ErrorData *error;

    MemoryContextSwitchTo(run->context);
    ond_watch_end();
    error = CopyErrorData();
    FlushErrorState();
    AbortCurrentTransaction();
    if (run->recorder != NULL)
      run->counters = *ond_recorder_counters(run->recorder);
    ond_run_end_of_error(error, run->host->cancelled(), run->deadline_us, &ending);
  }
  PG_END_TRY();
  if (run->held) {
    ending.status = "held"; /* its row says so already; the sync has not finished a run */
    notify(run, &ending, false);
  } else
    close_run(run, &ending);
  return run->run_id;
}
