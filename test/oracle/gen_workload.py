"""Random statements that change the tables of generated definitions.

They are without randomness of their own, so that a failing run can be printed, cut down and run
again. A statement is text, or an Insert or Update.
"""

import datetime

from gen_types import START


class Insert:
    """rows: column name -> literal, each with all of them."""

    def __init__(self, table, rows, end=""):
        self.table, self.rows, self.end = table, rows, end

    @property
    def sql(self):
        rows = ",\n    ".join("(" + ", ".join(r.values()) + ")" for r in self.rows)
        return f"INSERT INTO {self.table} ({', '.join(self.rows[0])}) VALUES\n    {rows}{self.end}"

    def without(self, column):
        return Insert(self.table, [{c: v for c, v in r.items() if c != column} for r in self.rows], self.end)


class Update:
    def __init__(self, table, values, where):
        self.table, self.values, self.where = table, values, where

    @property
    def sql(self):
        values = ", ".join(f"{c} = {v}" for c, v in self.values.items())
        return f"UPDATE {self.table} SET {values} WHERE {self.where}"

    def without(self, column):
        values = {c: v for c, v in self.values.items() if c != column}
        return Update(self.table, values or {column: column}, self.where)


class Workload:
    """inserted: a table that only gets new rows."""

    def __init__(self, rnd, tables, dimensions, inserted):
        self.rnd, self.tables, self.dimensions, self.inserted = rnd, tables, dimensions, inserted
        self.now = START
        self.next_id = 1
        self.changes = 0

    def statements(self, n):
        made = []
        while len(made) < n:
            made += self.transaction()
        return made

    def transaction(self):
        rnd = self.rnd
        if rnd.random() < 0.6:
            return [self.change()]
        body = []
        for _ in range(rnd.randint(1, 4)):
            if rnd.random() < 0.2:
                body += ["SAVEPOINT s", self.change(), rnd.choice(["ROLLBACK TO s", "RELEASE s"])]
            else:
                body.append(self.change())
        return ["BEGIN"] + body + [rnd.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])]

    def change(self):
        rnd = self.rnd
        self.changes += 1
        if self.dimensions and rnd.random() < 0.25:
            return self.change_dimension(rnd.choice(self.dimensions))
        if rnd.random() < 0.1:
            return self.insert(self.inserted)
        table = rnd.choice(self.tables)
        kind = rnd.random()
        if kind < 0.45 or self.next_id < 20:
            return self.insert(table)
        if kind < 0.75:
            return self.update(table)
        if kind < 0.99:
            return f"DELETE FROM {table.name} WHERE {self.some()}"
        return f"TRUNCATE {table.name}"

    def insert(self, table):
        rows = []
        for _ in range(self.rnd.choice([1, 2, 5, 20])):
            rows.append(table.row(self.rnd, self.next_id, self.now))
            self.next_id += 1
        self.changes += len(rows) - 1
        return Insert(table.name, rows)

    def update(self, table):
        rnd = self.rnd
        if rnd.random() < 0.1:
            # another primary key, and back, unless somebody has it
            id = rnd.randint(1, self.next_id)
            return Update(table.name, {"pk": table.pk_of(id + rnd.choice([0, 100000]))}, f"id = {id}")
        columns = rnd.sample(table.columns, rnd.randint(1, 3))
        return Update(table.name, {c.name: c.value(rnd, self.now) for c in columns}, self.some())

    def change_dimension(self, d):
        """Rows come, change, get another key, go; now and then all of them."""
        rnd = self.rnd
        key = d.keys[0]
        which = f"{key.name} = {rnd.choice(key.pool)}::{key.type.sql.split(' COLLATE')[0]}"
        kind = rnd.random()
        if kind < 0.5:
            rows = [d.row(rnd, self.now) for _ in range(rnd.choice([1, 2, 6]))]
            return Insert(d.name, rows, " ON CONFLICT DO NOTHING")
        if kind < 0.75:
            columns = rnd.sample(d.columns, rnd.randint(1, 2))
            return Update(d.name, {c.name: c.value(rnd, self.now) for c in columns},
                          which if rnd.random() < 0.7 else "true")
        if kind < 0.85:
            k = rnd.choice(d.keys)
            return Update(d.name, {k.name: k.value(rnd, self.now)}, which)
        if kind < 0.98:
            return f"DELETE FROM {d.name} WHERE {which}"
        return f"TRUNCATE {d.name}"

    def some(self):
        rnd = self.rnd
        if rnd.random() < 0.6:
            return "id IN (" + ", ".join(str(rnd.randint(1, self.next_id)) for _ in range(rnd.randint(1, 8))) + ")"
        k = rnd.randint(5, 30)
        return f"id % {k} = {rnd.randint(0, k - 1)}"

    def step(self):
        """The clock moves on."""
        seconds = self.rnd.choice([0, 30, 420, 3600, 5 * 3600, 86580, 9 * 86400, 31 * 86400])
        self.now += datetime.timedelta(seconds=seconds)
        return f"SELECT feature_engine.set_clock('{self.now.isoformat(sep=' ')}')"


def text_of(statement):
    return statement if isinstance(statement, str) else statement.sql
