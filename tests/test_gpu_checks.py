"""The checks for machines with a GPU run to their end on a CPU, at tiny size."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib.experiments import read_result
from tools.gpu_checks import main

ROOT = Path(__file__).resolve().parents[1]


def test_the_same_code_runs_on_a_cpu_at_tiny_size(tmp_path: Path) -> None:
    command = ["bash", ROOT / "tools" / "gpu_checks.sh", "--tiny", "--results", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable})
    assert done.returncode == 0, done.stderr
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
