/*
 * budget.c - the budgets of destinations: one set of rate windows, one pause and one count of requests in flight for all processes.
 *
 * Each entry has a lock of its own; ond_state->lock guards which entry belongs to whom (oid, attached). Order: state lock, then the
 * entry's.
 *
 * Invariants
 *   1. An entry is given to another destination only when nobody is attached, nothing is paused and no window holds a request: limits hold
 *      across runs, and across processes that die.
 *   2. What a process has in flight is given back when it exits, when it detaches, and (in a backend) when its transaction ends.
 *   3. A change of limits never forgets what was used: a window that stays keeps its counts, a changed one counts them as used now.
 * Does not: read a clock for the windows (the caller's is monotonic), nor decide how long a pause may be.
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/settings.h"
#include "worker/state.h"

/* How soon to ask again when other runs have all places of a destination's concurrency. */
#define SLOT_WAIT_US 20000
/* A lease is this part of a quota, but not more than so many requests: what a restart wastes at most, and how often it costs a commit. */
#define QUOTA_PARTS     50
#define QUOTA_CHUNK_MAX 1000

typedef struct Budget {
  Oid database; /* InvalidOid: never used */
  int64 destination_id;
  int attached;
  int concurrency; /* 0: unlimited */
  int in_flight;
  int64 pause_until_us;
  TimestampTz last_error_at;
  char last_error[256];
  OndRateSpec spec;
  OndRateWindow windows[OND_RATE_GROUPS_MAX][OND_RATE_WINDOWS_MAX];
  uint32 leased[OND_RATE_GROUPS_MAX][OND_RATE_WINDOWS_MAX]; /* requests that may start without another lease (quota.c) */
  bool loaded;                                              /* the leases of the time before are counted */
} Budget;

struct OndBudget {
  int index;
  int in_flight;
  OndBudget *next;
};

static Budget *budgets = NULL;
static LWLockPadded *budget_locks = NULL;
static OndBudget *handles = NULL; /* of this process */

Size ond_budget_memory(void) {
  return MAXALIGN(mul_size(sizeof(Budget), ond_setting_max_destinations));
}

void ond_budget_startup(LWLockPadded *locks) {
  bool found;

  budgets = ShmemInitStruct("ondatra budgets", ond_budget_memory(), &found);
  budget_locks = locks;
  if (!found)
    memset(budgets, 0, ond_budget_memory());
}

static LWLock *lock_of(int index) {
  return &budget_locks[index].lock;
}

/* --- attaching ---------------------------------------------------------------------------------------------------- */

static bool unused_windows(Budget *b, int64 now_us) {
  for (int g = 0; g < b->spec.n_groups; g++) {
    for (int i = 0; i < b->spec.groups[g].n; i++) {
      OndRateWindow *w = &b->windows[g][i];

      (void)ond_rate_window_left(w, now_us);
      if (w->used > 0)
        return false;
    }
  }
  return true;
}

/* May the entry be given to another destination? */
static bool reusable(int index, int64 now_us) {
  Budget *b = &budgets[index];
  bool result;

  if (b->attached > 0)
    return false;
  LWLockAcquire(lock_of(index), LW_EXCLUSIVE);
  result = b->pause_until_us <= now_us && unused_windows(b, now_us);
  LWLockRelease(lock_of(index));
  return result;
}

/* The entry of the destination; else one never used; else one that holds nothing; else -1. */
static int pick_entry(Oid database, int64 destination_id, int64 now_us, bool *found) {
  int fresh = -1, spare = -1;

  *found = false;
  for (int i = 0; i < ond_setting_max_destinations; i++) {
    Budget *b = &budgets[i];

    if (b->database == database && b->destination_id == destination_id) {
      *found = true;
      return i;
    }
    if (!OidIsValid(b->database) && fresh < 0)
      fresh = i;
  }
  for (int i = 0; i < ond_setting_max_destinations && fresh < 0 && spare < 0; i++) {
    if (reusable(i, now_us))
      spare = i;
  }
  return fresh >= 0 ? fresh : spare;
}

static bool same_limit(OndRateLimit a, OndRateLimit b) {
  return a.requests == b.requests && a.window_us == b.window_us;
}

/*
 * The old window whose use a new limit takes over, -1: none. The same limit; else the shortest window that is at least as long, which
 * counts what the new one has to and perhaps more; else the longest, which knows best.
 */
