/*
 * encode.c - values to JSON bytes, and to what a version is made of; see encode.h and canonical.h.
 *
 * Owns: the table from types to forms (kind_of). Does not: decide which fields there are (spec.c) or what an invalid value means (diff.c).
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

#include "catalog/session.h"
#include "core/text.h"
#include "engine/canonical.h"
#include "engine/encode.h"

#define ENCODERS_MAX      10000 /* of one column */
#define ENCODER_DEPTH_MAX 100

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

#define DAY_CHARS 10 /* 2026-01-02 */

struct OndEncoder {
  Kind kind;
  Oid type;
  FmgrInfo output;
  /* arrays */
  OndEncoder *element;
  int16 typlen;
  bool typbyval;
  char typalign;
  /* times: the last day and its text */
  bool day_known;
  int32 day;
  char day_text[DAY_CHARS];
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

/* Of one value's type, with all that is nested in it. */
typedef struct Nesting {
  const char *what;
  int encoders;
  int depth;
} Nesting;

static OndEncoder *encoder_nested(Oid type, const char *what, Nesting *nesting);

static void encoder_record(OndEncoder *e, Oid type, int32 typmod, Nesting *nesting) {
  TupleDesc desc = lookup_rowtype_tupdesc(type, typmod);

  e->desc = CreateTupleDescCopy(desc);
  ReleaseTupleDesc(desc);
  e->columns = palloc0(sizeof(OndEncoder *) * Max(e->desc->natts, 1));
  for (int i = 0; i < e->desc->natts; i++) {
    Form_pg_attribute att = TupleDescAttr(e->desc, i);

    if (!att->attisdropped)
      e->columns[i] = encoder_nested(att->atttypid, NameStr(att->attname), nesting);
  }
}

static OndEncoder *encoder_make(Oid type, const char *what, Nesting *nesting) {
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
    e->element = encoder_nested(element, what, nesting);
    get_typlenbyvalalign(element, &e->typlen, &e->typbyval, &e->typalign);
  } else if (type == RECORDOID)
    e->kind = KIND_RECORD; /* its columns are known only with a value */
  else if (type_is_rowtype(type)) {
    e->kind = KIND_RECORD;
    encoder_record(e, type, -1, nesting);
  } else
    encoder_output(e);
  return e;
}

/* Types within types can be of any depth and, as each can hold the next one twice, of any number. */
static OndEncoder *encoder_nested(Oid type, const char *what, Nesting *nesting) {
  OndEncoder *e;

  if (++nesting->encoders > ENCODERS_MAX || ++nesting->depth > ENCODER_DEPTH_MAX)
    ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("column \"%s\" has a type with too much nested in it", nesting->what),
                    errdetail("At most %d columns in %d levels are possible.", ENCODERS_MAX, ENCODER_DEPTH_MAX),
                    errhint("Select the parts that are to be sent, or make them one json value in the model.")));
  e = encoder_make(type, what, nesting);
  nesting->depth--;
  return e;
}

OndEncoder *ond_encoder_create(Oid type, const char *what) {
  Nesting nesting = {what, 0, 0};

  return encoder_nested(type, what, &nesting);
}

/* --- text ------------------------------------------------------------------------------------------------- */

#define EACH(byte) (UINT64CONST(0x0101010101010101) * (byte))

/* May be true without reason, never false without. */
static inline bool has_less(uint64 bytes, uint64 than) {
  return ((bytes - EACH(than)) & ~bytes & EACH(0x80)) != 0;
}

/* Nothing in it needs an escape. */
static bool is_plain(const char *s, Size n) {
  uint64 bytes = EACH(' ');

  for (; n >= sizeof(bytes); n -= sizeof(bytes), s += sizeof(bytes)) {
    uint64 w;

    memcpy(&w, s, sizeof(w));
    if (has_less(w, 0x20) || has_less(w ^ EACH('"'), 1) || has_less(w ^ EACH('\\'), 1))
      return false;
  }
  while (n-- > 0)
    bytes = bytes << 8 | (unsigned char)*s++;
  return !has_less(bytes, 0x20) && !has_less(bytes ^ EACH('"'), 1) && !has_less(bytes ^ EACH('\\'), 1);
}

