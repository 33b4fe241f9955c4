# No room: more due syncs than workers may run, or processes the server has. Nothing is lost, nothing spins, one line says which setting to raise.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new(conf => 'ondatra.max_workers = 2');
my @names = map { "s$_" } 1 .. 6;
quick_sync($t, $_) for @names, 'x';
my $log = $t->node->logfile;

sub log_lines { my ($pattern) = @_; return scalar grep { /$pattern/ } split /\n/, Ondatra::Test::slurp($log) }

# Two runs hang; the others are asked for, in order.
sub all_asked_for {
    $t->reset_destination;
    $t->script({method => 'PUT', answer => {misbehave => 'hang'}});
    $t->sql('UPDATE mart.' . $_ . " SET v = v || 'x'; SELECT ondatra.trigger_sync('$_')") for @names;
}

sub all_delivered {
    my ($how) = @_;
    $t->script;
    $t->release;
    $t->poll(sub { $t->release; $t->admin("SELECT count(DISTINCT sync_name) FROM ondatra.all_runs WHERE sync_name LIKE 's%' AND status = 'succeeded'") == 6
            && $t->admin('SELECT count(*) FROM ondatra.run_requests') == 0 && !background_workers($t, 'run') }, "$how: all run when there is room");
    return;
}

# --- ondatra.max_workers
all_asked_for();
$t->poll(sub { log_lines('runs go on, as many as may at once') == 1 }, 'a line says that due syncs wait');
is($t->sql("SELECT count(*) FROM ondatra.run_progress"), '2', 'as many run as may');
$t->sql_fails("SELECT ondatra.run_sync('x')", qr/2 runs go on already.*ondatra\.max_workers/s, 'run_sync names the setting');
is($t->sql("SELECT ondatra.trigger_sync('x') > 0"), 't', 'trigger_sync works all the same');
like(Ondatra::Test::slurp($log), qr/HINT:  Raise ondatra\.max_workers/, 'the hint names the setting');
all_delivered('max_workers');
is($t->admin("SELECT max(abs(a - b)) <= 1 FROM (SELECT rank() OVER (ORDER BY started_at) AS a, rank() OVER (ORDER BY queued_at) AS b FROM ondatra.all_runs) x"), 't',
    'who asked first ran first');
is(log_lines('runs go on, as many as may at once'), 1, 'it was said once');
is($t->admin("SELECT bool_and(running <= 2) FROM (SELECT (SELECT count(*) FROM ondatra.all_runs b WHERE a.started_at BETWEEN b.started_at AND b.finished_at) AS running "
    . "FROM ondatra.all_runs a) x"), 't', 'never more than two at once');

# --- ondatra.max_workers_per_role: others' runs start at once; what waits starts when one of the role's ends
$t->admin('ALTER SYSTEM SET ondatra.max_workers_per_role = 1; SELECT pg_reload_conf()');
$t->admin('TRUNCATE ondatra.all_runs');
all_asked_for();
$t->poll(sub { log_lines('runs of one role go on, as many as may at once') == 1 }, 'a line says that due syncs of a role wait');
is($t->sql("SELECT count(*) FROM ondatra.run_progress"), '1', 'one runs of six');
$t->sql_fails("SELECT ondatra.run_sync('x')", qr/1 runs of the sync's owner go on already.*ondatra\.max_workers_per_role/s, 'run_sync names the setting');
$t->admin('CREATE TABLE mart.of_bob (id int PRIMARY KEY, v text); ALTER TABLE mart.of_bob OWNER TO bob; GRANT USAGE ON SCHEMA mart TO bob');
$t->sql_as('bob', "INSERT INTO mart.of_bob VALUES (1, 'b'); SELECT ondatra.create_destination('bobs', base_url => '" . $t->url . "', options => '{\"object\": {\"upsert\": {\"method\": \"PATCH\", \"path\": \"/bobs/{{key}}\"}}}');"
    . " SELECT ondatra.create_sync('bobs', 'mart.of_bob', 'bobs'); SELECT ondatra.trigger_sync('bobs')");
$t->poll(sub { $t->admin("SELECT count(*) FROM ondatra.all_runs WHERE sync_name = 'bobs' AND status = 'succeeded'") eq '1' }, 'another role waits for nobody');
is($t->sql("SELECT count(*) FROM ondatra.run_progress"), '1', 'while they wait');
all_delivered('max_workers_per_role');
is($t->admin("SELECT count(*) FROM ondatra.all_runs a JOIN ondatra.all_runs b ON a.owner = b.owner AND a.run_id < b.run_id AND tstzrange(a.started_at, a.finished_at) && tstzrange(b.started_at, b.finished_at)"),
    '0', 'never more than one of a role at once');
$t->admin('ALTER SYSTEM RESET ondatra.max_workers_per_role; ALTER SYSTEM SET ondatra.max_destinations_per_role = 8; SELECT pg_reload_conf()');
$t->poll_sql('SHOW ondatra.max_destinations_per_role', '8', 'reloaded');
$t->sql("SELECT ondatra.create_destination('eighth', base_url => 'https://example.com')");
$t->sql_fails("SELECT ondatra.create_destination('ninth', base_url => 'https://example.com')", qr/owns 8 destinations or more.*max_destinations_per_role/s, 'a role owns no more destinations than it may');
$t->sql_as('bob', "SELECT ondatra.create_destination('bobs too', base_url => 'https://example.com')");

# --- max_worker_processes: launcher and one more
$t->node->append_conf('postgresql.conf', "ondatra.max_workers = 8\nmax_worker_processes = 4\nmax_logical_replication_workers = 0\n");
$t->node->restart;
$t->admin('TRUNCATE ondatra.all_runs');
all_asked_for();
$t->poll(sub { log_lines('no worker process is free') == 1 }, 'without processes a line says so');
like(Ondatra::Test::slurp($log), qr/HINT:  Raise max_worker_processes/, 'the hint names the setting');
all_delivered('max_worker_processes');
is(log_lines('no worker process is free'), 1, 'it was said once');
is($t->admin("SELECT count(*) FROM ondatra.all_runs WHERE status <> 'succeeded'"), '0', 'no run failed for it');

# --- max_files_per_process: as many requests at once as connections can be opened, not more, and none fails for it
$t->admin("ALTER SYSTEM RESET ondatra.max_destinations_per_role");
$t->node->append_conf('postgresql.conf', "max_worker_processes = 24\nmax_files_per_process = 100\n");
$t->node->restart;
$t->reset_destination;
$t->script({method => 'PUT', answer => {records => JSON::PP::true, delay_ms => 100}});
$t->sql('CREATE TABLE mart.files AS SELECT i AS id FROM generate_series(1, 300) i');
$t->destination('files', {concurrency => 200});
$t->sync('files', 'mart.files', 'files');
$t->run_is($t->run('files'), {status => 'succeeded', rows_created => 300, rows_failed => 0, requests => 300, retries => 0}, 'a concurrency that the server has no descriptors for');
my $at_once = $t->state->{in_flight_max};
ok($at_once >= 10 && $at_once <= 33, "goes on with fewer connections: $at_once");
done_testing;
