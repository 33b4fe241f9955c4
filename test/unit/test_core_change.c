/*
 * test_core_change.c - every transition of core/change by name: tables from the design's words, then stories.
 *
 * Versions are A (the model's, where a table needs one), B and C. NOW is a moment, doubt ends WAIT after the last sending.
 */
#include <string.h>
#include "core/backoff.h"
#include "core/change.h"
#include "unit.h"

#define S      INT64_C(1000000)
#define NOW    (1767225600 * S)
#define WAIT   (60 * S)
#define WITHIN (NOW - WAIT + 1) /* sent so late that it may still arrive */
#define OVER   (NOW - WAIT)     /* just over */
#define LATER  (NOW + 1)        /* a refused version that waits */
#define DUE    NOW              /* one that may go again */
#define ID     42               /* of the change in doubt */

static const OndHash A = {{0xA1, 1}};
static const OndHash B = {{0xB2, 2}};
static const OndHash C = {{0xC3, 3}};

#define HASH_A                                                                                                                             \
  {                                                                                                                                        \
    { 0xA1, 1 }                                                                                                                            \
  }
#define HASH_B                                                                                                                             \
  {                                                                                                                                        \
    { 0xB2, 2 }                                                                                                                            \
  }
#define HASH_C                                                                                                                             \
  {                                                                                                                                        \
    { 0xC3, 3 }                                                                                                                            \
  }
#define HASH_D                                                                                                                             \
  {                                                                                                                                        \
    { 0 }                                                                                                                                  \
  } /* of a delete */
#define HASH_TWO                                                                                                                           \
  {                                                                                                                                        \
    { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 }                                                     \
  }

#define ACCEPTED(h)          .has_accepted = true, .accepted = h
#define REFUSED(h, at)       .has_refused = true, .refused = h, .retry_at = at, .attempts = 2
#define DOUBT(what, h, sent) .doubt_op = what, .doubt_hash = h, .sent_at = sent, .change_id = ID
#define HELD(what, h, sent)  .held = true, .doubt_op = what, .doubt_hash = h, .sent_at = sent, .change_id = ID
#define EARLIER(sent)        .sent_at = sent, .change_id = ID /* an unanswered try of what was accepted */
#define CREATE               OND_OP_CREATE
#define UPDATE               OND_OP_UPDATE
#define DELETE               OND_OP_DELETE

/* --- plan ------------------------------------------------------------------------------------------------- */

/*
 * What a letter means:
 *
 *   =  unchanged            ~  unchanged, and a refused mark goes        H  held back        P  pending
 *   C  create               c  the create in doubt goes again            S  skipped          s  skipped, and a refused mark goes
 *   U  update               u  the update in doubt goes again            K  keep             k  keep, and a refused mark goes
 *   D  delete               d  the delete in doubt goes again            X  delete held      Q  delete pending      F  forget
 *   x  delete later
 *
 * row: the model has version A, by mode: upsert insert update mirror append replace; then the same with resend.
 * left: the model has it no more: keep forget mirror; then the same with resend.
 */
typedef struct PlanCase {
  const char *name;
  OndKeyState state;
  const char *row, *row_resend;
  const char *left, *left_resend;
} PlanCase;

