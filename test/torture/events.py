"""What happens to the servers in a round of the torture test.

Each event is a function of the torture (torture.py) that returns when the harm is done;
the server may still be on its way up then. EXPLAINS says which messages of ours in the
log it accounts for; any other error there fails the round.
"""

import os
import signal
import threading
import time

import psycopg2
from psycopg2 import errors

from views import VIEWS
from workload import create_view, run

# views over changes() cannot be built anew: a lost slot is a gap for them
VIEWS = [view for view in VIEWS if "changes(" not in view[1]]

SMALL_BYTES = 192 << 20  # as in run
WORKERS = ["ingest", "capture", "checkpoint", "backfill", "pusher", "launcher"]
STEPS = ["1 second", "30 seconds", "7 minutes", "5 hours", "1 day 3 minutes", "9 days", "31 days"]

# Whoever is told to end, or comes while the server is down, says so.
ALWAYS = [r"FATAL:  terminating ", r"FATAL:  the database system is (starting up|shutting down|in recovery|not yet)",
          # views with joins, named vj_..., are only loaded where nothing changed while they were stored
          r'feature view "vj_\w+" is built from its table: its stored state cannot be used']
SLOT = [r"replication slot", r"stored state cannot be used", r"is discarded: their replication slot is gone", r"logical decoding"]
EXPLAINS = {
    "slot_drop": SLOT,
    "slot_drop_down": SLOT,
    "disk_full": [r"No space left on device"],
    "memory": [r"feature_engine.memory is full", r"is discarded: .*waited for memory"],
}


class Skipped(Exception):
    """The event cannot take place here, or did not find its moment."""


# ---- death ----

def kill_process(t, title):
    found = t.server.wait_for_process(title, 5)
    if not found:
        raise Skipped(f"no process \"{title}\"")
    try:
        t.server.kill(t.rnd.choice(found))
    except ProcessLookupError:
        raise Skipped(f"\"{title}\" had ended")


def refresh_in_background(t):
    """Makes a backfill run; it may die with the server."""
    def refresh(name):
        try:
            conn = t.server.wait_up()
            run(conn, "SELECT refresh_feature_view(%s)", (name,))
            conn.close()
        except psycopg2.Error:
            pass
    thread = threading.Thread(target=refresh, args=(t.rnd.choice(VIEWS)[0],))
    thread.start()
    return thread


def kill_worker(role):
    def event(t):
        thread = refresh_in_background(t) if role == "backfill" else None
        try:
            kill_process(t, f"feature_engine {role}")
        finally:
            if thread:
                thread.join()
    return event


def kill_title(title):
    return lambda t: kill_process(t, title)


def immediate(t):
    t.server.restart("immediate")


def fast(t):
    t.server.restart("fast")


def terminate(t):
    """Somebody's pg_terminate_backend: no crash."""
    role = t.rnd.choice(WORKERS)
    found = t.server.wait_for_process(f"feature_engine {role}", 2)
    for pid in found:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def stopped(t):
    role = t.rnd.choice([f"feature_engine {r}" for r in WORKERS] + ["walwriter", "checkpointer"])
    for pid in t.server.wait_for_process(role, 2)[:1]:
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(t.rnd.uniform(0.1, 2))
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


# ---- what surrounds the engine ----

def redis_kill(t):
    t.server.kill_redis()
    time.sleep(t.rnd.uniform(0, 1))
    t.server.start_redis()


def clock(t):
    t.step_clock(t.rnd.choice(STEPS))


def slot_drop(t):
    conn = t.server.wait_up()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            run(conn, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                      " WHERE plugin = 'feature_engine' AND active_pid IS NOT NULL")
            if run(conn, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                         " WHERE plugin = 'feature_engine'"):
                conn.close()
                return
        except (errors.ObjectInUse, errors.UndefinedObject):
            pass
        time.sleep(t.rnd.uniform(0, 0.01))
    raise Skipped("the slot was never free")


