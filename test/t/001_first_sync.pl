# The first five minutes: secret, destination, sync, plan, preview, canary, run, change, delete, a failed row and its way back.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql(<<'SQL');
CREATE TABLE mart.people (id int, email text, plan text, mrr numeric(10, 2), poison text);
INSERT INTO mart.people SELECT i, 'user' || i || '@example.com', CASE i % 2 WHEN 0 THEN 'free' ELSE 'pro' END, i * 1.5 FROM generate_series(1, 40) i;
INSERT INTO mart.people VALUES (40, 'twin@example.com', 'pro', 0);
CREATE VIEW mart.customers AS SELECT id, email, plan, mrr, poison FROM mart.people ORDER BY id;
SQL

# --- setting up
$t->script({rules => [], require_headers => {Authorization => 'Bearer s3cret-token'}});
$t->sql("SELECT ondatra.set_secret('crm_token', 's3cret-token')");
is($t->sql("SELECT string_agg(name || ' ' || owner, ',') FROM ondatra.secrets"), 'crm_token ann', 'the secret is listed');
is($t->admin("SELECT count(*) FROM ondatra.all_secrets WHERE encode(value, 'escape') LIKE '%s3cret%'"), '0', 'and not stored in the clear');
$t->destination('crm', {concurrency => 4, rate_limit => '1000/1s'}, auth => {type => 'bearer', token => {secret => 'crm_token'}});
is($t->sql("SELECT ok || ' ' || http_status || ' ' || (elapsed_ms >= 0) FROM ondatra.test_destination('crm')"), 'true 200 true', 'test_destination answers');
is($t->count_requests, 1, 'with one request');

$t->sync('customers', 'mart.customers', 'crm', mode => 'mirror', schedule => '15 minutes', paused => \'true',
    mapping => '{"email": "email", "plan": "plan", "mrr": "mrr", "poison": "poison"}');
is($t->sql("SELECT owner || ' ' || state || ' ' || (next_run_at IS NULL) FROM ondatra.syncs WHERE name = 'customers'"), 'ann paused true',
    'the sync is there, paused, and not due');
is($t->sql('SELECT count(*) FROM ondatra.sync_runs'), '0', 'and has not run');

# --- looking before sending
my @plan = $t->rows("SELECT * FROM ondatra.plan_sync('customers')");
$t->run_is($plan[0], {rows_scanned => 41, creates => 39, updates => 0, deletes => 0, unchanged => 0, invalid => 2, held_back => 0, skipped => 0, guard => undef},
    'plan_sync: 39 creates, both twins invalid');
my @preview = $t->rows("SELECT * FROM ondatra.preview_sync('customers', 2)");
is(scalar @preview, 2, 'preview_sync shows as many requests as asked for');
is($preview[0]{url}, $t->url . '/contacts/1', 'its URL');
is_deeply(JSON::PP::decode_json($preview[0]{body}), {email => 'user1@example.com', plan => 'pro', mrr => 1.5, poison => undef}, 'its body');
like($preview[0]{body}, qr/"mrr":1\.50[,}]/, 'digit for digit');
is("$preview[0]{operation} $preview[0]{method}", 'create PUT', 'its operation and method');
unlike($t->json_of(\@preview), qr/s3cret/, 'no credential in it');
is($t->count_requests, 1, 'nothing was sent');
is($t->sql('SELECT count(*) FROM ondatra.sync_runs'), '0', 'nothing was recorded');

# --- a canary, then everything
my $run = $t->run('customers', max_rows => \'10');
is($run->{rows_created}, 10, 'the canary creates 10 rows');
is(scalar keys %{ $t->records }, 10, 'and 10 are there');
$run = $t->run('customers');
$t->run_is($run, {status => 'partial', rows_scanned => 41, rows_created => 29, rows_unchanged => 10, rows_invalid => 2, rows_failed => 0, requests => 29, retries => 0,
        trigger => 'manual', requested_by => 'ann', error_code => undef}, 'the full run sends the rest; two invalid rows make it partial');
is(scalar keys %{ $t->records }, 39, 'all are there');
is($t->records->{7}{email}, 'user7@example.com', 'with their values');
my ($put) = $t->requests(path => '^/contacts/1$');
is($put->{body}, $preview[0]{body}, 'the body is what preview showed');
ok($put->{headers}{'idempotency-key'}, 'a write carries an Idempotency-Key');
like($put->{headers}{'content-type'}, qr{^application/json}, 'and its content type');

