/*
 * cron.c - which sync has which job of pg_cron, and who is told when one is gone; see cron.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "catalog/settings.h"
#include "worker/cron.h"
#include "worker/queue.h"
#include "worker/shared.h"
#include "worker/state.h"

#define REASON_BEGINS "its job of pg_cron "
#define LEFTOVERS_MAX 100
#define REMEMBER      "INSERT INTO ondatra.cron_leftovers (place) VALUES ($1) ON CONFLICT DO NOTHING"

/* A sync whose job follows at the end of the transaction. */
typedef struct Pending {
  int64 sync_id;
  Oid owner;
} Pending;

static List *pending = NIL; /* in TopTransactionContext */

void ond_cron_require(void) {
  ond_state_require();
  if (GetConfigOption("cron.database_name", true, false) == NULL)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("cron schedules need the extension pg_cron, which is not loaded in this server"),
                    errhint("Add pg_cron to shared_preload_libraries, restart, and CREATE EXTENSION pg_cron in the database that cron.database_name "
                            "names; or use an interval such as '5 minutes'.")));
}

/* --- names ------------------------------------------------------------------------------------------------------------ */

/* Unique among the owner's jobs, which may be for several databases. pg_cron keeps 63 bytes. */
static void fill_name(OndCronJob *job, int64 sync_id) {
  int n = snprintf(job->name, sizeof(job->name), "ondatra %s/" INT64_FORMAT, get_database_name(MyDatabaseId), sync_id);

  if (n >= (int)sizeof(job->name))
    snprintf(job->name, sizeof(job->name), "ondatra %u/" INT64_FORMAT, MyDatabaseId, sync_id);
}

static void fill_job(OndCronJob *job, int64 sync_id, const char *sync_name, Oid owner, const char *schedule) {
  memset(job, 0, sizeof(*job));
  fill_name(job, sync_id);
  strlcpy(job->username, GetUserNameFromId(owner, false), sizeof(job->username));
  strlcpy(job->schedule, schedule, sizeof(job->schedule));
  snprintf(job->command, sizeof(job->command), "SELECT ondatra.trigger_sync(%s)", quote_literal_cstr(sync_name));
}

/* all_syncs.cron_job: "system/database", name and role, a line each. Another one: the database is another, or it or the role has another name now. */
static char *place_of(const OndCronJob *job) {
  return psprintf(UINT64_FORMAT "/%u\n%s\n%s", GetSystemIdentifier(), MyDatabaseId, job->name, job->username);
}

/* The job as it was put under an older name in this same database; false: a copy has the place of its original, whose job it is. */
static bool job_at(const char *place, OndCronJob *job) {
  const char *name = strchr(place, '\n');
  const char *username = name == NULL ? NULL : strchr(name + 1, '\n');
  char *here = psprintf(UINT64_FORMAT "/%u\n", GetSystemIdentifier(), MyDatabaseId);

  if (username == NULL || strncmp(place, here, strlen(here)) != 0)
    return false;
  memset(job, 0, sizeof(*job));
  strlcpy(job->name, name + 1, Min((Size)(username - name), sizeof(job->name)));
  strlcpy(job->username, username + 1, sizeof(job->username));
  return true;
}

/* --- edits -------------------------------------------------------------------------------------------------------------- */

/* $2: the place, NULL: none. */
static void write_place(int64 sync_id, const char *place) {
  Oid types[] = {INT8OID, TEXTOID};
  Datum values[] = {Int64GetDatum(sync_id), place == NULL ? (Datum)0 : CStringGetTextDatum(place)};

  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_syncs SET cron_job = $2, state_reason = CASE WHEN pg_catalog.starts_with(state_reason, '" REASON_BEGINS "') THEN NULL ELSE "
          "state_reason END WHERE sync_id OPERATOR(pg_catalog.=) $1",
          2, types, values, place == NULL ? " n" : "  ");
}

