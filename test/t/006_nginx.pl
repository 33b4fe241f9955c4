# A real server in front: nginx's rate limiting, TLS, HTTP/2, slow and cut answers. The scripted destination stands behind it and counts.
# needs package: nginx-light

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

plan skip_all => 'nginx is not installed' unless Ondatra::Test::nginx_program();

my $t = Ondatra::Test->new(tls => 1);
my $certs = $t->certificates;
my %port = map { $_ => Ondatra::Test::free_port() } qw(limited busy tls slow cut down other fast);
my $tls = "ssl_certificate $certs->{cert}; ssl_certificate_key $certs->{key}; ssl_protocols TLSv1.2 TLSv1.3;";
my $back = "proxy_pass http://127.0.0.1:$t->{port}; proxy_http_version 1.1;";
my $nginx = $t->start_nginx(<<"HTTP", ports => [values %port]);
  limit_req_zone all zone=few:1m rate=20r/s;
  server { listen 127.0.0.1:$port{limited}; location / { limit_req zone=few burst=2 nodelay; limit_req_status 429; $back } }
  server { listen 127.0.0.1:$port{busy}; location / { limit_req zone=few burst=2 nodelay; limit_req_status 503; $back } }
  server { listen 127.0.0.1:$port{tls} ssl http2; server_name localhost; $tls location / { $back } }
  server { listen 127.0.0.1:$port{other} ssl; ssl_certificate $certs->{other_cert}; ssl_certificate_key $certs->{key}; location / { $back } }
  server { listen 127.0.0.1:$port{slow}; location / { limit_rate 50; $back } }
  server { listen 127.0.0.1:$port{cut}; location / { return 444; } }
  server { listen 127.0.0.1:$port{fast}; location / { client_max_body_size 10m; return 204; } }
  server { listen 127.0.0.1:$port{down}; location / { proxy_pass http://127.0.0.1:1; } }
HTTP
my $n = 0;

sub setup {
    my ($rows, $url, $options) = @_;
    $t->reset_destination;
    my $name = 'n' . ++$n;
    $t->sql("CREATE TABLE mart.$name AS SELECT i AS id, 'row ' || i AS name, 1 AS seq FROM generate_series(1, $rows) i");
    $t->destination($name, $options, base_url => $url);
    $t->sync($name, "mart.$name", $name);
    return $name;
}

sub seconds {
    my ($run) = @_;
    return $t->sql("SELECT greatest(extract(epoch FROM duration), 0.001) FROM ondatra.sync_runs WHERE run_id = $run->{run_id}");
}

# How often nginx has answered with a status so far.
sub answers {
    my ($status) = @_;
    return scalar(() = Ondatra::Test::slurp($nginx->{access_log}) =~ m{^HTTP/\S+ PUT \S+ $status }mg);
}

# --- limit_req, without a word about when to come back. A 429 pauses the destination, so one run gets everything through.
{
    my $sync = setup(40, "http://127.0.0.1:$port{limited}", {concurrency => 4, retry => {attempts => 20, base_ms => 50, max_ms => 500}});
    my $run = $t->run($sync);
    is($run->{rows_created}, 40, 'limit_req with 429: every row gets through');
    is($run->{status}, 'succeeded', 'limit_req with 429: the run succeeds');
    cmp_ok($run->{retries}, '>', 0, 'limit_req with 429: after retries');
    cmp_ok(answers(429), '>', 0, 'limit_req with 429: nginx did say it');
    is($t->state->{records}, 40, 'limit_req with 429: all are there');
    is($t->state->{repeats}, 0, 'limit_req with 429: none came twice');
    $t->no_violations;
}

# A 503 may be an outage: the breaker may end a run early. Run after run gets the rest through, and none twice.
{
    my $sync = setup(40, "http://127.0.0.1:$port{busy}", {concurrency => 2, retry => {attempts => 5, base_ms => 50, max_ms => 500}});
    $t->sql("SELECT ondatra.update_sync('$sync', options => '{\"error_after\": 1000}')");
    my $run;
    my $done = $t->poll(sub {
        $run = $t->retry($sync);
        return $run->{status} eq 'succeeded' && !$t->failed_rows($sync);
    }, 'limit_req with 503: in the end a run succeeds');
    cmp_ok(answers(503), '>', 0, 'limit_req with 503: nginx did say it');
    is($t->state->{records}, 40, 'limit_req with 503: all are there');
    is($t->state->{repeats}, 0, 'limit_req with 503: none came twice');
    $t->no_violations;
}

# Our own limit below nginx's: no 429 at all.
{
    my $sync = setup(30, "http://127.0.0.1:$port{limited}", {concurrency => 4, rate_limit => '1/100ms'});
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 30, retries => 0}, 'a rate limit of our own below the server\'s: not one refusal');
}

