"""Data sets of the book, each from the nearest place that has it: repository, user's cache, system, network.

Every file is checked against a recorded SHA-256 before it is used, so that a number computed from it means the same
everywhere. Nothing is ever written into the source tree.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import json
import logging
import numbers
import os
import re
import sys
import tempfile
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from tqdm import tqdm

if TYPE_CHECKING:  # torchvision and openml take seconds to import, and no data set needs both
    from torchvision.datasets import FashionMNIST

SHIPPED = Path(__file__).resolve().parent / "data"

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

# the OpenML data sets that ship, in the layout of the openml client's cache: name -> id -> SHA-256 of its files
OPENML_IDS = {"credit-g": 31, "diabetes": 37}
OPENML_CHECKSUMS = {
    31: {
        "dataset.arff": "77024f6bfb341d859c1fd4aaca12fab143bcb1f1d12bc557b2e8fd494b1080dc",
        "description.xml": "470620c7567fa008addba913a8a82142d1c3b917c37f8788aadcc48616f196d2",
        "features.xml": "dd63ba289d8978377f23bb7930697e2f84091896724acb3dd117fcb935f92800",
    },
    37: {
        "dataset.arff": "97e38873df32bd762cf6ef696a76fb1d6bc844d76bae35cdfdf0cf2dcb67dfd4",
        "description.xml": "53b962f1478f7baa4bf6d6afc101988263d1534c3c8d51ad5c6c8cf80104e2be",
        "features.xml": "b189d0830668f13a6f28f094f3799dc68817e82fc238f4f10f016f3bdfd15151",
    },
}
OPENML_SNAPSHOTS = SHIPPED / "openml" / "org" / "openml" / "www" / "datasets"
_OPENML_FILES = ("dataset.arff", "description.xml", "features.xml")
_OPENML_IN_USE = threading.RLock()  # the client has one configuration for all threads
_SHIPPED_OPENML = "one of the two that are shipped, 'credit-g' (31) and 'diabetes' (37)"


class TrainTest(NamedTuple):
    """A data set in two parts. Of each, `data` is a uint8 tensor (n, 28, 28) and `targets` an int64 tensor (n,)."""

    train: FashionMNIST
    test: FashionMNIST


def cache_directory() -> Path:
    """Where this user's downloads and checkpoints go: $XDG_CACHE_HOME (else ~/.cache) / deep-learning-systems-book."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deep-learning-systems-book"


def load_fashion_mnist(subset: str = "quick", *, root: str | os.PathLike | None = None) -> TrainTest:
    """Fashion-MNIST: 28 x 28 grey images of ten kinds of clothing, read by torchvision's own class.

    Parameters
    ----------
    subset : {"quick", "full"}
        "quick": 3,000 training and 1,000 test images, the same number of each class, shipped in the repository.
        "full": all 60,000 and 10,000, from the first of these that has them: `root`; the user's cache; Debian's
        package dataset-fashion-mnist; torchvision's download, into the user's cache.
    root : path, optional
        A directory to look in first: with the four IDX files, compressed (.gz) or not, either directly or below
        FashionMNIST/raw as torchvision lays them out.

    Returns
    -------
    train, test : torchvision.datasets.FashionMNIST
        `data` is one uint8 tensor (n, 28, 28) of grey levels, `targets` an int64 tensor (n,) of classes 0 to 9.

    Raises
    ------
    ValueError
        For an unknown subset, a root that is no directory, and a file that is missing beside the others, truncated or
        altered; the message names it.
    FileNotFoundError
        If no place has the full data and it cannot be downloaded; the message names the ways out.

    References
    ----------
    Xiao, Rasul, Vollgraf, "Fashion-MNIST", arXiv 1708.07747; MIT licence.

    Examples
    --------
    >>> train, test = load_fashion_mnist("quick")
    >>> train.data.shape, train.data.dtype
    (torch.Size([3000, 28, 28]), torch.uint8)
    """
    from torchvision.datasets import FashionMNIST

    if not isinstance(subset, str) or subset not in FASHION_MNIST_CHECKSUMS:
        raise ValueError(f"subset must be 'quick' or 'full', not {subset!r}")
    if root is not None and not Path(root).is_dir():
        raise ValueError(f"root is no directory: {os.fspath(root)!r}; give one with the IDX files, or leave it out")
    checksums = FASHION_MNIST_CHECKSUMS[subset]
    cache = cache_directory() / f"fashion-mnist-{subset}"
    places = [SHIPPED / "fashion_mnist_quick"] if subset == "quick" else [cache, DEBIAN_FASHION_MNIST]
    for place in ([Path(root)] if root is not None else []) + places:
        files = _find_files(place, checksums)
        if files:
            break
    else:
        _download_fashion_mnist(cache, checksums)
        place, files = cache, _find_files(cache, checksums)
    contents = {name: _read_fashion_mnist(path, name, subset) for name, path in files.items()}
    with contextlib.ExitStack() as temporary:
        if any(path != place / _RAW / name for name, path in files.items()):  # torchvision would not find them
            try:
                place = _write_all(cache, contents)
            except OSError:  # a cache that cannot be written is no reason to do without the data
                place = _write_all(Path(temporary.enter_context(tempfile.TemporaryDirectory())), contents)
        return TrainTest(*(FashionMNIST(place, train=train, download=False) for train in (True, False)))


