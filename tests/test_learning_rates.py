"""Rules about learning rates: the ramp, what finders suggest, the bounds, schedules, the noise scale."""

from __future__ import annotations

import itertools
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, MultiStepLR
from torch_lr_finder import LRFinder

from lib import learning_rates
from lib.learning_rates import (
    candidate_losses,
    learning_rate_ramp,
    mean_by_samples,
    scheduled_learning_rates,
    select_bounds,
    suggest_learning_rates,
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


def synthetic_ramp(losses: np.ndarray, lr_start: float = 1e-7, lr_end: float = 10.0) -> pd.DataFrame:
    return pd.DataFrame({"learning_rate": np.geomspace(lr_start, lr_end, len(losses)), "train_loss": losses})


def noisy_valley(seed: int, n: int = 100) -> np.ndarray:
    """Flat, falling, rising steeply, with noise."""
    x = np.linspace(0, 1, n)
    rng = np.random.default_rng(seed)
    fall = 1.8 / (1 + np.exp(-25 * (x - rng.uniform(0.4, 0.7))))
    return 2.3 - fall + np.exp(30 * (x - rng.uniform(0.85, 1))) + rng.normal(0, 0.05, n)


@pytest.mark.parametrize("seed", range(5))
def test_steepest_is_what_pytorch_lr_finder_itself_suggests(
    seed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    ramp = synthetic_ramp(noisy_valley(seed))
    losses = iter(ramp["train_loss"])
    model = nn.Linear(1, 1)
    finder = LRFinder(
        model,
        torch.optim.SGD(model.parameters(), 1e-7),
        lambda scores, _: 0 * scores.sum() + next(losses),
        device="cpu",
    )
    monkeypatch.setattr("torch_lr_finder.lr_finder.tqdm", lambda steps, **_: steps)
    batches = torch.utils.data.DataLoader([(torch.zeros(1), 0)] * 100)
    finder.range_test(batches, end_lr=10, num_iter=100)
    _, suggested = finder.plot(ax=SimpleNamespace(**dict.fromkeys(PLOTTED, lambda *_, **__: None)))
    assert suggest_learning_rates(ramp)["pytorch-lr-finder, steepest"] == pytest.approx(suggested, rel=0.03)
    capsys.readouterr()


PLOTTED = ("plot", "scatter", "legend", "set_xscale", "set_xlabel", "set_ylabel")


def test_rules_of_fastai_on_a_slow_rise_a_fall_and_a_rise() -> None:
    losses = np.concatenate([np.linspace(2.9, 3, 30), np.linspace(3, 1, 41)[1:], np.linspace(1, 2.5, 31)[1:]])
    ramp = synthetic_ramp(losses)
    weights = [np.array([0.98 ** (i - j) for j in range(i + 1)]) for i in range(100)]
    smoothed = np.array([(w * losses[: i + 1]).sum() / w.sum() for i, w in enumerate(weights)])[10:95]
    rates = ramp["learning_rate"].to_numpy()[10:95]
    suggested = suggest_learning_rates(ramp)
    assert suggested["fastai, minimum / 10"] == pytest.approx(rates[smoothed.argmin()] / 10)
    assert suggested["fastai, steep"] == pytest.approx(rates[np.diff(smoothed).argmin()])
    length = smoothed.argmin() - smoothed.argmax() + 1
    assert suggested["fastai, valley"] == pytest.approx(
        rates[smoothed.argmin() - length + length // 3 + length // 6], rel=1e-9
    )


@settings(max_examples=100, deadline=None)
@given(losses=st.lists(st.integers(0, 6), min_size=2, max_size=9))
def test_valley_ends_with_the_longest_falling_subsequence(losses: list[int]) -> None:
    subsequences = [
        chosen
        for size in range(1, len(losses) + 1)
        for chosen in itertools.combinations(range(len(losses)), size)
        if all(losses[a] > losses[b] for a, b in itertools.pairwise(chosen))
    ]
    length = max(map(len, subsequences))
    end = min(chosen[-1] for chosen in subsequences if len(chosen) == length)
    expected = end - length + length // 3 + length // 6 if length > 1 else 0
    assert learning_rates._valley(np.array(losses, dtype=float)) == expected


def test_slide_stops_where_the_slope_changes_little_from_the_right() -> None:
    losses = np.concatenate([np.full(60, 1.0), np.linspace(1, 3, 41)[1:]])  # slope 0, then 0.05
    index = learning_rates._slide(losses)
    slope = np.gradient(losses)
    assert abs(slope[-1] - slope[-16]) <= 0.005  # at the end the slope is constant: it stops at once
    assert index == len(losses) - 16
    kinked = np.concatenate([losses, 3 + np.linspace(0, 3, 16)[1:]])  # the last 15 are steeper
    index = learning_rates._slide(kinked)
    slope = np.gradient(kinked)
    assert abs(slope[index + 15] - slope[index]) > 0.005 >= abs(slope[index + 14] - slope[index - 1])


def test_suggestions_end_where_the_loss_diverges_and_do_not_depend_on_what_follows() -> None:
    losses = noisy_valley(0)
    losses[80:] = np.geomspace(50, 1e6, 20)
    longer = np.concatenate([losses, np.geomspace(1e7, 1e20, 10)])
    rates = np.geomspace(1e-7, 100, 110)
    one, other = (
        suggest_learning_rates(pd.DataFrame({"learning_rate": rates[: len(y)], "train_loss": y}))
        for y in (losses, longer)
    )
    names = [name for name in one.index if name.startswith("pytorch")]  # fastai's first tenth depends on the length
    pd.testing.assert_series_equal(one[names], other[names])
    assert (other < rates[81]).all()


@pytest.mark.parametrize(
    ("ramp", "named"),
    [
        (pd.DataFrame({"learning_rate": [1.0]}), "train_loss"),
        (pd.DataFrame({"learning_rate": np.ones(50), "train_loss": np.ones(50)}), "rise"),
        (synthetic_ramp(np.ones(25)), "more iterations"),
        (synthetic_ramp(np.r_[np.ones(20), 1e9 * np.ones(80)]), "smaller lr_end"),
        (synthetic_ramp(np.r_[np.ones(20), np.nan]), "more iterations"),
    ],
)
def test_ramps_without_suggestions_are_refused_with_the_reason(ramp: pd.DataFrame, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        suggest_learning_rates(ramp)


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


@settings(max_examples=200, deadline=None)
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


@settings(max_examples=200, deadline=None)
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
        ([10], "y", "column"),
    ],
)
def test_means_by_samples_over_nonsense_are_refused(ends: list[int], column: str, named: str) -> None:
    history = pd.DataFrame({"samples_seen": [4, 8], "train_loss": [5.0, 4.0]})
    with pytest.raises(ValueError, match=named):
        mean_by_samples(history, ends, column)
