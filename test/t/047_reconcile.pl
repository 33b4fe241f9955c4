# reconcile_sync: what is missing, extra, different and duplicate at the destination, and its repair through ordinary runs.

use strict;
use utf8;
use warnings FATAL => 'all';
use HTTP::Tiny;
use JSON::PP ();
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new(conf => 'restart_after_crash = on');
my $json = JSON::PP->new->canonical->allow_nonref;
my %list = (method => 'GET', path => '/contacts', query => {limit => '3', offset => '{{cursor}}'}, rows => '/records', key => '/id', id => '/id', fields => '/fields',
    next => {offset => {step => 3}, total => '/total'});
my %writes = (upsert => {method => 'PUT', path => '/contacts/{{key}}', result => {id => '/id'}}, delete => {method => 'DELETE', path => '/contacts/{{key}}'});

# What reconcile_sync finds: "problem key detail", sorted; its notice goes into $said.
my $said = '';
sub found {
    my ($sync, $repair) = @_;
    my $call = "ondatra.reconcile_sync('$sync'" . (defined $repair ? ", '{$repair}'" : '') . ')';
    my ($status, $out, $err) = $t->psql_as('ann', "SELECT problem || ' ' || coalesce(key::text, '-') || ' ' || detail FROM $call ORDER BY key::text COLLATE \"C\", problem");
    die "$call: $err" if $status;
    utf8::decode($out);
    ($said) = $err =~ /records: (.*)/;
    return [split /\n/, $out];
}
sub finds { my ($sync, $repair, $expected, $name) = @_; my $found = found($sync, $repair); return is_deeply($found, $expected, $name) || diag(explain($found)) }
sub put { my ($id, $fields) = @_; return $t->control('POST', 'records', {contacts => {$id => $fields}}) }
sub there { my ($id) = @_; my $r = $t->records('contacts'); return $r->{$id} }
sub remove { my ($id) = @_; my $answer = HTTP::Tiny->new->delete($t->url . "/contacts/$id"); die $answer->{status} unless $answer->{success}; return }

# --- what has every type, and is the same in other words
$t->sql(q{CREATE TABLE mart.contacts (id int PRIMARY KEY, name text, score numeric, at timestamptz, day date, ok boolean, big int8, tags text[], prefs jsonb, nothing text);
    INSERT INTO mart.contacts SELECT i, 'näme ' || i, i * 1.50, '2026-01-01 12:00:00.123456+00', '2026-01-31', i % 2 = 0, 9007199254740993, ARRAY['a', 'ü'],
        '{"lang": "de", "deep": {"x": 1.0}}', NULL FROM generate_series(1, 8) i});
$t->destination('api', {object => {%writes, list => \%list}});
sub all { return $t->sync('all', 'mart.contacts', 'api', mode => 'mirror', guards => 1, @_) }
all();
$t->run_is($t->run('all'), {status => 'succeeded', rows_created => 8}, 'eight rows are there');
finds('all', undef, [], 'a destination that is as it should be');
like($said, qr/^8 equal, 0 different, 0 extra, 0 missing, 0 duplicate; 0 adopted, 0 marked/, 'and how many there were');
is($t->sql("SELECT status || ' ' || rows_scanned || ' ' || requests FROM ondatra.sync_runs WHERE trigger = 'reconcile' ORDER BY run_id DESC LIMIT 1"), 'succeeded 0 3',
    'it is in sync_runs, and is no run');
is($t->sql("SELECT r.trigger FROM ondatra.syncs s JOIN ondatra.sync_runs r ON r.run_id = s.last_run_id"), 'manual', 'the last run is the one before');
put(1, {id => 1, name => 'näme 1', score => 1.5, at => '2026-01-01T13:00:00.123+01:00', day => '2026-01-31T00:00:00Z', ok => JSON::PP::false, big => 9007199254740993, tags => ['a', 'ü'],
    prefs => {deep => {x => 1, y => 2}, lang => 'de'}, theirs => 'more'});
finds('all', undef, [], 'numbers, times, NULL and what is not there, members in another order, fields of theirs: the same');

