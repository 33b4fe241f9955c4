# A database sends only as what it was armed as: copies, restored dumps and promoted standbys send nothing, whoever asks, until arm() is called.
# What is no copy (a restart, a crash, an upgrade of the library) goes on by itself.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new(conf => "wal_level = replica\nmax_wal_senders = 4");
my $main = $t->node;
is($t->sql('SELECT armed, policy FROM ondatra.arming'), 't|', 'without destinations there is nothing to arm');
$t->sql(q{CREATE TABLE mart.people (id int PRIMARY KEY, email text)});
$t->sql(q{INSERT INTO mart.people SELECT i, 'u' || i || '@example.com' FROM generate_series(1, 30) i});
$t->sql(q{SELECT ondatra.set_secret('client', 'planted secret')});
$t->destination('crm');
is($t->sql('SELECT armed, policy, armed_by FROM ondatra.arming'), 't|first|ondatra', 'the first destination arms the database');
$t->destination('tokens', undef, auth => {type => 'oauth2_client_credentials', token_url => $t->url . '/token', client_id => 'a', client_secret => {secret => 'client'}});
$t->sync('people', 'mart.people', 'crm');
$t->run_is($t->run('people'), {status => 'succeeded', rows_created => 30}, 'the original sends');
$t->sync('scheduled', 'mart.people', 'crm', schedule => '1 second', options => {max_changes => 1000});
$t->sync('by_token', 'mart.people', 'tokens', paused => \'true');
$t->sql('SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => 'ops', base_url => $t->url . '/ops') . ')');
$t->sync('alarm', 'SELECT 1 AS id', 'crm', options => {alert => {destination => 'ops'}}, paused => \'true');
$t->sql(q{SELECT ondatra.archive_sync('alarm')});
$t->poll_sql("SELECT count(*) > 0 FROM ondatra.sync_runs WHERE sync_name = 'scheduled' AND status = 'succeeded'", 't', 'so does its schedule');

my $changes = q{UPDATE mart.people SET email = 'changed ' || random(); SELECT ondatra.trigger_sync('people') > 0, ondatra.trigger_sync('people') > 0};
my $wait = 'timeout => interval \'60 s\'';

# Somebody's run of people, by hand or as it was asked for before, sends every row.
sub sends_all {
    my ($node, $database, $name) = @_;
    $node->safe_psql($database, "SELECT ondatra.trigger_sync('people')");
    return ok($node->poll_query_until($database, "SELECT count(*) > 0 FROM ondatra.sync_runs WHERE run_id > 2 AND sync_name = 'people' AND status = 'succeeded' AND rows_updated = 30"), $name);
}

