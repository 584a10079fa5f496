"""What the experiments of Problem 3 train, unit by unit. Nothing here touches a disk.

Why these settings
------------------
Every experiment trains the same network by plain SGD without momentum or weight decay, from an initialisation and an
order of images that depend on the seed only. Momentum is left out because the question is whether a larger batch acts
like a smaller learning rate: the noise of a step then depends on these two alone, learning rate * (images / batch - 1).

- lr-range: ten candidates at equal ratios from 1e-9 to 1e1. They run from the largest down: lr_max and lr_min are found
  at the large ones, and the smallest hardly move the weights at all, so that a sweep cut short still shows the most.
- clr: between the bounds of `select_bounds`, a half cycle lasts one epoch and cycles are whole, so that training ends
  at the smallest rate. gamma is 0.99994, Smith's own value, at full scale (at the end 57 % of the amplitude is left);
  quick has the same decay over its fewer iterations. cycle_momentum is False: CyclicLR would otherwise switch one on.
- batch-growth and lr-decay: as many samples as clr, in equal stages, one for each batch size. Equal numbers of samples,
  not of iterations: with equal iterations half of all samples would be seen at the largest batch, and the control would
  train for less than one part in fifty of what the growing batch sees. Of a stage the remainder that fills no whole
  batch comes first, so that the stages of both arms end after exactly the same samples, and with a whole batch.
- quick: the shipped 3,000 images. 1 epoch a candidate and 4 epochs an arm is what fits in 6 minutes on 2 cores for all
  four experiments; with stages of 2,400 samples the batch can double to 512 only and still make several steps.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain

import numpy as np
import pandas as pd

from lib.arguments import ArgumentError, choice, whole_number
from lib.datasets import FASHION_MNIST_CHECKSUMS
from lib.learning_rates import LearningRateBounds, scheduled_learning_rates
from lib.training import Settings

# A load-bearing wall: these numbers are settings of units, and decide the names of their stored results.
CANDIDATES = tuple(float(f"{rate:.6g}") for rate in np.logspace(-9, 1, 10))

EXPERIMENTS = {
    "lr-range": "training loss of 10 constant learning rates from 1e-9 to 1e1, batch 64, same initialisation",
    "clr": "cyclical learning rate with exponential decay (exp_range), batch 64, bounds from lr-range",
    "batch-growth": "learning rate fixed at lr_max, batch doubling from 32 stage by stage",
    "lr-decay": "the control: batch fixed at 32, learning rate halved where batch-growth doubles the batch",
}
ARMS = tuple(name for name in EXPERIMENTS if name != "lr-range")


@dataclass(frozen=True)
class Profile:
    """How large the experiments are; numbers of samples count training images seen, repeats included."""

    subset: str  # of Fashion-MNIST
    range_samples: int  # for each candidate of lr-range
    arm_samples: int  # for each of clr, batch-growth, lr-decay
    half_cycle_samples: int  # of clr
    largest_batch: int  # of batch-growth
    evaluate_every: int  # samples
    seeds: tuple[int, ...]  # of the arms; lr-range runs with the first


PROFILES = {
    "quick": Profile("quick", 3_000, 12_000, 3_000, 512, 3_000, (0,)),
    "full": Profile("full", 300_000, 600_000, 60_000, 8192, 60_000, (0, 1, 2)),
}


@dataclass(frozen=True)
class Unit:
    """One training run: a candidate learning rate, or one seed of an arm."""

    experiment: str
    profile: str
    settings: Settings

    def as_stored(self) -> dict:
        """All that decides the numbers, as plain values; what a result holds under "settings".

        A load-bearing wall: the hash of this is in the names of all stored results. A key more or less, or a value in
        another form, makes every stored result another unit, and its hours of training are to be spent again.
        """
        subset = PROFILES[self.profile].subset
        stored = self.settings.as_stored()
        del stored["channels_last"]  # always the rule's
        return stored | {
            "experiment": self.experiment,
            "profile": self.profile,
            "model": "SmallInception",
            "data": f"Fashion-MNIST {subset}",
            "data_sha256": FASHION_MNIST_CHECKSUMS[subset]["train-images-idx3-ubyte"],
            "optimizer": "SGD",
            # The first results were computed in bfloat16 because "auto" chose it, so that is what bfloat16 is called.
            "precision": "float32" if self.settings.precision == "float32" else "auto",
        }

    @property
    def id(self) -> str:
        """Its name, and that of its files."""
        return unit_id(self.as_stored())

    @property
    def samples(self) -> int:
        """Training images that it sees, repeats included."""
        return sum(self.settings.batch_sizes)

    @classmethod
    def from_stored(cls, stored: dict) -> Unit:
        """The unit of a result's settings."""
        chosen = {field.name: stored[field.name] for field in fields(Settings) if field.name != "channels_last"}
        chosen["batch_sizes"] = [size for size, count in stored["batch_sizes"] for _ in range(count)]
        return cls(stored["experiment"], stored["profile"], Settings(**chosen))


def unit_id(stored: dict) -> str:
    """Name of a unit and of its files: experiment, profile, seed, for lr-range the rate, and a hash of all settings."""
    digest = hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()[:8]
    rate = f"-lr{stored['learning_rate']:.2e}" if stored["experiment"] == "lr-range" else ""
    return f"{stored['experiment']}-{stored['profile']}-seed{stored['seed']}{rate}-{digest}"


