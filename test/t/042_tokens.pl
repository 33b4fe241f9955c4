# Access tokens: asked for in every form, shared, renewed, refused; refresh tokens that are replaced with each use and survive a crash at every step. The
# scripted destination is the API and the token endpoint.

use strict;
use warnings FATAL => 'all';
use JSON::PP ();
use MIME::Base64 qw(decode_base64 decode_base64url);
use Ondatra::Sessions;
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new(conf => "restart_after_crash = on\nlog_statement = 'none'\nlog_min_messages = debug1");
my $true = JSON::PP::true;
my $n = 0;

sub token_url { return $t->url . '/token' }

# Rules: what the endpoint answers, and that the API wants one of these tokens.
sub play {
    my ($good, @endpoint) = @_;
    return $t->script((map { {method => 'POST', path => '^/token$', %$_} } @endpoint),
        {path => '^/contacts/', headers => {authorization => "^Bearer (?:$good)\$"}, answer => {records => $true}},
        {path => '^/contacts/', answer => {status => 401, json => {error => 'token is not valid'}}});
}

sub gives { my ($token, %more) = @_; return {answer => {json => {access_token => $token, token_type => 'Bearer', %more}}} }

sub setup {
    my ($rows, $auth, $options) = @_;
    my $name = 'k' . ++$n;
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.$name AS SELECT i AS id, 'row ' || i AS name FROM generate_series(1, $rows) i");
    $t->destination($name, $options, auth => $auth);
    $t->sync($name, "mart.$name", $name);
    return $name;
}

sub asked { return $t->requests(path => '^/token$') }
sub form { my ($request) = @_; return {map { my ($k, $v) = split /=/, $_, 2; $v =~ tr/+/ /; $v =~ s/%(..)/chr hex $1/ge; $k => $v } split /&/, $request->{body}} }
sub touch { my ($name) = @_; return $t->sql("UPDATE mart.$name SET name = name || '+'") }

$t->sql("SELECT ondatra.set_secret('client', 'client s3cret&more'), ondatra.set_secret('refresh', 'refresh-zero')");
my %client = (type => 'oauth2_client_credentials', token_url => token_url(), client_id => 'an id', client_secret => {secret => 'client'});
my %refresh = (%client, type => 'oauth2_refresh_token', refresh_token => {secret => 'refresh'});

# --- how it is asked for ----------------------------------------------------------------------------------------------------

