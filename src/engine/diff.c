/*
 * diff.c - the receiver of the diff's statement; see diff.h.
 *
 * For each row of the result: read the state row, encode key and values, hash, ask the state machine (core/change.h), count, and hand what is
 * to be sent or settled to the store. Nothing else is kept.
 *
 * Duplicate keys without a second pass: with M rows that matched a state row, D state rows without a model row and S state rows in all, matched keys are
 * duplicated iff M > S - D; out of a merge join, iff a state row comes twice in succession, and S need not be counted. Unmatched ones are caught by a
 * bounded set of key hashes. Only when there is suspicion (or the set is full) the precise query runs, and only when it finds something the statement
 * runs once more, and counts the rows of each key: all twins are invalid. However many there are, none is kept in memory.
 *
 * Invariant: every model row gets exactly one verdict, so rows_scanned is the sum of the first seven.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "catalog/settings.h"
#include "catalog/utf8.h"
#include "engine/checks.h"
#include "engine/diff.h"
#include "engine/encode.h"
#include "engine/execute.h"
#include "engine/fields.h"
#include "engine/kept.h"
#include "engine/key_set.h"
#include "engine/state_table.h"
#include "engine/statement.h"

#define KEY_BYTES_MAX 2000
#define PROGRESS_ROWS 4096

typedef struct Receiver {
  DestReceiver pub;
  const OndDiffInput *input;
  const OndSpec *spec;
  OndDiff *diff;
  OndDiffColumns columns;
  MemoryContext row_context;  /* reset for every row */
  MemoryContext result_context;
  OndFields *fields;
  OndEncoder **key_encoders;
  FmgrInfo *key_outputs;
  StringInfoData key_json;
  OndBuf payload;
  /* duplicates */
  bool counting;              /* the statement counts the rows of each key: there are duplicates */
  OndKeySet keys;
  int64 matched, left;
  uint64 last_matched;        /* of the state row's key */
  bool repeated;              /* a state row came twice in succession */
  bool by_key;                /* all rows of a key come in succession */
  /* cursor */
  FmgrInfo cursor_cmp;
  Oid cursor_collation;
  Datum cursor_max;
  bool cursor_found;
  int64 next_change_id;
  uint64 seed;
} Receiver;

/* One row of the statement's result, decoded. Lives in row_context. */
typedef struct Row {
  TupleTableSlot *slot;
  bool has_state, present;
  OndKeyState state;
  uint64 key_hash;
  bool key_decoded;
  const char *problem;        /* why the row is invalid */
  const char *waits;          /* what it waits for */
  OndHash hash;
  /* set with key_decoded; not cleared for each row, which would cost more than an unchanged row's comparison */
  OndBytes key_text[OND_KEYS_MAX];
  OndBytes keys[OND_KEYS_MAX];
} Row;

/* --- decoding --------------------------------------------------------------------------------------------- */

static Datum get(const Row *row, int column, bool *isnull) {
  *isnull = row->slot->tts_isnull[column];
  return row->slot->tts_values[column];
}

static bool get_hash(const Row *row, int column, OndHash *hash) {
  bool isnull;
  Datum d = get(row, column, &isnull);

  if (!isnull)
    memcpy(hash->b, DatumGetUUIDP(d)->data, UUID_LEN);
  return !isnull;
}

static int64 get_time(const Row *row, int column) {
  bool isnull;
  Datum d = get(row, column, &isnull);

  return isnull ? 0 : ond_to_unix_us(DatumGetTimestampTz(d));
}

static void decode_state(const Receiver *r, Row *row) {
  const OndDiffColumns *c = &r->columns;
  OndKeyState *s = &row->state;
  bool isnull;
  Datum d;

  s->has_accepted = get_hash(row, c->hash, &s->accepted);
  s->has_refused = get_hash(row, c->refused, &s->refused);
  if (s->has_refused) {
    s->retry_at = get_time(row, c->retry_at);
    s->attempts = DatumGetInt32(get(row, c->attempts, &isnull));
  }
  d = get(row, c->doubt_op, &isnull);
  if (!isnull) {
    ond_doubt_from_letter(s, DatumGetChar(d));
    (void)get_hash(row, c->doubt_hash, &s->doubt_hash);
  }
  s->sent_at = get_time(row, c->sent_at);
  d = get(row, c->change_id, &isnull);
  s->change_id = isnull ? 0 : DatumGetInt64(d);
}

