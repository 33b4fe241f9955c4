/*
 * token_worker.c - the process that asks for an access token on behalf of a backend; see token.h.
 *
 * It runs an errand (errand.h): the question, then an error or none.
 * Its session user is the bootstrap superuser, as the scheduler's: nothing but our own SQL runs here.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "catalog/arming.h"
#include "catalog/connector.h"
#include "catalog/session.h"
#include "engine/tokens.h"
#include "engine/transport.h"
#include "worker/errand.h"
#include "worker/shared.h"
#include "worker/token.h"

#define ASK_POLL_MS 50
#define PAUSE_MS    10

typedef struct Question {
  OndErrand errand;            /* first */
  Oid database;
  int64 destination_id;
  int64 above_version;
} Question;

/* --- the process that asks ---------------------------------------------------------------------------------- */

typedef struct Worker {
  OndDestination *destination;
  OndConnector *connector;
  OndAuth *auth;
  OndAddressPolicy addresses;
} Worker;

static void load(Worker *w, int64 destination_id) {
  MemoryContext context = CurrentMemoryContext;
  OndError err = {0};

  ond_tx_begin();
  MemoryContextSwitchTo(context);
  ond_armed_require();
  w->destination = ond_destination_load(destination_id);
  if (w->destination == NULL)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the destination is not committed yet"),
                    errhint("COMMIT first: its access token is fetched by another process.")));
  w->connector = ond_destination_compile(w->destination, NULL);
  w->auth = ond_destination_credentials(w->destination, w->connector, &err);
  if (w->auth == NULL)
    ond_raise(&err);
  ond_transport_addresses(w->destination, &w->addresses);
  ond_tx_commit();
  MemoryContextSwitchTo(context);
}

static bool fetch(const Worker *w, int64 above_version, OndError *err) {
  OndKeeper *k = ond_keeper_create(w->destination, w->connector, w->auth, &w->addresses);
  bool ok;

  if (k == NULL)
    return true; /* its credentials are no token any more */
  ond_keeper_expect(k, above_version);
  while (ond_keeper_state(k) == OND_TOKEN_WAIT) {
    CHECK_FOR_INTERRUPTS();
    ond_keeper_work(k, ASK_POLL_MS);
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PAUSE_MS, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
  }
  ok = ond_keeper_state(k) == OND_TOKEN_READY;
  if (!ok)
    *err = *ond_keeper_error(k);
  ond_keeper_destroy(k, true);
  return ok;
}

static bool answer(OndErrand *e) {
  Question *q = (Question *)e;
  Worker w = {0};

  load(&w, q->destination_id);
  return fetch(&w, q->above_version, &e->error);
}

void ond_token_worker_main(Datum arg) {
  Question *q = ond_errand_attach(arg);

  ond_session_locks_end_with_process();
  BackgroundWorkerInitializeConnectionByOid(q->database, InvalidOid, 0);
  ond_session_of_worker("ondatra token");
  ond_session_of_one_extension();
  pgstat_report_activity(STATE_RUNNING, MyBgworkerEntry->bgw_name);
  MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "ondatra token", ALLOCSET_DEFAULT_SIZES));
  ond_errand_carry_out(&q->errand, answer);
  proc_exit(0);
}

/* --- the backend that waits --------------------------------------------------------------------------------- */

static BackgroundWorkerHandle *start(dsm_segment *segment, const char *destination_name) {
  BackgroundWorkerHandle *handle;
  BackgroundWorker worker;

  ond_worker_describe(&worker, "ond_token_worker_main", "ondatra token", destination_name, UInt32GetDatum(dsm_segment_handle(segment)));
  if (!RegisterDynamicBackgroundWorker(&worker, &handle))
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("no worker process is free to fetch an access token"),
                    errhint("Try again later, or raise max_worker_processes and restart the server.")));
  return handle;
}

void ond_token_fetch(int64 destination_id, const char *destination_name, int64 above_version) {
  dsm_segment *segment;
  Question *q = ond_errand_create(sizeof(Question), &segment);
  OndErrandEnd end;

  q->database = MyDatabaseId;
  q->destination_id = destination_id;
  q->above_version = above_version;
  end = ond_errand_await(&q->errand, start(segment, destination_name), 0);
  if (end == OND_ERRAND_REFUSED)
    ond_raise(&q->errand.error);
  dsm_detach(segment);
  if (end == OND_ERRAND_NO_ANSWER)
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("the process that fetches the access token has ended"),
                    errhint("The server's log says why.")));
}
