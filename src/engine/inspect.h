/*
 * inspect.h - looking without sending: plan, preview, explain. Called by api/ with arguments checked and the sync loaded.
 *
 * No socket, no secret decrypted, nothing changed; the model is evaluated with the owner's identity, never the caller's.
 */
#ifndef OND_ENGINE_INSPECT_H
#define OND_ENGINE_INSPECT_H

#include "postgres.h"
#include "catalog/sync.h"
#include "fmgr.h"
#include "utils/tuplestore.h"

/* Each fills the function's result as its SQL declaration says (materialize mode; called between InitMaterializedSRF and return). */
extern void ond_plan_sync(const OndSync *sync, FunctionCallInfo fcinfo);
extern void ond_preview_sync(const OndSync *sync, int max_requests, FunctionCallInfo fcinfo);
extern void ond_explain_sync(const OndSync *sync, bool analyze, FunctionCallInfo fcinfo);
extern Datum ond_explain_row(const OndSync *sync, const char *key_json, FunctionCallInfo fcinfo);   /* jsonb */

/* Called with the run lock for edits held, outside of any scope of session.h. All return numbers of rows. keys_json: NULL or a JSON array. */
extern int64 ond_retry_failed(const OndSync *sync, const char *keys_json);
extern int64 ond_discard_failed(const OndSync *sync, const char *keys_json);
extern int64 ond_rebase_sync(const OndSync *sync);

#endif
