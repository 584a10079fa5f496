"""`python -m tests.benchmarks [NAME ...]`: run the benchmarks named (all of them by default)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

available = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
unknown = sorted(set(sys.argv[1:]) - set(available))
if unknown:
    sys.exit(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(available)}")
try:
    for name in sys.argv[1:] or available:
        print(f"== {name}", flush=True)
        importlib.import_module(f"tests.benchmarks.bench_{name}").main()
except KeyboardInterrupt:
    sys.exit("interrupted: what is printed was measured")
