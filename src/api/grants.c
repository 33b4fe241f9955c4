/*
 * grants.c - grant_destination, revoke_destination: who may use a destination beside its owner's members.
 *
 * A grant lends the account, not the credentials: secrets are resolved as the destination's owner's, and each run has connections of its own.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "api/api.h"
#include "catalog/edit.h"

/* Argument `role`, of type name. */
static Oid arg_role(FunctionCallInfo fcinfo, int n) {
  if (PG_ARGISNULL(n))
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument \"role\" must not be NULL")));
  return get_role_oid(NameStr(*PG_GETARG_NAME(n)), false);
}

static const char *arg_level(FunctionCallInfo fcinfo, int n) {
  char *level = ond_arg_required(fcinfo, n, "level");

  if (strcmp(level, "sync") != 0 && strcmp(level, "request") != 0)
    ereport(
        ERROR,
        (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid level: \"%s\"", level),
         errhint(
             "Use 'sync' (the role's syncs may send to it) or 'request' (it may also call request(), fetch() and test_destination()).")));
  return level;
}

/* The destination, which stays till the end of the transaction. */
static OndDestination *keep(const OndCall *call, const char *name) {
  OndDestination *d = ond_destination_get(name, call->user, OND_ACCESS_OWNER);

  if (!ond_destination_lock(d->destination_id, false))
    d = ond_destination_get(name, call->user, OND_ACCESS_OWNER); /* dropped meanwhile: says so */
  return d;
}

PG_FUNCTION_INFO_V1(ond_sql_grant_destination);
Datum ond_sql_grant_destination(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "destination");
  Oid role = arg_role(fcinfo, 1);
  const char *level = arg_level(fcinfo, 2);
  OndCall call;
  OndDestination *d;

  ond_call_begin(&call);
  d = keep(&call, name);
  ond_destination_grant(d->destination_id, role, level);
  ond_call_end(&call);
  if (has_privs_of_role(role, d->owner))
    ereport(NOTICE, (errmsg("role \"%s\" is a member of \"%s\", which owns destination \"%s\", and needs no grant",
                            GetUserNameFromId(role, false), GetUserNameFromId(d->owner, true), name)));
  PG_RETURN_VOID();
}

/* Syncs that stop at their next run. */
static int count_stopped(const OndDestination *d) {
  int n, stopped = 0;
  int64 *ids = ond_destination_syncs(d->destination_id, &n);

  for (int i = 0; i < n; i++) {
    OndSync *sync = ond_sync_load(ids[i]);

    stopped += sync != NULL && !ond_destination_allows_sync(d, sync) ? 1 : 0;
  }
  return stopped;
}

PG_FUNCTION_INFO_V1(ond_sql_revoke_destination);
Datum ond_sql_revoke_destination(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "destination");
  Oid role = arg_role(fcinfo, 1);
  OndCall call;
  OndDestination *d;
  bool found;
  int stopped;

  ond_call_begin(&call);
  d = keep(&call, name);
  found = ond_destination_revoke(d->destination_id, role);
  stopped = count_stopped(ond_destination_load(d->destination_id));
  ond_call_end(&call);
  if (!found)
    ereport(NOTICE, (errmsg("destination \"%s\" is not granted to role \"%s\"", name, GetUserNameFromId(role, false))));
  else if (stopped > 0)
    ereport(NOTICE, (errmsg_plural("%d sync may not use the destination any more and stops at its next run",
                                   "%d syncs may not use the destination any more and stop at their next run", stopped, stopped)));
  PG_RETURN_VOID();
}
