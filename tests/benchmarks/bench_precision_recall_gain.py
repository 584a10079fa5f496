"""Precision-Recall-Gain curves of ten million scores beside precision-recall curves: time and memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.metrics import precision_recall_curve

from lib.precision_recall_gain import auprg_score, precision_recall_gain_curve, precision_recall_gain_hull
from tests.benchmarks.timing import alternate, report, seconds

N_SAMPLES = 10_000_000


def problem(n_samples: int, prevalence: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores that are all different."""
    rng = np.random.default_rng(0)
    y_true = (rng.random(n_samples) < prevalence).astype(int)
    return y_true, rng.normal(size=n_samples) + y_true


def peak_memory(action: Callable[[], object]) -> float:
    """GiB that one call allocates at most at a time, its results included."""
    tracemalloc.start()
    action()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**30


def main() -> None:
    """Report ratios of times for several kinds of scores, and of peaks of memory."""
    y_true, y_score = problem(N_SAMPLES)
    weight = np.random.default_rng(1).uniform(0.5, 2, N_SAMPLES)
    kinds = {
        "all different": (y_score, None),
        "float32": (y_score.astype(np.float32), None),
        "rounded to 0.01": (y_score.round(2), None),
        "with weights": (y_score, weight),
    }
    for kind, (scores, sample_weight) in kinds.items():
        ours, theirs = alternate(
            partial(precision_recall_gain_curve, y_true, scores, sample_weight=sample_weight),
            partial(precision_recall_curve, y_true, scores, sample_weight=sample_weight),
        )
        print(f"{N_SAMPLES:,} scores, {kind}: {ours:.2f} s, precision_recall_curve {theirs:.2f} s")
        # without weights two sorts of values do, which are several times as fast as one sort of the order of samples
        limit = 0.6 if sample_weight is None else 0.9
        report(f"{N_SAMPLES:,} scores, {kind}, time over precision_recall_curve's", ours / theirs, "", at_most=limit)
    for function in (auprg_score, precision_recall_gain_hull):
        report(
            f"{function.__name__} of {N_SAMPLES:,} scores", seconds(partial(function, y_true, y_score)), "s", at_most=15
        )

    half = problem(N_SAMPLES // 2)
    at_half, whole, theirs = (
        peak_memory(partial(function, *arguments))
        for function, arguments in (
            (precision_recall_gain_curve, half),
            (precision_recall_gain_curve, (y_true, y_score)),
            (precision_recall_curve, (y_true, y_score)),
        )
    )
    print(f"peak memory {at_half:.2f} GiB for {N_SAMPLES // 2:,} scores, {whole:.2f} GiB for {N_SAMPLES:,}")
    report("memory, twice as many scores over half of them", whole / at_half, "", at_most=2.05)
    report("memory over precision_recall_curve's", whole / theirs, "", at_most=1.05)


if __name__ == "__main__":
    main()
