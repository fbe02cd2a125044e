-- complain if the script is sourced in psql instead of CREATE EXTENSION
\echo Use "CREATE EXTENSION feature_engine" to load this file. \quit

-- runtime

CREATE FUNCTION now() RETURNS timestamptz
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_now';
COMMENT ON FUNCTION now() IS
'T, the instant at which feature views are evaluated: feature_engine.as_of where set, else the test clock where set, else the start of the statement';

CREATE FUNCTION set_clock(at timestamptz) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'fe_set_clock';
COMMENT ON FUNCTION set_clock(timestamptz) IS
'for tests: freezes the engine''s clock of this database at an instant, at once and for all sessions; NULL lets it run again';
REVOKE ALL ON FUNCTION set_clock(timestamptz) FROM PUBLIC;

-- serve

CREATE FUNCTION fdw_handler() RETURNS fdw_handler
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'fe_fdw_handler';
COMMENT ON FUNCTION fdw_handler() IS 'handler of the foreign data wrapper that serves feature views as relations';

CREATE FOREIGN DATA WRAPPER feature_engine HANDLER fdw_handler NO VALIDATOR;
COMMENT ON FOREIGN DATA WRAPPER feature_engine IS 'serves feature views from shared memory';
-- USAGE is given to nobody: only create_feature_view makes foreign tables here
CREATE SERVER feature_engine FOREIGN DATA WRAPPER feature_engine;
COMMENT ON SERVER feature_engine IS 'the feature views of this database';

CREATE FUNCTION get_features(view text, key anynonarray) RETURNS jsonb
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_get_features_one';
COMMENT ON FUNCTION get_features(text, anynonarray) IS
'features of one entity of a view, or of a feature service, at T as jsonb, NULL where there is no such entity; a composite value ROW(...) holds several key columns, a jsonb object keys by name. All views of a service are read at one T; it shows its features, a view also its keys. Errors: unknown view, wrong key type or count, no SELECT privilege, view not caught up';

CREATE FUNCTION get_features(view text, key text) RETURNS jsonb
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_get_features_one';
COMMENT ON FUNCTION get_features(text, text) IS
'features of one entity at T as jsonb, the key in its text form; NULL where there is no such entity';

CREATE FUNCTION get_features(view text, key1 "any", VARIADIC keys "any") RETURNS jsonb
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_get_features_keys';
COMMENT ON FUNCTION get_features(text, "any", VARIADIC "any") IS
'features of one entity of a view with several key columns, as jsonb; keys in the order of the view''s GROUP BY columns in its output';

CREATE FUNCTION get_features(view text, keys anyarray, OUT key jsonb, OUT features jsonb)
RETURNS SETOF record
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100
AS 'MODULE_PATHNAME', 'fe_get_features_many';
COMMENT ON FUNCTION get_features(text, anyarray) IS
'features of many entities at T, a row for each key in input order; features are NULL where there is no such entity';

CREATE FUNCTION get_feature_vector(name text, key anynonarray) RETURNS json
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_get_feature_vector_one';
COMMENT ON FUNCTION get_feature_vector(text, anynonarray) IS
'features of one entity at T as json, in the order of the feature service, or of the view: what get_historical_features() appends; no keys. NULL where there is no such entity in any view. Keys and errors as with get_features';

CREATE FUNCTION get_feature_vector(name text, key text) RETURNS json
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_get_feature_vector_one';
COMMENT ON FUNCTION get_feature_vector(text, text) IS 'the same, the key in its text form';

CREATE FUNCTION get_feature_vector(name text, key1 "any", VARIADIC keys "any") RETURNS json
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_get_feature_vector_keys';
COMMENT ON FUNCTION get_feature_vector(text, "any", VARIADIC "any") IS 'the same for several key columns';

CREATE FUNCTION get_feature_vector(name text, keys anyarray, OUT key jsonb, OUT features json)
RETURNS SETOF record
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100
AS 'MODULE_PATHNAME', 'fe_get_feature_vector_many';
COMMENT ON FUNCTION get_feature_vector(text, anyarray) IS
'the same for many entities, a row for each key in input order; features are NULL where there is no such entity';

CREATE FUNCTION get_feature_rows(view text, key anynonarray, OUT time_window tstzrange, OUT features jsonb)
RETURNS SETOF record
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'fe_get_feature_rows_one';
COMMENT ON FUNCTION get_feature_rows(text, anynonarray) IS
'all rows of one entity of a view with a window in GROUP BY, of one moment, in the order of their windows; of another view its one row, without a window. Keys and errors as with get_features';

CREATE FUNCTION get_feature_rows(view text, key text, OUT time_window tstzrange, OUT features jsonb)
RETURNS SETOF record
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'fe_get_feature_rows_one';
COMMENT ON FUNCTION get_feature_rows(text, text) IS 'the same, the key in its text form';

CREATE FUNCTION get_feature_rows(view text, key1 "any", VARIADIC keys "any", OUT time_window tstzrange, OUT features jsonb)
RETURNS SETOF record
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'fe_get_feature_rows_keys';
COMMENT ON FUNCTION get_feature_rows(text, "any", VARIADIC "any") IS
'the same for a view with several key columns besides the window; keys in the order of the view''s GROUP BY columns in its output';

CREATE FUNCTION watermark(view text) RETURNS timestamptz
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_watermark_of_view';
COMMENT ON FUNCTION watermark(text) IS
'the watermark of a feature view: the highest event time seen (as far as its commit had come) minus the option watermark; -infinity while none was seen, NULL where the view has no such option. Errors: unknown view, no SELECT privilege, view not caught up';

CREATE FUNCTION sync(timeout interval DEFAULT '5 minutes', redis boolean DEFAULT false, view text DEFAULT NULL,
	history boolean DEFAULT false)
RETURNS pg_lsn
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'fe_sync';
COMMENT ON FUNCTION sync(interval, boolean, text, boolean) IS
'waits until everything that committed before the call is visible in every feature view, or in the one that is named (with redis => true: in Redis too; with history => true: recorded in the history of views that have one, with or without Redis), and returns the position in the log; NULL timeout waits for ever. Errors: timeout; a view that has stopped, raised only when all others are caught up; a view that this transaction has created, replaced or refreshed, for it is built after the commit; memory full; standby; unknown view';

-- aggregate

