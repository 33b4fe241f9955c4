/*
 * run_lock.c - the run lock: one run or one edit of a sync at a time.
 *
 * A heavyweight lock whose tag is (this database, ondatra.all_syncs, sync_id). Runs hold it for the session, so that it spans their
 * transactions and dies with their process; edits hold it for the transaction. Unlike an advisory lock it can neither be taken nor
 * released by SQL of users (pg_advisory_unlock_all and a squatted key do not touch it).
 *
 * Runs never wait for it. Edits refuse while a run has it and wait for each other: for a second by trying again, so that a run which has
 * just begun and has not shown its row yet is still named, then in the lock manager's queue, where deadlocks between two edits are found.
 *
 * Does not: cancel runs (drop_sync in api/ does, before it takes the lock).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "catalog/session.h"
#include "catalog/sync.h"
#include "compat.h"

#define EDIT_TRIES    20
#define EDIT_PAUSE_MS 50

/* The lock this process holds for the session; a process runs one sync. */
static LOCKTAG session_tag;
static bool session_held;

static void make_tag(LOCKTAG *tag, int64 sync_id) {
  Assert(sync_id > 0 && sync_id <= PG_INT32_MAX);
  SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, ond_extension(false)->syncs_relid, (uint32)sync_id, 0);
}

bool ond_run_lock_session(int64 sync_id) {
  Assert(!session_held);
  make_tag(&session_tag, sync_id);
  session_held = LockAcquire(&session_tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
  return session_held;
}

bool ond_run_lock_regain(void) {
  if (ond_compat_lock_held_by_me(&session_tag, ExclusiveLock))
    return true;
  return LockAcquire(&session_tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

void ond_run_unlock_session(int64 sync_id) {
  if (session_held && session_tag.locktag_field3 == (uint32)sync_id) {
    session_held = false;
    LockRelease(&session_tag, ExclusiveLock, true);
  }
}

bool ond_run_lock_try_edit(int64 sync_id) {
  LOCKTAG tag;

  make_tag(&tag, sync_id);
  return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

bool ond_run_lock_is_mine(int64 sync_id) {
  LOCKTAG tag;

  make_tag(&tag, sync_id);
  return ond_compat_lock_held_by_me(&tag, ExclusiveLock);
}

/* An error when a run of the sync shows itself, whatever snapshot the caller's transaction has. */
static void refuse_beside_run(const OndSync *sync) {
  const char *sql = "SELECT run_id FROM ondatra.all_runs WHERE sync_id OPERATOR(pg_catalog.=) $1 AND finished_at IS NULL AND status "
                    "OPERATOR(pg_catalog.=) 'running' ORDER BY run_id DESC LIMIT 1";
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(sync->sync_id)};

  if (ond_spi_snapshot(sql, 1, types, values, NULL, GetLatestSnapshot()) > 0) {
    bool isnull;
    int64 run_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));

    ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("sync \"%s\" is running", sync->name),
                    errdetail("Run %lld is going on.", (long long)run_id),
                    errhint("Wait for its end, or call ondatra.cancel_run(%lld) first.", (long long)run_id)));
  }
}

void ond_run_lock_edit(const OndSync *sync) {
  LOCKTAG tag;

  make_tag(&tag, sync->sync_id);
  for (int i = 0; i < EDIT_TRIES; i++) {
    if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL) {
      return;
    }
    refuse_beside_run(sync);
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, EDIT_PAUSE_MS, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
  }
  (void)LockAcquire(&tag, ExclusiveLock, false, false);
}