static const PlanCase PLAN_CASES[] = {
    /* nothing in doubt */
    {"accepted the same", {ACCEPTED(HASH_A)}, "=====U", "UCUUCU", "KFD", "KFD"},
    {"accepted another", {ACCEPTED(HASH_B)}, "USUUSU", "UCUUCU", "KFD", "KFD"},
    {"refused the same, waiting", {REFUSED(HASH_A, LATER)}, "HHHHHH", "CCsCCC", "FFF", "FFF"},
    {"refused the same for ever", {REFUSED(HASH_A, OND_NEVER)}, "HHHHHH", "CCsCCC", "FFF", "FFF"},
    {"refused the same, due", {REFUSED(HASH_A, DUE)}, "CCsCCC", "CCsCCC", "FFF", "FFF"},
    {"refused another, waiting", {REFUSED(HASH_B, LATER)}, "CCsCCC", "CCsCCC", "FFF", "FFF"},
    {"accepted and refused the same, waiting", {ACCEPTED(HASH_A), REFUSED(HASH_A, LATER)}, "HHHHHH", "UCUUCU", "kFD", "kFD"},
    {"accepted and refused the same, due", {ACCEPTED(HASH_A), REFUSED(HASH_A, DUE)}, "UsUUsU", "UCUUCU", "kFD", "kFD"},
    {"accepted the same, refused another", {ACCEPTED(HASH_A), REFUSED(HASH_B, LATER)}, "~~~~~U", "UCUUCU", "kFD", "kFD"},
    {"accepted another, refused the same, waiting", {ACCEPTED(HASH_B), REFUSED(HASH_A, LATER)}, "HHHHHH", "UCUUCU", "kFD", "kFD"},
    {"accepted another, refused the same, due", {ACCEPTED(HASH_B), REFUSED(HASH_A, DUE)}, "UsUUsU", "UCUUCU", "kFD", "kFD"},
    {"accepted another, refused a third", {ACCEPTED(HASH_B), REFUSED(HASH_C, OND_NEVER)}, "UsUUsU", "UCUUCU", "kFD", "kFD"},
    {"accepted the same, refused a delete, waiting", {ACCEPTED(HASH_A), REFUSED(HASH_D, LATER)}, "~~~~~U", "UCUUCU", "kFx", "kFD"},
    {"accepted the same, refused a delete, due", {ACCEPTED(HASH_A), REFUSED(HASH_D, DUE)}, "~~~~~U", "UCUUCU", "kFD", "kFD"},
    /* in doubt: the same goes again at once, whatever the mode; another waits until the old one cannot arrive */
    {"doubt about the same create, within", {DOUBT(CREATE, HASH_A, WITHIN)}, "cccccc", "cccccc", "KKQ", "KKQ"},
    {"doubt about the same create, over", {DOUBT(CREATE, HASH_A, OVER)}, "cccccc", "cccccc", "KFD", "KFD"},
    {"doubt about another create, within", {DOUBT(CREATE, HASH_B, WITHIN)}, "PPPPPP", "PPPPPP", "KKQ", "KKQ"},
    {"doubt about another create, over", {DOUBT(CREATE, HASH_B, OVER)}, "CCSCCC", "CCSCCC", "KFD", "KFD"},
    {"accepted B, doubt about the same, within", {ACCEPTED(HASH_B), DOUBT(UPDATE, HASH_A, WITHIN)}, "uuuuuu", "uuuuuu", "KKQ", "KKQ"},
    {"accepted B, doubt about the same, over", {ACCEPTED(HASH_B), DOUBT(UPDATE, HASH_A, OVER)}, "uuuuuu", "uuuuuu", "KFD", "KFD"},
    {"accepted A, doubt about B, within", {ACCEPTED(HASH_A), DOUBT(UPDATE, HASH_B, WITHIN)}, "PPPPPP", "PPPPPP", "KKQ", "KKQ"},
    {"accepted A, doubt about B, over", {ACCEPTED(HASH_A), DOUBT(UPDATE, HASH_B, OVER)}, "USUUSU", "UCUUCU", "KFD", "KFD"},
    {"accepted B, doubt about C, over", {ACCEPTED(HASH_B), DOUBT(UPDATE, HASH_C, OVER)}, "USUUSU", "UCUUCU", "KFD", "KFD"},
    {"accepted A, doubt about two, within", {ACCEPTED(HASH_A), DOUBT(UPDATE, HASH_TWO, WITHIN)}, "PPPPPP", "PPPPPP", "KKQ", "KKQ"},
    {"accepted A, doubt about two, over", {ACCEPTED(HASH_A), DOUBT(UPDATE, HASH_TWO, OVER)}, "USUUSU", "UCUUCU", "KFD", "KFD"},
    {"doubt about two creates, over", {DOUBT(CREATE, HASH_TWO, OVER)}, "CCSCCC", "CCSCCC", "KFD", "KFD"},
    {"accepted A, doubt about two, the last a delete", {ACCEPTED(HASH_A), DOUBT(DELETE, HASH_TWO, OVER)}, "CCUCCC", "CCUCCC", "KFd", "KFd"},
    {"accepted A, doubt about a delete, within", {ACCEPTED(HASH_A), DOUBT(DELETE, HASH_D, WITHIN)}, "PPPPPP", "PPPPPP", "KKd", "KKd"},
    {"accepted A, doubt about a delete, over", {ACCEPTED(HASH_A), DOUBT(DELETE, HASH_D, OVER)}, "CCUCCC", "CCUCCC", "KFd", "KFd"},
    {"accepted B, doubt about a delete, over", {ACCEPTED(HASH_B), DOUBT(DELETE, HASH_D, OVER)}, "CCUCCC", "CCUCCC", "KFd", "KFd"},
    {"only a delete in doubt, over", {DOUBT(DELETE, HASH_D, OVER)}, "CCSCCC", "CCSCCC", "KFd", "KFd"},
    /* in doubt and refused: the mark of what is held stays, and it waits also when another version was refused since */
    {"doubt about the same, held, another refused", {HELD(CREATE, HASH_A, OVER), REFUSED(HASH_B, OND_NEVER)}, "HHHHHH", "cccccc", "KFD", "KFD"},
    {"a delete in doubt, held, another refused",
     {ACCEPTED(HASH_A), HELD(DELETE, HASH_D, OVER), REFUSED(HASH_B, OND_NEVER)},
     "CCUCCC",
     "CCUCCC",
     "KFX",
     "KFd"},
    {"doubt about the same, held, within", {HELD(CREATE, HASH_A, WITHIN), REFUSED(HASH_A, OND_NEVER)}, "HHHHHH", "cccccc", "KKQ", "KKQ"},
    {"doubt about the same, held, over", {HELD(CREATE, HASH_A, OVER), REFUSED(HASH_A, OND_NEVER)}, "HHHHHH", "cccccc", "KFD", "KFD"},
    {"doubt about another, held, over", {HELD(CREATE, HASH_B, OVER), REFUSED(HASH_B, OND_NEVER)}, "CCSCCC", "CCSCCC", "KFD", "KFD"},
    {"accepted A, doubt about B, held, over",
     {ACCEPTED(HASH_A), HELD(UPDATE, HASH_B, OVER), REFUSED(HASH_B, OND_NEVER)},
     "USUUSU",
     "UCUUCU",
     "KFD",
     "KFD"},
    {"doubt about the same, waiting", {DOUBT(CREATE, HASH_A, OVER), REFUSED(HASH_A, LATER)}, "HHHHHH", "cccccc", "kFD", "kFD"},
    {"doubt about the same, due", {DOUBT(CREATE, HASH_A, WITHIN), REFUSED(HASH_A, DUE)}, "cccccc", "cccccc", "kKQ", "kKQ"},
    {"a delete in doubt, waiting",
     {ACCEPTED(HASH_A), DOUBT(DELETE, HASH_D, OVER), REFUSED(HASH_D, LATER)},
     "CCUCCC",
     "CCUCCC",
     "kFx",
     "kFd"},
    {"a delete in doubt, held",
     {ACCEPTED(HASH_A), HELD(DELETE, HASH_D, OVER), REFUSED(HASH_D, OND_NEVER)},
     "CCUCCC",
     "CCUCCC",
     "KFX",
     "KFd"},
    {"doubt about another, refused the same, waiting",
     {ACCEPTED(HASH_B), DOUBT(UPDATE, HASH_C, OVER), REFUSED(HASH_A, LATER)},
     "HHHHHH",
     "UCUUCU",
     "kFD",
     "kFD"},
    {"doubt about another, within, refused the same, due",
     {ACCEPTED(HASH_B), DOUBT(UPDATE, HASH_C, WITHIN), REFUSED(HASH_A, DUE)},
     "PPPPPP",
     "PPPPPP",
     "kKQ",
     "kKQ"},
    /* accepted at a later try: the earlier one may still arrive, and another version waits for that */
    {"accepted the same, an earlier try within", {ACCEPTED(HASH_A), EARLIER(WITHIN)}, "=====U", "UCUUCU", "KKQ", "KKQ"},
    {"accepted the same, an earlier try over", {ACCEPTED(HASH_A), EARLIER(OVER)}, "=====U", "UCUUCU", "KFD", "KFD"},
    {"accepted another, an earlier try within", {ACCEPTED(HASH_B), EARLIER(WITHIN)}, "PSPPSP", "PPPPPP", "KKQ", "KKQ"},
    {"accepted another, an earlier try over", {ACCEPTED(HASH_B), EARLIER(OVER)}, "USUUSU", "UCUUCU", "KFD", "KFD"},
    {"deleted, an earlier try within", {EARLIER(WITHIN)}, "PPSPPP", "PPSPPP", "KKK", "KKK"},
    {"deleted, an earlier try over", {EARLIER(OVER)}, "CCSCCC", "CCSCCC", "FFF", "FFF"},
};
#define N_PLAN_CASES (int)(sizeof(PLAN_CASES) / sizeof(PLAN_CASES[0]))

