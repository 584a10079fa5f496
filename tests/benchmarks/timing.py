"""What every benchmark shares: alternating timings, their ratio of medians, and one line a result."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def alternate(first: Callable[[], object], second: Callable[[], object], *, repeats: int = 5) -> tuple[float, float]:
    """Median wall-clock seconds of two actions, called in turn after one uncounted call of each."""
    first(), second()
    timings = [(seconds(first), seconds(second)) for _ in range(repeats)]
    return tuple(statistics.median(column) for column in zip(*timings, strict=True))


def report(
    name: str, measured: float, unit: str, *, at_least: float | None = None, at_most: float | None = None
) -> bool:
    """Print a measured figure beside its target; return whether the target is met."""
    met = (at_least is None or measured >= at_least) and (at_most is None or measured <= at_most)
    target = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    print(f"{name}: {measured:.3g} {unit} (target: {target}; met: {met})", flush=True)
    return met
