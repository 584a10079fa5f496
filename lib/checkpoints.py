"""Checkpoints that survive `kill -9`: written in one step, and read without running code from them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import torch

CHECKPOINT_FORMAT = "deep-learning-systems-book training checkpoint"
CHECKPOINT_VERSION = 1
CHECKPOINT_KEYS = {
    *("format", "version", "settings", "model", "optimizer", "scheduler", "order", "random_state"),
    *("history", "diverged", "seconds", "training_seconds"),
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be resumed from; the message says why."""


def save_checkpoint(path: str | os.PathLike, state: dict) -> None:
    """Write a checkpoint beside its place, force it to the disk, then rename: the path never holds a part of one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")  # one name, so that what a killed run left is written over
    with open(temporary, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_checkpoint(path: str | os.PathLike, settings: dict | None = None) -> dict:
    """Read a checkpoint, running no code from it.

    Parameters
    ----------
    path : path
    settings : dict, optional
        The settings of the run that wants to resume; they must be the checkpoint's own.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    CheckpointError
        If the file is torn or altered, is no checkpoint of `train`, has a newer format, or belongs to another run.
    """
    refusal = f"cannot resume from {os.fspath(path)}"
    way_out = "delete it to start afresh, or give another path"
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {os.fspath(path)}")
    try:  # what a damaged file makes zipfile and torch raise is anything
        with zipfile.ZipFile(path) as archive:  # torch.save writes a zip file, which carries a checksum of every part
            damaged = archive.testzip()
    except Exception as error:
        raise CheckpointError(f"{refusal}: it is torn, or no checkpoint ({error}); {way_out}") from error
    if damaged:
        raise CheckpointError(f"{refusal}: it is altered or torn ({damaged} fails its checksum); {way_out}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{refusal}: it is foreign, more than tensors and plain values; {way_out}") from error
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointError(f"{refusal}: it is foreign, not written by this training loop; {way_out}")
    version = state.get("version")
    if version != CHECKPOINT_VERSION:
        newer = isinstance(version, int) and version > CHECKPOINT_VERSION
        raise CheckpointError(
            f"{refusal}: its format is version {version}, {'newer' if newer else 'older'} than the "
            f"{CHECKPOINT_VERSION} read here; use the code that wrote it, or {way_out}"
        )
    missing = sorted(CHECKPOINT_KEYS - state.keys())
    if missing or not isinstance(state["settings"], dict):
        what = f"lacks {', '.join(missing)}" if missing else "has no settings"
        raise CheckpointError(f"{refusal}: it {what}; {way_out}")
    if settings is not None and state["settings"] != settings:
        theirs = state["settings"]
        different = [
            f"{name} is {theirs.get(name)!r} there and {settings.get(name)!r} here"
            for name in sorted(theirs.keys() | settings.keys())
            if theirs.get(name) != settings.get(name)
        ]
        raise CheckpointError(f"{refusal}: it belongs to another run ({'; '.join(different)}); {way_out}")
    return state
