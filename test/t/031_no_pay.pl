# The database does not pay for its destination: while that hangs, does not accept or trickles, a run holds no snapshot and no transaction id, is in nobody's
# way, and ends within a second whoever ends it, or when its postmaster is no more. A second is the promise, and
# what the machine is late with: a psql that only connects takes milliseconds where nothing else goes on. A try that took longer is repeated, and three of
# three must not.

use strict;
use warnings FATAL => 'all';
use IO::Socket::INET;
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;
use Time::HiRes qw(time usleep);

my $PROMISE_S = 1.0;
my $TRIES = 3;

my $t = Ondatra::Test->new(conf => "wal_level = replica\nmax_wal_senders = 4");
my $node = $t->node;
my $round = 0;

# A port whose queue of connections is full: the kernel does not answer another SYN.
my $deaf = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "listen: $!";
my @queue = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $deaf->sockport, Blocking => 0) } 1 .. 8;

my %DESTINATIONS = (
    hangs => {misbehave => 'hang'},
    trickles => {records => \1, misbehave => {drip => 1000}},
    'does not accept' => undef,
);

sub setup {
    $t->sql('CREATE TABLE IF NOT EXISTS mart.m AS SELECT i AS id, 0 AS v FROM generate_series(1, 100) i');
    for my $way (keys %DESTINATIONS) {
        my $name = $way =~ s/ /_/gr;
        my $url = $DESTINATIONS{$way} ? $t->url : 'http://127.0.0.1:' . $deaf->sockport;
        $t->sql("CREATE VIEW mart.$name AS SELECT id, v FROM mart.m") if $t->sql("SELECT to_regclass('mart.$name') IS NULL") eq 't';
        $t->destination($name, {timeout_ms => 120000, connect_timeout_ms => 120000}, base_url => $url);
        $t->sync($name, "mart.$name", $name, options => {in_doubt_wait => '0ms', error_after => 1000});
    }
    return;
}

# A run of the sync that waits for its destination: its number and process. One that began by itself (to recover) will do.
sub waiting_run {
    my ($way) = @_;
    my $name = $way =~ s/ /_/gr;
    $t->script({method => 'PUT', answer => $DESTINATIONS{$way} || {misbehave => 'hang'}});
    $t->sql('UPDATE mart.m SET v = ' . ++$round);
    my $found;
    $t->poll(sub {
        $found = $t->sql("SELECT l.run_id || ' ' || l.pid FROM ondatra.live_runs() l JOIN ondatra.syncs s USING (sync_id) WHERE s.name = '$name' AND phase = 'sending' AND in_flight > 0");
        $t->psql_as('ann', "SELECT ondatra.run_sync('$name', wait => false)") if $found eq '';
        return $found ne '';
    }) or die "no run waits for the destination that $way";
    return split / /, $found;
}

sub seconds { my ($work, @context) = @_; my $began = time; $work->(@context); return time - $began }

# One of some tries; no more tries than needed.
sub is_quick {
    my ($what, $prepare, $work) = @_;
    my ($took, $late);
    for (1 .. $TRIES) {
        my @context = $prepare->();
        $late = seconds(sub { $t->admin('SELECT 1') });
        $took = seconds($work, @context);
        note(sprintf '%s: %.2f s (a psql: %.2f s)', $what, $took, $late);
        last if $took < $PROMISE_S;
    }
    return cmp_ok($took, '<', $PROMISE_S + 5 * $late, "$what: within a second");
}

sub gone { my (undef, $pid) = @_; return $t->poll(sub { Ondatra::Test::has_ended($pid) }) }

# SQL of ours does not wait for a standby, whatever the server's settings say.
sub local_sql { my ($sql) = @_; local $ENV{PGOPTIONS} = '-c synchronous_commit=local'; return $t->admin($sql) }

# --- what others do meanwhile
sub others_are_free {
    my ($way) = @_;
    my $there = sub { waiting_run($way) };
    my $n = 0;
    is_quick("$way: CREATE DATABASE … TEMPLATE", $there, sub { local_sql('CREATE DATABASE copy' . ++$n . ' TEMPLATE other') });
    is_quick("$way: DROP DATABASE of another", $there, sub { local_sql('DROP DATABASE copy' . $n--) });
    local_sql("DROP DATABASE copy$_") for 1 .. $n;
    is_quick("$way: ALTER TABLE of the model's table", $there, sub { local_sql('ALTER TABLE mart.m ADD COLUMN x int; ALTER TABLE mart.m DROP COLUMN x') });
    is_quick("$way: VACUUM FULL of it", $there, sub { local_sql('VACUUM FULL mart.m') });
    my ($run_id, $pid) = $there->();
    my $held = 0;
    my $seen = 0;
    for (1 .. 20) {
        my ($here, $bad) = split /\|/, $t->admin("SELECT count(*), count(backend_xmin) + count(backend_xid) FROM pg_stat_activity WHERE pid = $pid");
        $seen += $here;
        $held += $bad;
    }
    is("$seen $held", '20 0', "$way: it holds neither a snapshot nor a transaction id");
    is($t->sql("SELECT in_flight > 0 FROM ondatra.run_progress WHERE run_id = $run_id"), 't', "$way: all that did not disturb it");
    return;
}