static const char *key_text(Receiver *r, int key, Datum value, Size *n) {
  Oid type = r->spec->keys[key].type;
  char *out;

  if (type == INT4OID || type == INT8OID) {
    out = palloc(MAXINT8LEN + 1);
    *n = pg_lltoa(type == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value), out);
    return out;
  }
  if (type == TEXTOID) {
    text *t = DatumGetTextPP(value);

    *n = VARSIZE_ANY_EXHDR(t);
    return VARDATA_ANY(t);
  }
  out = OutputFunctionCall(&r->key_outputs[key], value);
  *n = strlen(out);
  return out;
}

/* Equal keys hash alike: of a numeric's digits, zeros at the end do not count. */
static uint64 hash_key_part(const Receiver *r, int key, const char *text, Size n, uint64 hash) {
  if (r->spec->keys[key].type == NUMERICOID && memchr(text, '.', n) != NULL) {
    while (text[n - 1] == '0')
      n--;
    n -= text[n - 1] == '.';
  }
  return XXH3_64bits_withSeed(text, n, hash + key + 1);
}

static int first_key_column(const Receiver *r, const Row *row) {
  return row->present ? r->columns.model_keys : r->columns.state_keys;
}

static bool key_is_complete(const Receiver *r, const Row *row) {
  int first = first_key_column(r, row);

  for (int i = 0; i < r->spec->n_keys; i++)
    if (row->slot->tts_isnull[first + i])
      return false;
  return true;
}

/* The key's text and hash, from the model's side, or the state's when the key left. Done for rows that need it: an unchanged one does not. */
static void decode_key(Receiver *r, Row *row) {
  int first = first_key_column(r, row);
  Size bytes = 0;

  if (row->key_decoded)
    return;
  row->key_decoded = true;
  row->key_hash = r->seed;
  for (int i = 0; i < r->spec->n_keys; i++) {
    bool isnull;
    Datum d = get(row, first + i, &isnull);
    Size n = 0;

    row->key_text[i] = OND_BYTES_NONE;
    if (isnull)
      continue;
    row->key_text[i].p = key_text(r, i, d, &n);
    row->key_text[i].n = n;
    row->key_hash = hash_key_part(r, i, row->key_text[i].p, n, row->key_hash);
    bytes += n;
  }
  if (bytes > KEY_BYTES_MAX)
    row->problem = psprintf("the key has %zu bytes, at most %d are possible", bytes, KEY_BYTES_MAX);
}

/* {"id": 113} in key_json, and its values; the key is decoded. */
static void decode_key_json(Receiver *r, Row *row) {
  int first = first_key_column(r, row);
  int starts[OND_KEYS_MAX];

  decode_key(r, row);
  resetStringInfo(&r->key_json);
  appendStringInfoCharMacro(&r->key_json, '{');
  for (int i = 0; i < r->spec->n_keys; i++) {
    bool isnull;
    Datum d = get(row, first + i, &isnull);

    if (i > 0)
      appendStringInfoCharMacro(&r->key_json, ',');
    ond_append_json_string(&r->key_json, r->spec->keys[i].member, strlen(r->spec->keys[i].member));
    appendStringInfoCharMacro(&r->key_json, ':');
    starts[i] = r->key_json.len;
    if (isnull || row->key_text[i].n > KEY_BYTES_MAX || ond_encode(r->key_encoders[i], d, &r->key_json) != NULL) {
      r->key_json.len = starts[i];
      appendStringInfoString(&r->key_json, "null");
    }
    row->keys[i].n = (size_t)(r->key_json.len - starts[i]);
  }
  appendStringInfoCharMacro(&r->key_json, '}');
  for (int i = 0; i < r->spec->n_keys; i++)
    row->keys[i].p = r->key_json.data + starts[i];
}

