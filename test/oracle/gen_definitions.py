"""Random definitions: aggregates x types x windows x filters x keys over random tables, joins of them, their changes().

A definition is a tree of small pieces (Definition), so that a failing one can be cut down piece by
piece. What the installed extension offers (functions that come and go with versions) is asked of
the catalogue: a template is used where all functions that it names exist.
"""

from gen_types import Changes, Joined

WIDTHS = ["10 minutes", "1 hour", "5 hours", "1 day", "7 days", "30 days"]
COMPARISONS = ["=", "<>", "<", "<=", ">", ">="]


class Feature:
    """loose: where rows tie, any of several forms of an equal value will do."""

    def __init__(self, expr, loose=False, filters=()):
        self.expr, self.loose, self.filters = expr, loose, list(filters)

    @property
    def sql(self):
        if not self.filters:
            return self.expr.replace("$FILTER", "")
        return self.expr.replace("$FILTER", " FILTER (WHERE " + " AND ".join(self.filters) + ")")


class Definition:
    def __init__(self, source):
        self.source = source		# FROM, as text
        self.where = []
        self.keys = []				# Feature, an expression each
        self.features = []			# Feature
        self.having = []
        self.outer = None			# (expression over f.v0 ...)
        self.grouped = True
        self.changes = False		# over changes(NULL::gen.t)
        self.session = None			# (time, gap): one more key
        self.options = ""			# further arguments of create_feature_view

    def columns(self):
        keys = self.keys + ([Feature("session({}, '{}')".format(*self.session), loose=True)] if self.session else [])
        return ([(f"k{i}", k) for i, k in enumerate(keys)] + [(f"v{i}", f) for i, f in enumerate(self.features)])

    @property
    def loose(self):
        names = [f.loose for _, f in self.columns()]
        return names + ([False] if self.outer else [])

    @property
    def sql(self):
        return self.text(self.source, self.where, self.columns(), [f.expr for n, f in self.columns() if n[0] == "k"])

    @property
    def batch(self):
        """The same with sessions written as islands, which plain SQL has no function for."""
        if not self.session:
            return self.sql.replace("changes(NULL::gen.t)", "gen.audit")
        time, gap = self.session
        over = "OVER (PARTITION BY " + ", ".join(k.expr for k in self.keys) + " ORDER BY at)"
        rows = " AND ".join([f"isfinite({time})"] + self.where)
        rows = f"(SELECT *, {time}::timestamptz AS at FROM {self.source} WHERE {rows}) r"
        rows = f"(SELECT *, CASE WHEN at - lag(at) {over} <= interval '{gap}' THEN 0 ELSE 1 END AS starts FROM {rows}) r"
        rows = f"(SELECT *, sum(starts) {over} AS island FROM {rows}) r"
        columns = [(n, Feature(f"tstzrange(min(at), max(at) + interval '{gap}')") if f.expr.startswith("session(") else f)
                   for n, f in self.columns()]
        return self.text(rows, [], columns, [k.expr for k in self.keys] + ["island"])

    def text(self, source, where, columns, keys):
        columns = ", ".join(f"{f.sql} AS {n}" for n, f in columns)
        where = " WHERE " + " AND ".join(where) if where else ""
        text = f"SELECT {columns} FROM {source}{where}"
        if self.grouped:
            text += " GROUP BY " + ", ".join(keys)
        if self.having:
            text += " HAVING " + " AND ".join(self.having)
        return f"SELECT f.*, {self.outer} AS o FROM ({text}) f" if self.outer else text


# ---- expressions over the row ---------------------------------------------------

def condition(rnd, table):
    column = rnd.choice([c for c in table.columns if c.pool and c.type.kinds & {"ord"}] or table.columns)
    kind = rnd.random()
    if kind < 0.15 or not column.pool:
        return f"{column.name} IS {rnd.choice(['NULL', 'NOT NULL'])}"
    if kind < 0.25:
        return f"({column.name} IS NULL OR {condition(rnd, table)})"
    value = f"{rnd.choice(column.pool)}::{column.type.sql.split(' COLLATE')[0]}"
    if kind < 0.4:
        return f"{column.name} IN ({value}, {rnd.choice(column.pool)}::{column.type.sql.split(' COLLATE')[0]})"
    if kind < 0.5:
        return f"coalesce({column.name} {rnd.choice(COMPARISONS)} {value}, {rnd.choice(['true', 'false'])})"
    return f"{column.name} {rnd.choice(COMPARISONS)} {value}"


