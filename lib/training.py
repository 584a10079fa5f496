"""One training loop for images: schedules, micro-batches, mixed precision, and checkpoints that survive `kill -9`."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from lib.checkpoints import CHECKPOINT_FORMAT, CHECKPOINT_VERSION, load_checkpoint, save_checkpoint

# mean and standard deviation of Fashion-MNIST's 60,000 training images, grey levels scaled to [0, 1]
PIXEL_MEAN, PIXEL_STD = 0.2860, 0.3530
HISTORY_COLUMNS = (
    "iteration",
    "samples_seen",
    "epoch",
    "learning_rate",
    "batch_size",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
)
PRECISIONS = ("auto", "float32", "bfloat16")
_GENERATORS_IN_USE = threading.RLock()


class Images(Protocol):
    """What the loop trains on: torchvision's FashionMNIST has both attributes, and so can any object.

    `data` is one uint8 tensor (n, height, width) of grey levels, `targets` an int64 tensor (n,) of classes.
    """

    data: Tensor
    targets: Tensor


class Precision(NamedTuple):
    """How the arithmetic is done: `dtype` of the convolutions (float32 or bfloat16), layout, and the rule's reason."""

    dtype: str
    channels_last: bool
    reason: str


@dataclass(frozen=True)
class TrainingRun:
    """What `train` returns; the model itself is trained in place.

    Attributes
    ----------
    history : DataFrame, one row an iteration
        Columns: iteration (from 1), samples_seen, epoch (samples_seen / training images), learning_rate and batch_size
        of that step, train_loss (mean cross-entropy of the batch, nats) and train_accuracy (fraction) before the step,
        test_loss and test_accuracy after it where the model was evaluated, else NaN.
    diverged : bool
        Whether a non-finite loss ended the run; its last row holds that loss.
    seconds, images_per_second : float
        Wall-clock seconds, all resumed parts together, and training images a second with evaluations left out.
    precision : Precision
    device : str
    """

    history: pd.DataFrame
    diverged: bool
    seconds: float
    images_per_second: float
    precision: Precision
    device: str


