/*
 * state_table.c - the state table's DDL, reads and writes; see state_table.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/policy.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog/session.h"
#include "catalog/utf8.h"
#include "compat.h"
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

#define POLICY "owner"

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

/* What DROP OWNED takes, and a dump that is restored without privileges or before the roles. */
static bool owner_may_read(const OndSync *sync, Oid relid) {
  return pg_class_aclcheck(relid, sync->owner, ACL_SELECT) == ACLCHECK_OK && OidIsValid(get_relation_policy_oid(relid, POLICY, true));
}

static void grant_to_owner(const OndSync *sync) {
  char *name = ond_state_table_name(sync->sync_id);
  const char *owner = quote_identifier(GetUserNameFromId(sync->owner, false));

  run(psprintf("GRANT SELECT ON TABLE %s TO %s", name, owner));
  run(psprintf("CREATE POLICY " POLICY " ON %s FOR SELECT TO %s USING (true)", name, owner));
}

void ond_state_table_grant(const OndSync *sync) {
  Oid relid = get_relname_relid(psprintf("state_" INT64_FORMAT, sync->sync_id), ond_extension(false)->schema);

  if (!OidIsValid(relid) || GetUserNameFromId(sync->owner, true) == NULL || owner_may_read(sync, relid))
    return;
  if (OidIsValid(get_relation_policy_oid(relid, POLICY, true)))
    run(psprintf("DROP POLICY " POLICY " ON %s", ond_state_table_name(sync->sync_id)));
  grant_to_owner(sync);
}

void ond_state_table_create(const OndSync *sync, const OndModel *model) {
  char *name = ond_state_table_name(sync->sync_id);
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
  grant_to_owner(sync);
  comment(name, sync);
  depend_on_extension(relid);
}

int64 ond_state_table_adopt(const OndSync *sync) {
  int64 sync_id = sync->sync_id;
  Oid relid = get_relname_relid(psprintf("state_" INT64_FORMAT, sync_id), ond_extension(false)->schema);
  bool isnull;

  if (!OidIsValid(relid))
    return -1;
  (void)deleteDependencyRecordsForSpecific(RelationRelationId, relid, DEPENDENCY_AUTO, ExtensionRelationId, ond_extension(false)->extension);
  depend_on_extension(relid);
  ond_state_table_grant(sync);
  ond_spi(SPI_OK_SELECT, psprintf("SELECT pg_catalog.count(*) FROM %s", ond_state_table_name(sync_id)), 0, NULL, NULL, NULL);
  return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
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

static Oid find_table(int64 sync_id) {
  Oid relid = get_relname_relid(psprintf("state_" INT64_FORMAT, sync_id), ond_extension(false)->schema);

  if (!OidIsValid(relid))
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("state table %s is missing", ond_state_table_name(sync_id)),
                    errhint("Drop the sync and create it again; what was delivered is not known any more.")));
  return relid;
}

void ond_state_table_require(const OndSync *sync) {
  char *owner = GetUserNameFromId(sync->owner, true);

  if (!owner_may_read(sync, find_table(sync->sync_id)))
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                    errmsg("role \"%s\", the owner of sync \"%s\", may not read its state table", owner == NULL ? "(dropped)" : owner, sync->name),
                    errdetail("DROP OWNED takes this right."), errhint("ondatra.resume_sync(%s) gives it back.", quote_literal_cstr(sync->name))));
}

