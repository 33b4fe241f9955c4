# fetch(): an API in FROM; request(): one call by hand.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my %list = (rows => '/items', id => '/id');
sub object { my ($name, $list, %more) = @_;
    return $t->destination($name, {object => {upsert => {method => 'PUT', path => '/x/{{key}}'}, list => $list}, retry => {attempts => 3, base_ms => 1, max_ms => 5}, %{ $more{options} || {} }}, %{ $more{args} || {} }) }
sub page { my ($query, $json, %more) = @_; return {method => 'GET', path => '^/items', query => $query, answer => {json => $json, %more}} }
sub fetched { my ($name, $args) = @_; return $t->sql("SELECT coalesce(string_agg(r->>'id', ' '), 'none') FROM ondatra.fetch('$name', NULL" . (defined $args ? ", '$args'" : '') . ') r') }

# --- pages
object('cursor', {%list, method => 'GET', path => '/items', query => {after => '{{cursor}}', since => '{{arg.since}}', fields => '{{fields}}'}, fields => '/p', next => {cursor => '/next'}});
$t->script(page({after => '^b c$'}, {items => [{id => 3, p => {name => 'cat', n => 1.50}}], next => undef}), page({}, {items => [{id => 1, p => {name => 'ann'}}, {id => 2, p => {name => "b\x{e9}n"}}], next => 'b c'}));
is(fetched('cursor'), '1 2 3', 'by a cursor');
is_deeply([map { $_->{query} } @{ $t->control('GET', 'requests')->{requests} }], [{}, {after => 'b c'}], 'no parameter without a value');
is($t->sql(q{SELECT r FROM ondatra.fetch('cursor', '', '{"since": "2026"}') r LIMIT 1}), '{"p": {"name": "ann"}, "id": 1}', 'the record as it is');
is($t->control('GET', 'requests?last=2')->{requests}[0]{query}{since}, '2026', 'with an argument');
$t->sql('CREATE TYPE mart.person AS (id int, name text, n numeric(9, 3))');
is($t->sql("SELECT string_agg(f::text, ' ' ORDER BY f.id) FROM ondatra.fetch(NULL::mart.person, 'cursor', NULL) f"), "(1,ann,) (2,b\xc3\xa9n,) (3,cat,1.500)", 'as rows of a type, its fields beside the record');
like($t->json_of($t->control('GET', 'requests?last=1')->{requests}[0]{query}), qr/"fields":"id,name,n"/, 'whose columns are the fields asked for');
is($t->sql("WITH f AS (SELECT * FROM ondatra.fetch('cursor', NULL)) SELECT count(*) FROM f"), '3', 'in a query of one\'s own');

object('link', {%list, method => 'GET', path => '/items', next => {link => 'next'}});
$t->script(page({page => '2'}, {items => [{id => 2}]}), page({}, {items => [{id => 1}]}, headers => {Link => '<' . $t->url . '/items?page=2>; rel="next"'}));
is(fetched('link'), '1 2', 'by the Link header');
$t->script(page({}, {items => [{id => 1}]}, headers => {Link => '<http://localhost:' . $t->{port} . '/items?page=2>; rel="next"'}));
$t->sql_fails("SELECT * FROM ondatra.fetch('link', NULL)", qr/names a next page at another host: localhost.*HINT.*"hosts" of the connector/s, 'not to another host');

# --- what goes wrong on the way
$t->reset_destination;
$t->script({%{ page({}, {items => [{id => 1}], next => 'x'}) }, times => 1}, {method => 'GET', path => '^/items', times => 1, answer => {status => 503}}, {method => 'GET', path => '^/items', times => 1, answer => {status => 429, headers => {'Retry-After' => '0'}}},
    page({after => 'x'}, {items => [{id => 2}]}));
