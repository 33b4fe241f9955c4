# APIs without an upsert: look up, then write; create, and update what exists; versions that are carried; what goes to and fro.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql("CREATE TABLE mart.p (id int PRIMARY KEY, email text, name text); INSERT INTO mart.p SELECT i, 'p' || i || '\@x', 'n' || i FROM generate_series(1, 6) i");
my $model = 'mart.p';
my %fields = (mapping => {email => 'email', name => 'name'});
sub objects { my ($options, $name) = @_; $t->destination($name, {object => $options, concurrency => 2}); return }
sub log_of { return map { "$_->{method} $_->{path}" } @{ $t->control('GET', 'requests?path=%5E/')->{requests} } }
sub calls { my %n; $n{ (split ' ', $_)[0] }++ for log_of(); return join ' ', map { "$_ $n{$_}" } sort keys %n }

# --- look up by a search, then PATCH by the id or POST
my $search = {method => 'POST', path => '/search', body => {email => '{{email}}'}, result => {rows => '/found', match => {key => '/email', by => '{{email}}'}, id => '/id'}};
my %write = (create => {method => 'POST', path => '/people', result => {id => '/id'}, idempotency => undef},
    update => {method => 'PATCH', path => '/people/{{remote_id}}', result => {id => '/id'}}, delete => {method => 'DELETE', path => '/people/{{remote_id}}'});
objects({%write, lookup => $search}, 'searched');
my %known = map { ("p$_\@x", "known$_") } 1 .. 3;
sub search_rules { return {method => 'POST', path => '^/search', answer => {json => {found => []}}} }
$t->control('POST', 'records', {people => {map { ("known$_" => {name => 'old'}) } 1 .. 3}});
$t->script((map { {method => 'POST', path => '^/search', json => {'/email' => $_}, answer => {json => {found => [{id => 'x1', email => 'somebody'}, {id => $known{$_}, email => $_}]}}} } sort keys %known), search_rules());
$t->sync('searched', $model, 'searched', mode => 'mirror', %fields);
is($t->sql("SELECT string_agg(operation || ' ' || method, ', ' ORDER BY request) FROM ondatra.preview_sync('searched', 2)"), 'lookup POST, lookup POST', 'preview shows what goes out first');
$t->run_is($t->run('searched'), {status => 'succeeded', rows_created => 3, rows_updated => 3, requests => 12}, 'who is there is updated, others are created');
is(calls(), 'PATCH 3 POST 9', 'six look-ups, three creates, three updates');
is($t->control('GET', 'records?collection=people&id=known2')->{value}{name}, 'n2', 'the record that was there has the row');
my $state = 'ondatra.state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = 'searched'");
is($t->sql("SELECT string_agg(_remote_id, ' ' ORDER BY k1) FROM $state WHERE k1 <= 3"), 'known1 known2 known3', 'and its id is kept');
$t->sql("UPDATE mart.p SET name = name || '!' WHERE id IN (2, 5)");
$t->run_is($t->run('searched'), {rows_updated => 2, requests => 2}, 'a known id needs no look-up');
$t->sql("DELETE FROM mart.p WHERE id = 6");
$t->run_is($t->run('searched'), {rows_deleted => 1, requests => 1}, 'nor has a delete');

# --- an answer that cannot be read is no "not there"; two records are no one
$t->reset_destination;
sub answers { my ($n, $answer) = @_; return {method => 'POST', path => '^/search', json => {'/email' => "p$n\@x"}, answer => $answer} }
$t->script(answers(1, {misbehave => 'html'}), answers(2, {json => {error => 'no'}}), answers(3, {json => {found => [{id => 'a', email => 'p3@x'}, {id => 'b', email => 'p3@x'}]}}),
    answers(4, {status => 503}), answers(5, {json => {found => [{id => 'r5', email => 'p5@x'}, {id => 'r5', email => 'p5@x'}]}}));
