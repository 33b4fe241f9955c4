/*
 * secrets.h - stored secrets: AES-256-GCM under the key file; references resolved for workers.
 */
#ifndef OND_CATALOG_SECRETS_H
#define OND_CATALOG_SECRETS_H

#include "postgres.h"
#include "http/auth.h"

/*
 * Fills in item->value of every credential of auth for a destination of `owner`: secrets of that owner; env and file only as the
 * superuser's allow-lists (ondatra.secret_env, ondatra.secret_dir) say. Called inside "ours". False and err (28000, with a hint) when one
 * cannot be resolved: then nothing may be sent.
 */
extern bool ond_secrets_resolve(OndAuth *auth, Oid owner, const char *destination_host, OndError *err);

/* Encrypts every stored secret with the first key of the key file that another one encrypted. How many; a warning for each that cannot be read. Inside "ours". */
extern int64 ond_secrets_reencrypt(void);
/* One value under the first key; NULL and a warning that begins with shown_as: it cannot be read. */
extern bytea *ond_secret_reseal(Oid owner, const char *name, const char *shown_as, const bytea *sealed);

#endif
