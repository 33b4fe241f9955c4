/*
 * sync_edit.c - rows of all_syncs and what belongs to them: writing.
 *
 * There are no foreign keys: what belongs to a sync (requests, failed rows, send windows, unfinished runs, the state table) is dealt with
 * here. Edits of a sync that exists hold its run lock, so no run of it is going on. Does not: make or drop state tables (engine/model.h),
 * move states (lifecycle.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "catalog/edit.h"
#include "catalog/rows.h"
#include "catalog/session.h"
#include "catalog/sync.h"
#include "catalog/totals.h"

static Datum key_datum(const OndSync *s) {
  Datum *elements = palloc(sizeof(Datum) * Max(s->n_keys, 1));

  for (int i = 0; i < s->n_keys; i++) {
    elements[i] = CStringGetTextDatum(s->keys[i]);
  }
  return PointerGetDatum(construct_array(elements, s->n_keys, TEXTOID, -1, false, TYPALIGN_INT));
}

/* What the user said, and the columns: arguments $2 to $12 of insert and update. */
#define SAID 11

static void said_types(Oid *types) {
  static const Oid said[SAID] = {TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID};

  memcpy(types, said, sizeof(said));
}

static void said_values(const OndSync *s, Datum *values, char *nulls) {
  values[0] = CStringGetTextDatum(s->model);
  values[1] = CStringGetTextDatum(s->model_search_path);
  values[2] = Int64GetDatum(s->destination_id);
  values[3] = ond_text_datum(s->object, &nulls[3]);
  values[4] = key_datum(s);
  values[5] = CStringGetTextDatum(ond_mode_name(s->mode));
  values[6] = ond_text_datum(s->mapping, &nulls[6]);
  values[7] = ond_text_datum(s->schedule, &nulls[7]);
  values[8] = CStringGetTextDatum(s->options_json);
  values[9] = CStringGetTextDatum(s->columns);
  values[10] = BoolGetDatum(s->key_unique);
}

void ond_sync_insert(OndSync *s, bool paused) {
  const char *sql = "INSERT INTO ondatra.all_syncs (name, model, model_search_path, destination_id, object, key, mode, mapping, schedule, "
                    "options, columns, key_unique, owner, hash_seed, state, state_reason, next_run_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8::json, "
                    "$9, $10::jsonb, $11::json, $12, $13::oid::regrole, $14, CASE WHEN $15 THEN 'paused' ELSE 'created' END, "
                    "CASE WHEN $15 THEN 'created paused' END, CASE WHEN $16 THEN pg_catalog.now() END) "
                    "ON CONFLICT (name) DO NOTHING RETURNING sync_id";
  Oid types[5 + SAID] = {TEXTOID};
  Datum values[5 + SAID];
  char nulls[5 + SAID + 1];
  bytea *seed = palloc(VARHDRSZ + sizeof(s->hash_seed));

  SET_VARSIZE(seed, VARHDRSZ + sizeof(s->hash_seed));
  memcpy(VARDATA(seed), s->hash_seed, sizeof(s->hash_seed));
  memset(nulls, ' ', sizeof(nulls));
  values[0] = CStringGetTextDatum(s->name);
  said_types(types + 1);
  said_values(s, values + 1, nulls + 1);
  types[1 + SAID] = OIDOID;
  values[1 + SAID] = ObjectIdGetDatum(s->owner);
  types[2 + SAID] = BYTEAOID;
  values[2 + SAID] = PointerGetDatum(seed);
  types[3 + SAID] = BOOLOID;
  values[3 + SAID] = BoolGetDatum(paused);
  types[4 + SAID] = BOOLOID;
  values[4 + SAID] = BoolGetDatum(s->schedule != NULL && !paused && !ond_sync_has_cron(s));
  if (ond_spi(SPI_OK_INSERT_RETURNING, sql, 5 + SAID, types, values, nulls) == 0) {
    ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("sync \"%s\" already exists", s->name),
                    errhint("Use ondatra.update_sync() if it is yours, or another name.")));
  }
  s->sync_id = ond_row_int64(1);
}

