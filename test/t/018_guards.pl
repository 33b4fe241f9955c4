# Guards: accidents are held before anything is sent; approved, rejected, void, expired.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql("CREATE TABLE mart.c (id int PRIMARY KEY, v text, w text); INSERT INTO mart.c SELECT i, 'v' || i, 'w' FROM generate_series(1, 300) i");
$t->destination('d');
sub fresh { # an own sync over its own rows of the table, all of them delivered
    my ($name, $rows, %args) = @_;
    $t->sql("CREATE TABLE mart.$name (id int PRIMARY KEY, v text, w text DEFAULT 'w'); INSERT INTO mart.$name SELECT i, 'v' || i FROM generate_series(1, $rows) i");
    $t->destination($name, {object => {upsert => {method => 'PUT', path => "/$name/{{key}}"}, delete => {method => 'DELETE', path => "/$name/{{key}}"}}});
    $t->sync($name, "mart.$name", $name, guards => 1, mode => 'mirror', mapping => '{"v": "v"}', %args);
    $t->run_is($t->run($name), {status => 'succeeded', rows_created => $rows}, "$name: delivered");
    return;
}
sub guard_of { return $t->sql("SELECT coalesce(guard, 'none') FROM ondatra.plan_sync('$_[0]')") }
sub held_is { my ($name, $guard, $message, $what) = @_;
    my $before = $t->count_requests;
    like(guard_of($name), $message, "$what: plan_sync says it before");
    my $run = $t->run($name);
    is($run->{status}, 'held', "$what: held");
    like($run->{error_message}, $message, "$what: the reason");
    is($t->count_requests, $before, "$what: nothing was sent");
    is($t->sql("SELECT guard FROM ondatra.held_runs WHERE run_id = $run->{run_id}"), $guard, "$what: in held_runs");
    return $run; }
sub records { return $t->control('GET', "records?collection=$_[0]") }
sub finished { my ($run_id, $status, $name) = @_; $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $run_id", $status, $name); $t->check_counts($run_id);
    return ($t->rows("SELECT * FROM ondatra.sync_runs WHERE run_id = $run_id"))[0]; }

# --- deletes: more than 10 % and more than 20
fresh('few', 300);
$t->sql("DELETE FROM mart.few WHERE id <= 30");
is(guard_of('few'), 'none', '10 % pass');
$t->run_is($t->run('few'), {status => 'succeeded', rows_deleted => 30}, 'they are deleted');
$t->sql("DELETE FROM mart.few WHERE id = 31");
my $run = held_is('few', 'deletes', qr/would delete 1 row, 31 with those of the last 24 hours, of 300 delivered ones \(max_deletes: 10 %, at least 20\)/, 'the last 24 hours count');
like($run->{error_detail}, qr/would send 1 delete \(\{"id":31\}\)\. Hint: ondatra\.approve_run\($run->{run_id}\)/, 'a sample, and the way out');
$t->check_counts($run->{run_id});
is("$run->{deletes_pending} $run->{rows_unchanged}", '1 269', 'and counts');
$t->sql_fails("SELECT ondatra.run_sync('few')", qr/run $run->{run_id} of sync "few" is held.*DETAIL:.*would delete.*HINT:.*approve_run/s, 'no other run meanwhile');

# --- approval sends what was held, and only that
$t->sql("DELETE FROM mart.few WHERE id = 32; UPDATE mart.few SET v = 'new' WHERE id = 33; INSERT INTO mart.few VALUES (500, 'v')");
$t->sql_fails("SELECT ondatra.approve_run($run->{run_id}, '{remove}')", qr/unknown operation "remove".*create, update and delete/s, 'an unknown operation');
$t->sql_fails("SELECT ondatra.approve_run($run->{run_id}, '{}')", qr/operations is empty/, 'no operation');
$t->sql("SELECT ondatra.approve_run($run->{run_id})");
my $done = finished($run->{run_id}, 'partial', 'approved: it goes on');
$t->run_is($done, {rows_deleted => 1, rows_updated => 0, rows_created => 0, rows_pending => 2, deletes_pending => 1}, 'what is new since is left');
$t->sql_fails("SELECT ondatra.approve_run($run->{run_id})", qr/is not held, it is partial/, 'approved once');
$t->sql("UPDATE mart.few SET v = 'newer' WHERE id = 34");
$run = held_is('few', 'deletes', qr/would delete 1 row, 31 with/, 'what was approved does not count');

