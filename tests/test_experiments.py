"""The experiments: what each unit trains; results are whole, resumable, never mixed, and say where they are from."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from joblib._parallel_backends import ThreadingBackend
from joblib.parallel import BACKENDS
from scipy import stats
from torch import nn

from lib import experiments
from lib.checkpoints import CheckpointError
from lib.datasets import DEBIAN_FASHION_MNIST
from lib.experiments import (
    CANDIDATES,
    EXPERIMENTS,
    PROFILES,
    RESULTS,
    LearningRateBounds,
    MissingResults,
    Profile,
    bounds,
    load_results,
    main,
    paired_differences,
    plan,
    read_result,
    run,
    run_unit,
    stage_differences,
    stage_losses,
    stages,
    status,
    thin,
    train_unit,
    unit_id,
    unit_schedule,
    validate_result,
    whole_batches,
)
from lib.training import choose_precision

ROOT = Path(__file__).resolve().parents[1]


class TinyNetwork(nn.Sequential):
    """Stands in for the network, so that a unit takes milliseconds."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4))


def tiny_images(n: int, seed: int) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 4, (n,), generator=generator)
    data = torch.randint(0, 100, (n, 6, 6), generator=generator) + 50 * targets[:, None, None]
    return SimpleNamespace(data=data.to(torch.uint8), targets=targets)


def make_tiny(module: object, range_samples: int = 6400) -> None:
    """Replace network and data of `lib.experiments`, and its profiles' sizes."""
    module.SmallInception = TinyNetwork
    data = SimpleNamespace(train=tiny_images(640, 0), test=tiny_images(50, 1))
    module.load_fashion_mnist = lambda subset: data
    module.PROFILES["quick"] = Profile("quick", range_samples, 3200, 640, 128, 640, (0,))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict]:
    """Tiny experiments, in directories of their own; one thread, see test_training."""
    monkeypatch.setattr(experiments, "SmallInception", TinyNetwork)
    monkeypatch.setattr(experiments, "load_fashion_mnist", experiments.load_fashion_mnist)
    monkeypatch.setitem(PROFILES, "quick", PROFILES["quick"])
    make_tiny(experiments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {"results": tmp_path / "results", "checkpoints": tmp_path / "checkpoints"}
    torch.set_num_threads(threads)


@pytest.fixture
def known_bounds(monkeypatch: pytest.MonkeyPatch) -> LearningRateBounds:
    """Bounds as if lr-range had finished."""
    known = LearningRateBounds(1e-3, 0.5)
    monkeypatch.setattr(experiments, "bounds", lambda *arguments, **options: known)
    return known


def batches_of(settings: dict) -> np.ndarray:
    return np.repeat(*np.array(settings["batch_sizes"]).T)


# ------------------------------------------------------------------ what is trained


def test_candidates_are_ten_at_equal_ratios() -> None:
    np.testing.assert_allclose(CANDIDATES, np.geomspace(1e-9, 1e1, 10), rtol=1e-5)


@pytest.mark.parametrize(("profile", "images"), [("quick", 3000), ("full", 60_000)])
def test_every_candidate_has_the_same_settings_but_its_rate(profile: str, images: int) -> None:
    units = plan("lr-range", profile)
    assert sorted(unit["learning_rate"] for unit in units) == list(CANDIDATES)
    assert len({json.dumps(unit | {"learning_rate": 0}) for unit in units}) == 1
    assert all(size == 64 for size, _ in units[0]["batch_sizes"][-1:])
    assert batches_of(units[0]).sum() == images * {"quick": 1, "full": 5}[profile]


def test_clr_at_full_scale_is_ten_epochs_of_decaying_whole_cycles(known_bounds: LearningRateBounds) -> None:
    unit = plan("clr", "full")[0]
    assert unit["batch_sizes"] == [[64, 9375]]
    schedule = unit["schedule"]
    assert (schedule["name"], schedule["mode"], schedule["cycle_momentum"]) == ("CyclicLR", "exp_range", False)
    assert (schedule["base_lr"], schedule["max_lr"]) == known_bounds
    assert schedule["gamma"] == 0.99994
    assert 9375 % (2 * schedule["step_size_up"]) == 0


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_all_arms_see_equally_many_samples(known_bounds: LearningRateBounds, profile: str) -> None:
    arms = [plan(name, profile)[0] for name in ("clr", "batch-growth", "lr-decay")]
    assert {int(batches_of(unit).sum()) for unit in arms} == {PROFILES[profile].arm_samples}


def test_stages_at_full_scale_double_from_32_to_8192_and_hold_equal_samples() -> None:
    sizes, samples = zip(*stages(600_000, 8192), strict=True)
    assert sizes == (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
    assert sum(samples) == 600_000
    assert max(samples) - min(samples) <= 1


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_control_halves_the_rate_exactly_where_the_batch_doubles(
    known_bounds: LearningRateBounds, profile: str
) -> None:
    growth, decay = (plan(name, profile)[0] for name in ("batch-growth", "lr-decay"))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], decay["learning_rate"])
    schedule = dict(decay["schedule"])
    scheduler = getattr(torch.optim.lr_scheduler, schedule.pop("name"))(optimizer, **schedule)
    rates, batches = [], batches_of(decay)
    for _ in batches:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert growth["schedule"] is None
    assert growth["learning_rate"] == decay["learning_rate"] == known_bounds.lr_max
    assert batches.max() == 32

    grown = batches_of(growth)
    total, largest = int(grown.sum()), int(grown.max())
    sizes, samples = zip(*stages(total, largest), strict=True)
    ends = np.cumsum(samples)
    assert np.cumsum(batches)[np.flatnonzero(np.diff(rates))].tolist() == ends[:-1].tolist()
    stage_of_batch = np.searchsorted(ends, np.cumsum(grown))
    assert set(ends) <= set(np.cumsum(grown))
    for stage, size in enumerate(sizes):
        in_stage = grown[stage_of_batch == stage]
        assert set(in_stage[1:]) == {size} and in_stage[0] <= size
    assert rates[-1] / rates[0] == 32 / largest
    assert batches.sum() == total


