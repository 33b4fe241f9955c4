# ALTER EXTENSION UPDATE: what it leaves is what a fresh installation makes, object by object. For each release kept in sql/released, and for an upgrade
# that is made up here; one that forgets things is found out.

use strict;
use warnings FATAL => 'all';
use Ondatra::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($version) = slurp_file('ondatra.control') =~ /^default_version = '([^']+)'/m;
my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
my %at;
for my $what (qw(bindir pkglibdir sharedir)) {
    chomp($at{$what} = `$pg_config --$what`);
}

# An installation of its own, since scripts are added to it: the server finds its files by where its program is.
my $root = "$PostgreSQL::Test::Utils::tmp_check/installation";
for my $dir (@at{qw(bindir pkglibdir sharedir)}) {
    system_or_bail('mkdir', '-p', "$root$dir");
    system_or_bail('cp', '-aL', "$dir/.", "$root$dir/");
}
my $extension = "$root$at{sharedir}/extension";
my $node = PostgreSQL::Test::Cluster->new('main', install_path => $at{bindir} =~ s{^(.*)/bin$}{$root$1}r);
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'ondatra'\nondatra.enabled = off");
$node->start;
is($node->safe_psql('postgres', q{SELECT count(*) > 0 FROM pg_config WHERE setting LIKE '%/installation/%'}), 't', 'the server uses the installation of its own');

# Every object of the extension and what it is like; not the order of columns, which ALTER TABLE cannot choose.
my $catalog = q{
SET search_path = pg_catalog;
WITH member AS (
  SELECT d.classid, d.objid, i.type, i.identity FROM pg_depend d, pg_identify_object(d.classid, d.objid, 0) i
  WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'ondatra')),
relation AS (SELECT m.identity, c.* FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid),
line (l) AS (
  SELECT concat_ws(' | ', type, identity, obj_description(objid, classid::regclass::name)) FROM member
  UNION ALL SELECT concat_ws(' | ', 'function', p.oid::regprocedure, pg_get_functiondef(p.oid), (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(p.proacl) a))
    FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid WHERE p.prokind <> 'a'
  UNION ALL SELECT concat_ws(' | ', 'relation', identity, relkind, relpersistence, relrowsecurity, relforcerowsecurity, reloptions::text,
      (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(relacl) a), CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) END) FROM relation
  UNION ALL SELECT concat_ws(' | ', 'column', r.identity, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation::regcollation, a.attstorage, a.attacl::text,
      pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum))
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  UNION ALL SELECT concat_ws(' | ', 'constraint', r.identity, k.conname, pg_get_constraintdef(k.oid)) FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
  UNION ALL SELECT concat_ws(' | ', 'index', r.identity, pg_get_indexdef(x.indexrelid)) FROM relation r JOIN pg_index x ON x.indrelid = r.oid
  UNION ALL SELECT concat_ws(' | ', 'policy', r.identity, p.polname, p.polcmd, p.polpermissive, p.polroles::text, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
  UNION ALL SELECT concat_ws(' | ', 'trigger', r.identity, pg_get_triggerdef(t.oid)) FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
  UNION ALL SELECT concat_ws(' | ', 'sequence', r.identity, s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcycle) FROM relation r JOIN pg_sequence s ON s.seqrelid = r.oid
  UNION ALL SELECT concat_ws(' | ', 'schema', nspname, (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(nspacl) a)) FROM pg_namespace WHERE nspname = 'ondatra'
  UNION ALL SELECT concat_ws(' | ', 'kept by pg_dump', c.oid::regclass, c.condition) FROM pg_extension e, unnest(e.extconfig, e.extcondition) c (oid, condition) WHERE e.extname = 'ondatra'
  UNION ALL SELECT concat_ws(' | ', 'connector', name, description, spec::text) FROM ondatra.all_connectors WHERE builtin)
SELECT replace(l, E'\n', ' ') FROM line ORDER BY l COLLATE "C"};

my $databases = 0;
# The catalog of a database of its own after these statements.
sub catalog_after {
    my ($sql) = @_;
    my $name = 'd' . ++$databases;
    $node->safe_psql('postgres', "CREATE DATABASE $name");
    $node->safe_psql($name, $sql);
    return [split /\n/, $node->safe_psql($name, $catalog)];
}

# Lines that only one of the two has.
sub differences {
    my ($upgraded, $fresh) = @_;
    my %n;
    $n{$_}++ for @$fresh;
    $n{$_}-- for @$upgraded;
    my @lines = sort map { ($n{$_} > 0 ? 'not upgraded: ' : 'left over: ') . substr $_, 0, 300 } grep { $n{$_} } keys %n;
    return \@lines;
}

sub write_script {
    my ($name, @parts) = @_;
    open my $fh, '>', "$extension/$name" or die "$name: $!";
    print $fh @parts;
    close $fh or die "$name: $!";
    return;
}

my $fresh = catalog_after('CREATE EXTENSION ondatra');
cmp_ok(scalar @$fresh, '>', 300, 'the catalog is read');
my @releases = map { m{ondatra--([^/]+)\.sql$} } glob 'sql/released/ondatra--*.sql';
note('nothing was released yet') if !@releases;
for my $release (@releases) {
    system_or_bail('cp', "sql/released/ondatra--$release.sql", "$extension/");
    is_deeply(differences(catalog_after("CREATE EXTENSION ondatra VERSION '$release'; ALTER EXTENSION ondatra UPDATE"), $fresh), [], "from $release to $version: the catalog is as if fresh");
}

