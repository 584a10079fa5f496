"""How far the experiments are."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd

from lib.arguments import choice
from lib.checkpoints import CheckpointError
from lib.experiments.plan import ARMS, PROFILES, plan
from lib.experiments.results import MissingResults, Results, stored_bounds
from lib.experiments.units import checkpoint_directory, device_name, saved_samples
from lib.files import lock, user_path

LOG = logging.getLogger("lib.experiments")
ASSUMED_IMAGES_PER_SECOND = 250  # of 2 cores with AVX-512 BF16, until something has been measured


def status(
    profile: str,
    directory: str | os.PathLike,
    *,
    precision: str = "auto",
    checkpoints: str | os.PathLike | None = None,
) -> pd.DataFrame:
    """What is done and what is left of a profile.

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
    results = {result["unit"]: result for result in stored.all()}
    planned = _planned(profile, stored, precision)
    begun = {path.stem for path in places.glob(f"*-{profile}-seed*.pt")}
    others = {unit for unit, result in results.items() if result["profile"] == profile} | begun
    speed = _measured_speed(list(results.values())) or ASSUMED_IMAGES_PER_SECOND
    rows = []
    for unit in [*planned, *sorted(others - planned.keys())]:
        if unit in results:
            state, seen, samples = "done", 1, 1
        else:
            state, seen, samples = _unfinished(places / f"{unit}.pt", planned.get(unit))
            state = "damaged" if stored.path(unit).exists() else state
        experiment = unit.split(f"-{profile}-")[0]
        rows.append(
            (experiment, unit, state, seen / samples, (samples - seen) / speed / 3600 if state != "done" else 0.0)
        )
    return pd.DataFrame(rows, columns=["experiment", "unit", "state", "seen", "hours_left"])


def _planned(profile: str, stored: Results, precision: str) -> dict[str, int]:
    """Samples of every planned unit, by its id; of arms that wait for the sweep, a name without the hash."""
    planned = {unit.id: unit.samples for unit in plan("lr-range", profile, precision=precision)}
    try:
        bounds = stored_bounds(profile, stored, precision)
    except (MissingResults, ValueError) as error:
        if isinstance(error, ValueError):
            LOG.warning("%s", error)
        size = PROFILES[profile]
        return planned | {f"{arm}-{profile}-seed{seed}": size.arm_samples for arm in ARMS for seed in size.seeds}
    units = [unit for arm in ARMS for unit in plan(arm, profile, bounds, precision=precision)]
    return planned | {unit.id: unit.samples for unit in units}


def _unfinished(checkpoint: Path, samples: int | None) -> tuple[str, int, int]:
    """State, samples seen and samples in all of a unit without a result; those in all are the plan's, if it has it."""
    path, running = checkpoint.with_suffix(".lock"), False
    if path.exists():
        with lock(path, timeout=0) as mine:
            running = not mine
    try:
        seen, in_all = saved_samples(checkpoint)[:2]
    except CheckpointError:
        return "running" if running else "damaged", 0, samples or 1
    waits = "-seed" in checkpoint.stem and checkpoint.stem.rsplit("-", 1)[-1].startswith("seed")
    state = "running" if running else "interrupted" if seen else "waits for lr-range" if waits else "left"
    return state, seen, samples or in_all or 1


def _measured_speed(results: list[dict]) -> float | None:
    """Median images a second, evaluations included, of the results made on this device; None without any."""
    name = device_name()
    speeds = [
        result["summary"]["samples_seen"] / result["provenance"]["wall_seconds"]
        for result in results
        if result["provenance"]["device_name"] == name and result["provenance"]["wall_seconds"] > 0
    ]
    return float(np.median(speeds)) if speeds else None
