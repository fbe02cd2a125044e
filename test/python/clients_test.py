"""docs/clients.md: what it quotes are the files of docs/examples/clients, and each of these reads what
get_features() returns, types and missing values and all."""
import json
import os
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import psycopg

import tap
from documents import DOCS, quotations, renewed

EXAMPLES = DOCS / "examples/clients"
TOOLS = Path(os.environ["FE_CLIENTS"])
PORT = os.environ["FE_REDIS_PORT"]
EXACT = ("order_count_30d", "total_spend_30d")
IDS = ["2", "99", "1", "3", "4"]  # 99 does not exist; of the others some features are NULL

# customer, total, discount, status, created_at, as SQL
ORDERS = """
    (1, 19.99, 0.1,   'paid',       '2026-06-20 10:20:30.125Z'),
    (1, 0.01,  0.2,   'returned',   '2026-06-21 00:00:00Z'),
    (1, 33.30, 1e-9,  'Ёлки "x" 😀', '2026-06-29 23:59:59.5Z'),
    (2, 99999999.99, NULL, '',      '2026-06-30 12:00:00Z'),
    (3, 10.00, 0.25,  'paid',       '2026-01-31 01:02:03Z'),
    (4, NULL,  NULL,  NULL,         NULL)"""


def prepare(db):
    db.execute("CREATE EXTENSION feature_engine")
    db.execute("SELECT feature_engine.set_clock('2026-07-01 00:00Z')")
    db.execute((EXAMPLES / "customer_features.sql").read_text())
    db.execute(f"INSERT INTO orders (customer_id, total, discount, status, created_at) VALUES {ORDERS}")
    db.execute("SELECT feature_engine.sync(redis => true)")


def expected(db):
    """For each of IDS the features by name, as get_features() has them; numbers exact."""
    rows = db.execute("SELECT features::text FROM feature_engine.get_features('customer_features', %s::int[])",
                      [[int(i) for i in IDS]]).fetchall()
    result = [text and json.loads(text, parse_float=Decimal, parse_int=Decimal) for text, in rows]
    for features in filter(None, result):
        del features["customer_id"]  # the key is in the hash's name
    return result


def same(want, got, exact):
    """Is the client's value, from JSON with exact numbers, the database's?"""
    if want is None or got is None or isinstance(want, bool) or isinstance(got, bool):
        return want is got
    if isinstance(want, Decimal):
        return want == Decimal(got) if exact else float(want) == float(got)
    try:
        return datetime.fromisoformat(want) == datetime.fromisoformat(got)
    except ValueError:
        return want == got


def differences(want, got, exact=()):
    """What is not as it should be, a line each. exact: features that the client keeps exactly."""
    if len(want) != len(got):
        return [f"{len(got)} entities instead of {len(want)}"]
    found = []
    for key, w, g in zip(IDS, want, got):
        if w is None or g is None:
            found += [] if w is g else [f"{key}: {w} and {g}"]
        elif list(g) != list(w) and set(g) != set(w):
            found.append(f"{key}: features {list(w)} and {list(g)}")
        else:
            found += [f"{key}.{name}: {w[name]} and {g[name]}" for name in w
                      if not same(w[name], g[name], name in exact)]
    return found


def run(command, **environment):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                          env={**os.environ, "REDIS_URL": f"redis://127.0.0.1:{PORT}", **environment})
    if done.returncode:
        return None, done.stderr[-2000:]
    return done.stdout, done.stderr


def check_client(name, command, want, exact=(), **environment):
    """One test: the program's lines of JSON are what get_features() returns."""
    reason = TOOLS / f"missing-{name}"
    if reason.exists():
        tap.skip(f"{name} reads what get_features() returns", reason.read_text().strip())
        return
    out, errors = run(command + IDS, **environment)
    if out is None:
        tap.ok(False, f"{name} reads what get_features() returns", errors)
        return
    got = [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in out.splitlines()]
    for features in filter(None, got):
        features.pop("customer_id", None)  # of SQL
    tap.ok(not (found := differences(want, got, exact)), f"{name} reads what get_features() returns", "\n".join(found))


def check_clients(want):
    check_client("python", [sys.executable, str(EXAMPLES / "read_features.py")], want,
                 exact=EXACT)
    check_client("psycopg", [sys.executable, str(EXAMPLES / "read_features_sql.py")], want, exact=EXACT)
    # a module is looked for from the place of the program that imports it
    module = Path(os.environ["FE_DIR"]) / "read_features.mjs"
    module.write_text((EXAMPLES / "read_features.mjs").read_text())
    (module.parent / "node_modules").symlink_to(TOOLS / "node_modules")
    check_client("node", ["node", str(module)], want, NODE_PATH="/usr/share/nodejs")
    check_client("go", [str(TOOLS / "read_features")], want)
    check_client("java", ["java", "-cp", str(TOOLS / "jars/*"), str(EXAMPLES / "ReadFeatures.java")], want,
                 exact=EXACT)


def check_vector(want):
    vectors = [run([sys.executable, str(EXAMPLES / "read_vector.py"), key])[0] for key in IDS]
    names = ("order_count_30d", "total_spend_30d", "order_value_stddev_30d")
    texts = [str(None if w is None else [float("nan" if w[n] is None else w[n]) for n in names]) + "\n"
             for w in want]
    tap.ok(vectors == texts, "HMGET gives a vector in a fixed order, NaN for NULL", f"{texts}\n{vectors}")


def check_sql(db, want):
    out, errors = run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-v", "customer=1", "-f",
                       str(EXAMPLES / "read_features.sql")])
    lines = (out or errors).splitlines()
    one = next(w for key, w in zip(IDS, want) if key == "1")
    tap.ok(len(lines) == 5, "psql: a row, a jsonb, and one for each key", out or errors)
    tap.ok(lines[0].split("|")[:2] == [str(one["order_count_30d"]), str(one["total_spend_30d"])],
           "psql reads the relation", lines[0])
    tap.ok(json.loads(lines[1])["last_status"] == one["last_status"], "psql reads jsonb", lines[1])
    tap.ok(lines[2:] == ["2|1", "99|", "1|3"], "many in input order, missing ones too", "\n".join(lines[2:]))


def check_quotations():
    document = (DOCS / "clients.md").read_text()
    tap.ok(renewed(document) == document, "docs/clients.md quotes the examples as they are",
           "run python3 test/python/documents.py")
    quoted = {path for path, _ in quotations(document)}
    files = {str(path.relative_to(DOCS)) for path in EXAMPLES.rglob("*.*") if path.suffix not in (".mod", ".sum")}
    tap.ok(quoted == files, "and it quotes all of them", f"{sorted(quoted ^ files)}")


def main():
    with psycopg.connect("", autocommit=True) as db:
        prepare(db)
        want = expected(db)
        tap.ok([w is None for w in want] == [False, True, False, False, False], "the entities are there but for one")
        check_quotations()
        check_clients(want)
        check_vector(want)
        check_sql(db, want)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
