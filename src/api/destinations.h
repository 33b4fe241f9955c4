/*
 * destinations.h - a destination's documents, parsed; errors are raised.
 */
#ifndef OND_API_DESTINATIONS_H
#define OND_API_DESTINATIONS_H

#include "postgres.h"
#include "catalog/sync.h"
#include "connector/connector.h"

/* Both are malloc memory: free with ond_connector_free() and ond_auth_free(). */
extern OndConnector *ond_destination_connector(const OndDestination *d);
extern OndAuth *ond_destination_auth(const OndDestination *d);

#endif
