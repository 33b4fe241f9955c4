/*
 * slot.c - run slots: who runs what. The states and who moves a slot between them are in state.h.
 *
 * Owns: OndState.slots and OndState.waits.
 * Invariants
 *   1. At most one live (STARTING, RUNNING) slot for a sync, at most ondatra.max_workers of them, of one role at most ondatra.max_workers_per_role.
 *   2. A slot of a process that has gone is never live: release_slot runs at any exit that does not restart the whole server. It runs after
 *      the abort of the process's transaction and gives back its session locks first, so that who sees the slot free finds the run lock
 *      free.
 *   3. A run's id is in its slot before its row is committed: who reads rows first and slots then never takes a living run for a dead one.
 *   4. A worker that comes late, to a slot that belongs to another run by now, notices (generation) and leaves.
 */
#include "postgres.h"

#include <signal.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/timestamp.h"

#include "catalog/settings.h"
#include "worker/state.h"

#define COME_LATEST_MS 60000 /* a starter that died may leave a slot that nobody will ever attach to */

static OndSlot *my_slot = NULL; /* of a run worker */
static bool in_run_worker = false;

static bool live(const OndSlot *s) {
  return s->state == OND_SLOT_STARTING || s->state == OND_SLOT_RUNNING;
}

/* The slot of ref, or NULL when it has been given to another run or freed. */
static OndSlot *resolve(OndSlotRef ref) {
  OndSlot *s;

  Assert(LWLockHeldByMe(ond_state->lock));
  Assert(ref.index >= 0 && ref.index < ond_state->n_slots);
  s = &ond_state->slots[ref.index];
  return s->generation == ref.generation && s->state != OND_SLOT_FREE ? s : NULL;
}

static OndSlotRef ref_of(const OndSlot *s) {
  OndSlotRef ref = {(int)(s - ond_state->slots), s->generation};

  return ref;
}

static void set_reason(OndSlot *s, const char *code, const char *words) {
  if (s->error_message[0] != '\0')
    return;
  strlcpy(s->error_code, code, sizeof(s->error_code));
  strlcpy(s->error_message, words, Min(sizeof(s->error_message), 1 + pg_mbcliplen(words, strlen(words), sizeof(s->error_message) - 1)));
}

/* Ends a slot, and frees it when nobody has to look at it any more. */
static void end_slot(OndSlot *s, OndEnding ending) {
  s->state = OND_SLOT_ENDED;
  s->ending = ending;
  s->pid = 0;
  s->latch = NULL;
  s->ended_at = GetCurrentTimestamp();
  ond_state->releases++;
  if (!s->waited && ending != OND_ENDING_DIED)
    s->state = OND_SLOT_FREE;
  ConditionVariableBroadcast(&s->changed);
}

/* --- claiming ---------------------------------------------------------------------------------------------------- */

/* Ends slots whose starter died between claim and registration, or whose worker the postmaster forgot. */
static void end_overdue(TimestampTz now) {
  for (int i = 0; i < ond_state->n_slots; i++) {
    OndSlot *s = &ond_state->slots[i];

    if (s->state == OND_SLOT_STARTING && TimestampDifferenceExceeds(s->claimed_at, now, COME_LATEST_MS)) {
      set_reason(s, "55000", "the worker process of this run did not start");
      end_slot(s, OND_ENDING_DIED);
    }
  }
}

/* A free slot, or the longest ended one that only waits to be recorded: its run's row will still be found, without the reason. */
static OndSlot *pick_slot(void) {
  OndSlot *oldest = NULL;

  for (int i = 0; i < ond_state->n_slots; i++) {
    OndSlot *s = &ond_state->slots[i];

    if (s->state == OND_SLOT_FREE)
      return s;
    if (s->state == OND_SLOT_ENDED && !s->waited && (oldest == NULL || s->ended_at < oldest->ended_at))
      oldest = s;
  }
  return oldest;
}

static void fill_slot(OndSlot *s, const OndRunRequest *request, dsm_handle keys, bool waited, TimestampTz now) {
  s->state = OND_SLOT_STARTING;
  s->ending = OND_ENDING_NONE;
  s->generation++;
  s->waited = waited;
  s->cancel = false;
  s->orphan = false;
  s->pid = 0;
  s->latch = NULL;
  s->database = request->database;
  s->owner = request->owner;
  s->sync_id = request->sync_id;
  strlcpy(s->trigger, request->trigger, sizeof(s->trigger));
  strlcpy(s->requested_by, request->requested_by, sizeof(s->requested_by));
  s->queued_at = request->queued_at;
  s->max_rows = request->max_rows;
  s->keys = keys;
  s->run_id = 0;
  s->claimed_at = now;
  s->ended_at = 0;
  s->destination_id = 0;
  s->jobs = 0;
  s->error_code[0] = '\0';
  s->error_message[0] = '\0';
  SpinLockAcquire(&s->mutex);
  memset(&s->progress, 0, sizeof(s->progress));
  s->requests_per_s = 0;
  s->started_at = 0;
  s->budget = -1;
  SpinLockRelease(&s->mutex);
}

