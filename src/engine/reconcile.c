/*
 * reconcile.c - see reconcile.h.
 *
 * Rows of the model and records of the list are sorted together by the key that the destination knows them by (connector/compare.h), so that what belongs together comes
 * in succession: memory is that of the sort and of one key, whatever there is. What is to be written is stored first and written at the end, in
 * the transaction of the comparison: all of it or nothing.
 *
 * A list that tells no key is matched by the remote ids that the state table has: then only rows that were delivered can be found in it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"

#include "catalog/edit.h"
#include "catalog/session.h"
#include "catalog/utf8.h"
#include "catalog/settings.h"
#include "connector/compare.h"
#include "connector/members.h"
#include "engine/encode.h"
#include "engine/kept.h"
#include "engine/reconcile.h"
#include "engine/record.h"
#include "engine/resume.h"
#include "engine/state_table.h"

#define DETAIL_BYTES_MAX ((size_t)16 * 1024 * 1024)
#define KEY_BYTES_MAX    2000
#define SHARED_IDS_MAX   10000

enum { OURS, THEIRS };

/* What has one key. */
typedef struct KeyGroup {
  StringInfoData key;
  bool open;
  int64 n[2];                 /* different rows, different records */
  OndChangeRow *first[2], *second[2];
} KeyGroup;

typedef struct Reconciler {
  const OndReconcileInput *in;
  const OndSync *sync;
  int n_keys;
  bool by_id;                 /* the list tells no key */
  bool shared_ids;            /* ids that several keys have are looked for */
  bool texts;
  bool *numeric;              /* key columns that are numbers */
  const char **skip;          /* fields that are sent but not compared */
  MemoryContext context;      /* of a group: reset for each */
  Tuplesortstate *sort;
  TupleTableSlot *in_slot, *out_slot;
  OndBuf key, fields;
  OndStore *marks;
  int64 now;
  OndReconcileCounts counts;
} Reconciler;

/* --- checks ----------------------------------------------------------------------------------------------- */

void ond_reconcile_check(const OndSpec *spec) {
  const OndConnector *c = spec->connector;

  if (ond_connector_list(c) == NULL)
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("the object of sync \"%s\" has no \"list\"", spec->sync->name),
                    errhint("Describe in \"list\" of the object how its records are read.")));
  if (!ond_list_tells_key(c, spec->n_keys) && !ond_list_tells_id(c))
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("the list of sync \"%s\" does not say which record is which", spec->sync->name),
                    errhint("Add \"key\" to \"list\" of the object: a JSON pointer to the key in a record.")));
  if (ond_jobs_are_open(spec->sync->sync_id))
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("an asynchronous job of an earlier run of sync \"%s\" is still open", spec->sync->name),
                    errdetail("What it does to the destination is not known yet."), errhint("Call ondatra.run_sync() first: it asks the job for its end.")));
}

/* --- telling ---------------------------------------------------------------------------------------------- */

static void append_text_value(StringInfo s, OndBytes text) {
  if (text.p == NULL)
    appendStringInfoString(s, "null");
  else
    ond_append_json_string(s, text.p, text.n);
}

static void append_text(StringInfo s, const char *name, OndBytes text) {
  appendStringInfo(s, "%s\"%s\": ", s->len > 1 ? ", " : "", name);
  append_text_value(s, text);
}

static void append_raw(StringInfo s, const char *name, const char *json, size_t n) {
  appendStringInfo(s, "%s\"%s\": ", s->len > 1 ? ", " : "", name);
  appendBinaryStringInfo(s, json, (int)n);
}

static void begin_detail(StringInfo s) {
  initStringInfo(s);
  appendStringInfoChar(s, '{');
}

static const char *json_of(OndBytes json) {
  return pnstrdup(json.p, json.n);
}

/* A record's id as the state table would have it. */
static OndBytes id_of(const OndChangeRow *row) {
  return row->row.remote_id;
}

