"""Two kinds of Inception module.

:class:`SmallInception` is the network of Zhang et al. 2017 (arXiv 1611.03530, Figure 3), built from its modules.
:class:`NaiveInceptionModule` and :class:`ReducedInceptionModule` are those of Szegedy et al. 2015 (CVPR, Figure 2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.arguments import whole_number


class ConvModule(nn.Sequential):
    """Convolution, batch normalisation, ReLU: the figure's "Conv Module".

    A 3 x 3 kernel is padded by 1, so that stride 1 keeps the height and width and stride 2 halves them (rounded up).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class InceptionModule(nn.Module):
    """A 1 x 1 and a 3 x 3 convolution of the same input, side by side; their channels are concatenated.

    Both branches read the input itself: unlike GoogLeNet's, this module has no 1 x 1 bottleneck before the 3 x 3.
    """

    def __init__(self, in_channels: int, channels_1x1: int, channels_3x3: int) -> None:
        super().__init__()
        self.branch_1x1 = ConvModule(in_channels, channels_1x1, 1)
        self.branch_3x3 = ConvModule(in_channels, channels_3x3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, channels_1x1 + channels_3x3, h, w)."""
        return torch.cat([self.branch_1x1(x), self.branch_3x3(x)], dim=1)


class DownsampleModule(nn.Module):
    """A 3 x 3 convolution and a 3 x 3 max pooling, both of stride 2, side by side; their channels are concatenated."""

    def __init__(self, in_channels: int, channels_3x3: int) -> None:
        super().__init__()
        self.branch_3x3 = ConvModule(in_channels, channels_3x3, 3, stride=2)
        self.branch_pool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, channels_3x3 + in_channels, h / 2, w / 2)."""
        return torch.cat([self.branch_3x3(x), self.branch_pool(x)], dim=1)


class SmallInception(nn.Module):
    """The small Inception network for 28 x 28 images: 1,649,386 parameters and 202,864,928 multiply-accumulates.

    Parameters
    ----------
    in_channels : int
        Channels of an image: 1 for Fashion-MNIST, 3 for colour.
    num_classes : int
        Outputs of the last layer.

    Notes
    -----
    The 7 x 7 mean pooling at the end fixes the image size at 28 x 28. The counts are for the default arguments. A
    convolution has no bias: the batch normalisation that follows would subtract it again.

    Source: Zhang, Bengio, Hardt, Recht, Vinyals, "Understanding deep learning requires rethinking generalization",
    ICLR 2017, Figure 3.

    Examples
    --------
    >>> model = SmallInception()
    >>> sum(parameter.numel() for parameter in model.parameters())
    1649386
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    image_size = 28

    def __init__(self, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.in_channels = whole_number("in_channels", in_channels)
        self.features = nn.Sequential(  # the comments give the output, channels x height x width
            ConvModule(self.in_channels, 96, 3),  # 96 x 28 x 28
            InceptionModule(96, 32, 32),  # 64 x 28 x 28
            InceptionModule(64, 32, 48),  # 80 x 28 x 28
            DownsampleModule(80, 80),  # 160 x 14 x 14
            InceptionModule(160, 112, 48),  # 160 x 14 x 14
            InceptionModule(160, 96, 64),  # 160 x 14 x 14
            InceptionModule(160, 80, 80),  # 160 x 14 x 14
            InceptionModule(160, 48, 96),  # 144 x 14 x 14
            DownsampleModule(144, 96),  # 240 x 7 x 7
            InceptionModule(240, 176, 160),  # 336 x 7 x 7
            InceptionModule(336, 176, 160),  # 336 x 7 x 7
        )
        self.pool = nn.AvgPool2d(7)  # 336 x 1 x 1
        self.classifier = nn.Linear(336, whole_number("num_classes", num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores before the softmax.

        Parameters
        ----------
        x : Tensor, shape (n, in_channels, 28, 28), of the network's floating-point type
            Normalised images.

        Returns
        -------
        Tensor, shape (n, num_classes)

        Raises
        ------
        ValueError
            For images of another shape: without this, images of 32 x 32 would lose their last rows in silence.
        """
        wanted = (self.in_channels, self.image_size, self.image_size)
        if tuple(x.shape[1:]) != wanted:
            raise ValueError(
                f"x must have shape (n, {', '.join(map(str, wanted))}), got {tuple(x.shape)}: resize or pad the "
                f"images, add the missing axis, or build the network with the in_channels of the images"
            )
        return self.classifier(self.pool(self.features(x)).flatten(1))


