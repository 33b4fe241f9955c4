-- The JSON form of every built-in type, as doc/types.md lists it: seen through preview_sync, which opens no socket; and hashes that follow from the form alone.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
CREATE SCHEMA regress_types AUTHORIZATION regress_ann;
SET ROLE regress_ann;
SET search_path = regress_types;
CREATE TYPE mood AS ENUM ('happy', 'it''s "fine"');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE address AS (street text, floor int);
CREATE TYPE person AS (name text, home address, moods mood[]);
SELECT ondatra.create_destination('nowhere', base_url => 'http://127.0.0.1:9',
  options => '{"object": {"upsert": {"method": "PUT", "path": "/{{key}}"}}}') > 0 AS created;

-- what a request carries for a value: JSON; or why the row is invalid, or the column refused
CREATE FUNCTION pg_temp.form(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  form text;
BEGIN
  PERFORM ondatra.create_sync('t', format('SELECT 1 AS id, %s AS v', expression), 'nowhere', key => '{id}', mapping => '{"v": "v"}');
  SELECT substr(body, 6, length(body) - 6) INTO form FROM ondatra.preview_sync('t');
  IF NOT FOUND THEN
    form := 'invalid: ' || (ondatra.explain_row('t', '{"id": 1}') ->> 'problem');
  END IF;
  PERFORM ondatra.drop_sync('t');
  RETURN form;
EXCEPTION WHEN datatype_mismatch THEN
  RETURN 'refused: ' || SQLERRM;
END
$$;

\pset format unaligned
-- numbers and booleans
SELECT v, pg_temp.form(v) FROM unnest(ARRAY[
  'true', 'false', '(-32768)::int2', '2147483647::int4', '9223372036854775807::int8', '4294967295::oid',
  '0.1::float4', '0.1::float8', '1e300::float8', '-0.0::float8', '1::float8', '''NaN''::float8', '''-Infinity''::float4',
  '12345678901234567890.0123456789', '1.50::numeric(10,2)', '1e-20', '1e30', '''NaN''::numeric', '''Infinity''::numeric']) v;
-- text, json, bytes
SELECT v, pg_temp.form(v) FROM unnest(ARRAY[
  '''a "b" \ ü''::text', 'E''line\n\ttab\u0001''', '''''::text', '''x''::varchar(3)', '''x''::char(3)', '''x''::name', '''x''::"char"', '''x''', 'NULL::text',
  '''{"b": 1.0, "a": [1, 2]}''::json', 'E''{"b":\n1}''::json', '''{"b": 1.0, "a": [1, 2]}''::jsonb', '''null''::jsonb',
  '''\x00ff''::bytea', '''''::bytea', '''a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11''::uuid', '''<a>1</a>''::xml']) v;
-- time
SELECT v, pg_temp.form(v) FROM unnest(ARRAY[
  'timestamp ''2026-01-02 03:04:05.6''', 'timestamp ''2026-01-02 03:04:05''', 'timestamptz ''2026-01-02 03:04:05+02''', 'timestamptz ''infinity''', 'date ''2026-01-02''',
  'date ''-infinity''', 'date ''0044-03-15 BC''', 'timestamp ''10000-01-01''', 'time ''03:04:05.6''', 'timetz ''03:04:05+02''',
  'interval ''1 year 2 months 3 days 04:05:06.7''', 'interval ''-1 day''', 'interval ''0''']) v;
-- arrays, composites, domains, enums
SELECT v, pg_temp.form(v) FROM unnest(ARRAY[
  'ARRAY[1, NULL, 3]', 'ARRAY[[1, 2], [3, 4]]', '''{}''::text[]', '''[5:6]={1,2}''::int[]', 'ARRAY[1.5, ''NaN'']::numeric[]', '''1 2''::int2vector', '''1 2''::oidvector',
  'ROW(1, ''a'')', 'ROW(''Ann'', ROW(''Main St'', 3), ''{happy}'')::regress_types.person', 'ARRAY[ROW(''Main St'', NULL)::regress_types.address]',
  '7::regress_types.positive', '''it''''s "fine"''::regress_types.mood']) v;
-- the others: their text as a JSON string
SELECT v, pg_temp.form(v) FROM unnest(ARRAY[
  '''10.0.0.1''::inet', '''10.0.0.0/8''::cidr', '''08:00:2b:01:02:03''::macaddr', '''08:00:2b:01:02:03:04:05''::macaddr8', 'B''101''', 'B''101''::varbit',
  'point(1, 0.1)', '''[(0,0),(1,1)]''::lseg', '''{1,2,3}''::line', '''(1,1),(0,0)''::box', '''((0,0),(1,1))''::path', '''((0,0),(1,1),(1,0))''::polygon', '''<(0,0),1>''::circle',
  'int4range(1, 5)', 'int8range(1, 5)', 'numrange(1, 5)', 'daterange(''2026-01-01'', ''2026-02-01'')', 'tsrange(''2026-01-01'', NULL)',
  'tstzrange(''2026-01-01 02:00+02'', NULL)', '''{[1,5)}''::int4multirange', '''{[1,5)}''::int8multirange', '''{[1,5)}''::nummultirange',
  '''{[2026-01-01,2026-02-01)}''::datemultirange', '''{[2026-01-01,)}''::tsmultirange', '''{[2026-01-01 00:00+00,)}''::tstzmultirange',
  '''a b''::tsvector', '''a & b''::tsquery', '''$.a''::jsonpath', '''0/16B3748''::pg_lsn', '''100''::xid', '''100''::xid8', '''100''::cid', '''(0,1)''::tid',
  '''10:20:''::pg_snapshot', '''10:20:''::txid_snapshot', '''c''::refcursor', '''regress_ann''::regrole', '''regress_types''::regnamespace', '''=r/regress_ann''::aclitem']) v;
-- refused: their text depends on settings or on this database
SELECT v, pg_temp.form(v) FROM unnest(ARRAY[
  '1.5::money', 'ARRAY[1.5]::money[]', '''pg_class''::regclass', '''int4''::regtype', '''now''::regproc', '''now()''::regprocedure', '''pg_catalog.||/''::regoper',
  '''+(int4,int4)''::regoperator', '''simple''::regconfig', '''simple''::regdictionary', '''"C"''::regcollation', '''x''::cstring', 'ARRAY[ROW(1, 2)]']) v;

-- keys: how they are named in a URL and in failed_rows, and the column of the state table
CREATE FUNCTION pg_temp.key(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  form text;
  id bigint;
BEGIN
  id := ondatra.create_sync('t', format('SELECT %s AS k', expression), 'nowhere', key => '{k}');
  SELECT format('%s %s', keys, substr(url, 20)) INTO form FROM ondatra.preview_sync('t');
  IF NOT FOUND THEN
    form := (SELECT format('not sent, %s invalid', invalid) FROM ondatra.plan_sync('t'));
  END IF;
  form := form || ' ' || (SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = format('ondatra.state_%s', id)::regclass AND attname = 'k1');
  PERFORM ondatra.drop_sync('t');
  RETURN form;
EXCEPTION WHEN datatype_mismatch THEN
  RETURN 'refused: ' || SQLERRM;
END
$$;
SELECT v, pg_temp.key(v) FROM unnest(ARRAY[
  'true', '1::int2', '1', '1::int8', '1::oid', '1.50', '''NaN''::numeric', '''a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11''::uuid', 'date ''2026-01-02''',
  'timestamp ''2026-01-02 03:04:05''', 'timestamptz ''2026-01-02 03:04:05+02''', '''\x00ff''::bytea', '''a b/ü''::text', '''x''::varchar', '''x''::char(3)',
  '''happy''::regress_types.mood', '7::regress_types.positive', 'time ''10:00''', 'interval ''1 day''', 'point(1, 2)',
  'NULL::int', '''''::text', '''..''::text', 'repeat(''x'', 2001)',
  '1::float4', '1::float8', 'ARRAY[1]', '''{}''::jsonb', '''{}''::json', 'int4range(1, 2)', '''{}''::int4multirange', 'ROW(''a'', 1)::regress_types.address', '1::money',
  '''pg_class''::regclass']) v;

-- the hash follows from the form: not from settings, names of types, the order of fields
CREATE FUNCTION pg_temp.hash() RETURNS uuid LANGUAGE sql AS $$
  SELECT ondatra.row_hash('{a,b,c,d,e,f,g}', timestamptz '2026-01-02 03:04:05.6+00', interval '1 mon 2 days', 0.1::float8, '\x00ff'::bytea, '<a/>'::xml, point(1, 1 / 3.0),
                          date '2026-01-02')
$$;
SELECT pg_temp.hash() AS hash \gset
SET datestyle = 'German, DMY';
SET intervalstyle = 'sql_standard';
SET timezone = 'Asia/Tokyo';
SET extra_float_digits = -5;
SET bytea_output = 'escape';
SELECT pg_temp.hash() = :'hash' AS settings_do_not_matter;
RESET datestyle;
RESET intervalstyle;
RESET timezone;
RESET extra_float_digits;
RESET bytea_output;
SELECT ondatra.row_hash('{a}', 1::int2) = ondatra.row_hash('{a}', 1::int8) AS width, ondatra.row_hash('{a}', 'x'::text) = ondatra.row_hash('{a}', 'x'::varchar(9)) AS varchar,
       ondatra.row_hash('{a,b}', 1, 2) = ondatra.row_hash('{b,a}', 2, 1) AS order_of_fields, ondatra.row_hash('{a}', 'happy'::mood) = ondatra.row_hash('{a}', 'happy'::text) AS label,
       ondatra.row_hash('{a}', 7::positive) = ondatra.row_hash('{a}', 7) AS domain, ondatra.row_hash('{a}', 1.0) <> ondatra.row_hash('{a}', 1.00) AS digits,
       ondatra.row_hash('{a}', NULL::text) <> ondatra.row_hash('{a}', ''::text) AS null_is_not_empty, ondatra.row_hash('{a}', 1) <> ondatra.row_hash('{b}', 1) AS name,
       ondatra.row_hash('{a,b}', 'xsy'::text, ''::text) <> ondatra.row_hash('{a,b}', 'x'::text, 'ys'::text) AS borders,
       ondatra.row_hash('{a}', VARIADIC ARRAY[1]) = ondatra.row_hash('{a}', 1) AS variadic;
-- Our own forms against the server's: numerics of every size and scale, text with and without what JSON escapes, times with every fraction.
SELECT count(*) AS numerics, count(*) FILTER (WHERE ondatra.row_hash('{v}', ARRAY[n]) <> ondatra.row_hash('{v}', ('[' || n || ']')::json)) AS differ
  FROM (SELECT s * m::numeric * 10::numeric ^ e + f AS n FROM unnest(ARRAY[1, -1]) s, unnest(ARRAY[0, 1, 7, 42, 999, 9999, 10000, 12345678, 99999999]) m,
          generate_series(-30, 40) e, unnest(ARRAY[0, 0.5, 0.00000001, 1e-30]) f
        UNION ALL SELECT round(x, d) FROM unnest(ARRAY[0, 1, -1, 10000, 0.0001, 12345.6789, 99999999.99999999, 1e-200]) x, generate_series(0, 100) d
        UNION ALL SELECT x FROM unnest(ARRAY[1e500, -1e5000, 1e130000, 1.5e-16000, 10::numeric ^ 300 - 1]) x) x;
SELECT count(*) AS texts, count(*) FILTER (WHERE ondatra.row_hash('{v}', ARRAY[t]) <> ondatra.row_hash('{v}', ('[' || to_json(t) || ']')::json)) AS differ
  FROM (SELECT left('abcdefghijklmnopqrstuvwxyz', n) || c || left('0123456789ABCDEF', m) AS t
        FROM generate_series(0, 20) n, generate_series(0, 16) m, unnest(ARRAY['', '"', '\', E'\n', E'\t\r', E'\x1f', E'\x7f', '!', '#', '[', ']', 'ü', '😀']) c) x;
SELECT count(*) AS times, count(*) FILTER (WHERE ondatra.row_hash('{v}', ARRAY[t]) <> ondatra.row_hash('{v}', ('[' || to_json(t) || ']')::json)) AS differ
  FROM (SELECT timestamp '1999-12-30 23:59:58' + i * interval '17:13:07.001' + f * interval '1 microsecond' AS t
        FROM generate_series(0, 2000) i, unnest(ARRAY[0, 1, 10, 999, 100000, 123456, 999999]) f) x;
-- The canonical forms that a version is made of: other values, other forms; only a float and json that are sent alike have one here.
SELECT count(*) AS numerics, count(DISTINCT ondatra.row_hash('{v}', n)) = count(DISTINCT n::text) AS apart,
       count(*) FILTER (WHERE ondatra.row_hash('{v}', n) <> ondatra.row_hash('{v}', n::text::numeric)) AS differ
  FROM (SELECT round(s * m::numeric * 10::numeric ^ e, d) AS n FROM unnest(ARRAY[1, -1]) s, unnest(ARRAY[0, 1, 42, 9999, 10000, 99999999]) m,
          generate_series(-8, 12) e, unnest(ARRAY[0, 1, 4, 9, 70]) d) x;
SELECT count(*) AS times, count(DISTINCT ondatra.row_hash('{v}', t)) AS apart, count(DISTINCT ondatra.row_hash('{v}', t::date)) AS days,
       count(*) FILTER (WHERE ondatra.row_hash('{v}', t) = ondatra.row_hash('{v}', t AT TIME ZONE 'UTC')) AS zone_does_not_count
  FROM (SELECT timestamp '1999-12-30 23:59:58' + i * interval '1 hour' AS t FROM generate_series(0, 239) i) x;
SELECT count(DISTINCT h) AS apart
  FROM (VALUES (ondatra.row_hash('{v}', true)), (ondatra.row_hash('{v}', 1)), (ondatra.row_hash('{v}', '1'::text)), (ondatra.row_hash('{v}', '1'::json)), (ondatra.row_hash('{v}', 1.0)),
          (ondatra.row_hash('{v}', '"1"'::json)), (ondatra.row_hash('{v}', '00000000-0000-0000-0000-000000000001'::uuid)), (ondatra.row_hash('{v}', date '2000-01-02')),
          (ondatra.row_hash('{v}', timestamp '2000-01-02')), (ondatra.row_hash('{v}', 1::float8)), (ondatra.row_hash('{v}', NULL::int)), (ondatra.row_hash('{v}', 'n'::text)),
          (ondatra.row_hash('{}'::text[], VARIADIC '{}'::int[])), (ondatra.row_hash('{v,w}', 1, NULL::int)), (ondatra.row_hash('{w,v}', 1, NULL::int))) x (h);
SELECT ondatra.row_hash('{v,w}', date '0001-01-01', date '9999-12-31') IS NOT NULL AS years, ondatra.row_hash('{v}', timestamp '9999-12-31 23:59:59.999999') IS NOT NULL AS last;
\set VERBOSITY terse
SELECT ondatra.row_hash('{v}', date '0001-12-31 BC');
SELECT ondatra.row_hash('{v}', date '10000-01-01');
SELECT ondatra.row_hash('{v}', timestamptz '10000-01-01 00:00:00+00');
SELECT ondatra.row_hash('{v}', timestamp '0001-12-31 23:59:59.999999 BC');
SELECT ondatra.row_hash('{v}', date 'infinity');
SELECT ondatra.row_hash('{v}', 'NaN'::numeric);
SELECT ondatra.row_hash('{v}', '-infinity'::numeric);
SELECT ondatra.row_hash('{a,b}', 1);
SELECT ondatra.row_hash(ARRAY['a', NULL], 1, 2);
SELECT ondatra.row_hash('{a}', 1::money);
SELECT ondatra.row_hash('{a}', 'NaN'::float8);

RESET ROLE;
SET client_min_messages = warning;
DROP FUNCTION pg_temp.form, pg_temp.key, pg_temp.hash;
SELECT ondatra.drop_destination('nowhere');
DROP SCHEMA regress_types CASCADE;
DROP ROLE regress_ann;
