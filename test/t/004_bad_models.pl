# Models and rows that go wrong: what is wrong with a row stays with the row; what is wrong with the model stops the sync, with the reason.

use strict;
use warnings FATAL => 'all';
use utf8;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $n = 0;
$t->destination('api', {});
$t->destination('posts', {object => {upsert => {method => 'PUT', path => '/contacts/{{key}}'}}});

sub table {
    my ($columns, $rows) = @_;
    my $name = 'm' . ++$n;
    $t->reset_destination;
    $t->sql("CREATE TABLE mart.$name ($columns)");
    $t->sql("INSERT INTO mart.$name $rows") if $rows;
    return $name;
}

# The run is a failure that a person understands, and nothing was sent. A model that cannot be right again by itself stops the sync; goes_on: what
# depends on the data may be over with the next run.
sub stops {
    my ($sync, $pattern, $name, %want) = @_;
    my $before = $t->count_requests;
    my $run = $t->run($sync);
    is($run->{status}, 'failed', "$name: the run fails");
    like(join("\n", grep { defined } @$run{qw(error_message error_detail)}), $pattern, "$name: and says why");
    is($t->count_requests, $before, "$name: nothing is sent");
    my $state = $t->sql("SELECT state FROM ondatra.syncs WHERE name = '$sync'");
    $want{goes_on} ? isnt($state, 'error', "$name: the sync goes on") : is($state, 'error', "$name: the sync stops");
    return $run;
}

# --- rows: each is invalid alone, the others go
{
    my $m = table('id int, v float8, name text', "VALUES (1, 1.5, 'a'), (2, 'NaN', 'b'), (3, 'Infinity', 'c'), (4, 2, 'd'), (4, 3, 'e'), (NULL, 4, 'f'), (5, 5, 'g')");
    $t->sync($m, "mart.$m", 'api');
    my $run = $t->run($m);
    $t->run_is($run, {status => 'partial', rows_scanned => 7, rows_created => 2, rows_invalid => 5, rows_failed => 0, requests => 2}, 'NaN, infinity, twins and NULL keys are invalid, the others go');
    is_deeply([sort keys %{ $t->records }], [1, 5], 'exactly the sound rows are there');
    my %why = map { $t->json_of($_->{key}) => $_ } $t->failed_rows($m);
    like($why{'{"id":2}'}{error_message}, qr/"?v"?.*NaN|NaN.*"?v"?/, 'the reason names the field with NaN');
    like($why{'{"id":3}'}{error_message}, qr/\bv\b.*infinit/i, 'and the one with infinity');
    like($why{'{"id":4}'}{error_message}, qr/duplicate key/, 'and the duplicate key');
    is($why{$_}{error_class}, 'invalid', "$_ is invalid") for sort keys %why;
    $t->sql("UPDATE mart.$m SET v = 0 WHERE id IN (2, 3)");
    $run = $t->run($m);
    $t->run_is($run, {rows_created => 2, rows_unchanged => 2, rows_invalid => 3}, 'mended rows go');
    $t->no_violations;
}

# Invalid rows are present: mirror does not delete them.
{
    my $m = table('id int, v float8', 'SELECT i, i FROM generate_series(1, 3) i');
    $t->sync($m, "mart.$m", 'api', mode => 'mirror');
    is($t->run($m)->{rows_created}, 3, 'three rows are delivered');
    $t->sql("UPDATE mart.$m SET v = 'NaN' WHERE id = 1; INSERT INTO mart.$m VALUES (2, 2)");
    my $run = $t->run($m);
    $t->run_is($run, {rows_invalid => 3, rows_deleted => 0, rows_unchanged => 1}, 'one is NaN now, one has a twin: invalid, not gone');
    is(scalar keys %{ $t->records }, 3, 'nothing is deleted');
}

