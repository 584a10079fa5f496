"""Data sets come from the nearest place that has them, unaltered, and leave source tree and settings alone."""

from __future__ import annotations

import bz2
import csv
import functools
import gzip
import hashlib
import http.server
import io
import lzma
import os
import runpy
import shutil
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import openml
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal, assert_series_equal
from torchvision.datasets import FashionMNIST

from lib import datasets
from lib.datasets import (
    FASHION_MNIST_CHECKSUMS,
    FASHION_MNIST_CLASSES,
    OPENML_CHECKSUMS,
    load_fashion_mnist,
    load_openml,
)
from tests.conftest import ROOT

SHIPPED = Path(datasets.__file__).parent / "data" / "fashion_mnist_quick"
RAW = SHIPPED / "FashionMNIST" / "raw"
SNAPSHOTS = datasets.SHIPPED / "openml"
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
        assert tuple(part.classes) == FASHION_MNIST_CLASSES


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
    script = runpy.run_path(str(ROOT / "tools" / "make_fashion_mnist_subset.py"))
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
    from lib.prediction import PIXEL_MEAN, PIXEL_STD

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


def test_files_of_the_other_subset_are_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is of subset='quick': ask for that, or take it away"):
        load_fashion_mnist("full", root=RAW)


def test_without_a_cache_that_can_be_written_the_data_are_loaded_or_the_ways_out_named(
    small_full: Path, no_network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(load_fashion_mnist("full").train.data) > 0
    shutil.rmtree(small_full)
    with pytest.raises(FileNotFoundError, match=r"XDG_CACHE_HOME.*dataset-fashion-mnist.*root=DIRECTORY.*'quick'"):
        load_fashion_mnist("full")


def test_missing_file_beside_the_others_is_named(small_full: Path) -> None:
    (small_full / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="lacks train-labels-idx1-ubyte"):
        load_fashion_mnist("full")


@pytest.fixture
def shipped_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what ships, to be damaged."""
    shutil.copytree(datasets.SHIPPED, tmp_path / "shipped")
    monkeypatch.setattr(datasets, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


@pytest.mark.parametrize("how", ["truncated", "altered", "empty", "missing", "all missing", "no folder"])
def test_damaged_quick_file_is_restored_from_the_repository_and_never_downloaded(
    shipped_copy: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path, how: str
) -> None:
    monkeypatch.setattr(FashionMNIST, "download", lambda self: pytest.fail("it tries to download"))
    raw = shipped_copy / "fashion_mnist_quick" / "FashionMNIST" / "raw"
    if how == "no folder":
        shutil.rmtree(raw.parent)
    elif how == "all missing":
        for name in NAMES:
            (raw / name).unlink()
    else:
        damage(raw / NAMES[1], how)
    with pytest.raises((ValueError, FileNotFoundError), match=r"restore (it|them) from the repository$") as caught:
        load_fashion_mnist("quick")
    assert "subset='quick'" not in str(caught.value)
    assert not own_cache.exists()


def test_root_may_begin_with_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(RAW, tmp_path / "my" / "FashionMNIST" / "raw")
    assert len(load_fashion_mnist("quick", root="~/my").train.data) == 3000
    with pytest.raises(ValueError, match="root is no directory: '~/yours'"):
        load_fashion_mnist("quick", root="~/yours")


def test_a_user_without_a_home_finds_debians_package_or_the_ways_out(
    small_full: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert len(load_fashion_mnist("full").train.data) == 3000
    assert len(load_fashion_mnist("quick").train.data) == 3000
    shutil.rmtree(small_full)
    with pytest.raises(FileNotFoundError, match=r"XDG_CACHE_HOME.*dataset-fashion-mnist.*root=DIRECTORY"):
        load_fashion_mnist("full")


def test_unknown_subset_and_root_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="subset must be one of full, quick, got 'half'"):
        load_fashion_mnist("half")
    with pytest.raises(ValueError, match="subset must be one of full, quick"):
        load_fashion_mnist(["full"])
    with pytest.raises(ValueError, match="root is no directory"):
        load_fashion_mnist("full", root=tmp_path / "nowhere")


# OpenML


def state_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """What changes when something is written into a folder."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def rows_of(arff: str) -> list[list[str]]:
    """The data of an ARFF file, read by the csv module."""
    return list(csv.reader(io.StringIO(arff.split("@data\n")[1]), quotechar="'"))


@dataclass
class Served:
    """A data set as a server has it."""

    name: str
    arff: str
    target: str | None = "class"
    description: dict[str, str] = field(default_factory=dict)


class OpenMLServer:
    """As much of OpenML's server as the client asks for a data set: its id by name, its description, its data.

    `answers` replaces the answer to a path by another status and body; `cut` names paths whose answers break off;
    a server that is `down` ends every connection without an answer.
    """

    def __init__(self, served: dict[int, Served]):
        self.served, self.answers, self.cut, self.asked, self.down = served, {}, set(), [], False
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if owner.down:
                    return
                owner.asked.append(self.path)
                status, text = owner.answers.get(self.path) or owner.answer(self.path)
                body = gzip.compress(text.encode())
                self.send_response(status)
                self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if self.path in owner.cut else body)

            do_HEAD = do_GET  # what a client of Parquet files would ask first

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=functools.partial(self.http.serve_forever, poll_interval=0.01), daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def answer(self, path: str) -> tuple[int, str]:
        parts = path.removeprefix("/api/v1/xml").strip("/").split("/")
        if parts[:2] == ["data", "list"]:
            wanted = dict(zip(parts[2::2], parts[3::2], strict=True))
            assert wanted["status"] == "active"
            found = [number for number, data in self.served.items() if data.name == wanted["data_name"]]
            listed = "".join(
                f"<oml:dataset><oml:did>{number}</oml:did><oml:name>{self.served[number].name}</oml:name>"
                f"<oml:version>{version}</oml:version><oml:status>active</oml:status></oml:dataset>"
                for version, number in enumerate(found, 1)
            )
            if listed:
                return 200, f'<oml:data xmlns:oml="http://openml.org/openml">{listed}</oml:data>'
            return self.error(372, "No results")
        data = self.served.get(int(parts[2] if parts[1] == "download" else parts[1]))
        if data is None:
            return self.error(111, "Unknown dataset")
        if parts[1] == "download":
            return 200, data.arff
        entries = {
            "id": parts[1],
            "name": data.name,
            "version": "1",
            "format": "ARFF",
            "url": f"{self.address}/data/download/{parts[1]}",
            "parquet_url": f"{self.address}/parquet/{parts[1]}.pq",
            "default_target_attribute": data.target,
            "md5_checksum": hashlib.md5(data.arff.encode()).hexdigest(),
            **data.description,
        }
        inside = "".join(f"<oml:{key}>{escape(value)}</oml:{key}>" for key, value in entries.items() if value)
        return 200, (
            f'<oml:data_set_description xmlns:oml="http://openml.org/openml">{inside}</oml:data_set_description>'
        )

    @staticmethod
    def error(code: int, message: str) -> tuple[int, str]:
        return 412, (
            f'<oml:error xmlns:oml="http://openml.org/openml"><oml:code>{code}</oml:code>'
            f"<oml:message>{message}</oml:message></oml:error>"
        )


