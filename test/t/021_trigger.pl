# trigger_sync: a run at the commit, never lost, never waiting for anybody; one run of a sync at a time.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
quick_sync($t, 'a');

# --- at the commit, not before, not without
$t->sql("BEGIN; INSERT INTO mart.a VALUES (3, 'c'); SELECT ondatra.trigger_sync('a'); ROLLBACK");
my ($out) = finish(session($t, 'ann', "BEGIN; INSERT INTO mart.a VALUES (4, 'd'); SELECT ondatra.trigger_sync('a') > 0;\n"
    . "SELECT count(*) FROM ondatra.run_progress; COMMIT;"));
is($out, "t\n0", 'a request has a number; nothing starts before the commit');
$t->poll_sql("SELECT string_agg(status || rows_created, ' ') FROM ondatra.sync_runs WHERE sync_name = 'a'", 'succeeded3', 'the run sees what was committed with it');
is($t->admin('SELECT count(*) FROM ondatra.run_requests'), '0', 'and consumed the request');
is(runs($t, 'a'), 'succeeded/manual', 'once');

# --- several requests, one run
$t->sql("SELECT ondatra.trigger_sync('a') FROM generate_series(1, 100)");
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'a' AND finished_at IS NOT NULL", '2', 'a hundred requests at once are one run');

# --- callers do not wait for each other, nor for a run
$t->script({method => 'PUT', times => 1, answer => {misbehave => 'hang'}});
my $holder = session($t, 'ann', "BEGIN; SELECT ondatra.trigger_sync('a');\n" . wait_for_lock('mart.a') . "COMMIT;");
$t->poll_sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'ann' AND query LIKE 'DO %' AND state = 'active'", '1', 'one transaction holds a request');
$t->sql("UPDATE mart.a SET v = 'hang' WHERE id = 1; SELECT ondatra.trigger_sync('a')");
$t->poll(sub { $t->state->{hanging} == 1 }, 'another one is answered meanwhile, and its run sends');
$t->sql("UPDATE mart.a SET v = 'after' WHERE id = 2; SELECT ondatra.trigger_sync('a')");
is($t->sql("SELECT count(*) FROM ondatra.run_progress"), '1', 'a request during the run starts no second one');
is(scalar background_workers($t, 'run'), 1, 'there is one process');
$t->sql('BEGIN; LOCK TABLE mart.a IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.1); COMMIT') while is_running($holder);
finish($holder);
$t->release;
$t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.run_requests") eq '0' && $t->sql('SELECT count(*) FROM ondatra.run_progress') eq '0' },
    'all requests are answered');
is($t->records('contacts')->{2}{v}, 'after', 'what came during the run was covered by one more');
is($t->admin("SELECT count(*) FROM ondatra.all_runs a JOIN ondatra.all_runs b ON a.sync_id = b.sync_id AND a.run_id < b.run_id "
    . "AND tstzrange(a.started_at, a.finished_at) && tstzrange(b.started_at, b.finished_at)"), '0', 'no two runs of the sync overlapped');

# --- who asked
$t->sql("CREATE FUNCTION mart.touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM ondatra.trigger_sync(''a''); RETURN NULL; END'");
$t->sql("CREATE TRIGGER touched AFTER UPDATE ON mart.a FOR EACH STATEMENT EXECUTE FUNCTION mart.touched()");
$t->sql("UPDATE mart.a SET v = 'by trigger' WHERE id = 1");
$t->poll_sql("SELECT trigger || '/' || requested_by || '/' || rows_updated FROM ondatra.sync_runs WHERE finished_at IS NOT NULL ORDER BY run_id DESC LIMIT 1",
    'change/ann/1', 'from a trigger: change');

# --- a sync that stops with an error: what was asked for is covered when it is resumed
quick_sync($t, 'e');
$t->run('e');
$holder = session($t, 'ann', "BEGIN; INSERT INTO mart.e VALUES (7, 'late'); SELECT ondatra.trigger_sync('e');\n" . wait_for_lock('mart.a') . "COMMIT;");
$t->poll_sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'ann' AND query LIKE 'DO %' AND state = 'active'", '1', 'one transaction holds a request');
$t->sql("SELECT ondatra.update_sync('e', model => 'SELECT id, v, 1 / (id - 6) AS x FROM mart.e', options => '{\"error_after\": 1}'); INSERT INTO mart.e VALUES (6, 'x'); SELECT ondatra.trigger_sync('e')");
$t->poll_sql("SELECT state FROM ondatra.syncs WHERE name = 'e'", 'error', 'the run fails, the sync stops');
is($t->admin("SELECT count(*) FROM ondatra.run_requests"), '1', 'the request that the run consumed is there again');
$t->sql('BEGIN; LOCK TABLE mart.a IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.1); COMMIT') while is_running($holder);
finish($holder);
$t->sql("SELECT ondatra.trigger_sync('a')");
$t->poll_sql("SELECT count(*) FROM ondatra.run_progress", '0', 'the scheduler has been here');
$t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.run_requests q JOIN ondatra.all_syncs s USING (sync_id) WHERE s.name = 'a'") eq '0' }, 'and did its work');
is($t->admin("SELECT count(*) FROM ondatra.run_requests"), '2', 'so does one that was committed later wait');
$t->sql("UPDATE mart.e SET id = 5 WHERE id = 6; SELECT ondatra.resume_sync('e')");
$t->poll(sub { ($t->records('contacts')->{7}{v} // '') eq 'late' }, 'resumed: a run covers them');
$t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.run_requests") eq '0' }, 'both');

# --- refused
$t->sql_fails("SELECT ondatra.trigger_sync('nope')", qr/sync "nope" does not exist/, 'an unknown sync');
my ($status, undef, $err) = $t->psql_as('bob', "SELECT ondatra.trigger_sync('a')");
like($err, qr/sync "a" does not exist/, 'a sync of another role is as missing');
$t->sql("SELECT ondatra.pause_sync('a')");
$t->sql_fails("SELECT ondatra.trigger_sync('a')", qr/sync "a" is paused.*resume_sync\('a'\)/s, 'a paused one');
$t->sql_fails("SELECT ondatra.trigger_sync(NULL)", qr/must not be NULL/, 'NULL');
$t->admin("ALTER SYSTEM SET max_prepared_transactions = 2");
$t->node->restart;
$t->sql("SELECT ondatra.resume_sync('a')");
$t->sql_fails("BEGIN; SELECT ondatra.trigger_sync('a'); PREPARE TRANSACTION 'x'", qr/cannot PREPARE/, 'PREPARE TRANSACTION');
$t->sql_fails("BEGIN; SELECT ondatra.pause_sync('a'); PREPARE TRANSACTION 'x'", qr/cannot PREPARE/, 'PREPARE TRANSACTION after an edit');
$t->sql("BEGIN; INSERT INTO mart.a VALUES (9, 'x'); PREPARE TRANSACTION 'x'; COMMIT PREPARED 'x'");
$t->no_violations;
done_testing;