is(fetched('cursor'), '1 2', 'a page that fails is asked for again');
is($t->count_requests, 4, 'that one alone');
$t->script({method => 'GET', path => '^/items', answer => {status => 404, json => {message => 'no such list'}}});
$t->sql_fails("SELECT * FROM ondatra.fetch('cursor', NULL)", qr/page 1 of the list could not be read: HTTP 404.*no such list/s, 'a refusal is an error');
$t->script(page({}, {items => [{id => 1}], next => 'again'}));
$t->sql_fails("SELECT * FROM ondatra.fetch('cursor', NULL)", qr/the list goes in circles/, 'a repeated cursor');
$t->script(page({after => '.'}, {oops => 1}), page({}, {items => [{id => 1}], next => 'x'}));
$t->sql_fails("SELECT * FROM ondatra.fetch('cursor', NULL)", qr/page 2 of the list has no records where they should be.*DETAIL:  The answer is an object with the members oops\..*HINT:  "rows"/s, 'a page that lies');
$t->script({method => 'GET', path => '^/items', answer => {misbehave => 'endless'}});
$t->script({method => 'GET', path => '^/items', answer => {text => '{"items": [{"id": "\u0000"}]}', content_type => 'application/json'}});
$t->sql_fails("SELECT * FROM ondatra.fetch('cursor', NULL)", qr/no valid text/, 'text that a database cannot hold');
$t->script({method => 'GET', path => '^/items', answer => {misbehave => 'hang'}});
$t->sql_fails("SET statement_timeout = '300ms'; SELECT * FROM ondatra.fetch('cursor', NULL)", qr/statement timeout/, 'it can be cancelled');
$t->control('POST', 'release');
is($t->sql("SELECT in_flight FROM ondatra.destination_status WHERE name = 'cursor'"), '0', 'and leaves no permit behind');

# --- wrong words
$t->sql_fails(q{SELECT * FROM ondatra.fetch('cursor', NULL, '{"until": 1}')}, qr/no argument "until".*HINT:  Its arguments are "since"/s, 'an unknown argument');
$t->sql_fails(q{SELECT * FROM ondatra.fetch('cursor', 'x')}, qr/has no object "x"/, 'an unknown object');
$t->destination('none');
$t->sql_fails(q{SELECT * FROM ondatra.fetch('none', NULL)}, qr/has no "list".*HINT/s, 'nothing to list');
$t->sql_fails(q{SELECT * FROM ondatra.fetch('nix', NULL)}, qr/destination "nix" does not exist/, 'no such destination');
my (undef, undef, $err) = $t->psql_as('bob', q{SELECT * FROM ondatra.fetch('cursor', NULL)});
like($err, qr/destination "cursor" does not exist/, "nobody else's");

# --- an incremental load with a stored cursor
$t->reset_destination;
object('orders', {%list, method => 'GET', path => '/items', query => {since => '{{arg.since}}'}});
$t->script(page({since => '^2$'}, {items => [{id => 2, at => 2}, {id => 3, at => 3}]}), page({}, {items => [{id => 1, at => 1}, {id => 2, at => 2}]}));
$t->sql("CREATE TABLE mart.orders (id int PRIMARY KEY, at int)");
my $load = q{INSERT INTO mart.orders SELECT * FROM ondatra.fetch(NULL::mart.orders, 'orders', NULL, jsonb_strip_nulls(jsonb_build_object('since', (SELECT max(at) FROM mart.orders))))
    ON CONFLICT (id) DO UPDATE SET at = excluded.at};
$t->sql($load) for 1 .. 2;
is($t->sql('SELECT string_agg(id::text, \' \' ORDER BY id) FROM mart.orders'), '1 2 3', 'two loads, each from where the last ended');

# --- a report that is made first: asked for, asked about, read in pages
$t->reset_destination;
my @report = ({name => 'create', method => 'POST', path => '/reports', body => {since => '{{arg.since}}', fields => '{{fields}}'}, capture => {id => '/id'}},
    {name => 'poll', method => 'GET', path => '/reports/{{job.id}}', capture => {file => '/file'},
        poll => {every_ms => 20, max_ms => 50, done => {path => '/state', equals => 'done'}, failed => {path => '/state', in => ['failed', 'expired']}, error => '/why'}});
