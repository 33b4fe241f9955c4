/*
 * test_core_rate.c - the promise of rate.h by brute force, with a virtual clock.
 *
 * A Trace remembers the time of every request that was let through. The promise for a closed window of length W anywhere
 * is the same as: the i-th request comes more than W after the (i - N)-th. That is checked for every single request; so is
 * that the wait is never longer than an exact window plus one slice.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "core/rate.h"
#include "unit.h"

#define MS  INT64_C(1000)
#define S   INT64_C(1000000)
#define DAY (86400 * S)

typedef struct Trace {
  OndRateWindow window;
  int64_t now;
  int64_t *times; /* the last N, a ring */
  uint64_t granted;
  unsigned long long random;
} Trace;

static void trace_start(Trace *t, OndRateLimit limit, int64_t now, unsigned long long seed) {
  memset(t, 0, sizeof(*t));
  ond_rate_window_init(&t->window, limit);
  t->now = now;
  t->times = malloc(limit.requests * sizeof(int64_t));
  t->random = seed;
}

static int64_t slice_of(OndRateLimit limit) {
  return (limit.window_us + OND_RATE_SLICES - 1) / OND_RATE_SLICES;
}

static bool counts_add_up(const OndRateWindow *w) {
  uint64_t sum = 0;

  for (int i = 0; i <= OND_RATE_SLICES; i++) {
    sum += w->counts[i];
  }
  return sum == w->used;
}

/* Asks, and takes when it may: returns the wait. Checks both sides of the promise. */
static int64_t trace_ask(Trace *t) {
  OndRateLimit limit = t->window.limit;
  int64_t wait = ond_rate_window_wait(&t->window, t->now);
  int64_t *nth_last = &t->times[t->granted % limit.requests];

  if (wait == 0) {
    if (t->granted >= limit.requests) {
      CHECK(t->now - *nth_last > limit.window_us);
    }
    *nth_last = t->now;
    t->granted++;
    ond_rate_window_take(&t->window, t->now);
  } else {
    CHECK(wait > 0);
    if (CHECK(t->granted >= limit.requests)) {
      CHECK(t->now + wait > *nth_last + limit.window_us);
      CHECK(t->now + wait <= *nth_last + limit.window_us + slice_of(limit));
    }
  }
  return wait;
}

/* A step of the clock: none, small, about a request's share, exactly to the edge, or far. */
static int64_t step(Trace *t, int64_t wait) {
  OndRateLimit limit = t->window.limit;
  int64_t share = limit.window_us / limit.requests;
  unsigned long long r = unit_random(&t->random);

  switch (r % 100 < 95 ? r % 5 : 5 + r % 2) {
  case 0: return 0;
  case 1: return (int64_t)(unit_random(&t->random) % 3);
  case 2: return (int64_t)(unit_random(&t->random) % (unsigned long long)(share + 2));
  case 3: return wait > 0 ? wait : 0;
  case 4: return wait > 1 ? wait - 1 : 0;
  case 5: return (int64_t)(unit_random(&t->random) % (unsigned long long)(2 * limit.window_us));
  default: return (int64_t)(unit_random(&t->random) % (unsigned long long)(100 * limit.window_us));
  }
}

static void brute_force(OndRateLimit limit, int64_t start, unsigned long long seed, uint64_t requests) {
  Trace t;

  trace_start(&t, limit, start, seed);
  for (uint64_t asked = 0; t.granted < requests && asked < 20 * requests; asked++) {
    int64_t wait = trace_ask(&t);

    t.now += step(&t, wait);
    if (wait > 0 && asked % 4 == 0) {
      t.now += wait;
      if (!CHECK_INT(ond_rate_window_wait(&t.window, t.now), 0)) {
        break;
      }
    }
    if (asked % 64 == 0 && !CHECK(counts_add_up(&t.window))) {
      break;
    }
  }
  CHECK(t.granted >= requests);
  free(t.times);
}