# --- what is not
put(2, {%{ there(2) }, name => 'other', prefs => {lang => 'en', deep => {x => 1}}, big => 9007199254740992});
put(3, {%{ there(3) }, score => '4.5', tags => ['a'], nothing => ''});
remove($_) for 4, 5;
put(99, {name => 'stranger'});
put('né "w"', {name => 'not even a number'});
my @found = (
    'different {"id": 2} {"fields": {"big": {"model": 9007199254740993, "destination": 9007199254740992}, "name": {"model": "näme 2", "destination": "other"}, '
        . '"prefs.lang": {"model": "de", "destination": "en"}}}',
    'different {"id": 3} {"fields": {"tags": {"model": ["a", "ü"], "destination": ["a"]}, "score": {"model": 4.50, "destination": "4.5"}, "nothing": {"model": null, "destination": ""}}}',
    'missing {"id": 4} {"remote_id": "4"}', 'missing {"id": 5} {"remote_id": "5"}', 'extra {"id": 99} {"remote_id": "99"}', 'extra {"id": "né \\"w\\""} {"remote_id": "né \\"w\\""}');
@found = sort { ($a =~ /(\{.*)/)[0] cmp ($b =~ /(\{.*)/)[0] } @found;
my $before = $t->sql("SELECT md5(string_agg(s::text, '' ORDER BY k1)) FROM ondatra.state_1 s");
finds('all', undef, [@found], 'different with the fields, missing, extra');
is($t->sql("SELECT md5(string_agg(s::text, '' ORDER BY k1)) FROM ondatra.state_1 s"), $before, 'looking changes nothing');
$t->run_is($t->run('all'), {status => 'succeeded', rows_unchanged => 8, requests => 0}, 'and a run knows nothing of it');

# --- repair, one after the other, by runs
finds('all', 'missing', [@found], 'missing is marked, and told');
like($said, qr/2 marked/, 'two rows');
$t->run_is($t->run('all'), {status => 'succeeded', rows_created => 2, rows_unchanged => 6}, 'the next run creates them');
is(there(4)->{name}, 'näme 4', 'as the model has them');
found('all', 'different');
$t->run_is($t->run('all'), {status => 'succeeded', rows_updated => 2, rows_unchanged => 6}, 'different: updated by the next run');
is(there(2)->{name}, 'näme 2', 'as the model has it');
finds('all', 'extra', ['extra {"id": "né \\"w\\""} {"remote_id": "né \\"w\\"", "not_repaired": "the key has no form that the key column could have"}', 'extra {"id": 99} {"remote_id": "99"}'],
    'extra: one that the key column cannot hold is left');
$t->run_is($t->run('all'), {status => 'succeeded', rows_deleted => 1, rows_unchanged => 8}, 'the other is deleted by the next run');
is_deeply([there(99), there('né "w"')], [undef, {name => 'not even a number'}], 'that one alone');
finds('all', undef, ['extra {"id": "né \\"w\\""} {"remote_id": "né \\"w\\""}'], 'nothing else is left');

# --- adopt: a destination that was there before us
$t->sql("SELECT ondatra.drop_sync('all')");
all();
remove('n%C3%A9%20%22w%22');
put(7, {%{ there(7) }, name => 'theirs'});
remove(8);
put(100, {name => 'theirs alone'});
my $seven = 'different {"id": 7} {"fields": {"name": {"model": "näme 7", "destination": "theirs"}}, "pending": true}';
finds('all', 'adopt', ['extra {"id": 100} {"remote_id": "100"}', $seven], 'adopt: what is there is told, what is not there yet is no problem');
like($said, qr/^7 equal|^6 equal.* 6 adopted, 0 marked/, 'six are adopted');
is($t->sql("SELECT count(*) || ' ' || count(_hash) || ' ' || min(_remote_id) || ' ' || max(_remote_id) FROM ondatra.state_2"), '6 6 1 6', 'with hash and remote id');
finds('all', 'adopt', ['extra {"id": 100} {"remote_id": "100"}', $seven], 'adopt again');
like($said, qr/0 adopted/, 'nothing is written twice');
my $plan = $t->sql("SELECT creates || ' ' || updates || ' ' || deletes || ' ' || unchanged FROM ondatra.plan_sync('all')");
is($plan, '2 0 0 6', 'a run would send the one that differs and the one that is not there');
my $seen = $t->count_requests(method => 'PUT');
$t->sql("UPDATE mart.contacts SET name = 'theirs' WHERE id = 7; DELETE FROM mart.contacts WHERE id = 8");
found('all', 'adopt');
like($said, qr/1 adopted/, 'the model follows: adopted too');
$t->run_is($t->run('all'), {status => 'succeeded', rows_unchanged => 7, rows_created => 0, rows_updated => 0, rows_deleted => 0, requests => 0}, 'a run after adopt sends nothing');
is($t->count_requests(method => 'PUT'), $seen, 'nothing at all');
ok(there(100), 'what is theirs stays');

# --- the model is ahead, a row is in doubt, failed or invalid
$t->sql("UPDATE mart.contacts SET name = 'new' WHERE id = 1");
finds('all', undef, ['extra {"id": 100} {"remote_id": "100"}', 'different {"id": 1} {"fields": {"name": {"model": "new", "destination": "näme 1"}}, "pending": true}'],
    'a change that no run has sent yet is different, and pending');
$t->script({method => 'PUT', path => '/1$', answer => {status => 422, json => {message => 'no'}}});
$t->run_is($t->run('all'), {rows_failed => 1}, 'it is refused');
put(1, {%{ there(1) }, name => 'new'});
found('all', 'adopt');
is($t->sql('SELECT count(*) FROM ondatra.failed_rows'), '0', 'somebody else has done it: adopt closes the failed row');
$t->script;
$t->run_is($t->run('all'), {status => 'succeeded', rows_unchanged => 7, requests => 0}, 'nothing is left to send');
$t->sql("SELECT ondatra.update_sync('all', options => '{\"on_unknown\": \"hold\"}'); UPDATE mart.contacts SET name = 'unknown' WHERE id = 2");
$t->script({method => 'PUT', path => '/2$', answer => {apply => JSON::PP::true, misbehave => 'close'}});
$t->run_is($t->run('all'), {rows_failed => 1}, 'an answer is lost');
$t->script;
is($t->sql('SELECT error_class FROM ondatra.failed_rows'), 'unknown_outcome', 'nobody knows what became of it');
found('all', 'adopt');
is($t->sql('SELECT count(*) FROM ondatra.failed_rows'), '0', 'adopt sees that it has arrived');
$t->run_is($t->run('all'), {status => 'succeeded', rows_unchanged => 7, requests => 0}, 'and nothing is sent twice');
$t->sql("UPDATE mart.contacts SET score = 'NaN' WHERE id = 3");
finds('all', 'different', ['extra {"id": 100} {"remote_id": "100"}'], 'a row that cannot be sent is no problem of the destination, and never extra');
$t->sql('UPDATE mart.contacts SET score = 4.5 WHERE id = 3');

# --- extra goes through the guards
put("2$_", {name => 'x'}) for 10 .. 40;
is(scalar @{ found('all', 'extra') }, 32, 'thirty-two are extra');
my $run = $t->run('all');
$t->run_is($run, {status => 'held', rows_deleted => 0}, 'more than may be deleted: the run is held');
is($t->sql('SELECT guard FROM ondatra.held_runs'), 'deletes', 'by the guard');
$t->sql_fails("SELECT * FROM ondatra.reconcile_sync('all')", qr/run \d+ of sync "all" is held/, 'meanwhile nothing is reconciled');
$t->sql("SELECT ondatra.approve_run($run->{run_id})");
$t->poll_sql("SELECT status || ' ' || rows_deleted FROM ondatra.sync_runs WHERE run_id = $run->{run_id}", 'succeeded 32', 'approved, it deletes them');
finds('all', undef, [], 'as it should be');

# --- lists that are no reason to repair anything
$before = $t->sql("SELECT md5(string_agg(s::text, '' ORDER BY k1)) FROM ondatra.state_2 s");
sub lists { my ($answer, %more) = @_; return {method => 'GET', path => '^/contacts$', %more, answer => $answer} }
sub fails { my ($pattern, $name, $repair) = @_; return $t->sql_fails("SELECT * FROM ondatra.reconcile_sync('all', '{adopt,missing,different,extra}')", $pattern, $name) }
$t->script(lists({json => {records => [], total => 0}}));
fails(qr/sync "all" could not be reconciled: the destination's list is empty.*Nothing was compared.*fetch\(\)/s, 'an empty list is an error');
$t->script(lists({status => 500, json => {message => 'down'}}, query => {offset => '3'}));
fails(qr/page 2 of the list could not be read: HTTP 500.*down/s, 'a list that ends half way is an error');
is($t->sql("SELECT retries FROM ondatra.sync_runs ORDER BY run_id DESC LIMIT 1"), '2', 'after its retries');
$t->script(lists({status => 403, json => {message => 'no right'}}));
fails(qr/page 1 of the list could not be read: HTTP 403.*no right/s, 'so is one that is refused');
$t->script(lists({misbehave => 'half_body'}, query => {offset => '3'}));
fails(qr/page 2 of the list could not be read/, 'or breaks off');
is($t->sql("SELECT md5(string_agg(s::text, '' ORDER BY k1)) FROM ondatra.state_2 s"), $before, 'nothing was repaired');
is($t->sql("SELECT state || ' ' || status FROM ondatra.syncs s JOIN ondatra.sync_runs r ON r.run_id = last_run_id WHERE name = 'all'"), 'active succeeded', 'and the sync is as it was');
$t->script(lists({status => 503}, times => 1));
finds('all', undef, [], 'what goes wrong once is tried again');
$t->script;

# --- it excludes runs and edits, and ends with its caller
$t->script(lists({records => JSON::PP::true, misbehave => 'hang'}, query => {offset => '3'}));
my $session = session($t, 'ann', "SELECT * FROM ondatra.reconcile_sync('all', '{adopt}');");
$t->poll(sub { $t->state->{hanging} > 0 }, 'a reconciliation waits for a page');
is($t->sql('SELECT phase || scanned FROM ondatra.run_progress'), 'reading3', 'run_progress shows it');
$t->sql_fails("SELECT ondatra.resend_sync('all')", qr/sync "all" is running.*cancel_run/s, 'an edit is refused meanwhile');
$t->sql_fails("SELECT * FROM ondatra.run_sync('all', wait => false)", qr/sync "all" is running/, 'a run, too');
my $waiting = session($t, 'ann', "SELECT status, rows_unchanged FROM ondatra.run_sync('all');");
$t->sql("UPDATE mart.contacts SET name = 'meanwhile' WHERE id = 4");
put(4, {%{ there(4) }, name => 'meanwhile'});
$t->release;
my ($out, $err) = finish($session);
like($err, qr/: 6 equal, 1 different, 0 extra, 0 missing/, 'the list is as it was when it began, the model as it is after it');
($out) = finish($waiting);
like($out, qr/^(succeeded|partial)\|/, 'the run that waited went on');
$session = session($t, 'ann', "SELECT * FROM ondatra.reconcile_sync('all', '{adopt}');");
$t->poll(sub { $t->state->{hanging} > 0 }, 'another one waits');
interrupt($session);
($out, $err) = finish($session);
like($err, qr/canceling statement/, 'its caller gives up');
$t->poll_sql("SELECT count(*) FROM ondatra.run_progress", '0', 'so it ends');
$t->poll_sql("SELECT status || ' ' || trigger FROM ondatra.sync_runs ORDER BY run_id DESC LIMIT 1", 'cancelled reconcile', 'cancelled');
# One that will hang, once the destination has seen that those before it have gone.
sub adopting { $t->poll(sub { $t->state->{hanging} == 0 }); return session($t, 'ann', "SELECT * FROM ondatra.reconcile_sync('all', '{adopt}');") }
$session = adopting();
$t->poll(sub { $t->state->{hanging} > 0 }, 'and one more');
$t->sql('SELECT ondatra.cancel_run(run_id) FROM ondatra.run_progress');
($out, $err) = finish($session);
like($err, qr/the reconciliation of sync "all" was cancelled/, 'cancel_run ends it');

# --- its worker dies
for my $how ('terminated', 'killed') {
    $session = adopting();
    $t->poll(sub { $t->state->{hanging} > 0 }, "$how: a reconciliation waits");
    my $pid = $t->sql('SELECT pid FROM ondatra.live_runs()');
    $how eq 'killed' ? kill('KILL', $pid) : $t->admin("SELECT pg_terminate_backend($pid)");
    ($out, $err) = finish($session);
    like($err, $how eq 'killed' ? qr/connection|terminating/ : qr/could not be reconciled: terminating background worker/, "$how: its caller is told");
    $t->node->poll_query_until('postgres', 'SELECT true') if $how eq 'killed';
    $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE trigger = 'reconcile' ORDER BY run_id DESC LIMIT 1", 'interrupted', "$how: interrupted");
    is($t->sql("SELECT count(*) FROM ondatra.sync_runs WHERE trigger = 'recovery'"), '0', "$how: and no run follows");
}
$t->script;
finds('all', undef, [], 'then as ever');

# --- nor when it dies while it writes
remove(5);
my $table = $t->sql("SELECT 'ondatra.state_' || sync_id FROM ondatra.syncs WHERE name = 'all'");
my $blocker = session($t, $t->superuser, "BEGIN; LOCK TABLE ondatra.all_failed_rows IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60);");
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_locks WHERE relation = 'ondatra.all_failed_rows'::regclass AND mode = 'AccessExclusiveLock' AND granted") eq '1' });
$session = session($t, 'ann', "SELECT * FROM ondatra.reconcile_sync('all', '{missing}');");
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.backend_type = 'ondatra run'") eq '1' }, 'a reconciliation writes, and waits');
$t->admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'ondatra run'");
interrupt($blocker);
finish($blocker);
($out, $err) = finish($session);
like($err, qr/could not be reconciled/, 'its caller is told');
is($t->sql("SELECT count(*) || ' ' || count(_hash) FROM $table"), '7 7', 'nothing was repaired');
finds('all', 'missing', ['missing {"id": 5} {"remote_id": "5"}'], 'it can be done again');
$t->run_is($t->run('all'), {status => 'succeeded', rows_created => 1, rows_unchanged => 6}, 'and is');

# --- most of it missing: the next run is held
$t->sql("INSERT INTO mart.contacts SELECT i, 'x' FROM generate_series(20, 60) i");
$t->run_is($t->run('all'), {status => 'succeeded', rows_created => 41}, 'more rows');
remove($_) for 20 .. 59;
is(scalar @{ found('all', 'missing') }, 40, 'most of them are missing');
$run = $t->run('all');
$t->run_is($run, {status => 'held', rows_created => 0}, 'the run that would create them again is held');
is($t->sql('SELECT guard FROM ondatra.held_runs'), 'state', 'by the guard');
$t->sql("SELECT ondatra.approve_run($run->{run_id})");
$t->poll_sql("SELECT status || ' ' || rows_created FROM ondatra.sync_runs WHERE run_id = $run->{run_id}", 'succeeded 40', 'approved, it creates them');

# --- who may not
my ($status, undef, $refusal) = $t->psql_as('bob', "SELECT * FROM ondatra.reconcile_sync('all')");
ok($status && $refusal =~ /sync "all" does not exist/, 'for others there is no such sync');
$t->no_violations;

# --- a list of texts, keys without case: rows and records that are one
my %mail_list = (method => 'GET', path => '/mail', rows => '/results', key => '/properties/email', id => '/id', fields => '/properties', compare => 'text', query => {properties => '{{fields}}'},
    skip => {path => '/archived', equals => JSON::PP::true});
$t->sql(q{CREATE TABLE mart.mail (email text PRIMARY KEY, score numeric, ok boolean, at timestamptz, nothing text);
    INSERT INTO mart.mail VALUES ('Ann@X.org', 1.50, true, '2026-01-01 12:00:00.123456+00', NULL), ('bob@x.org', 7, false, NULL, ''), ('BOB@x.org', 8, false, NULL, ''), ('cyd@x.org', 3, true, NULL, NULL),
        ('dan@x.org', 4, true, NULL, NULL)});
$t->destination('mail', {object => {key => {field => 'email', fold => 'lower'}, upsert => {method => 'PUT', path => '/mailbox/{{key|lower}}', result => {id => '/id'}}, list => \%mail_list}});
$t->sync('mail', 'mart.mail', 'mail', key => ['email']);
sub mail { my ($id, $email, %more) = @_; return {id => $id, properties => {email => $email, %more}} }
sub lists_mail { my (@records) = @_; return $t->script({method => 'GET', path => '^/mail$', answer => {json => {results => \@records}}}) }
my @mail = (mail(11, 'ann@x.org', score => '1.5', ok => 'true', at => '2026-01-01T12:00:00.123Z', nothing => ''), mail(12, 'bob@x.org'), mail(13, 'cyd@x.org', score => '3'), mail(14, 'CYD@x.org', score => '3'));
lists_mail(@mail, mail(15, undef), mail(12, 'bob@x.org'), {%{ mail(16, 'gone@x.org') }, archived => JSON::PP::true});
my @mail_found = (
    'duplicate {"email": "BOB@x.org"} {"keys": [{"email": "BOB@x.org"}, {"email": "bob@x.org"}], "count": 2, "message": "several keys of this sync are one record at the destination"}',
    'duplicate {"email": "cyd@x.org"} {"count": 2, "message": "several records of the destination have this key", "remote_ids": ["13", "14"]}', 'extra - {"remote_id": "15"}');
finds('mail', 'adopt,different', [@mail_found], 'texts are compared as texts, and keys without case; what is one record and what are two; a record without a key; one that comes twice, one that is archived');
like($said, qr/^1 equal, 0 different, 1 extra, 0 missing, 2 duplicate; 1 adopted, 0 marked/, 'only what is sure is adopted');
is($t->requests(method => 'GET', last => 1) && ($t->requests(method => 'GET', last => 1))[0]{query}{properties}, 'email,score,ok,at,nothing', 'the list is asked for the fields of the mapping');
$t->script;
$t->sql(q{DELETE FROM mart.mail WHERE email = 'BOB@x.org'});
$t->run_is($t->run('mail'), {status => 'succeeded', rows_created => 3, rows_unchanged => 1}, 'the rest is sent');
lists_mail(mail(11, 'ann@x.org', score => '1.5', ok => 'true', at => '2026-01-01T12:00:00.123Z'), mail('bob@x.org', 'bob@x.org', score => '7', ok => 'false', nothing => undef), mail('cyd@x.org', 'cyd@x.org', score => '3', ok => 'true'),
    mail('new', 'dan@x.org', score => '4.00', ok => 'true'));
finds('mail', undef, ['different {"email": "dan@x.org"} {"fields": {}, "remote_id": {"model": "dan@x.org", "destination": "new"}}'], 'the same fields, but another record');
found('mail', 'adopt');
is($t->sql(q{SELECT (ondatra.explain_row('mail', '{"email": "dan@x.org"}'))->'state'->>'remote_id'}), 'new', 'adopt takes its id');
$t->sql(q{INSERT INTO mart.mail VALUES ('dan2@x.org', 4, true)});
$t->script({method => 'PUT', path => 'dan2', answer => {json => {id => 'new'}}});
$t->run('mail');
lists_mail(mail('new', 'dan@x.org', score => '4', ok => 'true'));
my ($one) = grep { /duplicate/ } @{ found('mail') };
is($one, 'duplicate {"email": "dan2@x.org"} {"keys": [{"email": "dan2@x.org"}, {"email": "dan@x.org"}], "count": 2, "message": "several keys of this sync are one record at the destination", "remote_id": "new"}',
    'two keys that were given one remote id');
$t->script;

# --- a list that knows ids only, one that has the key among its fields, keys of several columns
$t->reset_destination;
$t->sql('CREATE TABLE mart.ids AS SELECT i AS id, i * 10 AS v FROM generate_series(1, 5) i; CREATE TABLE mart.pairs (a text, b numeric, v int, PRIMARY KEY (a, b)); ' . q{INSERT INTO mart.pairs VALUES ('x', 1, 1), ('x', 2.50, 2), ('x:1', 1, 3)});
$t->destination('ids', {object => {upsert => {method => 'PUT', path => '/ids/{{key}}', result => {id => '/id'}}, list => {method => 'GET', path => '/ids', rows => '/records', id => '/id', fields => '/fields'}}});
$t->destination('fields', {object => {key => 'id', upsert => {method => 'PUT', path => '/ids/{{key}}'}, list => {method => 'GET', path => '/ids', rows => '/records', fields => '/fields'}}});
$t->sync('ids', 'mart.ids', 'ids');
$t->sync('fields', 'mart.ids', 'fields');
$t->run('ids');
$t->control('POST', 'records', {ids => {2 => {id => 2, v => 0}, 77 => {id => 77, v => 1}}});
HTTP::Tiny->new->delete($t->url . '/ids/3');
finds('ids', undef, ['different {"id": 2} {"fields": {"v": {"model": 20, "destination": 0}}}', 'missing {"id": 3} {"remote_id": "3"}', 'extra - {"remote_id": "77"}'], 'by remote ids');
finds('fields', undef, ['different {"id": 2} {"fields": {"v": {"model": 20, "destination": 0}}, "pending": true}', 'extra {"id": 77} {"remote_id": null}'], 'by the object\'s key among the fields');
found('ids', 'missing,different');
$t->run_is($t->run('ids'), {status => 'succeeded', rows_created => 1, rows_updated => 1, rows_unchanged => 3}, 'by remote ids: repaired');
$t->destination('pairs', {object => {upsert => {method => 'PUT', path => '/pairs/{{key.a}}/{{key.b}}'}, list => {method => 'GET', path => '/pairs', rows => '/records', key => {a => '/a', b => '/b'}}}});
$t->sync('pairs', 'mart.pairs', 'pairs', key => ['a', 'b']);
$t->run('pairs');
$t->script({method => 'GET', path => '^/pairs$', answer => {json => {records => [{a => 'x', b => '1.0', v => 1}, {a => 'x', b => 2.5, v => 2}, {a => 'x', b => '1', v => 1}, {a => '1', b => 11, v => 3}]}}});
finds('pairs', undef, [
    'extra {"a": "1", "b": 11} {"remote_id": null}', 'duplicate {"a": "x", "b": 1} {"count": 2, "message": "several records of the destination have this key", "remote_ids": [null, null]}',
    'missing {"a": "x:1", "b": 1} {"remote_id": null}'], 'keys of several columns, numbers by value');
$t->script;

# --- modes and cursors
$t->reset_destination;
$t->sql("CREATE TABLE mart.grows AS SELECT i AS id, 'v' || i AS v, now() AS at FROM generate_series(1, 6) i");
$t->sync('grows', 'mart.grows', 'api', options => {cursor_column => 'at'}, mapping => {v => 'v'});
$t->run('grows');
$t->run('grows');
remove(2);
put(3, {v => 'theirs'});
found('grows', 'missing,different');
$t->run_is($t->run('grows'), {status => 'succeeded', rows_scanned => 6, rows_created => 1, rows_updated => 1, rows_unchanged => 4}, 'with a cursor the next run is a full pass, and mends it');
finds('grows', undef, [], 'as it should be');
$t->sync('updates', 'mart.grows', 'api', mode => 'update', mapping => {v => 'v'});
put(4, {v => 'theirs'});
found('updates', 'adopt,different');
like($said, qr/5 equal, 1 different.*5 adopted, 1 marked/, 'mode update: what is there is known now');
$t->run_is($t->run('updates'), {status => 'succeeded', rows_updated => 1, rows_unchanged => 5, rows_skipped => 0}, 'so that it is updated');
$t->no_violations;
done_testing();
