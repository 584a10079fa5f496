"""A parameter server that really runs: its laws, the assignment's table, and learners that die, fail or never end."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.datasets import load_fashion_mnist, load_openml
from lib.inception import SmallInception
from lib.learners import ImageClassifier, LogisticRegression
from lib.parameter_server import Run, laws, replay, run_parameter_server
from lib.staleness import update_log
from tests.parameter_server_tasks import Fails, Hangs, KillsItself, Misshapen, Quadratic

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ["time", "learner", "gradient", "read_version", "version", "staleness"]


def diabetes(batch_size: int = 32) -> LogisticRegression:
    features, target = load_openml("diabetes")
    return LogisticRegression(features.astype(float), target == "tested_positive", batch_size=batch_size)


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """No process of ours, and no new name in the system's shared memory."""
    shared = Path("/dev/shm")
    before = set(os.listdir(shared)) if shared.exists() else set()
    running = multiprocessing.active_children()  # the processes that joblib keeps ready for the next of its tests
    yield
    assert set(multiprocessing.active_children()) <= set(running)
    ours = [name for name in (set(os.listdir(shared)) if shared.exists() else set()) - before if "pym" in name]
    assert not ours, "shared memory was left"


def assert_laws(run: Run, task, learning_rate: float) -> None:
    assert list(run.log.columns) == COLUMNS
    for law, holds in laws(run, task, learning_rate=learning_rate).items():
        assert holds, law


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_the_laws_hold_of_a_real_model_whatever_the_scheduling(start_method):
    task = diabetes()
    run = run_parameter_server(task, 4, 300, learning_rate=0.1, start_method=start_method)
    assert_laws(run, task, 0.1)
    assert len(run.log) == len(run.compute_times) == 300 and not run.lost
    last = run.log.groupby("learner")["version"].max().reindex(range(1, 5), fill_value=0)
    assert run.log["staleness"].mean() == pytest.approx(3 - (300 - last).sum() / 300, abs=1e-12)  # the theorem
    assert task.loss(run.weights) < task.loss(task.initial_weights)


def test_each_law_is_broken_by_what_it_forbids():
    task = Quadratic()
    run = run_parameter_server(task, 2, 40, learning_rate=0.1, start_method="fork")
    assert all(laws(run, task, learning_rate=0.1).values())
    swapped = run.log.assign(time=run.log["time"].to_numpy()[::-1])
    more = run.log.assign(staleness=run.log["staleness"] + 1)
    for broken, number in (
        (run._replace(log=more), 0),
        (run._replace(log=more), 1),
        (run._replace(weights=np.nextafter(run.weights, 9)), 2),
    ):
        assert not list(laws(broken, task, learning_rate=0.1).values())[number]
    with pytest.raises(ValueError, match="must increase"):
        laws(run._replace(log=swapped), task, learning_rate=0.1)


def test_the_assignments_table_comes_out_of_two_processes_that_wait():
    """A unit is 0.2 s, so that a machine under load is still in time."""
    task = diabetes()
    run = run_parameter_server(task, 2, 6, learning_rate=0.1, compute_times=[[0.2] * 4, [0.5] * 2])
    by_learner = run.log.groupby("learner")["staleness"].agg(list)
    assert by_learner.tolist() == [[0, 0, 1, 0], [2, 2]]
    np.testing.assert_allclose(run.log["time"], [0.2, 0.4, 0.5, 0.6, 0.8, 1.0], atol=0.09)
    assert_laws(run, task, 0.1)


def test_small_inception_learns_from_real_images():
    train = load_fashion_mnist().train
    task = ImageClassifier(SmallInception, train.data[:256, None], train.targets[:256], batch_size=4)
    run = run_parameter_server(task, 2, 6, learning_rate=0.05, timeout=120, start_method="fork")
    assert run.weights.shape == (1_649_386,)
    assert_laws(run, task, 0.05)


