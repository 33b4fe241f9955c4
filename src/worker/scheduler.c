/*
 * scheduler.c - the short-lived process that looks after one database.
 *
 * A visit, in this order: record runs that died; drop requests that nobody will answer; see who has to be told; start what is due; delete what is old; publish what is
 * due next.
 * It stays a moment (runs often follow one another) and goes: idle databases hold no connection.
 *
 * It is connected as the bootstrap superuser and runs nothing but our own SQL, in "ours".
 *
 * Invariants
 *   1. A run is declared dead only if its row was open before the slots were looked at, and no live slot has it; its row is then ended only
 *      if it is still open. A living run's slot has its number before its row exists, so none is taken for dead.
 *   2. What cannot be done now is published with a later time or as starved, never dropped, and never tried again at once.
 *   3. A sync that raises an error here does not keep others from running; nor does one whose row an open transaction holds: what has to
 *      be written waits LOCK_WAIT for it and is then left for a later visit.
 * Does not: decide what a run does, or consume requests (the run does).
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/arming.h"
#include "catalog/owners.h"
#include "catalog/session.h"
#include "catalog/settings.h"
#include "catalog/sync.h"
#include "worker/alerts.h"
#include "worker/cron.h"
#include "worker/queue.h"
#include "worker/retention.h"
#include "worker/state.h"

#define LINGER_MS     500
#define ATTACH_MAX_MS 10000
#define LOCK_WAIT     "1s"
#define ALERT_AGAIN_US (INT64CONST(30) * USECS_PER_SEC)

static MemoryContext visit_context;

static bool extension_here(void) {
  bool here;

  StartTransactionCommand();
  here = ond_extension(true) != NULL;
  CommitTransactionCommand();
  return here;
}

/* A transaction that writes rows of syncs. */
static void begin_briefly(void) {
  ond_tx_begin();
  (void)set_config_option("lock_timeout", LOCK_WAIT, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Notifications go out in a transaction of their own: a full queue must not cost the records. */
static void notify_run(int64 run_id, int64 sync_id, const char *status, bool state_changed) {
  begin_briefly();
  ond_notify_run(run_id, sync_id, status);
  if (state_changed)
    ond_notify_state(sync_id);
  ond_tx_commit();
}

/* Does a step that is one sync's; an error is logged, and keeps nothing else from being done. */
static bool safely(void (*step)(void *), void *arg, const char *about) {
  volatile bool done = true;

  PG_TRY();
  { step(arg); }
  PG_CATCH();
  {
    HOLD_INTERRUPTS();
    errcontext("looking after sync \"%s\"", about);
    EmitErrorReport();
    LWLockReleaseAll();
    AbortOutOfAnyTransaction();
    MemoryContextSwitchTo(visit_context);
    FlushErrorState();
    done = false;
    RESUME_INTERRUPTS();
  }
  PG_END_TRY();
  return done;
}

/* --- runs that died --------------------------------------------------------------------------------------------------- */

static const OndSlot *slot_of_run(const OndSlot *slots, int n, int64 run_id) {
  for (int i = 0; i < n; i++) {
    if (slots[i].run_id == run_id && !slots[i].orphan)
      return &slots[i];
  }
  return NULL;
}

/* An open run without a process, and the slot that it had, if that is still there. */
typedef struct Lost {
  const OndOpenRun *run;
  const OndSlot *slot;
} Lost;

static void end_lost_run(void *arg) {
  const OndOpenRun *run = ((Lost *)arg)->run;
  const OndSlot *slot = ((Lost *)arg)->slot;
  const char *code = "57P02";
  const char *message = "the worker process of this run ended without a message";
  bool cancelled = slot != NULL && slot->cancel;
  bool ended;

  if (slot != NULL) {
    code = slot->error_code;
    message = slot->error_message;
  } else if (run->started_at < ond_state->began_at) {
    message = "the server was stopped or crashed during this run";
  }
  begin_briefly();
  ended = ond_queue_end_run(run->run_id, cancelled, code, message);
  ond_tx_commit();
  if (ended)
    notify_run(run->run_id, run->sync_id, cancelled ? "cancelled" : "interrupted", false);
}

/* left[i]: the run of ended[i] could not be ended. False: some could not. */
static bool end_lost_runs(const OndSlot *ended, int n_ended, bool *left) {
  OndSlotRef *refs;
  OndOpenRun *runs;
  OndSlot *live;
  int n_runs, n_live;
  bool all = true;

  ond_tx_begin();
  runs = ond_queue_open_runs(visit_context, &n_runs);
  ond_tx_commit();
  MemoryContextSwitchTo(visit_context);
  live = ond_slot_list(MyDatabaseId, true, &refs, &n_live);
  for (int i = 0; i < n_runs; i++) {
    Lost lost = {&runs[i], slot_of_run(ended, n_ended, runs[i].run_id)};

    if (slot_of_run(live, n_live, runs[i].run_id) != NULL || safely(end_lost_run, &lost, psprintf(INT64_FORMAT, runs[i].sync_id)))
      continue;
    all = false;
    if (lost.slot != NULL)
      left[lost.slot - ended] = true;
  }
  return all;
}

/* A slot that died: when its run has no row, one is written. */
static void record_death(void *arg) {
  const OndSlot *slot = arg;
  OndDue due;
  int64 run_id;
  bool state_changed;

  if (strcmp(slot->trigger, OND_TRIGGER_RECONCILE) == 0)
    return; /* who asked for it is told, or has gone */
  memset(&due, 0, sizeof(due));
  due.sync_id = slot->sync_id;
  strlcpy(due.trigger, slot->trigger, sizeof(due.trigger));
  strlcpy(due.requested_by, slot->requested_by, sizeof(due.requested_by));
  due.queued_at = slot->queued_at;
  begin_briefly();
  run_id = ond_queue_record_failure(slot->run_id, &due, slot->error_code, slot->error_message, NULL, false, &state_changed);
  ond_tx_commit();
  if (run_id != 0)
    notify_run(run_id, slot->sync_id, "failed", state_changed);
}

static void reap(OndAgenda *agenda) {
  OndSlotRef *refs;
  int n;
  OndSlot *ended = ond_slot_list(MyDatabaseId, false, &refs, &n);
  bool *left = palloc0(sizeof(bool) * Max(n, 1));

  if (!end_lost_runs(ended, n, left))
    agenda->blocked = true;
  for (int i = 0; i < n; i++) {
    if (ended[i].waited)
      continue; /* who waits for it is told, and leaves it to us or not */
    if (!left[i] && ended[i].ending == OND_ENDING_DIED && !ended[i].orphan)
      left[i] = !safely(record_death, &ended[i], psprintf(INT64_FORMAT, ended[i].sync_id));
    if (left[i])
      agenda->blocked = true;
    else
      ond_slot_recorded(refs[i]);
  }
}

/* The extension is gone: so is everything that could be recorded. */
static void forget_ended(void) {
  OndSlotRef *refs;
  int n;

  (void)ond_slot_list(MyDatabaseId, false, &refs, &n);
  for (int i = 0; i < n; i++)
    ond_slot_recorded(refs[i]);
}

/* --- starting runs ------------------------------------------------------------------------------------------------------ */

static void record_obstacle(const OndDue *due, const OndObstacle *obstacle) {
  bool state_changed;
  int64 run_id;

  begin_briefly();
  run_id = ond_queue_record_failure(0, due, unpack_sql_state(obstacle->sqlstate), obstacle->message, obstacle->way_out, obstacle->fatal,
                                    &state_changed);
  ond_tx_commit();
  if (run_id != 0)
    notify_run(run_id, due->sync_id, "failed", state_changed);
}

typedef struct Start {
  const OndDue *due;
  OndAgenda *agenda;
  OndStarted *started; /* appended to */
  int n_started;
  bool room;
} Start;

/* Whether the sync is being edited; or why its owner's worker could not do its work. */
static bool look_first(const OndDue *due, bool *edited, OndObstacle *obstacle) {
  bool obstructed;

  ond_tx_begin();
  *edited = !ond_run_lock_try_edit(due->sync_id);
  MemoryContextSwitchTo(visit_context);
  obstructed = ond_start_obstacle(due->owner, obstacle);
  ond_tx_commit();
  MemoryContextSwitchTo(visit_context);
  return obstructed;
}

/* Starts one run. False: there is no room for any. */
static bool start_one(Start *start) {
  const OndDue *due = start->due;
  OndRunRequest request = {MyDatabaseId, due->owner, due->sync_id};
  OndObstacle obstacle;
  OndStart result;
  bool edited;
  bool obstructed = look_first(due, &edited, &obstacle);

  if (edited || obstructed) {
    start->agenda->blocked = true;
    if (!edited)
      record_obstacle(due, &obstacle); /* its requests, if any, stay: they are tried again after a growing delay */
    return true;
  }
  strlcpy(request.trigger, due->trigger, sizeof(request.trigger));
  strlcpy(request.requested_by, due->requested_by, sizeof(request.requested_by));
  request.queued_at = due->queued_at;
  request.max_rows = -1;
  result = ond_start_run(&request, due->name, DSM_HANDLE_INVALID, false, &start->started[start->n_started]);
  if (result == OND_START_OK)
    start->n_started++;
  if (result == OND_START_OK || result == OND_START_RUNNING)
    return true;
  ond_start_log(result);
  if (result == OND_START_ROLE_FULL) {
    start->agenda->capped = true;
    return true; /* there is room for others */
  }
  start->agenda->starved = true;
  start->agenda->due = Min(start->agenda->due, due->queued_at);
  return false;
}

static void start_step(void *arg) {
  Start *start = arg;

  start->room = start_one(start);
}

/* Sees that every worker that was started comes, or is known not to. */
static void await_attached(const OndStarted *started, int n) {
  TimestampTz give_up_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ATTACH_MAX_MS);

  for (;;) {
    int coming = 0;

    for (int i = 0; i < n; i++) {
      OndSlot slot;

      coming += ond_slot_look(started[i].ref, &slot) && slot.state == OND_SLOT_STARTING && !ond_start_gone(&started[i]);
    }
    if (coming == 0 || GetCurrentTimestamp() >= give_up_at)
      return; /* a slot that nobody comes to is ended by later claims */
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
  }
}

/* Owners that have as many runs as they may, so that what they have due does not hide what others have. */
static Oid *full_owners(int *n) {
  OndSlotRef *refs;
  int n_live;
  OndSlot *live = ond_slot_list(InvalidOid, true, &refs, &n_live);
  Oid *owners = palloc(sizeof(Oid) * Max(n_live, 1));

  *n = 0;
  for (int i = 0; i < n_live; i++) {
    int runs = 0;

    for (int k = 0; k < n_live; k++)
      runs += live[k].owner == live[i].owner;
    if (runs >= ond_setting_max_workers_per_role)
      owners[(*n)++] = live[i].owner;
  }
  return owners;
}

/* without_full: not of owners that have as many runs as they may. */
static OndDue *read_due(TimestampTz now, bool without_full, int *n) {
  OndSlotRef *refs;
  int n_live;
  OndSlot *live = ond_slot_list(MyDatabaseId, true, &refs, &n_live);
  int64 *running = palloc(sizeof(int64) * Max(n_live, 1));
  int n_full = 0;
  Oid *full = without_full ? full_owners(&n_full) : NULL;
  OndDue *list;

  for (int i = 0; i < n_live; i++)
    running[i] = live[i].sync_id;
  ond_tx_begin();
  ond_queue_drop_leftovers();
  list = ond_queue_due(now, running, n_live, full, n_full, visit_context, n);
  ond_tx_commit();
  MemoryContextSwitchTo(visit_context);
  return list;
}

/* Starts what is due; how much that was. */
static int start_list(TimestampTz now, bool without_full, OndAgenda *agenda) {
  OndStarted started[OND_QUEUE_MAX];
  int n;
  OndDue *list = read_due(now, without_full, &n);
  Start start = {NULL, agenda, started, 0, true};

  for (int i = 0; i < n && start.room; i++) {
    start.due = &list[i];
    if (list[i].not_before > now)
      agenda->due = Min(agenda->due, list[i].not_before);
    else if (!safely(start_step, &start, list[i].name))
      agenda->blocked = true;
  }
  await_attached(started, start.n_started);
  return n;
}

static void start_due(TimestampTz now, OndAgenda *agenda) {
  int n = start_list(now, false, agenda);

  if (n == OND_QUEUE_MAX && agenda->capped && !agenda->starved)
    n = start_list(now, true, agenda);
  if (n == OND_QUEUE_MAX)
    agenda->blocked = true; /* there may be more */
}

/* --- the visit ----------------------------------------------------------------------------------------------------------- */

/* Deletes what need not be kept any longer; a database without room for that still runs its syncs. */
static void tidy(void *arg) {
  OndAgenda *agenda = arg;

  if (!ond_retention_tidy())
    agenda->due = Min(agenda->due, GetCurrentTimestamp() + USECS_PER_SEC);
}

/* Problems of syncs that somebody wants to hear of; another process tells. */
static void look_for_alerts(void *arg) {
  OndAgenda *agenda = arg;
  TimestampTz again;
  bool due, told;

  begin_briefly();
  due = ond_alerts_look(GetCurrentTimestamp(), &again);
  told = due && !ond_alerts_lock(false);
  ond_tx_commit();
  if (due && !told && !ond_alerts_start()) {
    ond_start_log(OND_START_NO_PROCESS);
    agenda->blocked = true;
  }
  if (due)
    again = Min(again, GetCurrentTimestamp() + ALERT_AGAIN_US); /* it may die without a word */
  agenda->due = Min(agenda->due, again);
}

/* Held runs that nobody decided about; the others are looked at again when their time is over. */
static void expire_held(void *arg) {
  OndAgenda *agenda = arg;
  int64 limit = (int64)ond_setting_held_run_expiry_min * 60 * USECS_PER_SEC;
  TimestampTz since;
  int64 *ids;
  int n;

  if (limit < 0)
    return;
  begin_briefly();
  ids = ond_queue_expire_held(GetCurrentTimestamp() - limit, visit_context, &n);
  since = ond_queue_held_since();
  ond_tx_commit();
  for (int i = 0; i < n; i++)
    notify_run(ids[2 * i], ids[2 * i + 1], "cancelled", false);
  if (since != DT_NOEND)
    agenda->due = Min(agenda->due, since + limit + 1);
}

/* What roles owned that were dropped. */
static void disown(void *arg) {
  begin_briefly();
  ond_owners_sweep();
  ond_tx_commit();
}

/* Whether anything may be sent from this database. If not, requests are not let pile up, and the log says so. */
static bool is_armed(void) {
  char *name, *why;
  bool armed;

  begin_briefly();
  MemoryContextSwitchTo(visit_context);
  name = get_database_name(MyDatabaseId);
  ond_arm_promoted();
  armed = ond_armed(&why);
  if (!armed)
    ond_queue_thin_out();
  ond_tx_commit();
  MemoryContextSwitchTo(visit_context);
  if (!armed)
    ond_start_log_disarmed(name, why);
  return armed;
}

static void watch_cron(void *arg) {
  OndAgenda *agenda = arg;

  agenda->due = Min(agenda->due, ond_cron_watch(visit_context));
}

static void visit(OndAgenda *agenda) {
  TimestampTz now = GetCurrentTimestamp();
  TimestampTz next;
  bool armed;

  reap(agenda);
  if (ond_database_take_listed(MyDatabaseId) && !safely(disown, NULL, "(dropped roles)"))
    agenda->blocked = true;
  if (!safely(expire_held, agenda, "(held runs)"))
    agenda->blocked = true;
  armed = is_armed();
  if (armed && !safely(look_for_alerts, agenda, "(alerts)"))
    agenda->blocked = true;
  if (armed)
    start_due(now, agenda);
  if (!safely(tidy, agenda, "(retention)"))
    agenda->blocked = true;
  if (!armed)
    return; /* arm() wakes us */
  if (!safely(watch_cron, agenda, "(jobs of pg_cron)"))
    agenda->blocked = true;
  ond_tx_begin();
  next = ond_queue_next_due(now);
  ond_tx_commit();
  agenda->due = Min(agenda->due, next);
}

/* One look at the database. False: leave. */
static bool look(void) {
  uint64 seen = ond_database_wakes(MyDatabaseId);
  OndAgenda agenda = {.due = DT_NOEND, .releases = ond_slot_releases()};
  bool here;

  MemoryContextReset(visit_context);
  MemoryContextSwitchTo(visit_context);
  pgstat_report_activity(STATE_RUNNING, "looking for due syncs");
  here = extension_here();
  MemoryContextSwitchTo(visit_context);
  if (here)
    visit(&agenda);
  else
    forget_ended();
  pgstat_report_activity(STATE_IDLE, NULL);
  if (!ond_database_publish(MyDatabaseId, seen, &agenda))
    return true;
  if (!here || agenda.starved)
    return false;
  (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LINGER_MS, PG_WAIT_EXTENSION);
  ResetLatch(MyLatch);
  return ond_database_wakes(MyDatabaseId) != seen;
}

void ond_scheduler_main(Datum arg) {
  Oid database = DatumGetObjectId(arg);
  bool more = true;

  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  if (!ond_database_claim(database))
    proc_exit(0);
  BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
  ond_session_of_worker("ondatra scheduler");
  visit_context = AllocSetContextCreate(TopMemoryContext, "ondatra scheduler", ALLOCSET_DEFAULT_SIZES);
  while (more && ond_setting_enabled) {
    CHECK_FOR_INTERRUPTS();
    if (ConfigReloadPending) {
      ConfigReloadPending = false;
      ProcessConfigFile(PGC_SIGHUP);
    }
    more = look();
  }
  proc_exit(0);
}
