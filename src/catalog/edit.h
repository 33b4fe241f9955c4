/*
 * edit.h - writing secrets, destinations and syncs: the SQL behind the editing functions of api/.
 *
 * All are called inside "ours" (session.h). Who may do it was checked by the caller; here are uniqueness, order of locks and what belongs
 * together.
 */
#ifndef OND_CATALOG_EDIT_H
#define OND_CATALOG_EDIT_H

#include "postgres.h"
#include "catalog/sync.h"
#include "utils/jsonb.h"

/* Names of secrets, destinations and syncs: 1 to 63 characters, no control characters; an error 42602 names the kind ("sync"). */
extern void ond_name_check(const char *kind, const char *name);

/* JSON merge patch (RFC 7396); both are objects. In the current memory context. */
extern Jsonb *ond_jsonb_merge_patch(Jsonb *target, Jsonb *patch);

/* --- secrets --- */
/* Encrypts and stores the value (UTF-8), in place of an older one. */
extern void ond_secret_set(Oid owner, const char *name, const char *value, size_t n);
/* False: the owner has none of that name. */
extern bool ond_secret_drop(Oid owner, const char *name);
extern bool ond_secret_exists(Oid owner, const char *name);
/*
 * Syncs in state error whose last run stopped for credentials (error_code of class 28) and whose destination refers to this secret go on.
 * How many.
 */
extern int ond_secret_release(Oid owner, const char *name);
/* Names of the owner's destinations that refer to the secret, as a list for a message; NULL: none. */
extern char *ond_secret_users(Oid owner, const char *name);

/* --- destinations --- */
/* Of d all but its number and version; error 42710 when the name is taken. */
extern int64 ond_destination_insert(const OndDestination *d);
/* How many the role owns. */
extern int64 ond_destination_count(Oid owner);
/* Writes connector, base_url, auth, options; counts the version. */
extern void ond_destination_update(const OndDestination *d);
extern void ond_destination_delete(int64 destination_id);
/* Looks up the document of d->connector as d->owner may use it; loading a destination does that by itself. */
extern void ond_destination_read_document(OndDestination *d);
/*
 * Locks the row till the end of the transaction: shared for syncs that come to use it, exclusive for edits and drops. False: it is gone.
 */
extern bool ond_destination_lock(int64 destination_id, bool exclusive);
/* In place of what the role had. level: "sync" or "request". */
extern void ond_destination_grant(int64 destination_id, Oid role, const char *level);
/* False: the role had nothing. */
extern bool ond_destination_revoke(int64 destination_id, Oid role);
/* Numbers of the syncs that use it, in order; a palloc'd array. */
extern int64 *ond_destination_syncs(int64 destination_id, int *n);

/* Likewise those whose option alert names it. */
extern int64 *ond_destination_alerts(const char *name, int *n);

/* --- syncs --- */
/*
 * Of s what the user said, columns and hash_seed (sync_id is filled in); error 42710 when the name is taken. state_reason: for a paused
 * one.
 */
extern void ond_sync_insert(OndSync *s, bool paused);
/* Numbers of all syncs, in order; a palloc'd array. */
extern int64 *ond_sync_ids(int *n);
/*
 * Locks the sync's row till the end of the transaction; waits for who has it. Whoever writes rows that belong to a sync (its runs, requests,
 * failed rows) beside others takes it first: two that take them in another order would be a deadlock. False: it is gone.
 */
extern bool ond_sync_lock(int64 sync_id);
/* The same for the sync of a run. False: the run or its sync is gone. */
extern bool ond_sync_lock_of_run(int64 run_id);
/* Writes what the user said and columns; counts the version. */
extern void ond_sync_update(const OndSync *s);
/* Another name for a sync, also where other syncs name it; error 42710 when it is taken. Locks chains till the transaction's end. */
extern void ond_sync_rename(const OndSync *s, const char *name);
/* Chains of this database: nobody else makes one, breaks one or renames its syncs till the end of the transaction. */
extern void ond_after_lock(void);
/* The option after: an error unless all syncs that it names are there, and none comes after this one itself. Locks chains till the transaction's end. */
extern void ond_after_check(const OndSync *s);
/* An error when another sync runs after this one. */
extern void ond_after_check_drop(const OndSync *s);
/* The row and what belongs to it; unfinished runs end as cancelled, finished ones stay as history. Not the state table. */
extern void ond_sync_delete(int64 sync_id);
/* Rows in the state table, or a send window of a run that died: something was delivered, or may have been. */
extern bool ond_sync_has_delivered(int64 sync_id);
/* Empties the state table; failed rows, send windows and cursor go with it. */
extern void ond_sync_forget(int64 sync_id);
/* Asks for a run of the sync at the commit of this transaction; the request's number. The caller calls ond_wake_at_commit(). */
extern int64 ond_run_request_insert(int64 sync_id, const char *trigger, const char *requested_by);
/* What was asked for and is due again does not count any more. */
extern void ond_run_requests_drop(int64 sync_id);
/* What the cursor says is not about this model and mapping: the next run reads all. */
extern void ond_sync_rewind(int64 sync_id);
/*
 * Held runs of the sync end as cancelled with these words: an edit made them void, somebody rejected one, or its time is over. run_id 0: any.
 * How many.
 */
extern int ond_held_runs_end(int64 sync_id, int64 run_id, const char *why);
/* resend_sync: the next complete run sends every row. */
extern void ond_sync_resend(int64 sync_id);

#endif
