# Option keep: values of rows that have left the model, for the templates of deletes. Where a record is in doubt, nothing is deleted by a guess.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new;
my $object = {upsert => {method => 'PUT', path => '/lists/{{list}}/{{key}}'}, delete => {method => 'DELETE', path => '/lists/{{list}}/{{key}}'}};
my %free = (max_deletes => '100%', keep => ['list']);
sub deleted { return join ' ', map { $_->{path} } $t->requests(method => 'DELETE') }
sub state_of { my ($name) = @_; return 'ondatra.state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = '$name'") }
sub kept { my ($name) = @_; return $t->sql('SELECT string_agg(k1 || coalesce(_kept::text, \'-\'), \' \' ORDER BY k1) FROM ' . state_of($name)) }

$t->sql("CREATE TABLE mart.m (id int PRIMARY KEY, name text, list text, due date, tags text[], raw json, blob text);
    INSERT INTO mart.m (id, name, list) SELECT i, 'n' || i, CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd/\x{fc}' END FROM generate_series(1, 8) i");
$t->destination('lists', {object => $object, concurrency => 2});
my %mirror = (mode => 'mirror', mapping => {name => 'name'});

# --- checked when it is created
sub refused { my ($options, $pattern, $name, %more) = @_;
    return $t->sql_fails('SELECT ondatra.create_sync(' . Ondatra::Test::arguments(name => 'x', model => 'mart.m', destination => 'lists', key => ['id'], %mirror, options => $options, %more) . ')', $pattern, $name) }
refused({}, qr/the delete of destination "lists" names column "list", which is not kept.*"keep": \["list"\]/s, 'a delete may name only what is kept');
refused({keep => ['lisst']}, qr/column "lisst" of option keep does not exist.*The model has the columns/s, 'a column that is not there');
refused({keep => 'list'}, qr/invalid value for option "keep"/, 'not a list');
refused({keep => ['list', 'list']}, qr/invalid value for option "keep"/, 'twice the same');
refused({keep => ['list', 7]}, qr/invalid value for option "keep"/, 'not a name');
refused({keep => ['list', 'raw']}, qr/column "raw" of type json cannot be kept.*jsonb/s, 'json may hold what jsonb cannot');
is($t->sql('SELECT count(*) FROM ondatra.syncs'), '0', 'nothing half-created stays');
$t->sync('upserts', 'mart.m', 'lists', mapping => {name => 'name'});
pass('a sync that never deletes need not keep');

# --- the usual way
$t->sync('members', 'mart.m', 'lists', %mirror, options => {%free, keep => ['list', 'due', 'tags']});
$t->run_is($t->run('members'), {status => 'succeeded', rows_created => 8}, 'rows are delivered');
is($t->sql('SELECT _kept FROM ' . state_of('members') . ' WHERE k1 = 2'), '{"due": null, "list": "even", "tags": null}', 'and their columns kept');
$t->sql("DELETE FROM mart.m WHERE id IN (1, 2)");
is($t->sql(q{SELECT string_agg(url, ' ' ORDER BY url) FROM ondatra.preview_sync('members')}) =~ s/\Q@{[ $t->url ]}\E//gr, '/lists/even/2 /lists/odd%2F%C3%BC/1', 'preview shows where deletes go');
$t->run_is($t->run('members'), {status => 'succeeded', rows_deleted => 2}, 'rows that left are deleted');
is(join(' ', sort split / /, deleted()), '/lists/even/2 /lists/odd%2F%C3%BC/1', 'where they were, encoded');
$t->sql("UPDATE mart.m SET list = 'new' WHERE id = 3; UPDATE mart.m SET list = 'new', name = 'moved', due = '2026-01-02', tags = '{a,b}' WHERE id = 4");
$t->run_is($t->run('members'), {rows_updated => 1, rows_unchanged => 5}, 'a kept column alone is no change');
is($t->sql('SELECT string_agg(_kept::text, E\'\n\' ORDER BY k1) FROM ' . state_of('members') . ' WHERE k1 IN (3, 4)'),
    qq({"due": null, "list": "odd/\x{c3}\x{bc}", "tags": null}\n{"due": "2026-01-02", "list": "new", "tags": ["a", "b"]}), 'what is kept is what was delivered');
$t->reset_destination;
$t->control('POST', 'records', {lists => {3 => {}, 4 => {}}});
$t->script({method => 'DELETE', answer => {status => 204}});
$t->sql('DELETE FROM mart.m WHERE id IN (3, 4)');
$t->run_is($t->run('members'), {rows_deleted => 2}, 'both are deleted');
is(join(' ', sort split / /, deleted()), '/lists/new/4 /lists/odd%2F%C3%BC/3', 'from where they are');
my $explained = $t->sql(q{SELECT ondatra.explain_row('members', '{"id": 5}') -> 'state' -> 'kept' ->> 'list'});
is($explained, "odd/\x{c3}\x{bc}", 'explain_row shows what is kept');

# --- NULL is no value
$t->sql("UPDATE mart.m SET list = NULL, name = 'nowhere' WHERE id = 5");
$t->run_is($t->run('members'), {rows_invalid => 1}, 'an update needs its value as ever');
$t->sql("UPDATE mart.m SET list = 'odd', name = 'n5' WHERE id = 5; SELECT ondatra.retry_failed('members')");
$t->run('members');

# --- keep comes later: rows that were delivered before have none
$t->script;
$t->sql("INSERT INTO mart.m (id, name, list) VALUES (21, 'a', 'l'), (22, 'b', 'l'), (23, 'c', 'l')");
$t->sync('later', 'SELECT * FROM mart.m WHERE id BETWEEN 20 AND 29', 'lists', mapping => {name => 'name'});
$t->run_is($t->run('later'), {rows_created => 3}, 'delivered without keeping');
$t->sql_fails(q{SELECT ondatra.update_sync('later', mode => 'mirror')}, qr/which is not kept/, 'it cannot delete');
$t->sql(q{SELECT ondatra.update_sync('later', mode => 'mirror', options => '{"keep": ["list"], "max_deletes": "100%"}')});
$t->sql('DELETE FROM mart.m WHERE id = 21');
$t->run_is($t->run('later'), {rows_deleted => 0, deletes_failed => 1, rows_unchanged => 2}, 'a row without a kept value is not deleted');
is(kept('later'), '21- 22- 23-', 'nothing is made up for rows that did not change');
my ($row) = $t->failed_rows('later');
is($row->{error_class}, 'invalid', 'it is a row that cannot be sent');
like($row->{error_message}, qr/^\{\{list\}\} is not known: it was not kept when this row was delivered; .*resend_sync\(\) and rebase_sync\(\)/, 'and says why');
$t->sql(q{SELECT ondatra.discard_failed('later')});
is($t->sql(q{SELECT ondatra.rebase_sync('later')}), '2', 'rebase keeps the columns of rows as they are');
is(kept('later'), '22{"list": "l"} 23{"list": "l"}', 'of all of them');
is($t->sql(q{SELECT ondatra.rebase_sync('later')}), '0', 'once');
$t->sql("UPDATE mart.m SET list = 'k' WHERE id = 23; SELECT ondatra.resend_sync('later')");
$t->run_is($t->run('later'), {rows_updated => 2}, 'resend sends all');
is(kept('later'), '22{"list": "l"} 23{"list": "k"}', 'and keeps');
$t->sql(q{SELECT ondatra.update_sync('later', mode => 'upsert', options => '{"keep": null}')});
is(kept('later'), '22- 23-', 'what is not to be kept any more goes');
$t->sql(q{SELECT ondatra.drop_sync('later')});

# --- in doubt
$t->reset_destination;
$t->sql("INSERT INTO mart.m (id, name, list) VALUES (31, 'a', 'l'), (32, 'b', 'l')");
$t->sync('doubts', 'SELECT * FROM mart.m WHERE id BETWEEN 30 AND 39', 'lists', %mirror, options => {%free, in_doubt_wait => '0ms', concurrency => 1});
sub hangs {
    my ($name, @rules) = @_;
    $t->script(@rules, {method => 'PUT', answer => {misbehave => 'hang'}});
    my $id = $t->sql("SELECT run_id FROM ondatra.run_sync('$name', wait => false)");
    $t->poll(sub { $t->state->{hanging} }, 'a request hangs');
    return $id;
}
sub cut_off { my ($name) = @_; my $id = hangs($name); $t->sql("SELECT ondatra.cancel_run($id)"); $t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'cancelled', 'cancelled'); $t->script; return }
cut_off('doubts');
is(kept('doubts'), '31{"list": "l"}', 'a create in doubt: the record can only be there');
$t->sql("UPDATE mart.m SET list = 'm' WHERE id = 31");
cut_off('doubts');
is(kept('doubts'), '31[{"list": "l"}, {"list": "m"}]', 'sent to another place, in doubt again: it may be at both');
like($t->sql(q{SELECT ondatra.explain_row('doubts', '{"id": 31}') -> 'state' -> 'kept'}), qr/^\[/, 'explain_row shows both');
$t->sql('CREATE TABLE mart.away AS SELECT * FROM mart.m WHERE id = 31; DELETE FROM mart.m WHERE id = 31');
$t->run_is($t->run('doubts'), {rows_created => 1, rows_deleted => 0, deletes_failed => 1}, 'it is not deleted at one of them by a guess');
like(($t->failed_rows('doubts'))[0]{error_message}, qr/^\{\{list\}\} is in doubt: /, 'and says so');
$t->sql('INSERT INTO mart.m SELECT * FROM mart.away');
$t->run_is($t->run('doubts'), {status => 'succeeded'}, 'back in the model it goes again');
is(kept('doubts'), '31{"list": "m"} 32{"list": "l"}', 'what is accepted settles it');
$t->sql("UPDATE mart.m SET list = 'n', name = 'poisoned' WHERE id = 31");
cut_off('doubts');
is(kept('doubts'), '31[{"list": "m"}, {"list": "n"}] 32{"list": "l"}', 'an update in doubt');
$t->script({method => 'PUT', answer => {status => 422}});
$t->run_is($t->run('doubts'), {rows_failed => 1}, 'which is refused then');
is(kept('doubts'), '31{"list": "m"} 32{"list": "l"}', 'leaves what was accepted before');
$t->script;
$t->sql('DELETE FROM mart.m WHERE id = 31');
$t->reset_destination;
$t->control('POST', 'records', {lists => {31 => {}}});
$t->script({method => 'DELETE', answer => {status => 204}});
$t->run_is($t->run('doubts'), {rows_deleted => 1}, 'and the delete knows where');
is(deleted(), '/lists/m/31', 'it goes there');

# --- a worker that dies with a request in flight leaves what it was about in its window
my $id = do { $t->sql("INSERT INTO mart.m (id, name, list) VALUES (33, 'c', 'w'); UPDATE mart.m SET name = 'bb', list = 'w' WHERE id = 32"); hangs('doubts') };
$t->sql('DELETE FROM mart.m WHERE id = 33');
$t->script;
$t->admin("SELECT pg_terminate_backend(pid) FROM ondatra.live_runs() WHERE run_id = $id");
$t->poll_sql("SELECT status FROM ondatra.sync_runs WHERE run_id = $id", 'interrupted', 'the run is interrupted');
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE run_id > $id AND finished_at IS NOT NULL AND trigger = 'recovery'", '1', 'another goes on');
is(kept('doubts'), '32{"list": "w"}', 'the update was accepted');
like(deleted(), qr{/lists/w/33}, 'the create that was in the window is deleted where it may be');
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0', 'then nothing runs');

# --- sizes
$t->sql("INSERT INTO mart.m (id, name, list, blob) VALUES (41, 'a', 'l', repeat('x', 7900)), (42, 'b', 'l', repeat('x', 8001))");
$t->sync('sizes', 'SELECT * FROM mart.m WHERE id BETWEEN 40 AND 49', 'lists', %mirror, options => {%free, keep => ['list', 'blob']});
$t->run_is($t->run('sizes'), {rows_created => 1, rows_invalid => 1}, 'much is not kept');
like(($t->failed_rows('sizes'))[0]{error_message}, qr/the columns of option keep have more than 8000 bytes/, 'and says so');

# --- dump and restore
my $dump = "$t->{dir}/dump.sql";
command_ok(['pg_dump', '-f', $dump, '-d', $t->node->connstr('postgres')], 'pg_dump');
$t->node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok(['psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $t->node->connstr('copy'), '-f', $dump], 'restore into another database');
is($t->node->safe_psql('copy', 'SELECT string_agg(k1 || _kept::text, \' \' ORDER BY k1) FROM ' . state_of('doubts')), kept('doubts'), 'has what was kept');
done_testing();
