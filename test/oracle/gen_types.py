"""Random columns and values for generated definitions (gen_definitions.py).

A type knows how to write a literal of itself, and what aggregates and expressions may do with it.
Columns draw most of their values from a small pool of their own, so that values repeat, tie and
come back after they were deleted. Values are such that no expression of the generator overflows
and floating-point sums are exact: what differs is an error of the engine, not of rounding.
"""

import copy
import datetime

START = datetime.datetime(2026, 3, 1, 12, 34, 56, 789000, tzinfo=datetime.timezone.utc)


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def integer(low, high):
    return lambda rnd: str(rnd.choice([0, 1, -1, rnd.randint(-9, 9), rnd.randint(low, high)]))


def numeric(rnd):
    if rnd.random() < 0.02:
        return quote(rnd.choice(["NaN", "Infinity", "-Infinity"]))
    scale = rnd.choice([0, 0, 1, 2, 2, 3, 6])
    return f"{rnd.randint(-3000, 3000) / 100:.{scale}f}"


def floating(rnd):
    """Multiples of a quarter; now and then what floats have beside numbers."""
    if rnd.random() < 0.02:
        return quote(rnd.choice(["NaN", "Infinity", "-Infinity", "-0"]))
    return str(rnd.randint(-200, 200) / 4)


WORDS = ["", "a", "A", "b", "Zoo", "zoo", "Ünï", "a:b", "{x}", "%", "straße", "x'y", "null"]


def word(rnd):
    text = rnd.choice(WORDS)
    return quote(text * rnd.choice([1, 1, 1, 1, 40]) if len(text) > 1 else text)


def short_word(rnd):
    return quote(rnd.choice(["a", "A", "b", "b ", "zoo", ""]))


def times(rnd, now):
    """Event times around now: ties, whole hours, the far past, the future, none."""
    kind = rnd.random()
    if kind < 0.06:
        return None
    if kind < 0.08:
        return rnd.choice(["infinity", "-infinity", "1970-01-01 00:00:00+00"])
    if kind < 0.20:
        at = now + datetime.timedelta(seconds=rnd.randint(-100, 3600))
    elif kind < 0.35:
        at = now - datetime.timedelta(days=rnd.randint(0, 95), seconds=rnd.randint(0, 3600))
    else:
        at = now - datetime.timedelta(seconds=int(rnd.random() ** 2 * 10 * 86400))
    if rnd.random() < 0.4:
        at = at.replace(minute=0, second=0, microsecond=0)
    return at.isoformat(sep=" ")


class Type:
    """kinds: what it can do; loose: equal values may look different."""

    def __init__(self, sql, literal, kinds, loose=False):
        self.sql, self.literal, self.kinds, self.loose = sql, literal, set(kinds.split()), loose


def choice(*values):
    return lambda rnd: quote(rnd.choice(values))


