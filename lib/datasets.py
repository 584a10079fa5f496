"""Data sets of the book, each from the nearest place that has it: repository, user's cache, system, network.

Every file that ships is checked against a recorded SHA-256 before it is used, so that a number computed from it means
the same everywhere. Nothing is ever written into the source tree.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import tempfile
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

import pandas as pd

from lib.arff import read_arff
from lib.arguments import ArgumentError, choice, whole_number
from lib.files import cache_directory, user_path, write_atomically

if TYPE_CHECKING:  # torchvision and openml take seconds to import, and no data set needs both
    from openml import OpenMLDataset
    from torchvision.datasets import FashionMNIST

SHIPPED = Path(__file__).resolve().parent / "data"
RESTORE = "restore it from the repository"

# SHA-256 of the decompressed IDX files
FASHION_MNIST_CHECKSUMS = {
    "full": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    "quick": {
        "train-images-idx3-ubyte": "ee31c1e1edb79ee04ce6a320d9e6e856628d3ea2b7aaa437891f46fdbdec9f93",
        "train-labels-idx1-ubyte": "a7901365666c760d2e5bd01b5bdc91c00e64ca459c33d7a48aed2aaee7486060",
        "t10k-images-idx3-ubyte": "7cee33c3c6414b1b86c25e665a6c4f41584269de3b7cc9768b1d351922845eef",
        "t10k-labels-idx1-ubyte": "3128d790775889812b73c4f13923559c8b9e281d112c6ea7862acf60a206a909",
    },
}
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist
_RAW = Path("FashionMNIST") / "raw"  # where torchvision's class looks below its root

#: The OpenML data sets that ship: id by name, and the SHA-256 of the ARFF file.
OPENML_IDS = {"credit-g": 31, "diabetes": 37}
OPENML_CHECKSUMS = {
    "credit-g": "77024f6bfb341d859c1fd4aaca12fab143bcb1f1d12bc557b2e8fd494b1080dc",
    "diabetes": "97e38873df32bd762cf6ef696a76fb1d6bc844d76bae35cdfdf0cf2dcb67dfd4",
}
_OPENML_IN_USE = threading.Lock()  # the client is not safe for threads
_TWO_THAT_SHIP = "one of the two that are shipped, 'credit-g' (31) and 'diabetes' (37)"


class TrainTest(NamedTuple):
    """A data set in two parts. Of each, `data` is a uint8 tensor (n, 28, 28) and `targets` an int64 tensor (n,)."""

    train: FashionMNIST
    test: FashionMNIST


def load_fashion_mnist(subset: str = "quick", *, root: str | os.PathLike | None = None) -> TrainTest:
    """Fashion-MNIST: 28 x 28 grey images of ten kinds of clothing, read by torchvision's own class.

    Parameters
    ----------
    subset : {"quick", "full"}
        "quick": 3,000 training and 1,000 test images, the same number of each class, shipped in the repository.
        "full": all 60,000 and 10,000, from the first of these that has them: `root`; the user's cache; Debian's
        package dataset-fashion-mnist; torchvision's download, into the user's cache.
    root : path, optional
        A directory to look in first (``~`` is the home directory): with the four IDX files, compressed (.gz) or not,
        either directly or below FashionMNIST/raw as torchvision lays them out.

    Raises
    ------
    ValueError
        For an unknown subset, a root that is no directory, and a file that is missing beside the others, truncated or
        altered.
    FileNotFoundError
        If no place has the data, and the full ones cannot be downloaded.

    References
    ----------
    Xiao, Rasul, Vollgraf, "Fashion-MNIST", arXiv 1708.07747; MIT licence.

    >>> train, test = load_fashion_mnist("quick")
    >>> train.data.shape, train.data.dtype
    (torch.Size([3000, 28, 28]), torch.uint8)
    """
    from torchvision.datasets import FashionMNIST

    choice("subset", subset, FASHION_MNIST_CHECKSUMS)
    if root is not None and not user_path(root).is_dir():
        raise ArgumentError(f"root is no directory: {os.fspath(root)!r}; give one with the IDX files, or leave it out")
    place, contents = _find_fashion_mnist(subset, None if root is None else user_path(root))
    with contextlib.ExitStack() as temporary:
        if not all((place / _RAW / name).is_file() for name in contents):  # torchvision would not find them
            try:
                place = _write_all(_fashion_mnist_cache(subset), contents)
            except OSError:  # a cache that cannot be written is no reason to do without the data
                place = _write_all(Path(temporary.enter_context(tempfile.TemporaryDirectory())), contents)
        return TrainTest(*(FashionMNIST(place, train=train, download=False) for train in (True, False)))


def load_openml(name_or_id: str | int) -> tuple[pd.DataFrame, pd.Series]:
    """A data set with two classes from OpenML: its attributes, and its target by the target's name.

    `credit-g` (31) and `diabetes` (37) are shipped in the repository and need no network. Any other is downloaded by
    the openml client into its own cache, and from then on needs no network, also by name.

    Parameters
    ----------
    name_or_id : str or int
        The name, exactly as OpenML has it, or the id (also as a string of digits). Of several data sets with one name
        it is the oldest active one, as for the client.

    Returns
    -------
    X : pandas.DataFrame of shape (n, n_attributes)
        All columns but the target and those that the data set marks as identifiers or to be ignored. Nominal attributes
        are categorical, with the categories in the data set's own order; numeric ones are int64 if all values are
        whole numbers, else float64, also where every value is missing; dates are datetime64.
    y : pandas.Series of shape (n,)
        The class labels as the data set has them: categorical where the target is nominal, so for both that are
        shipped. There are two classes and no missing value.

    Raises
    ------
    ValueError
        If `name_or_id` is neither; if there is no such data set; if its target is missing, or has more or fewer than
        two classes; if its file cannot be read without loss; and if a shipped file is missing or altered.
    FileNotFoundError
        If the data set is neither shipped nor in the cache and cannot be downloaded.

    References
    ----------
    Vanschoren, van Rijn, Bischl, Torgo, "OpenML: networked science in machine learning", SIGKDD Explorations 15 (2),
    2013. Sources and licences of the two that are shipped: lib/data/openml/README.md.

    >>> X, y = load_openml("diabetes")
    >>> X.shape, y.value_counts().to_dict()
    ((768, 8), {'tested_negative': 500, 'tested_positive': 268})
    """
    wanted = _name_or_id(name_or_id)
    for name, data_id in OPENML_IDS.items():
        if wanted in (name, data_id):
            content = _read_checked(SHIPPED / "openml" / f"{name}.arff", OPENML_CHECKSUMS[name], RESTORE)
            return _attributes_and_target(read_arff(content), "class", f"OpenML data set {name!r} ({data_id})")
    dataset = _ask_openml(wanted)
    what = f"OpenML data set {dataset.name!r} ({dataset.dataset_id})"
    try:
        data = read_arff(Path(dataset.data_file).read_bytes())
    except Exception as error:  # the reader's own, and whatever a broken file makes of its data
        said = textwrap.shorten(f"{error}", 200)
        raise ArgumentError(f"{what} cannot be read ({said}): choose another") from error
    unused = set()
    for marked in (dataset.row_id_attribute or "", *(dataset.ignore_attribute or [])):
        # some uploads list several names in one string
        unused |= {marked} if marked in data else {name.strip() for name in marked.split(",")}
    data = data.drop(columns=[name for name in data if name in unused])
    return _attributes_and_target(data, dataset.default_target_attribute, what)


# Fashion-MNIST: the first place that has the files


def _fashion_mnist_cache(subset: str) -> Path:
    return cache_directory() / f"fashion-mnist-{subset}"


def _find_fashion_mnist(subset: str, root: Path | None) -> tuple[Path, dict[str, bytes]]:
    """The first place that has the files, and their checked contents by name."""
    checksums = FASHION_MNIST_CHECKSUMS[subset]
    shipped = SHIPPED / "fashion_mnist_quick"
    places = [] if root is None else [root]
    if subset == "quick":
        places += [shipped]
    else:
        with contextlib.suppress(OSError):  # a user without a home has no cache, but may have Debian's package
            places += [_fashion_mnist_cache(subset)]
        places += [DEBIAN_FASHION_MNIST]
    for place in places:
        way_out = RESTORE if place == shipped else "put it right, or remove it and the others, to look elsewhere"
        if files := _find_files(place, checksums, way_out):
            return place, {name: _read_checked(path, checksums[name], way_out) for name, path in files.items()}
    if subset == "quick":
        raise FileNotFoundError(f"the files that ship are missing in {shipped}: restore them from the repository")
    return _download_fashion_mnist(checksums)


def _find_files(place: Path, names: dict[str, str], way_out: str) -> dict[str, Path]:
    """The path of each named file in a place, in any accepted layout; {} if there is none of them at all."""
    found = {}
    for name in names:
        layouts = (place / _RAW / name, place / _RAW / f"{name}.gz", place / name, place / f"{name}.gz")
        if path := next((path for path in layouts if path.is_file()), None):
            found[name] = path
    if found and (missing := [name for name in names if name not in found]):
        raise ArgumentError(f"{place} lacks {', '.join(missing)} (or .gz): {way_out}")
    return found


def _read_checked(path: Path, checksum: str, way_out: str) -> bytes:
    """The content of a file, decompressed; ValueError that names it unless its SHA-256 is the recorded one."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, gzip.zlib.error) as error:
        state = "missing" if isinstance(error, FileNotFoundError) else f"truncated or altered ({error})"
        raise ArgumentError(f"{path} is {state}: {way_out}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != checksum:
        for subset, known in FASHION_MNIST_CHECKSUMS.items():
            if digest == known.get(path.name.removesuffix(".gz")):  # whole, but not what was asked for
                raise ArgumentError(f"{path} is of subset={subset!r}: ask for that, or take it away there")
        raise ArgumentError(
            f"{path} is truncated or altered: SHA-256 {digest[:12]}... instead of {checksum[:12]}...; {way_out}"
        )
    return content


def _write_all(place: Path, contents: dict[str, bytes]) -> Path:
    """Write the IDX files where torchvision looks for them below a place, and return the place."""
    for name, content in contents.items():
        write_atomically(place / _RAW / name, content)
    return place


def _download_fashion_mnist(checksums: dict[str, str]) -> tuple[Path, dict[str, bytes]]:
    """Let torchvision download (with its progress bar) beside the cache, check, and move whole files into the cache."""
    from torchvision.datasets import FashionMNIST

    try:
        cache = _fashion_mnist_cache("full")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as directory:
            FashionMNIST(directory, download=True)
            files = _find_files(Path(directory), checksums, "download it again")
            contents = {name: _read_checked(path, checksums[name], "try again") for name, path in files.items()}
            return _write_all(cache, contents), contents
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"Fashion-MNIST is neither in the user's cache nor in {DEBIAN_FASHION_MNIST}, and could not be downloaded "
            f"there ({' '.join(str(error).split())}): connect to the network, or name a directory that can be written "
            "in XDG_CACHE_HOME, or install Debian's package dataset-fashion-mnist, or give root=DIRECTORY with the "
            "four IDX files, or use subset='quick'"
        ) from error


