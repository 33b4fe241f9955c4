# Shipped connectors whose answers say more than a status: jobs of several steps, rows found by a place that a variable names, values in types. The
# answers are scripted after the vendors' documentation.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
$t->sql(q{CREATE TABLE mart.p (id text PRIMARY KEY, name text, note text); INSERT INTO mart.p VALUES ('a1', 'Ann', NULL), ('a2', E'B"ob, jr', 'x'), ('a3', 'Cid', '')});
my %options = (rate_limit => {default => '10000/1s'}, retry => $Ondatra::Test::RETRY);
sub destination { my ($name, $connector, %variables) = @_;
    return $t->sql('SELECT ondatra.create_destination(' . Ondatra::Test::arguments(name => $name, connector => $t->hurried($connector), base_url => $t->url, auth => {type => 'bearer', token => {secret => 's'}}, options => {%options, variables => \%variables}) . ')') }
sub answer { my ($method, $path, $json, %more) = @_; return {method => $method, path => $path, answer => {json => $json}, %more} }
sub text { my ($path, $text) = @_; return {method => 'GET', path => $path, answer => {text => $text, content_type => 'text/csv'}} }
sub sent { my ($method, $path) = @_; return ($t->requests(method => $method, path => $path))[-1] }
sub failures { return join '; ', map { "$_->{key}{id} $_->{error_class} $_->{error_message}" } $t->failed_rows($_[0]) }
sub ids { my ($sync) = @_; return $t->sql(q{SELECT string_agg(k1 || '=' || coalesce(_remote_id, '-'), ' ' ORDER BY k1) FROM ondatra.state_} . $t->sql("SELECT sync_id FROM ondatra.syncs WHERE name = '$sync'") . ' WHERE _hash IS NOT NULL') }
$t->sql("SELECT ondatra.set_secret('s', 'secret')");

