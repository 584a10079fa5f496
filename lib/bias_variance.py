"""Bias, variance and noise of regression estimators that are linear in the training targets.

An estimator is a *linear smoother* if its prediction is ``S @ y_train`` with a matrix ``S`` that depends on the
inputs only: least squares, ridge regression, splines, k nearest neighbours, kernel ridge regression. For these the
bias-variance decomposition has a closed form (Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*,
2nd ed., sections 5.4.1 and 7.3), so that Monte Carlo is needed only to check it.

Inputs ``x`` are points of the line: arrays of shape (n,) or (n, 1).
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

#: Variance (not standard deviation) of the noise of Problem 1.
NOISE_VARIANCE = 0.3

_CHUNK = 65_536  # data sets drawn at a time, which bounds the memory of a Monte Carlo run


@dataclass(frozen=True)
class Decomposition:
    """The terms of E[MSE] = bias^2 + variance + noise, each a mean over the test points, in squared units of y.

    Attributes
    ----------
    bias_squared, variance, noise, mse : float
        Squared bias, variance of the prediction, variance of the test noise, expected mean squared error.
    """

    bias_squared: float
    variance: float
    noise: float
    mse: float


@dataclass(frozen=True)
class MonteCarloDecomposition(Decomposition):
    """Estimates of the terms of a :class:`Decomposition`.

    `bias_squared` and `variance` are unbiased estimates: the square of the average error has the
    variance over the number of data sets subtracted, so it can come out slightly below zero.

    Attributes
    ----------
    bias_squared, variance, noise, mse : float
        As in :class:`Decomposition`.
    standard_errors : Decomposition
        The standard error of each of them.
    """

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
    x = np.asarray(x, dtype=float)
    return x + np.sin(1.5 * x)


def sample_targets(
    x: ArrayLike, n_datasets: int, *, rng: np.random.Generator, noise_variance: float = NOISE_VARIANCE
) -> np.ndarray:
    """Draw y = f(x) + e with independent e ~ N(0, noise_variance) for every data set and point.

    Parameters
    ----------
    x : array of shape (n,) or (n, 1)
        Inputs, the same in every data set.
    n_datasets : int
        Number of data sets, at least 1.
    rng : numpy.random.Generator
        Source of the noise.
    noise_variance : float
        Variance of the noise, in squared units of y.

    Returns
    -------
    array of shape (n_datasets, n)

    Raises
    ------
    ValueError
        If `x` is empty, not finite or not one-dimensional, `n_datasets` < 1, or `noise_variance` is negative.

    >>> sample_targets([0.0, 5.0, 10.0], 2, rng=np.random.default_rng(0)).shape
    (2, 3)
    """
    x = _points(x, "x")
    n_datasets = _count(n_datasets, "n_datasets", least=1)
    scale = np.sqrt(_nonnegative(noise_variance, "noise_variance"))
    targets = rng.standard_normal((n_datasets, len(x)))
    targets *= scale
    targets += true_function(x)
    return targets


def polynomial_regression(degree: int, ridge: float = 0.0) -> BaseEstimator:
    """Polynomial regression in one variable, well conditioned also at degree 15.

    The training inputs are scaled to [-1, 1] and expanded in the Chebyshev polynomials T_1 ... T_degree; the
    intercept is not penalised. With ``ridge=0`` the choice of basis changes only rounding errors; with ``ridge > 0`` it
    matters: the penalty is ``ridge`` times the sum of the squared Chebyshev coefficients.

    Parameters
    ----------
    degree : int
        Degree of the polynomial, at least 0 (0 is the mean of the targets).
    ridge : float
        Weight of the L2 penalty added to the residual sum of squares.

    Returns
    -------
    scikit-learn regressor, not fitted; X of shape (n_samples, 1)

    Raises
    ------
    ValueError
        If `degree` or `ridge` is negative, or `ridge` is not finite.
    TypeError
        If `degree` is not an integer.

    >>> x = np.linspace(0, 10, 20)[:, None]
    >>> model = polynomial_regression(3).fit(x, x[:, 0] ** 3)
    >>> float(model.predict([[2.0]])[0].round(6))
    8.0
    """
    degree = _count(degree, "degree", least=0)
    ridge = _nonnegative(ridge, "ridge")
    if degree == 0:
        return DummyRegressor()
    # scikit-learn 1.9 drops singular values below tol times the largest: its default, 1e-6, would simplify the model
    regression = Ridge(alpha=ridge, solver="svd") if ridge else LinearRegression(tol=1e-12)
    return make_pipeline(ChebyshevFeatures(degree), regression)


class ChebyshevFeatures(TransformerMixin, BaseEstimator):
    """Chebyshev polynomials T_1 ... T_degree of one variable, scaled so that the training inputs fill [-1, 1].

    Parameters
    ----------
    degree : int
        Highest degree, at least 1.

    >>> ChebyshevFeatures(degree=2).fit_transform([[0.0], [5.0], [10.0]])
    array([[-1.,  1.],
           [ 0., -1.],
           [ 1.,  1.]])
    """

    def __init__(self, degree: int = 1):
        self.degree = degree

    def fit(self, X: ArrayLike, y=None) -> ChebyshevFeatures:
        """Learn the range of the inputs X, of shape (n_samples, 1)."""
        _count(self.degree, "degree", least=1)
        X = _points(X, "X")
        self.center_ = (X.min() + X.max()) / 2
        self.half_width_ = (X.max() - X.min()) / 2 or 1.0
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """The features of X, of shape (n_samples, degree)."""
        check_is_fitted(self)
        return np.polynomial.chebyshev.chebvander((_points(X, "X") - self.center_) / self.half_width_, self.degree)[
            :, 1:
        ]


def smoother_matrix(estimator: BaseEstimator, x_train: ArrayLike, x_test: ArrayLike) -> np.ndarray:
    """The matrix S of a linear smoother: its predictions at `x_test` are ``S @ y_train`` for every `y_train`.

    Column j is what the estimator predicts after fitting the j-th unit vector.

    Parameters
    ----------
    estimator : scikit-learn regressor
        Any regressor that is linear in the targets; it is cloned, not changed.
    x_train : array of shape (n_train,) or (n_train, n_features)
    x_test : array of shape (n_test,) or (n_test, n_features)

    Returns
    -------
    array of shape (n_test, n_train)

    Raises
    ------
    ValueError
        If the inputs are empty, not finite or differ in their number of features, or the estimator is not linear in the
        targets.

    >>> smoother_matrix(polynomial_regression(1), [0.0, 1.0, 2.0], [1.0, 3.0]).round(6)
    array([[ 0.333333,  0.333333,  0.333333],
           [-0.666667,  0.333333,  1.333333]])
    """
    x_train, x_test = _inputs(x_train, "x_train"), _inputs(x_test, "x_test")
    if x_train.shape[1] != x_test.shape[1]:
        raise ValueError(
            f"x_train has {x_train.shape[1]} features and x_test has {x_test.shape[1]}: give both the same columns"
        )
    n_train = len(x_train)
    # the unit vectors give S; zeros and one large uneven target are independent tests that the estimator is linear
    unit_vectors_and_zero = np.eye(n_train, n_train + 1)
    probe = 1e3 * np.sort(np.random.default_rng(0).normal(size=n_train))[x_train[:, 0].argsort().argsort()]
    model = clone(estimator)
    with config_context(assume_finite=True):  # just checked
        predicted = _fit_predict(model, x_train, unit_vectors_and_zero, x_test)
        predicted_probe = _fit_predict(model, x_train, probe, x_test)
    smoother, at_zero = predicted[:, :-1], predicted[:, -1]
    error = np.abs(smoother @ probe - predicted_probe).max() / 1e3
    size = max(1.0, np.abs(smoother).sum(axis=1).max())
    if not (np.abs(at_zero).max() <= 1e-8 * size and error <= 1e-4 * size):
        raise ValueError(
            f"estimator {estimator!r} is not linear in the targets (or too ill-conditioned to tell), so it has no "
            "smoother matrix; choose one that is, such as LinearRegression, Ridge with a fixed alpha, KernelRidge or "
            "KNeighborsRegressor"
        )
    return smoother


def _fit_predict(estimator, x_train, targets, x_test):
    """Fit and predict; several columns of targets are fitted one by one where the regressor takes one at a time."""
    try:
        return estimator.fit(x_train, targets).predict(x_test)
    except ValueError:
        if targets.ndim == 1:
            raise
        return MultiOutputRegressor(estimator).fit(x_train, targets).predict(x_test)


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
    x_train : array of shape (n_train,) or (n_train, 1)
    x_test : array of shape (n_test,) or (n_test, 1)
    noise_variance : float
        Variance of the noise of training and test targets, in squared units of y.

    Returns
    -------
    Decomposition

    Raises
    ------
    ValueError
        If an input is empty, not finite or not one-dimensional, `noise_variance` is negative, or the estimator is not
        linear in the targets.

    >>> exact_decomposition(polynomial_regression(1), np.linspace(0, 10, 40), [2.5, 7.5]).variance
    0.0128506...
    """
    return exact_decomposition_over_designs(estimator, [x_train], x_test, noise_variance)


