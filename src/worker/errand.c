/*
 * errand.c - see errand.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "worker/errand.h"

#define WAIT_POLL_MS 100

/* --- the backend that waits ------------------------------------------------------------------------------------- */

void *ond_errand_create(Size size, dsm_segment **segment) {
  OndErrand *e;

  *segment = dsm_create(size, 0);
  e = dsm_segment_address(*segment);
  memset(e, 0, size);
  pg_atomic_init_u32(&e->end, OND_ERRAND_NO_ANSWER);
  return e;
}

OndErrandEnd ond_errand_await(OndErrand *e, BackgroundWorkerHandle *handle, int timeout_ms) {
  TimestampTz give_up_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

  for (;;) {
    pid_t pid;
    bool gone = GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED; /* looked at first: its answer came before its end */
    OndErrandEnd end = (OndErrandEnd)pg_atomic_read_u32(&e->end);

    pg_read_barrier();
    if (end != OND_ERRAND_NO_ANSWER || gone)
      return end;
    if (timeout_ms > 0 && GetCurrentTimestamp() >= give_up_at) {
      TerminateBackgroundWorker(handle);
      return OND_ERRAND_NO_ANSWER;
    }
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_POLL_MS, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
  }
}

/* --- the process ------------------------------------------------------------------------------------------------ */

void *ond_errand_attach(Datum arg) {
  dsm_segment *segment;

  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, die);
  BackgroundWorkerUnblockSignals();
  segment = dsm_attach(DatumGetUInt32(arg));
  if (segment == NULL)
    proc_exit(0); /* nobody waits any more */
  return dsm_segment_address(segment);
}

static void take_error(OndErrand *e) {
  ErrorData *error;

  MemoryContextSwitchTo(TopMemoryContext);
  error = CopyErrorData();
  FlushErrorState();
  AbortOutOfAnyTransaction();
  ond_error_set(&e->error, "%s", error->message);
  strlcpy(e->error.sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(e->error.sqlstate));
  if (error->detail != NULL)
    ond_error_detail(&e->error, "%s", error->detail);
  if (error->hint != NULL)
    ond_error_hint(&e->error, "%s", error->hint);
}

void ond_errand_carry_out(OndErrand *e, bool (*work)(OndErrand *e)) {
  volatile bool ok = false;

  PG_TRY();
  { ok = work(e); }
  PG_CATCH();
  { take_error(e); }
  PG_END_TRY();
  pg_write_barrier();
  pg_atomic_write_u32(&e->end, ok ? OND_ERRAND_DONE : OND_ERRAND_REFUSED);
}
