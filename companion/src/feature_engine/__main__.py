"""python -m feature_engine: the command, where no script is installed."""

import sys

from feature_engine.cli import main

sys.exit(main())