def default_device() -> torch.device:
    """CUDA where there is a device for it, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(
    device: torch.device | str, precision: str = "auto", *, channels_last: bool | None = None
) -> Precision:
    """Precision and memory layout by what the hardware gains from.

    bfloat16 autocast where the device multiplies bfloat16 matrices natively: a CUDA device that says so, or a CPU with
    AMX or AVX-512 BF16 instructions; elsewhere it would be emulated, and slower than float32. Channels last on both
    kinds of device, because their convolution libraries work in that layout and would convert at every layer.

    Parameters
    ----------
    device : torch.device or str
    precision : {"auto", "float32", "bfloat16"}
        Anything but "auto" overrides the rule.
    channels_last : bool, optional
        Overrides the rule.
    """
    check_choice("precision", precision, PRECISIONS)
    device = torch.device(device)
    if precision != "auto":
        dtype, reason = precision, "asked for"
    elif device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = "bfloat16" if native else "float32"
        reason = f"CUDA device {'with' if native else 'without'} native bfloat16"
    else:
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch cannot tell
        instructions = [name for name in ("amx_bf16", "avx512_bf16") if capabilities.get(name)]
        dtype = "bfloat16" if device.type == "cpu" and instructions else "float32"
        reason = f"{device.type} with {', '.join(instructions) or 'no known bfloat16 instructions'}"
    return Precision(dtype, device.type in ("cpu", "cuda") if channels_last is None else channels_last, reason)


def train(
    model: nn.Module,
    train_data: Images,
    test_data: Images | None = None,
    *,
    batch_sizes: Sequence[int],
    learning_rate: float,
    scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    seed: int = 0,
    evaluate_every: int | None = None,
    micro_batch_size: int = 256,
    precision: str = "auto",
    channels_last: bool | None = None,
    device: torch.device | str | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 500,
    description: str = "",
    progress: bool | None = None,
) -> TrainingRun:
    """Train a classifier in place by stochastic gradient descent on cross-entropy.

    The images of an epoch come in a random order without replacement; a batch may span two epochs. The same seed, model
    and settings give the same run, bit for bit, on one machine with one number of threads.

    Parameters
    ----------
    model : nn.Module
        Takes float images (n, 1, height, width), returns class scores (n, classes). It is moved to the device.
    train_data, test_data : Images
        See `Images`. Without test data nothing is evaluated.
    batch_sizes : sequence of int
        The batch size of every iteration; its length is the number of iterations.
    learning_rate : float
        Learning rate of `torch.optim.SGD`; the scheduler may set another.
    scheduler : callable, optional
        Makes one of torch's schedulers from the optimizer, for example `partial(CyclicLR, base_lr=..., max_lr=...)`;
        stepped after every iteration. Default: constant.
    momentum, weight_decay : float
        Of `torch.optim.SGD`.
    seed : int
        Of the order of the images and of the model's own randomness (dropout), not of its initial weights.
    evaluate_every : int, optional
        Evaluate on the test data each time this many more samples have been seen (default: an epoch), and at the end.
    micro_batch_size : int
        A larger batch is computed in parts of this many images, each part's mean loss weighted by its share of the
        batch, so that memory does not grow with the batch. Without batch normalisation this is the full batch to
        rounding. With it, each part is normalised by its own statistics, which is ghost batch normalisation (Hoffer,
        Hubara, Soudry 2017, arXiv 1705.08741), and the running statistics move once for each part.
    precision, channels_last
        See `choose_precision`.
    device : torch.device or str, optional
        Default: `default_device()`.
    checkpoint : path, optional
        Saved there every `checkpoint_every` iterations, every `evaluate_every` samples (so that large batches lose
        little), and at the end. If it exists, the run resumes from it, and `model` must hold the initial weights as at
        the start. Schedulers are told apart by class and plain settings, not by the functions in them.
    description : str
        Label of the progress bar.
    progress : bool, optional
        Default: a progress bar if the error stream is a terminal.

    Returns
    -------
    TrainingRun

    Raises
    ------
    ValueError
        For an argument that makes no sense.
    CheckpointError
        For a checkpoint that is torn, of a newer format, or of another run; a ValueError too.
    """
    _check_arguments(locals())
    device = torch.device(device) if device is not None else default_device()
    chosen = choose_precision(device, precision, channels_last=channels_last)
    evaluate_every = int(evaluate_every or len(train_data.data))
    seed, micro_batch_size, batch_sizes = int(seed), int(micro_batch_size), [int(size) for size in batch_sizes]
    learning_rate, momentum, weight_decay = float(learning_rate), float(momentum), float(weight_decay)
    settings = {
        "model": f"{type(model).__name__} {_digest(*model.state_dict().values())}",
        "train_data": _digest(train_data.data, train_data.targets),
        "test_data": None if test_data is None else _digest(test_data.data, test_data.targets),
        "batch_sizes": f"{len(batch_sizes)} of {_digest(torch.tensor(batch_sizes))}",
        "learning_rate": learning_rate,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "seed": seed,
        "evaluate_every": evaluate_every,
        "micro_batch_size": micro_batch_size,
        "precision": f"{chosen.dtype}{', channels last' if chosen.channels_last else ''}",
        "device": device.type,
    }
    model.to(device, memory_format=torch.channels_last if chosen.channels_last else torch.contiguous_format)
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=momentum, weight_decay=weight_decay)
    lr_scheduler = scheduler(optimizer) if scheduler else None
    if lr_scheduler:
        plain = {
            k: v for k, v in lr_scheduler.state_dict().items() if isinstance(v, (bool, int, float, str, list, dict))
        }
        settings["scheduler"] = f"{type(lr_scheduler).__name__} {plain}"
    order = _ShuffledOrder(len(train_data.data), seed)
    history: list[tuple[float, ...]] = []
    diverged, seconds, training_seconds = False, 0.0, 0.0

    with seeded(seed, device):
        if checkpoint is not None and Path(checkpoint).exists():
            state = load_checkpoint(checkpoint, settings)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            if lr_scheduler:
                lr_scheduler.load_state_dict(state["scheduler"])
            order.load_state_dict(state["order"])
            _set_random_state(state["random_state"], device)
            history = [tuple(row) for row in state["history"].tolist()]
            diverged, seconds, training_seconds = state["diverged"], state["seconds"], state["training_seconds"]
        begin = time.perf_counter() - seconds
        first, samples_seen = len(history), sum(batch_sizes[: len(history)])
        bar = tqdm(
            total=sum(batch_sizes),
            initial=samples_seen,
            unit="images",
            desc=description or None,
            disable=None if progress is None else not progress,
        )
        with bar:
            for iteration in range(first, 0 if diverged else len(batch_sizes)):
                step_begin = time.perf_counter()
                batch_size, rate = batch_sizes[iteration], optimizer.param_groups[0]["lr"]
                batch = order.take(batch_size)
                loss, accuracy = _accumulate_gradient(model, train_data, batch, micro_batch_size, chosen, device)
                diverged = not math.isfinite(loss)
                if not diverged:
                    optimizer.step()
                    if lr_scheduler:
                        lr_scheduler.step()
                training_seconds += time.perf_counter() - step_begin
                before, samples_seen = samples_seen, samples_seen + batch_size
                last = diverged or iteration + 1 == len(batch_sizes)
                test_loss = test_accuracy = math.nan
                due = before // evaluate_every < samples_seen // evaluate_every
                if test_data is not None and not diverged and (due or last):
                    test_loss, test_accuracy = evaluate(model, test_data, precision=chosen, device=device)
                    diverged = not math.isfinite(test_loss)
                epoch = samples_seen / len(train_data.data)
                row = (iteration + 1, samples_seen, epoch, rate, batch_size, loss, accuracy, test_loss, test_accuracy)
                history.append(row)
                bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.1%}", refresh=False)
                bar.update(batch_size)
                if checkpoint is not None and (due or last or (iteration + 1) % checkpoint_every == 0):
                    seconds = time.perf_counter() - begin
                    state = {
                        "format": CHECKPOINT_FORMAT,
                        "version": CHECKPOINT_VERSION,
                        "settings": settings,
                        "model": model.state_dict(),
                        "optimizer": _without_numpy(optimizer.state_dict()),
                        "scheduler": _without_numpy(lr_scheduler.state_dict()) if lr_scheduler else None,
                        "order": order.state_dict(),
                        "random_state": _random_state(device),
                        "history": torch.tensor(history, dtype=torch.float64),
                        "diverged": diverged,
                        "seconds": seconds,
                        "training_seconds": training_seconds,
                    }
                    save_checkpoint(checkpoint, state)
                if diverged:
                    break
    whole_numbers = {"iteration": int, "samples_seen": int, "batch_size": int}
    frame = pd.DataFrame(history, columns=HISTORY_COLUMNS).astype(whole_numbers)
    return TrainingRun(
        history=frame,
        diverged=diverged,
        seconds=time.perf_counter() - begin,
        images_per_second=samples_seen / training_seconds,
        precision=chosen,
        device=str(device),
    )


@torch.no_grad()
def predict(
    model: nn.Module,
    data: Images,
    *,
    batch_size: int = 500,
    precision: Precision | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Class scores before the softmax, float32 (n, classes), of a model in evaluation mode; its mode is restored."""
    device = torch.device(device) if device is not None else default_device()
    precision = precision or choose_precision(device)
    was_training = model.training
    model.eval()
    parts = torch.arange(len(data.data)).split(batch_size)
    scores = torch.cat([_scores(model, data, part, precision, device)[0] for part in parts])
    model.train(was_training)
    return scores


