"""Rules about learning rates: the ramp, the bounds, schedules, and means over bins of samples."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, MultiStepLR

from lib.learning_rates import (
    candidate_losses,
    learning_rate_ramp,
    mean_by_samples,
    scheduled_learning_rates,
    select_bounds,
)
from tests.small_trainings import convolutional, images, linear, one_thread, same_weights, short  # noqa: F401


def test_ramp_rises_by_equal_ratios_or_equal_steps() -> None:
    ramp = partial(learning_rate_ramp, linear(), images(40), lr_start=1e-5, lr_end=1.0, iterations=11, batch_size=8)
    for history, expected in ((ramp(), np.geomspace(1e-5, 1, 11)), (ramp(spacing="linear"), np.linspace(1e-5, 1, 11))):
        np.testing.assert_allclose(history["learning_rate"], expected, rtol=1e-9)
        assert list(history.columns) == ["iteration", "learning_rate", "train_loss", "train_accuracy"]


def test_ramp_leaves_the_model_as_it_was() -> None:
    model, untouched = convolutional().eval(), convolutional()
    history = learning_rate_ramp(model, images(40), lr_start=0.01, lr_end=1.0, iterations=20, batch_size=8)
    assert history["train_loss"].nunique() > 10  # it did train
    assert same_weights(model, untouched)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_ramp_ends_where_the_loss_diverges() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Linear(36, 4))
    history = learning_rate_ramp(model, images(40), lr_start=0.01, lr_end=1e35, iterations=40, batch_size=8)
    assert len(history) < 40
    assert not math.isfinite(history["train_loss"].iloc[-1])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr_start": 0}, "lr_start"),
        ({"lr_end": 1e-9}, "lr_end"),
        ({"lr_end": math.inf}, "lr_end"),
        ({"iterations": 1}, "iterations"),
        ({"iterations": 2.5}, "iterations"),
        ({"batch_size": 0}, "batch_size must"),
        ({"spacing": "cubic"}, "spacing"),
    ],
)
def test_senseless_ramps_are_refused_by_name(change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        learning_rate_ramp(linear(), images(40), **({"lr_start": 1e-5, "lr_end": 1.0, "iterations": 5} | change))


RATES = np.logspace(-9, 1, 10)


NAN, INF = math.nan, math.inf


def curve(*losses: float) -> pd.DataFrame:
    return pd.DataFrame({"learning_rate": RATES[: len(losses)], "train_loss": losses})


@pytest.mark.parametrize(
    ("losses", "lowest", "highest"),
    [
        pytest.param((2.3, 2.3, 2.3, 2.3, 1.8, 1.0, 0.5, 0.3, 0.25, NAN), 4, 8, id="flat start, divergence at the end"),
        pytest.param((2.3, 2.3, 2.3, 2.3, 1.8, 1.0, 0.5, 0.3, INF, INF), 4, 7, id="infinite losses"),
        pytest.param((2.3, 2.3, 2.3, 2.3, 1.8, 1.0, 0.5, 0.3, 0.9, 4.0), 4, 7, id="smooth minimum"),
        pytest.param((2.3, 2.3, 2.3, 1.9, 1.2, 0.7, 1.6, 0.4, 2.2, NAN), 3, 5, id="ragged: rises, then falls lower"),
        pytest.param((2.3, 2.31, 2.29, 2.3, 2.31, 1.5, 0.9, 0.4, 2.0, NAN), 5, 7, id="noisy flat start"),
        pytest.param((2.3, 2.0, 1.7, 1.4, 1.1, 0.8, 0.6, 0.5, 0.4, 0.3), 1, 9, id="falls all the way"),
        pytest.param((2.3, 2.3, 2.3, 2.3, 1.8, 1.0, 0.30, 0.31, 2.5, NAN), 4, 7, id="noise at the bottom"),
        pytest.param((2.3, 2.3, 2.3, 1.0, NAN, 0.5, 0.4, 0.3, 0.2, 0.1), None, None, id="only one trains"),
        pytest.param((2.3, 2.5, 2.6, 1.0, 0.6, 0.5, 0.4, 0.9, 1.2, 3.0), 3, 6, id="rises before it falls"),
    ],
)
def test_bounds_of_synthetic_curves(losses: tuple[float, ...], lowest: int | None, highest: int | None) -> None:
    if lowest is None:
        with pytest.raises(ValueError, match=r"only 2\.15443e-06 trains"):
            select_bounds(curve(*losses))
    else:
        assert select_bounds(curve(*losses)) == (RATES[lowest], RATES[highest])


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ((2.3,) * 10, "never falls"),
        ((2.30, 2.31, 2.29, 2.30, 2.31, 2.28, 2.30, 2.29, 2.31, 2.30), "never falls"),
        ((2.3, 2.3, 2.3, 2.3, 2.4, 2.9, 4.0, 9.0, NAN, NAN), "never falls"),
        ((0.0,) * 10, "never falls by more than 10 %"),
        ((2.30, 2.30, 2.25, 2.20, 2.15, 2.10, 2.20, 2.40, NAN, NAN), "never falls by more than 10 %"),
        ((NAN,) * 10, "not finite"),
        ((2.3, 1.0), "at least 3"),
    ],
)
def test_curves_without_bounds_are_refused_with_the_reason(losses: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_bounds(curve(*losses))


def test_history_without_the_columns_and_senseless_tolerance_are_refused() -> None:
    with pytest.raises(ValueError, match="lacks the column train_loss"):
        select_bounds(pd.DataFrame({"learning_rate": RATES}))
    for rate in (-1.0, 0.0, NAN):
        with pytest.raises(ValueError, match="not positive"):
            select_bounds(pd.DataFrame({"learning_rate": [rate, 0.1, 0.2, 0.3], "train_loss": [2.3, 2.3, 1.0, 0.5]}))
    with pytest.raises(ValueError, match="tolerance"):
        select_bounds(curve(2.3, 1.0, 0.5), tolerance=1.5)


losses_that_fall = st.lists(st.floats(0.01, 2.0), min_size=3, max_size=8).map(lambda rest: (2.3, 2.3, *rest))


def bounds_or_reason(history: pd.DataFrame) -> tuple | str:
    try:
        return tuple(select_bounds(history))
    except ValueError as error:
        return str(error).split(":")[0][:15]


@settings(max_examples=200)
@given(losses=losses_that_fall, factor=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_bounds_do_not_depend_on_the_unit_of_the_loss_or_the_order_of_rows(
    losses: tuple, factor: float, seed: int
) -> None:
    history = curve(*losses)
    falls = pd.Series(losses)
    margins = np.abs(np.subtract.outer(falls.to_numpy(), falls.to_numpy())) - 0.05 * (2.3 - falls.min())
    if np.abs(margins).min() < 1e-9:  # a difference exactly at the tolerance may round either way
        return
    expected = bounds_or_reason(history)
    assert bounds_or_reason(history.sample(frac=1, random_state=seed)) == expected
    assert bounds_or_reason(history.assign(train_loss=history["train_loss"] * factor)) == expected


@settings(max_examples=200)
@given(losses=losses_that_fall)
def test_bounds_keep_their_promises(losses: tuple) -> None:
    try:
        low, high = (int(np.argmin(np.abs(RATES - rate))) for rate in select_bounds(curve(*losses)))
    except ValueError:
        return
    noise = 0.05 * (losses[0] - min(losses))
    assert low < high
    assert all(loss >= losses[0] - noise for loss in losses[:low]) and losses[low] < losses[0] - noise
    for later in range(low + 1, high + 1):
        assert losses[later] <= min(losses[:later]) + noise
    assert high + 1 == len(losses) or losses[high + 1] > min(losses[: high + 1]) + noise


def test_joined_histories_give_the_bounds_of_the_last_epochs_mean() -> None:
    rows = [
        (rate, epoch, loss + offset)
        for (rate, loss), (epoch, offset) in itertools.product(
            zip(RATES, (2.3, 2.3, 2.2, 1.9, 1.0, 0.5, 0.4, 0.3, 0.9, 3.0), strict=True),
            [(0.5, 9.0), (1.0, 5.0), (1.5, 0.1), (2.0, -0.1)],
        )
    ]
    history = pd.DataFrame(rows, columns=["learning_rate", "epoch", "train_loss"])
    np.testing.assert_allclose(candidate_losses(history).iloc[[0, 4, 9]], [2.3, 1.0, 3.0])
    assert select_bounds(history) == (RATES[3], RATES[7])


def test_candidate_that_ends_non_finite_counts_as_diverged() -> None:
    history = pd.DataFrame({"learning_rate": [0.1] * 3, "epoch": [1, 2, 3], "train_loss": [2.0, 1.0, NAN]})
    assert candidate_losses(history).tolist() == [INF]


def test_scheduled_learning_rates_are_those_that_training_records() -> None:
    cycle = partial(CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3, cycle_momentum=False)
    halving = partial(MultiStepLR, milestones=[2, 5], gamma=0.5)
    for scheduler in (None, cycle, halving):
        history = short(linear(), images(64), batch_sizes=[8] * 10, learning_rate=0.3, schedule=scheduler).history
        rates = scheduled_learning_rates(10, scheduler, learning_rate=0.3)
        assert rates.tolist() == history["learning_rate"].tolist()
    with pytest.raises(ValueError, match="iterations must be a whole number of at least 1, got 0"):
        scheduled_learning_rates(0)


def test_means_by_samples_weigh_every_sample_alike() -> None:
    sizes = np.array([4, 8, 8, 16, 2, 2])
    history = pd.DataFrame({"samples_seen": sizes.cumsum(), "train_loss": [5.0, 4.0, 3.5, 3.0, math.nan, 1.0]})
    means = mean_by_samples(history, [12, 20, 30, 38, 40])
    per_sample = np.repeat(history["train_loss"], sizes).to_numpy()
    # no row ends between 20 and 30: what lasts from 20 to 36 counts to the next bin, and NaN to none
    assert means.index.tolist() == [12, 20, 38, 40]
    expected = [per_sample[:12].mean(), 3.5, 3.0, 1.0]
    np.testing.assert_allclose(means, expected)
    early = mean_by_samples(history, [12])  # what comes later is left out
    assert early.to_dict() == {12: means[12]}
    assert mean_by_samples(history.assign(x=1.0), [40], "x").tolist() == [1.0]


@pytest.mark.parametrize(
    ("ends", "column", "named"),
    [
        ([], "train_loss", "ends"),
        ([20, 10], "train_loss", "ends"),
        ([10, 10], "train_loss", "ends"),
        ([10, np.nan], "train_loss", "ends"),
        ([10], "y", "column"),
    ],
)
def test_means_by_samples_over_nonsense_are_refused(ends: list[int], column: str, named: str) -> None:
    history = pd.DataFrame({"samples_seen": [4, 8], "train_loss": [5.0, 4.0]})
    with pytest.raises(ValueError, match=named):
        mean_by_samples(history, ends, column)


def test_means_over_rows_that_are_not_one_run_in_order_are_refused() -> None:
    history = pd.DataFrame({"samples_seen": [10, 20, 50], "train_loss": [3.0, 2.0, 1.0]})
    for rows in (pd.concat([history, history]), history[::-1]):
        with pytest.raises(ValueError, match="samples_seen in history must rise"):
            mean_by_samples(rows, [20, 50])


def test_rates_in_half_precision_are_computed_with_as_pythons() -> None:
    half, schedule = np.float16(0.1), {"name": "ExponentialLR", "gamma": 0.999}
    rates = scheduled_learning_rates(300, schedule, learning_rate=half)
    assert rates.tolist() == scheduled_learning_rates(300, schedule, learning_rate=float(half)).tolist()


def test_infinite_rate_is_no_bound() -> None:
    history = pd.DataFrame({"learning_rate": [1e-3, 1e-2, np.inf], "train_loss": [2.0, 1.0, 0.5]})
    with pytest.raises(ValueError, match="not positive numbers"):
        select_bounds(history)