@given(samples=st.integers(1, 10**6), batch_size=st.integers(1, 10**4))
def test_whole_batches_add_up_with_at_most_one_remainder_in_front(samples: int, batch_size: int) -> None:
    sizes = whole_batches(samples, batch_size)
    assert sum(sizes) == samples
    assert set(sizes[1:]) <= {batch_size}
    assert 1 <= sizes[0] <= batch_size


@given(samples=st.integers(1000, 10**6), doublings=st.integers(0, 8))
def test_stages_are_equal_to_within_one_image(samples: int, doublings: int) -> None:
    parts = stages(samples, 32 * 2**doublings)
    assert [size for size, _ in parts] == [32 * 2**k for k in range(doublings + 1)]
    assert sum(count for _, count in parts) == samples
    assert max(count for _, count in parts) - min(count for _, count in parts) <= 1


def test_every_setting_is_part_of_the_units_name(known_bounds: LearningRateBounds) -> None:
    unit = plan("clr", "full")[0]
    for key in unit:
        assert unit_id(unit | {key: "changed"}) != unit_id(unit), key
    assert unit_id(copy.deepcopy(unit)) == unit_id(unit)
    assert unit_id(json.loads(json.dumps(unit))) == unit_id(unit)


def test_seeds_and_precisions_are_units_of_their_own() -> None:
    names = {unit_id(plan("lr-range", "full", [seed])[0]) for seed in (0, 1, 2)}
    names |= {unit_id(plan("lr-range", "full", precision=precision)[0]) for precision in ("float32", "bfloat16")}
    names |= {unit_id(plan("lr-range", "full", micro_batch_size=size)[0]) for size in (32, 256)}  # 256 is the default
    assert len(names) == 6