def arff(*attributes: str, rows: str) -> str:
    """An ARFF file of attributes, such as "x real", and lines of data."""
    return "\n".join(["@relation r", *(f"@attribute {attribute}" for attribute in attributes), "@data", rows]) + "\n"


COINS = arff(
    "weight real", "metal {copper,silver}", "class {heads,tails}", rows="1.5,copper,heads\n2,?,tails\n?,silver,heads"
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenMLServer]:
    """A server of the test's own, which the client asks once, without waiting to try again."""
    running = OpenMLServer({100: Served("coins", COINS)})
    monkeypatch.setattr(openml.config, "server", f"{running.address}/api/v1/xml")
    monkeypatch.setattr(openml.config, "connection_n_retries", 1)
    monkeypatch.setattr(openml.config, "_root_cache_directory", tmp_path / "client")
    yield running
    running.stop()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the client at a port where nobody listens, and at a cache of the test's own."""
    monkeypatch.setattr(openml.config, "_root_cache_directory", tmp_path / "client")
    monkeypatch.setattr(openml.config, "server", "http://127.0.0.1:9/api/v1/xml")
    monkeypatch.setattr(openml.config, "connection_n_retries", 1)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("names", "shape", "counts"),
    [
        (["credit-g", 31, "31", np.int64(31)], (1000, 20), {"good": 700, "bad": 300}),
        (["diabetes", 37, "37", np.uint8(37)], (768, 8), {"tested_negative": 500, "tested_positive": 268}),
    ],
)
def test_shipped_openml_data_is_that_of_the_file_by_name_and_by_id(
    offline: None, names: list, shape: tuple[int, int], counts: dict[str, int]
) -> None:
    rows = rows_of((SNAPSHOTS / f"{names[0]}.arff").read_text())
    for name_or_id in names:
        X, y = load_openml(name_or_id)
        assert (X.shape, y.shape, y.name) == (shape, shape[:1], "class")
        assert y.value_counts().to_dict() == counts
        table = X.assign(target=y)
        for index, column in enumerate(table):
            expected = [row[index] for row in rows]
            numeric = not isinstance(table[column].dtype, pd.CategoricalDtype)
            assert table[column].tolist() == ([float(value) for value in expected] if numeric else expected), column