def number(rnd, table, *kinds):
    """A numeric expression, or None."""
    columns = table.of(*(kinds or ("num", "float")))
    if not columns:
        return None
    c = rnd.choice(columns)
    name = f"{c.name}::int8" if "int" in c.type.kinds and rnd.random() < 0.3 else c.name
    return rnd.choice([name, name, name, name, f"coalesce({name}, 0)", f"({name} * 2)", f"abs({name})"])


def value(rnd, table, *kinds):
    """Any expression of a column of these kinds: (text, loose), or None."""
    columns = table.of(*kinds)
    if not columns:
        return None
    c = rnd.choice(columns)
    texts = [c.name] * 4
    if "text" in c.type.kinds:
        texts += [f"lower({c.name})", f"left({c.name}, 1)", f"nullif({c.name}, '')"]
    if "pair" in c.type.kinds:
        texts += [f"({c.name}).b"]
    if "int" in c.type.kinds:
        texts += [f"({c.name} % 3)", f"nullif({c.name}, 0)"]
    if "bool" in c.type.kinds:
        texts += [f"(NOT {c.name})"]
    return rnd.choice(texts), c.type.loose


def window(rnd, time):
    width = rnd.choice(WIDTHS)
    kind = rnd.random()
    if kind < 0.45:
        return f"rolling({time}, '{width}')"
    if kind < 0.6:
        return f"rolling({time}, '{width}', hop => '0')"
    if kind < 0.7:
        return f"rolling({time}, '{width}', hop => '{rnd.choice(['5 minutes', '1 minute'])}')"
    if kind < 0.85:
        return f"rolling({time}, '{width}', before => '{rnd.choice(WIDTHS)}')"
    if kind < 0.95:
        return f"tumbling({time}, '{width}')"
    return f"tumbling({time}, '{width}', '2026-01-02 03:00+00')"


# ---- aggregates --------------------------------------------------------------------

def aggregate(rnd, table, known):
    """A Feature, one aggregate; None where the table has no column for it."""
    makers = [count, count, numbers, numbers, numbers, extremes, extremes, ends, ends, distinct, sets, collected,
              ordered_set, pairs, special, special, special]
    return rnd.choice(makers)(rnd, table, known)


def count(rnd, table, known):
    v = value(rnd, table, "key", "json")
    return Feature(rnd.choice(["count(*)$FILTER", f"count({v[0]})$FILTER"]))


def numbers(rnd, table, known):
    c = rnd.choice(table.of("num", "float", "interval", "money"))
    if c.type.kinds & {"interval", "money"}:
        names = ["sum", "avg"] if "interval" in c.type.kinds else ["sum"]
        return Feature(f"{rnd.choice(names)}({c.name})$FILTER", loose=True)
    name = rnd.choice(["sum", "avg", "sum", "avg", "stddev", "stddev_pop", "variance", "var_pop", "sum"])
    inner = number(rnd, table)
    if "float4" in c.type.kinds and name == "sum":
        inner = f"{c.name}::float8"
    distinct = "DISTINCT " if rnd.random() < 0.1 and name in ("sum", "avg") else ""
    if distinct:
        inner = number(rnd, table, "int") or c.name
    return Feature(f"{name}({distinct}{inner})$FILTER", loose=bool(distinct))


def extremes(rnd, table, known):
    allowed = [c for c in table.of("ord") if c.type.sql not in
               ("boolean", "uuid", "macaddr", "bytea", "jsonb", "gen.pair", "int4range", "bit(4)", "name")]
    c = rnd.choice(allowed)
    return Feature(f"{rnd.choice(['min', 'max'])}({c.name})$FILTER", loose=True)


def ends(rnd, table, known):
    v, loose = value(rnd, table, "ord")
    at = rnd.choice(table.of("time")).name
    return Feature(f"{rnd.choice(['first', 'last'])}({v}, {at})$FILTER", loose=True)


