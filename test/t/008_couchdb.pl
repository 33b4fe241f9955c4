# CouchDB's API, spoken by PouchDB's server: bulk writes that answer 201 with refusals inside, revisions that an update must name, deletes that are
# writes, and documents that somebody else has changed. What it holds is asked of it directly.
# needs npm: pouchdb-server@4.2.0

use strict;
use utf8;
use FindBin;
use warnings FATAL => 'all';
use HTTP::Tiny;
use JSON::PP ();
use Ondatra::Test;
use Test::More;

# scripts/check.sh puts it there, and says why when it could not.
my ($program) = grep { -f } map { "$_/node_modules/pouchdb-server/bin/pouchdb-server" } $ENV{ONDATRA_NPM_DIR} || '/var/tmp/ondatra-npm';
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH} || '';
plan skip_all => 'node is not installed' unless $node;
plan skip_all => 'npm has not installed pouchdb-server' unless $program;

my $t = Ondatra::Test->new;
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $port = Ondatra::Test::free_port();
my $url = "http://127.0.0.1:$port";
start();

sub start {
    my $dir = "$t->{dir}/couchdb";
    mkdir $dir;
    my $log = "$dir/output.log";
    my $pid = Ondatra::Test::spawn($log, 'env', '-C', $dir, $node, $program, '--in-memory', '--host', '127.0.0.1', '--port', $port, '--config', "$dir/config.json");
    my $answer;
    $t->poll(sub { ($answer = HTTP::Tiny->new(timeout => 5)->get("$url/"))->{success} || !Ondatra::Test::alive($pid) });
    $answer->{success} or die 'the server of the CouchDB API did not start: ' . Ondatra::Test::slurp($log);
    return;
}

# Beside our back: a request to the server, its answer decoded.
sub couch {
    my ($method, $path, $content) = @_;
    my %options = defined $content ? (content => $json->encode($content), headers => {'content-type' => 'application/json'}) : ();
    my $answer = HTTP::Tiny->new(timeout => $Ondatra::Test::SECONDS)->request($method, "$url/$path", \%options);
    die "$method $path: $answer->{status} $answer->{content}" unless $answer->{success};
    return $json->decode($answer->{content});
}

# The living documents of a database: id -> document.
sub documents {
    my ($db) = @_;
    return {map { $_->{id} => $_->{doc} } @{ couch('GET', "$db/_all_docs?include_docs=true")->{rows} }};
}

sub without_rev { my ($document) = @_; my %copy = %$document; delete $copy{_rev}; return \%copy }
sub failed_keys { my ($sync) = @_; return [sort { $a <=> $b } map { $_->{key}{id} } $t->failed_rows($sync)] }

# One path, three bodies: a create has no revision yet, an update and a delete carry the one that the last answer gave.
sub bulk_object {
    my ($db, %how) = @_;
    my %rev = (_id => '{{key}}', _rev => '{{remote.rev}}');
    my %items = (create => {'$merge' => ['$fields', {_id => '{{key}}'}]}, update => {'$merge' => ['$fields', \%rev]}, delete => {%rev, _deleted => JSON::PP::true});
    my %result = (match => $how{match} || 'order', ok => {path => '/error', absent => JSON::PP::true}, error => '/reason', code => '/error', id => '/id', remote => {rev => '/rev'});
    return {map { $_ => {method => 'POST', path => "/$db/_bulk_docs", batch => {rows => 20, $how{group} ? (group => 'docs') : ()}, idempotent => JSON::PP::false, idempotency => undef,
        body => {docs => ['$each', $items{$_}]}, result => \%result} } keys %items};
}

sub setup {
    my ($db, $rows, %how) = @_;
    couch('PUT', $db);
    $t->sql("CREATE TABLE mart.$db AS SELECT i::text AS id, 'name ' || i AS name, i * 1.5 AS score FROM generate_series(1, $rows) i");
    $t->destination($db, {object => bulk_object($db, %how)}, base_url => $url);
    $t->sync($db, "mart.$db", $db, mode => 'mirror', mapping => {name => 'name', score => 'score'});
    return;
}

