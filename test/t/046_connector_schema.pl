# The words of a connector's document, said in three places: the code that reads it, the JSON Schema for editors and the pages of the manual. They
# are the same, every shipped connector fits the schema, and what is wrong by the schema is wrong by the code.
# needs npm: ajv@8.17.1

use strict;
use utf8;
use warnings FATAL => 'all';
use FindBin;
use IPC::Run;
use JSON::PP ();
use Ondatra::Test;
use Test::More;

my $root = "$FindBin::Bin/../..";
my $t = Ondatra::Test->new;
my $json = JSON::PP->new->utf8->canonical;
my $schema = $json->decode(Ondatra::Test::slurp("$root/doc/connector.schema.json"));
my %page = map { my $text = Ondatra::Test::slurp("$root/doc/$_"); utf8::decode($text); $_ => $text } 'connectors.md', 'http.md';

sub problems { my ($spec) = @_; return $t->rows('SELECT * FROM ondatra.check_connector(' . Ondatra::Test::literal($spec) . ')') }

# --- words by place: [what the document is like with an unknown member there, the place in the schema, the section of the manual that has a table of them]
my $upsert = sub { return {title => 'x', objects => {o => {upsert => {method => 'PUT', @_}}}} };
my $job = sub { return {title => 'x', objects => {o => {upsert => {steps => [{name => 'a', method => 'POST', body => '$fields', @_}]}}}} };
my $batch = sub { return $upsert->(batch => {rows => 2}, result => {@_}) };
my $list = sub { return {title => 'x', objects => {o => {list => {method => 'GET', @_}}}} };
my %places = (
    'the document' => [{'?' => 1}, '', 'connectors.md', '## The document'],
    'a variable' => [{variables => {v => {'?' => 1}}}, 'definitions/variables/additionalProperties', 'connectors.md', '### Variables'],
    'rate_headers' => [{rate_headers => {'?' => 1}}, 'properties/rate_headers', 'connectors.md', '### Headers that say what is left'],
    'retry' => [{retry => {'?' => 1}}, 'properties/retry'],
    'gzip' => [{gzip => {'?' => 1}}, 'properties/gzip/oneOf/1'],
    'check' => [{check => {'?' => 1}}, 'properties/check'],
    'an object' => [{title => 'x', objects => {o => {'?' => 1}}}, 'definitions/object', 'connectors.md', '## Objects'],
    'a key' => [{title => 'x', objects => {o => {key => {'?' => 1}}}}, 'definitions/object/properties/key/oneOf/1'],
    'an operation' => [$upsert->('?' => 1), 'definitions/operation', 'connectors.md', '## Operations'],
    'a step' => [$job->('?' => 1), 'definitions/step', 'connectors.md', '### Steps'],
    'a poll' => [$job->(poll => {'?' => 1}), 'definitions/poll'],
    'a capture' => [$job->(capture => {x => {'?' => 1}}), 'definitions/step/properties/capture/additionalProperties/oneOf/1'],
    'jobs' => [{title => 'x', objects => {o => {upsert => {steps => [{name => 'a', method => 'POST', body => '$fields'}], jobs => {'?' => 1}}}}}, 'definitions/operation/properties/jobs'],
    'csv' => [$upsert->(encoding => 'csv', csv => {'?' => 1}), 'definitions/csv', 'http.md', '### CSV'],
    'a column' => [$upsert->(encoding => 'csv', csv => {columns => [{'?' => 1}]}), 'definitions/csv/properties/columns/items/oneOf/1'],
    'a lookup' => [{title => 'x', objects => {o => {lookup => {'?' => 1}}}}, 'definitions/lookup', 'connectors.md', '### Lookups'],
    'a type' => [{types => {t => {'?' => 1}}}, 'properties/types/additionalProperties', 'connectors.md', '### Types'],
    'a host' => [{hosts => [{'?' => 1}]}, 'properties/hosts/items/oneOf/1'],
    'a list' => [{title => 'x', objects => {o => {list => {'?' => 1}}}}, 'definitions/list', 'connectors.md', '### Lists'],
    'a step of a list' => [$list->(steps => [{'?' => 1}]), 'definitions/list_step'],
    'jobs of a list' => [$list->(steps => [{name => 'a', method => 'GET'}], jobs => {'?' => 1}), 'definitions/list/properties/jobs'],
    'a cursor' => [$list->(next => {cursor => {'?' => 1}}), 'definitions/next/properties/cursor/oneOf/1'],
    'the next page' => [$list->(next => {'?' => 1}), 'definitions/next', 'connectors.md', '### The next page'],
    'a page' => [$list->(next => {page => {'?' => 1}}), 'definitions/next/properties/page'],
    'an offset' => [$list->(next => {offset => {'?' => 1}}), 'definitions/next/properties/offset'],
    'a parameter' => [$upsert->(query => {p => {'?' => 1}}), 'definitions/operation/properties/query/additionalProperties/oneOf/2'],
    'a batch of a lookup' => [{title => 'x', objects => {o => {lookup => {method => 'GET', batch => {'?' => 1}}}}}, 'definitions/lookup/properties/batch'],
    'a batch' => [$upsert->(batch => {'?' => 1}), 'definitions/operation/properties/batch'],
    'idempotency' => [$upsert->(idempotency => {'?' => 1}), 'definitions/operation/properties/idempotency/oneOf/2'],
    'a condition' => [$upsert->(ok => {'?' => 1}), 'definitions/condition'],
    'a result' => [$batch->('?' => 1), 'definitions/result', 'http.md', '## Reading answers'],
    'a match' => [$batch->(match => {'?' => 1}), 'definitions/match/oneOf/1'],
    'errors' => [$batch->(errors => {'?' => 1}), 'definitions/result/properties/errors'],
    'counts' => [$batch->(counts => {'?' => 1}), 'definitions/result/properties/counts'],
);

