# cursor_column: what a run reads, when the cursor moves, and that nothing is lost behind it.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new(conf => 'max_prepared_transactions = 5');
$t->destination('api', {retry => {attempts => 1, base_ms => 1, max_ms => 1}});
$t->sql('CREATE TABLE mart.gate (n int)');
my $made = 0;

# A table with a cursor of the type, and its sync.
sub cursor_sync {
    my ($type, %args) = @_;
    my $s = 'c' . ++$made;
    note("--- $s: $type");
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.$s (id int PRIMARY KEY, v text, at $type, poison text)");
    $t->sync($s, "SELECT id, v, at, poison FROM mart.$s", $args{destination} || 'api', mode => $args{mode} || 'upsert', mapping => {v => 'v', poison => 'poison'},
        options => {cursor_column => 'at', %{ $args{options} || {} }});
    return $s;
}

sub add { my ($s, $id, $at, $v) = @_; $v //= "v$id"; $t->sql("INSERT INTO mart.$s VALUES ($id, '$v', " . (defined $at ? "'$at'" : 'NULL') . ')') }
sub cursor { my ($s) = @_; return $t->admin("SELECT coalesce(cursor_value, 'none') FROM ondatra.all_syncs WHERE name = '$s'") }
sub has { return join ' ', sort { $a <=> $b } keys %{ $t->records } }

# run_sync's caller has a transaction open, so what a run saw becomes the cursor only with the next one: two runs make it certain.
sub settle { my ($s) = @_; $t->run($s) for 1 .. 2 }

# --- every type: rows at or past the cursor are read, and no others
my %values = (
    'timestamptz' => [map { "2026-03-29 0$_:30:00.123456+01" } 0 .. 9],
    'timestamp' => [map { "2026-03-29 0$_:30:00.000001" } 0 .. 9],
    'date' => [map { "2026-02-0$_" } 1 .. 9],
    'int2' => [map { $_ - 4 } 1 .. 9],
    'int4' => [map { $_ * 1000000 } 1 .. 9],
    'int8' => [map { "922337203685477580$_" } 0 .. 7],
    'numeric' => [map { "1.$_" } 1 .. 9],
);
my %overlap = (timestamptz => '2 hours', timestamp => '2 hours', date => 2, int2 => 2, int4 => 2000000, int8 => 2, numeric => '0.2');
for my $type (sort keys %values) {
    my @at = @{ $values{$type} };
    my $s = cursor_sync($type);
    add($s, $_, $at[$_]) for 0 .. 3;
    $t->run_is($t->run($s), {rows_scanned => 4, rows_created => 4, status => 'succeeded'}, "$type: the first run reads all");
    settle($s);
    $t->sql("UPDATE mart.$s SET v = 'behind' WHERE id < 3; UPDATE mart.$s SET v = 'at' WHERE id = 3");
    add($s, 4, $at[4]);
    my ($plan) = $t->rows("SELECT * FROM ondatra.plan_sync('$s')");
    $t->run_is($plan, {rows_scanned => 2, creates => 1, updates => 1}, "$type: the plan is of the same rows");
    $t->run_is($t->run($s), {rows_scanned => 2, rows_updated => 1, rows_created => 1, status => 'succeeded'}, "$type: then rows at and past the cursor");
    settle($s);
    $t->run_is($t->run($s), {rows_scanned => 1, rows_unchanged => 1, requests => 0}, "$type: the cursor has moved on");
    # the values are kept as text between runs: the role's settings must not change what they say
    $t->admin("ALTER ROLE ann SET DateStyle = 'SQL, DMY'; ALTER ROLE ann SET TimeZone = 'Asia/Kathmandu'; ALTER ROLE ann SET IntervalStyle = 'sql_standard'");
    add($s, 5, $at[5]);
    $t->run_is($t->run($s), {rows_scanned => 2, rows_unchanged => 1, rows_created => 1}, "$type: whatever the role's settings are");
    settle($s);
    $t->admin('ALTER ROLE ann RESET ALL');
    $t->run_is($t->run($s), {rows_scanned => 1, rows_unchanged => 1}, "$type: and were");
    $t->sql("SELECT ondatra.update_sync('$s', options => '" . $t->json_of({cursor_overlap => $overlap{$type}}) . "')");
    $t->run_is($t->run($s), {rows_scanned => 3, rows_unchanged => 3}, "$type: with an overlap");
    $t->sql("UPDATE mart.$s SET v = 'again' WHERE id = 3");
    $t->run_is($t->run($s), {rows_scanned => 3, rows_updated => 1, rows_unchanged => 2}, "$type: which finds changes that far back");
}
$t->sql_fails("SELECT ondatra.create_sync('x', 'mart.gate', 'api', key => '{n}', options => '{\"cursor_column\": \"m\"}')", qr/column "m".*cursor_column.*HINT/s, 'a cursor that is no column');
$t->sql_fails("SELECT ondatra.create_sync('x', 'SELECT n, n::text AS s FROM mart.gate', 'api', key => '{n}', options => '{\"cursor_column\": \"s\"}')", qr/cursor_column "s" has type text.*HINT/s,
    'a cursor of another type');
$t->sql_fails("SELECT ondatra.create_sync('x', 'mart.gate', 'api', key => '{n}', options => '{\"cursor_column\": \"n\", \"cursor_overlap\": \"2 hours\"}')", qr/invalid input syntax.*2 hours/,
    'an overlap of another type');
$t->sql_fails("SELECT ondatra.create_sync('x', 'mart.gate', 'api', key => '{n}', options => '{\"full_every\": \"1 day\"}')", qr/cursor_column/, 'full_every without a cursor');

# --- a row without a cursor is invalid, in every run, until it has one
{
    my $s = cursor_sync('int');
    add($s, 1, 1);
    add($s, 2, undef);
    $t->run_is($t->run($s), {rows_scanned => 2, rows_created => 1, rows_invalid => 1, status => 'partial'}, 'a NULL cursor makes the row invalid');
    like(($t->failed_rows($s))[0]{error_message}, qr/at, the cursor_column, is NULL/, 'with the reason');
    settle($s);
    $t->run_is($t->run($s), {rows_scanned => 2, rows_unchanged => 1, rows_invalid => 1}, 'and in later runs');
    is(scalar $t->failed_rows($s), 1, 'it stays listed');
    $t->sql("UPDATE mart.$s SET at = 0 WHERE id = 2");
    $t->run_is($t->run($s), {rows_created => 1, rows_invalid => 0, status => 'succeeded'}, 'with a cursor it is sent, even behind the others');
    is(scalar $t->failed_rows($s), 0, 'and not listed any more');
}

# --- what is not resolved is read wherever the cursor is
{
    my $s = cursor_sync('int', options => {in_doubt_wait => '1 second'});
    add($s, $_, $_) for 1 .. 6;
    $t->sql("UPDATE mart.$s SET poison = 'no' WHERE id = 1");
    $t->script({method => 'PUT', path => '/2$', answer => {apply => \1, misbehave => 'close'}});
    $t->run_is($t->run($s), {rows_scanned => 6, rows_created => 4, rows_failed => 2, status => 'partial'}, 'one is refused, of one the answer is lost');
    $t->script();
    $t->run($s);
    $t->run_is($t->run($s), {rows_scanned => 3, rows_unchanged => 1, rows_held_back => 2}, 'both are read behind the cursor');
    is(cursor($s), '6', 'which has passed them');
    $t->run_is($t->retry($s), {released => 2, rows_failed => 1}, 'retry_failed sends them again');
    is($t->records->{2}{v}, 'v2', 'the one in doubt is delivered');
    is(scalar $t->failed_rows($s), 1, 'and closed');
    $t->sql("UPDATE mart.$s SET poison = NULL WHERE id = 1");
    $t->run_is($t->run($s), {rows_scanned => 2, rows_created => 1, rows_unchanged => 1, status => 'succeeded'}, 'the refused one is sent when it is sound, though its cursor is the same');
    $t->run_is($t->run($s), {rows_scanned => 1}, 'then it is behind the cursor like the others');
    is(has(), '1 2 3 4 5 6', 'all are there');
}

# --- invalid rows too: duplicates, values without a JSON form
{
    my $s = cursor_sync('int');
    $t->sql("CREATE TABLE mart.extra (id int, at int, v float8); SELECT ondatra.update_sync('$s', model => 'SELECT * FROM mart.extra', mapping => '{\"v\": \"v\"}')");
    $t->sql('INSERT INTO mart.extra VALUES (1, 1, 1), (1, 2, 2), (2, 3, 1), (3, 4, 1), (4, 9, 1)');
    $t->run_is($t->run($s), {rows_scanned => 5, rows_created => 3, rows_invalid => 2}, 'twins are invalid');
    $t->run($s);
    $t->sql("UPDATE mart.extra SET v = 'NaN', at = 10 WHERE id = 2");
    $t->run_is($t->run($s), {rows_scanned => 4, rows_unchanged => 1, rows_invalid => 3}, 'as is NaN; the twins are read behind the cursor');
    $t->run($s);
    $t->sql("UPDATE mart.extra SET at = 11 WHERE id = 4");
    settle($s);
    is(cursor($s), '11', 'the cursor passes them: they are recorded');
    $t->sql('DELETE FROM mart.extra WHERE id = 1 AND v = 2');
    $t->run_is($t->run($s), {rows_scanned => 3, rows_created => 1, rows_invalid => 1, rows_unchanged => 1}, 'one twin is gone: the other is sent, behind the cursor');
    $t->sql('UPDATE mart.extra SET v = 1 WHERE id = 2');
    $t->run_is($t->run($s), {rows_scanned => 2, rows_unchanged => 2, status => 'succeeded'}, 'NaN is gone, back to what was delivered');
    is(scalar $t->failed_rows($s), 0, 'nothing is listed any more');
    $t->run_is($t->run($s), {rows_scanned => 1}, 'nor read');
}

# --- the cursor does not move past rows that were not sent
{
    my $s = cursor_sync('int');
    add($s, $_, $_) for 1 .. 3;
    $t->run_is($t->run($s, max_rows => \'1'), {rows_scanned => 3, rows_created => 1, rows_pending => 2, status => 'partial'}, 'a canary');
    is(cursor($s) . '/' . $t->admin("SELECT coalesce(cursor_seen, 'none') FROM ondatra.all_syncs WHERE name = '$s'"), 'none/none', 'the cursor stays');
    $t->run_is($t->run($s), {rows_scanned => 3, rows_created => 2, rows_unchanged => 1}, 'the rest is sent');
    settle($s);
    add($s, $_, $_) for 4 .. 8;
    $t->run($s, max_rows => \'2');
    is(cursor($s), '3', 'the same with a cursor');
    $t->run_is($t->run($s, keys => {id => 1}), {rows_scanned => 1, rows_unchanged => 1}, 'given keys are read behind the cursor');
    is(cursor($s), '3', 'and do not move it');
    $t->run_is($t->run($s), {rows_scanned => 6, rows_created => 3, rows_unchanged => 3}, 'the rest is sent');
    settle($s);
    is(cursor($s), '8', 'and the cursor has moved');
    is(has(), '1 2 3 4 5 6 7 8', 'all are there');
}

# --- transactions that were open at the snapshot
{
    my $s = cursor_sync('int');
    add($s, 1, 1);
    settle($s);
    $t->sql("BEGIN; INSERT INTO mart.$s VALUES (2, 'late', 2); PREPARE TRANSACTION 'late'");
    add($s, 3, 3);
    $t->run_is($t->run($s), {rows_created => 1}, 'a later value is committed first');
    $t->run($s) for 1 .. 2;
    is(cursor($s), '1', 'the cursor waits for the other transaction');
    $t->sql("COMMIT PREPARED 'late'");
    $t->run_is($t->run($s), {rows_created => 1}, 'which is then read');
    is(has(), '1 2 3', 'nothing is lost');
    settle($s);
    is(cursor($s), '3', 'and the cursor moves on');
}
{
    my $s = cursor_sync('int');
    add($s, 1, 1);
    settle($s);
    $t->sql("BEGIN; INSERT INTO mart.$s VALUES (2, 'late', 2); PREPARE TRANSACTION 'late'");
    add($s, 3, 3);
    $t->script({name => 'slow', method => 'PUT', answer => {apply => \1, misbehave => 'hang'}});
    my $id = $t->sql("SELECT run_id FROM ondatra.run_sync('$s', wait => false)");
    $t->poll(sub { $t->state->{hanging} }, 'the run is sending');
    $t->sql("COMMIT PREPARED 'late'");
    $t->script();
    $t->release;
    $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'succeeded', 'the transaction ended while the run was sending');
    $t->check_counts($id);
    $t->run_is($t->run($s), {rows_created => 1}, 'its row is read by the next run');
    is(has(), '1 2 3', 'nothing is lost');
}
{
    # A transaction that has written nothing yet at the snapshot; its now() is of before. And one that was prepared after it.
    my $s = cursor_sync('timestamptz');
    $t->sql("INSERT INTO mart.$s VALUES (1, 'a', now())");
    settle($s);
    my $gate = sub { "DO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM mart.gate WHERE n = $_[0]) LOOP PERFORM pg_sleep(0.01); END LOOP; END \$\$;\n" };
    my $one = session($t, 'ann', "BEGIN; SELECT now();\n" . $gate->(1) . "INSERT INTO mart.$s VALUES (2, 'b', now()); COMMIT;");
    my $two = session($t, 'ann', "BEGIN; SELECT now();\n" . $gate->(2) . "INSERT INTO mart.$s VALUES (3, 'c', now()); PREPARE TRANSACTION 'two';");
    $t->poll_sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %mart.gate%' AND state = 'active' AND pid <> pg_backend_pid()", '2', 'two transactions have begun');
    $t->sql("INSERT INTO mart.$s VALUES (4, 'd', now())");
    $t->run_is($t->run($s), {rows_created => 1}, 'a row of another is read');
    $t->sql('INSERT INTO mart.gate VALUES (1)');
    finish($one);
    $t->run_is($t->run($s), {rows_created => 1}, 'the row of the first, which it wrote after the snapshot with an earlier value, is read when it is there');
    $t->sql('INSERT INTO mart.gate VALUES (2)');
    finish($two);
    $t->run($s) for 1 .. 3;
    $t->sql("COMMIT PREPARED 'two'");
    $t->run_is($t->run($s), {rows_created => 1}, 'and that of the second, which was prepared meanwhile');
    is(has(), '1 2 3 4', 'nothing is lost');
}
{
    # By itself in the database: no reason to wait.
    my $s = cursor_sync('int');
    add($s, $_, $_) for 1 .. 3;
    $t->sql("SELECT ondatra.trigger_sync('$s')");
    $t->poll(sub { $t->count_requests == 3 }, 'a run that nobody waits for');
    $t->poll_sql("SELECT last_status FROM ondatra.sync_status WHERE name = '$s'", 'succeeded', 'succeeds');
    is(cursor($s), '3', 'alone in the database, its cursor moves at once');
    $t->run_is($t->run($s), {rows_scanned => 1}, 'and the next run reads from there');
}

