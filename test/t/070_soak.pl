# Many syncs of two databases for a while, with a destination in a bad mood: edits of rows and of syncs, pauses, drops, refused rows, lost answers, ended and
# killed workers. Memory and tables stay as they are, what is counted is what took effect, and at the end both sides are equal.
#
#   ONDATRA_SOAK_SECONDS=1800 ONDATRA_SOAK_SYNCS=150    of each database; default: 25 seconds, 8 syncs
#   ONDATRA_SOAK_SEED=…                                 the same choices again (not the same interleaving)

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;
use Time::HiRes qw(time usleep);

my $seconds = $ENV{ONDATRA_SOAK_SECONDS} || 25;
my $n_syncs = $ENV{ONDATRA_SOAK_SYNCS} || 8;
my $seed = $ENV{ONDATRA_SOAK_SEED} || int(rand 2**31);
my @databases = qw(one two);
srand $seed;
note("seed $seed: $seconds s, $n_syncs syncs in each of 2 databases");

my $t = Ondatra::Test->new(conf => "autovacuum_naptime = 1\nrestart_after_crash = on\nondatra.max_workers = 12\nmax_worker_processes = 32\n"
    . "ondatra.run_retention_count = 20\nondatra.request_retention_count = 50\nlog_min_messages = fatal\nlog_statement = none\n");
my $keep = "$t->{dir}/effects";
$t->stop_process($t->{destination_pid});
$t->start_destination('--keep', $keep, '--no-log');

sub in_db {
    my ($db, $sql) = @_;
    return $t->psql_in($db, $t->superuser, $sql);
}

# The server may be restarting after a crash.
sub must {
    my ($db, $sql) = @_;
    my ($out, $err) = ('', '');
    $t->poll(sub { (my $status, $out, $err) = in_db($db, $sql); $status == 0 }) or die "$sql\n$err";
    return $out;
}

my %sync_options = (max_deletes => '100%', on_empty => 'run', on_config_change => 'resend', in_doubt_wait => '300 ms', error_after => 10000, max_attempts => 1000);
sub create_sync_sql {
    my ($i) = @_;
    return 'SELECT ondatra.create_sync(' . Ondatra::Test::arguments(name => "s$i", model => "SELECT id, v, poison FROM mart.m WHERE part = $i", destination => 'api', key => ['id'],
        mode => 'mirror', schedule => $i % 2 ? '1 second' : '3 seconds', options => {%sync_options, $i % 4 ? () : (sync_log => 'all')}) . ");\n";
}

