"""One training loop for images: schedules, micro-batches, mixed precision, and runs that survive `kill -9`.

`Settings` is what is chosen, `Training` what changes, and `train` the loop that takes the one through the other.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from lib.arguments import ArgumentError, check_unmasked, choice, real_number, whole_number, yes_or_no
from lib.checkpoints import check_loadable, load_checkpoint, save_checkpoint
from lib.devices import PRECISIONS, Precision, choose_precision, default_device, random_state, seeded, set_random_state
from lib.files import check_writable, user_path
from lib.prediction import Images, check_images, check_model, check_scores, class_scores, evaluate
from lib.schedules import Schedule, check_schedule, make_scheduler

MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
HISTORY_COLUMNS = ("iteration", "samples_seen", "epoch", "learning_rate", "batch_size", *MEASURES)
READ_EVERY = 50  # iterations between two readings of the losses from a GPU
_PLAIN = (bool, int, float, str, list, dict)  # of a scheduler's state, what tells it from another


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that is chosen about a training: the same settings, model and data give the same run.

    Bit for bit that holds on one machine with one number of threads. ArgumentError for a value that makes no sense.

    A batch larger than `micro_batch_size` is computed in parts of so many images, each part's mean loss weighted by its
    share of the batch, so that memory does not grow with the batch. Without batch normalisation this is the full batch
    to rounding. With it, each part is normalised by its own statistics, which is ghost batch normalisation (Hoffer,
    Hubara, Soudry 2017, arXiv 1705.08741), and the running statistics move once for each part.
    """

    batch_sizes: Sequence[int]  # the batch size of every iteration; its length is the number of iterations
    learning_rate: float  # of torch.optim.SGD; the schedule may set another
    schedule: Schedule | None = None  # of the learning rate, see `lib.schedules.make_scheduler`
    momentum: float = 0.0  # of torch.optim.SGD, throughout
    weight_decay: float = 0.0  # of torch.optim.SGD
    seed: int = 0  # of the order of the images and of the model's dropout, not of its initial weights
    micro_batch_size: int = 256  # images that are computed, and normalised, at once
    evaluate_every: int | None = None  # samples between two evaluations on the test data; None: an epoch
    precision: str = "auto"  # of the convolutions, see `choose_precision`
    channels_last: bool | None = None  # memory layout, see `choose_precision`

    def __post_init__(self) -> None:
        check_unmasked("batch_sizes", self.batch_sizes)
        sizes, given = np.asarray(self.batch_sizes), self.batch_sizes
        every, layout = self.evaluate_every, self.channels_last
        if sizes.ndim != 1 or sizes.size == 0 or sizes.dtype.kind not in "iuf":
            raise ArgumentError(f"batch_sizes must hold the size of every iteration, like [64] * 1000, got {given!r}")
        if not np.isfinite(sizes).all() or sizes.min() < 1 or (sizes != sizes.astype(int)).any():
            raise ArgumentError(f"batch_sizes must be whole numbers of at least 1; the smallest is {sizes.min()}")
        if not (self.schedule is None or callable(self.schedule) or isinstance(self.schedule, Mapping)):
            raise ArgumentError(f"schedule must be None, a mapping or a callable, got {self.schedule!r}")
        checked = {
            "batch_sizes": tuple(map(int, sizes)),
            "learning_rate": real_number("learning_rate", self.learning_rate, above=0),
            "momentum": real_number("momentum", self.momentum, at_least=0),
            "weight_decay": real_number("weight_decay", self.weight_decay, at_least=0),
            "seed": whole_number("seed", self.seed, 0),
            "micro_batch_size": whole_number("micro_batch_size", self.micro_batch_size),
            "evaluate_every": None if every is None else whole_number("evaluate_every", every),
            "precision": choice("precision", self.precision, PRECISIONS),
            "channels_last": None if layout is None else yes_or_no("channels_last", layout),
        }
        if checked["momentum"] >= 1:
            raise ArgumentError(f"momentum must be below 1, got {self.momentum!r}")
        for name, value in checked.items():  # Python's numbers, so that they compare and are stored alike
            object.__setattr__(self, name, value)

    def as_stored(self) -> dict:
        """Plain values; batch sizes as [size, how many of them in a row]."""
        runs = [[size, len(list(run))] for size, run in itertools.groupby(self.batch_sizes)]
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"batch_sizes": runs}