/* --- keeping ---------------------------------------------------------------------------------------------- */

static void keep_invalid(Receiver *r, Row *row, const char *message) {
  OndDiff *diff = r->diff;
  MemoryContext saved;

  if (diff->n_invalid == OND_INVALID_KEPT_MAX) {
    diff->invalid_cut = true;
    return;
  }
  decode_key_json(r, row);
  saved = MemoryContextSwitchTo(r->result_context);
  if (diff->invalid == NULL)
    diff->invalid = palloc(sizeof(OndInvalidRow) * OND_INVALID_KEPT_MAX);
  diff->invalid[diff->n_invalid].key_json = pstrdup(r->key_json.data);
  diff->invalid[diff->n_invalid].message = pstrdup(message);
  diff->invalid[diff->n_invalid].op = row->has_state && row->state.has_accepted ? OND_OP_UPDATE : OND_OP_CREATE;
  diff->n_invalid++;
  MemoryContextSwitchTo(saved);
}

static OndBytes utf8_bytes(const char *text, Size n) {
  char *utf8 = pg_server_to_any(unconstify(char *, text), (int)n, PG_UTF8);

  return (OndBytes){utf8, utf8 == text ? n : strlen(utf8)};
}

/* What the state table has, in UTF-8. */
static OndBytes text_bytes(const Row *row, int column) {
  bool isnull;
  Datum d = get(row, column, &isnull);
  text *t;

  if (isnull)
    return OND_BYTES_NONE;
  t = DatumGetTextPP(d);
  return utf8_bytes(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
}

static OndBytes jsonb_bytes(const Row *row, int column) {
  bool isnull;
  Datum d = get(row, column, &isnull);
  char *json;

  if (isnull)
    return OND_BYTES_NONE;
  json = DatumGetCString(DirectFunctionCall1(jsonb_out, d));
  return utf8_bytes(json, strlen(json));
}

static void draft_payload(Receiver *r, OndChangeDraft *draft) {
  const OndBytes *values;

  draft->n_columns = r->spec->n_template_columns;
  draft->columns = ond_fields_of_templates(r->fields);
  values = ond_spec_form_values(r->spec, ond_fields_of_mapping(r->fields), &r->payload);
  ond_buf_reset(&r->payload);
  if (!ond_mapping_render(r->spec->mapping, values, &r->payload))
    ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("a row of the model is too large"),
                    errdetail("The fields of the row with the key %s pass 256 MB.", r->key_json.data)));
  draft->fields = (OndBytes){r->payload.data, r->payload.len};
}

/* A delete has only what was kept: templates find that in place of the model's columns. */
static void draft_kept_columns(Receiver *r, OndChangeDraft *draft) {
  static const OndBytes in_doubt = {"", 0};
  const OndSpec *spec = r->spec;
  OndBytes *columns = palloc0(sizeof(OndBytes) * Max(spec->n_template_columns, 1));

  for (int i = 0; i < spec->n_template_columns; i++)
    if (spec->template_kept[i] >= 0 && ond_kept_value(draft->kept_before, spec->kept_name[spec->template_kept[i]], &columns[i]) == OND_KEPT_IN_DOUBT)
      columns[i] = in_doubt;
  draft->n_columns = spec->n_template_columns;
  draft->columns = columns;
}

