# Throttling and outages: Retry-After, rate windows counted at the server, concurrency, the breaker, and the state `error`.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $t = Ondatra::Test->new;
my $true = JSON::PP::true;
my $n = 0;

sub setup {
    my ($rows, $options, %sync) = @_;
    $t->reset_destination;
    my $name = 'r' . ++$n;
    $t->sql("CREATE TABLE mart.$name AS SELECT i AS id, 1 AS seq FROM generate_series(1, $rows) i");
    $t->destination($name, $options);
    $t->sync($name, "mart.$name", $name, %sync);
    return $name;
}

# Seconds between the answer to one request and the arrival of the next one of the path.
sub gap {
    my ($path) = @_;
    my @two = $t->requests(path => $path);
    return $two[1]{at} - $two[0]{answered_at};
}

# --- Retry-After
for my $case (['seconds', {'Retry-After' => '1'}, 429], ['a date', {'Retry-After-Date' => 2}, 429], ['with 503', {'Retry-After' => '1'}, 503]) {
    my ($name, $headers, $status) = @$case;
    my $sync = setup(1, {});
    $t->script({path => '^/contacts/', times => 1, answer => {status => $status, headers => $headers, json => {message => 'slow down'}}});
    my $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_created => 1, requests => 2, retries => 1}, "Retry-After, $name: tried again within the run");
    # A date has whole seconds: 2 seconds ahead is at least one second.
    cmp_ok(gap('^/contacts/1$'), '>=', 0.95, "Retry-After, $name: not before it said");
    $t->no_violations("Retry-After, $name: nothing wrong");
}

# A 429 pauses the destination for all: with one in flight at a time nothing arrives in the pause.
{
    my $sync = setup(10, {concurrency => 1});
    $t->script({path => '^/contacts/', nth => 3, answer => {status => 429, headers => {'Retry-After' => '1'}}});
    my $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_created => 10, requests => 11}, 'a 429 among ten rows');
    my @all = $t->requests;
    cmp_ok($all[3]{at} - $all[2]{answered_at}, '>=', 0.95, 'pauses the destination');
}

# 408, 425, 5xx are tried again; 400 and 404 are not.
for my $status (408, 425, 500, 502, 503, 504) {
    my $sync = setup(1, {});
    $t->script({path => '^/contacts/', times => 1, answer => {status => $status}});
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 1, retries => 1}, "$status is tried again");
    $t->no_violations;
}
for my $status (400, 404, 405, 409, 413, 422) {
    my $sync = setup(1, {});
    $t->script({path => '^/contacts/', answer => {status => $status, json => {message => "status $status it is"}}});
    $t->run_is($t->run($sync), {status => 'failed', rows_failed => 1, requests => 1, retries => 0}, "$status is final");
    my ($failed) = $t->failed_rows($sync);
    is("$failed->{error_class} $failed->{http_status}", "rejected $status", "$status: rejected");
    like($failed->{error_message}, qr/status $status it is/, "$status: with the server's words");
}

# A row that stays throttled or unavailable is recorded as such, with a time for the next attempt.
for my $case ([429, 'throttled'], [503, 'unavailable|unknown_outcome']) {
    my ($status, $class) = @$case;
    my $sync = setup(1, {retry => {attempts => 2, base_ms => 5, max_ms => 10}});
    $t->script({path => '^/contacts/', answer => {status => $status}});
    my $run = $t->run($sync);
    is($run->{status}, 'failed', "only $status: the run fails");
    my @failed = $t->failed_rows($sync);
    cmp_ok(scalar @failed, '==', $run->{rows_failed}, "only $status: recorded");
    like($failed[0]{error_class}, qr/^($class)$/, "only $status: class") if @failed;
    ok(defined $failed[0]{next_attempt_at}, "only $status: goes out again by itself later") if @failed;
    is($run->{requests}, 2, "only $status: as many attempts as allowed");
}

