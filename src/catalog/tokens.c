/*
 * tokens.c - see tokens.h. The SQL about all_tokens; who asks when and with which refresh token is engine/tokens.c.
 *
 * What is stored is encrypted before it becomes an argument (crypt.c), under names that no secret can have: a token can be put into the place of
 * neither a secret nor another destination's token.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"

#include "catalog/crypt.h"
#include "catalog/rows.h"
#include "catalog/secrets.h"
#include "catalog/session.h"
#include "catalog/tokens.h"
#include "compat.h"
#include "core/mem.h"

/* --- rows ------------------------------------------------------------------------------------------------- */

/* Names of secrets have no control characters. */
static char *sealed_name(int64 destination_id, const char *what) {
  return psprintf("\001%s of destination " INT64_FORMAT, what, destination_id);
}

/* A sealed column, opened; NULL for NULL and for what this key cannot open: then it is as if it were not there. */
static char *open_column(int column, Oid owner, const char *name, size_t *n, MemoryContext context) {
  bool isnull;
  Datum value = ond_row_datum(column, &isnull);
  MemoryContext saved;
  OndError ignored;
  char *text;

  if (isnull)
    return NULL;
  saved = MemoryContextSwitchTo(context);
  text = ond_crypt_open(owner, name, DatumGetByteaPP(value), n, &ignored);
  MemoryContextSwitchTo(saved);
  return text;
}

void ond_token_load(int64 destination_id, Oid owner, Snapshot snapshot, OndTokenRow *out) {
  const char *sql = "SELECT version, token, previous, obtained_at, expires_at, intent_at FROM ondatra.all_tokens WHERE destination_id "
                    "OPERATOR(pg_catalog.=) $1";
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(destination_id)};
  MemoryContext caller = CurrentMemoryContext;
  uint64 found;
  size_t n;

  memset(out, 0, sizeof(*out));
  if (snapshot != NULL)
    found = ond_spi_snapshot(sql, 1, types, values, NULL, snapshot);
  else
    found = ond_spi(SPI_OK_SELECT, sql, 1, types, values, NULL);
  if (found > 0) {
    out->version = ond_row_int64(1);
    out->token = open_column(2, owner, sealed_name(destination_id, "token"), &out->token_n, caller);
    out->previous = open_column(3, owner, sealed_name(destination_id, "previous token"), &n, caller);
    out->obtained_at = ond_row_time(4);
    out->expires_at = ond_row_time(5);
    out->intent_at = ond_row_time(6);
  }
}

void ond_token_row_wipe(OndTokenRow *row) {
  if (row->token != NULL)
    ond_wipe(row->token, row->token_n);
  if (row->previous != NULL)
    ond_wipe(row->previous, strlen(row->previous));
}

int64 ond_token_intend(int64 destination_id) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(destination_id)};

  ond_spi(SPI_OK_INSERT_RETURNING,
          "INSERT INTO ondatra.all_tokens AS t (destination_id, intent_no, intent_at) VALUES ($1, 1, pg_catalog.clock_timestamp())"
          " ON CONFLICT (destination_id) DO UPDATE SET intent_no = t.intent_no OPERATOR(pg_catalog.+) 1, intent_at = excluded.intent_at"
          " RETURNING intent_no",
          1, types, values, NULL);
  return ond_row_int64(1);
}

void ond_token_settle(int64 destination_id, int64 intent_no) {
  Oid types[2] = {INT8OID, INT8OID};
  Datum values[2] = {Int64GetDatum(destination_id), Int64GetDatum(intent_no)};

  ond_spi(SPI_OK_UPDATE,
          "UPDATE ondatra.all_tokens SET intent_at = NULL WHERE destination_id OPERATOR(pg_catalog.=) $1 AND intent_no OPERATOR(pg_catalog.=) $2",
          2, types, values, NULL);
}

