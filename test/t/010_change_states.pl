# The states of a change against a server that answers, or does not: each transition of src/core/change.h by name.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql('CREATE TABLE mart.rows (id int PRIMARY KEY, v text)');
my %QUICK = (timeout_ms => 300, retry => {attempts => 1, base_ms => 1, max_ms => 1});
my $WAIT = {in_doubt_wait => '1 second'};
my $LOST = {apply => \1, misbehave => 'hang'};
my $n = 0;

# A sync of its own for each scenario, over one row of its own.
sub scenario {
    my ($name, %args) = @_;
    my $id = ++$n;
    note("--- $name");
    $t->reset_destination;
    $t->destination("d$id", {%QUICK, %{ $args{destination} || {} }});
    $t->sync("s$id", "SELECT id, v FROM mart.rows WHERE id = $id", "d$id", mode => $args{mode} || 'mirror', options => {%$WAIT, %{ $args{options} || {} }});
    return ("s$id", $id);
}

sub set_value { my ($id, $v) = @_; $t->sql("INSERT INTO mart.rows VALUES ($id, " . Ondatra::Test::literal($v) . ') ON CONFLICT (id) DO UPDATE SET v = excluded.v') }
sub remove { my ($id) = @_; $t->sql("DELETE FROM mart.rows WHERE id = $id") }
sub there { my ($id) = @_; my $r = $t->records->{$id}; return $r ? $r->{v} : undef }
sub puts { my ($id) = @_; return $t->requests(method => 'PUT', path => "^/contacts/$id\$") }
sub keys_of { return map { $_->{headers}{'idempotency-key'} } @_ }
sub verdict { my ($sync, $id) = @_; return $t->sql("SELECT ondatra.explain_row('$sync', '{\"id\": $id}')->>'verdict'") }
sub doubt { my ($sync, $id) = @_; return $t->sql("SELECT ondatra.explain_row('$sync', '{\"id\": $id}')->'doubt'->>'operation'") }

# Loses the answer to the next write, which took effect.
sub lose_answer { my ($sync) = @_; $t->script({method => ['PUT', 'DELETE'], answer => $LOST}); my $run = $t->run($sync); $t->script(); return $run }

