"""Simulated learners against SimPy, and a million updates of ten thousand learners."""

from __future__ import annotations

import resource
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.stats import expon

from lib.staleness import SCHEMES, run_sgd, simulate, update_log
from tests.benchmarks.timing import alternate, report, seconds
from tests.simpy_model import simpy_rows

N_LEARNERS, K = 16, 4
GRADIENTS = {"lib": 200_000, "SimPy": 50_000}
AT_LEAST = 2.0  # both are one queue of events in Python; what is saved is SimPy's generality


def compute_times(n: int) -> Callable[[], float]:
    """Exponential compute times, drawn beforehand and handed out one by one: the cheapest way for SimPy."""
    return iter(np.random.default_rng(0).exponential(size=n).tolist()).__next__


def with_simpy(scheme: str, k: int, n_updates: int) -> None:
    """The process model of the tests."""
    simpy_rows(scheme, k, n_updates, [compute_times(20 * n_updates * k + 100)] * N_LEARNERS)


def with_lib(scheme: str, k: int, n_updates: int) -> None:
    """The same learners."""
    simulate(N_LEARNERS, n_updates, compute_time=expon(), scheme=scheme, k=k, rng=np.random.default_rng(0))


def main() -> None:
    for scheme in SCHEMES:
        k = 1 if scheme == "async" else K
        runs = (
            partial(run, scheme, k, GRADIENTS[name] // k) for name, run in (("lib", with_lib), ("SimPy", with_simpy))
        )
        ours, theirs = alternate(*runs, repeats=3)
        speed, simpy_speed = GRADIENTS["lib"] / ours / 1e6, GRADIENTS["SimPy"] / theirs / 1e6
        name = f"{scheme}, {N_LEARNERS} learners, k = {k}"
        print(f"{name}: {speed:.2f} million gradients a second, SimPy {simpy_speed:.3f}")
        report(f"{name}, times SimPy's gradients a second", speed / simpy_speed, "x", at_least=AT_LEAST)
    log = simulate(N_LEARNERS, 20_000, compute_time=expon(), rng=np.random.default_rng(0))
    sgd = seconds(partial(run_sgd, log, lambda w, rows: w, np.ones(10), learning_rate=0.01))
    report("run_sgd, 20,000 updates of 10 weights", sgd, "s", at_most=1.0)
    finish_times = np.random.default_rng(0).exponential(size=(1000, 1000)).cumsum(axis=1)
    report("update_log, 1,000,000 gradients", seconds(partial(update_log, finish_times)), "s", at_most=10.0)
    del log, finish_times
    run = partial(simulate, 10_000, 1_000_000, compute_time=expon(), rng=np.random.default_rng(0))
    report("10,000 learners, 1,000,000 updates", seconds(run), "s", at_most=10.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report("peak memory of this process", peak, "GiB", at_most=2.0)


if __name__ == "__main__":
    main()