static void put_escape(StringInfo out, unsigned char c) {
  static const char hex[] = "0123456789abcdef";
  char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

  switch (c) {
    case '"': ond_put(out, "\\\"", 2); break;
    case '\\': ond_put(out, "\\\\", 2); break;
    case '\n': ond_put(out, "\\n", 2); break;
    case '\r': ond_put(out, "\\r", 2); break;
    case '\t': ond_put(out, "\\t", 2); break;
    default: ond_put(out, u, sizeof(u));
  }
}

static void append_escaped(StringInfo out, const char *s, Size n) {
  const char *run = s;
  const char *end = s + n;

  for (; s < end; s++) {
    unsigned char c = (unsigned char)*s;

    if (likely(c >= 0x20 && c != '"' && c != '\\'))
      continue;
    ond_put(out, run, (Size)(s - run));
    run = s + 1;
    put_escape(out, c);
  }
  ond_put(out, run, (Size)(end - run));
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
  char *p = ond_reserve(out, n + 2);

  *p = '"';
  out->len++;
  if (is_plain(s, n)) {
    memcpy(p + 1, s, n);
    out->len += (int)n;
  } else
    append_escaped(out, s, n);
  ond_put(out, "\"", 1);
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

#define NOT_A_NUMBER "is NaN, which JSON cannot express"
#define INFINITE "is infinite, which JSON cannot express"
#define OUT_OF_YEARS "is outside of the years 1 to 9999"

static char *two(char *p, int v) {
  *p++ = (char)('0' + v / 10);
  *p++ = (char)('0' + v % 10);
  return p;
}

static char *four(char *p, int v) {
  return two(two(p, v / 100), v % 100);
}

/* --- numbers ---------------------------------------------------------------------------------------------- */

static void append_int(StringInfo out, int64 value) {
  char *p = ond_reserve(out, MAXINT8LEN);

  out->len += pg_lltoa(value, p);
}

static const char *append_float(OndEncoder *e, StringInfo out, Datum value) {
  char buf[DOUBLE_SHORTEST_DECIMAL_LEN];

  if (e->kind == KIND_FLOAT8)
    double_to_shortest_decimal_buf(DatumGetFloat8(value), buf);
  else
    float_to_shortest_decimal_buf(DatumGetFloat4(value), buf);
  if (buf[0] == 'N')
    return NOT_A_NUMBER;
  if (buf[0] == 'I' || (buf[0] == '-' && buf[1] == 'I'))
    return INFINITE;
  ond_put(out, buf, strlen(buf));
  return NULL;
}

/*
 * A numeric as it is stored: a header of two bytes, or of four when the first bit is off, with sign, number of decimals (scale) and the power of
 * 10000 of the first digit (weight); then the digits, in base 10000, without zeros at the ends. The server itself cannot change that, pg_upgrade
 * keeps the files. numeric_out makes two copies on the way; test/sql/types.sql compares with it.
 */
typedef struct Numeric10000 {
  bool negative;
  int weight, scale;
  int n;
  const char *digits;         /* int16 each, not aligned */
} Numeric10000;

static const char *open_numeric(Datum value, Numeric10000 *out) {
  struct varlena *v = PG_DETOAST_DATUM_PACKED(value);
  const char *p = VARDATA_ANY(v);
  Size bytes = VARSIZE_ANY_EXHDR(v);
  uint16 header;
  int16 weight;

  memcpy(&header, p, sizeof(header));
  if ((header & 0xC000) == 0xC000)
    return (header & 0xF000) == 0xC000 ? NOT_A_NUMBER : INFINITE;
  if (header & 0x8000) {
    out->negative = (header & 0x2000) != 0;
    out->scale = (header & 0x1F80) >> 7;
    out->weight = (header & 0x3F) - (header & 0x40);
    out->digits = p + sizeof(header);
  } else {
    memcpy(&weight, p + sizeof(header), sizeof(weight));
    out->negative = (header & 0x4000) != 0;
    out->scale = header & 0x3FFF;
    out->weight = weight;
    out->digits = p + sizeof(header) + sizeof(weight);
  }
  out->n = (int)((p + bytes - out->digits) / (int)sizeof(int16));
  return NULL;
}

static int numeric_digit(const Numeric10000 *v, int i) {
  int16 digit = 0;

  if (i >= 0 && i < v->n)
    memcpy(&digit, v->digits + (Size)i * sizeof(digit), sizeof(digit));
  return digit;
}

static const char *append_numeric(StringInfo out, Datum value) {
  Numeric10000 v;
  const char *problem = open_numeric(value, &v);
  char *p, *end;

  if (problem != NULL)
    return problem;
  p = ond_reserve(out, (Size)(Max(v.weight, 0) + 1) * 4 + (Size)v.scale + 8); /* the last digit is written in full */
  if (v.negative)
    *p++ = '-';
  p += pg_ltoa(v.weight >= 0 ? numeric_digit(&v, 0) : 0, p);
  for (int i = 1; i <= v.weight; i++, p += 4)
    four(p, numeric_digit(&v, i));
  if (v.scale > 0) {
    *p++ = '.';
    end = p + v.scale;
    for (int i = v.weight + 1; p < end; i++, p += 4)
      four(p, numeric_digit(&v, i));
    p = end;
  }
  *p = '\0';
  out->len = (int)(p - out->data);
  return NULL;
}

/* --- time ------------------------------------------------------------------------------------------------- */

static char *put_date(char *p, int year, int month, int day) {
  p = four(p, year);
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
    *p++ = '.';
    p = four(two(p, fraction / 10000), fraction % 10000);
    while (p[-1] == '0')
      p--;
  }
  return p;
}

