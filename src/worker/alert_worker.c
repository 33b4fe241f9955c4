/*
 * alert_worker.c - the process that tells: one message after the other, each tried once, until none is due.
 *
 * Its session user is the bootstrap superuser, as the scheduler's: nothing but our own SQL runs here. It holds the alert lock while it
 * lives, so there is one in a database.
 *
 * Invariants: no transaction is open while a request is under way; `told` is written after the answer, so a process that dies in between
 * repeats the message (with the same idempotency key) and never loses it; a destination that fails is asked once, whatever waits for it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "catalog/session.h"
#include "catalog/settings.h"
#include "compat.h"
#include "engine/alert.h"
#include "engine/run.h"
#include "engine/tokens.h"
#include "engine/transport.h"
#include "worker/alerts.h"
#include "worker/shared.h"

#define TIMEOUT_MAX_MS 30000
#define PERMIT_MAX_US  (INT64CONST(60) * 1000000) /* a message that the rate limit holds longer is tried again later */
#define POLL_MS        50
#define AGAINS_MAX     2
#define ERROR_BYTES    1024

typedef struct Sending {
  OndAlertMessage m;
  OndKeeper *keeper; /* NULL: the credentials are no token */
  OndHttp *http;
  OndBudget *budget;
  bool unreachable; /* not this message's fault */
} Sending;

/* --- sending -------------------------------------------------------------------------------------------------- */

static void open_transport(Sending *s) {
  const OndConnectorLimits *limits = ond_connector_limits(s->m.connector);
  OndHttpOptions options;

  ond_transport_options(&s->m.addresses, 1, &options);
  s->http = ond_transport_open(s->m.connector, s->m.auth, &options);
  s->m.request.timeout_ms = Min(s->m.request.timeout_ms, TIMEOUT_MAX_MS);
  s->budget = ond_budget_attach(MyDatabaseId, s->m.destination->destination_id, &limits->rate, limits->concurrency);
  s->keeper = ond_keeper_create(s->m.destination, s->m.connector, s->m.auth, &s->m.addresses);
}

static void nap(int64 us) {
  (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(Max(us / 1000, 1), POLL_MS), PG_WAIT_EXTENSION);
  ResetLatch(MyLatch);
  CHECK_FOR_INTERRUPTS();
}

static bool await_token(Sending *s, char *error, size_t n) {
  while (s->keeper != NULL && ond_keeper_state(s->keeper) == OND_TOKEN_WAIT) {
    ond_keeper_work(s->keeper, POLL_MS);
    nap(0);
  }
  if (s->keeper == NULL || ond_keeper_state(s->keeper) == OND_TOKEN_READY)
    return true;
  strlcpy(error, ond_keeper_error(s->keeper)->message, n);
  s->unreachable = true;
  return false;
}

static bool await_permit(Sending *s, char *error, size_t n) {
  int64 until = ond_clock_us() + PERMIT_MAX_US;
  int64 wait;

  while ((wait = ond_budget_take(s->budget, ond_operation_info(s->m.operation)->rate_group, ond_clock_us())) > 0) {
    if (ond_clock_us() + wait > until) {
      strlcpy(error, "the rate limit of the destination leaves no room", n);
      s->unreachable = true;
      return false;
    }
    nap(wait);
  }
  return true;
}

/* One request and its answer; NULL: it did not go out. */
static OndHttpResponse *exchange(Sending *s, char *error, size_t n) {
  OndHttpResponse *response = NULL;
  OndError err = {0};

  Assert(!IsTransactionState());
  if (!await_token(s, error, n) || !await_permit(s, error, n))
    return NULL;
  if (!ond_auth_apply(s->m.auth, &s->m.request, &err) || !ond_http_start(s->http, &s->m.request, &err))
    strlcpy(error, err.message, n);
  else
    while ((response = ond_http_take(s->http)) == NULL) {
      ond_transport_check();
      ond_http_poll(s->http, POLL_MS);
    }
  ond_budget_done(s->budget);
  if (response != NULL)
    ond_auth_scrub_response(s->m.auth, response);
  return response;
}

/* A 401 that only asks for other credentials. */
static bool asks_again(Sending *s, const OndHttpResponse *response) {
  OndError err;

  if (response->transfer != OND_TRANSFER_OK || response->status != 401)
    return false;
  if (s->keeper != NULL)
    return ond_keeper_refused(s->keeper, ond_keeper_version(s->keeper));
  return ond_auth_challenged(s->m.auth, &s->m.request, response, &err);
}

/* What the answer means: true when the message was taken. */
static bool read_answer(Sending *s, const OndHttpResponse *response, char *error, size_t n) {
  const OndRow *rows[1] = {&s->m.row};
  OndRowResult result = {0};
  OndArena *arena;
  OndAnswer answer = ond_classify(response->transfer, response->status, &ond_operation_info(s->m.operation)->statuses);
  bool ok;

  if (answer != OND_ANSWER_READ) {
    s->unreachable = answer != OND_ANSWER_REFUSED;
    if (response->transfer == OND_TRANSFER_OK)
      ond_connector_message(s->m.operation, response, error, n);
    else
      strlcpy(error, response->error, n);
    if (response->status > 0)
      snprintf(error + strlen(error), n - strlen(error), " (HTTP %d)", response->status);
    ond_budget_error(s->budget, error);
    return false;
  }
  arena = ond_arena_create();
  ond_connector_read(s->m.connector, s->m.operation, response, rows, 1, arena, &result, NULL);
  ok = result.outcome == OND_OUT_ACCEPTED;
  if (!ok)
    strlcpy(error, result.message != NULL ? result.message : "the answer does not say that the message was taken", n);
  ond_arena_destroy(arena);
  return ok;
}

