/*
 * change.c - the state machine of a change; see change.h for the words.
 *
 * Three functions without memory of their own: plan (diff), resolve (answer), fold (crash). Each transition has a test that names it
 * (test/unit/test_core_change.c) and one against a server (test/t/010_change_states.pl).
 *
 * Invariants:
 *   - `accepted` is only ever set by OND_OUT_ACCEPTED with the very version that was sent.
 *   - a key in doubt never plans UNCHANGED.
 *   - a value other than the one in doubt is never sent before sent_at + in_doubt_wait, nor one other than that of an unanswered try whose
 *     change was accepted at another try.
 *   - a refused version is not sent before retry_at, unless a person asked (resend).
 *   - with on_unknown = hold, what is in doubt is held, however the run ended; only a person, or a definite answer to it, lets it go.
 *
 * The mode governs new changes; a change in doubt is finished as it was begun.
 */
#include <string.h>

#include "core/backoff.h"
#include "core/change.h"

const OndHash OND_HASH_DELETE = {{0}};
const OndHash OND_HASH_UNKNOWN = {{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}};

const char *ond_op_name(OndOp op) {
  switch (op) {
    case OND_OP_CREATE: return "create";
    case OND_OP_UPDATE: return "update";
    case OND_OP_DELETE: return "delete";
    case OND_OP_NONE: break;
  }
  return "none";
}

const char *ond_outcome_class(OndOutcome o) {
  switch (o) {
    case OND_OUT_REJECTED: return "rejected";
    case OND_OUT_THROTTLED: return "throttled";
    case OND_OUT_UNAVAILABLE: return "unavailable";
    case OND_OUT_AUTH: return "auth";
    case OND_OUT_UNKNOWN: return "unknown_outcome";
    case OND_OUT_INVALID: return "invalid";
    case OND_OUT_ACCEPTED:
    case OND_OUT_NOT_SENT: break;
  }
  return NULL;
}

char ond_doubt_letter(const OndKeyState *s) {
  return (char)(s->held ? s->doubt_op - 'a' + 'A' : s->doubt_op);
}

void ond_doubt_from_letter(OndKeyState *s, char letter) {
  s->held = letter >= 'A' && letter <= 'Z';
  s->doubt_op = (OndOp)(s->held ? letter - 'A' + 'a' : letter);
}

bool ond_key_state_is_empty(const OndKeyState *s) {
  return !s->has_accepted && !s->has_refused && s->doubt_op == OND_OP_NONE && s->sent_at == 0;
}

/* --- plan ------------------------------------------------------------------------------------------------- */

static OndPlan verdict(OndVerdict v) {
  return (OndPlan){.verdict = v};
}

static OndPlan again(OndVerdict v) {
  return (OndPlan){.verdict = v, .same_change = true};
}

static OndHash version_of(OndOp op, OndHash hash) {
  return op == OND_OP_DELETE ? OND_HASH_DELETE : hash;
}

/* The verdict v, and the mark of a refused version that is out of date goes. That of a held change is not: its outcome is still unknown. */
static OndPlan settled(OndVerdict v, const OndKeyState *s) {
  return (OndPlan){.verdict = v, .settle = s->has_refused && !s->held};
}

OndKeyState ond_change_settled(const OndKeyState *state) {
  OndKeyState after = *state;

  after.has_refused = false;
  after.attempts = 0;
  return after;
}

static bool waits(const OndKeyState *s, OndHash version, const OndPlanPolicy *policy) {
  return s->has_refused && ond_hash_equal(s->refused, version) && s->retry_at > policy->now && !policy->resend;
}

static bool may_still_arrive(const OndKeyState *s, const OndPlanPolicy *policy) {
  return s->sent_at != 0 && policy->now < s->sent_at + policy->in_doubt_wait_us;
}

static bool only_new_rows(OndMode mode) {
  return mode == OND_MODE_INSERT || mode == OND_MODE_APPEND;
}

/* What goes out for a version that the destination is not known to have. */
static OndPlan plan_send(const OndKeyState *s, const OndPlanPolicy *policy) {
  if (s->has_accepted) {
    if (!only_new_rows(policy->mode))
      return verdict(OND_V_UPDATE);
    return policy->resend ? verdict(OND_V_CREATE) : settled(OND_V_SKIPPED, s);
  }
  return policy->mode == OND_MODE_UPDATE ? settled(OND_V_SKIPPED, s) : verdict(OND_V_CREATE);
}

