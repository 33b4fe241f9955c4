/*
 * version.h - a row's version: the hash of its fields' targets and JSON values.
 */
#ifndef OND_ENGINE_VERSION_H
#define OND_ENGINE_VERSION_H

#include "postgres.h"
#include "core/change.h"
#include "connector/mapping.h"
#include "engine/encode.h"
#include "lib/stringinfo.h"

/* A field that counts. What stands before its value is the same for all rows. */
typedef struct OndHashedField {
  int field;                  /* of the mapping */
  const char *head;           /* OND_HEAD_COPIED bytes can be read at least */
  Size head_n;
} OndHashedField;

#define OND_HEAD_COPIED 32

/* What the versions of a mapping's rows are made with. */
typedef struct OndHasher {
  int n;
  OndHashedField *fields;     /* those with detect, in the order of the targets' bytes */
  uint64 seed;
  unsigned char secret[192];  /* of the seed: made once, not for each row */
  StringInfoData bytes;
} OndHasher;

/* Appends a field's head and the length of the value that follows. */
static inline void ond_hashed_begin(StringInfo out, const OndHashedField *field, uint32 length) {
  char *p = ond_reserve(out, field->head_n + sizeof(length) + OND_HEAD_COPIED);

  /* a copy of a fixed size needs no call */
  if (likely(field->head_n <= OND_HEAD_COPIED))
    memcpy(p, field->head, OND_HEAD_COPIED);
  else
    memcpy(p, field->head, field->head_n);
  memcpy(p + field->head_n, &length, sizeof(length));
  out->len += (int)(field->head_n + sizeof(length));
}

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
