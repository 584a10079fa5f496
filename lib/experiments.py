"""The experiments of Problem 3: what is trained, unit by unit, resumable, each result a small file with its provenance.

    python -m lib.experiments list
    python -m lib.experiments run NAME [--profile quick|full] [--seeds 0 1 2] [--resume | --fresh] [--jobs 2]
    python -m lib.experiments status

A unit is one training run: a candidate learning rate, or one seed of an arm. Its settings are plain values that say
everything `lib.training.train` is given, and their hash is part of its name: a changed setting is another unit.

Why these settings
------------------
Every experiment trains the same network by plain SGD without momentum or weight decay, from an initialisation and an
order of images that depend on the seed only. Momentum is left out because the question is whether a larger batch acts
like a smaller learning rate: the noise of a step then depends on these two alone, learning rate * (images / batch - 1).

- lr-range: ten candidates at equal ratios from 1e-9 to 1e1. They run from the largest down: lr_max and lr_min are found
  at the large ones, and the smallest hardly move the weights at all, so that a sweep cut short still shows the most.
- clr: between the bounds of `select_bounds`, a half cycle lasts one epoch and cycles are whole, so that training ends
  at the smallest rate. gamma is 0.99994 at full scale (at the end 57 % of the amplitude is left); quick has the same
  decay over its fewer iterations. cycle_momentum is False: CyclicLR would otherwise switch a momentum on.
- batch-growth and lr-decay: as many samples as clr, in equal stages, one for each batch size. Equal numbers of samples,
  not of iterations: with equal iterations nearly all samples would be seen at the largest batch, and the control, which
  takes 256 times as many iterations there, would train for longer. Of a stage the remainder that fills no whole batch
  comes first, so that the stages of both arms end after exactly the same samples, and with a whole batch.
- quick: the shipped 3,000 images. 1 epoch a candidate and 4 epochs an arm is what fits in 6 minutes on 2 cores for all
  four experiments; with stages of 2,400 samples the batch can double to 512 only and still make several steps.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import hashlib
import json
import logging
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torchvision
from joblib import Parallel, delayed
from scipy import stats

from lib.arguments import choice, whole_number
from lib.checkpoints import CheckpointError, load_checkpoint
from lib.datasets import FASHION_MNIST_CHECKSUMS, cache_directory, load_fashion_mnist, write_atomically
from lib.devices import PRECISIONS, choose_precision, default_device, seeded
from lib.inception import SmallInception
from lib.learning_rates import (
    LearningRateBounds,
    candidate_losses,
    mean_by_samples,
    scheduled_learning_rates,
    select_bounds,
)
from lib.training import HISTORY_COLUMNS, Settings, TrainingRun, train

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "book" / "results"
SCHEMA_VERSION = 1
_TRAIN_SETTINGS = (
    "learning_rate",
    "momentum",
    "weight_decay",
    "seed",
    "evaluate_every",
    "micro_batch_size",
    "precision",
)
LOG = logging.getLogger(__name__)
COUNTS = ("iteration", "samples_seen", "batch_size")  # the columns of a history that hold whole numbers
HISTORY_ROWS = 300  # a stored history is thinned to about this many rows
CANDIDATES = tuple(float(f"{rate:.6g}") for rate in np.logspace(-9, 1, 10))
ASSUMED_IMAGES_PER_SECOND = 250  # of 2 cores with AVX-512 BF16, until something has been measured

EXPERIMENTS = {
    "lr-range": "training loss of 10 constant learning rates from 1e-9 to 1e1, batch 64, same initialisation",
    "clr": "cyclical learning rate with exponential decay (exp_range), batch 64, bounds from lr-range",
    "batch-growth": "learning rate fixed at lr_max, batch doubling from 32 stage by stage",
    "lr-decay": "the control: batch fixed at 32, learning rate halved where batch-growth doubles the batch",
}


@dataclass(frozen=True)
class Profile:
    """How large the experiments are; numbers of samples count training images seen, repeats included."""

    subset: str
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


class MissingResults(RuntimeError):
    """An experiment needs results of another one that has not finished; the message says which and how to get them."""


def checkpoint_directory() -> Path:
    """Where unfinished units keep their checkpoints: the user's cache."""
    return cache_directory() / "checkpoints"