int64 ond_token_store(int64 destination_id, int64 intent_no, Oid owner, const char *token, size_t token_n, const char *previous,
                      TimestampTz obtained_at, TimestampTz expires_at) {
  Oid types[6] = {INT8OID, INT8OID, BYTEAOID, BYTEAOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
  char nulls[7] = "      ";
  bool none_yet = ond_crypt_none_yet();
  int64 version = 0;
  Datum values[6];

  values[0] = Int64GetDatum(destination_id);
  values[1] = Int64GetDatum(intent_no);
  values[2] = PointerGetDatum(ond_crypt_seal(owner, sealed_name(destination_id, "token"), token, token_n, none_yet));
  nulls[3] = previous == NULL ? 'n' : ' ';
  values[3] = previous == NULL ? (Datum)0
                               : PointerGetDatum(ond_crypt_seal(owner, sealed_name(destination_id, "previous token"), previous, strlen(previous),
                                                                none_yet));
  values[4] = TimestampTzGetDatum(obtained_at);
  nulls[5] = expires_at == 0 ? 'n' : ' ';
  values[5] = TimestampTzGetDatum(expires_at);
  if (ond_spi(SPI_OK_UPDATE_RETURNING,
              "UPDATE ondatra.all_tokens SET version = version OPERATOR(pg_catalog.+) 1, token = $3, previous = $4, obtained_at = $5,"
              " expires_at = $6, intent_at = NULL WHERE destination_id OPERATOR(pg_catalog.=) $1 AND intent_no OPERATOR(pg_catalog.=) $2"
              " RETURNING version",
              6, types, values, nulls) > 0)
    version = ond_row_int64(1);
  return version;
}

/* Column 3 or 4 of a row under the first key, as an argument; true: it is another value now. */
static bool reseal(SPITupleTable *rows, uint64 i, int column, const char *what, Datum *value, char *null) {
  int64 destination_id;
  Oid owner;
  bytea *fresh;
  bool isnull;

  destination_id = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));
  owner = DatumGetObjectId(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull));
  *value = SPI_getbinval(rows->vals[i], rows->tupdesc, column, &isnull);
  *null = isnull ? 'n' : ' ';
  if (isnull || ond_crypt_is_current(DatumGetByteaPP(*value)))
    return false;
  fresh = ond_secret_reseal(owner, sealed_name(destination_id, what), psprintf("the %s of destination " INT64_FORMAT, what, destination_id), DatumGetByteaPP(*value));
  if (fresh == NULL)
    return false;
  *value = PointerGetDatum(fresh);
  return true;
}

int64 ond_tokens_reencrypt(void) {
  Oid types[3] = {INT8OID, BYTEAOID, BYTEAOID};
  uint64 n = ond_spi(SPI_OK_SELECT,
                     "SELECT t.destination_id, d.owner::pg_catalog.oid, t.token, t.previous FROM ondatra.all_tokens t JOIN ondatra.all_destinations d ON "
                     "d.destination_id OPERATOR(pg_catalog.=) t.destination_id ORDER BY 1 FOR UPDATE OF t",
                     0, NULL, NULL, NULL);
  SPITupleTable *rows = SPI_tuptable;
  int64 done = 0;

  for (uint64 i = 0; i < n; i++) {
    char nulls[4] = "   ";
    Datum values[3];
    bool isnull, token, previous;

    values[0] = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull);
    token = reseal(rows, i, 3, "token", &values[1], &nulls[1]);
    previous = reseal(rows, i, 4, "previous token", &values[2], &nulls[2]);
    if (token || previous) {
      ond_spi(SPI_OK_UPDATE, "UPDATE ondatra.all_tokens SET token = $2, previous = $3 WHERE destination_id OPERATOR(pg_catalog.=) $1", 3, types, values, nulls);
      done++;
    }
  }
  return done;
}

void ond_token_forget(int64 destination_id) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(destination_id)};

  ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.all_tokens WHERE destination_id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
}

/* --- the lock --------------------------------------------------------------------------------------------- */

static LOCKTAG held_tag;
static bool held;

bool ond_token_lock_try(int64 destination_id) {
  Oid relid = get_relname_relid("all_tokens", ond_extension(false)->schema);

  Assert(!held || !ond_token_lock_is_mine());
  Assert(destination_id > 0 && destination_id <= PG_INT32_MAX);
  SET_LOCKTAG_OBJECT(held_tag, MyDatabaseId, relid, (uint32)destination_id, 0);
  held = LockAcquire(&held_tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
  return held;
}

bool ond_token_lock_is_mine(void) {
  return held && ond_compat_lock_held_by_me(&held_tag, ExclusiveLock);
}

void ond_token_unlock(void) {
  if (ond_token_lock_is_mine())
    LockRelease(&held_tag, ExclusiveLock, true);
  held = false;
}
