-- Configuration as code. One document says connectors, destinations with their grants, and syncs, each by its name:
--   {"format": 1, "connectors": {"acme": {…}}, "destinations": {"crm": {…, "grants": {"bob": "sync"}}}, "syncs": {"people": {…}}}
-- These run as their caller and do nothing that the caller could not do by the other functions.

CREATE FUNCTION ondatra.export_config() RETURNS jsonb
  LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_build_object(
    'format', 1,
    'connectors', (
      SELECT coalesce(jsonb_object_agg(c.name, e.entry), '{}') FROM ondatra.connectors c JOIN pg_roles r ON r.oid = c.owner
      CROSS JOIN LATERAL (SELECT jsonb_object_agg(m.name, m.value) AS entry FROM (VALUES
        ('owner', to_jsonb(r.rolname)), ('spec', c.spec),
        ('description', CASE WHEN c.description IS DISTINCT FROM c.spec ->> 'description' THEN to_jsonb(c.description) END)) m (name, value)
        WHERE m.value IS NOT NULL) e
      WHERE NOT c.builtin),
    'destinations', (
      SELECT coalesce(jsonb_object_agg(d.name, e.entry), '{}') FROM ondatra.destinations d JOIN pg_roles r ON r.oid = d.owner
      CROSS JOIN LATERAL (SELECT jsonb_object_agg(m.name, m.value) AS entry FROM (VALUES
        ('owner', to_jsonb(r.rolname)), ('connector', to_jsonb(d.connector)), ('base_url', to_jsonb(d.base_url)), ('auth', d.auth), ('options', d.options),
        ('grants', (SELECT coalesce(jsonb_object_agg(a.rolname, g.level), '{}') FROM ondatra.destination_grants g JOIN pg_roles a ON a.oid = g.role
                    WHERE g.destination = d.name))) m (name, value)
        WHERE m.value IS NOT NULL) e
      WHERE d.level = 'owner'),
    'syncs', (
      SELECT coalesce(jsonb_object_agg(s.name, e.entry), '{}') FROM ondatra.syncs s JOIN pg_roles r ON r.oid = s.owner
      CROSS JOIN LATERAL (SELECT jsonb_object_agg(m.name, m.value) AS entry FROM (VALUES
        ('owner', to_jsonb(r.rolname)), ('model', to_jsonb(s.model)), ('search_path', to_jsonb(s.search_path)), ('destination', to_jsonb(s.destination)),
        ('object', to_jsonb(s.object)), ('key', to_jsonb(s.key)), ('mode', to_jsonb(s.mode)), ('mapping', s.mapping), ('schedule', to_jsonb(s.schedule)),
        ('options', s.options), ('state', to_jsonb(CASE WHEN s.state IN ('paused', 'archived') THEN s.state ELSE 'active' END))) m (name, value)
        WHERE m.value IS NOT NULL) e))
$$;
COMMENT ON FUNCTION ondatra.export_config() IS
  'Connectors, destinations with their grants, and syncs of the roles that the caller is a member of, as one document for apply_config(). No secrets are in it.';

CREATE FUNCTION ondatra.config_patch(present jsonb, wanted jsonb) RETURNS jsonb
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF jsonb_typeof(present) IS DISTINCT FROM 'object' OR jsonb_typeof(wanted) <> 'object' THEN
    RETURN wanted;
  END IF;
  RETURN (SELECT coalesce(jsonb_object_agg(k.name, CASE WHEN wanted ? k.name THEN ondatra.config_patch(present -> k.name, wanted -> k.name) ELSE 'null' END), '{}')
          FROM (SELECT jsonb_object_keys(present) UNION SELECT jsonb_object_keys(wanted)) k (name)
          WHERE present -> k.name IS DISTINCT FROM wanted -> k.name);
END
$$;
COMMENT ON FUNCTION ondatra.config_patch(jsonb, jsonb) IS 'The JSON merge patch that makes one document another: behind apply_config().';

