"""The rendered book, built once for all tests that look at it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent


def build(source: Path, output: Path) -> Path:
    """Build a book, every warning being an error; the folder of its HTML."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "--path-output", output]
    run = subprocess.run([*command, "--all", "-n", "-W", "--keep-going"], capture_output=True, text=True)
    if run.returncode:
        pytest.fail(f"the strict build fails:\n{run.stderr[-5000:]}", pytrace=False)
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id) -> Path:
    """The folder of the book's HTML, shared by the processes of one test run."""
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
