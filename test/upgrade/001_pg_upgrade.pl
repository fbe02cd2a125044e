# pg_upgrade from each older version that is installed: definitions and options come along, views
# are built from their tables again, with a warning, and are right. Nothing of ours runs while
# pg_upgrade does. From 17 on it takes replication slots along, and refuses to begin while one has
# something to read: an orderly shutdown of a server at rest leaves nothing.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node orders_view is_exact);
use PostgreSQL::Test::Utils;
use Test::More;

my $new_bin = dirname((grep { -x } map { "$_/pg_upgrade" } split /:/, $ENV{PATH})[0]);
my ($new_version) = `$new_bin/postgres --version` =~ /\) (\d+)/;
my @initdb = ('-k', '-E', 'UTF8', '--locale=C');

# What a program prints, and its exit status.
sub output_of { my (@command) = @_; my $out = ''; IPC::Run::run(\@command, '<', '/dev/null', '>&', \$out); return ($out, $? >> 8) }

sub sql { my ($node, $query) = @_; return $node->safe_psql('shop', $query) }
sub log_since { my ($node, $from) = @_; return substr(slurp_file($node->logfile), $from) }

sub change
{
	my ($node) = @_;
	sql($node, q{INSERT INTO orders (customer, total) SELECT n % 30, n FROM generate_series(1, 300) n;
		UPDATE orders SET customer = customer + 1 WHERE id % 7 = 0; DELETE FROM orders WHERE id % 11 = 3;
		INSERT INTO "Odd Ones"."T t" SELECT 'k' || n % 7, 'v' || n, now() - n * interval '1 hour' FROM generate_series(1, 50) n;
		DELETE FROM "Odd Ones"."T t" WHERE "the Value" LIKE '%3'});
	return;
}

# All but the query's text, which versions print differently.
my $definitions = q{SELECT name, relation, definition, owner, source, redis_key, ttl, online, append_only, on_error, created_at
	FROM feature_views ORDER BY name};

# Two views, one of a user of its own, with options and names that must be quoted.
sub fill
{
	my ($node) = @_;
	$node->safe_psql('postgres', 'CREATE DATABASE shop; CREATE ROLE analyst');
	orders_view($node, 'shop');
	sql($node, q{
		CREATE SCHEMA "Odd Ones" AUTHORIZATION analyst;
		SET ROLE analyst;
		CREATE TABLE "Odd Ones"."T t" ("the Key" text, "the Value" text, at timestamptz);
		ALTER TABLE "Odd Ones"."T t" REPLICA IDENTITY FULL;
		SET search_path = "Odd Ones", feature_engine, public;
		SELECT create_feature_view('"Per key"', $$
			SELECT "the Key", count(*) AS n, min("the Value") AS least, max("the Value") AS "Most",
			       count(DISTINCT "the Value") AS different, last("the Value", at) AS latest,
			       count(*) FILTER (WHERE rolling(at, '1 day')) AS today
			FROM "Odd Ones"."T t" GROUP BY 1 $$, redis_key => 'odd:{the Key}', ttl => '3 days')});
	change($node);
	return;
}

