/*
 * script.c - see script.h.
 *
 * A call in a run worker: transaction, subtransaction, scope of the owner, function. The subtransaction takes the error, so that the transaction commits: an abort
 * of the whole would give up the session's run lock.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "catalog/session.h"
#include "compat.h"
#include "engine/execute.h"
#include "engine/run.h"
#include "engine/script.h"
#include "engine/watch.h"

/* --- finding ---------------------------------------------------------------------------------------------- */

static List *split_name(const char *option, const char *name) {
  List *parts, *names = NIL;
  ListCell *cell;

  if (!SplitIdentifierString(pstrdup(name), '.', &parts) || list_length(parts) < 1 || list_length(parts) > 2)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\" is not the name of a function: \"%s\"", option, name),
                    errhint("Give the name alone, with its schema if need be, such as {\"%s\": \"mart.%s_contacts\"}.", option, option)));
  foreach (cell, parts)
    names = lappend(names, makeString(pstrdup(lfirst(cell))));
  return names;
}

static void check_function(const char *option, const char *name, const Form_pg_proc proc, bool returns_jsonb) {
  if (proc->prokind != PROKIND_FUNCTION || proc->proretset)
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("option \"%s\": %s(jsonb) is not a function with one result", option, name),
                    errhint("Declare it as FUNCTION %s(jsonb) RETURNS %s.", name, returns_jsonb ? "jsonb" : "void")));
  if (returns_jsonb && proc->prorettype != JSONBOID)
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("option \"%s\": function %s(jsonb) returns %s", option, name, format_type_be(proc->prorettype)),
                    errhint("It must return jsonb.")));
  if (isTempNamespace(proc->pronamespace))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("option \"%s\": function %s(jsonb) is temporary", option, name),
                    errdetail("Runs are other sessions and cannot see it.")));
}

char *ond_script_find(const char *option, const char *name, bool returns_jsonb) {
  Oid argument[1] = {JSONBOID};
  Oid function = LookupFuncName(split_name(option, name), 1, argument, true);
  HeapTuple tuple;
  Form_pg_proc proc;
  char *sql;

  if (!OidIsValid(function))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg("option \"%s\": function %s(jsonb) does not exist", option, name),
                    errhint("It takes one jsonb and returns %s; a name without a schema is looked for in the search_path of the sync's creation.", returns_jsonb ? "jsonb" : "void")));
  tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
  if (!HeapTupleIsValid(tuple))
    elog(ERROR, "cache lookup failed for function %u", function);
  proc = (Form_pg_proc)GETSTRUCT(tuple);
  check_function(option, name, proc, returns_jsonb);
  if (!ond_compat_can_execute(function, GetUserId()))
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("option \"%s\": the sync's owner may not execute function %s(jsonb)", option, name),
                    errhint("GRANT EXECUTE ON FUNCTION %s(jsonb) TO %s.", name, quote_identifier(GetUserNameFromId(GetUserId(), false)))));
  sql = pstrdup(quote_qualified_identifier(get_namespace_name(proc->pronamespace), NameStr(proc->proname)));
  ReleaseSysCache(tuple);
  return sql;
}

/* Timers count milliseconds: they can be early by one. */
#define EARLY_US 1000

/* The time of a call is over, and nobody asked it to stop before that. */
static bool is_over(const OndScriptHost *host, int64 deadline) {
  return deadline > 0 && ond_clock_us() + EARLY_US >= deadline && !host->stop_asked();
}

/* --- errors ----------------------------------------------------------------------------------------------- */

/* Whether an error may be about the values that the function was given: those of conditions that the data or the function itself raise. */
static bool may_be_data(int sqlstate) {
  switch (ERRCODE_TO_CATEGORY(sqlstate)) {
    case ERRCODE_DATA_EXCEPTION:
    case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
    case ERRCODE_NO_DATA:
    case ERRCODE_CARDINALITY_VIOLATION:
    case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
    case ERRCODE_EXTERNAL_ROUTINE_EXCEPTION:
    case ERRCODE_PLPGSQL_ERROR:
    case ERRCODE_CASE_NOT_FOUND: return true;
    default: return false;
  }
}

static OndScriptEnd end_of(const OndScriptHost *host, const OndScriptUse *use, int64 deadline, const ErrorData *error, OndError *err) {
  bool cancelled = error->sqlerrcode == ERRCODE_QUERY_CANCELED;

  if (cancelled && is_over(host, deadline))
    ond_error_set(err, "%s function %s took too long", use->option, use->function);
  else
    ond_error_set(err, "%s function %s failed: %s", use->option, use->function, error->message);
  strlcpy(err->sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(err->sqlstate));
  if (error->detail != NULL)
    ond_error_detail(err, "%s", error->detail);
  else if (error->context != NULL)
    ond_error_detail(err, "%s", error->context);
  if (error->hint != NULL)
    ond_error_hint(err, "%s", error->hint);
  if (cancelled && strstr(err->message, "took too long") != NULL)
    ond_error_hint(err, "Option statement_timeout of the sync says how long it may take.");
  else if (cancelled)
    return OND_SCRIPT_CANCELLED;
  return may_be_data(error->sqlerrcode) ? OND_SCRIPT_FAILED : OND_SCRIPT_BROKEN;
}

/* --- calling ---------------------------------------------------------------------------------------------- */

static int64 call_deadline(const OndScriptHost *host) {
  int64 ms = host->sync->options.statement_timeout_ms > 0 ? host->sync->options.statement_timeout_ms : ond_model_timeout_ms() > 0 ? ond_model_timeout_ms() : OND_SCRIPT_TIMEOUT_MS;
  int64 deadline = ond_clock_us() + ms * 1000;

  return host->deadline_us > 0 ? Min(deadline, host->deadline_us) : deadline;
}

