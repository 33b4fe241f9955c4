# Owners who cannot log in, connect, or exist: somebody says so, and nothing spins.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $version = $t->admin('SHOW server_version_num');
quick_sync($t, 'a');
quick_sync($t, 'other');
is($t->run('a')->{status}, 'succeeded', 'before');

# Asks as a superuser, since the owner cannot; the last run, recorded without its own help.
sub asked_for {
    my ($name, $pattern, $code) = @_;
    my $before = $t->admin('SELECT coalesce(max(run_id), 0) FROM ondatra.all_runs');
    $t->admin("SELECT ondatra.trigger_sync('a')");
    my $row = "FROM ondatra.all_runs WHERE sync_name = 'a' AND run_id > $before";
    $t->poll(sub { $t->admin("SELECT count(*) > 0 $row AND status = 'failed'") eq 't' }, "$name: a failed run is recorded");
    like($t->admin("SELECT error_code || ' ' || error_message || ' ' || coalesce(error_detail, '') $row ORDER BY run_id LIMIT 1"), $pattern, "$name: it says why");
    my ($status, undef, $err) = $t->psql_as($t->superuser, "SELECT ondatra.run_sync('a')");
    like($err, qr/$code/, "$name: run_sync says so at once");
    return $before;
}

# --- the role cannot log in
if ($version < 170000) {
    $t->admin('ALTER ROLE ann NOLOGIN');
    my $before = asked_for('NOLOGIN', qr/28000 role "ann", which owns the sync, is not permitted to log in ALTER ROLE ann LOGIN/, qr/is not permitted to log in/);
    is($t->admin('SELECT count(*) FROM ondatra.run_requests'), '1', 'NOLOGIN: the request is kept');
    $t->admin('ALTER ROLE ann LOGIN');
    $t->poll_sql("SELECT bool_or(status = 'succeeded') FROM ondatra.sync_runs WHERE run_id > $before", 't', 'NOLOGIN: and answered when the role can log in again');
    is($t->admin("SELECT bool_and(started_at IS NULL) FROM ondatra.all_runs WHERE status = 'failed'"), 't', 'NOLOGIN: what failed never started');
}

# --- the role may not connect
$t->admin('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
my $before = asked_for('CONNECT', qr/42501 role "ann", which owns the sync, may not connect to database "postgres" GRANT CONNECT/, qr/may not connect/);
# Others make the scheduler look again and again; what cannot start is not tried each time.
$t->admin('GRANT CONNECT ON DATABASE postgres TO bob; CREATE SCHEMA bob AUTHORIZATION bob');
$t->sql_as('bob', "CREATE TABLE bob.t (id int PRIMARY KEY); SELECT ondatra.create_destination('b', base_url => '" . $t->url . "'); SELECT ondatra.create_sync('b', 'bob.t', 'b', options => '{\"on_empty\": \"run\"}')");
for my $n (1 .. 8) {
    $t->sql_as('bob', "SELECT ondatra.trigger_sync('b')");
    $t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.all_runs WHERE sync_name = 'b' AND status = 'succeeded'") eq $n }) or die 'others do not run';
}
is($t->admin("SELECT count(*) FROM (SELECT finished_at - lag(finished_at) OVER w AS gap, row_number() OVER w AS n FROM ondatra.all_runs WHERE sync_name = 'a' AND run_id > $before AND status = 'failed' WINDOW w AS (ORDER BY run_id)) x "
    . "WHERE gap < interval '1 second' * power(2, n - 2)"), '0', 'CONNECT: each try waits twice as long as the one before');
$t->admin('GRANT CONNECT ON DATABASE postgres TO PUBLIC');
$t->poll_sql("SELECT bool_or(status = 'succeeded') FROM ondatra.sync_runs WHERE run_id > $before", 't', 'CONNECT: it runs when it may again');

# --- what only the process itself meets: its last words are heard
if ($version < 170000) {
    $t->admin('ALTER DATABASE postgres CONNECTION LIMIT 0');
    $before = $t->admin('SELECT max(run_id) FROM ondatra.all_runs');
    $t->admin("SELECT ondatra.trigger_sync('a')");
    $t->poll(sub { $t->admin("SELECT count(*) > 0 FROM ondatra.all_runs WHERE run_id > $before") eq 't' }, 'a limit of connections: a run is recorded');
    $t->admin('ALTER DATABASE postgres CONNECTION LIMIT -1');
    like($t->admin("SELECT status || ' ' || coalesce(error_message, '') FROM ondatra.all_runs WHERE run_id > $before ORDER BY run_id LIMIT 1"),
        qr/^(succeeded|failed too many connections)/, 'a limit of connections: with the words of the server, where it applies to workers');
    $t->poll(sub { $t->admin('SELECT count(*) FROM ondatra.run_requests') eq '0' }, 'a limit of connections: waited out');
}

# --- it ends: after error_after failures the sync is in error
$t->admin("UPDATE ondatra.all_syncs SET options = options || '{\"error_after\": 2}' WHERE name = 'a'");
$t->admin('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
$t->admin("SELECT ondatra.trigger_sync('a')");
$t->poll(sub { $t->admin("SELECT state FROM ondatra.all_syncs WHERE name = 'a'") eq 'error' }, 'failures that do not end put the sync into state error');
like($t->admin("SELECT state_reason FROM ondatra.all_syncs WHERE name = 'a'"), qr/may not connect/, 'with the reason');
is($t->admin('SELECT count(*) FROM ondatra.run_requests'), '1', 'and its request waits until it is resumed');
$t->admin('GRANT CONNECT ON DATABASE postgres TO PUBLIC');
is($t->run('other')->{status}, 'succeeded', 'others run as ever');

# --- the role is dropped
$t->admin('CREATE ROLE eve LOGIN; GRANT USAGE ON SCHEMA ondatra TO eve; CREATE SCHEMA eve AUTHORIZATION eve');
my $options = $t->json_of({object => Ondatra::Test::put_object()});
$t->sql_as('eve', "CREATE TABLE eve.t (id int PRIMARY KEY); SELECT ondatra.create_destination('e', base_url => '" . $t->url . "', options => '$options'); "
    . "SELECT ondatra.create_sync('e', 'eve.t', 'e', key => '{id}')");
$t->admin("DROP OWNED BY eve; DROP ROLE eve; SELECT ondatra.trigger_sync('e')");
$t->poll(sub { $t->admin("SELECT state FROM ondatra.all_syncs WHERE name = 'e'") eq 'error' }, 'a sync of a dropped role is in state error at once');
like($t->admin("SELECT error_message FROM ondatra.all_runs WHERE sync_name = 'e'"), qr/does not exist any more/, 'its run says why');
is($t->admin("SELECT count(*) FROM ondatra.all_runs WHERE sync_name = 'e'"), '1', 'one run');
done_testing;
