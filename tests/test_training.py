"""The training loop: what it computes, that it survives being killed, and the rule for the learning rate bounds."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, ExponentialLR, MultiStepLR
from torch_lr_finder import LRFinder

from lib import training
from lib.datasets import load_fashion_mnist
from lib.inception import ConvModule, DownsampleModule, InceptionModule
from lib.training import (
    HISTORY_COLUMNS,
    CheckpointError,
    candidate_losses,
    choose_precision,
    evaluate,
    learning_rate_ramp,
    load_checkpoint,
    mean_by_samples,
    noise_scale,
    predict,
    save_checkpoint,
    scheduled_learning_rates,
    seeded,
    select_bounds,
    suggest_learning_rates,
    train,
)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small gain nothing from a second thread, and lose much to it where other programs run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images(n: int, size: int = 6, seed: int = 0) -> SimpleNamespace:
    """Random images whose class shows in their brightness, so that something can be learned."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 4, (n,), generator=generator)
    noise = torch.randint(0, 100, (n, size, size), generator=generator)
    return SimpleNamespace(data=(noise + 50 * targets[:, None, None]).to(torch.uint8), targets=targets)


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4))


def convolutional(seed: int = 0) -> nn.Module:
    """Everything that has a state: convolution, batch norm with running statistics, and dropout's random numbers."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(64, 4)
    )


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))


short = partial(train, batch_sizes=[16] * 12, learning_rate=0.1, device="cpu", precision="float32")


# ------------------------------------------------------------------ what is computed


def test_training_learns() -> None:
    data = images(200)
    run = train(linear(), data, images(100, seed=1), batch_sizes=[20] * 200, learning_rate=0.3)
    assert run.history["train_loss"].iloc[-5:].mean() < 0.5 * run.history["train_loss"].iloc[0]
    assert run.history["test_accuracy"].iloc[-1] > 0.8


def test_one_step_is_the_step_of_gradient_descent_by_hand() -> None:
    data, model, reference = images(10), linear(), linear()
    run = short(model, data, batch_sizes=[10], learning_rate=0.3, weight_decay=0.01)
    x = ((data.data / 255 - training.PIXEL_MEAN) / training.PIXEL_STD).flatten(1)
    loss = F.cross_entropy(reference(x), data.targets)
    loss.backward()
    for moved, start in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(moved, start - 0.3 * (start.grad + 0.01 * start))
    assert run.history["train_loss"].iloc[0] == pytest.approx(loss.item(), rel=1e-5)


def test_history_has_a_row_an_iteration_and_the_documented_columns() -> None:
    sizes = [5, 10, 20, 25]
    run = short(linear(), images(40), images(20), batch_sizes=sizes)
    assert tuple(run.history.columns) == HISTORY_COLUMNS
    assert run.history["iteration"].tolist() == [1, 2, 3, 4]
    assert run.history["batch_size"].tolist() == sizes
    assert run.history["samples_seen"].tolist() == [5, 15, 35, 60]
    assert run.history["epoch"].tolist() == [5 / 40, 15 / 40, 35 / 40, 60 / 40]
    assert run.history["test_loss"].notna().tolist() == [False, False, False, True]


def test_test_data_are_evaluated_each_epoch_and_at_the_end() -> None:
    model, test = linear(), images(30, seed=1)
    run = short(model, images(40), test, batch_sizes=[16] * 12)  # 192 samples: epochs end within iterations 3, 5, 8, 10
    assert run.history.loc[run.history["test_loss"].notna(), "iteration"].tolist() == [3, 5, 8, 10, 12]
    last = evaluate(model, test, precision=run.precision, device="cpu")
    assert tuple(run.history[["test_loss", "test_accuracy"]].iloc[-1]) == last


def test_evaluation_is_in_evaluation_mode_whatever_the_batch_and_restores_the_mode() -> None:
    model, data = convolutional().train(), images(23)
    x = (((data.data / 255) - training.PIXEL_MEAN) / training.PIXEL_STD).unsqueeze(1)
    float32 = choose_precision("cpu", "float32")
    loss, accuracy = evaluate(model, data, batch_size=7, precision=float32, device="cpu")
    assert model.training
    with torch.no_grad():
        scores = model.eval()(x)
    assert loss == pytest.approx(F.cross_entropy(scores, data.targets).item(), rel=1e-5)
    assert accuracy == (scores.argmax(1) == data.targets).double().mean().item()


def test_every_image_comes_once_an_epoch_even_where_batches_span_epochs() -> None:
    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.seen = nn.Linear(1, 4), []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen += ((x[:, 0, 0, 0] * training.PIXEL_STD + training.PIXEL_MEAN) * 255).round().int().tolist()
            return self.layer(x.flatten(1))

    spy = Spy()
    data = SimpleNamespace(data=torch.arange(50, dtype=torch.uint8)[:, None, None], targets=torch.zeros(50).long())
    short(spy, data, batch_sizes=[7] * 5 + [120] + [45])
    epochs = [spy.seen[start : start + 50] for start in range(0, 200, 50)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_cyclical_learning_rate_follows_the_closed_form_of_the_paper() -> None:
    low, high, step, gamma = 0.01, 0.5, 7.5, 0.97
    cycle = partial(CyclicLR, base_lr=low, max_lr=high, step_size_up=step, mode="exp_range", gamma=gamma)
    run = short(linear(), images(40), batch_sizes=[8] * 40, scheduler=partial(cycle, cycle_momentum=False))
    k = np.arange(40)
    x = np.abs(k / step - 2 * np.floor(1 + k / (2 * step)) + 1)
    expected = low + (high - low) * np.maximum(0, 1 - x) * gamma**k
    np.testing.assert_allclose(run.history["learning_rate"], expected, rtol=1e-9)


def test_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    models = [convolutional() for _ in range(3)]
    runs = [short(model, images(40), seed=seed) for model, seed in zip(models, (1, 1, 2), strict=True)]
    pd.testing.assert_frame_equal(runs[0].history, runs[1].history, check_exact=True)
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_training_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.LazyLinear(4))
    model(torch.zeros(1, 1, 6, 6))
    torch.set_rng_state(before)
    short(model, images(40))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rate", [1e30, 3e38])
def test_non_finite_loss_is_recorded_as_divergence_and_ends_the_run(rate: float) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Linear(36, 4))
    run = short(model, images(40), images(20), learning_rate=rate, batch_sizes=[16] * 50)
    assert run.diverged
    assert not math.isfinite(run.history["train_loss"].iloc[-1])
    assert np.isfinite(run.history["train_loss"].iloc[:-1]).all()
    assert len(run.history) < 50


def test_progress_bar_shows_loss_accuracy_speed_and_time_left(capsys: pytest.CaptureFixture) -> None:
    short(linear(), images(40), progress=True, description="trial")
    shown = capsys.readouterr().err
    assert all(part in shown for part in ("trial", "loss=", "accuracy=", "images/s", "<"))


def test_progress_is_silent_when_not_a_terminal(capfd: pytest.CaptureFixture) -> None:
    short(linear(), images(40))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_sizes", []),
        ("batch_sizes", 64),
        ("batch_sizes", [8, 0]),
        ("batch_sizes", [8, 2.5]),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1.0),
        ("micro_batch_size", 0),
        ("micro_batch_size", 8.0),
        ("evaluate_every", math.inf),
        ("seed", 1.5),
        ("seed", -1),
        ("learning_rate", "0.1"),
        ("batch_sizes", 16.0),
        ("batch_sizes", "16"),
        ("batch_sizes", ["16"]),
        ("batch_sizes", [None]),
        ("batch_sizes", [8, math.inf]),
        ("batch_sizes", np.array(8)),
        ("batch_sizes", b"\x08\x08"),
        ("train_data", torch.utils.data.TensorDataset(torch.zeros(4))),
        ("train_data", SimpleNamespace(data=torch.zeros(4, 6, 6).byte(), targets=-torch.ones(4).long())),
        ("checkpoint_every", 0),
        ("evaluate_every", 0),
        ("precision", "float16"),
        ("train_data", SimpleNamespace(data=torch.zeros(4, 6, 6), targets=torch.zeros(4).long())),
        ("train_data", SimpleNamespace(data=torch.zeros(0, 6, 6).byte(), targets=torch.zeros(0).long())),
        ("test_data", SimpleNamespace(data=torch.zeros(4, 6, 6).byte(), targets=torch.zeros(5).long())),
    ],
)
def test_senseless_arguments_are_refused_by_name(name: str, value: object) -> None:
    arguments = {"model": linear(), "train_data": images(40), "batch_sizes": [8], "learning_rate": 0.1, name: value}
    with pytest.raises(ValueError, match=name):
        train(**arguments)


# ------------------------------------------------------------------ precision and layout


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [({}, "float32"), ({"avx512_f": True, "avx512_bf16": False}, "float32")]
    + [({name: True}, "bfloat16") for name in ("avx512_bf16", "amx_bf16")],
)
def test_bfloat16_is_chosen_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict, dtype: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_precision("cpu")[:2] == (dtype, True)


def test_class_without_an_output_is_refused() -> None:
    data = SimpleNamespace(data=torch.zeros(4, 6, 6, dtype=torch.uint8), targets=torch.tensor([0, 1, 7, 1]))
    with pytest.raises(ValueError, match=r"gives 4 class scores, but the targets hold the class 7"):
        short(linear(), data)


def test_scores_need_no_classes() -> None:
    data = SimpleNamespace(data=torch.zeros(2, 6, 6, dtype=torch.uint8), targets=torch.tensor([255, 255]))
    assert predict(linear(), data).shape == (2, 4)
    with pytest.raises(ValueError, match="the class 255"):
        evaluate(linear(), data)


def test_process_forked_beside_a_training_can_train() -> None:
    entered, leave = threading.Event(), threading.Event()

    def occupy() -> None:
        with seeded(0):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=occupy)
    thread.start()
    entered.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        with seeded(0):
            os._exit(0)
    leave.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_numbers_of_numpy_give_the_run_of_pythons() -> None:
    schedule = partial(ExponentialLR, gamma=0.9)
    runs = [short(linear(), images(40), learning_rate=kind(0.125), scheduler=schedule) for kind in (float, np.float32)]
    pd.testing.assert_frame_equal(runs[0].history, runs[1].history, check_exact=True)
    short(linear(), images(40), batch_sizes=pd.Series([8, 8]))


def test_whole_numbers_of_numpy_make_checkpoints_that_resume(tmp_path: Path) -> None:
    integers = {"evaluate_every": np.int64(20), "seed": np.int64(1), "micro_batch_size": np.int64(8)}
    arguments = {"checkpoint": tmp_path / "run.pt", "batch_sizes": np.full(12, 16), **integers}
    first = short(linear(), images(40), **arguments)
    pd.testing.assert_frame_equal(short(linear(), images(40), **arguments).history, first.history)


def test_threads_share_torchs_generators_and_still_give_the_runs_of_their_seeds() -> None:
    def trained(seed: int) -> Tensor:
        with seeded(seed):
            model = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Dropout(0.5), nn.Linear(36, 4))
        short(model, images(40), seed=seed)
        return model[3].weight.detach()

    before = torch.get_rng_state()
    alone = [trained(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(trained, range(8)))
    assert all(map(torch.equal, alone, together))
    assert torch.equal(torch.get_rng_state(), before)


def test_versions_of_torch_that_cannot_tell_get_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("cpu").dtype == "float32"


@pytest.mark.parametrize("native", [True, False])
def test_cuda_decides_by_what_the_device_says(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert choose_precision("cuda").dtype == ("bfloat16" if native else "float32")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_precision_and_layout_can_be_overridden_and_are_recorded(precision: str, channels_last: bool) -> None:
    model = convolutional()
    run = train(model, images(40), batch_sizes=[8], learning_rate=0.1, precision=precision, channels_last=channels_last)
    assert run.precision[:2] == (precision, channels_last)
    assert model[0].weight.dtype == torch.float32


def test_bfloat16_reaches_the_loss_of_float32_within_the_spread_of_seeds() -> None:
    data = load_fashion_mnist("quick").train

    def final_loss(precision: str, seed: int) -> float:
        torch.manual_seed(seed)
        model = nn.Sequential(
            *(ConvModule(1, 8, 3, 2), InceptionModule(8, 8, 8), DownsampleModule(16, 8), InceptionModule(24, 8, 8)),
            *(nn.AvgPool2d(7), nn.Flatten(), nn.Linear(16, 10)),
        )
        run = train(model, data, batch_sizes=[32] * 94, learning_rate=0.1, seed=seed, precision=precision)
        return run.history["train_loss"].iloc[-30:].mean()

    losses = np.array([[final_loss(precision, seed) for seed in range(4)] for precision in ("float32", "bfloat16")])
    assert abs(np.diff(losses.mean(axis=1))[0]) < losses.std(axis=1, ddof=1).max()
    assert losses.max() < 2.0  # from 2.3: something was learned


# ------------------------------------------------------------------ micro-batches


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 40), part=st.integers(1, 40))
def test_micro_batches_equal_the_full_batch_without_batch_norm(batch: int, part: int) -> None:
    whole, parts = linear(), linear()
    runs = [
        short(model, images(40), batch_sizes=[batch] * 3, momentum=0.5, micro_batch_size=size)
        for model, size in ((whole, 40), (parts, part))
    ]
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    columns = ["train_loss", "train_accuracy"]
    np.testing.assert_allclose(runs[0].history[columns], runs[1].history[columns], rtol=1e-5)


def test_batch_norm_sees_micro_batches_as_ghost_batches() -> None:
    model, reference = convolutional(), convolutional()
    short(model, images(40), batch_sizes=[10], micro_batch_size=4)
    assert model[1].num_batches_tracked == 3
    short(reference, images(40), batch_sizes=[10])
    assert not torch.allclose(model[0].weight, reference[0].weight, atol=1e-6)


def test_step_of_8192_images_stays_within_4_gib() -> None:
    script = """
        import resource, torch
        from types import SimpleNamespace
        from lib.inception import SmallInception
        from lib.training import train
        targets = torch.arange(8192) % 10
        data = SimpleNamespace(data=torch.randint(0, 256, (8192, 28, 28), dtype=torch.uint8), targets=targets)
        run = train(SmallInception(), data, batch_sizes=[8192], learning_rate=0.1)
        assert run.history["samples_seen"].tolist() == [8192]
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # kibibytes
    """
    assert int(run_python(script).stdout) * 1024 < 4 * 2**30


# ------------------------------------------------------------------ checkpoints


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


# Trains with everything that has a state, and stores what came out. Its second argument can make it kill itself, as
# `kill -9` would, at a step of writing its nth checkpoint.
TRAIN_AND_STORE = """
    import os, signal, sys, torch
    from functools import partial
    from torch.optim.lr_scheduler import CyclicLR
    from lib import training
    from tests.test_training import convolutional, images

    torch.set_num_threads(1)
    directory, when, nth = sys.argv[1], sys.argv[2], int(sys.argv[3])
    count = 0

    def killing(function, before):
        def wrapper(*arguments, **options):
            global count
            count += 1
            if count == nth and before:
                os.kill(os.getpid(), signal.SIGKILL)
            function(*arguments, **options)
            if count == nth:
                os.kill(os.getpid(), signal.SIGKILL)
        return wrapper

    def save_half(state, file):
        import io
        whole = io.BytesIO()
        save(state, whole)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2 if count == nth else None])
        file.flush()

    save = torch.save
    if when == "while writing":
        torch.save = killing(save_half, before=False)
    elif when in ("before renaming", "after renaming"):
        os.replace = killing(os.replace, before=when == "before renaming")
    model = convolutional()
    schedule = partial(CyclicLR, base_lr=0.01, max_lr=0.3, step_size_up=30, mode="exp_range", gamma=0.999,
                       cycle_momentum=False)
    sizes = [8, 16, 24] * 200
    run = training.train(model, images(100), images(40, seed=1), batch_sizes=sizes, learning_rate=0.1, momentum=0.9,
                         scheduler=schedule, micro_batch_size=10, seed=3, checkpoint=f"{directory}/run.pt",
                         checkpoint_every=7, progress=False)
    save({"history": torch.tensor(run.history.to_numpy(dtype="float64")), "weights": model.state_dict()},
         f"{directory}/outcome.pt")
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict:
    directory = tmp_path_factory.mktemp("uninterrupted")
    run_python(TRAIN_AND_STORE, str(directory), "never", "0")
    return torch.load(directory / "outcome.pt", weights_only=True)


