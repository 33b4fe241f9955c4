/*
 * fetch.c - fetch(): the records of an object's list as a table source.
 *
 * Pages are asked for one after the other and go into a tuplestore, which spills to disk: memory is bounded by a page. It holds the caller's
 * transaction for as long as the API takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "catalog/utf8.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "api/api.h"
#include "api/caller.h"
#include "lib/stringinfo.h"
#include "utils/json.h"

typedef struct Fetch {
  OndCaller caller;
  OndPaging paging;
  OndListInput input;
  ReturnSetInfo *result;
  MemoryContext record;       /* reset for each */
  bool parts;                 /* hand over the record with its fields beside */
  const char *object;
} Fetch;

/* {{fields}}: the columns of the row type. */
static void fields_argument(FunctionCallInfo fcinfo, int n, Fetch *f) {
  StringInfoData json, joined;
  Datum *names;
  bool *nulls;
  int count;

  if (PG_NARGS() <= n || PG_ARGISNULL(n))
    return;
  deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &count);
  initStringInfo(&json);
  initStringInfo(&joined);
  appendStringInfoChar(&json, '[');
  for (int i = 0; i < count; i++) {
    char *name = ond_to_utf8(TextDatumGetCString(names[i]));

    appendStringInfo(&joined, "%s%s", i > 0 ? "," : "", name);
    appendStringInfoString(&json, i > 0 ? "," : "");
    escape_json(&json, name);
  }
  appendStringInfoChar(&json, ']');
  f->parts = true;
  f->input.fields = (OndBytes){json.data, (size_t)json.len};
  f->input.fields_text = (OndBytes){joined.data, (size_t)joined.len};
}

static const char *list_args(const OndConnector *c) {
  StringInfoData names;

  initStringInfo(&names);
  for (int i = 0; ond_connector_arg(c, i) != NULL; i++)
    appendStringInfo(&names, "%s\"%s\"", i > 0 ? ", " : "", ond_connector_arg(c, i));
  return names.len == 0 ? NULL : ond_words_from_utf8(names.data);
}

/* An argument that the list does not name would be ignored: an error. */
static void check_args(const Fetch *f, Jsonb *args) {
  JsonbIterator *it;
  JsonbValue v;
  JsonbIteratorToken token;

  if (!JB_ROOT_IS_OBJECT(args))
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("args must be a JSON object"), errhint("Use a form such as {\"since\": \"2026-01-01\"}.")));
  it = JsonbIteratorInit(&args->root);
  while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE) {
    bool known = false;
    char *name;

    if (token != WJB_KEY)
      continue;
    name = ond_to_utf8(pnstrdup(v.val.string.val, v.val.string.len));
    for (int i = 0; ond_connector_arg(f->caller.connector, i) != NULL && !known; i++)
      known = strcmp(ond_connector_arg(f->caller.connector, i), name) == 0;
    name = ond_words_from_utf8(name);
    if (!known) {
      const char *names = list_args(f->caller.connector);

      ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the list has no argument \"%s\"", name),
                      names == NULL ? errhint("It takes none.") : errhint("Its arguments are %s.", names)));
    }
  }
}

static void begin(Fetch *f, const OndDestination *d, Jsonb *args) {
  const OndList *list;

  ond_caller_open(&f->caller, d, f->object, false);
  list = ond_connector_list(f->caller.connector);
  if (list == NULL)
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    f->object == NULL ? errmsg("the object of destination \"%s\" has no \"list\"", d->name)
                                      : errmsg("object \"%s\" of destination \"%s\" has no \"list\"", f->object, d->name),
                    errhint("Describe it in \"list\" of the object, or call ondatra.request().")));
  if (args != NULL) {
    char *text = ond_to_utf8(JsonbToCString(NULL, &args->root, VARSIZE(args)));

    check_args(f, args);
    f->input.args = (OndBytes){text, strlen(text)};
  }
  ond_paging_init(&f->paging, f->caller.connector, list);
}

