# The shipped connectors against their vendors' descriptions: Prism validates every request that real runs emit.
#
# needs npm: @stoplight/prism-cli@5.14.2
#
# The descriptions are not part of the project: ONDATRA_APIS names the folder that has them (hubspot.json, …), and scripts/check.sh takes ../shared/apis beside the clone when it is there. Prism answers with examples that know
# nothing of our rows, so what becomes of the rows is not looked at here: only whether a request breaks its description.

use strict;
use warnings FATAL => 'all';
use HTTP::Tiny;
use IO::Socket::INET;
use Ondatra::Test;
use Test::More;

my $apis = $ENV{ONDATRA_APIS};
plan skip_all => 'no descriptions of APIs: set ONDATRA_APIS to a folder of them' unless defined $apis && -d $apis;
my ($prism) = grep { -f } map { "$_/node_modules/\@stoplight/prism-cli/dist/index.js" } $ENV{ONDATRA_NPM_DIR} || '/var/tmp/ondatra-npm';
plan skip_all => 'npm has not installed prism' unless $prism;

my $t = Ondatra::Test->new(conf => "ondatra.held_run_expiry = -1");
$t->sql("SELECT ondatra.set_secret('s', 'secret')");
my %bearer = (type => 'bearer', token => {secret => 's'});
my %basic = (type => 'basic', username => 'u', password => {secret => 's'});
my %klaviyo = (%bearer, prefix => 'Klaviyo-API-Key');
sub header { return {type => 'header', headers => {map { ($_ => {secret => 's'}) } @_}} }