# --- operations; a row that changed after the hold is not what was held
$t->sql("UPDATE mart.few SET v = 'newest' WHERE id = 34");
$t->sql("SELECT ondatra.approve_run($run->{run_id}, '{create,update}')");
$done = finished($run->{run_id}, 'partial', 'approved in part');
$t->run_is($done, {rows_updated => 1, rows_created => 1, rows_deleted => 0, rows_pending => 1, deletes_pending => 1}, 'creates and unchanged updates, no deletes');

# --- rejection
$run = $t->run('few');
is($run->{status}, 'held', 'held again');
my (undef, undef, $err) = $t->psql_as('bob', "SELECT ondatra.approve_run($run->{run_id})");
like($err, qr/run $run->{run_id} does not exist/, 'nobody else decides');
is($t->sql_as('bob', 'SELECT count(*) FROM ondatra.held_runs'), '0', 'or sees it');
$t->sql("SELECT ondatra.reject_run($run->{run_id})");
is($t->sql("SELECT status || ': ' || error_detail FROM ondatra.sync_runs WHERE run_id = $run->{run_id}"), 'cancelled: Rejected by "ann".', 'rejected');
is($t->sql("SELECT state || ': ' || state_reason FROM ondatra.syncs WHERE name = 'few'"), qq(paused: run $run->{run_id} was rejected by "ann"), 'and paused');

# --- edits make it void
$t->sql("SELECT ondatra.resume_sync('few')");
$run = $t->run('few');
is($run->{status}, 'held', 'held');
$t->sql(q{SELECT ondatra.update_sync('few', options => '{"max_deletes": 50}')});
$t->sql_fails("SELECT ondatra.approve_run($run->{run_id})", qr/is not held, it is cancelled.*The sync was edited/s, 'an edit makes it void');
$t->run_is($t->run('few'), {status => 'succeeded', rows_deleted => 1}, 'another limit');
$t->sql(q{SELECT ondatra.update_sync('few', options => '{"max_deletes": 0}'); DELETE FROM mart.few WHERE id = 100});
$run = $t->run('few');
$t->sql(q{SELECT ondatra.update_destination('few', options => '{"concurrency": 2}')});
$t->sql_fails("SELECT ondatra.approve_run($run->{run_id})", qr/The destination was edited/, 'so does one of the destination');