def test_smaller_micro_batches_are_trained_and_found_apart_from_the_others(
    tiny: dict, known_bounds: LearningRateBounds
) -> None:
    whole = run("batch-growth", **tiny)
    ghosts = run("batch-growth", **tiny, micro_batch_size=8)
    assert whole[0]["unit"] != ghosts[0]["unit"]
    assert whole[0]["summary"]["train_loss"] != ghosts[0]["summary"]["train_loss"]
    places = {"results": tiny["results"]}
    assert [r["unit"] for r in load_results("batch-growth", **places)] == [whole[0]["unit"]]
    assert [r["unit"] for r in load_results("batch-growth", **places, micro_batch_size=8)] == [ghosts[0]["unit"]]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("lr-rang",), "name"),
        (("clr", "fast"), "profile"),
        (("lr-range", "quick", [-1]), "seeds"),
        (("lr-range", "quick", [0.5]), "seeds"),
        (("lr-range", "quick", [True]), "seeds"),
        (("lr-range", "quick", 0), "seeds must be a list of whole numbers"),
        (("lr-range", "quick", [0, 0]), "seeds must differ"),
    ],
)
def test_senseless_requests_are_refused_by_name(arguments: tuple, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        plan(*arguments)
    with pytest.raises(ValueError, match="micro_batch_size"):
        plan("lr-range", micro_batch_size=0)
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, not 'float16'"):
        plan("lr-range", precision="float16")
    assert plan("lr-range", seeds=np.arange(2)) == plan("lr-range", seeds=[0, 1])


# ------------------------------------------------------------------ running


def test_experiments_run_one_after_the_other_to_valid_results(tiny: dict) -> None:
    results = {name: run(name, **tiny) for name in EXPERIMENTS}
    assert [len(found) for found in results.values()] == [10, 1, 1, 1]
    files = sorted(tiny["results"].glob("*"))
    assert sorted(f"{result['unit']}.json" for result in chain(*results.values())) == [path.name for path in files]
    low, high = bounds(results=tiny["results"])
    assert results["clr"][0]["settings"]["schedule"]["base_lr"] == low
    assert results["batch-growth"][0]["settings"]["learning_rate"] == high
    assert all(result["provenance"]["precision"] == choose_precision("cpu").dtype for result in results["lr-range"])


def test_candidates_start_from_the_same_weights_and_images(tiny: dict) -> None:
    first = {round(result["history"]["train_loss"].iloc[0], 3) for result in run("lr-range", **tiny)[5:]}  # tiny rates
    assert len(first) == 1


def test_finished_units_are_skipped_and_fresh_ones_are_not(tiny: dict) -> None:
    run("lr-range", **tiny)
    before = {path: path.stat().st_mtime_ns for path in tiny["results"].iterdir()}
    again = run("lr-range", **tiny)
    assert {path: path.stat().st_mtime_ns for path in tiny["results"].iterdir()} == before
    fresh = run("lr-range", fresh=True, **tiny)
    assert all(path.stat().st_mtime_ns > changed for path, changed in before.items())
    for old, new in zip(again, fresh, strict=True):
        pd.testing.assert_frame_equal(old["history"], new["history"], check_exact=True)


def test_changed_setting_makes_new_units_and_leaves_the_old(tiny: dict) -> None:
    run("lr-range", **tiny)
    PROFILES["quick"] = Profile("quick", 1280, 3200, 640, 128, 640, (0,))
    assert load_results("lr-range", results=tiny["results"]) == []
    with pytest.raises(MissingResults, match="lacks 10 of its 10"):
        bounds(results=tiny["results"])
    run("lr-range", **tiny)
    assert len(list(tiny["results"].iterdir())) == 20


def test_arms_without_bounds_say_what_to_run_first(tiny: dict) -> None:
    with pytest.raises(MissingResults, match="run lr-range --profile quick"):
        run("clr", **tiny)


def test_diverged_candidate_ends_itself_and_not_the_sweep(tiny: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "CANDIDATES", (1e-3, 1e-2, 1e-1, 3e38))
    results = run("lr-range", **tiny)
    assert [result["diverged"] for result in results] == [True, False, False, False]
    assert results[0]["summary"]["train_loss"] is None
    assert math.isnan(results[0]["history"]["train_loss"].iloc[-1])
    assert bounds(results=tiny["results"]).lr_max < 1


@pytest.fixture
def cluster() -> Iterator[list]:
    """What was submitted to a joblib backend of the name "cluster"."""
    submitted = []

    class Cluster(ThreadingBackend):
        """Stands in for a cluster's backend; its workers share torch's random state, unlike processes."""

        def submit(self, function: Callable, callback: Callable | None = None) -> object:
            submitted.append(function)
            return super().submit(function, callback)

    joblib.register_parallel_backend("cluster", Cluster)
    yield submitted
    del BACKENDS["cluster"]


def test_units_go_through_the_callers_joblib_backend(tiny: dict, cluster: list) -> None:
    local = run("lr-range", **tiny)
    assert not cluster
    with joblib.parallel_config(backend="cluster", n_jobs=2):
        spread = run("lr-range", fresh=True, **tiny)
    assert len(cluster) == 10
    for here, there in zip(local, spread, strict=True):
        pd.testing.assert_frame_equal(here["history"], there["history"], check_exact=True)


# ------------------------------------------------------------------ interruption

RUN_ONE_UNIT = """
    import sys
    import torch
    from pathlib import Path
    from lib import experiments
    from tests.test_experiments import make_tiny
    torch.set_num_threads(1)
    make_tiny(experiments, range_samples=64 * 4000)
    directory = Path(sys.argv[1])
    experiments.run_unit(experiments.plan("lr-range")[4], directory / "results", directory / "checkpoints")
"""


def start_one_unit(directory: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(RUN_ONE_UNIT), str(directory)], cwd=ROOT)


def test_killed_unit_is_interrupted_then_resumes_to_the_same_result(tmp_path: Path, tiny: dict) -> None:
    make_tiny(experiments, range_samples=64 * 4000)
    unit = unit_id(plan("lr-range")[4])

    def state() -> pd.Series:
        return status("quick", **tiny).set_index("unit").loc[unit]

    assert state()["state"] == "left"
    child = start_one_unit(tmp_path)
    checkpoint = tiny["checkpoints"] / f"{unit}.pt"
    for _ in range(12_000):
        if checkpoint.exists():
            break
        time.sleep(0.005)
    running = state()
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert running["state"] == "running"
    interrupted = state()
    assert interrupted["state"] == "interrupted"
    assert 0 < interrupted["seen"] < 1
    assert not (tiny["results"] / f"{unit}.json").exists()
    assert start_one_unit(tmp_path).wait() == 0
    assert state()["state"] == "done"
    resumed = read_result(tiny["results"] / f"{unit}.json")
    assert len(resumed["provenance"]["resumed_after"]) == 1
    assert os.listdir(tiny["checkpoints"]) == [f"{unit}.lock"]
    whole = run_unit(plan("lr-range")[4], tmp_path / "other", tmp_path / "other")
    pd.testing.assert_frame_equal(resumed["history"], whole["history"], check_exact=True)
    assert resumed["summary"] == whole["summary"]
    assert whole["provenance"]["resumed_after"] == []