static char letter_of(const OndPlan *p) {
  switch (p->verdict) {
  case OND_V_UNCHANGED: return p->settle ? '~' : '=';
  case OND_V_CREATE: return p->same_change ? 'c' : 'C';
  case OND_V_UPDATE: return p->same_change ? 'u' : 'U';
  case OND_V_INVALID: return 'I';
  case OND_V_HELD_BACK: return 'H';
  case OND_V_SKIPPED: return p->settle ? 's' : 'S';
  case OND_V_PENDING: return 'P';
  case OND_V_DELETE: return p->same_change ? 'd' : 'D';
  case OND_V_DELETE_HELD: return 'X';
  case OND_V_DELETE_LATER: return 'x';
  case OND_V_DELETE_PENDING: return 'Q';
  case OND_V_FORGET: return 'F';
  case OND_V_KEEP: return p->settle ? 'k' : 'K';
  }
  return '?';
}

/* Settling takes the refused mark off and touches nothing else. */
static void check_settled(const OndKeyState *before) {
  OndKeyState after = ond_change_settled(before);

  CHECK(before->has_refused && !after.has_refused);
  CHECK(after.has_accepted == before->has_accepted && ond_hash_equal(after.accepted, before->accepted));
  CHECK(after.doubt_op == before->doubt_op && ond_hash_equal(after.doubt_hash, before->doubt_hash));
  CHECK(after.sent_at == before->sent_at && after.change_id == before->change_id);
}

static void check_plan(const PlanCase *c, OndPresence presence, const OndPlanPolicy *policy, char expected) {
  OndPlan p = ond_change_plan(&c->state, presence, presence == OND_MODEL_ROW ? &A : NULL, policy);

  if (!CHECK_INT(letter_of(&p), expected)) {
    unit_note("%s: mode %d, on_leave %d, resend %d, presence %d: is %c, expected %c", c->name, policy->mode, policy->on_leave,
              policy->resend, presence, letter_of(&p), expected);
  }
  if (p.settle) {
    check_settled(&c->state);
  }
}

static char expected_of(const PlanCase *c, OndPresence presence, const OndPlanPolicy *policy) {
  int left = policy->mode == OND_MODE_MIRROR ? 2 : policy->on_leave == OND_LEAVE_FORGET ? 1 : 0;

  switch (presence) {
  case OND_MODEL_ROW: return (policy->resend ? c->row_resend : c->row)[policy->mode];
  case OND_MODEL_LEFT: return (policy->resend ? c->left_resend : c->left)[left];
  case OND_MODEL_INVALID: break;
  }
  return 'I'; /* present, never deleted, whatever is known of it */
}

static void for_all_policies(const PlanCase *c, void (*check)(const PlanCase *, OndPresence, const OndPlanPolicy *, char)) {
  for (int mode = OND_MODE_UPSERT; mode <= OND_MODE_REPLACE; mode++) {
    for (int on_leave = OND_LEAVE_KEEP; on_leave <= OND_LEAVE_DELETE; on_leave++) {
      for (int resend = 0; resend <= 1; resend++) {
        OndPlanPolicy policy = {(OndMode)mode, (OndOnLeave)on_leave, resend, NOW, WAIT};

        if ((mode == OND_MODE_MIRROR) != (on_leave == OND_LEAVE_DELETE)) {
          continue; /* mirror and delete are one thing */
        }
        for (int presence = OND_MODEL_ROW; presence <= OND_MODEL_LEFT; presence++) {
          check(c, (OndPresence)presence, &policy, expected_of(c, (OndPresence)presence, &policy));
        }
      }
    }
  }
}

TEST(change_plan_by_state_presence_mode_leave_and_resend) {
  for (int i = 0; i < N_PLAN_CASES; i++) {
    for_all_policies(&PLAN_CASES[i], check_plan);
  }
}

TEST(change_plan_of_a_new_key) {
  static const OndKeyState empty;

  for (int mode = OND_MODE_UPSERT; mode <= OND_MODE_REPLACE; mode++) {
    for (int resend = 0; resend <= 1; resend++) {
      OndPlanPolicy policy = {(OndMode)mode, OND_LEAVE_KEEP, resend, NOW, WAIT};
      OndVerdict expected = mode == OND_MODE_UPDATE ? OND_V_SKIPPED : OND_V_CREATE;
      OndPlan no_row = ond_change_plan(NULL, OND_MODEL_ROW, &A, &policy);
      OndPlan empty_row = ond_change_plan(&empty, OND_MODEL_ROW, &A, &policy);

      CHECK_INT(no_row.verdict, expected);
      CHECK(!no_row.same_change && !no_row.settle);
      CHECK_INT(empty_row.verdict, expected);
      CHECK_INT(ond_change_plan(NULL, OND_MODEL_INVALID, NULL, &policy).verdict, OND_V_INVALID);
    }
  }
}

/* The promises in one place, over all cases, without the letters. */
static void check_promises(const PlanCase *c, OndPresence presence, const OndPlanPolicy *policy, char expected) {
  const OndKeyState *s = &c->state;
  OndPlan p = ond_change_plan(s, presence, &A, policy);
  bool sends = p.verdict == OND_V_CREATE || p.verdict == OND_V_UPDATE || p.verdict == OND_V_DELETE;
  OndHash version = p.verdict == OND_V_DELETE ? OND_HASH_DELETE : A;

  (void)expected;
  CHECK(p.verdict != OND_V_UNCHANGED || s->doubt_op == OND_OP_NONE);
  CHECK(p.verdict != OND_V_UNCHANGED || (s->has_accepted && ond_hash_equal(s->accepted, A)));
  CHECK(!p.same_change || (sends && (p.verdict == OND_V_DELETE ? s->doubt_op == OND_OP_DELETE : ond_hash_equal(s->doubt_hash, version))));
  CHECK(!sends || p.same_change || (s->has_accepted && s->doubt_op == OND_OP_NONE && ond_hash_equal(s->accepted, version)) ||
        policy->now >= s->sent_at + policy->in_doubt_wait_us);
  CHECK(!sends || policy->resend || !s->has_refused || !ond_hash_equal(s->refused, version) || s->retry_at <= policy->now);
  CHECK((p.verdict == OND_V_DELETE) <= (presence == OND_MODEL_LEFT && policy->mode == OND_MODE_MIRROR));
}

TEST(change_plan_keeps_its_promises) {
  for (int i = 0; i < N_PLAN_CASES; i++) {
    for_all_policies(&PLAN_CASES[i], check_promises);
  }
}

/* --- resolve ---------------------------------------------------------------------------------------------- */

