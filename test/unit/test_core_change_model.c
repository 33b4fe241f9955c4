/*
 * test_core_change_model.c - one key's life by chance: a model, runs that die, and a destination that acts late.
 *
 * The destination carries a request out at once, or never, or, when it did not answer, some time within the wait, also after another try
 * of the same change was accepted: it knows nothing of idempotency keys. Version POISON is refused whenever it is answered, and never taken.
 *
 * Checked at every step:
 *   - a request with another content is never sent while an old one may still be carried out (nothing overtakes);
 *   - "unchanged" only when the destination has what the model has, and nothing is on its way;
 *   - "forget" in a mirror only when the destination has nothing;
 *   - an id belongs to one content; the change in doubt keeps its id; accepted is what the destination took;
 *   - with on_unknown = hold a change in doubt is not sent again unless a person released it.
 * And when all is calm again, some runs later the destination has what the model has.
 */
#include <string.h>
#include "core/change.h"
#include "unit.h"

#define S        INT64_C(1000000)
#define WAIT     (60 * S)
#define LIVES    30000
#define STEPS    24
#define ABSENT   0
#define VERSIONS 4
#define POISON   4
#define LATE_MAX 8
#define IDS_MAX  256

typedef struct Late {
  int version;
  int64_t id, at;
} Late;

typedef struct Life {
  unsigned long long random;
  int64_t now;
  OndMode mode;
  bool hold;
  int model; /* version, or ABSENT */
  bool has_state;
  OndKeyState state;
  int there; /* what the destination has */
  Late late[LATE_MAX];
  int n_late;
  int64_t next_id;
  int content[IDS_MAX]; /* by id, -1: not used */
  bool window;          /* a send window is left of a run that died */
  OndOp window_op;
  int window_version;
  int64_t window_id;
  bool same;      /* what goes out is the change in doubt */
  bool released;  /* a person asked since it was last sent */
  bool elsewhere; /* another version was sent since it was last sent */
  const char *problem;
} Life;

static int64_t pick(Life *l, int64_t least, int64_t most) {
  return least + (int64_t)(unit_random(&l->random) % (unsigned long long)(most - least + 1));
}

static void expect(Life *l, bool ok, const char *problem) {
  if (!ok && l->problem == NULL) {
    l->problem = problem;
  }
}

static OndHash hash_of(int version) {
  OndHash h = {{0}};

  h.b[0] = (uint8_t)version; /* ABSENT is the delete */
  return h;
}

/* --- the destination -------------------------------------------------------------------------------------- */

static void carry_out(Life *l, int version) {
  if (version != POISON) {
    l->there = version;
  }
}

static void drop_late(Life *l, int i) {
  l->late[i] = l->late[--l->n_late];
}

/* Lets time pass; what is due is carried out in its order. */
static void pass(Life *l, int64_t us) {
  int64_t until = l->now + us;

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
    carry_out(l, l->late[first].version);
    drop_late(l, first);
  }
  l->now = until;
}

/* No answer: carried out at once, never, or late. */
static void swallow(Life *l, int version, int64_t id) {
  int how = (int)pick(l, 0, 3);

  if (how == 0) {
    carry_out(l, version);
  } else if (how >= 2 && l->n_late < LATE_MAX) {
    l->late[l->n_late++] = (Late){version, id, l->now + pick(l, 1, WAIT - 1)};
  }
}

/* A version that is refused will not be taken later, either. */
static void refused(Life *l, int64_t id) {
  for (int i = l->n_late - 1; i >= 0; i--) {
    if (l->late[i].id == id) {
      drop_late(l, i);
    }
  }
}

static bool nothing_else_arrives(const Life *l, int version) {
  for (int i = 0; i < l->n_late; i++) {
    if (l->late[i].version != version) {
      return false;
    }
  }
  return true;
}

static void check_request(Life *l, int version, int64_t id) {
  expect(l, nothing_else_arrives(l, version), "sent while an old request may still arrive");
  expect(l, id > 0 && id < IDS_MAX, "an id out of nowhere");
  expect(l, l->content[id] < 0 || l->content[id] == version, "an id was used for another content");
  l->content[id] = version;
}

/* --- a run ------------------------------------------------------------------------------------------------ */

