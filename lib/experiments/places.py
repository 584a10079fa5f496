"""Where the files of a unit are, and what they say of how far it is."""

from __future__ import annotations

import glob
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from lib.checkpoints import load_checkpoint
from lib.files import cache_directory, lock
from lib.training import HISTORY_COLUMNS


def checkpoint_directory() -> Path:
    """Where unfinished units keep their checkpoints: the user's cache."""
    return cache_directory() / "checkpoints"


class Saved(NamedTuple):
    """What a checkpoint holds: samples seen, those of the whole training, and the number of its threads."""

    seen: int
    samples: int
    threads: int | None


class Place:
    """The files of one unit: its result, and until there is one its checkpoint and the provenance of all attempts."""

    def __init__(self, unit: str, directory: Path | str, checkpoints: Path | str) -> None:
        self.unit = unit
        self.result = Path(directory) / f"{unit}.json"
        self.checkpoint = Path(checkpoints) / f"{unit}.pt"
        self.attempts = self.checkpoint.with_suffix(".attempts.json")
        self.lock_file = self.checkpoint.with_suffix(".lock")

    def lock(self, timeout: float = 0.5) -> AbstractContextManager[bool]:
        """Whether the unit is this process's to train, and no other's: see `lib.files.lock`."""
        return lock(self.lock_file, timeout)

    def is_running(self) -> bool:
        if not self.lock_file.exists():
            return False
        with self.lock(timeout=0) as mine:
            return not mine

    def saved(self) -> Saved:
        """How far the checkpoint is; (0, 0, None) if there is none, CheckpointError if it cannot be read."""
        if not self.checkpoint.exists():
            return Saved(0, 0, None)
        state = load_checkpoint(self.checkpoint)
        seen = int(state["history"][-1][HISTORY_COLUMNS.index("samples_seen")])
        samples = sum(size * count for size, count in state["settings"]["batch_sizes"])
        return Saved(seen, samples, state["settings"]["threads"])

    def clear(self) -> None:
        """Delete the checkpoint, the provenance of the attempts, and what a kill may have left half written."""
        torn = self.checkpoint.parent.glob(f".{glob.escape(self.unit)}.*")
        for path in (self.checkpoint, self.attempts, *torn):
            path.unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete the result too, unless another process is training the unit."""
        with self.lock() as mine:
            if mine:
                self.result.unlink(missing_ok=True)
                self.clear()