$t->control('POST', 'records', {people => {r5 => {name => 'old'}}});
$t->destination('doubtful', {object => {%write, lookup => $search}, concurrency => 1, retry => {attempts => 1}});
$t->sync('doubtful', $model, 'doubtful', %fields);
my $run = $t->run('doubtful');
$t->run_is($run, {status => 'partial', rows_failed => 4, rows_updated => 1, rows_created => 0, rows_unconfirmed => 0}, 'nothing is created on a guess');
is_deeply([map { "$_->{key}{id} $_->{error_class}" } $t->failed_rows('doubtful')], ['1 unavailable', '2 unavailable', '3 rejected', '4 unavailable'], 'with its reasons');
like(($t->failed_rows('doubtful'))[2]{error_message}, qr/several records for this row: a and b/, 'several records');
is($t->sql('SELECT count(*) FROM ondatra.state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = 'doubtful'") . ' WHERE _doubt_op IS NOT NULL'), '0', 'a look-up leaves nothing in doubt');

# --- create; what exists is updated
$t->reset_destination;
objects({create => {method => 'POST', path => '/things', body => {id => '{{key}}', name => '{{name}}'}, exists => [409], idempotency => undef}, update => {method => 'PUT', path => '/things/{{key}}', missing => [404]}}, 'posts');
$t->control('POST', 'records', {things => {1 => {name => 'old'}}});
$t->script({method => 'POST', path => '^/things', json => {'/id' => 1}, answer => {status => 409}});
$t->sync('posts', 'SELECT id, name FROM mart.p WHERE id <= 3', 'posts', mapping => {name => 'name'});
$t->run_is($t->run('posts'), {status => 'succeeded', rows_created => 2, rows_updated => 1, requests => 4}, 'a 409 becomes an update');
$t->script({method => 'PUT', path => '^/things/2', answer => {status => 404}});
$t->sql("UPDATE mart.p SET name = 'again' WHERE id = 2");
$t->run_is($t->run('posts'), {status => 'succeeded', rows_created => 1, requests => 2}, 'a 404 on an update becomes a create');
$t->script({method => 'PUT', path => '^/things/2', answer => {status => 404}}, {method => 'POST', path => '^/things', answer => {status => 409}});
$t->sql("UPDATE mart.p SET name = 'to and fro' WHERE id = 2");
$t->run_is($t->run('posts'), {status => 'failed', rows_failed => 1, requests => 6}, 'what is sent to and fro fails');
like(($t->failed_rows('posts'))[0]{error_message}, qr/now that it exists and now that it does not/, 'and says so');
$t->sync('updates', 'SELECT id, name FROM mart.p WHERE id = 2', 'posts', mode => 'update', mapping => {name => 'name'});
$t->sql("SELECT ondatra.rebase_sync('updates'); UPDATE mart.p SET name = 'gone' WHERE id = 2");
$t->run_is($t->run('updates'), {rows_failed => 1, requests => 1}, 'mode update creates nothing');
like(($t->failed_rows('updates'))[0]{error_message}, qr/has no such record, and mode update does not create/, 'and says so');

# a create without an answer that was carried out, "exists" at the second try, and the update is refused: the record may be ours, a mirror deletes it
$t->reset_destination;
objects({create => {method => 'POST', path => '/things', body => {id => '{{key}}', name => '{{name}}'}, exists => [409], idempotency => {header => 'Idempotency-Key'}}, update => {method => 'PUT', path => '/things/{{key}}'}, delete => {method => 'DELETE', path => '/things/{{key}}'}}, 'mirrored');
$t->sync('refused', 'SELECT id, name FROM mart.p WHERE id = 5', 'mirrored', mode => 'mirror', mapping => {name => 'name'}, options => {on_unknown => 'resend', in_doubt_wait => '0ms', max_deletes => '100%'});
$t->script({method => 'POST', times => 1, answer => {misbehave => 'close', apply => 1}}, {method => 'POST', answer => {status => 409}}, {method => 'PUT', answer => {status => 422, json => {message => 'the name is fixed'}}});
$t->run_is($t->run('refused'), {status => 'failed', rows_failed => 1, requests => 3}, 'no answer, exists, refused');
my @keys = map { $_->{headers}{'idempotency-key'} } @{ $t->control('GET', 'requests?path=%5E/things')->{requests} }[-3 .. -1];
ok($keys[0] eq $keys[1] && $keys[1] ne $keys[2], 'both tries of the create have one key, the update has another');
is(($t->failed_rows('refused'))[0]{error_class}, 'rejected', 'the row is refused');
like($t->sql(q{SELECT ondatra.explain_row('refused', '{"id": 5}')->'doubt'}), qr/"create"/, 'and its create is in doubt all the same');
$t->run_is($t->run('refused'), {rows_held_back => 1, requests => 0}, 'it is not sent again');
$t->sql(q{SELECT ondatra.update_sync('refused', model => 'SELECT id, name FROM mart.p WHERE id = 5 AND false')});
$t->run_is($t->run('refused'), {status => 'succeeded', rows_deleted => 1, requests => 1}, 'when it leaves, the record goes');

# --- versions: carried, and read again when stale
$t->reset_destination;
objects({update => {method => 'PUT', path => '/docs/{{key}}', headers => {'If-Match' => '{{remote.version}}'}, result => {id => '/id', remote => {version => '/version'}}, conflict => [412]},
    create => {method => 'PUT', path => '/docs/{{key}}', result => {id => '/id', remote => {version => '/version'}}},
    delete => {method => 'DELETE', path => '/docs/{{key}}', headers => {'If-Match' => '{{remote.version}}'}, conflict => [412], missing => [404]},
    lookup => {method => 'GET', path => '/docs/{{key}}', missing => [404], result => {remote => {version => '/version'}}}}, 'docs');
$t->control('POST', 'records', {docs => {1 => {name => 'old'}}});
$t->sync('docs', 'SELECT id, name FROM mart.p WHERE id <= 2', 'docs', mode => 'mirror', mapping => {name => 'name'});
$t->script({method => 'GET', path => '^/docs/1', answer => {json => {id => 1, version => 7}}});
$t->run_is($t->run('docs'), {status => 'succeeded', rows_created => 1, rows_updated => 1, requests => 4}, 'one found, one not there');
is((grep { $_->{method} eq 'PUT' && $_->{path} eq '/docs/1' } @{ $t->control('GET', 'requests')->{requests} })[0]{headers}{'if-match'}, '7', 'the version that was read goes along');
$t->script({method => 'PUT', path => '^/docs/1', headers => {'if-match' => '^(?!9$)'}, answer => {status => 412}}, {method => 'GET', path => '^/docs/1', answer => {json => {id => 1, version => 9}}});
$t->sql("UPDATE mart.p SET name = 'mine' WHERE id = 1");
$t->run_is($t->run('docs'), {status => 'succeeded', rows_updated => 1, requests => 3}, 'a stale version is read again');
$t->script({method => 'DELETE', path => '^/docs/1', answer => {status => 404}});
$t->sql(q{SELECT ondatra.update_sync('docs', model => 'SELECT id, name FROM mart.p WHERE id = 2', options => '{"max_deletes": "100%"}')});
$t->run_is($t->run('docs'), {status => 'succeeded', rows_deleted => 1}, 'a delete of what is gone is done');

# --- a worker that dies between the look-up and the write leaves nothing doubled
$t->reset_destination;
$t->script({method => 'POST', path => '^/search', json => {'/email' => 'p1@x'}, answer => {json => {found => [{id => 'r1', email => 'p1@x'}]}}}, search_rules(), {method => 'PATCH', answer => {misbehave => 'hang'}});
objects({%write, lookup => $search}, 'crashed');
$t->sync('crashed', 'SELECT * FROM mart.p WHERE id = 1', 'crashed', %fields, options => {in_doubt_wait => '0ms'});
my $id = $t->sql("SELECT run_id FROM ondatra.run_sync('crashed', wait => false)");
$t->poll(sub { $t->state->{hanging} }, 'the write hangs');
$t->sql("SELECT ondatra.cancel_run($id)");
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'cancelled', 'and the run is cancelled');
$t->control('POST', 'records', {people => {r1 => {name => 'old'}}});
$t->script({method => 'POST', path => '^/search', answer => {json => {found => [{id => 'r1', email => 'p1@x'}]}}});
$t->run_is($t->run('crashed'), {status => 'succeeded', rows_updated => 1, rows_created => 0}, 'the next run looks up and writes again');

# --- words
sub refused { my ($object, $pattern, $name) = @_;
    return $t->sql_fails('SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => 'x', base_url => 'http://127.0.0.1:1', options => {object => $object}) . ')', $pattern, $name) }
my %get = (method => 'GET', path => '/x/{{key}}');
refused({upsert => {method => 'PUT'}, lookup => {%get}}, qr/does not say where the record's id is.*\/object\/lookup/s, 'a look-up without a result');
refused({upsert => {method => 'PUT'}, lookup => {%get, fine => [404], result => {id => '/id'}}}, qr/"fine".*HINT.*missing/s, 'fine is not a word of look-ups');
refused({upsert => {method => 'PUT'}, lookup => {%get, when => 'never', result => {id => '/id'}}}, qr/unknown.*always/s, 'when');
refused({upsert => {method => 'PUT', exists => [409]}}, qr/"exists" says nothing about "upsert"/, 'exists of an upsert');
refused({create => {method => 'POST', exists => [409]}}, qr/needs an "update"/, 'exists without an update');
refused({update => {method => 'PUT', missing => [404]}}, qr/needs a "create"/, 'missing without a create');
refused({upsert => {method => 'PUT', conflict => [412]}}, qr/needs a "lookup"/, 'conflict without a look-up');
refused({create => {method => 'POST', exists => [409], fine => [409]}, update => {method => 'PUT'}}, qr/has another meaning too/, 'one status, two meanings');
refused({create => {method => 'POST', exists => [409], batch => {rows => 5}, body => ['$each', '$fields']}, update => {method => 'PUT'}}, qr/is about one record/, 'exists of a batch');
$t->no_violations;
done_testing;
