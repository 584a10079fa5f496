"""How much memory one pass of a network really takes, as the operating system reports it."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from lib.arguments import ArgumentError, whole_number, yes_or_no

_SAYS = "peak raised by bytes: "


def measure_peak_bytes(
    build: Callable[[], nn.Module],
    input_shape: Sequence[int],
    *,
    batch_size: int = 1,
    training: bool = True,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> int:
    """By how much one real pass raises the peak memory of a process, in bytes.

    A new process builds the model, draws normal inputs, and runs the pass. The figure includes what the libraries below
    PyTorch allocate, and differs from machine to machine. On macOS a peak cannot be forgotten: there, what building the
    model took for a while and gave back hides as much of the pass.

    Parameters
    ----------
    build : callable
        What builds the model, such as ``torchvision.models.vgg19``; the new process imports it by its name.
    input_shape, batch_size
        As for :func:`lib.layer_counts.count_saved_bytes`, but of one input, and the batch axis is put first.
    training : bool
        Forward pass and the backward pass of the sum of the outputs, in training mode; else the forward pass alone,
        without gradients, in evaluation mode.
    memory_format : torch.memory_format
        Of the weights and the input, such as ``torch.channels_last``.

    Raises
    ------
    ArgumentError
        If an argument makes no sense, or `build` cannot be imported, such as a lambda or what is defined in a notebook.
    RuntimeError
        If the new process fails, with its message; also where the system reports no peak memory (Windows, and some
        containers).
    """
    if not isinstance(input_shape, Sequence) or not input_shape:
        raise ArgumentError(f"input_shape must be the shape of one example, such as (3, 224, 224), got {input_shape!r}")
    shape = [whole_number("batch_size", batch_size), *(whole_number("input_shape", size) for size in input_shape)]
    try:
        task = pickle.dumps((build, shape, yes_or_no("training", training), memory_format))
    except (pickle.PicklingError, AttributeError) as error:
        raise ArgumentError(f"build {build!r} cannot be imported by a new process: define it in a module") from error
    # a new process, because a peak never falls: this one's may be higher already than what the pass needs
    command = [sys.executable, "-c", f"from {__name__} import _measure_in_this_process as m; m()"]
    # it finds what this one finds, modules beside a script too
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, input=task, capture_output=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"the process that measures failed:\n{done.stderr.decode(errors='replace').strip()}")
    return int(re.findall(rf"{_SAYS}(\d+)", done.stdout.decode(errors="replace"))[-1])  # the model may print too


def _measure_in_this_process() -> None:
    build, shape, training, memory_format = pickle.load(sys.stdin.buffer)
    model = build().train(training).to(memory_format=memory_format)
    x = torch.randn(shape).to(memory_format=memory_format)
    with suppress(OSError):  # Linux: what building the model took and gave back must not hide the peak of the pass
        Path("/proc/self/clear_refs").write_text("5")
    before = _peak_resident_bytes()  # the model and the input are there already
    with torch.set_grad_enabled(training):
        output = model(x)
        if training:
            output.sum().backward()
    print(f"\n{_SAYS}{_peak_resident_bytes() - before}")


def _peak_resident_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The most memory that this process has had so far; ends the process where the system does not say."""
    if sys.platform == "darwin":
        import resource  # not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # on Linux, the figure of getrusage would include that of the process that started this one
    found = re.search(r"VmHWM:\s*([1-9]\d*) kB", status.read_text()) if status.exists() else None
    if not found:
        sys.exit(f"this system reports no peak memory of a process (VmHWM in {status}): use count_saved_bytes instead")
    return 1024 * int(found[1])
