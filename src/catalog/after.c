/*
 * after.c - chains of syncs: what the option `after` may name, and what keeps a sync from being dropped.
 *
 * A chain is only in the options, by name, which rename_sync keeps true: worker/queue.c looks at the parents' finished runs each time. So that there is
 * neither a circle nor a parent that is gone, whoever makes a chain or drops a sync takes one lock till the end of the transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"

#include "catalog/after.h"
#include "catalog/edit.h"
#include "catalog/rows.h"
#include "catalog/session.h"

/* "The chains of this database": no sync has the number 0. */
void ond_after_lock(void) {
  LockDatabaseObject(ond_extension(false)->syncs_relid, 0, 1, ShareUpdateExclusiveLock);
}

static void check_parent(const OndSync *s, const char *parent, Oid role) {
  if (strcmp(parent, s->name) == 0) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("sync \"%s\" cannot run after itself", s->name),
                    errhint("Name other syncs in the option after.")));
  }
  if (ond_sync_by_name(parent, role) == NULL) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("sync \"%s\", which the option after names, does not exist", parent),
                    errhint("The view ondatra.syncs lists those that the sync's owner may name.")));
  }
}

/* The names of `after` of sync row s, as rows p(name). */
#define PARENTS                                                                                                                        \
  "LATERAL (SELECT coalesce(a.v OPERATOR(pg_catalog.->>) 'sync', a.v OPERATOR(pg_catalog.#>>) '{}') AS name "                          \
  "FROM pg_catalog.jsonb_array_elements(s.options OPERATOR(pg_catalog.->) 'after') a(v)) p"

/* The way from a parent back to the sync, "companies, countries"; NULL: there is none. */
static char *find_circle(const OndSync *s, const char *parent) {
  Oid types[] = {TEXTOID, TEXTOID};
  Datum values[] = {CStringGetTextDatum(parent), CStringGetTextDatum(s->name)};
  MemoryContext caller = CurrentMemoryContext;
  char *way = NULL;

  if (ond_spi(SPI_OK_SELECT,
              "WITH RECURSIVE up(name, way) AS (SELECT $1, ARRAY[$1] UNION ALL SELECT p.name, up.way OPERATOR(pg_catalog.||) p.name FROM up "
              "JOIN ondatra.all_syncs s ON s.name OPERATOR(pg_catalog.=) up.name CROSS JOIN " PARENTS
              " WHERE NOT p.name OPERATOR(pg_catalog.=) ANY (up.way)) "
              "SELECT pg_catalog.array_to_string(up.way, ', ') FROM up WHERE up.name OPERATOR(pg_catalog.=) $2 LIMIT 1",
              2, types, values, NULL) > 0) {
    way = ond_row_text(1, caller);
  }
  return way;
}

void ond_after_check(const OndSync *s) {
  if (s->options.n_after == 0) {
    return;
  }
  ond_after_lock();
  for (int i = 0; i < s->options.n_after; i++) {
    const char *parent = s->options.after[i].sync;
    char *way;

    check_parent(s, parent, s->owner);
    way = find_circle(s, parent);
    if (way != NULL) {
      ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("sync \"%s\" cannot run after \"%s\": they would wait for each other", s->name, parent),
                      errdetail("The circle is %s, %s.", s->name, way), errhint("Remove one of them from the option after.")));
    }
  }
}

void ond_after_check_drop(const OndSync *s) {
  Oid types[] = {TEXTOID};
  Datum values[] = {CStringGetTextDatum(s->name)};
  MemoryContext caller = CurrentMemoryContext;
  char *child = NULL;

  ond_after_lock();
  if (ond_spi(SPI_OK_SELECT,
              "SELECT s.name FROM ondatra.all_syncs s CROSS JOIN " PARENTS " WHERE p.name OPERATOR(pg_catalog.=) $1 ORDER BY s.name LIMIT 1", 1, types,
              values, NULL) > 0) {
    child = ond_row_text(1, caller);
  }
  if (child != NULL) {
    ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST), errmsg("sync \"%s\" cannot be dropped: sync \"%s\" runs after it", s->name, child),
                    errhint("Change its option after first: ondatra.update_sync(%s, options => '{\"after\": null}').", quote_literal_cstr(child))));
  }
}

char *ond_after_waits(const OndSync *s, char **since) {
  Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(s->sync_id)};
  MemoryContext caller = CurrentMemoryContext;
  char *waits = NULL;

  if (s->options.n_after > 0 &&
      ond_spi(SPI_OK_SELECT,
              "SELECT string_agg(format('sync \"%s\" has not ended as %s%s%s', p.name,"
              " (SELECT string_agg(w, ' or ' ORDER BY i) FROM jsonb_array_elements_text(p.accept) WITH ORDINALITY x (w, i)),"
              " CASE WHEN p.most IS NOT NULL THEN format(' with at most %s rows failed', p.most #>> '{}') END,"
              " CASE WHEN t.state IN ('paused', 'error', 'archived') THEN format(' (it is in state %s)', t.state)"
              "      WHEN r.finished_at > l.since THEN format(' (its run %s ended as %s)', r.run_id, r.status) END), '; '),"
              " min(date_trunc('second', l.since)::text)"
              " FROM ondatra.all_syncs s CROSS JOIN LATERAL " OND_AFTER_SINCE " l CROSS JOIN LATERAL " OND_AFTER_PARENTS
              "LEFT JOIN ondatra.all_syncs t ON t.name = p.name LEFT JOIN ondatra.all_runs r ON r.run_id = t.last_run_id"
              " WHERE s.sync_id = $1 AND d.finished_at IS NULL",
              1, types, values, NULL) > 0) {
    waits = ond_row_text(1, caller);
    *since = ond_row_text(2, caller);
  }
  return waits;
}