/*
 * An update to A with the id ID that ended so, by what was known before: nothing in doubt, this very change, another one.
 *
 * doubt: what is in doubt afterwards: - nothing, t this change, o the other one, b both.
 * resend, hold: the failed row by on_unknown: its class and when it goes again.
 *   R rejected, never    I invalid, never      T throttled, after a while     V unavailable, after a while   - none
 *   A auth, at once      a auth, after a while U unknown_outcome, after a while   H unknown_outcome, never
 */
typedef struct ResolveCase {
  OndOutcome outcome;
  bool in_doubt;
  const char *doubt, *resend, *hold;
} ResolveCase;

static const ResolveCase RESOLVE_CASES[] = {
    {OND_OUT_REJECTED, false, "--o", "RRR", "RRR"},   {OND_OUT_INVALID, false, "-to", "III", "III"},
    {OND_OUT_INVALID, true, "ttb", "III", "III"},     {OND_OUT_THROTTLED, false, "-to", "TTT", "THT"},
    {OND_OUT_THROTTLED, true, "ttb", "TTT", "HHH"},   {OND_OUT_UNAVAILABLE, false, "-to", "VVV", "VHV"},
    {OND_OUT_UNAVAILABLE, true, "ttb", "VVV", "HHH"}, {OND_OUT_AUTH, false, "-to", "AaA", "AHA"},
    {OND_OUT_AUTH, true, "ttb", "aaa", "HHH"},        {OND_OUT_UNKNOWN, false, "ttb", "UUU", "HHH"},
    {OND_OUT_UNKNOWN, true, "ttb", "UUU", "HHH"},     {OND_OUT_NOT_SENT, false, "-to", "---", "---"},
};
#define N_RESOLVE_CASES (int)(sizeof(RESOLVE_CASES) / sizeof(RESOLVE_CASES[0]))
#define MAX_ATTEMPTS    4

static const OndKeyState BEFORE[3] = {
    {ACCEPTED(HASH_B), .change_id = 5},
    {ACCEPTED(HASH_B), DOUBT(UPDATE, HASH_A, OVER)},
    {ACCEPTED(HASH_B), .doubt_op = OND_OP_UPDATE, .doubt_hash = HASH_C, .sent_at = OVER, .change_id = 7},
};

static void check_class(char kind, const OndResolution *r) {
  static const struct {
    char kind;
    OndOutcome as;
  } CLASSES[] = {{'R', OND_OUT_REJECTED}, {'I', OND_OUT_INVALID}, {'T', OND_OUT_THROTTLED}, {'V', OND_OUT_UNAVAILABLE},
                 {'A', OND_OUT_AUTH},     {'a', OND_OUT_AUTH},    {'U', OND_OUT_UNKNOWN},   {'H', OND_OUT_UNKNOWN}};
  int64_t next = NOW + ond_backoff_between_runs_us(r->attempts);

  for (size_t i = 0; i < sizeof(CLASSES) / sizeof(CLASSES[0]); i++) {
    if (CLASSES[i].kind == kind) {
      CHECK_INT(r->failed_as, CLASSES[i].as);
    }
  }
  if (strchr("RIH", kind) || (kind != 'A' && r->attempts >= MAX_ATTEMPTS)) {
    next = OND_NEVER;
  } else if (kind == 'A') {
    next = NOW; /* the row is not to blame */
  }
  CHECK(r->next_attempt_at == next);
}

static void check_doubt(char kind, const OndKeyState *before, const OndKeyState *after, bool sent) {
  if (kind == '-') {
    CHECK_INT(after->doubt_op, OND_OP_NONE);
  } else if (kind == 't' || kind == 'b') {
    CHECK_INT(after->doubt_op, OND_OP_UPDATE);
    CHECK(ond_hash_equal(after->doubt_hash, kind == 't' ? A : OND_HASH_UNKNOWN));
    CHECK_INT(after->change_id, ID);
    CHECK(after->sent_at == (sent ? NOW - S : before->sent_at));
  } else {
    CHECK(ond_hash_equal(after->doubt_hash, C));
    CHECK_INT(after->change_id, 7); /* the other change keeps its id */
    CHECK(after->sent_at == before->sent_at);
  }
}

static void check_resolve(const ResolveCase *c, int known, const OndKeyState *before, bool hold, int attempts) {
  bool sent = c->outcome != OND_OUT_NOT_SENT && c->outcome != OND_OUT_INVALID;
  OndResolvePolicy policy = {NOW, WAIT, hold, MAX_ATTEMPTS, false};
  OndResolution r = ond_change_resolve(before, OND_OP_UPDATE, A, ID, c->outcome,
                                       &(OndSending){c->in_doubt, false, sent || c->in_doubt ? NOW - S : 0, 0, 0}, &policy);
  char kind = (hold ? c->hold : c->resend)[known];

  CHECK(r.after.has_accepted && ond_hash_equal(r.after.accepted, B)); /* failures erase nothing */
  check_doubt(c->doubt[known], before, &r.after, sent || c->in_doubt);
  CHECK(!r.closes_failure);
  CHECK_INT(r.failed, kind != '-');
  if (!r.failed) {
    CHECK_INT(r.after.has_refused, before->has_refused);
    CHECK_INT(r.after.change_id, before->change_id);
    return;
  }
  CHECK_INT(r.attempts, attempts);
  check_class(kind, &r);
  CHECK(r.after.has_refused && ond_hash_equal(r.after.refused, A));
  CHECK(r.after.retry_at == r.next_attempt_at && r.after.attempts == r.attempts);
  if (r.after.doubt_op == OND_OP_NONE) {
    CHECK_INT(r.after.change_id, ID); /* resolved, says the crash rule */
  }
}

TEST(change_resolve_by_outcome_doubt_and_what_was_known) {
  for (int i = 0; i < N_RESOLVE_CASES; i++) {
    for (int known = 0; known < 3; known++) {
      for (int hold = 0; hold <= 1; hold++) {
        OndKeyState before = BEFORE[known];

        check_resolve(&RESOLVE_CASES[i], known, &before, hold, 1);
        before.has_refused = true;
        before.refused = C; /* failures of another version do not count */
        before.attempts = 3;
        check_resolve(&RESOLVE_CASES[i], known, &before, hold, 1);
        before.refused = A;
        for (before.attempts = 0; before.attempts <= MAX_ATTEMPTS; before.attempts++) {
          check_resolve(&RESOLVE_CASES[i], known, &before, hold, before.attempts + 1);
        }
      }
    }
  }
}

