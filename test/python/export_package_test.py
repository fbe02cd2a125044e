"""The companion's package installs, and brings its command."""

import os
import shutil
import subprocess
import sys

import tap
from exporting import HERE, fresh, ok

work = fresh("package")
shutil.copytree(os.path.join(HERE, "..", "..", "companion"), f"{work}/companion",
                ignore=shutil.ignore_patterns("__pycache__"))


def run(*argv, **environment):
    return subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)


done = run(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
           "--disable-pip-version-check", "--target", f"{work}/installed", f"{work}/companion")
ok(done.returncode == 0, "pip install ./companion", done.stdout + done.stderr)
command = f"{work}/installed/bin/feature-engine"
done = run(command, "--version", PYTHONPATH=f"{work}/installed")
ok(done.returncode == 0 and done.stdout.startswith("feature-engine 1.0"), "feature-engine --version", done.stdout + done.stderr)
done = run(command, "--help", PYTHONPATH=f"{work}/installed")
ok(all(name in done.stdout for name in ("export", "training-set", "feast")), "feature-engine --help", done.stdout)
done = run(command, PYTHONPATH=f"{work}/installed")
ok(done.returncode == 2 and "COMMAND" in done.stderr, "no command: wrong usage", done.stderr)

raise SystemExit(tap.finish())
