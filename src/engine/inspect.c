/*
 * inspect.c - plan_sync, preview_sync, explain_sync, explain_row: what a run would do, without doing it.
 *
 * The model is read in the owner's read-only scope inside the caller's transaction; no socket is opened, no secret decrypted, nothing written. Send windows
 * that a dead run left are not folded here, so changes in doubt since then show as they were before.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog/session.h"
#include "catalog/settings.h"
#include "catalog/utf8.h"
#include "engine/cursor.h"
#include "engine/delivery.h"
#include "engine/diff.h"
#include "engine/encode.h"
#include "engine/execute.h"
#include "engine/guard.h"
#include "engine/inspect.h"
#include "engine/inspection.h"
#include "engine/script_request.h"
#include "engine/state_table.h"
#include "engine/statement.h"
#include "engine/way.h"

OndDestination *ond_inspect_destination(const OndSync *sync) {
  MemoryContext context = CurrentMemoryContext;
  OndScope scope;
  OndDestination *destination;

  ond_our_begin(&scope, true);
  MemoryContextSwitchTo(context);
  destination = ond_destination_load(sync->destination_id);
  ond_our_end(&scope);
  MemoryContextSwitchTo(context);
  if (destination == NULL)
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the destination of sync \"%s\" does not exist any more", sync->name)));
  ond_destination_check_use(sync, destination);
  return destination;
}

/* Enters the owner's scope with the sync compiled; SPI is connected, the current context is the caller's. */
OndSpec *ond_inspect_begin(const OndSync *sync, OndScope *scope) {
  MemoryContext context = CurrentMemoryContext;
  OndDestination *destination = ond_inspect_destination(sync);
  OndSpec *spec;

  ond_state_table_require(sync);
  ond_owner_begin(scope, sync->owner, sync->model_search_path, false);
  ond_execute_pin();
  spec = ond_spec_build(sync, ond_model_analyze(sync->model), destination);
  ond_spec_check_signature(spec);
  if (SPI_connect() != SPI_OK_CONNECT)
    elog(ERROR, "SPI_connect failed");
  MemoryContextSwitchTo(context);
  return spec;
}

void ond_inspect_end(OndScope *scope) {
  SPI_finish();
  ond_owner_end(scope);
}

/* Looks like a run's input, but ids begin at 1: they are shown, never sent. */
void ond_inspect_input(const OndSpec *spec, OndDiffInput *input) {
  memset(input, 0, sizeof(*input));
  input->spec = spec;
  input->policy.mode = spec->sync->mode;
  input->policy.on_leave = spec->sync->options.on_leave;
  input->policy.resend = spec->sync->resend;
  input->policy.now = ond_to_unix_us(GetCurrentTimestamp());
  input->policy.in_doubt_wait_us = ond_delivery_doubt_wait_us(spec);
  input->pass = ond_cursor_pass(spec->sync);
  input->change_id_base = 1;
}

/* --- plan ------------------------------------------------------------------------------------------------- */