static int predecessor(const OndRateGroup *old, OndRateLimit limit) {
  int best = -1;

  for (int k = 0; k < old->n; k++) {
    int64 us = old->limits[k].window_us;
    int64 best_us = best < 0 ? 0 : old->limits[best].window_us;

    if (same_limit(old->limits[k], limit))
      return k;
    if (best < 0 || (us >= limit.window_us ? best_us < limit.window_us || us < best_us : us > best_us))
      best = k;
  }
  return best;
}

static void carry_window(const Budget *old, int old_group, OndRateLimit limit, OndRateWindow *out, uint32 *leased, int64 now_us) {
  int k = old_group >= 0 ? predecessor(&old->spec.groups[old_group], limit) : -1;

  *leased = 0;
  if (k < 0) {
    ond_rate_window_init(out, limit);
    return;
  }
  *out = old->windows[old_group][k];
  if (out->limit.window_us == limit.window_us)
    *leased = old->leased[old_group][k];
  if (!same_limit(out->limit, limit))
    ond_rate_window_change(out, limit, now_us);
}

static int find_group(const OndRateSpec *spec, const char *name) {
  for (int g = 0; g < spec->n_groups; g++) {
    if (strncmp(spec->groups[g].name, name, OND_RATE_GROUP_NAME_MAX) == 0)
      return g;
  }
  return -1;
}

static void set_limits(Budget *b, const OndRateSpec *spec, int64 now_us, Budget *scratch) {
  *scratch = *b;
  for (int g = 0; g < spec->n_groups; g++) {
    int old_group = find_group(&scratch->spec, spec->groups[g].name);

    for (int i = 0; i < spec->groups[g].n; i++)
      carry_window(scratch, old_group, spec->groups[g].limits[i], &b->windows[g][i], &b->leased[g][i], now_us);
  }
  b->spec = *spec;
}

static void give_back(OndBudget *handle) {
  Budget *b = &budgets[handle->index];

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  LWLockAcquire(lock_of(handle->index), LW_EXCLUSIVE);
  b->in_flight -= handle->in_flight;
  Assert(b->in_flight >= 0);
  b->attached--;
  LWLockRelease(lock_of(handle->index));
  LWLockRelease(ond_state->lock);
}

static void give_back_all(int code, Datum arg) {
  while (handles != NULL) {
    OndBudget *handle = handles;

    handles = handle->next;
    give_back(handle);
  }
}

static OndBudget *make_handle(void) {
  static bool registered = false;

  if (!registered) {
    before_shmem_exit(give_back_all, 0);
    registered = true;
  }
  return MemoryContextAllocZero(TopMemoryContext, sizeof(OndBudget));
}

OndBudget *ond_budget_attach(Oid database, int64 destination_id, const OndRateSpec *spec, int concurrency) {
  int64 now_us = ond_clock_us();
  OndBudget *handle;
  Budget *scratch;
  Budget *b;
  bool found;

  ond_state_require();
  handle = make_handle();
  scratch = palloc(sizeof(Budget));
  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  handle->index = pick_entry(database, destination_id, now_us, &found);
  if (handle->index < 0) {
    LWLockRelease(ond_state->lock);
    pfree(handle);
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
                    errmsg("all %d destinations that may be in use at once are in use", ond_setting_max_destinations),
                    errhint("Raise ondatra.max_destinations and restart the server.")));
  }
  b = &budgets[handle->index];
  LWLockAcquire(lock_of(handle->index), LW_EXCLUSIVE);
  if (!found) {
    memset(b, 0, sizeof(*b));
    b->database = database;
    b->destination_id = destination_id;
  }
  b->attached++;
  b->concurrency = Max(concurrency, 0);
  set_limits(b, spec, now_us, scratch);
  LWLockRelease(lock_of(handle->index));
  LWLockRelease(ond_state->lock);
  pfree(scratch);
  handle->next = handles;
  handles = handle;
  return handle;
}

void ond_budget_detach(OndBudget *handle) {
  for (OndBudget **p = &handles; *p != NULL; p = &(*p)->next) {
    if (*p == handle) {
      *p = handle->next;
      give_back(handle);
      pfree(handle);
      return;
    }
  }
}

int ond_budget_index(const OndBudget *handle) {
  return handle->index;
}

