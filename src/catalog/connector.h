/*
 * connector.h - connectors as the catalog has them, and a destination's connector compiled.
 *
 * A row is builtin (shipped, of nobody, replaced by upgrades) or of a role. A destination may use builtin ones and those of roles that its
 * owner is a member of; where both have the name, the role's: an upgrade that ships a new one does not move anybody's destination.
 */
#ifndef OND_CATALOG_CONNECTOR_H
#define OND_CATALOG_CONNECTOR_H

#include "postgres.h"
#include "catalog/sync.h"
#include "connector/connector.h"

typedef struct OndConnectorRow {
  char *name;
  Oid owner;                  /* InvalidOid: builtin */
  char *document;             /* JSON text */
} OndConnectorRow;

/* The connector that a destination of this role means by the name; NULL: none. In the current context. Inside "ours", as all of these. */
extern OndConnectorRow *ond_connector_find(const char *name, Oid role);
/* The row of a role that the asking role is a member of, for an edit: locked till the end of the transaction. Errors when there is none. */
extern OndConnectorRow *ond_connector_edit(const char *name, Oid role);
/* Keeps it from being replaced or dropped till the end of the transaction. "http" is nothing that could. */
extern void ond_connector_keep(const char *name);
/* Error 42710 when the name is taken, by a role's or a builtin one. */
extern void ond_connector_insert(const OndConnectorRow *c, const char *description);
/* Counts the version. description NULL keeps. */
extern void ond_connector_update(const OndConnectorRow *c, const char *description);
extern void ond_connector_delete(const OndConnectorRow *c);
/* Numbers of the destinations that use it, in order; a palloc'd array. */
extern int64 *ond_connector_destinations(const OndConnectorRow *c, int *n);

/*
 * Compiles the connector of a destination with the object and variables of a sync; sync NULL: the destination by itself. Errors are raised.
 * malloc memory: free with ond_connector_free(). Needs no catalog: the destination carries the document.
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
