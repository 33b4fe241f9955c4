# Lookups of a mapping: the remote id that another sync stored; rows whose counterpart is not there yet wait, go without it, or are invalid.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql(<<'SQL');
CREATE TABLE mart.companies (id bigint PRIMARY KEY, name text);
CREATE TABLE mart.people (id int PRIMARY KEY, name text, company_id int, code text);
INSERT INTO mart.companies VALUES (1, 'one'), (2, 'two');
INSERT INTO mart.people VALUES (1, 'ann', 1, '1'), (2, 'ben', 2, '2'), (3, 'cat', NULL, NULL), (4, 'dan', 9, '9');
SQL
$t->destination('companies', {object => {upsert => {method => 'PUT', path => '/companies/c-{{key}}', result => {id => '/id'}}}});
$t->destination('people', {object => {upsert => {method => 'PUT', path => '/people/{{key}}'}, delete => {method => 'DELETE', path => '/people/{{key}}'}}});
$t->sync('companies', 'mart.companies', 'companies');
sub lookup { my (%more) = @_; return {company => {lookup => {sync => 'companies', by => ['company_id'], %more}}, name => 'name'} }
sub sent { return $t->json_of($t->control('GET', 'records?collection=people&id=' . $_[0])->{value}) }

# --- the counterpart comes first, or the row waits
$t->sync('people', 'mart.people', 'people', mode => 'mirror', mapping => lookup());
$t->run_is($t->run('people'), {status => 'partial', rows_created => 1, rows_pending => 3}, 'who names a company waits for it');
like($t->sql(q{SELECT ondatra.explain_row('people', '{"id": 2}')}), qr/"problem": "field \\"company\\": sync \\"companies\\" has no remote id for \(2\)".*waits for another sync/, 'explain_row says for what');
is($t->sql("SELECT rows_scanned || ' ' || creates FROM ondatra.plan_sync('people')"), '4 0', 'plan_sync knows');
$t->run('companies');
$t->run_is($t->run('people'), {status => 'partial', rows_created => 2, rows_unchanged => 1, rows_pending => 1}, 'those whose company is there go');
is(sent(1), '{"company":"c-1","name":"ann"}', 'with its remote id');
is(sent(3), '{"company":null,"name":"cat"}', 'who names none has none');
$t->sql("DELETE FROM mart.people WHERE id = 4");
$t->run_is($t->run('people'), {status => 'succeeded', rows_unchanged => 3, requests => 0}, 'nothing changed, nothing is sent');

# --- a counterpart that changes is a change of the row; one that goes makes it wait, and is no reason to delete
$t->sql("UPDATE mart.people SET company_id = 2 WHERE id = 1");
$t->run_is($t->run('people'), {rows_updated => 1}, 'another company');
is(sent(1), '{"company":"c-2","name":"ann"}', 'another id');
$t->sql("UPDATE mart.people SET company_id = 9 WHERE id = 1");
$t->run_is($t->run('people'), {rows_pending => 1, rows_deleted => 0, deletes_pending => 0}, 'an unknown company: it waits, the record stays');
$t->sql("UPDATE mart.people SET company_id = 1 WHERE id = 1");
$t->run_is($t->run('people'), {rows_updated => 1, status => 'succeeded'}, 'and goes on');

# --- null and invalid
$t->sync('nulls', "SELECT id, name, company_id FROM mart.people UNION ALL SELECT 5, 'eve', 9", 'people', mapping => lookup(missing => 'null'));
$t->run_is($t->run('nulls'), {status => 'succeeded', rows_created => 4}, 'missing: null goes without');
is(sent(5), '{"company":null,"name":"eve"}', 'as null');
$t->sync('omits', "SELECT 6 AS id, 'fay' AS name, 9 AS company_id", 'people', mapping => {company => {lookup => {sync => 'companies', by => 'company_id', missing => 'null'}, null => 'omit'}, name => 'name'});
$t->run('omits');
is(sent(6), '{"name":"fay"}', 'or not at all');
$t->sync('strict', "SELECT id, name, company_id FROM mart.people UNION ALL SELECT 5, 'eve', 9", 'people', mapping => lookup(missing => 'invalid'));
$t->run_is($t->run('strict'), {status => 'partial', rows_created => 3, rows_invalid => 1}, 'missing: invalid');
is(($t->failed_rows('strict'))[0]{error_message}, 'field "company": sync "companies" has no remote id for (9)', 'with the reason');

