# pg_dump, pg_restore and CREATE DATABASE ... TEMPLATE: definitions and options come along,
# state does not; each database builds its own views and follows its own slot.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact wait_in_log);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => 'feature_engine.checkpoint_interval = 1s');
sub sql { my ($query, $db) = @_; return $node->safe_psql($db // 'shop', $query) }

sub change
{
	my ($of, $db) = @_;
	$of->safe_psql($db, q{INSERT INTO orders (customer, total) SELECT n % 30, n FROM generate_series(1, 300) n;
		UPDATE orders SET customer = customer + 1 WHERE id % 7 = 0; DELETE FROM orders WHERE id % 11 = 3});
	return;
}

my $options = q{SELECT name, relation, redis_key, ttl, push_interval, time_refresh, online, append_only, owner
	FROM feature_views ORDER BY name};

my $services = q{SELECT name, features, columns, keys, owner FROM feature_services};

sub is_complete
{
	my ($of, $db, $what) = @_;
	is_exact($of, $db, $what);
	is($of->safe_psql($db, 'SELECT * FROM paid'), '200', "$what: the view of another owner");
	is($of->safe_psql($db, $options), sql($options), "$what: options are kept");
	is($of->safe_psql($db, $services), 'payment|{payers:s,payers:n}|{"s bigint","n bigint"}|{"customer integer"}|keeper',
		"$what: feature services are kept");
	is($of->safe_psql($db, q{SELECT get_feature_vector('payment', 7)::jsonb = get_features('payers', 7) - 'customer'}), 't',
		"$what: and served");
	change($of, $db);
	is_exact($of, $db, "$what, with changes");
	is($of->safe_psql($db, q{SELECT count(*) FROM check_feature_view('payers')}), 0, "$what: checked");
	return;
}

sql('CREATE DATABASE shop; CREATE ROLE keeper', 'postgres');
orders_view($node, 'shop');
sql(q{GRANT CREATE, USAGE ON SCHEMA public TO keeper; GRANT USAGE ON SCHEMA feature_engine TO keeper;
	CREATE TABLE payments (id serial PRIMARY KEY, customer int, amount int);
	ALTER TABLE payments OWNER TO keeper;
	INSERT INTO payments (customer, amount) SELECT n % 200, n FROM generate_series(1, 2000) n;
	SET ROLE keeper;
	SELECT create_feature_view('payers', $$ SELECT customer, count(*) AS n, sum(amount) AS s FROM payments GROUP BY customer $$,
		redis_key => 'p:{customer}:{{x}}', ttl => '2 days', push_interval => '20 ms', online => '{n}', append_only => true);
	SELECT create_feature_service('payment', ARRAY['payers:s', 'payers:n']);
	RESET ROLE;
	CREATE VIEW paid AS SELECT count(*) FROM payers;
	SELECT alter_feature_view('customer_features', ttl => '3 hours', time_refresh => '10 s')});
my $lsn = sql(q{SELECT sync('90 s')});
change($node, 'shop');
ok($node->poll_query_until('shop', "SELECT count(*) = 2 AND min(replay_lsn) >= '$lsn' FROM feature_engine.checkpoint"),
	'checkpoints are stored');
is_exact($node, 'shop', 'original');

# ---- dumped, and restored into another database and another cluster ----
my $dump = $node->basedir . '/shop.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'shop' ], 'pg_dump');
$node->command_ok([ 'pg_dump', '-f', "$dump.sql", 'shop' ], 'pg_dump as text');
my $text = slurp_file("$dump.sql");
like($text, qr/^COPY feature_engine\.feature_view_catalog/m, 'definitions are dumped');
unlike($text, qr/^COPY feature_engine\.(checkpoint|online_footprint)/m, 'no state is');

my $other = feature_node('other', conf => 'feature_engine.checkpoint_interval = 1s');
$other->safe_psql('postgres', 'CREATE DATABASE ownerless');
$other->command_fails([ 'pg_restore', '-d', 'ownerless', $dump ], 'pg_restore where a role is missing goes on');
is($other->safe_psql('ownerless', 'SELECT name, features, owner FROM feature_engine.feature_services'),
	'payment|{payers:s,payers:n}|', 'and brings its feature services all the same');
$other->safe_psql('ownerless', q{SELECT feature_engine.drop_feature_service('payment')});
$other->safe_psql('postgres', 'CREATE ROLE keeper');
foreach my $target ([ $node, 'same cluster' ], [ $other, 'another cluster' ])
{
	my ($of, $what) = @$target;
	$of->safe_psql('postgres', q{CREATE DATABASE restored; ALTER DATABASE restored SET search_path = public, feature_engine});
	$of->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'restored', $dump ], "$what: pg_restore");
	is_complete($of, 'restored', $what);
	unlike(slurp_file($of->logfile), qr/cannot be used|has stopped/, "$what: without a complaint");
}
$other->safe_psql('postgres', q{CREATE DATABASE textual; ALTER DATABASE textual SET search_path = public, feature_engine});
$other->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', 'textual', '-f', "$dump.sql" ], 'text: restored with psql');
is_complete($other, 'textual', 'text');

