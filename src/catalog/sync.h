/*
 * sync.h - a sync and its destination as the catalog has them.
 */
#ifndef OND_CATALOG_SYNC_H
#define OND_CATALOG_SYNC_H

#include "postgres.h"
#include "core/alert.h"
#include "core/change.h"
#include "core/guard.h"
#include "core/rate.h"
#include "core/schedule.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef enum OndSyncState { OND_SYNC_CREATED, OND_SYNC_ACTIVE, OND_SYNC_PAUSED, OND_SYNC_ERROR, OND_SYNC_ARCHIVED } OndSyncState;

/* What a run does about rows that would go again because the model or the mapping was edited. */
typedef enum OndOnConfigChange { OND_CONFIG_HOLD, OND_CONFIG_RESEND, OND_CONFIG_REBASE } OndOnConfigChange;

/* What of its rows' outcomes a sync writes down in ondatra.sync_log. */
typedef enum OndLogLevel { OND_LOG_NONE, OND_LOG_FAILED, OND_LOG_ALL } OndLogLevel;
/* A sync that this one runs after, and how its run must have ended. */
typedef struct OndAfter {
  char *sync;                 /* by name */
  OndLimit max_failed;        /* failed and invalid rows, of the rows scanned; not given: any number */
} OndAfter;

/* A condition over each row, or over the whole model, and what happens where it does not hold. */
typedef enum OndOnFail { OND_FAIL_INVALID, OND_FAIL_HOLD, OND_FAIL_WARN } OndOnFail;
typedef struct OndCheck {
  char *name;
  char *sql;
  bool whole;                 /* over the whole model */
  OndOnFail on_fail;
} OndCheck;

/* `alert` of a sync: whom to tell what. */
typedef struct OndAlertOption {
  char *destination;          /* its name; NULL: nobody is told */
  char *object;               /* NULL */
  char *variables;            /* of the connector: a JSON object of scalars, or NULL */
  char *fields;               /* a JSON object with {{words}}; NULL: all there is to tell */
  int64 every_us;             /* at most one message so often, but for what is worse than what was told last */
  OndAlertRules rules;
} OndAlertOption;

/* What is to be told. Texts in the database's encoding. */
typedef struct OndAlert {
  int64 sync_id;
  char *sync;                 /* its name */
  OndProblem problem, told;   /* now, and what was told last */
  TimestampTz since;          /* of the problem */
  int64 run_id;               /* 0: none */
  char *message;
} OndAlert;

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
  char *variables;            /* of the connector: a JSON object of scalars, or NULL */
  int statement_timeout_ms;   /* of the diff; default 0: none */
  int run_timeout_ms;         /* of the run; default 0: none */
  OndLimit max_deletes;       /* of 24 hours, of the delivered rows; default 10 %, at least 20 */
  OndLimit max_changes;       /* creates and updates of a run, of the rows scanned; default none */
  bool empty_runs;            /* on_empty = run: an empty model is no accident */
  OndOnConfigChange on_config_change;
  OndLogLevel sync_log;       /* default: none */
  char *render, *parse, *finalize;  /* names of functions; NULL: none */
  int n_keep;                 /* columns of the model whose values are kept for deletes */
  char **keep;
  int64 jitter_us;            /* an interval's due times are up to so much later; default 0 */
  int n_after;
  OndAfter *after;
  bool refresh;               /* materialized views under the model, before each run */
  int n_checks;
  OndCheck *checks;
  OndAlertOption alert;
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
  bool key_unique;            /* an index of the model's table made the key unique when the sync was defined */
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
  char *sent_model, *sent_mapping, *sent_definition;  /* of the last complete run; sent_model NULL: there was none */
  int64 state_rows;           /* of the state table after the last complete pass */
  char *options_json;         /* as stored: what `options` was parsed from */
} OndSync;

typedef struct OndDestination {
  int64 destination_id;
  char *name;
  Oid owner;
  char *connector;
  char *document;             /* of the connector: JSON text; NULL: it is "http", or one that the owner may not use */
  char *base_url;             /* NULL */
  char *auth;                 /* JSON text or NULL */
  char *options;              /* JSON text */
  int64 version;
  List *sync_roles, *request_roles;  /* OIDs of roles that it was granted to, by level */
} OndDestination;

/* What somebody wants of a destination; each includes those before it. */
typedef enum OndAccess {
  OND_ACCESS_SYNC,            /* their syncs send to it */
  OND_ACCESS_REQUEST,         /* they send requests of their own */
  OND_ACCESS_OWNER            /* they edit it */
} OndAccess;

/*
 * Loads into the current memory context. Called inside "ours" (session.h). NULL when there is none.
 * ond_sync_by_name looks at what the caller may see: a sync whose owner the user (role) is not a member of is as missing.
 */
