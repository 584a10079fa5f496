"""Counting large networks: seconds and memory; and what the reduced Inception module gives back in time."""

from __future__ import annotations

import resource
from functools import partial

import torch
from torchvision.models import vgg19, vit_h_14

from lib.inception import NaiveInceptionModule, ReducedInceptionModule
from lib.layer_counts import count_layers, count_saved_bytes, totals
from tests.benchmarks.timing import alternate, report, seconds


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

    naive, reduced = NaiveInceptionModule(), ReducedInceptionModule()
    macs = [totals(count_layers(module, (256, 32, 32)))["macs"] for module in (naive, reduced)]
    print(f"MACs saved by the reduced Inception module: {100 * (1 - macs[1] / macs[0]):.1f} %")
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(4, 256, 32, 32).to(memory_format=layout)
        with torch.no_grad():
            times = alternate(*(partial(m.to(memory_format=layout), x) for m in (naive, reduced)), repeats=15)
        report(f"seconds saved, {layout}", 100 * (1 - times[1] / times[0]), "%", at_least=0)


if __name__ == "__main__":
    main()
