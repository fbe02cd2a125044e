# The replication slot in other hands: dropped, invalidated, held by somebody, or of our name
# and not ours. Each is noticed, told in the log and in status, and healed as soon as it can
# be, without a wrong value. (004_slot has max_wal_lag, and slots dropped while nobody works.)
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server wait_in_log eventually);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => "feature_engine.checkpoint_interval = 1s\nmin_wal_size = 32MB");
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }
sub poll { my ($query, $what) = @_; return ok($node->poll_query_until('postgres', $query), $what) }
sub log_since { my ($from) = @_; return substr(slurp_file($node->logfile), $from) }

sub change
{
	sql(q{INSERT INTO orders (customer, total) SELECT n % 30, n FROM generate_series(1, 300) n;
		UPDATE orders SET customer = customer + 1 WHERE id % 7 = 0; DELETE FROM orders WHERE id % 11 = 3});
	return;
}

# Ends the capture worker and does something to the slot before it is back.
sub snatch
{
	my ($call) = @_;
	sql(qq{DO \$\$
		BEGIN
			LOOP
				BEGIN
					PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL;
					PERFORM $call;
					RETURN;
				EXCEPTION WHEN object_in_use THEN
				END;
			END LOOP;
		END \$\$});
	return;
}

orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');
my $name = sql(q{SELECT slot_name FROM pg_replication_slots});
my $rebuilt = qr/state of the feature views of this database is discarded: their replication slot (is gone|was moved)/;

