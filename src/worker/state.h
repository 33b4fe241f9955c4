/*
 * state.h - the shared memory itself: for the processes of this room and for run_sync, which starts and watches a run. Others read
 * shared.h.
 *
 * Words
 *   wake      something may be due in a database; counted, so that one that comes while a scheduler looks is never lost
 *   slot      one run, from the claim to the moment when everybody who must know of its end knows
 *   starter   who claimed the slot: the scheduler, or a backend in run_sync
 *
 * One lock (ond_state_lock) guards databases, slots and waits; each slot's progress has a spinlock, each budget a lock of its own
 * (budget.c).
 * A slot's life (slot.c):
 *
 *   FREE -> STARTING   claim: the starter registers a worker
 *   STARTING -> RUNNING  attach: the worker's first step, before it connects
 *   STARTING -> FREE   abandon: no worker could be registered
 *   STARTING, RUNNING -> ENDED  the process has gone (or never came)
 *   ENDED -> FREE      the starter has seen the end, and a run that died has been recorded (by the scheduler, or told to the starter)
 */
#ifndef OND_WORKER_STATE_H
#define OND_WORKER_STATE_H

#include "postgres.h"
#include "engine/run.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "worker/shared.h"

#define OND_DATABASES_MAX 1024 /* databases with something due */
#define OND_ENDED_MAX     32   /* ended runs that wait to be recorded, beside the running ones */
#define OND_WAITS_MAX     128  /* backends that wait in run_sync, for the search of deadlocks */
#define OND_REASON_MAX    512

typedef struct OndDatabase {
  Oid oid; /* InvalidOid: unused */
  char name[NAMEDATALEN];
  uint64 wakes;         /* counts wakes ... */
  uint64 seen;          /* ... and those that a scheduler has answered */
  TimestampTz woken_at; /* the first wake that is not answered */
  TimestampTz due;      /* DT_NOEND: nothing */
  bool starved;         /* due, and no slot or worker was free */
  bool capped;          /* due, and its role has as many runs as it may */
  TimestampTz capped_at;
  uint64 releases_seen; /* slots released when it starved, or before it was capped */
  pid_t scheduler;      /* 0: none */
  Latch *scheduler_latch;
  bool listed;  /* by the launcher since the last look: also for what roles owned that were dropped */
  int failures; /* visits in a row that brought nothing: back-off */
  TimestampTz retry_at;
  TimestampTz cron_looked_at; /* 0: not yet */
} OndDatabase;

typedef enum OndSlotState { OND_SLOT_FREE, OND_SLOT_STARTING, OND_SLOT_RUNNING, OND_SLOT_ENDED } OndSlotState;

/* DONE: its row says how. BUSY: another process had the run lock. DIED: the process went without writing the end. */
typedef enum OndEnding { OND_ENDING_NONE, OND_ENDING_DONE, OND_ENDING_BUSY, OND_ENDING_DIED } OndEnding;

typedef struct OndSlot {
  OndSlotState state;
  OndEnding ending;
  uint32 generation; /* counts claims */
  bool waited;       /* the starter wants to see the end */
  bool cancel;
  bool orphan; /* DROP EXTENSION took its rows along: nothing of it is recorded, also when the extension is there anew */
  pid_t pid;   /* 0 until attached */
  Latch *latch;
  Oid database;
  Oid owner;
  int64 sync_id;
  char trigger[16];
  char requested_by[NAMEDATALEN];
  TimestampTz queued_at;
  int64 max_rows;
  dsm_handle keys; /* DSM_HANDLE_INVALID: none */
  int64 run_id;    /* 0 until set */
  TimestampTz claimed_at;
  TimestampTz ended_at;
  int64 destination_id; /* of its jobs */
  int jobs;             /* asynchronous jobs that it has open there (places.c) */
  char error_code[6]; /* of a run that died */
  char error_message[OND_REASON_MAX];
  ConditionVariable changed;
  slock_t mutex; /* guards what follows */
  OndProgress progress;
  double requests_per_s;
  TimestampTz started_at;
  int budget; /* index, -1: none */
} OndSlot;

typedef struct OndWait {
  pid_t waiter; /* 0: unused */
  int slot;
  uint32 generation;
} OndWait;

typedef struct OndState {
  LWLock *lock;
  TimestampTz began_at;              /* to run syncs: start, crash restart or promotion of the server */
  bool launched;                     /* a launcher was there since began_at */
  Latch *launcher;                   /* NULL: not running */
  bool relist;                       /* a wake found no room: list the databases again */
  TimestampTz starving_logged_at[3]; /* last said that there is no slot, no process, that a role has all that it may */
  TimestampTz disarmed_logged_at;    /* last said that this database is not armed */
  Oid disarmed_logged;
  uint64 releases;                   /* counts slots that were released */
  int n_slots;
  OndDatabase databases[OND_DATABASES_MAX];
  OndWait waits[OND_WAITS_MAX];
  OndSlot slots[FLEXIBLE_ARRAY_MEMBER];
} OndState;

/* NULL when the library is not preloaded. */
extern OndState *ond_state;