/* after: the state that it ends in when nothing is sent; NULL: none */
static void keep_change(Receiver *r, Row *row, OndOp op, const OndPlan *plan, const OndKeyState *after) {
  OndChangeDraft draft;
  bool isnull;

  decode_key_json(r, row);
  memset(&draft, 0, sizeof(draft));
  draft.op = op;
  draft.has_before = row->has_state;
  draft.before = row->state;
  if (after != NULL)
    draft.after = *after;
  draft.hash = op == OND_OP_DELETE ? OND_HASH_DELETE : row->hash;
  draft.change_id = plan->same_change ? row->state.change_id : r->next_change_id++;
  if (r->columns.ordinal >= 0 && row->present)
    draft.ordinal = DatumGetInt64(get(row, r->columns.ordinal, &isnull));
  draft.n_keys = r->spec->n_keys;
  memcpy(draft.key_text, row->key_text, sizeof(draft.key_text));
  memcpy(draft.keys, row->keys, sizeof(draft.keys));
  draft.key_json = (OndBytes){r->key_json.data, (size_t)r->key_json.len};
  if (row->has_state) {
    draft.remote_id = text_bytes(row, r->columns.remote_id);
    draft.remote = jsonb_bytes(row, r->columns.remote);
    draft.kept_before = jsonb_bytes(row, r->columns.kept);
  }
  if (plan->adopts || op == OND_OP_CREATE || op == OND_OP_UPDATE)
    draft.kept = ond_fields_kept(r->fields);
  if (op == OND_OP_CREATE || op == OND_OP_UPDATE)
    draft_payload(r, &draft);
  if (op == OND_OP_DELETE)
    draft_kept_columns(r, &draft);
  ond_store_add(r->input->store, &draft);
}

/* --- one row ---------------------------------------------------------------------------------------------- */

static void note_cursor(Receiver *r, Row *row) {
  bool isnull;
  Datum d;

  if (r->spec->cursor_value < 0 || !row->present)
    return;
  d = get(row, r->columns.values + r->spec->cursor_value, &isnull);
  if (isnull) {
    if (row->problem == NULL)
      row->problem = psprintf("%s, the cursor_column, is NULL", r->spec->sync->options.cursor_column);
    return;
  }
  if (!r->cursor_found || DatumGetInt32(FunctionCall2Coll(&r->cursor_cmp, r->cursor_collation, d, r->cursor_max)) > 0) {
    MemoryContext saved = MemoryContextSwitchTo(r->result_context);
    Oid type = getBaseType(r->spec->values[r->spec->cursor_value].type);
    int16 len;
    bool byval;

    get_typlenbyval(type, &len, &byval);
    if (r->cursor_found && !byval)
      pfree(DatumGetPointer(r->cursor_max));
    r->cursor_max = datumCopy(d, byval, len);
    r->cursor_found = true;
    MemoryContextSwitchTo(saved);
  }
}

/* True when other rows have the same key; the message is recorded with the first of them. */
static bool is_duplicate(Receiver *r, Row *row) {
  bool isnull;
  int64 rows = DatumGetInt64(get(row, r->columns.same_key, &isnull));
  StringInfoData s;

  if (rows < 2)
    return false;
  if (DatumGetInt64(get(row, r->columns.same_key + 1, &isnull)) > 1)
    return true;
  initStringInfo(&s);
  appendStringInfo(&s, "duplicate key: " INT64_FORMAT " rows have (", rows);
  for (int i = 0; i < r->spec->n_keys; i++)
    appendStringInfo(&s, "%s%s", i > 0 ? ", " : "", r->spec->keys[i].member);
  appendStringInfoString(&s, ")=(");
  for (int i = 0; i < r->spec->n_keys; i++)
    appendStringInfo(&s, "%s%s", i > 0 ? ", " : "", ond_to_utf8(pnstrdup(row->key_text[i].p, row->key_text[i].n)));
  appendStringInfoChar(&s, ')');
  keep_invalid(r, row, s.data);
  return true;
}

/* The same state row has the same bytes: no type's equality is needed. */
static uint64 hash_state_key(const Receiver *r, const Row *row) {
  const TupleTableSlot *slot = row->slot;
  uint64 hash = 0;

  for (int c = r->columns.state_keys; c < r->columns.state_keys + r->spec->n_keys; c++) {
    Form_pg_attribute att = TupleDescAttr(slot->tts_tupleDescriptor, c);
    Datum d = slot->tts_values[c];

    if (att->attbyval)
      hash = hash * UINT64CONST(0x9E3779B97F4A7C15) + d;
    else
      hash = XXH3_64bits_withSeed(DatumGetPointer(d), datumGetSize(d, false, att->attlen), hash);
  }
  return hash;
}

