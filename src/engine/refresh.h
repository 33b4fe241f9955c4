/*
 * refresh.h - the option refresh: materialized views under the model, brought up to date before a run reads it.
 */
#ifndef OND_ENGINE_REFRESH_H
#define OND_ENGINE_REFRESH_H

#include "postgres.h"
#include "catalog/sync.h"

/*
 * In a run worker, outside of a transaction. deadline_us and stop_asked as in watch.h. Errors are the server's, with the view's name in their message:
 * 42501 when the owner of the sync may not refresh one. A refresh that was done stays, whatever becomes of the run.
 */
extern void ond_refresh(const OndSync *sync, int64 deadline_us, bool (*stop_asked)(void));

/* The model is (or reads, through views) a materialized view; else an error: the option would do nothing. In the owner's scope. */
extern void ond_refresh_check(const OndSync *sync);

#endif
