"""Rules about learning rates: the ramp, the bounds of a cycle, and means over bins of samples."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, LinearLR

from lib.arguments import ArgumentError, choice, real_number, whole_number
from lib.prediction import Images
from lib.schedules import scheduled_learning_rates as scheduled_learning_rates
from lib.training import Settings, train


def learning_rate_ramp(
    model: nn.Module,
    train_data: Images,
    *,
    lr_start: float,
    lr_end: float,
    iterations: int,
    batch_size: int = 64,
    spacing: str = "log",
    device: torch.device | str | None = None,
    **settings: object,
) -> pd.DataFrame:
    """Smith's learning rate range test: one short run in which the learning rate rises at every iteration.

    The model is left as it was: a copy of it is trained.

    Parameters
    ----------
    model, train_data, device
        See `train`.
    lr_start, lr_end : float
        Learning rate of the first and of the last iteration, rising.
    iterations, batch_size : int
    spacing : {"log", "linear"}
        Equal ratios from one iteration to the next, or equal differences as in the paper.
    **settings
        More of `lib.training.Settings`.

    Returns
    -------
    DataFrame
        One row an iteration: iteration, learning_rate, train_loss, train_accuracy; it ends early if the loss diverges.

    References
    ----------
    Smith, "Cyclical learning rates for training neural networks", arXiv 1506.01186, section 3.3.
    """
    choice("spacing", spacing, ("log", "linear"))
    iterations = whole_number("iterations", iterations, 2)
    batch_size = whole_number("batch_size", batch_size)
    lr_start, lr_end = real_number("lr_start", lr_start), real_number("lr_end", lr_end)
    if not 0 < lr_start < lr_end:
        raise ArgumentError(f"lr_start must be positive and below lr_end, not lr_start={lr_start!r}, lr_end={lr_end!r}")
    if spacing == "log":
        first, ramp = lr_start, partial(ExponentialLR, gamma=(lr_end / lr_start) ** (1 / (iterations - 1)))
    else:
        first, ramp = lr_end, partial(LinearLR, start_factor=lr_start / lr_end, total_iters=iterations - 1)
    chosen = Settings(batch_sizes=[batch_size] * iterations, learning_rate=first, schedule=ramp, **settings)
    run = train(copy.deepcopy(model), train_data, None, chosen, device=device)
    return run.history[["iteration", "learning_rate", "train_loss", "train_accuracy"]]


class LearningRateBounds(NamedTuple):
    """The range between which a cyclical learning rate moves."""

    lr_min: float
    lr_max: float


def select_bounds(history: pd.DataFrame, *, tolerance: float = 0.05) -> LearningRateBounds:
    """Bounds of a cyclical learning rate, from the training loss of constant-rate candidates.

    With the candidates in increasing order, the fall of the curve is its first loss minus its smallest. A change
    smaller than the tolerance, `tolerance` times that fall, counts for nothing.

    - lr_min is the first candidate whose loss lies below the first one's by more than the tolerance: where the loss
      starts to fall.
    - lr_max is the last candidate, going up from lr_min, before the first whose loss exceeds the smallest so far by
      more than the tolerance, or is not finite: where the loss stops falling or turns ragged.

    Parameters
    ----------
    history : DataFrame
        Columns learning_rate and train_loss. Either one row a candidate, or the joined histories of `train` (then each
        candidate's loss is its mean over the last epoch, and it counts as diverged if its last loss, in training or in
        testing, is not finite).
    tolerance : float
        As a fraction of the whole fall, in (0, 1).

    Raises
    ------
    ArgumentError
        If a rate is not positive, there are fewer than 3 candidates, the curve does not fall by more than 10 % of its
        first loss, or only one candidate trains.

    Examples
    --------
    >>> rates, losses = [1e-4, 1e-3, 1e-2, 1e-1, 1.0], [2.3, 2.3, 1.1, 0.4, float("nan")]
    >>> select_bounds(pd.DataFrame({"learning_rate": rates, "train_loss": losses}))
    LearningRateBounds(lr_min=0.01, lr_max=0.1)
    """
    missing = {"learning_rate", "train_loss"} - set(history.columns)
    if missing:
        raise ArgumentError(
            f"history lacks the column {', '.join(sorted(missing))}; it has {', '.join(history.columns)}"
        )
    if not history["learning_rate"].between(0, math.inf, inclusive="neither").all():
        raise ArgumentError("history has learning rates that are not positive numbers: leave their rows out")
    if not 0 < tolerance < 1:
        raise ArgumentError(f"tolerance must lie between 0 and 1, not {tolerance!r}")
    curve = candidate_losses(history)
    rates, losses = curve.index.to_numpy(), curve.to_numpy()
    if len(losses) < 3:
        raise ArgumentError(f"history has {len(losses)} learning rates: a curve takes at least 3")
    if not math.isfinite(losses[0]):
        raise ArgumentError(f"the loss at the smallest learning rate, {rates[0]:g}, is not finite: try smaller ones")
    fall = losses[0] - losses[np.isfinite(losses)].min()
    if not fall > 0.1 * abs(losses[0]):
        raise ArgumentError(
            f"the loss never falls by more than 10 %: it starts at {losses[0]:.4g} and is nowhere below "
            f"{losses[0] - fall:.4g}; "
            f"try larger learning rates between those that are flat and those that diverge, or train for longer"
        )
    lowest = int(np.flatnonzero(losses < losses[0] - tolerance * fall)[0])
    highest = lowest
    while highest + 1 < len(losses) and losses[highest + 1] <= losses[: highest + 1].min() + tolerance * fall:
        highest += 1
    if highest == lowest:
        raise ArgumentError(
            f"only {rates[lowest]:g} trains and the next learning rate does not: there is no range; "
            f"try candidates nearer to it"
        )
    return LearningRateBounds(float(rates[lowest]), float(rates[highest]))


def candidate_losses(history: pd.DataFrame) -> pd.Series:
    """Training loss of each constant-rate candidate, by increasing learning rate: its mean over the last epoch.

    Takes what `select_bounds` takes. A candidate that diverged has the loss infinity.
    """
    return pd.Series({rate: _final_loss(rows) for rate, rows in history.groupby("learning_rate")}, name="train_loss")


def last_epoch(history: pd.DataFrame) -> pd.DataFrame:
    """The rows of a history whose iterations end within its last epoch."""
    return history[history["epoch"] > history["epoch"].iloc[-1] - 1]


def _final_loss(rows: pd.DataFrame) -> float:
    """Mean loss of one candidate over its last epoch; infinity if it diverged."""
    if len(rows) > 1:
        if "epoch" not in rows:
            raise ArgumentError(f"history has {len(rows)} rows for one learning rate and no column epoch to order them")
        rows = rows.sort_values("epoch")
        rows = last_epoch(rows) if math.isfinite(rows["train_loss"].iloc[-1]) else rows.tail(1)
    last = rows.iloc[-1]
    if math.isfinite(last.get("test_accuracy", math.nan)) and not math.isfinite(last["test_loss"]):
        return math.inf
    loss = rows["train_loss"].mean(skipna=False)
    return loss if math.isfinite(loss) else math.inf


def mean_by_samples(history: pd.DataFrame, ends: Sequence[float], column: str = "train_loss") -> pd.Series:
    """Means of a column of a history over bins of samples seen, every sample with the same weight.

    The history is that of one `train`, or thinned as in a stored result; a row counts to the bin in which it ends.
    `ends` are the samples seen at the end of each bin, rising; the first bin begins with the training, and what comes
    after the last is left out. The means are indexed by the ends of those bins that have a row with a value (not NaN).

    >>> rows = pd.DataFrame({"samples_seen": [10, 20, 50], "train_loss": [3.0, 2.0, 1.0]})
    >>> mean_by_samples(rows, [20, 50]).tolist()
    [2.5, 1.0]
    """
    ends = np.asarray(ends, dtype=float)
    if ends.ndim != 1 or not len(ends) or not (np.diff(ends, prepend=-math.inf) > 0).all():
        raise ArgumentError("ends must be a list of numbers, each larger than the one before")
    if column not in history:
        raise ArgumentError(f"column must be one of {', '.join(history.columns)}, not {column!r}")
    samples = history["samples_seen"]
    if not samples.is_monotonic_increasing:
        raise ArgumentError("samples_seen in history must rise: give the rows of one run, in their order")
    weights = samples.diff().fillna(samples)
    rows = (samples <= ends[-1]) & history[column].notna()
    bins = ends[np.searchsorted(ends, samples[rows])]
    sums = (history[column] * weights)[rows].groupby(bins).sum()
    return (sums / weights[rows].groupby(bins).sum()).rename(column)
