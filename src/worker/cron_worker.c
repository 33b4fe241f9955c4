/*
 * cron_worker.c - the process that speaks to pg_cron in pg_cron's own database, and the wait for it; see cron.h.
 *
 * It runs an errand (errand.h). Whoever asked may be gone by the answer: what was put is found by a later look.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "compat.h"
#include "worker/cron.h"
#include "worker/errand.h"
#include "worker/shared.h"

#define WAIT_MAX_MS 20000 /* the process may wait for a lock of ours (ALTER DATABASE, say), which no search of deadlocks sees */
#define LOCK_WAIT   "5s"

typedef struct Order {
  OndErrand errand;            /* first */
  Oid database;                /* pg_cron's */
  Oid owner;                   /* InvalidOid: the bootstrap superuser */
  char syncs_database[NAMEDATALEN];
  OndCronAct act;
  int n;
  OndCronJob jobs[FLEXIBLE_ARRAY_MEMBER];
} Order;

/* --- the process ------------------------------------------------------------------------------------------------ */

static void pin(const char *name, const char *value) {
  (void)set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

static void begin(void) {
  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  XactIsoLevel = XACT_READ_COMMITTED;
  XactReadOnly = false;
  PushActiveSnapshot(GetTransactionSnapshot());
  (void)NewGUCNestLevel();
  pin("search_path", "pg_catalog, pg_temp");
  pin("lock_timeout", LOCK_WAIT);
  pin("row_security", "on");
  if (SPI_connect() != SPI_OK_CONNECT)
    elog(ERROR, "SPI_connect failed");
}

static void end(void) {
  SPI_finish();
  PopActiveSnapshot();
  CommitTransactionCommand();
}

/* The first column of the first row, a boolean; no row: false. */
static bool ask(const char *sql) {
  bool isnull;

  if (SPI_execute(sql, false, 1) != SPI_OK_SELECT)
    elog(ERROR, "unexpected result of: %s", sql);
  return SPI_processed > 0 && DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) && !isnull;
}

/* What the owner needs, in the words of whoever can give it. */
static void check_rights(bool elsewhere) {
  const char *database = get_database_name(MyDatabaseId);
  const char *role = GetUserNameFromId(GetUserId(), false);
  static const char function[] = "cron.schedule_in_database(text, text, text, text, text, boolean)";

  if (!OidIsValid(get_extension_oid("pg_cron", true)))
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("cron schedules need the extension pg_cron, which is not in database \"%s\"", database),
                    errhint("CREATE EXTENSION pg_cron there (cron.database_name names it), or use an interval such as '5 minutes'.")));
  if (!ask("SELECT pg_catalog.has_schema_privilege('cron', 'USAGE')"))
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("role \"%s\", which owns the sync, may not use pg_cron", role),
                    errhint("In database \"%s\": GRANT USAGE ON SCHEMA cron TO %s;", database, quote_identifier(role))));
  if (elsewhere && !ask("SELECT pg_catalog.to_regprocedure('cron.schedule_in_database(text, text, text, text, text, boolean)') IS NOT NULL"))
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("this pg_cron cannot run jobs in other databases than \"%s\"", database),
                    errhint("Update it to 1.4 or later, or use an interval such as '5 minutes'.")));
  if (elsewhere && !ask("SELECT pg_catalog.has_function_privilege('cron.schedule_in_database(text, text, text, text, text, boolean)', 'EXECUTE')"))
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("role \"%s\", which owns the sync, may not make jobs of pg_cron for other databases", role),
                    errdetail("pg_cron works in database \"%s\".", database),
                    errhint("In database \"%s\": GRANT EXECUTE ON FUNCTION %s TO %s;", database, function, quote_identifier(role))));
}

static void put(const Order *o) {
  bool elsewhere = strcmp(o->syncs_database, get_database_name(MyDatabaseId)) != 0;
  Oid types[4] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
  Datum values[4] = {CStringGetTextDatum(o->jobs[0].name), CStringGetTextDatum(o->jobs[0].schedule), CStringGetTextDatum(o->jobs[0].command),
                     CStringGetTextDatum(o->syncs_database)};

  check_rights(elsewhere);
  if (SPI_execute_with_args(elsewhere ? "SELECT cron.schedule_in_database($1, $2, $3, $4)" : "SELECT cron.schedule($1, $2, $3)", elsewhere ? 4 : 3, types,
                            values, NULL, false, 0) != SPI_OK_SELECT)
    elog(ERROR, "could not schedule");
}

/* Without a word when there is none: it may have been removed by hand, or pg_cron with it. */
static void remove_job(const Order *o) {
  Oid types[2] = {TEXTOID, TEXTOID};
  Datum values[2] = {CStringGetTextDatum(o->jobs[0].name), CStringGetTextDatum(o->jobs[0].username)};

  if (!OidIsValid(get_extension_oid("pg_cron", true)))
    return;
  if (SPI_execute_with_args("SELECT cron.unschedule(j.jobid) FROM cron.job j WHERE j.jobname = $1 AND j.username = $2", 2, types, values, NULL, false, 0) !=
      SPI_OK_SELECT)
    elog(ERROR, "could not unschedule");
}

static OndCronFound look_at(const Order *o, const OndCronJob *job) {
  Oid types[5] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
  Datum values[5] = {CStringGetTextDatum(job->name), CStringGetTextDatum(job->username), CStringGetTextDatum(o->syncs_database),
                     CStringGetTextDatum(job->schedule), CStringGetTextDatum(job->command)};
  bool isnull;

  if (SPI_execute_with_args("SELECT j.active, j.schedule = $4 AND j.command = $5 AND j.database = $3 FROM cron.job j WHERE j.jobname = $1 AND j.username = $2", 5,
                            types, values, NULL, true, 1) != SPI_OK_SELECT)
    elog(ERROR, "could not look at the jobs of pg_cron");
  if (SPI_processed == 0)
    return OND_CRON_MISSING;
  if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)))
    return OND_CRON_INACTIVE;
  return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)) ? OND_CRON_FINE : OND_CRON_CHANGED;
}

