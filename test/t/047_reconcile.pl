# reconcile_sync: what is missing, extra, different and duplicate at the destination, and its repair through ordinary runs.

use strict;
use utf8;
use warnings FATAL => 'all';
use HTTP::Tiny;
use JSON::PP ();
use Ondatra::Sessions;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
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
# Between tests: an empty API, an empty state.
sub anew { my ($sync) = @_; $t->reset_destination; $t->sql("SELECT ondatra.drop_sync('$sync')"); return }

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
done_testing();