def assert_same_outcome(directory: Path, uninterrupted: dict) -> None:
    outcome = torch.load(directory / "outcome.pt", weights_only=True)
    assert outcome["history"].shape == (600, len(HISTORY_COLUMNS))
    assert torch.equal(
        outcome["history"].view(torch.int64), uninterrupted["history"].view(torch.int64)
    )  # bits, NaN too
    assert all(torch.equal(outcome["weights"][name], weight) for name, weight in uninterrupted["weights"].items())


@pytest.mark.parametrize("when", ["while writing", "before renaming", "after renaming"])
def test_killed_around_writing_a_checkpoint_resumes_to_the_same_bits(
    tmp_path: Path, uninterrupted: dict, when: str
) -> None:
    with pytest.raises(subprocess.CalledProcessError) as killed:
        run_python(TRAIN_AND_STORE, str(tmp_path), when, "5")
    assert killed.value.returncode == -signal.SIGKILL
    completed = load_checkpoint(tmp_path / "run.pt")["history"]
    seen = np.cumsum([8, 16, 24] * 20)
    epoch_ends = np.flatnonzero(np.diff(seen // 100, prepend=0)) + 1
    saved = sorted({*range(7, 60, 7), *epoch_ends.tolist()})
    assert len(completed) == saved[4 if when == "after renaming" else 3]
    assert (tmp_path / "run.pt.tmp").exists() == (when != "after renaming")
    run_python(TRAIN_AND_STORE, str(tmp_path), "never", "0")
    assert_same_outcome(tmp_path, uninterrupted)
    assert sorted(os.listdir(tmp_path)) == ["outcome.pt", "run.pt"]


def test_killed_at_random_moments_resumes_to_the_same_bits(tmp_path: Path, uninterrupted: dict) -> None:
    moments = random.Random()  # other moments at every test run: none may matter
    kills = 0
    while kills < 4:
        begin = time.monotonic()
        command = [sys.executable, "-c", textwrap.dedent(TRAIN_AND_STORE), str(tmp_path), "never", "0"]
        child = subprocess.Popen(command, cwd=ROOT)
        before = (tmp_path / "run.pt").stat().st_mtime_ns if kills else None
        while child.poll() is None and time.monotonic() - begin < 60:
            if (tmp_path / "run.pt").exists() and (tmp_path / "run.pt").stat().st_mtime_ns != before:
                break  # it trains
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.4))
        child.kill()
        if child.wait() != -signal.SIGKILL:
            break  # it was faster
        kills += 1
    assert kills >= 1
    run_python(TRAIN_AND_STORE, str(tmp_path), "never", "0")
    assert_same_outcome(tmp_path, uninterrupted)


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first, second = linear(), linear()
    runs = [short(model, images(40), checkpoint=tmp_path / "run.pt") for model in (first, second)]
    pd.testing.assert_frame_equal(runs[0].history, runs[1].history, check_exact=True)
    assert same_weights(first, second)


