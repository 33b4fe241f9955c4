-- create_sync and update_sync: what is refused, with which words, and what a change does to what was delivered.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
CREATE SCHEMA regress_mart AUTHORIZATION regress_ann;
RESET client_min_messages;
SET ROLE regress_ann;
CREATE TABLE regress_mart.customers (id int PRIMARY KEY, email text, plan text, mrr numeric, seen timestamptz);
CREATE VIEW regress_mart.v AS SELECT * FROM regress_mart.customers;
CREATE TABLE regress_mart.pairs (country text, id bigint, name text, PRIMARY KEY (id, country));
CREATE TEMP TABLE short_lived (id int PRIMARY KEY);
SELECT ondatra.create_destination('crm', base_url => 'https://crm.example.com',
  options => '{"object": {"upsert": {"method": "PUT", "path": "/contacts/{{key}}"}, "delete": {"method": "DELETE", "path": "/contacts/{{key}}"}}}') > 0 AS created;
SELECT ondatra.create_destination('plain', base_url => 'https://plain.example.com') > 0 AS created;

-- what is missing
SELECT ondatra.create_sync(NULL, 'regress_mart.customers', 'crm');
SELECT ondatra.create_sync('s', NULL, 'crm');
SELECT ondatra.create_sync('s', 'regress_mart.customers', NULL);
SELECT ondatra.create_sync('s', 'regress_mart.nothing', 'crm');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'nowhere');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', object => 'orders');

-- models
SELECT ondatra.create_sync('s', '', 'crm');
SELECT ondatra.create_sync('s', 'SELECT 1; SELECT 2', 'crm');
SELECT ondatra.create_sync('s', 'SELECT 1 AS id) q; DROP TABLE x; --', 'crm');
SELECT ondatra.create_sync('s', 'DELETE FROM regress_mart.customers RETURNING *', 'crm', key => '{id}');
SELECT ondatra.create_sync('s', 'WITH d AS (DELETE FROM regress_mart.customers RETURNING *) SELECT * FROM d', 'crm', key => '{id}');
SELECT ondatra.create_sync('s', 'SELECT * INTO regress_mart.copy FROM regress_mart.customers', 'crm', key => '{id}');
SELECT ondatra.create_sync('s', 'SELECT * FROM regress_mart.customers FOR UPDATE', 'crm', key => '{id}');
SELECT ondatra.create_sync('s', 'SELECT 1 AS a, 2 AS a', 'crm', key => '{a}');
SELECT ondatra.create_sync('s', 'short_lived', 'crm');
SELECT ondatra.create_sync('s', 'SELECT $1 AS id', 'crm', key => '{id}');

-- what is written in SQL says where it stands
SELECT ondatra.create_sync('s', 'SELEC 1 AS id', 'crm', key => '{id}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', mapping => '{"a": "email", "b": {"sql": "lower("}}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', mapping => '{"a": "email", "b": {"sql": "lower(emial)"}}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', options => '{"checks": {"has an address": {"row": "emial LIKE ''%@%''"}}}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', options => '{"checks": {"enough": {"model": "count(*) >"}}}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', mapping => '"email"');

-- keys
SELECT ondatra.create_sync('s', 'regress_mart.v', 'crm');
SELECT ondatra.create_sync('s', 'SELECT 1 AS x', 'crm');
SELECT ondatra.create_sync('s', 'SELECT 1 AS x', 'crm', key => '{id}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', key => '{idd}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', key => '{}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', key => '{id,NULL}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', key => '{id,id}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', key => '{{id},{email}}');
SELECT ondatra.create_sync('s', 'SELECT ARRAY[1] AS id', 'crm', key => '{id}');
SELECT ondatra.create_sync('s', 'regress_mart.pairs', 'crm');

