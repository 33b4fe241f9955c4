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

#endif