# connector, object → base path, credentials, variables, columns of a row i, the key, rows that are one more than a batch; not: what the description lacks
my @cases = (
    [hubspot => 'contacts', auth => \%bearer, key => 'email', columns => q{'p' || i || '@example.com' AS email, TEXT AS firstname, NULL::text AS phone}, rows => 101, mapping => {email => 'email', firstname => 'firstname', phone => {column => 'phone', null => 'omit'}}],
    [hubspot => 'companies', auth => \%bearer, key => 'ext', variables => {id_property => 'ext'}, columns => q{'c' || i AS ext, TEXT AS name}, rows => 101],
    [intercom => 'contacts', auth => \%bearer, key => 'external_id', columns => q{'p' || i AS external_id, 'user' AS role, TEXT AS name}, rows => 2],
    [intercom => 'companies', auth => \%bearer, key => 'company_id', columns => q{'c' || i AS company_id, TEXT AS name}, rows => 2, not => ['list']],
    [intercom => 'events', auth => \%bearer, key => 'id', mapping => {event_name => 'name', created_at => 'at', user_id => 'u'}, columns => q{i AS id, 'done' AS name, 1700000000 + i AS at, 'u' || i AS u}, rows => 2, mode => 'append'],
    [stripe => 'customers', auth => \%bearer, key => 'id', mapping => {name => 'name', 'metadata.ext' => 'id', 'address.city' => 'name'}, columns => q{i AS id, TEXT AS name}, rows => 2],
    [mailchimp => 'members', auth => \%basic, key => 'email_address', variables => {list => 'abc', dc => 'us1'}, mapping => {email_address => 'email_address', status => {const => 'subscribed'}, 'merge_fields.FNAME' => 'name'}, columns => q{'p' || i || '@example.com' AS email_address, TEXT AS name}, rows => 501],
    [braze => 'users', auth => \%bearer, key => 'external_id', columns => q{'u' || i AS external_id, TEXT AS first_name}, rows => 76],
    [braze => 'events', auth => \%bearer, key => 'id', mapping => {external_id => 'u', name => 'n', time => 'at'}, columns => q{i AS id, 'u' || i AS u, 'done' AS n, '2026-01-02T03:04:05Z' AS at}, rows => 76, mode => 'append'],
    [braze => 'catalog_items', auth => \%bearer, key => 'id', variables => {catalog => 'books'}, columns => q{'b' || i AS id, TEXT AS title}, rows => 51],
    [customerio => 'people', auth => \%basic, key => 'id', columns => q{'u' || i AS id, TEXT AS name}, rows => 501],
    [iterable => 'users', auth => header('Api-Key'), key => 'email', columns => q{'p' || i || '@example.com' AS email, TEXT AS name}, rows => 101],
    [iterable => 'catalog_items', auth => header('Api-Key'), key => 'id', variables => {catalog => 'books'}, columns => q{'b' || i AS id, TEXT AS title}, rows => 101],
    [airtable => 'People', auth => \%bearer, key => 'Email', variables => {base => 'app123', merge_on => 'Email'}, columns => q{'p' || i || '@example.com' AS "Email", TEXT AS "Name"}, rows => 11, not => ['delete']],
    [algolia => 'books', auth => header('x-algolia-application-id', 'x-algolia-api-key'), key => 'id', columns => q{'b' || i AS id, TEXT AS title}, rows => 1001],
    [typesense => 'books', auth => header('X-TYPESENSE-API-KEY'), key => 'id', columns => q{'b' || i AS id, TEXT AS title}, rows => 101],
    [elasticsearch => 'books', auth => header('Authorization'), key => 'id', columns => q{'b' || i AS id, TEXT AS title}, rows => 101, not => ['list']],
    [mixpanel => 'profiles', auth => {%basic, values => {token => {secret => 's'}}}, key => 'id', columns => q{'u' || i AS id, TEXT AS name}, rows => 101, not => ['delete']],
    [mixpanel => 'events', auth => \%basic, key => 'id', variables => {project => '1'}, mapping => {event => 'name', 'properties.time' => 'at', 'properties.distinct_id' => 'id', 'properties.$insert_id' => 'id'}, columns => q{'e' || i AS id, 'done' AS name, 1700000000 + i AS at}, rows => 101, mode => 'append'],
    [amplitude => 'events', auth => {type => 'none', values => {api_key => {secret => 's'}}}, key => 'id', mapping => {event_type => 'name', user_id => 'id', time => 'at'}, columns => q{'user-' || i AS id, 'done' AS name, 1700000000000 + i AS at}, rows => 11, mode => 'append'],
    [pipedrive => 'persons', auth => {type => 'query', parameters => {api_token => {secret => 's'}}}, key => 'email', mapping => {name => 'name'}, columns => q{'p' || i || '@example.com' AS email, TEXT AS name}, rows => 2],
    [jira => 'issues', auth => \%basic, key => 'id', variables => {site => 'x'}, mapping => {summary => 'name', 'project.key' => {const => 'OPS'}, 'issuetype.name' => {const => 'Task'}}, columns => q{i AS id, TEXT AS name}, rows => 2, args => {jql => 'project = OPS'}],
    [segment => 'users', api => 'rudderstack', mode => 'upsert', auth => \%basic, key => 'id', columns => q{'u' || i AS id, TEXT AS name}, rows => 101],
    [square => 'customers', auth => \%bearer, key => 'id', mapping => {given_name => 'name', reference_id => 'id'}, columns => q{'c' || i AS id, TEXT AS name}, rows => 101],
    [github => 'issues', auth => \%bearer, key => 'id', variables => {owner => 'o', repo => 'r'}, mapping => {title => 'name'}, columns => q{i AS id, TEXT AS name}, rows => 2],
    [github => 'labels', auth => \%bearer, key => 'name', variables => {owner => 'o', repo => 'r'}, columns => q{'label-' || i AS name, 'ff0000' AS color}, rows => 2],
    [salesforce => 'Account', auth => \%bearer, key => 'ext', variables => {external_id => 'Ext__c'}, mapping => {Ext__c => 'ext', Name => 'name'}, columns => q{'a' || i AS ext, TEXT AS name}, rows => 201, not => ['list']],
    [salesforce => 'bulk', api => 'salesforce_bulk', prefix => '/jobs', patch => \&job_is_done, auth => \%bearer, key => 'ext', variables => {sobject => 'Account', external_id => 'Ext__c'}, mapping => {Ext__c => 'ext', Name => 'name'}, columns => q{'a' || i AS ext, TEXT AS name}, rows => 3, type => 'sf_account'],
    [klaviyo => 'profiles', auth => \%klaviyo, patch => \&one_page, mode => 'upsert', key => 'email', mapping => {email => 'email', first_name => 'name', 'properties.score' => {const => 7}}, columns => q{'p' || i || '@example.com' AS email, TEXT AS name}, rows => 2],
    [klaviyo => 'profiles_bulk', auth => \%klaviyo, patch => \&one_page, key => 'email', mapping => {email => 'email', first_name => 'name', phone_number => {const => undef}}, columns => q{'p' || i || '@example.com' AS email, TEXT AS name}, rows => 10_001, mode => 'upsert', not => ['list']],
    [klaviyo => 'events', auth => \%klaviyo, key => 'id', variables => {metric => 'Placed Order'}, mapping => {email => 'email', time => 'at', value => {const => 9.5}, item => 'name'}, columns => q{i AS id, 'p' || i || '@example.com' AS email, TEXT AS name, '2026-01-02T03:04:05+00:00' AS at}, rows => 2, mode => 'append', not => ['list']],
    [zendesk => 'users', auth => \%basic, patch => \&job_is_done, key => 'external_id', variables => {subdomain => 'x'}, columns => q{'u' || i AS external_id, TEXT AS name}, rows => 101],
    [zendesk => 'tickets', auth => \%basic, patch => \&job_is_done, key => 'id', variables => {subdomain => 'x'}, mapping => {subject => 'name', 'comment.body' => 'name'}, columns => q{i AS id, TEXT AS name}, rows => 101, mode => 'upsert'],
    [sendgrid => 'contacts', auth => \%bearer, patch => \&job_is_done, key => 'email', mapping => {email => 'email', first_name => 'name', city => {const => undef}}, columns => q{'p' || i || '@example.com' AS email, left(TEXT, 50) AS name}, rows => 3, not => ['list']],
    [notion => 'pages', auth => \%bearer, patch => \&data_source, key => 'id', variables => {data_source => '2f26ee68-df30-4251-aad4-8ddc420cba3d', key_property => 'Key'}, mapping => {Key => {column => 'id', as => 'rich_text'}, Name => {column => 'name', as => 'title'}}, columns => q{'n' || i AS id, TEXT AS name}, rows => 2],
    [google_sheets => 'log', auth => \%bearer, key => 'id', variables => {spreadsheet => '1Xy'}, columns => q{i AS id, TEXT AS name, NULL::text AS note}, rows => 1001, mode => 'append'],
    [google_sheets => 'rows', auth => \%bearer, key => 'n', variables => {spreadsheet => '1Xy', sheet => 'My sheet'}, mapping => [{source => 'n', destination => 'n'}, {source => 'name', destination => 'name'}], columns => q{i + 1 AS n, TEXT AS name}, rows => 3, not => ['delete']],
    [slack => 'messages', auth => {%bearer, values => {}}, key => 'id', mapping => {channel => 'c', text => 'name'}, columns => q{i AS id, 'C1' AS c, TEXT AS name}, rows => 2, not => ['update', 'delete', 'headers']],
);