extern OndSync *ond_sync_load(int64 sync_id);
extern OndSync *ond_sync_by_name(const char *name, Oid role);
/* As ond_sync_by_name; error 42704 with a hint when missing. */
extern OndSync *ond_sync_get(const char *name, Oid role);
extern OndDestination *ond_destination_load(int64 destination_id);
/* A member of its owner may do all, others what was granted to them. Anywhere in a transaction. */
extern bool ond_destination_allows(const OndDestination *d, Oid role, OndAccess access);
/* One that the role may not use at all is as missing: error 42704; 42501 when it may do less than this. */
extern OndDestination *ond_destination_get(const char *name, Oid role, OndAccess access);
/* Whether the sync's owner may send to it; with option render, which makes requests to any path, as with request(). */
extern bool ond_destination_allows_sync(const OndDestination *d, const OndSync *s);
/* Error 42501 unless it is so: asked at every use, since memberships and grants end. Anywhere in a transaction. */
extern void ond_destination_check_use(const OndSync *s, const OndDestination *d);
/* After it: error 42501 unless the sync's owner may also read its records. */
extern void ond_destination_check_read(const OndSync *s, const OndDestination *d);

/* Its schedule is cron text. */
extern bool ond_sync_has_cron(const OndSync *s);

/* Parses and checks `options` (a jsonb's text). Unknown members are errors whose hint lists the valid ones. mode is needed for defaults. */
extern void ond_sync_options_parse(const char *json, OndMode mode, OndSyncOptions *out);

/* What options_parts.c reads of the options: members that are lists or objects. */
extern void ond_option_after(const char *json, OndSyncOptions *out);
extern void ond_option_checks(const char *json, OndSyncOptions *out);
/* A limit as in max_deletes; false: none. */
extern bool ond_option_limit(const JsonbValue *v, OndLimit *limit);
/* A duration as options take it, in microseconds; -1: none. */
extern int64 ond_option_duration_us(const char *text);

extern OndMode ond_mode_parse(const char *text);   /* error 22023 with the valid ones */
extern const char *ond_mode_name(OndMode mode);
extern const char *ond_sync_state_name(OndSyncState s);
extern OndSyncState ond_sync_state_parse(const char *text);

/*
 * The run lock: a heavyweight lock on (database, all_syncs, sync_id), which user SQL can neither take nor release.
 * Runs hold it for the session, edits for the transaction. Without waiting: false when somebody else has it.
 */
extern bool ond_run_lock_session(int64 sync_id);
extern void ond_run_unlock_session(int64 sync_id);
/* After an abort, which gives up session locks too: takes it again, inside a transaction. False: an edit was faster. */
extern bool ond_run_lock_regain(void);
/*
 * For edits, inside "ours", till the end of the transaction: an error 55006 that names the run and cancel_run when a run holds it;
 * another edit is waited for. Load the sync again afterwards: it may have changed, or be gone.
 */
extern void ond_run_lock_edit(const OndSync *sync);
/* Likewise, but never waits: false when somebody else has it. */
extern bool ond_run_lock_try_edit(int64 sync_id);
/* True when this process holds it (run_sync must refuse then). */
extern bool ond_run_lock_is_mine(int64 sync_id);

/* What moves a sync from state to state; the table of transitions is in catalog/lifecycle.c. */
typedef enum OndSyncEvent {
  OND_EVENT_PAUSE,            /* by people */
  OND_EVENT_RESUME,
  OND_EVENT_ARCHIVE,
  OND_EVENT_RESTORE,
  OND_EVENT_RUN_DONE,         /* by runs: any end that is no reason to stop */
  OND_EVENT_RUN_GOOD,         /* an end without failure */
  OND_EVENT_RUN_STOP,         /* a failure that needs a person, or one too many */
  OND_EVENT_CREDENTIAL        /* by set_secret */
} OndSyncEvent;

/*
 * Applies an event of people or of set_secret: row (with next_run_at), NOTIFY. reason may be NULL. False: nothing to do, it was so
 * already. An impossible one is an error 55000 that says why. Inside "ours"; the caller calls ond_wake_at_commit() when it returns true.
 */
extern bool ond_sync_event(int64 sync_id, OndSyncEvent event, const char *reason);

/* The schedule was edited: anchor = now, next_run_at accordingly. Inside "ours". */
extern void ond_sync_reschedule(int64 sync_id);

/*
 * After a run: last_run_id, failures, next_run_at (first due time after now, anchored), state created -> active, error when failures
 * reached error_after or `fatal`; a good end also ends state error. Called in the run's last transaction. True when the state changed:
 * then ond_notify_state() in a transaction after it.
 */
extern bool ond_sync_run_finished(const OndSync *sync, int64 run_id, bool failed, bool fatal, const char *reason);

/*
 * NOTIFY ondatra with ids and status only. Runs call them in a transaction of its own: a full notification queue must not cost them their
 * records.
 */
extern void ond_notify_state(int64 sync_id);
extern void ond_notify_run(int64 run_id, int64 sync_id, const char *status);

#endif
