package Ondatra::Hostile;

# mallory: an owner whose models try everything. What the models' code does is written to the server's log, where nothing can take it back:
#
#   CANARY {"at": ..., "who": current_user, ...}    some code of mallory's ran
#   ATTEMPT {"name": ..., "result": SQLSTATE}       a statement of %FORBIDDEN or %HARMLESS was tried; DONE: it worked
#
# The canary may only ever be mallory, in a read-only transaction, and never between statements of ondatra's own (their search_path tells).

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use JSON::PP ();
use Ondatra::Test;
use Test::More;

our @EXPORT = qw(enter_mallory log_mark log_since judge attempts_of);

# Statements that must fail, with whatever error, wherever mallory's code runs. SUPERUSER, STATE, OTHER are filled in: the superuser's name, the state table
# of mallory's sync and of bob's. What returns no row divides by zero.
our %FORBIDDEN = (
    set_role => 'SET ROLE SUPERUSER',
    set_role_bob => 'SET ROLE bob',
    set_role_none => 'SET ROLE NONE',
    reset_role => 'RESET ROLE',
    set_local_role => 'SET LOCAL ROLE mallory',
    config_role => q{SELECT set_config('role', 'SUPERUSER', false)},
    authorization => 'SET SESSION AUTHORIZATION SUPERUSER',
    authorization_default => 'SET SESSION AUTHORIZATION DEFAULT',
    reset_authorization => 'RESET SESSION AUTHORIZATION',
    config_authorization => q{SELECT set_config('session_authorization', 'SUPERUSER', false)},
    replication_role => q{SELECT set_config('session_replication_role', 'local', false)},
    log_statement => q{SELECT set_config('log_statement', 'none', false)},
    log_level => q{SELECT set_config('log_min_messages', 'panic', false)},
    preload => q{SELECT set_config('session_preload_libraries', 'dblink', false)},
    our_work_mem => q{SELECT set_config('ondatra.work_mem', '64', false)},
    our_hosts => q{SELECT set_config('ondatra.allowed_hosts', '*', false)},
    our_own => q{SELECT set_config('ondatra.mine', '1', false)},
    read_write => q{SELECT set_config('transaction_read_only', 'off', false)},
    read_write_set => 'SET TRANSACTION READ WRITE',
    isolation => 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE',
    temp_table => 'CREATE TEMP TABLE all_syncs (sync_id int)',
    temp_view => 'CREATE TEMP VIEW all_syncs AS SELECT 1',
    temp_domain => 'CREATE DOMAIN pg_temp.jsonb AS text CHECK (mallory.canary(VALUE) IS NULL)',
    temp_type => 'CREATE TYPE pg_temp.text AS (x int)',
    temp_function => q{CREATE FUNCTION pg_temp.now() RETURNS int LANGUAGE sql AS 'SELECT 1'},
    table => 'CREATE TABLE mallory.made (x int)',
    replace_function => q{CREATE OR REPLACE FUNCTION mallory.one() RETURNS int LANGUAGE sql AS 'SELECT 2'},
    operator => 'CREATE OPERATOR mallory.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)',
    cast => 'CREATE CAST (mallory.color AS int) WITH FUNCTION mallory.color_int(mallory.color) AS IMPLICIT',
    drop_type => 'DROP TYPE mallory.color CASCADE',
    drop_owned => 'DROP OWNED BY mallory',
    write => 'INSERT INTO mallory.t VALUES (99)',
    write_cte => 'WITH w AS (DELETE FROM mallory.t RETURNING *) SELECT * FROM w',
    event_trigger => 'CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION mallory.on_event()',
    trigger_own_state => 'CREATE TRIGGER mine BEFORE UPDATE ON STATE FOR EACH ROW EXECUTE FUNCTION mallory.on_row()',
    trigger_syncs => 'CREATE TRIGGER mine BEFORE UPDATE ON ondatra.all_syncs FOR EACH ROW EXECUTE FUNCTION mallory.on_row()',
    deferred => 'CREATE CONSTRAINT TRIGGER mine AFTER INSERT ON ondatra.all_runs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.on_row()',
    rule => 'CREATE RULE mine AS ON UPDATE TO STATE DO ALSO SELECT mallory.one()',
    policy => 'CREATE POLICY mine ON STATE USING (true)',
    index => 'CREATE INDEX ON STATE ((mallory.one()))',
    inherit => 'CREATE TABLE mallory.child () INHERITS (STATE)',
    reference => 'CREATE TABLE mallory.child (id int8 REFERENCES ondatra.all_syncs)',
    security_off => 'ALTER TABLE STATE DISABLE ROW LEVEL SECURITY',
    owner => 'ALTER TABLE STATE OWNER TO mallory',
    grant => 'GRANT ALL ON STATE TO PUBLIC',
    schema => 'CREATE TABLE ondatra.state_1000 (x int)',
    insert_state => 'INSERT INTO STATE (k1) VALUES (NULL)',
    update_state => 'UPDATE STATE SET _hash = NULL',
    delete_state => 'DELETE FROM STATE',
    truncate_state => 'TRUNCATE STATE',
    lock_state => 'LOCK TABLE STATE IN ACCESS EXCLUSIVE MODE',
    lock_syncs => 'LOCK TABLE ondatra.all_syncs IN ACCESS SHARE MODE',
    lock_view => 'LOCK TABLE ondatra.syncs IN EXCLUSIVE MODE',
    read_secrets => 'SELECT 1 / count(*) FROM ondatra.all_secrets',
    read_destinations => 'SELECT 1 / count(*) FROM ondatra.all_destinations',
    read_syncs => 'SELECT 1 / count(*) FROM ondatra.all_syncs',
    read_runs => 'SELECT 1 / count(*) FROM ondatra.all_runs',
    read_failed => 'SELECT 1 / count(*) FROM ondatra.all_failed_rows',
    read_requests => 'SELECT 1 / count(*) FROM ondatra.run_requests',
    read_windows => 'SELECT 1 / count(*) FROM ondatra.send_windows',
    read_leases => 'SELECT 1 / count(*) FROM ondatra.quota_leases',
    read_other_state => 'SELECT 1 / count(*) FROM OTHER',
    others_secrets => q{SELECT 1 / count(*) FROM ondatra.secrets WHERE owner OPERATOR(pg_catalog.<>) 'mallory'::regrole},
    others_destinations => q{SELECT 1 / count(*) FROM ondatra.destinations WHERE owner OPERATOR(pg_catalog.<>) 'mallory'::regrole},
    read_grants => 'SELECT 1 / count(*) FROM ondatra.all_grants',
    read_armed_to => 'SELECT 1 / count(*) FROM ondatra.armed_to',
    others_syncs => q{SELECT 1 / count(*) FROM ondatra.syncs WHERE owner OPERATOR(pg_catalog.<>) 'mallory'::regrole},
    others_runs => q{SELECT 1 / count(*) FROM ondatra.sync_runs WHERE sync_name OPERATOR(pg_catalog.=) 'bobs'},
    others_failed => q{SELECT 1 / count(*) FROM ondatra.failed_rows WHERE sync_name OPERATOR(pg_catalog.=) 'bobs'},
    others_status => q{SELECT 1 / count(*) FROM ondatra.sync_status WHERE name OPERATOR(pg_catalog.=) 'bobs'},
    others_progress => q{SELECT 1 / count(*) FROM ondatra.run_progress WHERE sync_name OPERATOR(pg_catalog.=) 'bobs'},
    others_live => q{SELECT 1 / count(*) FROM ondatra.destination_status WHERE name OPERATOR(pg_catalog.=) 'bobs'},
    others_table => 'SELECT 1 / count(*) FROM bob.t',
    passwords => 'SELECT rolpassword FROM pg_authid',
    read_file => q{SELECT pg_read_file('ondatra.key')},
    list_files => q{SELECT pg_ls_dir('.')},
    import => q{SELECT lo_import('/etc/passwd')},
    program => q{COPY (SELECT 1) TO PROGRAM 'true'},
    to_file => q{COPY (SELECT 1) TO '/tmp/never'},
    dblink => q{SELECT dblink_connect('mine', 'dbname=postgres user=SUPERUSER')},
    system => 'ALTER SYSTEM SET ondatra.enabled = off',
    superuser => 'ALTER ROLE mallory SUPERUSER',
    member => 'GRANT SUPERUSER TO mallory',
    load => q{LOAD 'dblink'},
    prepare => 'PREPARE mine AS SELECT 1',
    deallocate => 'DEALLOCATE ALL',
    discard => 'DISCARD ALL',
    discard_temp => 'DISCARD TEMP',
    hold => 'DECLARE mine CURSOR WITH HOLD FOR SELECT mallory.canary(1)',
    close => 'CLOSE ALL',
    listen => 'LISTEN ondatra',
    unlisten => 'UNLISTEN *',
    commit => 'COMMIT',
    commit_do => 'DO $x$ BEGIN COMMIT; END $x$',
    prepare_transaction => q{PREPARE TRANSACTION 'mine'},
    kill_superusers => q{WITH s AS MATERIALIZED (SELECT pid FROM pg_stat_activity WHERE usename OPERATOR(pg_catalog.=) 'SUPERUSER')
        SELECT 1 / count(*) FROM s WHERE pg_terminate_backend(pid)},
    set_secret => q{SELECT ondatra.set_secret('x', 'y')},
    apply_config => q{SELECT ondatra.apply_config('{"syncs": {"mallorys": {"model": "mallory.t", "destination": "mallorys", "state": "paused"}}}')},
    config_put => q{SELECT ondatra.config_put('sync', 'mallorys', NULL, '{"model": "SELECT 1 AS id", "destination": "mallorys", "key": ["id"], "search_path": "mallory"}')},
    apply_config_drop => q{SELECT ondatra.apply_config('{"syncs": {"mallorys": null}}')},
    arm => q{SELECT ondatra.arm('trust')},
    check_arming => q{SELECT ondatra.check_arming()},
    grant_destination => q{SELECT ondatra.grant_destination('mallorys', 'bob')},
    revoke_destination => q{SELECT ondatra.revoke_destination('mallorys', 'bob')},
    reencrypt_secrets => q{SELECT ondatra.reencrypt_secrets()},
    drop_secret => q{SELECT ondatra.drop_secret('token')},
    create_destination => q{SELECT ondatra.create_destination('x', base_url => 'http://127.0.0.1:1')},
    update_destination => q{SELECT ondatra.update_destination('mallorys', options => '{"concurrency": 1}')},
    test_destination => q{SELECT ondatra.test_destination('mallorys')},
    create_sync => q{SELECT ondatra.create_sync('x', 'SELECT 1 AS id', 'mallorys', key => '{id}')},
    update_sync => q{SELECT ondatra.update_sync('mallorys', paused => true)},
    rename_sync => q{SELECT ondatra.rename_sync('mallorys', 'x')},
    drop_sync => q{SELECT ondatra.drop_sync('mallorys')},
    pause_sync => q{SELECT ondatra.pause_sync('mallorys')},
    plan_sync => q{SELECT ondatra.plan_sync('mallorys')},
    preview_sync => q{SELECT ondatra.preview_sync('mallorys')},
    explain_sync => q{SELECT ondatra.explain_sync('mallorys')},
    retry_failed => q{SELECT ondatra.retry_failed('mallorys')},
    rebase_sync => q{SELECT ondatra.rebase_sync('mallorys')},
    reconcile_sync => q{SELECT ondatra.reconcile_sync('mallorys')},
    resend_sync => q{SELECT ondatra.resend_sync('mallorys')},
    run_sync => q{SELECT ondatra.run_sync('mallorys', wait => false)},
    trigger_other => q{SELECT ondatra.trigger_sync('bobs')},
    cancel_run => q{SELECT ondatra.cancel_run(1)},
    approve_run => q{SELECT ondatra.approve_run(1)},
    reject_run => q{SELECT ondatra.reject_run(1)},
    drop_destination => q{SELECT ondatra.drop_destination('mallorys')},
    resume_sync => q{SELECT ondatra.resume_sync('mallorys')},
    archive_sync => q{SELECT ondatra.archive_sync('mallorys')},
    restore_sync => q{SELECT ondatra.restore_sync('mallorys')},
    explain_row => q{SELECT ondatra.explain_row('mallorys', '{"id": "row1", "color": "red"}')},
    discard_failed => q{SELECT ondatra.discard_failed('mallorys')},
    trigger_sync => q{SELECT ondatra.trigger_sync('mallorys')},
    create_connector => q{SELECT ondatra.create_connector('x', '{"title": "x", "objects": {}}')},
    replace_connector => q{SELECT ondatra.replace_connector('x', '{}')},
    drop_connector => q{SELECT ondatra.drop_connector('x')},
    request => q{SELECT ondatra.request('mallorys', 'GET', '/')},
    fetch => q{SELECT ondatra.fetch('mallorys', NULL::pg_catalog.text)},
    fetch_text => q{SELECT ondatra.fetch('mallorys', NULL::pg_catalog.text, '{}'::pg_catalog.text)},
    fetch_rows => q{SELECT ondatra.fetch(NULL::mallory.t, 'mallorys', NULL::pg_catalog.text)},
    fetch_parts => q{SELECT ondatra.fetch_parts('mallorys', NULL, '{}', '{}')},
    sequence => q{SELECT pg_catalog.nextval('ondatra.sync_ids')},
    set_sequence => q{SELECT pg_catalog.setval('ondatra.run_ids', 1)},
);

