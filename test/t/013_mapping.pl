# What a row becomes: forms of a mapping, paths, templates, expressions, NULLs; what the version covers; what has no JSON form.

use strict;
use warnings FATAL => 'all';
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
$refused->('{"a": "a", "a.b": "a"}', qr/collides/, 'a place that is two things');
$refused->('{"t[1]": "a"}', qr/collides/, 'an array with a gap');
$refused->('{"x": {"column": "a", "nul": "omit"}}', qr/unknown member "nul"/, 'unknown member');
$refused->('{"x": {"template": "{{a"}}', qr/./, 'an unclosed template');
$refused->('{}', qr/no fields/, 'an empty mapping');
is($t->sql("SELECT count(*) FROM ondatra.syncs WHERE name = 'x'"), '0', 'nothing half-created stays');
done_testing();