const char **ond_state_key_types(int64 sync_id, int n_keys) {
  const char **types = palloc(sizeof(char *) * n_keys);
  Oid relid = find_table(sync_id);

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

enum { W_HASH, W_REFUSED, W_RETRY_AT, W_ATTEMPTS, W_DOUBT_OP, W_DOUBT_HASH, W_SENT_AT, W_CHANGE_ID, W_REMOTE_ID, W_REMOTE, W_KEPT, W_SYNCED, W_COLUMNS };

static const Oid write_elements[W_COLUMNS] = {UUIDOID, UUIDOID, TIMESTAMPTZOID, INT4OID, CHAROID, UUIDOID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID,
                                              TEXTOID, TIMESTAMPTZOID};
static const Oid write_arrays[W_COLUMNS] = {UUIDARRAYOID,        UUIDARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, CHAR_ARRAY, UUIDARRAYOID,
                                            TIMESTAMPTZARRAYOID, INT8ARRAYOID, TEXTARRAYOID,        TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID};

/* The row's columns but the key; _remote and _kept still as text. */
static void set_values(const OndStateWrite *w, TimestampTz now, Datum *values, bool *nulls) {
  const OndKeyState *s = &w->state;

  memset(nulls, true, W_COLUMNS);
#define SET(column, datum) (values[column] = (datum), nulls[column] = false)
  if (s->has_accepted)
    SET(W_HASH, hash_datum(&s->accepted));
  if (s->has_refused) {
    SET(W_REFUSED, hash_datum(&s->refused));
    SET(W_RETRY_AT, TimestampTzGetDatum(ond_from_unix_us(s->retry_at)));
  }
  SET(W_ATTEMPTS, Int32GetDatum(s->has_refused ? s->attempts : 0));
  if (s->doubt_op != OND_OP_NONE) {
    SET(W_DOUBT_OP, CharGetDatum(ond_doubt_letter(s)));
    SET(W_DOUBT_HASH, hash_datum(&s->doubt_hash));
  }
  if (s->sent_at != 0)
    SET(W_SENT_AT, TimestampTzGetDatum(ond_from_unix_us(s->sent_at)));
  if (s->change_id != 0)
    SET(W_CHANGE_ID, Int64GetDatum(s->change_id));
  if (w->remote_id != NULL)
    SET(W_REMOTE_ID, CStringGetTextDatum(ond_from_utf8(w->remote_id, strlen(w->remote_id))));
  if (w->remote != NULL)
    SET(W_REMOTE, CStringGetTextDatum(ond_from_utf8(w->remote, strlen(w->remote))));
  if (w->kept != NULL)
    SET(W_KEPT, CStringGetTextDatum(pg_any_to_server(w->kept, (int)strlen(w->kept), PG_UTF8)));
  if (w->accepted_now)
    SET(W_SYNCED, TimestampTzGetDatum(now));
#undef SET
}

static void set_write(Column *columns, int i, const OndStateWrite *w, TimestampTz now) {
  Datum values[W_COLUMNS];
  bool nulls[W_COLUMNS];

  set_values(w, now, values, nulls);
  for (int c = 0; c < W_COLUMNS; c++)
    if (!nulls[c])
      column_set(&columns[c], i, values[c]);
}

static void append_upsert(StringInfo s, int64 sync_id, int n_keys, const char *const *types) {
  static const char *const names = "_hash, _refused, _retry_at, _attempts, _doubt_op, _doubt_hash, _sent_at, _change_id, _remote_id, _remote, _kept, _synced_at";

  appendStringInfo(s, "INSERT INTO %s AS s (", ond_state_table_name(sync_id));
  for (int i = 0; i < n_keys; i++)
    appendStringInfo(s, "k%d, ", i + 1);
  appendStringInfo(s, "%s) SELECT ", names);
  for (int i = 0; i < n_keys; i++)
    appendStringInfo(s, "u.k%d::%s, ", i + 1, types[i]);
  for (int i = 0; i < W_COLUMNS; i++)
    appendStringInfo(s, "%su.a%d%s", i > 0 ? ", " : "", i + 1, i == W_REMOTE || i == W_KEPT ? "::pg_catalog.jsonb" : "");
  appendStringInfoString(s, " FROM ");
  append_unnest(s, n_keys, W_COLUMNS, false);
  appendStringInfoString(s, " ON CONFLICT (");
  for (int i = 0; i < n_keys; i++)
    appendStringInfo(s, "%sk%d", i > 0 ? ", " : "", i + 1);
  appendStringInfoString(s, ") DO UPDATE SET _hash = excluded._hash, _refused = excluded._refused, _retry_at = excluded._retry_at,"
                            " _attempts = excluded._attempts, _doubt_op = excluded._doubt_op, _doubt_hash = excluded._doubt_hash,"
                            " _sent_at = excluded._sent_at, _change_id = excluded._change_id, _remote_id = COALESCE(excluded._remote_id, s._remote_id),"
                            " _remote = COALESCE(excluded._remote, s._remote), _kept = COALESCE(excluded._kept, s._kept), _synced_at = COALESCE(excluded._synced_at, s._synced_at)");
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

/* --- new rows --------------------------------------------------------------------------------------------- */

/*
 * New rows go past the executor, as COPY's do: one WAL record a page, no speculative insertion, no arrays. That is a third of a statement's work, and
 * most of what a first run has to do in the database.
 */
#define INSERT_ROWS 1000

typedef struct Insert {
  Relation table;
  Relation index;             /* of the primary key */
  IndexInfo *index_info;
  BulkInsertState bulk;
  int n_keys;
  FmgrInfo key_inputs[OND_KEYS_MAX];
  Oid key_params[OND_KEYS_MAX];
  TupleTableSlot **slots;
} Insert;

/* As it was created: nothing that only the executor would serve. */
static bool is_plain(Relation table, int n_keys) {
  return table->rd_rel->relkind == RELKIND_RELATION && RelationGetNumberOfAttributes(table) == n_keys + W_COLUMNS && table->trigdesc == NULL &&
         table->rd_rules == NULL && list_length(RelationGetIndexList(table)) == 1 && OidIsValid(ond_compat_primary_key(table));
}

static Datum key_value(Insert *in, int key, OndBytes text) {
  if (TupleDescAttr(RelationGetDescr(in->table), key)->atttypid == TEXTOID)
    return bytes_datum(text);
  return InputFunctionCall(&in->key_inputs[key], pnstrdup(text.p, text.n), in->key_params[key], -1);
}

static void fill_slot(Insert *in, TupleTableSlot *slot, const OndStateWrite *w, TimestampTz now) {
  Datum values[W_COLUMNS];
  bool nulls[W_COLUMNS];

  ExecClearTuple(slot);
  memset(slot->tts_isnull, true, (Size)slot->tts_tupleDescriptor->natts);
  for (int k = 0; k < in->n_keys; k++) {
    slot->tts_values[k] = key_value(in, k, w->key_text[k]);
    slot->tts_isnull[k] = false;
  }
  set_values(w, now, values, nulls);
  if (!nulls[W_REMOTE])
    values[W_REMOTE] = DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(values[W_REMOTE])));
  if (!nulls[W_KEPT])
    values[W_KEPT] = DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(values[W_KEPT])));
  for (int c = 0; c < W_COLUMNS; c++) {
    slot->tts_values[in->n_keys + c] = values[c];
    slot->tts_isnull[in->n_keys + c] = nulls[c];
  }
  ExecStoreVirtualTuple(slot);
}

