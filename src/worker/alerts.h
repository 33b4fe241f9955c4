/*
 * alerts.h - problems of syncs and who is told of them: the scheduler looks, a process of its own tells.
 *
 * What is true follows from the rows of syncs and runs at each look; what was told is a column of ondatra.all_alerts. So neither the
 * death of a process
 * nor a destination that does not answer loses a message, and none is sent twice but where an answer was lost.
 */
#ifndef OND_WORKER_ALERTS_H
#define OND_WORKER_ALERTS_H

#include "postgres.h"
#include "catalog/sync.h"

/*
 * Compares the problems of all syncs that have the option with what is recorded, and writes what is new. *again: when to look again, by
 * time alone
 * (DT_NOEND: never). True: a message is due. In a transaction of our own.
 */
extern bool ond_alerts_look(TimestampTz now, TimestampTz *again);

/*
 * One process tells: false when another one does. In a transaction. session: till ond_alerts_unlock() or the end of the process, else
 * till the end of the
 * transaction.
 */
extern bool ond_alerts_lock(bool session);
extern void ond_alerts_unlock(void);

/* The message that waits longest, and its sync; false: none is due. In the given context. In a transaction. */
extern bool ond_alerts_next(MemoryContext context, OndSync **sync, OndAlert *alert);
/* It was taken. */
extern void ond_alerts_told(const OndSync *sync, const OndAlert *alert);
/* It was not: later again, and if the destination could not be reached, so whatever else goes there. */
extern void ond_alerts_failed(const OndSync *sync, const OndAlert *alert, const char *error, bool unreachable);

/* Starts the process; false: none is free. */
extern bool ond_alerts_start(void);

/* The process's main function; its argument is the database. */
extern PGDLLEXPORT void ond_alert_worker_main(Datum arg);

#endif
