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
$t->admin('CREATE EXTENSION citext SCHEMA public') if my $citext = $t->admin("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'");
my @types = (
    $citext ? ['public.citext', "'Ann'", "'ann '"] : (),
    ['int2', 1, 2], ['int4', 1, 2], ['int8', '9223372036854775806', '9223372036854775807'], ['numeric', '1.50', '2'], ['bool', 'true', 'false'], ['oid', 1, 2],
    ['uuid', "'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"], ['date', "'2026-01-01'", "'2026-01-02'"],
    ['timestamp', "'2026-01-01 10:00'", "'2026-01-01 10:00:00.5'"], ['timestamptz', "'2026-01-01 10:00+02'", "'2026-01-02'"], ['bytea', "'\\x00ff'", "'\\x01'"],
    ['text', "'a/b?c#d'", "'it''s \"ü😀\" 100%'"], ['varchar', "'..a'", "'two words'"], ['mart.mood', "'good'", "'bad'"], ['mart.code', "'x'", "'y'"], ['inet', "'10.0.0.1'", "'::1'"],
    ['char(5)', "'ab'", "'c'"], ['text', q{E'line\n\ttab\r'}, q{'{"json": [1]}'}], ['text', "'%2F%00'", "'null'"], ['interval', "'1 day'", "'24 hours'"], ['timetz', "'10:00+02'", "'10:00+01'"],
    ['"char"', "'x'", "'y'"], ['name', "'n'", "'m'"], ['bit(3)', "B'101'", "B'111'"], ['numeric', '-0.000000000000000000000000001', '1e40']);
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
    # a refused version, found by its key: retried, discarded
    $t->run($s);
    $t->sql("UPDATE mart.$s SET v = -1 WHERE v = 10");
    $t->script({method => 'PUT', json => {'/v' => -1}, answer => {status => 422}});
    $t->run_is($t->run($s), {rows_failed => 1, rows_unchanged => 1}, "$name: a refused version");
    my $key = ($t->failed_rows($s))[0]{key};
    is($t->sql("SELECT (ondatra.explain_row('$s', " . Ondatra::Test::literal($key) . ")->'failure') IS NOT NULL"), 't', "$name: explained with its failure");
    $t->sql("SELECT ondatra.pause_sync('$s')");
    is($t->sql("SELECT ondatra.retry_failed('$s', " . Ondatra::Test::literal($key) . ')'), '1', "$name: released by its key");
    $t->run_is($t->run($s), {rows_failed => 1, requests => 1}, "$name: and sent again");
    is($t->sql("SELECT ondatra.discard_failed('$s', " . Ondatra::Test::literal([$key]) . ')'), '1', "$name: discarded by its key");
    $t->run_is($t->run($s), {rows_held_back => 1, requests => 0}, "$name: and not sent any more");
    $t->script();
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

