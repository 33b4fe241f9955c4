-- ondatra 0.1.0: the install script. Built from sql/parts/*.sql in the order of their names.
\echo Use "CREATE EXTENSION ondatra" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;