def exact_decomposition_over_designs(
    estimator: BaseEstimator, x_trains: Sequence[ArrayLike], x_test: ArrayLike, noise_variance: float = NOISE_VARIANCE
) -> Decomposition:
    """As :func:`exact_decomposition`, for training inputs drawn with equal probability from several designs.

    By the law of total variance the variance is the mean of the variances given the design plus the
    variance, over the designs, of the prediction expected given the design.

    Parameters
    ----------
    estimator : scikit-learn regressor, linear in the targets
    x_trains : sequence of arrays of shape (n_train,) or (n_train, 1)
        The designs: one set of training inputs each. The number of points may differ.
    x_test, noise_variance
        As in :func:`exact_decomposition`.

    Returns
    -------
    Decomposition

    Raises
    ------
    ValueError
        As :func:`exact_decomposition`; also if `x_trains` is empty.
    """
    noise_variance = _nonnegative(noise_variance, "noise_variance")
    x_test = _points(x_test, "x_test")
    if len(x_trains) == 0:
        raise ValueError("x_trains is empty: give at least one set of training inputs")
    designs = [_points(x_train, "x_train") for x_train in x_trains]
    smoothers = [smoother_matrix(estimator, x_train, x_test) for x_train in designs]
    expected = np.array([S @ true_function(x_train) for S, x_train in zip(smoothers, designs, strict=True)])
    given_design = noise_variance * np.array([(S**2).sum(axis=1) for S in smoothers])
    bias_squared = float(np.mean((expected.mean(axis=0) - true_function(x_test)) ** 2))
    variance = float(np.mean(given_design.mean(axis=0) + expected.var(axis=0)))
    return Decomposition(bias_squared, variance, noise_variance, bias_squared + variance + noise_variance)


