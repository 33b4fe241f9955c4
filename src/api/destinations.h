/*
 * destinations.h - a destination's credentials, parsed; errors are raised.
 */
#ifndef OND_API_DESTINATIONS_H
#define OND_API_DESTINATIONS_H

#include "postgres.h"
#include "catalog/sync.h"
#include "connector/connector.h"

/* malloc memory: free with ond_auth_free(). */
extern OndAuth *ond_destination_auth(const OndDestination *d);

#endif