void ond_cron_follow(int64 sync_id, Oid owner) {
  MemoryContext caller = CurrentMemoryContext;
  OndSync *s = ond_sync_load(sync_id);
  Pending *p;

  if (s != NULL) {
    OndCronJob job;
    bool live = ond_sync_has_cron(s) && s->state != OND_SYNC_PAUSED && s->state != OND_SYNC_ARCHIVED;

    if (live) {
      ond_cron_require();
      fill_job(&job, sync_id, s->name, s->owner, s->schedule);
    }
    write_place(sync_id, live ? place_of(&job) : NULL);
  }
  MemoryContextSwitchTo(TopTransactionContext);
  p = palloc(sizeof(Pending));
  *p = (Pending){sync_id, owner};
  pending = lappend(pending, p);
  MemoryContextSwitchTo(caller);
}

bool ond_cron_pending(void) {
  return pending != NIL;
}

void ond_cron_forget(void) {
  pending = NIL; /* its memory goes with the transaction */
}

static void with_place(const char *place, int expect, const char *sql) {
  Oid types[] = {TEXTOID};
  OndScope scope;
  Datum values[1];

  ond_our_begin(&scope, true);
  values[0] = CStringGetTextDatum(place);
  ond_spi(expect, sql, 1, types, values, NULL);
  ond_our_end(&scope);
}

/* A leftover of this name is none any more; who removes it just now is waited for. */
static void put(const Pending *p, OndCronJob *job) {
  with_place(place_of(job), SPI_OK_DELETE, "DELETE FROM ondatra.cron_leftovers WHERE place OPERATOR(pg_catalog.=) $1");
  ond_cron_order(OND_CRON_PUT, p->owner, job, 1);
}

/* A role that is gone has no jobs. */
static void remove_or_remember(const Pending *p, OndCronJob *job) {
  char *username = GetUserNameFromId(p->owner, true);

  if (username == NULL)
    return;
  strlcpy(job->username, username, sizeof(job->username));
  if (GetConfigOption("cron.database_name", true, false) != NULL && ond_cron_order(OND_CRON_REMOVE, p->owner, job, 1))
    return;
  with_place(place_of(job), SPI_OK_INSERT, REMEMBER);
  ond_wake_at_commit();
}

/* As the row is at the end of the transaction, whatever was rolled back in between. */
static void follow(const Pending *p) {
  OndScope scope;
  OndCronJob job;
  MemoryContext caller = CurrentMemoryContext;
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(p->sync_id)};
  bool wanted;

  memset(&job, 0, sizeof(job));
  fill_name(&job, p->sync_id);
  ond_our_begin(&scope, true);
  wanted = ond_spi(SPI_OK_SELECT, "SELECT name, schedule FROM ondatra.all_syncs WHERE sync_id OPERATOR(pg_catalog.=) $1 AND cron_job IS NOT NULL", 1, types, values,
                   NULL) > 0;
  if (wanted)
    fill_job(&job, p->sync_id, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), p->owner,
             SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
  ond_our_end(&scope);
  MemoryContextSwitchTo(caller);
  if (wanted)
    put(p, &job);
  else
    remove_or_remember(p, &job);
}

void ond_cron_pre_commit(void) {
  List *list = pending;
  ListCell *cell;

  pending = NIL;
  if (list == NIL)
    return;
  CommandCounterIncrement();
  PushActiveSnapshot(GetTransactionSnapshot());
  foreach (cell, list)
    follow(lfirst(cell));
  PopActiveSnapshot();
}

/* --- the scheduler ------------------------------------------------------------------------------------------------------ */

typedef struct Watched {
  int64 sync_id;
  Oid owner;
  char *place;
} Watched;

