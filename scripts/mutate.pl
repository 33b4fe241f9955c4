#!/usr/bin/env perl
# Breaks the code in one place at a time and looks whether the test that watches this place fails. The places: test/mutations/*.txt.
#
#   perl scripts/mutate.pl [WORD...]        all mutations, or those whose promise, file or test contains one of the words
#   perl scripts/mutate.pl --check [WORD...]  only whether every text to be replaced is there, once
#   perl scripts/mutate.pl --page           prints doc/promises.md
#
# Works in a copy of the tree. Programs of unit tests are run alone, of other suites scripts/check.sh runs the named file (PG_CONFIG chooses the
# server; two of this at once need two servers, check.sh installs into it). Exit status 1 when a mutation survived, did not build, or its text
# is not there.
#
# A file of mutations:
#
#   # The diff                                 the section of the page
#   ## A key in doubt always differs           the promise; one or more mutations follow
#   file src/core/change.c
#   fails unit core: plan_doubt                suite, program or file, and a part of the name of a test that must fail
#   <<<<
#   text that is in the file exactly once (whole lines or a part of one)
#   ====
#   what stands there instead
#   >>>>
use strict;
use warnings;
use Cwd qw(getcwd);
use File::Basename qw(basename dirname);
use File::Temp qw(tempdir);

chdir dirname(__FILE__) . '/..' or die "$!";

