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
    There is no bias: the batch normalisation would subtract it again.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class _Branches(nn.ModuleDict):
    """Modules that read the same input, side by side; their channels are concatenated in the order of the branches.

    (n, in_channels, h, w) to (n, sum of the branches' channels, h, w), with h and w halved if the branches halve them.
    """

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, x: Tensor) -> Tensor:
        # the channels, counted from the end: an image may come without a batch axis
        return torch.cat([branch(x) for branch in self.values()], dim=-3)


class InceptionModule(_Branches):
    """A 1 x 1 and a 3 x 3 convolution of the input itself: unlike in GoogLeNet, no bottleneck before the 3 x 3."""

    def __init__(self, in_channels: int, channels_1x1: int, channels_3x3: int) -> None:
        super().__init__(
            branch_1x1=ConvModule(in_channels, channels_1x1, 1), branch_3x3=ConvModule(in_channels, channels_3x3, 3)
        )


class DownsampleModule(_Branches):
    """A 3 x 3 convolution and a 3 x 3 max pooling, both of stride 2: height and width are halved (rounded up)."""

    def __init__(self, in_channels: int, channels_3x3: int) -> None:
        super().__init__(
            branch_3x3=ConvModule(in_channels, channels_3x3, 3, stride=2),
            branch_pool=nn.MaxPool2d(3, stride=2, padding=1),
        )


class SmallInception(nn.Module):
    """The small Inception network for 28 x 28 images: 1,649,386 parameters and 202,864,928 multiply-accumulates.

    `in_channels` is 1 for Fashion-MNIST, 3 for colour; `num_classes` the outputs of the last layer; the counts are for
    the default arguments. The 7 x 7 mean pooling at the end fixes the size of an image.

    Source: Zhang, Bengio, Hardt, Recht, Vinyals, "Understanding deep learning requires rethinking generalization",
    ICLR 2017, Figure 3.

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
        """Class scores before the softmax, (n, num_classes), of normalised images, (n, in_channels, 28, 28).

        ValueError for images of another shape: those of 32 x 32 would lose their last rows in silence.
        """
        wanted = (self.in_channels, self.image_size, self.image_size)
        if tuple(x.shape[1:]) != wanted:
            raise ValueError(
                f"x must have shape (n, {', '.join(map(str, wanted))}), got {tuple(x.shape)}: resize or pad the "
                f"images, add the missing axis, or build the network with the in_channels of the images"
            )
        return self.classifier(self.pool(self.features(x)).flatten(1))


def _convolution(kernel_size: int, **channels: object) -> nn.Sequential:
    """A convolution from the first to the second of two named widths that keeps height and width, and a ReLU."""
    inputs, outputs = (whole_number(name, width) for name, width in channels.items())
    # no bias, as the problem counts none
    conv = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.ReLU(inplace=True))


class NaiveInceptionModule(_Branches):
    """Inception module, naive version: 1 x 1, 3 x 3, 5 x 5 convolutions and a 3 x 3 max pooling side by side.

    The pooling hands on all channels of the input, so that the output, of `out_channels`, has more channels than the
    input whatever the widths are: the output channels of the convolutions, whole numbers of at least 1.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, Figure 2(a).

    >>> NaiveInceptionModule()(torch.zeros(1, 256, 32, 32)).shape
    torch.Size([1, 672, 32, 32])
    """

    def __init__(
        self, in_channels: int = 256, channels_1x1: int = 128, channels_3x3: int = 192, channels_5x5: int = 96
    ) -> None:
        super().__init__(
            branch_1x1=_convolution(1, in_channels=in_channels, channels_1x1=channels_1x1),
            branch_3x3=_convolution(3, in_channels=in_channels, channels_3x3=channels_3x3),
            branch_5x5=_convolution(5, in_channels=in_channels, channels_5x5=channels_5x5),
            branch_pool=nn.MaxPool2d(3, stride=1, padding=1),
        )
        self.out_channels = channels_1x1 + channels_3x3 + channels_5x5 + in_channels


class ReducedInceptionModule(_Branches):
    """Inception module with dimension reduction: 1 x 1 convolutions before the 3 x 3 and 5 x 5, and after the pooling.

    As :class:`NaiveInceptionModule`, and `reduce_3x3` and `reduce_5x5` are the channels to which the input of a larger
    convolution is reduced, `channels_pool` those to which the output of the pooling is projected.

    Source: Szegedy et al. 2015, Figure 2(b).

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
        super().__init__(
            branch_1x1=_convolution(1, in_channels=in_channels, channels_1x1=channels_1x1),
            branch_3x3=nn.Sequential(
                _convolution(1, in_channels=in_channels, reduce_3x3=reduce_3x3),
                _convolution(3, reduce_3x3=reduce_3x3, channels_3x3=channels_3x3),
            ),
            branch_5x5=nn.Sequential(
                _convolution(1, in_channels=in_channels, reduce_5x5=reduce_5x5),
                _convolution(5, reduce_5x5=reduce_5x5, channels_5x5=channels_5x5),
            ),
            branch_pool=nn.Sequential(
                nn.MaxPool2d(3, stride=1, padding=1),
                _convolution(1, in_channels=in_channels, channels_pool=channels_pool),
            ),
        )
        self.out_channels = channels_1x1 + channels_3x3 + channels_5x5 + channels_pool
