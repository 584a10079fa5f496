"""Stored and recomputed outputs agree by number: text and integers exactly, floats to 1e-6, wider only by a tag."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest

from conftest import glued_names, order
from tests.conftest import ROOT
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


def packed(*numbers: float, dtype: str = "f8", **more: str) -> dict:
    return {"dtype": dtype, "bdata": base64.b64encode(np.array(numbers, dtype).tobytes()).decode(), **more}


@pytest.mark.parametrize(
    ("stored", "new", "same"),
    [
        (packed(0.5, 2.0), packed(0.5000000001, 2.0), True),
        (packed(0.5, 2.0), packed(0.51, 2.0), False),
        (packed(0.5, 2.0), packed(0.5, 2.0, 3.0), False),
        (packed(0.5, 2.0, dtype="f4"), packed(0.50000006, 2.0, dtype="f4"), True),
        (packed(0.5, 2.0, shape="1, 2"), packed(0.5, 2.0, shape="2, 1"), False),
        (packed(1, 2, dtype="i4"), packed(1, 3, dtype="i4"), False),
        (packed(float("nan"), 2.0), packed(float("nan"), 2.0), True),
        ({"dtype": "f8", "bdata": "no base64"}, packed(0.5), False),
    ],
)
def test_packed_arrays_are_compared_as_numbers(stored, new, same):
    for form in (lambda array: array, json.dumps, lambda array: f"<script>{json.dumps({'y': array})}</script>"):
        assert (settle(form(new), form(stored)) == form(stored)) == same
    assert settle(packed(0.51), packed(0.5), relative=0.1) == packed(0.5)


def test_ids_made_of_a_digest_are_alike_and_numbers_are_not():
    assert agree("<div id='plotly-0f3a55b1c2d4'>", "<div id='plotly-1f3a55b1c2d5'>")
    assert not agree("loss-12345678", "loss-12345679")
    assert not agree("seed0-f6e1a6bf.json", "seed0-a6e1a6bf.json")
    assert not agree("see-deadbeef", "see-deadbeee")  # no digit: a word


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


def plotted(stored: float, computed: float, *tags: str):
    """A cell that shows an interactive figure, an array of which Plotly packs into base64."""

    def spec(value: float) -> dict:
        packed = base64.b64encode(np.array([0.5, value]).tobytes()).decode()
        return {"data": [{"type": "scatter", "y": {"dtype": "f8", "bdata": packed}}], "layout": {}}

    def bundle(value: float) -> dict:
        text = json.dumps(spec(value), sort_keys=True)
        name = f"plotly-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        html = f'<div id="{name}"></div><script type="application/json" id="{name}-spec">{text}</script>'
        return {"application/vnd.plotly.v1+json": spec(value), "text/html": html, "text/plain": "A line."}

    source = f"from IPython.display import publish_display_data\npublish_display_data({bundle(computed)!r})"
    outputs = [nbformat.v4.new_output("display_data", bundle(stored))]
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)})


def drawn(stored: str, computed: str, alt: str):
    """A cell that shows a picture and its description, with another picture stored."""
    source = (
        "from IPython.display import publish_display_data\n"
        f'publish_display_data({{"image/svg+xml": {computed!r}, "text/plain": "A line."}})'
    )
    bundle = {"image/svg+xml": stored, "text/plain": alt}
    return nbformat.v4.new_code_cell(source, outputs=[nbformat.v4.new_output("display_data", bundle)])


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
    "packed near": (plotted(0.123456789, 0.1234567890001), True),
    "packed far": (plotted(0.123456789, 0.1234667), False),
    "packed far, but widened": (plotted(0.123456789, 0.1234667, "nbval-rtol-1e-3"), True),
    "another picture": (drawn("<svg>1</svg>", "<svg>2</svg>", "A line."), True),
    "another description": (drawn("<svg>1</svg>", "<svg>1</svg>", "A curve."), False),
    "error": (printed(None, "1 / 0"), False),
}


def test_a_cell_passes_only_with_its_outputs(pytester):
    cells = [cell for cell, _ in CELLS.values()]
    for count, cell in enumerate(cells):
        cell.execution_count = count + 1
    nbformat.write(nbformat.v4.new_notebook(cells=cells), pytester.path / "chapter.ipynb")
    run = pytester.inline_run("-p", "conftest", "--nbval", "--nbval-current-env", "-n0", "-p", "no:cacheprovider")
    reports = [report for report in run.getreports("pytest_runtest_logreport") if report.when == "call"]
    outcomes = dict(zip(CELLS, [report.passed for report in reports], strict=True))
    assert outcomes == {name: passes for name, (_, passes) in CELLS.items()}


@pytest.mark.parametrize("place", [ROOT / "book", None])
def test_a_chapter_is_compared_from_wherever_pytest_is_called(place, tmp_path):
    cell = f"{ROOT}/book/data.ipynb::Cell 0" if place is None else "data.ipynb::Cell 0"
    command = [sys.executable, "-m", "pytest", "-n0", "-q", cell]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=place or tmp_path, env=environment, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def started(seconds: dict[str, float], wanting_pages: set[str]) -> list[str]:
    """The order of files of one test each."""
    items = [SimpleNamespace(path=ROOT / name, fixturenames=["site"] * (name in wanting_pages)) for name in seconds]
    order(items, seconds)
    return [item.path.relative_to(ROOT).as_posix() for item in items]


def test_files_start_in_the_order_of_the_time_they_take():
    seconds = {"book/a.ipynb": 60, "book/b.ipynb": 300, "tests/test_browser.py": 90, "tests/test_book.py": 30}
    builder, *others = started(seconds, {"tests/test_browser.py", "tests/test_book.py"})
    assert builder == "tests/test_browser.py"  # so that nobody waits for the pages
    assert others == ["book/b.ipynb", "book/a.ipynb", "tests/test_book.py"]


def test_while_the_pages_are_built_another_process_does_what_needs_none():
    seconds = {"tests/test_pdf.py": 130, "tests/test_browser.py": 120, "tests/test_book.py": 110, "book/b.ipynb": 100}
    first, second, *others = started(seconds, set(seconds) - {"book/b.ipynb"})
    assert (first, second) == ("tests/test_pdf.py", "book/b.ipynb")
    assert others == ["tests/test_browser.py", "tests/test_book.py"]


def test_a_file_that_was_never_timed_may_take_long():
    items = [SimpleNamespace(path=ROOT / "tests" / name) for name in ("test_old.py", "test_new.py")]
    order(items, {"tests/test_old.py": 100})
    assert [item.path.name for item in items] == ["test_new.py", "test_old.py"]
