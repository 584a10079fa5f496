"""The bias-variance decomposition: closed forms against brute force, laws, and values computed with 80 digits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import BaggingRegressor, GradientBoostingRegressor
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    BayesianRidge,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeCV,
    TweedieRegressor,
)
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneOut
from sklearn.multioutput import RegressorChain
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
    equally_spaced_split,
    exact_decomposition,
    exact_decomposition_over_designs,
    monte_carlo_decomposition,
    pointwise_terms,
    polynomial_regression,
    polynomial_smoothers,
    sample_targets,
    smoother_matrix,
    true_function,
    uniform_designs,
)

X = np.random.RandomState(0).permutation(np.linspace(0, 10, 50))  # as published solution A draws it
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
NOT_LINEAR = [Lasso(0.5), DecisionTreeRegressor(max_depth=3), SVR()]


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


RIDGE = make_pipeline(ChebyshevFeatures(5), Ridge())
LEAST_SQUARES = make_pipeline(ChebyshevFeatures(), LinearRegression())


def searched(model, parameter: str, *values, **options) -> GridSearchCV:
    return GridSearchCV(model, {parameter: values}, **options)


TUNED = {
    "search, far apart": searched(RIDGE, "ridge__alpha", 0.01, 1000.0),
    "search, near": searched(RIDGE, "ridge__alpha", 0.1, 0.11),
    "search, leave-one-out": searched(
        RIDGE, "ridge__alpha", 0.01, 1000.0, cv=LeaveOneOut(), scoring="neg_mean_squared_error"
    ),
    "degree 7 or 8": searched(LEAST_SQUARES, "chebyshevfeatures__degree", 7, 8),
    "degree 2 or 3": searched(LEAST_SQUARES, "chebyshevfeatures__degree", 2, 3, cv=KFold(5)),
    "neighbours": searched(KNeighborsRegressor(), "n_neighbors", 2, 3),
    "RidgeCV": make_pipeline(ChebyshevFeatures(8), RidgeCV([1, 1.5])),
    "LassoCV": make_pipeline(ChebyshevFeatures(8), LassoCV()),
    "evidence": make_pipeline(ChebyshevFeatures(8), BayesianRidge()),
    "likelihood": GaussianProcessRegressor(RBF() + WhiteKernel()),
    "selected features": make_pipeline(ChebyshevFeatures(8), SelectKBest(f_regression, k=7), LinearRegression()),
    "transformed target": TransformedTargetRegressor(LinearRegression(), func=np.arcsinh, inverse_func=np.sinh),
    "target that cannot be transformed": TransformedTargetRegressor(
        LinearRegression(), func=np.log, inverse_func=np.exp
    ),
    "early stopping": GradientBoostingRegressor(n_iter_no_change=3, random_state=0),
    "randomised": BaggingRegressor(LinearRegression()),
}


@pytest.mark.filterwarnings(  # what these say of the trial targets; they are refused all the same
    "error",
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:divide by zero encountered in log:RuntimeWarning",
)
@pytest.mark.parametrize("kind", TUNED)
def test_what_tunes_itself_by_looking_at_the_targets_is_no_linear_smoother(kind):
    x_train, x_test = np.linspace(0, 10, 20), np.linspace(0.3, 9.7, 7)
    with pytest.raises(ValueError, match=f"(?s)^estimator {type(TUNED[kind]).__name__}.* has no smoother matrix"):
        exact_decomposition(TUNED[kind], x_train, x_test)


class TunedByOneTarget(LinearRegression):
    """Least squares, but nothing at all if the first target lies where none of the probes has it."""

    def predict(self, X):
        return self.scale_ * super().predict(X)

    def fit(self, X, y):
        self.scale_ = np.ndim(y) == 2 or not 0.2 < y[0] < 0.35
        return super().fit(X, y)


def test_monte_carlo_refits_what_the_probes_let_pass():
    x = np.concatenate([[0.0], X_TRAIN])
    smoother_matrix(TunedByOneTarget(), x, X_TEST)
    with pytest.raises(ValueError, match="not linear in the targets"):
        monte_carlo_decomposition(TunedByOneTarget(), x, X_TEST, 100, rng=0)


class InFloat32(LinearRegression):
    def predict(self, X):
        return super().predict(X).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16, np.uint16])
def test_sums_are_float64_whatever_the_type_of_the_inputs(dtype):
    x = np.arange(300).astype(dtype)
    narrow, wide = (exact_decomposition(LinearRegression(), at, at[:5]) for at in (x, x.astype(float)))
    assert narrow == wide
    same = np.full((5000, 1), 100, dtype)
    assert decompose_predictions(same, same, x[:1]).bias_squared == 10_000  # in float16 the sum is infinite


ILL_CONDITIONED = {
    "too few inputs": (8, np.linspace(0, 10, 5)),
    "equal inputs": (2, np.repeat([0.0, 10.0], 10)),
    "a cluster and one far away": (8, np.r_[np.linspace(0, 1e-3, 10), 10]),
    "as many coefficients as random inputs": (39, np.random.default_rng(0).uniform(0, 10, 40)),
}


@pytest.mark.parametrize("kind", ILL_CONDITIONED)
def test_polynomials_that_the_inputs_do_not_determine_are_refused(kind):
    """LinearRegression fits a simpler model then: its coefficients were 38 of 39 in the last case."""
    degree, x = ILL_CONDITIONED[kind]
    with pytest.raises(ValueError, match=r"training inputs determine \d+ of \d+ coefficients: lower the degree"):
        exact_decomposition(polynomial_regression(degree), x, [5.0])
    with pytest.raises(ValueError, match=r"x_train (determines no polynomial|has \d+)"):
        polynomial_smoothers(degree, x, [5.0])


@pytest.mark.parametrize("degree", [8, 9, 10])
def test_two_inputs_next_to_each_other_do_no_harm(degree):
    """The trace of a projection is its rank."""
    x = np.r_[np.linspace(0, 10, 10), 5 + 1e-13]
    assert np.trace(polynomial_smoothers(degree, x, x)[degree]) == pytest.approx(degree + 1, rel=1e-12)
    assert exact_decomposition(polynomial_regression(degree), x, x).variance == pytest.approx(0.3 * (degree + 1) / 11)


@pytest.mark.parametrize("estimator", [DummyRegressor(strategy="constant", constant=1.0), RegressorChain(Ridge())])
def test_every_error_of_an_estimator_is_told_by_its_name(estimator):
    with pytest.raises(ValueError, match=f"^estimator {type(estimator).__name__}"):
        smoother_matrix(estimator, X_TRAIN, X_TEST)


def test_matrix_of_an_estimator_that_predicts_in_float32_is_float64():
    assert smoother_matrix(InFloat32(), X_TRAIN, X_TEST).dtype == np.float64


def test_an_estimators_own_refusal_names_what_the_caller_named():
    with pytest.raises(ValueError, match=r"^estimator KNeighborsRegressor\(n_neighbors=50\) .*n_neighbors <= n_sam"):
        smoother_matrix(KNeighborsRegressor(50), X_TRAIN, X_TEST)
    with pytest.raises(ValueError, match=r"^estimator LogisticRegression\(\) .*at least 2 classes"):
        smoother_matrix(LogisticRegression(), X_TRAIN, X_TEST)


def test_a_seed_is_as_good_as_its_generator():
    assert_array_equal(sample_targets(X, 2, rng=3), sample_targets(X, 2, rng=np.random.default_rng(3)))
    runs = [monte_carlo_decomposition(polynomial_regression(2), X, X, 5, rng=r) for r in (3, np.random.default_rng(3))]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("degree", [0, 1, 8, 15])
def test_all_degrees_at_once_are_the_matrices_one_by_one(degree):
    together = polynomial_smoothers(15, X_TRAIN, X_TEST)
    assert together.shape == (16, 10, 40)
    np.testing.assert_allclose(together[degree], brute_force_smoother(degree, X_TRAIN, X_TEST), atol=1e-6)
    np.testing.assert_allclose(polynomial_smoothers(degree, X_TRAIN, X_TEST), together[: degree + 1], atol=1e-10)


def test_all_degrees_at_once_interpolate_where_there_are_as_many_points_as_coefficients():
    S = polynomial_smoothers(3, [0.0, 1.0, 3.0, 4.0], [0.0, 1.0, 3.0, 4.0])
    np.testing.assert_allclose(S[3], np.eye(4), atol=1e-12)


@pytest.mark.parametrize("degree", REFERENCE)
def test_exact_decomposition_agrees_with_80_digit_arithmetic(degree):
    found = exact_decomposition(polynomial_regression(degree), X_TRAIN, X_TEST)
    bias_squared, variance, mse = REFERENCE[degree]
    assert found.bias_squared == pytest.approx(bias_squared, abs=5e-7 if degree < 15 else 5e-9)
    assert found.variance == pytest.approx(variance, abs=5.1e-7)
    assert found.mse == pytest.approx(mse, abs=5.1e-7)
    assert found.noise == 0.3


@pytest.mark.parametrize("degree", [1, 5, 8, 11, 15])
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


def test_the_inputs_are_those_of_the_two_schemes():
    assert_array_equal(np.concatenate(equally_spaced_split()), X)
    x_trains, x_test = uniform_designs(7, rng=4)
    assert (x_trains.shape, x_test.shape) == ((7, 40), (10,))
    assert not np.isin(x_trains, x_test).any()
    assert_array_equal(x_test, np.random.default_rng(4).uniform(0, 10, 10))  # the test points are drawn first


def test_means_of_the_pointwise_terms_are_the_exact_decomposition():
    terms = pointwise_terms(polynomial_smoothers(6, X_TRAIN, X_TEST), X_TRAIN, X_TEST)
    for degree in (0, 3, 6):
        exact = exact_decomposition(polynomial_regression(degree), X_TRAIN, X_TEST)
        assert [term[degree].mean() for term in terms] == pytest.approx([exact.bias_squared, exact.variance], rel=1e-9)


def test_terms_add_up_to_the_mse():
    found = exact_decomposition(polynomial_regression(6, 0.3), X_TRAIN, X_TEST, noise_variance=0.7)
    assert found.mse == pytest.approx(found.bias_squared + found.variance + 0.7, rel=1e-15)


def test_without_noise_only_the_bias_is_left():
    found = exact_decomposition(polynomial_regression(4), X_TRAIN, X_TEST, noise_variance=0.0)
    assert (found.variance, found.noise) == (0.0, 0.0)
    assert found.mse == found.bias_squared > 0


@given(degree=st.integers(1, 12), n_train=st.integers(14, 40), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
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
@settings(max_examples=25)
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


def simulate(S: np.ndarray, n_datasets: int, rng: np.random.Generator):
    """What monte_carlo_decomposition does once S is known and tried."""
    y_train, y_test = (sample_targets(x, n_datasets, rng=rng) for x in (X_TRAIN, X_TEST))
    return decompose_predictions(y_train @ S.T, y_test, X_TEST)


def test_choice_that_the_first_design_leaves_no_room_for_is_found_at_another():
    ridge = make_pipeline(ChebyshevFeatures(3), RidgeCV([0.01, 1000.0]))
    with pytest.raises(ValueError, match="not linear in the targets"):
        exact_decomposition_over_designs(ridge, [np.zeros(20), X_TRAIN], X_TEST)


def test_monte_carlo_is_one_simulation_with_the_smoother_matrix():
    model = polynomial_regression(3)
    S = smoother_matrix(model, X_TRAIN, X_TEST)
    assert monte_carlo_decomposition(model, X_TRAIN, X_TEST, 50, rng=1) == simulate(S, 50, np.random.default_rng(1))


def test_monte_carlo_standard_errors_have_the_right_size():
    """Over many repetitions the z-scores have mean about zero and standard deviation about one."""
    exact, S = (
        exact_decomposition(polynomial_regression(7), X_TRAIN, X_TEST),
        polynomial_smoothers(7, X_TRAIN, X_TEST)[7],
    )
    rng = np.random.default_rng(7)
    runs = [simulate(S, 500, rng) for _ in range(300)]
    z = np.array([list(run.z_scores(exact).values()) for run in runs])
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(300)
    assert np.all((z.std(axis=0) > 0.85) & (z.std(axis=0) < 1.15)), z.std(axis=0)


def test_squared_bias_is_estimated_without_bias_where_it_is_tiny():
    """The plug-in estimate would be too large by variance / R, many times the true value here."""
    model, rng = polynomial_regression(15), np.random.default_rng(8)
    S = polynomial_smoothers(15, X_TRAIN, X_TEST)[15]
    runs = [simulate(S, 100, rng) for _ in range(1000)]
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


def test_column_and_flat_inputs_mean_the_same():
    model = polynomial_regression(4)
    flat = exact_decomposition(model, X_TRAIN, X_TEST)
    assert exact_decomposition(model, X_TRAIN[:, None], X_TEST[:, None]) == flat
    assert exact_decomposition(model, list(X_TRAIN), list(X_TEST)) == flat


@pytest.mark.parametrize(
    "bad",
    [
        [],
        np.nan,
        [1.0, np.nan],
        [np.inf, 0.0],
        np.zeros((3, 2)),
        ["a", "b"],
        np.array([1j, 2]),
        np.array(["2001-04-03"], "M8[D]"),
        [None, 1.0],
        np.ma.masked_less([1.0, 2.0], 2),
    ],
    ids=repr,
)
def test_bad_inputs_are_refused_by_name(bad):
    model = polynomial_regression(1)
    with pytest.raises(ValueError, match="x_train"):
        exact_decomposition(model, bad, X_TEST)
    with pytest.raises(ValueError, match="x_test"):
        exact_decomposition(model, X_TRAIN, bad)
    with pytest.raises(ValueError, match="x_test"):
        monte_carlo_decomposition(model, X_TRAIN, bad, 10, rng=0)
    with pytest.raises(ValueError, match=r"^x (must|has|holds)"):
        sample_targets(bad, 2, rng=0)
    if np.ndim(bad) < 2 and np.size(bad):
        with pytest.raises(ValueError, match=r"^x (must|has|holds)"):
            true_function(bad)
        with pytest.raises(ValueError, match=r"^smoothers (must|has|holds)"):
            pointwise_terms([bad], [1.0, 2.0], [1.0])


def test_masked_rows_of_a_list_are_refused():
    rows = [np.ma.masked_equal([1.0, 9.0], 9.0), [1.0, 2.0]]
    with pytest.raises(ValueError, match="predictions has masked values"):
        decompose_predictions(rows, np.eye(2), [0, 1])


def test_huge_inputs_do_not_overflow():
    x = np.array([1.0, 1.2, 1.5, 1.7])
    expected = polynomial_smoothers(2, x, x)
    np.testing.assert_allclose(polynomial_smoothers(2, 1e308 * x, 1e308 * x), expected, atol=1e-9)
    np.testing.assert_allclose(polynomial_smoothers(2, 1e-310 * x, 1e-310 * x), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: polynomial_regression(-1), "degree must be a whole number of at least 0, got -1"),
        (lambda: polynomial_regression(2.5), "degree must be a whole number"),
        (lambda: polynomial_regression(2, ridge=-0.1), "ridge must be a finite number of at least 0"),
        (lambda: polynomial_regression(2, ridge=np.nan), "ridge must be a finite number"),
        (lambda: ChebyshevFeatures(0).fit([[1.0]]), "degree must be a whole number of at least 1"),
        (lambda: exact_decomposition(polynomial_regression(1), X_TRAIN, X_TEST, -1), "noise_variance must be a finite"),
        (lambda: exact_decomposition_over_designs(polynomial_regression(1), [], X_TEST), "x_trains is empty"),
        (lambda: sample_targets(X, 0, rng=0), "n_datasets must be a whole number of at least 1"),
        (lambda: sample_targets(X, 2, rng=None), "rng must be a numpy.random.Generator or a whole number as its seed"),
        (lambda: monte_carlo_decomposition(polynomial_regression(1), X, X, 1, rng=0), "n_datasets must .* at least 2"),
        (lambda: decompose_predictions(np.zeros((5, 2)), np.zeros((5, 3)), [0, 1]), "test_targets has"),
        (lambda: decompose_predictions(np.zeros((5, 3)), np.zeros((5, 3)), [0, 1]), "predictions has"),
        (lambda: decompose_predictions(np.full((5, 2), np.nan), np.zeros((5, 2)), [0, 1]), "predictions"),
        (lambda: decompose_predictions(np.ma.masked_less(np.eye(2), 1), np.eye(2), [0, 1]), "predictions has masked"),
        (lambda: pointwise_terms(np.eye(3), [0, 1, 2], [1.0]), r"smoothers has shape \(3, 3\), expected \(..., 1, 3\)"),
        (lambda: smoother_matrix(LinearRegression(), np.zeros((4, 2)), [1.0]), "2 features and x_test"),
        (lambda: polynomial_smoothers(2, [0.0, 1.0, 1.0, 0.0], [1.0]), "needs 3 different training inputs"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
