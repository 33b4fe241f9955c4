/*
 * api.h - what the SQL-callable functions have in common: they check arguments and privileges, and leave the work to the rooms below.
 *
 * The pattern: read the arguments (they may be NULL: every function is declared CALLED ON NULL INPUT so that it can say what is missing),
 * ond_call_begin(), look up and write through catalog/, ond_call_end(). An error in between restores everything by itself.
 */
#ifndef OND_API_API_H
#define OND_API_API_H

#include "postgres.h"
#include "catalog/session.h"
#include "catalog/sync.h"
#include "fmgr.h"
#include "utils/jsonb.h"

typedef struct OndCall {
  OndScope scope;
  MemoryContext context; /* the caller's, current again after the end */
  Oid user;              /* who asks: GetUserId() of the caller, so the definer inside a SECURITY DEFINER function */
} OndCall;

/*
 * Enters "ours" with SPI; the current memory context stays the caller's. Refuses inside a run and wherever else a model is evaluated (a
 * restricted operation): what it reaches must not change, start or look at syncs with the owner's rights. trigger_sync alone is allowed,
 * and does not come here.
 */
extern void ond_call_begin(OndCall *call);
extern void ond_call_end(OndCall *call);
/* The sync of that name with its run lock held, as it is under the lock. Errors when it is missing or running. */
extern OndSync *ond_call_edit(OndCall *call, const char *name);
/* The process at the end of a chain of waits that starts at `pid` and waits for a lock of this one (a wait that the server's detector of deadlocks does not see, since this process waits on a latch); 0: there is none. */
extern int ond_waits_for_me(int pid);
/* The refusal alone, for functions that do not need "ours" at their start. */
extern void ond_call_refuse_in_run(void);

/* Names of those of n objects that the role may see, and how many others there are. look: name and owner of one; false: it is gone. */
extern char *ond_names_seen(const int64 *ids, int n, Oid role, bool (*look)(int64 id, char **name, Oid *owner));

/* What no context knows (malloc): free_it(p) when the current memory context ends, also after an error. */
extern void ond_api_adopt(MemoryContextCallbackFunction free_it, void *p);

/* Argument n (from 0) as a C string; NULL for NULL. */
extern char *ond_arg_text(FunctionCallInfo fcinfo, int n);
/* Likewise; NULL is an error that names the argument. */
extern char *ond_arg_required(FunctionCallInfo fcinfo, int n, const char *argument);
/* A name of an object: required, and looks like one. kind as in ond_name_check(). */
extern char *ond_arg_name(FunctionCallInfo fcinfo, int n, const char *kind);
/* jsonb as text; NULL for NULL. */
extern char *ond_arg_json(FunctionCallInfo fcinfo, int n);
/* Keys of rows of the sync, checked, as the text of a JSON array; NULL for NULL. One key alone stands for an array of one. */
extern char *ond_arg_keys(FunctionCallInfo fcinfo, int n, const OndSync *sync);
/* One key, required, as the text of a JSON object. */
extern char *ond_arg_key(FunctionCallInfo fcinfo, int n, const OndSync *sync);
extern bool ond_arg_bool(FunctionCallInfo fcinfo, int n, bool default_value);

/* A jsonb argument that is an object merged into `base` (JSON text or NULL for {}), as text; base itself when the argument is NULL. */
extern char *ond_arg_options(FunctionCallInfo fcinfo, int n, const char *base);
/* True for a jsonb argument that is JSON null: "unset it". */
extern bool ond_arg_is_json_null(FunctionCallInfo fcinfo, int n);

/* `delivered` of the update functions. */
typedef enum OndDelivered { OND_DELIVERED_UNSAID, OND_DELIVERED_KEEP, OND_DELIVERED_FORGET } OndDelivered;
extern OndDelivered ond_arg_delivered(FunctionCallInfo fcinfo, int n);

/* A role as owner of a new sync: NOLOGIN and superusers, each as design and settings say (error or WARNING). */
extern void ond_owner_check(Oid owner);

#endif
