# Settings whose default everything else is tested with: how far back values are exact, and after
# how much write-ahead log a checkpoint is due.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node set_server eventually);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => "feature_engine.checkpoint_interval = 1d\nfeature_engine.checkpoint_wal = 1MB");

sub sql { my ($query) = @_; return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$query") }

# The count as of a time, or the error.
sub as_of
{
	my ($time) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SET feature_engine.as_of = '$time'; SELECT coalesce(sum(n), 0) FROM recent");
	return $rc ? $err : $out;
}

# ---- exact_horizon ----
sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE events (k int, at timestamptz);
	SELECT set_clock('2026-03-01 12:00Z');
	INSERT INTO events SELECT 1, '2026-03-01 11:00Z'::timestamptz + n * interval '1 s' FROM generate_series(1, 3600) n;
	SELECT create_feature_view('recent', $$ SELECT k, count(*) AS n FROM events WHERE rolling(at, '10 min', hop => '0') GROUP BY k $$,
		append_only => true);
	SELECT sync()});
is(as_of('2026-03-01 11:59:01Z'), 601, 'by default T may lie a minute back');
eventually('not much more', sub { as_of('2026-03-01 11:58Z') =~ /cannot be evaluated as of.*HINT:  Values are exact for times up to feature_engine\.exact_horizon \(60 s\) ago/s });

set_server($node, 'feature_engine.exact_horizon', '10 min');
sql(q{SELECT refresh_feature_view('recent'); SELECT set_clock('2026-03-01 12:05Z')});
sql(q{SELECT sync()});
is(as_of('2026-03-01 11:56Z'), 601, 'with another horizon it may lie further back');
is(sql('SELECT n FROM recent'), 301, 'and the present is what it is');
set_server($node, 'feature_engine.exact_horizon', '5 s');
eventually('or less', sub { as_of('2026-03-01 12:04:50Z') =~ /exact_horizon \(5 s\) ago/ });
is(as_of('2026-03-01 12:04:56Z'), 305, 'but so far');
sql('SELECT set_clock(NULL)');

# ---- checkpoint_wal ----
sub cycle { return sql('SELECT max(cycle) FROM checkpoint') || 0 }
my $before = cycle();
sql(q{INSERT INTO events SELECT n, now() FROM generate_series(1, 20) n; SELECT sync()});
is(cycle(), $before, 'little log: no checkpoint is due in a day');
sql(q{INSERT INTO events SELECT n % 10, now() FROM generate_series(1, 30000) n; SELECT sync()});
eventually('after a megabyte of log one is', sub { cycle() > $before });
set_server($node, 'feature_engine.checkpoint_wal', '1 GB');
sql(q{SELECT sync()});

$node->stop('fast');
done_testing();
