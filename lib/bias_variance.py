"""Bias, variance and noise of regression estimators that are linear in the training targets.

For linear smoothers (:mod:`lib.smoothers`) the decomposition has a closed form (Hastie, Tibshirani and Friedman, *The
Elements of Statistical Learning*, 2nd ed., section 7.3), so that Monte Carlo is needed only to check it.

Inputs ``x`` are points of the line: arrays of shape (n,) or (n, 1). Whatever their types, sums are float64. All
functions raise ValueError for inputs that are empty, not finite or not one-dimensional, and by name for any other
argument that is out of range.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from lib.arguments import ArgumentError, finite_numbers, generator, real_number, whole_number
from lib.smoothers import (  # noqa: F401  the chapter takes from here what it uses of both modules
    ChebyshevFeatures,
    check_by_refitting,
    finite_inputs,
    fit_unit_vectors,
    points_of_line,
    polynomial_regression,
    polynomial_smoothers,
    smoother_matrix,
)

#: Variance (not standard deviation) of the noise of Problem 1.
NOISE_VARIANCE = 0.3

_REFITS = 30  # data sets of a Monte Carlo run fitted too: what differs for 1 in 7 escapes them once in 100 runs


@dataclass(frozen=True)
class Decomposition:
    """The terms of E[MSE] = bias^2 + variance + noise, each a mean over the test points, in squared units of y."""

    bias_squared: float
    variance: float  # of the prediction
    noise: float  # the variance of the test noise
    mse: float  # the expected mean squared error


@dataclass(frozen=True)
class MonteCarloDecomposition(Decomposition):
    """Estimates of the terms of a :class:`Decomposition`, each with its standard error."""

    standard_errors: Decomposition

    def z_scores(self, exact: Decomposition) -> dict[str, float]:
        """The difference from exact terms in standard errors, for each term by name."""
        return {
            term: float(np.divide(getattr(self, term) - getattr(exact, term), getattr(self.standard_errors, term)))
            for term in ("bias_squared", "variance", "noise", "mse")
        }


def true_function(x: ArrayLike) -> np.ndarray:
    """The noise-free relation of Problem 1, f(x) = x + sin(1.5 x), elementwise.

    >>> true_function([0.0, 1.0]).round(6)
    array([0.      , 1.997495])
    """
    x = finite_numbers("x", x)
    return x + np.sin(1.5 * x)


def sample_targets(
    x: ArrayLike, n_datasets: int, *, rng: np.random.Generator | int, noise_variance: float = NOISE_VARIANCE
) -> np.ndarray:
    """Draw y = f(x) + e with independent e ~ N(0, noise_variance) for every data set and point.

    The inputs x, of shape (n,) or (n, 1), are the same in every data set; `rng` may be a seed. The result has shape
    (n_datasets, n).

    >>> sample_targets([0.0, 5.0, 10.0], 2, rng=0).shape
    (2, 3)
    """
    x = points_of_line(x, "x")
    shape = whole_number("n_datasets", n_datasets), len(x)
    scale = np.sqrt(real_number("noise_variance", noise_variance, at_least=0))
    return true_function(x) + scale * generator("rng", rng).standard_normal(shape)


def equally_spaced_split(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of scheme (i) as published solutions draw them: 50 points of [0, 10], permuted and split 80/20.

    The 40 training and the 10 test points come from NumPy's old generator: the published figures depend on its order.

    >>> equally_spaced_split()[1].round(2)[:3]
    array([7.35, 4.29, 3.88])
    """
    x = np.random.RandomState(whole_number("seed", seed, at_least=0)).permutation(np.linspace(0, 10, 50))
    return x[:40], x[40:]


