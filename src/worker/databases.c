/*
 * databases.c - what is due where: the launcher's agenda, in shared memory.
 *
 * An entry exists while something is due, was woken or is being looked at; idle databases have none.
 *
 *   backends, ends of runs   wake: wakes++
 *   launcher                 next: the entry that waited longest and is not backing off; started
 *   scheduler                claim, look (wakes is read before its snapshot), publish what is due next, exit
 *
 * Invariants
 *   1. A wake that comes while a scheduler looks makes publish fail (the scheduler looks again), one that comes later starts another: none
 *      is lost.
 *   2. A visit that does not publish leaves the entry as due as it was, with a growing delay: no loss, no spin.
 *   3. At most one scheduler has a database.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "worker/state.h"

#define BACKOFF_MAX_MS 60000

static Oid claimed = InvalidOid;

static OndDatabase *find(Oid database) {
  Assert(LWLockHeldByMe(ond_state->lock));
  for (int i = 0; i < OND_DATABASES_MAX; i++) {
    if (ond_state->databases[i].oid == database)
      return &ond_state->databases[i];
  }
  return NULL;
}

static OndDatabase *find_or_make(Oid database, const char *name) {
  OndDatabase *d = find(database);

  if (d == NULL) {
    d = find(InvalidOid);
    if (d == NULL)
      return NULL;
    memset(d, 0, sizeof(*d));
    d->oid = database;
    d->due = DT_NOEND;
  }
  if (name != NULL)
    strlcpy(d->name, name, sizeof(d->name));
  return d;
}

/* Frees an entry that says nothing. */
static void drop_if_idle(OndDatabase *d) {
  if (d->scheduler == 0 && d->wakes == d->seen && TIMESTAMP_IS_NOEND(d->due))
    d->oid = InvalidOid;
}

static OndDatabase *count_wake(Oid database, const char *name) {
  OndDatabase *d = find_or_make(database, name);

  if (d == NULL)
    return NULL;
  if (d->wakes == d->seen)
    d->woken_at = GetCurrentTimestamp();
  d->wakes++;
  return d;
}

void ond_database_wake(Oid database, const char *name) {
  OndDatabase *d;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  d = count_wake(database, name);
  if (d == NULL)
    ond_state->relist = true;
  if (d != NULL && d->scheduler_latch != NULL)
    SetLatch(d->scheduler_latch);
  else if (ond_state->launcher != NULL)
    SetLatch(ond_state->launcher);
  LWLockRelease(ond_state->lock);
}

bool ond_database_note(Oid database, const char *name) {
  OndDatabase *d;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  d = count_wake(database, name);
  if (d != NULL)
    d->listed = true;
  LWLockRelease(ond_state->lock);
  return d != NULL;
}

void ond_databases_relist(void) {
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  ond_state->relist = true;
  if (ond_state->launcher != NULL)
    SetLatch(ond_state->launcher);
  LWLockRelease(ond_state->lock);
}

bool ond_database_take_listed(Oid database) {
  OndDatabase *d;
  bool listed;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  d = find(database);
  listed = d != NULL && d->listed;
  if (d != NULL)
    d->listed = false;
  LWLockRelease(ond_state->lock);
  return listed;
}

static void release_claim(int code, Datum arg) {
  OndDatabase *d;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  d = find(claimed);
  if (OidIsValid(claimed) && d != NULL && d->scheduler == MyProcPid) {
    d->scheduler = 0;
    d->scheduler_latch = NULL;
    drop_if_idle(d);
  }
  if (ond_state->launcher != NULL)
    SetLatch(ond_state->launcher);
  LWLockRelease(ond_state->lock);
}

bool ond_database_claim(Oid database) {
  OndDatabase *d;
  bool ours = false;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  d = find_or_make(database, NULL);
  if (d != NULL && d->scheduler == 0) {
    d->scheduler = MyProcPid;
    d->scheduler_latch = MyLatch;
    claimed = database;
    ours = true;
  }
  LWLockRelease(ond_state->lock);
  if (ours)
    before_shmem_exit(release_claim, 0);
  return ours;
}

uint64 ond_database_wakes(Oid database) {
  OndDatabase *d;
  uint64 wakes;

  LWLockAcquire(ond_state->lock, LW_SHARED);
  d = find(database);
  wakes = d != NULL ? d->wakes : 0;
  LWLockRelease(ond_state->lock);
  return wakes;
}

static TimestampTz back_off(TimestampTz now, int failures) {
  int64 ms = failures < 16 ? INT64CONST(1000) << failures : BACKOFF_MAX_MS;

  return TimestampTzPlusMilliseconds(now, Min(ms, BACKOFF_MAX_MS));
}