static void look(Order *o) {
  bool here = OidIsValid(get_extension_oid("pg_cron", true));

  for (int i = 0; i < o->n; i++) {
    CHECK_FOR_INTERRUPTS();
    o->jobs[i].found = here ? look_at(o, &o->jobs[i]) : OND_CRON_MISSING;
  }
}

static bool carry_out(OndErrand *e) {
  Order *o = (Order *)e;

  begin();
  switch (o->act) {
    case OND_CRON_PUT: put(o); break;
    case OND_CRON_REMOVE: remove_job(o); break;
    case OND_CRON_LOOK: look(o); break;
  }
  end();
  return true;
}

void ond_cron_worker_main(Datum arg) {
  Order *o = ond_errand_attach(arg);

  BackgroundWorkerInitializeConnectionByOid(o->database, o->owner, OidIsValid(o->owner) ? OND_COMPAT_OWNER_CONNECT_FLAGS : 0);
  SetConfigOption("application_name", "ondatra cron", PGC_USERSET, PGC_S_SESSION);
  pgstat_report_activity(STATE_RUNNING, MyBgworkerEntry->bgw_name);
  MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "ondatra cron", ALLOCSET_DEFAULT_SIZES));
  ond_errand_carry_out(&o->errand, carry_out);
  proc_exit(0);
}

/* --- who waits for it -------------------------------------------------------------------------------------------- */

/* NULL, with a warning, when no process is free to remove a job: pausing and dropping must not fail for that. */
static BackgroundWorkerHandle *start(dsm_segment *segment, OndCronAct act) {
  BackgroundWorkerHandle *handle;
  BackgroundWorker worker;

  ond_worker_describe(&worker, "ond_cron_worker_main", "ondatra cron", NULL, UInt32GetDatum(dsm_segment_handle(segment)));
  if (RegisterDynamicBackgroundWorker(&worker, &handle))
    return handle;
  ereport(act == OND_CRON_REMOVE ? WARNING : ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("no worker process is free to speak to pg_cron"),
                                                     errhint("Try again later, or raise max_worker_processes and restart the server.")));
  return NULL;
}

static void warn_of_removal(OndErrandEnd end, const OndError *error, const OndCronJob *job) {
  bool refused = end == OND_ERRAND_REFUSED;

  ereport(WARNING, (errmsg("the job of pg_cron could not be removed%s%s", refused ? ": " : "", refused ? error->message : ""),
                    errdetail("What it calls does nothing. It is tried again, as often as ondatra.cron_check_interval says."),
                    errhint("By hand, in database \"%s\": SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname = %s AND username = %s;",
                            GetConfigOption("cron.database_name", true, false), quote_literal_cstr(job->name), quote_literal_cstr(job->username))));
}

static void refuse(OndCronAct act, OndErrandEnd end, const OndError *error, const OndCronJob *job) {
  if (end == OND_ERRAND_DONE)
    return;
  if (act == OND_CRON_REMOVE)
    warn_of_removal(end, error, job);
  else if (end == OND_ERRAND_REFUSED)
    ond_raise(error);
  else
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the process that speaks to pg_cron has ended, or does not answer"),
                    errhint("The server's log says why. A role that this transaction made, or a database that it altered, must be committed first.")));
}

/* Where pg_cron works; InvalidOid, to REMOVE: nowhere. */
static Oid cron_database(OndCronAct act, Oid owner) {
  const char *name = GetConfigOption("cron.database_name", true, false);
  Oid database;

  ond_cron_require();
  database = get_database_oid(name, true);
  if (!OidIsValid(database) && act != OND_CRON_REMOVE)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("database \"%s\", which pg_cron is set to work in, does not exist", name),
                    errhint("Set cron.database_name and restart the server.")));
  if (act == OND_CRON_PUT && !ond_compat_can_connect(database, owner))
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                    errmsg("role \"%s\", which owns the sync, may not connect to database \"%s\", where pg_cron works", GetUserNameFromId(owner, false), name),
                    errhint("GRANT CONNECT ON DATABASE %s TO %s;", quote_identifier(name), quote_identifier(GetUserNameFromId(owner, false)))));
  return database;
}

bool ond_cron_order(OndCronAct act, Oid owner, OndCronJob *jobs, int n) {
  Oid database = cron_database(act, owner);
  BackgroundWorkerHandle *handle;
  dsm_segment *segment;
  OndErrandEnd end;
  OndError error;
  Order *o;

  if (!OidIsValid(database))
    return true; /* its jobs are gone with it */
  o = ond_errand_create(offsetof(Order, jobs) + sizeof(OndCronJob) * n, &segment);
  o->database = database;
  o->owner = act == OND_CRON_PUT ? owner : InvalidOid;
  strlcpy(o->syncs_database, get_database_name(MyDatabaseId), sizeof(o->syncs_database));
  o->act = act;
  o->n = n;
  memcpy(o->jobs, jobs, sizeof(OndCronJob) * n);
  handle = start(segment, act);
  if (handle == NULL) {
    dsm_detach(segment);
    return false;
  }
  end = ond_errand_await(&o->errand, handle, WAIT_MAX_MS);
  memcpy(jobs, o->jobs, sizeof(OndCronJob) * n);
  error = o->errand.error;
  dsm_detach(segment);
  refuse(act, end, &error, jobs);
  return end == OND_ERRAND_DONE;
}
