# Servers that misbehave. Whatever comes back: the run ends, its counts add up, nothing counts as delivered that was not accepted, the row is recorded with a
# reason, and the next run after the server has recovered delivers it.

use strict;
use warnings FATAL => 'all';
use IO::Socket::INET;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new(tls => 1, conf => 'ondatra.max_response_size = 1MB');
my $true = JSON::PP::true;
my $n = 0;

# The destination takes rows and says {"ok": true}; success is read from the body.
my $sound = {name => 'sound', answer => {apply => $true, json => {ok => $true}}};
my %put = (method => 'PUT', path => '/contacts/{{key}}', ok => {path => '/ok', equals => $true}, error => '/message');

sub model {
    my $name = 'bad' . ++$n;
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.$name AS SELECT i AS id, 'row ' || i AS name, 1 AS seq FROM generate_series(1, 3) i");
    return $name;
}

# Three rows, the second run into answers of a kind; what the run has to say; then the server is sound again.
sub bad_answer {
    my ($name, $answer, %want) = @_;
    my $sync = model();
    $t->script({name => 'bad', path => '^/contacts/', answer => $answer}, $sound);
    $t->destination($sync, {object => {upsert => \%put}, retry => {attempts => 2, base_ms => 10, max_ms => 50}, %{ $want{options} || {} }}, %{ $want{destination} || {} });
    $t->sync($sync, "mart.$sync", $sync);
    my $run = $t->run($sync);
    is($run->{rows_created} + $run->{rows_updated}, 0, "$name: no row counts as delivered");
    is($run->{status}, 'failed', "$name: the run has failed");
    ok($run->{error_message}, "$name: and says why") unless $want{rows_say};
    my @failed = $t->failed_rows($sync);
    cmp_ok($run->{rows_failed}, '==', scalar @failed, "$name: every failed row is recorded");
    cmp_ok($run->{rows_failed} + $run->{rows_pending}, '==', 3, "$name: and no row is forgotten");
    like($_->{error_class}, $want{class}, "$name: class of $_->{key}{id}") for @failed;
    ok((!grep { !defined $_->{error_message} || $_->{error_message} !~ /\w/ || $_->{error_message} =~ /[\x00-\x1f]/ } @failed), "$name: every reason is readable words");
    like($failed[0]{error_message}, $want{message}, "$name: the reason") if $want{message} && @failed;
    $want{check}->($run, @failed) if $want{check};

    $t->script($sound);
    $want{mend}->($sync) if $want{mend};
    $run = $t->retry($sync);
    is($run->{status}, 'succeeded', "$name: the next run, with a sound server, succeeds");
    is($run->{rows_created} + $run->{rows_updated}, 3, "$name: and delivers the three rows");
    is_deeply([map { $_->{name} } @{ $t->records }{ 1 .. 3 }], ['row 1', 'row 2', 'row 3'], "$name: which are there");
    is($t->sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$sync'"), '0', "$name: no failed row is left");
    is($t->run($sync)->{requests}, 0, "$name: and nothing is left to send");
    $t->no_violations("$name: nothing wrong at the destination");
    return;
}

my $unknown = qr/^unknown_outcome$/;
my $definite = qr/^rejected$/;

# --- bodies that are not what they should be
bad_answer('HTML with 200', {misbehave => 'html'}, class => $unknown);
bad_answer('HTML with 502', {misbehave => 'html', status => 502}, class => qr/^(unknown_outcome|unavailable)$/, message => qr/502|[Bb]ad gateway/);
bad_answer('HTML with 404', {misbehave => 'html', status => 404}, class => $definite);
bad_answer('an empty body', {misbehave => 'empty'}, class => $unknown);
bad_answer('invalid JSON', {misbehave => 'invalid_json'}, class => $unknown);
bad_answer('invalid UTF-8', {misbehave => 'invalid_utf8'}, class => qr/^(unknown_outcome|rejected)$/);
bad_answer('invalid UTF-8 in an error', {misbehave => 'invalid_utf8', status => 422}, class => $definite);
bad_answer('a NUL in an error', {misbehave => 'nul', status => 422}, class => $definite);
bad_answer('deeply nested JSON', {misbehave => {deep_json => 100000}}, class => $unknown);
bad_answer('ok: false with a reason', {json => {ok => JSON::PP::false, message => 'quota of contacts is used up'}}, class => $definite, message => qr/quota of contacts is used up/);
bad_answer('a long error text', {status => 422, json => {message => 'x' x 100000}}, class => $definite,
    check => sub { cmp_ok(length $_[1]{error_message}, '<', 2000, 'a long error text: cut') });

# --- too much
bad_answer('10 MB', {misbehave => {big => 10_000_000}}, class => $unknown);
bad_answer('a gzip bomb', {misbehave => {gzip_bomb => 50_000_000}}, class => $unknown);
bad_answer('an endless body', {misbehave => 'endless'}, class => $unknown, options => {timeout_ms => 5000});
bad_answer('endless headers', {misbehave => 'header_flood'}, class => $unknown, options => {timeout_ms => 5000});

# --- connections that break
bad_answer('closed without an answer', {misbehave => 'close'}, class => $unknown);
bad_answer('closed without an answer, applied', {misbehave => 'close', apply => $true}, class => $unknown);
bad_answer('reset', {misbehave => 'reset', apply => $true}, class => $unknown);
bad_answer('half a body', {misbehave => 'half_body', apply => $true, json => {ok => $true, filler => 'x' x 1000}}, class => $unknown);
bad_answer('cut in the head', {misbehave => {close_after => 10}}, class => $unknown);
bad_answer('a wrong Content-Length', {misbehave => {wrong_length => 100}, json => {ok => $true}}, class => $unknown);
bad_answer('chunks without an end', {misbehave => 'half_chunked', json => {ok => $true}}, class => $unknown);
bad_answer('not HTTP', {misbehave => 'garbage'}, class => qr/^(unknown_outcome|unavailable)$/);
bad_answer('a time-out after the body was sent', {misbehave => 'hang', apply => $true}, class => $unknown, options => {timeout_ms => 500}, mend => sub { $t->release });
bad_answer('a time-out in the middle of the answer', {misbehave => 'hang_body', json => {ok => $true, filler => 'x' x 1000}}, class => $unknown, options => {timeout_ms => 500},
    mend => sub { $t->release });

# --- redirects are not followed, to nowhere
bad_answer('a redirect', {misbehave => {redirect => $t->url . '/stolen/1'}}, class => $definite, message => qr/30[0-9]|redirect/i,
    check => sub { is($t->count_requests(path => '^/stolen'), 0, 'a redirect: not followed') });
bad_answer('a redirect to another host', {misbehave => {redirect => 'http://localhost:' . $t->{port} . '/stolen/1'}, status => 307}, class => $definite,
    check => sub { is($t->count_requests(path => '^/stolen'), 0, 'a redirect to another host: not followed') });

# --- nothing arrives at all: definite, and worth another try
sub base_url {
    my ($url) = @_;
    return (destination => {base_url => $url}, mend => sub {
        my ($sync) = @_;
        $t->destination("${sync}_elsewhere", {object => {upsert => \%put}});
        $t->sql("SELECT ondatra.update_sync('$sync', destination => '${sync}_elsewhere', delivered => 'keep')");
    });
}
my $unavailable = qr/^unavailable$/;
bad_answer('a name that does not exist', {}, base_url('http://no-such-host.invalid'), class => $unavailable, message => qr/no-such-host|resolve/i);
bad_answer('refused', {}, base_url('http://127.0.0.1:' . Ondatra::Test::free_port()), class => $unavailable, message => qr/refused|connect/i);
{
    # A TLS server that shows the certificate it is told to.
    my $certs = $t->certificates;
    my %shows = ('a certificate for another name' => $certs->{other_cert}, 'a certificate of an unknown authority' => $certs->{stranger});
    for my $name (sort keys %shows) {
        my $port = Ondatra::Test::free_port();
        my $pid = Ondatra::Test::spawn("$t->{dir}/s_server.log", 'openssl', 's_server', '-quiet', '-accept', "127.0.0.1:$port", '-cert', $shows{$name}, '-key', $certs->{key}, '-www');
        $t->poll(sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") }) or die 'openssl s_server did not start';
        bad_answer($name, {}, base_url("https://localhost:$port"), class => $unavailable, message => qr/certificate|TLS|SSL/i);
        $t->stop_process($pid);
    }
}

# TLS with the right certificate works: the failures above are about the certificates.
{
    my $sync = model();
    $t->destination($sync, undef, base_url => $t->tls_url);
    $t->sync($sync, "mart.$sync", $sync);
    is($t->run($sync)->{rows_created}, 3, 'TLS with a certificate of a known authority');
    is(scalar(grep { $_->{tls} } $t->requests), 3, 'and it was TLS');
}

# Addresses that may not be spoken to: refused before a byte is sent.
for my $url ('http://169.254.169.254', 'http://[fe80::1]', 'http://0.0.0.0:' . $t->{port}, 'http://10.1.2.3') {
    my $sync = model();
    $t->destination($sync, {connect_timeout_ms => 2000}, base_url => $url);
    $t->sync($sync, "mart.$sync", $sync);
    my $run = $t->run($sync);
    is($run->{rows_created}, 0, "$url: nothing is sent");
    my ($failed) = $t->failed_rows($sync);
    like(($failed ? $failed->{error_message} : '') . ($run->{error_message} // ''), qr/address|allowed_hosts/, "$url: and the reason is the address");
}

# One bad answer among good ones: a retry within the run, and the same Idempotency-Key on it.
{
    my $sync = model();
    $t->script({method => 'PUT', path => '^/contacts/2$', times => 1, answer => {misbehave => 'close', apply => $true}});
    $t->destination($sync, {});
    $t->sync($sync, "mart.$sync", $sync);
    my $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_created => 3, requests => 4, retries => 1}, 'one lost answer: repeated within the run');
    my @tries = $t->requests(path => '^/contacts/2$');
    is(scalar @tries, 2, 'two tries of the row');
    is($tries[0]{headers}{'idempotency-key'}, $tries[1]{headers}{'idempotency-key'}, 'under one Idempotency-Key');
    $t->no_violations('a repeated request is the same request');
}

# Lost answer, then the row changes: A (in doubt), B, and never A after B.
{
    my $sync = model();
    $t->script({method => 'PUT', path => '^/contacts/1$', answer => {misbehave => 'close', apply => $true}});
    $t->destination($sync, {retry => {attempts => 1}});
    $t->sync($sync, "mart.$sync", $sync, options => {in_doubt_wait => '0 s'});
    $t->run($sync);
    $t->sql("UPDATE mart.$sync SET name = 'second', seq = 2 WHERE id = 1");
    $t->script({rules => []});
    $t->retry($sync);
    is($t->records->{1}{name}, 'second', 'what is delivered after doubt is the row as it is now');
    $t->sql("UPDATE mart.$sync SET name = 'row 1', seq = 3 WHERE id = 1");
    my $run = $t->run($sync);
    is($run->{rows_updated}, 1, 'the value that was once in doubt differs from the one delivered since');
    is($t->records->{1}{name}, 'row 1', 'and is sent');
    my %keys = map { $_->{headers}{'idempotency-key'} => 1 } $t->requests(path => '^/contacts/1$');
    is(scalar keys %keys, 3, 'three changes, three Idempotency-Keys');
    $t->no_violations('nothing overtakes');
}

done_testing();
