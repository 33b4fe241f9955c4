/*
 * cron.h - schedules in cron's words: a job of pg_cron that calls ondatra.trigger_sync().
 *
 *   job      a row of cron.job, in the one database that pg_cron works in (cron.database_name); it belongs to the sync's owner
 *   place    all_syncs.cron_job: where the job was put, by its name, server and owner; NULL: the sync has none
 *
 * A sync has a job while its schedule is cron text and it is neither paused nor archived. pg_cron's tables are often in another database, so a short-lived
 * process puts, removes and looks: in that database, to put with the owner as its session user, else as the bootstrap superuser. Nothing but pg_cron's
 * functions and the system's catalogs is called there.
 *
 *   edits        ond_cron_follow(); the job is put or removed just before the commit, so that its error is the statement's, or the COMMIT's. A job that
 *                cannot be removed then is no error: its place stays in cron_leftovers
 *   scheduler    ond_cron_watch(); jobs of a database that was renamed, restored or whose role was renamed are put anew; what somebody else removed or
 *                changed is said in state_reason and left so; leftovers are removed
 */
#ifndef OND_WORKER_CRON_H
#define OND_WORKER_CRON_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "catalog/sync.h"

typedef enum OndCronAct { OND_CRON_PUT, OND_CRON_REMOVE, OND_CRON_LOOK } OndCronAct;
typedef enum OndCronFound { OND_CRON_MISSING, OND_CRON_FINE, OND_CRON_INACTIVE, OND_CRON_CHANGED } OndCronFound;

typedef struct OndCronJob {
  char name[NAMEDATALEN];
  char username[NAMEDATALEN];
  char schedule[208];
  char command[640];
  OndCronFound found;         /* of LOOK */
} OndCronJob;

/* Error 55000 with a hint when pg_cron is not loaded in this server. */
extern void ond_cron_require(void);
/* The row of a sync that has, or had, a cron schedule was written or deleted: its job is put or removed at commit. Inside "ours". */
extern void ond_cron_follow(int64 sync_id, Oid owner);
/* At the end of a transaction. */
extern void ond_cron_pre_commit(void);
extern void ond_cron_forget(void);
extern bool ond_cron_pending(void);

/* The scheduler's part, outside of a transaction: looks when it is time to. When to look again; DT_NOEND: there are no jobs. */
extern TimestampTz ond_cron_watch(MemoryContext context);

/*
 * Has it done by a process (cron_worker.c) and waits. owner: of PUT. REMOVE only warns; false: the job may be there still. Errors: pg_cron's own (22023 for a
 * schedule that it does not know), 42501 where the owner lacks rights in pg_cron's database, 55000 where pg_cron is not there, 53000 without a free process.
 */
extern bool ond_cron_order(OndCronAct act, Oid owner, OndCronJob *jobs, int n);
extern PGDLLEXPORT void ond_cron_worker_main(Datum arg);

#endif