# Values are right, the log has told, and it stays that way.
sub is_healed
{
	my ($from, $pattern, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_exact($node, 'postgres', $what);
	like(log_since($from), $pattern, "$what: the log tells");
	change();
	is_exact($node, 'postgres', "$what, with changes");
	is(sql('SELECT name, state, worker FROM status'), 'customer_features|live|running', "$what: status is well");
	is(sql('SELECT slot_name, plugin, active FROM pg_replication_slots'), "$name|feature_engine|t", "$what: with a slot");
	unlike(log_since($from), qr/PANIC|terminated by signal/, "$what: nothing crashed");
	return;
}

# ---- dropped by hand ----
my $from = -s $node->logfile;
snatch("pg_drop_replication_slot('$name')");
sql('DELETE FROM orders WHERE customer = 3; INSERT INTO orders (customer, total) VALUES (50, 1)');
is_healed($from, $rebuilt, 'dropped');

# dropped, and made anew by the same hand
$from = -s $node->logfile;
set_server($node, 'feature_engine.inject_error', 'ingest');
poll('SELECT NOT active FROM pg_replication_slots', 'nobody works');
sql("SELECT pg_drop_replication_slot('$name')");
sql('DELETE FROM orders WHERE customer = 4; INSERT INTO orders (customer, total) VALUES (51, 1)');
sql("SELECT pg_create_logical_replication_slot('$name', 'feature_engine')");
set_server($node, 'feature_engine.inject_error', undef);
is_healed($from, $rebuilt, 'dropped and made anew');

# ---- of our name, but not ours ----
foreach my $maker ("pg_create_logical_replication_slot('$name', 'test_decoding')", "pg_create_physical_replication_slot('$name', true)")
{
	my ($what) = $maker =~ /(logical|physical)/;
	$what = "somebody's $what slot";
	$from = -s $node->logfile;
	set_server($node, 'feature_engine.inject_error', 'ingest');
	poll('SELECT NOT active FROM pg_replication_slots', 'nobody works');
	sql("SELECT pg_drop_replication_slot('$name')");
	sql("SELECT $maker");
	set_server($node, 'feature_engine.inject_error', undef);
	change();
	poll(qq{SELECT last_error LIKE 'replication slot "$name" was not made by feature_engine%Feature views of the database need a slot of that name.%HINT: Drop it with pg_drop_replication_slot()%' FROM status},
		"$what: status says what to do");
	like(log_since($from), qr/ERROR:  replication slot "$name" was not made by feature_engine\n.*DETAIL: .*\n.*HINT:  Drop it/, "$what: so does the log");
	is(sql('SELECT count(*) FROM pg_replication_slots'), 1, "$what: it is let alone");
	sql("SELECT pg_drop_replication_slot('$name')");
	is_healed($from, $rebuilt, "$what, dropped");
}

# ---- invalidated ----
$from = -s $node->logfile;
set_server($node, 'max_slot_wal_keep_size', '1MB');
set_server($node, 'feature_engine.inject_wait', 'ingest');
change();
sql(q{SELECT count(pg_logical_emit_message(false, 'x', repeat('x', 1000000))) FROM generate_series(1, 40)});
sql('SELECT pg_switch_wal()');
sql('CHECKPOINT');
poll(q{SELECT wal_status = 'lost' FROM pg_replication_slots}, 'the slot has lost its log');
sql('DELETE FROM orders WHERE customer = 5');
set_server($node, 'max_slot_wal_keep_size', undef);
set_server($node, 'feature_engine.inject_wait', undef);
is_healed($from, qr/WARNING:  replication slot "$name" cannot be used any more\n.*DETAIL:  The server has invalidated it; see max_slot_wal_keep_size\. It is dropped/,
	'invalidated');

# the same found at start: there is a checkpoint, which is of no use
my $lsn = sql(q{SELECT sync('90 s')});
change();
poll("SELECT coalesce(min(replay_lsn) >= '$lsn', false) FROM feature_engine.checkpoint", 'a checkpoint is stored');
$from = -s $node->logfile;
set_server($node, 'feature_engine.inject_error', 'ingest');
poll('SELECT NOT active FROM pg_replication_slots', 'nobody works');
set_server($node, 'max_slot_wal_keep_size', '1MB');
sql(q{DELETE FROM orders WHERE customer = 6; SELECT count(pg_logical_emit_message(false, 'x', repeat('x', 1000000))) FROM generate_series(1, 40)});
sql('SELECT pg_switch_wal()');
sql('CHECKPOINT');
poll(q{SELECT wal_status = 'lost' FROM pg_replication_slots}, 'the slot has lost its log');
$node->stop('immediate');
$node->append_conf('postgresql.auto.conf', "max_slot_wal_keep_size = -1\nfeature_engine.inject_error = ''");
$node->start;
is_healed($from, qr/WARNING:  feature view "customer_features" is built from its table: its stored state cannot be used\n.*DETAIL:  the replication slot does not reach back to it/,
	'invalidated before a start');

# ---- held by somebody else ----
# What he is sent and confirms is lost for us: then views are built anew.
foreach my $confirms (0, 1)
{
	my $what = $confirms ? 'held, and moved on' : 'held';
	my ($out, $err) = ('', '');
	$from = -s $node->logfile;
	set_server($node, 'feature_engine.inject_error', 'ingest');
	poll('SELECT NOT active FROM pg_replication_slots', 'nobody works');
	my $holder = IPC::Run::start(
		[ 'pg_recvlogical', '-d', $node->connstr('postgres'), '-S', $name, '--start', '--no-loop',
			'-s', $confirms ? 1 : 0, '-f', $confirms ? '-' : '/dev/full' ],
		'<', '/dev/null', '>', \$out, '2>', \$err, IPC::Run::timeout(90));
	poll('SELECT active FROM pg_replication_slots', "$what: somebody has it");
	set_server($node, 'feature_engine.inject_error', undef);
	poll(q{SELECT last_error LIKE 'replication slot "feature_engine_%" is active for PID %' FROM status}, "$what: status says so");
	like(log_since($from), qr/ERROR:  replication slot "$name" is active for PID \d+/, "$what: so does the log");
	if ($confirms)
	{
		$lsn = sql('INSERT INTO orders (customer, total) VALUES (52, 1); DELETE FROM orders WHERE customer = 7; SELECT pg_current_wal_lsn()');
		poll("SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots", "$what: changes are his");
	}
	my ($rc, undef, $timeout) = $node->psql('postgres', q{SELECT sync('200 ms')});
	like($timeout, qr/timed out/, "$what: sync() does not pretend");
	$holder->signal('INT');
	$holder->finish;
	is_healed($from, $confirms ? $rebuilt : qr/is active for PID/, $what);
	unlike(log_since($from), $rebuilt, "$what: nothing is rebuilt") unless $confirms;
}

# A slot that somebody else makes with our plugin: it says what it takes, and is nobody's but his.
sql(q{SELECT pg_create_logical_replication_slot('curious', 'feature_engine')});
foreach my $try ([ q{'nonsense', '1'}, qr/output plugin "feature_engine" has no option "nonsense"\nHINT:  Its option is "tables"\./ ],
	[ q{'tables', 'orders'}, qr/invalid value for option "tables" of output plugin "feature_engine"\nDETAIL:  Unexpected input at character 1\./ ])
{
	my ($rc, undef, $error) = $node->psql('postgres', "SELECT count(*) FROM pg_logical_slot_get_binary_changes('curious', NULL, NULL, $try->[0])");
	like($error, $try->[1], "a slot of our plugin: $try->[0]");
}
change();
is(sql(q{SELECT count(*) FROM pg_logical_slot_get_binary_changes('curious', NULL, NULL)}), 0, 'without tables it has nothing');
sql(q{SELECT pg_drop_replication_slot('curious')});

$node->stop('fast');
done_testing();