sub words_of_code {
    my ($document) = @_;
    my ($problem) = map { $_->{problem} } grep { $_->{path} =~ /\?$/ } problems($document);
    my ($names) = ($problem // '') =~ /Valid members are (.*?)\.$/ or return;
    return sort split /, /, $names;
}

sub words_of_schema {
    my ($path) = @_;
    my $at = $schema;
    $at = ref $at eq 'ARRAY' ? $at->[$_] : $at->{$_} for split m{/}, $path;
    return sort keys %{ $at->{properties} };
}

# First cells of the first table of a section: | `a`, `b` | … |
sub words_of_page {
    my ($page, $heading) = @_;
    my ($section) = $page{$page} =~ /^\Q$heading\E\n(.*?)(?=^##|\z)/ms;
    my ($table) = ($section // '') =~ /^(\|[^\n]*\n\|---.*?)(?=^(?!\|)|\z)/ms;
    return sort map { /`(\w+)`/g } map { /^\| (`[^|]*) \|/ ? $1 : () } split /\n/, $table // '';
}

for my $place (sort keys %places) {
    my ($document, $path, $page, $heading) = @{ $places{$place} };
    my @words = words_of_code($document);
    cmp_ok(scalar @words, '>', 0, "$place: the code says what it knows");
    is_deeply([words_of_schema($path)], \@words, "$place: the schema has the same members");
    if ($heading) { is_deeply([words_of_page($page, $heading)], \@words, "$place: doc/$page has the same members") }
    else { is_deeply([grep { ($page{'http.md'} . $page{'connectors.md'}) !~ /[`"]$_[`"]/ } @words], [], "$place: the manual has them") }
}

