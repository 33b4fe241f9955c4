-- Connectors: created, replaced, dropped, checked; who may use which; what a sync needs of one.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
CREATE ROLE regress_bob LOGIN;
CREATE ROLE regress_team;
GRANT regress_team TO regress_ann;
CREATE SCHEMA regress_con AUTHORIZATION regress_ann;
GRANT USAGE ON SCHEMA regress_con TO PUBLIC;

-- every shipped one is without a mistake, and belongs to nobody
SELECT c.name, p.* FROM ondatra.connectors c, ondatra.check_connector(c.spec) p;
SELECT name, owner, builtin, title, objects, version FROM ondatra.connectors WHERE name IN ('hubspot', 'webhook') ORDER BY name;

SET ROLE regress_ann;
CREATE TABLE regress_con.people (id int PRIMARY KEY, email text NOT NULL, name text, list text);
GRANT SELECT ON regress_con.people TO PUBLIC;
INSERT INTO regress_con.people VALUES (1, 'ann@example.com', 'Ann', 'a'), (2, 'bob@example.com', 'Bob', 'b');

-- one of one's own
SELECT ondatra.create_connector('acme', '{"title": "Acme", "base_url": "https://{{var.site}}.acme.example", "auth": ["none", "bearer"],
  "variables": {"site": {"required": true, "description": "The first part of your address."}}, "rate_limit": {"default": "100/1s", "bulk": "1/1s"},
  "objects": {"people": {"key": "email", "required": ["name"], "variables": {"list": {}},
    "upsert": {"method": "PUT", "path": "/lists/{{var.list}}/{{key}}", "rate": "bulk"}, "delete": {"method": "DELETE", "path": "/people/{{key}}"}},
   "events": {"columns": ["list"], "create": {"method": "POST", "path": "/events/{{list}}"}}}}', 'The test''s own');
SELECT name, owner, builtin, title, description, objects, version FROM ondatra.connectors WHERE NOT builtin;
SELECT ondatra.create_connector('acme', '{"title": "x", "objects": {"x": {"upsert": {"method": "PUT"}}}}');
SELECT ondatra.create_connector('hubspot', '{"title": "x", "objects": {"x": {"upsert": {"method": "PUT"}}}}');
SELECT ondatra.create_connector('http', '{"title": "x", "objects": {"x": {"upsert": {"method": "PUT"}}}}');
SELECT ondatra.create_connector('', '{}');
SELECT ondatra.create_connector('bad', NULL);
SELECT ondatra.create_connector('bad', '{"objects": {"a": {"upsert": {"method": "GET", "batch": {"row": 5}, "path": "/{{key"}}}}');
SELECT * FROM ondatra.check_connector('{"objects": {"a": {"upsert": {"method": "GET", "batch": {"row": 5}, "path": "/{{key"}}}}');
SELECT * FROM ondatra.check_connector('7');
SELECT * FROM ondatra.check_connector(NULL);

-- a destination of it
SELECT ondatra.create_destination('d', 'acme');
SELECT ondatra.create_destination('d', 'acme', options => '{"variables": {"site": "evil.example/"}}');
SELECT ondatra.create_destination('d', 'acme', options => '{"variables": {"sight": "a"}}');
SELECT ondatra.create_destination('d', 'acme', options => '{"object": {}}');
SELECT ondatra.create_destination('d', 'acme', auth => '{"type": "basic", "username": "a", "password": {"secret": "x"}}', options => '{"variables": {"site": "a"}}');
SELECT ondatra.create_destination('d', 'nothing', 'https://a.example');
SELECT ondatra.create_destination('d', 'acme', options => '{"variables": {"site": "eu"}}') > 0 AS created;