def test_unit_that_another_process_trains_is_left_to_it(tiny: dict, caplog: pytest.LogCaptureFixture) -> None:
    unit = plan("lr-range")[0]
    with experiments._lock(tiny["checkpoints"] / f"{unit_id(unit)}.lock") as mine:
        assert mine
        assert len(run("lr-range", **tiny)) == 9
    assert "left to the process that is training it" in caplog.text
    assert len(run("lr-range", **tiny)) == 10


def test_damaged_checkpoint_is_refused_and_fresh_is_the_way_out(tiny: dict) -> None:
    unit = plan("lr-range")[0]
    tiny["checkpoints"].mkdir()
    (tiny["checkpoints"] / f"{unit_id(unit)}.pt").write_bytes(b"PK torn")
    with pytest.raises(CheckpointError, match="torn"):
        run_unit(unit, **tiny)
    assert run_unit(unit, fresh=True, **tiny)["unit"] == unit_id(unit)


# ------------------------------------------------------------------ results


def test_unit_trained_by_hand_is_the_one_that_is_stored(tiny: dict) -> None:
    (settings, *_) = plan("lr-range", **{"results": tiny["results"]})
    stored = run_unit(settings, tiny["results"], tiny["checkpoints"])
    model, outcome = train_unit(settings)
    assert isinstance(model, TinyNetwork)
    assert outcome.history["train_loss"].iloc[-1] == pytest.approx(stored["history"]["train_loss"].iloc[-1], rel=1e-5)
    _, start = train_unit(settings, iterations=3)
    pd.testing.assert_frame_equal(start.history.iloc[:2], outcome.history.iloc[:2])
    assert len(start.history) == 3


# ------------------------------------------------------------------ comparisons


def finished(name: str, seed: int, accuracy: float | None, profile: str = "full") -> dict:
    summary = {"test_accuracy": accuracy, "train_loss": 1.0}
    return {"unit": f"{name}-{seed}", "experiment": name, "profile": profile, "seed": seed, "summary": summary}


def test_paired_differences_are_those_of_students_t_over_common_seeds() -> None:
    rng = np.random.default_rng(0)
    clr, growth = rng.normal(0.93, 0.01, 5), rng.normal(0.90, 0.01, 5)
    results = [finished("clr", seed, value) for seed, value in enumerate(clr)]
    results += [finished("batch-growth", seed, value) for seed, value in reversed(list(enumerate(growth)))]
    results += [finished("batch-growth", 9, 0.1)]  # clr has no such seed
    row = paired_differences(results, "clr").loc["batch-growth"]
    expected = stats.ttest_rel(growth, clr).confidence_interval(0.95)
    assert row["seeds"] == 5
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["difference"] == pytest.approx((growth - clr).mean())
    assert row["verdict"] == "lower"


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.02, 0.021, 0.019], "higher"),
        ([-0.02, -0.021, -0.019], "lower"),
        ([0.02, -0.021, 0.019], "not distinguishable"),
        ([0.5], "one seed: no verdict"),
    ],
)
def test_verdicts(differences: list[float], verdict: str) -> None:
    results = [finished("a", seed, 0.9 + value) for seed, value in enumerate(differences)]
    results += [finished("b", seed, 0.9) for seed in range(3)]
    assert paired_differences(results, "b").loc["a", "verdict"] == verdict


