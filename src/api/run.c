/*
 * run.c - run_sync, trigger_sync, cancel_run: runs on demand.
 *
 * run_sync starts a run worker by itself (no COMMIT needed) and waits for it:
 *
 *   check the call -> claim and start -> watch until the slot ends -> read the run's row under the latest snapshot
 *                       ^  another run or an edit has the sync: wait for it, then again
 *
 * While it waits it holds locks that the run may need, and the server's deadlock detector does not see a wait on a latch. So it looks
 * itself, every LOOK_MS: does the process that it waits for wait, directly or by way of others (also of other waiters in run_sync), for
 * this one? Then it raises an error instead of waiting for ever; its own run is cancelled.
 *
 * A run outlives its waiter: time-out and Ctrl-C end the wait, cancel_run() ends the run.
 * Does not: decide what a run does, or write its row (engine/run.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "api/api.h"
#include "api/run_call.h"
#include "catalog/arming.h"
#include "catalog/edit.h"
#include "catalog/session.h"
#include "catalog/settings.h"
#include "catalog/sync.h"
#include "worker/state.h"

#define LOOK_MS        200
#define BUSY_MS        50 /* before another try: who has the run lock may need a moment */
#define NOTICE_US      1000000
#define RECORD_WAIT_MS 15000 /* for the scheduler's record of a run that died */
#define KEYS_BYTES_MAX 1048576
#define CHAIN_MAX      64 /* processes looked at in the search of a deadlock */

/* --- checks --------------------------------------------------------------------------------------------------------------- */

static void check_environment(const char *function) {
  PreventCommandDuringRecovery(function);
  ond_state_require();
  ond_call_refuse_in_run();
}

void ond_run_call_check(const char *function) {
  check_environment(function);
  if (!ond_setting_enabled)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("runs are switched off in this server"),
                    errhint("Set ondatra.enabled to on.")));
}

/* Rows of the sync or its destination that this transaction wrote are not there for the worker. */
static void refuse_uncommitted(const OndSync *sync) {
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(sync->sync_id)};
  bool mine = ond_run_lock_is_mine(sync->sync_id);

  ond_spi(SPI_OK_SELECT,
          "SELECT s.xmin, coalesce(d.xmin, s.xmin) FROM ondatra.all_syncs s LEFT JOIN ondatra.all_destinations d USING (destination_id) "
          "WHERE s.sync_id = $1",
          1, types, values, NULL);
  for (int i = 1; i <= 2 && !mine; i++) {
    bool isnull;
    Datum xmin = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i, &isnull);

    mine = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
  }
  if (mine)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("sync \"%s\" was created or changed in this transaction, which is not committed", sync->name),
                    errdetail("A run is a transaction of another process, which does not see it yet."),
                    errhint("COMMIT first. ondatra.trigger_sync() asks for a run that starts at the commit.")));
}

static void refuse_obstacle(const OndSync *sync) {
  OndObstacle obstacle;

  if (ond_start_obstacle(sync->owner, &obstacle))
    ereport(ERROR, (errcode(obstacle.sqlstate), errmsg("%s", obstacle.message), errhint("%s", obstacle.way_out)));
}

OndSync *ond_run_call_find(const char *name, Oid role) {
  MemoryContext caller = CurrentMemoryContext;
  MemoryContext ours;
  OndScope scope;
  OndSync *sync;

  ond_our_begin(&scope, true);
  ours = MemoryContextSwitchTo(caller);
  sync = ond_sync_get(name, role);
  MemoryContextSwitchTo(ours);
  if (sync->state == OND_SYNC_ARCHIVED)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("sync \"%s\" is archived", name),
                    errhint("Call ondatra.restore_sync(%s) first.", quote_literal_cstr(name))));
  ond_armed_require();
  refuse_uncommitted(sync);
  refuse_obstacle(sync);
  ond_our_end(&scope);
  return sync;
}

/* For the worker. */
static dsm_segment *share_keys(const char *text) {
  dsm_segment *segment;

  if (strlen(text) >= KEYS_BYTES_MAX)
    ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("keys is longer than %d bytes", KEYS_BYTES_MAX)));
  segment = dsm_create(strlen(text) + 1, 0);
  strcpy(dsm_segment_address(segment), text);
  return segment;
}

static TimestampTz deadline_of(Interval *timeout) {
  TimestampTz now = GetCurrentTimestamp();
  TimestampTz deadline =
      DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now), IntervalPGetDatum(timeout)));

  if (deadline <= now)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("timeout must be positive")));
  return deadline;
}