# Functions that a model may call: they change nothing and show what is its owner's.
our @HARMLESS_FUNCTIONS = qw(check_connector config_before config_diff config_entry config_order config_patch export_config live_destinations live_runs next_cron_run report_html row_hash);

# What may well work, and must not matter.
our %HARMLESS = (
    search_path => q{SELECT set_config('search_path', 'mallory, pg_catalog', false)},
    timeout => q{SELECT set_config('statement_timeout', '1', false), set_config('lock_timeout', '1', false)},
    date_style => q{SELECT set_config('DateStyle', 'German', false), set_config('TimeZone', 'Asia/Tokyo', false), set_config('IntervalStyle', 'sql_standard', false)},
    strings => q{SELECT set_config('standard_conforming_strings', 'off', false), set_config('transform_null_equals', 'on', false)},
    read_only => q{SELECT set_config('default_transaction_read_only', 'on', false), set_config('default_transaction_isolation', 'serializable', false)},
    durability => q{SELECT set_config('synchronous_commit', 'off', false)},
    table_method => q{SELECT set_config('default_tablespace', '', false), set_config('check_function_bodies', 'off', false)},
    client => q{SELECT set_config('client_min_messages', 'error', false), set_config('application_name', 'mallory was here', false)},
    mine => q{SELECT set_config('mallory.mine', 'left behind', false)},
    messages => q{SELECT set_config('exit_on_error', 'off', false)},
    unlock => 'SELECT pg_advisory_unlock_all()',
    squat => 'SELECT pg_advisory_lock(i) FROM generate_series(1, 100) i',
    notify => q{SELECT pg_notify('ondatra', '{"run_id": 1, "sync_id": 1, "status": "succeeded"}')},
    share_lock => 'LOCK TABLE STATE IN ACCESS SHARE MODE',
    cursor => 'DECLARE mine CURSOR FOR SELECT mallory.canary(1)',
    reset_all => 'RESET ALL',
);

