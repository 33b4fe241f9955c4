/*
 * rewritten.c - see rewritten.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "engine/rewritten.h"

/* The row of pg_class as it is now, whatever the snapshot says; a relation without one was dropped by nobody: we hold its lock. */
static bool changed_since(Oid relid, Snapshot snapshot) {
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
  bool changed;

  if (!HeapTupleIsValid(tuple))
    return false;
  changed = XidInMVCCSnapshot(HeapTupleHeaderGetXmin(tuple->t_data), snapshot);
  ReleaseSysCache(tuple);
  return changed;
}

bool ond_rewritten_since(Snapshot snapshot) {
  LockData *locks = GetLockStatusData();
  bool found = false;

  for (int i = 0; i < locks->nelements && !found; i++) {
    const LockInstanceData *l = &locks->locks[i];

    if (l->pid == MyProcPid && l->holdMask != 0 && l->locktag.locktag_type == LOCKTAG_RELATION && l->locktag.locktag_field1 == MyDatabaseId &&
        l->locktag.locktag_field2 >= FirstNormalObjectId)
      found = changed_since(l->locktag.locktag_field2, snapshot);
  }
  return found;
}
