/*
 * state_table.c - the state table's DDL, reads and writes; see state_table.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog/session.h"
#include "engine/state_table.h"

TimestampTz ond_from_unix_us(int64 us) {
  if (us == OND_NEVER)
    return DT_NOEND;
  return us - ((int64)(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY;
}

int64 ond_to_unix_us(TimestampTz t) {
  if (TIMESTAMP_IS_NOEND(t))
    return OND_NEVER;
  return t + ((int64)(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY;
}

/* --- DDL -------------------------------------------------------------------------------------------------- */

char *ond_state_table_name(int64 sync_id) {
  return psprintf("ondatra.state_" INT64_FORMAT, sync_id);
}

static void run(const char *sql) {
  if (SPI_execute(sql, false, 0) < 0)
    elog(ERROR, "could not execute: %s", sql);
}

/* Takes back what ALTER DEFAULT PRIVILEGES may have given to anybody. */
static void revoke_all(const char *table, Oid relid) {
  Oid types[1] = {OIDOID};
  Datum values[1] = {ObjectIdGetDatum(relid)};
  uint64 n = ond_spi(SPI_OK_SELECT,
                     "SELECT DISTINCT CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC' ELSE a.grantee::pg_catalog.regrole::text END"
                     " FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a WHERE c.oid OPERATOR(pg_catalog.=) $1"
                     " AND a.grantee OPERATOR(pg_catalog.<>) c.relowner",
                     1, types, values, NULL);
  SPITupleTable *tuples = SPI_tuptable;

  for (uint64 i = 0; i < n; i++)
    run(psprintf("REVOKE ALL ON TABLE %s FROM %s CASCADE", table, SPI_getvalue(tuples->vals[i], tuples->tupdesc, 1)));
}

static void depend_on_extension(Oid relid) {
  ObjectAddress table = {RelationRelationId, relid, 0};
  ObjectAddress extension = {ExtensionRelationId, ond_extension(false)->extension, 0};

  recordDependencyOn(&table, &extension, DEPENDENCY_AUTO);
}

static void key_columns_sql(StringInfo s, const OndSync *sync, const OndModel *model) {
  for (int i = 0; i < sync->n_keys; i++) {
    OndKeyColumn key;

    ond_key_column(model, sync->keys[i], &key);
    appendStringInfo(s, "k%d %s%s NOT NULL, ", i + 1, key.type_sql, key.text ? " COLLATE pg_catalog.\"C\"" : "");
  }
}

static void comment(const char *name, const OndSync *sync) {
  StringInfoData s;

  initStringInfo(&s);
  appendStringInfo(&s, "State of ondatra's sync \"%s\"; key columns:", sync->name);
  for (int i = 0; i < sync->n_keys; i++)
    appendStringInfo(&s, " k%d = %s", i + 1, sync->keys[i]);
  run(psprintf("COMMENT ON TABLE %s IS %s", name, quote_literal_cstr(s.data)));
}

void ond_state_table_create(const OndSync *sync, const OndModel *model) {
  char *name = ond_state_table_name(sync->sync_id);
  char *owner = GetUserNameFromId(sync->owner, false);
  StringInfoData s;
  Oid relid;

  initStringInfo(&s);
  appendStringInfo(&s, "CREATE TABLE %s (", name);
  key_columns_sql(&s, sync, model);
  appendStringInfoString(&s, "_hash uuid, _refused uuid, _retry_at timestamptz, _attempts int4 NOT NULL DEFAULT 0,"
                             " _doubt_op \"char\", _doubt_hash uuid, _sent_at timestamptz, _change_id int8,"
                             " _remote_id text, _remote jsonb, _kept jsonb, _synced_at timestamptz, PRIMARY KEY (");
  for (int i = 0; i < sync->n_keys; i++)
    appendStringInfo(&s, "%sk%d", i > 0 ? ", " : "", i + 1);
  appendStringInfoString(&s, ")) WITH (fillfactor = 85)");
  run(s.data);
  relid = get_relname_relid(psprintf("state_" INT64_FORMAT, sync->sync_id), ond_extension(false)->schema);
  revoke_all(name, relid);
  run(psprintf("ALTER TABLE %s ENABLE ROW LEVEL SECURITY", name));
  run(psprintf("GRANT SELECT ON TABLE %s TO %s", name, quote_identifier(owner)));
  run(psprintf("CREATE POLICY owner ON %s FOR SELECT TO %s USING (true)", name, quote_identifier(owner)));
  comment(name, sync);
  depend_on_extension(relid);
}

