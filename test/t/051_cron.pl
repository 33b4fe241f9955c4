# Cron schedules: jobs of the real pg_cron, in the sync's database and in another one.
# needs server package: cron

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $share = `"$ENV{PG_CONFIG}" --sharedir`;
chomp $share;
plan skip_all => 'pg_cron is not installed for this server' unless -e "$share/extension/pg_cron.control";

my $t = Ondatra::Test->new(conf => "ondatra.cron_check_interval = 1");
my $superuser = $t->superuser;
sub literal { return Ondatra::Test::literal($_[0]) }

# --- without pg_cron
$t->destination('d');
$t->sql("CREATE TABLE mart.c (id int PRIMARY KEY, v text); INSERT INTO mart.c VALUES (1, 'a'), (2, 'b')");
$t->sql_fails("SELECT ondatra.create_sync('c', 'mart.c', 'd', schedule => '0 3 * * *')",
    qr/cron schedules need the extension pg_cron, which is not loaded in this server.*HINT:  Add pg_cron to shared_preload_libraries.*interval/s, 'pg_cron is not loaded');
$t->node->append_conf('postgresql.conf', "shared_preload_libraries = 'ondatra, pg_cron'\ncron.use_background_workers = on\ncron.database_name = 'postgres'\nmax_worker_processes = 30\n");
$t->node->restart;
$t->sql_fails("SELECT ondatra.create_sync('c', 'mart.c', 'd', schedule => '0 3 * * *')",
    qr/pg_cron, which is not in database "postgres".*HINT:  CREATE EXTENSION pg_cron there/s, 'no extension');
$t->admin('CREATE EXTENSION pg_cron');
$t->sql_fails("SELECT ondatra.create_sync('c', 'mart.c', 'd', schedule => '0 3 * * *')",
    qr/role "ann", which owns the sync, may not use pg_cron.*HINT:  In database "postgres": GRANT USAGE ON SCHEMA cron TO ann;/s, 'no rights');
$t->admin('GRANT USAGE ON SCHEMA cron TO ann');
is($t->sql('SELECT count(*) FROM ondatra.syncs'), '0', 'nothing half-created stayed');
$t->sql_fails("SELECT ondatra.create_sync('c', 'mart.c', 'd', schedule => '0 77 * * *')", qr/invalid schedule: 0 77 \* \* \*/, 'a text that pg_cron does not know');

# --- the job belongs to the owner, and follows
sub jobs { return $t->admin("SELECT coalesce(string_agg(concat_ws('|', schedule, command, database, username, active::text), E'\\n' ORDER BY jobid), '') FROM cron.job") }
my $job = q{SELECT ondatra.trigger_sync('it''s')|postgres|ann|true};
$t->sync("it's", 'mart.c', 'd', schedule => '0 3 * * *');
is(jobs(), "0 3 * * *|$job", 'a job of the owner, that calls trigger_sync');
is($t->sql("SELECT state || ' ' || schedule || ' ' || (next_run_at > now())::text FROM ondatra.syncs"), 'created 0 3 * * * true', 'it does not run at once');
my $three = "(date_trunc('day', (now() - interval '3 hours') AT TIME ZONE 'UTC') + interval '1 day 3 hours') AT TIME ZONE 'UTC'";
is($t->sql("SET TimeZone = 'Asia/Kolkata'; SELECT next_run_at = $three FROM ondatra.syncs"), 't', 'but at three o\'clock in Greenwich');
is($t->sql("SET TimeZone = 'Asia/Kolkata'; SELECT next_run_at = $three FROM ondatra.sync_status"), 't', 'as sync_status says');
is($t->sql("SELECT to_timestamp(value) = $three FROM ondatra.metrics WHERE name = 'ondatra_sync_next_run_timestamp_seconds'"), 't', 'and the metric');
sub due { return $t->sql('SELECT count(next_run_at) FROM ondatra.sync_status') }
$t->sql(q{SELECT ondatra.pause_sync('it''s')});
is(jobs(), '', 'paused: no job');
is(due(), '0', 'and nothing that is due');
$t->sql(q{SELECT ondatra.resume_sync('it''s')});
is(jobs(), "0 3 * * *|$job", 'resumed: the job is back');
$t->sql(q{SELECT ondatra.update_sync('it''s', schedule => '*/5 * * * *')});
is(jobs(), "*/5 * * * *|$job", 'another schedule');
$t->sql(q{BEGIN; SELECT ondatra.pause_sync('it''s'); SELECT ondatra.create_sync('x', 'mart.c', 'd', schedule => '1 1 * * *'); ROLLBACK});
is(jobs(), "*/5 * * * *|$job", 'a transaction that is rolled back changes nothing');
$t->sql(q{BEGIN; SELECT ondatra.update_sync('it''s', schedule => '7 7 * * *'); SAVEPOINT a; SELECT ondatra.pause_sync('it''s'); ROLLBACK TO a; COMMIT});
is(jobs(), "7 7 * * *|$job", 'nor does a part of it that is');
$t->sql(q{SELECT ondatra.archive_sync('it''s')});
is(jobs(), '', 'archived: no job');
$t->sql(q{SELECT ondatra.restore_sync('it''s')});
is(jobs(), '', 'restored: paused');
$t->sql(q{SELECT ondatra.update_sync('it''s', paused => false)});
is(jobs(), "7 7 * * *|$job", 'resumed by update_sync');
$t->sql(q{SELECT ondatra.update_sync('it''s', schedule => '1 hour')});
is(jobs(), '', 'an interval: no job');
is($t->sql('SELECT next_run_at IS NOT NULL FROM ondatra.syncs'), 't', 'but a due time');
$t->sql(q{SELECT ondatra.update_sync('it''s', schedule => '* * * * *')});
is($t->sql("SELECT next_run_at - date_trunc('minute', now()) FROM ondatra.syncs"), '00:01:00', 'and back');
$t->sql_fails("BEGIN; SELECT ondatra.update_sync('it''s', schedule => '5 * * * *'); PREPARE TRANSACTION 'x'", qr/cannot PREPARE/, 'no prepared transaction');

