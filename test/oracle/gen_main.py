"""Generated definitions against their batch queries: see gen_definitions.py.

GEN_SEEDS="1 2 3" chooses seeds, else GEN_FROM (1) and on; GEN_MINUTES goes on for so long, else
GEN_RUNS (8) runs are made. GEN_DEFINITIONS a run, GEN_STATEMENTS likewise. A view that differs is
cut down to a short SQL script, which is printed. Prints TAP, and at the end how many definitions
and changes were compared, and which refusals there were.
"""

import collections
import os
import re
import sys
import time

from gen_reduce import Reducer
from gen_run import REFUSALS, execute, make_case, script
from tap import finish, ok
from workload import connect, run

RUNS = int(os.environ.get("GEN_RUNS", "8"))
MINUTES = float(os.environ.get("GEN_MINUTES", "0"))
DEFINITIONS = int(os.environ.get("GEN_DEFINITIONS", "24"))
STATEMENTS = int(os.environ.get("GEN_STATEMENTS", "60"))
REDUCE = int(os.environ.get("GEN_REDUCE", "250"))


def seeds():
    if os.environ.get("GEN_SEEDS"):
        yield from map(int, os.environ["GEN_SEEDS"].split())
        return
    first = int(os.environ.get("GEN_FROM", "1"))
    deadline = time.monotonic() + 60 * MINUTES
    n = first
    while (time.monotonic() < deadline) if MINUTES else (n < first + RUNS):
        yield n
        n += 1


class Totals:
    def __init__(self):
        self.runs = self.definitions = self.refused = self.changes = self.rows = 0
        self.messages = collections.Counter()

    def report(self):
        print(f"# {self.runs} runs: {self.definitions} definitions compared, {self.refused} refused, over "
              f"{self.changes} changes; {self.rows} rows of features compared")
        for message, n in self.messages.most_common():
            print(f"# {n:6} x {message}")


def general(message):
    """A message without what differs between definitions."""
    message = re.sub(r'"[^"]*"', '"..."', message)
    return re.sub(r"\b(gen\.)?[ctuvkg]\d+\b", "...", message)


def one(conn, seed, known, totals):
    case, changes = make_case(seed, known, DEFINITIONS, STATEMENTS)
    result = execute(conn, case)
    totals.runs += 1
    totals.definitions += len(case.definitions) - len(result.refused)
    totals.refused += len(result.refused)
    totals.changes += changes
    totals.rows += result.compared
    bad = []
    for name, (state, message) in result.refused.items():
        totals.messages[f"{state} {general(message)}"] += 1
        if state[:2] not in REFUSALS:
            bad.append(f"{state} {message}\n{case.definitions[name].sql}")
    for name, lines in result.problems.items():
        reduced = Reducer(conn, name, REDUCE).reduce(case) if REDUCE else None
        bad.append("\n".join([f"view gen_{name}:"] + lines + [
            "as a script:" if reduced else "not reduced (it does not fail alone): run GEN_SEEDS=" + str(seed),
            script(reduced or case.only(name), name)]))
    ok(not bad, f"seed {seed}: {len(case.definitions) - len(result.refused)} definitions, {changes} changes, "
       f"{result.compared} rows", "\n".join(bad))


def known_functions(conn):
    return {name for (name,) in run(conn, "SELECT proname FROM pg_proc WHERE pronamespace = 'feature_engine'::regnamespace")}


def main():
    conn = connect()
    run(conn, "SET client_min_messages = warning")
    run(conn, "CREATE EXTENSION IF NOT EXISTS feature_engine")
    known = known_functions(conn)
    totals = Totals()
    for seed in seeds():
        try:
            one(conn, seed, known, totals)
        except Exception as e:
            ok(False, f"seed {seed} ended early", repr(e))
            conn = connect()
    totals.report()
    return finish()


sys.exit(main())
