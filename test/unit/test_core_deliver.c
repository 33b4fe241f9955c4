/*
 * test_core_deliver.c - delivery in the worlds of test_core_deliver_sim.c: by chance, and one by one.
 *
 *   OND_SIM_SECONDS=600 build/unit/test_core deliver_keeps     worlds by chance for ten minutes
 *   OND_SIM_SEED=4711   build/unit/test_core deliver_keeps     this world alone (with OND_SIM_SECONDS: from here on)
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "test_core_deliver_sim.h"
#include "unit.h"

#define SECONDS_DEFAULT 5
#define SEED_DEFAULT    1

static Sim world; /* too large for the stack */

static double seconds_since(const struct timespec *begin) {
  struct timespec now;

  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

/* A good state for the generator from a small number. */
static unsigned long long mix(unsigned long long seed) {
  seed = (seed + 0x9E3779B97F4A7C15ULL) * 0xBF58476D1CE4E5B9ULL;
  return (seed ^ (seed >> 29)) | 1;
}

static bool run_seed(unsigned long long seed) {
  unsigned long long random = mix(seed);
  SimConfig config;
  bool ok;

  sim_config_random(&config, &random);
  ok = sim_run(&world, &config, unit_random(&random) | 1);
  if (!CHECK(ok)) {
    unit_note("OND_SIM_SEED=%llu: %s", seed, world.problem);
  }
  sim_free(&world);
  return ok;
}

TEST(deliver_keeps_its_promises_in_worlds_by_chance) {
  const char *seed_text = getenv("OND_SIM_SEED");
  const char *seconds_text = getenv("OND_SIM_SECONDS");
  unsigned long long seed = seed_text ? strtoull(seed_text, NULL, 10) : SEED_DEFAULT;
  double seconds = seconds_text ? strtod(seconds_text, NULL) : seed_text ? 0 : SECONDS_DEFAULT;
  unsigned long long stops[OND_STOP_COMMIT + 1] = {0};
  unsigned long long n = 0;
  struct timespec begin;

  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    if (!run_seed(seed + n)) {
      return;
    }
    stops[world.stop]++;
    n++;
  } while (seconds_since(&begin) < seconds);
  unit_note("%llu worlds in %.1f s", n, seconds_since(&begin));
  for (int stop = OND_STOP_NONE; stop <= OND_STOP_COMMIT; stop++) {
    unit_note("  stopped by %s: %llu", ond_stop_name(stop), stops[stop]);
    CHECK(n < 1000 || stops[stop] > 0); /* the worlds are varied enough */
  }
}
