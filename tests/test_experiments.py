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
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from lib.arguments import ArgumentError
from lib.checkpoints import CheckpointError
from lib.datasets import DEBIAN_FASHION_MNIST
from lib.devices import choose_precision
from lib.experiments import (
    CANDIDATES,
    EXPERIMENTS,
    PROFILES,
    MissingResults,
    Profile,
    Unit,
    load_results,
    paired_differences,
    plan,
    provenance,
    read_result,
    run,
    run_unit,
    stage_differences,
    stage_means,
    stages,
    status,
    stored_bounds,
    train_unit,
    unit_schedule,
    units,
    whole_batches,
)
from lib.experiments.__main__ import main
from lib.experiments.plan import unit_id
from lib.experiments.results import thin, validate_result
from lib.files import lock
from lib.learning_rates import LearningRateBounds

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "book" / "results"
BOUNDS = LearningRateBounds(1e-3, 0.5)


class TinyNetwork(nn.Sequential):
    """Stands in for the network, so that a unit takes milliseconds."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4))


def tiny_images(n: int, seed: int) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 4, (n,), generator=generator)
    data = torch.randint(0, 100, (n, 6, 6), generator=generator) + 50 * targets[:, None, None]
    return SimpleNamespace(data=data.to(torch.uint8), targets=targets)


def make_tiny(range_samples: int = 6400) -> None:
    """Replace network and data of the units, and the size of the quick profile."""
    units.SmallInception = TinyNetwork
    data = SimpleNamespace(train=tiny_images(640, 0), test=tiny_images(50, 1))
    units.load_fashion_mnist = lambda subset: data
    PROFILES["quick"] = Profile("quick", range_samples, 3200, 640, 128, 640, (0,))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict]:
    """Tiny experiments, in directories of their own; one thread, see `small_trainings`."""
    monkeypatch.setattr(units, "SmallInception", TinyNetwork)
    monkeypatch.setattr(units, "load_fashion_mnist", units.load_fashion_mnist)
    monkeypatch.setitem(PROFILES, "quick", PROFILES["quick"])
    make_tiny()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    places = {"directory": tmp_path / "results", "checkpoints": tmp_path / "checkpoints"}
    places["directory"].mkdir()
    yield places
    torch.set_num_threads(threads)


def batches_of(unit: Unit) -> np.ndarray:
    return np.array(unit.settings.batch_sizes)


# ------------------------------------------------------------------ what is trained


def test_candidates_are_ten_at_equal_ratios() -> None:
    np.testing.assert_allclose(CANDIDATES, np.geomspace(1e-9, 1e1, 10), rtol=1e-5)


@pytest.mark.parametrize(("profile", "images"), [("quick", 3000), ("full", 60_000)])
def test_every_candidate_has_the_same_settings_but_its_rate(profile: str, images: int) -> None:
    units = plan("lr-range", profile)
    assert sorted(unit.settings.learning_rate for unit in units) == list(CANDIDATES)
    assert len({json.dumps(unit.as_stored() | {"learning_rate": 0}) for unit in units}) == 1
    assert set(batches_of(units[0])[1:]) == {64}
    assert units[0].samples == images * {"quick": 1, "full": 5}[profile]


def test_clr_at_full_scale_is_ten_epochs_of_decaying_whole_cycles() -> None:
    unit = plan("clr", "full", BOUNDS)[0]
    assert unit.as_stored()["batch_sizes"] == [[64, 9375]]
    schedule = unit.settings.schedule
    assert (schedule["name"], schedule["mode"], schedule["cycle_momentum"]) == ("CyclicLR", "exp_range", False)
    assert (schedule["base_lr"], schedule["max_lr"]) == BOUNDS
    assert schedule["gamma"] == 0.99994
    assert 9375 % (2 * schedule["step_size_up"]) == 0


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_all_arms_see_equally_many_samples(profile: str) -> None:
    arms = [plan(name, profile, BOUNDS)[0] for name in ("clr", "batch-growth", "lr-decay")]
    assert {unit.samples for unit in arms} == {PROFILES[profile].arm_samples}


def test_stages_at_full_scale_double_from_32_to_8192_and_hold_equal_samples() -> None:
    sizes, samples = zip(*stages(600_000, 8192), strict=True)
    assert sizes == (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
    assert sum(samples) == 600_000
    assert max(samples) - min(samples) <= 1


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_control_halves_the_rate_exactly_where_the_batch_doubles(profile: str) -> None:
    growth, decay = (plan(name, profile, BOUNDS)[0] for name in ("batch-growth", "lr-decay"))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], decay.settings.learning_rate)
    schedule = dict(decay.settings.schedule)
    scheduler = getattr(torch.optim.lr_scheduler, schedule.pop("name"))(optimizer, **schedule)
    rates, batches = [], batches_of(decay)
    for _ in batches:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert growth.settings.schedule is None
    assert growth.settings.learning_rate == decay.settings.learning_rate == BOUNDS.lr_max
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


def test_every_setting_is_part_of_the_units_name() -> None:
    stored = plan("clr", "full", BOUNDS)[0].as_stored()
    for key in stored:
        assert unit_id(stored | {key: "changed"}) != unit_id(stored), key
    assert unit_id(dict(reversed(stored.items()))) == unit_id(json.loads(json.dumps(stored))) == unit_id(stored)


def test_names_of_units_are_those_of_the_stored_results() -> None:
    stored = [read_result(path) for path in sorted(RESULTS.glob("*.json"))]
    assert len(stored) >= 64
    for result in stored:
        assert Unit.from_stored(result["settings"]).id == Path(result["unit"]).name
    for profile in PROFILES:
        planned = [unit for name in EXPERIMENTS for unit in plan(name, profile, stored_bounds(profile, RESULTS))]
        assert {unit.id for unit in planned} <= {result["unit"] for result in stored}


def test_seeds_and_precisions_are_units_of_their_own_and_bfloat16_is_what_auto_ran_in() -> None:
    names = {plan("lr-range", "full", seeds=[seed])[0].id for seed in (0, 1, 2)}
    names |= {plan("lr-range", "full", micro_batch_size=size)[0].id for size in (32, 256)}  # 256 is the default
    auto, low, single = (plan("lr-range", "full", precision=p)[0].id for p in ("auto", "bfloat16", "float32"))
    assert auto == low and single not in names
    assert len(names) == 4


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("lr-rang",), "name"),
        (("clr", "fast", BOUNDS), "profile"),
        (("clr", "quick"), "bounds"),
        (("lr-range", "quick", None, [-1]), "seeds"),
        (("lr-range", "quick", None, [0.5]), "seeds"),
        (("lr-range", "quick", None, [True]), "seeds"),
        (("lr-range", "quick", None, 0), "seeds must be a list of whole numbers"),
        (("lr-range", "quick", None, [0, 0]), "seeds must differ"),
    ],
)
def test_senseless_requests_are_refused_by_name(arguments: tuple, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        plan(*arguments)
    with pytest.raises(ArgumentError, match="micro_batch_size"):
        plan("lr-range", micro_batch_size=0)
    with pytest.raises(ArgumentError, match="precision must be one of auto, float32, bfloat16, got 'float16'"):
        plan("lr-range", precision="float16")
    assert plan("lr-range", seeds=np.arange(2)) == plan("lr-range", seeds=[0, 1])


def test_planning_touches_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*arguments: object, **options: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr("os.scandir", opened)
    assert len(plan("clr", "full", BOUNDS)) == 3


@pytest.mark.parametrize("name", ["clr", "batch-growth", "lr-decay"])
def test_schedule_of_a_unit_is_what_its_training_recorded(tiny: dict, name: str) -> None:
    (unit,) = plan(name, "quick", BOUNDS, [0])
    history = train_unit(unit)[1].history
    schedule = unit_schedule(unit)
    pd.testing.assert_frame_equal(schedule, history[schedule.columns.tolist()])
    assert schedule["learning_rate"].nunique() > 1 or schedule["batch_size"].nunique() > 1


# ------------------------------------------------------------------ running


def test_all_experiments_run_one_after_the_other_to_valid_results(tiny: dict) -> None:
    everything = run("all", "quick", **tiny)
    assert sorted(result["experiment"] for result in everything) == sorted(["lr-range"] * 10 + list(EXPERIMENTS)[1:])
    assert {f"{result['unit']}.json" for result in everything} == {path.name for path in tiny["directory"].iterdir()}
    low, high = stored_bounds("quick", tiny["directory"])
    (clr,), (growth,) = (load_results(name, "quick", tiny["directory"]) for name in ("clr", "batch-growth"))
    assert clr["settings"]["schedule"]["base_lr"] == low
    assert growth["settings"]["learning_rate"] == high
    assert clr["provenance"]["precision"] == choose_precision("cpu").dtype
    start = {round(result["history"]["train_loss"].iloc[0], 3) for result in everything[5:10]}  # at tiny rates
    assert len(start) == 1  # candidates start from the same weights and images


def test_finished_units_are_skipped_and_fresh_ones_are_not(tiny: dict) -> None:
    again = run("lr-range", "quick", **tiny)
    before = {path: path.stat().st_mtime_ns for path in tiny["directory"].iterdir()}
    run("lr-range", "quick", **tiny)
    assert {path: path.stat().st_mtime_ns for path in tiny["directory"].iterdir()} == before
    fresh = run("lr-range", "quick", fresh=True, **tiny)
    assert all(path.stat().st_mtime_ns > changed for path, changed in before.items())
    for old, new in zip(again, fresh, strict=True):
        pd.testing.assert_frame_equal(old["history"], new["history"], check_exact=True)


def test_changed_setting_makes_new_units_and_leaves_the_old(tiny: dict) -> None:
    run("lr-range", "quick", **tiny)
    PROFILES["quick"] = Profile("quick", 1280, 3200, 640, 128, 640, (0,))
    assert load_results("lr-range", "quick", tiny["directory"]) == []
    with pytest.raises(MissingResults, match="lacks 10 of its 10"):
        stored_bounds("quick", tiny["directory"])
    run("lr-range", "quick", **tiny)
    assert len(list(tiny["directory"].iterdir())) == 20


def test_smaller_micro_batches_are_trained_and_found_apart_from_the_others(tiny: dict) -> None:
    run("lr-range", "quick", **tiny)
    (whole,), (ghost,) = (run("batch-growth", "quick", **tiny, micro_batch_size=size) for size in (256, 8))
    assert whole["unit"] != ghost["unit"]
    assert whole["summary"]["train_loss"] != ghost["summary"]["train_loss"]
    for size, expected in ((256, whole), (8, ghost)):
        found = load_results("batch-growth", "quick", tiny["directory"], micro_batch_size=size)
        assert [result["unit"] for result in found] == [expected["unit"]]


def test_diverged_candidate_ends_itself_and_not_the_sweep(tiny: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("plan", "results"):
        monkeypatch.setattr(sys.modules[f"lib.experiments.{module}"], "CANDIDATES", (1e-3, 1e-2, 1e-1, 3e38))
    results = run("lr-range", "quick", **tiny)
    assert [result["diverged"] for result in results] == [True, False, False, False]
    assert results[0]["summary"]["train_loss"] is None
    assert math.isnan(results[0]["history"]["train_loss"].iloc[-1])
    assert stored_bounds("quick", tiny["directory"]).lr_max < 1


def test_loss_that_is_not_finite_in_the_last_evaluation_is_divergence(tiny: dict) -> None:
    unit = plan("lr-range")[0]
    unit = replace(unit, settings=replace(unit.settings, learning_rate=3e38, batch_sizes=[64]))
    result = run_unit(unit, **tiny)
    assert result["diverged"] and result["summary"]["test_loss"] is None and result["summary"]["train_loss"] is None
    assert run_unit(unit, **tiny)["unit"] == result["unit"]  # and its line can be printed again


def test_what_is_no_yes_deletes_no_results(tiny: dict) -> None:
    with pytest.raises(ArgumentError, match="fresh must be True or False, got 'no'"):
        run("lr-range", "quick", fresh="no", **tiny)


def test_threads_of_one_process_are_refused(tmp_path: Path) -> None:
    script = """
        import os, sys
        import joblib
        from lib.experiments import run
        from tests.test_experiments import make_tiny
        make_tiny()
        try:
            with joblib.parallel_config(backend="threading", n_jobs=2):
                run("lr-range", "quick", sys.argv[1], checkpoints=sys.argv[1])
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)  # the thread that came first would go on to its end
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=200).stdout
    assert shown.startswith("another thread of this process is training") and "in processes" in shown


