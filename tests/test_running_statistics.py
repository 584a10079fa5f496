"""What was recorded of running statistics is what the tool that recorded it computes, of the unit that it names."""

from __future__ import annotations

import json
import re

import pytest

from lib.experiments import plan, stored_bounds, train_unit
from lib.learning_rates import LearningRateBounds, mean_by_samples
from tests import test_experiments
from tests.conftest import ROOT
from tests.test_experiments import TinyNetwork, units
from tools import record_running_statistics as tool

tiny = test_experiments.tiny


def test_at_the_end_of_each_stage_the_training_itself_is_evaluated(tiny, monkeypatch):
    monkeypatch.setattr(tool, "SmallInception", TinyNetwork)
    monkeypatch.setattr(tool, "load_fashion_mnist", units.load_fashion_mnist)
    (unit,) = plan("batch-growth", "quick", LearningRateBounds(1e-3, 0.5), [0])
    made = tool.record(unit)
    network, run = train_unit(unit)
    history, rows = run.history, made["stages"]
    assert made["unit"] == unit.id
    assert made["first_train_loss"] == pytest.approx(history["train_loss"].iloc[0], abs=1e-5)
    assert [row["batch_size"] for row in rows] == [32, 64, 128]  # after the remainders
    ends = [row["samples_seen"] for row in rows]
    assert [row["train_loss"] for row in rows] == pytest.approx(mean_by_samples(history, ends).tolist(), abs=1e-5)
    assert rows[-1]["stale"] == pytest.approx(history["test_loss"].iloc[-1], abs=1e-5)
    data = units.load_fashion_mnist("quick")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fitted = tool.with_fitted_statistics(network, data.train)
    assert rows[-1]["fitted"] == pytest.approx(tool.image_losses(fitted, data.test).mean().item(), abs=1e-4)
    assert rows[-1]["gain"] == pytest.approx(rows[-1]["stale"] - rows[-1]["fitted"], abs=2e-5) != 0
    moved = {name for name, value in fitted.state_dict().items() if not value.equal(before[name])}
    assert moved == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


def test_what_is_stored_is_of_the_unit_that_the_page_trains():
    stored = json.loads(tool.TO.read_text("utf8"))
    (unit,) = plan("batch-growth", "quick", stored_bounds("quick", ROOT / "book" / "results"), [0])
    assert stored["unit"] == unit.id
    assert [row["batch_size"] for row in stored["stages"]] == [32, 64, 128, 256, 512]
    assert re.fullmatch("[0-9a-f]{40}", stored["provenance"]["git_commit"]) and stored["provenance"]["git_clean"]
