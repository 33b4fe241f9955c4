/*
 * checks.h - the option checks, as far as it is about the whole model; conditions over rows are values of the diff (spec.h, diff.c).
 */
#ifndef OND_ENGINE_CHECKS_H
#define OND_ENGINE_CHECKS_H

#include "postgres.h"
#include "engine/diff.h"
#include "engine/spec.h"

/* Fills in checks[i] of those over the whole model: 0 it holds, 1 it does not. Not for a pass of given keys. As the diff: SPI connected, the same snapshot. */
extern void ond_checks_whole(const OndSpec *spec, OndPass pass, int64 *checks);

#endif