# ------------------------------------------------------------------ interruption

RUN_ONE_UNIT = """
    import sys
    import torch
    from pathlib import Path
    from lib.experiments import plan, run_unit
    from tests.test_experiments import make_tiny
    torch.set_num_threads(1)
    make_tiny(range_samples=64 * 4000)
    directory = Path(sys.argv[1])
    run_unit(plan("lr-range")[4], directory / "results", directory / "checkpoints", threads=int(sys.argv[2]))
"""


def start_one_unit(directory: Path, threads: int = 1) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(RUN_ONE_UNIT), str(directory), str(threads)]
    return subprocess.Popen(command, cwd=ROOT)


def test_killed_unit_is_interrupted_then_resumes_to_the_same_result(tmp_path: Path, tiny: dict) -> None:
    make_tiny(range_samples=64 * 4000)
    unit = plan("lr-range")[4].id

    def state() -> pd.Series:
        return status("quick", precision="bfloat16", **tiny).set_index("unit").loc[unit]

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
    assert not (tiny["directory"] / f"{unit}.json").exists()
    # with as many threads as it began with, whatever it is given now: another number sums in another order
    assert start_one_unit(tmp_path, threads=2).wait() == 0
    assert state()["state"] == "done"
    resumed = read_result(tiny["directory"] / f"{unit}.json")
    assert len(resumed["provenance"]["resumed_after"]) == 1
    assert resumed["provenance"]["threads"] == 1
    assert os.listdir(tiny["checkpoints"]) == [f"{unit}.lock"]
    whole = run_unit(plan("lr-range")[4], tmp_path / "other", tmp_path / "other")
    pd.testing.assert_frame_equal(resumed["history"], whole["history"], check_exact=True)
    assert resumed["summary"] == whole["summary"]
    assert whole["provenance"]["resumed_after"] == []


