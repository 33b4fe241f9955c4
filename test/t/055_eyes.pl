# What is recorded for people: requests that went wrong, without secrets and cut; outcomes of rows; and that retention takes it away again.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $secret = 'Sup3r/Secret+Value=';

$t->sql('CREATE TABLE mart.people (id int PRIMARY KEY, name text, poison bool)');
$t->sql("INSERT INTO mart.people SELECT g, 'p' || g, g = 3 FROM generate_series(1, 5) g");
$t->sql("SELECT ondatra.set_secret('token', '$secret')");
$t->destination('api', undef, auth => {type => 'query', parameters => {token => {secret => 'token'}}});

# --- requests: errors alone
$t->sync('quiet', 'mart.people', 'api');
$t->sync('plain', 'mart.people', 'api', options => {sync_log => 'failed'});
$t->script({rules => [{name => 'echo', path => '/contacts/4', answer => {status => 422, json => {error => {message => "bad $secret here"}}}}],
    records => {poison => 'poison'}});
my $run = $t->run('plain');
$t->run_is($run, {status => 'partial', rows_created => 3, rows_failed => 2}, 'two rows are refused');
my @requests = $t->rows('SELECT * FROM ondatra.requests ORDER BY request_id');
is(scalar @requests, 2, 'requests that went wrong are recorded, and no others');
my ($third) = grep { $_->{url} =~ m{/contacts/3} } @requests;
is_deeply([@$third{qw(run_id sync_name operation rows method http_status error_message)}],
    [$run->{run_id}, 'plain', 'upsert', 1, 'PUT', 422, 'row is poisoned: True'], 'with what a person needs');
