# What a row becomes: forms of a mapping, paths, templates, expressions, NULLs; what the version covers; what has no JSON form.

use strict;
use warnings FATAL => 'all';
use Digest::SHA ();
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $n = 0;

# A sync over one query with this mapping, run once; the body that arrived for the key 1.
sub body_of {
    my ($query, $mapping, $name) = @_;
    my $s = 'm' . ++$n;
    $t->reset_destination;
    $t->destination($s);
    $t->sync($s, $query, $s, defined $mapping ? (mapping => $mapping) : ());
    $t->run_is($t->run($s), {status => 'succeeded', rows_created => 1}, "$name: delivered");
    my ($request) = $t->requests(method => 'PUT', path => '^/contacts/1$');
    $t->no_violations("$name: the destination saw nothing wrong");
    return $request->{body};
}

is(body_of("SELECT 1 AS id, 'a' AS b, 'x' AS a", undef, 'no mapping'), '{"id":1,"b":"a","a":"x"}', 'every column under its name');
is(body_of("SELECT 1 AS id, 'e' AS email, 'p' AS plan", '{"plan": "plan", "Email": "email"}', 'object'), '{"Email":"e","plan":"p"}', 'in the order of the columns');
is(body_of("SELECT 1 AS id, 'e' AS email, 'p' AS plan", '[{"source": "plan", "destination": "Plan"}, {"source": "email", "destination": "Email"}]', 'list'),
    '{"Plan":"p","Email":"e"}', 'a list keeps its order');
is(body_of("SELECT 1 AS id, 'p' AS plan, 3 AS t0, 4 AS t1", '{"properties.plan": "plan", "tags[0]": "t0", "tags[1]": "t1", "\"a.b\"": {"const": {"x": [1, null]}}}', 'paths'),
    '{"properties":{"plan":"p"},"tags":[3,4],"a.b":{"x":[1,null]}}', 'paths make a tree');
is(body_of("SELECT 1 AS id, 'Ann' AS name, 'x{{id}}' AS odd", '{"t": {"template": "Hi {{name|upper}}: {{odd}}"}, "s": {"sql": "lower(name) || 2"}}', 'template and sql'),
    '{"s":"ann2","t":"Hi ANN: x{{id}}"}', 'templates expand once, expressions are the owner\'s SQL');
is(body_of('SELECT 1 AS id, NULL::text AS a, NULL::text AS b', '{"a": "a", "b": {"column": "b", "null": "omit"}}', 'NULL'), '{"a":null}', 'NULL is sent or left out');
is(body_of("SELECT 1 AS id, 12345678901234567890.10::numeric AS n, 9223372036854775807 AS i, '{\"b\" : 1.50}'::json AS j, '{1,NULL}'::int[] AS arr, ROW(1, 'x') AS r",
        '{"n": "n", "i": "i", "j": "j", "arr": "arr"}', 'numbers'),
    '{"n":12345678901234567890.10,"i":9223372036854775807,"j":{"b" : 1.50},"arr":[1,null]}', 'digit for digit, json as it is');
my $digits = '1234567890' x 30 . '.' . '0987654321' x 70;
is(body_of("SELECT 1 AS id, $digits AS n, -9223372036854775808 AS i, -0.00::numeric(9, 2) AS z, 5e-324::float8 AS f, '-0'::float8 AS m", '{"n": "n", "i": "i", "z": "z", "f": "f", "m": "m"}', 'more numbers'),
    qq({"n":$digits,"i":-9223372036854775808,"z":0.00,"f":5e-324,"m":-0}), 'a thousand digits, and the ends of the ranges');
$t->sql("CREATE TYPE mart.mood AS ENUM ('good', 'not \"so\" good'); CREATE DOMAIN mart.amount AS numeric CHECK (value >= 0); CREATE TYPE mart.line AS (sku text, price mart.amount, moods mart.mood[])");
is(body_of(q{SELECT 1 AS id, 'not "so" good'::mart.mood AS e, 1.50::mart.amount AS d, ARRAY[ROW('a', 2.0, '{good,NULL}')::mart.line, NULL] AS c, '{{1,2},{3,4}}'::mart.amount[] AS m},
        '[{"source": "e", "destination": "e"}, {"source": "d", "destination": "d"}, {"source": "c", "destination": "c"}, {"source": "m", "destination": "m"}]', 'user types'),
    '{"e":"not \"so\" good","d":1.50,"c":[{"sku":"a","price":2.0,"moods":["good",null]},null],"m":[[1,2],[3,4]]}', 'enums by label, domains as their base type, composites and arrays nested');
