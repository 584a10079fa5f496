"""A parameter server for real: learners in processes of their own, one server, asynchronous SGD.

The calling process is the server. It alone writes the weights, so there is no lock that a killed learner could take
with it, and no update is ever half done. Each learner has a pipe, for a word at a time, and memory that both sides see:
one row for the weights that it has read, one for its gradient. A gradient is applied, and its learner's next weights
are written, in one go: that is the problem's "communication takes no time", and why the laws of :mod:`lib.staleness`
hold exactly, however the operating system schedules the processes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from ctypes import Array
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from lib.arguments import ArgumentError, choice, real_number, whole_number
from lib.staleness import run_sgd, update_log


class Task(Protocol):
    """What is learned. It travels to the learners, so it must be picklable and of a class that they can import."""

    initial_weights: np.ndarray

    def gradient(self, weights: np.ndarray, learner: int, number: int) -> np.ndarray:
        """Gradient `number` of a learner, both from 1: it alone decides on the mini-batch, so that a run repeats."""


class Run(NamedTuple):
    """What a run has measured."""

    log: pd.DataFrame  #: the columns of `lib.staleness.update_log`; ``time`` in seconds from the first read
    weights: np.ndarray  #: the last version
    compute_times: np.ndarray  #: for each row of the log the seconds from its read to its delivery
    lost: dict[int, float]  #: learners whose process died, and when the server noticed; they deliver no more


def run_parameter_server(
    task: Task,
    n_learners: int,
    n_updates: int,
    *,
    learning_rate: float,
    scheme: str = "async",
    k: int = 1,
    compute_times: Sequence[Sequence[float]] | None = None,
    start_method: str = "spawn",
    timeout: float = 120.0,
    on_update: Callable[[int], None] | None = None,
) -> Run:
    """Train with real learners until the server has made `n_updates` updates.

    Of gradients that have arrived when the server looks, those of lower learners come first. A learner that dies is
    left out from then on. However a run ends, by Ctrl-C too, no process and no shared memory is left behind.

    Parameters
    ----------
    scheme, k : str, int
        "async", one gradient an update; or "k-sync": an update averages the gradients of the first k learners, which
        wait for it. A gradient that comes later than its version's update is dropped (a computation that runs elsewhere
        cannot be cancelled halfway), and its learner reads.
    compute_times : sequence of sequences, optional
        For each learner how many seconds its gradients take at least; it sleeps for the rest. After the last it stops.
        In "async" sleeping too long once is made up for, so that finish times stay the sums of compute times.
    start_method : str
        How processes are started: "spawn", "fork" or "forkserver", where the system has it. Scripts that use "spawn"
        call this function under ``if __name__ == "__main__"``.
    timeout : float
        Seconds after which the run is given up.
    on_update : callable, optional
        Called by the server with the number of each update that it has made, say to show progress; learners wait.

    Returns
    -------
    Run
        With fewer than `n_updates` updates only if all learners have used up their `compute_times`.

    Raises
    ------
    RuntimeError
        If a learner's gradient fails (the message has its reason), or too few learners are left.
    TimeoutError
        If `timeout` seconds are over.
    """
    n_learners, n_updates = whole_number("n_learners", n_learners), whole_number("n_updates", n_updates)
    learning_rate = real_number("learning_rate", learning_rate, at_least=0)
    deadline = time.perf_counter() + real_number("timeout", timeout, above=0)
    choice("scheme", scheme, ("async", "k-sync"))
    k = whole_number("k", k, at_most=1 if scheme == "async" else n_learners)
    context = multiprocessing.get_context(choice("start_method", start_method, multiprocessing.get_all_start_methods()))
    times = [None] * n_learners if compute_times is None else _seconds(compute_times, n_learners)
    learners: list[_Learner] = []
    try:
        for number, own_times in enumerate(times, 1):
            learners.append(_Learner(context, number, task, own_times, scheme == "async"))
            learners[-1].start()
        for learner in learners:
            learner.wait_until_ready(deadline)
        weights = np.array(task.initial_weights, dtype=float)
        return _serve(learners, weights, n_updates, learning_rate, scheme, k, deadline, on_update)
    finally:
        for learner in learners:
            learner.end()


def _seconds(compute_times: Sequence[Sequence[float]], n_learners: int) -> list[list[float]]:
    times = [[real_number("compute_times", t, at_least=0) for t in of_one] for of_one in compute_times]
    if len(times) != n_learners or not all(times):
        raise ArgumentError(f"compute_times must hold a sequence of seconds for each of {n_learners} learners")
    return times


def replay(
    log: pd.DataFrame, task: Task, *, learning_rate: float, keep: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:
    """The versions of the weights, as `lib.staleness.run_sgd` finds them along a log in this process."""
    learner, number = log["learner"].to_numpy(), log["gradient"].to_numpy()

    def gradient(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.array([task.gradient(w, int(learner[r]), int(number[r])) for w, r in zip(weights, rows, strict=True)])

    return run_sgd(log, gradient, task.initial_weights, learning_rate=learning_rate, keep=keep)


def laws(run: Run, task: Task, *, learning_rate: float) -> dict[str, bool]:
    """What must hold of every asynchronous run, whatever the scheduling: each law in words, and whether it does."""
    log = run.log
    by_learner = dict(list(log.groupby("learner")))
    finish_times = [by_learner[n]["time"].tolist() if n in by_learner else [] for n in range(1, max(by_learner) + 1)]
    last = int(log["version"].iloc[-1])
    return {
        "update_log finds the same log from the measured finish times": update_log(finish_times).equals(log),
        "each learner's staleness, plus one each, adds up to its last version": all(
            (own["staleness"] + 1).sum() == own["version"].max() for own in by_learner.values()
        ),
        "run_sgd along the log ends in the same weights, bit for bit": np.array_equal(
            replay(log, task, learning_rate=learning_rate, keep=[last])[0], run.weights
        ),
    }


def _serve(
    learners: list[_Learner],
    weights: np.ndarray,
    n_updates: int,
    learning_rate: float,
    scheme: str,
    k: int,
    deadline: float,
    on_update: Callable[[int], None] | None,
) -> Run:
    """The server's loop: take what arrives, update, let the senders read."""
    version, rows, lost, group = 0, [], {}, []
    at_work = {learner.pipe: learner for learner in learners}
    start = now = time.perf_counter_ns()
    for learner in learners:  # together, once the last is ready: imports take seconds
        learner.read(weights, 0)
    for learner in _arrivals(at_work, deadline):
        if learner is None:
            raise TimeoutError(f"only {version} of {n_updates} updates were made in time: give a longer timeout")
        now = max(now + 1, time.perf_counter_ns())  # no two events at one moment, so times alone give the order
        seconds = learner.receive()
        if seconds is None:
            at_work.pop(learner.pipe, None)
            lost[learner.number] = (now - start) / 1e9
            if len(at_work) < k:
                named = ", ".join(map(str, sorted(lost)))
                raise RuntimeError(
                    f"after {version} of {n_updates} updates these learners were lost: {named}; an update needs {k} "
                    "that run"
                )
        elif scheme == "k-sync" and learner.read_version < version:  # the update was made without it
            learner.read(weights, version)
        else:
            group.append((learner, seconds))
        if len(group) < k:
            continue
        version += 1
        weights = weights - (learning_rate * np.array([one.gradient for one, _ in group])).mean(axis=0)
        for one, seconds in group:
            rows.append(((now - start) / 1e9, one.number, one.delivered + 1, one.read_version, version, seconds))
            if not one.goes_on(weights, version):
                at_work.pop(one.pipe, None)
        group = []
        if on_update:
            on_update(version)
        if version == n_updates:
            break
    log = pd.DataFrame(rows, columns=["time", "learner", "gradient", "read_version", "version", "seconds"])
    compute_times = log.pop("seconds").to_numpy()
    return Run(log.eval("staleness = version - 1 - read_version"), weights, compute_times, lost)


