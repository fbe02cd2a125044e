"""Feature views with joins, for the oracle test: dimension tables beside events, and
how sessions change them: prices, keys, rows that go and come again, whole tables that
are emptied and filled anew, in transactions of their own and together with events."""

SCHEMA = """
DROP TABLE IF EXISTS items, merchants, discounts;
CREATE TABLE items (
    id       smallint PRIMARY KEY,
    price    numeric(8,2),
    category text,
    stock    int NOT NULL
);
CREATE TABLE merchants (name text PRIMARY KEY, tier text, fee numeric);
CREATE TABLE discounts (customer int, qty int, pct int, note text, UNIQUE (customer, qty));
ALTER TABLE items REPLICA IDENTITY FULL;
ALTER TABLE merchants REPLICA IDENTITY FULL;
ALTER TABLE discounts REPLICA IDENTITY FULL;
INSERT INTO items SELECT i, i * 1.5, 'c' || i % 3, i FROM generate_series(0, 8) i;
INSERT INTO merchants VALUES ('Acme', 'gold', 0.1), ('acme', 'gold', 0.5), ('', NULL, 1), ('Ünï', 'tin', NULL);
INSERT INTO discounts SELECT c, q, c + q, 'x' FROM generate_series(0, 20, 2) c, generate_series(0, 11, 3) q;
"""

VIEWS = [
    ("vj_inner", """
        SELECT e.customer, sum(e.amount * i.price) AS spend, count(*) AS n,
               sum(i.price) FILTER (WHERE rolling(e.created, '30 days')) AS s30,
               count(*) FILTER (WHERE i.category = 'c1') AS ones, max(i.category) AS hi
        FROM events e JOIN items i ON i.id = e.qty GROUP BY e.customer""", {}),
    ("vj_left", """
        SELECT e.customer, count(*) AS n, count(i.id) AS found, sum(coalesce(i.price, -1)) AS s,
               last(i.category, e.created) AS l, count(*) FILTER (WHERE i.category IS NULL) AS without
        FROM events e LEFT JOIN items i ON e.qty = i.id GROUP BY e.customer""", {}),
    ("vj_several", """
        SELECT e.customer, count(*) AS n, sum(e.amount * m.fee) AS fees, min(m.tier) AS tier,
               sum(i.price) FILTER (WHERE m.tier = 'gold' AND rolling(e.created, '7 days')) AS gold7,
               sum(d.pct) AS pct
        FROM events e JOIN items i ON i.id = e.qty LEFT JOIN merchants m ON m.name = e.merchant
             LEFT JOIN discounts d USING (customer, qty)
        GROUP BY e.customer""", {}),
    ("vj_where_window", """
        SELECT e.customer, count(*) AS n, sum(i.price) AS s, max(i.category) AS hi
        FROM events e, items i WHERE i.id = e.qty AND rolling(e.created, '30 days') AND i.stock > 1
        GROUP BY e.customer""", {}),
    ("vj_where_exact", """
        SELECT e.merchant, count(*) AS n, sum(d.pct) FILTER (WHERE rolling(e.created, '5 minutes')) AS pct
        FROM events e LEFT JOIN discounts d ON d.customer = e.customer AND d.qty = e.qty
        WHERE rolling(e.created, '2 hours', hop => '0') GROUP BY e.merchant""", {}),
    ("vj_by_dimension", """
        SELECT i.category, m.tier, count(*) AS n, sum(e.qty * i.price) AS s,
               count(DISTINCT e.customer) FILTER (WHERE rolling(e.created, '7 days')) AS customers
        FROM events e JOIN items i ON i.id = e.qty JOIN merchants m ON m.name = e.merchant
        WHERE e.status <> 'cancelled' GROUP BY i.category, m.tier""", {}),
    ("vj_twice", """
        SELECT e.customer, sum(a.price - b.price) AS diff, count(*) FILTER (WHERE a.category = b.category) AS same
        FROM events e JOIN items a ON a.id = e.qty LEFT JOIN items b ON b.id = e.small
        GROUP BY e.customer""", {}),
    ("vj_skips", """
        SELECT e.customer, count(*) AS n, sum(100 / i.stock) AS s
        FROM events e JOIN items i ON i.id = e.qty GROUP BY e.customer""", {"on_error": "skip"}),
]

NKEYS = {"vj_by_dimension": 2}

WITHOUT_ERRORS = {"vj_skips": " WHERE i.stock <> 0 GROUP BY"}

ITEM = "round((random() * 50)::numeric, 2), 'c' || floor(random() * 3)::int, floor(random() * 5)::int"


def change(rnd):
    """SQL that changes a dimension, and about how many rows it changes."""
    i = rnd.randrange(12)
    kind = rnd.random()
    if kind < 0.25:
        return f"UPDATE items SET price = price + 1 WHERE id = {i}", 1
    if kind < 0.35:
        return f"UPDATE items SET (price, category, stock) = (SELECT {ITEM} WHERE items.id >= 0) WHERE id >= {i}", 5
    if kind < 0.50:
        return f"DELETE FROM items WHERE id = {i}", 1
    if kind < 0.68:
        return f"INSERT INTO items SELECT {i}, {ITEM} ON CONFLICT DO NOTHING", 1
    if kind < 0.74:
        return f"UPDATE items SET id = {rnd.randrange(12)} WHERE id = {i}", 1
    if kind < 0.76:
        # all out and most of them in again: little of it is a change
        return (f"DO $$ DECLARE kept items[]; BEGIN LOCK items; kept := array(SELECT i FROM items i);"
                f" TRUNCATE items; INSERT INTO items SELECT (k).* FROM unnest(kept) k WHERE (k).id <> {i}; END $$"), 10
    if kind < 0.77:
        return "TRUNCATE items", 1
    if kind < 0.85:
        name = rnd.choice(["Acme", "acme", "Zoo", "a:b%c", "", "{x}"])
        return (f"INSERT INTO merchants VALUES ('{name}', 'new', {rnd.random():.3f})"
                " ON CONFLICT (name) DO UPDATE SET tier = 'old', fee = excluded.fee"), 1
    if kind < 0.90:
        return f"DELETE FROM merchants WHERE name > '{rnd.choice('aAZ')}'", 2
    if kind < 0.96:
        return f"UPDATE discounts SET pct = pct + 1, customer = NULLIF(customer, {i}) WHERE qty = {i}", 5
    return (f"INSERT INTO discounts SELECT c, {i}, c, 'y' FROM generate_series(0, 30) c"
            " ON CONFLICT DO NOTHING"), 10
