# Requests that are signed, checked by other people's code: the signer of AWS's SDK, the reference library of Standard Webhooks, lighttpd's digest.
# needs package: lighttpd
# needs npm: @smithy/signature-v4@5.7.5
# needs npm: @aws-crypto/sha256-js@5.2.0
# needs npm: standardwebhooks@1.1.1

use strict;
use warnings FATAL => 'all';
use Digest::MD5 qw(md5_hex);
use Digest::SHA qw(sha256_hex);
use FindBin;
use HTTP::Tiny;
use JSON::PP ();
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new;
my $n = 0;

# A table, a destination with these credentials and a sync of it.
sub setup {
    my ($rows, $auth, $options, %args) = @_;
    my $name = 's' . ++$n;
    $t->sql("CREATE TABLE mart.$name AS SELECT i AS id, 'row ' || i || ' \xc3\xa4' AS name FROM generate_series(1, $rows) i");
    $t->destination($name, $options, auth => $auth, %args);
    $t->sync($name, "mart.$name", $name);
    return $name;
}

# --- signatures over what goes out ---------------------------------------------------------------------------------

my $npm = $ENV{ONDATRA_NPM_DIR} || '/var/tmp/ondatra-npm';
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH} || '';
SKIP: {
    skip 'node is not installed', 1 unless $node;
    skip 'npm has not installed @smithy/signature-v4 and standardwebhooks', 1
        if grep { !-f "$npm/node_modules/$_/package.json" } '@smithy/signature-v4', '@aws-crypto/sha256-js', 'standardwebhooks';
    my $port = Ondatra::Test::free_port();
    my $log = "$t->{dir}/signatures.log";
    my $pid = Ondatra::Test::spawn($log, $node, "$FindBin::Bin/../server/signatures.mjs", $npm, $port);
    my $seen = sub { my $answer = HTTP::Tiny->new(timeout => 10)->get("http://127.0.0.1:$port/seen"); $answer->{success} ? JSON::PP::decode_json($answer->{content}) : undef };
    $t->poll(sub { $seen->() || !Ondatra::Test::alive($pid) });
    $seen->() or die 'the server that checks signatures did not start: ' . Ondatra::Test::slurp($log);

    $t->sql("SELECT ondatra.set_secret('aws', 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'); SELECT ondatra.set_secret('session', 'session+token/==')");
    $t->sql("SELECT ondatra.set_secret('hook', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'); SELECT ondatra.set_secret('new_hook', 'whsec_bmV3IHNlY3JldA==')");
    $t->sql("SELECT ondatra.set_secret('hub', 'It''s a Secret to Everybody')");
    my %aws = (type => 'aws_sigv4', region => 'eu-central-1', access_key => 'AKIDEXAMPLE', secret_key => {secret => 'aws'}, session_token => {secret => 'session'});
    my $put = sub { return {object => {upsert => {method => 'PUT', path => "/$_[0]/a b:+(x)/{{name}}" =~ s/ /%20/r, query => {name => '{{name}}', z => 'a/b', a => '+ ='}}}, concurrency => 2} };
    my $post = sub { return {object => {upsert => {method => 'POST', path => "/$_[0]"}}} };
    my %case = (
        aws => [{%aws, service => 'service'}, $put->('aws')],
        s3 => [{%aws, service => 's3'}, $put->('s3')],
        hook => [{type => 'hmac', secret => [{secret => 'new_hook'}, {secret => 'hook'}]}, $post->('hook')],
        hub => [{type => 'hmac', header => 'X-Hub-Signature-256', prefix => 'sha256=', secret => {secret => 'hub'}}, $post->('hub')],
    );
    my @compressed;
    for my $kind (sort keys %case) {
        my ($auth, $options) = @{ $case{$kind} };
        my $sync = setup(5, $auth, $options, base_url => "http://127.0.0.1:$port");
        $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 5, requests => 5}, "$kind: signatures are right");
        push @compressed, $sync if $auth->{type} eq 'aws_sigv4';
        is($seen->()->{right}{$kind}, 5, "$kind: all of them");
        unlike($t->sql("SELECT string_agg(url || headers::text, ' ') FROM ondatra.preview_sync('$sync')"), qr/wJalr|whsec|Everybody|session\+/, "$kind: a preview shows none of it");
    }
    for my $sync (@compressed) {
        $t->sql(qq{SELECT ondatra.update_destination('$sync', options => '{"gzip": {"min_bytes": 0}}'); SELECT ondatra.resend_sync('$sync')});
        $t->run_is($t->run($sync), {status => 'succeeded', rows_updated => 5}, "$sync: over a compressed body too");
    }
    $t->sql_fails(q{SELECT ondatra.update_destination('s3', options => '{"gzip": true}')}, qr/cannot be compressed/, 'hmac and compressed bodies do not go together');
    is_deeply($seen->()->{reasons}, [], 'nothing that came was wrong');
    $t->sql("SELECT ondatra.set_secret('aws', 'another'); SELECT ondatra.resend_sync('s1')");
    my $run = $t->run('s1');
    $t->run_is($run, {status => 'failed', error_code => '28000', rows_created => 0}, 'a wrong key is refused, and stops the sync');
}