# --- TLS and HTTP/2
{
    my $sync = setup(50, "https://localhost:$port{tls}", {concurrency => 4});
    my $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_created => 50, requests => 50}, 'TLS: everything arrives');
    my @lines = grep { m{^HTTP/2\.0 PUT /contacts/\d+ 201} } split /\n/, Ondatra::Test::slurp($nginx->{access_log});
    is(scalar @lines, 50, 'over HTTP/2');
    my %connections = map { (split)[4] => 1 } @lines;
    cmp_ok(scalar keys %connections, '<=', 4, 'on few connections');
    $t->no_violations;
}
{
    my $sync = setup(2, "https://localhost:$port{other}", {retry => {attempts => 1}});
    my $run = $t->run($sync);
    is($run->{rows_created}, 0, 'a certificate for another name: nothing is delivered');
    is($t->count_requests, 0, 'nothing is sent');
    my ($failed) = $t->failed_rows($sync);
    like(($failed ? $failed->{error_message} : '') . ($run->{error_message} // ''), qr/certificate|TLS|SSL/i, 'and the reason is the certificate');
}

# --- slow: within the time-out it is only slow, beyond it the outcome is unknown
{
    my $sync = setup(2, "http://127.0.0.1:$port{slow}", {timeout_ms => 60000});
    $t->script({path => '^/contacts/', answer => {apply => JSON::PP::true, json => {text => 'x' x 100}}});
    is($t->run($sync)->{rows_created}, 2, 'slow answers are answers');
    $sync = setup(2, "http://127.0.0.1:$port{slow}", {timeout_ms => 500, retry => {attempts => 1}});
    $t->script({path => '^/contacts/', answer => {apply => JSON::PP::true, json => {text => 'x' x 100000}}});
    my $run = $t->run($sync);
    is($run->{rows_created}, 0, 'too slow is not');
    is($t->sql("SELECT string_agg(DISTINCT error_class, ',') FROM ondatra.failed_rows WHERE sync_name = '$sync'"), 'unknown_outcome', 'its outcome is unknown');
    $t->sql("SELECT ondatra.update_destination('$sync', options => '{\"timeout_ms\": 60000}')");
    $t->script({rules => []});
    $run = $t->retry($sync);
    is($run->{rows_created} + $run->{rows_updated}, 2, 'and it is sent again');
    $t->no_violations;
}

# --- cut, and nothing behind the proxy
for my $case ([cut => qr/^unknown_outcome$/], [down => qr/^(unavailable|unknown_outcome)$/]) {
    my ($server, $class) = @$case;
    my $sync = setup(3, "http://127.0.0.1:$port{$server}", {retry => {attempts => 2, base_ms => 10, max_ms => 20}});
    my $run = $t->run($sync);
    is($run->{status}, 'failed', "$server: the run fails");
    is($run->{rows_created}, 0, "$server: no row counts as delivered");
    is($run->{rows_failed} + $run->{rows_pending}, 3, "$server: and none is forgotten");
    like($_->{error_class}, $class, "$server: class of row $_->{key}{id}") for $t->failed_rows($sync);
}

# --- many rows to a server that only nods: what our side can do. How fast it was is told, not asserted.
{
    my $sync = setup(200_000, "http://127.0.0.1:$port{fast}", {object => {upsert => {method => 'POST', path => '/rows', batch => {rows => 1000}, body => ['$each', '$fields']}}});
    my $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_created => 200_000, requests => 200, retries => 0}, '200,000 rows in 200 requests');
    note(sprintf '%.0f rows/s: %.1f s, of which the diff %d ms and delivery %d ms, %.1f MB', 200_000 / seconds($run), seconds($run), @$run{qw(diff_ms deliver_ms)},
        $run->{bytes_sent} / 1e6);
    $run = $t->run($sync);
    $t->run_is($run, {status => 'succeeded', rows_unchanged => 200_000, requests => 0}, 'and none when nothing has changed');
    note(sprintf '%.0f unchanged rows/s', 200_000 / seconds($run));
}

# nginx goes away in the middle of a run and comes back: what was not answered goes again.
{
    my $sync = setup(300, "https://localhost:$port{tls}", {concurrency => 2, retry => {attempts => 2, base_ms => 10, max_ms => 20}});
    $t->script({path => '^/contacts/', nth => {from => 50}, answer => {misbehave => 'hang', apply => JSON::PP::true}});
    $t->sql("SELECT ondatra.trigger_sync('$sync')");
    $t->poll(sub { $t->state->{hanging} == 2 }, 'in the middle of a run');
    $t->stop_process($nginx->{pid});
    $t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = '$sync' AND finished_at IS NOT NULL", '1', 'nginx goes away: the run ends');
    $t->check_counts($t->sql("SELECT max(run_id) FROM ondatra.sync_runs WHERE sync_name = '$sync'"));
    $t->script({rules => []});
    $t->start_nginx("  server { listen 127.0.0.1:$port{tls} ssl http2; server_name localhost; $tls location / { $back } }", ports => [$port{tls}]);
    my $run = $t->retry($sync);
    is($run->{status}, 'succeeded', 'the next run succeeds');
    is($t->state->{records}, 300, 'every row is there');
    cmp_ok($t->state->{repeats}, '<=', 4, 'and only what was in flight came twice');
    $t->no_violations;
}
done_testing();
