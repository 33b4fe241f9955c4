-- For those who look: requests, outcomes of rows, metrics.

CREATE VIEW ondatra.requests WITH (security_barrier) AS
  SELECT q.request_id, q.run_id, s.name AS sync_name, q.finished_at, q.operation, q.rows, q.method, q.url, q.http_status, q.elapsed_ms, q.bytes_sent,
         q.bytes_received, q.error_message, q.request_body, q.response_body
  FROM ondatra.all_requests q JOIN ondatra.all_syncs s ON s.sync_id OPERATOR(pg_catalog.=) q.sync_id
  WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE');
COMMENT ON VIEW ondatra.requests IS 'Requests of runs that the setting ondatra.log_requests has recorded: those that went wrong, unless it says otherwise.';
COMMENT ON COLUMN ondatra.requests.rows IS 'How many rows it carried.';
COMMENT ON COLUMN ondatra.requests.url IS 'Without secrets.';
COMMENT ON COLUMN ondatra.requests.http_status IS 'NULL: no answer.';
COMMENT ON COLUMN ondatra.requests.elapsed_ms IS 'From the start of the request to the end of the answer.';
COMMENT ON COLUMN ondatra.requests.error_message IS 'What was wrong; NULL: nothing.';
COMMENT ON COLUMN ondatra.requests.request_body IS 'Without secrets, cut to 2,000 bytes.';
COMMENT ON COLUMN ondatra.requests.response_body IS 'Without secrets, cut to 2,000 bytes.';

CREATE VIEW ondatra.sync_log WITH (security_barrier) AS
  SELECT l.log_id, l.run_id, s.name AS sync_name, l.logged_at, l.key, l.operation, l.outcome, l.http_status, l.message, l.remote_id
  FROM ondatra.all_sync_log l JOIN ondatra.all_syncs s ON s.sync_id OPERATOR(pg_catalog.=) l.sync_id
  WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE');
COMMENT ON VIEW ondatra.sync_log IS 'What became of single rows, of syncs with the option sync_log: one line for each change that a run delivered or could not deliver.';
COMMENT ON COLUMN ondatra.sync_log.outcome IS 'created, updated, deleted, or an error class: invalid, rejected, throttled, unavailable, auth, unknown_outcome.';
COMMENT ON COLUMN ondatra.sync_log.message IS 'Why it failed.';
COMMENT ON COLUMN ondatra.sync_log.remote_id IS 'What the destination calls the record, where it said so.';
