/*
 * queue.h - the scheduler's SQL: what is due, what was left behind, what could not start. All inside "ours" (session.h); results are
 * allocated in the context given.
 */
#ifndef OND_WORKER_QUEUE_H
#define OND_WORKER_QUEUE_H

#include "postgres.h"
#include "datatype/timestamp.h"

/* A sync that is to run. */
typedef struct OndDue {
  int64 sync_id;
  char *name;
  Oid owner;
  char trigger[16];
  char requested_by[NAMEDATALEN];
  TimestampTz queued_at;
  TimestampTz not_before; /* after runs that did not get through: growing delays */
} OndDue;

/* A run whose row says that it goes on. */
typedef struct OndOpenRun {
  int64 run_id;
  int64 sync_id;
  TimestampTz started_at;
} OndOpenRun;

/*
 * Syncs with a due time up to `now` or with requests, without those that run already, and without those of the owners not_of; those that waited longest first, at most
 * OND_QUEUE_MAX.
 */
#define OND_QUEUE_MAX 100
extern OndDue *ond_queue_due(TimestampTz now, const int64 *running, int n_running, const Oid *not_of, int n_not_of, MemoryContext context, int *n);
/* The first due time after `now`; DT_NOEND: none. */
extern TimestampTz ond_queue_next_due(TimestampTz now);
/*
 * Deletes requests of syncs that do not run any more: archived, dropped (those of one that is paused or in error wait for resume_sync); and leases of
 * destinations that were dropped. Does not wait for who is deleting them already.
 */
extern void ond_queue_drop_leftovers(void);

/* Leaves one request of each sync: in a database that is not armed nobody answers them. */
extern void ond_queue_thin_out(void);

extern OndOpenRun *ond_queue_open_runs(MemoryContext context, int *n);
/*
 * Ends the row of a run whose process has gone, and asks for another run that resumes its work, unless it was cancelled. False: it had
 * ended.
 */
extern bool ond_queue_end_run(int64 run_id, bool cancelled, const char *code, const char *message);
/*
 * A run that never got as far as writing its row: writes it, as failed, and counts it. run_id 0: takes a number. Returns the number, 0 when
 * there is such a row already or no such sync; *state_changed as ond_sync_run_finished().
 */
extern int64 ond_queue_record_failure(int64 run_id, const OndDue *due, const char *code, const char *message, const char *detail,
                                      bool fatal, bool *state_changed);

/* Held runs since before this time end as cancelled; the ids of some, in the context. */
extern int64 *ond_queue_expire_held(TimestampTz before, MemoryContext context, int *n);
/* When the oldest held run began to wait; DT_NOEND: none does. */
extern TimestampTz ond_queue_held_since(void);

#endif