-- An entry as export_config() would show it: defaults filled in, what is not said kept. Errors for what is no entry.
CREATE FUNCTION ondatra.config_entry(kind text, name text, entry jsonb, present jsonb, search_path text) RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  members constant text[] := CASE kind WHEN 'connector' THEN '{owner,spec,description}'::text[]
    WHEN 'destination' THEN '{owner,connector,base_url,auth,options,grants}'
    ELSE '{owner,model,search_path,destination,object,key,mode,mapping,schedule,options,state}' END;
  needed constant text[] := CASE kind WHEN 'connector' THEN '{spec}'::text[] WHEN 'destination' THEN '{}' ELSE '{model,destination}' END;
  defaults constant jsonb := CASE kind WHEN 'connector' THEN '{}' WHEN 'destination' THEN '{"connector": "http", "options": {}, "grants": {}}'
    ELSE '{"mode": "upsert", "options": {}, "state": "active"}' END;
  kept constant text[] := CASE kind WHEN 'sync' THEN '{owner,search_path,key,state}'::text[] ELSE '{owner}' END;
  member text;
BEGIN
  IF jsonb_typeof(entry) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s "%s" must be a JSON object', kind, name), HINT = 'null drops it.';
  END IF;
  SELECT m INTO member FROM jsonb_object_keys(entry) m WHERE m <> ALL (members) ORDER BY m LIMIT 1;
  IF member IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('unknown member "%s" of %s "%s"', member, kind, name),
      HINT = format('Use %s.', array_to_string(members, ', '));
  END IF;
  SELECT coalesce(jsonb_object_agg(m.key, m.value), '{}') INTO entry FROM jsonb_each(entry) m
  WHERE m.value <> 'null' AND NOT (m.key = 'schedule' AND m.value = '"manual"') AND NOT (m.key = 'description' AND m.value = entry -> 'spec' -> 'description');
  SELECT m INTO member FROM unnest(needed) m WHERE NOT entry ? m;
  IF member IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('%s "%s" needs "%s"', kind, name, member);
  END IF;
  SELECT m.key INTO member FROM jsonb_each(entry) m
  WHERE jsonb_typeof(m.value) <> CASE WHEN m.key IN ('auth', 'options', 'grants', 'spec') THEN 'object' WHEN m.key = 'key' THEN 'array' ELSE 'string' END
    AND m.key <> 'mapping' LIMIT 1;
  IF member IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('member "%s" of %s "%s" has a wrong type', member, kind, name);
  END IF;
  IF kind = 'sync' AND entry ->> 'state' <> ALL ('{active,paused,archived}') THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('invalid state of sync "%s": "%s"', name, entry ->> 'state'), HINT = 'Use active, paused or archived.';
  END IF;
  RETURN defaults || CASE kind WHEN 'sync' THEN jsonb_build_object('search_path', search_path) ELSE '{}' END
    || jsonb_build_object('owner', current_user)
    || coalesce((SELECT jsonb_object_agg(m.key, m.value) FROM jsonb_each(present) m WHERE m.key = ANY (kept)), '{}') || entry;
END
$$;
COMMENT ON FUNCTION ondatra.config_entry(text, text, jsonb, jsonb, text) IS 'An entry of a configuration in its full form: behind apply_config().';

-- "base_url: "a" -> "b"; mode: ...": what differs. Long values are cut.
CREATE FUNCTION ondatra.config_diff(present jsonb, wanted jsonb) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT string_agg(format('%s: %s -> %s', k.name, coalesce(left((present -> k.name)::text, 300), 'none'), coalesce(left((wanted -> k.name)::text, 300), 'none')), '; '
                    ORDER BY k.name)
  FROM (SELECT jsonb_object_keys(present) UNION SELECT jsonb_object_keys(wanted)) k (name)
  WHERE present -> k.name IS DISTINCT FROM wanted -> k.name
$$;
COMMENT ON FUNCTION ondatra.config_diff(jsonb, jsonb) IS 'What differs between two entries of a configuration, in words: behind apply_config().';