@pytest.mark.parametrize(
    ("results", "named"),
    [
        ([finished("a", 0, 0.5), finished("b", 0, 0.5, "quick")], "profiles"),
        ([finished("a", 0, 0.5)], "reference"),
        ([], "reference"),
        ([finished("b", 0, None)], "test_accuracy"),
    ],
)
def test_comparisons_without_sense_are_refused(results: list[dict], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        paired_differences(results, "b")


def staged(name: str, seed: int, losses: dict[int, float], profile: str = "quick") -> dict:
    """A finished unit of quick size whose rows of 40 samples have the loss of the stage in which they end."""
    samples = np.arange(40, 12_001, 40)
    stage = np.searchsorted([2400, 4800, 7200, 9600, 12_000], samples)
    history = pd.DataFrame({"samples_seen": samples, "train_loss": np.array(list(losses.values()))[stage]})
    return finished(name, seed, 0.5, profile) | {"history": history}


def test_stages_are_compared_seed_by_seed() -> None:
    rng = np.random.default_rng(0)
    batches = [32, 64, 128, 256, 512]
    grown, control = rng.random((2, 3, 5))
    one = [staged("batch-growth", seed, dict(zip(batches, grown[seed], strict=True))) for seed in (2, 0, 1)]
    other = [staged("lr-decay", seed, dict(zip(batches, control[seed], strict=True))) for seed in (0, 1, 2)]
    other.append(staged("lr-decay", 7, dict.fromkeys(batches, 9.0)))  # the other arm has no such seed
    losses = stage_losses(one)
    assert losses.index.tolist() == batches
    assert losses.columns.tolist() == [0, 1, 2]
    np.testing.assert_allclose(losses, grown.T)
    table = stage_differences(one, other)
    expected = [stats.ttest_rel(grown[:, k], control[:, k]).confidence_interval(0.95) for k in range(5)]
    np.testing.assert_allclose(table[["low", "high"]], expected)
    np.testing.assert_allclose(table["difference"], (grown - control).mean(axis=0))
    np.testing.assert_allclose(table[["loss", "reference"]], np.c_[grown.mean(axis=0), control.mean(axis=0)])
    single = stage_differences(one[:1], other)
    assert single["low"].isna().all()
    assert set(single["verdict"]) == {"one seed: no verdict"}


FLAT = dict.fromkeys(range(5), 1.0)


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        ([], [staged("b", 0, FLAT)], "one experiment"),
        ([staged("a", 0, FLAT), staged("c", 1, FLAT)], [staged("b", 0, FLAT)], "one experiment"),
        ([staged("a", 0, FLAT)], [staged("b", 1, FLAT)], "in common"),
        ([staged("a", 0, FLAT)], [staged("b", 0, FLAT, "full")], "one profile"),
    ],
)
def test_stages_that_cannot_be_compared_are_refused(one: list[dict], other: list[dict], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        stage_differences(one, other)


@pytest.mark.parametrize("name", ["clr", "batch-growth", "lr-decay"])
def test_schedule_of_a_unit_is_what_its_training_recorded(tiny: dict, known_bounds: object, name: str) -> None:
    (settings,) = plan(name, "quick", [0])
    history = train_unit(settings)[1].history
    schedule = unit_schedule(settings)
    pd.testing.assert_frame_equal(schedule, history[schedule.columns.tolist()])
    assert schedule["learning_rate"].nunique() > 1 or schedule["batch_size"].nunique() > 1


def test_thinned_history_keeps_evaluations_means_and_the_end() -> None:
    sizes = np.array([8] * 100 + [16] * 50)
    rng = np.random.default_rng(0)
    history = pd.DataFrame({"iteration": np.arange(1, 151), "samples_seen": sizes.cumsum(), "batch_size": sizes})
    history["train_loss"] = rng.random(150)
    history["train_accuracy"] = rng.random(150)
    history["test_loss"] = np.where(history["iteration"] % 40 == 0, 1.0 / history["iteration"], np.nan)
    thinned = thin(history, 20)
    assert len(thinned) <= 20 + 3 + 1 + 1
    assert thinned.iloc[-1]["iteration"] == 150
    assert thinned["test_loss"].dropna().tolist() == [1 / 40, 1 / 80, 1 / 120]
    samples = thinned["samples_seen"].diff().fillna(thinned["samples_seen"].iloc[0])
    for column in ("train_loss", "train_accuracy"):
        assert (thinned[column] * samples).sum() == pytest.approx((history[column] * sizes).sum())
    assert 100 in thinned["iteration"].tolist()  # no row joins batches of two sizes


@pytest.mark.parametrize("rows", [998, 999, 1000])
def test_thinned_history_makes_no_loss_up_where_one_is_missing(rows: int) -> None:
    history = pd.DataFrame({"samples_seen": 8 * np.arange(1, rows + 1), "batch_size": 8, "test_loss": math.nan})
    history = history.assign(train_loss=3.0, train_accuracy=0.5)
    history.loc[rows - 1, "train_loss"] = math.nan
    losses = thin(history, 300)["train_loss"]
    assert losses.iloc[:-1].tolist() == [3.0] * (len(losses) - 1) and math.isnan(losses.iloc[-1])


def test_thinning_a_short_history_changes_nothing() -> None:
    history = pd.DataFrame({"samples_seen": [8, 16, 24], "batch_size": 8, "train_loss": [3.0, 2.0, math.nan]})
    history = history.assign(train_accuracy=[0.1, 0.2, 0.3], test_loss=[math.nan, 1.0, math.nan])
    pd.testing.assert_frame_equal(thin(history, 300), history)


@pytest.mark.skipif(not DEBIAN_FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_first_iterations_of_a_full_scale_run_come_back() -> None:
    # at this rate the first losses hardly depend on rounding: float32 instead of bfloat16 moves them by 0.01 %
    (path,) = RESULTS.glob("lr-range-full-seed0-lr4.64e-03-*.json")
    stored = read_result(path)
    recorded = stored["history"].iloc[:3]
    ends = recorded["iteration"].tolist()
    _, outcome = train_unit(stored["settings"], iterations=ends[-1])
    losses = [part.mean() for part in np.split(outcome.history["train_loss"].to_numpy(), ends[:-1])]
    np.testing.assert_allclose(losses, recorded["train_loss"], rtol=0.01)
    assert losses[-1] < 0.9 * losses[0]  # it learns, so that the tolerance can tell


def test_stored_results_are_valid_small_and_named_by_their_settings() -> None:
    full = {unit_id(unit) for name in EXPERIMENTS for unit in plan(name, "full")}
    assert full <= {path.stem for path in RESULTS.glob("*.json")}
    for path in sorted(RESULTS.glob("*.json")):
        assert f"{read_result(path)['unit']}.json" == path.name
        assert path.stat().st_size < 200_000
        assert re.fullmatch("[0-9a-f]{40}", json.loads(path.read_text())["provenance"]["git_commit"])


@pytest.fixture
def stored(tiny: dict) -> dict:
    run_unit(plan("lr-range")[3], **tiny)
    return json.loads(next(tiny["results"].iterdir()).read_text())


def test_schema_refuses_a_result_that_lacks_any_key_or_has_another(stored: dict) -> None:
    validate_result(stored)
    for section in ("", "settings", "provenance", "summary", "history"):
        for key in stored[section] if section else stored:
            changed = copy.deepcopy(stored)
            del (changed[section] if section else changed)[key]
            with pytest.raises(ValueError):
                validate_result(changed)
        changed = copy.deepcopy(stored)
        (changed[section] if section else changed)["surprise"] = 1
        with pytest.raises(ValueError, match="surprise"):
            validate_result(changed)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("", "schema", 2),
        ("", "seed", 1),
        ("", "seed", True),
        ("", "experiment", "clr"),
        ("", "unit", "lr-range-quick-seed0-00000000"),
        ("settings", "momentum", 0.9),
        ("provenance", "threads", "2"),
        ("provenance", "wall_seconds", None),
        ("summary", "train_loss", None),
        ("summary", "samples_seen", 7),
        ("history", "train_loss", []),
        ("history", "samples_seen", None),
        ("provenance", "wall_seconds", -5),
        ("provenance", "versions", {}),
        ("summary", "test_accuracy", 93.2),
        ("summary", "test_loss", math.nan),
    ],
)
def test_schema_refuses_values_without_sense(stored: dict, section: str, key: str, value: object) -> None:
    (stored[section] if section else stored)[key] = value
    with pytest.raises(ValueError):
        validate_result(stored)