# --- the life of a document: created, updated twice, deleted, back again; revisions are carried from answer to request
for my $match ('order', {key => '/id'}) {
    my $db = ref $match ? 'by_key' : 'by_order';
    setup($db, 50, match => $match);
    $t->run_is($t->run($db), {status => 'succeeded', rows_created => 50, requests => 3}, "$db: 50 documents in 3 requests");
    my $documents = documents($db);
    is(scalar keys %$documents, 50, "$db: all are there");
    is_deeply(without_rev($documents->{17}), {_id => '17', name => 'name 17', score => 25.5}, "$db: with their fields");
    $t->run_is($t->run($db), {status => 'succeeded', rows_unchanged => 50, requests => 0}, "$db: unchanged, nothing is sent");
    for my $round (1, 2) {
        $t->sql("UPDATE mart.$db SET name = name || '+' WHERE id::int <= 30");
        $t->run_is($t->run($db), {status => 'succeeded', rows_updated => 30, rows_unchanged => 20, requests => 2}, "$db: update $round carries the revision");
    }
    $documents = documents($db);
    is(scalar(grep { $_->{_rev} =~ /^3-/ && $_->{name} =~ /\d\+\+$/ } values %$documents), 30, "$db: updated documents are at their third revision");
    is(scalar(grep { $_->{_rev} =~ /^1-/ } values %$documents), 20, "$db: the others are untouched");
    $t->sql("DELETE FROM mart.$db WHERE id::int IN (1, 2, 49, 50)");
    $t->run_is($t->run($db), {status => 'succeeded', rows_deleted => 4, rows_unchanged => 46, requests => 1}, "$db: deletes carry it too");
    is_deeply([grep { documents($db)->{$_} } 1, 2, 49, 50], [], "$db: they are gone");
    $t->sql("INSERT INTO mart.$db VALUES ('50', 'again', 1)");
    $t->run_is($t->run($db), {status => 'succeeded', rows_created => 1, rows_unchanged => 46}, "$db: a key that comes back is a create");
    is(documents($db)->{50}{name}, 'again', "$db: and is there again");
}

# --- creates, updates and deletes in one request
setup('grouped', 9, group => 1);
$t->run_is($t->run('grouped'), {status => 'succeeded', rows_created => 9, requests => 1}, 'grouped: created');
$t->sql(q{DELETE FROM mart.grouped WHERE id IN ('1', '2'); UPDATE mart.grouped SET name = 'new' WHERE id = '3'; INSERT INTO mart.grouped VALUES ('10', 'ten', 10)});
$t->run_is($t->run('grouped'), {status => 'succeeded', rows_created => 1, rows_updated => 1, rows_deleted => 2, rows_unchanged => 6, requests => 1}, 'grouped: one request for all three');
is_deeply([map { "$_ " . documents('grouped')->{$_}{name} } sort { $a <=> $b } keys %{ documents('grouped') }], ['3 new', (map { "$_ name $_" } 4 .. 9), '10 ten'], 'grouped: each is done');
couch('POST', 'grouped/_bulk_docs', {docs => [{%{ documents('grouped')->{4} }, name => 'theirs'}]});
$t->sql(q{DELETE FROM mart.grouped WHERE id = '5'; UPDATE mart.grouped SET name = 'newer'  WHERE id IN ('3', '4')});
$t->run_is($t->run('grouped'), {status => 'partial', rows_updated => 1, rows_deleted => 1, rows_failed => 1, requests => 1}, 'grouped: one of them was changed by somebody else');
is_deeply(failed_keys('grouped'), [4], 'grouped: which is refused alone');

# --- refusals inside a 201: documents that were there before us
{
    couch('PUT', 'taken');
    couch('POST', 'taken/_bulk_docs', {docs => [map { {_id => "$_", owner => 'somebody else'} } 4, 21, 22]});
    $t->sql("CREATE TABLE mart.taken AS SELECT i::text AS id, 'name ' || i AS name FROM generate_series(1, 50) i");
    $t->destination('taken', {object => bulk_object('taken')}, base_url => $url);
    $t->sync('taken', 'mart.taken', 'taken', mode => 'mirror', mapping => {name => 'name'});
    $t->run_is($t->run('taken'), {status => 'partial', rows_created => 47, rows_failed => 3, requests => 3, retries => 0}, 'conflicts inside a 201: 47 created, 3 failed');
    is_deeply(failed_keys('taken'), [4, 21, 22], 'exactly those that were there');
    for my $row ($t->failed_rows('taken')) {
        is("$row->{operation} $row->{error_class} $row->{http_status}", 'create rejected 201', "document $row->{key}{id}: refused, though the answer says 201");
        like($row->{error_message}, qr/^Document update conflict/, "document $row->{key}{id}: with the server's reason");
    }
    is(documents('taken')->{21}{owner}, 'somebody else', 'what was there is as it was');
    $t->run_is($t->run('taken'), {rows_unchanged => 47, rows_held_back => 3, requests => 0}, 'the next run leaves them alone');
    couch('POST', 'taken/_bulk_docs', {docs => [map { {%{ documents('taken')->{$_} }, _deleted => JSON::PP::true} } 4, 21, 22]});
    $t->run_is($t->retry('taken'), {status => 'succeeded', released => 3, rows_created => 3}, 'when the place is free, a retry delivers them');
    is(scalar keys %{ documents('taken') }, 50, 'all are there');
    is($t->sql("SELECT count(*) FROM ondatra.failed_rows WHERE sync_name = 'taken'"), '0', 'and no failure is left');
}