# a new view has an id of its own
$other->safe_psql('textual', q{SELECT create_feature_view('third', 'SELECT customer, count(*) AS n FROM orders GROUP BY customer')});
is_exact($other, 'textual', 'another view is made');
is($other->safe_psql('textual', 'SELECT sum(n) FROM third'), $other->safe_psql('textual', 'SELECT count(*) FROM orders'), 'and is right');

# ---- a copy made by CREATE DATABASE: it brings checkpoints that are not its own ----
is_exact($node, 'shop', 'original');
ok($node->poll_query_until('shop', 'SELECT count(*) = 2 FROM feature_engine.checkpoint'), 'there is something to copy');
my $slot = q{SELECT slot_name, confirmed_flush_lsn <= pg_current_wal_lsn() FROM pg_replication_slots
	WHERE database = 'shop' AND active};
my $before = sql($slot);
my $from = -s $node->logfile;
sql(q{CREATE DATABASE copy TEMPLATE shop; ALTER DATABASE copy SET search_path = public, feature_engine}, 'postgres');
is_complete($node, 'copy', 'copied database');
wait_in_log($node, qr/WARNING:  feature view "customer_features" is built from its table: its stored state cannot be used\n.*DETAIL:  it was written in another database/,
	$from, 'the log tells why');
unlike(substr(slurp_file($node->logfile), $from), qr/state of the feature views of this database is discarded/, 'and of no harm done');
is(sql($slot), $before, 'the original has its slot');
is(sql(q{SELECT string_agg((slot_name = 'feature_engine_' || d.oid)::text, ',') FROM pg_replication_slots s
	JOIN pg_database d ON d.datname = s.database}), 'true,true,true', 'each database has its own');
change($node, 'shop');
sql('TRUNCATE orders', 'copy');
is_exact($node, 'shop', 'original, with changes');
is_exact($node, 'copy', 'copied database, emptied');
is(sql('SELECT count(*) FROM customer_features', 'copy'), 0, 'it is empty');
cmp_ok(sql('SELECT count(*) FROM customer_features'), '>', 20, 'and the original is not');

# after a restart each loads what it stored itself
$lsn = sql(q{SELECT sync('90 s')}, 'copy');
change($node, 'copy');
ok($node->poll_query_until('copy',
	"SELECT min(replay_lsn) >= '$lsn' AND bool_and(database = (SELECT oid FROM pg_database WHERE datname = 'copy')) FROM feature_engine.checkpoint"),
	'the copy stores its own checkpoints');
$from = -s $node->logfile;
$node->stop('immediate');
$node->start;
is_exact($node, $_, "$_ after a crash") foreach ('shop', 'copy', 'restored');
my $log = substr(slurp_file($node->logfile), $from);
unlike($log, qr/cannot be used/, 'none is rebuilt');
is(scalar(() = $log =~ /has been loaded with/g), 6, 'all are loaded');

$node->stop('fast');
$other->stop('fast');
done_testing();