OndClaim ond_slot_claim(const OndRunRequest *request, dsm_handle keys, bool waited, OndSlotRef *ref) {
  TimestampTz now = GetCurrentTimestamp();
  OndClaim result = OND_CLAIM_OK;
  OndSlot *s = NULL;
  int cap = ond_setting_max_workers_per_role;
  int n_live = 0, n_owner = 0;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  end_overdue(now);
  for (int i = 0; i < ond_state->n_slots && result == OND_CLAIM_OK; i++) {
    OndSlot *other = &ond_state->slots[i];

    n_live += live(other);
    n_owner += live(other) && other->owner == request->owner;
    if (live(other) && other->database == request->database && other->sync_id == request->sync_id) {
      *ref = ref_of(other);
      result = OND_CLAIM_RUNNING;
    }
  }
  if (result == OND_CLAIM_OK && (n_live >= ond_state->n_slots - OND_ENDED_MAX || (s = pick_slot()) == NULL))
    result = OND_CLAIM_FULL;
  if (result == OND_CLAIM_OK && cap > 0 && n_owner >= cap)
    result = OND_CLAIM_ROLE_FULL;
  if (result == OND_CLAIM_OK) {
    fill_slot(s, request, keys, waited, now);
    *ref = ref_of(s);
  }
  LWLockRelease(ond_state->lock);
  return result;
}

uint64 ond_slot_releases(void) {
  uint64 n;

  LWLockAcquire(ond_state->lock, LW_SHARED);
  n = ond_state->releases;
  LWLockRelease(ond_state->lock);
  return n;
}

void ond_slot_abandon(OndSlotRef ref) {
  OndSlot *s;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  s = resolve(ref);
  if (s != NULL && s->state == OND_SLOT_STARTING)
    s->state = OND_SLOT_FREE;
  LWLockRelease(ond_state->lock);
}

void ond_slot_never_came(OndSlotRef ref) {
  OndSlot *s;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  s = resolve(ref);
  if (s != NULL && s->state == OND_SLOT_STARTING) {
    set_reason(s, "55000", "the worker process of this run could not be started");
    end_slot(s, OND_ENDING_DIED);
  }
  LWLockRelease(ond_state->lock);
}

/* --- watching ---------------------------------------------------------------------------------------------------- */

bool ond_slot_look(OndSlotRef ref, OndSlot *out) {
  OndSlot *s;

  LWLockAcquire(ond_state->lock, LW_SHARED);
  s = resolve(ref);
  if (s != NULL) {
    SpinLockAcquire(&s->mutex);
    memcpy(out, s, sizeof(*out));
    SpinLockRelease(&s->mutex);
  }
  LWLockRelease(ond_state->lock);
  return s != NULL;
}

void ond_slot_leave(OndSlotRef ref, bool told) {
  Oid wake = InvalidOid;
  OndSlot *s;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  s = resolve(ref);
  if (s != NULL) {
    s->waited = false;
    if (s->state == OND_SLOT_ENDED && (told || s->ending != OND_ENDING_DIED))
      s->state = OND_SLOT_FREE;
    else if (s->state == OND_SLOT_ENDED)
      wake = s->database;
  }
  LWLockRelease(ond_state->lock);
  if (OidIsValid(wake))
    ond_database_wake(wake, NULL);
}

void ond_slot_sleep(OndSlotRef ref, long timeout_ms) {
  /* The first call of a loop only prepares and returns, so that no change between a look and the sleep is missed. */
  (void)ConditionVariableTimedSleep(&ond_state->slots[ref.index].changed, timeout_ms, PG_WAIT_EXTENSION);
}

/* SIGINT cancels a query or the wait for a lock. A slot with a pid has a living process: it takes itself out before it goes. */
static void stop_slot(OndSlot *s, bool interrupt) {
  s->cancel = true;
  if (s->pid == 0)
    return;
  if (interrupt || s->progress.phase <= OND_PHASE_READING)
    kill(s->pid, SIGINT);
  if (s->latch != NULL)
    SetLatch(s->latch);
}

void ond_slot_stop(OndSlotRef ref, bool interrupt) {
  OndSlot *s;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  s = resolve(ref);
  if (s != NULL)
    stop_slot(s, interrupt);
  LWLockRelease(ond_state->lock);
}

