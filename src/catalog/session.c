/*
 * session.c - switching identity and settings, the one place where it is done.
 *
 * Owns: the list of settings that are pinned for our own SQL and for the model.
 * Invariants: no user-defined code runs while the user is the extension's owner (the search_path is pg_catalog, pg_temp; triggers are off by
 * session_replication_role; restricted operation refuses SET ROLE and deferred triggers); what a model sets is undone with its nest level.
 * Does not: look at our tables (catalog/sync.c and others do).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

#include "catalog/session.h"
#include "catalog/utf8.h"
#include "compat.h"
#include "core/version.h"

typedef struct Setting {
  const char *name;
  const char *value;
} Setting;

/* What text forms depend on, and what could make parsing or waiting differ: the same for our SQL and for models. */
static const Setting common_settings[] = {
  {"DateStyle", "ISO, YMD"},
  {"IntervalStyle", "iso_8601"},
  {"TimeZone", "UTC"},
  {"extra_float_digits", "1"},
  {"bytea_output", "hex"},
  {"standard_conforming_strings", "on"},
  {"backslash_quote", "safe_encoding"},
  {"transform_null_equals", "off"},
  {"array_nulls", "on"},
  {"quote_all_identifiers", "off"},
  {"xmlbinary", "base64"},
  {"row_security", "on"},
  {NULL, NULL},
};

static const Setting our_settings[] = {
  {"search_path", "pg_catalog, pg_temp"},
  {"session_replication_role", "replica"},
  {"lock_timeout", "0"},
  {"jit", "off"},
  {"default_table_access_method", "heap"},
  {"default_tablespace", ""},
  {"check_function_bodies", "off"},
  {NULL, NULL},
};

static void pin(const char *name, const char *value) {
  (void)set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

static void pin_all(const Setting *settings) {
  for (; settings->name != NULL; settings++)
    pin(settings->name, settings->value);
}

void ond_pin_text_settings(void) {
  pin_all(common_settings);
}

static bool is_other_version(HeapTuple tuple, Relation rel, char *version, size_t size) {
  bool isnull;
  Datum d = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(rel), &isnull);

  strlcpy(version, isnull ? "" : text_to_cstring(DatumGetTextPP(d)), size);
  return strcmp(version, OND_VERSION) != 0;
}

static bool read_extension(OndExtension *out) {
  Relation rel = table_open(ExtensionRelationId, AccessShareLock);
  ScanKeyData key[1];
  SysScanDesc scan;
  HeapTuple tuple;
  bool found;

  ScanKeyInit(&key[0], Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("ondatra"));
  scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, key);
  tuple = systable_getnext(scan);
  found = HeapTupleIsValid(tuple);
  if (found) {
    Form_pg_extension form = (Form_pg_extension)GETSTRUCT(tuple);

    out->extension = form->oid;
    out->schema = get_namespace_oid("ondatra", true); /* made by the install script, which is in pg_catalog itself */
    out->owner = form->extowner;
    out->is_other = is_other_version(tuple, rel, out->version, sizeof(out->version));
  }
  systable_endscan(scan);
  table_close(rel, AccessShareLock);
  return found;
}

/* Tables and functions of another version are not what this library knows. What an install or upgrade script calls while it runs is its own affair. */
static void refuse_other_version(const OndExtension *extension, int level) {
  ereport(level, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                  errmsg("extension \"ondatra\" is of version %s in this database, and its library in this server of version %s", extension->version, OND_VERSION),
                  errdetail("Nothing is sent until they are the same."),
                  errhint("After a new package: restart the server, then ALTER EXTENSION ondatra UPDATE in each database.")));
}

const OndExtension *ond_extension(bool missing_ok) {
  static OndExtension extension;
  bool found = read_extension(&extension);

  if (found && extension.is_other && !creating_extension) {
    refuse_other_version(&extension, missing_ok ? LOG : ERROR);
    return NULL;
  }

  if (found)
    extension.syncs_relid = get_relname_relid("all_syncs", extension.schema);
  if (found && OidIsValid(extension.syncs_relid))
    return &extension;
  if (missing_ok)
    return NULL;
  ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("extension \"ondatra\" is not installed in this database"),
                  errhint("CREATE EXTENSION ondatra;")));
}

