# Memory, disk and the log stay bounded: by large transactions, by entities that come and go, by
# views that are dropped while they are built, by a Redis that is away, by time that passes.
#
# FE_LONG=1 (make test-long) runs the same with 10 million rows in a transaction, a million
# entities in a view, and so on: half an hour, and some 20 GB of disk.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Proxy;
use FeatureEngine::Memory qw(private_memory peak_memory worker_pid);
use FeatureEngine::Test qw(feature_node eventually set_server);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $long = $ENV{FE_LONG};
my %size = $long
  ? (rows => 10_000_000, narrow => 2_000_000, entities => 1_000_000, rounds => 5, backfill => 1_000_000,
	known => 100_000, changes => 50, passing => 200_000, rate => 5_000, step => 6)
  : (rows => 300_000, narrow => 60_000, entities => 100_000, rounds => 3, backfill => 30_000,
	known => 5_000, changes => 6, passing => 30_000, rate => 200, step => 12);
my $patience = $long ? '3600 s' : '150 s';

my $node = feature_node('main', conf => q{
	feature_engine.memory = 1GB
	feature_engine.checkpoint_interval = 1s
	logical_decoding_work_mem = 4MB
	max_wal_size = 8GB
	autovacuum = off});

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', "SET search_path = public, feature_engine;\n$query", timeout => 3600);
}
sub poll { my ($query, $what) = @_; return ok($node->poll_query_until('postgres', $query), $what) }
sub wait_for { my ($query) = @_; return $node->poll_query_until('postgres', $query) || BAIL_OUT("never true: $query") }
sub synced { sql("SELECT sync('$patience')"); return }
sub hold { return set_server($node, 'feature_engine.inject_wait', $_[0]) }

# Runs SQL and waits until it is taken in; the peak of private memory meanwhile. It is noted
# in the test's output: docs/testing.md tells what to expect.
sub taken_in
{
	my ($what, $query) = @_;
	my $begin = time;
	sql($query);
	my $written = time - $begin;
	my $peak = peak_memory($node, 'postgres', "SELECT feature_engine.sync('$patience')", 'ingest', 'capture');
	note sprintf('%s: written in %d s, taken in %d s later, ingest %d MB, capture %d MB', $what, $written,
		time - $begin - $written, $peak->{ingest} / 1024, $peak->{capture} / 1024);
	return $peak;
}

# The view differs from its definition in so many entities.
sub differing
{
	my ($view, $definition) = @_;
	return sql(qq{
		SELECT count(*) FROM $view s FULL JOIN ($definition) b USING (k)
		WHERE  s::text IS DISTINCT FROM b::text});
}

sub status_of { my ($column, $view) = @_; return sql("SELECT sum($column) FROM status WHERE name LIKE '$view'") }

# ---- a large transaction -----------------------------------------------------------------

# The batch is at most 64 MB in memory, then in a file; the rows evaluated of it, 128 MB; a
# few more for caches. The decoder spills above logical_decoding_work_mem.
my %bound = (ingest => 256 * 1024, capture => 48 * 1024);

