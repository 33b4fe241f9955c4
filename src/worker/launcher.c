/*
 * launcher.c - the one static process: starts a scheduler in each database where something is due.
 *
 * Model: the agenda is in shared memory (databases.c). The launcher waits on its latch until the earliest due time; a wake, the end of a
 * scheduler and a released slot set it. At its start (so at server start, crash restart and promotion) and at SIGHUP it lists pg_database
 * and asks every connectable database once; else it is in no transaction and reads no table.
 *
 * Invariants
 *   1. It ends only by SIGTERM (exit code 1: the postmaster starts it again) or with the postmaster. An error is logged and it goes on.
 *   2. Without a free worker process nothing is lost and nothing spins: due times stay, the oldest goes first, attempts get rarer, one line
 *      is logged.
 *   3. At most OND_SCHEDULERS schedulers at once, one per database.
 * Does not: connect to a database, or know of syncs (scheduler.c does).
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/settings.h"
#include "worker/shared.h"
#include "worker/state.h"

#define OND_SCHEDULERS 4
#define NAP_MAX_MS     60000 /* also with a due time known: the system's clock may be set */

typedef struct Child {
  Oid database; /* InvalidOid: unused */
  BackgroundWorkerHandle *handle;
} Child;

typedef struct Listing {
  int n;
  Oid *oids;
  NameData *names;
  bool *connectable;
} Listing;

static Child children[OND_SCHEDULERS];
static bool listing_wanted = true;
static Oid asked_up_to = InvalidOid;   /* a listing that found no room goes on here */
static TimestampTz start_again_at = 0; /* no worker process was free */
static int start_failures = 0;

/* --- listing databases --------------------------------------------------------------------------------------------- */

static void read_databases(Listing *out) {
  MemoryContext context = CurrentMemoryContext;
  Relation rel;
  TableScanDesc scan;
  HeapTuple tuple;
  int room = 64;

  out->n = 0;
  out->oids = palloc(room * sizeof(Oid));
  out->names = palloc(room * sizeof(NameData));
  out->connectable = palloc(room * sizeof(bool));
  StartTransactionCommand();
  (void)GetTransactionSnapshot();
  rel = table_open(DatabaseRelationId, AccessShareLock);
  scan = table_beginscan_catalog(rel, 0, NULL);
  while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL) {
    Form_pg_database form = (Form_pg_database)GETSTRUCT(tuple);
    MemoryContext saved = MemoryContextSwitchTo(context);

    if (out->n == room) {
      room *= 2;
      out->oids = repalloc(out->oids, room * sizeof(Oid));
      out->names = repalloc(out->names, room * sizeof(NameData));
      out->connectable = repalloc(out->connectable, room * sizeof(bool));
    }
    out->oids[out->n] = form->oid;
    out->names[out->n] = form->datname;
    /* -2: a database whose DROP was interrupted */
    out->connectable[out->n++] = form->datallowconn && form->datconnlimit != -2;
    MemoryContextSwitchTo(saved);
  }
  table_endscan(scan);
  table_close(rel, AccessShareLock);
  CommitTransactionCommand();
  MemoryContextSwitchTo(context);
}

/* The smallest database above `after`; -1: none. */
static int next_above(const Listing *list, Oid after) {
  int best = -1;

  for (int i = 0; i < list->n; i++) {
    if (list->connectable[i] && list->oids[i] > after && (best < 0 || list->oids[i] < list->oids[best]))
      best = i;
  }
  return best;
}

static void ask_all_databases(void) {
  Listing list;
  int i;

  pgstat_report_activity(STATE_RUNNING, "listing databases");
  read_databases(&list);
  ond_database_keep_only(list.oids, list.n);
  for (i = next_above(&list, asked_up_to); i >= 0; i = next_above(&list, asked_up_to)) {
    if (!ond_database_note(list.oids[i], NameStr(list.names[i])))
      break; /* full: goes on when entries are free again */
    asked_up_to = list.oids[i];
  }
  listing_wanted = i >= 0;
  if (!listing_wanted)
    asked_up_to = InvalidOid;
  pgstat_report_activity(STATE_IDLE, NULL);
}

/* --- schedulers ---------------------------------------------------------------------------------------------------- */

static int collect_children(Oid *busy) {
  int n = 0;

  for (int i = 0; i < OND_SCHEDULERS; i++) {
    Child *c = &children[i];
    pid_t pid;

    if (!OidIsValid(c->database))
      continue;
    if (GetBackgroundWorkerPid(c->handle, &pid) == BGWH_STOPPED) {
      pfree(c->handle);
      c->database = InvalidOid;
    } else {
      busy[n++] = c->database;
    }
  }
  return n;
}

