/*
 * token.h - an access token for a backend.
 *
 * A backend is in its caller's transaction: what a token endpoint gives (a rotated refresh token above all) could not be committed there and
 * would be lost with a rollback. So a process of its own asks, stores, and leaves.
 */
#ifndef OND_WORKER_TOKEN_H
#define OND_WORKER_TOKEN_H

#include "postgres.h"

/*
 * Returns when a token with a version above this one is stored and committed (or one that is fit was). Error: the endpoint's refusal, as a run would
 * report it; 53000 when no process is free. Interrupts end the wait, not the asking.
 */
extern void ond_token_fetch(int64 destination_id, const char *destination_name, int64 above_version);

/* The process's main function; its argument is the handle of the segment with the question. */
extern PGDLLEXPORT void ond_token_worker_main(Datum arg);

#endif
