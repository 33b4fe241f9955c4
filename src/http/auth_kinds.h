/*
 * auth_kinds.h - inside of src/http: what the files of the auth kinds share.
 */
#ifndef OND_HTTP_AUTH_KINDS_H
#define OND_HTTP_AUTH_KINDS_H

#include "http/auth.h"

#define OND_CREDENTIAL_BYTES_MAX 12288 /* fits a header as base64 */

/* The value to send; a literal may stand in ref alone. NULL: not resolved. */
extern const char *ond_credential_value(const OndCredential *c);
/* A credential that may be absent. */
extern const OndCredential *ond_auth_find(const OndAuth *a, OndCredentialUse use, const char *name);
/* Its value; NULL and err when it is missing, not resolved, empty (but where that is fine) or too long. */
extern const char *ond_auth_need(const OndAuth *a, OndCredentialUse use, const char *name, bool may_be_empty, OndError *err);
/* Puts a header in place of all of its name. */
extern bool ond_auth_replace_header(OndHttpRequest *r, const char *name, const char *value, OndError *err);
extern int64_t ond_auth_now_s(const OndAuth *a);
/* Frees after wiping. */
extern void ond_free_wiped(char *s);
extern void ond_buf_free_wiped(OndBuf *b);

/* --- the kinds: each puts its credentials on the request --- */
extern bool ond_digest_apply(const OndAuth *a, OndHttpRequest *r, OndError *err);
extern bool ond_digest_challenged(OndAuth *a, const OndHttpRequest *r, const OndHttpResponse *response, OndError *err);
extern void ond_digest_free(OndDigest *d);
extern bool ond_sigv4_apply(const OndAuth *a, OndHttpRequest *r, OndError *err);
extern bool ond_hmac_apply(const OndAuth *a, OndHttpRequest *r, OndError *err);

#endif