@dataclass(frozen=True)
class TrainingRun:
    """What `train` returns; the model itself is trained in place.

    The history has one row an iteration: iteration (from 1), samples_seen, epoch (samples_seen / training images),
    learning_rate and batch_size of that step, train_loss (mean cross-entropy of the batch, nats) and train_accuracy
    (fraction) before the step, test_loss and test_accuracy after it where the model was evaluated, else NaN.
    """

    history: pd.DataFrame
    diverged: bool  # whether a non-finite loss ended it; the last row holds that loss, and the weights are of no use
    seconds: float  # wall-clock, all resumed parts together
    images_per_second: float  # of training, evaluations left out
    precision: Precision
    device: str


def train(
    model: nn.Module,
    train_data: Images,
    test_data: Images | None,
    settings: Settings,
    *,
    device: torch.device | str | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 500,
    description: str = "",
    progress: bool | str | None = None,
) -> TrainingRun:
    """Train a classifier in place by stochastic gradient descent on cross-entropy.

    The images of an epoch come in a random order without replacement; a batch may span two epochs.

    Parameters
    ----------
    model : nn.Module
        Takes float images (n, 1, height, width), returns class scores (n, classes). It is moved to the device. Modules
        that are in evaluation mode while the model as a whole is in training mode stay so: a frozen batch normalisation
        keeps its statistics.
    train_data, test_data : Images
        Without test data (None) nothing is evaluated.
    settings : Settings
    device : torch.device or str, optional
        Default: `default_device()`.
    checkpoint : path, optional
        Saved there every `checkpoint_every` iterations, every `evaluate_every` samples (so that large batches lose
        little), and at the end. If it exists, the run resumes from it, and `model` must hold the initial weights as at
        the start. Schedules are told apart by class and plain settings, not by the functions in them.
    description, progress
        Label of the progress bar, and whether there is one; default: if the error stream is a terminal. "lines": a line
        a minute instead, for a log.

    Raises
    ------
    ArgumentError, CheckpointError, OSError
        Before the first step: for an argument that makes no sense, and a model that cannot be trained on these images;
        for a checkpoint that is torn, of another format, or of another run, or that could not be loaded again; and if
        nothing can be written where it should go.
    """
    checkpoint_every = whole_number("checkpoint_every", checkpoint_every)
    training = Training(model, train_data, test_data, settings, device)
    path = None if checkpoint is None else _place_of(checkpoint)
    with seeded(settings.seed, training.device):
        if path is not None and path.exists():
            training.load_state_dict(load_checkpoint(path, training.identity))
        elif path is not None:
            check_loadable(training.state_dict())
        with training.progress_bar(description, progress) as bar:
            for batch_size in training.batches_left():
                training.step(batch_size)
                if training.milestone:
                    training.evaluate()
                if path is not None and (training.milestone or len(training.history) % checkpoint_every == 0):
                    save_checkpoint(path, training.state_dict())
                training.show(bar, batch_size)
    return training.outcome()