def test_unit_that_another_process_trains_is_left_to_it(tiny: dict, caplog: pytest.LogCaptureFixture) -> None:
    with lock(tiny["checkpoints"] / f"{plan('lr-range')[0].id}.lock") as mine:
        assert mine
        assert len(run("lr-range", "quick", **tiny)) == 9
    assert "left to the process that is training it" in caplog.text
    assert len(run("lr-range", "quick", **tiny)) == 10


def test_damaged_checkpoint_is_refused_and_fresh_is_the_way_out(tiny: dict) -> None:
    tiny["checkpoints"].mkdir()
    (tiny["checkpoints"] / f"{plan('lr-range')[0].id}.pt").write_bytes(b"PK torn")
    with pytest.raises(CheckpointError, match="torn"):
        run("lr-range", "quick", **tiny)
    assert len(run("lr-range", "quick", fresh=True, **tiny)) == 10


def test_finished_unit_leaves_nothing_in_the_cache(tiny: dict) -> None:
    unit = plan("lr-range")[0]
    run_unit(unit, **tiny)
    for name in (f"{unit.id}.pt", f".{unit.id}.pt.x1", f"{unit.id}.attempts.json"):  # as if killed before cleaning up
        (tiny["checkpoints"] / name).touch()
    run_unit(unit, **tiny)
    assert [path.suffix for path in tiny["checkpoints"].iterdir()] == [".lock"]


