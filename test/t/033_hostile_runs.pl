# A hostile owner's runs: role settings, models that do not stop, die, raise anything, or use what was taken away. The server, the other owners and the records
# of her own runs stay well.

use strict;
use warnings FATAL => 'all';
use utf8;
use Ondatra::Hostile;
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

# autovacuum analyzes her indexes, by her functions, as whatever role the database is set to: that is no process of ours.
my $t = Ondatra::Test->new(conf => "max_parallel_workers = 4\nlog_min_messages = info\nautovacuum = off\n");
my $superuser = $t->superuser;
enter_mallory($t);
my $destination = "base_url => '" . $t->url . "', options => " . Ondatra::Test::literal({object => {upsert => {method => 'PUT', path => '/contacts/{{id}}'}}, retry => $Ondatra::Test::RETRY});
$t->sql_as('mallory', "SELECT ondatra.create_destination('mallorys', $destination)");
quick_sync($t, 'ann');

# A sync of mallory's whose model is this expression over her table.
sub hers {
    my ($name, $expression, %args) = @_;
    $t->sql_as('mallory', 'SELECT ondatra.create_sync(' . Ondatra::Test::arguments(name => $name, model => "SELECT id, $expression AS v FROM mallory.t", destination => 'mallorys',
        key => ['id'], %args) . ')');
    return $name;
}

# Runs it, as a superuser, since her settings do not only reach runs; the row, also of a run that died.
sub run_hers {
    my ($name) = @_;
    my ($status, undef, $err) = $t->psql_as($superuser, 'SELECT ondatra.run_sync(' . Ondatra::Test::literal($name) . ", timeout => '$Ondatra::Test::SECONDS seconds')");
    my $row = "FROM ondatra.all_runs WHERE sync_name = " . Ondatra::Test::literal($name);
    $t->poll(sub { $t->admin("SELECT count(*) $row AND finished_at IS NULL") eq '0' }, "$name: the run ends");
    my $json = $t->admin("SELECT row_to_json(r) FROM (SELECT * $row ORDER BY run_id DESC LIMIT 1) r") || '{}';
    return {%{ JSON::PP->new->utf8->decode($json) }, err => $err};
}
sub others_run { my ($name) = @_; return is($t->run('ann')->{status}, 'succeeded', "$name: others run as ever") }

# --- settings of the role, which the process gets when it connects
hers('settings', "mallory.canary('settings'::text)");
$t->admin('GRANT bob TO mallory');
my @settings = (q{role = 'bob'}, q{search_path = mallory, pg_catalog}, q{default_transaction_read_only = on}, q{default_transaction_isolation = 'serializable'},
    q{default_transaction_deferrable = on}, q{lock_timeout = '1ms'}, q{idle_in_transaction_session_timeout = '1ms'}, q{idle_session_timeout = '1ms'}, q{row_security = off},
    q{default_table_access_method = 'heap2'}, q{temp_tablespaces = 'nowhere'}, q{default_tablespace = 'nowhere'}, q{synchronous_commit = off}, q{DateStyle = 'German, DMY'},
    q{standard_conforming_strings = off}, q{client_encoding = 'SJIS'}, q{enable_hashjoin = off}, q{enable_mergejoin = off}, q{transform_null_equals = on},
    q{check_function_bodies = on}, q{debug_print_plan = on}, q{client_min_messages = 'error'}, q{work_mem = '64kB'}, q{IntervalStyle = 'sql_standard'}, q{lc_numeric = 'C'});
