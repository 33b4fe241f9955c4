/*
 * after.h - the option `after` as SQL: how the parents of a chain stand. Both are for "ours" (session.h), where only pg_catalog is in reach.
 */
#ifndef OND_CATALOG_AFTER_H
#define OND_CATALOG_AFTER_H

#include "catalog/sync.h"

/* When sync row s last began to run, or was created: a subquery. A run of a few rows does not count as having run. */
#define OND_AFTER_SINCE                                                                                                                                      \
  "(SELECT coalesce((SELECT r.started_at FROM ondatra.all_runs r WHERE r.sync_id = s.sync_id AND r.started_at IS NOT NULL AND NOT r.canary "                 \
  "                  ORDER BY r.run_id DESC LIMIT 1), s.created_at) AS since)"

/* A row for each parent of sync row s: p (name, accept, most) and d.finished_at, its first good run since l.since; NULL: there is none yet. */
#define OND_AFTER_PARENTS                                                                                                                                    \
  "jsonb_array_elements(s.options -> 'after') a(v) "                                                                                                         \
  "CROSS JOIN LATERAL (SELECT coalesce(a.v ->> 'sync', a.v #>> '{}') AS name, coalesce(a.v -> 'accept', '[\"succeeded\"]') AS accept, "                      \
  "                           a.v -> 'max_failed' AS most) p "                                                                                               \
  "LEFT JOIN LATERAL ("                                                                                                                                      \
  "  SELECT min(r.finished_at) AS finished_at FROM ondatra.all_syncs t JOIN ondatra.all_runs r ON r.sync_id = t.sync_id "                                    \
  "  WHERE t.name = p.name AND r.finished_at > l.since AND NOT r.canary AND p.accept ? r.status "                                                            \
  "    AND (p.most IS NULL OR r.rows_failed + r.rows_invalid + r.deletes_failed <= greatest("                                                                \
  "         CASE jsonb_typeof(p.most) WHEN 'number' THEN p.most::numeric WHEN 'object' THEN coalesce((p.most ->> 'floor')::numeric, 0) ELSE 0 END, "         \
  "         CASE jsonb_typeof(p.most) WHEN 'string' THEN rtrim(p.most #>> '{}', '% ')::numeric WHEN 'object' THEN (p.most ->> 'percent')::numeric "          \
  "           ELSE 0 END * r.rows_scanned / 100))) d ON true "

/* Which parents it waits for and how their last runs ended, a sentence; since: when it last began to run. NULL: for none, or it has no parents. */
extern char *ond_after_waits(const OndSync *s, char **since);

#endif
