/*
 * version.h - a row's version: the hash of its fields' targets and JSON values.
 */
#ifndef OND_ENGINE_VERSION_H
#define OND_ENGINE_VERSION_H

#include "postgres.h"
#include "core/change.h"
#include "connector/mapping.h"
#include "lib/stringinfo.h"

/* A field that counts. What stands before its value is the same for all rows. */
typedef struct OndHashedField {
  int field;                  /* of the mapping */
  const char *head;
  Size head_n;
} OndHashedField;

/* What the versions of a mapping's rows are made with. */
typedef struct OndHasher {
  int n;
  OndHashedField *fields;     /* those with detect, in the order of the targets' bytes */
  uint64 seed;
  unsigned char secret[192];  /* of the seed: made once, not for each row */
  StringInfoData bytes;
} OndHasher;

/* Lives in the current memory context; the mapping may go. */
extern OndHasher *ond_hasher_create(const OndMapping *mapping, uint64 seed);

/*
 * The version of a row: XXH3-128 (seeded) over (target, value) of the hasher's fields. values: by number of the mapping's field; p == NULL: left out,
 * which differs from null. Never OND_HASH_DELETE.
 */
extern OndHash ond_hasher_hash(OndHasher *hasher, const OndBytes *values);

/* The same from the bytes that are hashed, for who has them: for each field head, u32 length of the value, value. */
extern OndHash ond_hasher_digest(const OndHasher *hasher, const char *bytes, Size n);

#endif
