"""Bias, variance and noise of regression estimators that are linear in the training targets.

An estimator is a *linear smoother* if its prediction is ``S @ y_train`` with a matrix ``S`` that depends on the
inputs only: least squares, ridge regression, splines, k nearest neighbours, kernel ridge regression. For these the
bias-variance decomposition has a closed form (Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*,
2nd ed., sections 5.4.1 and 7.3), so that Monte Carlo is needed only to check it.

Inputs ``x`` are points of the line: arrays of shape (n,) or (n, 1). Whatever their types, sums are float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from lib.arguments import ArgumentError, generator, real_number, whole_number

#: Variance (not standard deviation) of the noise of Problem 1.
NOISE_VARIANCE = 0.3

# S @ y may miss a refit by this much, relative to S and y: iterative solvers stop at tolerances of their own
_TOLERANCE = 1e-4
_REFITS = (
    30  # data sets of a Monte Carlo run that are fitted too: a choice made in 1 of 7 escapes them in 1 of 100 runs
)


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
    """Estimates of the terms of a :class:`Decomposition`, as :func:`decompose_predictions` makes them.

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
    x: ArrayLike, n_datasets: int, *, rng: np.random.Generator | int, noise_variance: float = NOISE_VARIANCE
) -> np.ndarray:
    """Draw y = f(x) + e with independent e ~ N(0, noise_variance) for every data set and point.

    Parameters
    ----------
    x : array of shape (n,) or (n, 1)
        Inputs, the same in every data set.
    n_datasets : int
        Number of data sets, at least 1.
    rng : numpy.random.Generator or int
        Source of the noise, or the seed of one.
    noise_variance : float
        Variance of the noise, in squared units of y.

    Returns
    -------
    array of shape (n_datasets, n)

    Raises
    ------
    ValueError
        If `x` is empty, not finite or not one-dimensional, or another argument is not as described.

    >>> sample_targets([0.0, 5.0, 10.0], 2, rng=0).shape
    (2, 3)
    """
    x = _points(x, "x")
    shape = whole_number("n_datasets", n_datasets), len(x)
    scale = np.sqrt(real_number("noise_variance", noise_variance, at_least=0))
    return true_function(x) + scale * generator("rng", rng).standard_normal(shape)


