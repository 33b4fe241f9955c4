# Connectors in the catalog: syncs through a stored one, replaced under a run, dumped, upgraded.

use strict;
use warnings FATAL => 'all';
use FindBin;
use Ondatra::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Ondatra::Test->new;
my $node = $t->node;

my %acme = (
    title => 'Acme',
    base_url => $t->url,
    auth => ['none'],
    retry => $Ondatra::Test::RETRY,
    concurrency => 1,
    headers => {'X-Acme' => '{{var.account}}', 'X-Version' => '1'},
    variables => {account => {required => JSON::PP::true}},
    rate_headers => {remaining => 'X-Left', reset => 'X-Next', unit => 'ms'},
    objects => {
        contacts => {
            key => 'id',
            required => ['email'],
            variables => {source => {default => 'warehouse'}},
            upsert => {
                method => 'POST', path => '/batch', query => {rows => '/inputs', id => '/id', fields => '/properties', collection => 'contacts', result => 'order'},
                batch => {rows => 5}, body => {inputs => ['$each', {id => '{{key}}', properties => '$fields', source => '{{var.source}}'}]},
                result => {rows => '/results', match => 'order', ok => {path => '/ok', equals => JSON::PP::true}, id => '/id'},
            },
            delete => {method => 'DELETE', path => '/contacts/{{remote_id}}'},
        },
        '*' => {upsert => {method => 'PUT', path => '/{{object}}/{{key}}'}},
    },
);

sub create { my ($name, $spec) = @_; $t->sql('SELECT ondatra.create_connector(' . Ondatra::Test::arguments(name => $name, spec => $spec) . ')') }
sub replace { my ($name, $spec) = @_; $t->sql('SELECT ondatra.replace_connector(' . Ondatra::Test::arguments(name => $name, spec => $spec) . ')') }

create('acme', \%acme);
$t->sql(q{CREATE TABLE mart.people (id int PRIMARY KEY, email text)});
$t->sql(q{INSERT INTO mart.people SELECT i, 'u' || i || '@example.com' FROM generate_series(1, 12) i});
$t->sql(q{SELECT ondatra.create_destination('crm', 'acme', options => '{"variables": {"account": "a1"}, "headers": {"X-Version": "2"}}')});
$t->sync('people', 'mart.people', 'crm', object => 'contacts', mode => 'mirror');
$t->sync('leads', 'mart.people', 'crm', object => 'leads', options => {variables => {account => 'a2'}});

# --- a run through it
$t->run_is($t->run('people'), {status => 'succeeded', rows_created => 12, requests => 3}, 'three batches');
my ($request) = $t->requests;
is_deeply([@{ $request->{headers} }{qw(x-acme x-version)}], ['a1', '2'], 'its headers, of which the destination changes one');
is($request->{json}{inputs}[0]{source}, 'warehouse', 'a variable has its default');
is(scalar keys %{ $t->records('contacts') }, 12, 'the rows are there');
$t->sql(q{DELETE FROM mart.people WHERE id = 12; UPDATE mart.people SET email = 'new@example.com' WHERE id = 1});
$t->run_is($t->run('people'), {status => 'succeeded', rows_updated => 1, rows_deleted => 1}, 'an update, a delete');
is(scalar keys %{ $t->records('contacts') }, 11, 'by the id that it gave');
$t->run_is($t->run('leads'), {status => 'succeeded', rows_created => 11}, 'any other object');
is(scalar keys %{ $t->records('leads') }, 11, 'is named in its path');
is(($t->requests(path => '^/leads/'))[0]{headers}{'x-acme'}, 'a2', 'and a sync gives its own variable');

# --- its words about what is left
$t->script({path => '^/batch', times => 1, answer => {records => JSON::PP::true, headers => {'X-Left' => '0', 'X-Next' => '700'}}});
$t->sql(q{UPDATE mart.people SET email = 'x' || email});
my $run = $t->run('people');
$t->run_is($run, {status => 'succeeded', rows_updated => 11}, 'after a pause that the answer asked for');
cmp_ok($run->{throttled_ms}, '>', 0, 'and that is counted');

