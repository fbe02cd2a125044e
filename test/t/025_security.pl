# What security.sql cannot show, for it needs other users' sessions and a restart; and an upgrade of
# the extension under live views, which keeps state and workers.
use strict;
use warnings;
use File::Basename;
use File::Copy;
use File::Path qw(make_path);
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact set_server eventually);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# ---- an installation of our own, which the next version is put into ----

# PostgreSQL finds its files relative to its binaries: these are copied, all else is linked.
my $own = PostgreSQL::Test::Utils::tempdir();
my $installed = $ENV{FE_PREFIX} // '';
my %dir = map { chomp(my $d = `pg_config --$_`); $_ => $d } qw(bindir pkglibdir sharedir);
my %new = map { $_ => $own . substr($dir{$_}, length $installed) } keys %dir;
make_path(values %new);
system_or_bail('sh', '-c', "cp -L '$dir{bindir}'/* '$new{bindir}/'");
system_or_bail('cp', '-rs', "$dir{$_}/.", $new{$_}) foreach qw(pkglibdir sharedir);

local $ENV{PATH} = "$new{bindir}:$ENV{PATH}";
my $node = feature_node('main', conf => "feature_engine.checkpoint_interval = '1h'\nlog_connections = off");
sub sql { my ($query, @options) = @_; return $node->safe_psql('postgres', "SET search_path = public, feature_engine; $query", @options) }

is(sql('SELECT setting FROM pg_config() WHERE name = \'SHAREDIR\''), $new{sharedir}, 'the server uses our own installation');
orders_view($node, 'postgres');
is_exact($node, 'postgres', 'version 1.0');

# Writes a file into the installation, in place of a link.
sub put
{
	my ($name, $text) = @_;
	my $path = "$new{sharedir}/extension/$name";
	unlink $path;
	append_to_file($path, $text);
	return;
}

my $control = slurp_file("$dir{sharedir}/extension/feature_engine.control");
$control =~ s/^default_version = '1\.0'/default_version = '1.1'/m or die 'no version 1.0';
put('feature_engine.control', $control);
# a view of version 1.0 with a column more
my ($feature_views) = slurp_file("$dir{sharedir}/extension/feature_engine--1.0.sql") =~ /^CREATE (VIEW feature_views AS\n.*?;)$/ms;
$feature_views =~ s/\nFROM feature_view_catalog c JOIN/,\n\tc.purpose\nFROM feature_view_catalog c JOIN/ or die 'feature_views looks different now';
put('feature_engine--1.0--1.1.sql', <<"END");
\\echo Use "ALTER EXTENSION feature_engine UPDATE" to load this file. \\quit
ALTER TABLE feature_view_catalog ADD COLUMN purpose text;
COMMENT ON COLUMN feature_view_catalog.purpose IS 'new in 1.1';
CREATE FUNCTION now_utc() RETURNS timestamp LANGUAGE sql STABLE
AS 'SELECT feature_engine.now() AT TIME ZONE ''UTC''';
CREATE OR REPLACE $feature_views
END

# ---- the upgrade ----

# Whatever were built anew would now stop before its first row.
set_server($node, 'feature_engine.inject_wait', 'backfill-lock');
my $workers = 'SELECT ingest_pid, capture_pid, failures FROM worker_status()';
my $before = sql($workers);
my $events = sql('SELECT events FROM status');
my $rows = sql('SELECT count(*) FROM orders');

sql('BEGIN; ALTER EXTENSION feature_engine UPDATE; INSERT INTO orders (customer, total) VALUES (1, 1); ROLLBACK');
is(sql(q{SELECT extversion FROM pg_extension WHERE extname = 'feature_engine'}), '1.0', 'an upgrade that is rolled back');
is_exact($node, 'postgres', 'rolled back');

sql(q{BEGIN; UPDATE orders SET total = total + 1 WHERE customer < 5; ALTER EXTENSION feature_engine UPDATE;
	INSERT INTO orders (customer, total) SELECT n, n FROM generate_series(1, 30) n; COMMIT});
is(sql(q{SELECT extversion FROM pg_extension WHERE extname = 'feature_engine'}), '1.1', 'upgraded');
is_exact($node, 'postgres', 'rows written by the upgrading transaction');
sql('INSERT INTO orders (customer, total) VALUES (7, 77)');
is_exact($node, 'postgres', 'rows written after the upgrade');
is(sql($workers), $before, 'the workers are the same');
is(sql('SELECT state FROM status'), 'live', 'the view is live');
is(sql("SELECT events - $events FROM status"), 2 * sql("SELECT count(*) FROM orders WHERE customer < 5 AND id <= $rows") + 31, 'only changes have been applied since');
is(sql('SELECT purpose IS NULL, now_utc() IS NOT NULL FROM feature_views'), 't|t', 'what is new is there');

