"""Units on the workers of a Dask cluster: where their files are, and what they say meanwhile.

Units go to Dask itself: joblib's backend for it would run them in the driver when the cluster begins with one worker,
and one unit that fails would cut the others off.

A worker that dies is started again by its nanny, and Dask gives its unit to a worker once more: it goes on from its
checkpoint. Where the workers see the driver's directories, results and checkpoints are simply there. Where one does
not, they lie in the cache of the worker's machine, and the driver brings them back: results when a unit is finished,
checkpoints every `FETCH_EVERY` seconds, so that they survive that machine.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from lib.arguments import ArgumentError, whole_number
from lib.datasets import load_fashion_mnist
from lib.experiments.places import Place, checkpoint_directory
from lib.experiments.plan import PROFILES, Unit
from lib.experiments.results import read_result
from lib.experiments.units import run_unit
from lib.files import write_atomically
from lib.training import Lines

LOG = logging.getLogger("lib.experiments")
TOPIC = "experiments"  # under which workers tell the driver what becomes of their units
FETCH_EVERY = 30.0  # seconds between two visits to workers that do not share the driver's directories
PATIENCE = 120  # seconds to wait for a scheduler, and for its first worker: both may just be starting


class ClusterError(RuntimeError):
    """A cluster that cannot be used, or is gone; the message says the way out."""


def run_on_cluster(
    units: Sequence[Unit], directory: Path, checkpoints: Path, address: str, *, threads: int | None = None
) -> list[dict | None]:
    """The results of units that are trained on a cluster, as `run_unit` returns them.

    `address` is "tcp://host:port" of a Dask scheduler, or "local:4" for four workers on this machine; `directory` and
    `checkpoints` are on this machine, or shared with the workers; `threads` are those of each unit, by default one.

    ClusterError if there is no such scheduler, a worker cannot be used (without this library or the data, or with
    several threads), or the cluster is gone: the same command resumes.
    """
    try:
        from distributed import as_completed
    except ModuleNotFoundError:
        raise ClusterError(
            "a cluster needs Dask distributed: pip install 'deep-learning-systems-book[cluster]'"
        ) from None
    results: dict[str, dict | None] = {}
    failed: dict[str, Exception] = {}
    with _connect(address) as client:
        shared = inspect_workers(client, units, directory, checkpoints)
        client.subscribe_topic(TOPIC, lambda event: LOG.info("%s", event[1]))
        with contextlib.nullcontext() if shared else _bringing_back(client, units, checkpoints):
            futures = {}
            for place, unit in ((Place(unit.id, directory, checkpoints), unit) for unit in units):
                where = (directory, checkpoints) if shared else _read(place.checkpoint)
                futures[client.submit(_on_worker, unit, where, threads or 1, pure=False)] = place
            for future in as_completed(futures):
                place = futures[future]
                try:
                    results[place.unit] = _store(place, future.result())
                except Exception as error:  # the others go on
                    failed[place.unit] = error
    if failed:
        raise ClusterError(_explain(failed, address, len(units)))
    return [results[unit.id] for unit in units]


def _store(place: Place, content: bytes | None) -> dict | None:
    """The result that a worker gave back, stored where it is not yet; it needs no checkpoint any more."""
    if content is None:
        return None
    if _read(place.result) != content:
        write_atomically(place.result, content)
    place.clear()
    return read_result(place.result)


def _explain(failed: dict[str, Exception], address: str, n_units: int) -> str:
    """Why units have no result, and the way out."""
    from distributed import CancelledError, KilledWorker

    name, error = next(iter(failed.items()))
    if isinstance(error, CancelledError):  # Dask's own, of all that was running when the scheduler went
        return f"the cluster at {address} is gone: start it again, and give the same command, which resumes"
    killed = isinstance(error, KilledWorker)
    reason = "its workers were killed again and again, most likely for memory" if killed else str(error)
    return f"{len(failed)} of {n_units} units failed, first {name}: {reason}; the same command resumes"


@contextlib.contextmanager
def _connect(address: str) -> Iterator[object]:
    """A client of the cluster at an address, with at least one worker; a local cluster ends with it."""
    from distributed import Client, LocalCluster

    kind, _, number = address.partition(":")
    if kind not in ("local", "tcp", "tls"):
        raise ArgumentError(f"cluster must be tcp://host:port of a scheduler or local:4, got {address!r}")
    if kind == "local":
        n_workers = whole_number("cluster: the number of local workers", int(number) if number.isdecimal() else number)
        with (
            LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=PATIENCE)
        client.wait_for_workers(1, timeout=PATIENCE)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no scheduler with a worker answers at {address} ({error}): start `dask scheduler` there and "
            "`dask worker` on each machine"
        ) from error
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # it may be gone already
            client.close()


def inspect_workers(client: object, units: Sequence[Unit], directory: Path, checkpoints: Path) -> bool:
    """Whether all workers see the driver's directories; ClusterError for workers that cannot train the units."""
    token = f".seen-{uuid.uuid4().hex}"
    marks = [place / token for place in {directory, checkpoints}]
    for mark in marks:
        mark.touch()
    try:
        seen = client.run(_look, units[0].profile, marks, on_error="return")
    finally:
        for mark in marks:
            mark.unlink()
    for worker, found in seen.items():
        if isinstance(found, Exception):
            raise ClusterError(f"worker {worker} cannot train: {type(found).__name__}: {found}")
    for worker, threads in client.nthreads().items():
        if threads > 1:  # torch's random numbers belong to a process: two units in one would disturb each other
            raise ClusterError(
                f"worker {worker} runs {threads} tasks at a time in one process: start workers with --nthreads 1, and "
                "more of them (--nworkers)"
            )
    shared = all(seen.values())
    do, back = ("share", "") if shared else ("do not share", ": both are brought back here")
    LOG.info("%d workers, which %s the directories of results and checkpoints%s", len(seen), do, back)
    return shared


