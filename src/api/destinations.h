/*
 * destinations.h - a destination's credentials, parsed; errors are raised.
 */
#ifndef OND_API_DESTINATIONS_H
#define OND_API_DESTINATIONS_H

#include "postgres.h"
#include "catalog/sync.h"
#include "connector/connector.h"

/* It ends with the current memory context, also after an error. */
extern OndAuth *ond_destination_auth(const OndDestination *d);

/*
 * Puts an access token with a version above this one into resolved credentials, fetched where none is stored; its version. 0: they are of a kind without
 * tokens. Never fetched in this transaction (worker/token.h). Errors say what the token endpoint says.
 */
extern int64 ond_backend_token(const OndDestination *d, const OndConnector *connector, OndAuth *auth, int64 above_version);

#endif
