"""Data sets of the book, each from the nearest place that has it: repository, user's cache, system, network.

Every file is checked against a recorded SHA-256 before it is used, so that a number computed from it means the same
everywhere. Nothing is ever written into the source tree.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

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
FASHION_MNIST_CLASSES = tuple(FashionMNIST.classes)
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist
_RAW = Path("FashionMNIST") / "raw"  # where torchvision's class looks below its root


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
    if subset not in FASHION_MNIST_CHECKSUMS:
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
    contents = {name: _read_checked(path, checksums[name]) for name, path in files.items()}
    if any(path != place / _RAW / name for name, path in files.items()):  # compressed, or not where torchvision looks
        place = cache
        for name, content in contents.items():
            write_atomically(cache / _RAW / name, content)
    return TrainTest(*(FashionMNIST(place, train=train, download=False) for train in (True, False)))


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


def _read_checked(path: Path, checksum: str) -> bytes:
    """The content of a file, decompressed; ValueError that names it unless its SHA-256 is the recorded one."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, gzip.zlib.error) as error:
        raise ValueError(
            f"{path} is truncated or altered ({error}): remove it, so that it is found elsewhere"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != checksum:
        raise ValueError(
            f"{path} is truncated or altered: SHA-256 {digest[:12]}... instead of {checksum[:12]}...; "
            f"remove it, so that it is found elsewhere"
        )
    return content


def _download_fashion_mnist(cache: Path, checksums: dict[str, str]) -> None:
    """Let torchvision download (with its progress bar) beside the cache, check, and move whole files into the cache."""
    cache.mkdir(parents=True, exist_ok=True)
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
