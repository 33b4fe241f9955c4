# Alerts: one message for each change of a sync's problem and one for its recovery, durable, never a flood; a broken destination hurts nobody.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;

$t->sql('CREATE TABLE mart.people (id int PRIMARY KEY, name text, poison bool)');
$t->sql("INSERT INTO mart.people SELECT g, 'p' || g FROM generate_series(1, 10) g");
$t->destination('api');
$t->sql("SELECT ondatra.set_secret('token', 'Sup3rSecret')");
$t->sql('SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => 'ops', base_url => $t->url . '/ops', auth => {type => 'bearer', token => {secret => 'token'}},
    options => {timeout_ms => 5000}) . ')');

sub messages { return map { $_->{json} } sort { $a->{n} <=> $b->{n} } $t->requests(path => '^/ops') }
sub problems { return join ' ', map { $_->{problem} } messages() }
sub told { my ($problem, $name, $sync) = @_; return $t->poll_sql("SELECT told FROM ondatra.alerts WHERE sync_name = '" . ($sync // 's') . "'", $problem, $name) }
sub alert { my ($sync, $alert) = @_; $alert = {(map { $_ => undef } qw(partial slower_than no_run_since)), %$alert}; $t->sql("SELECT ondatra.update_sync('$sync', options => " . Ondatra::Test::literal({alert => $alert}) . ')') }
# Both sides of the scheduler's look.
sub settle {
    $t->sql("SELECT ondatra.trigger_sync('marker')");
    $t->poll_sql("SELECT count(*) FROM ondatra.run_progress", '0');
    return $t->poll(sub { $t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('ondatra alert', 'ondatra scheduler', 'ondatra run')") eq '0' });
}

$t->sync('marker', 'SELECT 1 AS id', 'api', key => ['id']);
$t->sync('s', 'mart.people', 'api', options => {alert => {destination => 'ops', at_most_every => '0s'}, error_after => 3});

# --- no news is no message
$t->run('s');
settle();
is(problems(), '', 'a good run is nobody told of');
is($t->sql('SELECT count(*) FROM ondatra.alerts'), '0', 'and no row');

# --- failed, error, recovery
# Everything changes, and a run tries it.
my $version = 0;
sub change_and_run { $version++; $t->sql("UPDATE mart.people SET name = 'v$version'"); return $t->run('s') }
sub refuse { return $t->script({path => '^/contacts', answer => {status => 422}}) }
refuse();
my $run = change_and_run();
told('failed', 'a failed run is told of');
my ($message) = messages();
is_deeply([@$message{qw(action sync problem previous database run_id)}], ['trigger', 's', 'failed', 'ok', 'postgres', $run->{run_id}], 'in fields');
like($message->{text}, qr/^Sync "s": run $run->{run_id} failed: .*422/, 'and in words');
change_and_run();
settle();
is(problems(), 'failed', 'another failed run is no news');
change_and_run();
told('error', 'that it stopped is');
$t->script();
change_and_run();
told('ok', 'so is the recovery');
is(problems(), 'failed error ok', 'one message each');
($message) = reverse messages();
like($message->{text}, qr/^Sync "s" is fine again: run \d+ shows no problem$/, 'in words');
is($message->{action}, 'resolve', 'for machines');
is(($t->requests(path => '^/ops'))[0]{headers}{authorization}, 'Bearer Sup3rSecret', 'with the destination\'s credentials');
refuse();
change_and_run();
told('failed', 'failed again');
$t->run('s');
told('ok', 'a run that sends nothing is no failure');
like((reverse messages())[0]{text}, qr/shows no problem, but 10 rows wait in failed_rows/, 'but says what it left');
$t->script();
change_and_run();

# --- held, and the person's word
alert('s', {destination => 'ops', at_most_every => '0s'});
$t->sql("SELECT ondatra.update_sync('s', options => '{\"on_empty\": \"hold\"}')");
$t->sql('CREATE TABLE mart.kept AS SELECT * FROM mart.people; DELETE FROM mart.people');
$t->run('s');
told('held', 'a held run is told of');
like((reverse messages())[0]{text}, qr/^Sync "s": run \d+ is held: .*/, 'with the reason');
$t->sql("SELECT ondatra.reject_run(run_id) FROM ondatra.held_runs");
told('ok', 'a decision ends it');
like((reverse messages())[0]{text}, qr/fine again: it rests: run \d+ was rejected by "ann"/, 'and is told');
$t->sql("INSERT INTO mart.people SELECT * FROM mart.kept; SELECT ondatra.resume_sync('s')");

# --- partial over a part
alert('s', {destination => 'ops', at_most_every => '0s', partial => '20%'});
$t->sql("UPDATE mart.people SET poison = id <= 2, name = name || '?'");
$t->script({rules => [], records => {poison => 'poison'}});
$t->run('s');
settle();
is($t->sql("SELECT problem FROM ondatra.alerts WHERE sync_name = 's'"), 'ok', '20 % of the rows are not more than 20 %');
$t->sql("UPDATE mart.people SET poison = id <= 3, name = name || '?'");
$t->run('s');
told('partial', '30 % are');
like((reverse messages())[0]{text}, qr/left 3 of 10 rows undelivered/, 'in words');
$t->run('s');
settle();
is($t->sql("SELECT problem FROM ondatra.alerts WHERE sync_name = 's'"), 'partial', 'rows that wait for a person are not delivered either: no recovery');
$t->sql('UPDATE mart.people SET poison = false');
$t->run('s');
told('ok', 'until they are');

# --- slow: while it runs, and over
alert('s', {destination => 'ops', at_most_every => '0s', slower_than => '1 second'});
$t->script({path => '^/contacts', times => 1, answer => {misbehave => 'hang'}});
$t->sql("UPDATE mart.people SET name = 'slow' WHERE id = 1; SELECT ondatra.trigger_sync('s')");
told('slow', 'a run that takes too long is told of while it goes on');
$t->release;
$t->script();
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0');
settle();
is($t->sql("SELECT problem FROM ondatra.alerts WHERE sync_name = 's'"), 'slow', 'it was slow when it has ended, too');
$t->run('s');
told('ok', 'a quick one is the recovery');

# --- no run
alert('s', {destination => 'ops', at_most_every => '0s', no_run_since => '2 seconds'});
told('no_run', 'nothing has run for too long');
$t->run('s');
$t->poll(sub { (grep { $_->{problem} eq 'ok' && $_->{previous} eq 'no_run' } messages()) > 0 }, 'a run is the recovery');
alert('s', {destination => 'ops', at_most_every => '0s'});
told('ok', 'what is not watched any more is over');

# --- never a flood: what came and went untold is not told, and messages keep their distance
my $before = messages();
alert('s', {destination => 'ops', at_most_every => '1 hour'});
for (1 .. 4) {
    refuse();
    change_and_run();
    told('failed', "failed, time $_");
    $t->script();
    change_and_run();
    settle();
}
is(scalar(messages()) - $before, 1, 'a sync that comes and goes is told of once in at_most_every');
is($t->sql("SELECT problem || ' ' || told || ' ' || (next_attempt_at > now() + interval '50 minutes') FROM ondatra.alert_messages WHERE sync_name = 's'"), 'ok failed true', 'the recovery waits');
$t->script({path => '^/contacts', answer => {status => 401}});
change_and_run();
told('error', 'what is worse than what was told does not wait');
$t->script();
change_and_run();
$t->admin("UPDATE ondatra.all_alerts SET next_attempt_at = NULL");
$t->run('marker');
told('ok', 'and then it is over');

# --- a destination that is broken
$t->script({path => '^/ops', answer => {status => 500, json => {error => {message => 'Sup3rSecret is out of order'}}}}, {path => '^/contacts', answer => {status => 422}});
$t->sync("t$_", "SELECT $_ AS id", 'api', key => ['id'], options => {alert => {destination => 'ops'}}) for 1 .. 3;
$t->run("t$_") for 1 .. 3;
$t->poll_sql("SELECT count(*) FROM ondatra.alerts WHERE problem = 'failed' AND told = 'ok'", '3', 'messages that do not get through wait');
settle();
is($t->sql("SELECT sum(attempts) FROM ondatra.alert_messages WHERE problem <> told"), '1', 'a destination that fails is asked once for all of them');
is($t->sql("SELECT last_error FROM ondatra.alert_messages WHERE attempts = 1"), '*** is out of order (HTTP 500)', 'the reason is there, without the secret');
$t->run('marker');
my $log = Ondatra::Test::slurp($t->node->logfile);
is(scalar(() = $log =~ /the alert about sync "t\d" could not be sent/g), 1, 'one line in the log');
$t->script({path => '^/contacts', answer => {status => 422}});
$before = messages();
$t->node->stop('immediate');
$t->start_again;
$t->admin("UPDATE ondatra.all_alerts SET next_attempt_at = NULL");
$t->sql("SELECT ondatra.trigger_sync('marker')");
$t->poll_sql("SELECT count(*) FROM ondatra.alerts WHERE told = 'failed'", '3', 'they get through later, also after a crash');
is(scalar(messages()) - $before, 3, 'each once');

# the process that tells dies between the answer and its record: once more, with the same idempotency key
$t->script({path => '^/ops', answer => {misbehave => 'hang'}});
$t->sql("SELECT ondatra.update_sync('t1', options => '{\"alert\": {\"destination\": \"ops\", \"failed\": 0}}')");
$t->admin("UPDATE ondatra.all_alerts SET next_attempt_at = NULL");
$t->sql("SELECT ondatra.trigger_sync('marker')");
$t->poll(sub { $t->state->{hanging} == 1 }, 'a message is under way');
is($t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'ondatra alert' AND backend_xmin IS NULL AND xact_start IS NULL"), '1', 'without a transaction');
$t->admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'ondatra alert'");
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'ondatra alert'") eq '0' }, 'its process is ended');
$t->script({path => '^/contacts', answer => {status => 422}});
$t->run('marker');
told('ok', 'the message is not lost', 't1');

# --- whom one may tell
$t->sql_as('bob', 'SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => 'bobs', base_url => $t->url . '/bobs') . ')');
$t->sql_fails(q{SELECT ondatra.update_sync('s', options => '{"alert": {"destination": "bobs"}}')}, qr/destination "bobs" does not exist/, 'only by destinations that the owner may use');
$t->sql_fails(q{SELECT ondatra.update_sync('s', options => '{"alert": {"destination": "ops", "fields": {"text": "{{nothing}}"}}}')},
    qr/unknown word \{\{nothing\}\}.*HINT:  Valid words are \{\{text\}\}/s, 'unknown words are refused');
$t->sql_fails(q{SELECT ondatra.update_sync('s', options => '{"alert": {"destination": "ops", "sometimes": 1}}')}, qr/unknown option "sometimes" of alert.*Valid options are destination/s, 'unknown options');
$t->sql_fails(q{SELECT ondatra.update_sync('marker', options => '{"alert": {"held": true}}')}, qr/Name the destination/, 'somebody has to be told');
$t->sql_fails(q{SELECT ondatra.drop_destination('ops')}, qr/takes the alerts of syncs.*"s"/s, 'a destination that takes alerts is not dropped');
$t->admin('GRANT bob TO ann');
$t->sql(q{SELECT ondatra.update_sync('t2', options => '{"alert": {"destination": "bobs", "at_most_every": "0s"}}')});
$t->admin('REVOKE bob FROM ann');
$t->script();
$t->run('t2');
$t->admin("UPDATE ondatra.all_alerts SET next_attempt_at = NULL");
$t->run('marker');
$t->poll_sql("SELECT last_error ~ 'bobs.*does not exist|may not use' FROM ondatra.alert_messages WHERE sync_name = 't2'", 't', 'a right that ended ends the telling, with the reason');
is($t->count_requests(path => '^/bobs'), 0, 'nothing was sent there');

# --- other forms: Slack by its connector, PagerDuty's by fields
$t->sql('SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => 'slack', connector => 'slack', base_url => $t->url . '/slack', auth => {type => 'bearer', token => {secret => 'token'}}) . ')');
$t->sql_fails(q{SELECT ondatra.update_sync('t3', options => '{"alert": {"destination": "slack", "object": "messages"}}')}, qr/does not fill a field that the destination requires: channel/, 'what an API requires is asked for');
$t->sql_fails(q{SELECT ondatra.update_sync('t3', options => '{"alert": {"destination": "slack", "object": "users"}}')}, qr/\S/, 'an object that cannot be created is refused');
$t->sql(q{SELECT ondatra.update_sync('t3', options => '{"alert": {"destination": "slack", "object": "messages", "fields": {"channel": "#ops", "text": "{{text}} \u00e9 \"{{problem}}\""}, "at_most_every": "0s"}}')});
$t->script({path => '^/slack', answer => {json => {ok => JSON::PP::false, error => 'channel_not_found'}}});
$t->run('t3');
$t->admin("UPDATE ondatra.all_alerts SET next_attempt_at = NULL");
$t->run('marker');
$t->poll_sql("SELECT last_error FROM ondatra.alert_messages WHERE sync_name = 't3'", 'channel_not_found', 'a refusal inside a 200 is one');
$t->script({path => '^/slack', answer => {json => {ok => JSON::PP::true, ts => '1.2', channel => 'C1'}}});
$t->admin("UPDATE ondatra.all_alerts SET next_attempt_at = NULL");
$t->run('marker');
told('ok', 'Slack is told', 't3');
my ($slack) = reverse $t->requests(path => '^/slack/chat.postMessage');
like($slack->{body}, qr/^text=Sync\+%22t3%22\+is\+fine\+again.*\+%C3%A9\+%22ok%22&channel=%23ops$/, 'in its form');

# --- a hostile name stays text
my $hostile = q[x"}, "action": "none] . "\x{1F600}<b>";
$t->sync($hostile, 'SELECT id / 0 AS id FROM mart.people', 'api', key => ['id'], options => {alert => {destination => 'ops', fields => {summary => '{{sync}}: {{message}}', nested => {deep => ['{{problem}}']}}}});
$t->run($hostile);
$t->poll(sub { grep { ($_->{summary} // '') =~ /division by zero/ } messages() }, 'a message about it is sent');
($message) = grep { ($_->{summary} // '') =~ /division by zero/ } messages();
is_deeply([sort keys %$message], ['nested', 'summary'], 'quotes do not leave their string');
is($message->{nested}{deep}[0], 'failed', 'words deep inside');
is(index($message->{summary}, $hostile), 0, 'the name is whole');

is($t->sql_as('bob', 'SELECT count(*) FROM ondatra.alerts'), '0', 'others see no alerts');
$t->sql("SELECT ondatra.drop_sync('t1')");
is($t->admin("SELECT count(*) FROM ondatra.all_alerts a WHERE NOT EXISTS (SELECT FROM ondatra.all_syncs s WHERE s.sync_id = a.sync_id)"), '0', 'drop_sync takes its alert along');
$t->no_violations;
done_testing;
