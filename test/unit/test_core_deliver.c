/*
 * test_core_deliver.c - delivery in the worlds of test_core_deliver_sim.c: by chance, and one by one.
 *
 *   OND_SIM_SECONDS=600 build/unit/test_core in_worlds     worlds by chance for ten minutes
 *   OND_SIM_SEED=4711   build/unit/test_core in_worlds     this world alone (with OND_SIM_SECONDS: from here on)
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
  unsigned long long stops[OND_STOP_SCRIPT + 1] = {0};
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
  for (int stop = OND_STOP_NONE; stop <= OND_STOP_SCRIPT; stop++) {
    unit_note("  stopped by %s: %llu", ond_stop_name(stop), stops[stop]);
    CHECK(n < 1000 || stops[stop] > 0); /* the worlds are varied enough */
  }
}

/* --- one by one ------------------------------------------------------------------------------------------- */

/* The steps of a test, in the order in which requests start; then the destination is well. */
#define STEPS(config, ...)                                                                                                                 \
  static const SimStep steps[] = {__VA_ARGS__};                                                                                            \
  (config)->steps = steps;                                                                                                                 \
  (config)->n_steps = (int)(sizeof(steps) / sizeof(steps[0]))

#define ALL_ACCEPTED                                                                                                                       \
  { OND_ANSWER_READ, 200, 0, OND_OUT_ACCEPTED }

static void deliver(const SimConfig *config) {
  CHECK_STR((sim_run(&world, config, 1), world.problem), "");
  sim_free(&world);
}

static void one_at_a_time(SimConfig *c, int creates) {
  sim_config_default(c);
  c->policy.concurrency = 1;
  c->creates = creates;
}

static int64_t after(int start) {
  return world.starts[start].at - world.starts[start - 1].at;
}

TEST(deliver_sends_deletes_then_updates_then_creates_in_full_batches) {
  SimConfig c;

  sim_config_default(&c);
  c.deletes = 5;
  c.updates = 7;
  c.creates = 9;
  c.policy.delete.batch_rows = 5;
  c.policy.update.batch_rows = 4;
  c.policy.create.batch_rows = 3;
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_NONE);
  CHECK_INT(world.n_starts, 1 + 2 + 3);
  CHECK_INT(world.stats.accepted, 21);
  CHECK_INT(world.starts[0].first, 0);
  CHECK_INT(world.starts[1].first, 5);
  CHECK_INT(world.starts[3].first, 12);
}

TEST(deliver_mixes_what_shares_requests) {
  SimConfig c;

  sim_config_default(&c);
  c.deletes = 5;
  c.updates = 7;
  c.creates = 9;
  c.policy.delete.batch_rows = c.policy.create.batch_rows = 10;
  c.policy.update.batch_rows = 3;
  c.policy.delete.group = c.policy.update.group = c.policy.create.group = 1;
  deliver(&c);
  CHECK_INT(world.n_starts, 1 + 1 + 1); /* 5 deletes and 5 updates; the first row's limit: 2 updates and a create; 8 creates */
  CHECK_INT(world.starts[1].first, 10);
  CHECK_INT(world.starts[1].n, 3);
  CHECK_INT(world.starts[2].n, 8);
  CHECK_INT(world.stats.accepted, 21);
  c.policy.update.group = 0; /* what stands between the others is alone */
  deliver(&c);
  CHECK_INT(world.n_starts, 1 + 3 + 1);
}

TEST(deliver_cuts_a_mixed_batch_until_the_bad_row_stands_alone) {
  SimConfig c;

  one_at_a_time(&c, 3);
  STEPS(&c, {OND_ANSWER_REFUSED, 422, 0, 0}, ALL_ACCEPTED, {OND_ANSWER_REFUSED, 422, 0, 0}, ALL_ACCEPTED, {OND_ANSWER_REFUSED, 422, 0, 0});
  c.deletes = 1;
  c.policy.delete.batch_rows = c.policy.create.batch_rows = 4;
  c.policy.delete.group = c.policy.create.group = 1;
  deliver(&c); /* delete and three creates; delete and create; two creates; one; the other */
  CHECK_INT(world.n_starts, 5);
  CHECK_INT(world.stats.accepted, 3);
  CHECK_INT(world.stats.refused, 1);
}