# words that a member may be
sub choices {
    my ($document, $path) = @_;
    my ($problem) = map { $_->{problem} } grep { $_->{path} eq $path } problems($document);
    my ($names) = ($problem // '') =~ /It can be (.*?)\.$/ or return;
    return sort split /, /, $names;
}
my %choices = (
    'auth' => [{auth => ['?']}, '/auth/0', 'properties/auth/items'],
    'unit' => [{rate_headers => {remaining => 'a', reset => 'b', unit => '?'}}, '/rate_headers/unit', 'properties/rate_headers/properties/unit'],
    'method of a check' => [{check => {method => '?'}}, '/check/method', 'properties/check/properties/method'],
    'method' => [$upsert->(method => '?'), '/objects/o/upsert/method', 'definitions/operation/properties/method'],
    'when' => [{title => 'x', objects => {o => {lookup => {method => 'GET', when => '?'}}}}, '/objects/o/lookup/when', 'definitions/lookup/properties/when'],
    'method of a lookup' => [{title => 'x', objects => {o => {lookup => {method => '?'}}}}, '/objects/o/lookup/method', 'definitions/lookup/properties/method'],
    'format' => [$list->(format => '?'), '/objects/o/list/format', 'definitions/list/properties/format'],
    'compare' => [$list->(compare => '?'), '/objects/o/list/compare', 'definitions/list/properties/compare'],
    'method of a list' => [$list->(method => '?'), '/objects/o/list/method', 'definitions/list/properties/method'],
    'method of a step' => [$job->(method => '?'), '/objects/o/upsert/steps/0/method', 'definitions/step/properties/method'],
    'format' => [$batch->(format => '?'), '/objects/o/upsert/result/format', 'definitions/result/properties/format'],
    'fate' => [$batch->(fate => '?'), '/objects/o/upsert/result/fate', 'definitions/result/properties/fate'],
    'encoding' => [$upsert->(encoding => '?'), '/objects/o/upsert/encoding', 'definitions/operation/properties/encoding'],
    'fold' => [{title => 'x', objects => {o => {key => {fold => '?'}}}}, '/objects/o/key/fold', 'definitions/object/properties/key/oneOf/1/properties/fold'],
);
for my $name (sort keys %choices) {
    my ($document, $pointer, $path) = @{ $choices{$name} };
    my $at = $schema;
    $at = ref $at eq 'ARRAY' ? $at->[$_] : $at->{$_} for split m{/}, $path;
    my @words = choices($document, $pointer);
    cmp_ok(scalar @words, '>', 0, "$name: the code says what it can be");
    is_deeply([sort @{ $at->{enum} }], \@words, "$name: the schema says the same");
}

# --- documents through both
my ($validator) = grep { -d } map { "$_/node_modules/ajv" } $ENV{ONDATRA_NPM_DIR} || '/var/tmp/ondatra-npm';
my ($node) = grep { -x } map { "$_/node" } split /:/, $ENV{PATH} || '';
my $version = $validator ? $json->decode(Ondatra::Test::slurp("$validator/package.json"))->{version} : 'none';

# What the validator says of each document: true, or its errors.
sub validate {
    my (@documents) = @_;
    my $in = $json->encode({schema => $schema, documents => \@documents});
    my ($out, $err) = ('', '');
    my $script = q{
        const Ajv = require(process.argv[1]);
        let text = '';
        process.stdin.on('data', (c) => (text += c)).on('end', () => {
            const { schema, documents } = JSON.parse(text);
            const check = new Ajv({ strict: false, allErrors: true }).compile(schema);
            console.log(JSON.stringify(documents.map((d) => check(d) || check.errors.map((e) => e.instancePath + ' ' + e.message))));
        });
    };
    IPC::Run::run([$node, '-e', $script, $validator], '<', \$in, '>', \$out, '2>', \$err) or die $err;
    return @{ $json->decode($out) };
}

SKIP: {
    skip 'node is not installed', 1 unless $node;
    skip "npm has not installed ajv 8, but $version", 1 unless $version =~ /^8\./;
    my %shipped = map { m{([^/]+)\.json$}; $1 => $json->decode(Ondatra::Test::slurp($_)) } glob "$root/sql/connectors/*.json";
    my @names = sort keys %shipped;
    my @said = validate(@shipped{@names});
    is($json->encode([$said[$_]]), '[true]', "$names[$_] fits the schema") for 0 .. $#names;

    my @good = (
        $upsert->(),
        {%{ $upsert->(path => '', query => {a => 1, b => JSON::PP::true, c => ['$each', '{{key}}'], d => {each => '{{key}}'}}, batch => {rows => 3}, body => ['$each', '$fields'],
            idempotency => undef, ok => {path => '/ok', in => [1, undef, 'x']}, result => {rows => '', match => {map => JSON::PP::true, by => '{{key}}'}}) },
            rate_limit => {default => ['1/s', '100/10m'], bulk => '5/1h'}, gzip => {min_bytes => 0}, check => {}, rate_headers => {remaining => 'A', reset => 'B'}},
    );
    push @good, {%{ $list->(query => {after => '{{cursor}}'}, rows => '/r', key => {a => '/a'}, next => {cursor => '/n', has_more => {path => '/m', equals => JSON::PP::true}}) },
        types => {t => {value => ['$value'], null => []}}, hosts => ['*.a.example', {host => 'b.example', credentials => JSON::PP::true}]}, $list->(steps => [{name => 'a', method => 'POST', body => {x => '{{arg.y}}'}, capture => {u => '/u'}, poll => {done => {path => '/s', equals => 1}}}], jobs => {timeout_ms => 1000}, url => '{{job.u}}', format => 'csv', query => {c => '{{cursor}}'}, next => {cursor => {header => 'X-C'}}),
        $list->(format => 'lines', compare => 'text', skip => {path => '/x', absent => JSON::PP::true});
    my @bad = (
        $list->(jobs => {timeout_ms => 1000}), $list->(steps => []), $list->(steps => [{name => 'a'}]), $list->(steps => [{name => 'a', method => 'GET', result => {rows => ''}}]), $list->(next => {cursor => {}}), $list->(next => {}), $list->(next => {cursor => '/a', url => '/b'}), $list->(next => {cursor => 'a'}), $list->(next => {link => ''}), $list->(next => {page => {first => -1}}),
        $list->(query => {a => '{{cursor}}'}, next => {cursor => '/a', total => '/t', total_pages => '/p'}), $list->(format => 'xml'), $list->(pages_max => 0), $list->(rows => 'x'),
        {%{ $list->() }, base_url_from_token => '/x'}, {%{ $list->() }, base_url => 'https://x', base_url_from_token => 'x'}, {%{ $list->() }, unverified => 'x'}, {title => 'x', objects => {o => {null => [], list => {method => 'GET'}}}},
        {%{ $list->() }, types => {t => {}}}, {%{ $list->() }, types => []}, {%{ $list->() }, types => {t => 'x'}}, {%{ $list->() }, hosts => ['https://a.example']}, {%{ $list->() }, hosts => ['a']}, {%{ $list->() }, hosts => [{credentials => JSON::PP::true}]}, {%{ $list->() }, hosts => 'a.example'},
        [], 'x', {}, {title => 'x'}, {title => 1, objects => {}}, {%{ $upsert->() }, colour => 1}, {%{ $upsert->() }, base_url => 'ftp://x'}, {%{ $upsert->() }, auth => []},
        {%{ $upsert->() }, auth => ['token']}, {%{ $upsert->() }, rate_limit => 'fast'}, {%{ $upsert->() }, rate_limit => [5]}, {%{ $upsert->() }, rate_headers => {reset => 'X'}},
        {%{ $upsert->() }, concurrency => 0}, {%{ $upsert->() }, timeout_ms => '1'}, {%{ $upsert->() }, variables => {v => 1}}, {%{ $upsert->() }, variables => {v => {default => []}}},
        {%{ $upsert->() }, headers => {'a b' => 'x'}}, {%{ $upsert->() }, check => {method => 'PUT'}}, {%{ $upsert->() }, gzip => 'yes'},
        {title => 'x', objects => {}}, {title => 'x', objects => {o => {}}}, {title => 'x', objects => {o => {key => 'id'}}}, {title => 'x', objects => {o => {upsert => {}}}},
        $upsert->(method => 'GET'), $upsert->(path => 'x'), $upsert->(query => {a => undef}), $upsert->(query => {a => ['x', 'y']}), $upsert->(query => {a => {join => ','}}),
        $upsert->(encoding => 'xml'), $upsert->(content_type => 'json'), $upsert->(batch => {rows => 0}), $upsert->(batch => {rows => '5'}), $upsert->(idempotency => {}),
        $upsert->(idempotency => {header => 'A', item => 'b'}), $upsert->(idempotency => {field => 'x'}), $upsert->(fine => 404), $upsert->(fine => [99]), $upsert->(ok => {path => '/x'}),
    $upsert->(steps => []), $job->(name => ''), $job->(poll => {every_ms => 5}), $job->(capture => {id => {}}), $upsert->(encoding => 'csv', csv => {delimiter => 'x'}),
        $upsert->(ok => {path => 'x', equals => 1}), $upsert->(ok => {equals => 1, in => [1]}), $upsert->(ok => {path => '/x', absent => 1}), $upsert->(error => '/~2'),
        $upsert->(result => {id => 'id'}), $upsert->(result => {retry => []}), $batch->(match => 'key'), $batch->(rows => '', match => {}), $batch->(rows => '', match => {key => '/a', index => '/b'}),
        $batch->(errors => {rows => '/errors'}), $batch->(counts => {}), $batch->(counts => {accepted => []}), $upsert->(exists => 409),
        {title => 'x', objects => {o => {lookup => {method => 'GET', result => {id => '/id'}}}}}, {title => 'x', objects => {o => {upsert => {method => 'PUT'}, lookup => {method => 'GET'}}}}, $upsert->(result => {remote => {a => 1}}),
    );
    @said = validate(@good, @bad);
    for my $i (0 .. $#good) {
        is($json->encode([$said[$i]]), '[true]', "good $i fits the schema");
        is_deeply([problems($good[$i])], [], "good $i has no problems");
    }
    for my $i (0 .. $#bad) {
        my $text = JSON::PP->new->canonical->allow_nonref->encode($bad[$i]);
        ok(ref $said[@good + $i], "not by the schema: $text");
        my ($first) = $t->rows('SELECT * FROM ondatra.check_connector(' . Ondatra::Test::literal($text) . ') LIMIT 1');
        ok($first, "nor by the code: $text");
    }
}
done_testing;
