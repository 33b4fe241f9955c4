/*
 * run_call.h - a caller that starts a run worker and waits for it: run_sync and reconcile_sync. See run.c.
 */
#ifndef OND_API_RUN_CALL_H
#define OND_API_RUN_CALL_H

#include "postgres.h"
#include "catalog/sync.h"
#include "worker/state.h"

typedef struct OndRunCall {
  OndSync *sync;
  bool wait;
  TimestampTz deadline;       /* DT_NOEND: none */
  Interval *timeout;
  dsm_segment *share;         /* what the worker gets beside the request: keys of run_sync, or the findings of a reconciliation; NULL: nothing */
  OndRunRequest request;
  OndStarted started;
  bool has_slot;
  int64 run_id;               /* of its own run, once it is known */
  bool said_waiting;
  OndPhase said_phase;
  OndProgress said;
  TimestampTz said_at;
} OndRunCall;

/* Errors on a standby, without the library preloaded, inside of a run, and where runs are switched off. */
extern void ond_run_call_check(const char *function);
/* The sync, in the caller's context, for a run now; raises when it cannot be. */
extern OndSync *ond_run_call_find(const char *name, Oid role);
/* A request for all rows by the present user. call->sync is set. */
extern void ond_run_call_request(OndRunCall *call, const char *trigger);
/*
 * Starts the worker when the sync is free and waits for its end (call->wait): the run's row of the view sync_runs. An error ends the wait; of a run it does not end the run, of a
 * reconciliation it does. The share is still attached afterwards.
 */
extern Datum ond_run_call_wait(OndRunCall *call);

#endif
