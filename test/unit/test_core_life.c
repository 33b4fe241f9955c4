/*
 * test_core_life.c - the life of a sync over many runs: plan, delivery and recovery together, with a destination that acts late.
 *
 *   OND_SIM_SECONDS=600 build/unit/test_core over_many_runs     lives by chance for ten minutes
 *   OND_SIM_SEED=4711   build/unit/test_core over_many_runs     this life alone (with OND_SIM_SECONDS: from here on)
 *
 * A table of keys changes between runs. Each run folds what a dead one left, plans every key, and delivers through ond_deliver(). What is
 * durable is only what commit() made so. A run dies at any call, also between a commit and its learning of it. The destination carries
 * a request out and answers, or does not answer and carries it out at once, never, or late, up to in_doubt_wait after it was sent, also when
 * another try of the change was accepted meanwhile; only with a 5xx it is done with the request. Version POISON it refuses, with its batch or by row.
 * A strict destination knows a create from an update: the one it answers with "exists", the other with "missing", and the row goes on by the other way.
 * Version PICKY it takes as a create and refuses as an update.
 *
 * Checked, by a model that knows what was sent, carried out and made durable:
 *   - nothing starts while a request with another content for the key may still arrive, and nothing carried out is older than what was;
 *   - a change goes out again only while nobody knows how its last try ended: not after an answer that was acknowledged, and with
 *     on_unknown = hold not at all unless a person released it, whatever became of other versions since;
 *   - an id belongs to one content of one key;
 *   - every key of a run is in exactly one count, and what counts as accepted the destination has taken;
 *   - no window of a limit holds more than its number, over all runs and through changes of the limit;
 *   - when all is calm, some runs later, the destination has what the table has, and a further run sends nothing.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "core/change.h"
#include "core/deliver.h"
#include "core/rate.h"
#include "unit.h"

#define MS          INT64_C(1000)
#define S           INT64_C(1000000)
#define WALL_OFFSET (1767225600 * S)
#define KEYS_MAX    24
#define IDS_MAX     4096
#define LATE_MAX    512
#define GRANTS_MAX  8192
#define ABSENT      0
#define POISON      4
#define INVALID     5 /* in the table, but it cannot be sent */
#define PICKY       6

/* How the last try of a change ended, as far as anybody can know. */
typedef enum Fate { NEVER_SENT, FLYING, NOT_TAKEN, SILENT, ANSWERED, ACKED } Fate;

typedef struct Change {
  int key, version;
  Fate fate;
  bool silent; /* some try got no answer, and nothing was said since that ends this */
  bool released;
} Change;

typedef struct Row { /* of a run */
  OndTask task;
  int key, version;
  int64_t id;
  bool taken, recorded;
} Row;

typedef struct Late {
  int key, version;
  OndRoute route;
  int64_t id, at;
} Late;

typedef struct Flight {
  OndRequest *request;
  OndReply reply;
  OndOutcome rows[KEYS_MAX];
  bool carries; /* at `due`, unless it is forgotten before */
  int64_t due;
} Flight;

typedef struct Window { /* durable */
  int key, version, no;
  OndOp op;
  int64_t id;
} Window;

typedef struct Life {
  unsigned long long random;
  int64_t now, wait;
  int n_keys;
  OndMode mode;
  bool hold, by_row, strict, calm;
  OndDeliveryPolicy policy;
  /* the table, the destination */
  int model[KEYS_MAX], there[KEYS_MAX];
  int64_t applied[KEYS_MAX]; /* id of what was carried out last */
  Late late[LATE_MAX];
  int n_late;
  /* durable */
  OndKeyState state[KEYS_MAX];
  Window windows[KEYS_MAX * 2];
  int n_windows;
  int64_t next_id;
  /* what the model knows */
  Change changes[IDS_MAX];
  OndRateWindow limits[2]; /* one for deletes, one for the others */
  int64_t grants[2][GRANTS_MAX];
  int n_grants[2], first_grant[2];
  /* a run */
  Row rows[KEYS_MAX];
  int n_rows, n_taken, sent;
  Flight flights[KEYS_MAX];
  int n_flights, permits;
  int calls_left; /* until the process dies; < 0: it does not */
  bool dead;
  int counts[OND_VERDICTS];
  char problem[300];
} Life;

