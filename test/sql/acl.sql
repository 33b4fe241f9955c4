-- What the install script leaves behind: rights, row-level security, what pg_dump keeps.
-- Default privileges of the installing role must not reach our objects.
CREATE ROLE regress_greedy;
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS ondatra;
RESET client_min_messages;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO regress_greedy;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO regress_greedy, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO regress_greedy;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO regress_greedy;
CREATE EXTENSION ondatra;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM regress_greedy;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM regress_greedy, PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM regress_greedy;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM regress_greedy;

-- grants to anybody but the owner, by kind of object
WITH object (kind, acl, owner) AS (
  SELECT 'schema', nspacl, nspowner FROM pg_namespace WHERE nspname = 'ondatra'
  UNION ALL
  SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END, relacl, relowner FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace
  UNION ALL
  SELECT 'function', proacl, proowner FROM pg_proc WHERE pronamespace = 'ondatra'::regnamespace)
SELECT DISTINCT kind, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee, a.privilege_type
FROM object, aclexplode(acl) a WHERE a.grantee <> owner ORDER BY 1, 2, 3;

-- every view may be read, every function called
SELECT relname FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relkind = 'v' AND NOT has_table_privilege('regress_greedy', oid, 'SELECT');
SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'ondatra'::regnamespace AND NOT has_function_privilege('regress_greedy', oid, 'EXECUTE');

-- every table has row-level security without policies: pg_read_all_data and pg_write_all_data see and change nothing
SELECT relname FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relkind = 'r' AND NOT relrowsecurity;
SELECT polname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = 'ondatra'::regnamespace;
INSERT INTO ondatra.all_secrets (owner, name, value) VALUES ('regress_greedy', 'x', 'x');
GRANT pg_read_all_data, pg_write_all_data TO regress_greedy;
SET ROLE regress_greedy;
SELECT count(*) FROM ondatra.all_secrets;
UPDATE ondatra.all_secrets SET value = 'y';
DELETE FROM ondatra.all_secrets;
INSERT INTO ondatra.all_secrets (owner, name, value) VALUES ('regress_greedy', 'y', 'y');
CREATE FUNCTION ondatra.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
RESET ROLE;
DELETE FROM ondatra.all_secrets;

-- all views filter before they look at anything else
SELECT relname FROM pg_class
WHERE relnamespace = 'ondatra'::regnamespace AND relkind = 'v' AND NOT coalesce('security_barrier=true' = ANY (reloptions), false);

-- pg_dump keeps every table and sequence
SELECT relname FROM pg_class
WHERE relnamespace = 'ondatra'::regnamespace AND relkind IN ('r', 'S')
  AND oid <> ALL ((SELECT extconfig FROM pg_extension WHERE extname = 'ondatra')::oid[]);

-- a crash empties no table
SELECT relname FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relpersistence <> 'p';

-- what grows with every run is deleted along an index: by its age, and by its number within a sync
SELECT r.relname, c.columns
FROM (VALUES ('all_runs', 'finished_at'), ('all_runs', 'sync_id, run_id'), ('all_requests', 'finished_at'), ('all_sync_log', 'logged_at')) c (relname, columns)
JOIN pg_class r ON r.relnamespace = 'ondatra'::regnamespace AND r.relname = c.relname
WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = r.oid AND i.indpred IS NULL
  AND pg_get_indexdef(i.indexrelid) LIKE '%USING btree (' || c.columns || ')');

-- no function is a trap: all are C, or SQL with a pinned search_path; none is SECURITY DEFINER
SELECT oid::regprocedure FROM pg_proc
WHERE pronamespace = 'ondatra'::regnamespace AND (prosecdef OR (prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c') AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)));

REVOKE pg_read_all_data, pg_write_all_data FROM regress_greedy;
DROP OWNED BY regress_greedy;
DROP ROLE regress_greedy;

-- a schema that somebody made before is not moved into
DROP EXTENSION ondatra;
CREATE SCHEMA ondatra;
\set SHOW_CONTEXT never
CREATE EXTENSION ondatra;
\set SHOW_CONTEXT errors
DROP SCHEMA ondatra;
CREATE EXTENSION ondatra;
