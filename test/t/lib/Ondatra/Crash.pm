package Ondatra::Crash;

# The crash harness: three syncs of one model, a destination that applies requests late and keeps a journal, processes that are killed in the
# middle of it, and a judge who knows every version that the model ever had.
#
#   my $h = Ondatra::Crash->new(seed => 7);
#   $h->round;      # changes, runs, a kill, what happens between crash and recovery, recovery
#   $h->settle;     # lets everything be delivered, and judges all that took effect since the beginning
#
# The model is a table of KEYS rows. A version of a key is "value|mapping", or '' when the model does not have it; for each sync, `history` has the
# versions of each key in the order in which the model had them. The destination's journal (test/server/keeper.py) says what took effect, in order.
#
# The judge:
#   equal       each mirror's collection is the model, key by key; the upsert's has every row of the model as it is
#   overtaken   what took effect of a key, in order, are versions of its history in the order of the history: it never goes back
#   repeats     a version that takes effect twice in a row is one repeat. It must be paid for: the key was in a send window without a recorded answer at
#               a crash, or the destination died before it answered (or before it read what came between: that is bounded in sum). And in sum they are no more than what can have been without a recorded answer:
#               what was in flight, and what was answered within ACK_MS
#   rows        rows_scanned is the sum of its parts in every run that finished; runs that were killed are interrupted; none goes on for ever; no
#               more rows are counted as delivered than took effect
#
# The plan (which rows, which kill, when) follows from the seed; how the processes interleave does not, so a seed makes a failure likely, not certain.

use strict;
use warnings FATAL => 'all';

use JSON::PP ();
use Ondatra::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $KEYS = 300;
my $QUICK_MS = 80;      # a request takes effect after this
my $LATE_MS = 3000;     # two of three whose client has died do then
my $ACK_MS = 200;       # deliver.c: answers are recorded at least so often
my $WAIT_S = 4;         # in_doubt_wait
my @KINDS = qw(worker worker worker stop stop stop destination destination postmaster);

my %SYNCS = (
    one => {mode => 'mirror', concurrency => 6, batch => 1},
    many => {mode => 'mirror', concurrency => 3, batch => 8},
    keep => {mode => 'upsert', concurrency => 2, batch => 5},
);
my @NAMES = sort keys %SYNCS;

# --- chance ---------------------------------------------------------------------------------------------------------

sub random { my ($h, $below) = @_; $h->{random} = $h->{random} * 48271 % 2147483647; return $h->{random} % $below }
sub chance { my ($h, $percent) = @_; return $h->random(100) < $percent }
sub pick { my ($h, @from) = @_; return $from[$h->random(scalar @from)] }

sub some_keys {
    my ($h, $n) = @_;
    my %chosen;
    $chosen{1 + $h->random($KEYS)} = 1 while keys %chosen < $n;
    return sort { $a <=> $b } keys %chosen;
}

# --- beginning ------------------------------------------------------------------------------------------------------

sub new {
    my ($class, %args) = @_;
    my $t = Ondatra::Test->new(conf => "restart_after_crash = off\nmax_wal_size = '4GB'\ncheckpoint_timeout = '1h'");
    my $h = bless {t => $t, seed => $args{seed}, random => 1 + $args{seed} % 2147483646, model => {}, next_value => 0, kills => {}, interrupted => {}, judged => 0,
        journal_at => 0, effects => {}, requests => {}, stood_still => 0, windows_paid => {}, allowed => {}, mapping => {}}, $class;
    $t->node->append_conf('postgresql.conf', "include_if_exists = 'switch.conf'");
    $h->random(2) for 1 .. 10; # seeds that are near each other begin alike
    $h->{dir} = "$t->{dir}/crash";
    mkdir $h->{dir};
    $h->{port} = Ondatra::Test::free_port();
    append_to_file("$h->{dir}/program.json", $t->json_of({
        rules => [
            {method => ['POST', 'PUT', 'DELETE'], nth => {every => 3}, answer => {apply_after_ms => $QUICK_MS}},
            {method => ['POST', 'PUT', 'DELETE'], answer => {apply_after_ms => $QUICK_MS, apply_when_gone_ms => $LATE_MS}},
        ],
        records => {honour_keys => JSON::PP::false},
    }));
    $t->stop_process($t->{destination_pid});
    $h->start_destination;
    $h->create_syncs;
    return $h;
}

