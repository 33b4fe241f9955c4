/*
 * window.h - send windows: what may be on its way, in one compact row, committed before it goes out.
 */
#ifndef OND_ENGINE_WINDOW_H
#define OND_ENGINE_WINDOW_H

#include "postgres.h"
#include "engine/change_row.h"

/* A change as a window has it. */
typedef struct OndWindowEntry {
  OndOp op;
  OndHash hash;
  int64 change_id;
  OndBytes key_json;
  OndBytes key_text[OND_KEYS_MAX];
  OndBytes kept;              /* absent: nothing to keep */
} OndWindowEntry;

/* The compact form of n tasks, and back: bytes point into `changes`. An error XX001 when it cannot be read. */
extern bytea *ond_window_pack(int n, OndTask *const *tasks);
extern int ond_window_unpack(bytea *changes, int n_keys, OndWindowEntry **entries);

/* Inside "ours": writes the window of n tasks (their rows are OndChangeRow). */
extern void ond_window_insert(int64 sync_id, int64 run_id, int window_no, int n, OndTask *const *tasks);
extern void ond_window_delete(int64 sync_id, int64 run_id, int n, const int32 *window_nos);
/*
 * Inside "ours", at the start of a run (which holds the run lock): what dead runs left becomes doubt in the state table, and the windows go. hold: on_unknown = hold, these changes
 * become failed rows. Returns the number of changes in doubt.
 */
extern int64 ond_window_fold_all(int64 sync_id, int n_keys, bool hold);

#endif
