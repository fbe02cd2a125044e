# Sketches, sums and lists go through checkpoints, crashes and restarts: what is loaded, and goes on,
# is what the batch query gives, to the last bit. Among them HyperLogLog, which only append-only
# views may have, in both of its forms. With inject_error 'state_image' entities are also written
# and built again while they are in use.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test qw(feature_node);
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main',
	conf => "restart_after_crash = on\nfeature_engine.checkpoint_interval = 1s\nfeature_engine.inject_error = 'state_image'");
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }

sql(q{CREATE EXTENSION feature_engine; ALTER DATABASE postgres SET search_path = public, feature_engine});
sql(q{CREATE TABLE clicks (id bigserial PRIMARY KEY, visitor int, page text, price float8, at timestamptz)});
my %definitions = (
	distinct => q{SELECT visitor % 4 AS g, approx_count_distinct(visitor) AS visitors, approx_count_distinct(page) AS pages,
		approx_count_distinct(price) FILTER (WHERE rolling(at, '7 days')) AS prices FROM clicks GROUP BY 1},
	sketches => q{SELECT visitor % 100 AS g, approx_percentile(price, 0.9) AS p90, histogram(price, 0, 100, 10) AS h,
		approx_percentile(price, 0.5) FILTER (WHERE rolling(at, '7 days')) AS p50, skewness(price) AS s,
		kurtosis(price) FILTER (WHERE rolling(at, '30 days')) AS k FROM clicks GROUP BY 1},
	lists => q{SELECT visitor % 100 AS g, last_n(page, at, 5) AS l, last_distinct_n(page, at, 3) AS d, top_k(page, 3) AS t,
		first_n(price, at, 2) FILTER (WHERE rolling(at, '7 days')) AS f, exp_decay_sum(price, at, '1 day') AS e,
		exp_decay_sum(price, at, '1 second') AS x FROM clicks GROUP BY 1});
sql("SELECT create_feature_view('$_', \$\$$definitions{$_}\$\$, append_only => true)") foreach sort keys %definitions;

my $rows = 0;

sub insert
{
	my ($n) = @_;
	sql(qq{INSERT INTO clicks (visitor, page, price, at)
		SELECT i * 7919 % 20011, CASE WHEN i % 9 > 0 THEN 'p' || i % 233 END, CASE WHEN i % 1000 = 1 THEN 'NaN' ELSE exp(i % 97 / 20.0) + i % 13 / 8.0 END,
			CASE WHEN i % 50 > 0 THEN now() - i * interval '97 seconds' + (i % 3) * interval '5 seconds' END
		FROM generate_series($rows + 1, $rows + $n) i});
	$rows += $n;
	return;
}

sub is_same
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql(qq{SELECT sync('90 s') IS NOT NULL; SELECT count(*) FROM check_feature_view('$_')}), "t\n0", "$what: $_")
	  foreach sort keys %definitions;
	return;
}

sub wait_for_checkpoint
{
	my $lsn = sql(q{SELECT sync('90 s')});
	insert(1);
	$node->poll_query_until('postgres',
		"SELECT count(*) = 3 AND coalesce(min(replay_lsn) >= '$lsn', false) FROM feature_engine.checkpoint")
	  or die 'no checkpoint';
	return;
}

sub loaded { my ($from) = @_; return scalar(() = substr(slurp_file($node->logfile), $from) =~ /has been loaded with/g) }

insert(4000);
is_same('lists of entries');
wait_for_checkpoint();
insert(300);
my $from = -s $node->logfile;
$node->stop('immediate');
$node->start;
is_same('loaded after a crash');
is(loaded($from), 3, 'all three were loaded from the store');

# now there are registers
insert(30000);
is_same('registers');
is(sql('SELECT min(visitors) > 2048 FROM "distinct"'), 't', 'there are so many visitors');
wait_for_checkpoint();
insert(300);
$from = -s $node->logfile;
$node->stop('immediate');
$node->start;
is_same('registers loaded after a crash');
is(loaded($from), 3, 'all three were loaded from the store');

# TRUNCATE begins anew also where rows only come
sql('TRUNCATE clicks');
insert(500);
is_same('after TRUNCATE');
$node->stop('fast');
$node->start;
is_same('after an orderly restart');

# a change of a row stops such a view, and it is built anew: the values are the table's again
sql('UPDATE clicks SET visitor = visitor + 1 WHERE id % 2 = 0');
my ($rc, $out, $err) = $node->psql('postgres', q{SELECT sync('90 s', view => 'distinct')});
like($err, qr/has stopped/, 'an update stops it');
$node->poll_query_until('postgres', q{SELECT bool_and(state = 'live') FROM status}) or die 'not rebuilt';
is_same('built anew');

done_testing();