TEST(change_resolve_accepted_leaves_only_what_was_sent) {
  for (int i = 0; i < N_PLAN_CASES; i++) {
    OndResolvePolicy policy = {NOW + WAIT, WAIT, i % 2, MAX_ATTEMPTS, false};
    OndResolution r = ond_change_resolve(&PLAN_CASES[i].state, OND_OP_UPDATE, C, 99, OND_OUT_ACCEPTED, &(OndSending){false, false, NOW, 0, 0}, &policy);

    CHECK(r.after.has_accepted && ond_hash_equal(r.after.accepted, C));
    CHECK(!r.after.has_refused && r.after.doubt_op == OND_OP_NONE);
    CHECK_INT(r.after.change_id, 99);
    CHECK(r.closes_failure && !r.failed);
    r = ond_change_resolve(&PLAN_CASES[i].state, OND_OP_DELETE, C, 99, OND_OUT_ACCEPTED, &(OndSending){false, false, NOW, 0, 0}, &policy);
    CHECK(ond_key_state_is_empty(&r.after));
    CHECK(r.closes_failure && !r.failed);
  }
}

TEST(change_resolve_of_a_definite_no_makes_no_doubt) {
  OndResolvePolicy policy = {NOW, WAIT, false, MAX_ATTEMPTS, false};
  OndResolution r = ond_change_resolve(NULL, OND_OP_CREATE, A, ID, OND_OUT_REJECTED, &(OndSending){false, false, NOW, NOW, 0}, &policy);

  CHECK_INT(r.after.doubt_op, OND_OP_NONE);
  CHECK(r.failed && r.failed_as == OND_OUT_REJECTED && r.next_attempt_at == OND_NEVER);
}

/* A create without an answer, then "exists", then a no to the update: the record may be what the create has made. */
TEST(change_resolve_of_a_no_by_another_way_keeps_the_doubt) {
  OndPlanPolicy next_run = {OND_MODE_MIRROR, OND_LEAVE_DELETE, false, NOW + WAIT, WAIT};
  OndKeyState silent = {DOUBT(CREATE, HASH_A, WITHIN)};

  for (int hold = 0; hold <= 1; hold++) {
    for (int same_run = 0; same_run <= 1; same_run++) {
      OndResolvePolicy policy = {NOW, WAIT, hold, MAX_ATTEMPTS, false};
      OndResolution r = ond_change_resolve(same_run ? NULL : &silent, OND_OP_CREATE, A, ID, OND_OUT_REJECTED, &(OndSending){same_run, true, NOW, 0, 0}, &policy);

      CHECK_INT(r.after.doubt_op, OND_OP_CREATE);
      CHECK(r.after.sent_at == NOW && r.after.change_id == ID && r.after.held == hold);
      CHECK(r.failed && r.failed_as == OND_OUT_REJECTED && r.next_attempt_at == OND_NEVER);
      CHECK_INT(ond_change_plan(&r.after, OND_MODEL_ROW, &A, &next_run).verdict, OND_V_HELD_BACK);
      CHECK_INT(ond_change_plan(&r.after, OND_MODEL_LEFT, NULL, &next_run).verdict, OND_V_DELETE);
    }
  }
}

TEST(change_resolve_of_a_stopped_run_leaves_doubt_without_a_failed_row) {
  OndResolvePolicy policy = {NOW, WAIT, false, MAX_ATTEMPTS, true};
  OndResolution r = ond_change_resolve(NULL, OND_OP_CREATE, A, ID, OND_OUT_UNKNOWN, &(OndSending){true, false, NOW, NOW, 0}, &policy);

  CHECK_INT(r.after.doubt_op, OND_OP_CREATE);
  CHECK(!r.failed && !r.after.has_refused);
  r = ond_change_resolve(NULL, OND_OP_CREATE, A, ID, OND_OUT_NOT_SENT, &(OndSending){false, false, 0, 0, 0}, &policy);
  CHECK(ond_key_state_is_empty(&r.after));
}

/* At most once: stopped or not, it is not sent a second time by itself. */
TEST(change_resolve_of_a_stopped_run_holds_what_is_in_doubt) {
  OndResolvePolicy policy = {NOW, WAIT, true, MAX_ATTEMPTS, true};
  OndPlanPolicy next_run = {OND_MODE_UPSERT, OND_LEAVE_KEEP, false, NOW + 1000 * WAIT, WAIT};
  OndResolution r = ond_change_resolve(NULL, OND_OP_CREATE, A, ID, OND_OUT_UNKNOWN, &(OndSending){true, false, NOW, NOW, 0}, &policy);

  CHECK(r.failed && r.failed_as == OND_OUT_UNKNOWN && r.next_attempt_at == OND_NEVER);
  CHECK_INT(ond_change_plan(&r.after, OND_MODEL_ROW, &A, &next_run).verdict, OND_V_HELD_BACK);
}

TEST(change_outcomes_have_the_classes_of_failed_rows) {
  CHECK_STR(ond_outcome_class(OND_OUT_REJECTED), "rejected");
  CHECK_STR(ond_outcome_class(OND_OUT_THROTTLED), "throttled");
  CHECK_STR(ond_outcome_class(OND_OUT_UNAVAILABLE), "unavailable");
  CHECK_STR(ond_outcome_class(OND_OUT_AUTH), "auth");
  CHECK_STR(ond_outcome_class(OND_OUT_UNKNOWN), "unknown_outcome");
  CHECK_STR(ond_outcome_class(OND_OUT_INVALID), "invalid");
  CHECK_STR(ond_outcome_class(OND_OUT_ACCEPTED), NULL);
  CHECK_STR(ond_outcome_class(OND_OUT_NOT_SENT), NULL);
  CHECK_STR(ond_op_name(OND_OP_CREATE), "create");
  CHECK_STR(ond_op_name(OND_OP_UPDATE), "update");
  CHECK_STR(ond_op_name(OND_OP_DELETE), "delete");
}

/* --- fold ------------------------------------------------------------------------------------------------- */

TEST(change_fold_before_the_ack_is_doubt) {
  static const OndKeyState accepted = {ACCEPTED(HASH_B), .change_id = 5};
  OndKeyState after;

  CHECK(ond_change_fold(NULL, OND_OP_CREATE, A, ID, NOW, false, &after));
  CHECK_INT(after.doubt_op, OND_OP_CREATE);
  CHECK(ond_hash_equal(after.doubt_hash, A) && after.change_id == ID && after.sent_at == NOW);
  CHECK(!after.has_accepted && !after.has_refused);
  CHECK(ond_change_fold(&accepted, OND_OP_UPDATE, A, ID, NOW, false, &after));
  CHECK_INT(after.doubt_op, OND_OP_UPDATE);
  CHECK(after.has_accepted && ond_hash_equal(after.accepted, B));
  CHECK(ond_change_fold(&accepted, OND_OP_DELETE, A, ID, NOW, false, &after));
  CHECK_INT(after.doubt_op, OND_OP_DELETE);
  CHECK(ond_hash_equal(after.doubt_hash, OND_HASH_DELETE));
}

