-- What is kept for those who look: requests, outcomes of rows, totals, alerts. Like the others for the extension's own SQL only.
-- The scheduler deletes what is old, and what is more than the settings keep: worker/retention.c.

CREATE SEQUENCE ondatra.http_request_ids;
COMMENT ON SEQUENCE ondatra.http_request_ids IS 'Numbers of recorded HTTP requests.';
CREATE TABLE ondatra.all_requests (
  sync_id       bigint NOT NULL,
  request_id    bigint NOT NULL DEFAULT pg_catalog.nextval('ondatra.http_request_ids'),
  run_id        bigint NOT NULL,
  finished_at   timestamptz NOT NULL,
  operation     text NOT NULL,
  rows          int NOT NULL,
  method        text NOT NULL,
  url           text NOT NULL,               -- without secrets, cut to 2,000 bytes
  http_status   int,                         -- NULL: no answer
  elapsed_ms    bigint NOT NULL,
  bytes_sent    bigint NOT NULL,
  bytes_received bigint NOT NULL,
  error_message text,                        -- NULL: nothing was wrong
  request_body  text,                        -- bodies: without secrets, cut to 2,000 bytes
  response_body text,
  PRIMARY KEY (sync_id, request_id)
);
COMMENT ON TABLE ondatra.all_requests IS 'Requests of runs as ondatra.log_requests has them recorded. People see the view ondatra.requests.';
CREATE INDEX all_requests_finished ON ondatra.all_requests (finished_at);

CREATE SEQUENCE ondatra.log_ids;
COMMENT ON SEQUENCE ondatra.log_ids IS 'Numbers of lines of the sync log.';
CREATE TABLE ondatra.all_sync_log (
  sync_id       bigint NOT NULL,
  log_id        bigint NOT NULL DEFAULT pg_catalog.nextval('ondatra.log_ids'),
  run_id        bigint NOT NULL,
  logged_at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  key           jsonb NOT NULL,
  operation     text NOT NULL,
  outcome       text NOT NULL,               -- created, updated, deleted, or an error class
  http_status   int,
  message       text,
  remote_id     text,
  PRIMARY KEY (sync_id, log_id)
);
COMMENT ON TABLE ondatra.all_sync_log IS 'What became of single rows, of syncs with the option sync_log. People see the view ondatra.sync_log.';
CREATE INDEX all_sync_log_logged ON ondatra.all_sync_log (logged_at);

CREATE TABLE ondatra.sync_totals (
  sync_id       bigint PRIMARY KEY,
  runs_succeeded bigint NOT NULL,
  runs_partial  bigint NOT NULL,
  runs_failed   bigint NOT NULL,
  runs_cancelled bigint NOT NULL,
  runs_interrupted bigint NOT NULL,
  rows_created  bigint NOT NULL,
  rows_updated  bigint NOT NULL,
  rows_deleted  bigint NOT NULL,
  rows_failed   bigint NOT NULL,             -- deletes_failed included
  rows_invalid  bigint NOT NULL,
  requests      bigint NOT NULL,
  retries       bigint NOT NULL,
  throttled_ms  bigint NOT NULL,
  bytes_sent    bigint NOT NULL,
  bytes_received bigint NOT NULL,
  run_ms        bigint NOT NULL
) WITH (fillfactor = 50);                    -- updated in place (HOT)
COMMENT ON TABLE ondatra.sync_totals IS 'Sums over all finished runs of a sync, also those that sync_runs has no more: they only grow. Written with the end of each run.';

CREATE TABLE ondatra.housekeeping (
  counted_at    timestamptz NOT NULL         -- when what exceeds the settings of number was deleted last
);
COMMENT ON TABLE ondatra.housekeeping IS 'One row: when the scheduler has tidied up last.';

CREATE TABLE ondatra.all_alerts (
  sync_id       bigint PRIMARY KEY,
  problem       text NOT NULL CHECK (problem OPERATOR(pg_catalog.=) ANY ('{ok,slow,partial,no_run,failed,held,error}')),
  since         timestamptz NOT NULL,        -- so long it has been that problem
  run_id        bigint,                      -- that showed it
  message       text NOT NULL,
  -- what the destination of the option alert knows
  told          text NOT NULL DEFAULT 'ok',  -- a problem; another one than `problem`: a message is due
  told_at       timestamptz,                 -- NULL: never
  attempts      int NOT NULL DEFAULT 0,      -- failed tries in a row
  unreachable   boolean NOT NULL DEFAULT false,  -- the last one failed for the destination's sake: until next_attempt_at nothing goes there
  next_attempt_at timestamptz,               -- not before; NULL: at once
  last_error    text
);
COMMENT ON TABLE ondatra.all_alerts IS 'Of syncs with the option alert: their problem, and which one was told last. Written by the scheduler (problem) and the alert process (told). People see the view ondatra.alerts.';
