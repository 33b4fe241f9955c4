# Keys: every type that may be one, odd texts in URLs, several columns, duplicates, NULLs, and what is refused.

use strict;
use warnings FATAL => 'all';
use utf8;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $n = 0;
$t->sql("CREATE TYPE mart.mood AS ENUM ('good', 'bad'); CREATE DOMAIN mart.code AS varchar(20) CHECK (value <> '')");

# Two rows with these key expressions: created, unchanged, one updated by a canary with its key, both explained and deleted.
my @types = (
    ['int2', 1, 2], ['int4', 1, 2], ['int8', '9223372036854775806', '9223372036854775807'], ['numeric', '1.50', '2'], ['bool', 'true', 'false'], ['oid', 1, 2],
    ['uuid', "'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"], ['date', "'2026-01-01'", "'2026-01-02'"],
    ['timestamp', "'2026-01-01 10:00'", "'2026-01-01 10:00:00.5'"], ['timestamptz', "'2026-01-01 10:00+02'", "'2026-01-02'"], ['bytea', "'\\x00ff'", "'\\x01'"],
    ['text', "'a/b?c#d'", "'it''s \"ü😀\" 100%'"], ['varchar', "'..a'", "'two words'"], ['mart.mood', "'good'", "'bad'"], ['mart.code', "'x'", "'y'"], ['inet', "'10.0.0.1'", "'::1'"]);
for my $type (@types) {
    my ($name, @values) = @$type;
    my $s = 'k' . ++$n;
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.$s (id $name, v int); INSERT INTO mart.$s VALUES (" . join('), (', map { "$values[$_]::$name, $_" } 0, 1) . ')');
    $t->destination($s);
    $t->sync($s, "mart.$s", $s, mode => 'mirror');
    $t->run_is($t->run($s), {status => 'succeeded', rows_created => 2}, "$name: created");
    is(scalar keys %{ $t->records }, 2, "$name: two records");
    $t->run_is($t->run($s), {rows_unchanged => 2, requests => 0}, "$name: found again");
    my ($request) = grep { $_->{path} } $t->requests(method => 'PUT');
    $t->sql("UPDATE mart.$s SET v = v + 10");
    my $preview = ($t->rows("SELECT keys->0 AS key FROM ondatra.preview_sync('$s', 1)"))[0]{key};
    $t->run_is($t->run($s, keys => $preview), {rows_scanned => 1, rows_updated => 1, requests => 1}, "$name: its key as JSON finds the row");
    is($t->sql("SELECT ondatra.explain_row('$s', " . Ondatra::Test::literal($preview) . ")->>'verdict'"), 'unchanged', "$name: and explains it");
    $t->sql("DELETE FROM mart.$s");
    $t->run_is($t->run($s), {rows_deleted => 2, requests => 2}, "$name: deleted");
    is(scalar keys %{ $t->records }, 0, "$name: nothing is left");
    $t->no_violations("$name: no violation");
}

# --- odd paths
$t->reset_destination;
$t->sql("CREATE TABLE mart.odd (id text, v int); INSERT INTO mart.odd VALUES ('', 1), ('.', 1), ('..', 1), ('a/../b', 1), ('ok', 1), (repeat('x', 2001), 1), (NULL, 1)");
$t->destination('odd');
$t->sync('odd', 'mart.odd', 'odd');
$t->run_is($t->run('odd'), {status => 'partial', rows_scanned => 7, rows_created => 2, rows_invalid => 5}, 'empty, . and .. pieces, oversize keys and NULL are invalid');
is(join(' ', sort map { $_->{path} } $t->requests(method => 'PUT')), '/contacts/a%2F..%2Fb /contacts/ok', 'a slash in a key stays in its piece');

# --- several columns
$t->reset_destination;
$t->destination('two', {object => {upsert => {method => 'PUT', path => '/contacts/{{key.a}}-{{key.b}}'}, delete => {method => 'DELETE', path => '/contacts/{{key.a}}-{{key.b}}'}}});
$t->sql("CREATE TABLE mart.two (a int, b text, v int); INSERT INTO mart.two VALUES (1, 'x', 1), (1, 'y', 1), (2, 'x', 1), (3, NULL, 1)");
$t->sync('two', 'mart.two', 'two', key => ['a', 'b'], mode => 'mirror');
$t->run_is($t->run('two'), {rows_created => 3, rows_invalid => 1}, 'two columns; NULL in one of them is invalid');
$t->sql("DELETE FROM mart.two WHERE b = 'y'");
$t->run_is($t->run('two', keys => [{a => 1, b => 'x'}, {a => 1, b => 'y'}]), {rows_scanned => 1, rows_unchanged => 1, rows_deleted => 1}, 'keys of a canary: one is gone');
$t->run_is($t->run('two'), {rows_unchanged => 2, rows_invalid => 1, rows_deleted => 0}, 'the others stay');

# --- duplicates
$t->reset_destination;
$t->sql('CREATE TABLE mart.dup (id int, v int); INSERT INTO mart.dup SELECT i, 1 FROM generate_series(1, 5) i');
$t->destination('dup');
$t->sync('dup', 'mart.dup', 'dup', mode => 'mirror');
$t->run_is($t->run('dup'), {rows_created => 5}, 'no duplicates');
$t->sql('INSERT INTO mart.dup VALUES (1, 1), (2, 9), (6, 1), (6, 2), (6, 3)');
$t->run_is($t->run('dup'), {status => 'partial', rows_scanned => 10, rows_unchanged => 3, rows_invalid => 7, requests => 0}, 'equal twins, unequal twins, new triplets: all invalid, nothing deleted');
is(join('; ', map { $_->{error_message} } $t->failed_rows('dup')), join('; ', 'duplicate key: 2 rows have (id)=(1)', 'duplicate key: 2 rows have (id)=(2)', 'duplicate key: 3 rows have (id)=(6)'),
    'each with its count');
$t->run_is($t->run('dup'), {rows_invalid => 7, requests => 0}, 'and again');
$t->sql('DELETE FROM mart.dup WHERE (id, v) IN ((2, 9), (6, 1), (6, 2)); DELETE FROM mart.dup WHERE ctid IN (SELECT min(ctid) FROM mart.dup WHERE id = 1)');
$t->run_is($t->run('dup'), {status => 'succeeded', rows_scanned => 6, rows_unchanged => 5, rows_created => 1}, 'gone: the others are as they were');
is(scalar $t->failed_rows('dup'), 0, 'and nothing is listed');

# --- refused
for my $type ("'{1}'::int[]", "'[1,2)'::int4range", "ROW(1)", "'{}'::jsonb", '1.5::float8') {
    $t->sql_fails(q{SELECT ondatra.create_sync('x', } . Ondatra::Test::literal("SELECT $type AS id") . q{, 'dup', key => '{id}')}, qr/cannot be part of the key/, "$type cannot be a key");
}
done_testing();
