/*
 * errand.h - a short-lived process that does one thing for a backend, and the backend's wait for it.
 *
 * Question and answer are in a segment of shared memory; its structure begins with an OndErrand. Whoever asked may be gone before the answer.
 */
#ifndef OND_WORKER_ERRAND_H
#define OND_WORKER_ERRAND_H

#include "postgres.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "core/error.h"

typedef enum OndErrandEnd { OND_ERRAND_NO_ANSWER, OND_ERRAND_DONE, OND_ERRAND_REFUSED } OndErrandEnd;

typedef struct OndErrand {
  pg_atomic_uint32 end;        /* OndErrandEnd; the answer is written before */
  OndError error;              /* of REFUSED */
} OndErrand;

/* --- the backend that waits --- */

/* A segment of this size, zeroed but for the errand, which has no answer yet. Its address; the caller writes the question, and detaches in the end. */
extern void *ond_errand_create(Size size, dsm_segment **segment);

/*
 * Waits for the answer. NO_ANSWER: the process is gone without one, or was told to go after timeout_ms (0: as long as it takes). Interrupts end the
 * wait, not the process.
 */
extern OndErrandEnd ond_errand_await(OndErrand *e, BackgroundWorkerHandle *handle, int timeout_ms);

/* --- the process --- */

/* First of all: signals, and the segment whose handle is the process's argument. Exits where nobody waits any more. */
extern void *ond_errand_attach(Datum arg);

/* Does the work and says how it ended. False of work: e->error says why; what it raises becomes e->error, and its transaction is undone. */
extern void ond_errand_carry_out(OndErrand *e, bool (*work)(OndErrand *e));

#endif
