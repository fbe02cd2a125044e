# Views of current values through dump and restore (the stored view depends on the primary
# key, so that pg_dump makes it in two steps), a crash, and a large backfill under writes.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node wait_in_log);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => 'feature_engine.checkpoint_interval = 1s');
sub sql { my ($query, $db) = @_; return $node->safe_psql($db // 'shop', $query) }

sub is_exact
{
	my ($of, $db, $what) = @_;
	is($of->safe_psql($db, q{SELECT sync('90 s') IS NOT NULL;
		SELECT count(*) FROM ((TABLE customer EXCEPT ALL SELECT id, status, doc, total FROM customers WHERE active)
			UNION ALL (SELECT id, status, doc, total FROM customers WHERE active EXCEPT ALL TABLE customer)) d;
		SELECT count(*) FROM check_feature_view('customer')}), "t\n0\n0", $what);
	return;
}

my $changes = q{UPDATE customers SET status = status || '!', total = total + 0.10 WHERE id % 3 = 0;
	DELETE FROM customers WHERE id % 11 = 4; UPDATE customers SET active = NOT active WHERE id % 5 = 2;
	UPDATE customers SET id = id + 1000000 WHERE id % 17 = 1;
	INSERT INTO customers SELECT max(id) + 1, 'late', true, NULL, 1.50 FROM customers};

sql('CREATE DATABASE shop', 'postgres');
sql(q{CREATE EXTENSION feature_engine; ALTER DATABASE shop SET search_path = public, feature_engine});
sql(q{CREATE TABLE customers (id int PRIMARY KEY, status text, active bool, doc jsonb, total numeric);
	ALTER TABLE customers REPLICA IDENTITY FULL;
	INSERT INTO customers SELECT n, 's' || n % 7, n % 4 > 0, jsonb_build_object('n', n), n / 100.0 FROM generate_series(1, 20000) n});

# rows change, go and come back under other keys while they are read
sql(q{SELECT create_feature_view('customer', 'SELECT id, status, doc, total FROM customers WHERE active')});
sql($changes) foreach (1 .. 5);
is_exact($node, 'shop', 'changed while it was built');

# ---- dumped and restored ----
my $dump = $node->basedir . '/shop.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'shop' ], 'pg_dump');
sql(q{CREATE DATABASE restored; ALTER DATABASE restored SET search_path = public, feature_engine}, 'postgres');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'restored', $dump ], 'pg_restore');
is_exact($node, 'restored', 'restored');
sql($changes, 'restored');
is_exact($node, 'restored', 'restored, with changes');
my ($ret, $out, $err) = $node->psql('restored', 'ALTER TABLE customers DROP CONSTRAINT customers_pkey');
like($err, qr/view feature_engine_def\.customer depends on constraint customers_pkey/, 'it depends on its primary key');

# ---- a crash: loaded from its checkpoint ----
my $lsn = sql(q{SELECT sync('90 s')});
sql($changes);
ok($node->poll_query_until('shop', "SELECT count(*) = 1 AND min(replay_lsn) >= '$lsn' FROM feature_engine.checkpoint"),
	'a checkpoint is stored');
sql($changes);
my $from = -s $node->logfile;
$node->stop('immediate');
$node->start;
is_exact($node, 'shop', 'after a crash');
sql($changes);
is_exact($node, 'shop', 'after a crash, with changes');
wait_in_log($node, qr/has been loaded with/, $from, 'it was loaded');

# ---- without its primary key ----
sql('ALTER TABLE customers DROP CONSTRAINT customers_pkey CASCADE');
is(sql('SELECT count(*) FROM feature_views'), 0, 'the view went with it');

$node->stop('fast');
done_testing();