/* Ten characters for a day since 2000. The last day is kept: neighbouring rows often have it again. NULL when it has no such form. */
static const char *day_text(OndEncoder *e, int32 day) {
  int year, month, dom;

  if (e->day_known && e->day == day)
    return e->day_text;
  j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
  if (year < 1 || year > 9999)
    return NULL;
  (void)put_date(e->day_text, year, month, dom);
  e->day = day;
  e->day_known = true;
  return e->day_text;
}

static const char *append_timestamp(OndEncoder *e, StringInfo out, Timestamp t) {
  char buf[64];
  char *p = buf;
  const char *text;
  int64 days, us;

  if (TIMESTAMP_NOT_FINITE(t))
    return INFINITE;
  days = t / USECS_PER_DAY;
  us = t % USECS_PER_DAY;
  if (us < 0) {
    us += USECS_PER_DAY;
    days--;
  }
  text = day_text(e, (int32)days);
  if (text == NULL)
    return OUT_OF_YEARS;
  *p++ = '"';
  memcpy(p, text, DAY_CHARS);
  p += DAY_CHARS;
  *p++ = 'T';
  p = put_time(p, us);
  if (e->kind == KIND_TIMESTAMPTZ)
    *p++ = 'Z';
  *p++ = '"';
  ond_put(out, buf, (Size)(p - buf));
  return NULL;
}

static const char *append_date(OndEncoder *e, StringInfo out, DateADT d) {
  char buf[DAY_CHARS + 2];
  const char *text;

  if (DATE_NOT_FINITE(d))
    return INFINITE;
  text = day_text(e, d);
  if (text == NULL)
    return OUT_OF_YEARS;
  buf[0] = buf[DAY_CHARS + 1] = '"';
  memcpy(buf + 1, text, DAY_CHARS);
  ond_put(out, buf, sizeof(buf));
  return NULL;
}

