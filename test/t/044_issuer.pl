# Tokens of an authorization server that nobody here wrote: every way for a client to show itself, refresh tokens that are replaced with each use, tokens of five seconds.
# needs npm: oidc-provider@9.13.3

use strict;
use warnings FATAL => 'all';
use FindBin;
use HTTP::Tiny;
use JSON::PP ();
use Ondatra::Sessions;
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $npm = $ENV{ONDATRA_NPM_DIR} || '/var/tmp/ondatra-npm';
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH} || '';
plan skip_all => 'node is not installed' unless $node;
plan skip_all => 'npm has not installed oidc-provider' unless -f "$npm/node_modules/oidc-provider/lib/index.js";

my $t = Ondatra::Test->new(conf => 'restart_after_crash = on');
my $port = Ondatra::Test::free_port();
my $url = "http://127.0.0.1:$port";
my $key = "$t->{dir}/client.pem";
Ondatra::Test::openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', $key);
my $log = "$t->{dir}/issuer.log";
my $pid = Ondatra::Test::spawn($log, $node, "$FindBin::Bin/../server/issuer.mjs", $npm, $port, $key);
$t->poll(sub { HTTP::Tiny->new(timeout => 5)->get("$url/seen")->{success} || !Ondatra::Test::alive($pid) });
plan skip_all => 'oidc-provider does not run with this node: ' . (split /\n/, Ondatra::Test::slurp($log) || '?')[0] unless HTTP::Tiny->new(timeout => 5)->get("$url/seen")->{success};

sub issuer {
    my ($path, $content) = @_;
    my $http = HTTP::Tiny->new(timeout => 30);
    my $answer = defined $content ? $http->request('POST', "$url/$path", {content => JSON::PP::encode_json($content)}) : $http->get("$url/$path");
    die "$path: $answer->{status} $answer->{content}" unless $answer->{success};
    return JSON::PP::decode_json($answer->{content});
}

my $n = 0;
sub setup {
    my ($rows, $auth, $options) = @_;
    my $name = 'o' . ++$n;
    $t->sql("CREATE TABLE mart.$name AS SELECT i AS id, 'row ' || i AS name FROM generate_series(1, $rows) i");
    $t->destination($name, $options, auth => {type => 'oauth2_client_credentials', token_url => "$url/token", %$auth}, base_url => $url);
    $t->sync($name, "mart.$name", $name);
    return $name;
}

$t->sql("SELECT ondatra.set_secret('client', 'a s3cret: with / signs & more'), ondatra.set_secret('key', \$k\$" . slurp_file($key) . "\$k\$)");
my %secret = (client_secret => {secret => 'client'});
my %client = (
    basic => {client_id => 'basic client', %secret},
    post => {client_id => 'post', client_auth => 'post', %secret},
    private_key_jwt => {client_id => 'jwt', client_key => {secret => 'key'}, client_key_id => 'key-1', client_audience => $url});

# --- client credentials, in all forms
for my $form (sort keys %client) {
    my $sync = setup(4, $client{$form});
    my $before = issuer('seen')->{tokens};
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 4, retries => 0}, "$form: all rows get through");
    is(issuer('seen')->{tokens} - $before, 1, "$form: with one token");
}
is_deeply(issuer('seen')->{errors}, [], 'the issuer found nothing wrong');
$t->sql("SELECT ondatra.set_secret('client', 'another')");
my $run = $t->run(setup(1, $client{basic}));
$t->run_is($run, {status => 'failed', error_code => '28000', requests => 0}, 'a wrong secret');
like($run->{error_message}, qr/invalid_client/, "in the issuer's words");
$t->sql("SELECT ondatra.set_secret('client', 'a s3cret: with / signs & more')");

# --- tokens of five seconds while a run goes on
{
    my $before = issuer('seen');
    my $sync = setup(90, $client{basic}, {concurrency => 2, rate_limit => '10/1s'});
    $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_created => 90, rows_failed => 0, retries => 0}, 'tokens of five seconds: a run of eight seconds');
    my $after = issuer('seen');
    cmp_ok($after->{tokens} - $before->{tokens}, '>=', 2, 'tokens of five seconds: several were fetched');
    is($after->{taken} - $before->{taken}, 90, 'tokens of five seconds: each row was taken once');
    note('401s on the way: ' . ($after->{rejected} - $before->{rejected}));
}

# --- refresh tokens that are replaced with each use, and whose reuse costs the whole grant
for my $client ('basic client', 'none') {
    my $first = issuer('grant', {client => $client})->{refresh_token};
    (my $secret = "refresh_$client") =~ s/ /_/g;
    $t->sql("SELECT ondatra.set_secret('$secret', '$first')");
    my $sync = setup(3, {type => 'oauth2_refresh_token', client_id => $client, ($client eq 'none' ? () : %secret), refresh_token => {secret => $secret}});
    issuer('ttl', {ttl => 1});
    my $before = issuer('seen');
    for my $round (1 .. 4) {
        $t->sql("UPDATE mart.$sync SET name = name || '+'");
        is($t->run($sync)->{status}, 'succeeded', "$client: run $round with refresh tokens that are replaced");
        $t->poll(sub { $t->admin("SELECT expires_at < clock_timestamp() FROM ondatra.all_tokens ORDER BY obtained_at DESC NULLS LAST LIMIT 1") eq 't' }, "$client: until its token is over");
    }
    cmp_ok(issuer('seen')->{tokens} - $before->{tokens}, '>=', 4, "$client: each brought the next");
    # two runs at once: one of them asks
    $t->sync("two_$sync", "mart.$sync", $sync);
    $t->sql("UPDATE mart.$sync SET name = name || '*'; SELECT ondatra.trigger_sync('$sync'), ondatra.trigger_sync('two_$sync')");
    $t->poll_sql("SELECT count(*) FILTER (WHERE status = 'succeeded') || ' of ' || count(*) FROM (SELECT DISTINCT ON (sync_name) status FROM ondatra.sync_runs WHERE sync_name IN ('$sync', 'two_$sync') "
        . "AND finished_at IS NOT NULL ORDER BY sync_name, run_id DESC) r", '2 of 2', "$client: two runs at once");
    issuer('ttl', {ttl => 5});
}
is_deeply([grep { !/invalid_client/ } @{ issuer('seen')->{errors} }], [], 'no refresh token was used twice');
done_testing();
