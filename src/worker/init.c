/*
 * init.c - the library's entry: settings, hooks, the launcher's registration.
 *
 * Loaded at server start it does all of that; loaded later, by the first call of one of our functions, only the settings and the
 * transaction callback: without shared memory there are no workers, and what needs them says so (ond_state_require).
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/builtins.h"

#include "catalog/settings.h"
#include "core/mem.h"
#include "worker/init.h"
#include "worker/shared.h"
#include "worker/state.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;
static object_access_hook_type previous_object_access = NULL;

static void request(void) {
  if (previous_request != NULL)
    previous_request();
  ond_state_request();
}

static void startup(void) {
  if (previous_startup != NULL)
    previous_startup();
  ond_state_startup();
}

static void object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg) {
  if (previous_object_access != NULL)
    previous_object_access(access, class_id, object_id, sub_id, arg);
  if (access == OAT_DROP && class_id == DatabaseRelationId)
    ond_forget_at_commit(object_id);
  if (access == OAT_DROP && class_id == AuthIdRelationId)
    ond_look_everywhere_at_commit();
  if ((access == OAT_DROP || access == OAT_POST_ALTER) && class_id == ExtensionRelationId) {
    char *name = get_extension_name(object_id);

    if (name == NULL || strcmp(name, "ondatra") != 0)
      return;
    if (access == OAT_DROP)
      ond_drop_at_commit();
    else if (ond_state != NULL)
      ond_wake_at_commit(); /* it may be of the library's version now */
  }
}

static void register_launcher(void) {
  BackgroundWorker worker;

  ond_worker_describe(&worker, "ond_launcher_main", "ondatra launcher", NULL, (Datum)0);
  worker.bgw_restart_time = 5;
  worker.bgw_notify_pid = 0; /* the postmaster itself */
  RegisterBackgroundWorker(&worker);
}

static void out_of_memory(size_t bytes) {
  ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"), errdetail("Failed on request of size %zu.", bytes)));
}

void _PG_init(void) {
  if (IsBinaryUpgrade)
    return;
  ond_mem_set_oom_handler(out_of_memory);
  ond_settings_define();
  RegisterXactCallback(ond_state_xact_callback, NULL);
  if (!process_shared_preload_libraries_in_progress)
    return;
  previous_request = shmem_request_hook;
  shmem_request_hook = request;
  previous_startup = shmem_startup_hook;
  shmem_startup_hook = startup;
  previous_object_access = object_access_hook;
  object_access_hook = object_access;
  register_launcher();
}
