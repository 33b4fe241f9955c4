/*
 * record.h - what becomes durable: acks, failed rows, windows and counters in one transaction. Last step of a row's way.
 */
#ifndef OND_ENGINE_RECORD_H
#define OND_ENGINE_RECORD_H

#include "postgres.h"
#include "catalog/sync.h"
#include "engine/change_row.h"
#include "engine/diff.h"
#include "engine/job.h"

/* A row of all_failed_rows to write. Texts are UTF-8. */
typedef struct OndFailure {
  OndBytes key_json;
  OndOp op;
  OndOutcome outcome;
  int http_status;            /* 0: none */
  const char *message;
  OndBytes payload;           /* cut on the way */
  int attempts;               /* 0: found by the diff, not sent */
  int64 next_attempt_at;
} OndFailure;

/* Inside "ours". Keys are distinct. log: what is new or sent again gets a line in ondatra.sync_log, too. */
extern void ond_failed_rows_upsert(int64 sync_id, int64 run_id, int n, const OndFailure *failures, bool log);
extern void ond_failed_rows_delete(int64 sync_id, int n, const OndBytes *key_jsons);
/*
 * The diff's invalid rows: records them, and closes those of earlier runs that are not invalid any more. A cursor pass reads invalid keys again (statement.c), but for
 * keys with NULL; a pass over given keys closes none.
 */
extern void ond_failed_rows_invalid(const OndSync *sync, int64 run_id, const OndDiff *diff, OndPass pass);

/* The counters of sync_runs. */
typedef struct OndCounters {
  int64 scanned, unchanged, created, updated, deleted, failed, invalid, held_back, skipped, pending, unconfirmed;
  int64 deletes_failed, deletes_pending;
  int64 requests, retries, throttled_ms, bytes_sent, bytes_received, diff_ms, deliver_ms;
  int64 state_added;          /* rows of the state table: new ones less removed ones; not in all_runs */
} OndCounters;

typedef struct OndRecorder OndRecorder;

/* In the current memory context, for one run of a sync. hold_unknown: on_unknown = hold for the operation at hand is decided per row by `hold`. */
extern OndRecorder *ond_recorder_create(const OndSync *sync, int64 run_id, int n_keys, const char *const *key_types, bool hold_create, bool hold_update,
                                        bool hold_delete, int64 in_doubt_wait_us);
extern OndCounters *ond_recorder_counters(OndRecorder *r);
/*
 * One chunk, in a transaction of its own: outcomes of `resolved` (and frees their rows), the new window, counters. When the whole cannot commit, each
 * row is tried alone. False: something could not be recorded and nothing more may be sent; *error is filled then (in the recorder's context).
 */
extern bool ond_recorder_commit(OndRecorder *r, OndTask **resolved, int n_resolved, OndTask **window, int n_window, int window_no, ErrorData **error);
/*
 * Makes durable what a job has reached, in a transaction of its own: its row with its n tasks in their order, or, where it has ended, that there is none. False: it could not be
 * done (logged); then a crash leaves its rows in doubt as it does any others.
 */
extern bool ond_recorder_job(OndRecorder *r, OndJob *job, int n, OndTask **tasks);
/* Inside "ours": writes the settle rows of a store and closes their failed rows. */
extern void ond_record_settle(const OndSync *sync, int n_keys, const char *const *key_types, OndStore *store);
/* Inside "ours": the counters into the run's row. */
extern void ond_run_write_counters(int64 run_id, const OndCounters *c);

#endif
