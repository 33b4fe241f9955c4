# The limit of open jobs is the destination's: over its syncs, over runs that were cancelled or died, and no longer than the jobs are open.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new(conf => 'restart_after_crash = on');
$t->sql("CREATE TABLE mart.p (id int PRIMARY KEY, v text, poison text, skip bool)");
my %poll = (every_ms => 20, max_ms => 50, done => {path => '/state', equals => 'done'}, failed => {path => '/state', equals => 'failed'}, error => '/why');
my $working = {method => 'GET', path => '^/jobs/j[12]$', answer => {json => {state => 'working'}}};
sub jobs { return $t->state->{jobs} }
sub left { return $t->admin('SELECT count(*) FROM ondatra.jobs') }
sub start { my ($sync) = @_; return $t->sql("SELECT run_id FROM ondatra.run_sync('$sync', wait => false)") }
sub ends { my ($id, $status, $name) = @_; $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", $status, $name); return }
sub waits { my ($id, $name) = @_; $t->poll_sql("SELECT coalesce(throttled_until > now() - interval '2 seconds', false) FROM ondatra.live_runs() WHERE run_id = $id", 't', $name); return }
sub fill { my ($n) = @_; $t->sql("DELETE FROM mart.p; INSERT INTO mart.p SELECT i, clock_timestamp()::text FROM generate_series(1, $n) i"); return }

# At most $open jobs; the API counts, too, where $counts.
sub destination {
    my ($name, $open, $counts, %more) = @_;
    my $upsert = {batch => {rows => 6}, jobs => {open => $open}, %more, steps => [
        {name => 'create', method => 'POST', path => '/jobs', query => {polls => 1, collection => $name, $counts ? (open => $open) : ()}, capture => {id => '/id', upload => '/upload'}},
        {name => 'upload', method => 'PUT', url => '{{job.upload}}', encoding => 'csv'},
        {name => 'close', method => 'PATCH', path => '/jobs/{{job.id}}', body => {state => 'closed'}, fine => [400]},
        {name => 'poll', method => 'GET', path => '/jobs/{{job.id}}', poll => \%poll},
        map { {name => $_->[0], method => 'GET', path => "/jobs/{{job.id}}/$_->[0]", result => {format => 'csv', match => {key => '/id'}, $_->[1] ? (fate => $_->[1]) : ()}} }
            ['accepted'], ['failed', 'refused'], ['unprocessed', 'retry']]};
    $t->destination($name, {object => {upsert => $upsert}, concurrency => 6, retry => {attempts => 3, base_ms => 10, max_ms => 50}});
    return;
}
destination('two', 2, 1);
$t->sync($_, 'mart.p', 'two', options => {in_doubt_wait => '0ms'}) for 'a', 'b';

# --- two syncs at once
fill(60);
$t->script($working);
my $a = start('a');
$t->poll(sub { left() == 2 }, 'one sync has both places');
my $b = start('b');
waits($b, 'the other one waits, and shows it');
is(jobs()->{created}, 2, 'and begins nothing');
destination('other', 2, 0);
$t->sync('elsewhere', 'SELECT id, v FROM mart.p WHERE id < 4', 'other');
is($t->run('elsewhere')->{status}, 'succeeded', 'another destination has places of its own');
$t->script;
ends($_, 'succeeded', 'all of it is delivered') for $a, $b;
cmp_ok(jobs()->{created}, '>=', 20, 'in many jobs');
is(left(), '0', 'none is left');
$t->no_violations;

# --- a run that was cancelled leaves its jobs open
for my $how ('cancel', 'kill') {
    $t->reset_destination;
    fill(24);
    $t->script($working);
    $a = start('a');
    $t->poll(sub { left() == 2 }, "$how: two jobs are open");
    $t->sql("SELECT ondatra.pause_sync('a')"); # nothing goes on with them by itself
    if ($how eq 'kill') {
        kill 'KILL', $t->sql("SELECT pid FROM ondatra.live_runs() WHERE run_id = $a");
        $t->node->poll_query_until('postgres', 'SELECT true');
    } else {
        $t->sql("SELECT ondatra.cancel_run($a)");
    }
    ends($a, $how eq 'kill' ? 'interrupted' : 'cancelled', "$how: their run has ended");
    $b = start('b');
    waits($b, "$how: they are still counted");
    is(jobs()->{created}, 2, "$how: nothing else begins");
    $t->script;
    $t->sql("SELECT ondatra.resume_sync('a')");
    is($t->run('a')->{status}, 'succeeded', "$how: the next run goes on with them");
    ends($b, 'succeeded', "$how: then there is room for others");
    is(left(), '0', "$how: none is left");
    $t->no_violations;
}

# --- a job that nobody can go on with is counted no more
$t->reset_destination;
fill(3);
$t->script({method => 'PUT', path => '/rows$', times => 2, answer => {misbehave => 'hang'}});
destination('one', 1, 0);
$t->sync($_, 'mart.p', 'one', options => {in_doubt_wait => '0ms'}) for 'c', 'd';
my $c = start('c');
$t->poll(sub { $t->state->{hanging} }, 'a job is made and has no rows yet');
my $d = start('d');
waits($d, 'it has the only place');
$t->sql("SELECT ondatra.cancel_run($c)");
ends($c, 'cancelled', 'its run is cancelled');
$t->poll(sub { jobs()->{created} == 2 }, 'the place is free at once');
$t->sql("SELECT ondatra.pause_sync('d')");
kill 'KILL', $t->sql("SELECT pid FROM ondatra.live_runs() WHERE run_id = $d");
$t->node->poll_query_until('postgres', 'SELECT true');
is($t->run('c')->{status}, 'succeeded', 'likewise after a death');

# --- nor one whose time is over
$t->reset_destination;
fill(3);
$t->script($working);
$c = start('c');
$t->poll(sub { left() == 1 }, 'a job is open');
$t->sql("SELECT ondatra.cancel_run($c)");
ends($c, 'cancelled', 'its run is cancelled');
$t->sql("SELECT ondatra.resume_sync('d')");
$d = start('d');
waits($d, 'it is counted');
$t->script;
$t->admin("UPDATE ondatra.jobs SET deadline = now()");
ends($d, 'succeeded', 'until its deadline');
is($t->run('c')->{status}, 'succeeded', 'it is followed all the same');

# --- one place, and jobs that are made from the rows of others: cut, and sent again
fill(12);
$t->sql("UPDATE mart.p SET skip = true WHERE id IN (3, 4, 9); UPDATE mart.p SET poison = 'bad mail' WHERE id = 5");
my $run = $t->run('c');
$t->run_is($run, {status => 'partial', rows_updated => 2, rows_created => 6, rows_failed => 4}, 'rows that were not processed go again, in the same place');
destination('cut', 1, 0, atomic => \1);
$t->sync('cut', 'SELECT id, v FROM mart.p', 'cut');
$t->script({method => 'GET', path => '^/jobs/j\d+$', times => 1, answer => {json => {state => 'failed', why => 'a bad row'}}},
    {method => 'POST', path => '^/jobs$', nth => 3, answer => {status => 503}}, {method => 'PUT', path => '/rows$', nth => 3, answer => {status => 422}});
$t->run_is($t->run('cut'), {status => 'succeeded', rows_created => 12, rows_failed => 0}, 'a job that is cut makes room for its halves');
is(left(), '0', 'none is left');
done_testing;
