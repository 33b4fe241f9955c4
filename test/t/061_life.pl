# Life with PostgreSQL: keys are replaced, roles give away what they own, everything gets another name, every setting is changed while the server runs,
# a synchronous standby is missing.

use strict;
use warnings FATAL => 'all';
use Ondatra::Sessions;
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $t = Ondatra::Test->new(conf => "wal_level = replica\nmax_wal_senders = 4");
my $node = $t->node;
my $wait = "timeout => interval '60 s'";
sub status { my ($name, $role) = @_; return $t->sql_as($role || 'ann', "SELECT status FROM ondatra.run_sync('$name', $wait)") }
sub place { return $t->sql("SELECT state, state_reason FROM ondatra.syncs WHERE name = '$_[0]'") }

$t->sql(q{CREATE TABLE mart.people (id int PRIMARY KEY, email text); INSERT INTO mart.people SELECT i, 'u' || i FROM generate_series(1, 10) i});
$t->sql(q{SELECT ondatra.set_secret('token', 'planted-one'), ondatra.set_secret('client', 'planted-two')});
$t->destination('crm', undef, auth => {type => 'bearer', token => {secret => 'token'}});
$t->sync('people', 'mart.people', 'crm');
is(status('people'), 'succeeded', 'a sync with a secret');

# --- another key
my $key_file = $node->data_dir . '/ondatra.key';
my $old_key = Ondatra::Test::slurp($key_file);
sub write_key {
    my ($text) = @_;
    unlink "$key_file.new";
    append_to_file("$key_file.new", $text);
    chmod 0600, "$key_file.new" and rename "$key_file.new", $key_file or die "$key_file: $!";
}
$t->script({path => '/token', answer => {status => 200, json => {access_token => 'planted-three', expires_in => 3600}}}, {answer => {status => 200}});
$t->destination('tokens', undef, auth => {type => 'oauth2_client_credentials', token_url => $t->url . '/token', client_id => 'me', client_secret => {secret => 'client'}});
is($t->sql(q{SELECT ok FROM ondatra.test_destination('tokens')}), 't', 'an access token was fetched');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE EXTENSION ondatra; SET ROLE bob; SELECT ondatra.set_secret('bobs', 'x')});
sub sealed { return $t->admin(q{SELECT string_agg(encode(value, 'hex'), ' ' ORDER BY name) FROM ondatra.all_secrets}) . ' ' . $t->admin(q{SELECT encode(token, 'hex') FROM ondatra.all_tokens}) }
sub key_ids { my %ids = map { substr($_, 2, 8) => 1 } split / /, sealed(); return join ' ', sort keys %ids }
my $old_id = key_ids();
like($old_id, qr/^[0-9a-f]{8}$/, 'one key encrypted all');
my $new_key = ('0123456789abcdef' x 4) . "\n";
write_key($new_key . $old_key);
$t->sql_fails('SELECT ondatra.reencrypt_secrets()', qr/permission denied to encrypt the secrets of all roles/, 'not everybody may encrypt them anew');
is($t->sql(q{SELECT ok FROM ondatra.test_destination('crm')}), 't', 'both keys in the file: what the old one encrypted can be read');
$t->sql(q{SELECT ondatra.set_secret('fresh', 'x')});
isnt(key_ids(), $old_id, 'the first one encrypts');
is($t->admin('SELECT ondatra.reencrypt_secrets()'), '3', 'two secrets and a token are encrypted anew');
is($t->admin('SELECT ondatra.reencrypt_secrets()'), '0', 'once');
unlike(key_ids(), qr/$old_id| /, 'with the new key all');
write_key($new_key);
is(status('people'), 'succeeded', 'without the old key runs go on');
is($t->sql(q{SELECT ok FROM ondatra.test_destination('tokens')}), 't', 'tokens, too');
is($t->count_requests(path => '/token'), 1, 'the token is the one that was stored');
my (undef, $none, $warning) = $node->psql('other', 'SELECT ondatra.reencrypt_secrets()');
is($none, '0', 'a database that was forgotten');
like($warning, qr/WARNING:  secret "bobs" stays as it is: secret "bobs" cannot be decrypted\nDETAIL:  It was encrypted with another key/, 'says what it cannot read');
write_key($new_key . $old_key);
is($node->safe_psql('other', 'SELECT ondatra.reencrypt_secrets()'), '1', 'and is served with both keys again');
write_key("$new_key\nnonsense\n");
$t->sql_fails(q{SELECT * FROM ondatra.test_destination('crm')}, qr/key file "ondatra.key" does not hold a key/, 'a line that is no key');
write_key($new_key);
$node->safe_psql('postgres', 'DROP DATABASE other');

