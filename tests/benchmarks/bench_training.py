"""Speed of training: against the published way of doing it, and against the machine's own matrix multiplication."""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import FashionMNIST

from lib.datasets import SHIPPED, load_fashion_mnist
from lib.inception import SmallInception
from lib.training import PIXEL_MEAN, PIXEL_STD, choose_precision, default_device, train
from tests.benchmarks.timing import alternate, report

BATCH_SIZE = 64
STEPS = 12
GFLOP_PER_IMAGE = 1.217  # forward and backward: 3 x 2 x 202,864,928 multiply-accumulates, each two operations


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


def matrix_multiply_gflops(dtype: torch.dtype, *, size: int = 2048, repeats: int = 9) -> float:
    """Median billions of operations a second of a square matrix product."""
    device = default_device()
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    timings = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        (a @ b).sum().item()
        timings.append(time.perf_counter() - begin)
    return 2 * size**3 / statistics.median(timings[1:]) / 1e9


def main() -> None:
    """Report both ratios."""
    precision = choose_precision(default_device())
    print(f"{precision.reason}: {precision.dtype}{', channels last' if precision.channels_last else ''}")
    published, ours = alternate(train_as_published, train_with_lib)
    images_per_second = STEPS * BATCH_SIZE / ours
    print(f"published way {STEPS * BATCH_SIZE / published:.0f} images/s, lib.training {images_per_second:.0f} images/s")
    report("training, images a second against the published way", published / ours, "times", at_least=2.2)

    def multiply() -> None:
        peaks.append(matrix_multiply_gflops(getattr(torch, precision.dtype)))

    peaks: list[float] = []
    _, ours = alternate(multiply, train_with_lib)
    peak = statistics.median(peaks)
    share = STEPS * BATCH_SIZE / ours * GFLOP_PER_IMAGE / peak
    print(f"matrix multiplication {peak:.0f} GFLOP/s in {precision.dtype}")
    report("training, share of the matrix-multiply peak", share, "of the peak", at_least=0.8)


if __name__ == "__main__":
    main()