-- Names of syncs that must be there before this one: of its lookups, and those that it runs after.
CREATE FUNCTION ondatra.config_before(entry jsonb) RETURNS text[]
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT ARRAY(SELECT v #>> '{}' FROM jsonb_path_query(entry, 'lax $.mapping.**.lookup.sync') v
               UNION SELECT v #>> '{}' FROM jsonb_path_query(entry, 'lax $.options.after[*].sync') v)
$$;
COMMENT ON FUNCTION ondatra.config_before(jsonb) IS 'Which syncs a sync of a configuration refers to: behind apply_config().';

-- Makes or changes one thing; both in their full form. present NULL: there is none.
CREATE FUNCTION ondatra.config_put(kind text, name text, present jsonb, wanted jsonb) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  role_before constant text := current_setting('role');
  as_owner constant boolean := wanted ->> 'owner' <> current_user;
  keys constant text[] := CASE WHEN wanted ? 'key' THEN ARRAY(SELECT jsonb_array_elements_text(wanted -> 'key')) END;
  patch constant jsonb := ondatra.config_patch(present -> 'options', wanted -> 'options');
  state constant text := wanted ->> 'state';
  state_before text := present ->> 'state';
  path text;
BEGIN
  IF present ->> 'owner' <> wanted ->> 'owner' THEN
    RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = format('%s "%s" belongs to role "%s" and cannot be given to role "%s"', kind, name, present ->> 'owner', wanted ->> 'owner'),
      HINT = 'Drop it and create it again.';
  END IF;
  IF as_owner THEN
    PERFORM set_config('role', wanted ->> 'owner', true);
  END IF;
  IF kind = 'connector' AND present IS NULL THEN
    PERFORM ondatra.create_connector(name, wanted -> 'spec', wanted ->> 'description');
  ELSIF kind = 'connector' THEN
    PERFORM ondatra.replace_connector(name, wanted -> 'spec', wanted ->> 'description');
  ELSIF kind = 'destination' AND present IS NULL THEN
    PERFORM ondatra.create_destination(name, wanted ->> 'connector', wanted ->> 'base_url', wanted -> 'auth', wanted -> 'options');
  ELSIF kind = 'destination' AND present - 'grants' <> wanted - 'grants' THEN
    PERFORM ondatra.update_destination(name, wanted ->> 'connector', wanted ->> 'base_url', coalesce(wanted -> 'auth', 'null'), patch);
  ELSIF kind = 'sync' THEN
    -- the model is read with this one; everything below is qualified
    path := wanted ->> 'search_path';
    PERFORM pg_catalog.set_config('search_path', path, true);
    IF present IS NULL THEN
      PERFORM ondatra.create_sync(name, wanted OPERATOR(pg_catalog.->>) 'model', wanted OPERATOR(pg_catalog.->>) 'destination', wanted OPERATOR(pg_catalog.->>) 'object', keys,
                                  wanted OPERATOR(pg_catalog.->>) 'mode', wanted OPERATOR(pg_catalog.->) 'mapping', wanted OPERATOR(pg_catalog.->>) 'schedule',
                                  wanted OPERATOR(pg_catalog.->) 'options', state OPERATOR(pg_catalog.<>) 'active');
    ELSIF present OPERATOR(pg_catalog.-) 'state' OPERATOR(pg_catalog.<>) (wanted OPERATOR(pg_catalog.-) 'state') THEN
      PERFORM ondatra.update_sync(name, wanted OPERATOR(pg_catalog.->>) 'model', wanted OPERATOR(pg_catalog.->>) 'destination', wanted OPERATOR(pg_catalog.->>) 'object', keys,
                                  wanted OPERATOR(pg_catalog.->>) 'mode', COALESCE(wanted OPERATOR(pg_catalog.->) 'mapping', 'null'),
                                  COALESCE(wanted OPERATOR(pg_catalog.->>) 'schedule', 'manual'), patch);
    END IF;
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    IF state = 'archived' AND state_before IS DISTINCT FROM 'archived' THEN
      PERFORM ondatra.archive_sync(name);
    ELSIF state <> 'archived' AND state_before = 'archived' THEN
      PERFORM ondatra.restore_sync(name);
      state_before := 'paused';
    END IF;
    IF state = 'paused' AND state_before = 'active' THEN
      PERFORM ondatra.pause_sync(name);
    ELSIF state = 'active' AND state_before = 'paused' THEN
      PERFORM ondatra.resume_sync(name);
    END IF;
  END IF;
  IF kind = 'destination' THEN
    PERFORM ondatra.revoke_destination(name, g.role::name) FROM jsonb_object_keys(present -> 'grants') g (role) WHERE NOT wanted -> 'grants' ? g.role;
    PERFORM ondatra.grant_destination(name, g.key::name, g.value) FROM jsonb_each_text(wanted -> 'grants') g WHERE present -> 'grants' ->> g.key IS DISTINCT FROM g.value;
  END IF;
  IF as_owner THEN
    PERFORM set_config('role', role_before, true);
  END IF;
END
$$;
COMMENT ON FUNCTION ondatra.config_put(text, text, jsonb, jsonb) IS 'Makes or changes one thing of a configuration, as its owner: behind apply_config().';

-- The order in which entries are taken: a sync after those that it refers to. A circle is taken in the order of names, and refused where it matters.
CREATE FUNCTION ondatra.config_order(syncs jsonb) RETURNS SETOF text
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  waiting jsonb := syncs;
  next text;
BEGIN
  LOOP
    SELECT w.key INTO next FROM jsonb_each(waiting) w
    ORDER BY waiting - w.key ?| ondatra.config_before(w.value), w.key LIMIT 1;
    EXIT WHEN next IS NULL;
    RETURN NEXT next;
    waiting := waiting - next;
  END LOOP;
END
$$;
COMMENT ON FUNCTION ondatra.config_order(jsonb) IS 'Names of syncs in the order in which they can be created: behind apply_config().';

-- A default argument is worked out by the caller, so search_path is the caller's.
CREATE FUNCTION ondatra.apply_config(config jsonb, dry_run boolean DEFAULT false, search_path text DEFAULT pg_catalog.current_setting('search_path'))
  RETURNS TABLE (action text, kind text, name text, detail text)
  LANGUAGE plpgsql VOLATILE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before constant jsonb := ondatra.export_config();
  after jsonb;
  present jsonb;
  wanted jsonb;
  done jsonb := '[]';
  code text;
  words text;
  more text;
  way_out text;
  e record;
BEGIN
  IF config IS NULL OR jsonb_typeof(config) <> 'object' OR coalesce(config -> 'format', '1') <> '1' THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the configuration must be a JSON object with "format": 1', HINT = 'ondatra.export_config() shows one.';
  END IF;
  FOR e IN SELECT c.key, c.value FROM jsonb_each(config) c LOOP
    IF e.key <> ALL ('{format,connectors,destinations,syncs}') OR (e.key <> 'format' AND jsonb_typeof(e.value) <> 'object') THEN
      RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('unknown or wrong member "%s" of the configuration', e.key),
        HINT = 'Use connectors, destinations and syncs, each an object from names to entries.';
    END IF;
  END LOOP;
  BEGIN
    FOR e IN
      SELECT 'connector' AS kind, 'connectors' AS kinds, c.key AS name, c.value AS entry, 1 AS step, 0 AS place FROM jsonb_each(config -> 'connectors') c
      UNION ALL SELECT 'destination', 'destinations', d.key, d.value, 2, 0 FROM jsonb_each(config -> 'destinations') d
      UNION ALL SELECT 'sync', 'syncs', o.name, config -> 'syncs' -> o.name, 3, o.place
                FROM ondatra.config_order(config -> 'syncs') WITH ORDINALITY o (name, place)
      -- what is dropped: last, and the other way round
      ORDER BY 5, 6, 3
    LOOP
      CONTINUE WHEN e.entry = 'null';
      present := before -> e.kinds -> e.name;
      wanted := ondatra.config_entry(e.kind, e.name, e.entry, present, search_path);
      CONTINUE WHEN present = wanted;
      BEGIN
        PERFORM ondatra.config_put(e.kind, e.name, present, wanted);
      EXCEPTION WHEN OTHERS THEN -- with the name of what it is about
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, words = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL, way_out = PG_EXCEPTION_HINT;
        RAISE EXCEPTION USING ERRCODE = code, MESSAGE = words, DETAIL = format('In %s "%s" of the configuration.', e.kind, e.name) || CASE WHEN more <> '' THEN ' ' || more ELSE '' END,
          HINT = coalesce(nullif(way_out, ''), 'Nothing was changed.');
      END;
      done := done || jsonb_build_object('action', CASE WHEN present IS NULL THEN 'create' ELSE 'update' END, 'kind', e.kind, 'kinds', e.kinds, 'name', e.name,
                                         'wanted', wanted, 'detail', CASE WHEN present IS NOT NULL THEN ondatra.config_diff(present, wanted) END);
    END LOOP;
    FOR e IN
      SELECT 'sync' AS kind, s.key AS name, 1 AS step FROM jsonb_each(config -> 'syncs') s WHERE s.value = 'null' AND before -> 'syncs' ? s.key
      UNION ALL SELECT 'destination', d.key, 2 FROM jsonb_each(config -> 'destinations') d WHERE d.value = 'null' AND before -> 'destinations' ? d.key
      UNION ALL SELECT 'connector', c.key, 3 FROM jsonb_each(config -> 'connectors') c WHERE c.value = 'null' AND before -> 'connectors' ? c.key
      ORDER BY 3, 2
    LOOP
      IF dry_run THEN
        NULL; -- dropping a sync cancels its run, which cannot be undone
      ELSIF e.kind = 'sync' THEN
        PERFORM ondatra.drop_sync(e.name);
      ELSIF e.kind = 'destination' THEN
        PERFORM ondatra.drop_destination(e.name);
      ELSE
        PERFORM ondatra.drop_connector(e.name);
      END IF;
      done := done || jsonb_build_object('action', 'drop', 'kind', e.kind, 'name', e.name);
    END LOOP;
    -- what an update cannot do is not passed over in silence
    after := ondatra.export_config();
    FOR e IN SELECT d ->> 'kind' AS kind, d ->> 'name' AS name, after -> (d ->> 'kinds') -> (d ->> 'name') AS made, d -> 'wanted' AS wanted
             FROM jsonb_array_elements(done) d WHERE d ? 'wanted' LOOP
      IF e.made - 'key' IS DISTINCT FROM e.wanted - 'key' OR (e.wanted ? 'key' AND e.made -> 'key' <> e.wanted -> 'key') THEN
        RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = format('%s "%s" cannot be changed into this form', e.kind, e.name), DETAIL = ondatra.config_diff(e.made, e.wanted),
          HINT = 'Drop it (null instead of its entry) and create it again.';
      END IF;
    END LOOP;
    IF coalesce(dry_run, false) THEN
      RAISE EXCEPTION USING ERRCODE = 'ON000', MESSAGE = 'dry run';
    END IF;
  EXCEPTION WHEN SQLSTATE 'ON000' THEN
    NULL; -- everything is undone; what was noted stays
  END;
  RETURN QUERY SELECT d ->> 'action', d ->> 'kind', d ->> 'name', d ->> 'detail' FROM jsonb_array_elements(done) WITH ORDINALITY x (d, n) ORDER BY n;
END
$$;
COMMENT ON FUNCTION ondatra.apply_config(jsonb, boolean, text) IS
  'Makes connectors, destinations, grants and syncs what a document says, in this transaction, and tells what it did. What the document does not name stays; null drops. dry_run: does everything, tells it, and undoes it. search_path: of models where neither the document nor a sync that exists says one.';
