/*
 * job.c - see job.h.
 */
#include "postgres.h"

#include <stdarg.h>

#include "engine/job.h"

#define US_PER_MS INT64CONST(1000)

OndJob *ond_job_create(const OndOperation *operation, OndRoute route, int64 now) {
  OndJob *job = ond_calloc(sizeof(OndJob));

  job->operation = operation;
  job->route = route;
  job->started_at = now;
  job->deadline = now + ond_operation_info(operation)->job_timeout_ms * US_PER_MS;
  job->arena = ond_arena_create();
  ond_buf_init(&job->captures, OND_JOB_CAPTURES_MAX);
  return job;
}

static void end_pages(OndJob *job) {
  if (job->paging != NULL) {
    ond_paging_free(job->paging);
    ond_free(job->paging);
    job->paging = NULL;
  }
}

void ond_job_free(OndJob *job) {
  end_pages(job);
  ond_buf_free(&job->captures);
  ond_arena_destroy(job->arena);
  ond_free(job->told);
  ond_free(job->results);
  ond_free(job);
}

const OndOperation *ond_job_step(const OndJob *job) {
  return ond_step_operation(job->operation, job->step);
}

OndBytes ond_job_captures(const OndJob *job) {
  return job->captures.len == 0 ? OND_BYTES_NONE : (OndBytes){job->captures.data, job->captures.len};
}

/* Results that were read are in memory only: a job that is taken up again reads them from the first. */
bool ond_job_is_resumable(const OndJob *job) {
  return job->carried && !job->read && !job->ended && job->step >= ond_operation_info(job->operation)->resumes_at;
}

bool ond_job_render(const OndJob *job, const OndConnector *c, const OndRow *const *rows, int n, OndRenderContext *context, OndHttpRequest *out, int *bad_row,
                    OndError *err) {
  OndListInput input = {.fields = OND_BYTES_NONE};
  bool ok;

  context->job = ond_job_captures(job);
  if (ond_step_pages(job->operation, job->step) != NULL)
    context->list = &input;
  if (job->paging != NULL)
    ond_paging_place(job->paging, &input);
  ok = ond_connector_render(c, ond_job_step(job), rows, n, context, out, bad_row, err);
  if (ok && job->paging != NULL)
    ond_paging_aim(job->paging, out);
  context->list = NULL;
  return ok;
}

/* --- fates ------------------------------------------------------------------------------------------------ */

static void make_room(OndJob *job, int n) {
  if (job->results != NULL)
    return;
  job->n = n;
  job->results = ond_calloc(sizeof(OndRowResult) * n);
  job->told = ond_calloc(sizeof(bool) * n);
}

