"""README.md and docs/*.md: links lead somewhere, examples in SQL run, and the reference has every public name,
option and setting that there is, and none that there is not."""
import re
import subprocess

import psycopg

import tap
from documents import DOCS

ROOT = DOCS.parent
DOCUMENTS = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md"),
                    *(ROOT / folder / "README.md" for folder in ("bench", "companion", "scripts", "test"))])
REFERENCE = (DOCS / "reference.md").read_text()
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)

# What examples take for granted, before the first one under a heading of a document.
BEFORE = {
    "README.md": {
        "": "CREATE EXTENSION feature_engine; SET search_path = public, feature_engine; "
            "CREATE TABLE orders (customer_id int, total int, status text, created_at timestamptz); "
            "ALTER TABLE orders REPLICA IDENTITY FULL;",
        "A first feature view in five minutes": "SELECT drop_feature_view('customer_features'); DROP TABLE orders; "
                                                "DROP EXTENSION feature_engine CASCADE;",
    },
    "reference.md": {
        "Training sets": "CREATE TABLE labels (customer_id int, product_id int, event_timestamp timestamptz, churned boolean); "
                         "INSERT INTO labels VALUES (1, 7, now(), true); INSERT INTO products VALUES (7, 1, 'toys'); "
                         "SELECT create_feature_view('product_features', 'SELECT id AS product_id, price FROM products', offline => true);"
                         "SELECT sync(history => true);",
        "The past, computed and checked": "SELECT create_feature_view('purchases', $$ SELECT customer_id, count(*) AS n FROM orders "
                                          "WHERE rolling(created_at, '30 days') GROUP BY customer_id $$, offline => true);",
    },
    "training-sets.md": {"": "DROP TABLE labels; CREATE TABLE labels (customer_id int, event_timestamp timestamptz, label boolean);"},
    "change-streams.md": {
        "": "CREATE EXTENSION feature_engine; SET search_path = public, feature_engine;"
            "CREATE TABLE products (id int PRIMARY KEY, price numeric(10,2)); ALTER TABLE products REPLICA IDENTITY FULL;"},
    "behavioural-features.md": {"": "CREATE EXTENSION feature_engine;"},
}
# Which documents follow each other in one database.
RUNS = (["README.md", "reference.md", "training-sets.md"], ["change-streams.md"], ["behavioural-features.md"])


def path_of(name):
    return ROOT / name if name == "README.md" else DOCS / name


# ---- links ----

def slug(heading):
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.replace("`", "").strip().lower()).replace(" ", "-")


def anchors(path):
    return {slug(m[1]) for m in re.finditer(r"^#+ (.*)$", FENCED.sub("", path.read_text()), re.M)}


def broken_links(path):
    text = FENCED.sub("", path.read_text())
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            yield target


# ---- examples ----

def examples(path):
    """(heading, SQL) of each fenced block, in order."""
    heading, end = "", 0
    text = path.read_text()
    for match in FENCED.finditer(text):
        for line in re.findall(r"^#+ (.*)$", text[end:match.start()], re.M):
            heading = line
        end = match.end()
        if match[1] == "sql" and "results_eq" not in match[2]:
            yield heading, match[2]


def run(database, sql):
    """What psql says of errors, '' if there are none."""
    head = "SET search_path = public, feature_engine;\n"
    done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database], input=head + sql,
                          text=True, capture_output=True, check=False)
    return done.stderr if done.returncode else ""


def check_examples(names, database):
    for name in names:
        before, path = dict(BEFORE.get(name, {})), path_of(name)
        n, problems = 0, []
        for heading, sql in examples(path):
            for when in ("", heading):
                problems.append(run(database, before.pop(when, "")))
            error = run(database, sql)
            problems.append(error and f"under {heading}:\n{sql}\n{error}")
            # what the next one reads must be there
            problems.append(run(database, "SELECT sync('60 s')"))
            n += 1
        problems = [p for p in problems if p]
        tap.ok(n > 0 and not problems, f"{name}: its {n} examples run", "\n".join(problems))


# ---- names ----

PUBLIC = """SELECT DISTINCT proname FROM pg_proc
    WHERE pronamespace = 'feature_engine'::regnamespace
    AND proname !~ '(transfn|finalfn|combinefn|serialfn|_support|_handler)$' AND prorettype <> ALL ('{trigger,event_trigger}'::regtype[])
    AND proname <> ALL ('{pack_arguments,service_shape,view_status}')
    UNION SELECT relname FROM pg_class WHERE relnamespace = 'feature_engine'::regnamespace AND relkind = 'v'"""
OPTIONS = """SELECT unnest(proargnames) FROM pg_proc WHERE proname = '%s' AND pronamespace = 'feature_engine'::regnamespace"""
COLUMNS = """SELECT attname FROM pg_attribute WHERE attrelid = 'feature_engine.%s'::regclass AND attnum > 0"""


def section(heading):
    return re.search(rf"^(#+) {heading}\n(.*?)(?=^#{{1,2}} |\Z)", REFERENCE, re.M | re.S)[2]


def first_cells(text):
    """Names in the first cells of the tables of a text."""
    return {name for row in re.findall(r"^\| ([^|]*)\|", text, re.M) for name in re.findall(r"`([a-z_]+)`", row)}


def missing_and_more(there, told):
    return "\n".join([*(f"not told of: {n}" for n in sorted(there - told)), *(f"does not exist: {n}" for n in sorted(told - there))])


def check_names(db):
    def names(sql):
        return {row[0] for row in db.execute(sql)}

    index = dict(re.findall(r"^\[`(\w+)`\]\(([^)#]*)", REFERENCE, re.M))
    problems = missing_and_more(names(PUBLIC), set(index))
    tap.ok(not problems, "the reference's index has every function and view", problems)
    untold = [n for n, at in index.items() if len(re.findall(rf"\b{n}\b", (DOCS / (at or "reference.md")).read_text())) < (1 if at else 2)]
    tap.ok(not untold, "and leads to where they are told of", ", ".join(untold))
    options = names(OPTIONS % "create_feature_view") - {"name", "query", "definition"}
    problems = missing_and_more(options, first_cells(section("Options")) - {"option"})
    tap.ok(not problems, "every option is told of, and no other", problems)
    settings = {n.removeprefix("feature_engine.") for n in names("SELECT name FROM pg_settings WHERE name LIKE 'feature_engine.%'")}
    settings = {n for n in settings if not n.startswith("inject_")}
    problems = missing_and_more(settings, first_cells(section("Settings")) - {"feature_engine"})
    tap.ok(not problems, "every setting is told of, and no other", problems)
    for view in ("status", "feature_views", "feature_services", "change_gaps"):
        there = names(COLUMNS % view) - options
        problems = [c for c in sorted(there) if f"`{c}`" not in section("Views") and f"`{c}`" not in section("Options")]
        tap.ok(not problems, f"every column of {view} is told of", ", ".join(problems))


def main():
    for path in DOCUMENTS:
        links = list(broken_links(path))
        tap.ok(not links, f"{path.relative_to(ROOT)}: its links lead somewhere", "\n".join(links))
    with psycopg.connect("", autocommit=True) as db:
        for n, names in enumerate(RUNS):
            db.execute(f"CREATE DATABASE run{n}")
            check_examples(names, f"run{n}")
    with psycopg.connect("", dbname="run0", autocommit=True) as db:
        check_names(db)
    return tap.finish()


if __name__ == "__main__":
    raise SystemExit(main())
