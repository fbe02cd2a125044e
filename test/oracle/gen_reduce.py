"""Cuts a failing case down: fewer steps, fewer rows, fewer pieces of the definition and columns."""

import copy

from gen_run import Compare, Create, execute
from gen_workload import Insert, Update


class Reducer:
    def __init__(self, conn, name, budget=250):
        self.conn, self.name, self.budget = conn, name, budget

    def fails(self, case):
        if self.budget <= 0:
            return False
        self.budget -= 1
        try:
            return self.name in execute(self.conn, case, stop_at_first=True).problems
        except Exception:
            return False

    def shrink_list(self, items, build):
        """ddmin: as few of the items as still make build(items) fail."""
        n = 2
        while len(items) >= 2 and self.budget > 0:
            size = max(1, len(items) // n)
            for start in range(0, len(items), size):
                fewer = items[:start] + items[start + size:]
                if self.fails(build(fewer)):
                    items, n = fewer, max(n - 1, 2)
                    break
            else:
                if size == 1:
                    break
                n = min(n * 2, len(items))
        return items

    def reduce(self, case):
        case = case.only(self.name)
        if not self.fails(case):
            return None
        case = self.first_compare(case)
        case = self.steps(case)
        case = self.pieces(case)
        case = self.rows(case)
        return self.columns(self.tables(case))

    def first_compare(self, case):
        """Nothing after the comparison that shows it."""
        for i, step in enumerate(case.steps):
            if isinstance(step, Compare):
                cut = copy.copy(case)
                cut.steps = case.steps[:i + 1]
                if self.fails(cut):
                    return cut
        return case

    def steps(self, case):
        def build(steps):
            cut = copy.copy(case)
            cut.steps = steps
            return cut
        if not any(isinstance(s, Create) for s in case.steps):
            return case
        return build(self.shrink_list(case.steps, build))

    def with_definition(self, case, change):
        cut = copy.copy(case)
        d = copy.deepcopy(case.definitions[self.name])
        change(d)
        cut.definitions = {self.name: d}
        return cut

    def pieces(self, case):
        """Each list of the definition, item by item; the outer SELECT."""
        for attribute in ("features", "where", "having", "keys"):
            i = 0
            while i < len(getattr(case.definitions[self.name], attribute)):
                if attribute in ("features", "keys") and len(getattr(case.definitions[self.name], attribute)) == 1:
                    break
                cut = self.with_definition(case, lambda d: getattr(d, attribute).pop(i))
                if self.fails(cut):
                    case = cut
                else:
                    i += 1
        cut = self.with_definition(case, lambda d: setattr(d, "outer", None))
        if case.definitions[self.name].outer and self.fails(cut):
            case = cut
        for f in range(len(case.definitions[self.name].features)):
            for k in reversed(range(len(case.definitions[self.name].features[f].filters))):
                cut = self.with_definition(case, lambda d: d.features[f].filters.pop(k))
                if self.fails(cut):
                    case = cut
        return case

    def rows(self, case):
        for i, step in enumerate(case.steps):
            if isinstance(step, Insert) and len(step.rows) > 1:
                def build(rows):
                    cut = copy.copy(case)
                    cut.steps = case.steps[:i] + [Insert(step.table, rows)] + case.steps[i + 1:]
                    return cut
                case = build(self.shrink_list(step.rows, build))
        return case

    def tables(self, case):
        """Without what the definition does not read."""
        for table in case.tables:
            cut = copy.copy(case)
            cut.tables = [t for t in case.tables if t is not table]
            cut.steps = [s for s in case.steps
                         if table.name not in (s if isinstance(s, str) else getattr(s, "table", ""))]
            if cut.tables and self.fails(cut):
                case = cut
        return case

    def columns(self, case):
        for column in [c for t in case.tables for c in t.columns]:
            cut = copy.copy(case)
            cut.tables = [t.without(column) for t in case.tables]
            cut.steps = [s.without(column.name) if isinstance(s, (Insert, Update)) else s for s in case.steps]
            if self.fails(cut):
                case = cut
        return case
