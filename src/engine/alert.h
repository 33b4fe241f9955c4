/*
 * alert.h - one message about a sync: what it says, and the request that carries it.
 */
#ifndef OND_ENGINE_ALERT_H
#define OND_ENGINE_ALERT_H

#include "postgres.h"
#include "catalog/sync.h"
#include "connector/connector.h"
#include "http/http.h"

#define OND_ALERT_WORDS 10 /* that a message knows: {{text}}, {{sync}} ... */

typedef struct OndAlertMessage {
  OndSync stand_in; /* what the connector is compiled for: rows of one key, created */
  char *key_name;
  const OndDestination *destination;
  OndConnector *connector;
  OndAuth *auth; /* resolved */
  OndAddressPolicy addresses;
  const OndOperation *operation;
  const char *values[OND_ALERT_WORDS];
  OndBuf fields;
  OndBytes key;
  OndBytes *columns;
  OndRow row;
  char idempotency_key[33];
  OndHttpRequest request; /* without credentials */
} OndAlertMessage;

/*
 * Error unless the sync's option `alert` (its destination not NULL) can be carried out with the rights of the sync's owner. Inside
 * "ours".
 */
extern void ond_alert_check(const OndSync *s);

/*
 * Makes the request, in a transaction of its own, in the current memory context. *m is zero before; ond_alert_message_free() on every
 * way out. Raises what
 * keeps it from being sent: a destination that is gone, rights, secrets.
 */
extern void ond_alert_message_load(OndAlertMessage *m, const OndSync *s, const OndAlert *a);
extern void ond_alert_message_free(OndAlertMessage *m);

#endif