void ond_sync_update(const OndSync *s) {
  static const char void_words[] = "The sync was edited: what was held is void.";
  const char *sql =
      "UPDATE ondatra.all_syncs SET model = $2, model_search_path = $3, destination_id = $4, object = $5, key = $6, mode = $7, "
      "mapping = $8::json, schedule = $9, options = $10::jsonb, columns = $11::json, key_unique = $12, version = version "
      "OPERATOR(pg_catalog.+) 1, updated_at = pg_catalog.now() WHERE sync_id OPERATOR(pg_catalog.=) $1";
  Oid types[1 + SAID] = {INT8OID};
  Datum values[1 + SAID];
  char nulls[1 + SAID + 1];

  memset(nulls, ' ', sizeof(nulls));
  values[0] = Int64GetDatum(s->sync_id);
  said_types(types + 1);
  said_values(s, values + 1, nulls + 1);
  ond_spi(SPI_OK_UPDATE, sql, 1 + SAID, types, values, nulls);
  (void)ond_held_runs_end(s->sync_id, 0, void_words);
}

/* Statements about one sync, or one run; $1 is its number. How many rows. */
static uint64 run_for(int64 id, int expect, const char *sql) {
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(id)};

  return ond_spi(expect, sql, 1, types, values, NULL);
}

int64 *ond_sync_ids(int *n) {
  MemoryContext caller = CurrentMemoryContext;
  int64 *ids;

  *n = (int)ond_spi(SPI_OK_SELECT, "SELECT sync_id FROM ondatra.all_syncs ORDER BY sync_id", 0, NULL, NULL, NULL);
  ids = ond_rows_int64(*n, caller);
  return ids;
}

bool ond_sync_lock(int64 sync_id) {
  return run_for(sync_id, SPI_OK_SELECT, "SELECT FROM ondatra.all_syncs WHERE sync_id OPERATOR(pg_catalog.=) $1 FOR UPDATE") > 0;
}

bool ond_sync_lock_of_run(int64 run_id) {
  return run_for(run_id, SPI_OK_SELECT,
                 "SELECT FROM ondatra.all_syncs s WHERE s.sync_id OPERATOR(pg_catalog.=) (SELECT r.sync_id FROM ondatra.all_runs r "
                 "WHERE r.run_id OPERATOR(pg_catalog.=) $1) FOR UPDATE OF s") > 0;
}

/* Runs whose process could not write their end, because it was ended for the drop or died: nobody else will. */
static void end_runs_of_dropped(int64 sync_id) {
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(sync_id)};
  int n = (int)ond_spi(SPI_OK_UPDATE_RETURNING,
                       "UPDATE ondatra.all_runs SET status = 'cancelled', finished_at = pg_catalog.clock_timestamp(), error_message = 'the sync was dropped' "
                       "WHERE sync_id OPERATOR(pg_catalog.=) $1 AND finished_at IS NULL RETURNING run_id",
                       1, types, values, NULL);
  int64 *ids = ond_rows_int64(n, CurrentMemoryContext);

  for (int i = 0; i < n; i++)
    ond_notify_run(ids[i], sync_id, "cancelled");
}

void ond_sync_delete(int64 sync_id) {
  (void)ond_sync_lock(sync_id);
  (void)ond_held_runs_end(sync_id, 0, "The sync was dropped.");
  end_runs_of_dropped(sync_id);
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.run_requests WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.all_failed_rows WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.send_windows WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.jobs WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.all_requests WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.all_sync_log WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.all_alerts WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.sync_totals WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.all_syncs WHERE sync_id OPERATOR(pg_catalog.=) $1");
}

