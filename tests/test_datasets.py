"""Fashion-MNIST comes from the nearest place that has it, unaltered, and leaves the source tree alone."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import os
import runpy
import shutil
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import FashionMNIST

from lib import datasets
from lib.datasets import FASHION_MNIST_CHECKSUMS, load_fashion_mnist, write_atomically

SHIPPED = Path(datasets.__file__).parent / "data" / "fashion_mnist_quick"
RAW = SHIPPED / "FashionMNIST" / "raw"
NAMES = list(FASHION_MNIST_CHECKSUMS["full"])

needs_full = pytest.mark.skipif(
    not datasets.DEBIAN_FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the quick files stand in for the full ones: compressed, in a directory that takes the place of Debian's."""
    debian = tmp_path / "debian"
    debian.mkdir()
    for name in NAMES:
        (debian / f"{name}.gz").write_bytes(gzip.compress((RAW / name).read_bytes(), 1))
    monkeypatch.setitem(FASHION_MNIST_CHECKSUMS, "full", FASHION_MNIST_CHECKSUMS["quick"])
    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", debian)
    return debian


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point torchvision's mirrors at a port where nobody listens."""
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])


def test_quick_is_stratified_and_of_the_stated_types() -> None:
    for part, each in zip(load_fashion_mnist(), (300, 100), strict=True):
        assert isinstance(part, FashionMNIST)
        assert (part.data.dtype, part.targets.dtype) == (torch.uint8, torch.int64)
        assert part.data.shape == (10 * each, 28, 28)
        assert torch.bincount(part.targets).tolist() == [each] * 10


def test_quick_needs_neither_network_nor_cache_and_writes_nothing(no_network: None, own_cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in SHIPPED.rglob("*") if "__pycache__" not in path.parts}
    load_fashion_mnist("quick")
    assert {path: path.stat().st_mtime_ns for path in SHIPPED.rglob("*") if "__pycache__" not in path.parts} == before
    assert not own_cache.exists()


def test_quick_does_not_depend_on_what_is_cached(own_cache: Path) -> None:
    decoy = own_cache / "deep-learning-systems-book" / "fashion-mnist-quick" / "FashionMNIST" / "raw"
    decoy.mkdir(parents=True)
    for name in NAMES:
        (decoy / name).write_bytes(b"other data")
    assert len(load_fashion_mnist("quick").train.data) == 3000


def test_shipped_files_are_small_and_their_checksums_documented() -> None:
    readme = (SHIPPED / "README.md").read_text()
    for name in NAMES:
        assert (RAW / name).stat().st_size < 3_000_000
        assert f"{hashlib.sha256((RAW / name).read_bytes()).hexdigest()}  {name}" in readme


@needs_full
def test_script_makes_the_shipped_bytes_again(tmp_path: Path) -> None:
    script = runpy.run_path(str(SHIPPED / "make_subset.py"))
    script["main"].__globals__["RAW"] = tmp_path / "made"
    script["main"]()
    assert all((tmp_path / "made" / name).read_bytes() == (RAW / name).read_bytes() for name in NAMES)


@needs_full
def test_full_is_found_and_has_all_images(own_cache: Path) -> None:
    train, test = load_fashion_mnist("full")
    assert train.data.shape == (60_000, 28, 28)
    assert test.data.shape == (10_000, 28, 28)
    assert torch.bincount(train.targets).tolist() == [6000] * 10


@needs_full
def test_normalisation_constants_are_those_of_the_training_images() -> None:
    from lib.training import PIXEL_MEAN, PIXEL_STD

    counts = np.bincount(load_fashion_mnist("full").train.data.numpy().ravel(), minlength=256)
    grey, share = np.arange(256) / 255, counts / counts.sum()
    mean = (share * grey).sum()
    assert (round(mean, 4), round(np.sqrt((share * (grey - mean) ** 2).sum()), 4)) == (PIXEL_MEAN, PIXEL_STD)


