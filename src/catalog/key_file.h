/*
 * key_file.h - the key that stored secrets are encrypted with: a file of the server, never in the database, its dumps or its WAL.
 */
#ifndef OND_CATALOG_KEY_FILE_H
#define OND_CATALOG_KEY_FILE_H

#include "postgres.h"
#include "core/error.h"

#define OND_KEY_BYTES 32
#define OND_KEYS_MAX  8

/* The first one encrypts; the others, older ones, only decrypt. */
typedef struct OndKeys {
  int n;
  uint8 keys[OND_KEYS_MAX][OND_KEY_BYTES];
} OndKeys;

typedef enum OndKeyResult { OND_KEY_OK, OND_KEY_MISSING, OND_KEY_BAD } OndKeyResult;

/* Reads the keys. Otherwise err says what is wrong with the file (class 28, with a hint). The caller wipes them. */
extern OndKeyResult ond_key_read(OndKeys *keys, OndError *err);
/* Makes the file with a new random key, unless there is one by now. Raises on failure. */
extern void ond_key_make(void);

#endif