for my $db (@databases) {
    $t->admin("CREATE DATABASE $db");
    my $options = $t->json_of({object => {upsert => {method => 'PUT', path => "/$db/{{key}}"}, delete => {method => 'DELETE', path => "/$db/{{key}}"}},
        retry => {attempts => 3, base_ms => 10, max_ms => 200}, concurrency => 8, timeout_ms => 1000});
    my $rows = $n_syncs * 40;
    my ($status, undef, $err) = in_db($db, "CREATE EXTENSION ondatra; GRANT USAGE ON SCHEMA ondatra TO ann; CREATE SCHEMA mart AUTHORIZATION ann; SET SESSION AUTHORIZATION ann;
        CREATE TABLE mart.m (id text PRIMARY KEY, part int NOT NULL, v int NOT NULL, poison text);
        INSERT INTO mart.m SELECT i, 1 + i % $n_syncs, 0 FROM generate_series(1, $rows) i;
        SELECT ondatra.create_destination('api', base_url => '" . $t->url . "', options => '$options');\n" . join '', map { create_sync_sql($_) } 1 .. $n_syncs);
    die $err if $status;
}

# --- what is watched

my (%counted, %seen, %memory, %size);

# Runs that have ended since, before retention takes them.
sub collect {
    for my $db (@databases) {
        my ($status, $out) = in_db($db, 'SELECT run_id, rows_created + rows_updated, rows_deleted, rows_scanned - rows_unchanged - rows_created - rows_updated - rows_failed - rows_invalid '
            . '- rows_held_back - rows_skipped - rows_pending, status FROM ondatra.all_runs WHERE finished_at IS NOT NULL');
        for my $line ($status ? () : split /\n/, $out) {
            my ($run_id, $put, $deleted, $rest, $run_status) = split /\|/, $line;
            next if $seen{"$db $run_id"}++;
            $counted{runs}++;
            $counted{$run_status}++;
            $counted{"$db put"} += $put;
            $counted{"$db delete"} += $deleted;
            fail("$db: the counts of run $run_id do not add up: $rest are left") if $rest != 0;
        }
    }
    return;
}

sub sample {
    my ($half) = @_;
    my ($launcher) = eval { background_workers($t, 'launcher') };
    my ($rss) = $launcher ? Ondatra::Test::slurp("/proc/$launcher/status") =~ /^VmRSS:\s+(\d+)/m : ();
    $memory{$half} = $rss if $rss && $rss > ($memory{$half} || 0);
    for my $db (@databases) {
        my ($status, $out) = in_db($db, "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c WHERE relnamespace = 'ondatra'::regnamespace AND relkind = 'r'");
        for my $line ($status ? () : split /\n/, $out) {
            my ($name, $bytes) = split /\|/, $line;
            $name =~ s/^state_.*/state/; # all of them together would hide one
            $size{$half}{"$db $name"} = $bytes if $bytes > ($size{$half}{"$db $name"} || 0);
        }
    }
    return;
}

# --- what is done to it

my $every = $n_syncs > 20 ? 50 : 20; # one row in so many
my @edits = (
    ("UPDATE mart.m SET v = v + 1 WHERE random() < 1.0 / $every") x 6,
    "DELETE FROM mart.m WHERE random() < 0.3 / $every",
    ("INSERT INTO mart.m SELECT i, 1 + i % $n_syncs, 0 FROM generate_series(1, $n_syncs * 40) i WHERE random() < 1.0 / $every ON CONFLICT (id) DO UPDATE SET v = mart.m.v + 1") x 2,
    "UPDATE mart.m SET poison = 'refused' WHERE random() < 0.1 / $every",
    'UPDATE mart.m SET poison = NULL WHERE poison IS NOT NULL');
my %done;
sub disturb {
    my ($db) = ($databases[rand @databases]);
    my $i = 1 + int rand $n_syncs;
    my @ways = (
        [trigger => 10, sub { "SELECT ondatra.trigger_sync('s$i')" }],
        [run => 10, sub { "SELECT ondatra.run_sync('s$i', timeout => '2 seconds')" }],
        [canary => 3, sub { "SELECT ondatra.run_sync('s$i', max_rows => 3, wait => false)" }],
        [pause => 5, sub { "SELECT ondatra.pause_sync('s$i'); SELECT ondatra.resume_sync('s$i')" }],
        [edit => 5, sub { "SELECT ondatra.update_sync('s$i', options => '{\"concurrency\": " . (1 + int rand 8) . "}')" }],
        [mapping => 1, sub { "SELECT ondatra.update_sync('s$i', mapping => '{\"" . (qw(v w x))[rand 3] . "\": \"v\", \"poison\": \"poison\"}')" }],
        [retry => 5, sub { "SELECT ondatra.retry_failed('s$i')" }],
        [cancel => 5, sub { 'SELECT ondatra.cancel_run(run_id) FROM ondatra.sync_runs WHERE finished_at IS NULL ORDER BY random() LIMIT 1' }],
        [end => 3, sub { "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'ondatra run' ORDER BY random() LIMIT 1" }],
        [drop => 2, sub { "BEGIN; DELETE FROM mart.m WHERE part = $i; COMMIT; SELECT ondatra.run_sync('s$i')" }],
        [destination => 1, sub { "SELECT ondatra.update_destination('api', options => '{\"concurrency\": " . (2 + int rand 7) . "}')" }],
        [launcher => 1, sub { "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'ondatra launcher'" }]);
    my $sum = 0;
    $sum += $_->[1] for @ways;
    my $at = rand $sum;
    for my $way (@ways) {
        next if ($at -= $way->[1]) > 0;
        in_db($db, $way->[0] =~ /end|launcher/ ? $way->[2]->() : 'SET ROLE ann; ' . $way->[2]->());
        $done{ $way->[0] }++;
        return;
    }
    return;
}

# kill -9 of a run: the whole server begins anew.
sub kill_one {
    my ($pid) = map { eval { background_workers($t, $_) } } qw(run scheduler);
    return if !$pid;
    kill 'KILL', $pid;
    $done{kill}++;
    must('postgres', 'SELECT 1');
    return;
}

$t->script(
    {method => ['PUT', 'DELETE'], nth => {every => 37}, answer => {status => 503}},
    {method => ['PUT', 'DELETE'], nth => {every => 41}, answer => {status => 429, headers => {'Retry-After' => '0'}}},
    {method => ['PUT', 'DELETE'], nth => {every => 43}, answer => {apply => \1, misbehave => 'close'}},
    {method => ['PUT', 'DELETE'], nth => {every => 53}, answer => {misbehave => 'reset'}},
    {method => ['PUT', 'DELETE'], nth => {every => 97}, answer => {apply => \1, status => 500}},
    {method => ['PUT', 'DELETE'], nth => {every => 997}, answer => {apply => \1, misbehave => 'hang'}});
my $began = time;
my ($sampled, $killed) = ($began, $began);
while ((my $past = time - $began) < $seconds) {
    in_db($databases[rand @databases], 'SET ROLE ann; ' . $edits[rand @edits]);
    disturb();
    if (time - $killed > $seconds / 8 && time - $killed > 6) {
        kill_one();
        $killed = time;
    }
    if (time - $sampled > $seconds / 40 || time - $sampled > 5) {
        collect();
        # The first third is for getting to size.
        sample($past < $seconds / 3 ? 'begin' : 'end');
        $sampled = time;
    }
    usleep(20_000);
}
note('done: ' . join ', ', map { "$done{$_} $_" } sort keys %done);

# --- peace

$t->script;
$t->release;
for my $db (@databases) {
    must($db, 'SET ROLE ann; UPDATE mart.m SET poison = NULL WHERE poison IS NOT NULL');
    my $sql = join '', map { "SELECT ondatra.retry_failed('s$_') WHERE EXISTS (SELECT FROM ondatra.failed_rows WHERE sync_name = 's$_');\nSELECT ondatra.run_sync('s$_');\n" } 1 .. $n_syncs;
    my $left = 'SELECT (SELECT count(*) FROM ondatra.run_requests) + (SELECT count(*) FROM ondatra.all_failed_rows) + (SELECT count(*) FROM ondatra.send_windows) + '
        . '(SELECT count(*) FROM ondatra.all_runs WHERE finished_at IS NULL) + count(*) FROM ondatra.all_syncs s '
        . 'JOIN LATERAL (SELECT * FROM ondatra.all_runs x WHERE x.sync_id = s.sync_id ORDER BY run_id DESC LIMIT 1) r ON true '
        . "WHERE s.state <> 'active' OR r.status <> 'succeeded' OR r.rows_held_back + r.rows_pending + r.deletes_pending > 0";
    $t->poll(sub { in_db($db, "SET ROLE ann;\nSELECT ondatra.resume_sync(name) FROM ondatra.syncs WHERE state = 'paused'"); in_db($db, "SET ROLE ann;\n$sql"); collect(); must($db, $left) eq '0' },
        "$db: everything is delivered") or diag(must($db, "SELECT * FROM ondatra.sync_status WHERE last_status <> 'succeeded'; SELECT * FROM ondatra.failed_rows LIMIT 5"));
    must($db, "SET ROLE ann; SELECT ondatra.pause_sync(name) FROM ondatra.syncs");
    $t->poll(sub { must($db, 'SELECT count(*) FROM ondatra.all_runs WHERE finished_at IS NULL') eq '0' }) or die 'runs do not end';
    my %mapped = map { split /\|/ } split /\n/, must($db, q{SELECT name, coalesce((SELECT k FROM jsonb_object_keys(mapping::jsonb) k WHERE mapping::jsonb ->> k = 'v'), 'v') FROM ondatra.syncs});
    my %wanted = map { my ($id, $part, $v) = split /\|/; $id => "$mapped{\"s$part\"}=$v" } split /\n/, must($db, 'SELECT id, part, v FROM mart.m');
    my $records = $t->records($db);
    my %there = map { my $value = $records->{$_}; my ($name) = grep { exists $value->{$_} } qw(v w x); $_ => ($name // '') . '=' . ($value->{ $name // 'v' } // '') } keys %$records;
    my @wrong = grep { ($wanted{$_} // 'nothing') ne ($there{$_} // 'nothing') } sort keys %{ {%wanted, %there} };
    is(scalar @wrong, 0, "$db: the destination has what the model has") or diag(join "\n", map { "$_: " . ($wanted{$_} // 'nothing') . ' is ' . ($there{$_} // 'nothing') } @wrong[0 .. ($#wrong < 9 ? $#wrong : 9)]);
}
collect();
sample('end');

# --- counts: delivered is never more than what took effect; what took effect once more was sent in vain at least once
my %effects;
for my $file (glob "$keep*") {
    open my $fh, '<', $file or die "$file: $!";
    while (my $line = <$fh>) {
        my $e = JSON::PP::decode_json($line);
        $effects{"$e->{collection} " . ($e->{op} eq 'delete' ? 'delete' : 'put')}++ if $e->{request};
    }
}
for my $db (@databases) {
    cmp_ok($counted{"$db put"}, '<=', $effects{"$db put"} // 0, "$db: no more rows are counted as delivered than took effect");
    cmp_ok($counted{"$db put"}, '>', 0.8 * ($effects{"$db put"} // 0), "$db: and few took effect without being counted");
}
cmp_ok($counted{runs}, '>', $n_syncs, 'there were runs') and note(join ', ', map { "$_: $counted{$_}" } sort keys %counted);

# --- sizes
note("memory of the launcher: $memory{begin} kB, later $memory{end} kB");
cmp_ok($memory{end}, '<=', 1.3 * $memory{begin} + 4096, 'the memory of the launcher stays as it is');
for my $name (sort keys %{ $size{begin} }) {
    cmp_ok($size{end}{$name} // 0, '<=', 2 * $size{begin}{$name} + 2_000_000, "$name stays as large as it is");
}
unlike(Ondatra::Test::slurp($t->node->logfile), qr/PANIC|terminated by signal (?!9)|TRAP:/, 'no process crashed by itself');
done_testing;
