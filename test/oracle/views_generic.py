"""Feature views whose aggregates PostgreSQL itself computes from the arguments kept, and those
with a compact state of their own. ORDER BY is total wherever the order shows."""

SCHEMA = """
CREATE FUNCTION log_add(s float8[], x float8) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT AS
$$ SELECT ARRAY[s[1] + ln(1 + abs(x)), s[2] + 1] $$;
CREATE FUNCTION log_mean(s float8[]) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN RETURN CASE WHEN s[2] > 0 THEN exp(s[1] / s[2]) - 1 END; END $$;
CREATE AGGREGATE geometric_mean(float8) (sfunc = log_add, stype = float8[], finalfunc = log_mean, initcond = '{0,0}');
CREATE FUNCTION pair_add(s text, a anyelement, b anyelement) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT coalesce(s, '') || coalesce(a::text, '-') || ':' || coalesce(b::text, '-') || ' ' $$;
CREATE AGGREGATE pairs(a anyelement, b anyelement) (sfunc = pair_add, stype = text);
CREATE FUNCTION all_add(s int[], VARIADIC x int[]) RETURNS int[] LANGUAGE sql IMMUTABLE AS
$$ SELECT s || x $$;
CREATE AGGREGATE all_of(VARIADIC int[]) (sfunc = all_add, stype = int[], initcond = '{}');
"""

NAMED = ", LATERAL (SELECT rolling(created, '7 days') AS w7, rolling(created, '30 days') AS w30) w "

VIEWS = [
    ("v_lists", f"""
        SELECT customer, array_agg(qty ORDER BY created, id) AS q, string_agg(status, ',' ORDER BY id) AS s,
               string_agg(merchant, '|' ORDER BY created DESC NULLS LAST, id) FILTER (WHERE w7) AS m7,
               array_agg(amount ORDER BY amount DESC, id) FILTER (WHERE w30 AND qty > 3) AS a30,
               array_agg(status ORDER BY status) AS ties, (array_agg(id ORDER BY id DESC))[1:3] AS last3
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_json", f"""
        SELECT customer, jsonb_agg(amount ORDER BY id) FILTER (WHERE w7) AS a7,
               json_agg(merchant ORDER BY merchant, id) AS m, jsonb_object_agg(id, status ORDER BY id) AS by_id,
               jsonb_agg(local_ts ORDER BY local_ts, id) FILTER (WHERE qty = 1) AS ts
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_percentiles", f"""
        SELECT customer, percentile_cont(0.5) WITHIN GROUP (ORDER BY score) AS median,
               percentile_cont(ARRAY[0.1, 0.5, 0.99]) WITHIN GROUP (ORDER BY qty) FILTER (WHERE w30) AS p30,
               percentile_disc(0.9) WITHIN GROUP (ORDER BY created) AS late,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY merchant) FILTER (WHERE w7) AS m7,
               mode() WITHIN GROUP (ORDER BY status) AS usual,
               mode() WITHIN GROUP (ORDER BY qty) FILTER (WHERE w7) AS usual7,
               rank(5) WITHIN GROUP (ORDER BY qty) AS rank5,
               cume_dist(100) WITHIN GROUP (ORDER BY amount) AS below100
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_distinct", f"""
        SELECT customer, sum(DISTINCT qty) AS s, avg(DISTINCT amount) AS a, stddev(DISTINCT small) AS d,
               sum(DISTINCT rate) FILTER (WHERE w30) AS r30, array_agg(DISTINCT status) AS statuses,
               string_agg(DISTINCT merchant, ',' ORDER BY merchant DESC) FILTER (WHERE w7) AS m7,
               count(DISTINCT (status, qty)) AS pairs, max(DISTINCT amount) AS hi,
               count(DISTINCT note) FILTER (WHERE w7) AS notes, sum(DISTINCT ratio) AS sr
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_bools", f"""
        SELECT customer, bool_and(qty > 0) AS a, bool_or(status = 'paid') AS o, every(amount > 10) AS e,
               bool_and(score > 0) FILTER (WHERE w7) AS a7, bool_or(qty = 11) FILTER (WHERE w7) AS o7
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_bits", f"""
        SELECT customer, bit_and(qty) AS a, bit_or(small) AS o, bit_xor(big) AS x,
               bit_and(small) FILTER (WHERE w7) AS a7, bit_or(qty) FILTER (WHERE w7) AS o7,
               bit_xor(qty) FILTER (WHERE w30) AS x30, bit_or(qty::bit(4)) AS b
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_regression", f"""
        SELECT customer, corr(score, qty) AS c, covar_pop(score, amount::float8) AS cp,
               covar_samp(score, qty) FILTER (WHERE w30) AS cs, regr_count(score, qty) AS n,
               regr_avgx(score, qty) AS ax, regr_avgy(score, qty) AS ay, regr_sxx(score, qty) AS sxx,
               regr_syy(qty, small) AS syy, regr_sxy(qty, small) AS sxy, regr_slope(qty, small) AS b,
               regr_intercept(qty, small) FILTER (WHERE w30) AS a, regr_r2(qty, small) AS r2,
               corr(qty, small) FILTER (WHERE w7) AS c7
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_intervals", f"""
        SELECT customer, sum(local_ts - timestamp '2026-01-01') AS s, avg(local_ts - timestamp '2026-01-01') AS a,
               sum(make_interval(months => qty, days => small, secs => score)) AS s2,
               avg(make_interval(months => qty, days => small, secs => score)) FILTER (WHERE w7) AS a7,
               max(local_ts - timestamp '2026-01-01') AS hi
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_ranges", f"""
        SELECT customer, range_agg(int4range(qty, qty + 2)) AS r,
               range_intersect_agg(int4range(-qty, qty + 2)) AS i,
               range_agg(daterange(day, day + 3)) FILTER (WHERE w30) AS d30
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_users_own", f"""
        SELECT customer, geometric_mean(score) AS g, geometric_mean(amount) FILTER (WHERE w7) AS g7,
               pairs(status, merchant ORDER BY id) AS p,
               pairs(qty, small::int ORDER BY created, id) FILTER (WHERE w7) AS p7,
               all_of(qty, small::int ORDER BY id) AS vs
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_list_in_where", """
        SELECT merchant, array_agg(amount ORDER BY created, id) AS a, count(*) AS n,
               percentile_disc(0.25) WITHIN GROUP (ORDER BY note) AS p
        FROM events WHERE rolling(created, '7 days') GROUP BY merchant""", {}),
    ("v_ordered_calls", """
        SELECT customer, sum(qty ORDER BY id) AS s, max(amount ORDER BY qty) AS m,
               last(status, created ORDER BY id) AS l, count(qty ORDER BY id) AS n,
               sum(ratio ORDER BY id) AS r
        FROM events GROUP BY customer""", {}),
]
