/*
 * read.h - one answer while it is read: shared by the files that read it.
 */
#ifndef OND_CONNECTOR_READ_H
#define OND_CONNECTOR_READ_H

#include "connector/reference.h"


/* One row's name as the answer may use it. */
typedef struct OndRowName {
  const char *text;
  size_t n;
  int row;
} OndRowName;

/* The names of all rows of a request, sorted; more than one row may have the same. */
typedef struct OndRowNames {
  bool built;
  size_t n;
  OndRowName *names;
} OndRowNames;

typedef struct OndReading {
  const OndConnector *c;
  const OndOperation *o;
  const OndResult *result;
  const OndRow *const *rows;
  int n;
  OndArena *arena;
  OndRowResult *results;
  bool *mentioned; /* row by row */
  int strangers;   /* names that belong to no row */
  bool unplaced;   /* an error that names nothing: some row has failed, nobody knows which */
  OndValues values;
  OndBuf text;
  OndRowNames names;       /* by result->identity */
  OndRowNames error_names; /* by result->error_identity */
} OndReading;

/* Called for each row that something in the answer names. reason: the word that a list of rows stood under, or NULL. */
typedef void (*OndNamed)(OndReading *r, int row, struct json_object *record, const char *reason);

/*
 * Follows the identity's pointers in a record and calls `named` for each row they name: a scalar, a list of scalars, or lists by
 * reason. Names of no row count as strangers. False: the place does not exist, so the record says nothing about which row it means.
 */
extern bool ond_rows_named(OndReading *r, const OndIdentity *identity, OndRowNames *names, struct json_object *record, OndNamed named);
/* The same for one name given as text (members of a map). */
extern void ond_rows_by_text(OndReading *r, const OndIdentity *identity, OndRowNames *names, const char *text, struct json_object *record,
                             OndNamed named);

#endif
