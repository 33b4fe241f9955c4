/*
 * credentials.c - what a backend needs to send requests with a destination's credentials: an access token, where they are one.
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "api/destinations.h"
#include "catalog/session.h"
#include "engine/tokens.h"
#include "worker/token.h"

static int64 peek(const OndDestination *d, const OndConnector *connector, OndAuth *auth, int64 above_version) {
  MemoryContext caller = CurrentMemoryContext;
  OndScope scope;
  int64 version;

  ond_our_begin(&scope, true);
  version = ond_token_peek(d->destination_id, d->owner, connector, auth, above_version, GetLatestSnapshot());
  ond_our_end(&scope);
  MemoryContextSwitchTo(caller);
  return version;
}

int64 ond_backend_token(const OndDestination *d, const OndConnector *connector, OndAuth *auth, int64 above_version) {
  int64 version;

  if (!ond_auth_wants_token(auth))
    return 0;
  version = peek(d, connector, auth, above_version);
  if (version == 0) {
    ond_token_fetch(d->destination_id, d->name, above_version);
    version = peek(d, connector, auth, above_version);
  }
  if (version == 0)
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("the credentials of destination \"%s\" were changed in this transaction", d->name),
                    errhint("COMMIT first: its access token is fetched by another process.")));
  return version;
}