# --- changed behind our back: the revision that we know is not the last one any more
{
    setup('changed', 10);
    $t->run('changed');
    my %theirs = map { $_ => {%{ documents('changed')->{$_} }, name => 'theirs'} } 3, 5;
    couch('POST', 'changed/_bulk_docs', {docs => [values %theirs]});
    $t->sql("UPDATE mart.changed SET name = 'ours' WHERE id::int <= 4; DELETE FROM mart.changed WHERE id::int IN (5, 6)");
    my $run = $t->run('changed');
    $t->run_is($run, {status => 'partial', rows_updated => 3, rows_failed => 1, rows_deleted => 1, deletes_failed => 1, rows_unchanged => 4}, 'changed behind our back: reported, not delivered');
    my %failed = map { $_->{key}{id} => "$_->{operation} $_->{error_class}" } $t->failed_rows('changed');
    is_deeply(\%failed, {3 => 'update rejected', 5 => 'delete rejected'}, 'an update and a delete are refused');
    my $documents = documents('changed');
    is_deeply([map { $documents->{$_}{name} } 1 .. 5], [qw(ours ours theirs ours theirs)], 'their change is not overwritten, ours is beside it');
    ok(!$documents->{6}, 'the other delete went through');
    $run = $t->run('changed');
    is($run->{requests}, 0, 'the next run does not try again');
}