def test_k_sync_waits_and_nothing_is_stale():
    task = diabetes()
    times = np.random.default_rng(0).exponential(0.004, size=(4, 200))
    run = run_parameter_server(
        task, 4, 30, learning_rate=0.1, scheme="k-sync", k=3, compute_times=times, start_method="fork"
    )
    assert (run.log["staleness"] == 0).all() and len(run.log) == 90
    assert (run.log.groupby("version")["learner"].nunique() == 3).all()
    np.testing.assert_array_equal(replay(run.log, task, learning_rate=0.1, keep=[30])[0], run.weights)


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_a_learner_killed_in_the_middle_is_left_out_and_the_others_go_on(start_method):
    task = KillsItself()
    times = [[0.005] * 1000] * 3
    run = run_parameter_server(task, 3, 400, learning_rate=0.01, compute_times=times, start_method=start_method)
    assert list(run.lost) == [2]
    of_lost = run.log[run.log["learner"] == 2]
    assert of_lost["gradient"].tolist() == [1, 2, 3, 4] and run.lost[2] > of_lost["time"].max()
    assert len(run.log) == 400 and {1, 3} <= set(run.log["learner"][of_lost.index[-1] + 1 :])
    task.__class__ = Quadratic  # the same gradients
    assert_laws(run, task, 0.01)


@pytest.mark.parametrize("at", [1, 100])
def test_a_learner_killed_from_outside_by_its_pid(at):
    def kill_the_second(version):
        if version == at:
            os.kill(next(p.pid for p in multiprocessing.active_children() if p.name == "learner 2"), signal.SIGKILL)

    run = run_parameter_server(
        Quadratic(), 3, 300, learning_rate=0.01, start_method="fork", on_update=kill_the_second,
        compute_times=[[0.002] * 500] * 3,
    )  # fmt: skip
    assert list(run.lost) == [2] and len(run.log) == 300
    assert run.log["learner"].iloc[at + 20 :].isin([1, 3]).all()
    assert_laws(run, Quadratic(), 0.01)


def test_k_sync_says_when_too_few_learners_are_left():
    with pytest.raises(RuntimeError, match=r"after 4 of 50 updates these learners were lost: 2; an update needs 2"):
        run_parameter_server(
            KillsItself(), 2, 50, learning_rate=0.1, scheme="k-sync", k=2, start_method="fork", timeout=20
        )


@pytest.mark.parametrize(
    ("task", "message", "start_method"),
    [
        (Fails(), "learner 1 failed at its gradient 3: ZeroDivisionError: no batch is left$", "fork"),
        (Fails(), "learner 1 failed at its gradient 3: ZeroDivisionError: no batch is left$", "spawn"),
        (Misshapen(), r"learner . failed at its gradient 1: ValueError: the gradient has the shape \(\)", "fork"),
    ],
)
def test_a_learners_exception_reaches_the_caller_in_one_sentence(task, message, start_method):
    with pytest.raises(RuntimeError, match=message):
        # none goes on without the other, however busy the machine is
        run_parameter_server(task, 2, 50, learning_rate=0.1, scheme="k-sync", k=2, start_method=start_method)


def test_a_learner_that_never_ends_is_given_up():
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="only 0 of 5 updates were made in time"):
        run_parameter_server(Hangs(), 2, 5, learning_rate=0.1, start_method="fork", timeout=4)
    assert time.monotonic() - began < 20


def test_a_run_ends_when_all_compute_times_are_used_up():
    run = run_parameter_server(
        Quadratic(), 2, 99, learning_rate=0.1, compute_times=[[0.01] * 3, [0.01]], start_method="fork"
    )
    assert run.log["learner"].value_counts().to_dict() == {1: 3, 2: 1} and not run.lost


