"""Who has a notebook without the book learns from its first cell what it is, where to read it and what it needs."""

from __future__ import annotations

import jupytext
import nbformat
import pytest

from tools.notebooks import chapters

TEXT = (
    "*This is a page of the book* Deep Learning Systems: Five Problems, Derived, Executed and Verified *as a notebook. "
    "To read it, build the book: `make book` in a clone of its repository. There the text shows its numbers, theorems "
    "and references; here some of them stand as markup, such as* `{glue:text}`, *and each number is also printed by a "
    "cell. To run it, open it in that clone with* `make lab`*: it needs the book's library,* `lib`*, and data that "
    "ship with it.*"
)


@pytest.mark.parametrize("text", chapters(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_first_cell_says_where_to_read_the_page_and_what_it_needs(text):
    for notebook in (jupytext.read(text), nbformat.read(text.with_suffix(".ipynb"), 4)):
        first = notebook.cells[0]
        assert first.metadata.get("tags") == ["elsewhere"]
        assert first.source == TEXT