def test_shipped_columns_have_the_types_of_the_file() -> None:
    X, y = load_openml("credit-g")
    assert list(y.dtype.categories) == ["good", "bad"]
    assert list(X["checking_status"].dtype.categories) == ["<0", "0<=X<200", ">=200", "no checking"]
    assert sum(isinstance(dtype, pd.CategoricalDtype) for dtype in X.dtypes) == 13
    numeric = X.select_dtypes("number")
    assert set(numeric.dtypes.astype(str)) == {"int64"}
    assert (numeric * 100).max().equals(numeric.max() * 100)  # no column wraps around
    assert set(load_openml("diabetes")[0].dtypes.astype(str)) == {"int64", "float64"}


def test_shipped_openml_data_needs_neither_network_nor_cache_and_writes_nothing(offline: None, own_cache: Path) -> None:
    before = state_of(datasets.SHIPPED)
    load_openml("credit-g")
    load_openml(37)
    assert state_of(datasets.SHIPPED) == before
    assert not own_cache.exists()


def run_python(code: str, *options: str, **environment: str | None) -> subprocess.CompletedProcess:
    """Run code in a new process, with these environment variables set, or removed by None."""
    variables = {"PYTHONPATH": str(ROOT), **environment}
    kept = {name: value for name, value in os.environ.items() if name not in variables}
    kept |= {name: value for name, value in variables.items() if value is not None}
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, env=kept, cwd="/")


def test_loading_shipped_data_is_silent_and_warns_of_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom lib.datasets import load_openml\n"
        "load_openml('credit-g'), load_openml('diabetes')\n"
        "assert not {'openml', 'torch'} & set(sys.modules), 'these take seconds to import'"
    )
    run = run_python(code, "-W", "error", HOME=str(tmp_path), XDG_CACHE_HOME=None, XDG_CONFIG_HOME=None)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("home", ["/dev/null/home", "/sys/home"])  # no folder; no permission, not even for root
