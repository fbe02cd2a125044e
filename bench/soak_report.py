"""Judges and draws what bench/soak has sampled: soak_report.py FILE.csv FILE.svg.

Prints a markdown table, writes a plot, and ends with 1 when something grew. After a
tenth of the time (two minutes at least) for warming up, the rest is cut in halves; neither the median nor the
maximum of the second may be above 1.1 times that of the first and SLACK, or of a file 1.5
times: how far vacuum and a checkpoint cycle stay behind depends on what else the machine does.
"""

import csv
import statistics
import sys

MB = 1 << 20
WARM = 120  # seconds; windows and the rows' life have come round by then
MEMORY = (1.1, 2 * MB)  # growth, slack
FILES = (1.5, 32 * MB)

# column, what it is, its unit in bytes, bound
BOUNDED = [
    ("memory", "feature state in shared memory", 1, MEMORY),
    ("reservation_kb", "pages of the reservation touched", 1024, MEMORY),
    ("launcher_private_kb", "private memory of the launcher", 1024, MEMORY),
    ("ingest_private_kb", "private memory of the ingest worker", 1024, MEMORY),
    ("capture_private_kb", "private memory of the capture worker", 1024, MEMORY),
    ("pusher_private_kb", "private memory of the pusher", 1024, MEMORY),
    ("checkpoint_private_kb", "private memory of checkpoint workers", 1024, MEMORY),
    ("checkpoint_tables", "tables of checkpoints on disk", 1, FILES),
    ("wal_retained", "write-ahead log held back", 1, FILES),
    ("redis_memory", "memory of Redis", 1, MEMORY),
]
SAME = ["launcher_pid", "ingest_pid", "capture_pid", "pusher_pid"]

PANELS = [
    ("changes applied a second, thousands", 1e3, [("rate", "changes")]),
    ("entities, thousands", 1e3, [("entities", "entities"), ("redis_keys", "hashes in Redis")]),
    ("shared memory, MB", MB, [("memory", "feature state"), ("reservation_kb", "pages touched")]),
    ("private memory of processes, MB", MB, [("ingest_private_kb", "ingest"), ("capture_private_kb", "capture"),
                                            ("pusher_private_kb", "pusher"),
                                            ("checkpoint_private_kb", "checkpoint"),
                                            ("launcher_private_kb", "launcher")]),
    ("Redis, MB", MB, [("redis_memory", "memory of Redis")]),
    ("on disk, MB", MB, [("checkpoint_tables", "tables of checkpoints"), ("wal_retained", "WAL held back")]),
]
COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e"]
WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 130, 60, 40, 46


def load(path):
    """Columns of numbers in bytes and seconds; None where there was nothing to measure."""
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    data = {c: [float(r[c]) if r[c] else None for r in rows] for c in rows[0]}
    for column, _, unit, _ in BOUNDED:
        data[column] = [v if v is None else v * unit for v in data[column]]
    t, changes = data["seconds"], data["changes"]
    data["rate"] = [None] + [(changes[i] - changes[i - 1]) / (t[i] - t[i - 1]) for i in range(1, len(t))]
    return data


# ---- the judgement ----

def halves(data, column):
    end = data["seconds"][-1]
    warm = max(end / 10, WARM)
    values = [[], []]
    for t, v in zip(data["seconds"], data[column]):
        if v is not None and t >= warm:
            values[t >= (warm + end) / 2].append(v)
    return values