-- modes, mappings, schedules
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', mode => 'merge');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', mode => NULL, paused => NULL) > 0 AS created;
SELECT mode, state FROM ondatra.syncs;
SELECT ondatra.drop_sync('s');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'plain', mode => 'mirror');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', mapping => '{"email": "e_mail"}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', mapping => '{}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', mapping => '7');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', schedule => 'sometimes');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', schedule => '0 seconds');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', schedule => '*/5 * * * *');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', options => '{"cursor_column": "since"}');
SELECT ondatra.create_sync('s', 'regress_mart.customers', 'crm', options => '{"on_nothing": "run"}');

-- nothing half-created stayed
SELECT count(*) FROM ondatra.syncs;
RESET ROLE;
SELECT count(*) FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relname LIKE 'state%';
SET ROLE regress_ann;

-- a sync, as the tour makes it
SELECT ondatra.create_sync('customers', 'regress_mart.customers', 'crm', key => '{id}', mode => 'mirror',
  mapping => '{"email": "email", "plan": "plan", "mrr": "mrr"}', schedule => '15 minutes', paused => true) AS id \gset
SELECT name, owner, model, destination, object, key, mode, mapping, schedule, options, state, state_reason, next_run_at, last_run_id FROM ondatra.syncs \gx
SELECT * FROM ondatra.sync_status;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = ('ondatra.state_' || :id)::regclass AND attnum > 0 ORDER BY attnum LIMIT 2;
RESET ROLE;
SELECT deptype, pg_describe_object(refclassid, refobjid, refobjsubid) FROM pg_depend
WHERE classid = 'pg_class'::regclass AND objid = ('ondatra.state_' || :id)::regclass AND refclassid = 'pg_extension'::regclass;
SELECT relpersistence FROM pg_class WHERE oid = ('ondatra.state_' || :id)::regclass;
SELECT length(hash_seed) AS seed_bytes, version, hash_format, columns FROM ondatra.all_syncs;
SET ROLE regress_ann;

-- the primary key, in its own order
SELECT ondatra.create_sync('pairs', 'regress_mart.pairs', 'plain') > 0 AS created;
SELECT name, key FROM ondatra.syncs ORDER BY name;

-- updates: what is not said stays
SELECT ondatra.update_sync('nothing');
SELECT ondatra.update_sync('customers');
SELECT ondatra.update_sync('customers', key => '{idd}');
SELECT ondatra.update_sync('customers', mode => 'upsert', options => '{"batch_size": 10}');
SELECT ondatra.update_sync('customers', mapping => 'null', schedule => 'manual');
SELECT model, destination, key, mode, mapping, schedule, options, state, next_run_at FROM ondatra.syncs WHERE name = 'customers' \gx
SELECT ondatra.update_sync('customers', mapping => '{"email": "nope"}');
-- in one transaction: no run comes between
BEGIN;
SELECT ondatra.update_sync('customers', schedule => '1 hour', paused => false);
SELECT schedule, state, next_run_at <= clock_timestamp() AS due, state_reason FROM ondatra.syncs WHERE name = 'customers';
SELECT ondatra.update_sync('customers', paused => true);
COMMIT;
SELECT schedule, state, next_run_at, state_reason FROM ondatra.syncs WHERE name = 'customers';
SELECT ondatra.update_sync('customers', destination => 'nowhere');
SELECT ondatra.update_sync('customers', delivered => 'forget');
SELECT ondatra.update_sync('customers', delivered => 'maybe');

-- another key before anything was delivered: the state table follows
SELECT ondatra.update_sync('customers', key => '{email}');
SELECT key FROM ondatra.syncs WHERE name = 'customers';
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = ('ondatra.state_' || :id)::regclass AND attnum > 0 ORDER BY attnum LIMIT 2;
SELECT ondatra.update_sync('customers', key => '{id}');