def load_openml(name_or_id: str | int) -> tuple[pd.DataFrame, pd.Series]:
    """A data set with two classes from OpenML, read by the openml client.

    `credit-g` (31) and `diabetes` (37) are shipped in the repository and need no network. Any other is downloaded by
    the client once, with its progress shown, and from then on comes from the user's cache without a network, also by
    name. The client reads a checked copy in a temporary directory: neither what it writes beside its files nor what is
    changed in its configuration outlives the call.

    Parameters
    ----------
    name_or_id : str or int
        The name, exactly as OpenML has it, or the id (also as a string of digits). Of several data sets with one name
        it is the oldest active one, as for the client.

    Returns
    -------
    X : pandas.DataFrame of shape (n, n_attributes)
        All columns but the target and those that the data set marks as identifiers or to be ignored. Nominal attributes
        are categorical, with the categories in the data set's own order; numeric ones are float64 or int64 (the client
        stores small whole numbers as uint8, in which arithmetic wraps around), those of sparse data sparse float32.
    y : pandas.Series of shape (n,)
        The data set's target, by its name, with the class labels as the data set has them: categorical where the target
        is nominal, so for both that are shipped. It has two classes and no missing value.

    Raises
    ------
    TypeError
        If `name_or_id` is neither a string nor an integer.
    ValueError
        If there is no such data set; if its target is missing, or has more or fewer than two classes; if the client
        cannot read it (openml 0.15 with pandas 3: sparse data with nominal attributes); and if a shipped file is
        altered. The message names the data set or the file.
    FileNotFoundError
        If the data set is neither shipped nor in the cache and cannot be downloaded; the message names the ways out.

    References
    ----------
    Vanschoren, van Rijn, Bischl, Torgo, "OpenML: networked science in machine learning", SIGKDD Explorations 15 (2),
    2013. Sources and licences of the two that are shipped: lib/data/openml/README.md.

    Examples
    --------
    >>> X, y = load_openml("diabetes")
    >>> X.shape
    (768, 8)
    >>> y.value_counts()
    class
    tested_negative    500
    tested_positive    268
    Name: count, dtype: int64
    """
    name, data_id = _name_or_id(name_or_id)
    data_id = OPENML_IDS.get(name, data_id)
    with _OPENML_IN_USE, tempfile.TemporaryDirectory(prefix="openml-") as root, _openml_client(Path(root)) as client:
        if data_id in OPENML_CHECKSUMS:
            return _attributes_and_target(*_read_openml(client, data_id, _shipped_openml(data_id)))
        server = Path(client.config.get_cache_directory()).relative_to(root)
        cache = cache_directory() / "openml" / server
        if data_id is None:
            data_id = _openml_id(client, name, cache / "names")
        place = cache / "datasets" / str(data_id)
        if files := _cached_openml(place):
            return _attributes_and_target(*_read_openml(client, data_id, files))
        files = _download_openml(client, data_id, place)
        read = _read_openml(client, data_id, files)
        _keep_openml(files, place)
        return _attributes_and_target(*read)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader, and no crash, ever sees a part of it: a temporary file, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's is for the owner alone
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _find_files(place: Path, names: dict[str, str]) -> dict[str, Path]:
    """The path of each named file in a place, in any accepted layout; {} if there is none of them at all."""
    found = {}
    for name in names:
        layouts = (place / _RAW / name, place / _RAW / f"{name}.gz", place / name, place / f"{name}.gz")
        found[name] = next((path for path in layouts if path.is_file()), None)
    missing = [name for name, path in found.items() if path is None]
    if len(missing) == len(found):
        return {}
    if missing:
        raise ValueError(f"{place} lacks {', '.join(missing)} (or .gz): complete it, or remove the others")
    return found