is(body_of("SELECT 1 AS id, NULL::text AS a, 'x' AS b", '{"t[0]": {"column": "a", "null": "omit"}, "t[1]": "b", "o.a": {"column": "a", "null": "omit"}, "o.b": {"column": "a"}, '
        . '"m": {"template": "Hi {{a}}", "null": "omit"}, "n": {"template": "Hi {{a}}", "null": "send"}}', 'NULL in places'),
    '{"o":{"b":null},"t":[null,"x"],"n":null}', 'left out of an object, null in an array; a template that lacks its value as it was said');
is(body_of("SELECT 1 AS id, timestamptz '2026-01-02 03:04:05+02' AS at, ' Ann ' AS name", '{"a": {"template": "{{at|epoch}}"}, "b": {"template": "{{name|trim|lower}}-{{name|trim|sha256}}"}, "c": {"const": "{{name}}"}}',
        'filters'), '{"a":"1767315845","b":"ann-' . Digest::SHA::sha256_hex('Ann') . '","c":"{{name}}"}', 'filters of templates; a constant is no template');
is(body_of("SELECT 1 AS id, 2 AS a", '{"a": {"sql": "(SELECT a + id -- q\n)"}, "b": {"sql": "a) + (id"}, "c": {"sql": "(SELECT max(x) FROM generate_series(1, a) x)"}, "d": {"sql": "\'\\\\\'\'\"\'"}}', 'expressions'),
    '{"a":3,"b":3,"c":2,"d":"\\\\\'\""}', 'an expression may be a subquery, end in a comment, hold quotes');
$t->admin("ALTER ROLE ann SET TimeZone = 'Asia/Tokyo'; ALTER ROLE ann SET DateStyle = 'German'; ALTER ROLE ann SET bytea_output = 'escape'; ALTER ROLE ann SET IntervalStyle = 'sql_standard'");
is(body_of("SELECT 1 AS id, '2026-03-01 12:00+00'::timestamptz AS t, date '2026-03-01' AS d, '\\x00ff'::bytea AS b, interval '1 day' AS i",
        '{"t": "t", "d": "d", "b": "b", "i": "i"}', 'settings of the role'),
    '{"t":"2026-03-01T12:00:00Z","d":"2026-03-01","b":"AP8=","i":"P1D"}', 'do not show');

# --- the version
$t->reset_destination;
$t->sql('CREATE TABLE mart.v (id int PRIMARY KEY, a text, seen int)');
$t->sql("INSERT INTO mart.v VALUES (1, 'x', 1)");
$t->destination('v');
$t->sync('v', 'SELECT id, a, seen FROM mart.v', 'v', mapping => '{"a": "a", "seen": {"column": "seen", "detect": false}}');
$t->run('v');
$t->sql('UPDATE mart.v SET seen = 2');
$t->run_is($t->run('v'), {rows_unchanged => 1, requests => 0}, 'a field with "detect": false is sent, but changes nothing');
$t->sql("SELECT ondatra.update_sync('v', model => 'SELECT seen::bigint AS seen, a::varchar AS a, id FROM mart.v')");
$t->run_is($t->run('v'), {rows_unchanged => 1, requests => 0}, 'order of columns, int width and text type change nothing');
$t->sql(q{SELECT ondatra.update_sync('v', mapping => '{"A": "a"}')});
$t->run_is($t->run('v'), {rows_updated => 1}, 'another name is another version');

