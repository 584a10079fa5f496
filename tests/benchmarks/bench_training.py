"""Speed of training: against the published way of doing it, and against the machine's own matrix multiplication."""

from __future__ import annotations

import os
from functools import partial

import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import FashionMNIST

from lib.datasets import SHIPPED, load_fashion_mnist
from lib.inception import SmallInception
from lib.training import PIXEL_MEAN, PIXEL_STD, choose_precision, default_device, train
from tests.benchmarks.timing import alternate, report

BATCH_SIZE = 64
STEPS = 12
GFLOP_PER_IMAGE = 1.217  # 202,864,928 multiply-accumulates, of two operations each, forward and twice that backward
SIZE, PRODUCTS = 1024, 400


def train_as_published() -> None:
    """A DataLoader that turns images into tensors one by one, float32, default layout."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(PIXEL_MEAN, PIXEL_STD)])
    dataset = FashionMNIST(SHIPPED / "fashion_mnist_quick", train=True, transform=transform)
    loader = DataLoader(Subset(dataset, range(STEPS * BATCH_SIZE)), BATCH_SIZE, shuffle=True)
    device = default_device()
    model = SmallInception().to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for images, targets in loader:
        loss = F.cross_entropy(model(images.to(device)), targets.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def train_with_lib() -> None:
    """The same steps through `lib.training`."""
    data = load_fashion_mnist("quick").train
    train(SmallInception(), data, batch_sizes=[BATCH_SIZE] * STEPS, learning_rate=0.05, progress=False)


def train_side_by_side(parallel: Parallel, trainings: int) -> None:
    """As `python -m lib.experiments run ... --jobs N` does: one training for each core, each with one thread."""
    parallel(delayed(train_with_lib)() for _ in range(trainings))


def multiply_matrices(dtype: torch.dtype) -> None:
    """Square matrix products: large enough to use all cores, small enough for the cache, where they are fastest."""
    a, b = (torch.randn(SIZE, SIZE, device=default_device()).to(dtype) for _ in range(2))
    for _ in range(PRODUCTS):
        product = a @ b
    product.sum().item()  # waits for a GPU


def main() -> None:
    """Report both ratios."""
    precision = choose_precision(default_device())
    print(f"{precision.reason}: {precision.dtype}{', channels last' if precision.channels_last else ''}")
    published, ours = alternate(train_as_published, train_with_lib)
    images = STEPS * BATCH_SIZE
    print(f"published way {images / published:.0f} images/s, lib.training {images / ours:.0f} images/s")
    report("training, images a second against the published way", published / ours, "times", at_least=2.2)
    multiply = partial(multiply_matrices, getattr(torch, precision.dtype))
    multiplying, ours = alternate(multiply, train_with_lib)
    peak = 2 * SIZE**3 * PRODUCTS / multiplying / 1e9
    print(
        f"matrix multiplication {peak:.0f} GFLOP/s in {precision.dtype}, training {images / ours * GFLOP_PER_IMAGE:.0f}"
    )
    report("training, share of the matrix-multiply peak", images / ours * GFLOP_PER_IMAGE / peak, "", at_least=0.8)
    if default_device().type != "cpu":
        return  # one training fills a graphics card
    cores = os.cpu_count()
    with Parallel(n_jobs=cores) as parallel:  # its processes start in the call that is not counted
        multiplying, ours = alternate(multiply, partial(train_side_by_side, parallel, cores))
    peak, rate = 2 * SIZE**3 * PRODUCTS / multiplying / 1e9, cores * images / ours
    print(f"matrix multiplication {peak:.0f} GFLOP/s, {cores} trainings at a time {rate:.0f} images/s")
    name = f"{cores} trainings at a time, share of the matrix-multiply peak"
    report(name, rate * GFLOP_PER_IMAGE / peak, "", at_least=0.8)


if __name__ == "__main__":
    main()