# --- an emptied model, in a schedule that nobody watches
fresh('all', 25);
$t->sql("SELECT ondatra.update_sync('all', schedule => '1 second')");
$t->sql("UPDATE mart.c SET v = v WHERE id = 1; DELETE FROM mart.all");
$t->poll_sql("SELECT guard || ' ' || message FROM ondatra.held_runs WHERE sync_name = 'all'", 'empty the model has no rows, though 25 were delivered (on_empty: hold)', 'an emptied model is held');
$t->sql("SELECT ondatra.trigger_sync('all')");
is($t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'all' AND status = 'running'"), '0', 'nothing else runs');
my $held = $t->sql("SELECT run_id FROM ondatra.held_runs WHERE sync_name = 'all'");
is($t->sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $held"), 'held', 'a trigger does not pass it');
$t->sql("SELECT ondatra.approve_run($held)");
$t->run_is(finished($held, 'succeeded', 'approved'), {rows_deleted => 25}, 'deletes all of them');
$t->poll_sql("SELECT count(*) > 0 FROM ondatra.sync_runs WHERE sync_name = 'all' AND run_id > $held AND status = 'succeeded'", 't', 'and the schedule goes on');
$t->sql("SELECT ondatra.drop_sync('all')");
fresh('empties', 30, options => '{"on_empty": "run", "max_deletes": "100%"}');
$t->sql("DELETE FROM mart.empties");
$t->run_is($t->run('empties'), {status => 'succeeded', rows_deleted => 30}, 'on_empty: run');

# --- edits that would send again
fresh('edited', 40);
$t->sql("UPDATE mart.edited SET v = 'x' WHERE id <= 4");
$t->run_is($t->run('edited'), {status => 'succeeded', rows_updated => 4}, 'changes of data are none of its business');
$t->sql(q{SELECT ondatra.update_sync('edited', mapping => '{"v": "v", "w": "w"}')});
$run = held_is('edited', 'config_change', qr/^the mapping changed, and 40 of 40 rows would be sent again \(on_config_change: hold\)/, 'another mapping');
$t->sql("SELECT ondatra.rebase_sync('edited')");
$t->run_is($t->run('edited'), {status => 'succeeded', rows_unchanged => 40, requests => 0}, 'rebased: nothing goes, nothing is held');
$t->sql(q{SELECT ondatra.update_sync('edited', mapping => '{"v": "v"}', options => '{"on_config_change": "resend"}')});
$t->run_is($t->run('edited'), {status => 'succeeded', rows_updated => 40}, 'resend: goes');
$t->sql(q{INSERT INTO mart.edited VALUES (41, 'v'); SELECT ondatra.update_sync('edited', mapping => '{"V": "v"}', options => '{"on_config_change": "rebase"}')});
is($t->sql("SELECT creates || ' ' || updates || ' ' || unchanged FROM ondatra.plan_sync('edited')"), '1 0 40', 'rebase: planned');
$t->run_is($t->run('edited'), {status => 'succeeded', rows_created => 1, rows_updated => 0, rows_unchanged => 40}, 'rebase: only what is new goes');
$t->sql("UPDATE mart.edited SET v = 'y' WHERE id = 1");
$t->run_is($t->run('edited'), {rows_updated => 1}, 'and what changes later');
$t->sql("CREATE VIEW mart.v AS SELECT id, v FROM mart.edited");
$t->sync('view', 'mart.v', 'd', guards => 1);
$t->run('view');
$t->sql("CREATE OR REPLACE VIEW mart.v AS SELECT id, upper(v) AS v FROM mart.edited");
held_is('view', 'config_change', qr/^the view changed, and 41 of 41 rows/, 'a view that was replaced');

$t->sql(q{SELECT ondatra.reject_run(run_id) FROM ondatra.held_runs WHERE sync_name = 'view'});
$t->sql(q{SELECT ondatra.resume_sync('view')});
$t->sql("CREATE OR REPLACE VIEW mart.v AS SELECT id, CASE WHEN id <= 4 THEN 'few' ELSE v END AS v FROM mart.edited");
$t->run_is($t->run('view'), {status => 'succeeded', rows_updated => 4}, 'an edit of few rows is not held');

# --- versions of another format, as another release may have made them
fresh('formed', 40);
sub other_format {
    my ($sync) = @_;
    my $state = 'ondatra.state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = '$sync'");
    $t->admin("UPDATE $state SET _hash = gen_random_uuid(); UPDATE ondatra.all_syncs SET hash_format = 0 WHERE name = '$sync'");
    return;
}
other_format('formed');
held_is('formed', 'config_change', qr/^the format of versions changed, and 40 of 40 rows would be sent again/, 'versions of another format');
$t->sql(q{SELECT ondatra.update_sync('formed', options => '{"on_config_change": "rebase"}')});
$t->run_is($t->run('formed'), {status => 'succeeded', rows_unchanged => 40, requests => 0}, 'another format, rebase: nothing goes');
is($t->admin("SELECT hash_format FROM ondatra.all_syncs WHERE name = 'formed'"), '1', 'another format: then it is ours');
$t->sql("UPDATE mart.formed SET v = 'x' WHERE id = 1");
$t->run_is($t->run('formed'), {rows_updated => 1, rows_unchanged => 39}, 'another format: and runs go on');
$t->sql(q{SELECT ondatra.update_sync('formed', options => '{"on_config_change": "hold", "cursor_column": "id"}')});
$t->poll(sub { $t->run('formed'); $t->admin("SELECT cursor_value IS NOT NULL FROM ondatra.all_syncs WHERE name = 'formed'") eq 't' }, 'a cursor');
other_format('formed');
held_is('formed', 'config_change', qr/^the format of versions changed, and 40 of 40 rows/, 'another format, with a cursor: all rows are looked at');

# --- changes
fresh('many', 30);
$t->sql(q{SELECT ondatra.update_sync('many', options => '{"max_changes": {"percent": 10, "floor": 29}}')});
$t->sql("UPDATE mart.many SET v = 'z' WHERE id <= 29");
$t->run_is($t->run('many'), {rows_updated => 29}, 'within the limit');
$t->sql("UPDATE mart.many SET v = 'zz'");
held_is('many', 'changes', qr/would change 30 of 30 rows \(max_changes: 10 %, at least 29\)/, 'over it');
$t->run_is($t->sql("SELECT ondatra.reject_run((SELECT run_id FROM ondatra.held_runs WHERE sync_name = 'many'))") eq '' ? $t->run('many', keys => '{"id": 1}') : {}, {rows_updated => 1, status => 'succeeded'}, 'given keys have no guard');
$t->run_is($t->run('many', max_rows => 5), {rows_updated => 5, rows_pending => 24}, 'max_rows: what would be sent counts');

# --- a state table that lost its rows
fresh('lost', 50);
$t->admin("TRUNCATE ondatra.state_" . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = 'lost'"));
held_is('lost', 'state', qr/the state table has 0 rows, it had 50 after the last run/, 'an emptied state table');

# --- rows that were refused have state rows too: they are not counted again when they are accepted
$t->sql("CREATE TABLE mart.again (id int PRIMARY KEY, v text); INSERT INTO mart.again SELECT i, 'v' || i FROM generate_series(1, 30) i");
$t->destination('again', {object => {upsert => {method => 'PUT', path => '/again/{{key}}'}}});
$t->sync('again', 'mart.again', 'again', guards => 1);
$t->control('POST', 'script', {rules => [{path => '^/again/', times => 30, answer => {status => 422}}]});
$t->run_is($t->run('again'), {status => 'failed', rows_failed => 30}, 'all are refused');
$t->sql("UPDATE mart.again SET v = 'new'; INSERT INTO mart.again VALUES (31, 'v'), (32, 'v')");
$t->run_is($t->run('again'), {status => 'succeeded', rows_created => 32}, 'sent again, with two more');
is($t->admin("SELECT state_rows FROM ondatra.all_syncs WHERE name = 'again'"), '32', 'what the state table has is remembered');

# --- expiry
$t->admin('ALTER SYSTEM SET ondatra.held_run_expiry = 0');
$t->admin('SELECT pg_reload_conf()');
$t->sql("SELECT ondatra.trigger_sync('lost')");
$t->poll_sql("SELECT count(*) > 0 FROM ondatra.sync_runs WHERE sync_name = 'lost' AND status = 'cancelled' AND error_detail LIKE 'Nobody decided in time%'", 't', 'held runs expire');
is($t->admin('SELECT count(*) FROM ondatra.held_changes WHERE run_id NOT IN (SELECT run_id FROM ondatra.held_runs)'), '0', 'and leave nothing behind');

# --- words
for my $bad ('-1', '1.5', '"5"', '"101%"', '"-5%"', '"x%"', '{"floor": 5}', '{"percent": 101}', '{"percent": 5, "x": 1}', 'true') {
    $t->sql_fails("SELECT ondatra.update_sync('few', options => '{\"max_deletes\": $bad}')", qr/invalid value for option "max_deletes".*HINT:  Use a number of rows, a part/s, "max_deletes: $bad");
}
$t->sql_fails(q{SELECT ondatra.update_sync('few', options => '{"on_empty": "stop"}')}, qr/Use hold or run/, 'on_empty');
$t->sql_fails(q{SELECT ondatra.update_sync('few', options => '{"on_config_change": "x"}')}, qr/Use hold, resend or rebase/, 'on_config_change');
$t->sql_fails('SELECT ondatra.approve_run(0)', qr/run 0 does not exist/, 'no such run');
$t->sql_fails('SELECT ondatra.reject_run(NULL)', qr/must not be NULL/, 'NULL');
$t->no_violations;
done_testing;
