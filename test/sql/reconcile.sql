-- reconcile_sync: what it answers before it asks anybody
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
CREATE SCHEMA regress_reconcile AUTHORIZATION regress_ann;
RESET client_min_messages;
SET ROLE regress_ann;
CREATE TABLE regress_reconcile.t (id int PRIMARY KEY, v text);
SELECT ondatra.create_destination('d', base_url => 'http://127.0.0.1:9', options =>
  '{"object": {"upsert": {"method": "PUT", "path": "/{{key}}"}, "delete": {"method": "DELETE", "path": "/{{key}}"}}}') > 0;
SELECT ondatra.create_destination('nameless', base_url => 'http://127.0.0.1:9', options =>
  '{"object": {"upsert": {"method": "PUT", "path": "/{{key}}"}, "list": {"method": "GET", "path": "/", "rows": "/rows"}}}') > 0;
SELECT ondatra.create_sync('s', 'regress_reconcile.t', 'd') > 0;
SELECT ondatra.create_sync('mirrored', 'regress_reconcile.t', 'd', mode => 'mirror') > 0;
SELECT ondatra.create_sync('inserting', 'regress_reconcile.t', 'd', mode => 'insert') > 0;
SELECT ondatra.create_sync('updating', 'regress_reconcile.t', 'd', mode => 'update') > 0;
SELECT ondatra.create_sync('nameless', 'regress_reconcile.t', 'nameless') > 0;

SELECT * FROM ondatra.reconcile_sync(NULL);
SELECT * FROM ondatra.reconcile_sync('nobody');
SELECT * FROM ondatra.reconcile_sync('s', '{adopt,everything}');
SELECT * FROM ondatra.reconcile_sync('s', ARRAY['adopt', NULL]);

-- what the mode never sends
SELECT * FROM ondatra.reconcile_sync('s', '{adopt,extra}');
SELECT * FROM ondatra.reconcile_sync('inserting', '{different}');
SELECT * FROM ondatra.reconcile_sync('updating', '{missing}');

-- what cannot be listed
SELECT * FROM ondatra.reconcile_sync('s', NULL);
SELECT * FROM ondatra.reconcile_sync('mirrored', '{adopt,missing,different,extra}');
SELECT * FROM ondatra.reconcile_sync('nameless');
SELECT sync_name, status, trigger, error_code FROM ondatra.sync_runs ORDER BY run_id;
SELECT name, state FROM ondatra.syncs ORDER BY name;

-- a run needs what is committed
BEGIN;
SELECT ondatra.update_sync('s', mapping => '{"v": "v"}');
SELECT * FROM ondatra.reconcile_sync('s');
ROLLBACK;
SELECT ondatra.archive_sync('s');
SELECT * FROM ondatra.reconcile_sync('s');

SELECT ondatra.drop_sync(name) FROM ondatra.syncs;
SELECT ondatra.drop_destination(name) FROM ondatra.destinations;
RESET ROLE;
DROP SCHEMA regress_reconcile CASCADE;
DROP OWNED BY regress_ann;
DROP ROLE regress_ann;
