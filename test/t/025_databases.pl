# Several databases; DDL on databases and the extension does not wait for a destination.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;
use Time::HiRes qw(time);

my $t = Ondatra::Test->new(conf => 'autovacuum = off');
my $port = $t->{port};

sub in_db {
    my ($db, $sql) = @_;
    my ($out, $err) = finish(session($t, $t->superuser, $sql, $db));
    diag($err) if $err =~ /ERROR/;
    return $out;
}

sub other_database {
    my ($db) = @_;
    $t->admin("CREATE DATABASE $db");
    my $options = $t->json_of({object => Ondatra::Test::put_object(), retry => $Ondatra::Test::RETRY});
    in_db($db, "CREATE EXTENSION ondatra; CREATE SCHEMA mart AUTHORIZATION ann; GRANT USAGE ON SCHEMA ondatra TO ann; SET SESSION AUTHORIZATION ann;\n"
        . "CREATE TABLE mart.$db (id text PRIMARY KEY); INSERT INTO mart.$db VALUES ('$db');\n"
        . "SELECT ondatra.create_destination('d', base_url => 'http://127.0.0.1:$port', options => '$options');\n"
        . "SELECT ondatra.create_sync('s', 'mart.$db', 'd', key => '{id}', schedule => '1 second');");
    return;
}

# --- each database has its own schedule
other_database($_) for qw(one two);
$t->poll(sub { my $r = $t->records('contacts'); $r->{one} && $r->{two} }, 'syncs of two databases run');
my $enough = 'SELECT count(*) >= 2 FROM ondatra.all_runs';
$t->poll(sub { in_db('one', $enough) eq 't' && in_db('two', $enough) eq 't' }, 'by their schedules');
is($t->admin('SELECT count(*) FROM ondatra.all_runs'), '0', 'not in the third');

$t->admin('CREATE DATABASE three');

# --- also after a restart, and after a crash
for my $mode (qw(fast immediate)) {
    my %before = map { $_ => in_db($_, 'SELECT max(run_id) FROM ondatra.all_runs') } qw(one two);
    $t->node->stop($mode);
    $t->node->start;
    $t->poll(sub { !grep { in_db($_, "SELECT max(run_id) > $before{$_} + 1 FROM ondatra.all_runs") ne 't' } qw(one two) }, "schedules go on after a stop ($mode)");
}

# --- databases without our extension hold no connection; templates can be used
$t->poll_sql("SELECT count(*) FROM pg_stat_activity WHERE datname IN ('three', 'template1')", '0', 'nobody is connected to a database without syncs');
# and none is asked again, however often the launcher wakes
my $visits = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'three'";
my ($asked, $last) = ($t->admin($visits), in_db('one', 'SELECT max(run_id) FROM ondatra.all_runs'));
cmp_ok($asked, '>', 0, 'it was asked when the server started');
$t->poll(sub { in_db('one', "SELECT max(run_id) > $last + 2 FROM ondatra.all_runs") eq 't' }, 'while others run');
is($t->admin($visits), $asked, 'it is asked once');
in_db('two', "SELECT ondatra.pause_sync('s')");
$t->poll_sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'two'", '0', 'nor to one where nothing is due');
$t->admin('CREATE DATABASE four TEMPLATE two');
is(in_db('four', 'SELECT count(*) FROM ondatra.all_syncs'), '1', 'which can be a template');

# --- DROP DATABASE of another one while a request hangs
quick_sync($t, 'a');
$t->script({method => 'PUT', path => '^/contacts/[0-9]', answer => {misbehave => 'hang'}});
$t->sql("SELECT ondatra.trigger_sync('a')");
$t->poll(sub { $t->state->{hanging} > 0 }, 'a request hangs');
my $began = time;
$t->admin('DROP DATABASE four');
note(sprintf 'DROP DATABASE took %.3f s', time - $began);
is($t->admin('SELECT count(*) FROM ondatra.run_progress'), '1', 'DROP DATABASE of another database does not wait for it');

# --- DROP DATABASE of one with due syncs
$t->admin('DROP DATABASE one WITH (FORCE)');
is($t->admin("SELECT count(*) FROM pg_database WHERE datname = 'one'"), '0', 'a database with a schedule can be dropped');

