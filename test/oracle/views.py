"""Feature views that the oracle test compares with their batch queries.

Each is (name, definition, options). Together they hold every aggregate, type and
kind of window that the engine accepts, keys of several types, filters, derived
features, an outer SELECT, CTEs, HAVING, and expressions that depend on T.
"""

import views_changes
import views_generic
import views_joins
import views_ml
import views_windows
from views_current import VIEWS_CURRENT
from views_sources import SOURCES_SCHEMA, SOURCES_VIEWS

SCHEMA = views_generic.SCHEMA + """
CREATE TABLE events (
    id        bigserial PRIMARY KEY,
    customer  int,
    merchant  text,
    account   bigint,
    qty       int,
    small     smallint,
    big       bigint,
    amount    numeric(12,2),
    rate      numeric,
    score     float8,
    ratio     float4,
    status    text,
    note      text,
    created   timestamptz,
    local_ts  timestamp,
    day       date
);
ALTER TABLE events REPLICA IDENTITY FULL;
CREATE INDEX ON events (customer);
""" + SOURCES_SCHEMA + views_joins.SCHEMA + views_changes.SCHEMA

NAMED = ", LATERAL (SELECT rolling(created, '7 days') AS w7, rolling(created, '30 days') AS w30," \
        " rolling(created, '90 days') AS w90) w "