# The role, its schema, and code of hers in every place that a model can reach. names => statement lists of what attack() tries.
sub enter_mallory {
    my ($t) = @_;
    my $shadows = join '', map { "CREATE DOMAIN mallory.$_ AS pg_catalog.$_ CHECK (mallory.canary('shadow $_') IS NOT NULL);\n" } qw(text int4 int8 uuid jsonb json regrole regclass timestamptz bytea name);
    $t->admin('CREATE ROLE mallory LOGIN; CREATE SCHEMA mallory AUTHORIZATION mallory; GRANT CREATE ON DATABASE postgres TO mallory; '
        . 'CREATE SCHEMA bob AUTHORIZATION bob');
    $t->sql_as('mallory', <<'SQL' . $shadows . <<'MORE');
CREATE FUNCTION mallory.report(at pg_catalog.text) RETURNS pg_catalog.int4 LANGUAGE plpgsql AS $f$
BEGIN
  RAISE LOG 'CANARY %', pg_catalog.json_build_object('at', at, 'who', current_user, 'session', session_user,
    'superuser', pg_catalog.current_setting('is_superuser'), 'read_only', pg_catalog.current_setting('transaction_read_only'),
    'replication_role', pg_catalog.current_setting('session_replication_role'), 'path', pg_catalog.current_setting('search_path'));
  RETURN 1;
END $f$;
CREATE FUNCTION mallory.canary(at anyelement) RETURNS anyelement LANGUAGE plpgsql PARALLEL SAFE COST 0.000001 AS $f$
BEGIN
  PERFORM mallory.report(at::pg_catalog.text);
  RETURN at;
END $f$;
CREATE FUNCTION mallory.canary(at pg_catalog.text) RETURNS pg_catalog.text LANGUAGE plpgsql PARALLEL SAFE COST 0.000001 AS $f$
BEGIN
  PERFORM mallory.report(at);
  RETURN at;
END $f$;
-- folded into a constant by the planner
CREATE FUNCTION mallory.planned(at pg_catalog.text) RETURNS pg_catalog.text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $f$
BEGIN
  PERFORM mallory.report(at);
  RETURN at;
END $f$;
CREATE FUNCTION mallory.one() RETURNS pg_catalog.int4 LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION mallory.on_row() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM mallory.report('trigger ' || TG_TABLE_NAME); RETURN NEW; END $f$;
CREATE FUNCTION mallory.on_event() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN PERFORM mallory.report('event trigger'); END $f$;
CREATE TABLE mallory.attempts (name pg_catalog.text PRIMARY KEY, statement pg_catalog.text);
CREATE FUNCTION mallory.attack() RETURNS pg_catalog.int4 LANGUAGE plpgsql AS $f$
DECLARE
  a record;
  result pg_catalog.text;
BEGIN
  FOR a IN SELECT * FROM mallory.attempts ORDER BY name LOOP
    BEGIN
      EXECUTE a.statement;
      result := 'DONE';
    EXCEPTION WHEN OTHERS THEN
      result := SQLSTATE || ' ' || SQLERRM;
    END;
    RAISE LOG 'ATTEMPT %', pg_catalog.json_build_object('name', a.name, 'result', result);
  END LOOP;
  RETURN 1;
END $f$;
SQL
-- a domain whose CHECK runs, an enum with a cast to text of hers, an operator, an index and a policy with a function
CREATE DOMAIN mallory.word AS pg_catalog.text CHECK (mallory.canary(VALUE::pg_catalog.text) IS NOT NULL);
CREATE TYPE mallory.color AS ENUM ('red', 'green');
CREATE FUNCTION mallory.color_text(mallory.color) RETURNS pg_catalog.text LANGUAGE plpgsql AS $f$
  BEGIN PERFORM mallory.report('cast'); RETURN pg_catalog.enum_out($1)::pg_catalog.text; END $f$;
CREATE FUNCTION mallory.color_int(mallory.color) RETURNS pg_catalog.int4 LANGUAGE sql AS 'SELECT 1';
CREATE CAST (mallory.color AS pg_catalog.text) WITH FUNCTION mallory.color_text(mallory.color) AS ASSIGNMENT;
CREATE FUNCTION mallory.plus(pg_catalog.int4, pg_catalog.int4) RETURNS pg_catalog.int4 LANGUAGE plpgsql AS $f$ BEGIN PERFORM mallory.report('operator'); RETURN $1; END $f$;
CREATE OPERATOR mallory.+ (LEFTARG = pg_catalog.int4, RIGHTARG = pg_catalog.int4, FUNCTION = mallory.plus);
CREATE FUNCTION mallory.equal(pg_catalog.text, pg_catalog.text) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $f$ BEGIN PERFORM mallory.report('operator ='); RETURN true; END $f$;
CREATE OPERATOR mallory.= (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = mallory.equal);
CREATE FUNCTION mallory.equal(pg_catalog.int8, pg_catalog.int8) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $f$ BEGIN PERFORM mallory.report('operator ='); RETURN true; END $f$;
CREATE OPERATOR mallory.= (LEFTARG = pg_catalog.int8, RIGHTARG = pg_catalog.int8, FUNCTION = mallory.equal);
CREATE FUNCTION mallory.nextval(pg_catalog.text) RETURNS pg_catalog.int8 LANGUAGE plpgsql AS $f$ BEGIN PERFORM mallory.report('nextval'); RETURN 1; END $f$;
CREATE FUNCTION mallory.now() RETURNS pg_catalog.timestamptz LANGUAGE plpgsql AS $f$ BEGIN PERFORM mallory.report('now'); RETURN pg_catalog.now(); END $f$;
CREATE FUNCTION mallory.clock_timestamp() RETURNS pg_catalog.timestamptz LANGUAGE plpgsql AS $f$ BEGIN PERFORM mallory.report('clock'); RETURN pg_catalog.now(); END $f$;
CREATE FUNCTION mallory.pg_has_role(pg_catalog.oid, pg_catalog.text) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $f$ BEGIN PERFORM mallory.report('pg_has_role'); RETURN true; END $f$;
CREATE TABLE mallory.all_syncs (sync_id pg_catalog.int8, name pg_catalog.text, owner pg_catalog.regrole);
CREATE TABLE mallory.t (id pg_catalog.int4 PRIMARY KEY, v pg_catalog.int4);
CREATE TABLE mallory.guarded (id pg_catalog.int4, v pg_catalog.int4);
ALTER TABLE mallory.guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE mallory.guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY everything ON mallory.guarded USING (mallory.report('policy') > 0);
CREATE FUNCTION mallory.indexed(pg_catalog.int4) RETURNS pg_catalog.int4 LANGUAGE plpgsql IMMUTABLE AS $f$ BEGIN PERFORM mallory.report('index'); RETURN $1; END $f$;
CREATE INDEX ON mallory.t (mallory.indexed(v));
INSERT INTO mallory.t VALUES (1, 1), (2, 2);
INSERT INTO mallory.guarded VALUES (1, 1), (2, 2);
CREATE VIEW mallory.m AS
  SELECT ('row' || t.id::pg_catalog.text)::mallory.word AS id, (CASE t.id WHEN 1 THEN 'red' ELSE 'green' END)::mallory.color AS color,
         t.v OPERATOR(mallory.+) 1 AS v, mallory.canary('column') AS c, mallory.planned('planned') AS p, (SELECT pg_catalog.count(*) FROM mallory.guarded) AS n,
         CASE t.id WHEN 1 THEN mallory.attack() END AS a, '{"a": 1}'::mallory.jsonb AS j
  FROM mallory.t;
MORE
    return;
}

