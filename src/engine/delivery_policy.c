/*
 * delivery_policy.c - what the sync's options and the connector make of batches, retries and doubt, and the idempotency keys of changes and requests; see delivery.h.
 */
#include "postgres.h"

#include <limits.h>

#include "storage/fd.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/delivery.h"
#include "engine/way.h"

#define IN_DOUBT_EXTRA_US 30000000
#define OTHER_FDS         8 /* of the lent ones: idle connections, a token request, wait sets */

/* --- policy ----------------------------------------------------------------------------------------------- */

bool ond_delivery_holds(const OndSpec *spec, OndOp op) {
  const OndOperation *operation = ond_connector_operation(spec->connector, op);

  if (spec->sync->options.on_unknown_given)
    return spec->sync->options.on_unknown_hold;
  /* what is looked up before it is written finds the record that a lost create has made */
  return operation != NULL && !ond_operation_info(operation)->idempotent && !ond_way_looks_up(spec, op);
}

int64 ond_delivery_doubt_wait_us(const OndSpec *spec) {
  if (spec->sync->options.in_doubt_wait_us >= 0)
    return spec->sync->options.in_doubt_wait_us;
  return (int64)ond_connector_limits(spec->connector)->timeout_ms * 1000 + IN_DOUBT_EXTRA_US;
}

static OndDeliveryOp route_policy(const OndSpec *spec, OndRoute route) {
  const OndOperation *operation = ond_connector_route(spec->connector, route);
  OndDeliveryOp p = {.batch_rows = 1};
  const OndOperationInfo *info;

  if (operation == NULL)
    return p;
  info = ond_operation_info(operation);
  p.batch_rows = info->batch_rows;
  if (spec->sync->options.batch_size > 0)
    p.batch_rows = Min(p.batch_rows, spec->sync->options.batch_size);
  p.batch_bytes = (size_t)info->batch_bytes;
  p.bisect = info->atomic || info->idempotent;
  p.replays_errors = info->replays_errors;
  p.open_max = info->open_max;
  p.reads = route == OND_ROUTE_LOOKUP;
  p.repeat_in_doubt = p.reads || !ond_delivery_holds(spec, route == OND_ROUTE_DELETE ? OND_OP_DELETE : route == OND_ROUTE_UPDATE ? OND_OP_UPDATE : OND_OP_CREATE);
  return p;
}

/* 0: none; else the same for all routes whose operations share requests. Functions that shape requests see one operation at a time. */
static int group_of(const OndSpec *spec, OndRoute route) {
  const OndOperation *own = ond_connector_route(spec->connector, route);
  const char *group = own == NULL || spec->render != NULL || spec->parse != NULL ? NULL : ond_operation_info(own)->group;

  for (OndRoute other = OND_ROUTE_CREATE; group != NULL && other < OND_ROUTE_LOOKUP; other++) {
    const OndOperation *o = ond_connector_route(spec->connector, other);

    if (o != NULL && ond_operation_info(o)->group != NULL && strcmp(ond_operation_info(o)->group, group) == 0)
      return (int)other + 1;
  }
  return 0;
}

/* What may be repeated does not travel with what may not. */
static void set_groups(const OndSpec *spec, OndDeliveryPolicy *policy) {
  OndDeliveryOp *ops[] = {[OND_ROUTE_CREATE] = &policy->create, [OND_ROUTE_UPDATE] = &policy->update, [OND_ROUTE_DELETE] = &policy->delete};

  for (OndRoute route = OND_ROUTE_CREATE; route < OND_ROUTE_LOOKUP; route++) {
    int group = group_of(spec, route);

    if (group != 0 && ops[group - 1]->repeat_in_doubt == ops[route]->repeat_in_doubt)
      ops[route]->group = group;
  }
}

void ond_delivery_job_policy(int n, OndDeliveryPolicy *policy) {
  const OndDeliveryOp alone = {.batch_rows = n, .repeat_in_doubt = true};

  policy->create = policy->update = policy->delete = alone;
  policy->concurrency = 1;
  policy->window_rows_max = Max(policy->window_rows_max, n);
  policy->breaker_refusals = INT_MAX;
}

void ond_delivery_policy(const OndSpec *spec, OndDeliveryPolicy *policy) {
  const OndConnectorLimits *limits = ond_connector_limits(spec->connector);

  ond_delivery_policy_default(policy);
  policy->concurrency = limits->concurrency;
  if (spec->sync->options.concurrency > 0)
    policy->concurrency = Min(policy->concurrency, spec->sync->options.concurrency);
  /* the server lends a third of its file descriptors (AcquireExternalFD); a request beyond that would fail */
  policy->concurrency = Min(policy->concurrency, Max(max_safe_fds / 3 - OTHER_FDS, 1));
  policy->ordered = (spec->sync->mode == OND_MODE_APPEND || spec->sync->mode == OND_MODE_INSERT) && policy->concurrency == 1;
  policy->retry = limits->retry;
  policy->create = route_policy(spec, OND_ROUTE_CREATE);
  policy->update = route_policy(spec, OND_ROUTE_UPDATE);
  policy->delete = route_policy(spec, OND_ROUTE_DELETE);
  policy->lookup = route_policy(spec, OND_ROUTE_LOOKUP);
  set_groups(spec, policy);
  /* a job's rows are in one window; how many there can be in memory is bounded by their bytes */
  policy->window_rows_max = Max(policy->window_rows_max, Max(policy->create.batch_rows, Max(policy->update.batch_rows, policy->delete.batch_rows)));
}

/* --- idempotency keys ------------------------------------------------------------------------------------- */

static void hex_key(const XXH3_state_t *state, char key[33]) {
  static const char hex[] = "0123456789abcdef";
  XXH128_canonical_t canonical;

  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
  for (int i = 0; i < 16; i++) {
    key[2 * i] = hex[canonical.digest[i] >> 4];
    key[2 * i + 1] = hex[canonical.digest[i] & 15];
  }
  key[32] = '\0';
}

static void begin_key(const OndSync *sync, XXH3_state_t *state) {
  uint64 seed;

  memcpy(&seed, sync->hash_seed + 8, sizeof(seed));
  XXH3_INITSTATE(state);
  XXH3_128bits_reset_withSeed(state, seed);
  XXH3_128bits_update(state, &sync->sync_id, sizeof(sync->sync_id));
}

void ond_delivery_row_key(const OndSync *sync, OndChangeRow *row) {
  XXH3_state_t state;
  char op = (char)row->task.op;
  int64 change_id = row->change_id + row->task.renewed;

  begin_key(sync, &state);
  XXH3_128bits_update(&state, row->key_json.p, row->key_json.n);
  XXH3_128bits_update(&state, &op, 1);
  XXH3_128bits_update(&state, row->hash.b, sizeof(row->hash.b));
  XXH3_128bits_update(&state, &change_id, sizeof(change_id));
  hex_key(&state, row->idempotency_key);
}

void ond_delivery_request_key(const OndSync *sync, OndChangeRow *const *rows, int n, char key[33]) {
  XXH3_state_t state;
  char route = (char)rows[0]->task.route;

  begin_key(sync, &state);
  XXH3_128bits_update(&state, &route, 1);
  for (int i = 0; i < n; i++) {
    XXH3_128bits_update(&state, rows[i]->idempotency_key, 32);
    if (rows[i]->row.fields.p != NULL)
      XXH3_128bits_update(&state, rows[i]->row.fields.p, rows[i]->row.fields.n);
  }
  hex_key(&state, key);
}
