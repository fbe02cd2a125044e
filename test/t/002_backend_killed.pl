# Sessions that end in the middle of what they do, one after the other more rudely.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact wait_in_log eventually);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

# After a crash of one process the server restarts all, as it does by default.
my $node = feature_node('main', conf => "restart_after_crash = on\nlogical_decoding_work_mem = 64kB");
orders_view($node, 'postgres');
is_exact($node, 'postgres', 'at first');

sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }

# A session with an open transaction that has changed much; returns its process id.
my ($in, $out, $session);
sub open_transaction
{
	($in, $out) = ("BEGIN;
		INSERT INTO orders (customer, total) SELECT n % 30, n FROM generate_series(1, 20000) n;
		SAVEPOINT s;
		DELETE FROM orders WHERE customer < 5;
		SELECT 'pid ' || pg_backend_pid();\n", '');
	$session = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
		'<', \$in, '>', \$out, '2>', \my $err, IPC::Run::timeout(60));
	$session->pump until $out =~ /pid (\d+)/;
	return $1;
}

sub close_session { $session->kill_kill; return }

my $pid = open_transaction();
$in .= "ROLLBACK; SELECT 'done';\n";
$session->pump until $out =~ /done/;
is_exact($node, 'postgres', 'rolled back');
close_session();

$pid = open_transaction();
$in .= "ROLLBACK TO s; COMMIT; SELECT 'done';\n";
$session->pump until $out =~ /done/;
is_exact($node, 'postgres', 'rolled back to a savepoint, then committed');
is(sql('SELECT count(*) FROM customer_features WHERE customer = 29'), 1, 'with its rows');
close_session();

$pid = open_transaction();
is(sql("SELECT pg_terminate_backend($pid, 10000)"), 't', 'session terminated');
close_session();
sql('INSERT INTO orders (customer, total) VALUES (1, 1)');
is_exact($node, 'postgres', 'session terminated');
is(sql(q{SELECT state || ' ' || worker FROM status}), 'live running', 'and nothing happened to the worker');

$pid = open_transaction();
close_session();
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
is_exact($node, 'postgres', 'client died');

# kill -9: shared memory is new, and views are rebuilt

sub killed
{
	my ($victim, $what) = @_;
	my $from = -s $node->logfile;
	my $started = sql('SELECT pid FROM pg_stat_activity WHERE backend_type = \'checkpointer\'');
	kill('KILL', $victim);
	ok($node->poll_query_until('postgres',
			"SELECT pid <> $started FROM pg_stat_activity WHERE backend_type = 'checkpointer'"),
		"$what: the server restarts by itself");
	$node->safe_psql('postgres', 'INSERT INTO orders (customer, total) VALUES (2, 2); DELETE FROM orders WHERE customer = 4 AND id % 2 = 0');
	is_exact($node, 'postgres', $what);
	like(substr(slurp_file($node->logfile), $from), qr/automatic recovery in progress/, "$what: it was a crash");
	return;
}

killed(open_transaction(), 'kill -9 of a session');
close_session();
foreach my $role ('ingest', 'launcher')
{
	killed(sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'feature_engine $role'"), "kill -9 of the $role");
}

# the same under load: what was committed is there, what was not is not
my $load = IPC::Run::start(
	[ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', q{DO $$ BEGIN
		FOR i IN 1 .. 1000000 LOOP
			INSERT INTO orders (customer, total) VALUES (i % 40, i);
			UPDATE orders SET total = total + 1 WHERE id = i / 2;
			COMMIT;
		END LOOP;
	END $$} ],
	'<', '/dev/null', '>', '/dev/null', '2>', '/dev/null');
ok($node->poll_query_until('postgres', 'SELECT max(total) > 1000 FROM orders WHERE customer = 39'), 'there is load');
killed(sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'feature_engine ingest'}), 'kill -9 of the ingest worker under load');
$load->kill_kill;

# A change that kills the worker each time does not keep the server from its work.
{
	my $from = -s $node->logfile;
	$node->append_conf('postgresql.conf', "feature_engine.inject_crash = 'decoded'");
	$node->reload;
	$node->psql('postgres', 'INSERT INTO orders (customer, total) VALUES (7, 1)');
	wait_in_log($node, qr/WARNING:  the server has crashed 3 times in a row while feature views were being worked on in database \d+\n.*DETAIL:  Their workers are started again in 2 seconds/,
		$from, 'crash after crash: the log tells');
	ok($node->poll_query_until('postgres', q{SELECT worker = 'waiting to restart' AND last_error LIKE '%crashed % times in a row%'
		FROM feature_engine.status}), 'so does status, while the server is well');
	$node->append_conf('postgresql.conf', "feature_engine.inject_crash = ''\nfeature_engine.checkpoint_interval = 1s");
	$node->reload;
	is_exact($node, 'postgres', 'the cause is gone');
	eventually('and forgotten', sub { my @files = glob($node->data_dir . '/pg_stat_tmp/feature_engine.*'); !@files });
}

$node->stop('fast');
done_testing();
