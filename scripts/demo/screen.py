"""Streams orders with pgbench and shows their features changing, for a while.

usage: screen.py SECONDS RATE CUSTOMERS

Needs the environment of scripts/env.sh (PGHOST..., FE_REDIS_SOCK) and the
database of schema.sql. On a terminal it refreshes one screen, elsewhere it
prints a line now and then. Standard library only: SQL goes through a psql
coprocess, Redis through its protocol.
"""
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).parent
SHOWN = (1, 2, 3, 4, 5)
PROBE = 0                                   # a customer that the stream leaves alone
TTY = sys.stdout.isatty()
COLUMNS = ('customer', 'orders 30d', 'spend 30d', 'average', 'stddev', 'last order', 'status',
           'high value')
FEATURES_SQL = """
    SELECT customer_id, order_count_30d, total_spend_30d, round(avg_order_value_30d, 2),
           round(order_value_stddev_30d, 2), to_char(last_order_time, 'HH24:MI:SS.MS'),
           last_status, is_high_value
    FROM customer_features WHERE customer_id = ANY ('{%s}') ORDER BY 1;
"""


class Psql:
    """One session; query() returns rows as lists of text."""
    END = '--end--'

    def __init__(self):
        self.process = subprocess.Popen(
            ['psql', '-XqAt', '-F', '\t', '-v', 'VERBOSITY=terse'], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def query(self, sql):
        self.process.stdin.write(f"{sql.rstrip().rstrip(';')};\nSELECT '{self.END}';\n")
        self.process.stdin.flush()
        rows = []
        for line in self.process.stdout:
            line = line.rstrip('\n')
            if line == self.END:
                return rows
            if 'ERROR:' in line or 'FATAL:' in line:
                raise RuntimeError(line)
            rows.append(line.split('\t'))
        raise RuntimeError('psql ended')


class Redis:
    """The two commands the screen needs."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.environ['FE_REDIS_SOCK'])
        self.file = self.socket.makefile('rb')

    def command(self, *words):
        parts = [f'*{len(words)}'] + [p for w in words for p in (f'${len(w.encode())}', w)]
        self.socket.sendall(('\r\n'.join(parts) + '\r\n').encode())
        return self.reply()

    def reply(self):
        line = self.file.readline().decode().rstrip()
        kind, rest = line[0], line[1:]
        if kind == '$':
            return None if rest == '-1' else self.file.read(int(rest) + 2)[:-2].decode()
        if kind == '*':
            return [self.reply() for _ in range(int(rest))]
        if kind == '-':
            raise RuntimeError(rest)
        return rest


class Freshness:
    """Every quarter of a second: one order, and how long until SQL and Redis show it."""

    def __init__(self):
        self.psql, self.redis = Psql(), Redis()
        self.count = 0
        self.sql_ms, self.redis_ms = [], []
        self.error = None
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            while True:
                self.probe()
                time.sleep(0.25)
        except (RuntimeError, OSError) as error:
            self.error = error

    def probe(self):
        self.count += 1
        self.psql.query(f"INSERT INTO orders (customer_id, product_id, total, status)"
                        f" VALUES ({PROBE}, 1, 1.00, 'new')")
        committed = time.monotonic()
        redis = threading.Thread(target=self.wait_for_redis, args=(committed, str(self.count)))
        redis.start()
        self.psql.query('SELECT sync()')
        self.sql_ms.append((time.monotonic() - committed) * 1000)
        redis.join()

    def wait_for_redis(self, committed, expected):
        key = f'customer:{PROBE}:features'
        while self.redis.command('HGET', key, 'order_count_30d') != expected:
            if time.monotonic() - committed > 10:
                raise RuntimeError(f'{key} did not reach Redis in 10 s')
            time.sleep(0.0002)
        self.redis_ms.append((time.monotonic() - committed) * 1000)

    @staticmethod
    def text(values):
        recent = values[-40:]
        if not recent:
            return '-'
        return f'{statistics.median(recent):.1f} ms (worst {max(recent):.1f})'


class Throughput:
    """Orders a second, from the table's sequence."""

    def __init__(self, psql):
        self.psql = psql
        self.rate = 0.0
        self.started = self.read()
        self.last = (time.monotonic(), self.started)

    def read(self):
        return int(self.psql.query('SELECT last_value FROM orders_id_seq')[0][0])

    def update(self):
        now, value = time.monotonic(), self.read()
        self.rate = (value - self.last[1]) / (now - self.last[0])
        self.last = (now, value)
        return value - self.started


def table(rows, before):
    """The features; what changed since the last screen is bold."""
    lines = [''.join(f'{c:>15}' if i else f'{c:>9}' for i, c in enumerate(COLUMNS))]
    for row in rows:
        old = before.get(row[0], row)
        cells = []
        for i, (value, was) in enumerate(zip(row, old)):
            cell = f'{value:>15}' if i else f'{value:>9}'
            cells.append(f'\033[1;32m{cell}\033[0m' if TTY and value != was else cell)
        lines.append(''.join(cells))
    return lines


def redis_hash(redis, customer):
    key = f'customer:{customer}:features'
    fields = redis.command('HGETALL', key)
    pairs = sorted(zip(fields[::2], fields[1::2]))
    return [f'redis> HGETALL {key}'] + [f'    {name:<26}{value}' for name, value in pairs]


def draw(lines):
    height = shutil.get_terminal_size().lines - 1
    sys.stdout.write('\033[H' + ''.join(f'{line}\033[K\n' for line in lines[:height]) + '\033[J')
    sys.stdout.flush()


def headline(orders, rate, freshness, left):
    return [f'feature_engine: {orders} orders streamed, {rate:.0f} orders/s'
            f' ({left:.0f} s to go)',
            f'commit to SQL: {freshness.text(freshness.sql_ms)}'
            f'   commit to Redis: {freshness.text(freshness.redis_ms)}']


def show(seconds, rate, customers):
    psql, redis = Psql(), Redis()
    throughput, freshness = Throughput(psql), Freshness()
    before, end = {}, time.monotonic() + seconds
    stream = subprocess.Popen(
        ['pgbench', '-n', '-c', '2', '-j', '1', '-T', str(seconds), '-R', str(rate),
         '-D', f'customers={customers}', '-M', 'prepared', '-f', str(HERE / 'stream.sql')],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if TTY:
        sys.stdout.write('\033[2J')
    while stream.poll() is None:
        time.sleep(0.5 if TTY else 2)
        rows = psql.query(FEATURES_SQL % ','.join(map(str, SHOWN)))
        head = headline(throughput.update(), throughput.rate, freshness,
                        max(0, end - time.monotonic()))
        if TTY:
            draw(head + [''] + table(rows, before) + [''] + redis_hash(redis, SHOWN[0]))
        else:
            print('\n'.join(head[:2] + table(rows[:2], before)), flush=True)
        before = {row[0]: row for row in rows}
        if freshness.error:
            raise RuntimeError(freshness.error)
    if stream.returncode:
        raise RuntimeError('pgbench failed: ' + stream.stderr.read())
    if not freshness.redis_ms:
        raise RuntimeError('no order reached Redis')
    if not TTY:
        print('\n'.join(redis_hash(redis, SHOWN[0])), flush=True)


def main():
    seconds, rate, customers = map(int, sys.argv[1:4])
    try:
        show(seconds, rate, customers)
    except RuntimeError as error:
        sys.exit(f'demo: {error}')


main()
