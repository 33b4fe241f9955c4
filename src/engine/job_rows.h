/*
 * job_rows.h - the table ondatra.jobs: jobs that a later run can go on with. All inside "ours".
 */
#ifndef OND_ENGINE_JOB_ROWS_H
#define OND_ENGINE_JOB_ROWS_H

#include "postgres.h"
#include "catalog/sync.h"
#include "engine/job.h"

/* Writes the job's row, or how far it has got where it is there already (job->saved). */
extern void ond_job_row_write(const OndSync *sync, const OndJob *job, int n, OndTask *const *tasks);
extern void ond_job_row_delete(int64 sync_id, const OndJob *job);

/* A row as it was read. */
typedef struct OndJobRow {
  int64 run_id;
  int32 job_no;
  int64 destination_id;
  char *operation;            /* the route's name */
  char *step;
  char *captures;             /* JSON */
  bytea *changes;
  int64 started_at, deadline; /* unix microseconds */
} OndJobRow;

/* The sync's, oldest first, in the memory context given. */
extern int ond_job_rows_read(int64 sync_id, MemoryContext context, OndJobRow **rows);
extern const char *ond_job_route_name(OndRoute route);

#endif
