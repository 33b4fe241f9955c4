/*
 * look.c - plan_sync, preview_sync, explain_sync, explain_row; and retry_failed, discard_failed, resend_sync, rebase_sync.
 *
 * Arguments and rights only: the engine does the work (engine/inspect.h). The first four change nothing and take no lock: they can be
 * asked while a run goes on. The others are edits and hold the run lock till the end of the transaction.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "catalog/after.h"
#include "catalog/edit.h"
#include "engine/inspect.h"
#include "worker/shared.h"

#define PREVIEW_MAX 1000

static OndSync *sync_to_look_at(FunctionCallInfo fcinfo) {
  char *name = ond_arg_name(fcinfo, 0, "sync");
  OndCall call;
  OndSync *sync;

  ond_call_begin(&call);
  sync = ond_sync_get(name, call.user);
  ond_call_end(&call);
  return sync;
}

/* A sync that runs after others: which of them it waits for. */
static void say_waits(const OndSync *sync) {
  OndCall call;
  char *waits, *since;

  ond_call_begin(&call);
  waits = ond_after_waits(sync, &since);
  ond_call_end(&call);
  if (waits != NULL) {
    ereport(NOTICE, (errmsg("sync \"%s\" waits for the syncs that it runs after", sync->name), errdetail("Since it last ran (%s): %s.", since, waits),
                     errhint("The run shown here is what ondatra.run_sync(%s) would do now.", quote_literal_cstr(sync->name))));
  }
}

PG_FUNCTION_INFO_V1(ond_sql_plan_sync);
Datum ond_sql_plan_sync(PG_FUNCTION_ARGS) {
  OndSync *sync = sync_to_look_at(fcinfo);

  InitMaterializedSRF(fcinfo, 0);
  ond_plan_sync(sync, fcinfo);
  say_waits(sync);
  return (Datum)0;
}

PG_FUNCTION_INFO_V1(ond_sql_preview_sync);
Datum ond_sql_preview_sync(PG_FUNCTION_ARGS) {
  OndSync *sync = sync_to_look_at(fcinfo);
  int max_requests = PG_ARGISNULL(1) ? 10 : PG_GETARG_INT32(1);

  if (max_requests < 1 || max_requests > PREVIEW_MAX) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max_requests must be from 1 to %d", PREVIEW_MAX)));
  }
  InitMaterializedSRF(fcinfo, 0);
  ond_preview_sync(sync, max_requests, fcinfo);
  return (Datum)0;
}

PG_FUNCTION_INFO_V1(ond_sql_explain_sync);
Datum ond_sql_explain_sync(PG_FUNCTION_ARGS) {
  OndSync *sync = sync_to_look_at(fcinfo);

  InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
  ond_explain_sync(sync, ond_arg_bool(fcinfo, 1, false), fcinfo);
  return (Datum)0;
}

PG_FUNCTION_INFO_V1(ond_sql_explain_row);
Datum ond_sql_explain_row(PG_FUNCTION_ARGS) {
  OndSync *sync = sync_to_look_at(fcinfo);

  return ond_explain_row(sync, ond_arg_key(fcinfo, 1, sync), fcinfo);
}

/* The sync, its run lock held. */
static OndSync *sync_to_edit(FunctionCallInfo fcinfo) {
  char *name = ond_arg_name(fcinfo, 0, "sync");
  OndCall call;
  OndSync *sync;

  ond_call_begin(&call);
  sync = ond_call_edit(&call, name);
  ond_call_end(&call);
  return sync;
}

/* Rows were released: a run that sends them starts at commit, unless somebody paused the sync. */
static void request_retry(const OndSync *sync) {
  OndCall call;

  if (sync->state != OND_SYNC_CREATED && sync->state != OND_SYNC_ACTIVE) {
    return;
  }
  ond_call_begin(&call);
  (void)ond_run_request_insert(sync->sync_id, "retry", GetUserNameFromId(call.user, false));
  ond_call_end(&call);
  ond_wake_at_commit();
}

PG_FUNCTION_INFO_V1(ond_sql_retry_failed);
Datum ond_sql_retry_failed(PG_FUNCTION_ARGS) {
  OndSync *sync = sync_to_edit(fcinfo);
  int64 n = ond_retry_failed(sync, ond_arg_keys(fcinfo, 1, sync));

  if (n > 0) {
    request_retry(sync);
  }
  PG_RETURN_INT64(n);
}

PG_FUNCTION_INFO_V1(ond_sql_discard_failed);
Datum ond_sql_discard_failed(PG_FUNCTION_ARGS) {
  OndSync *sync = sync_to_edit(fcinfo);

  PG_RETURN_INT64(ond_discard_failed(sync, ond_arg_keys(fcinfo, 1, sync)));
}

PG_FUNCTION_INFO_V1(ond_sql_rebase_sync);
Datum ond_sql_rebase_sync(PG_FUNCTION_ARGS) {
  OndSync *sync = sync_to_edit(fcinfo);
  int64 n = ond_rebase_sync(sync);
  OndCall call;

  ond_call_begin(&call);
  (void)ond_held_runs_end(sync->sync_id, 0, "rebase_sync was called: what was held is void.");
  ond_call_end(&call);
  ond_wake_at_commit();
  PG_RETURN_INT64(n);
}

PG_FUNCTION_INFO_V1(ond_sql_resend_sync);
Datum ond_sql_resend_sync(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "sync");
  OndCall call;

  ond_call_begin(&call);
  ond_sync_resend(ond_call_edit(&call, name)->sync_id);
  ond_call_end(&call);
  PG_RETURN_VOID();
}
