/*
 * rate.h - rate limits: "100/10s" and what it means at any moment.
 *
 * Promise: no window of length W, wherever it begins, ever holds more than N
 * requests (no double burst at an edge). A window is cut into OND_RATE_SLICES
 * slices; a request counts in its slice until the whole slice has left the
 * window, so the answer errs to the safe side by at most one slice.
 *
 * The structs are plain and of fixed size: they live in shared memory, one set
 * per destination and rate group, and the caller holds the lock. Time is an
 * argument (monotonic microseconds): tests use a virtual clock.
 */
#ifndef OND_CORE_RATE_H
#define OND_CORE_RATE_H

#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

#define OND_RATE_SLICES 64
#define OND_RATE_WINDOWS_MAX 4      /* windows of one group */
#define OND_RATE_GROUPS_MAX 4       /* groups of one destination, "default" first */
#define OND_RATE_GROUP_NAME_MAX 32

/* One limit: at most `requests` per `window_us`. */
typedef struct OndRateLimit {
  uint32_t requests;
  int64_t window_us;
} OndRateLimit;

/* The limits of one group. n == 0: unlimited. */
typedef struct OndRateGroup {
  char name[OND_RATE_GROUP_NAME_MAX];
  int n;
  OndRateLimit limits[OND_RATE_WINDOWS_MAX];
} OndRateGroup;

/* All limits of a destination. groups[0] is "default"; n_groups >= 1 after parsing. */
typedef struct OndRateSpec {
  int n_groups;
  OndRateGroup groups[OND_RATE_GROUPS_MAX];
} OndRateSpec;

/* The use of one limit. Zero-filled memory plus ond_rate_window_init(). */
typedef struct OndRateWindow {
  OndRateLimit limit;
  int64_t slice;                       /* absolute number of the newest slice */
  uint32_t used;                       /* sum of counts[] */
  uint32_t counts[OND_RATE_SLICES + 1];
} OndRateWindow;

#define OND_RATE_LIMIT_HINT "Write requests per window, like \"100/10s\" or \"250000/1d\"; units are ms, s, m, h, d."

/*
 * Parses "N/Wu" with u one of ms s m h d; W may be left out ("100/s"). N 1..1e9, W 1 ms..31 d.
 * Errors: false and an OndError that shows the form.
 */
extern bool ond_rate_limit_parse(const char *text, OndRateLimit *out, OndError *err);

extern void ond_rate_window_init(OndRateWindow *w, OndRateLimit limit);
/* Microseconds until a request may start now: 0 = now. Does not count it. */
extern int64_t ond_rate_window_wait(OndRateWindow *w, int64_t now_us);
/* Counts a request that starts now (the caller asked wait first, for all windows of the group). */
extern void ond_rate_window_take(OndRateWindow *w, int64_t now_us);
/* Requests that may still start now. */
extern uint32_t ond_rate_window_left(OndRateWindow *w, int64_t now_us);
/*
 * Changes the limit, keeping what was used: after it no window of the new length holds more than allowed
 * (what was counted in the old slices counts as used now).
 */
extern void ond_rate_window_change(OndRateWindow *w, OndRateLimit limit, int64_t now_us);

#endif