def judge(data):
    """Lines of the table, complaints."""
    lines, bad = [], []
    for column, name, _, (growth, slack) in BOUNDED:
        first, second = halves(data, column)
        if not first or not second:
            if column != "checkpoint_private_kb":  # short-lived: may never have been met
                bad.append(f"{name}: too few samples")
            continue
        figures = [(f(first), f(second)) for f in (statistics.median, max)]
        lines.append(f"| {name} | " + " | ".join(f"{a / MB:.1f} | {b / MB:.1f}" for a, b in figures) + " |")
        for what, (a, b) in zip(("median", "maximum"), figures):
            if b > a * growth + slack:
                bad.append(f"{name} grew: {what} from {a / MB:.1f} to {b / MB:.1f} MB")
    for column in SAME:
        if len(set(data[column])) > 1:
            bad.append(f"{column}: the process changed")
    if max(data["failures"]) > 0 or max(data["not_live"]) > 0 or max(data["push_failures"]) > 0:
        bad.append("a worker failed, a push did, or a view was not live")
    return lines, bad


def summary(data):
    span = data["seconds"][-1] - data["seconds"][0]
    total = {c: data[c][-1] - data[c][0] for c in ("changes", "transactions", "pushes", "wal", "cycles")}
    return (f"{span / 60:.0f} minutes: {total['changes'] / 1e6:.1f} million changes in"
            f" {total['transactions'] / 1e6:.2f} million transactions ({total['changes'] / span / 1e3:.0f}k changes/s),"
            f" {total['pushes'] / 1e6:.1f} million pushes, {total['wal'] / 2 ** 30:.0f} GB of WAL,"
            f" {total['cycles']:.0f} checkpoint cycles; {statistics.median(data['entities']) / 1e3:.0f}k entities,"
            f" {statistics.median(data['panes']) / 1e3:.0f}k panes (medians).")


# ---- the plot ----

def nice_top(value):
    """A round number not below value."""
    step = 1
    while True:
        for m in (1, 2, 4, 5, 8):
            if step * m >= value:
                return step * m
        step *= 10


def polyline(xs, values, scale, colour):
    """Gaps in the values are bridged: a checkpoint worker is not there all the time."""
    points = " ".join(f"{x:.1f},{scale(v):.1f}" for x, v in zip(xs, values) if v is not None)
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.2" points="{points}"/>'


def panel(data, top, title, unit, series):
    end = data["seconds"][-1]
    xs = [LEFT + (WIDTH - LEFT - 20) * t / end for t in data["seconds"]]
    peak = nice_top(max(v for c, _ in series for v in data[c] if v is not None) / unit)

    def scale(v):
        return top + HEIGHT - HEIGHT * v / unit / peak
    out = [f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{title}</text>']
    for part in (0, 0.5, 1):
        y = top + HEIGHT - HEIGHT * part
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{peak * part:g}</text>')
    x = WIDTH - 20
    for (column, name), colour in reversed(list(zip(series, COLOURS))):
        out.append(polyline(xs, data[column], scale, colour))
        out.append(f'<text x="{x}" y="{top - 8}" text-anchor="end" fill="{colour}">{name}</text>')
        x -= 7 * len(name) + 14
    return out


def draw(data, path):
    minutes = data["seconds"][-1] / 60
    height = TOP + len(PANELS) * (HEIGHT + GAP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
           ' font-family="sans-serif" font-size="11">', f'<rect width="{WIDTH}" height="{height}" fill="white"/>']
    for n, (title, unit, series) in enumerate(PANELS):
        out += panel(data, TOP + n * (HEIGHT + GAP), title, unit, series)
    step = max(1, round(minutes / 6))
    for m in range(0, int(minutes) + 1, step):
        x = LEFT + (WIDTH - LEFT - 20) * m / minutes
        out.append(f'<text x="{x:.1f}" y="{height - 18}" text-anchor="middle">{m} min</text>')
    out.append("</svg>")
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")


def main(source, target):
    data = load(source)
    draw(data, target)
    lines, bad = judge(data)
    print("", summary(data), "", "| MB | median, first half | second | maximum, first half | second |",
          "|---|---|---|---|---|", *lines, sep="\n")
    for line in bad:
        print(f"soak: {line}", file=sys.stderr)
    return 1 if bad else 0


sys.exit(main(*sys.argv[1:]))