static int64_t pick(Life *l, int64_t least, int64_t most) {
  return least + (int64_t)(unit_random(&l->random) % (unsigned long long)(most - least + 1));
}

static bool chance(Life *l, int percent) {
  return pick(l, 0, 99) < percent;
}

static void __attribute__((format(printf, 3, 4))) expect(Life *l, bool ok, const char *fmt, ...) {
  va_list args;

  if (!ok && l->problem[0] == '\0') {
    va_start(args, fmt);
    vsnprintf(l->problem, sizeof(l->problem), fmt, args);
    va_end(args);
  }
}

static OndHash hash_of(int version) {
  OndHash h = {{0}};

  h.b[0] = (uint8_t)version; /* ABSENT is the delete */
  return h;
}

static int64_t wall(const Life *l) {
  return l->now + WALL_OFFSET;
}

/* Counts down to the death of the process; true: it is dead. */
static bool dies(Life *l) {
  if (l->calls_left >= 0 && l->calls_left-- == 0) {
    l->dead = true;
  }
  return l->dead;
}

/* --- the destination -------------------------------------------------------------------------------------- */

/* What is refused is refused whenever it comes. */
static void refuse(Life *l, int64_t id) {
  for (int i = l->n_late - 1; i >= 0; i--) {
    if (l->late[i].id == id) {
      l->late[i] = l->late[--l->n_late];
    }
  }
}

/* What the destination says to a request, now. */
typedef enum Word { TAKES, REFUSES, EXISTS, MISSES } Word;

static Word word_of(const Life *l, int key, int version, OndRoute route) {
  if (version == POISON) {
    return REFUSES;
  }
  if (l->strict && route == OND_ROUTE_CREATE && l->there[key] != ABSENT) {
    return EXISTS;
  }
  if (l->strict && route == OND_ROUTE_UPDATE && l->there[key] == ABSENT) {
    return MISSES;
  }
  return version == PICKY && route == OND_ROUTE_UPDATE ? REFUSES : TAKES;
}

static void carry_out(Life *l, int key, int version, int64_t id, OndRoute route) {
  if (version == POISON) {
    refuse(l, id);
  }
  if (word_of(l, key, version, route) == TAKES) {
    expect(l, id >= l->applied[key], "key %d: change %lld was overtaken by %lld", key, (long long)l->applied[key], (long long)id);
    l->applied[key] = id;
    l->there[key] = version;
  }
}

static void come_late(Life *l, const Row *row, int64_t at) {
  bool moot = row->version == PICKY && row->task.route == OND_ROUTE_UPDATE; /* refused whenever it comes */

  if (l->n_late < LATE_MAX && !moot) {
    l->late[l->n_late++] = (Late){row->key, row->version, row->task.route, row->id, at};
  }
}

static void pass(Life *l, int64_t until) {
  for (;;) {
    int first = -1;

    for (int i = 0; i < l->n_late; i++) {
      if (l->late[i].at <= until && (first < 0 || l->late[i].at < l->late[first].at)) {
        first = i;
      }
    }
    if (first < 0) {
      break;
    }
    Late late = l->late[first];

    l->late[first] = l->late[--l->n_late];
    l->now = late.at > l->now ? late.at : l->now;
    carry_out(l, late.key, late.version, late.id, late.route);
  }
  l->now = until > l->now ? until : l->now;
}

/* No answer: carried out at once, never, or late. */
static void swallow(Life *l, const Row *row, bool may_be_late) {
  int how = (int)pick(l, 0, 3);

  if (how == 0) {
    carry_out(l, row->key, row->version, row->id, row->task.route);
  } else if (how >= 2 && may_be_late) {
    come_late(l, row, l->now + pick(l, 0, l->wait - 1));
  }
}

/* --- the store -------------------------------------------------------------------------------------------- */