void ond_budget_at_xact_end(void) {
  if (handles != NULL && !ond_in_run_worker())
    give_back_all(0, (Datum)0);
}

/* --- using -------------------------------------------------------------------------------------------------------- */

static int64 wait_of(Budget *b, int group, int64 now_us) {
  int64 wait_us = Max(b->pause_until_us - now_us, 0);

  for (int i = 0; i < b->spec.groups[group].n; i++)
    wait_us = Max(wait_us, ond_rate_window_wait(&b->windows[group][i], now_us));
  if (wait_us == 0 && b->concurrency > 0 && b->in_flight >= b->concurrency)
    wait_us = SLOT_WAIT_US;
  return wait_us;
}

/* Takes one request of each long window out of its lease. False: there is none left of one. */
static bool take_leased(Budget *b, int group) {
  const OndRateGroup *g = &b->spec.groups[group];

  for (int i = 0; i < g->n; i++) {
    if (g->limits[i].window_us >= OND_QUOTA_WINDOW_US && b->leased[group][i] == 0)
      return false;
  }
  for (int i = 0; i < g->n; i++) {
    if (g->limits[i].window_us >= OND_QUOTA_WINDOW_US)
      b->leased[group][i]--;
  }
  return true;
}

/* Another run may have brought newer limits, without this group. */
static int group_of(const Budget *b, int group) {
  return group >= 0 && group < b->spec.n_groups ? group : 0;
}

int64 ond_budget_take(OndBudget *handle, int group, int64 now_us) {
  Budget *b = &budgets[handle->index];
  int64 wait_us;

  LWLockAcquire(lock_of(handle->index), LW_EXCLUSIVE);
  group = group_of(b, group);
  wait_us = wait_of(b, group, now_us);
  /* A backend cannot commit a lease by itself: what it sends is counted here only. */
  if (wait_us == 0 && !take_leased(b, group) && ond_in_run_worker())
    wait_us = OND_BUDGET_LEASE;
  if (wait_us == 0) {
    for (int i = 0; i < b->spec.groups[group].n; i++)
      ond_rate_window_take(&b->windows[group][i], now_us);
    b->in_flight++;
    handle->in_flight++;
  }
  LWLockRelease(lock_of(handle->index));
  return wait_us;
}

void ond_budget_done(OndBudget *handle) {
  Budget *b = &budgets[handle->index];

  if (handle->in_flight == 0)
    return;
  LWLockAcquire(lock_of(handle->index), LW_EXCLUSIVE);
  handle->in_flight--;
  b->in_flight--;
  LWLockRelease(lock_of(handle->index));
}

void ond_budget_pause(OndBudget *handle, int64 until_us) {
  Budget *b = &budgets[handle->index];

  LWLockAcquire(lock_of(handle->index), LW_EXCLUSIVE);
  b->pause_until_us = Max(b->pause_until_us, until_us);
  LWLockRelease(lock_of(handle->index));
}

void ond_budget_error(OndBudget *handle, const char *words) {
  Budget *b = &budgets[handle->index];

  LWLockAcquire(lock_of(handle->index), LW_EXCLUSIVE);
  strlcpy(b->last_error, words, Min(sizeof(b->last_error), 1 + pg_mbcliplen(words, strlen(words), sizeof(b->last_error) - 1)));
  b->last_error_at = GetCurrentTimestamp();
  LWLockRelease(lock_of(handle->index));
}

/* --- leases (quota.c) ---------------------------------------------------------------------------------------------- */

bool ond_budget_unloaded(OndBudget *handle, OndRateSpec *spec) {
  Budget *b = &budgets[handle->index];
  bool unloaded;

  LWLockAcquire(lock_of(handle->index), LW_SHARED);
  unloaded = !b->loaded;
  *spec = b->spec;
  LWLockRelease(lock_of(handle->index));
  return unloaded;
}

/* Counts what is in use now into the window of the past. */
static void merge_window(OndRateWindow *w, const OndRateWindow *past, int64 now_us) {
  uint32 used = w->used;

  if (!same_limit(w->limit, past->limit))
    return; /* edited meanwhile */
  *w = *past;
  for (uint32 i = 0; i < used; i++)
    ond_rate_window_take(w, now_us);
}