sub start_destination {
    my ($h) = @_;
    unlink "$h->{dir}/port";
    $h->{destination} = Ondatra::Test::spawn("$h->{dir}/destination.log", $ENV{PYTHON} || 'python3', "$FindBin::Bin/../server/destination.py",
        '--dir', $h->{dir}, '--port', $h->{port}, '--no-log', '--keep', "$h->{dir}/journal.jsonl", '--program', "$h->{dir}/program.json");
    $h->{t}{port} = $h->{port};
    $h->{t}->poll(sub { -s "$h->{dir}/port" }) or die 'the destination did not start: ' . Ondatra::Test::slurp("$h->{dir}/destination.log");
    return;
}

sub object_of {
    my ($name) = @_;
    return {upsert => {method => 'PUT', path => "/$name/{{key}}"}, delete => {method => 'DELETE', path => "/$name/{{key}}"}} if $SYNCS{$name}{batch} == 1;
    my %batch = (method => 'POST', query => {collection => $name, result => 'order'}, batch => {rows => $SYNCS{$name}{batch}});
    return {
        upsert => {%batch, path => '/batch', body => ['$each', '$fields'], result => {rows => '/results', match => 'order', ok => {path => '/ok', equals => JSON::PP::true}}},
        delete => {%batch, path => '/batch/delete', body => ['$each', {id => '{{key}}'}], result => {rows => '/results', match => 'order',
            ok => {path => '/ok', equals => JSON::PP::true}}},
    };
}

sub create_syncs {
    my ($h) = @_;
    my $t = $h->{t};
    $t->sql('CREATE TABLE mart.model (id int PRIMARY KEY, v text NOT NULL)');
    for my $name (@NAMES) {
        my $sync = $SYNCS{$name};
        $h->{mapping}{$name} = 0;
        $h->{history}{$name}{$_} = [''] for 1 .. $KEYS;
        $t->destination($name, {object => object_of($name), concurrency => $sync->{concurrency}, retry => {attempts => 4, base_ms => 50, max_ms => 200}});
        $h->{sync_id}{$name} = $t->sync($name, 'mart.model', $name, mode => $sync->{mode}, mapping => $h->mapping_of($name),
            options => {in_doubt_wait => "@{[ $WAIT_S * 1000 ]}ms", error_after => 10000, max_attempts => 1000, max_deletes => 1_000_000});
    }
    return;
}

sub mapping_of { my ($h, $name) = @_; return {id => 'id', v => 'v', m => {const => $h->{mapping}{$name}}} }

# --- the model ------------------------------------------------------------------------------------------------------

# A key gets a value (undef: it leaves), in the histories first: from here on it may be seen.
sub set_value {
    my ($h, $key, $value) = @_;
    push @{ $h->{values}{$key} }, $value if defined $value;
    $h->{model}{$key} = $value;
    $h->remember($_, $key) for @NAMES;
    return defined $value ? "INSERT INTO mart.model VALUES ($key, '$value') ON CONFLICT (id) DO UPDATE SET v = excluded.v;\n"
        : "DELETE FROM mart.model WHERE id = $key;\n";
}

sub remember {
    my ($h, $name, $key) = @_;
    my $value = $h->{model}{$key};
    push @{ $h->{history}{$name}{$key} }, defined $value ? "$value|$h->{mapping}{$name}" : '' if defined $value || $SYNCS{$name}{mode} eq 'mirror';
    return;
}

# New values, values of before (A, B, A), removals, returns: one transaction. Also of what the last crash left in doubt: of every third such key.
sub changes {
    my ($h, $n) = @_;
    my $sql = "BEGIN;\n";
    my %keys = map { $_ => 1 } $h->some_keys($n), grep { $h->chance(33) } sort { $a <=> $b } keys %{ $h->{in_doubt} };
    for my $key (sort { $a <=> $b } keys %keys) {
        my @before = @{ $h->{values}{$key} || [] };
        my $what = $h->random(100);
        my $value;
        if (defined $h->{model}{$key} && $what < 25) {
            $value = undef;
        } elsif (@before && $what < 60) {
            $value = $before[-1 - $h->random(@before < 3 ? scalar @before : 3)];
        } else {
            $value = ++$h->{next_value};
        }
        $sql .= $h->set_value($key, $value);
    }
    return "${sql}COMMIT;\n";
}