TEST(rate_promise_holds_for_random_arrivals) {
  static const OndRateLimit LIMITS[] = {{1, MS},   {2, MS},        {7, MS},       {1, S},         {3, 1001},    {5, 1063},
                                        {4, 6401}, {100, 10 * S},  {10, 64 * MS}, {1000, 60 * S}, {64, 999983}, {65, S},
                                        {4, S},    {20, 3600 * S}, {1, 31 * DAY}, {17, 31 * DAY}, {5000, DAY},  {3, 7 * DAY}};

  for (size_t i = 0; i < sizeof(LIMITS) / sizeof(LIMITS[0]); i++) {
    uint64_t requests = LIMITS[i].requests * 10 + 5000;

    brute_force(LIMITS[i], 0, 1 + i, requests);
    brute_force(LIMITS[i], 1767225600 * S + 12345, 1000 + i, requests);
  }
}

TEST(rate_promise_holds_for_day_quotas) {
  brute_force((OndRateLimit){250000, DAY}, 987654321, 77, 600000);
}

/* Everybody asks as fast as the limit lets them: the worst case for a burst at an edge. */
TEST(rate_promise_holds_for_greedy_callers) {
  static const OndRateLimit LIMITS[] = {{1, MS}, {10, MS}, {100, 10 * S}, {3, S}, {1000, 60 * S}, {64, 64 * MS}, {11, 1009}};

  for (size_t i = 0; i < sizeof(LIMITS) / sizeof(LIMITS[0]); i++) {
    Trace t;

    trace_start(&t, LIMITS[i], (int64_t)i * 777, 5);
    while (t.granted < LIMITS[i].requests * 20ULL + 200) {
      t.now += trace_ask(&t);
    }
    free(t.times);
  }
}

TEST(rate_greedy_callers_get_their_share) {
  const OndRateLimit limit = {100, 10 * S};
  Trace t;

  trace_start(&t, limit, 0, 5);
  while (t.now < 1000 * S) {
    t.now += trace_ask(&t);
  }
  /* A window costs at most one slice more than its length: 100 windows at least 64/65 full. */
  CHECK(t.granted <= 101 * 100);
  CHECK(t.granted >= 98 * 100);
  free(t.times);
}

TEST(rate_clock_that_does_not_move) {
  OndRateWindow w;
  int64_t now = 123456789;

  ond_rate_window_init(&w, (OndRateLimit){3, S});
  for (int i = 0; i < 3; i++) {
    CHECK_INT(ond_rate_window_left(&w, now), 3 - i);
    CHECK_INT(ond_rate_window_wait(&w, now), 0);
    CHECK_INT(ond_rate_window_wait(&w, now), 0); /* asking does not count */
    ond_rate_window_take(&w, now);
  }
  for (int i = 0; i < 100; i++) {
    CHECK_INT(ond_rate_window_left(&w, now), 0);
    CHECK(ond_rate_window_wait(&w, now) > S);
  }
  now += ond_rate_window_wait(&w, now) - 1;
  CHECK_INT(ond_rate_window_wait(&w, now), 1);
  CHECK_INT(ond_rate_window_wait(&w, now + 1), 0);
  CHECK_INT(ond_rate_window_left(&w, now + 1), 3);
}

TEST(rate_clock_that_goes_back) {
  OndRateWindow w;

  ond_rate_window_init(&w, (OndRateLimit){2, S});
  ond_rate_window_take(&w, 100 * S);
  CHECK_INT(ond_rate_window_wait(&w, 50 * S), 0);
  ond_rate_window_take(&w, 50 * S); /* counts as a request of second 100 */
  CHECK_INT(ond_rate_window_left(&w, 50 * S), 0);
  CHECK(ond_rate_window_wait(&w, 50 * S) > 51 * S);
  CHECK(ond_rate_window_wait(&w, 100 * S) > S);
  CHECK_INT(ond_rate_window_wait(&w, 100 * S + S + slice_of(w.limit)), 0);
  CHECK(counts_add_up(&w));
}

