"""Smoother matrices against refitting with np.polyfit, and the cost of a million data sets."""

from __future__ import annotations

import resource

import numpy as np

from lib.bias_variance import monte_carlo_decomposition, polynomial_regression, polynomial_smoothers, sample_targets
from tests.benchmarks.timing import alternate, report, seconds

DEGREES = range(1, 16)
X = np.random.default_rng(0).permutation(np.linspace(0, 10, 50))
X_TRAIN, X_TEST = X[:40], X[40:]


def predict_by_smoother(targets: np.ndarray) -> np.ndarray:
    """Predictions of every degree for every data set, of shape (n_degrees, n_datasets, n_test)."""
    return targets @ polynomial_smoothers(max(DEGREES), X_TRAIN, X_TEST)[1:].swapaxes(1, 2)


def predict_by_refitting(targets: np.ndarray) -> np.ndarray:
    """The same as most published solutions compute it: one np.polyfit for each degree and data set."""
    return np.array([[np.polyval(np.polyfit(X_TRAIN, y, n), X_TEST) for y in targets] for n in DEGREES])


def main() -> None:
    rng = np.random.default_rng(1)
    for n_datasets, repeats, least in ((100, 7, 1.0), (10_000, 3, 100.0)):
        targets = sample_targets(X_TRAIN, n_datasets, rng=rng)
        difference = np.abs(predict_by_smoother(targets) - predict_by_refitting(targets)).max()
        report(f"{n_datasets:,} data sets, largest difference of a prediction", difference, "", at_most=1e-4)
        ours, theirs = alternate(
            lambda targets=targets: predict_by_smoother(targets),
            lambda targets=targets: predict_by_refitting(targets),
            repeats=repeats,
        )
        report(f"{n_datasets:,} data sets x {len(DEGREES)} degrees, times as fast", theirs / ours, "x", at_least=least)
    million = seconds(lambda: monte_carlo_decomposition(polynomial_regression(10), X_TRAIN, X_TEST, 1_000_000, rng=rng))
    report("1,000,000 data sets at degree 10", million, "s", at_most=10.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report("peak memory of this process", peak, "GiB", at_most=2.0)


if __name__ == "__main__":
    main()
