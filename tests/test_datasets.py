"""Data sets come from the nearest place that has them, unaltered, and leave source tree and settings alone."""

from __future__ import annotations

import bz2
import contextlib
import csv
import functools
import gzip
import hashlib
import http.server
import io
import lzma
import os
import pickle
import runpy
import shutil
import stat
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
    OPENML_SNAPSHOTS,
    load_fashion_mnist,
    load_openml,
    write_atomically,
)
from tests.conftest import ROOT

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
    with pytest.raises(ValueError, match=r"is of subset='quick', not 'full': ask for that one, or take it away"):
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


def test_unknown_subset_and_root_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="subset must be 'quick' or 'full', not 'half'"):
        load_fashion_mnist("half")
    with pytest.raises(ValueError, match="subset must be 'quick' or 'full'"):
        load_fashion_mnist(["full"])
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

    def features(self) -> str:
        """What the server says of the columns, from lines such as @attribute x real and @attribute y {a,b}."""
        features = ""
        lines = [line for line in self.arff.splitlines() if line.startswith("@attribute")]
        for index, line in enumerate(lines):
            _, name, kind = line.split(" ", 2)
            labels = kind.strip("{}").split(",") if kind.startswith("{") else []
            features += (
                f"<oml:feature><oml:index>{index}</oml:index><oml:name>{name}</oml:name>"
                f"<oml:data_type>{'nominal' if labels else 'string' if kind == 'string' else 'numeric'}</oml:data_type>"
                + "".join(f"<oml:nominal_value>{escape(label)}</oml:nominal_value>" for label in labels)
                + "</oml:feature>"
            )
        return f'<oml:data_features xmlns:oml="http://openml.org/openml">{features}</oml:data_features>'