# --- keys that a path has to survive
{
    my @keys = ('plain', 'a/b', 'q?x=1&y', '#frag', '100%', '"quoted"', "it's", 'back\\slash', 'sp ace', 'ünïcödé', '🦫', 'a+b', '../up', '..', '.', "tab\there", ';semi', '{{id}}', 'x' x 1500);
    my $m = table('id text PRIMARY KEY, v int');
    $t->sql("INSERT INTO mart.$m VALUES (" . Ondatra::Test::literal($_) . ', 1)') for @keys;
    $t->sync($m, "mart.$m", 'api');
    my $run = $t->run($m);
    is($run->{rows_scanned}, scalar @keys, 'keys: all read');
    is($run->{rows_created} + $run->{rows_invalid}, scalar @keys, 'keys: delivered or invalid');
    my $there = $t->records;
    my %invalid = map { $_->{key}{id} => 1 } $t->failed_rows($m);
    ok($invalid{$_}, "keys: $_ is not a path piece: invalid") for '.', '..';
    for my $key (grep { !/^\.\.?$/ } @keys) {
        my $name = substr($key, 0, 20) =~ s/([^ -~])/sprintf '\\x{%x}', ord $1/ger;
        ok(exists $there->{$key}, "keys: arrives as it is: $name");
    }
    is(scalar keys %$there, $run->{rows_created}, 'keys: and no other record came to be');
    $t->no_violations('keys: nothing wrong at the destination');
}

# A key of more than 2,000 bytes; an empty one.
{
    my $m = table('id text, v int', "VALUES (repeat('k', 2001), 1), ('', 2), ('fine', 3)");
    $t->sync($m, "mart.$m", 'api');
    my $run = $t->run($m);
    $t->run_is($run, {rows_created => 1, rows_invalid => 2}, 'a key that is too long, an empty path piece: invalid');
    $t->no_violations;
}

# --- values
{
    my $m = table('id int PRIMARY KEY, v text', q{VALUES (1, E'\x01\x02\x1f\x7f'), (2, E'line\nbreak\ttab "quote" \\\\ back'), (3, '🦫 \u0000 ünï'), (4, repeat('0123456789', 100000)), (5, ''), (6, NULL), (7, '{{v}} {{key}}'), (8, '</script>')});
    $t->sync($m, "mart.$m", 'api');
    my $run = $t->run($m);
    $t->run_is($run, {status => 'succeeded', rows_created => 8}, 'control characters, quotes, 1 MB: all go');
    my $there = $t->records;
    is($there->{1}{v}, "\x01\x02\x1f\x7f", 'control characters');
    is($there->{2}{v}, "line\nbreak\ttab \"quote\" \\ back", 'breaks, quotes, backslashes');
    is($there->{3}{v}, '🦫 \u0000 ünï', 'emoji, and text that looks like an escape');
    is(length $there->{4}{v}, 1_000_000, '1 MB');
    is($there->{5}{v}, '', 'an empty string');
    ok(exists $there->{6}{v} && !defined $there->{6}{v}, 'NULL is null');
    is($there->{7}{v}, '{{v}} {{key}}', 'templates in data are data');
    $t->no_violations;
    is($t->run($m)->{requests}, 0, 'and all of them are unchanged then');
}
{
    my $m = table('id int PRIMARY KEY, big numeric, i8 bigint, ts timestamptz, d date, b bytea, j jsonb, a int[], flag boolean',
        q{VALUES (1, 12345678901234567890.1234567890, 9223372036854775807, '2026-03-01 12:00:00+02', '2026-03-01', '\xdeadbeef', '{"b": [1, 2.50], "a": null}', '{1,NULL,3}', true)});
    $t->sync($m, "mart.$m", 'api');
    $t->run($m);
    my ($request) = $t->requests(method => 'PUT');
    like($request->{body}, qr/"big":12345678901234567890\.1234567890[,}]/, 'numeric digit for digit');
    like($request->{body}, qr/"i8":9223372036854775807[,}]/, 'bigint digit for digit');
    like($request->{body}, qr/"ts":"2026-03-01T10:00:00(\.0+)?(Z|\+00:00)"/, 'timestamps in UTC');
    like($request->{body}, qr/"d":"2026-03-01"/, 'dates');
    like($request->{body}, qr{"b":"3q2\+7w=="}, 'bytea as base64');
    is_deeply($request->{json}{j}, {b => [1, 2.5], a => undef}, 'jsonb as it is');
    is_deeply($request->{json}{a}, [1, undef, 3], 'arrays');
    $t->no_violations;
}

