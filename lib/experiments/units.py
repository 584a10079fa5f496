"""Training units: one of them, several side by side, and all of them; where each result is from."""

from __future__ import annotations

import contextlib
import functools
import glob
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

import torch
from joblib import Parallel, delayed

from lib.arguments import choice, whole_number, yes_or_no
from lib.checkpoints import load_checkpoint
from lib.datasets import load_fashion_mnist
from lib.devices import PRECISIONS, choose_precision, default_device, seeded
from lib.experiments.plan import ARMS, EXPERIMENTS, PROFILES, Unit, different_seeds, plan
from lib.experiments.results import (
    MissingResults,
    Results,
    check_one_kind,
    read_result,
    result_of,
    stored_bounds,
    write_result,
)
from lib.files import cache_directory, check_writable, lock, write_atomically
from lib.inception import SmallInception
from lib.training import HISTORY_COLUMNS, TrainingRun, train

LOG = logging.getLogger("lib.experiments")
NEW_POOLS = 3  # how often killed workers are replaced before a run gives up


def checkpoint_directory() -> Path:
    """Where unfinished units keep their checkpoints: the user's cache."""
    return cache_directory() / "checkpoints"


def run(
    name: str,
    profile: str,
    directory: str | os.PathLike,
    seeds: Sequence[int] | None = None,
    *,
    fresh: bool = False,
    precision: str = "auto",
    micro_batch_size: int = 256,
    checkpoints: str | os.PathLike | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    cluster: str | None = None,
) -> list[dict]:
    """Run the units of an experiment that are not finished, and return the results of all of them.

    Units are independent and go through joblib, whose backend a caller may choose by `joblib.parallel_config`:
    processes, or a cluster that shares the directories; threads of one process are refused. Every worker gets the
    precision and the number of threads that are chosen here.

    Parameters
    ----------
    name : str
        One of `EXPERIMENTS`, or "all": lr-range, then the arms seed by seed, so that the comparison can be made early.
    profile, seeds, micro_batch_size
        See `plan`. Of all, lr-range runs with its own seed and the default micro_batch_size.
    directory : path
        Of the results.
    fresh : bool
        Forget the results and checkpoints of all these units first.
    precision : {"auto", "float32", "bfloat16"}
        "auto" is what this device gains from, and what stored results of the experiment have.
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
    ArgumentError, ValueError
        For what makes no sense, and for results in the directory that were computed otherwise than the units that
        are left would be: on another kind of device, or in another precision under the same settings.
    MissingResults
        If the arms have no sweep to take their bounds from.
    OSError
        If nothing can be written in one of the directories: before anything is trained.
    BrokenProcessPool
        If workers were killed again and again.
    """
    choice("name", name, (*EXPERIMENTS, "all"))
    choice("precision", precision, PRECISIONS)
    what = {
        "profile": choice("profile", profile, PROFILES),
        "seeds": None if seeds is None else different_seeds(seeds),
        "micro_batch_size": whole_number("micro_batch_size", micro_batch_size),
        "precision": precision,
    }
    fresh = yes_or_no("fresh", fresh)  # before anything is deleted
    directory = check_writable("results", directory)
    checkpoints = check_writable("checkpoints", checkpoints or checkpoint_directory())
    old: set[str] = set()
    if fresh:  # all of them before the first is trained: an interruption leaves no old results among the new
        with contextlib.suppress(MissingResults, ValueError):  # what old results do not say is found out below
            for units in _programme(name, directory, **what):
                old |= {unit.id for unit in units}
        forget(old, directory, checkpoints)
    finished = []
    for units in _programme(name, directory, **what):
        if fresh:
            forget({unit.id for unit in units} - old, directory, checkpoints)
        _check_kind(units, precision, directory)
        if cluster is not None:
            from lib.experiments.cluster import run_on_cluster  # only where it is used: Dask is optional

            finished += run_on_cluster(units, directory, checkpoints, cluster, threads=threads)
        else:
            finished += _run_units(units, directory, checkpoints, jobs=jobs, threads=threads)
    return [result for result in finished if result is not None]


