/*
 * state_table.h - ondatra.state_<sync_id>: per key, what the destination last accepted, and what is refused or in doubt.
 *
 *   k1 … kn      the key, in base types (others as text COLLATE "C"); primary key, the only index: updates stay HOT
 *   _hash        accepted version (NULL: nothing yet)
 *   _refused, _retry_at (infinity: never by itself), _attempts
 *   _doubt_op, _doubt_hash, _sent_at (alone: a try of what was accepted last got no answer then; a row of nothing else is a key that was deleted)
 *   _change_id   of the last change sent
 *   _remote_id, _remote, _kept, _synced_at
 *
 * Not a member of the extension (pg_dump keeps it), but depends on it (DROP EXTENSION takes it). Writes are set-based and run inside "ours".
 */
#ifndef OND_ENGINE_STATE_TABLE_H
#define OND_ENGINE_STATE_TABLE_H

#include "postgres.h"
#include "core/change.h"
#include "core/buf.h"
#include "datatype/timestamp.h"
#include "engine/change_row.h"
#include "engine/spec.h"

/* DDL. create records the dependency on the extension and gives the sync's owner SELECT. */
extern void ond_state_table_create(const OndSync *sync, const OndModel *model);
/* Records again what a dump loses: that the table goes with the extension. Returns its rows; -1: there is no such table. Inside "ours". */
extern int64 ond_state_table_adopt(const OndSync *sync);
/* Gives the sync's owner SELECT again, where it was taken. Inside "ours". */
extern void ond_state_table_grant(const OndSync *sync);
extern void ond_state_table_drop(int64 sync_id);
extern char *ond_state_table_name(int64 sync_id);   /* qualified */

/* A row to write. */
typedef struct OndStateWrite {
  const OndBytes *key_text;   /* n_keys */
  OndKeyState state;          /* empty: the row is removed */
  const char *remote_id;      /* NULL: keep */
  const char *remote;         /* NULL: keep; JSON object */
  const char *kept;           /* NULL: keep; see kept.h, UTF-8 */
  bool accepted_now;          /* moves _synced_at */
  bool is_new;                /* the table has no row of this key: the diff saw none, and only this run writes */
} OndStateWrite;

/* Writes or removes n rows at once; keys are distinct. types: the key columns' SQL types. 23505 when a row said to be new is there. */
extern void ond_state_write(int64 sync_id, int n_keys, const char *const *types, int n, const OndStateWrite *writes);
/* Reads the rows of n keys: found[i] tells whether states[i] is one, kept[i] is its _kept (NULL: none). */
extern void ond_state_read(int64 sync_id, int n_keys, const char *const *types, int n, const OndBytes *const *key_texts, bool *found,
                           OndKeyState *states, OndBytes *kept);
/* Takes these columns out of what is kept of rows: option keep does not name them any more. */
extern void ond_state_unkeep(int64 sync_id, int n, char *const *columns);
/* Number of rows. */
extern int64 ond_state_count(int64 sync_id);
/* Error 42P01 with a hint when the table is missing, 42501 when the owner may not read it. */
extern void ond_state_table_require(const OndSync *sync);
/* SQL types of the state table's key columns as it is, in the current memory context; n_keys of them. Error as above. */
extern const char **ond_state_key_types(int64 sync_id, int n_keys);

/* Unix microseconds <-> timestamptz; OND_NEVER <-> infinity. */
extern TimestampTz ond_from_unix_us(int64 us);
extern int64 ond_to_unix_us(TimestampTz t);

#endif
