/*
 * encode.c - values to JSON bytes and rows to versions; see encode.h.
 *
 * Owns: the table from types to forms (kind_of). Does not: decide which fields there are (spec.c) or what an invalid value means (diff.c).
 * Format 1 of the hash is exactly: for each field, u32 length of the target, target, u32 length of the value, value (little endian).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "catalog/session.h"
#include "core/text.h"
#include "engine/encode.h"

typedef enum Kind {
  KIND_REFUSED,
  KIND_BOOL,
  KIND_INT2,
  KIND_INT4,
  KIND_INT8,
  KIND_OID,
  KIND_FLOAT4,
  KIND_FLOAT8,
  KIND_NUMERIC,
  KIND_TEXT,      /* varlena text */
  KIND_JSON,      /* varlena text that is JSON */
  KIND_JSONB,
  KIND_TIMESTAMP,
  KIND_TIMESTAMPTZ,
  KIND_DATE,
  KIND_INTERVAL,
  KIND_UUID,
  KIND_BYTEA,
  KIND_ARRAY,
  KIND_RECORD,
  KIND_OUTPUT     /* the type's output function, as a JSON string */
} Kind;

struct OndEncoder {
  Kind kind;
  Oid type;
  FmgrInfo output;
  /* arrays */
  OndEncoder *element;
  int16 typlen;
  bool typbyval;
  char typalign;
  /* composites */
  TupleDesc desc;
  OndEncoder **columns;
};

static Kind kind_of(Oid type) {
  switch (type) {
    case BOOLOID: return KIND_BOOL;
    case INT2OID: return KIND_INT2;
    case INT4OID: return KIND_INT4;
    case INT8OID: return KIND_INT8;
    case OIDOID: return KIND_OID;
    case FLOAT4OID: return KIND_FLOAT4;
    case FLOAT8OID: return KIND_FLOAT8;
    case NUMERICOID: return KIND_NUMERIC;
    case TEXTOID:
    case VARCHAROID:
    case BPCHAROID: return KIND_TEXT;
    case JSONOID: return KIND_JSON;
    case JSONBOID: return KIND_JSONB;
    case TIMESTAMPOID: return KIND_TIMESTAMP;
    case TIMESTAMPTZOID: return KIND_TIMESTAMPTZ;
    case DATEOID: return KIND_DATE;
    case INTERVALOID: return KIND_INTERVAL;
    case UUIDOID: return KIND_UUID;
    case BYTEAOID: return KIND_BYTEA;
    /* text that depends on the locale, on OIDs or on the search_path */
    case MONEYOID:
    case REGPROCOID:
    case REGPROCEDUREOID:
    case REGOPEROID:
    case REGOPERATOROID:
    case REGCLASSOID:
    case REGTYPEOID:
    case REGCONFIGOID:
    case REGDICTIONARYOID:
    case REGCOLLATIONOID: return KIND_REFUSED;
    default: return KIND_OUTPUT;
  }
}

static void encoder_output(OndEncoder *e) {
  Oid function;
  bool varlena;

  getTypeOutputInfo(e->type, &function, &varlena);
  fmgr_info(function, &e->output);
}

static void encoder_record(OndEncoder *e, Oid type, int32 typmod) {
  TupleDesc desc = lookup_rowtype_tupdesc(type, typmod);

  e->desc = CreateTupleDescCopy(desc);
  ReleaseTupleDesc(desc);
  e->columns = palloc0(sizeof(OndEncoder *) * Max(e->desc->natts, 1));
  for (int i = 0; i < e->desc->natts; i++) {
    Form_pg_attribute att = TupleDescAttr(e->desc, i);

    if (!att->attisdropped)
      e->columns[i] = ond_encoder_create(att->atttypid, NameStr(att->attname));
  }
}

OndEncoder *ond_encoder_create(Oid type, const char *what) {
  OndEncoder *e = palloc0(sizeof(OndEncoder));
  Oid element;

  type = getBaseType(type);
  e->type = type;
  e->kind = kind_of(type);
  if (e->kind == KIND_REFUSED || get_typtype(type) == TYPTYPE_PSEUDO) {
    if (type != RECORDOID && type != UNKNOWNOID)
      ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("column \"%s\" has type %s, which has no defined JSON form", what, format_type_be(type)),
                      errdetail("Its text depends on settings or on this database."), errhint("Cast it in the model, for example to numeric or text.")));
  }
  element = get_element_type(type);
  if (e->kind != KIND_OUTPUT)
    return e;
  if (OidIsValid(element)) {
    e->kind = KIND_ARRAY;
    e->element = ond_encoder_create(element, what);
    get_typlenbyvalalign(element, &e->typlen, &e->typbyval, &e->typalign);
  } else if (type == RECORDOID)
    e->kind = KIND_RECORD; /* its columns are known only with a value */
  else if (type_is_rowtype(type)) {
    e->kind = KIND_RECORD;
    encoder_record(e, type, -1);
  } else
    encoder_output(e);
  return e;
}

