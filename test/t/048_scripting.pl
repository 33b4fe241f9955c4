# Functions of a sync's owner that shape requests (render), read answers (parse) and end runs (finalize): what they get and give, and what becomes of those that
# raise, lie, hang, write or name another host.

use strict;
use warnings FATAL => 'all';
use Ondatra::Hostile;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new(conf => "log_min_messages = info\n");
my $json = JSON::PP->new->utf8->canonical;
$t->sql("CREATE TABLE mart.c (id int PRIMARY KEY, name text, amount numeric, list text DEFAULT 'l', bad bool DEFAULT false);
    INSERT INTO mart.c SELECT i, 'n' || i, i + 0.50 FROM generate_series(1, 7) i");
my $object = {upsert => {method => 'POST', path => '/unused', batch => {rows => 3}, body => ['$each', '$fields'], headers => {'X-Mode' => 'bulk'}},
    delete => {method => 'DELETE', path => '/unused/{{key}}'}};
$t->destination('api', {object => $object, concurrency => 1});
sub plpgsql { my ($name, $body, $returns) = @_; return $t->sql("CREATE OR REPLACE FUNCTION mart.$name(batch jsonb) RETURNS " . ($returns || 'jsonb') . " LANGUAGE plpgsql AS \$f\$ $body \$f\$") }
sub sent { return [$t->requests(path => '^/')] }
sub state_of { my ($name) = @_; return 'ondatra.state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = '$name'") }
my %mapping = (mapping => {name => 'name', amount => 'amount'});
sub scripted {
    my ($name, %options) = @_;
    my ($model, %args) = (delete $options{model} || 'mart.c', %{ delete $options{args} || {} });
    $t->sql("SELECT ondatra.drop_sync(name) FROM ondatra.syncs WHERE name = '$name'");
    return $t->sync($name, $model, 'api', %mapping, %args, options => {max_deletes => '100%', in_doubt_wait => '0ms', %options});
}

# --- checked when a sync is created
sub refused { my ($options, $pattern, $name, %more) = @_;
    return $t->sql_fails('SELECT ondatra.create_sync(' . Ondatra::Test::arguments(name => 'x', model => 'mart.c', destination => 'api', key => ['id'], %mapping, options => $options, %more) . ')', $pattern, $name) }
plpgsql('wrong_type', 'BEGIN END', 'void');
$t->sql('CREATE FUNCTION mart.many(jsonb) RETURNS SETOF jsonb LANGUAGE sql AS $$SELECT $1$$');
$t->admin('CREATE FUNCTION mart.closed(jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT $1$$; REVOKE EXECUTE ON FUNCTION mart.closed FROM PUBLIC');
refused({render => 'mart.nothing'}, qr/option "render": function mart.nothing\(jsonb\) does not exist.*takes one jsonb and returns jsonb/s, 'a function that is not there');
refused({parse => 'mart.wrong_type'}, qr/option "parse": function mart.wrong_type\(jsonb\) returns void.*must return jsonb/s, 'another result');
refused({render => 'mart.many'}, qr/is not a function with one result/, 'a set');
refused({render => 'count'}, qr/is not a function with one result|does not exist/, 'an aggregate');
refused({finalize => 'mart.closed'}, qr/the sync's owner may not execute function mart.closed\(jsonb\).*GRANT EXECUTE/s, 'a function that the owner may not execute');
refused({render => "mart.f('x')"}, qr/option "render": function mart.f\('x'\)\(jsonb\) does not exist/, 'no name');
refused({render => 'a.b.c'}, qr/option "render" is not the name of a function/, 'three parts');
$t->destination('steps', {object => {upsert => {steps => [{name => 'create', method => 'POST', path => '/jobs', body => {items => ['$each', '$fields']}, capture => {id => '/id'}}], batch => {rows => 9}}}});
refused({parse => 'mart.many'}, qr/not a function with one/, 'names are looked at first');
plpgsql('plain', 'BEGIN RETURN NULL; END');
refused({parse => 'mart.plain'}, qr/option "parse" does not go with operation "upsert", which has several steps/, 'steps', destination => 'steps');
is($t->sql('SELECT count(*) FROM ondatra.syncs'), '0', 'nothing half-created stays');

# --- render: what it gets, and what it can say
$t->sql('CREATE TABLE mart.seen (at timestamptz DEFAULT now(), what jsonb)');
plpgsql('render', q{
DECLARE body jsonb;
BEGIN
  IF batch->>'operation' = 'delete' THEN
    RETURN jsonb_build_object('path', jsonb_build_array('lists', batch#>>'{rows,0,kept,list}', 'a/' || chr(252) || '?', batch#>'{rows,0,key,id}'), 'query', jsonb_build_object('why', 'left & gone', 'n', jsonb_build_array(1, true)));
  END IF;
  SELECT jsonb_agg(r->'fields' || jsonb_build_object('id', r#>'{key,id}', 'known', r->'remote_id')) INTO body FROM jsonb_array_elements(batch->'rows') r;
  RETURN jsonb_build_object('method', 'PUT', 'path', '/bulk/{{name}}/v1?all=yes', 'headers', jsonb_build_object('X-Kind', batch->>'operation', 'Cookie', 'session=a; b="{{auth.x}}"'), 'body', jsonb_build_object('rows', body, 'run', batch->'run_id'));
END});
scripted('rendered', render => 'mart.render', keep => ['list'], args => {mode => 'mirror'}, model => 'SELECT * FROM mart.c WHERE id <= 4');
my ($first) = $t->rows("SELECT * FROM ondatra.preview_sync('rendered') ORDER BY request");
is($first->{url}, $t->url . '/bulk/%7B%7Bname%7D%7D/v1?all=yes', 'preview shows the URL that render made; braces are no template');
is_deeply([map { $first->{headers}{$_} } 'X-Kind', 'X-Mode', 'Cookie', 'Content-Type'], ['create', 'bulk', '***', 'application/json'], 'its headers over the operation\'s');
is($json->encode((grep { $_->{id} == 1 } map { @{ $json->decode($_->{body})->{rows} } } $t->rows("SELECT body FROM ondatra.preview_sync('rendered')"))[0]), '{"amount":1.5,"id":1,"known":null,"name":"n1"}', 'its body');
like($first->{body}, qr/"amount":\d\.50\}/, 'digit for digit');
is($t->sql(q{SELECT ondatra.explain_row('rendered', '{"id": 2}') #>> '{request,method}'}), 'PUT', 'explain_row shows it too');
is(scalar @{ sent() }, 0, 'nothing is sent by looking');
$t->script({method => 'PUT', path => '^/bulk', answer => {json => {}}}, {method => 'DELETE', answer => {status => 204}});
my $run = $t->run('rendered');
$t->run_is($run, {status => 'succeeded', rows_created => 4, requests => 2}, 'a run sends it');
my ($request) = @{ sent() };
is("$request->{method} $request->{path} $request->{query}{all}", 'PUT /bulk/%7B%7Bname%7D%7D/v1 yes', 'as it was shown');
is($request->{json}{run}, $run->{run_id}, 'with the run\'s number');
is($request->{headers}{cookie}, 'session=a; b="{{auth.x}}"', 'headers are literal');
like($request->{headers}{'idempotency-key'}, qr/^[0-9a-f]{32}$/, 'the idempotency key goes along');
$t->sql("UPDATE mart.c SET name = 'new' WHERE id = 1; UPDATE mart.c SET id = 100 WHERE id = 2");
$t->run_is($t->run('rendered'), {status => 'succeeded', rows_updated => 1, rows_deleted => 1}, 'updates and deletes');
($request) = $t->requests(method => 'DELETE');
is($request->{path} . ' ' . $json->encode($request->{query}), '/lists/l/a%2F%C3%BC%3F/2 {"n":"true","why":"left & gone"}', 'pieces and parameters are encoded');
$t->sql('UPDATE mart.c SET id = 2 WHERE id = 100');
$t->no_violations;

# --- parse: what it gets, and what it can say
$t->reset_destination;
plpgsql('parse', q{
BEGIN
  IF (batch->>'status')::int = 422 AND batch#>>'{body,whole}' IS NOT NULL THEN RETURN NULL; END IF;
  RETURN (SELECT jsonb_agg(CASE r->>'fate' WHEN 'ok' THEN jsonb_build_object('key', jsonb_build_object('id', r->'row'), 'outcome', 'delivered', 'id', r->'row', 'created', (r->>'row')::int % 2 = 0, 'remote', jsonb_build_object('v', batch#>>'{headers,x-version}'))
      WHEN 'no' THEN jsonb_build_object('key', jsonb_build_object('id', r->'row'), 'outcome', 'rejected', 'message', E'bad\nname')
      ELSE jsonb_build_object('key', jsonb_build_object('id', r->'row'), 'outcome', 'retry') END)
    FROM jsonb_array_elements(batch#>'{body,fates}') r);
END});
scripted('parsed', parse => 'mart.parse', model => 'SELECT * FROM mart.c WHERE id <= 3');
sub fates { return {json => {fates => [map { my ($id, $fate) = split /:/; {row => $id + 0, fate => $fate} } @_]}, headers => {'X-Version' => '7'}} }
$t->script({method => 'POST', times => 1, answer => fates('3:later', '1:ok', '2:no')}, {method => 'POST', answer => fates('3:ok')});
$run = $t->run('parsed');
$t->run_is($run, {status => 'partial', rows_updated => 2, rows_created => 0, rows_failed => 1, requests => 2, retries => 1}, 'delivered, rejected, worth a retry; created or updated');
my ($row) = $t->failed_rows('parsed');
is("$row->{key}{id} $row->{error_class} $row->{error_message}", '2 rejected bad name', 'with its message');
is($t->sql('SELECT string_agg(k1 || \'=\' || _remote_id || _remote::text, \' \' ORDER BY k1) FROM ' . state_of('parsed') . ' WHERE _hash IS NOT NULL'), '1=1{"v": "7"} 3=3{"v": "7"}', 'ids and captures are kept');

scripted('parsed', parse => 'mart.parse', model => 'SELECT * FROM mart.c WHERE id <= 3');
$t->script({method => 'POST', answer => {%{ fates('1:ok', '2:no', '3:ok') }, status => 422}});
$t->run_is($t->run('parsed'), {rows_updated => 2, rows_failed => 1, requests => 1}, 'a refusal whose body tells of the rows is not cut into halves');
scripted('parsed', parse => 'mart.parse', model => 'SELECT * FROM mart.c WHERE id <= 3 ORDER BY id', args => {mode => 'insert'});
$t->script({method => 'POST', times => 1, answer => {status => 422, json => {whole => 1}}}, {method => 'POST', times => 1, answer => fates('1:ok')}, {method => 'POST', answer => fates('2:ok', '3:ok')});
$t->run_is($t->run('parsed'), {status => 'succeeded', requests => 3}, 'NULL leaves a refusal to its status');
scripted('parsed', parse => 'mart.parse', model => 'SELECT * FROM mart.c WHERE id <= 3');
$t->script({method => 'POST', times => 1, answer => {status => 503}}, {method => 'POST', answer => fates('1:ok', '2:ok', '3:ok')});
$t->run_is($t->run('parsed'), {status => 'succeeded', requests => 2, retries => 1}, 'a 503 means what it always does');

# what it does not name is not delivered; who lies delivers nothing
my %lies = (
    'one is missing' => ['[{"key": {"id": 1}, "outcome": "delivered"}, {"key": {"id": 2}, "outcome": "delivered"}]', qr/the answer does not say what became of this row/, 2],
    'a stranger' => ['[{"key": {"id": 1}, "outcome": "delivered"}, {"key": {"id": 4}, "outcome": "delivered"}]', qr/names a key that is not in the batch: \{"id": 4\}/, 0],
    'twice' => ['[{"key": {"id": 1}, "outcome": "delivered"}, {"key": {"id": 1.0}, "outcome": "rejected"}]', qr/names a key for the second time/, 0],
    'an unknown outcome' => ['[{"key": {"id": 1}, "outcome": "fine"}]', qr/element 0 of its list: member "outcome" is unknown, of another type/, 0],
    'an unknown member' => ['[{"key": {"id": 1}, "outcome": "delivered", "x": 1}]', qr/member "x" is unknown/, 0],
    'a long id' => ['[{"key": {"id": 1}, "outcome": "delivered", "id": "' . 'x' x 2001 . '"}]', qr/member "id" is unknown, of another type, or too long/, 0],
    'no key' => ['[{"outcome": "delivered"}]', qr/element 0 of its list has no "key"/, 0],
    'no outcome' => ['[{"key": {"id": 1}}]', qr/element 0 of its list has no "outcome"/, 0],
    'an object' => ['{"1": "delivered"}', qr/it did not return a list/, 0],
    'a scalar' => ['"delivered"', qr/it did not return a list/, 0],
    'elements that are none' => ['[1, 2, 3]', qr/element 0 of its list is not an object/, 0],
    'NULL' => [undef, qr/the parse function does not say what became of this row/, 0],
    'nothing' => ['[]', qr/the answer does not say what became of this row/, 0],
);
$t->script({method => 'POST', answer => {json => {}}});
for my $name (sort keys %lies) {
    my ($result, $pattern, $delivered) = @{ $lies{$name} };
    plpgsql('lie', 'BEGIN RETURN ' . Ondatra::Test::literal($result) . '; END');
    scripted('lies', parse => 'mart.lie', model => 'SELECT * FROM mart.c WHERE id <= 3');
    $run = $t->run('lies');
    $t->run_is($run, {rows_created => $delivered, rows_failed => 3 - $delivered}, "$name: only what is named is delivered");
    my @failed = $t->failed_rows('lies');
    like($failed[-1]{error_message}, $pattern, "$name: and it says so");
    is($failed[-1]{error_class}, 'unknown_outcome', "$name: nobody knows what became of the others");
}
is($t->sql('SELECT count(*) FROM ' . state_of('lies') . ' WHERE _doubt_op IS NOT NULL'), '3', 'they are in doubt');
plpgsql('lie', q{BEGIN RETURN (SELECT jsonb_agg(jsonb_build_object('key', k, 'outcome', 'delivered')) FROM jsonb_array_elements(batch->'keys') k); END});
$t->run_is($t->retry('lies'), {status => 'succeeded', rows_created => 3}, 'and sent again when the function is mended');
plpgsql('lie', q{BEGIN RAISE EXCEPTION 'no idea' USING HINT = 'ask somebody'; END});
scripted('lies', parse => 'mart.lie', model => 'SELECT * FROM mart.c WHERE id <= 3');
$t->run_is($t->run('lies'), {status => 'failed', rows_created => 0, rows_failed => 3}, 'a parse that raises delivers nothing');
like(($t->failed_rows('lies'))[0]{error_message}, qr/^parse function mart.lie failed: no idea$/, 'and its words are told');

# what an answer can be
plpgsql('odd', q{BEGIN RAISE EXCEPTION 'body % text %', jsonb_typeof(batch->'body'), left(batch->>'text', 5); END});
for my $one ([{text => 'plain'}, 'body null text plain'], [{json => [1]}, 'body array text <NULL>'], [{misbehave => 'html'}, 'body null text <!DOC'], [{misbehave => 'invalid_utf8'}, 'body null text <NULL>'],
    [{misbehave => 'nul'}, 'body null text <NULL>'], [{text => '{"a": "\u0000"}', content_type => 'application/json'}, 'body null text {"a":'], [{status => 204}, 'body null text <NULL>']) {
    $t->script({method => 'POST', answer => $one->[0]});
    scripted('odd', parse => 'mart.odd', model => 'SELECT * FROM mart.c WHERE id = 1');
    $t->run('odd');
    like(($t->failed_rows('odd'))[0]{error_message}, qr/failed: \Q$one->[1]\E/i, 'parse gets ' . $json->encode($one->[0]));
}

# --- render that fails
$t->script({path => '^/', answer => {json => {}}});
plpgsql('picky', q{BEGIN IF batch->'rows' @> '[{"fields": {"name": "n6"}}]' THEN RAISE EXCEPTION 'cannot send %', 'n6' USING DETAIL = 'since it is picky'; END IF; RETURN '{"path": "/bulk", "body": [1]}'; END});
scripted('picky', render => 'mart.picky');
$t->run_is($t->run('picky'), {status => 'partial', rows_created => 6, rows_invalid => 1, rows_failed => 0}, 'one row that makes it raise stands alone');
($row) = $t->failed_rows('picky');
is("$row->{key}{id} $row->{error_class} $row->{error_message}", '6 invalid render function mart.picky failed: cannot send n6', 'and is told');
is($t->sql(q{SELECT count(*) FROM ondatra.preview_sync('picky')}), '0', 'it is held back then');
$t->run_is($t->retry('picky'), {released => '1', rows_created => 0}, 'retry_failed tries it again');

my %nonsense = (
    'NULL' => [undef, qr/it returned NULL, not a request/],
    'a list' => ['[]', qr/must be an object/],
    'an unknown member' => ['{"url": "http://evil.example/"}', qr/unknown member "url".*|"url"/],
    'a host' => ['{"path": "http://evil.example/"}', qr/the path must start with a slash/],
    'a host without scheme' => ['{"path": "//evil.example/"}', qr/empty piece/],
    'a step up' => ['{"path": "/a/../b"}', qr/the path contains a "\.\." piece/],
    'a hidden step up' => ['{"path": "/a/%2e%2e/b"}', qr/%2e/],
    'a step up as a piece' => ['{"path": ["a", ".."]}', qr/a piece of the path is "\.\."/],
    'an empty piece' => ['{"path": ["a", ""]}', qr/a piece of the path is empty/],
    'a NULL piece' => ['{"path": ["a", null]}', qr/must be a text, a number or a boolean/],
    'a blank' => ['{"path": "/a b"}', qr/a character that cannot stand in a URL/],
    'a fragment' => ['{"path": "/a#b"}', qr/a character that cannot stand in a URL/],
    'a path that is none' => ['{"path": 7}', qr/the path must be a text, or a list/],
    'a method' => ['{"method": "TRACE"}', qr/TRACE|method/],
    'a Host header' => ['{"headers": {"Host": "evil.example"}}', qr/the header "Host" cannot be set/],
    'a header of two lines' => ['{"headers": {"X-A": "a\\\\r\\\\nB: c"}}', qr/control character/],
    'a header that is no text' => ['{"headers": {"X-A": 1}}', qr/X-A/],
    'a query that is none' => ['{"query": "a=b"}', qr/"query" must be an object/],
    'a query of objects' => ['{"query": {"a": {}}}', qr/must be a text, a number or a boolean/],
);
$t->sql('UPDATE mart.c SET bad = false');
my $before = @{ sent() };
for my $name (sort keys %nonsense) {
    my ($result, $pattern) = @{ $nonsense{$name} };
    plpgsql('odd', 'BEGIN RETURN ' . Ondatra::Test::literal($result =~ s/\\\\/\\/gr) . '; END') if defined $result;
    plpgsql('odd', 'BEGIN RETURN NULL; END') if !defined $result;
    scripted('odd', render => 'mart.odd', model => 'SELECT * FROM mart.c WHERE id <= 2');
    $t->run_is($t->run('odd'), {rows_created => 0, rows_invalid => 2, requests => 0}, "$name: nothing is sent");
    like(($t->failed_rows('odd'))[0]{error_message}, $pattern, "$name: and it says so");
}
is(scalar @{ sent() }, $before, 'nothing went anywhere');

# a function that always fails is not asked for every row
plpgsql('odd', q{BEGIN RAISE EXCEPTION 'always'; END});
$t->sql("INSERT INTO mart.c SELECT i, 'n' || i FROM generate_series(101, 160) i");
scripted('odd', render => 'mart.odd');
$run = $t->run('odd');
$t->run_is($run, {status => 'failed', rows_created => 0, rows_invalid => 9, rows_pending => 58, error_message => 'render function mart.odd failed: always; the rest is pending'}, 'ten in a row end the run');
is($t->sql("SELECT state FROM ondatra.syncs WHERE name = 'odd'"), 'active', 'which is tried again');
$t->sql('DELETE FROM mart.c WHERE id > 100');

# what is not about rows ends the run at once, and no row is to blame
my %broken = (
    'a table that is not there' => ['BEGIN PERFORM 1 FROM mart.nowhere; RETURN NULL; END', qr/^render function mart.odd failed: relation "mart.nowhere" does not exist; the rest is pending$/, 'error'],
    'a write' => [q{BEGIN INSERT INTO mart.seen (what) VALUES (batch); RETURN '{}'; END}, qr/cannot execute INSERT in a read-only transaction/, 'active'],
    'another role' => ['BEGIN SET ROLE ann; RETURN NULL; END', qr/cannot set parameter "role" within security-/, 'error'],
    'a temporary table' => ['BEGIN CREATE TEMP TABLE jsonb (a int); RETURN NULL; END', qr/cannot create temporary table within security-restricted operation|read-only/, undef],
    'ondatra itself' => [q{BEGIN PERFORM ondatra.request('api', 'GET', '/'); RETURN NULL; END}, qr/functions of ondatra cannot be called by a model/, 'active'],
);
for my $name (sort keys %broken) {
    my ($body, $pattern, $state) = @{ $broken{$name} };
    plpgsql('odd', $body);
    scripted('odd', render => 'mart.odd', model => 'SELECT * FROM mart.c WHERE id <= 5');
    $run = $t->run('odd');
    $t->run_is($run, {status => 'failed', rows_pending => 5, rows_invalid => 0, rows_failed => 0, requests => 0}, "$name: nothing is sent, nothing is lost");
    like($run->{error_message}, $pattern, "$name: the run says why");
    is($t->sql("SELECT state FROM ondatra.syncs WHERE name = 'odd'"), $state, "$name: the sync is $state") if $state;
}
is($t->sql('SELECT count(*) FROM mart.seen'), '0', 'nothing was written');
$t->sql_fails(q{SELECT * FROM ondatra.preview_sync('odd')}, qr/render function mart.odd failed/, 'a look says the same');

my %ordered = (model => 'SELECT * FROM mart.c ORDER BY id', args => {mode => 'insert'});
# --- a function that hangs, with an answer on its way
plpgsql('odd', q{BEGIN IF batch->'rows' @> '[{"key": {"id": 4}}]' THEN PERFORM pg_sleep(600); END IF; RETURN '{"path": "/bulk", "body": [1]}'; END});
$t->script({method => 'POST', answer => {json => {}, delay_ms => 300}});
scripted('odd', render => 'mart.odd', statement_timeout => '700ms', %ordered);
$t->sql(q{SELECT ondatra.update_destination('api', options => '{"concurrency": 4}')});
$run = $t->run('odd');
$t->run_is($run, {status => 'failed', rows_created => 3, rows_pending => 4, error_code => '57014', error_message => 'render function mart.odd took too long; the rest is pending'}, 'is ended by statement_timeout');
plpgsql('odd', q{BEGIN IF batch->'rows' @> '[{"key": {"id": 4}}]' THEN PERFORM pg_sleep(600); END IF; RETURN '{"path": "/bulk", "body": [1]}'; END});
$t->script({method => 'POST', answer => {json => {}}});
scripted('odd', render => 'mart.odd', concurrency => 1, %ordered);
my $id = $t->sql("SELECT run_id FROM ondatra.run_sync('odd', wait => false)");
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = 'ann'") });
$t->sql("SELECT ondatra.cancel_run($id)");
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'cancelled', 'and by cancel_run');
is($t->sql("SELECT rows_created || ' ' || rows_pending || ' ' || rows_failed FROM ondatra.sync_runs WHERE run_id = $id"), '3 4 0', 'what was delivered is recorded, the rest is pending');

# --- no snapshot while something is sent
plpgsql('odd', q{BEGIN RETURN '{"path": "/bulk", "body": [1]}'; END});
plpgsql('lie', q{BEGIN RETURN (SELECT jsonb_agg(jsonb_build_object('key', k, 'outcome', 'delivered')) FROM jsonb_array_elements(batch->'keys') k); END});
$t->script({method => 'POST', nth => 1, answer => {json => {}}}, {method => 'POST', answer => {misbehave => 'hang'}});
scripted('odd', render => 'mart.odd', parse => 'mart.lie', concurrency => 1);
$id = $t->sql("SELECT run_id FROM ondatra.run_sync('odd', wait => false)");
$t->poll(sub { $t->state->{hanging} }, 'a request waits for its answer');
is($t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'ondatra run%' AND (backend_xmin IS NOT NULL OR xact_start IS NOT NULL)"), '0', 'the run has no transaction then');
is($t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'ondatra run%'"), '1', 'though it is there');
$t->release;
$t->sql("SELECT ondatra.cancel_run($id)");
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0');

# --- credentials are the destination's
$t->script({method => 'POST', answer => {json => {}}});
$t->sql("SELECT ondatra.set_secret('pw', 'very secret')");
$t->destination('basic', {object => $object}, auth => {type => 'basic', username => 'ann', password => {secret => 'pw'}});
plpgsql('odd', q{BEGIN RETURN '{"headers": {"authorization": "Bearer mine"}}'; END});
$t->sync('basic', 'mart.c', 'basic', %mapping, options => {render => 'mart.odd'});
$t->run_is($t->run('basic'), {status => 'succeeded', requests => 3}, 'a function cannot stand in for them');
is(join(' ', map { $_->{headers}{authorization} =~ /^(\S+)/ } $t->requests(path => '^/$', last => 3)), 'Basic Basic Basic', 'the destination\'s go along');
$t->no_violations;
$t->sql("SELECT ondatra.resend_sync('basic')");
plpgsql('odd', q{BEGIN RETURN jsonb_build_object('path', '/bulk', 'headers', '{"Content-Type": "text/plain"}'::jsonb, 'body', 'as it is: "' || chr(252) || '"'); END});
$t->run_is($t->run('basic'), {status => 'succeeded'}, 'another');
($request) = $t->requests(path => '/bulk', last => 1);
is("$request->{headers}{'content-type'} $request->{body}", "text/plain as it is: \"\x{fc}\"", 'a text goes out as it is');

# --- finalize
$t->reset_destination;
$t->script({method => 'POST', answer => {json => {}}});
plpgsql('finalize', q{BEGIN INSERT INTO mart.seen (what) VALUES (batch); END}, 'void');
scripted('final', finalize => 'mart.finalize');
sub finals { my $n = $t->sql('SELECT count(*) FROM mart.seen'); return $n }
$t->run_is($t->run('final', max_rows => 1), {rows_created => 1}, 'a canary');
is(finals(), '0', 'does not call finalize');
$run = $t->run('final');
$t->run_is($run, {status => 'succeeded', rows_created => 6}, 'a run without failures');
is(finals(), '1', 'calls it once');
is($t->sql(q{SELECT what ->> 'run_id' || ' ' || (what ->> 'rows_created') || ' ' || (what ->> 'sync') FROM mart.seen}), "$run->{run_id} 6 final", 'with the run\'s numbers');
$t->run_is($t->run('final'), {status => 'succeeded', rows_unchanged => 7}, 'a run that finds nothing to do');
is(finals(), '2', 'calls it too');
$t->sql("UPDATE mart.c SET name = 'again' WHERE id = 1");
$t->script({method => 'POST', answer => {status => 422}});
$t->run_is($t->run('final'), {status => 'failed'}, 'a run with a failure');
is(finals(), '2', 'does not');
$t->script({method => 'POST', answer => {json => {}}});
plpgsql('finalize', q{BEGIN INSERT INTO mart.seen (what) VALUES (batch); RAISE EXCEPTION 'not today' USING DETAIL = 'for a reason'; END}, 'void');
scripted('final', finalize => 'mart.finalize');
$run = $t->run('final');
$t->run_is($run, {status => 'partial', rows_created => 7, error_code => 'P0001', error_message => 'finalize function mart.finalize failed: not today', error_detail => 'for a reason'}, 'its failure is shown');
is(finals(), '2', 'and what it wrote is undone');
is($t->sql("SELECT state FROM ondatra.syncs WHERE name = 'final'"), 'active', 'the sync goes on');
$t->run_is($t->run('final'), {status => 'partial', rows_unchanged => 7}, 'the rows are delivered all the same');
plpgsql('finalize', q{BEGIN PERFORM pg_sleep(600); END}, 'void');
$t->sql(q{SELECT ondatra.update_sync('final', options => '{"statement_timeout": "300ms"}')});
$t->run_is($t->run('final'), {status => 'partial', error_message => 'finalize function mart.finalize took too long'}, 'a hung one is ended');
$t->sql(q{SELECT ondatra.update_sync('final', options => '{"statement_timeout": null}')});
$id = $t->sql("SELECT run_id FROM ondatra.run_sync('final', wait => false)");
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = 'ann'") });
$t->sql("SELECT ondatra.cancel_run($id)");
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'cancelled', 'by cancel_run too');
$t->sql('CREATE TABLE mart.deferred (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)');
plpgsql('finalize', q{BEGIN INSERT INTO mart.deferred VALUES (1), (1); END}, 'void');
$run = $t->run('final');
$t->run_is($run, {status => 'partial'}, 'a constraint that is deferred');
like($run->{error_message}, qr/finalize function mart.finalize failed/, 'is a failure like others');
$t->sql('DROP FUNCTION mart.finalize');
$run = $t->run('final');
like($run->{error_message}, qr/option "finalize": function mart.finalize\(jsonb\) does not exist/, 'a function that is gone stops the sync');
is($t->sql("SELECT state FROM ondatra.syncs WHERE name = 'final'"), 'error', 'with the reason');

# --- a database of another encoding
$t->admin(q{CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'});
sub latin { my ($sql) = @_; my ($status, $out, $err) = $t->node->psql('latin', "SET client_encoding = 'UTF8'; $sql", on_error_stop => 1); is($status, 0, 'in latin1') or diag($err); return $out }
$t->script({method => 'POST', answer => {json => {w => "gr\x{fc}n"}}}, {method => 'DELETE', answer => {status => 204}});
my $arguments = Ondatra::Test::arguments(name => 'api', base_url => $t->url, options => {object => {upsert => {method => 'POST', path => '/x'}, delete => {method => 'DELETE', path => '/x'}}});
utf8::encode($arguments);
latin(q{CREATE EXTENSION ondatra; CREATE TABLE t (id int PRIMARY KEY, size text, list text); INSERT INTO t VALUES (1, 'groß', 'Äpfel');
    CREATE FUNCTION r(b jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_build_object('path', jsonb_build_array(coalesce(b#>>'{rows,0,kept,list}', 'née')), 'headers', '{"X-A": "b"}'::jsonb, 'body', b->'rows'->0->'fields')$$;
    CREATE FUNCTION p(b jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_build_array(jsonb_build_object('key', b->'keys'->0, 'outcome', 'delivered', 'id', 'id ' || (b#>>'{body,w}' IS NOT DISTINCT FROM 'grün'), 'message', 'weiß'))$$;}
    . "SELECT ondatra.create_destination($arguments);"
    . q{SELECT ondatra.create_sync('é', 't', 'api', mode => 'mirror', options => '{"render": "r", "parse": "p", "finalize": "p", "keep": ["list", "size"], "max_deletes": "100%", "on_empty": "run"}')});
like(latin(q{SELECT status, rows_created, error_message FROM ondatra.run_sync('é')}), qr/^succeeded\|1\|$/m, 'functions shape requests there');
($request) = $t->requests(method => 'POST', last => 1);
is("$request->{path} $request->{json}{size}", '/n%C3%A9e gro' . chr(223), 'in UTF-8');
is(latin(q{SELECT _remote_id FROM ondatra.state_1}), 'id true', 'and what they read is in the database\'s encoding');
is(latin(q{SELECT _kept->>'list' || ' ' || (_kept->>'size') FROM ondatra.state_1}), 'Äpfel groß', 'as is what is kept');
like(latin(q{DELETE FROM t; SELECT status, rows_deleted, error_message FROM ondatra.run_sync('é')}), qr/^succeeded\|1\|$/m, 'a delete');
is(($t->requests(method => 'DELETE', last => 1))[0]{path}, '/%C3%84pfel', 'knows where');
$t->no_violations;

# --- hostile functions
my %all = (%Ondatra::Hostile::FORBIDDEN, %Ondatra::Hostile::HARMLESS);
enter_mallory($t);
$t->script({answer => {json => {}}});
my $options = Ondatra::Test::literal({object => {upsert => {method => 'PUT', path => '/x'}}, retry => $Ondatra::Test::RETRY});
$t->sql_as('bob', "CREATE TABLE bob.t (id int PRIMARY KEY, v text); INSERT INTO bob.t VALUES (1, 'x'); SELECT ondatra.set_secret('token', 'z');
    SELECT ondatra.create_destination('bobs', base_url => '" . $t->url . "', options => $options); SELECT ondatra.create_sync('bobs', 'bob.t', 'bobs', key => '{id}')");
is($t->sql_as('bob', "SELECT status FROM ondatra.run_sync('bobs')"), 'succeeded', 'bob has something to be looked for');
$t->sql_as('mallory', "SELECT ondatra.set_secret('token', 'z');
    CREATE FUNCTION mallory.render(b pg_catalog.jsonb) RETURNS pg_catalog.jsonb LANGUAGE plpgsql AS \$f\$ BEGIN PERFORM mallory.report('render'), mallory.attack(); RETURN '{\"path\": \"/hers\", \"body\": 1}'; END \$f\$;
    CREATE FUNCTION mallory.parse(b pg_catalog.jsonb) RETURNS pg_catalog.jsonb LANGUAGE plpgsql AS \$f\$ BEGIN PERFORM mallory.report('parse'), mallory.attack();
        RETURN pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('key', b OPERATOR(pg_catalog.->) 'keys' OPERATOR(pg_catalog.->) 0, 'outcome', 'delivered')); END \$f\$;
    SELECT ondatra.create_destination('mallorys', base_url => '" . $t->url . "', options => $options);
    SET search_path = mallory, pg_catalog; SELECT ondatra.create_sync('mallorys', 'SELECT id FROM mallory.t WHERE id OPERATOR(pg_catalog.=) 1', 'mallorys', key => '{id}', options => '{\"render\": \"render\", \"parse\": \"parse\", \"on_empty\": \"run\"}')");
attempts_of($t, %all);
my $mark = log_mark($t);
is($t->sql_as('mallory', "SELECT status, error_message FROM ondatra.run_sync('mallorys')"), 'succeeded|', 'her functions shape a run');
judge($t, $mark, 'render and parse', want => ['render', 'parse'], attempts => scalar keys %all);
unlike(log_since($t, $mark), qr/CANARY [^\n]*"session" : "(?!mallory)/, 'in a session of hers');
$t->sql_as('mallory', "SELECT ondatra.resend_sync('mallorys')");
my $settings = "SELECT name, setting FROM pg_settings WHERE source = 'session' OR name IN ('role', 'session_authorization', 'transaction_read_only', 'is_superuser') ORDER BY 1";
for my $call (q{SELECT count(*) FROM ondatra.preview_sync('mallorys')}, q{SELECT ondatra.explain_row('mallorys', '{"id": 1}') ->> 'verdict'}) {
    $mark = log_mark($t);
    my ($status, $out, $err) = $t->psql_as($t->superuser, "BEGIN; PREPARE theirs AS SELECT 'theirs'; CREATE TEMP TABLE kept AS $settings; $call; "
        . "SELECT 'changed: ' || name FROM kept a FULL JOIN ($settings) b USING (name, setting) WHERE a.name IS NULL OR b.name IS NULL; EXECUTE theirs; CREATE TEMP TABLE writes AS SELECT 1; COMMIT");
    is($status, 0, "a superuser's look works") or diag($err);
    unlike($out, qr/changed: /, 'settings are as they were');
    like($out, qr/^theirs$/m, 'so are prepared statements');
    judge($t, $mark, "a superuser's look", want => ['render'], attempts => scalar keys %all);
}
# finalize may write what is hers and trigger her syncs, and nothing else; a grant of what is not hers grants nothing, and functions of pg_temp are found under that name only
my %hers = map { $_ => $all{$_} } grep { !/^(grant|temp_function|trigger_sync|write|write_cte|table|replace_function|operator|cast|drop_type|drop_owned|read_write|read_write_set|isolation)$/ } keys %all;
$t->sql_as('mallory', "CREATE FUNCTION mallory.finalize(b pg_catalog.jsonb) RETURNS void LANGUAGE plpgsql AS \$f\$ BEGIN PERFORM mallory.report('finalize'), mallory.attack(); INSERT INTO mallory.t VALUES (50, 50); END \$f\$;
    SET search_path = mallory, pg_catalog; SELECT ondatra.update_sync('mallorys', options => '{\"render\": null, \"parse\": null, \"finalize\": \"finalize\"}')");
attempts_of($t, %hers);
$mark = log_mark($t);
is($t->sql_as('mallory', "SELECT status, error_message FROM ondatra.run_sync('mallorys')"), 'succeeded|', 'her finalize ends a run');
is($t->sql_as('mallory', 'SELECT count(*) FROM mallory.t WHERE id OPERATOR(pg_catalog.=) 50'), '1', 'and writes what is hers');
# It may write, and from 17 on a domain in pg_temp is no temporary table to the server; that our own SQL never meets it is what the canary in it tells.
judge($t, $mark, 'finalize', want => ['finalize'], attempts => scalar keys %hers, parallel => 1, may => ['temp_domain']);
is($t->admin("SELECT string_agg(status, ' ') FROM ondatra.sync_runs WHERE sync_name = 'bobs'"), 'succeeded', 'others\' runs are as they were');
unlike(Ondatra::Test::slurp($t->node->logfile), qr/was terminated by signal|PANIC/, 'no process crashed');
done_testing();
