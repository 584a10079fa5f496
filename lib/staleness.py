"""Staleness of gradients when several learners share one parameter server, and what it does to learning.

Every learner reads the weights, computes a gradient, sends it and reads again; sending and reading take no time. The
server numbers its weights: *version* 0 is where it starts, and update v turns version v - 1 into version v. A gradient
that was computed from version r and is part of update v has staleness ``v - 1 - r``: the number of updates between its
read and its own update, which is not counted. All learners read version 0 at time 0.

The five schemes of :func:`simulate` are those of Dutta, Joshi, Ghosh, Dube and Nagpurkar, "Slow and stale gradients
can win the race" (AISTATS 2018, arXiv 1803.01113).
"""

from __future__ import annotations

import heapq
import itertools
import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

#: The schemes of :func:`simulate`: when the server updates the weights, and who reads them then.
SCHEMES = ("async", "k-sync", "k-batch-sync", "k-async", "k-batch-async")

_CHUNK = 2**21  # compute times held at a time by the synchronous schemes
_BLOCK = 4096  # compute times drawn at a time where they are needed one by one
_ARRAYS_FROM_K = 24  # from this k on, k-async is faster with arrays than with a heap
_MARGIN = 4.0  # standard deviations (of a Poisson number) by which more times are drawn than expected to be needed
_EXACT = 2**53  # up to here a float holds every integer


def update_log(
    finish_times: Sequence[Sequence[float | Fraction]] | np.ndarray, *, tie_order: Sequence[int] | None = None
) -> pd.DataFrame:
    """Staleness of every gradient of asynchronous SGD, from the times at which the learners finish their gradients.

    Every gradient is applied at the moment it is finished, and its learner reads the new weights at once. A learner
    reads nothing after its last finish time.

    Parameters
    ----------
    finish_times : sequence of sequences, or array of shape (n_learners, n_gradients)
        For each learner its increasing finish times: ints, floats or Fractions, not negative, in any unit of time. The
        numbers of gradients may differ, also be zero. Comparisons are exact: nothing is rounded.
    tie_order : sequence of int, optional
        Which of several gradients that are finished at the same time is applied first: all learners' numbers,
        1 ... n_learners, the first to be applied first. By default the lower number.

    Returns
    -------
    pandas.DataFrame
        One row for each gradient, in the order in which they are applied:

        - ``time``: when it is applied; Fractions stay Fractions,
        - ``learner``: 1 ... n_learners, in the order of `finish_times`,
        - ``gradient``: number of the gradient among those of its learner, from 1,
        - ``read_version``: number of the updates before its read, so of the weights it was computed from,
        - ``version``: number of its own update, so of the weights that it makes, from 1,
        - ``staleness``: ``version - 1 - read_version``, the updates of others in between.

    Raises
    ------
    ValueError
        If there is no gradient at all, a time is negative, not finite or not a number, a learner's times do not
        increase, or `tie_order` is not a permutation of the learners' numbers.

    >>> log = update_log([[1, 2, 3, 4], [2.5, 5]])
    >>> log[log["learner"] == 1]["staleness"].tolist(), log[log["learner"] == 2]["staleness"].tolist()
    ([0, 0, 1, 0], [2, 2])

    At t = 5 a fifth gradient of learner 1 would be finished as well. Whose comes first is a rule, not a fact:

    >>> for order in ([1, 2], [2, 1]):
    ...     log = update_log([[1, 2, 3, 4, 5], [2.5, 5]], tie_order=order)
    ...     print(order, log.query("learner == 2")["staleness"].tolist())
    [1, 2] [2, 3]
    [2, 1] [2, 2]
    """
    times = _finish_times(finish_times)
    order = _tie_order(tie_order, len(times))
    counts = np.array([len(times[learner]) for learner in order])
    flat = _join([times[learner] for learner in order])
    return _log_of_finish_times(flat, counts, order + 1, len(flat), 1)


