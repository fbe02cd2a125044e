"""Current values for the oracle test: views without GROUP BY, whose entities are the rows of
events themselves, named by its primary key; and columns beside GROUP BY of that."""

VIEWS_CURRENT = [
    ("v_current", """
        SELECT id, customer, merchant, account, qty, small, big, amount, rate, score, ratio, note,
               created, local_ts, day, qty + 1 AS more, upper(status) AS status,
               extract(epoch FROM now() - created)::bigint AS age
        FROM events WHERE status <> 'cancelled' AND created > '2000-01-01'""", {}),
    ("v_current_recent", """
        SELECT e.*, amount > 100 AS dear FROM (
            SELECT id, amount, rate, note, status FROM events, LATERAL (SELECT rolling(created, '7 days') AS w) x
            WHERE w AND qty > 1) e""", {}),
    ("v_current_beside", """
        SELECT id, note, count(*) AS n, count(*) FILTER (WHERE rolling(created, '1 day')) AS n1, max(rate) AS hi
        FROM events GROUP BY id HAVING merchant <> 'Zoo'""", {}),
]
