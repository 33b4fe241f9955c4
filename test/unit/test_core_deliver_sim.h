/*
 * test_core_deliver_sim.h - a world for ond_deliver(): virtual clock, fake transport, budget, store and destination.
 *
 * A SimConfig says what the world is like, sim_run() lets one delivery happen in it and checks the invariants of core/deliver.h at every
 * call. Everything random comes from one seed. A violation is kept in words (sim_problem) and ends the run.
 *
 * The world knows of every row what the destination was asked and what it answered, so it can tell what delivery must say of the row.
 */
#ifndef OND_TEST_CORE_DELIVER_SIM_H
#define OND_TEST_CORE_DELIVER_SIM_H

#include <setjmp.h>
#include "core/deliver.h"
#include "core/rate.h"

#define SIM_MS       INT64_C(1000)
#define SIM_S        INT64_C(1000000)
#define SIM_ROWS_MAX 400
#define SIM_LIMITS   2

/* What is wrong with a row. */
typedef enum SimKind {
  SIM_GOOD,
  SIM_POISON, /* the destination refuses it, and with it its batch when the answer is not by row */
  SIM_CRASH,  /* the destination answers 500 to every batch that has it */
  SIM_BAD     /* it cannot be rendered */
} SimKind;

typedef enum SimPlace {
  SIM_NOT_TAKEN,
  SIM_TAKEN,
  SIM_DURABLE, /* in a window, not on the wire */
  SIM_IN_FLIGHT,
  SIM_ENDED,   /* its answer was final */
  SIM_RECORDED /* committed as resolved */
} SimPlace;

typedef struct SimRow {
  OndTask *task; /* NULL before next() and after it was recorded */
  OndOp op;
  OndRoute route;
  OndRoute by;       /* of the request that carried it last; another one's only where they share requests */
  SimKind kind;
  size_t bytes;
  SimPlace place;
  int tries;         /* that went out on this route and step */
  int not_started;   /* START_FAILED */
  bool begun;        /* was in a request that started or failed to */
  bool rerouted;     /* came from another route */
  OndRoute to;       /* by_row says nothing: it goes on here */
  bool goes_on;      /* the answer on its way says so */
  bool unanswered;   /* a try of this route has no answer, and nothing definite came since */
  bool answered;     /* last is set */
  OndAnswer last;    /* of the last try */
  OndOutcome by_row; /* when last is READ; before: what the answer on its way will say */
  bool doubt;        /* an unanswered try, and nothing definite since */
  bool older_doubt;  /* by another route than that of now */
  int status;
  int64_t sent_at;    /* wall */
  int64_t late_at;    /* of the last try that may still arrive */
  int64_t not_before; /* Retry-After */
  /* as recorded */
  OndOutcome outcome;
  bool in_doubt, interrupted;
} SimRow;

/* An answer that a directed test prescribes for the n-th request that starts. */
typedef struct SimStep {
  OndAnswer answer;
  int status;
  int64_t retry_after_us; /* 0: none */
  OndOutcome rows;        /* of every row, when READ */
} SimStep;

typedef struct SimConfig {
  OndDeliveryPolicy policy;
  int deletes, updates, creates;
  int poison, crash, bad; /* rows of these kinds, in 1/1000 */
  size_t bytes_min, bytes_max;
  size_t wire_bytes; /* a request is too large over it; 0: none */
  bool by_row;       /* the answer has an outcome for each row; else a poison row refuses its batch */
  bool may_bisect;   /* the refusal may be about single rows */
  /* answers in 1/1000 */
  int no_answer, five_hundred, throttled, unavailable, auth, again, start_failed, start_stopped, row_throttled, row_unknown;
  int lookups;       /* rows that are looked up first, in 1/1000 */
  int conflicts;     /* creates that find the record there and go on as updates, likewise */
  int job_steps;     /* a write goes on with up to so many further steps */
  int64_t step_wait; /* at most, until the next one is due */
  int let_begin;     /* no more than so many requests may begin; 0: any number */
  int barred;        /* begin() says "not yet", likewise */
  int64_t barred_max; /* and to ask again after at most so long */
  int64_t latency_min, latency_max, commit_us, next_us, overshoot_us;
  int64_t retry_after_max; /* of what the destination names; 0: it names none */
  int n_limits;
  OndRateLimit limits[SIM_LIMITS];
  int64_t stop_after; /* from the beginning; 0: never */
  OndStop stop;
  int fail_commit; /* the n-th; 0: none */
  const SimStep *steps;
  int n_steps;
  uint64_t fixed_random; /* with use_fixed_random: what io->random says */
  bool use_fixed_random;
} SimConfig;

typedef struct SimFlight {
  OndRequest *request;
  int64_t due;
  OndReply reply;
  int tries;
} SimFlight;

typedef struct SimStart {
  int64_t at;
  int first, n; /* rows */
} SimStart;

typedef struct Sim {
  const SimConfig *config;
  unsigned long long random;
  int64_t begin, now;
  SimRow rows[SIM_ROWS_MAX];
  int n_rows, n_taken;
  SimFlight flights[64];
  int n_flights;
  SimStart starts[4096]; /* the first of them */
  int n_starts, n_retries;
  int permits; /* granted and not given back */
  OndRoute permit_route; /* what the last one is for */
  int permit_step;
  int64_t permit_due; /* none before */
  int64_t paused_until, longest_wait;
  OndRateWindow windows[SIM_LIMITS];
  int64_t *granted[SIM_LIMITS]; /* the last N, a ring */
  uint64_t n_granted;
  int n_let;
  const OndRequest *let; /* the last one that begin() let begin */
  int64_t barred_until[OND_ROUTES], barred_since, barred_longest;
  bool starved;
  int64_t starved_since, starved_us;
  int failures, auth_failures;
  bool breaker_due, auth_due, asked, commit_failed, abandoned, drained, halted; /* halted: a start has said that nothing more may start */
  int n_commits, window_no, polls, idle_polls, polls_after_stop;
  int64_t held_rows;
  size_t held_bytes;
  int unacked; /* accepted rows that are not recorded */
  int64_t unacked_since;
  OndRequest *open[256]; /* begun and not ended */
  int n_open;
  OndOp op;       /* of the last request */
  OndReply taken; /* the last answer that was taken */
  int taken_tries;
  OndDeliveryStats stats;
  OndStop stop;
  jmp_buf broken;
  char problem[400]; /* empty: nothing is wrong */
} Sim;

/* One row a request, four at a time, no faults, answers after 20 ms. */
extern void sim_config_default(SimConfig *c);
/* A world by chance; faults of all kinds. */
extern void sim_config_random(SimConfig *c, unsigned long long *random);
/* Delivers all rows; false: sim->problem says what was wrong. The caller frees it with sim_free(). */
extern bool sim_run(Sim *sim, const SimConfig *config, unsigned long long seed);
extern void sim_free(Sim *sim);
/* Recorded rows with this outcome. */
extern int sim_count(const Sim *sim, OndOutcome outcome);

#endif
