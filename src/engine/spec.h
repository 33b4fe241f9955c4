/*
 * spec.h - a sync compiled for one run: model, key, mapping and connector put together and checked against each other.
 *
 *   values   what the diff selects of the model: the used columns (c1 … cn), then the mapping's SQL expressions (x1 … xm)
 *   keys     the key columns with the types of the state table
 *   fields   the mapping's; each takes a value, a constant or a template over values
 *   joins    state tables of other syncs, for the mapping's lookups: l1 … ln
 */
#ifndef OND_ENGINE_SPEC_H
#define OND_ENGINE_SPEC_H

#include "postgres.h"
#include "lib/stringinfo.h"
#include "catalog/sync.h"
#include "connector/connector.h"
#include "connector/mapping.h"
#include "engine/change_row.h"
#include "engine/model.h"

typedef struct OndKeyColumn {
  const char *name;
  const char *member;         /* the same in UTF-8: in the key's JSON */
  int value;                  /* its number among the values */
  Oid type;                   /* of the state table's column */
  const char *type_sql;       /* "pg_catalog.int8" */
  bool text;                  /* COLLATE "C" */
} OndKeyColumn;

typedef struct OndValue {
  const char *name;           /* of the model's column or the field's target: for messages */
  const char *sql;            /* expression over q */
  Oid type;
} OndValue;

/* A lookup: the state table of another sync, joined to the model. */
typedef struct OndJoin {
  const char *sql;            /* "LEFT JOIN ondatra.state_7 l1 ON …" */
  int n_by;
  int by[OND_KEYS_MAX];       /* values that hold the other sync's key */
} OndJoin;

typedef struct OndSpec {
  const OndSync *sync;
  const OndModel *model;
  OndConnector *connector;
  OndMapping *mapping;
  int n_keys;
  OndKeyColumn *keys;
  int n_values;
  OndValue *values;
  int *field_value;           /* per mapping field: number of the value, -1: constant or template */
  int *field_join;            /* per mapping field: number of the join, -1: no lookup */
  int n_joins;
  OndJoin *joins;
  int **field_parts;          /* per template field: value of each part, -1: literal */
  int n_template_columns;     /* columns that the connector's templates name, as ond_connector_column() numbers them */
  int *template_value;        /* -1: only a delete names it */
  int *template_kept;         /* its number in option keep; -1: it is not there */
  int n_kept;                 /* columns of option keep: UTF-8 names, and their values */
  const char **kept_name;
  int *kept_value;
  int *field_type;            /* per mapping field: the connector's type it takes the form of, -1: none; NULL: no field has one */
  char *render, *parse, *finalize;  /* functions, to be called by ond_script_call(); NULL: none */
  int cursor_value;           /* -1: no cursor */
  int *check_value;           /* per check of the options: the value that is its condition, -1: over the whole model; NULL: no checks */
  bool free_registered;
} OndSpec;

/* A key column's type in the state table (value is -1); an error when it does not exist or cannot be part of a key. */
extern void ond_key_column(const OndModel *model, const char *name, OndKeyColumn *key);

/* Appends "FROM (the model) q LEFT JOIN …": what the values' expressions are over. */
extern void ond_spec_append_from(StringInfo s, const OndSpec *spec);

/*
 * Compiles and checks everything; errors name what is wrong as create_sync would. Called as the owner (ond_owner_begin, spi = false): model columns may be of any type.
 * The result lives in the current context; connector and mapping are freed when the context is reset or deleted.
 */
extern OndSpec *ond_spec_build(const OndSync *sync, const OndModel *model, const OndDestination *destination);

/* The values of the mapping's fields in the forms that it gives them ("as"); values itself where none has one. scratch is overwritten. */
extern const OndBytes *ond_spec_form_values(const OndSpec *spec, const OndBytes *values, OndBuf *scratch);

/* SQL type of cursor_overlap: interval for times, the cursor's own type for numbers. */
extern const char *ond_spec_overlap_type(const OndSpec *spec);

/* Error when columns that the sync uses changed their type or vanished since the signature was taken. */
extern void ond_spec_check_signature(const OndSpec *spec);

#endif
