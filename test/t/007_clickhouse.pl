# A real database behind HTTP: ClickHouse takes batches of JSON lines, answers 500 or 400 for the whole batch when one row is bad, and is killed in the
# middle of a run. What it holds is asked of it in SQL, beside our back.
# needs package: clickhouse-server

use strict;
use utf8;
use warnings FATAL => 'all';
use HTTP::Tiny;
use Ondatra::Test;
use Test::More;

my ($program) = grep { -x } qw(/usr/sbin/clickhouse-server /usr/bin/clickhouse-server);
plan skip_all => 'clickhouse-server is not installed' unless $program;

my $t = Ondatra::Test->new;
my $url = 'http://127.0.0.1:' . Ondatra::Test::free_port();
my $dir = "$t->{dir}/clickhouse";
my ($server, $starts) = (undef, 0);
configure();
start();

# A stopped process would not hear that the test is over.
END { kill 'CONT', $server if $server }

sub configure {
    mkdir $_ for $dir, "$dir/data", "$dir/tmp", "$dir/files";
    my ($port) = $url =~ /(\d+)$/;
    PostgreSQL::Test::Utils::append_to_file("$dir/config.xml", <<"XML");
<yandex>
  <logger><level>warning</level><log>$dir/server.log</log><errorlog>$dir/error.log</errorlog></logger>
  <http_port>$port</http_port> <listen_host>127.0.0.1</listen_host>
  <path>$dir/data/</path> <tmp_path>$dir/tmp/</tmp_path> <user_files_path>$dir/files/</user_files_path>
  <users_config>$dir/users.xml</users_config> <default_profile>default</default_profile> <default_database>default</default_database>
  <mark_cache_size>50000000</mark_cache_size> <uncompressed_cache_size>0</uncompressed_cache_size> <timezone>UTC</timezone>
</yandex>
XML
    PostgreSQL::Test::Utils::append_to_file("$dir/users.xml", <<"XML");
<yandex>
  <profiles><default><max_memory_usage>1000000000</max_memory_usage></default></profiles> <quotas><default/></quotas>
  <users>
    <default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>
    <loader><password>open sesame</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></loader>
  </users>
</yandex>
XML
    return;
}

sub start {
    my $log = "$dir/output" . ++$starts . '.log';
    $server = Ondatra::Test::spawn($log, $program, "--config-file=$dir/config.xml");
    my $answer;
    $t->poll(sub { ($answer = HTTP::Tiny->new(timeout => 5)->get("$url/"))->{success} || !Ondatra::Test::alive($server) });
    $answer->{success} or die 'ClickHouse did not start: ' . Ondatra::Test::slurp($log) . Ondatra::Test::slurp("$dir/error.log");
    return;
}

# Nothing is said to anybody: what is in flight stays unanswered.
sub kill_server {
    kill 'KILL', $server;
    $t->poll(sub { !Ondatra::Test::alive($server) }, 'ClickHouse is killed');
    $server = undef;
    return;
}

sub clickhouse {
    my ($sql) = @_;
    my $answer = HTTP::Tiny->new(timeout => $Ondatra::Test::SECONDS)->post("$url/", {content => $sql});
    die "$sql: $answer->{status} $answer->{content}" unless $answer->{success};
    chomp(my $text = $answer->{content});
    utf8::decode($text);
    return $text;
}

# The operation as the manual of a database would have it: a definite no is 400 or 500, and a refused INSERT has inserted nothing.
sub insert_into {
    my ($table, $rows, %operation) = @_;
    return {method => 'POST', path => '/', query => {query => "INSERT INTO $table FORMAT JSONEachRow", date_time_input_format => 'best_effort'},
        encoding => 'ndjson', batch => {rows => $rows}, refused => [500, 400], atomic => JSON::PP::true, %operation};
}

sub clickhouse_destination {
    my ($name, $object, $options, %args) = @_;
    return $t->destination($name, {object => $object, %{ $options || {} }}, base_url => $url, %args);
}

sub failed_keys { my ($sync) = @_; return [sort { $a <=> $b } map { $_->{key}{id} } $t->failed_rows($sync)] }

$t->sql("SELECT ondatra.set_secret('clickhouse', 'open sesame')");
my %as_loader = (auth => {type => 'basic', username => 'loader', password => {secret => 'clickhouse'}});