# --- the model is not what it was
{
    my $m = table('id int PRIMARY KEY, v text', "VALUES (1, 'a')");
    $t->sql("CREATE VIEW mart.v$m AS SELECT * FROM mart.$m");
    $t->sync($m, "mart.v$m", 'api');
    is($t->run($m)->{rows_created}, 1, 'a view');
    $t->sql("DROP VIEW mart.v$m");
    my $run = stops($m, qr/v$m/, 'the model is dropped');
    is(scalar keys %{ $t->records }, 1, 'and what it delivered stays');
}
{
    my $m = table('id int PRIMARY KEY, v text, w text', "VALUES (1, 'a', 'b')");
    $t->sync($m, "mart.$m", 'api', mapping => '{"v": "v", "w": "w"}');
    $t->run($m);
    $t->sql("ALTER TABLE mart.$m DROP COLUMN w");
    stops($m, qr/w/, 'a column is dropped');
}
{
    my $m = table('id int PRIMARY KEY, v int', 'VALUES (1, 1)');
    $t->sync($m, "mart.$m", 'api');
    $t->run($m);
    $t->sql("ALTER TABLE mart.$m ALTER v TYPE text");
    stops($m, qr/v.*(integer|text)/s, 'a column is retyped');
}
{
    my $m = table('id int PRIMARY KEY, v int', 'VALUES (1, 1)');
    $t->sync($m, "mart.$m", 'api');
    $t->run($m);
    $t->sql("ALTER TABLE mart.$m RENAME id TO number");
    stops($m, qr/id/, 'the key is gone');
}
{
    my $m = table('id int PRIMARY KEY, v int', 'SELECT i, i FROM generate_series(1, 500) i');
    $t->sql("CREATE VIEW mart.v$m AS SELECT id, 100 / (v - 250) AS v FROM mart.$m ORDER BY id");
    $t->sync($m, "mart.v$m", 'api');
    my $run = stops($m, qr/division by zero/, 'a view that raises in the middle', goes_on => 1);
    is($run->{rows_created}, 0, 'no row of it is delivered');
    $t->sql("DELETE FROM mart.$m WHERE v = 250");
    is($t->run($m)->{rows_created}, 499, 'once it is mended, everything is');
}
{
    my $m = table('id int PRIMARY KEY, v int', 'VALUES (1, 1)');
    $t->sql("CREATE FUNCTION mart.slow(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN 1; END'");
    $t->sql("CREATE VIEW mart.v$m AS SELECT id, mart.slow(v) AS v FROM mart.$m");
    $t->sync($m, "mart.v$m", 'api', options => {statement_timeout => '200 ms'});
    stops($m, qr/timeout/, 'a statement timeout', goes_on => 1);
}
{
    my $m = table('id int PRIMARY KEY, v int', 'VALUES (1, 1)');
    $t->sql_fails("SELECT ondatra.create_sync('x', 'mart.nothing', 'api', key => '{id}')", qr/nothing/, 'a model that does not exist');
    $t->sql_fails("SELECT ondatra.create_sync('x', 'SELECT 1 AS id; DROP TABLE mart.$m', 'api', key => '{id}')", qr/one SELECT|single|exactly one/i, 'two statements');
    $t->sql_fails("SELECT ondatra.create_sync('x', 'DELETE FROM mart.$m RETURNING id', 'api', key => '{id}')", qr/SELECT/, 'a statement that is no SELECT');
    $t->sql_fails("SELECT ondatra.create_sync('x', 'WITH d AS (DELETE FROM mart.$m RETURNING id) SELECT id FROM d', 'api', key => '{id}')", qr/./, 'a SELECT that writes');
    is($t->sql("SELECT count(*) FROM mart.$m"), '1', 'nothing was deleted');
    $t->sql("CREATE FUNCTION mart.writes() RETURNS int LANGUAGE sql AS 'DELETE FROM mart.$m RETURNING id'");
    $t->sync($m, "SELECT id, mart.writes() AS w FROM mart.$m", 'api');
    stops($m, qr/read-only/, 'a model whose function writes', goes_on => 1);
    is($t->sql("SELECT count(*) FROM mart.$m"), '1', 'nothing was deleted then either');
}

