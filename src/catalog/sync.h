/*
 * sync.h - a sync and its destination as the catalog has them.
 */
#ifndef OND_CATALOG_SYNC_H
#define OND_CATALOG_SYNC_H

#include "postgres.h"
#include "core/change.h"
#include "core/rate.h"
#include "core/schedule.h"
#include "datatype/timestamp.h"

typedef enum OndSyncState { OND_SYNC_CREATED, OND_SYNC_ACTIVE, OND_SYNC_PAUSED, OND_SYNC_ERROR, OND_SYNC_ARCHIVED } OndSyncState;

/* `options` of a sync, checked; -1 or NULL: not given. Durations in microseconds. */
typedef struct OndSyncOptions {
  int batch_size;             /* rows a request; below the connector's own limit */
  int concurrency;            /* requests in flight; below the destination's */
  OndRateGroup rate_limit;    /* n == 0: none; applies to this sync beside the destination's */
  OndOnLeave on_leave;        /* default: keep; mirror: delete */
  bool on_unknown_given;
  bool on_unknown_hold;       /* default: resend, hold where the operation is not idempotent */
  int64 in_doubt_wait_us;     /* default -1: request time-out + 30 s */
  int max_attempts;           /* failed runs of a version before it waits for a person; default 10 */
  int error_after;            /* failed runs in a row before state error; default 5 */
  char *cursor_column;
  char *cursor_overlap;       /* text: an interval or a number, by the column's type */
  int64 full_every_us;        /* -1: never */
  int statement_timeout_ms;   /* of the diff; default 0: none */
  int run_timeout_ms;         /* of the run; default 0: none */
} OndSyncOptions;

typedef struct OndSync {
  int64 sync_id;
  char *name;
  Oid owner;
  char *model;
  char *model_search_path;
  int64 destination_id;
  char *object;               /* NULL */
  int n_keys;
  char **keys;
  OndMode mode;
  char *mapping;              /* JSON text or NULL */
  char *schedule;             /* NULL: manual */
  OndSyncOptions options;
  int64 version;
  char *columns;              /* JSON text: signature */
  uint8 hash_seed[16];
  int hash_format;
  OndSyncState state;
  char *state_reason;
  TimestampTz anchor;
  int failures;
  bool resend;
  char *cursor_value;         /* NULL */
  char *cursor_seen;
  TimestampTz cursor_seen_at; /* 0 when NULL */
  TimestampTz full_pass_at;   /* 0 when NULL */
} OndSync;

typedef struct OndDestination {
  int64 destination_id;
  char *name;
  Oid owner;
  char *connector;
  char *base_url;             /* NULL */
  char *auth;                 /* JSON text or NULL */
  char *options;              /* JSON text */
  int64 version;
} OndDestination;

/*
 * Loads into the current memory context. Called inside "ours" (session.h). NULL when there is none.
 * ond_sync_by_name looks at what the caller may see: a sync whose owner the user (role) is not a member of is as missing.
 */
extern OndSync *ond_sync_load(int64 sync_id);
extern OndSync *ond_sync_by_name(const char *name, Oid role);
/* As ond_sync_by_name; error 42704 with a hint when missing. */
extern OndSync *ond_sync_get(const char *name, Oid role);
extern OndDestination *ond_destination_load(int64 destination_id);
extern OndDestination *ond_destination_by_name(const char *name, Oid role);
extern OndDestination *ond_destination_get(const char *name, Oid role);

/* Parses and checks `options` (a jsonb's text). Unknown members are errors whose hint lists the valid ones. mode is needed for defaults. */
extern void ond_sync_options_parse(const char *json, OndMode mode, OndSyncOptions *out);

extern OndMode ond_mode_parse(const char *text);   /* error 22023 with the valid ones */
extern const char *ond_mode_name(OndMode mode);
extern const char *ond_sync_state_name(OndSyncState s);

/*
 * The run lock: a heavyweight lock on (database, all_syncs, sync_id), which user SQL can neither take nor release.
 * Runs hold it for the session, edits for the transaction. Without waiting: false when somebody else has it.
 */
extern bool ond_run_lock_session(int64 sync_id);
extern void ond_run_unlock_session(int64 sync_id);
/* For edits: an error 55006 that names the running run and cancel_run when a run holds it. */
extern void ond_run_lock_edit(const OndSync *sync);
/* True when this transaction holds it (run_sync must refuse then). */
extern bool ond_run_lock_is_mine(int64 sync_id);

/* Moves a sync to another state with a reason (may be NULL): row, NOTIFY. The transition table is in catalog/lifecycle.c; an impossible one is an error that says why. */
extern void ond_sync_set_state(int64 sync_id, OndSyncState to, const char *reason);

/* After a run: last_run_id, failures, next_run_at (first due time after now, anchored), state created -> active, error when failures reached error_after or `fatal`. Called in the run's last transaction. */
extern void ond_sync_run_finished(const OndSync *sync, int64 run_id, bool failed, bool fatal, const char *reason);

#endif
