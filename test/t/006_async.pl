# Commits of sessions that do not wait for the disk (synchronous_commit = off) are seen at
# once, not only when the WAL writer comes by.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact);
use PostgreSQL::Test::Utils;
use Test::More;

# (without being woken the WAL writer would come by after five seconds on average)
my $node = feature_node('main', conf => "synchronous_commit = off\nwal_writer_delay = 10s\nwal_writer_flush_after = 0");
orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');

# Commits, then looks until the commit is seen; returns how many milliseconds it took.
$node->safe_psql('postgres', q{
	CREATE TABLE seen (customer int, after_ms float8);
	CREATE PROCEDURE commit_and_look(c int) LANGUAGE plpgsql AS $$
	DECLARE
		since timestamptz;
	BEGIN
		INSERT INTO orders (customer, total) VALUES (c, 1);
		COMMIT;
		since := clock_timestamp();
		WHILE NOT EXISTS (SELECT FROM customer_features WHERE customer = c)
			AND clock_timestamp() < since + interval '20 s'
		LOOP
			PERFORM pg_sleep(0.001);
		END LOOP;
		INSERT INTO seen VALUES (c, extract(epoch FROM clock_timestamp() - since) * 1000);
	END $$;});
$node->safe_psql('postgres', "CALL commit_and_look($_)") foreach (1001 .. 1010);
my $median = $node->safe_psql('postgres', 'SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY after_ms) FROM seen');
note("median: $median ms");
cmp_ok($median, '<', 2500, 'most commits do not wait for the WAL writer');

# A session that waits for its own commits
foreach my $i (1 .. 3)
{
	is($node->safe_psql('postgres', qq{
			SET feature_engine.read_your_writes = on;
			INSERT INTO orders (customer, total) VALUES (2000 + $i, $i);
			SELECT n FROM customer_features WHERE customer = 2000 + $i}),
		1, "read_your_writes, commit $i");
}
is_exact($node, 'postgres', 'in the end');

$node->stop('fast');
done_testing();