# What Prism answers is made of examples. Those of jobs never end: here they are done at once.
sub job_is_done {
    my ($d) = @_;
    my $schemas = $d->{components}{schemas};
    if ($schemas->{JobStatusObject}) {
        $schemas->{JobStatusObject}{properties}{status}{enum} = ['completed'];
        # update_many is described without its body, which Prism refuses then
        $d->{paths}{'/api/v2/tickets/update_many'}{put}{requestBody} ||= {content => {'application/json' => {schema => {'$ref' => '#/components/schemas/TicketsUpdateRequest'}}}};
        $schemas->{TicketsUpdateRequest} = {type => 'object', required => ['tickets'], properties => {tickets => {type => 'array', maxItems => 100, items => {type => 'object', required => ['id']}}}};
    }
    $schemas->{'contact-import'}{properties}{status}{example} = 'completed' if $schemas->{'contact-import'};
    for my $path ('/jobs/ingest/{jobId}', '/jobs/query/{jobId}') {
        $_->{value}{state} = 'JobComplete' for values %{ ($d->{paths}{$path} || {})->{get}{responses}{200}{content}{'application/json'}{examples} || {} };
    }
}
# Nor do lists of pages.
sub one_page {
    my ($d) = @_;
    my $schemas = $d->{components}{schemas};
    delete $schemas->{CollectionLinks}{properties}{next};
    $schemas->{ProfileImportJobResponseObjectResource}{properties}{attributes}{properties}{status}{example} = 'complete';
}
# The parent of a page is a data source since version 2025-09-03; the description of that version still calls it database_id.
sub data_source {
    my ($d) = @_;
    $d->{components}{schemas}{dataSourceIdParentRequest} = {type => 'object', required => ['data_source_id'], additionalProperties => JSON::PP::false,
        properties => {type => {type => 'string', const => 'data_source_id'}, data_source_id => {type => 'string', format => 'uuid'}}};
}