# ---- and on ----

$node->restart;
is_exact($node, 'postgres', 'after a restart, from the checkpoint that 1.0 has begun');
is(sql('SELECT state FROM status'), 'live', 'nothing was built anew');
set_server($node, 'feature_engine.inject_wait', undef);
sql(q{SELECT create_feature_view('second', 'SELECT customer, count(*) AS n FROM orders GROUP BY customer')});
sql(q{SELECT sync()});
is(sql('SELECT sum(n) FROM second'), sql('SELECT count(*) FROM orders'), 'a new view');

# ---- rights that change while nobody reads ----

$node->safe_psql('postgres', q{
	CREATE ROLE analyst;
	GRANT SELECT ON orders TO analyst;
	GRANT CREATE ON SCHEMA public TO analyst;
	SET ROLE analyst;
	SELECT feature_engine.create_feature_view('theirs', 'SELECT customer, count(*) AS n FROM orders GROUP BY customer')});
is(sql(q{SELECT sync(view => 'theirs') IS NOT NULL; SELECT sum(n) FROM theirs}), "t\n" . sql('SELECT count(*) FROM orders'), 'a view of another role');

sub error_of { my ($query) = @_; my ($rc, $out, $err) = $node->psql('postgres', "SET search_path = public, feature_engine; $query"); return $rc ? $err : '' }

foreach my $case (
	[ 'REVOKE SELECT ON orders FROM analyst', 'GRANT SELECT ON orders TO analyst', qr/permission denied for table orders/ ],
	[ 'ALTER TABLE orders ENABLE ROW LEVEL SECURITY', 'ALTER TABLE orders DISABLE ROW LEVEL SECURITY', qr/row-level security is enabled on table "orders"/ ])
{
	my ($take, $give, $error) = @$case;

	# noticed by the worker with the next row, whoever reads or does not
	sql("$take; INSERT INTO orders (customer, total) VALUES (3, 3)");
	ok($node->poll_query_until('postgres', q{SELECT state <> 'live' FROM feature_engine.status WHERE name = 'theirs'}), "$take: the view stops");
	like(sql(q{SELECT last_error FROM status WHERE name = 'theirs'}), $error, "$take: status tells why");
	like(error_of('SELECT * FROM theirs'), $error, "$take: and reading it does");
	is(sql(q{SELECT sync(view => 'second') IS NOT NULL; SELECT sum(n) FROM second}), "t\n" . sql('SELECT count(*) FROM orders'), "$take: other views go on");

	# across a restart, too
	$node->restart;
	like(error_of('SELECT * FROM theirs'), $error, "$take: restarted");
	is(sql(q{SELECT sync(view => 'second') IS NOT NULL}), 't', "$take: restarted, other views go on");

	# given back, it is built again by itself
	sql($give);
	ok($node->poll_query_until('postgres', q{SELECT state = 'live' FROM feature_engine.status WHERE name = 'theirs'}), "$give: the view comes back");
	is(sql(q{SELECT sync(view => 'theirs') IS NOT NULL; SELECT sum(n) FROM theirs}), "t\n" . sql('SELECT count(*) FROM orders'), "$give: with every row");
}

# ---- what a dump brings back: the owner, and a definition that nobody can change ----

$node->safe_psql('postgres', 'CREATE DATABASE restored');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
my @load = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump);
$node->command_ok([ @load, '-d', $node->connstr('restored') ], 'restored');
is($node->safe_psql('restored', q{SELECT feature_engine.sync() IS NOT NULL; SELECT sum(n) FROM theirs}), "t\n" . sql('SELECT count(*) FROM orders'), 'the view of another role, restored');
my $rights = q{SELECT v.owner, r.rolsuper, d.reloptions FROM feature_engine.feature_views v
	JOIN pg_class d ON d.oid = v.definition JOIN pg_roles r ON r.oid = d.relowner WHERE name = 'theirs'};
is($node->safe_psql('restored', $rights), 'analyst|t|{security_invoker=true}', 'its owner, and that of its definition');
is($node->safe_psql('restored', q{SET ROLE analyst; SELECT count(*) FROM feature_engine.check_feature_view('theirs')}), 0, 'its owner can check it');

$node->stop('fast');
done_testing();
