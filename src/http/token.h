/*
 * token.h - asking a token endpoint: the request, and what a token depends on.
 *
 * OAuth 2.0 (RFC 6749) with its client authentication (RFC 7523 for private_key_jwt) and the JWT bearer grant (RFC 7523). Answers are read by
 * connector/token.h; who asks when is engine/tokens.h.
 */
#ifndef OND_HTTP_TOKEN_H
#define OND_HTTP_TOKEN_H

#include "http/auth.h"

#define OND_FINGERPRINT_BYTES 65

typedef struct OndTokenFingerprints {
  char chain[OND_FINGERPRINT_BYTES]; /* of what a rotated refresh token descends from: endpoint, client and the refresh token that was given */
  char all[OND_FINGERPRINT_BYTES];   /* of everything that a token depends on */
} OndTokenFingerprints;

/*
 * The request to the endpoint; all values must be resolved. refresh_token: for oauth2_refresh_token, NULL means the one that was given. False and
 * err: something is missing or cannot be signed. r is initialised here and empty on failure.
 */
extern bool ond_token_request(const OndAuth *a, const char *refresh_token, OndHttpRequest *r, OndError *err);
/* False: a value is not resolved. */
extern bool ond_token_fingerprints(const OndAuth *a, OndTokenFingerprints *out);

#endif
