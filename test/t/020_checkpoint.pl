# State is stored in tables, and a crash at any point between decoding a change and telling
# the slot so neither loses nor repeats anything. What is stored and is not what it should
# be leads to a warning and a rebuild, never to wrong values.
use strict;
use warnings;
use File::Basename;
use File::Path qw(remove_tree);
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server wait_in_log);
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = FeatureEngine::Test::Redis->start;
my $node = feature_node('main', redis => $redis,
	conf => "restart_after_crash = on\nfeature_engine.checkpoint_interval = 1s");
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }

# Changes of every kind; the server may go down under them (psql then takes no input: an error).
sub workload
{
	foreach my $query (
		q{INSERT INTO orders (customer, total) SELECT n % 50, n FROM generate_series(1, 500) n},
		q{UPDATE orders SET customer = customer + 1, total = total * 2 WHERE id % 7 = 0},
		q{DELETE FROM orders WHERE id % 11 = 3},
		q{BEGIN; TRUNCATE orders; ROLLBACK},
		q{INSERT INTO orders (customer, total) SELECT 60 + n, n FROM generate_series(1, 20) n})
	{
		eval { $node->psql('postgres', $query) };
	}
	return;
}

# While the server may be down: by its file.
sub set_in_file
{
	my ($name, $value) = @_;
	$node->append_conf('postgresql.conf', "$name = '$value'");
	$node->reload;
	return;
}

# Everything that is committed now is in the store. Without a change no cycle is due.
sub wait_for_checkpoint
{
	my $lsn = sql(q{SELECT sync('90 s')});
	sql('INSERT INTO orders (customer, total) VALUES (1, 1)');
	$node->poll_query_until('postgres',
		"SELECT coalesce(min(replay_lsn) >= '$lsn', false) FROM feature_engine.checkpoint")
	  or die 'no checkpoint';
	return;
}

sub log_since { my ($from) = @_; return substr(slurp_file($node->logfile), $from) }

sub was_loaded
{
	my ($from, $what) = @_;
	my $log = log_since($from);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($log, qr/feature view "customer_features" has been loaded with \d+ entities/, "$what: loaded");
	unlike($log, qr/cannot be used/, "$what: not rebuilt");
	return;
}

# Where replay began in the last recovery.
sub replayed_from
{
	my ($from) = @_;
	my ($start) = log_since($from) =~ /.*Changes are replayed from (\S+) to \S+\./s;
	return $start;
}

orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');

# ---- an error, then a crash, at each point on the way of a change ----
foreach my $point (
	'decoded', 'merge', 'merged', 'checkpoint', 'checkpoint-chunks', 'checkpoint-row',
	'checkpoint-stored', 'confirmed', 'pushed')
{
	my $from = -s $node->logfile;
	set_in_file('feature_engine.inject_error', $point);
	workload();
	wait_in_log($node, qr/injected error at "$point"/, $from, "error at $point");
	set_in_file('feature_engine.inject_error', '');
	is_exact($node, 'postgres', "error at $point");
	unlike(log_since($from), qr/cannot be used|is discarded/, "error at $point: not rebuilt");
}

foreach my $point (
	'decoded', 'merge', 'merging', 'merged', 'checkpoint', 'checkpoint-chunks', 'checkpoint-row',
	'checkpoint-stored', 'confirmed', 'pushed')
{
	wait_for_checkpoint();
	my $from = -s $node->logfile;
	set_in_file('feature_engine.inject_crash', $point);
	workload();
	wait_in_log($node, qr/terminated by signal 9/, $from, "crash at $point");
	set_in_file('feature_engine.inject_crash', '');
	$node->poll_query_until('postgres', 'SELECT true');
	workload();
	is_exact($node, 'postgres', "crash at $point");
	was_loaded($from, "crash at $point");
}