def test_numbers_of_numpy_can_be_resumed_from(tmp_path: Path) -> None:
    settings = {
        "batch_sizes": np.array([8] * 6),
        "learning_rate": np.float64(0.1),
        "momentum": np.float32(0.5),
        "scheduler": partial(MultiStepLR, milestones=np.array([2, 4]), gamma=np.float64(0.5)),
        "checkpoint": tmp_path / "run.pt",
    }
    finished = train(linear(), images(40), **settings)
    resumed = train(linear(), images(40), **settings)
    pd.testing.assert_frame_equal(finished.history, resumed.history)


def test_diverged_run_stays_diverged_when_resumed(tmp_path: Path) -> None:
    arguments = {"learning_rate": 1e30, "checkpoint": tmp_path / "run.pt", "batch_sizes": [16] * 50}
    torch.manual_seed(0)
    start = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Linear(36, 4)).state_dict()
    runs = []
    for _ in range(2):
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Linear(36, 4))
        model.load_state_dict(start)
        runs.append(short(model, images(40), **arguments))
    assert runs[0].diverged and runs[1].diverged
    pd.testing.assert_frame_equal(runs[0].history, runs[1].history, check_exact=True)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    short(linear(), images(40), checkpoint=tmp_path / "run.pt")
    return tmp_path / "run.pt"