void ond_run_call_request(OndRunCall *call, const char *trigger) {
  OndRunRequest *r = &call->request;

  r->database = MyDatabaseId;
  r->owner = call->sync->owner;
  r->sync_id = call->sync->sync_id;
  strlcpy(r->trigger, trigger, sizeof(r->trigger));
  strlcpy(r->requested_by, GetUserNameFromId(GetUserId(), false), sizeof(r->requested_by));
  r->queued_at = GetCurrentTimestamp();
  r->max_rows = -1;
}

/* --- deadlocks ---------------------------------------------------------------------------------------------------------------- */

typedef struct Chain {
  int n;
  int pids[CHAIN_MAX];
} Chain;

static void chain_add(Chain *chain, int pid) {
  for (int i = 0; i < chain->n; i++) {
    if (chain->pids[i] == pid)
      return;
  }
  if (pid > 0 && chain->n < CHAIN_MAX)
    chain->pids[chain->n++] = pid;
}

int ond_waits_for_me(int pid) {
  Chain chain = {0};

  chain_add(&chain, pid);
  for (int i = 0; i < chain.n; i++) {
    ArrayType *blockers = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(chain.pids[i])));
    int32 *pids = (int32 *)ARR_DATA_PTR(blockers);
    int n = ArrayGetNItems(ARR_NDIM(blockers), ARR_DIMS(blockers));

    for (int k = 0; k < n; k++) {
      if (pids[k] == MyProcPid)
        return chain.pids[i];
      chain_add(&chain, pids[k]);
    }
    chain_add(&chain, ond_slot_waited_by(chain.pids[i]));
  }
  return 0;
}

/* What the process waits for, in words. */
static char *describe_lock(int pid) {
  MemoryContext caller = CurrentMemoryContext;
  Oid types[] = {INT4OID};
  Datum values[] = {Int32GetDatum(pid)};
  char *words = NULL;
  OndScope scope;

  ond_our_begin(&scope, true);
  if (ond_spi(SPI_OK_SELECT,
              "SELECT l.mode || CASE WHEN l.relation IS NULL THEN ' on ' || l.locktype ELSE ' on ' || l.relation::regclass::text END "
              "FROM pg_locks l WHERE l.pid = $1 AND NOT l.granted LIMIT 1",
              1, types, values, NULL) > 0)
    words = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
  ond_our_end(&scope);
  MemoryContextSwitchTo(caller);
  return words != NULL ? words : pstrdup("a lock");
}

/* last: what ond_waits_for_me() found. */
static void raise_deadlock(OndRunCall *call, int last, bool own_run) {
  char *lock = describe_lock(last);

  if (own_run)
    ond_slot_stop(call->started.ref, true);
  ereport(ERROR, (errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
                  errmsg(own_run ? "the run of sync \"%s\" waits for a lock that this transaction holds"
                                 : "what sync \"%s\" is busy with waits for a lock that this transaction holds",
                         call->sync->name),
                  errdetail("Process %d waits for %s.", last, lock),
                  errhint("COMMIT before %s.", call->request.reconcile ? "ondatra.reconcile_sync()" : "ondatra.run_sync(), or call ondatra.trigger_sync(), whose run starts at the commit")));
}

static void refuse_deadlock(OndRunCall *call, int pid) {
  int last = pid > 0 ? ond_waits_for_me(pid) : 0;

  if (last != 0)
    raise_deadlock(call, last, false);
}

/* Processes that hold the run lock of the sync: a run, or an edit that is not committed. */
static Chain lock_holders(const OndSync *sync) {
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(sync->sync_id)};
  Chain chain = {0};
  OndScope scope;
  uint64 n;

  ond_our_begin(&scope, true);
  n = ond_spi(
      SPI_OK_SELECT,
      "SELECT l.pid FROM pg_locks l WHERE l.locktype = 'object' AND l.classid = 'ondatra.all_syncs'::regclass AND l.objid::int8 = $1 "
      "AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AND l.granted AND l.pid IS NOT NULL",
      1, types, values, NULL);
  for (uint64 i = 0; i < n; i++) {
    bool isnull;

    chain_add(&chain, DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));
  }
  ond_our_end(&scope);
  return chain;
}

/* --- waiting ------------------------------------------------------------------------------------------------------------------ */

