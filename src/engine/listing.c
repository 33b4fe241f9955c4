/*
 * listing.c - see listing.h.
 *
 * One request at a time, with the credentials, limits and retries of the destination; a page that cannot be read ends it. Interrupts are served ten times a
 * second and never inside a libcurl frame; what an answer says is scrubbed of secrets before anybody sees it.
 */
#include "postgres.h"

#include <time.h>

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "catalog/session.h"
#include "core/mem.h"
#include "engine/listing.h"
#include "engine/tokens.h"
#include "engine/transport.h"

#define POLL_MS    100
#define AGAINS_MAX 2

typedef struct Reader {
  const OndListing *in;
  OndStore *store;
  MemoryContext record;       /* reset for each */
  OndPaging paging;
  OndListInput input;
  OndHttp *http;
  OndKeeper *keeper;          /* NULL: the credentials are no token */
  OndHttpRequest request;     /* the present one */
  OndHttpResponse *response;
  bool permit;                /* held: a request is on its way */
  int64 records;
  ErrorData *error;           /* of taking a record: json-c's objects are below it on the stack */
} Reader;

/* --- the transport ---------------------------------------------------------------------------------------- */

static void end_exchange(Reader *r) {
  if (r->permit)
    r->in->host->budget_done();
  r->permit = false;
  if (r->response != NULL)
    ond_http_response_free(r->response);
  r->response = NULL;
}

static void release(void *arg) {
  Reader *r = arg;

  ond_keeper_release(r->keeper);
  ond_http_destroy(r->http);
  end_exchange(r);
  ond_http_request_free(&r->request);
  ond_paging_free(&r->paging);
}

static void open_transport(Reader *r) {
  OndHttpOptions options;

  ond_transport_options(&r->in->addresses, 2, &options);
  r->http = ond_transport_open(r->in->spec->connector, r->in->auth, &options);
}

/* --- waiting ---------------------------------------------------------------------------------------------- */

static void check_stop(const Reader *r) {
  Assert(!IsTransactionState());
  ond_transport_check();
  if (r->in->host->cancelled() || (r->in->deadline_us > 0 && ond_clock_us() >= r->in->deadline_us))
    ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("run cancelled")));
}

static void sleep_us(const Reader *r, int64 us) {
  (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(Max(us / 1000, 1), POLL_MS), PG_WAIT_EXTENSION);
  ResetLatch(MyLatch);
  check_stop(r);
}

static void wait_for_token(Reader *r) {
  while (r->keeper != NULL && ond_keeper_state(r->keeper) != OND_TOKEN_READY) {
    if (ond_keeper_state(r->keeper) == OND_TOKEN_FAILED)
      ond_raise(ond_keeper_error(r->keeper));
    ond_keeper_work(r->keeper, POLL_MS);
    check_stop(r);
  }
}

static void wait_for_permit(Reader *r, int rate_group) {
  int64 start = ond_clock_us();
  int64 wait;

  while ((wait = r->in->host->budget_take(rate_group, ond_clock_us())) > 0)
    sleep_us(r, wait);
  r->permit = true;
  r->in->counters->throttled_ms += (ond_clock_us() - start) / 1000;
}

/* --- one page --------------------------------------------------------------------------------------------- */

/* Which hosts get credentials the connector has decided: a foreign page does not. */
static void put_credentials(Reader *r) {
  OndError err = {0};

  if (!ond_connector_aim(r->in->spec->connector, r->in->auth, &r->request, &err) || !ond_auth_trust(r->in->auth, r->request.url, &err) || !ond_auth_apply(r->in->auth, &r->request, &err))
    ond_raise(&err);
}

/* One try: its answer is r->response. Returns the version of the token that it went with. */
static int64 try_once(Reader *r, int rate_group) {
  int64 version = 0;
  OndError err = {0};

  end_exchange(r);
  if (!r->paging.foreign)
    wait_for_token(r);
  wait_for_permit(r, rate_group);
  if (!r->paging.foreign) {
    version = r->keeper == NULL ? 0 : ond_keeper_version(r->keeper);
    put_credentials(r);
  }
  r->in->progress->requests++;
  r->in->counters->requests++;
  if (!ond_http_start(r->http, &r->request, &err))
    ond_raise(&err);
  while ((r->response = ond_http_take(r->http)) == NULL) {
    check_stop(r);
    if (r->keeper != NULL)
      ond_keeper_work(r->keeper, 0);
    ond_http_poll(r->http, POLL_MS);
  }
  r->in->host->budget_done();
  r->permit = false;
  r->in->counters->bytes_sent += r->response->bytes_sent;
  r->in->counters->bytes_received += r->response->bytes_received;
  ond_auth_scrub_response(r->in->auth, r->response);
  return version;
}

/* A 401 that only says what the credentials must look like now is answered at once. */
static void converse(Reader *r, int rate_group) {
  for (int i = 0;; i++) {
    int64 version = try_once(r, rate_group);
    OndError err = {0};

    if (r->keeper != NULL && version > 0 && r->response->status >= 200 && r->response->status < 300)
      ond_keeper_accepted(r->keeper, version);
    if (r->response->status != 401 || r->paging.foreign || i >= AGAINS_MAX)
      return;
    if (r->keeper != NULL ? !ond_keeper_refused(r->keeper, version) : !ond_auth_challenged(r->in->auth, &r->request, r->response, &err))
      return;
  }
}

