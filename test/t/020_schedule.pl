# Schedules: at once, anchored, made up once after a stop; and nothing stays in a database that has nothing to do.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;

# --- at once, then by the schedule
quick_sync($t, 'often', schedule => '2 seconds');
$t->poll_sql("SELECT count(*) >= 3 FROM ondatra.sync_runs WHERE sync_name = 'often' AND status = 'succeeded'", 't', 'a schedule starts at once and goes on');
is($t->sql("SELECT bool_and(trigger = 'schedule' AND requested_by = 'ann') FROM ondatra.sync_runs WHERE sync_name = 'often'"), 't', 'by the schedule');
is($t->sql("SELECT state FROM ondatra.syncs WHERE name = 'often'"), 'active', 'created became active');
is($t->count_requests(path => '^/contacts/'), 2, 'each row was sent once');
is($t->admin("SELECT bool_and(extract(epoch FROM next_run_at - anchor)::numeric % 2 = 0) FROM ondatra.all_syncs WHERE name = 'often'"), 't',
    'due times are anchored');
is($t->admin("SELECT bool_and(extract(epoch FROM r.queued_at - s.anchor)::numeric % 2 = 0 AND r.started_at >= r.queued_at) FROM ondatra.all_runs r "
    . "JOIN ondatra.all_syncs s USING (sync_id) WHERE r.sync_name = 'often'"), 't', 'runs are queued at their due times');

# --- missed runs are made up once
my $before = $t->admin("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'often'");
$t->sql("SELECT ondatra.update_sync('often', schedule => '1 hour')");
$t->poll_sql("SELECT count(*) FROM ondatra.run_progress", '0', 'nothing runs');
$before = $t->admin("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'often'");
$t->admin("UPDATE ondatra.all_syncs SET next_run_at = anchor - interval '5 hours', anchor = anchor - interval '10 hours' WHERE name = 'often'");
$t->node->restart;
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'often'", $before + 1, 'a due time that passed while the server was down is made up');
$t->poll_sql("SELECT next_run_at > now() FROM ondatra.syncs WHERE name = 'often'", 't', 'the next is in the future');
is($t->admin("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'often'"), $before + 1, 'once');

# --- idle databases
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('ondatra scheduler', 'ondatra run')") eq '0' }, 'an idle database holds no connection');
is($t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'ondatra launcher' AND datname IS NULL AND backend_xmin IS NULL"), '1',
    'the launcher is there, without database and snapshot');

# --- paused syncs are not run
quick_sync($t, 'still', schedule => '1 second', paused => 'true');
$t->sql("SELECT ondatra.resume_sync('often')");
quick_sync($t, 'marker', schedule => '1 second');
$t->poll_sql("SELECT count(*) >= 2 FROM ondatra.sync_runs WHERE sync_name = 'marker'", 't', 'others run');
is(runs($t, 'still'), '', 'a paused one does not');
$t->sql("SELECT ondatra.resume_sync('still')");
$t->poll_sql("SELECT count(*) > 0 FROM ondatra.sync_runs WHERE sync_name = 'still'", 't', 'until it is resumed');
$t->sql("SELECT ondatra.pause_sync(name) FROM ondatra.syncs");

# --- jitter: up to so much after the due time, which stays where it is
for my $n (1 .. 8) {
    $t->sync("j$n", 'SELECT 1 AS id', 'still', schedule => '1 day', paused => 'true', options => {jitter => $n == 8 ? '3 days' : '2 hours'});
    $t->sql("SELECT ondatra.resume_sync('j$n')");
}
$t->poll_sql("SELECT count(*) FROM ondatra.syncs WHERE name LIKE 'j_' AND state = 'active'", '8', 'those with jitter begin at once, too');
my $late = "(SELECT name, extract(epoch FROM next_run_at - anchor)::int - 86400 AS late FROM ondatra.all_syncs WHERE name LIKE 'j_') j";
is($t->admin("SELECT bool_and(late >= 0 AND late < 7200) FROM $late WHERE name < 'j8'"), 't', 'within the jitter');
cmp_ok($t->admin("SELECT count(DISTINCT late) FROM $late"), '>', 4, 'by chance');
is($t->admin("SELECT bool_and(late >= 0 AND late < 86400) FROM $late WHERE name = 'j8'"), 't', 'before the next due time');
$t->admin("UPDATE ondatra.all_syncs SET next_run_at = now(), anchor = anchor - interval '10 days 1 hour' WHERE name = 'j1'");
$t->sql("SELECT ondatra.trigger_sync('j1')");
$t->poll_sql("SELECT count(*) > 1 FROM ondatra.sync_runs WHERE sync_name = 'j1' AND finished_at IS NOT NULL", 't', 'it runs again');
is($t->admin("SELECT mod(extract(epoch FROM next_run_at - anchor)::bigint, 86400) BETWEEN 0 AND 7200 FROM ondatra.all_syncs WHERE name = 'j1'"), 't', 'anchored as before');
$t->sql_fails(q{SELECT ondatra.update_sync('j1', options => '{"jitter": "soon"}')}, qr/invalid value for option "jitter": "soon".*Use a duration/s, 'jitter is a duration');
$t->sql("SELECT ondatra.drop_sync(name) FROM ondatra.syncs WHERE name LIKE 'j_'");

# --- the launcher survives
my ($launcher) = background_workers($t, 'launcher');
$t->admin("SELECT pg_terminate_backend($launcher)");
$t->poll(sub { my @now = background_workers($t, 'launcher'); @now && $now[0] != $launcher }, 'a launcher that is ended is started again');
$t->sql("SELECT ondatra.trigger_sync(name) FROM ondatra.syncs WHERE name = 'none'");
$t->sql("SELECT ondatra.resume_sync('marker')");
my $count = $t->admin("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'marker'");
$t->poll_sql("SELECT count(*) > $count FROM ondatra.sync_runs WHERE sync_name = 'marker'", 't', 'and goes on working');

# --- retention
$t->sql("SELECT ondatra.pause_sync('marker')");
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'nothing runs');
$t->admin("INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, queued_at, started_at, finished_at) "
    . "SELECT nextval('ondatra.run_ids'), 0, 'gone', 'ann'::regrole, 'succeeded', 'manual', t, t, t FROM generate_series(1, 2500), (SELECT now() - interval '40 days' AS t) x");
$t->admin("UPDATE ondatra.all_runs SET finished_at = now() - interval '50 days' WHERE sync_name = 'still'");
my $last = $t->admin("SELECT last_run_id FROM ondatra.all_syncs WHERE name = 'still'");
$t->run('marker');
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE finished_at < now() - interval '30 days'", '1', 'old runs are deleted');
is($t->admin("SELECT run_id FROM ondatra.sync_runs WHERE sync_name = 'still'"), $last, 'but the last one of a sync');
$t->no_violations;
done_testing;
