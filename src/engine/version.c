/*
 * version.c - rows to versions, and ondatra.row_hash(); see version.h.
 *
 * Format 1 of the hash is exactly: for each field, u32 length of the target, target, u32 length of the value, value (little endian).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/uuid.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "catalog/session.h"
#include "engine/encode.h"
#include "engine/version.h"

StaticAssertDecl(sizeof(((OndHasher *)NULL)->secret) == XXH3_SECRET_DEFAULT_SIZE, "the secret's size is xxHash's");

static void hashed_field(OndHashedField *out, int number, const char *target) {
  uint32 length = (uint32)strlen(target);
  char *head = palloc0(Max(sizeof(length) + length, OND_HEAD_COPIED));

  memcpy(head, &length, sizeof(length));
  memcpy(head + sizeof(length), target, length);
  out->field = number;
  out->head = head;
  out->head_n = sizeof(length) + length;
}

OndHasher *ond_hasher_create(const OndMapping *mapping, uint64 seed) {
  const int *sorted = ond_mapping_sorted(mapping);
  int n = ond_mapping_count(mapping);
  OndHasher *h = palloc0(sizeof(OndHasher));

  h->seed = seed;
  XXH3_generateSecret_fromSeed(h->secret, seed);
  h->fields = palloc(sizeof(OndHashedField) * Max(n, 1));
  for (int i = 0; i < n; i++) {
    const OndField *field = ond_mapping_field(mapping, sorted[i]);

    if (field->detect)
      hashed_field(&h->fields[h->n++], sorted[i], field->target);
  }
  initStringInfo(&h->bytes);
  return h;
}

OndHash ond_hasher_digest(const OndHasher *h, const char *bytes, Size n) {
  XXH128_canonical_t canonical;
  OndHash hash;

  XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSecretandSeed(bytes, n, h->secret, sizeof(h->secret), h->seed));
  memcpy(hash.b, canonical.digest, sizeof(hash.b));
  if (ond_hash_equal(hash, OND_HASH_DELETE))
    hash.b[15] = 1;
  return hash;
}

OndHash ond_hasher_hash(OndHasher *h, const OndBytes *values) {
  resetStringInfo(&h->bytes);
  for (int i = 0; i < h->n; i++) {
    OndBytes value = values[h->fields[i].field];

    if (value.p == NULL)
      continue;
    ond_hashed_begin(&h->bytes, &h->fields[i], (uint32)value.n);
    ond_put(&h->bytes, value.p, value.n);
  }
  return ond_hasher_digest(h, h->bytes.data, (Size)h->bytes.len);
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
  hash = ond_hasher_hash(ond_hasher_create(mapping, 0), values);
  ond_mapping_free(mapping);
  memcpy(uuid->data, hash.b, UUID_LEN);
  PG_RETURN_UUID_P(uuid);
}
