/*
 * totals.h - sums over all finished runs of each sync, for ondatra.metrics: they only grow, whatever retention deletes.
 */
#ifndef OND_CATALOG_TOTALS_H
#define OND_CATALOG_TOTALS_H

#include "postgres.h"

/* Adds n runs, whose rows have just got their last counters and status, to their syncs' sums. In the same transaction, inside "ours". */
extern void ond_totals_add(const int64 *run_ids, int n);

#endif
