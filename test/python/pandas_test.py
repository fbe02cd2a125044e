"""docs/clients.md, training sets in pandas: the example's rows are what get_features() returned at the labels'
times, with pandas' types, in a DataFrame and in the Parquet file."""
import io
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psycopg

import tap
from documents import DOCS

DIR = Path(os.environ["FE_DIR"])
EXAMPLES = DOCS / "examples/clients"
FEATURES = ["order_count_30d", "total_spend_30d", "last_status"]

# What is inserted at each instant: customer, total, status.
STEPS = {
    "2026-03-01 00:00Z": [(1, 19.99, "paid"), (2, 5, "paid")],
    "2026-03-05 12:00Z": [(1, 0.01, "returned")],
    "2026-04-04 00:00Z": [(3, None, None)],  # the first orders have left the 30 days
}

# A label of each customer at, just before and between these instants; 3 comes last, 99 never.
LABELS = """
    CREATE TABLE labels AS
    SELECT customer_id, t AS event_timestamp, customer_id > 1 AS label
    FROM unnest(ARRAY[1, 2, 3, 99]) customer_id,
         unnest(ARRAY['2026-02-28 23:59:59.999999Z', '2026-03-01 00:00Z', '2026-03-05 11:59Z', '2026-03-05 12:00Z',
                      '2026-03-20 00:00Z', '2026-04-04 00:00Z', '2026-04-05 00:00Z']::timestamptz[]) t"""


def live(db):
    """Lets the days pass; {instant: {customer: features}} as they were served."""
    served = {}
    db.execute("CREATE EXTENSION feature_engine")
    for number, (instant, orders) in enumerate(STEPS.items()):
        db.execute("SELECT feature_engine.set_clock(%s)", [instant])
        if not number:
            db.execute((EXAMPLES / "customer_features.sql").read_text())
            db.execute("SELECT feature_engine.alter_feature_view('customer_features', offline => true)")
            db.execute("SELECT feature_engine.sync(history => true)")
        for order in orders:
            db.execute("INSERT INTO orders (customer_id, total, status, created_at) VALUES (%s, %s, %s, feature_engine.now())", order)
        db.execute("SELECT feature_engine.sync(history => true)")
        rows = db.execute(f"SELECT customer_id, {', '.join(FEATURES)} FROM customer_features").fetchall()
        served[pd.Timestamp(instant)] = {key: values for key, *values in rows}
    db.execute(LABELS)
    return served


def expected(served, customer, instant):
    """The features that were served last, at or before an instant."""
    before = [at for at in served if at <= instant]
    return (served[max(before)] if before else {}).get(customer, [None] * len(FEATURES))


def plain(value):
    return None if pd.isna(value) else float(value) if not isinstance(value, str) else value


def wrong_rows(frame, served):
    """Rows of a training set that are not what was served then, a line each."""
    found = []
    for row in frame.itertuples():
        got = [plain(getattr(row, name)) for name in FEATURES]
        want = [None if v is None else plain(v) for v in expected(served, row.customer_id, row.event_timestamp)]
        if got != want:
            found.append(f"{row.customer_id} at {row.event_timestamp}: {got}, not {want}")
    return found


def run(*command):
    """Runs Python; what it printed, or None, and what it complained of."""
    source = str(DOCS.parent / "companion/src")
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": source})
    return (None if done.returncode else done.stdout), done.stderr[-2000:]


def check_database(served):
    target = DIR / "training.parquet"
    out, errors = run(EXAMPLES / "training_set.py", target)
    if not tap.ok(out == "" and not errors, "the example runs", errors):
        return
    frame = pd.read_parquet(target)
    tap.ok(list(frame.columns) == ["customer_id", "event_timestamp", "label", *FEATURES] and len(frame) == 28,
           "one row for each label, its columns and the features", f"{list(frame.columns)} {len(frame)}")
    types = [str(frame[name].dtype) for name in FEATURES]
    tap.ok(types[:2] == ["Int64", "Float64"] and types[2].startswith("string"), "with pandas' types for missing values",
           str(types))
    wrong = wrong_rows(frame, served)
    tap.ok(not wrong, "each has what was served at that time", "\n".join(wrong))


def check_parquet(db, served):
    folder, labels = DIR / "features", DIR / "labels.parquet"
    out, errors = run("-m", "feature_engine", "export", "--view", "customer_features", "--to", folder)
    tap.ok(out is not None, "the history is exported", errors)
    rows = db.execute("SELECT customer_id, event_timestamp, label FROM labels").fetchall()
    pd.DataFrame(rows, columns=["customer_id", "event_timestamp", "label"]).to_parquet(labels)
    out, errors = run(EXAMPLES / "training_set_parquet.py", folder / "customer_features", labels)
    if not tap.ok(out and not errors, "the example runs on the files", errors):
        return
    frame = pd.read_csv(io.StringIO(out))
    frame["event_timestamp"] = pd.to_datetime(frame["event_timestamp"], format="ISO8601", utc=True)
    wrong = wrong_rows(frame, served)
    tap.ok(len(frame) == 28 and not wrong, "each has what was served at that time", "\n".join(wrong))


def main():
    with psycopg.connect("", autocommit=True) as db:
        served = live(db)
        tap.ok([len(step) for step in served.values()] == [2, 2, 3], "features were served", str(served))
        check_database(served)
        check_parquet(db, served)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
