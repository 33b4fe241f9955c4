# run_sync: a run without COMMIT, its row whatever the snapshot, what it refuses, and that it never hangs.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
quick_sync($t, $_) for qw(a b);

# --- the row, also under an old snapshot
my ($out, $err) = finish(session($t, 'ann', "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ondatra.sync_runs;\n"
    . "SELECT status, rows_created, trigger, requested_by FROM ondatra.run_sync('a');\n"
    . "SELECT status, rows_unchanged FROM ondatra.run_sync('a');\nSELECT count(*) FROM ondatra.sync_runs; COMMIT;"));
is($out, "0\nsucceeded|2|manual|ann\nsucceeded|2\n0", 'in REPEATABLE READ the finished row is returned, which the transaction itself cannot see');
($out, $err) = finish(session($t, 'ann', "BEGIN READ ONLY; SELECT status FROM ondatra.run_sync('a'); COMMIT;"));
is($out, 'succeeded', 'in READ ONLY');

# --- without waiting
$t->script({name => 'slow', method => 'PUT', answer => {misbehave => 'hang'}});
$t->sql("UPDATE mart.a SET v = 'x' WHERE id = 1");
($out) = finish(session($t, 'ann', "SELECT status, finished_at IS NULL, run_id > 0 FROM ondatra.run_sync('a', wait => false)"));
is($out, 'running|t|t', 'wait => false returns the running row');
$t->poll(sub { $t->state->{hanging} == 1 }, 'it sends');
$t->sql_fails("SELECT ondatra.run_sync('a', wait => false)", qr/sync "a" is running.*HINT/s, 'a second one is refused');
is($t->sql("SELECT phase || '/' || sync_name || '/' || in_flight || '/' || to_send FROM ondatra.run_progress"), 'sending/a/1/1', 'run_progress shows it');
my $run_id = $t->sql("SELECT run_id FROM ondatra.run_progress");
is($t->sql_as('bob', 'SELECT count(*) FROM ondatra.run_progress'), '0', 'not to others');
is($t->admin('SELECT count(*) FROM ondatra.run_progress'), '1', 'to superusers');
is($t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'ondatra run' AND backend_xmin IS NULL AND backend_xid IS NULL AND usename = 'ann'"), '1',
    'it sends as its owner, outside of a transaction');

# --- time-out, Ctrl-C, another run in the way
$t->sql_fails("SELECT ondatra.run_sync('a', timeout => '100 ms')", qr/could not be started within/, 'time-out while another run goes on');
my $waiter = session($t, 'ann', "SELECT run_id > $run_id, status FROM ondatra.run_sync('a');");
$t->poll_sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%run_sync(''a'')%' AND state = 'active' AND wait_event_type = 'Extension'", '1', 'another waits')
    if $t->admin('SHOW server_version_num') < 170000;
my (undef, undef, $bob_err) = $t->psql_as('bob', "SELECT ondatra.cancel_run($run_id)");
like($bob_err, qr/run $run_id does not exist/, 'another role cannot cancel it');
is($t->sql("SELECT ondatra.cancel_run($run_id)"), 't', 'its owner can');
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $run_id", 'cancelled', 'it is cancelled');
is($t->sql("SELECT ondatra.cancel_run($run_id)"), 'f', 'a finished run cannot be');
$t->poll(sub { $t->state->{hanging} >= 1 }, 'the one that waited goes on');
$t->script;
$t->release;
($out, $err) = finish($waiter);
is($out, 't|succeeded', 'to its end');
like($err, qr/NOTICE:  sync "a": waits for the end of run $run_id/, 'it said what it waited for');

$t->script({method => 'PUT', answer => {misbehave => 'hang'}});
$t->sql("UPDATE mart.a SET v = 'y'");
$waiter = session($t, 'ann', "SELECT ondatra.run_sync('a')");
$t->poll(sub { $t->state->{hanging} >= 1 }, 'a run hangs');
interrupt($waiter);
($out, $err) = finish($waiter);
like($err, qr/run (\d+) of sync "a" goes on.*cancel_run\(\1\).*canceling statement due to user request/s, 'Ctrl-C ends the wait');
is($t->sql('SELECT count(*) FROM ondatra.run_progress'), '1', 'not the run');
$t->sql('SELECT ondatra.cancel_run(run_id) FROM ondatra.run_progress');
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'cancel_run does');
$t->sql_fails("SELECT ondatra.run_sync('a', timeout => '500 ms')", qr/run \d+ of sync "a" did not end within.*It goes on/s, 'its time-out says so too');
$t->sql('SELECT ondatra.cancel_run(run_id) FROM ondatra.run_progress');
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'nothing runs');
$t->script;
$t->release;

# --- what the server's own views tell while a run goes on: what it does, and what it has written, so that autovacuum hears of a long one
$t->sql('CREATE TABLE mart.long AS SELECT i AS id, 0 AS v FROM generate_series(1, 40) i');
$t->destination('long', {object => {upsert => {method => 'PUT', path => '/long/{{key}}'}}});
my $long = $t->sync('long', 'mart.long', 'long');
$t->script({method => 'PUT', path => '^/long/40$', answer => {misbehave => 'hang'}});
$t->sql("SELECT ondatra.trigger_sync('long')");
$t->poll_sql("SELECT sent || ' ' || in_flight FROM ondatra.run_progress", '39 1', 'a run has sent a part');
is($t->sql("SELECT state || ' ' || query FROM pg_stat_activity WHERE backend_type = 'ondatra run'"), 'active ondatra run long', 'pg_stat_activity says what it does');
$t->poll_sql("SELECT n_tup_ins >= 39 FROM pg_stat_all_tables WHERE relid = 'ondatra.state_$long'::regclass", 't', 'the statistics know of rows that it has recorded');
is($t->sql('SELECT in_flight FROM ondatra.run_progress'), '1', 'before it has ended');
$t->sql('SELECT ondatra.cancel_run(run_id) FROM ondatra.run_progress');
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'it is cancelled');
$t->script;
$t->release;

