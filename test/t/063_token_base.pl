# A base URL that the answer to the token request names: requests go there, and the credentials to no host that the connector does not declare.

use strict;
use warnings FATAL => 'all';
use JSON::PP ();
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new(tls => 1);
my $true = JSON::PP::true;
my $there = "https://127.0.0.1:$t->{tls_port}";
my %connector = (
    title => 'CRM', base_url => 'https://login.example.com/v60', base_url_from_token => '/instance_url', hosts => [{host => '127.0.0.1', credentials => $true}, {host => '127.0.0.2', credentials => $true}, '*.files.example.com'],
    retry => $Ondatra::Test::RETRY,
    objects => {contacts => {upsert => {method => 'PUT', path => '/contacts/{{key}}'}, list => {method => 'GET', path => '/list', rows => '/records', id => '/id', next => {url => '/next'}}}},
);
sub create_destination { my (%args) = @_; return 'SELECT ondatra.create_destination(' . Ondatra::Test::arguments(%args) . ')' }
$t->sql("SELECT ondatra.set_secret('client', 'client s3cret'), ondatra.set_secret('refresh', 'refresh-zero'), ondatra.create_connector(" . Ondatra::Test::arguments(name => 'crm', spec => \%connector) . ')');
my %auth = (type => 'oauth2_refresh_token', token_url => $t->url . '/token', client_id => 'id', client_secret => {secret => 'client'}, refresh_token => {secret => 'refresh'});
$t->sql(create_destination(name => 'crm', connector => 'crm', auth => \%auth));
$t->sql(q{CREATE TABLE mart.p AS SELECT i AS id, 'row ' || i AS name FROM generate_series(1, 3) i});
$t->sync('p', 'mart.p', 'crm', object => 'contacts', options => {error_after => 1000});

sub play { my ($answer, @rules) = @_; return $t->script({method => 'POST', path => '^/token$', answer => {json => {access_token => 'tok-1', refresh_token => 'refresh-one', token_type => 'Bearer', %$answer}}}, @rules) }
sub asked { my ($request) = ($t->requests(path => '^/token$'))[-1]; return $request->{body} =~ /refresh_token=([^&]+)/ ? $1 : '' }
sub elsewhere { return join ' ', map { "$_->{method} $_->{path}" } grep { $_->{path} ne '/token' } $t->requests }

