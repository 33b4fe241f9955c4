/*
 * body.h - body templates: compiled once into a flat program, run for every request.
 *
 * A template is JSON. Strings may hold references; one that is nothing but a reference keeps the value's JSON type. Reserved words:
 *
 *   "$fields"                              the row's mapped object, byte for byte
 *   {"$fields": {"omit": […]}}             without some members; {"only": […]}: nothing but some
 *   {"$values": ["a", "b"]}                an array of these fields, null where the row has none; true: of all, in the payload's order
 *   {"$names": true}                       an array of the names of all fields
 *   {"$merge": [object, object, …]}        one object; of members with the same name the last wins
 *   ["$each", a, …]                        the elements, once for every row
 *   {"$each": {"{{key}}": …}}              the members, once for every row; their names must differ
 *
 * Everything else, other words with "$" too, is literal.
 */
#ifndef OND_CONNECTOR_BODY_H
#define OND_CONNECTOR_BODY_H

#include "connector/reference.h"

/* What is put into the body beside the template. */
typedef struct OndBodyExtra {
  const char *field; /* member of the body that gets the request's idempotency key; NULL: none */
  const char *item;  /* member of each item that gets the row's idempotency key; NULL: none */
} OndBodyExtra;

/*
 * Compiles the template at `at` (at->value NULL with absent: the default body: the fields of the row or, in batches, of all rows).
 * For NDJSON the template is what one row sends: one line, or with ["$each", a, b] one line each. NULL and err on error.
 */
extern const OndBody *ond_body_compile(const OndScope *s, const OndNode *at, bool absent, const OndBodyExtra *extra, OndError *err);
/* Whether some step repeats for every row. */
extern bool ond_body_has_each(const OndBody *body);

typedef struct OndBodyInput {
  OndValues *values;
  const OndRow *const *rows;
  int n;
  int64_t row_bytes; /* most that one row's part may take; 0: no limit */
  int64_t bytes;     /* most that the body may take; 0: no limit */
} OndBodyInput;

/*
 * Runs the program; appends to out. On failure false, err, and *bad_row the row at fault, or -1: the body passes `bytes`
 * though it carries more than one row.
 */
extern bool ond_body_run(const OndBody *body, const OndBodyInput *input, OndBuf *out, int *bad_row, OndError *err);

#endif