# ------------------------------------------------------------------ comparisons

CPU = {"precision": "float32", "device": "cpu"}


def finished(seed: int, accuracy: float | None, profile: str = "full", **provenance: str) -> dict:
    summary = {"test_accuracy": accuracy, "train_loss": 1.0}
    return {"unit": f"u{seed}", "profile": profile, "seed": seed, "summary": summary, "provenance": CPU | provenance}


def group(values: Iterable[float | None], **options: str) -> list[dict]:
    return [finished(seed, value, **options) for seed, value in enumerate(values)]


def test_paired_differences_are_those_of_students_t_over_common_seeds() -> None:
    rng = np.random.default_rng(0)
    clr, growth = rng.normal(0.93, 0.01, 5), rng.normal(0.90, 0.01, 5)
    groups = {"clr": group(clr), "growth": [*reversed(group(growth)), finished(9, 0.1)]}  # clr has no such seed
    row = paired_differences(groups, "clr").iloc[0]
    test = stats.ttest_rel(growth, clr)
    expected = test.confidence_interval(0.95)
    assert (row["group"], row["reference"], row["quantity"]) == ("growth", "clr", "test_accuracy")
    assert row["seeds"] == 5
    assert (row["low"], row["high"], row["p"]) == pytest.approx((expected.low, expected.high, test.pvalue))
    assert row["p_holm"] == row["p"]  # a single comparison
    assert row["difference"] == pytest.approx((growth - clr).mean())
    assert row["verdict"] == "lower"


def test_p_values_are_corrected_by_holm_over_all_comparisons_of_a_call() -> None:
    rng = np.random.default_rng(1)
    groups = {name: group(rng.normal(mean, 0.01, 6)) for name, mean in zip("abc", (0.9, 0.91, 0.95), strict=True)}
    for results in groups.values():
        for result in results:
            result["summary"]["train_loss"] = rng.random()
    pairs = [("b", "a"), ("c", "a"), ("c", "b")]
    table = paired_differences(groups, pairs, ["test_accuracy", "train_loss"])
    assert len(table) == 6
    p = table["p"].to_numpy()
    order = np.argsort(p)
    expected, largest = np.empty(6), 0.0
    for rank, place in enumerate(order):  # step down: the smallest times six, the next times five, never falling
        largest = max(largest, p[place] * (6 - rank))
        expected[place] = min(largest, 1)
    np.testing.assert_allclose(table["p_holm"], expected)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.02, 0.021, 0.019], "higher"),
        ([-0.02, -0.021, -0.019], "lower"),
        ([0.02, -0.021, 0.019], "not separable"),
        ([0.5], "one seed: no verdict"),
        ([], "no seed in common"),
    ],
)
def test_verdicts(differences: list[float], verdict: str) -> None:
    groups = {"a": group(0.9 + value for value in differences), "b": group([0.9] * 3)}
    assert paired_differences(groups, "b")["verdict"].tolist() == [verdict]


