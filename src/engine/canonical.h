/*
 * canonical.h - a tag and a value's bytes, as a version is made of them.
 *
 * What is quickly had and stands for the JSON form, one for one within a type. Integers of all widths are the same, so are all texts, a domain and its
 * base type, an enum and its label.
 *
 *   b  boolean: 1 byte              i  integer, oid: 8 bytes        u  uuid: 16 bytes
 *   d  date: 4 bytes                t, z  timestamp, timestamptz: 8 bytes
 *   #  numeric: u32 length, its bytes in storage (the same digits and decimals are the same bytes)
 *   s  text, and every type that is sent as its text: u32 length, UTF-8
 *   j  everything else: u32 length, JSON
 *
 * Beside values (version.c): n  NULL, -  left out. All little endian.
 *
 * The forms of common types are inline: a diff spends most of its own time with them. encode.c has the others.
 */
#ifndef OND_ENGINE_CANONICAL_H
#define OND_ENGINE_CANONICAL_H

#include "postgres.h"
#include "utils/date.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"
#include "engine/encode.h"

/* How ond_canonical_quick() takes a value. */
typedef enum OndForm {
  OND_FORM_OTHER, /* not at all */
  OND_FORM_BOOL,
  OND_FORM_INT2,
  OND_FORM_INT4,
  OND_FORM_INT8,
  OND_FORM_OID,
  OND_FORM_NUMERIC,
  OND_FORM_TEXT,
  OND_FORM_TIMESTAMP,
  OND_FORM_TIMESTAMPTZ,
  OND_FORM_DATE,
  OND_FORM_UUID
} OndForm;

extern OndForm ond_canonical_form(const OndEncoder *encoder);

/* Appends the canonical form of a non-null value. Result, memory and errors as of ond_encode(), which has the same reasons. */
extern const char *ond_encode_canonical(OndEncoder *encoder, Datum value, StringInfo out);

/* --- tags ------------------------------------------------------------------------------------------------- */

static inline void ond_canonical_tag(StringInfo out, char tag) {
  *ond_reserve(out, 1) = tag;
  out->len++;
}

static inline void ond_canonical_fixed(StringInfo out, char tag, const void *bytes, Size n) {
  char *p = ond_reserve(out, 1 + n);

  *p = tag;
  memcpy(p + 1, bytes, n);
  out->len += (int)(1 + n);
}

static inline void ond_canonical_sized(StringInfo out, char tag, const char *bytes, Size n) {
  char *p = ond_reserve(out, 1 + sizeof(uint32) + n);
  uint32 size = (uint32)n;

  *p = tag;
  memcpy(p + 1, &size, sizeof(size));
  memcpy(p + 1 + sizeof(size), bytes, n);
  out->len += (int)(1 + sizeof(size) + n);
}

/* --- values ----------------------------------------------------------------------------------------------- */

/* The years 1 to 9999, in days since 2000. */
#define OND_DAY_FIRST (1721426 - POSTGRES_EPOCH_JDATE)
#define OND_DAY_END   (5373485 - POSTGRES_EPOCH_JDATE)

static inline void ond_canonical_int(StringInfo out, char tag, int64 value) {
  ond_canonical_fixed(out, tag, &value, sizeof(value));
}

static inline bool ond_canonical_date(StringInfo out, DateADT day) {
  if (unlikely(day < OND_DAY_FIRST || day >= OND_DAY_END))
    return false;
  ond_canonical_fixed(out, 'd', &day, sizeof(day));
  return true;
}

static inline bool ond_canonical_timestamp(StringInfo out, char tag, Timestamp t) {
  if (unlikely(t < OND_DAY_FIRST * USECS_PER_DAY || t >= OND_DAY_END * USECS_PER_DAY))
    return false;
  ond_canonical_int(out, tag, t);
  return true;
}

/* PG_DETOAST_DATUM_PACKED without a call for what needs none. */
static inline struct varlena *ond_canonical_open(Datum value) {
  struct varlena *v = (struct varlena *)DatumGetPointer(value);

  return likely(VARATT_IS_4B_U(v) || (VARATT_IS_1B(v) && !VARATT_IS_1B_E(v))) ? v : pg_detoast_datum_packed(v);
}

static inline bool ond_canonical_numeric(StringInfo out, Datum value) {
  struct varlena *v = ond_canonical_open(value);
  uint16 header;

  memcpy(&header, VARDATA_ANY(v), sizeof(header));
  if (unlikely((header & 0xC000) == 0xC000)) /* NaN, infinite */
    return false;
  ond_canonical_sized(out, '#', VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
  return true;
}

static inline bool ond_canonical_text(StringInfo out, Datum value) {
  struct varlena *v = ond_canonical_open(value);

  ond_canonical_sized(out, 's', VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
  return true;
}

/* ond_encode_canonical() of a value that has its type's form; false, and nothing appended: ask that. */
static inline bool ond_canonical_quick(OndForm form, Datum value, StringInfo out) {
  char boolean;

  switch (form) {
    case OND_FORM_BOOL:
      boolean = DatumGetBool(value);
      ond_canonical_fixed(out, 'b', &boolean, sizeof(boolean));
      return true;
    case OND_FORM_INT2: ond_canonical_int(out, 'i', DatumGetInt16(value)); return true;
    case OND_FORM_INT4: ond_canonical_int(out, 'i', DatumGetInt32(value)); return true;
    case OND_FORM_INT8: ond_canonical_int(out, 'i', DatumGetInt64(value)); return true;
    case OND_FORM_OID: ond_canonical_int(out, 'i', DatumGetObjectId(value)); return true;
    case OND_FORM_NUMERIC: return ond_canonical_numeric(out, value);
    case OND_FORM_TEXT: return ond_canonical_text(out, value);
    case OND_FORM_TIMESTAMP: return ond_canonical_timestamp(out, 't', DatumGetTimestamp(value));
    case OND_FORM_TIMESTAMPTZ: return ond_canonical_timestamp(out, 'z', DatumGetTimestampTz(value));
    case OND_FORM_DATE: return ond_canonical_date(out, DatumGetDateADT(value));
    case OND_FORM_UUID: ond_canonical_fixed(out, 'u', DatumGetUUIDP(value)->data, UUID_LEN); return true;
    case OND_FORM_OTHER: break;
  }
  return false;
}

#endif
