"""One run of generated definitions: tables, statements, feature views, comparison.

A Case is all that a run consists of, as data: it can be executed, printed as an SQL script, and
executed again with less in it (gen_reduce.py).
"""

import copy
import random

import psycopg2

from compare import same
from gen_definitions import definition
from gen_types import AUDIT, PREPARE, START, Dimension, Table
from gen_workload import Workload, text_of
from workload import run

REFUSALS = ("0A", "22", "42")
CLOCK = f"SELECT feature_engine.set_clock('{START.isoformat(sep=' ')}')"
BACK = ["0", "17.25 seconds", "59 seconds"]


class Case:
    """tables; definitions: name -> Definition; steps: statements, and names of views to create."""

    def __init__(self, seed, tables, definitions, steps):
        self.seed, self.tables, self.definitions, self.steps = seed, tables, definitions, steps

    def only(self, name):
        case = copy.copy(self)
        case.definitions = {name: self.definitions[name]}
        case.steps = [s for s in self.steps if not isinstance(s, Create) or s.name == name]
        return case


class Create:
    def __init__(self, name):
        self.name = name


class Compare:
    """Here everything is compared, at the time that the clock shows."""


def make_case(seed, known, ndefinitions, nstatements):
    rnd = random.Random(seed)
    first = Table(rnd, "gen.t")
    tables = [first, Table(rnd, "gen.u", columns=first.columns, partitions=rnd.choice([0, 1, 3]))]
    inserted = Table(rnd, "gen.a", columns=first.columns)
    dimensions = [Dimension(rnd, name, first) for name in ("gen.d", "gen.e")]
    definitions = {f"g{i}": definition(rnd, tables, dimensions, inserted, known) for i in range(ndefinitions)}
    work = Workload(rnd, tables, dimensions, inserted)
    names = list(definitions)
    early = rnd.randint(0, len(names))
    # stream and audit begin together
    first_ones = [n for n in names if definitions[n].changes]
    names = first_ones + [n for n in names if n not in first_ones]
    early = max(early, len(first_ones))
    steps = [Create(n) for n in names[:early]]
    for phase in range(3):
        steps += work.statements(nstatements // 3)
        if phase == 0:
            steps += [Create(n) for n in names[early:]]
            steps += work.statements(5)
        steps += [work.step(), Compare()]
    return Case(seed, tables + dimensions + [inserted], definitions, steps), work.changes


# ---- executing -----------------------------------------------------------------------

class Refused(Exception):
    """A definition was refused; state and text of the error."""


def create(conn, name, d):
    try:
        run(conn, f"SELECT create_feature_view(%s, %s{d.options})", ("gen_" + name, d.sql))
    except psycopg2.Error as e:
        run(conn, "ROLLBACK")
        raise Refused(e.pgcode or "", (e.pgerror or str(e)).split("\n")[0])


def rows_or_error(conn, sql):
    """Rows as text with the columns' types, or the error's code."""
    try:
        with conn.cursor() as cur:
            cur.execute(f"SELECT * FROM ({sql}) q LIMIT 0")
            names = [d.name for d in cur.description]
            oids = [d.type_code for d in cur.description]
            cur.execute("SELECT " + ", ".join(f"{n}::text" for n in names) + f" FROM ({sql}) q")
            return names, oids, cur.fetchall()
    except psycopg2.Error as e:
        run(conn, "ROLLBACK")
        return e.pgcode, str(e).split("\n")[0], None


FLOATS = (700, 701, 1021, 1022)


def close(a, b, oid):
    """Floats, also in arrays, within the tolerance."""
    if oid not in FLOATS or a is None or b is None:
        return a == b
    x, y = a.strip("{}").split(","), b.strip("{}").split(",")
    return len(x) == len(y) and all(u == v or ("NULL" not in (u, v) and "" not in (u, v) and same(u, v, True))
                                    for u, v in zip(x, y))


def equal_in_sql(conn, a, b, type):
    """Equal by the type's own operator, whatever they look like."""
    if a is None or b is None:
        return False
    try:
        return run(conn, f"SELECT coalesce(%s::{type} = %s::{type}, false)", (a, b))[0][0]
    except psycopg2.Error:
        run(conn, "ROLLBACK")
        return False


def row_differs(conn, got, want, oids, types, loose):
    for i, (a, b) in enumerate(zip(got, want)):
        if a == b or close(a, b, oids[i]) or (loose[i] and equal_in_sql(conn, a, b, types[i])):
            continue
        return True
    return False


def differences(conn, name, d):
    """What differs between the view and its batch query at the T in force; and the rows compared."""
    oids_names = rows_or_error(conn, f"SELECT * FROM gen_{name}")
    batch = rows_or_error(conn, d.batch.replace("now()", "feature_engine.now()"))
    if oids_names[2] is None or batch[2] is None:
        if oids_names[2] is None and batch[2] is None and oids_names[0] == batch[0]:
            return 0, []
        return 0, [f"streamed {oids_names[1] if oids_names[2] is None else 'no error'}, "
                   f"batch {batch[1] if batch[2] is None else 'no error'}"]
    names, oids, got = oids_names
    want = batch[2]
    types = [run(conn, "SELECT format_type(%s, NULL)", (o,))[0][0] for o in oids]
    types = [t + ' COLLATE gen.any_case' if t in ("text", "character varying") and l else t for t, l in zip(types, d.loose)]
    found = []
    left = sorted(want, key=repr)
    for row in sorted(got, key=repr):
        # the same text first; then any that is as good
        match = next((w for w in left if w == row), None)
        if match is None:
            match = next((w for w in left if not row_differs(conn, row, w, oids, types, d.loose)), None)
        if match is None:
            found.append(f"streamed only: {row}")
        else:
            left.remove(match)
    found += [f"batch only:    {row}" for row in left]
    return len(want), found


def compare(conn, case, names):
    """Rows compared, and for each view that differs what does."""
    clock = run(conn, "SELECT feature_engine.now()::text")[0][0]
    compared, problems = 0, {}
    for name in names:
        failed = run(conn, "SELECT last_error FROM feature_engine.status WHERE name = %s AND state = 'failed'", ("gen_" + name,))
        if failed:
            problems[name] = [f"the view has stopped: {failed[0][0]}"]
            continue
        for back in BACK:
            T = run(conn, "SELECT (%s::timestamptz - %s::interval)::text", (clock, back))[0][0]
            run(conn, "SET feature_engine.as_of = %s", (T,))
            n, found = differences(conn, name, case.definitions[name])
            run(conn, "RESET feature_engine.as_of")
            compared += n
            if found:
                problems[name] = [f"at {T}:"] + found[:6]
                break
    return compared, problems


def sync(conn):
    # what a case that was cut down has left open would be waited for
    if conn.info.transaction_status:
        run(conn, "ROLLBACK")
    try:
        run(conn, "SELECT feature_engine.sync('60 s')")
    except psycopg2.Error as e:
        run(conn, "ROLLBACK")
        return str(e)
    return ""


def drop_all(conn):
    for (name,) in run(conn, "SELECT name FROM feature_views WHERE name LIKE 'gen\\_%'"):
        run(conn, "SELECT drop_feature_view(%s)", (name,))
    run(conn, "SET client_min_messages = warning")
    run(conn, "DROP SCHEMA IF EXISTS gen CASCADE")


class Result:
    def __init__(self):
        self.compared = 0
        self.problems = {}		# view -> lines
        self.refused = {}		# view -> (state, message)


def execute(conn, case, stop_at_first=False):
    result = Result()
    drop_all(conn)
    run(conn, PREPARE)
    run(conn, CLOCK)
    for table in case.tables:
        run(conn, table.ddl)
    if any(d.changes for d in case.definitions.values()):
        run(conn, AUDIT)
    live = []
    for step in case.steps:
        if isinstance(step, Create):
            try:
                create(conn, step.name, case.definitions[step.name])
                live.append(step.name)
                if case.definitions[step.name].changes:
                    # what is written before the snapshot is 'r' in the stream
                    sync(conn)
            except Refused as e:
                result.refused[step.name] = e.args
        elif isinstance(step, Compare):
            sync(conn)
            n, problems = compare(conn, case, [v for v in live if v not in result.problems])
            result.compared += n
            result.problems.update(problems)
            if problems and stop_at_first:
                break
        else:
            try:
                run(conn, text_of(step))
            except psycopg2.Error:
                if conn.info.transaction_status:
                    run(conn, "ROLLBACK")
    if conn.info.transaction_status:
        run(conn, "ROLLBACK")
    drop_all(conn)
    return result


# ---- printing ---------------------------------------------------------------------------

def script(case, name):
    """The case as one SQL script."""
    d = case.definitions[name]
    lines = ["CREATE EXTENSION IF NOT EXISTS feature_engine;", "SET search_path = public, feature_engine;",
             "SET timezone = 'UTC';", PREPARE.strip(), CLOCK + ";"]
    lines += [t.ddl for t in case.tables] + ([AUDIT] if d.changes else [])
    for step in case.steps:
        if isinstance(step, Create):
            lines.append(f"SELECT create_feature_view('gen_{step.name}', $$\n    {d.sql}\n$${d.options});")
            lines += ["SELECT sync();"] if d.changes else []
        elif isinstance(step, Compare):
            lines.append(f"SELECT sync();\nTABLE gen_{name};\n{d.batch.replace('now()', 'feature_engine.now()')};")
        else:
            lines.append(text_of(step) + ";")
    return "\n".join(lines)