@pytest.mark.parametrize(
    ("groups", "named"),
    [
        ({"a": group([0.5]), "b": group([0.5], profile="quick")}, "of one profile"),
        ({"a": group([0.5])}, "pairs must name labels"),
        ({"b": []}, "of one profile"),
        ({"a": group([0.5]), "b": group([None])}, "test_accuracy"),
        ({"a": [*group([0.5]), finished(0, 0.6)], "b": group([0.5])}, "'a' holds two results of seed 0"),
        ({"a": group([0.5], precision="bfloat16"), "b": group([0.5])}, "bfloat16 and float32 are not to be mixed"),
        ({"a": group([0.5], device="cuda:0"), "b": group([0.5])}, "cpu and cuda are not to be mixed"),
        ({"a": [finished(0, 0.5), finished(1, 0.5, precision="bfloat16")], "b": group([0.5])}, "not to be mixed"),
    ],
)
def test_comparisons_without_sense_are_refused(groups: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        paired_differences(groups, "b")


def test_precisions_are_compared_only_where_that_is_the_question() -> None:
    groups = {"a": group([0.5, 0.6], precision="bfloat16"), "b": group([0.5, 0.6])}
    assert paired_differences(groups, "b", across_precisions=True)["difference"].tolist() == [0]
    groups["a"] = group([0.5, 0.6], precision="bfloat16", device="cuda")
    with pytest.raises(ValueError, match="cpu and cuda"):
        paired_differences(groups, "b", across_precisions=True)


def staged(seed: int, losses: Iterable[float], profile: str = "quick") -> dict:
    """A finished unit of quick size whose rows of 40 samples have the loss of the stage in which they end."""
    samples = np.arange(40, 12_001, 40)
    stage = np.searchsorted([2400, 4800, 7200, 9600, 12_000], samples)
    history = pd.DataFrame({"samples_seen": samples, "train_loss": np.array(list(losses))[stage]})
    history["train_accuracy"] = 1 - history["train_loss"] / 10
    return finished(seed, 0.5, profile) | {"history": history}


def test_stages_are_compared_seed_by_seed() -> None:
    rng = np.random.default_rng(0)
    grown, control = rng.random((2, 3, 5))
    groups = {
        "growth": [staged(seed, grown[seed]) for seed in (2, 0, 1)],
        "decay": [staged(seed, control[seed]) for seed in (0, 1, 2)] + [staged(7, [9.0] * 5)],  # no such growth
    }
    means = stage_means(groups)
    assert means.index.tolist() == [32, 64, 128, 256, 512]
    assert means["growth"].columns.tolist() == [0, 1, 2]
    np.testing.assert_allclose(means["growth"], grown.T)
    np.testing.assert_allclose(stage_means(groups, "train_accuracy")["growth"], 1 - grown.T / 10)
    table = stage_differences(groups, "growth", "decay")
    tests = [stats.ttest_rel(grown[:, k], control[:, k]) for k in range(5)]
    np.testing.assert_allclose(table[["low", "high"]], [test.confidence_interval(0.95) for test in tests])
    np.testing.assert_allclose(table["p"], [test.pvalue for test in tests])
    np.testing.assert_allclose(table["p_holm"].min(), min(5 * min(test.pvalue for test in tests), 1))
    np.testing.assert_allclose(table["difference"], (grown - control).mean(axis=0))
    np.testing.assert_allclose(table[["value", "reference_value"]], np.c_[grown.mean(axis=0), control.mean(axis=0)])
    single = stage_differences(groups | {"growth": groups["growth"][:1]}, "growth", "decay")
    assert single["low"].isna().all()
    assert set(single["verdict"]) == {"one seed: no verdict"}


FLAT = [1.0] * 5


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        ([], [], "of one profile"),
        ([staged(0, FLAT), staged(0, FLAT)], [staged(0, FLAT)], "two results of seed 0"),
        ([staged(0, FLAT)], [staged(1, FLAT)], "in common"),
        ([staged(0, FLAT)], [staged(0, FLAT, "full")], "one profile"),
    ],
)
def test_stages_that_cannot_be_compared_are_refused(one: list[dict], other: list[dict], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        stage_differences({"one": one, "other": other}, "one", "other")


# ------------------------------------------------------------------ results


def test_unit_trained_by_hand_is_the_one_that_is_stored(tiny: dict) -> None:
    unit = plan("lr-range")[0]
    stored = run_unit(unit, **tiny)
    model, outcome = train_unit(unit)
    assert isinstance(model, TinyNetwork)
    assert outcome.history["train_loss"].iloc[-1] == pytest.approx(stored["history"]["train_loss"].iloc[-1], rel=1e-5)
    _, start = train_unit(unit, iterations=3)
    pd.testing.assert_frame_equal(start.history.iloc[:2], outcome.history.iloc[:2])
    assert len(start.history) == 3


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
def test_first_iterations_of_a_full_scale_run_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # at this rate the first losses hardly depend on rounding: float32 instead of bfloat16 moves them by 0.01 %
    (path,) = RESULTS.glob("lr-range-full-seed0-lr4.64e-03-*.json")
    stored = read_result(path)
    recorded = stored["history"].iloc[:3]
    ends = recorded["iteration"].tolist()
    data = units.load_fashion_mnist(PROFILES["full"].subset)
    few = SimpleNamespace(data=data.test.data[:10], targets=data.test.targets[:10])  # whose losses nobody looks at
    monkeypatch.setattr(units, "load_fashion_mnist", lambda subset: SimpleNamespace(train=data.train, test=few))
    _, outcome = train_unit(Unit.from_stored(stored["settings"]), iterations=ends[-1])
    losses = [part.mean() for part in np.split(outcome.history["train_loss"].to_numpy(), ends[:-1])]
    np.testing.assert_allclose(losses, recorded["train_loss"], rtol=0.01)
    assert losses[-1] < 0.9 * losses[0]  # it learns, so that the tolerance can tell


def test_stored_results_are_valid_small_and_named_by_their_settings() -> None:
    for path in sorted(RESULTS.glob("*.json")):
        assert f"{read_result(path)['unit']}.json" == path.name
        assert path.stat().st_size < 200_000
        assert re.fullmatch("[0-9a-f]{40}", json.loads(path.read_text())["provenance"]["git_commit"])


@pytest.fixture
def stored(tiny: dict) -> dict:
    run_unit(plan("lr-range")[3], **tiny)
    return json.loads(next(tiny["directory"].iterdir()).read_text())


def test_schema_refuses_a_result_that_lacks_any_key_or_has_another(stored: dict) -> None:
    validate_result(stored)
    for section in ("", "settings", "provenance", "summary", "history"):
        for key in stored[section] if section else stored:
            changed = copy.deepcopy(stored)
            del (changed[section] if section else changed)[key]
            with pytest.raises(ValueError, match=key):
                validate_result(changed)
        changed = copy.deepcopy(stored)
        (changed[section] if section else changed)["surprise"] = 1
        with pytest.raises(ValueError, match="surprise"):
            validate_result(changed)


def test_without_jsonschema_what_is_missing_is_named_too(stored: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.experiments.results._schema_check", lambda: lambda result: None)
    for section, key in [("", "history"), ("summary", "train_loss"), ("history", "epoch"), ("", "diverged")]:
        changed = copy.deepcopy(stored)
        del (changed[section] if section else changed)[key]
        with pytest.raises(ValueError, match=key):
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
        ("provenance", "wall_seconds", -5),
        ("provenance", "versions", {}),
        ("summary", "train_loss", None),
        ("summary", "samples_seen", 7),
        ("summary", "test_accuracy", 93.2),
        ("summary", "test_loss", math.nan),
        ("history", "train_loss", []),
        ("history", "samples_seen", None),
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


@pytest.mark.parametrize("key", ["train_loss", "train_accuracy", "test_loss", "test_accuracy", "samples_seen"])
def test_summary_that_its_own_history_contradicts_is_refused(key: str) -> None:
    (path,) = RESULTS.glob("clr-full-seed0-*.json")  # the reported one: test_accuracy 0.937 made 0.947
    result = json.loads(path.read_text())
    validate_result(result)
    result["summary"][key] += 1 if key == "samples_seen" else 0.01 if key == "test_accuracy" else 0.001
    with pytest.raises(ValueError, match=f"{key} in summary is .* but the history says"):
        validate_result(result)


@pytest.mark.parametrize(
    ("column", "change"), [("iteration", 1), ("samples_seen", 64), ("batch_size", 1), ("test_accuracy", -0.01)]
)
def test_history_that_is_not_that_of_the_settings_is_refused(column: str, change: float) -> None:
    (path,) = RESULTS.glob("clr-full-seed0-*.json")
    result = json.loads(path.read_text())
    result["history"][column][-1] += change
    with pytest.raises(ValueError):
        validate_result(result)


@pytest.mark.parametrize("name", ["clr-full-seed0", "lr-decay-quick-seed0", "lr-range-quick-seed0-lr4.64e-03"])
@pytest.mark.parametrize("column", ["epoch", "learning_rate"])
@pytest.mark.parametrize("row", [0, 7, -1])
@pytest.mark.parametrize("factor", [1.001, 0.5, 10.0])
def test_altered_epoch_or_learning_rate_of_a_history_is_refused(
    name: str, column: str, row: int, factor: float
) -> None:
    (path, *_) = RESULTS.glob(f"{name}-*.json")
    result = json.loads(path.read_text())
    result["history"][column][row] *= factor
    with pytest.raises(ValueError, match=f"{column} in history is not that of the settings"):
        validate_result(result)


@pytest.mark.parametrize("column", ["epoch", "learning_rate"])
def test_epochs_and_rates_that_are_all_altered_alike_are_refused(column: str) -> None:
    (path,) = RESULTS.glob("clr-full-seed0-*.json")
    result = json.loads(path.read_text())
    result["history"][column] = [2 * value for value in result["history"][column]]
    with pytest.raises(ValueError, match=r"not that of the settings|in summary is .* but the history says"):
        validate_result(result)


def test_torn_result_is_refused_by_name_and_found_by_status(
    stored: dict, tiny: dict, capsys: pytest.CaptureFixture
) -> None:
    path = next(tiny["directory"].iterdir())
    path.write_text(path.read_text()[:700])
    (tiny["directory"] / "notes.json").write_text("{}")
    assert main(["run", "lr-range", *arguments_for(tiny)]) == 1
    assert re.search(rf"{path.name} is no valid result.*delete it", capsys.readouterr().err)
    assert status("quick", **tiny).set_index("unit").loc[stored["unit"], "state"] == "damaged"
    assert main(["status", "--profile", "quick", *arguments_for(tiny)]) == 0


def test_altered_result_is_refused_by_name(stored: dict, tiny: dict) -> None:
    path = next(tiny["directory"].iterdir())
    path.write_text(json.dumps(stored | {"seed": 5}))
    with pytest.raises(ValueError, match=path.name):
        read_result(path)


def test_folder_of_results_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"results .*nowhere does not exist"):
        load_results("clr", "quick", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match=r"results .*file is no directory"):
        load_results("clr", "quick", tmp_path / "file")


# ------------------------------------------------------------------ precisions and kinds of device


def computed_otherwise(path: Path, **provenance: str) -> None:
    """Let a stored result say that it was computed in another way."""
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"provenance": stored["provenance"] | provenance}))


