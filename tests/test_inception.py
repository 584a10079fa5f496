"""The Inception modules and networks are those of the figures: shapes, counts, modules, and what they refuse."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib.inception import (
    ConvModule,
    DownsampleModule,
    InceptionModule,
    NaiveInceptionModule,
    ReducedInceptionModule,
    SmallInception,
)

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


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 1, 32, 32), (2, 1, 27, 27), (28, 28), (1, 28, 28), (2, 28, 28)])
def test_images_of_another_shape_are_refused_with_the_shape_wanted(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(n, 1, 28, 28\)"):
        SmallInception()(torch.zeros(shape))


def test_networks_of_another_precision_and_under_autocast_run() -> None:
    images = torch.zeros(2, 1, 28, 28)
    assert SmallInception().double()(images.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert SmallInception()(images).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["in_channels", "num_classes"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_senseless_sizes_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        SmallInception(**{name: value})


def test_whole_numbers_of_numpy_are_widths_too() -> None:
    two = np.int64(2)
    assert SmallInception(in_channels=two, num_classes=two)(torch.zeros(1, 2, 28, 28)).shape == (1, 2)
    assert NaiveInceptionModule(two, two, two, two).out_channels == 8
    assert ReducedInceptionModule(*7 * [two])(torch.zeros(1, 2, 5, 5)).shape == (1, 8, 5, 5)


# the modules of Szegedy et al. 2015

MODULES = [NaiveInceptionModule, ReducedInceptionModule]
WIDTHS = {kind: list(inspect.signature(kind).parameters) for kind in MODULES}


def convolutions(module: nn.Module) -> list[tuple[int, int, tuple[int, int]]]:
    return [(m.in_channels, m.out_channels, m.kernel_size) for m in module.modules() if isinstance(m, nn.Conv2d)]


def test_convolutions_and_weights_of_the_assignment() -> None:
    assert convolutions(NaiveInceptionModule()) == [(256, 128, (1, 1)), (256, 192, (3, 3)), (256, 96, (5, 5))]
    assert convolutions(ReducedInceptionModule()) == [
        (256, 128, (1, 1)),
        (256, 128, (1, 1)),
        (128, 192, (3, 3)),
        (256, 32, (1, 1)),
        (32, 96, (5, 5)),
        (256, 64, (1, 1)),
    ]
    weights = [sum(parameter.numel() for parameter in kind().parameters()) for kind in MODULES]
    assert weights == [1_089_536, 388_096]


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("size", [(32, 32), (7, 10), (1, 1)])
def test_height_and_width_are_kept_and_channels_add_up(kind: type, size: tuple[int, int]) -> None:
    widths = {name: width for width, name in enumerate(WIDTHS[kind], start=3)}
    module = kind(**widths)
    added = ["channels_1x1", "channels_3x3", "channels_5x5"]
    added.append("in_channels" if kind is NaiveInceptionModule else "channels_pool")
    assert module(torch.zeros(2, 3, *size)).shape == (2, module.out_channels, *size)
    assert module.out_channels == sum(widths[name] for name in added)


def test_branches_of_the_naive_module_read_its_input_in_order() -> None:
    module = NaiveInceptionModule(5, 2, 3, 4)
    x = torch.randn(2, 5, 6, 6)
    convolved = [conv(x).relu() for conv in (module.branch_1x1[0], module.branch_3x3[0], module.branch_5x5[0])]
    pooled = nn.functional.max_pool2d(x, 3, stride=1, padding=1)
    torch.testing.assert_close(module(x), torch.cat([*convolved, pooled], dim=1))


def test_branches_of_the_reduced_module_read_reduced_inputs_in_order() -> None:
    module = ReducedInceptionModule(5, 2, 3, 4, 2, 3, 4)
    x = torch.randn(2, 5, 6, 6)
    (reduce_3, _), (conv_3, _) = module.branch_3x3
    (reduce_5, _), (conv_5, _) = module.branch_5x5
    project = module.branch_pool[1][0]
    branches = [
        module.branch_1x1[0](x),
        conv_3(reduce_3(x).relu()),
        conv_5(reduce_5(x).relu()),
        project(nn.functional.max_pool2d(x, 3, stride=1, padding=1)),
    ]
    torch.testing.assert_close(module(x), torch.cat(branches, dim=1).relu())


@pytest.mark.parametrize("kind", [SmallInception, *MODULES])
def test_gradients_reach_every_parameter(kind: type) -> None:
    module = kind() if kind is SmallInception else kind(4, *range(5, 4 + len(WIDTHS[kind])))
    module(torch.randn(4, *((1, 28, 28) if kind is SmallInception else (4, 8, 8)))).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in module.parameters())


@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True, None])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in MODULES for name in WIDTHS[kind]])
def test_senseless_widths_are_refused_by_name(kind: type, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got {value!r}"):
        kind(**{name: value})


@pytest.mark.parametrize("kind", MODULES)
def test_an_image_without_a_batch_axis_is_concatenated_along_its_channels_too(kind: type) -> None:
    module, x = kind(*len(WIDTHS[kind]) * [4]), torch.randn(3, 4, 6, 6)  # equal widths: any axis could be taken
    torch.testing.assert_close(module(x[0]), module(x)[0])


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("shape", [(1, 255, 32, 32), (1, 32, 32, 256), (256,)])
def test_inputs_of_another_shape_are_refused(kind: type, shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError, match=r"channels|input"):  # PyTorch's own sentence
        kind()(torch.zeros(shape))