def monte_carlo_decomposition(
    estimator: BaseEstimator,
    x_train: ArrayLike,
    x_test: ArrayLike,
    n_datasets: int,
    *,
    rng: np.random.Generator,
    noise_variance: float = NOISE_VARIANCE,
) -> MonteCarloDecomposition:
    """Estimate bias^2, variance, noise and test MSE from many data sets, each with fresh training and test noise.

    Parameters
    ----------
    estimator : scikit-learn regressor, linear in the targets
    x_train : array of shape (n_train,) or (n_train, 1)
    x_test : array of shape (n_test,) or (n_test, 1)
    n_datasets : int
        Number of data sets, at least 2. Memory grows by 32 bytes per data set and test point.
    rng : numpy.random.Generator
    noise_variance : float
        Variance of the noise of training and test targets, in squared units of y.

    Returns
    -------
    MonteCarloDecomposition

    Raises
    ------
    ValueError
        As :func:`exact_decomposition`; also if `n_datasets` < 2.
    """
    n_datasets = _count(n_datasets, "n_datasets", least=2)
    noise_variance = _nonnegative(noise_variance, "noise_variance")
    x_train, x_test = _points(x_train, "x_train"), _points(x_test, "x_test")
    smoother = smoother_matrix(estimator, x_train, x_test)
    predictions = np.empty((n_datasets, len(x_test)))
    for start in range(0, n_datasets, _CHUNK):
        chunk = predictions[start : start + _CHUNK]
        np.matmul(sample_targets(x_train, len(chunk), rng=rng, noise_variance=noise_variance), smoother.T, out=chunk)
    test_targets = sample_targets(x_test, n_datasets, rng=rng, noise_variance=noise_variance)
    return decompose_predictions(predictions, test_targets, x_test)