def test_system_files_are_decompressed_into_the_cache_once(small_full: Path, no_network: None, own_cache: Path) -> None:
    first = load_fashion_mnist("full")
    shutil.rmtree(small_full)
    second = load_fashion_mnist("full")
    assert torch.equal(first.train.data, second.train.data)
    assert sorted(path.name for path in own_cache.rglob("*") if path.is_file()) == sorted(NAMES)


@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
@pytest.mark.parametrize("compressed", [False, True])
def test_root_is_searched_first_in_every_layout(
    small_full: Path, no_network: None, tmp_path: Path, below: str, compressed: bool
) -> None:
    shutil.rmtree(small_full)
    root = tmp_path / "mine"
    (root / below).mkdir(parents=True)
    for name in NAMES:
        content = (RAW / name).read_bytes()
        path = root / below / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(content, 1) if compressed else content)
    before = sorted(root.rglob("*"))
    assert load_fashion_mnist("full", root=root).test.data.shape == (1000, 28, 28)
    assert sorted(root.rglob("*")) == before


def test_root_without_the_files_leaves_the_search_to_the_other_places(small_full: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(load_fashion_mnist("full", root=tmp_path / "empty").train.data) == 3000


def test_without_any_place_one_sentence_names_the_ways_out(small_full: Path, no_network: None, own_cache: Path) -> None:
    shutil.rmtree(small_full)
    with pytest.raises(FileNotFoundError) as caught:
        load_fashion_mnist("full")
    message = str(caught.value)
    for way in ("connect to the network", "dataset-fashion-mnist", "root=", "subset='quick'"):
        assert way in message
    assert "\n" not in message
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_download_goes_into_the_cache_with_progress(
    small_full: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path, capfd: pytest.CaptureFixture
) -> None:
    served = small_full.rename(tmp_path / "served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    md5 = [(f"{name}.gz", hashlib.md5((served / f"{name}.gz").read_bytes()).hexdigest()) for name in NAMES]
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(FashionMNIST, "resources", md5)
    try:
        assert len(load_fashion_mnist("full").train.data) == 3000
    finally:
        server.shutdown()
        server.server_close()
    assert "100%" in capfd.readouterr().err
    assert sorted(path.name for path in own_cache.rglob("*") if path.is_file()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_damaged_file_is_refused_by_name(tmp_path: Path, name: str, damage: str) -> None:
    shutil.copytree(RAW, tmp_path / "FashionMNIST" / "raw")
    path = tmp_path / "FashionMNIST" / "raw" / name
    content = path.read_bytes()
    altered = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes({"truncated": content[:-1], "altered": altered, "empty": b""}[damage])
    with pytest.raises(ValueError, match=f"{name} is truncated or altered"):
        load_fashion_mnist("quick", root=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "altered", "text"])
def test_damaged_compressed_file_is_refused_by_name_and_not_cached(
    small_full: Path, own_cache: Path, damage: str
) -> None:
    path = small_full / "t10k-labels-idx1-ubyte.gz"
    content = path.read_bytes()
    middle = len(content) // 2
    altered = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    path.write_bytes({"truncated": content[:-20], "altered": altered, "text": b"moved"}[damage])
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz is truncated or altered"):
        load_fashion_mnist("full")
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_damaged_cached_file_is_refused_by_name(small_full: Path, own_cache: Path) -> None:
    load_fashion_mnist("full")
    cached = next(own_cache.rglob("train-images-idx3-ubyte"))
    os.truncate(cached, 1000)
    with pytest.raises(ValueError, match=str(cached)):
        load_fashion_mnist("full")


def test_missing_file_beside_the_others_is_named(small_full: Path) -> None:
    (small_full / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="lacks train-labels-idx1-ubyte"):
        load_fashion_mnist("full")


def test_unknown_subset_and_root_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="subset must be 'quick' or 'full', not 'half'"):
        load_fashion_mnist("half")
    with pytest.raises(ValueError, match="root is no directory"):
        load_fashion_mnist("full", root=tmp_path / "nowhere")


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file", b"old")

    def fail(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_written_file_is_readable_by_others(tmp_path: Path) -> None:
    write_atomically(tmp_path / "deep" / "file", b"content")
    assert stat.S_IMODE((tmp_path / "deep" / "file").stat().st_mode) == 0o644
