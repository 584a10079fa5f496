"""Counting large networks: seconds and memory; what a process takes, and what the reduced module gives back in time.

python -m tests.benchmarks.bench_layer_counts            # report
python -m tests.benchmarks.bench_layer_counts --store    # also write what chapter 4 shows of this machine
"""

from __future__ import annotations

import copy
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torchvision.models import vgg19, vit_h_14

from lib.inception import NaiveInceptionModule, ReducedInceptionModule
from lib.layer_counts import count_layers, count_saved_bytes, totals
from lib.memory import measure_peak_bytes
from tests.benchmarks.timing import report, seconds

STORED = Path(__file__).resolve().parents[2] / "book" / "layer_counts" / "measured.json"
LAYOUTS = {"default": torch.contiguous_format, "channels last": torch.channels_last}
IMAGES, ROUNDS = 4, 15


def main() -> None:
    """Report all figures."""
    for name, build in (("VGG19", vgg19), ("ViT-H-14", vit_h_14)):
        model = build()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        count = seconds(lambda model=model: count_layers(model, (3, 224, 224)))
        report(f"count_layers, {name}", count, "s", at_most=2.0)
        save = seconds(lambda model=model: count_saved_bytes(model, (3, 224, 224)))
        report(f"count_saved_bytes, {name}", save, "s", at_most=4.0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
        report(f"memory that counting {name} takes", grown, "MiB", at_most=100)
        del model

    modules = {"naive": NaiveInceptionModule(), "reduced": ReducedInceptionModule()}
    macs = {name: totals(count_layers(module, (256, 32, 32)))["macs"] for name, module in modules.items()}
    print(f"MACs saved by the reduced Inception module: {100 * (1 - macs['reduced'] / macs['naive']):.1f} %")
    milliseconds = module_times(modules)
    for layout, times in milliseconds.items():
        report(f"time saved, {layout}", 100 * (1 - times["reduced"] / times["naive"]), "%", at_least=0)
    if "--store" in sys.argv[1:]:
        store(milliseconds)


def module_times(modules: dict[str, nn.Module]) -> dict[str, dict[str, float]]:
    """Milliseconds of each module and of the naive one's convolutions, for four images on one core, by layout.

    All are timed in turn, fifteen rounds, by the core's own clock, which stops while it works for another program.
    """
    calls = {}
    for layout, order in LAYOUTS.items():
        for name, module in modules.items():
            module = copy.deepcopy(module).to(memory_format=order)
            calls[layout, name] = module, torch.randn(IMAGES, 256, 32, 32).to(memory_format=order)
            for number, part in enumerate(module.modules()):
                if name == "naive" and isinstance(part, nn.Conv2d):
                    calls[layout, number] = part, torch.randn(IMAGES, 256, 32, 32).to(memory_format=order)
    taken = {key: [] for key in calls}
    torch.set_num_threads(1)
    with torch.no_grad():
        for turn in range(-2, ROUNDS):  # the first two to warm up
            for key, (part, given) in calls.items():
                begin = time.thread_time()
                part(given)
                if turn >= 0:
                    taken[key].append(1000 * (time.thread_time() - begin))
    median = {key: statistics.median(times) for key, times in taken.items()}
    return {
        layout: {
            "naive": median[layout, "naive"],
            "reduced": median[layout, "reduced"],
            "convolutions of the naive": sum(
                value for (where, part), value in median.items() if where == layout and isinstance(part, int)
            ),
        }
        for layout in LAYOUTS
    }


def store(milliseconds: dict[str, dict[str, float]]) -> None:
    """Write what the pages of chapter 4 show of this machine."""
    how = {
        "training": {"training": True},
        "use": {"training": False},
        "use, channels last": {"training": False, "memory_format": torch.channels_last},
    }
    measured = {
        "processor": processor(),
        "torch": torch.__version__,
        "milliseconds": {layout: {k: round(v, 3) for k, v in times.items()} for layout, times in milliseconds.items()},
        "peak_bytes": {
            name: measure_peak_bytes(vgg19, (3, 224, 224), batch_size=IMAGES, **arguments)
            for name, arguments in how.items()
        },
    }
    STORED.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"written: {STORED}")


def processor() -> str:
    """The processor's name, as Linux tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


if __name__ == "__main__":
    main()
