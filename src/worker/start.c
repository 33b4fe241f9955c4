/*
 * start.c - starting run workers, for the scheduler and for run_sync.
 *
 * A worker is started by whoever wants the run, without a COMMIT: the slot carries the request. Who the run belongs to is decided here: the
 * session user of the worker is the sync's owner, so what would keep that role from connecting is looked at first, where somebody can still
 * say it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "catalog/settings.h"
#include "compat.h"
#include "worker/shared.h"
#include "worker/state.h"

#define LOG_AGAIN_US (INT64CONST(10) * 60 * USECS_PER_SEC)

void ond_worker_describe(BackgroundWorker *worker, const char *function, const char *kind, const char *of, Datum arg) {
  memset(worker, 0, sizeof(*worker));
  worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker->bgw_start_time = BgWorkerStart_RecoveryFinished; /* a standby's start at promotion */
  worker->bgw_restart_time = BGW_NEVER_RESTART;
  strlcpy(worker->bgw_library_name, "ondatra", sizeof(worker->bgw_library_name));
  strlcpy(worker->bgw_function_name, function, sizeof(worker->bgw_function_name));
  snprintf(worker->bgw_name, sizeof(worker->bgw_name), "%s%s%s", kind, of != NULL ? " " : "", of != NULL ? of : "");
  strlcpy(worker->bgw_type, kind, sizeof(worker->bgw_type));
  worker->bgw_main_arg = arg;
  worker->bgw_notify_pid = MyProcPid;
}

OndStart ond_start_run(const OndRunRequest *request, const char *sync_name, dsm_handle keys, bool waited, OndStarted *out) {
  BackgroundWorker worker;

  switch (ond_slot_claim(request, keys, waited, &out->ref)) {
  case OND_CLAIM_RUNNING: return OND_START_RUNNING;
  case OND_CLAIM_FULL: return OND_START_NO_SLOT;
  case OND_CLAIM_ROLE_FULL: return OND_START_ROLE_FULL;
  case OND_CLAIM_OK: break;
  }
  ond_worker_describe(&worker, "ond_run_worker_main", "ondatra run", sync_name, (Datum)0);
  StaticAssertStmt(sizeof(OndSlotRef) <= BGW_EXTRALEN, "a slot's reference fits");
  memcpy(worker.bgw_extra, &out->ref, sizeof(OndSlotRef));
  if (RegisterDynamicBackgroundWorker(&worker, &out->handle))
    return OND_START_OK;
  ond_slot_abandon(out->ref);
  return OND_START_NO_PROCESS;
}

bool ond_start_gone(const OndStarted *started) {
  pid_t pid;

  if (GetBackgroundWorkerPid(started->handle, &pid) != BGWH_STOPPED)
    return false;
  ond_slot_never_came(started->ref);
  return true;
}

void ond_start_log_disarmed(const char *database, const char *why) {
  TimestampTz now = GetCurrentTimestamp();
  bool say;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  say = ond_state->disarmed_logged != MyDatabaseId || now - ond_state->disarmed_logged_at >= LOG_AGAIN_US;
  if (say) {
    ond_state->disarmed_logged = MyDatabaseId;
    ond_state->disarmed_logged_at = now;
  }
  LWLockRelease(ond_state->lock);
  if (say)
    ereport(LOG, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("ondatra: database \"%s\" is not armed: no sync runs in it", database),
                  errdetail("%s", why), errhint("If it is to send from now on, a superuser calls ondatra.arm() in it.")));
}

void ond_start_log(OndStart why) {
  TimestampTz now = GetCurrentTimestamp();
  TimestampTz *logged_at = &ond_state->starving_logged_at[why == OND_START_NO_SLOT ? 0 : why == OND_START_NO_PROCESS ? 1 : 2];
  bool say;

  LWLockAcquire(ond_state->lock, LW_EXCLUSIVE);
  say = now - *logged_at >= LOG_AGAIN_US;
  if (say)
    *logged_at = now;
  LWLockRelease(ond_state->lock);
  if (!say)
    return;
  if (why == OND_START_NO_SLOT)
    ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                  errmsg("ondatra: %d runs go on, as many as may at once; due syncs wait", ond_setting_max_workers),
                  errhint("Raise ondatra.max_workers if they wait too long.")));
  else if (why == OND_START_ROLE_FULL)
    ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                  errmsg("ondatra: %d runs of one role go on, as many as may at once; its due syncs wait", ond_setting_max_workers_per_role),
                  errhint("Raise ondatra.max_workers_per_role if they wait too long.")));
  else
    ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED), errmsg("ondatra: no worker process is free; due syncs wait"),
                  errhint("Raise max_worker_processes and restart the server.")));
}

static void obstacle(OndObstacle *out, int sqlstate, bool fatal, char *message, char *way_out) {
  out->sqlstate = sqlstate;
  out->fatal = fatal;
  out->message = message;
  out->way_out = way_out;
}

bool ond_start_obstacle(Oid owner, OndObstacle *out) {
  HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
  char *name, *database;
  bool can_login;

  if (!HeapTupleIsValid(tuple)) {
    obstacle(out, ERRCODE_UNDEFINED_OBJECT, true, pstrdup("the role that owns the sync does not exist any more"),
             pstrdup("Drop the sync and create it again as another role."));
    return true;
  }
  name = pstrdup(NameStr(((Form_pg_authid)GETSTRUCT(tuple))->rolname));
  can_login = ((Form_pg_authid)GETSTRUCT(tuple))->rolcanlogin;
  ReleaseSysCache(tuple);
  database = get_database_name(MyDatabaseId);
  if (OND_COMPAT_OWNER_NEEDS_LOGIN && !can_login) {
    obstacle(out, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, false,
             psprintf("role \"%s\", which owns the sync, is not permitted to log in", name),
             psprintf("ALTER ROLE %s LOGIN; a role without a password is enough.", quote_identifier(name)));
    return true;
  }
  if (!ond_compat_can_connect(MyDatabaseId, owner)) {
    obstacle(out, ERRCODE_INSUFFICIENT_PRIVILEGE, false,
             psprintf("role \"%s\", which owns the sync, may not connect to database \"%s\"", name, database),
             psprintf("GRANT CONNECT ON DATABASE %s TO %s;", quote_identifier(database), quote_identifier(name)));
    return true;
  }
  if (superuser_arg(owner) && !ond_setting_allow_superuser_owner) {
    obstacle(out, ERRCODE_INSUFFICIENT_PRIVILEGE, true, psprintf("role \"%s\", which owns the sync, is a superuser", name),
             pstrdup("Create the sync as another role, or set ondatra.allow_superuser_owner."));
    return true;
  }
  return false;
}
