# Backfills that do not get to their end at the first go: the worker or the helper is stopped,
# a row fails the view while others are read, the view or its table goes away, a commit is in
# the log and not yet visible. No helper is left behind and no lock; the other views go on,
# and in the end all values are exact.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => 'autovacuum = off');
# everybody but one writer below commits without standbys
$ENV{PGOPTIONS} = '-c synchronous_commit=local';
orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');

sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub poll { my ($query, $what) = @_; return ok($node->poll_query_until('postgres', $query), $what) }
sub wait_for { my ($query) = @_; return $node->poll_query_until('postgres', $query) || BAIL_OUT("never true: $query") }

# Rows go through a queue of 1 MB: of this table there is far more than it takes in.
sql(q{
	CREATE TABLE big (id int PRIMARY KEY, k int, v int, filler text);
	ALTER TABLE big REPLICA IDENTITY FULL;
	INSERT INTO big SELECT n, n % 100, n % 7 + 1, repeat('x', 500) FROM generate_series(1, 30000) n});
my $query = q{SELECT k, count(*) AS n, sum(840 / v) AS total, max(v) AS hi, max(filler) AS f FROM big GROUP BY k};

my $worker = q{FROM pg_stat_activity WHERE backend_type = 'feature_engine ingest'};
my $helper = q{FROM pg_stat_activity WHERE backend_type = 'feature_engine backfill'};
my $locks = q{FROM pg_locks JOIN pg_stat_activity USING (pid)
	WHERE relation = 'big'::regclass AND granted AND backend_type = 'feature_engine backfill'};

sub hold { my ($point) = @_; return set_server($node, 'feature_engine.inject_wait', $point) }
sub release { return set_server($node, 'feature_engine.inject_wait', undef) }
sub create { my ($name) = @_; return sql("SELECT create_feature_view('$name', '$query')") }

# Where a backfill can be held, and how to see that it got there: the helper has been started;
# it has its lock; its snapshot is there, and the worker stands still; rows are about to be read.
my @points = (
	[ 'backfill-lock', "SELECT count(*) = 1 $helper" ],
	[ 'backfill-locked', "SELECT count(*) = 1 $locks" ],
	[ 'backfill-snapshot', "SELECT count(*) = 1 $locks" ],
	[ 'backfill-scan', q{SELECT state = 'backfilling' FROM status WHERE name = 'of_big'} ]);

# A backfill of the view of_big is under way, and stays where it is.
sub held_at
{
	my ($point) = @_;
	hold($point->[0]);
	create('of_big');
	return wait_for($point->[1]);
}

sub nothing_left
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return poll("SELECT NOT EXISTS (SELECT $helper)", "$what: no helper is left, and so no lock");
}

# Both views are exact, the helper is gone; then the view goes, too.
sub comes_to_its_end
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	poll(q{SELECT bool_and(state = 'live') FROM status}, "$what: live at last");
	is(sql(qq{
		SELECT sync('90 s') > '0/0';
		SELECT count(*) = (SELECT count(DISTINCT k) FROM big), count(*) FILTER (WHERE s::text IS DISTINCT FROM b::text)
		FROM   of_big s FULL JOIN ($query) b USING (k)}), "t\nt|0", "$what: streamed = batch");
	is_exact($node, 'postgres', "$what: the other view");
	nothing_left($what);
	sql(q{SELECT drop_feature_view('of_big')});
	return;
}

sub write_something
{
	my ($n) = @_;
	sql("DELETE FROM big WHERE id % 1000 = $n; UPDATE big SET k = 101 WHERE id % 1000 = $n + 50;
		INSERT INTO big SELECT 100000 * ($n + 1) + n, n % 100, 3, 'new' FROM generate_series(1, 50) n;
		INSERT INTO orders (customer, total) VALUES ($n % 20, 1)");
	return;
}

# SIGTERM

my $n = 0;
foreach my $who ([ worker => $worker ], [ helper => $helper ])
{
	my ($name, $process) = @$who;
	foreach my $point (@points)
	{
		my $what = "SIGTERM of the $name at $point->[0]";
		my $from = -s $node->logfile;
		held_at($point);
		write_something(++$n);
		is(sql("SELECT pg_terminate_backend(pid, 60000) $process"), 't', $what);
		write_something(++$n);
		release();
		comes_to_its_end($what);
		unlike(substr(slurp_file($node->logfile), $from), qr/ERROR:|is discarded/, "$what: no error, no other state lost");
	}
}

# ... of the worker, while the helper waits for room in the queue
held_at($points[3]);
hold('ingest');
wait_for("SELECT wait_event = 'MessageQueueSend' $helper");
write_something(++$n);
is(sql("SELECT pg_terminate_backend(pid, 60000) $worker"), 't', 'SIGTERM of the worker while rows come');
nothing_left('before there is another worker at work');
release();
comes_to_its_end('SIGTERM of the worker while rows come');

# ... of the worker, while the helper waits for its lock behind somebody else's
held_at($points[0]);
my ($in, $out) = ("BEGIN; LOCK TABLE big; SELECT 'locked';\n", '');
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \my $err, IPC::Run::timeout(170));
$session->pump until $out =~ /^locked/m;
release();
wait_for("SELECT count(*) = 1 $helper AND wait_event_type = 'Lock'");
my $waiting = sql("SELECT pid $helper");
is(sql("SELECT pg_terminate_backend(pid, 60000) $worker"), 't', 'SIGTERM of the worker while the helper waits for its lock');
wait_for("SELECT count(*) = 1 $worker");
sql('INSERT INTO orders (customer, total) VALUES (3, 30)');
is(sql(q{SELECT count(*) FROM check_feature_view('customer_features')}), 0, 'the other view does not wait for that lock');
$in .= "COMMIT; SELECT 'unlocked';\n";
$session->pump until $out =~ /^unlocked/m;
$session->finish;
comes_to_its_end('SIGTERM of the worker while the helper waits for its lock');
is(sql("SELECT count(*) FROM pg_stat_activity WHERE pid = $waiting"), 0, 'the helper that waited is gone');

