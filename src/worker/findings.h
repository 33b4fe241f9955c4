/*
 * findings.h - what a reconciliation found, on its way from the run worker to the backend that asked: a temporary file that both have, gone when both have let go.
 */
#ifndef OND_WORKER_FINDINGS_H
#define OND_WORKER_FINDINGS_H

#include "postgres.h"
#include "engine/run.h"
#include "storage/dsm.h"

/* --- who asks */
/* repair: OND_REPAIR_*. The segment's handle goes with the run; dsm_detach() lets go. */
extern dsm_segment *ond_findings_create(int repair);
/* After the run has succeeded: hands over what it found, one by one (JSON texts in UTF-8), and returns the counts. In a transaction. */
typedef void (*OndFindingTaker)(const char *key, const char *problem, const char *detail, void *arg);
extern const OndReconcileCounts *ond_findings_read(dsm_segment *segment, OndFindingTaker take, void *arg);

/* --- the run worker */
/* FATAL when who asked has gone. Returns what to repair. */
extern int ond_findings_attach(dsm_handle handle);
/* Both in one transaction: OndRunHost's finding and found_all. */
extern void ond_findings_put(const char *key, const char *problem, const char *detail);
extern void ond_findings_end(const OndReconcileCounts *counts);

#endif
