/*
 * rows.h - reading result columns of our own queries. For the files of catalog/ only.
 */
#ifndef OND_CATALOG_ROWS_H
#define OND_CATALOG_ROWS_H

#include "postgres.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Column `column` (from 1) of the first row of the last query; pointers are into its tuple table. */
static inline Datum ond_row_datum(int column, bool *isnull) {
  return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);
}

static inline int64 ond_row_int64(int column) {
  bool isnull;
  Datum d = ond_row_datum(column, &isnull);

  return isnull ? 0 : DatumGetInt64(d);
}

/* The first column of all n rows, none of them NULL; an array in `context`. */
static inline int64 *ond_rows_int64(int n, MemoryContext context) {
  int64 *values = MemoryContextAlloc(context, sizeof(int64) * Max(n, 1));
  bool isnull;

  for (int i = 0; i < n; i++)
    values[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
  return values;
}

static inline int32 ond_row_int32(int column) {
  bool isnull;
  Datum d = ond_row_datum(column, &isnull);

  return isnull ? 0 : DatumGetInt32(d);
}

static inline bool ond_row_bool(int column) {
  bool isnull;
  Datum d = ond_row_datum(column, &isnull);

  return !isnull && DatumGetBool(d);
}

static inline Oid ond_row_oid(int column) {
  bool isnull;
  Datum d = ond_row_datum(column, &isnull);

  return isnull ? InvalidOid : DatumGetObjectId(d);
}

static inline TimestampTz ond_row_time(int column) {
  bool isnull;
  Datum d = ond_row_datum(column, &isnull);

  return isnull ? 0 : DatumGetTimestampTz(d);
}

/* A text column, copied into `context`; NULL for NULL. */
static inline char *ond_row_text(int column, MemoryContext context) {
  bool isnull;
  Datum d = ond_row_datum(column, &isnull);
  MemoryContext old;
  char *copy;

  if (isnull) {
    return NULL;
  }
  old = MemoryContextSwitchTo(context);
  copy = TextDatumGetCString(d);
  MemoryContextSwitchTo(old);
  return copy;
}

/* An argument that may be NULL: its Datum, and the mark for SPI. */
static inline Datum ond_text_datum(const char *s, char *null_mark) {
  *null_mark = s == NULL ? 'n' : ' ';
  return s == NULL ? (Datum)0 : CStringGetTextDatum(s);
}

#endif
