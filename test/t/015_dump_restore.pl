# pg_dump and restore keep syncs, runs, failed rows and state: the copy has nothing to send. DROP EXTENSION takes everything along.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new;
my $node = $t->node;
$t->sql(q{CREATE TABLE mart.people (id int PRIMARY KEY, email text, poison text)});
$t->sql(q{INSERT INTO mart.people SELECT i, 'u' || i || '@example.com', CASE WHEN i = 7 THEN 'yes' END FROM generate_series(1, 20) i});
$t->destination('crm');
$t->sync('people', 'mart.people', 'crm', mode => 'mirror');
$t->run_is($t->run('people'), {status => 'partial', rows_created => 19, rows_failed => 1}, 'one row is refused');

my $dump = "$t->{dir}/dump.sql";
command_ok(['pg_dump', '-f', $dump, '-d', $node->connstr('postgres')], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok(['psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump], 'restore into another database');
is($node->safe_psql('copy', 'SELECT name, state, owner FROM ondatra.syncs'), 'people|active|ann', 'the sync is there, with its owner');
is($node->safe_psql('copy', 'SELECT status, rows_created, rows_failed FROM ondatra.sync_runs'), 'partial|19|1', 'its run');
is($node->safe_psql('copy', 'SELECT key, error_class FROM ondatra.failed_rows'), '{"id": 7}|rejected', 'its failed row');
is($node->safe_psql('copy', q{SELECT creates, updates, deletes, unchanged, held_back FROM ondatra.plan_sync('people')}), '0|0|0|19|1', 'and nothing to send');

my $before = $t->count_requests;
like($node->safe_psql('copy', 'SELECT armed, reason FROM ondatra.arming'), qr/^f\|It was armed as the database with OID/, 'but it may not send');
$node->safe_psql('copy', q{SELECT ondatra.arm('trust')});
is($node->safe_psql('copy', q{SELECT status, rows_scanned, rows_unchanged, rows_held_back, requests FROM ondatra.run_sync('people')}), 'succeeded|20|19|1|0',
    'a run by hand in the copy finds everything as it was');
is($t->count_requests, $before, 'and sends nothing');
is($node->safe_psql('copy', q{SELECT count(*) FROM ondatra.sync_runs}), '2', 'its number does not collide with the old one');
is($node->safe_psql('copy', q{SELECT has_table_privilege('bob', c.oid, 'SELECT') FROM pg_class c WHERE relname = 'state_1'}), 'f', 'others still may not read the state');

my ($dropped, undef, $why) = $node->psql('postgres', 'DROP EXTENSION ondatra');
is($dropped, 0, 'nothing of ours is in the way of DROP EXTENSION') or diag($why);
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'ondatra'}), '0',
    'DROP EXTENSION takes the state tables along');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_namespace WHERE nspname = 'ondatra'}), '0', 'and the schema');
is($node->safe_psql('postgres', q{CREATE EXTENSION ondatra; SELECT count(*) FROM ondatra.syncs}), '0', 'it can be created again');
done_testing();
