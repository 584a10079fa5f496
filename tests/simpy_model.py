"""Learners and a parameter server as SimPy processes: an independent model of `lib.staleness.simulate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import simpy


class Server:
    """Collects k gradients for each update, and tells those who wait when there is a new version."""

    def __init__(self, environment: simpy.Environment, scheme: str, k: int, n_updates: int, service_time: float):
        self.environment, self.scheme, self.k, self.n_updates = environment, scheme, k, n_updates
        self.service_time, self.hands = service_time, simpy.Resource(environment, capacity=1)
        self.version, self.collected, self.rows = 0, [], []
        self.updated, self.finished = environment.event(), environment.event()

    def receive(self, learner: int, gradient: int, read_version: int) -> None:
        self.collected.append((learner, gradient, read_version))
        if len(self.collected) == self.k:
            self.version += 1
            for learner, gradient, read_version in self.collected:
                staleness = self.version - 1 - read_version
                self.rows.append((self.environment.now, learner, gradient, read_version, self.version, staleness))
            self.collected = []
            updated, self.updated = self.updated, self.environment.event()
            updated.succeed()
            if self.version == self.n_updates:
                self.finished.succeed()


def learn(server: Server, learner: int, next_time: Callable[[], float]) -> Iterator[simpy.Event]:
    """One learner: computes a gradient from the version it has read, sends it, and does what the scheme says."""
    gradient, cancels = 0, server.scheme in ("k-sync", "k-batch-sync")
    while True:
        read_version, updated = server.version, server.updated
        computed = server.environment.timeout(next_time())
        yield (computed | updated) if cancels else computed
        if cancels and server.version != read_version:
            continue  # an update came first
        if server.service_time:  # not with schemes that cancel
            with server.hands.request() as turn:
                yield turn
                yield server.environment.timeout(server.service_time)
        gradient += 1
        updated = server.updated
        server.receive(learner, gradient, read_version)
        if server.scheme in ("k-sync", "k-async"):
            yield updated


def simpy_rows(
    scheme: str, k: int, n_updates: int, next_times: Sequence[Callable[[], float]], service_time: float = 0.0
) -> list[tuple]:
    """The rows of the log, each with the columns of `lib.staleness.update_log`."""
    environment = simpy.Environment()
    server = Server(environment, scheme, k, n_updates, service_time)
    for learner, next_time in enumerate(next_times, start=1):
        environment.process(learn(server, learner, next_time))
    environment.run(server.finished)
    return server.rows
