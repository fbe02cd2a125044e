"""Results in the Test Anything Protocol."""

tests = 0
failures = 0


def ok(passed, name, detail=""):
    global tests, failures
    tests += 1
    failures += not passed
    print(f"{'ok' if passed else 'not ok'} {tests} - {name}", flush=True)
    for line in detail.splitlines():
        print(f"# {line}", flush=True)
    return passed


def skip(name, reason):
    global tests
    tests += 1
    print(f"ok {tests} - {name} # SKIP {reason}", flush=True)


def finish():
    """The plan; the program's exit status."""
    print(f"1..{tests}")
    return failures != 0