-- and after: it has to be said what becomes of it
RESET ROLE;
INSERT INTO ondatra.state_:id (k1, _hash) VALUES (1, '00000000-0000-0000-0000-000000000001');
UPDATE ondatra.all_syncs SET cursor_value = 'x', full_pass_at = now() WHERE name = 'customers';
SET ROLE regress_ann;
SELECT ondatra.update_sync('customers', key => '{email}');
SELECT ondatra.update_sync('customers', key => '{email}', delivered => 'keep');
SELECT ondatra.update_sync('customers', destination => 'plain');
SELECT ondatra.update_sync('customers', model => 'SELECT id::bigint AS id, email FROM regress_mart.customers');
SELECT key, destination, model FROM ondatra.syncs WHERE name = 'customers';
SELECT ondatra.update_sync('customers', destination => 'plain', delivered => 'keep');
SELECT destination, (SELECT count(*) FROM ondatra.state_:id) AS delivered FROM ondatra.syncs WHERE name = 'customers';
SELECT ondatra.update_sync('customers', destination => 'crm', delivered => 'forget');
SELECT destination, (SELECT count(*) FROM ondatra.state_:id) AS delivered FROM ondatra.syncs WHERE name = 'customers';
RESET ROLE;
SELECT cursor_value, full_pass_at FROM ondatra.all_syncs WHERE name = 'customers';
-- a send window that a dead run left counts as delivered: its rows may have arrived
INSERT INTO ondatra.send_windows VALUES (:id, 1, 1, now(), '');
SET ROLE regress_ann;
SELECT ondatra.update_sync('customers', destination => 'plain');
SELECT ondatra.update_sync('customers', model => 'SELECT id::bigint AS id, email FROM regress_mart.customers', delivered => 'forget');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = ('ondatra.state_' || :id)::regclass AND attnum > 0 ORDER BY attnum LIMIT 2;
RESET ROLE;
SELECT count(*) FROM ondatra.send_windows;
SET ROLE regress_ann;

-- keys of rows are looked at when they are given: no run is made for one that cannot be
SELECT ondatra.run_sync('pairs', keys => '[{"country": "at", "id": 1}, {"country": "at", "id": "one"}]');
SELECT ondatra.run_sync('pairs', keys => '{"country": "at", "id": 1.5}');
SELECT ondatra.run_sync('pairs', keys => '{"country": "at", "id": null}');
SELECT ondatra.run_sync('pairs', keys => '{"country": "at"}');
SELECT ondatra.run_sync('pairs', keys => '{"country": "at", "number": 1}');
SELECT ondatra.run_sync('pairs', keys => '[1]');
SELECT ondatra.explain_row('pairs', '{"country": "at", "id": 99999999999999999999}');
SELECT ondatra.retry_failed('pairs', '{"country": "at", "id": true}');
SELECT ondatra.discard_failed('pairs', '[{"country": 43, "id": "7"}, {"country": true, "id": 8}]');
SELECT count(*) FROM ondatra.sync_runs;

-- what an aborted edit did is gone with it
BEGIN;
SELECT ondatra.update_sync('customers', mode => 'insert');
SAVEPOINT a;
SELECT ondatra.drop_sync('customers');
SELECT count(*) FROM ondatra.syncs WHERE name = 'customers';
ROLLBACK TO a;
SELECT mode FROM ondatra.syncs WHERE name = 'customers';
ROLLBACK;
SELECT mode FROM ondatra.syncs WHERE name = 'customers';

-- the model's names are resolved as they were at its creation
SET search_path = regress_mart;
SELECT ondatra.create_sync('short', 'customers', 'crm') > 0 AS created;
RESET search_path;
SELECT ondatra.update_sync('short', mode => 'insert');
SELECT ondatra.update_sync('short', model => 'customers');

SELECT ondatra.drop_sync(name) FROM ondatra.syncs ORDER BY name;
SELECT ondatra.drop_destination(name) FROM ondatra.destinations ORDER BY name;
RESET ROLE;
SELECT count(*) FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relname LIKE 'state%';
DROP SCHEMA regress_mart CASCADE;
DROP OWNED BY regress_ann;
DROP ROLE regress_ann;