$t->sql("UPDATE mart.v SET a = NULL");
$t->run_is($t->run('v'), {rows_updated => 1}, 'NULL is another version');
$t->sql("UPDATE mart.v SET a = ''");
$t->run_is($t->run('v'), {rows_updated => 1}, 'so is the empty text');
$t->sql(q{SELECT ondatra.update_sync('v', mapping => '{"A": {"column": "a", "null": "omit"}}')});
$t->run_is($t->run('v'), {rows_unchanged => 1}, 'another way to write the same field is not');
$t->sql("UPDATE mart.v SET a = NULL");
$t->run_is($t->run('v'), {rows_updated => 1}, 'a field that is left out is another version than the empty one');
$t->sql(q{SELECT ondatra.update_sync('v', mapping => '{"A": "a"}')});
$t->run_is($t->run('v'), {rows_updated => 1}, 'and than NULL');
$t->sql(q{SELECT ondatra.update_sync('v', mapping => '[{"destination": "A", "source": {"column": "a"}}]')});
$t->run_is($t->run('v'), {rows_unchanged => 1}, 'the list form is the same version');
$t->sql(q{ALTER TABLE mart.v RENAME a TO b; SELECT ondatra.update_sync('v', model => 'mart.v', mapping => '{"A": "b"}')});
$t->run_is($t->run('v'), {rows_unchanged => 1}, 'a column has another name: the field has not');

# A table's columns in another order; settings of the role between two runs.
$t->reset_destination;
$t->sql("CREATE TABLE mart.w (id int PRIMARY KEY, at timestamptz, d date, i interval, f float8, b bytea, v text); INSERT INTO mart.w VALUES (1, '2026-01-02 03:04:05.6', '2026-01-02', '1 day 2 hours', 0.1, '\\x00', 'v')");
$t->destination('w');
$t->sync('w', 'mart.w', 'w', mapping => 'null');
$t->sync('w2', 'mart.w', 'w');
$t->sync('w3', 'SELECT id, at::text AS at, d::text AS d, i::text AS i, to_char(at, $$TZ$$) AS z FROM mart.w', 'w');
$t->run($_) for qw(w w2 w3);
$t->admin("ALTER ROLE ann SET TimeZone = 'America/St_Johns'; ALTER ROLE ann SET DateStyle = 'Postgres, MDY'; ALTER ROLE ann SET IntervalStyle = 'postgres_verbose'; "
    . "ALTER ROLE ann SET extra_float_digits = -15; ALTER ROLE ann SET bytea_output = 'hex'");
