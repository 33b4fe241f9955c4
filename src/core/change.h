/*
 * change.h - the state machine of a change: the heart of the promise.
 *
 * "A row counts as delivered exactly when the destination accepted it."
 *
 * Per key there is at most one state row (OndKeyState). Two functions move it:
 *
 *   ond_change_plan()     the diff: model row x state row -> verdict, maybe a change to send
 *   ond_change_resolve()  delivery: change x outcome -> new state row, maybe a failed row
 *
 * and one crash rule:
 *
 *   ond_change_fold()     a change found in a send window that nobody resolved is in doubt
 *
 * States of a key (all durable; which commit makes them so in brackets)
 *
 *   ABSENT    no state row, or one with nothing in it
 *   ACCEPTED  `accepted` is what the destination last accepted        [ack commit]
 *   REFUSED   version `refused` is not sent again before `retry_at`   [ack commit]
 *   DOUBT     `doubt_op` of `doubt_hash` may or may not have happened [ack commit, or fold at the next run]
 *
 * REFUSED and DOUBT stand beside ACCEPTED: they never erase what was accepted before.
 *
 * A no ends the doubt about its change only when it came by the same way: a record that "exists" already and refuses the update may be what a create
 * without an answer has made.
 *
 * With on_unknown = hold a change in doubt is held: it never goes again by itself, whatever becomes of other versions meanwhile. The answer to another
 * change that settles the key, or a person, ends that.
 *
 * What ends a doubt does not bring back a request that is still on its way: a try without an answer may arrive after another try of the same change was
 * accepted. So `sent_at` stays with what was accepted (after a delete: alone) until in_doubt_wait is over, and until then no other version goes out.
 *
 * A change while a run sends it (in memory, but for the send window)
 *
 *   planned -> window [window commit: from here on a crash means doubt] -> in flight
 *           -> accepted | rejected | throttled | unavailable | auth | unknown | not sent  -> ack [ack commit]
 *
 * change_id: new for every change that is planned after a definite answer or with another value or operation than
 * the one in doubt; kept when the very change in doubt goes out again. So A -> B -> A -> B is four ids, a retry is one.
 * A change that ends in doubt while another is in doubt makes a doubt about OND_HASH_UNKNOWN: it differs from every version, so what goes
 * out next (after the wait) is a new change, and only its acceptance settles the key.
 *
 * Versions are 128-bit hashes. A delete is the version OND_HASH_DELETE (all zero; ond_hash never returns it).
 */
#ifndef OND_CORE_CHANGE_H
#define OND_CORE_CHANGE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct OndHash {
  uint8_t b[16];
} OndHash;

extern const OndHash OND_HASH_DELETE;
extern const OndHash OND_HASH_UNKNOWN; /* all ones, as doubt_hash: more than one change is in doubt */

static inline bool ond_hash_equal(OndHash a, OndHash b) {
  return memcmp(a.b, b.b, sizeof(a.b)) == 0;
}

typedef enum OndOp { OND_OP_NONE = 0, OND_OP_CREATE = 'c', OND_OP_UPDATE = 'u', OND_OP_DELETE = 'd' } OndOp;
extern const char *ond_op_name(OndOp op); /* "create", "update", "delete" */

typedef enum OndMode { OND_MODE_UPSERT, OND_MODE_INSERT, OND_MODE_UPDATE, OND_MODE_MIRROR, OND_MODE_APPEND, OND_MODE_REPLACE } OndMode;
typedef enum OndOnLeave { OND_LEAVE_KEEP, OND_LEAVE_FORGET, OND_LEAVE_DELETE } OndOnLeave;

#define OND_NEVER INT64_MAX      /* a retry_at that does not come by itself */

typedef struct OndKeyState {
  bool has_accepted;
  OndHash accepted;
  bool has_refused;
  OndHash refused;
  int64_t retry_at;        /* when has_refused: unix microseconds from which `refused` may go again; OND_NEVER */
  int32_t attempts;        /* when has_refused: failed runs of `refused` */
  OndOp doubt_op;          /* OND_OP_NONE: not in doubt */
  OndHash doubt_hash;
  bool held;               /* when in doubt: only a person may send this change again */
  int64_t sent_at;         /* when in doubt: unix microseconds of the last sending; else, when not 0: a try of the change that was accepted last got no
                              answer at that time and may still arrive */
  int64_t change_id;       /* of the last change that was sent for the key; 0: none */
} OndKeyState;

/* doubt_op and held as one letter of the state table: c, u, d; held in capitals. */
extern char ond_doubt_letter(const OndKeyState *s);
extern void ond_doubt_from_letter(OndKeyState *s, char letter);

/* Nothing worth a row. */
extern bool ond_key_state_is_empty(const OndKeyState *s);

/* What the diff saw of a key. */
typedef enum OndPresence {
  OND_MODEL_ROW,      /* in the model with a version */
  OND_MODEL_INVALID,  /* in the model, but the row cannot be sent: present, never deleted */
  OND_MODEL_LEFT      /* only a state row; the pass was one that can tell */
} OndPresence;

