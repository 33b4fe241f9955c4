/*
 * test_core_deliver_worlds.c - what worlds of test_core_deliver_sim.c are like: the plain one, and any by chance.
 */
#include <string.h>
#include "test_core_deliver_sim.h"
#include "unit.h"

static int64_t pick(unsigned long long *random, int64_t least, int64_t most) {
  return least + (int64_t)(unit_random(random) % (unsigned long long)(most - least + 1));
}

static bool chance(unsigned long long *random, int thousandths) {
  return pick(random, 0, 999) < thousandths;
}

void sim_config_default(SimConfig *c) {
  memset(c, 0, sizeof(*c));
  ond_delivery_policy_default(&c->policy);
  c->policy.retry = (OndRetryPolicy){4, 20 * SIM_MS, 200 * SIM_MS, SIM_S};
  c->policy.create.bisect = c->policy.update.bisect = c->policy.delete.bisect = true;
  c->policy.create.repeat_in_doubt = c->policy.update.repeat_in_doubt = c->policy.delete.repeat_in_doubt = true;
  c->policy.permit_wait_max_us = 60 * SIM_S;
  c->bytes_min = 10;
  c->bytes_max = 100;
  c->may_bisect = true;
  c->latency_min = c->latency_max = 20 * SIM_MS;
}

static int rare(unsigned long long *random, int most) {
  return chance(random, 400) ? (int)pick(random, 1, most) : 0;
}

static void random_op(OndDeliveryOp *op, unsigned long long *random) {
  op->batch_rows = chance(random, 300) ? 1 : (int)pick(random, 2, 40);
  op->batch_bytes = chance(random, 300) ? (size_t)pick(random, 50, 2000) : 0;
  op->bisect = chance(random, 750);
  op->repeat_in_doubt = chance(random, 750);
  op->open_max = chance(random, 200) ? (int)pick(random, 1, 3) : 0;
}

/* Two or three of the writes share requests; what may be repeated does not travel with what may not. */
static void random_groups(OndDeliveryPolicy *p, unsigned long long *random) {
  OndDeliveryOp *ops[] = {&p->create, &p->update, &p->delete};
  int alone = (int)pick(random, 0, 5);

  for (int i = 0; i < 3; i++) {
    if (i == alone) {
      continue;
    }
    ops[i]->group = 1;
    ops[i]->repeat_in_doubt = ops[alone == 0 ? 1 : 0]->repeat_in_doubt;
  }
}

static void random_policy(OndDeliveryPolicy *p, unsigned long long *random) {
  p->concurrency = (int)pick(random, 1, 8);
  p->ordered = chance(random, 200);
  p->retry.attempts = (int)pick(random, 1, 5);
  p->retry.base_us = pick(random, 0, 100 * SIM_MS);
  p->retry.max_us = pick(random, 1, SIM_S);
  p->retry.retry_after_max_us = pick(random, 0, 2 * SIM_S);
  random_op(&p->create, random);
  random_op(&p->update, random);
  random_op(&p->delete, random);
  random_op(&p->lookup, random);
  p->lookup.reads = p->lookup.repeat_in_doubt = true;
  if (chance(random, 300)) {
    random_groups(p, random);
  }
  p->breaker_failures = chance(random, 500) ? (int)pick(random, 1, 12) : 1000000;
  p->breaker_auth = (int)pick(random, 1, 5);
  p->breaker_refusals = (int)pick(random, 1, 100);
  p->breaker_throttled = 1000000;
  p->permit_wait_max_us = chance(random, 100) ? pick(random, SIM_MS, SIM_S) : 3600 * SIM_S;
  p->window_rows_max = chance(random, 300) ? (int)pick(random, 1, 40) : 1000;
  p->window_bytes_max = chance(random, 300) ? (size_t)pick(random, 100, 5000) : 1000000;
  p->ack_rows = (int)pick(random, 1, 100);
  p->ack_us = pick(random, SIM_MS, 300 * SIM_MS);
}

static void random_faults(SimConfig *c, unsigned long long *random) {
  c->no_answer = rare(random, 200);
  c->five_hundred = rare(random, 200);
  c->throttled = rare(random, 200);
  c->unavailable = rare(random, 200);
  c->auth = chance(random, 100) ? (int)pick(random, 1, 300) : 0;
  c->again = rare(random, 300);
  c->start_failed = rare(random, 100);
  c->start_stopped = rare(random, 10);
  c->row_throttled = rare(random, 100);
  c->row_unknown = rare(random, 100);
  if (chance(random, 30)) { /* an outage */
    c->no_answer = (int)pick(random, 600, 1000);
  }
}

void sim_config_random(SimConfig *c, unsigned long long *random) {
  sim_config_default(c);
  random_policy(&c->policy, random);
  c->deletes = rare(random, 60);
  c->updates = rare(random, 100);
  c->creates = (int)pick(random, 0, chance(random, 100) ? 240 : 60);
  c->poison = rare(random, chance(random, 50) ? 1000 : 200);
  c->crash = chance(random, 200) ? (int)pick(random, 1, 100) : 0;
  c->bad = rare(random, 200);
  c->wire_bytes = chance(random, 200) ? (size_t)pick(random, 60, 1000) : 0;
  c->by_row = chance(random, 500);
  c->may_bisect = chance(random, 850);
  if (chance(random, 750)) {
    random_faults(c, random);
  }
  c->lookups = chance(random, 200) ? (int)pick(random, 1, 1000) : 0;
  c->conflicts = chance(random, 200) ? (int)pick(random, 1, 500) : 0;
  c->job_steps = chance(random, 200) ? (int)pick(random, 1, 4) : 0;
  c->barred = chance(random, 200) ? (int)pick(random, 1, chance(random, 50) ? 1000 : 900) : 0;
  c->barred_max = pick(random, SIM_MS, SIM_S);
  c->step_wait = pick(random, 0, 500 * SIM_MS);
  c->latency_min = pick(random, 0, 20 * SIM_MS);
  c->latency_max = c->latency_min + pick(random, 0, 300 * SIM_MS);
  c->commit_us = pick(random, 0, 20 * SIM_MS);
  c->next_us = pick(random, 0, 20);
  c->overshoot_us = pick(random, 0, 10 * SIM_MS);
  c->retry_after_max = rare(random, 3000000);
  c->n_limits = (int)pick(random, 0, SIM_LIMITS);
  for (int i = 0; i < c->n_limits; i++) {
    c->limits[i] = (OndRateLimit){(uint32_t)pick(random, 1, 50), pick(random, SIM_MS, 2 * SIM_S)};
  }
  if (chance(random, 250)) {
    c->stop_after = pick(random, 1, 2 * SIM_S);
    c->stop = chance(random, 500) ? OND_STOP_CANCELLED : OND_STOP_TIMEOUT;
  }
  c->fail_commit = chance(random, 100) ? (int)pick(random, 1, 20) : 0;
}
