"""Record what other running statistics do to the growing batch: book/learning_rate/running_statistics.json.

    python -m tools.record_running_statistics

Trains the growing batch of the quick size, first seed, once more, and evaluates the network at the end of each stage
twice: with the running statistics that it was trained with, and with averages over all training images in their place.
The page that shows this reads it, and trains the first stage anew to compare. Takes about five minutes on two cores.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lib.datasets import load_fashion_mnist
from lib.devices import seeded
from lib.experiments import PROFILES, Unit, plan, stages, stored_bounds
from lib.experiments.provenance import before_training
from lib.files import write_atomically
from lib.inception import SmallInception
from lib.learning_rates import mean_by_samples
from lib.prediction import PIXEL_MEAN, PIXEL_STD, Images, predict
from lib.training import Settings, Training

ROOT = Path(__file__).resolve().parent.parent
TO = ROOT / "book" / "learning_rate" / "running_statistics.json"


def with_fitted_statistics(network: nn.Module, images: Images) -> nn.Module:
    """A copy with the same weights, whose running statistics are averages over these images."""
    fitted = copy.deepcopy(network)
    update_bn(((images.data.unsqueeze(1) / 255 - PIXEL_MEAN) / PIXEL_STD).split(250), fitted)
    return fitted


def image_losses(network: nn.Module, images: Images) -> Tensor:
    """Cross-entropy of every image, nats."""
    return F.cross_entropy(predict(network, images), images.targets, reduction="none").double()


def train_and_evaluate(network: nn.Module, train: Images, test: Images, settings: Settings) -> dict:
    """The first training loss, and a row for each stage: its mean training loss, test losses with both statistics.

    `gain` is what fitted statistics lower the test loss by, `gain_error` its standard error over the test images.
    """
    ends = np.cumsum([samples for _, samples in stages(sum(settings.batch_sizes), max(settings.batch_sizes))])
    training, rows = Training(network, train, test, settings), []
    with seeded(settings.seed, training.device):
        for batch_size in training.batches_left():
            training.step(batch_size)
            if training.samples_seen in ends:
                stale = image_losses(network, test)
                fitted = image_losses(with_fitted_statistics(network, train), test)
                gain = stale - fitted
                found = {"stale": stale.mean(), "fitted": fitted.mean(), "gain": gain.mean()}
                found["gain_error"] = gain.std() / len(gain) ** 0.5
                rounded = {name: round(value.item(), 5) for name, value in found.items()}
                rows.append({"batch_size": batch_size, "samples_seen": training.samples_seen} | rounded)
    history = training.outcome().history
    for row, loss in zip(rows, mean_by_samples(history, ends), strict=True):
        row["train_loss"] = round(loss, 5)
    return {"first_train_loss": round(history["train_loss"].iloc[0], 5), "stages": rows}


def record(unit: Unit) -> dict:
    """What is stored: the unit, how it was computed, and what came out."""
    data = load_fashion_mnist(PROFILES[unit.profile].subset)
    with seeded(unit.settings.seed):
        network = SmallInception()
    made = before_training()
    return {"unit": unit.id, "provenance": made} | train_and_evaluate(network, data.train, data.test, unit.settings)


def main() -> int:
    (unit,) = plan("batch-growth", "quick", stored_bounds("quick", ROOT / "book" / "results"), [0])
    write_atomically(TO, (json.dumps(record(unit), indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
