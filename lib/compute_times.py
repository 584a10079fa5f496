"""How long learners take to compute: for each a stream of times, from distributions, periods or recorded times."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from numbers import Real
from operator import mul

import numpy as np
import pandas as pd

from lib.arguments import ArgumentError


def streams(compute_time: object, n_learners: int, known: bool, rng: np.random.Generator) -> list[Iterator]:
    """For each learner its compute times, or its finish times if these are known; recorded ones come to an end."""
    entries = list(compute_time) if is_sequence(compute_time) else [compute_time] * n_learners
    if len(entries) != n_learners:
        raise ArgumentError(
            f"compute_time has {len(entries)} entries for {n_learners} learners: give one for each, or a single "
            "distribution or number for all"
        )
    drawn: dict[int, Iterator] = {}  # learners with the same distribution draw from one stream
    found: list[Iterator] = []
    for learner, entry in enumerate(entries, start=1):
        name = f"compute_time of learner {learner}"
        if isinstance(entry, Real):
            (period,) = checked_times(name, [entry], positive=True)
            always = itertools.repeat(period)
            found.append(map(mul, always, itertools.count(1)) if known else always)
            continue
        if is_sequence(entry):
            stream = iter(checked_times(name, entry, positive=True))
        else:
            stream = drawn.setdefault(id(entry), _draws(name, entry, rng))
        found.append(itertools.accumulate(stream) if known else stream)
    return found


def _draws(name: str, distribution: object, rng: np.random.Generator) -> Iterator[float]:
    """Compute times without end, drawn in blocks."""
    if not (hasattr(distribution, "rvs") and hasattr(distribution, "support")):
        raise ArgumentError(
            f"{name} must be a frozen distribution of scipy.stats such as expon(scale=2), a number or recorded times, "
            f"got {distribution!r}"
        )
    try:
        low, _ = distribution.support()
    except TypeError:
        raise ArgumentError(
            f"{name} is a distribution without its parameters: freeze it by giving them, as in gamma(2)"
        ) from None
    if np.ndim(low):
        raise ArgumentError(f"{name} is an array of distributions: give a list with one distribution for each learner")
    discrete = hasattr(getattr(distribution, "dist", distribution), "pmf")
    if low < 0 or (low == 0 and discrete):
        raise ArgumentError(
            f"{name} has a distribution that starts at {low:g}, so a gradient could take no time or less: choose one "
            "on the positive numbers, such as expon, gamma, or truncnorm instead of norm"
        )
    while True:
        block = np.asarray(distribution.rvs(size=256, random_state=rng), dtype=float)
        outside = block[~((block > 0) & (block < np.inf))]
        if outside.size:
            raise ArgumentError(
                f"{name} gave the time {outside[0]}: choose a distribution whose times are positive and finite, such "
                "as expon or gamma"
            )
        yield from block.tolist()


def checked_times(name: str, entry: object, *, positive: bool = False) -> list:
    """Python's own numbers, which compare exactly; NumPy's would round an integer beside a float."""
    if not is_sequence(entry):
        raise ArgumentError(f"{name} must be a sequence of numbers, got {entry!r}: give a sequence for each learner")
    if positive and not len(entry):
        raise ArgumentError(f"{name} is empty: give its recorded times")
    values = [value.item() if isinstance(value, np.generic) else value for value in entry]
    for position, value in enumerate(values, start=1):
        if not isinstance(value, Real) or isinstance(value, bool):
            raise ArgumentError(
                f"{name} must be a sequence of numbers (int, float or Fraction), got {type(value).__name__}"
            )
        if not 0 <= value < math.inf or (positive and value == 0):
            raise ArgumentError(
                f"{name} must hold finite {'positive' if positive else 'non-negative'} numbers, but number {position} "
                f"is {value}"
            )
    return values


def is_sequence(value: object) -> bool:
    """Whether a value is a list, a tuple, an array, a Series or the like; a table would give its columns' names."""
    if isinstance(value, str | bytes | Mapping | pd.DataFrame) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")
