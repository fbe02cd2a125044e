"""The private PostgreSQL and Redis as the torture test treats them: their processes,
their starts and stops, and what they wrote to the log."""

import os
import re
import signal
import subprocess
import time

import psycopg2

from redis_client import Redis
from workload import connect

UP_WITHIN = 60  # seconds
LINE = re.compile(r"^\S+ \S+ \S+ \[\d+\] (.*?) ((?:LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC):  .*)")


class Server:
    def __init__(self):
        self.data = os.environ["FE_PG_DATA"]
        self.log = os.environ["FE_LOG"]
        self.redis_dir = os.environ["FE_REDIS_DIR"]
        self.read_to = 0

    # ---- PostgreSQL ----

    def postmaster(self):
        with open(os.path.join(self.data, "postmaster.pid")) as f:
            return int(f.readline())

    def children(self):
        try:
            pm = self.postmaster()
            with open(f"/proc/{pm}/task/{pm}/children") as f:
                return [int(pid) for pid in f.read().split()]
        except (OSError, ValueError):
            return []

    def processes(self, title):
        """Pids of the server's children whose title begins so."""
        found = []
        for pid in self.children():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if f.read().startswith(b"postgres: " + title.encode()):
                        found.append(pid)
            except OSError:
                pass
        return found

    def wait_for_process(self, title, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.processes(title)
            if found:
                return found
            time.sleep(0.002)
        return []

    def kill(self, pid):
        """With SIGKILL; returns when the postmaster knows, and ends all the others."""
        os.kill(pid, signal.SIGKILL)
        while pid in self.children():
            time.sleep(0.005)

    def pg_ctl(self, *args):
        subprocess.run(["pg_ctl", "-D", self.data, "-w", "-t", "120", "-s", *args],
                       stdin=subprocess.DEVNULL, check=True)

    def restart(self, mode):
        self.pg_ctl("-m", mode, "stop")
        self.pg_ctl("-l", self.log, "start")

    def wait_up(self):
        """A connection, as soon as there can be one."""
        deadline = time.monotonic() + UP_WITHIN
        while True:
            try:
                return connect()
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    # ---- its log ----

    def new_lines(self):
        """Lines since the last call: whole ones."""
        with open(self.log, errors="replace") as f:
            f.seek(self.read_to)
            text = f.read()
            end = text.rfind("\n") + 1
            self.read_to += len(text[:end].encode(errors="replace"))
        return text[:end].splitlines()

    # ---- Redis ----

    def redis(self):
        return Redis(os.environ["FE_REDIS_SOCK"])

    def kill_redis(self):
        with open(os.path.join(self.redis_dir, "redis.pid")) as f:
            pid = int(f.read())
        os.kill(pid, signal.SIGKILL)

    def start_redis(self):
        sock = os.environ["FE_REDIS_SOCK"]
        subprocess.run(["redis-server", "--port", "0", "--unixsocket", sock, "--unixsocketperm", "700",
                        "--daemonize", "yes", "--dir", self.redis_dir, "--save", "", "--appendonly", "no",
                        "--pidfile", os.path.join(self.redis_dir, "redis.pid"),
                        "--logfile", os.path.join(self.redis_dir, "redis.log")],
                       check=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + UP_WITHIN
        while True:
            try:
                if self.redis().call("PING") == "PONG":
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.02)


def complaints(lines, explained):
    """Lines of the log that tell of a fault of ours, and that no event explains."""
    bad = []
    for number, line in enumerate(lines):
        if re.search(r"PANIC:|TRAP: |terminated by signal (4|6|7|8|11)\b", line):
            bad.append(line)
            continue
        found = LINE.match(line)
        if not found:
            continue
        who, what = found.groups()
        ours = who.startswith("feature_engine") and re.match("ERROR|FATAL", what)
        rebuilt = "stored state cannot be used" in what or "is discarded:" in what or "has stopped:" in what
        if (ours or rebuilt) and not any(re.search(e, what) for e in explained):
            bad += [line] + [d for d in lines[number + 1:number + 2] if " DETAIL:  " in d]
    return bad
