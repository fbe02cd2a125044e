# Views with joins through restarts, crashes, concurrent building, large corrections, a full
# memory and tables that are altered: always the batch join, or an error that says why not.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Memory qw(peak_memory worker_pid);
use FeatureEngine::Test qw(feature_node eventually set_server wait_in_log);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => q{
	restart_after_crash = on
	feature_engine.memory = 600MB
	feature_engine.checkpoint_interval = 1s
	max_wal_size = 4GB
	autovacuum = off});

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$query", timeout => 900);
}
sub log_end { return -s $node->logfile }
sub log_since { my ($from) = @_; return substr(slurp_file($node->logfile), $from) }
my @views = qw(inner_join left_join windowed);

sub are_exact
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	sql(q{SELECT sync('150 s')});
	is(join("\n", map { sql("SELECT '$_', * FROM check_feature_view('$_') LIMIT 3") } @views), "\n\n",
		"$what: streamed = batch");
	return;
}

# Changes of both tables, in transactions of their own and in the same ones.
sub workload
{
	foreach my $query (
		q{INSERT INTO orders (customer, product, qty, at)
		  SELECT n % 50, n % 37, n % 5, now() - n * interval '2 hours' FROM generate_series(1, 500) n},
		q{UPDATE products SET price = price + 1 WHERE id % 3 = 0},
		q{BEGIN; DELETE FROM products WHERE id % 10 = 7; UPDATE orders SET product = 7 WHERE id % 9 = 0;
		  INSERT INTO products SELECT 1000 + n, 'new', n FROM generate_series(1, 20) n ON CONFLICT DO NOTHING; COMMIT},
		q{UPDATE orders SET product = 1000 + id % 25 WHERE id % 8 = 1},
		q{INSERT INTO products SELECT n, 'again', n FROM generate_series(7, 37, 10) n ON CONFLICT DO NOTHING},
		q{BEGIN; UPDATE products SET category = 'undone'; ROLLBACK},
		q{DELETE FROM orders WHERE id % 13 = 5})
	{
		eval { $node->psql('postgres', $query) };
	}
	return;
}

sql(q{
	CREATE EXTENSION feature_engine;
	CREATE TABLE products (id int PRIMARY KEY, category text, price numeric);
	CREATE TABLE orders (id bigserial PRIMARY KEY, customer int, product bigint, qty int, at timestamptz);
	ALTER TABLE products REPLICA IDENTITY FULL;
	ALTER TABLE orders REPLICA IDENTITY FULL;
	INSERT INTO products SELECT n, 'c' || n % 3, n FROM generate_series(1, 30) n;});
workload();
sql(q{
	SELECT create_feature_view('inner_join', $$
		SELECT o.customer, sum(o.qty * p.price) AS spend, count(*) FILTER (WHERE p.category = 'c1') AS c1
		FROM orders o JOIN products p ON p.id = o.product GROUP BY o.customer $$);
	SELECT create_feature_view('left_join', $$
		SELECT o.customer, count(*) AS n, count(p.id) AS found, max(p.price) AS dearest
		FROM orders o LEFT JOIN products p ON p.id = o.product GROUP BY o.customer $$);});

# ---- building while both tables change ----
set_server($node, 'feature_engine.inject_wait', 'backfill-scan');
sql(q{
	SELECT create_feature_view('windowed', $$
		SELECT o.customer, p.category, count(*) AS n, sum(p.price) FILTER (WHERE rolling(o.at, '7 days')) AS s7
		FROM orders o JOIN products p ON p.id = o.product WHERE rolling(o.at, '30 days')
		GROUP BY o.customer, p.category $$);});
$node->poll_query_until('postgres',
	q{SELECT count(*) > 0 FROM feature_engine.status WHERE state = 'backfilling'}) or die 'never began';
workload();
sql(q{INSERT INTO products SELECT 100 + n, 'late', n FROM generate_series(1, 5) n;
	INSERT INTO orders (customer, product, qty, at) SELECT n, 100 + n, 1, now() FROM generate_series(1, 7) n;
	DELETE FROM products WHERE id = 103});
set_server($node, 'feature_engine.inject_wait', undef);
are_exact('built while rows came and went');

# ---- an orderly restart loads them, and goes on ----
workload();
sql('SELECT sync()');
my $from = log_end();
$node->restart;
are_exact('after a restart');
foreach my $view (@views)
{
	like(log_since($from), qr/feature view "$view" has been loaded/, "$view was loaded");
}
unlike(log_since($from), qr/cannot be used/, 'and none was rebuilt');
workload();
are_exact('changes after a restart');
$node->restart;
workload();
are_exact('and after another');

# ---- workers that end go on ----
foreach my $role ('ingest', 'capture')
{
	workload();
	my $pid = worker_pid($node, 'postgres', $role);
	$node->psql('postgres', "SELECT pg_terminate_backend($pid)") if defined $pid;
	workload();
	are_exact("the $role worker was told to end");
}

