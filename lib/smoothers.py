"""Linear smoothers: estimators whose predictions are ``S @ y_train`` with a matrix ``S`` that depends on inputs only.

Least squares, ridge regression, splines, k nearest neighbours and kernel ridge regression are of this kind, as long as
nothing about them is chosen by looking at the targets (Hastie, Tibshirani and Friedman, *The Elements of Statistical
Learning*, 2nd ed., section 5.4.1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from lib.arguments import ArgumentError, finite_numbers, real_number, whole_number

# S @ y may miss a refit by this much, relative to S and y: iterative solvers stop at tolerances of their own
_TOLERANCE = 1e-4
_WORST_CONDITION = 1e12  # of features: beyond, float64 leaves few digits of a polynomial


def polynomial_regression(degree: int, ridge: float = 0.0) -> BaseEstimator:
    """Polynomial regression in one variable, well conditioned also at degree 15; a scikit-learn regressor, not fitted.

    The training inputs, of shape (n, 1), are scaled to [-1, 1] and expanded in the Chebyshev polynomials T_1 ...
    T_degree; degree 0 is the mean of the targets. The L2 penalty is `ridge` times the sum of the squared Chebyshev
    coefficients, without the intercept's. So the basis matters with ``ridge > 0``, and without it changes rounding
    errors only.

    Fitting raises ValueError where the inputs do not determine the coefficients.

    >>> x = np.linspace(0, 10, 20)[:, None]
    >>> model = polynomial_regression(3).fit(x, x[:, 0] ** 3)
    >>> float(model.predict([[2.0]])[0].round(6))
    8.0
    """
    degree = whole_number("degree", degree, at_least=0)
    ridge = real_number("ridge", ridge, at_least=0)
    if degree == 0:
        return DummyRegressor()
    regression = Ridge(alpha=ridge, solver="svd") if ridge else LeastSquares(tol=1 / _WORST_CONDITION)
    return make_pipeline(ChebyshevFeatures(degree), regression)


class LeastSquares(LinearRegression):
    """Least squares that refuses features which the inputs do not tell apart, instead of leaving directions out.

    LinearRegression drops singular values below `tol` times the largest, and so simplifies the model without a word.
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> LeastSquares:
        """ArgumentError unless the centred features have full rank."""
        super().fit(X, y, sample_weight)
        if self.rank_ < self.n_features_in_:
            raise ArgumentError(
                f"the training inputs determine {self.rank_} of {self.n_features_in_} coefficients: lower the degree, "
                "or spread the inputs"
            )
        return self


class ChebyshevFeatures(TransformerMixin, BaseEstimator):
    """Chebyshev polynomials T_1 ... T_degree of one variable, scaled so that the training inputs fill [-1, 1].

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
        X = points_of_line(X, "X")
        low, high = X.min() / 2, X.max() / 2  # halves, so that no sum of large inputs overflows
        self.center_ = low + high
        self.half_width_ = (high - low) or 1.0  # equal inputs have no width to scale by
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """The features of X, of shape (n_samples, degree)."""
        check_is_fitted(self)
        scaled = (points_of_line(X, "X") - self.center_) / self.half_width_
        return np.polynomial.chebyshev.chebvander(scaled, self.degree)[:, 1:]  # without T_0, which the intercept is


def polynomial_smoothers(degree: int, x_train: ArrayLike, x_test: ArrayLike) -> np.ndarray:
    """The matrices S of least squares with polynomials of degree 0, 1, ... `degree`, all at once.

    Let q_0, q_1, ... be the polynomials of degree 0, 1, ... that are orthonormal over the training inputs. The fit of
    degree n is the sum of the projections on q_0 ... q_n, so that S_n[i, j] is the sum of q_k(x_i) q_k(x_j) over
    k <= n: a higher degree only adds terms.

    From x_train of shape (n_train,) or (n_train, 1), with more different values than `degree`, and x_test alike, the
    result has shape (degree + 1, n_test, n_train).

    >>> polynomial_smoothers(1, [0.0, 1.0, 2.0], [3.0]).round(6)
    array([[[ 0.333333,  0.333333,  0.333333]],
    <BLANKLINE>
           [[-0.666667,  0.333333,  1.333333]]])
    """
    degree = whole_number("degree", degree, at_least=0)
    x_train, x_test = points_of_line(x_train, "x_train"), points_of_line(x_test, "x_test")
    different = len(np.unique(x_train))
    if degree >= different:
        raise ArgumentError(f"degree {degree} needs {degree + 1} different training inputs, x_train has {different}")
    features = ChebyshevFeatures(max(degree, 1)).fit(x_train)
    train, test = (np.insert(features.transform(x), 0, 1, axis=1)[:, : degree + 1] for x in (x_train, x_test))
    at_train, R = np.linalg.qr(train)  # columns: the orthonormal polynomials at the training inputs
    if np.linalg.cond(R) > _WORST_CONDITION:
        raise ArgumentError(
            f"x_train determines no polynomial of degree {degree} to float64's digits: lower the degree"
        )
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
    x_train, x_test : arrays of shape (n_train,) or (n_train, n_features), and (n_test,) or (n_test, n_features)

    Returns
    -------
    array of shape (n_test, n_train)

    Raises
    ------
    ValueError
        If inputs are empty, not finite or differ in their number of features, or the estimator is not linear in the
        targets: also if it chooses among linear smoothers by looking at them, as GridSearchCV and RidgeCV do. No
        finite number of trials can find every such choice; a Monte Carlo run (:mod:`lib.bias_variance`) tries more.

    >>> smoother_matrix(polynomial_regression(1), [0.0, 1.0, 2.0], [1.0, 3.0]).round(6)
    array([[ 0.333333,  0.333333,  0.333333],
           [-0.666667,  0.333333,  1.333333]])
    """
    x_train, x_test = finite_inputs(x_train, "x_train"), finite_inputs(x_test, "x_test")
    if x_train.shape[1] != x_test.shape[1]:
        raise ArgumentError(
            f"x_train has {x_train.shape[1]} features and x_test has {x_test.shape[1]}: give both the same columns"
        )
    smoother = fit_unit_vectors(estimator, x_train, x_test)
    check_by_refitting(estimator, smoother, x_train, x_test, _probes(x_train))
    return smoother