sub all_exact
{
	my ($node, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_exact($node, 'shop', $what);
	is(sql($node, q{SELECT count(*) FROM feature_views v, LATERAL check_feature_view(v.relation::text) c}), 0, "$what: all views");
	cmp_ok(sql($node, 'SELECT count(*) FROM "Odd Ones"."Per key"'), '>', 5, "$what: with something in them");
	return;
}

sub pg_upgrade
{
	my ($old, $bin, $new, @more) = @_;
	chdir dirname($new->data_dir) or die 'cannot change the directory';
	return output_of("$new_bin/pg_upgrade", '--no-sync', '--retain', '-d', $old->data_dir, '-D', $new->data_dir,
		'-b', $bin, '-B', $new_bin, '-s', $new->host, '-p', $old->port, '-P', $new->port, @more);
}

# Everything that the two servers wrote in their logs on behalf of pg_upgrade.
sub logs_of_upgrade
{
	my ($new) = @_;
	return join('', map { slurp_file($_) } glob($new->data_dir . '/pg_upgrade_output.d/*/log/*'));
}

# Where changes are in the log that were not taken in, pg_upgrade does not begin. (They were made
# while the library was not loaded.)
sub refuses_at_work
{
	my ($old, $bin, $new) = @_;
	$old->stop('fast');
	$old->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$old->start;
	change($old);
	$old->stop('fast');
	my ($out, $rc) = pg_upgrade($old, $bin, $new, '--check');
	isnt($rc, 0, 'changes that were not taken in: pg_upgrade refuses');
	like($out, qr/logical replication slots that cannot be upgraded/, 'and says why') or diag($out, logs_of_upgrade($new));
	$old->append_conf('postgresql.conf', "shared_preload_libraries = 'feature_engine'");
	my $from = -s $old->logfile;
	$old->start;
	all_exact($old, 'the old server once more');
	is(scalar(() = log_since($old, $from) =~ /has been loaded with/g), 2, 'nothing had to be built anew');
	return;
}

# A server may give tables a storage parameter of its own that a newer version's older minor
# release does not know: then nobody can upgrade from the one to the other.
sub unknown_parameter
{
	my ($new, $bin) = @_;
	my ($name) = logs_of_upgrade($new) =~ /ERROR:  unrecognized parameter "(\w+)"/;
	return if !defined $name || slurp_file(__FILE__) =~ /\b$name\b/;
	return join(' ', map { `$_/postgres --version` =~ s/\s*\(Debian.*\n//r } $bin, $new_bin)
		. ": the first sets a storage parameter, $name, that the second does not know";
}

sub upgrade_from
{
	my ($version, $bin) = @_;
	note("from $version to $new_version");
	# at rest: autovacuum commits at any time
	my $old = feature_node("from_$version", bin => $bin, initdb => \@initdb,
		conf => "feature_engine.checkpoint_interval = 1s\nautovacuum = off");
	my $new = feature_node("after_$version", initdb => \@initdb, stopped => 1, conf => 'feature_engine.checkpoint_interval = 1s');
	fill($old);
	all_exact($old, "PostgreSQL $version");
	ok($old->poll_query_until('shop', 'SELECT count(*) = 2 FROM feature_engine.checkpoint'), 'state is stored');
	refuses_at_work($old, $bin, $new) if $version >= 17;
	my $before = sql($old, $definitions);
	my $database = sql($old, q{SELECT oid FROM pg_database WHERE datname = 'shop'});
	sql($old, q{SELECT sync('90 s')});
	$old->stop('fast');

	my ($out, $rc) = pg_upgrade($old, $bin, $new);
	my $unknown = $rc ? unknown_parameter($new, $bin) : undef;
	if (defined $unknown)
	{
		diag("skipped: $unknown");
		SKIP: { skip($unknown, 1); }
		return;
	}
	is($rc, 0, "pg_upgrade from $version to $new_version") or diag($out, logs_of_upgrade($new));
	like(logs_of_upgrade($new), qr/database system is ready/, 'its servers have written logs');
	unlike(logs_of_upgrade($new), qr/feature_engine (launcher|ingest|capture|checkpoint|pusher)/, 'without a worker of ours');

	my $from = -s $new->logfile // 0;
	$new->start;
	is(sql($new, q{SELECT oid FROM pg_database WHERE datname = 'shop'}), $database, 'the database is the same one');
	is(sql($new, $definitions), $before, 'so are definitions and options');
	all_exact($new, 'after the upgrade');
	foreach my $view ('customer_features', 'Per key')
	{
		like(log_since($new, $from),
			qr/WARNING:  feature view "$view" is built from its table: its stored state cannot be used\n.*DETAIL:  it was written by another server/,
			"$view: the log tells why");
	}
	unlike(log_since($new, $from), qr/has been loaded|PANIC|terminated by signal/, 'nothing was loaded, nothing failed');
	unlike(log_since($new, $from), qr/replication slot .* cannot be used/, 'the slot that came along is of use') if $version >= 17;
	change($new);
	all_exact($new, 'after the upgrade, with changes');

	my $lsn = sql($new, q{SELECT sync('90 s')});
	change($new);
	ok($new->poll_query_until('shop', "SELECT count(*) = 2 AND min(replay_lsn) >= '$lsn' FROM feature_engine.checkpoint"),
		'state is stored again');
	$from = -s $new->logfile;
	$new->restart;
	all_exact($new, 'and restarted');
	is(scalar(() = log_since($new, $from) =~ /has been loaded with/g), 2, 'from what it stored');
	$new->stop('fast');
	return;
}

foreach my $older (split / /, $ENV{FE_OLDER_PG} // '')
{
	upgrade_from(split /=/, $older);
}
done_testing();
