/*
 * live.c - what shared memory says of runs and destinations, for the views ondatra.run_progress and ondatra.destination_status.
 *
 * A function in a view runs with the rights of who asks: so these filter by owner themselves.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "catalog/settings.h"
#include "catalog/utf8.h"
#include "worker/state.h"

#define UNIX_EPOCH_US ((int64)(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* In the order of OndPhase. */
static const char *const phase_names[] = {"starting", "reading", "sending", "finishing"};

#define RUN_COLUMNS 15

static void put_run(ReturnSetInfo *result, const OndSlot *s) {
  const OndProgress *p = &s->progress;
  Datum values[RUN_COLUMNS];
  bool nulls[RUN_COLUMNS] = {false};
  int n = 0;

  nulls[n] = s->run_id == 0;
  values[n++] = Int64GetDatum(s->run_id);
  values[n++] = Int64GetDatum(s->sync_id);
  nulls[n] = s->pid == 0;
  values[n++] = Int32GetDatum(s->pid);
  values[n++] = CStringGetTextDatum(phase_names[p->phase]);
  values[n++] = Int64GetDatum(p->rows_scanned);
  values[n++] = Int64GetDatum(p->to_create);
  values[n++] = Int64GetDatum(p->to_update);
  values[n++] = Int64GetDatum(p->to_delete);
  values[n++] = Int64GetDatum(p->sent);
  values[n++] = Int64GetDatum(p->failed);
  values[n++] = Int64GetDatum(p->in_flight);
  values[n++] = Float8GetDatum(s->requests_per_s);
  nulls[n] = p->throttled_until == 0;
  values[n++] = TimestampTzGetDatum(p->throttled_until - UNIX_EPOCH_US);
  values[n++] = TimestampTzGetDatum(s->queued_at);
  nulls[n] = s->started_at == 0;
  values[n++] = TimestampTzGetDatum(s->started_at);
  Assert(n == RUN_COLUMNS);
  tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* live_runs(): runs of this database whose owner the caller is a member of. */
PG_FUNCTION_INFO_V1(ond_sql_live_runs);
Datum ond_sql_live_runs(PG_FUNCTION_ARGS) {
  OndSlotRef *refs;
  OndSlot *slots;
  int n;

  InitMaterializedSRF(fcinfo, 0);
  if (ond_state == NULL)
    return (Datum)0;
  slots = ond_slot_list(MyDatabaseId, true, &refs, &n);
  for (int i = 0; i < n; i++) {
    if (has_privs_of_role(GetUserId(), slots[i].owner))
      put_run((ReturnSetInfo *)fcinfo->resultinfo, &slots[i]);
  }
  return (Datum)0;
}

#define DESTINATION_COLUMNS 6

static void put_destination(ReturnSetInfo *result, const OndBudgetView *view, bool with_words) {
  Datum values[DESTINATION_COLUMNS];
  bool nulls[DESTINATION_COLUMNS] = {false};

  values[0] = Int64GetDatum(view->destination_id);
  nulls[1] = view->left[0] == '\0';
  values[1] = CStringGetTextDatum(view->left);
  nulls[2] = view->paused_for_us == 0;
  values[2] = TimestampTzGetDatum(GetCurrentTimestamp() + view->paused_for_us);
  values[3] = Int32GetDatum(view->in_flight);
  nulls[4] = view->last_error[0] == '\0' || !with_words;
  values[4] = CStringGetTextDatum(ond_words_from_utf8(view->last_error));
  nulls[5] = view->last_error_at == 0;
  values[5] = TimestampTzGetDatum(view->last_error_at);
  tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Does the role belong to the destination's owner? */
static bool may_see(int64 destination_id, Oid role) {
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(destination_id)};
  bool isnull;

  return ond_spi(SPI_OK_SELECT, "SELECT owner::oid FROM ondatra.all_destinations WHERE destination_id = $1", 1, types, values, NULL) > 0 &&
         has_privs_of_role(role, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
}

/*
 * live_destinations(): budgets of this database's destinations whose owner the caller is a member of; for members of pg_monitor of all, without
 * words of other owners' APIs.
 */
PG_FUNCTION_INFO_V1(ond_sql_live_destinations);
Datum ond_sql_live_destinations(PG_FUNCTION_ARGS) {
  MemoryContext caller = CurrentMemoryContext;
  Oid role = GetUserId();
  OndScope scope;

  InitMaterializedSRF(fcinfo, 0);
  if (ond_state == NULL)
    return (Datum)0;
  ond_our_begin(&scope, true);
  for (int i = 0; i < ond_setting_max_destinations; i++) {
    OndBudgetView view;

    if (ond_budget_view(i, &view) && view.database == MyDatabaseId) {
      bool own = may_see(view.destination_id, role);

      if (own || has_privs_of_role(role, ROLE_PG_MONITOR))
        put_destination((ReturnSetInfo *)fcinfo->resultinfo, &view, own);
    }
  }
  ond_our_end(&scope);
  MemoryContextSwitchTo(caller);
  return (Datum)0;
}
