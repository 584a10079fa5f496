"""Training units: one of them, several side by side, and all of an experiment."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from lib.arguments import choice, yes_or_no
from lib.datasets import load_fashion_mnist
from lib.devices import choose_precision, default_device, seeded
from lib.experiments.places import Place, checkpoint_directory
from lib.experiments.plan import ARMS, EXPERIMENTS, PROFILES, Unit, plan
from lib.experiments.provenance import after_training, before_training
from lib.experiments.results import (
    MissingResults,
    Results,
    check_one_kind,
    kind_of,
    read_result,
    stored_bounds,
    write_result,
)
from lib.files import check_writable, write_atomically
from lib.inception import SmallInception
from lib.training import TrainingRun, train

LOG = logging.getLogger("lib.experiments")
NEW_POOLS = 3  # how often killed workers are replaced before a run gives up


def run(
    name: str,
    profile: str,
    directory: str | os.PathLike,
    seeds: Sequence[int] | None = None,
    *,
    fresh: bool = False,
    precision: str = "auto",
    checkpoints: str | os.PathLike | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
    **options: object,
) -> list[dict]:
    """Run the units of an experiment that are not finished, and return the results of all of them.

    Units are independent and go through joblib, whose backend a caller may choose by `joblib.parallel_config`:
    processes, or a cluster that shares the directories; threads of one process are refused.

    Parameters
    ----------
    name : str
        One of `EXPERIMENTS`, or "all": lr-range, then the arms seed by seed, so that the comparison can be made early.
    profile, seeds, **options
        See `plan`. Of all, lr-range runs with its own seed and the default options, as the bounds are those of that.
    directory : path
        Of the results.
    fresh : bool
        Forget the results and checkpoints of all these units first.
    precision : {"auto", "float32", "bfloat16"}
        "auto": that of the stored results of the experiment, else what this device gains from.
    checkpoints : path, optional
        Default: `checkpoint_directory()`.
    jobs : int, optional
        Units at a time, in processes of their own, which share the threads; default: one, or what the caller's
        `joblib.parallel_config` says.
    threads : int, optional
        Of each unit; default: this process's, divided by `jobs` if that is given; on a cluster one.
    cluster : str, optional
        "tcp://host:port" of a Dask scheduler, or "local:4" for four workers here: see `lib.experiments.cluster`.

    Returns
    -------
    list of dict
        See `load_results`. A unit that another process is training is left to it, and is missing here.

    Raises
    ------
    ValueError, MissingResults, OSError
        Before anything is trained: for what makes no sense; for results in the directory that were computed otherwise
        than the units that are left would be (on another kind of device, or in another precision under the same
        settings); if the arms have no sweep to take their bounds from; if nothing can be written in a directory.
    BrokenProcessPool
        If workers were killed again and again.
    """
    choice("name", name, (*EXPERIMENTS, "all"))
    plan("lr-range", profile, None, seeds, precision=precision, **options)  # what makes no sense is refused now
    fresh = yes_or_no("fresh", fresh)
    directory = check_writable("results", directory)
    checkpoints = check_writable("checkpoints", checkpoints or checkpoint_directory())
    steps = partial(programme, name, profile, directory, seeds, precision=precision, **options)
    forgotten: set[str] = set()
    if fresh:  # all of them before the first is trained: an interruption leaves no old results among the new
        with contextlib.suppress(MissingResults, ValueError):  # what old results do not say is found out below
            for units in steps():
                forgotten |= {unit.id for unit in units}
        _forget(forgotten, directory, checkpoints)
    finished = []
    for units in steps():
        if fresh:  # those of other bounds than the old results had
            _forget({unit.id for unit in units} - forgotten, directory, checkpoints)
        _check_that_none_are_mixed(units, precision, Results(directory))
        if cluster is not None:
            from lib.experiments.cluster import run_on_cluster  # only where it is used: Dask is optional

            finished += run_on_cluster(units, directory, checkpoints, cluster, threads=threads)
        else:
            finished += _run_side_by_side(units, directory, checkpoints, jobs=jobs, threads=threads)
    return [result for result in finished if result is not None]


def programme(
    name: str,
    profile: str,
    directory: Path | Results,
    seeds: Sequence[int] | None = None,
    *,
    precision: str = "auto",
    **options: object,
) -> Iterator[list[Unit]]:
    """Lists of units, each of which needs nothing of its own list: the arms are planned when the sweep is done."""
    stored = Results.of(directory)
    if precision == "auto":
        earlier = stored.all(f"{'*' if name == 'all' else name}-{profile}-*")
        low = any(kind_of(result)[0] == "bfloat16" for result in earlier)
        precision = "bfloat16" if low else choose_precision(default_device()).dtype
    if name == "lr-range":
        yield plan(name, profile, None, seeds, precision=precision, **options)
        return
    if name == "all":
        yield plan("lr-range", profile, precision=precision)
    bounds = stored_bounds(profile, stored, precision)
    names = ARMS if name == "all" else [name]
    arms = [plan(arm, profile, bounds, seeds, precision=precision, **options) for arm in names]
    yield list(chain(*zip(*arms, strict=True)))


def _check_that_none_are_mixed(units: Sequence[Unit], asked: str, stored: Results) -> None:
    """Before hours are spent: what is left would be computed as the stored results that it is compared with were."""
    left = [unit for unit in units if not stored.path(unit.id).exists()]
    if not left:
        return
    device, planned = default_device(), left[0].settings.precision
    own = choose_precision(device)
    experiments, form = {unit.experiment for unit in left}, left[0].as_stored()["precision"]
    compared = [
        result
        for result in stored.all(f"*-{left[0].profile}-*")
        if result["experiment"] in experiments and result["settings"]["precision"] == form
    ]
    # a precision that this machine only emulates is taken if it is asked for, and not because others had it
    check_one_kind(compared, (own.dtype if asked == "auto" else planned, device.type))
    if planned == "bfloat16" != own.dtype:
        LOG.warning("this machine only emulates bfloat16 (%s): that is many times slower than float32", own.reason)


def _run_side_by_side(
    units: Sequence[Unit], directory: Path, checkpoints: Path, *, jobs: int | None, threads: int | None
) -> list[dict | None]:
    """Run units through joblib; workers that the system kills are replaced, and their units go on where they were."""
    several, verbose = (jobs or 1) > 1, LOG.isEnabledFor(logging.INFO)
    if several:
        share_cores()
    options = {
        "threads": threads or max(1, torch.get_num_threads() // (jobs or 1)),
        "verbose": verbose,
        "progress": "lines" if verbose and (several or not sys.stderr.isatty()) else None,
    }
    calls = [delayed(_in_a_worker)(run_unit, unit, directory, checkpoints, **options) for unit in units]
    killed = 0
    while True:
        try:
            return Parallel(n_jobs=jobs)(calls)
        except BrokenProcessPool as error:
            killed += 1
            if killed > NEW_POOLS:
                raise BrokenProcessPool(
                    "workers were killed again and again, most likely for memory: run the same command with fewer "
                    "--jobs, it resumes"
                ) from error
            LOG.warning("a worker was killed, most likely for memory; all units go on from their checkpoints")


def _in_a_worker(run_unit: Callable, *arguments: object, **options: object) -> dict | None:
    """Run a unit; in a process of its own Ctrl-C, which reaches all of a terminal, is left to the one that began it."""
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tqdm.set_lock(threading.RLock())  # its own is shared by processes, and is left over by one that is killed
    return run_unit(*arguments, **options)


def share_cores() -> None:
    """Let waiting threads of processes that start from now on give up their core: several trainings share them.

    Else two trainings side by side slow each other many times over; one alone is faster if its threads wait awake.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