TEST(change_fold_after_the_ack_changes_nothing) {
  static const OndKeyState accepted = {ACCEPTED(HASH_A), .change_id = ID};
  static const OndKeyState refused = {ACCEPTED(HASH_B), REFUSED(HASH_A, OND_NEVER), .change_id = ID};
  OndKeyState after;

  CHECK(!ond_change_fold(&accepted, OND_OP_UPDATE, A, ID, NOW, false, &after));
  CHECK(!ond_change_fold(&accepted, OND_OP_UPDATE, A, ID, NOW, true, &after));
  CHECK(!ond_change_fold(&refused, OND_OP_UPDATE, A, ID, NOW, true, &after));
}

TEST(change_fold_of_an_acked_delete_finds_no_row) {
  OndKeyState after;

  CHECK(!ond_change_fold(NULL, OND_OP_DELETE, A, ID, NOW, false, &after));
  CHECK(!ond_change_fold(NULL, OND_OP_DELETE, A, ID, NOW, true, &after));
}

TEST(change_fold_after_a_retry_of_the_change_in_doubt_moves_the_time) {
  static const OndKeyState doubt = {ACCEPTED(HASH_B), DOUBT(UPDATE, HASH_A, OVER)};
  OndKeyState after, twice;

  CHECK(ond_change_fold(&doubt, OND_OP_UPDATE, A, ID, NOW, false, &after));
  CHECK(after.sent_at == NOW && after.change_id == ID && after.doubt_op == OND_OP_UPDATE && !after.has_refused);
  CHECK(!ond_change_fold(&after, OND_OP_UPDATE, A, ID, NOW, false, &twice)); /* nothing new */
}

TEST(change_fold_of_another_change_joins_the_doubt) {
  static const OndKeyState doubt = {ACCEPTED(HASH_B), DOUBT(UPDATE, HASH_C, OVER)};
  OndKeyState after;

  CHECK(ond_change_fold(&doubt, OND_OP_UPDATE, A, ID + 1, NOW, false, &after));
  CHECK(ond_hash_equal(after.doubt_hash, OND_HASH_UNKNOWN) && after.change_id == ID + 1 && after.sent_at == NOW);
}

TEST(change_fold_holds_for_ever) {
  OndKeyState after;

  CHECK(ond_change_fold(NULL, OND_OP_CREATE, A, ID, NOW, true, &after));
  CHECK(after.held && after.has_refused && ond_hash_equal(after.refused, A) && after.retry_at == OND_NEVER);
  CHECK_INT(after.attempts, 1);
}

/* A person released the held change, and the run that sent it died: it is held again. */
TEST(change_fold_holds_a_released_change_again) {
  static const OndKeyState released = {DOUBT(CREATE, HASH_A, OVER), REFUSED(HASH_A, DUE)};
  OndKeyState after;

  CHECK(ond_change_fold(&released, OND_OP_CREATE, A, ID, NOW, true, &after));
  CHECK(after.held && after.has_refused && after.retry_at == OND_NEVER);
  CHECK_INT(after.attempts, 3);
  CHECK(after.sent_at == NOW);
}

/* --- stories ---------------------------------------------------------------------------------------------- */

typedef struct Key {
  OndKeyState state;
  OndPlanPolicy plan;
  OndResolvePolicy resolve;
  int64_t next_id;
  OndResolution last;
} Key;

static Key a_key(OndMode mode) {
  Key k;

  memset(&k, 0, sizeof(k));
  k.plan = (OndPlanPolicy){mode, mode == OND_MODE_MIRROR ? OND_LEAVE_DELETE : OND_LEAVE_KEEP, false, NOW, WAIT};
  k.resolve = (OndResolvePolicy){NOW, WAIT, false, 20, false};
  k.next_id = 100;
  return k;
}

static void pass(Key *k, int64_t us) {
  k->plan.now += us;
  k->resolve.now += us;
}

static OndPlan look(const Key *k, const OndHash *model) {
  return ond_change_plan(&k->state, model ? OND_MODEL_ROW : OND_MODEL_LEFT, model, &k->plan);
}

/* Sends what is planned (model NULL: it left) and gives it this end; returns the change's id, 0: nothing was planned. */
static int64_t run(Key *k, const OndHash *model, OndOutcome outcome, bool in_doubt) {
  OndPlan p = look(k, model);
  OndOp op = p.verdict == OND_V_CREATE ? CREATE : p.verdict == OND_V_UPDATE ? UPDATE : p.verdict == OND_V_DELETE ? DELETE : OND_OP_NONE;
  int64_t id = p.same_change ? k->state.change_id : k->next_id++;

  if (p.settle) {
    k->state = ond_change_settled(&k->state);
  }
  if (op == OND_OP_NONE) {
    return 0;
  }
  k->last = ond_change_resolve(&k->state, op, model ? *model : OND_HASH_DELETE, id, outcome,
                               &(OndSending){in_doubt && outcome != OND_OUT_ACCEPTED, false, k->plan.now, in_doubt ? k->plan.now : 0, 0}, &k->resolve);
  k->state = k->last.after;
  return id;
}

TEST(change_a_b_unanswered_a_sends_a_after_the_wait) {
  Key k = a_key(OND_MODE_UPSERT);

  run(&k, &A, OND_OUT_ACCEPTED, false);
  run(&k, &B, OND_OUT_UNKNOWN, true);
  CHECK_INT(look(&k, &A).verdict, OND_V_PENDING); /* never unchanged, though A was the last that was accepted */
  pass(&k, WAIT - 1);
  CHECK_INT(look(&k, &A).verdict, OND_V_PENDING);
  pass(&k, 1);
  CHECK_INT(look(&k, &A).verdict, OND_V_UPDATE);
  run(&k, &A, OND_OUT_ACCEPTED, false);
  CHECK_INT(look(&k, &A).verdict, OND_V_UNCHANGED);
}

TEST(change_a_b_a_b_are_four_ids) {
  static const OndHash *const VERSIONS[] = {&A, &B, &A, &B};
  Key k = a_key(OND_MODE_UPSERT);
  int64_t ids[4];

  for (int i = 0; i < 4; i++) {
    ids[i] = run(&k, VERSIONS[i], OND_OUT_ACCEPTED, false);
    CHECK(ids[i] != 0);
    for (int j = 0; j < i; j++) {
      CHECK(ids[i] != ids[j]);
    }
  }
}