static void no_process(TimestampTz now) {
  int64 delay_ms = Min(INT64CONST(1000) << Min(start_failures, 6), NAP_MAX_MS);

  ond_start_log(OND_START_NO_PROCESS);
  start_failures++;
  start_again_at = TimestampTzPlusMilliseconds(now, delay_ms);
}

static bool start_scheduler(const OndDatabase *d, TimestampTz now) {
  BackgroundWorker worker;
  MemoryContext saved;
  Child *c = children;
  bool registered;

  while (OidIsValid(c->database))
    c++;
  ond_worker_describe(&worker, "ond_scheduler_main", "ondatra scheduler", d->name, ObjectIdGetDatum(d->oid));
  saved = MemoryContextSwitchTo(TopMemoryContext);
  registered = RegisterDynamicBackgroundWorker(&worker, &c->handle);
  MemoryContextSwitchTo(saved);
  if (!registered) {
    no_process(now);
    return false;
  }
  start_failures = 0;
  c->database = d->oid;
  ond_database_started(d->oid, now);
  /* A database that was dropped keeps failing: the next listing forgets it. */
  if (d->failures >= 2)
    listing_wanted = true;
  return true;
}

/* Starts what can be started; returns when to look again. */
static TimestampTz start_due(void) {
  TimestampTz now = GetCurrentTimestamp();
  TimestampTz look_at = DT_NOEND;
  OndDatabase next;
  Oid busy[OND_SCHEDULERS];
  int n_busy = collect_children(busy);

  if (!ond_setting_enabled)
    return DT_NOEND;
  while (n_busy < OND_SCHEDULERS) {
    if (start_again_at > now)
      return start_again_at;
    if (!ond_database_next(now, busy, n_busy, &next, &look_at))
      break;
    if (start_scheduler(&next, now))
      busy[n_busy++] = next.oid;
  }
  return look_at;
}

/* --- the process --------------------------------------------------------------------------------------------------- */

static void leave(int code, Datum arg) {
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  if (ond_state->launcher == MyLatch)
    ond_state->launcher = NULL;
  LWLockRelease(ond_state->lock);
}

static void enter(void) {
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  if (!ond_state->launched)
    ond_state->began_at = GetCurrentTimestamp(); /* shared memory may have been made long before the promotion */
  ond_state->launched = true;
  ond_state->launcher = MyLatch;
  LWLockRelease(ond_state->lock);
  before_shmem_exit(leave, 0);
}

static TimestampTz look_around(void) {
  bool relist;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  relist = ond_state->relist;
  ond_state->relist = false;
  LWLockRelease(ond_state->lock);
  if (relist || listing_wanted)
    ask_all_databases();
  return start_due();
}

/* look_around, with errors logged and waited out. */
static TimestampTz look_around_safely(MemoryContext context) {
  volatile TimestampTz look_at = 0;

  MemoryContextSwitchTo(context);
  PG_TRY();
  { look_at = look_around(); }
  PG_CATCH();
  {
    HOLD_INTERRUPTS();
    EmitErrorReport();
    LWLockReleaseAll();
    AbortOutOfAnyTransaction();
    MemoryContextSwitchTo(context);
    FlushErrorState();
    look_at = GetCurrentTimestamp() + 5 * USECS_PER_SEC;
    RESUME_INTERRUPTS();
  }
  PG_END_TRY();
  MemoryContextReset(context);
  return look_at;
}

static void wait_until(TimestampTz look_at) {
  int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
  long ms = -1;

  if (!TIMESTAMP_IS_NOEND(look_at)) {
    ms = Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), look_at) + 1, NAP_MAX_MS);
    events |= WL_TIMEOUT;
  }
  (void)WaitLatch(MyLatch, events, ms, PG_WAIT_EXTENSION);
  ResetLatch(MyLatch);
}

void ond_launcher_main(Datum arg) {
  MemoryContext context;

  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  /*
   * A reload between the fork and the handler above was lost: the server ignores SIGHUP in a background worker's first steps. Without this a
   * launcher that began with ondatra.enabled off would not hear that it is on.
   */
  ConfigReloadPending = true;
  BackgroundWorkerInitializeConnection(NULL, NULL, 0);
  enter();
  context = AllocSetContextCreate(TopMemoryContext, "ondatra launcher", ALLOCSET_DEFAULT_SIZES);
  for (;;) {
    TimestampTz look_at;

    CHECK_FOR_INTERRUPTS();
    if (ConfigReloadPending) {
      ConfigReloadPending = false;
      ProcessConfigFile(PGC_SIGHUP);
      if (!ond_setting_enabled)
        ond_slot_stop_all(); /* one that reads its model does not look by itself */
      listing_wanted = true;
    }
    look_at = look_around_safely(context);
    wait_until(look_at);
  }
}
