-- What people see. Views of the present (sync_status, run_progress, alerts) fit a terminal of 120 columns: their times are in the session's time zone, to
-- the second. The others hold whole texts and documents, and are read with \x or by column. Each view shows what belongs to roles that the reader is a member of; security_barrier keeps the reader's own functions from seeing
-- rows before that filter. pg_has_role() with an OID is false, not an error, for an owner that was dropped.

CREATE VIEW ondatra.secrets WITH (security_barrier) AS
  SELECT s.name, s.owner, s.updated_at
  FROM ondatra.all_secrets s
  WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE');
COMMENT ON VIEW ondatra.secrets IS 'Names of stored secrets, never their values. set_secret() stores one, drop_secret() removes it.';

CREATE VIEW ondatra.connectors WITH (security_barrier) AS
  SELECT c.name, c.owner, c.builtin, c.spec OPERATOR(pg_catalog.->>) 'title' AS title,
         coalesce(c.description, c.spec OPERATOR(pg_catalog.->>) 'description') AS description,
         ARRAY(SELECT o.name FROM pg_catalog.json_object_keys(c.spec OPERATOR(pg_catalog.->) 'objects') AS o(name) ORDER BY o.name) AS objects,
         c.version, c.spec::jsonb AS spec, c.created_at, c.updated_at
  FROM ondatra.all_connectors c
  WHERE c.builtin OR pg_catalog.pg_has_role(c.owner::oid, 'USAGE');
COMMENT ON VIEW ondatra.connectors IS 'Connectors: APIs described by data. create_connector() makes one, create_destination() uses one.';
COMMENT ON COLUMN ondatra.connectors.owner IS 'The role that made it; NULL: builtin.';
COMMENT ON COLUMN ondatra.connectors.builtin IS 'Shipped with the extension, and replaced by its upgrades.';
COMMENT ON COLUMN ondatra.connectors.objects IS 'What a sync can name as its object; *: any other name.';
COMMENT ON COLUMN ondatra.connectors.version IS 'Counts replacements.';
COMMENT ON COLUMN ondatra.connectors.spec IS 'The document: doc/connectors.md has its words.';

CREATE VIEW ondatra.destinations WITH (security_barrier) AS
  SELECT d.destination_id, d.name, d.owner, d.connector, d.base_url, CASE WHEN m.owner THEN d.auth::jsonb END AS auth,
         CASE WHEN m.owner THEN d.options::jsonb END AS options, d.created_at, d.updated_at, CASE WHEN m.owner THEN 'owner' ELSE g.level END AS level
  FROM ondatra.all_destinations d
  CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(d.owner::oid, 'USAGE') AS owner) m
  LEFT JOIN LATERAL (SELECT pg_catalog.min(g.level) AS level FROM ondatra.all_grants g  -- request before sync
                     WHERE g.destination_id OPERATOR(pg_catalog.=) d.destination_id AND pg_catalog.pg_has_role(g.role::oid, 'USAGE')) g ON true
  WHERE m.owner OR g.level IS NOT NULL;
COMMENT ON VIEW ondatra.destinations IS 'Destinations: an account at an API. create_destination() makes one, test_destination() tries it.';
COMMENT ON COLUMN ondatra.destinations.auth IS 'How requests are authenticated; holds references to secrets, never a secret.';
COMMENT ON COLUMN ondatra.destinations.options IS 'The requests of the API (object), limits (rate_limit, concurrency), time-outs and retries.';
COMMENT ON COLUMN ondatra.destinations.level IS 'What the reader may do: owner; or as it was granted, request or sync, and then auth and options are not shown.';

CREATE VIEW ondatra.destination_grants WITH (security_barrier) AS
  SELECT d.name AS destination, d.owner, g.role, g.level, g.granted_at
  FROM ondatra.all_grants g JOIN ondatra.all_destinations d ON d.destination_id OPERATOR(pg_catalog.=) g.destination_id
  WHERE pg_catalog.pg_has_role(d.owner::oid, 'USAGE') OR pg_catalog.pg_has_role(g.role::oid, 'USAGE')
  ORDER BY d.name, g.role::text;
COMMENT ON VIEW ondatra.destination_grants IS 'Who else may use a destination: grant_destination() and revoke_destination() change that.';
COMMENT ON COLUMN ondatra.destination_grants.level IS 'sync: syncs may send to it; request: and people may call request(), fetch(), test_destination() and reconcile_sync(), and syncs may have the option render.';

CREATE FUNCTION ondatra.next_cron_run(schedule text, after timestamptz DEFAULT pg_catalog.now()) RETURNS timestamptz
  LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'ond_sql_next_cron_run';
COMMENT ON FUNCTION ondatra.next_cron_run(text, timestamptz) IS
  'When five cron fields are due next in the time zone of pg_cron; NULL: never, or they are no such fields. Behind next_run_at of views.';