static void end_all(OndJob *job, int n, OndOutcome outcome, OndReply *reply, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Every row has this fate, and the job has ended. Words begin with the job's name. */
static void end_all(OndJob *job, int n, OndOutcome outcome, OndReply *reply, const char *fmt, ...) {
  char words[1200], label[260];
  va_list args;
  char *message;

  ond_step_label(ond_job_captures(job), label, sizeof(label));
  va_start(args, fmt);
  vsnprintf(words, sizeof(words), fmt, args);
  va_end(args);
  make_room(job, n);
  message = ond_arena_strdup(job->arena, psprintf("%s %s", label, words));
  for (int i = 0; i < n; i++)
    job->results[i] = (OndRowResult){.outcome = outcome, .created = -1, .message = message};
  job->ended = true;
  reply->answer = OND_ANSWER_READ;
}

static int rank(OndOutcome outcome) {
  switch (outcome) {
    case OND_OUT_ACCEPTED: return 0;
    case OND_OUT_UNKNOWN: return 1;
    case OND_OUT_THROTTLED: return 2;
    default: return 3;
  }
}

/* Of two results that say something about a row the worse one counts. */
static void read_results(OndJob *job, const OndConnector *c, const OndRow *const *rows, int n, const OndHttpResponse *response) {
  OndRowResult *found = palloc0(sizeof(OndRowResult) * n);

  make_room(job, n);
  ond_connector_read(c, ond_job_step(job), response, rows, n, job->arena, found, NULL);
  for (int i = 0; i < n; i++) {
    if (found[i].silent || (job->told[i] && rank(found[i].outcome) <= rank(job->results[i].outcome)))
      continue;
    job->results[i] = found[i];
    job->told[i] = true;
  }
  job->read = true;
  pfree(found);
}

static void finish(OndJob *job, int n, OndReply *reply) {
  char label[260];
  const char *message;

  make_room(job, n);
  ond_step_label(ond_job_captures(job), label, sizeof(label));
  message = ond_arena_strdup(job->arena, psprintf("the results of %s do not mention the row", label));
  for (int i = 0; i < n; i++) {
    OndRowResult *r = &job->results[i];

    if (!job->told[i])
      *r = (OndRowResult){.outcome = job->read ? OND_OUT_UNKNOWN : OND_OUT_ACCEPTED, .created = -1, .message = job->read ? message : NULL};
    if (job->resumed && r->outcome == OND_OUT_THROTTLED)
      r->outcome = OND_OUT_UNAVAILABLE; /* what it would be sent again with is not known here: the comparison that follows knows */
  }
  job->ended = true;
  reply->answer = OND_ANSWER_READ;
}

/* --- answers ---------------------------------------------------------------------------------------------- */

static void refused(OndJob *job, const OndStepInfo *step, int n, const OndHttpResponse *response, const char *words, OndReply *reply) {
  char said[1000];

  if (words == NULL || words[0] == '\0')
    ond_connector_message(ond_job_step(job), response, said, sizeof(said));
  else
    strlcpy(said, words, sizeof(said));
  if (job->carried)
    end_all(job, n, OND_OUT_UNKNOWN, reply, "does not tell what became of the row: \"%s\" was refused (HTTP %d): %s", step->name, response->status, said);
  else if (!step->carries_rows) {
    /* nothing about rows was said: the same is refused for all of them */
    snprintf(job->words, sizeof(job->words), "\"%s\" was refused: %s", step->name, said);
    reply->answer = OND_ANSWER_UNAVAILABLE;
  } else
    reply->answer = OND_ANSWER_REFUSED;
}

static int64 later_of(int64 wait_us, const OndReply *reply) {
  return reply->retry_after_us > wait_us ? reply->retry_after_us : wait_us;
}

/* Polls grow apart by half of the wait each. */
static void wait_more(OndJob *job, const OndStepInfo *step, int64 now, OndReply *reply) {
  int64 wait_us = job->wait_us == 0 ? step->every_ms * US_PER_MS : Min(job->wait_us + job->wait_us / 2, step->max_ms * US_PER_MS);

  job->wait_us = wait_us;
  wait_us = later_of(wait_us, reply);
  reply->answer = OND_ANSWER_CONTINUE;
  reply->retry_after_us = Max(Min(wait_us, job->deadline - now), 0);
}

static void failed(OndJob *job, int n, const char *words, OndReply *reply) {
  if (ond_operation_info(job->operation)->atomic && !job->resumed) {
    snprintf(job->words, sizeof(job->words), "%s", words);
    job->ended = true;
    reply->answer = OND_ANSWER_REFUSED;
    reply->may_bisect = true;
    return;
  }
  end_all(job, n, OND_OUT_UNKNOWN, reply, "has failed: %s", words);
}

static void go_on(OndJob *job, const OndConnector *c, const OndRow *row, int n, int next, int64 now, OndReply *reply) {
  const OndStepInfo *step = ond_step_info(job->operation, next);
  OndError err = {0};

  if (step == NULL) {
    finish(job, n, reply);
    return;
  }
  if (!ond_step_check(c, job->operation, next, row, ond_job_captures(job), &err)) {
    end_all(job, n, job->carried ? OND_OUT_UNKNOWN : OND_OUT_UNAVAILABLE, reply, "cannot go on with \"%s\": %s", step->name, err.message);
    return;
  }
  job->step = next;
  job->wait_us = 0;
  reply->answer = OND_ANSWER_CONTINUE;
  if (step->polls)
    wait_more(job, step, now, reply);
  else
    reply->retry_after_us = 0;
}

/* True: another page of the results is to be asked for, or that cannot be done and the job has ended. */
static bool turn_page(OndJob *job, const OndConnector *c, int n, const OndHttpResponse *response, OndReply *reply) {
  const OndList *pages = ond_step_pages(job->operation, job->step);
  OndError err = {0};

  if (pages == NULL)
    return false;
  if (job->paging == NULL) {
    job->paging = ond_calloc(sizeof(OndPaging));
    ond_paging_init(job->paging, c, pages);
  }
  if (!ond_paging_follow(job->paging, response, &err)) {
    end_all(job, n, OND_OUT_UNKNOWN, reply, "does not tell all: %s", err.message);
    return true;
  }
  if (job->paging->more) {
    reply->answer = OND_ANSWER_CONTINUE;
    reply->retry_after_us = 0;
    return true;
  }
  end_pages(job);
  return false;
}

static void read_step(OndJob *job, const OndConnector *c, const OndRow *const *rows, int n, const OndHttpResponse *response, int64 now, OndReply *reply) {
  const OndStepInfo *step = ond_step_info(job->operation, job->step);
  char words[1000];
  int next = job->step;

  switch (ond_step_read(job->operation, job->step, response, &job->captures, &next, words, sizeof(words))) {
    case OND_STEP_WAIT: wait_more(job, step, now, reply); return;
    case OND_STEP_FAILED: failed(job, n, words, reply); return;
    case OND_STEP_REFUSED: refused(job, step, n, response, words, reply); return;
    case OND_STEP_UNREADABLE:
      strlcpy(job->words, words, sizeof(job->words));
      if (step->carries_rows)
        end_all(job, n, OND_OUT_UNKNOWN, reply, "cannot be followed: %s", words);
      else
        reply->answer = OND_ANSWER_UNAVAILABLE;
      return;
    case OND_STEP_DONE: break;
  }
  if (step->has_result)
    read_results(job, c, rows, n, response);
  job->carried = job->carried || step->carries_rows;
  if (step->has_result && turn_page(job, c, n, response, reply))
    return;
  go_on(job, c, rows[0], n, next, now, reply);
}

void ond_job_answer(OndJob *job, const OndConnector *c, const OndRow *const *rows, int n, const OndHttpResponse *response, int64 now, OndReply *reply) {
  const OndStepInfo *step = ond_step_info(job->operation, job->step);
  bool waits;

  job->words[0] = '\0';
  if (reply->answer == OND_ANSWER_READ)
    read_step(job, c, rows, n, response, now, reply);
  else if (reply->answer == OND_ANSWER_REFUSED)
    refused(job, step, n, response, NULL, reply);
  else if (reply->answer == OND_ANSWER_IN_DOUBT && !step->carries_rows)
    reply->answer = OND_ANSWER_UNAVAILABLE;
  waits = reply->answer == OND_ANSWER_UNAVAILABLE || (reply->answer == OND_ANSWER_CONTINUE && ond_step_info(job->operation, job->step) == step);
  if (waits && job->carried && now >= job->deadline)
    end_all(job, n, OND_OUT_UNKNOWN, reply, "did not end within %lld seconds", (long long)((job->deadline - job->started_at) / 1000000));
}