TEST(deliver_goes_on_with_what_has_begun_while_nothing_may_begin) {
  SimConfig c;

  sim_config_default(&c);
  STEPS(&c, {OND_ANSWER_CONTINUE, 202, 0, 0}, {OND_ANSWER_CONTINUE, 202, 0, 0}, ALL_ACCEPTED);
  c.creates = 2;
  c.job_steps = 2;
  c.policy.create.open_max = 2;
  c.let_begin = 1;
  c.barred_max = 60 * SIM_S;
  c.policy.permit_wait_max_us = 10 * SIM_S;
  deliver(&c); /* the second row never may: what is left after ten seconds is left for later */
  CHECK_INT(world.n_starts, 3);
  CHECK_INT(world.stats.accepted, 1);
  CHECK_INT(world.stop, OND_STOP_RATE);
  CHECK_INT(sim_count(&world, OND_OUT_NOT_SENT), 1);
}

TEST(deliver_fills_the_first_batch) {
  SimConfig c;

  sim_config_default(&c);
  c.creates = 100;
  c.policy.create.batch_rows = 100; /* of deletes one */
  deliver(&c);
  CHECK_INT(world.n_starts, 1);
}

TEST(deliver_uses_all_its_connections) {
  SimConfig c;

  sim_config_default(&c);
  c.creates = 40;
  c.policy.concurrency = 8;
  deliver(&c);
  CHECK_INT(world.n_starts, 40);
  CHECK_INT(world.starts[7].at, world.starts[0].at);
  CHECK(world.starts[39].at - world.starts[0].at <= 4 * c.latency_max + SIM_MS); /* five rounds */
}

TEST(deliver_does_not_wait_for_the_slowest_of_several) {
  SimConfig c;
  int together = 0;

  sim_config_default(&c);
  c.creates = 100;
  c.latency_min = SIM_MS;
  c.latency_max = 1000 * SIM_MS;
  deliver(&c);
  for (int i = 1; i < world.n_starts; i++) {
    together += world.starts[i].at == world.starts[i - 1].at;
  }
  CHECK_INT(world.n_starts, 100);
  CHECK(together < 30); /* four by four it would be 75 */
}

TEST(deliver_respects_retry_after_for_all_requests) {
  SimConfig c;

  one_at_a_time(&c, 2);
  STEPS(&c, {OND_ANSWER_THROTTLED, 429, 900 * SIM_MS, 0});
  deliver(&c);
  CHECK_INT(world.n_starts, 3);
  CHECK(after(1) >= c.latency_max + 900 * SIM_MS);
  CHECK(after(1) <= c.latency_max + 901 * SIM_MS); /* nor later: polling ends when it is over */
  CHECK_INT(world.stats.accepted, 2);
  CHECK_INT(world.stats.retries, 1);
}

TEST(deliver_again_costs_no_try_and_no_failure) {
  SimConfig c;

  one_at_a_time(&c, 1);
  c.policy.retry.attempts = 1;
  c.policy.breaker_auth = c.policy.breaker_failures = 1;
  STEPS(&c, {OND_ANSWER_AGAIN, 401, 0, 0}, {OND_ANSWER_AGAIN, 401, 0, 0}, ALL_ACCEPTED);
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_NONE);
  CHECK_INT(world.n_starts, 3);
  CHECK_INT(world.stats.accepted, 1);
  CHECK_INT(world.stats.requests, 3);
  CHECK_INT(world.stats.retries, 0);
}

TEST(deliver_again_keeps_what_was_before) {
  SimConfig c;

  one_at_a_time(&c, 1);
  c.policy.retry.attempts = 2;
  STEPS(&c, {OND_ANSWER_IN_DOUBT, 0, 0, 0}, {OND_ANSWER_AGAIN, 401, 0, 0}, {OND_ANSWER_IN_DOUBT, 0, 0, 0}, ALL_ACCEPTED);
  deliver(&c);
  CHECK_INT(world.n_starts, 3); /* two tries and the one that does not count */
  CHECK_INT(world.stats.retries, 2);
  CHECK_INT(world.stats.accepted, 0);
}

