/*
 * delivery.c - see delivery.h: request → response → outcome of each row.
 *
 * Owns for one run: the transport, the rows in memory, the sync's own rate windows. Everything that must happen outside of transactions happens here:
 * the loop of core/deliver runs without one, only commit() opens one for a moment.
 *
 * A cancel request (SIGINT) never raises here, it would lose answers: it is held off and read as a wish to stop (io_stop).
 *
 * Invariants: never in a transaction while polling (asserted in io_poll); interrupts are served at least every 50 ms and never inside a libcurl frame;
 * what an answer says is scrubbed of secrets before anybody sees it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "common/pg_prng.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include <time.h>

#include "core/text.h"
#include "catalog/session.h"
#include "engine/delivery.h"
#include "engine/request_log.h"
#include "engine/script_request.h"
#include "engine/state_table.h"
#include "engine/tokens.h"
#include "engine/transport.h"
#include "engine/way.h"

#define PAYLOAD_FRAME_BYTES 64
#define AGAINS_MAX 2
#define TOKEN_POLL_US 10000
#define PLACE_WAIT_US 500000
#define SCRIPT_FAILURES_MAX 10 /* of render or parse in a row, not counting those of batches that are cut: then nothing more is sent */

typedef struct Context {
  const OndDeliveryInput *input;
  OndDeliveryResult *result;
  MemoryContext rows;         /* rows between next() and their commit */
  OndHttp *http;
  OndKeeper *keeper;          /* NULL: the credentials are no token */
  const OndConnectorLimits *limits;
  OndArena *arena;            /* of reading one answer */
  OndRateWindow own_windows[OND_RATE_WINDOWS_MAX];
  int n_own_windows;
  int64 taken;
  OndJob *jobs;               /* under way, and those whose rows are not recorded yet */
  int32 job_no;
  OndCounters before;         /* the run's counters when this began */
  OndRequestLog *requests;    /* NULL: none are recorded */
  OndScriptHost scripts;
  MemoryContext call;         /* of one call of a function, reset after it */
  int script_failures;
} Context;

/* A request on the wire. */
typedef struct Wire {
  OndHttpRequest http;
  OndRequest *request;
  int64 token_version;        /* 0: no token */
} Wire;

/* --- starting a request ----------------------------------------------------------------------------------- */

static OndTask *io_next(void *arg) {
  Context *c = arg;
  MemoryContext saved;
  OndChangeRow *row;

  if (c->input->job != NULL)
    return c->taken < c->input->n_job_rows ? &c->input->job_rows[c->taken++]->task : NULL;
  if (c->input->max_rows >= 0 && c->taken >= c->input->max_rows)
    return NULL;
  saved = MemoryContextSwitchTo(c->rows);
  while ((row = ond_store_next(c->input->store)) != NULL && c->input->approval != NULL && !ond_approval_covers(c->input->approval, c->input->spec->sync, row))
    pfree(row); /* it stays pending */
  MemoryContextSwitchTo(saved);
  if (row == NULL)
    return NULL;
  c->taken++;
  row->task.bytes += PAYLOAD_FRAME_BYTES;
  row->task.route = ond_way_first(c->input->spec, row);
  ond_delivery_row_key(c->input->spec->sync, row);
  return &row->task;
}

static void set_message(Context *c, OndChangeRow *row, const char *message) {
  if (row->message != NULL)
    pfree(row->message);
  row->message = MemoryContextStrdup(c->rows, message);
}

static void wire_free(Wire *wire) {
  ond_http_request_free(&wire->http);
  ond_free(wire);
}

static OndStart refuse(Context *c, OndRequest *request, Wire *wire, int bad_row, int *bad, const OndError *err, OndStart how) {
  if (how == OND_START_BAD_ROW) {
    *bad = bad_row;
    set_message(c, request->tasks[bad_row]->row, err->message);
  } else if (how == OND_START_FAILED) {
    for (int i = 0; i < request->n; i++)
      set_message(c, request->tasks[i]->row, err->message);
    strlcpy(c->result->last_error, err->message, sizeof(c->result->last_error));
    c->result->last_status = 0;
  }
  wire_free(wire);
  return how;
}

/* --- jobs ------------------------------------------------------------------------------------------------- */

