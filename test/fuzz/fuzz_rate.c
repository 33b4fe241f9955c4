/*
 * fuzz_rate.c - any rate limit, and any sequence of waits, takes and clock jumps.
 *
 * The promise is checked against a list of all requests: no window of length W, wherever it begins, holds more than N requests that wait let
 * through. And the limit is no stricter than it says: what is named as the wait is enough, and what is forgotten is at most a slice late.
 *
 * Input: first line a limit; then a byte a step.
 */
#include "core/rate.h"
#include "fuzz.h"

#define REQUESTS_MAX 2000

typedef struct History {
  int64_t at[REQUESTS_MAX];
  int n;
} History;

/* Requests in the closed window that ends now. */
static int64_t within(const History *h, int64_t now, int64_t window_us) {
  int64_t n = 0;

  for (int i = h->n - 1; i >= 0 && h->at[i] >= now - window_us; i--) {
    n++;
  }
  return n;
}

static void take(OndRateWindow *w, History *h, int64_t now) {
  uint32_t left = ond_rate_window_left(w, now);

  MUST(left >= 1);
  MUST(within(h, now, w->limit.window_us) < (int64_t)w->limit.requests);
  ond_rate_window_take(w, now);
  MUST(ond_rate_window_left(w, now) == left - 1);
  if (h->n < REQUESTS_MAX) {
    h->at[h->n++] = now;
  }
}

/* A step: 0..3 ask and take when allowed, 4..5 wait as told, then take; others let time pass, in parts of the window. */
static int64_t step(OndRateWindow *w, History *h, int64_t now, uint8_t byte) {
  int64_t slice = (w->limit.window_us + OND_RATE_SLICES - 1) / OND_RATE_SLICES;
  int64_t wait = ond_rate_window_wait(w, now);

  MUST(wait >= 0 && wait <= w->limit.window_us + slice);
  MUST((wait == 0) == (ond_rate_window_left(w, now) > 0));
  /* not stricter than it says, by more than a slice */
  MUST(wait == 0 || within(h, now, w->limit.window_us + slice) >= (int64_t)w->limit.requests);
  if (byte % 8 <= 5) {
    if (wait > 0 && byte % 8 <= 3) {
      return now;
    }
    now += wait;
    MUST(ond_rate_window_wait(w, now) == 0);
    take(w, h, now);
    return now;
  }
  return now + w->limit.window_us / 100 * (byte / 8) + byte / 8 * (byte % 2);
}

static void check_window(OndRateLimit limit, Fuzz *f) {
  OndRateWindow w;
  History h = {.n = 0};
  int64_t now = limit.window_us;

  ond_rate_window_init(&w, limit);
  for (int steps = 0; f->n > 0 && steps < 4000 && h.n < REQUESTS_MAX; steps++) {
    now = step(&w, &h, now, fuzz_byte(f));
  }
}

/* A change of the limit forgets nothing that it still has to know. */
static void check_change(OndRateLimit limit, Fuzz *f) {
  OndRateWindow w;
  int64_t now = limit.window_us;
  uint32_t used = fuzz_byte(f);
  OndRateLimit other = {(uint32_t)fuzz_byte(f) + 1, limit.window_us / (fuzz_byte(f) % 4 + 1)};

  ond_rate_window_init(&w, limit);
  for (uint32_t i = 0; i < used; i++) {
    ond_rate_window_take(&w, now);
  }
  if (other.window_us < 1) {
    return;
  }
  ond_rate_window_change(&w, other, now);
  MUST(ond_rate_window_left(&w, now) == (used < other.requests ? other.requests - used : 0));
  now += ond_rate_window_wait(&w, now);
  MUST(ond_rate_window_left(&w, now) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Fuzz f = {data, size};
  size_t n;
  char *text = fuzz_line(&f, &n);
  OndRateLimit limit;
  OndError err = {0};

  if (ond_rate_limit_parse(text, &limit, &err)) {
    MUST(limit.requests >= 1 && limit.requests <= 1000000000);
    MUST(limit.window_us >= 1000 && limit.window_us <= INT64_C(31) * 86400 * 1000000);
    check_change(limit, &f);
    check_window(limit, &f);
  } else {
    fuzz_check_error(&err);
  }
  free(text);
  return 0;
}