typedef struct OndPlanPolicy {
  OndMode mode;
  OndOnLeave on_leave;       /* mirror implies OND_LEAVE_DELETE */
  bool resend;               /* send equal and refused versions too */
  int64_t now;               /* unix microseconds */
  int64_t in_doubt_wait_us;
} OndPlanPolicy;

/* Each scanned model row gets exactly one of the first seven; LEFT rows one of the others. */
typedef enum OndVerdict {
  OND_V_UNCHANGED,
  OND_V_CREATE,
  OND_V_UPDATE,
  OND_V_INVALID,
  OND_V_HELD_BACK,    /* this version failed earlier and waits */
  OND_V_SKIPPED,      /* the mode does not send it */
  OND_V_PENDING,      /* must wait: another value of the key is in doubt and may still arrive */
  OND_V_DELETE,
  OND_V_DELETE_HELD,     /* the delete failed earlier and waits for a person */
  OND_V_DELETE_LATER,    /* the delete failed earlier, and its next attempt is not due */
  OND_V_DELETE_PENDING,  /* another operation is in doubt */
  OND_V_FORGET,          /* remove the state row, nothing to send */
  OND_V_KEEP             /* nothing to do */
} OndVerdict;
#define OND_VERDICTS (OND_V_KEEP + 1)

typedef struct OndPlan {
  OndVerdict verdict;
  bool same_change;   /* CREATE, UPDATE, DELETE: the change in doubt goes again, keep change_id */
  bool settle;        /* UNCHANGED, SKIPPED, KEEP: a refused mark is obsolete (that of a held change never is): write ond_change_settled(),
                         close the failed row. FORGET closes too. */
  bool adopts;        /* the caller's: with settle, the row is said to be at the destination as it is */
} OndPlan;

/* state may be NULL (no row). hash is read for OND_MODEL_ROW only. */
extern OndPlan ond_change_plan(const OndKeyState *state, OndPresence presence, const OndHash *hash, const OndPlanPolicy *policy);

/* The state without its refused mark: what is written when a plan says `settle`. */
extern OndKeyState ond_change_settled(const OndKeyState *state);

/* How the sending of one change ended. */
typedef enum OndOutcome {
  OND_OUT_ACCEPTED,
  OND_OUT_REJECTED,      /* definite no for its content */
  OND_OUT_THROTTLED,     /* definite no for now, tries used up */
  OND_OUT_UNAVAILABLE,   /* never reached the server, or 5xx; tries used up */
  OND_OUT_AUTH,          /* 401, 403 */
  OND_OUT_UNKNOWN,       /* sent, no usable answer */
  OND_OUT_INVALID,       /* could not be rendered into a request (missing value, unsafe path piece) */
  OND_OUT_NOT_SENT       /* the run stopped first: nothing of this run's reached the wire */
} OndOutcome;
extern const char *ond_outcome_class(OndOutcome o); /* failed_rows.error_class; NULL for ACCEPTED and NOT_SENT */

typedef struct OndResolvePolicy {
  int64_t now;                 /* unix microseconds */
  int64_t in_doubt_wait_us;
  bool hold_unknown;           /* on_unknown = hold */
  int max_attempts;            /* failed runs of one version before it waits for a person */
  bool interrupted;            /* the run was stopped while this was in flight: doubt, but no failed row (unless hold_unknown) */
} OndResolvePolicy;

/* How one change was sent in one run. */
typedef struct OndSending {
  bool in_doubt;               /* some try may have reached the destination without a definite answer after it (sticky over tries; a definite answer
                                  clears it, a later "not sent" does not). With REJECTED: a try by another way than the one that was refused */
  bool other_way;              /* the last try did not go by the operation's own route: a no says nothing of what other runs sent */
  int64_t sent_at;             /* unix microseconds of the last try, 0: never sent */
  int64_t late_at;             /* of the last try that may still arrive, whatever came after it; 0: none */
  int renewed;                 /* ids that this run has used up after the change's own: answers that the API would repeat under their keys */
} OndSending;

typedef struct OndResolution {
  OndKeyState after;           /* empty: remove the state row */
  bool failed;                 /* upsert a failed row with the values below */
  OndOutcome failed_as;        /* its error class: what is in doubt and must not be repeated is an unknown outcome */
  int attempts;
  int64_t next_attempt_at;     /* unix microseconds; OND_NEVER: waits for a person or a new version */
  bool closes_failure;         /* delete the key's failed row */
} OndResolution;

/* `before` is the state row the plan saw (NULL: none). */
extern OndResolution ond_change_resolve(const OndKeyState *before, OndOp op, OndHash hash, int64_t change_id, OndOutcome outcome,
                                        const OndSending *sending, const OndResolvePolicy *policy);

/*
 * The crash rule. A window entry whose change_id the state row already carries was resolved (or is in doubt already: then only sent_at moves); a delete
 * whose row is gone was accepted; everything else is in doubt now. True: `after` must be written. hold: on_unknown = hold marks it refused for ever.
 * sent_at: when the process was known to be dead at the latest, so that nothing it sent can still overtake after in_doubt_wait.
 */
extern bool ond_change_fold(const OndKeyState *before, OndOp op, OndHash hash, int64_t change_id, int64_t sent_at, bool hold,
                            OndKeyState *after);

#endif