CREATE VIEW ondatra.syncs WITH (security_barrier) AS
  SELECT s.sync_id, s.name, s.owner, s.model, d.name AS destination, s.object, s.key, s.mode, s.mapping::jsonb AS mapping, s.schedule, s.options, s.state,
         s.state_reason,
         LEAST(s.next_run_at, ondatra.next_cron_run(CASE WHEN s.cron_job IS NOT NULL AND s.state_reason IS NULL
           AND s.state OPERATOR(pg_catalog.=) ANY ('{created,active}') THEN s.schedule END)) AS next_run_at,
         s.last_run_id, s.created_at, s.updated_at, s.model_search_path AS search_path
  FROM ondatra.all_syncs s
  LEFT JOIN ondatra.all_destinations d ON d.destination_id OPERATOR(pg_catalog.=) s.destination_id
  WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE');
COMMENT ON VIEW ondatra.syncs IS 'Syncs: model, destination, key, mode and schedule, and the state each is in.';
COMMENT ON COLUMN ondatra.syncs.owner IS 'The role that made it; the model is read with this role''s rights.';
COMMENT ON COLUMN ondatra.syncs.model IS 'What is read: a relation or one SELECT.';
COMMENT ON COLUMN ondatra.syncs.search_path IS 'Of its creation: the model is read with it.';
COMMENT ON COLUMN ondatra.syncs.key IS 'The columns that identify a row; where none were given, the table''s primary key.';
COMMENT ON COLUMN ondatra.syncs.mapping IS 'Field to source; NULL: every column under its own name.';
COMMENT ON COLUMN ondatra.syncs.schedule IS 'An interval, or five cron fields for pg_cron; NULL: manual, runs when somebody asks.';
COMMENT ON COLUMN ondatra.syncs.state IS 'created: never ran; active; paused: the schedule rests; error: stopped by itself; archived: kept, never runs.';
COMMENT ON COLUMN ondatra.syncs.state_reason IS 'Why it is in this state; of a live one: what is wrong with its job of pg_cron.';
COMMENT ON COLUMN ondatra.syncs.next_run_at IS 'When it runs by itself, or its job of pg_cron is due; NULL: it does not.';
COMMENT ON COLUMN ondatra.syncs.last_run_id IS 'The last run that has finished.';

CREATE VIEW ondatra.sync_runs WITH (security_barrier) AS
  SELECT r.run_id, r.sync_id, r.sync_name, r.status, r.trigger, r.requested_by, r.queued_at, r.started_at, r.finished_at,
         coalesce(r.finished_at, CASE WHEN r.status OPERATOR(pg_catalog.=) 'held' THEN r.held_at END, pg_catalog.statement_timestamp()) OPERATOR(pg_catalog.-) r.started_at AS duration,
         r.rows_scanned, r.rows_unchanged, r.rows_created, r.rows_updated, r.rows_deleted, r.rows_failed, r.rows_invalid, r.rows_held_back,
         r.rows_skipped, r.rows_pending, r.rows_unconfirmed, r.deletes_failed, r.deletes_pending, r.requests, r.retries, r.throttled_ms, r.bytes_sent,
         r.bytes_received, r.diff_ms, r.deliver_ms, r.error_code, r.error_message, r.error_detail, r.checks
  FROM ondatra.all_runs r
  WHERE pg_catalog.pg_has_role(r.owner::oid, 'USAGE');
COMMENT ON VIEW ondatra.sync_runs IS 'Runs of syncs. rows_scanned = unchanged + created + updated + failed + invalid + held_back + skipped + pending; deletes are counted apart.';
COMMENT ON COLUMN ondatra.sync_runs.status IS 'succeeded: nothing failed, invalid or pending; partial: the run did its work, but some rows failed, were invalid or are pending; failed: stopped by an error, or nothing was delivered.';
COMMENT ON COLUMN ondatra.sync_runs.trigger IS 'Who asked: manual, schedule, cron, after, change, retry or recovery; reconcile: reconcile_sync, which sends nothing.';
COMMENT ON COLUMN ondatra.sync_runs.duration IS 'From start to end, or until now.';
COMMENT ON COLUMN ondatra.sync_runs.rows_unchanged IS 'Equal to what the destination has accepted: nothing to send.';
COMMENT ON COLUMN ondatra.sync_runs.rows_failed IS 'Refused, or not answered: see failed_rows.';
COMMENT ON COLUMN ondatra.sync_runs.rows_invalid IS 'Could not be sent: duplicate or NULL key, a value without a JSON form, a missing value of a template.';
COMMENT ON COLUMN ondatra.sync_runs.rows_held_back IS 'This version failed in an earlier run and waits.';
COMMENT ON COLUMN ondatra.sync_runs.rows_skipped IS 'What the mode does not send: a changed row in insert, a new one in update.';
COMMENT ON COLUMN ondatra.sync_runs.deletes_pending IS 'To be made, but not in this run: it stopped first, an earlier request of the row may still arrive, or the next attempt is not due.';
COMMENT ON COLUMN ondatra.sync_runs.rows_pending IS 'To be sent, but not in this run: it stopped first, or an earlier request of the row may still arrive.';
COMMENT ON COLUMN ondatra.sync_runs.rows_unconfirmed IS 'The part of created and updated for which the API only returns counts.';
COMMENT ON COLUMN ondatra.sync_runs.throttled_ms IS 'Time in which rate limits or the API''s own pauses kept requests back.';
COMMENT ON COLUMN ondatra.sync_runs.diff_ms IS 'Time of reading and comparing the model.';
COMMENT ON COLUMN ondatra.sync_runs.deliver_ms IS 'Time of sending.';
COMMENT ON COLUMN ondatra.sync_runs.error_code IS 'SQLSTATE of what stopped the run; class 28: credentials.';
COMMENT ON COLUMN ondatra.sync_runs.checks IS 'Of the option checks: for how many rows each did not hold, or 1 for one over the whole model.';