def test_every_truncated_checkpoint_is_refused_as_torn(checkpoint: Path) -> None:
    content = checkpoint.read_bytes()
    for length in {0, 1, 10, 100, *range(500, len(content), 997), len(content) - 1}:
        checkpoint.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="torn"):
            load_checkpoint(checkpoint)


def test_altered_checkpoint_is_refused_or_holds_the_same_values(checkpoint: Path) -> None:
    content, truth = checkpoint.read_bytes(), load_checkpoint(checkpoint)
    positions = random.Random(0).sample(range(len(content)), 150)
    headers = [content.rindex(b"PK\x01\x02") + offset for offset in range(46)]  # of the last file in the zip
    places = [(position, 0x20) for position in positions] + [(place, 1 << bit) for place in headers for bit in range(8)]
    refused = 0
    for position, mask in places:
        checkpoint.write_bytes(content[:position] + bytes([content[position] ^ mask]) + content[position + 1 :])
        try:
            state = load_checkpoint(checkpoint)
        except CheckpointError:
            refused += 1
        else:  # a byte of padding
            assert torch.equal(state["history"].view(torch.int64), truth["history"].view(torch.int64))
            assert all(torch.equal(state["model"][name], value) for name, value in truth["model"].items())
    assert refused > 20


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"learning_rate": 0.2}, "learning_rate is 0.1 there and 0.2 here"),
        ({"momentum": 0.9}, "momentum"),
        ({"weight_decay": 0.1}, "weight_decay"),
        ({"batch_sizes": [16] * 11 + [8]}, "batch_sizes"),
        ({"micro_batch_size": 4}, "micro_batch_size"),
        ({"evaluate_every": 7}, "evaluate_every"),
        ({"precision": "bfloat16"}, "precision"),
        ({"test_data": images(5)}, "test_data"),
        ({"train_data": images(40, seed=1)}, "train_data"),
        ({"scheduler": partial(MultiStepLR, milestones=[5])}, "scheduler"),
        ({"model": linear(seed=1)}, "model"),
        ({"model": convolutional()}, "model"),
    ],
)
def test_checkpoint_of_another_run_is_refused_naming_the_difference(checkpoint: Path, change: dict, named: str) -> None:
    arguments = {"model": linear(), "train_data": images(40), "checkpoint": checkpoint} | change
    with pytest.raises(CheckpointError, match=f"another run .*{named}"):
        short(**arguments)


