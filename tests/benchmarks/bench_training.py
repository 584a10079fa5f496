"""Speed of training: against the published way of doing it, and against the machine's own matrix multiplication."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import FashionMNIST

from lib.datasets import SHIPPED, load_fashion_mnist
from lib.devices import Precision, choose_precision, default_device
from lib.experiments.units import share_cores
from lib.inception import SmallInception
from lib.prediction import PIXEL_MEAN, PIXEL_STD
from lib.training import Settings, train
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
    settings = Settings(batch_sizes=[BATCH_SIZE] * STEPS, learning_rate=0.05)
    train(SmallInception(), data, None, settings, progress=False)


def convolutions_of_a_step(precision: Precision) -> Callable[[], None]:
    """The convolutions of these steps and nothing else, forward and backward, each on an input of the shape it gets.

    No training of this network can be faster than they are, unless the library's convolutions become faster.
    """
    device, dtype = default_device(), getattr(torch, precision.dtype)
    layout = torch.channels_last if precision.channels_last else torch.contiguous_format
    model, calls = SmallInception().to(device), []

    def remember(conv: nn.Conv2d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        image, weight, gradient = (
            torch.randn(tensor.shape, device=device).to(dtype).contiguous(memory_format=layout)
            for tensor in (inputs[0], conv.weight, output)
        )
        image.requires_grad_(inputs[0].shape[1] != model.in_channels)  # nothing asks for the gradient of the pixels
        needed = [tensor for tensor in (image, weight.requires_grad_()) if tensor.requires_grad]
        forward = partial(F.conv2d, image, weight, stride=conv.stride, padding=conv.padding)
        calls.append((forward, needed, gradient))

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(remember)
    with torch.no_grad():
        model(torch.zeros(BATCH_SIZE, model.in_channels, model.image_size, model.image_size, device=device))

    def convolve() -> None:
        for _ in range(STEPS):
            for forward, needed, gradient in calls:
                gradients = torch.autograd.grad(forward(), needed, gradient)
        gradients[0].sum().item()  # waits for a GPU

    return convolve


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
    convolving, ours = alternate(convolutions_of_a_step(precision), train_with_lib)
    print(
        f"the convolutions of these steps alone: {images / convolving:.0f} images/s, "
        f"{images / convolving * GFLOP_PER_IMAGE / peak:.2f} of the peak, which training cannot exceed; "
        f"training takes {ours / convolving:.2f} times as long"
    )
    if default_device().type != "cpu":
        return  # one training fills a graphics card
    cores = os.cpu_count()
    share_cores()
    with Parallel(n_jobs=cores) as parallel:  # its processes start in the call that is not counted
        multiplying, ours = alternate(multiply, partial(train_side_by_side, parallel, cores))
    peak, rate = 2 * SIZE**3 * PRODUCTS / multiplying / 1e9, cores * images / ours
    print(f"matrix multiplication {peak:.0f} GFLOP/s, {cores} trainings at a time {rate:.0f} images/s")
    name = f"{cores} trainings at a time, share of the matrix-multiply peak"
    report(name, rate * GFLOP_PER_IMAGE / peak, "", at_least=0.8)


if __name__ == "__main__":
    main()
