"""Write the chapters as notebooks for a class: without solutions, answers and outputs, from the same source.

    python -m tools.student [FOLDER]        # by default _build/student

A solution, from `solution-start` to `solution-end` with its code, a `solution`, and a box or fold titled "Answer" or
"Solution" or of class `answer`, give way to a line that asks for the reader's own; pages of published answers are left
out. The folder is the last line printed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat

from tools.notebooks import BOOK, chapters

FENCE = re.compile(r"^\s*(`{3,}|:{3,})\{([\w:-]+)\}\s*(.*)$")
ANSWER = re.compile(r"(?:answer|solution)\b", re.IGNORECASE)
YOURS = "*Your answer:*"
LEFT_OUT = "*_looks_right.md"


def blocks(lines: list[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Lines in order: outside of directives one by one, with None; a directive whole, with its name and title."""
    place = 0
    while place < len(lines):
        opened = FENCE.match(lines[place])
        end = place + 1
        if opened:
            mark, name, title = opened.groups()
            closing = re.compile(rf"^\s*{mark[0]}{{{len(mark)}}}\s*$")
            while end < len(lines) and not closing.match(lines[end]):
                end += 1
            end += 1
            yield f"{name} {title}", lines[place:end]
        else:
            yield None, lines[place:end]
        place = end


def answers(head: str, lines: list[str]) -> bool:
    """Whether a directive gives something away."""
    name, _, title = head.partition(" ")
    if name == "solution":
        return True
    boxed = name in ("admonition", "dropdown", "note", "tip")
    return boxed and (bool(ANSWER.match(title)) or any(re.match(r"\s*:class:.*\banswer\b", line) for line in lines))


def without_answers(text: str, inside: bool = False) -> tuple[str, bool]:
    """A cell's text without what it gives away; whether a solution goes on behind it."""
    kept: list[str] = []
    for head, lines in blocks(text.splitlines()):
        name = (head or "").partition(" ")[0]
        if name == "solution-start":
            inside = True
            kept.append(YOURS)
        elif name == "solution-end":
            inside = False
        elif not inside:
            kept += [YOURS] if head and answers(head, lines) else lines
    return "\n".join(kept), inside


def for_a_class(notebook):
    """The notebook that a class gets."""
    cells, inside = [], False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if not inside:
                cell.outputs, cell.execution_count = [], None
                cells.append(cell)
            continue
        cell.source, inside = without_answers(cell.source, inside)
        if cell.source.strip():
            cells.append(cell)
    if inside:
        raise ValueError("a solution starts and does not end")
    notebook.cells = cells
    return notebook


def main(folder: Path) -> None:
    texts = [path for path in chapters() if not path.match(LEFT_OUT)]
    for text in texts:
        path = folder / text.relative_to(BOOK).with_suffix(".ipynb")
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(for_a_class(jupytext.read(text)), path)
    print(f"{len(texts)} notebooks without solutions and outputs; they need the book's repository, as the chapters do")
    print(folder.resolve())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else BOOK.parent / "_build" / "student")
