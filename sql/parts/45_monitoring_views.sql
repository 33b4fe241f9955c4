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

CREATE VIEW ondatra.alerts WITH (security_barrier) AS
  SELECT s.name AS sync_name, a.problem, pg_catalog.date_trunc('second', a.since)::timestamp AS since, a.run_id, a.told,
         CASE WHEN pg_catalog.length(a.message) OPERATOR(pg_catalog.>) 43 THEN pg_catalog.left(a.message, 40) OPERATOR(pg_catalog.||) '...' ELSE a.message END AS message
  FROM ondatra.all_alerts a JOIN ondatra.all_syncs s ON s.sync_id OPERATOR(pg_catalog.=) a.sync_id
  WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE');
COMMENT ON VIEW ondatra.alerts IS 'Problems of syncs that have the option alert, once they had one.';
COMMENT ON COLUMN ondatra.alerts.problem IS 'ok, or the worst that holds: slow, partial, no_run, failed, held, error.';
COMMENT ON COLUMN ondatra.alerts.since IS 'So long it has been that; in the session''s time zone.';
COMMENT ON COLUMN ondatra.alerts.run_id IS 'The run that showed it.';
COMMENT ON COLUMN ondatra.alerts.told IS 'What the destination was told last; another one than problem: a message is due.';
COMMENT ON COLUMN ondatra.alerts.message IS 'The problem in words, cut; alert_messages has them all.';