static void free_jobs(Context *c, bool all) {
  for (OndJob **at = &c->jobs; *at != NULL;) {
    OndJob *job = *at;

    if (!all && job->held > 0) {
      at = &job->next;
      continue;
    }
    *at = job->next;
    ond_job_free(job);
  }
}

/* The destination has it open no more, as far as anybody can know. */
static void leave_place(Context *c, OndJob *job) {
  if (job->placed)
    c->input->host->job_end();
  job->placed = false;
}

/* The row goes on in another job, or for the first time: its old one has ended or was cut. One that no row holds any more is nothing to go on with. */
static void leave_job(Context *c, OndChangeRow *row) {
  OndJob *job = row->job;

  row->job = NULL;
  if (job != NULL)
    leave_place(c, job);
  if (job != NULL && --job->held == 0 && job->saved && job->ended)
    (void)ond_recorder_job(c->input->recorder, job, 0, NULL);
}

/* The job of a request, begun with its first start; NULL: its operation is one request. */
static OndJob *job_of(Context *c, OndRequest *request) {
  const OndOperation *operation = ond_connector_route(c->input->spec->connector, request->route);
  OndJob *job = request->steps;

  if (job != NULL || ond_operation_info(operation)->n_steps == 0)
    return job;
  job = c->input->job;
  if (job == NULL) {
    free_jobs(c, false);
    job = ond_job_create(operation, request->route, ond_to_unix_us(GetCurrentTimestamp()));
    job->run_id = c->input->run_id;
    job->job_no = ++c->job_no;
    job->next = c->jobs;
    c->jobs = job;
  }
  for (int i = 0; i < request->n; i++) {
    OndChangeRow *row = request->tasks[i]->row;

    leave_job(c, row);
    row->job = job;
    row->doubt_before = row->task.in_doubt;
    row->task.in_doubt = row->task.in_doubt || job->carried;
    job->held++;
  }
  request->steps = job;
  return job;
}

/* A job begins when the destination has a place for it. */
static int64_t io_begin(void *arg, OndRequest *request) {
  Context *c = arg;
  OndJob *job = c->input->job != NULL ? NULL : job_of(c, request);
  int64 now;

  if (job == NULL || job->placed)
    return 0;
  job->placed = c->input->host->job_begin(ond_operation_info(job->operation)->open_max);
  c->result->no_place = !job->placed;
  now = ond_to_unix_us(GetCurrentTimestamp());
  if (!job->placed) {
    c->input->progress->throttled_until = now + PLACE_WAIT_US;
    return PLACE_WAIT_US;
  }
  job->deadline += now - job->started_at;
  job->started_at = now;
  return 0;
}

/* The operation that the next request of a task's way is rendered by, and its answer read. */
static const OndOperation *current_operation(Context *c, const OndRequest *request) {
  const OndOperation *operation = ond_connector_route(c->input->spec->connector, request->route);
  const OndJob *job = request->steps != NULL ? request->steps : c->input->job;

  if (ond_operation_info(operation)->n_steps == 0)
    return operation;
  return job != NULL ? ond_job_step(job) : ond_step_operation(operation, 0);
}

/* What a row cannot be rendered into shows before anything is begun that could not be ended then. */
static bool can_be_carried(Context *c, const OndJob *job, const OndRow *const *rows, int n, const OndRenderContext *context, int *bad_row, OndError *err) {
  const OndOperationInfo *info = ond_operation_info(job->operation);
  OndRenderContext unknown = *context;
  OndHttpRequest request;
  bool ok = true;

  unknown.job_unknown = true;
  for (int i = 1; ok && job->step == 0 && i < info->n_steps; i++) {
    if (!ond_step_info(job->operation, i)->carries_rows)
      continue;
    ok = ond_connector_render(c->input->spec->connector, ond_step_operation(job->operation, i), rows, n, &unknown, &request, bad_row, err);
    ond_http_request_free(&request);
  }
  return ok;
}

/* A URL that an answer has named may get the credentials where the connector says so. */
static bool trust(Context *c, const OndHttpRequest *request, OndError *err) {
  OndError why;

  if (ond_connector_host(c->input->spec->connector, request->url, &why) != OND_HOST_OWN)
    return true;
  return ond_auth_trust(c->input->auth, request->url, err);
}