like($third->{request_body}, qr/^\{"id":3,"name":"p3","poison":true\}$/, 'and the bodies');
like($third->{url}, qr{^http://127\.0\.0\.1:\d+/contacts/3\?token=\*\*\*$}, 'credentials in the URL are ***');
ok($third->{bytes_sent} > 0 && $third->{elapsed_ms} >= 0, 'sizes and times');
unlike($t->admin('SELECT string_agg(r::text, chr(10)) FROM ondatra.all_requests r'), qr/Sup3r|Secret/, 'an answer that repeats a secret is scrubbed');
like((grep { $_->{url} =~ m{/contacts/4} } @requests)[0]{response_body}, qr/bad \*\*\* here/, 'where it stood');

# --- the sync log: failures alone, then everything
is($t->sql("SELECT string_agg(key ->> 'id' || ' ' || operation || ' ' || outcome || ' ' || coalesce(http_status::text, '-'), ', ' ORDER BY key ->> 'id') FROM ondatra.sync_log"),
    '3 create rejected 422, 4 create rejected 422', 'sync_log = failed: lines for rows that failed');
$t->run('plain');
is($t->sql('SELECT count(*) FROM ondatra.sync_log'), '2', 'a run that sends nothing writes no lines');
$t->sql(q{SELECT ondatra.update_sync('plain', options => '{"sync_log": "all"}')});
$t->script();
$t->sql("UPDATE mart.people SET poison = false, name = name || '!'");
$run = $t->retry('plain');
is($t->sql("SELECT string_agg(outcome || ' ' || n, ', ' ORDER BY outcome) FROM (SELECT outcome, count(*) AS n FROM ondatra.sync_log WHERE outcome <> 'rejected' GROUP BY 1) x"),
    'created 2, updated 3', 'sync_log = all: a line for each row');
$t->sql("INSERT INTO mart.people VALUES (6, 'nul', NULL)");
$t->sql("SELECT ondatra.create_sync('twins', 'SELECT 1 AS id, name FROM mart.people', 'api', key => '{id}', options => '{\"sync_log\": \"failed\"}')");
$t->run('twins') for 1 .. 2;
is($t->sql("SELECT count(*) || ' ' || min(outcome) FROM ondatra.sync_log WHERE sync_name = 'twins'"), '1 invalid', 'an invalid row that stays so has one line');
is($t->sql("SELECT count(*) FROM ondatra.requests WHERE error_message IS NULL"), '0', 'good requests are not recorded');
$t->sql_fails(q{SELECT ondatra.update_sync('plain', options => '{"sync_log": "some"}')}, qr/Use none, failed or all/, 'other words are refused');

# --- the setting
my ($status, undef, $err) = $t->psql_as($t->superuser, "ALTER SYSTEM SET ondatra.log_requests = 'many'");
like($err, qr/Valid values are none, errors, all, and a percentage/, 'a wrong value says what is right');
($status, undef, $err) = $t->psql_as($t->superuser, "ALTER SYSTEM SET ondatra.log_requests = '101%'");
ok($status, 'no more than all');
$t->sql_fails("SET ondatra.log_requests = 'all'", qr/permission denied/, 'only superusers change it');
$t->admin("ALTER ROLE ann SET ondatra.log_requests = 'all'");
$t->sql("UPDATE mart.people SET name = repeat('x', 4000) WHERE id = 1");
$run = $t->run('plain');
my ($all) = $t->rows("SELECT count(*) AS n, max(length(request_body)) AS longest, count(error_message) AS wrong FROM ondatra.requests WHERE run_id = $run->{run_id}");
is_deeply($all, {n => 2, longest => 2000, wrong => 0}, 'all: good ones too, bodies cut');
$t->admin("ALTER ROLE ann SET ondatra.log_requests = '50%'");
$t->sql("INSERT INTO mart.people SELECT g, 'many' FROM generate_series(1001, 1400) g");
$run = $t->run('plain');
my $n = $t->sql("SELECT count(*) FROM ondatra.requests WHERE run_id = $run->{run_id}");
ok($n > 120 && $n < 280, "50%: about a half of 400 ($n)");
$t->admin("ALTER ROLE ann SET ondatra.log_requests = 'none'");
$t->script({answer => {status => 422}});
$t->sql("UPDATE mart.people SET name = 'z' WHERE id < 4");
$run = $t->run('plain');
is($t->sql("SELECT count(*) FROM ondatra.requests WHERE run_id = $run->{run_id}"), '0', 'none: none');
$t->admin('ALTER ROLE ann RESET ondatra.log_requests');

# an API that is down: requests without an answer
$t->script({answer => {status => 200, misbehave => 'reset'}});
$t->sql("UPDATE mart.people SET name = 'y' WHERE id = 5");
$run = $t->run('plain');
ok($t->sql("SELECT bool_and(http_status IS NULL AND error_message <> '') AND count(*) = 3 FROM ondatra.requests WHERE run_id = $run->{run_id}") eq 't', 'each try without an answer is recorded');
$t->script();

# binary and broken answers are kept as text
$t->sql("UPDATE mart.people SET name = 'w' WHERE id = 4");
$t->script({answer => {status => 500, misbehave => 'invalid_utf8'}});
$run = $t->run('plain');
ok($t->sql("SELECT count(response_body) > 0 FROM ondatra.requests WHERE run_id = $run->{run_id}") eq 't', 'bytes that are no text do not hurt');
$t->script();

# a body that is long because credentials stand in it many times: none of them stays at its end
my $long_secret = join '', map { sprintf 'S%05d', $_ } 1 .. 300;
$t->sql("SELECT ondatra.set_secret('long', '$long_secret')");
$t->destination('many', {object => {upsert => {method => 'POST', path => '/many', batch => {rows => 100}, body => ['$each', {k => '{{auth.long}}'}]}}}, auth => {type => 'none', values => {long => {secret => 'long'}}});
$t->sync('many', 'SELECT i AS id FROM generate_series(1, 100) i', 'many', key => ['id']);
$t->script({answer => {status => 422, text => 'no'}});
$t->run('many');
is($t->sql(q{SELECT count(*) > 0, bool_or(request_body ~ 'S\\d{5}') FROM ondatra.requests WHERE sync_name = 'many'}), 't|f', 'no part of a secret stays in a long body');
like($t->sql(q{SELECT request_body FROM ondatra.requests WHERE sync_name = 'many' AND rows = 100 LIMIT 1}), qr/^\[\{"k":"\*\*\*"\},/, 'which is shown otherwise');
$t->sql(q{SELECT ondatra.drop_sync('many'), ondatra.drop_destination('many')});
$t->script();

# --- others
is($t->sql_as('bob', 'SELECT (SELECT count(*) FROM ondatra.requests) + (SELECT count(*) FROM ondatra.sync_log)'), '0', 'others see nothing of it');

# --- a record that cannot be written does not touch the run
$t->admin('ALTER TABLE ondatra.all_requests ADD CONSTRAINT broken CHECK (false) NOT VALID');
$t->script({answer => {status => 422}});
$t->sql("UPDATE mart.people SET name = 'v' WHERE id = 2");
$run = $t->run('quiet');
$t->run_is($run, {rows_created => 0}, 'a run goes on when its requests cannot be recorded');
is($t->sql("SELECT count(*) > 0 FROM ondatra.failed_rows WHERE sync_name = 'quiet'"), 't', 'with its acks');
$t->admin('ALTER TABLE ondatra.all_requests DROP CONSTRAINT broken');
$t->script();

# --- retention
sub tidy { $t->admin("DELETE FROM ondatra.housekeeping"); $t->run('quiet') }
$t->admin("UPDATE ondatra.all_requests SET finished_at = finished_at - interval '8 days' WHERE sync_id = (SELECT sync_id FROM ondatra.all_syncs WHERE name = 'plain')");
$t->admin("UPDATE ondatra.all_sync_log SET logged_at = logged_at - interval '6 days'");
$t->run('quiet');
$t->poll_sql("SELECT count(*) FROM ondatra.requests WHERE sync_name = 'plain'", '0', 'requests older than ondatra.request_retention are deleted');
ok($t->sql('SELECT count(*) FROM ondatra.sync_log') > 400, 'lines of the log that are younger than theirs stay');
my $newest = $t->admin('SELECT max(log_id) FROM ondatra.all_sync_log WHERE sync_id = (SELECT sync_id FROM ondatra.all_syncs WHERE name = \'plain\')');
$t->admin("ALTER SYSTEM SET ondatra.log_retention_count = 7");
$t->admin("ALTER SYSTEM SET ondatra.run_retention_count = 5");
$t->node->reload;
$t->run('quiet') for 1 .. 8;
$t->admin("INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, queued_at, started_at, finished_at, rows_deleted) SELECT 0, sync_id, name, owner, 'succeeded', 'manual', "
    . "now(), now(), now(), 12 FROM ondatra.all_syncs WHERE name = 'quiet'");
tidy();
$t->poll_sql("SELECT count(*) || ' ' || max(log_id) FROM ondatra.sync_log WHERE sync_name = 'plain'", "7 $newest", 'of more lines than ondatra.log_retention_count the newest stay');
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'quiet' AND run_id > 0", '5', 'of runs likewise');
is($t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE run_id = 0"), '1', 'but runs that deleted today, which max_deletes adds up');
$t->script({path => '/contacts/5$', answer => {status => 422}});
$t->sql("UPDATE mart.people SET name = 'idle' WHERE id = 5");
$t->run('quiet');
$t->admin("UPDATE ondatra.all_failed_rows SET first_failed_at = first_failed_at - interval '5 years', last_failed_at = last_failed_at - interval '5 years'");
tidy();
is($t->sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = 'quiet' AND key = '{\"id\": 5}'"), '1', 'a failed row is never too old');
$t->script();
my $sent = $t->retry('quiet');
ok($sent->{rows_created} + $sent->{rows_updated} > 0 && !$t->failed_rows('quiet'), 'and can be sent');
my $counted = $t->admin('SELECT counted_at FROM ondatra.housekeeping');
$t->run('quiet');
is($t->admin('SELECT counted_at FROM ondatra.housekeeping'), $counted, 'counting is not done at each visit');

# --- metrics
$t->sql("SELECT ondatra.update_sync('quiet', schedule => '30 days')");
my $metrics = "FROM ondatra.metrics WHERE labels ->> 'sync' = 'quiet'";
is($t->sql("SELECT count(*) || ' ' || sum(value) $metrics AND name = 'ondatra_sync_state'"), '5 1', 'a sync is in one state');
my $runs = $t->admin("SELECT sum(value) $metrics AND name = 'ondatra_runs_total'");
ok($runs >= 11, 'runs that retention has deleted still count');
my $created = $t->sql("SELECT value $metrics AND name = 'ondatra_rows_total' AND labels ->> 'outcome' = 'created'");
$t->sql("INSERT INTO mart.people SELECT g, 'more' FROM generate_series(2001, 2010) g");
$t->script({path => '/contacts/2010', times => 1, answer => {misbehave => 'hang'}});
$t->sql("SELECT ondatra.trigger_sync('quiet')");
$t->poll_sql("SELECT value $metrics AND name = 'ondatra_rows_total' AND labels ->> 'outcome' = 'created'", $created + 9, 'rows of a run that goes on count');
is($t->sql("SELECT value $metrics AND name = 'ondatra_sync_running'"), '1', 'it runs');
is($t->sql("SELECT value FROM ondatra.metrics WHERE name = 'ondatra_destination_in_flight'"), '1', 'a request is under way');
$t->release;
$t->poll_sql("SELECT value $metrics AND name = 'ondatra_runs_total' AND labels ->> 'status' = 'succeeded'", $t->sql("SELECT value FROM ondatra.metrics WHERE name = 'ondatra_runs_total' "
    . "AND labels = '{\"sync\": \"quiet\", \"destination\": \"api\", \"status\": \"succeeded\"}'"), 'it ends');
$t->poll_sql("SELECT count(*) FROM ondatra.run_progress", '0');
is($t->sql("SELECT value $metrics AND name = 'ondatra_rows_total' AND labels ->> 'outcome' = 'created'"), $created + 10, 'each row counts once');
my $before = $t->sql("SELECT sum(value) FROM ondatra.metrics WHERE name ~ '_total\$'");
$t->admin("DELETE FROM ondatra.all_runs WHERE finished_at IS NOT NULL AND run_id NOT IN (SELECT last_run_id FROM ondatra.all_syncs WHERE last_run_id IS NOT NULL)");
is($t->sql("SELECT sum(value) FROM ondatra.metrics WHERE name ~ '_total\$'"), $before, 'what only grows does not shrink');
$t->sql("SELECT ondatra.update_destination('api', options => '{\"rate_limit\": [\"1000/10s\", \"50000/1h\"]}')");
$t->sql("INSERT INTO mart.people VALUES (3001, 'x')");
$t->run('quiet');
is($t->sql("SELECT string_agg(labels ->> 'limit' || ' ' || value, ', ' ORDER BY value) FROM ondatra.metrics WHERE name = 'ondatra_destination_requests_max'"), '1000/10s 1000, 50000/h 50000',
    'rate limits');
is($t->sql("SELECT bool_and(l.value < m.value AND l.value > 0) FROM ondatra.metrics l JOIN ondatra.metrics m USING (labels) WHERE l.name = 'ondatra_destination_requests_left' "
    . "AND m.name = 'ondatra_destination_requests_max'"), 't', 'and what is left of them');
is($t->sql("SELECT count(*) FROM ondatra.metrics WHERE value IS NULL OR labels IS NULL OR name !~ '^ondatra_[a-z_]+\$'"), '0', 'none is NULL');
is($t->sql("SELECT count(*) FROM (SELECT FROM ondatra.metrics GROUP BY name, labels HAVING count(*) > 1) x"), '0', 'no series comes twice');
is($t->sql_as('bob', 'SELECT count(*) FROM ondatra.metrics'), '0', 'others see none');
$t->admin('CREATE ROLE watch LOGIN IN ROLE pg_monitor');
is($t->sql_as('watch', 'SELECT count(*) FROM ondatra.metrics'), $t->sql('SELECT count(*) FROM ondatra.metrics'), 'members of pg_monitor see all');
is($t->sql_as('watch', "SELECT (SELECT count(*) FROM ondatra.live_destinations() WHERE last_error IS NOT NULL) + (SELECT count(*) FROM ondatra.destination_status) + (SELECT count(*) FROM ondatra.syncs)"), '0',
    'and no words');

# The files of the manual: each query runs and has its labels and values; each metric is there, and the dashboard shows nothing else.
my %there = map { $_ => 1 } split /\n/, $t->sql('SELECT DISTINCT name FROM ondatra.metrics');
$there{ondatra_alert_firing} = $there{ondatra_alert_failed_attempts} = 1;
my $collector = Ondatra::Test::slurp("$FindBin::Bin/../../doc/monitoring/sql_exporter.collector.yml");
my %named = map { $_ => 1 } $collector =~ /metric_name: (\w+)/g;
is_deeply(\%named, \%there, 'sql_exporter: every metric');
my (%labels) = $collector =~ /metric_name: (\w+)\n.*?key_labels: \[(.*?)\]/sg;
while ($collector =~ /query_name: (\w+)\n\s+query: (.*)\n/g) {
    my ($name, $query) = ($1, $2);
    my ($rows) = $t->rows("SELECT count(*) AS n, count(*) FILTER (WHERE to_jsonb(q) ?& '{" . ($labels{$name} =~ s/ //gr) . ",value}') AS good FROM ($query) q");
    ok($rows->{n} == $rows->{good} && ($rows->{n} > 0 || $name =~ /alert/), "sql_exporter: $name");
}
my $queries = Ondatra::Test::slurp("$FindBin::Bin/../../doc/monitoring/postgres_exporter.queries.yml");
my %made;
while ($queries =~ /^(\w+):\n  query: (.*)\n  metrics:\n((?:    - .*\n)+)/mg) {
    my ($key, $query, $columns) = ($1, $2, $3);
    my @columns = $columns =~ /- (\w+):/g;
    $made{"${key}_$_"} = 1 for $columns =~ /- (\w+): \{usage: (?:GAUGE|COUNTER)/g;
    is($t->sql("SELECT string_agg(k, ' ' ORDER BY i) FROM json_object_keys((SELECT to_json(q) FROM (SELECT) x LEFT JOIN ($query) q ON true LIMIT 1)) WITH ORDINALITY c (k, i)") || "@columns", "@columns", "postgres_exporter: $key");
}
is_deeply(\%made, \%there, 'postgres_exporter: every metric');
my $dashboard = JSON::PP::decode_json(Ondatra::Test::slurp("$FindBin::Bin/../../doc/monitoring/grafana.json"));
my @shown = map { $_->{expr} =~ /(ondatra_\w+)/g } map { @{ $_->{targets} } } @{ $dashboard->{panels} };
is_deeply([grep { !$there{$_} } @shown], [], 'the dashboard shows what there is');
ok(@shown > 15, 'much of it');

# A real exporter, where there is one.
SKIP: {
    my ($exporter) = grep { -x } qw(/usr/bin/prometheus-postgres-exporter /usr/local/bin/postgres_exporter);
    skip 'no postgres_exporter (Debian: prometheus-postgres-exporter)', 2 if !$exporter;
    my $port = Ondatra::Test::free_port();
    my $log = "$t->{dir}/exporter.log";
    local $ENV{DATA_SOURCE_NAME} = 'user=watch dbname=postgres sslmode=disable host=' . $t->node->host . ' port=' . $t->node->port;
    my $pid = Ondatra::Test::spawn($log, $exporter, "--web.listen-address=127.0.0.1:$port", "--extend.query-path=$FindBin::Bin/../../doc/monitoring/postgres_exporter.queries.yml",
        '--disable-default-metrics', '--disable-settings-metrics');
    my $page = '';
    $t->poll(sub { $page = HTTP::Tiny->new(timeout => 5)->get("http://127.0.0.1:$port/metrics")->{content}; $page =~ /^ondatra_/m }, 'postgres_exporter has them') || diag(Ondatra::Test::slurp($log));
    like($page, qr/^ondatra_rows_total\{destination="api",outcome="created",(?:server="[^"]*",)?sync="quiet"\} \d+/m, 'as Prometheus reads them') || diag(substr $page, 0, 3000);
    Ondatra::Test::stop_process($t, $pid);
}

# a sync that is dropped takes its records along
$t->sql("SELECT ondatra.drop_sync('plain')");
is($t->admin("SELECT count(*) FROM ondatra.all_sync_log l WHERE NOT EXISTS (SELECT FROM ondatra.all_syncs s WHERE s.sync_id = l.sync_id)"), '0', 'drop_sync takes lines along');
done_testing;
