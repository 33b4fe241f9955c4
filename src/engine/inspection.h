/*
 * inspection.h - a sync compiled inside a caller's transaction, in the owner's read-only scope; shared by inspect.c and repair.c.
 */
#ifndef OND_ENGINE_INSPECTION_H
#define OND_ENGINE_INSPECTION_H

#include "postgres.h"
#include "catalog/session.h"
#include "engine/diff.h"
#include "engine/spec.h"

/* The sync's destination, in the current context. */
extern OndDestination *ond_inspect_destination(const OndSync *sync);
/* Enters the owner's scope with SPI connected; the current context stays the caller's. */
extern OndSpec *ond_inspect_begin(const OndSync *sync, OndScope *scope);
extern void ond_inspect_end(OndScope *scope);
/* The diff's input as a run of now would have it; ids are for show. */
extern void ond_inspect_input(const OndSpec *spec, OndDiffInput *input);

#endif
