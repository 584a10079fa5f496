"""Sweeps on a real Dask cluster of this machine: same bits as without, and whoever is killed, nothing is lost."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from lib.experiments import PROFILES, plan, read_result, run, run_unit
from lib.experiments.__main__ import main
from lib.experiments.cluster import ClusterError, inspect_workers, run_on_cluster
from tests import test_experiments
from tests.test_experiments import make_tiny

ROOT = Path(__file__).resolve().parents[1]
LONG = 64 * 1500  # samples of a unit that a test kills in the middle
tiny = test_experiments.tiny


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def environment(samples: int, cache: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DASK_DISTRIBUTED__WORKER__PRELOAD": "tests.tiny_worker",
        "TINY_SAMPLES": str(samples),
        "XDG_CACHE_HOME": str(cache),
        **more,
    }


class Cluster:
    """A scheduler and its workers, each a process of its own."""

    def __init__(self, folder: Path, n_workers: int = 2, threads: int = 1, samples: int = LONG, **more: str) -> None:
        self.address, self.folder = f"tcp://127.0.0.1:{free_port()}", folder
        self.environment = environment(samples, folder / "cache", **more)
        self.processes = [self.start("scheduler", "--host", self.address)]
        workers = ("--nworkers", str(n_workers), "--nthreads", "1", "--local-directory", str(folder))
        self.processes.append(self.start("worker", self.address, *workers))

    def start(self, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        with open(self.folder / f"{arguments[0]}.log", "wb") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    with contextlib.ExitStack() as stack:

        def start(**options: object) -> Cluster:
            folder = tmp_path / f"cluster{time.monotonic_ns()}"
            folder.mkdir()
            cluster = Cluster(folder, **options)
            stack.callback(cluster.stop)
            return cluster

        yield start


def meanwhile(condition: Callable[[], bool], action: Callable[[], None]) -> threading.Thread:
    """Do something as soon as something holds, while the test goes on."""

    def wait_and_act() -> None:
        end = time.monotonic() + 600  # on a machine that is busy, workers take minutes to start
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)
        action()

    thread = threading.Thread(target=wait_and_act, daemon=True)
    thread.start()
    return thread


def holder_of(checkpoint: Path) -> int:
    """The process that has the lock of a unit."""
    lock = checkpoint.with_suffix(".lock").stat()
    for line in Path("/proc/locks").read_text().splitlines():
        if line.split()[5].endswith(f":{lock.st_ino}"):
            return int(line.split()[4])
    raise AssertionError(f"nobody holds the lock of {checkpoint}")


def assert_same_bits(found: dict, expected: dict) -> None:
    pd.testing.assert_frame_equal(found["history"], expected["history"], check_exact=True)
    assert found["summary"] == expected["summary"]


@pytest.fixture
def two_long(tiny: dict, tmp_path_factory: pytest.TempPathFactory) -> list:
    """Two units, and what they give without a cluster (computed once)."""
    make_tiny(range_samples=LONG)
    tiny["checkpoints"].mkdir()
    alone = tmp_path_factory.getbasetemp() / "alone"
    return [(unit, run_unit(unit, alone, alone, threads=1)) for unit in plan("lr-range")[3:5]]


def test_workers_of_this_machine_give_the_same_results_and_say_how_far_they_are(
    tiny: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in environment(PROFILES["quick"].range_samples, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.INFO)
    there = run("lr-range", "quick", **tiny, cluster="local:2", threads=1)
    here = run("lr-range", "quick", tmp_path / "here", checkpoints=tmp_path / "here", threads=1)
    for found, expected in zip(there, here, strict=True):
        assert_same_bits(found, expected)
    assert "2 workers, which share the directories of results and checkpoints" in caplog.text
    said = [message for message in caplog.messages if ": train loss" in message or ": diverged" in message]
    assert {unit["unit"] for unit in there} <= {line.split(":")[0] for line in said}


def test_worker_that_is_killed_costs_nothing_but_its_last_steps(tiny: dict, two_long: list, start: Callable) -> None:
    units = [unit for unit, _ in two_long]
    checkpoint = tiny["checkpoints"] / f"{units[0].id}.pt"
    killed = []

    def kill() -> None:
        killed.append(holder_of(checkpoint))
        os.kill(killed[0], signal.SIGKILL)

    killer = meanwhile(checkpoint.exists, kill)
    found = run_on_cluster(units, tiny["directory"], tiny["checkpoints"], start().address, threads=1)
    killer.join()
    for (_, expected), result in zip(two_long, found, strict=True):
        assert_same_bits(result, expected)
    # the one that was killed resumed, the other was not disturbed
    assert [len(result["provenance"]["resumed_after"]) for result in found] == [1, 0]
    assert len(killed) == 1


def test_killed_cluster_is_named_and_the_same_command_resumes_elsewhere_where_nothing_is_shared(
    tiny: dict, two_long: list, start: Callable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lib.experiments.cluster.FETCH_EVERY", 0.3)
    caplog.set_level(logging.INFO)
    units, first = [unit for unit, _ in two_long], start(TINY_UNSHARED="1")
    checkpoint = tiny["checkpoints"] / f"{units[0].id}.pt"  # here, although the worker has another

    def kill() -> None:
        for process in first.processes:
            process.kill()

    killer = meanwhile(checkpoint.exists, kill)
    with pytest.raises(ClusterError, match=r"the cluster at tcp://.* is gone: start it again.* which resumes"):
        run_on_cluster(units, tiny["directory"], tiny["checkpoints"], first.address, threads=1)
    killer.join()
    assert checkpoint.exists()
    # other machines, with caches of their own: what was brought back goes on there
    second = start(TINY_UNSHARED="1")
    found = run_on_cluster(units, tiny["directory"], tiny["checkpoints"], second.address, threads=1)
    for (unit, expected), result in zip(two_long, found, strict=True):
        assert_same_bits(result, expected)
        assert read_result(tiny["directory"] / f"{unit.id}.json")["summary"] == expected["summary"]
    assert f"{units[0].id}: resuming at" in caplog.text
    assert "both are brought back here" in caplog.text
    assert list(second.folder.rglob("*.json")) == []
    assert list(tiny["checkpoints"].glob("*.pt")) == []


class Answering:
    """Stands in for a client: what its one worker answers when it is asked whether it can train."""

    def __init__(self, answer: object, threads: int = 1) -> None:
        self.run = lambda *arguments, **options: {"tcp://there:1": answer}
        self.nthreads = lambda: {"tcp://there:1": threads}


@pytest.mark.parametrize(
    ("client", "named"),
    [
        (Answering(OSError("Fashion-MNIST is missing")), "worker tcp://there:1 cannot train: OSError: Fashion-MNIST"),
        (Answering(ModuleNotFoundError("No module named 'lib'")), "worker tcp://there:1 cannot train: ModuleNotFound"),
        (Answering(True, threads=2), "runs 2 tasks at a time in one process: start workers with --nthreads 1"),
    ],
)
def test_worker_that_cannot_train_is_named_before_anything_is_trained(
    tiny: dict, client: Answering, named: str
) -> None:
    with pytest.raises(ClusterError, match=named):
        inspect_workers(client, plan("lr-range"), tiny["directory"], tiny["directory"])
    assert os.listdir(tiny["directory"]) == []


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("tcp://127.0.0.1:1", "no scheduler with a worker answers at tcp://127.0.0.1:1"),
        ("local:0", "the number of local workers must be a whole number of at least 1"),
        ("local:many", "the number of local workers must be a whole number"),
        ("nonsense", "cluster must be tcp://host:port of a scheduler or local:4, got 'nonsense'"),
    ],
)
def test_cluster_that_is_none_is_refused_in_one_sentence(
    tiny: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, address: str, named: str
) -> None:
    monkeypatch.setattr("lib.experiments.cluster.PATIENCE", 1)
    places = ["--results", str(tiny["directory"]), "--checkpoints", str(tiny["checkpoints"])]
    assert main(["run", "lr-range", *places, "--cluster", address]) == 1
    assert named in capsys.readouterr().err
