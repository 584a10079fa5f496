"""Where a result is from: code, versions, machine, precision, time."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from lib.devices import default_device
from lib.training import TrainingRun


def before_training() -> dict:
    """What is known of a run before it starts."""
    return {
        **git_state(Path(__file__)),
        "versions": {"python": platform.python_version(), "torch": torch.__version__}
        | {name: _version(name) for name in ("torchvision", "numpy")},
        "system": f"{platform.system()} {platform.machine()}",
        "device_name": device_name(),
        "threads": torch.get_num_threads(),
        "started": _now(),
    }


def after_training(run: TrainingRun, attempts: list[dict]) -> dict:
    """What is known of a finished run; `attempts`: what was known before each of them, the last one's last."""
    return {
        **attempts[-1],
        "device": run.device,
        "precision": run.precision.dtype,
        "channels_last": run.precision.channels_last,
        "precision_reason": run.precision.reason,
        "finished": _now(),
        "wall_seconds": round(run.seconds, 1),
        "images_per_second": round(run.images_per_second, 1),
        "resumed_after": attempts[:-1],
    }


@functools.cache  # the code that runs is the code that was loaded: ask git once
def git_state(file: Path) -> dict:
    """Commit of a file of the code and whether anything was changed since, results aside.

    None where git cannot tell, and where the file is none of the repository's: a library that is installed somewhere
    below a repository of somebody else has no commit of its own.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        changed = git("status", "--porcelain", "--", ":/", ":(top,exclude)book/results")
        return {"git_commit": git("rev-parse", "HEAD"), "git_clean": not changed}
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_clean": None}


def device_name() -> str:
    """The GPU's name, or the processor's and its number of cores."""
    if default_device().type == "cuda":
        return torch.cuda.get_device_name()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return f"{capabilities.get('cpu_name') or platform.processor() or 'unknown processor'}, {os.cpu_count()} cores"


def _version(package: str) -> str | None:
    """Of a package that need not be imported for it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