void ond_state_table_drop(int64 sync_id) {
  Oid relid = get_relname_relid(psprintf("state_" INT64_FORMAT, sync_id), ond_extension(false)->schema);

  if (OidIsValid(relid))
    run(psprintf("DROP TABLE %s", ond_state_table_name(sync_id)));
}

static const char *type_name(Oid type) {
  HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
  const char *name;

  if (!HeapTupleIsValid(tuple))
    elog(ERROR, "cache lookup failed for type %u", type);
  name = pstrdup(NameStr(((Form_pg_type)GETSTRUCT(tuple))->typname));
  ReleaseSysCache(tuple);
  return name;
}

const char **ond_state_key_types(int64 sync_id, int n_keys) {
  const char **types = palloc(sizeof(char *) * n_keys);
  Oid relid = get_relname_relid(psprintf("state_" INT64_FORMAT, sync_id), ond_extension(false)->schema);

  if (!OidIsValid(relid))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("state table %s is missing", ond_state_table_name(sync_id)),
                    errhint("Drop the sync and create it again; what was delivered is not known any more.")));
  for (int i = 0; i < n_keys; i++) {
    AttrNumber attno = get_attnum(relid, psprintf("k%d", i + 1));

    if (attno == InvalidAttrNumber)
      ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("state table %s has no column k%d", ond_state_table_name(sync_id), i + 1)));
    types[i] = psprintf("pg_catalog.%s", quote_identifier(type_name(get_atttype(relid, attno))));
  }
  return types;
}

/* --- arrays as arguments ---------------------------------------------------------------------------------- */

typedef struct Column {
  Oid element;
  int16 len;
  bool byval;
  char align;
  Datum *values;
  bool *nulls;
} Column;

static void column_init(Column *c, Oid element, int n) {
  c->element = element;
  get_typlenbyvalalign(element, &c->len, &c->byval, &c->align);
  c->values = palloc0(sizeof(Datum) * Max(n, 1));
  c->nulls = palloc(sizeof(bool) * Max(n, 1));
  memset(c->nulls, true, sizeof(bool) * Max(n, 1));
}

static void column_set(Column *c, int i, Datum value) {
  c->values[i] = value;
  c->nulls[i] = false;
}

static Datum column_array(const Column *c, int n) {
  int dims[1] = {n};
  int lbs[1] = {1};

  if (n == 0)
    return PointerGetDatum(construct_empty_array(c->element));
  return PointerGetDatum(construct_md_array(c->values, c->nulls, 1, dims, lbs, c->element, c->len, c->byval, c->align));
}

static Datum hash_datum(const OndHash *hash) {
  pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));

  memcpy(uuid->data, hash->b, UUID_LEN);
  return UUIDPGetDatum(uuid);
}

static Datum bytes_datum(OndBytes bytes) {
  return PointerGetDatum(cstring_to_text_with_len(bytes.p, (int)bytes.n));
}

/* The key's arrays: $1 … $n_keys. */
static void key_arrays(int n_keys, int n, const OndBytes *const *key_texts, Oid *types, Datum *values) {
  for (int k = 0; k < n_keys; k++) {
    Column c;

    column_init(&c, TEXTOID, n);
    for (int i = 0; i < n; i++)
      column_set(&c, i, bytes_datum(key_texts[i][k]));
    types[k] = TEXTARRAYOID;
    values[k] = column_array(&c, n);
  }
}