static OndTask *io_next(void *arg) {
  Life *l = arg;
  Row *row = &l->rows[l->n_taken];

  if (l->n_taken == l->n_rows) {
    return NULL;
  }
  l->n_taken++;
  row->taken = true;
  return &row->task;
}

static bool is_accepted(const OndKeyState *s, int version) {
  return version == ABSENT ? !s->has_accepted && !s->has_refused && s->doubt_op == OND_OP_NONE : s->has_accepted && ond_hash_equal(s->accepted, hash_of(version));
}

static void record(Life *l, Row *row) {
  const OndTask *t = &row->task;
  OndResolvePolicy policy = {wall(l), l->wait, l->hold, 3, t->interrupted};
  OndResolution r = ond_change_resolve(ond_key_state_is_empty(&l->state[row->key]) ? NULL : &l->state[row->key], t->op, hash_of(row->version),
                                       row->id, t->outcome, &(OndSending){t->in_doubt, t->route != ond_op_route(t->op), t->sent_at, t->late_at, t->renewed}, &policy);

  expect(l, row->taken && !row->recorded, "key %d was recorded twice", row->key);
  row->recorded = true;
  l->state[row->key] = r.after;
  if (t->outcome == OND_OUT_ACCEPTED) {
    expect(l, l->changes[row->id].fate == ANSWERED && is_accepted(&r.after, row->version), "key %d: accepted without an answer", row->key);
    expect(l, row->version != POISON, "key %d: poison was accepted", row->key);
  }
  if (l->changes[row->id].fate == ANSWERED) {
    l->changes[row->id].fate = ACKED;
  }
  expect(l, t->outcome != OND_OUT_REJECTED || row->version == POISON || row->version == PICKY, "key %d: a good row was refused", row->key);
}

/* A window goes when all its rows are recorded. */
static void drop_windows(Life *l) {
  for (int i = l->n_windows - 1; i >= 0; i--) {
    bool open = false;

    for (int k = 0; k < l->n_rows; k++) {
      open = open || (l->rows[k].task.window_no == l->windows[i].no && !l->rows[k].recorded);
    }
    if (!open) {
      l->windows[i] = l->windows[--l->n_windows];
    }
  }
}

static bool io_commit(void *arg, OndTask **resolved, int n_resolved, OndTask **window, int n_window, int window_no) {
  Life *l = arg;

  if (l->dead || (dies(l) && chance(l, 50))) {
    return false;
  }
  for (int i = 0; i < n_resolved; i++) {
    record(l, resolved[i]->row);
  }
  for (int i = 0; i < n_window; i++) {
    const Row *row = window[i]->row;

    l->windows[l->n_windows++] = (Window){row->key, row->version, window_no, row->task.op, row->id};
  }
  drop_windows(l);
  pass(l, l->now + pick(l, 0, 5 * MS));
  return !l->dead; /* durable, but the process died before it knew */
}

/* --- the transport ---------------------------------------------------------------------------------------- */

static bool in_a_window(const Life *l, const Row *row) {
  for (int i = 0; i < l->n_windows; i++) {
    if (l->windows[i].id == row->id && l->windows[i].key == row->key) {
      return true;
    }
  }
  return false;
}

static void check_start(Life *l, const Row *row) {
  Change *c = &l->changes[row->id];
  bool known = c->fate == ANSWERED || c->fate == ACKED || c->fate == FLYING;

  expect(l, in_a_window(l, row), "key %d was sent outside of a window", row->key);
  expect(l, !known, "key %d: change %lld was sent again after %d", row->key, (long long)row->id, c->fate);
  expect(l, !l->hold || c->fate != SILENT || c->released, "key %d is held, and was sent again", row->key);
  for (int i = 0; i < l->n_late; i++) {
    expect(l, l->late[i].key != row->key || l->late[i].id == row->id, "key %d was sent while an old request may still arrive", row->key);
  }
  for (int i = 0; i < l->n_flights; i++) {
    for (int k = 0; k < l->flights[i].request->n; k++) {
      expect(l, l->flights[i].request->tasks[k]->row != row, "key %d is in flight twice", row->key);
    }
  }
  c->fate = FLYING;
  c->released = false;
}

