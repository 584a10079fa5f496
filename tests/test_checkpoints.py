"""Checkpoints: whatever is damaged, foreign, newer or of another run is refused with the reason."""

from __future__ import annotations

import pickle
import random
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import MultiStepLR

from lib.checkpoints import FORMAT, CheckpointError, load_checkpoint, save_checkpoint
from tests.small_trainings import convolutional, images, linear, one_thread, same_weights, short  # noqa: F401


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    short(linear(), images(40), checkpoint=tmp_path / "run.pt")
    return tmp_path / "run.pt"


def test_every_truncated_checkpoint_is_refused_as_torn(checkpoint: Path) -> None:
    content = checkpoint.read_bytes()
    for length in {0, 1, 10, 100, *range(500, len(content), 997), len(content) - 1}:
        checkpoint.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="torn"):
            load_checkpoint(checkpoint)


def test_altered_checkpoint_is_refused_or_holds_the_same_values(checkpoint: Path) -> None:
    content, truth = checkpoint.read_bytes(), load_checkpoint(checkpoint)
    positions = random.Random(0).sample(range(len(content)), 150)
    headers = [content.rindex(b"PK\x01\x02") + offset for offset in range(46)]  # of the last file in the zip
    places = [(position, 0x20) for position in positions] + [(place, 1 << bit) for place in headers for bit in range(8)]
    refused = 0
    for position, mask in places:
        checkpoint.write_bytes(content[:position] + bytes([content[position] ^ mask]) + content[position + 1 :])
        try:
            state = load_checkpoint(checkpoint)
        except CheckpointError:
            refused += 1
        else:  # a byte of padding
            assert torch.equal(state["history"].view(torch.int64), truth["history"].view(torch.int64))
            assert all(torch.equal(state["model"][name], value) for name, value in truth["model"].items())
    assert refused > 20


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"learning_rate": 0.2}, "learning_rate is 0.1 there and 0.2 here"),
        ({"momentum": 0.9}, "momentum"),
        ({"weight_decay": 0.1}, "weight_decay"),
        ({"batch_sizes": [16] * 11 + [8]}, "batch_sizes"),
        ({"micro_batch_size": 4}, "micro_batch_size"),
        ({"evaluate_every": 7}, "evaluate_every"),
        ({"precision": "bfloat16"}, "precision"),
        ({"test": images(5)}, "test_data"),
        ({"data": images(40, seed=1)}, "train_data"),
        ({"schedule": partial(MultiStepLR, milestones=[5])}, "schedule"),
        ({"model": linear(seed=1)}, "model"),
        ({"model": convolutional()}, "model"),
    ],
)
def test_checkpoint_of_another_run_is_refused_naming_the_difference(checkpoint: Path, change: dict, named: str) -> None:
    arguments = {"model": linear(), "data": images(40), "checkpoint": checkpoint} | change
    with pytest.raises(CheckpointError, match=f"another run .*{named}"):
        short(**arguments)


def test_schedules_of_one_class_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    arguments = {"data": images(40), "checkpoint": tmp_path / "run.pt"}
    short(linear(), schedule=partial(MultiStepLR, milestones=[5]), **arguments)
    with pytest.raises(CheckpointError, match=r"another run .*schedule"):
        short(linear(), schedule=partial(MultiStepLR, milestones=[6]), **arguments)


def test_newer_checkpoint_is_refused_as_newer(checkpoint: Path) -> None:
    state = load_checkpoint(checkpoint)
    save_checkpoint(checkpoint, state | {"version": state["version"] + 1})
    with pytest.raises(CheckpointError, match="newer"):
        short(linear(), images(40), checkpoint=checkpoint)


@pytest.mark.parametrize("state", [{"weight": torch.zeros(3)}, [1, 2], {"format": "another program's"}])
def test_foreign_checkpoint_is_refused_as_foreign(tmp_path: Path, state: object) -> None:
    torch.save(state, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="foreign"):
        load_checkpoint(tmp_path / "run.pt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"version": "3"}, "version 3"), ({"version": None}, "version None"), ({"settings": None}, "foreign")],
)
def test_checkpoint_with_wrong_entries_is_refused(checkpoint: Path, change: dict, reason: str) -> None:
    save_checkpoint(checkpoint, load_checkpoint(checkpoint) | change)
    with pytest.raises(CheckpointError, match=reason):
        short(linear(), images(40), checkpoint=checkpoint)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "run.pt").write_text("epoch,loss\n1,2.3\n")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path / "run.pt")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nowhere.pt")


class _Touch:
    """Pickles into a call that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_loading_runs_no_code(tmp_path: Path, save: object) -> None:
    save({"format": FORMAT, "version": 1, "model": _Touch(tmp_path / "ran")}, tmp_path / "run.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "run.pt")
    assert not (tmp_path / "ran").exists()
