/*
 * arm.c - arm(), and what is behind the view ondatra.arming.
 *
 * arm() says of a copied, restored or promoted database that it may send from now on, and what its syncs are to believe of their destinations:
 *
 *   trust       the state tables are right
 *   resend      they may be behind: every sync sends all rows once
 *   hold        nobody knows: every sync is paused until somebody has looked and calls resume_sync
 *   reconcile   likewise, after reconcile_sync
 *
 * Whatever the policy, a sync whose state table has fewer rows than its last complete run left there is paused: it would send, as new, what the
 * destination has.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "catalog/arming.h"
#include "catalog/edit.h"
#include "engine/state_table.h"
#include "worker/shared.h"

#define COLUMNS 2 /* armed, reason */

typedef enum Policy { TRUST, RESEND, HOLD, RECONCILE, POLICIES } Policy;

static const char *const policy_names[POLICIES] = {"trust", "resend", "hold", "reconcile"};

static Policy read_policy(FunctionCallInfo fcinfo) {
  char *word = ond_arg_required(fcinfo, 0, "policy");

  for (int i = 0; i < POLICIES; i++)
    if (strcmp(word, policy_names[i]) == 0)
      return (Policy)i;
  ereport(
      ERROR,
      (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid policy: \"%s\"", word),
       errhint(
           "Use 'trust' (what was delivered is known), 'resend' (send all rows again), 'hold' or 'reconcile' (look at each sync first).")));
}

static void require_right(Oid user) {
  Oid owner = ond_extension(false)->owner;

  if (!has_privs_of_role(user, owner))
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to arm this database"),
                    errdetail("It lets the syncs of all roles send."),
                    errhint("Only members of role \"%s\", which owns the extension, may.", GetUserNameFromId(owner, false))));
}

/* What the state table has lost since the last complete run, in words; NULL: nothing. Records its dependency again. */
static char *state_loss(const OndSync *sync) {
  int64 rows = ond_state_table_adopt(sync);

  if (rows < 0)
    return psprintf("its state table is missing: what was delivered is not known any more");
  if (rows < sync->state_rows)
    return psprintf("its state table has %lld rows, and had %lld after the last run: what was delivered is not known any more",
                    (long long)rows, (long long)sync->state_rows);
  return NULL;
}

/* Pauses the sync; what was asked for or approved before does not count any more. */
static bool hold(const OndSync *sync, const char *reason) {
  if (sync->state == OND_SYNC_ARCHIVED)
    return false;
  (void)ond_held_runs_end(sync->sync_id, 0, "ondatra.arm() was called: what was held is void.");
  ond_run_requests_drop(sync->sync_id);
  (void)ond_sync_event(sync->sync_id, OND_EVENT_PAUSE, reason);
  return true;
}

static bool arm_sync(const OndSync *sync, Policy policy, const char *user) {
  char *loss = state_loss(sync);
  char *name = quote_literal_cstr(sync->name);

  if (loss != NULL) {
    ereport(NOTICE, (errmsg("sync \"%s\" is paused: %s", sync->name, loss),
                     errhint("Look with ondatra.plan_sync(%s), then call ondatra.rebase_sync(%s) if the destination has the rows, and "
                             "ondatra.resume_sync(%s).",
                             name, name, name)));
    return hold(sync, loss);
  }
  switch (policy) {
  case TRUST: return false;
  case RESEND:
    ond_run_lock_edit(sync);
    ond_sync_resend(sync->sync_id);
    return false;
  case HOLD:
    return hold(sync, psprintf("held by arm('hold') of \"%s\": look with ondatra.plan_sync(%s), then call ondatra.resume_sync(%s)", user,
                               name, name));
  case RECONCILE:
    return hold(sync, psprintf("held by arm('reconcile') of \"%s\": call ondatra.reconcile_sync(%s), then ondatra.resume_sync(%s)", user,
                               name, name));
  case POLICIES: break;
  }
  return false;
}

PG_FUNCTION_INFO_V1(ond_sql_arm);
Datum ond_sql_arm(PG_FUNCTION_ARGS) {
  Policy policy = read_policy(fcinfo);
  int64 held = 0;
  OndCall call;
  char *user;
  int64 *ids;
  int n;

  PreventCommandDuringRecovery("arm()");
  ond_call_begin(&call);
  require_right(call.user);
  user = GetUserNameFromId(call.user, false);
  ids = ond_sync_ids(&n);
  for (int i = 0; i < n; i++) {
    OndSync *sync = ond_sync_load(ids[i]);

    if (sync != NULL && arm_sync(sync, policy, user))
      held++;
  }
  ond_arm(policy_names[policy], user);
  ond_call_end(&call);
  ond_wake_at_commit();
  PG_RETURN_INT64(held);
}

PG_FUNCTION_INFO_V1(ond_sql_check_arming);
Datum ond_sql_check_arming(PG_FUNCTION_ARGS) {
  TupleDesc desc;
  Datum values[COLUMNS];
  bool nulls[COLUMNS] = {false};
  OndCall call;
  char *why;

  if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != COLUMNS)
    elog(ERROR, "check_arming is declared with another result");
  ond_call_begin(&call);
  values[0] = BoolGetDatum(ond_armed(&why));
  ond_call_end(&call);
  nulls[1] = why == NULL;
  values[1] = why == NULL ? (Datum)0 : CStringGetTextDatum(why);
  return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