def _read_checked(path: Path, checksum: str, way_out: str = "remove it, so that it is found elsewhere") -> bytes:
    """The content of a file, decompressed; ValueError that names it unless its SHA-256 is the recorded one."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, gzip.zlib.error) as error:
        raise ValueError(f"{path} is truncated or altered ({error}): {way_out}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != checksum:
        raise ValueError(
            f"{path} is truncated or altered: SHA-256 {digest[:12]}... instead of {checksum[:12]}...; {way_out}"
        )
    return content


def _read_fashion_mnist(path: Path, name: str, subset: str) -> bytes:
    """The checked content of an IDX file; a file of the other subset is called that, and not damaged."""
    (other,) = FASHION_MNIST_CHECKSUMS.keys() - {subset}
    try:
        return _read_checked(path, FASHION_MNIST_CHECKSUMS[subset][name])
    except ValueError as error:
        refusal = error
    with contextlib.suppress(ValueError):
        _read_checked(path, FASHION_MNIST_CHECKSUMS[other][name])
        refusal = ValueError(f"{path} is of subset={other!r}, not {subset!r}: ask for that one, or take it away there")
    raise refusal


def _write_all(place: Path, contents: dict[str, bytes]) -> Path:
    """Write the IDX files where torchvision looks for them below a place, and return the place."""
    for name, content in contents.items():
        write_atomically(place / _RAW / name, content)
    return place


def _download_fashion_mnist(cache: Path, checksums: dict[str, str]) -> None:
    """Let torchvision download (with its progress bar) beside the cache, check, and move whole files into the cache."""
    from torchvision.datasets import FashionMNIST

    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=cache.parent).cleanup()
    except OSError as error:
        raise FileNotFoundError(
            f"Fashion-MNIST is not in {DEBIAN_FASHION_MNIST} and cannot be kept in {cache} ({error}): name a directory "
            f"that can be written in XDG_CACHE_HOME, or install Debian's package dataset-fashion-mnist, or give "
            f"root=DIRECTORY with the four IDX files, or use subset='quick'"
        ) from error
    with tempfile.TemporaryDirectory(dir=cache.parent) as directory:
        try:
            FashionMNIST(directory, download=True)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"Fashion-MNIST is neither in {cache} nor in {DEBIAN_FASHION_MNIST} and could not be downloaded "
                f"({' '.join(str(error).split())}): connect to the network, or install Debian's package "
                f"dataset-fashion-mnist, or give root=DIRECTORY with the four IDX files, or use subset='quick'"
            ) from error
        for name, path in _find_files(Path(directory), checksums).items():
            write_atomically(cache / _RAW / name, _read_checked(path, checksums[name]))


def _name_or_id(given: str | int) -> tuple[str | None, int | None]:
    """The name or the id of an OpenML data set, and None for the other."""
    if isinstance(given, str):
        if not re.fullmatch(r"[^\s/\\?#%]+", given):  # what cannot stand in an address of the server
            raise ValueError(f"name_or_id must be a name such as 'credit-g' or an id such as 31, not {given!r}")
        if not (given.isascii() and given.isdigit()):
            return given, None
    elif not isinstance(given, numbers.Integral) or isinstance(given, bool):
        raise TypeError(f"name_or_id must be a name such as 'credit-g' or an id such as 31, not {given!r}")
    if int(given) < 1:
        raise ValueError(f"name_or_id must be a name or an id of at least 1, not {given!r}")
    return None, int(given)


@contextmanager
def _openml_client(root: Path) -> Iterator[ModuleType]:
    """The openml client, for a while with another cache and for ARFF; the user's settings come back, also on errors."""
    openml = _import_openml()
    before = openml.config.get_config_as_dict()["cachedir"]
    openml.config.set_root_cache_directory(root)
    try:
        # the client can check an ARFF file against the server's checksum, a Parquet file it cannot
        with _environment({openml.config.OPENML_SKIP_PARQUET_ENV_VAR: "true"}):
            yield openml
    finally:
        openml.config.set_root_cache_directory(before)