/* The function's argument, in the current context. */
static Datum ask(const OndScriptUse *use) {
  StringInfoData s;

  initStringInfo(&s);
  use->ask(&s, use->arg);
  return DirectFunctionCall1(jsonb_in, CStringGetDatum(pg_any_to_server(s.data, s.len, PG_UTF8)));
}

/* SELECT function($1) as the owner; its result in `context`, NULL where it is NULL or none is wanted. */
static Jsonb *execute(const OndScriptHost *host, const OndScriptUse *use, Datum argument, bool read_only, MemoryContext context) {
  Oid types[1] = {JSONBOID};
  Jsonb *result = NULL;
  OndScope scope;
  bool isnull;
  Datum d;

  ond_owner_begin(&scope, host->sync->owner, host->sync->model_search_path, true);
  ond_execute_pin();
  XactReadOnly = read_only;
  if (SPI_execute_with_args(psprintf("SELECT %s($1)", use->function), 1, types, &argument, NULL, read_only, 1) != SPI_OK_SELECT || SPI_processed != 1)
    elog(ERROR, "could not call %s", use->function);
  d = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
  if (read_only && !isnull) {
    MemoryContextSwitchTo(context);
    result = DatumGetJsonbPCopy(d);
  }
  ond_owner_end(&scope);
  return result;
}

/* The function in a subtransaction; NULL: done, else its error in `context`. */
static ErrorData *try_call(const OndScriptHost *host, const OndScriptUse *use, MemoryContext context) {
  ResourceOwner owner = CurrentResourceOwner;
  MemoryContext saved = CurrentMemoryContext;
  ErrorData *volatile error = NULL;

  BeginInternalSubTransaction(NULL);
  PG_TRY();
  {
    Jsonb *result = execute(host, use, ask(use), true, context);

    MemoryContextSwitchTo(context);
    use->take(result, use->arg);
    ReleaseCurrentSubTransaction();
  }
  PG_CATCH();
  {
    ond_watch_end();
    MemoryContextSwitchTo(context);
    error = CopyErrorData();
    FlushErrorState();
    RollbackAndReleaseCurrentSubTransaction();
  }
  PG_END_TRY();
  MemoryContextSwitchTo(saved);
  CurrentResourceOwner = owner;
  return error;
}

static void begin_transaction(int isolation, bool read_only) {
  SetCurrentStatementStartTimestamp();
  StartTransactionCommand();
  XactIsoLevel = isolation;
  XactReadOnly = read_only;
  XactDeferrable = false;
  PushActiveSnapshot(GetTransactionSnapshot());
}

/* Somebody's wish to stop, which the error of a function has answered or not, is still to be seen by those who asked for the call; its time-out is not. */
static void renew_cancel(const OndScriptHost *host, int64 deadline, const ErrorData *error) {
  if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
    QueryCancelPending = true;
  if (is_over(host, deadline))
    QueryCancelPending = false;
}

static ErrorData *call_in_worker(const OndScriptHost *host, const OndScriptUse *use, int64 deadline) {
  MemoryContext context = CurrentMemoryContext;
  uint32 held = QueryCancelHoldoffCount;
  ErrorData *error;

  begin_transaction(XACT_REPEATABLE_READ, true);
  QueryCancelHoldoffCount = 0; /* what holds cancels off while something is sent must not hold off those of the function */
  ond_watch_begin(deadline, host->stop_asked);
  error = try_call(host, use, context);
  ond_watch_end();
  renew_cancel(host, deadline, error);
  QueryCancelHoldoffCount = held;
  PopActiveSnapshot();
  CommitTransactionCommand();
  MemoryContextSwitchTo(context);
  return error;
}

OndScriptEnd ond_script_call(const OndScriptHost *host, const OndScriptUse *use, OndError *err) {
  int64 deadline = host->of_caller ? 0 : call_deadline(host);
  ErrorData *error = host->of_caller ? try_call(host, use, CurrentMemoryContext) : call_in_worker(host, use, deadline);

  if (error == NULL)
    return OND_SCRIPT_DONE;
  if (host->of_caller && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
    ReThrowError(error);
  return end_of(host, use, deadline, error, err);
}

/* --- finalize --------------------------------------------------------------------------------------------- */

static void finalize(const OndScriptHost *host, const OndScriptUse *use) {
  begin_transaction(XACT_READ_COMMITTED, false);
  (void)execute(host, use, ask(use), false, NULL);
  ond_watch_end();
  PopActiveSnapshot();
  CommitTransactionCommand();
}

OndScriptEnd ond_script_finalize(const OndScriptHost *host, const OndScriptUse *use, OndError *err) {
  MemoryContext context = CurrentMemoryContext;
  volatile int64 deadline = call_deadline(host);
  volatile OndScriptEnd end = OND_SCRIPT_DONE;

  PG_TRY();
  {
    ond_watch_begin(deadline, host->stop_asked);
    finalize(host, use);
  }
  PG_CATCH();
  {
    ErrorData *error;

    ond_watch_end();
    MemoryContextSwitchTo(context);
    error = CopyErrorData();
    FlushErrorState();
    AbortCurrentTransaction();
    MemoryContextSwitchTo(context);
    end = end_of(host, use, deadline, error, err);
  }
  PG_END_TRY();
  MemoryContextSwitchTo(context);
  return end == OND_SCRIPT_BROKEN ? OND_SCRIPT_FAILED : end;
}