# The mutations of all files, in order: {section, promise, path, suite, program, name, old, new, at}.
sub read_mutations {
	my @all;

	foreach my $from (sort glob 'test/mutations/*.txt') {
		my ($section, $promise, %m);
		my $text = slurp($from);

		while ($text =~ /\G(?:(#[^\n]*|file [^\n]*|fails [^\n]*|\s*)\n|<<<<\n(.*?)\n====\n(.*?)\n?>>>>\n)/gcs) {
			my ($line, $old, $new) = ($1, $2, $3);
			if (defined $old) {
				die "$from: a mutation of \"$promise\" lacks file or fails\n" unless $m{path} && $m{suite};
				push @all, { %m, section => $section, promise => $promise, old => $old, new => $new };
			}
			elsif ($line =~ /^## (.*)/) { $promise = $1; %m = (); }
			elsif ($line =~ /^# (.*)/) { $section = $1; }
			elsif ($line =~ /^file (\S+)$/) { $m{path} = $1; }
			elsif ($line =~ /^fails (unit|regress|isolation|tap|server) (\S+): (.+)$/) { @m{qw(suite program name)} = ($1, $2, $3); }
			elsif ($line =~ /\S/) { die "$from: not understood: $line\n"; }
		}
		die "$from: not understood: " . substr($text, pos($text) // 0, 80) . "\n" if (pos($text) // 0) < length $text;
	}
	return @all;
}

sub slurp {
	my ($path) = @_;
	open my $in, '<', $path or die "$path: $!\n";
	local $/;
	return scalar <$in>;
}

sub spew {
	my ($path, $text) = @_;
	open my $out, '>', $path or die "$path: $!\n";
	print $out $text;
	close $out or die "$path: $!\n";
}

# The text with the mutation; undef when its place is not there, or not unique.
sub mutated {
	my ($m, $text) = @_;
	my $at = index $text, $m->{old};

	return undef if $at < 0 || index($text, $m->{old}, $at + 1) >= 0;
	return substr($text, 0, $at) . $m->{new} . substr($text, $at + length $m->{old});
}

# Runs the test of a mutation in the current directory: what it printed, in check.sh's form.
sub run_test {
	my ($m) = @_;

	if ($m->{suite} eq 'unit') {
		my $program = "build/unit/test_$m->{program}";
		my $built = `make -s WERROR= $program 2>&1`;
		return "the build failed\n$built" if $? != 0;
		return scalar `timeout 600 $program '$m->{name}' 2>&1 | awk -v suite=unit/$m->{program} -f scripts/tap.awk`;
	}
	return scalar `ONDATRA_KEEP= ONDATRA_TESTS=$m->{program} bash scripts/check.sh $m->{suite} 2>&1`;
}

# "killed", or what else came of it.
sub verdict {
	my ($m, $output) = @_;
	my @failed = $output =~ /^FAILED +(.*)$/mg;

	return 'does not build: ' . ($output =~ /( error: .*)/ ? $1 : '') if $output =~ /the build failed/;
	return 'killed' if grep { index($_, $m->{name}) >= 0 } @failed;
	return 'SURVIVED, other tests failed: ' . join('; ', @failed[0 .. ($#failed > 3 ? 3 : $#failed)]) if @failed;
	return 'SURVIVED';
}

sub run_all {
	my ($only_check, @mutations) = @_;
	my $bad = 0;
	my $work = tempdir('ondatra-mutate.XXXXXX', TMPDIR => 1, CLEANUP => 1);

	local $| = 1;
	chmod 0755, $work;
	system("tar -cf - --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.d' --exclude=./tmp_check --exclude=./build . | tar -xf - -C $work") == 0
	  or die "cannot copy the tree\n" unless $only_check;
	foreach my $m (@mutations) {
		my $path = $only_check ? $m->{path} : "$work/$m->{path}";
		my $whole = -e $path ? slurp($path) : '';
		my $text = mutated($m, $whole);
		my $result = defined $text ? 'is there' : 'its text is not there, or not once';

		if (defined $text && !$only_check) {
			my $home = getcwd();
			chdir $work or die "$work: $!\n";
			spew($path, $text);
			$result = verdict($m, run_test($m));
			spew($path, $whole);
			chdir $home;
		}
		$bad++ unless $result =~ /^(killed|is there)$/;
		print "$result: $m->{promise} ($m->{path}; $m->{suite} $m->{program}: $m->{name})\n"
		  unless $only_check && $result eq 'is there';
	}
	print scalar(@mutations) . " mutations, $bad not " . ($only_check ? 'there' : 'killed') . "\n";
	return $bad == 0 && @mutations > 0;
}

# Where a test is, for a reader.
sub test_link {
	my ($m) = @_;
	my ($file) = $m->{suite} eq 'tap' ? map { basename($_, '.pl') } glob "test/t/*$m->{program}*.pl" : ();

	return '`' . ($file // "$m->{suite} $m->{program}") . "`: $m->{name}";
}

sub print_page {
	my $section = '';
	my (@rows, %seen);

	print slurp('test/mutations/page.md');
	foreach my $m (read_mutations()) {
		my $row = (grep { $_->{promise} eq $m->{promise} && $_->{section} eq $m->{section} } @rows)[0];
		push @rows, $row = { section => $m->{section}, promise => $m->{promise}, files => [], tests => [] } unless $row;
		push @{ $row->{files} }, "`$m->{path}`" unless grep { $_ eq "`$m->{path}`" } @{ $row->{files} };
		push @{ $row->{tests} }, test_link($m) unless grep { $_ eq test_link($m) } @{ $row->{tests} };
	}
	foreach my $row (@rows) {
		if ($row->{section} ne $section) {
			$section = $row->{section};
			print "\n## $section\n\n| promise | kept in | fails when it is broken |\n|---|---|---|\n";
		}
		my @cells = ($row->{promise}, join(', ', @{ $row->{files} }), join('; ', @{ $row->{tests} }));
		s/\|/\\|/g foreach @cells;
		print '| ' . join(' | ', @cells) . " |\n";
	}
}

my $mode = @ARGV && $ARGV[0] =~ /^--(page|check)$/ ? shift @ARGV : '';
if ($mode eq '--page') {
	print_page();
	exit 0;
}
my @words = @ARGV;
my @mutations = grep {
	my $m = $_;
	!@words || grep { index("$m->{section} $m->{promise} $m->{path} $m->{suite} $m->{program} $m->{name}", $_) >= 0 } @words;
} read_mutations();
exit(run_all($mode eq '--check', @mutations) ? 0 : 1);
