"""What only a machine with a GPU can tell of the training loop. `bash tools/gpu_checks.sh` runs it.

In this order: a killed training resumes to the same bits; how often the host waits for the card; images a second
against the published way on the same card and its own convolutions; peak memory of a batch in parts and whole; one seed
of each arm at full size, its results stored with their provenance. The same code runs on a CPU with --tiny.
"""

from __future__ import annotations

import argparse
import resource
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from lib.datasets import TrainTest, load_fashion_mnist
from lib.devices import choose_precision, default_device, seeded
from lib.experiments import PROFILES, plan, run_unit, stored_bounds, units
from lib.experiments.plan import ARMS
from lib.experiments.provenance import device_name
from lib.inception import SmallInception
from lib.training import Settings, Training, TrainingRun, train

ROOT = Path(__file__).resolve().parents[1]
BOUNDS_FROM = ROOT / "book" / "results"  # the bounds are an input: those of the sweeps that are stored


def main(arguments: list[str] | None = None) -> int:
    """Run all checks and say what came out; 1 if a resumed training has other bits."""
    parser = argparse.ArgumentParser(prog="bash tools/gpu_checks.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="the same code in a minute, on a CPU too; measures nothing")
    parser.add_argument("--results", type=Path, default=Path("gpu-results"), help="directory (default: gpu-results)")
    parser.add_argument("--minutes", type=float, default=8, help="begin no arm after so many (default: 8)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        train_and_store(options.child, options.tiny)
        return 0
    device = default_device()
    if device.type != "cuda" and not options.tiny:
        print("there is no GPU here; --tiny runs the same code on the CPU", file=sys.stderr)
        return 1
    if options.tiny:
        units.load_fashion_mnist = few_images
    begin = time.monotonic()
    print(f"{device_name()}, torch {torch.__version__}: {choose_precision(device)}", flush=True)
    options.results.mkdir(parents=True, exist_ok=True)
    same = resumes_to_the_same_bits(options.results / "kill", options.tiny)
    print(f"a training that is killed resumes to the same bits: {same}", flush=True)
    print(f"times that the host waits for the card in 100 steps: {waits(options.tiny)}", flush=True)
    speed(options.tiny)
    memory(options.tiny)
    for unit in arms(options.tiny):
        if time.monotonic() - begin > 60 * options.minutes:
            print(f"{unit.id}: no time left; the same command goes on with it", flush=True)
            continue
        run_unit(unit, options.results, options.results / "checkpoints", verbose=True, progress="lines")
    return 0 if same else 1


def few_images(subset: str) -> TrainTest:
    """Stands in for a whole data set, so that an evaluation takes no minute on a CPU."""
    for part in (data := load_fashion_mnist("quick")):
        part.data, part.targets = part.data[:20], part.targets[:20]
    return data


def some_training(tiny: bool, checkpoint: Path | None = None) -> tuple[SmallInception, TrainingRun]:
    """Everything that has a state: batch normalisation, momentum, a schedule, evaluations, batches in parts."""
    data = load_fashion_mnist("quick")
    with seeded(0):
        model = SmallInception()
    schedule = {"name": "StepLR", "step_size": 3, "gamma": 0.9}
    sizes = [8, 12] * 3 if tiny else [64, 300] * 60
    settings = Settings(batch_sizes=sizes, learning_rate=0.1, momentum=0.5, schedule=schedule, evaluate_every=3000)
    test = None if tiny else data.test
    return model, train(model, data.train, test, settings, checkpoint=checkpoint, checkpoint_every=2, progress=False)


def train_and_store(folder: Path, tiny: bool) -> None:
    """What the child process does."""
    model, run = some_training(tiny, folder / "run.pt")
    outcome = {"history": torch.tensor(run.history.to_numpy("float64")), "model": model.state_dict()}
    torch.save(outcome, folder / "outcome.pt")


def resumes_to_the_same_bits(folder: Path, tiny: bool) -> bool:
    """Whether a training that is killed after its first checkpoint, as by `kill -9`, ends as one that is not."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, outcome = folder / "run.pt", folder / "outcome.pt"
    for path in (checkpoint, outcome):
        path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tools.gpu_checks", "--child", str(folder), *["--tiny"] * tiny]
    child = subprocess.Popen(command, cwd=ROOT)
    while not checkpoint.exists() and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    if child.wait() != -signal.SIGKILL:
        raise RuntimeError("the training ended before it could be killed")
    subprocess.run(command, cwd=ROOT, check=True)
    resumed = torch.load(outcome, map_location="cpu", weights_only=True)
    model, run = some_training(tiny)
    history = torch.tensor(run.history.to_numpy("float64"))
    same = torch.equal(history.view(torch.int64), resumed["history"].view(torch.int64))  # bits, of NaN too
    weights = model.state_dict()
    return same and all(torch.equal(weights[name].cpu(), value.cpu()) for name, value in resumed["model"].items())


def waits(tiny: bool) -> int | str:
    """How often 100 steps make the host wait for the card, as CUDA itself tells."""
    device = default_device()
    with seeded(0, device), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = Settings(batch_sizes=[4 if tiny else 64] * (2 if tiny else 101), learning_rate=0.01)
        training = Training(SmallInception(), load_fashion_mnist("quick").train, None, settings, device)
        for number, batch_size in enumerate(training.batches_left()):
            if number == 1 and device.type == "cuda":  # the first step sets up the libraries
                torch.cuda.set_sync_debug_mode("warn")
            training.step(batch_size)
        if device.type != "cuda":
            return "no card to ask"
        torch.cuda.set_sync_debug_mode("default")
        return len([warning for warning in caught if "synchroniz" in str(warning.message)])


def speed(tiny: bool) -> None:
    """Images a second of the loop, as it is and compiled, of the published way, and of the convolutions alone."""
    from tests.benchmarks import bench_training as bench
    from tests.benchmarks.timing import alternate

    bench.STEPS, bench.BATCH_SIZE, repeats = (1, 2, 1) if tiny else (40, 64, 5)  # what fits in the shipped images
    images = bench.STEPS * bench.BATCH_SIZE
    published, ours = alternate(bench.train_as_published, bench.train_with_lib, repeats=repeats)
    ceiling = bench.convolutions_of_a_step(choose_precision(default_device()))
    convolutions, again = alternate(ceiling, bench.train_with_lib, repeats=repeats)
    print(
        f"images a second: {images / ours:.0f}, published way {images / published:.0f} ({published / ours:.2f} times)"
    )
    print(f"the convolutions alone: {images / convolutions:.0f} ({again / convolutions:.2f} times as fast)", flush=True)
    if not tiny:
        steps = Settings(batch_sizes=[64] * 300, learning_rate=0.05)
        for how in ("as it is", "compiled"):
            model = SmallInception()
            if how == "compiled":
                model.compile()  # in place: names of weights, and so checkpoints, stay
            train(model, load_fashion_mnist("quick").train, None, replace(steps, batch_sizes=[64] * 5))
            run = train(model, load_fashion_mnist("quick").train, None, steps)
            print(f"300 steps of 64, {how}: {run.images_per_second:.0f} images a second", flush=True)


def memory(tiny: bool) -> None:
    """Peak memory of a large batch, in parts and whole."""
    size = 4 if tiny else 8192
    for part in (2 if tiny else 256, size):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        settings = Settings(batch_sizes=[size], learning_rate=0.01, micro_batch_size=part)
        try:
            train(SmallInception(), load_fashion_mnist("quick").train, None, settings)
        except torch.cuda.OutOfMemoryError:
            print(f"a batch of {size} in parts of {part}: more memory than the card has", flush=True)
            continue
        cuda = torch.cuda.is_available()
        peak = torch.cuda.max_memory_allocated() if cuda else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        where = "on the card" if cuda else "of the whole process so far"
        print(f"a batch of {size} in parts of {part}: peak {peak / 2**30:.2f} GiB {where}", flush=True)


def arms(tiny: bool) -> list:
    """One seed of each arm, in the precision of this device; a few steps of the quick size if tiny."""
    profile, precision = "quick" if tiny else "full", choose_precision(default_device()).dtype
    try:
        units.load_fashion_mnist(PROFILES[profile].subset)
    except OSError as error:
        print(f"{error}\nso the arms run at the quick size", flush=True)
        profile = "quick"
    bounds = stored_bounds(profile, BOUNDS_FROM)
    chosen = [plan(arm, profile, bounds, [0], precision=precision)[0] for arm in ARMS]
    if not tiny:
        return chosen
    return [replace(unit, settings=replace(unit.settings, batch_sizes=[2, 3], evaluate_every=10**6)) for unit in chosen]


if __name__ == "__main__":
    sys.exit(main())