# What a person does to a sync between two runs.
sub edit {
    my ($h) = @_;
    my $name = $h->pick(@NAMES);
    if ($h->chance(60)) {
        my $size = 1 + $h->random($SYNCS{$name}{batch});
        return "SELECT ondatra.update_sync('$name', options => '{\"batch_size\": $size}');\n";
    }
    $h->{mapping}{$name}++;
    defined $h->{model}{$_} and $h->remember($name, $_) for 1 .. $KEYS;
    return "SELECT ondatra.update_sync('$name', mapping => '" . $h->{t}->json_of($h->mapping_of($name)) . "');\n";
}

# --- kills ----------------------------------------------------------------------------------------------------------

# One statement after the other, whatever becomes of each.
sub try_sql {
    my ($h, $sql) = @_;
    my ($status, $out, $err) = $h->{t}->psql_in('postgres', $h->{t}->superuser, $sql, on_error_stop => 0);
    return ($out, $err);
}

# Runs of all syncs, begun by the caller's role; those that go on already go on.
sub begin_runs { return join '', "SET ROLE ann;\n", (map { "SELECT ondatra.run_sync('$_', wait => false);\n" } @NAMES), "RESET ROLE;\n" }

sub switch {
    my ($h, $on) = @_;
    my $path = $h->{t}->node->data_dir . '/switch.conf';
    open my $fh, '>', $path or die "$path: $!";
    print $fh 'ondatra.enabled = ', $on ? 'on' : 'off', "\n";
    close $fh;
    return;
}

sub kill_destination {
    my ($h) = @_;
    kill 'KILL', $h->{destination};
    Ondatra::Test::alive($h->{destination}) and usleep(1000) while Ondatra::Test::alive($h->{destination});
    usleep(1000 * $h->random(200));
    $h->start_destination;
    $h->{allowed}{$_} += $SYNCS{$_}{concurrency} * $SYNCS{$_}{batch} for @NAMES;
    return;
}

sub kill_server {
    my ($h, $kind, @pids) = @_;
    my $node = $h->{t}->node;
    if ($kind eq 'stop') {
        $node->stop('immediate');
    } elsif ($kind eq 'postmaster') {
        $node->kill9;
        $h->{t}->poll(sub { !grep { !Ondatra::Test::has_ended($_) } @pids }) or die 'a run goes on without its postmaster';
    } else {
        kill 'KILL', $h->pick(@pids);
        my $until = time + 3; # it may have ended by itself just then: the server goes on
        my $pid_file = $node->data_dir . '/postmaster.pid';
        usleep(10_000) while -e $pid_file && time < $until;
        $node->stop('immediate', fail_ok => 1);
    }
    $h->switch(0);
    $h->{t}->start_again;
    $h->look_at_windows;
    return;
}

# Pays for repeats: what is in a window and not resolved. Also notes whose runs died.
sub look_at_windows {
    my ($h) = @_;
    # a scheduler that outlives its postmaster for a moment may have recorded it already
    my $sql = "SELECT 'run|' || run_id FROM ondatra.all_runs WHERE finished_at IS NULL OR status = 'interrupted';\n"
        . "SELECT 'window|' || s.name || '|' || encode(w.changes, 'hex') FROM ondatra.send_windows w JOIN ondatra.all_syncs s USING (sync_id);\n";
    $sql .= "SELECT 'state|$_|' || k1 || '|' || coalesce(_change_id, 0) || '|' || coalesce(_doubt_op::text, '') FROM ondatra.state_$h->{sync_id}{$_};\n" for @NAMES;
    my (%state, %open);
    my @lines = split /\n/, $h->{t}->admin($sql);
    for (map { [split /\|/, $_, -1] } @lines) {
        my ($what, $name, @more) = @$_;
        $h->{interrupted}{$name} = 1 if $what eq 'run';
        $state{$name}{ $more[0] } = [@more[1, 2]] if $what eq 'state';
    }
    for (map { [split /\|/, $_] } grep { /^window/ } @lines) {
        my (undef, $name, $hex) = @$_;
        for my $change (changes_of_window(pack 'H*', $hex)) {
            my $known = $state{$name}{ $change->{key} };
            next if $known ? $known->[0] == $change->{id} && $known->[1] eq '' : $change->{op} eq 'd';
            $open{$name}{ $change->{key} } = 1;
        }
    }
    $h->{in_doubt} = {map { %$_ } values %open};
    for my $name (@NAMES) {
        $h->{windows_paid}{$name}{$_}++ for keys %{ $open{$name} };
        # in flight, and answered within the time between two acks
        $h->{allowed}{$name} += $SYNCS{$name}{concurrency} * $SYNCS{$name}{batch} * (2 + int($ACK_MS / $QUICK_MS));
    }
    return;
}