static void note_match(Receiver *r, const Row *row) {
  uint64 key = hash_state_key(r, row);

  r->repeated |= r->matched > 0 && key == r->last_matched;
  r->last_matched = key;
  r->matched++;
}

/* Counts the key for the search for duplicates; true when it is one. */
static bool note_key(Receiver *r, Row *row) {
  if (row->has_state)
    note_match(r, row);
  if (row->has_state && r->input->pass == OND_PASS_FULL && !r->counting)
    return false;
  decode_key(r, row);
  if (r->counting)
    return is_duplicate(r, row);
  ond_key_set_add(&r->keys, row->key_hash);
  return false;
}

/* A condition that is not true does not hold, NULL too. Rows that fail one and go all the same are only counted. */
static void check_row(Receiver *r, Row *row) {
  const OndSyncOptions *options = &r->spec->sync->options;

  for (int i = 0; i < options->n_checks; i++) {
    bool isnull;
    Datum holds;

    if (r->spec->check_value[i] < 0)
      continue;
    holds = get(row, r->columns.values + r->spec->check_value[i], &isnull);
    if (!isnull && DatumGetBool(holds))
      continue;
    r->diff->checks[i]++;
    if (options->checks[i].on_fail == OND_FAIL_INVALID && row->problem == NULL)
      row->problem = psprintf("check \"%s\" failed: %s", options->checks[i].name, options->checks[i].sql);
  }
}

/* Looks at a model row; OND_MODEL_INVALID when it cannot be sent (and recorded so). */
static OndPresence examine(Receiver *r, Row *row) {
  OndFieldsRow made;

  if (!key_is_complete(r, row))
    row->problem = "a column of the key is NULL";
  else if (note_key(r, row)) {
    row->problem = "duplicate key";
    check_row(r, row);
    return OND_MODEL_INVALID;
  }
  check_row(r, row);
  ond_fields_read(r->fields, row->slot->tts_values + r->columns.values, row->slot->tts_isnull + r->columns.values, &made);
  if (row->problem == NULL)
    row->problem = made.problem;
  row->waits = made.waits;
  note_cursor(r, row);
  if (row->problem != NULL) {
    keep_invalid(r, row, row->problem);
    return OND_MODEL_INVALID;
  }
  row->hash = made.version;
  return OND_MODEL_ROW;
}

/* Whether its columns are kept as they are. */
static bool has_kept(Receiver *r, Row *row) {
  return r->spec->n_kept == 0 || (row->has_state && ond_kept_is(jsonb_bytes(row, r->columns.kept), ond_fields_kept(r->fields)));
}

/* Rebase: the destination is said to have the row as it is. */
static void adopt(Receiver *r, Row *row) {
  const OndKeyState *s = &row->state;
  OndPlan plan = {.adopts = true};
  OndKeyState after;

  if (s->has_accepted && ond_hash_equal(s->accepted, row->hash) && !s->has_refused && s->doubt_op == OND_OP_NONE && has_kept(r, row))
    return;
  memset(&after, 0, sizeof(after));
  after.has_accepted = true;
  after.accepted = row->hash;
  after.change_id = s->change_id;
  keep_change(r, row, OND_OP_NONE, &plan, &after);
}

static void observe(Receiver *r, Row *row, OndPresence presence, const OndPlan *plan) {
  OndObservation o;

  memset(&o, 0, sizeof(o));
  o.presence = presence;
  o.has_state = row->has_state;
  o.state = row->state;
  o.hash = row->hash;
  o.problem = row->waits != NULL && row->problem == NULL ? row->waits : row->problem;
  o.plan = *plan;
  if (row->has_state)
    o.remote_id = text_bytes(row, r->columns.remote_id);
  if (row->has_state)
    o.kept = jsonb_bytes(row, r->columns.kept);
  if (presence == OND_MODEL_ROW) {
    const OndBytes *values = ond_spec_form_values(r->spec, ond_fields_of_mapping(r->fields), &r->payload);

    ond_buf_reset(&r->payload);
    if (ond_mapping_render(r->spec->mapping, values, &r->payload))
      o.fields = (OndBytes){r->payload.data, r->payload.len};
  }
  r->input->observe(&o, r->input->observe_arg);
}