/* How a request that cannot be rendered ends. Once rows are there, no row is invalid any more, and no batch can be cut. */
static OndStart how_refused(const OndJob *job, int bad_row) {
  if (job != NULL && job->carried)
    return OND_START_FAILED;
  return bad_row >= 0 ? OND_START_BAD_ROW : OND_START_TOO_LARGE;
}

/* --- functions of the owner's ------------------------------------------------------------------------------ */

/* The batch, in the current context. */
static OndScriptBatch script_batch(Context *c, const OndRequest *request, const char *key) {
  OndChangeRow **rows = palloc(sizeof(OndChangeRow *) * request->n);

  for (int i = 0; i < request->n; i++)
    rows[i] = request->tasks[i]->row;
  return (OndScriptBatch){c->input->spec, request->route, request->n, rows, c->input->run_id, key};
}

/* How a call ended, for the run: false: nothing more may be sent. single: what failed cannot be cut any further. */
static bool note_call(Context *c, OndScriptEnd end, bool single, const OndError *err) {
  if (end == OND_SCRIPT_DONE)
    c->script_failures = 0;
  else if (end == OND_SCRIPT_FAILED && single)
    c->script_failures++;
  if (end == OND_SCRIPT_BROKEN || c->script_failures >= SCRIPT_FAILURES_MAX)
    c->result->script_error = *err;
  return end != OND_SCRIPT_CANCELLED && c->result->script_error.message[0] == '\0';
}

static bool is_rendered_by_function(const Context *c, const OndRequest *request) {
  return c->input->spec->render != NULL && request->route != OND_ROUTE_LOOKUP;
}

/* OK: http has the request, without credentials. */
static OndStart render_by_function(Context *c, OndRequest *request, const char *key, OndHttpRequest *http, int *bad_row, OndError *err) {
  MemoryContext saved = MemoryContextSwitchTo(c->call);
  OndScriptBatch batch = script_batch(c, request, key);
  OndScriptEnd end = ond_script_render(&c->scripts, &batch, http, err);
  bool go_on = note_call(c, end, request->n == 1, err);

  MemoryContextSwitchTo(saved);
  MemoryContextReset(c->call);
  if (!go_on)
    return OND_START_STOP;
  *bad_row = request->n == 1 ? 0 : -1;
  return end == OND_SCRIPT_DONE ? OND_START_OK : request->n == 1 ? OND_START_BAD_ROW : OND_START_TOO_LARGE;
}

/* By the connector's templates. */
static OndStart render_by_templates(Context *c, OndRequest *request, OndJob *job, const char *key, OndHttpRequest *http, int *bad_row, OndError *err) {
  const OndConnector *connector = c->input->spec->connector;
  const OndOperation *operation = current_operation(c, request);
  const OndRow **rows = palloc(sizeof(OndRow *) * request->n);
  OndRenderContext render = {.run_id = job == NULL ? c->input->run_id : job->run_id, .idempotency_key = key};
  bool ok;

  for (int i = 0; i < request->n; i++)
    rows[i] = &((OndChangeRow *)request->tasks[i]->row)->row;
  if (job != NULL)
    ok = can_be_carried(c, job, rows, request->n, &render, bad_row, err) && ond_job_render(job, connector, rows, request->n, &render, http, bad_row, err);
  else
    ok = ond_connector_render(connector, operation, rows, request->n, &render, http, bad_row, err);
  pfree(rows);
  return ok ? OND_START_OK : how_refused(job, *bad_row);
}

static void make_key(Context *c, const OndRequest *request, char key[33]) {
  OndChangeRow **changes = palloc(sizeof(OndChangeRow *) * request->n);

  for (int i = 0; i < request->n; i++) {
    changes[i] = request->tasks[i]->row;
    if (changes[i]->task.renewed > 0)
      ond_delivery_row_key(c->input->spec->sync, changes[i]);
  }
  ond_delivery_request_key(c->input->spec->sync, changes, request->n, key);
  pfree(changes);
}

