package Ondatra::Sessions;

# Several sessions at once: psql in the background, and the conditions that the tests of processes wait for.

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Run ();
use Ondatra::Test;
use Test::More;

our @EXPORT = qw(session finish interrupt is_running background_workers runs wait_for_lock quick_sync);

# Runs a script in a session of its own; it stops at the first error.
sub session {
    my ($t, $role, $sql, $database) = @_;
    my %s = (in => $sql, out => '', err => '');
    my @command = ('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $t->node->connstr($database || 'postgres'), '-U', $role, '-f', '-');
    $s{run} = IPC::Run::start(\@command, '<', \$s{in}, '>', \$s{out}, '2>', \$s{err}, IPC::Run::timer($Ondatra::Test::SECONDS));
    $s{run}->pump_nb;
    return \%s;
}

# Its output and its messages, when it has ended.
sub finish {
    my ($s) = @_;
    $s->{run}->finish;
    chomp(my $out = $s->{out});
    return ($out, $s->{err});
}

sub is_running { my ($s) = @_; return $s->{run}->pumpable && do { $s->{run}->pump_nb; $s->{run}->pumpable } }

# Ctrl-C.
sub interrupt { my ($s) = @_; $s->{run}->signal('INT'); return }

# SQL that goes on when somebody holds the lock on a table.
sub wait_for_lock {
    my ($table) = @_;
    return "DO \$\$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = '$table'::regclass AND mode = 'AccessExclusiveLock' AND granted) "
        . "LOOP PERFORM pg_sleep(0.01); END LOOP; END \$\$;\n";
}

# Our processes of a kind ("run", "scheduler", "launcher"), as "database" or "database:state".
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
