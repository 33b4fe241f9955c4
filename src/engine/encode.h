/*
 * encode.h - a Postgres value as JSON bytes, and a row's version as a hash of such bytes.
 *
 * The form does not depend on any setting: numbers digit for digit, timestamps ISO 8601 in UTC, bytea base64, json and jsonb as they are, enums by
 * label, arrays and composites nested, everything UTF-8. What has no JSON form makes the row invalid (NaN, infinity) or is refused when the
 * sync is created (money, reg* types: their text depends on settings). doc/types.md has the table; test/sql/types.sql checks it.
 */
#ifndef OND_ENGINE_ENCODE_H
#define OND_ENGINE_ENCODE_H

#include "postgres.h"
#include "core/change.h"
#include "connector/mapping.h"
#include "lib/stringinfo.h"

typedef struct OndEncoder OndEncoder;

/*
 * How to encode a type; lives in the current memory context. Error 42804 for types without a defined form, with a hint; `what` names the column in it.
 */
extern OndEncoder *ond_encoder_create(Oid type, const char *what);

/*
 * Appends the JSON form of a non-null value. NULL, or why the value has none ("is NaN"): then the row is invalid and out may hold a part. Memory is
 * allocated in the current context: reset it per row. May raise what a type's output function raises.
 */
extern const char *ond_encode(OndEncoder *encoder, Datum value, StringInfo out);

/* What the versions of a mapping's rows are made with; lives in the current memory context. The mapping must outlive the call only. */
typedef struct OndHasher OndHasher;

extern OndHasher *ond_hasher_create(const OndMapping *mapping, uint64 seed);

/*
 * The version of a row: XXH3-128 (seeded) over (target, value) of the fields with detect, in the order of the targets' bytes. values[i].p == NULL: left out, which differs from
 * null. Never OND_HASH_DELETE.
 */
extern OndHash ond_hasher_hash(OndHasher *hasher, const OndBytes *values);

/* Appends UTF-8 text as a JSON string. */
extern void ond_append_json_string(StringInfo out, const char *s, Size n);

/* Text of a JSON scalar: strings unescaped, numbers and booleans as they are; for templates in a mapping. false: null. */
extern bool ond_json_text(OndBytes json, StringInfo out);

#endif
