# Configuration as code: what export_config() says makes the same again; apply_config() tells what it does, does all or nothing, and nothing twice.

use strict;
use warnings FATAL => 'all';
use JSON::PP ();
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $node = $t->node;
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
sub apply_as {
    my ($role, $config, %args) = @_;
    my $text = ref $config ? $json->encode($config) : $config;
    utf8::decode($text);
    return $t->psql_as($role, 'SELECT * FROM ondatra.apply_config(' . Ondatra::Test::literal($text) . "::jsonb" . ($args{dry_run} ? ', dry_run => true' : '') . ')');
}
sub applied { my ($status, $out, $err) = apply_as('ann', @_); return $status ? "error: $err" : $out }
sub refused {
    my ($config, $pattern, $name) = @_;
    my $before = $t->sql('SELECT ondatra.export_config()');
    my ($status, $out, $err) = apply_as('ann', $config);
    like($err, $pattern, $name) or diag($out);
    return is($t->sql('SELECT ondatra.export_config()'), $before, "$name: nothing is half applied");
}

is($t->sql('SELECT ondatra.export_config()'), '{"syncs": {}, "format": 1, "connectors": {}, "destinations": {}}', 'nothing');
$t->sql(q{CREATE TABLE mart.companies (id int PRIMARY KEY, name text); CREATE TABLE mart.people (id int PRIMARY KEY, email text, company_id int)});
$t->sql(q{SELECT ondatra.set_secret('token', 'planted secret')});
my $config = {
    format => 1,
    connectors => {acme => {description => 'Ours', spec => {title => 'Acme', base_url => $t->url, auth => ['bearer'],
        objects => {people => {key => 'email', upsert => {method => 'PUT', path => '/p/{{key}}'}}, companies => {key => 'id', upsert => {method => 'PUT', path => '/c/{{key}}', result => {id => '/id'}}}}}}},
    destinations => {
        acme => {connector => 'acme', auth => {type => 'bearer', token => {secret => 'token'}}, options => {concurrency => 2}, grants => {bob => 'sync'}},
        crm => {base_url => $t->url, options => {object => {upsert => {method => 'PUT', path => '/contacts/{{key}}'}}, retry => {attempts => 3, base_ms => 10}}}},
    syncs => {
        # named so that the order of names is the wrong one
        a_people => {model => 'people', search_path => 'mart', destination => 'acme', object => 'people', key => ['id'], schedule => '1 hour', state => 'paused',
            mapping => {mail => 'email', company => {lookup => {sync => 'b_companies', by => ['company_id']}}}, options => {max_deletes => {percent => 5, floor => 10}}},
        b_companies => {model => 'SELECT id, name FROM mart.companies', destination => 'acme', object => 'companies', key => ['id'], state => 'paused'},
        c_keyless => {model => 'mart.people', destination => 'crm', state => 'archived'}}};

# --- dry run
my $planned = applied($config, dry_run => 1);
is($planned, join("\n", 'create|connector|acme|', 'create|destination|acme|', 'create|destination|crm|', 'create|sync|b_companies|', 'create|sync|a_people|', 'create|sync|c_keyless|'),
    'a dry run says what would be done, in an order that works');
is($t->sql('SELECT (SELECT count(*) FROM ondatra.destinations) + (SELECT count(*) FROM ondatra.syncs)'), '0', 'and does nothing');
is($t->admin(q{SELECT count(*) FROM pg_class WHERE relname LIKE 'state\_%'}), '0', 'not even a state table');

# --- applied
is(applied($config), $planned, 'then it is done');
is($t->sql('SELECT name, state, schedule, key FROM ondatra.syncs ORDER BY 1'), "a_people|paused|01:00:00|{id}\nb_companies|paused||{id}\nc_keyless|archived||{id}" =~ s/01:00:00/1 hour/r, 'syncs are there');
is($t->sql('SELECT destination, role, level FROM ondatra.destination_grants'), 'acme|bob|sync', 'and grants');
is(applied($config), '', 'the second time there is nothing to do');
my $exported = $t->sql('SELECT ondatra.export_config()');
is(applied($exported), '', 'nor with what it exports');
unlike($exported, qr/planted/, 'in which no secret is');
is($t->sql(q{SELECT search_path FROM ondatra.syncs WHERE name = 'a_people'}), 'mart', 'a model keeps its search_path');

# --- round trip into an empty database, by a superuser: owners are as they were
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE EXTENSION ondatra; CREATE SCHEMA mart AUTHORIZATION ann; SET ROLE ann; CREATE TABLE mart.companies (id int PRIMARY KEY, name text);
    CREATE TABLE mart.people (id int PRIMARY KEY, email text, company_id int)});
my $literal = $node->safe_psql('postgres', 'SELECT quote_literal(ondatra.export_config())');
my $made = $node->safe_psql('other', "SELECT action, kind, name FROM ondatra.apply_config($literal)");
is(scalar(split /\n/, $made), 6, 'everything is made in an empty database');
is($node->safe_psql('other', 'SELECT ondatra.export_config()'), $exported, 'and it exports the same');
is($node->safe_psql('other', 'SELECT DISTINCT owner FROM ondatra.syncs'), 'ann', 'of the same owners');
is($node->safe_psql('other', 'SELECT current_user'), $t->superuser, 'who applied it is who it was');
$node->safe_psql('postgres', 'DROP DATABASE other');