static void keep_state(Life *l, OndKeyState state) {
  l->state = state;
  l->has_state = !ond_key_state_is_empty(&state);
}

static void fold(Life *l) {
  OndKeyState after;

  if (l->window &&
      ond_change_fold(l->has_state ? &l->state : NULL, l->window_op, hash_of(l->window_version), l->window_id, l->now, l->hold, &after)) {
    keep_state(l, after);
  }
  l->window = false;
}

static void ack(Life *l, OndOp op, int version, int64_t id, OndOutcome outcome, bool in_doubt, bool interrupted) {
  OndResolvePolicy policy = {l->now, WAIT, l->hold, 5, interrupted};
  OndSending sending = {in_doubt && outcome != OND_OUT_ACCEPTED && outcome != OND_OUT_REJECTED, false, l->now, in_doubt ? l->now : 0, 0};
  OndResolution r = ond_change_resolve(l->has_state ? &l->state : NULL, op, hash_of(version), id, outcome, &sending, &policy);

  keep_state(l, r.after);
  if (outcome == OND_OUT_ACCEPTED) {
    expect(l, version == ABSENT ? !r.after.has_accepted : r.after.has_accepted && ond_hash_equal(r.after.accepted, hash_of(version)),
           "accepted is not what was sent");
  }
  l->window = pick(l, 0, 9) == 0; /* another key keeps the window open, and the run dies */
}

/* Something was sent: what allowed it does not allow it again. */
static void forget_leave(Life *l) {
  l->released = false;
  l->elsewhere = l->elsewhere && !l->same;
}

/* The last try of the run gets a definite answer, or the run stops first. */
static void finish(Life *l, OndOp op, int version, int64_t id, bool in_doubt, bool calm) {
  int how = calm ? 0 : (int)pick(l, 0, 7);

  if (how != 7 || in_doubt) {
    forget_leave(l);
  }
  if (how <= 3) {
    if (version == POISON) {
      refused(l, id);
    }
    carry_out(l, version);
    ack(l, op, version, id, version == POISON ? OND_OUT_REJECTED : OND_OUT_ACCEPTED, in_doubt, false);
  } else if (how == 4) {
    ack(l, op, version, id, OND_OUT_THROTTLED, in_doubt, false);
  } else if (how == 5) {
    ack(l, op, version, id, OND_OUT_UNAVAILABLE, in_doubt, false);
  } else if (how == 6) {
    ack(l, op, version, id, OND_OUT_AUTH, in_doubt, false);
  } else {
    ack(l, op, version, id, in_doubt ? OND_OUT_UNKNOWN : OND_OUT_NOT_SENT, in_doubt, true);
  }
}

static void send_change(Life *l, OndOp op, int version, int64_t id, bool calm) {
  bool in_doubt = false;

  check_request(l, version, id);
  l->window = true;
  l->window_op = op;
  l->window_version = version;
  l->window_id = id;
  if (!calm && pick(l, 0, 9) == 0) {
    return; /* died before the first byte */
  }
  if (!calm && pick(l, 0, 2) == 0) {
    in_doubt = true;
    forget_leave(l);
    swallow(l, version, id);
    if (pick(l, 0, 2) == 0) {
      return; /* died before the answer was recorded */
    }
    if (l->hold || pick(l, 0, 1) == 0) {
      bool server_error = pick(l, 0, 1);

      ack(l, op, version, id, server_error ? OND_OUT_UNAVAILABLE : OND_OUT_UNKNOWN, true, !server_error && pick(l, 0, 1));
      return;
    }
  }
  finish(l, op, version, id, in_doubt, calm);
}

static void check_verdict(Life *l, const OndPlan *p, OndOp op) {
  bool was_in_doubt = l->has_state && l->state.doubt_op != OND_OP_NONE;
  bool same = was_in_doubt && l->state.doubt_op == op && (op == OND_OP_DELETE || ond_hash_equal(l->state.doubt_hash, hash_of(l->model)));

  if (p->verdict == OND_V_UNCHANGED) {
    expect(l, l->there == l->model && nothing_else_arrives(l, l->model), "unchanged, but the destination differs");
  }
  if (p->verdict == OND_V_FORGET && l->mode == OND_MODE_MIRROR) {
    expect(l, l->there == ABSENT && nothing_else_arrives(l, ABSENT), "forgotten, but the destination has it");
  }
  if (op != OND_OP_NONE) {
    expect(l, p->same_change == same, "the change in doubt and its id");
    expect(l, !l->hold || !same || l->released || l->elsewhere, "held, and sent again");
    l->elsewhere = l->elsewhere || (!same && was_in_doubt);
    l->same = same;
  }
}

