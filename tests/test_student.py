"""Notebooks for a class: exercises stay, whatever answers them goes, and nothing of an execution is left."""

from __future__ import annotations

import nbformat
import pytest

from tools.notebooks import chapters
from tools.student import YOURS, for_a_class, main, without_answers


@pytest.mark.parametrize(
    "text",
    [
        "```{solution-start} ex-a\n:class: dropdown\n```\nforty-two\n```{solution-end}\n```",
        "```{solution} ex-a\nforty-two\n```",
        "````{solution} ex-a\n```{math}\nx\n```\nforty-two\n````",
        ":::{dropdown} Answer\nforty-two\n:::",
        "::::{dropdown} Answer to it\n:::{note}\nforty-two\n:::\n::::",
        ":::{admonition} In short\n:class: tip answer\nforty-two\n:::",
        ":::{admonition} Solution\nforty-two\n:::",
    ],
)
def test_whatever_answers_a_question_gives_way(text):
    left, inside = without_answers(f"A question.\n{text}\nAnother one.")
    assert left.splitlines() == ["A question.", YOURS, "Another one."]
    assert not inside


@pytest.mark.parametrize(
    "text",
    [
        ":::{exercise}\n:label: ex-a\nWhat is six by seven?\n:::",
        ":::{dropdown} Proof\nIt is.\n:::",
        "The answer is on the page.",
        ":::{prf:theorem} Answers exist\nThey do.\n:::",
    ],
)
def test_whatever_asks_or_teaches_stays(text):
    assert without_answers(text) == (text, False)


def test_code_of_a_solution_goes_with_it():
    cells = [
        nbformat.v4.new_markdown_cell("```{solution-start} ex-a\n```\nCompute."),
        nbformat.v4.new_code_cell("6 * 7"),
        nbformat.v4.new_markdown_cell("So it is.\n```{solution-end}\n```\nOn."),
        nbformat.v4.new_code_cell("1 + 1", execution_count=3, outputs=[nbformat.v4.new_output("stream", text="2")]),
    ]
    left = for_a_class(nbformat.v4.new_notebook(cells=cells)).cells
    assert [cell.source for cell in left] == [YOURS, "On.", "1 + 1"]
    assert left[-1].outputs == [] and left[-1].execution_count is None


def test_a_solution_without_an_end_is_noticed():
    cells = [nbformat.v4.new_markdown_cell("```{solution-start} ex-a\n```\nCompute.")]
    with pytest.raises(ValueError, match="does not end"):
        for_a_class(nbformat.v4.new_notebook(cells=cells))


def test_the_book_is_written_for_a_class(tmp_path, capsys):
    main(tmp_path)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path.resolve())
    written = sorted(tmp_path.rglob("*.ipynb"))
    assert len(written) == len([text for text in chapters() if not text.match("*_looks_right.md")])
    exercises = 0
    for path in written:
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
        text = "\n".join(cell.source for cell in notebook.cells)
        exercises += text.count("{exercise")
        assert "{solution" not in text and ":class: answer" not in text, path
        assert not any(cell.get("outputs") for cell in notebook.cells), path
    assert exercises == sum(text.read_text("utf8").count("{exercise") for text in chapters()) > 0
