# Aggregates of other extensions, whose states only they can read, in feature views: HyperLogLog
# (postgresql-hll) and t-digest (tdigest). Each is what the batch query gives, through deletes,
# checkpoints and a crash. Where the release has no such package its part is skipped.
use strict;
use warnings;
use File::Basename;
use lib dirname(__FILE__) . '/../lib';
use FeatureEngine::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = feature_node('main', conf => 'feature_engine.checkpoint_interval = 1s');
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query) }

sql(q{
	CREATE EXTENSION feature_engine;
	ALTER DATABASE postgres SET search_path = public, feature_engine;
	CREATE TABLE visits (id bigserial PRIMARY KEY, customer int, page text, ms float8,
	                     at timestamptz DEFAULT now() - random() * interval '9 days');
	ALTER TABLE visits REPLICA IDENTITY FULL});

sub is_available
{
	my ($name) = @_;
	return sql("SELECT count(*) FROM pg_available_extensions WHERE name = '$name'") == 1;
}

sub add_visits
{
	sql(q{INSERT INTO visits (customer, page, ms)
	      SELECT n % 7, 'page ' || n % 50, random() * 1000 FROM generate_series(1, 700) n});
	return;
}

sub is_exact
{
	my ($view, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(sql("SELECT sync('90 s') IS NOT NULL; SELECT * FROM check_feature_view('$view')"), 't', "$view, $what");
}

# Wait for a checkpoint of all that is committed, then crash.
sub crash
{
	my $lsn = sql(q{SELECT sync('90 s')});
	add_visits();
	$node->poll_query_until('postgres',
		"SELECT coalesce(min(replay_lsn) >= '$lsn', false) FROM feature_engine.checkpoint") or die 'no checkpoint';
	$node->stop('immediate');
	$node->start;
	return;
}

# By itself, or in another process that knows nothing of the session's.
sub survives
{
	my ($view, $aggregate) = @_;
	add_visits();
	sql("SELECT create_feature_view('$view', \$\$ SELECT customer, $aggregate FROM visits GROUP BY customer \$\$)");
	is_exact($view, 'backfill');
	add_visits();
	sql(q{DELETE FROM visits WHERE id % 3 = 0});
	sql(q{UPDATE visits SET page = 'other', ms = 1 WHERE id % 5 = 0});
	is_exact($view, 'changes');
	crash();
	is_exact($view, 'after a crash');
	sql(q{DELETE FROM visits WHERE customer < 3});
	is_exact($view, 'entities go');
	is(sql("SELECT count(*) FROM $view"), 4, "$view, number of entities");
	sql("SELECT drop_feature_view('$view')");
	return;
}

SKIP:
{
	skip 'this release has no package postgresql-hll', 9 unless is_available('hll');
	sql('CREATE EXTENSION hll');
	survives('pages', q{
		round(hll_cardinality(hll_add_agg(hll_hash_text(page)))) AS pages,
		hll_add_agg(hll_hash_text(page), 12) AS sketch,
		(hll_cardinality(hll_add_agg(hll_hash_text(page)) FILTER (WHERE rolling(at, '7 days'))))::int AS pages7});
	# rows that never leave become states of the extension's own
	sql(q{SELECT create_feature_view('seen', $$
		SELECT customer, hll_add_agg(hll_hash_bigint(id)) AS sketch, count(*) AS n,
		       hll_add_agg(hll_hash_bigint(id)) FILTER (WHERE rolling(at, '7 days')) AS sketch7
		FROM visits GROUP BY customer $$, append_only => true)});
	add_visits() for 1 .. 10;
	is_exact('seen', 'append_only');
	crash();
	is_exact('seen', 'append_only, after a crash');
	add_visits();
	is_exact('seen', 'append_only, rows on top of states');
	sql(q{SELECT drop_feature_view('seen')});
	is($node->psql('postgres', 'DROP EXTENSION hll'), 0, 'the extension can go when the views are gone');
}

SKIP:
{
	skip 'this release has no package tdigest', 6 unless is_available('tdigest');
	sql('CREATE EXTENSION tdigest');
	# PostgreSQL's own order of rows decides between neighbouring centroids: of few values it keeps each
	survives('times', q{
		tdigest_percentile(round(ms), 10000, 0.5) AS median,
		tdigest_percentile(round(ms), 10000, ARRAY[0.9, 0.99]) AS high,
		tdigest_percentile(round(ms), 10000, 0.5) FILTER (WHERE rolling(at, '7 days')) AS median7});
	sql(q{SELECT create_feature_view('times', 'SELECT customer, tdigest(ms, 100) AS t FROM visits GROUP BY customer')});
	is(sql(q{SELECT sync('90 s') IS NOT NULL; DROP EXTENSION tdigest CASCADE; SELECT count(*) FROM feature_views}),
		"t\n0", 'and goes with its views');
}

done_testing();
