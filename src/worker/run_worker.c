/*
 * run_worker.c - the process of one run: connects as the sync's owner and hands over to the engine.
 *
 * Model: attach the slot (before anything that can fail), connect, ond_run_execute(), end. What the engine needs of processes and shared
 * memory it gets from `host` below; it calls these outside of libcurl frames.
 *
 * Invariants
 *   1. However the process ends, its slot ends with it (slot.c), with a reason when there is no final row: a FATAL during login is heard by
 *      emit_log_hook, an ERROR that the engine did not record is caught here.
 *   2. SIGTERM is die; the engine serves interrupts ten times a second, so shutdown, DROP DATABASE and pg_terminate_backend take less than
 *      a second.
 * Does not: take the run lock or write rows (engine/run.c), start itself again (the scheduler does).
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "catalog/settings.h"
#include "compat.h"
#include "engine/watch.h"
#include "worker/findings.h"
#include "worker/state.h"

#define RATE_SAMPLE_US 1000000
#define UNIX_EPOCH_US  ((int64)(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static emit_log_hook_type previous_log_hook = NULL;
static OndBudget *budget = NULL;
static int64 destination = 0; /* of the budget */

/* --- what the engine is given --------------------------------------------------------------------------------------- */

/* Requests per second, over the last second or, at the beginning of sending, since then. */
static double sample_rate(const OndProgress *p) {
  static int64 from = 0, from_requests = 0;
  static double rate = 0;
  static bool whole = false;
  int64 now = ond_clock_us();

  if (p->phase != OND_PHASE_SENDING) {
    from = 0;
    whole = false;
    return 0;
  }
  if (from == 0) {
    from = now;
    from_requests = p->requests;
    rate = 0;
  } else if (now - from >= (whole ? RATE_SAMPLE_US : RATE_SAMPLE_US / 10)) {
    rate = (double)(p->requests - from_requests) * 1000000 / (now - from);
  }
  if (now - from >= RATE_SAMPLE_US) {
    from = now;
    from_requests = p->requests;
    whole = true;
  }
  return rate;
}

static OndProgress last_progress;
static int64 paused_until = 0; /* unix microseconds */

static int64 unix_us(void) {
  return GetCurrentTimestamp() + UNIX_EPOCH_US;
}

static void host_progress(const OndProgress *p) {
  last_progress = *p;
  if (paused_until > last_progress.throttled_until && paused_until > unix_us())
    last_progress.throttled_until = paused_until;
  ond_slot_progress(&last_progress, sample_rate(p));
}

/* A run that waits for its destination may have nothing else to report for long. */
static void show_throttle(int64 wait_us) {
  if (wait_us == 0 && last_progress.throttled_until == 0)
    return;
  last_progress.throttled_until = wait_us == 0 ? 0 : unix_us() + wait_us;
  ond_slot_progress(&last_progress, sample_rate(&last_progress));
}

static bool host_cancelled(void) {
  if (ConfigReloadPending && !IsTransactionState()) {
    ConfigReloadPending = false;
    ProcessConfigFile(PGC_SIGHUP);
  }
  return ond_slot_cancelled() || !ond_setting_enabled;
}

static void host_budget_attach(int64 destination_id, const OndRateSpec *spec, int concurrency) {
  if (budget != NULL)
    ond_budget_detach(budget);
  budget = NULL;
  budget = ond_budget_attach(MyDatabaseId, destination_id, spec, concurrency);
  ond_slot_budget(ond_budget_index(budget));
  destination = destination_id;
  ond_quota_load(budget, destination);
}

static int64 host_budget_take(int group, int64 now_us) {
  int64 wait_us = budget != NULL ? ond_budget_take(budget, group, now_us) : 0;

  while (wait_us == OND_BUDGET_LEASE) {
    ond_quota_lease(budget, destination, group);
    wait_us = ond_budget_take(budget, group, now_us);
  }
  show_throttle(wait_us);
  return wait_us;
}

static void host_budget_done(void) {
  if (budget != NULL)
    ond_budget_done(budget);
}