static Datum record_jsonb(OndBytes json) {
  char *text = pg_any_to_server(pnstrdup(json.p, json.n), (int)json.n, PG_UTF8);

  return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

static bool take_record(const OndRecord *record, void *arg) {
  Fetch *f = arg;
  MemoryContext saved = MemoryContextSwitchTo(f->record);
  Datum values[2];
  bool nulls[2] = {false, record->fields.p == NULL};

  values[0] = record_jsonb(record->json);
  values[1] = nulls[1] ? (Datum)0 : record_jsonb(record->fields);
  tuplestore_putvalues(f->result->setResult, f->result->setDesc, values, nulls);
  MemoryContextSwitchTo(saved);
  MemoryContextReset(f->record);
  return true;
}

/* json-c's objects are not in our memory: errors of jsonb_in must not jump over them. */
typedef struct Guarded {
  Fetch *fetch;
  ErrorData *error;
} Guarded;

static bool take_guarded(const OndRecord *record, void *arg) {
  Guarded *g = arg;
  MemoryContext saved = CurrentMemoryContext;
  bool ok = true;

  PG_TRY();
  { ok = take_record(record, g->fetch); }
  PG_CATCH();
  {
    MemoryContextSwitchTo(saved);
    g->error = CopyErrorData();
    FlushErrorState();
    ok = false;
  }
  PG_END_TRY();
  return ok;
}

static void wait_for_report(Fetch *f) {
  OndError err = {0};
  int64 us = ond_paging_wait_us(&f->paging, ond_clock_us(), &err);

  if (us < 0)
    ond_raise(&err);
  ond_caller_wait(us);
}

static void read_pages(Fetch *f) {
  OndError err = {0};

  while (f->paging.more) {
    const OndOperationInfo *info = ond_operation_info(ond_paging_operation(&f->paging));
    Guarded guarded = {f, NULL};
    char label[100];
    bool ok;

    wait_for_report(f);
    ond_paging_label(&f->paging, label, sizeof(label));
    ond_http_request_free(&f->caller.request);
    ond_http_request_init(&f->caller.request);
    if (!ond_paging_render(&f->paging, &f->input, &f->caller.request, &err))
      ond_raise(&err);
    if (ond_caller_exchange(&f->caller, info->rate_group, &info->statuses, true, f->paging.foreign) != OND_ANSWER_READ)
      ond_caller_fail(&f->caller, label);
    ok = ond_paging_read(&f->paging, f->caller.response, f->parts, take_guarded, &guarded, &err);
    if (guarded.error != NULL)
      ReThrowError(guarded.error);
    if (!ok)
      ond_raise(&err);
    CHECK_FOR_INTERRUPTS();
  }
}

/* fetch(destination, object, args) and fetch_parts(destination, object, args, fields): the record, and with it its fields. */
PG_FUNCTION_INFO_V1(ond_sql_fetch);
Datum ond_sql_fetch(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "destination");
  char *object = ond_arg_text(fcinfo, 1);
  Fetch *f = palloc0(sizeof(Fetch));
  OndDestination *d;
  OndCall call;

  f->object = object != NULL && object[0] != '\0' ? object : NULL;
  fields_argument(fcinfo, 3, f);
  InitMaterializedSRF(fcinfo, f->parts ? 0 : MAT_SRF_USE_EXPECTED_DESC);
  f->result = (ReturnSetInfo *)fcinfo->resultinfo;
  f->record = AllocSetContextCreate(CurrentMemoryContext, "ondatra record", ALLOCSET_DEFAULT_SIZES);
  ond_call_begin(&call);
  d = ond_destination_get(name, call.user, OND_ACCESS_REQUEST);
  PG_TRY();
  {
    begin(f, d, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2));
    ond_call_end(&call);
    read_pages(f);
  }
  PG_FINALLY();
  {
    if (f->paging.list != NULL)
      ond_paging_free(&f->paging);
    ond_caller_close(&f->caller);
  }
  PG_END_TRY();
  return (Datum)0;
}
