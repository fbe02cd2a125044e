"""The history of feature views against batch queries of the time.

At instants of the run, when everything is recorded, the batch query of each view
with offline => true is run and its result kept. At the end of the run the history
as of each of these instants must be that result: what came later must not show in
it, and nothing may be missing.
"""

import views_windows
from compare import diff_rows, nkeys_of, rows_of
from views import batch_query
from workload import run

# of every kind: rolling windows, features that depend on T, two keys, HAVING, several
# tables, windows in GROUP BY (the newest, or each one)
NAMES = ["v_lesson", "v_three_windows", "v_lifetime", "v_two_keys", "v_key_expression", "v_skips",
         "v_current_beside", "v_having", "v_tumbling", "vj_inner", "vj_where_window"]


def with_history(views):
    """The views, those that are to have a history with the option for it."""
    return [(name, query, dict(options, offline=True) if has_history(name, options) else options)
            for name, query, options in views]


def has_history(name, options):
    return name in NAMES or (name in views_windows.WINDOWS and options.get("redis_key") is not None)


def recorded(options):
    return options.get("offline", False)


def truth_query(name, query, options):
    if name in views_windows.WINDOWS:
        return views_windows.online_query(name, options)
    return batch_query(name, query)


class Truth:
    """Results of batch queries by instant."""

    def __init__(self):
        self.results = {}

    def take(self, conn, views):
        """Everything of now; the clock goes on afterwards, so that nothing more is recorded of this instant."""
        run(conn, "SELECT feature_engine.sync(history => true)")
        T = run(conn, "SELECT feature_engine.now()::text")[0][0]
        for name, query, options in views:
            if recorded(options):
                self.results[T, name] = (options, rows_of(conn, truth_query(name, query, options)))
        run(conn, "SELECT feature_engine.set_clock(feature_engine.now() + interval '1 second')")

    def differences(self, conn):
        problems, compared = [], 0
        for (T, name), (options, (names, floats, want)) in self.results.items():
            nkeys = nkeys_of(name) + ("{window_start}" in options.get("redis_key", ""))
            keys = ", ".join(f'"{n}"' for n in names[:nkeys])
            columns = ", ".join(f'"{n}"' for n in names)
            _, _, got = rows_of(conn, f"""SELECT {columns} FROM (SELECT DISTINCT ON ({keys}) * FROM {name}_history
                WHERE event_timestamp <= '{T}' ORDER BY {keys}, event_timestamp DESC) h WHERE NOT is_deleted""")
            want = [row for row in want if None not in row[:nkeys]]
            compared += len(want)
            found = diff_rows(got, want, floats, nkeys)
            if found:
                problems += [f"T {T} {name}: {len(found)} differences"] + found[:3]
        return compared, problems
