/*
 * rename.c - another name for a sync, everywhere it stands.
 *
 * Other syncs name it in their option `after` and in lookups of their mappings; these follow. They mean what they meant, so their versions do not
 * count it, and a run of theirs that goes on does not notice. What a complete run remembers of its mapping follows, too: the guard config_change would
 * take it for an edit. Runs carry the name of their sync.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/edit.h"
#include "catalog/rows.h"
#include "catalog/session.h"

/* All are run inside "ours", where only pg_catalog is in reach; $1: the sync's number, $2: its name, $3: the new one. */

/* In the order of numbers, as everybody who locks several. */
static const char lock_sql[] = "SELECT FROM ondatra.all_syncs s WHERE s.sync_id = $1 OR s.options ? 'after' OR s.mapping IS NOT NULL ORDER BY s.sync_id FOR UPDATE";

static const char after_sql[] =
    "UPDATE ondatra.all_syncs s SET options = jsonb_set(s.options, '{after}', n.list), updated_at = now() FROM ("
    " SELECT o.sync_id, jsonb_agg(CASE WHEN jsonb_typeof(a.v) = 'string' AND a.v #>> '{}' = $2 THEN to_jsonb($3)"
    "   WHEN a.v ->> 'sync' = $2 THEN jsonb_set(a.v, '{sync}', to_jsonb($3)) ELSE a.v END ORDER BY a.i) AS list"
    " FROM ondatra.all_syncs o CROSS JOIN LATERAL jsonb_array_elements(o.options -> 'after') WITH ORDINALITY a (v, i) GROUP BY o.sync_id) n"
    " WHERE n.sync_id = s.sync_id AND n.list <> s.options -> 'after' AND $1 > 0";

/* A mapping was jsonb when it came (create_sync), so its text is what jsonb makes of it; both forms, an object and a list. */
#define RENAMED(column)                                                                                                              \
  "(CASE jsonb_typeof(" column "::jsonb) WHEN 'object' THEN (SELECT jsonb_object_agg(e.key, CASE WHEN e.value #>> '{lookup,sync}' = $2 "   \
  "   THEN jsonb_set(e.value, '{lookup,sync}', to_jsonb($3)) ELSE e.value END) FROM jsonb_each(" column "::jsonb) e) "               \
  " WHEN 'array' THEN (SELECT jsonb_agg(CASE WHEN e.v #>> '{source,lookup,sync}' = $2 "                                              \
  "   THEN jsonb_set(e.v, '{source,lookup,sync}', to_jsonb($3)) ELSE e.v END ORDER BY e.i) "                                         \
  "   FROM jsonb_array_elements(" column "::jsonb) WITH ORDINALITY e (v, i)) END)::text"

static const char lookup_sql[] =
    "UPDATE ondatra.all_syncs s SET mapping = n.mapping::json, sent_mapping = CASE WHEN s.sent_mapping = s.mapping::text THEN n.mapping ELSE s.sent_mapping END,"
    " updated_at = now() FROM (SELECT o.sync_id, " RENAMED("o.mapping") " AS mapping FROM ondatra.all_syncs o WHERE o.mapping IS NOT NULL) n"
    " WHERE n.sync_id = s.sync_id AND n.mapping <> s.mapping::jsonb::text AND $1 > 0";

static const char name_sql[] = "UPDATE ondatra.all_syncs SET name = $3, updated_at = now() WHERE sync_id = $1 AND name = $2";
static const char runs_sql[] = "UPDATE ondatra.all_runs SET sync_name = $3 WHERE sync_id = $1 AND sync_name = $2";

static bool is_taken(const char *name) {
  Oid types[] = {TEXTOID};
  Datum values[] = {CStringGetTextDatum(name)};

  return ond_spi(SPI_OK_SELECT, "SELECT FROM ondatra.all_syncs WHERE name = $1", 1, types, values, NULL) > 0;
}

void ond_sync_rename(const OndSync *s, const char *name) {
  static const struct {
    int expect;
    const char *sql;
  } steps[] = {{SPI_OK_SELECT, lock_sql}, {SPI_OK_UPDATE, name_sql}, {SPI_OK_UPDATE, after_sql}, {SPI_OK_UPDATE, lookup_sql}, {SPI_OK_UPDATE, runs_sql}};
  Oid types[] = {INT8OID, TEXTOID, TEXTOID};
  Datum values[] = {Int64GetDatum(s->sync_id), CStringGetTextDatum(s->name), CStringGetTextDatum(name)};

  ond_after_lock();
  if (is_taken(name))
    ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("sync \"%s\" already exists", name), errhint("Use another name.")));
  for (int i = 0; i < lengthof(steps); i++)
    ond_spi(steps[i].expect, steps[i].sql, lengthof(types), types, values, NULL);
}
