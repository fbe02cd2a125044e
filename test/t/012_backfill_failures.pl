# Backfills that do not get to their end: the worker or the helper is stopped, a row fails the
# view while others are read, the view goes away. No helper is left behind, no lock, no
# snapshot; the other views go on, and in the end all values are exact.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server wait_in_log);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

# Rows are sent in messages of 64 kB through a queue of 1 MB: of this table there is more to
# read than the queue takes in.
my $node = feature_node('main');
orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');

sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub poll { my ($query, $what) = @_; return ok($node->poll_query_until('postgres', $query), $what) }
sub wait_for { my ($query) = @_; return $node->poll_query_until('postgres', $query) || BAIL_OUT("never true: $query") }
sub error_of { my ($query) = @_; my ($rc, $out, $err) = $node->psql('postgres', $query); return $rc ? $err : '' }

sql(q{
	CREATE TABLE big (id int PRIMARY KEY, k int, v int, filler text);
	ALTER TABLE big REPLICA IDENTITY FULL;
	INSERT INTO big SELECT n, n % 100, n % 7 + 1, repeat('x', 100) FROM generate_series(1, 30000) n});
my $query = q{SELECT k, count(*) AS n, sum(840 / v) AS s, max(v) AS hi, max(filler) AS f FROM big GROUP BY k};

my $worker = q{(SELECT pid FROM pg_stat_activity WHERE backend_type = 'feature_engine ingest')};
my $helper = q{(SELECT pid FROM pg_stat_activity WHERE backend_type = 'feature_engine backfill')};
my $locked = q{(SELECT count(*) FROM pg_locks WHERE relation = 'big'::regclass AND pid <> pg_backend_pid())};

# What reading the view from the start gives: exact, and nobody at the table any more.
sub comes_to_its_end
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	poll(q{SELECT bool_and(state = 'live') FROM status}, "$what: all views are live");
	my ($rc, $out, $err) = $node->psql('postgres', qq{
		SELECT sync('90 s') > '0/0';
		SELECT count(*), count(*) FILTER (WHERE s::text IS DISTINCT FROM b::text)
		FROM   of_big s FULL JOIN ($query) b USING (k)});
	is("$out$err", "t\n" . sql('SELECT count(DISTINCT k) FROM big') . '|0', "$what: streamed = batch");
	is_exact($node, 'postgres', "$what: the other view");
	nothing_left($what);
	sql(q{SELECT drop_feature_view('of_big')});
	return;
}

sub nothing_left
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return poll("SELECT $helper IS NULL AND $locked = 0", "$what: no helper, no lock");
}

# Starts a backfill that is held at a point where the condition holds.
sub held
{
	my ($point, $condition) = @_;
	set_server($node, 'feature_engine.inject_wait', $point);
	sql("SELECT create_feature_view('of_big', '$query')");
	wait_for("SELECT $condition");
	return;
}
sub release { return set_server($node, 'feature_engine.inject_wait', undef) }

# Points of a backfill: the helper is there; it has its lock; the worker has seen its snapshot
# (and waits itself); the rows are to be read.
my @points = (
	[ 'backfill-lock', "$helper IS NOT NULL" ],
	[ 'backfill-locked', "$locked = 1" ],
	[ 'backfill-snapshot', "$locked = 1" ],
	[ 'backfill-scan', q{state = 'backfilling' FROM status WHERE name = 'of_big'} ]);

# A process is told to end: the worker at each point, then the helper

foreach my $who ([ worker => $worker ], [ helper => $helper ])
{
	my ($name, $process) = @$who;
	foreach my $point (@points)
	{
		my $what = "SIGTERM of the $name at $point->[0]";
		my $from = -s $node->logfile;
		held(@$point);
		my $pid = sql("SELECT $process");
		my $old_helper = sql("SELECT $helper");
		sql("SELECT pg_terminate_backend($pid, 60000)");
		sql('DELETE FROM big WHERE id % 1000 = 1; UPDATE big SET k = 101 WHERE id % 1000 = 2');
		sql('INSERT INTO orders (customer, total) VALUES (1, 1)');
		# the helper that was there is of no use any more; it goes although it is held
		poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $old_helper", "$what: the old helper goes")
		  if $point->[0] ne 'backfill-lock' || $name eq 'helper';
		release();
		comes_to_its_end($what);
		unlike(substr(slurp_file($node->logfile), $from), qr/ERROR:|are rebuilt/, "$what: no error, no state lost");
	}
}

$node->stop('fast');
done_testing();