# Everything that could open a socket, in a database of a server; nothing may reach the destination.
sub sends_nothing {
    my ($node, $database, $reason, $name) = @_;
    my $before = $t->count_requests;
    $node->safe_psql($database, q{UPDATE ondatra.all_syncs SET state = 'error', state_reason = 'planted' WHERE name = 'alarm'});
    is($node->safe_psql($database, $changes), 't|t', "$name: rows change, and a trigger asks for runs as ever");
    my %calls = (
        'reconcile_sync' => "SELECT * FROM ondatra.reconcile_sync('people')",
        'run_sync' => "SELECT ondatra.run_sync('people')", 'run_sync with a token' => "SELECT ondatra.run_sync('by_token')",
        'test_destination' => "SELECT * FROM ondatra.test_destination('crm')", 'a token' => "SELECT * FROM ondatra.test_destination('tokens')",
        'request' => "SELECT * FROM ondatra.request('crm', 'GET', '/contacts/1')", 'request with a token' => "SELECT * FROM ondatra.request('tokens', 'GET', '/x')",
        'fetch' => "SELECT * FROM ondatra.fetch('crm', 'contacts', '{}'::jsonb)");
    for my $call (sort keys %calls) {
        my (undef, undef, $err) = $node->psql($database, $calls{$call});
        like($err, qr/this database is not armed: nothing is sent from it\nDETAIL:  $reason.*\nHINT:  .*ondatra\.arm/, "$name: $call");
    }
    like($node->safe_psql($database, 'SELECT armed, reason FROM ondatra.arming'), qr/^f\|$reason/, "$name: the view says why");
    $t->poll(sub { Ondatra::Test::slurp($node->logfile) =~ /database "$database" is not armed: no sync runs in it.*?DETAIL:  $reason/s }, "$name: the log says so, too");
    $t->poll(sub { $node->safe_psql($database, "SELECT count(*) FROM ondatra.run_requests r JOIN ondatra.syncs s USING (sync_id) WHERE s.name = 'people'") eq '1' },
        "$name: requests do not pile up");
    $t->poll(sub { $node->safe_psql($database, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'ondatra scheduler%' AND datname = current_database()") eq '0' });
    is($node->safe_psql($database, 'SELECT count(*) FROM ondatra.all_alerts'), '0', "$name: nobody is alerted");
    $node->safe_psql($database, q{UPDATE ondatra.all_syncs SET state = 'archived' WHERE name = 'alarm'});
    is($node->safe_psql($database, "SELECT creates, updates FROM ondatra.plan_sync('people')"), '0|30', "$name: looking is allowed");
    is($t->count_requests, $before, "$name: nothing was sent");
}

# --- CREATE DATABASE ... TEMPLATE
$t->admin(q{SELECT ondatra.pause_sync('scheduled')});
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'the original rests');
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'ondatra scheduler%'") eq '0' }, 'and its scheduler leaves');
sub copy { my ($name) = @_; $main->safe_psql('template1', "CREATE DATABASE $name TEMPLATE postgres") }
copy('copy');
$main->safe_psql('copy', q{SELECT ondatra.resume_sync('scheduled')});
sends_nothing($main, 'copy', 'It was armed as the database with OID', 'template copy');
is($t->sql('SELECT armed FROM ondatra.arming'), 't', 'the original is armed as before');

# --- arm(): who may, with what
my ($status, undef, $err) = $main->psql('copy', "SELECT ondatra.arm('trust')", extra_params => ['-U', 'ann']);
like($err, qr/permission denied to arm this database/, 'not everybody may arm');
(undef, undef, $err) = $main->psql('copy', "SELECT ondatra.arm('fire')");
like($err, qr/invalid policy: "fire"\nHINT:  Use 'trust'/, 'with one of four words');
is($main->safe_psql('copy', 'SELECT armed FROM ondatra.arming'), 'f', 'none of that has armed it');

# --- trust
is($main->safe_psql('copy', q{SELECT ondatra.arm('trust')}), '0', 'arm(trust) pauses nothing');
is($main->safe_psql('copy', q{SELECT armed, reason, policy, armed_by FROM ondatra.arming}), 't||trust|' . $t->superuser, 'it is armed');
ok($main->poll_query_until('copy', q{SELECT count(*) > 0 FROM ondatra.sync_runs WHERE sync_name = 'people' AND trigger = 'manual' AND rows_updated = 30 AND status = 'succeeded'}),
    'what was asked for meanwhile runs, by itself');
ok($main->poll_query_until('copy', q{SELECT count(*) > 0 FROM ondatra.sync_runs WHERE sync_name = 'scheduled' AND rows_updated = 30}), 'and what is due');

# --- resend, hold, reconcile
copy('resend_copy');
is($main->safe_psql('resend_copy', q{SELECT ondatra.arm('resend')}), '0', 'arm(resend)');
sends_all($main, 'resend_copy', 'every row goes again');
for my $policy ('hold', 'reconcile') {
    copy("${policy}_copy");
    $main->safe_psql("${policy}_copy", q{UPDATE mart.people SET email = 'x'; SELECT ondatra.resume_sync('scheduled'), ondatra.trigger_sync('people'); SELECT ondatra.archive_sync('by_token')});
    is($main->safe_psql("${policy}_copy", "SELECT ondatra.arm('$policy')"), '2', "arm($policy) pauses all but what is archived");
    my $way = $policy eq 'hold' ? 'plan_sync' : 'reconcile_sync';
    is($main->safe_psql("${policy}_copy", "SELECT state, state_reason LIKE '%arm(''$policy'')%ondatra.$way(''people'')%ondatra.resume_sync(''people'')' FROM ondatra.syncs WHERE name = 'people'"),
        'paused|t', "$policy: the reason says the way out");
    is($main->safe_psql("${policy}_copy", 'SELECT count(*) FROM ondatra.run_requests'), '0', "$policy: what was asked for before is void");
    my $before = $main->safe_psql("${policy}_copy", 'SELECT max(run_id) FROM ondatra.sync_runs');
    is($main->safe_psql("${policy}_copy", "SELECT ondatra.resume_sync('people'); SELECT status, rows_updated FROM ondatra.run_sync('people', $wait)"), "\nsucceeded|30",
        "$policy: one sync goes on when somebody says so");
    is($main->safe_psql("${policy}_copy", "SELECT count(*) FROM ondatra.sync_runs WHERE run_id > $before AND sync_name <> 'people'"), '0', "$policy: the others wait");
}

# --- a restored dump; state tables depend on the extension again
my $dump = "$t->{dir}/dump.sql";
command_ok(['pg_dump', '-f', $dump, '-d', $main->connstr('postgres')], 'pg_dump');
$main->safe_psql('template1', 'CREATE DATABASE restored');
command_ok(['psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $main->connstr('restored'), '-f', $dump], 'restore');
sends_nothing($main, 'restored', 'It was armed as the database with OID', 'restored dump');
$main->safe_psql('restored', q{SELECT ondatra.create_destination('another', base_url => 'https://api.example.com')});
is($main->safe_psql('restored', 'SELECT armed FROM ondatra.arming'), 'f', 'another destination does not arm it');
$main->safe_psql('restored', q{SELECT ondatra.arm('hold'), ondatra.arm('trust')});
$main->safe_psql('restored', 'DROP EXTENSION ondatra');
is($main->safe_psql('restored', q{SELECT count(*) FROM pg_class WHERE relname LIKE 'state\_%'}), '0', 'after arm() DROP EXTENSION takes the state tables along');

# --- state that is emptier than recorded
$main->safe_psql('template1', 'CREATE DATABASE lean');
command_ok(['pg_dump', '-f', $dump, '-d', $main->connstr('postgres'), '--exclude-table-data=ondatra.state_1'], 'a dump without a state table');
command_ok(['psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $main->connstr('lean'), '-f', $dump], 'restored');
my (undef, $held, $notice) = $main->psql('lean', q{SELECT ondatra.arm('trust')});
is($held, '1', 'even arm(trust) pauses a sync whose state is gone');
like($notice, qr/sync "people" is paused: its state table has 0 rows, and had 30 after the last run.*HINT:.*rebase_sync\('people'\)/s, 'and says what to do');
is($main->safe_psql('lean', q{SELECT state, state_reason FROM ondatra.syncs WHERE name = 'people'}),
    'paused|its state table has 0 rows, and had 30 after the last run: what was delivered is not known any more', 'so does its state');
is($main->safe_psql('lean', "SELECT status FROM ondatra.run_sync('people', $wait)"), 'held', 'and run by hand it is held: a guard sees it, too');
$main->safe_psql('postgres', "DROP DATABASE $_") for qw(copy resend_copy hold_copy reconcile_copy restored lean);

# --- what is no copy
for my $way ('restart', 'crash') {
    $way eq 'restart' ? $main->restart : do { $main->stop('immediate'); $main->start };
    is($t->sql('SELECT armed FROM ondatra.arming'), 't', "armed after a $way");
    $t->run_is($t->run('people'), {status => 'succeeded', rows_unchanged => 30}, "and runs after a $way");
}

# --- a base backup started as a server of its own
$main->append_conf('pg_hba.conf', 'local replication all trust');
$main->reload;
$main->backup('base');
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($main, 'base');
$clone->start;
is($clone->safe_psql('postgres', 'SELECT timeline_id FROM pg_control_checkpoint()'), '1', 'a clone by pg_basebackup: its timeline is the same');
$clone->safe_psql('postgres', q{SELECT ondatra.resume_sync('scheduled')});
sends_nothing($clone, 'postgres', 'The server was started from a base backup', 'base backup');
$clone->restart;
is($clone->safe_psql('postgres', 'SELECT armed FROM ondatra.arming'), 'f', 'a restart does not arm it');
$clone->safe_psql('postgres', q{SELECT ondatra.arm('trust')});
sends_all($clone, 'postgres', 'arm() does');
$clone->restart;
is($clone->safe_psql('postgres', 'SELECT armed FROM ondatra.arming'), 't', 'and it stays so');

# --- a copy of the files of a stopped server: ondatra.instance tells it apart
$clone->append_conf('postgresql.conf', "ondatra.instance = 'production'");
$clone->restart;
like($clone->safe_psql('postgres', 'SELECT armed, reason FROM ondatra.arming'), qr/^f\|It was armed with ondatra.instance = '', which is 'production' now/, 'another instance');
$clone->safe_psql('postgres', q{SELECT ondatra.arm('trust')});
is($clone->safe_psql('postgres', 'SELECT armed FROM ondatra.arming'), 't', 'armed as that');
$clone->append_conf('postgresql.conf', "ondatra.instance = 'staging'");
$clone->restart;
sends_nothing($clone, 'postgres', "It was armed with ondatra.instance = 'production', which is 'staging' now", 'another instance');
$clone->stop;

# --- promotion
sub standby {
    my ($name, $conf) = @_;
    my $standby = PostgreSQL::Test::Cluster->new($name);
    $main->backup($name);
    $standby->init_from_backup($main, $name, has_streaming => 1);
    $standby->append_conf('postgresql.conf', $conf);
    $standby->start;
    $main->wait_for_catchup($standby, 'replay', $main->lsn('write'));
    return $standby;
}
my $first = standby('first', '');
my $second = standby('second', 'ondatra.resume_after_promotion = on');
my (undef, undef, $said) = $first->psql('postgres', q{SELECT * FROM ondatra.test_destination('crm')});
like($said, qr/this database is not armed.*DETAIL:  The server is a standby/s, 'a standby sends nothing');
(undef, undef, $said) = $first->psql('postgres', q{SELECT ondatra.arm('trust')});
like($said, qr/cannot execute arm\(\) during recovery/, 'and cannot be armed');
$main->stop('immediate');
$first->promote;
$first->safe_psql('postgres', q{SELECT ondatra.resume_sync('scheduled')});
sends_nothing($first, 'postgres', 'It was armed on timeline 1, and the server', 'promoted standby');
$first->safe_psql('postgres', q{SELECT ondatra.arm('trust')});
ok($first->poll_query_until('postgres', q{SELECT count(*) > 0 FROM ondatra.sync_runs WHERE sync_name = 'scheduled' AND rows_updated = 30}), 'armed, it goes on');
$first->stop;
$second->promote;
$second->safe_psql('postgres', q{UPDATE mart.people SET email = 'promoted'; SELECT ondatra.resume_sync('scheduled')});
ok($second->poll_query_until('postgres', q{SELECT count(*) > 0 FROM ondatra.sync_runs WHERE sync_name = 'scheduled' AND rows_updated = 30}),
    'with ondatra.resume_after_promotion a promoted standby goes on by itself');
is($second->safe_psql('postgres', 'SELECT policy FROM ondatra.arming'), 'promotion', 'armed to its new timeline');
$second->append_conf('postgresql.conf', 'ondatra.resume_after_promotion = off');
$second->restart;
is($second->safe_psql('postgres', 'SELECT armed FROM ondatra.arming'), 't', 'for good');
$second->stop;

# --- pg_upgrade makes another server: everything is there, and it waits
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(extra => ['--encoding=UTF8', '--locale=C']);
$new->append_conf('postgresql.conf', "shared_preload_libraries = 'ondatra'\nondatra.allowed_hosts = '127.0.0.1, localhost'\nmax_worker_processes = 24");
$main->append_conf('postgresql.conf', 'ondatra.enabled = off');
$main->start;
$main->safe_psql('postgres', q{UPDATE mart.people SET email = 'upgraded'; SELECT ondatra.resume_sync('scheduled')});
my $sent = $t->count_requests;
my $runs = $main->safe_psql('postgres', 'SELECT count(*) FROM ondatra.all_runs');
$main->stop;
$main->append_conf('postgresql.conf', 'ondatra.enabled = on');
my $bin = $main->config_data('--bindir');
chdir $t->{dir};
command_ok(['pg_upgrade', '--no-sync', '-d', $main->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin, '-s', $new->host, '-p', $main->port, '-P', $new->port], 'pg_upgrade');
$new->start;
is($t->count_requests . ' ' . $new->safe_psql('postgres', 'SELECT count(*) FROM ondatra.all_runs'), "$sent $runs", 'while it runs both servers nothing is sent, and no run begins');
sends_nothing($new, 'postgres', 'It was armed in the server with system identifier', 'upgraded server');
$new->safe_psql('postgres', q{SELECT ondatra.arm('trust')});
sends_all($new, 'postgres', 'armed, it goes on where the old one was');
$new->stop;
done_testing;
