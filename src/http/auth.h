/*
 * auth.h - credentials of a destination and how they get onto a request.
 *
 * The document (destinations.auth) is parsed by connector/auth_document.c, its references are resolved by catalog/secrets.c, and here
 * the resolved values are put on requests. Values are wiped when freed.
 *
 *   type          its request credentials (items with use REQUEST)       beside them
 *   bearer        token                                                  prefix
 *   basic, digest username, password                                     digest: what the server challenged with
 *   header, query one item per header or parameter
 *   oauth2_*,     none: the access token is given by ond_auth_set_token   token: how one is asked for (token.h)
 *   jwt_bearer
 *   aws_sigv4     access_key, secret_key, session_token                  sigv4
 *   hmac          secret, up to OND_HMAC_SECRETS_MAX of them             hmac
 *
 * Beside any type: a client certificate, its key, an authority (use TLS), and values for {{auth.name}} (use VALUE).
 */
#ifndef OND_HTTP_AUTH_H
#define OND_HTTP_AUTH_H

#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"
#include "core/template.h"
#include "core/url.h"
#include "http/crypto.h"
#include "http/http.h"

#define OND_HMAC_SECRETS_MAX 5
#define OND_AUTH_MARK        "***" /* stands for a credential in what people see */

typedef enum OndAuthType {
  OND_AUTH_NONE,
  OND_AUTH_BEARER,
  OND_AUTH_BASIC,
  OND_AUTH_HEADER,
  OND_AUTH_QUERY,
  OND_AUTH_DIGEST,
  OND_AUTH_AWS_SIGV4,
  OND_AUTH_HMAC,
  OND_AUTH_OAUTH2_CLIENT_CREDENTIALS,
  OND_AUTH_OAUTH2_REFRESH_TOKEN,
  OND_AUTH_JWT_BEARER
} OndAuthType;

typedef enum OndCredentialSource {
  OND_CREDENTIAL_LITERAL,
  OND_CREDENTIAL_SECRET,
  OND_CREDENTIAL_ENV,
  OND_CREDENTIAL_FILE
} OndCredentialSource;

typedef enum OndCredentialUse {
  OND_USE_REQUEST,             /* goes onto requests to the destination */
  OND_USE_TOKEN,               /* goes to the token endpoint only: client_id, client_secret, client_key, refresh_token, key */
  OND_USE_TOKEN_PARAMETER,     /* likewise, a parameter of this name */
  OND_USE_TLS,                 /* certificate, key, key_password, ca */
  OND_USE_VALUE                /* {{auth.name}} */
} OndCredentialUse;

typedef struct OndCredential {
  char *name;                  /* "token", "username", …; header, parameter or value name */
  OndCredentialUse use;
  OndCredentialSource source;
  char *ref;                   /* name of the secret, variable or file; the value itself when LITERAL */
  char *value;                 /* resolved; NULL before */
} OndCredential;

/* How a client shows who it is at the token endpoint. */
typedef enum OndClientAuth { OND_CLIENT_NONE, OND_CLIENT_BASIC, OND_CLIENT_POST, OND_CLIENT_PRIVATE_KEY_JWT } OndClientAuth;

typedef struct OndTokenPlan {
  char *url;
  char host[256];              /* of url */
  OndClientAuth client_auth;
  char *scope, *audience;      /* NULL: none */
  char *client_key_id;         /* private_key_jwt: "kid", or NULL */
  char *client_audience;       /* private_key_jwt: "aud"; NULL: url */
  char *issuer, *subject, *key_id; /* jwt_bearer; subject and key_id may be NULL; audience NULL: url */
  char *claims;                /* jwt_bearer: more members of the assertion as JSON (",\"a\":1"), or NULL */
  int lifetime_s;              /* of an assertion */
} OndTokenPlan;

typedef struct OndSigv4Plan {
  char *region, *service;
  bool s3;                     /* the path as it is, and x-amz-content-sha256 */
} OndSigv4Plan;

/* What a signature is made over, piece by piece. */
typedef enum OndHmacWord { OND_HMAC_LITERAL, OND_HMAC_BODY, OND_HMAC_TIMESTAMP, OND_HMAC_ID, OND_HMAC_METHOD, OND_HMAC_URL } OndHmacWord;

typedef struct OndHmacPiece {
  OndHmacWord word;
  char *literal;               /* LITERAL */
} OndHmacPiece;