def test_schedules_of_one_class_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    arguments = {"train_data": images(40), "checkpoint": tmp_path / "run.pt"}
    short(linear(), scheduler=partial(MultiStepLR, milestones=[5]), **arguments)
    with pytest.raises(CheckpointError, match=r"another run .*scheduler"):
        short(linear(), scheduler=partial(MultiStepLR, milestones=[6]), **arguments)


def test_newer_checkpoint_is_refused_as_newer(checkpoint: Path) -> None:
    state = load_checkpoint(checkpoint)
    save_checkpoint(checkpoint, state | {"version": state["version"] + 1})
    with pytest.raises(CheckpointError, match="newer"):
        short(linear(), images(40), checkpoint=checkpoint)


@pytest.mark.parametrize("state", [{"weight": torch.zeros(3)}, [1, 2], {"format": "another program's"}])
def test_foreign_checkpoint_is_refused_as_foreign(tmp_path: Path, state: object) -> None:
    torch.save(state, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="foreign"):
        load_checkpoint(tmp_path / "run.pt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"version": "2"}, "version 2"), ({"version": None}, "version None"), ({"settings": None}, "has no settings")],
)
def test_checkpoint_with_wrong_entries_is_refused(checkpoint: Path, change: dict, reason: str) -> None:
    save_checkpoint(checkpoint, load_checkpoint(checkpoint) | change)
    with pytest.raises(CheckpointError, match=reason):
        short(linear(), images(40), checkpoint=checkpoint)


def test_checkpoint_that_lacks_an_entry_is_refused(checkpoint: Path) -> None:
    state = load_checkpoint(checkpoint)
    for key in state.keys() - {"format", "version"}:
        save_checkpoint(checkpoint, {name: value for name, value in state.items() if name != key})
        with pytest.raises(CheckpointError, match=f"lacks {key}"):
            short(linear(), images(40), checkpoint=checkpoint)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "run.pt").write_text("epoch,loss\n1,2.3\n")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path / "run.pt")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nowhere.pt")