/* 12, -0.5: what may stand in JSON as it is. */
static bool is_json_number(OndBytes text) {
  size_t i = text.n > 0 && text.p[0] == '-';
  size_t digits = 0, fraction = 0;

  if (i < text.n && text.p[i] == '0' && i + 1 < text.n && text.p[i + 1] != '.')
    return false;
  for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
    digits++;
  if (i == text.n || text.p[i] != '.')
    return i == text.n && digits > 0;
  for (i++; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
    fraction++;
  return i == text.n && digits > 0 && fraction > 0;
}

/* {"id": 113}, as the record has it: no row of ours does. */
static const char *key_json_of(const Reconciler *r, const OndChangeRow *record) {
  StringInfoData s;

  if (r->by_id || record->n_keys != r->n_keys)
    return "null";
  begin_detail(&s);
  for (int i = 0; i < r->n_keys; i++) {
    OndBytes text = record->key_text[i];

    appendStringInfoString(&s, i > 0 ? "," : "");
    ond_append_json_string(&s, r->in->spec->keys[i].member, strlen(r->in->spec->keys[i].member));
    appendStringInfoChar(&s, ':');
    if (r->numeric[i] && is_json_number(text))
      appendBinaryStringInfo(&s, text.p, (int)text.n);
    else
      ond_append_json_string(&s, text.p, text.n);
  }
  appendStringInfoChar(&s, '}');
  return s.data;
}

static void tell(Reconciler *r, const char *key, const char *problem, StringInfo detail) {
  appendStringInfoChar(detail, '}');
  r->in->host->finding(key, problem, detail->data);
}

/* --- marking ---------------------------------------------------------------------------------------------- */

static bool in_doubt(const OndChangeRow *row) {
  return row->has_before && row->before.doubt_op != OND_OP_NONE;
}

static bool same_bytes(OndBytes a, OndBytes b) {
  return (a.p == NULL) == (b.p == NULL) && a.n == b.n && (a.p == NULL || memcmp(a.p, b.p, a.n) == 0);
}

/* An object as PostgreSQL writes it against one as the API did: only one that has a single member is sure to look alike. */
static bool same_capture(OndBytes stored, OndBytes listed) {
  OndBuf one, other;
  bool same;

  if (stored.p == NULL)
    return false;
  ond_buf_init(&one, DETAIL_BYTES_MAX);
  ond_buf_init(&other, DETAIL_BYTES_MAX);
  same = ond_json_compact(stored, &one) && ond_json_compact(listed, &other) && one.len == other.len && memcmp(one.data, other.data, one.len) == 0;
  ond_buf_free(&one);
  ond_buf_free(&other);
  return same;
}

/* ours: the row whose state is written, theirs: the record that it is now said to be; NULL: none. kept: what goes along with its acceptance. */
static void mark(Reconciler *r, const OndChangeRow *ours, const OndChangeRow *theirs, const OndKeyState *after, OndBytes kept) {
  OndChangeDraft draft;

  memset(&draft, 0, sizeof(draft));
  draft.op = OND_OP_NONE;
  draft.has_before = ours->has_before;
  draft.before = ours->before;
  draft.after = *after;
  draft.n_keys = r->n_keys;
  memcpy(draft.key_text, ours->key_text, sizeof(draft.key_text));
  draft.key_json = ours->key_json;
  draft.kept = kept;
  if (theirs != NULL) {
    draft.remote_id = theirs->row.remote_id;
    draft.remote = theirs->row.remote;
  }
  ond_store_add(r->marks, &draft);
}

/* A doubt is settled by the record's being there, unless another version than this may still arrive. */
static bool may_adopt(const Reconciler *r, const OndChangeRow *ours) {
  const OndKeyState *s = &ours->before;

  return !in_doubt(ours) || ond_hash_equal(s->doubt_hash, ours->hash) || s->sent_at + r->in->in_doubt_wait_us <= r->now;
}

static void adopt(Reconciler *r, const OndChangeRow *ours, const OndChangeRow *theirs) {
  const OndKeyState *s = &ours->before;
  OndKeyState after;
  bool known = ours->has_before && s->has_accepted && ond_hash_equal(s->accepted, ours->hash) && !s->has_refused && !in_doubt(ours);

  if (known && (id_of(theirs).p == NULL || same_bytes(id_of(ours), id_of(theirs))) &&
      (theirs->row.remote.p == NULL || same_capture(ours->row.remote, theirs->row.remote)) && (ours->kept.p == NULL || ond_kept_is(ours->kept_before, ours->kept)))
    return;
  if (!may_adopt(r, ours))
    return;
  memset(&after, 0, sizeof(after));
  after.has_accepted = true;
  after.accepted = ours->hash;
  after.sent_at = ours->has_before ? s->sent_at : 0;
  after.change_id = ours->has_before ? s->change_id : 0;
  mark(r, ours, theirs, &after, ours->kept);
  r->counts.adopted++;
}

/* Delivered in a version that nobody has. A key in doubt goes out again by itself. */
static void mark_unknown(Reconciler *r, const OndChangeRow *ours, const OndChangeRow *theirs) {
  OndKeyState after;

  if (in_doubt(ours))
    return;
  memset(&after, 0, sizeof(after));
  after.has_accepted = true;
  after.accepted = OND_HASH_UNKNOWN;
  after.sent_at = ours->before.sent_at;
  after.change_id = ours->before.change_id;
  mark(r, ours, theirs, &after, OND_BYTES_NONE);
  r->counts.marked++;
}

static void mark_missing(Reconciler *r, const OndChangeRow *ours) {
  OndKeyState after;

  if (in_doubt(ours))
    return;
  memset(&after, 0, sizeof(after));
  after.sent_at = ours->before.sent_at;
  after.change_id = ours->before.change_id;
  mark(r, ours, NULL, &after, OND_BYTES_NONE);
  r->counts.marked++;
}

/* Whether the texts are values of the state table's key columns: their input functions raise. */
static bool key_fits(const Reconciler *r, const OndChangeRow *record) {
  MemoryContext saved = CurrentMemoryContext;
  ResourceOwner owner = CurrentResourceOwner;
  volatile bool ok = true;
  size_t bytes = 0;

  for (int i = 0; i < r->n_keys; i++)
    bytes += record->key_text[i].n;
  if (bytes > KEY_BYTES_MAX)
    return false;
  BeginInternalSubTransaction(NULL);
  MemoryContextSwitchTo(saved);
  PG_TRY();
  {
    for (int i = 0; i < r->n_keys; i++) {
      Oid input, param;
      char *text = pg_any_to_server(pnstrdup(record->key_text[i].p, record->key_text[i].n), (int)record->key_text[i].n, PG_UTF8);

      getTypeInputInfo(r->in->spec->keys[i].type, &input, &param);
      (void)OidInputFunctionCall(input, text, param, -1);
    }
    ReleaseCurrentSubTransaction();
  }
  PG_CATCH();
  {
    MemoryContextSwitchTo(saved);
    FlushErrorState();
    RollbackAndReleaseCurrentSubTransaction();
    ok = false;
  }
  PG_END_TRY();
  MemoryContextSwitchTo(saved);
  CurrentResourceOwner = owner;
  return ok;
}

/* --- what was found --------------------------------------------------------------------------------------- */

/* A row with the record's key: it is delivered, and has left the model. */
static void mark_extra(Reconciler *r, const OndChangeRow *record, const char *key) {
  OndChangeRow row;

  memset(&row, 0, sizeof(row));
  row.has_before = true; /* never a conflict: should another spelling of the key be there, it is that row */
  for (int i = 0; i < record->n_keys; i++) {
    char *own = ond_from_utf8(record->key_text[i].p, record->key_text[i].n);

    row.key_text[i] = (OndBytes){own, strlen(own)};
  }
  row.key_json = (OndBytes){key, strlen(key)};
  mark_unknown(r, &row, record);
}

static void find_extra(Reconciler *r, const OndChangeRow *record) {
  const char *key = key_json_of(r, record);
  bool known = strcmp(key, "null") != 0;
  StringInfoData detail;

  begin_detail(&detail);
  append_text(&detail, "remote_id", id_of(record));
  if ((r->in->repair & OND_REPAIR_EXTRA) != 0) {
    if (known && key_fits(r, record))
      mark_extra(r, record, key);
    else
      append_text(&detail, "not_repaired", known ? OND_BYTES_LIT("the key has no form that the key column could have") : OND_BYTES_LIT("the record has no key"));
  }
  tell(r, key, "extra", &detail);
  r->counts.extra++;
}

static void find_missing(Reconciler *r, const OndChangeRow *ours) {
  StringInfoData detail;

  begin_detail(&detail);
  append_text(&detail, "remote_id", id_of(ours));
  if (in_doubt(ours))
    append_raw(&detail, "in_doubt", "true", 4);
  if ((r->in->repair & OND_REPAIR_MISSING) != 0)
    mark_missing(r, ours);
  tell(r, json_of(ours->key_json), "missing", &detail);
  r->counts.missing++;
}

/* A run would send the row, whatever the destination has. */
static bool is_pending(const OndChangeRow *ours) {
  const OndKeyState *s = &ours->before;

  return !ours->has_before || !s->has_accepted || !ond_hash_equal(s->accepted, ours->hash);
}

static void find_different(Reconciler *r, const OndChangeRow *ours, const OndChangeRow *theirs, bool readable, bool other_id) {
  StringInfoData detail;

  begin_detail(&detail);
  append_raw(&detail, "fields", r->fields.data, r->fields.len);
  if (!readable)
    append_text(&detail, "message", OND_BYTES_LIT("the record or the row is too large to compare"));
  if (other_id) {
    StringInfoData ids;

    begin_detail(&ids);
    append_text(&ids, "model", id_of(ours));
    append_text(&ids, "destination", id_of(theirs));
    appendStringInfoChar(&ids, '}');
    append_raw(&detail, "remote_id", ids.data, ids.len);
  }
  if (is_pending(ours))
    append_raw(&detail, "pending", "true", 4);
  if ((r->in->repair & OND_REPAIR_DIFFERENT) != 0 && readable)
    mark_unknown(r, ours, theirs);
  tell(r, json_of(ours->key_json), "different", &detail);
  r->counts.different++;
}

static void compare(Reconciler *r, const OndChangeRow *ours, const OndChangeRow *theirs) {
  bool other_id = id_of(ours).p != NULL && id_of(theirs).p != NULL && !same_bytes(id_of(ours), id_of(theirs));
  bool takes = (r->in->repair & OND_REPAIR_ADOPT) != 0;
  int n;

  ond_buf_reset(&r->fields);
  n = ond_compare_fields(ours->row.fields, theirs->row.fields, r->texts, ond_connector_null(r->in->spec->connector), r->skip, &r->fields);
  if (n == 0 && (!other_id || takes)) {
    r->counts.equal++;
    if (takes)
      adopt(r, ours, theirs);
  } else
    find_different(r, ours, theirs, n >= 0, other_id);
}

/* Then find_shared_ids() tells it. */
static bool shares_id(const Reconciler *r, const KeyGroup *g) {
  const OndChangeRow *a = g->first[OURS];
  const OndChangeRow *b = g->second[OURS];

  return r->shared_ids && a->before.has_accepted && b->before.has_accepted && id_of(a).p != NULL && same_bytes(id_of(a), id_of(b));
}

/* The two that are told, in the order of their texts. */
static void order_two(KeyGroup *g, int side) {
  OndBytes a = side == OURS ? g->first[side]->key_json : id_of(g->first[side]);
  OndBytes b = side == OURS ? g->second[side]->key_json : id_of(g->second[side]);

  if (a.p != NULL && b.p != NULL && (memcmp(a.p, b.p, Min(a.n, b.n)) > 0 || (memcmp(a.p, b.p, Min(a.n, b.n)) == 0 && a.n > b.n))) {
    OndChangeRow *first = g->first[side];

    g->first[side] = g->second[side];
    g->second[side] = first;
  }
}

static void find_duplicate(Reconciler *r, KeyGroup *g, int side) {
  const OndChangeRow *ours;
  StringInfoData detail;

  order_two(g, side);
  ours = g->first[OURS];
  if (side == OURS && shares_id(r, g))
    return;
  begin_detail(&detail);
  if (side == OURS) {
    append_text(&detail, "message", OND_BYTES_LIT("several keys of this sync are one record at the destination"));
    appendStringInfo(&detail, ", \"keys\": [%s, %s]", json_of(ours->key_json), json_of(g->second[OURS]->key_json));
  } else {
    append_text(&detail, "message", OND_BYTES_LIT("several records of the destination have this key"));
    appendStringInfoString(&detail, ", \"remote_ids\": [");
    append_text_value(&detail, id_of(g->first[THEIRS]));
    appendStringInfoString(&detail, ", ");
    append_text_value(&detail, id_of(g->second[THEIRS]));
    appendStringInfoChar(&detail, ']');
  }
  appendStringInfo(&detail, ", \"count\": " INT64_FORMAT, g->n[side]);
  tell(r, ours != NULL ? json_of(ours->key_json) : key_json_of(r, g->first[THEIRS]), "duplicate", &detail);
  r->counts.duplicate++;
}

/* --- groups ----------------------------------------------------------------------------------------------- */

static void end_group(Reconciler *r, KeyGroup *g) {
  const OndChangeRow *ours = g->first[OURS];
  const OndChangeRow *theirs = g->first[THEIRS];

  if (g->n[OURS] > 1)
    find_duplicate(r, g, OURS);
  else if (g->n[THEIRS] > 1)
    find_duplicate(r, g, THEIRS);
  else if (ours == NULL)
    find_extra(r, theirs);
  else if (theirs == NULL) {
    if (ours->task.op != OND_OP_DELETE && ours->has_before && ours->before.has_accepted)
      find_missing(r, ours);
  } else if (ours->task.op == OND_OP_UPDATE)
    compare(r, ours, theirs);
  MemoryContextReset(r->context);
  memset(g->n, 0, sizeof(g->n));
  g->first[OURS] = g->first[THEIRS] = g->second[OURS] = g->second[THEIRS] = NULL;
  g->open = false;
}

/* Twins of one key are invalid rows, and known as such; a page that moved while the list was read gives a record twice. */
static bool is_same(const OndChangeRow *a, const OndChangeRow *b, int side) {
  if (side == OURS)
    return same_bytes(a->key_json, b->key_json);
  return same_bytes(id_of(a), id_of(b)) && (id_of(a).p != NULL || same_bytes(a->row.fields, b->row.fields));
}

static void add_to_group(Reconciler *r, KeyGroup *g, int side, const char *raw) {
  MemoryContext saved = MemoryContextSwitchTo(r->context);
  OndChangeRow *row = ond_store_row(raw);

  MemoryContextSwitchTo(saved);
  if (g->first[side] == NULL)
    g->first[side] = row;
  else if (is_same(g->first[side], row, side)) {
    pfree(row);
    return;
  } else if (g->second[side] == NULL)
    g->second[side] = row;
  else
    pfree(row);
  g->n[side]++;
}

static void walk(Reconciler *r) {
  KeyGroup g = {.open = false};

  initStringInfo(&g.key);
  while (tuplesort_gettupleslot(r->sort, true, false, r->out_slot, NULL)) {
    MemoryContext saved = MemoryContextSwitchTo(r->context);
    bool isnull;
    text *key = DatumGetTextPP(slot_getattr(r->out_slot, 1, &isnull));
    int side = DatumGetInt32(slot_getattr(r->out_slot, 2, &isnull));
    int n = (int)VARSIZE_ANY_EXHDR(key);

    CHECK_FOR_INTERRUPTS();
    if (g.open && (g.key.len != n || memcmp(g.key.data, VARDATA_ANY(key), n) != 0))
      end_group(r, &g);
    if (!g.open) {
      resetStringInfo(&g.key);
      appendBinaryStringInfo(&g.key, VARDATA_ANY(key), n);
      g.open = true;
    }
    add_to_group(r, &g, side, VARDATA_ANY(DatumGetByteaPP(slot_getattr(r->out_slot, 3, &isnull))));
    MemoryContextSwitchTo(saved);
  }
  if (g.open) {
    MemoryContext saved = MemoryContextSwitchTo(r->context);

    end_group(r, &g);
    MemoryContextSwitchTo(saved);
  }
}

/* --- sorting ---------------------------------------------------------------------------------------------- */

static void begin_sort(Reconciler *r) {
  static const Oid types[3] = {TEXTOID, INT4OID, BYTEAOID};
  TupleDesc desc = CreateTemplateTupleDesc(3);
  AttrNumber columns[2] = {1, 2};
  Oid operators[2] = {TextLessOperator, Int4LessOperator};
  Oid collations[2] = {C_COLLATION_OID, InvalidOid};
  bool nulls_first[2] = {false, false};

  for (int i = 0; i < 3; i++)
    TupleDescInitEntry(desc, (AttrNumber)(i + 1), NULL, types[i], -1, 0);
  r->sort = tuplesort_begin_heap(desc, 2, columns, operators, collations, nulls_first, ond_setting_work_mem_kb, NULL, TUPLESORT_NONE);
  r->in_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
  r->out_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
}

static void put(Reconciler *r, int side, StringInfo raw) {
  ExecClearTuple(r->in_slot);
  r->in_slot->tts_values[0] = PointerGetDatum(cstring_to_text_with_len(r->key.len > 0 ? r->key.data : "", (int)r->key.len));
  r->in_slot->tts_values[1] = Int32GetDatum(side);
  r->in_slot->tts_values[2] = PointerGetDatum(cstring_to_text_with_len(raw->data, raw->len));
  memset(r->in_slot->tts_isnull, false, 3);
  ExecStoreVirtualTuple(r->in_slot);
  tuplesort_puttupleslot(r->sort, r->in_slot);
}

/* The texts of the key that a row is known by, into r->key. False: it is not known. */
static bool natural_key(Reconciler *r, int side, const OndChangeRow *row) {
  OndBytes texts[OND_KEYS_MAX];
  OndBuf parts[OND_KEYS_MAX];
  bool ok = true;

  ond_buf_reset(&r->key);
  if (r->by_id)
    return id_of(row).p != NULL && ond_buf_append_bytes(&r->key, id_of(row));
  if (row->n_keys != r->n_keys)
    return false;
  if (side == THEIRS)
    return ond_natural_key(r->in->spec->connector, r->n_keys, row->key_text, r->numeric, &r->key);
  for (int i = 0; i < r->n_keys; i++) {
    ond_buf_init(&parts[i], DETAIL_BYTES_MAX);
    ok = ok && ond_json_scalar_text(row->keys[i], &parts[i]);
    texts[i] = (OndBytes){parts[i].len > 0 ? parts[i].data : "", parts[i].len};
  }
  ok = ok && ond_natural_key(r->in->spec->connector, r->n_keys, texts, r->numeric, &r->key);
  for (int i = 0; i < r->n_keys; i++)
    ond_buf_free(&parts[i]);
  return ok;
}

static void put_all(Reconciler *r, int side, OndStore *store) {
  MemoryContext saved = MemoryContextSwitchTo(r->context);
  StringInfoData raw;

  ond_store_rewind_all(store);
  for (;;) {
    const OndChangeRow *row;

    CHECK_FOR_INTERRUPTS();
    MemoryContextReset(r->context);
    initStringInfo(&raw);
    if (!ond_store_next_raw(store, &raw))
      break;
    row = ond_store_row(raw.data);
    if (side == OURS)
      r->counts.rows++;
    else
      r->counts.records++;
    if (natural_key(r, side, row))
      put(r, side, &raw);
    else if (side == THEIRS)
      find_extra(r, row);
  }
  MemoryContextSwitchTo(saved);
  ond_store_reset(store);
}

/* --- one remote id for several keys ----------------------------------------------------------------------- */

/* Rows that the destination took for one record, though their keys differ. */
static void find_shared_ids(Reconciler *r) {
  StringInfoData s;

  initStringInfo(&s);
  appendStringInfoString(&s, "pg_catalog.jsonb_build_object(");
  for (int i = 0; i < r->n_keys; i++)
    appendStringInfo(&s, "%s%s, k%d", i > 0 ? ", " : "", quote_literal_cstr(r->sync->keys[i]), i + 1);
  appendStringInfoString(&s, ")::pg_catalog.text");
  ond_spi(SPI_OK_SELECT,
          psprintf("SELECT pg_catalog.min(%s), pg_catalog.max(%s), pg_catalog.count(*)::pg_catalog.text, pg_catalog.to_json(_remote_id)::pg_catalog.text FROM %s"
                   " WHERE _remote_id IS NOT NULL AND _hash IS NOT NULL GROUP BY _remote_id HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1 LIMIT %d",
                   s.data, s.data, ond_state_table_name(r->sync->sync_id), SHARED_IDS_MAX),
          0, NULL, NULL, NULL);
  for (uint64 i = 0; i < SPI_processed; i++) {
    HeapTuple row = SPI_tuptable->vals[i];
    TupleDesc desc = SPI_tuptable->tupdesc;
    char *first = SPI_getvalue(row, desc, 1);
    StringInfoData detail;

    begin_detail(&detail);
    append_text(&detail, "message", OND_BYTES_LIT("several keys of this sync are one record at the destination"));
    appendStringInfo(&detail, ", \"keys\": [%s, %s], \"count\": %s, \"remote_id\": %s", first, SPI_getvalue(row, desc, 2), SPI_getvalue(row, desc, 3), SPI_getvalue(row, desc, 4));
    tell(r, first, "duplicate", &detail);
    r->counts.duplicate++;
  }
}

/* --- all -------------------------------------------------------------------------------------------------- */

static bool is_number(Oid type) {
  return type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID || type == FLOAT4OID || type == FLOAT8OID || type == OIDOID;
}

static void free_bufs(void *arg) {
  Reconciler *r = arg;

  ond_buf_free(&r->key);
  ond_buf_free(&r->fields);
}

static Reconciler *create(const OndReconcileInput *in) {
  Reconciler *r = palloc0(sizeof(Reconciler));
  MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
  const OndMapping *mapping = in->spec->mapping;
  int n = 0;

  r->in = in;
  r->sync = in->spec->sync;
  r->n_keys = in->spec->n_keys;
  r->by_id = !ond_list_tells_key(in->spec->connector, r->n_keys);
  r->shared_ids = !r->by_id && ond_list_tells_id(in->spec->connector);
  r->texts = ond_list_gives_texts(in->spec->connector);
  r->numeric = palloc0(sizeof(bool) * r->n_keys);
  for (int i = 0; i < r->n_keys; i++)
    r->numeric[i] = is_number(in->spec->keys[i].type);
  r->skip = palloc0(sizeof(char *) * (ond_mapping_count(mapping) + 2));
  for (int i = 0; i < ond_mapping_count(mapping); i++)
    if (!ond_mapping_field(mapping, i)->detect)
      r->skip[n++] = ond_mapping_field(mapping, i)->target;
  r->skip[n] = ond_list_folded_field(in->spec->connector);
  r->context = AllocSetContextCreate(CurrentMemoryContext, "ondatra reconcile group", ALLOCSET_DEFAULT_SIZES);
  r->marks = ond_store_create();
  r->now = ond_to_unix_us(GetCurrentTimestamp());
  ond_buf_init(&r->key, DETAIL_BYTES_MAX);
  ond_buf_init(&r->fields, DETAIL_BYTES_MAX);
  callback->func = free_bufs;
  callback->arg = r;
  MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
  return r;
}

void ond_reconcile_compare(const OndReconcileInput *in) {
  Reconciler *r = create(in);

  begin_sort(r);
  put_all(r, OURS, in->ours);
  put_all(r, THEIRS, in->theirs);
  tuplesort_performsort(r->sort);
  walk(r);
  ExecDropSingleTupleTableSlot(r->in_slot);
  ExecDropSingleTupleTableSlot(r->out_slot);
  tuplesort_end(r->sort);
  ond_record_settle(r->sync, r->n_keys, in->key_types, r->marks);
  ond_store_reset(r->marks);
  if (r->counts.marked > 0 && r->sync->options.cursor_column != NULL)
    ond_sync_rewind(r->sync->sync_id);
  if (r->shared_ids)
    find_shared_ids(r);
  in->host->found_all(&r->counts);
}
