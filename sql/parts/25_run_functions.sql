-- Runs on demand. run_sync returns a row of the view sync_runs and so is declared after it, in 41_live_views.sql.

CREATE FUNCTION ondatra.trigger_sync(name text) RETURNS bigint
  AS 'MODULE_PATHNAME', 'ond_sql_trigger_sync' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ondatra.trigger_sync(text) IS
  'Asks for a run that starts when this transaction commits, and covers every change committed with or before it. Never waits. Returns the number of the request.';

CREATE FUNCTION ondatra.reconcile_sync(name text, repair text[] DEFAULT '{}', OUT key jsonb, OUT problem text, OUT detail jsonb) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'ond_sql_reconcile_sync' LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION ondatra.reconcile_sync(text, text[]) IS
  'Lists the destination''s records, in a process of its own, and says what is missing, extra, different or duplicate there. repair: adopt (equal records count as delivered), missing, different, extra (the next run sends what is wanted).';

CREATE FUNCTION ondatra.cancel_run(run_id bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'ond_sql_cancel_run' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ondatra.cancel_run(bigint) IS
  'Asks a run to stop; what was sent stays recorded. False when it does not run any more.';

CREATE FUNCTION ondatra.approve_run(run_id bigint, operations text[] DEFAULT NULL) RETURNS void
  AS 'MODULE_PATHNAME', 'ond_sql_approve_run' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ondatra.approve_run(bigint, text[]) IS
  'Lets a held run go on at commit: it compares again and sends what is identical to what was held (of these operations: create, update, delete); the rest stays pending.';

CREATE FUNCTION ondatra.reject_run(run_id bigint) RETURNS void
  AS 'MODULE_PATHNAME', 'ond_sql_reject_run' LANGUAGE c VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION ondatra.reject_run(bigint) IS 'Drops a held run and pauses its sync.';

CREATE TABLE ondatra.quota_leases (
  destination_id bigint NOT NULL,
  rate_group    text NOT NULL,
  window_us     bigint NOT NULL,             -- of limits of an hour or longer
  leased_at     timestamptz NOT NULL,
  requests      int NOT NULL                 -- that may start after this row is committed
);
COMMENT ON TABLE ondatra.quota_leases IS 'Parts of hourly, daily and monthly quotas that were taken before use, so that a restart of the server does not forget what was used.';
CREATE INDEX quota_leases_destination ON ondatra.quota_leases (destination_id, leased_at);
