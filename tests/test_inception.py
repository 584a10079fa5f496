"""The small Inception network is the one of the figure: shapes, counts, modules, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib.inception import ConvModule, DownsampleModule, InceptionModule, SmallInception

# the figure, from top to bottom: module and output channels, height = width
FIGURE = [
    (ConvModule, 96, 28),
    (InceptionModule, 32 + 32, 28),
    (InceptionModule, 32 + 48, 28),
    (DownsampleModule, 80 + 80, 14),
    (InceptionModule, 112 + 48, 14),
    (InceptionModule, 96 + 64, 14),
    (InceptionModule, 80 + 80, 14),
    (InceptionModule, 48 + 96, 14),
    (DownsampleModule, 96 + 144, 7),
    (InceptionModule, 176 + 160, 7),
    (InceptionModule, 176 + 160, 7),
]


def test_modules_and_shapes_are_those_of_the_figure() -> None:
    model = SmallInception().to("meta")
    x = torch.empty(2, 1, 28, 28, device="meta")
    for module, (kind, channels, size) in zip(model.features, FIGURE, strict=True):
        x = module(x)
        assert isinstance(module, kind)
        assert x.shape == (2, channels, size, size)
    assert model.pool(x).shape == (2, 336, 1, 1)


def test_parameters_match_the_sum_over_the_figure() -> None:
    convolutions = [(1, 96, 9), (96, 32, 1), (96, 32, 9), (64, 32, 1), (64, 48, 9), (80, 80, 9)]
    convolutions += [(160, 112, 1), (160, 48, 9), (160, 96, 1), (160, 64, 9), (160, 80, 1), (160, 80, 9)]
    convolutions += [
        (160, 48, 1),
        (160, 96, 9),
        (144, 96, 9),
        (240, 176, 1),
        (240, 160, 9),
        (336, 176, 1),
        (336, 160, 9),
    ]
    by_hand = sum(inputs * outputs * taps + 2 * outputs for inputs, outputs, taps in convolutions) + 336 * 10 + 10
    counted = sum(parameter.numel() for parameter in SmallInception().parameters())
    assert counted == by_hand == 1_649_386


def test_multiply_accumulates_match_torch_flop_counter() -> None:
    model = SmallInception().to("meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 1, 28, 28, device="meta"))
    assert counter.get_total_flops() / 2 == 202_864_928


def test_every_convolution_is_followed_by_batch_norm_and_relu() -> None:
    model = SmallInception()
    modules = [module for module in model.modules() if isinstance(module, ConvModule)]
    assert all([type(layer) for layer in module] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] for module in modules)
    assert len(modules) == sum(isinstance(module, nn.Conv2d) for module in model.modules()) == 19


def test_both_branches_of_an_inception_module_read_its_input() -> None:
    module = InceptionModule(5, 3, 4).eval()
    x = torch.randn(2, 5, 6, 6)
    y = module(x)
    assert torch.equal(y[:, :3], module.branch_1x1(x))
    assert torch.equal(y[:, 3:], module.branch_3x3(x))


def test_downsample_module_passes_the_maximum_of_its_input_on() -> None:
    x = torch.randn(1, 2, 4, 4)
    y = DownsampleModule(2, 3).eval()(x)
    assert y.shape == (1, 5, 2, 2)
    assert y[0, 4, 1, 1] == x[0, 1, 1:4, 1:4].max()


def test_other_channels_and_classes() -> None:
    assert SmallInception(in_channels=3, num_classes=100)(torch.zeros(2, 3, 28, 28)).shape == (2, 100)


def test_gradients_reach_every_parameter() -> None:
    model = SmallInception()
    model(torch.randn(4, 1, 28, 28)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 1, 32, 32), (2, 1, 27, 27), (28, 28), (1, 28, 28), (2, 28, 28)])
def test_images_of_another_shape_are_refused_with_the_shape_wanted(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(n, 1, 28, 28\)"):
        SmallInception()(torch.zeros(shape))


def test_images_that_were_not_normalised_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8: normalise"):
        SmallInception()(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))


@pytest.mark.parametrize("arguments", [{"in_channels": 0}, {"num_classes": -1}, {"num_classes": 2.5}])
def test_senseless_sizes_are_refused_by_name(arguments: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        SmallInception(**arguments)
