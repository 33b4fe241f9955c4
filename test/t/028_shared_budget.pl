# One budget for a destination: rates, concurrency and pauses hold across syncs and runs; who looks sees them.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;
use Time::HiRes qw(time);

my $t = Ondatra::Test->new(conf => 'ondatra.max_destinations = 3');
my $n = 12;
$t->sql("CREATE TABLE mart.t (id int PRIMARY KEY, v int); INSERT INTO mart.t SELECT i, 0 FROM generate_series(1, $n) i");
$t->destination('limited', {rate_limit => ['8/1s', '1000/1h'], concurrency => 2});
$t->sync($_, 'mart.t', 'limited') for qw(one two);

# --- two runs at once under one limit
my $began = time;
my @sessions = map { session($t, 'ann', "SELECT status, rows_created FROM ondatra.run_sync('$_')") } qw(one two);
is((finish($_))[0], "succeeded|$n", 'both deliver everything') for @sessions;
# Not by when requests arrived: on a busy machine some arrive late, and then closer together than they were sent.
cmp_ok(time - $began, '>=', 2, 'together they kept the limit: 24 requests at 8 a second begin over 2 seconds at least');
cmp_ok($t->state->{in_flight_max}, '<=', 2, 'and the concurrency');

# --- what the next run may send counts what the last ones sent
like($t->sql("SELECT tokens_left FROM ondatra.destination_status WHERE name = 'limited'"), qr{^\d of 8/s, 976 of 1000/h$}, 'the hour remembers finished runs');
is($t->sql_as('bob', 'SELECT count(*) FROM ondatra.destination_status'), '0', 'others see nothing');
$t->sql('UPDATE mart.t SET v = 1 WHERE id = 1');
$t->run('one');
like($t->sql("SELECT tokens_left FROM ondatra.destination_status"), qr{975 of 1000/h$}, 'one request, one token');

# --- new limits keep what was used
$t->sql("SELECT ondatra.update_destination('limited', options => '{\"rate_limit\": [\"500/1h\", \"100/1s\"]}')");
$t->sql('UPDATE mart.t SET v = 2 WHERE id = 1');
$t->run('one');
like($t->sql("SELECT tokens_left FROM ondatra.destination_status"), qr{47\d of 500/h, \d+ of 100/s}, 'an edited limit counts what was used');

# --- a 429 pauses the destination for everybody
$t->script({method => 'PUT', times => 1, answer => {status => 429, headers => {'Retry-After' => '3'}}});
$t->sql('UPDATE mart.t SET v = 3 WHERE id = 1');
my $paused = session($t, 'ann', "SELECT status FROM ondatra.run_sync('one')");
$t->poll_sql("SELECT paused_until > now() FROM ondatra.destination_status", 't', 'paused_until shows the pause');
my $from = $t->count_requests;
my $other = session($t, 'ann', "SELECT status FROM ondatra.run_sync('two')");
$t->poll_sql("SELECT count(*) FROM ondatra.run_progress WHERE phase LIKE 'waits %s'", '2', 'both runs are throttled');
is($t->count_requests(status => 200) + $t->count_requests(status => 201), $from - 1, 'neither sends');
is((finish($_))[0], 'succeeded', 'then both go on') for $paused, $other;

# --- a process that dies gives back what it had in flight
$t->script({method => 'PUT', answer => {misbehave => 'hang'}});
$t->sql('UPDATE mart.t SET v = 4');
$t->sql("SELECT status FROM ondatra.run_sync('one', wait => false)");
$t->poll_sql('SELECT in_flight FROM ondatra.destination_status', '2', 'two requests in flight');
$t->sql("SELECT ondatra.pause_sync('two')");
$t->admin('SELECT pg_terminate_backend(pid) FROM ondatra.live_runs()');
$t->script;
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE status = 'interrupted'", '1', 'the run is interrupted');
$t->poll_sql("SELECT in_flight FROM ondatra.destination_status WHERE NOT EXISTS (SELECT FROM ondatra.run_progress)", '0', 'nothing is in flight without a run');

# --- too many destinations
for my $i (1 .. 3) {
    $t->sql("CREATE TABLE mart.d$i (id int PRIMARY KEY); INSERT INTO mart.d$i VALUES ($i)");
    $t->destination("d$i", {rate_limit => '100/1h'});
    $t->sync("d$i", "mart.d$i", "d$i");
}
is($t->run("d$_")->{status}, 'succeeded', "destination $_ of 3") for 1 .. 2;
my $run = $t->run('d3');
is($run->{status}, 'failed', 'one more than ondatra.max_destinations');
like("$run->{error_message} $run->{error_detail}", qr/all 3 destinations.*ondatra\.max_destinations/, 'the setting is named');
$t->no_violations;
done_testing;
