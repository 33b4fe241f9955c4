# The six modes: what each sends and what it never sends, what happens to rows that leave, in which order changes go out, and the model's own order.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->destination('api', {});
$t->destination('four', {concurrency => 4});
my %COUNTS = map { $_ => 0 } qw(rows_unchanged rows_created rows_updated rows_failed rows_invalid rows_held_back rows_skipped rows_pending rows_deleted
    deletes_failed deletes_pending);

# A table of a mode with the rows a, b and c, and its sync; what is there already is not known to it.
sub mode {
    my ($mode, %args) = @_;
    note("--- $mode");
    $t->reset_destination;
    my $name = $args{name} || $mode;
    $t->sql("CREATE TABLE mart.$name (id text PRIMARY KEY, v text, poison text); INSERT INTO mart.$name VALUES ('a', '1'), ('b', '1'), ('c', '1')");
    $t->sync($name, "mart.$name", $args{destination} || 'api', mode => $mode, $args{options} ? (options => $args{options}) : ());
    return $name;
}

# A run with exactly these counts (all others are 0) and exactly these requests since the last one.
sub expect {
    my ($sync, $counts, $requests, $name) = @_;
    my $before = $t->count_requests;
    my $run = $t->run($sync);
    $t->run_is($run, {%COUNTS, %$counts}, "$name: the counts");
    my @new = by_phase(sent_since($before));
    is_deeply(\@new, [by_phase(@$requests)], "$name: what is sent") || diag(explain(\@new));
    is($run->{requests}, scalar @$requests, "$name: the number of requests");
    return $run;
}

# Deletes first is part of the promise; within the updates, and within the creates, the order is free.
sub by_phase {
    my @phases;
    for my $r (@_) {
        my $first = $r =~ /^DELETE/;
        push @phases, [$first] if !@phases || $phases[-1][0] != $first;
        push @{ $phases[-1] }, $r;
    }
    return map { my ($kind, @r) = @$_; sort @r } @phases;
}

