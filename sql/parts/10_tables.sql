-- The catalog. Tables named all_* hold everybody's rows and are for the extension's own SQL only; people read the views of 40_views.sql,
-- which show what belongs to them. No foreign keys and no triggers: the extension's own transactions run with
-- session_replication_role = replica, and drop_* deletes what belongs together.
-- Owners are of type regrole, so that a dump carries names.

CREATE TABLE ondatra.armed_to (
  one         boolean PRIMARY KEY DEFAULT true CHECK (one),
  database    oid NOT NULL,
  system_identifier text NOT NULL,
  instance    text NOT NULL,                 -- ondatra.instance
  base_backup text NOT NULL,                 -- label of the base backup that the server was started from; '': none
  timeline    bigint NOT NULL,
  policy      text NOT NULL,                 -- of arm(), or 'first': the first destination, or 'promotion'
  armed_by    text NOT NULL,
  armed_at    timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE ondatra.armed_to IS 'What this database was when it was armed: a copy of it is another, and sends nothing. People see the view ondatra.arming.';

CREATE TABLE ondatra.all_secrets (
  owner       regrole NOT NULL,
  name        text NOT NULL CHECK (name OPERATOR(pg_catalog.<>) ''),
  value       bytea NOT NULL,                -- AES-256-GCM: version byte, key id, nonce, ciphertext, tag
  updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  PRIMARY KEY (owner, name)
);
COMMENT ON TABLE ondatra.all_secrets IS 'Stored secrets, encrypted with the key file. Read by workers only; people see the view ondatra.secrets.';

CREATE TABLE ondatra.all_connectors (
  name        text NOT NULL CHECK (name OPERATOR(pg_catalog.<>) ''),
  builtin     boolean NOT NULL DEFAULT false,  -- shipped, and replaced by upgrades
  owner       regrole,                       -- NULL: builtin
  spec        json NOT NULL,
  description text,
  version     bigint NOT NULL DEFAULT 1,     -- counts edits
  created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  PRIMARY KEY (name, builtin),               -- a new builtin one may have the name of somebody's own
  CHECK (builtin OPERATOR(pg_catalog.=) (owner IS NULL))
);
COMMENT ON TABLE ondatra.all_connectors IS 'Connectors: descriptions of APIs. People see the view ondatra.connectors.';

CREATE SEQUENCE ondatra.destination_ids MAXVALUE 2147483647;   -- 32 bits: part of a lock tag
COMMENT ON SEQUENCE ondatra.destination_ids IS 'Numbers of destinations.';
CREATE TABLE ondatra.all_destinations (
  destination_id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('ondatra.destination_ids'),
  name        text NOT NULL UNIQUE,
  owner       regrole NOT NULL,
  connector   text NOT NULL,
  base_url    text,
  auth        json,                          -- as given: order and spelling are the user's; references only, never a credential
  options     json NOT NULL,
  version     bigint NOT NULL DEFAULT 1,     -- counts edits
  created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE ondatra.all_destinations IS 'Destinations: an account at an API. People see the view ondatra.destinations.';

CREATE TABLE ondatra.all_grants (
  destination_id bigint NOT NULL,
  role        regrole NOT NULL,
  level       text NOT NULL CHECK (level OPERATOR(pg_catalog.=) ANY ('{sync,request}')),
  granted_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
  PRIMARY KEY (destination_id, role)
);
COMMENT ON TABLE ondatra.all_grants IS 'Who may use a destination of somebody else. People see the view ondatra.destination_grants.';

CREATE TABLE ondatra.all_tokens (
  destination_id bigint PRIMARY KEY,
  version       bigint NOT NULL DEFAULT 0,   -- counts the tokens that came
  token         bytea,                       -- encrypted like a secret: the endpoint's last good answer and what it was asked for with; NULL: none came yet
  previous      bytea,                       -- likewise: the refresh token before the one in `token`, until that one has worked
  obtained_at   timestamptz,                 -- when `token` was asked for
  expires_at    timestamptz,                 -- NULL: not told
  intent_no     bigint NOT NULL DEFAULT 0,   -- counts requests to the endpoint; an answer is stored under its own only
  intent_at     timestamptz                  -- a request may be on its way, or its answer was lost: the endpoint may have replaced the refresh token
);
COMMENT ON TABLE ondatra.all_tokens IS 'Access tokens of destinations that fetch theirs (OAuth 2.0, JWT bearer), encrypted with the key file. Written by the one process that holds the token lock of the destination; shown to nobody.';

CREATE SEQUENCE ondatra.sync_ids MAXVALUE 2147483647;   -- 32 bits: part of a lock tag
COMMENT ON SEQUENCE ondatra.sync_ids IS 'Numbers of syncs; they also name the state tables.';
CREATE TABLE ondatra.all_syncs (
  sync_id       bigint PRIMARY KEY DEFAULT pg_catalog.nextval('ondatra.sync_ids'),
  name          text NOT NULL UNIQUE,
  owner         regrole NOT NULL,
  -- what the user said
  model         text NOT NULL,               -- as given: a relation or one SELECT
  model_search_path text NOT NULL,           -- of its creation, for both
  destination_id bigint NOT NULL,
  object        text,
  key           text[] NOT NULL,             -- resolved: never NULL
  mode          text NOT NULL CHECK (mode OPERATOR(pg_catalog.=) ANY ('{upsert,insert,update,mirror,append,replace}')),
  mapping       json,                        -- as given; NULL: every column under its own name
  schedule      text,                        -- as given; NULL: manual
  options       jsonb NOT NULL,
  -- what follows from it
  version       bigint NOT NULL DEFAULT 1,   -- counts edits: a run's acks are void when it changed
  columns       json NOT NULL,               -- the model's column signature: [{"name":…,"type":…}], compared at each run
  key_unique    boolean NOT NULL DEFAULT false,  -- an index of the model's table made the key unique: duplicates stop the sync
  hash_seed     bytea NOT NULL,              -- 16 secret random bytes: XXH3 seed and idempotency keys
  hash_format   int NOT NULL DEFAULT 1,      -- of the versions in the state table: another one than the library's is a change that on_config_change decides
  -- where it stands
  state         text NOT NULL DEFAULT 'created' CHECK (state OPERATOR(pg_catalog.=) ANY ('{created,active,paused,error,archived}')),
  state_reason  text,
  state_changed_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  anchor        timestamptz NOT NULL DEFAULT pg_catalog.now(),  -- of an interval schedule
  next_run_at   timestamptz,                 -- NULL: not by itself
  cron_job      text,                        -- where the job of a cron schedule was put (worker/cron.c); NULL: there is none
  recover_at    timestamptz,                 -- a follow-up run of its own: rows wait until nothing in doubt can still arrive
  last_run_id   bigint,                      -- the last finished run
  failures      int NOT NULL DEFAULT 0,      -- failed runs in a row, for error_after
  resend        boolean NOT NULL DEFAULT false,  -- resend_sync: the next complete run sends every row
  cursor_value  text,                        -- cursor_column: everything below is resolved or recorded
  cursor_seen   text,                        -- highest value seen by the last complete run ...
  cursor_seen_at timestamptz,                -- ... becomes cursor_value once every transaction open at this time has ended
  full_pass_at  timestamptz,                 -- last complete pass over the whole model
  sent_model    text,                        -- what the last complete run delivered: model and mapping as they were then,
  sent_mapping  text,
  sent_definition text,                      -- and, where the model is a view, its definition
  state_rows    bigint NOT NULL DEFAULT 0,   -- in the state table after the last complete pass
  created_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
  updated_at    timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE ondatra.all_syncs IS 'Syncs: what is read, where it goes, and where it stands. People see the view ondatra.syncs.';
CREATE INDEX all_syncs_due ON ondatra.all_syncs (next_run_at) WHERE next_run_at IS NOT NULL;

CREATE TABLE ondatra.cron_leftovers (
  place         text PRIMARY KEY,            -- as all_syncs.cron_job
  since         timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE ondatra.cron_leftovers IS 'Jobs of pg_cron that were to be removed when pg_cron could not be reached: the scheduler removes them later.';

CREATE SEQUENCE ondatra.run_ids;
COMMENT ON SEQUENCE ondatra.run_ids IS 'Numbers of runs.';
CREATE TABLE ondatra.all_runs (
  run_id        bigint PRIMARY KEY,          -- from ondatra.run_ids, taken before the row is written
  sync_id       bigint NOT NULL,
  sync_name     text NOT NULL,
  owner         regrole NOT NULL,
  status        text NOT NULL CHECK (status OPERATOR(pg_catalog.=) ANY ('{queued,running,held,succeeded,partial,failed,cancelled,interrupted}')),
  trigger       text NOT NULL CHECK (trigger OPERATOR(pg_catalog.=) ANY ('{manual,schedule,cron,after,change,retry,recovery,reconcile}')),
  requested_by  text,
  queued_at     timestamptz NOT NULL,
  started_at    timestamptz,
  finished_at   timestamptz,
  rows_scanned  bigint NOT NULL DEFAULT 0,
  rows_unchanged bigint NOT NULL DEFAULT 0,
  rows_created  bigint NOT NULL DEFAULT 0,
  rows_updated  bigint NOT NULL DEFAULT 0,
  rows_deleted  bigint NOT NULL DEFAULT 0,
  rows_failed   bigint NOT NULL DEFAULT 0,
  rows_invalid  bigint NOT NULL DEFAULT 0,
  rows_held_back bigint NOT NULL DEFAULT 0,
  rows_skipped  bigint NOT NULL DEFAULT 0,
  rows_pending  bigint NOT NULL DEFAULT 0,
  rows_unconfirmed bigint NOT NULL DEFAULT 0,
  deletes_failed bigint NOT NULL DEFAULT 0,
  deletes_pending bigint NOT NULL DEFAULT 0,
  requests      bigint NOT NULL DEFAULT 0,
  retries       bigint NOT NULL DEFAULT 0,
  throttled_ms  bigint NOT NULL DEFAULT 0,
  bytes_sent    bigint NOT NULL DEFAULT 0,
  bytes_received bigint NOT NULL DEFAULT 0,
  diff_ms       bigint NOT NULL DEFAULT 0,
  deliver_ms    bigint NOT NULL DEFAULT 0,
  error_code    text,
  error_message text,
  error_detail  text,
  guard         text,                        -- which one held the run
  held_at       timestamptz,
  approved_by   text,
  approved_operations text[],                -- NULL: all
  checks        jsonb,                       -- of the option checks: name to rows (1 for one over the whole model) where it does not hold
  canary        boolean NOT NULL DEFAULT false  -- a run of a few rows (keys, max_rows): nothing runs after it
) WITH (fillfactor = 50);                    -- counters are updated in place (HOT)
COMMENT ON TABLE ondatra.all_runs IS 'Runs: one row for each execution of a sync. People see the view ondatra.sync_runs.';
CREATE INDEX all_runs_sync ON ondatra.all_runs (sync_id, run_id);
CREATE INDEX all_runs_open ON ondatra.all_runs (sync_id) WHERE finished_at IS NULL;
CREATE INDEX all_runs_finished ON ondatra.all_runs (finished_at);

CREATE TABLE ondatra.held_changes (
  run_id        bigint NOT NULL,
  part          int NOT NULL,
  digests       bytea NOT NULL,              -- engine/held.c: 8 bytes for each change that a held run would have sent
  PRIMARY KEY (run_id, part)
);
ALTER TABLE ondatra.held_changes ALTER COLUMN digests SET STORAGE EXTERNAL;  -- hashes do not compress
COMMENT ON TABLE ondatra.held_changes IS 'What held runs would have sent, so that an approval sends nothing else.';

CREATE SEQUENCE ondatra.request_ids;
COMMENT ON SEQUENCE ondatra.request_ids IS 'Numbers of run requests.';
CREATE TABLE ondatra.run_requests (
  request_id    bigint PRIMARY KEY DEFAULT pg_catalog.nextval('ondatra.request_ids'),
  sync_id       bigint NOT NULL,
  trigger       text NOT NULL,
  requested_by  text NOT NULL,
  requested_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE ondatra.run_requests IS 'Runs asked for and not yet begun: each trigger_sync appends its own row; a run consumes those visible before its snapshot.';
CREATE INDEX run_requests_sync ON ondatra.run_requests (sync_id);

CREATE TABLE ondatra.all_failed_rows (
  sync_id       bigint NOT NULL,
  key           jsonb NOT NULL,
  operation     text NOT NULL,
  error_class   text NOT NULL CHECK (error_class OPERATOR(pg_catalog.=) ANY ('{invalid,rejected,throttled,unavailable,auth,unknown_outcome}')),
  http_status   int,
  error_message text NOT NULL,
  payload       text,                        -- cut to 2,000 characters
  attempts      int NOT NULL,
  first_failed_at timestamptz NOT NULL,
  last_failed_at timestamptz NOT NULL,
  next_attempt_at timestamptz,               -- NULL: waits for a person or a new version of the row
  run_id        bigint NOT NULL,
  before        jsonb,                       -- of an invalid row: this line as it was; it is back when the row is valid again
  PRIMARY KEY (sync_id, key)
);
COMMENT ON TABLE ondatra.all_failed_rows IS 'Changes that were refused or could not be sent, until they are resolved. People see the view ondatra.failed_rows.';

CREATE TABLE ondatra.send_windows (
  sync_id       bigint NOT NULL,
  run_id        bigint NOT NULL,
  window_no     int NOT NULL,
  sent_at       timestamptz NOT NULL,
  changes       bytea NOT NULL,              -- engine/window.c: operation, hash, change id and key of each change
  PRIMARY KEY (sync_id, run_id, window_no)
);
ALTER TABLE ondatra.send_windows ALTER COLUMN changes SET STORAGE EXTERNAL;  -- hashes do not compress
COMMENT ON TABLE ondatra.send_windows IS 'What may be on its way: committed before a chunk of requests goes out, removed by the commit that records the last answer. What a dead run leaves here is in doubt.';

CREATE TABLE ondatra.jobs (
  sync_id       bigint NOT NULL,
  run_id        bigint NOT NULL,             -- that began it
  job_no        int NOT NULL,
  destination_id bigint NOT NULL,
  operation     text NOT NULL,
  step          text NOT NULL,               -- to be done next
  captures      jsonb NOT NULL,              -- what later steps name as {{job.x}}
  changes       bytea NOT NULL,              -- its rows in their order, as in send_windows
  started_at    timestamptz NOT NULL,
  deadline      timestamptz NOT NULL,
  PRIMARY KEY (sync_id, run_id, job_no)
);
ALTER TABLE ondatra.jobs ALTER COLUMN changes SET STORAGE EXTERNAL;  -- hashes do not compress
COMMENT ON TABLE ondatra.jobs IS 'Asynchronous jobs at destinations that need no rows any more: removed by the commit that records what became of them. What a dead or cancelled run leaves here is taken up by the next run of the sync.';