# --- a lock of the caller's that the other process waits for ends the wait; pausing goes on without the job
$t->sql(q{SELECT ondatra.update_sync('it''s', schedule => '8 8 * * *')});
my ($failed, undef, $waited) = $t->psql_as($superuser, q{BEGIN; LOCK cron.job; SELECT ondatra.update_sync('it''s', schedule => '9 9 * * *'); COMMIT});
ok($failed && $waited =~ /canceling statement due to lock timeout/, 'who locks the jobs is told') || diag($waited);
($failed, undef, $waited) = $t->psql_as($superuser, q{BEGIN; LOCK cron.job; SELECT ondatra.pause_sync('it''s'); COMMIT});
ok(!$failed && $waited =~ /WARNING:  the job of pg_cron could not be removed: canceling statement due to lock timeout.*does nothing/s, 'and can pause all the same') || diag($waited);
like($waited, qr/HINT:  By hand, in database "postgres": SELECT cron\.unschedule\(jobid\) FROM cron\.job WHERE jobname = 'ondatra postgres\/\d+' AND username = 'ann';/, 'and told the way out');
is($t->sql('SELECT state FROM ondatra.syncs'), 'paused', 'paused');
is($t->sql("SET application_name = 'pg_cron'; SELECT ondatra.trigger_sync('it''s') IS NULL"), 't', 'and does nothing');
$t->poll(sub { jobs() eq '' }, 'and is removed as soon as pg_cron can be reached');
like(Ondatra::Test::slurp($t->node->logfile), qr/LOG:  ondatra: the job of pg_cron "ondatra postgres\/\d+", which was left behind, is removed/, 'the log says so');
$t->sql(q{SELECT ondatra.resume_sync('it''s')});
is(jobs(), "8 8 * * *|$job", 'resumed: the job is back');
sub leftovers { return $t->admin('SELECT count(*) FROM ondatra.cron_leftovers') }
sub look_every { my ($time) = @_; $t->admin("ALTER SYSTEM SET ondatra.cron_check_interval = '$time'"); $t->node->reload; $t->poll_sql('SHOW ondatra.cron_check_interval', $time); return }
look_every('1h');
$t->psql_as($superuser, q{BEGIN; LOCK cron.job; SELECT ondatra.pause_sync('it''s'); COMMIT});
is(leftovers() . jobs(), "18 8 * * *|$job", 'a job that is left behind');
$t->sql(q{SELECT ondatra.resume_sync('it''s')});
is(leftovers() . jobs(), "08 8 * * *|$job", 'and wanted again before anybody removed it is the job of its sync');
look_every('1s');
$t->sql(q{SELECT ondatra.create_sync('gone', 'mart.c', 'd', schedule => '7 8 * * *')});
$t->psql_as($superuser, q{BEGIN; LOCK cron.job; SELECT ondatra.drop_sync('gone'); COMMIT});
$t->poll(sub { leftovers() eq '0' }, 'of a sync that was dropped, too');
is(jobs(), "8 8 * * *|$job", 'its job is gone');
$t->sql(q{SELECT ondatra.create_sync('gone', 'mart.c', 'd', schedule => '7 8 * * *')});
$t->node->append_conf('postgresql.conf', "shared_preload_libraries = 'ondatra'\n");
$t->node->restart;
$t->sql(q{SELECT ondatra.drop_sync('gone')});
is(leftovers(), '1', 'dropped while pg_cron is not loaded: its job stays behind');
$t->node->append_conf('postgresql.conf', "shared_preload_libraries = 'ondatra, pg_cron'\n");
$t->node->restart;
$t->poll(sub { leftovers() eq '0' }, 'until it is loaded again');
is(jobs(), "8 8 * * *|$job", 'then it is removed, and no other');