# OpenML: what the client downloads, as a table


def _name_or_id(given: str | int) -> str | int:
    """A name of an OpenML data set as it is, an id (also one of digits) as an int."""
    if isinstance(given, str) and not (given.isascii() and given.isdigit()):
        if not re.fullmatch(r"[^\s/\\?#%]+", given):  # what cannot stand in an address of the server
            raise ArgumentError(f"name_or_id must be a name such as 'credit-g' or an id such as 31, got {given!r}")
        return given
    return whole_number("name_or_id", int(given) if isinstance(given, str) else given)


def _ask_openml(wanted: str | int) -> OpenMLDataset:
    """The client's data set and its ARFF file, from its cache or its server; one sentence if there is none."""
    try:
        import openml

        # of a Parquet file the server gives no checksum
        with _OPENML_IN_USE, mock.patch.dict(os.environ, OPENML_SKIP_PARQUET="true"):
            data_id = wanted if isinstance(wanted, int) else _openml_id(openml, wanted)
            dataset = openml.datasets.get_dataset(data_id, download_data=True)
            if hashlib.md5(Path(dataset.data_file).read_bytes()).hexdigest() != dataset.md5_checksum:
                dataset = openml.datasets.get_dataset(data_id, download_data=True, force_refresh_cache=True)
            return dataset
    except Exception as error:  # the client has no common error for what can happen on the way
        said = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
        if getattr(error, "code", None) in (111, 372) or "No active datasets exist" in said:
            raise ArgumentError(
                f"OpenML has no active data set {wanted!r}: check it, or use {_TWO_THAT_SHIP}"
            ) from error
        raise FileNotFoundError(
            f"OpenML data set {wanted!r} is not in the client's cache and could not be downloaded ({said}): connect to "
            f"the network, or use {_TWO_THAT_SHIP}"
        ) from error