# --- every type arrives as what it is, in batches
{
    clickhouse('CREATE TABLE orders (id UInt64, name String, amount Decimal(18, 2), seen DateTime, tags Array(String)) ENGINE = MergeTree ORDER BY id');
    $t->sql(q{CREATE TABLE mart.orders AS SELECT i::bigint * 1000000007 AS id, 'naïve "' || i || E'" \t日本' AS name, (i * 1.01)::numeric(18, 2) AS amount,
        timestamptz '2026-01-01 00:00:00+02' + i * interval '1 minute' AS seen, ARRAY['a' || i, 'b'] AS tags FROM generate_series(1, 2500) i});
    clickhouse_destination('orders', {upsert => insert_into('orders', 1000)}, undef, %as_loader);
    $t->sync('orders', 'mart.orders', 'orders');
    $t->run_is($t->run('orders'), {status => 'succeeded', rows_scanned => 2500, rows_created => 2500, requests => 3, retries => 0}, '2500 rows in 3 inserts');
    is(clickhouse('SELECT count(), uniqExact(id), sum(id), sum(amount) FROM orders'),
        join("\t", split /\|/, $t->sql('SELECT count(*), count(DISTINCT id), sum(id), sum(amount) FROM mart.orders')), 'they are there, digit for digit');
    is(clickhouse('SELECT name, seen, tags FROM orders WHERE id = 17000000119 FORMAT JSONEachRow'),
        '{"name":"naïve \"17\" \t日本","seen":"2025-12-31 22:17:00","tags":["a17","b"]}', 'texts, times and lists too');
    $t->run_is($t->run('orders'), {status => 'succeeded', rows_unchanged => 2500, requests => 0}, 'unchanged: no insert');
}

# --- bad rows among good ones: ClickHouse refuses the whole insert, with 500 or with 400
{
    clickhouse('CREATE TABLE sales (id UInt64, name String, amount Int32) ENGINE = MergeTree ORDER BY id');
    $t->sql(q{CREATE TABLE mart.sales AS SELECT i AS id, CASE WHEN i <> 77 THEN 'sale ' || i END AS name, CASE WHEN i IN (5, 150, 151) THEN 'lots' ELSE i::text END AS amount
        FROM generate_series(1, 300) i});
    clickhouse_destination('sales', {upsert => insert_into('sales', 100)}, undef, %as_loader);
    $t->sync('sales', 'mart.sales', 'sales');
    my $run = $t->run('sales');
    $t->run_is($run, {status => 'partial', rows_scanned => 300, rows_created => 296, rows_failed => 4, rows_pending => 0}, 'bad rows: 296 delivered, 4 failed');
    cmp_ok($run->{requests}, '<=', 3 + 4 * 2 * 7, 'found by halving');
    my @failed = $t->failed_rows('sales');
    is_deeply(failed_keys('sales'), [5, 77, 150, 151], 'exactly the bad rows');
    is_deeply([map { "$_->{error_class} $_->{http_status}" } sort { $a->{key}{id} <=> $b->{key}{id} } @failed],
        ['rejected 500', 'rejected 400', 'rejected 500', 'rejected 500'], 'refused with 500, the NULL with 400');
    for my $row (@failed) {
        my $column = $row->{key}{id} == 77 ? 'name' : 'amount';
        like($row->{error_message}, qr/DB::Exception: .*value of key $column.*\(at row 1\)/s, "row $row->{key}{id}: in ClickHouse's words, about it alone");
    }
    is(clickhouse('SELECT count(), uniqExact(id) FROM sales'), "296\t296", 'every good row arrived exactly once');
    is(clickhouse('SELECT count() FROM sales WHERE id IN (5, 77, 150, 151)'), '0', 'no bad one did');
    $t->run_is($t->run('sales'), {rows_unchanged => 296, rows_held_back => 4, requests => 0}, 'the next run leaves them alone');
    $t->sql(q{UPDATE mart.sales SET amount = '1', name = coalesce(name, 'mended') WHERE id IN (5, 77, 150)});
    $t->run_is($t->run('sales'), {status => 'succeeded', rows_created => 3, rows_unchanged => 296, rows_held_back => 1, requests => 1}, 'mended rows go out, in one insert');
    is_deeply(failed_keys('sales'), [151], 'one is left');
    is(clickhouse('SELECT count(), uniqExact(id) FROM sales'), "299\t299", 'and still none is there twice');
}

# --- changes and removals: a version decides which line of a key counts
{
    clickhouse('CREATE TABLE stock (id UInt64, pieces Int32, gone UInt8, version UInt64) ENGINE = ReplacingMergeTree(version) ORDER BY id');
    $t->sql('CREATE TABLE mart.stock AS SELECT i AS id, i * 2 AS pieces FROM generate_series(1, 100) i');
    my %body = (upsert => ['$each', {'$merge' => ['$fields', {version => '{{run_id}}'}]}], delete => ['$each', {id => '{{key}}', gone => 1, version => '{{run_id}}'}]);
    clickhouse_destination('stock', {map { $_ => insert_into('stock', 1000, body => $body{$_}) } keys %body}, undef, %as_loader);
    $t->sync('stock', 'mart.stock', 'stock', mode => 'mirror');
    $t->run_is($t->run('stock'), {status => 'succeeded', rows_created => 100, requests => 1}, 'mirror: 100 rows in one insert');
    $t->sql('UPDATE mart.stock SET pieces = 0 WHERE id <= 20; DELETE FROM mart.stock WHERE id > 90');
    $t->run_is($t->run('stock'), {status => 'succeeded', rows_updated => 20, rows_deleted => 10, rows_unchanged => 70, requests => 2}, 'mirror: updates and removals');
    is(clickhouse('SELECT count(), sum(pieces) FROM stock FINAL WHERE gone = 0'), join("\t", split /\|/, $t->sql('SELECT count(*), sum(pieces) FROM mart.stock')),
        'mirror: the table follows the model');
    $t->sql('INSERT INTO mart.stock VALUES (95, 7)');
    $t->run_is($t->run('stock'), {status => 'succeeded', rows_created => 1, rows_unchanged => 90}, 'mirror: a key that comes back');
    is(clickhouse('SELECT pieces, gone FROM stock FINAL WHERE id = 95'), "7\t0", 'mirror: is there again');
}

