"""Faults that people report of training loops: each is refused in one sentence before the first step, or made right."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, CyclicLR, LambdaLR, OneCycleLR, ReduceLROnPlateau, SequentialLR

from lib.arguments import ArgumentError
from lib.checkpoints import CheckpointError
from lib.inception import SmallInception
from lib.learning_rates import scheduled_learning_rates
from lib.prediction import evaluate, predict
from tests.small_trainings import convolutional, images, linear, one_thread, same_weights, short  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]

# ------------------------------------------------------------------ modes


class Failing(nn.Module):
    """Raises in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.frozen = nn.Linear(36, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            raise OverflowError("no")
        return self.frozen(self.layer(x.flatten(1)))


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("look", [predict, evaluate])
@pytest.mark.parametrize("frozen", [(), (1,), (1, 3), (0, 5)])
def test_looking_at_a_model_restores_the_mode_of_every_module(look: Callable, frozen: tuple[int, ...]) -> None:
    model = convolutional().train()
    for place in frozen:
        model[place].eval()
    before = modes(model)
    look(model, images(20))
    assert modes(model) == before


def test_model_that_raises_is_left_in_the_modes_it_was_in() -> None:
    model = Failing().train()
    model.frozen.eval()
    before = modes(model)
    with pytest.raises(OverflowError):
        predict(model, images(20))
    assert modes(model) == before


def test_training_leaves_the_statistics_of_a_frozen_layer_alone() -> None:
    model, free = convolutional().train(), convolutional().train()
    model[1].eval()
    start = model[1].running_mean.clone()
    short(model, images(40), images(20))
    short(free, images(40), images(20))
    assert torch.equal(model[1].running_mean, start) and not model[1].training
    assert not torch.equal(free[1].running_mean, start)


def test_model_that_is_in_evaluation_mode_as_a_whole_is_trained_as_any_other() -> None:
    model, other = convolutional().eval(), convolutional().train()
    short(model, images(40), images(20))
    short(other, images(40), images(20))
    assert model.training and same_weights(model, other)


# ------------------------------------------------------------------ schedules


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(
    "schedule",
    [
        partial(CyclicLR, base_lr=0.01, max_lr=0.1),  # cycle_momentum is its default
        partial(OneCycleLR, max_lr=0.1, total_steps=100),
        {"name": "CyclicLR", "base_lr": 0.01, "max_lr": 0.1},
    ],
)
def test_schedule_that_changes_the_momentum_is_refused(schedule: object, momentum: float) -> None:
    with pytest.raises(ArgumentError, match=r"schedule: .* would change the momentum .* cycle_momentum=False"):
        short(linear(), images(40), schedule=schedule, momentum=momentum)


def test_schedule_that_changes_the_momentum_later_is_refused_before_the_training() -> None:
    class Late(LambdaLR):
        def step(self, *arguments: object) -> None:
            super().step(*arguments)
            if self.last_epoch == 3:
                self.optimizer.param_groups[0]["momentum"] = 0.7

    model = linear()
    with pytest.raises(ArgumentError, match=r"Late would change the momentum from the 0\.5"):
        short(model, images(40), schedule=partial(Late, lr_lambda=lambda step: 1.0), momentum=0.5)
    assert same_weights(model, linear())


RATES = [0.1, 0.2, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("schedule", "named"),
    [
        (partial(OneCycleLR, max_lr=0.1, total_steps=5, cycle_momentum=False), "OneCycleLR ends after 6 of 7"),
        ({"name": "OneCycleLR", "max_lr": 0.1, "total_steps": 4, "cycle_momentum": False}, "OneCycleLR ends after 5"),
        ({"name": "OneCycleLR", "max_lr": 1, "epochs": 2, "steps_per_epoch": 2, "cycle_momentum": False}, "after 5 of"),
        (partial(LambdaLR, lr_lambda=lambda step: RATES[step]), "LambdaLR ends after 5 of 7 iterations .list index"),
        (partial(LambdaLR, lr_lambda=dict(enumerate(RATES)).__getitem__), "LambdaLR ends after 5 of 7"),
        (
            lambda optimizer: SequentialLR(
                optimizer,
                [ConstantLR(optimizer), OneCycleLR(optimizer, 0.1, total_steps=2, cycle_momentum=False)],
                milestones=[2],
            ),
            "SequentialLR ends after 5 of 7",
        ),
    ],
)
def test_schedule_that_ends_before_the_training_is_refused_before_it(schedule: object, named: str) -> None:
    model = linear()
    with pytest.raises(ArgumentError, match=f"schedule: .*{named}.*make it as long as the training"):
        short(model, images(40), schedule=schedule, batch_sizes=[16] * 7)
    assert same_weights(model, linear())
    with pytest.raises(ArgumentError, match=named):
        scheduled_learning_rates(7, schedule)


def test_schedule_that_ends_with_the_training_is_taken() -> None:
    history = short(
        linear(), images(40), schedule=partial(LambdaLR, lr_lambda=lambda step: RATES[step]), batch_sizes=[16] * 5
    ).history
    np.testing.assert_allclose(history["learning_rate"], 0.1 * np.array(RATES))
    steps = {"total_steps": 5, "max_lr": 0.1, "cycle_momentum": False}
    assert len(short(linear(), images(40), schedule=partial(OneCycleLR, **steps), batch_sizes=[16] * 5).history) == 5


def test_schedule_with_a_state_of_its_own_trains_as_if_nobody_had_looked_ahead() -> None:
    class Counting:
        calls = 0

        def __call__(self, step: int) -> float:
            self.calls += 1
            return 1 / self.calls

    history = short(
        linear(), images(40), schedule=partial(LambdaLR, lr_lambda=Counting()), batch_sizes=[16] * 4
    ).history
    np.testing.assert_allclose(history["learning_rate"], 0.1 / np.arange(1, 5))


@pytest.mark.parametrize("schedule", [ReduceLROnPlateau, {"name": "ReduceLROnPlateau", "patience": 3}])
def test_schedule_that_waits_for_a_loss_is_refused_by_name(schedule: object) -> None:
    with pytest.raises(ArgumentError, match="schedule: ReduceLROnPlateau needs a loss"):
        short(linear(), images(40), schedule=schedule)


def test_schedule_with_a_forgotten_return_is_refused() -> None:
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    for schedule in (lambda optimizer: None, lambda optimizer: LambdaLR(other, float)):
        with pytest.raises(ArgumentError, match="schedule must return a scheduler of the optimizer"):
            short(linear(), images(40), schedule=schedule)


@pytest.mark.parametrize(
    "settings", [{"channels_last": "no"}, {"batch_sizes": np.ma.masked_greater(np.array([2, 3, 9]), 5)}]
)
def test_setting_that_would_be_taken_for_another_is_refused_by_name(settings: dict) -> None:
    with pytest.raises(ArgumentError, match=next(iter(settings))):
        short(linear(), images(40), **settings)


@pytest.mark.parametrize("look", [predict, evaluate])
def test_images_of_another_kind_are_not_normalised_as_grey_levels(look: Callable) -> None:
    right = images(20)
    scaled = SimpleNamespace(data=right.data / 255, targets=right.targets)
    left_out = SimpleNamespace(data=right.data, targets=torch.where(right.targets == 0, -100, right.targets))
    for data, named in ((scaled, r"data\.data must be a uint8 tensor"), (left_out, "classes from 0, not -100")):
        with pytest.raises(ArgumentError, match=named):
            look(linear(), data)


@pytest.mark.parametrize("schedule", [{"name": "NoSuchLR"}, {"step_size": 3}, "StepLR", 0.9])
def test_what_is_no_schedule_is_refused(schedule: object) -> None:
    with pytest.raises(ArgumentError, match="schedule must"):
        short(linear(), images(40), schedule=schedule)


# ------------------------------------------------------------------ models


def last_layer(n: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, n))