static bool converse(Sending *s, char *error, size_t n) {
  for (int again = 0;; again++) {
    OndHttpResponse *response = exchange(s, error, n);
    bool ok;

    if (response == NULL)
      return false;
    if (again < AGAINS_MAX && asks_again(s, response)) {
      ond_http_response_free(response);
      continue;
    }
    ok = read_answer(s, response, error, n);
    ond_http_response_free(response);
    return ok;
  }
}

static void release(Sending *s) {
  ond_keeper_destroy(s->keeper, true);
  ond_http_destroy(s->http);
  if (s->budget != NULL)
    ond_budget_detach(s->budget);
  ond_alert_message_free(&s->m);
}

/* Tries once. False: error says why, in words without secrets. */
static bool send_alert(const OndSync *sync, const OndAlert *alert, char *error, size_t n, bool *unreachable) {
  volatile bool ok = false;
  Sending *s = palloc0(sizeof(Sending));

  error[0] = '\0';
  PG_TRY();
  {
    ond_alert_message_load(&s->m, sync, alert);
    open_transport(s);
    ok = converse(s, error, n);
    *unreachable = s->unreachable;
  }
  PG_FINALLY();
  { release(s); }
  PG_END_TRY();
  return ok;
}

/* Likewise; what keeps it from being sent at all is only one more reason. */
static bool try_alert(const OndSync *sync, const OndAlert *alert, char *error, size_t n, bool *unreachable) {
  MemoryContext context = CurrentMemoryContext;
  volatile bool ok = false;

  PG_TRY();
  { ok = send_alert(sync, alert, error, n, unreachable); }
  PG_CATCH();
  {
    ErrorData *e;

    MemoryContextSwitchTo(context);
    HOLD_INTERRUPTS();
    e = CopyErrorData();
    FlushErrorState();
    LWLockReleaseAll();
    AbortOutOfAnyTransaction();
    MemoryContextSwitchTo(context);
    strlcpy(error, e->message, n);
    RESUME_INTERRUPTS();
  }
  PG_END_TRY();
  return ok;
}

/* --- the process ---------------------------------------------------------------------------------------------- */

/* The lock again, if an error has cost it; and the next message. False: leave. */
static bool next(MemoryContext context, OndSync **sync, OndAlert *alert) {
  bool found;

  StartTransactionCommand();
  found = ond_extension(true) != NULL; /* it may have been dropped meanwhile */
  CommitTransactionCommand();
  if (!found)
    return false;
  ond_tx_begin();
  found = ond_alerts_lock(true) && ond_alerts_next(context, sync, alert);
  ond_tx_commit();
  return found;
}

static void tell(const OndSync *sync, const OndAlert *alert) {
  char error[ERROR_BYTES];
  MemoryContext context = CurrentMemoryContext;
  bool unreachable = false;
  bool ok = try_alert(sync, alert, error, sizeof(error), &unreachable);

  ond_tx_begin();
  if (ok)
    ond_alerts_told(sync, alert);
  else
    ond_alerts_failed(sync, alert, error, unreachable);
  ond_tx_commit();
  MemoryContextSwitchTo(context);
}

void ond_alert_worker_main(Datum arg) {
  MemoryContext context;
  OndSync *sync;
  OndAlert alert;

  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  ond_session_locks_end_with_process();
  BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
  SetConfigOption("application_name", "ondatra alert", PGC_USERSET, PGC_S_SESSION);
  ond_session_of_one_extension();
  pgstat_report_activity(STATE_RUNNING, "sending alerts");
  context = AllocSetContextCreate(TopMemoryContext, "ondatra alert", ALLOCSET_DEFAULT_SIZES);
  MemoryContextSwitchTo(context);
  while (ond_setting_enabled && next(context, &sync, &alert)) {
    tell(sync, &alert);
    CHECK_FOR_INTERRUPTS();
    if (ConfigReloadPending) {
      ConfigReloadPending = false;
      ProcessConfigFile(PGC_SIGHUP);
    }
    MemoryContextSwitchTo(context);
    MemoryContextReset(context);
  }
  ond_alerts_unlock(); /* before the scheduler looks: a message that became due just now is another process's */
  StartTransactionCommand();
  ond_wake_at_commit(); /* for the scheduler: it sees when the next one is due */
  CommitTransactionCommand();
  proc_exit(0);
}

bool ond_alerts_start(void) {
  BackgroundWorkerHandle *handle;
  BackgroundWorker worker;

  ond_worker_describe(&worker, "ond_alert_worker_main", "ondatra alert", NULL, ObjectIdGetDatum(MyDatabaseId));
  return RegisterDynamicBackgroundWorker(&worker, &handle);
}
