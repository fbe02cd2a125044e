# A view with on_error => 'skip' leaves out rows whose expressions raise an error, through
# backfills, restarts, crashes and transactions that do not fit into memory; each time it is
# what the batch query gives without such rows. The log tells, but not of every row, and
# neither other views nor the source's transactions are concerned.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server wait_in_log);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main',
	conf => "restart_after_crash = on\nfeature_engine.checkpoint_interval = 1s\nlogical_decoding_work_mem = 64kB\n"
	  . 'feature_engine.memory = 64MB');
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub log_since { my ($from) = @_; return substr(slurp_file($node->logfile), $from) }
sub skipped { return sql(q{SELECT skipped FROM status WHERE name = 'quotients'}) }

my $definition = q{SELECT customer, count(*) AS n, sum(1000 / (total - 13)) AS q, max(sqrt(total - 2)) AS r,
	count(*) FILTER (WHERE rolling(at, '7 days')) AS n7 FROM orders %s GROUP BY customer};

# sqrt() of what is below 2 and the division by zero are left out.
sub skips_exactly
{
	my ($what) = @_;
	my $batch = sprintf $definition, 'WHERE total <> 13 AND total >= 2';
	my ($rc, $out, $err) = $node->psql('postgres', qq{
		SELECT sync('90 s') IS NOT NULL;
		SELECT count(*) FROM quotients s FULL JOIN ($batch) b USING (customer)
		WHERE s::text IS DISTINCT FROM b::text});
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is("$out$err", "t\n0", "$what: as the batch query without the rows in error");
	return is_exact($node, 'postgres', "$what, the other view");
}

# Inserts, updates and deletes of good rows and bad ones, bad to good and back.
sub workload
{
	$node->psql('postgres', $_) foreach (
		q{INSERT INTO orders (customer, total) SELECT n % 50, n % 20 FROM generate_series(1, 500) n},
		q{UPDATE orders SET total = (total * 7)::int % 20 WHERE id % 7 = 0},
		q{UPDATE orders SET customer = customer + 1 WHERE id % 5 = 0},
		q{DELETE FROM orders WHERE id % 11 = 3},
		q{BEGIN; TRUNCATE orders; ROLLBACK});
	return;
}

sub wait_for_checkpoint
{
	my $lsn = sql(q{SELECT sync('90 s')});
	sql('INSERT INTO orders (customer, total) VALUES (1, 1)');
	$node->poll_query_until('postgres',
		"SELECT count(*) = 2 AND coalesce(min(replay_lsn) >= '$lsn', false) FROM feature_engine.checkpoint")
	  or die 'no checkpoint';
	return;
}

# ---- the backfill, and rows as they come ----
orders_view($node, 'postgres');
sql(sprintf q{SELECT create_feature_view('quotients', $$ %s $$, on_error => 'skip')}, sprintf $definition, '');
skips_exactly('backfill');
is(skipped(), 2, 'two of its rows were left out');
my $from = -s $node->logfile;
my $pid = sql('SELECT ingest_pid FROM feature_engine.worker_status()');
workload();
skips_exactly('changes of all kinds');
is(sql('SELECT ingest_pid FROM feature_engine.worker_status()'), $pid, 'by the same worker');
sql('INSERT INTO orders (customer, total) VALUES (7, 13)') foreach 1 .. 20;
skips_exactly('20 commits in error');
unlike(log_since($from), qr/ERROR|division by zero/, 'the log does not tell of each of them');
my @told = slurp_file($node->logfile) =~ /feature view "quotients" has left out \d+ row images/g;
is(scalar @told, 1, 'it has told once');
is(sql(q{SELECT state || ' ' || last_error FROM status WHERE name = 'quotients'}), 'live division by zero',
	'status tells the last error of a view that is live');

# ---- a transaction in which half of the rows are in error, decoded from disk and applied in passes ----
my $before = skipped();
sql('INSERT INTO orders (customer, total) SELECT n % 3000, 12 + n % 2 FROM generate_series(1, 200000) n');
skips_exactly('a large transaction');
is(skipped() - $before, 100_000, 'each of its rows in error is counted once');
$before = skipped();
my $in_error = sql('SELECT count(*) FROM orders WHERE total = 13');
sql('DELETE FROM orders WHERE total IN (12, 13)');
skips_exactly('a large deletion');
is(skipped() - $before, $in_error, 'rows that were left out are left out when they go');

# ---- errors and crashes on the way ----
foreach my $point ('decoded', 'merge', 'merged', 'checkpoint-stored')
{
	set_server($node, 'feature_engine.inject_error', $point);
	$from = -s $node->logfile;
	workload();
	wait_in_log($node, qr/injected error at "$point"/, $from, "error at $point");
	set_server($node, 'feature_engine.inject_error', undef);
	skips_exactly("error at $point");
}
foreach my $point ('decoded', 'merging', 'merged', 'checkpoint-chunks', 'checkpoint-stored')
{
	wait_for_checkpoint();
	$from = -s $node->logfile;
	$node->append_conf('postgresql.conf', "feature_engine.inject_crash = '$point'");
	$node->reload;
	workload();
	wait_in_log($node, qr/terminated by signal 9/, $from, "crash at $point");
	$node->append_conf('postgresql.conf', "feature_engine.inject_crash = ''");
	$node->reload;
	$node->poll_query_until('postgres', 'SELECT true');
	workload();
	skips_exactly("crash at $point");
	like(log_since($from), qr/feature view "quotients" has been loaded with \d+ entities/, "crash at $point: loaded");
	unlike(log_since($from), qr/cannot be used|has stopped/, "crash at $point: not rebuilt");
}

# ---- restarts: rows skipped before the checkpoint, after it, and on both sides of a retraction ----
foreach my $mode ('fast', 'immediate')
{
	sql('INSERT INTO orders (customer, total) SELECT n, 13 FROM generate_series(1, 50) n');
	wait_for_checkpoint();
	set_server($node, 'feature_engine.checkpoint_interval', '1h');
	sql('DELETE FROM orders WHERE total = 13 AND customer < 25; UPDATE orders SET total = 14 WHERE total = 13;
		 INSERT INTO orders (customer, total) SELECT n, 13 FROM generate_series(1, 50) n');
	$node->stop($mode);
	$node->start;
	skips_exactly("$mode restart");
	sql('DELETE FROM orders WHERE total = 13');
	skips_exactly("after the $mode restart");
	set_server($node, 'feature_engine.checkpoint_interval', undef);
}

# ---- what is not the expression's fault is no reason to leave a row out ----
$before = skipped();
set_server($node, 'feature_engine.inject_wait', 'decoded');
sql('INSERT INTO orders (customer, total) SELECT n, 3 FROM generate_series(1, 50) n');
sql('SELECT pg_cancel_backend(ingest_pid), pg_terminate_backend(ingest_pid) FROM feature_engine.worker_status()');
set_server($node, 'feature_engine.inject_wait', undef);
skips_exactly('a worker that was told to end');
is(skipped(), $before, 'it has left nothing out');

done_testing();
