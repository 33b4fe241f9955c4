/*
 * job.h - an asynchronous job on its way: which step is next, what was captured, and what its results said of the rows.
 *
 *   begun -> steps (core's answer CONTINUE) -> the last answer -> every row's fate (answer READ)
 *
 * From the step after which no row is needed any more a job is kept in ondatra.jobs: a crash or a cancelled run leaves it there, and the next run of the sync
 * goes on with it (engine/resume.c) before it compares anything. The row goes in the commit that records the last fate of its rows.
 *
 * What is in doubt: once a request with rows was answered, every row is, until the job tells. A step without rows that gets no answer adds none, so it is tried
 * again as any read; a definite no to it says nothing about rows either: they stay unknown, never rejected.
 */
#ifndef OND_ENGINE_JOB_H
#define OND_ENGINE_JOB_H

#include "postgres.h"
#include "connector/connector.h"
#include "core/deliver.h"

#define OND_JOB_CAPTURES_MAX ((size_t)64 * 1024)

typedef struct OndJob {
  struct OndJob *next;
  const OndOperation *operation;
  OndRoute route;
  int64 run_id;               /* of the run that began it */
  int32 job_no;               /* within that */
  int step;                   /* to be done next */
  OndBuf captures;            /* a JSON object; empty: nothing */
  int held;                   /* rows that point here */
  int64 started_at, deadline; /* unix microseconds */
  int64 wait_us;              /* between polls, the last one */
  bool carried;               /* rows are there */
  bool resumed;
  bool saved;                 /* it is in ondatra.jobs */
  bool ended;                 /* nothing more will be asked of it */
  bool placed;                /* counted among those that the destination has open (OndRunHost.job_begin) */
  /* what result steps said so far */
  int n;
  bool read;
  bool *told;
  OndRowResult *results;
  OndPaging *paging;          /* of the step's results; NULL: the first page */
  OndArena *arena;
  char words[1200];           /* of a failed try */
} OndJob;

/* Freed by ond_job_free() when no row holds it any more. now: unix microseconds. */
extern OndJob *ond_job_create(const OndOperation *operation, OndRoute route, int64 now);
extern void ond_job_free(OndJob *job);
extern const OndOperation *ond_job_step(const OndJob *job);
extern OndBytes ond_job_captures(const OndJob *job);
/* Whether what it has reached is worth a row of ondatra.jobs. */
extern bool ond_job_is_resumable(const OndJob *job);

/* ond_connector_render() for the current step. context->job and ->list are set here. */
extern bool ond_job_render(const OndJob *job, const OndConnector *c, const OndRow *const *rows, int n, OndRenderContext *context, OndHttpRequest *out, int *bad_row,
                           OndError *err);

/*
 * Makes of an answer to the current step what the delivery does next. reply->answer and http_status are set as the status says; on return
 *   CONTINUE   job->step is to be done after reply->retry_after_us
 *   READ       the job has ended; job->results[n] are the rows' fates
 *   else       the try failed: job->words, empty where the answer's own words will do
 */
extern void ond_job_answer(OndJob *job, const OndConnector *c, const OndRow *const *rows, int n, const OndHttpResponse *response, int64 now, OndReply *reply);

#endif
