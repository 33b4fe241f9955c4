/*
 * digest.h - HTTP Digest (RFC 7616): challenges read, answers computed.
 */
#ifndef OND_HTTP_DIGEST_H
#define OND_HTTP_DIGEST_H

#include <stdbool.h>
#include <stdint.h>
#include "core/buf.h"
#include "core/error.h"
#include "http/crypto.h"

typedef struct OndDigestChallenge {
  char realm[512], nonce[512], opaque[512]; /* without quotes and escapes */
  bool has_opaque;
  OndHashKind hash;
  bool session;               /* -sess */
  bool qop_auth;              /* else the form of RFC 2069 */
  bool userhash, stale;
} OndDigestChallenge;

/* Reads the value of a WWW-Authenticate header. False: it holds no digest challenge that can be answered; err says why, where it has one. */
extern bool ond_digest_parse(const char *value, size_t n, OndDigestChallenge *out, OndError *err);
/* The value of Authorization. uri: path and query as on the wire. cnonce and nc are the caller's. */
extern bool ond_digest_answer(const OndDigestChallenge *c, const char *username, const char *password, const char *method, OndBytes uri,
                              const char *cnonce, uint32_t nc, OndBuf *out);

#endif
