# Edits: what NULL keeps and what unsets, decisions about what was delivered, edits beside runs, models that change under a sync.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql("CREATE TABLE mart.p (id int PRIMARY KEY, v text, w int); INSERT INTO mart.p SELECT i, 'v' || i, i FROM generate_series(1, 3) i");
$t->destination('d');
$t->sync('s', 'mart.p', 'd', guards => 1, mode => 'mirror', mapping => '{"v": "v"}', schedule => '1 day', paused => \'true', options => {batch_size => 5, max_attempts => 3});
my $shown = "SELECT coalesce(schedule, 'none') || ' ' || coalesce(mapping::text, 'none') || ' ' || options FROM ondatra.syncs WHERE name = 's'";
$t->sql(q{SELECT ondatra.update_sync('s', options => '{"batch_size": null, "error_after": 2}')});
like($t->sql($shown), qr/^1 day \{"v": ?"v"\} /, 'NULL keeps');
is($t->sql("SELECT options FROM ondatra.syncs WHERE name = 's'"), '{"error_after": 2, "max_attempts": 3}', 'options are merged, null removes');
$t->sql(q{SELECT ondatra.update_sync('s', schedule => 'manual', mapping => 'null')});
like($t->sql($shown), qr/^none none /, 'manual and null unset');
$t->run_is($t->run('s'), {status => 'succeeded', rows_created => 3}, 'it runs');

# --- looking sends nothing and changes nothing
$t->sql("UPDATE mart.p SET v = 'changed' WHERE id = 1");
my $before = $t->count_requests;
$t->sql($_) for "SELECT * FROM ondatra.plan_sync('s')", "SELECT * FROM ondatra.preview_sync('s')", "SELECT * FROM ondatra.explain_sync('s')",
    q{SELECT * FROM ondatra.explain_sync('s', true)}, q{SELECT ondatra.explain_row('s', '{"id": 1}')};
is($t->count_requests, $before, 'plan, preview and explain open no socket');
is($t->sql('SELECT count(*) FROM ondatra.sync_runs'), '1', 'and record nothing');
$t->run_is($t->run('s'), {rows_updated => 1, rows_unchanged => 2}, 'the change is still to be sent');

# --- what was delivered needs a decision
$t->destination('other');
$t->sql_fails("SELECT ondatra.update_sync('s', destination => 'other')", qr/delivered/, 'another destination: keep or forget?');
$t->sql("SELECT ondatra.update_sync('s', destination => 'other', delivered => 'keep')");
$t->run_is($t->run('s'), {rows_unchanged => 3, requests => 0}, 'keep: nothing is sent');
$t->sql("SELECT ondatra.update_sync('s', destination => 'd', delivered => 'forget')");
$t->run_is($t->run('s'), {rows_created => 3}, 'forget: everything is');

# --- beside a run
$t->sql("UPDATE mart.p SET v = 'again'");
$t->script({method => 'PUT', answer => {apply => \1, misbehave => 'hang'}});
my $id = $t->sql("SELECT run_id FROM ondatra.run_sync('s', wait => false)");
$t->poll(sub { $t->state->{hanging} }, 'a run is sending');
$t->sql_fails(q{SELECT ondatra.update_sync('s', mapping => '{"v": "v"}')}, qr/is running.*Run $id .*cancel_run\($id\)/s, 'an edit is refused and names the run');
$t->sql_fails("SELECT ondatra.rebase_sync('s')", qr/is running/, 'so is rebase');
$t->sql_fails("SELECT * FROM ondatra.run_sync('s', wait => false)", qr/run/, 'and a second run without waiting');
is($t->sql("SELECT ondatra.cancel_run($id)"), 't', 'cancelled');
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'cancelled', 'the run ends');
$t->check_counts($id);
is(scalar $t->failed_rows('s'), 0, 'what was on its way is no failure');
$t->script();
$t->run_is($t->run('s'), {status => 'succeeded', rows_updated => 3}, 'the next run sends it');
$t->no_violations;

# --- archive and restore keep the history; drop ends a run
$t->sql("SELECT ondatra.archive_sync('s')");
$t->sql_fails("SELECT * FROM ondatra.run_sync('s')", qr/archived/, 'an archived sync does not run');
$t->sql("SELECT ondatra.restore_sync('s')");
$t->run_is($t->run('s'), {rows_unchanged => 3}, 'restored, it knows what it delivered');
$t->sql("INSERT INTO mart.p VALUES (4, 'more')");
$t->script({method => 'PUT', answer => {misbehave => 'hang'}});
$t->sql("SELECT ondatra.run_sync('s', wait => false)");
$t->poll(sub { $t->state->{hanging} }, 'a run is sending');
my $state = 'state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = 's'");
$t->sql("SELECT ondatra.drop_sync('s')");
$t->sql('DELETE FROM mart.p WHERE id = 4');
is($t->sql("SELECT count(*) FROM ondatra.syncs WHERE name = 's'") . $t->sql("SELECT count(*) FROM pg_class WHERE relname = '$state'"), '00', 'dropped, with its state');
$t->script();

# --- the model changes under the sync
$t->sync('m', 'mart.p', 'd', mapping => '{"v": "v", "w": "w"}');
$t->run('m');
$t->sql('ALTER TABLE mart.p ALTER COLUMN w TYPE bigint, ALTER COLUMN v TYPE varchar(50)');
$t->run_is($t->run('m'), {status => 'succeeded', rows_unchanged => 3}, 'a wider number and a text with a length are the same values');
$t->sql('ALTER TABLE mart.p ALTER COLUMN w TYPE text');
my $run = $t->run('m');
$t->run_is($run, {status => 'failed', error_code => '42804', requests => 0}, 'another type stops it');
like($run->{error_message}, qr/column "w" .* changed its type from integer to text/, 'with the reason');
is($t->sql("SELECT state FROM ondatra.syncs WHERE name = 'm'"), 'error', 'at once');
$t->sql("SELECT ondatra.update_sync('m', model => 'mart.p')");
$t->sql("SELECT ondatra.resume_sync('m')");
$t->run_is($t->run('m'), {status => 'succeeded', rows_updated => 3}, 'accepted by an edit');
$t->sql('ALTER TABLE mart.p RENAME COLUMN w TO x');
like($t->run('m')->{error_message}, qr/"w"/, 'a renamed column stops it');
$t->sync('k', 'mart.p', 'd');
$t->run('k');
$t->sql("ALTER TABLE mart.p DROP CONSTRAINT p_pkey; INSERT INTO mart.p (id, v) VALUES (1, 'twin')");
$run = $t->run('k');
$t->run_is($run, {status => 'failed', requests => 0}, 'a key that is not unique any more stops it');
like($run->{error_message}, qr/the key \(id\) of model "mart.p" is not unique any more/, 'and says so');
done_testing();
