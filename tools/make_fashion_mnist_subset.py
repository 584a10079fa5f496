"""Make the quick part of Fashion-MNIST: the first images of every class, in the order of the full files.

    python tools/make_fashion_mnist_subset.py

The full files are shuffled already, so that the first images of a class are as good a sample as any, and no random
number generator can make the result differ. It prints the checksums that `lib.datasets` and the README record.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from lib.datasets import SHIPPED, load_fashion_mnist

PER_CLASS = {"train": 300, "t10k": 100}
RAW = SHIPPED / "fashion_mnist_quick" / "FashionMNIST" / "raw"


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write bytes in the IDX format: magic number (type 8, dimensions) and sizes, big-endian, then the values."""
    header = np.array([0x0800 + array.ndim, *array.shape], dtype=">u4")
    path.write_bytes(header.tobytes() + array.astype(np.uint8).tobytes())
    print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name)


def main() -> None:
    """Write the four files of the quick part."""
    RAW.mkdir(parents=True, exist_ok=True)
    for part, dataset in zip(PER_CLASS, load_fashion_mnist("full"), strict=True):
        labels = dataset.targets.numpy()
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == label)[: PER_CLASS[part]] for label in range(10)]))
        write_idx(RAW / f"{part}-images-idx3-ubyte", dataset.data.numpy()[chosen])
        write_idx(RAW / f"{part}-labels-idx1-ubyte", labels[chosen])


if __name__ == "__main__":
    main()