/* --- text ------------------------------------------------------------------------------------------------- */

static void append_escaped(StringInfo out, const char *s, Size n) {
  static const char hex[] = "0123456789abcdef";
  const char *run = s;
  const char *end = s + n;

  for (; s < end; s++) {
    unsigned char c = (unsigned char)*s;
    char u[6] = {'\\', 'u', '0', '0', 0, 0};

    if (likely(c >= 0x20 && c != '"' && c != '\\'))
      continue;
    appendBinaryStringInfo(out, run, s - run);
    run = s + 1;
    switch (c) {
      case '"': appendBinaryStringInfo(out, "\\\"", 2); break;
      case '\\': appendBinaryStringInfo(out, "\\\\", 2); break;
      case '\n': appendBinaryStringInfo(out, "\\n", 2); break;
      case '\r': appendBinaryStringInfo(out, "\\r", 2); break;
      case '\t': appendBinaryStringInfo(out, "\\t", 2); break;
      default:
        u[4] = hex[c >> 4];
        u[5] = hex[c & 15];
        appendBinaryStringInfo(out, u, 6);
    }
  }
  appendBinaryStringInfo(out, run, s - run);
}

/* The text in UTF-8, whatever the database's encoding; NULL when it has no such form. */
static const char *to_utf8(const char *s, Size *n) {
  int encoding = GetDatabaseEncoding();
  char *converted;

  if (encoding == PG_UTF8)
    return s;
  if (encoding == PG_SQL_ASCII)
    return ond_utf8_valid(s, *n) ? s : NULL;
  converted = pg_server_to_any(s, (int)*n, PG_UTF8);
  if (converted != s)
    *n = strlen(converted);
  return converted;
}

void ond_append_json_string(StringInfo out, const char *s, Size n) {
  appendStringInfoCharMacro(out, '"');
  append_escaped(out, s, n);
  appendStringInfoCharMacro(out, '"');
}

static const char *append_text(StringInfo out, const char *s, Size n) {
  s = to_utf8(s, &n);
  if (s == NULL)
    return "is not valid UTF-8";
  ond_append_json_string(out, s, n);
  return NULL;
}

/* json keeps its spelling; line breaks between tokens become blanks, so that a value never breaks a line of NDJSON. */
static const char *append_json(StringInfo out, const char *s, Size n) {
  int start = out->len;

  s = to_utf8(s, &n);
  if (s == NULL)
    return "is not valid UTF-8";
  appendBinaryStringInfo(out, s, n);
  for (int i = start; i < out->len; i++)
    if (out->data[i] == '\n' || out->data[i] == '\r' || out->data[i] == '\t')
      out->data[i] = ' ';
  return NULL;
}