static int transaction_timeout_ms = 0;

static void release_locks(int code, Datum arg) {
  LockReleaseAll(DEFAULT_LOCKMETHOD, true);
}

void ond_session_locks_end_with_process(void) {
  before_shmem_exit(release_locks, 0); /* registered first, so it runs last: after the transaction is aborted */
}

static bool of_one_extension = false;
static Oid own_extension = InvalidOid;

void ond_session_of_one_extension(void) {
  of_one_extension = true;
}

/* The extension is locked. */
static void check_extension(void) {
  Oid extension = ond_extension(false)->extension;

  if (!of_one_extension)
    return;
  if (!OidIsValid(own_extension))
    own_extension = extension;
  if (own_extension != extension)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("extension \"ondatra\" was dropped and created anew")));
}

void ond_session_of_worker(const char *application_name) {
  SetConfigOption("application_name", application_name, PGC_USERSET, PGC_S_SESSION);
  transaction_timeout_ms = ond_compat_transaction_timeout();
  if (transaction_timeout_ms > 0)
    SetConfigOption("transaction_timeout", "0", PGC_USERSET, PGC_S_SESSION);
}

int ond_model_timeout_ms(void) {
  if (StatementTimeout == 0 || transaction_timeout_ms == 0)
    return Max(StatementTimeout, transaction_timeout_ms);
  return Min(StatementTimeout, transaction_timeout_ms);
}