/* "unnest($1, $2, …) u(k1, …, a1, …)" with n_keys + n_more arguments. */
static void append_unnest(StringInfo s, int n_keys, int n_more, bool ordinality) {
  appendStringInfoString(s, "unnest("); /* the form with several arguments exists only unqualified; the search_path is pg_catalog */
  for (int i = 0; i < n_keys + n_more; i++)
    appendStringInfo(s, "%s$%d", i > 0 ? ", " : "", i + 1);
  appendStringInfoString(s, ordinality ? ") WITH ORDINALITY u(" : ") u(");
  for (int i = 0; i < n_keys; i++)
    appendStringInfo(s, "%sk%d", i > 0 ? ", " : "", i + 1);
  for (int i = 0; i < n_more; i++)
    appendStringInfo(s, ", a%d", i + 1);
  appendStringInfoString(s, ordinality ? ", n)" : ")");
}

static void append_key_match(StringInfo s, int n_keys, const char *const *types) {
  for (int i = 0; i < n_keys; i++)
    appendStringInfo(s, "%ss.k%d OPERATOR(pg_catalog.=) u.k%d::%s", i > 0 ? " AND " : "", i + 1, i + 1, types[i]);
}

/* --- writing ---------------------------------------------------------------------------------------------- */

#define CHAR_ARRAY 1002 /* _char, which has no symbol of its own */

enum { W_HASH, W_REFUSED, W_RETRY_AT, W_ATTEMPTS, W_DOUBT_OP, W_DOUBT_HASH, W_SENT_AT, W_CHANGE_ID, W_REMOTE_ID, W_REMOTE, W_SYNCED, W_COLUMNS };

static const Oid write_elements[W_COLUMNS] = {UUIDOID, UUIDOID, TIMESTAMPTZOID, INT4OID, CHAROID, UUIDOID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID,
                                              TIMESTAMPTZOID};
static const Oid write_arrays[W_COLUMNS] = {UUIDARRAYOID,        UUIDARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, CHAR_ARRAY, UUIDARRAYOID,
                                            TIMESTAMPTZARRAYOID, INT8ARRAYOID, TEXTARRAYOID,        TEXTARRAYOID, TIMESTAMPTZARRAYOID};

static void set_write(Column *columns, int i, const OndStateWrite *w, TimestampTz now) {
  const OndKeyState *s = &w->state;

  if (s->has_accepted)
    column_set(&columns[W_HASH], i, hash_datum(&s->accepted));
  if (s->has_refused) {
    column_set(&columns[W_REFUSED], i, hash_datum(&s->refused));
    column_set(&columns[W_RETRY_AT], i, TimestampTzGetDatum(ond_from_unix_us(s->retry_at)));
  }
  column_set(&columns[W_ATTEMPTS], i, Int32GetDatum(s->has_refused ? s->attempts : 0));
  if (s->doubt_op != OND_OP_NONE) {
    column_set(&columns[W_DOUBT_OP], i, CharGetDatum((char)s->doubt_op));
    column_set(&columns[W_DOUBT_HASH], i, hash_datum(&s->doubt_hash));
    column_set(&columns[W_SENT_AT], i, TimestampTzGetDatum(ond_from_unix_us(s->sent_at)));
  }
  if (s->change_id != 0)
    column_set(&columns[W_CHANGE_ID], i, Int64GetDatum(s->change_id));
  if (w->remote_id != NULL)
    column_set(&columns[W_REMOTE_ID], i, CStringGetTextDatum(w->remote_id));
  if (w->remote != NULL)
    column_set(&columns[W_REMOTE], i, CStringGetTextDatum(w->remote));
  if (w->accepted_now)
    column_set(&columns[W_SYNCED], i, TimestampTzGetDatum(now));
}