# --- not the rows' fault: no table, a wrong password. The run stops before it has blamed every row.
for my $case (['no table', 'nowhere', {}, qr/Table default\.nowhere doesn't exist/], ['a wrong password', 'sales', {type => 'basic', username => 'loader', password => {secret => 'wrong'}},
        qr/[Ww]rong password|Authentication failed/]) {
    my ($name, $table, $auth, $words) = @$case;
    my $sync = "fault_$table";
    $t->sql("SELECT ondatra.set_secret('wrong', 'close sesame')");
    $t->sql("CREATE TABLE mart.$sync AS SELECT i AS id, 'x' AS name, 1 AS amount FROM generate_series(1000001, 1002000) i");
    clickhouse_destination($sync, {upsert => insert_into($table, 50)}, undef, auth => (%$auth ? $auth : $as_loader{auth}));
    $t->sync($sync, "mart.$sync", $sync);
    my $run = $t->run($sync);
    is($run->{status}, 'failed', "$name: the run fails");
    is($run->{rows_created}, 0, "$name: nothing is delivered");
    cmp_ok($run->{rows_failed}, '<', 500, "$name: few rows are blamed");
    is($run->{rows_failed} + $run->{rows_pending}, 2000, "$name: the rest is pending");
    like(join(' ', grep { defined } @$run{qw(error_message error_detail)}), $words, "$name: the run says why");
}
is(clickhouse('SELECT count() FROM sales WHERE id > 1000000'), '0', 'not a row went in');

# --- killed in the middle of a run
{
    clickhouse('CREATE TABLE events (id UInt64, name String) ENGINE = ReplacingMergeTree ORDER BY id');
    $t->sql(q{CREATE TABLE mart.events AS SELECT i AS id, 'event ' || i AS name FROM generate_series(1, 3000) i});
    clickhouse_destination('events', {upsert => insert_into('events', 25)}, {concurrency => 2, rate_limit => '10/100ms', retry => {attempts => 2, base_ms => 10, max_ms => 20}}, %as_loader);
    $t->sync('events', 'mart.events', 'events', options => {error_after => 1000});
    $t->sql("SELECT ondatra.trigger_sync('events')");
    $t->poll(sub { clickhouse('SELECT count() FROM events') >= 500 }, 'in the middle of a run');
    kill 'STOP', $server;
    $t->poll_sql("SELECT in_flight FROM ondatra.run_progress WHERE sync_name = 'events'", '2', 'two inserts wait for an answer');
    kill_server();
    $t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'events' AND finished_at IS NOT NULL", '1', 'the run ends');
    my ($first) = $t->rows("SELECT * FROM ondatra.sync_runs WHERE sync_name = 'events'");
    $t->check_counts($first->{run_id});
    isnt($first->{status}, 'succeeded', 'and is no success');
    cmp_ok($first->{rows_created}, '>=', 500, 'what was answered is delivered');
    cmp_ok($first->{rows_failed} + $first->{rows_pending}, '>', 0, 'what was not is not');
    is($first->{rows_created} + $first->{rows_failed} + $first->{rows_pending}, 3000, 'no row is forgotten');
    is($t->sql("SELECT count(*) FILTER (WHERE error_class NOT IN ('unavailable', 'unknown_outcome')) FROM ondatra.failed_rows WHERE sync_name = 'events'"), '0',
        'none is called refused');
    my $state = 'ondatra.state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = 'events'");
    cmp_ok($t->admin("SELECT count(*) FROM $state WHERE _doubt_op IS NOT NULL"), '>', 0, 'what was in flight is in doubt, whatever the last try said');

    my $down = $t->retry('events');
    is($down->{status}, 'failed', 'ClickHouse is still down: the next run fails');
    is($down->{rows_created}, 0, 'and delivers nothing');

    start();
    my $held = clickhouse('SELECT count() FROM events FINAL');
    cmp_ok($held, '>=', $first->{rows_created}, 'ClickHouse holds all that it had said yes to');
    my $run = $t->retry('events');
    is($run->{status}, 'succeeded', 'ClickHouse is back: a run succeeds');
    is($run->{rows_created}, 3000 - $first->{rows_created}, 'it sends what was left');
    is($t->sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = 'events'"), '0', 'no failure is left');
    is(clickhouse('SELECT count(), uniqExact(id), sum(id) FROM events FINAL'), "3000\t3000\t4501500", 'every row is there, once');
    cmp_ok(clickhouse('SELECT count() FROM events'), '<=', 3000 + 2 * 25, 'and only what was in flight came twice');
    $t->run_is($t->run('events'), {status => 'succeeded', rows_unchanged => 3000, requests => 0}, 'then there is nothing to do');
}
done_testing();
