/*
 * step.h - operations of several steps: asynchronous jobs.
 */
#ifndef OND_CONNECTOR_STEP_H
#define OND_CONNECTOR_STEP_H

#include "connector/internal.h"

/*
 * Compiles "steps" and "jobs" of an operation whose common parts (batch, rate, …) are in *o already. key_header: the header of the idempotency key, or NULL. False and err on
 * error.
 */
extern bool ond_steps_parse(OndConnector *c, const OndNode *operation, const OndNode *steps, OndOperation *o, const char *key_header, OndError *err);

#endif