# ---- stopped in the middle of a cycle, and killed there ----
foreach my $point ('checkpoint-chunks', 'checkpoint-stored')
{
	my $from = -s $node->logfile;
	wait_for_checkpoint();
	set_server($node, 'feature_engine.inject_wait', $point);
	workload();
	is_exact($node, 'postgres', "waiting at $point");
	$node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'feature_engine checkpoint'});
	my $pid = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'feature_engine checkpoint'});
	workload();
	is_exact($node, 'postgres', "still waiting at $point");
	kill 'KILL', $pid;
	wait_in_log($node, qr/\($pid|PID $pid\) was terminated by signal 9/, $from, "killed at $point");
	$node->poll_query_until('postgres', 'SELECT true');
	set_server($node, 'feature_engine.inject_wait', undef);
	is_exact($node, 'postgres', "killed at $point");
	was_loaded($from, "killed at $point");
}

# ---- shutdown ----
foreach my $mode ('fast', 'immediate')
{
	wait_for_checkpoint();
	set_server($node, 'feature_engine.checkpoint_interval', '1h');
	workload() foreach 1 .. 3;
	my $last = sql(q{SELECT sync('90 s')});
	my $from = -s $node->logfile;
	$node->stop($mode);
	$node->start;
	is_exact($node, 'postgres', "$mode restart");
	was_loaded($from, "$mode restart");
	my $start = replayed_from($from);
	is(sql("SELECT '$start'::pg_lsn >= '$last'"), $mode eq 'fast' ? 't' : 'f', "$mode restart: replayed from $start");
	set_server($node, 'feature_engine.checkpoint_interval', undef);
}

# ---- what is stored is not what it should be ----
my @damages = (
	[ 'a flipped byte', qr/its check sum is wrong/,
		'UPDATE checkpoint_chunk SET data = set_byte(data, length(data) - 1, get_byte(data, length(data) - 1) # 64)' ],
	[ 'a shortened chunk', qr/its length is not what it says/,
		'UPDATE checkpoint_chunk SET data = substring(data FROM 1 FOR length(data) - 9)' ],
	[ 'an empty chunk', qr/it is not a chunk of feature state/, q{UPDATE checkpoint_chunk SET data = ''} ],
	[ 'a lost chunk', qr/chunks of it are missing/,
		'DELETE FROM checkpoint_chunk WHERE cycle = (SELECT max(cycle) FROM checkpoint_chunk)' ],
	[ 'lost chunks', qr/chunks of it are missing/, 'DELETE FROM checkpoint_chunk' ],
	[ 'another server', qr/it was written by another server/,
		'UPDATE checkpoint SET system_identifier = system_identifier + 1' ],
	[ 'another database', qr/it was written in another database/, 'UPDATE checkpoint SET database = 1' ],
	[ 'an older format', qr/its format is another version's/, 'UPDATE checkpoint SET format = 0' ],
	[ 'an older position', qr/the replication slot does not reach back to it/,
		q{UPDATE checkpoint SET replay_lsn = '0/1'} ]);
foreach my $damage (@damages)
{
	my ($what, $why, $statement) = @$damage;
	set_server($node, 'feature_engine.checkpoint_interval', undef);
	workload();
	wait_for_checkpoint();
	# no later checkpoint shall repair it
	set_server($node, 'feature_engine.checkpoint_interval', '1h');
	$node->poll_query_until('postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'feature_engine checkpoint'});
	workload();
	sql("SET search_path = feature_engine; $statement");
	my $from = -s $node->logfile;
	$node->stop('immediate');
	$node->start;
	is_exact($node, 'postgres', $what);
	like(log_since($from), qr/WARNING:  feature view "customer_features" is built from its table: its stored state cannot be used\n.*$why/,
		"$what: told");
}

# ---- the slot is gone ----
set_server($node, 'feature_engine.checkpoint_interval', undef);
wait_for_checkpoint();
my $from = -s $node->logfile;
workload();
$node->stop('fast');
remove_tree(glob($node->data_dir . '/pg_replslot/feature_engine*'));
$node->start;
workload();
is_exact($node, 'postgres', 'dropped slot');
like(log_since($from), qr/the replication slot does not reach back to it/, 'dropped slot: told');

# ---- the slot waits for the first cycle of all, however long that takes ----
# More of the log than the slot may be behind, and everything in it taken in.
sub much_log
{
	sql(q{SELECT count(pg_logical_emit_message(false, 'filler', repeat('x', 1000000))) FROM generate_series(1, 20)});
	is_exact($node, 'postgres', 'a long log');
	return;
}
my $confirmed = q{SELECT confirmed_flush_lsn FROM pg_replication_slots};

set_server($node, 'feature_engine.inject_wait', 'checkpoint-chunks');
sql(q{SELECT refresh_feature_view('customer_features')});
workload();
is_exact($node, 'postgres', 'before the first cycle');
$node->poll_query_until('postgres',
	q{SELECT count(*) > 0 FROM feature_engine.checkpoint_chunk});
my $begun = sql('SELECT pg_current_wal_lsn()');
much_log() foreach 1 .. 3;
cmp_ok(sql("SELECT pg_wal_lsn_diff(($confirmed), '$begun')"), '<=', 0, 'first cycle: the slot waits');
$from = -s $node->logfile;
set_server($node, 'feature_engine.inject_wait', undef);
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM feature_engine.checkpoint});
workload();
$node->stop('immediate');
$node->start;
is_exact($node, 'postgres', 'crash after the first cycle');
was_loaded($from, 'crash after the first cycle');

