"""The experiments of Problem 3: what is trained, unit by unit, resumable, each result a small file with its provenance.

A unit is one training run: a candidate learning rate, or one seed of an arm. `plan` lists them and touches no disk,
`places` knows their files, `units` trains them here and `cluster` on many machines, `results` stores and reads what
came out and `provenance` where it is from, `status` says how far they are, `compare` what they say.
"""

from lib.experiments.compare import common_stage_means, holm, paired_differences, stage_differences, stage_means
from lib.experiments.plan import (
    ARMS,
    CANDIDATES,
    EXPERIMENTS,
    PROFILES,
    Profile,
    Unit,
    plan,
    stages,
    unit_schedule,
    whole_batches,
)
from lib.experiments.results import MissingResults, load_results, read_result, stored_bounds
from lib.experiments.status import status
from lib.experiments.units import run, run_unit, train_unit

__all__ = [
    "ARMS",
    "CANDIDATES",
    "EXPERIMENTS",
    "PROFILES",
    "MissingResults",
    "Profile",
    "Unit",
    "common_stage_means",
    "holm",
    "load_results",
    "paired_differences",
    "plan",
    "read_result",
    "run",
    "run_unit",
    "stage_differences",
    "stage_means",
    "stages",
    "status",
    "stored_bounds",
    "train_unit",
    "unit_schedule",
    "whole_batches",
]
