/*
 * alerts.c - see alerts.h: the rows of ondatra.all_alerts.
 *
 * Invariants
 *   1. A look writes only what changed: syncs without news cost no write.
 *   2. A message is due while `problem` is another one than `told`, and next_attempt_at has passed. What is worse than what was told is
 *   due at once,
 *      unless the destination keeps failing; what is better waits for the option's at_most_every.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "catalog/utf8.h"
#include "compat.h"
#include "core/text.h"
#include "worker/alerts.h"

#define WORDS_BYTES_MAX 1000

typedef struct Look {
  OndAlertFacts facts;
  char *options, *name, *state_reason, *error_message, *held_message;
  OndMode mode;
  int64 sync_id, last_run, held_run, running_run;
  char *recorded; /* the problem in the table; NULL: none */
  OndProblem told;
  int attempts;
} Look;

static Datum column(uint64 row, int number, bool *isnull) {
  return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, isnull);
}

static int64 number_column(uint64 row, int number) {
  bool isnull;
  Datum d = column(row, number, &isnull);

  return isnull ? 0 : DatumGetInt64(d);
}

static char *text_column(uint64 row, int number) {
  return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number);
}

/* --- looking -------------------------------------------------------------------------------------------------- */

/* Held back rows count: they are as little there as those that failed just now. */
#define LEFT "rows_failed + r.rows_invalid + r.rows_pending + r.rows_held_back + r.deletes_failed + r.deletes_pending"

static const char look_sql[] =
    "SELECT s.sync_id, s.name, s.mode, s.options::text, s.state, s.state_reason, s.failures::int8, r.run_id, r.error_message, r." LEFT ","
    " r.rows_scanned + r.rows_deleted + r.deletes_failed + r.deletes_pending, extract(epoch FROM r.finished_at - r.started_at)::numeric * "
    "1000000,"
    " CASE WHEN o.status = 'held' AND o.approved_by IS NULL THEN o.run_id END, o.error_message, CASE WHEN o.status = 'running' THEN "
    "o.run_id END, o.started_at,"
    " GREATEST(s.state_changed_at, s.created_at, g.finished_at), a.problem, a.told, a.attempts::int8"
    " FROM ondatra.all_syncs s LEFT JOIN ondatra.all_runs r ON r.run_id = s.last_run_id"
    " LEFT JOIN LATERAL (SELECT u.* FROM ondatra.all_runs u WHERE u.sync_id = s.sync_id AND u.finished_at IS NULL ORDER BY u.run_id DESC "
    "LIMIT 1) o ON true"
    " LEFT JOIN LATERAL (SELECT u.finished_at FROM ondatra.all_runs u WHERE s.options #> '{alert,no_run_since}' IS NOT NULL AND u.sync_id "
    "= s.sync_id"
    " AND u.status IN ('succeeded', 'partial') ORDER BY u.run_id DESC LIMIT 1) g ON true"
    " LEFT JOIN ondatra.all_alerts a ON a.sync_id = s.sync_id WHERE s.options ? 'alert'";

static int64 time_column(uint64 row, int number) {
  bool isnull;
  Datum d = column(row, number, &isnull);

  return isnull ? 0 : DatumGetTimestampTz(d);
}

static void fill_look(uint64 row, Look *l) {
  const char *state = text_column(row, 5);
  const char *took = text_column(row, 12);
  const char *told = text_column(row, 19);

  l->sync_id = number_column(row, 1);
  l->name = text_column(row, 2);
  l->mode = ond_mode_parse(text_column(row, 3));
  l->options = text_column(row, 4);
  l->state_reason = text_column(row, 6);
  l->last_run = number_column(row, 8);
  l->error_message = text_column(row, 9);
  l->held_run = number_column(row, 13);
  l->held_message = text_column(row, 14);
  l->running_run = number_column(row, 15);
  l->recorded = text_column(row, 18);
  l->told = told == NULL ? OND_PROBLEM_OK : ond_problem_parse(told);
  l->attempts = (int)number_column(row, 20);
  l->facts.rests = strcmp(state, "paused") == 0 || strcmp(state, "archived") == 0;
  l->facts.error = strcmp(state, "error") == 0;
  l->facts.failures = (int)number_column(row, 7);
  l->facts.rows_left = number_column(row, 10);
  l->facts.rows = number_column(row, 11);
  l->facts.took_us = took == NULL ? 0 : strtoll(took, NULL, 10);
  l->facts.held = l->held_run != 0;
  l->facts.running_since = l->running_run != 0 ? time_column(row, 16) : 0;
  l->facts.good_since = time_column(row, 17);
}

static char *seconds(int64 us) {
  return us < 120 * INT64CONST(1000000) ? psprintf(INT64_FORMAT " s", us / 1000000) : psprintf(INT64_FORMAT " min", us / 60000000);
}

static char *because(const char *words, const char *reason) {
  return reason == NULL || reason[0] == '\0' ? pstrdup(words) : psprintf("%s: %s", words, reason);
}