my @failed = $t->failed_rows('customers');
is(scalar @failed, 1, 'one failed row for the duplicate key');
$t->run_is($failed[0], {operation => 'create', error_class => 'invalid', http_status => undef, next_attempt_at => undef, key => {id => 40}}, 'as invalid');
like($failed[0]{error_message}, qr/duplicate key.*2 rows/, 'and says why');

# --- nothing to do: nothing is sent, nothing written
$t->sql('DELETE FROM mart.people WHERE email = \'twin@example.com\'');
$run = $t->run('customers');
$t->run_is($run, {status => 'succeeded', rows_created => 1, rows_unchanged => 39, rows_invalid => 0}, 'the twin is gone: the row is sent');
is(scalar($t->failed_rows('customers')), 0, 'and its failed row has closed');
my $sent = $t->count_requests;
$run = $t->run('customers');
$t->run_is($run, {status => 'succeeded', rows_scanned => 40, rows_unchanged => 40, requests => 0}, 'an unchanged model');
is($t->count_requests, $sent, 'sends no request');

# --- an update, a delete, a new row
$t->sql("UPDATE mart.people SET plan = 'team' WHERE id = 3; DELETE FROM mart.people WHERE id = 5; INSERT INTO mart.people VALUES (50, 'new\@example.com', 'free', 0)");
$run = $t->run('customers');
$t->run_is($run, {status => 'succeeded', rows_created => 1, rows_updated => 1, rows_deleted => 1, rows_unchanged => 38, requests => 3}, 'exactly the changes are sent');
is_deeply([map { "$_->{method} $_->{path}" } $t->requests(last => 3)], ['DELETE /contacts/5', 'PUT /contacts/3', 'PUT /contacts/50'], 'deletes, updates, creates');
ok(!exists $t->records->{5}, 'the record is deleted');
is($t->records->{3}{plan}, 'team', 'the record is changed');

# --- a row that the destination refuses
$t->sql("UPDATE mart.people SET poison = 'email is not valid' WHERE id = 9");
$run = $t->run('customers');
$t->run_is($run, {rows_failed => 1, rows_unchanged => 39, requests => 1, status => 'failed'}, 'a refused row is not a success');
@failed = $t->failed_rows('customers');
$t->run_is($failed[0], {key => {id => 9}, operation => 'update', error_class => 'rejected', http_status => 422, attempts => 1, next_attempt_at => undef,
        run_id => $run->{run_id}}, 'it is in failed_rows');
like($failed[0]{error_message}, qr/row is poisoned: email is not valid/, 'with the words of the destination');
like($failed[0]{payload}, qr/"poison":"email is not valid"/, 'and what was sent');
$run = $t->run('customers');
$t->run_is($run, {status => 'succeeded', rows_failed => 0, rows_held_back => 1, requests => 0}, 'it is not sent again by itself');
like("$run->{error_message}. $run->{error_detail}", qr/^1 row is held back: it failed in an earlier run, and has not changed since\. Hint: .*failed_rows.*retry_failed\(\)/, 'and the run says so');
is($t->sql("SELECT held_back FROM ondatra.sync_status WHERE name = '$run->{sync_name}'"), '1', 'as sync_status does');
my $explained = $t->sql("SELECT ondatra.explain_row('customers', '{\"id\": 9}')");
like($explained, qr/email is not valid/, 'explain_row knows the row and the reason');
unlike($explained, qr/s3cret/, 'and no credential');
$run = $t->retry('customers');
$t->run_is($run, {released => 1, rows_failed => 1, requests => 1}, 'retry_failed releases it, and it is tried again');
$t->sql('UPDATE mart.people SET poison = NULL WHERE id = 9');
$run = $t->run('customers');
$t->run_is($run, {status => 'succeeded', rows_held_back => 0, rows_failed => 0, error_message => undef, error_detail => undef}, 'the row as it was before is fine');
is(scalar($t->failed_rows('customers')), 0, 'and the failed row has closed by itself');
$t->sql("UPDATE mart.people SET poison = 'no' WHERE id = 9");
$t->run('customers');
is($t->sql("SELECT ondatra.discard_failed('customers')"), '1', 'discard_failed gives up on the version');
$run = $t->run('customers');
$t->run_is($run, {rows_failed => 0, requests => 0}, 'which is not sent any more');
$t->sql("UPDATE mart.people SET poison = NULL, plan = 'gold' WHERE id = 9");
is($t->run('customers')->{rows_updated}, 1, 'but a new version of the row is');