for my $setting (@settings) {
    $t->sql_as('mallory', 'UPDATE mallory.t SET v = v + 1');
    my ($refused) = $t->psql_as($superuser, "ALTER ROLE mallory SET $setting");
    next if $refused; # this server does not take it
    my $mark = log_mark($t);
    my $run = run_hers('settings');
    is($run->{status} . ' ' . ($run->{error_message} // ''), 'succeeded ', "ALTER ROLE SET $setting: the run succeeds");
    judge($t, $mark, "ALTER ROLE SET $setting", want => ['settings']);
    $t->admin('ALTER ROLE mallory RESET ALL');
}
$t->admin('REVOKE bob FROM mallory');
{
    hers('slow', 'pg_sleep(600)::text');
    hers('exits', '1 / (id - id)');
    $t->admin(q{ALTER ROLE mallory SET statement_timeout = '1ms'});
    my $run = run_hers('slow');
    like($run->{error_message}, qr/statement timeout/, 'statement_timeout of the role ends the model, not our own SQL');
    $t->admin('ALTER ROLE mallory RESET ALL');
    # from 17 on; before that the server takes it for nothing that it knows
    if ($t->admin('SHOW server_version_num') >= 170000) {
        $t->admin(q{ALTER ROLE mallory SET transaction_timeout = '1ms'});
        $run = run_hers('slow');
        is($run->{status}, 'failed', 'transaction_timeout of the role ends the model, not the run');
        like($run->{error_message}, qr/statement timeout/, 'as a statement_timeout');
        $t->admin('ALTER ROLE mallory RESET ALL');
    }
    $t->admin(q{ALTER ROLE mallory SET exit_on_error = on});
    $run = run_hers('exits');
    like($run->{status}, qr/^(failed|interrupted)$/, 'exit_on_error: the run is recorded');
    like($run->{error_message}, qr/division by zero/, 'with the reason');
    $t->admin('ALTER ROLE mallory RESET ALL');
}
# Settings of the database reach the schedulers too, which are superusers'.
$t->sql(q{SELECT ondatra.update_sync('ann', options => '{"statement_timeout": "1 minute"}')});
for my $setting (q{role = 'mallory'}, q{search_path = mallory, pg_catalog}, q{default_transaction_read_only = on}, q{default_transaction_isolation = 'serializable'},
    q{row_security = off}, q{synchronous_commit = off}, q{transaction_timeout = '1ms'}) {
    next if $setting =~ /^transaction_timeout/ && $t->admin('SHOW server_version_num') < 170000;
    $t->admin("ALTER ROLE $superuser SET transaction_timeout = 0") if $setting =~ /^transaction_timeout/; # the looks of this test
    my $mark = log_mark($t);
    my $last = $t->admin('SELECT coalesce(max(run_id), 0) FROM ondatra.all_runs');
    $t->admin("SELECT ondatra.trigger_sync('ann'); ALTER DATABASE postgres SET $setting");
    $t->poll(sub { $t->sql_as($superuser, "SET ROLE NONE; SET search_path = pg_catalog; SELECT count(*) FROM ondatra.all_runs WHERE run_id > $last AND status = 'succeeded'") > 0 },
        "ALTER DATABASE SET $setting: scheduler and run work");
    unlike(log_since($t, $mark), qr/CANARY/, "ALTER DATABASE SET $setting: nothing of hers runs");
    $t->sql_as($superuser, 'SET ROLE NONE; SET default_transaction_read_only = off; ALTER DATABASE postgres RESET ALL');
}

# --- parallel workers, and functions that lie about being safe there
{
    $t->sql_as('mallory', 'CREATE TABLE mallory.many AS SELECT i AS id, i AS v FROM generate_series(1, 20000) i; ANALYZE mallory.many');
    $t->sql_as('mallory', q{CREATE FUNCTION mallory.lies(int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS $f$ BEGIN
        IF $1 = 1 THEN PERFORM mallory.report('parallel'); PERFORM set_config('search_path', 'mallory', false); END IF; RETURN $1; END $f$});
    $t->sql_as('mallory', "SELECT ondatra.create_sync('parallel', 'SELECT id, v FROM mallory.many WHERE mallory.lies(v) < 3', 'mallorys', key => '{id}')");
    my $parallel = $t->admin('SHOW server_version_num') < 160000 ? 'force_parallel_mode' : 'debug_parallel_query';
    $t->admin("ALTER ROLE mallory SET $parallel = on; ALTER ROLE mallory SET parallel_setup_cost = 0; ALTER ROLE mallory SET parallel_tuple_cost = 0; ALTER ROLE mallory SET min_parallel_table_scan_size = 0");
    my $mark = log_mark($t);
    my $run = run_hers('parallel');
    like($run->{error_message} // 'succeeded', qr/^succeeded$|parallel/, 'a function that lies about parallel safety: the run succeeds or says why not');
    $t->psql_as($superuser, "SET $parallel = on; SELECT * FROM ondatra.plan_sync('parallel')");
    judge($t, $mark, 'parallel workers', want => ['parallel'], parallel => 1);
    $t->admin('ALTER ROLE mallory RESET ALL');
}

# --- models that die or do not stop
{
    my $run = run_hers(hers('dies', 'pg_terminate_backend(pg_backend_pid())'));
    is($run->{status}, 'interrupted', 'a model that ends its own process: the run is interrupted');
    my (undef, undef, $err) = $t->psql_as($superuser, "SELECT * FROM ondatra.plan_sync('dies')");
    like($err, qr/must be a (?:superuser|member)|permission denied to terminate/, 'but it cannot end a superuser\'s');
    $t->sql_as('mallory', "SELECT ondatra.drop_sync('dies')");
    others_run('a dead run');
}
$t->sql_as('mallory', q{CREATE FUNCTION mallory.stubborn() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN
    RAISE LOG 'STUBBORN %', pg_backend_pid();
    LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN RAISE LOG 'STUBBORN goes on'; END; END LOOP; END $f$});
for my $way ('statement_timeout', 'run_timeout', 'cancel_run', 'drop_sync', 'ondatra.enabled') {
    my $mark = log_mark($t);
    hers('stubborn', 'mallory.stubborn()', options => $way =~ /_timeout/ ? {$way => '500 ms'} : {});
    my $session = session($t, 'mallory', "SELECT ondatra.run_sync('stubborn')");
    $t->poll(sub { log_since($t, $mark) =~ /STUBBORN \d+/ }) or die 'it does not start';
    my ($run_id) = $t->admin('SELECT max(run_id) FROM ondatra.all_runs');
    $t->sql_as('mallory', "SELECT ondatra.cancel_run($run_id)") if $way eq 'cancel_run';
    $t->sql_as('mallory', "SELECT ondatra.drop_sync('stubborn')") if $way eq 'drop_sync';
    $t->admin('ALTER SYSTEM SET ondatra.enabled = off') if $way eq 'ondatra.enabled';
    $t->admin('SELECT pg_reload_conf()') if $way eq 'ondatra.enabled';
    $t->poll(sub { !background_workers($t, 'run') }, "a model that catches its cancellation is ended by $way");
    my ($pid) = log_since($t, $mark) =~ /STUBBORN (\d+)/;
    $t->admin("SELECT pg_terminate_backend($pid)"); # so that a failure of this does not become one of everything after
    if ($way eq 'ondatra.enabled') {
        $t->admin('ALTER SYSTEM RESET ondatra.enabled');
        $t->admin('SELECT pg_reload_conf()');
    }
    $t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.all_runs WHERE run_id = $run_id AND finished_at IS NULL") eq '0' });
    like($t->admin("SELECT status FROM ondatra.all_runs WHERE run_id = $run_id"), $way =~ /timeout/ ? qr/^(interrupted|failed)$/ : qr/^cancelled$/, "$way: the run is recorded");
    finish($session);
    $t->sql_as('mallory', "SELECT ondatra.drop_sync('stubborn')") if $way ne 'drop_sync';
    others_run($way);
}

# --- errors of any text and code
$t->sql_as('mallory', q{CREATE FUNCTION mallory.fails(message text, code text, detail text) RETURNS int LANGUAGE plpgsql AS
    $f$ BEGIN RAISE EXCEPTION USING MESSAGE = message, ERRCODE = code, DETAIL = detail, HINT = detail; END $f$});
my %messages = (
    format => [q{'%s%n%d%x%999999$s {{key}} ${x} \\'}, '22000'],
    quotes => [q{$m$'); DROP TABLE ondatra.all_runs; -- "$m$ || E'\n\t\x01\x7f🦫'}, '22000'],
    huge => [q{repeat('ä', 20000000)}, '22000'],
    credentials => [q{'wrong'}, '28000'],
    cancelled => [q{'cancelled?'}, '57014'],
    shutdown => [q{'shut down?'}, '57P01'],
    crash => [q{'crashed?'}, '57P02'],
    internal => [q{'internal?'}, 'XX000'],
    memory => [q{'memory?'}, '53200'],
    serialization => [q{'again?'}, '40001'],
    lost => [q{'assert?'}, 'P0004'],
);
for my $name (sort keys %messages) {
    my ($message, $code) = @{ $messages{$name} };
    my $detail = $name eq 'huge' ? q{repeat('x', 50000000)} : q{'%s'};
    hers($name, "mallory.fails($message, '$code', $detail)");
    my $run = run_hers($name);
    is($run->{status}, 'failed', "error $name: the run fails");
    is($run->{error_code}, $code, "error $name: with its code");
    ok(length $run->{error_message} <= 4000 && length($run->{error_detail} // '') <= 8000, "error $name: and its words, cut") or diag(length $run->{error_message});
    $t->sql_as('mallory', "SELECT ondatra.drop_sync('$name')");
}
others_run('errors');

# --- names
for my $name ("it's \"quoted\" \\ \$x\$ %s", 'ünï🦫' x 15, 'x' x 63, '{{key}}', "'); DROP SCHEMA ondatra CASCADE; --") {
    my $column = substr($name, 0, 20) =~ s/"/""/gr;
    my $sql = Ondatra::Test::literal($name);
    $t->sql_as('mallory', "SELECT ondatra.create_sync($sql, " . Ondatra::Test::literal(qq{SELECT id, id::text AS "$column" FROM mallory.t}) . ", 'mallorys', key => ARRAY["
        . Ondatra::Test::literal(substr $name, 0, 20) . ", 'id'])");
    is(run_hers($name)->{status}, 'succeeded', "a sync and a key named $name");
    $t->sql_as($superuser, join '; ', map { "SELECT ondatra.$_($sql)" } qw(plan_sync preview_sync retry_failed rebase_sync drop_sync));
}
for my $bad ("a\nb", "a\x{7f}", 'x' x 64, '') {
    my ($status, undef, $err) = $t->psql_as('mallory', 'SELECT ondatra.create_sync(' . Ondatra::Test::literal($bad) . ", 'mallory.t', 'mallorys')");
    like($err, qr/name of a sync must/, 'a name with control characters, too long or empty is refused');
}

# --- what was allowed once: the destination of a role that she is no member of any more
{
    $t->sql_as('ann', "SELECT ondatra.create_destination('anns', $destination)");
    $t->admin('GRANT ann TO mallory');
    $t->sql_as('mallory', "SELECT ondatra.create_sync('borrowed', 'mallory.t', 'anns')");
    is(run_hers('borrowed')->{status}, 'succeeded', 'a member of ann uses her destination');
    $t->admin('REVOKE ann FROM mallory');
    $t->sql_as('mallory', 'UPDATE mallory.t SET v = v + 1');
    my $sent = $t->count_requests;
    my $run = run_hers('borrowed');
    is($run->{status}, 'failed', 'no member any more: the run fails');
    like($run->{error_message}, qr/may not use destination "anns"/, 'with the reason');
    is($t->count_requests, $sent, 'nothing is sent');
    is($t->sql_as('mallory', "SELECT state FROM ondatra.syncs WHERE name = 'borrowed'"), 'error', 'and the sync stops');
    for my $look (q{plan_sync('borrowed')}, q{preview_sync('borrowed')}, q{explain_row('borrowed', '{"id": 1}')}, q{update_sync('borrowed', mode => 'mirror')}) {
        my (undef, $out, $err) = $t->psql_as('mallory', "SELECT * FROM ondatra.$look");
        like($err, qr/may not use destination "anns"/, "$look is refused too");
    }
}

# --- types that are deep or wide
{
    my ($status, undef, $err) = $t->psql_as('mallory', q{DO $$ BEGIN EXECUTE 'CREATE TYPE mallory.c0 AS (a int)';
        FOR i IN 1..3000 LOOP EXECUTE format('CREATE TYPE mallory.c%s AS (a mallory.c%s)', i, i - 1); IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$});
    is($status, 0, '3,000 nested types') or diag($err);
    (undef, undef, $err) = $t->psql_as('mallory', "SELECT ondatra.create_sync('deep', 'SELECT 1 AS id, NULL::mallory.c3000 AS v', 'mallorys', key => '{id}')");
    like($err, qr{too much nested}, 'a type nested that deep is refused');
    ($status, undef, $err) = $t->psql_as('mallory', q{DO $$ BEGIN EXECUTE 'CREATE TYPE mallory.w0 AS (a int)';
        FOR i IN 1..16 LOOP EXECUTE format('CREATE TYPE mallory.w%s AS (a mallory.w%s, b mallory.w%s)', i, i - 1, i - 1); END LOOP; END $$});
    is($status, 0, 'types that double') or diag($err);
    (undef, undef, $err) = $t->psql_as('mallory', "SELECT ondatra.create_sync('wide', 'SELECT 1 AS id, NULL::mallory.w16 AS v', 'mallorys', key => '{id}')");
    like($err, qr{too much nested}, 'so is one with 65,536 columns inside');
}
others_run('at the end');
unlike(Ondatra::Test::slurp($t->node->logfile), qr/was terminated by signal|PANIC/, 'no process crashed');
done_testing;