TEST(deliver_cuts_a_retry_after_over_the_ceiling) {
  SimConfig c;

  one_at_a_time(&c, 1);
  STEPS(&c, {OND_ANSWER_THROTTLED, 429, 86400 * SIM_S, 0});
  deliver(&c);
  CHECK_INT(after(1), c.latency_max + c.policy.retry.retry_after_max_us);
}

TEST(deliver_respects_retry_after_for_single_rows) {
  SimConfig c;

  one_at_a_time(&c, 2);
  c.policy.create.batch_rows = 2;
  STEPS(&c, {OND_ANSWER_READ, 207, 700 * SIM_MS, OND_OUT_THROTTLED});
  deliver(&c);
  CHECK_INT(after(1), c.latency_max + 700 * SIM_MS);
  CHECK_INT(world.stats.accepted, 2);
}

/* With the jitter at its ends: no delay at all, or the whole exponential step up to the maximum. */
TEST(deliver_backs_off_exponentially_with_full_jitter) {
  static const int64_t STEPS_MS[] = {30, 60, 100, 100};
  SimConfig c;

  for (int most = 0; most <= 1; most++) {
    one_at_a_time(&c, 1);
    c.policy.retry = (OndRetryPolicy){5, 30 * SIM_MS, 100 * SIM_MS, SIM_S};
    c.unavailable = 1000;
    c.use_fixed_random = true;
    c.fixed_random = most ? UINT64_MAX : 0;
    deliver(&c);
    CHECK_INT(world.n_starts, 5);
    CHECK_INT(sim_count(&world, OND_OUT_UNAVAILABLE), 1);
    for (int i = 1; i < 5; i++) {
      CHECK_INT(after(i), c.latency_max + (most ? STEPS_MS[i - 1] * SIM_MS : 0));
    }
  }
}

TEST(deliver_counts_the_time_without_a_permit) {
  SimConfig c;

  one_at_a_time(&c, 3);
  c.n_limits = 1;
  c.limits[0] = (OndRateLimit){1, SIM_S};
  deliver(&c);
  CHECK_INT(world.n_starts, 3);
  CHECK(after(1) > SIM_S && after(2) > SIM_S);
  CHECK_INT(world.stats.throttled_us, after(1) + after(2) - 2 * c.latency_max);
}

TEST(deliver_uses_the_whole_budget) {
  SimConfig c;

  sim_config_default(&c);
  c.creates = 300;
  c.n_limits = 1;
  c.limits[0] = (OndRateLimit){10, 100 * SIM_MS};
  deliver(&c);
  /* 30 windows; the slices of the limiter may cost a few per cent, waiting in poll() must not */
  CHECK(world.starts[299].at - world.starts[0].at < 33 * 100 * SIM_MS);
}

/* While one request backs off for long, the others go as fast as the budget allows. */
TEST(deliver_does_not_oversleep_a_permit_behind_a_backoff) {
  SimConfig c;

  sim_config_default(&c);
  c.creates = 50;
  c.policy.retry = (OndRetryPolicy){2, 60 * SIM_S, 60 * SIM_S, SIM_S};
  c.use_fixed_random = true;
  c.fixed_random = UINT64_MAX;
  c.latency_min = c.latency_max = SIM_MS;
  c.n_limits = 1;
  c.limits[0] = (OndRateLimit){1, 10 * SIM_MS};
  STEPS(&c, {OND_ANSWER_UNAVAILABLE, 0, 0, 0});
  deliver(&c);
  CHECK_INT(world.n_starts, 51);
  CHECK(world.starts[49].at - world.starts[0].at < 50 * 12 * SIM_MS);
}

TEST(deliver_ends_when_the_permit_is_too_far_away) {
  SimConfig c;

  one_at_a_time(&c, 5);
  c.policy.permit_wait_max_us = 10 * SIM_S;
  c.n_limits = 1;
  c.limits[0] = (OndRateLimit){2, 60 * SIM_S};
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_RATE);
  CHECK_INT(world.stats.accepted, 2);
  for (int i = 2; i < world.n_taken; i++) {
    CHECK_INT(world.rows[i].outcome, OND_OUT_NOT_SENT);
    CHECK(world.rows[i].interrupted);
  }
}