def whole_batches(samples: int, batch_size: int) -> list[int]:
    """Batch sizes that add up to the samples: the remainder first if there is one, then whole batches.

    >>> whole_batches(100, 32)
    [4, 32, 32, 32]
    """
    remainder = samples % batch_size
    return [remainder] * bool(remainder) + [batch_size] * (samples // batch_size)


def stages(samples: int, largest_batch: int) -> list[tuple[int, int]]:
    """(batch size, samples) of each stage: from 32 doubling to the largest, equal samples to within one image.

    >>> stages(600, 128)
    [(32, 200), (64, 200), (128, 200)]
    """
    sizes = [32 * 2**k for k in range(int(math.log2(largest_batch / 32)) + 1)]
    ends = [round(samples * k / len(sizes)) for k in range(len(sizes) + 1)]
    return [(size, after - before) for size, before, after in zip(sizes, ends[:-1], ends[1:], strict=True)]


def plan(
    name: str,
    profile: str = "quick",
    bounds: LearningRateBounds | None = None,
    seeds: Sequence[int] | None = None,
    *,
    precision: str = "auto",
    micro_batch_size: int = 256,
) -> list[Unit]:
    """Every unit of an experiment, in the order in which they run; ArgumentError for what makes no sense.

    Parameters
    ----------
    name : str
        One of `EXPERIMENTS`.
    profile : str
        One of `PROFILES`.
    bounds : LearningRateBounds
        lr_min and lr_max of the arms, as `stored_bounds` reads them from the sweep; lr-range needs none.
    seeds : sequence of int, optional
        Default: the profile's seeds for the arms, the first of them for lr-range.
    precision, micro_batch_size
        See `lib.training.Settings`. Another precision, or a smaller part of a batch, makes another unit.
    """
    choice("name", name, EXPERIMENTS)
    size = PROFILES[choice("profile", profile, PROFILES)]
    if name in ARMS and bounds is None:
        raise ArgumentError(f"bounds: {name} moves between lr_min and lr_max; stored_bounds reads them from the sweep")
    if seeds is None:
        seeds = size.seeds[:1] if name == "lr-range" else size.seeds
    if name == "lr-range":
        runs = [(whole_batches(size.range_samples, 64), rate, None) for rate in reversed(CANDIDATES)]
    else:
        runs = [{"clr": _cyclical, "batch-growth": _growing, "lr-decay": _decaying}[name](size, *bounds)]
    same = {"micro_batch_size": micro_batch_size, "evaluate_every": size.evaluate_every, "precision": precision}
    return [
        Unit(name, profile, Settings(batch_sizes=batches, learning_rate=rate, schedule=schedule, seed=seed, **same))
        for seed in _different(seeds)
        for batches, rate, schedule in runs
    ]


def _cyclical(size: Profile, low: float, high: float) -> tuple[list[int], float, dict]:
    """Batch sizes, first learning rate and schedule of clr."""
    batches = whole_batches(size.arm_samples, 64)
    cycle = {
        "name": "CyclicLR",
        "mode": "exp_range",
        "base_lr": low,
        "max_lr": high,
        "step_size_up": len(batches) * size.half_cycle_samples / size.arm_samples,
        "gamma": 0.99994 ** (9375 / len(batches)),
        "cycle_momentum": False,
    }
    return batches, low, cycle


def _growing(size: Profile, low: float, high: float) -> tuple[list[int], float, None]:
    """The same of batch-growth: one stage after the other, the rate as it is."""
    parts = stages(size.arm_samples, size.largest_batch)
    return [batch for batch_size, samples in parts for batch in whole_batches(samples, batch_size)], high, None


def _decaying(size: Profile, low: float, high: float) -> tuple[list[int], float, dict]:
    """The same of lr-decay: the rate is halved after the samples at which batch-growth doubles the batch."""
    by_stage = [whole_batches(samples, 32) for _, samples in stages(size.arm_samples, size.largest_batch)]
    milestones = np.cumsum([len(batches) for batches in by_stage])[:-1].tolist()
    return list(chain(*by_stage)), high, {"name": "MultiStepLR", "milestones": milestones, "gamma": 0.5}


def _different(seeds: Sequence[int]) -> list[int]:
    """Seeds as Python's whole numbers, or ArgumentError."""
    if not np.iterable(seeds):
        raise ArgumentError(f"seeds must be a list of whole numbers, not {seeds!r}")
    seeds = [whole_number("each of seeds", seed, 0) for seed in seeds]
    if len(set(seeds)) < len(seeds):
        raise ArgumentError(f"seeds must differ from one another, not {seeds!r}")
    return seeds


def unit_schedule(unit: Unit) -> pd.DataFrame:
    """What the settings of a unit alone say of its training: one row an iteration.

    The columns are iteration (from 1), samples_seen, learning_rate and batch_size, as in the history of `train`.
    """
    batch_sizes, settings = np.array(unit.settings.batch_sizes), unit.settings
    return pd.DataFrame(
        {
            "iteration": np.arange(1, len(batch_sizes) + 1),
            "samples_seen": batch_sizes.cumsum(),
            "learning_rate": _rates(len(batch_sizes), json.dumps(settings.schedule), settings.learning_rate),
            "batch_size": batch_sizes,
        }
    )


@functools.cache  # the seeds of an arm have the same, and to find it takes a third of a second
def _rates(iterations: int, schedule: str, learning_rate: float) -> np.ndarray:
    return scheduled_learning_rates(iterations, json.loads(schedule), learning_rate=learning_rate)