def evaluate(model: nn.Module, data: Images, **settings: object) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy (fraction) in evaluation mode; settings are those of `predict`."""
    scores = predict(model, data, **settings)
    _check_classes(data.targets, scores)
    targets = data.targets.to(scores.device)
    return F.cross_entropy(scores, targets).item(), (scores.argmax(1) == targets).double().mean().item()


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's global generators, ask for repeatable kernels, and undo both afterwards.

    New layers draw their weights, and dropout its masks, from generators that all threads of a process share. So
    threads take turns here, whole trainings long, and must not be waited for inside; what is to run side by side needs
    processes.
    """
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with (
        _GENERATORS_IN_USE,
        torch.random.fork_rng(devices),
        torch.backends.cudnn.flags(benchmark=False, deterministic=True),
    ):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed devices too that are not restored
        for own in devices:
            with torch.cuda.device(own):
                torch.cuda.manual_seed(seed)
        yield


def _free_generators() -> None:
    """In a forked process, where nobody is left who could."""
    global _GENERATORS_IN_USE
    _GENERATORS_IN_USE = threading.RLock()


os.register_at_fork(after_in_child=_free_generators)


class _ShuffledOrder:
    """An endless stream of indices: one random permutation of 0 ... n - 1 after another."""

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self.generator = torch.Generator().manual_seed(seed)
        self.rest = torch.empty(0, dtype=torch.int64)  # of the present permutation

    def take(self, count: int) -> Tensor:
        """The next indices, shape (count,)."""
        while len(self.rest) < count:
            self.rest = torch.cat([self.rest, torch.randperm(self.n, generator=self.generator)])
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def state_dict(self) -> dict[str, Tensor]:
        return {"generator": self.generator.get_state(), "rest": self.rest.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.generator.set_state(state["generator"])
        self.rest = state["rest"]


def _accumulate_gradient(
    model: nn.Module, data: Images, batch: Tensor, micro_batch_size: int, precision: Precision, device: torch.device
) -> tuple[float, float]:
    """Set the gradient of the batch's mean loss, one micro-batch at a time; return that loss and the accuracy."""
    model.train()
    model.zero_grad(set_to_none=True)
    loss, correct = 0.0, 0
    for part in batch.split(micro_batch_size):
        scores, targets = _scores(model, data, part, precision, device)
        _check_classes(data.targets[part], scores)
        share = F.cross_entropy(scores, targets, reduction="sum") / len(batch)
        share.backward()
        loss += share.item()
        correct += (scores.argmax(1) == targets).sum().item()
    return loss, correct / len(batch)


def _check_classes(targets: Tensor, scores: Tensor) -> None:
    """Raise ValueError for a target that has no score."""
    if targets.max() >= scores.shape[1]:
        raise ValueError(
            f"the model gives {scores.shape[1]} class scores, but the targets hold the class {targets.max()} "
            "(classes count from 0): give it as many outputs as there are classes"
        )


def _scores(
    model: nn.Module, data: Images, part: Tensor, precision: Precision, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Class scores (float32) and targets of the images with the given indices, normalised here and not one by one."""
    images = data.data[part].to(device).float().div_(255).sub_(PIXEL_MEAN).div_(PIXEL_STD).unsqueeze(1)
    if precision.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision.dtype == "bfloat16"):
        scores = model(images)
    return scores.float(), data.targets[part].to(device)


def _random_state(device: torch.device) -> list[Tensor]:
    """State of torch's global generators: the CPU's, and CUDA's if the run is there."""
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def _set_random_state(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def _without_numpy(state: object) -> object:
    """A state in which NumPy's numbers, of a caller's settings, are Python's: a checkpoint may hold no others."""
    if isinstance(state, dict):
        converted = {_without_numpy(key): _without_numpy(value) for key, value in state.items()}
        return Counter(converted) if isinstance(state, Counter) else converted  # MultiStepLR counts its milestones
    if isinstance(state, (list, tuple)):
        return type(state)(_without_numpy(value) for value in state)
    return state.item() if isinstance(state, np.generic) else state


def _digest(*tensors: Tensor) -> str:
    """Eight bytes of the SHA-256 of tensors' shapes and values, in hexadecimal."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(str((tuple(tensor.shape), tensor.dtype)).encode())
        sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return sha.hexdigest()[:16]


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ValueError unless a value is one of these strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Raise ValueError unless a value is a whole number (Python's or NumPy's) of at least this size."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


def _check_arguments(arguments: dict) -> None:
    """Raise ValueError for the arguments of `train` that make no sense."""
    for name in ("train_data", "test_data"):
        images = arguments[name]
        if images is None and name == "test_data":
            continue
        data, targets = getattr(images, "data", None), getattr(images, "targets", None)
        if not isinstance(data, Tensor) or not isinstance(targets, Tensor):
            raise ValueError(
                f"{name} must have the tensors data and targets, as torchvision's FashionMNIST has, "
                f"not be {type(images).__name__}"
            )
        if data.dtype != torch.uint8 or data.ndim != 3 or len(data) == 0:
            raise ValueError(
                f"{name}.data must be a uint8 tensor (n, height, width) with n > 0, "
                f"not {data.dtype} {tuple(data.shape)}"
            )
        if tuple(targets.shape) != (len(data),) or targets.dtype != torch.int64:
            raise ValueError(
                f"{name}.targets must be an int64 tensor ({len(data)},), not {targets.dtype} {tuple(targets.shape)}"
            )
        if targets.min() < 0:
            raise ValueError(f"{name}.targets must be classes from 0, not {targets.min()}: leave such images out")
    sizes = np.asarray(arguments["batch_sizes"])
    if sizes.ndim != 1 or sizes.size == 0 or sizes.dtype.kind not in "iuf":
        given = arguments["batch_sizes"]
        raise ValueError(f"batch_sizes must hold the size of every iteration, such as [64] * 1000, not {given!r}")
    if sizes.min() < 1 or not np.isfinite(sizes).all() or (sizes != sizes.astype(int)).any():
        raise ValueError(f"batch_sizes must be whole numbers of at least 1; the smallest is {sizes.min()}")
    for name, most in (("learning_rate", math.inf), ("momentum", 1), ("weight_decay", math.inf)):
        value, positive = arguments[name], name == "learning_rate"
        if not isinstance(value, Real) or not 0 <= value < most or (positive and value == 0):
            limits = "positive and finite" if positive else f"at least 0 and below {most}"
            raise ValueError(f"{name} must be {limits}, not {value!r}")
    for name, least in (("micro_batch_size", 1), ("checkpoint_every", 1), ("evaluate_every", 1), ("seed", 0)):
        if not (name == "evaluate_every" and arguments[name] is None):
            check_whole(name, arguments[name], least)


def __getattr__(name: str) -> object:
    """What moved to `lib.learning_rates` is still found here, until the chapter imports it from there."""
    from lib import learning_rates

    return getattr(learning_rates, name)