TYPES = [
    Type("int2", integer(-300, 300), "int num ord key json"),
    Type("int4", integer(-10**6, 10**6), "int num ord key json"),
    Type("int8", integer(-10**12, 10**12), "int num ord key json"),
    Type("numeric", numeric, "numeric num ord key json", loose=True),
    Type("numeric(8,2)", lambda r: f"{r.randint(-9999, 9999) / 100:.2f}", "numeric num ord key json", loose=True),
    Type("float8", floating, "float num ord key", loose=True),
    Type("float4", floating, "float float4 ord key", loose=True),
    Type("text", word, "text ord key json"),
    Type('text COLLATE "C"', word, "text ord key json"),
    Type("text COLLATE gen.any_case", word, "text ord key", loose=True),
    Type("varchar(200)", word, "text ord key json"),
    Type("char(4)", short_word, "ord key json", loose=True),
    Type("name", short_word, "ord key"),
    Type("boolean", choice("t", "f"), "bool ord key json"),
    Type("date", lambda r: quote(str((START - datetime.timedelta(days=r.randint(-2, 40))).date())), "date ord key"),
    Type("time", choice("00:00", "10:00", "10:00:00.5", "24:00"), "ord key"),
    Type("timetz", choice("10:00+00", "12:00+02", "24:00-01", "00:00+00"), "ord key", loose=True),
    Type("interval", choice("1 day", "24:00:00", "1 mon", "30 days", "-1 hour", "0", "2 days 03:00"),
         "interval ord key", loose=True),
    Type("uuid", lambda r: quote(f"{r.randint(0, 9):032x}"), "ord key"),
    Type("inet", choice("10.0.0.1", "10.0.0.0/8", "::1", "10.0.0.2"), "ord key"),
    Type("macaddr", choice("08:00:2b:01:02:03", "00:00:00:00:00:00"), "ord key"),
    Type("bytea", choice("\\x", "\\x00ff", "\\x01", "\\x" + "ab" * 300), "ord key"),
    Type("jsonb", choice("{}", '{"a": 1}', '{"a": 1.0}', "[1, 2]", "null", '"x"'), "doc ord key json", loose=True),
    Type("json", choice("{}", '{"a":1}', '{"a": 1}', "null"), "json"),
    Type("gen.mood", choice("sad", "ok", "happy"), "ord key"),
    Type("gen.pair", choice("(1,x)", "(1,)", "(,)", '(2,"y z")'), "pair ord key"),
    Type("gen.small", lambda r: str(r.randint(0, 9)), "int num ord key"),
    Type("int4[]", choice("{}", "{1,2}", "{1,2,3}", "{NULL}", "{{1},{2}}"), "array ord key"),
    Type("text[]", choice("{}", "{a}", "{a,b}", "{NULL,''}"), "array ord key"),
    Type("int4range", choice("[1,5)", "[1,4]", "empty", "(,3)", "[2,)"), "range ord key"),
    Type("bit(4)", choice("0000", "1010", "1111"), "ord"),
    Type("oid", lambda r: str(r.randint(0, 5)), "ord key"),
    Type("money", choice("0", "1.25", "-3.50", "100"), "money ord"),
    Type("point", choice("(0,0)", "(1,2)"), ""),
]

TIME_TYPES = [Type("timestamptz", None, "time ord key"), Type("timestamp", None, "time ord key"),
              Type("date", None, "time date ord key")]

PREPARE = """
    DROP SCHEMA IF EXISTS gen CASCADE;
    CREATE SCHEMA gen;
    CREATE TYPE gen.mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TYPE gen.pair AS (a int, b text);
    CREATE DOMAIN gen.small AS int CHECK (value < 1000);
    CREATE COLLATION gen.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
"""


class Column:
    def __init__(self, rnd, name, type):
        self.name, self.type = name, type
        self.nulls = rnd.choice([0, 0.05, 0.3])
        self.pool = [] if type.literal is None else [type.literal(rnd) for _ in range(rnd.randint(1, 9))]

    def value(self, rnd, now):
        if self.type.literal is None:
            text = times(rnd, now)
            if text is None:
                return "NULL"
            if self.type.sql != "timestamptz":
                text = text.split("+")[0]
            return quote(text)
        if rnd.random() < self.nulls:
            return "NULL"
        return rnd.choice(self.pool) if rnd.random() < 0.8 else self.type.literal(rnd)


def renamed(column, name):
    other = copy.copy(column)
    other.name = name
    return other


