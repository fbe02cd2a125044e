"""Feature views with a window in GROUP BY: several rows an entity.

WINDOWS says how such a view is compared: its keys besides the window, and the column
that shows the window. A batch query that is not the definition itself (sessions have no
plain form, retention hides rows) is in BATCH.
"""

SESSIONS = """
    SELECT {keys}, tstzrange(min({ts}), max({ts}) + interval '{gap}') AS w, {outputs}
    FROM (SELECT s.*, sum(starts) OVER (PARTITION BY {keys} ORDER BY {ts}) AS island
          FROM (SELECT e.*, CASE WHEN {ts} - lag({ts}) OVER (PARTITION BY {keys} ORDER BY {ts})
                                      <= interval '{gap}' THEN 0 ELSE 1 END AS starts
                FROM {source} e WHERE isfinite({ts}) {condition}) s) s
    GROUP BY {keys}, island"""

VIEWS = [
    ("v_tumble", """
        SELECT customer, tumble(created, '1 day') AS w, count(*) AS n, sum(amount) AS s, avg(score) AS a,
               min(qty) AS lo, count(DISTINCT merchant) AS merchants, last(status, created) AS l
        FROM events GROUP BY customer, tumble(created, '1 day')""", {}),
    ("v_tumble_origin", """
        SELECT customer, merchant, tumble(local_ts, '7 days', '2026-01-02Z') AS w, count(*) AS n,
               count(*) FILTER (WHERE rolling(local_ts, '3 days')) AS n3,
               sum(amount) FILTER (WHERE rolling(local_ts, '30 days') AND qty > 3) AS s30
        FROM events WHERE status <> 'cancelled' GROUP BY 1, 2, 3""",
     {"redis_key": "t:{customer}:{merchant}:{window_start}"}),
    ("v_tumble_where", """
        SELECT customer, tumble(created, '1 hour') AS w, count(*) AS n, max(amount) AS hi
        FROM events WHERE rolling(created, '7 days') GROUP BY customer, w""", {}),
    ("v_tumble_retention", """
        SELECT customer, tumble(created, '6 hours') AS w, count(*) AS n, sum(qty) AS s, max(note) AS note
        FROM events GROUP BY customer, w""",
     {"retention": "10 days", "redis_key": "tr:{customer}:{window_start}"}),
    ("v_tumble_any", """
        SELECT merchant, tumble(created, '2 days') AS w, array_agg(qty ORDER BY created, id) AS list,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) AS median, bool_or(qty > 9) AS any,
               string_agg(DISTINCT status, ',' ORDER BY status) AS states
        FROM events WHERE qty > 6 GROUP BY merchant, w""", {}),
    ("v_hop", """
        SELECT customer, hop(created, '1 day', '8 hours') AS w, count(*) AS n, sum(amount) AS s,
               stddev(score) AS d, max(note) AS note
        FROM events GROUP BY customer, hop(created, '1 day', '8 hours')""", {}),
    ("v_hop_day", """
        SELECT account, hop(day, '10 days', '3 days') AS w, count(*) AS n, sum(qty) AS s
        FROM events WHERE qty > 1 GROUP BY account, w HAVING count(*) > 1""",
     {"retention": "20 days"}),
    ("v_hop_lateral", """
        SELECT merchant, x.w, upper(x.w) - lower(x.w) AS width, count(*) AS n
        FROM events, LATERAL (SELECT hop(created, '90 minutes', '50 minutes') AS w) x
        WHERE rolling(created, '2 days') GROUP BY merchant, x.w""", {}),
    ("v_session", """
        SELECT customer, session(created, '4 hours') AS w, count(*) AS n, sum(amount) AS s,
               max(qty) AS hi, min(created) AS since
        FROM events GROUP BY customer, session(created, '4 hours')""", {}),
    ("v_session_retention", """
        SELECT merchant, customer, session(local_ts, '2 days') AS w, count(*) AS n, sum(qty) AS s
        FROM events WHERE status = 'paid' GROUP BY merchant, customer, w""",
     {"retention": "15 days", "redis_key": "s:{customer}:{merchant}:{window_start}"}),
    ("v_session_skips", """
        SELECT customer, session(created, '3 hours') AS w, count(*) AS n, sum(840 / qty) AS s
        FROM events GROUP BY customer, w""", {"on_error": "skip"}),
    ("v_session_where", """
        SELECT customer, session(created, '10 minutes') AS w, count(*) AS n, avg(rate) AS a
        FROM events WHERE rolling(created, '1 day') GROUP BY customer, w""", {}),
    ("v_final", """
        SELECT customer, tumble(created, '1 day') AS w, count(*) AS n, is_final(tumble(created, '1 day')) AS fin
        FROM events GROUP BY customer, w""", {"watermark": "2 hours"}),
]

WINDOWS = {
    "v_tumble": (["customer"], "w"),
    "v_tumble_origin": (["customer", "merchant"], "w"),
    "v_tumble_where": (["customer"], "w"),
    "v_tumble_retention": (["customer"], "w"),
    "v_tumble_any": (["merchant"], "w"),
    "v_hop": (["customer"], "w"),
    "v_hop_day": (["account"], "w"),
    "v_hop_lateral": (["merchant"], "w"),
    "v_session": (["customer"], "w"),
    "v_session_retention": (["merchant", "customer"], "w"),
    "v_session_skips": (["customer"], "w"),
    "v_session_where": (["customer"], "w"),
    "v_final": (["customer"], "w"),
}


def _shown(name, retention):
    query = next(q for n, q, _ in VIEWS if n == name)
    return f"""SELECT * FROM ({query}) q
        WHERE (upper(w) > now() - interval '{retention}') IS NOT FALSE"""


BATCH = {
    "v_tumble_retention": _shown("v_tumble_retention", "10 days"),
    "v_hop_day": _shown("v_hop_day", "20 days"),
    "v_session": SESSIONS.format(
        keys="customer", ts="created", gap="4 hours", source="events", condition="",
        outputs="count(*) AS n, sum(amount) AS s, max(qty) AS hi, min(created) AS since"),
    "v_session_retention": SESSIONS.format(
        keys="merchant, customer", ts="ts", gap="2 days",
        source="(SELECT *, local_ts AT TIME ZONE 'UTC' AS ts FROM events)",
        condition="AND status = 'paid' AND ts + interval '2 days' > now() - interval '15 days'",
        outputs="count(*) AS n, sum(qty) AS s"),
    "v_session_skips": SESSIONS.format(
        keys="customer", ts="created", gap="3 hours", source="events",
        condition="AND qty IS DISTINCT FROM 0", outputs="count(*) AS n, sum(840 / qty) AS s"),
    "v_session_where": SESSIONS.format(
        keys="customer", ts="created", gap="10 minutes", source="events",
        condition="AND rolling(created, '1 day')", outputs="count(*) AS n, avg(rate) AS a"),
}


def online_query(name, options):
    """What of a view is in Redis: the newest window that has begun, or all of them."""
    keys, window = WINDOWS[name]
    if "{window_start}" in options.get("redis_key", ""):
        return f"SELECT * FROM {name} WHERE {window} IS NOT NULL"
    k = ", ".join(keys)
    return f"""SELECT DISTINCT ON ({k}) * FROM {name} WHERE lower({window}) <= feature_engine.now()
               ORDER BY {k}, {window} DESC"""
