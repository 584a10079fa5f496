"""Schedules of the learning rate: torch's schedulers by name or by a function, and their rates without training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch.optim import SGD, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from lib.arguments import ArgumentError, real_number, whole_number

Schedule = Mapping | Callable[[Optimizer], LRScheduler]


def make_scheduler(schedule: Schedule | None, optimizer: Optimizer) -> LRScheduler | None:
    """The scheduler of an optimizer, which is stepped between two iterations.

    `schedule` is the name of one of torch's schedulers and its arguments, such as {"name": "StepLR", "step_size": 10};
    or what makes a scheduler from an optimizer; or None for a constant rate. ArgumentError for an unknown name, and for
    ReduceLROnPlateau, which waits for a loss.
    """
    if schedule is None:
        return None
    if isinstance(schedule, Mapping):
        name = schedule.get("name")
        if not isinstance(getattr(lr_scheduler, str(name), None), type):
            raise ArgumentError(f"schedule must name a class of torch.optim.lr_scheduler, got the name {name!r}")
        schedule = partial(getattr(lr_scheduler, name), **{k: v for k, v in schedule.items() if k != "name"})
    scheduler = schedule(optimizer)
    if getattr(scheduler, "optimizer", None) is not optimizer:  # a forgotten return would leave the rate as it is
        raise ArgumentError(f"schedule must return a scheduler of the optimizer that it is given, got {scheduler!r}")
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        raise ArgumentError(
            "schedule: ReduceLROnPlateau needs a loss at every step, and here a schedule knows the iteration only; "
            "take one such as MultiStepLR, or train in parts"
        )
    return scheduler


def scheduled_learning_rates(
    iterations: int, schedule: Schedule | None = None, *, learning_rate: float = 0.1
) -> np.ndarray:
    """The learning rate of every iteration that `train` would make, found without training, shape (iterations,).

    ArgumentError for a schedule that ends before, and for what `make_scheduler` refuses.

    >>> from torch.optim.lr_scheduler import StepLR
    >>> scheduled_learning_rates(4, partial(StepLR, step_size=2, gamma=0.5), learning_rate=1.0)
    array([1. , 1. , 0.5, 0.5])
    """
    iterations = whole_number("iterations", iterations)
    learning_rate = real_number("learning_rate", learning_rate, above=0)
    if schedule is None:
        return np.full(iterations, learning_rate)
    return np.array(
        [scheduler.optimizer.param_groups[0]["lr"] for scheduler in _steps(iterations, schedule, learning_rate)]
    )


def check_schedule(iterations: int, schedule: Schedule, learning_rate: float, momentum: float) -> None:
    """Raise ArgumentError for a schedule that ends before the training, or changes the momentum.

    The momentum is a setting, and nothing in a history would show that it is another.
    """
    for scheduler in _steps(iterations, schedule, learning_rate, momentum):
        if scheduler.optimizer.param_groups[0]["momentum"] != momentum or getattr(scheduler, "cycle_momentum", False):
            raise ArgumentError(
                f"schedule: {type(scheduler).__name__} would change the momentum from the {momentum:g} that is asked "
                "for: give it cycle_momentum=False"
            )


def _steps(iterations: int, schedule: Schedule, learning_rate: float, momentum: float = 0.0) -> Iterator[LRScheduler]:
    """A scheduler as it is at every iteration, of an optimizer that has nothing to do; the schedule is left alone."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], learning_rate, momentum)
    scheduler = make_scheduler(copy.deepcopy(schedule), optimizer)
    optimizer.step()  # torch warns of a scheduler that is stepped before its optimizer
    for done in range(1, iterations + 1):
        yield scheduler
        if done < iterations:
            try:
                scheduler.step()
            except Exception as error:  # torch's, or of a function of the caller's
                raise ArgumentError(
                    f"schedule: {type(scheduler).__name__} ends after {done} of {iterations} iterations ({error}): "
                    "make it as long as the training"
                ) from error
