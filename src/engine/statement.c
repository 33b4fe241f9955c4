/*
 * statement.c - the one statement of the diff: model FULL JOIN state table on the typed keys, unfiltered.
 *
 *   SELECT s.k1, s._hash, …, m.k1, m.c1, …
 *   FROM (SELECT (q.id)::int8 AS k1, q.id AS c1, … FROM (<model>) q) m
 *   FULL JOIN (SELECT … FROM ondatra.state_7) s ON m.k1 = s.k1
 *
 * A lookup of the mapping joins another sync's state table to q; its key is unique, so no row is there twice.
 * A cursor pass is a LEFT JOIN of the rows past the cursor (and those that failed, are in doubt or were invalid); a keys pass restricts both sides.
 * Everything of ours is qualified, operators too (so no IN, no CASE x WHEN): the search_path is the model's.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "engine/state_table.h"
#include "engine/statement.h"

bool ond_spec_is_ordered(const OndSpec *spec) {
  return spec->sync->mode == OND_MODE_APPEND || spec->sync->mode == OND_MODE_INSERT;
}

void ond_diff_columns(const OndSpec *spec, OndDiffColumns *c) {
  int n = spec->n_keys;

  c->state_keys = 0;
  c->hash = n;
  c->refused = n + 1;
  c->retry_at = n + 2;
  c->attempts = n + 3;
  c->doubt_op = n + 4;
  c->doubt_hash = n + 5;
  c->sent_at = n + 6;
  c->change_id = n + 7;
  c->remote_id = n + 8;
  c->remote = n + 9;
  c->kept = n + 10;
  c->model_keys = n + 11;
  c->ordinal = ond_spec_is_ordered(spec) ? n + 11 + n : -1;
  c->values = n + 11 + n + (c->ordinal >= 0 ? 1 : 0);
  c->same_key = c->values + spec->n_values;
}

static void append_key_cast(StringInfo s, const OndSpec *spec, int key) {
  appendStringInfo(s, "(%s)::%s%s", spec->values[spec->keys[key].value].sql, spec->keys[key].type_sql,
                   spec->keys[key].text ? " COLLATE pg_catalog.\"C\"" : "");
}

/* number: the ordinal's expression */
static void append_model_list(StringInfo s, const OndSpec *spec, const char *number) {
  appendStringInfoString(s, "SELECT ");
  for (int i = 0; i < spec->n_keys; i++) {
    appendStringInfoString(s, i > 0 ? ", " : "");
    append_key_cast(s, spec, i);
    appendStringInfo(s, " AS k%d", i + 1);
  }
  if (ond_spec_is_ordered(spec))
    appendStringInfo(s, ", %s AS _n", number);
  for (int i = 0; i < spec->n_values; i++)
    appendStringInfo(s, ", %s AS c%d", spec->values[i].sql, i + 1);
  appendStringInfoChar(s, ' ');
  ond_spec_append_from(s, spec);
}

#define IN_ORDER "pg_catalog.row_number() OVER ()"
/* what failed earlier goes before what is new */
#define BEFORE_OTHERS "pg_catalog.row_number() OVER () OPERATOR(pg_catalog.-) 1000000000000"

/* q.updated_at >= cursor - overlap, as typed literals */
static void append_cursor_condition(StringInfo s, const OndSpec *spec) {
  const OndSync *sync = spec->sync;
  const OndValue *value = &spec->values[spec->cursor_value];
  char *type = format_type_be_qualified(getBaseType(value->type));

  appendStringInfo(s, "(%s)::%s OPERATOR(pg_catalog.>=) (%s::%s", value->sql, type, quote_literal_cstr(sync->cursor_value), type);
  if (sync->options.cursor_overlap != NULL)
    appendStringInfo(s, " OPERATOR(pg_catalog.-) %s::%s", quote_literal_cstr(sync->options.cursor_overlap), ond_spec_overlap_type(spec));
  appendStringInfoChar(s, ')');
}