/* For who compares them with something else. */
static void keep_everything(Receiver *r, Row *row, OndPresence presence) {
  bool whole = presence == OND_MODEL_ROW && row->waits == NULL;

  if (key_is_complete(r, row))
    keep_change(r, row, presence == OND_MODEL_LEFT ? OND_OP_DELETE : whole ? OND_OP_UPDATE : OND_OP_NONE, &(OndPlan){0}, NULL);
}

static void settle(Receiver *r, Row *row, const OndPlan *plan) {
  OndKeyState after = ond_change_settled(&row->state);

  if (plan->adopts)
    after.accepted = row->hash;
  keep_change(r, row, OND_OP_NONE, plan, &after);
}

static void act(Receiver *r, Row *row, const OndPlan *plan) {
  r->diff->verdicts[plan->verdict]++;
  if (plan->verdict == OND_V_PENDING || plan->verdict == OND_V_DELETE_PENDING)
    r->diff->doubt_ends = Min(r->diff->doubt_ends, row->state.sent_at + r->input->policy.in_doubt_wait_us);
  if (r->input->store == NULL || r->input->adopt || r->input->everything)
    return;
  switch (plan->verdict) {
    case OND_V_CREATE: keep_change(r, row, OND_OP_CREATE, plan, NULL); break;
    case OND_V_UPDATE: keep_change(r, row, OND_OP_UPDATE, plan, NULL); break;
    case OND_V_DELETE: keep_change(r, row, OND_OP_DELETE, plan, NULL); break;
    case OND_V_FORGET: keep_change(r, row, OND_OP_NONE, plan, NULL); break;
    default:
      if (plan->settle)
        settle(r, row, plan);
  }
}

/* on_config_change = rebase: an accepted row that differs is taken as it is. What was refused or is in doubt goes its own way. */
static bool adopts(const Receiver *r, const Row *row, const OndPlan *plan) {
  return r->input->adopt_known && plan->verdict == OND_V_UPDATE && row->state.has_accepted && !row->state.has_refused && row->state.doubt_op == OND_OP_NONE;
}

static bool receive(TupleTableSlot *slot, DestReceiver *self) {
  static const OndKeyState no_state;
  Receiver *r = (Receiver *)self;
  MemoryContext saved;
  Row row;
  OndPresence presence = OND_MODEL_LEFT;
  OndPlan plan;

  if (r->diff->retyped)
    return false;
  saved = MemoryContextSwitchTo(r->row_context);
  row.state = no_state;
  row.hash = OND_HASH_DELETE;
  row.key_decoded = false;
  row.problem = row.waits = NULL;
  slot_getallattrs(slot);
  row.slot = slot;
  row.has_state = !slot->tts_isnull[r->columns.state_keys];
  row.present = !row.has_state || !slot->tts_isnull[r->columns.model_keys];
  if (row.has_state) {
    r->diff->state_rows++;
    decode_state(r, &row);
  }
  if (row.present) {
    r->diff->rows_scanned++;
    presence = examine(r, &row);
    if (r->input->progress != NULL && r->diff->rows_scanned % PROGRESS_ROWS == 0)
      r->input->progress(r->diff->rows_scanned, r->input->progress_arg);
  } else
    r->left++;
  if (presence == OND_MODEL_ROW && row.waits != NULL) {
    plan = (OndPlan){.verdict = OND_V_PENDING};
    r->diff->waiting++;
    r->diff->verdicts[OND_V_PENDING]++;
  } else {
    plan = ond_change_plan(row.has_state ? &row.state : NULL, presence, &row.hash, &r->input->policy);
    if (adopts(r, &row, &plan)) {
      plan = (OndPlan){.verdict = OND_V_UNCHANGED, .settle = true, .adopts = true};
      r->diff->adopted++;
    }
    act(r, &row, &plan);
  }
  if (r->input->adopt && presence == OND_MODEL_ROW && row.waits == NULL)
    adopt(r, &row);
  if (r->input->everything)
    keep_everything(r, &row, presence);
  if (r->input->observe != NULL)
    observe(r, &row, presence, &plan);
  MemoryContextSwitchTo(saved);
  MemoryContextReset(r->row_context);
  return true;
}