CREATE VIEW ondatra.held_runs WITH (security_barrier) AS
  SELECT r.run_id, r.sync_name, r.guard, r.error_message AS message, r.error_detail AS would_send, r.held_at, r.approved_by
  FROM ondatra.all_runs r
  WHERE r.finished_at IS NULL AND r.status OPERATOR(pg_catalog.=) 'held' AND pg_catalog.pg_has_role(r.owner::oid, 'USAGE');
COMMENT ON VIEW ondatra.held_runs IS 'Runs that a guard held, until somebody calls approve_run or reject_run.';
COMMENT ON COLUMN ondatra.held_runs.guard IS 'empty, state, checks, deletes, config_change or changes.';
COMMENT ON COLUMN ondatra.held_runs.message IS 'Why it was held.';
COMMENT ON COLUMN ondatra.held_runs.would_send IS 'How many rows of which operation it would send, with some keys.';
COMMENT ON COLUMN ondatra.held_runs.approved_by IS 'Approved, and about to start.';

CREATE VIEW ondatra.failed_rows WITH (security_barrier) AS
  SELECT f.sync_id, s.name AS sync_name, f.key, f.operation, f.error_class, f.http_status, f.error_message, f.payload, f.attempts, f.first_failed_at,
         f.last_failed_at, f.next_attempt_at, f.run_id
  FROM ondatra.all_failed_rows f
  JOIN ondatra.all_syncs s ON s.sync_id OPERATOR(pg_catalog.=) f.sync_id
  WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE');
COMMENT ON VIEW ondatra.failed_rows IS 'Changes that were refused or could not be sent, until they are resolved. retry_failed() sends again, discard_failed() gives up.';
COMMENT ON COLUMN ondatra.failed_rows.error_class IS 'invalid, rejected, throttled, unavailable, auth or unknown_outcome.';
COMMENT ON COLUMN ondatra.failed_rows.payload IS 'What was sent, cut.';
COMMENT ON COLUMN ondatra.failed_rows.attempts IS 'Runs in which this version failed.';
COMMENT ON COLUMN ondatra.failed_rows.next_attempt_at IS 'Runs from then on send it again; NULL: it waits for a person or a new version of the row.';

CREATE VIEW ondatra.sync_status WITH (security_barrier) AS
  SELECT s.name, s.state, r.status AS last_status, pg_catalog.date_trunc('second', r.started_at)::timestamp AS last_run_at,
         pg_catalog.date_trunc('second', LEAST(s.next_run_at, ondatra.next_cron_run(CASE WHEN s.cron_job IS NOT NULL AND s.state_reason IS NULL
           AND s.state OPERATOR(pg_catalog.=) ANY ('{created,active}') THEN s.schedule END)))::timestamp AS next_run_at,
         coalesce(r.rows_pending OPERATOR(pg_catalog.+) r.deletes_pending, 0) AS backlog,
         (SELECT pg_catalog.count(*) FROM ondatra.all_failed_rows f WHERE f.sync_id OPERATOR(pg_catalog.=) s.sync_id) AS failing,
         (SELECT pg_catalog.count(*) FROM ondatra.all_failed_rows f WHERE f.sync_id OPERATOR(pg_catalog.=) s.sync_id AND f.next_attempt_at IS NULL)
           AS held_back
  FROM ondatra.all_syncs s
  LEFT JOIN ondatra.all_runs r ON r.run_id OPERATOR(pg_catalog.=) s.last_run_id
  WHERE pg_catalog.pg_has_role(s.owner::oid, 'USAGE')
  ORDER BY s.name;
COMMENT ON VIEW ondatra.sync_status IS 'One line a sync: what it is doing, how its last run ended, what waits.';
COMMENT ON COLUMN ondatra.sync_status.last_status IS 'How the last finished run ended.';
COMMENT ON COLUMN ondatra.sync_status.last_run_at IS 'When it began, in the session''s time zone.';
COMMENT ON COLUMN ondatra.sync_status.next_run_at IS 'In the session''s time zone.';
COMMENT ON COLUMN ondatra.sync_status.backlog IS 'Rows and deletes that the last run left to later ones.';
COMMENT ON COLUMN ondatra.sync_status.failing IS 'Rows in failed_rows.';
COMMENT ON COLUMN ondatra.sync_status.held_back IS 'Those of them that wait for a person or a new version of the row.';

