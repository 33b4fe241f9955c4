/*
 * way.h - which operation carries a change next, where an API has no upsert: look up, then write; create, and update what exists.
 *
 *   create  -> exists   -> lookup, or update where there is none
 *   update  -> missing  -> create (not in mode update: refused)
 *   any     -> conflict -> lookup
 *   lookup  -> found    -> update, or delete           with the remote id and what else the answer told of the record
 *           -> absent   -> create; a delete is done
 *
 * A row that is sent to and fro more often than HOPS_MAX has failed: the destination contradicts itself, or somebody else writes the record.
 */
#ifndef OND_ENGINE_WAY_H
#define OND_ENGINE_WAY_H

#include "postgres.h"
#include "engine/change_row.h"
#include "engine/spec.h"

/* Whether a change of this operation can begin with, or come back to, a lookup. */
extern bool ond_way_looks_up(const OndSpec *spec, OndOp op);
/* Where a change begins. */
extern OndRoute ond_way_first(const OndSpec *spec, const OndChangeRow *row);

/* What became of a row: it goes on (task.again and task.route are set), or its outcome is set; message: words for a failure, NULL: none. */
typedef struct OndWay {
  bool handled;               /* false: the answer is no signpost */
  const char *message;
} OndWay;

/* A status that sends the row another way. Strings that the row keeps are allocated in `context`. */
extern OndWay ond_way_by_status(const OndSpec *spec, OndChangeRow *row, int http_status);
/* A lookup's answer about the row. */
extern OndWay ond_way_by_lookup(const OndSpec *spec, OndChangeRow *row, const OndRowResult *found, MemoryContext context);

#endif