# A row fails the view

my $stopped = q{SELECT state = 'failed' AND last_error = 'division by zero' FROM status WHERE name = 'of_big'};
sub bad { my ($action) = @_; return sql($action eq 'come' ? 'INSERT INTO big VALUES (0, 7, 0, NULL)' : 'DELETE FROM big WHERE id = 0') }

# ... that is written while others are read; another view of the same table is built by the same backfill
hold('backfill-scan');
sql("BEGIN; SELECT create_feature_view('of_big', '$query');
	SELECT create_feature_view('counts', 'SELECT k, count(*) AS n FROM big GROUP BY k'); COMMIT");
wait_for(q{SELECT bool_and(state = 'backfilling') FROM status WHERE name <> 'customer_features'});
bad('come');
poll($stopped, 'a row fails the view during its backfill');
release();
poll(q{SELECT state = 'live' FROM status WHERE name = 'counts'}, '... but not the other view of that backfill');
is(sql(q{SELECT sync(view => 'counts') > '0/0';
	SELECT count(*) FROM counts s FULL JOIN (SELECT k, count(*) AS n FROM big GROUP BY k) b USING (k)
	WHERE  s.n IS DISTINCT FROM b.n}),
	"t\n0", '... which is exact');
# each further try meets it among the existing rows
my $first = sql(q{SELECT last_error_at FROM status WHERE name = 'of_big'});
poll("SELECT state = 'failed' AND last_error_at > '$first' FROM status WHERE name = 'of_big'", '... and each further try meets it among the existing rows');
nothing_left('a failed try');
bad('go');
comes_to_its_end('the row is gone');
sql(q{SELECT drop_feature_view('counts')});

# ... with no other view: there is nothing to read for, and the helper goes although it is held
held_at($points[3]);
bad('come');
poll($stopped, 'a row fails the only view of a backfill');
nothing_left('the only view failed');
bad('go');
release();
comes_to_its_end('the row is gone again');

# The view is dropped, or the table, at each point

foreach my $point (@points)
{
	my $what = "dropped at $point->[0]";
	held_at($point);
	sql(q{SELECT drop_feature_view('of_big')});
	write_something(++$n);
	release();
	nothing_left($what);
	is_exact($node, 'postgres', $what);
	is(sql('SELECT count(*) FROM status'), 1, "$what: it is not in status");
	create('of_big');
	comes_to_its_end("$what, and created again");
}

sql('CREATE TABLE small (k int); INSERT INTO small VALUES (1)');
hold('backfill-lock');
sql(q{SELECT create_feature_view('of_small', 'SELECT k, count(*) AS n FROM small GROUP BY k', append_only => true)});
wait_for("SELECT count(*) = 1 $helper");
sql('SET client_min_messages = error; DROP TABLE small CASCADE');
release();
nothing_left('table dropped before the helper came to it');
is_exact($node, 'postgres', 'table dropped before the helper came to it');

# A commit that waits for a standby is decoded, but not visible; and there is no younger
# one: its number is not below the snapshot's xmax.

sub waiting_commit
{
	my ($command) = @_;
	my $writer = IPC::Run::start(
		[ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', 'SET synchronous_commit = on', '-c', $command ],
		'<', '/dev/null', '>', '/dev/null', '2>', '/dev/null', IPC::Run::timeout(170));
	wait_for(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'});
	return $writer;
}

held_at($points[1]);
set_server($node, 'synchronous_standby_names', 'there_is_none');
sql('CHECKPOINT');	# it is the checkpointer that lets commits wait, from its next look at the settings
my $writer = waiting_commit('WITH i AS (INSERT INTO orders (customer, total) VALUES (77, 77)) INSERT INTO big VALUES (-1, 77, 1, NULL)');
poll('SELECT count(*) = 1 FROM customer_features WHERE customer = 77', 'a commit is decoded');
is(sql(q{SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint <= backend_xid::text::bigint
	FROM pg_stat_activity WHERE wait_event = 'SyncRep'}), 't', '... and its number is not below xmax');
release();
# two rounds of the worker, and of what it keeps in step
my $retaken = sql('SELECT pg_current_wal_insert_lsn()');
poll("SELECT pg_current_wal_insert_lsn() > pg_lsn '$retaken' + 400", '... so that snapshots are taken and given up');
is(sql(q{SELECT state FROM status WHERE name = 'of_big'}), 'waiting', '... and no row is read');
set_server($node, 'synchronous_standby_names', undef);
$writer->finish;
poll(q{SELECT sync(view => 'of_big') > '0/0'}, '... until it is visible');
is(sql('SELECT n FROM of_big WHERE k = 77'), sql('SELECT count(*) FROM big WHERE k = 77'), '... and counted once');
comes_to_its_end('a commit that is decoded and not visible');

$node->stop('fast');
done_testing();
