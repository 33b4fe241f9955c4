# The join of the diff: a hash or a merge join, as the tables are; twins of delivered keys are found out of both.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;

# --- a large table is merged along its index, not hashed
$t->sql('CREATE TABLE mart.large (id int PRIMARY KEY, v int); INSERT INTO mart.large SELECT i, i % 7 FROM generate_series(1, 120000) i');
$t->sql('CREATE TABLE mart.shuffled (id int PRIMARY KEY, v int); INSERT INTO mart.shuffled SELECT i, i % 7 FROM generate_series(1, 120000) i ORDER BY hashint4(i)');
$t->destination('large');
for my $table ('large', 'shuffled') {
    $t->sync($table, "mart.$table", 'large');
    is($t->sql("SELECT ondatra.rebase_sync('$table')"), '120000', "$table: adopted");
    $t->admin("ANALYZE mart.$table; ANALYZE ondatra.state_" . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = '$table'"));
}
my $plan = $t->sql("SELECT * FROM ondatra.explain_sync('large')");
like($plan, qr/^Merge Full Join/, 'two sides in the order of their keys are merged');
unlike($plan, qr/Sort/, 'without sorting');
like($t->sql("SELECT * FROM ondatra.explain_sync('shuffled')"), qr/^Hash Full Join/, 'others are hashed');
$t->run_is($t->run($_), {rows_unchanged => 120000, requests => 0}, "$_: a run finds all of it unchanged") for 'large', 'shuffled';
$t->sql('INSERT INTO mart.large VALUES (0, 0)');
$t->sync('union', 'SELECT * FROM mart.large UNION ALL SELECT id, v FROM mart.large WHERE id = 5', 'large');
is($t->sql("SELECT invalid FROM ondatra.plan_sync('union')"), '2', 'twins among many new keys');

# --- twins, by both joins
my %twins = (int => ['(1, 1), (2, 1), (3, 1)', '(2, 1)'], numeric => ['(1.0, 1), (2, 1), (3, 1)', '(1.00, 1)'], text => ["('x', 1), ('y', 1), ('z', 1)", "('z', 1)"]);
for my $join ('hash', 'merge') {
    my $other = $join eq 'hash' ? 'merge' : 'hash';
    $t->admin("ALTER ROLE ann SET enable_${other}join = off");
    for my $type (sort keys %twins) {
        my ($rows, $twin) = @{ $twins{$type} };
        my $s = "${join}_$type";
        $t->sql("CREATE TABLE mart.$s (id $type, v int); INSERT INTO mart.$s VALUES $rows");
        $t->destination($s);
        $t->sync($s, "mart.$s", $s, mode => 'mirror');
        $t->run_is($t->run($s), {rows_created => 3}, "$join join, $type: delivered");
        like($t->sql("SELECT * FROM ondatra.explain_sync('$s')"), qr/^\u$join Full Join/, "$join join, $type: is one");
        $t->run_is($t->run($s), {rows_unchanged => 3}, "$join join, $type: no twins");
        $t->sql("INSERT INTO mart.$s VALUES $twin");
        $t->run_is($t->run($s), {rows_unchanged => 2, rows_invalid => 2, rows_deleted => 0}, "$join join, $type: twins");
    }
    $t->admin("ALTER ROLE ann RESET enable_${other}join");
}
$t->no_violations('the destination saw nothing wrong');
done_testing();
