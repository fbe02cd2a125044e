# What newer servers can do and older ones cannot: each is exact or refused, as everything else.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node set_server);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => 'logical_decoding_work_mem = 64kB');
my $path = 'SET search_path = public, feature_engine;';

sub sql { my ($query) = @_; return $node->safe_psql('postgres', "$path $query") }

sub create { my ($name, $query) = @_; return sql("SELECT create_feature_view('$name', \$\$$query\$\$)") }

sub refused
{
	my ($query, $pattern, $what) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "$path SELECT create_feature_view('no', \$\$$query\$\$)");
	return like($err, $pattern, $what);
}

# Rows as streamed, which must be those of the batch query.
sub exact
{
	my ($view, $expected, $what) = @_;
	is(sql("SELECT sync('60 s') IS NOT NULL; SELECT * FROM check_feature_view('$view')"), 't', "$what: streamed = batch");
	return is(sql("SELECT * FROM $view ORDER BY 1"), $expected, $what);
}

my $version = int(sql('SHOW server_version_num') / 10000);
sql('CREATE EXTENSION feature_engine;
	CREATE TABLE t (id int PRIMARY KEY, k int, v int, at timestamptz, doubled int GENERATED ALWAYS AS (v * 2) STORED);
	ALTER TABLE t REPLICA IDENTITY FULL;
	INSERT INTO t SELECT n, n % 2, n FROM generate_series(1, 10) n');

# on every version, so that there is always something to test
create('doubled', 'SELECT k, sum(doubled) AS s FROM t GROUP BY k');
create('plain', 'SELECT k, sum(v) AS s FROM t GROUP BY k');
exact('doubled', "0|60\n1|50", 'a stored generated column');

# 18 looks whether a transaction that it has to spill was rolled back meanwhile: as the worker is
# held, it was. It is dropped, with its subtransactions, and is no error.
set_server($node, 'feature_engine.inject_wait', 'ingest');
foreach my $rows (100, 150, 200, 250, 300, 400, 3000)
{
	# somewhere among these the outer transaction is the largest when the buffer is full
	sql("BEGIN; INSERT INTO t SELECT n, 0, n FROM generate_series(10000, 10000 + $rows) n;
		SAVEPOINT a; INSERT INTO t SELECT n, 0, n FROM generate_series(20000, 19990 + $rows) n;
		SAVEPOINT b; INSERT INTO t SELECT n, 0, n FROM generate_series(30000, 29980 + $rows) n; ROLLBACK");
}
sql('BEGIN; SAVEPOINT a; INSERT INTO t SELECT n, 0, n FROM generate_series(1001, 3000) n; ROLLBACK TO a;
	UPDATE t SET v = v + 1 WHERE id = 1; COMMIT');
set_server($node, 'feature_engine.inject_wait', undef);
exact('doubled', "0|60\n1|52", 'large transactions that were rolled back, in whole or in part');
sql('UPDATE t SET v = v - 1 WHERE id = 1');
unlike(slurp_file($node->logfile), qr/feature_engine ingest +ERROR/, 'nor are they an error');

# SQL/JSON constructors came with 16
if ($version >= 16)
{
	refused(q{SELECT k, max(JSON_OBJECT('at': at RETURNING text)) AS j FROM t GROUP BY k},
		qr/an aggregate's argument of a feature view must not depend on the session/,
		'a timestamptz in JSON_OBJECT() depends on the time zone');
	create('json', q{SELECT k, max(JSON_OBJECT('v': v RETURNING text)) AS j FROM t WHERE v < 3 GROUP BY k});
	exact('json', qq{0|{"v" : 2}\n1|{"v" : 1}}, 'a number in JSON_OBJECT() does not');
	sql('UPDATE t SET v = 0 WHERE id = 2');
	is(sql(q{SELECT sync() IS NOT NULL; SELECT j FROM json WHERE k = 0}), qq(t\n{"v" : 0}), 'and follows');
	sql('UPDATE t SET v = 2 WHERE id = 2');
}

# SET EXPRESSION and infinite intervals came with 17
if ($version >= 17)
{
	my $generation = q{SELECT generation FROM feature_view_catalog WHERE name = 'plain'};
	my $before = sql($generation);
	sql('ALTER TABLE t ALTER COLUMN doubled SET EXPRESSION AS (v * 10)');
	exact('doubled', "0|300\n1|250", 'an expression that is changed later');
	sql('BEGIN; ALTER TABLE t ALTER COLUMN doubled SET EXPRESSION AS (-v); DELETE FROM t WHERE id = 10;
		UPDATE t SET v = 20 WHERE id = 1; COMMIT');
	exact('doubled', "0|-20\n1|-44", 'and with changes of rows in the same transaction');
	sql('BEGIN; ALTER TABLE t ALTER COLUMN doubled SET EXPRESSION AS (v); ROLLBACK; INSERT INTO t VALUES (11, 0, 5)');
	exact('doubled', "0|-25\n1|-44", 'and rolled back');
	is(sql($generation), $before, 'a view without the column is not rebuilt');
	refused(q{SELECT k, count(*) FILTER (WHERE rolling(at, 'infinity')) AS n FROM t GROUP BY k},
		qr/width of a window must not have months or years/, 'a window has an end');
}

# virtual columns came with 18
if ($version >= 18)
{
	sql('ALTER TABLE t ADD COLUMN virtual int GENERATED ALWAYS AS (v + 1) VIRTUAL');
	refused('SELECT k, sum(virtual) AS s FROM t GROUP BY k',
		qr/virtual generated columns are not supported in a feature view\n(?s:.*)HINT:  .* are not in the write-ahead log/,
		'virtual columns are not in the log');
	create('beside', 'SELECT k, count(*) AS n, max(v) AS m FROM t GROUP BY k');
	sql('INSERT INTO t VALUES (12, 0, 100)');
	exact('beside', "0|6|100\n1|5|20", 'a table that has some');
}

$node->stop('fast');
done_testing();