static OndPlan plan_in_doubt(const OndKeyState *s, OndHash hash, const OndPlanPolicy *policy) {
  if (waits(s, hash, policy))
    return verdict(OND_V_HELD_BACK);
  if (s->doubt_op != OND_OP_DELETE && ond_hash_equal(s->doubt_hash, hash))
    return s->held && !policy->resend ? verdict(OND_V_HELD_BACK) : again(s->doubt_op == OND_OP_CREATE ? OND_V_CREATE : OND_V_UPDATE);
  if (may_still_arrive(s, policy))
    return verdict(OND_V_PENDING);
  if (s->doubt_op == OND_OP_DELETE && policy->mode != OND_MODE_UPDATE)
    return verdict(OND_V_CREATE); /* the record may be gone */
  return plan_send(s, policy);
}

static OndPlan plan_row(const OndKeyState *s, OndHash hash, const OndPlanPolicy *policy) {
  bool same = s->has_accepted && ond_hash_equal(s->accepted, hash);
  OndPlan p;

  if (s->doubt_op != OND_OP_NONE)
    return plan_in_doubt(s, hash, policy);
  if (waits(s, hash, policy))
    return verdict(OND_V_HELD_BACK);
  if (same && !policy->resend && policy->mode != OND_MODE_REPLACE && !(s->has_refused && ond_hash_equal(s->refused, hash)))
    return settled(OND_V_UNCHANGED, s);
  p = plan_send(s, policy);
  if (p.verdict != OND_V_SKIPPED && !same && may_still_arrive(s, policy))
    return verdict(OND_V_PENDING);
  return p;
}

static OndPlan plan_delete(const OndKeyState *s, const OndPlanPolicy *policy) {
  if (!s->has_accepted && s->doubt_op == OND_OP_NONE)
    return verdict(may_still_arrive(s, policy) ? OND_V_KEEP : OND_V_FORGET); /* never got there, or is deleted */
  if (waits(s, OND_HASH_DELETE, policy) && s->retry_at != OND_NEVER)
    return verdict(OND_V_DELETE_LATER);
  if (waits(s, OND_HASH_DELETE, policy) || (s->doubt_op == OND_OP_DELETE && s->held && !policy->resend))
    return verdict(OND_V_DELETE_HELD);
  if (s->doubt_op == OND_OP_DELETE)
    return again(OND_V_DELETE);
  if (may_still_arrive(s, policy))
    return verdict(OND_V_DELETE_PENDING);
  return verdict(OND_V_DELETE);
}

static OndPlan plan_left(const OndKeyState *s, const OndPlanPolicy *policy) {
  OndPlan p;
  OndKeyState after;

  if (policy->mode == OND_MODE_MIRROR)
    return plan_delete(s, policy);
  if (policy->on_leave == OND_LEAVE_FORGET || (!s->has_accepted && !s->has_refused && s->doubt_op == OND_OP_NONE))
    return verdict(may_still_arrive(s, policy) ? OND_V_KEEP : OND_V_FORGET);
  p = settled(OND_V_KEEP, s);
  after = ond_change_settled(s);
  return p.settle && ond_key_state_is_empty(&after) ? verdict(OND_V_FORGET) : p;
}

OndPlan ond_change_plan(const OndKeyState *state, OndPresence presence, const OndHash *hash, const OndPlanPolicy *policy) {
  static const OndKeyState none;
  const OndKeyState *s = state != NULL ? state : &none;

  switch (presence) {
    case OND_MODEL_INVALID: return verdict(OND_V_INVALID);
    case OND_MODEL_LEFT: return plan_left(s, policy);
    case OND_MODEL_ROW: break;
  }
  return plan_row(s, *hash, policy);
}

/* --- resolve ---------------------------------------------------------------------------------------------- */

/*
 * A doubt about another change is not over because a newer one is in doubt, too: then a definite no to the newer must not settle the key.
 * There is room for one, so both become a doubt about a version that nobody has.
 */
static void set_doubt(OndKeyState *s, OndOp op, OndHash hash, int64_t change_id, int64_t sent_at) {
  bool older = s->doubt_op != OND_OP_NONE && (s->change_id != change_id || ond_hash_equal(s->doubt_hash, OND_HASH_UNKNOWN));

  s->held = s->held && s->change_id == change_id;
  s->doubt_op = op;
  s->doubt_hash = older ? OND_HASH_UNKNOWN : version_of(op, hash);
  s->change_id = change_id;
  s->sent_at = sent_at;
}

static void set_refused(OndKeyState *s, OndOp op, OndHash hash, int attempts, int64_t retry_at) {
  s->has_refused = true;
  s->refused = version_of(op, hash);
  s->attempts = attempts;
  s->retry_at = retry_at;
}

/* Failed runs of this very version so far. */
static int attempts_before(const OndKeyState *s, OndOp op, OndHash hash) {
  return s->has_refused && ond_hash_equal(s->refused, version_of(op, hash)) ? s->attempts : 0;
}