# --- a cursor does not leave behind what waits
$t->sync('past', "SELECT id, name, CASE WHEN id = 1 THEN 8 ELSE 1 END AS company_id FROM mart.people", 'people', mapping => lookup(), options => {cursor_column => 'id', full_every => '1 day'});
$t->run_is($t->run('past'), {rows_pending => 1, rows_created => 2}, 'one waits');
$t->sql("INSERT INTO mart.companies VALUES (8, 'eight')");
$t->run('companies');
$t->run_is($t->run('past'), {rows_created => 1, status => 'succeeded'}, 'and is read again');

# --- composite keys, texts
$t->sql("CREATE TABLE mart.shops (country text, no smallint, PRIMARY KEY (country, no)); INSERT INTO mart.shops VALUES ('de', 1), ('fr', 1)");
$t->destination('shops', {object => {upsert => {method => 'PUT', path => '/shops/{{key.country}}-{{key.no}}', result => {id => '/id'}}}});
$t->sync('shops', 'mart.shops', 'shops', key => ['country', 'no']);
$t->run('shops');
$t->sync('staff', "SELECT 7 AS id, 'fr'::varchar(2) AS c, 1::bigint AS n", 'people', mapping => {shop => {lookup => {sync => 'shops', by => ['c', 'n']}}});
$t->run_is($t->run('staff'), {rows_created => 1}, 'a composite key');
is(sent(7), '{"shop":"fr-1"}', 'finds its counterpart');

# --- wrong words
sub refused { my ($lookup, $pattern, $name) = @_;
    return $t->sql_fails(q{SELECT ondatra.create_sync('x', 'mart.people', 'people', mapping => } . Ondatra::Test::literal({company => {lookup => $lookup}}) . ')', $pattern, $name) }
refused({sync => 'nobody', by => ['company_id']}, qr/sync "nobody", which the lookup of "company" names, does not exist.*HINT/s, 'no such sync');
refused({sync => 'companies', by => ['nix']}, qr/column "nix" of the lookup of "company" does not exist.*HINT/s, 'no such column');
refused({sync => 'companies', by => ['company_id', 'id']}, qr/has 2 columns in "by", the key of sync "companies" has 1.*HINT:  List the columns that hold its key: id/s, 'too many columns');
refused({sync => 'companies', by => ['code']}, qr/cannot be compared.*text.*int8.*HINT:  Cast/s, 'another type');
refused({sync => 'companies', by => ['company_id'], missing => 'skip'}, qr/"wait", "null" or "invalid"/, 'an unknown word');
refused({sync => 'companies'}, qr/lacks "sync" or "by"/, 'no columns');
refused({sync => 'companies', by => ['company_id'], of => 1}, qr/unknown member.*HINT/s, 'an unknown member');
$t->admin('CREATE SCHEMA bobs AUTHORIZATION bob');
$t->sql_as('bob', "CREATE TABLE bobs.p (id int PRIMARY KEY, company_id int); SELECT ondatra.create_destination('bobs', base_url => 'http://127.0.0.1:1')");
my (undef, undef, $err) = $t->psql_as('bob', q{SELECT ondatra.create_sync('x', 'bobs.p', 'bobs', mapping => '{"c": {"lookup": {"sync": "companies", "by": ["company_id"]}}}')});
like($err, qr/sync "companies", which.*does not exist/, "another owner's sync is as missing");

# --- a sync that was dropped
$t->sql("SELECT ondatra.drop_sync('shops')");
$t->sql("UPDATE mart.people SET name = 'x'");
my $run = $t->run('staff');
like("$run->{status}: $run->{error_message}", qr/^failed: sync "shops", which the lookup/, 'a run says what is gone');
$t->no_violations;
done_testing;