# --- how it is ended
my %ENDINGS = (
    'cancel_run' => sub { my ($run_id, $pid) = @_; $t->sql("SELECT ondatra.cancel_run($run_id)"); gone(@_) },
    'pg_cancel_backend' => sub { my ($run_id, $pid) = @_; $t->admin("SELECT pg_cancel_backend($pid)"); gone(@_) },
    'pg_terminate_backend' => sub { my ($run_id, $pid) = @_; local_sql("SELECT pg_terminate_backend($pid)"); gone(@_) },
    'SIGTERM' => sub { my ($run_id, $pid) = @_; kill 'TERM', $pid; gone(@_) },
);

sub fast_shutdown { my ($way) = @_; is_quick("$way: fast shutdown", sub { $node->start if !defined $node->{_pid}; waiting_run($way) }, sub { $node->stop('fast'); gone(@_) }); $node->start; return }

sub have_extension {
    return if $t->admin("SELECT count(*) FROM pg_extension WHERE extname = 'ondatra'") ne '0';
    local_sql('CREATE EXTENSION ondatra; GRANT USAGE ON SCHEMA ondatra TO ann');
    setup();
    return;
}

sub drop_extension {
    my ($way) = @_;
    is_quick("$way: DROP EXTENSION", sub { have_extension(); waiting_run($way) }, sub { local_sql('DROP EXTENSION ondatra CASCADE'); gone(@_) });
    have_extension();
    return;
}

sub postmaster_dies {
    my ($way) = @_;
    is_quick("$way: a postmaster that was killed", sub { $t->start_again if !defined $node->{_pid}; waiting_run($way) }, sub { $node->kill9; gone(@_) });
    $t->start_again;
    return;
}

$t->admin('CREATE DATABASE other');
setup();
for my $way (sort keys %DESTINATIONS) {
    others_are_free($way);
    is_quick("$way: $_", sub { waiting_run($way) }, $ENDINGS{$_}) for sort keys %ENDINGS;
    drop_extension($way);
    fast_shutdown($way);
    postmaster_dies($way);
}