sub sent_since { my ($n) = @_; my @all = sort { $a->{n} <=> $b->{n} } $t->requests; return map { "$_->{method} " . ($_->{path} =~ s{^/contacts/}{}r) } @all[$n .. $#all] }
sub change { my ($name) = @_; $t->sql("UPDATE mart.$name SET v = v || '2' WHERE id = 'b'; DELETE FROM mart.$name WHERE id = 'c'; INSERT INTO mart.$name VALUES ('d', '1')") }
my @ABC = ('PUT a', 'PUT b', 'PUT c');

# --- upsert
{
    my $s = mode('upsert');
    expect($s, {rows_scanned => 3, rows_created => 3, status => 'succeeded'}, \@ABC, 'upsert, first run');
    change($s);
    expect($s, {rows_scanned => 3, rows_created => 1, rows_updated => 1, rows_unchanged => 1, status => 'succeeded'}, ['PUT b', 'PUT d'], 'upsert: new and changed rows, no delete');
    is_deeply([sort keys %{ $t->records }], ['a' .. 'd'], 'what left stays there');
    $t->sql("INSERT INTO mart.$s VALUES ('c', '1')");
    expect($s, {rows_scanned => 4, rows_unchanged => 4, status => 'succeeded'}, [], 'on_leave keep: back unchanged means nothing to send');
    $t->sql("DELETE FROM mart.$s WHERE id = 'c'");
    expect($s, {rows_scanned => 3, rows_unchanged => 3}, [], 'upsert: it leaves again');
    $t->sql("INSERT INTO mart.$s VALUES ('c', '9')");
    expect($s, {rows_scanned => 4, rows_unchanged => 3, rows_updated => 1}, ['PUT c'], 'on_leave keep: back and changed is an update');
}

# --- insert
{
    my $s = mode('insert');
    expect($s, {rows_scanned => 3, rows_created => 3, status => 'succeeded'}, \@ABC, 'insert, first run');
    change($s);
    expect($s, {rows_scanned => 3, rows_created => 1, rows_skipped => 1, rows_unchanged => 1, status => 'succeeded'}, ['PUT d'], 'insert: a changed row is skipped');
    is($t->records->{b}{v}, '1', 'the destination has what it had');
    expect($s, {rows_scanned => 3, rows_skipped => 1, rows_unchanged => 2, status => 'succeeded'}, [], 'insert: and skipped again');
    my ($plan) = $t->rows("SELECT * FROM ondatra.plan_sync('$s')");
    $t->run_is($plan, {rows_scanned => 3, creates => 0, updates => 0, deletes => 0, unchanged => 2, skipped => 1, invalid => 0, held_back => 0}, 'plan_sync says so too');
    $t->sql("UPDATE mart.$s SET v = '1' WHERE id = 'b'");
    expect($s, {rows_scanned => 3, rows_unchanged => 3}, [], 'insert: as it was, it is unchanged');
}

# --- update
{
    my $s = mode('update');
    expect($s, {rows_scanned => 3, rows_skipped => 3, status => 'succeeded'}, [], 'update: rows the destination does not have are skipped');
    is($t->sql("SELECT ondatra.rebase_sync('$s')"), '3', 'rebase: it has them');
    expect($s, {rows_scanned => 3, rows_unchanged => 3}, [], 'update: nothing changed');
    change($s);
    expect($s, {rows_scanned => 3, rows_skipped => 1, rows_updated => 1, rows_unchanged => 1, status => 'succeeded'}, ['PUT b'], 'update: the changed row only');
    $t->sql("UPDATE mart.$s SET v = 'x' WHERE id = 'd'");
    expect($s, {rows_scanned => 3, rows_skipped => 1, rows_unchanged => 2}, [], 'update: a new row is skipped in every version');
    $t->sql("SELECT ondatra.resend_sync('$s')");
    expect($s, {rows_scanned => 3, rows_skipped => 1, rows_updated => 2}, ['PUT a', 'PUT b'], 'update: a resend creates nothing either');
}

# --- mirror
{
    my $s = mode('mirror');
    $t->control('POST', 'records', {contacts => {stranger => {v => 'not ours'}, z => {v => 'of others'}}});
    expect($s, {rows_scanned => 3, rows_created => 3, status => 'succeeded'}, \@ABC, 'mirror, first run');
    change($s);
    expect($s, {rows_scanned => 3, rows_created => 1, rows_updated => 1, rows_unchanged => 1, rows_deleted => 1, status => 'succeeded'}, ['DELETE c', 'PUT b', 'PUT d'],
        'mirror: deletes, updates, creates');
    $t->sql("DELETE FROM mart.$s WHERE id = 'a'");
    expect($s, {rows_scanned => 2, rows_unchanged => 2, rows_deleted => 1}, ['DELETE a'], 'mirror: what it delivered');
    ok($t->records->{stranger} && $t->records->{z}, 'mirror: records of others stay');
    $t->sql("DELETE FROM mart.$s WHERE id = 'd'; SELECT ondatra.resend_sync('$s')");
    expect($s, {rows_scanned => 1, rows_updated => 1, rows_deleted => 1}, ['DELETE d', 'PUT b'], 'mirror: a resend does not forget what left');
    $t->sql("INSERT INTO mart.$s VALUES ('d', '4')");
    expect($s, {rows_scanned => 2, rows_unchanged => 1, rows_created => 1}, ['PUT d'], 'mirror: and that it is back');
    $t->sql("INSERT INTO mart.$s VALUES ('a', '1')");
    expect($s, {rows_scanned => 3, rows_unchanged => 2, rows_created => 1}, ['PUT a'], 'mirror: a deleted key that is back is a create');
    $t->sql("INSERT INTO mart.$s VALUES ('bad', '1', 'no')");
    expect($s, {rows_scanned => 4, rows_unchanged => 3, rows_failed => 1, status => 'failed'}, ['PUT bad'], 'mirror: a refused row');
    $t->sql("DELETE FROM mart.$s WHERE id = 'bad'");
    expect($s, {rows_scanned => 3, rows_unchanged => 3}, [], 'mirror: what was never accepted is not deleted');
    is($t->sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$s'"), '0', 'mirror: and its failed row is closed');
    $t->sql("UPDATE mart.$s SET v = 'y', poison = 'no' WHERE id = 'd'");
    expect($s, {rows_scanned => 3, rows_unchanged => 2, rows_failed => 1, status => 'failed'}, ['PUT d'], 'mirror: an update is refused');
    $t->sql("DELETE FROM mart.$s WHERE id = 'd'");
    expect($s, {rows_scanned => 2, rows_unchanged => 2, rows_deleted => 1}, ['DELETE d'], 'mirror: the older version was accepted, so the record is deleted');
    $t->sql_fails("SELECT ondatra.update_sync('$s', options => '{\"on_leave\": \"forget\"}')", qr/on_leave.*HINT.*mirror/s, 'mirror has no other on_leave');
}

# --- append
{
    my $s = mode('append');
    expect($s, {rows_scanned => 3, rows_created => 3, status => 'succeeded'}, \@ABC, 'append, first run');
    change($s);
    expect($s, {rows_scanned => 3, rows_created => 1, rows_skipped => 1, rows_unchanged => 1, status => 'succeeded'}, ['PUT d'], 'append: a changed row is not sent again');
    $t->sql("INSERT INTO mart.$s VALUES ('c', '7')");
    expect($s, {rows_scanned => 4, rows_skipped => 2, rows_unchanged => 2}, [], 'append: nor one that was away');
    $t->sql("INSERT INTO mart.$s VALUES ('p', '1', 'no')");
    expect($s, {rows_scanned => 5, rows_skipped => 2, rows_unchanged => 2, rows_failed => 1}, ['PUT p'], 'append: a refused row');
    expect($s, {rows_scanned => 5, rows_skipped => 2, rows_unchanged => 2, rows_held_back => 1}, [], 'append: is held back');
    $t->sql("UPDATE mart.$s SET poison = NULL WHERE id = 'p'");
    expect($s, {rows_scanned => 5, rows_skipped => 2, rows_unchanged => 2, rows_created => 1}, ['PUT p'], 'append: and sent when it is sound; it was never there');
}

# --- replace
{
    my $s = mode('replace');
    expect($s, {rows_scanned => 3, rows_created => 3, status => 'succeeded'}, \@ABC, 'replace, first run');
    expect($s, {rows_scanned => 3, rows_updated => 3, status => 'succeeded'}, \@ABC, 'replace: the whole model again, although nothing changed');
    change($s);
    expect($s, {rows_scanned => 3, rows_updated => 2, rows_created => 1}, ['PUT a', 'PUT b', 'PUT d'], 'replace: and when it changed');
    $t->sql("UPDATE mart.$s SET poison = 'no' WHERE id = 'b'");
    expect($s, {rows_scanned => 3, rows_updated => 2, rows_failed => 1, status => 'partial'}, ['PUT a', 'PUT b', 'PUT d'], 'replace: a row is refused');
    expect($s, {rows_scanned => 3, rows_updated => 2, rows_held_back => 1, status => 'succeeded'}, ['PUT a', 'PUT d'], 'replace: and in quarantine from then on');
    $t->sql("UPDATE mart.$s SET poison = NULL WHERE id = 'b'");
    expect($s, {rows_scanned => 3, rows_updated => 3}, ['PUT a', 'PUT b', 'PUT d'], 'replace: until it changes');
    is($t->sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$s'"), '0', 'replace: the failed row is closed');
    $t->sql_fails("SELECT ondatra.update_sync('$s', options => '{\"cursor_column\": \"v\"}')", qr/cursor_column.*replace.*HINT/s, 'replace has no cursor');
}

# --- on_leave forget, in each mode that has it
for my $mode (qw(upsert insert)) {
    my $s = mode($mode, name => "forget_$mode", options => {on_leave => 'forget'});
    expect($s, {rows_scanned => 3, rows_created => 3}, \@ABC, "$mode with forget, first run");
    $t->sql("DELETE FROM mart.$s WHERE id = 'c'");
    expect($s, {rows_scanned => 2, rows_unchanged => 2, status => 'succeeded'}, [], "$mode with forget: the row leaves, nothing is sent");
    like($t->sql("SELECT ondatra.explain_row('$s', '{\"id\": \"c\"}')->>'verdict'"), qr/^unknown key/, "$mode with forget: the key is not known any more");
    $t->sql("INSERT INTO mart.$s VALUES ('c', '1')");
    expect($s, {rows_scanned => 3, rows_unchanged => 2, rows_created => 1}, ['PUT c'], "$mode with forget: back means a create");
}
$t->sql_fails("SELECT ondatra.update_sync('upsert', options => '{\"on_leave\": \"delete\"}')", qr/HINT.*mirror/s, 'only mirror deletes');

# --- a change of mode
{
    my $s = mode('upsert', name => 'turns');
    expect($s, {rows_scanned => 3, rows_created => 3}, \@ABC, 'as upsert');
    $t->sql("DELETE FROM mart.$s WHERE id = 'c'; SELECT ondatra.update_sync('$s', mode => 'mirror')");
    expect($s, {rows_scanned => 2, rows_unchanged => 2, rows_deleted => 1}, ['DELETE c'], 'as mirror it deletes what upsert delivered');
    $t->sql("UPDATE mart.$s SET v = '5'; SELECT ondatra.update_sync('$s', mode => 'insert')");
    expect($s, {rows_scanned => 2, rows_skipped => 2}, [], 'as insert it skips');
    $t->sql("SELECT ondatra.update_sync('$s', mode => 'update')");
    expect($s, {rows_scanned => 2, rows_updated => 2}, ['PUT a', 'PUT b'], 'as update it sends');
}

# --- order: no update before the last delete is answered, no create before the last update, whatever the concurrency
for my $destination ('api', 'four') {
    my $s = "order_$destination";
    note("--- $s");
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.$s (id int PRIMARY KEY, v int); INSERT INTO mart.$s SELECT i, 0 FROM generate_series(1, 30) i");
    $t->sync($s, "mart.$s", $destination, mode => 'mirror');
    $t->run($s);
    $t->sql("DELETE FROM mart.$s WHERE id <= 5; UPDATE mart.$s SET v = 1 WHERE id <= 20; INSERT INTO mart.$s SELECT i, 0 FROM generate_series(31, 50) i");
    $t->script({method => 'DELETE', nth => {every => 2}, answer => {records => {}, delay_ms => 60}}, {method => 'PUT', nth => {every => 7}, answer => {records => {}, delay_ms => 40}});
    my $run = $t->run($s);
    $t->run_is($run, {%COUNTS, rows_scanned => 45, rows_deleted => 5, rows_updated => 15, rows_unchanged => 10, rows_created => 20, status => 'succeeded'}, "$s: all is sent");
    my @sent = sort { $a->{n} <=> $b->{n} } $t->requests;
    @sent = splice @sent, 30;
    my $kind = sub { my ($id) = $_[0]{path} =~ /(\d+)$/; return $_[0]{method} eq 'DELETE' ? 0 : $id <= 20 ? 1 : 2 };
    my $late = 0;
    for my $r (@sent) {
        $late += grep { $kind->($_) < $kind->($r) && $_->{answered_at} > $r->{at} } @sent;
    }
    is(scalar @sent, 40, "$s: 40 requests");
    is($late, 0, "$s: no update before the last delete is answered, no create before the last update");
    is_deeply([map { $kind->($_) } @sent], [(0) x 5, (1) x 15, (2) x 20], "$s: they arrive as deletes, updates, creates");
    $t->no_violations;
}

# --- append and insert keep the model's ORDER BY when one request is in flight at a time; also over a try that failed
$t->destination('single', {concurrency => 1});
for my $mode ('append', 'insert') {
    my $s = "sorted_$mode";
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.$s (id int PRIMARY KEY, at int); INSERT INTO mart.$s SELECT i, (i * 7919) % 101 FROM generate_series(1, 100) i");
    $t->sync($s, "SELECT id, at FROM mart.$s ORDER BY at DESC, id", 'single', mode => $mode);
    $t->script({name => 'busy', method => 'PUT', path => '/5$', times => 2, answer => {status => 503}});
    $t->run_is($t->run($s), {%COUNTS, rows_scanned => 100, rows_created => 100}, "$s: all go");
    my $order = [split /,/, $t->sql("SELECT string_agg('PUT ' || id, ',' ORDER BY at DESC, id) FROM mart.$s")];
    is_deeply([map { ("PUT $_") x ($_ == 5 ? 3 : 1) } map { /(\d+)/ } @$order], [sent_since(0)], "$s: in the order of the model, two failed tries are not passed");
    $t->sql("INSERT INTO mart.$s SELECT i, (i * 7919) % 103 FROM generate_series(101, 200) i");
    $t->run_is($t->run($s), {%COUNTS, rows_scanned => 200, rows_created => 100, rows_unchanged => 100}, "$s: what is new goes");
    $order = [split /,/, $t->sql("SELECT string_agg('PUT ' || id, ',' ORDER BY at DESC, id) FROM mart.$s WHERE id > 100")];
    is_deeply([sent_since(102)], $order, "$s: in the order of the model, as before");
    $t->no_violations;
}

# --- many rows, in batches
{
    $t->reset_destination;
    my $batch = {method => 'POST', path => '/batch?rows=/rows&id=/key&fields=/f&collection=contacts&result=order&unique=1&max=200', batch => {rows => 200},
        body => {rows => ['$each', {key => '{{key}}', f => '$fields'}]}, result => {rows => '/results', match => 'order', ok => {path => '/ok', equals => \1}}};
    my $delete = {method => 'POST', path => '/batch/delete?rows=/rows&id=/key&collection=contacts&result=order&max=200', batch => {rows => 200},
        body => {rows => ['$each', {key => '{{key}}'}]}, result => {rows => '/results', match => 'order', ok => {path => '/ok', equals => \1}}};
    $t->destination('bulk', {object => {upsert => $batch, delete => $delete}, concurrency => 4});
    $t->sql("CREATE TABLE mart.many AS SELECT i AS id, 'v' || i AS v FROM generate_series(1, 5000) i");
    $t->sync('many', 'mart.many', 'bulk', mode => 'mirror');
    $t->run_is($t->run('many'), {%COUNTS, rows_scanned => 5000, rows_created => 5000, requests => 25, status => 'succeeded'}, '5,000 rows in 25 requests');
    is(scalar keys %{ $t->records }, 5000, '5,000 records');
    $t->sql("DELETE FROM mart.many WHERE id % 10 = 0; UPDATE mart.many SET v = v || '!' WHERE id % 10 = 1; INSERT INTO mart.many SELECT i, 'n' FROM generate_series(5001, 5300) i");
    $t->run_is($t->run('many'), {%COUNTS, rows_scanned => 4800, rows_created => 300, rows_updated => 500, rows_deleted => 500, rows_unchanged => 4000, requests => 8,
            status => 'succeeded'}, 'and a mixed run');
    my $records = $t->records;
    is(scalar keys %$records, 4800, 'the destination has what the model has');
    is_deeply([map { $records->{$_}{v} } 1, 2, 11, 5001], ['v1!', 'v2', 'v11!', 'n'], 'with the new values');
    my $written = $t->admin("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_all_tables WHERE schemaname = 'ondatra' AND relname LIKE 'state\\_%'");
    $t->run_is($t->run('many'), {%COUNTS, rows_scanned => 4800, rows_unchanged => 4800, requests => 0, status => 'succeeded'}, 'an unchanged run');
    is($t->admin("SELECT pg_stat_force_next_flush() IS NOT NULL OR true; SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_all_tables WHERE schemaname = 'ondatra' AND relname LIKE 'state\\_%'")
            =~ s/^t\n//r, $written, 'writes nothing to the state table');
    $t->no_violations;
}
done_testing();
