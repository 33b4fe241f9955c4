/*
 * encode.h - a Postgres value as JSON bytes.
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
#include "utils/memutils.h"

/* Room for n bytes and a NUL at out's end: where to write them; out->len is the caller's to move. Error 54000 past what a StringInfo may hold. */
static inline char *ond_reserve(StringInfo out, Size n) {
  if (unlikely((Size)(out->maxlen - out->len) <= n))
    enlargeStringInfo(out, (int)Min(n, MaxAllocSize));
  return out->data + out->len;
}

/* Appends n bytes; inlined, because a diff spends most of its own time with pieces of a few bytes. */
static inline void ond_put(StringInfo out, const void *s, Size n) {
  char *p = ond_reserve(out, n);

  memcpy(p, s, n);
  p[n] = '\0';
  out->len += (int)n;
}

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

/* Appends UTF-8 text as a JSON string. */
extern void ond_append_json_string(StringInfo out, const char *s, Size n);

/* Text of a JSON scalar: strings unescaped, numbers and booleans as they are; for templates in a mapping. false: null. */
extern bool ond_json_text(OndBytes json, StringInfo out);

#endif