# max_attempts: after that many runs it waits for a person.
{
    my $sync = setup(1, {retry => {attempts => 1}}, options => {max_attempts => 1, error_after => 100});
    $t->script({path => '^/contacts/', answer => {status => 429}});
    $t->run($sync);
    my ($failed) = $t->failed_rows($sync);
    is($failed->{next_attempt_at}, undef, 'max_attempts reached: the row waits for a person');
    $t->run_is($t->run($sync), {rows_held_back => 1, requests => 0}, 'and is held back');
}

# --- rates: what the destination saw. On a busy machine requests arrive late, and then close together, but never before their turn, counted from
# before the run: the first ones of a window at once, the next ones a window later, and so on.
sub early {
    my ($began, $seconds, $limit) = @_;
    my $i = 0;
    return scalar grep { $_ - $began < $seconds * int($i++ / $limit) } sort { $a <=> $b } map { $_->{at} } $t->requests;
}

for my $case (['one window', ['10/1s'], [1, 10]], ['two windows', ['8/1s', '3/200ms'], [1, 8], [0.2, 3]]) {
    my ($name, $limits, @windows) = @$case;
    my $sync = setup(30, {rate_limit => $limits, concurrency => 8});
    my $began = clock_gettime(CLOCK_MONOTONIC);
    my $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_created => 30, requests => 30}, "rate limit, $name: everything arrives");
    is(early($began, @$_), 0, "rate limit, $name: $_->[1] requests in $_->[0] s, none before its turn") for @windows;
    cmp_ok($run->{throttled_ms}, '>', 0, "rate limit, $name: the run says that it waited");
}

# Two syncs of one destination at once share its windows.
{
    my $first = setup(15, {rate_limit => '10/1s', concurrency => 4});
    $t->sql('CREATE TABLE mart.second AS SELECT i + 100 AS id FROM generate_series(1, 15) i');
    $t->sync('second', 'mart.second', $first);
    my $last = $t->sql('SELECT max(run_id) FROM ondatra.sync_runs');
    my $began = clock_gettime(CLOCK_MONOTONIC);
    $t->sql("SELECT ondatra.trigger_sync('$first'), ondatra.trigger_sync('second')");
    $t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE run_id > $last AND status = 'succeeded' AND rows_created = 15", '2', 'two syncs of one destination, at once');
    is($t->count_requests, 30, 'all their requests came');
    is(early($began, 1, 10), 0, 'in windows that they share');
    $t->check_counts($_) for split /\n/, $t->sql("SELECT run_id FROM ondatra.sync_runs WHERE run_id > $last");
}

# --- concurrency
{
    my $sync = setup(20, {concurrency => 3});
    $t->script({path => '^/contacts/', answer => {records => $true, delay_ms => 30}});
    is($t->run($sync)->{rows_created}, 20, 'concurrency 3');
    is($t->state->{in_flight_max}, 3, 'three requests in flight, never more');
    my %connections = map { $_->{connection} => 1 } $t->requests;
    cmp_ok(scalar keys %connections, '<=', 4, 'over connections that are used again');
}
{
    my $sync = setup(10, {concurrency => 8}, options => {concurrency => 1});
    $t->script({path => '^/contacts/', answer => {records => $true, delay_ms => 10}});
    is($t->run($sync)->{rows_created}, 10, 'a sync\'s own concurrency');
    is($t->state->{in_flight_max}, 1, 'is below the destination\'s');
}

# While requests hang, no transaction and no snapshot is held.
{
    my $sync = setup(2, {});
    $t->script({path => '^/contacts/', answer => {misbehave => 'hang', apply => $true}});
    $t->sql("SELECT ondatra.trigger_sync('$sync')");
    $t->poll(sub { $t->state->{hanging} == 2 }, 'two requests hang');
    is($t->admin("SELECT count(*) || ' ' || count(backend_xmin) || ' ' || count(backend_xid) FROM pg_stat_activity WHERE backend_type = 'ondatra run'"), '1 0 0',
        'the run holds no snapshot and no transaction meanwhile');
    is($t->sql("SELECT status FROM ondatra.sync_runs WHERE sync_name = '$sync'"), 'running', 'the run is seen running');
    $t->release;
    $t->poll_sql("SELECT count(*) > 0 FROM ondatra.sync_runs WHERE sync_name = '$sync' AND status = 'succeeded' AND rows_created = 2", 't', 'released, the run succeeds');
    is($t->state->{records}, 2, 'and each row went once');
}

