/*
 * auth.h - credentials of a destination and how they get onto a request.
 *
 * The document (destinations.auth) is parsed by connector/auth_document.c, its references are resolved by catalog/secrets.c, and here
 * the resolved values are put on requests. Values are wiped when freed.
 */
#ifndef OND_HTTP_AUTH_H
#define OND_HTTP_AUTH_H

#include <stdbool.h>
#include "core/error.h"
#include "http/http.h"

typedef enum OndAuthType { OND_AUTH_NONE, OND_AUTH_BEARER, OND_AUTH_BASIC, OND_AUTH_HEADER, OND_AUTH_QUERY } OndAuthType;
typedef enum OndCredentialSource {
  OND_CREDENTIAL_LITERAL,
  OND_CREDENTIAL_SECRET,
  OND_CREDENTIAL_ENV,
  OND_CREDENTIAL_FILE
} OndCredentialSource;

typedef struct OndCredential {
  char *name;                  /* "token", "username", "password"; header or parameter name for HEADER and QUERY */
  OndCredentialSource source;
  char *ref;                   /* name of the secret, variable or file; the value itself when LITERAL */
  char *value;                 /* resolved; NULL before */
} OndCredential;

typedef struct OndAuth {
  OndAuthType type;
  char *prefix;                /* bearer: word before the token; default "Bearer" */
  int n;
  OndCredential *items;        /* username is the only one that may be LITERAL */
} OndAuth;

extern void ond_auth_free(OndAuth *a);    /* wipes values; contents and a; NULL is fine */
/*
 * Puts the credentials on the request: headers or query parameters, in place of those of the same name. All values must be resolved: a
 * missing one is an error, never a bare request.
 */
extern bool ond_auth_apply(const OndAuth *a, OndHttpRequest *r, OndError *err);
/* Replaces each secret value (4 bytes and longer; also in its URL-encoded, base64 and JSON-escaped forms) in place by "***". */
extern void ond_auth_scrub(const OndAuth *a, OndBuf *text);
/* A header name that carries credentials (Authorization, Cookie, those of the auth): shown as "***" in previews. */
extern bool ond_auth_is_credential_header(const OndAuth *a, const char *name);

#endif