class Table:
    """id is for the workload; pk is the primary key, which names rows of current values."""

    PKS = {"int4": "{}", "text": "'k{}'", "numeric": "{}.0", "uuid": "'{:032x}'"}

    def __init__(self, rnd, name, columns=None, pk=None, partitions=0):
        self.name, self.partitions = name, partitions
        self.pk_type = pk or rnd.choice(list(self.PKS))
        if columns is None:
            types = [rnd.choice(TYPES) for _ in range(rnd.randint(5, 10))]
            types += [TIME_TYPES[0]] + ([rnd.choice(TIME_TYPES)] if rnd.random() < 0.5 else [])
            # some of what nearly every definition wants
            types += [t for t in TYPES if t.sql in ("int4", rnd.choice(["numeric", "float8"]), "text")]
            columns = [Column(rnd, f"c{i}", t) for i, t in enumerate(types)]
        self.columns = columns

    def of(self, *kinds):
        return [c for c in self.columns if c.type.kinds & set(kinds)]

    @property
    def ddl(self):
        columns = "".join(f", {c.name} {c.type.sql}" for c in self.columns)
        if self.partitions:
            lines = [f"CREATE TABLE {self.name} (id int NOT NULL, pk {self.pk_type} PRIMARY KEY{columns})"
                     " PARTITION BY HASH (pk);"]
            # columns of partitions are in the other order
            reverse = "".join(f"{c.name} {c.type.sql}, " for c in reversed(self.columns))
            for i in range(self.partitions):
                part = f"{self.name}{i}"
                lines += [f"CREATE TABLE {part} ({reverse}pk {self.pk_type} NOT NULL, id int NOT NULL);",
                          f"ALTER TABLE {self.name} ATTACH PARTITION {part}"
                          f" FOR VALUES WITH (MODULUS {self.partitions}, REMAINDER {i});",
                          f"ALTER TABLE {part} REPLICA IDENTITY FULL;"]
            return "\n".join(lines + [f"ALTER TABLE {self.name} REPLICA IDENTITY FULL;"])
        return (f"CREATE TABLE {self.name} (id int UNIQUE NOT NULL, pk {self.pk_type} PRIMARY KEY{columns});\n"
                f"ALTER TABLE {self.name} REPLICA IDENTITY FULL;")

    def without(self, column):
        table = copy.copy(self)
        table.columns = [c for c in self.columns if c is not column]
        return table

    def pk_of(self, id):
        return self.PKS[self.pk_type].format(id)

    def row(self, rnd, id, now):
        """Column name -> literal."""
        row = {"id": str(id), "pk": self.pk_of(id)}
        row.update((c.name, c.value(rnd, now)) for c in self.columns)
        return row


class Dimension:
    """A table to join: its unique key has the types of some columns of the table beside it, and their values."""

    def __init__(self, rnd, name, facts):
        self.name = name
        letter = name[-1]
        able = [c for c in facts.of("key") if c.type.literal and c.type.kinds & {"ord"}]
        self.partners = rnd.sample(able, min(len(able), rnd.choice([1, 1, 1, 2])))
        self.keys = [renamed(c, f"{letter}k{i}") for i, c in enumerate(self.partners)]
        self.primary = rnd.random() < 0.6
        types = [rnd.choice(TYPES) for _ in range(rnd.randint(1, 4))]
        types += [t for t in TYPES if t.sql in ("int4", "text")] + TIME_TYPES[:rnd.randint(0, 1)]
        self.columns = [Column(rnd, f"{letter}{i}", t) for i, t in enumerate(types)]

    @property
    def ddl(self):
        columns = ", ".join(f"{c.name} {c.type.sql}" for c in self.keys + self.columns)
        names = ", ".join(k.name for k in self.keys)
        return (f"CREATE TABLE {self.name} ({columns}, {'PRIMARY KEY' if self.primary else 'UNIQUE'} ({names}));\n"
                f"ALTER TABLE {self.name} REPLICA IDENTITY FULL;")

    def without(self, column):
        table = copy.copy(self)
        table.columns = [c for c in self.columns if c is not column]
        return table

    def row(self, rnd, now):
        return {c.name: c.value(rnd, now) for c in self.keys + self.columns}


class Joined:
    """The columns of a table and of the dimensions joined to it, each by its alias."""

    def __init__(self, table, dimensions):
        self.name = table.name
        self.columns = table.columns + [renamed(c, f"{alias}.{c.name}") for alias, d in dimensions
                                        for c in d.keys + d.columns]

    of = Table.of


class Changes:
    """The columns of changes(NULL::table): of the row before and after. Rows of it have no identity."""

    def __init__(self, table):
        self.name = table.name
        self.columns = [renamed(c, f"({image}).{c.name}") for image in ("after", "before") for c in table.columns]

    of = Table.of


# what changes() would show of a table, written by a trigger; TRUNCATE is in neither
AUDIT = """CREATE TABLE gen.audit (op text, before gen.t, after gen.t);
CREATE FUNCTION gen.audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO gen.audit VALUES (CASE TG_OP WHEN 'INSERT' THEN 'c' WHEN 'UPDATE' THEN 'u' ELSE 'd' END,
        CASE WHEN TG_OP <> 'INSERT' THEN OLD END, CASE WHEN TG_OP <> 'DELETE' THEN NEW END);
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON gen.t FOR EACH ROW EXECUTE FUNCTION gen.audit();"""
