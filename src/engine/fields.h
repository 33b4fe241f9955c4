/*
 * fields.h - a model row's values as JSON, the fields that the mapping makes of them, and the row's version.
 */
#ifndef OND_ENGINE_FIELDS_H
#define OND_ENGINE_FIELDS_H

#include "postgres.h"
#include "core/change.h"
#include "engine/spec.h"

typedef struct OndFields OndFields;

/* What came of a row. The texts live in the context that was current. */
typedef struct OndFieldsRow {
  const char *problem;        /* why the row is invalid, or NULL */
  const char *waits;          /* whose remote id it waits for, or NULL */
  OndHash version;            /* when there is no problem */
} OndFieldsRow;

/* Lives in the current memory context, as long as the spec. Error 42804 for a column whose type has no JSON form. */
extern OndFields *ond_fields_create(const OndSpec *spec, uint64 seed);

/* Reads a row: the spec's values as the executor has them. Memory is allocated in the current context: reset it per row. */
extern void ond_fields_read(OndFields *fields, const Datum *values, const bool *nulls, OndFieldsRow *out);

/* Of the row that was read last, until the next one, and while its values are there. By field of the mapping; p == NULL: left out. */
extern const OndBytes *ond_fields_of_mapping(OndFields *fields);
/* By column that the connector's templates name; NULL is null. */
extern const OndBytes *ond_fields_of_templates(OndFields *fields);
/* The columns of option keep as a JSON object, in the current context; p == NULL: the option names none. */
extern OndBytes ond_fields_kept(OndFields *fields);

#endif