static bool has_poison(const OndRequest *r) {
  for (int i = 0; i < r->n; i++) {
    if (((const Row *)r->tasks[i]->row)->version == POISON) {
      return true;
    }
  }
  return false;
}

static OndReply reply_of(OndAnswer answer, int status) {
  return (OndReply){answer, status, -1, false};
}

/* The destination takes it: by row, or as a whole unless something in it is poison. */
static void take_it(Life *l, Flight *f) {
  bool poison = has_poison(f->request);

  for (int i = 0; i < f->request->n; i++) {
    const Row *row = f->request->tasks[i]->row;

    f->rows[i] = row->version == POISON ? OND_OUT_REJECTED : OND_OUT_ACCEPTED;
    if (!l->calm && row->version != POISON && chance(l, 3)) {
      f->rows[i] = chance(l, 50) ? OND_OUT_THROTTLED : OND_OUT_UNKNOWN;
    }
  }
  f->carries = l->by_row || !poison;
  f->reply = f->carries ? reply_of(OND_ANSWER_READ, 200) : reply_of(OND_ANSWER_REFUSED, 422);
  f->reply.may_bisect = true;
}

static void decide(Life *l, Flight *f) {
  int how = l->calm ? 99 : (int)pick(l, 0, 99);

  if (how < 12) {
    f->reply = reply_of(OND_ANSWER_IN_DOUBT, chance(l, 50) ? 503 : 0);
    for (int i = 0; i < f->request->n && (l->by_row || !has_poison(f->request)); i++) {
      swallow(l, f->request->tasks[i]->row, f->reply.http_status == 0);
    }
  } else if (how < 18) {
    f->reply = reply_of(OND_ANSWER_THROTTLED, 429);
    f->reply.retry_after_us = chance(l, 50) ? pick(l, 0, 3 * S) : -1;
  } else if (how < 24) {
    f->reply = reply_of(OND_ANSWER_UNAVAILABLE, 408);
  } else if (how < 25) {
    f->reply = reply_of(OND_ANSWER_AUTH, 401);
  } else {
    take_it(l, f);
  }
}

static int64_t io_begin(void *arg, OndRequest *r) {
  (void)arg;
  (void)r;
  return 0;
}

static OndStart io_start(void *arg, OndRequest *r, int *bad) {
  Life *l = arg;
  Flight *f = &l->flights[l->n_flights];

  (void)bad;
  if (dies(l) || l->problem[0]) {
    return OND_START_FAILED;
  }
  for (int i = 0; i < r->n; i++) {
    check_start(l, r->tasks[i]->row);
  }
  *f = (Flight){.request = r, .due = l->now + pick(l, MS, 500 * MS)};
  decide(l, f);
  l->n_flights++;
  l->sent += r->n;
  return OND_START_OK;
}

/* A row of an answer that can be read. A no by another way than its first says nothing of a try without an answer. */
static Fate land_read(Life *l, Row *row, OndOutcome outcome) {
  Change *c = &l->changes[row->id];
  Word word = word_of(l, row->key, row->version, row->task.route);

  if (outcome == OND_OUT_UNKNOWN) {
    swallow(l, row, true);
    return SILENT;
  }
  if (outcome == OND_OUT_THROTTLED) {
    return NOT_TAKEN;
  }
  if (word == EXISTS || word == MISSES) {
    row->task.again = true;
    row->task.route = word == EXISTS ? OND_ROUTE_UPDATE : OND_ROUTE_CREATE;
    return NOT_TAKEN;
  }
  carry_out(l, row->key, row->version, row->id, row->task.route);
  row->task.outcome = word == TAKES ? OND_OUT_ACCEPTED : OND_OUT_REJECTED;
  c->silent = c->silent && word == REFUSES && row->task.route != ond_op_route(row->task.op);
  return c->silent ? SILENT : ANSWERED;
}

