# Feature views over a table that logical replication fills: what the apply and table
# synchronisation workers write carries an origin, and counts like any other change. So do
# rows of a session with an origin of its own.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact);
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = feature_node('publisher');
my $subscriber = feature_node('subscriber');

orders_view($publisher, 'postgres');
$publisher->safe_psql('postgres', 'CREATE PUBLICATION orders FOR TABLE orders');
orders_view($subscriber, 'postgres');
$subscriber->safe_psql('postgres', 'TRUNCATE orders');
is_exact($subscriber, 'postgres', 'subscriber, empty');
$subscriber->safe_psql('postgres', q{CREATE SUBSCRIPTION orders CONNECTION '} . $publisher->connstr .
	q{ dbname=postgres' PUBLICATION orders});

my $n = q{SELECT coalesce(sum(n), 0), coalesce(sum(total), 0) FROM customer_features};

# Both sides are exact, and equal.
sub both
{
	my ($what) = @_;
	$publisher->wait_for_catchup('orders');
	is_exact($publisher, 'postgres', "$what: publisher");
	is_exact($subscriber, 'postgres', "$what: subscriber");
	is($subscriber->safe_psql('postgres', $n), $publisher->safe_psql('postgres', $n), "$what: the same orders");
	return;
}

$subscriber->wait_for_subscription_sync($publisher, 'orders') if $subscriber->can('wait_for_subscription_sync');
$subscriber->poll_query_until('postgres', q{SELECT count(*) = 1 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel});
both('copied');
isnt($subscriber->safe_psql('postgres', $n), '0|0', 'there is something to compare');

$publisher->safe_psql('postgres', q{
	INSERT INTO orders (customer, total) SELECT n % 25, n FROM generate_series(1, 500) n;
	UPDATE orders SET total = total + 1, customer = customer + 1 WHERE id % 3 = 0;
	DELETE FROM orders WHERE id % 7 = 2});
both('applied');

# a large transaction, with subtransactions, and one that is prepared
$publisher->safe_psql('postgres', q{
	BEGIN;
	INSERT INTO orders (customer, total) SELECT n % 25, n FROM generate_series(1, 20000) n;
	SAVEPOINT a;
	DELETE FROM orders WHERE id % 2 = 0;
	ROLLBACK TO a;
	UPDATE orders SET total = total + 0.5 WHERE id % 5 = 0;
	COMMIT});
both('a large transaction');
$publisher->safe_psql('postgres', 'TRUNCATE orders; INSERT INTO orders (customer, total) VALUES (1, 1), (2, 2)');
both('TRUNCATE');

# rows of the subscriber's own beside them, and some with an origin set by hand
$subscriber->safe_psql('postgres', q{
	INSERT INTO orders (id, customer, total) VALUES (-1, 1, 100);
	SELECT pg_replication_origin_create('by_hand');
	SELECT pg_replication_origin_session_setup('by_hand');
	BEGIN;
	SELECT pg_replication_origin_xact_setup('0/1', now());
	INSERT INTO orders (id, customer, total) VALUES (-2, 1, 1000);
	COMMIT;
	SELECT pg_replication_origin_session_reset();
	SELECT pg_replication_origin_drop('by_hand')});
is_exact($subscriber, 'postgres', 'an origin set by hand');
is($subscriber->safe_psql('postgres', 'SELECT n, total FROM customer_features WHERE customer = 1'), '3|1101.00', 'all count');

# a crash of the subscriber: nothing twice, nothing missing
$publisher->safe_psql('postgres', 'INSERT INTO orders (customer, total) SELECT n % 25, n FROM generate_series(1, 1000) n');
$subscriber->stop('immediate');
$publisher->safe_psql('postgres', 'UPDATE orders SET total = total * 2');
$subscriber->start;
$publisher->wait_for_catchup('orders');
is_exact($subscriber, 'postgres', 'subscriber after a crash');

$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION orders');
$_->stop('fast') foreach ($subscriber, $publisher);
done_testing();
