/*
 * alert.h - when a sync is worth a message, as a function of facts: no clock, no state of its own.
 *
 * A sync has one problem at a time, the worst that holds, or none. A message is due when the problem is another one than was told last:
 * so there is one
 * for each change and one for the recovery, none is lost with a process that died, and what came and went untold is never told.
 */
#ifndef OND_CORE_ALERT_H
#define OND_CORE_ALERT_H

#include <stdbool.h>
#include <stdint.h>

/* In the order of how bad it is. */
typedef enum OndProblem {
  OND_PROBLEM_OK,
  OND_PROBLEM_SLOW,    /* the last run, or the one that goes on, took longer than it may */
  OND_PROBLEM_PARTIAL, /* the last run left more rows undelivered than it may */
  OND_PROBLEM_NO_RUN,  /* no run has ended well for too long */
  OND_PROBLEM_FAILED,  /* so many runs in a row failed */
  OND_PROBLEM_HELD,    /* a run waits for a person's word */
  OND_PROBLEM_ERROR    /* the sync has stopped */
} OndProblem;

/* What is watched. */
typedef struct OndAlertRules {
  int failed; /* failed runs in a row; 0: not watched */
  bool held, error;
  double partial_percent; /* of the rows; < 0: not watched */
  int64_t slower_than_us; /* 0: not watched */
  int64_t no_run_us;      /* 0: not watched */
} OndAlertRules;

/* How a sync stands. Times in microseconds of one clock. */
typedef struct OndAlertFacts {
  bool rests; /* paused or archived: nobody expects anything of it */
  bool error, held;
  int failures;            /* failed runs in a row */
  int64_t rows, rows_left; /* of the last finished run: all that it was about; those it did not deliver */
  int64_t took_us;         /* the last finished run; 0: unknown */
  int64_t running_since;   /* 0: no run goes on */
  int64_t good_since;      /* a run ended well, or the sync was made or resumed */
} OndAlertFacts;

/* The problem; *changes_at: when it may be another one by the mere passing of time, INT64_MAX: never. */
extern OndProblem ond_alert_judge(const OndAlertRules *rules, const OndAlertFacts *facts, int64_t now, int64_t *changes_at);

extern const char *ond_problem_name(OndProblem p);
/* OND_PROBLEM_OK for a word that is none. */
extern OndProblem ond_problem_parse(const char *name);

/* How long to wait after so many tries in a row that failed (1, 2, ...): 10 seconds, doubled each time, at most an hour. */
extern int64_t ond_alert_wait_us(int attempts);

#endif