def _programme(
    name: str, directory: Path, *, profile: str, seeds: list[int] | None, precision: str, micro_batch_size: int
) -> Iterator[list[Unit]]:
    """Lists of units that need none of their own list; the arms are planned when the sweep before them is done."""
    precision = _planned_precision(precision, name, profile, directory)
    if name == "lr-range":
        yield plan(name, profile, None, seeds, precision=precision, micro_batch_size=micro_batch_size)
        return
    if name == "all":  # at the default micro_batch_size, from which the bounds are taken
        yield plan("lr-range", profile, precision=precision)
    bounds = stored_bounds(profile, directory, precision=precision)
    options = {"precision": precision, "micro_batch_size": micro_batch_size}
    by_seed = [(seed, arm) for seed in seeds or PROFILES[profile].seeds for arm in (ARMS if name == "all" else [name])]
    yield list(chain(*(plan(arm, profile, bounds, [seed], **options) for seed, arm in by_seed)))


def _planned_precision(asked: str, name: str, profile: str, directory: Path) -> str:
    """The precision of the units that are meant; of "auto" this device's, unless there are bfloat16 results."""
    if asked != "auto":
        return asked
    pattern = f"{'*' if name == 'all' else name}-{profile}-*"
    forms = {result["settings"]["precision"] for result in Results(directory).all(pattern)}
    return "bfloat16" if "auto" in forms else choose_precision(default_device()).dtype


def _check_kind(units: Sequence[Unit], asked: str, directory: Path) -> None:
    """Before hours are spent: refuse to mix precisions or kinds of device, and warn of emulated arithmetic."""
    stored, device = Results(directory), default_device()
    left = [unit for unit in units if not stored.path(unit.id).exists()]
    if not left:
        return
    own = choose_precision(device)
    computes = own.dtype if asked == "auto" else asked
    form = left[0].as_stored()["precision"]
    for experiment in {unit.experiment for unit in left}:
        results = stored.all(f"{experiment}-{left[0].profile}-*")
        check_one_kind([r for r in results if r["settings"]["precision"] == form], (computes, device.type))
    if computes == "bfloat16" != own.dtype:
        LOG.warning("this machine only emulates bfloat16 (%s): that is many times slower than float32", own.reason)


