"""`python -m benchmarks`: see `benchmarks.cli`."""

import sys

try:
    from benchmarks.cli import benchmarks
except ModuleNotFoundError as missing:
    sys.exit(f"benchmarks: {missing.name} is not installed; run: pip install -e '.[bench]'")

benchmarks(prog_name="python -m benchmarks")