static void land_row(Life *l, const Flight *f, int i) {
  Row *row = f->request->tasks[i]->row;
  Change *c = &l->changes[row->id];

  if (f->reply.answer == OND_ANSWER_READ) {
    row->task.outcome = f->rows[i];
    c->fate = land_read(l, row, f->rows[i]);
  } else if (f->reply.answer == OND_ANSWER_REFUSED) {
    c->fate = NOT_TAKEN; /* of a batch: it may be cut */
    if (f->request->n == 1) {
      carry_out(l, row->key, row->version, row->id, row->task.route); /* which is nothing, now and for older tries */
    }
  } else {
    c->fate = f->reply.answer == OND_ANSWER_IN_DOUBT ? SILENT : NOT_TAKEN;
  }
  c->silent = c->silent || c->fate == SILENT;
}

static OndRequest *io_take(void *arg, OndReply *reply) {
  Life *l = arg;

  for (int i = 0; i < l->n_flights; i++) {
    Flight f = l->flights[i];

    if (f.due > l->now) {
      continue;
    }
    for (int k = 0; k < f.request->n && !l->dead; k++) {
      land_row(l, &f, k);
    }
    *reply = f.reply;
    l->flights[i] = l->flights[--l->n_flights];
    (void)dies(l); /* the answer was there, nobody will know */
    return f.request;
  }
  return NULL;
}

/* What is on the wire arrives all the same, or was not written yet. */
static void let_go(Life *l, Flight *f) {
  bool written = l->dead || chance(l, 70);

  for (int i = 0; i < f->request->n; i++) {
    const Row *row = f->request->tasks[i]->row;

    if (f->carries && written && f->rows[i] == OND_OUT_ACCEPTED) {
      come_late(l, row, f->due);
    }
    l->changes[row->id].fate = written || !f->carries ? SILENT : NOT_TAKEN;
    l->changes[row->id].silent |= written || !f->carries;
  }
  f->reply = written || !f->carries ? reply_of(OND_ANSWER_IN_DOUBT, 0) : reply_of(OND_ANSWER_UNAVAILABLE, 0);
  f->carries = false;
  f->due = l->now;
}

static void io_abandon(void *arg) {
  Life *l = arg;

  for (int i = 0; i < l->n_flights; i++) {
    let_go(l, &l->flights[i]);
  }
}

static void io_poll(void *arg, int64_t wait_us) {
  Life *l = arg;
  int64_t until = l->now + wait_us;

  (void)dies(l);
  for (int i = 0; i < l->n_flights; i++) {
    until = l->flights[i].due < until ? l->flights[i].due : until;
  }
  pass(l, until);
}

/* --- the budget ------------------------------------------------------------------------------------------- */

static int64_t io_permit(void *arg, const OndRequest *r) {
  Life *l = arg;
  int which = r->tasks[0]->op == OND_OP_DELETE ? 0 : 1;
  OndRateWindow *w = &l->limits[which];
  int64_t wait = ond_rate_window_wait(w, l->now);
  int64_t n = 1;

  if (wait > 0) {
    return wait;
  }
  ond_rate_window_take(w, l->now);
  for (int i = l->n_grants[which] - 1; i >= l->first_grant[which] && l->grants[which][i] >= l->now - w->limit.window_us; i--) {
    n++;
  }
  expect(l, n <= w->limit.requests, "%lld requests in a window of %u", (long long)n, w->limit.requests);
  if (l->n_grants[which] < GRANTS_MAX) {
    l->grants[which][l->n_grants[which]++] = l->now;
  }
  l->permits++;
  return 0;
}

static void io_permit_done(void *arg) {
  ((Life *)arg)->permits--;
}

static void io_pause(void *arg, int64_t until_us) {
  (void)arg;
  (void)until_us;
}

/* The limit changes between runs; what was counted before, as far as the old window reached, still counts. */
static void change_limit(Life *l, int which) {
  OndRateLimit limit = {(uint32_t)pick(l, 2, 30), pick(l, 100, 3000) * MS};
  int64_t reach = l->now - l->limits[which].limit.window_us;

  while (l->first_grant[which] < l->n_grants[which] && l->grants[which][l->first_grant[which]] < reach) {
    l->first_grant[which]++;
  }
  ond_rate_window_change(&l->limits[which], limit, l->now);
  /* More may have gone out than the new limit allows; what it promises begins now. */
  if (l->n_grants[which] - l->first_grant[which] > (int)limit.requests) {
    l->first_grant[which] = l->n_grants[which] - (int)limit.requests;
  }
}