/* --- the receiver ----------------------------------------------------------------------------------------- */

/* Types of the statement's columns that are not keys or values, in the order of ond_diff_columns(). */
static const Oid state_types[] = {UUIDOID, UUIDOID, TIMESTAMPTZOID, INT4OID, CHAROID, UUIDOID, TIMESTAMPTZOID, INT8OID, TEXTOID, JSONBOID, JSONBOID};

/* The columns are read without looking at them again: one of another type than the spec was compiled for must not be read at all. */
static void receiver_startup(DestReceiver *self, int operation, TupleDesc desc) {
  Receiver *r = (Receiver *)self;
  const OndSpec *spec = r->spec;
  bool same = desc->natts == r->columns.same_key + (r->counting ? 2 : 0);

  for (int i = 0; i < spec->n_keys && same; i++)
    same = TupleDescAttr(desc, r->columns.state_keys + i)->atttypid == spec->keys[i].type &&
           TupleDescAttr(desc, r->columns.model_keys + i)->atttypid == spec->keys[i].type;
  for (int i = 0; i < (int)lengthof(state_types) && same; i++)
    same = TupleDescAttr(desc, r->columns.hash + i)->atttypid == state_types[i];
  for (int i = 0; i < spec->n_values && same; i++)
    same = TupleDescAttr(desc, r->columns.values + i)->atttypid == spec->values[i].type;
  r->diff->retyped = !same;
}

static void receiver_end(DestReceiver *self) {
}

static void free_payload(void *arg) {
  ond_buf_free(arg);
}

static void init_cursor(Receiver *r) {
  Oid type;
  TypeCacheEntry *entry;

  if (r->spec->cursor_value < 0)
    return;
  type = getBaseType(r->spec->values[r->spec->cursor_value].type);
  entry = lookup_type_cache(type, TYPECACHE_CMP_PROC);
  r->cursor_collation = get_typcollation(type);
  fmgr_info(entry->cmp_proc, &r->cursor_cmp);
}

static void init_keys(Receiver *r) {
  const OndSpec *spec = r->spec;

  r->key_encoders = palloc(sizeof(OndEncoder *) * spec->n_keys);
  r->key_outputs = palloc0(sizeof(FmgrInfo) * spec->n_keys);
  for (int i = 0; i < spec->n_keys; i++) {
    Oid output;
    bool varlena;

    r->key_encoders[i] = ond_encoder_create(spec->keys[i].type, spec->keys[i].name);
    getTypeOutputInfo(spec->keys[i].type, &output, &varlena);
    fmgr_info(output, &r->key_outputs[i]);
  }
}

static Receiver *receiver_create(const OndDiffInput *input) {
  Receiver *r = palloc0(sizeof(Receiver));
  const OndSpec *spec = input->spec;
  MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

  r->pub.receiveSlot = receive;
  r->pub.rStartup = receiver_startup;
  r->pub.rShutdown = receiver_end;
  r->pub.rDestroy = receiver_end;
  r->pub.mydest = DestNone;
  r->input = input;
  r->spec = spec;
  r->result_context = CurrentMemoryContext;
  r->row_context = AllocSetContextCreate(CurrentMemoryContext, "ondatra diff row", ALLOCSET_DEFAULT_SIZES);
  ond_diff_columns(spec, &r->columns);
  init_keys(r);
  init_cursor(r);
  initStringInfo(&r->key_json);
  ond_buf_init(&r->payload, 256 * 1024 * 1024);
  callback->func = free_payload;
  callback->arg = &r->payload;
  MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
  memcpy(&r->seed, spec->sync->hash_seed, sizeof(r->seed));
  r->fields = ond_fields_create(spec, r->seed);
  return r;
}