class Wrapped(nn.Module):
    """Returns what a function makes of a linear layer's scores."""

    def __init__(self, result: Callable) -> None:
        super().__init__()
        self.layer, self.result = nn.Linear(36, 4), result

    def forward(self, x: Tensor) -> object:
        return self.result(self.layer(x.flatten(1)))


def frozen() -> nn.Module:
    return linear().requires_grad_(False)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), "lazy layers without weights yet: call it on a batch"),
        (frozen(), "no weights to train"),
        (nn.Flatten(), "no weights to train"),
        (linear().double(), "weights of torch.float64: make them float32"),
        (linear().bfloat16(), "weights of torch.bfloat16"),
        (Wrapped(lambda scores: (scores, scores)), "must return class scores.* returns tuple"),
        (Wrapped(lambda scores: {"scores": scores}), "returns dict"),
        (Wrapped(lambda scores: scores.sum(1)), r"returns \(2,\)"),
        (Wrapped(lambda scores: scores[:, :, None, None]), r"returns \(2, 4, 1, 1\)"),
        (last_layer(1), r"returns \(2, 1\)"),
        (last_layer(3), "gives 3 class scores, but the targets hold the class 3"),
    ],
)
def test_model_that_cannot_be_trained_is_refused_in_one_sentence(model: nn.Module, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        short(model, images(40))


def coloured() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(32, 4))


