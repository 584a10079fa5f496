"""The training loop: what it computes, that it survives being killed, and the rule for the learning rate bounds."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
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

from lib import prediction, training
from lib.arguments import ArgumentError
from lib.checkpoints import load_checkpoint
from lib.datasets import load_fashion_mnist
from lib.devices import choose_precision, seeded
from lib.inception import ConvModule, DownsampleModule, InceptionModule
from lib.prediction import evaluate, predict
from lib.training import HISTORY_COLUMNS, Settings, Training
from tests.small_trainings import convolutional, deep, images, linear, one_thread, same_weights, short  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]


# ------------------------------------------------------------------ what is computed


def test_training_learns() -> None:
    data = images(200)
    run = short(linear(), data, images(100, seed=1), batch_sizes=[20] * 200, learning_rate=0.3)
    assert run.history["train_loss"].iloc[-5:].mean() < 0.5 * run.history["train_loss"].iloc[0]
    assert run.history["test_accuracy"].iloc[-1] > 0.8


def test_one_step_is_the_step_of_gradient_descent_by_hand() -> None:
    data, model, reference = images(10), linear(), linear()
    run = short(model, data, batch_sizes=[10], learning_rate=0.3, weight_decay=0.01)
    x = ((data.data / 255 - prediction.PIXEL_MEAN) / prediction.PIXEL_STD).flatten(1)
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
    x = (((data.data / 255) - prediction.PIXEL_MEAN) / prediction.PIXEL_STD).unsqueeze(1)
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
            if not self.training:
                return self.layer(x.flatten(1))  # the look at two images before the training
            self.seen += ((x[:, 0, 0, 0] * prediction.PIXEL_STD + prediction.PIXEL_MEAN) * 255).round().int().tolist()
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
    run = short(linear(), images(40), batch_sizes=[8] * 40, schedule=partial(cycle, cycle_momentum=False))
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
    data = {"train_data": images(40), "test_data": None}
    options = {name: value}
    with pytest.raises(ArgumentError, match=name):
        if name in data:
            short(linear(), *(data | options).values())
        else:
            short(linear(), *data.values(), **options)


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


def test_numbers_of_numpy_give_the_run_of_pythons() -> None:
    schedule = partial(ExponentialLR, gamma=0.9)
    runs = [short(linear(), images(40), learning_rate=kind(0.125), schedule=schedule) for kind in (float, np.float32)]
    pd.testing.assert_frame_equal(runs[0].history, runs[1].history, check_exact=True)
    short(linear(), images(40), batch_sizes=pd.Series([8, 8]))


def test_whole_numbers_of_numpy_make_checkpoints_that_resume(tmp_path: Path) -> None:
    integers = {"evaluate_every": np.int64(20), "seed": np.int64(1), "micro_batch_size": np.int64(8)}
    arguments = {"checkpoint": tmp_path / "run.pt", "batch_sizes": np.full(12, 16), **integers}
    first = short(linear(), images(40), **arguments)
    pd.testing.assert_frame_equal(short(linear(), images(40), **arguments).history, first.history)


def test_second_thread_is_refused_instead_of_getting_other_random_numbers() -> None:
    def trained(seed: int) -> Tensor:
        with seeded(seed):
            model = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Dropout(0.5), nn.Linear(36, 4))
        short(model, images(40), seed=seed)
        return model[3].weight.detach()

    alone = trained(3)
    with (
        seeded(0),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(RuntimeError, match="trainings side by side in proc"),
    ):
        pool.submit(trained, 3).result()
    with ThreadPoolExecutor(1) as pool:  # one thread of its own is no danger
        assert torch.equal(pool.submit(trained, 3).result(), alone)


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
    run = short(model, images(40), batch_sizes=[8], precision=precision, channels_last=channels_last)
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
        run = short(model, data, batch_sizes=[32] * 94, seed=seed, precision=precision)
        return run.history["train_loss"].iloc[-30:].mean()

    losses = np.array([[final_loss(precision, seed) for seed in range(4)] for precision in ("float32", "bfloat16")])
    assert abs(np.diff(losses.mean(axis=1))[0]) < losses.std(axis=1, ddof=1).max()
    assert losses.max() < 2.0  # from 2.3: something was learned


# ------------------------------------------------------------------ micro-batches


@settings(max_examples=30)
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


def test_memory_of_a_step_does_not_grow_with_the_batch() -> None:
    script = """
        import resource, torch
        from types import SimpleNamespace
        from lib.inception import SmallInception
        from lib.training import Settings, train
        data = SimpleNamespace(data=torch.zeros((256, 28, 28), dtype=torch.uint8), targets=torch.arange(256) % 10)
        for batch in (32, 256):
            settings = Settings(batch_sizes=[batch], learning_rate=0.1, micro_batch_size=32)
            train(SmallInception(), data, None, settings)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # kibibytes, the highest so far
    """
    one_part, eight = map(int, run_python(script).stdout.split())
    assert eight - one_part < 100 * 1024  # eight parts at once would take half a gibibyte more


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
    from tests.small_trainings import convolutional, deep, images

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

    def half(descriptor):
        if count == nth:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)

    if when == "while writing":
        os.fsync = killing(half, before=False)
    elif when in ("before renaming", "after renaming"):
        os.replace = killing(os.replace, before=when == "before renaming")
    model = convolutional()
    schedule = partial(CyclicLR, base_lr=0.01, max_lr=0.3, step_size_up=30, mode="exp_range", gamma=0.999,
                       cycle_momentum=False)
    sizes = [8, 16, 24] * 100
    settings = training.Settings(batch_sizes=sizes, learning_rate=0.1, momentum=0.9, schedule=schedule,
                                 micro_batch_size=10, seed=3)
    run = training.train(model, images(100), images(40, seed=1), settings, checkpoint=f"{directory}/run.pt",
                         checkpoint_every=7, progress=False)
    torch.save({"history": torch.tensor(run.history.to_numpy(dtype="float64")), "weights": model.state_dict()},
               f"{directory}/outcome.pt")
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict:
    directory = tmp_path_factory.mktemp("uninterrupted")
    run_python(TRAIN_AND_STORE, str(directory), "never", "0")
    return torch.load(directory / "outcome.pt", weights_only=True)


def assert_same_outcome(directory: Path, uninterrupted: dict) -> None:
    outcome = torch.load(directory / "outcome.pt", weights_only=True)
    assert outcome["history"].shape == (300, len(HISTORY_COLUMNS))
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
    assert len(list(tmp_path.glob(".run.pt.*"))) == (when != "after renaming")
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
        "schedule": partial(MultiStepLR, milestones=np.array([2, 4]), gamma=np.float64(0.5)),
        "checkpoint": tmp_path / "run.pt",
    }
    finished = short(linear(), images(40), **settings)
    resumed = short(linear(), images(40), **settings)
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


def test_large_batches_are_saved_by_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    monkeypatch.setattr(training, "save_checkpoint", lambda path, state: saved.append(len(state["history"])))
    settings = {"batch_sizes": [64] * 8, "checkpoint": tmp_path / "run.pt"}
    short(linear(), images(64), **settings, evaluate_every=192, checkpoint_every=1000)
    assert saved == [3, 6, 8]  # as samples pass 192 and 384, and at the end


@pytest.mark.parametrize("case", [{}, {"momentum": 0.9, "micro_batch_size": 10}, {"learning_rate": 1e30}])
def test_losses_can_be_read_now_and_then_as_on_a_gpu_and_are_the_same(
    case: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(read_every: int) -> tuple[pd.DataFrame, bool, int]:
        """History and divergence of 60 steps, and how often the host waited for a number."""
        chosen = {"batch_sizes": [16] * 60, "learning_rate": 0.1, "precision": "float32", "evaluate_every": 10**6}
        with seeded(0):
            data = Training(deep(), images(100), None, Settings(**chosen | case), "cpu")
            data.read_every, count = read_every, []
            with monkeypatch.context() as patch:
                for name in ("item", "tolist", "__bool__", "__float__", "__int__"):
                    original = getattr(Tensor, name)
                    patch.setattr(Tensor, name, lambda *a, o=original: count.append(1) or o(*a))
                for batch_size in data.batches_left():
                    data.step(batch_size)
        return data.outcome().history, data.diverged, len(count)

    (often, diverged, waited), (seldom, also, hardly) = waits(1), waits(50)
    pd.testing.assert_frame_equal(often, seldom, check_exact=True)
    assert diverged == also == (case.get("learning_rate") == 1e30)
    assert hardly <= 2 and waited >= len(often)
