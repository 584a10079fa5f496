"""Stability of stale gradient descent: bounds against roots, radii, and runs over all orders."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import brentq

from lib.stability import (
    constant_staleness_bound,
    exponential_learners_bound,
    largest_root,
    moment_map,
    moment_radius,
)
from lib.staleness import run_sgd, update_log


@pytest.mark.parametrize("staleness", [0, 1, 2, 7, 31])
def test_the_bound_of_constant_staleness_is_where_a_root_reaches_the_circle(staleness):
    bound = constant_staleness_bound(staleness)
    found = brentq(lambda c: largest_root(staleness, c) - 1, 0.5 * bound, 1.5 * bound)
    assert found == pytest.approx(bound, rel=1e-6)


def test_bounds_that_can_be_worked_out_by_hand():
    np.testing.assert_allclose(constant_staleness_bound([0, 1]), [2, 1])
    np.testing.assert_allclose(exponential_learners_bound([3, 6]), [1, 2 / 3])  # sqrt(25) = 5, sqrt(49) = 7


@pytest.mark.parametrize("n_learners", [2, 3, 16, 64])
def test_the_bound_of_exponential_learners_is_where_the_radius_reaches_one(n_learners):
    bound = exponential_learners_bound(n_learners)
    found = brentq(lambda c: moment_radius(n_learners, c) - 1, 0.5 * bound, 1.5 * bound)
    assert found == pytest.approx(bound, rel=1e-6)


def test_the_moments_are_means_over_all_orders_of_updates():
    squares = []
    for order in product(range(3), repeat=6):
        log = update_log([[t for t, who in enumerate(order) if who == own] for own in range(3)])
        squares.append(run_sgd(log, lambda w, rows: w, 1.0, learning_rate=0.9) ** 2)
    moments = [np.linalg.matrix_power(moment_map(3, 0.9), v) @ np.ones(4) for v in range(7)]
    np.testing.assert_allclose(np.mean(squares, axis=0), np.array(moments)[:, 0], rtol=1e-12)
