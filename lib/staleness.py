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
from collections.abc import Callable, Sequence
from fractions import Fraction
from numbers import Integral

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lib.arguments import ArgumentError, check_unmasked, choice, generator, real_number, whole_number
from lib.compute_times import checked_times, is_sequence, streams

#: The schemes of :func:`simulate`: when the server updates the weights, and who reads them then.
SCHEMES = ("async", "k-sync", "k-batch-sync", "k-async", "k-batch-async")


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

        - ``time``: when it is applied, as it was given; Fractions stay Fractions,
        - ``learner``: 1 ... n_learners, in the order of `finish_times`,
        - ``gradient``: number of the gradient among those of its learner, from 1,
        - ``read_version``: number of the updates before its read, so of the weights it was computed from,
        - ``version``: number of its own update, so of the weights that it makes, from 1,
        - ``staleness``: ``version - 1 - read_version``, the updates between its read and its own. Here they are all
          of others, since a learner computes one gradient at a time.

    Raises
    ------
    ArgumentError
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
    rank = _ranks(tie_order, len(times))
    # Python compares ints, floats and Fractions exactly; an array would have to round large integers
    events = sorted((time, rank[learner], learner) for learner, of_one in enumerate(times) for time in of_one)
    read = [0] * len(times)  # the version that each learner is working with
    read_versions = []
    for version, (_, _, learner) in enumerate(events, start=1):
        read_versions.append(read[learner])
        read[learner] = version
    return _log([time for time, _, _ in events], [learner for _, _, learner in events], read_versions)


