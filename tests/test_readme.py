"""What README.md says of sizes, times and commands is so."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import jupytext
import pytest

from conftest import SECONDS
from tests.test_house import PROJECT, README
from tools.lock import BOOK, installed, package
from tools.notebooks import chapters


def megabytes(requirements: list[str]) -> float:
    """What packages, and all that they need, take up on the disk."""
    files = (file.locate() for name in installed(requirements) for file in package(name).files)
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file()) / 1e6


def test_the_library_alone_is_as_large_as_said():
    (stated,) = re.findall(r"no PyTorch: (\d+) MB", README)
    pip = 20  # comes with every environment
    assert megabytes(PROJECT["project"]["dependencies"]) + pip == pytest.approx(float(stated), rel=0.1)


def test_all_tests_take_as_long_as_said():
    (stated,) = re.findall(r"in about (\d+) minutes on two cores", README)
    recorded = json.loads(SECONDS.read_text("utf8"))
    assert sum(recorded.values()) / 2 / 60 == pytest.approx(float(stated), rel=0.3)


def test_every_module_that_the_readme_runs_is_there():
    named = set(re.findall(r"python -m ([a-z_.]+)", README))
    assert {"lib.experiments", "tools.lock"} <= named
    for name in named:
        assert importlib.util.find_spec(name), name


def imports(text: Path) -> Iterator[str]:
    """The top-level modules that the code of a page imports."""
    for cell in jupytext.read(text).cells:
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Import):
                    yield from (alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield node.module.split(".")[0]


def test_what_colab_gets_is_all_that_the_pages_import():
    assert 'pip install -q "/content/book[all]"' in README
    brought = set(installed([BOOK]))
    modules = {name for name, packages in packages_distributions().items() if brought & {*map(str.lower, packages)}}
    here = {"lib", "IPython"} | sys.stdlib_module_names  # the book's, what a notebook runs in
    for text in chapters():
        assert set(imports(text)) - modules - here == set(), text
