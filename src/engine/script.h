/*
 * script.h - functions of a sync's owner that its options name: render, parse, finalize. Found when the sync is compiled, called with one jsonb.
 *
 * A call is as the model's: the owner's rights, the search_path of the sync's creation, a restricted operation, time limits that the function can neither
 * change nor outlast; render and parse READ ONLY. In a run it is a transaction of its own that begins and ends between two looks at the sockets, so no snapshot
 * is held while something is sent. An error ends only the call: it comes back as words.
 */
#ifndef OND_ENGINE_SCRIPT_H
#define OND_ENGINE_SCRIPT_H

#include "postgres.h"
#include "catalog/sync.h"
#include "core/error.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#define OND_SCRIPT_TIMEOUT_MS 60000 /* of a call, where neither the sync nor its owner has a statement_timeout */

typedef struct OndScriptHost {
  const OndSync *sync;
  bool of_caller;             /* a look: inside the caller's transaction. Cancelling is an error there */
  int64 deadline_us;          /* of the run, monotonic; 0: none */
  bool (*stop_asked)(void);   /* as for ond_watch_begin() */
} OndScriptHost;

typedef enum OndScriptEnd {
  OND_SCRIPT_DONE,
  OND_SCRIPT_FAILED,          /* it may be about what it was given */
  OND_SCRIPT_BROKEN,          /* it is not: what it names is not there or not allowed, it took too long, the server is in trouble */
  OND_SCRIPT_CANCELLED        /* the run is to stop */
} OndScriptEnd;

/*
 * The function `name` of an option as SQL text to call it by, palloc'd. Called as the owner (ond_owner_begin). An error 42883, 42809, 42804 or 42501 that names option and
 * form when there is none with one argument of type jsonb, it returns something else (returns_jsonb), or the owner may not execute it.
 */
extern char *ond_script_find(const char *option, const char *name, bool returns_jsonb);

/* A call: who asks, and what becomes of it. ask and take run in the call's transaction, as who called, and may raise. */
typedef struct OndScriptUse {
  const char *option;
  const char *function;       /* of ond_script_find() */
  void (*ask)(StringInfo argument, void *arg);  /* appends JSON in UTF-8 */
  void (*take)(Jsonb *result, void *arg);       /* NULL: it returned NULL. The current context is that of the caller */
  void *arg;
} OndScriptUse;

/* Calls the function. err is filled unless DONE. */
extern OndScriptEnd ond_script_call(const OndScriptHost *host, const OndScriptUse *use, OndError *err);

/* finalize: READ WRITE, in a transaction of its own of a run worker; what it returns is ignored (take is not called). DONE, FAILED or CANCELLED. */
extern OndScriptEnd ond_script_finalize(const OndScriptHost *host, const OndScriptUse *use, OndError *err);

#endif