# --- one document that makes the server refuse the whole request is found by halving
{
    setup('malformed', 40);
    $t->sql("UPDATE mart.malformed SET id = '_' || id WHERE id IN ('7', '33')");
    $t->sql(q{SELECT ondatra.update_destination('malformed', options => '} . $t->json_of({object => do { my $object = bulk_object('malformed');
        $_->{atomic} = JSON::PP::true for values %$object; $object }}) . q{')});
    $t->run_is($t->run('malformed'), {status => 'partial', rows_created => 38, rows_failed => 2}, 'a 400 for the whole request: the others get through');
    my @failed = $t->failed_rows('malformed');
    is_deeply([map { "$_->{key}{id} $_->{error_class} $_->{http_status}" } @failed], ['_33 rejected 400', '_7 rejected 400'], 'the two ids that it does not allow stand alone');
    like($_->{error_message}, qr/Only reserved document ids may start with underscore/, 'and its reason is kept') for @failed;
    is(scalar keys %{ documents('malformed') }, 38, 'the 38 are there');
}

# --- one document a request, at its own address: PUT with the revision in a parameter, DELETE too, 404 when it is gone already, 409 when it is another
{
    couch('PUT', 'single');
    $t->sql("CREATE TABLE mart.single AS SELECT i || '/ä' AS id, i AS score FROM generate_series(1, 6) i");
    my %one = (path => '/single/{{key}}', query => {rev => '{{remote.rev}}'}, result => {remote => {rev => '/rev'}, id => '/id'}, error => '/reason');
    $t->destination('single', {object => {create => {%one, method => 'PUT', query => {}}, update => {%one, method => 'PUT'}, delete => {%one, method => 'DELETE', fine => [404]}}},
        base_url => $url);
    $t->sync('single', 'mart.single', 'single', mode => 'mirror', mapping => {score => 'score'});
    $t->run_is($t->run('single'), {status => 'succeeded', rows_created => 6, requests => 6}, 'single documents: created');
    $t->sql(q{UPDATE mart.single SET score = 100 WHERE score <= 2; DELETE FROM mart.single WHERE score = 6});
    $t->run_is($t->run('single'), {status => 'succeeded', rows_updated => 2, rows_deleted => 1, requests => 3}, 'single documents: updated and deleted, each at its address');
    my $documents = documents('single');
    is_deeply([map { $documents->{"$_/ä"}{score} } 1 .. 5], [100, 100, 3, 4, 5], 'single documents: as the model has them');
    is(scalar keys %$documents, 5, 'single documents: five are left');
    couch('PUT', 'single/3%2F%C3%A4?rev=' . $documents->{'3/ä'}{_rev}, {score => 'theirs'});
    $t->sql(q{UPDATE mart.single SET score = 30 WHERE score = 3});
    $t->run_is($t->run('single'), {rows_updated => 0, rows_failed => 1}, 'single documents: a 409 is a refusal');
    my ($row) = $t->failed_rows('single');
    is("$row->{key}{id} $row->{error_class} $row->{http_status} $row->{error_message}", "3/\xE4 rejected 409 Document update conflict", 'single documents: of that row, with its reason');
    couch('DELETE', 'single');
    couch('PUT', 'single');
    $t->sql(q{DELETE FROM mart.single WHERE score IN (4, 5)});
    $t->run_is($t->run('single'), {rows_deleted => 2, deletes_failed => 0}, 'single documents: what is gone already is deleted');
}

# --- a database that was there before us: compared with the model, adopted with its revisions, repaired
{
    couch('PUT', 'legacy');
    couch('POST', 'legacy/_bulk_docs', {docs => [map { {_id => "$_/ü", name => "näme $_", score => $_ * 1.5, ours => JSON::PP::false} } 1 .. 1200]});
    $t->sql("CREATE TABLE mart.legacy AS SELECT i || '/ü' AS id, 'näme ' || i AS name, i * 1.50 AS score, NULL::text AS gone FROM generate_series(1, 1203) i");
    $t->destination('legacy', undef, connector => 'couchdb', base_url => $url, options => {});
    $t->sync('legacy', 'mart.legacy', 'legacy', object => 'legacy', mode => 'mirror', mapping => {name => 'name', score => 'score', gone => 'gone'});
    couch('PUT', 'legacy/7%2F%C3%BC?rev=' . documents('legacy')->{'7/ü'}{_rev}, {name => 'theirs', score => 10.5});
    couch('PUT', 'legacy/stranger', {name => 'x'});
    my $reconcile = sub { return $t->sql("SELECT string_agg(problem || ' ' || (key->>'id') || ' ' || coalesce(detail->>'fields', ''), ', ' ORDER BY key->>'id' COLLATE \"C\") FROM ondatra.reconcile_sync('legacy', '{$_[0]}')") };
    my $found = $reconcile->('adopt');
    utf8::decode($found);
    is($found, 'different 7/ü {"name": {"model": "näme 7", "destination": "theirs"}}, extra stranger ', 'legacy: one is theirs, one was changed; a list of three pages');
    is($t->sql('SELECT count(*) FROM ondatra.' . $t->sql("SELECT 'state_' || sync_id FROM ondatra.syncs WHERE name = 'legacy'") . " WHERE _hash IS NOT NULL AND _remote->>'rev' LIKE '1-%' AND _remote_id = k1"), '1199',
        'legacy: adopted with id and revision');
    $t->run_is($t->run('legacy'), {status => 'succeeded', rows_unchanged => 1199, rows_created => 3, rows_updated => 1}, 'legacy: the run sends the others; the one that differs is found and written over');
    is($reconcile->(''), 'extra stranger ', 'legacy: then there is nothing but the stranger');
    $t->sql("UPDATE mart.legacy SET name = 'ours' WHERE id = '9/ü'");
    $t->run_is($t->run('legacy'), {status => 'succeeded', rows_updated => 1, requests => 1}, 'legacy: an update goes with the revision that was adopted');
    my $documents = documents('legacy');
    couch('PUT', 'legacy/11%2F%C3%BC?rev=' . $documents->{'11/ü'}{_rev}, {name => 'theirs again'});
    couch('DELETE', 'legacy/12%2F%C3%BC?rev=' . $documents->{'12/ü'}{_rev});
    $reconcile->('missing,different,extra');
    $t->run_is($t->run('legacy'), {status => 'succeeded', rows_created => 1, rows_updated => 1, rows_deleted => 1, rows_unchanged => 1201}, 'legacy: repaired by a run');
    is($reconcile->(''), '', 'legacy: as the model has it');
    $documents = documents('legacy');
    is_deeply([map { $documents->{$_}{name} } '9/ü', '11/ü', '12/ü'], ['ours', 'näme 11', 'näme 12'], 'legacy: in every document');
    ok(!$documents->{stranger}, 'legacy: the stranger is gone');
}
# --- the manual's tour
{
    my $page = Ondatra::Test::slurp("$FindBin::Bin/../../doc/tutorial.md");
    my $script = join '', $page =~ /^```sql couchdb\n(.*?)^```$/msg;
    $script =~ s{http://127\.0\.0\.1:5984}{$url}g or die 'doc/tutorial.md has no address to replace';
    $t->admin("CREATE DATABASE tour OWNER ann");
    $t->node->safe_psql('tour', 'CREATE EXTENSION ondatra');
    my ($out, $err) = ('', '');
    my $status = $t->node->psql('tour', $script, extra_params => ['-U', 'ann'], stdout => \$out, stderr => \$err, timeout => $Ondatra::Test::SECONDS);
    ok(!$status && $err !~ /ERROR|WARNING/, 'doc/tutorial.md: its SQL runs') || diag($err);
    like($out, qr/^partial\|0\|1\|1\|2\n(?=(?:.*\n)*\{"handle": "user1"\}\|update\|invalid)(?=(?:.*\n)*\{"handle": "_ann"\}\|create\|rejected\|400)/m, 'doc/tutorial.md: three rows fail as it shows');
    like($out, qr/^\{"handle": "user3"\}\|missing\nsucceeded\|1$/m, 'doc/tutorial.md: what was deleted there is found and sent again');
}
done_testing();