@pytest.mark.parametrize("other", [{"precision": "float32"}, {"device": "cuda"}])
def test_results_of_two_kinds_are_not_read_together(tiny: dict, other: dict) -> None:
    run("lr-range", "quick", precision="bfloat16", **tiny)
    computed_otherwise(next(tiny["directory"].iterdir()), **other)
    for read in (load_results, lambda _, *arguments: stored_bounds(*arguments)):
        with pytest.raises(ValueError, match=r"are not to be mixed.*--results"):
            read("lr-range", "quick", tiny["directory"])


@pytest.fixture
def float32_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has no bfloat16 instructions."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)


@pytest.fixture
def bfloat16_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)


def test_auto_runs_in_what_the_machine_gains_from_and_names_it_so(tiny: dict, float32_machine: None) -> None:
    (result, *_) = run("lr-range", "quick", **tiny)
    assert result["provenance"]["precision"] == "float32"
    assert result["unit"] == plan("lr-range", precision="float32")[0].id
    assert load_results("lr-range", "quick", tiny["directory"])[0]["unit"] == result["unit"]


def test_status_is_of_what_this_machine_would_run(tiny: dict, float32_machine: None) -> None:
    assert status("quick", **tiny)["unit"].iloc[0] == plan("lr-range", precision="float32")[0].id
    run("all", "quick", **tiny)
    table = status("quick", **tiny)
    assert len(table) == 13 and (table["state"] == "done").all()