def distinct(rnd, table, known):
    return Feature(f"count(DISTINCT {value(rnd, table, 'ord')[0]})$FILTER")


def sets(rnd, table, known):
    options = []
    for c in table.of("bool"):
        options += [f"bool_and({c.name})", f"bool_or({c.name})", f"every({c.name})"]
    for c in table.of("int"):
        options += [f"bit_and({c.name})", f"bit_or({c.name})", f"bit_xor({c.name})"]
    for c in table.of("range"):
        options += [f"range_agg({c.name})", f"range_intersect_agg({c.name})"]
    options += [f"bool_or({condition(rnd, table)})"]
    return Feature(rnd.choice(options) + "$FILTER")


def collected(rnd, table, known):
    v, loose = value(rnd, table, "json")
    at = rnd.choice(table.of("time")).name
    order = rnd.choice(["id", "id DESC", f"{at}, id", f"{at} DESC NULLS LAST, id"])
    texts = table.of("text")
    options = [f"array_agg({v} ORDER BY {order})$FILTER", f"jsonb_agg({v} ORDER BY {order})$FILTER",
               f"json_agg({v} ORDER BY {order})$FILTER"]
    if texts:
        t = rnd.choice(texts)
        options.append(f"string_agg({t.name}, ',' ORDER BY {order})$FILTER")
        options.append(f"string_agg(DISTINCT {t.name}, ',' ORDER BY {t.name})$FILTER")
        loose = loose or t.type.loose
    k = value(rnd, table, "int")
    if k:
        options.append(f"array_agg(DISTINCT {k[0]} ORDER BY {k[0]})$FILTER")
    return Feature(rnd.choice(options), loose=loose)


def ordered_set(rnd, table, known):
    n = number(rnd, table)
    v, loose = value(rnd, table, "ord")
    p = rnd.choice(["0", "0.25", "0.5", "0.9", "1"])
    return Feature(rnd.choice([
        f"percentile_cont({p}) WITHIN GROUP (ORDER BY {n}::float8)$FILTER",
        f"percentile_disc({p}) WITHIN GROUP (ORDER BY {v}{rnd.choice(['', ' DESC'])})$FILTER",
        f"percentile_disc(ARRAY[0.1, {p}]) WITHIN GROUP (ORDER BY {n})$FILTER",
        f"mode() WITHIN GROUP (ORDER BY {v})$FILTER",
        f"rank(1) WITHIN GROUP (ORDER BY {number(rnd, table, 'int') or 'id'}::int8)$FILTER",
        f"cume_dist(1) WITHIN GROUP (ORDER BY {number(rnd, table, 'int') or 'id'}::int8)$FILTER"]), loose=True)


def pairs(rnd, table, known):
    # of fractions that floats do not hold, equal ones have a variance of rounding
    x, y = number(rnd, table, "int", "float"), number(rnd, table, "int", "float")
    name = rnd.choice(["corr", "covar_pop", "covar_samp", "regr_slope", "regr_count", "regr_avgx", "regr_r2",
                       "regr_sxy"])
    # the least squares of infinities and of huge numbers are all rounding
    finite = [f"abs({x}::float8) < 1e5", f"abs({y}::float8) < 1e5"]
    return Feature(f"{name}({x}::float8, {y}::float8)$FILTER", filters=finite)


def special(rnd, table, known):
    n = number(rnd, table, "int", "float")
    v, loose = value(rnd, table, "ord")
    at = rnd.choice(table.of("time")).name
    finite = [f"abs({n}::float8) < 1e5"]
    options = [("first_n", f"first_n({v}, {at}, {rnd.randint(1, 4)})$FILTER", []),
               ("last_n", f"last_n({v}, {at}, {rnd.randint(1, 4)})$FILTER", []),
               ("last_distinct_n", f"last_distinct_n({v}, {at}, {rnd.randint(1, 3)})$FILTER", []),
               ("top_k", f"top_k({v}, {rnd.randint(1, 3)})$FILTER", []),
               ("approx_percentile", f"approx_percentile({n}, {rnd.choice(['0.5', '0.95'])})$FILTER", finite),
               ("histogram", f"histogram({n}, -10, 10, {rnd.randint(1, 6)})$FILTER", finite),
               ("skewness", f"skewness({n})$FILTER", finite), ("kurtosis", f"kurtosis({n})$FILTER", finite),
               ("exp_decay_sum", f"exp_decay_sum({n}, {at}, '{rnd.choice(['1 hour', '7 days'])}')$FILTER", finite)]
    options = [o for o in options if o[0] in known]
    if not options:
        return extremes(rnd, table, known)
    name, expr, filters = rnd.choice(options)
    return Feature(expr, loose=True, filters=filters)