/* The problem in words, and the run that showed it. */
static char *describe(const Look *l, OndProblem p, int64 *run_id) {
  *run_id = l->last_run;
  switch (p) {
  case OND_PROBLEM_ERROR: return because("it has stopped, and waits for a person", l->state_reason);
  case OND_PROBLEM_HELD: *run_id = l->held_run; return because(psprintf("run " INT64_FORMAT " is held", l->held_run), l->held_message);
  case OND_PROBLEM_FAILED:
    return because(l->facts.failures > 1 ? psprintf("run " INT64_FORMAT " failed, as the %d before it", l->last_run, l->facts.failures - 1)
                                         : psprintf("run " INT64_FORMAT " failed", l->last_run),
                   l->error_message);
  case OND_PROBLEM_NO_RUN:
    return psprintf(
        "no run has ended well since %s",
        DatumGetCString(DirectFunctionCall1(timestamptz_out, DirectFunctionCall2(timestamptz_trunc, CStringGetTextDatum("second"),
                                                                                 TimestampTzGetDatum(l->facts.good_since)))));
  case OND_PROBLEM_PARTIAL:
    return psprintf("run " INT64_FORMAT " left " INT64_FORMAT " of " INT64_FORMAT " rows undelivered", l->last_run, l->facts.rows_left,
                    l->facts.rows);
  case OND_PROBLEM_SLOW:
    if (l->running_run != 0)
      *run_id = l->running_run;
    return l->running_run != 0 ? psprintf("run " INT64_FORMAT " has gone on for more than it may", l->running_run)
                               : psprintf("run " INT64_FORMAT " took %s", l->last_run, seconds(l->facts.took_us));
  case OND_PROBLEM_OK: break;
  }
  if (l->facts.rests)
    return because("it rests", l->state_reason);
  if (l->last_run == 0)
    return pstrdup("there is no problem any more");
  if (l->facts.rows_left > 0)
    return psprintf("run " INT64_FORMAT " shows no problem, but " INT64_FORMAT " rows wait in failed_rows", l->last_run,
                    l->facts.rows_left);
  return psprintf("run " INT64_FORMAT " shows no problem", l->last_run);
}

static void record(const Look *l, OndProblem p) {
  Oid types[] = {INT8OID, TEXTOID, INT8OID, TEXTOID, BOOLOID};
  int64 run_id;
  char *message = describe(l, p, &run_id);
  Datum values[5];
  char nulls[6] = "     ";

  values[0] = Int64GetDatum(l->sync_id);
  values[1] = CStringGetTextDatum(ond_problem_name(p));
  values[2] = Int64GetDatum(run_id);
  nulls[2] = run_id == 0 ? 'n' : ' ';
  values[3] = CStringGetTextDatum(message);
  values[4] = BoolGetDatum(p > l->told && l->attempts == 0);
  ond_spi(SPI_OK_INSERT,
          "INSERT INTO ondatra.all_alerts AS a (sync_id, problem, since, run_id, message) VALUES ($1, $2, clock_timestamp(), $3, $4)"
          " ON CONFLICT (sync_id) DO UPDATE SET problem = $2, since = clock_timestamp(), run_id = $3, message = $4,"
          " next_attempt_at = CASE WHEN $5 THEN NULL ELSE a.next_attempt_at END",
          5, types, values, nulls);
}

static void look_at(Look *l, TimestampTz now, TimestampTz *again) {
  OndSyncOptions options;
  OndProblem p;
  int64 changes_at;

  ond_sync_options_parse(l->options, l->mode, &options);
  p = ond_alert_judge(&options.alert.rules, &l->facts, now, &changes_at);
  *again = Min(*again, changes_at == INT64_MAX ? DT_NOEND : changes_at);
  if (l->recorded == NULL ? p != OND_PROBLEM_OK : strcmp(l->recorded, ond_problem_name(p)) != 0)
    record(l, p);
}

/* w: messages that are to be sent, and from when on they may. */
#define WAITING                                                                                                                            \
  "WITH a AS (SELECT a.*, s.options #>> '{alert,destination}' AS destination FROM ondatra.all_alerts a JOIN ondatra.all_syncs s USING "    \
  "(sync_id)"                                                                                                                              \
  " WHERE a.problem <> a.told AND s.options ? 'alert'),"                                                                                   \
  " d AS (SELECT a.destination, max(a.next_attempt_at) AS until FROM a WHERE a.unreachable GROUP BY a.destination),"                       \
  " w AS (SELECT a.*, coalesce(GREATEST(a.next_attempt_at, d.until), '-infinity') AS due_at FROM a LEFT JOIN d USING (destination)) "

/* A message is due now, or when one will be. */
static bool is_due(TimestampTz now, TimestampTz *again) {
  bool isnull;
  Datum d;

  ond_spi(SPI_OK_SELECT, WAITING "SELECT min(w.due_at) FROM w", 0, NULL, NULL, NULL);
  d = column(0, 1, &isnull);
  if (isnull)
    return false;
  if (DatumGetTimestampTz(d) > now)
    *again = Min(*again, DatumGetTimestampTz(d));
  return DatumGetTimestampTz(d) <= now;
}

