# Several transactions that are taken in together, a TRUNCATE among them, while memory is
# scarce: they are applied in passes over parts of the entities, and in each the TRUNCATE
# comes between what was before it and what is after it.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main');
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }

orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');
set_server($node, 'feature_engine.memory', '4MB');
foreach my $turn (1 .. 2)
{
	set_server($node, 'feature_engine.inject_wait', 'ingest');
	sql("INSERT INTO orders (customer, total) SELECT n % 100, n FROM generate_series(1, 9000) n");
	sql('TRUNCATE orders');
	sql("INSERT INTO orders (customer, total) SELECT n % 70, n FROM generate_series(1, 9000) n");
	sql('BEGIN; UPDATE orders SET total = total + 1 WHERE id % 3 = 0; TRUNCATE orders;
		INSERT INTO orders (customer, total) SELECT n % 90, 1 FROM generate_series(1, 4000) n; COMMIT');
	sql("INSERT INTO orders (customer, total) SELECT n % 80, n FROM generate_series(1, 4000) n");
	set_server($node, 'feature_engine.inject_wait', undef);
	is_exact($node, 'postgres', "turn $turn: transactions with TRUNCATE among them");
}
$node->stop('fast');
done_testing();
