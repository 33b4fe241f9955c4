# A destination may be lent: to syncs of a role, or for requests of its own. What is taken back stops at the next run; nobody gets credentials or
# connections of somebody else; a dump keeps grants; dropped roles leave no numbers behind.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new;
my $node = $t->node;
sub as { my ($role, $sql) = @_; return $t->sql_as($role, $sql) }
sub fails {
    my ($role, $sql, $pattern, $name) = @_;
    my ($status, undef, $err) = $t->psql_as($role, $sql);
    return ok($status && $err =~ $pattern, $name) || diag("status $status: $err");
}
$t->admin('CREATE ROLE carl LOGIN; CREATE ROLE team; CREATE ROLE dora LOGIN IN ROLE team; GRANT USAGE ON SCHEMA ondatra TO carl, team; '
    . 'CREATE SCHEMA desk AUTHORIZATION bob; CREATE SCHEMA dora AUTHORIZATION dora');
$t->sql(q{SELECT ondatra.set_secret('token', 'planted t0ken')});
$t->destination('crm', {headers => {'X-Team' => 'sales'}}, auth => {type => 'bearer', token => {secret => 'token'}});
as('bob', 'CREATE TABLE desk.people (id int PRIMARY KEY, v text); INSERT INTO desk.people VALUES (1, $$a$$), (2, $$b$$)');
my $create = q{SELECT ondatra.create_sync('bobs', 'desk.people', 'crm', key => '{id}', options => '{"on_empty": "run"}')};

# --- what nobody was given is not there
fails('bob', $create, qr/destination "crm" does not exist/, 'before the grant the destination does not exist for others');
is(as('bob', 'SELECT count(*) FROM ondatra.destinations'), '0', 'nor does the view show it');
fails('bob', q{SELECT ondatra.grant_destination('crm', 'bob')}, qr/destination "crm" does not exist/, 'nobody gives what is not theirs');
$t->sql_fails(q{SELECT ondatra.grant_destination('crm', 'nobody')}, qr/role "nobody" does not exist/, 'a role that is not there');
$t->sql_fails(q{SELECT ondatra.grant_destination('crm', 'bob', 'all')}, qr/invalid level: "all".*HINT:  Use 'sync'/s, 'a level that is not there');
$t->sql_fails(q{SELECT ondatra.grant_destination('crm', NULL)}, qr/argument "role" must not be NULL/, 'no role');

# --- level sync
$t->sql(q{SELECT ondatra.grant_destination('crm', 'bob')});
is(as('bob', 'SELECT name, owner, auth, options, level FROM ondatra.destinations'), 'crm|ann|||sync', 'the view shows what was granted, and no more');
is($t->sql('SELECT level, options IS NOT NULL FROM ondatra.destinations'), 'owner|t', 'the owner sees all');
is(as($_, 'SELECT destination, owner, role, level FROM ondatra.destination_grants'), 'crm|ann|bob|sync', "$_ sees the grant") for 'ann', 'bob';
is(as('carl', 'SELECT count(*) FROM ondatra.destination_grants'), '0', 'others do not');
as('bob', $create);
is(as('bob', q{SELECT status, rows_created FROM ondatra.run_sync('bobs')}), 'succeeded|2', "a sync of bob's sends with it");
my ($request) = $t->requests(path => '^/contacts/1');
is($request->{headers}{authorization}, 'Bearer planted t0ken', "with the credentials of the destination's owner");
unlike(as('bob', q{SELECT * FROM ondatra.preview_sync('bobs'); SELECT ondatra.resend_sync('bobs'); SELECT * FROM ondatra.preview_sync('bobs')}), qr/t0ken/, 'which it does not show him');
fails('bob', $_, qr/role "bob" may use destination "crm" for syncs only\nHINT:  .*grant_destination\('crm', 'bob', 'request'\)/, "level sync does not allow $_")
    for q{SELECT * FROM ondatra.request('crm', 'GET', '/x')}, q{SELECT * FROM ondatra.fetch('crm', 'x', '{}'::jsonb)}, q{SELECT * FROM ondatra.test_destination('crm')};
