-- What belongs to one role is as missing for another, and the owner of a sync is who creates it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
CREATE ROLE regress_bob LOGIN;
CREATE ROLE regress_team;
CREATE SCHEMA regress_priv AUTHORIZATION regress_ann;
RESET client_min_messages;
SET ROLE regress_ann;
CREATE TABLE regress_priv.t (id int PRIMARY KEY);
SELECT ondatra.set_secret('token', 'x');
SELECT ondatra.create_destination('d', base_url => 'http://127.0.0.1:1', auth => '{"type": "bearer", "token": {"secret": "token"}}') > 0 AS created;
SELECT ondatra.create_sync('s', 'regress_priv.t', 'd') AS id \gset
RESET ROLE;
INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, queued_at, started_at, finished_at, error_message)
VALUES (-1, :id, 's', 'regress_ann', 'failed', 'manual', now(), now(), now(), 'ann''s business');
INSERT INTO ondatra.all_failed_rows (sync_id, key, operation, error_class, error_message, attempts, first_failed_at, last_failed_at, run_id)
VALUES (:id, '{"id": 1}', 'create', 'rejected', 'ann''s business', 1, now(), now(), -1);

-- bob sees nothing, not even through a function that costs less than the filter
SET ROLE regress_bob;
SELECT (SELECT count(*) FROM ondatra.secrets) AS secrets, (SELECT count(*) FROM ondatra.destinations) AS destinations, (SELECT count(*) FROM ondatra.syncs) AS syncs,
       (SELECT count(*) FROM ondatra.sync_runs) AS runs, (SELECT count(*) FROM ondatra.failed_rows) AS failed, (SELECT count(*) FROM ondatra.sync_status) AS status,
       (SELECT count(*) FROM ondatra.run_progress) AS progress, (SELECT count(*) FROM ondatra.destination_status) AS destination_status;
CREATE FUNCTION pg_temp.leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'leaked: %', t; RETURN true; END $$;
SELECT name FROM ondatra.secrets WHERE pg_temp.leak(name);
SELECT name FROM ondatra.destinations WHERE pg_temp.leak(name);
SELECT name FROM ondatra.syncs WHERE pg_temp.leak(name);
SELECT run_id FROM ondatra.sync_runs WHERE pg_temp.leak(error_message);
SELECT key FROM ondatra.failed_rows WHERE pg_temp.leak(error_message);
SELECT name FROM ondatra.sync_status WHERE pg_temp.leak(name);
SELECT * FROM ondatra.all_syncs;
\set VERBOSITY sqlstate
SELECT * FROM ondatra.state_:id;
\set VERBOSITY default

-- and every function answers as if there were nothing
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN 'it worked: ' || statement;
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT format('%s: %s', f, pg_temp.try(format('SELECT * FROM ondatra.%s', f))) FROM unnest(ARRAY[
  'drop_secret(''token'')', 'update_destination(''d'')', 'drop_destination(''d'')', 'test_destination(''d'')', 'create_sync(''b'', ''SELECT 1 AS id'', ''d'', key => ''{id}'')',
  'update_sync(''s'')', 'rename_sync(''s'', ''t'')', 'drop_sync(''s'')', 'pause_sync(''s'')', 'resume_sync(''s'')', 'archive_sync(''s'')', 'restore_sync(''s'')', 'plan_sync(''s'')',
  'preview_sync(''s'')', 'explain_sync(''s'')', 'explain_row(''s'', ''{"id": 1}'')', 'retry_failed(''s'')', 'discard_failed(''s'')', 'resend_sync(''s'')',
  'rebase_sync(''s'')', 'reconcile_sync(''s'')', 'run_sync(''s'')', 'trigger_sync(''s'')']) AS f;

-- a member of the owner sees and edits; NOINHERIT members only after SET ROLE
RESET ROLE;
GRANT regress_ann TO regress_bob;
SET ROLE regress_bob;
SELECT name, owner FROM ondatra.syncs;
SELECT ondatra.update_sync('s', options => '{"batch_size": 5}');
-- the owner stays who it was
SELECT name, owner, options FROM ondatra.syncs;
RESET ROLE;
REVOKE regress_ann FROM regress_bob;

