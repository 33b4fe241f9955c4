/*
 * rate.c - rate limits over sliding windows.
 *
 * Time is cut into slices of ceil(W / 64) microseconds, numbered from 0; counts[k % 65] holds the requests of slice k. At the
 * moment `now` slice k counts while any of it may still share a window with now:
 *
 *   alive(k)  <=>  (k + 1) * slice > now - W
 *
 * Invariants (tested by brute force in test_core_rate.c)
 *   1. used is the sum of counts[], and only slices newest - 64 .. newest have counts. 65 places are enough: W spans at
 *      most 64 slices, and the one that now stands in is the 65th.
 *   2. No closed window [t, t + W] holds more than N requests that wait let through: a request is forgotten only
 *      when the end of its slice, and so the request itself, is more than W ago.
 *   3. A request is forgotten at most one slice later than it could be.
 *
 * A clock that goes back is read as one that stands still: requests then count in the newest slice, which is later than
 * they were and so on the safe side.
 *
 * Does not lock, sleep or read a clock; and does not know that several windows make a group.
 */
#include "core/rate.h"

#include <limits.h>
#include <string.h>

#define PLACES        (OND_RATE_SLICES + 1)
#define REQUESTS_MAX  INT64_C(1000000000)
#define MS_US         INT64_C(1000)
#define S_US          (1000 * MS_US)
#define DAY_US        (86400 * S_US)
#define WINDOW_MAX_US (31 * DAY_US)

static const struct {
  const char *name;
  int64_t us;
} UNITS[] = {{"ms", MS_US}, {"s", S_US}, {"m", 60 * S_US}, {"h", 3600 * S_US}, {"d", DAY_US}};

/* Digits at *p as a number, at least one; false for none or for more than `max`. */
static bool parse_digits(const char **p, int64_t max, int64_t *out) {
  int64_t value = 0;
  const char *s = *p;

  while (*s >= '0' && *s <= '9') {
    value = value * 10 + (*s++ - '0');
    if (value > max) {
      return false;
    }
  }
  if (s == *p) {
    return false;
  }
  *p = s;
  *out = value;
  return true;
}

/* [W]u as microseconds. */
static bool parse_window(const char *p, int64_t *out) {
  int64_t n = 1;

  if (*p >= '0' && *p <= '9' && !parse_digits(&p, WINDOW_MAX_US / MS_US, &n)) {
    return false;
  }
  for (size_t i = 0; i < sizeof(UNITS) / sizeof(UNITS[0]); i++) {
    if (strcmp(p, UNITS[i].name) == 0) {
      if (n < 1 || n > WINDOW_MAX_US / UNITS[i].us) {
        return false;
      }
      *out = n * UNITS[i].us;
      return true;
    }
  }
  return false;
}

bool ond_rate_limit_parse(const char *text, OndRateLimit *out, OndError *err) {
  const char *p = text;
  int64_t requests;
  int64_t window_us;

  if (!parse_digits(&p, REQUESTS_MAX, &requests) || requests < 1 || *p != '/' || !parse_window(p + 1, &window_us)) {
    ond_error_set(err, "rate limit \"%.100s\" is not valid", text);
    ond_error_detail(err, "It allows 1 to %lld requests in a window of 1ms to 31d.", (long long)REQUESTS_MAX);
    ond_error_hint(err, "%s", OND_RATE_LIMIT_HINT);
    return false;
  }
  out->requests = (uint32_t)requests;
  out->window_us = window_us;
  return true;
}

static int64_t slice_us(const OndRateWindow *w) {
  int64_t us = (w->limit.window_us + OND_RATE_SLICES - 1) / OND_RATE_SLICES;

  return us > 0 ? us : 1;
}

static uint32_t *count_of(OndRateWindow *w, int64_t slice) {
  return &w->counts[slice % PLACES];
}

/* The oldest slice that may have a place. */
static int64_t oldest_slice(const OndRateWindow *w) {
  return w->slice > OND_RATE_SLICES ? w->slice - OND_RATE_SLICES : 0;
}

/* The first moment at which a slice no longer counts. */
static int64_t slice_leaves_at(const OndRateWindow *w, int64_t slice) {
  return (slice + 1) * slice_us(w) + w->limit.window_us;
}

static void forget(OndRateWindow *w, int64_t slice) {
  w->used -= *count_of(w, slice);
  *count_of(w, slice) = 0;
}

/* Moves to now: new places are empty, slices that left the window are forgotten. */
static void advance(OndRateWindow *w, int64_t now_us) {
  int64_t newest = now_us > 0 ? now_us / slice_us(w) : 0;

  if (newest - w->slice >= PLACES) {
    memset(w->counts, 0, sizeof(w->counts));
    w->used = 0;
    w->slice = newest;
  }
  while (w->slice < newest) {
    w->slice++;
    forget(w, w->slice); /* the place of slice - 65 */
  }
  for (int64_t k = oldest_slice(w); k <= w->slice && slice_leaves_at(w, k) <= now_us; k++) {
    forget(w, k);
  }
}

void ond_rate_window_init(OndRateWindow *w, OndRateLimit limit) {
  memset(w, 0, sizeof(*w));
  w->limit = limit;
}

int64_t ond_rate_window_wait(OndRateWindow *w, int64_t now_us) {
  uint32_t used;

  advance(w, now_us);
  used = w->used;
  for (int64_t k = oldest_slice(w); k <= w->slice && used >= w->limit.requests; k++) {
    used -= *count_of(w, k);
    if (used < w->limit.requests) {
      return slice_leaves_at(w, k) - now_us;
    }
  }
  /* A limit of no requests (memory that was never given one) does not open; asking again each second does no harm. */
  return used < w->limit.requests ? 0 : S_US;
}

void ond_rate_window_take(OndRateWindow *w, int64_t now_us) {
  advance(w, now_us);
  if (w->used < UINT32_MAX) {
    (*count_of(w, w->slice))++;
    w->used++;
  }
}

uint32_t ond_rate_window_left(OndRateWindow *w, int64_t now_us) {
  advance(w, now_us);
  return w->used < w->limit.requests ? w->limit.requests - w->used : 0;
}

void ond_rate_window_change(OndRateWindow *w, OndRateLimit limit, int64_t now_us) {
  uint32_t used;

  advance(w, now_us);
  if (limit.window_us == w->limit.window_us) {
    w->limit = limit; /* the slices stay what they are */
    return;
  }
  used = w->used;
  ond_rate_window_init(w, limit);
  advance(w, now_us);
  w->used = used;
  *count_of(w, w->slice) = used;
}