# --- what is not committed
$t->sql_fails("BEGIN; SELECT ondatra.create_sync('new', 'mart.b', 'b', key => '{id}'); SELECT ondatra.run_sync('new')",
    qr/was created or changed in this transaction.*HINT:  COMMIT first/s, 'a sync that is not committed');
$t->sql_fails("BEGIN; SELECT ondatra.pause_sync('a'); SELECT ondatra.run_sync('a')", qr/was created or changed in this transaction/, 'an edit that is not committed');
$t->sql_fails("BEGIN; SAVEPOINT s; SELECT ondatra.pause_sync('a'); RELEASE s; SELECT ondatra.run_sync('a')", qr/was created or changed in this transaction/,
    'in a subtransaction');

# --- locks of the caller
$t->sql_fails("BEGIN; LOCK TABLE mart.a IN ACCESS EXCLUSIVE MODE; SELECT ondatra.run_sync('a')",
    qr/waits for a lock that this transaction holds.*waits for AccessShareLock on mart.a.*HINT/s, 'a run that waits for its caller');
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'the run is cancelled');
my $first = session($t, 'ann', "BEGIN; LOCK TABLE mart.a IN ACCESS EXCLUSIVE MODE;\n" . wait_for_lock('mart.b') . "SELECT status FROM ondatra.run_sync('b');");
my $second = session($t, 'ann', "BEGIN; LOCK TABLE mart.b IN ACCESS EXCLUSIVE MODE;\n" . wait_for_lock('mart.a') . "SELECT status FROM ondatra.run_sync('a');");
my (undef, $first_err) = finish($first);
my (undef, $second_err) = finish($second);
like($first_err . $second_err, qr/waits for a lock that this transaction holds/, 'two callers, each of whose runs waits for the other: found');
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'nothing is left of it');
$t->sql_fails("BEGIN; LOCK TABLE mart.a IN ACCESS EXCLUSIVE MODE; SELECT ondatra.run_sync('a', wait => false); SELECT ondatra.run_sync('a')",
    qr/what sync "a" is busy with waits for a lock that this transaction holds/, 'another run that waits for the caller');
$t->sql('SELECT ondatra.cancel_run(run_id) FROM ondatra.run_progress');
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'a run that only reads is over when its lock is free');


# --- arguments
for my $case (
    ['{"idd": 1}', qr/"idd" is not a column of the sync's key/], ['[1]', qr/array of objects/], ['[]', qr/keys is empty/], ['{}', qr/each column/],
    ['{"id": [1]}', qr/must be a string, a number or a boolean/], ['{"id": null}', qr/must be a string, a number or a boolean/],
    ['{"id": {"a": 1}}', qr/must be a string, a number or a boolean/], ['[[{"id": 1}]]', qr/array of objects/], ['7', qr/array of objects/]) {
    $t->sql_fails("SELECT ondatra.run_sync('a', keys => '$case->[0]')", $case->[1], "keys => $case->[0]");
}
$t->sql_fails("SELECT ondatra.run_sync('a', max_rows => 0)", qr/max_rows must be positive/, 'max_rows => 0');
$t->sql_fails("SELECT ondatra.run_sync('a', timeout => '-1 s')", qr/timeout must be positive/, 'a negative time-out');
$t->sql_fails("SELECT ondatra.run_sync('nope')", qr/sync "nope" does not exist/, 'an unknown sync');
$t->sql_fails("SELECT ondatra.run_sync(NULL)", qr/must not be NULL/, 'NULL');
$t->sql("SELECT ondatra.archive_sync('b')");
$t->sql_fails("SELECT ondatra.run_sync('b')", qr/sync "b" is archived.*restore_sync/s, 'an archived sync');
$t->sql("SELECT ondatra.restore_sync('b')");
is($t->run('b')->{status}, 'succeeded', 'a paused one can be run by hand');

# --- a canary on a few rows
quick_sync($t, 'c');
$t->run_is($t->run('c', keys => {id => 2}), {rows_created => 1}, 'keys: one row');
ok(!$t->records('contacts')->{3}, 'no other');

# --- switched off
$t->node->append_conf('postgresql.conf', 'ondatra.enabled = off');
$t->node->reload;
$t->poll_sql('SHOW ondatra.enabled', 'off', 'switched off');
$t->sql_fails("SELECT ondatra.run_sync('a')", qr/switched off.*ondatra.enabled/s, 'runs are refused');
$t->sql("SELECT ondatra.trigger_sync('a')");
$t->node->append_conf('postgresql.conf', 'ondatra.enabled = on');
$t->node->reload;
$t->poll_sql('SELECT (SELECT count(*) FROM ondatra.run_progress) = 0 AND (SELECT max(run_id) FROM ondatra.sync_runs WHERE sync_name = \'a\' AND status = \'succeeded\') = '
    . '(SELECT max(run_id) FROM ondatra.sync_runs)', 't', 'what was asked for meanwhile runs when it is on again');
$t->no_violations;
done_testing;
