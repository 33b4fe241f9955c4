# States of a sync: every cell of the manual's table, and what stops a sync.

use strict;
use warnings FATAL => 'all';
use FindBin;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql("CREATE TABLE mart.c (id int PRIMARY KEY, v int, w text); INSERT INTO mart.c SELECT i, i, 'w' FROM generate_series(1, 5) i");
$t->sql("SELECT ondatra.set_secret('token', 'one')");
$t->destination('d', undef, auth => {type => 'bearer', token => {secret => 'token'}});
sub state_of { return $t->sql("SELECT state || coalesce(': ' || state_reason, '') FROM ondatra.syncs WHERE name = '$_[0]'") }

# --- the manual's table: each event in each state
my ($section) = Ondatra::Test::slurp("$FindBin::Bin/../../doc/reference.md") =~ /^## States of a sync\n(.*?)^## /ms;
my @table = map { [/`([^`]+)`|(stays|refused|a [a-z ]+?)(?= \|)/g] } grep { /^\| (`\w+_|a run|a failed)/ } split /\n/, $section;
@table = map { [grep { defined } @$_] } @table;
is_deeply([map { scalar @$_ } @table], [(6) x 8], 'the manual has a table of eight events in five states');
my %broken = ('a run without failure' => 'v', 'a failed run' => '1 / (v - v)', 'a failed run that stops it' => 'nothing');
sub do_event {
    my ($event, $name) = @_;
    return $t->psql_as('ann', "SELECT ondatra.$event('$name')") if $event =~ /^\w+_sync$/;
    return $t->psql_as('ann', "SELECT ondatra.set_secret('token', 'two')") if $event eq 'set_secret';
    return $t->psql_as('ann', "SELECT status FROM ondatra.run_sync('$name')");
}
my $n = 0;
for my $line (@table) {
    my ($event, @cells) = @$line;
    for my $from (qw(created active paused error archived)) {
        my $expected = shift @cells;
        my $name = 's' . ++$n;
        my $ran = $from ne 'created';
        $t->sync($name, 'SELECT id, 1 AS v, v AS x FROM mart.c', 'd', mapping => {v => 'v'}, schedule => '1 day', paused => 'true');
        $t->admin("UPDATE ondatra.all_syncs SET mapping = '{\"v\": {\"sql\": \"1 / (x - x)\"}}' WHERE name = '$name'") if $event eq 'a failed run';
        $t->admin("UPDATE ondatra.all_syncs SET model = 'mart.nothing' WHERE name = '$name'") if $event eq 'a failed run that stops it';
        $t->admin("INSERT INTO ondatra.all_runs (run_id, sync_id, sync_name, owner, status, trigger, queued_at, started_at, finished_at, error_code) SELECT nextval('ondatra.run_ids'), sync_id, name, owner, "
            . "'failed', 'manual', now(), now(), now(), '28000' FROM ondatra.all_syncs WHERE name = '$name'; UPDATE ondatra.all_syncs SET last_run_id = currval('ondatra.run_ids') WHERE name = '$name'") if $ran;
        $t->admin("UPDATE ondatra.all_syncs SET state = '$from', state_reason = 'before', next_run_at = NULL WHERE name = '$name'");
        my ($status, undef, $err) = do_event($event, $name);
        my ($state, $reason) = state_of($name) =~ /^(\w+)(?:: (.*))?/s;
        my $seen = $state ne $from ? $state : $expected eq $from ? $from : $status ? 'refused' : 'stays';
        is($seen, $expected, "$event in $from");
        like($reason // '', {paused => qr/^(paused|restored from the archive) by "ann"$/, archived => qr/^archived by "ann"$/, error => qr/^model "mart\.nothing" does not exist$/}->{$state} // qr/^$/, "$event in $from: the reason")
            if $state ne $from;
        like($err, qr/HINT:  Call ondatra\.restore_sync/, "$event in $from: the way out") if $expected eq 'refused' && $from eq 'archived';
    }
}
# the notice of what was so already
my (undef, undef, $err) = $t->psql_as('ann', "SELECT ondatra.pause_sync('s3')");
like($err, qr/NOTICE:  sync "s3" is paused already/, 'a notice when nothing is to do');
$t->sql("SELECT ondatra.drop_sync(name) FROM ondatra.syncs");

# --- error_after, and a run that ends well in between
$t->sync('e', 'SELECT id, 10 / v AS v FROM mart.c', 'd', options => {error_after => 3});
sub fails { $t->sql('UPDATE mart.c SET v = 0 WHERE id = 1'); my $run = $t->run('e'); is($run->{status}, 'failed', 'fails'); return state_of('e') }
sub works { $t->sql('UPDATE mart.c SET v = 1 WHERE id = 1'); my $run = $t->run('e'); is($run->{status}, 'succeeded', 'works'); return state_of('e') }
is(fails(), 'active', 'once');
is(fails(), 'active', 'twice');
is(works(), 'active', 'a good run');
is(fails(), 'active', 'counts anew: once');
is(fails(), 'active', 'twice');
is(fails(), 'error: division by zero', 'three in a row: error, with the reason of the last');
$t->sql_fails("SELECT ondatra.trigger_sync('e')", qr/sync "e" has stopped with an error.*DETAIL:  division by zero.*HINT:  Call ondatra\.resume_sync/s, 'it does not run by itself');
is(works(), 'active', 'a good run_sync ends it');

# --- at once: credentials
$t->script({answer => {status => 401}});
$t->sql('UPDATE mart.c SET v = 2 WHERE id = 1');
is($t->run('e')->{error_code}, '28000', 'refused credentials');
like(state_of('e'), qr/^error: the destination refuses the credentials \(HTTP 401\)/, 'stop it at once');
$t->script();
$t->sql("SELECT ondatra.update_sync('e', schedule => '1 day')");
$t->sql("SELECT ondatra.set_secret('token', 'three')");
$t->poll_sql("SELECT r.status FROM ondatra.syncs s JOIN ondatra.sync_runs r ON r.run_id = s.last_run_id WHERE s.name = 'e'", 'succeeded', 'set_secret: it goes on by itself');
is(state_of('e'), 'active', 'active again');

# --- resume_sync tries again
$t->sql('ALTER TABLE mart.c RENAME TO hidden');
$t->run('e');
is(state_of('e'), 'error: relation "mart.c" does not exist', 'a broken model stops it at once');
$t->sql('ALTER TABLE mart.hidden RENAME TO c');
my $last = $t->sql('SELECT max(run_id) FROM ondatra.sync_runs');
$t->sql("SELECT ondatra.resume_sync('e')");
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id > $last", 'succeeded', 'resume_sync: it runs at once');

# --- archived: nothing is lost
$t->sql("SELECT ondatra.archive_sync('e')");
my $history = $t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'e'");
$t->sql_fails("SELECT ondatra.run_sync('e')", qr/archived/, 'an archived sync does not run');
$t->sql_fails("SELECT ondatra.trigger_sync('e')", qr/is archived.*restore_sync/s, 'nor when it is triggered');
$t->sql("SELECT ondatra.restore_sync('e'); SELECT ondatra.resume_sync('e')");
$t->run_is($t->run('e'), {status => 'succeeded', rows_unchanged => 5, requests => 0}, 'restored: what was delivered is known');
cmp_ok($t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'e'"), '>', $history, 'and its history is there');

# --- the model is not what it was: plan_sync says it, the run stops the sync
my @drifts = (
    ['dropped', 'ALTER TABLE mart.%s DROP COLUMN w', '42703', qr/column "w", which the sync uses, is not in model "mart\.dropped" any more|column "w" of the mapping does not exist in model "mart.dropped"/],
    ['renamed', 'ALTER TABLE mart.%s RENAME COLUMN w TO ww', '42703', qr/column "w"/],
    ['retyped', 'ALTER TABLE mart.%s ALTER v TYPE text', '42804', qr/column "v" of model "mart\.retyped" changed its type from integer to text/],
    ['moved', 'ALTER TABLE mart.%s SET SCHEMA public', '42P01', qr/model "mart\.moved" does not exist/],
    ['replaced', 'ALTER TABLE mart.%1$s RENAME TO old; CREATE SEQUENCE mart.%1$s', '42809', qr/model "mart\.replaced" is not a table or view/],
    ['revoked', 'REVOKE SELECT ON mart.%s FROM ann', '42501', qr/permission denied for table revoked/],
    ['twice', 'ALTER TABLE mart.%1$s DROP CONSTRAINT %1$s_pkey; INSERT INTO mart.%1$s VALUES (3, 3, \'w\')', '42P16', qr/the key \(id\) of model "mart\.twice" is not unique any more/],
);
for my $drift (@drifts) {
    my ($name, $change, $code, $message) = @$drift;
    $t->sql("CREATE TABLE mart.$name (id int PRIMARY KEY, v int, w text); INSERT INTO mart.$name SELECT * FROM mart.c");
    $t->sync($name, "mart.$name", 'd', mapping => {v => 'v', w => 'w'});
    is($t->run($name)->{status}, 'succeeded', "$name: delivered");
    $t->admin('GRANT CREATE ON SCHEMA public TO ann');
    $t->sql(sprintf $change, $name);
    $t->sql_fails("SELECT ondatra.plan_sync('$name')", $message, "$name: plan_sync says it before");
    my $before = $t->count_requests;
    my $run = $t->run($name);
    $t->run_is($run, {status => 'failed', error_code => $code}, "$name: the run fails");
    like($run->{error_message}, $message, "$name: with the reason");
    is(state_of($name), "error: $run->{error_message}", "$name: and stops the sync");
    is($t->count_requests, $before, "$name: nothing was sent");
}
$t->sql("SELECT ondatra.update_sync('twice', model => 'mart.twice')");
$t->run_is($t->run('twice'), {status => 'partial', rows_invalid => 2, rows_unchanged => 4}, 'accepted: rows with one key are invalid');
$t->sql("SELECT ondatra.update_sync('retyped', model => 'mart.retyped')");
$t->run_is($t->run('retyped'), {status => 'succeeded', rows_updated => 5}, 'accepted: the column as it is now');
is(state_of('retyped'), 'active', 'and active');
$t->sql('ALTER TABLE public.moved SET SCHEMA mart');
$t->sql("SELECT ondatra.resume_sync('moved')");
$t->run_is($t->run('moved'), {status => 'succeeded', rows_unchanged => 5}, 'mended: goes on as before');
# without the index, but without duplicates, it is the same model: tables are often swapped for copies
$t->sql("CREATE TABLE mart.swap (id int PRIMARY KEY, v int); INSERT INTO mart.swap SELECT id, v FROM mart.c");
$t->sync('swap', 'mart.swap', 'd');
$t->run('swap');
$t->sql('CREATE TABLE mart.fresh AS SELECT id, v FROM mart.c; DROP TABLE mart.swap; ALTER TABLE mart.fresh RENAME TO swap');
$t->run_is($t->run('swap'), {status => 'succeeded', rows_unchanged => 5}, 'a table that was swapped for a copy');
$t->no_violations;
done_testing;