static const char *append_interval(StringInfo out, const Interval *span) {
  struct pg_itm itm;
  char buf[MAXDATELEN + 1];

#ifdef INTERVAL_NOT_FINITE
  if (INTERVAL_NOT_FINITE(span))
    return INFINITE;
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
  Nesting nesting = {"(record)", 0, 0};
  const char *problem = NULL;
  bool first = true;

  check_stack_depth();
  if (own.desc == NULL || own.desc->tdtypeid != HeapTupleHeaderGetTypeId(header) || own.desc->tdtypmod != HeapTupleHeaderGetTypMod(header))
    encoder_record(&own, HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header), &nesting);
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
  ond_put(out, buf, (Size)(p - buf));
}

const char *ond_encode(OndEncoder *e, Datum value, StringInfo out) {
  const char *text;

  switch (e->kind) {
    case KIND_BOOL: ond_put(out, DatumGetBool(value) ? "true" : "false", DatumGetBool(value) ? 4 : 5); return NULL;
    case KIND_INT2: append_int(out, DatumGetInt16(value)); return NULL;
    case KIND_INT4: append_int(out, DatumGetInt32(value)); return NULL;
    case KIND_INT8: append_int(out, DatumGetInt64(value)); return NULL;
    case KIND_OID: append_int(out, DatumGetObjectId(value)); return NULL;
    case KIND_FLOAT4:
    case KIND_FLOAT8: return append_float(e, out, value);
    case KIND_NUMERIC: return append_numeric(out, value);
    case KIND_TEXT:
    case KIND_JSON: return append_varlena(out, value, e->kind);
    case KIND_TIMESTAMP:
    case KIND_TIMESTAMPTZ: return append_timestamp(e, out, DatumGetTimestampTz(value));
    case KIND_DATE: return append_date(e, out, DatumGetDateADT(value));
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

/* --- canonical -------------------------------------------------------------------------------------------- */

OndForm ond_canonical_form(const OndEncoder *e) {
  switch (e->kind) {
    case KIND_BOOL: return OND_FORM_BOOL;
    case KIND_INT2: return OND_FORM_INT2;
    case KIND_INT4: return OND_FORM_INT4;
    case KIND_INT8: return OND_FORM_INT8;
    case KIND_OID: return OND_FORM_OID;
    case KIND_NUMERIC: return OND_FORM_NUMERIC;
    case KIND_TEXT: return GetDatabaseEncoding() == PG_UTF8 ? OND_FORM_TEXT : OND_FORM_OTHER;
    case KIND_TIMESTAMP: return OND_FORM_TIMESTAMP;
    case KIND_TIMESTAMPTZ: return OND_FORM_TIMESTAMPTZ;
    case KIND_DATE: return OND_FORM_DATE;
    case KIND_UUID: return OND_FORM_UUID;
    default: return OND_FORM_OTHER;
  }
}

static const char *canonical_text(StringInfo out, const char *s, Size n) {
  s = to_utf8(s, &n);
  if (s == NULL)
    return "is not valid UTF-8";
  ond_canonical_sized(out, 's', s, n);
  return NULL;
}

/* By its JSON form: the length is known when that is there. What has none of its type's is told so. */
static const char *canonical_by_json(OndEncoder *e, Datum value, StringInfo out) {
  const char *problem;
  int start = out->len + 1 + (int)sizeof(uint32);
  uint32 size = 0;

  ond_canonical_fixed(out, 'j', &size, sizeof(size));
  problem = ond_encode(e, value, out);
  size = (uint32)(out->len - start);
  memcpy(out->data + start - sizeof(size), &size, sizeof(size));
  return problem;
}

const char *ond_encode_canonical(OndEncoder *e, Datum value, StringInfo out) {
  struct varlena *v;
  const char *text;

  if (ond_canonical_quick(ond_canonical_form(e), value, out))
    return NULL;
  switch (e->kind) {
    case KIND_TEXT:
      v = PG_DETOAST_DATUM_PACKED(value);
      return canonical_text(out, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
    case KIND_OUTPUT:
      if (e->output.fn_addr == NULL)
        encoder_output(e);
      text = OutputFunctionCall(&e->output, value);
      return canonical_text(out, text, strlen(text));
    default: return canonical_by_json(e, value, out);
  }
}
