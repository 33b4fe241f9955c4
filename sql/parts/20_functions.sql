-- Functions. All are CALLED ON NULL INPUT, so that they can say what is missing, and check rights themselves: whose member the caller is.

CREATE FUNCTION ondatra.set_secret(name text, value text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_set_secret';
COMMENT ON FUNCTION ondatra.set_secret(text, text) IS 'Stores a secret of the calling role, encrypted. Syncs that had stopped for it go on.';

CREATE FUNCTION ondatra.drop_secret(name text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_drop_secret';
COMMENT ON FUNCTION ondatra.drop_secret(text) IS 'Removes a secret of the calling role.';

CREATE FUNCTION ondatra.reencrypt_secrets() RETURNS bigint
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_reencrypt_secrets';
COMMENT ON FUNCTION ondatra.reencrypt_secrets() IS
  'Encrypts stored secrets and tokens of this database with the first key of the key file, where another one did. For the extension''s owner. Returns how many.';

CREATE FUNCTION ondatra.create_connector(name text, spec jsonb, description text DEFAULT NULL) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_create_connector';
COMMENT ON FUNCTION ondatra.create_connector(text, jsonb, text) IS
  'Creates a connector of the calling role: an API described by one JSON document, which is checked completely.';

CREATE FUNCTION ondatra.replace_connector(name text, spec jsonb, description text DEFAULT NULL) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_replace_connector';
COMMENT ON FUNCTION ondatra.replace_connector(text, jsonb, text) IS
  'Puts another document in place of a connector''s. Every sync that uses it must still find what it needs; runs in progress end with the old one.';

CREATE FUNCTION ondatra.drop_connector(name text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_drop_connector';
COMMENT ON FUNCTION ondatra.drop_connector(text) IS 'Drops a connector that no destination uses.';

CREATE FUNCTION ondatra.check_connector(spec jsonb) RETURNS TABLE (path text, problem text)
  ROWS 1 IMMUTABLE LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_check_connector';
COMMENT ON FUNCTION ondatra.check_connector(jsonb) IS
  'Every mistake of a connector''s document: where, as a JSON pointer, and what would be right. No row: it can be created.';

CREATE FUNCTION ondatra.create_destination(name text, connector text DEFAULT 'http', base_url text DEFAULT NULL, auth jsonb DEFAULT NULL,
                                           options jsonb DEFAULT '{}') RETURNS bigint
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_create_destination';
COMMENT ON FUNCTION ondatra.create_destination(text, text, text, jsonb, jsonb) IS 'Creates a destination of the calling role: an account at an API. Returns its number.';

CREATE FUNCTION ondatra.update_destination(name text, connector text DEFAULT NULL, base_url text DEFAULT NULL, auth jsonb DEFAULT NULL,
                                           options jsonb DEFAULT NULL, delivered text DEFAULT NULL) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_update_destination';
COMMENT ON FUNCTION ondatra.update_destination(text, text, text, jsonb, jsonb, text) IS
  'Changes what is given: NULL keeps, options are merged (null removes). Another base URL under delivered rows needs delivered => ''keep'' or ''forget''.';

CREATE FUNCTION ondatra.drop_destination(name text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_drop_destination';
COMMENT ON FUNCTION ondatra.drop_destination(text) IS 'Drops a destination that no sync uses.';

CREATE FUNCTION ondatra.grant_destination(name text, role name, level text DEFAULT 'sync') RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_grant_destination';
COMMENT ON FUNCTION ondatra.grant_destination(text, name, text) IS
  'Lets a role and its members use a destination: sync: their syncs may send to it; request: they may also read and shape requests: request(), fetch(), test_destination(), reconcile_sync() and the option render. In place of an earlier grant.';

CREATE FUNCTION ondatra.revoke_destination(name text, role name) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_revoke_destination';
COMMENT ON FUNCTION ondatra.revoke_destination(text, name) IS 'Takes back what grant_destination() gave. Syncs that lose their right stop at their next run.';

CREATE FUNCTION ondatra.test_destination(name text, OUT ok boolean, OUT http_status integer, OUT elapsed_ms integer, OUT message text)
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_test_destination';
COMMENT ON FUNCTION ondatra.test_destination(text) IS 'Sends one harmless request with the destination''s credentials and says how it went. It holds the caller''s transaction meanwhile.';

CREATE FUNCTION ondatra.create_sync(name text, model text, destination text, object text DEFAULT NULL, key text[] DEFAULT NULL,
                                    mode text DEFAULT 'upsert', mapping jsonb DEFAULT NULL, schedule text DEFAULT NULL, options jsonb DEFAULT '{}',
                                    paused boolean DEFAULT false) RETURNS bigint
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_create_sync';
COMMENT ON FUNCTION ondatra.create_sync(text, text, text, text, text[], text, jsonb, text, jsonb, boolean) IS
  'Creates a sync of the calling role. A schedule is live at once unless paused. Returns its number.';

CREATE FUNCTION ondatra.update_sync(name text, model text DEFAULT NULL, destination text DEFAULT NULL, object text DEFAULT NULL,
                                    key text[] DEFAULT NULL, mode text DEFAULT NULL, mapping jsonb DEFAULT NULL, schedule text DEFAULT NULL,
                                    options jsonb DEFAULT NULL, paused boolean DEFAULT NULL, delivered text DEFAULT NULL) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_update_sync';
COMMENT ON FUNCTION ondatra.update_sync(text, text, text, text, text[], text, jsonb, text, jsonb, boolean, text) IS
  'Changes what is given: NULL keeps, schedule => ''manual'' and mapping => ''null'' unset, options are merged (null removes). Another key, destination or object under delivered rows needs delivered => ''keep'' or ''forget''.';

CREATE FUNCTION ondatra.rename_sync(name text, new_name text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_rename_sync';
COMMENT ON FUNCTION ondatra.rename_sync(text, text) IS
  'Gives a sync another name. Its runs, its job of pg_cron, and other syncs that look up in it or run after it follow; nothing is sent again.';

CREATE FUNCTION ondatra.drop_sync(name text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_drop_sync';
COMMENT ON FUNCTION ondatra.drop_sync(text) IS 'Drops a sync and what it knows of delivered rows; a run in progress is cancelled first. Finished runs stay in sync_runs.';

CREATE FUNCTION ondatra.pause_sync(name text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_pause_sync';
COMMENT ON FUNCTION ondatra.pause_sync(text) IS 'Rests the schedule of a sync; a run in progress ends as it would have. run_sync() still runs it.';

CREATE FUNCTION ondatra.resume_sync(name text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_resume_sync';
COMMENT ON FUNCTION ondatra.resume_sync(text) IS 'Makes the schedule of a paused sync live again, or of one that stopped in state error.';

CREATE FUNCTION ondatra.archive_sync(name text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_archive_sync';
COMMENT ON FUNCTION ondatra.archive_sync(text) IS 'Puts a sync away: it keeps its history and what it has delivered, and never runs.';

CREATE FUNCTION ondatra.restore_sync(name text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_restore_sync';
COMMENT ON FUNCTION ondatra.restore_sync(text) IS 'Brings an archived sync back, paused; resume_sync() makes its schedule live.';

CREATE FUNCTION ondatra.plan_sync(name text)
  RETURNS TABLE (rows_scanned bigint, creates bigint, updates bigint, deletes bigint, unchanged bigint, invalid bigint, held_back bigint,
                 skipped bigint, guard text)
  ROWS 1 LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_plan_sync';
COMMENT ON FUNCTION ondatra.plan_sync(text) IS 'What a run would do now, and which guard would hold it. Sends and changes nothing.';

CREATE FUNCTION ondatra.preview_sync(name text, max_requests integer DEFAULT 10)
  RETURNS TABLE (request integer, operation text, method text, url text, headers jsonb, body text, keys jsonb)
  ROWS 10 LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_preview_sync';
COMMENT ON FUNCTION ondatra.preview_sync(text, integer) IS 'The exact first requests of a run, credentials as ***. Sends and changes nothing.';

CREATE FUNCTION ondatra.explain_sync(name text, "analyze" boolean DEFAULT false) RETURNS SETOF text
  ROWS 50 LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_explain_sync';
COMMENT ON FUNCTION ondatra.explain_sync(text, boolean) IS 'The plan of the query that compares the model with what was delivered.';

CREATE FUNCTION ondatra.explain_row(name text, key jsonb) RETURNS jsonb
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_explain_row';
COMMENT ON FUNCTION ondatra.explain_row(text, jsonb) IS 'Everything about one row: the model''s values and hash, state, doubt, failure, verdict, request.';

CREATE TYPE ondatra.response AS (status integer, headers jsonb, body jsonb, body_text text);
COMMENT ON TYPE ondatra.response IS 'What ondatra.request() returns: headers with names in lower case, the body as jsonb where it is JSON, and as text.';

CREATE FUNCTION ondatra.request(destination text, method text, path text, body jsonb DEFAULT NULL, headers jsonb DEFAULT '{}') RETURNS ondatra.response
  LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'ond_sql_request';
COMMENT ON FUNCTION ondatra.request(text, text, text, jsonb, jsonb) IS
  'One call with a destination''s credentials, limits and retries. Holds this transaction while the API takes its time; any status is a result, no answer is an error.';

CREATE FUNCTION ondatra.fetch(destination text, object text, args jsonb DEFAULT '{}') RETURNS SETOF jsonb
  ROWS 1000 LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'ond_sql_fetch';
COMMENT ON FUNCTION ondatra.fetch(text, text, jsonb) IS
  'The records of an object''s list, page by page: an API in FROM. Holds this transaction while the API takes its time.';

-- fetch('crm', 'contacts', '{"since": 1}'): literals without a type fit this one best; without it the call would be ambiguous.
CREATE FUNCTION ondatra.fetch(destination text, object text, args text) RETURNS SETOF jsonb
  ROWS 1000 LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT * FROM ondatra.fetch(destination, object, args::pg_catalog.jsonb)
$$;
COMMENT ON FUNCTION ondatra.fetch(text, text, text) IS 'The same with args as a text, so that a call with three literals finds its function.';

CREATE FUNCTION ondatra.fetch_parts(destination text, object text, args jsonb, fields text[]) RETURNS TABLE (record jsonb, parts jsonb)
  ROWS 1000 LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'ond_sql_fetch';
COMMENT ON FUNCTION ondatra.fetch_parts(text, text, jsonb, text[]) IS 'The same with the fields wanted, and what the list calls the fields of a record beside it: behind fetch() with a row type.';

CREATE FUNCTION ondatra.fetch(base anyelement, destination text, object text, args jsonb DEFAULT '{}') RETURNS SETOF anyelement
  ROWS 1000 LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.jsonb_populate_record(base, COALESCE(f.parts, '{}') OPERATOR(pg_catalog.||) f.record)
  FROM ondatra.fetch_parts(destination, object, args,
         ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.typrelid OPERATOR(pg_catalog.=) a.attrelid
               WHERE t.oid OPERATOR(pg_catalog.=) pg_catalog.pg_typeof(base)::pg_catalog.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
               ORDER BY a.attnum)) f
$$;
COMMENT ON FUNCTION ondatra.fetch(anyelement, text, text, jsonb) IS
  'The same as rows of base''s type, after jsonb_populate_record: fetch(NULL::crm.contact, ''crm'', ''contacts''). Its columns are the {{fields}} that are asked for.';

CREATE FUNCTION ondatra.retry_failed(name text, keys jsonb DEFAULT NULL) RETURNS bigint
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_retry_failed';
COMMENT ON FUNCTION ondatra.retry_failed(text, jsonb) IS 'The next run sends failed rows again, all or those of keys. Returns how many.';

CREATE FUNCTION ondatra.discard_failed(name text, keys jsonb DEFAULT NULL) RETURNS bigint
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_discard_failed';
COMMENT ON FUNCTION ondatra.discard_failed(text, jsonb) IS 'Gives up on failed rows until they change, all or those of keys; a failed delete: forgets the key. Returns how many.';

CREATE FUNCTION ondatra.resend_sync(name text) RETURNS void
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_resend_sync';
COMMENT ON FUNCTION ondatra.resend_sync(text) IS 'The next run sends every row, and still detects removals.';

CREATE FUNCTION ondatra.rebase_sync(name text) RETURNS bigint
  LANGUAGE c AS 'MODULE_PATHNAME', 'ond_sql_rebase_sync';
COMMENT ON FUNCTION ondatra.rebase_sync(text) IS 'Takes the model as it is for delivered, without sending; keeps pending removals. Returns how many rows.';

CREATE FUNCTION ondatra.row_hash(names text[], VARIADIC "any") RETURNS uuid
  STABLE LANGUAGE c AS 'MODULE_PATHNAME', 'ond_row_hash';
COMMENT ON FUNCTION ondatra.row_hash(text[], VARIADIC "any") IS 'The hash that a sync would compute of these fields and values, with a seed of zero.';

