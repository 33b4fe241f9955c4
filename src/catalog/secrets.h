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

#endif