static OndVerdict run(Life *l, bool calm) {
  OndPlanPolicy policy = {l->mode, l->mode == OND_MODE_MIRROR ? OND_LEAVE_DELETE : OND_LEAVE_KEEP, false, 0, WAIT};
  OndHash hash = hash_of(l->model);
  OndPlan p;
  OndOp op;

  fold(l);
  policy.now = l->now;
  if (l->model == ABSENT && !l->has_state) {
    return OND_V_KEEP; /* the diff sees nothing */
  }
  p = ond_change_plan(l->has_state ? &l->state : NULL, l->model == ABSENT ? OND_MODEL_LEFT : OND_MODEL_ROW, &hash, &policy);
  op = p.verdict == OND_V_CREATE   ? OND_OP_CREATE
       : p.verdict == OND_V_UPDATE ? OND_OP_UPDATE
       : p.verdict == OND_V_DELETE ? OND_OP_DELETE
                                   : OND_OP_NONE;
  check_verdict(l, &p, op);
  if (p.verdict == OND_V_FORGET) {
    l->has_state = false;
    memset(&l->state, 0, sizeof(l->state));
  } else if (p.settle) {
    keep_state(l, ond_change_settled(&l->state));
  }
  if (op != OND_OP_NONE) {
    send_change(l, op, l->model, p.same_change ? l->state.change_id : l->next_id++, calm);
  }
  return p.verdict;
}

/* A person calls retry_failed. */
static void release(Life *l) {
  if (l->has_state && l->state.has_refused) {
    l->state.retry_at = l->now;
    l->state.held = false;
    l->released = true;
  }
}

/* --- a life ----------------------------------------------------------------------------------------------- */

static void calm_down(Life *l) {
  OndVerdict last = OND_V_PENDING;

  for (int i = 0; i < 6; i++) {
    pass(l, WAIT + 6 * 3600 * S);
    if (l->model != POISON) {
      release(l);
    }
    last = run(l, true);
    l->window = false;
  }
  if (l->model == POISON) {
    expect(l, last == OND_V_HELD_BACK && l->there != POISON, "poison is not held back");
  } else if (l->model != ABSENT) {
    expect(l, last == OND_V_UNCHANGED && l->there == l->model, "the destination never got the model's version");
  } else if (l->mode == OND_MODE_MIRROR) {
    expect(l, !l->has_state && l->there == ABSENT, "a row that left is still there");
  }
}

static void begin(Life *l, unsigned long long seed) {
  memset(l, 0, sizeof(*l));
  l->random = (seed * 0x9E3779B97F4A7C15ULL) | 1;
  l->now = 1767225600 * S;
  l->mode = pick(l, 0, 1) ? OND_MODE_MIRROR : OND_MODE_UPSERT;
  l->hold = pick(l, 0, 2) == 0;
  l->next_id = 1;
  memset(l->content, -1, sizeof(l->content));
}

static void live(Life *l) {
  for (int i = 0; i < STEPS && l->problem == NULL; i++) {
    int64_t spans[] = {0, S, WAIT / 2, WAIT - 1, WAIT, 3600 * S, 12 * 3600 * S};

    if (pick(l, 0, 1)) {
      l->model = (int)pick(l, ABSENT, pick(l, 0, 1) ? 2 : VERSIONS);
    }
    pass(l, spans[pick(l, 0, 6)] + pick(l, 0, S));
    if (pick(l, 0, 9) == 0) {
      release(l);
    }
    (void)run(l, false);
  }
  if (l->problem == NULL) {
    calm_down(l);
  }
}

TEST(change_by_chance_ends_with_what_the_model_has) {
  for (unsigned long long seed = 1; seed <= LIVES; seed++) {
    Life l;

    begin(&l, seed);
    live(&l);
    if (!CHECK(l.problem == NULL)) {
      unit_note("seed %llu: %s", seed, l.problem);
      return;
    }
  }
}
