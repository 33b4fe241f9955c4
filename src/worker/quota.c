/*
 * quota.c - quotas of an hour, a day or a month survive a restart.
 *
 * What a run may start in a long window is leased before it is used: a row of ondatra.quota_leases says that up to so many requests start
 * after it, and is committed first. Shared memory counts the requests themselves; the rows matter after a restart, when it is empty: then
 * every lease that is younger than its window counts as used. So a restart wastes at most one lease a window, and never forgets a request.
 *
 * Does not: lease for backends, which cannot commit by themselves; what those send is counted in shared memory only.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/session.h"
#include "worker/state.h"

/* Fills one window with its leases, oldest first. Inside "ours". */
static void read_leases(int64 destination_id, const char *group, OndRateWindow *w, int64 now_us) {
  Oid types[] = {INT8OID, TEXTOID, INT8OID, TIMESTAMPTZOID};
  TimestampTz now = GetCurrentTimestamp();
  Datum values[] = {Int64GetDatum(destination_id), CStringGetTextDatum(group), Int64GetDatum(w->limit.window_us),
                    TimestampTzGetDatum(now - w->limit.window_us)};
  uint64 n =
      ond_spi(SPI_OK_SELECT,
              "SELECT leased_at, requests FROM ondatra.quota_leases WHERE destination_id = $1 AND rate_group = $2 AND window_us = $3 "
              "AND leased_at > $4 ORDER BY leased_at",
              4, types, values, NULL);

  for (uint64 i = 0; i < n; i++) {
    bool isnull;
    TimestampTz leased_at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
    int32 requests = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));

    for (int32 k = 0; k < requests; k++)
      ond_rate_window_take(w, now_us - Max(now - leased_at, 0));
  }
}

void ond_quota_load(OndBudget *b, int64 destination_id) {
  OndRateWindow(*past)[OND_RATE_WINDOWS_MAX];
  MemoryContext saved = CurrentMemoryContext;
  OndRateSpec spec;
  int64 now_us = ond_clock_us();

  if (!ond_budget_unloaded(b, &spec))
    return;
  past = palloc0(sizeof(OndRateWindow) * OND_RATE_GROUPS_MAX * OND_RATE_WINDOWS_MAX);
  ond_tx_begin();
  for (int g = 0; g < spec.n_groups; g++) {
    for (int i = 0; i < spec.groups[g].n; i++) {
      ond_rate_window_init(&past[g][i], spec.groups[g].limits[i]);
      if (spec.groups[g].limits[i].window_us >= OND_QUOTA_WINDOW_US)
        read_leases(destination_id, spec.groups[g].name, &past[g][i], now_us);
    }
  }
  ond_tx_commit();
  MemoryContextSwitchTo(saved);
  ond_budget_load(b, past, now_us);
  pfree(past);
}

static void insert_lease(int64 destination_id, const char *group, int64 window_us, uint32 requests) {
  Oid types[] = {INT8OID, TEXTOID, INT8OID, INT4OID};
  Oid old_types[] = {INT8OID, TEXTOID, INT8OID, TIMESTAMPTZOID};
  Datum values[] = {Int64GetDatum(destination_id), CStringGetTextDatum(group), Int64GetDatum(window_us), Int32GetDatum((int32)requests)};
  Datum old_values[] = {values[0], values[1], values[2], TimestampTzGetDatum(GetCurrentTimestamp() - window_us)};

  ond_spi(SPI_OK_DELETE,
          "DELETE FROM ondatra.quota_leases WHERE destination_id = $1 AND rate_group = $2 AND window_us = $3 AND leased_at <= $4", 4,
          old_types, old_values, NULL);
  ond_spi(SPI_OK_INSERT,
          "INSERT INTO ondatra.quota_leases (destination_id, rate_group, window_us, leased_at, requests) VALUES ($1, $2, $3, "
          "clock_timestamp(), $4)",
          4, types, values, NULL);
}

void ond_quota_lease(OndBudget *b, int64 destination_id, int group) {
  MemoryContext saved = CurrentMemoryContext;
  uint32 wanted[OND_RATE_WINDOWS_MAX];
  OndRateGroup limits;

  ond_budget_lease_wanted(b, group, &limits, wanted);
  ond_tx_begin();
  for (int i = 0; i < limits.n; i++) {
    if (wanted[i] > 0)
      insert_lease(destination_id, limits.name, limits.limits[i].window_us, wanted[i]);
  }
  ond_tx_commit();
  MemoryContextSwitchTo(saved);
  ond_budget_leased(b, group, &limits, wanted);
}
