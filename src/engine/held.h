/*
 * held.h - runs that a guard held: what they would have sent is remembered, so that an approval sends exactly that and nothing else.
 *
 * A change is remembered as 8 bytes: a hash of key, operation and version. Whoever approves approves these; a row that has changed since has another
 * digest and is left to the next run.
 */
#ifndef OND_ENGINE_HELD_H
#define OND_ENGINE_HELD_H

#include "postgres.h"
#include "catalog/sync.h"
#include "engine/change_row.h"
#include "engine/guard.h"

/* What an approval covers. */
typedef struct OndApproval {
  int64 n;
  uint64 *digests;            /* sorted */
  bool creates, updates, deletes;
} OndApproval;

/*
 * Inside "ours": the run's row becomes `held`, with the guard's words, counts and samples, and the digests of the store's changes are kept. Edits of the sync or
 * its destination end held runs (ond_held_runs_end).
 */
extern void ond_hold_run(const OndSync *sync, int64 run_id, const OndGuard *guard, OndStore *store);

/* Inside "ours": the sync's held run, 0: none; *approved: somebody has said yes. */
extern int64 ond_held_run(int64 sync_id, bool *approved);

/* Inside "ours": what was approved for the run, in the current memory context; the digests are forgotten. */
extern OndApproval *ond_approval_take(int64 run_id);

extern bool ond_approval_covers(const OndApproval *a, const OndSync *sync, const OndChangeRow *row);

#endif