static const char *append_varlena(StringInfo out, Datum value, Kind kind) {
  struct varlena *v = PG_DETOAST_DATUM_PACKED(value);

  if (kind == KIND_JSON)
    return append_json(out, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
  return append_text(out, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
}

static void append_base64(StringInfo out, Datum value) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  struct varlena *v = PG_DETOAST_DATUM_PACKED(value);
  const unsigned char *s = (const unsigned char *)VARDATA_ANY(v);
  Size n = VARSIZE_ANY_EXHDR(v);

  enlargeStringInfo(out, (int)((n + 2) / 3 * 4 + 2));
  appendStringInfoCharMacro(out, '"');
  for (Size i = 0; i < n; i += 3) {
    uint32 bits = (uint32)s[i] << 16 | (i + 1 < n ? (uint32)s[i + 1] << 8 : 0) | (i + 2 < n ? s[i + 2] : 0);
    char four[4] = {alphabet[bits >> 18], alphabet[bits >> 12 & 63], i + 1 < n ? alphabet[bits >> 6 & 63] : '=', i + 2 < n ? alphabet[bits & 63] : '='};

    appendBinaryStringInfo(out, four, 4);
  }
  appendStringInfoCharMacro(out, '"');
}

/* --- numbers ---------------------------------------------------------------------------------------------- */

static void append_int(StringInfo out, int64 value) {
  char buf[MAXINT8LEN + 1];
  int n = pg_lltoa(value, buf);

  appendBinaryStringInfo(out, buf, n);
}

static const char *append_number(OndEncoder *e, StringInfo out, Datum value) {
  char buf[DOUBLE_SHORTEST_DECIMAL_LEN];
  const char *text = buf;

  if (e->kind == KIND_FLOAT8)
    double_to_shortest_decimal_buf(DatumGetFloat8(value), buf);
  else if (e->kind == KIND_FLOAT4)
    float_to_shortest_decimal_buf(DatumGetFloat4(value), buf);
  else
    text = DatumGetCString(DirectFunctionCall1(numeric_out, value));
  if (text[0] == 'N')
    return "is NaN, which JSON cannot express";
  if (text[0] == 'I' || (text[0] == '-' && text[1] == 'I'))
    return "is infinite, which JSON cannot express";
  appendStringInfoString(out, text);
  return NULL;
}

/* --- time ------------------------------------------------------------------------------------------------- */

static char *two(char *p, int v) {
  *p++ = (char)('0' + v / 10);
  *p++ = (char)('0' + v % 10);
  return p;
}

static char *put_date(char *p, int year, int month, int day) {
  p = two(p, year / 100);
  p = two(p, year % 100);
  *p++ = '-';
  p = two(p, month);
  *p++ = '-';
  return two(p, day);
}

static char *put_time(char *p, int64 us) {
  int seconds = (int)(us / USECS_PER_SEC);
  int fraction = (int)(us % USECS_PER_SEC);

  p = two(p, seconds / 3600);
  *p++ = ':';
  p = two(p, seconds / 60 % 60);
  *p++ = ':';
  p = two(p, seconds % 60);
  if (fraction != 0) {
    char digits[8];

    snprintf(digits, sizeof(digits), "%06d", fraction);
    *p++ = '.';
    memcpy(p, digits, 6);
    p += 6;
    while (p[-1] == '0')
      p--;
  }
  return p;
}

static const char *append_timestamp(StringInfo out, Timestamp t, bool utc) {
  char buf[64];
  char *p = buf;
  int year, month, day;
  int64 days, us;

  if (TIMESTAMP_NOT_FINITE(t))
    return "is infinite, which JSON cannot express";
  days = t / USECS_PER_DAY;
  us = t % USECS_PER_DAY;
  if (us < 0) {
    us += USECS_PER_DAY;
    days--;
  }
  j2date((int)(days + POSTGRES_EPOCH_JDATE), &year, &month, &day);
  if (year < 1 || year > 9999)
    return "is outside of the years 1 to 9999";
  *p++ = '"';
  p = put_date(p, year, month, day);
  *p++ = 'T';
  p = put_time(p, us);
  if (utc)
    *p++ = 'Z';
  *p++ = '"';
  appendBinaryStringInfo(out, buf, p - buf);
  return NULL;
}

static const char *append_date(StringInfo out, DateADT d) {
  char buf[32];
  char *p = buf;
  int year, month, day;

  if (DATE_NOT_FINITE(d))
    return "is infinite, which JSON cannot express";
  j2date(d + POSTGRES_EPOCH_JDATE, &year, &month, &day);
  if (year < 1 || year > 9999)
    return "is outside of the years 1 to 9999";
  *p++ = '"';
  p = put_date(p, year, month, day);
  *p++ = '"';
  appendBinaryStringInfo(out, buf, p - buf);
  return NULL;
}

static const char *append_interval(StringInfo out, const Interval *span) {
  struct pg_itm itm;
  char buf[MAXDATELEN + 1];

#ifdef INTERVAL_NOT_FINITE
  if (INTERVAL_NOT_FINITE(span))
    return "is infinite, which JSON cannot express";
#endif
  interval2itm(*span, &itm);
  EncodeInterval(&itm, INTSTYLE_ISO_8601, buf);
  return append_text(out, buf, strlen(buf));
}

/* --- nested ----------------------------------------------------------------------------------------------- */

static const char *append_dimension(OndEncoder *e, StringInfo out, int dim, int ndims, const int *dims, const Datum *values, const bool *nulls, int *at) {
  const char *problem = NULL;

  appendStringInfoCharMacro(out, '[');
  for (int i = 0; i < dims[dim] && problem == NULL; i++) {
    if (i > 0)
      appendStringInfoCharMacro(out, ',');
    if (dim + 1 < ndims) {
      problem = append_dimension(e, out, dim + 1, ndims, dims, values, nulls, at);
      continue;
    }
    if (nulls[*at])
      appendStringInfoString(out, "null");
    else
      problem = ond_encode(e->element, values[*at], out);
    (*at)++;
  }
  appendStringInfoCharMacro(out, ']');
  return problem;
}

static const char *append_array(OndEncoder *e, StringInfo out, Datum value) {
  ArrayType *array = DatumGetArrayTypeP(value);
  Datum *values;
  bool *nulls;
  int n, at = 0;

  if (ARR_NDIM(array) == 0) {
    appendStringInfoString(out, "[]");
    return NULL;
  }
  deconstruct_array(array, ARR_ELEMTYPE(array), e->typlen, e->typbyval, e->typalign, &values, &nulls, &n);
  return append_dimension(e, out, 0, ARR_NDIM(array), ARR_DIMS(array), values, nulls, &at);
}

static const char *append_record(OndEncoder *e, StringInfo out, Datum value) {
  HeapTupleHeader header = DatumGetHeapTupleHeader(value);
  HeapTupleData tuple;
  OndEncoder own = *e;
  const char *problem = NULL;
  bool first = true;

  check_stack_depth();
  if (own.desc == NULL || own.desc->tdtypeid != HeapTupleHeaderGetTypeId(header) || own.desc->tdtypmod != HeapTupleHeaderGetTypMod(header))
    encoder_record(&own, HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
  tuple.t_len = HeapTupleHeaderGetDatumLength(header);
  ItemPointerSetInvalid(&tuple.t_self);
  tuple.t_tableOid = InvalidOid;
  tuple.t_data = header;
  appendStringInfoCharMacro(out, '{');
  for (int i = 0; i < own.desc->natts && problem == NULL; i++) {
    Form_pg_attribute att = TupleDescAttr(own.desc, i);
    bool isnull;
    Datum datum;

    if (att->attisdropped)
      continue;
    if (!first)
      appendStringInfoCharMacro(out, ',');
    first = false;
    (void)append_text(out, NameStr(att->attname), strlen(NameStr(att->attname)));
    appendStringInfoCharMacro(out, ':');
    datum = heap_getattr(&tuple, i + 1, own.desc, &isnull);
    if (isnull)
      appendStringInfoString(out, "null");
    else
      problem = ond_encode(own.columns[i], datum, out);
  }
  appendStringInfoCharMacro(out, '}');
  return problem;
}

/* --- all -------------------------------------------------------------------------------------------------- */

static void append_uuid(StringInfo out, Datum value) {
  static const char hex[] = "0123456789abcdef";
  const unsigned char *u = DatumGetUUIDP(value)->data;
  char buf[38];
  char *p = buf;

  *p++ = '"';
  for (int i = 0; i < UUID_LEN; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      *p++ = '-';
    *p++ = hex[u[i] >> 4];
    *p++ = hex[u[i] & 15];
  }
  *p++ = '"';
  appendBinaryStringInfo(out, buf, p - buf);
}

const char *ond_encode(OndEncoder *e, Datum value, StringInfo out) {
  const char *text;

  switch (e->kind) {
    case KIND_BOOL: appendStringInfoString(out, DatumGetBool(value) ? "true" : "false"); return NULL;
    case KIND_INT2: append_int(out, DatumGetInt16(value)); return NULL;
    case KIND_INT4: append_int(out, DatumGetInt32(value)); return NULL;
    case KIND_INT8: append_int(out, DatumGetInt64(value)); return NULL;
    case KIND_OID: append_int(out, DatumGetObjectId(value)); return NULL;
    case KIND_FLOAT4:
    case KIND_FLOAT8:
    case KIND_NUMERIC: return append_number(e, out, value);
    case KIND_TEXT:
    case KIND_JSON: return append_varlena(out, value, e->kind);
    case KIND_TIMESTAMP: return append_timestamp(out, DatumGetTimestamp(value), false);
    case KIND_TIMESTAMPTZ: return append_timestamp(out, DatumGetTimestampTz(value), true);
    case KIND_DATE: return append_date(out, DatumGetDateADT(value));
    case KIND_INTERVAL: return append_interval(out, DatumGetIntervalP(value));
    case KIND_UUID: append_uuid(out, value); return NULL;
    case KIND_BYTEA: append_base64(out, value); return NULL;
    case KIND_ARRAY: return append_array(e, out, value);
    case KIND_RECORD: return append_record(e, out, value);
    case KIND_JSONB:
    case KIND_OUTPUT:
    case KIND_REFUSED: break;
  }
  if (e->output.fn_addr == NULL)
    encoder_output(e);
  text = OutputFunctionCall(&e->output, value);
  return e->kind == KIND_JSONB ? append_json(out, text, strlen(text)) : append_text(out, text, strlen(text));
}

/* --- versions --------------------------------------------------------------------------------------------- */

static void append_hashed(StringInfo scratch, const char *p, Size n) {
  uint32 length = (uint32)n;

  appendBinaryStringInfo(scratch, (const char *)&length, sizeof(length));
  appendBinaryStringInfo(scratch, p, (int)n);
}

OndHash ond_hash_fields(const OndMapping *mapping, const OndBytes *values, uint64 seed, StringInfo scratch) {
  const int *sorted = ond_mapping_sorted(mapping);
  int n = ond_mapping_count(mapping);
  XXH128_canonical_t canonical;
  OndHash hash;

  resetStringInfo(scratch);
  for (int i = 0; i < n; i++) {
    const OndField *field = ond_mapping_field(mapping, sorted[i]);
    OndBytes value = values[sorted[i]];

    if (!field->detect || value.p == NULL)
      continue;
    append_hashed(scratch, field->target, strlen(field->target));
    append_hashed(scratch, value.p, value.n);
  }
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(scratch->data, (size_t)scratch->len, seed));
  memcpy(hash.b, canonical.digest, sizeof(hash.b));
  if (ond_hash_equal(hash, OND_HASH_DELETE))
    hash.b[15] = 1;
  return hash;
}

static void append_unescaped(StringInfo out, const char *s, const char *end) {
  for (; s < end; s++) {
    if (*s != '\\') {
      appendStringInfoCharMacro(out, *s);
      continue;
    }
    s++;
    switch (*s) {
      case 'n': appendStringInfoCharMacro(out, '\n'); break;
      case 'r': appendStringInfoCharMacro(out, '\r'); break;
      case 't': appendStringInfoCharMacro(out, '\t'); break;
      case 'u': { /* we only write \u00XX */
        char digits[3] = {s[3], s[4], '\0'};

        appendStringInfoCharMacro(out, (char)strtol(digits, NULL, 16));
        s += 4;
        break;
      }
      default: appendStringInfoCharMacro(out, *s);
    }
  }
}

bool ond_json_text(OndBytes json, StringInfo out) {
  if (json.p == NULL || (json.n == 4 && memcmp(json.p, "null", 4) == 0))
    return false;
  if (json.p[0] == '"')
    append_unescaped(out, json.p + 1, json.p + json.n - 1);
  else
    appendBinaryStringInfo(out, json.p, (int)json.n);
  return true;
}

/* --- ondatra.row_hash ------------------------------------------------------------------------------------- */

PG_FUNCTION_INFO_V1(ond_row_hash);

static OndBytes encode_argument(Oid type, const char *name, Datum value, bool isnull) {
  StringInfoData out;
  const char *problem = NULL;

  initStringInfo(&out);
  if (isnull)
    appendStringInfoString(&out, "null");
  else
    problem = ond_encode(ond_encoder_create(type, name), value, &out);
  if (problem != NULL)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("value \"%s\" %s", name, problem)));
  return (OndBytes){out.data, (size_t)out.len};
}

