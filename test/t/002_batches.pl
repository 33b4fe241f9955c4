# Many rows in one request: encodings, the ways in which an API tells the fate of single rows, lies among them, and bisection.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $n = 0;

# A model of 50 rows of which some are poisoned, a destination whose upsert is %operation, and the run.
sub batch_run {
    my ($name, %args) = @_;
    $t->reset_destination;
    my $sync = 'batch' . ++$n;
    $t->sql("CREATE TABLE mart.$sync (id int PRIMARY KEY, name text, poison text)");
    $t->sql("INSERT INTO mart.$sync SELECT i, 'row ' || i, CASE WHEN i = ANY ('{" . join(',', @{ $args{poisoned} || [] }) . "}') THEN 'bad' END FROM generate_series(1, 50) i");
    my %operation = (method => 'POST', path => '/batch', batch => {rows => 10}, %{ $args{operation} });
    $t->destination($sync, {object => {upsert => \%operation, delete => {method => 'POST', path => '/batch/delete', batch => {rows => 10}, body => ['$each', {id => '{{key}}'}]}}});
    $t->sync($sync, "mart.$sync", $sync, mode => 'mirror', %{ $args{sync} || {} });
    note("--- $name");
    return ($t->run($sync), $sync);
}

my $array = ['$each', '$fields'];
my %by_order = (rows => '/results', match => 'order', ok => {path => '/ok', equals => JSON::PP::true}, error => '/message', code => '/code',
    created => {path => '/new', equals => JSON::PP::true});
my %by_key = (%by_order, match => {key => '/key'});
my %by_errors = (errors => {rows => '/errors', keys => '/key', message => '/message', code => '/code'});
my %by_index = (errors => {rows => '/errors', index => '/index', message => '/message', code => '/code'});

# --- encodings
for my $case (
    ['a bare array', {body => $array}, qr{^application/json}],
    ['rows under a key', {body => {meta => 'x', rows => ['$each', {id => '{{key}}', name => '{{name}}'}]}}, qr{^application/json}],
    ['ndjson', {encoding => 'ndjson', body => $array}, qr{ndjson}],
) {
    my ($name, $operation, $type) = @$case;
    my ($run) = batch_run($name, operation => $operation);
    $t->run_is($run, {status => 'succeeded', rows_created => 50, requests => 5}, "$name: 50 rows in 5 requests");
    is(scalar keys %{ $t->records('records') }, 50, "$name: all are there");
    is($t->records('records')->{17}{name}, 'row 17', "$name: with their fields");
    my ($request) = $t->requests(last => 1);
    like($request->{headers}{'content-type'}, $type, "$name: content type");
    $t->no_violations("$name: nothing wrong");
}

# A form carries one row.
{
    my ($run) = batch_run('form', operation => {path => '/records', encoding => 'form', batch => {rows => 1}, body => {id => '{{key}}', name => '{{name}}', nested => {key => '{{key}}'}}});
    $t->run_is($run, {status => 'succeeded', rows_created => 50, requests => 50}, 'form: a request a row');
    is_deeply($t->records('records')->{17}, {id => '17', name => 'row 17', nested => {key => '17'}}, 'form: bracket nesting, values encoded');
    my ($request) = $t->requests(last => 1);
    like($request->{headers}{'content-type'}, qr{^application/x-www-form-urlencoded}, 'form: content type');
    $t->no_violations('form: nothing wrong');
}

# --- the fate of single rows
for my $case (
    ['by order', {body => $array, query => {result => 'order'}, result => \%by_order}],
    ['by order, 207', {body => $array, query => {result => 'order', partial_status => '207'}, result => \%by_order}],
    ['by key, in another order', {body => $array, query => {result => 'key'}, result => \%by_key}],
    ['by a list of errors with keys', {body => $array, query => {result => 'errors'}, result => \%by_errors}],
    ['by a list of errors with indexes', {body => $array, query => {result => 'index'}, result => \%by_index}],
) {
    my ($name, $operation) = @$case;
    my ($run, $sync) = batch_run($name, operation => $operation, poisoned => [3, 11, 12, 50]);
    $t->run_is($run, {status => 'partial', rows_created => 46, rows_failed => 4, requests => 5}, "$name: 46 delivered, 4 failed, 5 requests");
    my @failed = $t->failed_rows($sync);
    is_deeply([sort { $a <=> $b } map { $_->{key}{id} } @failed], [3, 11, 12, 50], "$name: exactly the refused rows");
    like($failed[0]{error_message}, qr/row is poisoned: bad/, "$name: with their own reason");
    is($failed[0]{error_class}, 'rejected', "$name: rejected");
    $run = $t->run($sync);
    $t->run_is($run, {rows_unchanged => 46, rows_held_back => 4, requests => 0}, "$name: the next run sends nothing");
    $t->sql("UPDATE mart.$sync SET poison = NULL");
    $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_created => 4, rows_unchanged => 46, requests => 1}, "$name: mended rows go out, together");
    $t->no_violations("$name: nothing wrong");
}

