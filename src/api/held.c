/*
 * held.c - approve_run, reject_run: somebody's word on a run that a guard held.
 *
 * Both lock the run's row; the worker that resumes it, edits and the scheduler's expiry find it decided.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "catalog/edit.h"
#include "worker/cron.h"
#include "worker/shared.h"

typedef struct HeldRun {
  int64 run_id;
  OndSync *sync;
} HeldRun;

static char *text_of(int column) {
  return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);
}

/* The run, locked after its sync, if the caller may decide about it; an error when it does not wait for a decision. Inside "ours". */
static HeldRun find_held(int64 run_id, Oid role) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(run_id)};
  HeldRun held = {run_id, NULL};
  bool isnull;

  (void)ond_sync_lock_of_run(run_id);
  if (ond_spi(SPI_OK_SELECT,
              "SELECT owner::pg_catalog.oid, sync_id, status, error_detail, approved_by FROM ondatra.all_runs WHERE run_id OPERATOR(pg_catalog.=) $1 FOR UPDATE", 1, types,
              values, NULL) == 0 ||
      !has_privs_of_role(role, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull))))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("run %lld does not exist", (long long)run_id),
                    errhint("The view ondatra.held_runs lists those that wait for a decision.")));
  if (strcmp(text_of(3), "held") != 0 || text_of(5) != NULL)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    text_of(5) != NULL && strcmp(text_of(3), "held") == 0 ? errmsg("run %lld was approved by \"%s\" already", (long long)run_id, text_of(5))
                                                                          : errmsg("run %lld is not held, it is %s", (long long)run_id, text_of(3)),
                    text_of(4) != NULL ? errdetail("%s", text_of(4)) : 0, errhint("The view ondatra.held_runs lists those that wait for a decision.")));
  held.sync = ond_sync_load(DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)));
  return held;
}

static int64 run_id_argument(FunctionCallInfo fcinfo) {
  if (PG_ARGISNULL(0))
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument \"run_id\" must not be NULL"),
                    errhint("The view ondatra.held_runs lists the runs that wait for a decision.")));
  return PG_GETARG_INT64(0);
}

static void check_operations(ArrayType *list) {
  Datum *elements;
  bool *nulls;
  int n;

  deconstruct_array(list, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
  for (int i = 0; i < n; i++) {
    const char *operation = nulls[i] ? "NULL" : TextDatumGetCString(elements[i]);

    if (strcmp(operation, "create") != 0 && strcmp(operation, "update") != 0 && strcmp(operation, "delete") != 0)
      ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown operation \"%s\"", operation),
                      errhint("Valid operations are create, update and delete.")));
  }
  if (n == 0)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("operations is empty"),
                    errhint("Leave it out to approve all, name some of create, update and delete, or call ondatra.reject_run().")));
}

static void refuse_resting(const OndSync *sync) {
  if (sync->state != OND_SYNC_CREATED && sync->state != OND_SYNC_ACTIVE)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("sync \"%s\" is %s", sync->name, ond_sync_state_name(sync->state)),
                    errhint("Call ondatra.%s(%s) first.", sync->state == OND_SYNC_ARCHIVED ? "restore_sync" : "resume_sync", quote_literal_cstr(sync->name))));
}

PG_FUNCTION_INFO_V1(ond_sql_approve_run);
Datum ond_sql_approve_run(PG_FUNCTION_ARGS) {
  int64 run_id = run_id_argument(fcinfo);
  Oid types[3] = {INT8OID, TEXTOID, TEXTARRAYOID};
  Datum values[3];
  char nulls[3] = {' ', ' ', PG_ARGISNULL(1) ? 'n' : ' '};
  OndCall call;
  HeldRun held;
  char *role;

  if (!PG_ARGISNULL(1))
    check_operations(PG_GETARG_ARRAYTYPE_P(1));
  ond_call_begin(&call);
  held = find_held(run_id, call.user);
  refuse_resting(held.sync);
  role = GetUserNameFromId(call.user, false);
  values[0] = Int64GetDatum(run_id);
  values[1] = CStringGetTextDatum(role);
  values[2] = PG_ARGISNULL(1) ? (Datum)0 : PG_GETARG_DATUM(1);
  ond_spi(SPI_OK_UPDATE, "UPDATE ondatra.all_runs SET approved_by = $2, approved_operations = $3 WHERE run_id OPERATOR(pg_catalog.=) $1", 3, types, values, nulls);
  (void)ond_run_request_insert(held.sync->sync_id, "manual", role);
  ond_call_end(&call);
  ond_wake_at_commit();
  PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(ond_sql_reject_run);
Datum ond_sql_reject_run(PG_FUNCTION_ARGS) {
  int64 run_id = run_id_argument(fcinfo);
  OndCall call;
  HeldRun held;
  char *role;

  ond_call_begin(&call);
  held = find_held(run_id, call.user);
  role = GetUserNameFromId(call.user, false);
  (void)ond_held_runs_end(held.sync->sync_id, run_id, psprintf("Rejected by \"%s\".", role));
  if (held.sync->state == OND_SYNC_CREATED || held.sync->state == OND_SYNC_ACTIVE)
    (void)ond_sync_event(held.sync->sync_id, OND_EVENT_PAUSE, psprintf("run " INT64_FORMAT " was rejected by \"%s\"", run_id, role));
  if (ond_sync_has_cron(held.sync))
    ond_cron_follow(held.sync->sync_id, held.sync->owner);
  ond_call_end(&call);
  ond_wake_at_commit();
  PG_RETURN_VOID();
}