/* --- time ------------------------------------------------------------------------------------------------- */

static OndStop io_stop(void *arg) {
  Life *l = arg;

  return l->dead || l->problem[0] ? OND_STOP_CANCELLED : !l->calm && chance(l, 1) && chance(l, 30) ? OND_STOP_TIMEOUT : OND_STOP_NONE;
}

static int64_t io_clock(void *arg) {
  return ((Life *)arg)->now;
}

static int64_t io_wall(void *arg) {
  return wall(arg);
}

static uint64_t io_random(void *arg) {
  return unit_random(&((Life *)arg)->random);
}

/* --- a run ------------------------------------------------------------------------------------------------ */

static void fold(Life *l) {
  for (int i = 0; i < l->n_windows; i++) {
    const Window *w = &l->windows[i];
    OndKeyState *s = &l->state[w->key];
    OndKeyState after;

    if (ond_change_fold(ond_key_state_is_empty(s) ? NULL : s, w->op, hash_of(w->version), w->id, wall(l), l->hold, &after)) {
      *s = after;
    }
  }
  l->n_windows = 0;
  /* An answer that nobody recorded is none. */
  for (int64_t id = 1; id < l->next_id; id++) {
    if (l->changes[id].fate == ANSWERED || l->changes[id].fate == FLYING) {
      l->changes[id].fate = SILENT;
      l->changes[id].silent = true;
    }
  }
}

static OndOp op_of(OndVerdict v) {
  return v == OND_V_CREATE ? OND_OP_CREATE : v == OND_V_UPDATE ? OND_OP_UPDATE : v == OND_V_DELETE ? OND_OP_DELETE : OND_OP_NONE;
}

static void add_row(Life *l, int key, OndOp op, bool same_change) {
  Row *row = &l->rows[l->n_rows++];
  Change *c;

  *row = (Row){.key = key, .version = op == OND_OP_DELETE ? ABSENT : l->model[key]};
  row->id = same_change ? l->state[key].change_id : l->next_id++;
  row->task.op = op;
  row->task.route = op == OND_OP_DELETE ? OND_ROUTE_DELETE : op == OND_OP_UPDATE ? OND_ROUTE_UPDATE : OND_ROUTE_CREATE;
  row->task.bytes = 10;
  row->task.row = row;
  c = &l->changes[row->id];
  expect(l, row->id > 0 && (c->fate == NEVER_SENT || (c->key == key && c->version == row->version)), "key %d: an id of another content", key);
  c->key = key;
  c->version = row->version;
}

/* What the diff says of a key. */
static OndPlan plan(Life *l, int key) {
  OndPlanPolicy policy = {l->mode, l->mode == OND_MODE_MIRROR ? OND_LEAVE_DELETE : OND_LEAVE_KEEP, false, wall(l), l->wait};
  OndKeyState *s = &l->state[key];
  OndHash hash = hash_of(l->model[key]);
  OndPresence presence = l->model[key] == ABSENT ? OND_MODEL_LEFT : l->model[key] == INVALID ? OND_MODEL_INVALID : OND_MODEL_ROW;
  OndPlan p = ond_change_plan(ond_key_state_is_empty(s) ? NULL : s, presence, &hash, &policy);
  bool due = false;

  for (int i = 0; i < l->n_late; i++) {
    due = due || (l->late[i].key == key && l->late[i].version != l->model[key]); /* the same again does no harm */
  }
  expect(l, p.verdict != OND_V_UNCHANGED || (l->there[key] == l->model[key] && !due), "key %d: unchanged, but the destination differs", key);
  expect(l, p.verdict != OND_V_FORGET || l->mode != OND_MODE_MIRROR || (l->there[key] == ABSENT && !due), "key %d: forgotten too early", key);
  expect(l, presence != OND_MODEL_INVALID || p.verdict == OND_V_INVALID, "key %d: an invalid row is not present", key);
  if (p.verdict == OND_V_FORGET) {
    memset(s, 0, sizeof(*s));
  } else if (p.settle) {
    *s = ond_change_settled(s);
  }
  return p;
}

