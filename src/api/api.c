/*
 * api.c - arguments, and who asks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "api/api.h"
#include "catalog/edit.h"
#include "catalog/settings.h"
#include "compat.h"
#include "worker/shared.h"

#define NAMES_SHOWN_MAX 10

void ond_call_refuse_in_run(void) {
  if (ond_in_run_worker() || InSecurityRestrictedOperation()) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("functions of ondatra cannot be called by a model"),
                    errdetail("A model, and what it calls, must not change or look at syncs."),
                    errhint("Call them in a session of their own.")));
  }
}

void ond_call_begin(OndCall *call) {
  ond_call_refuse_in_run();
  call->context = CurrentMemoryContext;
  call->user = GetUserId();
  ond_our_begin(&call->scope, true);
  MemoryContextSwitchTo(call->context);
}

void ond_call_end(OndCall *call) {
  ond_our_end(&call->scope);
  MemoryContextSwitchTo(call->context);
}

char *ond_names_seen(const int64 *ids, int n, Oid role, bool (*look)(int64 id, char **name, Oid *owner)) {
  StringInfoData names;
  int shown = 0;

  initStringInfo(&names);
  for (int i = 0; i < n && shown < NAMES_SHOWN_MAX; i++) {
    char *name;
    Oid owner;

    if (look(ids[i], &name, &owner) && has_privs_of_role(role, owner))
      appendStringInfo(&names, "%s\"%s\"", shown++ > 0 ? ", " : "", name);
  }
  if (n > shown)
    appendStringInfo(&names, "%s%d%s", shown > 0 ? " and " : "", n - shown, shown > 0 ? " more" : " of other roles");
  return names.data;
}

void ond_api_adopt(MemoryContextCallbackFunction free_it, void *p) {
  MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

  callback->func = free_it;
  callback->arg = p;
  MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
}

OndSync *ond_call_edit(OndCall *call, const char *name) {
  OndSync *sync = ond_sync_get(name, call->user);
  int64 locked;

  /* while it waited for the lock, another session may have dropped the sync and created one of the same name */
  do {
    locked = sync->sync_id;
    ond_run_lock_edit(sync);
    sync = ond_sync_get(name, call->user);
  } while (sync->sync_id != locked);
  return sync;
}

char *ond_arg_text(FunctionCallInfo fcinfo, int n) {
  return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

char *ond_arg_required(FunctionCallInfo fcinfo, int n, const char *argument) {
  if (PG_ARGISNULL(n)) {
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument \"%s\" must not be NULL", argument),
                    errhint("\\df ondatra.%s shows the arguments and their defaults.", get_func_name(fcinfo->flinfo->fn_oid))));
  }
  return ond_arg_text(fcinfo, n);
}

char *ond_arg_name(FunctionCallInfo fcinfo, int n, const char *kind) {
  char *name = ond_arg_required(fcinfo, n, "name");

  ond_name_check(kind, name);
  return name;
}

char *ond_arg_json(FunctionCallInfo fcinfo, int n) {
  Jsonb *json;

  if (PG_ARGISNULL(n)) {
    return NULL;
  }
  json = PG_GETARG_JSONB_P(n);
  return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

bool ond_arg_bool(FunctionCallInfo fcinfo, int n, bool default_value) {
  return PG_ARGISNULL(n) ? default_value : PG_GETARG_BOOL(n);
}

char *ond_arg_options(FunctionCallInfo fcinfo, int n, const char *base) {
  Jsonb *target = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(base == NULL ? "{}" : base)));
  Jsonb *patch;

  if (!PG_ARGISNULL(n)) {
    patch = PG_GETARG_JSONB_P(n);
    if (!JB_ROOT_IS_OBJECT(patch)) {
      ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object"),
                      errhint("Use a form such as {\"concurrency\": 4}; members that are null are removed.")));
    }
    /* of something new the whole is given: a null in it means null */
    target = base == NULL ? patch : ond_jsonb_merge_patch(target, patch);
  }
  return JsonbToCString(NULL, &target->root, VARSIZE(target));
}

bool ond_arg_is_json_null(FunctionCallInfo fcinfo, int n) {
  JsonbValue v;
  Jsonb *json;

  if (PG_ARGISNULL(n)) {
    return false;
  }
  json = PG_GETARG_JSONB_P(n);
  return JB_ROOT_IS_SCALAR(json) && JsonbExtractScalar(&json->root, &v) && v.type == jbvNull;
}

OndDelivered ond_arg_delivered(FunctionCallInfo fcinfo, int n) {
  char *word = ond_arg_text(fcinfo, n);

  if (word == NULL) {
    return OND_DELIVERED_UNSAID;
  }
  if (strcmp(word, "keep") == 0) {
    return OND_DELIVERED_KEEP;
  }
  if (strcmp(word, "forget") == 0) {
    return OND_DELIVERED_FORGET;
  }
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid value for argument \"delivered\": \"%s\"", word),
                  errhint("Use 'keep' (the destination has these rows already) or 'forget' (it has none of them).")));
}

static void check_login(Oid owner, const char *name) {
  HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
  bool login = HeapTupleIsValid(tuple) && ((Form_pg_authid)GETSTRUCT(tuple))->rolcanlogin;

  if (HeapTupleIsValid(tuple)) {
    ReleaseSysCache(tuple);
  }
  if (!login && OND_COMPAT_OWNER_NEEDS_LOGIN) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION), errmsg("role \"%s\" cannot own syncs: it may not log in", name),
                    errdetail("Runs are sessions of the owner, which needs the LOGIN attribute before PostgreSQL 17."),
                    errhint("ALTER ROLE %s LOGIN (it needs no password), or create the sync as another role.", quote_identifier(name))));
  }
}

void ond_owner_check(Oid owner) {
  char *name = GetUserNameFromId(owner, false);

  check_login(owner, name);
  if (!superuser_arg(owner)) {
    return;
  }
  if (!ond_setting_allow_superuser_owner) {
    ereport(ERROR,
            (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("role \"%s\" cannot own syncs: it is a superuser", name),
             errdetail("ondatra.allow_superuser_owner is off."), errhint("SET ROLE to a role that may only read what the model needs.")));
  }
  ereport(WARNING,
          (errmsg("the sync's owner \"%s\" is a superuser", name),
           errdetail("Each run reads the model with the owner's rights: views and functions that it reaches, whoever owns or changes them, "
                     "run as superuser."),
           errhint("Create syncs as a role that may only read what their models need.")));
}
