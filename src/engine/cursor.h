/*
 * cursor.h - cursor_column: how far the model has been read for good.
 *
 * A run that reads rows past the cursor may miss rows of transactions that were open at its snapshot: they can commit later with smaller cursor values. So the highest value
 * seen becomes the cursor only once every transaction that was open then has ended (cursor_seen, cursor_seen_at -> cursor_value).
 */
#ifndef OND_ENGINE_CURSOR_H
#define OND_ENGINE_CURSOR_H

#include "postgres.h"
#include "catalog/sync.h"
#include "engine/diff.h"

/* Inside "ours", at the start of a run: moves the cursor on where that is safe (also in *sync) and says how to read. */
extern OndPass ond_cursor_pass(OndSync *sync);
/* Inside "ours", after a pass that left nothing behind: what it saw, and that a full pass or a re-send is done. */
extern void ond_cursor_complete(const OndSync *sync, bool full_pass, const char *cursor_seen, TimestampTz snapshot_at);

#endif
