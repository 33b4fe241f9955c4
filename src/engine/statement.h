/*
 * statement.h - the text of the diff's SQL, and where its columns are.
 */
#ifndef OND_ENGINE_STATEMENT_H
#define OND_ENGINE_STATEMENT_H

#include "postgres.h"
#include "engine/diff.h"
#include "lib/stringinfo.h"

/* Column numbers (from 0) in the result of the statement. */
typedef struct OndDiffColumns {
  int state_keys;             /* n_keys of them; NULL: no state row */
  int hash, refused, retry_at, attempts, doubt_op, doubt_hash, sent_at, change_id, remote_id, remote, kept;
  int model_keys;             /* n_keys of them, typed like the state's; a row with a state row is of the model too iff the first is not NULL */
  int ordinal;                /* -1: none */
  int values;                 /* n_values of them */
  int same_key;               /* of the counting statement: how many rows of the model have this key, and this one's number among them */
} OndDiffColumns;

extern void ond_diff_columns(const OndSpec *spec, OndDiffColumns *out);
/* As ond_diff_statement(), and counts the rows of each key. */
extern char *ond_diff_statement_counting(const OndSpec *spec, OndPass pass, const char *keys_json);
/* Has rows when keys are there more than once. */
extern char *ond_duplicates_statement(const OndSpec *spec, OndPass pass, const char *keys_json);
/* The SQL that takes a key column out of a key as JSON ({"id": 113}). json: an SQL expression of type jsonb. */
extern void ond_append_key_from_json(StringInfo s, const char *json, const char *name, const char *type_sql);
/* True where the order of the model is kept. */
extern bool ond_spec_is_ordered(const OndSpec *spec);

#endif
