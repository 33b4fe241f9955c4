# Operations that share requests: creates, updates and deletes in one bulk request, each row with what its own operation sends, and read as that says.

use strict;
use warnings FATAL => 'all';
use JSON::PP ();
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $true = JSON::PP::true;
$t->sql(q{CREATE TABLE mart.p (id int PRIMARY KEY, v text); INSERT INTO mart.p SELECT i, 'a' || i FROM generate_series(1, 6) i});

# --- an index of the shipped connector: one line more for what is written, each kind of item answered under its own name
$t->sql('SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => 'es', connector => 'elasticsearch', base_url => $t->url, options => {retry => $Ondatra::Test::RETRY}) . ')');
$t->sync('es', 'mart.p', 'es', object => 'books', mode => 'mirror', options => {max_deletes => '100%'});
sub items { my (@items) = @_; return {method => 'POST', path => '^/books/_bulk$', times => 1, answer => {json => {errors => \0, items => \@items}}} }
sub index_item { my ($id, $status, %more) = @_; return {index => {_id => "$id", status => $status, %more}} }
my @first = map { index_item($_, 201) } 1 .. 6;
$t->script(items(@first));
$t->run_is($t->run('es'), {status => 'succeeded', rows_created => 6, requests => 1}, 'creates alone');
$t->sql(q{DELETE FROM mart.p WHERE id IN (1, 2); UPDATE mart.p SET v = 'b' WHERE id = 3; INSERT INTO mart.p VALUES (7, 'a7'), (8, 'a8')});
my @preview = $t->rows(q{SELECT operation, body, keys FROM ondatra.preview_sync('es')});
is(scalar(@preview), 1, 'a preview shows one request');
is(scalar(@{ $preview[0]{keys} }), 5, 'for all of them');
sub actions { my ($body) = @_; return map { my $line = JSON::PP->new->decode($_); my ($word) = grep { /^(?:index|delete)$/ } keys %$line; $word ? "$word $line->{$word}{_id}" : () } split /\n/, $body }
my @actions = actions($preview[0]{body});
# the answer in the order of the request, item by item as its operation has it
my %answer = ('delete 1' => {delete => {_id => '1', status => 404}}, 'delete 2' => {delete => {_id => '2', status => 409, error => {reason => 'somebody was faster'}}},
    'index 3' => index_item(3, 200), 'index 7' => index_item(7, 201), 'index 8' => index_item(8, 400, error => {reason => 'mapper says no'}));
$t->reset_destination;
$t->script(items(@answer{@actions}));
$t->run_is($t->run('es'), {status => 'partial', rows_created => 1, rows_updated => 1, rows_deleted => 1, rows_failed => 1, deletes_failed => 1, requests => 1}, 'creates, an update and deletes in one request');
my $body = ($t->requests(path => '_bulk'))[0]{body};
is_deeply([actions($body)], \@actions, 'as the preview has it');
is_deeply([sort @actions], ['delete 1', 'delete 2', 'index 3', 'index 7', 'index 8'], 'all of them');
is_deeply([map { (split / /)[0] } @actions], ['delete', 'delete', 'index', 'index', 'index'], 'deletes first');
is(scalar(split /\n/, $body), 8, 'a delete is one line, the others are two');
my %failed = map { ($_->{key}{id} => "$_->{operation} $_->{error_class} $_->{error_message}") } $t->failed_rows('es');
is_deeply(\%failed, {2 => 'delete rejected somebody was faster', 8 => 'create rejected mapper says no'}, 'each row is read as its operation says');
$t->no_violations;

# --- {{operation}} in each item; ids that differ; limits of a request
my %item = (batch => {rows => 4, group => 'all'}, method => 'POST', path => '/bulk', idempotent => $true, idempotency => undef);
my %result = (rows => '/results', match => {key => '/key'}, ok => {path => '/ok', equals => $true}, error => '/why');
my $item = {op => '{{operation}}', key => '{{key}}'};
my $object = {create => {%item, body => {ops => ['$each', {%$item, data => '$fields'}]}, result => {%result, id => '/new_id'}}, update => {%item, body => {ops => ['$each', {%$item, id => '{{remote_id}}', data => '$fields'}]}, result => \%result},
    delete => {%item, body => {ops => ['$each', {%$item, id => '{{remote_id}}'}]}, result => \%result}};
