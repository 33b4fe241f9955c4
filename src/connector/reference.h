/*
 * reference.h - the names in templates: what they mean where they stand, and their values row by row.
 *
 * A value is JSON bytes (columns, keys, remote captures, variables) or text (remote id, run id, ...). As text a JSON string is
 * unescaped, numbers and booleans go as they are written, objects and arrays as compact JSON. A value that is null or
 * absent is an error for the row, never an empty text.
 */
#ifndef OND_CONNECTOR_REFERENCE_H
#define OND_CONNECTOR_REFERENCE_H

#include "connector/internal.h"

typedef enum OndSlot {
  OND_SLOT_COLUMN,
  OND_SLOT_KEY,
  OND_SLOT_REMOTE_ID,
  OND_SLOT_REMOTE,
  OND_SLOT_VARIABLE,
  OND_SLOT_OPERATION,
  OND_SLOT_OBJECT,
  OND_SLOT_RUN_ID,
  OND_SLOT_REQUEST_KEY,
  OND_SLOT_ROW_KEY,
  OND_SLOT_AUTH,
  OND_SLOT_CURSOR, /* the last three: of lists */
  OND_SLOT_FIELDS,
  OND_SLOT_ARG,
  OND_SLOT_JOB     /* of steps */
} OndSlot;

/* Where a template stands. */
typedef struct OndScope {
  OndConnector *c;
  const OndOperation *o; /* NULL: outside of an operation, only variables are known */
  bool rows;             /* may name what belongs to a row */
  bool path;             /* in a path: credentials may not stand there */
  bool own;              /* a caller's words: a header may carry a credential */
  bool literal;          /* likewise, and nothing in them is a template */
  bool each;             /* stands for every row by itself: {{idempotency_key}} is the row's */
} OndScope;

/* Cuts a template and resolves its names; errors carry the place. */
extern bool ond_reference_parse(const OndScope *s, const OndNode *at, const char *text, OndTemplate *out, OndError *err);
/* A text in which variables may stand, put together. *out is NULL while one of them has no value: ond_variables_check() says so where it must have. */
extern bool ond_reference_constant(OndConnector *c, const OndNode *at, const char *text, const char **out, OndError *err);
/* A JSON pointer in whose pieces variables may stand. */
extern bool ond_reference_pointer(OndConnector *c, const OndNode *at, OndJsonPtr *out, OndError *err);
/* Only resolves, for templates that were cut already. */
extern bool ond_reference_resolve(const OndScope *s, const OndNode *at, OndTemplate *t, OndError *err);
/* A part that stands for the idempotency key of the request or, each, of the row. */
extern OndTemplate ond_reference_idempotency_key(const OndScope *s);
/* Notes a place that bind must resolve. */
extern void ond_reference_note_key(const OndScope *s, const OndNode *at, OndTemplatePart *part, OndIdentity *identity);

/* Values of one request, with scratch memory that is reused from row to row. */
typedef struct OndValues {
  const OndConnector *c;
  const OndOperation *o;           /* may be NULL */
  const OndRenderContext *context; /* may be NULL: then nothing of the request is known */
  const OndRow *row;               /* may be NULL: likewise */
  OndBuf text;
  OndBuf filtered;
  OndBuf name;
  char number[24];
} OndValues;

extern void ond_values_init(OndValues *v, const OndConnector *c, const OndOperation *o, const OndRenderContext *context);
extern void ond_values_free(OndValues *v);

/* A template that is nothing but a {{cursor}} or {{arg.x}} without a value: the member or parameter is left out. */
extern bool ond_reference_is_absent(OndValues *v, const OndTemplate *t);
/* What ond_reference_json() writes for one: a JSON text that no value is, to be taken out of the body. */
#define OND_ABSENT_TEXT "\001ondatra absent\001"

typedef enum OndPlace {
  OND_PLACE_TEXT,  /* as it is */
  OND_PLACE_PATH,  /* values percent-encoded, literals as they are */
  OND_PLACE_QUERY, /* both percent-encoded */
  OND_PLACE_JSON   /* inside of a JSON string; literals are escaped already */
} OndPlace;

/* The text of one reference, filters applied; valid until the next call. */
extern bool ond_reference_text(OndValues *v, const OndTemplatePart *part, OndBytes *out, OndError *err);
/* Appends one reference as a JSON value. */
extern bool ond_reference_json(OndValues *v, const OndTemplatePart *part, OndBuf *out, OndError *err);
/* Appends a whole template. False: a value is missing, cannot be taken by a filter or stand there, or out is full (out->overflow). */
extern bool ond_reference_append(OndValues *v, const OndTemplate *t, OndPlace place, OndBuf *out, OndError *err);

#endif
