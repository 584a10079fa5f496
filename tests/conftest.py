"""The rendered book, built once for all tests that look at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import matplotlib.pyplot as plt
import pytest
from filelock import FileLock
from playwright.sync_api import Browser, sync_playwright

from tests.reader import FLAGS, served

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ROOT = Path(__file__).resolve().parent.parent
hypothesis.settings.register_profile("book", deadline=None)  # a busy machine is no fault of an example
hypothesis.settings.load_profile("book")


@pytest.fixture(autouse=True)
def figures_closed() -> Iterator[None]:
    """A figure that one test leaves open is none of the next."""
    yield
    plt.close("all")


def build(source: Path, output: Path) -> Path:
    """Build a book, every warning being an error; the folder of its HTML."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "--path-output", output]
    run = subprocess.run([*command, "--all", "-n", "-W", "--keep-going"], capture_output=True, text=True)
    if run.returncode:
        pytest.fail(f"the strict build fails:\n{run.stderr[-5000:]}", pytrace=False)
    if logged := [line for line in run.stderr.splitlines() if " INFO " in line]:  # of some library, and no warning
        pytest.fail(f"the build tells what nobody asked: {logged[:3]}", pytrace=False)
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def site(pytestconfig, tmp_path_factory, worker_id) -> Path:
    """The folder of the book's HTML, shared by the processes of one test run."""
    if built := pytestconfig.getoption("--site"):
        return Path(built).resolve()
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent
    html = folder / "site" / "_build" / "html"
    with FileLock(folder / "site.lock"):
        if not (html / "index.html").exists():
            build(ROOT, folder / "site")
    return html


@pytest.fixture(scope="session")
def pages(site) -> list[Path]:
    """The book's HTML pages."""
    return [path for path in sorted(site.rglob("*.html")) if not path.relative_to(site).parts[0].startswith("_")]


@pytest.fixture(scope="session")
def names(site, pages) -> list[str]:
    """The book's pages as their addresses end; index.html only leads to the introduction."""
    return [path.relative_to(site).as_posix() for path in pages if path.name != "index.html"]


@pytest.fixture(scope="session")
def interactive(site, names) -> list[str]:
    """The pages with a figure that moves."""
    return [name for name in names if "tag_interactive-" in (site / name).read_text("utf8")]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser to look at the pages with."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        missing = "no browser to look at the pages with: install Chromium (on Debian and Ubuntu: apt install chromium)"
        (pytest.fail if os.environ.get("BOOK_REQUIRE_BROWSER") == "1" else pytest.skip)(missing)
    return executable


@pytest.fixture(scope="module")
def browser(chromium) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """Where a web server of this machine offers the book."""
    with served(site) as address:
        yield address