# --- an upgrade that is made up: one of each kind of object is new, one is changed
my @news = (
    "ALTER TABLE ondatra.all_syncs ADD COLUMN fruit text DEFAULT 'apple' CHECK (fruit <> '');\n",
    "COMMENT ON COLUMN ondatra.all_syncs.fruit IS 'What it is rewarded with.';\n",
    "CREATE TABLE ondatra.all_fruit (name text PRIMARY KEY);\n",
    "COMMENT ON TABLE ondatra.all_fruit IS 'Rewards.';\n",
    "ALTER TABLE ondatra.all_fruit ENABLE ROW LEVEL SECURITY;\n",
    "GRANT SELECT ON ondatra.all_fruit TO PUBLIC;\n",
    "CREATE INDEX all_fruit_upper ON ondatra.all_fruit (pg_catalog.upper(name));\n",
    "SELECT pg_catalog.pg_extension_config_dump('ondatra.all_fruit', '');\n",
    "CREATE VIEW ondatra.fruit WITH (security_barrier) AS SELECT name FROM ondatra.all_fruit;\n",
    "CREATE FUNCTION ondatra.reward(n int) RETURNS int LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT n + 1';\n",
    "REVOKE EXECUTE ON FUNCTION ondatra.reward(int) FROM PUBLIC;\n",
    "ALTER FUNCTION ondatra.pause_sync(text) COST 7;\n",
    "UPDATE ondatra.all_connectors SET description = 'fruit' WHERE name = 'webhook';\n");
my $script = slurp_file("$extension/ondatra--$version.sql");
write_script('ondatra--9.0.sql', $script, @news);
write_script("ondatra--$version--9.0.sql", @news);
my $next = catalog_after("CREATE EXTENSION ondatra VERSION '9.0'");
cmp_ok(scalar @{ differences($next, $fresh) }, '>=', scalar @news, 'the next version is another one');
my $before = "CREATE EXTENSION ondatra; CREATE TABLE public.people (id int PRIMARY KEY);
    SELECT ondatra.create_destination('crm', base_url => 'https://crm.example.com'); SELECT ondatra.create_sync('people', 'public.people', 'crm', paused => true);";
is_deeply(differences(catalog_after("$before ALTER EXTENSION ondatra UPDATE TO '9.0'"), $next), [], 'upgraded: the catalog is as if fresh');
is($node->safe_psql("d$databases", "SELECT extversion || (SELECT name || state FROM ondatra.syncs) || (SELECT fruit FROM ondatra.all_syncs) FROM pg_extension WHERE extname = 'ondatra'"),
    '9.0peoplepausedapple', 'syncs are there as before');
for my $i (0 .. $#news) {
    next if $news[$i] =~ /^(?:CREATE TABLE|CREATE FUNCTION|ALTER TABLE ondatra.all_syncs)/; # others need it
    my $to = "9.0.$i";
    write_script("ondatra--$version--$to.sql", @news[grep { $_ != $i } 0 .. $#news]);
    isnt(scalar @{ differences(catalog_after("CREATE EXTENSION ondatra; ALTER EXTENSION ondatra UPDATE TO '$to'"), $next) }, 0, "found out when it forgets: " . ($news[$i] =~ s/;\n//r));
}

# --- an upgrade that fails leaves the old version, whole
write_script("ondatra--$version--9.2.sql", @news, "SELECT 1 / 0;\n");
$node->safe_psql('postgres', 'CREATE EXTENSION ondatra');
isnt($node->psql('postgres', "ALTER EXTENSION ondatra UPDATE TO '9.2'"), 0, 'an upgrade that fails says so');
is_deeply(differences([split /\n/, $node->safe_psql('postgres', $catalog)], $fresh), [], 'and changes nothing');

# --- a package was upgraded, the database or the server was not: nothing is called that another version has made, and nothing is lost
write_script("ondatra--$version--9.3.sql", "SELECT 1;\n");
write_script("ondatra--9.3--$version.sql", "SELECT 1;\n");
$node->safe_psql('postgres', "CREATE TABLE public.few (id int PRIMARY KEY); SELECT ondatra.create_destination('nobody', base_url => 'http://127.0.0.1:1');
    SELECT ondatra.create_sync('few', 'public.few', 'nobody', schedule => '1 second'); ALTER EXTENSION ondatra UPDATE TO '9.3'");
my $differs = qr/extension "ondatra" is of version 9\.3 in this database, and its library in this server of version \Q$version\E/;
for my $call ("ondatra.trigger_sync('few')", "ondatra.pause_sync('few')", "ondatra.preview_sync('few')", "ondatra.set_secret('a', 'b')") {
    my (undef, undef, $err) = $node->psql('postgres', "SELECT $call");
    like($err, qr/ERROR:  $differs\nDETAIL:  .*\nHINT:  After a new package: restart the server, then ALTER EXTENSION ondatra UPDATE/, "$call: another version of the library");
}
$node->append_conf('postgresql.conf', 'ondatra.enabled = on');
$node->reload;
ok($node->poll_query_until('postgres', 'SELECT true') && $node->wait_for_log(qr/LOG:  $differs/), 'schedules wait, and the log says why');
is($node->safe_psql('postgres', 'SELECT count(*) FROM ondatra.all_runs'), '0', 'nothing has run');
$node->safe_psql('postgres', "ALTER EXTENSION ondatra UPDATE TO '$version'");
ok($node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM ondatra.all_runs'), 'both are the same again: it goes on by itself');
$node->psql('postgres', "ALTER EXTENSION ondatra UPDATE TO '9.3'");
is($node->psql('postgres', 'DROP EXTENSION ondatra CASCADE'), 0, 'it can be dropped also so');
$node->stop;
done_testing();
