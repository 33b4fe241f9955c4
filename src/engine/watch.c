/*
 * watch.c - the time that a model may take; see watch.h.
 *
 * A cancellation is an error like any other: a model's function can catch it and go on for ever, in a worker that others need. So beside the time-out there
 * is a clock that ticks while a model runs. It sees by itself that the time is over, or that somebody asked the run to stop, and after some patience it ends
 * the process as SIGTERM would: that cannot be caught. The scheduler records the run.
 *
 * The tick is a signal handler: it reads flags and a clock, and sets flags.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "engine/run.h"
#include "engine/watch.h"

#define TICK_MS 500

static TimeoutId ticks = MAX_TIMEOUTS; /* until registered */
static volatile bool watching = false;
static volatile bool lost_patience = false;
static int64 deadline_us;
static int64 stopped_us; /* since when the model should have ended; 0: it need not */
static bool (*stop_asked)(void);

static void tick(void) {
  int64 now = ond_clock_us();

  if (!watching)
    return;
  if (stopped_us == 0 && (stop_asked() || (deadline_us > 0 && now >= deadline_us)))
    stopped_us = now;
  if (stopped_us > 0 && now - stopped_us >= OND_WATCH_PATIENCE_S * INT64CONST(1000000)) {
    lost_patience = true;
    die(SIGTERM);
  }
}

void ond_watch_begin(int64 deadline, bool (*asked)(void)) {
  if (ticks == MAX_TIMEOUTS)
    ticks = RegisterTimeout(USER_TIMEOUT, tick);
  deadline_us = deadline;
  stopped_us = 0;
  stop_asked = asked;
  watching = true;
  if (deadline > 0)
    enable_timeout_after(STATEMENT_TIMEOUT, (int)Min(Max((deadline - ond_clock_us()) / 1000, 1), PG_INT32_MAX));
  enable_timeout_every(ticks, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TICK_MS), TICK_MS);
}

void ond_watch_end(void) {
  if (!watching)
    return;
  watching = false;
  disable_timeout(STATEMENT_TIMEOUT, false);
  disable_timeout(ticks, false);
}

bool ond_watch_lost_patience(void) {
  return lost_patience;
}