TEST(change_retry_of_the_change_in_doubt_keeps_its_id) {
  Key k = a_key(OND_MODE_UPSERT);
  int64_t first = run(&k, &A, OND_OUT_UNKNOWN, true);

  pass(&k, ond_backoff_between_runs_us(1));
  CHECK_INT(run(&k, &A, OND_OUT_UNAVAILABLE, false), first); /* did not arrive: still in doubt */
  pass(&k, ond_backoff_between_runs_us(2));
  CHECK_INT(run(&k, &A, OND_OUT_ACCEPTED, false), first);
  CHECK(run(&k, &B, OND_OUT_ACCEPTED, false) != first);
}

/* No answer, accepted at the next try: the first request may still arrive, so B waits as if A were in doubt. */
TEST(change_accepted_at_a_second_try_does_not_bring_back_the_first) {
  for (int same_run = 0; same_run < 2; same_run++) {
    Key k = a_key(OND_MODE_MIRROR);

    if (!same_run) {
      run(&k, &A, OND_OUT_UNKNOWN, true);
      pass(&k, ond_backoff_between_runs_us(1) - WAIT / 2);
      k.plan.resend = true;
    }
    CHECK(run(&k, &A, OND_OUT_ACCEPTED, same_run) != 0);
    k.plan.resend = false;
    CHECK(k.state.has_accepted && k.state.doubt_op == OND_OP_NONE);
    CHECK_INT(look(&k, &A).verdict, OND_V_UNCHANGED);
    CHECK_INT(look(&k, &B).verdict, OND_V_PENDING);
    CHECK_INT(look(&k, NULL).verdict, OND_V_DELETE_PENDING);
    pass(&k, WAIT);
    CHECK(run(&k, &B, OND_OUT_ACCEPTED, false) != 0);
    CHECK_INT(k.state.sent_at, 0);
  }
}

TEST(change_deleted_at_a_second_try_waits_before_it_comes_back) {
  Key k = a_key(OND_MODE_MIRROR);
  OndKeyState after;
  int64_t id;

  run(&k, &A, OND_OUT_ACCEPTED, false);
  id = run(&k, NULL, OND_OUT_ACCEPTED, true);
  CHECK(!ond_key_state_is_empty(&k.state));
  CHECK_INT(look(&k, NULL).verdict, OND_V_KEEP);
  CHECK_INT(look(&k, &A).verdict, OND_V_PENDING);
  CHECK(!ond_change_fold(&k.state, DELETE, OND_HASH_DELETE, id, NOW, false, &after)); /* its window was left: it is resolved */
  pass(&k, WAIT);
  CHECK_INT(look(&k, NULL).verdict, OND_V_FORGET);
  CHECK_INT(look(&k, &A).verdict, OND_V_CREATE);
}

TEST(change_whose_answered_error_would_be_repeated_takes_another_id) {
  OndPlanPolicy plan = {.mode = OND_MODE_UPSERT, .now = NOW, .in_doubt_wait_us = 10 * S};
  OndResolvePolicy policy = {.now = NOW, .in_doubt_wait_us = 10 * S, .max_attempts = 8};
  OndResolution r = ond_change_resolve(NULL, OND_OP_CREATE, A, ID, OND_OUT_UNAVAILABLE, &(OndSending){true, false, NOW, 0, 2}, &policy);
  OndPlan again;

  CHECK_INT(r.after.doubt_op, OND_OP_CREATE);
  CHECK_INT(r.after.change_id, ID + 2); /* two answers under ID and ID + 1 */
  plan.now = r.next_attempt_at;
  again = ond_change_plan(&r.after, OND_MODEL_ROW, &A, &plan);
  CHECK(again.verdict == OND_V_CREATE && again.same_change);
  r = ond_change_resolve(&r.after, OND_OP_CREATE, A, ID + 2, OND_OUT_UNKNOWN, &(OndSending){true, false, NOW, NOW, 0}, &policy);
  CHECK_INT(r.after.change_id, ID + 2); /* no answer: under the same one again */
}

TEST(change_after_a_definite_no_is_a_new_one) {
  Key k = a_key(OND_MODE_UPSERT);
  int64_t first = run(&k, &A, OND_OUT_THROTTLED, false);

  pass(&k, ond_backoff_between_runs_us(1));
  CHECK(run(&k, &A, OND_OUT_ACCEPTED, false) != first);
}

TEST(change_unknown_create_that_leaves_a_mirror_is_deleted_after_the_wait) {
  Key k = a_key(OND_MODE_MIRROR);

  run(&k, &A, OND_OUT_UNKNOWN, true);
  CHECK_INT(look(&k, NULL).verdict, OND_V_DELETE_PENDING);
  pass(&k, WAIT);
  CHECK_INT(look(&k, NULL).verdict, OND_V_DELETE);
  run(&k, NULL, OND_OUT_ACCEPTED, false);
  CHECK(ond_key_state_is_empty(&k.state));
}

TEST(change_rejected_create_that_leaves_a_mirror_is_forgotten) {
  Key k = a_key(OND_MODE_MIRROR);

  run(&k, &A, OND_OUT_REJECTED, false);
  CHECK_INT(look(&k, NULL).verdict, OND_V_FORGET);
}

TEST(change_unknown_delete_of_a_row_that_comes_back_is_a_create) {
  Key k = a_key(OND_MODE_MIRROR);

  run(&k, &A, OND_OUT_ACCEPTED, false);
  run(&k, NULL, OND_OUT_UNKNOWN, true);
  CHECK_INT(look(&k, &A).verdict, OND_V_PENDING);
  pass(&k, WAIT);
  CHECK_INT(look(&k, &A).verdict, OND_V_CREATE);
}

TEST(change_refused_then_back_to_the_accepted_version_closes) {
  Key k = a_key(OND_MODE_UPSERT);
  OndPlan p;

  run(&k, &A, OND_OUT_ACCEPTED, false);
  run(&k, &B, OND_OUT_REJECTED, false);
  p = look(&k, &A);
  CHECK_INT(p.verdict, OND_V_UNCHANGED);
  CHECK(p.settle && !ond_change_settled(&k.state).has_refused);
}

TEST(change_refused_version_is_not_resent) {
  Key k = a_key(OND_MODE_UPSERT);

  run(&k, &A, OND_OUT_REJECTED, false);
  pass(&k, 1000 * 86400 * S);
  CHECK_INT(look(&k, &A).verdict, OND_V_HELD_BACK);
  CHECK_INT(look(&k, &B).verdict, OND_V_CREATE); /* another version is */
  k.plan.resend = true;
  CHECK_INT(look(&k, &A).verdict, OND_V_CREATE); /* and when a person asks */
}