def simulate(
    n_learners: int,
    n_updates: int,
    *,
    compute_time: object,
    scheme: str = "async",
    k: int = 1,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """The first updates of `n_learners` learners whose gradients take random, constant or recorded times to compute.

    - "async": the server applies every gradient as it comes. Its learner reads at once; the others go on.
    - "k-sync": an update averages the first gradients of k different learners. The others are cancelled; then all read.
    - "k-batch-sync": an update averages the first k gradients, whoever sends them: a learner that has sent one computes
      another from the same version. What is unfinished is cancelled; then all read.
    - "k-async": an update averages the first gradients of k different learners. These wait for the update, then read;
      the others go on.
    - "k-batch-async": an update averages the first k gradients, whoever sends them. A learner that has sent one reads
      at once, after the k-th the new version; the others go on.

    Gradients that are finished at the same time count in the order of their learners.

    Nothing is approximated: enough compute times are drawn to be sure of the first updates, whatever the distribution.

    Parameters
    ----------
    n_learners : int
        At least 1.
    n_updates : int
        Number of updates, so of versions after the first; at least 1. Each is made of k gradients.
    compute_time : distribution, number, or a sequence with one entry for each learner
        How long a gradient takes, in any unit of time, independently of all others. A frozen distribution of
        ``scipy.stats`` on the positive numbers, such as ``expon(scale=2)``; a number, if every gradient takes that
        long; or one entry for each learner, each a distribution, a number, or its *recorded* compute times, of which
        every gradient that the learner starts uses the next one, cancelled or not. Constant times are multiplied, not
        added up: the fifth finish time of a period is ``5 * period``. If there are Fractions and no distribution, all
        times are kept as exact Fractions.
    scheme : str
        One of the five above.
    k : int
        Number of gradients in an update: 1 with "async", at most `n_learners` if they come from different learners.
    rng : numpy.random.Generator
        Source of the compute times.

    Returns
    -------
    pandas.DataFrame
        One row for each gradient that is applied, ``n_updates * k`` rows in the order in which the server receives
        them, with the columns of :func:`update_log`. The k gradients of an update share its ``version`` and its
        ``time``, which is that of the update. ``gradient`` counts a learner's applied gradients, not the cancelled.

    Raises
    ------
    ValueError
        If an argument is not as described, a distribution gives times that are not positive and finite, or there are
        too few recorded times to know the first `n_updates` updates.

    >>> from scipy.stats import expon
    >>> log = simulate(4, 10_000, compute_time=expon(), rng=np.random.default_rng(0))
    >>> log["staleness"].mean().round(1)
    np.float64(3.0)
    >>> log = simulate(2, 700, compute_time=[1, 2.5], rng=np.random.default_rng(0))
    >>> log.groupby("learner")["staleness"].mean().round(2).tolist()
    [0.4, 2.5]
    """
    n_learners, n_updates = _count(n_learners, "n_learners"), _count(n_updates, "n_updates")
    k = _group_size(scheme, k, n_learners)
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng must be a numpy.random.Generator, got {rng!r}: use numpy.random.default_rng(seed)")
    clocks = _clocks(compute_time, n_learners)
    if scheme in ("async", "k-batch-async") or (scheme == "k-async" and k == 1):
        flat, counts = _first_finish_times(clocks, n_learners, n_updates * k, k, rng)
        return _log_of_finish_times(flat, counts, np.arange(1, n_learners + 1), n_updates * k, k)
    one_by_one = any(isinstance(clock, _Recorded) or clock.exact for clock in clocks)
    if scheme == "k-async":
        arrays = k >= _ARRAYS_FROM_K and len(clocks) <= 4 and not one_by_one
        learners, times = (_k_async_by_arrays if arrays else _k_async)(clocks, n_learners, n_updates, k, rng)
    elif one_by_one:
        learners, times = _sync_one_by_one(clocks, n_learners, n_updates, k, rng, scheme == "k-batch-sync")
    else:
        learners, times = _sync(clocks, n_learners, n_updates, k, rng, scheme == "k-batch-sync")
    return _log_of_learners(learners, times, n_learners, k, fresh=scheme != "k-async")


def run_sgd(
    log: pd.DataFrame,
    gradient: Callable[[np.ndarray, np.ndarray], ArrayLike],
    initial_weights: ArrayLike,
    *,
    learning_rate: float | Callable[[np.ndarray], ArrayLike],
    keep: ArrayLike | None = None,
) -> np.ndarray:
    """Stochastic gradient descent along a log: every gradient is computed from the version that its learner has read.

    Update v makes ``weights[v] = weights[v - 1] - mean(rate * gradient(weights[read_version]))``, the mean being over
    the gradients of the update. Only versions that are still to be read are kept in memory: at most one a learner.

    Parameters
    ----------
    log : pandas.DataFrame
        What :func:`update_log` or :func:`simulate` returns, from its first row on.
    gradient : callable
        ``gradient(weights, rows)`` for the gradients of one update: `weights`, of shape (k, *shape), holds the version
        read for each of them, `rows`, of shape (k,), their positions in the log, say to look up the mini-batch of each.
        Returns an array of the shape of `weights`.
    initial_weights : array of any shape
        Version 0.
    learning_rate : float, array with one rate for each row of the log, or callable
        The rates of the gradients, not negative; or a function of the staleness that returns them, called once with the
        column of the log: ``lambda s: 0.1 / np.maximum(s, 1)`` is the rule of Zhang, Gupta, Lian and Liu
        (IJCAI 2016, arXiv 1511.05950).
    keep : sequence of int, optional
        Increasing versions to return; all of them by default.

    Returns
    -------
    array of shape (len(keep), *shape)

    Raises
    ------
    ValueError
        If the log does not start with the first update, `learning_rate` or `keep` is not as described, or a gradient
        has another shape than the weights.

    >>> log = update_log([[1, 2, 3, 4], [2.5, 5]])
    >>> run_sgd(log, lambda weights, rows: weights, [1.0], learning_rate=0.5)[:, 0]
    array([ 1.    ,  0.5   ,  0.25  , -0.25  , -0.375 , -0.1875, -0.0625])
    """
    read, version, staleness = _columns(log)
    n_updates = int(version[-1])
    keep = _kept(keep, n_updates)
    weights = np.array(initial_weights, dtype=float)
    rates = _rates(learning_rate, staleness).reshape(-1, *[1] * weights.ndim)
    last_use = np.zeros(n_updates + 1, dtype=np.int64)
    np.maximum.at(last_use, read, version)
    read_last = last_use[read] == version
    starts = np.searchsorted(version, np.arange(1, n_updates + 2)).tolist()
    positions = np.arange(len(read))
    alive = {0: weights}
    kept = np.empty((len(keep), *weights.shape))
    kept[0] = weights  # stays if version 0 is wanted
    place = dict(zip(keep.tolist(), range(len(keep)), strict=True))
    for v, (start, stop) in enumerate(itertools.pairwise(starts), start=1):
        sources = read[start:stop].tolist()
        values = np.array([alive[source] for source in sources])
        steps = np.asarray(gradient(values, positions[start:stop]))
        if steps.shape != values.shape:
            raise ValueError(
                f"gradient must return an array of the shape of the weights, {values.shape}: {steps.shape}"
            )
        weights = weights - (rates[start:stop] * steps).mean(axis=0)
        for source in itertools.compress(sources, read_last[start:stop]):
            alive.pop(source, None)
        if last_use[v]:
            alive[v] = weights
        if v in place:
            kept[place[v]] = weights
    return kept


# From finish times, or from the order of the learners, to a log.


def _log_of_finish_times(
    flat: np.ndarray, counts: np.ndarray, numbers_of_learners: np.ndarray, n_gradients: int, k: int
) -> pd.DataFrame:
    """The log of learners that never wait: `flat` holds the times of one learner after the other, `counts` of each."""
    order, times = _stable_sort(flat, n_gradients)
    received = np.zeros(len(flat), dtype=np.int64)
    received[order] = np.arange(1, n_gradients + 1)  # the server's number of each gradient; a later one has none
    starts = np.cumsum(counts) - counts
    before = np.empty_like(received)  # the number of the learner's gradient before it: the read followed at once
    before[1:] = received[:-1]
    before[starts[counts > 0]] = 0
    read_version = before[order]
    if k > 1:
        times, read_version = np.repeat(times[k - 1 :: k], k), read_version // k
    owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]
    return _frame(times, numbers_of_learners[owner], order - (starts - 1)[owner], read_version, k)