# --- what else waits for a destination: calls, which hold their caller's transaction and nothing more, and processes, which hold none
my $silent = {misbehave => 'hang'};
$t->sql('SELECT ondatra.pause_sync(name) FROM ondatra.syncs'); # from here on nothing runs by itself
$t->poll(sub { !background_workers($t, 'run') }) or die 'a run goes on';
$t->sql("SELECT ondatra.set_secret('s', 'x')");
$t->destination('listed', {timeout_ms => 120000, object => {%{ Ondatra::Test::put_object() }, list => {method => 'GET', path => '/listed', rows => '/items', key => '/id'}}});
$t->destination('tokens', {timeout_ms => 120000}, auth => {type => 'oauth2_client_credentials', token_url => $t->url . '/token', client_id => 'a', client_secret => {secret => 's'}});
$t->destination('ops', {timeout_ms => 120000}, base_url => $t->url . '/ops');
$t->sync($_, 'mart.m', $_, paused => 'true') for qw(listed tokens);
$t->sync('told', 'SELECT 1 / (v - v) AS id FROM mart.m', 'listed', options => {alert => {destination => 'ops'}});
my %waits = ( # the process that waits, by its backend_type; what makes it wait
    fetch => ['client backend', q{SELECT * FROM ondatra.fetch('listed', NULL)}],
    request => ['client backend', q{SELECT * FROM ondatra.request('listed', 'GET', '/x')}],
    test_destination => ['client backend', q{SELECT * FROM ondatra.test_destination('listed')}],
    reconcile_sync => ['ondatra run', q{SELECT * FROM ondatra.reconcile_sync('listed')}],
    'a run that asks for a token' => ['ondatra run', q{SELECT ondatra.run_sync('tokens')}],
    'a call that asks for a token' => ['ondatra token', q{SELECT * FROM ondatra.request('tokens', 'GET', '/x')}],
    'an alert' => ['ondatra alert', q{SELECT ondatra.run_sync('told')}],
);
for my $what (sort keys %waits) {
    my ($type, $sql) = @{ $waits{$what} };
    my $session;
    my $who = "FROM pg_stat_activity WHERE backend_type = '$type'" . ($type =~ /client/ ? " AND usename = 'ann'" : '');
    my $waiting = sub {
        my $pid = $t->admin("SELECT pid $who");
        return (0, $pid) if $pid ne '' && $t->state->{hanging} > 0;
        $t->script({answer => $silent});
        $session = session($t, 'ann', $sql);
        $t->poll(sub { $t->state->{hanging} > 0 && ($pid = $t->admin("SELECT pid $who")) ne '' }) or die "$what does not wait";
        return (0, $pid);
    };
    is_quick("$what: a database is made and dropped", $waiting, sub { local_sql('CREATE DATABASE copy TEMPLATE other'); local_sql('DROP DATABASE copy') });
    my (undef, $pid) = $waiting->();
    is($t->admin("SELECT count(backend_xmin) + count(backend_xid) FROM pg_stat_activity WHERE pid = $pid"), '0', "$what: its process holds neither a snapshot nor a transaction id")
        if $type ne 'client backend';
    is_quick("$what: pg_terminate_backend", $waiting, $ENDINGS{pg_terminate_backend});
    if ($type !~ /run/) { # those were seen to end above
        is_quick("$what: a postmaster that was killed", sub { $t->start_again if !defined $node->{_pid}; $waiting->() }, sub { $node->kill9; gone(@_) });
        $t->start_again;
    }
    $t->script;
    $t->release;
    finish($session);
    $t->poll(sub { $t->state->{hanging} == 0 && !background_workers($t, 'run') && !background_workers($t, 'alert') }) or die "$what goes on";
}
$t->sql("SELECT ondatra.drop_sync('told')");

# --- a synchronous standby that is missing: commits wait for it, but nobody for them
$t->poll(sub { !background_workers($t, 'run') || $t->psql_as('ann', 'SELECT ondatra.cancel_run(run_id) FROM ondatra.run_progress') && 0 }) or die 'a run goes on';
sub standby_is { my ($name) = @_; local_sql("ALTER SYSTEM SET synchronous_standby_names = '$name'"); $node->reload; $t->poll_sql('SHOW synchronous_standby_names', $name, "standby: \"$name\""); return }
waiting_run('hangs');
standby_is('missing');
my $way = 'without its standby';
is_quick("$way: DROP DATABASE of another", sub { local_sql('CREATE DATABASE copy TEMPLATE other') }, sub { local_sql('DROP DATABASE copy') });
is_quick("$way: fast shutdown of a run that sends", sub { $node->{_pid} or do { standby_off(); waiting_run('hangs'); standby_is('missing') };
    split / /, $t->admin('SELECT run_id, pid FROM ondatra.live_runs()') }, sub { $node->stop('fast') });

# A run that begins now waits in its first commit.
sub standby_off { $node->append_conf('postgresql.auto.conf', "synchronous_standby_names = ''"); $node->start; return }
sub committing {
    $node->start if !defined $node->{_pid};
    my ($pid) = (undef);
    $t->poll(sub {
        ($pid) = background_workers($t, 'run');
        $t->psql_as('ann', "SET synchronous_commit = local; SELECT ondatra.run_sync('hangs', wait => false, timeout => '1 second')") if !$pid;
        return $pid && $t->admin("SELECT wait_event FROM pg_stat_activity WHERE pid = $pid") eq 'SyncRep';
    }) or die 'no run waits for the standby';
    return (0, $pid);
}
is_quick("$way: pg_terminate_backend of a run that commits", \&committing, $ENDINGS{pg_terminate_backend});
is_quick("$way: SIGTERM of a run that commits", \&committing, $ENDINGS{SIGTERM});
is_quick("$way: fast shutdown", \&committing, sub { $node->stop('fast'); gone(@_) });
standby_off();
$t->release;
is($t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE status = 'running' AND NOT EXISTS (SELECT FROM ondatra.run_progress p WHERE p.run_id = sync_runs.run_id)"), '0',
    'no run is left open') if $t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.all_runs r WHERE finished_at IS NULL AND NOT EXISTS (SELECT FROM ondatra.run_progress p WHERE p.run_id = r.run_id)") eq '0' });
done_testing;