def whole_batches(samples: int, batch_size: int) -> list[int]:
    """Batch sizes that add up to the samples: the remainder first if there is one, then whole batches.

    >>> whole_batches(100, 32)
    [4, 32, 32, 32]
    """
    remainder = samples % batch_size
    return [remainder] * bool(remainder) + [batch_size] * (samples // batch_size)


def stages(samples: int, largest_batch: int) -> list[tuple[int, int]]:
    """(batch size, samples) of the stages: from 32 doubling to the largest, equal samples to within one image.

    >>> stages(600, 128)
    [(32, 200), (64, 200), (128, 200)]
    """
    sizes = [32 * 2**k for k in range(int(math.log2(largest_batch / 32)) + 1)]
    ends = [round(samples * k / len(sizes)) for k in range(len(sizes) + 1)]
    return [(size, after - before) for size, before, after in zip(sizes, ends[:-1], ends[1:], strict=True)]


def plan(
    name: str,
    profile: str = "quick",
    seeds: Sequence[int] | None = None,
    *,
    precision: str = "auto",
    micro_batch_size: int = 256,
    results: Path = RESULTS,
) -> list[dict]:
    """Settings of every unit of an experiment, in the order in which they run.

    Parameters
    ----------
    name : {"lr-range", "clr", "batch-growth", "lr-decay"}
    profile : {"quick", "full"}
    seeds : sequence of int, optional
        Default: the profile's seeds for the arms, the first of them for lr-range.
    precision : {"auto", "float32", "bfloat16"}
        See `lib.training.choose_precision`; what "auto" chose is recorded in the result.
    micro_batch_size : int
        See `lib.training.train`. A smaller one changes what batch normalisation sees, so it makes another unit. The
        bounds of the arms are those of the default all the same.
    results : path
        Where lr-range's results are found, from which the arms take their bounds.

    Raises
    ------
    ValueError
        For an unknown name, profile or precision, or seeds or a micro_batch_size that make no sense.
    MissingResults
        If the bounds are needed and lr-range has not finished.
    """
    choice("name", name, EXPERIMENTS)
    choice("profile", profile, PROFILES)
    choice("precision", precision, PRECISIONS)
    whole_number("micro_batch_size", micro_batch_size)
    micro_batch_size, size = int(micro_batch_size), PROFILES[profile]
    if seeds is None:
        seeds = size.seeds[:1] if name == "lr-range" else size.seeds
    seeds = _different_seeds(seeds)

    def settings(seed: int, learning_rate: float, batch_sizes: list[int], schedule: dict | None = None) -> dict:
        return {
            "experiment": name,
            "profile": profile,
            "seed": seed,
            "model": "SmallInception",
            "data": f"Fashion-MNIST {size.subset}",
            "data_sha256": FASHION_MNIST_CHECKSUMS[size.subset]["train-images-idx3-ubyte"],
            "optimizer": "SGD",
            "momentum": 0.0,
            "weight_decay": 0.0,
            "learning_rate": learning_rate,
            "schedule": schedule,
            "batch_sizes": [[batch_size, len(list(run))] for batch_size, run in groupby(batch_sizes)],
            "micro_batch_size": micro_batch_size,
            "evaluate_every": size.evaluate_every,
            "precision": precision,
        }

    if name == "lr-range":
        batches = whole_batches(size.range_samples, 64)
        return [settings(seed, rate, batches) for seed in seeds for rate in reversed(CANDIDATES)]
    low, high = bounds(profile, precision=precision, results=results)
    if name == "clr":
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
        return [settings(seed, low, batches, cycle) for seed in seeds]
    parts = stages(size.arm_samples, size.largest_batch)
    if name == "batch-growth":
        batches = [batch for batch_size, samples in parts for batch in whole_batches(samples, batch_size)]
        return [settings(seed, high, batches) for seed in seeds]
    by_stage = [whole_batches(samples, 32) for _, samples in parts]
    milestones = np.cumsum([len(batches) for batches in by_stage])[:-1].tolist()
    halving = {"name": "MultiStepLR", "milestones": milestones, "gamma": 0.5}
    return [settings(seed, high, list(chain(*by_stage)), halving) for seed in seeds]


def _different_seeds(seeds: object) -> list[int]:
    """Seeds as Python's whole numbers, all different, or ValueError."""
    if not np.iterable(seeds):
        raise ValueError(f"seeds must be a list of whole numbers, not {seeds!r}")
    for seed in seeds:
        whole_number("each of seeds", seed, 0)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ from one another, not {list(seeds)!r}")
    return [int(seed) for seed in seeds]


def unit_id(settings: dict) -> str:
    """Name of a unit and of its files: experiment, profile, seed, for lr-range the rate, and a hash of all settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    rate = f"-lr{settings['learning_rate']:.2e}" if settings["experiment"] == "lr-range" else ""
    return f"{settings['experiment']}-{settings['profile']}-seed{settings['seed']}{rate}-{digest}"


def bounds(profile: str = "quick", *, precision: str = "auto", results: Path = RESULTS) -> LearningRateBounds:
    """lr_min and lr_max by `select_bounds` from the finished lr-range of a profile; MissingResults if it is not."""
    curve = load_results("lr-range", profile, precision=precision, results=results)
    missing = len(CANDIDATES) - len(curve)
    if missing:
        options = f" --precision {precision}" * (precision != "auto") + f" --results {results}" * (results != RESULTS)
        raise MissingResults(
            f"lr-range {profile} lacks {missing} of its {len(CANDIDATES)} candidates, from which lr_min and lr_max are "
            f"chosen: first run `python -m lib.experiments run lr-range --profile {profile}{options}`"
        )
    losses = [math.inf if result["diverged"] else result["summary"]["train_loss"] for result in curve]
    rates = [result["settings"]["learning_rate"] for result in curve]
    return select_bounds(pd.DataFrame({"learning_rate": rates, "train_loss": losses}))


def run(
    name: str,
    profile: str = "quick",
    seeds: Sequence[int] | None = None,
    *,
    fresh: bool = False,
    precision: str = "auto",
    micro_batch_size: int = 256,
    results: Path = RESULTS,
    checkpoints: Path | None = None,
) -> list[dict]:
    """Run the units of an experiment that are not finished, and return the results of all of them.

    Units are independent and go through joblib: one at a time with all cores, unless the caller wraps this in
    `joblib.parallel_config`, whose backend may spread them over processes, or a cluster that shares the directories.

    Parameters
    ----------
    name, profile, seeds, precision, micro_batch_size
        See `plan`.
    fresh : bool
        Forget the results and checkpoints of all these units first.
    results, checkpoints : path
        Directories. Default: book/results, and the user's cache.

    Returns
    -------
    list of dict
        See `load_results`. A unit that another process is training is left to it, and is missing here.
    """
    units = plan(name, profile, seeds, precision=precision, micro_batch_size=micro_batch_size, results=results)
    results, checkpoints = Path(results), Path(checkpoints or checkpoint_directory())
    if fresh:
        forget(units, results, checkpoints)
    _check_own_precision(units, results)
    finished = Parallel()(delayed(run_unit)(unit, results, checkpoints) for unit in units)
    return [result for result in finished if result is not None]


def forget(units: Sequence[dict], results: Path, checkpoints: Path) -> None:
    """Delete the results and checkpoints of units, except of those that another process is training."""
    for unit in map(unit_id, units):
        with _lock(checkpoints / f"{unit}.lock") as mine:
            if mine:
                for path in (results / f"{unit}.json", *_traces(unit, checkpoints)):
                    path.unlink(missing_ok=True)


def _traces(unit: str, checkpoints: Path) -> list[Path]:
    """Where a unit that has not finished keeps its checkpoint and its history, and what a kill may leave of writing."""
    return [checkpoints / f"{unit}{ending}" for ending in (".pt", ".pt.tmp", ".attempts.json")]


def run_unit(
    settings: dict, results: Path, checkpoints: Path, *, fresh: bool = False, progress: bool | None = None
) -> dict | None:
    """Train one unit unless its result exists, resuming from its checkpoint; None if another process is at it."""
    unit, results, checkpoints = unit_id(settings), Path(results), Path(checkpoints)
    if fresh:
        forget([settings], results, checkpoints)
    result_path, checkpoint = results / f"{unit}.json", checkpoints / f"{unit}.pt"
    attempts_path = checkpoints / f"{unit}.attempts.json"
    with _lock(checkpoints / f"{unit}.lock") as mine:
        if not mine:
            LOG.warning("%s: left to the process that is training it", unit)
            return None
        if result_path.exists():
            result = read_result(result_path)
            for path in _traces(unit, checkpoints):  # a kill may have come between storing the result and deleting them
                path.unlink(missing_ok=True)
            LOG.info("%s, finished before", _result_line(result))
            return result
        earlier = json.loads(attempts_path.read_text()) if checkpoint.exists() and attempts_path.exists() else []
        attempt = _provenance()
        write_atomically(attempts_path, json.dumps([*earlier, attempt]).encode())
        _, outcome = train_unit(settings, checkpoint=checkpoint, progress=progress)
        result = {
            "schema": SCHEMA_VERSION,
            "unit": unit,
            "experiment": settings["experiment"],
            "profile": settings["profile"],
            "seed": settings["seed"],
            "settings": settings,
            "provenance": {
                **attempt,
                "device": outcome.device,
                "precision": outcome.precision.dtype,
                "channels_last": outcome.precision.channels_last,
                "precision_reason": outcome.precision.reason,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "wall_seconds": round(outcome.seconds, 1),
                "images_per_second": round(outcome.images_per_second, 1),
                "resumed_after": earlier,
            },
            "diverged": outcome.diverged,
            "summary": _summary(outcome.history),
            "history": {
                column: [_plain(value) for value in values]
                for column, values in thin(outcome.history, HISTORY_ROWS).to_dict("list").items()
            },
        }
        validate_result(result)
        write_atomically(result_path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
        for path in _traces(unit, checkpoints):
            path.unlink(missing_ok=True)
        LOG.info("%s", _result_line(result))
        return read_result(result_path)


def train_unit(
    settings: dict, *, iterations: int | None = None, checkpoint: Path | None = None, progress: bool | None = None
) -> tuple[SmallInception, TrainingRun]:
    """Train the network of a unit as its settings say; nothing is stored but the checkpoint.

    Parameters
    ----------
    settings : dict
        One of `plan`, or of a stored result.
    iterations : int, optional
        Only the first so many.
    checkpoint, progress
        See `lib.training.train`.

    Returns
    -------
    model : SmallInception
        Trained.
    run : TrainingRun
    """
    data = load_fashion_mnist(settings["data"].split()[-1])
    with seeded(settings["seed"]):
        model = SmallInception()
    chosen = Settings(
        batch_sizes=_batch_sizes(settings)[:iterations],
        schedule=settings["schedule"],
        **{name: settings[name] for name in _TRAIN_SETTINGS},
    )
    options = {"checkpoint": checkpoint, "checkpoint_every": 200, "progress": progress}
    run = train(model, data.train, data.test, chosen, description=unit_id(settings).rpartition("-")[0], **options)
    return model, run


def unit_schedule(settings: dict) -> pd.DataFrame:
    """What the settings of a unit alone say of its training: one row an iteration.

    Returns
    -------
    DataFrame
        iteration (from 1), samples_seen, learning_rate and batch_size, as in the history of a training that does not
        diverge.
    """
    batch_sizes = np.array(_batch_sizes(settings))
    rates = scheduled_learning_rates(len(batch_sizes), settings["schedule"], learning_rate=settings["learning_rate"])
    return pd.DataFrame(
        {
            "iteration": np.arange(1, len(batch_sizes) + 1),
            "samples_seen": batch_sizes.cumsum(),
            "learning_rate": rates,
            "batch_size": batch_sizes,
        }
    )


def load_results(
    name: str,
    profile: str = "quick",
    seeds: Sequence[int] | None = None,
    *,
    precision: str = "auto",
    micro_batch_size: int = 256,
    results: Path = RESULTS,
) -> list[dict]:
    """Results of the finished units of an experiment with its present settings; its history is a DataFrame.

    The rows of a history are thinned: see `thin`. Keys are those of `validate_result`.

    Raises
    ------
    ValueError
        If a file is damaged, or results with the precision "auto" were computed in different ones: processors differ.
    """
    units = plan(name, profile, seeds, precision=precision, micro_batch_size=micro_batch_size, results=results)
    paths = [Path(results) / f"{unit_id(unit)}.json" for unit in units]
    stored = [read_result(path) for path in paths if path.exists()]
    _check_one_precision(stored)
    return stored


def _check_one_precision(results: Sequence[dict], *more: str) -> None:
    """Raise ValueError if results whose precision was left to the processor have different ones, or one not in more."""
    chosen = [result for result in results if result.get("settings", {}).get("precision") == "auto"]
    computed_in = {result["provenance"]["precision"] for result in chosen}
    if computed_in and len(computed_in | set(more)) > 1:
        raise ValueError(
            f"results in {' and '.join(sorted(computed_in | set(more)))} are not to be mixed, and processors choose "
            "differently: give each kind a directory of its own (--results), or ask for one precision (--precision)"
        )


def _check_own_precision(units: Sequence[dict], results: Path) -> None:
    """Before hours are spent: ValueError if this processor would choose another precision than stored results have."""
    left = [unit for unit in units if not (Path(results) / f"{unit_id(unit)}.json").exists()]
    wanted = {(unit["experiment"], unit["profile"]) for unit in left if unit["precision"] == "auto"}
    wanted |= {("lr-range", profile) for _, profile in wanted}  # which gave the bounds
    if wanted:
        comparable = [result for result in _stored(results) if (result["experiment"], result["profile"]) in wanted]
        _check_one_precision(comparable, choose_precision(default_device()).dtype)


def read_result(path: Path) -> dict:
    """A stored result, checked, with its history as a DataFrame (null is NaN)."""
    try:
        result = json.loads(Path(path).read_text())
        validate_result(result)
    except ValueError as error:  # of the JSON too
        raise ValueError(f"{path} is no valid result: {error}; delete it, and run the unit again") from error
    return {
        **result,
        "history": pd.DataFrame(result["history"]).astype(
            {column: float for column in HISTORY_COLUMNS if column not in COUNTS}
        ),
    }


def paired_differences(results: Sequence[dict], reference: str, quantity: str = "test_accuracy") -> pd.DataFrame:
    """Differences of each experiment to a reference, seed by seed, with a 95 % interval of Student's t.

    Runs of one seed share their initial weights and, as long as their batches agree, the order of images.

    Parameters
    ----------
    results : sequence of dict
        Finished units of one profile, as from `load_results`.
    reference : str
        The experiment that is subtracted.
    quantity : str
        A key of a result's summary.

    Returns
    -------
    DataFrame, one row an experiment
        seeds (those that both have), difference (mean), sd (of the differences), low and high (ends of the interval;
        NaN for fewer than two seeds), and verdict: "higher", "lower", "not distinguishable" (the interval holds 0), or
        "one seed: no verdict".

    Raises
    ------
    ValueError
        If the reference is not among the results, they mix profiles, or precisions that were left to the processor, or
        a unit has no such quantity.
    """
    _check_one_precision(results)
    profiles = {result["profile"] for result in results}
    if len(profiles) > 1:
        raise ValueError(f"results mix the profiles {', '.join(sorted(profiles))}: compare within one")
    values: dict[str, dict[int, float]] = {}
    for result in results:
        value = result["summary"].get(quantity)
        if value is None:
            raise ValueError(f"{result['unit']} has no {quantity!r}; its summary has {', '.join(result['summary'])}")
        values.setdefault(result["experiment"], {})[result["seed"]] = value
    if reference not in values:
        raise ValueError(f"reference must be one of {', '.join(values) or 'no experiment'}, not {reference!r}")
    table = pd.DataFrame(values).sort_index()
    return _paired(table.drop(columns=reference).sub(table[reference], axis=0).T)


def stage_losses(results: Sequence[dict]) -> pd.DataFrame:
    """Mean training loss in each stage of batch-growth and lr-decay (see `stages`).

    Parameters
    ----------
    results : sequence of dict
        Finished units of one experiment and profile, as from `load_results`.

    Returns
    -------
    DataFrame, one row a stage, one column a seed
        The index is the batch size that batch-growth has in the stage. A row of the thinned history counts to the
        stage in which it ends.

    Raises
    ------
    ValueError
        If the results mix profiles or experiments, or there are none.
    """
    kinds = {(result["profile"], result["experiment"]) for result in results}
    if len(kinds) != 1:
        raise ValueError(f"results must be of one experiment and profile, not of {sorted(kinds) or 'none'}")
    ((profile, _),) = kinds
    parts = stages(PROFILES[profile].arm_samples, PROFILES[profile].largest_batch)
    ends = np.cumsum([samples for _, samples in parts])
    losses = {result["seed"]: mean_by_samples(result["history"], ends).reindex(ends) for result in results}
    table = pd.DataFrame({seed: losses[seed].to_numpy() for seed in sorted(losses)})
    return table.set_index(pd.Index([batch for batch, _ in parts], name="batch"))


def stage_differences(results: Sequence[dict], reference: Sequence[dict]) -> pd.DataFrame:
    """Stage by stage, the training loss of one experiment less that of another, seed by seed.

    Parameters
    ----------
    results, reference : sequence of dict
        See `stage_losses`; of one profile, and at least one seed in common.

    Returns
    -------
    DataFrame, one row a stage
        loss and reference (means over the seeds that both have), then the columns of `paired_differences`.

    Raises
    ------
    ValueError
        If there is nothing to compare, or precisions that were left to the processor differ.
    """
    _check_one_precision([*results, *reference])
    one, other = stage_losses(results), stage_losses(reference)
    common = one.columns.intersection(other.columns)
    if results[0]["profile"] != reference[0]["profile"] or common.empty:
        raise ValueError("results and reference must be of one profile and have a seed in common")
    means = pd.DataFrame({"loss": one[common].mean(axis=1), "reference": other[common].mean(axis=1)})
    return means.join(_paired((one - other)[common]))


def _paired(differences: pd.DataFrame) -> pd.DataFrame:
    """Each row's mean over the seeds, which are the columns, its spread, interval of Student's t, and verdict."""
    n, mean, sd = differences.count(axis=1), differences.mean(axis=1), differences.std(axis=1, ddof=1)
    half = stats.t.ppf(0.975, (n - 1).where(n > 1)) * sd / np.sqrt(n)
    low, high = mean - half, mean + half
    few = np.where(n == 1, "one seed: no verdict", "no seed in common")
    many = np.select([low > 0, high < 0], ["higher", "lower"], "not distinguishable")
    verdict = np.where(n > 1, many, few)
    return pd.DataFrame({"seeds": n, "difference": mean, "sd": sd, "low": low, "high": high, "verdict": verdict})


def _batch_sizes(settings: dict) -> list[int]:
    """The batch size of every iteration of a unit."""
    return [size for size, count in settings["batch_sizes"] for _ in range(count)]


def thin(history: pd.DataFrame, rows: int) -> pd.DataFrame:
    """A history of about so many rows, each joining the iterations since the row before it.

    Training loss and accuracy are means over their samples; the other columns are those of the last iteration. A row
    ends at every evaluation, and joins no batches of different size. Where a loss is missing (NaN), so is its row's.
    """
    window = history["samples_seen"].sub(1) // math.ceil(history["samples_seen"].iloc[-1] / rows)
    evaluated = history["test_loss"].notna().shift(fill_value=False).cumsum()
    resized = (history["batch_size"] != history["batch_size"].shift()).cumsum()
    groups = history.groupby([window, evaluated, resized], sort=False)
    thinned = groups.tail(1).reset_index(drop=True)
    for column in ("train_loss", "train_accuracy"):
        weighted = (history[column] * history["batch_size"]).groupby([window, evaluated, resized], sort=False)
        complete = weighted.count() == groups.size()
        thinned[column] = (weighted.sum() / groups["batch_size"].sum()).where(complete).to_numpy()
    return thinned


def validate_result(result: dict) -> None:
    """Raise ValueError unless a result has every key of the schema, with a value of its type and of sense."""
    number, text = (int, float), str
    schema = {
        "": {
            "schema": int,
            "unit": text,
            "experiment": text,
            "profile": text,
            "seed": int,
            "settings": dict,
            "provenance": dict,
            "diverged": bool,
            "summary": dict,
            "history": dict,
        },
        "settings": {
            "experiment": text,
            "profile": text,
            "seed": int,
            "model": text,
            "data": text,
            "data_sha256": text,
            "optimizer": text,
            "momentum": number,
            "weight_decay": number,
            "learning_rate": number,
            "schedule": (dict, type(None)),
            "batch_sizes": list,
            "micro_batch_size": int,
            "evaluate_every": int,
            "precision": text,
        },
        "provenance": {
            "git_commit": (text, type(None)),
            "git_clean": (bool, type(None)),
            "versions": dict,
            "system": text,
            "device": text,
            "device_name": text,
            "threads": int,
            "started": text,
            "precision": text,
            "channels_last": bool,
            "precision_reason": text,
            "finished": text,
            "wall_seconds": number,
            "images_per_second": number,
            "resumed_after": list,
        },
        "summary": {name: (*number, type(None)) for name in HISTORY_COLUMNS[-4:]} | {"samples_seen": int},
        "history": dict.fromkeys(HISTORY_COLUMNS, list),
    }
    for section, keys in schema.items():
        values = result.get(section) if section else result
        where = section or "the result"
        if not isinstance(values, dict) or values.keys() != keys.keys():
            found = sorted(values) if isinstance(values, dict) else values
            raise ValueError(f"{where} must have exactly the keys {sorted(keys)}, not {found}")
        for key, kind in keys.items():
            if not isinstance(values[key], kind) or (isinstance(values[key], bool) and kind in (int, number)):
                raise ValueError(f"{key} in {where} has the wrong type: {values[key]!r}")
    made, summary = result["provenance"], result["summary"]
    if made["wall_seconds"] < 0 or made["images_per_second"] < 0 or made["threads"] < 1 or not made["versions"]:
        raise ValueError("wall_seconds, images_per_second, threads or versions in provenance make no sense")
    columns = [*result["history"].items(), *((key, [value]) for key, value in summary.items())]
    for column, values in columns:
        whole, most = column in COUNTS, 1 if column.endswith("accuracy") else math.inf
        kind = int if whole else (*number, type(None))
        for value in values:
            if not isinstance(value, kind) or isinstance(value, bool) or not (value is None or 0 <= value <= most):
                raise ValueError(f"{column} holds {value!r}, which it cannot be")
    if result["schema"] != SCHEMA_VERSION:
        raise ValueError(f"schema is {result['schema']}, and {SCHEMA_VERSION} is known here")
    if result["unit"] != unit_id(result["settings"]):
        raise ValueError(f"unit is {result['unit']!r}, but the settings are those of {unit_id(result['settings'])!r}")
    if any(result[key] != result["settings"][key] for key in ("experiment", "profile", "seed")):
        raise ValueError("experiment, profile or seed differs from the settings'")
    samples = result["history"]["samples_seen"]
    if len({len(column) for column in result["history"].values()}) != 1 or not samples:
        raise ValueError("the columns of history must have one length, and a row")
    if samples[-1] != result["summary"]["samples_seen"] or samples != sorted(set(samples)):
        raise ValueError("samples_seen in history must rise to the summary's")
    planned = sum(size * count for size, count in result["settings"]["batch_sizes"])
    if not result["diverged"] and samples[-1] != planned:
        raise ValueError(f"{samples[-1]} samples were seen instead of {planned}, and the run did not diverge")
    if not result["diverged"] and result["summary"]["train_loss"] is None:
        raise ValueError("train_loss in summary is missing, and the run did not diverge")


def status(
    profile: str, *, precision: str = "auto", results: Path = RESULTS, checkpoints: Path | None = None
) -> pd.DataFrame:
    """What is done and what is left of a profile.

    Returns
    -------
    DataFrame
        One row a unit: experiment, unit, state ("done", "running", "interrupted", "left", "waits for lr-range", or
        "damaged": the result or the checkpoint cannot be read), fraction of its samples seen, and estimated hours left
        at the speed measured on this machine so far. After the planned units come others of this profile, of more seeds
        or other settings, that are finished.
    """
    choice("profile", profile, PROFILES)
    results, checkpoints = Path(results), Path(checkpoints or checkpoint_directory())
    size = PROFILES[profile]
    rate = measured_speed(results) or ASSUMED_IMAGES_PER_SECOND
    rows = []
    for name in EXPERIMENTS:
        try:
            units = plan(name, profile, precision=precision, results=results)
        except (MissingResults, ValueError) as error:
            if isinstance(error, ValueError):
                LOG.warning("%s", error)
            hours = size.arm_samples / rate / 3600
            rows += [(name, f"{name}-{profile}-seed{seed}", "waits for lr-range", 0.0, hours) for seed in size.seeds]
            continue
        for settings in units:
            unit = unit_id(settings)
            samples = sum(batch_size * count for batch_size, count in settings["batch_sizes"])
            state, seen = _state(unit, samples, results, checkpoints)
            rows.append((name, unit, state, seen / samples, (samples - seen) / rate / 3600))
    planned = {row[1] for row in rows}
    others = [result for result in _stored(results) if result["profile"] == profile and result["unit"] not in planned]
    rows += [(result["experiment"], result["unit"], "done", 1.0, 0.0) for result in others]
    return pd.DataFrame(rows, columns=["experiment", "unit", "state", "seen", "hours_left"])


def _state(unit: str, samples: int, results: Path, checkpoints: Path) -> tuple[str, int]:
    """How far a planned unit is: its state as in `status`, and the samples seen."""
    path, lock = results / f"{unit}.json", checkpoints / f"{unit}.lock"
    running = lock.exists() and not _is_free(lock)
    if path.exists():
        with contextlib.suppress(ValueError):
            read_result(path)
            return "done", samples
        return "damaged", 0
    try:
        seen = int(load_checkpoint(checkpoints / f"{unit}.pt")["history"][-1, 1])
    except FileNotFoundError:
        seen = 0
    except CheckpointError:
        return "running" if running else "damaged", 0
    return "running" if running else "interrupted" if seen else "left", seen


def _stored(results: Path) -> list[dict]:
    """Every readable result of a directory; what else lies there is named in the log."""
    stored = []
    for path in sorted(Path(results).glob("*.json")):
        try:
            stored.append(read_result(path))
        except ValueError as error:
            LOG.warning("%s", error)
    return stored


def measured_speed(results: Path = RESULTS) -> float | None:
    """Median images a second, evaluations included, of the stored results made on this device; None without any."""
    speeds = [
        result["summary"]["samples_seen"] / result["provenance"]["wall_seconds"]
        for result in _stored(results)
        if result["provenance"]["device_name"] == _device_name() and result["provenance"]["wall_seconds"] > 0
    ]
    return float(np.median(speeds)) if speeds else None


def _summary(history: pd.DataFrame) -> dict:
    """Training loss and accuracy over the last epoch, and the last evaluation."""
    last_epoch = history[history["epoch"] > history["epoch"].iloc[-1] - 1]
    loss = float(candidate_losses(history.assign(learning_rate=0.0)).iloc[0])
    evaluated = history.loc[history["test_accuracy"].notna(), ["test_loss", "test_accuracy"]].tail(1)
    test = evaluated.iloc[0].to_dict() if len(evaluated) else {"test_loss": None, "test_accuracy": None}
    accuracy = float(np.average(last_epoch["train_accuracy"], weights=last_epoch["batch_size"]))
    summary = {"train_loss": loss, "train_accuracy": accuracy, **test}
    return {
        **{key: None if value is None else _plain(value) for key, value in summary.items()},
        "samples_seen": int(history["samples_seen"].iloc[-1]),
    }


def _plain(value: float) -> int | float | None:
    """A number as JSON has it: six significant digits, and null for what is not finite."""
    if isinstance(value, int):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


@functools.cache  # the code that runs is the code that was loaded: ask git once
def _git_state() -> dict:
    """Commit of the code and whether it was changed since, results aside; None where git cannot tell."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", ":(exclude)book/results")
        return {"git_commit": git("rev-parse", "HEAD"), "git_clean": not changed}
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_clean": None}


