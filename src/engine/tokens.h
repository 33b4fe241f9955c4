/*
 * tokens.h - the access token of a destination that fetches its own: kept fresh for one process, fetched by one process for all.
 *
 * A keeper is a state machine that its process drives between other work (a run beside its deliveries, the token worker alone). It never waits by
 * itself, never raises but for interrupts, and is in a transaction only within ond_keeper_work().
 */
#ifndef OND_ENGINE_TOKENS_H
#define OND_ENGINE_TOKENS_H

#include "postgres.h"
#include "catalog/sync.h"
#include "connector/connector.h"
#include "connector/token.h"
#include "http/auth.h"
#include "utils/snapshot.h"

typedef struct OndKeeper OndKeeper;

typedef enum OndTokenState {
  OND_TOKEN_READY,            /* there is one in the auth */
  OND_TOKEN_WAIT,             /* not yet: call ond_keeper_work() */
  OND_TOKEN_FAILED            /* there will be none: ond_keeper_error() */
} OndTokenState;

/*
 * A keeper for a destination whose credentials are resolved; NULL when they are of a kind without tokens. auth gets the tokens. limits: time-outs and
 * retries. Everything is borrowed. Raises when the transport cannot be set up. Destroy it when its process ends its work.
 */
extern OndKeeper *ond_keeper_create(const OndDestination *destination, const OndConnector *connector, OndAuth *auth,
                                    const OndAddressPolicy *addresses);
/*
 * Lets go: a request that may replace the refresh token gets its answer first, patiently (till its time-out) or for most of a second. NULL is fine.
 */
extern void ond_keeper_destroy(OndKeeper *k, bool patient);
/* Frees what is not the memory contexts': for a reset callback after an error. NULL is fine. */
extern void ond_keeper_release(OndKeeper *k);
/* Moves on as far as it can without waiting; wait_ms: for the endpoint's answer, where one is awaited. Outside of transactions. */
extern void ond_keeper_work(OndKeeper *k, int wait_ms);
/* Something is under way: work soon again. */
extern bool ond_keeper_is_busy(const OndKeeper *k);
extern OndTokenState ond_keeper_state(const OndKeeper *k);
/* Number of the token in the auth. */
extern int64 ond_keeper_version(const OndKeeper *k);
/* The endpoint's last answer, for what a connector reads from it (ond_token_response_text); NULL: none yet. */
extern const OndToken *ond_keeper_token(const OndKeeper *k);
/* Why there is none: class 28 when a person must act. */
extern const OndError *ond_keeper_error(const OndKeeper *k);
/* The destination answered 401 to a request with this version. True: another token is there or on its way; the same request may go again. */
extern bool ond_keeper_refused(OndKeeper *k, int64 version);
/* The destination took a request with this version. */
extern void ond_keeper_accepted(OndKeeper *k, int64 version);
/* Asks anew unless a token with a higher version is there. */
extern void ond_keeper_expect(OndKeeper *k, int64 above_version);

/*
 * Takes the stored token for the auth if it is fit for now and newer than above_version; nothing is fetched. Inside "ours"; snapshot NULL: the
 * transaction's own. The version, or 0.
 */
extern int64 ond_token_peek(int64 destination_id, Oid owner, const OndConnector *connector, OndAuth *auth, int64 above_version, Snapshot snapshot);

#endif