static void insert_chunk(Insert *in, int n, const OndStateWrite **writes) {
  TimestampTz now = GetCurrentTimestamp();

  for (int i = 0; i < n; i++)
    fill_slot(in, in->slots[i], writes[i], now);
  table_multi_insert(in->table, in->slots, n, GetCurrentCommandId(true), 0, in->bulk);
  for (int i = 0; i < n; i++) {
    TupleTableSlot *slot = in->slots[i];

    /* the key's columns are the table's first ones, in the index's order */
    slot_getsomeattrs(slot, in->n_keys);
    index_insert(in->index, slot->tts_values, slot->tts_isnull, &slot->tts_tid, in->table, UNIQUE_CHECK_YES, false, in->index_info);
  }
}

static void insert_init(Insert *in, int n) {
  TupleDesc desc = RelationGetDescr(in->table);

  in->index = index_open(ond_compat_primary_key(in->table), RowExclusiveLock);
  in->index_info = BuildIndexInfo(in->index);
  in->bulk = GetBulkInsertState();
  for (int k = 0; k < in->n_keys; k++) {
    Oid input;

    getTypeInputInfo(TupleDescAttr(desc, k)->atttypid, &input, &in->key_params[k]);
    fmgr_info(input, &in->key_inputs[k]);
  }
  in->slots = palloc(sizeof(TupleTableSlot *) * n);
  desc = CreateTupleDescCopy(desc); /* not counted: a thousand references to one descriptor are slow to give back */
  for (int i = 0; i < n; i++)
    in->slots[i] = MakeSingleTupleTableSlot(desc, table_slot_callbacks(in->table));
}

/* False: the table has more to it than we know; nothing was done. */
static bool insert_rows(int64 sync_id, int n_keys, int n, const OndStateWrite **writes) {
  Insert in = {.n_keys = n_keys};
  int n_slots = Min(n, INSERT_ROWS);

  in.table = table_open(get_relname_relid(psprintf("state_" INT64_FORMAT, sync_id), ond_extension(false)->schema), RowExclusiveLock);
  if (!is_plain(in.table, n_keys)) {
    table_close(in.table, NoLock);
    return false;
  }
  insert_init(&in, n_slots);
  for (int i = 0; i < n; i += INSERT_ROWS)
    insert_chunk(&in, Min(n - i, INSERT_ROWS), writes + i);
  for (int i = 0; i < n_slots; i++)
    ExecDropSingleTupleTableSlot(in.slots[i]);
  table_finish_bulk_insert(in.table, 0);
  FreeBulkInsertState(in.bulk);
  index_close(in.index, NoLock);
  table_close(in.table, NoLock);
  CommandCounterIncrement();
  return true;
}

