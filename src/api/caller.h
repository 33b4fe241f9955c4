/*
 * caller.h - HTTP from a caller's backend, for fetch() and request(): one destination, its credentials, limits and retries.
 *
 * It happens in the caller's transaction, which holds what it holds meanwhile. Interrupts are served ten times a second. Everything of the rooms
 * below is malloc memory: open, then ond_caller_close() on every way out (PG_FINALLY).
 */
#ifndef OND_API_CALLER_H
#define OND_API_CALLER_H

#include "postgres.h"
#include "catalog/sync.h"
#include "connector/connector.h"
#include "http/http.h"
#include "worker/shared.h"

typedef struct OndCaller {
  const OndDestination *destination;
  OndConnector *connector;
  OndAuth *auth;
  int64 token_version;        /* of the access token in auth; 0: none */
  OndHttp *http;
  OndBudget *budget;
  bool permit;                /* held: a request is on its way */
  OndHttpRequest request;     /* the present one; made anew for each */
  OndHttpResponse *response;  /* of it */
} OndCaller;

/*
 * Compiles the destination's connector, with one object where a name is given ("" : the account alone), resolves the credentials and opens the
 * transport. Inside "ours". Errors are raised; what was made until then is in *c.
 */
extern void ond_caller_open(OndCaller *c, const OndDestination *d, const char *object, bool account_only);
extern void ond_caller_close(OndCaller *c);

/*
 * Sends c->request, waits for rate limits, tries again as the destination's retry says where that does no harm: `safe` requests (they change nothing)
 * after any failure, others only where the server cannot have acted. bare: without credentials. c->response is the last answer; its transfer may have failed.
 * statuses: of the operation, may be NULL. Returns what the answer means.
 */
extern OndAnswer ond_caller_exchange(OndCaller *c, int rate_group, const OndStatusRules *statuses, bool safe, bool bare);

/* Waits; interrupts are served. */
extern void ond_caller_wait(int64 us);

/* An error in the words of the last answer; what: "page 3 of object \"contacts\"". */
extern _Noreturn void ond_caller_fail(const OndCaller *c, const char *what);

/* Text of an answer without secret values, in the database's encoding (bytes that are not UTF-8 are an error). */
extern char *ond_caller_text(const OndCaller *c, const char *text, size_t n);

#endif