VIEWS = [
    ("v_lesson", f"""
        SELECT customer,
               count(*) FILTER (WHERE w30)          AS order_count_30d,
               sum(amount) FILTER (WHERE w30)       AS total_spend_30d,
               avg(amount) FILTER (WHERE w30)       AS avg_order_value_30d,
               stddev(amount) FILTER (WHERE w30)    AS order_value_stddev_30d,
               max(created)                         AS last_order_time,
               last(status, created)                AS last_status,
               extract(day FROM now() - max(created))::int AS days_since_last_order,
               (sum(amount) FILTER (WHERE w30) > 1000)::int AS is_high_value
        FROM events {NAMED} WHERE status <> 'cancelled' GROUP BY customer""", {}),
    ("v_three_windows", f"""
        SELECT customer, count(*) FILTER (WHERE w7) AS c7, count(*) FILTER (WHERE w30) AS c30,
               count(*) FILTER (WHERE w90) AS c90, sum(qty) FILTER (WHERE w7) AS s7,
               sum(qty) FILTER (WHERE w30) AS s30, sum(qty) FILTER (WHERE w90) AS s90,
               avg(qty) FILTER (WHERE w7) AS a7
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_lifetime", """
        SELECT customer, count(*) AS n, count(qty) AS nq, count(DISTINCT merchant) AS merchants,
               sum(qty) AS sq, sum(big) AS sb, sum(amount) AS sa, avg(rate) AS ar,
               min(amount) AS lo, max(amount) AS hi
        FROM events GROUP BY customer""", {}),
    ("v_variance", """
        SELECT customer, stddev(qty) AS a, stddev_pop(small) AS b, variance(big) AS c,
               var_pop(amount) AS d, var_samp(rate) AS e, stddev_samp(score) AS f,
               var_pop(ratio) AS g, avg(ratio) AS h
        FROM events GROUP BY customer""", {}),
    ("v_numeric", """
        SELECT customer, sum(rate) FILTER (WHERE rolling(created, '7 days')) AS s,
               avg(rate) FILTER (WHERE rolling(created, '7 days')) AS a,
               stddev(rate) FILTER (WHERE rolling(created, '7 days')) AS d
        FROM events GROUP BY customer""", {}),
    ("v_float", """
        SELECT customer, sum(score) AS s, avg(score) AS a, stddev(score) AS d,
               sum(score) FILTER (WHERE rolling(created, '30 days')) AS s30,
               min(score) AS lo, max(ratio) AS hi
        FROM events GROUP BY customer""", {}),
    ("v_minmax_types", """
        SELECT customer, min(created) AS c0, max(local_ts) AS l1, min(day) AS d0, max(status) AS s1,
               min(note) AS n0, max(big) AS b1, min(small) AS m0, max(qty) AS q1
        FROM events GROUP BY customer""", {}),
    ("v_minmax_windowed", """
        SELECT customer, min(amount) FILTER (WHERE rolling(created, '7 days')) AS lo,
               max(amount) FILTER (WHERE rolling(created, '7 days')) AS hi,
               max(note) FILTER (WHERE rolling(created, '30 days')) AS note,
               count(DISTINCT merchant) FILTER (WHERE rolling(created, '30 days')) AS merchants
        FROM events GROUP BY customer""", {}),
    ("v_first_last", """
        SELECT customer, first(status, created) AS f, last(status, created) AS l,
               first(qty, local_ts) AS fq, last(amount, day) AS la,
               last(note, created) FILTER (WHERE rolling(created, '30 days')) AS ln,
               first(merchant, created) FILTER (WHERE rolling(created, '7 days')) AS fm
        FROM events GROUP BY customer""", {}),
    # what reads the state of another aggregate of the same rows, and what must not
    ("v_shared", f"""
        SELECT customer, max(created) AS c1, min(created) AS c0, first(status, created) AS f,
               last(status, created) AS l, max(created) FILTER (WHERE w7) AS w1,
               min(created) FILTER (WHERE w30) AS w0, last(note, created) FILTER (WHERE w7) AS ln,
               min(created) FILTER (WHERE status = 'paid') AS p0,
               last(qty, created) FILTER (WHERE status = 'paid') AS pq,
               max(created) FILTER (WHERE qty > 2) AS q1,
               max(local_ts) AS lt1, first(merchant, local_ts) AS lm, max(day) AS d1,
               last(amount, day) AS da, count(DISTINCT created) AS cc
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_counted", f"""
        SELECT customer, count(amount) AS na, sum(amount) AS sa, count(qty) FILTER (WHERE w7) AS nq,
               avg(qty) FILTER (WHERE w7) AS aq, count(score) AS ns, stddev(score) AS ds,
               count(ratio) AS nr, avg(ratio) AS ar, count(rate) FILTER (WHERE w30) AS nt,
               variance(rate) FILTER (WHERE w30) AS vt, count(big) AS nb, sum(big) AS sb
        FROM events {NAMED} GROUP BY customer""", {}),
    ("v_exact", """
        SELECT customer, count(*) FILTER (WHERE rolling(created, '1 day', hop => '0')) AS n,
               sum(amount) FILTER (WHERE rolling(created, '1 day', hop => '0')) AS s
        FROM events GROUP BY customer""", {}),
    ("v_minutes", """
        SELECT customer, count(*) FILTER (WHERE rolling(created, '5 minutes')) AS n5,
               count(*) FILTER (WHERE rolling(created, '1 minute')) AS n1,
               sum(qty) FILTER (WHERE rolling(created, '1 hour', hop => '1 minute')) AS s
        FROM events GROUP BY customer""", {}),
    ("v_where_rolling", """
        SELECT customer, count(*) AS n, sum(amount) AS s, avg(score) AS a, max(created) AS latest
        FROM events WHERE rolling(created, '30 days') GROUP BY customer""", {}),
    ("v_where_and_filter", """
        SELECT customer, count(*) AS n30, count(*) FILTER (WHERE rolling(created, '7 days')) AS n7,
               sum(qty) FILTER (WHERE rolling(created, '7 days') AND status = 'paid') AS paid7
        FROM events WHERE rolling(created, '30 days') AND qty > 2 GROUP BY customer""", {}),
    ("v_where_exact", """
        SELECT customer, count(*) AS n, max(amount) AS hi
        FROM events WHERE rolling(created, '2 hours', hop => '0') GROUP BY customer""", {}),
    ("v_tumbling", """
        SELECT customer, count(*) FILTER (WHERE tumbling(created, '30 days')) AS n,
               sum(amount) FILTER (WHERE tumbling(created, '30 days')) AS s,
               avg(amount) FILTER (WHERE tumbling(created, '7 days', '2026-01-02Z')) AS a
        FROM events GROUP BY customer""", {}),
    ("v_where_tumbling", """
        SELECT merchant, count(*) AS n, count(DISTINCT customer) AS customers, sum(qty) AS units
        FROM events WHERE tumbling(created, '1 day') GROUP BY merchant""", {}),
    ("v_two_event_times", """
        SELECT customer, count(*) FILTER (WHERE rolling(created, '7 days')) AS by_created,
               count(*) FILTER (WHERE rolling(local_ts, '7 days')) AS by_local,
               sum(qty) FILTER (WHERE rolling(day, '30 days')) AS by_day
        FROM events GROUP BY customer""", {}),
    ("v_two_keys", """
        SELECT customer, merchant, count(*) AS n, sum(amount) FILTER (WHERE rolling(created, '7 days')) AS s7
        FROM events GROUP BY customer, merchant""", {"redis_key": "cm:{customer}:{merchant}"}),
    ("v_key_expression", """
        SELECT lower(merchant) AS m, qty % 3 AS r, count(*) AS n, sum(amount * qty) AS revenue
        FROM events GROUP BY lower(merchant), qty % 3""", {}),
    ("v_bigint_key", """
        SELECT account, count(*) AS n, last(status, created) AS s FROM events
        WHERE account IS NOT NULL GROUP BY account""", {"ttl": "60 days"}),
    ("v_date_key", """
        SELECT day, count(*) AS n, sum(amount) AS s FROM events GROUP BY day""", {}),
    ("v_filters", """
        SELECT customer, count(*) FILTER (WHERE status = 'paid') AS paid,
               count(*) FILTER (WHERE status IS NULL) AS unknown,
               sum(CASE WHEN qty > 5 THEN amount ELSE 0 END) AS big_spend,
               count(*) FILTER (WHERE qty > 5 AND rolling(created, '30 days')) AS big30,
               avg(coalesce(qty, 0) + 0.5) AS shifted
        FROM events GROUP BY customer""", {}),
    ("v_derived", """
        SELECT customer, count(*) FILTER (WHERE rolling(created, '7 days'))::float8
                   / nullif(count(*) FILTER (WHERE rolling(created, '30 days')), 0) AS velocity,
               coalesce(sum(amount), 0) AS s,
               CASE WHEN count(*) > 10 THEN 'often' ELSE 'seldom' END AS class,
               extract(epoch FROM max(created) - min(created)) / nullif(count(*) - 1, 0) AS gap
        FROM events GROUP BY customer""", {}),
    ("v_outer", """
        SELECT f.*, s30 > 500 AS is_high, s30 / nullif(n30, 0) AS mean
        FROM (SELECT customer, count(*) FILTER (WHERE rolling(created, '30 days')) AS n30,
                     sum(amount) FILTER (WHERE rolling(created, '30 days')) AS s30
              FROM events GROUP BY customer) f""", {}),
    ("v_cte", """
        WITH e AS (SELECT customer, amount * 2 AS twice, created FROM events WHERE qty IS NOT NULL)
        SELECT customer, sum(twice) AS s, count(*) FILTER (WHERE rolling(created, '7 days')) AS n
        FROM e GROUP BY customer""", {}),
    ("v_having", """
        SELECT customer, count(*) AS n, avg(amount) AS a FROM events
        GROUP BY customer HAVING count(*) > 5""", {}),
    ("v_time_dependent", """
        SELECT merchant, extract(epoch FROM now() - max(created))::bigint AS age,
               now() - min(created) > interval '30 days' AS old, count(*) AS n
        FROM events GROUP BY merchant""", {}),
    ("v_before", """
        SELECT customer, count(*) FILTER (WHERE rolling(created, '7 days')) AS n,
               count(*) FILTER (WHERE rolling(created, '7 days', before => '7 days')) AS previous
        FROM events GROUP BY customer""", {}),
    # rows whose expressions raise an error: of every third or so, and of one in 40,000
    ("v_skips", """
        SELECT customer, count(*) AS n, sum(840 / qty) AS s, max(amount / (small % 5)) AS hi,
               count(*) FILTER (WHERE rolling(created, '7 days')) AS n7,
               sum(100 / (qty - 3)) FILTER (WHERE rolling(created, '7 days')) AS w7
        FROM events GROUP BY customer""", {"on_error": "skip"}),
    ("v_skips_seldom", """
        SELECT customer, count(*) AS n, sum(100 / (amount - 13.37)) AS s,
               last(status, created) FILTER (WHERE rolling(created, '30 days')) AS l
        FROM events GROUP BY customer""", {"on_error": "skip"}),
]

# How many key columns, where it is not one.
NKEYS = {"v_two_keys": 2, "v_key_expression": 2}

# The batch query would raise the error: what it must equal is this query. An argument is
# evaluated for a row of any age, but not for one that is in no window at any time.
WITHOUT_ERRORS = {
    "v_skips": """ WHERE qty IS DISTINCT FROM 0 AND small % 5 <> 0
        AND (qty IS DISTINCT FROM 3 OR created IS NULL OR NOT isfinite(created)) GROUP BY""",
    "v_skips_seldom": " WHERE amount <> 13.37 GROUP BY",
}

# those over changes first, and so before the first change
VIEWS[:0] = views_changes.VIEWS
VIEWS += (VIEWS_CURRENT + views_generic.VIEWS + views_ml.VIEWS + SOURCES_VIEWS + views_windows.VIEWS
          + views_joins.VIEWS)
WITHOUT_ERRORS.update(views_joins.WITHOUT_ERRORS)
NKEYS.update(views_joins.NKEYS)


def batch_query(name, query):
    """What a view's streamed values must equal."""
    query = views_windows.BATCH.get(name, query)
    # what is stored has T in the place of now(); so must the query that is compared
    query = views_changes.batch_query(query.replace("now()", "feature_engine.now()"))
    return query.replace("GROUP BY", WITHOUT_ERRORS[name]) if name in WITHOUT_ERRORS else query
