/*
 * version.c - rows to versions, and ondatra.row_hash(); see version.h.
 *
 * Format 1 (OND_HASH_FORMAT) of the hash is exactly: the hash of (for each field: u32 length of the target, target), then for each field its value in
 * canonical form (canonical.h), 'n' for NULL or '-' for a field that is left out. Lengths and integers are little endian; fields stand in the order of
 * their targets' bytes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/uuid.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "catalog/session.h"
#include "catalog/utf8.h"
#include "engine/canonical.h"
#include "engine/encode.h"
#include "engine/version.h"

StaticAssertDecl(sizeof(((OndHasher *)NULL)->secret) == XXH3_SECRET_DEFAULT_SIZE, "the secret's size is xxHash's");

OndHasher *ond_hasher_create(const OndMapping *mapping, uint64 seed) {
  const int *sorted = ond_mapping_sorted(mapping);
  int n = ond_mapping_count(mapping);
  OndHasher *h = palloc0(sizeof(OndHasher));
  StringInfoData targets;

  h->seed = seed;
  XXH3_generateSecret_fromSeed(h->secret, seed);
  h->fields = palloc(sizeof(int) * Max(n, 1));
  initStringInfo(&targets);
  for (int i = 0; i < n; i++) {
    const OndField *field = ond_mapping_field(mapping, sorted[i]);
    uint32 length = (uint32)strlen(field->target);

    if (!field->detect)
      continue;
    h->fields[h->n++] = sorted[i];
    ond_put(&targets, &length, sizeof(length));
    ond_put(&targets, field->target, length);
  }
  h->targets = ond_hasher_digest(h, targets.data, (Size)targets.len);
  pfree(targets.data);
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

/* --- ondatra.row_hash ------------------------------------------------------------------------------------- */

PG_FUNCTION_INFO_V1(ond_row_hash);

static void append_argument(StringInfo out, Oid type, const char *name, Datum value, bool isnull) {
  const char *problem = NULL;

  if (isnull)
    ond_canonical_tag(out, OND_TAG_NULL);
  else
    problem = ond_encode_canonical(ond_encoder_create(type, name), value, out);
  if (problem != NULL)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("value \"%s\" %s", name, problem)));
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
  StringInfoData bytes;
  OndMapping *mapping;
  OndHasher *hasher;
  pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
  OndHash hash;

  deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &names, &name_nulls, &n_names);
  if (n < 0 || n != n_names)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("row_hash needs as many values as names"),
                    errdetail("There are %d names and %d values.", n_names, Max(n, 0))));
  ond_pin_text_settings();
  targets = palloc(sizeof(char *) * Max(n, 1));
  for (int i = 0; i < n; i++) {
    if (name_nulls[i])
      ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("name %d of row_hash is NULL", i + 1)));
    targets[i] = ond_to_utf8(TextDatumGetCString(names[i]));
  }
  mapping = ond_mapping_identity(n, targets);
  hasher = ond_hasher_create(mapping, 0);
  ond_mapping_free(mapping); /* before something raises: no memory context knows it */
  initStringInfo(&bytes);
  ond_put(&bytes, hasher->targets.b, sizeof(hasher->targets.b));
  for (int i = 0; i < hasher->n; i++) {
    int k = hasher->fields[i];

    append_argument(&bytes, types[k], targets[k], args[k], nulls[k]);
  }
  AtEOXact_GUC(false, nest);
  hash = ond_hasher_digest(hasher, bytes.data, (Size)bytes.len);
  memcpy(uuid->data, hash.b, UUID_LEN);
  PG_RETURN_UUID_P(uuid);
}