/* Deletes, then updates, then creates. */
static void plan_all(Life *l) {
  static const OndOp ORDER[] = {OND_OP_DELETE, OND_OP_UPDATE, OND_OP_CREATE};
  OndPlan plans[KEYS_MAX];

  memset(l->counts, 0, sizeof(l->counts));
  l->n_rows = l->n_taken = l->sent = 0;
  for (int key = 0; key < l->n_keys; key++) {
    if (l->model[key] == ABSENT && ond_key_state_is_empty(&l->state[key])) {
      plans[key].verdict = OND_V_KEEP; /* the diff does not see it */
      continue;
    }
    plans[key] = plan(l, key);
    l->counts[plans[key].verdict]++;
  }
  for (int i = 0; i < 3; i++) {
    for (int key = 0; key < l->n_keys; key++) {
      if (op_of(plans[key].verdict) == ORDER[i]) {
        add_row(l, key, ORDER[i], plans[key].same_change);
      }
    }
  }
}

/* Each row is recorded once or was never taken; what is accepted was counted so. */
static void check_end(Life *l, OndStop stop, const OndDeliveryStats *stats) {
  int accepted = 0;
  int planned = l->counts[OND_V_CREATE] + l->counts[OND_V_UPDATE] + l->counts[OND_V_DELETE];

  expect(l, l->permits == 0 && l->n_flights == 0, "a permit or a request is left");
  expect(l, l->n_rows == planned, "the plan's counts do not add up");
  for (int i = 0; i < l->n_rows; i++) {
    accepted += l->rows[i].recorded && l->rows[i].task.outcome == OND_OUT_ACCEPTED;
    expect(l, stop == OND_STOP_COMMIT || l->rows[i].recorded == l->rows[i].taken, "key %d was taken and not recorded", l->rows[i].key);
    expect(l, stop != OND_STOP_NONE || l->rows[i].recorded, "key %d was lost", l->rows[i].key);
  }
  expect(l, stop == OND_STOP_COMMIT ? accepted <= stats->accepted : accepted == stats->accepted, "the counts of accepted rows differ");
  expect(l, stop == OND_STOP_COMMIT || l->n_windows == 0, "a window is left of a run that ended");
}

static void run(Life *l) {
  const OndDeliveryIo io = {l,         io_next,        io_commit, io_begin, io_start, io_take,  io_poll, io_abandon,
                            io_permit, io_permit_done, io_pause,  io_stop,  io_clock, io_wall, io_random};
  OndDeliveryStats stats = {0};
  OndStop stop;

  l->dead = false;
  l->calls_left = l->calm || chance(l, 60) ? -1 : (int)pick(l, 0, chance(l, 50) ? 6 : 60);
  fold(l);
  plan_all(l);
  if (l->problem[0] || l->next_id >= IDS_MAX - KEYS_MAX) {
    return;
  }
  stop = ond_deliver(&io, &l->policy, &stats);
  if (l->problem[0] == '\0') {
    check_end(l, stop, &stats);
  }
}

/* --- a life ----------------------------------------------------------------------------------------------- */

