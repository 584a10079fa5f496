"""The checks for machines with a GPU run to their end on a CPU, at tiny size."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch

from lib.experiments import read_result
from tools.gpu_checks import main
from tools.lock import installed

ROOT = Path(__file__).resolve().parents[1]
THERE = ["torch", "torchvision", "pandas", "scikit-learn", "tqdm"]  # and what these need; named in gpu_checks.sh
# Python imports a module of this name when it starts, in every process
SITECUSTOMIZE = """
import sys
from importlib.machinery import PathFinder

class There(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {missing!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = There
"""


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python as on a machine with a GPU that came with its own PyTorch, and with nothing of the book's."""
    there = set(installed(THERE)) | {"pip", "setuptools"}
    missing = {
        module
        for module, packages in packages_distributions().items()
        if not {package.lower().replace("_", "-") for package in packages} & there
    } - {"lib"}  # of the folder
    assert {"matplotlib", "plotly", "openml", "jsonschema", "distributed", "IPython", "jupytext"} <= missing
    assert {"torch", "numpy", "scipy", "joblib", "filelock"} & missing == set()
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE.format(missing=missing))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{tmp_path}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python


def test_the_same_code_runs_at_tiny_size_on_a_machine_with_pytorch_and_little_else(
    tmp_path: Path, bare_python: Path
) -> None:
    command = ["bash", ROOT / "tools" / "gpu_checks.sh", "--tiny", "--minutes", "60", "--results", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHON": str(bare_python)})
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("without jsonschema a result is checked against itself only") == 1
    assert "a training that is killed resumes to the same bits: True" in done.stdout
    for measured in ("images a second: ", "the convolutions alone: ", "a batch of 4 in parts of 2: peak "):
        assert measured in done.stdout
    results = [read_result(path) for path in tmp_path.glob("*.json")]
    assert sorted(result["experiment"] for result in results) == ["batch-growth", "clr", "lr-decay"]
    for result in results:
        assert result["provenance"]["device"] == "cuda" if torch.cuda.is_available() else "cpu"
        assert re.match(r"\d+\.\d+", result["provenance"]["versions"]["torch"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_measures_nothing(capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 1
    assert "there is no GPU here; --tiny runs the same code on the CPU" in capsys.readouterr().err
