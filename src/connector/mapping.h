/*
 * mapping.h - which field gets what: the `mapping` of a sync, parsed and checked.
 *
 * Two forms: an object target -> source, or a list [{"source": …, "destination": …}]. A target may be a path ("properties.plan", "tags[0]";
 * a name with dots in double quotes). A source is "column", {"column": …}, {"const": …}, {"template": …}, {"sql": …} or {"lookup": {"sync": "companies",
 * "by": ["company_id"], "missing": "wait" | "null" | "invalid"}} (the remote id that another sync stored for the row whose key is in these columns), each
 * object with optional "null": "send" | "omit", "detect": false and "as": a type of the connector. NULL mapping: every column under its own name (ond_mapping_identity).
 *
 * Also here: assembling a row's payload from its fields' values, for the paths make a tree.
 */
#ifndef OND_CONNECTOR_MAPPING_H
#define OND_CONNECTOR_MAPPING_H

#include <stdbool.h>
#include "core/buf.h"
#include "core/error.h"
#include "core/template.h"

typedef enum OndSourceKind { OND_SOURCE_COLUMN, OND_SOURCE_CONST, OND_SOURCE_TEMPLATE, OND_SOURCE_SQL, OND_SOURCE_LOOKUP } OndSourceKind;
/* What becomes of a row whose counterpart has no remote id yet. */
typedef enum OndMissing { OND_MISSING_WAIT, OND_MISSING_NULL, OND_MISSING_INVALID } OndMissing;

typedef struct OndField {
  const char *target;        /* as given: the name the hash covers */
  OndSourceKind kind;
  const char *text;          /* column name, JSON text of the constant, SQL expression; the template's text; the name of the sync looked up */
  OndTemplate template;
  int n_by;                  /* LOOKUP: model columns that hold the other sync's key, in its order */
  const char **by;
  OndMissing missing;
  bool null_given;           /* "null" was said: a template with a missing value is NULL then, not an invalid row */
  bool null_omit;
  bool detect;
  const char *as;            /* the connector's type that the value takes the form of; NULL: none */
} OndField;

typedef struct OndMapping OndMapping;

/* NULL and err (with a pointer) for anything that is not such a document; an empty mapping is an error. */
extern OndMapping *ond_mapping_parse(const char *json, size_t n, OndError *err);
extern OndMapping *ond_mapping_identity(int n, const char *const *columns);
extern void ond_mapping_free(OndMapping *m);
extern int ond_mapping_count(const OndMapping *m);
extern const OndField *ond_mapping_field(const OndMapping *m, int i);
/* Field numbers in the order of their targets' bytes: what the hash covers, in this order. */
extern const int *ond_mapping_sorted(const OndMapping *m);
/*
 * An object does not keep the order it was written in (jsonb sorts by name): members come in the order of ranks[field] instead, equal ones as they
 * are. A mapping in the list form keeps its order.
 */
extern void ond_mapping_order(OndMapping *m, const int *ranks);
/* Whether the mapping fills the field, or a part of it: "address.city" of "address". */
extern bool ond_mapping_fills(const OndMapping *m, const char *field);
/* The name of the payload's member number i, from 0; NULL past the end. */
extern const char *ond_mapping_member(const OndMapping *m, int i);
/*
 * Appends the payload: a JSON object with values[i] (JSON bytes) at field i's place. p == NULL: left out (null inside an array). False when out is full.
 */
extern bool ond_mapping_render(const OndMapping *m, const OndBytes *values, OndBuf *out);

#endif