static void host_budget_pause(int64 until_us) {
  int64 wait_us = until_us - ond_clock_us();

  if (budget != NULL)
    ond_budget_pause(budget, until_us);
  if (wait_us > 0) {
    paused_until = unix_us() + wait_us;
    show_throttle(wait_us);
  }
}

static void host_budget_error(const char *words) {
  if (budget != NULL)
    ond_budget_error(budget, words);
}

static bool host_job_begin(int most) {
  return ond_place_take(destination, most);
}

static const OndRunHost host = {
    .set_run = ond_slot_set_run,
    .wake_at_commit = ond_wake_at_commit,
    .progress = host_progress,
    .cancelled = host_cancelled,
    .stop_asked = ond_slot_cancelled,
    .budget_attach = host_budget_attach,
    .budget_take = host_budget_take,
    .budget_done = host_budget_done,
    .budget_pause = host_budget_pause,
    .budget_error = host_budget_error,
    .job_begin = host_job_begin,
    .job_end = ond_slot_job_end,
    .finding = ond_findings_put,
    .found_all = ond_findings_end,
};

/* --- the process ---------------------------------------------------------------------------------------------------- */

/* The last words of the process, for the slot. */
static void hear_fatal(ErrorData *edata) {
  if (edata->elevel == FATAL && ond_watch_lost_patience())
    ond_slot_reason(ERRCODE_QUERY_CANCELED, "the model did not stop when it was told to, and was ended with its process");
  else if (edata->elevel == FATAL && edata->message != NULL)
    ond_slot_reason(edata->sqlerrcode, edata->message);
  if (previous_log_hook != NULL)
    previous_log_hook(edata);
}

/* The keys of run_sync, copied: its segment goes when it does. */
static char *read_keys(dsm_handle handle) {
  dsm_segment *segment;
  char *keys;

  if (handle == DSM_HANDLE_INVALID)
    return NULL;
  segment = dsm_attach(handle);
  if (segment == NULL)
    ereport(FATAL, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the session that asked for this run has ended")));
  keys = MemoryContextStrdup(TopMemoryContext, dsm_segment_address(segment));
  dsm_detach(segment);
  return keys;
}

static void execute(const OndRunRequest *request) {
  MemoryContext context = AllocSetContextCreate(TopMemoryContext, "ondatra run", ALLOCSET_DEFAULT_SIZES);

  PG_TRY();
  {
    int64 run_id;

    MemoryContextSwitchTo(context);
    run_id = ond_run_execute(request, &host);
    ond_slot_ending(run_id != 0 ? OND_ENDING_DONE : OND_ENDING_BUSY);
  }
  PG_CATCH();
  {
    ErrorData *edata;

    HOLD_INTERRUPTS();
    MemoryContextSwitchTo(context);
    edata = CopyErrorData();
    EmitErrorReport();
    ond_slot_reason(edata->sqlerrcode, edata->message != NULL ? edata->message : "unknown error");
    LWLockReleaseAll();
    AbortOutOfAnyTransaction();
    FlushErrorState();
    RESUME_INTERRUPTS();
  }
  PG_END_TRY();
}

void ond_run_worker_main(Datum arg) {
  OndRunRequest request;
  OndSlotRef ref;
  dsm_handle share;

  memcpy(&ref, MyBgworkerEntry->bgw_extra, sizeof(ref));
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  ond_session_locks_end_with_process();
  if (!ond_slot_attach(ref, &request, &share))
    proc_exit(0); /* it came too late */
  previous_log_hook = emit_log_hook;
  emit_log_hook = hear_fatal;
  request.reconcile = strcmp(request.trigger, OND_TRIGGER_RECONCILE) == 0;
  if (request.reconcile)
    request.repair = ond_findings_attach(share);
  else
    request.keys = read_keys(share);
  BackgroundWorkerInitializeConnectionByOid(request.database, request.owner, OND_COMPAT_OWNER_CONNECT_FLAGS);
  ond_session_of_worker("ondatra run");
  ond_session_of_one_extension();
  pgstat_report_activity(STATE_RUNNING, MyBgworkerEntry->bgw_name);
  execute(&request);
  pgstat_report_activity(STATE_IDLE, NULL);
  proc_exit(0);
}