def _log_of_learners(learners: np.ndarray, times: np.ndarray, n_learners: int, k: int, *, fresh: bool) -> pd.DataFrame:
    """The log of learners that wait: whose gradients the server received, in order, and the times of the updates.

    Gradients are `fresh` if all learners read after every update; else a learner reads after the update of its own.
    """
    small = learners.astype(np.uint16) if n_learners <= 2**16 else learners  # sorted by radix
    order = np.argsort(small, kind="stable")
    counts = np.bincount(learners, minlength=n_learners)
    starts = np.cumsum(counts) - counts
    gradient = np.empty_like(order)
    gradient[order] = np.arange(len(order)) - np.repeat(starts, counts) + 1
    if fresh:
        read_version = np.arange(len(order)) // k
    else:
        versions = order // k + 1
        read_version = np.empty_like(versions)
        before = np.empty_like(versions)
        before[1:] = versions[:-1]
        before[starts[counts > 0]] = 0
        read_version[order] = before
    return _frame(np.repeat(times, k), learners + 1, gradient, read_version, k)


def _frame(times, learners, gradients, read_version, k) -> pd.DataFrame:
    version = np.repeat(np.arange(1, len(times) // k + 1), k)
    columns = {
        "time": times,
        "learner": learners,
        "gradient": gradients,
        "read_version": read_version,
        "version": version,
        "staleness": version - 1 - read_version,
    }
    return pd.DataFrame(columns, copy=False)


def _stable_sort(times: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The places of the first `n` times in order, and these times; equal times keep their order."""
    if times.dtype != object:  # NumPy's unstable sort is twice as fast, and right where no two times are equal
        order = np.argsort(times)
        in_order = times[order]
        if not np.any(in_order[1:] == in_order[:-1]):
            return order[:n], in_order[:n]
    order = np.argsort(times, kind="stable")[:n]
    return order, times[order]


# Learners that never wait.


def _first_finish_times(
    clocks: list[_Clock], n_learners: int, n: int, k: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """At least the first `n` finish times of all learners together: one learner after the other, and how many of each.

    Times are drawn in rounds. The n-th smallest time found so far is an upper bound of the true one, and a learner
    whose last time has reached the bound can add nothing before it. So all the others are continued, at most doubling
    their number of times in a round, until none is left.
    """
    share = n / n_learners
    wanted = np.full(n_learners, math.ceil(share + _MARGIN * math.sqrt(share)) + 1)
    last = np.zeros(n_learners, dtype=object if clocks[0].exact else float)
    started = np.zeros(n_learners, dtype=np.int64)
    behind = np.ones(n_learners, dtype=bool)
    exhausted = np.zeros(n_learners, dtype=bool)
    bound: object = np.inf
    blocks, found = [], np.empty(0, dtype=last.dtype)
    while True:
        fresh = [found]
        for clock in clocks:
            rows = clock.learners[(behind & ~exhausted)[clock.learners]]
            if not len(rows):
                continue
            times = clock.finish_times(started[rows], last[rows], int(wanted[rows].max()), rng)
            if times.shape[1] == 0:
                exhausted[rows] = True
                continue
            blocks.append((rows, started[rows], times))
            fresh.append(times.ravel() if bound is np.inf else times[times <= bound])
            started[rows] += times.shape[1]
            last[rows] = times[:, -1]
        found = np.concatenate(fresh)
        if len(found) >= n:
            bound = _kth(found, n)
            behind = last < bound
        if not np.any(behind & ~exhausted):
            break
        found = found[found <= bound]
        ahead = np.asarray(bound - last, dtype=float) * started / np.maximum(last.astype(float), 1e-300)
        wanted = np.minimum(ahead + _MARGIN * np.sqrt(ahead.clip(0)) + 1, started.clip(1)).clip(1).astype(np.int64)
    if np.any(behind):
        until = last[behind].min()
        possible = int(np.sum(found <= until)) // k
        raise ValueError(
            f"compute_time has too few recorded times: learner {np.flatnonzero(behind)[0] + 1} has {started[behind][0]}"
            f" of them, enough for {possible} updates; record more, or ask for fewer updates"
        )
    counts = np.zeros(n_learners, dtype=np.int64)
    masks = [times <= bound for _, _, times in blocks]
    for (rows, _, _), mask in zip(blocks, masks, strict=True):
        counts[rows] += mask.sum(axis=1)
    if len(blocks) == 1:
        return blocks[0][2][masks[0]], counts
    starts = np.cumsum(counts) - counts
    flat = np.empty(counts.sum(), dtype=last.dtype)
    for (rows, already, times), mask in zip(blocks, masks, strict=True):
        places = (starts[rows] + already)[:, None] + np.arange(times.shape[1])
        flat[places[mask]] = times[mask]
    return flat, counts


# Learners that wait, or are cancelled. Each function returns whose gradients the server receives, in order (numbered
# from 0, shape (n_updates * k,)), and the times of the updates, shape (n_updates,).


def _sync(clocks, n_learners, n_updates, k, rng, batch) -> tuple[np.ndarray, np.ndarray]:
    """k-sync and k-batch-sync: every update starts from scratch, so many are simulated at once."""
    learners, lengths = np.empty((n_updates, k), dtype=np.int64), np.empty(n_updates)
    at_once = max(1, _CHUNK // (n_learners + (min(k, n_learners) * k if batch else 0)))
    for start in range(0, n_updates, at_once):
        n = min(at_once, n_updates - start)
        times = np.empty((n, n_learners))
        for clock in clocks:
            shape = n, len(clock.learners)
            times[:, clock.learners] = clock.durations(math.prod(shape), rng).reshape(shape)
        senders, in_order = _first_k(times, min(k, n_learners))
        if batch:
            senders, in_order = _first_k_again(clocks, senders, in_order, k, rng)
        learners[start : start + n], lengths[start : start + n] = senders, in_order[:, -1]
    if all(isinstance(clock, _Constant) for clock in clocks):  # every update takes the same time
        return learners.ravel(), np.arange(1, n_updates + 1) * lengths[0]
    return learners.ravel(), np.cumsum(lengths)


def _first_k_again(clocks, senders, firsts, k, rng) -> tuple[np.ndarray, np.ndarray]:
    """k-batch-sync: the first k gradients of each update, from the learners that are first to send one and go on.

    Only the first k learners to send a gradient can be among the senders of the first k gradients.
    """
    n, width = senders.shape
    clock_of = _clock_of(clocks)
    by_learner = np.argsort(senders, axis=1)  # for ties
    senders, firsts = (np.take_along_axis(array, by_learner, axis=1) for array in (senders, firsts))
    times, done = firsts[:, :, None], 1
    while True:
        flat = times.reshape(n, -1)
        reached = _kth(flat, k) if flat.shape[1] >= k else np.full(n, np.inf)
        behind = times[:, :, -1] < reached[:, None]
        if not behind.any():
            break
        more = np.full((n, width, done), np.inf)  # twice as many gradients as before
        for number, clock in enumerate(clocks):
            mine = behind & (clock_of[senders] == number)
            last = times[:, :, -1][mine]
            more[mine] = clock.finish_times(np.full(len(last), done), last, done, rng)
        times, done = np.concatenate([times, more], axis=2), 2 * done
    first, in_order = _first_k(flat, k)
    return np.take_along_axis(senders, first // done, axis=1), in_order


def _first_k(times: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row the places of its k smallest entries, and these, in order; among equal ones the first come first."""
    kth = _kth(times, k)[:, None]
    chosen = times <= kth
    if np.count_nonzero(chosen) > k * len(times):  # a tie for the last place
        equal = times == kth
        surplus = chosen.sum(axis=1, keepdims=True) - k
        chosen &= ~equal | (np.cumsum(equal, axis=1) <= equal.sum(axis=1, keepdims=True) - surplus)
    places = np.flatnonzero(chosen).reshape(len(times), k) % times.shape[1]
    values = np.take_along_axis(times, places, axis=1)
    order = np.argsort(values, axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)


def _sync_one_by_one(clocks, n_learners, n_updates, k, rng, batch) -> tuple[np.ndarray, np.ndarray]:
    """As `_sync`, update by update: which recorded time is next depends on what was before. Times may be Fractions."""
    streams = _streams(clocks, n_learners, rng)
    learners, times, now = [], [], 0
    for _ in range(n_updates):
        pending = [(next(stream), learner) for learner, stream in enumerate(streams)]
        heapq.heapify(pending)
        for left in range(k - 1, -1, -1):
            elapsed, learner = heapq.heappop(pending)
            learners.append(learner)
            if batch and left:
                heapq.heappush(pending, (elapsed + next(streams[learner]), learner))
        now = now + elapsed
        times.append(now)
    return np.array(learners), _times(times, clocks)


def _k_async(clocks, n_learners, n_updates, k, rng) -> tuple[np.ndarray, np.ndarray]:
    """k-async: when a learner starts depends on when the others finish, so update by update."""
    streams = _streams(clocks, n_learners, rng)
    pending = [(next(stream), learner) for learner, stream in enumerate(streams)]
    heapq.heapify(pending)
    learners, times = [], []
    pop, push, append = heapq.heappop, heapq.heappush, learners.append
    delivered = range(k)
    for left in range(n_updates - 1, -1, -1):
        for _ in delivered:
            now, learner = pop(pending)
            append(learner)
        times.append(now)
        if left:
            for learner in learners[-k:]:
                push(pending, (now + next(streams[learner]), learner))
    return np.array(learners), _times(times, clocks)


def _k_async_by_arrays(clocks, n_learners, n_updates, k, rng) -> tuple[np.ndarray, np.ndarray]:
    """As `_k_async`, for large k and few clocks, whose times are floats."""
    clock_of = _clock_of(clocks)
    buffers = [_Buffer(clock, rng) for clock in clocks]

    def durations(of: np.ndarray) -> np.ndarray:
        if len(clocks) == 1:
            return buffers[0].take(len(of))
        drawn, owner = np.empty(len(of)), clock_of[of]
        for number, buffer in enumerate(buffers):
            mine = owner == number
            drawn[mine] = buffer.take(int(mine.sum()))
        return drawn

    pending = durations(np.arange(n_learners))
    learners, times = np.empty((n_updates, k), dtype=np.int64), np.empty(n_updates)
    for update in range(n_updates):
        now = np.partition(pending, k - 1)[k - 1]
        first = np.flatnonzero(pending <= now)
        first = first[np.argsort(pending[first], kind="stable")[:k]]
        learners[update], times[update] = first, now
        pending[first] = now + durations(first)
    return learners.ravel(), times


def _kth(values: np.ndarray, k: int) -> np.ndarray:
    """The k-th smallest along the last axis."""
    if values.dtype == object:
        return np.sort(values, axis=-1)[..., k - 1]
    return np.partition(values, k - 1, axis=-1)[..., k - 1]


def _times(times: list, clocks: list[_Clock]) -> np.ndarray:
    return np.array(times, dtype=object if clocks[0].exact else float)


# Compute times.


class _Clock:
    """How long the gradients of some learners (numbered from 0) take.

    `exact` clocks give Fractions, the others floats; all clocks of a simulation are of one sort.
    """

    exact = False

    def __init__(self, learners: Sequence[int]):
        self.learners = np.asarray(learners, dtype=np.int64)

    def finish_times(self, done: np.ndarray, last: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """The next `n` finish times, shape (rows, n), after `done` gradients, the last of them finished at `last`."""
        raise NotImplementedError

    def durations(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """The next `n` compute times."""
        raise NotImplementedError

    def stream(self, rng: np.random.Generator) -> Iterator:
        """Compute times one after the other, without an end."""
        raise NotImplementedError


class _Drawn(_Clock):
    """Independent draws from one distribution."""

    def __init__(self, learners, distribution):
        super().__init__(learners)
        self.distribution = distribution

    def _draw(self, shape, rng: np.random.Generator) -> np.ndarray:
        drawn = np.asarray(self.distribution.rvs(size=shape, random_state=rng), dtype=float)
        if drawn.shape != shape:
            raise ValueError(
                f"compute_time of learner {self.learners[0] + 1} draws arrays: give it parameters that are numbers, "
                "and a list with one distribution for each learner"
            )
        low, high = drawn.min(initial=np.inf), drawn.max(initial=0.0)
        if not (low > 0 and high < np.inf):
            raise ValueError(
                f"compute_time of learner {self.learners[0] + 1} gave the time {high if low > 0 else low}: choose a "
                "distribution whose times are positive and finite, such as expon or gamma"
            )
        return drawn

    def finish_times(self, done, last, n, rng):
        times = self._draw((len(done), n), rng)
        times[:, 0] += last
        return np.cumsum(times, axis=1, out=times)

    def durations(self, n, rng):
        return self._draw((n,), rng)

    def stream(self, rng):
        while True:
            yield from self.durations(_BLOCK, rng).tolist()


class _Constant(_Clock):
    """The same time for every gradient of one or more learners."""

    def __init__(self, learners, period):
        super().__init__(learners)
        self.period, self.exact = period, isinstance(period, Fraction)

    def finish_times(self, done, last, n, rng):
        return (done[:, None] + np.arange(1, n + 1)).astype(object if self.exact else float) * self.period

    def durations(self, n, rng):
        return np.full(n, self.period)

    def stream(self, rng):
        return itertools.repeat(self.period)


class _Recorded(_Clock):
    """Recorded compute times of one learner."""

    def __init__(self, learners, times):
        super().__init__(learners)
        self.times, self.exact = times, times.dtype == object

    def finish_times(self, done, last, n, rng):
        return np.cumsum(self.times)[None, done[0] : done[0] + n]

    def stream(self, rng):
        yield from self.times.tolist()
        raise ValueError(
            f"compute_time has too few recorded times: learner {self.learners[0] + 1} has {len(self.times)} of them "
            "and starts more gradients; record more, or ask for fewer updates"
        )


class _Buffer:
    """Compute times of one clock, drawn many at a time and handed out some at a time."""

    def __init__(self, clock: _Clock, rng: np.random.Generator):
        self.clock, self.rng, self.drawn = clock, rng, np.empty(0)

    def take(self, n: int) -> np.ndarray:
        while len(self.drawn) < n:
            self.drawn = np.concatenate([self.drawn, self.clock.durations(_BLOCK, self.rng)])
        taken, self.drawn = self.drawn[:n], self.drawn[n:]
        return taken


def _clock_of(clocks: list[_Clock]) -> np.ndarray:
    """For each learner the place of its clock."""
    owners = np.empty(sum(len(clock.learners) for clock in clocks), dtype=np.int64)
    for number, clock in enumerate(clocks):
        owners[clock.learners] = number
    return owners


def _streams(clocks: list[_Clock], n_learners: int, rng: np.random.Generator) -> list[Iterator]:
    """For each learner where its next compute time comes from; learners of one clock share it."""
    streams: list = [None] * n_learners
    for clock in clocks:
        stream = clock.stream(rng)
        for learner in clock.learners:
            streams[learner] = stream
    return streams


def _clocks(compute_time: object, n_learners: int) -> list[_Clock]:
    """The clocks of all learners, those with the same distribution or period together."""
    if _is_sequence(compute_time):
        if len(compute_time) != n_learners:
            raise ValueError(
                f"compute_time has {len(compute_time)} entries for {n_learners} learners: give one for each, or a "
                "single distribution or number for all"
            )
        entries = list(compute_time)
    else:
        entries = [compute_time] * n_learners
    parsed: dict[object, list] = {}
    for learner, entry in enumerate(entries):
        key = learner if _is_sequence(entry) else ("number", entry) if isinstance(entry, numbers.Real) else id(entry)
        if key in parsed:
            parsed[key][1].append(learner)
        else:
            parsed[key] = [_compute_time(entry, learner), [learner]]
    found = list(parsed.values())
    drawn = any(hasattr(time, "rvs") for time, _ in found)
    if not drawn and any(_holds_fractions(time) for time, _ in found):
        found = [(_as_fractions(time), learners) for time, learners in found]
    else:
        found = [(_as_floats(time), learners) for time, learners in found]
    kinds = (
        _Drawn if hasattr(time, "rvs") else _Recorded if isinstance(time, np.ndarray) else _Constant
        for time, _ in found
    )
    return [kind(learners, time) for kind, (time, learners) in zip(kinds, found, strict=True)]


def _compute_time(entry: object, learner: int) -> object:
    """A distribution, a number or an array of recorded times, as it was given, but checked."""
    name = f"compute_time of learner {learner + 1}"
    if isinstance(entry, numbers.Real):
        _as_numbers([entry], name, positive=True)
        return entry
    if _is_sequence(entry):
        times = _as_numbers(entry, name, positive=True)
        if not len(times):
            raise ValueError(f"{name} is empty: give its recorded times")
        return times
    if not (hasattr(entry, "rvs") and hasattr(entry, "support")):
        raise ValueError(
            f"{name} must be a frozen distribution of scipy.stats such as expon(scale=2), a number or recorded times, "
            f"got {entry!r}"
        )
    try:
        low, _ = entry.support()
    except TypeError:
        raise ValueError(
            f"{name} is a distribution without its parameters: freeze it by giving them, as in gamma(2)"
        ) from None
    if np.ndim(low):
        raise ValueError(f"{name} is an array of distributions: give a list with one distribution for each learner")
    discrete = hasattr(getattr(entry, "dist", entry), "pmf")
    if not (low > 0 or (low == 0 and not discrete)):
        raise ValueError(
            f"{name} has a distribution that starts at {low:g}, so a gradient could take no time or less: choose one "
            "on the positive numbers, such as expon, gamma, or truncnorm instead of norm"
        )
    return entry


def _holds_fractions(time: object) -> bool:
    if isinstance(time, np.ndarray):
        return time.dtype == object
    return isinstance(time, numbers.Rational) and not isinstance(time, numbers.Integral)


def _as_fractions(time: object) -> object:
    if isinstance(time, np.ndarray):
        exact = np.empty(len(time), dtype=object)
        exact[:] = [_as_fractions(value) for value in time.tolist()]
        return exact
    return Fraction(time.numerator, time.denominator) if isinstance(time, numbers.Rational) else Fraction(float(time))


def _as_floats(time: object) -> object:
    if isinstance(time, np.ndarray):
        return time.astype(float)
    return float(time) if isinstance(time, numbers.Real) else time


# Arguments.


def _finish_times(finish_times: object) -> list[np.ndarray]:
    if not _is_sequence(finish_times):
        raise ValueError(f"finish_times must be a sequence with the finish times of each learner, got {finish_times!r}")
    times = []
    for number, entry in enumerate(finish_times, start=1):
        name = f"finish_times of learner {number}"
        if not _is_sequence(entry):
            raise ValueError(f"{name} must be a sequence of numbers, got {entry!r}: give a sequence for each learner")
        values = _as_numbers(entry, name)
        late = np.flatnonzero(values[1:] <= values[:-1])
        if len(late):
            at = late[0]
            raise ValueError(
                f"{name} must increase, but gradient {at + 2} is finished at {values[at + 1]} and gradient {at + 1} "
                f"at {values[at]}: a learner computes one at a time, so sort its times and remove repetitions"
            )
        times.append(values)
    if sum(map(len, times)) == 0:
        raise ValueError("finish_times is empty: give at least one learner with one finish time")
    return times


def _as_numbers(entry: object, name: str, *, positive: bool = False) -> np.ndarray:
    """A one-dimensional array of finite numbers: int64, float64, or objects where these two would have to round."""
    given = entry if isinstance(entry, np.ndarray) else np.asarray(entry, dtype=object)
    types = set(map(type, given.tolist())) if given.dtype == object else {given.dtype.type}
    wrong = [kind.__name__ for kind in types if not issubclass(kind, numbers.Real) or issubclass(kind, bool)]
    if given.ndim != 1 or wrong:
        found = f"shape {given.shape}" if given.ndim != 1 else ", ".join(wrong)
        raise ValueError(f"{name} must be a sequence of numbers (int, float or Fraction), got {found}")
    values = _compact(given, types)
    with np.errstate(invalid="ignore"):  # comparing NaN
        bad = (values != values) | (values == np.inf) | (values <= 0 if positive else values < 0)
    if bad.any():
        at = int(np.argmax(bad))
        raise ValueError(
            f"{name} must hold finite {'positive' if positive else 'non-negative'} numbers (int, float or Fraction), "
            f"but number {at + 1} is {values[at]}"
        )
    return values


def _compact(values: np.ndarray, types: set[type]) -> np.ndarray:
    """The same numbers as int64 or float64; as objects if that would round, and if there are Fractions."""
    integers = all(issubclass(kind, numbers.Integral) for kind in types)
    if integers or not any(
        issubclass(kind, numbers.Rational) and not issubclass(kind, numbers.Integral) for kind in types
    ):
        try:
            compact = values.astype(np.int64 if integers else float, copy=False)
        except OverflowError:
            return values
        if compact is values or np.all((compact == values) | (values != values)):
            return compact
    return values.astype(object)


def _join(arrays: list[np.ndarray]) -> np.ndarray:
    """One array after the other, without rounding."""
    arrays = [array for array in arrays if len(array)]
    if len({array.dtype for array in arrays}) > 1:  # NumPy alone would turn large integers beside floats into floats
        round_off = any(array.dtype == object or array.max() > _EXACT for array in arrays)
        arrays = [array.astype(object if round_off else float) for array in arrays]
    return np.concatenate(arrays)


def _tie_order(tie_order: Sequence[int] | None, n_learners: int) -> np.ndarray:
    """Learners, numbered from 0, in the order in which ties are resolved."""
    if tie_order is None:
        return np.arange(n_learners)
    valid = _is_sequence(tie_order) and all(
        isinstance(learner, numbers.Integral) and not isinstance(learner, bool) for learner in tie_order
    )
    if not valid or sorted(tie_order) != list(range(1, n_learners + 1)):
        raise ValueError(
            f"tie_order must name every learner once, by its number from 1 to {n_learners}, the one that is applied "
            f"first at the front; got {tie_order!r}"
        )
    return np.array(tie_order, dtype=np.int64) - 1


def _is_sequence(value: object) -> bool:
    """Whether a value is a list, a tuple, an array, a pandas Series or the like."""
    if isinstance(value, str | bytes | Mapping) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def _count(value: object, name: str) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return int(value)


def _group_size(scheme: str, k: int, n_learners: int) -> int:
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}; got {scheme!r}")
    k = _count(k, "k")
    if scheme == "async" and k != 1:
        raise ValueError(f"k must be 1 with scheme 'async', got {k}: choose 'k-async' or 'k-batch-async' for more")
    if scheme in ("k-sync", "k-async") and k > n_learners:
        raise ValueError(
            f"k must be at most n_learners = {n_learners} with scheme {scheme!r}, where every gradient of an update "
            f"comes from another learner; got {k}: choose a smaller k, or '{scheme.replace('k-', 'k-batch-')}'"
        )
    return k


def _columns(log: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    missing = {"read_version", "version", "staleness"} - set(getattr(log, "columns", ()))
    if missing:
        raise ValueError(f"log must be what update_log or simulate returns; it has no {', '.join(sorted(missing))}")
    read, version, staleness = (log[name].to_numpy() for name in ("read_version", "version", "staleness"))
    steps = np.diff(version, prepend=0)
    if (
        not len(version)
        or version[0] != 1
        or steps.min() < 0
        or steps.max() > 1
        or np.any((read >= version) | (read < 0))
    ):
        raise ValueError("log must hold all updates in order from version 1 on: pass it whole, or its first rows")
    return read, version, staleness


def _rates(learning_rate: object, staleness: np.ndarray) -> np.ndarray:
    try:
        given = learning_rate(staleness) if callable(learning_rate) else learning_rate
        rates = np.broadcast_to(np.asarray(given, dtype=float), staleness.shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "learning_rate must be a number, or a function of the array of staleness that returns a number or an "
            f"array of the same length: {error}"
        ) from None
    bad = ~(np.isfinite(rates) & (rates >= 0))
    if bad.any():
        raise ValueError(f"learning_rate must be finite and not negative, got {rates[bad][0]}")
    return rates


def _kept(keep: ArrayLike | None, n_updates: int) -> np.ndarray:
    if keep is None:
        return np.arange(n_updates + 1)
    keep = np.asarray(keep)
    if keep.ndim != 1 or keep.dtype.kind not in "iu" or not len(keep):
        raise ValueError("keep must be a sequence of at least one version, each an integer")
    if keep[0] < 0 or keep[-1] > n_updates or np.any(np.diff(keep) <= 0):
        raise ValueError(f"keep must hold increasing versions from 0 to {n_updates}, the last one of the log")
    return keep