void ond_append_key_from_json(StringInfo s, const char *json, const char *name, const char *type_sql) {
  char *text = psprintf("(%s OPERATOR(pg_catalog.->>) %s)", json, quote_literal_cstr(name));

  if (strcmp(type_sql, "pg_catalog.bytea") == 0)
    appendStringInfo(s, "pg_catalog.decode(%s, 'base64')", text);
  else
    appendStringInfo(s, "%s::%s", text, type_sql);
}

/* The key's columns, typed, from a JSON object. */
static void append_key_columns_from_json(StringInfo s, const OndSpec *spec, const char *json) {
  for (int i = 0; i < spec->n_keys; i++) {
    appendStringInfoString(s, i > 0 ? ", " : "");
    ond_append_key_from_json(s, json, spec->keys[i].name, spec->keys[i].type_sql);
    appendStringInfo(s, "%s AS k%d", spec->keys[i].text ? " COLLATE pg_catalog.\"C\"" : "", i + 1);
  }
}

/* Two branches, so that each can use an index. The second: what failed, is in doubt or was invalid is read wherever the cursor is. */
static void append_cursor_model(StringInfo s, const OndSpec *spec) {
  append_model_list(s, spec, IN_ORDER);
  appendStringInfoString(s, " WHERE ");
  append_cursor_condition(s, spec);
  appendStringInfo(s, " OR %s IS NULL\nUNION ALL\n", spec->values[spec->cursor_value].sql);
  append_model_list(s, spec, BEFORE_OTHERS);
  appendStringInfoString(s, " WHERE (");
  append_cursor_condition(s, spec);
  appendStringInfoString(s, ") IS FALSE AND (");
  for (int i = 0; i < spec->n_keys; i++) {
    appendStringInfoString(s, i > 0 ? ", " : "");
    append_key_cast(s, spec, i);
  }
  appendStringInfoString(s, ") OPERATOR(pg_catalog.=) ANY (SELECT ");
  for (int i = 0; i < spec->n_keys; i++)
    appendStringInfo(s, "%sw.k%d", i > 0 ? ", " : "", i + 1);
  appendStringInfo(s, " FROM %s w WHERE w._refused IS NOT NULL OR w._doubt_op IS NOT NULL UNION ALL SELECT ", ond_state_table_name(spec->sync->sync_id));
  append_key_columns_from_json(s, spec, "f.key");
  appendStringInfo(s, " FROM ondatra.failed_rows f WHERE f.sync_id OPERATOR(pg_catalog.=) " INT64_FORMAT " AND f.error_class OPERATOR(pg_catalog.=) 'invalid')",
                   spec->sync->sync_id);
}

/* The keys of run_sync as rows: a VALUES-like relation g(k1, …). */
static void append_keys_relation(StringInfo s, const OndSpec *spec, const char *keys_json) {
  appendStringInfoString(s, "SELECT ");
  append_key_columns_from_json(s, spec, "e.v");
  appendStringInfo(s,
                   " FROM pg_catalog.jsonb_array_elements(CASE WHEN pg_catalog.jsonb_typeof(%s::pg_catalog.jsonb) OPERATOR(pg_catalog.=) 'array' THEN %s::pg_catalog.jsonb"
                   " ELSE pg_catalog.jsonb_build_array(%s::pg_catalog.jsonb) END) e(v)",
                   quote_literal_cstr(keys_json), quote_literal_cstr(keys_json), quote_literal_cstr(keys_json));
}

static void append_keys_filter(StringInfo s, const OndSpec *spec, const char *alias, const char *keys_json) {
  appendStringInfoString(s, " WHERE (");
  for (int i = 0; i < spec->n_keys; i++) {
    appendStringInfoString(s, i > 0 ? ", " : "");
    if (alias != NULL)
      appendStringInfo(s, "%s.k%d", alias, i + 1);
    else
      append_key_cast(s, spec, i);
  }
  appendStringInfoString(s, ") OPERATOR(pg_catalog.=) ANY (");
  append_keys_relation(s, spec, keys_json);
  appendStringInfoChar(s, ')');
}

