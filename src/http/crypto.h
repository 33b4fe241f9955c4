/*
 * crypto.h - the few primitives that credentials are made of: base64, hashes, HMAC, signed JWTs. Over OpenSSL.
 *
 * Key material is the caller's; temporary copies are wiped. Nothing here logs, and no error text holds a value.
 */
#ifndef OND_HTTP_CRYPTO_H
#define OND_HTTP_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include "core/buf.h"
#include "core/error.h"

#define OND_HASH_BYTES_MAX 64

typedef enum OndHashKind { OND_HASH_MD5, OND_HASH_SHA1, OND_HASH_SHA256, OND_HASH_SHA512, OND_HASH_SHA512_256 } OndHashKind;

/* Standard alphabet with padding; the URL alphabet without. False: no room. */
extern bool ond_base64(OndBuf *b, const void *p, size_t n);
extern bool ond_base64url(OndBuf *b, const void *p, size_t n);
/* Either alphabet, padded or not. False: it is none, or there is no room. */
extern bool ond_base64_decode(OndBuf *b, const char *text, size_t n);
/* Lower-case hex, and back (either case, an even number of digits). */
extern bool ond_hex(OndBuf *b, const void *p, size_t n);
extern bool ond_hex_decode(OndBuf *b, const char *text, size_t n);

/* Number of bytes written to out; 0 where OpenSSL does not offer the hash (MD5 under FIPS rules). */
extern size_t ond_hash(OndHashKind hash, const void *p, size_t n, unsigned char out[OND_HASH_BYTES_MAX]);
extern size_t ond_hmac(OndHashKind hash, const void *key, size_t key_n, const void *p, size_t n, unsigned char out[OND_HASH_BYTES_MAX]);
/* Unpredictable bytes as hex. False: OpenSSL has none. */
extern bool ond_random_hex(OndBuf *b, size_t bytes);

/*
 * Appends a JWT in compact form: header {"alg", "typ": "JWT"} and, where given, "kid", the claims (a JSON object's text), the signature. pem: a private
 * key without a passphrase; RSA of 2048 bits or more signs RS256, EC on P-256 signs ES256. False and err: no such key, no room.
 */
extern bool ond_jwt_sign(OndBuf *out, const char *pem, const char *key_id, const char *claims, size_t claims_n, OndError *err);

#endif