void ond_plan_sync(const OndSync *sync, FunctionCallInfo fcinfo) {
  ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;
  static const OndVerdict shown[] = {OND_V_CREATE, OND_V_UPDATE, OND_V_DELETE, OND_V_UNCHANGED, OND_V_INVALID, OND_V_HELD_BACK, OND_V_SKIPPED};
  Datum values[9];
  bool nulls[9] = {false};
  OndDiffInput input;
  OndGuardInput guarded = {.sync = sync, .max_rows = -1};
  OndGuard guard;
  OndScope scope;
  OndSpec *spec = ond_inspect_begin(sync, &scope);
  const OndDiff *diff;

  ond_inspect_input(spec, &input);
  guarded.pass = input.pass;
  guarded.definition = ond_guard_definition(spec->model);
  input.adopt_known = sync->options.on_config_change == OND_CONFIG_REBASE && ond_guard_config_change(sync, guarded.definition) != NULL;
  guarded.diff = diff = ond_diff(&input);
  ond_inspect_end(&scope);
  ond_our_begin(&scope, true);
  guarded.deleted_lately = ond_guard_deleted_lately(sync->sync_id);
  ond_our_end(&scope);
  values[0] = Int64GetDatum(diff->rows_scanned);
  for (int i = 0; i < (int)lengthof(shown); i++)
    values[i + 1] = Int64GetDatum(diff->verdicts[shown[i]]);
  nulls[8] = !ond_guard_trips(&guarded, &guard);
  values[8] = nulls[8] ? (Datum)0 : CStringGetTextDatum(guard.message);
  tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* --- requests --------------------------------------------------------------------------------------------- */

static void free_auth(void *arg) {
  ond_auth_free(arg);
}

/* References look resolved, so that the request has its full form; nothing is decrypted. It ends with the current memory context, also after an error. */
static OndAuth *redacted_auth(const OndDestination *destination) {
  OndError err = {0};
  MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
  OndAuth *auth = ond_auth_parse(destination->auth, destination->auth == NULL ? 0 : strlen(destination->auth), &err);

  if (auth == NULL)
    ond_raise(&err);
  callback->func = free_auth;
  callback->arg = auth;
  MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
  ond_auth_redact(auth);
  return auth;
}

static Datum headers_jsonb(const OndHttpRequest *request, const OndAuth *auth) {
  StringInfoData s;

  initStringInfo(&s);
  appendStringInfoChar(&s, '{');
  for (int i = 0; i < request->n_headers; i++) {
    const OndHttpHeader *h = &request->headers[i];

    appendStringInfoString(&s, i > 0 ? ", " : "");
    ond_append_json_string(&s, h->name, strlen(h->name));
    appendStringInfoString(&s, ": ");
    if (ond_auth_is_credential_header(auth, h->name))
      appendStringInfoString(&s, "\"***\"");
    else
      ond_append_json_string(&s, h->value, strlen(h->value));
  }
  appendStringInfoChar(&s, '}');
  return DirectFunctionCall1(jsonb_in, CStringGetDatum(ond_from_utf8(s.data, s.len)));
}

static Datum keys_jsonb(OndChangeRow *const *rows, int n) {
  StringInfoData s;

  initStringInfo(&s);
  appendStringInfoChar(&s, '[');
  for (int i = 0; i < n; i++)
    appendStringInfo(&s, "%s%.*s", i > 0 ? ", " : "", (int)rows[i]->key_json.n, rows[i]->key_json.p);
  appendStringInfoChar(&s, ']');
  return DirectFunctionCall1(jsonb_in, CStringGetDatum(ond_from_utf8(s.data, s.len)));
}

static const OndOperation *first_operation(const OndSpec *spec, const OndChangeRow *row) {
  return ond_connector_route(spec->connector, ond_way_first(spec, row));
}

/* The same by the function that option render names. What is wrong with the function itself is an error. */
static bool render_by_function(const OndSpec *spec, OndChangeRow *const *changes, int n, const char *key, const OndAuth *auth, OndHttpRequest *request, int *bad, OndError *err) {
  OndScriptHost host = {.sync = spec->sync, .of_caller = true};
  OndScriptBatch batch = {spec, ond_way_first(spec, changes[0]), n, changes, 0, key};
  OndScriptEnd end = ond_script_render(&host, &batch, request, err);

  *bad = n == 1 ? 0 : -1;
  if (end == OND_SCRIPT_FAILED)
    return false;
  if (end != OND_SCRIPT_DONE)
    ond_raise(err);
  return ond_auth_apply(auth, request, err);
}

/*
 * Renders one request of n changes (of a job: its step) with credentials redacted; false and *bad as ond_connector_render(). What later steps learn from answers
 * is not known: they show where it stands.
 */
static bool render(const OndSpec *spec, OndChangeRow *const *changes, int n, int step, const OndAuth *auth, OndHttpRequest *request, int *bad, OndError *err) {
  const OndOperation *operation = first_operation(spec, changes[0]);
  const OndRow **rows = palloc(sizeof(OndRow *) * n);
  char key[33];
  OndRenderContext context = {.idempotency_key = key, .job_unknown = true};

  for (int i = 0; i < n; i++)
    rows[i] = &changes[i]->row;
  ond_delivery_request_key(spec->sync, changes, n, key);
  ond_http_request_init(request);
  ond_connector_use_auth(spec->connector, auth);
  if (spec->render != NULL && ond_way_first(spec, changes[0]) != OND_ROUTE_LOOKUP)
    return render_by_function(spec, changes, n, key, auth, request, bad, err);
  if (ond_operation_info(operation)->n_steps > 0)
    operation = ond_step_operation(operation, step);
  return ond_connector_render(spec->connector, operation, rows, n, &context, request, bad, err) && ond_auth_apply(auth, request, err);
}

static void put_request(ReturnSetInfo *rsinfo, int number, const char *operation, OndChangeRow *const *changes, int n, const OndHttpRequest *request, const OndAuth *auth) {
  Datum values[7];
  bool nulls[7] = {false};

  values[0] = Int32GetDatum(number);
  values[1] = CStringGetTextDatum(operation);
  values[2] = CStringGetTextDatum(request->method);
  values[3] = CStringGetTextDatum(ond_words_from_utf8(request->url));
  values[4] = headers_jsonb(request, auth);
  nulls[5] = request->body.data == NULL;
  values[5] = nulls[5] ? (Datum)0 : CStringGetTextDatum(ond_words_from_utf8(pnstrdup(request->body.data, request->body.len)));
  values[6] = keys_jsonb(changes, n);
  tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* "lookup", "create", or of a job "create: upload" */
static const char *shown_operation(const OndSpec *spec, const OndChangeRow *row, int step) {
  const OndStepInfo *info = ond_step_info(first_operation(spec, row), step);

  if (ond_way_first(spec, row) == OND_ROUTE_LOOKUP)
    return "lookup";
  return info == NULL ? ond_op_name(row->task.op) : psprintf("%s: %s", ond_op_name(row->task.op), info->name);
}

/* Shows the requests for n changes of one operation: one, or halves of it when it is too large. Rows that cannot be rendered are left out. */
static void preview_batch(ReturnSetInfo *rsinfo, const OndSpec *spec, const OndAuth *auth, OndChangeRow **changes, int n, int *number, int most) {
  OndHttpRequest request;
  OndError err = {0};
  int bad = -1;
  int steps = n == 0 ? 0 : Max(ond_operation_info(first_operation(spec, changes[0]))->n_steps, 1);
  bool ok = true;

  /* a job is shown as a whole, or not at all */
  for (int step = steps > 1 ? -steps : 0; ok && step < steps && *number < most; step++) {
    ok = render(spec, changes, n, step < 0 ? step + steps : step, auth, &request, &bad, &err);
    if (ok && step >= 0)
      put_request(rsinfo, ++*number, shown_operation(spec, changes[0], step), changes, n, &request, auth);
    ond_http_request_free(&request);
  }
  if (ok)
    return;
  if (bad < 0 && n == 1)
    bad = 0;
  if (bad >= 0) {
    ereport(NOTICE, (errmsg("row %s cannot be sent: %s", ond_from_utf8(changes[bad]->key_json.p, changes[bad]->key_json.n), ond_words_from_utf8(err.message))));
    memmove(changes + bad, changes + bad + 1, sizeof(OndChangeRow *) * (n - bad - 1));
    preview_batch(rsinfo, spec, auth, changes, n - 1, number, most);
  } else {
    preview_batch(rsinfo, spec, auth, changes, n / 2, number, most);
    preview_batch(rsinfo, spec, auth, changes + n / 2, n - n / 2, number, most);
  }
}

static const OndDeliveryOp *batch_policy(const OndDeliveryPolicy *policy, OndRoute route) {
  switch (route) {
    case OND_ROUTE_DELETE: return &policy->delete;
    case OND_ROUTE_UPDATE: return &policy->update;
    case OND_ROUTE_LOOKUP: return &policy->lookup;
    case OND_ROUTE_CREATE: break;
  }
  return &policy->create;
}

/* Whether a change goes out with those of the route and operation of a batch. */
static bool goes_along(const OndDeliveryPolicy *policy, OndRoute route, OndOp op, OndRoute other, OndOp other_op) {
  int group = batch_policy(policy, route)->group;

  return (route == other && op == other_op) || (group != 0 && batch_policy(policy, other)->group == group);
}

static void preview_store(ReturnSetInfo *rsinfo, const OndSpec *spec, const OndAuth *auth, OndStore *store, int most) {
  OndDeliveryPolicy policy;
  OndChangeRow *row;
  OndChangeRow **batch = NULL;
  int n = 0, number = 0;

  ond_delivery_policy(spec, &policy);
  ond_store_rewind(store, false);
  row = ond_store_next(store);
  while (row != NULL && number < most) {
    OndRoute route = ond_way_first(spec, row);
    const OndDeliveryOp *p = batch_policy(&policy, route);
    OndOp op = row->task.op;

    batch = palloc(sizeof(OndChangeRow *) * p->batch_rows);
    for (n = 0; row != NULL && goes_along(&policy, route, op, ond_way_first(spec, row), row->task.op) && n < p->batch_rows; row = ond_store_next(store)) {
      row->task.route = ond_way_first(spec, row);
      ond_delivery_row_key(spec->sync, row);
      batch[n++] = row;
    }
    preview_batch(rsinfo, spec, auth, batch, n, &number, most);
  }
}

void ond_preview_sync(const OndSync *sync, int max_requests, FunctionCallInfo fcinfo) {
  ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;
  OndAuth *auth = redacted_auth(ond_inspect_destination(sync));
  OndStore *store = ond_store_create();
  OndDiffInput input;
  OndScope scope;
  OndSpec *spec = ond_inspect_begin(sync, &scope);

  ond_inspect_input(spec, &input);
  input.store = store;
  (void)ond_diff(&input);
  ond_inspect_end(&scope);
  preview_store(rsinfo, spec, auth, store, max_requests);
  ond_store_reset(store);
}

/* --- explain ---------------------------------------------------------------------------------------------- */

void ond_explain_sync(const OndSync *sync, bool analyze, FunctionCallInfo fcinfo) {
  ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;
  OndDiffInput input;
  OndScope scope;
  OndSpec *spec = ond_inspect_begin(sync, &scope);

  ond_inspect_input(spec, &input);
  ond_execute_explain(ond_diff_statement(spec, input.pass, NULL), analyze);
  for (uint64 i = 0; i < SPI_processed; i++) {
    bool isnull;
    Datum line = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

    tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &line, &isnull);
  }
  ond_inspect_end(&scope);
}

/* --- explain_row ------------------------------------------------------------------------------------------ */

static const char *const verdict_names[OND_VERDICTS] = {
  [OND_V_UNCHANGED] = "unchanged",         [OND_V_CREATE] = "create",
  [OND_V_UPDATE] = "update",               [OND_V_INVALID] = "invalid",
  [OND_V_HELD_BACK] = "held back",         [OND_V_SKIPPED] = "skipped by the mode",
  [OND_V_PENDING] = "pending: another value is in doubt and may still arrive",
  [OND_V_DELETE] = "delete",               [OND_V_DELETE_HELD] = "delete held back",
  [OND_V_DELETE_LATER] = "delete pending: it failed, and its next attempt is not due",
  [OND_V_DELETE_PENDING] = "delete pending: another change is in doubt and may still arrive",
  [OND_V_FORGET] = "forget",               [OND_V_KEEP] = "not in the model, kept",
};

typedef struct Explanation {
  StringInfoData json;
  int rows;
} Explanation;

static void member(StringInfo s, const char *name) {
  if (s->data[s->len - 1] != '{')
    appendStringInfoString(s, ", ");
  ond_append_json_string(s, name, strlen(name));
  appendStringInfoString(s, ": ");
}

static void member_text(StringInfo s, const char *name, const char *value) {
  member(s, name);
  if (value == NULL)
    appendStringInfoString(s, "null");
  else
    ond_append_json_string(s, value, strlen(value));
}

static void member_hash(StringInfo s, const char *name, bool present, const OndHash *hash) {
  pg_uuid_t uuid;

  memcpy(uuid.data, hash->b, UUID_LEN);
  member_text(s, name, present ? DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&uuid))) : NULL);
}