-- the owner is who calls: inside a SECURITY DEFINER function its owner
SET ROLE regress_ann;
CREATE FUNCTION regress_priv.make(name text) RETURNS boolean LANGUAGE sql SECURITY DEFINER
  AS $$ SELECT ondatra.create_sync(name, 'regress_priv.t', 'd') > 0 $$;
GRANT USAGE ON SCHEMA regress_priv TO regress_bob;
SET ROLE regress_bob;
SELECT regress_priv.make('made');
SELECT count(*) FROM ondatra.syncs;
SET ROLE regress_ann;
SELECT name, owner FROM ondatra.syncs WHERE name = 'made';
SELECT ondatra.drop_sync('made');

-- what a model calls cannot use our functions with the owner's rights, whoever looks at it
CREATE FUNCTION regress_priv.evil() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM ondatra.test_destination('d'); RETURN 1; END $$;
SELECT ondatra.create_sync('evil', 'SELECT 1 AS id, regress_priv.evil() AS x', 'd', key => '{id}') > 0 AS created;
\set VERBOSITY terse
SELECT * FROM ondatra.plan_sync('evil');
CREATE MATERIALIZED VIEW regress_priv.evil AS SELECT regress_priv.evil();
\set VERBOSITY default
SELECT ondatra.drop_sync('evil');

-- a model that the owner may not read is refused at once, whoever else may read it
SET ROLE regress_bob;
SELECT ondatra.create_destination('bob''s', base_url => 'http://127.0.0.1:1') > 0 AS created;
SELECT ondatra.create_sync('peek', 'regress_priv.t', 'bob''s');

-- roles without LOGIN cannot run before PostgreSQL 17; superusers may, if they must, and are told
RESET ROLE;
GRANT CREATE, USAGE ON SCHEMA regress_priv TO regress_team;
SET ROLE regress_team;
SELECT ondatra.create_destination('team''s', base_url => 'http://127.0.0.1:1') > 0 AS created;
DO $$
DECLARE
  runs boolean := current_setting('server_version_num')::int >= 170000;
  primary_text text;
  detail text;
  hint text;
BEGIN
  PERFORM ondatra.create_sync('team', 'SELECT 1 AS id', 'team''s', key => '{id}');
  PERFORM ondatra.drop_sync('team');
  ASSERT runs, 'a role without LOGIN has a sync that cannot run';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS primary_text = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  ASSERT NOT runs AND primary_text = 'role "regress_team" cannot own syncs: it may not log in'
    AND detail = 'Runs are sessions of the owner, which needs the LOGIN attribute before PostgreSQL 17.'
    AND hint = 'ALTER ROLE regress_team LOGIN (it needs no password), or create the sync as another role.', primary_text || ' / ' || detail || ' / ' || hint;
END
$$;
RESET ROLE;
SELECT ondatra.create_sync('root', 'SELECT 1 AS id', 'd', key => '{id}') > 0 AS created;
SELECT ondatra.drop_sync('root');
ALTER SYSTEM SET ondatra.allow_superuser_owner = off;
SELECT pg_reload_conf();
\c -
SELECT ondatra.create_sync('root', 'SELECT 1 AS id', 'd', key => '{id}');
ALTER SYSTEM RESET ondatra.allow_superuser_owner;
SELECT pg_reload_conf();
\c -

-- superusers see all, also what belongs to nobody any more
SELECT ondatra.drop_destination('bob''s');
SELECT ondatra.drop_destination('team''s');
SELECT ondatra.drop_sync('s');
SELECT ondatra.drop_destination('d');
DROP SCHEMA regress_priv CASCADE;
DROP ROLE regress_ann;
SELECT run_id, sync_name, error_message FROM ondatra.sync_runs;
SET ROLE regress_bob;
SELECT count(*) FROM ondatra.sync_runs;
RESET ROLE;
DELETE FROM ondatra.all_runs;
DELETE FROM ondatra.all_secrets;
DROP ROLE regress_bob, regress_team;