TEST(change_unavailable_goes_again_until_max_attempts) {
  Key k = a_key(OND_MODE_UPSERT);

  k.resolve.max_attempts = 3;
  for (int i = 1; i <= 3; i++) {
    CHECK(run(&k, &A, OND_OUT_UNAVAILABLE, false) != 0);
    CHECK_INT(k.last.attempts, i);
    CHECK_INT(run(&k, &A, OND_OUT_ACCEPTED, false), 0); /* not at once */
    pass(&k, ond_backoff_between_runs_us(i));
  }
  pass(&k, 1000 * 86400 * S);
  CHECK_INT(look(&k, &A).verdict, OND_V_HELD_BACK);
  CHECK(run(&k, &B, OND_OUT_UNAVAILABLE, false) != 0);
  CHECK_INT(k.last.attempts, 1);
}

TEST(change_definite_no_after_a_time_out_clears_doubt) {
  Key k = a_key(OND_MODE_UPSERT);

  run(&k, &A, OND_OUT_ACCEPTED, false);
  run(&k, &B, OND_OUT_REJECTED, false); /* delivery clears the doubt of the run's own tries */
  CHECK_INT(k.state.doubt_op, OND_OP_NONE);
  run(&k, &C, OND_OUT_UNKNOWN, true);
  pass(&k, ond_backoff_between_runs_us(1));
  run(&k, &C, OND_OUT_REJECTED, false); /* and that of earlier runs about the same change */
  CHECK_INT(k.state.doubt_op, OND_OP_NONE);
  CHECK(ond_hash_equal(k.state.accepted, A));
}

TEST(change_definite_no_to_another_change_does_not_clear_doubt) {
  Key k = a_key(OND_MODE_UPSERT);

  run(&k, &A, OND_OUT_ACCEPTED, false);
  run(&k, &B, OND_OUT_UNKNOWN, true);
  pass(&k, WAIT);
  run(&k, &C, OND_OUT_REJECTED, false);
  CHECK(ond_hash_equal(k.state.doubt_hash, B));
  CHECK_INT(look(&k, &A).verdict, OND_V_UPDATE); /* the destination may have B */
}

TEST(change_definite_no_to_the_second_of_two_in_doubt_settles_nothing) {
  Key k = a_key(OND_MODE_MIRROR);

  run(&k, &A, OND_OUT_ACCEPTED, false);
  run(&k, &B, OND_OUT_UNKNOWN, true); /* the destination has it */
  pass(&k, WAIT);
  run(&k, &C, OND_OUT_UNKNOWN, true);
  CHECK_INT(look(&k, &A).verdict, OND_V_PENDING);
  pass(&k, WAIT + ond_backoff_between_runs_us(1));
  run(&k, &C, OND_OUT_REJECTED, false);
  CHECK_INT(look(&k, &A).verdict, OND_V_UPDATE);
  CHECK_INT(look(&k, NULL).verdict, OND_V_DELETE);
}

TEST(change_definite_no_to_a_delete_after_an_unknown_update_settles_nothing) {
  Key k = a_key(OND_MODE_MIRROR);
  int64_t id;

  run(&k, &A, OND_OUT_ACCEPTED, false);
  run(&k, &B, OND_OUT_UNKNOWN, true); /* the destination has it */
  pass(&k, WAIT);
  id = run(&k, NULL, OND_OUT_UNKNOWN, true);
  pass(&k, WAIT);
  CHECK_INT(run(&k, NULL, OND_OUT_REJECTED, false), id);
  CHECK_INT(look(&k, &A).verdict, OND_V_UPDATE);
}

TEST(change_429_after_a_time_out_does_not_clear_doubt) {
  Key k = a_key(OND_MODE_UPSERT);

  run(&k, &A, OND_OUT_ACCEPTED, false);
  run(&k, &B, OND_OUT_THROTTLED, true); /* in the same run */
  CHECK_INT(k.state.doubt_op, OND_OP_UPDATE);
  pass(&k, ond_backoff_between_runs_us(1));
  run(&k, &B, OND_OUT_THROTTLED, false); /* in the next */
  CHECK_INT(k.state.doubt_op, OND_OP_UPDATE);
  CHECK(look(&k, &A).verdict != OND_V_UNCHANGED);
}

TEST(change_held_doubt_outlives_a_visit_elsewhere) {
  Key k = a_key(OND_MODE_UPSERT);

  k.resolve.hold_unknown = true;
  run(&k, &A, OND_OUT_UNKNOWN, true);
  pass(&k, 86400 * S);
  CHECK_INT(run(&k, NULL, OND_OUT_ACCEPTED, false), 0); /* leaves the model */
  CHECK_INT(look(&k, &A).verdict, OND_V_HELD_BACK);     /* and comes back */
}

TEST(change_held_doubt_outlives_a_refused_version) {
  Key k = a_key(OND_MODE_UPSERT);

  k.resolve.hold_unknown = true;
  run(&k, &A, OND_OUT_UNKNOWN, true);
  pass(&k, WAIT);
  run(&k, &B, OND_OUT_REJECTED, false);
  CHECK_INT(look(&k, &A).verdict, OND_V_HELD_BACK);
  CHECK_INT(look(&k, &C).verdict, OND_V_CREATE);
}

TEST(change_doubt_is_one_letter_of_the_state_table) {
  static const OndKeyState held = {HELD(DELETE, HASH_D, OVER)}, doubt = {DOUBT(CREATE, HASH_A, OVER)};
  OndKeyState s;

  CHECK_INT(ond_doubt_letter(&held), 'D');
  CHECK_INT(ond_doubt_letter(&doubt), 'c');
  ond_doubt_from_letter(&s, 'D');
  CHECK(s.doubt_op == OND_OP_DELETE && s.held);
  ond_doubt_from_letter(&s, 'c');
  CHECK(s.doubt_op == OND_OP_CREATE && !s.held);
}

TEST(change_crash_after_sending_goes_again_with_its_id) {
  Key k = a_key(OND_MODE_UPSERT);
  OndKeyState folded;
  OndPlan p;

  run(&k, &A, OND_OUT_ACCEPTED, false);
  CHECK(ond_change_fold(&k.state, OND_OP_UPDATE, B, 77, k.plan.now, false, &folded));
  k.state = folded;
  p = look(&k, &B);
  CHECK(p.verdict == OND_V_UPDATE && p.same_change);
  CHECK_INT(run(&k, &B, OND_OUT_ACCEPTED, false), 77);
  CHECK(!ond_change_fold(&k.state, OND_OP_UPDATE, B, 77, k.plan.now, false, &folded));
}
