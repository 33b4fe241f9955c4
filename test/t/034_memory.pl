# Memory and temporary files: a run needs as much for a million rows as for some thousands, whatever becomes of the rows; a thousand runs leave
# nothing behind in the processes that stay; temporary files end with their run.
#
#   ONDATRA_MEMORY_ROWS=1000000   rows of the large run (default 300000)
#   ONDATRA_MEMORY_RECORDS=1000000  records of the large reconciliation (default a third of the rows)
#   ONDATRA_MEMORY_RUNS=1000      runs, and calls (default 200)

use strict;
use warnings FATAL => 'all';
use IO::Socket::INET;
use Ondatra::Sessions;
use Ondatra::Test;
use POSIX ();
use Test::More;
use Time::HiRes qw(usleep);

my $rows = $ENV{ONDATRA_MEMORY_ROWS} || 300_000;
my $runs = $ENV{ONDATRA_MEMORY_RUNS} || 200;
my $few = 60_000;
my $batch = 1000;
my $slack_kb = 16 * 1024;

plan skip_all => 'no /proc here' unless -r "/proc/$$/status";
plan skip_all => 'a sanitizer has memory of its own' if $ENV{ONDATRA_SANITIZED};

# What the process has for itself: shared buffers do not count.
sub own_kb { my ($pid) = @_; return Ondatra::Test::slurp("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : 0 }

# A destination that reads and forgets. /refuse: of each batch the first row is accepted, the others are not. /list/<records>: so many, in pages of a thousand; every
# tenth is not as the model has it.
sub page {
    my ($records, $offset) = @_;
    my $last = $offset + 1000 < $records ? $offset + 1000 : $records;
    return '{"total":' . $records . ',"rows":[' . join(',', map { my $i = $_; qq({"key":"$i","id":"r$i","fields":{"id":$i,"v":) . ($i % 10 ? '1.50' : 2) . ',"theirs":"more words than are compared",'
        . join(',', map { qq("c$_":"word ) . ($i + $_) . '"' } 1 .. 10) . '}}' } reverse $offset + 1 .. $last) . ']}';
}

sub start_sink {
    my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "no socket: $!";
    my $parent = $$;
    my $pid = fork // die "fork: $!";
    return $listener->sockport if $pid;
    $SIG{CHLD} = 'IGNORE';
    $SIG{TERM} = 'DEFAULT';
    while (getppid == $parent) {
        my $in = '';
        vec($in, $listener->fileno, 1) = 1;
        next unless select $in, undef, undef, 1;
        my $client = $listener->accept or next;
        next if fork;
        while (defined(my $line = <$client>)) {
            my $refuse = $line =~ m{ /refuse};
            my ($records, $offset) = $line =~ m{ /list/(\d+)\?offset=(\d+)};
            my $length = 0;
            while (defined($line = <$client>) && $line !~ /^\r?\n/) { $length = $1 if $line =~ /^content-length: *(\d+)/i }
            my $body = '';
            while (length $body < $length) { read($client, $body, $length - length $body, length $body) || POSIX::_exit(0) }
            my $n = () = $body =~ /"id":/g;
            my @results = ('{"ok":true}') x $n;
            @results[1 .. $n - 1] = ('{"ok":false,"message":"refused for a reason that is some words long"}') x ($n - 1) if $refuse;
            $body = defined $records ? page($records, $offset) : '{"results":[' . join(',', @results) . ']}';
            print $client "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
            $client->flush;
        }
        POSIX::_exit(0);
    }
    POSIX::_exit(0);
}

my $t = Ondatra::Test->new(conf => "ondatra.work_mem = '8MB'\nmax_wal_size = '4GB'\nfsync = off\nautovacuum = off");
my $port = start_sink();
my $temp = $t->node->data_dir . '/base/pgsql_tmp';
sub temp_files { return grep { -f } glob "$temp/* $temp/*/*" }

sub sink_destination {
    my ($name, $path, $rows_a_batch, %args) = @_;
    my $operation = {method => 'POST', path => $path, batch => {rows => $rows_a_batch}, body => ['$each', '$fields'],
        result => {rows => '/results', match => 'order', ok => {path => '/ok', equals => JSON::PP::true}, error => '/message'}};
    $t->destination($name, {object => {upsert => $operation, delete => {%$operation, body => ['$each', {id => '{{key}}'}]}}, concurrency => 4}, base_url => "http://127.0.0.1:$port", %args);
    return;
}

# A run in the background, watched: its row, and the most that its process had for itself.
sub watched {
    my ($sync) = @_;
    my $run_id = $t->sql("SELECT run_id FROM ondatra.run_sync('$sync', wait => false)");
    my $pid = $t->sql("SELECT coalesce((SELECT pid FROM ondatra.live_runs() WHERE run_id = $run_id), 0)");
    my ($most, $spilled) = (0, 0);
    while ($pid && -d "/proc/$pid") {
        my $now = own_kb($pid);
        $most = $now if $now > $most;
        $spilled ||= scalar temp_files();
        usleep(5_000);
    }
    $t->poll(sub { $t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE run_id = $run_id AND finished_at IS NOT NULL") eq '1' });
    my ($run) = $t->rows("SELECT * FROM ondatra.sync_runs WHERE run_id = $run_id");
    note("$sync: $run->{status}, $run->{rows_scanned} rows, $most kB, $run->{duration}" . ($run->{error_message} ? ", $run->{error_message}" : ''));
    $t->check_counts($run_id);
    return {%$run, kb => $most, spilled => $spilled};
}

# --- runs over few and over many rows. About 200 bytes a row.
my @columns = map { "'word ' || i + $_ AS c$_" } 1 .. 10;
$t->sql("CREATE TABLE mart.base (id bigint PRIMARY KEY, v float8, " . join(', ', map { "c$_ text" } 1 .. 10) . ')');
sink_destination('accept', '/accept', $batch);
sink_destination('refuse', '/refuse', $batch);

# The phases of a table of so many rows; the highest mark of each.
sub phases {
    my ($n) = @_;
    $t->sql("TRUNCATE mart.base; INSERT INTO mart.base SELECT i, 1.5, " . join(', ', @columns) . " FROM generate_series(1, $n) i; ANALYZE mart.base");
    $t->sync("s$n", 'mart.base', 'accept', mode => 'mirror');
    my %kb;
    my $run = watched("s$n");
    $t->run_is($run, {status => 'succeeded', rows_created => $n}, "$n rows: created");
    ok($run->{spilled}, "$n rows: changes and join are kept in files") if $n > $few;
    $kb{create} = $run->{kb};
    $run = watched("s$n");
    $t->run_is($run, {status => 'succeeded', rows_unchanged => $n, requests => 0}, "$n rows: unchanged");
    $kb{unchanged} = $run->{kb};
    $t->sql('UPDATE mart.base SET c1 = c1 || c2 WHERE id % 100 = 0');
    $run = watched("s$n");
    $t->run_is($run, {status => 'succeeded', rows_updated => $n / 100}, "$n rows: 1 % updated");
    $kb{update} = $run->{kb};
    $t->sync("refused$n", 'mart.base', 'refuse');
    $run = watched("refused$n");
    $t->run_is($run, {status => 'partial', rows_created => $n / $batch, rows_failed => $n - $n / $batch}, "$n rows: almost all refused");
    $kb{refused} = $run->{kb};
    $t->sql("SELECT ondatra.drop_sync('refused$n')");
    $t->sync("twins$n", 'SELECT id / 2 AS id, c1, c2 FROM mart.base', 'accept');
    $run = watched("twins$n");
    $t->run_is($run, {rows_invalid => $n - 2, rows_created => 2}, "$n rows: almost all twice");
    $kb{twins} = $run->{kb};
    $t->sql("UPDATE mart.base SET v = 'NaN'");
    $run = watched("s$n");
    $t->run_is($run, {rows_invalid => $n, rows_deleted => 0}, "$n rows: all invalid");
    $kb{invalid} = $run->{kb};
    is(scalar temp_files(), 0, "$n rows: no temporary file is left");
    return \%kb;
}
my $small = phases($few);
my $large = phases($rows);
# A run that ended before anybody looked has no figure: then the largest of the small ones counts.
my ($most) = sort { $b <=> $a } values %$small;
cmp_ok($large->{$_}, '<', ($small->{$_} || $most) + $slack_kb, "$_: $rows rows need no more memory than $few") for sort keys %$small;

# A cursor whose every row is higher than the one before.
$t->sql("CREATE TABLE mart.grows AS SELECT i AS id, (i || '.' || repeat('7', 120))::numeric AS at FROM generate_series(1, $rows) i");
$t->sync('grows', 'mart.grows', 'accept', options => {cursor_column => 'at'});
my $grows = watched('grows');
$t->run_is($grows, {rows_created => $rows}, 'a cursor over many rows');
cmp_ok($grows->{kb}, '<', $small->{create} + $slack_kb, 'needs no more memory either');

# --- a list of few and of many records against as many rows: adopted, compared, all different, all missing
sub reconciled {
    my ($sync, $repair) = @_;
    my $session = session($t, 'ann', "SELECT problem, count(*) FROM ondatra.reconcile_sync('$sync', '{$repair}') GROUP BY problem;");
    my ($pid, $most, $spilled) = (0, 0, 0);
    while (is_running($session)) {
        $pid ||= $t->sql('SELECT coalesce(max(pid), 0) FROM ondatra.live_runs()');
        my $now = $pid ? own_kb($pid) : 0;
        $most = $now if $now > $most;
        $spilled ||= scalar temp_files();
        usleep(20_000);
    }
    my ($out, $err) = finish($session);
    my ($words) = $err =~ /(\d+ records: .*)/;
    note("$sync: $words, $most kB, " . $t->sql("SELECT duration FROM ondatra.sync_runs ORDER BY run_id DESC LIMIT 1"));
    is(scalar temp_files(), 0, "$sync: no temporary file is left");
    return {out => $out, words => $words, kb => $most, spilled => $spilled};
}

sub reconciliations {
    my ($n) = @_;
    my %kb;
    $t->sql("TRUNCATE mart.base; INSERT INTO mart.base SELECT i, 1.5, " . join(', ', @columns) . " FROM generate_series(1, $n) i; ANALYZE mart.base");
    my $list = {method => 'GET', path => "/list/$n", query => {offset => '{{cursor}}'}, rows => '/rows', key => '/key', id => '/id', fields => '/fields', next => {offset => {step => 1000}, total => '/total'}};
    $t->destination("list$n", {object => {upsert => {method => 'PUT', path => '/x/{{key}}'}, list => $list}}, base_url => "http://127.0.0.1:$port");
    $t->sync("list$n", 'mart.base', "list$n");
    my $found = reconciled("list$n", 'adopt');
    is($found->{out}, 'different|' . $n / 10, "$n records: those that differ are found");
    like($found->{words}, qr{^$n records: @{[$n - $n / 10]} equal.* @{[$n - $n / 10]} adopted}, "$n records: the others are adopted");
    ok($found->{spilled}, "$n records: in files");
    $kb{adopt} = $found->{kb};
    $t->sql("UPDATE mart.base SET v = 7");
    $found = reconciled("list$n", 'different');
    like($found->{words}, qr{^$n records: 0 equal, $n different.* $n marked}, "$n records: all are different");
    $kb{different} = $found->{kb};
    return \%kb;
}
my $few_records = reconciliations(10_000);
my $records = $ENV{ONDATRA_MEMORY_RECORDS} || int($rows / 3000) * 1000;
my $many_records = reconciliations($records);
cmp_ok($many_records->{$_}, '<', $few_records->{$_} + $slack_kb, "$_: $records records need no more memory than ten thousand") for sort keys %$many_records;

# --- temporary files of runs that end otherwise
$t->sql('UPDATE mart.base SET v = 1');
for my $case (['an error', "UPDATE mart.grows SET at = 0 WHERE id = $rows", 'SELECT id, 1 / at AS v, repeat(id::text, 20) AS c FROM mart.grows ORDER BY id', qr/division by zero/],
    ['a kill', '', 'SELECT id, v, repeat(c1, 3) AS c, pg_sleep(CASE WHEN id = (SELECT max(id) FROM mart.base) THEN 600 ELSE 0 END) IS NULL AS z FROM (SELECT * FROM mart.base ORDER BY id) b', qr/terminat/]) {
    my ($name, $sql, $model, $message) = @$case;
    $t->sql($sql) if $sql;
    (my $sync = $name) =~ s/.* //;
    $t->sync($sync, $model, 'accept');
    my $run_id = $t->sql("SELECT run_id FROM ondatra.run_sync('$sync', wait => false)");
    $t->poll(sub { temp_files() > 0 || $t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE run_id = $run_id AND finished_at IS NOT NULL") eq '1' });
    ok(scalar temp_files(), "$name: the run had a file") if $name eq 'a kill';
    $t->admin("SELECT pg_terminate_backend(pid) FROM ondatra.live_runs() WHERE run_id = $run_id") if $name eq 'a kill';
    $t->poll(sub { $t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE run_id = $run_id AND finished_at IS NOT NULL") eq '1' });
    like($t->sql("SELECT error_message FROM ondatra.sync_runs WHERE run_id = $run_id"), $message, "$name ends a run");
    $t->sql("SELECT ondatra.drop_sync('$sync')");
    $t->poll(sub { !temp_files() }, "$name: no file is left");
}

# --- many runs, many calls
$t->sql('CREATE TABLE mart.empty (id int PRIMARY KEY, v text); CREATE TABLE mart.rows AS SELECT i AS id, repeat(md5(i::text), 20) AS v FROM generate_series(1, 50) i');
$t->sync('empty', 'mart.empty', 'accept');
$t->sync('rows', 'mart.rows', 'accept', key => ['id']);
sink_destination('named', '/accept', $batch, auth => {type => 'header', headers => {map { ("X-Name-$_" => {secret => "secret_$_"}) } 1 .. 20}});
$t->sync('broken', 'SELECT id, 1 / (id - 50) AS v FROM mart.rows', 'named');

# Something over and over in one session: growth of its memory from the first third to the end, in kB.
sub growth {
    my ($sql, $times) = @_;
    my $file = "$t->{dir}/growth" . ++$t->{n};
    my $third = int($times / 3) + 1;
    my ($out, $err) = finish(session($t, $t->superuser, "SET client_min_messages = error; SET SESSION AUTHORIZATION ann; $sql\n" x $third
        . "RESET SESSION AUTHORIZATION; SELECT 'context ' || sum(total_bytes) / 1024 FROM pg_backend_memory_contexts; SELECT 'own ' || substring(pg_read_file('/proc/self/status') FROM 'RssAnon:\\s+(\\d+)');\n"
        . "SET SESSION AUTHORIZATION ann; $sql\n" x ($times - $third)
        . "RESET SESSION AUTHORIZATION; SELECT 'context ' || sum(total_bytes) / 1024 FROM pg_backend_memory_contexts; SELECT 'own ' || substring(pg_read_file('/proc/self/status') FROM 'RssAnon:\\s+(\\d+)');\n"));
    diag($err) if $err =~ /ERROR/;
    my @context = $out =~ /^context (\d+)/mg;
    my @own = $out =~ /^own (\d+)/mg;
    return ($context[1] - $context[0], $own[1] - $own[0]);
}
my $failing = 'DO $$ BEGIN PERFORM ondatra.preview_sync(\'broken\'); EXCEPTION WHEN division_by_zero THEN END $$;';
for my $case (['plan_sync', "SELECT creates FROM ondatra.plan_sync('rows');", $runs * 3], ['preview_sync', "SELECT length(body) FROM ondatra.preview_sync('rows');", $runs * 3],
    ['explain_row', "SELECT length(ondatra.explain_row('rows', '{\"id\": 7}')::text);", $runs * 3], ['a preview that fails', $failing, $runs * 3],
    ['run_sync', "SELECT status FROM ondatra.run_sync('empty');", $runs]) {
    my ($name, $sql, $times) = @$case;
    my ($context, $own) = growth($sql, $times);
    note("$name: $context kB in contexts, $own kB");
    cmp_ok($context, '<', 64, "$times times $name: memory contexts stay as they are");
    cmp_ok($own, '<', 512 + $times / 4, "$times times $name: so does what else the process has");
}

# --- rebase_sync records its rows by thousands
$t->sql('CREATE TABLE mart.rebased AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, 150000) i');
$t->sync('rebased', 'mart.rebased', 'accept');
{
    my ($out) = finish(session($t, $t->superuser, "SET SESSION AUTHORIZATION ann; SELECT ondatra.rebase_sync('rebased'); RESET SESSION AUTHORIZATION;\n"
        . "SELECT 'peak ' || substring(s FROM 'VmHWM:\\s+(\\d+)')::int - substring(s FROM 'RssShmem:\\s+(\\d+)')::int FROM pg_read_file('/proc/self/status') s;"));
    my ($peak) = $out =~ /^peak (\d+)/m;
    note("rebase_sync: $peak kB");
    cmp_ok($peak, '<', 100_000, 'rebase_sync of 150,000 rows needs no memory for each');
}

# --- the processes that stay
my ($launcher) = background_workers($t, 'launcher');
my $before = own_kb($launcher);
my $shared = 'SELECT count(*) || \' \' || coalesce(sum(allocated_size), 0) FROM pg_shmem_allocations';
my $shared_before = $t->admin($shared);
my $last = $t->sql("SELECT max(run_id) FROM ondatra.sync_runs");
my ($scheduler_last, %scheduler) = (0);
for my $i (1 .. $runs) {
    $t->sql("SELECT ondatra.trigger_sync('empty')");
    for my $pid (background_workers($t, 'scheduler')) {
        my $kb = own_kb($pid);
        $scheduler{$pid} ||= $kb;
        $scheduler_last = $kb - $scheduler{$pid} if $kb - $scheduler{$pid} > $scheduler_last;
    }
}
$t->poll(sub { $t->admin('SELECT count(*) FROM ondatra.run_requests') eq '0' && $t->sql('SELECT count(*) FROM ondatra.run_progress') eq '0' }, 'all requests are answered');
note('launcher: ' . (own_kb($launcher) - $before) . " kB, scheduler: $scheduler_last kB, runs: " . $t->sql("SELECT max(run_id) - $last FROM ondatra.sync_runs"));
cmp_ok(own_kb($launcher) - $before, '<', 256, 'the launcher stays as it is');
cmp_ok($scheduler_last, '<', 2048, 'so does a scheduler');
is($t->admin($shared), $shared_before, 'so does shared memory');
is($t->admin('SELECT count(*) FROM ondatra.send_windows'), '0', 'no window is left');
is(scalar temp_files(), 0, 'nor a temporary file');
done_testing;
