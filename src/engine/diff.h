/*
 * diff.h - the diff: one statement over model and state table, every row counted, changes kept. Second step of a row's way.
 *
 * Runs as the sync's owner in a read-only scope (ond_owner_begin, spi = true) under an active snapshot. Writes nothing.
 */
#ifndef OND_ENGINE_DIFF_H
#define OND_ENGINE_DIFF_H

#include "postgres.h"
#include "core/change.h"
#include "engine/change_row.h"
#include "engine/spec.h"

#define OND_INVALID_KEPT_MAX 10000  /* invalid rows that are recorded one by one; all are counted */

typedef struct OndInvalidRow {
  char *key_json;
  char *message;
  OndOp op;                   /* what it would have been: an update of a row that was accepted before */
} OndInvalidRow;

typedef enum OndPass {
  OND_PASS_FULL,              /* the whole model against the whole state table */
  OND_PASS_CURSOR,            /* rows past the cursor, and keys that are failed or in doubt */
  OND_PASS_KEYS               /* the keys given */
} OndPass;

/* One row as the diff saw it, for explain_row. Bytes are valid during the call. */
typedef struct OndObservation {
  OndPresence presence;
  bool has_state;
  OndKeyState state;
  OndHash hash;               /* of a model row */
  OndBytes fields;            /* the payload of a model row */
  const char *problem;        /* why it is invalid, or NULL */
  OndBytes remote_id;
  OndBytes kept;
  OndPlan plan;
} OndObservation;

typedef struct OndDiffInput {
  const OndSpec *spec;
  OndPlanPolicy policy;
  OndPass pass;
  const char *keys_json;      /* OND_PASS_KEYS: an object or an array of objects */
  OndStore *store;            /* NULL: only count */
  int64 change_id_base;       /* the first new change's id */
  bool adopt_known;           /* on_config_change = rebase: rows that were accepted count as accepted as they are now, and are settled so */
  bool everything;            /* reconcile: every key is stored, whatever the verdict: model rows as updates, rows that cannot be sent as settle rows, keys that left as
                                 deletes; model rows without a key are not */
  bool adopt;                 /* rebase: every valid model row becomes a settle row that accepts it as it is; nothing else is stored */
  void (*observe)(const OndObservation *o, void *arg);  /* every row; may be NULL */
  void *observe_arg;
  void (*progress)(int64 rows_scanned, void *arg);  /* every some thousand rows; may be NULL */
  void *progress_arg;
} OndDiffInput;

typedef struct OndDiff {
  int64 rows_scanned;
  int64 verdicts[OND_VERDICTS];
  int n_invalid;              /* recorded ones */
  OndInvalidRow *invalid;
  bool invalid_cut;           /* there were more */
  char *cursor_seen;          /* highest cursor value, as text; NULL: no row */
  int64 state_rows;           /* seen of the state table; a cursor or keys pass does not see all */
  int64 adopted;              /* of the unchanged rows: those that adopt_known settled */
  int64 waiting;              /* of the PENDING rows: those whose lookup found no remote id yet */
  int64 doubt_ends;           /* unix microseconds: when the first other PENDING row may go; OND_NEVER: none */
  int64 *checks;              /* per check of the options: rows for which it does not hold; over the whole model 0 or 1. NULL: no checks */
  int64 statements;           /* 2 when duplicate keys made a second pass necessary */
  bool retyped;               /* columns have other types than the spec was compiled for: nothing was read */
} OndDiff;

/* In the transaction that compiled the spec `retyped` cannot be: its locks keep the model as it is. */
extern OndDiff *ond_diff(const OndDiffInput *input);

/* The statement's text, for explain_sync and messages. */
extern char *ond_diff_statement(const OndSpec *spec, OndPass pass, const char *keys_json);

#endif