/* Credentials, and onto the wire. */
static OndStart send_request(Context *c, const OndJob *job, Wire *wire, OndError *err) {
  wire->http.tag = wire;
  if ((job != NULL && !trust(c, &wire->http, err)) || !ond_connector_aim(c->input->spec->connector, c->input->auth, &wire->http, err) ||
      !ond_auth_apply(c->input->auth, &wire->http, err) || !ond_http_start(c->http, &wire->http, err))
    return OND_START_FAILED;
  return OND_START_OK;
}

static OndStart io_start(void *arg, OndRequest *request, int *bad) {
  Context *c = arg;
  Wire *wire = ond_calloc(sizeof(Wire));
  OndError err = {0};
  OndStart how;
  OndJob *job;
  int bad_row = -1;
  char key[33];

  ond_http_request_init(&wire->http);
  wire->request = request;
  if (c->result->script_error.message[0] != '\0')
    return refuse(c, request, wire, -1, bad, &err, OND_START_STOP);
  job = job_of(c, request);
  make_key(c, request, key);
  if (is_rendered_by_function(c, request))
    how = render_by_function(c, request, key, &wire->http, &bad_row, &err);
  else
    how = render_by_templates(c, request, job, key, &wire->http, &bad_row, &err);
  if (how == OND_START_OK)
    how = send_request(c, job, wire, &err);
  if (how != OND_START_OK)
    return refuse(c, request, wire, bad_row, bad, &err, how);
  wire->token_version = c->keeper == NULL ? 0 : ond_keeper_version(c->keeper);
  request->wire = wire;
  c->input->progress->requests++;
  return OND_START_OK;
}

/* --- taking an answer ------------------------------------------------------------------------------------- */

/* Nothing left with a time of reset says: wait; with a ceiling. */
static void heed_rate_headers(Context *c, const OndHttpResponse *response) {
  int64 us = ond_connector_rate_pause(c->input->spec->connector, response, (int64)time(NULL));

  if (us > 0)
    c->input->host->budget_pause(ond_clock_us() + Min(us, OND_PAUSE_MAX_US));
}

static void take_row(Context *c, OndTask *task, const OndRowResult *from) {
  OndChangeRow *row = task->row;

  task->outcome = from->outcome;
  row->created = from->created >= 0 ? from->created : row->task.route == OND_ROUTE_CREATE ? 1 : row->task.route == OND_ROUTE_UPDATE ? 0 : -1;
  row->unconfirmed = from->unconfirmed;
  if (from->outcome != OND_OUT_ACCEPTED)
    set_message(c, row, from->message != NULL                    ? from->message
                        : from->outcome == OND_OUT_UNKNOWN       ? "the answer does not say what became of this row"
                        : from->outcome == OND_OUT_THROTTLED     ? "the destination asked to try this row again later"
                                                                 : "the destination refused the row without a reason");
  if (from->remote_id != NULL)
    row->remote_id = MemoryContextStrdup(c->rows, from->remote_id);
  if (from->remote != NULL)
    row->remote = MemoryContextStrdup(c->rows, from->remote);
}

/* The lookup's answer: found rows go on as updates, others as creates. */
static void read_lookup(Context *c, OndRequest *request, const OndRowResult *results) {
  for (int i = 0; i < request->n; i++) {
    OndWay way = ond_way_by_lookup(c->input->spec, request->tasks[i]->row, &results[i], c->rows);

    if (way.message != NULL)
      set_message(c, request->tasks[i]->row, way.message);
  }
}

/* A status that the connector knows as a signpost sends the rows another way; false: it is none. */
static bool follow_status(Context *c, OndRequest *request, const OndHttpResponse *response) {
  for (int i = 0; i < request->n; i++) {
    OndWay way = ond_way_by_status(c->input->spec, request->tasks[i]->row, response->status);

    if (!way.handled)
      return false;
    if (way.message != NULL)
      set_message(c, request->tasks[i]->row, way.message);
  }
  return true;
}