# src/engine/window.c has the form.
sub changes_of_window {
    my ($bytes) = @_;
    my @changes;
    my $at = 1;
    die 'a window of another form' if ord $bytes != 2;
    while ($at < length $bytes) {
        my ($op, undef, $id, $n_keys) = unpack 'a1 a16 q C', substr $bytes, $at, 26;
        $at += 26;
        my @pieces;
        for (0 .. $n_keys + 1) { # the key as JSON, its columns, what is kept
            push @pieces, unpack 'L/a', substr $bytes, $at;
            $at += 4 + length $pieces[-1];
        }
        push @changes, {op => $op, id => $id, key => $pieces[1]};
    }
    return @changes;
}

# Between crash and recovery, with everything switched off; then it is switched on.
sub meanwhile {
    my ($h) = @_;
    my $sql = $h->chance(70) ? $h->changes(5 + $h->random(40)) : '';
    $sql .= "SET ROLE ann;\n" . $h->edit . "RESET ROLE;\n" if $h->chance(25);
    if ($sql) {
        my (undef, $err) = $h->try_sql($sql);
        die "between crash and recovery: $err" if $err =~ /ERROR/;
    }
    $h->switch(1);
    $h->{t}->node->reload;
    $h->{t}->poll(sub { $h->{t}->admin('SHOW ondatra.enabled') eq 'on' }) or die 'it is not switched on';
    return;
}

# True when something was killed.
sub round {
    my ($h) = @_;
    my $kind = $h->pick(@KINDS);
    my $began = time;
    # what was repeated is accepted, and then changes again: the first request is still on its way
    (undef) = $h->try_sql(begin_runs() . "SET ROLE ann;\nSELECT ondatra.run_sync('" . $h->pick(@NAMES) . "')") if $h->chance(30);
    my ($out) = $h->try_sql(($h->chance(85) ? $h->changes(10 + $h->random(70)) : '') . begin_runs() . "SELECT 'pid ' || pid FROM pg_stat_activity WHERE backend_type = 'ondatra run'");
    my $until = time + $h->random(250) / 1000;
    (undef) = $h->try_sql($h->changes(1 + $h->random(10))) if $h->chance(30);
    usleep(1_000_000 * ($until - time)) if $until > time;
    if ($kind eq 'destination') {
        $h->kill_destination;
    } else {
        my @pids = grep { !Ondatra::Test::has_ended($_) } $out =~ /^pid (\d+)$/mg;
        return 0 if !@pids; # all had ended
        $h->kill_server($kind, @pids);
        $h->meanwhile;
    }
    $h->{kills}{$kind}++;
    note(sprintf 'round %d: %s, %.2f s', $h->n_kills, $kind, time - $began);
    return 1;
}

# --- the judge ------------------------------------------------------------------------------------------------------

# Runs until nothing is left to do.
sub deliver_all {
    my ($h) = @_;
    my $t = $h->{t};
    my $sql = join '', map { "SELECT ondatra.retry_failed('$_');\nSELECT ondatra.run_sync('$_');\n" } @NAMES;
    my $left = 'SELECT (SELECT count(*) FROM ondatra.all_runs WHERE finished_at IS NULL) + (SELECT count(*) FROM ondatra.run_requests) + '
        . '(SELECT count(*) FROM ondatra.all_failed_rows) + count(*) FROM ondatra.all_syncs s '
        . "JOIN ondatra.all_runs r ON r.run_id = (SELECT max(run_id) FROM ondatra.all_runs x WHERE x.sync_id = s.sync_id) "
        . "WHERE r.status <> 'succeeded' OR r.rows_held_back + r.rows_pending + r.deletes_pending > 0";
    my $said = '';
    my $done = $t->poll(sub { (undef, $said) = $h->try_sql("SET ROLE ann;\n$sql"); $t->admin($left) eq '0' });
    diag($said, explain([$t->rows('SELECT * FROM ondatra.sync_runs ORDER BY run_id DESC LIMIT 5')])) if !$done;
    return $done && $t->poll(sub { $t->state->{postponed} == 0 });
}