$t->reset_destination;
$t->destination('ops', {object => $object, concurrency => 1, retry => $Ondatra::Test::RETRY});
my $answers = {method => 'POST', path => '^/bulk$', answer => {rows => {from => '/ops', each => {key => '{/row/key}', ok => $true, new_id => 'r{/row/key}'}, into => 'results'}}};
$t->script($answers);
$t->sql(q{TRUNCATE mart.p; INSERT INTO mart.p SELECT i, 'a' FROM generate_series(1, 6) i});
$t->sync('ops', 'mart.p', 'ops', mode => 'mirror', options => {max_deletes => '100%'});
$t->run_is($t->run('ops'), {status => 'succeeded', rows_created => 6, requests => 2}, 'creates in two requests');
$t->sql(q{DELETE FROM mart.p WHERE id < 3; UPDATE mart.p SET v = 'b' WHERE id IN (3, 4); INSERT INTO mart.p VALUES (7, 'a'), (8, 'a')});
$t->reset_destination;
$t->script($answers);
$t->run_is($t->run('ops'), {status => 'succeeded', rows_created => 2, rows_updated => 2, rows_deleted => 2, requests => 2}, 'two of each in two requests');
my @sent = map { [map { "$_->{op} $_->{key}" . (defined $_->{id} ? " $_->{id}" : '') } @{ $_->{json}{ops} }] } $t->requests(path => '^/bulk$');
is_deeply([map { scalar @$_ } @sent], [4, 2], 'as many as a request may have');
is_deeply([sort map { @$_ } @sent], ['create 7', 'create 8', 'delete 1 r1', 'delete 2 r2', 'update 3 r3', 'update 4 r4'], 'each with its operation, and with what that sends');
is($t->sql('SELECT string_agg(k1 || $$=$$ || _remote_id, $$ $$ ORDER BY k1) FROM ondatra.state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = 'ops'")), '3=r3 4=r4 5=r5 6=r6 7=r7 8=r8', 'ids are kept where the operation reads them');

# --- one bad row among several operations is found by halving
$t->sql(q{DELETE FROM mart.p WHERE id = 3; UPDATE mart.p SET v = 'c' WHERE id IN (4, 5); INSERT INTO mart.p VALUES (9, 'poison')});
$t->script({method => 'POST', path => '^/bulk$', body_contains => 'poison', answer => {status => 422, json => {error => 'bad row'}}}, $answers);
$t->run_is($t->run('ops'), {status => 'partial', rows_updated => 2, rows_deleted => 1, rows_failed => 1}, 'a refused request is cut until the bad row stands alone');
is(join(' ', map { "$_->{key}{id} $_->{error_class} $_->{operation}" } $t->failed_rows('ops')), '9 rejected create', 'and it is the one');

# --- what cannot be shared
sub wrong { my ($change, $pattern, $name) = @_; my %o = map { ($_ => {%{ $object->{$_} }}) } keys %$object; $change->(\%o);
    return $t->sql_fails('SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => 'w', base_url => $t->url, options => {object => \%o}) . ')', $pattern, $name) }
wrong(sub { $_[0]{delete}{path} = '/other' }, qr/"create" and "delete" share requests, but differ in "path"|"update" and "delete" share requests, but differ in "path"/, 'another path');
wrong(sub { $_[0]{delete}{result} = {%result, rows => '/deleted'} }, qr/differ in "result"/, 'records at another place');
wrong(sub { $_[0]{delete}{body} = {more => 1, ops => ['$each', $item]} }, qr/differ in "body"/, 'another envelope');
wrong(sub { $_[0]{create}{idempotent} = JSON::PP::false }, qr/one is idempotent or atomic and the other is not/, 'what may be repeated with what may not');
wrong(sub { $_[0]{delete}{body} = {ops => ['$each', $item], and => ['$each', $item]} }, qr/needs one "\$each"|differ in "body"/, 'rows at two places');
$t->no_violations;
done_testing;