TEST(deliver_spends_no_permit_on_what_is_not_sent) {
  SimConfig c;

  one_at_a_time(&c, 50);
  c.bad = 1000;
  c.n_limits = 1;
  c.limits[0] = (OndRateLimit){1, SIM_S};
  deliver(&c);
  CHECK_INT(sim_count(&world, OND_OUT_INVALID), 50);
  CHECK_INT(world.n_starts, 0);
  CHECK(world.now - world.begin < 50 * SIM_S / 2);
}

TEST(deliver_isolates_poison_rows_by_cutting) {
  SimConfig c;
  int poison = 0;

  one_at_a_time(&c, 64);
  c.policy.create.batch_rows = 64;
  c.poison = 60;
  deliver(&c);
  for (int i = 0; i < 64; i++) {
    poison += world.rows[i].kind == SIM_POISON;
    CHECK_INT(world.rows[i].outcome, world.rows[i].kind == SIM_POISON ? OND_OUT_REJECTED : OND_OUT_ACCEPTED);
  }
  CHECK(poison >= 2);
  CHECK(world.n_starts <= 1 + 2 * 6 * poison);
}

TEST(deliver_isolates_a_row_that_makes_the_server_fail) {
  SimConfig c;

  one_at_a_time(&c, 32);
  c.policy.create.batch_rows = 32;
  c.crash = 40;
  deliver(&c);
  CHECK(sim_count(&world, OND_OUT_UNAVAILABLE) >= 1);
  /* every try of the whole, then one of each half */
  CHECK(world.n_starts <= c.policy.retry.attempts + 2 * 5 * sim_count(&world, OND_OUT_UNAVAILABLE));
  CHECK_INT(sim_count(&world, OND_OUT_UNAVAILABLE) + sim_count(&world, OND_OUT_ACCEPTED), 32);
  for (int i = 0; i < 32; i++) {
    CHECK(world.rows[i].outcome != OND_OUT_UNAVAILABLE || (world.rows[i].kind == SIM_CRASH && world.rows[i].in_doubt));
  }
}

/* Which rows a refused batch is refused for stays open when the run stops before it could be cut: none of them is given up. */
TEST(deliver_does_not_blame_good_rows_when_it_stops_before_a_cut) {
  SimConfig c;

  sim_config_default(&c);
  c.creates = 8;
  c.policy.concurrency = 2;
  c.policy.create.batch_rows = 4;
  c.policy.breaker_failures = 1;
  STEPS(&c, {OND_ANSWER_UNAVAILABLE, 0, 0, 0}, {OND_ANSWER_REFUSED, 422, 0, 0});
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_BREAKER);
  CHECK_INT(sim_count(&world, OND_OUT_REJECTED), 0);
  CHECK_INT(sim_count(&world, OND_OUT_NOT_SENT), 4);
  CHECK_INT(sim_count(&world, OND_OUT_UNAVAILABLE), 4);
}

/* A request that the transport never took was neither refused nor accepted. */
TEST(deliver_accepts_nothing_that_never_started) {
  SimConfig c;

  sim_config_default(&c);
  c.creates = 20;
  c.start_failed = 1000;
  c.policy.breaker_failures = 6;
  c.policy.retry.base_us = c.policy.retry.max_us = SIM_S;
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_BREAKER);
  CHECK_INT(world.stats.accepted, 0);
  CHECK_INT(sim_count(&world, OND_OUT_ACCEPTED), 0);
  CHECK(sim_count(&world, OND_OUT_UNAVAILABLE) > 0);
}