static int read_jobs(MemoryContext context, Watched **watched, OndCronJob **jobs) {
  int n;

  ond_tx_begin();
  n = (int)ond_spi(SPI_OK_SELECT, "SELECT sync_id, name, owner::oid, schedule, cron_job FROM ondatra.all_syncs WHERE cron_job IS NOT NULL", 0, NULL, NULL, NULL);
  *watched = MemoryContextAllocZero(context, sizeof(Watched) * Max(n, 1));
  *jobs = MemoryContextAllocZero(context, sizeof(OndCronJob) * Max(n, 1));
  for (int i = 0; i < n; i++) {
    HeapTuple tuple = SPI_tuptable->vals[i];
    TupleDesc desc = SPI_tuptable->tupdesc;
    Watched *w = &(*watched)[i];
    bool isnull;

    w->sync_id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
    w->owner = DatumGetObjectId(SPI_getbinval(tuple, desc, 3, &isnull));
    w->place = MemoryContextStrdup(context, SPI_getvalue(tuple, desc, 5));
    if (GetUserNameFromId(w->owner, true) != NULL)
      fill_job(&(*jobs)[i], w->sync_id, SPI_getvalue(tuple, desc, 2), w->owner, SPI_getvalue(tuple, desc, 4));
  }
  ond_tx_commit();
  MemoryContextSwitchTo(context);
  return n;
}

/* What is wrong with a job, for state_reason; NULL: nothing. */
static const char *reason_of(OndCronFound found) {
  static const char way_out[] = "update_sync with its schedule makes it anew";

  switch (found) {
    case OND_CRON_FINE: return NULL;
    case OND_CRON_MISSING: return psprintf(REASON_BEGINS "is gone: nothing starts it by itself; %s", way_out);
    case OND_CRON_INACTIVE: return psprintf(REASON_BEGINS "is not active: nothing starts it by itself; %s", way_out);
    case OND_CRON_CHANGED: return psprintf(REASON_BEGINS "was changed: it is not what the schedule says; %s", way_out);
  }
  return NULL;
}

/* Writes only what is news; the place as well, when it is given. */
static void say(int64 sync_id, const char *name, const char *reason, const char *place) {
  Oid types[] = {INT8OID, TEXTOID, TEXTOID};
  Datum values[] = {Int64GetDatum(sync_id), reason == NULL ? (Datum)0 : CStringGetTextDatum(reason), place == NULL ? (Datum)0 : CStringGetTextDatum(place)};
  char nulls[] = {' ', reason == NULL ? 'n' : ' ', place == NULL ? 'n' : ' '};
  bool news;

  ond_tx_begin();
  if (place != NULL)
    ond_spi(SPI_OK_UPDATE, "UPDATE ondatra.all_syncs SET cron_job = $3 WHERE sync_id = $1 AND cron_job IS NOT NULL", 3, types, values, nulls);
  news = ond_spi(SPI_OK_UPDATE,
                 "UPDATE ondatra.all_syncs SET state_reason = $2 WHERE sync_id = $1 AND state IN ('created', 'active') AND state_reason IS DISTINCT FROM $2 "
                 "AND (state_reason IS NULL OR starts_with(state_reason, '" REASON_BEGINS "')) AND cron_job IS NOT NULL",
                 3, types, values, nulls) > 0;
  ond_tx_commit();
  if (!news)
    return;
  if (reason != NULL)
    ereport(WARNING, (errmsg("ondatra: sync " INT64_FORMAT ": %s", sync_id, reason), errdetail("Its name at pg_cron is \"%s\".", name)));
  ond_tx_begin();
  ond_notify_state(sync_id);
  ond_tx_commit();
}