object('report', {id => '/id', steps => \@report, jobs => {timeout_ms => 60_000}, method => 'GET', url => '{{job.file}}', query => {part => '{{cursor}}'}, format => 'csv', next => {cursor => {header => 'X-Next'}}});
sub report { my ($polls, %end) = @_; return ({method => 'POST', path => '^/reports$', answer => {status => 202, json => {id => 'r7'}}},
    $polls ? {method => 'GET', path => '^/reports/r7$', times => $polls, answer => {json => {state => 'working'}}} : (), {method => 'GET', path => '^/reports/r7$', answer => {json => {state => 'done', file => '/files/r7', %end}}}) }
sub file { my ($query, $text, $next) = @_; return {method => 'GET', path => '^/files/r7', query => $query, answer => {text => $text, content_type => 'text/csv', headers => {'X-Next' => $next}}} }
my @files = (file({part => 'p2'}, qq{id,name\n3,"c, d"\n}, 'null'), file({}, "id,name\n1,ann\n2,\n", 'p2'));
$t->script(report(3), @files);
is(fetched('report', '{"since": "2026"}'), '1 2 3', 'a report: its pages');
is(join(' ', map { "$_->{method} $_->{path}" } $t->requests), 'POST /reports GET /reports/r7 GET /reports/r7 GET /reports/r7 GET /reports/r7 GET /files/r7 GET /files/r7', 'step by step');
is_deeply(($t->requests)[0]{json}, {since => '2026'}, 'with its arguments');
is($t->sql("SELECT string_agg(coalesce(f::text, '-'), ' ') FROM ondatra.fetch(NULL::mart.person, 'report', NULL) f"), '(1,ann,) (2,,) (3,"c, d",)', 'as rows of a type');
is(($t->requests(path => '^/reports$'))[-1]{json}{fields}[2], 'n', 'whose columns are asked for');
$t->script({method => 'POST', path => '^/reports$', times => 1, answer => {status => 503}}, {method => 'GET', path => '^/reports/r7$', times => 1, answer => {misbehave => 'close'}}, report(0), @files);
is(fetched('report'), '1 2 3', 'steps without an answer are tried again');
$t->script(report(1, state => 'expired', why => 'nobody came'));
$t->sql_fails("SELECT * FROM ondatra.fetch('report', NULL)", qr/job r7 of the list has failed: nobody came/, 'one that fails');
$t->script({method => 'POST', path => '^/reports$', answer => {status => 400, json => {error => 'no such report'}}});
$t->sql_fails("SELECT * FROM ondatra.fetch('report', NULL)", qr/step "create" of the list could not be read: HTTP 400.*no such report/s, 'one that is refused');
$t->script(report(0, file => 'https://evil.example.com/x'));
$t->sql_fails("SELECT * FROM ondatra.fetch('report', NULL)", qr/at another host: evil\.example\.com/, 'one at another host');
$t->script(report(10_000));
$t->sql_fails("SET statement_timeout = '300ms'; SELECT * FROM ondatra.fetch('report', NULL)", qr/statement timeout/, 'one that is waited for can be cancelled');
object('endless', {%list, steps => \@report, jobs => {timeout_ms => 1000}, method => 'GET', url => '{{job.file}}'});
$t->sql_fails("SELECT * FROM ondatra.fetch('endless', NULL)", qr/job r7 of the list did not end within 1 seconds.*HINT/s, 'one that never ends');
is($t->sql("SELECT sum(in_flight) FROM ondatra.destination_status"), '0', 'no permit is left behind');
$t->sql_fails(qq{SELECT ondatra.create_destination('wrong', base_url => 'http://127.0.0.1:1', options => '{"object": {"list": {"method": "GET", "path": "/x/{{job.id}}"}}}')}, qr/\{\{job\.id\}\} is captured by no earlier step/, 'a report that nobody asks for');

# --- rates are shared with runs
$t->reset_destination;
object('slow', {%list, method => 'GET', path => '/items', query => {page => '{{cursor}}'}, next => {page => {}, total_pages => '/pages'}}, options => {rate_limit => '2/1s'});
$t->script(page({}, {items => [{id => 1}], pages => 4}));
is($t->sql("SELECT count(*) FROM ondatra.fetch('slow', NULL)"), '4', 'a limit slows it down');
is($t->control('GET', 'rates?window_ms=900&limit=2')->{over}, 0, 'and is kept');

