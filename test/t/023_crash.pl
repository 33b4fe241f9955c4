# Processes that die: kill -9, pg_terminate_backend, shutdown. The run is declared interrupted with a reason, and its work is resumed without a person.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;
use Time::HiRes qw(time);

my $t = Ondatra::Test->new(conf => 'restart_after_crash = on');
quick_sync($t, 'a', mode => 'mirror', options => {in_doubt_wait => '1 second'});

# A run that hangs in its first request.
sub hanging_run {
    my ($how) = @_;
    $t->reset_destination;
    $t->script({method => 'PUT', answer => {misbehave => 'hang'}});
    $t->sql("UPDATE mart.a SET v = v || 'x'; SELECT ondatra.trigger_sync('a')");
    $t->poll(sub { $t->state->{hanging} > 0 }, "$how: a run sends and gets no answer");
    return $t->sql("SELECT run_id || ' ' || pid FROM ondatra.live_runs()");
}

# Without a person: the run is recorded, another delivers what it left.
sub recovers {
    my ($how, $run_id, $reason) = @_;
    $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $run_id", 'interrupted', "$how: the run is interrupted");
    like($t->sql("SELECT error_message FROM ondatra.sync_runs WHERE run_id = $run_id"), $reason, "$how: with the reason");
    $t->script;
    $t->poll_sql("SELECT bool_or(trigger = 'recovery') FROM ondatra.sync_runs WHERE run_id > $run_id AND status = 'succeeded'", 't', "$how: a recovery run succeeds");
    my $v = $t->sql('SELECT v FROM mart.a WHERE id = 1');
    $t->poll(sub { my $r = $t->records('contacts'); ($r->{1}{v} // '') eq $v && ($r->{2}{v} // '') eq $v =~ s/^a/b/r }, "$how: what was in doubt has arrived");
    $t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', "$how: then nothing runs");
    $t->check_counts($run_id);
    $t->no_violations("$how: nothing wrong");
    return;
}

# --- a run worker is ended by an administrator
my ($run_id, $pid) = split / /, hanging_run('pg_terminate_backend');
$t->admin("SELECT pg_terminate_backend($pid)");
recovers('pg_terminate_backend', $run_id, qr/due to administrator command/);

# --- a run worker dies, and with it the whole server
($run_id, $pid) = split / /, hanging_run('kill -9');
kill 'KILL', $pid;
$t->node->poll_query_until('postgres', 'SELECT true');
recovers('kill -9', $run_id, qr/the server was stopped or crashed/);

# --- fast shutdown does not wait for the destination
($run_id, $pid) = split / /, hanging_run('fast shutdown');
my $began = time;
$t->node->stop('fast');
note(sprintf 'fast shutdown took %.2f s', time - $began);
ok(!kill(0, $pid), 'fast shutdown: the run has ended');
$t->node->start;
recovers('fast shutdown', $run_id, qr/the server was stopped or crashed|due to administrator command/);

# --- a waiter is told
$t->script({method => 'PUT', answer => {misbehave => 'hang'}});
$t->sql("INSERT INTO mart.a VALUES (3, 'y')");
my $waiter = session($t, 'ann', "SELECT status, error_code FROM ondatra.run_sync('a')");
$t->poll(sub { $t->state->{hanging} > 0 }, 'a run with a waiter sends');
$t->admin('SELECT pg_terminate_backend(pid) FROM ondatra.live_runs()');
$t->script;
my ($out) = finish($waiter);
is($out, 'interrupted|57P01', 'whoever waits for a run that dies gets its row');
$t->poll(sub { ($t->records('contacts')->{3}{v} // '') eq 'y' }, 'and the work is resumed');

# --- a crash loop is no loop
is($t->admin("SELECT count(*) FROM ondatra.all_runs WHERE sync_name = 'a' AND finished_at IS NULL"), '0', 'no row is left open');
$t->admin("UPDATE ondatra.all_syncs SET next_run_at = NULL");
$t->admin("INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, queued_at, started_at, finished_at) "
    . "SELECT nextval('ondatra.run_ids'), sync_id, name, owner, 'interrupted', 'recovery', now(), now(), now() FROM ondatra.all_syncs, generate_series(1, 8)");
my $last = $t->admin('SELECT max(run_id) FROM ondatra.all_runs');
$t->sql("SELECT ondatra.trigger_sync('a')");
quick_sync($t, 'b');
$t->sql("SELECT ondatra.trigger_sync('b')");
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'b' AND status = 'succeeded'", '1', 'the scheduler works');
is($t->admin("SELECT count(*) FROM ondatra.all_runs WHERE sync_name = 'a' AND run_id > $last"), '0', 'after eight interrupted runs the next one waits');
is($t->run('a')->{status}, 'succeeded', 'a person need not');
$t->sql("SELECT ondatra.trigger_sync('a')");
$t->poll_sql("SELECT trigger FROM ondatra.sync_runs WHERE sync_name = 'a' AND status = 'succeeded' AND run_id > $last ORDER BY run_id DESC LIMIT 1", 'manual',
    'and a run that got through ends the delay');
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'nothing runs');
$t->no_violations;
done_testing;