# --- names
$t->admin('CREATE DATABASE moved');
$node->safe_psql('moved', q{CREATE EXTENSION ondatra; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); GRANT SELECT ON t TO ann; SET ROLE ann;
    SELECT ondatra.create_destination('d', base_url => '} . $t->url . q{'), ondatra.create_sync('s', 't', 'd', schedule => '1 second')});
ok($node->poll_query_until('moved', q{SELECT count(*) > 1 FROM ondatra.sync_runs WHERE status = 'succeeded'}), 'a sync of another database');
$node->safe_psql('moved', q{SELECT ondatra.pause_sync('s')});
$t->poll(sub { my ($failed) = $node->psql('postgres', 'ALTER DATABASE moved RENAME TO "Moved Once"'); $failed == 0 }, 'which gets another name');
is($node->safe_psql('Moved Once', 'SELECT armed FROM ondatra.arming'), 't', 'it may send under it');
$node->safe_psql('Moved Once', q{SELECT ondatra.resume_sync('s')});
my $last = $node->safe_psql('Moved Once', 'SELECT max(run_id) FROM ondatra.sync_runs');
ok($node->poll_query_until('Moved Once', "SELECT count(*) > 1 FROM ondatra.sync_runs WHERE run_id > $last AND status = 'succeeded'"), 'and does');
$node->safe_psql('postgres', 'DROP DATABASE "Moved Once" WITH (FORCE)');

for my $change (
    ['a table', 'ALTER TABLE mart.people RENAME TO persons', 'ALTER TABLE mart.persons RENAME TO people', qr/"mart\.people" does not exist/],
    ['a schema', 'ALTER SCHEMA mart RENAME TO shop', 'ALTER SCHEMA shop RENAME TO mart', qr/"mart\.people" does not exist/],
    ['a column', 'ALTER TABLE mart.people RENAME COLUMN email TO mail', 'ALTER TABLE mart.people RENAME COLUMN mail TO email', qr/email/],
    ['the key', 'ALTER TABLE mart.people RENAME COLUMN id TO no', 'ALTER TABLE mart.people RENAME COLUMN no TO id', qr/\bid\b/],
    ['a right', 'REVOKE SELECT ON mart.people FROM ann', 'GRANT SELECT ON mart.people TO ann', qr/permission denied for table people/]) {
    my ($what, $do, $undo, $reason) = @$change;
    my $before = $t->count_requests(path => '/contacts');
    $t->admin($do);
    is(status('people'), 'failed', "$what changes: the next run fails");
    like(place('people'), qr/^error\|.*$reason/, "$what changes: the sync stops, and says why");
    is($t->count_requests(path => '/contacts'), $before, "$what changes: nothing is sent");
    $t->admin($undo);
    $t->sql(q{SELECT ondatra.resume_sync('people')});
    is(status('people'), 'succeeded', "$what is as it was: it goes on");
}
$t->admin('ALTER ROLE ann RENAME TO "Ann B."');
is(status('people', 'Ann B.'), 'succeeded', 'the owner gets another name');
$t->admin('ALTER ROLE "Ann B." RENAME TO ann');

# --- REASSIGN OWNED, DROP OWNED
$t->admin('REASSIGN OWNED BY ann TO bob');
is(status('people'), 'failed', 'her tables are given away: her sync may not read them');
like(place('people'), qr/^error\|permission denied for (table people|schema mart)/, 'and says so');
is($t->sql('SELECT count(*) FROM ondatra.syncs WHERE owner = $$ann$$::regrole'), '1', 'it is still hers');
$t->admin('GRANT USAGE ON SCHEMA mart TO ann; GRANT SELECT ON mart.people TO ann');
$t->sql(q{SELECT ondatra.resume_sync('people')});
is(status('people'), 'succeeded', 'given the right, it goes on');
$t->admin('DROP OWNED BY ann');
$t->admin('GRANT USAGE ON SCHEMA mart, ondatra TO ann; GRANT SELECT ON mart.people TO ann');
is(status('people'), 'failed', 'DROP OWNED takes the right on the state table');
like($t->sql(q{SELECT state || ' ' || state_reason || ' ' || r.error_detail FROM ondatra.syncs s JOIN ondatra.sync_runs r ON r.run_id = s.last_run_id WHERE s.name = 'people'}),
    qr/^error role "ann", the owner of sync "people", may not read its state table DROP OWNED .*ondatra\.resume_sync/, 'which the reason says');
$t->sql(q{SELECT ondatra.resume_sync('people')});
my $before = $t->count_requests(path => '/contacts');
is(status('people'), 'succeeded', 'resume_sync() gives it back');
is($t->count_requests(path => '/contacts'), $before, 'and nothing that was delivered is lost');