@pytest.mark.parametrize("look", [short, predict, evaluate])
@pytest.mark.parametrize(
    ("model", "named"),
    [
        (coloured(), r"model cannot compute the images of (train_)?data, .* \(n, 1, 6, 6\): .*3 channels"),
        (nn.Sequential(nn.Flatten(), nn.Linear(37, 4)), r"model cannot compute the images of .*\(n, 1, 6, 6\)"),
        (SmallInception(), r"model cannot compute the images of .*\(n, 1, 6, 6\): x must have shape \(n, 1, 28, 28\)"),
        (linear().to("meta"), "model is on the meta device, without numbers"),
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 4, device="meta")), "model is on the meta device"),
        (lambda images: images.flatten(1)[:, :4], r"model must be a torch\.nn\.Module, not function"),
        (partial(nn.functional.relu), "model must be a torch.nn.Module, not partial"),
        (nn.Linear, "model must be a torch.nn.Module, not type"),
        (None, "model must be a torch.nn.Module, not NoneType"),
    ],
)
def test_model_that_these_images_do_not_fit_or_that_is_none_is_refused_by_name(
    look: Callable, model: object, named: str
) -> None:
    with pytest.raises(ArgumentError, match=named):
        look(model, images(40))


@pytest.mark.parametrize("look", [short, predict, evaluate])
@pytest.mark.parametrize("shape", [(40, 1, 6, 6), (40, 3, 6, 6), (40, 6, 6, 3), (40, 36)])
def test_images_with_channels_are_refused_by_name(look: Callable, shape: tuple[int, ...]) -> None:
    data = SimpleNamespace(data=torch.zeros(shape, dtype=torch.uint8), targets=torch.zeros(40).long())
    with pytest.raises(ArgumentError, match=r"data\.data must be a uint8 tensor \(n, height, width\)"):
        look(linear(), data)


def test_test_data_that_the_model_cannot_compute_are_refused_before_the_training() -> None:
    other = SimpleNamespace(data=torch.zeros(40, 7, 7, dtype=torch.uint8), targets=torch.zeros(40).long())
    model = linear()
    with pytest.raises(ArgumentError, match=r"model cannot compute the images of test_data, .* \(n, 1, 7, 7\)"):
        short(model, images(40), other)
    assert same_weights(model, linear())


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (last_layer(1), r"returns \(40, 1\)"),  # its cross-entropy would be 0, its accuracy that of class 0
        (Wrapped(lambda scores: scores[:, :1]), r"returns \(40, 1\)"),
        (Wrapped(lambda scores: scores.sum(1)), r"returns \(40,\)"),
        (Wrapped(lambda scores: scores[:, :, None]), r"returns \(40, 4, 1\)"),
    ],
)
def test_scores_that_are_none_of_classes_are_not_evaluated(model: nn.Module, named: str) -> None:
    data = SimpleNamespace(data=images(40).data, targets=torch.zeros(40, dtype=torch.int64))
    with pytest.raises(ArgumentError, match=f"must return class scores.*{named}"):
        evaluate(model, data)


def test_look_at_the_scores_changes_neither_the_training_nor_the_random_numbers() -> None:
    class Noisy(nn.Module):  # draws random numbers in evaluation mode too
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(36, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(nn.functional.dropout(x.flatten(1), 0.3, training=True))

    torch.manual_seed(0)
    before = torch.get_rng_state()
    short(Noisy(), images(40))
    torch.manual_seed(0)
    Noisy()
    after = torch.get_rng_state()
    assert not torch.equal(before, after)  # its weights were drawn
    torch.manual_seed(0)
    short(Noisy(), images(40))
    assert torch.equal(torch.get_rng_state(), after)


def test_partly_frozen_model_and_extra_state_are_trained(tmp_path: Path) -> None:
    class Extra(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Linear(36, 4), 0
            self.layer.bias.requires_grad = False

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.flatten(1))

        def get_extra_state(self) -> dict:
            return {"calls": self.calls}

        def set_extra_state(self, state: dict) -> None:
            self.calls = state["calls"]

    torch.manual_seed(0)
    model = Extra()
    weight, bias = model.layer.weight.clone(), model.layer.bias.clone()
    short(model, images(40), checkpoint=tmp_path / "run.pt")
    assert torch.equal(model.layer.bias, bias) and not torch.equal(model.layer.weight, weight)


def normalised_vectors() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))