# --- owners. Each has a role, a destination and a sync of its own.
sub owned {
    my ($role) = @_;
    $t->reset_destination;
    $t->admin("CREATE ROLE $role LOGIN; GRANT USAGE ON SCHEMA ondatra, mart TO $role; CREATE TABLE mart.$role AS SELECT 1 AS id, 'x' AS v; GRANT SELECT ON mart.$role TO $role");
    $t->sql_as($role, "SELECT ondatra.create_destination('$role', base_url => '" . $t->url . "', options => '" . $t->json_of({object => Ondatra::Test::put_object()}) . "')");
    $t->sql_as($role, "SELECT ondatra.create_sync('$role', 'mart.$role', '$role', key => '{id}')");
    return;
}

# The run of another role's sync, asked for with trigger_sync by the owner or a superuser; its row, once it has finished.
sub triggered {
    my ($role) = @_;
    my $last = $t->admin("SELECT coalesce(max(run_id), 0) FROM ondatra.sync_runs");
    $t->admin("SELECT ondatra.trigger_sync('$role')");
    my $row = '';
    $t->poll(sub { $row = $t->admin("SELECT to_json(r) FROM ondatra.sync_runs r WHERE run_id > $last AND sync_name = '$role' AND finished_at IS NOT NULL LIMIT 1") }, "$role: the run is recorded")
        or return {};
    my $run = JSON::PP->new->utf8->decode($row);
    $t->check_counts($run->{run_id});
    return $run;
}
{
    owned('carl');
    is(triggered('carl')->{status}, 'succeeded', 'a sync of another role');
    $t->admin('REVOKE SELECT ON mart.carl FROM carl; UPDATE mart.carl SET v = $$y$$');
    my $run = triggered('carl');
    is($run->{status}, 'failed', 'an owner without rights');
    like($run->{error_message}, qr/permission denied/, 'with the reason');
    is($t->count_requests, 1, 'sends nothing');
}
{
    owned('dora');
    is(triggered('dora')->{status}, 'succeeded', 'a sync of a role that can log in');
    $t->admin('ALTER ROLE dora NOLOGIN; UPDATE mart.dora SET v = $$y$$');
    my $run = triggered('dora');
    if ($t->node->pg_version >= 17) {
        is($run->{status}, 'succeeded', 'an owner who may not log in: from 17 on the run goes on all the same');
    } else {
        is($run->{status}, 'failed', 'an owner who may not log in');
        like($run->{error_message}, qr/log in|LOGIN/i, 'with the reason');
        is($t->count_requests, 1, 'sends nothing');
    }
}
{
    owned('emil');
    is(triggered('emil')->{status}, 'succeeded', 'a sync of a role that will go');
    $t->admin('DROP OWNED BY emil; DROP ROLE emil');
    my $sent = $t->count_requests;
    my $run = triggered('emil');
    isnt($run->{status}, 'succeeded', 'an owner who is gone');
    like($run->{error_message}, qr/owner|role/, 'with the reason');
    is($t->count_requests, $sent, 'sends nothing');
}
is($t->sql('SELECT 1'), '1', 'the server is well');
unlike(Ondatra::Test::slurp($t->node->logfile), qr/was terminated by signal|PANIC|server process .* exited with exit code (?![01])/, 'and no process crashed');
done_testing();