void ond_budget_load(OndBudget *handle, OndRateWindow past[OND_RATE_GROUPS_MAX][OND_RATE_WINDOWS_MAX], int64 now_us) {
  Budget *b = &budgets[handle->index];

  LWLockAcquire(lock_of(handle->index), LW_EXCLUSIVE);
  for (int g = 0; g < b->spec.n_groups && !b->loaded; g++) {
    for (int i = 0; i < b->spec.groups[g].n; i++) {
      if (b->spec.groups[g].limits[i].window_us >= OND_QUOTA_WINDOW_US)
        merge_window(&b->windows[g][i], &past[g][i], now_us);
    }
  }
  b->loaded = true;
  LWLockRelease(lock_of(handle->index));
}

void ond_budget_lease_wanted(OndBudget *handle, int group, OndRateGroup *limits, uint32 *wanted) {
  Budget *b = &budgets[handle->index];

  LWLockAcquire(lock_of(handle->index), LW_SHARED);
  group = group_of(b, group);
  *limits = b->spec.groups[group];
  for (int i = 0; i < limits->n; i++) {
    uint32 chunk = Max(1, Min(limits->limits[i].requests / QUOTA_PARTS, QUOTA_CHUNK_MAX));

    wanted[i] = limits->limits[i].window_us >= OND_QUOTA_WINDOW_US && b->leased[group][i] == 0 ? chunk : 0;
  }
  LWLockRelease(lock_of(handle->index));
}

void ond_budget_leased(OndBudget *handle, int group, const OndRateGroup *limits, const uint32 *leased) {
  Budget *b = &budgets[handle->index];

  LWLockAcquire(lock_of(handle->index), LW_EXCLUSIVE);
  group = group_of(b, group);
  for (int i = 0; i < limits->n && i < b->spec.groups[group].n; i++) {
    if (same_limit(limits->limits[i], b->spec.groups[group].limits[i]))
      b->leased[group][i] += leased[i];
  }
  LWLockRelease(lock_of(handle->index));
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

/* "10s", the way rate limits are written. */
static void window_text(int64 us, char *out, size_t size) {
  static const struct {
    const char *unit;
    int64 us;
  } units[] = {{"d", INT64CONST(86400000000)}, {"h", INT64CONST(3600000000)}, {"m", 60000000}, {"s", 1000000}, {"ms", 1000}};

  for (int i = 0; i < lengthof(units); i++) {
    if (us % units[i].us == 0) {
      if (us == units[i].us)
        snprintf(out, size, "%s", units[i].unit);
      else
        snprintf(out, size, INT64_FORMAT "%s", us / units[i].us, units[i].unit);
      return;
    }
  }
  snprintf(out, size, INT64_FORMAT "us", us);
}

static void append(char *out, size_t size, const char *text) {
  size_t n = strlen(out);

  snprintf(out + n, size - n, "%s%s", n > 0 ? ", " : "", text);
}

static void describe_windows(Budget *b, int64 now_us, OndBudgetView *out) {
  for (int g = 0; g < b->spec.n_groups; g++) {
    for (int i = 0; i < b->spec.groups[g].n; i++) {
      OndRateLimit limit = b->spec.groups[g].limits[i];
      char window[32], text[128];

      window_text(limit.window_us, window, sizeof(window));
      snprintf(text, sizeof(text), "%s%s%u of %u/%s", g > 0 ? b->spec.groups[g].name : "", g > 0 ? " " : "",
               ond_rate_window_left(&b->windows[g][i], now_us), limit.requests, window);
      append(out->left, sizeof(out->left), text);
      snprintf(text, sizeof(text), "%u/%s", limit.requests, window);
      if (g == 0)
        append(out->limits, sizeof(out->limits), text);
    }
  }
}

bool ond_budget_view(int index, OndBudgetView *out) {
  int64 now_us = ond_clock_us();
  Budget *b;

  if (index < 0 || index >= ond_setting_max_destinations)
    return false;
  b = &budgets[index];
  memset(out, 0, sizeof(*out));
  LWLockAcquire(lock_of(index), LW_EXCLUSIVE);
  out->database = b->database;
  out->destination_id = b->destination_id;
  out->paused_for_us = Max(b->pause_until_us - now_us, 0);
  out->in_flight = b->in_flight;
  out->last_error_at = b->last_error_at;
  strlcpy(out->last_error, b->last_error, sizeof(out->last_error));
  describe_windows(b, now_us, out);
  LWLockRelease(lock_of(index));
  return OidIsValid(out->database);
}