static void read_rows(Context *c, OndRequest *request, const OndOperation *operation, const OndHttpResponse *response) {
  OndRowResult *results = palloc0(sizeof(OndRowResult) * request->n);
  const OndRow **rows = palloc(sizeof(OndRow *) * request->n);

  for (int i = 0; i < request->n; i++)
    rows[i] = &((OndChangeRow *)request->tasks[i]->row)->row;
  ond_connector_read(c->input->spec->connector, operation, response, rows, request->n, c->arena, results, NULL);
  for (int i = 0; i < request->n && request->route != OND_ROUTE_LOOKUP; i++)
    take_row(c, request->tasks[i], &results[i]);
  if (request->route == OND_ROUTE_LOOKUP)
    read_lookup(c, request, results);
  ond_arena_reset(c->arena);
  pfree(results);
  pfree(rows);
}

static void note_failure(Context *c, OndRequest *request, const OndOperation *operation, const OndHttpResponse *response, const char *told) {
  char words[1024];

  if (told != NULL && told[0] != '\0')
    strlcpy(words, told, sizeof(words));
  else if (response->transfer == OND_TRANSFER_OK)
    ond_connector_message(operation, response, words, sizeof(words));
  else
    strlcpy(words, response->error, sizeof(words));
  for (int i = 0; i < request->n; i++)
    set_message(c, request->tasks[i]->row, words);
  strlcpy(c->result->last_error, words, sizeof(c->result->last_error));
  c->result->last_status = response->status;
  c->input->host->budget_error(words);
}

/* A 401 that only says what the credentials must look like now: the same request goes again. */
static bool may_answer(Context *c, const OndRequest *request, const Wire *wire, const OndHttpResponse *response) {
  OndError err;

  if (response->status != 401 || request->agains >= AGAINS_MAX)
    return false;
  if (c->keeper != NULL)
    return ond_keeper_refused(c->keeper, wire->token_version);
  return ond_auth_challenged(c->input->auth, &wire->http, response, &err);
}

/*
 * The delete of a key in doubt, and there is no such record: an earlier try has deleted it, or the create in doubt never came. Without doubt it is a
 * surprise that a person should see (a wrong path, somebody else's delete), unless the connector says that it is fine.
 */
static bool is_gone(const OndRequest *request, const OndReply *reply) {
  const OndTask *task = request->tasks[0];
  const OndChangeRow *row = task->row;

  return reply->answer == OND_ANSWER_REFUSED && (reply->http_status == 404 || reply->http_status == 410) && request->n == 1 &&
         request->route == OND_ROUTE_DELETE && request->step == 0 && (task->in_doubt || (row->has_before && row->before.doubt_op != OND_OP_NONE));
}

static void take_gone(Context *c, OndRequest *request, OndReply *reply) {
  OndRowResult gone = {.outcome = OND_OUT_ACCEPTED};

  reply->answer = OND_ANSWER_READ;
  take_row(c, request->tasks[0], &gone);
}

/* The rows' fates as the job tells them. What it asks to send again was not taken: doubt about that is what it was before. */
static void take_fates(Context *c, OndRequest *request, const OndJob *job) {
  for (int i = 0; i < request->n; i++) {
    OndTask *task = request->tasks[i];

    take_row(c, task, &job->results[i]);
    if (task->outcome == OND_OUT_THROTTLED)
      task->in_doubt = ((OndChangeRow *)task->row)->doubt_before;
  }
}

/* An answer to a step of a job. */
static void follow_job(Context *c, OndRequest *request, OndJob *job, const OndHttpResponse *response, OndReply *reply) {
  const OndOperation *operation = ond_job_step(job);
  const OndRow **rows = palloc(sizeof(OndRow *) * request->n);
  int step = job->step;

  for (int i = 0; i < request->n; i++)
    rows[i] = &((OndChangeRow *)request->tasks[i]->row)->row;
  ond_job_answer(job, c->input->spec->connector, rows, request->n, response, ond_to_unix_us(GetCurrentTimestamp()), reply);
  pfree(rows);
  if (job->ended)
    leave_place(c, job);
  if (reply->answer == OND_ANSWER_READ)
    take_fates(c, request, job);
  else if (reply->answer != OND_ANSWER_CONTINUE)
    note_failure(c, request, operation, response, job->words);
  for (int i = 0; i < request->n && job->carried && reply->answer == OND_ANSWER_CONTINUE; i++)
    request->tasks[i]->in_doubt = true;
  if (job->step != step && ond_job_is_resumable(job))
    (void)ond_recorder_job(c->input->recorder, job, request->n, request->tasks);
}