static void append_upsert(StringInfo s, int64 sync_id, int n_keys, const char *const *types) {
  static const char *const names = "_hash, _refused, _retry_at, _attempts, _doubt_op, _doubt_hash, _sent_at, _change_id, _remote_id, _remote, _synced_at";

  appendStringInfo(s, "INSERT INTO %s AS s (", ond_state_table_name(sync_id));
  for (int i = 0; i < n_keys; i++)
    appendStringInfo(s, "k%d, ", i + 1);
  appendStringInfo(s, "%s) SELECT ", names);
  for (int i = 0; i < n_keys; i++)
    appendStringInfo(s, "u.k%d::%s, ", i + 1, types[i]);
  for (int i = 0; i < W_COLUMNS; i++)
    appendStringInfo(s, "%su.a%d%s", i > 0 ? ", " : "", i + 1, i == W_REMOTE ? "::pg_catalog.jsonb" : "");
  appendStringInfoString(s, " FROM ");
  append_unnest(s, n_keys, W_COLUMNS, false);
  appendStringInfoString(s, " ON CONFLICT (");
  for (int i = 0; i < n_keys; i++)
    appendStringInfo(s, "%sk%d", i > 0 ? ", " : "", i + 1);
  appendStringInfoString(s, ") DO UPDATE SET _hash = excluded._hash, _refused = excluded._refused, _retry_at = excluded._retry_at,"
                            " _attempts = excluded._attempts, _doubt_op = excluded._doubt_op, _doubt_hash = excluded._doubt_hash,"
                            " _sent_at = excluded._sent_at, _change_id = excluded._change_id, _remote_id = COALESCE(excluded._remote_id, s._remote_id),"
                            " _remote = COALESCE(excluded._remote, s._remote), _synced_at = COALESCE(excluded._synced_at, s._synced_at)");
}

static void write_rows(int64 sync_id, int n_keys, const char *const *types, int n, const OndStateWrite **writes) {
  Oid arg_types[OND_KEYS_MAX + W_COLUMNS];
  Datum args[OND_KEYS_MAX + W_COLUMNS];
  const OndBytes **keys = palloc(sizeof(OndBytes *) * n);
  Column columns[W_COLUMNS];
  TimestampTz now = GetCurrentTimestamp();
  StringInfoData s;

  for (int c = 0; c < W_COLUMNS; c++)
    column_init(&columns[c], write_elements[c], n);
  for (int i = 0; i < n; i++) {
    keys[i] = writes[i]->key_text;
    set_write(columns, i, writes[i], now);
  }
  key_arrays(n_keys, n, keys, arg_types, args);
  for (int c = 0; c < W_COLUMNS; c++) {
    arg_types[n_keys + c] = write_arrays[c];
    args[n_keys + c] = column_array(&columns[c], n);
  }
  initStringInfo(&s);
  append_upsert(&s, sync_id, n_keys, types);
  ond_spi(SPI_OK_INSERT, s.data, n_keys + W_COLUMNS, arg_types, args, NULL);
}

static void remove_rows(int64 sync_id, int n_keys, const char *const *types, int n, const OndStateWrite **writes) {
  Oid arg_types[OND_KEYS_MAX];
  Datum args[OND_KEYS_MAX];
  const OndBytes **keys = palloc(sizeof(OndBytes *) * n);
  StringInfoData s;

  for (int i = 0; i < n; i++)
    keys[i] = writes[i]->key_text;
  key_arrays(n_keys, n, keys, arg_types, args);
  initStringInfo(&s);
  appendStringInfo(&s, "DELETE FROM %s s USING ", ond_state_table_name(sync_id));
  append_unnest(&s, n_keys, 0, false);
  appendStringInfoString(&s, " WHERE ");
  append_key_match(&s, n_keys, types);
  ond_spi(SPI_OK_DELETE, s.data, n_keys, arg_types, args, NULL);
}