/* A definite no to the change in doubt. To a delete: what was in doubt before it still is. */
static void clear_doubt(OndKeyState *s) {
  s->held = false;
  if (ond_hash_equal(s->doubt_hash, OND_HASH_UNKNOWN)) {
    s->doubt_op = s->has_accepted ? OND_OP_UPDATE : OND_OP_CREATE;
    return;
  }
  s->doubt_op = OND_OP_NONE;
  memset(&s->doubt_hash, 0, sizeof(s->doubt_hash));
  s->sent_at = 0;
}

/* The last try without an answer that may still arrive; 0: none. What is in `before` is about the same version: any other had to wait. */
static int64_t on_its_way(const OndKeyState *before, const OndSending *sending, const OndResolvePolicy *policy) {
  int64_t at = before != NULL && before->sent_at > sending->late_at ? before->sent_at : sending->late_at;

  return at != 0 && policy->now < at + policy->in_doubt_wait_us ? at : 0;
}

static OndResolution resolve_accepted(OndOp op, OndHash hash, int64_t change_id, int64_t sent_at) {
  OndResolution r;

  memset(&r, 0, sizeof(r));
  r.closes_failure = true;
  r.after.sent_at = sent_at;
  if (op != OND_OP_DELETE) {
    r.after.has_accepted = true;
    r.after.accepted = hash;
  }
  if (op != OND_OP_DELETE || sent_at != 0)
    r.after.change_id = change_id;
  return r;
}

/* When a change that failed is tried again by itself. */
static int64_t next_attempt(OndOutcome outcome, bool unknown, int attempts, const OndResolvePolicy *policy) {
  if (outcome == OND_OUT_REJECTED || outcome == OND_OUT_INVALID)
    return OND_NEVER;
  if (outcome == OND_OUT_AUTH && !unknown)
    return policy->now; /* the row is not to blame: with the next run */
  if ((unknown && policy->hold_unknown) || attempts >= policy->max_attempts)
    return OND_NEVER;
  return policy->now + ond_backoff_between_runs_us(attempts);
}

OndResolution ond_change_resolve(const OndKeyState *before, OndOp op, OndHash hash, int64_t change_id, OndOutcome outcome,
                                 const OndSending *sending, const OndResolvePolicy *policy) {
  OndResolution r;
  bool same_change;
  bool unknown;
  bool definite = outcome == OND_OUT_REJECTED && !sending->in_doubt && !sending->other_way;
  bool in_doubt = sending->in_doubt || outcome == OND_OUT_UNKNOWN;

  if (outcome == OND_OUT_ACCEPTED)
    return resolve_accepted(op, hash, change_id, on_its_way(before, sending, policy));
  memset(&r, 0, sizeof(r));
  if (before != NULL)
    r.after = *before;
  same_change = r.after.doubt_op == op && r.after.change_id == change_id;

  if (definite && same_change)
    clear_doubt(&r.after);
  else if (in_doubt && !definite)
    set_doubt(&r.after, op, hash, change_id, sending->sent_at);
  else if (same_change && sending->sent_at > r.after.sent_at)
    r.after.sent_at = sending->sent_at;
  /* The id marks the change as resolved for the crash rule; a doubt about another change keeps its own. */
  if (r.after.doubt_op == OND_OP_NONE && outcome != OND_OUT_NOT_SENT)
    r.after.change_id = change_id;

  unknown = r.after.doubt_op == op && r.after.change_id == change_id;
  if (unknown)
    r.after.change_id += sending->renewed;
  if (outcome == OND_OUT_NOT_SENT || (policy->interrupted && !(unknown && policy->hold_unknown)))
    return r;
  r.failed = true;
  r.failed_as = unknown && policy->hold_unknown && outcome != OND_OUT_INVALID && outcome != OND_OUT_REJECTED ? OND_OUT_UNKNOWN : outcome;
  r.after.held = r.after.held || (unknown && policy->hold_unknown);
  r.attempts = attempts_before(&r.after, op, hash) + 1;
  r.next_attempt_at = next_attempt(outcome, unknown, r.attempts, policy);
  set_refused(&r.after, op, hash, r.attempts, r.next_attempt_at);
  return r;
}

/* --- fold ------------------------------------------------------------------------------------------------- */

bool ond_change_fold(const OndKeyState *before, OndOp op, OndHash hash, int64_t change_id, int64_t sent_at, bool hold, OndKeyState *after) {
  memset(after, 0, sizeof(*after));
  if (before != NULL)
    *after = *before;
  else if (op == OND_OP_DELETE)
    return false; /* accepted: its commit removed the row */
  if (before != NULL && before->change_id == change_id) {
    if (before->doubt_op == OND_OP_NONE || before->sent_at >= sent_at)
      return false; /* resolved */
    after->sent_at = sent_at;
  } else
    set_doubt(after, op, hash, change_id, sent_at);
  if (hold && !after->held) {
    after->held = true;
    set_refused(after, op, hash, attempts_before(after, op, hash) + 1, OND_NEVER);
  }
  return true;
}