static void check_deadline(const OndRunCall *call) {
  char *timeout;

  if (GetCurrentTimestamp() < call->deadline)
    return;
  timeout = DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(call->timeout)));
  if (call->run_id == 0)
    ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("sync \"%s\" could not be started within %s", call->sync->name, timeout),
                    errhint("The view ondatra.run_progress shows what it is busy with.")));
  ereport(ERROR,
          (errcode(ERRCODE_QUERY_CANCELED),
           errmsg("run %lld of sync \"%s\" did not end within %s", (long long)call->run_id, call->sync->name, timeout),
           errhint("It goes on: the view ondatra.run_progress shows it, ondatra.cancel_run(%lld) stops it.", (long long)call->run_id)));
}

static void say_sending(const OndRunCall *call, const OndSlot *slot, const OndProgress *p) {
  OndBudgetView view;
  int64 total = p->to_create + p->to_update + p->to_delete;
  char limit[300] = "";

  if (ond_budget_view(slot->budget, &view) && view.limits[0] != '\0')
    snprintf(limit, sizeof(limit), " (rate limit %s)", view.limits);
  ereport(NOTICE, (errmsg("sync \"%s\": %lld of %lld sent, %.*f requests/s%s ...", call->sync->name, (long long)p->sent, (long long)total,
                          slot->requests_per_s < 10 ? 1 : 0, slot->requests_per_s, limit)));
}

/* At most one notice a second, and none that says nothing new. */
static void say_progress(OndRunCall *call, const OndSlot *slot) {
  const OndProgress *p = &slot->progress;
  TimestampTz now = GetCurrentTimestamp();

  if (now - call->said_at < NOTICE_US || memcmp(p, &call->said, sizeof(*p)) == 0 || (call->request.reconcile && p->phase != OND_PHASE_READING))
    return;
  if (p->phase == OND_PHASE_READING) {
    if (p->rows_scanned == call->said.rows_scanned)
      return;
    ereport(NOTICE, (errmsg("sync \"%s\": %lld rows read ...", call->sync->name, (long long)p->rows_scanned)));
  } else if (p->phase >= OND_PHASE_SENDING && call->said_phase < OND_PHASE_SENDING) {
    ereport(NOTICE, (errmsg("sync \"%s\": %lld rows read, %lld to create, %lld to update, %lld to delete, %lld invalid", call->sync->name,
                            (long long)p->rows_scanned, (long long)p->to_create, (long long)p->to_update, (long long)p->to_delete,
                            (long long)p->invalid)));
  } else if (p->phase == OND_PHASE_SENDING) {
    say_sending(call, slot, p);
  } else {
    return;
  }
  call->said = *p;
  call->said_phase = p->phase;
  call->said_at = now;
}

/* Waits until a run of somebody else has ended. */
static void await_other(OndRunCall *call, OndSlotRef ref) {
  OndSlot slot;

  ond_slot_wait_note(ref);
  while (ond_slot_look(ref, &slot) && slot.state != OND_SLOT_ENDED) {
    if (!call->said_waiting && slot.run_id != 0) {
      ereport(NOTICE, (errmsg("sync \"%s\": waits for the end of run %lld", call->sync->name, (long long)slot.run_id)));
      call->said_waiting = true;
    }
    refuse_deadlock(call, slot.pid);
    check_deadline(call);
    ond_slot_sleep(ref, LOOK_MS);
  }
  ConditionVariableCancelSleep();
}

/* Waits a moment for an edit in another session. False: there is none. */
static bool await_edit(OndRunCall *call) {
  Chain holders = lock_holders(call->sync);

  if (holders.n == 0)
    return false;
  if (!call->wait)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("sync \"%s\" is being changed by another session", call->sync->name),
                    errdetail("Process %d holds its lock.", holders.pids[0]),
                    errhint("Try again when that has been committed, or call ondatra.trigger_sync().")));
  if (!call->said_waiting)
    ereport(NOTICE, (errmsg("sync \"%s\": waits for a change by process %d to be committed", call->sync->name, holders.pids[0])));
  call->said_waiting = true;
  for (int i = 0; i < holders.n; i++)
    refuse_deadlock(call, holders.pids[i]);
  check_deadline(call);
  (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_MS / 2, PG_WAIT_EXTENSION);
  ResetLatch(MyLatch);
  CHECK_FOR_INTERRUPTS();
  return true;
}