def uniform_designs(n_designs: int = 100, *, rng: np.random.Generator | int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of scheme (ii), all uniform on [0, 10]: training sets, of shape (n_designs, 40), and 10 test points.

    The test points are drawn first, so that they are the same for any number of designs.
    """
    rng = generator("rng", rng)
    x_test = rng.uniform(0, 10, 10)
    return rng.uniform(0, 10, (whole_number("n_designs", n_designs), 40)), x_test


def pointwise_terms(
    smoothers: ArrayLike, x_train: ArrayLike, x_test: ArrayLike, noise_variance: float = NOISE_VARIANCE
) -> tuple[np.ndarray, np.ndarray]:
    """Bias^2 and variance at every test point, in closed form: (S f_train - f_test)^2 and noise_variance S S'.

    `smoothers` is one smoother matrix or more, of shape (..., n_test, n_train); both results have shape (..., n_test).
    """
    S = finite_numbers("smoothers", smoothers)
    noise_variance = real_number("noise_variance", noise_variance, at_least=0)
    x_train, x_test = points_of_line(x_train, "x_train"), points_of_line(x_test, "x_test")
    if S.shape[-2:] != (len(x_test), len(x_train)):  # one test point would be compared with all rows
        raise ArgumentError(
            f"smoothers has shape {S.shape}, expected (..., {len(x_test)}, {len(x_train)}): a row for each point of "
            "x_test, a column for each of x_train"
        )
    bias = S @ true_function(x_train) - true_function(x_test)
    return bias**2, noise_variance * np.sum(S**2, axis=-1)


def exact_decomposition(
    estimator: BaseEstimator, x_train: ArrayLike, x_test: ArrayLike, noise_variance: float = NOISE_VARIANCE
) -> Decomposition:
    """Bias^2, variance, noise and expected test MSE in closed form, for training inputs that stay the same.

    With the smoother matrix S: bias^2 = (S f_train - f_test)^2 and variance = noise_variance * (squared norm of the row
    of S), each averaged over the test points; the expectation is over the noise of training and test targets, which are
    independent.

    Parameters
    ----------
    estimator : scikit-learn regressor, linear in the targets
    x_train, x_test : arrays of shape (n_train,) or (n_train, 1), and (n_test,) or (n_test, 1)
    noise_variance : float
        Variance of the noise of training and test targets, in squared units of y.

    Raises
    ------
    ValueError
        If the estimator is not linear in the targets (see :func:`smoother_matrix`).

    >>> exact_decomposition(polynomial_regression(1), np.linspace(0, 10, 40), [2.5, 7.5]).variance
    0.0128506...
    """
    return exact_decomposition_over_designs(estimator, [x_train], x_test, noise_variance)


def exact_decomposition_over_designs(
    estimator: BaseEstimator, x_trains: Iterable[ArrayLike], x_test: ArrayLike, noise_variance: float = NOISE_VARIANCE
) -> Decomposition:
    """As :func:`exact_decomposition`, for training inputs drawn with equal probability from several designs.

    A design is one set of training inputs; the number of points may differ. By the law of total variance the variance
    is the mean of the variances given the design plus the variance, over the designs, of the prediction expected given
    the design.
    """
    noise_variance = real_number("noise_variance", noise_variance, at_least=0)
    x_test = points_of_line(x_test, "x_test")
    designs = [points_of_line(x_train, "x_train") for x_train in x_trains]
    if not designs:
        raise ArgumentError("x_trains is empty: give at least one set of training inputs")
    # tried where there is most to choose from: with few different inputs all choices can be the same
    smoother_matrix(estimator, max(designs, key=lambda x_train: len(np.unique(x_train))), x_test)
    smoothers = [fit_unit_vectors(estimator, x_train[:, None], x_test[:, None]) for x_train in designs]
    expected = np.array([S @ true_function(x_train) for S, x_train in zip(smoothers, designs, strict=True)])
    given_design = noise_variance * np.array([np.sum(S**2, axis=1) for S in smoothers])
    bias_squared = float(np.mean((expected.mean(axis=0) - true_function(x_test)) ** 2))
    variance = float(np.mean(given_design.mean(axis=0) + expected.var(axis=0)))
    return Decomposition(bias_squared, variance, noise_variance, bias_squared + variance + noise_variance)


def monte_carlo_decomposition(
    estimator: BaseEstimator,
    x_train: ArrayLike,
    x_test: ArrayLike,
    n_datasets: int,
    *,
    rng: np.random.Generator | int,
    noise_variance: float = NOISE_VARIANCE,
) -> MonteCarloDecomposition:
    """Estimate bias^2, variance, noise and test MSE from many data sets, each with fresh training and test noise.

    The predictions are S times the targets. The first thirty data sets are fitted as well, so that an estimator whose
    fits differ from that is refused instead of being confirmed by the same matrix. Arguments and errors are those of
    :func:`exact_decomposition`; there must be two data sets or more, and `rng` may be a seed. Memory: about 50 bytes
    per data set and point.
    """
    n_datasets, rng = whole_number("n_datasets", n_datasets, at_least=2), generator("rng", rng)
    x_train, x_test = points_of_line(x_train, "x_train"), points_of_line(x_test, "x_test")
    smoother = smoother_matrix(estimator, x_train, x_test)
    y_train, y_test = (sample_targets(x, n_datasets, rng=rng, noise_variance=noise_variance) for x in (x_train, x_test))
    check_by_refitting(estimator, smoother, x_train[:, None], x_test[:, None], y_train[:_REFITS])
    return decompose_predictions(y_train @ smoother.T, y_test, x_test)


def decompose_predictions(
    predictions: ArrayLike, test_targets: ArrayLike, x_test: ArrayLike
) -> MonteCarloDecomposition:
    """Estimate bias^2, variance, noise and test MSE from the predictions of many independently fitted models.

    Parameters
    ----------
    predictions : array of shape (n_datasets, n_test)
        Row r: what the model fitted to data set r predicts at the test points. The rows are draws of one distribution.
    test_targets : array of shape (n_datasets, n_test)
        Row r: test targets with noise of their own, independent of the training data and of every other row.
    x_test : array of shape (n_test,) or (n_test, 1)

    Returns
    -------
    MonteCarloDecomposition
        Means over data sets and test points. `bias_squared` and `variance` are unbiased: the square of the average
        error has the variance over the number of data sets subtracted, so it can come out slightly below zero. The
        standard error of the squared bias is that of a quadratic form in a mean that is nearly normal: its square is
        (4 b'Cb / R + 2 tr(C^2) / R^2) / n_test^2 for pointwise bias b, covariance C of the predictions and R data sets,
        with b'Cb estimated without bias and cut off at zero, which is cautious where b is nearly zero. Where the
        training inputs differ from row to row by a fixed list, the standard errors hold for a list drawn anew.
    """
    x_test = points_of_line(x_test, "x_test")
    predictions, test_targets = finite_inputs(predictions, "predictions"), finite_inputs(test_targets, "test_targets")
    n_datasets, n_test = whole_number("the number of data sets", len(predictions), at_least=2), len(x_test)
    for name, array in (("predictions", predictions), ("test_targets", test_targets)):
        if array.shape != (n_datasets, n_test):
            raise ArgumentError(
                f"{name} has shape {array.shape}, expected ({n_datasets}, {n_test}): a row for each data set, "
                "a column for each point of x_test"
            )
    truth, mean = true_function(x_test), predictions.mean(axis=0)
    bias, deviations = mean - truth, predictions - mean
    covariance = deviations.T @ deviations / (n_datasets - 1)
    variance = np.trace(covariance) / n_test
    squared_covariance = np.sum(covariance**2)  # trace of C^2
    from_bias = max(bias @ covariance @ bias - squared_covariance / n_datasets, 0.0)  # b'Cb, unbiased, not below zero
    variance_of_bias_squared = 4 * from_bias / n_datasets + 2 * squared_covariance / n_datasets**2
    mean_squares = {  # of each data set, over its test points
        "variance": np.mean(deviations**2, axis=1),
        "noise": np.mean((test_targets - truth) ** 2, axis=1),
        "mse": np.mean((test_targets - predictions) ** 2, axis=1),
    }
    standard_errors = {term: float(np.std(v, ddof=1) / np.sqrt(n_datasets)) for term, v in mean_squares.items()}
    return MonteCarloDecomposition(
        bias_squared=float(np.mean(bias**2) - variance / n_datasets),
        variance=float(variance),
        noise=float(mean_squares["noise"].mean()),
        mse=float(mean_squares["mse"].mean()),
        standard_errors=Decomposition(float(np.sqrt(variance_of_bias_squared) / n_test), **standard_errors),
    )
