"""The small Inception network of Zhang et al. 2017 (arXiv 1611.03530, Figure 3), built from that figure's modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        for name, value in (("in_channels", in_channels), ("num_classes", num_classes)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        self.in_channels = in_channels
        self.features = nn.Sequential(  # the comments give the output, channels x height x width
            ConvModule(in_channels, 96, 3),  # 96 x 28 x 28
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
        self.classifier = nn.Linear(336, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores before the softmax.

        Parameters
        ----------
        x : Tensor, shape (n, in_channels, 28, 28), floating point
            Normalised images.

        Returns
        -------
        Tensor, shape (n, num_classes)

        Raises
        ------
        ValueError
            For images of another shape, or of whole numbers (uint8) that were not normalised.
        """
        wanted = (self.in_channels, self.image_size, self.image_size)
        if x.ndim != 4 or tuple(x.shape[1:]) != wanted:
            raise ValueError(
                f"x must have shape (n, {', '.join(map(str, wanted))}), not {tuple(x.shape)}: resize or pad the "
                f"images, add the missing axis, or build the network with the in_channels of the images"
            )
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point, not {x.dtype}: normalise the images first")
        return self.classifier(self.pool(self.features(x)).flatten(1))
