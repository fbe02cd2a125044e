"""Histories of feature views against the views themselves.

When everything is recorded, and the clock stands still, the newest row of each entity is
what the view says now, in all features; an entity that the view does not have has none, or one that
says that it is gone. Of two rows of an entity in a row, no one says what the other says
of the same change.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))

from compare import diff_rows, nkeys_of, rows_of  # noqa: E402
from workload import run  # noqa: E402

# of every kind, and few: a rolling window, all of T, two keys, HAVING, a join
NAMES = ["v_lesson", "v_lifetime", "v_two_keys", "v_having", "vj_inner"]


def with_history(views):
    return [(name, query, dict(options, offline=True) if name in NAMES else options)
            for name, query, options in views]


def last_rows(keys, columns, name):
    return f"""SELECT {columns} FROM (SELECT DISTINCT ON ({keys}) * FROM {name}_history
        ORDER BY {keys}, event_timestamp DESC) h WHERE NOT is_deleted"""


def doubles(keys, columns, name):
    """Rows that say what the one before says, of the same change."""
    features = ", ".join(c for c in columns if c not in keys)
    return f"""SELECT count(*) FROM (SELECT ROW({features}, is_deleted, lsn)::text AS said,
        lag(ROW({features}, is_deleted, lsn)::text) OVER (PARTITION BY {', '.join(keys)} ORDER BY event_timestamp) AS before
        FROM {name}_history) h WHERE said = before"""


def differences_of(conn, name):
    names, floats, want = rows_of(conn, f"SELECT * FROM {name}")
    nkeys = nkeys_of(name)
    columns = [f'"{n}"' for n in names]
    want = [row for row in want if None not in row[:nkeys]]
    _, _, got = rows_of(conn, last_rows(", ".join(columns[:nkeys]), ", ".join(columns), name))
    problems = diff_rows(got, want, floats, nkeys)[:3]
    twice = run(conn, doubles(columns[:nkeys], columns, name))[0][0]
    if twice:
        problems.append(f"{twice} rows say what the one before says")
    return len(want), [f"history of {name}: {p}" for p in problems]


def history_differences(conn, wait):
    """Rows compared, and what is wrong."""
    compared, problems = 0, []
    run(conn, f"SELECT feature_engine.sync('{wait}', history => true)")
    for name in NAMES:
        rows, found = differences_of(conn, name)
        compared += rows
        problems += found
    return compared, problems
