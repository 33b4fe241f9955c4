/*
 * test_core_deliver_sim.c - the world of test_core_deliver.c; see the header.
 *
 * The clock moves only in poll(), commit() and next(), so all that one turn of the loop starts, it starts at one moment: the rate limits
 * can be checked exactly. Tasks are allocated one by one and freed when they are recorded: the address sanitizer sees who touches them
 * later.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "test_core_deliver_sim.h"
#include "unit.h"

#define POLL_MAX_US  (50 * SIM_MS)
#define POLLS_MAX    200000
#define WALL_OFFSET  (1767225600 * SIM_S)
#define HELD_WINDOWS 4
#define UNRESOLVED   ((OndOutcome)-1)

static void __attribute__((noreturn, format(printf, 2, 3))) broken(Sim *sim, const char *fmt, ...) {
  va_list args;

  va_start(args, fmt);
  vsnprintf(sim->problem, sizeof(sim->problem), fmt, args);
  va_end(args);
  longjmp(sim->broken, 1);
}

#define EXPECT(condition)                                                                                                                  \
  do {                                                                                                                                     \
    if (!(condition)) {                                                                                                                    \
      broken(sim, "line %d, after %lld us: %s", __LINE__, (long long)(sim->now - sim->begin), #condition);                                 \
    }                                                                                                                                      \
  } while (0)
/* The same, of a row. */
#define EXPECT_ROW(row, condition)                                                                                                         \
  do {                                                                                                                                     \
    if (!(condition)) {                                                                                                                    \
      broken(sim, "line %d, after %lld us, row %d (%s): %s", __LINE__, (long long)(sim->now - sim->begin), (int)((row)-sim->rows),         \
             ond_op_name((row)->op), #condition);                                                                                          \
    }                                                                                                                                      \
  } while (0)

static int64_t pick(unsigned long long *random, int64_t least, int64_t most) {
  return least + (int64_t)(unit_random(random) % (unsigned long long)(most - least + 1));
}

static bool chance(unsigned long long *random, int thousandths) {
  return pick(random, 0, 999) < thousandths;
}

static const OndDeliveryOp *policy_of(const Sim *sim, OndRoute route) {
  const OndDeliveryPolicy *p = &sim->config->policy;

  return route == OND_ROUTE_DELETE ? &p->delete : route == OND_ROUTE_UPDATE ? &p->update : route == OND_ROUTE_LOOKUP ? &p->lookup : &p->create;
}

static bool share(const Sim *sim, OndRoute a, OndRoute b) {
  return a == b || (policy_of(sim, a)->group != 0 && policy_of(sim, a)->group == policy_of(sim, b)->group);
}

/* Their order is that of the rows within a request. */
static bool mix(const Sim *sim, OndOp a, OndOp b) {
  return share(sim, ond_op_route(a), ond_op_route(b));
}

/* A lookup changes nothing. */
static bool reads(const SimRow *row) {
  return row->route == OND_ROUTE_LOOKUP;
}

static int64_t at_most(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* --- the store -------------------------------------------------------------------------------------------- */

static OndTask *io_next(void *arg) {
  Sim *sim = arg;
  SimRow *row = &sim->rows[sim->n_taken];

  EXPECT(!sim->asked && !sim->commit_failed && !sim->breaker_due && !sim->auth_due && !sim->drained && !sim->halted);
  EXPECT(sim->now >= sim->permit_due); /* what waits for a permit is not put into a window ahead */
  EXPECT(sim->held_rows == 0 || sim->held_bytes < sim->config->policy.window_bytes_max);
  EXPECT(sim->held_rows <= (int64_t)HELD_WINDOWS * sim->config->policy.window_rows_max);
  sim->now += pick(&sim->random, 0, sim->config->next_us);
  if (sim->n_taken == sim->n_rows) {
    sim->drained = true;
    return NULL;
  }
  sim->n_taken++;
  row->place = SIM_TAKEN;
  row->task = calloc(1, sizeof(OndTask));
  row->task->op = row->op;
  row->task->route = row->route;
  row->task->outcome = UNRESOLVED;
  row->task->bytes = row->bytes;
  row->task->row = row;
  sim->held_rows++;
  sim->held_bytes += row->bytes;
  return row->task;
}

/* What may be said of a row, by what the world knows of it. */
static void check_outcome(Sim *sim, const SimRow *row) {
  const OndTask *t = row->task;
  const OndDeliveryOp *op = policy_of(sim, row->by);
  bool read = row->answered && row->last == OND_ANSWER_READ;

  EXPECT_ROW(row, (t->outcome == OND_OUT_ACCEPTED) == (read && row->by_row == OND_OUT_ACCEPTED));
  switch (t->outcome) {
  case OND_OUT_ACCEPTED: EXPECT_ROW(row, row->kind != SIM_POISON || sim->config->steps); break;
  case OND_OUT_REJECTED:
    EXPECT_ROW(row, row->answered && (row->last == OND_ANSWER_REFUSED || (read && row->by_row == OND_OUT_REJECTED)));
    EXPECT_ROW(row, row->kind == SIM_POISON || !op->bisect || !sim->config->may_bisect || sim->config->steps);
    break;
  case OND_OUT_THROTTLED:
    EXPECT_ROW(row, row->answered && (row->last == OND_ANSWER_THROTTLED || (read && row->by_row == OND_OUT_THROTTLED)));
    break;
  case OND_OUT_UNAVAILABLE:
    EXPECT_ROW(row, row->answered && (row->last == OND_ANSWER_UNAVAILABLE || (row->last == OND_ANSWER_IN_DOUBT && row->status >= 500)));
    break;
  case OND_OUT_AUTH: EXPECT_ROW(row, row->answered && row->last == OND_ANSWER_AUTH); break;
  case OND_OUT_UNKNOWN: EXPECT_ROW(row, t->in_doubt); break;
  case OND_OUT_INVALID: EXPECT_ROW(row, row->kind == SIM_BAD || (sim->config->wire_bytes && row->bytes > sim->config->wire_bytes)); break;
  case OND_OUT_NOT_SENT: EXPECT_ROW(row, t->interrupted && !t->in_doubt); break;
  }
  EXPECT_ROW(row, t->in_doubt == row->doubt);
  EXPECT_ROW(row, t->http_status == row->status);
  EXPECT_ROW(row, t->sent_at == row->sent_at && t->late_at == row->late_at);
  EXPECT_ROW(row, !t->interrupted || t->outcome == OND_OUT_NOT_SENT || t->outcome == OND_OUT_UNKNOWN);
  EXPECT_ROW(row, !t->interrupted || sim->halted || sim->asked || sim->breaker_due || sim->auth_due ||
                      sim->longest_wait > sim->config->policy.permit_wait_max_us ||
                      sim->barred_longest > sim->config->policy.permit_wait_max_us || sim->config->policy.breaker_throttled < 1000 ||
                      sim->stats.refused + sim->stats.unmentioned >= sim->config->policy.breaker_refusals);
}

static void record(Sim *sim, SimRow *row) {
  EXPECT_ROW(row, row->place == SIM_DURABLE || row->place == SIM_ENDED);
  EXPECT_ROW(row, row->task->window_no > 0 && row->task->window_no <= sim->window_no);
  check_outcome(sim, row);
  row->place = SIM_RECORDED;
  row->outcome = row->task->outcome;
  row->in_doubt = row->task->in_doubt;
  row->interrupted = row->task->interrupted;
  sim->held_rows--;
  sim->held_bytes -= row->bytes;
  sim->unacked -= row->outcome == OND_OUT_ACCEPTED;
  free(row->task);
  row->task = NULL;
}

static bool io_commit(void *arg, OndTask **resolved, int n_resolved, OndTask **window, int n_window, int window_no) {
  Sim *sim = arg;

  EXPECT(!sim->commit_failed);
  EXPECT(n_resolved > 0 || n_window > 0);
  EXPECT(n_window <= sim->config->policy.window_rows_max);
  if (n_window > 0) {
    EXPECT(window_no == sim->window_no + 1);
  }
  sim->now += pick(&sim->random, 0, sim->config->commit_us);
  if (++sim->n_commits == sim->config->fail_commit) {
    sim->commit_failed = true;
    return false;
  }
  for (int i = 0; i < n_resolved; i++) {
    record(sim, resolved[i]->row);
  }
  for (int i = 0; i < n_window; i++) {
    SimRow *row = window[i]->row;

    EXPECT_ROW(row, row->place == SIM_TAKEN && row->task->window_no == window_no);
    row->place = SIM_DURABLE;
  }
  sim->window_no += n_window > 0;
  EXPECT(sim->unacked == 0);
  return true;
}

/* --- the transport ---------------------------------------------------------------------------------------- */

static int64_t backoff_most(const Sim *sim, int tries) {
  int64_t delay = sim->config->policy.retry.base_us;

  for (int i = 1; i < tries && delay < sim->config->policy.retry.max_us; i++) {
    delay *= 2;
  }
  return at_most(delay, sim->config->policy.retry.max_us);
}

static int levels(int n) {
  int result = 1;

  for (; n > 1; n = (n + 1) / 2) {
    result++;
  }
  return result;
}

static void check_row_starts(Sim *sim, const OndRequest *r, const SimRow *row) {
  const OndDeliveryOp *op = policy_of(sim, r->route);

  EXPECT_ROW(row, row->place == SIM_DURABLE);
  EXPECT_ROW(row, !row->unanswered || op->repeat_in_doubt);
  EXPECT_ROW(row, !row->answered || row->last != OND_ANSWER_AUTH);
  EXPECT_ROW(row, !row->answered || row->last != OND_ANSWER_REFUSED || (op->bisect && sim->config->may_bisect));
  EXPECT_ROW(row, sim->now >= row->not_before);
  EXPECT_ROW(row, row->tries + row->not_started < sim->config->policy.retry.attempts * (levels(op->batch_rows) + 1));
}

static bool is_in(const OndRequest *r, const SimRow *row) {
  for (int i = 0; i < r->n; i++) {
    if (r->tasks[i]->row == row) {
      return true;
    }
  }
  return false;
}

/* Nothing starts before what came earlier has ended or travels with it. */
static void check_order(Sim *sim, const OndRequest *r) {
  const SimRow *first = r->tasks[0]->row;

  for (const SimRow *row = sim->rows; row < sim->rows + sim->n_taken; row++) {
    bool open = row->task != NULL && row->task->outcome == UNRESOLVED && row < first && !is_in(r, row);

    EXPECT_ROW(row, !open);
  }
}

/* No more requests of a route are open than it allows, with all their steps and tries. */
static void check_open(Sim *sim, const OndRequest *r) {
  const OndDeliveryOp *op = policy_of(sim, r->route);
  int n = 1;

  for (int i = 0; i < sim->n_open; i++) {
    n += sim->open[i] != r && sim->open[i]->route == r->route;
  }
  EXPECT(op->open_max == 0 || n <= op->open_max);
}

static void note_open(Sim *sim, OndRequest *r, bool open) {
  for (int i = 0; i < sim->n_open; i++) {
    if (sim->open[i] == r) {
      sim->open[i] = sim->open[--sim->n_open];
      break;
    }
  }
  if (open) {
    EXPECT(sim->n_open < 256);
    sim->open[sim->n_open++] = r;
  }
}

static void check_start(Sim *sim, const OndRequest *r) {
  const OndDeliveryPolicy *policy = &sim->config->policy;
  const OndDeliveryOp *op = policy_of(sim, r->route);
  const SimRow *first = r->tasks[0]->row;
  size_t bytes = 0;

  EXPECT(!sim->commit_failed && !sim->asked && !sim->breaker_due && !sim->auth_due && !sim->halted);
  EXPECT(sim->longest_wait <= policy->permit_wait_max_us);
  EXPECT(sim->stats.accepted > 0 || sim->stats.refused + sim->stats.unmentioned < policy->breaker_refusals);
  EXPECT(sim->n_flights < (policy->ordered ? 1 : policy->concurrency));
  EXPECT(sim->permits == sim->n_flights + 1 && sim->permit_route == r->route && sim->permit_step == r->step);
  EXPECT(sim->now >= sim->paused_until);
  EXPECT(r->open || sim->let == r);
  EXPECT(r->n >= 1 && r->n <= op->batch_rows);
  EXPECT(r->step >= 0 && r->step <= sim->config->job_steps && (r->step == 0 || r->attempt < policy->retry.attempts));
  for (int i = 0; i < r->n; i++) {
    const SimRow *row = r->tasks[i]->row;

    EXPECT_ROW(row, r->tasks[i]->route == row->route && share(sim, row->route, r->route) && !r->tasks[i]->again);
    EXPECT_ROW(row, row->op == first->op || op->group != 0);
    check_row_starts(sim, r, row);
    for (int k = 0; k < i; k++) {
      EXPECT_ROW(row, r->tasks[k] != r->tasks[i]);
    }
    bytes += row->bytes;
  }
  EXPECT(r->n == 1 || op->batch_bytes == 0 || bytes <= op->batch_bytes);
  /* deletes end before updates begin, updates before creates: but those that share requests */
  for (int i = 0; i < sim->n_flights; i++) {
    EXPECT(mix(sim, sim->flights[i].request->tasks[0]->op, first->op));
  }
  for (const SimRow *row = first; row < sim->rows + sim->n_rows; row++) {
    EXPECT_ROW(row, mix(sim, row->op, first->op) || !row->begun);
  }
  if (policy->ordered) {
    check_order(sim, r);
  }
  check_open(sim, r);
}

static void count_failure(Sim *sim, OndAnswer answer) {
  if (answer == OND_ANSWER_READ || answer == OND_ANSWER_REFUSED || answer == OND_ANSWER_CONTINUE) {
    sim->failures = sim->auth_failures = 0;
  } else if (answer == OND_ANSWER_AUTH) {
    sim->auth_failures++;
  } else if (answer != OND_ANSWER_THROTTLED && answer != OND_ANSWER_AGAIN) {
    sim->failures++;
  }
  sim->breaker_due |= sim->failures >= sim->config->policy.breaker_failures;
  sim->auth_due |= sim->auth_failures >= sim->config->policy.breaker_auth;
}

/* What every row of a request hears. */
static void tell_rows(OndRequest *r, const OndReply *reply) {
  for (int i = 0; i < r->n; i++) {
    SimRow *row = r->tasks[i]->row;
    bool read = reply->answer == OND_ANSWER_READ && !row->goes_on;
    bool silent = reply->answer == OND_ANSWER_IN_DOUBT || (read && row->by_row == OND_OUT_UNKNOWN);

    if (reply->answer == OND_ANSWER_AGAIN) {
      row->tries--; /* as if it had not been */
      continue;
    }
    row->answered = true;
    row->last = silent && reads(row) ? OND_ANSWER_UNAVAILABLE : reply->answer;
    row->status = reply->http_status;
    if (reply->answer == OND_ANSWER_IN_DOUBT && !reads(row) &&
        (reply->http_status == 0 || reply->http_status == 502 || reply->http_status == 504)) {
      row->late_at = row->sent_at;
    }
    if (silent && !reads(row)) {
      row->doubt = row->unanswered = true;
    } else if (reply->answer == OND_ANSWER_CONTINUE && !reads(row)) {
      row->doubt = r->tasks[i]->in_doubt = true; /* a job was made: what it does nobody knows yet */
    } else if (reply->answer == OND_ANSWER_REFUSED || (read && row->by_row != OND_OUT_THROTTLED && !silent)) {
      row->doubt = row->older_doubt;
      row->unanswered = false;
    }
    if (read && row->by_row == OND_OUT_ACCEPTED) {
      row->doubt = row->unanswered = false;
    }
  }
}

static OndReply reply_of(OndAnswer answer, int status) {
  OndReply reply = {answer, status, -1, false};

  return reply;
}

static OndOutcome row_answer(Sim *sim, const SimRow *row) {
  if (row->kind == SIM_POISON) {
    return OND_OUT_REJECTED;
  }
  if (chance(&sim->random, sim->config->row_throttled)) {
    return OND_OUT_THROTTLED;
  }
  return chance(&sim->random, sim->config->row_unknown) ? OND_OUT_UNKNOWN : OND_OUT_ACCEPTED;
}

/* Looked up, or found to be there already: the row goes on by another route. */
static void direct(Sim *sim, SimRow *row) {
  if (reads(row)) {
    row->goes_on = row->by_row == OND_OUT_ACCEPTED || row->by_row == OND_OUT_REJECTED;
    row->to = chance(&sim->random, 500) ? OND_ROUTE_CREATE : OND_ROUTE_UPDATE;
  } else if (row->route == OND_ROUTE_CREATE && row->by_row == OND_OUT_ACCEPTED && !row->rerouted && chance(&sim->random, sim->config->conflicts)) {
    row->goes_on = true;
    row->to = OND_ROUTE_UPDATE;
  }
}

static bool goes_to_next_step(Sim *sim, const OndRequest *r) {
  return r->route != OND_ROUTE_LOOKUP && r->step < sim->config->job_steps && chance(&sim->random, 800);
}

/* The destination looks at the content. */
static OndReply judge(Sim *sim, OndRequest *r) {
  bool poison = false;
  bool crash = false;

  if (goes_to_next_step(sim, r)) {
    OndReply reply = reply_of(OND_ANSWER_CONTINUE, 202);

    reply.retry_after_us = pick(&sim->random, -1, sim->config->step_wait);
    return reply;
  }
  for (int i = 0; i < r->n; i++) {
    SimRow *row = r->tasks[i]->row;

    poison |= row->kind == SIM_POISON;
    crash |= row->kind == SIM_CRASH;
    row->by_row = row_answer(sim, row);
    direct(sim, row);
  }
  if (r->route == OND_ROUTE_LOOKUP) {
    return reply_of(OND_ANSWER_READ, 200);
  }
  if (crash || (poison && !sim->config->by_row)) {
    for (int i = 0; i < r->n; i++) {
      ((SimRow *)r->tasks[i]->row)->goes_on = false;
    }
  }
  if (crash) {
    return reply_of(OND_ANSWER_IN_DOUBT, 500);
  }
  if (poison && !sim->config->by_row) {
    OndReply reply = reply_of(OND_ANSWER_REFUSED, 422);

    reply.may_bisect = sim->config->may_bisect;
    return reply;
  }
  return reply_of(OND_ANSWER_READ, 200);
}

static OndReply answer_by_chance(Sim *sim, OndRequest *r) {
  const SimConfig *c = sim->config;

  if (chance(&sim->random, c->no_answer)) {
    return reply_of(OND_ANSWER_IN_DOUBT, 0);
  }
  if (chance(&sim->random, c->five_hundred)) {
    return reply_of(OND_ANSWER_IN_DOUBT, 503);
  }
  if (chance(&sim->random, c->throttled)) {
    OndReply reply = reply_of(OND_ANSWER_THROTTLED, 429);

    if (c->retry_after_max > 0 && chance(&sim->random, 500)) {
      reply.retry_after_us = pick(&sim->random, 0, c->retry_after_max);
    }
    return reply;
  }
  if (chance(&sim->random, c->unavailable)) {
    return reply_of(OND_ANSWER_UNAVAILABLE, chance(&sim->random, 500) ? 408 : 0);
  }
  if (r->agains < 2 && chance(&sim->random, c->again)) {
    return reply_of(OND_ANSWER_AGAIN, 401);
  }
  return chance(&sim->random, c->auth) ? reply_of(OND_ANSWER_AUTH, 401) : judge(sim, r);
}

static OndReply answer_by_step(Sim *sim, OndRequest *r) {
  const SimStep *step = &sim->config->steps[sim->n_starts];
  OndReply reply = reply_of(step->answer, step->status);

  reply.retry_after_us = step->retry_after_us > 0 ? step->retry_after_us : -1;
  reply.may_bisect = sim->config->may_bisect;
  for (int i = 0; i < r->n; i++) {
    ((SimRow *)r->tasks[i]->row)->by_row = step->rows;
  }
  return reply;
}

static void put_in_flight(Sim *sim, OndRequest *r) {
  SimFlight *f = &sim->flights[sim->n_flights++];
  int known = (int)(sizeof(sim->starts) / sizeof(sim->starts[0]));

  f->request = r;
  f->tries = r->attempt + 1;
  f->due = sim->now + pick(&sim->random, sim->config->latency_min, sim->config->latency_max);
  for (int i = 0; i < r->n; i++) {
    ((SimRow *)r->tasks[i]->row)->goes_on = false;
  }
  f->reply = sim->n_starts < sim->config->n_steps ? answer_by_step(sim, r) : answer_by_chance(sim, r);
  for (int i = 0; i < r->n; i++) {
    SimRow *row = r->tasks[i]->row;

    row->place = SIM_IN_FLIGHT;
    row->by = r->route;
    row->task->outcome = UNRESOLVED;
    row->tries++;
    row->begun = true;
    row->sent_at = reads(row) ? row->sent_at : sim->now + WALL_OFFSET;
  }
  if (sim->n_starts < known) {
    sim->starts[sim->n_starts] = (SimStart){sim->now, (int)((SimRow *)r->tasks[0]->row - sim->rows), r->n};
  }
  sim->n_starts++;
  sim->n_retries += r->attempt > 0;
}

static OndStart io_start(void *arg, OndRequest *r, int *bad) {
  Sim *sim = arg;
  size_t bytes = 0;

  check_start(sim, r);
  EXPECT(!sim->halted);
  if (chance(&sim->random, sim->config->start_stopped)) {
    sim->halted = true;
    return OND_START_STOP;
  }
  for (int i = 0; i < r->n; i++) {
    if (((SimRow *)r->tasks[i]->row)->kind == SIM_BAD) {
      *bad = i;
      return OND_START_BAD_ROW;
    }
    bytes += r->tasks[i]->bytes;
  }
  if (sim->config->wire_bytes > 0 && bytes > sim->config->wire_bytes) {
    return OND_START_TOO_LARGE;
  }
  if (chance(&sim->random, sim->config->start_failed)) {
    OndReply reply = reply_of(OND_ANSWER_UNAVAILABLE, 0);

    tell_rows(r, &reply);
    count_failure(sim, reply.answer);
    for (int i = 0; i < r->n; i++) {
      ((SimRow *)r->tasks[i]->row)->not_started++;
      ((SimRow *)r->tasks[i]->row)->by = r->route;
      ((SimRow *)r->tasks[i]->row)->begun = true;
    }
    /* It may be tried again: then it is open from its first try on, though that never went out. */
    note_open(sim, r, false);
    return OND_START_FAILED;
  }
  note_open(sim, r, true);
  put_in_flight(sim, r);
  return OND_START_OK;
}

static SimFlight *first_due(Sim *sim) {
  SimFlight *first = NULL;

  for (int i = 0; i < sim->n_flights; i++) {
    if (first == NULL || sim->flights[i].due < first->due) {
      first = &sim->flights[i];
    }
  }
  return first;
}

static void land_row(Sim *sim, SimRow *row, const OndReply *reply) {
  bool final = reply->answer == OND_ANSWER_READ && !row->goes_on && row->by_row != OND_OUT_THROTTLED;

  row->place = final ? SIM_ENDED : SIM_DURABLE;
  if (reply->answer == OND_ANSWER_READ && !row->goes_on) {
    row->task->outcome = row->by_row;
  }
  if (reply->answer == OND_ANSWER_READ && row->goes_on) {
    row->older_doubt = row->doubt;
    row->task->again = true;
    row->task->route = row->route = row->by = row->to;
    row->rerouted = true;
    row->answered = row->unanswered = false;
  }
  if ((reply->answer == OND_ANSWER_READ && row->goes_on) || reply->answer == OND_ANSWER_CONTINUE) {
    row->tries = row->not_started = 0;
  }
  if (reply->answer == OND_ANSWER_CONTINUE) {
    row->not_before = sim->now + (reply->retry_after_us > 0 ? reply->retry_after_us : 0);
  }
  if (reply->answer == OND_ANSWER_THROTTLED && reply->retry_after_us > 0) {
    row->not_before = sim->now + at_most(reply->retry_after_us, sim->config->policy.retry.retry_after_max_us);
  }
  if (final && row->by_row == OND_OUT_ACCEPTED && sim->unacked++ == 0) {
    sim->unacked_since = sim->now;
  }
}

static OndRequest *io_take(void *arg, OndReply *reply) {
  Sim *sim = arg;
  SimFlight *flight = first_due(sim);
  OndRequest *r;

  if (flight == NULL || flight->due > sim->now) {
    return NULL;
  }
  r = flight->request;
  sim->taken = *reply = flight->reply;
  sim->taken_tries = flight->tries;
  sim->barred_since = 0;
  *flight = sim->flights[--sim->n_flights];
  count_failure(sim, reply->answer);
  tell_rows(r, reply);
  note_open(sim, r, reply->answer == OND_ANSWER_CONTINUE && !sim->asked);
  for (int i = 0; i < r->n; i++) {
    land_row(sim, r->tasks[i]->row, reply);
  }
  return r;
}

static void io_poll(void *arg, int64_t wait_us) {
  Sim *sim = arg;
  SimFlight *first = first_due(sim);
  int64_t before = sim->now;
  int64_t until = sim->now + wait_us;

  EXPECT(wait_us >= 0 && wait_us <= POLL_MAX_US);
  EXPECT(sim->permits == sim->n_flights);
  EXPECT(sim->unacked < sim->config->policy.ack_rows);
  EXPECT(sim->unacked == 0 || sim->now - sim->unacked_since < sim->config->policy.ack_us);
  EXPECT(!sim->asked || ++sim->polls_after_stop <= 1);
  EXPECT(++sim->polls < POLLS_MAX);
  if (first != NULL && first->due < until) {
    until = first->due;
  }
  if (until > sim->now) {
    sim->now = until;
  }
  sim->now += chance(&sim->random, 300) ? pick(&sim->random, 0, sim->config->overshoot_us) : 0;
  sim->idle_polls = sim->now > before || first != NULL ? 0 : sim->idle_polls + 1;
  EXPECT(sim->idle_polls < 3);
}

/* What is on the wire ends without an answer; some of it was not sent yet. */
static void io_abandon(void *arg) {
  Sim *sim = arg;

  EXPECT(sim->asked || sim->commit_failed);
  sim->abandoned = true;
  for (int i = 0; i < sim->n_flights; i++) {
    SimFlight *f = &sim->flights[i];

    if (f->due > sim->now) {
      f->due = sim->now;
      f->reply = chance(&sim->random, 300) ? reply_of(OND_ANSWER_UNAVAILABLE, 0) : reply_of(OND_ANSWER_IN_DOUBT, 0);
    }
  }
}

/* --- the budget ------------------------------------------------------------------------------------------- */

/* No window of the limit's length, wherever it begins, holds more than its number. */
static void count_grant(Sim *sim) {
  for (int i = 0; i < sim->config->n_limits; i++) {
    OndRateLimit limit = sim->config->limits[i];
    int64_t *nth_last = &sim->granted[i][sim->n_granted % limit.requests];

    EXPECT(sim->n_granted < limit.requests || sim->now - *nth_last > limit.window_us);
    *nth_last = sim->now;
    ond_rate_window_take(&sim->windows[i], sim->now);
  }
  sim->n_granted++;
  sim->permits++;
}

/* Others have the places that it would need. */
static int64_t io_begin(void *arg, OndRequest *request) {
  Sim *sim = arg;
  int64_t *until = &sim->barred_until[request->route];
  int64_t wait;

  EXPECT(!sim->asked && !sim->commit_failed && !sim->breaker_due && !sim->auth_due && !sim->halted);
  EXPECT(sim->barred_longest <= sim->config->policy.permit_wait_max_us);
  EXPECT(request->step == 0 && !request->open);
  EXPECT(sim->now >= *until);
  if (sim->let != request && sim->config->let_begin > 0 && sim->n_let == sim->config->let_begin) {
    wait = sim->config->barred_max;
  } else if (!chance(&sim->random, sim->config->barred)) {
    sim->n_let++;
    sim->let = request;
    sim->barred_since = 0;
    return 0;
  } else {
    wait = pick(&sim->random, 1, sim->config->barred_max);
  }
  *until = sim->now + wait;
  if (sim->barred_since == 0) {
    sim->barred_since = sim->now;
  }
  if (sim->now - sim->barred_since > sim->barred_longest) {
    sim->barred_longest = sim->now - sim->barred_since;
  }
  return wait;
}

static int64_t io_permit(void *arg, const OndRequest *request) {
  Sim *sim = arg;
  int64_t wait = sim->paused_until > sim->now ? sim->paused_until - sim->now : 0;

  EXPECT(!sim->asked && !sim->commit_failed && !sim->breaker_due && !sim->auth_due);
  EXPECT(sim->longest_wait <= sim->config->policy.permit_wait_max_us);
  EXPECT(request->n > 0 && share(sim, request->tasks[0]->route, request->route));
  for (int i = 0; i < sim->config->n_limits; i++) {
    int64_t w = ond_rate_window_wait(&sim->windows[i], sim->now);

    wait = w > wait ? w : wait;
  }
  if (wait == 0) {
    count_grant(sim);
    sim->permit_route = request->route;
    sim->permit_step = request->step;
  }
  sim->permit_due = sim->now + wait;
  sim->longest_wait = wait > sim->longest_wait ? wait : sim->longest_wait;
  if (wait > 0 && !sim->starved) {
    sim->starved_since = sim->now;
  } else if (wait == 0 && sim->starved) {
    sim->starved_us += sim->now - sim->starved_since;
  }
  sim->starved = wait > 0;
  return wait;
}

static void io_permit_done(void *arg) {
  Sim *sim = arg;

  EXPECT(sim->permits > 0);
  sim->permits--;
}

static void io_pause(void *arg, int64_t until_us) {
  Sim *sim = arg;
  int64_t named = at_most(sim->taken.retry_after_us, sim->config->policy.retry.retry_after_max_us);
  int64_t most = backoff_most(sim, sim->taken_tries);

  EXPECT(sim->taken.answer == OND_ANSWER_THROTTLED);
  EXPECT(until_us >= sim->now + (named > 0 ? named : 0));
  EXPECT(until_us <= sim->now + (named > most ? named : most));
  if (until_us > sim->paused_until) {
    sim->paused_until = until_us;
  }
}

/* --- time and chance -------------------------------------------------------------------------------------- */

static OndStop io_stop(void *arg) {
  Sim *sim = arg;

  if (sim->config->stop_after == 0 || sim->now - sim->begin < sim->config->stop_after) {
    return OND_STOP_NONE;
  }
  sim->asked = true;
  return sim->config->stop;
}

static int64_t io_clock(void *arg) {
  return ((Sim *)arg)->now;
}

static int64_t io_wall(void *arg) {
  return ((Sim *)arg)->now + WALL_OFFSET;
}

static uint64_t io_random(void *arg) {
  Sim *sim = arg;

  return sim->config->use_fixed_random ? sim->config->fixed_random : unit_random(&sim->random);
}

/* --- a run ------------------------------------------------------------------------------------------------ */

static SimKind kind_by_chance(Sim *sim) {
  const SimConfig *c = sim->config;
  int roll = (int)pick(&sim->random, 0, 999);

  if (roll < c->poison) {
    return SIM_POISON;
  }
  if (roll < c->poison + c->crash) {
    return SIM_CRASH;
  }
  return roll < c->poison + c->crash + c->bad ? SIM_BAD : SIM_GOOD;
}

static void make_rows(Sim *sim) {
  const SimConfig *c = sim->config;

  sim->n_rows = c->deletes + c->updates + c->creates;
  for (int i = 0; i < sim->n_rows; i++) {
    SimRow *row = &sim->rows[i];

    row->op = i < c->deletes ? OND_OP_DELETE : i < c->deletes + c->updates ? OND_OP_UPDATE : OND_OP_CREATE;
    row->route = row->op == OND_OP_DELETE   ? OND_ROUTE_DELETE
                 : chance(&sim->random, c->lookups) ? OND_ROUTE_LOOKUP
                 : row->op == OND_OP_UPDATE ? OND_ROUTE_UPDATE
                                            : OND_ROUTE_CREATE;
    row->by = row->route;
    row->kind = kind_by_chance(sim);
    row->bytes = (size_t)pick(&sim->random, (int64_t)c->bytes_min, (int64_t)c->bytes_max);
  }
}

static void check_stop(Sim *sim) {
  const OndDeliveryPolicy *policy = &sim->config->policy;

  switch (sim->stop) {
  case OND_STOP_NONE: EXPECT(sim->drained && sim->n_taken == sim->n_rows); break;
  case OND_STOP_CANCELLED:
  case OND_STOP_TIMEOUT: EXPECT(sim->asked && sim->stop == sim->config->stop); break;
  case OND_STOP_BREAKER: EXPECT(sim->breaker_due); break;
  case OND_STOP_AUTH: EXPECT(sim->auth_due); break;
  case OND_STOP_REFUSALS: EXPECT(sim->stats.refused + sim->stats.unmentioned >= policy->breaker_refusals); break;
  case OND_STOP_RATE:
    EXPECT(sim->longest_wait > policy->permit_wait_max_us || sim->barred_longest > policy->permit_wait_max_us || policy->breaker_throttled < 1000);
    break;
  case OND_STOP_SCRIPT: EXPECT(sim->halted); break;
  case OND_STOP_COMMIT: break;
  }
  EXPECT((sim->stop == OND_STOP_COMMIT) == sim->commit_failed);
}

/* Without faults of the way every row gets what it deserves. */
static void check_deserved(Sim *sim, const SimRow *row) {
  const SimConfig *c = sim->config;
  bool cut = policy_of(sim, row->by)->bisect && (c->may_bisect || c->by_row);
  bool calm =
      c->no_answer + c->five_hundred + c->throttled + c->unavailable + c->auth + c->again + c->start_failed + c->row_throttled + c->row_unknown == 0;

  if (!calm || c->n_steps > 0 || sim->stop != OND_STOP_NONE) {
    return;
  }
  if (row->kind == SIM_BAD || (c->wire_bytes > 0 && row->bytes > c->wire_bytes)) {
    EXPECT_ROW(row, row->outcome == OND_OUT_INVALID);
  } else if (cut && (c->crash == 0 || policy_of(sim, row->by)->repeat_in_doubt)) {
    EXPECT_ROW(row, row->outcome == (row->kind == SIM_POISON  ? OND_OUT_REJECTED
                                     : row->kind == SIM_CRASH ? OND_OUT_UNAVAILABLE
                                                              : OND_OUT_ACCEPTED));
  }
}

static void check_end(Sim *sim) {
  check_stop(sim);
  EXPECT(sim->n_flights == 0 && sim->permits == 0);
  EXPECT(sim->stats.requests == sim->n_starts && sim->stats.in_flight == 0);
  EXPECT(sim->stats.retries == sim->n_retries);
  if (sim->starved) {
    sim->starved_us += sim->now - sim->starved_since;
  }
  EXPECT(sim->stats.throttled_us == sim->starved_us);
  if (sim->commit_failed) {
    return;
  }
  EXPECT(sim->held_rows == 0 && sim->unacked == 0);
  for (int i = 0; i < sim->n_taken; i++) {
    EXPECT_ROW(&sim->rows[i], sim->rows[i].place == SIM_RECORDED);
    check_deserved(sim, &sim->rows[i]);
  }
  EXPECT(sim->stats.accepted == sim_count(sim, OND_OUT_ACCEPTED));
  EXPECT(sim->stats.refused == sim_count(sim, OND_OUT_REJECTED));
}

bool sim_run(Sim *sim, const SimConfig *config, unsigned long long seed) {
  const OndDeliveryIo io = {sim,       io_next,        io_commit, io_begin, io_start, io_take,  io_poll, io_abandon,
                            io_permit, io_permit_done, io_pause,  io_stop,  io_clock, io_wall, io_random};

  memset(sim, 0, sizeof(*sim));
  sim->config = config;
  sim->random = seed;
  sim->begin = sim->now = pick(&sim->random, 1, SIM_S);
  for (int i = 0; i < config->n_limits; i++) {
    ond_rate_window_init(&sim->windows[i], config->limits[i]);
    sim->granted[i] = calloc(config->limits[i].requests, sizeof(int64_t));
  }
  make_rows(sim);
  if (setjmp(sim->broken) == 0) {
    sim->stop = ond_deliver(&io, &config->policy, &sim->stats);
    check_end(sim);
  }
  return sim->problem[0] == '\0';
}

void sim_free(Sim *sim) {
  for (int i = 0; i < SIM_LIMITS; i++) {
    free(sim->granted[i]);
  }
  for (int i = 0; i < sim->n_rows; i++) {
    free(sim->rows[i].task);
  }
}

int sim_count(const Sim *sim, OndOutcome outcome) {
  int n = 0;

  for (int i = 0; i < sim->n_rows; i++) {
    n += sim->rows[i].place == SIM_RECORDED && sim->rows[i].outcome == outcome;
  }
  return n;
}