# ---- crashes: with changes under way, and at rest ----
foreach my $point ('decoded', 'merge', 'merging', 'merged', 'checkpoint-chunks', 'checkpoint-row', 'backfill')
{
	set_server($node, 'feature_engine.inject_crash', $point);
	workload() for 1 .. 2;
	sql(q{SELECT refresh_feature_view('windowed')}) if $point eq 'backfill';
	$node->append_conf('postgresql.conf', "feature_engine.inject_crash = ''");
	eventually("crash at $point: the server is back", sub {
		$node->psql('postgres', 'ALTER SYSTEM RESET feature_engine.inject_crash') == 0
		  && $node->psql('postgres', 'SELECT pg_reload_conf()') == 0 });
	workload();
	are_exact("crash at $point");
}
workload();
$node->stop('immediate');
$node->start;
are_exact('the server was killed under load');
sql('UPDATE products SET price = 1 WHERE id = 2');
my $lsn = sql('SELECT sync()');
$node->poll_query_until('postgres',
	"SELECT coalesce(min(replay_lsn) >= '$lsn', false) FROM feature_engine.checkpoint") or die 'no checkpoint';
$from = log_end();
$node->stop('immediate');
$node->start;
are_exact('the server was killed at rest');
like(log_since($from), qr/feature view "inner_join" has been loaded/, 'what was stored at one position was loaded');

# ---- many corrections in one step, in bounded memory ----
sql(q{INSERT INTO orders (customer, product, qty, at)
	SELECT n % 5000, 1, n % 3, now() - n * interval '1 second' FROM generate_series(1, 300000) n});
are_exact('300,000 rows');
sql(q{UPDATE products SET price = price * 1.5, category = 'hot' WHERE id = 1});
my $peak = peak_memory($node, 'postgres', q{SELECT feature_engine.sync('150 s')}, 'ingest');
cmp_ok($peak->{ingest}, '<', 400 * 1024, 'a correction of 300,000 rows in bounded memory: '
	. int($peak->{ingest} / 1024) . ' MB');
are_exact('300,000 rows corrected');
sql(q{BEGIN; UPDATE products SET price = price + 1; DELETE FROM orders WHERE id % 2 = 0;
	INSERT INTO orders (customer, product, qty, at) SELECT n % 5000, n % 40, 1, now() FROM generate_series(1, 200000) n;
	DELETE FROM products WHERE id = 1; COMMIT;
	UPDATE products SET price = 3 WHERE id = 2; INSERT INTO products VALUES (1, 'back', 5)});
are_exact('a large transaction of both tables, and one after it');
sql(q{BEGIN; CREATE TEMP TABLE kept AS SELECT * FROM products; TRUNCATE products;
	INSERT INTO products SELECT * FROM kept; COMMIT});
are_exact('emptied and filled again');
sql('TRUNCATE products');
are_exact('emptied');
sql(q{INSERT INTO products SELECT n, 'c' || n % 3, n FROM generate_series(1, 30) n});
are_exact('filled');

# ---- memory that is full for a while ----
sql(q{TRUNCATE orders; SELECT sync('150 s')});
set_server($node, 'feature_engine.memory', '64MB');
sql(q{INSERT INTO orders (customer, product, qty, at)
	SELECT n, n % 37, n % 3, now() - n * interval '1 second' FROM generate_series(1, 250000) n});
$node->poll_query_until('postgres',
	q{SELECT count(*) > 0 FROM feature_engine.status WHERE worker = 'memory full'}) or die 'memory never was full';
set_server($node, 'feature_engine.memory', '600MB');
are_exact('memory was full');

# ---- a unique key that is none any more ----
like(($node->psql('postgres', 'ALTER TABLE products DROP CONSTRAINT products_pkey'))[2],
	qr/other objects depend on it/, 'the key of a join is not dropped');
# as after a dump and restore, which does not bring the dependency
sql(q{DELETE FROM pg_depend WHERE refobjid = (SELECT oid FROM pg_constraint WHERE conname = 'products_pkey')
	AND classid = 'pg_class'::regclass AND deptype = 'n';
	ALTER TABLE products DROP CONSTRAINT products_pkey; UPDATE products SET price = price + 1});
are_exact('rows are unique without a key');
$from = log_end();
sql(q{INSERT INTO products VALUES (3, 'twice', 1)});
wait_in_log($node, qr/"left_join" has stopped: several rows of joined table "products" have the same key/,
	$from, 'two rows of a key stop the view');
like(($node->psql('postgres', q{SET feature_engine.read_your_writes = on; SELECT * FROM left_join}))[2],
	qr/several rows/, 'and whoever reads it is told');
sql(q{DELETE FROM products WHERE category = 'twice'; ALTER TABLE products ADD PRIMARY KEY (id)});
eventually('it is built again', sub {
	sql(q{SELECT count(*) FROM status WHERE state = 'live'}) == 3 });
are_exact('unique again');

# ---- what the log does not tell any more ----
$from = log_end();
sql(q{ALTER TABLE products REPLICA IDENTITY DEFAULT; UPDATE products SET price = 9});
wait_in_log($node, qr/"inner_join" has stopped: the old values of a changed row are not in the log/, $from,
	'a dimension without REPLICA IDENTITY FULL stops the view');
sql(q{ALTER TABLE products REPLICA IDENTITY FULL});
eventually('it is built again', sub { sql(q{SELECT count(*) FROM status WHERE state = 'live'}) == 3 });
are_exact('and right');
sql(q{SELECT drop_feature_view(name) FROM feature_views});
eventually('no state is left', sub { sql(q{SELECT count(*) FROM view_status()}) == 0 });

done_testing();
