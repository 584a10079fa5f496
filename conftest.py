"""How pytest runs the book: nbval compares a chapter's outputs by tools/outputs.py; the longest files start first.

pytest --record-seconds        # all of it, on a machine with nothing else to do: writes tests/seconds.json
"""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from tools.outputs import settle, tolerances

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parent
SECONDS = ROOT / "tests" / "seconds.json"


def pytest_addoption(parser) -> None:
    parser.addoption("--record-seconds", action="store_true", help="store how long each file took, for the next order")
    parser.addoption("--site", help="look at these pages (say _build/html, of make book) instead of building the book")


def pytest_configure(config) -> None:
    # from wherever pytest is called: the rules for outputs, and this folder's lib in the chapters' kernels
    if config.option.nbval_sanitize_with:
        config.option.nbval_sanitize_with = str(config.rootpath / config.option.nbval_sanitize_with)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if config.option.record_seconds:
        config.pluginmanager.register(Stopwatch())


class Stopwatch:
    """Adds up the seconds of each file's tests."""

    def __init__(self) -> None:
        self.seconds = Counter()

    def pytest_runtest_logreport(self, report) -> None:
        self.seconds[report.nodeid.split("::")[0]] += report.duration

    def pytest_sessionfinish(self, session) -> None:
        if not hasattr(session.config, "workerinput"):  # the workers of xdist report to it
            timed = json.loads(SECONDS.read_text("utf8")) | {name: round(took) for name, took in self.seconds.items()}
            kept = {name: took for name, took in sorted(timed.items()) if (ROOT / name).exists()}
            SECONDS.write_text(json.dumps(kept, indent=0) + "\n", "utf8")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items) -> None:
    order(items, json.loads(SECONDS.read_text("utf8")))


def order(items: list, seconds: dict[str, float]) -> None:
    """The file that takes longest first, so that none begun late is waited for; one never timed may take long.

    Of those that want the rendered book, one starts at once and builds it; the next one wants none, so that it need not
    wait for that.
    """
    files = {item.path for item in items if item.path.is_relative_to(ROOT)}
    time = {path: seconds.get(path.relative_to(ROOT).as_posix(), 1e3) for path in files}
    site = {item.path for item in items if "site" in getattr(item, "fixturenames", ())}
    # of equals the first by name: every process of a run must come to the same order
    builder = max(sorted(site), key=lambda path: time.get(path, 0), default=None)
    meanwhile = max(sorted(files - site), key=lambda path: time[path], default=None)
    first = [builder, meanwhile]
    items.sort(key=lambda item: (*(item.path != path for path in first), -time.get(item.path, 0), str(item.path)))


def pytest_itemcollected(item) -> None:
    """Compare the outputs of a chapter's cell by the book's rules, then by nbval's."""
    if isinstance(item, IPyNbCell):
        item.compare_outputs = functools.partial(compare_outputs, item)
        # a picture depends on versions of fonts; what it shows stands in its description
        item.parent.skip_compare = (*item.parent.skip_compare, "image/svg+xml")


def compare_outputs(cell: IPyNbCell, test, ref, skip_compare=None) -> bool:
    if glued_names(test) != glued_names(ref):
        cell.comparison_traceback = [f"glued {glued_names(test)}, but stored is {glued_names(ref)}"]
        return False
    relative, absolute = tolerances(cell.cell.metadata.get("tags", []))
    settled = settle(list(test), list(ref), relative, absolute)
    return IPyNbCell.compare_outputs(cell, settled, ref, skip_compare)


def glued_names(outputs) -> list[str]:
    """The names under which a cell glues values, which nbval does not look at."""
    return [name for output in outputs if (name := output.get("metadata", {}).get("scrapbook", {}).get("name"))]
