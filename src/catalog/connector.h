/*
 * connector.h - connectors as the catalog has them, and a destination's connector compiled.
 */
#ifndef OND_CATALOG_CONNECTOR_H
#define OND_CATALOG_CONNECTOR_H

#include "postgres.h"
#include "catalog/sync.h"
#include "connector/connector.h"

/*
 * Compiles the connector of a destination with the object and variables of a sync; sync NULL: the destination by itself. Errors are raised.
 * malloc memory: free with ond_connector_free().
 */
extern OndConnector *ond_destination_compile(const OndDestination *d, const OndSync *s);
/* ond_connector_bind() with the sync's mode and key. */
extern bool ond_connector_bind_sync(OndConnector *c, const OndSync *s, OndError *err);

/*
 * The destination's credentials, parsed, fit for the connector, resolved, and trusted for its base URL; the connector renders with them from here
 * on. Inside "ours". Free with ond_auth_free(), not before the connector has rendered its last. NULL and err (28000 for what cannot be resolved).
 */
extern OndAuth *ond_destination_credentials(const OndDestination *d, OndConnector *connector, OndError *err);
/* Whether the destination's auth fits a connector (ond_connector_check_auth); nothing is resolved. */
extern bool ond_destination_check_auth(const OndDestination *d, const OndConnector *connector, OndError *err);

#endif
