"""Write requirements.lock: constraints on everything that the packages of requirements.txt pull in.

    python tools/lock.py        # after changing requirements.txt and installing it

The lock holds constraints only, so a line about a package that another platform does not need does no
harm there. Lines about packages that are not installed here (another platform's) are kept.
"""

from __future__ import annotations

import re
import sysconfig
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
FOLDERS = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})  # not those of PYTHONPATH
HEADER = """\
# Written by tools/lock.py: exact versions of everything that requirements.txt pulls in, so that an
# installation next year is the same. Constraints only: nothing here is installed unless something needs it.
"""


def pins(path: Path) -> dict[str, str]:
    """The `name==version` lines of a requirements file."""
    return {canonicalize_name(name): version for name, version in PIN.findall(path.read_text("utf8"))}


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
        package = next(iter(Distribution.discover(name=name, path=FOLDERS)), None)
        if package is None:  # wanted by no code that runs here: another platform's or Python's
            continue
        found[name] = package.version.split("+")[0]  # 2.14.1+cpu is the same release as 2.14.1
        for line in package.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                pending.append(needed)
    return found


def main() -> None:
    direct, lock = pins(ROOT / "requirements.txt"), ROOT / "requirements.lock"
    locked = pins(lock) if lock.exists() else {}
    locked |= installed([*direct, "deep-learning-systems-book"])
    lines = [f"{name}=={locked[name]}\n" for name in sorted(locked) if name not in direct]
    lines = [line for line in lines if not line.startswith("deep-learning-systems-book==")]
    lock.write_text(HEADER + "".join(lines), "utf8")
    print(f"{lock.name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