static void cannot_start(OndStart why) {
  if (why == OND_START_NO_SLOT)
    ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                    errmsg("%d runs go on already, as many as may at once", ond_setting_max_workers),
                    errhint("Try again later, call ondatra.trigger_sync(), or raise ondatra.max_workers.")));
  if (why == OND_START_ROLE_FULL)
    ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                    errmsg("%d runs of the sync's owner go on already, as many as may at once", ond_setting_max_workers_per_role),
                    errhint("Try again later, call ondatra.trigger_sync(), or raise ondatra.max_workers_per_role.")));
  ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED), errmsg("no worker process is free"),
                  errhint("Try again later, call ondatra.trigger_sync(), or raise max_worker_processes.")));
}

/* A guard held a run of the sync, and nobody has decided yet; or somebody has approved it, and this is a run of a few rows. */
static void refuse_held(const OndRunCall *call) {
  const OndSync *sync = call->sync;
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(sync->sync_id)};
  bool canary = call->share != NULL || call->request.max_rows >= 0;
  char *guard = NULL;
  int64 run_id = 0;
  OndScope scope;
  bool isnull;

  ond_our_begin(&scope, true);
  if (ond_spi_snapshot("SELECT run_id, error_message, approved_by FROM ondatra.all_runs WHERE sync_id = $1 AND finished_at IS NULL AND status = 'held'", 1, types,
                       values, NULL, GetLatestSnapshot()) > 0) {
    run_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
    guard = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
    if (SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3) == NULL)
      ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("run %lld of sync \"%s\" is held", (long long)run_id, sync->name), errdetail("%s", guard),
                    errhint("Call ondatra.approve_run(%lld) or ondatra.reject_run(%lld) first.", (long long)run_id, (long long)run_id)));
    if (canary)
      ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("run %lld of sync \"%s\" was approved and is about to go on", (long long)run_id, sync->name),
                      errhint("Call ondatra.run_sync() without keys and max_rows to go on with it.")));
  }
  ond_our_end(&scope);
}

/* Starts the run, after what the sync is busy with. */
static void start(OndRunCall *call) {
  dsm_handle share = call->share != NULL ? dsm_segment_handle(call->share) : DSM_HANDLE_INVALID;

  for (;;) {
    OndStart result;
    int64 other;

    CHECK_FOR_INTERRUPTS();
    check_deadline(call);
    refuse_held(call);
    if (ond_sync_pid(MyDatabaseId, call->sync->sync_id, &other) == 0 && await_edit(call))
      continue;
    result = ond_start_run(&call->request, call->sync->name, share, true, &call->started);
    if (result == OND_START_OK)
      break;
    if (result != OND_START_RUNNING)
      cannot_start(result);
    if (!call->wait)
      ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("sync \"%s\" is running", call->sync->name),
                      errhint("With wait => true the call waits for its end; ondatra.trigger_sync() asks for a run after it.")));
    await_other(call, call->started.ref);
  }
  call->has_slot = true;
  ond_slot_wait_note(call->started.ref);
}

/* The run's row, as a datum in the current context; false while it is not there, or not finished when that is wanted. */
static bool read_row(int64 run_id, bool finished, Datum *row) {
  MemoryContext caller = CurrentMemoryContext;
  Oid types[] = {INT8OID, BOOLOID};
  Datum values[] = {Int64GetDatum(run_id), BoolGetDatum(finished)};
  OndScope scope;
  bool found;

  ond_our_begin(&scope, true);
  found = ond_spi_snapshot("SELECT r FROM ondatra.sync_runs r WHERE r.run_id = $1 AND (NOT $2 OR r.finished_at IS NOT NULL)", 2, types,
                           values, NULL, GetLatestSnapshot()) > 0;
  if (found) {
    bool isnull;
    Datum d = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
    MemoryContext ours = MemoryContextSwitchTo(caller);

    *row = PointerGetDatum(DatumGetHeapTupleHeaderCopy(d));
    MemoryContextSwitchTo(ours);
  }
  ond_our_end(&scope);
  MemoryContextSwitchTo(caller);
  return found;
}

/* The run died. Its row is ended by the scheduler; without a row, or a scheduler, the reason is all that there is to say. */
static Datum row_of_dead(OndRunCall *call, const OndSlot *slot) {
  TimestampTz give_up_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RECORD_WAIT_MS);
  Datum row = (Datum)0;
  bool has_row = slot->run_id != 0 && read_row(slot->run_id, false, &row);

  ond_slot_leave(call->started.ref, !has_row);
  call->has_slot = false;
  while (has_row && GetCurrentTimestamp() < give_up_at) {
    if (read_row(slot->run_id, true, &row))
      return row;
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_MS / 2, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
  }
  ereport(ERROR,
          (errcode(MAKE_SQLSTATE(slot->error_code[0], slot->error_code[1], slot->error_code[2], slot->error_code[3], slot->error_code[4])),
           has_row ? errmsg("run %lld of sync \"%s\" was interrupted", (long long)slot->run_id, call->sync->name)
                   : errmsg("the run of sync \"%s\" could not be started", call->sync->name),
           errdetail("%s", slot->error_message)));
}