CREATE FUNCTION first_transfn(internal, anyelement, timestamptz) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_first_transfn';
COMMENT ON FUNCTION first_transfn(internal, anyelement, timestamptz) IS 'transition function of first(anyelement, timestamptz)';
CREATE FUNCTION last_transfn(internal, anyelement, timestamptz) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_last_transfn';
COMMENT ON FUNCTION last_transfn(internal, anyelement, timestamptz) IS 'transition function of last(anyelement, timestamptz)';
CREATE FUNCTION first_last_finalfn(internal, anyelement, timestamptz) RETURNS anyelement
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_first_last_finalfn';
COMMENT ON FUNCTION first_last_finalfn(internal, anyelement, timestamptz) IS 'final function of first and last (anyelement, timestamptz)';
CREATE AGGREGATE first(value anyelement, event_time timestamptz) (
	SFUNC = first_transfn,
	STYPE = internal,
	FINALFUNC = first_last_finalfn,
	FINALFUNC_EXTRA,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE first(anyelement, timestamptz) IS
'value of the row with the least event time; among rows of equal time the least value, a NULL only where there is no other; rows without a time do not count';
CREATE AGGREGATE last(value anyelement, event_time timestamptz) (
	SFUNC = last_transfn,
	STYPE = internal,
	FINALFUNC = first_last_finalfn,
	FINALFUNC_EXTRA,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE last(anyelement, timestamptz) IS
'value of the row with the greatest event time; among rows of equal time the greatest value, a NULL only where there is no other; rows without a time do not count';

CREATE FUNCTION first_transfn(internal, anyelement, timestamp) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_first_transfn';
COMMENT ON FUNCTION first_transfn(internal, anyelement, timestamp) IS 'transition function of first(anyelement, timestamp)';
CREATE FUNCTION last_transfn(internal, anyelement, timestamp) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_last_transfn';
COMMENT ON FUNCTION last_transfn(internal, anyelement, timestamp) IS 'transition function of last(anyelement, timestamp)';
CREATE FUNCTION first_last_finalfn(internal, anyelement, timestamp) RETURNS anyelement
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_first_last_finalfn';
COMMENT ON FUNCTION first_last_finalfn(internal, anyelement, timestamp) IS 'final function of first and last (anyelement, timestamp)';
CREATE AGGREGATE first(value anyelement, event_time timestamp) (
	SFUNC = first_transfn,
	STYPE = internal,
	FINALFUNC = first_last_finalfn,
	FINALFUNC_EXTRA,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE first(anyelement, timestamp) IS
'value of the row with the least event time; among rows of equal time the least value, a NULL only where there is no other; rows without a time do not count';
CREATE AGGREGATE last(value anyelement, event_time timestamp) (
	SFUNC = last_transfn,
	STYPE = internal,
	FINALFUNC = first_last_finalfn,
	FINALFUNC_EXTRA,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE last(anyelement, timestamp) IS
'value of the row with the greatest event time; among rows of equal time the greatest value, a NULL only where there is no other; rows without a time do not count';

CREATE FUNCTION first_transfn(internal, anyelement, date) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_first_transfn';
COMMENT ON FUNCTION first_transfn(internal, anyelement, date) IS 'transition function of first(anyelement, date)';
CREATE FUNCTION last_transfn(internal, anyelement, date) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_last_transfn';
COMMENT ON FUNCTION last_transfn(internal, anyelement, date) IS 'transition function of last(anyelement, date)';
CREATE FUNCTION first_last_finalfn(internal, anyelement, date) RETURNS anyelement
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_first_last_finalfn';
COMMENT ON FUNCTION first_last_finalfn(internal, anyelement, date) IS 'final function of first and last (anyelement, date)';
CREATE AGGREGATE first(value anyelement, event_time date) (
	SFUNC = first_transfn,
	STYPE = internal,
	FINALFUNC = first_last_finalfn,
	FINALFUNC_EXTRA,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE first(anyelement, date) IS
'value of the row with the least event time; among rows of equal time the least value, a NULL only where there is no other; rows without a time do not count';
CREATE AGGREGATE last(value anyelement, event_time date) (
	SFUNC = last_transfn,
	STYPE = internal,
	FINALFUNC = first_last_finalfn,
	FINALFUNC_EXTRA,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE last(anyelement, date) IS
'value of the row with the greatest event time; among rows of equal time the greatest value, a NULL only where there is no other; rows without a time do not count';

CREATE FUNCTION pack_arguments(required integer, VARIADIC arguments "any") RETURNS bytea
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_pack_arguments';
COMMENT ON FUNCTION pack_arguments(integer, VARIADIC "any") IS
'what a feature view keeps of a row for an aggregate that PostgreSQL itself computes: the arguments as bytes; NULL if an argument whose bit is set in required is NULL. For the engine''s own use; the form may change';

-- aggregates that features need and SQL lacks; docs/aggregates.md

CREATE FUNCTION hll_hash(anyelement) RETURNS int8
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_hll_hash_value';
COMMENT ON FUNCTION hll_hash(anyelement) IS 'the 64-bit hash by which approx_count_distinct tells values apart: of the bits where these say what is equal, else of the type''s extended hash function. Error: the type has none';

CREATE FUNCTION approx_count_distinct_transfn(internal, anyelement) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_approx_count_distinct_transfn';
COMMENT ON FUNCTION approx_count_distinct_transfn(internal, anyelement) IS 'transition function of approx_count_distinct';

CREATE FUNCTION approx_count_distinct_finalfn(internal) RETURNS int8
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_approx_count_distinct_finalfn';
COMMENT ON FUNCTION approx_count_distinct_finalfn(internal) IS 'final function of approx_count_distinct';

CREATE FUNCTION approx_count_distinct_combinefn(internal, internal) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_approx_count_distinct_combinefn';
COMMENT ON FUNCTION approx_count_distinct_combinefn(internal, internal) IS 'combine function of approx_count_distinct';

CREATE FUNCTION approx_count_distinct_serialfn(internal) RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_approx_count_distinct_serialfn';
COMMENT ON FUNCTION approx_count_distinct_serialfn(internal) IS 'serialisation function of approx_count_distinct';

CREATE FUNCTION approx_count_distinct_deserialfn(bytea, internal) RETURNS internal
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_approx_count_distinct_deserialfn';
COMMENT ON FUNCTION approx_count_distinct_deserialfn(bytea, internal) IS 'deserialisation function of approx_count_distinct';

CREATE AGGREGATE approx_count_distinct(value anyelement) (
	STYPE = internal,
	SFUNC = approx_count_distinct_transfn,
	FINALFUNC = approx_count_distinct_finalfn,
	COMBINEFUNC = approx_count_distinct_combinefn,
	SERIALFUNC = approx_count_distinct_serialfn,
	DESERIALFUNC = approx_count_distinct_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE approx_count_distinct(anyelement) IS
'number of different values that are not null, about: HyperLogLog with 2^14 registers (Flajolet et al. 2007; estimator of Ertl 2017), standard error 0.81 %, all but exact up to some 2000. 0 where there is none. In a feature view over rows that change it is refused: use count(DISTINCT value), or append_only';

CREATE FUNCTION buckets_combinefn(internal, internal) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_buckets_combinefn';
COMMENT ON FUNCTION buckets_combinefn(internal, internal) IS 'combine function of approx_percentile and histogram';

CREATE FUNCTION buckets_serialfn(internal) RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_buckets_serialfn';
COMMENT ON FUNCTION buckets_serialfn(internal) IS 'serialisation function of approx_percentile and histogram';

CREATE FUNCTION buckets_deserialfn(bytea, internal) RETURNS internal
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_buckets_deserialfn';
COMMENT ON FUNCTION buckets_deserialfn(bytea, internal) IS 'deserialisation function of approx_percentile and histogram';

CREATE FUNCTION approx_percentile_transfn(internal, float8, float8) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_approx_percentile_transfn';
COMMENT ON FUNCTION approx_percentile_transfn(internal, float8, float8) IS 'transition function of approx_percentile';

CREATE FUNCTION approx_percentile_finalfn(internal) RETURNS float8
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_approx_percentile_finalfn';
COMMENT ON FUNCTION approx_percentile_finalfn(internal) IS 'final function of approx_percentile';

CREATE AGGREGATE approx_percentile(value float8, fraction float8) (
	STYPE = internal,
	SFUNC = approx_percentile_transfn,
	FINALFUNC = approx_percentile_finalfn,
	COMBINEFUNC = buckets_combinefn,
	SERIALFUNC = buckets_serialfn,
	DESERIALFUNC = buckets_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE approx_percentile(float8, float8) IS
'a value within 1 % of percentile_disc(fraction), whatever the distribution: DDSketch (Masson, Rim, Lee 2019). NaN is above all; NULL where there is no value. Errors: a fraction that is not between 0 and 1, is null, or differs between rows of a group';

CREATE FUNCTION histogram_transfn(internal, float8, float8, float8, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_histogram_transfn';
COMMENT ON FUNCTION histogram_transfn(internal, float8, float8, float8, int4) IS 'transition function of histogram';

CREATE FUNCTION histogram_finalfn(internal) RETURNS int8[]
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_histogram_finalfn';
COMMENT ON FUNCTION histogram_finalfn(internal) IS 'final function of histogram';

CREATE AGGREGATE histogram(value float8, lo float8, hi float8, bins int4) (
	STYPE = internal,
	SFUNC = histogram_transfn,
	FINALFUNC = histogram_finalfn,
	COMBINEFUNC = buckets_combinefn,
	SERIALFUNC = buckets_serialfn,
	DESERIALFUNC = buckets_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE histogram(float8, float8, float8, int4) IS
'how many values are in each of so many bins of equal width, as bins + 2 counts: element 1 is below lo, element width_bucket(value, lo, hi, bins) + 1 a bin [lower, upper), the last one at or above hi, where NaN is counted; with lo > hi the bins descend. NULL where there is no value. Errors: bounds that are equal or not finite, bins not between 1 and 10000, arguments that are null or differ between rows of a group';

CREATE FUNCTION power_sums_transfn(internal, float8) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_power_sums_transfn';
COMMENT ON FUNCTION power_sums_transfn(internal, float8) IS 'transition function of skewness and kurtosis';

CREATE FUNCTION skewness_finalfn(internal) RETURNS float8
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_skewness_finalfn';
COMMENT ON FUNCTION skewness_finalfn(internal) IS 'final function of skewness';

CREATE FUNCTION kurtosis_finalfn(internal) RETURNS float8
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_kurtosis_finalfn';
COMMENT ON FUNCTION kurtosis_finalfn(internal) IS 'final function of kurtosis';

CREATE FUNCTION power_sums_combinefn(internal, internal) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_power_sums_combinefn';
COMMENT ON FUNCTION power_sums_combinefn(internal, internal) IS 'combine function of skewness and kurtosis';

CREATE FUNCTION power_sums_serialfn(internal) RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_power_sums_serialfn';
COMMENT ON FUNCTION power_sums_serialfn(internal) IS 'serialisation function of skewness and kurtosis';

CREATE FUNCTION power_sums_deserialfn(bytea, internal) RETURNS internal
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_power_sums_deserialfn';
COMMENT ON FUNCTION power_sums_deserialfn(bytea, internal) IS 'deserialisation function of skewness and kurtosis';

CREATE AGGREGATE skewness(value float8) (
	STYPE = internal,
	SFUNC = power_sums_transfn,
	FINALFUNC = skewness_finalfn,
	COMBINEFUNC = power_sums_combinefn,
	SERIALFUNC = power_sums_serialfn,
	DESERIALFUNC = power_sums_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE skewness(float8) IS
'skewness of the population, g1 = m3 / m2^(3/2), m_k being the mean k-th power of the distance from the mean (Joanes and Gill 1998; scipy.stats.skew with its default bias=True). From exact sums, rounded at the end. NULL where all values are equal or there is none; NaN where one is NaN or infinite';

CREATE AGGREGATE kurtosis(value float8) (
	STYPE = internal,
	SFUNC = power_sums_transfn,
	FINALFUNC = kurtosis_finalfn,
	COMBINEFUNC = power_sums_combinefn,
	SERIALFUNC = power_sums_serialfn,
	DESERIALFUNC = power_sums_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE kurtosis(float8) IS
'excess kurtosis of the population, g2 = m4 / m2^2 - 3, m_k being the mean k-th power of the distance from the mean (Joanes and Gill 1998; scipy.stats.kurtosis with its defaults fisher=True, bias=True). From exact sums, rounded at the end. NULL where all values are equal or there is none; NaN where one is NaN or infinite';

CREATE FUNCTION exp_decay_sum_finalfn(internal) RETURNS float8
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_exp_decay_sum_finalfn';
COMMENT ON FUNCTION exp_decay_sum_finalfn(internal) IS 'final function of exp_decay_sum';

CREATE FUNCTION exp_decay_sum_transfn(internal, float8, timestamptz, interval) RETURNS internal
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_exp_decay_sum_transfn';
COMMENT ON FUNCTION exp_decay_sum_transfn(internal, float8, timestamptz, interval) IS 'transition function of exp_decay_sum(timestamptz)';

CREATE AGGREGATE exp_decay_sum(value float8, event_time timestamptz, half_life interval) (
	STYPE = internal,
	SFUNC = exp_decay_sum_transfn,
	FINALFUNC = exp_decay_sum_finalfn,
	PARALLEL = RESTRICTED
);
COMMENT ON AGGREGATE exp_decay_sum(float8, timestamptz, interval) IS
'sum of value * 2^(-(T - event_time) / half_life) over the rows with event_time <= T, T being feature_engine.now(). Rows whose value or time is null or whose time is infinite do not count; NULL where none does. Errors: a half-life that is not above zero, has months or years, is null, or differs between rows of a group; overflow';

CREATE FUNCTION exp_decay_sum_transfn(internal, float8, timestamp, interval) RETURNS internal
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_exp_decay_sum_transfn';
COMMENT ON FUNCTION exp_decay_sum_transfn(internal, float8, timestamp, interval) IS 'transition function of exp_decay_sum(timestamp)';

CREATE AGGREGATE exp_decay_sum(value float8, event_time timestamp, half_life interval) (
	STYPE = internal,
	SFUNC = exp_decay_sum_transfn,
	FINALFUNC = exp_decay_sum_finalfn,
	PARALLEL = RESTRICTED
);
COMMENT ON AGGREGATE exp_decay_sum(float8, timestamp, interval) IS
'sum of value * 2^(-(T - event_time) / half_life) over the rows with event_time <= T, T being feature_engine.now(). Rows whose value or time is null or whose time is infinite do not count; NULL where none does. Errors: a half-life that is not above zero, has months or years, is null, or differs between rows of a group; overflow';

CREATE FUNCTION exp_decay_sum_transfn(internal, float8, date, interval) RETURNS internal
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'fe_exp_decay_sum_transfn';
COMMENT ON FUNCTION exp_decay_sum_transfn(internal, float8, date, interval) IS 'transition function of exp_decay_sum(date)';

CREATE AGGREGATE exp_decay_sum(value float8, event_time date, half_life interval) (
	STYPE = internal,
	SFUNC = exp_decay_sum_transfn,
	FINALFUNC = exp_decay_sum_finalfn,
	PARALLEL = RESTRICTED
);
COMMENT ON AGGREGATE exp_decay_sum(float8, date, interval) IS
'sum of value * 2^(-(T - event_time) / half_life) over the rows with event_time <= T, T being feature_engine.now(). Rows whose value or time is null or whose time is infinite do not count; NULL where none does. Errors: a half-life that is not above zero, has months or years, is null, or differs between rows of a group; overflow';

CREATE FUNCTION list_combinefn(internal, internal) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_list_combinefn';
COMMENT ON FUNCTION list_combinefn(internal, internal) IS 'combine function of first_n, last_n, last_distinct_n and top_k';

CREATE FUNCTION list_serialfn(internal) RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_list_serialfn';
COMMENT ON FUNCTION list_serialfn(internal) IS 'serialisation function of first_n, last_n, last_distinct_n and top_k';

CREATE FUNCTION list_deserialfn(bytea, internal) RETURNS internal
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_list_deserialfn';
COMMENT ON FUNCTION list_deserialfn(bytea, internal) IS 'deserialisation function of first_n, last_n, last_distinct_n and top_k';

CREATE FUNCTION list_finalfn(internal, anyelement, timestamptz, int4) RETURNS anyarray
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_list_finalfn';
COMMENT ON FUNCTION list_finalfn(internal, anyelement, timestamptz, int4) IS 'final function of first_n, last_n and last_distinct_n (timestamptz)';

CREATE FUNCTION first_n_transfn(internal, anyelement, timestamptz, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_first_n_transfn';
COMMENT ON FUNCTION first_n_transfn(internal, anyelement, timestamptz, int4) IS 'transition function of first_n(timestamptz)';

CREATE AGGREGATE first_n(value anyelement, event_time timestamptz, n int4) (
	STYPE = internal,
	SFUNC = first_n_transfn,
	FINALFUNC = list_finalfn,
	FINALFUNC_EXTRA,
	COMBINEFUNC = list_combinefn,
	SERIALFUNC = list_serialfn,
	DESERIALFUNC = list_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE first_n(anyelement, timestamptz, int4) IS
'values of the n rows with the least event times, the earliest first; among rows of equal time the least value first, a NULL last; rows without a time do not count. Element 1 is first(value, event_time). NULL where no row counts. n is 1 to 1000 and the same for all rows of a group';

CREATE FUNCTION last_n_transfn(internal, anyelement, timestamptz, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_last_n_transfn';
COMMENT ON FUNCTION last_n_transfn(internal, anyelement, timestamptz, int4) IS 'transition function of last_n(timestamptz)';

CREATE AGGREGATE last_n(value anyelement, event_time timestamptz, n int4) (
	STYPE = internal,
	SFUNC = last_n_transfn,
	FINALFUNC = list_finalfn,
	FINALFUNC_EXTRA,
	COMBINEFUNC = list_combinefn,
	SERIALFUNC = list_serialfn,
	DESERIALFUNC = list_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE last_n(anyelement, timestamptz, int4) IS
'values of the n rows with the greatest event times, the latest first; among rows of equal time the greatest value first, a NULL last; rows without a time do not count. Element 1 is last(value, event_time). NULL where no row counts. n is 1 to 1000 and the same for all rows of a group';

CREATE FUNCTION last_distinct_n_transfn(internal, anyelement, timestamptz, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_last_distinct_n_transfn';
COMMENT ON FUNCTION last_distinct_n_transfn(internal, anyelement, timestamptz, int4) IS 'transition function of last_distinct_n(timestamptz)';

CREATE AGGREGATE last_distinct_n(value anyelement, event_time timestamptz, n int4) (
	STYPE = internal,
	SFUNC = last_distinct_n_transfn,
	FINALFUNC = list_finalfn,
	FINALFUNC_EXTRA,
	COMBINEFUNC = list_combinefn,
	SERIALFUNC = list_serialfn,
	DESERIALFUNC = list_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE last_distinct_n(anyelement, timestamptz, int4) IS
'the n different values that occurred last, the one with the latest event time first; among those of equal time the greatest value first; rows without a value or a time do not count. NULL where no row counts. n is 1 to 1000 and the same for all rows of a group';

CREATE FUNCTION list_finalfn(internal, anyelement, timestamp, int4) RETURNS anyarray
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_list_finalfn';
COMMENT ON FUNCTION list_finalfn(internal, anyelement, timestamp, int4) IS 'final function of first_n, last_n and last_distinct_n (timestamp)';

CREATE FUNCTION first_n_transfn(internal, anyelement, timestamp, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_first_n_transfn';
COMMENT ON FUNCTION first_n_transfn(internal, anyelement, timestamp, int4) IS 'transition function of first_n(timestamp)';

CREATE AGGREGATE first_n(value anyelement, event_time timestamp, n int4) (
	STYPE = internal,
	SFUNC = first_n_transfn,
	FINALFUNC = list_finalfn,
	FINALFUNC_EXTRA,
	COMBINEFUNC = list_combinefn,
	SERIALFUNC = list_serialfn,
	DESERIALFUNC = list_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE first_n(anyelement, timestamp, int4) IS
'values of the n rows with the least event times, the earliest first; among rows of equal time the least value first, a NULL last; rows without a time do not count. Element 1 is first(value, event_time). NULL where no row counts. n is 1 to 1000 and the same for all rows of a group';

CREATE FUNCTION last_n_transfn(internal, anyelement, timestamp, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_last_n_transfn';
COMMENT ON FUNCTION last_n_transfn(internal, anyelement, timestamp, int4) IS 'transition function of last_n(timestamp)';

CREATE AGGREGATE last_n(value anyelement, event_time timestamp, n int4) (
	STYPE = internal,
	SFUNC = last_n_transfn,
	FINALFUNC = list_finalfn,
	FINALFUNC_EXTRA,
	COMBINEFUNC = list_combinefn,
	SERIALFUNC = list_serialfn,
	DESERIALFUNC = list_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE last_n(anyelement, timestamp, int4) IS
'values of the n rows with the greatest event times, the latest first; among rows of equal time the greatest value first, a NULL last; rows without a time do not count. Element 1 is last(value, event_time). NULL where no row counts. n is 1 to 1000 and the same for all rows of a group';

CREATE FUNCTION last_distinct_n_transfn(internal, anyelement, timestamp, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_last_distinct_n_transfn';
COMMENT ON FUNCTION last_distinct_n_transfn(internal, anyelement, timestamp, int4) IS 'transition function of last_distinct_n(timestamp)';

CREATE AGGREGATE last_distinct_n(value anyelement, event_time timestamp, n int4) (
	STYPE = internal,
	SFUNC = last_distinct_n_transfn,
	FINALFUNC = list_finalfn,
	FINALFUNC_EXTRA,
	COMBINEFUNC = list_combinefn,
	SERIALFUNC = list_serialfn,
	DESERIALFUNC = list_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE last_distinct_n(anyelement, timestamp, int4) IS
'the n different values that occurred last, the one with the latest event time first; among those of equal time the greatest value first; rows without a value or a time do not count. NULL where no row counts. n is 1 to 1000 and the same for all rows of a group';

CREATE FUNCTION list_finalfn(internal, anyelement, date, int4) RETURNS anyarray
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_list_finalfn';
COMMENT ON FUNCTION list_finalfn(internal, anyelement, date, int4) IS 'final function of first_n, last_n and last_distinct_n (date)';

CREATE FUNCTION first_n_transfn(internal, anyelement, date, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_first_n_transfn';
COMMENT ON FUNCTION first_n_transfn(internal, anyelement, date, int4) IS 'transition function of first_n(date)';

CREATE AGGREGATE first_n(value anyelement, event_time date, n int4) (
	STYPE = internal,
	SFUNC = first_n_transfn,
	FINALFUNC = list_finalfn,
	FINALFUNC_EXTRA,
	COMBINEFUNC = list_combinefn,
	SERIALFUNC = list_serialfn,
	DESERIALFUNC = list_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE first_n(anyelement, date, int4) IS
'values of the n rows with the least event times, the earliest first; among rows of equal time the least value first, a NULL last; rows without a time do not count. Element 1 is first(value, event_time). NULL where no row counts. n is 1 to 1000 and the same for all rows of a group';

CREATE FUNCTION last_n_transfn(internal, anyelement, date, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_last_n_transfn';
COMMENT ON FUNCTION last_n_transfn(internal, anyelement, date, int4) IS 'transition function of last_n(date)';

CREATE AGGREGATE last_n(value anyelement, event_time date, n int4) (
	STYPE = internal,
	SFUNC = last_n_transfn,
	FINALFUNC = list_finalfn,
	FINALFUNC_EXTRA,
	COMBINEFUNC = list_combinefn,
	SERIALFUNC = list_serialfn,
	DESERIALFUNC = list_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE last_n(anyelement, date, int4) IS
'values of the n rows with the greatest event times, the latest first; among rows of equal time the greatest value first, a NULL last; rows without a time do not count. Element 1 is last(value, event_time). NULL where no row counts. n is 1 to 1000 and the same for all rows of a group';

CREATE FUNCTION last_distinct_n_transfn(internal, anyelement, date, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_last_distinct_n_transfn';
COMMENT ON FUNCTION last_distinct_n_transfn(internal, anyelement, date, int4) IS 'transition function of last_distinct_n(date)';

CREATE AGGREGATE last_distinct_n(value anyelement, event_time date, n int4) (
	STYPE = internal,
	SFUNC = last_distinct_n_transfn,
	FINALFUNC = list_finalfn,
	FINALFUNC_EXTRA,
	COMBINEFUNC = list_combinefn,
	SERIALFUNC = list_serialfn,
	DESERIALFUNC = list_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE last_distinct_n(anyelement, date, int4) IS
'the n different values that occurred last, the one with the latest event time first; among those of equal time the greatest value first; rows without a value or a time do not count. NULL where no row counts. n is 1 to 1000 and the same for all rows of a group';

CREATE FUNCTION top_k_transfn(internal, anyelement, int4) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_top_k_transfn';
COMMENT ON FUNCTION top_k_transfn(internal, anyelement, int4) IS 'transition function of top_k';

CREATE FUNCTION top_k_finalfn(internal, anyelement, int4) RETURNS anyarray
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'fe_list_finalfn';
COMMENT ON FUNCTION top_k_finalfn(internal, anyelement, int4) IS 'final function of top_k';

CREATE AGGREGATE top_k(value anyelement, k int4) (
	STYPE = internal,
	SFUNC = top_k_transfn,
	FINALFUNC = top_k_finalfn,
	FINALFUNC_EXTRA,
	COMBINEFUNC = list_combinefn,
	SERIALFUNC = list_serialfn,
	DESERIALFUNC = list_deserialfn,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE top_k(anyelement, int4) IS
'the k most frequent values that are not null, the most frequent first; among equally frequent ones the least value first. Counts are exact. NULL where there is no value. k is 1 to 1000 and the same for all rows of a group';

-- definition

GRANT USAGE ON SCHEMA feature_engine TO PUBLIC;

-- Stored definitions: real views of the extension's owner, with security_invoker:
-- nobody else can create or change anything here.
CREATE SCHEMA feature_engine_def;
COMMENT ON SCHEMA feature_engine_def IS 'definitions of feature views, as views; written by create_feature_view only';
GRANT USAGE ON SCHEMA feature_engine_def TO PUBLIC;

CREATE SEQUENCE feature_view_id AS integer;
COMMENT ON SEQUENCE feature_view_id IS 'ids of feature views; never used twice';

CREATE TABLE feature_view_catalog (
	viewid integer PRIMARY KEY,
	name text NOT NULL,
	relation regclass,
	definition regclass NOT NULL,
	replaces integer,
	version integer NOT NULL,
	generation integer NOT NULL,
	redis_key text,
	ttl interval,
	push_interval interval,
	time_refresh interval,
	online text[],
	append_only boolean NOT NULL,
	on_error text NOT NULL DEFAULT 'stop' CHECK (on_error IN ('stop', 'skip')),
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	altered_at timestamptz,
	retention interval,
	watermark interval,
	snapshot boolean NOT NULL DEFAULT true,
	offline boolean NOT NULL DEFAULT false,
	history_interval interval,
	history_retention interval,
	history regclass,
	redis_layout text NOT NULL DEFAULT 'hash' CHECK (redis_layout IN ('hash', 'feast')),
	feast_project text,
	CHECK ((feast_project IS NOT NULL) = (redis_layout = 'feast')),
	CHECK ((relation IS NULL) = (replaces IS NOT NULL))
);
CREATE UNIQUE INDEX feature_view_catalog_name ON feature_view_catalog (name) WHERE replaces IS NULL;
CREATE UNIQUE INDEX feature_view_catalog_relation ON feature_view_catalog (relation);
COMMENT ON TABLE feature_view_catalog IS 'feature views of this database; written by the functions of feature_engine only';
COMMENT ON COLUMN feature_view_catalog.relation IS 'foreign table that users read; NULL while the row is a replacement being built';
COMMENT ON COLUMN feature_view_catalog.definition IS 'stored definition, a view in feature_engine_def; belongs to the extension';
COMMENT ON COLUMN feature_view_catalog.replaces IS 'view that this new definition will take the place of';
COMMENT ON COLUMN feature_view_catalog.version IS 'counts changes of definition and options';
COMMENT ON COLUMN feature_view_catalog.on_error IS 'what an error in an expression over a row does: stop or skip';
COMMENT ON COLUMN feature_view_catalog.snapshot IS 'does a view over changes() begin with the rows that are there?';
COMMENT ON COLUMN feature_view_catalog.retention IS 'how long windows of GROUP BY are shown after their end';
COMMENT ON COLUMN feature_view_catalog.watermark IS 'how far the watermark is behind the highest event time';
COMMENT ON COLUMN feature_view_catalog.offline IS 'is every vector recorded in the history table?';
COMMENT ON COLUMN feature_view_catalog.history_interval IS 'at most one row of the history for each entity and interval; NULL: every change';
COMMENT ON COLUMN feature_view_catalog.history_retention IS 'how long rows of the history are kept; NULL: for ever';
COMMENT ON COLUMN feature_view_catalog.history IS 'the history table, a table of the view''s owner; NULL: none was made, or it was dropped';
COMMENT ON COLUMN feature_view_catalog.redis_layout IS 'how entities are written to Redis: hash, fields by name with values as text, or feast, what Feast''s client reads';
COMMENT ON COLUMN feature_view_catalog.feast_project IS 'project of Feast that the keys are of; NULL unless redis_layout is feast';
COMMENT ON COLUMN feature_view_catalog.generation IS 'counts rebuilds asked for by refresh_feature_view';
GRANT SELECT ON feature_view_catalog TO PUBLIC;
SELECT pg_extension_config_dump('feature_view_catalog', '');
SELECT pg_extension_config_dump('feature_view_id', '');

CREATE FUNCTION catalog_changed() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'fe_catalog_changed';
COMMENT ON FUNCTION catalog_changed() IS 'tells the workers and every session that the catalog of feature views has changed';
REVOKE ALL ON FUNCTION catalog_changed() FROM PUBLIC;
CREATE TRIGGER catalog_changed AFTER INSERT OR UPDATE OR DELETE ON feature_view_catalog
FOR EACH ROW EXECUTE FUNCTION catalog_changed();
CREATE TRIGGER catalog_truncated AFTER TRUNCATE ON feature_view_catalog
FOR EACH STATEMENT EXECUTE FUNCTION catalog_changed();

CREATE FUNCTION catalog_sql_drop() RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'fe_catalog_sql_drop';
COMMENT ON FUNCTION catalog_sql_drop() IS 'drops what is left of a feature view whose relation or stored definition was dropped';
CREATE EVENT TRIGGER feature_engine_sql_drop ON sql_drop EXECUTE FUNCTION catalog_sql_drop();

CREATE FUNCTION source_rewritten() RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'fe_source_rewritten';
COMMENT ON FUNCTION source_rewritten() IS 'rebuilds feature views whose generated column ALTER TABLE computes anew';
CREATE EVENT TRIGGER feature_engine_source_rewritten ON table_rewrite EXECUTE FUNCTION source_rewritten();

CREATE FUNCTION rolling(ts timestamptz, width interval, hop interval DEFAULT NULL, before interval DEFAULT NULL) RETURNS boolean
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_rolling';
CREATE FUNCTION rolling(ts timestamp, width interval, hop interval DEFAULT NULL, before interval DEFAULT NULL) RETURNS boolean
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_rolling';
CREATE FUNCTION rolling(ts date, width interval, hop interval DEFAULT NULL, before interval DEFAULT NULL) RETURNS boolean
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_rolling';
COMMENT ON FUNCTION rolling(timestamptz, interval, interval, interval) IS
'is ts in the window of that width that ends at T (with before: that ended so long ago)? floor(T - width, hop) <= ts <= T; default hop: at most width/100; hop => ''0'' is exact; NULL ts gives NULL. Errors: months or years, a hop that does not divide the width';
COMMENT ON FUNCTION rolling(timestamp, interval, interval, interval) IS 'the same for a timestamp, read as UTC';
COMMENT ON FUNCTION rolling(date, interval, interval, interval) IS 'the same for a date, read as its midnight in UTC';

CREATE FUNCTION tumbling(ts timestamptz, width interval, origin timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_tumbling';
CREATE FUNCTION tumbling(ts timestamp, width interval, origin timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_tumbling';
CREATE FUNCTION tumbling(ts date, width interval, origin timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_tumbling';
COMMENT ON FUNCTION tumbling(timestamptz, interval, timestamptz) IS
'is ts in the fixed window that holds T, from its start to T? Windows of that width are aligned to 1970-01-01 UTC, or to origin; NULL ts gives NULL. Errors: months or years';
COMMENT ON FUNCTION tumbling(timestamp, interval, timestamptz) IS 'the same for a timestamp, read as UTC';
COMMENT ON FUNCTION tumbling(date, interval, timestamptz) IS 'the same for a date, read as its midnight in UTC';

CREATE FUNCTION tumble(ts timestamptz, width interval, origin timestamptz DEFAULT NULL) RETURNS tstzrange
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_tumble';
CREATE FUNCTION tumble(ts timestamp, width interval, origin timestamptz DEFAULT NULL) RETURNS tstzrange
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_tumble';
CREATE FUNCTION tumble(ts date, width interval, origin timestamptz DEFAULT NULL) RETURNS tstzrange
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_tumble';
COMMENT ON FUNCTION tumble(timestamptz, interval, timestamptz) IS
'the window [start, start + width) that holds ts, for GROUP BY: windows follow each other without a gap, aligned to 1970-01-01 UTC as Spark aligns them, or to origin; NULL where ts is NULL or infinite. Errors: months or years, a width that is not positive';
COMMENT ON FUNCTION tumble(timestamp, interval, timestamptz) IS 'the same for a timestamp, read as UTC';
COMMENT ON FUNCTION tumble(date, interval, timestamptz) IS 'the same for a date, read as its midnight in UTC';

CREATE FUNCTION hop(ts timestamptz, width interval, slide interval, origin timestamptz DEFAULT NULL) RETURNS SETOF tstzrange
LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'fe_sql_hop';
CREATE FUNCTION hop(ts timestamp, width interval, slide interval, origin timestamptz DEFAULT NULL) RETURNS SETOF tstzrange
LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'fe_sql_hop';
CREATE FUNCTION hop(ts date, width interval, slide interval, origin timestamptz DEFAULT NULL) RETURNS SETOF tstzrange
LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'fe_sql_hop';
COMMENT ON FUNCTION hop(timestamptz, interval, interval, timestamptz) IS
'all windows [start, start + width) that hold ts, for GROUP BY: one begins every slide, aligned to 1970-01-01 UTC as Spark aligns them, or to origin; none where ts is NULL or infinite. Errors: months or years, a slide greater than the width, or so short that a row is in more than 1000 windows';
COMMENT ON FUNCTION hop(timestamp, interval, interval, timestamptz) IS 'the same for a timestamp, read as UTC';
COMMENT ON FUNCTION hop(date, interval, interval, timestamptz) IS 'the same for a date, read as its midnight in UTC';

CREATE FUNCTION session(ts timestamptz, gap interval) RETURNS tstzrange
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_session';
CREATE FUNCTION session(ts timestamp, gap interval) RETURNS tstzrange
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_session';
CREATE FUNCTION session(ts date, gap interval) RETURNS tstzrange
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'fe_sql_session';
COMMENT ON FUNCTION session(timestamptz, interval) IS
'in GROUP BY of a feature view: the session [first event, last event + gap) that a row belongs to; an event later than gap after the one before begins another, as in Spark and Flink. Rows whose ts is NULL or infinite are in none. Error in a plain query: a session depends on other rows';
COMMENT ON FUNCTION session(timestamp, interval) IS 'the same for a timestamp, read as UTC';
COMMENT ON FUNCTION session(date, interval) IS 'the same for a date, read as its midnight in UTC';

CREATE FUNCTION is_final("window" tstzrange) RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'fe_sql_is_final';
COMMENT ON FUNCTION is_final(tstzrange) IS
'has the window ended at or before the watermark? In a feature view, whose option watermark it needs, by that of the view; in a plain query by the setting feature_engine.watermark, or, without it, by T';

-- changes

CREATE FUNCTION changes_support(internal) RETURNS internal
LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'fe_changes_support';
COMMENT ON FUNCTION changes_support(internal) IS 'planner support of changes(): a query of it is an error, never empty';
REVOKE ALL ON FUNCTION changes_support(internal) FROM PUBLIC;

CREATE FUNCTION changes("table" anyelement, OUT op text, OUT before anyelement, OUT after anyelement,
	OUT committed_at timestamptz, OUT lsn pg_lsn, OUT before_at timestamptz) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE SUPPORT changes_support
AS 'MODULE_PATHNAME', 'fe_changes';
COMMENT ON FUNCTION changes(anyelement) IS
'the stream of changes of a table, FROM changes(NULL::orders) c, in the definition of a feature view: a row for each change, op ''c'' (insert), ''u'' (update), ''d'' (delete) or ''r'' (a row that was there when the view was created), the row before and after it, when it committed (NULL for ''r''), its position in the log, which no two changes share (for ''r'' that of the snapshot), and when the row''s previous change committed (NULL where that is not known). Errors: run as a query; no SELECT privilege on the table or the columns used';

CREATE FUNCTION create_feature_view(name text, query text, redis_key text DEFAULT NULL, ttl interval DEFAULT NULL,
	push_interval interval DEFAULT NULL, time_refresh interval DEFAULT NULL, online text[] DEFAULT NULL,
	append_only boolean DEFAULT false, replace boolean DEFAULT false, on_error text DEFAULT 'stop',
	retention interval DEFAULT NULL, watermark interval DEFAULT NULL,
	snapshot boolean DEFAULT true, offline boolean DEFAULT false, history_interval interval DEFAULT NULL,
	history_retention interval DEFAULT NULL, redis_layout text DEFAULT 'hash',
	feast_project text DEFAULT NULL) RETURNS regclass
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'fe_create_feature_view';
COMMENT ON FUNCTION create_feature_view(text, text, text, interval, interval, interval, text[], boolean, boolean, text, interval, interval, boolean, boolean, interval, interval, text, text) IS
'creates a feature view: query is one SELECT over a table, several (UNION ALL, joins by a unique key) or changes() with GROUP BY, or one over a table without it for current values; redis_key a template (default name:key), ttl the expiry of a Redis key, online the features that go to Redis (default all, ''{}'' none), append_only allows a table without REPLICA IDENTITY FULL, replace gives an existing view a new definition, built beside the old one, on_error what an error in an expression over a row does: ''stop'' stops the view until it can be rebuilt, ''skip'' leaves the row out, counts it (status.skipped) and logs it. For windows in GROUP BY: retention, how long after its end a window is shown and kept (default for ever; rows that come later are ignored and counted as expired); watermark, how far it is behind the highest event time seen: is_final(window) tells which windows have ended at or before it, and with append_only or changes() a row is left out, and counted as late, when every window that could hold it has. snapshot => false lets a view over changes() begin without the rows that are there. offline => true records what is pushed in a table name_history of the view''s owner, with or without Redis: history_interval, at most one row for each entity and interval (default every change); history_retention, how long rows are kept (default for ever). redis_layout => ''feast'' writes what Feast''s own client reads from Redis, under the name of feast_project (default: the database''s), instead of ''hash'', fields by name with values as text. Errors name what is not supported and where';

CREATE FUNCTION create_feature_view(name text, definition regclass, redis_key text DEFAULT NULL, ttl interval DEFAULT NULL,
	push_interval interval DEFAULT NULL, time_refresh interval DEFAULT NULL, online text[] DEFAULT NULL,
	append_only boolean DEFAULT false, replace boolean DEFAULT false, on_error text DEFAULT 'stop',
	retention interval DEFAULT NULL, watermark interval DEFAULT NULL,
	snapshot boolean DEFAULT true, offline boolean DEFAULT false, history_interval interval DEFAULT NULL,
	history_retention interval DEFAULT NULL, redis_layout text DEFAULT 'hash',
	feast_project text DEFAULT NULL) RETURNS regclass
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'fe_create_feature_view_from';
COMMENT ON FUNCTION create_feature_view(text, regclass, text, interval, interval, interval, text[], boolean, boolean, text, interval, interval, boolean, boolean, interval, interval, text, text) IS
'the same with an existing view as definition; its query is copied';

CREATE FUNCTION drop_feature_view(name text, if_exists boolean DEFAULT false, history boolean DEFAULT false) RETURNS boolean
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'fe_drop_feature_view';
COMMENT ON FUNCTION drop_feature_view(text, boolean, boolean) IS
'drops a feature view, its relation and its state, with history => true also its history table, which is kept otherwise; false where there is none and if_exists is given. Errors: not its owner, other objects depend on the relation or the history';

CREATE FUNCTION alter_feature_view(name text, redis_key text DEFAULT NULL, ttl interval DEFAULT NULL,
	push_interval interval DEFAULT NULL, time_refresh interval DEFAULT NULL, online text[] DEFAULT NULL,
	reset text[] DEFAULT NULL, on_error text DEFAULT NULL, retention interval DEFAULT NULL,
	watermark interval DEFAULT NULL, offline boolean DEFAULT NULL, history_interval interval DEFAULT NULL,
	history_retention interval DEFAULT NULL, redis_layout text DEFAULT NULL,
	feast_project text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'fe_alter_feature_view';
COMMENT ON FUNCTION alter_feature_view(text, text, interval, interval, interval, text[], text[], text, interval, interval, boolean, interval, interval, text, text) IS
'changes options of a feature view; NULL leaves one as it is, reset => ARRAY[''ttl'', ...] gives options their defaults again. Another on_error or retention builds the view anew, at once. offline => true begins a history, and makes its table where it is missing; false stops it, and keeps the table';

CREATE FUNCTION refresh_feature_view(name text) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'fe_refresh_feature_view';
COMMENT ON FUNCTION refresh_feature_view(text) IS 'throws the state of a feature view away and builds it anew from its tables; over changes() it begins a new history';

CREATE TABLE feature_service (
	name text PRIMARY KEY,
	features text[] NOT NULL,
	full_feature_names boolean NOT NULL,
	owner name NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE feature_service IS 'feature services of this database; written by the functions of feature_engine only; see feature_services';
COMMENT ON COLUMN feature_service.features IS 'as given: ''view:feature'' or ''view:*''';
COMMENT ON COLUMN feature_service.full_feature_names IS 'are columns called view__feature?';
COMMENT ON COLUMN feature_service.owner IS 'who created it, and may replace and drop it; a name, so that a dump can be restored where there is no such role';
GRANT SELECT ON feature_service TO PUBLIC;
SELECT pg_extension_config_dump('feature_service', '');

CREATE FUNCTION create_feature_service(name text, features text[], replace boolean DEFAULT false,
	full_feature_names boolean DEFAULT false) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'fe_create_feature_service';
COMMENT ON FUNCTION create_feature_service(text, text[], boolean, boolean) IS
'names a set of features over several views, each ''view:feature'' or ''view:*'' (all of a view, also those it gets later), for get_features(), get_feature_vector() and training sets: the same columns in the same order. full_feature_names names them view__feature. replace gives an existing service other features. Errors: a name in use by a service or a feature view, an unknown view or feature, two features of one name, no SELECT privilege on a view, not the owner of the service to be replaced';

CREATE FUNCTION drop_feature_service(name text, if_exists boolean DEFAULT false) RETURNS boolean
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'fe_drop_feature_service';
COMMENT ON FUNCTION drop_feature_service(text, boolean) IS
'drops a feature service; false where there is none and if_exists is given. Error: neither its owner nor that of a view which it uses';

CREATE FUNCTION service_shape(name text, OUT columns text[], OUT keys text[]) RETURNS record
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'fe_service_shape';
COMMENT ON FUNCTION service_shape(text) IS 'output columns and keys of a feature service; see the view feature_services';

CREATE FUNCTION explain_feature_view(query text, OUT item text, OUT value text, OUT note text) RETURNS SETOF record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 20 AS 'MODULE_PATHNAME', 'fe_explain_feature_view';
COMMENT ON FUNCTION explain_feature_view(text) IS
'dry run of create_feature_view: windows with their hops, how each aggregate is kept and whether it can be retracted, replica identity of the source, bytes an entity and a pane, why Redis is refreshed. Errors: as create_feature_view';
CREATE FUNCTION explain_feature_view(definition regclass, OUT item text, OUT value text, OUT note text) RETURNS SETOF record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 20 AS 'MODULE_PATHNAME', 'fe_explain_feature_view_from';
COMMENT ON FUNCTION explain_feature_view(regclass) IS 'the same for an existing view as definition';

CREATE FUNCTION check_feature_view(name text, sample integer DEFAULT NULL,
	OUT key jsonb, OUT feature text, OUT streamed text, OUT batch text) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'fe_check_feature_view';
COMMENT ON FUNCTION check_feature_view(text, integer) IS
'compares the streamed values with the batch query at the same T and returns what differs: no rows is right. sample: so many entities, chosen at random from the streamed ones and from the table in equal parts; without it all of them, for which the whole table is read. feature is NULL where a whole entity is missing on one side. Waits for this view first, as sync(view => ...) does; call it in a transaction that has not written. Floats may differ by 1e-9 of their value, or of the greatest one that their aggregates take in';

-- durable

-- What is stored of each view's state, and from where the log is replayed. Not
-- dumped: a restored definition is built from its table.
CREATE TABLE checkpoint (
	viewid integer PRIMARY KEY,
	format integer NOT NULL,
	system_identifier bigint NOT NULL,
	database oid NOT NULL,
	state_version integer NOT NULL,
	replay_lsn pg_lsn NOT NULL,
	cycle bigint NOT NULL,
	full_cycle bigint NOT NULL,
	chunks bigint NOT NULL,
	entities bigint NOT NULL,
	full_bytes bigint NOT NULL,
	more_bytes bigint NOT NULL,
	written_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	event_time bigint,	-- the highest seen, for the watermark
	partitions bytea	-- what it has rows of, where a source is partitioned
);
COMMENT ON TABLE checkpoint IS
'per feature view: the last whole checkpoint; changes from replay_lsn on are replayed from the log after a restart';

CREATE TABLE checkpoint_chunk (
	viewid integer NOT NULL,
	cycle bigint NOT NULL,
	number integer NOT NULL,
	data bytea NOT NULL,
	PRIMARY KEY (viewid, cycle, number)
) WITH (toast_tuple_target = 8160);
ALTER TABLE checkpoint_chunk ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE checkpoint_chunk IS 'entities of feature views, in the engine''s own form; see checkpoint';

-- Not dumped either: a restored view over changes() has a history of its own.
CREATE TABLE change_history (
	viewid integer PRIMARY KEY,
	generation integer NOT NULL,
	began_lsn pg_lsn NOT NULL,
	began_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE change_history IS 'per feature view over changes(): from which position on it has counted all changes';

CREATE TABLE change_gap (
	viewid integer NOT NULL,
	number integer NOT NULL,
	gap_from pg_lsn NOT NULL,
	gap_to pg_lsn NOT NULL,
	found_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	reason text NOT NULL,
	PRIMARY KEY (viewid, number)
);
COMMENT ON TABLE change_gap IS 'per feature view over changes(): parts of the log whose changes it has missed; the last hundred. See change_gaps';

CREATE TABLE change_time (
	viewid integer NOT NULL,
	source oid NOT NULL,
	key bytea NOT NULL,
	lsn pg_lsn NOT NULL,
	change pg_lsn NOT NULL,
	at timestamptz,
	PRIMARY KEY (viewid, source, key, lsn, change)
);
CREATE INDEX change_time_lsn ON change_time (viewid, lsn);
COMMENT ON TABLE change_time IS 'per feature view over changes() that uses before_at: when rows changed last, by primary key; NULL: deleted. Written by the ingest worker only';

-- online

-- Ids as a sequence of its own: nothing but the pusher writes here.
CREATE SEQUENCE online_footprint_id AS bigint;
COMMENT ON SEQUENCE online_footprint_id IS 'ids of rows of online_footprint';
CREATE TABLE online_footprint (
	id bigint PRIMARY KEY,
	view text NOT NULL,
	template text NOT NULL,
	fields text[] NOT NULL,
	ttl bigint NOT NULL,
	layout text NOT NULL DEFAULT 'hash'
);
COMMENT ON TABLE online_footprint IS 'what feature views have written to Redis: rows of no current view stand for keys that are still to be removed; written by the pusher only, and not dumped: a restored database has no keys';
COMMENT ON COLUMN online_footprint.view IS 'name of the feature view that wrote the keys';
COMMENT ON COLUMN online_footprint.template IS 'which keys: of layout hash the key template, with the numbers of key columns for their names, of layout feast the project and the join keys with their types';
COMMENT ON COLUMN online_footprint.fields IS 'features in the hashes, sorted';
COMMENT ON COLUMN online_footprint.ttl IS 'milliseconds that the keys live after a change, 0 = for ever; changed once it holds for all of them';
COMMENT ON COLUMN online_footprint.layout IS 'redis_layout of the view';

CREATE FUNCTION push_now(view text) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'fe_push_now';
COMMENT ON FUNCTION push_now(text) IS
'pushes every entity of a feature view to Redis again, then removes keys of no entity; returns at once, sync(redis => true) waits until every entity is there. Errors: unknown view, not its owner, no feature_engine.redis_url, view without online features';

-- offline

CREATE FUNCTION get_historical_features(entities text, features text[] DEFAULT NULL, service text DEFAULT NULL,
	max_age interval DEFAULT NULL, full_feature_names boolean DEFAULT false, known_only boolean DEFAULT false)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 AS 'MODULE_PATHNAME', 'fe_get_historical_features';
COMMENT ON FUNCTION get_historical_features(text, text[], text, interval, boolean, boolean) IS
'training set: for each row of the query entities its columns, then the features as of its event_timestamp, from the histories of their views: one row for one row, NULLs where there was no such entity. entities is one SELECT with the views'' key columns, by name, and event_timestamp (timestamptz; timestamp and date are read as UTC). features: ''view:feature'' or ''view:*'', or service: the name of a feature service. max_age: values recorded longer before are NULL. full_feature_names names columns view__feature. known_only leaves out what was recorded after event_timestamp, by backfill_history(). Needs a column list, AS f(...), which the error for a wrong one has. Runs as the caller, who needs SELECT on the histories. Errors: what the entity query lacks, with its position; unknown view, feature or service; a view without history; two columns of one name; a wrong column list';

CREATE FUNCTION historical_features_sql(entities text, features text[] DEFAULT NULL, service text DEFAULT NULL,
	max_age interval DEFAULT NULL, full_feature_names boolean DEFAULT false, known_only boolean DEFAULT false)
RETURNS text
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'fe_historical_features_sql';
COMMENT ON FUNCTION historical_features_sql(text, text[], text, interval, boolean, boolean) IS
'the statement that get_historical_features() runs, to be read, explained or run (\gexec): plain SQL over the histories. To be run with the same search_path. Arguments and errors as there';

CREATE FUNCTION create_training_set(name text, entities text, features text[] DEFAULT NULL, service text DEFAULT NULL,
	max_age interval DEFAULT NULL, full_feature_names boolean DEFAULT false, known_only boolean DEFAULT false)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'fe_create_training_set';
COMMENT ON FUNCTION create_training_set(text, text, text[], text, interval, boolean, boolean) IS
'makes a table of the training set, which belongs to the caller, and returns the number of its rows. Arguments and errors as with get_historical_features()';

CREATE FUNCTION feast_repository(project text DEFAULT NULL, offline_source text DEFAULT 'postgres',
	parquet_path text DEFAULT NULL, redis text DEFAULT NULL, host text DEFAULT NULL, port integer DEFAULT NULL,
	username text DEFAULT NULL, sslmode text DEFAULT 'prefer', OUT path text, OUT content text) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 2 AS 'MODULE_PATHNAME', 'fe_feast_repository';
COMMENT ON FUNCTION feast_repository(text, text, text, text, text, integer, text, text) IS
'the files of a Feast repository with the feature views of a project (redis_layout => ''feast''; default: the only project there is) and the feature services over them: feature_store.yaml and features.py. offline_source ''postgres'' reads the history tables, ''parquet'' what the companion exported to parquet_path. redis is Feast''s connection string (host:port,ssl=true,password=...), host, port (default: this server''s), username and sslmode are those of PostgreSQL; what is not given is read from the environment: FEAST_REDIS, PGHOST, PGUSER, and PGPASSWORD. Errors: no such view, several projects, names that Feast cannot have, features without a type of Feast''s, and for Parquet views without a history';

-- observe

CREATE FUNCTION view_status(OUT viewid integer, OUT state text, OUT backfill_pct float8, OUT events bigint,
	OUT late bigint, OUT expired bigint, OUT skipped bigint, OUT entities bigint, OUT panes bigint, OUT memory_bytes bigint,
	OUT dirty bigint, OUT tombstones bigint, OUT null_keys bigint, OUT last_error text,
	OUT last_error_at timestamptz, OUT event_time timestamptz, OUT history_rows bigint, OUT history_failures bigint,
	OUT history_at timestamptz, OUT history_error text, OUT history_error_at timestamptz) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'fe_view_status';
COMMENT ON FUNCTION view_status() IS 'shared state of this database''s feature views; see the view status. Messages of errors are shown to the view''s owner and to pg_read_all_stats';

CREATE FUNCTION worker_status(OUT ingest_state text, OUT ingest_pid integer, OUT capture_pid integer,
	OUT applied_lsn pg_lsn,
	OUT lag_bytes bigint, OUT wal_retained_bytes bigint, OUT last_commit timestamptz, OUT transactions bigint,
	OUT changes bigint, OUT failures integer, OUT last_error text, OUT last_error_at timestamptz,
	OUT pusher_pid integer, OUT redis_connected boolean, OUT pushes bigint, OUT push_failures bigint,
	OUT push_field_errors bigint, OUT redis_error text, OUT redis_error_at timestamptz) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'fe_worker_status';
COMMENT ON FUNCTION worker_status() IS
'the workers of this database: state and position of the ingest worker, the process that decodes for it, WAL held back by the replication slot, connection to Redis; no row where no worker was ever asked for. Messages of errors are shown to pg_read_all_stats';

CREATE VIEW feature_views AS
SELECT c.name, c.relation, c.definition, r.relowner::regrole AS owner,
	(SELECT min(d.refobjid)::regclass FROM pg_catalog.pg_depend d
	 JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid
	 WHERE w.ev_class = c.definition AND d.classid = 'pg_catalog.pg_rewrite'::regclass
	 AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> c.definition) AS source,
	pg_catalog.pg_get_viewdef(c.definition) AS query,
	coalesce(c.redis_key, '') AS redis_key, c.ttl, c.push_interval, c.time_refresh, c.online, c.append_only,
	c.on_error, c.created_at, c.altered_at,
	EXISTS (SELECT 1 FROM feature_view_catalog n WHERE n.replaces = c.viewid) AS being_replaced,
	(SELECT array_agg(DISTINCT d.refobjid::regclass) FROM pg_catalog.pg_depend d
	 JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid
	 WHERE w.ev_class = c.definition AND d.classid = 'pg_catalog.pg_rewrite'::regclass
	 AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> c.definition) AS sources,
	c.retention, c.watermark,
	c.snapshot, c.offline, c.history_interval, c.history_retention,
	(SELECT h.oid::regclass FROM pg_catalog.pg_class h WHERE h.oid = c.history) AS history,
	c.redis_layout, c.feast_project
FROM feature_view_catalog c JOIN pg_catalog.pg_class r ON r.oid = c.relation
WHERE c.replaces IS NULL;
COMMENT ON VIEW feature_views IS 'feature views of this database with their definitions and options';
GRANT SELECT ON feature_views TO PUBLIC;

CREATE VIEW feature_services AS
SELECT s.name, s.features, p.columns, p.keys,
	pg_catalog.to_regrole(pg_catalog.quote_ident(s.owner)) AS owner, s.full_feature_names, s.created_at
FROM feature_service s, service_shape(s.name) p;
COMMENT ON VIEW feature_services IS
'feature services of this database: their features as given, the output columns with types, in order (array_to_string(columns, '', '') is a column list), the keys that they need with types, and the owner (NULL where there is no such role any more); columns and keys are NULL where a view or feature is not there any more, or a new one has brought a name a second time';
GRANT SELECT ON feature_services TO PUBLIC;

CREATE VIEW change_gaps AS
SELECT c.name, g.gap_from, g.gap_to, g.found_at, g.reason
FROM feature_view_catalog c JOIN change_gap g USING (viewid);
COMMENT ON VIEW change_gaps IS
'feature views over changes() that went on without some changes: those that committed from gap_from to gap_to in the log were lost to them, when that was found, and why. refresh_feature_view() begins anew, without gaps';
GRANT SELECT ON change_gaps TO PUBLIC;

CREATE VIEW status AS
SELECT c.name, coalesce(s.state, 'waiting') AS state, w.ingest_state AS worker,
	w.lag_bytes,
	CASE WHEN w.lag_bytes = 0 THEN 0
		 ELSE extract(epoch FROM pg_catalog.clock_timestamp() - w.last_commit) END::float8 AS lag_seconds,
	w.wal_retained_bytes, coalesce(s.backfill_pct, 0) AS backfill_pct,
	s.events, s.late, s.expired, s.skipped, s.entities, s.panes, s.memory_bytes,
	s.dirty, s.tombstones, s.null_keys, w.redis_connected, w.pushes, w.push_failures, w.push_field_errors,
	coalesce(s.last_error, s.history_error, w.last_error, w.redis_error) AS last_error,
	coalesce(s.last_error_at, s.history_error_at, w.last_error_at, w.redis_error_at) AS last_error_at,
	pg_catalog.pg_blocking_pids(w.ingest_pid) AS waits_for,
	c.replaces IS NOT NULL AS replacement, s.event_time - c.watermark AS watermark,
	h.began_lsn AS history_from, g.gaps, g.gap_from, g.gap_to,
	s.history_rows, s.history_failures, s.history_at
FROM feature_view_catalog c
	LEFT JOIN view_status() s USING (viewid)
	LEFT JOIN worker_status() w ON true
	LEFT JOIN change_history h ON h.viewid = c.viewid AND h.generation = c.generation
	LEFT JOIN LATERAL (SELECT count(*) AS gaps, max(d.gap_to) AS gap_to,
		(array_agg(d.gap_from ORDER BY d.number DESC))[1] AS gap_from
		FROM change_gap d WHERE d.viewid = h.viewid) g ON h.viewid IS NOT NULL;
COMMENT ON VIEW status IS
'one row per feature view: state (waiting, backfilling, recovering, live, failed), the worker''s state, how far it is behind in bytes and seconds, WAL its slot holds back, progress of the backfill in percent, row images applied, late and expired ones and those skipped for an error (on_error; since state was built or loaded), entities and panes in memory and their bytes, entities waiting for Redis, pushes and failures, the last error (<insufficient privilege> but to the view''s owner and to pg_read_all_stats), the processes that the worker waits for, and the watermark of views that have one; of a view over changes() also the position from which on it has counted all changes (history_from), how many gaps there are and where the last one is (change_gaps has all); of a view with offline => true the rows recorded in its history and the failed attempts (since its state was built or loaded), and the event_timestamp of the last row';
GRANT SELECT ON status TO PUBLIC;

-- offline

CREATE FUNCTION backfill_history(view text, "from" timestamptz, "to" timestamptz, step interval,
	event_time text DEFAULT NULL) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'fe_backfill_history';
COMMENT ON FUNCTION backfill_history(text, timestamptz, timestamptz, interval, text) IS
'computes history rows of a feature view for the instants from, from + step, ... up to, and returns how many it wrote: at each instant T the view''s query is run over its tables as they are now with T as the present, and an entity gets a row where its features differ from its last row. Rows that are there stay, and nothing is computed at or after the first instant that was recorded. created is the time of the call. event_time: the column of the source that tells when a row came to be; rows later than T are left out (views with aggregates without a window need it). Takes the view''s owner. Errors: a view over changes, is_final(), more than 100000 steps';

CREATE FUNCTION skew_report(view text, "from" timestamptz, "to" timestamptz, instants integer DEFAULT 10,
	event_time text DEFAULT NULL, lag interval DEFAULT '1 second',
	OUT feature text, OUT compared bigint, OUT mismatches bigint, OUT missing bigint, OUT extra bigint,
	OUT max_relative_error float8, OUT max_absolute_error float8, OUT example jsonb, OUT note text)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 20 AS 'MODULE_PATHNAME', 'fe_skew_report';
COMMENT ON FUNCTION skew_report(text, timestamptz, timestamptz, integer, text, interval) IS
'compares the history of a feature view, which is what was served, with its query over the tables as they are now, at so many instants at which rows were recorded; a row for entities as a whole (feature is NULL), then one for each feature. compared: pairs; mismatches: those that differ (numbers by 1e-9 and more of their value, or of the greatest one that their aggregates take in), of which missing are not in the history and extra are only there; errors are the greatest ones of all pairs, also of those that count as equal; note says what is not compared. lag: what is recorded so soon after an instant does not count as a mismatch. event_time as in backfill_history. Takes SELECT on the view, on its history, and on the column event_time';
