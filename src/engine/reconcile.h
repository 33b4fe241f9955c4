/*
 * reconcile.h - the destination's records against the model and the state table: what is missing, extra or different there, and what is to be done about it.
 *
 *   missing     delivered by this sync, and not in the list
 *   extra       in the list, and neither in the model nor in the state table
 *   different   in both, and a field that the sync sends differs
 *   duplicate   two rows that are one record there, or two records with one key: nobody can say which is which
 *
 * Repair writes the state table only, so that the next run sends what is wanted through its guards: missing rows are not known any more (a create), different
 * ones count as delivered in a version that nobody has (an update), extra ones as delivered and gone from the model (a delete, mode mirror). Adopt makes equal ones
 * accepted as they are.
 */
#ifndef OND_ENGINE_RECONCILE_H
#define OND_ENGINE_RECONCILE_H

#include "postgres.h"
#include "engine/change_row.h"
#include "engine/run.h"
#include "engine/spec.h"

typedef struct OndReconcileInput {
  const OndSpec *spec;
  const OndRunHost *host;     /* takes findings and counts */
  int repair;                 /* OND_REPAIR_* */
  const char *const *key_types;
  OndStore *ours;             /* of a diff with `everything`; forgotten on the way */
  OndStore *theirs;           /* of ond_listing_read(); likewise */
  int64 in_doubt_wait_us;
} OndReconcileInput;

/* Raises unless the object has a list that can be compared, and no job of an earlier run is open. Outside of transactions. */
extern void ond_reconcile_check(const OndSpec *spec);
/* Compares, tells the host, repairs. Inside "ours" of one transaction, which does nothing else that matters. */
extern void ond_reconcile_compare(const OndReconcileInput *input);

#endif