# --- full passes
{
    my $s = cursor_sync('int', mode => 'mirror', options => {full_every => '1 hour'});
    my $hour_later = "UPDATE ondatra.all_syncs SET full_pass_at = full_pass_at - interval '61 minutes' WHERE name = '$s'";
    add($s, $_, $_) for 1 .. 4;
    settle($s);
    $t->sql("DELETE FROM mart.$s WHERE id IN (1, 4); UPDATE mart.$s SET v = 'behind' WHERE id = 2");
    $t->run_is($t->run($s), {rows_scanned => 0, rows_deleted => 0, requests => 0, status => 'succeeded'}, 'mirror with a cursor: what left is not looked for in every run');
    $t->admin($hour_later);
    my ($plan) = $t->rows("SELECT * FROM ondatra.plan_sync('$s')");
    $t->run_is($plan, {rows_scanned => 2, updates => 1, deletes => 2}, 'when full_every has passed, plan_sync says what a full pass finds');
    $t->run_is($t->run($s), {rows_scanned => 2, rows_deleted => 2, rows_updated => 1, status => 'succeeded'}, 'the full pass deletes it, and finds a change behind the cursor');
    is(has(), '2 3', 'the destination has what the model has');
    $t->sql("DELETE FROM mart.$s WHERE id = 2");
    $t->run_is($t->run($s), {rows_deleted => 0}, 'the next pass is not a full one');
    $t->admin($hour_later);
    $t->script({method => 'DELETE', answer => {status => 503}});
    $t->run_is($t->run($s), {deletes_failed => 1, rows_deleted => 0}, 'a delete fails');
    $t->script();
    $t->sql("SELECT ondatra.retry_failed('$s')");
    $t->poll(sub { has() eq '3' || !$t->admin($hour_later) && !$t->run($s) }, 'and is sent again with a full pass');
    my ($status, undef, $err) = $t->psql_as('ann', "SELECT ondatra.create_sync('warned', 'mart.$s', 'api', key => '{id}', mode => 'mirror', options => '{\"cursor_column\": \"at\"}')");
    like($err, qr/WARNING.*will never delete.*HINT.*full_every/s, 'without full_every there is a warning');
}

