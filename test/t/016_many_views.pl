# A hundred views of one table: they are read from it by few backfills, each change goes to all
# of them, each equals its batch query, and dropping them leaves nothing.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => 'max_locks_per_transaction = 256');

sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }

sql(q{
	CREATE EXTENSION feature_engine;
	ALTER DATABASE postgres SET search_path = public, feature_engine;
	CREATE TABLE events (id int PRIMARY KEY, a int, b int, name text, value numeric(10,2), at timestamptz);
	ALTER TABLE events REPLICA IDENTITY FULL;
	CREATE PROCEDURE load(first int, last int) LANGUAGE sql AS $$
		INSERT INTO events SELECT n, n % 37, n % 11, 'name ' || n % 5, n % 1000 / 7.0, now() - n % 400 * interval '1 hour'
		FROM   generate_series(first, last) n $$;
	CALL load(1, 3000)});

# View number n: its own choice of keys, filter, aggregates and windows.
sub definition
{
	my ($n) = @_;
	my $key = ('a', 'b', 'name', 'a, b', 'a + ' . int($n / 5) . ' AS shifted')[$n % 5];
	my $group = $key =~ s/ AS shifted//r;
	my $filter = ('true', "value > $n", "b <> $n % 11", "name IS NOT NULL")[$n % 4];
	my $window = ("rolling(at, '" . ($n % 30 + 1) . " days')", "tumbling(at, '" . ($n % 24 + 1) . " hours')",
		"rolling(at, '1 day', before => '" . ($n % 7 + 1) . " days')")[$n % 3];
	my $aggregate = ('sum(value)', 'max(value)', 'avg(b)', 'count(DISTINCT name)', 'last(name, at)', 'stddev(value)')[$n % 6];
	return "SELECT $key, count(*) AS n, $aggregate AS x, count(*) FILTER (WHERE $window) AS recent, sum(b) FILTER (WHERE $window) AS s
		FROM events WHERE $filter GROUP BY $group";
}
my %views = map { sprintf('view_%03d', $_) => definition($_) } 0 .. 99;
my @names = sort keys %views;

# All views in one statement each way: that every view equals its definition.
sub all_exact
{
	my ($what) = @_;
	my $compare = join(' UNION ALL ', map {
			"SELECT '$_', count(*) FROM (SELECT streamed::text AS r FROM $_ streamed) s FULL JOIN
			 (SELECT batch::text AS r FROM ($views{$_}) batch) b USING (r) WHERE s IS NULL OR b IS NULL" } @names);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql("SELECT sync('150 s') > '0/0';
		SELECT count(*), coalesce(string_agg(name || ': ' || n, ', ') FILTER (WHERE n <> 0), 'all equal')
		FROM ($compare) AS c(name, n)"), "t\n100|all equal", $what);
	return;
}

# one by one, then many in one transaction
sql("SELECT create_feature_view('$_', \$\$ $views{$_} \$\$)") foreach @names[0 .. 9];
sql(join(";\n", 'BEGIN', map({ "SELECT create_feature_view('$_', \$\$ $views{$_} \$\$)" } @names[10 .. 99]), 'COMMIT'));
all_exact('built from existing rows');
is(sql(q{SELECT count(*) FROM feature_views}), 100, 'there are a hundred');

sql(q{
	CALL load(3001, 5000);
	UPDATE events SET a = a + 1, value = value * 2 WHERE id % 3 = 0;
	UPDATE events SET at = at - interval '3 days', name = NULL WHERE id % 50 = 0;
	DELETE FROM events WHERE id % 7 = 0});
all_exact('after inserts, updates and deletes');

sql(q{BEGIN; TRUNCATE events; CALL load(1, 500); COMMIT});
all_exact('after TRUNCATE');
is(sql(q{SELECT count(*) FILTER (WHERE state <> 'live' OR last_error IS NOT NULL) FROM status}), 0, 'no view has met an error');

sql(q{SELECT count(drop_feature_view(name)) FROM feature_views WHERE name >= 'view_050'});
%views = map { $_ => $views{$_} } grep { $_ lt 'view_050' } @names;
is(sql(q{CALL load(501, 600); SELECT sync() > '0/0'; SELECT count(*) FROM status}), "t\n50", 'half of them are dropped');
sql(q{SELECT count(drop_feature_view(name)) FROM feature_views});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_replication_slots'), 'the last one takes the slot with it');
is(sql(q{SELECT count(*) FROM view_status()}), 0, 'no state is left');
is(sql(q{SELECT count(*) FROM pg_class WHERE relnamespace = 'feature_engine_def'::regnamespace}), 0, 'no definition either');

$node->stop('fast');
done_testing();
