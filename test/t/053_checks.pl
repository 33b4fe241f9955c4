# Checks: conditions over rows and over the whole model, that make rows invalid, hold the run, or are only counted.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql("CREATE TABLE mart.c (id int PRIMARY KEY, email text, n int); INSERT INTO mart.c SELECT i, 'u' || i || '\@example.com', i FROM generate_series(1, 20) i");
$t->destination('d');
sub checks { my ($checks) = @_; return $t->sql('SELECT ondatra.update_sync(' . "'c', options => " . Ondatra::Test::literal({checks => $checks}) . ')') }
sub counts { my ($run) = @_; return $t->sql("SELECT checks FROM ondatra.sync_runs WHERE run_id = $run->{run_id}") }
sub guard_of { return $t->sql("SELECT coalesce(guard, 'none') FROM ondatra.plan_sync('c')") }
sub finished { my ($run_id, $status, $name) = @_; $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $run_id", $status, $name); $t->check_counts($run_id);
    return ($t->rows("SELECT * FROM ondatra.sync_runs WHERE run_id = $run_id"))[0]; }

# --- words
for (['[]', qr/it is an object of named conditions/], ['{"a": "n > 0"}', qr/check "a" is no object/], ['{"a": {}}', qr/check "a" has no condition/], ['{"a": {"row": 7}}', qr/check "a" has no condition/],
    ['{"a": {"row": "n > 0", "model": "count(*) > 0"}}', qr/either "row" or "model"/], ['{"a": {"row": "n > 0", "on_fail": "stop"}}', qr/"on_fail" of check "a" is invalid, hold or warn/],
    ['{"a": {"model": "count(*) > 0", "on_fail": "invalid"}}', qr/over the whole model: it holds the run or warns/]) {
    $t->sql_fails("SELECT ondatra.create_sync('c', 'mart.c', 'd', options => '{\"checks\": $_->[0]}')", qr/invalid value for option "checks": .*$_->[1].*HINT:  Use an object such as/s, "checks: $_->[0]");
}
for (['{"row": "n > 0; SELECT 1"}', qr/syntax error/], ['{"row": "n"}', qr/the condition of check "a" is of type integer, not a condition/], ['{"row": "count(*) > 0"}', qr/the condition of check "a" is an aggregate/],
    ['{"row": "x > 0"}', qr/column "x" does not exist/], ['{"model": "n > 0"}', qr/must appear in the GROUP BY|has no aggregate/], ['{"model": "true"}', qr/the condition of check "a" has no aggregate/],
    ['{"model": "count(*)"}', qr/the condition of check "a" is of type bigint, not a condition/], ['{"row": "true) FROM mart.c q --"}', qr/syntax error/], ['{"row": "generate_series(1, 2) > 0"}', qr/returns a set/]) {
    $t->sql_fails("SELECT ondatra.create_sync('c', 'mart.c', 'd', options => '{\"checks\": {\"a\": $_->[0]}}')", qr/$_->[1]/, "condition $_->[0]");
}

# --- a row that fails is invalid, and the others go
$t->sync('c', 'mart.c', 'd', mode => 'mirror', guards => 1, options => {checks => {address => {row => "email LIKE '%@%'"}, small => {row => 'n < 18', on_fail => 'warn'}}});
$t->sql("UPDATE mart.c SET email = 'nobody' WHERE id = 3; UPDATE mart.c SET email = NULL WHERE id = 4");
is($t->sql("SELECT creates || ' ' || invalid FROM ondatra.plan_sync('c')"), '18 2', 'plan_sync says it before');
my $run = $t->run('c');
$t->run_is($run, {status => 'partial', rows_created => 18, rows_invalid => 2}, 'two are invalid: NULL is not true');
is(counts($run), '{"small": 3, "address": 2}', 'the counts, of those that only warn too');
is($t->sql("SELECT string_agg(key::text || ' ' || error_class || ' ' || error_message, E'\\n' ORDER BY key) FROM ondatra.failed_rows"),
    join("\n", map { qq({"id": $_} invalid check "address" failed: email LIKE '%@%') } 3, 4), 'the rows, and which check');
