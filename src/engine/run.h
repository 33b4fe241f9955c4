/*
 * run.h - one run of a sync, from request to final row: the outermost step of a row's way. Called by the run worker.
 *
 * The engine knows nothing of processes and shared memory: what it needs of them is the host's (OndRunHost), which worker/run_worker.c fills in.
 */
#ifndef OND_ENGINE_RUN_H
#define OND_ENGINE_RUN_H

#include "postgres.h"
#include "core/rate.h"
#include "datatype/timestamp.h"

/* sync_runs.trigger of a reconciliation: its slot and its row are told from those of runs by that. */
#define OND_TRIGGER_RECONCILE "reconcile"

/* What a reconciliation mends. */
#define OND_REPAIR_ADOPT     1
#define OND_REPAIR_MISSING   2
#define OND_REPAIR_DIFFERENT 4
#define OND_REPAIR_EXTRA     8

/* What a reconciliation found. */
typedef struct OndReconcileCounts {
  int64 records;              /* of the destination */
  int64 rows;                 /* of the model and the state table */
  int64 equal, missing, extra, different, duplicate;
  int64 adopted;              /* of the equal ones: whose state was written */
  int64 marked;               /* of the others: what a run will send */
} OndReconcileCounts;

/* What a run was asked to do. */
typedef struct OndRunRequest {
  Oid database;
  Oid owner;                  /* the session user of the run worker */
  int64 sync_id;
  char trigger[16];           /* sync_runs.trigger */
  char requested_by[NAMEDATALEN];
  TimestampTz queued_at;
  int64 max_rows;             /* -1: all */
  char *keys;                 /* JSON text of run_sync's keys, or NULL */
  bool reconcile;             /* no run but a reconciliation (reconcile.h), trigger "reconcile" */
  int repair;                 /* of it: OND_REPAIR_* */
} OndRunRequest;

typedef enum OndPhase { OND_PHASE_STARTING, OND_PHASE_READING, OND_PHASE_SENDING, OND_PHASE_FINISHING } OndPhase;

/* What run_progress and run_sync's notices show. Single writer. */
typedef struct OndProgress {
  OndPhase phase;
  int64 rows_scanned, to_create, to_update, to_delete, invalid;  /* of the diff */
  int64 sent, failed;                                            /* rows resolved */
  int64 requests;
  int64 in_flight;
  int64 throttled_until;      /* unix microseconds, 0: not */
} OndProgress;

typedef struct OndRunHost {
  /* Publishes the run's id before its row is committed, so that a reaper that sees the row sees the slot too. */
  void (*set_run)(int64 run_id);
  /* The scheduler looks at this database when the current transaction commits. */
  void (*wake_at_commit)(void);
  void (*progress)(const OndProgress *p);
  /* cancel_run or drop_sync asked this run to stop. */
  bool (*cancelled)(void);
  /* Likewise, in a signal handler. */
  bool (*stop_asked)(void);
  /* Budget of the destination (worker/shared.h): attach raises when there is no room. */
  void (*budget_attach)(int64 destination_id, const OndRateSpec *spec, int concurrency);
  int64 (*budget_take)(int group, int64 now_us);
  void (*budget_done)(void);
  void (*budget_pause)(int64 until_us);
  void (*budget_error)(const char *words);
  /* One more asynchronous job of the destination: false when that makes more than `most` (0: any number) over all its syncs. Outside of a transaction; may raise. */
  bool (*job_begin)(int most);
  void (*job_end)(void);
  /*
   * Of a reconciliation, inside a transaction: what it found, as JSON texts in UTF-8 (key: an object, or null where it is not known), and when that is all.
   * The counts may change till then.
   */
  void (*finding)(const char *key, const char *problem, const char *detail);
  void (*found_all)(const OndReconcileCounts *counts);
} OndRunHost;

/*
 * Executes the run: takes the run lock, writes the run's row, diffs, delivers, finishes. Errors of the run end up in its row; what escapes as an
 * ERROR is a failure to record anything at all (the scheduler records it then). Returns the run's id, 0 when another run or an edit had the lock.
 * The process is a background worker connected to the sync's database as the sync's owner, outside of a transaction.
 */
extern int64 ond_run_execute(const OndRunRequest *request, const OndRunHost *host);

/* Monotonic microseconds, the clock of budgets and back-off. */
extern int64 ond_clock_us(void);

#endif