@pytest.mark.parametrize(
    ("column", "value"),
    [("train_loss", "oops"), ("test_accuracy", 93.2), ("iteration", 1.5), ("samples_seen", None), ("batch_size", True)],
)
def test_schema_refuses_a_history_with_a_value_without_sense(stored: dict, column: str, value: object) -> None:
    stored["history"][column][0] = value
    with pytest.raises(ValueError):
        validate_result(stored)


def test_torn_result_is_refused_by_name_and_found_by_status(
    stored: dict, tiny: dict, capsys: pytest.CaptureFixture
) -> None:
    path = next(tiny["results"].iterdir())
    path.write_text(path.read_text()[:700])
    (tiny["results"] / "notes.json").write_text("{}")
    assert main(["run", "lr-range", *arguments_for(tiny)]) == 1
    assert re.search(rf"{path.name} is no valid result.*delete it", capsys.readouterr().err)
    assert status("quick", **tiny).set_index("unit").loc[stored["unit"], "state"] == "damaged"
    assert main(["status", "--profile", "quick", *arguments_for(tiny)]) == 0


def test_results_of_two_precisions_are_not_compared(tiny: dict) -> None:
    run("lr-range", **tiny)
    path = next(tiny["results"].iterdir())
    stored = json.loads(path.read_text())
    other = "float32" if stored["provenance"]["precision"] == "bfloat16" else "bfloat16"
    path.write_text(json.dumps(stored | {"provenance": stored["provenance"] | {"precision": other}}))
    for read in (load_results, lambda _, results: bounds(results=results)):
        with pytest.raises(ValueError, match=r"in bfloat16 and float32 are not to be mixed.*--results"):
            read("lr-range", results=tiny["results"])


def test_differences_between_precisions_that_nobody_chose_are_refused(tiny: dict) -> None:
    one = run_unit(plan("lr-range")[3], **tiny)
    one["summary"]["test_accuracy"] = 0.5
    for asked, refused in (("auto", True), ("float32", False)):
        other = one | {"experiment": "clr", "settings": one["settings"] | {"precision": asked}}
        other["provenance"] = one["provenance"] | {"precision": "float64"}
        if refused:
            with pytest.raises(ValueError, match="not to be mixed"):
                paired_differences([one, other], "clr")
        else:
            assert paired_differences([one, other], "clr")["difference"].tolist() == [0]


def test_run_refuses_beforehand_to_go_on_with_another_processors_results(
    tiny: dict, capsys: pytest.CaptureFixture
) -> None:
    stored = run_unit(plan("lr-range")[0], **tiny)
    path = tiny["results"] / f"{stored['unit']}.json"
    other = "float32" if stored["provenance"]["precision"] == "bfloat16" else "bfloat16"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"provenance": content["provenance"] | {"precision": other}}))
    with pytest.raises(ValueError, match="not to be mixed"):
        run("lr-range", **tiny)
    assert main(["run", "lr-range", *arguments_for(tiny)]) == 1
    assert "not to be mixed" in capsys.readouterr().err
    assert len(list(tiny["results"].iterdir())) == 1
    assert main(["run", "all", "--fresh", *arguments_for(tiny)]) == 0
    assert len(list(tiny["results"].iterdir())) == 13