ENDLESS = """
from lib.parameter_server import run_parameter_server
from tests.parameter_server_tasks import {task}
if __name__ == "__main__":
    say = lambda version: version == 1 and print("running", flush=True)
    options = dict(start_method="{start_method}", timeout=600, on_update=say)
    run_parameter_server({task}(), 3, 10**9, learning_rate=1e-9, **options)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted in /proc")
@pytest.mark.parametrize(
    ("how", "task", "start_method"),
    [
        (signal.SIGINT, "Hangs", "spawn"),
        (signal.SIGINT, "Quadratic", "fork"),
        (signal.SIGKILL, "Quadratic", "spawn"),
        (signal.SIGKILL, "Quadratic", "fork"),
    ],
)
def test_ctrl_c_or_the_death_of_the_server_leaves_no_process(tmp_path, start_method, how, task):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS.format(start_method=start_method, task=task))
    server = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        if task == "Quadratic":
            assert server.stdout.readline() == "running\n"
        else:  # nothing is ever updated: wait until the processes are there
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
            deadline = time.monotonic() + 60
            while len(children.read_text().split()) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
        if how == signal.SIGINT:
            os.killpg(server.pid, how)  # as a terminal does: all processes of the group
            assert "KeyboardInterrupt" in server.communicate(timeout=60)[1].strip().splitlines()[-1]
        else:
            server.kill()
            server.wait(60)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and _processes_of_session(server.pid):
            time.sleep(0.05)
        assert not _processes_of_session(server.pid)
    finally:
        if _processes_of_session(server.pid):
            os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


def _processes_of_session(session: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[3]) == session and after_name[0] != "Z":
            found.append(int(path.parent.name))
    return found


BAD = {
    "no learner": (dict(n_learners=0), "n_learners must be a whole number of at least 1"),
    "no update": (dict(n_updates=0.5), "n_updates must be a whole number"),
    "a rate that is not finite": (dict(learning_rate=np.nan), "learning_rate must be a finite number"),
    "another scheme": (dict(scheme="k-async"), "scheme must be one of async, k-sync"),
    "k with async": (dict(k=2), "k must be a whole number from 1 to 1"),
    "k above the learners": (dict(scheme="k-sync", k=3), "k must be a whole number from 1 to 2"),
    "a start method": (dict(start_method="threads"), "start_method must be one of"),
    "times of one learner": (dict(compute_times=[[1]]), "compute_times must hold a sequence.* for each of 2 learners"),
    "no times of a learner": (dict(compute_times=[[1], []]), "compute_times must hold a sequence of seconds"),
    "a negative time": (dict(compute_times=[[1], [-1]]), "compute_times must be a finite number of at least 0, got -1"),
    "no time": (dict(timeout=0), "timeout must be a finite number above 0"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_refused_before_a_process_starts(arguments, message):
    usual = dict(n_learners=2, n_updates=5, learning_rate=0.1)
    with pytest.raises(ValueError, match=message):
        run_parameter_server(Quadratic(), **usual | arguments)


def test_the_recorded_runs_that_the_page_shows_obey_the_laws():
    runs = json.loads((ROOT / "book" / "staleness" / "recorded_runs.json").read_text("utf8"))
    assert {"date", "git_commit", "cpus", "command"} <= set(runs.pop("provenance"))
    for name, run in runs.items():
        log = pd.DataFrame({key: run[key] for key in ("seconds", "learner", "read_version", "version")})
        if run.get("scheme") == "k-sync":
            assert (log["read_version"] == log["version"] - 1).all(), name
            continue
        finish_times = [own.tolist() for _, own in log.groupby("learner")["seconds"]]
        expected = update_log(finish_times)
        assert len(finish_times) == run["learners"], name
        assert expected["read_version"].tolist() == log["read_version"].tolist(), name
        assert expected["learner"].tolist() == log["learner"].tolist(), name


def test_one_learner_is_plain_sgd():
    run = run_parameter_server(Quadratic(), 1, 20, learning_rate=0.25, start_method="fork")
    np.testing.assert_array_equal(run.weights, Quadratic.initial_weights * 0.75**20)
    assert (run.log["staleness"] == 0).all()


def test_gradients_of_the_models_are_those_of_their_losses():
    task = diabetes(batch_size=768 * 4)
    weights = np.random.default_rng(0).normal(size=9)
    assert np.linalg.norm(task.full_gradient(task.best_weights)) < 1e-6
    step = 1e-6 * np.eye(9)
    numeric = (task.loss(weights + step) - task.loss(weights - step)) / 2e-6
    np.testing.assert_allclose(task.full_gradient(weights), numeric, atol=1e-8)
    everything = np.arange(768)[None]
    np.testing.assert_allclose(task.batch_gradient(weights[None], everything)[0], numeric, atol=1e-8)
    curved = (task.full_gradient(weights + step[0]) - task.full_gradient(weights - step[0])) / 2e-6
    np.testing.assert_allclose(task.hessian(weights)[0], curved, atol=1e-8)
