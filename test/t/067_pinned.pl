# What a role's or a database's settings cannot change of our own SQL, what user code cannot do to the lock of a run, and who may own what runs: looked at from
# outside, while a run waits in the middle of its own transactions.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new(conf => "wal_level = replica\nmax_wal_senders = 2");
my $superuser = $t->superuser;
quick_sync($t, 'a');
my $runs = "FROM pg_stat_activity WHERE backend_type = 'ondatra run'";

# --- isolation and lock_timeout: the run waits in a transaction of ours, after it has read some of our tables, for somebody who keeps it from writing to another
$t->admin(q{ALTER ROLE ann SET default_transaction_isolation = 'serializable'; ALTER ROLE ann SET lock_timeout = '1ms'; ALTER ROLE ann SET default_transaction_deferrable = on;
    CREATE TABLE public.gate ()});
my $holder = session($t, $superuser, "BEGIN; LOCK TABLE ondatra.all_runs IN SHARE MODE;\n" . wait_for_lock('public.gate') . 'COMMIT;');
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_locks WHERE relation = 'ondatra.all_runs'::regclass AND mode = 'ShareLock' AND granted") eq '1' }) or die 'no lock';
$t->admin("SELECT ondatra.trigger_sync('a')");
$t->poll(sub { $t->admin("SELECT count(*) $runs AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'ondatra.all_runs'::regclass AND NOT granted)") eq '1' },
    'lock_timeout of the role does not end our own SQL: it waits');
is($t->admin("SELECT count(*) FROM pg_locks WHERE mode = 'SIReadLock' AND pid IN (SELECT pid $runs)"), '0', 'default_transaction_isolation of the role is not that of our own SQL');
$t->admin('BEGIN; LOCK TABLE public.gate IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.1); COMMIT') while is_running($holder);
$t->poll_sql("SELECT string_agg(status, ' ') FROM ondatra.sync_runs WHERE sync_name = 'a'", 'succeeded', 'and goes on');
is($t->count_requests(method => 'PUT'), 2, 'with what it had to send');
$t->admin('ALTER ROLE ann RESET ALL');

# --- synchronous_commit: what goes out was written for good before. With a standby that never answers, such a commit waits.
$t->sql("UPDATE mart.a SET v = v || '+'");
$t->admin('ALTER ROLE ann SET synchronous_commit = off; ALTER DATABASE postgres SET synchronous_commit = off');
$t->node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'\n");
$t->node->reload;
$t->poll(sub { $t->admin('SHOW synchronous_standby_names') eq 'nobody' }) or die 'not reloaded';
$t->admin("SELECT ondatra.trigger_sync('a')");
$t->poll(sub { $t->admin("SELECT count(*) $runs AND wait_event = 'SyncRep'") eq '1' || $t->count_requests(method => 'PUT') > 2 }, 'a run comes to its first commit that counts');
is($t->count_requests(method => 'PUT'), 2, 'nothing goes out before a commit that is for good, whatever synchronous_commit of the role and the database say');
$t->node->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$t->node->reload;
$t->poll_sql("SELECT status || rows_updated FROM ondatra.sync_runs ORDER BY run_id DESC LIMIT 1", 'succeeded2', 'then it does');
$t->admin('ALTER ROLE ann RESET ALL; ALTER DATABASE postgres RESET ALL');