def dressed(rnd, f):
    """The aggregate within an expression, now and then."""
    kind = rnd.random()
    if f.expr.startswith(("count", "sum(", "avg(")) and kind < 0.15 and "interval" not in f.expr:
        return Feature(f"({f.expr}) IS NOT NULL", filters=f.filters)
    if f.expr.startswith("count") and kind < 0.3:
        return Feature(f"coalesce({f.expr}, 0) * 100 / nullif(count(*), 0)", filters=f.filters)
    return f


# ---- definitions ---------------------------------------------------------------------

def joined(rnd, tables, dimensions):
    """FROM with one to three joins: (text, what has the columns, conditions for WHERE)."""
    t = rnd.choice(tables)
    text, where, used = t.name, [], []
    for i in range(rnd.choice([1, 1, 1, 2, 2, 3])):
        d, alias = rnd.choice(dimensions), f"x{i}"
        on = []
        for key, partner in zip(d.keys, d.partners):
            sides = [f"{alias}.{key.name}", partner.name]
            rnd.shuffle(sides)
            on.append(" = ".join(sides))
        used.append((alias, d))
        kind = rnd.random()
        if kind < 0.4:
            text += f" LEFT JOIN {d.name} {alias} ON {' AND '.join(on)}"
        elif kind < 0.85:
            if rnd.random() < 0.2:
                on.append(condition(rnd, Joined(t, used)))
            text += f" JOIN {d.name} {alias} ON {' AND '.join(on)}"
        else:
            text += f" CROSS JOIN {d.name} {alias}"
            where += on
    return text, Joined(t, used), where


def source_of(rnd, tables, known):
    """FROM over the columns of the tables, which have the same ones: (text, tables read)."""
    t = rnd.choice(tables)
    kind = rnd.random()
    if kind < 0.65:
        return t.name, [t]
    if kind < 0.75:
        return f"(SELECT * FROM {t.name} WHERE {condition(rnd, t)}) s", [t]
    if kind < 0.85 and len(tables) > 1:
        names = ", ".join(["id"] + [c.name for c in t.columns])
        arms = [f"SELECT {names} FROM {x.name}" + (f" WHERE {condition(rnd, x)}" if rnd.random() < 0.4 else "")
                for x in tables]
        return f"({' UNION ALL '.join(arms)}) u", tables
    return t.name, [t]


def grouped(rnd, tables, dimensions, known):
    plain = False
    if dimensions and rnd.random() < 0.2:
        source, table, where = joined(rnd, tables, dimensions)
        d = Definition(source)
        d.where += where
    else:
        source, read = source_of(rnd, tables, known)
        table = read[0]
        d = Definition(source)
        plain = True
    for _ in range(rnd.choice([1, 1, 1, 2])):
        text, loose = value(rnd, table, "key")
        if text not in [k.expr for k in d.keys]:
            d.keys.append(Feature(text, loose=True))
    time = rnd.choice(table.of("time")).name
    in_where = rnd.random() < 0.15
    if in_where:
        d.where.append(window(rnd, time))
    if rnd.random() < 0.4:
        d.where.append(condition(rnd, table))
    if not in_where and "tumble" in known and rnd.random() < 0.12:
        d.keys.append(Feature(f"tumble({time}, '{rnd.choice(WIDTHS)}')", loose=True))
        in_where = True
    elif not in_where and "hop" in known and rnd.random() < 0.08:
        d.keys.append(Feature(f"hop({time}, '1 day', '6 hours')", loose=True))
        in_where = True
    elif plain and "session" in known and rnd.random() < 0.15:
        d.session = (time, rnd.choice(["10 minutes", "4 hours", "1 day", "5 days"]))
        in_where = True
    for _ in range(rnd.randint(1, 4)):
        f = aggregate(rnd, table, known)
        if rnd.random() < 0.4:
            f.filters.append(condition(rnd, table))
        if rnd.random() < 0.4:
            f.filters.append(window(rnd, time if in_where else rnd.choice(table.of("time")).name))
        d.features.append(dressed(rnd, f))
    if rnd.random() < 0.15:
        d.having.append(f"count(*) > {rnd.randint(0, 3)}")
    if rnd.random() < 0.15:
        d.outer = rnd.choice(["f.v0 IS NULL", "(now() - timestamptz '2026-01-01Z') > interval '60 days' AND f.v0 IS NOT NULL"])
    return d