def test_finished_results_of_another_processor_are_only_read(tiny: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = run("lr-range", **tiny)
    other = {"float32": "bfloat16", "bfloat16": "float32"}[stored[0]["provenance"]["precision"]]
    monkeypatch.setattr(experiments, "choose_precision", lambda device: choose_precision(device, other))
    assert [result["unit"] for result in run("lr-range", **tiny)] == [result["unit"] for result in stored]
    assert main(["run", "lr-range", *arguments_for(tiny)]) == 0
    assert main(["run", "clr", *arguments_for(tiny)]) == 1


def test_altered_result_is_refused_by_name(stored: dict, tiny: dict) -> None:
    path = next(tiny["results"].iterdir())
    path.write_text(json.dumps(stored | {"seed": 5}))
    with pytest.raises(ValueError, match=path.name):
        read_result(path)


def test_provenance_says_commit_versions_device_and_speed(stored: dict) -> None:
    provenance = stored["provenance"]
    assert provenance["versions"]["torch"] == torch.__version__
    assert provenance["threads"] == 1
    assert provenance["precision"] == choose_precision("cpu").dtype
    assert provenance["wall_seconds"] > 0 and provenance["images_per_second"] > 0
    assert provenance["device_name"] and provenance["started"] <= provenance["finished"]


def test_git_state_tells_a_changed_tree_from_a_clean_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def state() -> dict:
        experiments._git_state.cache_clear()
        return experiments._git_state()

    monkeypatch.setattr(experiments, "ROOT", tmp_path)
    assert state() == {"git_commit": None, "git_clean": None}
    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    assert state() == {"git_commit": git("rev-parse", "HEAD"), "git_clean": True}
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "book" / "results" / "unit.json").write_text("{}")
    assert state()["git_clean"] is True  # results are not what made the result
    (tmp_path / "code.py").write_text("2")
    assert state()["git_clean"] is False
    experiments._git_state.cache_clear()


# ------------------------------------------------------------------ the command line


def arguments_for(tiny: dict) -> list[str]:
    return ["--results", str(tiny["results"]), "--checkpoints", str(tiny["checkpoints"])]


def test_list_names_every_experiment(capsys: pytest.CaptureFixture) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in [*EXPERIMENTS, *PROFILES, "600,000"])


def test_run_all_then_status_says_all_is_done(tiny: dict, capsys: pytest.CaptureFixture) -> None:
    main(["status", "--profile", "quick", *arguments_for(tiny)])
    before = capsys.readouterr().out
    assert "0 of 13 units done" in before and before.count("waits for lr-range") == 3
    assert main(["run", "all", *arguments_for(tiny)]) == 0
    main(["status", "--profile", "quick", *arguments_for(tiny)])
    after = capsys.readouterr().out
    assert "13 of 13 units done, about 0.0 hours left" in after


def test_units_of_a_command_can_run_side_by_side(tiny: dict, cluster: list, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "all", *arguments_for(tiny)]) == 0
    one_by_one = {path.name: read_result(path) for path in tiny["results"].iterdir()}
    with joblib.parallel_config(backend="cluster"):
        assert main(["run", "all", "--fresh", "--jobs", "2", *arguments_for(tiny)]) == 0
    assert len(cluster) == len(one_by_one) == 13
    for name, result in one_by_one.items():
        again = read_result(tiny["results"] / name)
        pd.testing.assert_frame_equal(again["history"], result["history"], check_exact=True)
    with pytest.raises(SystemExit):
        main(["run", "all", "--jobs", "0"])
    assert "--jobs: must be at least 1, not 0" in capsys.readouterr().err


def test_command_resumes_unless_told_to_start_afresh(tiny: dict) -> None:
    def changed_by(*options: str) -> bool:
        before = {path: path.stat().st_mtime_ns for path in tiny["results"].iterdir()}
        assert main(["run", "lr-range", *options, *arguments_for(tiny)]) == 0
        return {path: path.stat().st_mtime_ns for path in tiny["results"].iterdir()} != before

    run("lr-range", **tiny)
    assert not changed_by()
    assert not changed_by("--resume")
    assert changed_by("--fresh")


