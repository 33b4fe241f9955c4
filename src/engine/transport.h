/*
 * transport.h - the transport (http/http.h) in a process of the server: whom it may reach, what it may hold, and descriptors that the server counts.
 */
#ifndef OND_ENGINE_TRANSPORT_H
#define OND_ENGINE_TRANSPORT_H

#include "postgres.h"
#include "catalog/sync.h"
#include "connector/connector.h"
#include "http/auth.h"
#include "http/http.h"

/* Whom a destination's requests may reach, by its owner and ondatra.allowed_hosts. Reads the catalog: inside a transaction. */
extern void ond_transport_addresses(const OndDestination *d, OndAddressPolicy *out);

/* The options of every transport: the settings' limits and authorities, addresses, counted descriptors. The caller may change them before it opens. */
extern void ond_transport_options(const OndAddressPolicy *addresses, int connections_max, OndHttpOptions *out);

/*
 * Opens a transport with what the credentials bring for TLS of the connector's base URL; the credentials must outlive it. Raises what is wrong with
 * them, with ondatra.ca_file or with libcurl. The caller destroys it (ond_http_destroy).
 */
extern OndHttp *ond_transport_open(const OndConnector *connector, const OndAuth *auth, OndHttpOptions *options);

/*
 * For every loop that waits for a destination: serves interrupts, which may raise, and ends the process when its postmaster has ended, as every wait of
 * the server's does: the server could not start before this process is gone.
 */
extern void ond_transport_check(void);

#endif