fails('bob', $_, qr/role "bob" may use destination "crm", but not change it/, "nor $_")
    for q{SELECT ondatra.update_destination('crm', base_url => 'http://127.0.0.1:1')}, q{SELECT ondatra.drop_destination('crm')}, q{SELECT ondatra.grant_destination('crm', 'carl')},
    q{SELECT ondatra.revoke_destination('crm', 'bob')};
fails('bob', q{SELECT ondatra.create_destination('mine', base_url => 'http://127.0.0.1:1', auth => '{"type": "bearer", "token": {"secret": "token"}}'); SELECT * FROM ondatra.test_destination('mine')},
    qr/secret "token" of role "bob" does not exist/, 'and no destination of his own gets her secret');

# functions of his shape no request that the connector does not make, and read no credentials from an answer
as('bob', q{CREATE FUNCTION desk.elsewhere(jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT '{"method": "DELETE", "path": "/admin/everything"}'::jsonb$$;
    CREATE FUNCTION desk.listen(b jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_build_array(jsonb_build_object('key', b #> '{keys,0}', 'outcome', 'rejected', 'message', b ->> 'headers'))$$});
fails('bob', q{SELECT ondatra.update_sync('bobs', options => '{"render": "desk.elsewhere"}')}, qr/role "bob", the owner of sync "bobs", may use destination "crm" only to send.*any path.*grant_destination\('crm', 'bob', 'request'\)/s,
    'level sync does not allow render, which makes requests to any path');
$t->script({answer => {json => {}, headers => {'X-Echo' => 'Bearer planted t0ken'}}});
as('bob', q{SELECT ondatra.update_sync('bobs', options => '{"parse": "desk.listen"}'), ondatra.resend_sync('bobs')});
as('bob', q{SELECT status FROM ondatra.run_sync('bobs')});
like(as('bob', q{SELECT error_message FROM ondatra.failed_rows LIMIT 1}), qr/"x-echo": "Bearer \*\*\*"/, 'parse sees headers of answers, and no credentials in them');
$t->script({answer => {status => 200}});
as('bob', q{SELECT ondatra.update_sync('bobs', options => '{"parse": null}'), ondatra.retry_failed('bobs')});
as('bob', q{SELECT status FROM ondatra.run_sync('bobs')});

my $before;
# nor do they read what others have there
$t->sql(q{SELECT ondatra.update_destination('crm', options => '{"object": {"list": {"method": "GET", "path": "/contacts", "rows": "/rows", "key": {"id": "/id"}}}}')});
$t->script({method => 'GET', answer => {json => {rows => [{id => 7, v => 'of others'}]}}});
fails('bob', q{SELECT * FROM ondatra.reconcile_sync('bobs')}, qr/may use destination "crm" only to send.*reconcile_sync\(\) reads all records.*grant_destination\('crm', 'bob', 'request'\)/s, 'level sync does not allow reconcile_sync()');
is($t->count_requests(method => 'GET'), 0, 'which asks for nothing then');
is(as('bob', q{SELECT state FROM ondatra.syncs WHERE name = 'bobs'}), 'active', 'and the sync goes on');

# --- level request
$t->sql(q{SELECT ondatra.grant_destination('crm', 'bob', 'request')});
is(as('bob', 'SELECT level FROM ondatra.destinations WHERE name = $$crm$$'), 'request', 'a grant takes the place of the one before');
$t->script({method => 'GET', answer => {status => 200, json => {token => 'planted t0ken', ok => 1}}});
is(as('bob', q{SELECT status, body FROM ondatra.request('crm', 'GET', '/x')}), '200|{"ok": 1, "token": "***"}', 'request() works, and no answer shows the credentials');
is(as('bob', q{SELECT ok FROM ondatra.test_destination('crm')}), 't', 'so does test_destination()');
$t->script({method => 'GET', answer => {json => {rows => [{id => 7, v => 'of others'}]}}});
like(as('bob', q{SELECT key, problem FROM ondatra.reconcile_sync('bobs')}), qr/\{"id": 7\}\|extra/, 'and reconcile_sync()');
$t->script({answer => {status => 200}});

as('bob', q{SELECT ondatra.create_sync('shaped', 'desk.people', 'crm', key => '{id}', options => '{"on_empty": "run", "render": "desk.elsewhere"}')});
is(as('bob', q{SELECT status FROM ondatra.run_sync('shaped', max_rows => 1)}), 'partial', 'and render');
is(($t->requests(last => 1))[0]{path}, '/admin/everything', 'to any path');
$before = $t->count_requests;
$t->sql(q{SELECT ondatra.grant_destination('crm', 'bob')});
is(as('bob', q{SELECT status, error_code FROM ondatra.run_sync('shaped')}), 'failed|42501', 'which stops where the level becomes less');
is($t->count_requests, $before, 'before anything is sent');
as('bob', q{SELECT ondatra.drop_sync('shaped')});

# --- to a role with members
$t->sql(q{SELECT ondatra.grant_destination('crm', 'team')});
as('dora', 'CREATE TABLE dora.t (id int PRIMARY KEY); INSERT INTO dora.t VALUES (1)');
as('dora', q{SELECT ondatra.create_sync('doras', 'dora.t', 'crm')});
is(as('dora', q{SELECT status FROM ondatra.run_sync('doras')}), 'succeeded', "a member of the role that it was granted to");

# --- connections are not shared: what goes out at once for two owners comes over two
$t->reset_destination;
$t->script({method => 'PUT', answer => {misbehave => 'hang'}});
as('bob', q{UPDATE desk.people SET v = 'hang'; SELECT ondatra.resend_sync('bobs'); SELECT ondatra.trigger_sync('bobs')});
as('dora', q{SELECT ondatra.resend_sync('doras'); SELECT ondatra.trigger_sync('doras')});
$t->poll(sub { $t->state->{hanging} >= 2 }, 'requests of both owners hang');
is($t->admin(q{SELECT string_agg(DISTINCT usename, ' ' ORDER BY usename) FROM pg_stat_activity WHERE backend_type = 'ondatra run'}), 'bob dora', 'in processes of their own');
$t->script({answer => {status => 200}});
$t->release;
$t->poll(sub { $t->admin('SELECT count(*) FROM ondatra.run_progress') eq '0' }, 'which end');
my %connections = map { $_->{connection} => 1 } $t->requests(path => '^/contacts/');
cmp_ok(scalar keys %connections, '>=', 2, 'over connections of their own');

# --- taken back
my (undef, undef, $notice) = $t->psql_as('ann', q{SELECT ondatra.revoke_destination('crm', 'bob')});
like($notice, qr/NOTICE:  1 sync may not use the destination any more and stops at its next run/, 'revoke_destination() says what stops');
$before = $t->count_requests;
my $run = as('bob', q{SELECT status, error_code, error_message FROM ondatra.run_sync('bobs')});
is($run, 'failed|42501|role "bob", the owner of sync "bobs", may not use destination "crm"', 'the next run says why');
is(as('bob', q{SELECT state, state_reason FROM ondatra.syncs WHERE name = 'bobs'}), 'error|role "bob", the owner of sync "bobs", may not use destination "crm"', 'and the sync stops');
fails('bob', q{SELECT * FROM ondatra.plan_sync('bobs')}, qr/may not use destination "crm"\nHINT:  .*grant_destination/, 'looking says it, too');
is($t->count_requests, $before, 'nothing was sent');
(undef, undef, $notice) = $t->psql_as('ann', q{SELECT ondatra.revoke_destination('crm', 'bob')});
like($notice, qr/is not granted to role "bob"/, 'twice is no error');
$t->sql(q{SELECT ondatra.grant_destination('crm', 'bob')});
as('bob', q{SELECT ondatra.resume_sync('bobs')});
is(as('bob', q{SELECT status FROM ondatra.run_sync('bobs')}), 'succeeded', 'given back, it goes on');

# --- a dump keeps them, with names
my $dump = "$t->{dir}/dump.sql";
command_ok(['pg_dump', '-f', $dump, '-d', $node->connstr('postgres')], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok(['psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump], 'restore');
is($node->safe_psql('copy', 'SELECT destination, role, level FROM ondatra.destination_grants'), "crm|bob|sync\ncrm|team|sync", 'grants are there');
$node->safe_psql('postgres', 'DROP DATABASE copy');

# --- renamed roles
$t->admin('ALTER ROLE team RENAME TO "The Team"');
is($t->sql(q{SELECT count(*) FROM ondatra.destination_grants WHERE role = '"The Team"'::regrole}), '1', 'a renamed role keeps what it was granted');

# --- dropped roles: nothing keeps a number, here and in other databases
$node->safe_psql('postgres', 'CREATE DATABASE beside');
$node->safe_psql('beside', q{CREATE EXTENSION ondatra; SET ROLE carl; SELECT ondatra.set_secret('s', 'x'), ondatra.create_destination('carls', base_url => 'https://api.example.com'); RESET ROLE;
    SELECT ondatra.grant_destination('carls', 'carl')});
$t->sql(q{SELECT ondatra.grant_destination('crm', 'carl')});
as('carl', q{SELECT ondatra.set_secret('s', 'x'), ondatra.create_destination('carls', base_url => 'https://api.example.com'), ondatra.create_connector('carls', '{"title": "x", "base_url": "https://api.example.com", "objects": {"a": {"key": "id", "upsert": {"method": "PUT", "path": "/{{key}}"}}}}')});
$t->admin('CREATE SCHEMA carl AUTHORIZATION carl');
as('carl', q{CREATE TABLE carl.t (id int PRIMARY KEY); SELECT ondatra.create_sync('carls', 'carl.t', 'carls'), ondatra.pause_sync('carls')});
as('carl', q{SELECT ondatra.run_sync('carls')});
fails($t->superuser, 'DROP SCHEMA carl CASCADE; DROP ROLE carl', qr/cannot be dropped because some objects depend on it.*ondatra\.state_/s, 'a role that owns a sync is not dropped by accident');
my $oid = $t->admin(q{SELECT 'carl'::regrole::oid});
$t->admin('DROP OWNED BY carl; DROP ROLE carl');
for my $database ('postgres', 'beside') {
    $t->poll(sub { $node->safe_psql($database, q{SELECT count(*) FROM ondatra.all_destinations WHERE name = 'carls' AND owner = 0::oid::regrole}) eq '1' }, "$database: nobody owns what a dropped role owned");
    is($node->safe_psql($database, 'SELECT count(*) FROM ondatra.all_secrets WHERE name = $$s$$'), '0', "$database: its secrets are gone");
    command_ok(['pg_dump', '-f', "$dump.$database", '-d', $node->connstr($database)], "$database: pg_dump");
    unlike(Ondatra::Test::slurp("$dump.$database"), qr/\t$oid\t/, "$database: without its number");
}
is($t->admin(q{SELECT count(*) FROM ondatra.all_grants WHERE role::oid NOT IN (SELECT oid FROM pg_roles)}), '0', 'no grant names a role that is not there');
is($t->admin(q{SELECT owner::oid FROM ondatra.all_runs WHERE sync_name = 'carls'}), '0', 'runs are history of nobody');
fails($t->superuser, q{SELECT ondatra.run_sync('carls')}, qr/the role that owns the sync does not exist any more\nHINT:  Drop the sync/, 'its sync does not run');
$t->admin(q{SELECT ondatra.drop_sync('carls'), ondatra.drop_destination('carls'), ondatra.drop_connector('carls')});
is($t->admin(q{SELECT count(*) FROM ondatra.all_syncs WHERE name = 'carls'}), '0', 'and a superuser can drop what it left');

# --- drop_destination takes the grants along
as('bob', q{SELECT ondatra.drop_sync('bobs')});
as('dora', q{SELECT ondatra.drop_sync('doras')});
$t->sql(q{SELECT ondatra.drop_destination('crm')});
is($t->admin('SELECT count(*) FROM ondatra.all_grants'), '0', 'a dropped destination leaves no grants');
$t->no_violations;
done_testing;
