"""Make the two OpenML snapshots again from their sources, and compare credit-g with a second source cell by cell.

    python tools/make_openml_snapshots.py [DIRECTORY]

The sources are one wheel and two Debian packages. What DIRECTORY (else a temporary one) lacks of them is fetched there
by pip and apt-get; apt-get and dpkg-deb need Debian or Ubuntu. The same sources give the same bytes every time. It
prints the checksums that `lib.datasets` and the README record.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import arff  # of liac-arff, which comes with openml

from lib.datasets import SHIPPED

WHEEL = "pysubgroup==0.9.0"
SNAPSHOTS = SHIPPED / "openml"
TARGET = "class"  # of both
DIABETES_NAMES = [
    "preg",
    "plas",
    "pres",
    "skin",
    "insu",
    "mass",
    "pedi",
    "age",
]  # OpenML's, in the order of the columns
# credit-g's column -> the column of caret's GermanCredit, or what its indicator columns begin with
CREDIT_NAMES = {
    "checking_status": "CheckingAccountStatus.",
    "duration": "Duration",
    "credit_history": "CreditHistory.",
    "purpose": "Purpose.",
    "credit_amount": "Amount",
    "savings_status": "SavingsAccountBonds.",
    "employment": "EmploymentDuration.",
    "installment_commitment": "InstallmentRatePercentage",
    "personal_status": "Personal.",
    "other_parties": "OtherDebtorsGuarantors.",
    "residence_since": "ResidenceDuration",
    "property_magnitude": "Property.",
    "age": "Age",
    "other_payment_plans": "OtherInstallmentPlans.",
    "housing": "Housing.",
    "existing_credits": "NumberExistingCredits",
    "job": "Job.",
    "num_dependents": "NumberPeopleMaintenance",
    "own_telephone": "Telephone",
    "foreign_worker": "ForeignWorker",
    "class": "Class",
}


def fetch(directory: Path) -> tuple[Path, Path, Path]:
    """The wheel, and Debian's r-cran-mlbench and r-cran-caret, in a directory; fetched if they are not there."""
    directory.mkdir(parents=True, exist_ok=True)
    found = []
    for pattern, command in {
        "pysubgroup-0.9.0-*.whl": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL],
        "r-cran-mlbench_*.deb": ["apt-get", "download", "--quiet", "r-cran-mlbench"],
        "r-cran-caret_*.deb": ["apt-get", "download", "--quiet", "r-cran-caret"],
    }.items():
        if not list(directory.glob(pattern)):
            subprocess.run(command, cwd=directory, check=True)
        found.append(next(directory.glob(pattern)))
    return tuple(found)


def from_debian(package: Path, end_of_path: str) -> bytes:
    """The content of one file of a Debian package."""
    contents = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(contents)) as archive:
        (member,) = (member for member in archive if member.name.endswith(end_of_path))
        return archive.extractfile(member).read()


def read_data_frame(content: bytes) -> dict[str, list]:
    """The columns of the one data frame in a file written by R's save(): numbers as they are, factors as their labels.

    Only what such a file holds is understood: format 2 in XDR, compressed or not (R Internals, section 1.8).
    """
    for magic, decompress in {
        b"\x1f\x8b": gzip.decompress,
        b"BZh": bz2.decompress,
        b"\xfd7zXZ": lzma.decompress,
    }.items():
        if content.startswith(magic):
            content = decompress(content)
    stream, symbols = io.BytesIO(content), []
    if stream.read(7) != b"RDX2\nX\n":
        raise ValueError("not a file that R's save() writes in format 2")
    stream.read(12)  # versions of the format, of the R that wrote it, and of the oldest that reads it

    def integers(count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}i", stream.read(4 * count))

    def item():
        (flags,) = integers(1)
        kind, has_attributes, has_tag = flags & 0xFF, flags & 0x200, flags & 0x400
        if kind == 254:  # the end of a pair list
            return {}
        if kind == 255:  # a symbol met before
            return symbols[(flags >> 8) - 1]
        if kind == 1:
            symbols.append(item())
            return symbols[-1]
        if kind == 2:  # a pair list, of tagged values
            if has_attributes or not has_tag:
                raise ValueError("a pair list of another form than save() gives to data frames")
            tag = item()
            return {tag: item()} | item()
        (count,) = integers(1)
        if kind == 9:
            return stream.read(count).decode() if count >= 0 else None
        if kind == 13:
            values = list(integers(count))
        elif kind == 14:
            values = list(struct.unpack(f">{count}d", stream.read(8 * count)))
        elif kind in (16, 19):  # strings, a list
            values = [item() for _ in range(count)]
        else:
            raise ValueError(f"a value of R's type {kind}, which this reader does not know")
        attributes = item() if has_attributes else {}
        if "levels" in attributes:
            return [attributes["levels"][value - 1] for value in values]
        return dict(zip(attributes["names"], values, strict=True)) if kind == 19 else values

    (frame,) = item().values()
    return frame


