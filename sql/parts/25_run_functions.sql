-- Runs on demand. run_sync returns a row of the view sync_runs and so is declared after it, in 41_live_views.sql.

CREATE FUNCTION ondatra.trigger_sync(name text) RETURNS bigint
  AS 'MODULE_PATHNAME', 'ond_sql_trigger_sync' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ondatra.trigger_sync(text) IS
  'Asks for a run that starts when this transaction commits, and covers every change committed with or before it. Never waits. Returns the number of the request.';
REVOKE ALL ON FUNCTION ondatra.trigger_sync(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ondatra.trigger_sync(text) TO PUBLIC;

CREATE FUNCTION ondatra.cancel_run(run_id bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'ond_sql_cancel_run' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ondatra.cancel_run(bigint) IS
  'Asks a run to stop; what was sent stays recorded. False when it does not run any more.';
REVOKE ALL ON FUNCTION ondatra.cancel_run(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ondatra.cancel_run(bigint) TO PUBLIC;