def run_unit(
    unit: Unit,
    directory: Path,
    checkpoints: Path,
    *,
    threads: int | None = None,
    progress: bool | str | None = None,
    verbose: bool = False,
) -> dict | None:
    """Train one unit unless its result exists, resuming from its checkpoint; None if another process is at it.

    `threads` are set for the unit, and recorded; one that resumes goes on with as many as it began with, because
    another number would give other bits. `verbose`: say on the output what becomes of it, in a worker process too.
    """
    if verbose:
        logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    place = Place(unit.id, directory, checkpoints)
    with place.lock() as mine:
        if not mine:
            LOG.warning("%s: left to the process that is training it", unit.id)
            return None
        finished_before = place.result.exists()
        if not finished_before:
            outcome, attempts = _train_at(place, unit, threads, progress)
            write_result(place.result, unit, outcome, after_training(outcome, attempts))
        place.clear()  # a kill may have come between storing the result and this
        result = read_result(place.result)
        LOG.info("%s%s", result_line(result), ", finished before" * finished_before)
        return result


def _train_at(
    place: Place, unit: Unit, threads: int | None, progress: bool | str | None
) -> tuple[TrainingRun, list[dict]]:
    """Train a unit, from its checkpoint if there is one; the run, and the provenance of each attempt at it."""
    saved = place.saved()
    earlier = []
    if saved.seen:
        LOG.info("%s: resuming at %s of %s samples", unit.id, f"{saved.seen:,}", f"{unit.samples:,}")
        earlier = json.loads(place.attempts.read_text()) if place.attempts.exists() else []
    before = torch.get_num_threads()
    torch.set_num_threads(saved.threads or threads or before)
    try:
        attempts = [*earlier, before_training()]
        write_atomically(place.attempts, json.dumps(attempts).encode())
        return train_unit(unit, checkpoint=place.checkpoint, progress=progress)[1], attempts
    except KeyboardInterrupt:
        where = f"{place.saved().seen:,} of {unit.samples:,} samples"
        raise KeyboardInterrupt(f"{unit.id} is interrupted at {where}") from None
    finally:
        torch.set_num_threads(before)


def train_unit(
    unit: Unit,
    *,
    iterations: int | None = None,
    checkpoint: Path | None = None,
    progress: bool | str | None = None,
) -> tuple[SmallInception, TrainingRun]:
    """Train the network of a unit as its settings say, or only so many `iterations`; the network, and its training.

    Nothing is stored but the checkpoint, for which and for `progress` see `lib.training.train`. A unit is one of
    `plan`; `Unit.from_stored` makes it from a stored result's settings.
    """
    settings = replace(unit.settings, batch_sizes=unit.settings.batch_sizes[:iterations])
    data = load_fashion_mnist(PROFILES[unit.profile].subset)
    with seeded(settings.seed):
        model = SmallInception()
    description = unit.id.rpartition("-")[0]  # without the hash
    options = {"checkpoint": checkpoint, "checkpoint_every": 200, "description": description, "progress": progress}
    return model, train(model, data.train, data.test, settings, **options)


def _forget(units: Iterable[str], directory: Path, checkpoints: Path) -> None:
    for unit in units:
        Place(unit, directory, checkpoints).forget()


def result_line(result: dict) -> str:
    """A result in one line."""
    summary, made = result["summary"], result["provenance"]
    if result["diverged"]:
        return f"{result['unit']}: diverged after {summary['samples_seen']:,} samples"
    return (
        f"{result['unit']}: train loss {summary['train_loss']:.4f}, test accuracy {summary['test_accuracy']:.2%}, "
        f"{made['wall_seconds']:.0f} s at {made['images_per_second']:.0f} images/s"
    )