TEST(rate_clock_that_jumps_far) {
  static const int64_t JUMPS[] = {S, 63 * S, 64 * S, 65 * S, 66 * S, DAY, 1000000 * DAY, 3000000 * DAY};

  for (size_t i = 0; i < sizeof(JUMPS) / sizeof(JUMPS[0]); i++) {
    OndRateWindow w;

    ond_rate_window_init(&w, (OndRateLimit){5, 64 * S});
    for (int k = 0; k < 5; k++) {
      ond_rate_window_take(&w, 1000 * S);
    }
    CHECK_INT(ond_rate_window_left(&w, 1000 * S + JUMPS[i]), JUMPS[i] >= 65 * S ? 5 : 0);
    CHECK(counts_add_up(&w));
  }
}

TEST(rate_requests_leave_slice_by_slice) {
  OndRateWindow w;

  ond_rate_window_init(&w, (OndRateLimit){64, 64 * S});
  for (int i = 0; i < 64; i++) {
    ond_rate_window_take(&w, i * S + S / 2);
  }
  for (int i = 0; i <= 64; i++) {
    CHECK_INT(ond_rate_window_left(&w, (64 + i) * S), i);
    CHECK_INT(ond_rate_window_left(&w, (64 + i) * S + S - 1), i);
  }
}

TEST(rate_clock_before_zero_is_safe) {
  OndRateWindow w;

  ond_rate_window_init(&w, (OndRateLimit){2, S});
  ond_rate_window_take(&w, -5 * S);
  ond_rate_window_take(&w, INT64_MIN);
  CHECK_INT(ond_rate_window_left(&w, -4 * S), 0);
  CHECK(ond_rate_window_wait(&w, -4 * S) > 5 * S);
  CHECK_INT(ond_rate_window_left(&w, 2 * S), 2);
}

TEST(rate_forced_takes_are_remembered) {
  OndRateWindow w;
  const int64_t now = 5 * S;

  ond_rate_window_init(&w, (OndRateLimit){2, S});
  for (int i = 0; i < 10; i++) {
    ond_rate_window_take(&w, now);
  }
  CHECK_INT(w.used, 10);
  CHECK_INT(ond_rate_window_left(&w, now), 0);
  CHECK(ond_rate_window_wait(&w, now) > S);
}

TEST(rate_without_a_limit_stays_shut) {
  OndRateWindow w = {0};

  CHECK(ond_rate_window_wait(&w, 0) >= S);
  CHECK(ond_rate_window_wait(&w, 1000 * S) >= S);
  CHECK_INT(ond_rate_window_left(&w, 1000 * S), 0);
}

/* After a change no window of the new length holds more than allowed, counting what the old window still held. */
static void change_by_force(OndRateLimit from, OndRateLimit to, unsigned long long seed) {
  enum { TIMES_MAX = 4000 };
  static int64_t times[TIMES_MAX];
  OndRateWindow w;
  unsigned long long random = seed;
  int64_t now = (int64_t)(unit_random(&random) % (100ULL * S));
  int64_t changed;
  int n = 0;
  int first = 0;

  ond_rate_window_init(&w, from);
  for (int i = 0; i < 300; i++) {
    if (ond_rate_window_wait(&w, now) == 0) {
      ond_rate_window_take(&w, now);
      times[n++] = now;
    }
    now += (int64_t)(unit_random(&random) % (unsigned long long)(2 * from.window_us / from.requests + 2));
  }
  ond_rate_window_change(&w, to, now);
  CHECK(counts_add_up(&w));
  CHECK_INT(w.limit.requests, to.requests);
  CHECK_INT(w.limit.window_us, to.window_us);
  changed = now;
  while (first < n && times[first] < changed - from.window_us) {
    first++;
  }
  CHECK(w.used >= (uint32_t)(n - first));
  for (int i = 0; i < 1000 && n < TIMES_MAX; i++) {
    int64_t wait = ond_rate_window_wait(&w, now);

    if (wait == 0) {
      int in_window = 1;

      for (int k = n - 1; k >= first && times[k] >= now - to.window_us; k--) {
        in_window++;
      }
      if (!CHECK(in_window <= (int)to.requests)) {
        return;
      }
      ond_rate_window_take(&w, now);
      times[n++] = now;
    }
    now += i % 3 == 0 ? wait : (int64_t)(unit_random(&random) % (unsigned long long)(to.window_us / to.requests + 2));
  }
  CHECK(times[n - 1] > changed); /* it opens again */
}

