/*
 * deliver.h - delivery: from planned changes to acknowledged ones, as a loop that knows neither Postgres nor libcurl nor a clock.
 *
 * A task is one planned change. Its way:
 *
 *   next() -> STAGED -> commit() makes the send window durable -> READY -> in a request -> answer -> RESOLVED -> commit() makes the ack durable
 *
 * A request is one or more tasks of one route that travel together. It is tried up to retry.attempts times; a refused batch is
 * halved until the bad rows stand alone. Deletes end before updates begin, updates before creates.
 *
 * A change may need more than one request. Two ways, both by the engine's word in take():
 *   - a task goes on by another route (looked up, now update; there already: not create but update): task->again, and task->route says where. It joins
 *     other tasks of that route;
 *   - a request goes on with its next step (a job is created, then polled): answer OND_ANSWER_CONTINUE. Its tasks stay together; it waits, holds
 *     no connection, and is given to start() again. What it has done so far may be in doubt: the engine says so in task->in_doubt.
 *
 * Everything outside is behind OndDeliveryIo: the engine gives Postgres and libcurl, the simulation (test/unit/test_core_deliver.c) a virtual
 * clock, a fake transport and a model that checks the invariants:
 *   - nothing is started before the commit() that has it in a window returned true;
 *   - a task is resolved exactly once;
 *   - no two tries of one task are in flight at the same time;
 *   - after commit() returned false nothing is started and nothing committed;
 *   - requests of an operation start only when those of the operation before have ended;
 *   - nothing is begun that begin() has not let begin, and what waits for that keeps nothing waiting that goes on.
 */
#ifndef OND_CORE_DELIVER_H
#define OND_CORE_DELIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/change.h"
#include "core/classify.h"
#include "core/deliver_policy.h"

typedef struct OndTask {
  /* set by the engine */
  OndOp op;
  OndRoute route;
  bool again;                /* with an answer READ: not resolved, goes on by `route`; delivery clears it */
  size_t bytes;              /* of its payload, for batch_bytes and the window's memory */
  void *row;                 /* the engine's */
  /* set by delivery */
  OndOutcome outcome;        /* when resolved */
  bool in_doubt;             /* some try may have arrived and nothing definite came after it */
  bool older_doubt;          /* and that was by another route than the task's now: a no by this one does not end it */
  bool interrupted;          /* the run stopped while this was under way */
  int64_t sent_at;           /* unix microseconds of the last try; 0: never on the wire */
  int64_t late_at;           /* of the last try that may still arrive (ond_classify_may_arrive), whatever came after it; 0: none */
  int http_status;           /* of the last answer */
  int window_no;             /* the send window that has it, from 1 */
  int renewed;               /* tries that were answered by an error which the API would repeat under their key: it must not be used again */
  int asked;                 /* how often an answer asked to send this row once more */
  /* delivery's own */
  int64_t place;             /* in the order of next() */
  struct OndTask *next;
} OndTask;

/* A request in flight or waiting for its next try. */
typedef struct OndRequest {
  OndRoute route;
  int n;
  OndTask **tasks;
  int attempt;               /* tries of this step begun */
  int step;                  /* answers CONTINUE so far */
  bool open;                 /* has started, and has not ended */
  int agains;                /* answers AGAIN in this step; the engine gives no more than it finds good */
  int64_t not_before;        /* monotonic microseconds */
  OndAnswer last_answer;
  void *wire;                /* the engine's, from start() to the answer */
  void *steps;               /* the engine's, over all steps; NULL before the first start() */
  struct OndRequest *next;
} OndRequest;

typedef enum OndStart {
  OND_START_OK,
  OND_START_BAD_ROW,         /* one task cannot be rendered: *bad says which; the engine keeps the words */
  OND_START_TOO_LARGE,       /* the batch is over the connector's bytes: halve it (a task alone: as a bad row) */
  OND_START_FAILED,          /* the transport could not take it: nothing was sent */
  OND_START_STOP             /* nothing more may start, for a reason that the engine knows; nothing was sent */
} OndStart;

/* What came back for a request. Per-row outcomes go into tasks[i]->outcome by the engine before it returns this, when answer is READ. */
typedef struct OndReply {
  OndAnswer answer;
  int http_status;
  int64_t retry_after_us;    /* -1: none; with CONTINUE: when the next step is due */
  bool may_bisect;           /* the refusal may be about single rows */
} OndReply;

typedef struct OndDeliveryIo {
  void *arg;
  OndTask *(*next)(void *arg);                                        /* the next planned change; NULL: no more */
  bool (*commit)(void *arg, OndTask **resolved, int n_resolved, OndTask **window, int n_window, int window_no); /* durable or false; resolved tasks are freed by it */
  int64_t (*begin)(void *arg, OndRequest *request);                   /* before its first start, perhaps more than once: 0: it may; > 0: microseconds after which to ask again */
  OndStart (*start)(void *arg, OndRequest *request, int *bad);
  OndRequest *(*take)(void *arg, OndReply *reply);                    /* a request whose answer is there, or NULL */
  void (*poll)(void *arg, int64_t wait_us);
  void (*abandon)(void *arg);                                         /* what is in flight ends now; answers come by take() */
  int64_t (*permit)(void *arg, const OndRequest *request);            /* 0: go (counted); > 0: microseconds to wait; < 0: -OndStop, nothing more may start */
  void (*permit_done)(void *arg);
  void (*pause)(void *arg, int64_t until_us);                         /* the whole destination, monotonic */
  OndStop (*stop)(void *arg);                                         /* cancelled, out of time: asked often */
  int64_t (*clock)(void *arg);                                        /* monotonic microseconds */
  int64_t (*wall)(void *arg);                                         /* unix microseconds */
  uint64_t (*random)(void *arg);
} OndDeliveryIo;

typedef struct OndDeliveryStats {
  int64_t requests;          /* tries that went out */
  int64_t retries;           /* of these, not the first */
  int64_t throttled_us;      /* time in which nothing could start for want of a permit, while something was ready */
  int64_t in_flight;
  int64_t accepted;          /* rows */
  int64_t refused;           /* rows that an answer refused */
  int64_t unmentioned;       /* rows of which an answer does not say what became of them */
} OndDeliveryStats;

/*
 * Delivers until next() has no more and everything is resolved and committed, or a stop. Returns why it ended (NONE: all done).
 * After a stop other than COMMIT every task that was taken from next() is resolved (some NOT_SENT) and committed. `stats` is kept up to date for callers' progress.
 */
extern OndStop ond_deliver(const OndDeliveryIo *io, const OndDeliveryPolicy *policy, OndDeliveryStats *stats);

#endif