def _run_units(
    units: Sequence[Unit], directory: Path, checkpoints: Path, *, jobs: int | None, threads: int | None
) -> list[dict | None]:
    """Run units through joblib; workers that the system kills are replaced, and their units go on where they were."""
    threads = threads or max(1, torch.get_num_threads() // (jobs or 1))
    verbose = LOG.isEnabledFor(logging.INFO)
    lines = verbose and ((jobs or 1) > 1 or not sys.stderr.isatty())
    options = {"threads": threads, "verbose": verbose, "progress": "lines" if lines else None}
    if (jobs or 1) > 1:
        share_cores()
    for pools_left in range(NEW_POOLS, -1, -1):
        try:
            return Parallel(n_jobs=jobs)(delayed(run_unit)(unit, directory, checkpoints, **options) for unit in units)
        except BrokenProcessPool as error:
            if not pools_left:
                raise BrokenProcessPool(
                    "workers were killed again and again, most likely for memory: run the same command with fewer "
                    "--jobs, it resumes"
                ) from error
            LOG.warning("a worker was killed, most likely for memory; all units go on from their checkpoints")
    raise AssertionError


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
    path, checkpoint = Path(directory) / f"{unit.id}.json", Path(checkpoints) / f"{unit.id}.pt"
    with lock(checkpoint.with_suffix(".lock")) as mine:
        if not mine:
            LOG.warning("%s: left to the process that is training it", unit.id)
            return None
        if path.exists():
            result = read_result(path)
            _clear(checkpoint)  # a kill may have come between storing the result and this
            LOG.info("%s, finished before", result_line(result))
            return result
        seen, _, begun_with = saved_samples(checkpoint)
        if seen:
            LOG.info("%s: resuming at %s of %s samples", unit.id, f"{seen:,}", f"{unit.samples:,}")
        with _threads(begun_with or threads):
            attempts = _note_attempt(checkpoint)
            try:
                _, outcome = train_unit(unit, checkpoint=checkpoint, progress=progress)
            except KeyboardInterrupt:
                where = f"{saved_samples(checkpoint)[0]:,} of {unit.samples:,} samples"
                raise KeyboardInterrupt(f"{unit.id} is interrupted at {where}") from None
        write_result(path, result_of(unit, outcome, _provenance_of(outcome, attempts)))
        _clear(checkpoint)
        result = read_result(path)
        LOG.info("%s", result_line(result))
        return result


def train_unit(
    unit: Unit,
    *,
    iterations: int | None = None,
    checkpoint: Path | None = None,
    progress: bool | str | None = None,
) -> tuple[SmallInception, TrainingRun]:
    """Train the network of a unit as its settings say; nothing is stored but the checkpoint.

    Parameters
    ----------
    unit : Unit
        One of `plan`; `Unit.from_stored` makes it from a stored result's settings.
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
    settings = replace(unit.settings, batch_sizes=unit.settings.batch_sizes[:iterations])
    data = load_fashion_mnist(PROFILES[unit.profile].subset)
    with seeded(settings.seed):
        model = SmallInception()
    description = unit.id.rpartition("-")[0]  # without the hash
    options = {"checkpoint": checkpoint, "checkpoint_every": 200, "description": description, "progress": progress}
    return model, train(model, data.train, data.test, settings, **options)


def forget(units: Iterable[str], directory: Path, checkpoints: Path) -> None:
    """Delete the results and checkpoints of units, except of those that another process is training."""
    for unit in units:
        with lock(Path(checkpoints) / f"{unit}.lock") as mine:
            if mine:
                (Path(directory) / f"{unit}.json").unlink(missing_ok=True)
                _clear(Path(checkpoints) / f"{unit}.pt")


def saved_samples(checkpoint: Path) -> tuple[int, int, int | None]:
    """Samples seen in a checkpoint, those of the whole training, and its threads; zeros and None if there is none."""
    if not checkpoint.exists():
        return 0, 0, None
    state = load_checkpoint(checkpoint)
    seen = int(state["history"][-1][HISTORY_COLUMNS.index("samples_seen")])
    return seen, sum(size * count for size, count in state["settings"]["batch_sizes"]), state["settings"]["threads"]


def _clear(checkpoint: Path) -> None:
    """Delete a checkpoint, what is known of its attempts, and what a kill may have left half written."""
    torn = checkpoint.parent.glob(f".{glob.escape(checkpoint.stem)}.*")
    for path in (checkpoint, checkpoint.with_suffix(".attempts.json"), *torn):
        path.unlink(missing_ok=True)


def _note_attempt(checkpoint: Path) -> list[dict]:
    """Provenance of all attempts at a unit, this one last; earlier ones count if there is something to resume."""
    path = checkpoint.with_suffix(".attempts.json")
    earlier = json.loads(path.read_text()) if checkpoint.exists() and path.exists() else []
    attempts = [*earlier, provenance()]
    write_atomically(path, json.dumps(attempts).encode())
    return attempts


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """So many threads for the arithmetic, if any number is given."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def provenance() -> dict:
    """What is known of a run before it starts: code, versions, machine, time."""
    return {
        **git_state(Path(__file__)),
        "versions": {"python": platform.python_version(), "torch": torch.__version__}
        | {name: _version(name) for name in ("torchvision", "numpy")},
        "system": f"{platform.system()} {platform.machine()}",
        "device_name": device_name(),
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _provenance_of(outcome: TrainingRun, attempts: list[dict]) -> dict:
    """What is known of a finished run."""
    return {
        **attempts[-1],
        "device": outcome.device,
        "precision": outcome.precision.dtype,
        "channels_last": outcome.precision.channels_last,
        "precision_reason": outcome.precision.reason,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(outcome.seconds, 1),
        "images_per_second": round(outcome.images_per_second, 1),
        "resumed_after": attempts[:-1],
    }


@functools.cache  # the code that runs is the code that was loaded: ask git once
def git_state(file: Path) -> dict:
    """Commit of a file of the code and whether anything was changed since, results aside.

    None where git cannot tell, and where the file is none of the repository's: a library that is installed somewhere
    below a repository of somebody else has no commit of its own.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        changed = git("status", "--porcelain", "--", ":/", ":(top,exclude)book/results")
        return {"git_commit": git("rev-parse", "HEAD"), "git_clean": not changed}
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_clean": None}


def _version(package: str) -> str | None:
    """Of a package that need not be imported for it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def device_name() -> str:
    """The GPU's name, or the processor's and its number of cores."""
    if default_device().type == "cuda":
        return torch.cuda.get_device_name()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return f"{capabilities.get('cpu_name') or platform.processor() or 'unknown processor'}, {os.cpu_count()} cores"


def result_line(result: dict) -> str:
    """A result in one line."""
    summary, made = result["summary"], result["provenance"]
    if result["diverged"]:
        return f"{result['unit']}: diverged after {summary['samples_seen']:,} samples"
    return (
        f"{result['unit']}: train loss {summary['train_loss']:.4f}, test accuracy {summary['test_accuracy']:.2%}, "
        f"{made['wall_seconds']:.0f} s at {made['images_per_second']:.0f} images/s"
    )
