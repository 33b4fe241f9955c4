/*
 * ending.h - how a run ended, in the words of its row.
 */
#ifndef OND_ENGINE_ENDING_H
#define OND_ENGINE_ENDING_H

#include "postgres.h"
#include "engine/delivery.h"
#include "engine/record.h"

typedef struct OndRunEnd {
  const char *status;
  char code[6];
  char *message;
  char *detail;
  bool fatal;                 /* the sync stops at once: credentials, a broken model */
} OndRunEnd;

/* An error stopped it. deadline_us: of run_timeout, monotonic; 0: none. In the current memory context. */
extern void ond_run_end_of_error(const ErrorData *error, bool cancelled, int64 deadline_us, OndRunEnd *e);
/* It got through to its delivery, or found nothing to deliver. stuck: a job of an earlier run could not be asked, nothing was compared. */
extern void ond_run_end_of_delivery(const OndDeliveryResult *delivery, const OndCounters *counters, bool stuck, OndRunEnd *e);
/* Writes it into the run's row. Inside "ours". */
extern void ond_run_end_write(int64 run_id, const OndRunEnd *e);
/* A text as an argument of SPI; NULL: *null is 'n'. */
extern Datum ond_text_or_null(const char *s, char *null);

#endif
