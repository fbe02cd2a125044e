# Views over several tables and over partitions, through crashes: what is stored is good if
# the partitions are those it has rows of, or if such came that were empty; whatever happened
# to them while nobody looked.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node set_server wait_in_log eventually);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => "restart_after_crash = on\nfeature_engine.checkpoint_interval = 1s");
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub log_since { my ($from) = @_; return substr(slurp_file($node->logfile), $from) }

my %views = (
	united => q{SELECT customer, count(*) AS n, sum(x) AS s, max(x) AS hi,
	          count(*) FILTER (WHERE rolling(at, '30 days')) AS n30
	          FROM (SELECT customer, total AS x, at FROM orders
	                UNION ALL SELECT customer, -amount, at FROM refunds
	                UNION ALL SELECT customer, 1, at FROM orders WHERE total > 50) u GROUP BY customer},
	parts => q{SELECT customer, count(*) AS n, sum(total) AS s, max(total) AS hi FROM moves GROUP BY customer});

# Every entity of every view equals the batch query.
sub is_exact
{
	my ($what) = @_;
	my $out = '';
	foreach my $view (sort keys %views)
	{
		my ($rc, $diff, $err) = $node->psql('postgres', "SELECT sync('90 s', view => '$view') IS NOT NULL;
			SELECT '$view', st::text, ba::text FROM $view st FULL JOIN ($views{$view}) ba USING (customer)
			WHERE st::text IS DISTINCT FROM ba::text LIMIT 3");
		$out .= "$diff$err ";
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($out, 't t ', "$what: streamed = batch");
}

# Everything that is committed now is in the store.
sub wait_for_checkpoint
{
	my $lsn = sql(q{SELECT sync('90 s')});
	sql('INSERT INTO orders (customer, total) VALUES (1, 1); INSERT INTO moves (customer, total) VALUES (1, 1)');
	$node->poll_query_until('postgres',
		"SELECT count(*) = 2 AND min(replay_lsn) >= '$lsn' FROM feature_engine.checkpoint")
	  or die 'no checkpoint';
	return;
}

sub workload
{
	sql(q{INSERT INTO orders (customer, total) SELECT n % 20, n FROM generate_series(1, 100) n;
	      INSERT INTO refunds SELECT n % 25, n, now() FROM generate_series(1, 50) n;
	      UPDATE refunds SET amount = amount + 1 WHERE customer < 5;
	      DELETE FROM orders WHERE id % 7 = 0;
	      INSERT INTO moves (customer, total) SELECT n % 20, n FROM generate_series(1, 99) n;
	      UPDATE moves SET total = (total + 37)::int % 100 WHERE customer < 10;
	      DELETE FROM moves WHERE total = 50});
	return;
}

sub was
{
	my ($from, $what, %loaded) = @_;
	my $log = log_since($from);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $view (sort keys %loaded)
	{
		my $is = $log =~ /feature view "$view" has been loaded with \d+ entities/ ? 1 : 0;
		is($is, $loaded{$view}, "$what: $view was " . ($loaded{$view} ? 'loaded' : 'built anew'));
	}
	return;
}

# The ingest worker does nothing from now on: what is committed later it has not seen.
sub hold
{
	set_server($node, 'feature_engine.inject_wait', 'ingest');
	eventually('the worker is held', sub {
		sql('INSERT INTO moves (customer, total) VALUES (1, 2)');
		my ($rc) = $node->psql('postgres', q{SELECT sync('300 ms')});
		return $rc != 0;
	});
	return;
}

# The server crashes; then the worker is let go.
sub crash
{
	$node->stop('immediate');
	$node->append_conf('postgresql.auto.conf', "feature_engine.inject_wait = ''");
	$node->start;
	set_server($node, 'feature_engine.inject_wait', undef);
	return;
}

sql(q{
	CREATE EXTENSION feature_engine;
	ALTER DATABASE postgres SET search_path = public, feature_engine;
	CREATE TABLE orders (id bigserial PRIMARY KEY, customer int, total numeric(10,2),
	                     at timestamptz DEFAULT now() - random() * interval '40 days');
	CREATE TABLE refunds (customer bigint, amount numeric, at timestamptz);
	CREATE TABLE moves (id bigserial, customer int, total int) PARTITION BY RANGE (total);
	CREATE TABLE m0 PARTITION OF moves FOR VALUES FROM (0) TO (30);
	CREATE TABLE m1 (total int, customer int, id bigint NOT NULL);
	ALTER TABLE moves ATTACH PARTITION m1 FOR VALUES FROM (30) TO (60);
	CREATE TABLE m2 PARTITION OF moves FOR VALUES FROM (60) TO (100);
	ALTER TABLE orders REPLICA IDENTITY FULL; ALTER TABLE refunds REPLICA IDENTITY FULL;
	ALTER TABLE m0 REPLICA IDENTITY FULL; ALTER TABLE m1 REPLICA IDENTITY FULL; ALTER TABLE m2 REPLICA IDENTITY FULL});
workload();
sql("SELECT create_feature_view('$_', \$\$$views{$_}\$\$)") foreach sort keys %views;
is_exact('at first');

# ---- crashes and restarts with nothing but rows ----
foreach my $mode ('immediate', 'fast')
{
	wait_for_checkpoint();
	workload();
	my $from = -s $node->logfile;
	$node->stop($mode);
	$node->start;
	is_exact("$mode restart");
	was($from, "$mode restart", united => 1, parts => 1);
}

# ---- a worker's death ----
workload();
sql('SELECT pg_terminate_backend(ingest_pid) FROM worker_status()');
workload();
is_exact('the worker was ended');

# ---- TRUNCATE, before and after which the server crashes ----
wait_for_checkpoint();
hold();
sql('TRUNCATE refunds; TRUNCATE m1');
workload();
crash();
is_exact('TRUNCATE of one of several, then a crash');
workload();
wait_for_checkpoint();
hold();
sql('TRUNCATE orders, refunds, moves');
workload();
my $from = -s $node->logfile;
crash();
is_exact('TRUNCATE of all, then a crash');
was($from, 'TRUNCATE of all', united => 1, parts => 1);
unlike(log_since($from), qr/is built anew/, 'TRUNCATE of all: nothing was built anew');

# ---- partitions change while the worker does not look, then the server crashes ----
foreach my $case (
	[ 'a new partition', 1, q{CREATE TABLE m3 PARTITION OF moves FOR VALUES FROM (100) TO (200);
		ALTER TABLE m3 REPLICA IDENTITY FULL; INSERT INTO moves (customer, total) VALUES (1, 100), (2, 150)} ],
	[ 'DETACH', 0, q{ALTER TABLE moves DETACH PARTITION m3} ],
	[ 'ATTACH', 0, q{ALTER TABLE moves ATTACH PARTITION m3 FOR VALUES FROM (100) TO (200)} ],
	[ 'DETACH and ATTACH', 0, q{ALTER TABLE moves DETACH PARTITION m3; DELETE FROM m3 WHERE customer = 1;
		ALTER TABLE moves ATTACH PARTITION m3 FOR VALUES FROM (100) TO (200)} ],
	[ 'DROP and CREATE', 0, q{DROP TABLE m3; CREATE TABLE m3 PARTITION OF moves FOR VALUES FROM (100) TO (200);
		ALTER TABLE m3 REPLICA IDENTITY FULL; INSERT INTO moves (customer, total) VALUES (3, 100), (2, 150)} ],
	[ 'DROP', 0, 'DROP TABLE m3' ])
{
	my ($what, $loaded, $command) = @$case;
	wait_for_checkpoint();
	hold();
	workload();
	sql($command);
	workload();
	my $from = -s $node->logfile;
	crash();
	is_exact("$what, then a crash");
	was($from, $what, united => 1, parts => $loaded);
}

# ---- the same, and the worker alone is ended: state is in memory still ----
foreach my $case (
	[ 'a new partition', q{CREATE TABLE m3 PARTITION OF moves FOR VALUES FROM (100) TO (200);
		ALTER TABLE m3 REPLICA IDENTITY FULL; INSERT INTO moves (customer, total) VALUES (1, 100), (2, 150)} ],
	[ 'DETACH', q{ALTER TABLE moves DETACH PARTITION m3} ])
{
	my ($what, $command) = @$case;
	hold();
	workload();
	sql($command);
	sql('SELECT pg_terminate_backend(ingest_pid) FROM worker_status()');
	set_server($node, 'feature_engine.inject_wait', undef);
	is_exact("$what, then another worker");
}

# ---- partitions that change while they are read ----
# (CREATE TABLE ... PARTITION OF waits for readers, ATTACH does not)
sql(q{CREATE TABLE m5 (LIKE moves); INSERT INTO m5 (id, customer, total) SELECT 1, n % 10, 300 + n FROM generate_series(1, 50) n;
      ALTER TABLE m5 REPLICA IDENTITY FULL});
foreach my $where ('backfill-lock', 'backfill-locked', 'backfill-scan')
{
	set_server($node, 'feature_engine.inject_wait', $where);
	sql(q{SELECT refresh_feature_view('parts'); SELECT refresh_feature_view('united')});
	$node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'feature_engine backfill'});
	sql(q{CREATE TABLE m4 PARTITION OF moves FOR VALUES FROM (200) TO (300); ALTER TABLE m4 REPLICA IDENTITY FULL;
	      INSERT INTO moves (customer, total) SELECT n % 10, 200 + n FROM generate_series(1, 50) n})
	  if $where eq 'backfill-lock';
	sql('ALTER TABLE moves ATTACH PARTITION m5 FOR VALUES FROM (300) TO (400)');
	workload();
	set_server($node, 'feature_engine.inject_wait', undef);
	is_exact("partitions came at $where");
	sql('ALTER TABLE moves DETACH PARTITION m5; INSERT INTO m5 (id, customer, total) VALUES (1, 1, 333)');
	is_exact('one went after it');
}

done_testing();