/* For the record: what was wrong with a request that has been answered; NULL: nothing was. */
static const char *what_was_wrong(const Context *c, const OndRequest *request, const OndReply *reply) {
  if (reply->answer != OND_ANSWER_READ)
    return reply->answer == OND_ANSWER_AGAIN || reply->answer == OND_ANSWER_CONTINUE ? NULL : c->result->last_error;
  for (int i = 0; i < request->n && request->route != OND_ROUTE_LOOKUP; i++) {
    const OndChangeRow *row = request->tasks[i]->row;

    if (row->task.outcome != OND_OUT_ACCEPTED && row->message != NULL)
      return row->message;
  }
  return NULL;
}

/* True: parse has read the answer, reply says what is done next. False: nobody asked it, or it leaves the answer to its status. */
static bool read_by_function(Context *c, OndRequest *request, const OndOperation *operation, const OndHttpResponse *response, OndReply *reply) {
  MemoryContext saved;
  OndScriptBatch batch;
  OndRowResult *results;
  OndScriptEnd end;
  OndError err = {0};
  bool told;

  if (c->input->spec->parse == NULL || request->route == OND_ROUTE_LOOKUP || response->transfer != OND_TRANSFER_OK ||
      (reply->answer != OND_ANSWER_READ && reply->answer != OND_ANSWER_REFUSED))
    return false;
  saved = MemoryContextSwitchTo(c->call);
  batch = script_batch(c, request, "");
  results = palloc0(sizeof(OndRowResult) * request->n);
  end = ond_script_parse(&c->scripts, &batch, response, results, &told, &err);
  (void)note_call(c, end, true, &err);
  if (reply->answer == OND_ANSWER_REFUSED && (end != OND_SCRIPT_DONE || !told))
    note_failure(c, request, operation, response, end == OND_SCRIPT_DONE ? NULL : err.message);
  else {
    for (int i = 0; i < request->n; i++) {
      if (end != OND_SCRIPT_DONE || !told)
        results[i].message = end == OND_SCRIPT_DONE ? "the parse function does not say what became of this row" : err.message;
      take_row(c, request->tasks[i], &results[i]);
    }
    reply->answer = OND_ANSWER_READ;
  }
  MemoryContextSwitchTo(saved);
  MemoryContextReset(c->call);
  return true;
}

static OndRequest *io_take(void *arg, OndReply *reply) {
  Context *c = arg;
  OndHttpResponse *response = ond_http_take(c->http);
  OndRequest *request;
  const OndOperation *operation;
  const OndOperationInfo *info;
  OndBytes retry_after;
  OndCounters *counters = ond_recorder_counters(c->input->recorder);
  Wire *wire;

  if (response == NULL)
    return NULL;
  wire = response->tag;
  request = wire->request;
  operation = current_operation(c, request);
  info = ond_operation_info(operation);
  counters->bytes_sent += response->bytes_sent;
  counters->bytes_received += response->bytes_received;
  ond_auth_scrub_response(c->input->auth, response);
  reply->answer = ond_classify(response->transfer, response->status, &info->statuses);
  reply->http_status = response->status;
  reply->may_bisect = ond_classify_bisect(response->status, &info->statuses);
  retry_after = ond_http_response_header(response, "Retry-After");
  if (c->keeper != NULL && reply->answer == OND_ANSWER_READ)
    ond_keeper_accepted(c->keeper, wire->token_version);
  if (reply->answer == OND_ANSWER_AUTH && may_answer(c, request, wire, response))
    reply->answer = OND_ANSWER_AGAIN;
  reply->retry_after_us = retry_after.p == NULL ? -1 : ond_retry_after_us(retry_after.p, retry_after.n, (int64)time(NULL));
  heed_rate_headers(c, response);
  if (request->steps != NULL && reply->answer != OND_ANSWER_AGAIN)
    follow_job(c, request, request->steps, response, reply);
  else if (response->transfer == OND_TRANSFER_OK && follow_status(c, request, response))
    reply->answer = OND_ANSWER_READ;
  else if (is_gone(request, reply))
    take_gone(c, request, reply);
  else if (read_by_function(c, request, operation, response, reply))
    ;
  else if (reply->answer == OND_ANSWER_READ)
    read_rows(c, request, operation, response);
  else if (reply->answer != OND_ANSWER_AGAIN)
    note_failure(c, request, operation, response, NULL);
  ond_request_log_add(c->requests, &wire->http, response, info->name, request->n, what_was_wrong(c, request, reply));
  ond_http_response_free(response);
  wire_free(wire);
  return request;
}