void ond_state_write(int64 sync_id, int n_keys, const char *const *types, int n, const OndStateWrite *writes) {
  const OndStateWrite **kept = palloc(sizeof(OndStateWrite *) * Max(n, 1));
  const OndStateWrite **removed = palloc(sizeof(OndStateWrite *) * Max(n, 1));
  int n_kept = 0, n_removed = 0;

  for (int i = 0; i < n; i++) {
    if (ond_key_state_is_empty(&writes[i].state))
      removed[n_removed++] = &writes[i];
    else
      kept[n_kept++] = &writes[i];
  }
  if (n_kept > 0)
    write_rows(sync_id, n_keys, types, n_kept, kept);
  if (n_removed > 0)
    remove_rows(sync_id, n_keys, types, n_removed, removed);
}

/* --- reading ---------------------------------------------------------------------------------------------- */

/* Column c of the current row as a hash; false: NULL. */
static bool get_hash(HeapTuple tuple, TupleDesc desc, int c, OndHash *hash) {
  bool isnull;
  Datum d = SPI_getbinval(tuple, desc, c, &isnull);

  if (!isnull)
    memcpy(hash->b, DatumGetUUIDP(d)->data, UUID_LEN);
  return !isnull;
}

static int64 get_time(HeapTuple tuple, TupleDesc desc, int c) {
  bool isnull;
  Datum d = SPI_getbinval(tuple, desc, c, &isnull);

  return isnull ? 0 : ond_to_unix_us(DatumGetTimestampTz(d));
}

static void get_state(HeapTuple tuple, TupleDesc desc, OndKeyState *s) {
  bool isnull;
  Datum d;

  memset(s, 0, sizeof(*s));
  s->has_accepted = get_hash(tuple, desc, 2, &s->accepted);
  s->has_refused = get_hash(tuple, desc, 3, &s->refused);
  s->retry_at = get_time(tuple, desc, 4);
  s->attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 5, &isnull));
  d = SPI_getbinval(tuple, desc, 6, &isnull);
  s->doubt_op = isnull ? OND_OP_NONE : (OndOp)DatumGetChar(d);
  (void)get_hash(tuple, desc, 7, &s->doubt_hash);
  s->sent_at = get_time(tuple, desc, 8);
  d = SPI_getbinval(tuple, desc, 9, &isnull);
  s->change_id = isnull ? 0 : DatumGetInt64(d);
}

void ond_state_read(int64 sync_id, int n_keys, const char *const *types, int n, const OndBytes *const *key_texts, bool *found, OndKeyState *states) {
  Oid arg_types[OND_KEYS_MAX];
  Datum args[OND_KEYS_MAX];
  StringInfoData s;
  uint64 rows;

  memset(found, false, sizeof(bool) * n);
  key_arrays(n_keys, n, key_texts, arg_types, args);
  initStringInfo(&s);
  appendStringInfoString(&s, "SELECT u.n, s._hash, s._refused, s._retry_at, s._attempts, s._doubt_op, s._doubt_hash, s._sent_at, s._change_id FROM ");
  append_unnest(&s, n_keys, 0, true);
  appendStringInfo(&s, " JOIN %s s ON ", ond_state_table_name(sync_id));
  append_key_match(&s, n_keys, types);
  rows = ond_spi(SPI_OK_SELECT, s.data, n_keys, arg_types, args, NULL);
  for (uint64 r = 0; r < rows; r++) {
    bool isnull;
    int i = (int)DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, 1, &isnull)) - 1;

    found[i] = true;
    get_state(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, &states[i]);
  }
}

int64 ond_state_count(int64 sync_id) {
  bool isnull;

  ond_spi(SPI_OK_SELECT, psprintf("SELECT pg_catalog.count(*) FROM %s", ond_state_table_name(sync_id)), 0, NULL, NULL, NULL);
  return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}
