# A standby runs nothing and says so; after promotion it goes on without a restart (058_arming.pl: when it may). And a server that does not preload the library.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use PostgreSQL::Test::Cluster;
use Test::More;

my $t = Ondatra::Test->new(conf => "wal_level = replica\nmax_wal_senders = 4");
my $primary = $t->node;
quick_sync($t, 'a', schedule => '1 second');
$t->poll_sql("SELECT count(*) > 0 FROM ondatra.sync_runs WHERE status = 'succeeded'", 't', 'the primary runs');
quick_sync($t, 'hangs', destination => {object => {upsert => {method => 'PUT', path => '/hangs/{{key}}'}}});
$primary->append_conf('pg_hba.conf', 'local replication all trust');
$primary->reload;
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$t->script({path => '^/hangs', answer => {misbehave => 'hang'}});
$t->sql("SELECT ondatra.trigger_sync('hangs')");
$t->poll(sub { $t->state->{hanging} > 0 }, 'a run of the primary goes on');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));

# --- a standby
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'ondatra%'"), '0', 'no process of ours in a standby');
for my $call ("ondatra.run_sync('a')", "ondatra.trigger_sync('a')", 'ondatra.cancel_run(1)') {
    my (undef, undef, $err) = $standby->psql('postgres', "SELECT $call");
    like($err, qr/during recovery|read-only transaction/, "$call says that this is a standby");
}
is($standby->safe_psql('postgres', "SELECT count(*) > 0 FROM ondatra.sync_runs"), 't', 'the views can be read');

# --- promotion
$primary->stop('immediate');
my $last = $standby->safe_psql('postgres', 'SELECT max(run_id) FROM ondatra.sync_runs');
$standby->promote;
ok($standby->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'ondatra launcher'"), 'the launcher starts at promotion');
ok($standby->poll_query_until('postgres', "SELECT count(*) = 0 FROM ondatra.all_runs WHERE finished_at IS NULL AND run_id <= $last"), 'no run of the old primary is left open');
is($standby->safe_psql('postgres', "SELECT status, error_message FROM ondatra.sync_runs WHERE sync_name = 'hangs'"), 'interrupted|the server was stopped or crashed during this run',
    'the one that went on was interrupted');
$standby->stop('fast');

# --- not preloaded
$primary->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$primary->start;
my (undef, undef, $err) = $t->psql_as('ann', "SELECT ondatra.run_sync('a')");
like($err, qr/ondatra is not loaded at server start.*HINT:  Add ondatra to shared_preload_libraries/s, 'run_sync without preloading');
(undef, undef, $err) = $t->psql_as('ann', "SELECT ondatra.trigger_sync('a')");
like($err, qr/ondatra is not loaded at server start/, 'trigger_sync');
my (undef, undef, $said) = $t->psql_as('ann', q{SELECT ondatra.update_sync('a', schedule => '2 seconds')});
like($said, qr/WARNING:  no sync runs in this server: ondatra is not loaded at its start.*HINT:  Add ondatra to shared_preload_libraries/s, 'a schedule that will not run says why');
is($t->sql("SELECT count(*) FROM ondatra.run_progress"), '0', 'run_progress is empty');
is($t->sql("SELECT count(*) FROM ondatra.destination_status"), '2', 'destination_status lists destinations');
is($t->sql("SELECT ondatra.pause_sync('a') IS NOT NULL; SHOW ondatra.work_mem; SHOW ondatra.run_retention") =~ s/^.*?\n//r, "256MB\n30d", 'settings are known');
(undef, undef, $err) = $t->psql_as('ann', "LOAD 'ondatra'; SET ondatra.nonsense = 1");
like($err, qr/invalid configuration parameter name "ondatra.nonsense"|permission denied to load|access to library/i, 'and the prefix is ours');
(undef, undef, $err) = $t->psql_as($t->superuser, "LOAD 'ondatra'; SET ondatra.nonsense = 1");
like($err, qr/invalid configuration parameter name "ondatra.nonsense"/, 'unknown settings are errors');
done_testing;