CREATE VIEW ondatra.alert_messages WITH (security_barrier) AS
  SELECT s.name AS sync_name, s.options OPERATOR(pg_catalog.#>>) '{alert,destination}' AS destination, a.problem, a.message, a.told, a.told_at, a.attempts,
         CASE WHEN a.problem OPERATOR(pg_catalog.<>) a.told THEN a.next_attempt_at END AS next_attempt_at, a.last_error
  FROM ondatra.all_alerts a JOIN ondatra.all_syncs s ON s.sync_id OPERATOR(pg_catalog.=) a.sync_id
  WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE');
COMMENT ON VIEW ondatra.alert_messages IS 'Of each line of the view alerts: whom to tell, in which words, and whether that has worked.';
COMMENT ON COLUMN ondatra.alert_messages.message IS 'The problem in words.';
COMMENT ON COLUMN ondatra.alert_messages.told IS 'What the destination was told last; another one than problem: a message is due.';
COMMENT ON COLUMN ondatra.alert_messages.attempts IS 'Tries in a row that failed.';
COMMENT ON COLUMN ondatra.alert_messages.next_attempt_at IS 'The message that is due waits until then.';
COMMENT ON COLUMN ondatra.alert_messages.last_error IS 'Why the last try failed.';

-- Numbers about syncs: of the roles that the reader is a member of, and all of them for members of pg_monitor, who see no text of an API or a row.
CREATE VIEW ondatra.metrics WITH (security_barrier) AS
  WITH s AS NOT MATERIALIZED (
    SELECT s.sync_id, s.name, s.state, s.failures, s.last_run_id, d.name AS destination,
           LEAST(s.next_run_at, ondatra.next_cron_run(CASE WHEN s.cron_job IS NOT NULL AND s.state_reason IS NULL
           AND s.state OPERATOR(pg_catalog.=) ANY ('{created,active}') THEN s.schedule END)) AS next_run_at,
           pg_catalog.jsonb_build_object('sync', s.name, 'destination', d.name) AS labels
    FROM ondatra.all_syncs s LEFT JOIN ondatra.all_destinations d ON d.destination_id OPERATOR(pg_catalog.=) s.destination_id
    WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE')
  ), o AS NOT MATERIALIZED (
    SELECT o.* FROM ondatra.all_runs o WHERE o.finished_at IS NULL
  ), t AS NOT MATERIALIZED (
    SELECT s.labels, t.*, coalesce(o.rows_created, 0) AS now_created, coalesce(o.rows_updated, 0) AS now_updated, coalesce(o.rows_deleted, 0) AS now_deleted,
           coalesce(o.rows_failed OPERATOR(pg_catalog.+) o.deletes_failed, 0) AS now_failed, coalesce(o.rows_invalid, 0) AS now_invalid,
           coalesce(o.requests, 0) AS now_requests, coalesce(o.retries, 0) AS now_retries, coalesce(o.throttled_ms, 0) AS now_throttled_ms,
           coalesce(o.bytes_sent, 0) AS now_bytes_sent, coalesce(o.bytes_received, 0) AS now_bytes_received
    FROM s LEFT JOIN ondatra.sync_totals t ON t.sync_id OPERATOR(pg_catalog.=) s.sync_id LEFT JOIN o ON o.sync_id OPERATOR(pg_catalog.=) s.sync_id
  )
  SELECT 'ondatra_sync_state'::text AS name, s.labels OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('state', v.state) AS labels,
         CASE WHEN v.state OPERATOR(pg_catalog.=) s.state THEN 1 ELSE 0 END::float8 AS value
  FROM s CROSS JOIN (VALUES ('created'), ('active'), ('paused'), ('error'), ('archived')) v (state)
  UNION ALL
  SELECT v.name, s.labels, v.value
  FROM s LEFT JOIN ondatra.all_runs r ON r.run_id OPERATOR(pg_catalog.=) s.last_run_id
  LEFT JOIN o ON o.sync_id OPERATOR(pg_catalog.=) s.sync_id
  CROSS JOIN LATERAL (VALUES
    ('ondatra_sync_failed_runs_in_a_row', s.failures::float8),
    ('ondatra_sync_next_run_timestamp_seconds', pg_catalog.date_part('epoch', s.next_run_at)),
    ('ondatra_sync_last_run_timestamp_seconds', pg_catalog.date_part('epoch', r.finished_at)),
    ('ondatra_sync_last_run_duration_seconds', pg_catalog.date_part('epoch', r.finished_at OPERATOR(pg_catalog.-) r.started_at)),
    ('ondatra_sync_last_run_ok', CASE WHEN r.status OPERATOR(pg_catalog.=) ANY ('{succeeded,partial}') THEN 1 WHEN r.run_id IS NOT NULL THEN 0 END),
    ('ondatra_sync_rows', r.rows_scanned::float8),
    ('ondatra_sync_pending_rows', (r.rows_pending OPERATOR(pg_catalog.+) r.deletes_pending)::float8),
    ('ondatra_sync_running', CASE WHEN o.status OPERATOR(pg_catalog.=) 'running' THEN 1 ELSE 0 END),
    ('ondatra_sync_held', CASE WHEN o.status OPERATOR(pg_catalog.=) 'held' THEN 1 ELSE 0 END)) v (name, value)
  WHERE v.value IS NOT NULL
  UNION ALL
  SELECT 'ondatra_sync_failed_rows', s.labels OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('error_class', c.error_class), coalesce(f.n, 0)::float8
  FROM s CROSS JOIN (VALUES ('invalid'), ('rejected'), ('throttled'), ('unavailable'), ('auth'), ('unknown_outcome')) c (error_class)
  LEFT JOIN (SELECT f.sync_id, f.error_class, pg_catalog.count(*) AS n FROM ondatra.all_failed_rows f GROUP BY f.sync_id, f.error_class) f
    ON f.sync_id OPERATOR(pg_catalog.=) s.sync_id AND f.error_class OPERATOR(pg_catalog.=) c.error_class
  UNION ALL
  SELECT 'ondatra_runs_total', t.labels OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('status', v.status), coalesce(v.value, 0)::float8
  FROM t CROSS JOIN LATERAL (VALUES ('succeeded', t.runs_succeeded), ('partial', t.runs_partial), ('failed', t.runs_failed), ('cancelled', t.runs_cancelled),
    ('interrupted', t.runs_interrupted)) v (status, value)
  UNION ALL
  SELECT 'ondatra_rows_total', t.labels OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('outcome', v.outcome),
         (coalesce(v.ended, 0) OPERATOR(pg_catalog.+) v.now)::float8
  FROM t CROSS JOIN LATERAL (VALUES ('created', t.rows_created, t.now_created), ('updated', t.rows_updated, t.now_updated),
    ('deleted', t.rows_deleted, t.now_deleted), ('failed', t.rows_failed, t.now_failed), ('invalid', t.rows_invalid, t.now_invalid)) v (outcome, ended, now)
  UNION ALL
  SELECT v.name, t.labels, v.value
  FROM t CROSS JOIN LATERAL (VALUES
    ('ondatra_requests_total', (coalesce(t.requests, 0) OPERATOR(pg_catalog.+) t.now_requests)::float8),
    ('ondatra_retries_total', (coalesce(t.retries, 0) OPERATOR(pg_catalog.+) t.now_retries)::float8),
    ('ondatra_throttled_seconds_total', (coalesce(t.throttled_ms, 0) OPERATOR(pg_catalog.+) t.now_throttled_ms)::float8 OPERATOR(pg_catalog./) 1000),
    ('ondatra_sent_bytes_total', (coalesce(t.bytes_sent, 0) OPERATOR(pg_catalog.+) t.now_bytes_sent)::float8),
    ('ondatra_received_bytes_total', (coalesce(t.bytes_received, 0) OPERATOR(pg_catalog.+) t.now_bytes_received)::float8),
    ('ondatra_run_seconds_total', coalesce(t.run_ms, 0)::float8 OPERATOR(pg_catalog./) 1000)) v (name, value)
  UNION ALL
  SELECT 'ondatra_alert_firing', s.labels OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('problem', a.problem), 1
  FROM s JOIN ondatra.all_alerts a ON a.sync_id OPERATOR(pg_catalog.=) s.sync_id WHERE a.problem OPERATOR(pg_catalog.<>) 'ok'
  UNION ALL
  SELECT 'ondatra_alert_failed_attempts', s.labels, a.attempts
  FROM s JOIN ondatra.all_alerts a ON a.sync_id OPERATOR(pg_catalog.=) s.sync_id
  UNION ALL
  SELECT v.name, pg_catalog.jsonb_build_object('destination', d.name), v.value
  FROM ondatra.all_destinations d JOIN ondatra.live_destinations() l ON l.destination_id OPERATOR(pg_catalog.=) d.destination_id
  CROSS JOIN LATERAL (VALUES ('ondatra_destination_in_flight', l.in_flight::float8),
    ('ondatra_destination_paused_seconds', greatest(0, coalesce(pg_catalog.date_part('epoch', l.paused_until OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp()), 0)))) v (name, value)
  UNION ALL
  SELECT v.name, pg_catalog.jsonb_build_object('destination', d.name, 'limit', pg_catalog.btrim(pg_catalog.concat(m[1], ' ', m[3], '/', m[4]))), v.value::float8
  FROM ondatra.all_destinations d JOIN ondatra.live_destinations() l ON l.destination_id OPERATOR(pg_catalog.=) d.destination_id
  CROSS JOIN LATERAL pg_catalog.regexp_matches(l.tokens_left, '(?:^|, )(?:([^,]*) )?(\d+) of (\d+)/(\w+)', 'g') m
  CROSS JOIN LATERAL (VALUES ('ondatra_destination_requests_left', m[2]), ('ondatra_destination_requests_max', m[3])) v (name, value);
COMMENT ON VIEW ondatra.metrics IS 'Numbers for monitoring systems, named as Prometheus wants it: of one''s own syncs and destinations, for members of pg_monitor of all.';
COMMENT ON COLUMN ondatra.metrics.name IS 'Names that end in _total only grow; the others go up and down.';
COMMENT ON COLUMN ondatra.metrics.labels IS 'sync, destination, and what the name speaks of: state, status, outcome, error_class, problem, limit.';

CREATE FUNCTION ondatra.report_html() RETURNS text
  LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'ond_sql_report_html';
COMMENT ON FUNCTION ondatra.report_html() IS
  'A page about the syncs that the caller may see: what needs somebody, runs, rows by outcome, failures by reason, rate limits. One file, without scripts and outside parts.';