-- a sync: object, mode, required fields, variables, key
SELECT ondatra.create_sync('s', 'regress_con.people', 'd');
SELECT ondatra.create_sync('s', 'regress_con.people', 'd', 'persons');
SELECT ondatra.create_sync('s', 'regress_con.people', 'd', 'events', mode => 'mirror');
SELECT ondatra.create_sync('s', 'regress_con.people', 'd', 'people', key => '{email}');
SELECT ondatra.create_sync('s', 'regress_con.people', 'd', 'people', key => '{email}', options => '{"variables": {"list": "x", "site": "evil"}}');
SELECT ondatra.create_sync('s', 'regress_con.people', 'd', 'people', key => '{email}', mapping => '{"email": "email"}', options => '{"variables": {"list": "x"}}');
SELECT ondatra.create_sync('s', 'regress_con.people', 'd', 'people', key => '{id}', options => '{"variables": {"list": "x"}}');
SELECT ondatra.create_sync('s', 'SELECT id, email, name FROM regress_con.people', 'd', 'events', key => '{id}', mode => 'append');
SELECT ondatra.create_sync('s', 'regress_con.people', 'd', 'people', key => '{email,id}', options => '{"variables": {"list": "x"}}');
SELECT ondatra.create_sync('s', 'regress_con.people', 'd', 'people', key => '{email}', mode => 'mirror', mapping => '{"name": "name"}',
                           options => '{"variables": {"list": "my list"}}') > 0 AS created;
SELECT method, url, body FROM ondatra.preview_sync('s', 1);
SELECT ondatra.create_sync('e', 'regress_con.people', 'd', 'events', mode => 'append') > 0 AS created;
SELECT method, url, body FROM ondatra.preview_sync('e', 1);

-- another place under rows that were delivered
SELECT sync_id AS id FROM ondatra.syncs WHERE name = 's' \gset
RESET ROLE;
INSERT INTO ondatra.state_:id (k1, _hash) VALUES ('x', '00000000-0000-0000-0000-000000000001');
SET ROLE regress_ann;
SELECT ondatra.update_sync('s', options => '{"variables": {"list": "other"}}');
SELECT ondatra.update_sync('s', options => '{"variables": {"list": "other"}}', delivered => 'keep');
SELECT ondatra.update_destination('d', options => '{"variables": {"site": "us"}}');
SELECT ondatra.update_destination('d', options => '{"rate_limit": "7/1s"}');
SELECT ondatra.update_destination('d', connector => 'webhook', base_url => 'https://a.example', options => '{"variables": null}');

