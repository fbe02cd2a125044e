"""Comparing feature views with their batch queries, and Redis with SQL."""

import math
from datetime import datetime
import time

import views_windows
from views import batch_query
from workload import run

FLOATS = (700, 701)
BOOL = 16


def text_form(column):
    """The type's output form; a boolean's cast to text is another one."""
    if column.type_code == BOOL:
        return f"""CASE "{column.name}" WHEN true THEN 't' WHEN false THEN 'f' END"""
    return f'"{column.name}"::text'


def rows_of(conn, sql):
    """Rows as text, keyed and sorted by text; which columns are floats."""
    with conn.cursor() as cur:
        cur.execute(f"SELECT * FROM ({sql}) q LIMIT 0")
        names = [d.name for d in cur.description]
        floats = [d.type_code in FLOATS for d in cur.description]
        columns = ", ".join(text_form(d) for d in cur.description)
        cur.execute(f"SELECT {columns} FROM ({sql}) q")
        return names, floats, sorted(cur.fetchall(), key=repr)


def same(a, b, is_float):
    if a == b:
        return True
    if not is_float or a is None or b is None:
        return False
    x, y = float(a), float(b)
    return math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-6)


def diff_rows(got, want, floats, nkeys):
    """First few differences; rows are matched by their key columns."""
    found = []
    g = {r[:nkeys]: r for r in got}
    w = {r[:nkeys]: r for r in want}
    if len(g) != len(got):
        found.append("an entity came twice")
    for key in sorted(set(g) | set(w), key=repr):
        a, b = g.get(key), w.get(key)
        if a is None or b is None or not all(map(same, a, b, floats)):
            found.append(f"key {key}: streamed {a}\n            batch    {b}")
    return found


def nkeys_of(name):
    if name in views_windows.WINDOWS:
        return len(views_windows.WINDOWS[name][0])
    return {"v_two_keys": 2, "v_key_expression": 2}.get(name, 1)


def compare_view(conn, T, name, query):
    run(conn, "SET feature_engine.as_of = %s", (T,))
    if name == "v_final":
        run(conn, "SELECT set_config('feature_engine.watermark',"
                  " greatest(watermark('v_final'), '1900-01-01Z')::text, false)")
    try:
        _, floats, got = rows_of(conn, f"SELECT * FROM {name}")
        _, _, want = rows_of(conn, batch_query(name, query))
    finally:
        run(conn, "RESET feature_engine.as_of; RESET feature_engine.watermark")
    found = diff_rows(got, want, floats, nkeys_of(name) + (name in views_windows.WINDOWS))
    return len(want), [f"T {T} {name}: {len(found)} differences"] + found[:3] if found else []


def view_differences(conn, views):
    """Every entity of every view at several T within the exact horizon: rows compared, differences."""
    clock = run(conn, "SELECT feature_engine.now()::text")[0][0]
    compared, problems = 0, []
    for back in ("0", "17.25 seconds", "59 seconds"):
        T = run(conn, "SELECT (%s::timestamptz - %s::interval)::text", (clock, back))[0][0]
        for name, query, _ in views:
            n, found = compare_view(conn, T, name, query)
            compared += n
            problems += found
    return compared, problems


# ---- Redis ----

def encode_part(text, template):
    literals = set("".join(p.split("}")[-1] for p in ("}" + template).split("{"))) | {"%"}
    return "".join("%%%02X" % ord(c) if c in literals else c for c in text)


def epoch(window):
    """The window's start in seconds since 1970, with the decimals it has."""
    start, _, decimals = window[2:].split('+')[0].partition(".")
    seconds = int(datetime.fromisoformat(start + "+00:00").timestamp())
    return f"{seconds}.{decimals}" if decimals else str(seconds)


def expected_hashes(conn, name, options):
    windowed = name in views_windows.WINDOWS
    names, floats, rows = rows_of(conn, views_windows.online_query(name, options) if windowed
                                  else f"SELECT * FROM {name}")
    k = nkeys_of(name)
    template = options.get("redis_key")
    for row in rows:
        if any(v is None for v in row[:k]):
            continue
        if template:
            key = template
            for n, v in zip(names[:k], row[:k]):
                key = key.replace("{%s}" % n, encode_part(v, template))
            if windowed:
                key = key.replace("{window_start}", epoch(row[names.index("w")]))
        elif k > 1:
            key = name + ":" + ":".join(encode_part(v, ":" + name) for v in row[:k])
        else:
            key = f"{name}:{row[0]}"
        yield key, {n: (v, f) for n, v, f in zip(names[k:], row[k:], floats[k:]) if v is not None}


def redis_differences(conn, redis, views):
    found, compared = [], 0
    for name, _, options in views:
        want = dict(expected_hashes(conn, name, options))
        pattern = options.get("redis_key", name + ":*").split("{")[0].rstrip("*") + "*"
        have = set(redis.keys(pattern))
        for key in have - set(want):
            found.append(f"{name}: key {key!r} should not be there: {redis.hash(key)}")
        for key, fields in want.items():
            compared += 1
            got = redis.hash(key)
            got.pop("_ts", None)
            got.pop("_lsn", None)
            if set(got) != set(fields) or not all(same(got[f], v, fl) for f, (v, fl) in fields.items()):
                found.append(f"{name}: {key}\n  redis {got}\n  sql   {({f: v for f, (v, _) in fields.items()})}")
    return compared, found


def settled_redis_differences(conn, redis, views):
    """Redis follows within moments; what is wrong must become right by itself."""
    run(conn, "SELECT feature_engine.sync(redis => true)")
    deadline = time.monotonic() + 60
    while True:
        compared, found = redis_differences(conn, redis, views)
        if not found or time.monotonic() > deadline:
            return compared, found
        time.sleep(0.2)
