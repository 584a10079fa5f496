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
from pathlib import Path

from lib.arguments import ArgumentError, whole_number
from lib.datasets import load_fashion_mnist
from lib.experiments.plan import PROFILES, Unit
from lib.experiments.results import read_result
from lib.experiments.units import checkpoint_directory, run_unit, saved_samples
from lib.files import write_atomically

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

    Parameters
    ----------
    units : sequence of Unit
    directory, checkpoints : path
        Of the results and checkpoints, on this machine or shared with the workers.
    address : str
        "tcp://host:port" of a Dask scheduler, or "local:4" for four workers on this machine.
    threads : int, optional
        Of each unit; default: one.

    Raises
    ------
    ClusterError
        If there is no such scheduler, a worker cannot be used (without this library or the data, or with several
        threads), or the cluster is gone: the same command resumes.
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
        places = (directory, checkpoints) if shared else (None, None)
        with _bringing_back(client, units, checkpoints, unless=shared):
            futures = {}
            for unit in units:
                saved = None if shared else _read(checkpoints / f"{unit.id}.pt")
                futures[client.submit(_on_worker, unit, *places, saved, threads or 1, pure=False)] = unit
            for future in as_completed(futures):
                unit = futures[future]
                try:
                    results[unit.id] = _store(unit, future.result(), directory, checkpoints)
                except Exception as error:  # the others go on
                    failed[unit.id] = error
    if failed:
        raise ClusterError(_explain(failed, address, len(units)))
    return [results[unit.id] for unit in units]


def _store(unit: Unit, content: bytes | None, directory: Path, checkpoints: Path) -> dict | None:
    """The result that a worker gave back, stored where it is not yet; it needs no checkpoint any more."""
    if content is None:
        return None
    path = directory / f"{unit.id}.json"
    if _read(path) != content:
        write_atomically(path, content)
    (checkpoints / f"{unit.id}.pt").unlink(missing_ok=True)
    return read_result(path)


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
    threads = {worker: n for worker, n in client.nthreads().items() if n > 1}
    if threads:  # torch's random numbers belong to a process: two units in one would disturb each other
        raise ClusterError(
            f"worker {next(iter(threads))} runs {next(iter(threads.values()))} tasks at a time in one process: start "
            "workers with --nthreads 1, and more of them (--nworkers)"
        )
    shared = all(seen.values())
    LOG.info(
        "%d workers, %s",
        len(seen),
        "which share the directories of results and checkpoints"
        if shared
        else "which do not share the directories of results and checkpoints: both are brought back here",
    )
    return shared


def _look(profile: str, marks: Sequence[Path]) -> bool:
    """On a worker: whether it sees files of the driver; an error if it lacks the data."""
    load_fashion_mnist(PROFILES[profile].subset)
    return all(mark.exists() for mark in marks)


def _on_worker(
    unit: Unit, directory: Path | None, checkpoints: Path | None, saved: bytes | None, threads: int
) -> bytes | None:
    """Train a unit on a worker, telling the driver; the bytes of its result, None if another process is at it."""
    from distributed import get_worker

    place = checkpoint_directory().parent / "cluster"  # of this machine, where nothing is shared
    results, checkpoints = directory or place, checkpoints or place
    checkpoint = checkpoints / f"{unit.id}.pt"
    if saved is not None and not (checkpoint.exists() or (results / f"{unit.id}.json").exists()):
        write_atomically(checkpoint, saved)  # from another machine, which may be gone
    with contextlib.redirect_stdout(_ToDriver(get_worker())):
        if run_unit(unit, results, checkpoints, threads=threads, verbose=True, progress="lines") is None:
            return None
    stored = results / f"{unit.id}.json"
    content = stored.read_bytes()
    if directory is None:
        stored.unlink()
    return content


class _ToDriver:
    """What a worker prints becomes an event that the driver logs."""

    def __init__(self, worker: object) -> None:
        self.worker = worker

    def write(self, text: str) -> None:
        if text.strip():
            self.worker.log_event(TOPIC, text.strip())

    def flush(self) -> None:
        pass


@contextlib.contextmanager
def _bringing_back(client: object, units: Sequence[Unit], checkpoints: Path, *, unless: bool) -> Iterator[None]:
    """Meanwhile fetch new checkpoints from the workers, now and then, and once more at the end."""
    stop, wanted = threading.Event(), {unit.id: saved_samples(checkpoints / f"{unit.id}.pt")[0] for unit in units}

    def fetch() -> None:
        answers = client.run(_newer_checkpoints, wanted, on_error="ignore")
        for name, (seen, content) in (item for answer in answers.values() for item in answer.items()):
            if seen > wanted[name]:
                write_atomically(checkpoints / f"{name}.pt", content)
                wanted[name] = seen

    def visit() -> None:
        while not stop.wait(FETCH_EVERY):
            with contextlib.suppress(Exception):  # a worker or the scheduler is away: next time
                fetch()

    visitor = threading.Thread(target=visit, daemon=True)
    if not unless:
        visitor.start()
    try:
        yield
    finally:
        stop.set()
        if not unless:
            visitor.join()


def _newer_checkpoints(wanted: dict[str, int]) -> dict[str, tuple[int, bytes]]:
    """On a worker: the checkpoints of this machine that are further on, with the samples that they have seen."""
    place, found = checkpoint_directory().parent / "cluster", {}
    for name, known in wanted.items():
        path = place / f"{name}.pt"
        content = _read(path)
        if content is not None and (seen := saved_samples(path)[0]) > known:
            found[name] = seen, content
    return found


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
