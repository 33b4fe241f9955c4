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

/* "steps" and "jobs" of a list: *out has what comes before its pages; NULL: nothing does. What they capture is known to what is compiled next. */
extern bool ond_steps_parse_list(OndConnector *c, const OndNode *list, OndOperation **out, OndError *err);

/* The first of these names that nobody has captured; NULL: all are there. */
extern const char *ond_step_missing(const OndName *uses, const OndBuf *job);

#endif
