"""Models and images so small that a training takes milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lib.training import Settings, TrainingRun, train


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small gain nothing from a second thread, and lose much to it where other programs run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images(n: int, size: int = 6, seed: int = 0) -> SimpleNamespace:
    """Random images whose class shows in their brightness, so that something can be learned."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 4, (n,), generator=generator)
    noise = torch.randint(0, 100, (n, size, size), generator=generator)
    return SimpleNamespace(data=(noise + 50 * targets[:, None, None]).to(torch.uint8), targets=targets)


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4))


def deep() -> nn.Module:
    """Diverges at huge rates only after its weights have moved."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Linear(36, 4))


def convolutional(seed: int = 0) -> nn.Module:
    """Everything that has a state: convolution, batch norm with running statistics, and dropout's random numbers."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(64, 4)
    )


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))


PLACES = ("checkpoint", "checkpoint_every", "progress", "description")  # of `train`, and no settings


def short(
    model: nn.Module, data: SimpleNamespace, test: SimpleNamespace | None = None, **options: object
) -> TrainingRun:
    """`train` with settings for twelve small steps, each of which can be given otherwise."""
    places = {name: options.pop(name) for name in PLACES if name in options}
    chosen = {"batch_sizes": [16] * 12, "learning_rate": 0.1, "precision": "float32"} | options
    return train(model, data, test, Settings(**chosen), device="cpu", **places)
