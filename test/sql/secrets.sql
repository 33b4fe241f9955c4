-- Secrets: encrypted at rest, of the role that set them, never shown.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
CREATE ROLE regress_bob LOGIN;
RESET client_min_messages;

SET ROLE regress_ann;
SELECT ondatra.set_secret('token', 'ann''s secret value');
SELECT ondatra.set_secret('token', NULL);
SELECT ondatra.set_secret('token', repeat('x', 65537));
SELECT ondatra.set_secret('empty', '');
SELECT name, owner, updated_at <= now() AS in_time FROM ondatra.secrets ORDER BY name;

-- the same name of another role is another secret
SET ROLE regress_bob;
SELECT count(*) FROM ondatra.secrets;
SELECT ondatra.drop_secret('token');
SELECT ondatra.set_secret('token', 'bob''s secret value');
SELECT name, owner FROM ondatra.secrets;
SELECT * FROM ondatra.all_secrets;
RESET ROLE;

-- nothing readable is stored, a new value is stored anew, equal values differ
SELECT owner, name, position('secret value' IN encode(value, 'escape')) AS plain, get_byte(value, 0) AS version
FROM ondatra.all_secrets ORDER BY owner::text, name;
CREATE TEMP TABLE before AS SELECT * FROM ondatra.all_secrets;
SET ROLE regress_ann;
SELECT ondatra.set_secret('token', 'ann''s secret value');
RESET ROLE;
SELECT b.value <> s.value AS anew FROM ondatra.all_secrets s JOIN before b USING (owner, name) WHERE s.owner = 'regress_ann'::regrole AND name = 'token';

-- the key file is the server user's alone: 64 digits, nothing else
SELECT size, isdir FROM pg_stat_file('ondatra.key');
SELECT pg_read_file('ondatra.key') ~ '^[0-9a-f]{64}\n$' AS is_key;

-- Decryption happens in test_destination and in runs. A value that was moved, changed or sealed for somebody else is refused, and nothing is sent.
SET ROLE regress_ann;
SELECT ondatra.create_destination('api', base_url => 'http://127.0.0.1:1', auth => '{"type": "bearer", "token": {"secret": "token"}}') > 0 AS created;
SELECT ok, http_status, message IS NOT NULL AS says_why FROM ondatra.test_destination('api');
SELECT ondatra.set_secret('other', 'x');
RESET ROLE;
UPDATE ondatra.all_secrets SET value = (SELECT value FROM ondatra.all_secrets WHERE owner = 'regress_ann'::regrole AND name = 'other')
WHERE owner = 'regress_ann'::regrole AND name = 'token';
SELECT * FROM ondatra.test_destination('api');
UPDATE ondatra.all_secrets SET value = (SELECT value FROM ondatra.all_secrets WHERE owner = 'regress_bob'::regrole AND name = 'token')
WHERE owner = 'regress_ann'::regrole AND name = 'token';
SELECT * FROM ondatra.test_destination('api');
UPDATE ondatra.all_secrets s SET value = set_byte(b.value, 1, get_byte(b.value, 1) # 1) FROM before b
WHERE s.owner = 'regress_ann'::regrole AND s.name = 'token' AND b.owner = s.owner AND b.name = s.name;
SELECT * FROM ondatra.test_destination('api');
UPDATE ondatra.all_secrets s SET value = set_byte(b.value, length(b.value) - 1, get_byte(b.value, length(b.value) - 1) # 1) FROM before b
WHERE s.owner = 'regress_ann'::regrole AND s.name = 'token' AND b.owner = s.owner AND b.name = s.name;
SELECT * FROM ondatra.test_destination('api');
UPDATE ondatra.all_secrets SET value = '\x02' WHERE owner = 'regress_ann'::regrole AND name = 'token';
SELECT * FROM ondatra.test_destination('api');
UPDATE ondatra.all_secrets SET value = '' WHERE owner = 'regress_ann'::regrole AND name = 'token';
SELECT * FROM ondatra.test_destination('api');
UPDATE ondatra.all_secrets s SET value = b.value FROM before b
WHERE s.owner = 'regress_ann'::regrole AND s.name = 'token' AND b.owner = s.owner AND b.name = s.name;
SELECT ok, http_status FROM ondatra.test_destination('api');

-- a role that is renamed keeps its secrets
ALTER ROLE regress_ann RENAME TO regress_anna;
SET ROLE regress_anna;
SELECT ok, http_status FROM ondatra.test_destination('api');
RESET ROLE;
ALTER ROLE regress_anna RENAME TO regress_ann;

-- dropping one that is in use says so; without it nothing is sent
SET ROLE regress_ann;
SELECT ondatra.drop_secret('token');
SELECT * FROM ondatra.test_destination('api');
SELECT ondatra.drop_secret('token');

-- environment and files: only what the superuser's lists name
SELECT ondatra.update_destination('api', auth => '{"type": "bearer", "token": {"env": "PATH"}}');
SELECT * FROM ondatra.test_destination('api');
SELECT ondatra.update_destination('api', auth => '{"type": "bearer", "token": {"file": "/etc/passwd"}}');
SELECT * FROM ondatra.test_destination('api');
SELECT ondatra.update_destination('api', auth => '{"type": "bearer", "token": {"file": "/no/such/file"}}');
SELECT * FROM ondatra.test_destination('api');
SELECT count(*) FROM pg_settings WHERE name IN ('ondatra.secret_env', 'ondatra.secret_dir', 'ondatra.key_file');

SELECT ondatra.drop_destination('api');
SELECT ondatra.drop_secret('other');
SELECT ondatra.drop_secret('empty');
RESET ROLE;

-- secrets of a role that was dropped are deleted by the next look at the database
DROP ROLE regress_bob;
DO $$ BEGIN
  FOR i IN 1 .. 6000 LOOP
    EXIT WHEN NOT EXISTS (SELECT FROM ondatra.secrets WHERE name = 'token');
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;
SELECT count(*) FROM ondatra.secrets WHERE name = 'token';
DELETE FROM ondatra.all_secrets;
DROP TABLE before;
DROP ROLE regress_ann;
