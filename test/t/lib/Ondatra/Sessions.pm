package Ondatra::Sessions;

# Several sessions at once: psql in the background, and the conditions that the tests of processes wait for.

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use Ondatra::Test;
use POSIX qw(WNOHANG);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

our @EXPORT = qw(session finish interrupt is_running background_workers runs wait_for_lock quick_sync);

# Runs a script in a session of its own; it stops at the first error. Files and no pipes: nobody has to pump, so several go on at once.
sub session {
    my ($t, $role, $sql, $database) = @_;
    my $base = "$t->{dir}/session" . ++$t->{n};
    append_to_file("$base.sql", $sql);
    my @command = ('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $t->node->connstr($database || 'postgres'), '-U', $role, '-f', "$base.sql");
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', '/dev/null' and open STDOUT, '>', "$base.out" and open STDERR, '>', "$base.err";
        exec @command or POSIX::_exit(127);
    }
    return {pid => $pid, base => $base};
}

# Its output and its messages, when it has ended.
sub finish {
    my ($s) = @_;
    my $end = time + $Ondatra::Test::SECONDS;
    while (is_running($s)) {
        usleep(10_000);
        kill 'TERM', $s->{pid} if time > $end;
    }
    chomp(my $out = slurp_file("$s->{base}.out"));
    return ($out, slurp_file("$s->{base}.err"));
}

sub is_running { my ($s) = @_; return !($s->{ended} ||= waitpid($s->{pid}, WNOHANG) != 0) }

# Ctrl-C.
sub interrupt { my ($s) = @_; kill 'INT', $s->{pid}; return }

# SQL that goes on when somebody holds an exclusive lock on the table.
sub wait_for_lock {
    my ($table) = @_;
    return "DO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = '$table'::regclass AND mode = 'AccessExclusiveLock' AND granted) "
        . "LOOP PERFORM pg_sleep(0.01); END LOOP; END \$\$;\n";
}

# Our processes of a kind ("run", "scheduler", "launcher"): their pids.
sub background_workers {
    my ($t, $kind) = @_;
    return split /\n/, $t->admin("SELECT pid FROM pg_stat_activity WHERE backend_type = 'ondatra $kind'");
}

# status/trigger of a sync's runs in order.
sub runs {
    my ($t, $sync) = @_;
    return $t->admin("SELECT coalesce(string_agg(status || '/' || trigger, ' ' ORDER BY run_id), '') FROM ondatra.sync_runs WHERE sync_name = '$sync'");
}

# A table of two rows and a sync of it, to a destination of the same name.
sub quick_sync {
    my ($t, $name, %args) = @_;
    $t->sql("CREATE TABLE mart.$name (id int PRIMARY KEY, v text); INSERT INTO mart.$name VALUES (1, 'a'), (2, 'b')");
    $t->destination($name, delete $args{destination});
    return $t->sync($name, "mart.$name", $name, %args);
}

1;