def diabetes_arff(frame: dict[str, list]) -> str:
    """ARFF of mlbench's PimaIndiansDiabetes under OpenML's names."""
    *measurements, outcome = frame.values()
    lines = [
        "% Pima Indians Diabetes, National Institute of Diabetes and Digestive and Kidney Diseases, 1990.",
        "@relation pima_diabetes",
        *(f"@attribute {name} real" for name in DIABETES_NAMES),
        f"@attribute {TARGET} {{tested_negative,tested_positive}}",
        "@data",
    ]
    labels = {"neg": "tested_negative", "pos": "tested_positive"}
    for row in zip(*measurements, outcome, strict=True):
        lines.append(",".join([*(f"{value:g}" for value in row[:-1]), labels[row[-1]]]))
    return "\n".join(lines) + "\n"


def credit_rows(frame: dict[str, list], attributes: list[tuple[str, str | list[str]]]) -> list[list]:
    """The rows of credit-g from caret's GermanCredit, in which a column of 0 and 1 stands for each category."""
    columns = []
    for name, kind in attributes:
        theirs = CREDIT_NAMES[name]
        if name == TARGET:
            columns.append([label.lower() for label in frame[theirs]])
        elif theirs.endswith("."):
            categories = [*kind[1:], kind[0]] if name == "employment" else kind  # "unemployed" is their last
            indicators = [frame[column] for column in frame if column.startswith(theirs)]
            rows = zip(*indicators, strict=True)
            chosen = [[label for label, on in zip(categories, row, strict=True) if on] for row in rows]
            columns.append([label for (label,) in chosen])
        elif isinstance(kind, list):
            columns.append([kind[0] if on else kind[1] for on in frame[theirs]])
        else:
            columns.append([float(value) for value in frame[theirs]])
    return [list(row) for row in zip(*columns, strict=True)]


def main(directory: Path, snapshots: Path = SNAPSHOTS) -> None:
    """Write the two files; ValueError if the two sources of credit-g differ."""
    wheel, mlbench, caret = fetch(directory)
    with zipfile.ZipFile(wheel) as archive:
        credit = archive.read("pysubgroup/data/credit-g.arff")
    diabetes = diabetes_arff(read_data_frame(from_debian(mlbench, "/data/PimaIndiansDiabetes.rda"))).encode()

    table = arff.loads(credit.decode())
    again = credit_rows(read_data_frame(from_debian(caret, "/data/GermanCredit.RData")), table["attributes"])
    cells = [pair for rows in zip(table["data"], again, strict=True) for pair in zip(*rows, strict=True)]
    differences = sum(one != other for one, other in cells)
    sources = f"credit-g of {wheel.name} and GermanCredit of {caret.name}"
    if differences:
        raise ValueError(f"{sources} differ in {differences:,} of {len(cells):,} cells")
    print(f"{sources}: equal in all {len(cells):,} cells")

    snapshots.mkdir(parents=True, exist_ok=True)
    for name, content in (("credit-g.arff", credit), ("diabetes.arff", diabetes)):
        (snapshots / name).write_bytes(content)
        print(f"{hashlib.sha256(content).hexdigest()}  {name}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