# --- append, resend, and edits that make the cursor void
{
    my $s = cursor_sync('int', mode => 'append');
    add($s, $_, $_) for 1 .. 3;
    settle($s);
    $t->sql("UPDATE mart.$s SET v = 'x', at = at + 10");
    add($s, 4, 14);
    $t->run_is($t->run($s), {rows_scanned => 4, rows_skipped => 3, rows_created => 1}, 'append with a cursor: what was sent is not sent again');
    $t->sql("SELECT ondatra.resend_sync('$s')");
    $t->run_is($t->run($s, max_rows => \'1'), {rows_scanned => 4, rows_created => 1, rows_pending => 3}, 'resend reads all; a canary does not end it');
    $t->run_is($t->run($s), {rows_scanned => 4, rows_created => 4}, 'the next run sends all');
    $t->run($s);
    $t->run_is($t->run($s), {rows_scanned => 1, requests => 0}, 'and then it is over');
}
{
    my $s = cursor_sync('int');
    $t->sql("ALTER TABLE mart.$s ADD other int DEFAULT 100");
    add($s, $_, $_) for 1 .. 3;
    settle($s);
    $t->sql("SELECT ondatra.update_sync('$s', mapping => '{\"value\": \"v\"}')");
    $t->run_is($t->run($s), {rows_scanned => 3, rows_updated => 3}, 'another mapping: all rows are read, and sent');
    settle($s);
    $t->sql("SELECT ondatra.update_sync('$s', model => 'SELECT id, v || 7 AS v, at, other FROM mart.$s')");
    $t->run_is($t->run($s), {rows_scanned => 3, rows_updated => 3}, 'another model, too');
    settle($s);
    $t->sql("SELECT ondatra.update_sync('$s', options => '{\"cursor_column\": \"other\"}'); UPDATE mart.$s SET v = 'z' WHERE id = 1");
    $t->run_is($t->run($s), {rows_scanned => 3, rows_updated => 1}, 'another cursor_column, too');
    settle($s);
    $t->sql("SELECT ondatra.update_sync('$s', options => '{\"concurrency\": 2}'); UPDATE mart.$s SET other = 0, v = 'y' WHERE id = 1");
    $t->run_is($t->run($s), {rows_scanned => 2}, 'another option does not');
    $t->sql("SELECT ondatra.update_sync('$s', options => '{\"cursor_column\": null}')");
    $t->run_is($t->run($s), {rows_scanned => 3, rows_updated => 1}, 'without a cursor_column every run reads all');
}
done_testing();
