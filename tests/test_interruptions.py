"""Runs of experiments that are interrupted, or whose workers are killed: one sentence, nothing lost, exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest

from lib import training
from lib.experiments import plan, read_result, status, units
from lib.experiments.__main__ import main
from tests.test_experiments import arguments_for, make_tiny, tiny  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
RUN_UNIT, SAVE = units.run_unit, training.save_checkpoint

# ------------------------------------------------------------------ killed workers


def in_a_worker(unit: object, directory: Path, checkpoints: Path, **options: object) -> dict | None:
    """A tiny unit; the second of the sweep is killed at its second checkpoint, as often as a file says."""
    make_tiny()
    deaths = Path(checkpoints) / "deaths"

    def save(path: Path, state: dict) -> None:
        SAVE(path, state)
        left = int(deaths.read_text())
        if left and unit.id == plan("lr-range")[1].id and len(state["history"]) >= 20:
            deaths.write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)

    training.save_checkpoint = save
    try:
        return RUN_UNIT(unit, directory, checkpoints, **options)
    finally:
        training.save_checkpoint = SAVE


def run_with_deaths(places: dict, deaths: int) -> int:
    places["checkpoints"].mkdir(exist_ok=True)
    (places["checkpoints"] / "deaths").write_text(str(deaths))
    return main(["run", "lr-range", "--jobs", "2", *arguments_for(places)])


def test_killed_worker_is_replaced_and_its_unit_goes_on(
    tiny: dict,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(units, "run_unit", in_a_worker)
    assert run_with_deaths(tiny, 1) == 0
    assert caplog.text.count("a worker was killed, most likely for memory") == 1
    assert len(list(tiny["directory"].iterdir())) == 10
    killed = plan("lr-range")[1]
    result = read_result(tiny["directory"] / f"{killed.id}.json")
    assert len(result["provenance"]["resumed_after"]) == 1
    assert result["provenance"]["threads"] == 1  # those of this process, shared by the jobs
    whole = RUN_UNIT(killed, tmp_path, tmp_path)
    pd.testing.assert_frame_equal(result["history"], whole["history"], check_exact=True)


def test_workers_that_are_killed_again_and_again_end_in_one_sentence(
    tiny: dict,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(units, "run_unit", in_a_worker)
    monkeypatch.setattr(units, "NEW_POOLS", 1)  # a pool takes seconds to start
    assert run_with_deaths(tiny, 99) == 1
    shown = capsys.readouterr().err
    assert "killed again and again" in shown and "it resumes" in shown and "Traceback" not in shown
    assert run_with_deaths(tiny, 0) == 0  # the same command resumes
    assert len(list(tiny["directory"].iterdir())) == 10


# ------------------------------------------------------------------ Ctrl-C

COMMAND = """
    import sys, torch
    from lib.experiments.__main__ import main
    from tests.test_experiments import make_tiny
    torch.set_num_threads(1)
    make_tiny(range_samples=64 * 3000)
    sys.exit(main(sys.argv[1:]))
"""


def start(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(COMMAND), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_interrupted_command_says_so_in_one_line_and_the_same_command_resumes(
    tiny: dict,  # noqa: F811
) -> None:
    arguments = ["run", "lr-range", *arguments_for(tiny)]
    child = start(*arguments)
    while not list(tiny["checkpoints"].glob("*.pt")) and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    shown, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert errors.count("\n") == 1
    assert "is interrupted at" in errors and errors.endswith("of 192,000 samples; the same command resumes\n")
    assert "0 of 192,000 images" in shown  # progress without a terminal too

    again = start(*arguments)
    first = again.stdout.readline()
    assert ": resuming at " in first and first.endswith(" of 192,000 samples\n")
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=60)


def with_a_tiny_network(unit: object, directory: Path, checkpoints: Path, **options: object) -> dict | None:
    """What a worker process does: it has to make the network tiny itself."""
    make_tiny(range_samples=64 * 3000)
    return RUN_UNIT(unit, directory, checkpoints, **options)


TWO_JOBS = """
    from lib.experiments import units
    from tests.test_interruptions import with_a_tiny_network
    units.run_unit = with_a_tiny_network
"""


def processes_of(session: int) -> list[int]:
    """Those that still run, of all that a command has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, own = path.read_text().rpartition(")")[2].split()[:4]
            found += [int(path.parent.name)] * (int(own) == session and state != "Z")
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted in /proc")
def test_interrupted_jobs_say_so_in_one_line_and_lose_nothing(tiny: dict) -> None:  # noqa: F811
    command = [sys.executable, "-c", textwrap.dedent(TWO_JOBS) + textwrap.dedent(COMMAND)]
    command += ["run", "lr-range", "--jobs", "2", *arguments_for(tiny)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    child = subprocess.Popen(command, cwd=ROOT, **pipes)
    while len(saved := list(tiny["checkpoints"].glob("*.pt"))) < 2 and child.poll() is None:
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to all processes of the group
    shown, errors = child.communicate(timeout=60)
    assert (child.returncode, errors) == (130, "interrupted; the same command resumes\n")
    assert "Traceback" not in shown
    deadline = time.monotonic() + 60
    while processes_of(child.pid) and time.monotonic() < deadline:  # joblib's own helper ends a little later
        time.sleep(0.05)
    assert processes_of(child.pid) == []
    make_tiny(range_samples=64 * 3000)
    table = status("quick", **tiny).set_index("unit")
    assert table.loc[[path.stem for path in saved], "state"].tolist() == ["interrupted"] * 2
    assert table["seen"].between(0, 1, inclusive="left").all() and (table["seen"] > 0).sum() == 2