def current(rnd, tables, dimensions, known):
    """Current values: a view without GROUP BY."""
    t = rnd.choice(tables)
    d = Definition(t.name)
    d.table = t
    d.grouped = False
    d.keys.append(Feature("pk"))
    for _ in range(rnd.randint(1, 5)):
        c = rnd.choice(t.columns)
        d.features.append(Feature(c.name if rnd.random() < 0.6 or not c.type.kinds & {"key"} else
                                  value(rnd, t, "key")[0]))
    if rnd.random() < 0.4:
        d.where.append(condition(rnd, t))
    if rnd.random() < 0.2:
        d.where.append(window(rnd, rnd.choice(t.of("time")).name))
    if rnd.random() < 0.2:
        d.outer = "f.v0 IS NULL"
    return d


def beside(rnd, tables, dimensions, known):
    """GROUP BY of the primary key: columns beside aggregates."""
    d = current(rnd, tables, dimensions, known)
    d.grouped = True
    d.features.append(aggregate(rnd, d.table, known))
    return d


def streamed(rnd, table, known):
    """Over changes() of a table."""
    rows = Changes(table)
    d = Definition("changes(NULL::gen.t)")
    d.changes = True
    c = rnd.choice(table.of("key")).name
    d.keys.append(Feature(rnd.choice([f"(after).{c}", f"coalesce((after).{c}, (before).{c})", "op"]), loose=True))
    if rnd.random() < 0.4:
        d.where.append(rnd.choice(["op IN ('c', 'u')", "op <> 'c'", "(before).pk IS NOT NULL", condition(rnd, rows)]))
    for _ in range(rnd.randint(1, 4)):
        # changes have nothing to order equal ones by
        f = rnd.choice([count, numbers, numbers, extremes, ends, distinct, sets, special])(rnd, rows, known)
        if rnd.random() < 0.4:
            f.filters.append(rnd.choice(["op = 'u'", "op <> 'd'", condition(rnd, rows)]))
        if rnd.random() < 0.4:
            f.filters.append(window(rnd, rnd.choice(rows.of("time")).name))
        d.features.append(dressed(rnd, f))
    return d


def appended(rnd, table, known):
    """Over a table that only gets rows: aggregates that cannot give any back."""
    d = grouped(rnd, [table], [], known)
    d.options = ", append_only => true"
    for _ in range(rnd.randint(1, 2)):
        f = Feature(f"approx_count_distinct({value(rnd, table, 'key')[0]})$FILTER")
        if rnd.random() < 0.4:
            f.filters.append(condition(rnd, table))
        if not d.session and not any("rolling" in w or "tumbling" in w for w in d.where) and rnd.random() < 0.5:
            f.filters.append(window(rnd, rnd.choice(table.of("time")).name))
        d.features.append(f)
    return d


def definition(rnd, tables, dimensions, inserted, known):
    if "approx_count_distinct" in known and rnd.random() < 0.08:
        return appended(rnd, inserted, known)
    if "changes" in known and rnd.random() < 0.08:
        return streamed(rnd, tables[0], known)
    return rnd.choices([grouped, current, beside], [80, 15, 5])[0](rnd, tables, dimensions, known)