int ond_held_runs_end(int64 sync_id, int64 run_id, const char *why) {
  Oid types[] = {INT8OID, INT8OID, TEXTOID};
  Datum values[] = {Int64GetDatum(sync_id), Int64GetDatum(run_id), CStringGetTextDatum(why)};
  MemoryContext caller = CurrentMemoryContext;
  int n = (int)ond_spi(SPI_OK_UPDATE_RETURNING,
                       "UPDATE ondatra.all_runs SET status = 'cancelled', finished_at = pg_catalog.clock_timestamp(), error_detail = $3 "
                       "WHERE sync_id OPERATOR(pg_catalog.=) $1 AND ($2 OPERATOR(pg_catalog.=) 0 OR run_id OPERATOR(pg_catalog.=) $2) "
                       "AND finished_at IS NULL AND status OPERATOR(pg_catalog.=) 'held' RETURNING run_id",
                       3, types, values, NULL);
  int64 *ids = ond_rows_int64(n, caller);

  for (int i = 0; i < n; i++)
    ond_notify_run(ids[i], sync_id, "cancelled");
  ond_totals_add(ids, n);
  if (n > 0) {
    ond_spi(SPI_OK_DELETE,
            "DELETE FROM ondatra.held_changes c USING ondatra.all_runs r WHERE r.sync_id OPERATOR(pg_catalog.=) $1 AND c.run_id OPERATOR(pg_catalog.=) r.run_id "
            "AND r.finished_at IS NOT NULL",
            1, types, values, NULL);
  }
  return n;
}

int64 ond_run_request_insert(int64 sync_id, const char *trigger, const char *requested_by) {
  Oid types[] = {INT8OID, TEXTOID, TEXTOID};
  Datum values[] = {Int64GetDatum(sync_id), CStringGetTextDatum(trigger), CStringGetTextDatum(requested_by)};

  ond_spi(SPI_OK_INSERT_RETURNING, "INSERT INTO ondatra.run_requests (sync_id, trigger, requested_by) VALUES ($1, $2, $3) RETURNING request_id", 3,
          types, values, NULL);
  return ond_row_int64(1);
}

void ond_run_requests_drop(int64 sync_id) {
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.run_requests WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_UPDATE, "UPDATE ondatra.all_syncs SET recover_at = NULL WHERE sync_id OPERATOR(pg_catalog.=) $1");
}

bool ond_sync_has_delivered(int64 sync_id) {
  ond_spi(SPI_OK_SELECT,
          psprintf("SELECT EXISTS (SELECT FROM ondatra.state_%lld) OR EXISTS (SELECT FROM ondatra.send_windows WHERE sync_id "
                   "OPERATOR(pg_catalog.=) %lld)",
                   (long long)sync_id, (long long)sync_id),
          0, NULL, NULL, NULL);
  return ond_row_bool(1);
}

void ond_sync_forget(int64 sync_id) {
  ond_spi(SPI_OK_UTILITY, psprintf("TRUNCATE ondatra.state_%lld", (long long)sync_id), 0, NULL, NULL, NULL);
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.all_failed_rows WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.send_windows WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(sync_id, SPI_OK_DELETE, "DELETE FROM ondatra.jobs WHERE sync_id OPERATOR(pg_catalog.=) $1");
  run_for(
      sync_id, SPI_OK_UPDATE,
      "UPDATE ondatra.all_syncs SET cursor_value = NULL, cursor_seen = NULL, cursor_seen_at = NULL, full_pass_at = NULL, resend = false, "
      "state_rows = 0, sent_model = NULL, sent_mapping = NULL, sent_definition = NULL "
      "WHERE sync_id OPERATOR(pg_catalog.=) $1");
}

void ond_sync_rewind(int64 sync_id) {
  run_for(sync_id, SPI_OK_UPDATE,
          "UPDATE ondatra.all_syncs SET cursor_value = NULL, cursor_seen = NULL, cursor_seen_at = NULL WHERE sync_id OPERATOR(pg_catalog.=) $1");
}

void ond_sync_resend(int64 sync_id) {
  (void)ond_held_runs_end(sync_id, 0, "resend_sync was called: what was held is void.");
  run_for(sync_id, SPI_OK_UPDATE, "UPDATE ondatra.all_syncs SET resend = true WHERE sync_id OPERATOR(pg_catalog.=) $1");
}