def test_shipped_data_loads_silently_where_the_home_directory_cannot_be_written(home: str) -> None:
    code = (
        "from lib.datasets import load_openml\nload_openml('diabetes')\n"
        f"import os\nassert os.environ['HOME'] == {home!r} and 'OPENML_CACHE_DIR' not in os.environ"
    )
    nowhere = dict.fromkeys(("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "OPENML_CACHE_DIR"), None)
    run = run_python(code, "-W", "error", HOME=home, **nowhere)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_shipped_snapshots_are_small_and_their_checksums_documented() -> None:
    readme = (SNAPSHOTS / "README.md").read_text()
    assert {path.name for path in SNAPSHOTS.glob("*.arff")} == {f"{name}.arff" for name in OPENML_CHECKSUMS}
    for name, checksum in OPENML_CHECKSUMS.items():
        content = (SNAPSHOTS / f"{name}.arff").read_bytes()
        assert len(content) < 200_000
        assert hashlib.sha256(content).hexdigest() == checksum
        assert f"{checksum}  {name}.arff" in readme


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        altered = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        path.write_bytes({"truncated": content[: len(content) // 2], "altered": altered, "empty": b""}[how])


@pytest.mark.parametrize("how", ["truncated", "altered", "empty", "missing"])
def test_damaged_snapshot_is_refused_by_the_name_of_its_file(shipped_copy: Path, how: str) -> None:
    damage(shipped_copy / "openml" / "diabetes.arff", how)
    with pytest.raises(ValueError, match=r"openml/diabetes\.arff is .*restore it from the repository$"):
        load_openml("diabetes")
    assert load_openml("credit-g")[0].shape == (1000, 20)


def test_shipped_data_does_not_depend_on_what_is_cached(server: OpenMLServer) -> None:
    server.served |= {31: Served("credit-g", COINS), 37: Served("diabetes", COINS)}
    assert load_openml("diabetes")[0].shape == (768, 8)
    assert load_openml(31)[0].shape == (1000, 20)
    assert server.asked == []


@pytest.mark.parametrize("bad", [True, np.True_, 1.0, 31.0, None, b"diabetes", [37], 0, -1, "0", np.int8(-31)])
def test_what_is_no_id_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="name_or_id must be a whole number of at least 1, got "):
        load_openml(bad)


@pytest.mark.parametrize("bad", ["", " ", " diabetes", "a b", "diabetes\n", "a/b", "a?b", "a#b", "a%20b"])
def test_what_no_data_set_is_called_is_refused(server: OpenMLServer, bad: str) -> None:
    with pytest.raises(ValueError, match="name_or_id must be a name such as 'credit-g' or an id such as 31, got "):
        load_openml(bad)
    assert server.asked == []


@pytest.mark.parametrize("name", ["Diabetes", "CREDIT-G", "3_1", "-31", "٣١", "diabetes_"])
def test_names_are_matched_exactly_and_are_never_taken_for_ids(server: OpenMLServer, name: str) -> None:
    with pytest.raises(ValueError, match=rf"OpenML has no active data set '{name}'.*'credit-g' \(31\)"):
        load_openml(name)
    assert len(server.asked) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name_or_id", ["coins", 100])
def test_any_other_data_set_is_downloaded_once(server: OpenMLServer, name_or_id: str | int) -> None:
    before = state_of(datasets.SHIPPED)
    X, y = load_openml(name_or_id)
    metal = pd.Categorical(["copper", None, "silver"], ["copper", "silver"], True)
    assert_frame_equal(X, pd.DataFrame({"weight": [1.5, 2, np.nan], "metal": metal}))
    assert_series_equal(
        y, pd.Series(pd.Categorical(["heads", "tails", "heads"], ["heads", "tails"], True), name="class")
    )
    asked = len(server.asked)
    assert asked == 2 + (name_or_id == "coins")
    server.down = True
    again = load_openml(name_or_id)
    assert_frame_equal(again[0], X)
    assert_series_equal(again[1], y)
    assert len(server.asked) == asked
    assert state_of(datasets.SHIPPED) == before
    assert "OPENML_SKIP_PARQUET" not in os.environ


def test_a_name_stands_for_the_oldest_active_data_set_also_without_a_network(server: OpenMLServer) -> None:
    server.served = {300: Served("coins", COINS.replace("tails", "edge")), 200: Served("coins", COINS)}
    assert set(load_openml("coins")[1]) == {"heads", "tails"}
    assert set(load_openml(300)[1]) == {"heads", "edge"}
    server.down = True
    assert set(load_openml("coins")[1]) == {"heads", "tails"}


def test_a_damaged_memory_of_names_is_asked_again(server: OpenMLServer, tmp_path: Path) -> None:
    load_openml("coins")
    (memory,) = (tmp_path / "client").rglob("coins.id")
    memory.write_text("a hundred")
    assert load_openml("coins")[1].shape == (3,)


@pytest.mark.parametrize("name_or_id", ["dice", 5])
def test_without_network_and_cache_one_sentence_names_the_ways_out(offline: None, name_or_id: str | int) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_openml(name_or_id)
    message = str(caught.value)
    for part in (f"OpenML data set {name_or_id!r} is not in", "connect to the network", "'credit-g' (31)"):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("how", ["truncated", "altered", "empty", "missing"])
def test_a_damaged_file_in_the_cache_is_noticed_and_downloaded_again(
    server: OpenMLServer, tmp_path: Path, how: str
) -> None:
    X, _ = load_openml(100)
    damage(next((tmp_path / "client").rglob("dataset.arff")), how)
    server.down = True
    with pytest.raises(FileNotFoundError, match="connect to the network"):
        load_openml(100)
    server.down = False
    assert_frame_equal(load_openml(100)[0], X)


DESCRIPTION, DATA = "/api/v1/xml/data/100", "/data/download/100"
LISTING = "/api/v1/xml/data/list/status/active/data_name/coins/limit/10000/offset/0"


@pytest.mark.parametrize("path", [LISTING, DESCRIPTION, DATA])
@pytest.mark.parametrize(
    "failure",
    ["cut", (500, "<html>Internal error"), (200, "<html>"), (200, ""), (412, "<oml:error/>")],
    ids=["cut", "error 500", "open tag", "nothing", "empty error"],
)
def test_a_failed_download_is_one_sentence_and_does_not_stand_in_the_way_of_the_next(
    server: OpenMLServer, path: str, failure: str | tuple[int, str]
) -> None:
    if failure == "cut":
        server.cut.add(path)
    else:
        server.answers[path] = failure
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .*connect to the") as caught:
        load_openml("coins")
    assert "\n" not in str(caught.value)
    server.cut.clear()
    server.answers.clear()
    assert load_openml("coins")[0].shape == (3, 2)


def test_data_that_differ_from_the_servers_checksum_are_refused(server: OpenMLServer) -> None:
    server.answers[DATA] = (200, COINS.replace("1.5", "2.5"))
    with pytest.raises(FileNotFoundError, match="Checksum of downloaded file is unequal"):
        load_openml(100)


def test_data_that_no_one_may_see_are_not_taken_for_missing(server: OpenMLServer) -> None:
    server.answers[DESCRIPTION] = server.error(112, "No access granted")
    with pytest.raises(FileNotFoundError, match="No access granted"):
        load_openml(100)


def test_an_unknown_id_is_said_to_be_unknown(server: OpenMLServer) -> None:
    with pytest.raises(ValueError, match=r"OpenML has no active data set 999.*'credit-g' \(31\)"):
        load_openml(999)


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (
            Served("dice", arff("x real", "class {a,b,c}", rows="1,a\n2,b\n3,c")),
            r"has 3 classes \(a, b, c\) instead of two",
        ),
        (Served("dice", arff("x real", "class {a,b}", rows="1,b\n2,b")), r"has 1 class \(b\) instead of two"),
        (
            Served("dice", arff("class real", rows="\n".join("12345"))),
            r"has 5 classes \(1, 2, 3, 4, ...\) instead of two",
        ),
        (Served("dice", arff("x real", "class {a,b}", rows="1,a\n2,b\n3,?")), "is missing in 1 of 3 rows"),
        (Served("dice", arff("x real", "class {a,b}", rows="1,a\n2,b"), target=None), "names no target"),
        (
            Served("dice", arff("x real", "class {a,b}", rows="1,a\n2,b"), target="outcome"),
            "names 'outcome' as its target",
        ),
        (Served("dice", arff("x {a,b}", "y {a,b}", rows="a,a\nb,b"), target="x,y"), "names 'x,y' as its target"),
    ],
    ids=["three", "one", "many", "missing values", "no target", "no such target", "two targets"],
)
def test_a_target_that_is_not_one_of_two_classes_is_refused(server: OpenMLServer, served: Served, message: str) -> None:
    server.served[5] = served
    for _ in range(2):  # downloaded, then cached
        with pytest.raises(ValueError, match=message) as caught:
            load_openml("dice")
        assert "OpenML data set 'dice' (5)" in str(caught.value)
        server.down = True


def test_classes_may_be_numbers_strings_or_truth_values(server: OpenMLServer) -> None:
    server.served = {
        1: Served("numbers", arff("x real", "class real", rows="1,0\n2,1\n3,0")),
        2: Served("strings", arff("x real", "class string", rows="1,no\n2,yes\n3,no")),
        3: Served("truths", arff("x real", "class {FALSE,TRUE}", rows="1,FALSE\n2,TRUE\n3,FALSE")),
        4: Served("unused", arff("x real", "class {a,b,c}", rows="1,a\n2,c\n3,a")),
    }
    labels = {number: load_openml(number)[1] for number in server.served}
    assert labels[1].tolist() == [0, 1, 0]
    assert labels[1].dtype == "int64"
    assert labels[2].tolist() == ["no", "yes", "no"]
    assert labels[3].tolist() == ["FALSE", "TRUE", "FALSE"]
    assert labels[4].tolist() == ["a", "c", "a"]
    assert list(labels[4].dtype.categories) == ["a", "c"]


def test_identifiers_and_columns_to_be_ignored_are_no_attributes(server: OpenMLServer) -> None:
    table = arff("number real", "note real", "x real", "class {a,b}", rows="1,5,0.5,a\n2,6,1.5,b")
    server.served[5] = Served("dice", table, description={"row_id_attribute": "number", "ignore_attribute": "note"})
    assert list(load_openml(5)[0]) == ["x"]


def test_sparse_data_of_numbers_become_dense(server: OpenMLServer) -> None:
    table = arff("x real", "y real", "class real", rows="{0 1.5, 2 1}\n{1 2}\n{0 3, 1 4, 2 1}")
    server.served[5] = Served("dice", table, description={"format": "Sparse_ARFF"})
    X, y = load_openml(5)
    assert X.to_numpy().tolist() == [[1.5, 0], [0, 2], [3, 4]]
    assert y.tolist() == [1, 0, 1]


def test_sparse_data_with_nominal_attributes_are_read(server: OpenMLServer) -> None:
    table = arff("x real", "metal {copper,silver}", "class {a,b}", rows="{0 1.5, 2 b}\n{1 silver}")
    server.served[5] = Served("dice", table, description={"format": "Sparse_ARFF"})
    X, y = load_openml(5)
    assert X.to_numpy().tolist() == [[1.5, "copper"], [0, "silver"]]
    assert y.tolist() == ["b", "a"]


@pytest.mark.parametrize("kind", ["real", "numeric", "integer", "REAL"])
def test_numeric_columns_are_numbers_even_where_all_values_are_missing(server: OpenMLServer, kind: str) -> None:
    table = arff(f"x {kind}", f"n {kind}", "class {a,b}", rows="?,1,a\n?,2,b\n?,300,a")
    server.served[5] = Served("dice", table)
    X, _ = load_openml(5)
    assert (X["x"].dtype, X["n"].dtype) == ("float64", "int64")
    assert X["x"].isna().all()
    assert (X["n"] * 1000).tolist() == [1000, 2000, 300_000]  # nothing wraps around


def test_numbers_too_large_for_int64_stay_as_they_are(server: OpenMLServer) -> None:
    server.served[5] = Served("dice", arff("x real", "class {a,b}", rows="1e300,a\n2,b"))
    assert load_openml(5)[0]["x"].tolist() == [1e300, 2.0]


def test_several_columns_to_be_ignored_may_stand_in_one_string(server: OpenMLServer) -> None:
    table = arff("number real", "note real", "x real", "class {a,b}", rows="1,5,0.5,a\n2,6,1.5,b")
    server.served[5] = Served("dice", table, description={"ignore_attribute": "number, note"})
    assert list(load_openml(5)[0]) == ["x"]
    table = arff("number real", "note real", "'number,note' real", "class {a,b}", rows="1,5,0.5,a\n2,6,1.5,b")
    server.served[6] = Served("cards", table, description={"ignore_attribute": "number,note"})
    assert list(load_openml(6)[0]) == ["number", "note"]


def test_dates_and_fractions_among_integers_are_read(server: OpenMLServer) -> None:
    table = arff("day date yyyy-MM-dd", "n integer", "class {a,b}", rows="2001-04-03,1.5,a\n?,2,b")
    server.served[5] = Served("dice", table)
    X, _ = load_openml(5)
    assert X["day"].tolist() == [pd.Timestamp(2001, 4, 3), pd.NaT]
    assert X["n"].tolist() == [1.5, 2.0]


def test_data_that_cannot_be_read_are_refused(server: OpenMLServer) -> None:
    server.served[5] = Served("dice", COINS + "1,copper\n")
    with pytest.raises(ValueError, match=r"OpenML data set 'dice' \(5\) cannot be read .*: choose another"):
        load_openml(5)


def test_threads_do_not_meet_in_the_one_configuration(server: OpenMLServer) -> None:
    wanted = ["diabetes", "coins", "credit-g", 100] * 4
    with ThreadPoolExecutor(8) as pool:
        shapes = [X.shape for X, _ in pool.map(load_openml, wanted)]
    assert shapes == [(768, 8), (3, 2), (1000, 20), (3, 2)] * 4


# the script that makes the snapshots, from stand-ins for its sources that an independent writer makes


def r_data_frame(name: str, columns: dict[str, list]) -> bytes:
    """A data frame as R's save() writes it, format 2: lists of labels become factors, whole numbers integers."""

    def integers(*values: int) -> bytes:
        return struct.pack(f">{len(values)}i", *values)

    def string(text: str) -> bytes:
        return integers(9, len(text)) + text.encode()

    symbols: list[str] = []

    def symbol(text: str) -> bytes:
        if text in symbols:
            return integers(255 | symbols.index(text) + 1 << 8)
        symbols.append(text)
        return integers(1) + string(text)

    def strings(values: list[str]) -> bytes:
        return integers(16, len(values)) + b"".join(map(string, values))

    def attributes(**values: bytes) -> bytes:
        tagged = b"".join(integers(0x402) + symbol(tag.replace("_", ".")) + value for tag, value in values.items())
        return tagged + integers(254)

    def vector(values: list) -> bytes:
        if isinstance(values[0], str):
            levels = sorted(set(values))
            codes = integers(0x30D, len(values), *(levels.index(value) + 1 for value in values))
            return codes + attributes(levels=strings(levels), **{"class": strings(["factor"])})
        if isinstance(values[0], int):
            return integers(13, len(values), *values)
        return integers(14, len(values)) + struct.pack(f">{len(values)}d", *values)

    content = b"RDX2\nX\n" + integers(2, 0x40102, 0x20300, 0x402) + symbol(name) + integers(0x313, len(columns))
    content += b"".join(vector(values) for values in columns.values())
    content += attributes(
        names=strings(list(columns)), row_names=integers(13, 2, -(2**31), -9), **{"class": strings(["data.frame"])}
    )
    return content + integers(254)


def debian_package(folder: Path, name: str, file: str, content: bytes) -> None:
    root = folder / f"{name}-root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: a stand-in\n"
    )
    path = root / "usr" / "lib" / "R" / "site-library" / name / "data" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", root, folder / f"{name}_1_all.deb"], check=True, capture_output=True
    )


