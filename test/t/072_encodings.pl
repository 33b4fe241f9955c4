# Databases that are not UTF-8: what goes out is UTF-8, what comes back is in the database's encoding, whole or refused; words for people have a "?" where it has no character.

use strict;
use warnings FATAL => 'all';
use utf8;
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $db;
# Statements are characters, and so is the result.
sub run_in { my ($sql) = @_; my $bytes = "SET client_encoding = 'UTF8'; $sql"; utf8::encode($bytes); my ($status, $out, $err) = $t->psql_in($db, 'ann', $bytes); utf8::decode($_) for $out, $err; return ($status, $out, $err) }
sub in_db { my ($sql) = @_; my ($status, $out, $err) = run_in($sql); is($status, 0, "$db: a statement") or diag("$sql\n$err"); return $out }
sub fails { my ($sql, $pattern, $name) = @_; my ($status, undef, $err) = run_in($sql); return ok($status && $err =~ $pattern, "$db: $name") || diag("status $status: $err") }
sub sent { my (%query) = @_; my @found = $t->requests(%query); return $found[-1] }

for my $case (['latin1', 'LATIN1', '?'], ['ascii', 'SQL_ASCII', '€']) {
    my ($name, $encoding, $euro) = @$case;
    $db = $name;
    $t->reset_destination;
    $t->admin("CREATE DATABASE $db ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    {
        my ($status, undef, $err) = $t->psql_in($db, $t->superuser, 'CREATE EXTENSION ondatra; CREATE SCHEMA mart AUTHORIZATION ann; GRANT USAGE ON SCHEMA ondatra TO ann');
        is($status, 0, "$db: installed") or diag($err);
    }
    # ü is one byte in LATIN1; SQL_ASCII has whatever bytes the client sent
    in_db(q{CREATE TABLE mart.p ("größe" text PRIMARY KEY, "straße" text, n int); INSERT INTO mart.p VALUES ('groß', 'Zürich', 1), ('klein', 'Genève', 2)});
    my $object = {upsert => {method => 'POST', path => '/x/{{key}}', headers => {'X-Straße' => 'a'}, result => {id => '/id', remote => {version => '/version'}}},
        delete => {method => 'DELETE', path => '/x/{{remote_id}}', headers => {'If-Match' => '{{remote.version}}'}},
        list => {method => 'GET', path => '/list', query => {f => '{{fields}}', q => '{{arg.q}}', after => '{{cursor}}'}, rows => '/rows', key => '/größe', id => '/id', remote => {version => '/id'}, next => {cursor => '/next'}}};
    delete $object->{upsert}{headers};
    my $options = $t->json_of({object => $object, retry => $Ondatra::Test::RETRY});
    utf8::decode($options) unless utf8::is_utf8($options);
    in_db("SELECT ondatra.create_destination('api für', base_url => '" . $t->url . "', options => '$options')");
    in_db(q{SELECT ondatra.create_sync('menü', 'mart.p', 'api für', key => '{größe}', mode => 'mirror', options => '{"on_empty": "run", "max_deletes": "100%"}')});
    like(in_db("SELECT body FROM ondatra.preview_sync('menü')"), qr/^\{"größe":"groß","straße":"Zürich","n":1\}$/m, "$db: preview");
    is(in_db("SELECT keys FROM ondatra.preview_sync('menü') LIMIT 1"), '[{"größe": "groß"}]', "$db: and its keys");

    # --- delivery: an id and a version come back
    $t->script({method => 'POST', path => '^/x/gro', answer => {json => {id => 'id-ü', version => 'né'}}}, {method => 'POST', path => '^/x/klein', answer => {status => 422, json => {message => '10 € für größe'}}});
    is(in_db("SELECT status, rows_created, rows_failed FROM ondatra.run_sync('menü')"), 'partial|1|1', "$db: a run");
    is(sent(method => 'POST', path => '^/x/gro')->{path}, '/x/gro%C3%9F', "$db: the key in the path is UTF-8");
    is_deeply(sent(method => 'POST', path => '^/x/gro')->{json}, {'größe' => 'groß', 'straße' => 'Zürich', n => 1}, "$db: names and values are UTF-8");
    my $state = 'ondatra.state_' . in_db("SELECT sync_id FROM ondatra.syncs WHERE name = 'menü'");
    is(in_db("SELECT k1, _remote_id, _remote ->> 'version' FROM $state WHERE _hash IS NOT NULL"), 'groß|id-ü|né', "$db: the id is stored in the database's encoding");
    is(in_db("SELECT length(_remote_id) FROM $state WHERE _hash IS NOT NULL"), $encoding eq 'LATIN1' ? 4 : 5, "$db: byte for byte");
    is(in_db("SELECT key ->> 'größe', error_message, payload::text FROM ondatra.failed_rows"), qq(klein|10 $euro für größe|{"größe":"klein","straße":"Genève","n":2}), "$db: what failed");
    is(in_db(q{SELECT x ->> 'verdict', x -> 'state' ->> 'remote_id', x -> 'model_row' ->> 'straße', x -> 'fields' ->> 'straße' FROM ondatra.explain_row('menü', '{"größe": "groß"}') x}),
        'unchanged|id-ü|Zürich|Zürich', "$db: explain_row");
    is(in_db(q{SELECT x -> 'failure' ->> 'error_message' FROM ondatra.explain_row('menü', '{"größe": "klein"}') x}), "10 $euro für größe", "$db: and why");
    is(in_db(q{SELECT status, rows_unchanged, rows_held_back FROM ondatra.run_sync('menü')}), 'succeeded|1|1', "$db: then nothing is left to do");
    $t->script({method => 'POST', path => '^/x/klein', answer => {status => 503, json => {message => '€ für größe'}}});
    is(in_db(q{SELECT ondatra.retry_failed('menü', '[{"größe": "klein"}]')}), '1', "$db: the key of a failed row is found");
    in_db(q{SELECT status FROM ondatra.run_sync('menü')}); # or the run that retry_failed has asked for
    like(in_db("SELECT string_agg(error_detail, ' ') FROM ondatra.sync_runs"), qr/\Q$euro\E für größe/, "$db: a run's words");
    like(in_db("SELECT last_error FROM ondatra.destination_status"), qr/\Q$euro\E für größe/, "$db: the destination's");
    $t->script({method => 'POST', path => '^/x/klein', answer => {json => {id => 'k', version => '1'}}});
    in_db("SELECT ondatra.retry_failed('menü')");
    in_db("SELECT status FROM ondatra.run_sync('menü')");
    is(in_db("SELECT count(*) FROM ondatra.failed_rows"), '0', "$db: mended");

    # --- back: fetch, request, reconcile
    my @rows = ({'größe' => 'groß', id => 'id-ü', 'straße' => 'Zürich', n => 1}, {'größe' => 'weiß', id => 'w', 'straße' => 'Genève', n => 3});
    $t->script({method => 'GET', path => '^/list', answer => {json => {rows => \@rows}}}, {method => 'POST', path => '^/echo', answer => {headers => {'X-A' => 'b'}, json => {wort => 'grün'}}},
        {method => 'GET', path => '^/euro', answer => {json => {price => '10 €'}}}, {method => 'DELETE', path => '^/x', answer => {status => 204}});
    is(in_db(q{SELECT string_agg(r ->> 'größe', ' ') FROM ondatra.fetch('api für', NULL, '{"q": "süß"}') r}), 'groß weiß', "$db: fetch");
    is(sent(path => '^/list')->{query}{q}, 'süß', "$db: with its argument");
    is(in_db(q{CREATE TYPE mart.row AS ("größe" text, n int); SELECT r."größe" || r.n FROM ondatra.fetch(NULL::mart.row, 'api für', NULL, '{"q": "x"}') r}), "groß1\nweiß3", "$db: as rows");
    is(sent(path => '^/list')->{query}{f}, 'größe,n', "$db: whose columns are asked for");
    is(in_db(q{SELECT body ->> 'wort', body_text FROM ondatra.request('api für', 'POST', '/echo', '{"größe": "ß"}')}), 'grün|{"wort":"grün"}', "$db: request");
    is_deeply([@{ sent(path => '^/echo') }{qw(path json)}], ['/echo', {'größe' => 'ß'}], "$db: is UTF-8");
    if ($encoding eq 'LATIN1') {
        fails(q{SELECT ondatra.request('api für', 'GET', '/euro')}, qr/character with byte sequence 0xe2 0x82 0xac in encoding "UTF8" has no equivalent in encoding "LATIN1"/, 'a character that it does not have is refused');
    } else {
        is(in_db(q{SELECT body ->> 'price' FROM ondatra.request('api für', 'GET', '/euro')}), '10 €', "$db: bytes are bytes");
    }
    is(in_db(q{SELECT key ->> 'größe', problem FROM ondatra.reconcile_sync('menü') ORDER BY 1}), "klein|missing\nweiß|extra", "$db: reconcile");
    is(in_db(q{SELECT count(*) FROM ondatra.reconcile_sync('menü', '{extra}')}), 2, "$db: repair");
    is(in_db(q{SELECT k1 FROM } . "$state WHERE k1 LIKE 'wei%'"), 'weiß', "$db: the key of another's record is stored in the database's encoding");
    in_db(q{SELECT status FROM ondatra.run_sync('menü')});
    is($t->count_requests(method => 'DELETE', path => '^/x/w$'), 1, "$db: and deleted by the next run");
    in_db(q{DELETE FROM mart.p WHERE n = 1});
    is(in_db(q{SELECT rows_deleted FROM ondatra.run_sync('menü')}), 1, "$db: a delete");
    is_deeply([sent(method => 'DELETE')->{path}, sent(method => 'DELETE')->{headers}{'if-match'}], ['/x/id-%C3%BC', "n\x{c3}\x{a9}"], "$db: by the id and the version that came back"); # the server reads headers byte by byte

    # --- mapping: names, columns, constants, templates, expressions
    in_db(q{INSERT INTO mart.p VALUES ('süß', 'Äpfel', 5)});
    in_db(q{SELECT ondatra.create_sync('karte', 'mart.p', 'api für', key => '{größe}', options => '{"variables": {}}',
        mapping => '{"länge": "größe", "fest": {"const": "Üben"}, "satz": {"template": "in {{straße}} für"}, "groß": {"sql": "upper(\"straße\") || ''ß''"}}')});
    $t->script({method => 'POST', path => '^/x/s', answer => {json => {id => 's'}}}, {method => 'POST', path => '^/x/', answer => {json => {id => 'x €'}}});
    in_db(q{SELECT status FROM ondatra.run_sync('karte', keys => '[{"größe": "süß"}]')});
    my $json = sent(method => 'POST', path => '^/x/s')->{json};
    delete $json->{'groß'} if $json->{'groß'} =~ /^.PFELß$/; # upper() is C's
    is_deeply($json, {'länge' => 'süß', fest => 'Üben', satz => 'in Äpfel für'}, "$db: a mapping") or diag(explain($json));
    fails(q{SELECT ondatra.create_sync('x', 'mart.p', 'api für', key => '{größe}', mapping => '{"länge": "häßlich"}')}, qr/column "häßlich" of the mapping does not exist/, 'a column that is not there');
    my $run = in_db(q{SELECT status, error_message FROM ondatra.run_sync('karte')});
    if ($encoding eq 'LATIN1') {
        like($run, qr/^failed\|answers could not be recorded: character with byte sequence 0xe2 0x82 0xac/, "$db: an id that it cannot store is refused");
    } else {
        is($run, 'succeeded|', "$db: an id in any bytes");
        in_db(q{SET client_encoding = 'SQL_ASCII'; INSERT INTO mart.p VALUES (E'\\\\xfc', E'\\374', 9)});
        is(in_db(q{SELECT status, rows_invalid FROM ondatra.run_sync('karte')}), 'partial|1', "$db: bytes that are no UTF-8");
        like(in_db(q{SELECT error_message FROM ondatra.failed_rows WHERE sync_name = 'karte'}), qr/not valid UTF-8/, "$db: make the row invalid");
    }
}
done_testing;