class Training:
    """All that changes while a model is trained: saved whole, loaded whole, and moved on a step at a time."""

    def __init__(
        self, model: nn.Module, train_data: Images, test_data: Images | None, settings: Settings, device: object = None
    ) -> None:
        if not isinstance(settings, Settings):
            raise ArgumentError(f"settings must be Settings(batch_sizes=..., learning_rate=...), got {settings!r}")
        data = {"train_data": train_data} | ({} if test_data is None else {"test_data": test_data})
        for name, images in data.items():
            check_images(name, images)
        check_model(model, trainable=True)
        if settings.schedule is not None:
            check_schedule(len(settings.batch_sizes), settings.schedule, settings.learning_rate, settings.momentum)
        self.settings, self.model, self.test_data = settings, model, test_data
        self.device = torch.device(device) if device is not None else default_device()
        self.precision = choose_precision(self.device, settings.precision, channels_last=settings.channels_last)
        # The images go to the device once; a step copies nothing but its indices.
        self.images, self.targets = train_data.data.to(self.device), train_data.targets.to(self.device)
        self.evaluate_every = settings.evaluate_every or len(self.images)
        self.identity = self._identify(train_data)
        model.to(self.device, memory_format=self.precision.memory_format)
        if not model.training:
            model.train()  # else what is in evaluation mode within it was frozen on purpose
        part = settings.micro_batch_size
        alone = part == 1 or any(size % part == 1 for size in set(settings.batch_sizes))
        check_scores(model, data, self.precision, alone=alone)
        self.optimizer = torch.optim.SGD(
            model.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
        )
        self.scheduler = make_scheduler(settings.schedule, self.optimizer)
        if self.scheduler:
            plain = {k: v for k, v in self.scheduler.state_dict().items() if isinstance(v, _PLAIN)}
            self.identity["schedule"] = f"{type(self.scheduler).__name__} {plain}"
        self.order = _ShuffledOrder(len(self.images), settings.seed)
        # A GPU would stand still while its loss is waited for: there it is read, and a divergence found, only now and
        # then. On a CPU it is read before every step, so that a step with a loss that is not finite is not taken.
        self.read_every = 1 if self.device.type == "cpu" else READ_EVERY
        self.history: list[list[float]] = []  # rows of HISTORY_COLUMNS
        self.unread: list[list] = []  # the last of them, whose loss and accuracy are still tensors on the device
        self.diverged, self.training_seconds, self.begin = False, 0.0, time.perf_counter()

    def _identify(self, train_data: Images) -> dict:
        """What a checkpoint must agree in: the settings, and whatever else decides the bits of a run."""
        threads = torch.get_num_threads() if self.device.type == "cpu" else None  # another number sums in another order
        test = self.test_data
        return self.settings.as_stored() | {
            "evaluate_every": self.evaluate_every,
            "precision": self.precision.dtype,
            "channels_last": self.precision.channels_last,
            "model": f"{type(self.model).__name__} {_digest(*self.model.state_dict().values())}",
            "train_data": _digest(train_data.data, train_data.targets),
            "test_data": None if test is None else _digest(test.data, test.targets),
            "device": self.device.type,
            "threads": threads,
        }

    def batches_left(self) -> Iterator[int]:
        """The batch sizes of the iterations to come."""
        while not self.diverged and len(self.history) < len(self.settings.batch_sizes):
            yield self.settings.batch_sizes[len(self.history)]

    @property
    def samples_seen(self) -> int:
        return int(self.history[-1][1]) if self.history else 0

    @property
    def milestone(self) -> bool:
        """Whether the last step passed a multiple of `evaluate_every` samples, or was the last one."""
        before = self.samples_seen - int(self.history[-1][4])
        passed = before // self.evaluate_every < self.samples_seen // self.evaluate_every
        return passed or self.diverged or len(self.history) == len(self.settings.batch_sizes)

    def step(self, batch_size: int) -> None:
        """One iteration: the gradient of a batch, a row of the history, a step of the optimiser and of the schedule."""
        begin = time.perf_counter()
        loss, accuracy = self._accumulate_gradient(self.order.take(batch_size).to(self.device))
        seen, rate = self.samples_seen + batch_size, self.optimizer.param_groups[0]["lr"]
        row = [len(self.history) + 1, seen, seen / len(self.images), rate, batch_size]
        self.history.append([*row, loss, accuracy, math.nan, math.nan])
        self.unread.append(self.history[-1])
        if self.milestone or len(self.history) % self.read_every == 0:
            self._read()
        if not self.diverged:
            self.optimizer.step()
            if self.scheduler and len(self.history) < len(self.settings.batch_sizes):  # a schedule may end with it
                self.scheduler.step()
        self.training_seconds += time.perf_counter() - begin

    def _accumulate_gradient(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Set the gradient of the batch's mean loss, part by part; that loss and the accuracy, on the device."""
        self.model.zero_grad(set_to_none=True)
        loss = correct = torch.zeros((), dtype=torch.float64, device=self.device)
        for part in batch.split(self.settings.micro_batch_size):
            scores, targets = class_scores(self.model, self.images[part], self.precision), self.targets[part]
            share = F.cross_entropy(scores, targets, reduction="sum") / len(batch)
            share.backward()  # adds to the gradient: the shares sum to the mean over the whole batch
            loss = loss + share.detach()
            correct = correct + (scores.argmax(1) == targets).sum()
        return loss, correct / len(batch)

    def _read(self) -> None:
        """Turn the losses of the last steps into numbers; the history ends with the first that is not finite."""
        if not self.unread:
            return
        values = torch.stack([torch.stack(row[5:7]) for row in self.unread]).tolist()
        for row, (loss, accuracy) in zip(self.unread, values, strict=True):
            row[5:7] = loss, accuracy
            if not math.isfinite(loss):
                self.diverged = True
                del self.history[int(row[0]) :]
                break
        self.unread.clear()

    def evaluate(self) -> None:
        """Loss and accuracy on the test data, into the last row."""
        if self.test_data is not None and not self.diverged:
            measured = evaluate(self.model, self.test_data, precision=self.precision, device=self.device)
            self.history[-1][7:9] = measured
            self.diverged = not math.isfinite(measured[0])

    def state_dict(self) -> dict:
        """Everything that a training needs to go on as if it had never stopped."""
        self._read()
        return {
            "settings": self.identity,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "order": self.order.state_dict(),
            "random_state": random_state(self.device),
            "history": torch.tensor(self.history, dtype=torch.float64).reshape(-1, len(HISTORY_COLUMNS)),
            "diverged": self.diverged,
            "seconds": time.perf_counter() - self.begin,
            "training_seconds": self.training_seconds,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave, within `seeded`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])
        self.order.load_state_dict(state["order"])
        set_random_state(state["random_state"], self.device)
        self.history = state["history"].tolist()
        self.diverged, self.training_seconds = state["diverged"], state["training_seconds"]
        self.begin = time.perf_counter() - state["seconds"]

    def progress_bar(self, description: str, progress: bool | str | None) -> tqdm:
        total = sum(self.settings.batch_sizes)
        what = {"total": total, "initial": self.samples_seen, "unit": "images", "desc": description or None}
        if progress == "lines":
            shape = "{desc}: {n:,} of {total:,} images, {rate_fmt}, {remaining} left{postfix}"
            return tqdm(
                **what,
                file=Lines(partial(print, flush=True)),
                mininterval=60,
                maxinterval=math.inf,
                miniters=1,
                bar_format=shape,
            )
        return tqdm(**what, disable=None if progress is None else not progress)

    def show(self, bar: tqdm, batch_size: int) -> None:
        """Move the bar on, with the last loss that has been read."""
        if not self.unread:
            loss, accuracy = self.history[-1][5:7]
            bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.1%}", refresh=False)
        bar.update(batch_size)

    def outcome(self) -> TrainingRun:
        """The history as a table, and how it was made."""
        whole_numbers = {"iteration": int, "samples_seen": int, "batch_size": int}
        return TrainingRun(
            history=pd.DataFrame(self.history, columns=HISTORY_COLUMNS).astype(whole_numbers),
            diverged=self.diverged,
            seconds=time.perf_counter() - self.begin,
            images_per_second=self.samples_seen / self.training_seconds,
            precision=self.precision,
            device=str(self.device),
        )


class Lines:
    """Where text goes that is to be read in a log: line by line to a function."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say

    def write(self, text: str) -> None:
        if text.strip():
            self.say(text.strip())

    def flush(self) -> None:
        pass


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


def _digest(*tensors: Tensor) -> str:
    """Eight bytes of the SHA-256 of tensors' shapes and values, in hexadecimal; what is no tensor is left out."""
    sha = hashlib.sha256()
    for tensor in tensors:
        if isinstance(tensor, Tensor):  # and not a module's extra state
            sha.update(str((tuple(tensor.shape), tensor.dtype)).encode())
            sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return sha.hexdigest()[:16]


def _place_of(checkpoint: str | os.PathLike) -> Path:
    """Where a checkpoint goes; refused now, and not after hours, if nothing can be written there."""
    path = user_path(checkpoint)
    if path.is_dir():
        raise ArgumentError(f"checkpoint must be a file, and {path} is a directory: give a path like {path / 'run.pt'}")
    check_writable("checkpoint", path.parent)
    for torn in path.parent.glob(f".{glob.escape(path.name)}.*"):  # what a killed run left of writing
        torn.unlink()
    return path
