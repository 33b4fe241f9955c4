-- The views as people see them: columns in their order, numbers that follow from the tables.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
RESET client_min_messages;

SELECT c.relname AS view, string_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)), E'\n' ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'ondatra'::regnamespace AND c.relkind = 'v' AND a.attnum > 0 AND c.relname NOT IN ('run_progress', 'destination_status')
GROUP BY c.relname ORDER BY c.relname;

SET ROLE regress_ann;
SELECT ondatra.create_destination('d', base_url => 'http://127.0.0.1:1') > 0 AS created;
SELECT ondatra.create_sync('a', 'SELECT 1 AS id', 'd', key => '{id}', schedule => '15 minutes', paused => true) AS a \gset
SELECT ondatra.create_sync('b', 'SELECT 1 AS id', 'd', key => '{id}') AS b \gset
RESET ROLE;
-- never committed: runs that nobody runs would be cleaned up
BEGIN;
INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, queued_at, started_at, finished_at, rows_scanned, rows_created, rows_pending, deletes_pending)
VALUES (-3, :a, 'a', 'regress_ann', 'partial', 'schedule', '2026-01-01 00:00:00.4+00', '2026-01-01 00:00:00.5+00', '2026-01-01 00:01:01+00', 10, 3, 7, 2),
       (-2, :a, 'a', 'regress_ann', 'running', 'manual', now(), now() - interval '1 hour', NULL, 0, 0, 0, 0),
       (-1, :b, 'b', 'regress_ann', 'queued', 'manual', now(), NULL, NULL, 0, 0, 0, 0);
UPDATE ondatra.all_syncs SET last_run_id = -3, state = 'active', next_run_at = '2100-01-01 00:00:00.7+00' WHERE sync_id = :a;
INSERT INTO ondatra.all_failed_rows (sync_id, key, operation, error_class, error_message, attempts, first_failed_at, last_failed_at, next_attempt_at, run_id)
VALUES (:a, '{"id": 1}', 'create', 'rejected', 'email is not valid', 1, '2026-01-01 00:00+00', '2026-01-01 00:00+00', NULL, -3),
       (:a, '{"id": 2}', 'update', 'unavailable', 'no answer', 2, '2026-01-01 00:00+00', '2026-01-01 00:00+00', '2026-01-01 00:10+00', -3);
SET ROLE regress_ann;
SET timezone = 'UTC';
SELECT * FROM ondatra.sync_status;
SELECT run_id, status, duration, duration > interval '1 hour' AS goes_on FROM ondatra.sync_runs WHERE run_id IN (-3, -1) ORDER BY run_id;
SELECT duration >= interval '1 hour' AS goes_on FROM ondatra.sync_runs WHERE run_id = -2;
SELECT key, operation, error_class, error_message, next_attempt_at, sync_name FROM ondatra.failed_rows ORDER BY key;

-- a sync whose owner, and a destination whose row, is gone does not break the views
RESET ROLE;
UPDATE ondatra.all_syncs SET owner = 4000000000, destination_id = -1 WHERE sync_id = :b;
SELECT name, owner, destination, state FROM ondatra.syncs ORDER BY name;
SET ROLE regress_ann;
SELECT name, owner, destination, state FROM ondatra.syncs ORDER BY name;
ROLLBACK;

-- rows come by their number without a scan of all
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT status FROM ondatra.sync_runs WHERE run_id = 1;
RESET enable_seqscan;

SET ROLE regress_ann;
SELECT ondatra.drop_sync(name) FROM ondatra.syncs ORDER BY name;
SELECT ondatra.drop_destination('d');
RESET ROLE;
DROP ROLE regress_ann;