bool ond_database_publish(Oid database, uint64 seen, const OndAgenda *agenda) {
  TimestampTz now = GetCurrentTimestamp();
  OndDatabase *d;
  bool last = true;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  d = find(database);
  if (d != NULL) {
    /* started() has counted a failure; a visit that leaves nothing undone takes it back. Of those that do, each waits longer. */
    if (!agenda->starved && !agenda->blocked)
      d->failures = 0;
    d->seen = seen;
    d->due = agenda->blocked ? Min(agenda->due, back_off(now, d->failures)) : agenda->due;
    d->starved = agenda->starved;
    d->capped = agenda->capped;
    d->capped_at = now;
    d->releases_seen = agenda->capped ? agenda->releases : ond_state->releases;
    /* The process that frees a place may not be one of ours, and so go unseen: starving ends by itself, too. */
    d->retry_at = agenda->starved ? back_off(now, d->failures) : 0;
    last = d->wakes == seen || agenda->starved;
    if (d->wakes != seen)
      d->woken_at = now;
  }
  LWLockRelease(ond_state->lock);
  return last;
}

bool ond_database_cron_look(Oid database, int64 every_us, TimestampTz *next) {
  TimestampTz now = GetCurrentTimestamp();
  OndDatabase *d;
  bool look = false;

  *next = now + every_us;
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  d = find(database);
  if (d != NULL) {
    look = d->cron_looked_at + every_us <= now || d->cron_looked_at > now;
    if (look)
      d->cron_looked_at = now;
    *next = d->cron_looked_at + every_us;
  }
  LWLockRelease(ond_state->lock);
  return look;
}

static bool slots_left(void) {
  int live = 0;

  for (int i = 0; i < ond_state->n_slots; i++)
    live += ond_state->slots[i].state == OND_SLOT_STARTING || ond_state->slots[i].state == OND_SLOT_RUNNING;
  return live < ond_state->n_slots - OND_ENDED_MAX;
}

/* Since when the database waits for a scheduler; DT_NOEND: it does not. */
static TimestampTz waits_since(const OndDatabase *d) {
  TimestampTz since = d->due;

  if (d->wakes != d->seen && d->woken_at < since)
    since = d->woken_at;
  if (d->capped && d->releases_seen != ond_state->releases && d->capped_at < since)
    since = d->capped_at;
  return since;
}

/* When a scheduler may be started for it. */
static TimestampTz startable_at(const OndDatabase *d, bool room) {
  TimestampTz at = waits_since(d);

  if (d->starved && room && d->releases_seen != ond_state->releases)
    return at;
  return Max(at, d->retry_at);
}

bool ond_database_next(TimestampTz now, const Oid *busy, int n_busy, OndDatabase *out, TimestampTz *look_at) {
  const OndDatabase *best = NULL;
  bool room;

  *look_at = DT_NOEND;
  LWLockAcquire(ond_state->lock, LW_SHARED);
  room = slots_left();
  for (int i = 0; i < OND_DATABASES_MAX; i++) {
    const OndDatabase *d = &ond_state->databases[i];
    TimestampTz at;
    bool taken = d->scheduler != 0;

    for (int k = 0; k < n_busy; k++)
      taken = taken || busy[k] == d->oid;
    if (!OidIsValid(d->oid) || taken)
      continue; /* its end sets the launcher's latch */
    at = startable_at(d, room);
    if (at > now)
      *look_at = Min(*look_at, at);
    else if (best == NULL || waits_since(d) < waits_since(best))
      best = d;
  }
  if (best != NULL)
    *out = *best;
  LWLockRelease(ond_state->lock);
  return best != NULL;
}

void ond_database_started(Oid database, TimestampTz now) {
  OndDatabase *d;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  d = find(database);
  if (d != NULL) {
    /* publish takes it back */
    d->retry_at = back_off(now, d->failures);
    d->failures++;
    d->releases_seen = ond_state->releases;
  }
  LWLockRelease(ond_state->lock);
}

void ond_database_forget(Oid database) {
  OndDatabase *d;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  d = find(database);
  if (d != NULL) /* a scheduler that has claimed it has not connected: nobody can be, and nobody will */
    d->oid = InvalidOid;
  LWLockRelease(ond_state->lock);
}

static bool listed(const Oid *oids, int n, Oid oid) {
  for (int i = 0; i < n; i++) {
    if (oids[i] == oid)
      return true;
  }
  return false;
}

void ond_database_keep_only(const Oid *oids, int n) {
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  for (int i = 0; i < OND_DATABASES_MAX; i++) {
    OndDatabase *d = &ond_state->databases[i];

    if (OidIsValid(d->oid) && d->scheduler == 0 && !listed(oids, n, d->oid))
      d->oid = InvalidOid;
  }
  for (int i = 0; i < ond_state->n_slots; i++) {
    OndSlot *s = &ond_state->slots[i];

    if (s->state == OND_SLOT_ENDED && !s->waited && !listed(oids, n, s->database))
      s->state = OND_SLOT_FREE;
  }
  LWLockRelease(ond_state->lock);
}