# --- changes
$config->{destinations}{crm}{options} = {object => {upsert => {method => 'POST', path => '/contacts/{{key}}'}}, retry => {attempts => 3}, concurrency => 3};
$config->{destinations}{acme}{grants} = {bob => 'request', ann => 'sync'};
$config->{syncs}{a_people}{options} = {max_deletes => {percent => 6}};
$config->{syncs}{a_people}{state} = 'active';
delete $config->{syncs}{a_people}{schedule};
$config->{syncs}{c_keyless}{state} = 'paused';
$planned = applied($config, dry_run => 1);
like($planned, qr/^update\|destination\|acme\|grants: \{"bob": "sync"\} -> \{"ann": "sync", "bob": "request"\}$/m, 'the diff: grants');
like($planned, qr/^update\|destination\|crm\|options: .* -> \{.*"concurrency": 3.*\}$/m, 'options');
like($planned, qr/^update\|sync\|a_people\|options: .*; schedule: "1 hour" -> none; state: "paused" -> "active"$/m, 'what is not said any more');
is(applied($config), $planned, 'is what is done');
is($t->sql(q{SELECT options FROM ondatra.destinations WHERE name = 'crm'}), '{"retry": {"attempts": 3}, "object": {"upsert": {"path": "/contacts/{{key}}", "method": "POST"}}, "concurrency": 3}',
    'a member that is gone is gone, at any depth');
is($t->sql(q{SELECT options, state, schedule FROM ondatra.syncs WHERE name = 'a_people'}), '{"max_deletes": {"percent": 6}}|created|', 'of syncs, too');
is(applied($config), '', 'done once');
is(applied({destinations => {}, syncs => {}}), '', 'what is not named stays');
$t->sql(q{SELECT ondatra.pause_sync('a_people')});
delete $config->{syncs}{a_people}{state};
is(applied($config), '', 'nor does a state that is not said change');

# --- one transaction, clear errors
my $two = {destinations => {first => {base_url => $t->url}}, syncs => {wrong => {model => 'mart.nothing', destination => 'first', key => ['id']}}};
refused($two, qr/ERROR:  model "mart.nothing" does not exist\nDETAIL:  In sync "wrong" of the configuration.\nHINT:  A model is/, 'a model that is not there');
refused({destinations => {x => {base_url => $t->url, token => 'x'}}}, qr/unknown member "token" of destination "x"\nHINT:  Use owner, connector, base_url/, 'a member that is not there');
refused({destination => {}}, qr/unknown or wrong member "destination" of the configuration\nHINT/, 'a kind that is not there');
refused({format => 2}, qr/must be a JSON object with "format": 1/, 'a format that is not there');
refused('[]', qr/must be a JSON object/, 'no object');
refused({syncs => {x => {destination => 'crm'}}}, qr/sync "x" needs "model"/, 'what is needed');
refused({syncs => {x => {model => ['a'], destination => 'crm'}}}, qr/member "model" of sync "x" has a wrong type/, 'a wrong type');
refused({syncs => {x => {model => 'mart.people', destination => 'crm', state => 'error'}}}, qr/invalid state of sync "x": "error"/, 'a state that cannot be wished');
refused({destinations => {x => {base_url => $t->url, auth => {type => 'bearer', token => 'literal'}}}}, qr/secret|literal|reference/, 'a literal credential');
refused({destinations => {crm => {base_url => $t->url, owner => 'bob'}}}, qr/belongs to role "ann" and cannot be given to role "bob"/, 'another owner');
refused({destinations => {x => {base_url => $t->url, owner => 'bob'}}}, qr/permission denied to set role "bob"|must be member/, 'nobody makes things for others');
$t->sql(q{INSERT INTO mart.people VALUES (1, 'a@example.com', NULL)});
$t->sql(q{SELECT ondatra.resume_sync('c_keyless'); SELECT ondatra.run_sync('c_keyless')});
refused({destinations => {crm => {base_url => 'http://127.0.0.1:9', options => $config->{destinations}{crm}{options}}}}, qr/has received rows where it is now/, 'what was delivered is not forgotten by accident');
my $object = $json->decode($json->encode($config));
delete $object->{syncs}{b_companies}{object};
refused($object, qr/sync "b_companies" cannot be changed into this form\nDETAIL:  object: "companies" -> none\nHINT:  Drop it/, 'what an update cannot do is said');

# --- null drops
is(applied({syncs => {a_people => undef, nothing => undef}, connectors => {}}, dry_run => 1), 'drop|sync|a_people|', 'null drops, and says so before');
is($t->sql('SELECT count(*) FROM ondatra.syncs'), '3', 'a dry run drops nothing');
is(applied({syncs => {map { $_ => undef } keys %{ $config->{syncs} }}, destinations => {acme => undef, crm => undef}, connectors => {acme => undef}}),
    join("\n", map { "drop|$_|" } 'sync|a_people', 'sync|b_companies', 'sync|c_keyless', 'destination|acme', 'destination|crm', 'connector|acme'), 'all of it');
is($t->sql('SELECT ondatra.export_config()'), '{"syncs": {}, "format": 1, "connectors": {}, "destinations": {}}', 'nothing is left');

# --- who sees what
$t->destination('anns');
is($t->sql_as('bob', q{SELECT ondatra.export_config() -> 'destinations'}), '{}', 'others export nothing of hers');
$t->no_violations;
done_testing;
