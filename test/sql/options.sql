-- Options of a sync: each with its kind and range, unknown ones refused, merged by updates.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ondatra;
CREATE ROLE regress_ann LOGIN;
CREATE SCHEMA regress_opt AUTHORIZATION regress_ann;
SET ROLE regress_ann;
CREATE TABLE regress_opt.t (id int PRIMARY KEY, v text, updated_at timestamptz);
SELECT ondatra.create_destination('d', base_url => 'https://api.example.com',
  options => '{"object": {"upsert": {"method": "PUT", "path": "/{{key}}"}, "delete": {"method": "DELETE", "path": "/{{key}}"}}}') > 0 AS created;
SELECT ondatra.create_sync('s', 'regress_opt.t', 'd') > 0 AS created;
SELECT ondatra.create_sync('m', 'regress_opt.t', 'd', mode => 'mirror') > 0 AS created;

-- takes a value and shows how it ended: 'ok' or the error with its hint
CREATE FUNCTION pg_temp.try(options jsonb, sync text DEFAULT 's') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  hint text;
BEGIN
  PERFORM ondatra.update_sync(sync, options => options);
  RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
  RETURN format('%s: %s | %s', SQLSTATE, SQLERRM, hint);
END
$$;

SELECT o, pg_temp.try(o::jsonb) FROM unnest(ARRAY[
  '{"nonsense": 1}', '{"Batch_size": 1}', '[]', '1',
  '{"batch_size": 1}', '{"batch_size": 100000}', '{"batch_size": 0}', '{"batch_size": 100001}', '{"batch_size": 1.5}', '{"batch_size": "1"}',
  '{"batch_size": 1e2}', '{"batch_size": 99999999999999999999}', '{"batch_size": true}', '{"batch_size": {"a": 1}}',
  '{"concurrency": 1000}', '{"concurrency": 1001}',
  '{"rate_limit": "100/10s"}', '{"rate_limit": ["100/10s", "5000/1d"]}', '{"rate_limit": "fast"}', '{"rate_limit": 5}', '{"rate_limit": [5]}',
  '{"rate_limit": ["1/s", "1/s", "1/s", "1/s", "1/s"]}', '{"rate_limit": {"default": "1/s"}}',
  '{"on_leave": "keep"}', '{"on_leave": "forget"}', '{"on_leave": "delete"}', '{"on_leave": "shred"}',
  '{"on_unknown": "hold"}', '{"on_unknown": "resend"}', '{"on_unknown": "panic"}',
  '{"in_doubt_wait": "30 seconds"}', '{"in_doubt_wait": "500ms"}', '{"in_doubt_wait": "0"}', '{"in_doubt_wait": 30}', '{"in_doubt_wait": "soon"}',
  '{"in_doubt_wait": "1 month"}', '{"in_doubt_wait": "-1 second"}',
  '{"max_attempts": 1}', '{"max_attempts": 0}', '{"error_after": 10000}', '{"error_after": -1}',
  '{"cursor_column": "updated_at"}', '{"cursor_column": ""}', '{"cursor_column": 1}', '{"cursor_column": "missing"}',
  '{"cursor_overlap": "5 minutes"}', '{"cursor_overlap": "a while"}', '{"cursor_overlap": true}', '{"full_every": "1 day"}', '{"full_every": "0"}',
  '{"statement_timeout": "5 minutes"}', '{"statement_timeout": 1000}', '{"statement_timeout": "5min"}', '{"statement_timeout": 0}', '{"statement_timeout": -1}',
  '{"variables": {}}', '{"variables": {"list": "x"}}', '{"variables": {"list": ["x"]}}', '{"variables": {"list": {"a": 1}}}', '{"variables": ["x"]}', '{"variables": "x"}',
  '{"run_timeout": "2 hours"}', '{"run_timeout": "100 days"}', '{"run_timeout": null}']) AS o;

-- what stands now: the last good value of each
SELECT jsonb_pretty(options) FROM ondatra.syncs WHERE name = 's';

-- cursor_column goes only with what hangs on it
SELECT pg_temp.try('{"cursor_column": null}');
SELECT pg_temp.try('{"cursor_column": null, "cursor_overlap": null, "full_every": null}');
SELECT pg_temp.try('{"cursor_overlap": "5 minutes"}');
SELECT pg_temp.try('{"batch_size": null, "concurrency": null, "rate_limit": null, "on_leave": null, "on_unknown": null, "in_doubt_wait": null,
                     "max_attempts": null, "error_after": null, "variables": null, "statement_timeout": null, "run_timeout": null}');
SELECT options FROM ondatra.syncs WHERE name = 's';

-- mode mirror deletes what leaves, and says when it never can
SELECT pg_temp.try('{"on_leave": "delete"}', 'm'), pg_temp.try('{"on_leave": "keep"}', 'm'), pg_temp.try('{"on_leave": "forget"}', 'm');
SELECT ondatra.update_sync('m', options => '{"cursor_column": "updated_at"}');
SELECT ondatra.update_sync('m', options => '{"cursor_column": "updated_at", "full_every": "1 day"}');
-- an option that the new mode does not take
SELECT ondatra.update_sync('m', mode => 'upsert');
SELECT ondatra.update_sync('m', mode => 'upsert', options => '{"on_leave": null}');
SELECT ondatra.update_sync('m', mode => 'replace');

SELECT ondatra.drop_sync(name) FROM ondatra.syncs;
SELECT ondatra.drop_destination('d');
RESET ROLE;
DROP FUNCTION pg_temp.try(jsonb, text);
DROP SCHEMA regress_opt CASCADE;
DROP ROLE regress_ann;