# --- an outage: the breaker, the rest pending, and back
{
    my $sync = setup(500, {concurrency => 2, retry => {attempts => 1}});
    $t->script({path => '^/contacts/', answer => {status => 503}});
    my $run = $t->run($sync);
    is($run->{status}, 'failed', 'an outage: the run fails');
    cmp_ok($run->{requests}, '<', 100, 'after a few requests, not after all');
    cmp_ok($run->{rows_pending}, '>', 300, 'the rest is pending');
    like("$run->{error_message} " . ($run->{error_detail} // ''), qr/503/, 'and it says what it met');
    $t->script({rules => []});
    $run = $t->retry($sync);
    is($run->{status}, 'succeeded', 'the outage is over');
    is($run->{rows_created} + $run->{rows_updated}, 500, 'all rows are delivered');
    is($t->state->{records}, 500, 'and there');
    $t->no_violations;
}

# --- credentials
{
    my $sync = setup(200, {});
    $t->script({path => '^/contacts/', answer => {status => 401, json => {message => 'token expired'}}});
    my $run = $t->run($sync);
    is($run->{status}, 'failed', '401: the run fails');
    cmp_ok($run->{requests}, '<', 20, 'at once');
    is($run->{rows_failed} + $run->{rows_pending}, 200, 'no row is forgotten');
    like(($run->{error_message} // '') . ($run->{error_detail} // ''), qr/401|token expired/, 'it says why');
    is($t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'"), 'error', 'the sync is in state error');
    ok($t->sql("SELECT length(state_reason) > 0 FROM ondatra.syncs WHERE name = '$sync'") eq 't', 'with a reason');
    $t->script({rules => []});
    $t->sql("SELECT ondatra.resume_sync('$sync')");
    is($t->retry($sync)->{status}, 'succeeded', 'resume_sync, and it goes on');
    is($t->state->{records}, 200, 'all rows are there');
}
{
    my $sync = setup(1, {});
    $t->sql("SELECT ondatra.update_destination('$sync', auth => '{\"type\": \"bearer\", \"token\": {\"secret\": \"missing\"}}')");
    my $run = $t->run($sync);
    is($run->{status}, 'failed', 'a secret that does not exist: the run fails');
    like(($run->{error_message} // '') . ($run->{error_detail} // ''), qr/missing/, 'it names the secret');
    is($t->count_requests, 0, 'and nothing is sent bare');
    is($t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'"), 'error', 'the sync stops');
    $t->sql("SELECT ondatra.set_secret('missing', 'here it is')");
    $t->poll_sql("SELECT state <> 'error' FROM ondatra.syncs WHERE name = '$sync'", 't', 'set_secret releases it');
    is($t->run($sync)->{status}, 'succeeded', 'and it runs');
    my ($request) = $t->requests(path => '^/contacts/');
    is($request->{headers}{authorization}, 'Bearer here it is', 'with the credential');
}

# --- error_after: runs in a row that an error has stopped
{
    my $sync = setup(100, {retry => {attempts => 1}}, options => {error_after => 2});
    $t->script({path => '^/contacts/', answer => {status => 503}});
    $t->run($sync);
    isnt($t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'"), 'error', 'one failed run is no reason to stop');
    $t->retry($sync);
    is($t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'"), 'error', 'error_after = 2: the second is');
    my ($status) = $t->rows("SELECT * FROM ondatra.sync_status WHERE name = '$sync'");
    is($status->{state}, 'error', 'sync_status shows it');
}
done_testing();