# --- a database whose DROP was interrupted: nobody may connect to it, and nobody tries
$t->admin('CREATE DATABASE five TEMPLATE two');
$t->admin("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'five'");
$t->node->restart;
quick_sync($t, 'b', schedule => '1 second', destination => {object => {upsert => {method => 'PUT', path => '/b/{{key}}'}}});
$t->poll_sql("SELECT count(*) >= 3 FROM ondatra.sync_runs WHERE sync_name = 'b'", 't', 'others are looked after');
unlike(Ondatra::Test::slurp($t->node->logfile), qr/invalid database "five"/, 'nobody tries to connect to an invalid database');
$t->admin('DROP DATABASE five');

# --- one that is dropped while its scheduler starts, which has claimed it and cannot connect any more
my $two = $t->admin("SELECT oid FROM pg_database WHERE datname = 'two'");
my $locks = "FROM pg_locks WHERE classid = 'pg_database'::regclass AND objid = $two AND";
my $keeper = session($t, $t->superuser, "BEGIN;\nALTER DATABASE two RENAME TO other;\n"
    . "DO \$\$ BEGIN WHILE (SELECT count(*) $locks NOT granted) < 2 LOOP PERFORM pg_sleep(0.01); END LOOP; END \$\$;\nROLLBACK;");
$t->poll_sql("SELECT count(*) $locks granted AND mode = 'AccessExclusiveLock'", '1', 'somebody holds a database');
my $dropper = session($t, $t->superuser, 'DROP DATABASE two');
$t->poll_sql("SELECT count(*) $locks NOT granted", '1', 'somebody waits to drop it');
$t->admin('SELECT pg_reload_conf()'); # every database is looked at
finish($_) for $keeper, $dropper;
is($t->admin("SELECT count(*) FROM pg_database WHERE oid = $two"), '0', 'and drops it before the scheduler has connected');
my $runs = $t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'b'");
$t->poll_sql("SELECT count(*) > $runs + 4 FROM ondatra.sync_runs WHERE sync_name = 'b'", 't', 'others go on');
my $refused = () = Ondatra::Test::slurp($t->node->logfile) =~ /FATAL:  database (?:"two"|$two) does not exist/g;
is($refused, 1, 'no other scheduler is started for it');
$t->sql("SELECT ondatra.pause_sync('b'); SELECT ondatra.trigger_sync('a')");
$t->poll(sub { $t->state->{hanging} > 0 }, 'a request hangs again');

# --- DROP EXTENSION while it hangs
$began = time;
$t->admin('DROP EXTENSION ondatra CASCADE');
note(sprintf 'DROP EXTENSION took %.3f s', time - $began);
$t->poll(sub { !background_workers($t, 'run') }, 'DROP EXTENSION ends the run');
is($t->state->{hanging}, 0, 'whose request is abandoned') if $t->poll(sub { $t->state->{hanging} == 0 });
$t->admin('CREATE EXTENSION ondatra');
is($t->admin('SELECT count(*) FROM ondatra.all_syncs'), '0', 'it can be created again');
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('ondatra scheduler', 'ondatra run')") eq '0' }, 'nobody is left');

# --- dropped and created anew in one step while a run goes on: its end is nothing that the new one knows of
$t->admin('GRANT USAGE ON SCHEMA ondatra TO ann');
quick_sync($t, 'c');
$t->sql("SELECT ondatra.trigger_sync('c')");
$t->poll(sub { $t->state->{hanging} > 0 }, 'a request hangs once more');
$t->admin("BEGIN; DROP EXTENSION ondatra CASCADE; CREATE EXTENSION ondatra; GRANT USAGE ON SCHEMA ondatra TO ann; SET LOCAL ROLE ann;\n"
    . 'SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => 'new', base_url => $t->url, options => {object => Ondatra::Test::put_object()}) . ");\n"
    . "SELECT ondatra.create_sync('new', 'mart.c', 'new'); COMMIT");
$t->poll(sub { !background_workers($t, 'run') && !background_workers($t, 'scheduler') }, 'the run has ended, and was looked after');
$t->script;
my $run = $t->run('new');
$t->run_is($run, {run_id => 1, status => 'succeeded', rows_created => 2}, 'a run of the new one') || diag($t->admin('SELECT json_agg(f) FROM ondatra.all_failed_rows f'));
is($t->admin("SELECT string_agg(run_id || ' ' || sync_name || ' ' || status, ', ') FROM ondatra.all_runs"), '1 new succeeded', 'is its first, and the only one');
$t->release;
my $missing = () = Ondatra::Test::slurp($t->node->logfile) =~ /FATAL:  database .* does not exist/g;
cmp_ok($missing, '<=', 3, 'the launcher does not go on about dropped databases: one try each at most');
done_testing;