def decompose_predictions(
    predictions: ArrayLike, test_targets: ArrayLike, x_test: ArrayLike
) -> MonteCarloDecomposition:
    """Estimate bias^2, variance, noise and test MSE from the predictions of many independently fitted models.

    Parameters
    ----------
    predictions : array of shape (n_datasets, n_test)
        Row r: what the model fitted to data set r predicts at the test points.
    test_targets : array of shape (n_datasets, n_test)
        Row r: test targets with noise of their own, independent of the training data and of every other row.
    x_test : array of shape (n_test,) or (n_test, 1)

    Returns
    -------
    MonteCarloDecomposition
        Means over data sets and test points. The standard error of the squared bias is that of a quadratic form in a
        mean that is nearly normal: its square is (4 b'Cb / R + 2 tr(C^2) / R^2) / n_test^2 for pointwise bias b,
        covariance C of the predictions and R data sets, with b'Cb estimated without bias and cut off at zero, which
        is cautious where b is nearly zero.

    Raises
    ------
    ValueError
        If the shapes do not match, there are fewer than 2 data sets, or a value is not finite.
    """
    x_test = _points(x_test, "x_test")
    predictions, test_targets = _inputs(predictions, "predictions"), _inputs(test_targets, "test_targets")
    n_datasets, n_test = _count(len(predictions), "the number of data sets", least=2), len(x_test)
    for name, array in (("predictions", predictions), ("test_targets", test_targets)):
        if array.shape != (n_datasets, n_test):
            raise ValueError(
                f"{name} has shape {array.shape}, expected ({n_datasets}, {n_test}): a row for each data set, "
                "a column for each point of x_test"
            )
    truth = true_function(x_test)
    mean = predictions.mean(axis=0)
    bias = mean - truth
    deviations = predictions - mean
    covariance = deviations.T @ deviations / (n_datasets - 1)
    variance = np.trace(covariance) / n_test
    squared_covariance = np.sum(covariance**2)  # trace of C^2
    from_bias = max(bias @ covariance @ bias - squared_covariance / n_datasets, 0.0)  # unbiased, and not below zero
    variance_of_bias_squared = 4 * from_bias / n_datasets + 2 * squared_covariance / n_datasets**2

    def standard_error(per_dataset: np.ndarray) -> float:
        return float(np.std(per_dataset, ddof=1) / np.sqrt(n_datasets))

    squared_errors = _row_mean_squares(test_targets - predictions)
    squared_noise = _row_mean_squares(test_targets - truth)
    return MonteCarloDecomposition(
        bias_squared=float(np.mean(bias**2) - variance / n_datasets),
        variance=float(variance),
        noise=float(squared_noise.mean()),
        mse=float(squared_errors.mean()),
        standard_errors=Decomposition(
            bias_squared=float(np.sqrt(variance_of_bias_squared) / n_test),
            variance=standard_error(_row_mean_squares(deviations)),
            noise=standard_error(squared_noise),
            mse=standard_error(squared_errors),
        ),
    )


def _row_mean_squares(array: np.ndarray) -> np.ndarray:
    return np.einsum("rt,rt->r", array, array) / array.shape[1]


def _inputs(x: ArrayLike, name: str) -> np.ndarray:
    """Finite inputs as a matrix of shape (n, n_features), at least one row."""
    try:
        x = np.asarray(x, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers in equal rows: {error}") from None
    if x.ndim not in (1, 2):
        raise ValueError(f"{name} has shape {x.shape}, expected (n,) or (n, n_features)")
    if x.size == 0:
        raise ValueError(f"{name} is empty (shape {x.shape}): give at least one point")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds {np.sum(~np.isfinite(x))} values that are not finite: remove them first")
    return x[:, None] if x.ndim == 1 else x


def _points(x: ArrayLike, name: str) -> np.ndarray:
    """Finite points of the line as an array of shape (n,), n >= 1."""
    x = _inputs(x, name)
    if x.shape[1] != 1:
        raise ValueError(f"{name} has shape {x.shape}, expected (n,) or (n, 1): the problem has one input variable")
    return x[:, 0]


def _count(value: int, name: str, *, least: int) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def _nonnegative(value: float, name: str) -> float:
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {value!r}")
    return float(value)
