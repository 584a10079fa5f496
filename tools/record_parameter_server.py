"""Record runs of the parameter server for the page that shows them: book/staleness/recorded_runs.json.

    python tools/record_parameter_server.py

No two runs are alike, so what is measured is recorded once, with its provenance, and read by the page; no test compares
it with another run. Takes about a minute and a half.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from lib.files import write_atomically
from lib.learners import ImageClassifier, LogisticRegression
from lib.parameter_server import Run, laws, replay, run_parameter_server

ROOT = Path(__file__).resolve().parent.parent
TO = ROOT / "book" / "staleness" / "recorded_runs.json"
P, RATE, MEAN = 8, 0.1, 0.02  # learners, learning rate, mean seconds that a learner takes for a gradient


def described(run: Run, **settings: object) -> dict:
    """A run as JSON: the log without the columns that follow from others."""
    log = run.log
    return settings | {
        "seconds": log["time"].round(6).tolist(),
        "learner": log["learner"].tolist(),
        "read_version": log["read_version"].tolist(),
        "version": log["version"].tolist(),
        "compute_seconds": run.compute_times.round(6).tolist(),
        "lost": {str(learner): round(seconds, 6) for learner, seconds in run.lost.items()},
    }


def provenance() -> dict:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "git_commit": git("rev-parse", "HEAD"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "command": "python tools/record_parameter_server.py",
    }


def main() -> int:
    # not above: a learner that is spawned imports this file, and PyTorch with it
    from lib.datasets import load_fashion_mnist, load_openml
    from lib.inception import SmallInception

    features, target = load_openml("diabetes")
    task = LogisticRegression(features.astype(float), target == "tested_positive", batch_size=32)
    runs = {"provenance": provenance()}

    run = run_parameter_server(task, P, 2500, learning_rate=RATE, start_method="fork")
    assert all(laws(run, task, learning_rate=RATE).values())
    runs["as fast as it goes"] = described(run, learners=P, learning_rate=RATE)

    # exponential times that a learner sleeps: they need no processor, so eight learners run side by side on two
    times = np.random.default_rng(0).exponential(MEAN, size=(P, 3000))
    for name, scheme, k, n_updates in (("async", "async", 1, 2400), ("k-sync", "k-sync", P, 110)):
        settings = dict(learning_rate=RATE, scheme=scheme, k=k)
        run = run_parameter_server(task, P, n_updates, compute_times=times, start_method="fork", **settings)
        weights = replay(run.log, task, learning_rate=RATE)
        assert np.array_equal(weights[-1], run.weights)
        excess = task.excess_loss(weights).round(7).tolist()
        runs[name] = described(run, learners=P, mean_seconds=MEAN, excess_loss=excess, **settings)

    images = load_fashion_mnist().train
    network = ImageClassifier(SmallInception, images.data[:512, None], images.targets[:512], batch_size=16)
    run = run_parameter_server(network, 2, 60, learning_rate=0.02, timeout=300)
    assert all(laws(run, network, learning_rate=0.02).values())
    same = np.arange(256)
    versions = replay(run.log, network, learning_rate=0.02, keep=np.arange(0, 61, 10))
    losses = [round(float(network.loss(weights, same)), 4) for weights in versions]
    runs["SmallInception"] = described(run, learners=2, learning_rate=0.02, loss_every_ten_updates=losses)

    write_atomically(TO, (json.dumps(runs, indent=None, separators=(",", ":")) + "\n").encode())
    print(f"{TO.name}: {TO.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