/*
 * row_hash(names text[], VARIADIC "any") → uuid: the version of a row with these fields, seed 0. Errors: as many names as values, no NULL name, a
 * type without a JSON form, a value without one.
 */
Datum ond_row_hash(PG_FUNCTION_ARGS) {
  Datum *names, *args;
  bool *name_nulls, *nulls;
  Oid *types;
  int n_names;
  int n = extract_variadic_args(fcinfo, 1, true, &args, &types, &nulls);
  int nest = NewGUCNestLevel();
  const char **targets;
  OndBytes *values;
  OndMapping *mapping;
  StringInfoData scratch;
  pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
  OndHash hash;

  deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &names, &name_nulls, &n_names);
  if (n < 0 || n != n_names)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("row_hash needs as many values as names"),
                    errdetail("There are %d names and %d values.", n_names, Max(n, 0))));
  ond_pin_text_settings();
  targets = palloc(sizeof(char *) * Max(n, 1));
  values = palloc0(sizeof(OndBytes) * Max(n, 1));
  for (int i = 0; i < n; i++) {
    if (name_nulls[i])
      ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("name %d of row_hash is NULL", i + 1)));
    targets[i] = TextDatumGetCString(names[i]);
    values[i] = encode_argument(types[i], targets[i], args[i], nulls[i]);
  }
  AtEOXact_GUC(false, nest);
  mapping = ond_mapping_identity(n, targets);
  initStringInfo(&scratch);
  hash = ond_hash_fields(mapping, values, 0, &scratch);
  ond_mapping_free(mapping);
  memcpy(uuid->data, hash.b, UUID_LEN);
  PG_RETURN_UUID_P(uuid);
}
