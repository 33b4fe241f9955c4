-- ondatra 0.1.0: the install script. Built from sql/parts/*.sql in the order of their names.
\echo Use "CREATE EXTENSION ondatra" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- Fails if it exists: nobody can have put anything into it beforehand.
CREATE SCHEMA ondatra;
COMMENT ON SCHEMA ondatra IS 'Reverse ETL inside PostgreSQL: syncs that send what changed in a model to an HTTP API.';
