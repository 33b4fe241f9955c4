/*
 * model.h - what is read: the model's text, its columns, the key and the mapping. First step of a row's way.
 */
#ifndef OND_ENGINE_MODEL_H
#define OND_ENGINE_MODEL_H

#include "postgres.h"
#include "catalog/sync.h"

typedef struct OndModelColumn {
  char *name;
  Oid type;
  int32 typmod;
  Oid collation;
} OndModelColumn;

typedef struct OndModel {
  char *query;                /* one SELECT, without a semicolon, to be put in parentheses on lines of its own */
  char *display;              /* for messages, see ond_model_words: the relation's name or "the query" */
  Oid relid;                  /* a relation, or InvalidOid */
  int n_columns;
  OndModelColumn *columns;
} OndModel;

/*
 * (These allocate in the current memory context: call them inside ond_owner_begin(…, spi = false), so that the result outlives the scope.)
 *
 * Parses and analyses the model as the current user under the current search_path (call inside ond_owner_begin): a name of a table, view, materialized view or
 * foreign table, or exactly one SELECT (or VALUES, TABLE, WITH … SELECT) without INTO or locking. Errors say what is wrong with it; hints name the columns.
 */
extern OndModel *ond_model_analyze(const char *text);

/* The model's primary key columns (a table's), or an error that says to name the key. */
extern char **ond_model_primary_key(const OndModel *model, int *n);

/* True when the model is a table with a unique index on (some of) these columns and nothing else: no two rows can have the same key. */
extern bool ond_model_key_is_unique(const OndModel *model, int n_keys, char *const *keys);

/* The model in a sentence: model "name", or for a query "the model". */
extern const char *ond_model_words(const OndModel *model);
/* Number of a column, -1: none. */
extern int ond_model_column(const OndModel *model, const char *name);
/* "The model has the columns id, email, plan." */
extern char *ond_model_columns_hint(const OndModel *model);

/*
 * Checks key, mapping, cursor column and the connector's templates against the model, as create_sync and each run do: unknown columns, key types that
 * cannot be keys, mapping errors, modes the destination's object cannot do, rights of the owner on what the model reads. Errors as in the tour: column "idd" of the key
 * does not exist in model … Returns the signature for all_syncs.columns: JSON text [{"name": "id", "type": "integer"}, …] of the columns the sync uses.
 */
extern char *ond_sync_check(const OndSync *sync, const OndModel *model, const OndDestination *destination);

#endif