def equally_spaced_split(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of scheme (i) as published solutions draw them: 50 points of [0, 10], permuted and split 80/20.

    Parameters
    ----------
    seed : int
        Of NumPy's old generator, whose permutations the published figures depend on.

    Returns
    -------
    x_train : array of shape (40,)
    x_test : array of shape (10,)

    >>> equally_spaced_split()[1].round(2)[:3]
    array([7.35, 4.29, 3.88])
    """
    x = np.random.RandomState(whole_number("seed", seed, at_least=0)).permutation(np.linspace(0, 10, 50))
    return x[:40], x[40:]


def uniform_designs(n_designs: int = 100, *, rng: np.random.Generator | int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of scheme (ii): 10 test points, drawn first, and training sets of 40 points each, all uniform on [0, 10].

    Parameters
    ----------
    n_designs : int
        Number of training sets, at least 1.
    rng : numpy.random.Generator or int
        Source of the points, or the seed of one.

    Returns
    -------
    x_trains : array of shape (n_designs, 40)
    x_test : array of shape (10,)
    """
    rng = generator("rng", rng)
    x_test = rng.uniform(0, 10, 10)
    return rng.uniform(0, 10, (whole_number("n_designs", n_designs), 40)), x_test


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
        Weight of the L2 penalty added to the residual sum of squares, not negative.

    Returns
    -------
    scikit-learn regressor, not fitted; X of shape (n_samples, 1)

    Raises
    ------
    ValueError
        If `degree` or `ridge` is not as described.

    >>> x = np.linspace(0, 10, 20)[:, None]
    >>> model = polynomial_regression(3).fit(x, x[:, 0] ** 3)
    >>> float(model.predict([[2.0]])[0].round(6))
    8.0
    """
    degree = whole_number("degree", degree, at_least=0)
    ridge = real_number("ridge", ridge, at_least=0)
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
        whole_number("degree", self.degree)
        X = _points(X, "X")
        self.center_ = (X.min() + X.max()) / 2
        self.half_width_ = (X.max() - X.min()) / 2 or 1.0  # equal inputs have no width to scale by
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """The features of X, of shape (n_samples, degree)."""
        check_is_fitted(self)
        scaled = (_points(X, "X") - self.center_) / self.half_width_
        return np.polynomial.chebyshev.chebvander(scaled, self.degree)[:, 1:]  # without T_0, which the intercept is


def polynomial_smoothers(degree: int, x_train: ArrayLike, x_test: ArrayLike) -> np.ndarray:
    """The matrices S of least squares with polynomials, of all degrees at once.

    Let q_0, q_1, ... be the polynomials of degree 0, 1, ... that are orthonormal over the training inputs. The fit of
    degree n is the sum of the projections on q_0 ... q_n, so that S_n[i, j] is the sum of q_k(x_i) q_k(x_j) over
    k <= n: a higher degree only adds terms.

    Parameters
    ----------
    degree : int
        Highest degree, below the number of different training inputs.
    x_train : array of shape (n_train,) or (n_train, 1)
    x_test : array of shape (n_test,) or (n_test, 1)

    Returns
    -------
    array of shape (degree + 1, n_test, n_train)
        Entry n is the smoother matrix of degree n.

    Raises
    ------
    ValueError
        If an input is empty, not finite or not one-dimensional, or the training inputs do not determine the polynomial.

    >>> polynomial_smoothers(1, [0.0, 1.0, 2.0], [3.0]).round(6)
    array([[[ 0.333333,  0.333333,  0.333333]],
    <BLANKLINE>
           [[-0.666667,  0.333333,  1.333333]]])
    """
    degree = whole_number("degree", degree, at_least=0)
    x_train, x_test = _points(x_train, "x_train"), _points(x_test, "x_test")
    different = len(np.unique(x_train))
    if degree >= different:
        raise ArgumentError(f"degree {degree} needs {degree + 1} different training inputs, x_train has {different}")
    features = ChebyshevFeatures(max(degree, 1)).fit(x_train)
    train, test = (np.insert(features.transform(x), 0, 1, axis=1)[:, : degree + 1] for x in (x_train, x_test))
    at_train, R = np.linalg.qr(train)  # columns: the orthonormal polynomials at the training inputs
    at_test = np.linalg.solve(R.T, test.T).T  # and at the test points, by the same triangular change of basis
    return np.cumsum(at_test.T[:, :, None] * at_train.T[:, None, :], axis=0)


def smoother_matrix(estimator: BaseEstimator, x_train: ArrayLike, x_test: ArrayLike) -> np.ndarray:
    """The matrix S of a linear smoother: its predictions at `x_test` are ``S @ y_train`` for every `y_train`.

    Column j is what the estimator predicts after fitting the j-th unit vector. Whether ``S @ y`` is what a fit to y
    predicts is then tried on targets of many kinds and sizes, smooth and rough.

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
        targets: also if it chooses among linear smoothers by looking at them, as GridSearchCV and RidgeCV do. No
        finite number of trials can find every such choice; :func:`monte_carlo_decomposition` tries more.

    >>> smoother_matrix(polynomial_regression(1), [0.0, 1.0, 2.0], [1.0, 3.0]).round(6)
    array([[ 0.333333,  0.333333,  0.333333],
           [-0.666667,  0.333333,  1.333333]])
    """
    x_train, x_test = _inputs(x_train, "x_train"), _inputs(x_test, "x_test")
    if x_train.shape[1] != x_test.shape[1]:
        raise ArgumentError(
            f"x_train has {x_train.shape[1]} features and x_test has {x_test.shape[1]}: give both the same columns"
        )
    smoother = _smoother(estimator, x_train, x_test)
    _check_by_refitting(estimator, smoother, x_train, x_test, _probes(x_train))
    return smoother


def _smoother(estimator: BaseEstimator, x_train: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    unit_vectors = np.eye(len(x_train))
    try:  # all columns in one fit, where the estimator takes several targets
        columns = clone(estimator).fit(x_train, unit_vectors).predict(x_test)
    except ValueError:
        columns = _refit(estimator, x_train, x_test, unit_vectors).T
    return np.asarray(columns, dtype=float).reshape(len(x_test), len(x_train))


def _refit(estimator: BaseEstimator, x_train: np.ndarray, x_test: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What the estimator predicts after fitting each row of targets, of shape (n_rows, n_test)."""
    try:
        predictions = [clone(estimator).fit(x_train, y).predict(x_test) for y in targets]
    except (ValueError, TypeError) as error:
        raise ArgumentError(
            f"estimator {estimator!r} cannot be fitted to x_train and targets of every kind, so it has no smoother "
            f"matrix ({error})"
        ) from error
    return np.asarray(predictions, dtype=float).reshape(len(targets), len(x_test))


def _probes(x_train: np.ndarray) -> np.ndarray:
    """Targets on which estimators that tune themselves choose differently: from a smooth trend to pure alternation."""
    n, rng = len(x_train), np.random.default_rng(0)
    rank = np.argsort(np.argsort(x_train[:, 0], kind="stable"))
    trend, noise = true_function(x_train[:, 0]), rng.normal(size=(4, n))
    probes = [
        np.zeros(n),  # shows an offset of the estimator's own
        (-1.0) ** rank,  # the roughest there is: whoever tunes smooths it away
        1e3 * np.sort(noise[0])[rank],  # large, smooth and uneven
        1e-3 * noise[1],
        noise[2],  # nothing to learn
        trend,  # nothing but signal
        trend + np.sqrt(NOISE_VARIANCE) * noise[3],  # the targets of Problem 1
        100.0 + (2 * rank > n),  # a step, far from zero
    ]
    # each polynomial is learnt by one degree and by none below: it decides a choice between neighbouring degrees
    features = ChebyshevFeatures(10).fit(x_train[:, 0]).transform(x_train[:, 0])
    return np.vstack([probes, features.T[1:]])


def _check_by_refitting(
    estimator: BaseEstimator, smoother: np.ndarray, x_train: np.ndarray, x_test: np.ndarray, targets: np.ndarray
) -> None:
    """ValueError unless S @ y is what the estimator predicts after fitting y, for every row y of targets."""
    error = np.abs(_refit(estimator, x_train, x_test, targets) - targets @ smoother.T).max(axis=1)
    size = np.abs(targets).max(axis=1) * max(1.0, np.abs(smoother).sum(axis=1).max())
    if not np.all(error <= _TOLERANCE * size + 1e-8):  # written so that nan fails
        raise ArgumentError(
            f"estimator {estimator!r} is not linear in the targets (or tunes itself by looking at them, or is too "
            "ill-conditioned to tell), so it has no smoother matrix; choose one that is, such as LinearRegression, "
            "Ridge with a fixed alpha, KernelRidge or KNeighborsRegressor"
        )


def pointwise_terms(
    smoothers: ArrayLike, x_train: ArrayLike, x_test: ArrayLike, noise_variance: float = NOISE_VARIANCE
) -> tuple[np.ndarray, np.ndarray]:
    """Bias^2 and variance at every test point, in closed form: (S f_train - f_test)^2 and noise_variance S S'.

    Parameters
    ----------
    smoothers : array of shape (..., n_test, n_train)
        One smoother matrix or more, as :func:`smoother_matrix` and :func:`polynomial_smoothers` give them.
    x_train : array of shape (n_train,) or (n_train, 1)
    x_test : array of shape (n_test,) or (n_test, 1)
    noise_variance : float
        Variance of the noise of the training targets, in squared units of y.

    Returns
    -------
    bias_squared, variance : arrays of shape (..., n_test)
    """
    S, noise_variance = np.asarray(smoothers, dtype=float), real_number("noise_variance", noise_variance, at_least=0)
    bias = S @ true_function(_points(x_train, "x_train")) - true_function(_points(x_test, "x_test"))
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
        linear in the targets (see :func:`smoother_matrix`).

    >>> exact_decomposition(polynomial_regression(1), np.linspace(0, 10, 40), [2.5, 7.5]).variance
    0.0128506...
    """
    return exact_decomposition_over_designs(estimator, [x_train], x_test, noise_variance)


def exact_decomposition_over_designs(
    estimator: BaseEstimator, x_trains: Iterable[ArrayLike], x_test: ArrayLike, noise_variance: float = NOISE_VARIANCE
) -> Decomposition:
    """As :func:`exact_decomposition`, for training inputs drawn with equal probability from several designs.

    By the law of total variance the variance is the mean of the variances given the design plus the
    variance, over the designs, of the prediction expected given the design.

    Parameters
    ----------
    estimator : scikit-learn regressor, linear in the targets
    x_trains : arrays of shape (n_train,) or (n_train, 1)
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
    noise_variance = real_number("noise_variance", noise_variance, at_least=0)
    x_test = _points(x_test, "x_test")
    designs = [_points(x_train, "x_train") for x_train in x_trains]
    if not designs:
        raise ArgumentError("x_trains is empty: give at least one set of training inputs")
    smoothers = [smoother_matrix(estimator, designs[0], x_test)]  # tried there; linearity is the estimator's own
    smoothers += [_smoother(estimator, x_train[:, None], x_test[:, None]) for x_train in designs[1:]]
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
    fits differ from that is refused instead of being confirmed by the same matrix.

    Parameters
    ----------
    estimator : scikit-learn regressor, linear in the targets
    x_train : array of shape (n_train,) or (n_train, 1)
    x_test : array of shape (n_test,) or (n_test, 1)
    n_datasets : int
        Number of data sets, at least 2. Memory: about 50 bytes per data set and point.
    rng : numpy.random.Generator or int
        Source of the noise, or the seed of one.
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
    n_datasets, rng = whole_number("n_datasets", n_datasets, at_least=2), generator("rng", rng)
    x_train, x_test = _points(x_train, "x_train"), _points(x_test, "x_test")
    smoother = smoother_matrix(estimator, x_train, x_test)
    y_train, y_test = (sample_targets(x, n_datasets, rng=rng, noise_variance=noise_variance) for x in (x_train, x_test))
    _check_by_refitting(estimator, smoother, x_train[:, None], x_test[:, None], y_train[:_REFITS])
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

    Raises
    ------
    ValueError
        If the shapes do not match, there are fewer than 2 data sets, or a value is not finite.
    """
    x_test = _points(x_test, "x_test")
    predictions, test_targets = _inputs(predictions, "predictions"), _inputs(test_targets, "test_targets")
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


def _inputs(x: ArrayLike, name: str) -> np.ndarray:
    """Finite inputs as a float64 matrix of shape (n, n_features), at least one row."""
    try:
        x = np.asarray(x, dtype=float)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must hold numbers in equal rows: {error}") from None
    if x.ndim not in (1, 2) or x.size == 0:
        raise ArgumentError(f"{name} has shape {x.shape}, expected (n,) or (n, n_features) with at least one point")
    if not np.isfinite(x).all():
        raise ArgumentError(f"{name} holds {np.sum(~np.isfinite(x))} values that are not finite: remove them first")
    return x[:, None] if x.ndim == 1 else x


def _points(x: ArrayLike, name: str) -> np.ndarray:
    """Finite points of the line as an array of shape (n,), n >= 1."""
    x = _inputs(x, name)
    if x.shape[1] != 1:
        raise ArgumentError(f"{name} has shape {x.shape}, expected (n,) or (n, 1): the problem has one input variable")
    return x[:, 0]
