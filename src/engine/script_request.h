/*
 * script_request.h - render and parse: a batch given to the owner's function, the request that it describes; an answer given to it, the rows' fates that it tells.
 */
#ifndef OND_ENGINE_SCRIPT_REQUEST_H
#define OND_ENGINE_SCRIPT_REQUEST_H

#include "postgres.h"
#include "engine/change_row.h"
#include "engine/script.h"
#include "engine/spec.h"

/* What the functions are asked about. */
typedef struct OndScriptBatch {
  const OndSpec *spec;
  OndRoute route;             /* never LOOKUP: that is the connector's */
  int n;
  OndChangeRow *const *rows;
  int64 run_id;               /* 0: none */
  const char *key;            /* the request's idempotency key */
} OndScriptBatch;

/*
 * The request for the batch, without credentials: as ond_connector_render(). FAILED: it cannot be made of these rows, err says why (the function raised, returned NULL or something that is
 * no request).
 */
extern OndScriptEnd ond_script_render(const OndScriptHost *host, const OndScriptBatch *batch, OndHttpRequest *out, OndError *err);

/*
 * The rows' fates: fills results[n]; rows that are not named are UNKNOWN. *told: false: the function returned NULL, the answer means what its status says. FAILED: the function
 * raised, or what it returned is no list of fates, names a row twice, or one that is not in the batch: then results are all UNKNOWN. Strings live in the current context.
 */
extern OndScriptEnd ond_script_parse(const OndScriptHost *host, const OndScriptBatch *batch, const OndHttpResponse *response, OndRowResult *results, bool *told, OndError *err);

#endif