$t->run_is($t->run($_), {rows_unchanged => 1}, "$_: settings of the role do not change versions") for qw(w w2 w3);
$t->admin('ALTER ROLE ann RESET ALL');
$t->sql("BEGIN; CREATE TABLE mart.w_new AS SELECT v, b, f, i, d, at, id FROM mart.w; DROP TABLE mart.w; ALTER TABLE mart.w_new RENAME TO w; COMMIT");
$t->run_is($t->run('w'), {rows_unchanged => 1}, 'nor does another order of the columns in the table');
my ($h1, $h2) = map { $t->sql("SELECT ondatra.explain_row('$_', '{\"id\": 1}')->>'hash'") } 'w', 'w2';
ok(length $h1 && $h1 ne $h2, 'two syncs have different hashes of the same row: each has its seed');
is($t->sql("SELECT ondatra.explain_row('w', '{\"id\": 1}')->>'hash'"), $h1, 'and each its own, always');
is($t->sql("SELECT ondatra.row_hash('{a,b}', 1::int2, 'x'::text) = ondatra.row_hash('{b,a}', 'x'::varchar(9), 1::int8)"), 't', 'row_hash does not depend on the order, nor on widths');
is($t->sql("SELECT ondatra.row_hash('{a,b}', 1, 'x'::text)"), $t->admin("SET TimeZone = 'Asia/Tokyo'; SELECT ondatra.row_hash('{a,b}', 1, 'x'::text)") =~ s/^SET\n//r, 'is stable');
is($t->sql("SELECT count(DISTINCT h) FROM (VALUES (ondatra.row_hash('{a}', NULL::text)), (ondatra.row_hash('{a}', ''::text)), (ondatra.row_hash('{a,b}', ''::text, NULL::text)), "
    . "(ondatra.row_hash('{ab}', ''::text)), (ondatra.row_hash('{a}', 'null'::text)), (ondatra.row_hash('{a}', 1)), (ondatra.row_hash('{a}', '1'::text))) v(h)"), '7', 'NULL, empty, missing, text and number differ');

# --- what cannot be sent
my $bad = sub { my ($query, $mapping, $pattern, $name) = @_;
    my $s = 'm' . ++$n;
    $t->destination($s);
    $t->sync($s, $query, $s, defined $mapping ? (mapping => $mapping) : ());
    $t->run_is($t->run($s), {status => 'partial', rows_invalid => 1, rows_created => 1, requests => 1}, "$name: one row is invalid, the other goes");
    like(($t->failed_rows($s))[0]{error_message}, $pattern, "$name: the reason names the field");
};
$bad->("SELECT i AS id, CASE i WHEN 1 THEN 'NaN'::float8 ELSE 1 END AS f FROM generate_series(1, 2) i", undef, qr/^f is NaN/, 'NaN');
$bad->("SELECT i AS id, CASE i WHEN 1 THEN 'infinity'::timestamptz ELSE '2026-01-01' END AS at FROM generate_series(1, 2) i", undef, qr/^at is infinite/, 'infinity');
$bad->("SELECT i AS id, CASE i WHEN 2 THEN 'x' END AS name FROM generate_series(1, 2) i", '{"t": {"template": "Hi {{name}}"}}', qr/"t" needs column "name"/, 'template');

# --- wrong mappings are refused at once
my $refused = sub { my ($mapping, $pattern, $name) = @_;
    $t->sql_fails(q{SELECT ondatra.create_sync('x', 'SELECT 1 AS id, 2 AS a', 'v', key => '{id}', mapping => } . Ondatra::Test::literal($mapping) . ')', $pattern, $name) };
$refused->('{"x": "b"}', qr/column "b" of the mapping does not exist.*\n.*columns id, a/s, 'unknown column');
$refused->('{"x": {"sql": "1) x, (SELECT 2"}}', qr/not one expression|syntax error/, 'an expression that closes its parenthesis');
$refused->('{"x": {"sql": "a) FROM pg_class WHERE (true"}}', qr/not one expression|syntax error/, 'an expression with a clause');
for my $hostile ('a); DROP TABLE mart.v; SELECT (1', 'a) FROM (SELECT 1) z --', 'a) UNION SELECT (1', 'a) LIMIT (1', 'a) ORDER BY (1', 'a) GROUP BY (a', 'a) INTO mart.t2 FROM (VALUES (1)) x (y', 'a /*',
    "'", '"', 'a)', '(a', '*', '$1', 'a b c', 'a WHERE true', '') {
    $refused->($t->json_of({x => {sql => $hostile}}), qr/ERROR: .*(not one expression|syntax error|unterminated|there is no parameter|is not a text|at or near)/, "sql: $hostile");
}
$refused->('{"x": {"sql": "generate_series(1, a)"}}', qr/"x" in the mapping returns a set.*HINT/s, 'an expression that makes rows');
$refused->('{"x": {"sql": "unnest(NULL::int[])"}}', qr/"x" in the mapping returns a set/, 'an expression that loses rows');
$refused->('{"x": {"sql": "count(*)"}}', qr/"x" in the mapping is an aggregate.*HINT/s, 'an aggregate');
$refused->('{"x": {"sql": "nothing"}}', qr/column "nothing" does not exist/, 'an expression over a column that is not there');
$refused->('[{"source": "a", "destination": "x"}, {"source": "id", "destination": "x"}]', qr/collides/, 'a target twice');
$refused->('[{"source": "a"}]', qr/item 0 of the mapping has no "source" and "destination"/, 'a list item without a target');
$refused->('{"x": {"column": "a", "const": 1}}', qr/exactly one of/, 'two sources');
$refused->('{"x": 1}', qr/neither a text nor an object/, 'a number as a source');
$refused->('{"x": {"template": "{{b}}"}}', qr/column "b" of the template of "x" does not exist/, 'a template over a column that is not there');
$refused->('{"x": {"template": "{{a|shout}}"}}', qr/shout/, 'a filter that is not there');
$refused->('"a"', qr/mapping/, 'a text');
$refused->('{"a": "a", "a.b": "a"}', qr/collides/, 'a place that is two things');
$refused->('{"t[1]": "a"}', qr/collides/, 'an array with a gap');
$refused->('{"x": {"column": "a", "nul": "omit"}}', qr/unknown member "nul"/, 'unknown member');
$refused->('{"x": {"template": "{{a"}}', qr/./, 'an unclosed template');
$refused->('{}', qr/no fields/, 'an empty mapping');
is($t->sql("SELECT count(*) FROM ondatra.syncs WHERE name = 'x'"), '0', 'nothing half-created stays');
done_testing();