# Equal is what the type says: 1.0 and 1.00 are twins, 'A' and 'a' are not, whatever the collation of the column.
$t->reset_destination;
$t->sql('CREATE TABLE mart.num (id numeric, v int); INSERT INTO mart.num VALUES (1.0, 1), (1.00, 2), (1, 3), (10, 4), (100, 5), (0, 6), (0.00, 7), (-0.5, 8)');
$t->destination('num');
$t->sync('num', 'mart.num', 'num', mode => 'mirror');
$t->run_is($t->run('num'), {rows_scanned => 8, rows_invalid => 5, rows_created => 3, status => 'partial'}, 'numeric twins with other digits');
like(join(';', map { $_->{error_message} } $t->failed_rows('num')), qr/2 rows have \(id\)=\(0.*3 rows have \(id\)=\(1/, 'are counted as one key each');
$t->sql('DELETE FROM mart.num WHERE v IN (2, 3, 7)');
$t->run_is($t->run('num'), {rows_created => 2, rows_unchanged => 3, status => 'succeeded'}, 'alone they go');
$t->sql('INSERT INTO mart.num VALUES (1.000, 9), (10.0, 10)');
$t->run_is($t->run('num'), {rows_invalid => 4, rows_unchanged => 3, rows_deleted => 0}, 'twins of delivered ones are invalid, too');
$t->sql('DELETE FROM mart.num WHERE v IN (1, 4)');
$t->run_is($t->run('num'), {rows_updated => 2, rows_unchanged => 3, rows_deleted => 0}, 'the other twin stays: the same key, with other digits');
$t->sql("CREATE COLLATION mart.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)") if my $icu = $t->admin("SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i'") eq 't';
for my $collation ($icu ? 'mart.blind' : (), '"C"', '"POSIX"') {
    my $s = 'k' . ++$n;
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.$s (id text COLLATE $collation, v int); INSERT INTO mart.$s VALUES ('a', 1), ('A', 2), ('\x{e9}', 3), ('e\x{301}', 4), ('a', 5)");
    $t->destination($s);
    $t->sync($s, "SELECT * FROM mart.$s", $s, mode => 'mirror');
    $t->run_is($t->run($s), {rows_created => 3, rows_invalid => 2}, "collation $collation: bytes make a key");
    $t->sql("DELETE FROM mart.$s WHERE v IN (3, 5)");
    $t->run_is($t->run($s), {rows_created => 1, rows_unchanged => 2, rows_deleted => 1}, "collation $collation: the right one is deleted");
    is($t->records->{A}{v}, 2, "collation $collation: its twin in another case is there");
}

# Duplicates in an insert-ordered sync, among given keys, and in several columns.
$t->reset_destination;
$t->sql("CREATE TABLE mart.dup2 (a int, b text, v int); INSERT INTO mart.dup2 VALUES (1, 'x', 1), (1, 'x', 2), (1, 'y', 3), (11, '', 4), (1, '1', 5)");
$t->sync('dup2', 'SELECT * FROM mart.dup2 ORDER BY v DESC', 'two', key => ['a', 'b'], mode => 'insert');
$t->run_is($t->run('dup2', keys => {a => 1, b => 'x'}), {rows_scanned => 2, rows_invalid => 2, requests => 0}, 'twins among given keys');
$t->run_is($t->run('dup2', keys => {a => 1, b => 'y'}), {rows_scanned => 1, rows_created => 1}, 'others are not touched by them');
$t->run_is($t->run('dup2'), {rows_scanned => 5, rows_invalid => 2, rows_created => 2, rows_unchanged => 1}, 'twins among all');
$t->sql("INSERT INTO mart.dup2 VALUES (1, 'y', 6)");
$t->run_is($t->run('dup2', keys => {a => 1, b => 'y'}), {rows_scanned => 2, rows_invalid => 2, requests => 0}, 'twins of a delivered key among given keys');
is($t->sql("SELECT ondatra.explain_row('dup2', '{\"a\": 1, \"b\": \"y\"}')->>'verdict'"), 'invalid', 'explain_row knows a twin');

# --- limits
{
    my $random = "(SELECT string_agg(chr(33 + (random() * 90)::int), '') FROM generate_series(1, %d + 0 * g))";
    my @eight = map { "k$_" . 'x' x 61 } 1 .. 8;
    $t->reset_destination;
    $t->destination('long', {object => {upsert => {method => 'POST', path => '/contacts', body => {id => '{{n}}', v => '{{v}}'}}}});
    $t->sql('CREATE TABLE mart.eight AS SELECT g AS n, 1 AS v, ' . join(', ', map { my $i = $_; sprintf("$random AS \"%s\"", $i < 7 ? 250 : $i == 7 ? 245 : 240, $eight[$i]) } 0 .. 7)
        . ' FROM generate_series(1, 3) g');
    $t->sync('eight', 'mart.eight', 'long', key => \@eight);
    $t->run_is($t->run('eight'), {rows_created => 3, status => 'succeeded'}, 'eight columns of long names with nearly 2,000 bytes');
    $t->run_is($t->run('eight'), {rows_unchanged => 3}, 'are found again');
    $t->sql("UPDATE mart.eight SET v = 2, \"$eight[0]\" = \"$eight[0]\" || '" . 'y' x 30 . "'");
    my $run = $t->run('eight');
    $t->run_is($run, {rows_invalid => 3, status => 'partial'}, 'over 2,000 bytes in all: invalid');
    like(($t->failed_rows('eight'))[0]{error_message}, qr/the key has 2\d\d\d bytes, at most 2000 are possible/, 'with the reason');
    $t->sql_fails("SELECT ondatra.create_sync('nine', 'mart.nine', 'long', key => '{a,b,c,d,e,f,g,h,i}')", qr/mart.nine/, 'a model that is not there');
    $t->sql('CREATE TABLE mart.nine (a int, b int, c int, d int, e int, f int, g int, h int, i int)');
    $t->sql_fails("SELECT ondatra.create_sync('nine', 'mart.nine', 'long', key => '{a,b,c,d,e,f,g,h,i}')", qr/9 columns.*8|destination/, 'nine columns');
    $t->sql('CREATE TABLE mart.large (n serial, id text, v int)');
    $t->sql("INSERT INTO mart.large (id, v) SELECT " . sprintf($random, 2000) . ", 1 FROM generate_series(1, 2) g; INSERT INTO mart.large (id, v) SELECT repeat('\x{fc}', 1001), 1; INSERT INTO mart.large (id, v) SELECT "
        . sprintf($random, 100000) . ', 1 FROM generate_series(1, 2) g');
    $t->sync('large', 'SELECT n, id, v FROM mart.large', 'long');
    $t->run_is($t->run('large'), {rows_created => 2, rows_invalid => 3, status => 'partial'}, '2,000 bytes go, 2,002 and 100,000 do not');
}

# --- values of a key without a JSON form: invalid, and never deleted
$t->reset_destination;
$t->sql("CREATE TABLE mart.inf (id date, v int); INSERT INTO mart.inf VALUES ('infinity', 1), ('-infinity', 2), ('0044-03-15 BC', 3), ('2026-01-01', 4)");
$t->destination('inf');
$t->sync('inf', 'mart.inf', 'inf', mode => 'mirror', mapping => '{"v": "v"}');
$t->run_is($t->run('inf'), {rows_created => 1, rows_invalid => 3, status => 'partial'}, 'infinite dates as keys');
$t->sql("CREATE TABLE mart.nan (id numeric, v int); INSERT INTO mart.nan VALUES ('NaN', 1), ('Infinity', 2), (3, 3)");
$t->sync('nan', 'mart.nan', 'inf', mapping => '{"v": "v"}');
$t->run_is($t->run('nan'), {rows_created => 1, rows_invalid => 2, status => 'partial'}, 'NaN as a key');

# --- keys that name nothing
$t->sql_fails("SELECT ondatra.explain_row('dup2', '{\"c\": 1}')", qr/"c" is not a column of the sync's key.*HINT.*"a".*"b"/s, 'explain_row with another column');
$t->sql_fails("SELECT ondatra.$_('dup2', '{\"a\": 1}')", qr/must name each column.*HINT.*"a".*"b"/s, "$_ with a part of the key") for qw(explain_row retry_failed discard_failed);
$t->sql_fails("SELECT ondatra.explain_row('dup2', '{\"a\": \"x\", \"b\": \"y\"}')", qr/invalid input syntax for type integer: "x"/, 'explain_row with a value of another type');

# --- refused
$t->sql('CREATE TYPE mart.pair AS (a int, b int)');
for my $type ("'{1}'::int[]", "'[1,2)'::int4range", "ROW(1)", "ROW(1, 2)::mart.pair", "'{}'::jsonb", "'{}'::json", '1.5::float8', '1.5::float4', "'{[1,2)}'::int4multirange") {
    $t->sql_fails(q{SELECT ondatra.create_sync('x', } . Ondatra::Test::literal("SELECT $type AS id") . q{, 'dup', key => '{id}')}, qr/cannot be part of the key/, "$type cannot be a key");
}
$t->sql_fails("SELECT ondatra.create_sync('x', 'SELECT 1::$_ AS id', 'dup', key => '{id}')", qr/has type $_.*HINT.*[Cc]ast/s, "$_ cannot be a key") for qw(money regclass);
done_testing();
