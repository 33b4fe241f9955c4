# TLS of a destination's own: client certificates that nginx asks for, authorities, and certificates that must not be believed. Beside it credentials that
# stand in bodies, headers and queries.
# needs package: nginx-light

use strict;
use warnings FATAL => 'all';
use JSON::PP ();
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new;
my $n = 0;

sub setup {
    my ($auth, $options, %args) = @_;
    my $name = 's' . ++$n;
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.$name AS SELECT i AS id, 'row ' || i AS name FROM generate_series(1, 5) i");
    $t->destination($name, $options, auth => $auth, %args);
    $t->sync($name, "mart.$name", $name);
    return $name;
}

# --- values: {{auth.name}} in bodies, headers and query, seen by the destination and by nobody else -----------------------

{
    my $secret = 'k3y/+"of 40 & more';
    $t->sql("SELECT ondatra.set_secret('api_key', '$secret'), ondatra.set_secret('app', 'app-id-123')");
    my $auth = {type => 'bearer', token => {secret => 'app'}, values => {api_key => {secret => 'api_key'}}};
    my %request = (method => 'POST', path => '/contacts', query => {key => '{{auth.api_key}}'}, headers => {'X-Api-Key' => 'K {{auth.api_key}}'},
        body => {api_key => '{{auth.api_key}}', events => ['$each', {token => '{{auth.api_key}}', id => '{{key}}'}]});
    my $sync = setup($auth, {object => {upsert => {%request, batch => {rows => 3}, idempotency => undef}}});
    $t->script({path => '^/contacts', json => {'/api_key' => $secret}, query => {key => 'k3y'}, headers => {'x-api-key' => '^K k3y'}, answer => {json => {}}},
        {path => '^/contacts', answer => {status => 400, json => {error => 'no'}}});
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 5, requests => 2}, 'values: the destination sees them');
    my $preview = $t->sql("SELECT string_agg(concat_ws(' ', url, headers, body), ' ') FROM (SELECT ondatra.resend_sync('$sync')) r, ondatra.preview_sync('$sync')");
    unlike($preview, qr/k3y/, 'values: a preview does not');
    like($preview, qr/"api_key":"\*\*\*"/, 'values: it shows where they stand');
    $t->script({path => '^/contacts', answer => {status => 400, json => {error => "key $secret is wrong, and app-id-123"}}});
    my $run = $t->run($sync);
    is($run->{rows_failed}, 5, 'values: an API that repeats them');
    for my $table (qw(all_failed_rows all_runs all_destinations all_syncs send_windows all_secrets)) {
        unlike($t->admin("SELECT coalesce(string_agg(x::text, ' '), '') FROM ondatra.$table x"), qr/k3y|app-id-123/, "values: none of it in $table");
    }
    my ($row) = $t->failed_rows($sync);
    is($row->{error_message}, 'key *** is wrong, and ***', 'values: the words without them');
    unlike($t->sql("SELECT ondatra.explain_row('$sync', '{\"id\": 1}')"), qr/k3y/, 'values: nor in explain_row');
    unlike(Ondatra::Test::slurp($t->node->logfile) =~ s/^.*set_secret.*$//mgr, qr/k3y|app-id-123/, 'values: nor in the log');
    $t->sql_fails("SELECT ondatra.create_destination('no', base_url => 'https://api.example.com', options => '{\"object\": {\"upsert\": {\"method\": \"POST\", \"body\": {\"k\": \"{{auth.k}}\"}}}}')",
        qr/\{\{auth\.k\}\} names no value/, 'values: one that auth does not have is an error');
    $t->sql("SELECT ondatra.drop_secret('api_key'); SELECT ondatra.retry_failed('$sync')");
    $t->reset_destination;
    $t->run_is($t->run($sync), {status => 'failed', error_code => '28000', requests => 0}, 'values: without the secret nothing is sent');
    is($t->count_requests, 0, 'values: nothing at all');
}

# --- client certificates --------------------------------------------------------------------------------------------------

