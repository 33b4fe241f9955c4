# A hostile owner: mallory's models run as mallory, whoever makes them run, and gain nothing. What they try is in Ondatra::Hostile.

use strict;
use warnings FATAL => 'all';
use Ondatra::Hostile;
use Ondatra::Sessions;
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new(conf => "max_prepared_transactions = 2\nlog_min_messages = info\n");
my $superuser = $t->superuser;
my %all = (%Ondatra::Hostile::FORBIDDEN, %Ondatra::Hostile::HARMLESS);
my $count = keys %all;
enter_mallory($t);
my %tried = map { $_ => 1 } @Ondatra::Hostile::HARMLESS_FUNCTIONS, map { /ondatra\.(\w+)\(/ } values %Ondatra::Hostile::FORBIDDEN;
is(join(' ', grep { !$tried{$_} } split /\n/, $t->admin("SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'ondatra'::regnamespace ORDER BY 1")), '',
    'every function is tried by her models');
$t->admin('CREATE EXTENSION dblink') if $t->admin("SELECT count(*) FROM pg_available_extensions WHERE name = 'dblink'");
my $options = Ondatra::Test::literal({object => Ondatra::Test::put_object(), retry => $Ondatra::Test::RETRY});
my $hers = Ondatra::Test::literal({object => {upsert => {method => 'PUT', path => '/contacts/{{id}}'}}, retry => $Ondatra::Test::RETRY});

# bob has everything that can be looked for: rows in his state table, a refused row, a secret, a run.
$t->script({method => 'PUT', path => '/contacts/2$', answer => {status => 422, json => {error => 'no'}}});
$t->sql_as('bob', "CREATE TABLE bob.t (id int PRIMARY KEY, v text); INSERT INTO bob.t VALUES (1, 'x'), (2, 'y'); SELECT ondatra.set_secret('token', 'z');
    SELECT ondatra.create_destination('bobs', base_url => '" . $t->url . "', options => $options);
    SELECT ondatra.create_sync('bobs', 'bob.t', 'bobs', key => '{id}')");
is($t->sql_as('bob', "SELECT status FROM ondatra.run_sync('bobs')"), 'partial', 'bob has runs, rows and a failed row');
$t->reset_destination;

# --- she defines a sync in a session full of traps
my $traps = "SET search_path = mallory, pg_temp, pg_catalog; CREATE TEMP TABLE all_syncs (LIKE mallory.all_syncs); "
    . join '', map { "CREATE DOMAIN pg_temp.$_ AS pg_catalog.$_ CHECK (mallory.canary('temp $_') IS NOT NULL); " } qw(text int8 jsonb json uuid regrole bytea);
my $mapping = q({"v": "v", "c": "c", "p": "p", "n": "n", "a": "a", "j": "j", "s": {"sql": "mallory.canary(''mapping''::pg_catalog.text)"}});
my $mark = log_mark($t);
$t->sql_as('mallory', "$traps
    SELECT ondatra.set_secret('token', 'z');
    SELECT ondatra.create_destination('mallorys', base_url => '" . $t->url . "', options => $hers);
    SET search_path = mallory, pg_catalog;
    SELECT ondatra.create_sync('mallorys', 'mallory.m', 'mallorys', key => '{id,color}', mapping => '$mapping')");
judge($t, $mark, 'create_sync', want => ['planned']);
is($t->admin("SELECT model_search_path FROM ondatra.all_syncs WHERE name = 'mallorys'"), 'mallory, pg_catalog', 'the model is read with her search_path');
attempts_of($t, %all);
my @places = (qw(row1 cast operator column planned policy mapping), 'shadow jsonb');

# --- runs: by hand, by a trigger, by a schedule
$mark = log_mark($t);
my $session = session($t, 'mallory', "$traps SELECT status, rows_created, error_message, error_detail FROM ondatra.run_sync('mallorys')");
is((finish($session))[0], 'succeeded|2||', 'run_sync runs it');
judge($t, $mark, 'run_sync', want => \@places, attempts => $count);
unlike(log_since($t, $mark), qr/CANARY [^\n]*"superuser" : "on"/, 'run_sync: the process is not a superuser\'s');
unlike(log_since($t, $mark), qr/CANARY [^\n]*"session" : "(?!mallory)/, 'run_sync: the session is hers');

$mark = log_mark($t);
$t->sql_as('mallory', "SELECT ondatra.update_sync('mallorys', schedule => '1 second')");
$t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'mallorys' AND trigger = 'schedule' AND status = 'succeeded'") > 0 }, 'a schedule runs it');
$t->sql_as('mallory', "SELECT ondatra.update_sync('mallorys', schedule => 'manual')");
$t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.all_runs WHERE sync_name = 'mallorys' AND finished_at IS NULL") eq '0' });
judge($t, $mark, 'schedule', want => \@places, attempts => $count);

# --- a superuser looks, edits and repairs; the session is afterwards what it was
my $settings = "SELECT name, setting FROM pg_settings WHERE source = 'session' OR name IN ('role', 'session_authorization', 'transaction_read_only', 'is_superuser') ORDER BY 1";
my %calls = (
    plan => q{SELECT rows_scanned FROM ondatra.plan_sync('mallorys')},
    preview => q{SELECT count(*) FROM ondatra.preview_sync('mallorys')},
    explain => q{SELECT count(*) > 0 FROM ondatra.explain_sync('mallorys')},
    'explain analyze' => q{SELECT count(*) > 0 FROM ondatra.explain_sync('mallorys', "analyze" => true)},
    'explain row' => q{SELECT ondatra.explain_row('mallorys', '{"id": "row1", "color": "red"}') ->> 'verdict'},
    update => q{SELECT ondatra.update_sync('mallorys', options => '{"concurrency": 2}')},
    retry => q{SELECT ondatra.retry_failed('mallorys')},
    discard => q{SELECT ondatra.discard_failed('mallorys')},
    resend => q{SELECT ondatra.resend_sync('mallorys')},
    rebase => q{SELECT ondatra.rebase_sync('mallorys')},
);
for my $call (sort keys %calls) {
    my @want = $call =~ /^(plan|preview|explain analyze|explain row|rebase)$/ ? (want => \@places, attempts => $count) : $call =~ /explain|update/ ? (want => ['planned']) : ();
    # inside of a transaction that can write
    $mark = log_mark($t);
    my ($status, $out, $err) = $t->psql_as($superuser, "BEGIN; PREPARE theirs AS SELECT 'theirs'; CREATE TEMP TABLE kept AS $settings; $calls{$call}; "
        . "SELECT 'changed: ' || name FROM kept a FULL JOIN ($settings) b USING (name, setting) WHERE a.name IS NULL OR b.name IS NULL; EXECUTE theirs; "
        . "CREATE TEMP TABLE writes AS SELECT 1; COMMIT; SELECT session_user, current_user, coalesce(current_setting('mallory.mine', true), '')");
    is($status, 0, "a superuser's $call works") or diag($err);
    unlike($out, qr/changed: /, "a superuser's $call: settings are as they were");
    like($out, qr/^theirs\n\Q$superuser|$superuser|\E$/m, "a superuser's $call: so are identity and prepared statements");
    judge($t, $mark, "a superuser's $call", @want);
    # in a session whose search_path begins with her schema; nothing else is said there, since it would be hers
    $mark = log_mark($t);
    ($status, $out, $err) = $t->psql_as($superuser, "SET search_path = mallory, pg_catalog; " . $calls{$call} =~ s/^SELECT (?:count[^ ]*|rows_scanned)(?: > 0)? FROM /SELECT FROM /r =~ s/ ->> 'verdict'//r);
    is($status, 0, "a superuser's $call works with her schema first") or diag($err);
    judge($t, $mark, "a superuser's $call with her schema first", @want);
}
is($t->admin("SELECT owner::text || ' ' || model_search_path FROM ondatra.all_syncs WHERE name = 'mallorys'"), 'mallory mallory, pg_catalog',
    'who edits a sync does not become its owner, nor is his search_path the model\'s');

# --- with the predefined roles for all data; what they may do everywhere is left out: read what has no row-level security, lock tables
$t->admin('GRANT pg_read_all_data, pg_write_all_data TO mallory');
my %reading = map { $_ => $all{$_} } grep { !/^(others_table|passwords|lock_)/ } keys %all;
attempts_of($t, %reading);
$mark = log_mark($t);
is($t->sql_as('mallory', "SELECT status, error_message FROM ondatra.run_sync('mallorys')"), 'succeeded|', 'as a member of pg_read_all_data and pg_write_all_data');
judge($t, $mark, 'pg_read_all_data', attempts => scalar keys %reading);

# Outside of models, where she may write: the tables are closed all the same, and so is what others may do to them.
for my $name (grep { /state$|^(trigger_other|trigger_own|trigger_syncs|deferred|rule|policy|index|inherit|reference|security|owner|grant|schema|lock|read|others)_?/ && exists $reading{$_} && !/^(lock_|read_(only|write|file)|grant)/ } sort keys %Ondatra::Hostile::FORBIDDEN) {
    my $sql = $t->sql_as('mallory', 'SELECT statement FROM mallory.attempts WHERE name = ' . Ondatra::Test::literal($name));
    my ($status, $out, $err) = $t->psql_as('mallory', "BEGIN; WITH x AS (SELECT 1) SELECT 1; $sql; COMMIT");
    if ($name =~ /^(update|delete)_state$/) {
        is($t->admin("SELECT count(*) FROM ondatra.state_" . ($sql =~ /state_(\d+)/)[0] . ' WHERE _hash IS NOT NULL'), '2', "directly: $name changes no row");
    } else {
        isnt($status, 0, "directly: $name is refused") or diag($sql);
    }
}
$t->admin('REVOKE pg_read_all_data, pg_write_all_data FROM mallory');

# --- a trigger and an event trigger that a superuser made, with functions of hers, do not fire for our own SQL
$t->admin('CREATE EVENT TRIGGER hers ON ddl_command_end EXECUTE FUNCTION mallory.on_event(); CREATE TRIGGER hers BEFORE INSERT OR UPDATE ON ondatra.all_syncs FOR EACH ROW EXECUTE FUNCTION mallory.on_row(); '
    . 'CREATE TRIGGER hers BEFORE INSERT OR UPDATE ON ondatra.all_runs FOR EACH ROW EXECUTE FUNCTION mallory.on_row()');
$mark = log_mark($t);
$t->sql_as('mallory', "SELECT ondatra.create_sync('fires', 'mallory.t', 'mallorys', key => '{id}'); SELECT ondatra.update_sync('fires', key => '{v}')");
is($t->sql_as('mallory', "SELECT status FROM ondatra.run_sync('fires'); SELECT ondatra.drop_sync('fires')"), "succeeded\n", 'a sync beside triggers');
unlike(log_since($t, $mark), qr/CANARY \{"at" : "(?:event )?trigger/, 'no trigger fires for our own SQL');
$t->admin('DROP EVENT TRIGGER hers; DROP TRIGGER hers ON ondatra.all_syncs; DROP TRIGGER hers ON ondatra.all_runs');

# --- default privileges of the extension's owner do not reach state tables
$t->admin('ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO mallory, PUBLIC');
$t->sql_as('mallory', "SELECT ondatra.create_sync('granted', 'mallory.t', 'mallorys', key => '{id}')");
$t->admin('ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM mallory, PUBLIC');
my $granted = 'ondatra.state_' . $t->admin("SELECT sync_id FROM ondatra.all_syncs WHERE name = 'granted'");
is($t->admin("SELECT string_agg(a.grantee::regrole || ' ' || a.privilege_type, ', ') FROM pg_class, aclexplode(relacl) a WHERE oid = '$granted'::regclass AND a.grantee <> relowner"),
    'mallory SELECT', 'default privileges: the owner may read the state table, nobody anything else');
is($t->admin("SELECT relrowsecurity FROM pg_class WHERE oid = '$granted'::regclass"), 't', 'default privileges: row-level security is on');
is($t->admin('SELECT count(*) FROM pg_proc WHERE pronamespace = \'ondatra\'::regnamespace AND proowner <> (SELECT extowner FROM pg_extension WHERE extname = \'ondatra\')'), '0',
    'every function is the extension owner\'s');
is($t->admin('SELECT count(*) FROM pg_class WHERE relnamespace = \'ondatra\'::regnamespace AND relowner <> (SELECT extowner FROM pg_extension WHERE extname = \'ondatra\')'), '0',
    'and every table');

# --- what she changes between definition and run
$mark = log_mark($t);
$t->sql_as('mallory', "CREATE OR REPLACE VIEW mallory.m AS SELECT ('row' || t.id::pg_catalog.text)::mallory.word AS id, 'red'::mallory.color AS color, mallory.report('replaced') AS v, "
    . "''::pg_catalog.text AS c, ''::pg_catalog.text AS p, 1::pg_catalog.int8 AS n, 1 AS a, '{}'::mallory.jsonb AS j FROM mallory.t");
$t->admin(q{SELECT ondatra.plan_sync('mallorys'), ondatra.preview_sync('mallorys')});
judge($t, $mark, 'a replaced view', want => ['replaced']);
$t->sql_as('mallory', 'SET client_min_messages = error; DROP TYPE mallory.color CASCADE');
is($t->sql_as('mallory', "SELECT status FROM ondatra.run_sync('mallorys')"), 'failed', 'without the type of a key the run fails');
my (undef, undef, $err) = $t->psql_as($superuser, "SELECT * FROM ondatra.plan_sync('mallorys')");
like($err, qr/mallorys?|color|column|model/, 'and plan_sync says so');
is($t->admin("SELECT count(*) FROM ondatra.state_" . $t->admin("SELECT sync_id FROM ondatra.all_syncs WHERE name = 'mallorys'")), '2', 'what was delivered is still known');

# --- pg_dump as superuser, DROP EXTENSION
$mark = log_mark($t);
command_ok(['pg_dump', '-d', $t->node->connstr('postgres'), '-U', $superuser, '-f', "$t->{dir}/dump.sql"], 'pg_dump');
unlike(log_since($t, $mark), qr/CANARY/, 'pg_dump runs nothing of hers');
like(Ondatra::Test::slurp("$t->{dir}/dump.sql"), qr/COPY ondatra\.state_\d+ /, 'and has the state tables');
$t->admin('DROP EXTENSION ondatra');
unlike(log_since($t, $mark), qr/CANARY/, 'nor does DROP EXTENSION');
unlike(Ondatra::Test::slurp($t->node->logfile), qr/was terminated by signal|PANIC/, 'no process crashed');
done_testing;
