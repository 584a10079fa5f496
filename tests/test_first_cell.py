"""Who has a notebook without the book learns from its first cell what it is, where to read it and what it needs."""

from __future__ import annotations

import ast
import re

import jupytext
import nbformat
import pytest

from tools.notebooks import chapters

TEXT = (
    "*This is a page of the book* Deep Learning Systems: Five Problems, Derived, Executed and Verified *as a notebook. "
    "To read it, build the book: `make book` in a clone of its repository. There the text shows its numbers, theorems "
    "and references; here some of them stand as markup, such as* `{glue:text}`, *and each number of an answer is also "
    "printed by a cell. To run it, open it in that clone with* `make lab`*: it needs the book's library,* `lib`*, and "
    "data that ship with it.*"
)


@pytest.mark.parametrize("text", chapters(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_first_cell_says_where_to_read_the_page_and_what_it_needs(text):
    for notebook in (jupytext.read(text), nbformat.read(text.with_suffix(".ipynb"), 4)):
        first = notebook.cells[0]
        assert first.metadata.get("tags") == ["elsewhere"]
        assert first.source == TEXT


BOX = re.compile(r"^(:{3,})\{admonition\}[^\n]*\n:class: [^\n]*answer[^\n]*\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"\{glue:text\}`(\w+)(?::([^`]*))?`")


@pytest.mark.parametrize("text", chapters(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_number_of_an_answer_is_printed_by_a_cell_where_no_viewer_shows_it_in_the_text(text):
    printed, values = "", {}
    for cell in nbformat.read(text.with_suffix(".ipynb"), 4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            values[name] = data.get("application/papermill.record/text/plain")
            printed += " ".join(value for kind, value in data.items() if kind.startswith("text")) + "\n"
    for box in BOX.finditer(text.read_text("utf8")):
        for name, form in QUOTED.findall(box[2]):
            value = format(ast.literal_eval(values[name]), form)
            assert value.replace(",", "") in printed.replace(",", ""), name
