/*
 * auth_document.h - inside of src/connector: what the files that read destinations.auth share.
 */
#ifndef OND_CONNECTOR_AUTH_DOCUMENT_H
#define OND_CONNECTOR_AUTH_DOCUMENT_H

#include "connector/connector.h"
#include "connector/document.h"

/* Members that every type may have. */
#define OND_AUTH_COMMON "type", "tls", "values"

typedef struct OndAuthReader {
  OndAuth *auth;
  OndError *err;
} OndAuthReader;

/* {"secret": "name"} | {"env": "NAME"} | {"file": "path"} becomes a credential of this name. */
extern bool ond_auth_read_reference(OndAuthReader *r, const OndNode *at, OndCredentialUse use, const char *name);
/* A member that must be a reference; absent: an error, or fine where it is optional. */
extern bool ond_auth_read_member(OndAuthReader *r, const OndNode *auth, OndCredentialUse use, const char *name, bool optional);
/* A member that may also be a plain text: what only says who somebody is. */
extern bool ond_auth_read_identifier(OndAuthReader *r, const OndNode *auth, OndCredentialUse use, const char *name, bool optional);
/* A plain text of 1 to 2000 bytes without control characters, copied to *out (malloc); absent: an error, or *out stays. */
extern bool ond_auth_read_text(OndAuthReader *r, const OndNode *auth, const char *name, bool optional, char **out);
/* An object of 1 to 20 members, each read by `each`. */
extern bool ond_auth_read_object(OndAuthReader *r, const OndNode *at, bool (*each)(OndAuthReader *r, const OndNode *item));
/* "prefix": the word before a token. */
extern bool ond_auth_read_prefix(OndAuthReader *r, const OndNode *auth);
extern bool ond_auth_fail_missing(OndAuthReader *r, const OndNode *auth, const char *name);

/* --- the kinds with more to say: auth_token.c, auth_signature.c --- */
extern bool ond_auth_read_client_credentials(OndAuthReader *r, const OndNode *auth);
extern bool ond_auth_read_refresh_token(OndAuthReader *r, const OndNode *auth);
extern bool ond_auth_read_jwt_bearer(OndAuthReader *r, const OndNode *auth);
extern bool ond_auth_read_aws_sigv4(OndAuthReader *r, const OndNode *auth);
extern bool ond_auth_read_hmac(OndAuthReader *r, const OndNode *auth);

#endif