# --- every setting, while it runs
$t->admin('ALTER SCHEMA mart OWNER TO ann; ALTER TABLE mart.people OWNER TO ann');
$t->sql(q{SELECT ondatra.update_sync('people', schedule => '1 second')});
is($t->admin(q{SELECT string_agg(name || ': ' || short_desc, E'\n') FROM pg_settings WHERE name LIKE 'ondatra.%' AND short_desc !~ '^[A-Z][A-Za-z0-9_.,()'' -]+[.]$'}), '',
    'what settings are for can be read in every session');
my @settings = map { [split /\|/, $_, -1] } split /\n/, $t->admin(q{SELECT name, context, vartype, setting, coalesce(min_val, ''), coalesce(max_val, '') FROM pg_settings WHERE name LIKE 'ondatra.%' ORDER BY 1});
cmp_ok(scalar @settings, '>', 12, 'the settings');
my %values = ('ondatra.allowed_hosts' => '127.0.0.1, localhost, db.internal', 'ondatra.key_file' => $key_file, 'ondatra.ca_file' => '/etc/ssl/certs/ca-certificates.crt', 'ondatra.log_requests' => 'all');
for my $setting (@settings) {
    my ($name, $context, $type, $present, $min, $max) = @$setting;
    my $value = $values{$name} // ($name eq 'ondatra.enabled' ? 'on' : $type eq 'bool' ? ($present eq 'on' ? 'off' : 'on')
        : $type =~ /int|real/ ? ($present eq $max ? $min : $present + 1) : $type eq 'enum' ? $present : 'another, x');
    $t->admin("ALTER SYSTEM SET $name = " . ($type eq 'string' && $name =~ /hosts|secret/ ? join(', ', map { "'$_'" } split /, /, $value) : "'$value'"));
    $t->admin('SELECT pg_reload_conf()');
    $t->poll(sub { $t->admin("SELECT pending_restart OR setting <> '$present' OR '$value' IN ('$present', 'on') FROM pg_settings WHERE name = '$name'") eq 't' },
        "$name: " . ($context eq 'postmaster' ? 'waits for a restart' : 'counts after a reload'));
}
$last = $t->admin('SELECT max(run_id) FROM ondatra.all_runs');
$t->poll_sql("SELECT count(*) > 1 FROM ondatra.sync_runs WHERE run_id > $last", 't', 'runs go on with all of them');
$t->admin('ALTER SYSTEM RESET ALL');
$node->restart;
is($t->admin('SELECT armed FROM ondatra.arming'), 't', 'after a restart');
is($t->admin(q{SELECT count(*) FROM pg_settings WHERE name LIKE 'ondatra.%' AND pending_restart}), '0', 'everything is as it was');
is(status('people'), 'succeeded', 'and runs');
$t->sql(q{SELECT ondatra.update_sync('people', schedule => 'manual')});
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'rest');

# --- a synchronous standby that is not there: commits wait, nothing is lost or sent twice, and what is to end ends
$t->reset_destination;
$t->script({answer => {status => 200}});
$t->sql(q{UPDATE mart.people SET email = 'synchronous'; SELECT ondatra.resend_sync('people')});
$t->admin(q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()});
# somebody's commit shows that it counts
my $first = session($t, 'ann', 'CREATE TABLE mart.probe ()');
my $waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
$t->poll(sub { is_running($first) && $t->admin("SELECT count(*) $waiting") eq '1' }, 'commits wait');
$t->sql(q{SET synchronous_commit = local; SELECT ondatra.trigger_sync('people')});
$t->poll(sub { $t->admin("SELECT count(*) $waiting AND backend_type LIKE 'ondatra%'") ne '0' }, 'a process of ours waits for the standby');
is($t->count_requests(path => '/contacts'), 0, 'before anything goes out');
is($t->sql(q{SET synchronous_commit = local; SELECT count(*) FROM ondatra.sync_status}), '1', 'looking goes on');
my $began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 10, 'a fast shutdown does not wait for it');
$node->append_conf('postgresql.auto.conf', "synchronous_standby_names = ''");
$node->start;
$t->poll_sql(q{SELECT count(*) FROM ondatra.sync_runs WHERE finished_at IS NULL}, '0', 'after it no run is left open');
$t->poll(sub { $t->count_requests(path => '/contacts', method => 'PUT') >= 10 }, 'and what was to be sent is');
is(status('people'), 'succeeded', 'for good');
is($t->count_requests(path => '/contacts', method => 'PUT'), 10, 'every row once');
$t->no_violations;
done_testing;