@pytest.fixture
def make_snapshots() -> dict:
    return runpy.run_path(str(ROOT / "tools" / "make_openml_snapshots.py"))


def sources(
    folder: Path, compress: Callable[[bytes], bytes], change: Callable[[dict], object] = lambda frame: None
) -> Path:
    """The wheel and the packages from which the script makes the snapshots; `change` alters the second credit-g."""
    folder.mkdir()
    credit = (SNAPSHOTS / "credit-g.arff").read_text()
    with zipfile.ZipFile(folder / "pysubgroup-0.9.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pysubgroup/data/credit-g.arff", credit)
    X, y = load_openml("diabetes")
    frame = {name: X[name].astype(float).tolist() for name in X} | {"diabetes": [label[7:10] for label in y]}
    content = compress(r_data_frame("PimaIndiansDiabetes", frame))
    debian_package(folder, "r-cran-mlbench", "PimaIndiansDiabetes.rda", content)

    X, y = load_openml("credit-g")
    employment = ["<1", "1<=X<4", "4<=X<7", ">=7", "unemployed"]  # caret's order
    frame = {}
    for name, theirs in runpy.run_path(str(ROOT / "tools" / "make_openml_snapshots.py"))["CREDIT_NAMES"].items():
        if name == "class":
            frame[theirs] = [label.capitalize() for label in y]
        elif theirs.endswith("."):
            labels = employment if name == "employment" else X[name].dtype.categories
            frame |= {
                f"{theirs}{number}": (X[name] == label).astype(float).tolist() for number, label in enumerate(labels)
            }
        elif name in ("own_telephone", "foreign_worker"):
            frame[theirs] = (X[name] == X[name].dtype.categories[0]).astype(float).tolist()
        else:
            frame[theirs] = X[name].astype(int).tolist()
    change(frame)
    debian_package(folder, "r-cran-caret", "GermanCredit.RData", compress(r_data_frame("GermanCredit", frame)))
    return folder


needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


@needs_dpkg
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_script_makes_the_shipped_snapshots_again(
    tmp_path: Path, make_snapshots: dict, compress: Callable[[bytes], bytes], capsys: pytest.CaptureFixture
) -> None:
    make_snapshots["main"](sources(tmp_path / "sources", compress), tmp_path / "made")
    printed = capsys.readouterr().out
    assert "equal in all 21,000 cells" in printed
    for name, checksum in OPENML_CHECKSUMS.items():
        assert (tmp_path / "made" / f"{name}.arff").read_bytes() == (SNAPSHOTS / f"{name}.arff").read_bytes()
        assert f"{checksum}  {name}.arff" in printed


@needs_dpkg
@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame["Age"].__setitem__(999, 1),
        lambda frame: frame["Class"].__setitem__(0, "Bad"),
        lambda frame: frame["Telephone"].__setitem__(5, 1 - frame["Telephone"][5]),
    ],
)
def test_script_stops_if_the_two_sources_of_credit_g_differ(
    tmp_path: Path, make_snapshots: dict, change: Callable[[dict], object]
) -> None:
    folder = sources(tmp_path / "sources", bytes, change)
    with pytest.raises(ValueError, match="differ in 1 of 21,000 cells"):
        make_snapshots["main"](folder, tmp_path / "made")
    assert not (tmp_path / "made").exists()
