/*
 * compat.h - what differs between the server versions that are supported (15 to 18): the one header that looks at PG_VERSION_NUM.
 */
#ifndef OND_COMPAT_H
#define OND_COMPAT_H

#include "postgres.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/relcache.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#if PG_VERSION_NUM < 150000
#error "ondatra needs PostgreSQL 15 or newer"
#endif

/* Before 17 a background worker cannot log in as a role without LOGIN. */
#if PG_VERSION_NUM < 170000
#define OND_COMPAT_OWNER_NEEDS_LOGIN   true
#define OND_COMPAT_OWNER_CONNECT_FLAGS 0
#else
#define OND_COMPAT_OWNER_NEEDS_LOGIN   false
#define OND_COMPAT_OWNER_CONNECT_FLAGS BGWORKER_BYPASS_ROLELOGINCHECK
#endif

/* True when this process holds the lock in this mode. */
static inline bool ond_compat_lock_held_by_me(const LOCKTAG *tag, LOCKMODE mode) {
#if PG_VERSION_NUM < 170000
  return LockHeldByMe(tag, mode);
#else
  return LockHeldByMe(tag, mode, false);
#endif
}

/* Runs a query to its end. */
static inline void ond_compat_executor_run(QueryDesc *query) {
#if PG_VERSION_NUM < 180000
  ExecutorRun(query, ForwardScanDirection, 0, true);
#else
  ExecutorRun(query, ForwardScanDirection, 0);
#endif
}

/* The index of the table's primary key; InvalidOid: it has none, or a deferrable one. */
static inline Oid ond_compat_primary_key(Relation table) {
#if PG_VERSION_NUM < 180000
  return RelationGetPrimaryKeyIndex(table);
#else
  return RelationGetPrimaryKeyIndex(table, false);
#endif
}

/* The session's transaction_timeout in milliseconds; 0: none, or a server that has no such setting. */
static inline int ond_compat_transaction_timeout(void) {
#if PG_VERSION_NUM < 170000
  return 0;
#else
  return TransactionTimeout;
#endif
}

/* May the role execute the function? */
static inline bool ond_compat_can_execute(Oid function, Oid role) {
#if PG_VERSION_NUM < 160000
  return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
  return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/* May the role connect to the database? */
static inline bool ond_compat_can_connect(Oid database, Oid role) {
#if PG_VERSION_NUM < 160000
  return pg_database_aclcheck(database, role, ACL_CONNECT) == ACLCHECK_OK;
#else
  return object_aclcheck(DatabaseRelationId, database, role, ACL_CONNECT) == ACLCHECK_OK;
#endif
}

/* Memory for what a setting's check hook leaves in *extra; the server frees it. NULL: there is none. */
static inline void *ond_compat_guc_malloc(size_t bytes) {
#if PG_VERSION_NUM < 160000
  return malloc(bytes);
#else
  return guc_malloc(LOG, bytes);
#endif
}

#endif