sub is_bounded
{
	my ($peak, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok($peak->{$_}, '<', $bound{$_}, "$what: memory of the $_ worker, in kB") foreach sort keys %$peak;
	return;
}

sub left_on_disk
{
	my @files = glob($node->data_dir . '/base/pgsql_tmp/*');
	return join(' ', @files, glob($node->data_dir . '/pg_replslot/feature_engine*/*.spill'));
}

my $of_big = 'SELECT k, count(*) AS n, sum(v) AS total, sum(length(note)) AS length FROM big GROUP BY k';
sql(qq{
	CREATE EXTENSION feature_engine;
	CREATE TABLE big (id int, k int, v numeric, note text);
	ALTER TABLE big REPLICA IDENTITY FULL;
	SELECT create_feature_view('of_big', \$\$$of_big\$\$, online => '{}');
	SELECT sync()});
my $ingest = worker_pid($node, 'postgres', 'ingest');
my $spilled = q{SELECT spill_bytes FROM pg_stat_replication_slots WHERE slot_name LIKE 'feature_engine%'};

my $peak = taken_in("$size{rows} rows",
	"INSERT INTO big SELECT n, n % 20000, n % 1000, repeat('x', 200 + n % 100) FROM generate_series(1, $size{rows}) n");
is(differing('of_big', $of_big), 0, 'a large transaction: streamed = batch');
is_bounded($peak, 'a large transaction');
poll("SELECT ($spilled) > 0", '... which was decoded by way of the disk');
$peak = taken_in("$size{rows} rows deleted", 'DELETE FROM big');
is(sql('SELECT count(*) FROM of_big'), 0, 'the same rows deleted');
is_bounded($peak, '... in one transaction');
sql("BEGIN; INSERT INTO big SELECT n, n, n, 'x' FROM generate_series(1, 100000) n; ROLLBACK;
	INSERT INTO big VALUES (1, 1, 1, 'the only one'); SELECT sync()");
is(differing('of_big', $of_big), 0, '... and others rolled back');
eventually('no file of a transaction is left', sub { left_on_disk() eq '' });
is(worker_pid($node, 'postgres', 'ingest'), $ingest, 'it was one worker all the time');

# Twenty views of one table: a row is evaluated for each, and the memory that they
# may need in the worst case is far more than there is.
my $of_shared = 'SELECT k, count(*) AS n, sum(v) AS total, max(v + %d) AS high FROM shared WHERE v %% 20 <> %1$d GROUP BY k';
sql("CREATE TABLE shared (k int, v int); ALTER TABLE shared REPLICA IDENTITY FULL");
sql(join('; ', map { sprintf("SELECT create_feature_view('shared_$_', '$of_shared', online => '{}')", $_) } 1 .. 20));
synced();
set_server($node, 'feature_engine.memory', $long ? '256MB' : '64MB');
$peak = taken_in("$size{narrow} rows, 20 views",
	"INSERT INTO shared SELECT n % 1000, n % 7 FROM generate_series(1, $size{narrow}) n");
is(differing("shared_$_", sprintf($of_shared, $_)), 0, "a large transaction in view $_ of 20: streamed = batch") foreach (1, 3, 20);
is_bounded($peak, '... in 20 views');
$peak = taken_in("$size{narrow} rows updated, 20 views", 'UPDATE shared SET v = v + 1');
is(differing("shared_$_", sprintf($of_shared, $_)), 0, "updated, in view $_") foreach (1, 7, 20);
is_bounded($peak, '... in 20 views');
cmp_ok(private_memory($ingest), '<', 96 * 1024, 'what large transactions needed is given back, in kB');
is(worker_pid($node, 'postgres', 'ingest'), $ingest, 'still the same worker');
sql(q{SELECT count(drop_feature_view(name)) FROM feature_views; DROP TABLE big, shared});
set_server($node, 'feature_engine.memory', '1GB');

# ---- entities that come and go ----------------------------------------------------------------

my $of_events = q{SELECT k, count(*) AS n, min(v) AS low, count(*) FILTER (WHERE rolling(ts, '7 days')) AS n7 FROM events GROUP BY k};
sql(qq{
	CREATE TABLE events (k text, v int, ts timestamptz DEFAULT now() - random() * interval '8 days');
	ALTER TABLE events REPLICA IDENTITY FULL;
	SELECT create_feature_view('of_events', \$\$$of_events\$\$, online => '{}');
	SELECT create_feature_view('other', 'SELECT v, count(*) AS n FROM events GROUP BY v', online => '{}');
	SELECT sync()});

sub vanished { my ($what) = @_; return poll(q{SELECT entities = 0 AND tombstones = 0 FROM feature_engine.status WHERE name = 'of_events'}, $what) }

my @full;
my @empty;
foreach my $round (1 .. $size{rounds})
{
	# other keys each time, of different lengths
	sql("INSERT INTO events (k, v) SELECT left(md5(n || '-$round'), 8 + n % 20) || n, n % 10 FROM generate_series(1, $size{entities}) n");
	synced();
	is(status_of('entities', 'of_events'), $size{entities}, "round $round: entities that have come");
	push @full, status_of('memory_bytes', 'of_events');
	is(differing('of_events', $of_events), 0, "round $round: streamed = batch") if $round == $size{rounds};

	# a tombstone keeps the place until what is stored knows; then nothing does
	sql('DELETE FROM events');
	synced();
	vanished("round $round: they have gone, and so have their tombstones after a checkpoint");
	push @empty, status_of('memory_bytes', 'of_events');

	# so much was enough once: with pages lost on the way it would not be again
	next if $round > 1;
	set_server($node, 'feature_engine.memory', int($full[0] / 1024 / 1024 * 1.5) + 16 . 'MB');
}
note "bytes with $size{entities} entities: @full; with none: @empty";
cmp_ok($full[$_], '<', $full[0] * 1.1, 'round ' . ($_ + 1) . ': no more memory than in the first') foreach 1 .. $#full;
# the hash table has grown to what is 16 bytes an entity, and does not shrink
cmp_ok($empty[$_], '<', 24 * $size{entities} + 65536, 'round ' . ($_ + 1) . ': what remains is the hash table') foreach 0 .. $#empty;
cmp_ok($empty[-1], '<', $empty[0] * 1.1 + 65536, '... which does not grow');
cmp_ok(sql('SELECT sum(length(data)) FROM checkpoint_chunk'), '<', 4 * $full[0], 'what is stored of all rounds is bounded, too');

# No checkpoint: tombstones stay, as many as entities have vanished. Then they go.
sql("INSERT INTO events (k, v) SELECT 'last ' || n, n % 10 FROM generate_series(2, 1000) n");
my $stored = sql('SELECT sync()');
sql("INSERT INTO events (k, v) VALUES ('last', 0)");	# without a change no checkpoint is due
wait_for("SELECT min(replay_lsn) >= '$stored' FROM feature_engine.checkpoint");
hold('checkpoint');
sql('DELETE FROM events; SELECT sync()');
poll(q{SELECT tombstones = 1000 FROM feature_engine.status WHERE name = 'of_events'}, 'without a checkpoint tombstones stay');
hold(undef);
vanished('... and go after the next one');

# ---- a view dropped while it is built -----------------------------------------------------------

my $helper = q{FROM pg_stat_activity WHERE backend_type = 'feature_engine backfill'};
sql(qq{
	CREATE TABLE existing (k int, v int, note text);
	ALTER TABLE existing REPLICA IDENTITY FULL;
	INSERT INTO existing SELECT n, n % 10, repeat('x', 100) FROM generate_series(1, $size{backfill}) n});
my $of_existing = 'SELECT k, count(*) AS n, sum(v) AS total, max(note) AS note FROM existing GROUP BY k';
sub create { return sql("SELECT create_feature_view('of_existing', \$\$$of_existing\$\$, online => '{}')") }

create();
synced();
my $needed = status_of('memory_bytes', 'of_existing');
sql(q{SELECT drop_feature_view('of_existing')});
my $others = status_of('memory_bytes', '%');
poll("SELECT NOT EXISTS (SELECT $helper)", 'no helper at first');
# enough for the view once and a half
set_server($node, 'feature_engine.memory', int(($needed * 1.5 + $others) / 1024 / 1024) + 12 . 'MB');

# How it comes to a stand at a point, how to see that it did, and how it goes on once it was dropped
my ($locker, $in, $out);
sub wait_for_lock
{
	wait_for("SELECT count(*) = 1 $helper");
	($in, $out) = ("BEGIN; LOCK TABLE existing; SELECT 'locked';\n", '');
	$locker = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out,
		IPC::Run::timeout(170));
	$locker->pump until $out =~ /locked/;
	hold(undef);
	return wait_for("SELECT count(*) = 1 $helper AND wait_event_type = 'Lock'");
}
sub unlock_table { $in .= "COMMIT;\n\\q\n"; $locker->finish; return }
my $backfilling = q{SELECT state = 'backfilling' FROM feature_engine.status WHERE name = 'of_existing'};
my $some_rows = q{SELECT entities > 0 FROM feature_engine.status WHERE name = 'of_existing'};

# Rows come, held up by a change of all of them that is in the log by then.
sub catch_up
{
	wait_for($backfilling);
	sql('UPDATE existing SET v = v + 1');
	hold(undef);
	return wait_for($some_rows);
}
sub nothing { return 1 }

my @points = (
	[ 'waiting for a lock', sub { hold('backfill-lock') }, \&wait_for_lock, \&unlock_table ],
	[ 'taking a snapshot', sub { hold('backfill-snapshot') },
		sub { wait_for(qq{SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
			WHERE relation = 'existing'::regclass AND granted AND backend_type = 'feature_engine backfill'}) },
		sub { hold(undef) } ],
	[ 'about to read', sub { hold('backfill-scan') }, sub { wait_for($backfilling) }, sub { hold(undef) } ],
	[ 'reading, or just after', \&nothing, sub { wait_for($some_rows) }, \&nothing ],
	[ 'rows and changes come in', sub { hold('backfill-scan') }, \&catch_up, \&nothing ]);
foreach my $point (@points)
{
	my ($what, $stop, $reach, $go) = @$point;
	$stop->();
	create();
	$reach->();
	sql(q{SELECT drop_feature_view('of_existing')});
	$go->();
	poll("SELECT NOT EXISTS (SELECT $helper)", "dropped while $what: no helper is left");
	sql("INSERT INTO events (k, v) VALUES ('$what', 77); SELECT sync('$patience')");
	is(sql("SELECT n FROM of_events WHERE k = '$what'"), 1, '... another view goes on');
	cmp_ok(status_of('memory_bytes', '%') - $others, '<', 1024 * 1024, '... and memory is back');
}
create();
synced();
is(differing('of_existing', $of_existing), 0, 'created at last, there is room for it');
$node->stop('fast');

# ---- a Redis that is away -----------------------------------------------------------------------------

my $redis = FeatureEngine::Test::Redis->start;
$node = feature_node('online', redis => $redis, conf => q{
	feature_engine.checkpoint_interval = 1s
	max_wal_size = 8GB
	autovacuum = off});
my $of_items = q{SELECT k, count(*) AS n, sum(v) AS total, count(*) FILTER (WHERE rolling(ts, '1 hour')) AS recent FROM items GROUP BY k};
sql(qq{
	CREATE EXTENSION feature_engine;
	CREATE TABLE items (k int PRIMARY KEY, v int, ts timestamptz DEFAULT feature_engine.now());
	ALTER TABLE items REPLICA IDENTITY FULL;
	SELECT set_clock('2026-03-01 00:00Z');
	INSERT INTO items SELECT n, 0 FROM generate_series(1, $size{known}) n;
	SELECT create_feature_view('of_items', \$\$$of_items\$\$, redis_key => 'i:{k}');
	SELECT create_feature_view('expiring', \$\$$of_items\$\$, redis_key => 'e:{k}', ttl => '1 day');
	SELECT sync('$patience', redis => true)});

# Hashes of a prefix, a line each, in order.
sub in_redis
{
	my ($prefix) = @_;
	return join("\n", sort split /\n/, $redis->cli('EVAL', q{
		local lines = {}
		for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
			lines[#lines + 1] = string.sub(key, #ARGV[1] + 1) .. '|' ..
				table.concat(redis.call('HMGET', key, 'n', 'total', 'recent'), '|')
		end
		return table.concat(lines, '\n')}, 0, $prefix));
}

sub in_sql
{
	my ($view, $condition) = @_;
	return join("\n", sort split /\n/, sql("SELECT * FROM $view WHERE $condition"));
}

# Two tests: every entity of both views is in Redis as it is in SQL, and no other.
sub is_pushed
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	sql("SELECT sync('$patience', redis => true)");
	eventually("$what: Redis equals SQL", sub { in_redis('i:') eq in_sql('of_items', 'true') });
	eventually('... also where keys expire', sub { in_redis('e:') eq in_sql('expiring', 'true') });
	return;
}

# Lines, not words: that of a difference would be long.
is_pushed('at first');
my $pusher = worker_pid($node, 'postgres', 'pusher');
my $before = private_memory($pusher);
my $most = 0;
my $entities = 0;
my $crowd = 0;

$redis->save_and_stop;
poll('SELECT NOT bool_or(redis_connected) FROM feature_engine.status', 'Redis is away');
foreach my $round (1 .. $size{changes})
{
	my $first = 1_000_000_000 + $round * $size{passing};
	sql("UPDATE items SET v = v + 1 WHERE k <= $size{known};
		SELECT set_clock('2026-03-01 00:00Z'::timestamptz + $round * interval '20 min');
		INSERT INTO items SELECT $first + n, 1 FROM generate_series(1, $size{passing}) n;
		SELECT sync('$patience')");
	sql("DELETE FROM items WHERE k >= $first; SELECT sync('$patience')");
	my ($dirty, $there) = split /\|/, sql(q{SELECT max(dirty), max(entities) FROM status});
	$crowd = $there if $there > $crowd;
	$entities++ if $dirty <= $there;
	my $memory = private_memory($pusher);
	$most = $memory if $memory > $most;
}
my $lsn = sql("SELECT sync('$patience')");
sql("UPDATE items SET v = v + 1 WHERE k = 7");
note "at most $crowd entities after $size{changes} rounds of $size{passing}; pusher $before kB, at most $most kB";
is($entities, $size{changes}, 'the backlog is never longer than there are entities');
# tombstones for Redis are given up at 100,000; one more round may come before they are
cmp_ok($crowd, '<', 100_000 + $size{known} + 2 * $size{passing}, 'entities that vanish do not pile up');
cmp_ok($most - $before, '<', 16 * 1024, 'the pusher has grown by less than 16 MB');
is(worker_pid($node, 'postgres', 'pusher'), $pusher, '... and is the same process');
poll("SELECT min(replay_lsn) >= '$lsn' FROM feature_engine.checkpoint", 'checkpoints go on');
poll("SELECT bool_and(confirmed_flush_lsn >= '$lsn') FROM pg_replication_slots", 'the slot moves on');
eventually('... and so does the log that it holds back', sub {
	sql("CHECKPOINT; UPDATE items SET v = v + 1 WHERE k = 7");
	sql("SELECT bool_and(restart_lsn >= '$lsn') FROM pg_replication_slots") eq 't' });
sql("DELETE FROM items WHERE k <= 100; INSERT INTO items VALUES (2000000000, 5)");
$redis->start_again;
is_pushed('Redis is back, with old data');

# Unreachable, while expiries run out: a change brings an entity back whole, time does not
my $proxy = FeatureEngine::Proxy->start($redis);
set_server($node, 'feature_engine.redis_url', $proxy->url);
is_pushed('behind a proxy');
$proxy->mode('deaf');
sql("UPDATE items SET v = v + 1 WHERE k % 10 = 3; SELECT sync('$patience')");
$redis->cli('EVAL', q{for _, key in ipairs(redis.call('KEYS', 'e:*')) do redis.call('PEXPIRE', key, 0) end}, 0);
is(in_redis('e:'), '', 'everything has expired');
sql(q{SELECT set_clock('2026-03-03 00:00Z')});
$proxy->mode('pass');
sql("SELECT sync('$patience', redis => true)");
eventually('windows have moved on: Redis equals SQL', sub { in_redis('i:') eq in_sql('of_items', 'true') });
is(in_redis('e:'), in_sql('expiring', 'k % 10 = 3'), 'what has changed is there again, whole, and what has not is not');
is($redis->cli('EVAL', q{
	local n = 0
	for _, key in ipairs(redis.call('KEYS', 'e:*')) do
		if redis.call('TTL', key) <= 0 then n = n + 1 end
	end
	return n}, 0), 0, '... with an expiry');
sql(q{SELECT count(drop_feature_view(name)) FROM feature_views WHERE name <> 'nothing'; TRUNCATE items});

# ---- a week -----------------------------------------------------------------------------------------------

my $of_visits = q{SELECT k, count(*) AS n, max(v) AS high FROM visits WHERE rolling(ts, '1 hour') GROUP BY k};
sql(qq{
	CREATE TABLE visits (k text, v int, ts timestamptz);
	ALTER TABLE visits REPLICA IDENTITY FULL;
	SELECT create_feature_view('of_visits', \$\$$of_visits\$\$);
	SELECT sync('$patience')});
my (@entities, @panes, @bytes, @pushing);
foreach my $step (1 .. 7 * 24 / $size{step})
{
	# the same number of rows an hour, of keys that never come again
	sql(qq{SELECT set_clock('2026-03-03 00:00Z'::timestamptz + $step * interval '$size{step} hours');
		INSERT INTO visits SELECT md5(n || '-$step'), n % 10, now() - n * interval '1 hour' / $size{rate}
		FROM   generate_series(1, $size{rate} * $size{step}) n;
		DELETE FROM visits WHERE ts < now() - interval '1 day'} =~ s/\bnow\(\)/feature_engine.now()/gr);
	sql("SELECT sync('$patience', redis => true)");
	# those are kept besides whose last row left the window less than exact_horizon ago
	wait_for(q{SELECT entities BETWEEN n AND n * 1.05 + 1 FROM feature_engine.status, (SELECT count(*) AS n FROM public.of_visits) v
		WHERE name = 'of_visits'});
	my @now = split /\|/, sql(q{SELECT entities, panes, memory_bytes FROM status WHERE name = 'of_visits'});
	push @entities, $now[0];
	push @panes, $now[1];
	push @bytes, $now[2];
	push @pushing, private_memory(worker_pid($node, 'postgres', 'pusher'));
}
note "entities @entities; panes @panes; bytes @bytes; pusher, kB, @pushing";
is(differing('of_visits', $of_visits), 0, 'after a week: streamed = batch');
# a step's rows may all be there for a moment, before the sweep has seen the clock: the hash table keeps room for them
my $table = 65536 + 24 * $size{rate} * $size{step};
my @series = ([ 'entities', 0, @entities ], [ 'panes', 0, @panes ], [ 'bytes', $table, @bytes ], [ 'kB of the pusher', 4096, @pushing ]);
foreach (@series)
{
	my ($what, $slack, $first, @later) = @$_;
	my ($worst) = sort { $b <=> $a } @later;
	cmp_ok($worst, '<=', $first * 1.2 + $slack, "a week of passing visitors: $what do not grow");
}
sql(q{SELECT set_clock('2026-03-20 00:00Z')});
poll(q{SELECT entities = 0 AND panes = 0 FROM feature_engine.status WHERE name = 'of_visits'}, 'and when nobody comes, nothing is left');
eventually('... in Redis neither', sub { $redis->count == 0 });

$node->stop('fast');
done_testing();
