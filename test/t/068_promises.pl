# Promises about reading and sending that the tests of single features do not watch: the snapshot a model is read in, HOT updates, what is recorded when a
# commit fails, limits that meet. doc/promises.md lists them all.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my $t = Ondatra::Test->new;
sub state_of { my ($sync) = @_; return 'ondatra.state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = '$sync'") }
sub now { return clock_gettime(CLOCK_MONOTONIC) }

# --- how a model is read: with a destination of somebody else's, lent
$t->admin(q{SELECT ondatra.create_destination('lent', base_url => '} . $t->url . q{', options => '{"object": {"upsert": {"method": "PUT", "path": "/contacts/{{key}}"}}}')});
$t->admin(q{SELECT ondatra.grant_destination('lent', 'ann')});
$t->sync('reading', q{SELECT 1 AS id, current_setting('transaction_isolation') AS isolation, current_setting('transaction_read_only') AS read_only,
    session_user || ' ' || current_user AS users, (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'ondatra run') AS runs}, 'lent');
$t->run_is($t->run('reading'), {status => 'succeeded', rows_created => 1}, 'a model that tells how it is read');
my $seen = $t->records->{1};
is($seen->{isolation}, 'repeatable read', 'one snapshot');
is($seen->{read_only}, 'on', 'nothing can be written');
is($seen->{users}, 'ann ann', 'as the owner of the sync, not of the destination');

# --- the state table
$t->reset_destination;
$t->sql("CREATE TABLE mart.hot (id int PRIMARY KEY, v text); INSERT INTO mart.hot SELECT i, 'v' FROM generate_series(1, 20) i");
$t->destination('hot', {object => {upsert => {method => 'PUT', path => '/contacts/{{key}}', result => {id => '/id'}}}});
$t->sync('hot', 'mart.hot', 'hot');
$t->run('hot');
$t->sql("UPDATE mart.hot SET v = 'w'");
$t->run_is($t->run('hot'), {status => 'succeeded', rows_updated => 20}, 'twenty rows are updated');
my $hot = state_of('hot');
$t->poll_sql("SELECT n_tup_upd || ' ' || n_tup_hot_upd FROM pg_stat_all_tables WHERE relid = '$hot'::regclass", '20 20', 'updates of state rows are HOT');
is($t->admin("SELECT count(*) FROM pg_index WHERE indrelid = '$hot'::regclass AND indisprimary"), $t->admin("SELECT count(*) FROM pg_index WHERE indrelid = '$hot'::regclass"), 'their only index is the key');
is($t->admin("SELECT count(_remote_id) FROM $hot"), '20', 'ids are kept');
$t->script({answer => {status => 204}});
$t->sql("UPDATE mart.hot SET v = 'x' WHERE id = 1");
$t->run_is($t->run('hot'), {rows_updated => 1}, 'an answer without an id');
is($t->admin("SELECT count(_remote_id) FROM $hot"), '20', 'the id of the create is still there');
is($t->sql(q{SELECT count(DISTINCT h) FROM (VALUES (ondatra.row_hash('{id,v}', 1, 'x'::text)), (ondatra.row_hash('{id,v}', 2, 'x'::text)), (ondatra.row_hash('{id,v}', 1, 'y'::text))) v (h)}), '3',
    'row_hash covers every value');

# --- a commit that fails because of one row
$t->reset_destination;
$t->sql("CREATE TABLE mart.chunk (id int PRIMARY KEY, v text); INSERT INTO mart.chunk SELECT i, 'v' FROM generate_series(1, 20) i");
$t->destination('chunk', {object => {upsert => {method => 'POST', path => '/batch', batch => {rows => 20}, body => ['$each', '$fields']}}});
$t->sync('chunk', 'mart.chunk', 'chunk');
$t->run_is($t->run('chunk'), {rows_created => 20, requests => 1}, 'twenty rows in one request');
my $chunk = state_of('chunk');
$t->admin("ALTER TABLE $chunk ADD CONSTRAINT refuses CHECK (k1 <> 7) NOT VALID");
$t->sql("UPDATE mart.chunk SET v = 'w'");
my $run = $t->run('chunk');
$t->run_is($run, {status => 'failed', rows_updated => 19, rows_pending => 1, requests => 1}, 'a chunk that cannot be committed is recorded row by row');
like($run->{error_message}, qr/^answers could not be recorded: .*"refuses"/, 'and the run says why');
$t->admin("ALTER TABLE $chunk DROP CONSTRAINT refuses");
$t->run_is($t->run('chunk'), {status => 'succeeded', rows_updated => 1, rows_unchanged => 19}, 'the next run sends the one that is not known to be there');

# --- how long a key in doubt waits by default
$t->reset_destination;
$t->sql("CREATE TABLE mart.waits (id int PRIMARY KEY, v text); INSERT INTO mart.waits VALUES (1, 'A')");
$t->destination('waits', {timeout_ms => 500, retry => {attempts => 1}});
$t->sync('waits', 'mart.waits', 'waits');
$t->script({method => 'PUT', answer => {apply => \1, misbehave => 'hang'}});
$t->run('waits');
$t->script;
$t->release;
$t->sql("UPDATE mart.waits SET v = 'B'");
$t->run_is($t->run('waits'), {rows_pending => 1, requests => 0}, 'another value of a key in doubt waits');
is($t->admin("SELECT recover_at - _sent_at FROM ondatra.all_syncs, " . state_of('waits') . " WHERE name = 'waits'"), '00:00:30.5', 'by default as long as a request may take, and 30 seconds');

# --- what may not be sent twice
$t->reset_destination;
$t->sql("CREATE TABLE mart.once (id int PRIMARY KEY, v text); INSERT INTO mart.once VALUES (1, 'A')");
$t->destination('once', {timeout_ms => 500, object => {upsert => {method => 'PUT', path => '/contacts/{{key}}', idempotent => \0}}});
$t->sync('once', 'mart.once', 'once');
$t->script({method => 'PUT', answer => {apply => \1, misbehave => 'hang'}});
$t->run_is($t->run('once'), {requests => 1, rows_failed => 1}, 'an operation that is not idempotent is not tried again');
$t->script;
$t->release;
$t->run_is(($t->failed_rows('once'))[0], {error_class => 'unknown_outcome', next_attempt_at => undef}, 'the row waits for a person');
$t->sql(q{SELECT ondatra.update_sync('once', options => '{"on_unknown": "resend"}')});
$t->sql(q{SELECT ondatra.retry_failed('once')});
$t->poll_sql(q{SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = 'once'}, '0', 'who says that it may is obeyed');

# --- an API that repeats its errors under a known key
$t->reset_destination;
$t->sql("CREATE TABLE mart.again (id int PRIMARY KEY, v text); INSERT INTO mart.again VALUES (1, 'A')");
my %again = (method => 'PUT', path => '/contacts/{{key}}', idempotency => {header => 'Idempotency-Key', replays_errors => \1});
$t->destination('again', {timeout_ms => 500, retry => {attempts => 3, base_ms => 5, max_ms => 10}, object => {upsert => \%again}});
$t->sync('again', 'mart.again', 'again', options => {in_doubt_wait => '0 s'});
sub last_keys { my ($n) = @_; return map { $_->{headers}{'idempotency-key'} } $t->requests(method => 'PUT', last => $n) }
$t->script({method => 'PUT', times => 5, answer => {status => 503}});
$t->run_is($t->run('again'), {rows_failed => 1, requests => 3}, 'errors');
$t->run_is($t->retry('again'), {rows_created => 1, requests => 3}, 'in two runs');
is(scalar(keys %{ { map { $_ => 1 } last_keys(6) } }), 6, 'each try after an answered error has a key of its own, over runs too');
$t->sql("UPDATE mart.again SET v = 'B'");
$t->script({method => 'PUT', times => 4, answer => {apply => \1, misbehave => 'close'}});
$t->run_is($t->run('again'), {rows_failed => 1, requests => 3}, 'answers that are lost');
$t->run_is($t->retry('again'), {rows_updated => 1, requests => 2}, 'in two runs, too');
is(scalar(keys %{ { map { $_ => 1 } last_keys(5) } }), 1, 'a try without an answer is repeated with its key');

# --- rates
sub begins {
    my ($path) = @_;
    return sort { $a <=> $b } map { $_->{at} } $t->requests(path => $path);
}
$t->reset_destination;
$t->sql("CREATE TABLE mart.rates (id int PRIMARY KEY, v text); INSERT INTO mart.rates SELECT i, 'v' FROM generate_series(1, 3) i");
my %groups = (upsert => {method => 'PUT', path => '/contacts/{{key}}', rate => 'writes'}, delete => {method => 'DELETE', path => '/contacts/{{key}}'});
$t->destination('groups', {rate_limit => {default => '1000/1s', writes => '2/1s'}, object => \%groups});
$t->sync('groups', 'mart.rates', 'groups', mode => 'mirror');
my $began = now();
$t->run_is($t->run('groups'), {rows_created => 3}, 'an operation with a rate of its own');
cmp_ok((begins('^/contacts/'))[2] - $began, '>=', 1, 'a group of its own: the third of two a second comes a second later');
$t->sql('DELETE FROM mart.rates');
my ($run_groups) = $t->run('groups');
$t->run_is($run_groups, {rows_deleted => 3, throttled_ms => 0}, 'others do not wait for it');

$t->reset_destination;
$t->sql("INSERT INTO mart.rates SELECT i, 'v' FROM generate_series(1, 3) i");
$t->destination('wide', {rate_limit => '1000/1s'});
$t->sync('narrow', 'mart.rates', 'wide', options => {rate_limit => '2/1s'});
$began = now();
$t->run_is($t->run('narrow'), {rows_created => 3}, "a sync's own rate_limit");
cmp_ok((begins('^/contacts/'))[2] - $began, '>=', 1, "the sync's own rate_limit holds below the destination's");

# --- what the destination says of its limits
$t->reset_destination;
$t->destination('told', {concurrency => 1});
$t->sync('told', 'mart.rates', 'told');
$t->script({method => 'PUT', times => 1, answer => {status => 200, headers => {'RateLimit-Remaining' => '0', 'RateLimit-Reset' => '2'}}});
$t->run_is($t->run('told'), {rows_created => 3, requests => 3}, 'an answer says that nothing is left');
my @at = begins('^/contacts/');
cmp_ok($at[1] - $at[0], '>=', 1.9, 'nothing left: the next request waits until the reset');
$t->script({method => 'PUT', times => 1, answer => {status => 200, headers => {'X-RateLimit-Remaining' => '0', 'X-RateLimit-Reset' => '86400'}}});
$t->sql("UPDATE mart.rates SET v = 'w'");
my $id = $t->sql("SELECT run_id FROM ondatra.run_sync('told', wait => false)");
$t->poll_sql("SELECT paused_until > now() FROM ondatra.destination_status WHERE name = 'told'", 't', 'a day');
is($t->sql("SELECT paused_until <= now() + interval '600 seconds' FROM ondatra.destination_status WHERE name = 'told'"), 't', 'is cut: the ceiling is ten minutes');
$t->sql("SELECT ondatra.cancel_run($id)");
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'cancelled', 'a run that waits can be cancelled');
$t->no_violations;
done_testing();
