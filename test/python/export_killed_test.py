"""feature-engine export is killed, stopped, doubled: the dataset is consistent at every moment, and a rerun completes it."""
# preload: feature_engine.cli psycopg pyarrow.dataset pyarrow.parquet

import glob
import os
import signal

import pyarrow.parquet as pq

import tap
from exporting import (KILLED, PATIENCE, connect, end, export, fails, files, fill, fresh, make_history, ok, rows_of,
                       rows_of_dataset, rows_of_table, same, start, succeeds, wait_for)

DAYS = 12

pg = connect()
make_history(pg, "busy_history")
fill(pg, "busy_history", "2026-01-10", DAYS, 250)


def is_part(path, name):
    """What is there are whole days of the table, each row once."""
    found = rows_of_dataset(path) if files(path) else []
    days = len(files(path))
    end_of_days = f"'2026-01-10 00:00Z'::timestamptz + {days} * interval '1 day'"
    expected = rows_of_table(pg, "busy_history", f"event_timestamp < {end_of_days}")
    return same(found, expected, f"{name}: what is there are {days} whole days")


# ---- SIGKILL ----

def ends_itself(to, point, nth, *arguments, **environment):
    process = start("export", "--table", "public.busy_history", "--to", to, *arguments,
                    program=KILLED, KILL_AT=point, KILL_NTH=str(nth), **environment)
    out, _ = process.communicate(timeout=PATIENCE)
    return process, out


def killed(to, point, nth, *arguments, saving=""):
    process, out = ends_itself(to, point, nth, *arguments, KILL_SAVING=saving)
    return ok(process.returncode == -signal.SIGKILL, f"killed: {point} {nth}{saving and ' saving'}", out)


to = fresh("once")
data = f"{to}/busy"
for point, nth, saving in (("group", 1, ""), ("group", 8, ""), ("rename", 1, "yes"), ("rename", 6, "yes"),
                           ("renamed", 1, ""), ("renamed", 5, "yes"), ("manifest", 2, "yes")):
    if killed(to, point, nth, saving=saving):
        is_part(data, f"{point} {nth}")
succeeds(export("busy_history", to), "a rerun", "busy: ")
same(rows_of_dataset(data), rows_of_table(pg, "busy_history"), "completes it")
ok(not glob.glob(f"{to}/**/.*.tmp", recursive=True) and len(files(data)) == DAYS, "and leaves nothing half behind")
pg.execute("UPDATE busy_history SET n = n + 1 WHERE customer_id = 3")
for point in ("group", "rename", "renamed"):
    killed(to, point, 3)
    ok(len(rows_of_dataset(data)) == DAYS * 250, f"killed while days are written anew ({point}): each row once")
succeeds(export("busy_history", to, "--compact"), "a rerun, with --compact")
same(rows_of_dataset(data), rows_of_table(pg, "busy_history"), "completes it, too")
pg.execute("DELETE FROM busy_history WHERE customer_id = 4")
killed(to, "rename", DAYS + 1, "--compact")
killed(to, "compacted", 1, "--compact")
succeeds(export("busy_history", to, "--compact"), "killed before and after the single file is in place")
same(rows_of(pq.read_table(f"{to}/busy.parquet")), rows_of_table(pg, "busy_history"), "the single file")

# ---- signals ----

to = fresh("stopped")
data = f"{to}/busy"
lock = connect()


def begin(*arguments):
    return start("export", "--table", "public.busy_history", "--to", to, "--no-progress", *arguments)


def said(process):
    """Its next line; it has not ended."""
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the export has ended, status {process.wait()}")
    return line


def waits_for_table():
    return pg.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'feature-engine'"
                      " AND datname = current_database() AND wait_event_type = 'Lock'").fetchone()[0] > 0


for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
    with lock.transaction():
        lock.execute("LOCK TABLE busy_history")
        process = begin()
        wait_for("the export", waits_for_table)
        process.send_signal(number)
        wait_for("its word", lambda: "stopping" in said(process))
        process.send_signal(number)
        result, _ = process.communicate(timeout=PATIENCE)
    ok(process.returncode == status and "Traceback" not in result, f"{number.name} twice: at once, exit status {status}",
       f"{process.returncode} {result}")
    is_part(data, number.name)
with lock.transaction():
    lock.execute("LOCK TABLE busy_history")
    process = begin()
    wait_for("the export", waits_for_table)
    process.send_signal(signal.SIGINT)
    wait_for("its word", lambda: "stopping" in said(process))
result, _ = process.communicate(timeout=PATIENCE)
ok(process.returncode == 130 and ("busy: 0 files" in result or "nothing new" in result),
   "SIGINT once: it ends in order, unfinished", f"{process.returncode} {result}")

process, result = ends_itself(to, "renamed", 3, KILL_BY="SIGTERM")
ok(process.returncode == 143 and "busy: 3 files written" in result and "Traceback" not in result,
   "SIGTERM while it is at the third file: that is finished, the others are not begun", f"{process.returncode} {result}")
is_part(data, "SIGTERM")

# ---- two at once ----

with lock.transaction():
    lock.execute("LOCK TABLE busy_history")
    process = begin()
    wait_for("the export", waits_for_table)
    fails(export("busy_history", to), "a second export to the same place", "another export", status=3)
    os.makedirs(f"{to}/link-parent")
    os.symlink(to, f"{to}/link-parent/link")
    fails(export("busy_history", f"{to}/link-parent/link"), "by another path", "another export", status=3)
result, _ = process.communicate(timeout=PATIENCE)
ok(process.returncode == 0, "the first one goes on", result)
os.unlink(f"{to}/link-parent/link")
same(rows_of_dataset(data), rows_of_table(pg, "busy_history"), "and has it all")

# ---- --follow ----

to = fresh("followed")
data = f"{to}/busy"


def follow(*arguments):
    return start("export", "--table", "public.busy_history", "--to", to, "--follow", "--interval", "0.2", *arguments)


def up_to_date():
    return files(data) and len(rows_of_dataset(data)) == pg.execute("SELECT count(*) FROM busy_history").fetchone()[0]


process = follow("--recheck", "3600")
wait_for("the first export", up_to_date)
fill(pg, "busy_history", f"2026-01-{10 + DAYS}", 1, 30)
wait_for("new rows", up_to_date)
ok(True, "--follow: new rows of a new day arrive")
pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'feature-engine'"
           " AND datname = current_database()")
wait_for("its word", lambda: "trying again" in said(process))
fill(pg, "busy_history", f"2026-01-{11 + DAYS}", 1, 30)
wait_for("new rows", up_to_date)
ok(True, "--follow: it comes back when the connection is lost")
result = end(process)
ok(result.status == 0 and "Traceback" not in result.out, "--follow: SIGTERM ends it, exit status 0", str(result))
process = follow("--recheck", "0.1", "--compact")
wait_for("the first export", lambda: os.path.exists(f"{to}/busy.parquet"))
pg.execute("INSERT INTO busy_history VALUES (500, '2026-01-11 01:00Z', now(), '0/1', false, 1, 1, 'late')")
wait_for("a row of the past", up_to_date)
ok(True, "--follow: --recheck finds rows of the past")
wait_for("the single file", lambda: len(rows_of(pq.read_table(f"{to}/busy.parquet")))
         == pg.execute("SELECT count(*) FROM busy_history").fetchone()[0])
ok(end(process, signal.SIGINT).status == 0, "--follow: SIGINT ends it, exit status 0")
same(rows_of_dataset(data), rows_of_table(pg, "busy_history"), "--follow: all there")

raise SystemExit(tap.finish())