/* --- all -------------------------------------------------------------------------------------------------- */

void ond_state_write(int64 sync_id, int n_keys, const char *const *types, int n, const OndStateWrite *writes) {
  const OndStateWrite **added = palloc(sizeof(OndStateWrite *) * Max(n, 1));
  const OndStateWrite **kept = palloc(sizeof(OndStateWrite *) * Max(n, 1));
  const OndStateWrite **removed = palloc(sizeof(OndStateWrite *) * Max(n, 1));
  int n_added = 0, n_kept = 0, n_removed = 0;

  for (int i = 0; i < n; i++) {
    if (ond_key_state_is_empty(&writes[i].state))
      removed[n_removed++] = &writes[i];
    else if (writes[i].is_new)
      added[n_added++] = &writes[i];
    else
      kept[n_kept++] = &writes[i];
  }
  if (n_added > 0 && !insert_rows(sync_id, n_keys, n_added, added))
    write_rows(sync_id, n_keys, types, n_added, added);
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
  ond_doubt_from_letter(s, isnull ? OND_OP_NONE : DatumGetChar(d));
  (void)get_hash(tuple, desc, 7, &s->doubt_hash);
  s->sent_at = get_time(tuple, desc, 8);
  d = SPI_getbinval(tuple, desc, 9, &isnull);
  s->change_id = isnull ? 0 : DatumGetInt64(d);
}

/* Column c of the current row as UTF-8. */
static OndBytes utf8_value(HeapTuple tuple, TupleDesc desc, int c) {
  char *text = SPI_getvalue(tuple, desc, c);

  if (text == NULL)
    return OND_BYTES_NONE;
  text = pg_server_to_any(text, (int)strlen(text), PG_UTF8);
  return (OndBytes){text, strlen(text)};
}

void ond_state_read(int64 sync_id, int n_keys, const char *const *types, int n, const OndBytes *const *key_texts, bool *found, OndKeyState *states,
                    OndBytes *kept) {
  Oid arg_types[OND_KEYS_MAX];
  Datum args[OND_KEYS_MAX];
  StringInfoData s;
  uint64 rows;

  memset(found, false, sizeof(bool) * n);
  key_arrays(n_keys, n, key_texts, arg_types, args);
  initStringInfo(&s);
  appendStringInfoString(&s, "SELECT u.n, s._hash, s._refused, s._retry_at, s._attempts, s._doubt_op, s._doubt_hash, s._sent_at, s._change_id, s._kept::text FROM ");
  append_unnest(&s, n_keys, 0, true);
  appendStringInfo(&s, " JOIN %s s ON ", ond_state_table_name(sync_id));
  append_key_match(&s, n_keys, types);
  rows = ond_spi(SPI_OK_SELECT, s.data, n_keys, arg_types, args, NULL);
  for (uint64 r = 0; r < rows; r++) {
    bool isnull;
    int i = (int)DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, 1, &isnull)) - 1;

    found[i] = true;
    get_state(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, &states[i]);
    kept[i] = utf8_value(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, 10);
  }
}

void ond_state_unkeep(int64 sync_id, int n, char *const *columns) {
  Oid types[1] = {TEXTARRAYOID};
  Datum values[1];
  Column c;

  column_init(&c, TEXTOID, n);
  for (int i = 0; i < n; i++)
    column_set(&c, i, CStringGetTextDatum(columns[i]));
  values[0] = column_array(&c, n);
  ond_spi(SPI_OK_UPDATE,
          psprintf("UPDATE %s SET _kept = CASE WHEN pg_catalog.jsonb_typeof(_kept) OPERATOR(pg_catalog.=) 'array' THEN (SELECT pg_catalog.jsonb_agg(e.place"
                   " OPERATOR(pg_catalog.-) $1 ORDER BY e.n) FROM pg_catalog.jsonb_array_elements(_kept) WITH ORDINALITY e(place, n))"
                   " ELSE NULLIF(_kept OPERATOR(pg_catalog.-) $1, '{}') END WHERE _kept IS NOT NULL",
                   ond_state_table_name(sync_id)),
          1, types, values, NULL);
}

int64 ond_state_count(int64 sync_id) {
  bool isnull;

  ond_spi(SPI_OK_SELECT, psprintf("SELECT pg_catalog.count(*) FROM %s", ond_state_table_name(sync_id)), 0, NULL, NULL, NULL);
  return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}