def _provenance() -> dict:
    """What is known of a run before it starts: code, versions, machine, time."""
    return {
        **_git_state(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "numpy": np.__version__,
        },
        "system": f"{platform.system()} {platform.machine()}",
        "device_name": _device_name(),
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _device_name() -> str:
    """The GPU's name, or the processor's and its number of cores."""
    if default_device().type == "cuda":
        return torch.cuda.get_device_name()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return f"{capabilities.get('cpu_name') or platform.processor() or 'unknown processor'}, {os.cpu_count()} cores"


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Whether this process got the lock; the system frees it however the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        for attempt in range(10):  # another process may just be looking whether it is free
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01 * attempt)
        else:
            yield False
            return
        yield True


def _is_free(path: Path) -> bool:
    """Whether no process holds the lock; a shared lock, so that those who look do not see one another."""
    with open(path) as file, contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.experiments", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the experiments and their size")
    run_parser = commands.add_parser("run", help="run what is not finished; interrupted units resume")
    run_parser.add_argument(
        "name", choices=[*EXPERIMENTS, "all"], metavar="NAME", help=f"{', '.join(EXPERIMENTS)}, or all"
    )
    run_parser.add_argument("--seeds", type=int, nargs="+", help="default: the profile's")
    again = run_parser.add_mutually_exclusive_group()
    again.add_argument("--fresh", action="store_true", help="forget results and checkpoints of these units first")
    resume = "skip what is finished and resume what is not (default)"
    again.add_argument("--resume", dest="fresh", action="store_false", default=False, help=resume)
    run_parser.add_argument(
        "--micro-batch-size", type=int, default=256, help="images that batch normalisation sees at once (default: 256)"
    )
    run_parser.add_argument(
        "--jobs", type=_positive, default=1, help="units at a time, which share the cores (default: 1, with all cores)"
    )
    status_parser = commands.add_parser("status", help="what is done, running and left, and the estimated hours")
    for subparser, default in ((run_parser, "quick"), (status_parser, None)):
        subparser.add_argument("--profile", choices=PROFILES, default=default, help=f"default: {default or 'both'}")
        subparser.add_argument("--precision", choices=PRECISIONS, default="auto")
        subparser.add_argument("--results", type=Path, default=RESULTS, help="directory (default: book/results)")
        subparser.add_argument(
            "--checkpoints", type=Path, default=None, help="directory (default: in the user's cache)"
        )
    options = parser.parse_args(arguments)
    if options.command == "list":
        _print_list()
        return 0
    checkpoints = options.checkpoints or checkpoint_directory()
    try:
        if options.command == "status":
            for profile in [options.profile] if options.profile else PROFILES:
                places = {"results": options.results, "checkpoints": checkpoints}
                _print_status(profile, status(profile, precision=options.precision, **places))
            return 0
        what = {
            "seeds": options.seeds,
            "precision": options.precision,
            "micro_batch_size": options.micro_batch_size,
            "results": options.results,
        }
        old = []
        if options.fresh:  # all of them before the first is trained: an interruption leaves no old ones among the new
            with contextlib.suppress(MissingResults, ValueError):  # what old results do not say is found out below
                for units in _programme(options.name, options.profile, **what):
                    old += units
        forget(old, options.results, checkpoints)
        progress = None if options.jobs == 1 else False
        for units in _programme(options.name, options.profile, **what):
            if options.fresh:
                forget([unit for unit in units if unit not in old], options.results, checkpoints)
            _check_own_precision(units, options.results)
            workers = Parallel(n_jobs=options.jobs)
            workers(delayed(_run_and_say)(unit, options.results, checkpoints, progress=progress) for unit in units)
    except (MissingResults, CheckpointError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _programme(
    name: str, profile: str, *, seeds: list[int] | None, micro_batch_size: int, **settings: object
) -> Iterator[list[dict]]:
    """Lists of independent units; "all" takes the arms seed by seed, so that the comparison can be made early."""
    if seeds is not None:
        _different_seeds(seeds)
    whole_number("micro_batch_size", micro_batch_size)
    if name != "all":
        yield plan(name, profile, seeds, micro_batch_size=micro_batch_size, **settings)
        return
    yield plan("lr-range", profile, **settings)  # at the default micro_batch_size, from which the bounds are taken
    arms = [arm for arm in EXPERIMENTS if arm != "lr-range"]
    by_seed = [(seed, arm) for seed in seeds or PROFILES[profile].seeds for arm in arms]
    units = (plan(arm, profile, [seed], micro_batch_size=micro_batch_size, **settings) for seed, arm in by_seed)
    yield list(chain(*units))


def _run_and_say(*arguments: object, **options: object) -> None:
    """`run_unit` in this process or a worker's, with a line on the output for what became of the unit."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    run_unit(*arguments, **options)


def _positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _print_list() -> None:
    for name, what in EXPERIMENTS.items():
        print(f"{name:14}{what}")
    for profile, size in PROFILES.items():
        print(
            f"\n{profile}: Fashion-MNIST {size.subset}; lr-range {len(CANDIDATES)} x {size.range_samples:,} samples; "
            f"the others {size.arm_samples:,} samples a seed, seeds {', '.join(map(str, size.seeds))}, batch up to "
            f"{size.largest_batch}"
        )


def _print_status(profile: str, table: pd.DataFrame) -> None:
    print(f"{profile}: {(table['state'] == 'done').sum()} of {len(table)} units done, ", end="")
    print(f"about {table['hours_left'].sum():.1f} hours left")
    for row in table.itertuples():
        print(f"  {row.unit:45} {row.state:18} {row.seen:6.1%}  {row.hours_left:5.2f} h left")


def _result_line(result: dict) -> str:
    summary, provenance = result["summary"], result["provenance"]
    if result["diverged"]:
        return f"{result['unit']}: diverged after {summary['samples_seen']:,} samples"
    return (
        f"{result['unit']}: train loss {summary['train_loss']:.4f}, test accuracy {summary['test_accuracy']:.2%}, "
        f"{provenance['wall_seconds']:.0f} s at {provenance['images_per_second']:.0f} images/s"
    )


if __name__ == "__main__":
    from lib.experiments import main as command  # of the importable module, so that worker processes find what it runs

    sys.exit(command())