/* --- the rest of the interface ---------------------------------------------------------------------------- */

static bool io_commit(void *arg, OndTask **resolved, int n_resolved, OndTask **window, int n_window, int window_no) {
  Context *c = arg;
  OndCounters *counters = ond_recorder_counters(c->input->recorder);
  OndProgress *progress = c->input->progress;
  bool ok;

  counters->requests = c->before.requests + c->result->stats.requests;
  counters->retries = c->before.retries + c->result->stats.retries;
  counters->throttled_ms = c->before.throttled_ms + c->result->stats.throttled_us / 1000;
  /* what an earlier run has sent is in doubt already: it needs no window */
  for (int i = 0; i < n_window && c->input->job != NULL; i++)
    window[i]->window_no = 0;
  if (c->input->job != NULL)
    n_window = 0;
  ok = ond_recorder_commit(c->input->recorder, resolved, n_resolved, window, n_window, window_no, &c->result->commit_error);
  for (OndJob *job = c->jobs; job != NULL; job = job->next)
    if (job->held == 0)
      leave_place(c, job);
  progress->sent = counters->created + counters->updated + counters->deleted;
  progress->failed = counters->failed + counters->deletes_failed;
  ond_request_log_flush(c->requests);
  return ok;
}

static void io_poll(void *arg, int64_t wait_us) {
  Context *c = arg;
  OndProgress *progress = c->input->progress;

  Assert(!IsTransactionState());
  progress->in_flight = c->result->stats.in_flight;
  c->input->host->progress(progress);
  ond_transport_check();
  if (c->keeper != NULL) {
    ond_keeper_work(c->keeper, 0);
    if (ond_keeper_is_busy(c->keeper))
      wait_us = Min(wait_us, TOKEN_POLL_US);
  }
  if (ond_request_log_is_full(c->requests))
    ond_request_log_flush(c->requests);
  ond_http_poll(c->http, (int)((wait_us + 999) / 1000));
  CHECK_FOR_INTERRUPTS();
}

static void io_abandon(void *arg) {
  ond_http_abandon_all(((Context *)arg)->http);
}

static int64 own_wait(Context *c, int64 now) {
  int64 wait = 0;

  for (int i = 0; i < c->n_own_windows; i++)
    wait = Max(wait, ond_rate_window_wait(&c->own_windows[i], now));
  return wait;
}

/* 0: there is a token, or none is needed; > 0: not yet; < 0: there will be none. */
static int64 token_wait(Context *c) {
  if (c->keeper == NULL || ond_keeper_state(c->keeper) == OND_TOKEN_READY)
    return 0;
  if (ond_keeper_state(c->keeper) == OND_TOKEN_WAIT)
    return TOKEN_POLL_US;
  c->result->token_error = *ond_keeper_error(c->keeper);
  c->input->host->budget_error(c->result->token_error.message);
  return strncmp(c->result->token_error.sqlstate, "28", 2) == 0 ? -(int64)OND_STOP_AUTH : -(int64)OND_STOP_BREAKER;
}

static int64_t io_permit(void *arg, const OndRequest *request) {
  Context *c = arg;
  int64 now = ond_clock_us();
  int64 token = token_wait(c);
  int64 wait = own_wait(c, now);

  if (token != 0)
    return token;
  if (wait == 0)
    wait = c->input->host->budget_take(ond_operation_info(current_operation(c, request))->rate_group, now);
  if (wait == 0) {
    for (int i = 0; i < c->n_own_windows; i++)
      ond_rate_window_take(&c->own_windows[i], now);
  }
  c->input->progress->throttled_until = wait == 0 ? 0 : ond_to_unix_us(GetCurrentTimestamp()) + wait;
  return wait;
}

static void io_permit_done(void *arg) {
  ((Context *)arg)->input->host->budget_done();
}