static void begin(Life *l, unsigned long long seed) {
  memset(l, 0, sizeof(*l));
  l->random = (seed * 0x9E3779B97F4A7C15ULL) | 1;
  (void)unit_random(&l->random);
  l->now = 1000 * S;
  l->wait = pick(l, 1, 60) * S;
  l->n_keys = (int)pick(l, 1, chance(l, 50) ? 4 : KEYS_MAX);
  l->mode = chance(l, 60) ? OND_MODE_MIRROR : OND_MODE_UPSERT;
  l->hold = chance(l, 25);
  l->by_row = chance(l, 50);
  l->strict = chance(l, 40);
  l->next_id = 1;
  ond_delivery_policy_default(&l->policy);
  l->policy.concurrency = (int)pick(l, 1, 4);
  l->policy.retry = (OndRetryPolicy){(int)pick(l, 1, 4), 10 * MS, 200 * MS, 2 * S};
  l->policy.create.batch_rows = l->policy.update.batch_rows = l->policy.delete.batch_rows = (int)pick(l, 1, chance(l, 50) ? 2 : 10);
  l->policy.create.bisect = l->policy.update.bisect = l->policy.delete.bisect = true;
  l->policy.create.repeat_in_doubt = l->policy.update.repeat_in_doubt = l->policy.delete.repeat_in_doubt = !l->hold;
  l->policy.breaker_failures = chance(l, 50) ? (int)pick(l, 1, 5) : 1000;
  l->policy.window_rows_max = (int)pick(l, 1, 30);
  l->policy.ack_rows = (int)pick(l, 1, 10);
  l->policy.ack_us = pick(l, 1, 300) * MS;
  for (int i = 0; i < 2; i++) {
    ond_rate_window_init(&l->limits[i], (OndRateLimit){(uint32_t)pick(l, 2, 30), pick(l, 100, 3000) * MS});
  }
}

/* A person calls retry_failed. */
static void release(Life *l, int key) {
  l->state[key].held = false;
  l->state[key].retry_at = wall(l);
  l->changes[l->state[key].change_id].released = true;
}

static void between_runs(Life *l) {
  int64_t spans[] = {0, S, l->wait / 2, l->wait - 1, l->wait, 3600 * S, 12 * 3600 * S};
  int changes = (int)pick(l, 0, l->n_keys);

  for (int i = 0; i < changes; i++) {
    l->model[pick(l, 0, l->n_keys - 1)] = chance(l, 80) ? (int)pick(l, ABSENT, 2) : (int)pick(l, ABSENT, PICKY);
  }
  pass(l, l->now + spans[pick(l, 0, 6)]);
  for (int key = 0; key < l->n_keys; key++) {
    if (l->state[key].has_refused && chance(l, 10)) {
      release(l, key);
    }
  }
  if (chance(l, 10)) {
    change_limit(l, (int)pick(l, 0, 1));
  }
}

static void calm_down(Life *l) {
  l->calm = true;
  l->policy.breaker_failures = l->policy.breaker_refusals = 1000;
  for (int i = 0; i < 6 && l->problem[0] == '\0'; i++) {
    pass(l, l->now + l->wait + 6 * 3600 * S);
    for (int key = 0; key < l->n_keys; key++) {
      if (l->state[key].has_refused && l->model[key] != POISON && l->model[key] != PICKY) {
        release(l, key);
      }
    }
    run(l);
  }
  expect(l, l->sent == 0, "the last run still sent %d rows", l->sent);
  for (int key = 0; key < l->n_keys; key++) {
    int version = l->model[key];
    bool free = version == POISON || version == PICKY || version == INVALID || (version == ABSENT && l->mode != OND_MODE_MIRROR);

    expect(l, free || l->there[key] == version, "key %d: the table has %d, the destination %d", key, version, l->there[key]);
    expect(l, l->there[key] != POISON, "key %d: poison was carried out", key);
  }
}

static bool live(Life *l, unsigned long long seed) {
  int runs;

  begin(l, seed);
  runs = (int)pick(l, 1, 30);
  for (int i = 0; i < runs && l->problem[0] == '\0'; i++) {
    between_runs(l);
    run(l);
  }
  if (l->problem[0] == '\0') {
    calm_down(l);
  }
  return l->problem[0] == '\0';
}

static double now_s(void) {
  struct timespec now;

  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

TEST(life_over_many_runs_keeps_its_promises) {
  const char *seed_text = getenv("OND_SIM_SEED");
  const char *seconds_text = getenv("OND_SIM_SECONDS");
  unsigned long long seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
  double seconds = seconds_text ? strtod(seconds_text, NULL) : seed_text ? 0 : 4;
  double start = now_s();
  unsigned long long n = 0;
  static Life life;

  do {
    if (!CHECK(live(&life, seed + n))) {
      unit_note("OND_SIM_SEED=%llu: %s", seed + n, life.problem);
      return;
    }
    n++;
  } while (now_s() - start < seconds);
  unit_note("%llu lives in %.1f s", n, now_s() - start);
}
