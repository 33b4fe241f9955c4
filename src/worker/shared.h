/*
 * shared.h - shared memory: what the processes know of each other. Nothing here must survive a crash; what must is in tables.
 *
 *   launcher      one; latch, and per database the next due time
 *   run slots     one for each run that is starting or going on: who, progress, cancel flag; freed when the process exits
 *   budgets       one for each destination in use: rate windows, pause, requests in flight
 */
#ifndef OND_WORKER_SHARED_H
#define OND_WORKER_SHARED_H

#include "postgres.h"
#include "postmaster/bgworker.h"
#include "engine/run.h"

/* --- budgets: one set of windows per destination for all workers and syncs ---------------------------------- */
typedef struct OndBudget OndBudget; /* process-local handle; released when the process exits */
/*
 * Attaches to (or makes) the budget of a destination; brings its limits up to date. Error 53000 with the setting to raise when
 * ondatra.max_destinations are in use.
 */
extern OndBudget *ond_budget_attach(Oid database, int64 destination_id, const OndRateSpec *spec, int concurrency);
extern void ond_budget_detach(OndBudget *b);
/*
 * Asks to start one request of a rate group now: 0 = granted (counted in the windows and in flight), else microseconds to wait at least
 * (rate, pause of the destination, or all slots of `concurrency` taken by other runs: then a short time). now_us: monotonic.
 */
extern int64 ond_budget_take(OndBudget *b, int group, int64 now_us);
extern void ond_budget_done(OndBudget *b); /* a granted request has ended */
/*
 * A 429 or RateLimit headers: nobody sends to this destination before until_us (monotonic); the later of two wins, ceilings are the
 * caller's.
 */
extern void ond_budget_pause(OndBudget *b, int64 until_us);
extern void ond_budget_error(OndBudget *b, const char *words); /* destination_status.last_error */

/* --- waking, from backends ----------------------------------------------------------------------------------- */
/* At commit of the current transaction: tell the launcher that something is due in this database. Safe to call many times. */
extern void ond_wake_at_commit(void);
/*
 * Asks a running run to stop. False when no process has it. While the run reads its model its query is cancelled too (57014 in the worker,
 * with host->cancelled() true); while it sends it sees host->cancelled() only, so that the answers that are in are still recorded.
 */
extern bool ond_cancel_run(Oid database, int64 run_id);
/* Ends the process that runs this sync, as pg_terminate_backend() would. False when there is none. */
extern bool ond_terminate_run(Oid database, int64 sync_id);
/* The pid of the process that has this run / a run of this sync; 0: none. */
extern int ond_run_pid(Oid database, int64 run_id);
extern int ond_sync_pid(Oid database, int64 sync_id, int64 *run_id);

/* True in a run worker: what a model or a finalize function calls there must not start or change syncs. */
extern bool ond_in_run_worker(void);

/*
 * A background worker of ours that is not started again; pg_stat_activity shows kind ("ondatra run") as backend_type. of: what it is there for, in its
 * name, or NULL. The registering process is told of its start and end.
 */
extern void ond_worker_describe(BackgroundWorker *worker, const char *function, const char *kind, const char *of, Datum arg);

#endif
