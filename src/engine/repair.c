/*
 * repair.c - what a person decides about the state: retry_failed, discard_failed, rebase_sync. Called with the run lock for edits held, so no run is going on.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "catalog/session.h"
#include "engine/inspect.h"
#include "engine/inspection.h"
#include "engine/record.h"
#include "engine/state_table.h"
#include "engine/statement.h"

/* "AND f.key = ANY (…)" for the keys given, a JSON array. */
static const char *key_filter(const char *keys_json) {
  if (keys_json == NULL)
    return "";
  return psprintf(" AND f.key OPERATOR(pg_catalog.=) ANY (SELECT pg_catalog.jsonb_array_elements(%s::pg_catalog.jsonb))", quote_literal_cstr(keys_json));
}

/* FROM all_failed_rows f WHERE … and the state row s of its key, refused for this or another version. */
static void append_failed_states(StringInfo s, const OndSync *sync, const char *keys_json) {
  const char **types = ond_state_key_types(sync->sync_id, sync->n_keys);

  appendStringInfo(s, " ondatra.all_failed_rows f WHERE f.sync_id OPERATOR(pg_catalog.=) " INT64_FORMAT "%s AND f.attempts OPERATOR(pg_catalog.>) 0",
                   sync->sync_id, key_filter(keys_json));
  for (int i = 0; i < sync->n_keys; i++) {
    appendStringInfo(s, " AND s.k%d OPERATOR(pg_catalog.=) ", i + 1);
    ond_append_key_from_json(s, "f.key", sync->keys[i], types[i]);
  }
  appendStringInfoString(s, " AND s._refused IS NOT NULL");
}

static void execute(const char *sql, int expect) {
  int rc = SPI_execute(sql, false, 0);

  if (rc != expect)
    elog(ERROR, "unexpected SPI result %s", SPI_result_code_string(rc));
}

int64 ond_retry_failed(const OndSync *sync, const char *keys_json) {
  OndScope scope;
  StringInfoData s;
  int64 n;

  ond_our_begin(&scope, true);
  initStringInfo(&s);
  appendStringInfo(&s, "UPDATE %s s SET _retry_at = pg_catalog.clock_timestamp(), _attempts = 0,"
                       " _doubt_op = pg_catalog.lower(_doubt_op::pg_catalog.text)::pg_catalog.\"char\" FROM", ond_state_table_name(sync->sync_id));
  append_failed_states(&s, sync, keys_json);
  execute(s.data, SPI_OK_UPDATE);
  /* rows the diff finds invalid are looked at again by every run: there is nothing to release */
  execute(psprintf("UPDATE ondatra.all_failed_rows f SET next_attempt_at = pg_catalog.clock_timestamp() WHERE f.sync_id OPERATOR(pg_catalog.=) " INT64_FORMAT
                   " AND f.attempts OPERATOR(pg_catalog.>) 0%s",
                   sync->sync_id, key_filter(keys_json)),
          SPI_OK_UPDATE);
  n = (int64)SPI_processed;
  ond_our_end(&scope);
  return n;
}

int64 ond_discard_failed(const OndSync *sync, const char *keys_json) {
  OndScope scope;
  StringInfoData s;
  int64 n;

  ond_our_begin(&scope, true);
  initStringInfo(&s);
  /* a failed delete: the key is forgotten, the record stays where it is */
  appendStringInfo(&s, "DELETE FROM %s s USING", ond_state_table_name(sync->sync_id));
  append_failed_states(&s, sync, keys_json);
  appendStringInfoString(&s, " AND s._refused OPERATOR(pg_catalog.=) '00000000-0000-0000-0000-000000000000'");
  execute(s.data, SPI_OK_DELETE);
  resetStringInfo(&s);
  appendStringInfo(&s, "UPDATE %s s SET _retry_at = 'infinity' FROM", ond_state_table_name(sync->sync_id));
  append_failed_states(&s, sync, keys_json);
  execute(s.data, SPI_OK_UPDATE);
  execute(psprintf("DELETE FROM ondatra.all_failed_rows f WHERE f.sync_id OPERATOR(pg_catalog.=) " INT64_FORMAT "%s", sync->sync_id, key_filter(keys_json)),
          SPI_OK_DELETE);
  n = (int64)SPI_processed;
  ond_our_end(&scope);
  return n;
}

/* Inside "ours": the rows the diff found become accepted; what dead runs left in doubt is settled by the person's word. */
static void adopt(const OndSync *sync, OndStore *store) {
  Oid types[1] = {INT8OID};
  Datum values[1] = {Int64GetDatum(sync->sync_id)};

  ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.send_windows WHERE sync_id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
  ond_spi(SPI_OK_DELETE, "DELETE FROM ondatra.jobs WHERE sync_id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
  ond_record_settle(sync, sync->n_keys, ond_state_key_types(sync->sync_id, sync->n_keys), store);
  ond_spi(SPI_OK_UPDATE, "UPDATE ondatra.all_syncs SET resend = false WHERE sync_id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
}

int64 ond_rebase_sync(const OndSync *sync) {
  OndStore *store = ond_store_create();
  OndDiffInput input;
  OndScope scope;
  OndSpec *spec = ond_inspect_begin(sync, &scope);
  int64 n;

  ond_inspect_input(spec, &input);
  input.pass = OND_PASS_FULL;
  input.adopt = true;
  input.store = store;
  (void)ond_diff(&input);
  ond_inspect_end(&scope);
  n = ond_store_count(store, OND_OP_NONE);
  ond_our_begin(&scope, true);
  adopt(sync, store);
  ond_our_end(&scope);
  ond_store_reset(store);
  return n;
}