-- replacing: what uses it must go on
SELECT ondatra.replace_connector('acme', '{"title": "Acme", "objects": {}}');
SELECT ondatra.replace_connector('acme', jsonb_set(spec, '{objects}', spec -> 'objects' #- '{people,delete}')) FROM ondatra.connectors WHERE name = 'acme';
SELECT ondatra.replace_connector('acme', spec #- '{objects,events}') FROM ondatra.connectors WHERE name = 'acme';
SELECT ondatra.replace_connector('acme', jsonb_set(spec, '{auth}', '["bearer"]')) FROM ondatra.connectors WHERE name = 'acme';
SELECT ondatra.replace_connector('acme', jsonb_set(spec, '{base_url}', '"https://{{var.site}}.evil.example"')) FROM ondatra.connectors WHERE name = 'acme';
SELECT ondatra.replace_connector('acme', jsonb_set(spec, '{objects,people,upsert,path}', '"/v2/{{var.list}}/{{key}}"')) FROM ondatra.connectors WHERE name = 'acme';
SELECT name, description, version, updated_at > created_at AS updated FROM ondatra.connectors WHERE name = 'acme';
SELECT method, url FROM ondatra.preview_sync('s', 1);
SELECT ondatra.replace_connector('hubspot', spec) FROM ondatra.connectors WHERE name = 'hubspot';
SELECT ondatra.replace_connector('nothing', '{}');

-- forms of values
SELECT ondatra.create_connector('wrap', '{"title": "Wrap", "base_url": "https://wrap.example",
  "types": {"title": {"value": {"title": [{"text": "$text"}]}, "null": {"title": []}}, "number": {"value": {"number": "$value"}, "null": {"number": null}}},
  "objects": {"pages": {"required": ["Name"], "upsert": {"method": "POST", "batch": {"rows": 10}, "body": {"names": {"$names": true}, "pages": ["$each", "$fields"]}}}}}');
SELECT ondatra.create_destination('w', 'wrap') > 0 AS created;
SELECT ondatra.create_sync('w', 'regress_con.people', 'w', 'pages', mapping => '{"Name": {"column": "name", "as": "titel"}}');
SELECT ondatra.create_sync('w', 'regress_con.people', 'w', 'pages', mapping => '{"Name": {"column": "name", "as": 1}}');
SELECT ondatra.create_sync('w', 'SELECT id, CASE WHEN id = 1 THEN name END AS name FROM regress_con.people ORDER BY id', 'w', 'pages', key => '{id}', mode => 'append',
  mapping => '[{"source": "name", "destination": "Name", "as": "title"}, {"source": {"column": "id", "as": "number"}, "destination": "No"}, {"source": {"const": 7}, "destination": "C", "as": "title"}]') > 0 AS created;
SELECT body FROM ondatra.preview_sync('w', 1);
SELECT ondatra.replace_connector('wrap', spec #- '{types,title}') FROM ondatra.connectors WHERE name = 'wrap';
SELECT ondatra.replace_connector('wrap', jsonb_set(spec, '{objects,pages,required}', '["Name", "Owner"]')) FROM ondatra.connectors WHERE name = 'wrap';

-- rights: others see and use only what is builtin or of their roles
SET ROLE regress_bob;
SELECT name FROM ondatra.connectors WHERE NOT builtin;
SELECT ondatra.create_destination('b', 'acme', options => '{"variables": {"site": "eu"}}');
SELECT ondatra.replace_connector('acme', '{"title": "x", "objects": {"x": {"upsert": {"method": "PUT"}}}}');
SELECT ondatra.drop_connector('acme');
SELECT ondatra.create_connector('acme', '{"title": "x", "objects": {"x": {"upsert": {"method": "PUT"}}}}');
SELECT ondatra.create_destination('b', 'webhook', 'https://hooks.example') > 0 AS created;
SELECT ondatra.create_sync('b', 'regress_con.people', 'b', 'person', mode => 'mirror') > 0 AS created;
SELECT method, url, headers ->> 'webhook-id' ~ '^[0-9a-f]+$' AS id, body FROM ondatra.preview_sync('b', 1);
SELECT ondatra.create_destination('h', 'hubspot') > 0 AS created;
SELECT ondatra.drop_destination('h');
SELECT ondatra.create_destination('h', 'hubspot', auth => '{"type": "bearer", "token": {"secret": "x"}}') > 0 AS created;
SELECT ondatra.create_sync('h', 'regress_con.people', 'h', 'contacts', key => '{email}', mode => 'mirror', mapping => '{"email": "email", "firstname": "name"}') > 0 AS created;
SELECT method, url, regexp_replace(body, '(TraceId":")[0-9a-f]{32}', '\1…', 'g') FROM ondatra.preview_sync('h', 1);
SELECT ondatra.create_sync('hc', 'regress_con.people', 'h', 'companies');
RESET ROLE;
GRANT regress_team TO regress_bob;
SET ROLE regress_team;
SELECT ondatra.create_connector('shared', '{"title": "x", "objects": {"x": {"upsert": {"method": "PUT"}}}}');
SET ROLE regress_bob;
SELECT ondatra.create_destination('s', 'shared', 'https://a.example') > 0 AS created;
SET ROLE regress_ann;
SELECT ondatra.drop_connector('shared');
SELECT ondatra.drop_connector('acme');
SELECT ondatra.drop_connector('webhook');
SELECT ondatra.drop_connector('nothing');

-- whoever is no member any more has lost it
RESET ROLE;
REVOKE regress_team FROM regress_bob;
SET ROLE regress_bob;
SELECT message FROM ondatra.test_destination('s');

-- leave nothing behind
RESET ROLE;
SELECT ondatra.drop_sync(name) FROM ondatra.syncs;
SELECT ondatra.drop_destination(name) FROM ondatra.destinations;
SELECT ondatra.drop_connector(name) FROM ondatra.connectors WHERE NOT builtin;
DROP SCHEMA regress_con CASCADE;
DROP ROLE regress_ann, regress_bob, regress_team;