# ---- no more checkpoints: nothing is kept for them ----
wait_for_checkpoint();
set_server($node, 'feature_engine.checkpoint_interval', '0');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM feature_engine.checkpoint_chunk});
is(sql('SELECT count(*) FROM feature_engine.checkpoint'), 0, 'switched off: nothing is stored');
my $before = sql('SELECT pg_current_wal_lsn()');
much_log();
ok($node->poll_query_until('postgres', "SELECT ($confirmed) >= '$before'"), 'switched off: the slot moves on');
set_server($node, 'feature_engine.checkpoint_interval', undef);
wait_for_checkpoint();

# ---- a view built anew does not come back as it was ----
wait_for_checkpoint();
set_server($node, 'feature_engine.inject_wait', 'backfill-scan');
sql(q{SELECT refresh_feature_view('customer_features')});
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM feature_engine.checkpoint});
is(sql('SELECT count(*) FROM feature_engine.checkpoint'), 0, 'what an earlier build stored is forgotten at once');
set_server($node, 'feature_engine.inject_wait', undef);
is_exact($node, 'postgres', 'refreshed');

wait_for_checkpoint();
set_server($node, 'feature_engine.inject_wait', 'ingest');
sql(q{SELECT refresh_feature_view('customer_features')});
$from = -s $node->logfile;
$node->stop('immediate');
$node->start;
set_server($node, 'feature_engine.inject_wait', undef);
is_exact($node, 'postgres', 'crash after a refresh');
unlike(log_since($from), qr/cannot be used|has been loaded/, 'crash after a refresh: built anew, and that is no news');

# ---- a shutdown while the worker takes over what the catalogue has ----
wait_for_checkpoint();
set_server($node, 'feature_engine.inject_wait', 'load-views');
sql(q{SELECT alter_feature_view('customer_features', ttl => '2 days')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'held at load-views'}), 'held');
$from = -s $node->logfile;
$node->stop('fast');
$node->append_conf('postgresql.conf', "feature_engine.inject_wait = ''");
$node->start;
set_server($node, 'feature_engine.inject_wait', undef);
is_exact($node, 'postgres', 'stopped while views were loaded');
unlike(log_since($from), qr/terminated by signal/, '... in order');

$node->stop('fast');
done_testing();