static void member_time(StringInfo s, const char *name, int64 unix_us) {
  member_text(s, name, unix_us == OND_NEVER ? NULL : DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(ond_from_unix_us(unix_us)))));
}

static void append_state(StringInfo s, const OndObservation *o) {
  const OndKeyState *state = &o->state;

  member(s, "state");
  if (!o->has_state) {
    appendStringInfoString(s, "null");
    return;
  }
  appendStringInfoChar(s, '{');
  member_hash(s, "accepted", state->has_accepted, &state->accepted);
  member_hash(s, "refused", state->has_refused, &state->refused);
  if (state->has_refused) {
    member(s, "attempts");
    appendStringInfo(s, "%d", state->attempts);
    member_time(s, "next_attempt_at", state->retry_at);
  }
  if (state->doubt_op == OND_OP_NONE && state->sent_at != 0)
    member_time(s, "unanswered_at", state->sent_at);
  member_text(s, "remote_id", o->remote_id.p == NULL ? NULL : pnstrdup(o->remote_id.p, o->remote_id.n));
  if (o->kept.p != NULL) {
    member(s, "kept");
    appendStringInfo(s, "%.*s", (int)o->kept.n, o->kept.p);
  }
  appendStringInfoChar(s, '}');
  member(s, "doubt");
  if (state->doubt_op == OND_OP_NONE) {
    appendStringInfoString(s, "null");
    return;
  }
  appendStringInfoChar(s, '{');
  member_text(s, "operation", ond_op_name(state->doubt_op));
  member_hash(s, "hash", true, &state->doubt_hash);
  member_time(s, "sent_at", state->sent_at);
  if (state->held)
    member_text(s, "held", "until retry_failed()");
  appendStringInfoChar(s, '}');
}

