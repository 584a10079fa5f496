"""Pairs of a chapter's text (.md) and its executed notebook (.ipynb).

    python -m tools.notebooks run                  # execute the chapters whose notebook is stale
    python -m tools.notebooks run --all --jobs 2   # all of them, say after a change of lib, two at a time
    python -m tools.notebooks run book/x.md ...    # these
    python -m tools.notebooks check                # say what is wrong with the pairs; changes nothing

A chapter is executed from its text, and its notebook is replaced only when every cell has run and left nothing that
should not be stored. The same text and the same outputs give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from jupytext.config import load_jupytext_config
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from lib.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
SECONDS = ROOT / "tests" / "seconds.json"  # how long each file's tests took, see conftest.py
QUOTES = re.compile(r"\bstored_(?:values|figure)\(")  # a page that shows what other pages have stored
VOLATILE = ("execution", "trusted", "collapsed", "scrolled")  # metadata that comes and goes with the tool
UNCOMPARED = re.compile(r"nbval[-_](?:skip|ignore[-_]output)", re.IGNORECASE)  # ways to keep a cell from its test


def content(text: Path) -> str:
    """What a text says, without the byte order mark or the empty lines that some editors put before it."""
    return text.read_text("utf-8-sig", errors="replace").lstrip()


def is_chapter(text: Path) -> bool:
    """Whether a page's header makes it the text half of a pair."""
    header = re.match(r"---\s*\n(.*?)\n---\s*\n", content(text), re.DOTALL)
    return bool(header and re.search(r"^jupytext:", header.group(1), re.MULTILINE))


def visible(paths: Iterable[Path], book: Path) -> list[Path]:
    """Those that are no tool's: JupyterLab's copies in .ipynb_checkpoints, what is built in _build."""
    hidden = re.compile(r"(^|/)[._]")
    return [path for path in sorted(paths) if not hidden.search(path.relative_to(book).as_posix())]


def chapters(book: Path = BOOK) -> list[Path]:
    """The text half of every pair."""
    return [path for path in visible(book.rglob("*.md"), book) if is_chapter(path)]


def orphans(book: Path = BOOK) -> list[Path]:
    """Notebooks that are no chapter's: their text was deleted or renamed, or has lost its header."""
    texts = {text.with_suffix(".ipynb") for text in chapters(book)}
    return [path for path in visible(book.rglob("*.ipynb"), book) if path not in texts]


def cells_view(notebook) -> list[tuple]:
    """What both halves of a pair must agree on."""
    return [
        (cell.cell_type, cell.source.strip(), {k: v for k, v in cell.metadata.items() if k not in VOLATILE})
        for cell in notebook.cells
    ]


def problems(text: Path) -> list[str]:
    """What is wrong with a pair, in words; nothing if its notebook holds the outputs of its text."""
    path = text.with_suffix(".ipynb")
    if not path.exists():
        return [f"{path.name} is missing"]
    notebook, source = nbformat.read(path, 4), jupytext.reads(content(text), fmt="md:myst")
    found = []
    if text.read_bytes() != normal_form(text).encode():
        found.append(f"{text.name} is not in the form in which JupyterLab saves it")
    if cells_view(notebook) != cells_view(source):
        found.append(f"{path.name} does not hold the same cells")
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"{path.name} was not executed once from top to bottom: {counts}")
    return found + unfit(notebook)


def unfit(notebook) -> list[str]:
    """What an executed notebook holds that should not be stored."""
    found = []
    for number, cell in enumerate(notebook.cells):
        if volatile := set(cell.metadata) & set(VOLATILE):
            found.append(f"cell {number}: metadata that should not be stored: {', '.join(sorted(volatile))}")
        if cell.cell_type == "code" and UNCOMPARED.search(" ".join([cell.source, *cell.metadata.get("tags", [])])):
            found.append(f"cell {number}: keeps its output from being compared; widen the tolerance by a tag instead")
        for output in cell.get("outputs", []):
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                found.append(f"cell {number}: stored error {output.ename}")
            if output.output_type == "stream" and output.name == "stderr":
                found.append(f"cell {number}: writes to stderr: {output.text.strip().splitlines()[-1]}")
    return found


def name_cells(notebook) -> None:
    """Give each cell an id that depends on nothing but its content and on equal cells before it."""
    seen = set()
    for cell in notebook.cells:
        repeat = 0
        while (name := hashlib.sha256(f"{repeat}{cell.cell_type}{cell.source}".encode()).hexdigest()[:8]) in seen:
            repeat += 1
        seen.add(name)
        cell.id = name


def normal_form(text: Path) -> str:
    """A chapter's text as JupyterLab would save it, so that opening and saving it there changes nothing."""
    notebook = jupytext.reads(content(text), fmt="md:myst")
    for cell in notebook.cells:
        for key in VOLATILE:
            cell.metadata.pop(key, None)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    notebook = nbformat.reads(nbformat.writes(notebook), 4)  # metadata in the order in which a notebook stores it
    return jupytext.writes(notebook, fmt="md:myst", config=load_jupytext_config(str(text)))


