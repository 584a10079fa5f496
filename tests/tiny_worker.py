"""What a Dask worker of tests/test_cluster.py loads first: tiny units, and no shared files if a test wants so."""

from __future__ import annotations

import os

import torch

from lib.experiments import cluster
from tests.test_experiments import make_tiny


def dask_setup(worker: object) -> None:
    torch.set_num_threads(1)
    make_tiny(range_samples=int(os.environ["TINY_SAMPLES"]))
    if os.environ.get("TINY_UNSHARED"):  # a machine of its own: it has the data, and sees no file of the driver
        cluster._look = lambda profile, marks: False