/* Several rows of the model with this key: the last one is shown, and how many there are. */
static void explain_observation(const OndObservation *o, void *arg) {
  Explanation *e = arg;
  StringInfo s = &e->json;

  e->rows++;
  resetStringInfo(s);
  appendStringInfoChar(s, '{');
  member_text(s, "verdict", o->plan.verdict == OND_V_PENDING && o->problem != NULL ? "pending: waits for another sync" : verdict_names[o->plan.verdict]);
  member_text(s, "problem", o->problem);
  member_hash(s, "hash", o->presence == OND_MODEL_ROW, &o->hash);
  member(s, "fields");
  appendStringInfo(s, "%.*s", o->fields.p == NULL ? 4 : (int)o->fields.n, o->fields.p == NULL ? "null" : o->fields.p);
  append_state(s, o);
}

static void append_failure(StringInfo s, const OndSync *sync, const char *key_json) {
  Oid types[2] = {INT8OID, TEXTOID};
  Datum values[2] = {Int64GetDatum(sync->sync_id), CStringGetTextDatum(key_json)};
  OndScope scope;

  member(s, "failure");
  ond_our_begin(&scope, true);
  if (ond_spi(SPI_OK_SELECT,
              "SELECT (pg_catalog.to_jsonb(f) OPERATOR(pg_catalog.-) '{sync_id,key,payload,before}'::text[])::text FROM ondatra.all_failed_rows f"
              " WHERE f.sync_id OPERATOR(pg_catalog.=) $1 AND f.key OPERATOR(pg_catalog.=) $2::pg_catalog.jsonb",
              2, types, values, NULL) == 1)
    appendStringInfoString(s, ond_to_utf8(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)));
  else
    appendStringInfoString(s, "null");
  ond_our_end(&scope);
}