/* _PG_init: asks for memory and locks; then makes or attaches to them. */
extern void ond_state_request(void);
extern void ond_state_startup(void);
/* budget.c's part of both. */
extern Size ond_budget_memory(void);
extern void ond_budget_startup(LWLockPadded *locks);

/* Error 55000 with the hint to preload the library. */
extern void ond_state_require(void);

/* --- databases (databases.c) ------------------------------------------------------------------------------------- */
/* Something may be due: counts a wake and tells the database's scheduler, or the launcher. name may be NULL. */
extern void ond_database_wake(Oid database, const char *name);
/* Likewise, without telling anybody (the launcher's own). False: no room. */
extern bool ond_database_note(Oid database, const char *name);
/* Every database is to be listed and looked at. */
extern void ond_databases_relist(void);
/* Whether the launcher has listed it since this was last asked. */
extern bool ond_database_take_listed(Oid database);
/* A scheduler takes the database; false when another has it. Released when the process exits. */
extern bool ond_database_claim(Oid database);
extern uint64 ond_database_wakes(Oid database);

typedef struct OndAgenda {
  TimestampTz due; /* DT_NOEND: nothing by itself */
  bool blocked;    /* an edit holds up something: look again, after growing delays or at a wake */
  bool starved;    /* it is due, but there was no room: when a slot is released, or after growing delays */
  bool capped;     /* it is due, but its role has as many runs as it may: when a slot is released; wakes are answered meanwhile */
  uint64 releases; /* of slots, before the look */
} OndAgenda;

/* Slots released so far: an agenda begins with it. */
extern uint64 ond_slot_releases(void);
/* A scheduler's last word: what is due next. False when a wake came after `seen`: it must look again. */
extern bool ond_database_publish(Oid database, uint64 seen, const OndAgenda *agenda);

/* True when the last look at the database's cron jobs is so long ago, and notes that there is one now. *next: when another one is due. */
extern bool ond_database_cron_look(Oid database, int64 every_us, TimestampTz *next);

/* The launcher's view: the due database that waited longest, and else (false) when to look again (DT_NOEND: at a wake). */
extern bool ond_database_next(TimestampTz now, const Oid *busy, int n_busy, OndDatabase *out, TimestampTz *look_at);
/* A scheduler of it is being started: back off if it brings nothing. */
extern void ond_database_started(Oid database, TimestampTz now);
/* The database was dropped; also while a scheduler of it starts. */
extern void ond_database_forget(Oid database);
/* Forgets databases that are not in the list, and their ended slots. */
extern void ond_database_keep_only(const Oid *oids, int n);

/* --- slots (slot.c) ---------------------------------------------------------------------------------------------- */
typedef struct OndSlotRef {
  int index;
  uint32 generation;
} OndSlotRef;

typedef enum OndClaim { OND_CLAIM_OK, OND_CLAIM_RUNNING, OND_CLAIM_FULL, OND_CLAIM_ROLE_FULL } OndClaim;

/* Takes a slot for a run; RUNNING: a run of this sync has one, ref says which; ROLE_FULL: its owner has as many as it may. request->keys is not looked at, `keys` is. */
extern OndClaim ond_slot_claim(const OndRunRequest *request, dsm_handle keys, bool waited, OndSlotRef *ref);
/* No worker could be registered. */
extern void ond_slot_abandon(OndSlotRef ref);
/* A worker was registered and never came (its handle says stopped): ends the slot. */
extern void ond_slot_never_came(OndSlotRef ref);
/* A copy of the slot as it is; false when it belongs to another run by now. */
extern bool ond_slot_look(OndSlotRef ref, OndSlot *out);
/* The starter waits no longer. told: it has reported a death itself, nobody else needs to. */
extern void ond_slot_leave(OndSlotRef ref, bool told);
/*
 * Sleeps until the slot changes or timeout_ms passed; may return early. Interrupts are served. For loops that look and sleep; they end with
 * ConditionVariableCancelSleep().
 */
extern void ond_slot_sleep(OndSlotRef ref, long timeout_ms);
/* Asks the run to stop; interrupt: also when it waits for a lock or runs a query. */
extern void ond_slot_stop(OndSlotRef ref, bool interrupt);
/* Everything running in all databases stops. */
extern void ond_slot_stop_all(void);
/* Everything running in a database stops, and what has ended there is not recorded any more (DROP EXTENSION). */
extern void ond_slot_disown_all(Oid database);

/* The worker's side. attach fills the request (keys: as handle) and registers what frees the slot when the process exits. */
extern bool ond_slot_attach(OndSlotRef ref, OndRunRequest *request, dsm_handle *keys);
extern void ond_slot_set_run(int64 run_id);
extern void ond_slot_progress(const OndProgress *p, double requests_per_s);
extern void ond_slot_budget(int budget);
extern bool ond_slot_cancelled(void);
extern void ond_slot_ending(OndEnding ending);
/*
 * Counts one more open job of this run and returns how many all live runs of the destination have now. *runs: the ids of live runs of this database, palloc'd.
 * They go with the slot, in one step.
 */