like($t->sql(q{SELECT ondatra.explain_row('c', '{"id": 3}') ->> 'problem'}), qr/check "address" failed/, 'explain_row knows it, too');
$t->sql("UPDATE mart.c SET email = 'x\@example.com' WHERE id IN (3, 4)");
$t->run_is($t->run('c'), {status => 'succeeded', rows_created => 2, rows_unchanged => 18}, 'mended: they go');
is($t->sql('SELECT count(*) FROM ondatra.failed_rows'), '0', 'and the failed rows close');
$t->sql("UPDATE mart.c SET email = 'gone' WHERE id = 5");
$t->run_is($t->run('c'), {status => 'partial', rows_invalid => 1, rows_deleted => 0}, 'a row that fails is there: it is not deleted');
$t->sql("UPDATE mart.c SET email = 'u5\@example.com' WHERE id = 5");

# --- over the whole model: the run is held
checks({address => undef, small => undef, enough => {model => 'count(*) >= 20'}, sane => {model => 'sum(n) > 0 AND min(n) > 0', on_fail => 'warn'}});
$run = $t->run('c');
$t->run_is($run, {status => 'succeeded', rows_unchanged => 20}, 'they hold');
is(counts($run), '{"sane": 0, "enough": 0}', 'counted as 0');
$t->sql("DELETE FROM mart.c WHERE id = 20; UPDATE mart.c SET n = -1 WHERE id = 1");
is(guard_of(), 'check "enough" failed (on_fail: hold): count(*) >= 20', 'plan_sync says it before');
my $before = $t->count_requests;
$run = $t->run('c');
$t->run_is($run, {status => 'held', error_message => 'check "enough" failed (on_fail: hold): count(*) >= 20'}, 'held');
is(counts($run), '{"sane": 1, "enough": 1}', 'with the counts');
is($t->count_requests, $before, 'nothing was sent');
is($t->sql("SELECT guard || ': ' || would_send FROM ondatra.held_runs") =~ s/ Hint.*//r, 'checks: It would send 1 delete ({"id":20}), 1 update ({"id":1}).', 'in held_runs');
$t->sql("UPDATE mart.c SET n = 70 WHERE id = 7");
$t->sql("SELECT ondatra.approve_run($run->{run_id})");
$t->run_is(finished($run->{run_id}, 'partial', 'approved'), {rows_deleted => 1, rows_updated => 1, rows_pending => 1}, 'sends what was held, and no more');
$run = $t->run('c');
is($run->{status}, 'held', 'the next run is held again');
$t->run_is($t->run('c', keys => '{"id": 7}'), {status => 'succeeded', rows_updated => 1}, 'given keys have no guard') if $t->sql("SELECT ondatra.reject_run($run->{run_id})") eq '';
$t->sql("SELECT ondatra.resume_sync('c')");

# --- over each row, holding the run; an edit of the checks makes it void
checks({enough => undef, sane => undef, positive => {row => 'n > 0', on_fail => 'hold'}});
is(guard_of(), 'check "positive" failed for 1 row (on_fail: hold): n > 0', 'a row holds the run');
$run = $t->run('c');
is("$run->{status} " . counts($run), 'held {"positive": 1}', 'held');
checks({positive => {row => 'n > -10'}});
$t->sql_fails("SELECT ondatra.approve_run($run->{run_id})", qr/is not held, it is cancelled.*The sync was edited/s, 'void after an edit');
$run = $t->run('c');
$t->run_is($run, {status => 'succeeded', rows_unchanged => 19}, 'it holds now');
is(counts($run), '{"positive": 0}', 'on_fail stays as it was: the patch merges');
checks(undef);
is($t->sql("SELECT checks IS NULL FROM ondatra.run_sync('c')"), 't', 'no checks, no counts');

# --- duplicates and errors
$t->sync('twice', 'SELECT id / 2 AS id, email, n FROM mart.c WHERE id < 4', 'd', options => {checks => {few => {row => 'n > 1'}}});
$run = $t->run('twice');
$t->run_is($run, {status => 'partial', rows_invalid => 3}, 'duplicates and failures, each row once') or diag(counts($run));
is(counts($run), '{"few": 1}', 'counted for every row');
$t->sync('broken', 'mart.c', 'd', options => {checks => {x => {row => '1 / (n - 9) <> 7'}}});
$t->run_is($t->run('broken'), {status => 'failed', error_code => '22012', requests => 0}, 'a condition that raises stops the run');
$t->no_violations;
done_testing;
