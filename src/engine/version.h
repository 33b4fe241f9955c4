/*
 * version.h - a row's version: the hash of its fields' targets and values.
 */
#ifndef OND_ENGINE_VERSION_H
#define OND_ENGINE_VERSION_H

#include "postgres.h"
#include "core/change.h"
#include "connector/mapping.h"

/* Of the versions that are made here. Another one in all_syncs.hash_format: what is in the state table cannot be compared with them. */
#define OND_HASH_FORMAT 1

/* What the versions of a mapping's rows are made with. */
typedef struct OndHasher {
  int n;
  int *fields;                /* of the mapping: those with detect, in the order of the targets' bytes */
  uint64 seed;
  unsigned char secret[192];  /* of the seed: made once, not for each row */
  OndHash targets;            /* stands for all of them in every row */
} OndHasher;

/* Lives in the current memory context; the mapping may go. */
extern OndHasher *ond_hasher_create(const OndMapping *mapping, uint64 seed);

/*
 * The version of a row: XXH3-128 (seeded) over the hash of the targets, which bytes begin with, and for each of the hasher's fields its value in canonical form
 * (canonical.h), the tag of NULL, or that of a field that is left out. Never OND_HASH_DELETE.
 */
extern OndHash ond_hasher_digest(const OndHasher *hasher, const char *bytes, Size n);

#define OND_TAG_NULL    'n'
#define OND_TAG_MISSING '-'

#endif