{
    my $sync = setup(3, {%client, scope => ['read', 'write'], audience => 'https://api', parameters => {resource => 'a b', extra => {secret => 'refresh'}}});
    play('first-token', gives('first-token', expires_in => 3600));
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 3, retries => 0}, 'basic: a run gets a token');
    my @asked = asked();
    is(scalar(@asked), 1, 'basic: one');
    is(decode_base64($asked[0]{headers}{authorization} =~ s/^Basic //r), 'an+id:client+s3cret%26more', 'basic: the client as RFC 6749 writes it');
    is_deeply(form($asked[0]), {grant_type => 'client_credentials', scope => 'read write', audience => 'https://api', resource => 'a b', extra => 'refresh-zero'}, 'basic: parameters');
    is($asked[0]{headers}{'content-type'}, 'application/x-www-form-urlencoded', 'basic: a form');
    ok(!grep({ ($_->{headers}{authorization} // '') =~ /Basic/ || ($_->{body} // '') =~ /s3cret/ } $t->requests(path => '^/contacts')), 'the API sees the token only');
    touch($sync);
    $t->run_is($t->run($sync), {status => 'succeeded', rows_updated => 3}, 'the next run uses it');
    is(scalar(asked()), 1, 'and asks no more');
    $t->sql("SELECT ondatra.set_secret('client', 'another s3cret')");
    touch($sync);
    $t->run_is($t->run($sync), {status => 'succeeded', rows_updated => 3}, 'another secret');
    is(scalar(asked()), 2, 'means another token');
    $t->sql("SELECT ondatra.set_secret('client', 'client s3cret&more')");

    $sync = setup(1, {%client, client_auth => 'post'});
    play('t', gives('t'));
    $t->run_is($t->run($sync), {status => 'succeeded'}, 'post: a run gets a token');
    is_deeply(form((asked())[0]), {grant_type => 'client_credentials', client_id => 'an id', client_secret => 'client s3cret&more'}, 'post: the client in the form');
    my %public = %client; delete $public{client_secret};
    $sync = setup(1, {%public, prefix => 'Zoho-oauthtoken'});
    $t->script({path => '^/token$', %{ gives('t') }}, {path => '^/contacts', headers => {authorization => '^Zoho-oauthtoken t$'}, answer => {records => $true}});
    $t->run_is($t->run($sync), {status => 'succeeded'}, 'none: a run gets a token, and shows it under another word');
    is_deeply(form((asked())[0]), {grant_type => 'client_credentials', client_id => 'an id'}, 'none: the client without a secret');
    $t->no_violations;
}

# A JWT of ours: header, claims, and whether OpenSSL finds it signed by the key.
sub open_jwt {
    my ($jwt, $key) = @_;
    my ($head, $claims, $signature) = split /\./, $jwt;
    my $file = "$t->{dir}/jwt" . ++$n;
    append_to_file("$file.text", "$head.$claims");
    append_to_file("$file.sig", decode_base64url($signature));
    my $ok = eval { Ondatra::Test::openssl('dgst', '-sha256', '-prverify', $key, '-signature', "$file.sig", "$file.text"); 1 };
    return (JSON::PP::decode_json(decode_base64url($head)), JSON::PP::decode_json(decode_base64url($claims)), $ok);
}

{
    my $key = "$t->{dir}/rsa.pem";
    Ondatra::Test::openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', $key);
    $t->sql("SELECT ondatra.set_secret('rsa', \$k\$" . slurp_file($key) . "\$k\$)");
    my $sync = setup(1, {type => 'jwt_bearer', token_url => token_url(), issuer => 'robot@example.com', subject => 'ann@example.com', key => {secret => 'rsa'}, key_id => 'key 1',
        scope => 'sheets', claims => {tenant => 7}, lifetime_s => 120});
    play('t', gives('t'));
    $t->run_is($t->run($sync), {status => 'succeeded'}, 'jwt_bearer: a run gets a token');
    my $form = form((asked())[0]);
    is($form->{grant_type}, 'urn:ietf:params:oauth:grant-type:jwt-bearer', 'jwt_bearer: the grant');
    my ($head, $claims, $ok) = open_jwt($form->{assertion}, $key);
    is_deeply($head, {alg => 'RS256', typ => 'JWT', kid => 'key 1'}, 'jwt_bearer: RS256');
    ok($ok, 'jwt_bearer: signed by the key');
    is($claims->{exp} - $claims->{iat}, 120, 'jwt_bearer: its life');
    ok(length $claims->{jti}, 'jwt_bearer: a number of its own');
    is_deeply({%$claims{qw(iss sub aud scope tenant)}}, {iss => 'robot@example.com', sub => 'ann@example.com', aud => token_url(), scope => 'sheets', tenant => 7}, 'jwt_bearer: claims');

    $sync = setup(1, {%client{qw(type token_url client_id)}, client_key => {secret => 'rsa'}, client_key_id => 'key 2', client_audience => 'https://issuer'});
    play('t', gives('t'));
    $t->run_is($t->run($sync), {status => 'succeeded'}, 'private_key_jwt: a run gets a token');
    $form = form((asked())[0]);
    is($form->{client_assertion_type}, 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', 'private_key_jwt: the form');
    (undef, $claims, $ok) = open_jwt($form->{client_assertion}, $key);
    ok($ok, 'private_key_jwt: signed by the key');
    is_deeply({%$claims{qw(iss sub aud)}}, {iss => 'an id', sub => 'an id', aud => 'https://issuer'}, 'private_key_jwt: claims');
    $t->sql("SELECT ondatra.set_secret('rsa', 'no key'); UPDATE mart.$sync SET name = 'x'");
    $t->run_is($t->run($sync), {status => 'failed', error_code => '28000', requests => 0}, 'a key that is none stops the run');
    $t->no_violations;
}

# --- tokens that end --------------------------------------------------------------------------------------------------------

{
    my $sync = setup(40, {%client}, {concurrency => 2});
    play('b', gives('a', expires_in => 3600), );
    $t->script({method => 'POST', path => '^/token$', nth => 1, %{ gives('a', expires_in => 3600) }}, {method => 'POST', path => '^/token$', %{ gives('b', expires_in => 3600) }},
        {path => '^/contacts/', headers => {authorization => '^Bearer a$'}, times => 10, answer => {records => $true}},
        {path => '^/contacts/', headers => {authorization => '^Bearer b$'}, answer => {records => $true}}, {path => '^/contacts/', answer => {status => 401}});
    my $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_created => 40, rows_failed => 0, retries => 0}, 'revoked in the middle of a run: no row fails');
    is(scalar(asked()), 2, 'revoked: one more token');
    cmp_ok($run->{requests}, '<=', 42, 'revoked: only what was in flight goes again');
    is($t->state->{repeats}, 0, 'revoked: nothing twice');

    $sync = setup(8, {%client}, {concurrency => 1, rate_limit => '4/1s'});
    play('t\d+', gives('t{/n}', expires_in => 1));
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 8, retries => 0}, 'tokens of one second: a run of two');
    cmp_ok(scalar(asked()), '>=', 2, 'tokens of one second: renewed meanwhile');
    is($t->look('state')->{statuses}{401} // 0, 0, 'tokens of one second: none was used too long');

    $sync = setup(6, {%client}, {concurrency => 2});
    play('never', gives('t{/n}'));
    $run = $t->run($sync);
    $t->run_is($run, {status => 'failed', error_code => '28000', rows_created => 0}, 'an API that takes no token: the run stops');
    cmp_ok(scalar(asked()), '<=', 3, 'and does not ask for one after the other');
    is($t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'"), 'error', 'and so does the sync');
}

# --- endpoints that do not ----------------------------------------------------------------------------------------------------

{
    my $sync = setup(2, {%client}, {retry => {attempts => 4, base_ms => 10, max_ms => 50}});
    play('t', {times => 1, answer => {status => 503}}, {times => 1, answer => {misbehave => 'close'}}, {times => 1, answer => {status => 429, headers => {'Retry-After' => '0'}}}, gives('t'));
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 2}, 'an endpoint that is not well is asked again');
    is(scalar(asked()), 4, 'until it answers');

    $sync = setup(2, {%client}, {retry => {attempts => 2, base_ms => 10, max_ms => 50}});
    play('t', {answer => {status => 503, text => 'client s3cret&more'}});
    my $run = $t->run($sync);
    $t->run_is($run, {status => 'failed', error_code => '08006', rows_created => 0, rows_pending => 2, rows_failed => 0, requests => 0}, 'one that never does: the rest is pending');
    like($run->{error_message}, qr/the token endpoint gives no token: it answers HTTP 503/, 'one that never does: in words');
    is($t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'"), 'active', 'one that never does: the sync goes on');

    play('t', {answer => {status => 401, json => {error => 'invalid_client', error_description => 'not this: client s3cret&more'}}});
    $run = $t->run($sync);
    $t->run_is($run, {status => 'failed', error_code => '28000', rows_pending => 2, requests => 0}, 'a refusal stops the run');
    like($run->{error_message}, qr/the token endpoint refuses the credentials \(HTTP 401, invalid_client\)/, 'a refusal: which');
    like($run->{error_detail}, qr/It says: not this: \*\*\*.*set_secret\('client'/, 'a refusal: its words without the secret, and what to do');
    is(scalar(asked()), 3, 'a refusal is not asked again');
    for my $said ({error => 'invalid_client', error_description => 'x' x 385 . 'client s3cret&more'}, {error => 'client s3cret&more'}) {
        $t->sql("SELECT ondatra.set_secret('client', 'client s3cret&more')");
        play('t', {answer => {status => 401, json => $said}});
        $run = $t->run($sync);
        is($run->{error_code}, '28000', 'another refusal');
        unlike("$run->{error_message} $run->{error_detail}", qr/client s/, 'a refusal: no part of the secret, where its words are cut or in its code');
    }
    is($t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'"), 'error', 'a refusal: the sync waits for a person');
    play('t', gives('t'));
    $t->sql("SELECT ondatra.set_secret('client', 'client s3cret&more')");
    $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE sync_name = '$sync' ORDER BY run_id DESC LIMIT 1", 'failed', 'the sync has no schedule');
    is($t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'"), 'active', 'a new secret releases it');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 2}, 'and it goes on');

    my @lies = (['no JSON', {text => '<html>'}], ['no token', {json => {token => 'x'}}], ['a number', {json => {access_token => 5}}], ['a line break', {json => {access_token => "a\r\nX-Evil: 1"}}],
        ['too long', {json => {access_token => 'x' x 20000}}], ['another kind', {json => {access_token => 'x', token_type => 'DPoP'}}], ['an array', {json => []}],
        ['a redirect', {status => 302, headers => {Location => $t->url . '/elsewhere'}}]);
    for my $lie (@lies) {
        $sync = setup(1, {%client});
        play('.*', {answer => $lie->[1]});
        $run = $t->run($sync);
        $t->run_is($run, {status => 'failed', error_code => '28000', requests => 0}, "an answer with $lie->[0] is refused");
        like($run->{error_message}, qr/token endpoint/, "an answer with $lie->[0]: in words");
        is($t->count_requests(path => 'elsewhere'), 0, "an answer with $lie->[0]: nothing goes elsewhere");
    }
    $sync = setup(1, {%client, token_url => 'http://127.0.0.2:' . $t->{port} . '/token'});
    $run = $t->run($sync);
    $t->run_is($run, {status => 'failed', error_code => '08006'}, 'an endpoint at a private address');
    like($run->{error_message}, qr/127\.0\.0\.2 resolves to a private or loopback address/, 'an endpoint at a private address: is not spoken to');
    $t->sql_fails("SELECT ondatra.create_destination('x', base_url => 'https://a.example.com', auth => '{\"type\": \"oauth2_client_credentials\", \"token_url\": \"ftp://x\", \"client_id\": \"a\"}')",
        qr/does not start with https/, 'a token_url that is none');
}

# --- one for all ---------------------------------------------------------------------------------------------------------------

{
    my $one = setup(5, {%client});
    $t->sync('second', "mart.$one", $one);
    play('t\d+', {answer => {delay_ms => 700, json => {access_token => 't{/n}', expires_in => 3600}}});
    $t->sql("SELECT ondatra.trigger_sync('$one'), ondatra.trigger_sync('second')");
    $t->poll_sql("SELECT string_agg(status, ' ') FROM ondatra.sync_runs WHERE sync_name IN ('$one', 'second')", 'succeeded succeeded', 'two runs at once');
    is(scalar(asked()), 1, 'ask for one token');
    my $two = 'k' . ++$n;
    $t->destination($two, {}, auth => {%client});
    $t->sync($two, "mart.$one", $two);
    $t->run_is($t->run($two), {status => 'succeeded'}, 'another destination with the same credentials');
    is(scalar(asked()), 2, 'has a token of its own');
    is($t->admin('SELECT count(DISTINCT token) = count(token) AND count(token) > 1 FROM ondatra.all_tokens'), 't', 'stored apart');
}

# --- refresh tokens ---------------------------------------------------------------------------------------------------------------

# An endpoint that replaces: what each refresh token brings.
sub rotates {
    my (%brings) = @_;
    return ((map { {body_contains => "refresh_token=$_", %{ $brings{$_} }} } sort keys %brings), {answer => {status => 400, json => {error => 'invalid_grant', error_description => 'unknown refresh token'}}});
}
sub next_token { my ($access, $refresh, %how) = @_; return {answer => {json => {access_token => $access, refresh_token => $refresh, expires_in => 3600}, %how}} }
sub refreshed { return map { form($_)->{refresh_token} } asked() }

{
    my $sync = setup(2, {%refresh});
    play('a1', rotates('refresh-zero' => next_token('a1', 'r1')));
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 2}, 'a refresh token brings an access token');
    play('a2', rotates(r1 => next_token('a2', 'r2')));
    touch($sync);
    $t->run_is($t->run($sync), {status => 'succeeded', rows_updated => 2, rows_failed => 0}, 'when that is refused, the one that replaced it the next');
    play('a3', rotates(r2 => {answer => {json => {access_token => 'a3'}}}));
    touch($sync);
    $t->run_is($t->run($sync), {status => 'succeeded', rows_updated => 2}, 'an answer without a new one');
    play('a4', rotates(r2 => next_token('a4', 'r3')));
    touch($sync);
    $t->run_is($t->run($sync), {status => 'succeeded', rows_updated => 2}, 'keeps the old one');
    is_deeply([refreshed()], [qw(refresh-zero r1 r2 r2)], 'each was used in its turn');
    # other credentials of the same client do not cost the chain; a new refresh token begins another
    $t->sql("SELECT ondatra.set_secret('client', 'new s3cret')");
    play('a5', rotates(r3 => next_token('a5', 'r4')));
    touch($sync);
    $t->run_is($t->run($sync), {status => 'succeeded'}, 'a new client secret goes on with what was stored');
    $t->sql("SELECT ondatra.set_secret('refresh', 'refresh-new')");
    play('b1', rotates('refresh-new' => next_token('b1', 's1')));
    touch($sync);
    $t->run_is($t->run($sync), {status => 'succeeded'}, "a person's new refresh token wins over it");
    is((refreshed())[-1], 'refresh-new', 'at once');
    # refused for good
    play('never', rotates());
    touch($sync);
    my $run = $t->run($sync);
    $t->run_is($run, {status => 'failed', error_code => '28000', rows_pending => 2}, 'a refresh token that is refused stops the run');
    like($run->{error_message} . $run->{error_detail}, qr/refuses the refresh token \(HTTP 400, invalid_grant\).*unknown refresh token.*set_secret\('refresh'/s, 'in words');
    is_deeply([(refreshed())[-2, -1]], ['s1', 'refresh-new'], 'after the stored one and the one before were tried');
    is($t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'"), 'error', 'and the sync waits for a person');
    $t->sql("SELECT ondatra.set_secret('refresh', 'refresh-zero')");
}

# --- kill -9 between every two steps of a rotation --------------------------------------------------------------------------------

# The endpoint gives a grace: what was replaced is good until its successor is used. That is what makes a lost answer harmless.
sub rotation_killed {
    my ($name, %how) = @_;
    my $sync = setup(2, {%refresh});
    $t->sql(qq{SELECT ondatra.update_sync('$sync', options => '{"in_doubt_wait": "1 second"}')});
    play('a1', rotates('refresh-zero' => next_token('a1', 'r1')));
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 2}, "$name: to begin with");
    my @before = refreshed();
    touch($sync);
    $how{before}->($sync) if $how{before};
    my $blocker = $how{lock} ? session($t, $t->superuser, "BEGIN; LOCK TABLE ondatra.all_tokens IN $how{lock} MODE; SELECT pg_sleep(600);\n") : undef;
    $t->poll(sub { $t->admin("SELECT count(*) FROM pg_locks WHERE relation = 'ondatra.all_tokens'::regclass AND mode LIKE '%Exclusive%' AND granted") ne '0' }) if $blocker;
    $t->sql("SELECT ondatra.trigger_sync('$sync')");
    $t->poll($how{until}, "$name: the run is there");
    my ($pid) = background_workers($t, 'run');
    kill 'KILL', $pid;
    $t->poll(sub { my ($status, $out) = $t->psql_as('ann', 'SELECT true'); !$status && $out eq 't' }, "$name: the server is back");
    finish($blocker) if $blocker;
    $how{after}->($sync);
    $t->release;
    $t->poll_sql("SELECT bool_or(status = 'succeeded') FROM ondatra.sync_runs WHERE sync_name = '$sync' AND trigger = 'recovery'", 't', "$name: without a person the rows get through");
    is_deeply([map { $_->{name} } sort { $a->{id} <=> $b->{id} } $t->rows("SELECT * FROM mart.$sync")], [map { $t->records('contacts')->{$_}{name} } 1, 2], "$name: all of them");
    my @refreshed = refreshed();
    is_deeply([@refreshed[scalar(@before) .. $#refreshed]], $how{refreshed}, "$name: refresh tokens that were used");
    play('z9', rotates($how{last} => next_token('z9', 'z10')));
    touch($sync);
    # what was in doubt when the process died may still arrive for a while: a new version waits for that
    $t->poll(sub { $t->run($sync)->{status} eq 'succeeded' }, "$name: and the account is not locked out");
    return;
}

my $hang = {misbehave => 'hang'};
my $waits_for_lock = sub { $t->admin("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE relation = 'ondatra.all_tokens'::regclass AND NOT granted AND backend_type = 'ondatra run'") eq '1' };
my $good = sub { my ($access, @rules) = @_; return sub { play($access, @rules) } };

rotation_killed('before the intent', before => sub { play('a2', rotates(r1 => next_token('a2', 'r2'))) }, lock => 'ACCESS EXCLUSIVE', until => $waits_for_lock,
    after => $good->('a2', rotates(r1 => next_token('a2', 'r2'))), refreshed => ['r1'], last => 'r2');
rotation_killed('the request has not arrived', before => sub { play('a2', {body_contains => 'refresh_token=r1', answer => {misbehave => 'hang'}}) },
    until => sub { $t->state->{hanging} == 1 }, after => $good->('a2', rotates(r1 => next_token('a2', 'r2'))), refreshed => ['r1', 'r1'], last => 'r2');
rotation_killed('the token was replaced, the answer is lost', before => sub { play('a2', {body_contains => 'refresh_token=r1', answer => {misbehave => 'hang_body', json => {access_token => 'a2', refresh_token => 'lost'}}}) },
    until => sub { $t->state->{hanging} == 1 }, after => $good->('a3', rotates(r1 => next_token('a3', 'r3'))), refreshed => ['r1', 'r1'], last => 'r3');
{
    my $blocker; # comes when the intent is committed and the endpoint has the request; then the endpoint answers
    rotation_killed('the answer is there and not stored',
        before => sub { play('a2', {body_contains => 'refresh_token=r1', answer => {misbehave => 'hang', json => {access_token => 'a2', refresh_token => 'lost'}}}) },
        until => sub {
            return 0 if !$blocker && $t->state->{hanging} != 1;
            $blocker ||= session($t, $t->superuser, "BEGIN; LOCK TABLE ondatra.all_tokens IN SHARE MODE; SELECT pg_sleep(600);\n");
            return 0 if $t->admin("SELECT count(*) FROM pg_locks WHERE relation = 'ondatra.all_tokens'::regclass AND mode = 'ShareLock' AND granted") eq '0';
            $t->release;
            return $waits_for_lock->();
        },
        after => sub { finish($blocker); play('a3', rotates(r1 => next_token('a3', 'r3'))) }, refreshed => ['r1', 'r1'], last => 'r3');
}
rotation_killed('stored, and not used yet', before => sub { $t->script({method => 'POST', path => '^/token$', %{ (rotates(r1 => next_token('a2', 'r2')))[0] }},
        {path => '^/contacts/', headers => {authorization => '^Bearer a1$'}, answer => {status => 401}}, {path => '^/contacts/', answer => $hang}) },
    until => sub { $t->state->{hanging} > 0 }, after => $good->('a2', rotates()), refreshed => ['r1'], last => 'r2');
# an endpoint without grace for the stored one, but the one before is still good: a database that went back in time
{
    my $sync = setup(2, {%refresh});
    play('a1', rotates('refresh-zero' => next_token('a1', 'r1')));
    $t->run($sync);
    play('a2', rotates(r1 => next_token('a2', 'r2')));
    touch($sync);
    $t->run($sync);
    play('a3', rotates(r1 => next_token('a3', 'r3')));
    touch($sync);
    $t->run_is($t->run($sync), {status => 'succeeded', rows_updated => 2}, 'the stored one is refused, the one before is good');
    is_deeply([(refreshed())[-2, -1]], ['r2', 'r1'], 'the stored one is tried first');
}

# --- test_destination: what comes is kept whatever becomes of the caller -----------------------------------------------------------

{
    my $sync = setup(1, {%refresh});
    $t->script({method => 'POST', path => '^/token$', %{ (rotates('refresh-zero' => next_token('a1', 'r1')))[0] }},
        {path => '^/$', headers => {authorization => '^Bearer a1$'}, answer => {json => {}}}, {path => '^/$', answer => {status => 401}});
    is($t->sql("BEGIN; SELECT ok FROM ondatra.test_destination('$sync'); ROLLBACK"), 't', 'test_destination in a transaction that is rolled back');
    $t->script({method => 'POST', path => '^/token$', %{ (rotates(r1 => next_token('a2', 'r2')))[0] }},
        {path => '^/$', headers => {authorization => '^Bearer a2$'}, answer => {json => {}}}, {path => '^/$', answer => {status => 401}});
    is($t->sql("SELECT ok FROM ondatra.test_destination('$sync')"), 't', 'and again, with the token that replaced the first');
    is_deeply([refreshed()], ['refresh-zero', 'r1'], 'nothing was lost');
    play('never', {answer => {status => 400, json => {error => 'invalid_grant'}}});
    $t->sql("SELECT ondatra.set_secret('refresh', 'refresh-bad')");
    $t->sql_fails("SELECT ondatra.test_destination('$sync')", qr/refuses the refresh token.*HINT:.*set_secret/s, 'a refusal is said at once');
    play('a', rotates('refresh-bad' => next_token('a', 'b', delay_ms => 60000)));
    my $s = session($t, 'ann', "SELECT ondatra.test_destination('$sync');\n");
    $t->poll(sub { $t->state->{in_flight} }, 'while the endpoint thinks');
    interrupt($s);
    my (undef, $err) = finish($s);
    like($err, qr/canceling statement/, 'the caller can give up');
    $t->sql_fails("BEGIN; SELECT ondatra.create_destination('fresh', base_url => '" . $t->url . "', auth => '" . $t->json_of({%refresh}) . "'); SELECT ondatra.test_destination('fresh')",
        qr/is not committed yet/, 'a destination that is not committed has no token');
}

# --- request() and fetch(): the same, from a caller's transaction --------------------------------------------------------------------

{
    my $sync = setup(1, {%refresh}, {object => {upsert => {method => 'PUT', path => '/contacts/{{key}}'},
        list => {method => 'GET', path => '/contacts', query => {page => '{{cursor}}'}, rows => '/rows', key => '/id', next => {page => {first => 1}}, pages_max => 5}}});
    $t->sql("SELECT ondatra.set_secret('refresh', 'refresh-zero')");
    $t->script({method => 'POST', path => '^/token$', %{ (rotates('refresh-zero' => next_token('a1', 'r1')))[0] }}, {method => 'POST', path => '^/token$', %{ (rotates(r1 => next_token('a2', 'r2')))[0] }},
        {path => '^/me', headers => {authorization => '^Bearer a1$'}, answer => {json => {me => 1}}}, {path => '^/contacts', query => {page => '^1$'}, headers => {authorization => '^Bearer a1$'}, answer => {json => {rows => [{id => 1}, {id => 2}]}}},
        {path => '^/contacts', query => {page => '^2$'}, headers => {authorization => '^Bearer a2$'}, answer => {json => {rows => []}}}, {path => '.', answer => {status => 401}});
    is($t->sql("BEGIN; SELECT status FROM ondatra.request('$sync', 'GET', '/me'); ROLLBACK"), '200', 'request() has a token');
    is($t->sql("SELECT count(*) FROM ondatra.fetch('$sync', NULL)"), '2', 'fetch() uses it, and another when it is refused between two pages');
    is_deeply([refreshed()], ['refresh-zero', 'r1'], 'nothing was lost on the way');
}

# --- where nothing of it is ------------------------------------------------------------------------------------------------------------

{
    my $key = quotemeta((split /\n/, slurp_file("$t->{dir}/rsa.pem"))[1]);
    my $secrets = qr/first-token|client s3cret|another s3cret|refresh-zero|refresh-new|"r[123]"|$key/;
    for my $table (split /\n/, $t->admin("SELECT relname FROM pg_class WHERE relnamespace = 'ondatra'::regnamespace AND relkind IN ('r', 'v')")) {
        unlike($t->admin("SELECT coalesce(string_agg(x::text, ' '), '') FROM ondatra.$table x"), $secrets, "nothing of it in $table");
    }
    my $dump = "$t->{dir}/dump.sql";
    $t->node->command_ok(['pg_dump', '-U', $t->superuser, '-f', $dump, '-d', $t->node->connstr('postgres')], 'a dump');
    like(slurp_file($dump), qr/COPY ondatra\.all_tokens/, 'keeps the tokens');
    unlike(slurp_file($dump) =~ s/^.*(?:mart\.|CREATE).*$//mgr, $secrets, 'encrypted');
    unlike(Ondatra::Test::slurp($t->node->logfile), $secrets, 'nothing of it in the log');
    is($t->sql("SELECT has_table_privilege('ann', 'ondatra.all_tokens', 'SELECT')"), 'f', 'nobody may read the table');
}
done_testing();