sub read_journal {
    my ($h) = @_;
    open my $fh, '<', "$h->{dir}/journal.jsonl" or die "journal: $!";
    seek $fh, $h->{journal_at}, 0;
    while (my $line = <$fh>) {
        my $entry = JSON::PP::decode_json($line);
        if ($entry->{request}) {
            my $version = $entry->{op} eq 'delete' ? '' : "$entry->{value}{v}|$entry->{value}{m}";
            push @{ $h->{effects}{ $entry->{collection} }{ $entry->{id} } }, $version;
            $h->{puts}{ $entry->{collection} }++ if $version ne '';
        } elsif ($entry->{came}) {
            $h->{requests}{ $entry->{came} } = $entry;
        } elsif (my $end = $entry->{answered} || $entry->{lost}) {
            delete $h->{requests}{$end};
        } elsif (my $s = $entry->{stood_still}) {
            $h->{stood_still} = $s if $s > $h->{stood_still};
        }
    }
    $h->{journal_at} = tell $fh;
    return;
}

# Requests that came and had no end: the destination died in between, and its client waited in vain. By collection and key.
sub cut_off {
    my ($h) = @_;
    my %n;
    for my $request (values %{ $h->{requests} }) {
        $n{ $request->{collection} }{$_}++ for @{ $request->{ids} };
    }
    return \%n;
}

# Versions that took effect against the history: undef, or what went back.
sub overtaken {
    my ($effects, $history) = @_;
    my $at = 0;
    for my $i (0 .. $#$effects) {
        $at++ while $at < @$history && $history->[$at] ne $effects->[$i];
        return "effect $i ($effects->[$i]) of [@$effects] has no place in [@$history]" if $at == @$history;
    }
    return;
}

sub judge_order {
    my ($h) = @_;
    my @found;
    for my $name (@NAMES) {
        for my $key (1 .. $KEYS) {
            my $problem = overtaken($h->{effects}{$name}{$key} || [], $h->{history}{$name}{$key});
            push @found, "$name/$key: $problem" if $problem;
        }
    }
    return @found;
}

sub judge_equal {
    my ($h) = @_;
    my @found;
    for my $name (@NAMES) {
        my $records = $h->{t}->records($name);
        for my $key (1 .. $KEYS) {
            my $wanted = $h->{history}{$name}{$key}[-1];
            my $there = $records->{$key} ? "$records->{$key}{v}|$records->{$key}{m}" : '';
            next if !defined $h->{model}{$key} && $SYNCS{$name}{mode} ne 'mirror'; # what left an upsert's model may never have been sent
            push @found, "$name/$key: \"$there\", should be \"$wanted\"" if $there ne $wanted;
        }
    }
    return @found;
}

# Whether the model had the version, another one, and it again: what was in between may have been in doubt.
sub returned {
    my ($version, $history) = @_;
    my $seen = 0;
    for (@$history) {
        $seen++ if $seen % 2 == ($_ eq $version ? 0 : 1);
    }
    return $seen >= 3;
}

