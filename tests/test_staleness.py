"""Staleness: the definition by brute force, learners and server as SimPy processes, laws, and the published case."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lib.staleness import SCHEMES, run_sgd, simulate, update_log
from tests.simpy_model import simpy_rows

COLUMNS = ["time", "learner", "gradient", "read_version", "version", "staleness"]
PUBLISHED = [[1, 2, 3, 4], [2.5, 5]]
WAITING = [scheme for scheme in SCHEMES if scheme != "async"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def by_definition(finish_times, tie_order=None) -> list[tuple]:
    """Rows of the log from the words of the problem: for each gradient, count the updates between read and own."""
    order = list(tie_order or range(1, len(finish_times) + 1))
    events = sorted(
        (time, order.index(learner), learner, gradient)
        for learner, times in enumerate(finish_times, start=1)
        for gradient, time in enumerate(times, start=1)
    )
    rows = []
    for version, (time, rank, learner, gradient) in enumerate(events, start=1):
        own_earlier = [event for event in events if event[2] == learner and event[3] == gradient - 1]
        read_version = events.index(own_earlier[0]) + 1 if own_earlier else 0
        read = own_earlier[0][:2] if own_earlier else (-1, -1)
        between = [event for event in events if read < event[:2] < (time, rank) and event[2] != learner]
        rows.append((time, learner, gradient, read_version, version, len(between)))
    return rows


def rows_of(log: pd.DataFrame) -> list[tuple]:
    return list(log.itertuples(index=False, name=None))


def of_learner(log: pd.DataFrame, learner: int) -> list[int]:
    return log[log["learner"] == learner].sort_values("gradient")["staleness"].tolist()


def last_versions(log: pd.DataFrame, n_learners: int) -> np.ndarray:
    """For each learner the version of its last update, 0 if it has none."""
    return log.groupby("learner")["version"].max().reindex(range(1, n_learners + 1), fill_value=0).to_numpy()


# update_log


def test_published_case():
    log = update_log(PUBLISHED)
    assert list(log.columns) == COLUMNS
    assert of_learner(log, 1) == [0, 0, 1, 0]
    assert of_learner(log, 2) == [2, 2]
    assert log["time"].tolist() == [1, 2, 2.5, 3, 4, 5]
    assert log["version"].tolist() == [1, 2, 3, 4, 5, 6]
    assert log["read_version"].tolist() == [0, 1, 0, 2, 4, 3]
    assert log["gradient"].tolist() == [1, 2, 1, 3, 4, 2]


@pytest.mark.parametrize(("tie_order", "staleness"), [(None, 3), ([1, 2], 3), ([2, 1], 2), (np.array([2, 1]), 2)])
def test_tie_at_five_is_decided_by_the_rule(tie_order, staleness):
    log = update_log([[1, 2, 3, 4, 5], [2.5, 5]], tie_order=tie_order)
    assert of_learner(log, 2) == [2, staleness]
    assert of_learner(log, 1) == [0, 0, 1, 0, 3 - staleness]


@pytest.mark.parametrize("tie_order", [[1, 2], [2, 1]])
def test_long_run_means_of_the_published_case(tie_order):
    """Over whole cycles of five time units, after the first, the means are exact."""
    periods, until = [Fraction(1), Fraction(5, 2)], 500
    log = update_log(
        [[k * period for k in range(1, int(until / period) + 1)] for period in periods], tie_order=tie_order
    )
    means = log[log["time"] > 5].groupby("learner")["staleness"].mean()
    assert means.tolist() == [0.4, 2.5]


TIMES = st.lists(st.sets(st.integers(0, 12), max_size=8).map(sorted), min_size=1, max_size=5).filter(any)


@given(times=TIMES, data=st.data())
@settings(max_examples=200)
def test_every_row_is_that_of_the_definition(times, data):
    tie_order = data.draw(st.none() | st.permutations(range(1, len(times) + 1)))
    assert rows_of(update_log(times, tie_order=tie_order)) == by_definition(times, tie_order)


@given(times=TIMES, unit=st.fractions(Fraction(1, 1000), 1000))
@settings(max_examples=60)
def test_fractions_are_compared_exactly_and_stay_fractions(times, unit):
    log = update_log([[unit * time for time in of_one] for of_one in times])
    plain = update_log(times)
    pd.testing.assert_frame_equal(log.drop(columns="time"), plain.drop(columns="time"))
    assert log["time"].tolist() == [unit * time for time in plain["time"]]
    assert all(isinstance(time, Fraction) for time in log["time"])


def test_floats_that_only_look_equal_are_not_a_tie():
    assert 3 * 0.1 > 0.3
    tenths = [[0.3], [0.1, 0.2, 3 * 0.1]]
    assert of_learner(update_log(tenths), 1) == of_learner(update_log(tenths, tie_order=[2, 1]), 1) == [2]
    exact = [[Fraction(3, 10)], [Fraction(k, 10) for k in (1, 2, 3)]]
    assert [of_learner(update_log(exact, tie_order=order), 1) for order in ([1, 2], [2, 1])] == [[2], [3]]


@pytest.mark.parametrize("large", [[[2**53 + 1], [2.0**53]], [[2**53 + 1, 2.0**60], [2.0**53]], [[2**70], [1.5]]])
def test_large_integers_are_not_rounded_beside_floats(large):
    assert update_log(large)["learner"].tolist()[:2] == [2, 1]


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (PUBLISHED, float),
        ([(1, 2), (3,)], int),
        (np.array([[1, 2], [3, 4]]), int),
        (np.array([[1, 2], [3, 4]], dtype=np.float32), float),
        ([pd.Series([1.0, 2.0], index=[7, 3]), range(3, 4)], float),
        ([np.array([1, 2], dtype=np.uint8), [3.5]], float),
        ([[1.0, Fraction(2)], [3]], object),
    ],
    ids=repr,
)
def test_any_sequences_of_numbers_will_do(given, dtype):
    log = update_log(given)
    assert log["time"].dtype == dtype
    assert (log.dtypes.drop("time") == np.int64).all()
    assert rows_of(log) == by_definition([list(times) for times in given])


def test_a_learner_may_have_no_gradient():
    log = update_log([[], [1, 3], []])
    assert log["learner"].tolist() == [2, 2]
    assert log["staleness"].tolist() == [0, 0]


def test_arguments_are_not_changed():
    times = [np.array([1.0, 2.0]), np.array([1.5])]
    update_log(times)
    simulate(2, 2, compute_time=times, rng=rng())
    assert [array.tolist() for array in times] == [[1.0, 2.0], [1.5]]


@given(times=TIMES)
@settings(max_examples=100)
def test_staleness_and_own_updates_of_a_learner_add_up_to_its_last_version(times):
    """The law behind all means: every update is counted once by each learner that delivers later."""
    log = update_log(times)
    for learner, own in log.groupby("learner"):
        assert (own["staleness"] + 1).sum() == own["version"].max(), learner


BAD_TIMES = {
    "nothing": ([], "finish_times is empty"),
    "no gradient": ([[], []], "finish_times is empty"),
    "a number": (3, "finish_times must be a sequence"),
    "one flat sequence": ([1, 2], "finish_times of learner 1 must be a sequence.*give a sequence for each learner"),
    "a mapping": ({1: [1]}, "finish_times must be a sequence"),
    "a word": (["ab"], "finish_times of learner 1 must be a sequence of numbers"),
    "words": ([["a"]], "learner 1 must be a sequence of numbers.*got str"),
    "three levels": ([[[1]]], "learner 1 must be a sequence of numbers.*got list"),
    "equal times": ([[1], [2, 2]], "learner 2 must increase, but gradient 2 is finished at 2 and gradient 1 at 2"),
    "falling times": ([[1, 3, 2]], "learner 1 must increase, but gradient 3 is finished at 2 and gradient 2 at 3"),
    "a negative time": ([[1], [-1, 2]], "learner 2 must hold finite non-negative numbers.*number 1 is -1"),
    "NaN": ([[1.0, np.nan]], "learner 1 must hold finite.*number 2 is nan"),
    "infinity": ([[np.inf]], "learner 1 must hold finite.*is inf"),
    "infinity beside a Fraction": ([[Fraction(1, 2), np.inf]], "must hold finite.*is inf"),
    "NaN beside a large integer": ([[10**400, np.nan]], "must hold finite.*is nan"),
    "complex numbers": ([[1j]], "got complex"),
    "truth values": ([[True]], "got bool"),
    "an array of truth values": ([np.array([True])], "got bool"),
    "dates": ([np.array(["2020"], dtype="datetime64[Y]")], "got date"),
    "None": ([[None]], "got NoneType"),
}


@pytest.mark.parametrize(("times", "message"), BAD_TIMES.values(), ids=BAD_TIMES)
def test_bad_finish_times_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        update_log(times)


@pytest.mark.parametrize("tie_order", [[1], [0, 1], [1, 1], [1, 2, 3], [1.0, 2.0], [True, 2], "12", 1, {1: 2, 2: 1}])
def test_tie_order_must_be_a_permutation_of_the_learners(tie_order):
    with pytest.raises(ValueError, match="tie_order must name every learner once, by its number from 1 to 2"):
        update_log(PUBLISHED, tie_order=tie_order)


# simulate against SimPy


@given(
    scheme=st.sampled_from(SCHEMES),
    n_learners=st.integers(1, 7),
    k=st.integers(1, 9),
    n_updates=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150)
def test_recorded_times_give_the_rows_of_the_simpy_model(scheme, n_learners, k, n_updates, seed):
    k = 1 if scheme == "async" else min(k, n_learners) if scheme in ("k-sync", "k-async") else k
    speed = 10.0 ** rng(seed).uniform(-1, 1, (n_learners, 1))
    times = speed * rng(seed + 1).gamma(0.7, size=(n_learners, 100 * (n_updates * k + 1)))
    expected = simpy_rows(scheme, k, n_updates, [iter(of_one.tolist()).__next__ for of_one in times])
    log = simulate(n_learners, n_updates, compute_time=times, scheme=scheme, k=k, rng=rng())
    pd.testing.assert_frame_equal(log, pd.DataFrame(expected, columns=COLUMNS), rtol=1e-9)


class Scripted:
    """A distribution that draws a sequence known beforehand."""

    def __init__(self, times: np.ndarray):
        self.times, self.used = times, 0

    def support(self):
        return 0.0, np.inf

    def rvs(self, size, random_state):
        n = int(np.prod(size))
        self.used += n
        return self.times[self.used - n : self.used].reshape(size)


@pytest.mark.parametrize("k", [1, 3, 24])
def test_k_batch_sync_has_the_law_of_fresh_starts(k):
    """Each update is the first k of all finish times of learners that start together, here drawn in full."""
    distribution, n_updates = stats.pareto(1.5), 4000
    log = simulate(5, n_updates, compute_time=distribution, scheme="k-batch-sync", k=k, rng=rng(1))
    drawn = np.cumsum(distribution.rvs(size=(n_updates, 5, k), random_state=rng(2)), axis=2)
    lengths = np.diff(log.groupby("version")["time"].first(), prepend=0)
    expected = np.sort(drawn.reshape(n_updates, -1), axis=1)[:, k - 1]
    assert stats.ks_2samp(lengths, expected).pvalue > 1e-4
    most = [log.groupby(["version", "learner"]).size().groupby("version").max()]
    most.append(np.sum(drawn <= expected[:, None, None], axis=2).max(axis=1))
    assert stats.ks_2samp(*most).pvalue > 1e-4


@pytest.mark.parametrize("draw", [lambda r: r.gamma(3, size=30_000), lambda r: r.pareto(1.2, 30_000) + 1e-3])
@pytest.mark.parametrize("scheme", ["async", "k-batch-async", "k-async"])
def test_draws_are_used_in_order_and_none_is_left_out(scheme, draw):
    """Unequal learners, some with heavy tails, so that blocks of draws are used up at different moments."""
    for seed in range(12):
        n_learners, k, n_updates = rng(seed).integers([2, 1, 1], [7, 4, 400])
        k = 1 if scheme == "async" else min(k, n_learners)
        speeds = 10.0 ** rng(seed).uniform(-1, 1, n_learners)
        scripts = [Scripted(speed * draw(r)) for speed, r in zip(speeds, rng(seed).spawn(n_learners), strict=True)]
        expected = simpy_rows(scheme, k, n_updates, [iter(script.times.tolist()).__next__ for script in scripts])
        log = simulate(n_learners, n_updates, compute_time=scripts, scheme=scheme, k=k, rng=rng())
        pd.testing.assert_frame_equal(log, pd.DataFrame(expected, columns=COLUMNS), rtol=1e-9)


@given(
    scheme=st.sampled_from(["async", "k-async", "k-batch-async"]),
    n_learners=st.integers(1, 7),
    k=st.integers(1, 5),
    load=st.sampled_from([0.01, 0.3, 3.0]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_a_server_that_takes_time_is_a_resource_of_the_simpy_model(scheme, n_learners, k, load, seed):
    k = 1 if scheme == "async" else min(k, n_learners)
    times = rng(seed).gamma(0.7, size=(n_learners, 400))
    draws = [iter(of_one.tolist()).__next__ for of_one in times]
    expected = simpy_rows(scheme, k, 30, draws, service_time=load / n_learners)
    log = simulate(n_learners, 30, compute_time=times, scheme=scheme, k=k, rng=rng(), service_time=load / n_learners)
    pd.testing.assert_frame_equal(log, pd.DataFrame(expected, columns=COLUMNS), rtol=1e-9)


def test_a_slow_server_sets_the_pace_and_not_the_staleness():
    """Read and own update stay one moment, so the sum over each learner is exact however long the queue."""
    log = simulate(8, 5000, compute_time=stats.expon(), rng=rng(1), service_time=0.5)
    assert log["time"].iloc[-1] / 5000 == pytest.approx(0.5, rel=0.01)  # faster learners would change nothing
    for _, own in log.groupby("learner"):
        assert (own["staleness"] + 1).sum() == own["version"].max()


# simulate: hand-worked cases and exactness


def test_a_tie_is_decided_by_the_rule_in_simulate_too():
    """Periods of 1 and 5/2 tie at t = 5, in whole numbers and Fractions; in floats 0.1 and 0.3 do not."""
    for order, expected in ((None, 3), ([1, 2], 3), ([2, 1], 2)):
        log = simulate(2, 7, compute_time=[1, Fraction(5, 2)], rng=rng(), tie_order=order)
        assert of_learner(log, 2) == [2, expected]
    for period, orders in (([Fraction(1, 10), Fraction(3, 10)], [2, 3]), ([0.1, 0.3], [2, 2])):
        logs = (simulate(2, 4, compute_time=period, rng=rng(), tie_order=order) for order in ([2, 1], [1, 2]))
        assert [of_learner(log, 2)[0] for log in logs] == orders


@given(periods=st.lists(st.integers(1, 6), min_size=1, max_size=6), data=st.data())
@settings(max_examples=80)
def test_ties_in_simulate_are_those_of_update_log(periods, data):
    tie_order = data.draw(st.permutations(range(1, len(periods) + 1)))
    log = simulate(len(periods), 40, compute_time=periods, rng=rng(), tie_order=tie_order)
    expected = update_log([[n * period for n in range(1, 41)] for period in periods], tie_order=tie_order)
    pd.testing.assert_frame_equal(log, expected.head(40), check_dtype=False)


@pytest.mark.parametrize(
    ("scheme", "learners"),
    [("k-sync", [3, 2] * 2), ("k-batch-sync", [3, 2] * 2), ("k-async", [3, 2, 1, 3]), ("k-batch-async", [3, 2, 1, 3])],
)
def test_the_rule_for_ties_holds_in_every_scheme(scheme, learners):
    """Three equal learners, served in the order 3, 2, 1."""
    log = simulate(3, 2, compute_time=1, scheme=scheme, k=2, rng=rng(), tie_order=[3, 2, 1])
    assert log["learner"].tolist() == learners


def test_k_async_with_three_equal_learners_by_hand():
    """At t = 1 all three are finished, the first two are taken; the third waits for one more, and so on."""
    log = simulate(3, 4, compute_time=1, scheme="k-async", k=2, rng=rng())
    assert log["learner"].tolist() == [1, 2, 3, 1, 2, 1, 3, 1]
    assert log["time"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert log["read_version"].tolist() == [0, 0, 0, 1, 1, 2, 2, 3]
    assert log["staleness"].tolist() == [0, 0, 1, 0, 1, 0, 1, 0]


def test_k_batch_async_reads_the_new_version_with_the_gradient_that_completes_it():
    log = simulate(2, 3, compute_time=[1, Fraction(5, 2)], scheme="k-batch-async", k=2, rng=rng())
    assert log["learner"].tolist() == [1, 1, 2, 1, 1, 1]  # at 1, 2 | 2.5, 3 | 4, 5 (learner 1 before learner 2)
    assert log["read_version"].tolist() == [0, 0, 0, 1, 2, 2]
    assert log["time"].tolist() == [2, 2, 3, 3, 5, 5]
    assert log["staleness"].tolist() == [0, 0, 1, 0, 0, 0]


def test_k_batch_sync_lets_the_fast_learner_send_several():
    log = simulate(2, 2, compute_time=[1, 2.5], scheme="k-batch-sync", k=3, rng=rng())
    assert log["learner"].tolist() == [1, 1, 2, 1, 1, 2]
    assert log["time"].tolist() == [2.5] * 3 + [5.0] * 3
    assert log["gradient"].tolist() == [1, 2, 1, 3, 4, 2]


def test_k_sync_leaves_out_the_slow_learner():
    log = simulate(3, 2, compute_time=[3, 1, 2], scheme="k-sync", k=2, rng=rng())
    assert log["learner"].tolist() == [2, 3, 2, 3]
    assert log["time"].tolist() == [2, 2, 4, 4]


@given(
    exponents=st.lists(st.floats(-3, 3), min_size=1, max_size=6),
    n_updates=st.integers(1, 300),
)
@settings(max_examples=80)
def test_constant_times_give_the_log_of_their_multiples(exponents, n_updates):
    periods = [10.0**exponent for exponent in exponents]
    log = simulate(len(periods), n_updates, compute_time=periods, rng=rng())
    expected = update_log([[k * period for k in range(1, n_updates + 1)] for period in periods])
    pd.testing.assert_frame_equal(log, expected.head(n_updates))


def test_recorded_fractions_are_added_exactly():
    times = [[Fraction(1, 10)] * 40, [Fraction(3, 10)] * 20]
    log = simulate(2, 40, compute_time=times, rng=rng())
    pd.testing.assert_frame_equal(log, simulate(2, 40, compute_time=[Fraction(1, 10), Fraction(3, 10)], rng=rng()))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rows_are_gradients_and_updates_have_k_of_them(scheme):
    k = 1 if scheme == "async" else 3
    log = simulate(5, 200, compute_time=stats.lognorm(1), scheme=scheme, k=k, rng=rng(5))
    assert list(log.columns) == COLUMNS
    assert log["version"].tolist() == np.repeat(np.arange(1, 201), k).tolist()
    assert (log.groupby("version")["time"].nunique() == 1).all()
    assert log["time"].is_monotonic_increasing and log["time"].iloc[0] > 0
    assert (log["staleness"] == log["version"] - 1 - log["read_version"]).all()
    assert (log["staleness"] >= 0).all() and (log["read_version"] >= 0).all()
    assert all(own.tolist() == list(range(1, len(own) + 1)) for _, own in log.groupby("learner")["gradient"])
    if scheme in ("k-sync", "k-async"):
        assert (log.groupby("version")["learner"].nunique() == k).all()
    if "sync" in scheme and "async" not in scheme:
        assert (log["staleness"] == 0).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_same_seed_same_log_other_seed_other_log(scheme):
    first, again, other = (
        simulate(4, 50, compute_time=stats.expon(), scheme=scheme, rng=rng(seed)) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first, again)
    assert first["time"].iloc[-1] != other["time"].iloc[-1]


@pytest.mark.parametrize("scheme", WAITING)
def test_with_one_learner_and_k_one_every_scheme_is_sgd(scheme):
    log = simulate(1, 30, compute_time=2, scheme=scheme, rng=rng())
    pd.testing.assert_frame_equal(log, simulate(1, 30, compute_time=2.0, rng=rng()), check_dtype=False)


# laws


LAWS = {
    "async": lambda P, k: P - 1,
    "k-sync": lambda P, k: 0,
    "k-batch-sync": lambda P, k: 0,
    "k-async": lambda P, k: P / k - 1,
    "k-batch-async": lambda P, k: (P - 1) / k,
}
ANY_TIMES = {
    "constant": 1.0,
    "exponential": stats.expon(),
    "shifted exponential": stats.expon(loc=1),
    "heavy tails": stats.pareto(2.2),
    "unequal learners": [stats.expon(scale=scale) for scale in (0.2, 1, 1, 1, 1, 2, 5, 20)],
    "of different kinds": [stats.expon(), 1, 2.5, stats.uniform(1, 1), stats.gamma(5), 0.3, stats.weibull_min(0.7), 3],
}


@pytest.mark.parametrize("times", ANY_TIMES.values(), ids=ANY_TIMES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_mean_staleness_follows_its_law_whatever_the_compute_times(scheme, times):
    """The sum is exact: what is missing from the law is what the learners have read and not yet used."""
    n_updates, k = 30_000, 1 if scheme == "async" else 3
    log = simulate(8, n_updates, compute_time=times, scheme=scheme, k=k, rng=rng(6))
    mean = log["staleness"].mean()
    if scheme in ("async", "k-async"):
        waiting = np.sum(n_updates - last_versions(log, 8))
        assert mean == pytest.approx(LAWS[scheme](8, k) - waiting / (n_updates * k), abs=1e-9)
    assert mean == pytest.approx(LAWS[scheme](8, k), abs=0.1)


@given(n_learners=st.integers(1, 9), k=st.integers(1, 12), n_updates=st.integers(1, 50), seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_sum_of_staleness_in_k_batch_async(n_learners, k, n_updates, seed):
    """Each learner's reads go up to some version; each update is completed by one gradient, whose learner reads it."""
    log = simulate(n_learners, n_updates, compute_time=stats.expon(), scheme="k-batch-async", k=k, rng=rng(seed))
    last = log.reset_index(names="row").groupby("learner")["row"].max() + 1
    assert log["staleness"].sum() == np.sum(last // k) - n_updates


@pytest.mark.parametrize("periods", [[1, 2.5], [1, 1, 4], [0.3, 0.7, 1.1, 5]])
def test_fast_learners_see_less(periods):
    """A learner of rate r among learners of total rate R sees R / r - 1 updates of others per gradient."""
    log = simulate(len(periods), 100_000, compute_time=periods, rng=rng())
    rates = 1 / np.array(periods)
    np.testing.assert_allclose(log.groupby("learner")["staleness"].mean(), rates.sum() / rates - 1, rtol=1e-3)


def test_staleness_of_equal_exponential_learners_is_geometric():
    log = simulate(10, 400_000, compute_time=stats.expon(scale=3), rng=rng(7))
    settled = log["staleness"].iloc[1000::50]  # far apart: nearly independent
    cells = np.arange(30)
    expected = stats.geom(0.1, loc=-1).pmf(cells)
    counts = np.bincount(settled.clip(upper=30), minlength=31)
    assert stats.chisquare(counts, np.append(expected, 1 - expected.sum()) * len(settled)).pvalue > 1e-4


def test_staleness_of_equal_constant_learners_is_constant():
    staleness = simulate(10, 1000, compute_time=1.0, rng=rng())["staleness"]
    assert staleness.tolist() == list(range(10)) + [9] * 990


@pytest.mark.parametrize("scheme", ["k-sync", "k-async"])
def test_many_learners_are_told_apart(scheme):
    n_learners = 70_000
    log = simulate(n_learners, 2, compute_time=stats.expon(), scheme=scheme, k=n_learners, rng=rng())
    assert (log["gradient"] == log["version"]).all()
    assert (log["staleness"] == 0).all()
    assert (log.groupby("learner").size() == 2).all()


def harmonic(n: int) -> float:
    return sum(1 / i for i in range(1, n + 1))


@pytest.mark.parametrize(("P", "k"), [(1, 1), (4, 1), (8, 3), (8, 8), (30, 25)])
@pytest.mark.parametrize("scheme", WAITING)
def test_time_per_update_of_exponential_learners(scheme, P, k):
    """Each update takes an independent time of the same law, in all four schemes."""
    mu, n_updates = 0.5, 20_000
    log = simulate(P, n_updates, compute_time=stats.expon(scale=1 / mu), scheme=scheme, k=k, rng=rng(8))
    batch = "batch" in scheme
    expected = k / (P * mu) if batch else (harmonic(P) - harmonic(P - k)) / mu
    variance = k / (P * mu) ** 2 if batch else sum(1 / (mu * i) ** 2 for i in range(P - k + 1, P + 1))
    z = (log["time"].iloc[-1] / n_updates - expected) / np.sqrt(variance / n_updates)
    assert abs(z) < 4.5


@pytest.mark.parametrize("k", [1, 4, 6])
def test_time_per_update_of_k_sync_is_an_order_statistic(k):
    n_updates = 50_000
    log = simulate(6, n_updates, compute_time=stats.uniform(), scheme="k-sync", k=k, rng=rng(9))
    order_statistic = stats.beta(k, 7 - k)
    z = (log["time"].iloc[-1] / n_updates - order_statistic.mean()) / (order_statistic.std() / np.sqrt(n_updates))
    assert abs(z) < 4.5


@pytest.mark.parametrize("times", [ANY_TIMES["shifted exponential"], ANY_TIMES["of different kinds"]])
def test_time_per_update_of_k_batch_async_is_set_by_the_rates_alone(times):
    """k over the sum of the rates 1 / E[X]; between late updates, over independent runs."""
    k, runs = 3, 200
    each = times if isinstance(times, list) else [times] * 8
    rates = [1 / (time.mean() if hasattr(time, "mean") else time) for time in each]
    per_update = []
    for seed in range(runs):
        log = simulate(8, 600, compute_time=times, scheme="k-batch-async", k=k, rng=rng(seed))
        at = log.groupby("version")["time"].first()
        per_update.append((at[600] - at[100]) / 500)
    z = (np.mean(per_update) - k / sum(rates)) / (np.std(per_update, ddof=1) / np.sqrt(runs))
    assert abs(z) < 4.5


def test_learners_that_go_on_are_faster_if_a_new_start_takes_longer_than_going_on():
    """Dutta et al.: k-async is at least as fast as k-sync if compute times are new-longer-than-used."""
    lengths = {}
    for scheme in ("k-sync", "k-async"):
        log = simulate(8, 20_000, compute_time=stats.expon(loc=1), scheme=scheme, k=4, rng=rng(10))
        lengths[scheme] = log["time"].iloc[-1] / 20_000
    assert lengths["k-sync"] == pytest.approx(1 + harmonic(8) - harmonic(4), rel=0.02)
    assert lengths["k-async"] < 0.95 * lengths["k-sync"]


BAD_SIMULATIONS = {
    "no learner": (dict(n_learners=0), "n_learners must be a whole number of at least 1, got 0"),
    "half a learner": (dict(n_learners=1.5), "n_learners must be a whole number"),
    "learners that are true": (dict(n_learners=True), "n_learners must be a whole number"),
    "no update": (dict(n_updates=0), "n_updates must be a whole number of at least 1"),
    "updates in words": (dict(n_updates="9"), "n_updates must be a whole number"),
    "an unknown scheme": (dict(scheme="sync"), "scheme must be one of async, k-sync.*got 'sync'"),
    "no scheme": (dict(scheme=None), "scheme must be one of"),
    "k of zero": (dict(scheme="k-sync", k=0), "k must be a whole number of at least 1, got 0"),
    "k of one half": (dict(scheme="k-sync", k=0.5), "k must be a whole number"),
    "k above the number of learners": (dict(scheme="k-sync", k=3), "k must be at most n_learners = 2.*'k-batch-sync'"),
    "the same, asynchronous": (dict(scheme="k-async", k=3), "k must be at most n_learners = 2.*'k-batch-async'"),
    "k with async": (dict(k=2), "k must be 1 with scheme 'async', got 2"),
    "an order of ties that leaves one out": (dict(tie_order=[1]), "tie_order must name every learner once"),
    "a server that takes negative time": (dict(service_time=-1), "service_time must be a finite number of at least 0"),
    "no source of randomness": (dict(rng=None), "rng must be a numpy.random.Generator or a whole number as its seed"),
    "the old generator": (dict(rng=np.random.RandomState(0)), "rng must be a numpy.random.Generator"),
    "a distribution too few": (dict(compute_time=[stats.expon()]), "compute_time has 1 entries for 2 learners"),
    "one sequence for all": (dict(compute_time=[1.0, 2.0, 3.0]), "compute_time has 3 entries for 2 learners"),
    "a table whose columns are the learners": (
        dict(compute_time=pd.DataFrame({1: [1.0] * 20, 2: [2.5] * 20})),
        "compute_time of learner 1 must be a frozen distribution",
    ),
    "a word": (dict(compute_time="expon"), "compute_time of learner 1 must be a frozen distribution"),
    "no distribution": (dict(compute_time=None), "compute_time of learner 1 must be a frozen distribution"),
    "a period of zero": (dict(compute_time=0), "compute_time of learner 1 must hold finite positive numbers.*is 0"),
    "a negative period": (dict(compute_time=[1, -1]), "compute_time of learner 2 must hold finite positive"),
    "a period that is not a number": (dict(compute_time=np.nan), "compute_time of learner 1 must hold finite"),
    "a period that is true": (dict(compute_time=True), "compute_time of learner 1 must be a sequence of numbers.*bool"),
    "a recorded time of zero": (
        dict(compute_time=[[1.0, 0.0], [1.0]]),
        "learner 1 must hold finite positive.*number 2",
    ),
    "no recorded time": (dict(compute_time=[[1.0], []]), "compute_time of learner 2 is empty"),
    "negative times": (dict(compute_time=stats.norm(10)), "starts at -inf.*truncnorm"),
    "times below zero": (dict(compute_time=stats.uniform(-1, 3)), "starts at -1"),
    "counts": (dict(compute_time=stats.poisson(3)), "starts at 0, so a gradient could take no time"),
    "a distribution without parameters": (dict(compute_time=stats.gamma), "freeze it"),
    "an array of distributions": (dict(compute_time=stats.gamma([1, 2])), "an array of distributions"),
    "times that underflow to zero": (dict(compute_time=stats.gamma(1e-3)), "learner 1 gave the time 0.0"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_SIMULATIONS.values(), ids=BAD_SIMULATIONS)
def test_bad_simulations_are_refused(arguments, message):
    usual = dict(n_learners=2, n_updates=9, compute_time=stats.expon(), rng=rng())
    with pytest.raises(ValueError, match=message):
        simulate(**usual | arguments)


def test_times_that_overflow_are_refused():
    with pytest.warns(RuntimeWarning, match="overflow"), pytest.raises(ValueError, match="learner 1 gave the time inf"):
        simulate(n_learners=2, n_updates=9, compute_time=stats.pareto(1e-3), rng=rng())


@pytest.mark.parametrize("scheme", ["k-sync", "k-async", "k-batch-async"])
def test_no_recorded_time_is_needed_after_the_last_update(scheme):
    log = simulate(2, 3, compute_time=[[1, 2, 4], [1, 2, 4]], scheme=scheme, k=2, rng=rng())
    assert log["time"].tolist() == [1, 1, 3, 3, 7, 7]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_too_few_recorded_times_are_refused(scheme):
    times = [np.full(3, 1.0), np.full(50, 0.5)]
    with pytest.raises(
        ValueError, match=r"compute_time has too few recorded times: learner 1 would .* only \d+ updates"
    ):
        simulate(2, 40, compute_time=times, scheme=scheme, rng=rng())


def test_recorded_times_suffice_up_to_where_they_end():
    """Learner 1 is known up to t = 4; what it would do then is not."""
    times = [[1, 1, 1, 1], [2.5, 2.5]]
    assert len(simulate(2, 5, compute_time=times, rng=rng())) == 5
    with pytest.raises(ValueError, match="only 5 updates are known"):
        simulate(2, 6, compute_time=times, rng=rng())


def test_discrete_times_are_allowed():
    log = simulate(3, 1000, compute_time=stats.randint(1, 4), rng=rng())
    assert log["time"].isin(range(1, 10_000)).all()
    assert log["staleness"].mean() == pytest.approx(2, abs=0.05)


# run_sgd


def sgd_with_all_versions(log, gradient, weights, rates):
    """The definition: all versions are kept."""
    versions = [np.asarray(weights, dtype=float)]
    for _, rows in log.groupby("version"):
        steps = [rates[row] * gradient(versions[log.loc[row, "read_version"]], row) for row in rows.index]
        versions.append(versions[-1] - np.mean(steps, axis=0))
    return np.array(versions)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sgd_along_a_log_uses_the_version_that_was_read(scheme):
    k = 1 if scheme == "async" else 3
    log = simulate(6, 80, compute_time=stats.expon(), scheme=scheme, k=k, rng=rng(11))
    noise, curvature = rng(12).normal(size=(len(log), 4)), np.array([0.2, 0.5, 1.0, 1.5])
    rates = 0.3 / np.maximum(log["staleness"].to_numpy(), 1)
    expected = sgd_with_all_versions(log, lambda w, row: curvature * w + noise[row], np.ones(4), rates)
    for learning_rate in (lambda s: 0.3 / np.maximum(s, 1), rates):
        found = run_sgd(log, lambda w, rows: curvature * w + noise[rows], np.ones(4), learning_rate=learning_rate)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("keep", [[0], [80], [0, 7, 80], [3, 4]])
def test_only_the_wanted_versions_are_returned(keep):
    log = simulate(6, 80, compute_time=stats.expon(), rng=rng(11))
    every = run_sgd(log, lambda w, rows: w, [1.0, 2.0], learning_rate=0.1)
    assert every.shape == (81, 2)
    np.testing.assert_array_equal(
        run_sgd(log, lambda w, rows: w, [1.0, 2.0], learning_rate=0.1, keep=keep), every[keep]
    )


def test_one_learner_is_gradient_descent():
    log = simulate(1, 20, compute_time=1, rng=rng())
    found = run_sgd(log, lambda w, rows: w, 1.0, learning_rate=0.25)
    np.testing.assert_allclose(found, 0.75 ** np.arange(21), rtol=1e-12)


@pytest.mark.parametrize("n_learners", [1, 2, 5, 10])
def test_round_robin_is_gradient_descent_with_a_constant_delay(n_learners):
    """Stable below 2 sin(pi / (2 (2 delay + 1))), unstable above: checked by running it."""
    delay = n_learners - 1
    limit = 2 * np.sin(np.pi / (2 * (2 * delay + 1)))
    log = simulate(n_learners, 4000, compute_time=1.0, rng=rng())
    for factor, grows in ((0.98, False), (1.02, True)):
        size = np.abs(run_sgd(log, lambda w, rows: w, 1.0, learning_rate=factor * limit))
        assert (size[-50:].max() > size[2000:2050].max()) == grows, factor
    path = run_sgd(log, lambda w, rows: w, 1.0, learning_rate=0.1)
    np.testing.assert_allclose(path[delay + 1 : 200], path[delay:199] - 0.1 * path[: 199 - delay], atol=1e-12)


def test_mean_over_exponential_learners_is_gradient_descent_with_momentum():
    """E[w_{t+1} - w_t] = (1 - 1/P) E[w_t - w_{t-1}] - rate / P E[w_t], exactly: averaged over all orders of updates.

    By the lack of memory the next learner is any of the P with equal probability, whatever happened before.
    """
    P, rate, n_updates = 3, 0.7, 6
    paths = []
    for order in product(range(P), repeat=n_updates):
        log = update_log([[t for t, learner in enumerate(order) if learner == own] for own in range(P)])
        paths.append(run_sgd(log, lambda w, rows: w, 1.0, learning_rate=rate))
    mean = [1.0, 1.0 - rate]
    for _ in range(n_updates - 1):
        mean.append(mean[-1] + (1 - 1 / P) * (mean[-1] - mean[-2]) - rate / P * mean[-1])
    np.testing.assert_allclose(np.mean(paths, axis=0), mean, atol=1e-12)


def test_memory_holds_one_version_a_learner():
    size, n_learners = 100_000, 5
    log = simulate(n_learners, 400, compute_time=stats.expon(), rng=rng(14))
    tracemalloc.start()
    run_sgd(log, lambda w, rows: w, np.ones(size), learning_rate=0.1, keep=[400])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (n_learners + 8) * 8 * size


LOG = update_log(PUBLISHED)
IN_THREES = simulate(6, 8, compute_time=stats.expon(), scheme="k-async", k=3, rng=rng())
BAD_RUNS = {
    "a log cut within an update": (dict(log=IN_THREES[:-1]), "log holds updates of different numbers of gradients"),
    "an update that has lost a gradient": (dict(log=IN_THREES.drop(index=4)), "log holds updates of different numbers"),
    "no log": (dict(log=[1]), "log must be what update_log or simulate returns"),
    "the end of a log": (dict(log=LOG[2:]), "log must hold all updates in order from version 1 on"),
    "a log with a gap": (dict(log=LOG.drop(index=3)), "log must hold all updates"),
    "an empty log": (dict(log=LOG[:0]), "log must hold all updates"),
    "a log out of order": (dict(log=LOG[::-1]), "log must hold all updates"),
    "a read of the future": (dict(log=LOG.assign(read_version=9)), "log must hold all updates"),
    "a negative rate": (dict(learning_rate=-0.1), "learning_rate must be finite and not negative, got -0.1"),
    "a rate that is not a number": (dict(learning_rate=np.nan), "learning_rate must be finite"),
    "a rate in words": (dict(learning_rate="fast"), "learning_rate must be a number"),
    "masked rates": (dict(learning_rate=np.ma.masked_equal([0.1] * 5 + [0.2], 0.2)), "learning_rate has masked values"),
    "masked weights": (dict(initial_weights=np.ma.masked_equal([1.0, 2.0], 2.0)), "initial_weights has masked values"),
    "too many rates": (dict(learning_rate=[0.1, 0.2]), "learning_rate must be a number"),
    "a version that is not there": (dict(keep=[7]), "keep must hold increasing versions from 0 to 6"),
    "falling versions": (dict(keep=[3, 1]), "keep must hold increasing versions"),
    "nothing to keep": (dict(keep=[]), "keep must be a sequence of at least one version"),
    "half a version": (dict(keep=[0.5]), "keep must be a sequence"),
    "a gradient of another shape": (dict(gradient=lambda w, rows: w[0]), r"gradient must return.*\(1, 1\): \(1,\)"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_bad_runs_are_refused(arguments, message):
    usual = dict(log=LOG, gradient=lambda w, rows: w, initial_weights=[1.0], learning_rate=0.1)
    with pytest.raises(ValueError, match=message):
        run_sgd(**usual | arguments)


def test_rates_from_a_division_by_zero_are_refused():
    refused = pytest.raises(ValueError, match="learning_rate must be finite and not negative, got inf")
    with pytest.warns(RuntimeWarning, match="divide by zero"), refused:
        run_sgd(LOG, lambda w, rows: w, [1.0], learning_rate=lambda staleness: 1 / staleness)


def test_first_rows_of_a_log_can_be_run():
    whole, part = (run_sgd(log, lambda w, rows: w, 1.0, learning_rate=0.1) for log in (LOG, LOG[:3]))
    np.testing.assert_array_equal(whole[:4], part)
    assert all(a != b for a, b in pairwise(part))


def test_a_seed_is_the_generator_that_it_makes():
    options = dict(compute_time=stats.expon(), scheme="k-batch-async", k=2)
    of_generator = simulate(3, 50, rng=np.random.default_rng(7), **options)
    pd.testing.assert_frame_equal(simulate(3, 50, rng=7, **options), of_generator)
