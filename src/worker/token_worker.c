/*
 * token_worker.c - the process that asks for an access token on behalf of a backend; see token.h.
 *
 * The two talk through a segment of shared memory: the question, then an error or none. Whoever asked may be gone by then.
 * Its session user is the bootstrap superuser, as the scheduler's: nothing but our own SQL runs here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "catalog/arming.h"
#include "catalog/connector.h"
#include "catalog/session.h"
#include "engine/tokens.h"
#include "engine/transport.h"
#include "worker/shared.h"
#include "worker/token.h"

#define ASK_POLL_MS   50
#define PAUSE_MS      10
#define WAIT_POLL_MS  100

typedef enum Progress { WORKING, FETCHED, REFUSED } Progress;

typedef struct Question {
  Oid database;
  int64 destination_id;
  int64 above_version;
  pg_atomic_uint32 progress;   /* Progress; error is written before REFUSED */
  OndError error;
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

static void take_error(Question *q) {
  MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);
  ErrorData *error = CopyErrorData();

  FlushErrorState();
  AbortOutOfAnyTransaction();
  ond_error_set(&q->error, "%s", error->message);
  strlcpy(q->error.sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(q->error.sqlstate));
  if (error->detail != NULL)
    ond_error_detail(&q->error, "%s", error->detail);
  if (error->hint != NULL)
    ond_error_hint(&q->error, "%s", error->hint);
  MemoryContextSwitchTo(context);
}

static void answer(Question *q) {
  volatile bool ok = false;
  Worker w = {0};

  PG_TRY();
  {
    load(&w, q->destination_id);
    ok = fetch(&w, q->above_version, &q->error);
  }
  PG_CATCH();
  { take_error(q); }
  PG_END_TRY();
  pg_write_barrier();
  pg_atomic_write_u32(&q->progress, ok ? FETCHED : REFUSED);
}

void ond_token_worker_main(Datum arg) {
  dsm_segment *segment;
  Question *q;

  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  ond_session_locks_end_with_process();
  segment = dsm_attach(DatumGetUInt32(arg));
  if (segment == NULL)
    proc_exit(0); /* nobody waits any more */
  q = dsm_segment_address(segment);
  BackgroundWorkerInitializeConnectionByOid(q->database, InvalidOid, 0);
  ond_session_of_worker("ondatra token");
  pgstat_report_activity(STATE_RUNNING, MyBgworkerEntry->bgw_name);
  MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "ondatra token", ALLOCSET_DEFAULT_SIZES));
  answer(q);
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

static Progress await(Question *q, BackgroundWorkerHandle *handle) {
  for (;;) {
    pid_t pid;
    bool gone = GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED;
    Progress progress = (Progress)pg_atomic_read_u32(&q->progress);

    pg_read_barrier();
    if (progress != WORKING || gone)
      return progress;
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_POLL_MS, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
  }
}

void ond_token_fetch(int64 destination_id, const char *destination_name, int64 above_version) {
  dsm_segment *segment = dsm_create(sizeof(Question), 0);
  Question *q = dsm_segment_address(segment);
  Progress progress;

  memset(q, 0, sizeof(*q));
  q->database = MyDatabaseId;
  q->destination_id = destination_id;
  q->above_version = above_version;
  pg_atomic_init_u32(&q->progress, WORKING);
  progress = await(q, start(segment, destination_name));
  if (progress == REFUSED)
    ond_raise(&q->error);
  dsm_detach(segment);
  if (progress == WORKING)
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("the process that fetches the access token has ended"),
                    errhint("The server's log says why.")));
}
