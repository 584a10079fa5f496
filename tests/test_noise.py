"""The noise of SGD: its scale by listing all batches, one direction by its fixed point and by chance itself."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from lib.noise import mean_squares, noise_scale


def test_noise_scale_is_the_variance_of_a_batch_mean_per_unit_of_time():
    gradients = np.random.default_rng(0).normal(size=8)
    for batch_size in range(1, 9):
        means = [np.mean(batch) for batch in combinations(gradients, batch_size)]  # all batches, none left to chance
        per_step = 0.1**2 * np.var(means)
        in_a_unit_of_time = per_step / 0.1
        assert in_a_unit_of_time == pytest.approx(noise_scale(0.1, batch_size, 8) * np.var(gradients, ddof=1) / 8)


def test_momentum_makes_every_gradient_count_several_times():
    assert noise_scale(0.1, 32, 3200, momentum=0.9) == pytest.approx(99)


@pytest.mark.parametrize("arguments", [(0.1, 101, 100), (0.1, 0, 100)])
def test_batches_that_cannot_be_drawn_are_refused(arguments):
    with pytest.raises(ValueError, match="batch_size must lie between 1 and n_images = 100"):
        noise_scale(*arguments)


@pytest.mark.parametrize("momentum", [1.0, -0.1])
def test_impossible_momentum_is_refused(momentum):
    with pytest.raises(ValueError, match="momentum must be"):
        noise_scale(0.1, 10, 100, momentum=momentum)


def test_mean_square_tends_to_the_stationary_one():
    step, batch, n = np.array([0.05, 0.5, 1.5]), 10, 100
    limit = step / (2 - step) * (1 / batch - 1 / n)  # in units of (s / h)^2
    for start in (0.0, 3.0):
        last = mean_squares(np.tile(step, (400, 1)), [batch] * 400, n, start=start)[-1]
        assert last == pytest.approx(limit, rel=1e-6)


def test_mean_squares_are_those_of_simulated_trainings():
    rng, n, repeats, h = np.random.default_rng(1), 6, 100_000, 2.0
    noise = rng.normal(size=n)
    noise -= noise.mean()
    s = noise.std(ddof=1)
    batch_sizes, rates = [1, 2, 5, 3], [0.2, 0.1, 0.6, 0.3]
    w, seen = np.full(repeats, 1.5), []
    for batch_size, rate in zip(batch_sizes, rates, strict=True):
        seen.append(np.mean(w**2))
        drawn = rng.permuted(np.tile(noise, (repeats, 1)), axis=1)[:, :batch_size]  # without replacement
        w = w - rate * (h * w + drawn.mean(axis=1))
    exact = mean_squares(np.array(rates) * h, batch_sizes, n, start=(1.5 * h / s) ** 2) * (s / h) ** 2
    assert seen == pytest.approx(exact, rel=0.01)


def test_the_first_value_is_the_start_before_any_step():
    assert mean_squares(np.array([0.3]), [1], 10, start=7.0) == [7.0]


@pytest.mark.parametrize("batch_sizes", [[1, 2], [0], [11]])
def test_batches_that_do_not_fit_the_steps_are_refused(batch_sizes):
    with pytest.raises(ValueError, match="one size from 1 to 10 for each of the 1 steps"):
        mean_squares(np.array([0.1]), batch_sizes, 10)