/* Watches the run. False: it found the sync busy with an edit, and has to be started again. */
static bool watch(OndRunCall *call, Datum *row) {
  OndSlotRef ref = call->started.ref;
  bool seen_blocked = false;
  OndSlot slot;

  for (;;) {
    int blocked;

    if (!ond_slot_look(ref, &slot))
      elog(ERROR, "lost the slot of a run");
    if (slot.state == OND_SLOT_STARTING && ond_start_gone(&call->started))
      continue;
    call->run_id = slot.run_id;
    if (slot.state == OND_SLOT_ENDED)
      break;
    if (!call->wait && slot.run_id != 0 && read_row(slot.run_id, false, row))
      return true;
    if (call->wait)
      say_progress(call, &slot);
    blocked = slot.pid > 0 ? ond_waits_for_me(slot.pid) : 0;
    /*
     * Who does not wait needs the row only: a run that has written it may well wait for the caller's COMMIT. It may have done so since the look
     * above, so look once more before calling it a deadlock.
     */
    if (blocked != 0 && (call->wait || seen_blocked))
      raise_deadlock(call, blocked, true);
    if (blocked != 0) {
      seen_blocked = true;
      continue;
    }
    check_deadline(call);
    ond_slot_sleep(ref, LOOK_MS);
  }
  ConditionVariableCancelSleep();
  if (slot.ending == OND_ENDING_BUSY)
    return false;
  if (slot.ending == OND_ENDING_DIED)
    *row = row_of_dead(call, &slot);
  else if (!read_row(slot.run_id, false, row))
    ereport(ERROR,
            (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("run %lld of sync \"%s\" left no row", (long long)slot.run_id, call->sync->name),
             errdetail("The sync was dropped.")));
  return true;
}

static void leave(OndRunCall *call) {
  OndSlotRef none = {-1, 0};

  ond_slot_wait_note(none);
  if (call->has_slot)
    ond_slot_leave(call->started.ref, call->request.reconcile); /* of a reconciliation nobody else wants to hear */
  call->has_slot = false;
}

static void leave_on_error(int code, Datum arg) {
  OndRunCall *call = (OndRunCall *)DatumGetPointer(arg);

  ConditionVariableCancelSleep();
  if (call->request.reconcile && call->has_slot)
    ond_slot_stop(call->started.ref, true); /* nobody would get what it finds */
  /* Ctrl-C or statement_timeout, not our own time-out, which has said so; code is 0 unless the process exits. */
  if (code == 0 && call->run_id != 0 && !call->request.reconcile && geterrcode() == ERRCODE_QUERY_CANCELED && GetCurrentTimestamp() < call->deadline)
    ereport(NOTICE, (errmsg("run %lld of sync \"%s\" goes on", (long long)call->run_id, call->sync->name),
                     errhint("ondatra.cancel_run(%lld) stops it.", (long long)call->run_id)));
  leave(call);
}

Datum ond_run_call_wait(OndRunCall *call) {
  volatile Datum row = (Datum)0;

  PG_ENSURE_ERROR_CLEANUP(leave_on_error, PointerGetDatum(call));
  {
    Datum found = (Datum)0;

    start(call);
    while (!watch(call, &found)) {
      leave(call);
      (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, BUSY_MS, PG_WAIT_EXTENSION);
      ResetLatch(MyLatch);
      start(call);
    }
    row = found;
  }
  PG_END_ENSURE_ERROR_CLEANUP(leave_on_error, PointerGetDatum(call));
  leave(call);
  return row;
}