class OpenMLServer:
    """As much of OpenML's server as the client asks for a data set: its id by name, description, features, data.

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
        data = self.served.get(int(parts[2] if parts[1] in ("features", "download") else parts[1]))
        if data is None:
            return self.error(111, "Unknown dataset")
        if parts[1] == "features":
            return 200, data.features()
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
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenMLServer]:
    """A server of the test's own, which the client asks once, without waiting to try again."""
    running = OpenMLServer({100: Served("coins", COINS)})
    monkeypatch.setattr(openml.config, "server", f"{running.address}/api/v1/xml")
    monkeypatch.setattr(openml.config, "connection_n_retries", 1)
    yield running
    running.stop()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the client at a port where nobody listens."""
    monkeypatch.setattr(openml.config, "server", "http://127.0.0.1:9/api/v1/xml")
    monkeypatch.setattr(openml.config, "connection_n_retries", 1)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("data_id", "names", "shape", "counts"),
    [
        (31, ["credit-g", 31, "31", np.int64(31)], (1000, 20), {"good": 700, "bad": 300}),
        (37, ["diabetes", 37, "37", np.uint8(37)], (768, 8), {"tested_negative": 500, "tested_positive": 268}),
    ],
)
def test_shipped_openml_data_is_that_of_the_file_by_name_and_by_id(
    offline: None, data_id: int, names: list, shape: tuple[int, int], counts: dict[str, int]
) -> None:
    rows = rows_of((OPENML_SNAPSHOTS / str(data_id) / "dataset.arff").read_text())
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
    assert set(numeric.dtypes.astype(str)) == {"int64", "float64"}
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
        "assert not {'openml', 'torch'} & set(sys.modules), 'these take seconds to import'\n"
        "load_openml('credit-g'), load_openml('diabetes')"
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


def test_the_users_settings_of_the_client_stay(server: OpenMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENML_SKIP_PARQUET", "false")
    before = openml.config.get_config_as_dict()
    for name_or_id in ("diabetes", "coins", 999, "nothing"):
        with contextlib.suppress(ValueError):
            load_openml(name_or_id)
        assert openml.config.get_config_as_dict() == before
        assert os.environ["OPENML_SKIP_PARQUET"] == "false"
    monkeypatch.delenv("OPENML_SKIP_PARQUET")
    load_openml("diabetes")
    assert "OPENML_SKIP_PARQUET" not in os.environ


def test_the_client_itself_reads_the_snapshots(tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(datasets.SHIPPED / "openml", tmp_path / "copy")
    monkeypatch.setattr(openml.config, "server", "https://www.openml.org/api/v1/xml")
    monkeypatch.setattr(openml.config, "_root_cache_directory", tmp_path / "copy")
    for name, data_id in datasets.OPENML_IDS.items():
        dataset = openml.datasets.get_dataset(data_id, download_data=True, download_features_meta_data=True)
        data, *_ = dataset.get_data()
        assert (dataset.name, dataset.default_target_attribute) == (name, "class")
        content = (OPENML_SNAPSHOTS / str(data_id) / "dataset.arff").read_bytes()
        assert dataset.md5_checksum == hashlib.md5(content).hexdigest()
        assert [feature.name for feature in dataset.features.values()] == list(data)
        for feature in dataset.features.values():
            nominal = isinstance(data[feature.name].dtype, pd.CategoricalDtype)
            assert (feature.data_type == "nominal") == nominal
            assert feature.number_missing_values == data[feature.name].isna().sum() == 0
            assert not nominal or feature.nominal_values == list(data[feature.name].dtype.categories)


def test_shipped_snapshots_are_small_and_their_checksums_documented() -> None:
    readme = (datasets.SHIPPED / "openml" / "README.md").read_text()
    assert {int(folder.name) for folder in OPENML_SNAPSHOTS.iterdir()} == set(OPENML_CHECKSUMS)
    for data_id, checksums in OPENML_CHECKSUMS.items():
        assert {path.name for path in (OPENML_SNAPSHOTS / str(data_id)).iterdir()} == set(checksums)
        for file, checksum in checksums.items():
            content = (OPENML_SNAPSHOTS / str(data_id) / file).read_bytes()
            assert len(content) < 200_000
            assert hashlib.sha256(content).hexdigest() == checksum
            assert f"{checksum}  {data_id}/{file}" in readme


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        altered = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        path.write_bytes({"truncated": content[: len(content) // 2], "altered": altered, "empty": b""}[how])


@pytest.mark.parametrize("file", ["dataset.arff", "description.xml", "features.xml"])
@pytest.mark.parametrize("how", ["truncated", "altered", "empty", "missing"])
def test_damaged_snapshot_is_refused_by_the_name_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, how: str
) -> None:
    shutil.copytree(OPENML_SNAPSHOTS, tmp_path / "snapshots")
    monkeypatch.setattr(datasets, "OPENML_SNAPSHOTS", tmp_path / "snapshots")
    damage(tmp_path / "snapshots" / "37" / file, how)
    with pytest.raises(ValueError, match=f"{tmp_path}/snapshots/37/{file} is truncated or altered"):
        load_openml("diabetes")
    assert load_openml("credit-g")[0].shape == (1000, 20)


def test_shipped_data_does_not_depend_on_what_is_cached(server: OpenMLServer, own_cache: Path) -> None:
    server.served |= {31: Served("credit-g", COINS), 37: Served("diabetes", COINS)}
    for folder in (own_cache / "deep-learning-systems-book" / "openml" / "org", own_cache / "openml" / "org"):
        decoy = folder / "openml" / "www" / "datasets" / "37"
        shutil.copytree(OPENML_SNAPSHOTS / "37", decoy)
        for file in ("dataset.arff", "dataset.pkl.py3", "features.xml.pkl"):
            (decoy / file).write_bytes(b"other data")
    assert load_openml("diabetes")[0].shape == (768, 8)
    assert load_openml(31)[0].shape == (1000, 20)
    assert server.asked == []


@pytest.mark.parametrize("bad", [True, np.True_, 1.0, 31.0, None, b"diabetes", [37], Path("diabetes")])
def test_neither_a_name_nor_an_id_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match="name_or_id must be a name such as 'credit-g' or an id such as 31, not "):
        load_openml(bad)


@pytest.mark.parametrize(
    "bad", ["", " ", " diabetes", "a b", "diabetes\n", "a/b", "a?b", "a#b", "a%20b", 0, -1, "0", np.int8(-31)]
)
def test_what_no_data_set_is_called_is_refused(server: OpenMLServer, bad: str | int) -> None:
    with pytest.raises(ValueError, match="name_or_id must be a name"):
        load_openml(bad)
    assert server.asked == []


@pytest.mark.parametrize("name", ["Diabetes", "CREDIT-G", "3_1", "-31", "٣١", "diabetes_"])
def test_names_are_matched_exactly_and_are_never_taken_for_ids(server: OpenMLServer, name: str) -> None:
    with pytest.raises(ValueError, match=rf"OpenML has no active data set named '{name}'.*'credit-g' \(31\)"):
        load_openml(name)
    assert len(server.asked) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name_or_id", ["coins", 100])
def test_any_other_data_set_is_downloaded_once_with_progress(
    server: OpenMLServer, own_cache: Path, capfd: pytest.CaptureFixture, name_or_id: str | int
) -> None:
    before = state_of(datasets.SHIPPED)
    X, y = load_openml(name_or_id)
    assert_frame_equal(
        X,
        pd.DataFrame(
            {
                "weight": [1.5, 2, np.nan],
                "metal": pd.Categorical(["copper", None, "silver"], ["copper", "silver"], True),
            }
        ),
    )
    assert_series_equal(
        y, pd.Series(pd.Categorical(["heads", "tails", "heads"], ["heads", "tails"], True), name="class")
    )
    progress = capfd.readouterr().err
    assert "OpenML 100: data: 100%" in progress
    assert ("OpenML 'coins': id: 100%" in progress) == (name_or_id == "coins")
    asked = len(server.asked)
    assert asked == 3 + (name_or_id == "coins")
    server.down = True
    again = load_openml(name_or_id)
    assert_frame_equal(again[0], X)
    assert_series_equal(again[1], y)
    assert len(server.asked) == asked
    assert capfd.readouterr().err == ""
    assert state_of(datasets.SHIPPED) == before
    kept = files_in(own_cache / "deep-learning-systems-book")
    assert {path.name for path in kept if path.suffix != ".json"} == {*datasets._OPENML_FILES, "SHA256SUMS"}


def test_a_name_stands_for_the_oldest_active_data_set_also_without_a_network(server: OpenMLServer) -> None:
    server.served = {300: Served("coins", COINS.replace("tails", "edge")), 200: Served("coins", COINS)}
    assert set(load_openml("coins")[1]) == {"heads", "tails"}
    assert set(load_openml(300)[1]) == {"heads", "edge"}
    server.down = True
    assert set(load_openml("coins")[1]) == {"heads", "tails"}


def test_each_server_has_its_own_cache(server: OpenMLServer, monkeypatch: pytest.MonkeyPatch) -> None:
    load_openml("coins")
    other = OpenMLServer({100: Served("coins", COINS.replace("tails", "edge"))})
    monkeypatch.setattr(openml.config, "server", f"{other.address}/api/v1/xml")
    try:
        assert set(load_openml("coins")[1]) == {"heads", "edge"}
    finally:
        other.stop()


@pytest.mark.parametrize(
    "record", ["", "null", "[]", '{"name": "coins"}', '{"name": "dice", "id": 5}', '{"name": "coins", "id": null}']
)
def test_a_damaged_memory_of_names_is_asked_again(server: OpenMLServer, own_cache: Path, record: str) -> None:
    load_openml("coins")
    (memory,) = own_cache.rglob("*.json")
    memory.write_text(record)
    assert load_openml("coins")[1].shape == (3,)
    assert [path for path in server.asked if "/list/" in path] == [server.asked[0]] * 2


@pytest.mark.parametrize("name_or_id", ["dice", 5])
def test_without_network_and_cache_one_sentence_names_the_ways_out(
    offline: None, own_cache: Path, name_or_id: str | int
) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_openml(name_or_id)
    message = str(caught.value)
    for part in (
        f"OpenML data set {name_or_id!r} is not in",
        "no connection",
        "connect to the network",
        "'credit-g' (31)",
    ):
        assert part in message
    assert "\n" not in message
    assert files_in(own_cache) == []


@pytest.mark.parametrize("file", ["dataset.arff", "description.xml", "features.xml", "SHA256SUMS"])
@pytest.mark.parametrize("how", ["truncated", "altered", "empty", "missing"])
def test_a_damaged_file_in_the_cache_is_noticed_and_downloaded_again(
    server: OpenMLServer, own_cache: Path, file: str, how: str
) -> None:
    X, y = load_openml(100)
    place = next(own_cache.rglob("dataset.arff")).parent
    whole = {path.name: path.read_bytes() for path in place.iterdir()}
    damage(place / file, how)
    server.down = True
    with pytest.raises(FileNotFoundError, match=f"OpenML data set 100 is damaged in {place}"):
        load_openml(100)
    server.down = False
    again = load_openml(100)
    assert_frame_equal(again[0], X)
    assert_series_equal(again[1], y)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == whole


def test_what_lies_beside_the_files_in_the_cache_is_not_read(server: OpenMLServer, own_cache: Path) -> None:
    X, _ = load_openml(100)
    place = next(own_cache.rglob("dataset.arff")).parent
    other = openml.datasets.get_dataset(100)  # writes into the client's own cache
    for name in ("dataset.pkl.py3", "features.xml.pkl", "dataset_100.pq"):
        (place / name).write_bytes(pickle.dumps((X.iloc[:1], [], list(other.features))))
    assert_frame_equal(load_openml(100)[0], X)


DESCRIPTION, FEATURES, DATA = "/api/v1/xml/data/100", "/api/v1/xml/data/features/100", "/data/download/100"
LISTING = "/api/v1/xml/data/list/status/active/data_name/coins/limit/10000/offset/0"


@pytest.mark.parametrize("path", [LISTING, DESCRIPTION, FEATURES, DATA])
@pytest.mark.parametrize(
    "failure",
    ["cut", (500, "<html>Internal error"), (200, "<html>"), (200, ""), (200, "<oml:other/>"), (412, "<oml:error/>")],
    ids=["cut", "error 500", "open tag", "nothing", "other XML", "empty error"],
)
def test_a_failed_download_is_one_sentence_and_leaves_nothing_in_the_cache(
    server: OpenMLServer, own_cache: Path, path: str, failure: str | tuple[int, str]
) -> None:
    if failure == "cut":
        server.cut.add(path)
    else:
        server.answers[path] = failure
    with pytest.raises(
        FileNotFoundError, match=r"could not be downloaded from http://127\.0.*connect to the"
    ) as caught:
        load_openml("coins")
    assert "\n" not in str(caught.value)
    assert [file for file in files_in(own_cache / "deep-learning-systems-book") if file.suffix != ".json"] == []
    server.cut.clear()
    server.answers.clear()
    assert load_openml("coins")[0].shape == (3, 2)


def test_data_that_differ_from_the_servers_checksum_are_refused(server: OpenMLServer, own_cache: Path) -> None:
    server.answers[DATA] = (200, COINS.replace("1.5", "2.5"))
    with pytest.raises(FileNotFoundError, match="Checksum of downloaded file is unequal"):
        load_openml(100)
    assert files_in(own_cache / "deep-learning-systems-book") == []


def test_data_that_no_one_may_see_are_not_taken_for_missing(server: OpenMLServer) -> None:
    server.answers[DESCRIPTION] = server.error(112, "No access granted")
    with pytest.raises(FileNotFoundError, match="No access granted"):
        load_openml(100)


def test_an_unknown_id_is_said_to_be_unknown(server: OpenMLServer) -> None:
    with pytest.raises(ValueError, match=r"OpenML has no data set with the id 999.*'credit-g' \(31\)"):
        load_openml(999)


def test_data_that_cannot_be_kept_are_loaded_all_the_same(server: OpenMLServer, own_cache: Path) -> None:
    own_cache.mkdir()
    (own_cache / "deep-learning-systems-book").write_text("no folder")
    with pytest.warns(UserWarning, match="cannot be kept in the cache"):
        assert load_openml(100)[0].shape == (3, 2)


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
        assert "openml.datasets.get_dataset(5).get_data()" in str(caught.value)
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
    assert labels[3].tolist() == [False, True, False]
    assert labels[4].tolist() == ["a", "c", "a"]
    assert list(labels[4].dtype.categories) == ["a", "c"]


def test_identifiers_and_columns_to_be_ignored_are_no_attributes(server: OpenMLServer) -> None:
    table = arff("number real", "note real", "x real", "class {a,b}", rows="1,5,0.5,a\n2,6,1.5,b")
    server.served[5] = Served("dice", table, description={"row_id_attribute": "number", "ignore_attribute": "note"})
    assert list(load_openml(5)[0]) == ["x"]


def test_sparse_data_of_numbers_are_read(server: OpenMLServer) -> None:
    table = arff("x real", "y real", "class real", rows="{0 1.5, 2 1}\n{1 2}\n{0 3, 1 4, 2 1}")
    server.served[5] = Served("dice", table, description={"format": "Sparse_ARFF"})
    X, y = load_openml(5)
    assert X.sparse.to_dense().to_numpy().tolist() == [[1.5, 0], [0, 2], [3, 4]]
    assert y.to_numpy().tolist() == [1, 0, 1]
    assert not isinstance(y.dtype, pd.SparseDtype)


def test_data_that_the_client_cannot_read_are_refused_and_not_kept(server: OpenMLServer, own_cache: Path) -> None:
    server.served[5] = Served("dice", COINS + "1,copper\n")
    with pytest.raises(ValueError, match=r"OpenML data set 'dice' \(5\) cannot be read by openml .*: choose another"):
        load_openml(5)
    assert files_in(own_cache / "deep-learning-systems-book") == []


def test_threads_do_not_meet_in_the_one_configuration(server: OpenMLServer) -> None:
    wanted = ["diabetes", "coins", "credit-g", 100] * 4
    with ThreadPoolExecutor(8) as pool:
        shapes = [X.shape for X, _ in pool.map(load_openml, wanted)]
    assert shapes == [(768, 8), (3, 2), (1000, 20), (3, 2)] * 4


def test_processes_may_download_the_same_data_at_once(server: OpenMLServer, own_cache: Path, tmp_path: Path) -> None:
    code = (
        "import openml; from lib.datasets import load_openml\n"
        f"openml.config.server = {openml.config.server!r}\n"
        "for _ in range(2): assert load_openml('coins')[0].shape == (3, 2) and load_openml(31)[0].shape == (1000, 20)"
    )
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(run_python, [code] * 2))
    assert [(run.returncode, run.stdout) for run in runs] == [(0, "")] * 2, runs[0].stderr + runs[1].stderr
    server.down = True
    assert load_openml("coins")[0].shape == (3, 2)


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
    return runpy.run_path(str(datasets.SHIPPED / "openml" / "make_snapshots.py"))


def sources(
    folder: Path, compress: Callable[[bytes], bytes], change: Callable[[dict], object] = lambda frame: None
) -> Path:
    """The wheel and the packages from which the script makes the snapshots; `change` alters the second credit-g."""
    folder.mkdir()
    credit = (OPENML_SNAPSHOTS / "31" / "dataset.arff").read_text()
    with zipfile.ZipFile(folder / "pysubgroup-0.9.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pysubgroup/data/credit-g.arff", credit)
    X, y = load_openml("diabetes")
    frame = {name: X[name].astype(float).tolist() for name in X} | {"diabetes": [label[7:10] for label in y]}
    content = compress(r_data_frame("PimaIndiansDiabetes", frame))
    debian_package(folder, "r-cran-mlbench", "PimaIndiansDiabetes.rda", content)

    X, y = load_openml("credit-g")
    employment = ["<1", "1<=X<4", "4<=X<7", ">=7", "unemployed"]  # caret's order
    frame = {}
    for name, theirs in runpy.run_path(str(datasets.SHIPPED / "openml" / "make_snapshots.py"))["CREDIT_NAMES"].items():
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
    for data_id, checksums in OPENML_CHECKSUMS.items():
        for file, checksum in checksums.items():
            made = (tmp_path / "made" / str(data_id) / file).read_bytes()
            assert made == (OPENML_SNAPSHOTS / str(data_id) / file).read_bytes(), file
            assert f"{checksum}  {data_id}/{file}" in printed


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


def test_a_built_wheel_holds_all_shipped_data(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from setuptools.build_meta import build_wheel; build_wheel('wheel')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    data = {path.relative_to(tmp_path).as_posix() for path in files_in(tmp_path / "lib" / "data")}
    assert len(data) > 12
    assert data <= set(zipfile.ZipFile(wheel).namelist())
