"""Write requirements.lock: constraints on everything that the packages of requirements.txt pull in.

    .venv/bin/python -m tools.lock        # after changing requirements.txt and installing it

The lock holds constraints only, so a line about a package that another platform does not need does no
harm there. Lines about packages that are not installed here (another platform's) are kept. A pin that the oldest
Python of pyproject.toml cannot install is refused, and nothing is written: whoever makes the lock has a newer one.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BOOK = "deep-learning-systems-book[all]"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
FOLDERS = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})  # not those of PYTHONPATH
HEADER = """\
# Written by tools/lock.py: exact versions of everything that requirements.txt pulls in, so that an
# installation next year is the same. Constraints only: nothing here is installed unless something needs it.
"""


def pins(path: Path) -> dict[str, str]:
    """The `name==version` lines of a requirements file."""
    return {canonicalize_name(name): version for name, version in PIN.findall(path.read_text("utf8"))}


def python_floor() -> str:
    """The oldest Python that pyproject.toml accepts, to the last digit: 3.11.0 for `>=3.11`."""
    accepted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]["requires-python"]
    oldest = next(s.version for s in SpecifierSet(accepted) if s.operator == ">=")
    return ".".join([*oldest.split("."), "0", "0"][:3])


def package(name: str, folders: list[str] = FOLDERS) -> Distribution | None:
    """An installed package, if it is installed."""
    return next(iter(Distribution.discover(name=name, path=folders)), None)


def refused(names: Iterable[str], folders: list[str] = FOLDERS) -> list[str]:
    """A sentence for each installed package that the oldest Python of the book could not install."""
    floor = python_floor()
    asked = {name: found.metadata.get("Requires-Python") for name in names if (found := package(name, folders))}
    return [
        f"{name} {package(name, folders).version} needs Python {python}, but the book accepts {floor}: pin an older one"
        for name, python in sorted(asked.items())
        if python and floor not in SpecifierSet(python)
    ]


def installed(names: list[str]) -> dict[str, str]:
    """The version of each package that `names` need in this environment, themselves included."""
    found: dict[str, str] = {}
    pending = [Requirement(name) for name in names]
    visited = set()
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        extras = frozenset(requirement.extras) | {""}
        if (name, extras) in visited:
            continue
        visited.add((name, extras))
        distribution = package(name)
        if distribution is None:  # wanted by no code that runs here: another platform's or Python's
            continue
        found[name] = distribution.version.split("+")[0]  # 2.14.1+cpu is the same release as 2.14.1
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                pending.append(needed)
    return found


def main() -> None:
    direct, lock = pins(ROOT / "requirements.txt"), ROOT / "requirements.lock"
    needed = installed([*direct, BOOK])
    if found := refused(needed):
        sys.exit("\n".join(["error: the lock was not written", *found]))
    locked = {**(pins(lock) if lock.exists() else {}), **needed}
    book = canonicalize_name(Requirement(BOOK).name)
    lines = [f"{name}=={locked[name]}\n" for name in sorted(locked) if name not in (*direct, book)]
    lock.write_text(HEADER + "".join(lines), "utf8")
    print(f"{lock.name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