def test_one_more_seed_on_a_machine_that_chooses_otherwise(
    tiny: dict, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, bfloat16_machine: None
) -> None:
    run("all", "quick", **tiny)
    n = len(list(tiny["directory"].iterdir()))
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    # what is finished is read
    assert len(run("all", "quick", **tiny)) == 13
    # what would be mixed is refused before it is trained, with ways out
    with pytest.raises(ValueError, match=r"not to be mixed.*--precision"):
        run("clr", "quick", seeds=[9], **tiny)
    assert len(list(tiny["directory"].iterdir())) == n
    # the bounds are an input: the stored ones serve, and the log says so
    with caplog.at_level("INFO", "lib.experiments"):
        (single,) = run("clr", "quick", seeds=[9], precision="float32", **tiny)
        assert "bounds of float32 quick are those of its sweep in bfloat16" in caplog.text
        # asked for in bfloat16, it is the unit that auto ran there; that it is emulated is said before
        (low,) = run("clr", "quick", seeds=[9], precision="bfloat16", **tiny)
        assert "only emulates bfloat16" in caplog.text
    assert single["settings"]["schedule"] == low["settings"]["schedule"]
    assert (single["provenance"]["precision"], low["provenance"]["precision"]) == ("float32", "bfloat16")
    assert low["settings"]["precision"] == "auto"
    both = load_results("clr", "quick", tiny["directory"], seeds=[0, 9])
    assert [result["provenance"]["precision"] for result in both] == ["bfloat16"] * 2


def test_results_of_a_gpu_are_not_gone_on_with_on_a_cpu(tiny: dict, bfloat16_machine: None) -> None:
    run_unit(plan("lr-range")[0], **tiny)
    computed_otherwise(next(tiny["directory"].iterdir()), device="cuda:0")
    with pytest.raises(ValueError, match="cpu and cuda are not to be mixed"):
        run("lr-range", "quick", **tiny)
    assert len(list(tiny["directory"].iterdir())) == 1


