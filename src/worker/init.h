/*
 * init.h - between the library's entry (init.c) and the transaction's end (shared.c).
 */
#ifndef OND_WORKER_INIT_H
#define OND_WORKER_INIT_H

#include "postgres.h"
#include "access/xact.h"

extern void ond_state_xact_callback(XactEvent event, void *arg);
/* The extension is being dropped in this transaction: its runs stop when it commits. */
extern void ond_drop_at_commit(void);
/* Likewise a database: nothing is due there any more. */
extern void ond_forget_at_commit(Oid database);
/* A role was dropped: at commit every database is looked at, for what it owned. */
extern void ond_look_everywhere_at_commit(void);

#endif