def fit_unit_vectors(estimator: BaseEstimator, x_train: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    unit_vectors = np.eye(len(x_train))
    try:  # all columns in one fit, where the estimator takes several targets
        columns = clone(estimator).fit(x_train, unit_vectors).predict(x_test)
    except Exception:
        columns = _refit(estimator, x_train, x_test, unit_vectors).T
    return np.asarray(columns, dtype=float).reshape(len(x_test), len(x_train))


def _refit(estimator: BaseEstimator, x_train: np.ndarray, x_test: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What the estimator predicts after fitting each row of targets, of shape (n_rows, n_test)."""
    try:
        predictions = [clone(estimator).fit(x_train, y).predict(x_test) for y in targets]
    except Exception as error:  # whatever estimators refuse with
        raise ArgumentError(
            f"estimator {estimator!r} cannot be fitted to x_train and targets of every kind, so it has no smoother "
            f"matrix ({error})"
        ) from error
    return np.asarray(predictions, dtype=float).reshape(len(targets), len(x_test))


def _probes(x_train: np.ndarray) -> np.ndarray:
    """Targets on which estimators that tune themselves choose differently: from a smooth trend to pure alternation."""
    n, rng = len(x_train), np.random.default_rng(0)
    rank = np.argsort(np.argsort(x_train[:, 0], kind="stable"))
    wave, noise = 10 * rank / n + np.sin(15 * rank / n), rng.normal(size=(4, n))
    probes = [
        np.zeros(n),  # shows an offset of the estimator's own
        (-1.0) ** rank,  # the roughest there is: whoever tunes smooths it away
        1e3 * np.sort(noise[0])[rank],  # large, smooth and uneven
        1e-3 * noise[1],
        noise[2],  # nothing to learn
        wave,  # nothing but signal
        wave + 0.55 * noise[3],  # as in Problem 1
        100.0 + (2 * rank > n),  # a step, far from zero
    ]
    # each polynomial is learnt by one degree and by none below: it decides a choice between neighbouring degrees
    features = ChebyshevFeatures(10).fit(x_train[:, 0]).transform(x_train[:, 0])
    return np.vstack([probes, features.T[1:]])


def check_by_refitting(
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


def finite_inputs(x: ArrayLike, name: str) -> np.ndarray:
    """Finite inputs as a float64 matrix of shape (n, n_features), at least one row."""
    x = finite_numbers(name, x)
    if x.ndim not in (1, 2) or x.size == 0:
        raise ArgumentError(f"{name} has shape {x.shape}, expected (n,) or (n, n_features) with at least one point")
    return x[:, None] if x.ndim == 1 else x


def points_of_line(x: ArrayLike, name: str) -> np.ndarray:
    """Finite points of the line as an array of shape (n,), n >= 1."""
    x = finite_inputs(x, name)
    if x.shape[1] != 1:
        raise ArgumentError(f"{name} has shape {x.shape}, expected (n,) or (n, 1): the problem has one input variable")
    return x[:, 0]
