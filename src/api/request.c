/*
 * request.c - request(): one call to a destination's API, for flows that no connector describes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "catalog/utf8.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "api/api.h"
#include "api/caller.h"
#include "engine/answer.h"

#define COLUMNS 4 /* status, headers, body, body_text */

static bool is_safe(const char *method) {
  return pg_strcasecmp(method, "GET") == 0 || pg_strcasecmp(method, "HEAD") == 0 || pg_strcasecmp(method, "OPTIONS") == 0;
}

/* The body as jsonb; NULL where it is no JSON that the server takes. */
static bool body_jsonb(const char *text, Datum *out) {
  MemoryContext saved = CurrentMemoryContext;
  volatile bool ok = true;

  PG_TRY();
  { *out = DirectFunctionCall1(jsonb_in, CStringGetDatum(text)); }
  PG_CATCH();
  {
    MemoryContextSwitchTo(saved);
    if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
      PG_RE_THROW();
    FlushErrorState();
    ok = false;
  }
  PG_END_TRY();
  return ok;
}

static Datum result(FunctionCallInfo fcinfo, const OndCaller *c) {
  const OndHttpResponse *r = c->response;
  TupleDesc desc;
  Datum values[COLUMNS];
  bool nulls[COLUMNS] = {false};
  char *text, *headers;

  if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != COLUMNS)
    elog(ERROR, "request is declared with another result");
  text = ond_caller_text(c, r->body.data, r->body.len);
  values[0] = Int32GetDatum(r->status);
  headers = ond_answer_headers(r);
  values[1] = DirectFunctionCall1(jsonb_in, CStringGetDatum(ond_caller_text(c, headers, strlen(headers))));
  nulls[2] = text[0] == '\0' || !body_jsonb(text, &values[2]);
  values[3] = CStringGetTextDatum(text);
  return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static OndBytes json_argument(FunctionCallInfo fcinfo, int n) {
  char *text = ond_arg_json(fcinfo, n);

  if (text != NULL)
    text = ond_to_utf8(text);
  return text == NULL ? OND_BYTES_NONE : (OndBytes){text, strlen(text)};
}

/* request(destination, method, path, body, headers) */
PG_FUNCTION_INFO_V1(ond_sql_request);
Datum ond_sql_request(PG_FUNCTION_ARGS) {
  char *name = ond_arg_name(fcinfo, 0, "destination");
  char *method = ond_arg_required(fcinfo, 1, "method");
  char *path = ond_to_utf8(ond_arg_required(fcinfo, 2, "path"));
  OndCaller *c = palloc0(sizeof(OndCaller));
  Datum row = (Datum)0;
  OndDestination *d;
  OndError err = {0};
  OndCall call;

  ond_call_begin(&call);
  d = ond_destination_get(name, call.user, OND_ACCESS_REQUEST);
  PG_TRY();
  {
    ond_caller_open(c, d, NULL, true);
    ond_call_end(&call);
    if (!ond_connector_render_free(c->connector, method, path, json_argument(fcinfo, 4), json_argument(fcinfo, 3), &c->request, &err))
      ond_raise(&err);
    (void)ond_caller_exchange(c, 0, NULL, is_safe(method), false);
    if (c->response->transfer != OND_TRANSFER_OK)
      ond_caller_fail(c, "the answer");
    row = result(fcinfo, c);
  }
  PG_FINALLY();
  { ond_caller_close(c); }
  PG_END_TRY();
  PG_RETURN_DATUM(row);
}