void ond_our_begin(OndScope *scope, bool spi) {
  const OndExtension *extension = ond_extension(false);

  GetUserIdAndSecContext(&scope->saved_user, &scope->saved_sec_context);
  scope->saved_read_only = XactReadOnly;
  scope->guc_nest_level = NewGUCNestLevel();
  scope->spi = spi;
  SetUserIdAndSecContext(extension->owner,
                         scope->saved_sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
  pin_all(common_settings);
  pin_all(our_settings);
  if (spi && SPI_connect() != SPI_OK_CONNECT)
    elog(ERROR, "SPI_connect failed");
}

void ond_our_end(OndScope *scope) {
  if (scope->spi)
    SPI_finish();
  AtEOXact_GUC(false, scope->guc_nest_level);
  XactReadOnly = scope->saved_read_only;
  SetUserIdAndSecContext(scope->saved_user, scope->saved_sec_context);
}

/*
 * The list with pg_temp at its end, wherever it was: what the session has made for itself (types are looked for there first of all otherwise) must not
 * stand for what the model names, since a run, which has nothing temporary, would read something else.
 */
static char *temp_last(const char *search_path) {
  StringInfoData s;
  List *names;
  ListCell *cell;

  initStringInfo(&s);
  if (!SplitIdentifierString(pstrdup(search_path), ',', &names))
    return pstrdup(search_path); /* pinning it raises */
  foreach (cell, names)
    if (strcmp(lfirst(cell), "pg_temp") != 0)
      appendStringInfo(&s, "%s, ", quote_identifier(lfirst(cell)));
  appendStringInfoString(&s, "pg_temp");
  return s.data;
}

static void owner_begin(OndScope *scope, Oid owner, int sec_context, const char *search_path) {
  GetUserIdAndSecContext(&scope->saved_user, &scope->saved_sec_context);
  scope->saved_read_only = XactReadOnly;
  scope->guc_nest_level = NewGUCNestLevel();
  SetUserIdAndSecContext(owner, scope->saved_sec_context | sec_context);
  pin_all(common_settings);
  pin("search_path", temp_last(search_path));
}

void ond_owner_write_begin(OndScope *scope, Oid owner, const char *search_path, bool spi) {
  if (GetSessionUserId() != owner)
    elog(ERROR, "the session is not the owner's");
  owner_begin(scope, owner, 0, search_path);
  scope->spi = spi;
  if (spi && SPI_connect() != SPI_OK_CONNECT)
    elog(ERROR, "SPI_connect failed");
}

void ond_owner_begin(OndScope *scope, Oid owner, const char *search_path, bool spi) {
  owner_begin(scope, owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION, search_path);
  scope->spi = spi;
  /* not as a setting: from 16 on it cannot be set for a part of a transaction. Nobody can set it back once a snapshot was taken. */
  XactReadOnly = true;
  if (spi && SPI_connect() != SPI_OK_CONNECT)
    elog(ERROR, "SPI_connect failed");
}

void ond_owner_end(OndScope *scope) {
  /* false: what the model's functions set is undone, session-wide settings included */
  ond_our_end(scope);
}

static OndScope tx_scope;

void ond_tx_begin(void) {
  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  XactIsoLevel = XACT_READ_COMMITTED;
  XactReadOnly = false;
  XactDeferrable = false;
  PushActiveSnapshot(GetTransactionSnapshot());
  /* first of all locks, as in DROP EXTENSION: else the two could wait for each other's tables */
  LockDatabaseObject(ExtensionRelationId, ond_extension(false)->extension, 0, AccessShareLock);
  check_extension();
  ond_our_begin(&tx_scope, true);
  pin("synchronous_commit", "on");
}

void ond_tx_commit(void) {
  SPI_finish();
  PopActiveSnapshot();
  /* settings and user stay ours until the commit record is written: synchronous_commit counts, and nothing else runs in between */
  CommitTransactionCommand();
  SetUserIdAndSecContext(tx_scope.saved_user, tx_scope.saved_sec_context);
  pgstat_report_stat(true);
}

void ond_tx_commit_soon(void) {
  pin("synchronous_commit", "off");
  ond_tx_commit();
}

void ond_tx_abort(void) {
  AbortCurrentTransaction();
}

uint64 ond_spi(int expect, const char *sql, int nargs, Oid *types, Datum *values, const char *nulls) {
  MemoryContext caller = CurrentMemoryContext;
  int rc = SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0);

  MemoryContextSwitchTo(caller); /* SPI leaves its own */
  if (rc != expect)
    elog(ERROR, "unexpected SPI result %s of: %s", SPI_result_code_string(rc), sql);
  return SPI_processed;
}

uint64 ond_spi_snapshot(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls, Snapshot snapshot) {
  MemoryContext caller = CurrentMemoryContext;
  int rc;

  PushActiveSnapshot(snapshot);
  rc = SPI_execute_with_args(sql, nargs, types, values, nulls, true, 0);
  PopActiveSnapshot();
  MemoryContextSwitchTo(caller);
  if (rc != SPI_OK_SELECT)
    elog(ERROR, "unexpected SPI result %s of: %s", SPI_result_code_string(rc), sql);
  return SPI_processed;
}

void ond_raise(const OndError *e) {
  int code = ERRCODE_INVALID_PARAMETER_VALUE;

  const char *detail = ond_words_from_utf8(e->detail), *hint = ond_words_from_utf8(e->hint);

  if (strlen(e->sqlstate) == 5)
    code = MAKE_SQLSTATE(e->sqlstate[0], e->sqlstate[1], e->sqlstate[2], e->sqlstate[3], e->sqlstate[4]);
  ereport(ERROR, (errcode(code), errmsg("%s", ond_words_from_utf8(e->message)),
                  e->pointer[0] != '\0' && detail[0] != '\0' ? errdetail("At %s: %s", ond_words_from_utf8(e->pointer), detail)
                  : e->pointer[0] != '\0'                    ? errdetail("At %s.", ond_words_from_utf8(e->pointer))
                  : detail[0] != '\0'                        ? errdetail("%s", detail)
                                                             : 0,
                  hint[0] != '\0' ? errhint("%s", hint) : 0));
}