static void append_model_row(StringInfo s, const OndSpec *spec, const char *key_json) {
  StringInfoData sql;

  initStringInfo(&sql);
  appendStringInfo(&sql, "SELECT pg_catalog.to_jsonb(q)::pg_catalog.text FROM (\n%s\n) q WHERE ", spec->model->query);
  for (int i = 0; i < spec->n_keys; i++) {
    appendStringInfo(&sql, "%s(%s)::%s OPERATOR(pg_catalog.=) ", i > 0 ? " AND " : "", spec->values[spec->keys[i].value].sql, spec->keys[i].type_sql);
    ond_append_key_from_json(&sql, psprintf("%s::pg_catalog.jsonb", quote_literal_cstr(key_json)), spec->keys[i].name, spec->keys[i].type_sql);
  }
  if (SPI_execute(sql.data, true, 1) != SPI_OK_SELECT)
    elog(ERROR, "could not read the row of the model");
  member(s, "model_row");
  appendStringInfoString(s, SPI_processed == 0 ? "null" : ond_to_utf8(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)));
}

/* Of a job: the step that has the row in it. */
static int carrying_step(const OndSpec *spec, const OndChangeRow *row) {
  const OndOperationInfo *info = ond_operation_info(first_operation(spec, row));

  return info->n_steps == 0 ? 0 : info->carries_at;
}

