# Quotas of an hour and longer: leased before use, so a stop, a crash and a dead process forget nothing.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql('CREATE TABLE mart.t (id int PRIMARY KEY, v int); INSERT INTO mart.t SELECT i, 0 FROM generate_series(1, 30) i');
$t->destination('api', {rate_limit => ['100/1d', '1000/1s']});
$t->sync('s', 'mart.t', 'api');

sub left { return $t->sql('SELECT tokens_left FROM ondatra.destination_status') =~ m{(\d+) of 100/d} ? $1 : '' }

is($t->run('s')->{status}, 'succeeded', 'thirty rows, a request each');
is(left(), 70, 'seventy of a hundred are left');
is($t->admin("SELECT sum(requests) BETWEEN 30 AND 40 FROM ondatra.quota_leases WHERE window_us = 86400000000"), 't', 'what was used is on disk');
is($t->admin('SELECT count(*) FROM ondatra.quota_leases WHERE window_us < 3600000000'), '0', 'short windows are not');

# --- stop and crash
for my $mode (qw(fast immediate)) {
    my $before = left() || 70;
    $t->node->stop($mode);
    $t->node->start;
    $t->sql("UPDATE mart.t SET v = v + 1 WHERE id = 1");
    is($t->run('s')->{rows_updated}, 1, "after a stop ($mode) a run sends one more");
    cmp_ok(left(), '<', $before, "$mode: what was used before counts");
    cmp_ok(left(), '>=', $before - 6, "$mode: at most a lease more");
}

# --- the quota holds across it
$t->sql('INSERT INTO mart.t SELECT i, 0 FROM generate_series(31, 200) i');
my $run = session($t, 'ann', "SELECT status FROM ondatra.run_sync('s')");
$t->poll(sub { left() eq '0' || !is_running($run) }, 'the quota is used up');
$t->node->restart;
finish($run);
$t->admin("UPDATE ondatra.all_syncs SET state = 'paused'");
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'nothing runs');
my $again = session($t, 'ann', "SELECT status FROM ondatra.run_sync('s', timeout => '2 seconds')");
finish($again);
cmp_ok($t->count_requests(method => 'PUT'), '<=', 100, 'a restart does not make a new day');
cmp_ok($t->count_requests(method => 'PUT'), '>=', 80, 'nor waste the rest of it');
$t->sql('SELECT ondatra.cancel_run(run_id) FROM ondatra.run_progress');
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'a run that waits for tomorrow can be cancelled');
$t->no_violations;
done_testing;