static void io_pause(void *arg, int64_t until_us) {
  Context *c = arg;

  c->input->host->budget_pause(Min(until_us, ond_clock_us() + OND_PAUSE_MAX_US));
}

static OndStop io_stop(void *arg) {
  Context *c = arg;

  if (QueryCancelPending || c->input->host->cancelled())
    return OND_STOP_CANCELLED;
  if (c->input->deadline_us > 0 && ond_clock_us() >= c->input->deadline_us)
    return OND_STOP_TIMEOUT;
  return OND_STOP_NONE;
}

static int64_t io_clock(void *arg) {
  return ond_clock_us();
}

static int64_t io_wall(void *arg) {
  return ond_to_unix_us(GetCurrentTimestamp());
}

static uint64_t io_random(void *arg) {
  return pg_prng_uint64(&pg_global_prng_state);
}

/* --- a run's delivery ------------------------------------------------------------------------------------- */

static void release(void *arg) {
  Context *c = arg;

  ond_keeper_release(c->keeper);
  c->keeper = NULL;
  ond_http_destroy(c->http);
  c->http = NULL;
  ond_arena_destroy(c->arena);
  c->arena = NULL;
  free_jobs(c, true);
}

/* A stream that an HTTP/2 server refuses when it closes a connection looks like a lost answer: where that costs a person's time, HTTP/1.1. */
static bool offers_http2(const OndSpec *spec) {
  return !ond_delivery_holds(spec, OND_OP_CREATE) && !ond_delivery_holds(spec, OND_OP_UPDATE);
}

static void open_transport(Context *c, int concurrency) {
  OndHttpOptions options;

  ond_transport_options(&c->input->addresses, concurrency + 4, &options);
  options.http2 = offers_http2(c->input->spec);
  c->http = ond_transport_open(c->input->spec->connector, c->input->auth, &options);
}

void ond_delivery_run(const OndDeliveryInput *input, OndDeliveryResult *result) {
  static const OndDeliveryIo functions = {NULL,      io_next, io_commit,      io_begin, io_start, io_take, io_poll,  io_abandon,
                                          io_permit, io_permit_done, io_pause, io_stop, io_clock, io_wall, io_random};
  Context *c = palloc0(sizeof(Context));
  MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
  const OndRateGroup *own = &input->spec->sync->options.rate_limit;
  OndDeliveryIo io = functions;
  OndDeliveryPolicy policy;

  io.arg = c;
  memset(result, 0, sizeof(*result));
  c->input = input;
  c->result = result;
  /* first come, first freed; and a chunk is not rounded up to a power of two */
  c->rows = GenerationContextCreate(CurrentMemoryContext, "ondatra rows", ALLOCSET_DEFAULT_SIZES);
  c->call = AllocSetContextCreate(CurrentMemoryContext, "ondatra function call", ALLOCSET_DEFAULT_SIZES);
  c->scripts = (OndScriptHost){.sync = input->spec->sync, .deadline_us = input->deadline_us, .stop_asked = input->host->stop_asked};
  c->limits = ond_connector_limits(input->spec->connector);
  c->arena = ond_arena_create();
  callback->func = release;
  callback->arg = c;
  MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
  for (int i = 0; i < own->n; i++)
    ond_rate_window_init(&c->own_windows[c->n_own_windows++], own->limits[i]);
  c->before = *ond_recorder_counters(input->recorder);
  ond_delivery_policy(input->spec, &policy);
  c->jobs = input->job;
  if (input->job != NULL)
    ond_delivery_job_policy(input->n_job_rows, &policy);
  else
    ond_store_rewind(input->store, false);
  open_transport(c, policy.concurrency);
  c->keeper = ond_keeper_create(input->destination, input->spec->connector, input->auth, &input->addresses);
  c->requests = ond_request_log_create(input->spec->sync->sync_id, input->run_id, input->auth);
  HOLD_CANCEL_INTERRUPTS();
  result->stop = ond_deliver(&io, &policy, &result->stats);
  ond_request_log_flush(c->requests);
  ond_keeper_destroy(c->keeper, result->stop != OND_STOP_CANCELLED && result->stop != OND_STOP_TIMEOUT);
  c->keeper = NULL;
  QueryCancelPending = false;
  RESUME_CANCEL_INTERRUPTS();
  release(c);
}