def slot_drop_down(t):
    """The slot is gone when the server comes up."""
    t.server.pg_ctl("-m", "immediate", "stop")
    slots = os.path.join(t.server.data, "pg_replslot")
    for slot in os.listdir(slots):
        for name in os.listdir(os.path.join(slots, slot)):
            os.unlink(os.path.join(slots, slot, name))
        os.rmdir(os.path.join(slots, slot))
    t.server.pg_ctl("-l", t.server.log, "start")


def view_dropped(t):
    conn = t.server.wait_up()
    view = t.rnd.choice(VIEWS)
    run(conn, "SELECT drop_feature_view(%s)", (view[0],))
    time.sleep(t.rnd.choice([0, 0, 0.3, 1.5]))
    create_view(conn, view)
    conn.close()


def view_refreshed(t):
    refresh_in_background(t).join()


def set_server(conn, name, value):
    run(conn, f"ALTER SYSTEM SET {name} = '{value}'" if value else f"ALTER SYSTEM RESET {name}")
    run(conn, "SELECT pg_reload_conf()")


def memory(t):
    conn = t.server.wait_up()
    set_server(conn, "feature_engine.memory", "1MB")
    time.sleep(t.rnd.uniform(0.1, 1.5))
    if t.rnd.random() < 0.5:
        kill_process(t, "feature_engine " + t.rnd.choice(["ingest", "pusher"]))
        time.sleep(t.rnd.uniform(1, 3))
        conn = t.server.wait_up()
    set_server(conn, "feature_engine.memory", None)
    conn.close()


# ---- a full disk ----

def fill(path):
    """Takes all the room there is."""
    with open(path, "wb", buffering=0) as f:
        for size in (1 << 20, 8192, 512):
            try:
                while f.write(b"\0" * size) == size:
                    pass
            except OSError:
                pass


def disk_full(t):
    small = os.environ.get("FE_SMALL")
    if not small:
        raise Skipped(os.environ["FE_NOT_SMALL"])
    conn = t.server.wait_up()
    ballast = os.path.join(small, "ballast")
    # replaying the log after a crash must not meet a full disk itself: nothing of ours can help that
    run(conn, "VACUUM FULL feature_engine.checkpoint_chunk")
    size = run(conn, "SELECT pg_table_size('feature_engine.checkpoint_chunk')")[0][0]
    if size > SMALL_BYTES / 2:
        raise Skipped(f"what is stored, {size} bytes, is too much for the small file system")
    run(conn, "ALTER TABLE feature_engine.checkpoint_chunk SET TABLESPACE small")
    try:
        fill(ballast)
        met = t.wait_for_log("No space left on device", 20)
    finally:
        os.unlink(ballast)
    run(conn, "ALTER TABLE feature_engine.checkpoint_chunk SET TABLESPACE pg_default")
    run(conn, "CHECKPOINT")
    if not met:
        raise Skipped("no checkpoint met the full disk")
    t.expect_checkpoint(conn)
    conn.close()


EVENTS = {
    **{f"kill_{role}": kill_worker(role) for role in WORKERS},
    "kill_checkpointer": kill_title("checkpointer"),
    "kill_walwriter": kill_title("walwriter"),
    "kill_client": kill_title("postgres postgres"),
    "immediate": immediate,
    "fast": fast,
    "terminate": terminate,
    "stopped": stopped,
    "redis_kill": redis_kill,
    "clock": clock,
    "slot_drop": slot_drop,
    "slot_drop_down": slot_drop_down,
    "view_dropped": view_dropped,
    "view_refreshed": view_refreshed,
    "memory": memory,
    "disk_full": disk_full,
}
# After these, views come out of the store: all but so many.
CRASHES = {name: name == "kill_backfill" for name in EVENTS if name.startswith("kill_")}
CRASHES |= {"immediate": 0, "fast": 0}
# What may follow at once: a crash while it is still being dealt with.
AGAIN = ["kill_ingest", "kill_capture", "kill_checkpoint", "immediate", "fast"]