/* run_sync(name text, wait boolean, timeout interval, keys jsonb, max_rows bigint) */
PG_FUNCTION_INFO_V1(ond_sql_run_sync);
Datum ond_sql_run_sync(PG_FUNCTION_ARGS) {
  OndRunCall *call = palloc0(sizeof(OndRunCall));
  char *name = ond_arg_required(fcinfo, 0, "name");
  Datum row;

  ond_run_call_check("ondatra.run_sync()");
  if (!PG_ARGISNULL(4) && PG_GETARG_INT64(4) < 1)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max_rows must be positive")));
  call->wait = ond_arg_bool(fcinfo, 1, true);
  call->timeout = PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2);
  call->deadline = PG_ARGISNULL(2) ? DT_NOEND : deadline_of(call->timeout);
  call->sync = ond_run_call_find(name, GetUserId());
  ond_run_call_request(call, "manual");
  if (!PG_ARGISNULL(4))
    call->request.max_rows = PG_GETARG_INT64(4);
  if (!PG_ARGISNULL(3))
    call->share = share_keys(ond_arg_keys(fcinfo, 3, call->sync));
  row = ond_run_call_wait(call);
  if (call->share != NULL)
    dsm_detach(call->share);
  return row;
}

/* --- trigger_sync ----------------------------------------------------------------------------------------------------------------- */

static bool called_by_cron(void) {
  return strcmp(application_name, "pg_cron") == 0 || (MyBgworkerEntry != NULL && strcmp(MyBgworkerEntry->bgw_library_name, "pg_cron") == 0);
}

/* Who asks, in the words of sync_runs.trigger. */
static const char *trigger_word(void) {
  LOCAL_FCINFO(info, 0);

  InitFunctionCallInfoData(*info, NULL, 0, InvalidOid, NULL, NULL);
  if (DatumGetInt32(pg_trigger_depth(info)) > 0)
    return "change";
  return called_by_cron() ? "cron" : "manual";
}

static bool is_live(const OndSync *sync) {
  return sync->state == OND_SYNC_CREATED || sync->state == OND_SYNC_ACTIVE;
}

static void refuse_stopped(const OndSync *sync) {
  char *name = quote_literal_cstr(sync->name);

  if (is_live(sync))
    return;
  ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                  sync->state == OND_SYNC_ERROR ? errmsg("sync \"%s\" has stopped with an error", sync->name)
                                                : errmsg("sync \"%s\" is %s", sync->name, ond_sync_state_name(sync->state)),
                  sync->state_reason != NULL ? errdetail("%s", sync->state_reason) : 0,
                  sync->state == OND_SYNC_ARCHIVED ? errhint("Call ondatra.restore_sync(%s) first.", name)
                                                   : errhint("Call ondatra.resume_sync(%s) first.", name)));
}

/* trigger_sync(name text) → bigint */
PG_FUNCTION_INFO_V1(ond_sql_trigger_sync);
Datum ond_sql_trigger_sync(PG_FUNCTION_ARGS) {
  char *name = ond_arg_required(fcinfo, 0, "name");
  Oid role = GetUserId();
  OndScope scope;
  OndSync *sync;
  int64 request_id;

  ond_state_require();
  ond_our_begin(&scope, true);
  sync = ond_sync_get(name, role);
  if (!is_live(sync) && called_by_cron()) { /* as any schedule of a sync that rests: no error at each of its times */
    ond_our_end(&scope);
    PG_RETURN_NULL();
  }
  refuse_stopped(sync);
  request_id = ond_run_request_insert(sync->sync_id, trigger_word(), GetUserNameFromId(role, false));
  ond_our_end(&scope);
  ond_wake_at_commit();
  PG_RETURN_INT64(request_id);
}

/* --- cancel_run ------------------------------------------------------------------------------------------------------------------- */

/* Raises unless there is such a run for the role. */
static void check_run(int64 run_id, Oid role) {
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(run_id)};
  OndScope scope;
  bool isnull, found;

  ond_our_begin(&scope, true);
  found = ond_spi_snapshot("SELECT owner::oid FROM ondatra.all_runs WHERE run_id = $1", 1, types, values, NULL, GetLatestSnapshot()) > 0 &&
          has_privs_of_role(role, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
  ond_our_end(&scope);
  if (!found)
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("run %lld does not exist", (long long)run_id),
                    errhint("The view ondatra.run_progress lists those that go on.")));
}

/* cancel_run(run_id bigint) → boolean */
PG_FUNCTION_INFO_V1(ond_sql_cancel_run);
Datum ond_sql_cancel_run(PG_FUNCTION_ARGS) {
  int64 run_id;

  if (PG_ARGISNULL(0))
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument \"run_id\" must not be NULL")));
  run_id = PG_GETARG_INT64(0);
  check_environment("ondatra.cancel_run()");
  check_run(run_id, GetUserId());
  PG_RETURN_BOOL(ond_cancel_run(MyDatabaseId, run_id));
}