def _openml_id(openml, name: str) -> int:
    """The id of the oldest active data set with a name: what the server said once holds, also without a network."""
    memory = Path(openml.config.get_cache_directory()) / "names" / f"{name}.id"
    with contextlib.suppress(OSError, ValueError):  # not asked for yet, or damaged
        return int(memory.read_text("ascii"))
    found = openml.datasets.list_datasets(data_name=name, status="active", output_format="dataframe")
    if found.empty:
        raise LookupError("No active datasets exist")
    data_id = int(found["did"].min())
    with contextlib.suppress(OSError):  # it will have to be asked again
        write_atomically(memory, str(data_id).encode())
    return data_id


def _attributes_and_target(data: pd.DataFrame, target: str | None, what: str) -> tuple[pd.DataFrame, pd.Series]:
    """X and y of a data set; ValueError if its target is not one of two classes."""
    if not isinstance(target, str) or target not in data:
        named = f"names {target!r} as its target, which is no column of it" if target else "names no target"
        raise ArgumentError(f"{what} {named}: choose another, such as {_TWO_THAT_SHIP}")
    X, y = data.drop(columns=target), data[target]
    if y.hasnans:
        raise ArgumentError(
            f"the target {target!r} of {what} is missing in {y.isna().sum()} of {len(y)} rows: choose another"
        )
    classes = [str(label) for label in y.unique()]
    if len(classes) != 2:
        listed = ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")
        raise ArgumentError(
            f"the target {target!r} of {what} has {len(classes)} class{'es' * (len(classes) != 1)} ({listed}) instead "
            f"of two: choose another, such as {_TWO_THAT_SHIP}"
        )
    return X, y.cat.remove_unused_categories() if isinstance(y.dtype, pd.CategoricalDtype) else y