# --- digest against lighttpd ---------------------------------------------------------------------------------------

my ($lighttpd) = grep { -x } qw(/usr/sbin/lighttpd /usr/bin/lighttpd /usr/local/sbin/lighttpd);
SKIP: {
    skip 'lighttpd is not installed', 1 unless $lighttpd;
    my %port = map { $_ => Ondatra::Test::free_port() } qw(MD5 SHA-256);
    my $dir = "$t->{dir}/lighttpd";
    mkdir $dir;
    append_to_file("$dir/users.MD5", 'ann:an api:' . md5_hex('ann:an api:digest password') . "\n");
    append_to_file("$dir/users.SHA-256", 'ann:an api:' . sha256_hex('ann:an api:digest password') . "\n");
    for my $algorithm (sort keys %port) {
        append_to_file("$dir/$algorithm.conf", <<"CONF");
server.modules = ("mod_auth", "mod_authn_file", "mod_proxy")
server.bind = "127.0.0.1"
server.port = $port{$algorithm}
server.document-root = "$dir"
server.errorlog = "$dir/$algorithm.log"
server.upload-dirs = ("$dir")
auth.backend = "htdigest"
auth.backend.htdigest.userfile = "$dir/users.$algorithm"
auth.require = ("" => ("method" => "digest", "algorithm" => "$algorithm", "realm" => "an api", "require" => "valid-user"))
proxy.server = ("" => (("host" => "127.0.0.1", "port" => $t->{port})))
CONF
        my $pid = Ondatra::Test::spawn("$dir/output.log", $lighttpd, '-D', '-f', "$dir/$algorithm.conf");
        my $answers = sub { HTTP::Tiny->new(timeout => 5)->get("http://127.0.0.1:$port{$algorithm}/")->{status} == 401 };
        $t->poll(sub { $answers->() || !Ondatra::Test::alive($pid) });
        $answers->() or die 'lighttpd did not start: ' . Ondatra::Test::slurp("$dir/output.log") . Ondatra::Test::slurp("$dir/$algorithm.log");
    }
    $t->sql("SELECT ondatra.set_secret('digest', 'digest password'); SELECT ondatra.set_secret('wrong', 'another')");
    for my $algorithm (sort keys %port) {
        $t->reset_destination;
        my $auth = {type => 'digest', username => 'ann', password => {secret => 'digest'}};
        my $sync = setup(40, $auth, {concurrency => 4}, base_url => "http://127.0.0.1:$port{$algorithm}");
        my $run = $t->run($sync);
        $t->run_is($run, {status => 'succeeded', rows_created => 40, rows_failed => 0, retries => 0}, "$algorithm: all rows get through, a challenge is no failure");
        cmp_ok($run->{requests}, '>', 40, "$algorithm: somebody was challenged");
        cmp_ok($run->{requests}, '<=', 48, "$algorithm: but not each request");
        my @seen = $t->requests(method => 'PUT');
        is(scalar(@seen), 40, "$algorithm: every row came once");
        is(scalar(grep { $_->{headers}{authorization} =~ /^Digest username="ann", .*algorithm=\Q$algorithm\E, .*qop=auth/ } @seen), 40, "$algorithm: with an answer");
        $t->script({path => '^/$', answer => {json => {}}});
        is($t->sql("SELECT ok || ' ' || http_status FROM ondatra.test_destination('$sync')"), 'true 200', "$algorithm: test_destination answers as well");
        $t->script({rules => []});
        $sync = setup(20, {%$auth, password => {secret => 'wrong'}}, {concurrency => 2}, base_url => "http://127.0.0.1:$port{$algorithm}");
        $run = $t->run($sync);
        $t->run_is($run, {status => 'failed', error_code => '28000', rows_created => 0}, "$algorithm: a wrong password stops the run");
        cmp_ok($run->{requests}, '<=', 16, "$algorithm: soon");
        is($t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'"), 'error', "$algorithm: and the sync");
        $t->no_violations("$algorithm: nothing wrong on the way");
    }
}
done_testing();
