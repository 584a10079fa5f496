"""The peak memory of a process: at least what the counts say, and one sentence where it cannot be had."""

from __future__ import annotations

import atexit
import sys
from functools import partial

import pytest
import torch
from torch import nn

from lib import memory
from lib.inception import NaiveInceptionModule, SmallInception
from lib.layer_counts import count_layers, count_saved_bytes, totals
from lib.memory import measure_peak_bytes


def test_peak_memory_of_a_process_covers_what_the_counts_say():
    saved = count_saved_bytes(NaiveInceptionModule(), (256, 64, 64), batch_size=8)["saved_bytes"].sum()
    weights = 4 * totals(count_layers(NaiveInceptionModule(), (256, 64, 64)))["weights"]
    peak = measure_peak_bytes(NaiveInceptionModule, (256, 64, 64), batch_size=8, memory_format=torch.channels_last)
    assert 0.9 * saved < peak - weights < 4 * saved  # gradients, and whatever the libraries need


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "2", None])
def test_senseless_batch_sizes_are_refused(batch_size):
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, got"):
        measure_peak_bytes(SmallInception, (1, 28, 28), batch_size=batch_size)


@pytest.mark.parametrize("shape", [(1, -28, 28), [(5,), (6,)], "28", 28, (), None])
def test_senseless_shapes_are_not_measured(shape):
    with pytest.raises(ValueError, match="input_shape must be"):
        measure_peak_bytes(SmallInception, shape)


def wasteful() -> nn.Module:
    torch.ones(100_000_000).sum()
    return nn.Linear(1000, 1000)


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process can forget its peak")
def test_what_building_a_model_took_and_gave_back_does_not_hide_the_pass():
    assert measure_peak_bytes(wasteful, (1000,), batch_size=10_000, training=False) >= 4 * 10_000 * 1000  # its output


class Talks(nn.Linear):
    """Prints digits before the figure, on its line, and after it."""

    def forward(self, x):
        atexit.register(print, "7")
        print("99", end="")
        return super().forward(x)


def test_what_the_model_prints_is_not_taken_for_the_figure():
    peak = measure_peak_bytes(partial(Talks, 1000, 1000), (1000,), batch_size=10_000, training=False)
    assert 4 * 10_000 * 1000 <= peak < 10**9


@pytest.mark.parametrize("training", ["no", "yes", 0, 1, None])
def test_whether_to_train_is_true_or_false(training):
    with pytest.raises(ValueError, match="training must be True or False, got"):
        measure_peak_bytes(SmallInception, (1, 28, 28), training=training)


def test_what_a_new_process_cannot_import_is_refused():
    with pytest.raises(ValueError, match=r"build .* cannot be imported by a new process: define it in a module"):
        measure_peak_bytes(lambda: nn.Linear(3, 3), (3,))


def test_a_failure_of_the_new_process_is_passed_on():
    with pytest.raises(RuntimeError, match="x must have shape"):
        measure_peak_bytes(SmallInception, (3, 28, 28))


@pytest.mark.skipif(sys.platform != "linux", reason="only there the figure is read from a file")
@pytest.mark.parametrize(
    "text", [None, "", "VmRSS:\t  1234 kB\n", "VmHWM:\t     0 kB\n", "VmHWM:\t unknown\n"], ids=repr
)
def test_a_system_that_reports_no_peak_memory_is_said_in_one_sentence(tmp_path, text):
    status = tmp_path / "status"
    if text is not None:
        status.write_text(text)
    with pytest.raises(SystemExit, match=r"^this system reports no peak memory .*count_saved_bytes instead$"):
        memory._peak_resident_bytes(status)


def test_memory_that_the_system_reports_is_in_bytes():
    held = torch.ones(50_000_000)  # 200 MB
    assert memory._peak_resident_bytes() > held.nbytes