static void append_model(StringInfo s, const OndSpec *spec, OndPass pass, const char *keys_json) {
  if (pass == OND_PASS_CURSOR)
    append_cursor_model(s, spec);
  else
    append_model_list(s, spec, IN_ORDER);
  if (pass == OND_PASS_KEYS)
    append_keys_filter(s, spec, NULL, keys_json);
}

static void append_key_names(StringInfo s, const OndSpec *spec, const char *alias) {
  for (int i = 0; i < spec->n_keys; i++)
    appendStringInfo(s, "%s%s.k%d", i > 0 ? ", " : "", alias, i + 1);
}

/* The model with its rows counted by key: sorted, so that any number of duplicates fits. */
static void append_counted_model(StringInfo s, const OndSpec *spec, OndPass pass, const char *keys_json) {
  appendStringInfoString(s, "SELECT x.*, pg_catalog.count(*) OVER w AS _rows, pg_catalog.row_number() OVER w AS _row FROM (");
  append_model(s, spec, pass, keys_json);
  appendStringInfoString(s, ") x WINDOW w AS (PARTITION BY ");
  append_key_names(s, spec, "x");
  appendStringInfoChar(s, ')');
}

static char *diff_statement(const OndSpec *spec, OndPass pass, const char *keys_json, bool counting) {
  StringInfoData s;

  initStringInfo(&s);
  appendStringInfoString(&s, "SELECT ");
  for (int i = 0; i < spec->n_keys; i++)
    appendStringInfo(&s, "s.k%d, ", i + 1);
  appendStringInfoString(&s, "s._hash, s._refused, s._retry_at, s._attempts, s._doubt_op, s._doubt_hash, s._sent_at, s._change_id, s._remote_id,"
                             " s._remote, s._kept");
  for (int i = 0; i < spec->n_keys; i++)
    appendStringInfo(&s, ", m.k%d", i + 1);
  if (ond_spec_is_ordered(spec))
    appendStringInfoString(&s, ", m._n");
  for (int i = 0; i < spec->n_values; i++)
    appendStringInfo(&s, ", m.c%d", i + 1);
  if (counting)
    appendStringInfoString(&s, ", m._rows, m._row");
  appendStringInfoString(&s, "\nFROM (");
  if (counting)
    append_counted_model(&s, spec, pass, keys_json);
  else
    append_model(&s, spec, pass, keys_json);
  appendStringInfo(&s, ") m\n%s JOIN (SELECT * FROM %s t", pass == OND_PASS_CURSOR ? "LEFT" : "FULL", ond_state_table_name(spec->sync->sync_id));
  if (pass == OND_PASS_KEYS)
    append_keys_filter(&s, spec, "t", keys_json);
  appendStringInfoString(&s, ") s ON ");
  for (int i = 0; i < spec->n_keys; i++)
    appendStringInfo(&s, "%sm.k%d OPERATOR(pg_catalog.=) s.k%d", i > 0 ? " AND " : "", i + 1, i + 1);
  if (ond_spec_is_ordered(spec))
    appendStringInfoString(&s, "\nORDER BY m._n");
  return s.data;
}

char *ond_diff_statement(const OndSpec *spec, OndPass pass, const char *keys_json) {
  return diff_statement(spec, pass, keys_json, false);
}

char *ond_diff_statement_counting(const OndSpec *spec, OndPass pass, const char *keys_json) {
  return diff_statement(spec, pass, keys_json, true);
}

char *ond_duplicates_statement(const OndSpec *spec, OndPass pass, const char *keys_json) {
  StringInfoData s;

  initStringInfo(&s);
  appendStringInfoString(&s, "SELECT FROM (");
  append_model(&s, spec, pass, keys_json);
  appendStringInfoString(&s, ") m WHERE true");
  for (int i = 0; i < spec->n_keys; i++)
    appendStringInfo(&s, " AND m.k%d IS NOT NULL", i + 1);
  appendStringInfoString(&s, " GROUP BY ");
  append_key_names(&s, spec, "m");
  appendStringInfoString(&s, " HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1");
  return s.data;
}
