"""Feature views over the extension's own aggregates: sketches, lists, moments, decay."""

VIEWS = [
    ("v_ml_lists", """
        SELECT customer, first_n(status, created, 3) AS f3, last_n(status, created, 4) AS l4,
               last_distinct_n(merchant, created, 3) AS d3, last_n(rate, local_ts, 5) AS r5,
               first_n(qty, day, 2) AS q2, last_distinct_n(rate, created, 2) AS dr,
               last(status, created) AS l, top_k(merchant, 3) AS k3, top_k(rate, 2) AS kr,
               top_k(qty, 4) AS kq, max(qty) AS hi
        FROM events GROUP BY customer""", {}),
    ("v_ml_lists_windowed", """
        SELECT customer, last_n(note, created, 3) FILTER (WHERE rolling(created, '7 days')) AS n3,
               first_n(amount, created, 2) FILTER (WHERE rolling(created, '30 days')) AS a2,
               last_distinct_n(status, created, 2) FILTER (WHERE rolling(created, '30 days')) AS s2,
               last_distinct_n(score, created, 3) FILTER (WHERE rolling(created, '7 days')) AS f3,
               top_k(merchant, 2) FILTER (WHERE rolling(created, '7 days')) AS k2,
               top_k(note, 3) FILTER (WHERE qty > 3 AND rolling(created, '30 days')) AS kn
        FROM events GROUP BY customer""", {}),
    ("v_ml_buckets", """
        SELECT customer, approx_percentile(score, 0.5) AS p50, approx_percentile(score, 0.99) AS p99,
               approx_percentile(amount, 0) AS lo, approx_percentile(big, 1) AS hi,
               histogram(score, -100, 1000, 10) AS h10, histogram(qty, 12, 0, 4) AS hq,
               approx_percentile(score, 0.9) FILTER (WHERE rolling(created, '7 days')) AS p90_7,
               histogram(amount, 0, 400, 8) FILTER (WHERE rolling(created, '30 days')) AS ha
        FROM events GROUP BY customer""", {}),
    ("v_ml_moments", """
        SELECT customer, skewness(score) AS s, kurtosis(score) AS k, skewness(qty) AS sq,
               kurtosis(big) AS kb, skewness(amount) FILTER (WHERE rolling(created, '30 days')) AS sa,
               kurtosis(ratio) FILTER (WHERE status = 'paid') AS kr
        FROM events GROUP BY customer""", {}),
    ("v_ml_decay", """
        SELECT customer, exp_decay_sum(score, created, '1 day') AS d1,
               exp_decay_sum(amount, local_ts, '7 days') AS d7, exp_decay_sum(qty, day, '30 days') AS dd,
               exp_decay_sum(score, created, '1 minute') AS dm,
               exp_decay_sum(amount, created, '1 hour') FILTER (WHERE rolling(created, '7 days')) AS w,
               count(*) AS n
        FROM events GROUP BY customer""", {}),
    ("v_ml_decay_having", """
        SELECT merchant, exp_decay_sum(qty, created, '2 days') > 10 AS active, count(*) AS n
        FROM events WHERE rolling(created, '30 days') GROUP BY merchant
        HAVING exp_decay_sum(amount, created, '1 day') > 50""", {}),
]
