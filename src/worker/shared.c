/*
 * shared.c - makes and finds the shared memory; what backends do with it at the end of their transactions.
 *
 * Owns: ond_state and its lock.
 * Invariant: nothing in it must survive a crash; after a crash restart it is made anew, and the launcher asks every database.
 * Does not: know what is in it (databases.c, slot.c, budget.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "catalog/settings.h"
#include "worker/cron.h"
#include "worker/init.h"
#include "worker/state.h"

OndState *ond_state = NULL;

static bool wake_pending = false;
static char wake_name[NAMEDATALEN];
static bool drop_pending = false;
static Oid database_drop_pending = InvalidOid;
static bool look_everywhere_pending = false;

static int slots_max(void) {
  return ond_setting_max_workers + OND_ENDED_MAX;
}

static Size state_memory(void) {
  return MAXALIGN(add_size(offsetof(OndState, slots), mul_size(sizeof(OndSlot), slots_max())));
}

void ond_state_request(void) {
  RequestAddinShmemSpace(add_size(state_memory(), ond_budget_memory()));
  RequestNamedLWLockTranche("ondatra", 1 + ond_setting_max_destinations);
}

static void fill_state(LWLock *lock) {
  memset(ond_state, 0, state_memory());
  ond_state->lock = lock;
  ond_state->began_at = GetCurrentTimestamp();
  ond_state->n_slots = slots_max();
  for (int i = 0; i < ond_state->n_slots; i++) {
    ConditionVariableInit(&ond_state->slots[i].changed);
    SpinLockInit(&ond_state->slots[i].mutex);
    ond_state->slots[i].budget = -1;
  }
}

void ond_state_startup(void) {
  LWLockPadded *locks = GetNamedLWLockTranche("ondatra");
  bool found;

  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  ond_state = ShmemInitStruct("ondatra", state_memory(), &found);
  if (!found)
    fill_state(&locks[0].lock);
  ond_budget_startup(locks + 1);
  LWLockRelease(AddinShmemInitLock);
}

void ond_state_require(void) {
  if (ond_state == NULL)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("ondatra is not loaded at server start"),
                    errhint("Add ondatra to shared_preload_libraries and restart the server.")));
}

void ond_wake_at_commit(void) {
  static bool warned = false;
  char *name;

  if (ond_state == NULL) {
    if (!warned)
      ereport(WARNING, (errmsg("no sync runs in this server: ondatra is not loaded at its start"),
                        errhint("Add ondatra to shared_preload_libraries and restart the server.")));
    warned = true;
    return;
  }
  /* Looked up now: at commit nothing may fail. */
  name = get_database_name(MyDatabaseId);
  strlcpy(wake_name, name != NULL ? name : "", sizeof(wake_name));
  wake_pending = true;
}

void ond_drop_at_commit(void) {
  drop_pending = true;
}

void ond_look_everywhere_at_commit(void) {
  look_everywhere_pending = true;
}

void ond_forget_at_commit(Oid database) {
  database_drop_pending = database;
}

/* A prepared transaction keeps its locks and fires no callbacks: refused where it holds a run lock. */
static bool holds_run_lock(void) {
  const OndExtension *extension = ond_extension(true);
  LockData *locks;

  if (extension == NULL)
    return false;
  locks = GetLockStatusData();
  for (int i = 0; i < locks->nelements; i++) {
    const LockInstanceData *l = &locks->locks[i];

    if (l->pid == MyProcPid && l->holdMask != 0 && l->locktag.locktag_type == LOCKTAG_OBJECT && l->locktag.locktag_field1 == MyDatabaseId &&
        l->locktag.locktag_field2 == extension->syncs_relid)
      return true;
  }
  return false;
}

static void refuse_prepare(void) {
  if (!wake_pending && !drop_pending && !ond_cron_pending() && !holds_run_lock())
    return;
  ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("cannot PREPARE a transaction that changed or triggered a sync"),
                  errhint("Call the functions of ondatra in a transaction of its own, or COMMIT this one.")));
}

void ond_state_xact_callback(XactEvent event, void *arg) {
  switch (event) {
  case XACT_EVENT_PRE_PREPARE: refuse_prepare(); break;
  case XACT_EVENT_PRE_COMMIT: ond_cron_pre_commit(); break;
  case XACT_EVENT_COMMIT:
    /* The transaction is visible to others by now; nothing below can raise. */
    if (wake_pending)
      ond_database_wake(MyDatabaseId, wake_name);
    if (drop_pending && ond_state != NULL)
      ond_slot_disown_all(MyDatabaseId);
    if (OidIsValid(database_drop_pending) && ond_state != NULL)
      ond_database_forget(database_drop_pending);
    if (look_everywhere_pending && ond_state != NULL)
      ond_databases_relist();
    /* FALLTHROUGH */
  case XACT_EVENT_ABORT:
    wake_pending = false;
    drop_pending = false;
    database_drop_pending = InvalidOid;
    ond_cron_forget();
    look_everywhere_pending = false;
    ond_budget_at_xact_end();
    break;
  default: break;
  }
}