/* Another database, server or role than it was put for. What cannot be put is tried again at the next look. */
static void put_anew(const Watched *w, OndCronJob *job, MemoryContext context) {
  char *volatile reason = NULL;
  OndCronJob old;

  PG_TRY();
  {
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    ond_cron_order(OND_CRON_PUT, w->owner, job, 1);
    if (job_at(w->place, &old) && !ond_cron_order(OND_CRON_REMOVE, InvalidOid, &old, 1))
      with_place(w->place, SPI_OK_INSERT, REMEMBER);
    PopActiveSnapshot();
    CommitTransactionCommand();
  }
  PG_CATCH();
  {
    ErrorData *error;

    MemoryContextSwitchTo(context);
    error = CopyErrorData();
    FlushErrorState();
    AbortOutOfAnyTransaction();
    reason = psprintf(REASON_BEGINS "could not be put: %s", error->message);
  }
  PG_END_TRY();
  MemoryContextSwitchTo(context);
  say(w->sync_id, job->name, reason, reason == NULL ? place_of(job) : NULL);
}

static void look(const Watched *watched, OndCronJob *jobs, int n, MemoryContext context) {
  if (GetConfigOption("cron.database_name", true, false) != NULL) {
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    ond_cron_order(OND_CRON_LOOK, InvalidOid, jobs, n);
    PopActiveSnapshot();
    CommitTransactionCommand();
  }
  MemoryContextSwitchTo(context);
  for (int i = 0; i < n; i++) {
    bool moved;

    if (jobs[i].name[0] == '\0')
      continue; /* its owner is gone: its runs say so */
    moved = strcmp(watched[i].place, place_of(&jobs[i])) != 0;
    if (moved && jobs[i].found == OND_CRON_MISSING)
      put_anew(&watched[i], &jobs[i], context);
    else
      say(watched[i].sync_id, jobs[i].name, reason_of(jobs[i].found), moved ? place_of(&jobs[i]) : NULL);
    MemoryContextSwitchTo(context);
  }
}

/* Places of leftovers, oldest first. Without pg_cron in the server there is nothing to be done about them. */
static int read_leftovers(MemoryContext context, char ***places) {
  int n;

  if (GetConfigOption("cron.database_name", true, false) == NULL)
    return 0;
  ond_tx_begin();
  n = (int)ond_spi(SPI_OK_SELECT, "SELECT place FROM ondatra.cron_leftovers ORDER BY since, place LIMIT " CppAsString2(LEFTOVERS_MAX), 0, NULL, NULL, NULL);
  *places = MemoryContextAlloc(context, sizeof(char *) * Max(n, 1));
  for (int i = 0; i < n; i++)
    (*places)[i] = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
  ond_tx_commit();
  MemoryContextSwitchTo(context);
  return n;
}

/* Holds its row meanwhile: who wants a job of that name waits. False: pg_cron cannot be reached now either. */
static bool remove_leftover(const char *place) {
  Oid types[] = {TEXTOID};
  Datum values[1];
  OndCronJob job;
  bool removed = true;

  ond_tx_begin();
  values[0] = CStringGetTextDatum(place);
  if (ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.cron_leftovers WHERE place = $1", 1, types, values, NULL) > 0 && job_at(place, &job)) {
    removed = ond_cron_order(OND_CRON_REMOVE, InvalidOid, &job, 1);
    if (removed)
      ereport(LOG, (errmsg("ondatra: the job of pg_cron \"%s\", which was left behind, is removed", job.name)));
  }
  if (removed)
    ond_tx_commit();
  else
    ond_tx_abort();
  return removed;
}

TimestampTz ond_cron_watch(MemoryContext context) {
  int64 every = (int64)ond_setting_cron_check_interval_s * USECS_PER_SEC;
  TimestampTz next;
  Watched *watched;
  OndCronJob *jobs;
  char **leftovers;
  int n_leftovers = read_leftovers(context, &leftovers);
  int n = read_jobs(context, &watched, &jobs);

  if (n + n_leftovers == 0)
    return DT_NOEND;
  if (!ond_database_cron_look(MyDatabaseId, every, &next))
    return next;
  for (int i = 0; i < n_leftovers && remove_leftover(leftovers[i]); i++)
    ;
  MemoryContextSwitchTo(context);
  if (n > 0)
    look(watched, jobs, n, context);
  return next;
}