extern int ond_slot_job_begin(int64 destination_id, int64 **runs, int *n_runs);
extern void ond_slot_job_end(void);
/* The reason of a death: the first one counts. */
extern void ond_slot_reason(int sqlstate, const char *words);

/* The scheduler's side. Copies (palloc) of the slots of a database (InvalidOid: of all) that are live, or that ended and wait for it or (waited) for their starter. */
extern OndSlot *ond_slot_list(Oid database, bool live, OndSlotRef **refs, int *n);
extern void ond_slot_recorded(OndSlotRef ref);

/*
 * For the search of deadlocks: this backend waits for the run in ref (index -1: no longer); the process that a waiting backend waits for,
 * 0: none.
 */
extern void ond_slot_wait_note(OndSlotRef ref);
extern pid_t ond_slot_waited_by(pid_t waiter);

/* --- budgets (budget.c) ------------------------------------------------------------------------------------------ */
typedef struct OndBudgetView {
  Oid database;
  int64 destination_id;
  char left[512];      /* "73 of 100/10s, ..." ; empty: unlimited */
  char limits[256];    /* "100/10s, 250000/1d" */
  int64 paused_for_us; /* 0: not */
  int in_flight;
  TimestampTz last_error_at; /* 0: none */
  char last_error[256];
} OndBudgetView;

/* Windows at least this long survive a restart: what a run may start in them is leased from ondatra.quota_leases first. */
#define OND_QUOTA_WINDOW_US INT64CONST(3600000000)
/* ond_budget_take, in a run worker: ond_quota_lease() first, then ask again. */
#define OND_BUDGET_LEASE INT64CONST(-1)

/* For quota.c. True while leases of the time before are not counted; the limits as they are. */
extern bool ond_budget_unloaded(OndBudget *b, OndRateSpec *spec);
/* Counts them: windows filled with what was leased. The first caller wins. */
extern void ond_budget_load(OndBudget *b, OndRateWindow past[OND_RATE_GROUPS_MAX][OND_RATE_WINDOWS_MAX], int64 now_us);
/* How much to lease of each window of a group (0: nothing), and that it has been committed. */
extern void ond_budget_lease_wanted(OndBudget *b, int group, OndRateGroup *limits, uint32 *wanted);
extern void ond_budget_leased(OndBudget *b, int group, const OndRateGroup *limits, const uint32 *leased);

/* --- quotas (quota.c): run workers only, outside of a transaction ---------------------------------------------------- */
/* After attaching: counts what was leased before the server was started. */
extern void ond_quota_load(OndBudget *b, int64 destination_id);
/* Leases the next part for a group. Raises when it cannot be committed: then nothing may be sent. */
extern void ond_quota_lease(OndBudget *b, int64 destination_id, int group);

/* --- places of asynchronous jobs (places.c): run workers only, outside of a transaction -------------------------------- */
/* One more open job of this run at the destination, unless that makes more than `most` (0: any number); ond_slot_job_end() gives it back. */
extern bool ond_place_take(int64 destination_id, int most);

/* False when the entry is not in use. */
extern bool ond_budget_view(int index, OndBudgetView *out);
extern int ond_budget_index(const OndBudget *b);
/* End of a transaction in a backend: its handles are given back. Run workers keep theirs. */
extern void ond_budget_at_xact_end(void);

/* --- starting runs (start.c) --------------------------------------------------------------------------------------- */
typedef struct OndStarted {
  OndSlotRef ref;
  BackgroundWorkerHandle *handle;
} OndStarted;

typedef enum OndStart { OND_START_OK, OND_START_RUNNING, OND_START_NO_SLOT, OND_START_ROLE_FULL, OND_START_NO_PROCESS } OndStart;

/* Claims a slot and registers a worker for it; the handle is palloc'd. RUNNING: out->ref is the other run's slot. */
extern OndStart ond_start_run(const OndRunRequest *request, const char *sync_name, dsm_handle keys, bool waited, OndStarted *out);
/* True when the process of a started worker has gone, or never came: then its slot has ended. */
extern bool ond_start_gone(const OndStarted *started);

/* Logs that due syncs wait (NO_SLOT, ROLE_FULL, NO_PROCESS) and which setting to raise: one line, and again only after minutes. */
extern void ond_start_log(OndStart why);
/* Likewise that a database, by name, is not armed, and why. */
extern void ond_start_log_disarmed(const char *database, const char *why);

/* Why a run worker of this role could not do its work here. */
typedef struct OndObstacle {
  int sqlstate;
  bool fatal; /* waiting does not help */
  char *message;
  char *way_out;
} OndObstacle;

/* False: none. Needs a transaction; texts are palloc'd. */
extern bool ond_start_obstacle(Oid owner, OndObstacle *out);

/* The bodies of the processes. */
extern PGDLLEXPORT void ond_launcher_main(Datum arg);
extern PGDLLEXPORT void ond_scheduler_main(Datum arg);
extern PGDLLEXPORT void ond_run_worker_main(Datum arg);

#endif