TEST(rate_change_keeps_what_was_used) {
  static const OndRateLimit LIMITS[] = {{10, S}, {10, 60 * S}, {3, S}, {100, 10 * S}, {5, 64 * MS}, {200, S}, {1, 3600 * S}};
  const size_t n = sizeof(LIMITS) / sizeof(LIMITS[0]);

  for (size_t from = 0; from < n; from++) {
    for (size_t to = 0; to < n; to++) {
      for (unsigned long long seed = 1; seed <= 5; seed++) {
        change_by_force(LIMITS[from], LIMITS[to], seed * 31 + from * 7 + to);
      }
    }
  }
}

TEST(rate_change_of_the_number_keeps_the_slices) {
  OndRateWindow w;

  ond_rate_window_init(&w, (OndRateLimit){64, 64 * S});
  for (int i = 0; i < 64; i++) {
    ond_rate_window_take(&w, i * S);
  }
  ond_rate_window_change(&w, (OndRateLimit){100, 64 * S}, 64 * S);
  CHECK_INT(ond_rate_window_left(&w, 64 * S), 36);
  CHECK_INT(ond_rate_window_left(&w, 65 * S), 37);
  ond_rate_window_change(&w, (OndRateLimit){10, 64 * S}, 65 * S);
  CHECK_INT(ond_rate_window_left(&w, 65 * S), 0);
  CHECK_INT(ond_rate_window_wait(&w, 65 * S), 54 * S); /* 63 used, 54 must leave: slices 1 to 54 */
}

static void check_limit(const char *text, uint32_t requests, int64_t window_us) {
  OndRateLimit limit = {0};
  OndError err = {0};

  if (!CHECK(ond_rate_limit_parse(text, &limit, &err)) || !CHECK_INT(limit.requests, requests) || !CHECK_INT(limit.window_us, window_us)) {
    unit_note("\"%s\": %s", text, err.message);
  }
}

TEST(rate_limit_parses) {
  check_limit("100/10s", 100, 10 * S);
  check_limit("100/s", 100, S);
  check_limit("1/ms", 1, MS);
  check_limit("1/1ms", 1, MS);
  check_limit("60/m", 60, 60 * S);
  check_limit("5/2h", 5, 7200 * S);
  check_limit("250000/1d", 250000, DAY);
  check_limit("1000000000/31d", 1000000000, 31 * DAY);
  check_limit("7/2678400000ms", 7, 31 * DAY);
  check_limit("7/2678400s", 7, 31 * DAY);
  check_limit("010/05s", 10, 5 * S);
}

TEST(rate_limit_refuses_and_shows_the_form) {
  static const char *const BAD[] = {"",
                                    "100",
                                    "100/",
                                    "/10s",
                                    "100/10",
                                    "0/s",
                                    "100/0s",
                                    "-1/s",
                                    "+1/s",
                                    "1.5/s",
                                    "100/1.5s",
                                    "100 / 10s",
                                    " 100/10s",
                                    "100/10s ",
                                    "100/10 s",
                                    "100/10sec",
                                    "100/10S",
                                    "100/10us",
                                    "100/w",
                                    "100/-1s",
                                    "1000000001/s",
                                    "1/32d",
                                    "1/745h",
                                    "1/2678400001ms",
                                    "1/2678401s",
                                    "99999999999999999999/s",
                                    "1/99999999999999999999d",
                                    "1/2678400000d",
                                    "1//s",
                                    "1/s/s",
                                    "a/s",
                                    "1/s\n"};

  for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
    OndRateLimit limit;
    OndError err = {0};

    if (!CHECK(!ond_rate_limit_parse(BAD[i], &limit, &err)) || !CHECK(strstr(err.hint, "\"100/10s\"") != NULL)) {
      unit_note("accepted \"%s\"", BAD[i]);
    }
  }
}
