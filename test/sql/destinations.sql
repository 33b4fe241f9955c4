-- Destinations: documents are checked when they are given; what a change means for the syncs that use one.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
CREATE ROLE regress_bob LOGIN;
CREATE SCHEMA regress_dest AUTHORIZATION regress_ann;
RESET client_min_messages;
SET ROLE regress_ann;
CREATE TABLE regress_dest.t (id int PRIMARY KEY, email text);

-- nothing wrong gets in
SELECT ondatra.create_destination('d');
SELECT ondatra.create_destination('d', connector => NULL, base_url => 'https://api.example.com');
SELECT ondatra.create_destination('d', connector => 'nothing');
SELECT ondatra.create_destination('d', 'https://api.example.com');
SELECT ondatra.create_destination('d', base_url => 'ftp://api.example.com');
SELECT ondatra.create_destination('d', base_url => 'https://user:pw@api.example.com');
SELECT ondatra.create_destination('d', base_url => 'https://api.example.com', options => '{"objects": {}}');
SELECT ondatra.create_destination('d', base_url => 'https://api.example.com', options => '[]');
SELECT ondatra.create_destination('d', base_url => 'https://api.example.com', options => '{"rate_limit": "many"}');
SELECT ondatra.create_destination('d', base_url => 'https://api.example.com', options => '{"rate_limit": 100}');
SELECT ondatra.create_destination('d', base_url => 'https://api.example.com', options => '{"object": {"upsert": {"path": "/{{key|shout}}"}}}');
SELECT ondatra.create_destination('d', base_url => 'https://api.example.com', auth => '{"type": "bearer", "token": "literal"}');
SELECT ondatra.create_destination('d', base_url => 'https://api.example.com', auth => '{"type": "magic"}');
SELECT ondatra.create_destination('d', base_url => 'https://api.example.com', auth => '"x"');
SELECT count(*) FROM ondatra.destinations;

-- a secret may come later
SELECT ondatra.create_destination('d', base_url => 'https://api.example.com', auth => '{"type": "bearer", "token": {"secret": "late"}}',
  options => '{"object": {"upsert": {"method": "PUT", "path": "/{{key}}"}, "delete": {"method": "DELETE", "path": "/{{key}}"}}, "concurrency": 2}') > 0 AS created;
SELECT ondatra.set_secret('late', 'x');
SELECT name, owner, connector, base_url, auth, options FROM ondatra.destinations;

-- updates: NULL keeps, JSON null unsets, options are merged
SELECT ondatra.update_destination('d');
SELECT ondatra.update_destination('d', options => '{"concurrency": null, "rate_limit": "10/s", "object": {"delete": {"fine": [404]}}}');
SELECT base_url, auth, options FROM ondatra.destinations;
SELECT ondatra.update_destination('d', auth => 'null', options => '{"rate_limit": null}');
SELECT base_url, auth, options FROM ondatra.destinations;
SELECT ondatra.update_destination('d', options => '{"nonsense": 1}');
SELECT ondatra.update_destination('d', connector => 'nothing');
SELECT ondatra.update_destination('d', delivered => 'perhaps');
SELECT ondatra.update_destination('d', delivered => 'forget');
SELECT ondatra.update_destination('nobody''s', base_url => 'https://b.example.com');
SELECT version, updated_at >= created_at AS later FROM ondatra.all_destinations;
RESET ROLE;
SELECT version, updated_at >= created_at AS later FROM ondatra.all_destinations;
SET ROLE regress_ann;

-- what its syncs need cannot be taken away
SELECT ondatra.create_sync('m', 'regress_dest.t', 'd', mode => 'mirror') AS m \gset
SELECT ondatra.update_destination('d', options => '{"object": {"delete": null}}');
SELECT ondatra.drop_destination('d');

-- another base URL: free until something was delivered
SELECT ondatra.update_destination('d', base_url => 'https://b.example.com');
RESET ROLE;
INSERT INTO ondatra.state_:m (k1, _hash) VALUES (1, '00000000-0000-0000-0000-000000000001');
INSERT INTO ondatra.all_failed_rows (sync_id, key, operation, error_class, error_message, attempts, first_failed_at, last_failed_at, run_id)
VALUES (:m, '{"id": 2}', 'create', 'rejected', 'no', 1, now(), now(), 1);
SET ROLE regress_ann;
SELECT ondatra.update_destination('d', base_url => 'https://c.example.com');
SELECT base_url FROM ondatra.destinations;
SELECT ondatra.update_destination('d', base_url => 'https://c.example.com', delivered => 'keep');
SELECT base_url, (SELECT count(*) FROM ondatra.state_:m) AS delivered, (SELECT count(*) FROM ondatra.failed_rows) AS failed FROM ondatra.destinations;
SELECT ondatra.update_destination('d', base_url => 'https://e.example.com', delivered => 'forget');
SELECT base_url, (SELECT count(*) FROM ondatra.state_:m) AS delivered, (SELECT count(*) FROM ondatra.failed_rows) AS failed FROM ondatra.destinations;

-- members of the owner use it, others do not know of it
SET ROLE regress_bob;
SELECT count(*) FROM ondatra.destinations;
SELECT ondatra.drop_destination('d');
SELECT * FROM ondatra.test_destination('d');
RESET ROLE;
GRANT regress_ann TO regress_bob;
SET ROLE regress_bob;
SELECT name, owner FROM ondatra.destinations;
SELECT ondatra.create_sync('b', 'SELECT 1 AS id', 'd', key => '{id}') > 0 AS created;
SET ROLE regress_ann;
SELECT ondatra.drop_destination('d');
SELECT ondatra.drop_sync('m');
SELECT ondatra.drop_destination('d');
SET ROLE regress_bob;
SELECT ondatra.drop_sync('b');
SELECT ondatra.drop_destination('d');
RESET ROLE;
SELECT count(*) FROM ondatra.all_destinations;

-- what cannot be reached is an answer, not an error; special addresses are refused for everybody
SET ROLE regress_ann;
SELECT ondatra.create_destination('closed', base_url => 'http://127.0.0.1:1') > 0 AS created;
SELECT ok, http_status, elapsed_ms >= 0 AS took_time, message IS NOT NULL AS says_why FROM ondatra.test_destination('closed');
SELECT ondatra.create_destination('private', base_url => 'http://10.1.2.3') > 0 AS created;
SELECT ok, http_status, message FROM ondatra.test_destination('private');
SELECT ondatra.create_destination('metadata', base_url => 'http://169.254.169.254/latest') > 0 AS created;
SELECT ok, http_status, message FROM ondatra.test_destination('metadata');
SELECT ondatra.drop_destination(name) FROM ondatra.destinations;
SELECT ondatra.drop_secret('late');
RESET ROLE;
DROP SCHEMA regress_dest CASCADE;
DROP ROLE regress_ann, regress_bob;