void ond_slot_stop_all(void) {
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  for (int i = 0; i < ond_state->n_slots; i++) {
    if (live(&ond_state->slots[i]))
      stop_slot(&ond_state->slots[i], false);
  }
  LWLockRelease(ond_state->lock);
}

void ond_slot_disown_all(Oid database) {
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  for (int i = 0; i < ond_state->n_slots; i++) {
    OndSlot *s = &ond_state->slots[i];

    if (s->database != database)
      continue;
    s->orphan = true;
    if (live(s))
      stop_slot(s, false);
  }
  LWLockRelease(ond_state->lock);
}

static OndSlot *find_run(Oid database, int64 run_id) {
  for (int i = 0; i < ond_state->n_slots; i++) {
    OndSlot *s = &ond_state->slots[i];

    if (live(s) && s->database == database && s->run_id == run_id && run_id != 0)
      return s;
  }
  return NULL;
}

bool ond_cancel_run(Oid database, int64 run_id) {
  OndSlot *s;

  if (ond_state == NULL)
    return false;
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  s = find_run(database, run_id);
  if (s != NULL)
    stop_slot(s, false);
  LWLockRelease(ond_state->lock);
  return s != NULL;
}

bool ond_terminate_run(Oid database, int64 sync_id) {
  bool found = false;

  if (ond_state == NULL)
    return false;
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  for (int i = 0; i < ond_state->n_slots && !found; i++) {
    OndSlot *s = &ond_state->slots[i];

    found = live(s) && s->database == database && s->sync_id == sync_id && s->pid != 0;
    if (found)
      kill(s->pid, SIGTERM);
  }
  LWLockRelease(ond_state->lock);
  return found;
}

int ond_run_pid(Oid database, int64 run_id) {
  OndSlot *s;
  int pid;

  if (ond_state == NULL)
    return 0;
  LWLockAcquire(ond_state->lock, LW_SHARED);
  s = find_run(database, run_id);
  pid = s != NULL ? s->pid : 0;
  LWLockRelease(ond_state->lock);
  return pid;
}

int ond_sync_pid(Oid database, int64 sync_id, int64 *run_id) {
  int pid = 0;

  *run_id = 0;
  if (ond_state == NULL)
    return 0;
  LWLockAcquire(ond_state->lock, LW_SHARED);
  for (int i = 0; i < ond_state->n_slots; i++) {
    const OndSlot *s = &ond_state->slots[i];

    if (live(s) && s->database == database && s->sync_id == sync_id) {
      pid = s->pid;
      *run_id = s->run_id;
    }
  }
  LWLockRelease(ond_state->lock);
  return pid;
}

/* --- the worker -------------------------------------------------------------------------------------------------- */

static void release_slot(int code, Datum arg) {
  Oid database = my_slot->database;

  /*
   * The transaction, if there was one, has been aborted (that callback was registered later, so it ran earlier). Outside of a transaction nobody
   * else gives back session locks: the run lock would stay with a process that is gone.
   */
  LockReleaseAll(DEFAULT_LOCKMETHOD, true);
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  set_reason(my_slot, "57P01", "the worker process of this run ended without a message");
  end_slot(my_slot, my_slot->ending == OND_ENDING_NONE ? OND_ENDING_DIED : my_slot->ending);
  LWLockRelease(ond_state->lock);
  my_slot = NULL;
  /* The scheduler looks: for a run that died, for triggers that came meanwhile, for others that wait for a slot. */
  ond_database_wake(database, NULL);
  if (ond_state->launcher != NULL)
    SetLatch(ond_state->launcher);
}

bool ond_slot_attach(OndSlotRef ref, OndRunRequest *request, dsm_handle *keys) {
  OndSlot *s;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  s = resolve(ref);
  if (s == NULL || s->state != OND_SLOT_STARTING) {
    LWLockRelease(ond_state->lock);
    return false;
  }
  s->state = OND_SLOT_RUNNING;
  s->pid = MyProcPid;
  s->latch = MyLatch;
  memset(request, 0, sizeof(*request));
  request->database = s->database;
  request->owner = s->owner;
  request->sync_id = s->sync_id;
  strlcpy(request->trigger, s->trigger, sizeof(request->trigger));
  strlcpy(request->requested_by, s->requested_by, sizeof(request->requested_by));
  request->queued_at = s->queued_at;
  request->max_rows = s->max_rows;
  *keys = s->keys;
  SpinLockAcquire(&s->mutex);
  s->started_at = GetCurrentTimestamp();
  SpinLockRelease(&s->mutex);
  my_slot = s;
  in_run_worker = true;
  LWLockRelease(ond_state->lock);
  before_shmem_exit(release_slot, 0);
  return true;
}

