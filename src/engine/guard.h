/*
 * guard.h - accidents that a run must not pass on: what it would change is held against the sync's limits before anything is sent.
 *
 *   empty          the model has no rows at all, though rows were delivered            (on_empty)
 *   state          the state table has far fewer rows than after the last run
 *   checks         a condition of the user's does not hold, for a row or for the whole model   (checks, on_fail: hold)
 *   deletes        more deletes than max_deletes allows, counted over 24 hours
 *   config_change  model or mapping were edited, and more than a tenth of the rows would go again   (on_config_change)
 *   changes        more creates and updates than max_changes allows
 *
 * A run of given keys is somebody's explicit wish: no guard. What a guard held is in held.h.
 */
#ifndef OND_ENGINE_GUARD_H
#define OND_ENGINE_GUARD_H

#include "postgres.h"
#include "catalog/sync.h"
#include "engine/diff.h"
#include "engine/spec.h"

typedef struct OndGuard {
  const char *name;           /* of the list above */
  char *message;              /* "the run would delete 312 of 5,000 delivered rows (max_deletes: 10 %, at least 20)" */
} OndGuard;

typedef struct OndGuardInput {
  const OndSync *sync;
  const OndDiff *diff;
  OndPass pass;
  int64 max_rows;             /* of run_sync; -1: all */
  int64 deleted_lately;       /* ond_guard_deleted_lately() */
  const char *definition;     /* ond_guard_definition() */
} OndGuardInput;

/* True: a guard trips, *guard says which (in the current memory context). */
extern bool ond_guard_trips(const OndGuardInput *input, OndGuard *guard);

/* Rows that runs of the sync deleted in the last 24 hours; approved ones do not count. Inside "ours". */
extern int64 ond_guard_deleted_lately(int64 sync_id);

/* Writes into the run's row what the checks found: {"name": rows for which it does not hold, …}. Inside "ours". */
extern void ond_guard_note_checks(const OndSync *sync, int64 run_id, const OndDiff *diff);

/* The definition of the model where it is a view, else NULL. In the owner's scope. */
extern char *ond_guard_definition(const OndModel *model);

/* "the mapping", "the model and the mapping" …: what is not as the last complete run had it; NULL: nothing, or there was no such run. */
extern const char *ond_guard_config_change(const OndSync *sync, const char *definition);

#endif
