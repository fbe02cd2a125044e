# Private memory of a node's workers while a statement runs.
#
#   my $peak = peak_memory($node, 'postgres', q{SELECT sync('90 s')}, qw(ingest capture));
#   cmp_ok($peak->{ingest}, '<', 200 * 1024, 'kB');
#
# What is sampled is RssAnon: shared memory and files are not in it. A peak between two
# samples is missed, so a bound on it can fail only with reason.
package FeatureEngine::Memory;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Utils;

our @EXPORT_OK = qw(private_memory peak_memory worker_pid);

# Process of a role (ingest, capture, pusher, ...), undefined where there is none.
sub worker_pid
{
	my ($node, $db, $role) = @_;
	my $pid = $node->safe_psql($db, qq{
		SELECT pid FROM pg_stat_activity
		WHERE  backend_type = 'feature_engine $role' AND datname = current_database()});
	return $pid eq '' ? undef : $pid;
}

# In kB; 0 where the process is gone.
sub private_memory
{
	my ($pid) = @_;
	open(my $status, '<', "/proc/$pid/status") or return 0;
	my ($kb) = join('', <$status>) =~ /^RssAnon:\s+(\d+) kB/m;
	return $kb // 0;
}

# Runs SQL, and returns the most that each role's process had meanwhile, in kB.
sub peak_memory
{
	my ($node, $db, $query, @roles) = @_;
	my %pid = map { $_ => worker_pid($node, $db, $_) // die "no $_ worker" } @roles;
	my %peak = map { $_ => 0 } @roles;
	my ($out, $err) = ('', '');
	my $psql = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-c', $query ],
		'<', '/dev/null', '>', \$out, '2>', \$err);
	while ($psql->pumpable)
	{
		$psql->pump_nb;
		foreach my $role (@roles)
		{
			my $kb = private_memory($pid{$role});
			$peak{$role} = $kb if $kb > $peak{$role};
		}
		select(undef, undef, undef, 0.01);
	}
	$psql->finish or die "$query: $err";
	return \%peak;
}

1;