{
    my ($sync, $id) = scenario('accepted, unchanged, changed');
    set_value($id, 'A');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 1}, 'absent -> create -> accepted');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_unchanged => 1, requests => 0}, 'accepted and equal -> unchanged, nothing sent');
    set_value($id, 'B');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_updated => 1}, 'accepted and other -> update');
    set_value($id, 'A');
    $t->run($sync);
    set_value($id, 'B');
    $t->run($sync);
    my %distinct = map { $_ => 1 } keys_of(puts($id));
    is(scalar keys %distinct, 4, 'A -> B -> A -> B are four idempotency keys');
    is(there($id), 'B', 'and B is there');
    $t->no_violations;
}
{
    my ($sync, $id) = scenario('A -> B unanswered -> A');
    set_value($id, 'A');
    $t->run($sync);
    set_value($id, 'B');
    $t->run_is(lose_answer($sync), {status => 'failed', rows_failed => 1, rows_updated => 0}, 'a lost answer is no delivery');
    is(there($id), 'B', 'although B arrived');
    is(doubt($sync, $id), 'update', 'the key is in doubt');
    my @failed = $t->failed_rows($sync);
    is($failed[0]{error_class}, 'unknown_outcome', 'and listed as of unknown outcome');
    set_value($id, 'A');
    like(verdict($sync, $id), qr/^(pending|update)/, 'A differs although A was accepted last');
    $t->run($sync);
    $t->poll(sub { there($id) eq 'A' }, 'after the wait A is sent, without a person');
    $t->poll_sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$sync'", '0', 'the failed row closed by itself');
    $t->poll_sql("SELECT count(*) FROM ondatra.run_progress WHERE sync_name = '$sync'", '0', 'all runs ended');
    is(verdict($sync, $id), 'unchanged', 'and nothing is left to do');
    $t->no_violations;
}
{
    my ($sync, $id) = scenario('an unknown create whose row then leaves the mirror');
    set_value($id, 'A');
    lose_answer($sync);
    is(there($id), 'A', 'the create arrived');
    remove($id);
    like(verdict($sync, $id), qr/^delete/, 'a key in doubt counts as delivered for a mirror');
    my $run = $t->run($sync);
    ok($run->{deletes_pending} == 1 || $run->{rows_deleted} == 1, 'the delete waits or is sent');
    $t->poll(sub { !defined there($id) }, 'the record goes, without a person');
    $t->poll_sql("SELECT count(*) FROM ondatra.run_progress WHERE sync_name = '$sync'", '0', 'all runs ended');
    like(verdict($sync, $id), qr/^unknown key/, 'and the key is forgotten');
}
{
    my ($sync, $id) = scenario('the change in doubt goes again under its own key');
    set_value($id, 'A');
    lose_answer($sync);
    $t->run_is($t->run($sync), {status => 'succeeded', rows_held_back => 1, requests => 0}, 'before its next attempt it is held back');
    is($t->sql("SELECT ondatra.retry_failed('$sync')"), '1', 'retry_failed releases it');
    $t->poll_sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$sync'", '0', 'it is delivered');
    my @keys = keys_of(puts($id));
    is(scalar @keys, 2, 'two requests went out');
    is($keys[0], $keys[1], 'with one idempotency key');
    is($t->sql("SELECT sum(rows_created) FROM ondatra.sync_runs WHERE sync_name = '$sync'"), '1', 'and one create is counted');
    $t->no_violations;
}
{
    my ($sync, $id) = scenario('5xx, then accepted in the same run', destination => {retry => {attempts => 3, base_ms => 5, max_ms => 10}});
    set_value($id, 'A');
    $t->script({method => 'PUT', times => 1, answer => {status => 503}});
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 1, requests => 2, retries => 1}, 'one retry');
    my @keys = keys_of(puts($id));
    is($keys[0], $keys[1], 'under one key');
    is(doubt($sync, $id), '', 'a definite answer ends the doubt');
}
{
    my ($sync, $id) = scenario('refused: not again until it changes, and back to what was accepted');
    set_value($id, 'A');
    $t->run($sync);
    $t->script({method => 'PUT', json => {'/v' => 'bad'}, answer => {status => 422, json => {message => 'v is bad'}}});
    set_value($id, 'bad');
    $t->run_is($t->run($sync), {status => 'failed', rows_failed => 1, requests => 1}, 'refused');
    my @failed = $t->failed_rows($sync);
    $t->run_is($failed[0], {error_class => 'rejected', http_status => 422, error_message => 'v is bad', next_attempt_at => undef, attempts => 1}, 'with its reason');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_held_back => 1, requests => 0}, 'held back, no quota burnt');
    set_value($id, 'A');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_unchanged => 1, requests => 0}, 'back to the accepted version: nothing to send');
    is(scalar $t->failed_rows($sync), 0, 'and the failed row closed');
    set_value($id, 'bad');
    $t->run($sync);
    $t->script();
    $t->sql("SELECT ondatra.retry_failed('$sync', '{\"id\": $id}')");
    $t->poll_sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$sync'", '0', 'retry_failed sends it again');
    is(there($id), 'bad', 'and now it is accepted');
}
{
    my ($sync, $id) = scenario('refused, then a new version is accepted');
    set_value($id, 'bad');
    $t->script({method => 'PUT', json => {'/v' => 'bad'}, answer => {status => 422}});
    $t->run($sync);
    set_value($id, 'good');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 1}, 'the new version goes out at once');
    is(scalar $t->failed_rows($sync), 0, 'the failed row closed');
}
{
    my ($sync, $id) = scenario('refused, never accepted, then gone');
    set_value($id, 'bad');
    $t->script({method => 'PUT', answer => {status => 422}});
    $t->run($sync);
    remove($id);
    $t->run_is($t->run($sync), {status => 'succeeded', requests => 0, rows_deleted => 0}, 'a mirror does not delete what it never delivered');
    is(scalar $t->failed_rows($sync), 0, 'the failed row closed');
    like(verdict($sync, $id), qr/^unknown key/, 'the key is forgotten');
}
{
    my ($sync, $id) = scenario('discard: given up until the row changes');
    set_value($id, 'bad');
    $t->script({method => 'PUT', json => {'/v' => 'bad'}, answer => {status => 422}});
    $t->run($sync);
    is($t->sql("SELECT ondatra.discard_failed('$sync')"), '1', 'discarded');
    is(scalar $t->failed_rows($sync), 0, 'not listed any more');
    $t->run_is($t->run($sync), {rows_held_back => 1, requests => 0}, 'not sent');
    set_value($id, 'good');
    $t->run_is($t->run($sync), {rows_created => 1}, 'sent when it changed');
}
{
    my ($sync, $id) = scenario('at most once: on_unknown = hold', options => {on_unknown => 'hold'}, destination => {retry => {attempts => 3, base_ms => 5, max_ms => 10}});
    set_value($id, 'A');
    my $run = lose_answer($sync);
    is($run->{requests}, 1, 'no second try in the run');
    my @failed = $t->failed_rows($sync);
    $t->run_is($failed[0], {error_class => 'unknown_outcome', next_attempt_at => undef}, 'it waits for a person');
    $t->run_is($t->run($sync), {rows_held_back => 1, requests => 0}, 'and is not sent by later runs');
    $t->sql("SELECT ondatra.update_sync('$sync', options => '{\"in_doubt_wait\": \"0ms\"}')");
    $t->script({method => 'PUT', json => {'/v' => 'bad'}, answer => {status => 422}});
    set_value($id, 'bad');
    $t->run_is($t->run($sync), {status => 'failed', rows_failed => 1, requests => 1}, 'another version is refused');
    set_value($id, 'A');
    $t->run_is($t->run($sync), {rows_held_back => 1, requests => 0}, 'what is held stays held');
    like($t->sql("SELECT ondatra.explain_row('$sync', '{\"id\": $id}')->'doubt'"), qr/"held": "until retry_failed/, 'explain_row says so');
    $t->sql("SELECT ondatra.retry_failed('$sync')");
    $t->poll_sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$sync'", '0', 'a person releases it');
}
{
    my ($sync, $id) = scenario('a delete that is refused, and one in doubt');
    set_value($id, 'A');
    $t->run($sync);
    remove($id);
    $t->script({method => 'DELETE', answer => {status => 409}});
    $t->run_is($t->run($sync), {status => 'failed', deletes_failed => 1, rows_deleted => 0}, 'refused');
    $t->run_is($t->run($sync), {status => 'succeeded', requests => 0}, 'and held back');
    is(($t->failed_rows($sync))[0]{operation}, 'delete', 'listed as a delete');
    set_value($id, 'A');
    $t->run_is($t->run($sync), {rows_unchanged => 1, requests => 0}, 'the row is back: nothing to do');
    is(scalar $t->failed_rows($sync), 0, 'closed');
    remove($id);
    $t->run_is(lose_answer($sync), {deletes_failed => 1}, 'a delete without an answer');
    is(there($id), undef, 'that took effect');
    set_value($id, 'A');
    $t->run($sync);
    $t->poll(sub { (there($id) // '') eq 'A' }, 'the row is back: after the wait it is created again, without a person');
}
{
    my ($sync, $id) = scenario('a retry with another body: a field that is sent and not detected has changed', options => {in_doubt_wait => '0ms'}, destination => {retry => {attempts => 2, base_ms => 5, max_ms => 10}});
    $t->sql("ALTER TABLE mart.rows ADD seen int; SELECT ondatra.update_sync('$sync', model => 'SELECT id, v, seen FROM mart.rows WHERE id = $id', mapping => '{\"v\": \"v\", \"seen\": {\"column\": \"seen\", \"detect\": false}}')");
    set_value($id, 'A');
    my $key = sub { my @all = keys_of(puts($id)); return $all[-1] };
    lose_answer($sync);
    my $first = $key->();
    is(scalar(keys %{ { map { $_ => 1 } keys_of(puts($id)) } }), 1, 'in one run the body is the same, and the key');
    my $again = sub { my $n = scalar puts($id); $t->sql("SELECT ondatra.retry_failed('$sync')"); $t->poll_sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$sync'", '0', 'the change goes again with the row as it is now'); cmp_ok(scalar puts($id), '>', $n, 'in another request') };
    $again->();
    is($key->(), $first, 'the same body in the next run: the same key');
    $t->sql("UPDATE mart.rows SET v = 'B' WHERE id = $id");
    lose_answer($sync);
    my $second = $key->();
    $t->sql("UPDATE mart.rows SET seen = 1 WHERE id = $id");
    $again->();
    isnt($key->(), $second, 'under a key of its own: an API refuses another body under a known key');
    is($t->records->{$id}{seen}, 1, 'and the new body is there');
    $t->no_violations;
}
{
    my ($sync, $id) = scenario('a delete that failed for want of an answer counts as pending until its next attempt', destination => {retry => {attempts => 1}});
    set_value($id, 'A');
    $t->run($sync);
    remove($id);
    $t->script({method => 'DELETE', times => 1, answer => {status => 429}});
    $t->run_is($t->run($sync), {deletes_failed => 1, deletes_pending => 0}, 'it fails');
    $t->run_is($t->run($sync), {status => 'partial', deletes_pending => 1, deletes_failed => 0, requests => 0}, 'it waits: the run is partial');
    is($t->sql("SELECT backlog FROM ondatra.sync_status WHERE name = '$sync'"), '1', 'and it is in the backlog');
    $t->sql("SELECT ondatra.retry_failed('$sync')");
    $t->poll_sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$sync'", '0', 'sent again');
}
{
    my ($sync, $id) = scenario('accepted at the second try: the first may still arrive', options => {in_doubt_wait => '10 minutes'}, destination => {retry => {attempts => 2, base_ms => 5, max_ms => 10}});
    set_value($id, 'A');
    $t->script({method => 'PUT', times => 1, answer => {misbehave => 'hang'}});
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 1, retries => 1}, 'no answer, then accepted');
    like($t->sql("SELECT ondatra.explain_row('$sync', '{\"id\": $id}')->'state'->>'unanswered_at'"), qr/^20/, 'explain_row shows it');
    $t->run_is($t->run($sync), {rows_unchanged => 1, requests => 0}, 'the same version is unchanged');
    set_value($id, 'B');
    $t->run_is($t->run($sync), {status => 'partial', rows_pending => 1, requests => 0}, 'another waits, so that the first try cannot overtake it');
    my $wait = sub { $t->sql("SELECT ondatra.update_sync('$sync', options => '{\"in_doubt_wait\": \"$_[0]\"}')") };
    $wait->('0ms');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_updated => 1}, 'and goes after the wait');
    $wait->('10 minutes');
    remove($id);
    $t->script({method => 'DELETE', times => 1, answer => {misbehave => 'hang'}});
    $t->run_is($t->run($sync), {status => 'succeeded', rows_deleted => 1, retries => 1}, 'the same with a delete');
    set_value($id, 'B');
    $t->run_is($t->run($sync), {rows_pending => 1, requests => 0}, 'the row that is back waits');
    remove($id);
    $t->run_is($t->run($sync), {status => 'succeeded', requests => 0}, 'gone again: nothing to do');
    set_value($id, 'B');
    $wait->('0ms');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_created => 1}, 'and is created after the wait');
}
{
    my ($sync, $id) = scenario('a delete in doubt, and no such record');
    set_value($id, 'A');
    $t->run($sync);
    remove($id);
    $t->run_is(lose_answer($sync), {deletes_failed => 1}, 'a delete without an answer');
    $t->sql("SELECT ondatra.retry_failed('$sync')");
    $t->poll_sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = '$sync'", '0', 'the second try says 404: it was the first that deleted it');
    set_value($id, 'A');
    $t->poll_sql("SELECT count(*) FROM ondatra.run_progress WHERE sync_name = '$sync'", '0', 'all runs ended');
    $t->script({method => 'PUT', answer => {misbehave => 'close'}});
    $t->run($sync);
    $t->poll(sub { $t->run($sync)->{rows_pending} == 0 }, 'it is sent again');
    is(doubt($sync, $id), 'create', 'without an answer: in doubt');
    $t->script;
    remove($id);
    $t->poll(sub { my $run = $t->run($sync); $run->{status} eq 'succeeded' && !$run->{deletes_pending} }, 'the delete of what never came is done, too');
    is(scalar $t->failed_rows($sync), 0, 'and nothing failed');
    set_value($id, 'B');
    $t->run($sync);
    $t->poll(sub { (there($id) // '') eq 'B' }, 'the key can come back');
    $t->control('POST', 'reset');
    remove($id);
    $t->run_is($t->run($sync), {status => 'failed', deletes_failed => 1}, 'without doubt, 404 to a delete is for a person');
}
{
    my ($sync, $id) = scenario('attempts are bounded over runs', options => {max_attempts => 1});
    set_value($id, 'A');
    $t->script({method => 'PUT', answer => {status => 429}});
    $t->run($sync);
    my @failed = $t->failed_rows($sync);
    $t->run_is($failed[0], {error_class => 'throttled', attempts => 1, next_attempt_at => undef}, 'after max_attempts it waits for a person');
}
{
    my ($sync, $id) = scenario('a refused connection leaves no doubt');
    $t->sql("SELECT ondatra.update_destination('d$id', base_url => 'http://127.0.0.1:" . Ondatra::Test::free_port() . "')");
    set_value($id, 'A');
    $t->run_is($t->run($sync), {status => 'failed', rows_failed => 1}, 'failed');
    my @failed = $t->failed_rows($sync);
    is($failed[0]{error_class}, 'unavailable', 'as unavailable');
    ok(defined $failed[0]{next_attempt_at}, 'with a next attempt');
    is(doubt($sync, $id), '', 'and no doubt');
}
{
    my ($sync, $id) = scenario('resend and rebase');
    set_value($id, 'A');
    $t->run($sync);
    $t->sql("SELECT ondatra.resend_sync('$sync')");
    $t->run_is($t->run($sync), {status => 'succeeded', rows_updated => 1}, 'resend: the next run sends every row');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_unchanged => 1}, 'once');
    set_value($id, 'B');
    is($t->sql("SELECT ondatra.rebase_sync('$sync')"), '1', 'rebase adopts one row');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_unchanged => 1, requests => 0}, 'and nothing is sent');
    is(there($id), 'A', 'the destination keeps what it has');
    remove($id);
    is($t->sql("SELECT ondatra.rebase_sync('$sync')"), '0', 'rebase keeps pending removals');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_deleted => 1}, 'which the next run sends');
}
for my $hold (0, 1) {
    # What was refused (or held) for a reason of the destination's, then invalid, then as before: it is still there for a person.
    my ($sync, $id) = scenario($hold ? 'held -> invalid -> as before' : 'refused -> invalid -> as before', options => {checks => {short => {row => "v <> 'long'"}}, $hold ? (on_unknown => 'hold') : ()});
    set_value($id, 'bad');
    if ($hold) { lose_answer($sync) } else { $t->script({method => 'PUT', answer => {status => 422, json => {message => 'bad mail'}}}); $t->run($sync) }
    my ($first) = $t->failed_rows($sync);
    is($first->{error_class}, $hold ? 'unknown_outcome' : 'rejected', 'a row waits for a person');
    set_value($id, 'long');
    $t->run_is($t->run($sync), {status => 'partial', rows_invalid => 1}, 'then it cannot be sent');
    is(($t->failed_rows($sync))[0]{error_class}, 'invalid', 'and is listed so');
    $t->run($sync);
    set_value($id, 'bad');
    $t->run_is($t->run($sync), {rows_invalid => 0, rows_held_back => 1, requests => 0}, 'the version of before is held back');
    my ($again) = $t->failed_rows($sync);
    is_deeply($again, $first, 'and listed with what was said of it');
    is($t->sql("SELECT ondatra.retry_failed('$sync')"), '1', 'retry_failed reaches it');
    $t->script();
    $t->poll_sql("SELECT status || rows_created FROM ondatra.sync_runs WHERE sync_name = '$sync' ORDER BY run_id DESC LIMIT 1", 'succeeded1', 'and it is delivered');
    is(scalar($t->failed_rows($sync)), 0, 'nothing is left of it');
    set_value($id, 'long');
    $t->run($sync);
    set_value($id, 'bad');
    $t->run_is($t->run($sync), {status => 'succeeded', rows_unchanged => 1}, 'invalid, and as it was accepted');
    is(scalar($t->failed_rows($sync)), 0, 'nothing is listed');
}
done_testing();