def _convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """A convolution of stride 1 that keeps height and width (odd kernel), and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False), nn.ReLU(inplace=True)
    )


class _ParallelBranches(nn.Module):
    """Branches that read the same input; their channels are concatenated in the order of the branches."""

    def __init__(self, branches: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h, w); without n too."""
        # the channels, counted from the end: an image may come without a batch axis
        return torch.cat([branch(x) for branch in self.children()], dim=-3)


def _whole_numbers(**widths: int) -> list[int]:  # only widths are checked: PyTorch says the rest as well
    return [whole_number(name, width) for name, width in widths.items()]


class NaiveInceptionModule(_ParallelBranches):
    """Inception module, naive version: 1 x 1, 3 x 3, 5 x 5 convolutions and a 3 x 3 max pooling side by side.

    Every branch reads the input itself and keeps its height and width. With the default widths and an input of
    256 x 32 x 32: output 672 x 32 x 32, and 1,115,684,864 multiply-accumulates. The pooling hands on all channels of
    the input, so that the output has more channels than the input whatever the widths are.

    Parameters
    ----------
    in_channels : int
    channels_1x1, channels_3x3, channels_5x5 : int
        Output channels of the convolutions.

    Notes
    -----
    A ReLU follows every convolution. Convolutions have no bias, as the problem counts none.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, Figure 2(a).

    Examples
    --------
    >>> NaiveInceptionModule()(torch.zeros(1, 256, 32, 32)).shape
    torch.Size([1, 672, 32, 32])
    """

    def __init__(
        self, in_channels: int = 256, channels_1x1: int = 128, channels_3x3: int = 192, channels_5x5: int = 96
    ) -> None:
        in_channels, channels_1x1, channels_3x3, channels_5x5 = _whole_numbers(
            in_channels=in_channels, channels_1x1=channels_1x1, channels_3x3=channels_3x3, channels_5x5=channels_5x5
        )
        super().__init__(
            {
                "branch_1x1": _convolution(in_channels, channels_1x1, 1),
                "branch_3x3": _convolution(in_channels, channels_3x3, 3),
                "branch_5x5": _convolution(in_channels, channels_5x5, 5),
                "branch_pool": nn.MaxPool2d(3, stride=1, padding=1),
            }
        )
        self.out_channels = channels_1x1 + channels_3x3 + channels_5x5 + in_channels


class ReducedInceptionModule(_ParallelBranches):
    """Inception module with dimension reduction: 1 x 1 convolutions before the 3 x 3 and 5 x 5, and after the pooling.

    With the default widths and an input of 256 x 32 x 32: output 480 x 32 x 32, and 397,410,304 multiply-accumulates.

    Parameters
    ----------
    in_channels : int
    channels_1x1, channels_3x3, channels_5x5 : int
        Output channels of these branches.
    reduce_3x3, reduce_5x5 : int
        Channels to which a 1 x 1 convolution reduces the input of the 3 x 3 and of the 5 x 5 convolution.
    channels_pool : int
        Channels to which a 1 x 1 convolution projects the output of the pooling.

    Notes
    -----
    As for :class:`NaiveInceptionModule`; a ReLU follows the reductions too.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, Figure 2(b).

    Examples
    --------
    >>> ReducedInceptionModule()(torch.zeros(1, 256, 32, 32)).shape
    torch.Size([1, 480, 32, 32])
    """

    def __init__(
        self,
        in_channels: int = 256,
        channels_1x1: int = 128,
        reduce_3x3: int = 128,
        channels_3x3: int = 192,
        reduce_5x5: int = 32,
        channels_5x5: int = 96,
        channels_pool: int = 64,
    ) -> None:
        in_channels, channels_1x1, channels_3x3, channels_5x5 = _whole_numbers(
            in_channels=in_channels, channels_1x1=channels_1x1, channels_3x3=channels_3x3, channels_5x5=channels_5x5
        )
        reduce_3x3, reduce_5x5, channels_pool = _whole_numbers(
            reduce_3x3=reduce_3x3, reduce_5x5=reduce_5x5, channels_pool=channels_pool
        )
        reduced_3x3 = _convolution(in_channels, reduce_3x3, 1), _convolution(reduce_3x3, channels_3x3, 3)
        reduced_5x5 = _convolution(in_channels, reduce_5x5, 1), _convolution(reduce_5x5, channels_5x5, 5)
        projected = nn.MaxPool2d(3, stride=1, padding=1), _convolution(in_channels, channels_pool, 1)
        super().__init__(
            {
                "branch_1x1": _convolution(in_channels, channels_1x1, 1),
                "branch_3x3": nn.Sequential(*reduced_3x3),
                "branch_5x5": nn.Sequential(*reduced_5x5),
                "branch_pool": nn.Sequential(*projected),
            }
        )
        self.out_channels = channels_1x1 + channels_3x3 + channels_5x5 + channels_pool