static void append_request(StringInfo s, const OndSpec *spec, OndStore *store, const OndAuth *auth) {
  OndChangeRow *row;
  OndHttpRequest request;
  OndError err = {0};
  int bad;

  ond_store_rewind(store, false);
  row = ond_store_next(store);
  member(s, "request");
  if (row == NULL) {
    appendStringInfoString(s, "null");
    return;
  }
  ond_delivery_row_key(spec->sync, row);
  appendStringInfoChar(s, '{');
  member_text(s, "operation", ond_op_name(row->task.op));
  if (render(spec, &row, 1, carrying_step(spec, row), auth, &request, &bad, &err)) {
    member_text(s, "method", request.method);
    member_text(s, "url", request.url);
    member_text(s, "body", request.body.data);
  } else
    member_text(s, "problem", err.message);
  ond_http_request_free(&request);
  appendStringInfoChar(s, '}');
}

Datum ond_explain_row(const OndSync *sync, const char *key_json, FunctionCallInfo fcinfo) {
  OndAuth *auth = redacted_auth(ond_inspect_destination(sync));
  OndStore *store = ond_store_create();
  Explanation e = {.rows = 0};
  StringInfoData row;
  OndDiffInput input;
  OndScope scope;
  OndSpec *spec;

  initStringInfo(&e.json);
  initStringInfo(&row);
  appendStringInfoChar(&row, '{');
  spec = ond_inspect_begin(sync, &scope);
  ond_inspect_input(spec, &input);
  input.pass = OND_PASS_KEYS;
  input.keys_json = key_json;
  input.store = store;
  input.observe = explain_observation;
  input.observe_arg = &e;
  (void)ond_diff(&input);
  if (e.rows > 0)
    append_model_row(&row, spec, key_json);
  ond_inspect_end(&scope);
  if (e.rows == 0) {
    appendStringInfoString(&e.json, "{\"verdict\": \"unknown key: neither in the model nor in the state table\"");
  } else {
    appendStringInfo(&e.json, ", %s", row.data + 1);
    append_request(&e.json, spec, store, auth);
  }
  append_failure(&e.json, sync, key_json);
  appendStringInfoChar(&e.json, '}');
  ond_store_reset(store);
  return DirectFunctionCall1(jsonb_in, CStringGetDatum(ond_from_utf8(e.json.data, e.json.len)));
}