# Fills in what attack() tries from now on.
sub attempts_of {
    my ($t, %statements) = @_;
    my $superuser = $t->superuser;
    my %table = map { $_->[0] => 'ondatra.state_' . $t->admin("SELECT sync_id FROM ondatra.all_syncs WHERE name = '$_->[1]'") } ['STATE', 'mallorys'], ['OTHER', 'bobs'];
    my $values = join ",\n", map {
        my $sql = $statements{$_};
        $sql =~ s/\b(STATE|OTHER)\b/$table{$1}/g;
        $sql =~ s/\bSUPERUSER\b/$superuser/ unless $_ eq 'superuser';
        '(' . Ondatra::Test::literal($_) . ', ' . Ondatra::Test::literal($sql) . ')'
    } sort keys %statements;
    return $t->sql_as('mallory', "TRUNCATE mallory.attempts; INSERT INTO mallory.attempts VALUES $values");
}

sub log_mark { my ($t) = @_; return -s $t->node->logfile }
sub log_since { my ($t, $mark) = @_; return substr Ondatra::Test::slurp($t->node->logfile), $mark }

# What ran since the mark was mallory alone, and got nothing. want: places of the canary that must have been seen, so that silence is no success; attempts: how
# many must have been made; may: those that are allowed here; parallel: not in a worker of a parallel plan, which writes nothing by other rules.
sub judge {
    my ($t, $mark, $name, %args) = @_;
    my $log = log_since($t, $mark);
    my @canaries = map { JSON::PP->new->utf8->decode($_) } $log =~ /CANARY (\{.*\})$/mg;
    my %results = map { $_->{name} => $_->{result} } map { JSON::PP->new->utf8->decode($_) } $log =~ /ATTEMPT (\{.*\})$/mg;
    my %seen = map { $_->{at} => 1 } @canaries;
    my @escaped = grep { $_->{who} ne 'mallory' || ($_->{read_only} ne 'on' && !$args{parallel}) || $_->{replication_role} ne 'origin' || $_->{path} =~ /^pg_catalog/ } @canaries;
    my %may = map { $_ => 1 } @{ $args{may} || [] };
    my @gained = grep { $results{$_} eq 'DONE' && !$may{$_} } sort grep { exists $FORBIDDEN{$_} } keys %results;
    is_deeply(\@escaped, [], "$name: her code runs as mallory, read only, and never in our own SQL") || diag(explain(\@escaped));
    is_deeply(\@gained, [], "$name: nothing is gained") || note(explain(\%results));
    is(join(' ', grep { !$seen{$_} } @{ $args{want} || [] }), '', "$name: her code has run");
    is(scalar keys %results, $args{attempts}, "$name: all attempts were made") if defined $args{attempts};
    return \%results;
}

1;