static _Noreturn void fail(const Reader *r) {
  const OndHttpResponse *answer = r->response;
  char words[1001], label[100];

  ond_paging_label(&r->paging, label, sizeof(label));
  if (answer->transfer != OND_TRANSFER_OK) {
    r->in->host->budget_error(answer->error);
    ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE), errmsg("%s could not be read: %s", label, answer->error)));
  }
  ond_connector_message(NULL, answer, words, sizeof(words));
  r->in->host->budget_error(words);
  ereport(ERROR, (errcode(answer->status == 401 || answer->status == 403 ? ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION : ERRCODE_CONNECTION_FAILURE),
                  errmsg("%s could not be read: HTTP %d", label, answer->status), errdetail("%s", words)));
}

/* Until there is an answer that can be read. */
static void exchange(Reader *r, const OndOperationInfo *info) {
  const OndConnectorLimits *limits = ond_connector_limits(r->in->spec->connector);

  for (int attempt = 1;; attempt++) {
    OndAfterAnswer after;
    OndAnswer answer;

    converse(r, info->rate_group);
    answer = ond_classify(r->response->transfer, r->response->status, &info->statuses);
    after = ond_connector_after(r->in->spec->connector, r->response, answer, attempt, ond_clock_us(), (int64)time(NULL),
                                pg_prng_uint64(&pg_global_prng_state));
    if (after.pause_until_us > 0)
      r->in->host->budget_pause(after.pause_until_us);
    if (answer == OND_ANSWER_READ)
      return;
    if (attempt >= limits->retry.attempts || !ond_classify_retry(answer))
      fail(r);
    r->in->counters->retries++;
    while (ond_clock_us() < after.again_us)
      sleep_us(r, after.again_us - ond_clock_us());
  }
}

/* --- records ---------------------------------------------------------------------------------------------- */

static void store_record(Reader *r, const OndRecord *record) {
  OndChangeDraft draft;

  memset(&draft, 0, sizeof(draft));
  draft.op = OND_OP_CREATE;
  draft.n_keys = record->n_keys;
  for (int i = 0; i < record->n_keys; i++) {
    draft.key_text[i] = record->keys[i];
    if (record->keys[i].p == NULL)
      draft.n_keys = 0;
  }
  draft.fields = record->fields;
  draft.remote_id = record->id;
  draft.remote = record->remote;
  ond_store_add(r->store, &draft);
  r->records++;
}

static bool take_record(const OndRecord *record, void *arg) {
  Reader *r = arg;
  MemoryContext saved = MemoryContextSwitchTo(r->record);
  volatile bool ok = true;

  PG_TRY();
  { store_record(r, record); }
  PG_CATCH();
  {
    MemoryContextSwitchTo(saved);
    r->error = CopyErrorData();
    FlushErrorState();
    ok = false;
  }
  PG_END_TRY();
  MemoryContextSwitchTo(saved);
  MemoryContextReset(r->record);
  return ok;
}

/* Between the steps of a report. */
static void wait_for_report(Reader *r) {
  OndError err = {0};
  int64 us = ond_paging_wait_us(&r->paging, ond_clock_us(), &err);
  int64 until = ond_clock_us() + us;

  if (us < 0)
    ond_raise(&err);
  while (ond_clock_us() < until)
    sleep_us(r, until - ond_clock_us());
}

/* A page, or a step before the first one. */
static void read_page(Reader *r) {
  OndError err = {0};
  bool ok;

  wait_for_report(r);
  ond_http_request_free(&r->request);
  ond_http_request_init(&r->request);
  if (!ond_paging_render(&r->paging, &r->input, &r->request, &err))
    ond_raise(&err);
  exchange(r, ond_operation_info(ond_paging_operation(&r->paging)));
  ok = ond_paging_read(&r->paging, r->response, true, take_record, r, &err);
  if (r->error != NULL)
    ReThrowError(r->error);
  if (!ok)
    ond_raise(&err);
  end_exchange(r);
  r->in->progress->rows_scanned = r->records;
  r->in->host->progress(r->in->progress);
}

/* {{fields}}: the top-level fields of the mapping. */
static void name_fields(Reader *r) {
  StringInfoData json, joined;
  const char *name;

  initStringInfo(&json);
  initStringInfo(&joined);
  appendStringInfoChar(&json, '[');
  for (int i = 0; (name = ond_mapping_member(r->in->spec->mapping, i)) != NULL; i++) {
    appendStringInfo(&joined, "%s%s", i > 0 ? "," : "", name);
    appendStringInfoString(&json, i > 0 ? "," : "");
    escape_json(&json, name);
  }
  appendStringInfoChar(&json, ']');
  r->input.fields = (OndBytes){json.data, (size_t)json.len};
  r->input.fields_text = (OndBytes){joined.data, (size_t)joined.len};
}

int64 ond_listing_read(const OndListing *in, OndStore *store) {
  MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "ondatra list", ALLOCSET_DEFAULT_SIZES);
  MemoryContext saved = MemoryContextSwitchTo(context);
  const OndList *list = ond_connector_list(in->spec->connector);
  MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
  Reader *r = palloc0(sizeof(Reader));
  int64 records;

  r->in = in;
  r->store = store;
  r->record = AllocSetContextCreate(context, "ondatra record", ALLOCSET_DEFAULT_SIZES);
  ond_http_request_init(&r->request);
  ond_paging_init(&r->paging, in->spec->connector, list);
  callback->func = release;
  callback->arg = r;
  MemoryContextRegisterResetCallback(context, callback);
  name_fields(r);
  open_transport(r);
  r->keeper = ond_keeper_create(in->destination, in->spec->connector, in->auth, &in->addresses);
  ond_connector_use_auth(in->spec->connector, in->auth);
  while (r->paging.more)
    read_page(r);
  ond_keeper_destroy(r->keeper, true);
  r->keeper = NULL;
  records = r->records;
  MemoryContextSwitchTo(saved);
  MemoryContextDelete(context);
  return records;
}