# --- request()
$t->reset_destination;
$t->sql("SELECT ondatra.set_secret('token', 's3cret-token')");
$t->destination('api', {headers => {'X-App' => 'ondatra'}, retry => {attempts => 3, base_ms => 1, max_ms => 5}}, auth => {type => 'bearer', token => {secret => 'token'}});
$t->script({method => 'POST', path => '^/login', answer => {status => 201, json => {ok => \1, you => 'Bearer s3cret-token'}, headers => {'Set-Cookie' => ['a=1', 'b=2'], 'X-Id' => '7'}}},
    {method => 'GET', path => '^/flaky', times => 2, answer => {status => 503}}, {method => 'GET', path => '^/flaky', answer => {text => 'fine', content_type => 'text/plain'}},
    {method => 'POST', path => '^/once', answer => {status => 503}}, {method => 'GET', path => '^/nothing', answer => {status => 404, json => {error => 'none'}}}, {method => 'POST', path => '^/gone', answer => {misbehave => 'close'}});
my ($r) = $t->rows(q{SELECT * FROM ondatra.request('api', 'post', '/login?x=1', '{"user": "ann", "n": 1.50}', '{"X-Extra": "yes"}')});
is("$r->{status} $r->{headers}{'x-id'} " . $t->json_of($r->{headers}{'set-cookie'}), '201 7 ["a=1","b=2"]', 'status and headers');
is($r->{body}{you}, 'Bearer ***', 'the body, secrets scrubbed');
my $sent = $t->control('GET', 'requests?path=login')->{requests}[0];
is("$sent->{method} $sent->{headers}{'authorization'} $sent->{headers}{'x-app'} $sent->{headers}{'x-extra'} $sent->{headers}{'content-type'} $sent->{body}", 'POST Bearer s3cret-token ondatra yes application/json {"n": 1.50, "user": "ann"}', 'what was sent');
is($t->sql("SELECT status || ' ' || body_text || ' ' || (body IS NULL) FROM ondatra.request('api', 'GET', '/flaky')"), '200 fine true', 'a read is tried again');
is($t->sql("SELECT status FROM ondatra.request('api', 'POST', '/once', '{}')"), '503', 'a write that the server may have acted on is not');
is($t->control('GET', 'requests?path=once&count=1')->{count}, 1, 'once');
is($t->sql("SELECT status || ' ' || (body->>'error') FROM ondatra.request('api', 'GET', '/nothing')"), '404 none', 'any status is a result');
$t->sql_fails("SELECT ondatra.request('api', 'POST', '/gone')", qr/the answer could not be read/, 'no answer is an error');
$t->sql(q{SELECT ondatra.request('api', 'PUT', '/form', '"a=1&b=2"', '{"Content-Type": "application/x-www-form-urlencoded"}')});
is($t->control('GET', 'requests?path=form')->{requests}[0]{body}, 'a=1&b=2', 'a text under another media type goes as it is');
$t->sql_fails("SELECT ondatra.request('api', 'GET', '$_->[0]')", $_->[1], "path $_->[0]")
    for ['//evil.example.com/', qr/path/], ['http://evil.example.com/', qr/must start with a slash/], ['@evil.example.com', qr/must start with a slash/], ['/a/../b', qr/".." piece/], ['/a/%2e%2e/b', qr/path|piece/], ['/a b', qr/cannot stand in a URL/], ['/a#b', qr/cannot stand in a URL/];
$t->sql_fails("SELECT ondatra.request('api', 'TRACE', '/')", qr/unknown method "TRACE".*HINT/s, 'method');
$t->sql_fails(q{SELECT ondatra.request('api', 'GET', '/', headers => '{"Host": "evil"}')}, qr/"Host" cannot be set/, 'Host');
$t->sql_fails(q{SELECT ondatra.request('api', 'GET', '/', headers => '{"X": "a\nb"}')}, qr/header/, 'a header with a line break');
$t->sql_fails(q{SELECT ondatra.request('api', 'GET', '/', headers => '["X"]')}, qr/headers must be a JSON object/, 'headers');
is(scalar(grep { $_->{path} =~ /evil/ } @{ $t->control('GET', 'requests')->{requests} }), 0, 'nothing of it went out');
$t->no_violations;
done_testing;
