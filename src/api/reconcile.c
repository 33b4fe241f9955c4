/*
 * reconcile.c - reconcile_sync: a run worker lists the destination's records and compares them; what it finds comes back through a temporary file (worker/findings.h).
 *
 * It is waited for as run_sync does (run.c). It ends with its caller: nobody else would get what it finds.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "api/api.h"
#include "api/run_call.h"
#include "catalog/pg_type.h"
#include "worker/findings.h"

typedef struct Repair {
  const char *name;
  int bit;
} Repair;

static const Repair repairs[] = {
    {"adopt", OND_REPAIR_ADOPT}, {"missing", OND_REPAIR_MISSING}, {"different", OND_REPAIR_DIFFERENT}, {"extra", OND_REPAIR_EXTRA}};

/* --- arguments -------------------------------------------------------------------------------------------- */

static int repair_bit(const char *name) {
  for (int i = 0; i < (int)lengthof(repairs); i++)
    if (strcmp(repairs[i].name, name) == 0)
      return repairs[i].bit;
  ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" is nothing that can be repaired", name),
                  errhint("Valid are adopt, missing, different and extra.")));
}

static int repair_argument(FunctionCallInfo fcinfo, int n) {
  int repair = 0;
  Datum *names;
  bool *nulls;
  int count;

  if (PG_ARGISNULL(n))
    return 0;
  deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &count);
  for (int i = 0; i < count; i++) {
    if (nulls[i])
      ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("repair must not have NULLs in it"),
                      errhint("Valid are adopt, missing, different and extra.")));
    repair |= repair_bit(TextDatumGetCString(names[i]));
  }
  return repair;
}

static void refuse_repair(const OndSync *sync, const char *what, const char *why, const char *hint) {
  ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("sync \"%s\" cannot repair \"%s\"", sync->name, what),
                  errdetail("Mode %s never %s.", ond_mode_name(sync->mode), why), errhint("%s", hint)));
}

/* What the mode never sends nobody can have repaired. */
static void check_repair(const OndSync *sync, int repair) {
  const char *upsert = "update_sync() with mode upsert or mirror would.";

  if ((repair & OND_REPAIR_EXTRA) != 0 && sync->mode != OND_MODE_MIRROR)
    refuse_repair(sync, "extra", "deletes", "update_sync() with mode mirror would.");
  if ((repair & OND_REPAIR_MISSING) != 0 && sync->mode == OND_MODE_UPDATE)
    refuse_repair(sync, "missing", "creates", upsert);
  if ((repair & OND_REPAIR_DIFFERENT) != 0 && (sync->mode == OND_MODE_INSERT || sync->mode == OND_MODE_APPEND))
    refuse_repair(sync, "different", "updates", upsert);
}

/* --- the result ------------------------------------------------------------------------------------------- */

static Datum jsonb_of(const char *json) {
  return DirectFunctionCall1(jsonb_in, CStringGetDatum(pg_any_to_server(json, (int)strlen(json), PG_UTF8)));
}

static void take_finding(const char *key, const char *problem, const char *detail, void *arg) {
  ReturnSetInfo *result = arg;
  Datum values[3];
  bool nulls[3] = {strcmp(key, "null") == 0, false, false};

  CHECK_FOR_INTERRUPTS();
  values[0] = nulls[0] ? (Datum)0 : jsonb_of(key);
  values[1] = CStringGetTextDatum(problem);
  values[2] = jsonb_of(detail);
  tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static char *text_attribute(HeapTupleHeader row, const char *name) {
  bool isnull;
  Datum d = GetAttributeByName(row, name, &isnull);

  return isnull ? NULL : TextDatumGetCString(d);
}

/* A run's row has the hint behind the detail: cuts it off. */
static char *cut_hint(char *detail) {
  char *hint = detail == NULL ? NULL : strstr(detail, "Hint: ");

  if (hint == NULL)
    return NULL;
  if (hint > detail)
    hint[-1] = '\0';
  else
    *hint = '\0';
  return hint + strlen("Hint: ");
}

/* The run's end, as an error unless it is good. */
static void check_end(const OndSync *sync, HeapTupleHeader row) {
  char *status = text_attribute(row, "status");
  char *code = text_attribute(row, "error_code");
  char *message = text_attribute(row, "error_message");
  char *detail = text_attribute(row, "error_detail");
  char *hint = cut_hint(detail);

  if (strcmp(status, "succeeded") == 0)
    return;
  if (strcmp(status, "cancelled") == 0)
    ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("the reconciliation of sync \"%s\" was cancelled", sync->name)));
  ereport(ERROR, (errcode(code != NULL && strlen(code) == 5 ? MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4]) : ERRCODE_INTERNAL_ERROR),
                  errmsg("sync \"%s\" could not be reconciled: %s", sync->name, message != NULL ? message : status),
                  detail != NULL && *detail != '\0' ? errdetail("%s", detail) : 0, hint != NULL ? errhint("%s", hint) : 0));
}

static void say(const OndSync *sync, const OndReconcileCounts *c) {
  ereport(NOTICE, (errmsg("sync \"%s\": %lld records: %lld equal, %lld different, %lld extra, %lld missing, %lld duplicate; %lld adopted, %lld marked for the next run",
                          sync->name, (long long)c->records, (long long)c->equal, (long long)c->different, (long long)c->extra, (long long)c->missing,
                          (long long)c->duplicate, (long long)c->adopted, (long long)c->marked)));
}

/* reconcile_sync(name text, repair text[]) */
PG_FUNCTION_INFO_V1(ond_sql_reconcile_sync);
Datum ond_sql_reconcile_sync(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "sync");
  int repair = repair_argument(fcinfo, 1);
  OndRunCall *call = palloc0(sizeof(OndRunCall));
  ReturnSetInfo *result;

  ond_run_call_check("ondatra.reconcile_sync()");
  InitMaterializedSRF(fcinfo, 0);
  result = (ReturnSetInfo *)fcinfo->resultinfo;
  call->wait = true;
  call->deadline = DT_NOEND;
  call->sync = ond_run_call_find(name, GetUserId());
  check_repair(call->sync, repair);
  ond_run_call_request(call, OND_TRIGGER_RECONCILE);
  call->request.reconcile = true;
  call->share = ond_findings_create(repair);
  check_end(call->sync, DatumGetHeapTupleHeader(ond_run_call_wait(call)));
  say(call->sync, ond_findings_read(call->share, take_finding, result));
  dsm_detach(call->share);
  return (Datum)0;
}
