"""The bias-variance decomposition: closed forms against brute force, laws, and values computed with 80 digits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Lasso, LinearRegression, Ridge, RidgeCV, TweedieRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor
from sympy import Matrix, Rational
from sympy.polys.matrices import DomainMatrix

from lib.bias_variance import (
    NOISE_VARIANCE,
    ChebyshevFeatures,
    decompose_predictions,
    exact_decomposition,
    exact_decomposition_over_designs,
    monte_carlo_decomposition,
    polynomial_regression,
    sample_targets,
    smoother_matrix,
    true_function,
)

X = np.random.RandomState(0).permutation(np.linspace(0, 10, 50))
X_TRAIN, X_TEST = X[:40], X[40:]

# degree: (bias^2, variance, E[MSE]), computed once with 80-digit arithmetic for these inputs
REFERENCE = {
    1: (0.469636, 0.019948, 0.789584),
    2: (0.308294, 0.032854, 0.641147),
    3: (0.333151, 0.045382, 0.678533),
    7: (0.228735, 0.155494, 0.684229),
    8: (0.065221, 0.229433, 0.594654),
    9: (0.029313, 0.346278, 0.675591),
    15: (4.2e-7, 7.414757, 7.714757),
}
LINEAR = [
    LinearRegression(),
    Ridge(2.0),
    KNeighborsRegressor(3),
    KernelRidge(kernel="rbf", alpha=0.1),
    make_pipeline(SplineTransformer(5), Ridge(0.1)),
    GaussianProcessRegressor(alpha=0.1, optimizer=None),
    TweedieRegressor(power=0, alpha=0, tol=1e-10),  # takes one target at a time
]
NOT_LINEAR = [Lasso(0.5), RidgeCV(), DecisionTreeRegressor(max_depth=3), SVR()]


def name(estimator) -> str:
    return type(estimator).__name__


def brute_force_smoother(degree: int, x_train: np.ndarray, x_test: np.ndarray, ridge: float = 0.0) -> np.ndarray:
    """S from the normal equations in the Chebyshev basis on the training range, the intercept not penalised."""
    low, high = x_train.min(), x_train.max()
    train, test = (
        np.polynomial.chebyshev.chebvander((2 * x - low - high) / (high - low), degree) for x in (x_train, x_test)
    )
    penalty = ridge * np.diag([0.0] + [1.0] * degree)
    return test @ np.linalg.solve(train.T @ train + penalty, train.T)


def test_noise_variance_is_the_variance_of_the_problem():
    assert NOISE_VARIANCE == 0.3


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (np.pi, np.pi - 1.0), (np.pi / 3, np.pi / 3 + 1.0)])
def test_true_function_at_points_where_the_sine_is_known(x, y):
    assert true_function(x) == pytest.approx(y, abs=1e-12)


def test_targets_have_the_mean_and_variance_of_the_problem():
    x = np.array([0.0, 3.0, 10.0])
    y = sample_targets(x, 200_000, rng=np.random.default_rng(0))
    assert y.shape == (200_000, 3)
    np.testing.assert_allclose(y.mean(axis=0), true_function(x), atol=5 * np.sqrt(0.3 / 200_000))
    np.testing.assert_allclose(y.var(axis=0), 0.3, atol=5 * 0.3 * np.sqrt(2 / 200_000))
    assert np.abs(np.corrcoef(y.T) - np.eye(3)).max() < 5 / np.sqrt(200_000)


def test_same_seed_gives_the_same_targets():
    draws = [sample_targets(X, 3, rng=np.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize("degree", range(0, 16))
def test_polynomial_regression_predicts_what_polyfit_predicts(degree):
    y = sample_targets(X_TRAIN, 1, rng=np.random.default_rng(1))[0]
    predicted = polynomial_regression(degree).fit(X_TRAIN[:, None], y).predict(X_TEST[:, None])
    expected = np.polyval(np.polyfit(X_TRAIN, y, degree), X_TEST)
    np.testing.assert_allclose(predicted, expected, atol=1e-5)


@pytest.mark.parametrize("degree", [1, 4, 10])
@pytest.mark.parametrize("ridge", [1e-6, 0.1, 10.0])
def test_ridge_penalises_the_chebyshev_coefficients_but_not_the_intercept(degree, ridge):
    S = smoother_matrix(polynomial_regression(degree, ridge), X_TRAIN, X_TEST)
    np.testing.assert_allclose(S, brute_force_smoother(degree, X_TRAIN, X_TEST, ridge), atol=1e-9)
    np.testing.assert_allclose(S.sum(axis=1), 1, rtol=1e-9)  # a constant is predicted exactly


def test_strong_penalty_leaves_the_mean():
    S = smoother_matrix(polynomial_regression(10, 1e12), X_TRAIN, X_TEST)
    np.testing.assert_allclose(S, 1 / 40, atol=1e-9)


def test_chebyshev_features_of_equal_inputs_are_finite():
    assert np.isfinite(ChebyshevFeatures(3).fit_transform([[2.0], [2.0]])).all()


@pytest.mark.parametrize("estimator", LINEAR, ids=name)
def test_smoother_matrix_times_targets_is_what_refitting_predicts(estimator):
    y = sample_targets(X_TRAIN, 1, rng=np.random.default_rng(2))[0]
    S = smoother_matrix(estimator, X_TRAIN, X_TEST)
    assert S.shape == (10, 40)
    refitted = estimator.fit(X_TRAIN[:, None], y).predict(X_TEST[:, None])
    np.testing.assert_allclose(S @ y, refitted, atol=1e-6)


def test_smoother_matrix_takes_several_features():
    rng = np.random.default_rng(3)
    train, test, y = rng.normal(size=(30, 4)), rng.normal(size=(5, 4)), rng.normal(size=30)
    S = smoother_matrix(LinearRegression(), train, test)
    np.testing.assert_allclose(S @ y, LinearRegression().fit(train, y).predict(test), atol=1e-10)


def test_smoother_matrix_leaves_the_estimator_unfitted():
    estimator = LinearRegression()
    smoother_matrix(estimator, X_TRAIN, X_TEST)
    assert not hasattr(estimator, "coef_")


@pytest.mark.parametrize("estimator", NOT_LINEAR, ids=name)
def test_estimators_that_are_not_linear_are_refused(estimator):
    with pytest.raises(ValueError, match="not linear in the targets"):
        smoother_matrix(estimator, X_TRAIN, X_TEST)


@pytest.mark.parametrize("degree", REFERENCE)
def test_exact_decomposition_agrees_with_80_digit_arithmetic(degree):
    found = exact_decomposition(polynomial_regression(degree), X_TRAIN, X_TEST)
    bias_squared, variance, mse = REFERENCE[degree]
    assert found.bias_squared == pytest.approx(bias_squared, abs=5e-7 if degree < 15 else 5e-9)
    assert found.variance == pytest.approx(variance, abs=5.1e-7)
    assert found.mse == pytest.approx(mse, abs=5.1e-7)
    assert found.noise == 0.3


@pytest.mark.parametrize("degree", [1, 2, 5, 8, 11, 13, 14, 15])
def test_exact_decomposition_agrees_with_exact_rational_arithmetic(degree):
    """Fractions leave no rounding error: solve the normal equations of the centred powers exactly."""
    train, test = (
        Matrix([[(Rational(float(v)) - 5) ** k for k in range(degree + 1)] for v in x]) for x in (X_TRAIN, X_TEST)
    )
    gram, moments, test = (DomainMatrix.from_Matrix(m).to_field() for m in (train.T * train, train.T, test))
    S = np.array((test * gram.lu_solve(moments)).to_Matrix().tolist(), dtype=float)
    found = exact_decomposition(polynomial_regression(degree), X_TRAIN, X_TEST)
    bias_squared = np.mean((S @ true_function(X_TRAIN) - true_function(X_TEST)) ** 2)
    assert found.bias_squared == pytest.approx(bias_squared, rel=1e-6)
    assert found.variance == pytest.approx(0.3 * np.mean(np.sum(S**2, axis=1)), rel=1e-9)


@pytest.mark.parametrize("estimator", LINEAR[:-1], ids=name)  # the last one takes a minute for 400 fits
def test_exact_decomposition_of_any_linear_estimator_agrees_with_refitting(estimator):
    rng = np.random.default_rng(4)
    y = sample_targets(X_TRAIN, 3000, rng=rng)
    regressor = estimator.fit(X_TRAIN[:, None], y[0])
    predictions = np.array([regressor.fit(X_TRAIN[:, None], row).predict(X_TEST[:, None]) for row in y[:400]])
    simulated = decompose_predictions(predictions, sample_targets(X_TEST, 400, rng=rng), X_TEST)
    z = simulated.z_scores(exact_decomposition(estimator, X_TRAIN, X_TEST))
    assert max(map(abs, z.values())) < 4.5, z


def test_terms_add_up_to_the_mse():
    found = exact_decomposition(polynomial_regression(6, 0.3), X_TRAIN, X_TEST, noise_variance=0.7)
    assert found.mse == pytest.approx(found.bias_squared + found.variance + 0.7, rel=1e-15)


def test_without_noise_only_the_bias_is_left():
    found = exact_decomposition(polynomial_regression(4), X_TRAIN, X_TEST, noise_variance=0.0)
    assert (found.variance, found.noise) == (0.0, 0.0)
    assert found.mse == found.bias_squared > 0


@given(degree=st.integers(1, 12), n_train=st.integers(14, 40), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_least_squares_spreads_variance_by_the_number_of_coefficients(degree, n_train, seed):
    """On the training inputs S is a projection: the mean variance is noise * (degree + 1) / n."""
    rng = np.random.default_rng(seed)
    x = (np.arange(n_train) + rng.uniform(0.1, 0.9, n_train)) * 10 / n_train
    found = exact_decomposition(polynomial_regression(degree), x, x)
    assert found.variance == pytest.approx(0.3 * (degree + 1) / n_train, rel=1e-8)


@given(
    degree=st.integers(1, 12),
    rates=st.tuples(st.floats(0, 1e3), st.floats(0, 1e3)).filter(lambda r: abs(r[0] - r[1]) > 1e-6 * (r[0] + r[1])),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_penalty_lowers_variance_everywhere_and_raises_bias_on_the_training_inputs(degree, rates, seed):
    x = np.random.default_rng(seed).permutation(np.linspace(0, 10, 50))
    low, high = sorted(rates)
    at_points = [np.sum(smoother_matrix(polynomial_regression(degree, r), x[:40], x) ** 2, axis=1) for r in (low, high)]
    assert np.all(at_points[1] <= at_points[0] * (1 + 1e-10))
    on_train = [exact_decomposition(polynomial_regression(degree, r), x[:40], x[:40]).bias_squared for r in (low, high)]
    assert on_train[1] >= on_train[0] * (1 - 1e-10)


def test_variance_of_nested_models_does_not_fall_with_the_degree():
    variances = [np.sum(smoother_matrix(polynomial_regression(n), X_TRAIN, X_TEST) ** 2, axis=1) for n in range(16)]
    assert np.all(np.diff(variances, axis=0) >= -1e-12)


def test_one_design_is_the_fixed_design():
    model = polynomial_regression(5)
    assert exact_decomposition_over_designs(model, [X_TRAIN], X_TEST) == exact_decomposition(model, X_TRAIN, X_TEST)


def test_designs_follow_the_law_of_total_variance():
    """Against a simulation that draws the design of every data set at random."""
    rng = np.random.default_rng(6)
    designs = rng.uniform(0, 10, (3, 15))
    model = polynomial_regression(3)
    n_datasets = 30_000
    predictions = np.empty((n_datasets, 2))
    x_test, drawn = np.array([2.0, 9.0]), rng.integers(0, 3, n_datasets)
    for k, x in enumerate(designs):
        y = sample_targets(x, int(np.sum(drawn == k)), rng=rng)
        predictions[drawn == k] = np.array([np.polyval(c, x_test) for c in np.polyfit(x, y.T, 3).T])
    simulated = decompose_predictions(predictions, sample_targets(x_test, n_datasets, rng=rng), x_test)
    z = simulated.z_scores(exact_decomposition_over_designs(model, designs, x_test))
    assert max(map(abs, z.values())) < 4.5, z


def test_monte_carlo_standard_errors_have_the_right_size():
    """Over many repetitions the z-scores have mean about zero and standard deviation about one."""
    model = polynomial_regression(7)
    exact = exact_decomposition(model, X_TRAIN, X_TEST)
    rng = np.random.default_rng(7)
    z = np.array(
        [
            list(monte_carlo_decomposition(model, X_TRAIN, X_TEST, 500, rng=rng).z_scores(exact).values())
            for _ in range(300)
        ]
    )
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(300)
    assert np.all((z.std(axis=0) > 0.85) & (z.std(axis=0) < 1.15)), z.std(axis=0)


def test_squared_bias_is_estimated_without_bias_where_it_is_tiny():
    """The plug-in estimate would be too large by variance / R, many times the true value here."""
    model, rng = polynomial_regression(15), np.random.default_rng(8)
    runs = [monte_carlo_decomposition(model, X_TRAIN, X_TEST, 100, rng=rng) for _ in range(1000)]
    estimates = [run.bias_squared for run in runs]
    mean, standard_error = np.mean(estimates), np.std(estimates) / np.sqrt(1000)
    assert abs(mean - exact_decomposition(model, X_TRAIN, X_TEST).bias_squared) < 4 * standard_error
    assert 4 * standard_error < 7.41 / 100
    stated = np.sqrt(np.mean([run.standard_errors.bias_squared**2 for run in runs]))
    assert 0.6 < np.std(estimates) / stated < 1.1  # cautious where the bias is nearly zero


def test_standard_error_of_a_squared_bias_of_zero_comes_from_the_variance_alone():
    x = np.array([1.0, 2.0])
    deviations = np.array([[1.0, 2.0], [-1.0, -2.0], [3.0, 0.0], [-3.0, 0.0]])
    found = decompose_predictions(true_function(x) + deviations, sample_targets(x, 4, rng=np.random.default_rng(0)), x)
    squared_covariance = np.sum(np.cov(deviations.T) ** 2)
    assert found.standard_errors.bias_squared == pytest.approx(np.sqrt(2 * squared_covariance / 16) / 2, rel=1e-12)


def test_sums_of_squares_split_exactly():
    """Unbiased squared bias + variance = plug-in squared bias + variance with divisor R, to rounding."""
    rng = np.random.default_rng(9)
    predictions = rng.normal(size=(30, 4))
    x = np.linspace(0, 10, 4)
    found = decompose_predictions(predictions, sample_targets(x, 30, rng=rng), x)
    direct = np.mean((predictions - true_function(x)) ** 2)
    assert found.bias_squared + found.variance == pytest.approx(direct, rel=1e-12)


def test_monte_carlo_in_chunks_is_monte_carlo(monkeypatch):
    import lib.bias_variance as module

    model = polynomial_regression(2)
    whole = monte_carlo_decomposition(model, X_TRAIN, X_TEST, 1000, rng=np.random.default_rng(10))
    monkeypatch.setattr(module, "_CHUNK", 64)
    parts = monte_carlo_decomposition(model, X_TRAIN, X_TEST, 1000, rng=np.random.default_rng(10))
    assert parts.mse == pytest.approx(whole.mse, rel=1e-9)


def test_column_and_flat_inputs_mean_the_same():
    model = polynomial_regression(4)
    flat = exact_decomposition(model, X_TRAIN, X_TEST)
    assert exact_decomposition(model, X_TRAIN[:, None], X_TEST[:, None]) == flat
    assert exact_decomposition(model, list(X_TRAIN), list(X_TEST)) == flat


BAD_INPUTS = [[], np.nan, [1.0, np.nan], [np.inf, 0.0], np.zeros((3, 2)), np.zeros((2, 2, 2)), ["a", "b"]]


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=repr)
def test_bad_inputs_are_refused_by_name(bad):
    model, rng = polynomial_regression(1), np.random.default_rng(0)
    with pytest.raises(ValueError, match="x_train"):
        exact_decomposition(model, bad, X_TEST)
    with pytest.raises(ValueError, match="x_test"):
        exact_decomposition(model, X_TRAIN, bad)
    with pytest.raises(ValueError, match="x_test"):
        monte_carlo_decomposition(model, X_TRAIN, bad, 10, rng=rng)
    with pytest.raises(ValueError, match=r"^x (must|has|is|holds)"):
        sample_targets(bad, 2, rng=rng)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: polynomial_regression(-1), ValueError, "degree must be at least 0, got -1"),
        (lambda: polynomial_regression(2.5), TypeError, "degree must be an integer"),
        (lambda: polynomial_regression(True), TypeError, "degree must be an integer"),
        (lambda: polynomial_regression(2, ridge=-0.1), ValueError, "ridge must be finite and not negative"),
        (lambda: polynomial_regression(2, ridge=np.inf), ValueError, "ridge must be finite"),
        (lambda: polynomial_regression(2, ridge=np.nan), ValueError, "ridge must be finite"),
        (lambda: polynomial_regression(2, ridge="1"), TypeError, "ridge must be a number"),
        (lambda: ChebyshevFeatures(0).fit([[1.0]]), ValueError, "degree must be at least 1"),
        (
            lambda: exact_decomposition(polynomial_regression(1), X_TRAIN, X_TEST, noise_variance=-1),
            ValueError,
            "noise_variance must be finite and not negative",
        ),
        (
            lambda: exact_decomposition_over_designs(polynomial_regression(1), [], X_TEST),
            ValueError,
            "x_trains is empty",
        ),
        (lambda: sample_targets(X, 0, rng=np.random.default_rng(0)), ValueError, "n_datasets must be at least 1"),
        (
            lambda: monte_carlo_decomposition(
                polynomial_regression(1), X_TRAIN, X_TEST, 1, rng=np.random.default_rng(0)
            ),
            ValueError,
            "n_datasets must be at least 2",
        ),
        (lambda: decompose_predictions(np.zeros((5, 2)), np.zeros((5, 3)), [0, 1]), ValueError, "test_targets has"),
        (lambda: decompose_predictions(np.zeros((5, 3)), np.zeros((5, 3)), [0, 1]), ValueError, "predictions has"),
        (lambda: decompose_predictions(np.zeros((5, 2)), np.zeros((4, 2)), [0, 1]), ValueError, "test_targets has"),
        (lambda: decompose_predictions(np.full((5, 2), np.nan), np.zeros((5, 2)), [0, 1]), ValueError, "predictions"),
        (lambda: smoother_matrix(LinearRegression(), np.zeros((4, 2)), [1.0]), ValueError, "2 features and x_test"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
