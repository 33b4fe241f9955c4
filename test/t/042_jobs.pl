# Asynchronous jobs: create, upload, close, poll, read results; what they say row by row; what a death or a cancel leaves between any two steps.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new(conf => 'restart_after_crash = on');
$t->sql(q{CREATE TABLE mart.p (id int PRIMARY KEY, v text, poison text, skip bool); INSERT INTO mart.p SELECT i, 'a' || i FROM generate_series(1, 6) i});
my %poll = (every_ms => 20, max_ms => 100, done => {path => '/state', equals => 'done'}, failed => {path => '/state', equals => 'failed'}, error => '/why');
sub object { my ($name, $upsert, %options) = @_; return $t->destination($name, {object => {upsert => $upsert}, concurrency => 3, %options}) }
sub calls { return join ' ', map { my ($m, $p) = @$_{qw(method path)}; $p =~ s{j\d+}{j}; "$m $p" } @{ $t->control('GET', 'requests?path=%5E/')->{requests} } }
sub jobs { return $t->state->{jobs} }
sub failures { return join ', ', map { "$_->{key}{id} $_->{error_class} $_->{operation}" } $t->failed_rows($_[0]) }
sub state_of { my ($sync) = @_; return 'ondatra.state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = '$sync'") }
sub open_jobs { return $t->admin('SELECT count(*) FROM ondatra.jobs') }

# --- rows in the first request, results by index in the last poll
my $create = {name => 'create', method => 'POST', path => '/jobs', query => {polls => 2}, body => {items => ['$each', '$fields']}, capture => {id => '/id'}};
my $watch = {name => 'poll', method => 'GET', path => '/jobs/{{job.id}}', poll => \%poll};
my $by_index = {rows => '/results', match => {index => '/index'}, ok => {path => '/ok', equals => \1}, id => '/id', error => '/message'};
$t->sql(q{UPDATE mart.p SET poison = 'bad mail' WHERE id = 2});
object('many', {batch => {rows => 4}, steps => [$create, {%$watch, result => $by_index}]});
$t->sync('many', 'mart.p', 'many');
my $run = $t->run('many');
$t->run_is($run, {status => 'partial', rows_created => 5, rows_failed => 1, rows_unconfirmed => 0, requests => 8}, 'two jobs, each polled until it is done');
is_deeply([jobs()->{created}, open_jobs()], [2, '0'], 'both are done, and none is remembered');
is(($t->failed_rows('many'))[0]{error_message}, 'row is poisoned: bad mail', 'a row that failed has its reason');
is($t->sql('SELECT string_agg(_remote_id, $$ $$ ORDER BY k1) FROM ' . state_of('many')), 'r1 r3 r4 r5 r6', 'the others their ids');
is($t->count_requests(method => 'GET', path => '^/jobs/j1$'), 3, 'it was asked until it was done');
is($t->run('many')->{requests}, 0, 'then nothing is left to do');

# --- 202 and a Location, errors elsewhere, asked for only where there are any
$t->reset_destination;
$t->sql(q{UPDATE mart.p SET v = v || 'b'});
my $klaviyo = {batch => {rows => 10}, steps => [
    {name => 'create', method => 'POST', path => '/jobs', body => {items => ['$each', '$fields']}, capture => {url => {header => 'Location'}}},
    {name => 'poll', method => 'GET', url => '{{job.url}}', poll => \%poll, capture => {errors => '/errors'}},
    {name => 'errors', method => 'GET', url => '{{job.errors}}', when => {path => '/errors', absent => \0}, result => {errors => {rows => '/errors', key => '/key', message => '/message'}}}]};
object('elsewhere', $klaviyo);
$t->sync('elsewhere', 'mart.p', 'elsewhere');
my @location = ({method => 'POST', path => '^/jobs$', answer => {apply => \1, status => 202, headers => {Location => '/jobs/j1'}, json => {}}});
$t->script(@location, {method => 'GET', path => '^/jobs/j1$', nth => 2, answer => {json => {state => 'done', errors => $t->url . '/jobs/j1/errors'}}},
    {method => 'GET', path => '^/jobs/j1/errors$', answer => {json => {errors => [{key => 2, message => 'bad mail'}]}}});
$t->run_is($t->run('elsewhere'), {status => 'partial', rows_created => 5, rows_failed => 1, requests => 4}, 'who is not among the errors was accepted');
is(calls(), 'POST /jobs GET /jobs/j GET /jobs/j GET /jobs/j/errors', 'step by step');
$t->reset_destination;
$t->sql(q{UPDATE mart.p SET v = v || 'b' WHERE id > 2});
$t->script(@location);
$t->run_is($t->run('elsewhere'), {status => 'succeeded', rows_updated => 4, rows_failed => 0, rows_held_back => 1}, 'without errors all are');
unlike(calls(), qr/errors/, 'and nobody asks for them');
$t->reset_destination;
$t->sql(q{UPDATE mart.p SET v = v || 'b' WHERE id = 3});
$t->script({method => 'POST', path => '^/jobs$', answer => {apply => \1, status => 202, headers => {Location => 'http://elsewhere.example.com/jobs/j1'}}});
$t->run_is($t->run('elsewhere'), {status => 'failed', rows_failed => 1, requests => 1}, 'a URL at a host that nobody declared is not followed');
like(($t->failed_rows('elsewhere'))[1]{error_message}, qr/cannot go on with "poll": the URL is at another host: elsewhere.example.com/, 'and says so');
is(($t->failed_rows('elsewhere'))[1]{error_class}, 'unknown_outcome', 'the row may be there');

# --- errors in several pages
$t->reset_destination;
my @paged = @{ $klaviyo->{steps} };
$paged[2] = {%{ $paged[2] }, next => {url => '/next'}};
object('paged', {batch => {rows => 10}, steps => \@paged});
$t->sync('paged', 'SELECT id, v FROM mart.p', 'paged');
my @pages = (@location, {method => 'GET', path => '^/jobs/j1$', answer => {json => {state => 'done', errors => '/jobs/j1/errors?page=1'}}});
sub page { my ($number, $next, @keys) = @_; return {method => 'GET', path => '/errors', query => {page => "$number"}, answer => {json => {errors => [map { {key => $_, message => "bad $_"} } @keys], next => $next}}} }
$t->script(@pages, page(1, '/jobs/j1/errors?page=2', 1), page(2, '/jobs/j1/errors?page=3', 2, 3), page(3, undef, 5));
$t->run_is($t->run('paged'), {status => 'partial', rows_created => 2, rows_failed => 4, requests => 5}, 'errors in three pages');
is(failures('paged'), '1 rejected create, 2 rejected create, 3 rejected create, 5 rejected create', 'each page counts');
$t->sql(q{UPDATE mart.p SET v = v || 'c'});
$t->script(@pages, page(1, '/jobs/j1/errors?page=2', 1), page(2, '/jobs/j1/errors?page=1', 2));
$t->run_is($t->run('paged'), {status => 'failed', rows_failed => 6}, 'pages in a circle');
like(($t->failed_rows('paged'))[3]{error_message}, qr/does not tell all: the list goes in circles/, 'leave no row accepted');

# --- only counts
$t->reset_destination;
object('counted', {batch => {rows => 10}, steps => [$create, {%$watch, result => {counts => {accepted => '/accepted', failed => ['/failed', '/unprocessed']}}}]});
$t->sync('counted', 'SELECT id, v FROM mart.p', 'counted');
$t->run_is($t->run('counted'), {status => 'succeeded', rows_created => 6, rows_unconfirmed => 6}, 'counts confirm no single row');
$t->script({method => 'GET', path => '^/jobs/', answer => {json => {state => 'done', accepted => 5, failed => 1, unprocessed => 0}}});
$t->sql("UPDATE mart.p SET v = v || 'c'");
$t->run_is($t->run('counted'), {status => 'failed', rows_failed => 6, rows_updated => 0}, 'nor which one failed');

# --- create, CSV at a URL that the answer names, close, poll, three results in CSV
$t->reset_destination;
sub listed { my ($name, %result) = @_; return {name => $name, method => 'GET', path => "/jobs/{{job.id}}/$name", result => {format => 'csv', match => {key => '/id'}, %result}} }
my $bulk = {batch => {rows => 10_000}, jobs => {open => 2, timeout_ms => 60_000}, steps => [
    {name => 'create', method => 'POST', path => '/jobs', query => {open => 2, polls => 1}, capture => {id => '/id', upload => '/upload'}},
    {name => 'upload', method => 'PUT', url => '{{job.upload}}', encoding => 'csv'},
    {name => 'close', method => 'PATCH', path => '/jobs/{{job.id}}', body => {state => 'closed'}, fine => [400]},
    {name => 'poll', method => 'GET', path => '/jobs/{{job.id}}', poll => \%poll},
    listed('accepted', id => '/_id', created => {path => '/_new', equals => 'true'}), listed('failed', fate => 'refused', error => '/_error'), listed('unprocessed', fate => 'retry')]};
object('bulk', $bulk);
$t->sql(q{UPDATE mart.p SET v = '"quoted", and ' || id WHERE id = 1; UPDATE mart.p SET skip = true WHERE id = 3; UPDATE mart.p SET v = NULL WHERE id = 4; UPDATE mart.p SET v = '' WHERE id = 5});
$t->sync('bulk', 'mart.p', 'bulk', options => {max_attempts => 20});
is($t->sql("SELECT string_agg(operation || ' ' || method || ' ' || replace(url, '" . $t->url . "', ''), ', ' ORDER BY request) FROM ondatra.preview_sync('bulk')"),
    'create: create POST /jobs?open=2&polls=1, create: upload PUT {job.upload}, create: close PATCH /jobs/{job.id}, create: poll GET /jobs/{job.id}, '
    . 'create: accepted GET /jobs/{job.id}/accepted, create: failed GET /jobs/{job.id}/failed, create: unprocessed GET /jobs/{job.id}/unprocessed', 'preview shows the steps');
like($t->sql("SELECT body FROM ondatra.preview_sync('bulk') WHERE operation = 'create: upload'"), qr/^id,v,poison,skip\n(?=.*^1,"""quoted"", and 1",,\n)(?=.*^2,\w+,bad mail,\n)(?=.*^3,\w+,,true\n)(?=.*^4,,,\n)(?=.*^5,"",,\n)/ms, 'and the CSV');
$run = $t->run('bulk');
$t->run_is($run, {status => 'partial', rows_created => 4, rows_failed => 2, rows_unconfirmed => 0}, 'three results, one fate each');
is(failures('bulk'), '2 rejected create, 3 throttled create', 'failed, and not processed in any try');
is($t->records('rows')->{1}{v}, '"quoted", and 1', 'what was quoted arrives as it was');
is_deeply([@{ jobs() }{qw(created closed open)}, open_jobs()], [3, 3, 0, '0'], 'rows that were not processed went out again in jobs of their own');

# --- two open at once at most
$t->reset_destination;
$t->sql("UPDATE mart.p SET poison = NULL, skip = NULL; INSERT INTO mart.p SELECT i, 'x' || i FROM generate_series(7, 60) i");
$t->sql(q{SELECT ondatra.update_sync('bulk', options => '{"batch_size": 6}')});
$run = $t->run('bulk');
is($run->{status}, 'succeeded', 'many jobs');
cmp_ok(jobs()->{created}, '>=', 9, 'one after the other');
is(jobs()->{open_max}, 2, 'never more than two at once');
$t->no_violations;

# --- ten thousand rows in one job
$t->reset_destination;
$t->sql(q{CREATE TABLE mart.many AS SELECT i AS id, 'row ' || i AS v FROM generate_series(1, 12000) i});
$t->sync('large', 'mart.many', 'bulk');
$t->run_is($t->run('large'), {status => 'succeeded', rows_created => 12000, rows_failed => 0}, 'twelve thousand rows');
is(jobs()->{created}, 2, 'in two jobs');
is(scalar keys %{ $t->records('rows') }, 12000, 'all are there');

# --- lies: an index that nobody has, a list that is too short, a row that is missing
$t->sql('DELETE FROM mart.p WHERE id > 6');
$t->reset_destination;
sub says { my (%answer) = @_; return {method => 'GET', path => '^/jobs/', answer => {json => {state => 'done', %answer}}} }
object('order', {batch => {rows => 10}, steps => [$create, {%$watch, result => {rows => '/results', match => 'order', ok => {path => '/ok', equals => \1}}}]});
$t->sync('order', 'SELECT id, v FROM mart.p', 'order');
$t->script(says(results => [map { {ok => \1} } 1 .. 5]));
$t->run_is($t->run('order'), {status => 'failed', rows_failed => 6, rows_created => 0}, 'a list of the wrong length is nobody\'s');
like(($t->failed_rows('order'))[0]{error_message}, qr/5 results for 6 rows/, 'and says so');
object('indexed', {batch => {rows => 10}, steps => [$create, {%$watch, result => $by_index}]});
$t->sync('indexed', 'SELECT id, v FROM mart.p', 'indexed');
$t->script(says(results => [map { {index => $_, ok => \1} } 0, 1, 2, 4, 5, 77]));
$t->run_is($t->run('indexed'), {status => 'partial', rows_failed => 1, rows_created => 5}, 'a row that is not mentioned is not delivered');
like(failures('indexed'), qr/^\d unknown_outcome create$/, 'it may be there');
like(($t->failed_rows('indexed'))[0]{error_message}, qr/^the results of job j\d+ do not mention the row$/, 'and the job is named');

# --- a job that fails, one that never ends, one that is gone
$t->script({method => 'GET', path => '^/jobs/', answer => {json => {state => 'failed', why => 'out of paper'}}});
$t->sync('failing', 'SELECT id, v FROM mart.p WHERE id < 3', 'indexed');
$t->run_is($t->run('failing'), {status => 'failed', rows_failed => 2}, 'a failed job delivers nothing');
like(($t->failed_rows('failing'))[0]{error_message}, qr/^job j\d+ has failed: out of paper$/, 'and says why');
is(failures('failing'), '1 unknown_outcome create, 2 unknown_outcome create', 'what it did before nobody knows');
object('atomic', {batch => {rows => 10}, atomic => \1, steps => [$create, {%$watch, result => $by_index}]});
$t->script({method => 'POST', path => '^/jobs$', body_contains => 'a3bb', answer => {apply => \1, json => {id => 'bad'}}}, {method => 'GET', path => '^/jobs/bad', answer => {json => {state => 'failed', why => 'row is bad'}}});
$t->sync('atomic', 'SELECT id, coalesce(v, $$$$) AS v FROM mart.p WHERE id < 5', 'atomic');
$t->sql("UPDATE mart.p SET v = 'a3bb' WHERE id = 3");
$t->run_is($t->run('atomic'), {status => 'partial', rows_failed => 1, rows_created => 3}, 'one that did nothing at all is cut until the bad row stands alone');
is(failures('atomic'), '3 rejected create', 'which is rejected');
object('endless', {batch => {rows => 10}, jobs => {timeout_ms => 1000}, steps => [$create, {%$watch, result => $by_index}]});
$t->script({method => 'GET', path => '^/jobs/', answer => {json => {state => 'working'}}});
$t->sync('endless', 'SELECT id, v FROM mart.p WHERE id < 3', 'endless');
$t->run_is($t->run('endless'), {status => 'failed', rows_failed => 2}, 'a job that does not end is given up');
like(($t->failed_rows('endless'))[0]{error_message}, qr/^job j\d+ did not end within 1 seconds$/, 'and says so');
is(open_jobs(), '0', 'nobody asks for it again');
$t->script({method => 'GET', path => '^/jobs/', answer => {status => 404, json => {error => 'no such job'}}});
$t->sync('gone', 'SELECT id, v FROM mart.p WHERE id < 3', 'indexed');
$t->run_is($t->run('gone'), {status => 'failed', rows_failed => 2}, 'a job that is gone');
is(failures('gone'), '1 unknown_outcome create, 2 unknown_outcome create', 'rejects no row');
like(($t->failed_rows('gone'))[0]{error_message}, qr/^job j\d+ does not tell what became of the row: "poll" was refused \(HTTP 404\): no such job$/, 'and says so');
$t->script({method => 'GET', path => '^/jobs/', times => 2, answer => {misbehave => 'close'}}, {method => 'GET', path => '^/jobs/', times => 1, answer => {status => 503}});
object('patient', {batch => {rows => 10}, steps => [$create, {%$watch, result => $by_index}]}, retry => {attempts => 5, base_ms => 10, max_ms => 50});
$t->sync('patient', 'SELECT id, v FROM mart.p WHERE id < 3', 'patient');
$t->run_is($t->run('patient'), {status => 'succeeded', rows_created => 2, retries => 3}, 'a poll that gets no answer is asked again');
$t->script({method => 'POST', path => '^/jobs$', answer => {status => 400, json => {error => 'no such object'}}});
$t->sql("UPDATE mart.p SET v = 'new' WHERE id < 3");
$run = $t->run('bulk');
is(failures('bulk'), '1 unavailable update, 2 unavailable update, 3 unavailable update', 'a job that cannot be made rejects no row');
like(($t->failed_rows('bulk'))[0]{error_message}, qr/"create" was refused: no such object/, 'and says so');

# --- between any two steps: killed, or cancelled
$t->reset_destination;
$t->sql(q{DELETE FROM mart.p; INSERT INTO mart.p SELECT i, 'k' || i FROM generate_series(1, 4) i});
$t->sync('crash', 'SELECT id, v FROM mart.p', 'bulk', options => {in_doubt_wait => '0ms'});
$t->run_is($t->run('crash'), {status => 'succeeded', rows_created => 4}, 'before');
my @steps = (
    # step, its request, whether it is done there, and whether the job can be taken up again
    ['create', 'POST', '^/jobs$', 1, 0], ['upload', 'PUT', '/rows$', 1, 0], ['close', 'PATCH', '^/jobs/', 0, 1], ['close', 'PATCH', '^/jobs/', 1, 1],
    ['poll', 'GET', '^/jobs/j\d+$', 0, 1], ['accepted', 'GET', '/accepted$', 0, 1], ['failed', 'GET', '/failed$', 0, 1], ['unprocessed', 'GET', '/unprocessed$', 0, 1]);
my $n = 0;
for my $how ('kill', 'cancel') {
    for my $step (@steps) {
        my ($name, $method, $path, $applied, $resumed) = @$step;
        my $what = "$how at $name" . ($applied ? ', which was done' : '');

        $n++;
        $t->reset_destination;
        $t->script({method => $method, path => $path, times => 1, answer => {misbehave => 'hang', $applied ? (apply => \1) : ()}});
        $t->sql("UPDATE mart.p SET v = 'v$n.' || id");
        my $id = $t->sql("SELECT run_id FROM ondatra.run_sync('crash', wait => false)");
        $t->poll(sub { $t->state->{hanging} }, "$what: it hangs there");
        is(open_jobs(), $resumed, "$what: " . ($resumed ? 'the job is remembered' : 'there is nothing to go on with'));
        if ($how eq 'kill') {
            kill 'KILL', $t->sql("SELECT pid FROM ondatra.live_runs() WHERE run_id = $id");
            $t->node->poll_query_until('postgres', 'SELECT true');
            $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'interrupted', "$what: the run is interrupted");
            $t->poll_sql("SELECT bool_or(trigger = 'recovery') FROM ondatra.sync_runs WHERE run_id > $id AND status = 'succeeded'", 't', "$what: another one goes on");
        } else {
            $t->sql("SELECT ondatra.cancel_run($id)");
            $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'cancelled', "$what: the run is cancelled");
            is($t->run('crash')->{status}, 'succeeded', "$what: the next one goes on");
        }
        $t->check_counts($_) for split /\n/, $t->sql("SELECT run_id FROM ondatra.sync_runs WHERE run_id >= $id AND sync_name = 'crash'");
        is(join(' ', map { $t->records('rows')->{$_}{v} } 1 .. 4), "v$n.1 v$n.2 v$n.3 v$n.4", "$what: nothing is lost");
        is($t->state->{repeats}, 0, "$what: nothing is doubled");
        is(jobs()->{created}, $resumed ? 1 : 2, "$what: " . ($resumed ? 'it is the same job' : 'another job'));
        is(open_jobs(), '0', "$what: then no job is open");
        is($t->run('crash')->{requests}, 0, "$what: and nothing left to do");
    }
}

# --- a value that changed while the job went on is sent after it
$t->reset_destination;
$t->script({method => 'GET', path => '^/jobs/j\d+$', times => 1, answer => {misbehave => 'hang'}});
$t->sql("UPDATE mart.p SET v = 'first'");
my $id = $t->sql("SELECT run_id FROM ondatra.run_sync('crash', wait => false)");
$t->poll(sub { $t->state->{hanging} }, 'a job goes on');
$t->sql("SELECT ondatra.cancel_run($id)");
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'cancelled', 'its run is cancelled');
$t->sql("UPDATE mart.p SET v = 'second' WHERE id = 1");
$t->run_is($t->run('crash'), {status => 'succeeded', rows_updated => 1, rows_unchanged => 3}, 'the next run sends what is new');
is_deeply($t->look('records', collection => 'rows', id => 1)->{history}, [{id => 1, v => 'first'}, {id => 1, v => 'second'}], 'in this order') || diag(explain($t->look('records', collection => 'rows', id => 1)));

# --- a job whose end nobody can ask for stops the run: nothing may overtake it
$t->script({method => 'GET', path => '^/jobs/j\d+$', times => 1, answer => {misbehave => 'hang'}}, {method => 'GET', path => '^/jobs/j\d+$', answer => {status => 503}});
$t->sql("UPDATE mart.p SET v = 'third'");
$id = $t->sql("SELECT run_id FROM ondatra.run_sync('crash', wait => false)");
$t->poll(sub { $t->state->{hanging} }, 'a job goes on');
$t->sql("SELECT ondatra.cancel_run($id)");
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'cancelled', 'its run is cancelled');
$run = $t->run('crash');
$t->run_is($run, {status => 'failed', rows_scanned => 0, error_message => 'an asynchronous job of an earlier run could not be followed (HTTP 503); nothing was compared'}, 'the run says so');
is(open_jobs(), '1', 'the job is kept');
$t->script;
$t->run_is($t->run('crash'), {status => 'succeeded', rows_unchanged => 4}, 'when it can be asked again, its rows are delivered');
is(open_jobs(), '0', 'and it is done');
$t->script({method => 'GET', path => '^/jobs/j\d+$', times => 1, answer => {misbehave => 'hang'}});
$t->sql("UPDATE mart.p SET v = 'fourth'");
$id = $t->sql("SELECT run_id FROM ondatra.run_sync('crash', wait => false)");
$t->poll(sub { $t->state->{hanging} }, 'a job goes on');
$t->sql("SELECT ondatra.cancel_run($id)");
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'cancelled', 'its run is cancelled');
is(open_jobs(), '1', 'the job is kept');
$t->sql("SELECT ondatra.rebase_sync('crash')");
is(open_jobs(), '0', 'a person\'s word is more than its');
$t->no_violations;
done_testing;
