"""Stored and recomputed outputs agree by number: text and integers exactly, floats to 1e-6, wider only by a tag."""

from __future__ import annotations

import nbformat
import pytest

from conftest import glued_names
from tools.outputs import agree, settle, tolerances


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("0.123456789", "0.123456788"),
        ("mse 0.589234 at degree 8", "mse 0.5892340001 at degree 8"),
        ("1.5e-12", "1.5000001e-12"),
        ("-0.0", "0.0"),
        ("0.0", "-0.0"),
        ("12.3456789 %", "12.3456788 %"),
        ("12.3456789%", "12.3456788%"),
        ("1,234,567.1", "1,234,567.2"),
        ("(1.5+2.5j)", "(1.5000000001+2.5j)"),
        ("<td>0.123456789</td><td>8</td>", "<td>0.123456788</td><td>8</td>"),
        ("[0.1, 2.5]", "[0.1000000001, 2.5]"),
        ("[0.1,2.5]", "[0.1000000001,2.5]"),
        ("  a    0.5\n  b   -1.0\n", "  a             0.5000000001\n  b            -1.0\n"),
        ("0.5 s nan inf", "0.5000000001 s nan inf"),
        ("It is 0.5.", "It is 0.5000000001."),
    ],
)
def test_close_floats_agree(stored, new):
    assert agree(new, stored)


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("0.123456789", "0.123466789"),
        ("0.123456789", "-0.123456789"),
        ("mse 0.589234", "MSE 0.589234"),
        ("mse 0.589234", "mse 0.589234 "),
        ("degree 8", "degree 9"),
        ("1000000001", "1000000002"),
        ("1,000,000,001", "1,000,000,002"),
        ("[1000001,1000002.5]", "[1000001,1000004.5]"),
        ("[123,456.7891]", "[123,456.7899]"),
        ("23 %", "24 %"),
        ("8", "8.0"),
        ("nan", "0.5"),
        ("0.5", "nan"),
        ("inf", "-inf"),
        ("0.0", "1e-12"),
        ("1e-12", "2e-12"),
        ("(1.5+2.5j)", "(1.5-2.5j)"),
        ("0.5 0.6", "0.5"),
        ("0.5", "0.5 0.6"),
        ("a  0.5", "a 0.5"),
        ("1.2.3", "1.2.4"),
        ("id3f7.5e2", "id3f7.6e2"),
        ("<td>0.12345</td>", "<td>0.12346</td>"),
        ("", "0.5"),
    ],
)
def test_anything_else_differs(stored, new):
    assert not agree(new, stored)


def test_tags_widen_one_cell():
    assert tolerances(["hide-input"]) == (1e-6, 0)
    assert tolerances(["nbval-rtol-1e-3", "nbval-atol-1e-9"]) == (1e-3, 1e-9)
    assert agree("0.5004", "0.5", relative=1e-3)
    assert not agree("0.506", "0.5", relative=1e-3)
    assert not agree("8", "9", relative=1.0)
    assert agree("-1e-12", "1e-12", absolute=1e-9)
    assert not agree("1e-6", "0.0", absolute=1e-9)


def test_outputs_settle_at_any_depth():
    stored = {"data": {"x": [0.5, 1, "0.25"], "y": float("nan")}}
    near = {"data": {"x": [0.5000000001, 1, "0.2500000001"], "y": float("nan")}}
    assert repr(settle(near, stored)) == repr(stored)
    for other in (
        {"x": [0.51, 1, "0.25"]},
        {"x": [0.5, 1.0, "0.25"]},
        {"x": [0.5, 1]},
        {"z": 1},
        {"x": [True, 1, "a"]},
    ):
        assert repr(settle({"data": other}, stored)) == repr({"data": other})


def test_names_of_glued_values_are_compared():
    outputs = [*glued("a", "1").outputs, nbformat.v4.new_output("stream", text="x"), *glued("b", "1").outputs]
    assert glued_names(outputs) == ["a", "b"]


def printed(text: str | None, source: str, *tags: str):
    """A cell with a stored text output."""
    outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)})


def glued(name: str, value: str):
    """A cell that glues 0.5 under the name `a`, with another name or value stored."""
    data = {"application/papermill.record/text/plain": value}
    metadata = {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}}
    source = 'from myst_nb import glue\nglue("a", 0.5, display=False)'
    return nbformat.v4.new_code_cell(source, outputs=[nbformat.v4.new_output("display_data", data, metadata=metadata)])


CELLS = {
    "same": (printed("x 0.123456789\n", 'print("x", 0.123456789)'), True),
    "near": (printed("x 0.123456789\n", 'print("x", 0.1234567890001)'), True),
    "far": (printed("x 0.123456789\n", 'print("x", 0.1234667)'), False),
    "far, but widened": (printed("x 0.123456789\n", 'print("x", 0.1234667)', "nbval-rtol-1e-3"), True),
    "integer": (printed("8\n", "print(8)"), True),
    "another integer": (printed("8\n", "print(9)", "nbval-rtol-1e-3"), False),
    "missing": (printed("8\n", "8;"), False),
    "extra": (printed(None, "print(8)"), False),
    "less": (printed("8\n8\n", "print(8)"), False),
    "glued": (glued("a", "0.5"), True),
    "glued another value": (glued("a", "0.6"), False),
    "glued under another name": (glued("b", "0.5"), False),
    "error": (printed(None, "1 / 0"), False),
}


def test_a_cell_passes_only_with_its_outputs(pytester, request):
    cells = [cell for cell, _ in CELLS.values()]
    for count, cell in enumerate(cells):
        cell.execution_count = count + 1
    nbformat.write(nbformat.v4.new_notebook(cells=cells), pytester.path / "chapter.ipynb")
    pytester.makeconftest((request.config.rootpath / "conftest.py").read_text("utf8"))
    pytester.syspathinsert(request.config.rootpath)
    run = pytester.inline_run("--nbval", "--nbval-current-env", "-n0", "-p", "no:cacheprovider")
    reports = [report for report in run.getreports("pytest_runtest_logreport") if report.when == "call"]
    outcomes = dict(zip(CELLS, [report.passed for report in reports], strict=True))
    assert outcomes == {name: passes for name, (_, passes) in CELLS.items()}