@pytest.mark.parametrize(("batch", "part"), [(257, 256), (1, 256), (9, 4), (11, 5), (21, 20)])
def test_part_of_one_image_under_batch_normalisation_is_refused_before_the_training(batch: int, part: int) -> None:
    with pytest.raises(ArgumentError, match="batch_sizes leave a part of one image"):
        short(normalised_vectors(), images(300), batch_sizes=[batch] * 2, micro_batch_size=part)
    short(normalised_vectors(), images(300), batch_sizes=[batch + 1] * 2, micro_batch_size=part)
    short(convolutional(), images(300), batch_sizes=[batch] * 2, micro_batch_size=part)  # has 16 pixels to an image


def test_parts_of_one_image_by_choice_are_refused_too() -> None:
    with pytest.raises(ArgumentError, match="leave a part of one image"):
        short(normalised_vectors(), images(300), batch_sizes=[64] * 2, micro_batch_size=1)


# ------------------------------------------------------------------ places


def test_state_that_cannot_be_loaded_again_is_refused_before_the_training(tmp_path: Path) -> None:
    class Decay:  # the reported one
        def __init__(self) -> None:
            self.factors = np.ones(100)

        def __call__(self, step: int) -> float:
            return self.factors[step]

    path = tmp_path / "run.pt"
    model = linear()
    schedule = partial(LambdaLR, lr_lambda=Decay())
    with pytest.raises(CheckpointError, match=r"the state of the scheduler .* could not be loaded again"):
        short(model, images(40), schedule=schedule, checkpoint=path)
    assert same_weights(model, linear()) and not path.exists()
    short(model, images(40), schedule=schedule)  # without a checkpoint nothing needs to be loaded


@pytest.mark.parametrize("place", [".", "/proc/run.pt", "file/run.pt"])
def test_checkpoint_that_cannot_be_written_is_refused_before_the_training(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    model = linear()
    with pytest.raises((OSError, ArgumentError), match=r"checkpoint(: nothing can be written in| must be a file)"):
        short(model, images(40), checkpoint=tmp_path / place)
    assert same_weights(model, linear())


def test_full_disk_is_said_and_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lib.files.os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*run\.pt"):
        short(linear(), images(40), checkpoint=tmp_path / "run.pt", checkpoint_every=1)
    assert os.listdir(tmp_path) == ["run.pt"]
    monkeypatch.undo()
    model, other = linear(), linear()
    short(model, images(40), checkpoint=tmp_path / "run.pt", checkpoint_every=1)  # and the run goes on from it
    short(other, images(40))
    assert same_weights(model, other)


def test_home_directory_is_where_a_tilde_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    short(linear(), images(40), checkpoint="~/runs/run.pt")
    assert (tmp_path / "runs" / "run.pt").exists() and not (tmp_path / "~").exists()


def test_checkpoint_begun_with_another_number_of_threads_is_refused(tmp_path: Path) -> None:
    short(linear(), images(40), checkpoint=tmp_path / "run.pt")
    torch.set_num_threads(2)
    try:
        with pytest.raises(CheckpointError, match="threads is 1 there and 2 here"):
            short(linear(), images(40), checkpoint=tmp_path / "run.pt")
    finally:
        torch.set_num_threads(1)


# ------------------------------------------------------------------ what needs not be there


def test_training_imports_neither_figures_nor_openml_nor_what_only_unix_has() -> None:
    script = """
        import os, sys
        import random, threading, torch  # which themselves use it where there is one
        del os.register_at_fork
        for absent in ("matplotlib", "plotly", "openml", "fcntl", "IPython", "torchvision"):
            sys.modules[absent] = None
        import lib.experiments, lib.learning_rates, lib.training
        from lib.experiments.__main__ import main
        assert main(["list"]) == 0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=True, capture_output=True)


def test_progress_can_be_lines_for_a_log(capsys: pytest.CaptureFixture) -> None:
    short(linear(), images(40), progress="lines", description="trial")
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines()[-1].startswith("trial: 192 of 192 images")