class Client(NotebookClient):
    """NotebookClient, which makes errors of its own of Ctrl-C, and lets the kernel complain of closed sockets."""

    @property
    def interrupted(self) -> bool:
        return hasattr(self, "_async_cleanup_kernel_future")

    async def _async_cleanup_kernel(self) -> None:
        if self.interrupted:
            self.shutdown_kernel = "immediate"
        await super()._async_cleanup_kernel()


def execute(source: str, folder: Path):
    """The notebook of a text, executed from top to bottom in a folder."""
    notebook = jupytext.reads(source, fmt="md:myst")
    name_cells(notebook)
    options = {"resources": {"metadata": {"path": str(folder)}}, "record_timing": False, "coalesce_streams": True}
    # what the kernel itself logs: its errors, and not that this machine could listen to itself
    client = Client(notebook, timeout=3600, extra_arguments=["--log-level=ERROR"], **options)
    try:
        client.execute()
    except Exception:
        if client.interrupted:
            raise KeyboardInterrupt from None
        raise
    notebook.metadata.get("language_info", {}).pop("version", None)
    return notebook


def write(text: str, path: Path) -> None:
    """Replace a file's content in one step, or leave it alone if it is the same."""
    if not path.exists() or path.read_bytes() != text.encode():
        write_atomically(path, text.encode())


def name(path: Path) -> str:
    """A file as its reader would name it: within the book's folder where it is there."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def run(text: Path) -> bool:
    """Execute one chapter and store its notebook; False, and nothing stored, if something is wrong with it."""
    before, begin = text.read_bytes(), time.perf_counter()
    try:
        source = normal_form(text)
        notebook = execute(source, text.parent)
        if found := unfit(notebook):
            print(f"{name(text)}: nothing was stored:", *found, sep="\n", file=sys.stderr)
            return False
        write(jupytext.writes(notebook, fmt="ipynb") + "\n", text.with_suffix(".ipynb"))
        if text.read_bytes() == before:  # the text's normal form, unless somebody edited it meanwhile
            write(source, text)
    except CellExecutionError as error:
        print(f"{name(text)}: a cell fails, so nothing was stored:\n{error}", file=sys.stderr)
        return False
    except OSError as error:
        print(f"{name(text)}: not stored: {error}", file=sys.stderr)
        return False
    print(f"{name(text)}: executed in {time.perf_counter() - begin:.1f} s", flush=True)
    return True


def run_all(texts: list[Path], jobs: int) -> bool:
    """Execute chapters, several at a time; the one that takes longest first, so that none begun late is waited for.

    A page that quotes others comes after them.
    """
    seconds = json.loads(SECONDS.read_text("utf8"))
    texts = sorted(texts, key=lambda text: -seconds.get(name(text.with_suffix(".ipynb")), 1e3))
    done = []
    for quoting in (False, True):
        turn = [text for text in texts if bool(QUOTES.search(content(text))) is quoting]
        if jobs == 1 or len(turn) < 2:
            done += [run(text) for text in turn]
        else:
            with ProcessPoolExecutor(min(jobs, len(turn))) as pool:
                done += pool.map(run, turn)
    return all(done)


def check(texts: list[Path], book: Path = BOOK) -> bool:
    """Say what is wrong with the pairs; whether nothing is."""
    bad = {text: found for text in texts if (found := problems(text))}
    for text, found in bad.items():
        print(*(f"{name(text)}: {problem}" for problem in found), sep="\n")
    for notebook in (alone := orphans(book)):
        print(f"{name(notebook)} has no text beside it that is a chapter: restore the .md, or delete the notebook")
    print(f"{len(texts)} pairs, {len(bad) + len(alone)} bad")
    return not bad and not alone


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "check"])
    parser.add_argument("--all", action="store_true", help="run all chapters, not only the stale ones")
    parser.add_argument("--jobs", type=int, default=1, help="chapters at a time (default: 1)")
    parser.add_argument("chapters", nargs="*", type=Path, help="the .md or .ipynb file of a chapter")
    options = parser.parse_intermixed_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}")
    texts = [path.resolve().with_suffix(".md") for path in options.chapters] or chapters()
    if missing := [str(path) for path in options.chapters if not path.resolve().with_suffix(".md").is_file()]:
        parser.error(f"{', '.join(missing)}: no chapter; name the text of one, such as book/data.md")
    if others := [name(path) for path in texts if not is_chapter(path)]:
        parser.error(
            f"{', '.join(others)}: no chapter, since its header does not begin with jupytext: nothing to execute"
        )
    if options.action == "check":
        return 0 if check(texts) else 1
    # the kernels import this folder's lib, whatever is installed
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    stale = [text for text in texts if options.all or options.chapters or problems(text)]
    if not stale:
        print(
            "the text of no chapter has changed since it was executed; --all (make run ALL=1) executes them regardless"
        )
    return 0 if run_all(stale, options.jobs) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted: chapters that had not ended are as they were")