sub judge_repeats {
    my ($h) = @_;
    my $cut = $h->cut_off;
    my @found;
    for my $name (@NAMES) {
        my $sum = 0;
        my $unread = ($h->{kills}{destination} || 0) * $SYNCS{$name}{concurrency} * $SYNCS{$name}{batch};
        for my $key (keys %{ $h->{effects}{$name} }) {
            my @effects = @{ $h->{effects}{$name}{$key} };
            my @again = grep { $effects[$_] eq $effects[$_ - 1] } 1 .. $#effects;
            my $n = @again;
            my $paid = ($h->{windows_paid}{$name}{$key} || 0) + ($cut->{$name}{$key} || 0);
            $sum += $n;
            next if $n <= $paid;
            # A, B, A again because of a B that the destination had not read when it died
            $unread -= $n - $paid;
            next if $unread >= 0 && grep({ returned($effects[$_], $h->{history}{$name}{$key}) } @again) >= $n - $paid;
            push @found, "$name/$key: $n repeats, $paid paid: [@effects]";
        }
        $h->{repeats}{$name} = $sum;
        push @found, "$name: $sum repeats, at most $h->{allowed}{$name} can have been without a recorded answer" if $sum > ($h->{allowed}{$name} || 0);
    }
    return @found;
}

sub judge_rows {
    my ($h) = @_;
    my $sum = join ' + ', map { "rows_$_" } qw(unchanged created updated failed invalid held_back skipped pending);
    my @found = split /\n/, $h->{t}->admin("SELECT 'the counts of run ' || run_id || ' do not add up: ' || to_json(r)::text FROM ondatra.sync_runs r WHERE rows_scanned <> $sum");
    push @found, split /\n/, $h->{t}->admin("SELECT 'run ' || run_id || ' goes on' FROM ondatra.all_runs WHERE finished_at IS NULL OR status = 'running'");
    my $killed = join ',', 0, keys %{ $h->{interrupted} };
    push @found, split /\n/, $h->{t}->admin("SELECT 'run ' || run_id || ' was killed and is ' || status FROM ondatra.all_runs WHERE run_id IN ($killed) AND status <> 'interrupted'");
    push @found, split /\n/, $h->{t}->admin("SELECT 'run ' || run_id || ' is interrupted, and nobody killed it' FROM ondatra.all_runs WHERE run_id NOT IN ($killed) AND status = 'interrupted'");
    for my $name (@NAMES) {
        my $counted = $h->{t}->admin("SELECT coalesce(sum(rows_created + rows_updated), 0) FROM ondatra.all_runs WHERE sync_name = '$name'");
        push @found, "$name: $counted rows are counted as delivered, $h->{puts}{$name} took effect" if $counted > ($h->{puts}{$name} || 0);
    }
    return @found;
}

sub verdict {
    my ($h, $what, @found) = @_;
    splice @found, 10, @found - 10, '… ' . (@found - 10) . ' more' if @found > 10;
    return ok(!@found, "settled $h->{judged}: $what") || diag(join "\n", "seed $h->{seed}", @found);
}

sub settle {
    my ($h) = @_;
    $h->{judged}++;
    ok($h->deliver_all, "settled $h->{judged}: everything is delivered") or return;
    $h->read_journal;
    $h->verdict('the destination has what the model has', $h->judge_equal);
    my @overtaken = $h->judge_order;
    if (@overtaken && $h->{stood_still} > $WAIT_S - $LATE_MS / 1000 - 0.3) {
        diag("the destination did not get to run for $h->{stood_still} s and took requests later than they came: the order is not judged");
    } else {
        $h->verdict('nothing was overtaken', @overtaken);
    }
    $h->verdict('what was repeated had no recorded answer', $h->judge_repeats);
    $h->verdict('the rows of runs are right', $h->judge_rows);
    $h->{t}->no_violations("settled $h->{judged}: the destination saw nothing wrong");
    return;
}

sub summary {
    my ($h) = @_;
    my %kills = %{ $h->{kills} };
    my $effects = 0;
    $effects += @$_ for map { values %$_ } values %{ $h->{effects} };
    my $paid = 0;
    $paid += $_ for map { values %$_ } values %{ $h->{windows_paid} };
    return sprintf '%s kills; %d rows took effect, %d repeats, %d changes in doubt; %d runs, %d interrupted',
        join(' ', map { "$_ $kills{$_}" } sort keys %kills), $effects, $h->n_repeats, $paid, $h->{t}->admin('SELECT count(*) FROM ondatra.all_runs'), scalar keys %{ $h->{interrupted} };
}

sub n_kills { my ($h) = @_; my $n = 0; $n += $_ for values %{ $h->{kills} }; return $n }
sub n_repeats { my ($h) = @_; my $n = 0; $n += $_ for values %{ $h->{repeats} || {} }; return $n }

1;