# --- the time zone of pg_cron, and its summer times
SKIP: {
    my ($refused) = $t->psql_as($superuser, "SET cron.timezone = 'Europe/Berlin'");
    skip 'this pg_cron takes its time zone at start', 4 if $refused;
    my $next = sub { return $t->admin("SET cron.timezone = 'Europe/Berlin'; SET TimeZone = 'UTC'; SELECT to_char(ondatra.next_cron_run('$_[0]', '$_[1]+00'), 'MM-DD HH24:MI')") };
    is($next->('0 3 * * *', '2026-03-27 12:00'), '03-28 02:00', 'in winter');
    is($next->('0 3 * * *', '2026-03-28 12:00'), '03-29 01:00', 'in summer');
    is($next->('30 2 * * *', '2026-03-28 12:00'), '03-29 01:30', 'a time that summer time leaves out');
    is($next->('30 2 * * *', '2026-10-24 12:00'), '10-25 01:30', 'a time that comes twice');
}
is($t->sql("SELECT ondatra.next_cron_run('15 minutes') IS NULL AND ondatra.next_cron_run('0 0 30 2 *') IS NULL AND ondatra.next_cron_run(NULL) IS NULL"), 't', 'what is no cron text, or never');

# --- a job that somebody removed, stopped or changed
sub reason_is { my ($pattern, $name) = @_; my $last;
    $t->poll(sub { ($last = $t->sql(q{SELECT coalesce(state_reason, 'none') FROM ondatra.syncs WHERE name = 'it''s'})) =~ $pattern }); return like($last, $pattern, $name) }
$t->sql(q{SELECT ondatra.update_sync('it''s', schedule => '8 8 * * *')});
$t->admin('UPDATE cron.job SET active = false');
reason_is(qr/^its job of pg_cron is not active: .*update_sync with its schedule makes it anew/, 'a job that is not active is said');
$t->admin(q{UPDATE cron.job SET active = true, schedule = '9 9 * * *'});
reason_is(qr/^its job of pg_cron was changed/, 'another schedule, too');
$t->sql('SELECT cron.unschedule(jobid) FROM cron.job');
reason_is(qr/^its job of pg_cron is gone: nothing starts it by itself/, 'and one that was removed');
is(due(), '0', 'nothing is due then');
like(Ondatra::Test::slurp($t->node->logfile), qr/WARNING:  ondatra: sync \d+: its job of pg_cron is gone/, 'in the log as well');
is(jobs(), '', 'it is left so');
$t->sql(q{SELECT ondatra.update_sync('it''s', schedule => schedule) FROM ondatra.syncs});
is(jobs(), "8 8 * * *|$job", 'update_sync makes it anew');
reason_is(qr/^none$/, 'and the reason is gone');

# --- it runs
$t->sql(q{SELECT ondatra.update_sync('it''s', schedule => '* * * * *')});
local $Ondatra::Test::SECONDS = 150;
$t->poll_sql("SELECT count(*) > 0 FROM ondatra.sync_runs WHERE trigger = 'cron' AND status = 'succeeded' AND requested_by = 'ann'", 't', 'pg_cron starts it');
# in state error it rests, without an error of the job each minute
$t->admin("UPDATE ondatra.all_syncs SET state = 'error', state_reason = 'broken' WHERE name = 'it''s'");
is($t->sql("SET application_name = 'pg_cron'; SELECT ondatra.trigger_sync('it''s') IS NULL"), 't', 'a job does nothing for a sync that stopped');
$t->sql_fails(q{SELECT ondatra.trigger_sync('it''s')}, qr/has stopped with an error/, 'others are told');
my $last = $t->sql('SELECT max(run_id) FROM ondatra.sync_runs');
$t->sql(q{SELECT ondatra.resume_sync('it''s')});
$t->poll_sql("SELECT count(*) > 0 FROM ondatra.sync_runs WHERE trigger = 'schedule' AND run_id > $last", 't', 'resume_sync tries at once');
is(jobs(), "* * * * *|$job", 'its job is there');
$t->sql(q{SELECT ondatra.drop_sync('it''s')});
is(jobs(), '', 'dropped: no job');