# --- replaced under a run: it ends with what it began with, and what it has delivered counts
$t->script({path => '^/batch', times => 1, answer => {records => JSON::PP::true, misbehave => 'hang'}});
$t->sql(q{UPDATE mart.people SET email = 'y' || email; SELECT run_id FROM ondatra.run_sync('people', wait => false)});
$t->poll(sub { $t->state->{hanging} == 1 }, 'a request waits for its answer');
my %second = (%acme, headers => {'X-Acme' => '{{var.account}}', 'X-Version' => '3', 'X-New' => 'yes'});
replace('acme', \%second);
is($t->sql(q{SELECT version FROM ondatra.connectors WHERE name = 'acme'}), '2', 'replaced meanwhile');
$t->release;
$t->poll_sql(q{SELECT status || ' ' || rows_updated FROM ondatra.sync_runs WHERE sync_name = 'people' ORDER BY run_id DESC LIMIT 1}, 'succeeded 11', 'the run ends well');
$t->reset_destination;
$t->run_is($t->run('people'), {status => 'succeeded', rows_unchanged => 11, requests => 0}, 'nothing is sent again');
$t->sql(q{SELECT ondatra.resend_sync('people')});
$t->run_is($t->run('people'), {status => 'succeeded', rows_updated => 11}, 'but when that is asked for');
is(($t->requests)[0]{headers}{'x-new'}, 'yes', 'in the new form');

# --- a builtin one that gets its name by an upgrade takes nobody's place
$t->admin(q{INSERT INTO ondatra.all_connectors (name, builtin, spec) VALUES ('acme', true, '{"title": "Other", "base_url": "http://127.0.0.1:9", "objects": {"contacts": {"upsert": {"method": "PUT"}}}}')});
like($t->sql(q{SELECT url FROM ondatra.preview_sync('leads', 1)}), qr{^\Q@{[$t->url]}\E/leads/}, 'the own connector stays in use');
$t->admin(q{DELETE FROM ondatra.all_connectors WHERE name = 'acme' AND builtin});

# --- an upgrade brings builtin ones up to date, and touches nothing else
my ($out, $err) = ('', '');
my @files = sort glob "$FindBin::Bin/../../sql/connectors/*.json";
ok(IPC::Run::run(['sh', "$FindBin::Bin/../../scripts/connectors.sh", @files], '>', \$out, '2>', \$err), 'the script for it') || diag($err);
my $everything = q{SELECT string_agg(name || ' ' || version || ' ' || md5(spec::text), ' ' ORDER BY name, builtin) FROM ondatra.all_connectors};
my $before = $t->admin($everything);
$t->admin($out);
is($t->admin($everything), $before, 'the same ones change nothing');
$t->admin(q{UPDATE ondatra.all_connectors SET spec = '{"title": "old", "objects": {}}' WHERE name = 'webhook'; DELETE FROM ondatra.all_connectors WHERE name = 'hubspot'});
$t->admin($out);
is($t->admin(q{SELECT string_agg(name || ' ' || version, ' ' ORDER BY name) FROM ondatra.all_connectors WHERE name IN ('acme', 'hubspot', 'webhook')}),
    'acme 2 hubspot 1 webhook 2', 'an older one is replaced, a new one appears');

# --- a dump has people's connectors, the extension brings the others
my $dump = "$t->{dir}/dump.sql";
command_ok(['pg_dump', '-f', $dump, '-d', $node->connstr('postgres')], 'pg_dump');
unlike(Ondatra::Test::slurp($dump), qr/hubapi/, 'builtin ones are not in it');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
command_ok(['psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $dump], 'restore');
is($node->safe_psql('copy', q{SELECT name, owner, version FROM ondatra.connectors WHERE NOT builtin}), 'acme|ann|2', 'the own one is there');
is($node->safe_psql('copy', q{SELECT count(*) FROM ondatra.connectors WHERE builtin}), scalar(@files), 'and the builtin ones, once');
like($node->safe_psql('copy', q{SELECT url FROM ondatra.preview_sync('leads', 1)}), qr{^\Q@{[$t->url]}\E/leads/}, 'a sync of the copy knows its connector');
$t->no_violations;
done_testing;