# --- previews know no token
like($t->sql(q{SELECT string_agg(url, ' ') FROM ondatra.preview_sync('p', 1)}), qr{^https://login\.example\.com/v60/contacts/\d$}, 'a preview shows the connector\'s own');
is($t->count_requests, 0, 'and asks nobody');

# --- what an endpoint may not say
for my $case (
    ['a stranger' => 'https://evil.example.com', qr{names a base URL that the credentials may not go to: https://evil\.example\.com}],
    ['a host that gets no credentials' => 'https://a.files.example.com', qr{may not go to: https://a\.files\.example\.com}],
    ['no encryption' => $t->url, qr{may not go to: http://127\.0\.0\.1}],
    ['a user' => "https://127.0.0.1\@evil.example.com", qr{names a base URL that is none}],
    ['a path' => "$there/../x", qr{names a base URL with a path}],
    ['a query' => "$there?x=", qr{names a base URL with a path}],
    ['another scheme' => 'file:///etc/passwd', qr{names a base URL that is none}],
    ['a number' => 7, qr{names a base URL that is none}],
    ['nothing' => undef, qr{has no base URL at "/instance_url"}],
) {
    my ($what, $base, $error) = @$case;
    $t->reset_destination;
    play({instance_url => $base});
    my $run = $t->run('p');
    $t->run_is($run, {status => 'failed', error_code => '28000', requests => 0}, "$what: stops the run");
    like($run->{error_message}, $error, "$what: which says why");
    is(elsewhere(), '', "$what: nobody gets a request");
    $t->sql_fails(q{SELECT * FROM ondatra.fetch('crm', 'contacts')}, $error, "$what: neither from fetch()");
}
is(asked(), 'refresh-one', 'the refresh token that came with it is not lost');

# --- it is heeded as soon as it is right
$t->reset_destination;
play({instance_url => $there, refresh_token => 'refresh-two'});
$t->sql("SELECT ondatra.resume_sync('p')");
$t->run_is($t->run('p'), {status => 'succeeded', rows_created => 3, requests => 3}, 'a declared host');
is(asked(), 'refresh-one', 'by the refresh token of before');
my ($request) = $t->requests(path => '/contacts/');
is("$request->{tls} $request->{headers}{authorization} $request->{headers}{host}", "1 Bearer tok-1 127.0.0.1:$t->{tls_port}", 'gets the requests, over TLS, with the token');
like($request->{path}, qr{^/v60/contacts/\d$}, 'under the path of the connector');
$t->sql(q{UPDATE mart.p SET name = name || '+'});
$t->run_is($t->run('p'), {status => 'succeeded', rows_updated => 3, requests => 3}, 'the next run, too');
is($t->count_requests(path => '^/token$'), 1, 'by the stored answer');

# --- from a caller's backend
$t->reset_destination;
sub list { my ($next, @ids) = @_; return {json => {records => [map { {id => $_} } @ids], next => $next}} }
play({instance_url => $there}, {method => 'GET', path => '^/v60/list$', answer => list('/v60/more', 1)}, {method => 'GET', path => '^/v60/more$', answer => list("$there/v60/last", 2)}, {method => 'GET', path => '^/v60/last$', answer => list(undef, 3)},
    {method => 'GET', path => '^/v60/?$', answer => {json => {}}});
is($t->sql(q{SELECT string_agg(r->>'id', ' ') FROM ondatra.fetch('crm', 'contacts') r}), '1 2 3', 'fetch(): pages by path and by URL');
is($t->sql(q{SELECT ok FROM ondatra.test_destination('crm')}), 't', 'test_destination()');
is($t->sql(q{SELECT status FROM ondatra.request('crm', 'GET', '/list')}), '200', 'request()');
is(scalar(grep { !$_->{tls} || $_->{headers}{authorization} ne 'Bearer tok-1' } $t->requests(path => '^/v60')), 0, 'all of it there, with the token');

# --- the address is looked at like any other
$t->reset_destination;
$t->sql("SELECT ondatra.set_secret('refresh', 'refresh-new')");
play({instance_url => "https://127.0.0.2:$t->{tls_port}"});
$t->sql(q{UPDATE mart.p SET name = name || '+'});
my $run = $t->run('p');
$t->run_is($run, {status => 'failed', rows_updated => 0}, 'a declared host at an address that is not allowed');
like(($t->failed_rows('p'))[0]{error_message}, qr/127\.0\.0\.2|address/, 'is not spoken to');
is(elsewhere(), '', 'by nobody');

# --- what does not go together
$t->sql_fails(create_destination(name => 'x', connector => 'crm', auth => {type => 'bearer', token => {secret => 'client'}}), qr/takes the base URL from the answer to a token request, but these credentials make none.*HINT:  Give the destination a base_url/s, 'credentials without a token');
$t->sql_fails(create_destination(name => 'x', connector => 'crm', auth => {%auth, tls => {ca => {secret => 'client'}}}), qr/"ca" of auth is for one host/, 'TLS of one host');
$t->sql_fails(create_destination(name => 'x', connector => 'crm', auth => {%auth, values => {k => {env => 'ONDATRA_K'}}}), qr/"k" of auth is for one host/, 'a value of the environment');
$t->sql_fails('SELECT ondatra.create_connector(' . Ondatra::Test::arguments(name => 'y', spec => {%connector{qw(title objects base_url_from_token)}}) . ')', qr/"base_url_from_token" needs "base_url" beside it/, 'no path');
$t->sql_fails('SELECT ondatra.create_connector(' . Ondatra::Test::arguments(name => 'y', spec => {%connector, base_url_from_token => 'instance_url'}) . ')', qr/base_url_from_token/, 'no pointer');

# --- a base URL of the destination's own wins
$t->reset_destination;
play({instance_url => 'https://evil.example.com'});
$t->sql(create_destination(name => 'own', connector => 'crm', base_url => $t->url . '/own', auth => \%auth));
$t->sync('own', 'mart.p', 'own', object => 'contacts');
$t->run_is($t->run('own'), {status => 'succeeded', rows_created => 3}, 'a base URL of the destination');
is($t->count_requests(path => '^/own/contacts/'), 3, 'is where requests go');

# --- Salesforce
is($t->sql(q{SELECT spec->>'base_url_from_token' FROM ondatra.connectors WHERE name = 'salesforce'}), '/instance_url', 'Salesforce names its instance so');
$t->no_violations;
done_testing;