def test_interrupted_fresh_start_leaves_no_old_results_among_the_new(
    tiny: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start_afresh in (
        lambda: run("lr-range", fresh=True, **tiny),
        lambda: main(["run", "all", "--fresh", *arguments_for(tiny)]),
    ):
        assert main(["run", "all", *arguments_for(tiny)]) == 0
        assert len(list(tiny["results"].iterdir())) == 13
        trained = []

        def interrupted(settings: dict, trained: list = trained, **options: object) -> object:
            if len(trained) == 2:
                raise KeyboardInterrupt
            trained.append(unit_id(settings))
            return train_unit(settings, **options)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(experiments, "train_unit", interrupted)
            start_afresh()
        left = {path.stem for path in tiny["results"].glob("lr-range-*")}
        assert left == set(trained)
    assert {path.stem for path in tiny["results"].iterdir()} == set(trained)


@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_fresh_start_needs_nothing_of_the_old_results(tiny: dict, damage: str) -> None:
    assert main(["run", "all", *arguments_for(tiny)]) == 0
    before = {path: path.stat().st_mtime_ns for path in tiny["results"].iterdir()}
    path = next(tiny["results"].glob("lr-range-*"))
    path.unlink() if damage == "missing" else path.write_text("{")
    assert main(["run", "all", "--fresh", *arguments_for(tiny)]) == 0
    after = {path: path.stat().st_mtime_ns for path in tiny["results"].iterdir()}
    assert after.keys() == before.keys() and all(after[path] > before[path] for path in after)


@pytest.mark.parametrize("options", [["--micro-batch-size", "0"], ["--seeds", "0", "0"], ["--seeds", "-1"]])
def test_senseless_options_are_refused_before_anything_is_trained(
    tiny: dict, options: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", "all", *options, *arguments_for(tiny)]) == 1
    assert re.search("micro_batch_size|seeds", capsys.readouterr().err)
    assert not tiny["results"].exists()


def test_finished_unit_leaves_nothing_in_the_cache(tiny: dict) -> None:
    unit = plan("lr-range")[0]
    run_unit(unit, **tiny)
    for ending in (".pt", ".pt.tmp", ".attempts.json"):  # as if killed between storing the result and cleaning up
        (tiny["checkpoints"] / f"{unit_id(unit)}{ending}").touch()
    run_unit(unit, **tiny)
    assert [path.suffix for path in tiny["checkpoints"].iterdir()] == [".lock"]


def test_all_arms_in_smaller_parts_take_the_usual_bounds(tiny: dict) -> None:
    assert main(["run", "all", "--micro-batch-size", "8", *arguments_for(tiny)]) == 0
    parts = [read_result(path)["settings"]["micro_batch_size"] for path in tiny["results"].iterdir()]
    assert sorted(parts) == [8] * 3 + [256] * 10


def test_missing_bounds_name_the_command_with_its_options(tiny: dict, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "clr", "--precision", "float32", *arguments_for(tiny)]) == 1
    advice = re.search("run `python -m lib.experiments (.*)`", capsys.readouterr().err).group(1).split()
    assert main([*advice, "--checkpoints", str(tiny["checkpoints"])]) == 0
    assert main(["run", "clr", "--precision", "float32", *arguments_for(tiny)]) == 0


def test_status_shows_finished_units_of_other_seeds(tiny: dict) -> None:
    unit = plan("lr-range", seeds=[3])[0]
    run_unit(unit, **tiny)
    assert status("quick", **tiny).set_index("unit").loc[unit_id(unit), "state"] == "done"
    with pytest.raises(ValueError, match="profile must be one of quick, full, not 'fast'"):
        status("fast", **tiny)


def test_looking_at_a_lock_never_keeps_a_run_from_it(tmp_path: Path) -> None:
    lock, stop = tmp_path / "unit.lock", threading.Event()
    lock.touch()

    def look() -> None:
        while not stop.is_set():
            experiments._is_free(lock)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(200):
            with experiments._lock(lock) as mine:
                assert mine
    finally:
        stop.set()
        watcher.join()


def test_loss_that_is_not_finite_in_the_last_evaluation_is_divergence(tiny: dict) -> None:
    (unit,) = (unit for unit in plan("lr-range") if unit["learning_rate"] == 1e-9)
    unit = unit | {"learning_rate": 3e38, "batch_sizes": [[64, 1]]}
    result = run_unit(unit, **tiny)
    assert result["diverged"] and result["summary"]["test_loss"] is None and result["summary"]["train_loss"] is None
    assert run_unit(unit, **tiny)["unit"] == result["unit"]  # and its line can be printed again


def test_status_estimates_hours_from_the_measured_speed(tiny: dict, known_bounds: LearningRateBounds) -> None:
    run_unit(plan("lr-range")[0], **tiny)
    path = next(tiny["results"].iterdir())
    stored = json.loads(path.read_text())
    stored["provenance"]["wall_seconds"] = 64.0  # 6,400 samples at 100 a second
    path.write_text(json.dumps(stored))
    table = status("quick", **tiny)
    assert table["hours_left"].sum() == pytest.approx((9 * 6400 + 3 * 3200) / 100 / 3600)


def test_impossible_run_ends_with_one_sentence_and_a_failure(tiny: dict, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "clr", *arguments_for(tiny)]) == 1
    shown = capsys.readouterr().err
    assert "lacks 10 of its 10 candidates" in shown and "Traceback" not in shown


def test_unknown_names_are_refused_naming_the_choice(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["run", "momentum"])
    assert "lr-range" in capsys.readouterr().err


def test_module_runs_as_a_command() -> None:
    command = [sys.executable, "-m", "lib.experiments", "list"]
    assert "batch-growth" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_command_runs_units_in_processes_of_their_own(tmp_path: Path) -> None:
    # stored units are only looked up, but by worker processes, which have to find the code
    for path in RESULTS.glob("*-quick-*.json"):
        shutil.copy(path, tmp_path)
    places = ["--results", str(tmp_path), "--checkpoints", str(tmp_path / "checkpoints")]
    arguments = ["run", "batch-growth", "--seeds", "0", "1", "--jobs", "2", *places]
    command = [sys.executable, "-m", "lib.experiments", *arguments]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert sorted(re.findall(r"batch-growth-quick-seed(\d).*finished before", shown)) == ["0", "1"]
