/*
 * watch.h - the time that a model may take: its time-outs, and what happens to a model that catches its cancellation.
 */
#ifndef OND_ENGINE_WATCH_H
#define OND_ENGINE_WATCH_H

#include "postgres.h"

#define OND_WATCH_PATIENCE_S 5

/*
 * Around a model in a run worker. deadline_us: when the query is cancelled, by ond_clock_us(); 0: never. stop_asked: says, in a signal handler, whether the
 * run was asked to stop. A model that goes on OND_WATCH_PATIENCE_S after either ends with its process. ond_watch_end() also after an error.
 */
extern void ond_watch_begin(int64 deadline_us, bool (*stop_asked)(void));
extern void ond_watch_end(void);

/* True when this process was told to end because its model did not. */
extern bool ond_watch_lost_patience(void);

#endif