def _look(profile: str, marks: Sequence[Path]) -> bool:
    """On a worker: whether it sees files of the driver; an error if it lacks the data."""
    load_fashion_mnist(PROFILES[profile].subset)
    return all(mark.exists() for mark in marks)


def _on_worker(unit: Unit, where: tuple[Path, Path] | bytes | None, threads: int) -> bytes | None:
    """Train a unit on a worker, telling the driver; the bytes of its result, None if another process is at it.

    `where`: the driver's directories if they are shared, else its checkpoint of the unit, if there is one.
    """
    from distributed import get_worker

    shared = isinstance(where, tuple)
    directories = where if shared else (_cache(), _cache())
    place = Place(unit.id, *directories)
    if not shared and where and not (place.checkpoint.exists() or place.result.exists()):
        write_atomically(place.checkpoint, where)  # from another machine, which may be gone
    with contextlib.redirect_stdout(Lines(partial(get_worker().log_event, TOPIC))):  # which the driver logs
        if run_unit(unit, *directories, threads=threads, verbose=True, progress="lines") is None:
            return None
    content = place.result.read_bytes()
    if not shared:
        place.result.unlink()
    return content


@contextlib.contextmanager
def _bringing_back(client: object, units: Sequence[Unit], checkpoints: Path) -> Iterator[None]:
    """Meanwhile fetch new checkpoints from workers that share no directory, now and then."""
    here = {unit.id: Place(unit.id, checkpoints, checkpoints) for unit in units}
    stop, known = threading.Event(), {unit: place.saved().seen for unit, place in here.items()}

    def visit() -> None:
        while not stop.wait(FETCH_EVERY):
            with contextlib.suppress(Exception):  # a worker or the scheduler is away: next time
                for found in client.run(_newer_checkpoints, known, on_error="ignore").values():
                    for unit, (seen, content) in found.items():
                        if seen > known[unit]:
                            write_atomically(here[unit].checkpoint, content)
                            known[unit] = seen

    visitor = threading.Thread(target=visit, daemon=True)
    visitor.start()
    try:
        yield
    finally:
        stop.set()
        visitor.join()


def _newer_checkpoints(known: dict[str, int]) -> dict[str, tuple[int, bytes]]:
    """On a worker: the checkpoints of this machine that have seen more samples than the driver knows of."""
    found = {}
    for place in (Place(unit, _cache(), _cache()) for unit in known):
        content = _read(place.checkpoint)
        if content is not None and (seen := place.saved().seen) > known[place.unit]:
            found[place.unit] = seen, content
    return found


def _cache() -> Path:
    """Where a machine that shares no directory with the driver keeps results and checkpoints."""
    return checkpoint_directory().parent / "cluster"


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