/* Whoever makes the requests cannot go on: nothing has failed, and what is on its way is waited for. */
TEST(deliver_stops_where_nothing_more_may_start) {
  SimConfig c;

  sim_config_default(&c);
  c.creates = 40;
  c.policy.concurrency = 3;
  c.latency_min = c.latency_max = SIM_S;
  c.start_stopped = 150;
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_SCRIPT);
  CHECK_INT(world.n_retries, 0);
  CHECK_INT(sim_count(&world, OND_OUT_ACCEPTED), world.n_starts);
  CHECK_INT(sim_count(&world, OND_OUT_ACCEPTED) + sim_count(&world, OND_OUT_NOT_SENT), world.n_taken);
  CHECK(sim_count(&world, OND_OUT_NOT_SENT) > 0);
}

TEST(deliver_in_order_lets_nothing_pass_a_failed_try) {
  SimConfig c;

  sim_config_default(&c); /* four connections: ordered uses one */
  c.creates = 40;
  c.policy.ordered = true;
  c.policy.create.batch_rows = 8;
  c.poison = 100;
  c.unavailable = 300;
  c.policy.retry.attempts = 50;
  c.policy.breaker_failures = 1000;
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_NONE);
  CHECK(sim_count(&world, OND_OUT_REJECTED) > 0);
  for (int i = 1; i < world.n_starts; i++) {
    CHECK(world.starts[i].first >= world.starts[i - 1].first);
    CHECK(world.starts[i].at >= world.starts[i - 1].at + c.latency_min);
  }
}

TEST(deliver_keeps_doubt_through_a_429) {
  SimConfig c;

  one_at_a_time(&c, 1);
  c.policy.retry.attempts = 2;
  STEPS(&c, {OND_ANSWER_IN_DOUBT, 0, 0, 0}, {OND_ANSWER_THROTTLED, 429, 0, 0});
  deliver(&c);
  CHECK_INT(world.rows[0].outcome, OND_OUT_THROTTLED);
  CHECK(world.rows[0].in_doubt);
}

TEST(deliver_keeps_doubt_when_the_row_alone_is_throttled) {
  SimConfig c;

  one_at_a_time(&c, 1);
  c.policy.retry.attempts = 2;
  STEPS(&c, {OND_ANSWER_IN_DOUBT, 0, 0, 0}, {OND_ANSWER_READ, 207, 0, OND_OUT_THROTTLED});
  deliver(&c);
  CHECK_INT(world.rows[0].outcome, OND_OUT_THROTTLED);
  CHECK(world.rows[0].in_doubt);
}

TEST(deliver_ends_doubt_with_a_definite_no) {
  SimConfig c;

  one_at_a_time(&c, 1);
  STEPS(&c, {OND_ANSWER_IN_DOUBT, 0, 0, 0}, {OND_ANSWER_REFUSED, 422, 0, 0});
  deliver(&c);
  CHECK_INT(world.rows[0].outcome, OND_OUT_REJECTED);
  CHECK(!world.rows[0].in_doubt);
}

TEST(deliver_does_not_repeat_what_must_not_be_repeated) {
  SimConfig c;

  one_at_a_time(&c, 2);
  c.policy.create.repeat_in_doubt = false;
  STEPS(&c, {OND_ANSWER_IN_DOUBT, 0, 0, 0}, {OND_ANSWER_IN_DOUBT, 503, 0, 0});
  deliver(&c);
  CHECK_INT(world.n_starts, 2);
  CHECK_INT(world.rows[0].outcome, OND_OUT_UNKNOWN);
  CHECK_INT(world.rows[1].outcome, OND_OUT_UNAVAILABLE);
  CHECK(world.rows[0].in_doubt && world.rows[1].in_doubt);
}

TEST(deliver_stops_after_failures_in_a_row) {
  SimConfig c;

  one_at_a_time(&c, 30);
  c.no_answer = 1000;
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_BREAKER);
  CHECK_INT(world.n_starts, 10);
  CHECK(sim_count(&world, OND_OUT_NOT_SENT) > 0);
}

TEST(deliver_does_not_stop_when_failures_are_apart) {
  SimConfig c;

  one_at_a_time(&c, 3);
  c.policy.breaker_failures = 2;
  c.policy.retry.base_us = 0;
  STEPS(&c, {OND_ANSWER_UNAVAILABLE, 0, 0, 0}, ALL_ACCEPTED, {OND_ANSWER_IN_DOUBT, 500, 0, 0}, ALL_ACCEPTED,
        {OND_ANSWER_IN_DOUBT, 0, 0, 0});
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_NONE);
  CHECK_INT(world.stats.accepted, 3);
}