$t->sql('CREATE TYPE mart.sf_account AS ("Ext__c" text, "Name" text)');
my $started = 0;
# Prism serving one description, its paths behind a prefix that the file has in "servers"; its log.
sub start_prism {
    my ($api, $prefix, $patch) = @_;
    my $log = "$t->{dir}/prism-$api-" . ++$started . '.log';
    my $file = "$apis/$api.json";
    if (defined $prefix || $patch) {
        my $d = JSON::PP->new->utf8->decode(Ondatra::Test::slurp($file));
        $d->{paths} = {map { ("$prefix$_" => $d->{paths}{$_}) } keys %{ $d->{paths} }} if defined $prefix;
        $patch->($d) if $patch;
        $file = "$t->{dir}/$api-$started.json";
        open my $out, '>', $file or die "$file: $!";
        print $out JSON::PP->new->utf8->canonical->encode($d);
        close $out;
    }
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "socket: $!";
    my $port = $socket->sockport;
    close $socket;
    my $pid = Ondatra::Test::spawn($log, 'node', $prism, 'mock', '-h', '127.0.0.1', '-p', $port, $file);
    $t->poll(sub { Ondatra::Test::slurp($log) =~ /Prism is listening/ || !Ondatra::Test::alive($pid) });
    return ($pid, $port, $log);
}

sub violations {
    my ($log) = @_;
    my $text = Ondatra::Test::slurp($log);
    $text =~ s/\e\[[0-9;]*m//g;
    my %seen;
    return (scalar(() = $text =~ /Request received/g), grep { !$seen{$_}++ } $text =~ /(Violation: request[^\n]*|Request terminated with error[^\n]*)/g);
}

my %hurried;
for my $case (@cases) {
    my ($connector, $object, %c) = @$case;
    next if defined $ENV{ONDATRA_CONNECTOR} && $connector !~ /$ENV{ONDATRA_CONNECTOR}/;
    my $api = $c{api} || $connector;
    my $name = "${connector}_$object";
    my %not = map { ($_ => 1) } @{ $c{not} || [] };
    next if $not{headers}; # the description wants what the service does not
    if (!-f "$apis/$api.json") {
        SKIP: { skip "no description $api.json", 1 }
        next;
    }
    my ($pid, $port, $log) = start_prism($api, $c{prefix}, $c{patch});
    my $text = qq{'Ann "\x{e4}" ' || i || repeat('x', CASE WHEN i = 1 THEN 100 ELSE 0 END)};
    (my $columns = $c{columns}) =~ s/\bTEXT\b/$text/g;
    my %variables = %{ $c{variables} || {} };
    $hurried{$connector} ||= $t->hurried($connector);
    $t->sql('SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => $name, connector => $hurried{$connector}, base_url => "http://127.0.0.1:$port", auth => $c{auth},
        options => {retry => {attempts => 1}, concurrency => 2, rate_limit => {default => '10000/1s'}, %variables ? (variables => \%variables) : ()}) . ')');
    $t->sql(qq{CREATE TABLE mart."$name" AS SELECT $columns FROM generate_series(1, $c{rows}) i});
    my $mode = $c{mode} || 'mirror';
    my $ok = eval {
        $t->sync($name, qq{mart."$name"}, $name, object => $object, key => [$c{key}], mode => $mode, defined $c{mapping} ? (mapping => $c{mapping}) : (), options => {max_deletes => '100%', error_after => 1000});
        $t->run($name);
        my $state = 'ondatra.state_' . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = '$name'");
        if ($mode ne 'append') {
            $t->sql("SELECT ondatra.discard_failed('$name'); SELECT ondatra.rebase_sync('$name')");
            $t->admin(qq{UPDATE $state SET _remote_id = abs(hashtext(k1::text)), _remote = '{"rev": "1", "channel": "C1"}'});
            my $column = $t->sql(qq{SELECT attname FROM pg_attribute WHERE attrelid = 'mart."$name"'::regclass AND attnum = 2});
            $t->sql(qq{UPDATE mart."$name" SET "$column" = upper("$column"::text)});
            $t->run($name) unless $not{update};
            $t->sql(qq{DELETE FROM mart."$name"; SELECT ondatra.resume_sync('$name')});
            $t->run($name) unless $not{delete} || $mode ne 'mirror';
        }
        1;
    };
    ok($ok, "$name: runs") || diag($@);
    my $listed = $not{list} ? '' : eval { $t->sql('SELECT count(*) FROM ondatra.fetch(' . ($c{type} ? "NULL::mart.$c{type}, " : '') . Ondatra::Test::literal($name) . ", '$object', '" . $t->json_of($c{args} || {}) . "')"); 1 } || $@;
    my ($received, @violations) = violations($log);
    ok($received > 0, "$name: $received requests");
    is_deeply(\@violations, [], "$name: none breaks its description");
    $t->stop_process($pid);
}
done_testing;
