-- States of a sync: who moves it where, what is refused, when it is due next.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
RESET client_min_messages;
SET ROLE regress_ann;
SELECT ondatra.create_destination('d', base_url => 'http://127.0.0.1:1', auth => '{"type": "bearer", "token": {"secret": "token"}}') > 0 AS created;
-- in a transaction that does not commit nothing starts by itself
BEGIN;
SELECT ondatra.create_sync('live', 'SELECT 1 AS id', 'd', key => '{id}', schedule => '1 hour') > 0 AS created;
SELECT state, state_reason, next_run_at = now() AS due_at_once FROM ondatra.syncs;
ROLLBACK;
SELECT ondatra.create_sync('manual', 'SELECT 1 AS id', 'd', key => '{id}') > 0 AS created;
SELECT ondatra.create_sync('s', 'SELECT 1 AS id', 'd', key => '{id}', schedule => '1 hour', paused => true) AS id \gset
CREATE VIEW pg_temp.now AS SELECT name, state, state_reason, next_run_at IS NOT NULL AS scheduled FROM ondatra.syncs ORDER BY name;
TABLE pg_temp.now;

-- by people; a sync that never ran is "created" when it is not paused
BEGIN;
SELECT ondatra.resume_sync('s');
SELECT ondatra.resume_sync('manual');
TABLE pg_temp.now;
SELECT ondatra.pause_sync('s');
SELECT ondatra.pause_sync('s');
SELECT ondatra.pause_sync('manual');
TABLE pg_temp.now;
SELECT ondatra.restore_sync('s');
ROLLBACK;
BEGIN;
SELECT ondatra.archive_sync('s');
SELECT ondatra.archive_sync('s');
TABLE pg_temp.now;
SAVEPOINT a;
SELECT ondatra.pause_sync('s');
ROLLBACK TO a;
SELECT ondatra.resume_sync('s');
ROLLBACK TO a;
SELECT ondatra.restore_sync('s');
TABLE pg_temp.now;
ROLLBACK;
SELECT ondatra.pause_sync('nothing');
SELECT ondatra.resume_sync(NULL);

-- a sync that ran: overdue ones start at once, others when they are due
RESET ROLE;
INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, queued_at, started_at, finished_at)
VALUES (-1, :id, 's', 'regress_ann', 'succeeded', 'manual', now() - interval '90 minutes', now() - interval '90 minutes', now() - interval '90 minutes');
UPDATE ondatra.all_syncs SET last_run_id = -1 WHERE name = 's';
SET ROLE regress_ann;
BEGIN;
SELECT ondatra.resume_sync('s');
SELECT state, next_run_at <= clock_timestamp() AS overdue FROM ondatra.syncs WHERE name = 's';
ROLLBACK;
RESET ROLE;
UPDATE ondatra.all_runs SET started_at = clock_timestamp() WHERE run_id = -1;
SET ROLE regress_ann;
BEGIN;
SELECT ondatra.resume_sync('s');
SELECT state, next_run_at > clock_timestamp() AS later, next_run_at <= clock_timestamp() + interval '1 hour' AS within_the_hour FROM ondatra.syncs WHERE name = 's';
-- due times are anchored
RESET ROLE;
SELECT (next_run_at - anchor) = interval '1 hour' AS anchored FROM ondatra.all_syncs WHERE name = 's';
SET ROLE regress_ann;
SELECT ondatra.update_sync('s', schedule => '2 hours');
SELECT next_run_at > clock_timestamp() + interval '119 minutes' AS anew FROM ondatra.syncs WHERE name = 's';
ROLLBACK;

-- state error: resume, or a new value of the secret when it stopped for credentials
RESET ROLE;
UPDATE ondatra.all_syncs SET state = 'error', state_reason = '401 Unauthorized', failures = 3;
UPDATE ondatra.all_runs SET status = 'failed', error_code = '57014' WHERE run_id = -1;
SET ROLE regress_ann;
BEGIN;
SELECT ondatra.set_secret('token', 'x');
TABLE pg_temp.now;
SELECT ondatra.resume_sync('s');
TABLE pg_temp.now;
RESET ROLE;
SELECT failures FROM ondatra.all_syncs WHERE name = 's';
ROLLBACK;
RESET ROLE;
UPDATE ondatra.all_runs SET error_code = '28000' WHERE run_id = -1;
SET ROLE regress_ann;
BEGIN;
SELECT ondatra.set_secret('another', 'x');
SELECT ondatra.set_secret('token', 'x');
TABLE pg_temp.now;
ROLLBACK;

-- dropping takes everything but the history of runs
RESET ROLE;
BEGIN;
INSERT INTO ondatra.run_requests (sync_id, trigger, requested_by) VALUES (:id, 'manual', 'regress_ann');
INSERT INTO ondatra.send_windows VALUES (:id, -1, 1, now(), '');
INSERT INTO ondatra.all_failed_rows (sync_id, key, operation, error_class, error_message, attempts, first_failed_at, last_failed_at, run_id)
VALUES (:id, '{"id": 1}', 'create', 'rejected', 'no', 1, now(), now(), -1);
INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, queued_at) VALUES (-2, :id, 's', 'regress_ann', 'held', 'manual', now());
SET ROLE regress_ann;
SELECT ondatra.drop_sync('s');
COMMIT;
SELECT ondatra.drop_sync('s');
SELECT ondatra.drop_sync('manual');
SELECT run_id, sync_name, status, finished_at IS NOT NULL AS finished FROM ondatra.sync_runs WHERE sync_id = :id ORDER BY run_id;
RESET ROLE;
SELECT (SELECT count(*) FROM ondatra.run_requests) AS requests, (SELECT count(*) FROM ondatra.send_windows) AS windows,
       (SELECT count(*) FROM ondatra.all_failed_rows) AS failed, to_regclass('ondatra.state_' || :id) AS state_table;
DELETE FROM ondatra.all_runs;
DELETE FROM ondatra.all_secrets;
SET ROLE regress_ann;
SELECT ondatra.drop_destination('d');
RESET ROLE;
DROP VIEW pg_temp.now;
DROP ROLE regress_ann;