class _Touch:
    """Pickles into a call that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_loading_runs_no_code(tmp_path: Path, save: object) -> None:
    save({"format": training.CHECKPOINT_FORMAT, "version": 1, "model": _Touch(tmp_path / "ran")}, tmp_path / "run.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "run.pt")
    assert not (tmp_path / "ran").exists()


# ------------------------------------------------------------------ the ramp test


def test_ramp_rises_by_equal_ratios_or_equal_steps() -> None:
    ramp = partial(learning_rate_ramp, linear(), images(40), lr_start=1e-5, lr_end=1.0, iterations=11, batch_size=8)
    for history, expected in ((ramp(), np.geomspace(1e-5, 1, 11)), (ramp(spacing="linear"), np.linspace(1e-5, 1, 11))):
        np.testing.assert_allclose(history["learning_rate"], expected, rtol=1e-9)
        assert list(history.columns) == ["iteration", "learning_rate", "train_loss", "train_accuracy"]


def test_ramp_leaves_the_model_as_it_was() -> None:
    model, untouched = convolutional().eval(), convolutional()
    history = learning_rate_ramp(model, images(40), lr_start=0.01, lr_end=1.0, iterations=20, batch_size=8)
    assert history["train_loss"].nunique() > 10  # it did train
    assert same_weights(model, untouched)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_ramp_ends_where_the_loss_diverges() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Linear(36, 4))
    history = learning_rate_ramp(model, images(40), lr_start=0.01, lr_end=1e35, iterations=40, batch_size=8)
    assert len(history) < 40
    assert not math.isfinite(history["train_loss"].iloc[-1])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr_start": 0}, "lr_start"),
        ({"lr_end": 1e-9}, "lr_end"),
        ({"lr_end": math.inf}, "lr_end"),
        ({"iterations": 1}, "iterations"),
        ({"iterations": 2.5}, "iterations"),
        ({"batch_size": 0}, "batch_size must"),
        ({"spacing": "cubic"}, "spacing"),
    ],
)
def test_senseless_ramps_are_refused_by_name(change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        learning_rate_ramp(linear(), images(40), **({"lr_start": 1e-5, "lr_end": 1.0, "iterations": 5} | change))


# ------------------------------------------------------------------ what finders suggest


def synthetic_ramp(losses: np.ndarray, lr_start: float = 1e-7, lr_end: float = 10.0) -> pd.DataFrame:
    return pd.DataFrame({"learning_rate": np.geomspace(lr_start, lr_end, len(losses)), "train_loss": losses})


def noisy_valley(seed: int, n: int = 100) -> np.ndarray:
    """Flat, falling, rising steeply, with noise."""
    x = np.linspace(0, 1, n)
    rng = np.random.default_rng(seed)
    fall = 1.8 / (1 + np.exp(-25 * (x - rng.uniform(0.4, 0.7))))
    return 2.3 - fall + np.exp(30 * (x - rng.uniform(0.85, 1))) + rng.normal(0, 0.05, n)


@pytest.mark.parametrize("seed", range(5))
def test_steepest_is_what_pytorch_lr_finder_itself_suggests(
    seed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    ramp = synthetic_ramp(noisy_valley(seed))
    losses = iter(ramp["train_loss"])
    model = nn.Linear(1, 1)
    finder = LRFinder(
        model,
        torch.optim.SGD(model.parameters(), 1e-7),
        lambda scores, _: 0 * scores.sum() + next(losses),
        device="cpu",
    )
    monkeypatch.setattr("torch_lr_finder.lr_finder.tqdm", lambda steps, **_: steps)
    batches = torch.utils.data.DataLoader([(torch.zeros(1), 0)] * 100)
    finder.range_test(batches, end_lr=10, num_iter=100)
    _, suggested = finder.plot(ax=SimpleNamespace(**dict.fromkeys(PLOTTED, lambda *_, **__: None)))
    assert suggest_learning_rates(ramp)["pytorch-lr-finder, steepest"] == pytest.approx(suggested, rel=0.03)
    capsys.readouterr()


PLOTTED = ("plot", "scatter", "legend", "set_xscale", "set_xlabel", "set_ylabel")


def test_rules_of_fastai_on_a_slow_rise_a_fall_and_a_rise() -> None:
    losses = np.concatenate([np.linspace(2.9, 3, 30), np.linspace(3, 1, 41)[1:], np.linspace(1, 2.5, 31)[1:]])
    ramp = synthetic_ramp(losses)
    weights = [np.array([0.98 ** (i - j) for j in range(i + 1)]) for i in range(100)]
    smoothed = np.array([(w * losses[: i + 1]).sum() / w.sum() for i, w in enumerate(weights)])[10:95]
    rates = ramp["learning_rate"].to_numpy()[10:95]
    suggested = suggest_learning_rates(ramp)
    assert suggested["fastai, minimum / 10"] == pytest.approx(rates[smoothed.argmin()] / 10)
    assert suggested["fastai, steep"] == pytest.approx(rates[np.diff(smoothed).argmin()])
    length = smoothed.argmin() - smoothed.argmax() + 1
    assert suggested["fastai, valley"] == pytest.approx(
        rates[smoothed.argmin() - length + length // 3 + length // 6], rel=1e-9
    )


@settings(max_examples=100, deadline=None)
@given(losses=st.lists(st.integers(0, 6), min_size=2, max_size=9))
def test_valley_ends_with_the_longest_falling_subsequence(losses: list[int]) -> None:
    subsequences = [
        chosen
        for size in range(1, len(losses) + 1)
        for chosen in itertools.combinations(range(len(losses)), size)
        if all(losses[a] > losses[b] for a, b in itertools.pairwise(chosen))
    ]
    length = max(map(len, subsequences))
    end = min(chosen[-1] for chosen in subsequences if len(chosen) == length)
    expected = end - length + length // 3 + length // 6 if length > 1 else 0
    assert training._valley(np.array(losses, dtype=float)) == expected


def test_slide_stops_where_the_slope_changes_little_from_the_right() -> None:
    losses = np.concatenate([np.full(60, 1.0), np.linspace(1, 3, 41)[1:]])  # slope 0, then 0.05
    index = training._slide(losses)
    slope = np.gradient(losses)
    assert abs(slope[-1] - slope[-16]) <= 0.005  # at the end the slope is constant: it stops at once
    assert index == len(losses) - 16
    kinked = np.concatenate([losses, 3 + np.linspace(0, 3, 16)[1:]])  # the last 15 are steeper
    index = training._slide(kinked)
    slope = np.gradient(kinked)
    assert abs(slope[index + 15] - slope[index]) > 0.005 >= abs(slope[index + 14] - slope[index - 1])


def test_suggestions_end_where_the_loss_diverges_and_do_not_depend_on_what_follows() -> None:
    losses = noisy_valley(0)
    losses[80:] = np.geomspace(50, 1e6, 20)
    longer = np.concatenate([losses, np.geomspace(1e7, 1e20, 10)])
    rates = np.geomspace(1e-7, 100, 110)
    one, other = (
        suggest_learning_rates(pd.DataFrame({"learning_rate": rates[: len(y)], "train_loss": y}))
        for y in (losses, longer)
    )
    names = [name for name in one.index if name.startswith("pytorch")]  # fastai's first tenth depends on the length
    pd.testing.assert_series_equal(one[names], other[names])
    assert (other < rates[81]).all()


@pytest.mark.parametrize(
    ("ramp", "named"),
    [
        (pd.DataFrame({"learning_rate": [1.0]}), "train_loss"),
        (pd.DataFrame({"learning_rate": np.ones(50), "train_loss": np.ones(50)}), "rise"),
        (synthetic_ramp(np.ones(25)), "more iterations"),
        (synthetic_ramp(np.r_[np.ones(20), 1e9 * np.ones(80)]), "smaller lr_end"),
        (synthetic_ramp(np.r_[np.ones(20), np.nan]), "more iterations"),
    ],
)
def test_ramps_without_suggestions_are_refused_with_the_reason(ramp: pd.DataFrame, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        suggest_learning_rates(ramp)


# ------------------------------------------------------------------ the noise scale


def test_noise_scale_is_the_variance_of_a_steps_noise_a_unit_of_training_time() -> None:
    # N images with gradients of mean 0: a batch's gradient varies over all batches, and training time is rate * steps
    gradients = np.random.default_rng(0).normal(size=9)
    gradients -= gradients.mean()
    for batch_size in range(1, 10):
        means = [np.mean(batch) for batch in itertools.combinations(gradients, batch_size)]
        a_unit_of_time = 0.3**2 * np.mean(np.square(means)) / 0.3
        per_image = np.sum(gradients**2) / (9 - 1) / 9  # an image's variance over N
        assert a_unit_of_time == pytest.approx(noise_scale(0.3, batch_size, 9) * per_image)


def test_noise_scale_with_momentum_of_arrays_and_of_nonsense() -> None:
    assert noise_scale(0.1, 20, 100, momentum=0.9) == pytest.approx(4)
    np.testing.assert_allclose(noise_scale(np.array([0.2, 0.1]), np.array([50, 25]), 100), [0.2, 0.3])
    for arguments, named in (((0.1, 101, 100), "batch_size"), ((0.1, 0, 100), "batch_size")):
        with pytest.raises(ValueError, match=named):
            noise_scale(*arguments)
    with pytest.raises(ValueError, match="momentum"):
        noise_scale(0.1, 32, 100, momentum=1.0)


# ------------------------------------------------------------------ the bounds

RATES = np.logspace(-9, 1, 10)
NAN, INF = math.nan, math.inf


def curve(*losses: float) -> pd.DataFrame:
    return pd.DataFrame({"learning_rate": RATES[: len(losses)], "train_loss": losses})


@pytest.mark.parametrize(
    ("losses", "lowest", "highest"),
    [
        pytest.param((2.3, 2.3, 2.3, 2.3, 1.8, 1.0, 0.5, 0.3, 0.25, NAN), 4, 8, id="flat start, divergence at the end"),
        pytest.param((2.3, 2.3, 2.3, 2.3, 1.8, 1.0, 0.5, 0.3, INF, INF), 4, 7, id="infinite losses"),
        pytest.param((2.3, 2.3, 2.3, 2.3, 1.8, 1.0, 0.5, 0.3, 0.9, 4.0), 4, 7, id="smooth minimum"),
        pytest.param((2.3, 2.3, 2.3, 1.9, 1.2, 0.7, 1.6, 0.4, 2.2, NAN), 3, 5, id="ragged: rises, then falls lower"),
        pytest.param((2.3, 2.31, 2.29, 2.3, 2.31, 1.5, 0.9, 0.4, 2.0, NAN), 5, 7, id="noisy flat start"),
        pytest.param((2.3, 2.0, 1.7, 1.4, 1.1, 0.8, 0.6, 0.5, 0.4, 0.3), 1, 9, id="falls all the way"),
        pytest.param((2.3, 2.3, 2.3, 2.3, 1.8, 1.0, 0.30, 0.31, 2.5, NAN), 4, 7, id="noise at the bottom"),
        pytest.param((2.3, 2.3, 2.3, 1.0, NAN, 0.5, 0.4, 0.3, 0.2, 0.1), None, None, id="only one trains"),
        pytest.param((2.3, 2.5, 2.6, 1.0, 0.6, 0.5, 0.4, 0.9, 1.2, 3.0), 3, 6, id="rises before it falls"),
    ],
)
def test_bounds_of_synthetic_curves(losses: tuple[float, ...], lowest: int | None, highest: int | None) -> None:
    if lowest is None:
        with pytest.raises(ValueError, match=r"only 2\.15443e-06 trains"):
            select_bounds(curve(*losses))
    else:
        assert select_bounds(curve(*losses)) == (RATES[lowest], RATES[highest])


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ((2.3,) * 10, "never falls"),
        ((2.30, 2.31, 2.29, 2.30, 2.31, 2.28, 2.30, 2.29, 2.31, 2.30), "never falls"),
        ((2.3, 2.3, 2.3, 2.3, 2.4, 2.9, 4.0, 9.0, NAN, NAN), "never falls"),
        ((0.0,) * 10, "never falls by more than 10 %"),
        ((2.30, 2.30, 2.25, 2.20, 2.15, 2.10, 2.20, 2.40, NAN, NAN), "never falls by more than 10 %"),
        ((NAN,) * 10, "not finite"),
        ((2.3, 1.0), "at least 3"),
    ],
)
def test_curves_without_bounds_are_refused_with_the_reason(losses: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_bounds(curve(*losses))


def test_history_without_the_columns_and_senseless_tolerance_are_refused() -> None:
    with pytest.raises(ValueError, match="lacks the column train_loss"):
        select_bounds(pd.DataFrame({"learning_rate": RATES}))
    for rate in (-1.0, 0.0, NAN):
        with pytest.raises(ValueError, match="not positive"):
            select_bounds(pd.DataFrame({"learning_rate": [rate, 0.1, 0.2, 0.3], "train_loss": [2.3, 2.3, 1.0, 0.5]}))
    with pytest.raises(ValueError, match="tolerance"):
        select_bounds(curve(2.3, 1.0, 0.5), tolerance=1.5)


losses_that_fall = st.lists(st.floats(0.01, 2.0), min_size=3, max_size=8).map(lambda rest: (2.3, 2.3, *rest))


def bounds_or_reason(history: pd.DataFrame) -> tuple | str:
    try:
        return tuple(select_bounds(history))
    except ValueError as error:
        return str(error).split(":")[0][:15]


@settings(max_examples=200, deadline=None)
@given(losses=losses_that_fall, factor=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_bounds_do_not_depend_on_the_unit_of_the_loss_or_the_order_of_rows(
    losses: tuple, factor: float, seed: int
) -> None:
    history = curve(*losses)
    falls = pd.Series(losses)
    margins = np.abs(np.subtract.outer(falls.to_numpy(), falls.to_numpy())) - 0.05 * (2.3 - falls.min())
    if np.abs(margins).min() < 1e-9:  # a difference exactly at the tolerance may round either way
        return
    expected = bounds_or_reason(history)
    assert bounds_or_reason(history.sample(frac=1, random_state=seed)) == expected
    assert bounds_or_reason(history.assign(train_loss=history["train_loss"] * factor)) == expected


@settings(max_examples=200, deadline=None)
@given(losses=losses_that_fall)
def test_bounds_keep_their_promises(losses: tuple) -> None:
    try:
        low, high = (int(np.argmin(np.abs(RATES - rate))) for rate in select_bounds(curve(*losses)))
    except ValueError:
        return
    noise = 0.05 * (losses[0] - min(losses))
    assert low < high
    assert all(loss >= losses[0] - noise for loss in losses[:low]) and losses[low] < losses[0] - noise
    for later in range(low + 1, high + 1):
        assert losses[later] <= min(losses[:later]) + noise
    assert high + 1 == len(losses) or losses[high + 1] > min(losses[: high + 1]) + noise


def test_joined_histories_give_the_bounds_of_the_last_epochs_mean() -> None:
    rows = [
        (rate, epoch, loss + offset)
        for (rate, loss), (epoch, offset) in itertools.product(
            zip(RATES, (2.3, 2.3, 2.2, 1.9, 1.0, 0.5, 0.4, 0.3, 0.9, 3.0), strict=True),
            [(0.5, 9.0), (1.0, 5.0), (1.5, 0.1), (2.0, -0.1)],
        )
    ]
    history = pd.DataFrame(rows, columns=["learning_rate", "epoch", "train_loss"])
    np.testing.assert_allclose(candidate_losses(history).iloc[[0, 4, 9]], [2.3, 1.0, 3.0])
    assert select_bounds(history) == (RATES[3], RATES[7])


def test_candidate_that_ends_non_finite_counts_as_diverged() -> None:
    history = pd.DataFrame({"learning_rate": [0.1] * 3, "epoch": [1, 2, 3], "train_loss": [2.0, 1.0, NAN]})
    assert candidate_losses(history).tolist() == [INF]


def test_scheduled_learning_rates_are_those_that_training_records() -> None:
    cycle = partial(CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3, cycle_momentum=False)
    halving = partial(MultiStepLR, milestones=[2, 5], gamma=0.5)
    for scheduler in (None, cycle, halving):
        history = train(linear(), images(64), batch_sizes=[8] * 10, learning_rate=0.3, scheduler=scheduler).history
        rates = scheduled_learning_rates(10, scheduler, learning_rate=0.3)
        assert rates.tolist() == history["learning_rate"].tolist()
    with pytest.raises(ValueError, match="iterations must be at least 1"):
        scheduled_learning_rates(0)


def test_means_by_samples_weigh_every_sample_alike() -> None:
    sizes = np.array([4, 8, 8, 16, 2, 2])
    history = pd.DataFrame({"samples_seen": sizes.cumsum(), "train_loss": [5.0, 4.0, 3.5, 3.0, math.nan, 1.0]})
    means = mean_by_samples(history, [12, 20, 30, 38, 40])
    per_sample = np.repeat(history["train_loss"], sizes).to_numpy()
    # no row ends between 20 and 30: what lasts from 20 to 36 counts to the next bin, and NaN to none
    assert means.index.tolist() == [12, 20, 38, 40]
    expected = [per_sample[:12].mean(), 3.5, 3.0, 1.0]
    np.testing.assert_allclose(means, expected)
    early = mean_by_samples(history, [12])  # what comes later is left out
    assert early.to_dict() == {12: means[12]}
    assert mean_by_samples(history.assign(x=1.0), [40], "x").tolist() == [1.0]


@pytest.mark.parametrize(
    ("ends", "column", "named"),
    [
        ([], "train_loss", "ends"),
        ([20, 10], "train_loss", "ends"),
        ([10, 10], "train_loss", "ends"),
        ([10], "y", "column"),
    ],
)
def test_means_by_samples_over_nonsense_are_refused(ends: list[int], column: str, named: str) -> None:
    history = pd.DataFrame({"samples_seen": [4, 8], "train_loss": [5.0, 4.0]})
    with pytest.raises(ValueError, match=named):
        mean_by_samples(history, ends, column)


def test_large_batches_are_saved_by_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    monkeypatch.setattr(training, "save_checkpoint", lambda path, state: saved.append(len(state["history"])))
    settings = {"batch_sizes": [64] * 8, "learning_rate": 0.1, "checkpoint": tmp_path / "run.pt"}
    train(linear(), images(64), **settings, evaluate_every=192, checkpoint_every=1000)
    assert saved == [3, 6, 8]  # as samples pass 192 and 384, and at the end