TEST(deliver_stops_when_credentials_are_refused) {
  SimConfig c;

  one_at_a_time(&c, 30);
  c.auth = 1000;
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_AUTH);
  CHECK_INT(world.n_starts, 3);
  CHECK_INT(sim_count(&world, OND_OUT_AUTH), 3);
}

TEST(deliver_stops_when_every_row_is_refused) {
  SimConfig c;

  one_at_a_time(&c, 300);
  c.poison = 1000;
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_REFUSALS);
  CHECK_INT(sim_count(&world, OND_OUT_REJECTED), 100);
}

TEST(deliver_goes_on_after_refusals_when_a_row_was_accepted) {
  SimConfig c;

  one_at_a_time(&c, 12);
  c.policy.breaker_refusals = 5;
  STEPS(&c, ALL_ACCEPTED, {OND_ANSWER_REFUSED, 422, 0, 0}, {OND_ANSWER_REFUSED, 422, 0, 0}, {OND_ANSWER_REFUSED, 422, 0, 0},
        {OND_ANSWER_REFUSED, 422, 0, 0}, {OND_ANSWER_REFUSED, 422, 0, 0}, {OND_ANSWER_REFUSED, 422, 0, 0});
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_NONE);
  CHECK_INT(world.n_starts, 12);
}

TEST(deliver_leaves_the_rest_for_later_when_throttled_without_end) {
  SimConfig c;

  one_at_a_time(&c, 300);
  c.throttled = 1000;
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_RATE);
  CHECK_INT(world.n_starts, 20);
  CHECK_INT(sim_count(&world, OND_OUT_NOT_SENT) + sim_count(&world, OND_OUT_THROTTLED), world.n_taken);
  CHECK(sim_count(&world, OND_OUT_THROTTLED) <= 4);
}

TEST(deliver_cancelled_leaves_doubt_only_where_there_is_some) {
  SimConfig c;

  sim_config_default(&c);
  c.creates = 50;
  c.policy.concurrency = 2;
  c.latency_min = c.latency_max = 10 * SIM_S;
  c.stop_after = SIM_S;
  c.stop = OND_STOP_CANCELLED;
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_CANCELLED);
  CHECK_INT(world.n_starts, 2);
  CHECK_INT(sim_count(&world, OND_OUT_UNKNOWN) + sim_count(&world, OND_OUT_NOT_SENT), world.n_taken);
  CHECK(sim_count(&world, OND_OUT_UNKNOWN) <= 2);
  CHECK(world.now - world.begin < 2 * SIM_S);
}

TEST(deliver_holds_no_more_payload_than_it_may) {
  SimConfig c;

  sim_config_default(&c);
  c.creates = 300;
  c.bytes_min = c.bytes_max = 1000;
  c.policy.window_bytes_max = 10000;
  c.latency_min = c.latency_max = SIM_S;
  c.unavailable = 300;
  c.policy.breaker_failures = 1000;
  deliver(&c); /* io_next() checks it */
  CHECK_INT(world.stop, OND_STOP_NONE);
  CHECK(world.now - world.begin < 200 * SIM_S); /* nor less: 430 tries of a second by four connections */
}

TEST(deliver_gives_its_permits_back_when_a_commit_fails) {
  SimConfig c;

  sim_config_default(&c);
  c.creates = 60;
  c.policy.ack_rows = 5;
  c.fail_commit = 4;
  deliver(&c);
  CHECK_INT(world.stop, OND_STOP_COMMIT);
  CHECK(world.abandoned);
  CHECK_INT(world.permits, 0);
}

TEST(deliver_counts_a_row_that_alone_is_too_large_as_invalid) {
  SimConfig c;

  one_at_a_time(&c, 8);
  c.policy.create.batch_rows = 8;
  c.bytes_min = c.bytes_max = 50;
  c.wire_bytes = 40;
  deliver(&c);
  CHECK_INT(sim_count(&world, OND_OUT_INVALID), 8);
}
