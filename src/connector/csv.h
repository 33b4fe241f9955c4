/*
 * csv.h - rows as CSV in a request, and CSV in an answer, record by record (RFC 4180).
 *
 *   {"columns": ["email", {"name": "Id", "value": "{{remote_id}}"}], "delimiter": ",", "line_ending": "\n"}
 *
 * A column is a mapped field or a template; without "columns" they are the fields of the request's rows, in their order. A field of an object inside is
 * "outer.inner". NULL and what a row has not are empty, '' is "". Nothing is changed to please spreadsheets.
 */
#ifndef OND_CONNECTOR_CSV_H
#define OND_CONNECTOR_CSV_H

#include "connector/body.h"

typedef struct OndCsvColumn {
  OndBytes name;
  bool is_template;
  OndTemplate value;
} OndCsvColumn;

struct OndCsv {
  int n; /* 0: the fields of the rows */
  OndCsvColumn *columns;
  char delimiter;
  const char *line_ending;
};

/* Compiles "csv" of an operation or a step (absent: the defaults). NULL and err on error. */
extern const OndCsv *ond_csv_parse(const OndScope *s, const OndNode *operation, OndError *err);
/* Appends a line of names and a line for every row; on failure as ond_body_run(). */
extern bool ond_csv_append(const OndCsv *csv, const OndBodyInput *input, OndBuf *out, int *bad_row, OndError *err);

/* A reader of records. */
typedef struct OndCsvReader {
  const char *p, *end;
  int n_names;
  char **names; /* of the first line */
  OndBuf field;
} OndCsvReader;

/* Reads the line of names; false: there is none, or it cannot be one. */
extern bool ond_csv_open(OndCsvReader *r, const char *text, size_t n);
/*
 * The next record as an object, name by name (the caller puts it): texts, and null for what is empty and not quoted. *record is NULL for a record that does not fit the names.
 * False: no more.
 */
extern bool ond_csv_next(OndCsvReader *r, struct json_object **record);
extern void ond_csv_close(OndCsvReader *r);

#endif