static void begin_pass(Receiver *r) {
  memset(r->diff->verdicts, 0, sizeof(r->diff->verdicts));
  r->diff->rows_scanned = 0;
  r->diff->n_invalid = 0;
  r->diff->invalid_cut = false;
  r->diff->doubt_ends = OND_NEVER;
  r->diff->waiting = r->diff->state_rows = r->diff->adopted = 0;
  r->diff->statements++;
  for (int i = 0; i < r->spec->sync->options.n_checks; i++)
    r->diff->checks[i] = 0;
  r->matched = r->left = 0;
  r->repeated = false;
  r->cursor_found = false;
  r->next_change_id = r->input->change_id_base;
  ond_key_set_free(&r->keys);
  ond_key_set_init(&r->keys, r->result_context, (Size)ond_setting_work_mem_kb * 1024 / 4);
  if (r->input->store != NULL)
    ond_store_reset(r->input->store);
}

static void execute(Receiver *r, const char *sql) {
  begin_pass(r);
  r->by_key = ond_execute(sql, &r->pub);
}

/* --- duplicates ------------------------------------------------------------------------------------------- */

/* The precise query. */
static bool has_duplicates(const Receiver *r) {
  bool found;

  if (SPI_execute(ond_duplicates_statement(r->spec, r->input->pass, r->input->keys_json), true, 1) != SPI_OK_SELECT)
    elog(ERROR, "could not look for duplicate keys");
  found = SPI_processed > 0;
  SPI_freetuptable(SPI_tuptable);
  return found;
}

static int64 count_state(const OndSpec *spec) {
  bool isnull;

  if (SPI_execute(psprintf("SELECT pg_catalog.count(*) FROM %s", ond_state_table_name(spec->sync->sync_id)), true, 0) != SPI_OK_SELECT)
    elog(ERROR, "could not count the state table");
  return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Could two rows of the model have the same key? */
static bool is_suspicious(const Receiver *r) {
  if (r->keys.suspicion)
    return true;
  if (r->input->pass != OND_PASS_FULL || r->matched == 0)
    return false;
  return r->by_key ? r->repeated : r->matched > count_state(r->spec) - r->left;
}

static void finish_cursor(Receiver *r) {
  MemoryContext saved;
  Oid output;
  bool varlena;

  if (!r->cursor_found)
    return;
  saved = MemoryContextSwitchTo(r->result_context); /* SPI left us in its own, which does not last */
  getTypeOutputInfo(getBaseType(r->spec->values[r->spec->cursor_value].type), &output, &varlena);
  r->diff->cursor_seen = OidOutputFunctionCall(output, r->cursor_max);
  MemoryContextSwitchTo(saved);
}

/* Single duplicates are invalid rows; those of a table that could have none are another model than the sync was made for. */
static void refuse_lost_key(const OndSpec *spec) {
  StringInfoData names;

  initStringInfo(&names);
  for (int i = 0; i < spec->n_keys; i++)
    appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", spec->keys[i].name);
  ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION), errmsg("the key (%s) of model \"%s\" is not unique any more", names.data, spec->model->display),
                  errdetail("Its table has lost the primary key or unique index that it had when the sync was defined, and now has rows with the same key."),
                  errhint("Make the key unique again; or accept it with SELECT ondatra.update_sync(%s, model => ...): then these rows are invalid.",
                          quote_literal_cstr(spec->sync->name))));
}

OndDiff *ond_diff(const OndDiffInput *input) {
  Receiver *r = receiver_create(input);
  char *sql = ond_diff_statement(input->spec, input->pass, input->keys_json);

  r->diff = palloc0(sizeof(OndDiff));
  r->diff->checks = palloc0(sizeof(int64) * Max(input->spec->sync->options.n_checks, 1));
  execute(r, sql);
  if (r->diff->retyped)
    return r->diff;
  if (is_suspicious(r) && has_duplicates(r)) {
    if (input->spec->sync->key_unique)
      refuse_lost_key(input->spec);
    r->counting = true;
    execute(r, ond_diff_statement_counting(input->spec, input->pass, input->keys_json));
  }
  ond_key_set_free(&r->keys);
  finish_cursor(r);
  ond_checks_whole(input->spec, input->pass, r->diff->checks);
  return r->diff;
}