typedef enum OndHmacEncoding { OND_HMAC_HEX, OND_HMAC_BASE64 } OndHmacEncoding;
typedef enum OndHmacSecret { OND_HMAC_SECRET_TEXT, OND_HMAC_SECRET_BASE64, OND_HMAC_SECRET_HEX } OndHmacSecret;

typedef struct OndHmacPlan {
  char *header;                /* NULL: the Standard Webhooks form, and nothing below counts */
  OndHashKind hash;
  OndHmacEncoding encoding;
  char *prefix;                /* before the signature; may be "" */
  OndHmacSecret secret;        /* how the key stands in the secret */
  char *timestamp_header;      /* unix seconds go there; NULL: nowhere */
  int n_over;
  OndHmacPiece *over;
} OndHmacPlan;

typedef struct OndDigest OndDigest;

typedef struct OndAuth {
  OndAuthType type;
  char *prefix;                /* bearer, oauth2_*, jwt_bearer: word before the token; default "Bearer" */
  int n;
  OndCredential *items;        /* LITERAL: user names, client ids, certificates and what else is no credential by itself */
  OndTokenPlan *token;         /* NULL for types without one */
  OndSigv4Plan *sigv4;
  OndHmacPlan *hmac;
  OndDigest *digest;           /* state: the last challenge; made by the first one */
  char *access_token;          /* oauth2_*, jwt_bearer: the one in use; NULL: none yet */
  char *token_base;            /* scheme, host and port that came with it, where requests go; NULL: where they say */
  char *scrub_also;            /* more text that never shows, in lines: tokens of the past */
  bool redacted;               /* for people: what would be a credential is OND_AUTH_MARK */
  int64_t now_s;               /* unix time of signatures; 0: the clock's */
  int n_origins;
  OndUrl *origins;             /* where the request credentials may go; none: anywhere (a document that is only shown) */
} OndAuth;

extern void ond_auth_free(OndAuth *a);    /* wipes values; contents and a; NULL is fine */
/* Whether the type gets its credential from a token endpoint. */
extern bool ond_auth_wants_token(const OndAuth *a);
/* The token for the next requests (copied); older ones are still scrubbed. */
extern void ond_auth_set_token(OndAuth *a, const char *access_token);
/* Where requests go with this token; taken over (malloc'd), NULL: where they say. */
extern void ond_auth_set_token_base(OndAuth *a, char *base);
/* Text that ond_auth_scrub() looks for too. */
extern void ond_auth_hide(OndAuth *a, const char *text);
/* The value of a token credential ("refresh_token"); NULL: none, or not resolved. */
extern const char *ond_auth_given(const OndAuth *a, const char *name);
/* Lets the request credentials go to this URL's origin too. False and err: it is no URL. */
extern bool ond_auth_trust(OndAuth *a, const char *url, OndError *err);
/* Gives every credential the mark as its value, for previews: nothing needs to be resolved. */
extern void ond_auth_redact(OndAuth *a);
/* The value of {{auth.name}}; NULL: there is none of this name, or it is not resolved. */
extern const char *ond_auth_named_value(const OndAuth *a, const char *name, size_t name_n);
/*
 * Puts the credentials on the request: headers or query parameters, in place of those of the same name. All values must be resolved: a
 * missing one is an error, never a bare request; only digest's first request goes without, to be challenged. A request to an origin that is not
 * trusted stays without. Called again for every try, right before it starts: signatures have a time. A body to be signed is compressed here.
 */
extern bool ond_auth_apply(const OndAuth *a, OndHttpRequest *r, OndError *err);
/*
 * Reads a 401: true when the same request may be tried again with what it says (a digest challenge that is new or says stale). err holds why not, where
 * there is something to say.
 */
extern bool ond_auth_challenged(OndAuth *a, const OndHttpRequest *r, const OndHttpResponse *response, OndError *err);
/* Replaces each secret value (4 bytes and longer; also in its URL-encoded, base64 and JSON-escaped forms) in place by "***". */
extern void ond_auth_scrub(const OndAuth *a, OndBuf *text);
/* Body and header lines of an answer, before anybody reads them. */
extern void ond_auth_scrub_response(const OndAuth *a, OndHttpResponse *response);
/* A header name that carries credentials (Authorization, Cookie, those of the auth): shown as "***" in previews. */
extern bool ond_auth_is_credential_header(const OndAuth *a, const char *name);
/* Client certificate and authority of the auth into the transport's options (which only borrow them). False: not resolved. */
extern bool ond_auth_tls(const OndAuth *a, const char *base_url, OndHttpOptions *o, OndError *err);

#endif
