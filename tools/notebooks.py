"""Pairs of a chapter's text (.md) and its executed notebook (.ipynb).

    python tools/notebooks.py run                  # execute the chapters whose notebook is stale
    python tools/notebooks.py run --all            # all of them, say after a change of lib
    python tools/notebooks.py run book/x.md ...    # these
    python tools/notebooks.py check                # say what is wrong with the pairs; changes nothing

A chapter is executed from its text, and its notebook is replaced only when every cell has run. The same
text and the same outputs give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from jupytext.config import load_jupytext_config
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

BOOK = Path(__file__).resolve().parent.parent / "book"
VOLATILE = ("execution", "trusted", "collapsed", "scrolled")  # metadata that comes and goes with the tool
UNCOMPARED = re.compile(r"nbval[-_](?:skip|ignore[-_]output)", re.IGNORECASE)  # ways to keep a cell from its test


def chapters(book: Path = BOOK) -> list[Path]:
    """The text half of every pair."""
    return [path for path in sorted(book.rglob("*.md")) if path.read_text("utf8").startswith("---\njupytext:")]


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
    notebook, source = nbformat.read(path, 4), jupytext.read(text)
    found = []
    if text.read_text("utf8") != normal_form(text):
        found.append(f"{text.name} is not in the form in which JupyterLab saves it")
    if cells_view(notebook) != cells_view(source):
        found.append(f"{path.name} does not hold the same cells")
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"{path.name} was not executed once from top to bottom: {counts}")
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
    notebook = jupytext.read(text)
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


def execute(content: str, folder: Path):
    """The notebook of a text, executed from top to bottom in a folder."""
    notebook = jupytext.reads(content, fmt="md:myst")
    name_cells(notebook)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=3600, record_timing=False, coalesce_streams=True, resources=resources).execute()
    notebook.metadata.get("language_info", {}).pop("version", None)
    return notebook


def write(content: str, path: Path) -> None:
    """Replace a file's content in one step, or leave it alone if it is the same."""
    if path.exists() and path.read_text("utf8") == content:
        return
    new = path.with_name(path.name + ".new")
    new.write_text(content, "utf8")
    os.replace(new, path)


def run(text: Path) -> bool:
    """Execute one chapter and store its notebook; False, and nothing stored, if a cell fails."""
    before, begin = text.read_text("utf8"), time.perf_counter()
    try:
        content = normal_form(text)
        notebook = execute(content, text.parent)
    except CellExecutionError as error:
        print(f"{text.name}: a cell fails, so nothing was stored:\n{error}", file=sys.stderr)
        return False
    write(jupytext.writes(notebook, fmt="ipynb") + "\n", text.with_suffix(".ipynb"))
    if text.read_text("utf8") == before:  # the text's normal form, unless somebody edited it meanwhile
        write(content, text)
    print(f"{text.name}: executed in {time.perf_counter() - begin:.1f} s", flush=True)
    return True


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "check"])
    parser.add_argument("--all", action="store_true", help="run all chapters, not only the stale ones")
    parser.add_argument("chapters", nargs="*", type=Path, help="the .md or .ipynb file of a chapter")
    options = parser.parse_args(arguments)
    texts = [path.resolve().with_suffix(".md") for path in options.chapters] or chapters()
    if missing := [str(path) for path in texts if not path.exists()]:
        parser.error(f"there is no {', '.join(missing)}")
    if options.action == "check":
        bad = {text: found for text in texts if (found := problems(text))}
        for text, found in bad.items():
            print(*(f"{text.name}: {problem}" for problem in found), sep="\n")
        print(f"{len(texts)} pairs, {len(bad)} bad")
        return bool(bad)
    stale = [text for text in texts if options.all or options.chapters or problems(text)]
    if not stale:
        print("no chapter is stale; --all (make run ALL=1) executes them regardless")
    return 0 if all([run(text) for text in stale]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