def simulate(
    n_learners: int,
    n_updates: int,
    *,
    compute_time: object,
    scheme: str = "async",
    k: int = 1,
    rng: np.random.Generator | int,
    tie_order: Sequence[int] | None = None,
    service_time: float = 0.0,
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
        every gradient that the learner starts uses the next one, cancelled or not. Times are added and compared as
        Python does it: whole numbers and Fractions exactly. In schemes where nobody waits, and if `service_time` is 0,
        constant times are multiplied, not added up: the fifth finish time of a period is ``5 * period``.
    scheme : str
        One of the five above.
    k : int
        Number of gradients in an update: 1 with "async", at most `n_learners` if they come from different learners.
    rng : numpy.random.Generator or int
        Source of the compute times, or its seed.
    tie_order : sequence of int, optional
        Whose gradient counts first of several that are finished at the same time, as in :func:`update_log`.
    service_time : float
        How long the server is busy with each gradient, in the same unit, one gradient after the other. The gradient
        is applied, and its learner reads or waits, when the server is through with it. The problem has zero.

    Returns
    -------
    pandas.DataFrame
        One row for each gradient that is applied, ``n_updates * k`` rows in the order in which the server receives
        them, with the columns of :func:`update_log`. The k gradients of an update share its ``version`` and its
        ``time``, a float, which is that of the update. ``gradient`` counts a learner's applied gradients, not the
        cancelled. The updates that ``staleness`` counts may, in "k-batch-async", hold own gradients of the learner: it
        reads before the update that its last one is part of.

    Raises
    ------
    ArgumentError
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
    n_learners, n_updates = whole_number("n_learners", n_learners), whole_number("n_updates", n_updates)
    k, rank = _group_size(scheme, k, n_learners), _ranks(tie_order, n_learners)
    service_time, rng = real_number("service_time", service_time, at_least=0), generator("rng", rng)
    waits = scheme in ("k-sync", "k-async")  # a learner whose gradient was received reads only after the update
    cancels = scheme in ("k-sync", "k-batch-sync")  # an update ends all computations
    # if nobody waits, each learner starts at its own last finish: its finish times are known beforehand
    known = not (waits or cancels or service_time)
    times_of = streams(compute_time, n_learners, known, rng)

    queue: list[tuple] = []  # gradients that are being computed, the first to be finished first: (when, rank, learner)
    read = [0] * n_learners  # the version that each learner is working with
    now, times, learners, read_versions = 0, [], [], []

    def start(learner: int, version: int) -> None:
        read[learner] = version
        time = next(times_of[learner], None)
        unknown = time is None  # nothing more is recorded: what happens after this moment is not known
        when = now if unknown else time if known else now + time
        heapq.heappush(queue, (when, n_learners if unknown else rank[learner], learner))

    for learner in range(n_learners):
        start(learner, 0)
    for version in range(1, n_updates + 1):
        complete = version * k
        while len(learners) < complete:
            finished, order, learner = heapq.heappop(queue)
            if order == n_learners:
                raise _too_few_times(learner, version)
            now = max(now, finished) + service_time if service_time else finished  # one at a time; at once if it can
            learners.append(learner)
            read_versions.append(read[learner])
            if not waits and len(learners) < complete:
                start(learner, version - 1)
        times.append(float(now))
        if cancels:
            queue.clear()
        readers = range(n_learners) if cancels else learners[-k:] if waits else learners[-1:]
        for learner in readers:
            start(learner, version)
    return _log(times, learners, read_versions, k)


def run_sgd(
    log: pd.DataFrame,
    gradient: Callable[[np.ndarray, np.ndarray], ArrayLike],
    initial_weights: ArrayLike,
    *,
    learning_rate: float | Callable[[np.ndarray], ArrayLike],
    keep: Sequence[int] | np.ndarray | None = None,
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
    keep : sequence or array of int, optional
        The versions to return, increasing, from 0 to the last; without it all of them.

    Returns
    -------
    array of shape (len(keep), *shape)

    Raises
    ------
    ArgumentError
        If the log does not start with the first update, `learning_rate` or `keep` is not as described, or a gradient
        has another shape than the weights.

    >>> log = update_log([[1, 2, 3, 4], [2.5, 5]])
    >>> run_sgd(log, lambda weights, rows: weights, [1.0], learning_rate=0.5)[:, 0]
    array([ 1.    ,  0.5   ,  0.25  , -0.25  , -0.375 , -0.1875, -0.0625])
    """
    read, version, staleness = _checked_log(log)
    n_updates = int(version[-1])
    keep = _kept(keep, n_updates)
    check_unmasked("initial_weights", initial_weights)
    weights = np.array(initial_weights, dtype=float)
    rates = _rates(learning_rate, staleness).reshape(-1, *[1] * weights.ndim)
    last_use = dict(zip(read.tolist(), version.tolist(), strict=True))  # a later row replaces an earlier one
    held, kept, wanted = {0: weights}, {0: weights}, set(keep.tolist())  # what is still to be read, what is returned
    firsts = np.searchsorted(version, np.arange(2, n_updates + 1))  # row of each update from the second on
    for v, rows in enumerate(np.split(np.arange(len(read)), firsts), start=1):
        sources = read[rows].tolist()
        values = np.array([held[source] for source in sources])
        steps = np.asarray(gradient(values, rows))
        if steps.shape != values.shape:
            raise ArgumentError(
                f"gradient must return an array of the shape of the weights, {values.shape}: {steps.shape}"
            )
        weights = weights - (rates[rows] * steps).mean(axis=0)
        for source in set(sources):
            if last_use[source] == v:
                del held[source]
        if v in last_use:
            held[v] = weights
        if v in wanted:
            kept[v] = weights
    return np.array([kept[v] for v in keep.tolist()])


def _log(times: list, learners: list[int], read_versions: list[int], k: int = 1) -> pd.DataFrame:
    """The table of gradients in the order in which they are applied, from the time of each update of k of them."""
    time = pd.Series(times)
    if time.tolist() != times:  # large integers beside floats: pandas has rounded them
        time = pd.Series(times, dtype=object)
    log = pd.DataFrame({"time": np.repeat(time.to_numpy(), k), "learner": np.array(learners) + 1})
    log["gradient"] = log.groupby("learner").cumcount() + 1
    log["read_version"] = read_versions
    log["version"] = np.arange(len(log)) // k + 1
    return log.eval("staleness = version - 1 - read_version")


# Arguments.


def _finish_times(finish_times: object) -> list[list]:
    if not is_sequence(finish_times):
        raise ArgumentError(
            f"finish_times must be a sequence with the finish times of each learner, got {finish_times!r}"
        )
    times = [checked_times(f"finish_times of learner {n}", entry) for n, entry in enumerate(finish_times, start=1)]
    for number, of_one in enumerate(times, start=1):
        for gradient, (before, after) in enumerate(itertools.pairwise(of_one), start=2):
            if after <= before:
                raise ArgumentError(
                    f"finish_times of learner {number} must increase, but gradient {gradient} is finished at {after} "
                    f"and gradient {gradient - 1} at {before}: a learner computes one at a time, so sort its times and "
                    "remove repetitions"
                )
    if not any(times):
        raise ArgumentError("finish_times is empty: give at least one learner with one finish time")
    return times


def _ranks(tie_order: Sequence[int] | None, n_learners: int) -> list[int]:
    """For each learner its place in the order in which ties are resolved."""
    if tie_order is None:
        return list(range(n_learners))
    order = list(tie_order) if is_sequence(tie_order) else []
    whole = all(isinstance(number, Integral) and not isinstance(number, bool) for number in order)
    if not whole or sorted(order) != list(range(1, n_learners + 1)):
        raise ArgumentError(
            f"tie_order must name every learner once, by its number from 1 to {n_learners}, the one that is applied "
            f"first at the front; got {tie_order!r}"
        )
    return np.argsort(order).tolist()


def _group_size(scheme: str, k: int, n_learners: int) -> int:
    choice("scheme", scheme, SCHEMES)
    k = whole_number("k", k)
    if scheme == "async" and k != 1:
        raise ArgumentError(f"k must be 1 with scheme 'async', got {k}: choose 'k-async' or 'k-batch-async' for more")
    if scheme in ("k-sync", "k-async") and k > n_learners:
        raise ArgumentError(
            f"k must be at most n_learners = {n_learners} with scheme {scheme!r}, where every gradient of an update "
            f"comes from another learner; got {k}: choose a smaller k, or '{scheme.replace('k-', 'k-batch-')}'"
        )
    return k


def _too_few_times(learner: int, version: int) -> ArgumentError:
    return ArgumentError(
        f"compute_time has too few recorded times: learner {learner + 1} would start another gradient, so only "
        f"{version - 1} updates are known; record more, or ask for fewer"
    )


def _checked_log(log: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    missing = {"read_version", "version", "staleness"} - set(getattr(log, "columns", ()))
    if missing:
        raise ArgumentError(f"log must be what update_log or simulate returns; it has no {', '.join(sorted(missing))}")
    read, version, staleness = (log[name].to_numpy() for name in ("read_version", "version", "staleness"))
    steps = np.diff(version, prepend=0)
    whole = len(version) and version[0] == 1 and steps.min() >= 0 and steps.max() <= 1
    if not whole or np.any((read >= version) | (read < 0)):
        raise ArgumentError("log must hold all updates in order from version 1 on: pass it whole, or its first updates")
    sizes = np.diff(np.flatnonzero(np.append(steps, 1)))
    if np.any(sizes != sizes[0]):
        raise ArgumentError("log holds updates of different numbers of gradients: one is cut, so pass it whole")
    return read, version, staleness


def _rates(learning_rate: object, staleness: np.ndarray) -> np.ndarray:
    given = learning_rate(staleness) if callable(learning_rate) else learning_rate
    check_unmasked("learning_rate", given)
    try:
        rates = np.broadcast_to(np.asarray(given, dtype=float), staleness.shape)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            "learning_rate must be a number, or a function of the array of staleness that returns a number or an "
            f"array of the same length: {error}"
        ) from None
    bad = ~(np.isfinite(rates) & (rates >= 0))
    if bad.any():
        raise ArgumentError(f"learning_rate must be finite and not negative, got {rates[bad][0]}")
    return rates


def _kept(keep: Sequence[int] | np.ndarray | None, n_updates: int) -> np.ndarray:
    if keep is None:
        return np.arange(n_updates + 1)
    keep = np.asarray(keep)
    if keep.ndim != 1 or keep.dtype.kind not in "iu" or not len(keep):
        raise ArgumentError("keep must be a sequence of at least one version, each an integer")
    if keep[0] < 0 or keep[-1] > n_updates or np.any(np.diff(keep) <= 0):
        raise ArgumentError(f"keep must hold increasing versions from 0 to {n_updates}, the last one of the log")
    return keep