static LOCKTAG lock_tag;

bool ond_alerts_lock(bool session) {
  SET_LOCKTAG_OBJECT(lock_tag, MyDatabaseId, get_relname_relid("all_alerts", ond_extension(false)->schema), 0, 0);
  if (session && ond_compat_lock_held_by_me(&lock_tag, ExclusiveLock))
    return true;
  return LockAcquire(&lock_tag, ExclusiveLock, session, true) != LOCKACQUIRE_NOT_AVAIL;
}

void ond_alerts_unlock(void) {
  if (ond_compat_lock_held_by_me(&lock_tag, ExclusiveLock))
    LockRelease(&lock_tag, ExclusiveLock, true);
}

bool ond_alerts_look(TimestampTz now, TimestampTz *again) {
  int n = (int)ond_spi(SPI_OK_SELECT, look_sql, 0, NULL, NULL, NULL);
  Look *looks = palloc0(sizeof(Look) * Max(n, 1));

  *again = DT_NOEND;
  for (int i = 0; i < n; i++)
    fill_look(i, &looks[i]);
  for (int i = 0; i < n; i++)
    look_at(&looks[i], now, again);
  ond_spi(SPI_OK_DELETE,
          "DELETE FROM ondatra.all_alerts a WHERE NOT EXISTS (SELECT FROM ondatra.all_syncs s WHERE s.sync_id = a.sync_id AND s.options ? "
          "'alert')",
          0, NULL, NULL, NULL);
  return is_due(now, again);
}

/* --- telling -------------------------------------------------------------------------------------------------- */

bool ond_alerts_next(MemoryContext context, OndSync **sync, OndAlert *alert) {
  MemoryContext caller;

  if (ond_spi(SPI_OK_SELECT,
              WAITING "SELECT w.sync_id, w.problem, w.told, w.since, w.run_id, w.message FROM w WHERE w.due_at <= clock_timestamp()"
                      " ORDER BY w.attempts, w.since, w.sync_id LIMIT 1",
              0, NULL, NULL, NULL) == 0)
    return false;
  caller = MemoryContextSwitchTo(context);
  alert->sync_id = number_column(0, 1);
  alert->problem = ond_problem_parse(text_column(0, 2));
  alert->told = ond_problem_parse(text_column(0, 3));
  alert->since = time_column(0, 4);
  alert->run_id = number_column(0, 5);
  alert->message = text_column(0, 6);
  *sync = ond_sync_load(alert->sync_id);
  MemoryContextSwitchTo(caller);
  if (*sync == NULL)
    return false;
  alert->sync = (*sync)->name;
  return true;
}

void ond_alerts_told(const OndSync *sync, const OndAlert *alert) {
  Oid types[] = {INT8OID, TEXTOID, INT8OID};
  Datum values[] = {Int64GetDatum(alert->sync_id), CStringGetTextDatum(ond_problem_name(alert->problem)),
                    Int64GetDatum(sync->options.alert.every_us)};

  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_alerts SET told = $2, told_at = clock_timestamp(), attempts = 0, unreachable = false, last_error = NULL,"
          " next_attempt_at = clock_timestamp() + $3 * interval '1 microsecond' WHERE sync_id = $1",
          3, types, values, NULL);
}

/* An answer's words, in the database's encoding. */
static Datum clean_text(const char *words) {
  char *copy = pnstrdup(words, ond_utf8_cut(words, strlen(words), WORDS_BYTES_MAX));

  ond_text_clean(copy);
  return CStringGetTextDatum(ond_words_from_utf8(copy));
}

void ond_alerts_failed(const OndSync *sync, const OndAlert *alert, const char *error, bool unreachable) {
  Oid types[] = {INT8OID, TEXTOID, BOOLOID, INT8OID};
  Datum values[] = {Int64GetDatum(alert->sync_id), clean_text(error), BoolGetDatum(unreachable), (Datum)0};
  int attempts;

  if (ond_spi(SPI_OK_UPDATE_RETURNING,
              "UPDATE ondatra.all_alerts SET attempts = attempts + 1, unreachable = $3, last_error = $2 WHERE sync_id = $1 RETURNING "
              "attempts::int8",
              3, types, values, NULL) == 0)
    return;
  attempts = (int)number_column(0, 1);
  values[3] = Int64GetDatum(ond_alert_wait_us(attempts));
  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_alerts SET next_attempt_at = clock_timestamp() + $4 * interval '1 microsecond' WHERE sync_id = $1 AND "
          "unreachable = $3 AND last_error = $2",
          4, types, values, NULL);
  if (attempts == 1)
    ereport(LOG, (errmsg("ondatra: the alert about sync \"%s\" could not be sent, and will be tried again: %s", sync->name, error)));
}