# --- bisection: the batch is refused as a whole
{
    my ($run, $sync) = batch_run('bisection', operation => {body => $array, query => {mode => 'atomic'}, atomic => JSON::PP::true}, poisoned => [7, 23, 24]);
    $t->run_is($run, {status => 'partial', rows_created => 47, rows_failed => 3}, 'bisection: only the bad rows fail');
    is_deeply([sort { $a <=> $b } map { $_->{key}{id} } $t->failed_rows($sync)], [7, 23, 24], 'bisection: and these are they');
    cmp_ok($run->{requests}, '<=', 5 + 3 * 2 * 4, 'bisection: in a logarithmic number of requests');
    my %keys;
    $keys{ $_->{headers}{'idempotency-key'} }++ for $t->requests(method => 'POST');
    is(scalar(grep { $_ > 1 } values %keys), 0, 'bisection: every half has a key of its own');
    is($t->state->{repeats}, 0, 'bisection: no row was accepted twice');
    $t->no_violations('bisection: nothing wrong');
}

# Cut only where nothing of the refused batch can have been kept, or keeping it twice does no harm.
{
    my ($run) = batch_run('no bisection', operation => {body => $array, query => {mode => 'atomic'}, idempotent => JSON::PP::false}, poisoned => [7]);
    $t->run_is($run, {rows_created => 40, rows_failed => 10, requests => 5}, 'no bisection: a batch that is neither atomic nor idempotent fails as a whole');
}

# Everything refused: the run stops before it has filled failed_rows.
{
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.wrong AS SELECT i AS id, 'bad' AS poison FROM generate_series(1, 2000) i");
    $t->destination('wrong', {object => {upsert => {method => 'POST', path => '/batch', batch => {rows => 100}, body => $array, query => {mode => 'atomic'}, atomic => JSON::PP::true}}});
    $t->sync('wrong', 'mart.wrong', 'wrong');
    my $run = $t->run('wrong');
    is($run->{status}, 'failed', 'everything refused: the run fails');
    cmp_ok($run->{rows_failed}, '<', 1000, 'and stops before it has tried every row');
    is($run->{rows_failed} + $run->{rows_pending}, 2000, 'the rest is pending');
    ok($run->{error_message}, 'it says why');
}

# --- answers that lie
{
    my ($run, $sync) = batch_run('a short list', operation => {body => $array, query => {result => 'short'}, result => \%by_order});
    is($run->{rows_created}, 0, 'a list of the wrong length is not read by position');
    isnt($run->{status}, 'succeeded', 'and is no success');
    is($t->sql("SELECT string_agg(DISTINCT error_class, ',') FROM ondatra.failed_rows WHERE sync_name = '$sync'"), 'unknown_outcome', 'the outcome is unknown');
    $t->script({answer => {records => JSON::PP::true}});
    $t->sql("SELECT ondatra.update_destination('$sync', options => '" . $t->json_of({object => {upsert => {method => 'POST', path => '/batch', query => {result => 'order'},
        body => $array, batch => {rows => 10}, result => \%by_order}, delete => {method => 'POST', path => '/batch/delete', body => ['$each', {id => '{{key}}'}], batch => {rows => 10}}}}) . "')");
    $run = $t->retry($sync);
    is($run->{rows_created} + $run->{rows_updated}, 50, 'they go out again');
    is($run->{status}, 'succeeded', 'and are delivered when the answer is right');
}
{
    my ($run, $sync) = batch_run('a row missing among keys', operation => {body => $array, query => {result => 'short'}, result => {%by_order, match => {key => '/key'}}});
    $t->run_is($run, {rows_created => 45, rows_failed => 5, status => 'partial'}, 'rows that the answer does not mention are not delivered');
    is($t->sql("SELECT string_agg(DISTINCT error_class, ',') FROM ondatra.failed_rows WHERE sync_name = '$sync'"), 'unknown_outcome', 'their outcome is unknown');
}
{
    my ($run) = batch_run('a stranger', operation => {body => $array, query => {result => 'stranger'}, result => {%by_order, match => {key => '/key'}}});
    $t->run_is($run, {rows_created => 50, rows_failed => 0}, 'a key that was not sent is nobody\'s');
}

# --- deletes in batches; limits of a batch
{
    my ($run, $sync) = batch_run('deletes', operation => {body => $array, query => {max => '7', unique => '1'}, batch => {rows => 7}});
    $t->run_is($run, {status => 'succeeded', rows_created => 50, requests => 8}, 'batches of 7: 8 requests');
    $t->sql("DELETE FROM mart.$sync WHERE id <= 20");
    $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_deleted => 20, rows_unchanged => 30, requests => 2}, '20 deletes in 2 requests');
    is(scalar keys %{ $t->records('records') }, 30, 'they are gone');
    $t->no_violations('no batch was too large');
}
{
    my ($run) = batch_run('bytes', operation => {body => $array, batch => {rows => 50, bytes => 400}});
    is($run->{rows_created}, 50, 'batches limited by bytes: all rows');
    is(scalar(grep { $_->{bytes} > 400 } $t->requests(method => 'POST')), 0, 'and no body is larger');
}
{
    my ($run) = batch_run('batch_size', operation => {body => $array}, sync => {options => {batch_size => 5}});
    is($run->{requests}, 10, 'a sync\'s batch_size makes batches smaller');
}

done_testing();