def _arrivals(at_work: dict[Connection, _Learner], deadline: float) -> Iterator[_Learner | None]:
    """Learners that have something to say, in rounds, so that a fast one is not always first; None: time is over."""
    while at_work:
        ready = wait(list(at_work), max(0.0, deadline - time.perf_counter()))
        yield from [at_work[pipe] for pipe in ready] or [None]


class _Learner:
    """The server's side of one learner: its process, its pipe, and the memory that both see."""

    def __init__(
        self, context: BaseContext, number: int, task: Task, compute_times: list[float] | None, catches_up: bool
    ) -> None:
        self.number, self.gradients = number, None if compute_times is None else len(compute_times)
        self.read_version = self.delivered = 0
        size = np.size(task.initial_weights)
        memory = context.RawArray("d", 2 * size)  # has no name, so that nothing is left to remove, even by kill -9
        self.weights, self.gradient = np.frombuffer(memory).reshape(2, size)
        self.pipe, self.other_end = context.Pipe()
        arguments = number, task, self.other_end, memory, compute_times, catches_up
        self.process = context.Process(target=_learn, args=arguments, name=f"learner {number}", daemon=True)

    def start(self) -> None:
        self.process.start()
        self.other_end.close()  # before another learner inherits it: else its death would not close the pipe

    def wait_until_ready(self, deadline: float) -> None:
        if not wait([self.pipe], max(0.0, deadline - time.perf_counter())):
            raise TimeoutError(f"learner {self.number} has not started in time: give a longer timeout")
        if self.receive() is None:
            raise RuntimeError(
                f"learner {self.number} ended before it began: its process wrote the reason to stderr (a script has "
                'to call run_parameter_server under if __name__ == "__main__")'
            )

    def receive(self) -> float | None:
        """The seconds that its gradient took; None if its end of the pipe is closed, for then its process is gone."""
        try:
            message = self.pipe.recv()
        except (EOFError, ConnectionError):
            return None
        if isinstance(message, str):
            raise RuntimeError(f"learner {self.number} failed at its gradient {self.delivered + 1}: {message}")
        return message

    def goes_on(self, weights: np.ndarray, version: int) -> bool:
        """Read after a delivery, unless it was the last one."""
        self.delivered += 1
        if self.delivered == self.gradients:
            return False
        self.read(weights, version)
        return True

    def read(self, weights: np.ndarray, version: int) -> None:
        self.weights[:] = weights
        self.read_version = version
        with contextlib.suppress(ConnectionError):  # it has died since; its closed pipe is the next that is ready
            self.pipe.send(self.delivered + 1)

    def end(self) -> None:
        if self.process.pid is not None:
            self.process.kill()  # what it computes, nobody waits for; it holds nothing that others need
            self.process.join()
        self.pipe.close()
        self.other_end.close()


def _learn(
    number: int, task: Task, pipe: Connection, memory: Array, compute_times: list[float] | None, catches_up: bool
) -> None:
    """A learner's process: read, compute, deliver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the server ends them
    parent = multiprocessing.parent_process().sentinel
    weights, shared = np.frombuffer(memory).reshape(2, -1)
    pipe.send(0.0)  # ready
    due = None
    while pipe in wait([pipe, parent]):  # else the server is gone
        gradient = pipe.recv()
        began = time.perf_counter()
        try:
            value = np.asarray(task.gradient(weights, number, gradient))
            if value.shape != weights.shape:
                raise ValueError(f"the gradient has the shape {value.shape}, the weights have {weights.shape}")
            shared[:] = value
        except Exception as error:
            pipe.send(" ".join(f"{type(error).__name__}: {error}".split()))
            return
        if compute_times is not None:
            due = (due if catches_up and due else began) + compute_times[gradient - 1]
            time.sleep(max(0.0, due - time.perf_counter()))
        pipe.send(time.perf_counter() - began)