# --- Salesforce: four steps, three results in CSV
destination('sf', 'salesforce', sobject => 'Account', external_id => 'Ext__c');
$t->sync('sf', 'mart.p', 'sf', object => 'bulk', key => ['id'], mode => 'mirror', mapping => [{source => 'id', destination => 'Ext__c'}, {source => 'name', destination => 'Name'}, {source => 'note', destination => 'Note__c'}]);
sub salesforce {
    my ($successful, $failed, $unprocessed, %state) = @_;
    $t->script(answer('POST', '^/jobs/ingest$', {id => '750x', state => 'Open'}), {method => 'PUT', path => '/750x/batches$', answer => {status => 201}}, answer('PATCH', '/750x$', {id => '750x', state => 'UploadComplete'}),
        answer('GET', '/750x$', {id => '750x', state => 'InProgress'}, times => 1), answer('GET', '/750x$', {id => '750x', state => 'JobComplete', %state}),
        text('successfulResults', $successful), text('failedResults', $failed), text('unprocessedrecords', $unprocessed));
}
salesforce(qq{"sf__Id","sf__Created","Ext__c","Name"\n"001A","true","a1","Ann"\n"001B","false","a2","B""ob, jr"\n}, qq{"sf__Id","sf__Error","Ext__c","Name"\n"","REQUIRED_FIELD_MISSING:Required fields are missing","a3","Cid"\n}, qq{"Ext__c","Name"\n});
my $run = $t->run('sf');
$t->run_is($run, {status => 'partial', rows_created => 1, rows_updated => 1, rows_failed => 1, requests => 8}, 'Salesforce: a job of seven steps, asked twice');
is($t->json_of(sent('POST', 'ingest$')->{json}), '{"contentType":"CSV","externalIdFieldName":"Ext__c","lineEnding":"LF","object":"Account","operation":"upsert"}', 'Salesforce: the job');
my ($put) = sent('PUT', 'batches$');
is($put->{headers}{'content-type'}, 'text/csv', 'Salesforce: the rows are a CSV');
is(join('|', sort split /\n/, $put->{body}), qq{Ext__c,Name,Note__c|a1,Ann,#N/A|a2,"B""ob, jr",x|a3,Cid,""}, 'Salesforce: in which #N/A clears a field');
is(failures('sf'), 'a3 rejected REQUIRED_FIELD_MISSING:Required fields are missing', 'Salesforce: a row that it refused');
is(ids('sf'), 'a1=001A a2=001B', 'Salesforce: the others have their ids');
$t->sql(q{DELETE FROM mart.p WHERE id = 'a2'});
salesforce(qq{"sf__Id","sf__Created","Id"\n"001B","false","001B"\n}, qq{"sf__Id","sf__Error","Id"\n}, qq{"Id"\n});
$t->run_is($t->run('sf'), {status => 'succeeded', rows_deleted => 1, rows_failed => 0}, 'Salesforce: a delete in a job');
is(sent('PUT', 'batches$')->{body}, "Id\n001B\n", 'Salesforce: by its id');
$t->sql(q{INSERT INTO mart.p VALUES ('a2', 'Bob', 'x'); UPDATE mart.p SET name = 'Anna' WHERE id = 'a1'});
salesforce(qq{"sf__Id","sf__Created","Ext__c"\n"001A","false","a1"\n}, qq{"sf__Id","sf__Error","Ext__c"\n}, qq{"Ext__c"\n"a2"\n});
$t->run_is($t->run('sf'), {status => 'partial', rows_updated => 1, rows_failed => 1}, 'Salesforce: what was not processed');
like(failures('sf'), qr/a2 throttled/, 'Salesforce: is worth another try');
$t->sql(q{UPDATE mart.p SET name = 'Ann' WHERE id = 'a1'});
salesforce('', '', '', state => 'Failed', errorMessage => 'InvalidBatch : Field name not found : Nam');
$t->run_is($t->run('sf'), {status => 'failed', rows_failed => 1}, 'Salesforce: a job that failed');
like(failures('sf'), qr/a1 unknown_outcome job 750x has failed: InvalidBatch : Field name not found : Nam/, 'Salesforce: says why');

$t->script(answer('POST', '^/jobs/query$', {id => '750q', state => 'UploadComplete'}), answer('GET', '/jobs/query/750q$', {id => '750q', state => 'InProgress'}, times => 1), answer('GET', '/jobs/query/750q$', {id => '750q', state => 'JobComplete'}),
    {%{ text('/jobs/query/750q/results', qq{"Id","Ext__c","Name","Note__c"\n"001Z","a9","Zoe",""\n}) }, query => {locator => '^MTAw$'}},
    {method => 'GET', path => '/jobs/query/750q/results', answer => {text => qq{"Id","Ext__c","Name","Note__c"\n"001A","a1","Ann",""\n}, content_type => 'text/csv', headers => {'Sforce-Locator' => 'MTAw'}}});
is($t->sql(q{SELECT string_agg(concat_ws(' ', key->>'id', problem, detail->'fields'), ', ' ORDER BY key->>'id') FROM ondatra.reconcile_sync('sf')}), 'a9 extra', 'Salesforce: a query job, read in pages, is what reconcile_sync() compares with');
is(sent('POST', 'query$')->{json}{query}, 'SELECT Id, Ext__c,Name,Note__c FROM Account', 'Salesforce: of the fields that are mapped');

# --- Klaviyo: errors elsewhere, in pages, found by what identifies a profile
$t->reset_destination;
$t->sql(q{UPDATE mart.p SET note = NULL});
destination('kl', 'klaviyo');
$t->sync('kl', 'mart.p', 'kl', object => 'profiles_bulk', key => ['id'], mapping => {external_id => 'id', first_name => 'name'}, options => {variables => {identifier => 'external_id'}});
sub import_error { my ($id) = @_; return {type => 'import-error', id => "e$id", attributes => {code => 'invalid', title => 'Invalid input', detail => "profile $id is bad", source => {pointer => '/data'}, original_payload => {external_id => $id, first_name => 'x'}}} }
my $import = '^/api/profile-bulk-import-jobs';
my $polled = {data => {id => 'j9', attributes => {status => 'complete', failed_count => 2}}};
$t->script({method => 'POST', path => "$import\$", answer => {status => 202, json => {data => {type => 'profile-bulk-import-job', id => 'j9', attributes => {status => 'queued'}}}}},
    answer('GET', "$import/j9\$", {data => {id => 'j9', attributes => {status => 'processing'}}}, times => 1), answer('GET', "$import/j9\$", $polled),
    answer('GET', 'import-errors', {data => [import_error('a3')], links => {next => undef}}, query => {'page[cursor]' => 'c2'}),
    answer('GET', 'import-errors', {data => [import_error('a1')], links => {next => $t->url . '/api/profile-bulk-import-jobs/j9/import-errors?page%5Bcursor%5D=c2'}}));
$t->run_is($t->run('kl'), {status => 'partial', rows_created => 1, rows_failed => 2, requests => 5}, 'Klaviyo: a job, its errors in two pages');
is(failures('kl'), 'a1 rejected profile a1 is bad; a3 rejected profile a3 is bad', 'Klaviyo: the profiles that it could not take');
my $posted = sent('POST', $import);
is($t->json_of((sort { $a->{attributes}{external_id} cmp $b->{attributes}{external_id} } @{ $posted->{json}{data}{attributes}{profiles}{data} })[0]), '{"attributes":{"external_id":"a1","first_name":"Ann"},"type":"profile"}', 'Klaviyo: a profile of the job');
is($posted->{headers}{'content-type'} . ' ' . $posted->{headers}{revision}, 'application/vnd.api+json 2024-10-15', 'Klaviyo: under its media type and revision');

# --- Zendesk: results in the order of the request; a failed one has its number for an id
$t->reset_destination;
destination('zd', 'zendesk', subdomain => 'x');
$t->sync('zd', 'mart.p', 'zd', object => 'users', key => ['id'], mode => 'mirror', mapping => {name => 'name'});
sub zendesk { my (@results) = @_; return (answer('GET', '^/api/v2/job_statuses/q1$', {job_status => {id => 'q1', status => 'working'}}, times => 1), answer('GET', '^/api/v2/job_statuses/q1$', {job_status => {id => 'q1', status => 'completed', results => \@results}})) }
my $queued = {job_status => {id => 'q1', status => 'queued'}};
$t->script(answer('POST', '/create_or_update_many$', $queued), zendesk({id => 190, status => 'Created', external_id => 'a1'}, {id => 90, status => 'Updated'}, {id => 2, error => 'UserUpdateError', details => 'Email: is not properly formatted', status => 'Failed'}));
$t->run_is($t->run('zd'), {status => 'partial', rows_created => 1, rows_updated => 1, rows_failed => 1}, 'Zendesk: created, updated, failed');
my @order = map { $_->{external_id} } @{ sent('POST', 'create_or_update_many')->{json}{users} };
my %id = ($order[0] => 190, $order[1] => 90);
is(failures('zd'), "$order[2] rejected Email: is not properly formatted", 'Zendesk: the failed one with its reason');
is(ids('zd'), join(' ', map { "$_=$id{$_}" } sort keys %id), 'Zendesk: the others with their ids');
$t->sql(qq{DELETE FROM mart.p WHERE id <> '$order[2]'});
$t->script(answer('DELETE', '/destroy_many$', $queued), answer('POST', '/create_or_update_many$', $queued), zendesk({id => 90, success => \1}, {id => 190, success => \0, details => 'is an agent'}));
$run = $t->run('zd');
$t->run_is($run, {rows_deleted => 1, deletes_failed => 1}, 'Zendesk: deletes');
is(join(',', sort split /,/, sent('DELETE', 'destroy_many')->{query}{ids}), '190,90', 'Zendesk: by their ids');

$t->sql(q{UPDATE mart.p SET name = name || '!'});
$t->script(answer('POST', '/create_or_update_many$', $queued), zendesk());
$t->run_is($t->run('zd'), {status => 'failed', rows_failed => 1}, 'Zendesk: a list of the wrong length delivers nothing');

# --- SendGrid: only counts; ids are asked for before a delete, and only then
$t->reset_destination;
$t->sql(q{DELETE FROM mart.p; INSERT INTO mart.p VALUES ('ann@example.com', 'Ann', NULL), ('bob@example.com', 'Bob', 'x')});
destination('sg', 'sendgrid');
$t->sync('sg', 'mart.p', 'sg', object => 'contacts', key => ['id'], mode => 'mirror', mapping => {first_name => 'name', city => 'note'}, options => {max_deletes => '100%'});
sub sendgrid { my ($errored) = @_; return ({method => 'PUT', path => '^/v3/marketing/contacts$', answer => {status => 202, json => {job_id => 'g1'}}}, answer('GET', '/imports/g1$', {id => 'g1', status => 'pending', results => {}}, times => 1),
    answer('GET', '/imports/g1$', {id => 'g1', status => $errored ? 'errored' : 'completed', results => {requested_count => 2, created_count => 1, updated_count => 1 - $errored, errored_count => $errored}})) }
$t->script(sendgrid(0));
$t->run_is($t->run('sg'), {status => 'succeeded', rows_created => 2, rows_unconfirmed => 2, requests => 3}, 'SendGrid: counted');
is($t->json_of([sort { $a->{email} cmp $b->{email} } @{ sent('PUT', 'contacts$')->{json}{contacts} }]), '[{"city":"","email":"ann@example.com","first_name":"Ann"},{"city":"x","email":"bob@example.com","first_name":"Bob"}]', 'SendGrid: an empty text clears a field');
$t->script(answer('POST', '/search/emails$', {result => {'ann@example.com' => {contact => {id => 'c-1', email => 'ann@example.com'}}}}), {method => 'DELETE', path => '^/v3/marketing/contacts$', answer => {status => 202, json => {job_id => 'd1'}}});
$t->sql('DELETE FROM mart.p');
$t->run_is($t->run('sg'), {status => 'succeeded', rows_deleted => 2}, 'SendGrid: one delete by the id that was looked up, one of nobody');
is($t->json_of([sort @{ sent('POST', 'emails$')->{json}{emails} }]) . ' ' . sent('DELETE', 'contacts$')->{query}{ids}, '["ann@example.com","bob@example.com"] c-1', 'SendGrid: as it should be');

$t->sql(q{INSERT INTO mart.p VALUES ('cid@example.com', 'Cid', NULL), ('dan@example.com', 'Dan', NULL)});
$t->script(sendgrid(1));
$t->run_is($t->run('sg'), {status => 'failed', rows_failed => 2, rows_created => 0}, 'SendGrid: one in error, and nobody knows which');
$t->sql('DELETE FROM mart.p');

# --- Notion: a page that is there already is found by its text property; values in types
$t->reset_destination;
$t->sql(q{INSERT INTO mart.p VALUES ('n1', 'Ann', NULL), ('n2', 'Bob', 'x')});
destination('no', 'notion', data_source => 'd1', key_property => 'Ref');
$t->sync('no', 'mart.p', 'no', object => 'pages', key => ['id'], mode => 'mirror', options => {max_deletes => '100%'},
    mapping => {Ref => {column => 'id', as => 'rich_text'}, Name => {column => 'name', as => 'title'}, Note => {column => 'note', as => 'select'}});
my $page = {id => 'p2', properties => {Ref => {type => 'rich_text', rich_text => [{plain_text => 'n2'}]}}};
$t->script({method => 'POST', path => '/query$', json => {'/filter/rich_text/equals' => 'n2'}, answer => {json => {results => [$page], has_more => \0}}}, answer('POST', '/query$', {results => [], has_more => \0}),
    answer('POST', '^/v1/pages$', {id => 'p1'}), answer('PATCH', '^/v1/pages/', {id => 'p2'}));
$t->run_is($t->run('no'), {status => 'succeeded', rows_created => 1, rows_updated => 1, requests => 4}, 'Notion: one is created, one found and updated');
is(ids('no'), 'n1=p1 n2=p2', 'Notion: their ids');
is($t->json_of(sent('POST', 'pages$')->{json}), '{"parent":{"data_source_id":"d1","type":"data_source_id"},"properties":{"Name":{"title":[{"text":{"content":"Ann"}}]},"Note":{"select":null},"Ref":{"rich_text":[{"text":{"content":"n1"}}]}}}', 'Notion: values in their types');
$t->sql('DELETE FROM mart.p');
$t->run_is($t->run('no'), {status => 'succeeded', rows_deleted => 2, requests => 2}, 'Notion: a delete');
is($t->json_of(sent('PATCH', 'pages/')->{json}), '{"in_trash":true}', 'Notion: moves to the trash');

# --- Google Sheets: rows as arrays; a count that does not fit
$t->reset_destination;
$t->sql(q{INSERT INTO mart.p VALUES ('2', 'Ann', NULL), ('3', 'Bob', 'x')});
destination('gs', 'google_sheets', spreadsheet => '1X/y');
$t->sync('gs', 'SELECT id::int AS n, name, note FROM mart.p', 'gs', object => 'rows', key => ['n'], mode => 'mirror', options => {variables => {sheet => 'My sheet'}, max_deletes => '100%'}, mapping => [{source => 'name', destination => 'name'}, {source => 'note', destination => 'note'}]);
$t->script(answer('POST', ':batchUpdate$', {totalUpdatedRows => 2}), answer('POST', ':batchClear$', {clearedRanges => ['a', 'b']}));
$t->run_is($t->run('gs'), {status => 'succeeded', rows_created => 2, rows_unconfirmed => 2}, 'Google Sheets: rows by their number');
my $update = sent('POST', 'batchUpdate$');
$update->{json}{data} = [sort { $a->{range} cmp $b->{range} } @{ $update->{json}{data} }];
is($t->json_of($update->{json}), q({"data":[{"range":"My sheet!A2","values":[["Ann",""]]},{"range":"My sheet!A3","values":[["Bob","x"]]}],"valueInputOption":"RAW"}), 'Google Sheets: an empty cell for a null');
is($update->{path}, '/spreadsheets/1X%2Fy/values:batchUpdate', 'Google Sheets: no variable leaves its place in the path');
$t->sql(q{DELETE FROM mart.p});
$t->run_is($t->run('gs'), {status => 'succeeded', rows_deleted => 2}, 'Google Sheets: rows are cleared');
$t->sync('log', 'SELECT i AS n, i * 2 AS twice FROM generate_series(1, 3) i', 'gs', object => 'log', key => ['n'], mode => 'append');
$t->script(answer('POST', ':append$', {updates => {updatedRows => 2}}));
$t->run_is($t->run('log'), {status => 'failed', rows_failed => 3}, 'Google Sheets: two rows of three');
is(($t->failed_rows('log'))[0]{next_attempt_at}, undef, 'Google Sheets: are not sent again by themselves');
is(sent('POST', 'append$')->{path}, '/spreadsheets/1X%2Fy/values/Sheet1!A1:append', 'Google Sheets: at the end of the sheet');
$t->no_violations;
done_testing;
