# report_html(): one page, well-formed, without scripts and outside parts; every text stays a text; everybody sees their own. In Chromium, where it is installed:
# nothing runs, nothing is fetched, nothing is wider than a phone.
# ONDATRA_REPORT_DIR=DIR keeps the page and its pictures.

use strict;
use utf8;
use warnings FATAL => 'all';
use File::Copy ();
use Ondatra::Test;
use Test::More;

my $t = Ondatra::Test->new;
my $out = $ENV{ONDATRA_REPORT_DIR} || $t->{dir};
my $python = $ENV{PYTHON} || 'python3';

sub page { my ($role) = @_; return $t->sql_as($role // 'ann', 'SELECT ondatra.report_html()') }

# Parsed strictly: its text, and every tag and attribute that there is.
sub parse {
    my ($page) = @_;
    my $path = "$t->{dir}/page.xml";
    open my $fh, '>', $path or die;
    print {$fh} $page;
    close $fh;
    my $json = `$python -c '
import json, sys, xml.etree.ElementTree as e
page = e.parse(sys.argv[1]).getroot()
seen = {"tags": {}, "attributes": {}, "values": [], "text": "".join(page.itertext())}
for x in page.iter():
    tag = x.tag.split("}")[1]
    seen["tags"][tag] = seen["tags"].get(tag, 0) + 1
    for k, v in x.attrib.items():
        seen["attributes"][k] = seen["attributes"].get(k, 0) + 1
        seen["values"].append(v)
json.dump(seen, sys.stdout)' '$path' 2>&1`;
    return eval { JSON::PP::decode_json($json) } || do { diag($json); undef };
}

# --- nothing yet
my $empty = parse(page());
ok($empty, 'a page without syncs is well-formed');
like($empty->{text}, qr/No syncs/, 'and says so');

# --- a night
$t->sql('CREATE TABLE mart.people (id int PRIMARY KEY, name text, poison bool)');
$t->sql("INSERT INTO mart.people SELECT g, 'p' || g FROM generate_series(1, 400) g");
$t->destination('crm', {rate_limit => ['2000/10s', '50000/1d']});
$t->destination('warehouse api');
$t->sync('customers', 'mart.people', 'crm', schedule => '15 minutes', paused => 'true');
$t->sync('orders', 'SELECT id FROM mart.people', 'warehouse api', key => ['id'], schedule => '1 hour', paused => 'true');
$t->sync('mirror of accounts', 'mart.people', 'warehouse api', mode => 'mirror', guards => 1);
$t->sync('newsletter', 'mart.people', 'warehouse api', options => {error_after => 1});
$t->sync('invoices', 'mart.people', 'warehouse api', mode => 'insert');
$t->sync('old export', 'mart.people', 'warehouse api', paused => 'true');
$t->sync('never', 'mart.people', 'warehouse api');
for my $i (1 .. 6) {
    $t->sql("UPDATE mart.people SET name = 'v$i' WHERE id % 7 = $i");
    $t->run('customers');
    $t->run('orders') if $i < 3;
}
$t->run('mirror of accounts');
$t->run('invoices');
$t->sql("UPDATE mart.people SET poison = true, name = name || '!' WHERE id % 40 = 0");
$t->run('customers');
$t->sql("DELETE FROM mart.people WHERE id <= 300");
$t->run('mirror of accounts');
$t->script({path => '^/contacts', answer => {status => 401, json => {error => {message => 'token expired'}}}});
$t->run('newsletter');
$t->script();
$t->admin("UPDATE ondatra.all_runs SET started_at = started_at - run_id * interval '47 minutes', finished_at = finished_at - run_id * interval '47 minutes' WHERE finished_at IS NOT NULL");
$t->sql("SELECT ondatra.resume_sync('orders')");
$t->poll_sql('SELECT count(*) FROM ondatra.run_progress', '0');
my $page = page();
my $seen = parse($page);
ok($seen, 'it is well-formed');
like($page, qr/\A[\x00-\x7f]*\z/, 'and ASCII');
is_deeply([grep { !/^(html|head|meta|title|style|body|main|header|footer|section|article|div|h[123]|p|b|i|br|span|bdi|code|svg|rect|line|text)$/ } sort keys %{ $seen->{tags} }], [], 'no other tags');
is_deeply([grep { /^(on|src|href|style$|action|formaction)/ } keys %{ $seen->{attributes} }], [], 'nothing that runs or fetches');
unlike($page, qr{url\(|\@import|//(?!www\.w3\.org/1999/xhtml)}, 'no address');
like($page, qr/default-src 'none'/, 'and a policy against both');
like($seen->{text}, qr/\Q$_\E/, "it shows: $_")
    for 'mirror of accounts', 'stopped', 'held', 'rows failing', 'SELECT ondatra.resume_sync(\'newsletter\');', 'row is poisoned', 'of 2000/10s left', 'the destination refuses the credentials', 'approve_run',
    'never ran', 'paused';
cmp_ok(index($seen->{text}, 'newsletter'), '<', index($seen->{text}, 'customers'), 'what needs somebody comes first');
like($page, qr/<b>1<\/b>stopped.*<b>1<\/b>held/s, 'it counts');

# --- everybody their own
unlike(page('bob'), qr/newsletter|crm|warehouse|poison/, 'others see nothing of it');
ok(parse(page('bob')), 'but a page');
like(page($t->superuser), qr/newsletter/, 'a superuser sees all');
# what a caller puts in front of the catalog is not used
$t->sql_as('bob', 'SET search_path = pg_temp, pg_catalog; CREATE FUNCTION pg_temp.to_char(timestamp, text) RETURNS text LANGUAGE sql AS $$ SELECT 1/0::text $$') if 0;
my $status;
($status) = $t->psql_as('ann', "CREATE SCHEMA evil; CREATE FUNCTION evil.to_char(timestamp, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''mine''; END'; SET search_path = evil, pg_catalog; SELECT ondatra.report_html()");
my (undef, $twice) = $t->psql_as('ann', "SET search_path = mart; SET DateStyle = 'German'; SET extra_float_digits = 3; SELECT ondatra.report_html() IS NOT NULL; SHOW search_path");
is($twice, "t\nmart", 'settings of the caller neither matter nor change');

# --- hostile texts, wherever there are texts
my @evil = ('<script>document.title="owned"</script>', q{"><img src=x onerror="document.title='owned'">}, q{'><svg onload=document.title="owned">}, ']]>--><!--', '</style><style>*{display:none}', '&lt;script&gt;',
    "\x{202e}gnihtemos\x{2066}", "\x{1F600}\x{feff}\x{ad}", '${7*7}{{7*7}}', "a\\' OR 1=1 --", 'x' x 3000, '</title></head><body onload="document.title=\'owned\'">', "new\nline\ttab");
my $n = 0;
for my $evil (@evil) {
    $n++;
    (my $name = substr $evil, 0, 58) =~ s{[[:cntrl:]]}{ }g;
    my $message = $evil;
    $t->destination("$n $name");
    $t->sync("$n $name", "SELECT 1 AS id, " . Ondatra::Test::literal($evil) . " AS name", "$n $name", key => ['id'], schedule => '1 day', paused => 'true', options => {error_after => 1});
    my $json = JSON::PP->new->utf8(0);
    $t->script({path => '/contacts', answer => {status => 422, json => {error => {message => $message, code => $message}}}});
    $t->run("$n $name");
    $t->admin("UPDATE ondatra.all_syncs SET state = 'error', state_reason = " . Ondatra::Test::literal($evil) . ', model = model WHERE name = ' . Ondatra::Test::literal("$n $name"));
    $t->admin('UPDATE ondatra.all_runs SET error_message = ' . Ondatra::Test::literal($evil) . ', error_detail = ' . Ondatra::Test::literal($evil) . ', requested_by = ' . Ondatra::Test::literal($evil)
        . ' WHERE sync_name = ' . Ondatra::Test::literal("$n $name"));
}
$t->script();
my $hostile = page();
my $found = parse($hostile);
ok($found, 'hostile texts leave it well-formed');
is_deeply([sort keys %{ $found->{tags} }], [sort keys %{ $seen->{tags} }], 'without a new tag') if $found;
is_deeply([grep { !$seen->{attributes}{$_} } keys %{ $found->{attributes} }], [], 'or a new attribute') if $found;
cmp_ok(scalar(() = $found->{text} =~ /<script>document\.title="owned"<\/script>/g), '>=', 4, 'they are there, as texts') if $found;
unlike($hostile, qr/x{500}/, 'long ones are cut');
like($hostile, qr/\A[\x00-\x7f]*\z/, 'it is ASCII still');
unlike($hostile, qr/202e|2066/i, 'no sign turns the writing');

# --- Chromium
# --- schedules that do not run say why
$t->admin('ALTER SYSTEM SET ondatra.enabled = off; SELECT pg_reload_conf()');
$t->poll(sub { $t->admin('SHOW ondatra.enabled') eq 'off' }) or die 'it is not switched off';
$t->poll(sub { $t->admin("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('ondatra run', 'ondatra scheduler')") eq '0' }) or die 'something goes on';
$t->sync('overdue', 'SELECT 1 AS id', 'crm', schedule => '1 day');
$t->admin("UPDATE ondatra.all_syncs SET next_run_at = now() - interval '2 hours', anchor = now() - interval '2 hours' WHERE name = 'overdue'");
my $late = page();
like($late, qr/No sync runs: ondatra\.enabled is off/, 'switched off: the page says so');
like($late, qr/It was due 2 h ago, and has not started\. Is ondatra\.enabled on/, 'and asks at the sync that is overdue');
$t->admin('ALTER SYSTEM RESET ondatra.enabled; SELECT pg_reload_conf()');
$t->poll_sql("SELECT count(*) FROM ondatra.sync_runs WHERE sync_name = 'overdue' AND finished_at IS NOT NULL", '1', 'switched on, it runs');

my ($browser) = grep { -x } qw(/usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome);
SKIP: {
    skip 'no Chromium (Debian: chromium)', 8 if !$browser;
    my %pages = (night => $page, hostile => $hostile);
    for my $name (sort keys %pages) {
        open my $fh, '>', "$out/$name.html" or die;
        print {$fh} $pages{$name};
        close $fh;
        chmod 0644, "$out/$name.html";
    }
    my @common = ($browser, qw(--headless=new --no-sandbox --disable-gpu --hide-scrollbars --disable-dev-shm-usage --no-first-run --disable-background-networking --force-device-scale-factor=1),
        "--user-data-dir=$t->{dir}/chromium");
    my $run = sub {
        my ($stdout, $stderr) = ('', '');
        local $ENV{HOME} = $t->{dir};
        my $ok = eval { IPC::Run::run([@common, @_], '<', '/dev/null', '>', \$stdout, '2>', \$stderr, IPC::Run::timeout(90)) };
        diag(substr $stderr, 0, 2000) if !$ok;
        return $stdout;
    };
    for my $name (sort keys %pages) {
        my $dom = $run->('--dump-dom', "file://$out/$name.html");
        like($dom, qr{<title>ondatra</title>}, "$name: it renders in Chromium, and nothing has run");
        unlike($dom, qr/<(?:script|img|iframe|object|embed|link)\b/i, "$name: and no element came to be that fetches");
    }
    for my $shot (['night-phone', 'night', '400,5200', ''], ['night-desktop', 'night', '1280,2000', ''], ['night-phone-dark', 'night', '400,5200', 'dark'], ['night-desktop-dark', 'night', '1280,2000', 'dark'],
        ['hostile-phone', 'hostile', '400,3000', '']) {
        my ($file, $name, $size, $dark) = @$shot;
        $run->("--screenshot=$out/$file.png", "--window-size=$size", ($dark ? '--blink-settings=preferredColorScheme=0' : '--blink-settings=preferredColorScheme=1'), "file://$out/$name.html");
        ok(-s "$out/$file.png" > 20000, "a picture: $file");
    }
}
$t->no_violations;
done_testing;
