-- Rights, after everything was created: whatever ALTER DEFAULT PRIVILEGES gave to anybody is taken back, then people get what they may have.
--   tables, sequences   nobody but the owner; row-level security stops pg_read_all_data and pg_write_all_data
--   views               SELECT: they filter by owner
--   functions           EXECUTE: they check
-- And pg_dump keeps the rows of all tables and the values of all sequences.
DO $$
DECLARE
  schema_oid oid := (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'ondatra');
  o record;
BEGIN
  FOR o IN
    SELECT pg_catalog.format('SCHEMA ondatra') AS object, n.nspowner AS owner, n.nspacl AS acl FROM pg_catalog.pg_namespace n
    WHERE n.oid OPERATOR(pg_catalog.=) schema_oid
    UNION ALL
    SELECT pg_catalog.format('%s %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::pg_catalog.regclass), c.relowner, c.relacl
    FROM pg_catalog.pg_class c WHERE c.relnamespace OPERATOR(pg_catalog.=) schema_oid AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,v,S}')
    UNION ALL
    SELECT pg_catalog.format('FUNCTION %s', p.oid::pg_catalog.regprocedure), p.proowner, p.proacl
    FROM pg_catalog.pg_proc p WHERE p.pronamespace OPERATOR(pg_catalog.=) schema_oid
  LOOP
    DECLARE
      grantee text;
    BEGIN
      FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END
        FROM pg_catalog.aclexplode(o.acl) a WHERE a.grantee OPERATOR(pg_catalog.<>) o.owner
      LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s CASCADE', o.object, grantee);
      END LOOP;
    END;
  END LOOP;

  FOR o IN
    SELECT c.oid, c.relkind, c.oid::pg_catalog.regclass::text AS name FROM pg_catalog.pg_class c
    WHERE c.relnamespace OPERATOR(pg_catalog.=) schema_oid AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,v,S}')
  LOOP
    IF o.relkind OPERATOR(pg_catalog.=) 'v' THEN
      EXECUTE pg_catalog.format('GRANT SELECT ON TABLE %s TO PUBLIC', o.name);
    ELSE
      -- builtin connectors come with the extension
      PERFORM pg_catalog.pg_extension_config_dump(o.oid, CASE o.oid WHEN 'ondatra.all_connectors'::pg_catalog.regclass::oid THEN 'WHERE NOT builtin' ELSE '' END);
    END IF;
    IF o.relkind OPERATOR(pg_catalog.=) 'r' THEN
      EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', o.name);
    END IF;
  END LOOP;
  EXECUTE 'GRANT USAGE ON SCHEMA ondatra TO PUBLIC';
  EXECUTE 'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ondatra TO PUBLIC';
END
$$;