# --- a sync that was renamed: its job calls it by the new name
$t->sql("SELECT ondatra.create_sync('before', 'mart.c', 'd', schedule => '3 3 * * *')");
my $name = $t->admin('SELECT jobname FROM cron.job');
$t->sql("SELECT ondatra.rename_sync('before', 'af''ter')");
is($t->admin("SELECT jobname || ' ' || command FROM cron.job"), "$name SELECT ondatra.trigger_sync('af''ter')", 'a sync that was renamed: the same job, with its new name');
$t->sql("SELECT ondatra.drop_sync('af''ter')");

# --- a role that was renamed: the job is put anew under its name
$t->sync('r', 'mart.c', 'd', schedule => '3 3 * * *');
$t->admin('ALTER ROLE ann RENAME TO anna');
sub roles { return $t->admin("SELECT string_agg(username, ',') FROM cron.job") }
$t->poll(sub { roles() eq 'anna' }, 'a renamed owner: one job, under the new name');
$t->admin("ALTER ROLE anna RENAME TO ann");
$t->poll(sub { roles() eq 'ann' }, 'and back');
$t->sql("SELECT ondatra.drop_sync('r')");

# --- pg_cron in another database
$t->admin('CREATE DATABASE other OWNER ann');
sub other { my ($role, $sql) = @_; my ($out, $err);
    my $status = $t->node->psql('other', $sql, extra_params => ['-U', $role], stdout => \$out, stderr => \$err, timeout => 60); return ($status, $out, $err) }
other($superuser, 'CREATE EXTENSION ondatra; CREATE SCHEMA mart AUTHORIZATION ann; GRANT USAGE ON SCHEMA ondatra TO ann');
my $create = "SELECT ondatra.create_destination('d', base_url => '" . $t->url . "', options => '" . $t->json_of({object => Ondatra::Test::put_object()}) . "');\n"
    . "SELECT ondatra.create_sync('o', 'SELECT 9 AS id', 'd', key => '{id}', schedule => '* * * * *')";
my (undef, undef, $err) = other('ann', $create);
like($err, qr/role "ann", which owns the sync, may not make jobs of pg_cron for other databases.*HINT:  In database "postgres": GRANT EXECUTE ON FUNCTION cron\.schedule_in_database/s, 'rights are missing there');
my ($grant) = $err =~ /HINT:  In database "postgres": (GRANT .*;)/;
$t->admin('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
(undef, undef, $err) = other('ann', $create =~ s/.*\n//r);
like($err, qr/role "ann", which owns the sync, may not connect to database "postgres", where pg_cron works.*HINT:  GRANT CONNECT/s, 'nor may it connect');
$t->admin('GRANT CONNECT ON DATABASE postgres TO PUBLIC');
$t->admin($grant);
my ($status) = other('ann', $create =~ s/.*\n//r);
is($status, 0, 'granted as the hint says');
is(jobs(), "* * * * *|SELECT ondatra.trigger_sync('o')|other|ann|true", 'a job for that database');
$t->poll(sub { (other('ann', "SELECT string_agg(trigger || ' ' || status, ',') FROM ondatra.sync_runs WHERE finished_at IS NOT NULL"))[1] eq 'cron succeeded' }, 'and it runs there');

# --- a dump that is restored under another name: its own job; a rename takes it along
my $dump = "$t->{dir}/other.sql";
$t->node->command_ok(['pg_dump', '-d', $t->node->connstr('other'), '-f', $dump], 'dumped');
other('ann', "SELECT ondatra.pause_sync('o')");
is(jobs(), '', 'paused there');
$t->admin('CREATE DATABASE restored');
$t->node->command_ok(['psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $t->node->connstr('restored'), '-f', $dump], 'restored');
sub arm { my ($database) = @_; return $t->node->psql($database, "SELECT ondatra.arm('trust')", extra_params => ['-U', $superuser]) }
is(arm('restored'), 0, 'armed');
$t->poll(sub { jobs() eq "* * * * *|SELECT ondatra.trigger_sync('o')|restored|ann|true" }, 'the restored sync gets a job of its own');
$t->admin("UPDATE cron.job SET schedule = '3 3 3 3 *'");
$t->poll(sub { $t->admin('SELECT count(*) FROM cron.job_run_details WHERE status NOT IN (\'succeeded\', \'failed\')') eq '0' && $t->node->psql('postgres', 'ALTER DATABASE restored RENAME TO renamed') == 0 }, 'renamed');
$t->admin('SELECT pg_reload_conf()');
$t->poll(sub { jobs() eq "* * * * *|SELECT ondatra.trigger_sync('o')|renamed|ann|true" }, 'a database that was renamed: one job, for the new name');
$t->admin('CREATE DATABASE copy TEMPLATE renamed');
is(arm('copy'), 0, 'armed');
$t->poll(sub { $t->admin("SELECT string_agg(database, ',' ORDER BY database) FROM cron.job") eq 'copy,renamed' }, 'a copy leaves the job of its original alone');
$t->no_violations;
done_testing;
