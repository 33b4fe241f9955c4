-- What goes on at this moment, and run_sync, whose result is a row of the view sync_runs.

CREATE FUNCTION ondatra.run_sync(name text, wait boolean DEFAULT true, timeout interval DEFAULT NULL, keys jsonb DEFAULT NULL, max_rows bigint DEFAULT NULL)
  RETURNS ondatra.sync_runs
  AS 'MODULE_PATHNAME', 'ond_sql_run_sync' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ondatra.run_sync(text, boolean, interval, jsonb, bigint) IS
  'Runs a sync now, in a process of its own, and waits for its end (wait) while this transaction holds its snapshot. keys and max_rows make it a run of a few rows. The run goes on when the wait is cancelled or timed out.';

CREATE FUNCTION ondatra.live_runs(
    OUT run_id bigint, OUT sync_id bigint, OUT pid int, OUT phase text, OUT rows_scanned bigint, OUT to_create bigint, OUT to_update bigint,
    OUT to_delete bigint, OUT sent bigint, OUT failed bigint, OUT in_flight bigint, OUT requests_per_s float8, OUT throttled_until timestamptz,
    OUT queued_at timestamptz, OUT started_at timestamptz)
  RETURNS SETOF record AS 'MODULE_PATHNAME', 'ond_sql_live_runs' LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION ondatra.live_runs() IS 'Runs that go on, of the roles that the caller is a member of: behind the view ondatra.run_progress.';

CREATE VIEW ondatra.run_progress WITH (security_barrier) AS
  SELECT l.run_id, s.name AS sync_name, CASE WHEN w.s OPERATOR(pg_catalog.>) 0 THEN pg_catalog.format('waits %ss', w.s) ELSE l.phase END AS phase,
         l.rows_scanned AS scanned, l.to_create OPERATOR(pg_catalog.+) l.to_update OPERATOR(pg_catalog.+) l.to_delete AS to_send, l.sent, l.failed, l.in_flight,
         pg_catalog.round(l.requests_per_s::pg_catalog.numeric, 1) AS per_s,
         pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) l.started_at) AS elapsed
  FROM ondatra.live_runs() l JOIN ondatra.all_syncs s ON s.sync_id OPERATOR(pg_catalog.=) l.sync_id
  CROSS JOIN LATERAL (SELECT pg_catalog.ceil(pg_catalog.date_part('epoch', l.throttled_until OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp())) AS s) w;
COMMENT ON VIEW ondatra.run_progress IS 'Runs that go on, as they are at this moment. live_runs() has more of them: their process, times, creates, updates and deletes.';
COMMENT ON COLUMN ondatra.run_progress.phase IS
  'starting, reading (the model), sending, waits 12s (nothing is sent for so long: a rate limit, or the destination asked to wait) or finishing.';
COMMENT ON COLUMN ondatra.run_progress.scanned IS 'Rows of the model read so far.';
COMMENT ON COLUMN ondatra.run_progress.to_send IS 'Creates, updates and deletes found so far.';
COMMENT ON COLUMN ondatra.run_progress.sent IS 'Rows that the destination has accepted.';
COMMENT ON COLUMN ondatra.run_progress.failed IS 'Rows that were refused, or not answered.';
COMMENT ON COLUMN ondatra.run_progress.in_flight IS 'Requests that wait for their answer.';
COMMENT ON COLUMN ondatra.run_progress.per_s IS 'Requests in a second.';

CREATE FUNCTION ondatra.live_destinations(
    OUT destination_id bigint, OUT tokens_left text, OUT paused_until timestamptz, OUT in_flight int, OUT last_error text, OUT last_error_at timestamptz)
  RETURNS SETOF record AS 'MODULE_PATHNAME', 'ond_sql_live_destinations' LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION ondatra.live_destinations() IS
  'Destinations in use, of the roles that the caller is a member of: behind the view ondatra.destination_status.';

CREATE VIEW ondatra.destination_status WITH (security_barrier) AS
  SELECT d.name, l.tokens_left, pg_catalog.date_trunc('second', l.paused_until) AS paused_until, COALESCE(l.in_flight, 0) AS in_flight, l.last_error,
         pg_catalog.date_trunc('second', l.last_error_at) AS last_error_at
  FROM ondatra.all_destinations d LEFT JOIN ondatra.live_destinations() l ON l.destination_id OPERATOR(pg_catalog.=) d.destination_id
  WHERE pg_catalog.pg_has_role(d.owner, 'USAGE');
COMMENT ON VIEW ondatra.destination_status IS 'Destinations as the server sees them at this moment: rate limits, pauses, requests in flight, the last error.';
COMMENT ON COLUMN ondatra.destination_status.tokens_left IS 'Requests that may still start now, of each rate limit; NULL: unlimited, or not used since the server started.';
COMMENT ON COLUMN ondatra.destination_status.paused_until IS 'Nobody sends before this time: the destination asked to wait.';
