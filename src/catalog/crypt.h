/*
 * crypt.h - how a stored secret is encrypted: AES-256-GCM under the server's key file. For catalog/secrets.c only.
 *
 * A stored value is: version (1 byte), key id (4: the start of the key's SHA-256), nonce (12, random), owner's OID (4), length of the
 * owner's name (1), owner's name, ciphertext, tag (16). Everything before the ciphertext and the secret's name are authenticated with it,
 * so a value cannot be moved to another name or another owner. Of the owner either the OID or the name must still be the same: a rename
 * keeps the one, a dump and restore the other.
 */
#ifndef OND_CATALOG_CRYPT_H
#define OND_CATALOG_CRYPT_H

#include "postgres.h"
#include "core/error.h"

/* Nothing is encrypted yet: a key that is missing may be made. Inside "ours". */
extern bool ond_crypt_none_yet(void);
/* Raises when the key file cannot be used; makes it when there is none and may_make_key. */
extern bytea *ond_crypt_seal(Oid owner, const char *name, const char *value, size_t n, bool may_make_key);
/* Whether it was sealed with the first key of the key file, which seals now. Raises when the file cannot be used. */
extern bool ond_crypt_is_current(const bytea *sealed);
/* The value, palloc'd and NUL-terminated, *n bytes: the caller wipes it. NULL and err when it cannot be read. */
extern char *ond_crypt_open(Oid owner, const char *name, const bytea *sealed, size_t *n, OndError *err);

#endif
