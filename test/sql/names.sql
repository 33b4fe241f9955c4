-- Names: 1 to 63 characters (not bytes), no control characters; anything else is somebody's taste.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
CREATE SCHEMA regress_names AUTHORIZATION regress_ann;
SET ROLE regress_ann;
CREATE TABLE regress_names.t (id int PRIMARY KEY);

SELECT ondatra.set_secret('', 'x');
SELECT ondatra.set_secret(NULL, 'x');
SELECT ondatra.set_secret(repeat('x', 64), 'x');
SELECT ondatra.set_secret(repeat('ü', 63), 'x');
SELECT ondatra.set_secret(E'a\nb', 'x');
SELECT ondatra.set_secret(E'a\u0085b', 'x');
SELECT ondatra.set_secret(E'a\x7f', 'x');
SELECT name FROM ondatra.secrets;
SELECT ondatra.drop_secret(repeat('ü', 63));

SELECT ondatra.create_destination('', base_url => 'https://api.example.com');
SELECT ondatra.create_destination(E'\t', base_url => 'https://api.example.com');
SELECT ondatra.create_destination('It''s "my" CRM: a.b/ü', base_url => 'https://api.example.com') > 0 AS created;
SELECT ondatra.create_sync(NULL, 'regress_names.t', 'x');
SELECT ondatra.create_sync(repeat('s', 64), 'regress_names.t', 'x');
SELECT ondatra.create_sync('a.b', 'regress_names.t', 'It''s "my" CRM: a.b/ü') > 0 AS created;
SELECT ondatra.create_sync('a_b', 'regress_names.t', 'It''s "my" CRM: a.b/ü') > 0 AS created;
SELECT ondatra.create_sync('A.B', 'regress_names.t', 'It''s "my" CRM: a.b/ü') > 0 AS created;
SELECT ondatra.create_sync('it''s; DROP TABLE "x"', 'regress_names.t', 'It''s "my" CRM: a.b/ü') > 0 AS created;
SELECT name, destination FROM ondatra.syncs ORDER BY sync_id;
SELECT ondatra.archive_sync('it''s; DROP TABLE "x"');
SELECT ondatra.resume_sync('it''s; DROP TABLE "x"');

-- names are shared by all roles, and a name that is taken says so
SELECT ondatra.create_sync('a.b', 'regress_names.t', 'It''s "my" CRM: a.b/ü');
SELECT ondatra.create_destination('It''s "my" CRM: a.b/ü', base_url => 'https://api.example.com');

-- leave nothing behind
SELECT ondatra.drop_sync(name) FROM ondatra.syncs;
SELECT ondatra.drop_destination(name) FROM ondatra.destinations;
RESET ROLE;
SELECT count(*) FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relname LIKE 'state%';
DROP SCHEMA regress_names CASCADE;
DROP ROLE regress_ann;
