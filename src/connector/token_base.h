/*
 * token_base.h - a base URL whose host the answer to the token request names.
 */
#ifndef OND_CONNECTOR_TOKEN_BASE_H
#define OND_CONNECTOR_TOKEN_BASE_H

#include "connector/connector.h"
#include "connector/token.h"

/*
 * Where requests go with this token: scheme, host and port, malloc'd; NULL: where the base URL says. False and err: the answer does not tell, or names
 * what the connector's "hosts" do not let the credentials go to.
 */
extern bool ond_token_base_read(const OndConnector *c, const OndToken *token, char **base, OndError *err);

#endif