def _import_openml() -> ModuleType:
    """Import the client, which then makes two folders in the home directory; where it cannot, give it another home."""
    if "openml" not in sys.modules:
        logger = logging.getLogger("openml")
        level = logger.level
        logger.setLevel(logging.ERROR)  # it would warn of folders that are not needed here
        try:
            import openml
        except (OSError, RuntimeError):
            with tempfile.TemporaryDirectory() as home:
                elsewhere = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "OPENML_CACHE_DIR"), home)
                with _environment(elsewhere):
                    import openml
        finally:
            logger.setLevel(level)
    import openml

    return openml


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _openml_id(client: ModuleType, name: str, memory: Path) -> int:
    """The id of the data set with a name: as remembered in the cache, else as the server says."""
    record = memory / f"{hashlib.sha256(name.encode()).hexdigest()}.json"
    try:
        remembered = json.loads(record.read_text("utf8"))
        if remembered["name"] == name:
            return int(remembered["id"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # not asked for yet, or damaged
    listing = {"data_name": name, "status": "active", "output_format": "dataframe"}
    absent = f"is not in {memory.parent}"
    found = _ask_openml(client, repr(name), absent, {"id": lambda: client.datasets.list_datasets(**listing)})
    if found.empty:
        raise ValueError(f"OpenML has no active data set named {name!r}: check the name, or use {_SHIPPED_OPENML}")
    data_id = int(found["did"].min())
    _keep({record: json.dumps({"name": name, "id": data_id}).encode()})
    return data_id


def _download_openml(client: ModuleType, data_id: int, place: Path) -> dict[str, bytes]:
    """The files of a data set by name, downloaded by the client."""
    get = functools.partial(client.datasets.get_dataset, data_id)
    steps = {
        "description": get,
        "features": functools.partial(get, download_features_meta_data=True),
        "data": functools.partial(get, download_features_meta_data=True, download_data=True),
    }
    _ask_openml(client, str(data_id), f"is {'damaged' if place.exists() else 'not'} in {place}", steps)
    return {file: (_workplace(client, data_id) / file).read_bytes() for file in _OPENML_FILES}


def _ask_openml(client: ModuleType, wanted: str, absent: str, steps: dict[str, Callable]) -> object:
    """The answer to the last of some requests to the server, with a progress bar; one sentence if there is none."""
    from requests import ConnectionError as NoConnection

    with tqdm(total=len(steps), unit="file") as bar:
        for step, request in steps.items():
            bar.set_description(f"OpenML {wanted}: {step}")
            try:
                answer = request()
            except Exception as error:  # the client has no common error for what can happen on the way
                if getattr(error, "code", None) == 111:
                    raise ValueError(
                        f"OpenML has no data set with the id {wanted}: check the id, or use {_SHIPPED_OPENML}"
                    ) from error
                said = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
                reason = "no connection" if isinstance(error, NoConnection) else said
                raise FileNotFoundError(
                    f"OpenML data set {wanted} {absent} and could not be downloaded from {client.config.server} "
                    f"({reason}): connect to the network, or use {_SHIPPED_OPENML}"
                ) from error
            bar.update()
    return answer


def _workplace(client: ModuleType, data_id: int) -> Path:
    """Where the client now looks for the files of a data set."""
    return Path(client.config.get_cache_directory()) / "datasets" / str(data_id)


def _read_openml(client: ModuleType, data_id: int, files: dict[str, bytes]) -> tuple[object, pd.DataFrame]:
    """The client's data set and all of its columns, read from files that are put where it looks for them."""
    workplace = _workplace(client, data_id)
    workplace.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (workplace / file).write_bytes(content)
    dataset = client.datasets.get_dataset(data_id, download_data=True, download_features_meta_data=True)
    try:
        data, *_ = dataset.get_data()
    except Exception as error:  # of its ARFF reader, of pandas, ...
        raise ValueError(
            f"OpenML data set {dataset.name!r} ({data_id}) cannot be read by openml {client.__version__} with pandas "
            f"{pd.__version__} ({error}): choose another"
        ) from error
    return dataset, data


def _attributes_and_target(dataset, data: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """X and y of the client's data set; ValueError if its target is not one of two classes."""
    what = f"OpenML data set {dataset.name!r} ({dataset.dataset_id})"
    whole = f"openml.datasets.get_dataset({dataset.dataset_id}).get_data()"
    target = dataset.default_target_attribute
    if not isinstance(target, str) or target not in data:
        named = f"names {target!r} as its target, which is no column of it" if target else "names no target"
        raise ValueError(f"{what} {named}: choose another, or take a column of {whole}")
    data = data.astype(dict.fromkeys(data.columns[data.dtypes == "uint8"], "int64"))
    X, y = data.drop(columns=target), data[target]
    if isinstance(y.dtype, pd.SparseDtype):
        y = y.sparse.to_dense()
    if y.hasnans:
        raise ValueError(
            f"the target {target!r} of {what} is missing in {y.isna().sum()} of {len(y)} rows: choose another, or "
            f"remove those rows of {whole}"
        )
    classes = [str(label) for label in y.unique()]
    if len(classes) != 2:
        listed = ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")
        raise ValueError(
            f"the target {target!r} of {what} has {len(classes)} class{'es' * (len(classes) != 1)} ({listed}) instead "
            f"of two: choose another, such as 'credit-g' or 'diabetes', or choose two classes of {whole}"
        )
    if isinstance(y.dtype, pd.CategoricalDtype):
        y = y.cat.remove_unused_categories()
    return X, y


def _shipped_openml(data_id: int) -> dict[str, bytes]:
    """The files of a data set that is shipped, by name; ValueError that names one that is altered."""
    return {
        file: _read_checked(OPENML_SNAPSHOTS / str(data_id) / file, checksum, "restore it from the repository")
        for file, checksum in OPENML_CHECKSUMS[data_id].items()
    }


def _cached_openml(place: Path) -> dict[str, bytes]:
    """The files of a data set in the cache by name; {} unless all are there as they were downloaded."""
    try:
        lines = (place / "SHA256SUMS").read_text("utf8").splitlines()
        checksums = {file: checksum for checksum, file in (line.split("  ") for line in lines)}
        return {file: _read_checked(place / file, checksums[file]) for file in _OPENML_FILES}
    except (OSError, ValueError, LookupError):
        return {}


def _keep_openml(files: dict[str, bytes], place: Path) -> None:
    """Put the files of a data set into the cache, their checksums last: without these they do not count."""
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {file}\n" for file, content in files.items())
    _keep({place / file: content for file, content in {**files, "SHA256SUMS": sums.encode()}.items()})


def _keep(files: dict[Path, bytes]) -> None:
    """Write files into the cache in this order, or warn that they will have to be downloaded again."""
    try:
        for path, content in files.items():
            write_atomically(path, content)
    except OSError as error:
        warnings.warn(f"what was downloaded cannot be kept in the cache: {error}", stacklevel=4)
