/*
 * retention.h - deletes what the settings of retention no longer keep: runs, requests, lines of the sync log.
 */
#ifndef OND_WORKER_RETENTION_H
#define OND_WORKER_RETENTION_H

#include "postgres.h"

/* Part of a scheduler's visit; transactions of its own. False: there was more than a visit does; look again soon. */
extern bool ond_retention_tidy(void);

#endif
