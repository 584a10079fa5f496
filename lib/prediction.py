"""What a classifier says of images: its scores, its loss and accuracy; and what can be trained, refused at the door."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.arguments import ArgumentError
from lib.devices import Precision, choose_precision, default_device

# mean and standard deviation of Fashion-MNIST's 60,000 training images, grey levels scaled to [0, 1]
PIXEL_MEAN, PIXEL_STD = 0.2860, 0.3530


class Images(Protocol):
    """Images and their classes: torchvision's FashionMNIST has both attributes, and so can any object.

    `data` is one uint8 tensor (n, height, width) of grey levels, `targets` an int64 tensor (n,) of classes from 0.
    """

    data: Tensor
    targets: Tensor


def class_scores(model: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """Class scores before the softmax, float32 (n, classes) of grey levels, uint8 (n, height, width), on its device."""
    return _outputs(model, images, precision).float()  # the loss is computed in float32 whatever the layers are


def _outputs(model: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """What the model makes of grey levels."""
    # Normalised here, a batch at once: image by image, as a data set's transform does it, takes longer than a step.
    images = images.float().div_(255).sub_(PIXEL_MEAN).div_(PIXEL_STD).unsqueeze(1)
    images = images.contiguous(memory_format=precision.memory_format)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision.dtype == "bfloat16"):
        return model(images)


@torch.no_grad()
def predict(
    model: nn.Module,
    data: Images,
    *,
    batch_size: int = 500,
    precision: Precision | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Class scores before the softmax, float32 (n, classes), in evaluation mode; each module's mode is restored."""
    check_images("data", data)
    check_model(model)
    device = torch.device(device) if device is not None else default_device()
    precision = precision or choose_precision(device)
    with evaluation_mode(model), _named_images("data", data):
        return torch.cat([class_scores(model, part, precision) for part in data.data.to(device).split(batch_size)])


def evaluate(model: nn.Module, data: Images, **settings: object) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy (fraction) in evaluation mode; settings are those of `predict`."""
    scores = predict(model, data, **settings)
    _check_classes(scores, data)
    targets = data.targets.to(scores.device)
    return F.cross_entropy(scores, targets).item(), (scores.argmax(1) == targets).double().mean().item()


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """The whole model in evaluation mode; afterwards, and after an error, each module in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def check_images(name: str, images: Images) -> None:
    """Raise ArgumentError for what `Images` does not describe."""
    data, targets = getattr(images, "data", None), getattr(images, "targets", None)
    if not isinstance(data, Tensor) or not isinstance(targets, Tensor):
        raise ArgumentError(
            f"{name} must have the tensors data and targets, as torchvision's FashionMNIST has, "
            f"not be {type(images).__name__}"
        )
    if data.dtype != torch.uint8 or data.ndim != 3 or len(data) == 0:
        raise ArgumentError(
            f"{name}.data must be a uint8 tensor (n, height, width) with n > 0, not {data.dtype} {tuple(data.shape)}"
        )
    if tuple(targets.shape) != (len(data),) or targets.dtype != torch.int64:
        raise ArgumentError(
            f"{name}.targets must be an int64 tensor ({len(data)},), not {targets.dtype} {tuple(targets.shape)}"
        )
    if targets.min() < 0:
        raise ArgumentError(f"{name}.targets must be classes from 0, not {targets.min()}: leave such images out")


def check_model(model: nn.Module, *, trainable: bool = False) -> None:
    """Raise ArgumentError for what is no model with weights, or has none that can be trained."""
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    tensors = [*model.parameters(), *model.buffers()]
    if any(isinstance(tensor, nn.parameter.UninitializedTensorMixin) for tensor in tensors):
        raise ArgumentError("model has lazy layers without weights yet: call it on a batch of images first")
    if any(tensor.is_meta for tensor in tensors):
        raise ArgumentError("model is on the meta device, without numbers: make it on another one, or fill it")
    if trainable and not any(parameter.requires_grad for parameter in model.parameters()):
        raise ArgumentError("model has no weights to train: none has requires_grad")
    others = {str(parameter.dtype) for parameter in model.parameters()} - {"torch.float32"}
    if trainable and others:
        raise ArgumentError(f"model has weights of {', '.join(sorted(others))}: make them float32 (model.float())")


@torch.no_grad()
def check_scores(model: nn.Module, data: dict[str, Images], precision: Precision, *, alone: bool) -> None:
    """Raise ArgumentError if the scores of two images are nothing that cross-entropy takes for the classes of the data.

    The model is left as it is, and so are the random numbers. `alone`: some part of a batch is a single image, which
    batch normalisation of one value a channel cannot normalise.
    """
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for name, images in data.items():
            with evaluation_mode(model), _named_images(name, images):
                outputs = _outputs(model, images.data[:2].to(device), precision)
            _check_classes(outputs, images)
        if alone:
            try:
                _outputs(copy.deepcopy(model), data["train_data"].data[:1].to(device), precision)
            except ValueError as error:
                raise ArgumentError(
                    f"batch_sizes leave a part of one image, which this model cannot normalise ({error}): take "
                    "batch_sizes and a micro_batch_size that leave no remainder of 1"
                ) from error


@contextlib.contextmanager
def _named_images(name: str, images: Images) -> Iterator[None]:
    """Say of a model that cannot compute images, of three channels or another size, what it got."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        shape = ", ".join(map(str, images.data.shape[1:]))
        raise ArgumentError(
            f"model cannot compute the images of {name}, which it gets as float32 (n, 1, {shape}): {error}"
        ) from error


def _check_classes(scores: object, images: Images) -> None:
    """Raise ArgumentError for what are no scores of classes, or too few for the targets."""
    if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.shape[1] < 2:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ArgumentError(
            f"model must return class scores, a tensor (n, classes) with at least 2 classes, and returns {got}"
        )
    if images.targets.max() >= scores.shape[1]:
        raise ArgumentError(
            f"the model gives {scores.shape[1]} class scores, but the targets hold the class {images.targets.max()} "
            "(classes count from 0): give it as many outputs as there are classes"
        )