# --- the lock of a run: the model gives back and takes every advisory lock that it can; others take them, too
$t->sql("UPDATE mart.a SET v = v || '+'");
my $sync_id = $t->admin("SELECT sync_id FROM ondatra.all_syncs WHERE name = 'a'");
$t->sql(q{CREATE FUNCTION mart.unlock() RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_unlock_all(); RETURN 1; END'});
$t->sql(q{SELECT ondatra.update_sync('a', model => 'SELECT id, v, mart.unlock() AS u FROM mart.a', key => '{id}')});
my $squatter = session($t, 'bob', "SET client_min_messages = error; SELECT count(pg_try_advisory_lock(i)), count(pg_try_advisory_lock(i, $sync_id)), count(pg_try_advisory_lock($sync_id, i)) "
    . "FROM generate_series(0, 20) i;\n" . wait_for_lock('public.gate'));
$t->script({method => 'PUT', answer => {misbehave => 'hang'}});
$t->poll(sub { $t->admin("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory'") eq 't' }, 'somebody has taken advisory locks');
my ($begun, $run_id, $why) = $t->psql_as('ann', "SET statement_timeout = '10s'; SELECT run_id FROM ondatra.run_sync('a', wait => false)");
is($begun, 0, 'which keep no run from its lock') or diag($why);
$t->poll(sub { $t->state->{hanging} > 0 }, 'a run sends all the same');
is($t->admin("SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'ondatra.all_syncs'::regclass AND objid = $sync_id AND granted AND pid IN (SELECT pid $runs)"), '1',
    'and has its lock after a model that gave back all that it could');
$t->sql_fails("SELECT ondatra.resend_sync('a')", qr/sync "a" is running/, 'so an edit is refused');
$t->script;
$t->release;
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $run_id", 'succeeded', 'the run ends');
$t->admin('BEGIN; LOCK TABLE public.gate IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.1); COMMIT') while is_running($squatter);
is($t->admin("SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'ondatra.all_syncs'::regclass AND objid = $sync_id"), '0', 'and leaves no lock');

# --- of our API a function that ends a run may call trigger_sync, and nothing else
quick_sync($t, 'b');
$t->sql(q{CREATE FUNCTION mart.next(jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM ondatra.trigger_sync(''b''); END'; SELECT ondatra.update_sync('a', options => '{"finalize": "mart.next"}')});
is($t->run('a')->{status}, 'succeeded', 'a run whose finalize asks for another sync');
$t->poll_sql("SELECT string_agg(status || ' ' || requested_by, ' ') FROM ondatra.sync_runs WHERE sync_name = 'b'", 'succeeded ann', 'which runs then');
$t->sql(q{CREATE OR REPLACE FUNCTION mart.next(jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM ondatra.pause_sync(''b''); END'});
like($t->run('a')->{error_message}, qr/functions of ondatra cannot be called by a model/, 'a finalize that pauses one fails');
is($t->sql("SELECT state FROM ondatra.syncs WHERE name = 'b'"), 'active', 'and has not paused it');
$t->sql(q{SELECT ondatra.update_sync('a', options => '{"finalize": null}')});

# --- ondatra.allow_superuser_owner = off stops syncs that superusers have already, and those of roles that became superusers
$t->sql("UPDATE mart.a SET v = v || '+'");
$t->admin('ALTER ROLE ann SUPERUSER; ALTER SYSTEM SET ondatra.allow_superuser_owner = off; SELECT pg_reload_conf()');
$t->poll_sql('SHOW ondatra.allow_superuser_owner', 'off');
my $sent = $t->count_requests;
$t->sql_fails("SELECT ondatra.run_sync('a')", qr/role "ann", which owns the sync, is a superuser.*ondatra\.allow_superuser_owner/s, 'run_sync of a superuser\'s sync is refused');
$t->sql("SELECT ondatra.trigger_sync('a')");
$t->poll_sql("SELECT state || ' ' || state_reason FROM ondatra.syncs WHERE name = 'a'", 'error role "ann", which owns the sync, is a superuser', 'the scheduler stops it, and says why');
is($t->count_requests, $sent, 'nothing is sent');

# --- databases that nobody may connect to are left alone
$t->admin('CREATE DATABASE closed ALLOW_CONNECTIONS false');
$t->node->restart;
$t->poll_sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'ondatra launcher'", '1', 'the server is there again');
$t->admin("SELECT pg_reload_conf(); SELECT ondatra.resume_sync('a'); ALTER ROLE ann NOSUPERUSER; SELECT ondatra.trigger_sync('a')");
$t->poll_sql("SELECT status FROM ondatra.sync_runs ORDER BY run_id DESC LIMIT 1", 'succeeded', 'the launcher has looked around');
unlike(Ondatra::Test::slurp($t->node->logfile), qr/FATAL:  database "(?:template0|closed)" is not currently accepting connections/, 'databases that nobody may connect to are not asked');
$t->no_violations;
done_testing;