def test_the_drivers_choice_of_precision_travels_to_the_workers(tiny: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "choose_precision", lambda device: choose_precision(device, "float32"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)  # the worker's own
    assert {result["provenance"]["precision"] for result in run("lr-range", "quick", **tiny)} == {"float32"}


# ------------------------------------------------------------------ provenance


def test_provenance_says_commit_versions_device_and_speed(stored: dict) -> None:
    provenance = stored["provenance"]
    assert provenance["versions"]["torch"] == torch.__version__
    assert provenance["threads"] == 1
    assert provenance["precision"] == choose_precision("cpu").dtype
    assert provenance["wall_seconds"] > 0 and provenance["images_per_second"] > 0
    assert provenance["device_name"] and provenance["started"] <= provenance["finished"]


def test_git_state_tells_changed_from_clean_and_never_names_a_repository_of_somebody_else(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def state(file: Path) -> dict:
        provenance.git_state.cache_clear()
        return provenance.git_state(file)

    code = tmp_path / "lib" / "code.py"
    installed = tmp_path / ".venv" / "site-packages" / "code.py"
    for path in (code, installed):
        path.parent.mkdir(parents=True)
        path.write_text("1")
    unknown = {"git_commit": None, "git_clean": None}
    assert state(code) == unknown
    git("init", "-q")
    (tmp_path / ".gitignore").write_text(".venv")
    git("add", ".")
    git("commit", "-qm", "first")
    assert state(installed) == unknown
    assert state(code) == {"git_commit": git("rev-parse", "HEAD"), "git_clean": True}
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "book" / "results" / "unit.json").write_text("{}")
    assert state(code)["git_clean"] is True  # results are not what made the result
    (tmp_path / "other.py").write_text("2")
    assert state(code)["git_clean"] is False
    provenance.git_state.cache_clear()


# ------------------------------------------------------------------ the command line


def arguments_for(tiny: dict) -> list[str]:
    return ["--results", str(tiny["directory"]), "--checkpoints", str(tiny["checkpoints"])]


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


def test_interrupted_fresh_start_leaves_no_old_results_among_the_new(
    tiny: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", "all", *arguments_for(tiny)]) == 0
    trained = []

    def interrupted(unit: Unit, **options: object) -> object:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(unit.id)
        return train_unit(unit, **options)

    monkeypatch.setattr(units, "train_unit", interrupted)
    assert main(["run", "all", "--fresh", *arguments_for(tiny)]) == 130
    assert "is interrupted at 0 of 6,400 samples; the same command resumes" in capsys.readouterr().err
    assert {path.stem for path in tiny["directory"].iterdir()} == set(trained)


@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_fresh_start_needs_nothing_of_the_old_results(tiny: dict, damage: str) -> None:
    assert main(["run", "all", *arguments_for(tiny)]) == 0
    before = {path: path.stat().st_mtime_ns for path in tiny["directory"].iterdir()}
    path = next(tiny["directory"].glob("lr-range-*"))
    path.unlink() if damage == "missing" else path.write_text("{")
    assert main(["run", "all", "--fresh", *arguments_for(tiny)]) == 0
    after = {path: path.stat().st_mtime_ns for path in tiny["directory"].iterdir()}
    assert after.keys() == before.keys() and all(after[path] > before[path] for path in after)


@pytest.mark.parametrize("options", [["--micro-batch-size", "0"], ["--seeds", "0", "0"], ["--seeds", "-1"]])
def test_senseless_options_are_refused_before_anything_is_trained(
    tiny: dict, options: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", "all", *options, *arguments_for(tiny)]) == 1
    assert re.search("micro_batch_size|seeds", capsys.readouterr().err)
    assert not list(tiny["directory"].iterdir())


def test_all_arms_in_smaller_parts_take_the_usual_bounds(tiny: dict) -> None:
    assert main(["run", "all", "--micro-batch-size", "8", *arguments_for(tiny)]) == 0
    parts = [read_result(path)["settings"]["micro_batch_size"] for path in tiny["directory"].iterdir()]
    assert sorted(parts) == [8] * 3 + [256] * 10


def test_missing_bounds_name_the_command_with_its_options(tiny: dict, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "clr", "--precision", "float32", *arguments_for(tiny)]) == 1
    shown = capsys.readouterr().err
    assert "lacks 10 of its 10 candidates" in shown and "Traceback" not in shown
    advice = re.search("run `python -m lib.experiments (.*)`", shown).group(1).split()
    assert main([*advice, "--checkpoints", str(tiny["checkpoints"])]) == 0
    assert main(["run", "clr", "--precision", "float32", *arguments_for(tiny)]) == 0


def test_status_shows_other_seeds_that_are_finished_or_begun(tiny: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    done, begun = plan("lr-range", seeds=[3])[:2]
    run_unit(done, **tiny)

    def interrupted(self: object, state: object = None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="interrupted at 640 of 6,400 samples"):
        patch.setattr("lib.training.save_checkpoint", saving_once(units.train.__globals__["save_checkpoint"]))
        run_unit(begun, **tiny)
    table = status("quick", **tiny).set_index("unit")
    assert table.loc[done.id, "state"] == "done"
    assert table.loc[begun.id, ["state", "seen"]].tolist() == ["interrupted", 0.1]
    with pytest.raises(ArgumentError, match="profile must be one of quick, full, got 'fast'"):
        status("fast", **tiny)


def saving_once(save: Callable) -> Callable:
    """Save a checkpoint, then be interrupted as by Ctrl-C."""

    def interrupted(path: Path, state: dict) -> None:
        save(path, state)
        raise KeyboardInterrupt

    return interrupted


def test_status_estimates_hours_from_the_measured_speed(tiny: dict) -> None:
    run_unit(plan("lr-range")[0], **tiny)
    path = next(tiny["directory"].iterdir())
    computed_otherwise(path, wall_seconds=64.0)  # 6,400 samples at 100 a second
    table = status("quick", precision="bfloat16", **tiny)
    assert table["hours_left"].sum() == pytest.approx((9 * 6400 + 3 * 3200) / 100 / 3600)


def test_status_reads_each_file_at_most_once(tiny: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    run("all", "quick", **tiny)
    read = []
    monkeypatch.setattr("lib.experiments.results.read_result", lambda path: read.append(path) or read_result(path))
    assert (status("quick", **tiny)["state"] == "done").all()
    assert len(read) == len(set(read)) == 13


def test_places_that_are_not_there_or_no_folders_are_one_sentence(
    tiny: dict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "README.md").touch()
    assert main(["status", "--results", str(tmp_path / "nowhere")]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err
    for place in ("README.md", "README.md/x"):
        assert main(["run", "clr", "--results", str(tmp_path / place)]) == 1
        assert "results: nothing can be written in" in capsys.readouterr().err
    assert main(["run", "lr-range", "--results", str(tmp_path), "--checkpoints", "/proc/x"]) == 1
    assert "checkpoints: nothing can be written in /proc/x" in capsys.readouterr().err


def test_senseless_jobs_and_names_are_refused_naming_the_choice(capsys: pytest.CaptureFixture) -> None:
    for arguments, shown in (
        (["run", "all", "--jobs", "0"], "--jobs: must be a whole number of at least 1, not '0'"),
        (["run", "all", "--jobs", "x"], "--jobs: must be a whole number of at least 1, not 'x'"),
        (["run", "momentum"], "lr-range"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert shown in capsys.readouterr().err


def command(*arguments: str, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "lib.experiments", *arguments], cwd=ROOT, capture_output=True, text=True, **options
    )


def test_module_runs_as_a_command() -> None:
    assert "batch-growth" in command("list", check=True).stdout


def test_reader_that_has_seen_enough_ends_the_command_silently() -> None:
    script = f"{sys.executable} -m lib.experiments status --profile full | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)


def test_command_runs_units_in_processes_of_their_own(tmp_path: Path) -> None:
    # stored units are only looked up, but by worker processes, which have to find the code
    for path in RESULTS.glob("*-quick-*.json"):
        shutil.copy(path, tmp_path)
    places = ["--results", str(tmp_path), "--checkpoints", str(tmp_path / "checkpoints")]
    shown = command("run", "batch-growth", "--seeds", "0", "1", "--jobs", "2", *places, check=True).stdout
    assert sorted(re.findall(r"batch-growth-quick-seed(\d).*finished before", shown)) == ["0", "1"]