# --- on schedule
my $last = $t->sql('SELECT max(run_id) FROM ondatra.sync_runs');
is($t->sql("SELECT ondatra.resume_sync('customers')") // '', '', 'resume_sync');
is($t->sql("SELECT state || ' ' || (next_run_at IS NOT NULL) FROM ondatra.syncs"), 'active true', 'the sync is active and due');
my ($status) = $t->rows('SELECT * FROM ondatra.sync_status');
$t->run_is($status, {name => 'customers', state => 'active', last_status => 'succeeded', backlog => 0, failing => 0}, 'sync_status shows it in one line');
is($t->sql("SELECT ondatra.trigger_sync('customers') > 0"), 't', 'trigger_sync returns a number');
$t->poll_sql("SELECT count(*) > 0 FROM ondatra.sync_runs WHERE run_id > $last AND status = 'succeeded'", 't', 'and a run follows');

# --- errors that help
$t->sql_fails("SELECT ondatra.create_sync('x', 'mart.customers', 'crm', key => '{idd}')",
    qr/column "idd" of the key does not exist in model "mart.customers".*HINT: .*id, email, plan, mrr/s, 'an unknown key column');
$t->sql_fails("SELECT ondatra.create_sync('x', 'mart.customers', 'crm')", qr/key/, 'a view without a key');
$t->sql_fails("SELECT ondatra.create_sync('x', 'mart.customers', 'crm', key => '{id}', schedule => '*/5 * * * *')", qr/pg_cron.*HINT/s, 'cron text without pg_cron');
$t->sql_fails("SELECT ondatra.create_sync('x', 'mart.customers', 'crm', key => '{id}', options => '{\"batch_sise\": 1}')", qr/batch_sise.*HINT:.*batch_size/s,
    'an unknown option, with the valid ones');
$t->sql_fails("SELECT ondatra.create_sync('x', 'mart.customers', 'nowhere', key => '{id}')", qr/nowhere/, 'an unknown destination');
$t->sql_fails("SELECT ondatra.create_sync('x', 'mart.customers', 'crm', key => '{id}', mode => 'sideways')", qr/sideways.*mirror/s, 'an unknown mode');
$t->sql_fails("SELECT ondatra.create_sync('customers', 'mart.customers', 'crm', key => '{id}')", qr/customers/, 'a name that is taken');
$t->sql_fails("SELECT ondatra.create_destination('y', base_url => 'https://x.example', auth => '{\"type\": \"bearer\", \"token\": \"abc\"}')", qr/set_secret/,
    'a literal credential');
is($t->sql('SELECT count(*) FROM ondatra.syncs'), '1', 'nothing half-created stays');

# --- others see nothing
is($t->sql_as('bob', "SELECT (SELECT count(*) FROM ondatra.syncs) + (SELECT count(*) FROM ondatra.sync_runs) + (SELECT count(*) FROM ondatra.failed_rows)
  + (SELECT count(*) FROM ondatra.destinations) + (SELECT count(*) FROM ondatra.secrets) + (SELECT count(*) FROM ondatra.sync_status)"), '0', 'another role sees none of it');
my ($rc, undef, $err) = $t->psql_as('bob', "SELECT ondatra.run_sync('customers')");
ok($rc && $err =~ /customers/, 'nor can it run the sync');

# --- an invalid row says what it would have been
$t->sql("UPDATE mart.people SET mrr = 'NaN' WHERE id = 4");
$t->run('customers');
is($t->sql("SELECT operation || ' ' || error_class FROM ondatra.failed_rows WHERE key = '{\"id\": 4}'"), 'update invalid', 'an update of a row that was accepted');

is($t->sql("SELECT ondatra.drop_sync('customers')") // '', '', 'drop_sync');
is($t->admin("SELECT count(*) FROM pg_class WHERE relname LIKE 'state\\_%' AND relnamespace = 'ondatra'::regnamespace"), '0', 'takes the state table along');
$t->no_violations;
done_testing();
