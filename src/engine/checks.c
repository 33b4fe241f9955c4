/*
 * checks.c - see checks.h. One statement for all of them: SELECT ((condition)) IS TRUE, … FROM (the model) q.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"

#include "engine/checks.h"

/* NULL: there are none. */
static char *statement(const OndSpec *spec) {
  const OndSyncOptions *options = &spec->sync->options;
  StringInfoData s;
  int n = 0;

  initStringInfo(&s);
  appendStringInfoString(&s, "SELECT ");
  for (int i = 0; i < options->n_checks; i++)
    if (options->checks[i].whole)
      appendStringInfo(&s, "%s((\n%s\n)) IS TRUE", n++ > 0 ? ", " : "", options->checks[i].sql);
  appendStringInfo(&s, " FROM (\n%s\n) q", spec->model->query);
  return n == 0 ? NULL : s.data;
}

void ond_checks_whole(const OndSpec *spec, OndPass pass, int64 *checks) {
  const OndSyncOptions *options = &spec->sync->options;
  char *sql = pass == OND_PASS_KEYS ? NULL : statement(spec);
  int column = 0;

  if (sql == NULL)
    return;
  if (SPI_execute(sql, true, 0) != SPI_OK_SELECT || SPI_processed != 1)
    elog(ERROR, "could not check the model");
  for (int i = 0; i < options->n_checks; i++) {
    bool isnull;

    if (options->checks[i].whole)
      checks[i] = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, ++column, &isnull)) ? 0 : 1;
  }
  SPI_freetuptable(SPI_tuptable);
}
