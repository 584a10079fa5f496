"""Checkpoints that survive `kill -9`: written in one step, read without running code, refused with the reason."""

from __future__ import annotations

import io
import os
import reprlib
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from lib.files import write_atomically

FORMAT, VERSION = "deep-learning-systems-book training checkpoint", 2
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


class CheckpointError(ValueError):
    """A checkpoint that cannot be resumed from, or could not be; the message says why."""


def save_checkpoint(path: Path, state: dict) -> None:
    """Write a state in one step: the path never holds a part of one, and a full disk leaves the one before."""
    write_atomically(path, _serialised({"format": FORMAT, "version": VERSION, **state}))


def check_loadable(state: dict) -> None:
    """Raise CheckpointError now, not on the day it is needed, if a part of a state could not be loaded again."""
    for name, part in state.items():
        try:
            torch.load(io.BytesIO(_serialised(part)), weights_only=True)
        except Exception as error:  # what pickle and torch raise is anything
            raise CheckpointError(
                f"checkpoint: the state of the {name} holds more than tensors and plain values, and could not be "
                f"loaded again without running its code ({str(error).splitlines()[0]}): train without a checkpoint, "
                "or keep numbers, lists and tensors in it"
            ) from error


def load_checkpoint(path: Path, settings: dict | None = None) -> dict:
    """Read a state, running no code from it.

    CheckpointError if the file is torn or altered, is no checkpoint of `lib.training`, has another format, or is of
    another run than that of `settings`, which identify the one that wants to resume. FileNotFoundError without a file.
    """
    refusal, way_out = f"cannot resume from {os.fspath(path)}", "delete it to start afresh, or give another path"
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {os.fspath(path)}")
    try:  # torch.save writes a zip file, which carries a checksum of every part; torch.load does not look at them
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # what a damaged file makes zipfile raise is anything
        raise CheckpointError(f"{refusal}: it is torn, or no checkpoint ({error}); {way_out}") from error
    if damaged:
        raise CheckpointError(f"{refusal}: it is altered or torn ({damaged} fails its checksum); {way_out}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{refusal}: it is foreign, more than tensors and plain values; {way_out}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or not isinstance(state.get("settings"), dict):
        raise CheckpointError(f"{refusal}: it is foreign, not written by this training loop; {way_out}")
    version = state.get("version")
    if version != VERSION:
        age = "newer" if isinstance(version, int) and version > VERSION else "older"
        raise CheckpointError(
            f"{refusal}: its format is version {version}, {age} than the {VERSION} read here; use the code that wrote "
            f"it, or {way_out}"
        )
    theirs = state["settings"]
    if settings is not None and theirs != settings:
        different = "; ".join(
            f"{name} is {_SHORT.repr(theirs.get(name))} there and {_SHORT.repr(settings.get(name))} here"
            for name in sorted(theirs.keys() | settings.keys())
            if theirs.get(name) != settings.get(name)
        )
        raise CheckpointError(f"{refusal}: it belongs to another run ({different}); {way_out}")
    return state


def _serialised(state: object) -> bytes:
    """What torch.save would write; in memory, because into a full disk it hides the reason under errors of its own."""
    content = io.BytesIO()
    torch.save(_without_numpy(state), content)
    return content.getvalue()


def _without_numpy(state: object) -> object:
    """A state in which NumPy's numbers, of a caller's settings, are Python's: a checkpoint may hold no others."""
    if isinstance(state, dict):
        converted = {_without_numpy(key): _without_numpy(value) for key, value in state.items()}
        return Counter(converted) if isinstance(state, Counter) else converted  # MultiStepLR counts its milestones
    if isinstance(state, (list, tuple)) and type(state) in (list, tuple):
        return type(state)(_without_numpy(value) for value in state)
    return state.item() if isinstance(state, np.generic) else state