void ond_slot_set_run(int64 run_id) {
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  my_slot->run_id = run_id;
  LWLockRelease(ond_state->lock);
  ConditionVariableBroadcast(&my_slot->changed);
}

void ond_slot_progress(const OndProgress *p, double requests_per_s) {
  SpinLockAcquire(&my_slot->mutex);
  my_slot->progress = *p;
  my_slot->requests_per_s = requests_per_s;
  SpinLockRelease(&my_slot->mutex);
}

void ond_slot_budget(int budget) {
  SpinLockAcquire(&my_slot->mutex);
  my_slot->budget = budget;
  SpinLockRelease(&my_slot->mutex);
}

int ond_slot_job_begin(int64 destination_id, int64 **runs, int *n_runs) {
  int total = 0;

  *runs = palloc(sizeof(int64) * ond_state->n_slots);
  *n_runs = 0;
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  my_slot->destination_id = destination_id;
  my_slot->jobs++;
  for (int i = 0; i < ond_state->n_slots; i++) {
    const OndSlot *s = &ond_state->slots[i];

    if (!live(s) || s->database != my_slot->database)
      continue;
    (*runs)[(*n_runs)++] = s->run_id;
    if (s->destination_id == destination_id)
      total += s->jobs;
  }
  LWLockRelease(ond_state->lock);
  return total;
}

void ond_slot_job_end(void) {
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  Assert(my_slot->jobs > 0);
  my_slot->jobs--;
  LWLockRelease(ond_state->lock);
}

bool ond_slot_cancelled(void) {
  /* A flag that only goes up: read without the lock. */
  return *(volatile bool *)&my_slot->cancel;
}

void ond_slot_ending(OndEnding ending) {
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  my_slot->ending = ending;
  LWLockRelease(ond_state->lock);
}

void ond_slot_reason(int sqlstate, const char *words) {
  /* Also called on the way to a FATAL exit, by the only writer: readers look after the end, under the lock. */
  if (my_slot != NULL)
    set_reason(my_slot, unpack_sql_state(sqlstate), words);
}

bool ond_in_run_worker(void) {
  return in_run_worker;
}

/* --- the scheduler ------------------------------------------------------------------------------------------------ */

OndSlot *ond_slot_list(Oid database, bool want_live, OndSlotRef **refs, int *n) {
  OndSlot *list = palloc(sizeof(OndSlot) * ond_state->n_slots);

  *refs = palloc(sizeof(OndSlotRef) * ond_state->n_slots);
  *n = 0;
  LWLockAcquire(ond_state->lock, LW_SHARED);
  for (int i = 0; i < ond_state->n_slots; i++) {
    OndSlot *s = &ond_state->slots[i];
    bool wanted = want_live ? live(s) : s->state == OND_SLOT_ENDED;

    if (!wanted || (OidIsValid(database) && s->database != database))
      continue;
    SpinLockAcquire(&s->mutex);
    memcpy(&list[*n], s, sizeof(*s));
    SpinLockRelease(&s->mutex);
    (*refs)[(*n)++] = ref_of(s);
  }
  LWLockRelease(ond_state->lock);
  return list;
}

void ond_slot_recorded(OndSlotRef ref) {
  OndSlot *s;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  s = resolve(ref);
  if (s != NULL && s->state == OND_SLOT_ENDED && !s->waited)
    s->state = OND_SLOT_FREE;
  LWLockRelease(ond_state->lock);
}

/* --- waits in run_sync -------------------------------------------------------------------------------------------- */

void ond_slot_wait_note(OndSlotRef ref) {
  OndWait *mine = NULL;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  for (int i = 0; i < OND_WAITS_MAX; i++) {
    OndWait *w = &ond_state->waits[i];

    if (w->waiter == MyProcPid || (w->waiter == 0 && mine == NULL))
      mine = w;
    if (w->waiter == MyProcPid)
      break;
  }
  /* Without room the others see less of who waits for whom; nothing else depends on it. */
  if (mine != NULL) {
    mine->waiter = ref.index >= 0 ? MyProcPid : 0;
    mine->slot = ref.index;
    mine->generation = ref.generation;
  }
  LWLockRelease(ond_state->lock);
}

pid_t ond_slot_waited_by(pid_t waiter) {
  pid_t pid = 0;

  LWLockAcquire(ond_state->lock, LW_SHARED);
  for (int i = 0; i < OND_WAITS_MAX; i++) {
    const OndWait *w = &ond_state->waits[i];

    if (w->waiter == waiter && ond_state->slots[w->slot].generation == w->generation)
      pid = ond_state->slots[w->slot].pid;
  }
  LWLockRelease(ond_state->lock);
  return pid;
}