SKIP: {
    skip 'nginx is not installed', 1 unless Ondatra::Test::nginx_program();
    my $certs = $t->certificates;
    my $dir = "$t->{dir}/certs";
    my @new_key = qw(-newkey rsa:2048 -nodes);
    # A client of the authority, its key also under a passphrase; a client of nobody; a server's certificate that is over.
    Ondatra::Test::openssl('req', @new_key, '-subj', '/CN=ann', '-keyout', "$dir/client.key", '-out', "$dir/client.csr");
    Ondatra::Test::openssl('x509', '-req', '-in', "$dir/client.csr", '-CA', $certs->{ca}, '-CAkey', "$dir/ca.key", '-CAcreateserial', '-days', 3, '-out', "$dir/client.pem");
    Ondatra::Test::openssl('rsa', '-aes256', '-in', "$dir/client.key", '-out', "$dir/client.enc.key", '-passout', 'pass:the passphrase');
    Ondatra::Test::openssl('req', '-x509', @new_key, '-subj', '/CN=mallory', '-days', 3, '-keyout', "$dir/mallory.key", '-out', "$dir/mallory.pem");
    append_to_file("$dir/ca.conf", "[ca]\ndefault_ca = d\n[d]\ndatabase = $dir/index.txt\nserial = $dir/serial.txt\nnew_certs_dir = $dir\ndefault_md = sha256\npolicy = p\n[p]\ncommonName = supplied\n");
    append_to_file("$dir/index.txt", '');
    append_to_file("$dir/serial.txt", "01\n");
    Ondatra::Test::openssl('ca', '-batch', '-config', "$dir/ca.conf", '-cert', $certs->{ca}, '-keyfile', "$dir/ca.key", '-in', "$dir/request.pem", '-extfile', "$dir/cert.ext",
        '-startdate', '20200101000000Z', '-enddate', '20200201000000Z', '-out', "$dir/expired.pem");
    my %port = map { $_ => Ondatra::Test::free_port() } qw(mutual other expired stranger plain);
    my $back = "proxy_pass http://127.0.0.1:$t->{port};";
    my $nginx = $t->start_nginx(<<"HTTP", ports => [values %port]);
  server { listen 127.0.0.1:$port{mutual} ssl http2; ssl_certificate $certs->{cert}; ssl_certificate_key $certs->{key}; ssl_client_certificate $certs->{ca}; ssl_verify_client on;
    location / { proxy_set_header X-Client \$ssl_client_s_dn; $back } }
  server { listen 127.0.0.1:$port{other} ssl; ssl_certificate $certs->{other_cert}; ssl_certificate_key $certs->{key}; location / { $back } }
  server { listen 127.0.0.1:$port{expired} ssl; ssl_certificate $dir/expired.pem; ssl_certificate_key $certs->{key}; location / { $back } }
  server { listen 127.0.0.1:$port{stranger} ssl; ssl_certificate $certs->{stranger}; ssl_certificate_key $certs->{key}; location / { $back } }
  server { listen 127.0.0.1:$port{plain} ssl; ssl_certificate $certs->{cert}; ssl_certificate_key $certs->{key}; location / { $back } }
HTTP
    my %pem = (ca => $certs->{ca}, client => "$dir/client.pem", client_key => "$dir/client.key", encrypted_key => "$dir/client.enc.key", mallory => "$dir/mallory.pem",
        mallory_key => "$dir/mallory.key");
    for my $name (sort keys %pem) {
        $t->sql("SELECT ondatra.set_secret('$name', \$pem\$" . slurp_file($pem{$name}) . "\$pem\$)");
    }
    $t->sql("SELECT ondatra.set_secret('passphrase', 'the passphrase')");
    my %ca = (ca => {secret => 'ca'});
    my %client = (%ca, certificate => {secret => 'client'}, key => {secret => 'client_key'});

    my $try = sub {
        my ($server, $tls, $name, $expected, $words) = @_;
        my $sync = setup({type => 'none', $tls ? (tls => $tls) : ()}, {retry => {attempts => 1}}, base_url => "https://localhost:$port{$server}");
        my $run = $t->run($sync);
        is("$run->{status} $run->{rows_created}", $expected, $name);
        my $said = join ' ', map { $_->{error_message} } $t->failed_rows($sync);
        like($said, $words, "$name: and says so") if $words;
        is($t->count_requests, $expected eq 'succeeded 5' ? 5 : 0, "$name: requests that came through");
        return $sync;
    };
    my $sync = $try->('mutual', \%client, 'a client certificate is shown', 'succeeded 5');
    is(scalar(grep { ($_->{headers}{'x-client'} // '') eq 'CN=ann' } $t->requests), 5, 'a client certificate is shown: it is ours');
    $t->script({path => '^/$', answer => {json => {}}});
    is($t->sql("SELECT ok FROM ondatra.test_destination('$sync')"), 't', 'test_destination shows it too');
    $t->script({rules => []});
    $try->('mutual', {%client, key => {secret => 'encrypted_key'}, key_password => {secret => 'passphrase'}}, 'a key under a passphrase', 'succeeded 5');
    $try->('mutual', {%client, key => {secret => 'encrypted_key'}}, 'a key whose passphrase is not given', 'failed 0', qr/key|certificate/i);
    $try->('mutual', {%client, key => {secret => 'mallory_key'}}, 'a key of another certificate', 'failed 0', qr/key|certificate/i);
    $try->('mutual', \%ca, 'no certificate where one is asked for', 'failed 0', qr/./);
    $try->('mutual', {%ca, certificate => {secret => 'mallory'}, key => {secret => 'mallory_key'}}, 'a certificate of another authority', 'failed 0', qr/./);
    $try->('plain', \%ca, "a destination's own authority", 'succeeded 5');
    $try->('plain', {ca => slurp_file($certs->{ca})}, 'an authority is public: its text may stand there', 'succeeded 5');
    $try->('plain', {ca => {secret => 'mallory'}}, 'another authority', 'failed 0', qr/TLS with localhost:\d+ failed/);
    $try->('plain', undef, 'no authority that knows it', 'failed 0', qr/TLS with localhost:\d+ failed/);
    $try->('other', \%ca, 'a certificate of another host', 'failed 0', qr/TLS with localhost:\d+ failed/);
    $try->('expired', \%ca, 'a certificate that is over', 'failed 0', qr/TLS with localhost:\d+ failed.*expired/);
    $try->('stranger', \%ca, 'a certificate of nobody', 'failed 0', qr/TLS with localhost:\d+ failed/);
    # an own authority is the only one that counts
    $t->node->append_conf('postgresql.conf', "ondatra.ca_file = '$certs->{ca}'");
    $t->node->reload;
    $t->poll_sql('SHOW ondatra.ca_file', $certs->{ca}, 'the server knows the authority');
    $try->('plain', undef, 'an authority of the server counts for all', 'succeeded 5');
    $try->('plain', {ca => {secret => 'mallory'}}, "but not beside a destination's own", 'failed 0', qr/TLS with localhost:\d+ failed/);
    unlike(Ondatra::Test::slurp($t->node->logfile) =~ s/^.*set_secret.*?\$pem\$\)//msgr, qr/the passphrase(?!')/, 'nothing of it in the log');
    $t->no_violations;
}
done_testing();
