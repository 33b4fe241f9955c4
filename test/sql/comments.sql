-- Everything that people can see is commented.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;

SELECT c.oid::regclass FROM pg_class c
WHERE c.relnamespace = 'ondatra'::regnamespace AND c.relkind IN ('r', 'v', 'S', 'm') AND obj_description(c.oid, 'pg_class') IS NULL
ORDER BY 1;
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'ondatra'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
ORDER BY 1;
SELECT count(*) > 20 AS many_functions FROM pg_proc p WHERE p.pronamespace = 'ondatra'::regnamespace;
SELECT obj_description('ondatra'::regnamespace, 'pg_namespace') IS NOT NULL AS schema_commented,
       obj_description((SELECT oid FROM pg_extension WHERE extname = 'ondatra'), 'pg_extension') IS NOT NULL AS extension_commented;

-- and stands on one line
SELECT objoid, description FROM pg_description WHERE description LIKE E'%\n%'
  AND (objoid IN (SELECT oid FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace)
       OR objoid IN (SELECT oid FROM pg_proc WHERE pronamespace = 'ondatra'::regnamespace));
