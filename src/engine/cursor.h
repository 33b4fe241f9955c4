/*
 * cursor.h - cursor_column: how far the model has been read for good.
 *
 * A run that reads rows past the cursor may miss rows of transactions that were open at its snapshot: they can commit later with smaller cursor
 * values. So the highest value seen becomes the cursor at once only when no other transaction was open then (quiet). Else it waits (cursor_seen,
 * cursor_seen_at), and a later complete run whose snapshot came after the end of all of them (settled) makes it the cursor: that run still reads
 * from the old one, and so sees what they wrote.
 */
#ifndef OND_ENGINE_CURSOR_H
#define OND_ENGINE_CURSOR_H

#include "postgres.h"
#include "catalog/sync.h"
#include "engine/diff.h"
#include "utils/snapshot.h"

/* How a run reads. */
extern OndPass ond_cursor_pass(const OndSync *sync);
/* Inside "ours", before the run's snapshot is taken: has every transaction ended that was open when cursor_seen was read? */
extern bool ond_cursor_settled(const OndSync *sync);
/* Is no other transaction open in this database? With a snapshot: nor has any been since the call before it was taken. */
extern bool ond_cursor_quiet(Snapshot snapshot);
/* Inside "ours", after a pass that left nothing behind: what it saw (NULL: no row), and that a full pass or a re-send is done. */
extern void ond_cursor_complete(const OndSync *sync, bool full_pass, const char *cursor_seen, TimestampTz snapshot_at, bool settled, bool quiet);

#endif
