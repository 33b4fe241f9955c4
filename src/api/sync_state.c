/*
 * sync_state.c - drop_sync, pause_sync, resume_sync, archive_sync, restore_sync.
 *
 * Pausing does not take the run lock: it must work while a run goes on, and that run ends as it would have. Dropping cancels the run
 * first and then takes the lock; the table of states is in catalog/lifecycle.c.
 *
 * A run that is cancelled still writes its end, and may wait for this transaction to do so (BEGIN; pause_sync; drop_sync). Nothing of it is of use
 * once the sync is dropped: such a run is terminated.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

#include "api/api.h"
#include "catalog/edit.h"
#include "engine/state_table.h"
#include "worker/cron.h"
#include "worker/shared.h"

#define DROP_PAUSE_MS 20
#define DROP_TRIES    50 /* without a run in sight */
#define DROP_BLOCKED  10 /* looks at a run that was cancelled and waits for us */

/* Cancels runs until the run lock is ours. Cancellable; another edit is waited for. */
static void stop_runs(const OndSync *sync) {
  int tries = 0, blocked = 0;

  while (!ond_run_lock_try_edit(sync->sync_id)) {
    int64 run_id = 0;
    int pid = ond_sync_pid(MyDatabaseId, sync->sync_id, &run_id);

    if (pid != 0) {
      tries = 0;
      if (run_id != 0) {
        (void)ond_cancel_run(MyDatabaseId, run_id);
      }
      blocked = ond_waits_for_me(pid) != 0 ? blocked + 1 : 0;
      if (blocked > DROP_BLOCKED) {
        (void)ond_terminate_run(MyDatabaseId, sync->sync_id);
      }
    } else if (++tries > DROP_TRIES) {
      ond_run_lock_edit(sync);
      return;
    }
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, DROP_PAUSE_MS, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
  }
}

PG_FUNCTION_INFO_V1(ond_sql_drop_sync);
Datum ond_sql_drop_sync(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "sync");
  OndCall call;
  OndSync *sync;

  int64 stopped;

  ond_call_begin(&call);
  sync = ond_sync_get(name, call.user);
  do { /* somebody may have dropped it meanwhile, and created another one of that name */
    stopped = sync->sync_id;
    stop_runs(sync);
    sync = ond_sync_get(name, call.user);
  } while (sync->sync_id != stopped);
  ond_after_check_drop(sync);
  ond_sync_delete(sync->sync_id);
  ond_state_table_drop(sync->sync_id);
  if (ond_sync_has_cron(sync)) {
    ond_cron_follow(sync->sync_id, sync->owner);
  }
  ond_call_end(&call);
  PG_RETURN_VOID();
}

/* "paused by "alice"", and so on. */
static char *done_by(const char *word, Oid user) {
  return psprintf("%s by \"%s\"", word, GetUserNameFromId(user, false));
}

/* word: the reason's; NULL: no reason is kept. */
static Datum apply_event(FunctionCallInfo fcinfo, OndSyncEvent event, const char *word) {
  char *name = ond_arg_name(fcinfo, 0, "sync");
  OndCall call;
  OndSync *sync;
  bool moved;

  ond_call_begin(&call);
  sync = ond_sync_get(name, call.user);
  if (event == OND_EVENT_RESUME)
    ond_state_table_grant(sync);
  moved = ond_sync_event(sync->sync_id, event, word == NULL ? NULL : done_by(word, call.user));
  if (ond_sync_has_cron(sync)) {
    ond_cron_follow(sync->sync_id, sync->owner);
  }
  ond_call_end(&call);
  if (moved) {
    ond_wake_at_commit();
  } else {
    ereport(NOTICE, (event == OND_EVENT_RESUME ? errmsg("sync \"%s\" is not paused", name)
                                               : errmsg("sync \"%s\" is %s already", name, ond_sync_state_name(sync->state))));
  }
  PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(ond_sql_pause_sync);
Datum ond_sql_pause_sync(PG_FUNCTION_ARGS) {
  return apply_event(fcinfo, OND_EVENT_PAUSE, "paused");
}

PG_FUNCTION_INFO_V1(ond_sql_resume_sync);
Datum ond_sql_resume_sync(PG_FUNCTION_ARGS) {
  return apply_event(fcinfo, OND_EVENT_RESUME, NULL);
}

PG_FUNCTION_INFO_V1(ond_sql_archive_sync);
Datum ond_sql_archive_sync(PG_FUNCTION_ARGS) {
  return apply_event(fcinfo, OND_EVENT_ARCHIVE, "archived");
}

PG_FUNCTION_INFO_V1(ond_sql_restore_sync);
Datum ond_sql_restore_sync(PG_FUNCTION_ARGS) {
  return apply_event(fcinfo, OND_EVENT_RESTORE, "restored from the archive");
}
