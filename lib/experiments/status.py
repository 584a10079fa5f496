"""How far the experiments are."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable

import numpy as np
import pandas as pd

from lib.arguments import choice
from lib.checkpoints import CheckpointError
from lib.experiments.places import Place, Saved, checkpoint_directory
from lib.experiments.plan import ARMS, PROFILES
from lib.experiments.provenance import device_name
from lib.experiments.results import MissingResults, Results
from lib.experiments.units import programme
from lib.files import user_path

LOG = logging.getLogger("lib.experiments")
ASSUMED_IMAGES_PER_SECOND = 250  # of 2 cores with AVX-512 BF16, until something has been measured


def status(
    profile: str,
    directory: str | os.PathLike,
    *,
    precision: str = "auto",
    checkpoints: str | os.PathLike | None = None,
) -> pd.DataFrame:
    """What is done and what is left of a profile, as `run` would go on with "all" of it.

    Returns
    -------
    DataFrame
        One row a unit: experiment, unit, state ("done", "running", "interrupted", "left", "waits for lr-range", or
        "damaged": the result or the checkpoint cannot be read), fraction of its samples seen, and estimated hours left
        at the speed measured on this machine so far. After the planned units come others of this profile, of more seeds
        or other settings, that are finished or begun.
    """
    choice("profile", profile, PROFILES)
    stored, places = Results(directory), user_path(checkpoints or checkpoint_directory())
    finished = {result["unit"]: result for result in stored.all()}
    planned, waiting = _planned(profile, stored, precision)
    others = {unit for unit, result in finished.items() if result["profile"] == profile}
    others |= {path.stem for path in places.glob(f"*-{profile}-seed*.pt")}
    speed = _measured_speed(finished.values()) or ASSUMED_IMAGES_PER_SECOND
    rows = []
    for unit in [*planned, *sorted(others - planned.keys())]:
        state, seen, samples = ("done", 1, 1) if unit in finished else ("waits for lr-range", 0, waiting.get(unit))
        if samples is None:
            state, seen, samples = _unfinished(Place(unit, stored.directory, places), planned.get(unit))
        experiment, hours = unit.split(f"-{profile}-")[0], (samples - seen) / speed / 3600
        rows.append((experiment, unit, state, seen / samples, hours))
    return pd.DataFrame(rows, columns=["experiment", "unit", "state", "seen", "hours_left"])


def _planned(profile: str, stored: Results, precision: str) -> tuple[dict[str, int], dict[str, int]]:
    """Samples of every planned unit, by its id; and of those that wait for the sweep, named without the hash."""
    planned: dict[str, int] = {}
    try:
        for units in programme("all", profile, stored, precision=precision):
            planned |= {unit.id: unit.samples for unit in units}
        return planned, {}
    except MissingResults:
        pass
    except ValueError as error:  # results of the sweep are damaged, or of two kinds
        LOG.warning("%s", error)
    size = PROFILES[profile]
    waiting = {f"{arm}-{profile}-seed{seed}": size.arm_samples for arm in ARMS for seed in size.seeds}
    return planned | waiting, waiting


def _unfinished(place: Place, samples: int | None) -> tuple[str, int, int]:
    """State, samples seen and samples in all of a unit without a result; those in all are the plan's, if it has it."""
    state, saved = "damaged", Saved(0, 0, None)
    with contextlib.suppress(CheckpointError):
        saved = place.saved()
        state = "interrupted" if saved.seen else "left"
    if place.is_running():
        state = "running"
    elif place.result.exists():
        state = "damaged"
    return state, saved.seen, samples or saved.samples or 1


def _measured_speed(results: Iterable[dict]) -> float | None:
    """Median images a second, evaluations included, of the results made on this device; None without any."""
    name = device_name()
    speeds = [
        result["summary"]["samples_seen"] / result["provenance"]["wall_seconds"]
        for result in results
        if result["provenance"]["device_name"] == name and result["provenance"]["wall_seconds"] > 0
    ]
    return float(np.median(speeds)) if speeds else None
