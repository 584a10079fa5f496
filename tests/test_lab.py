"""JupyterLab, as `make lab` opens it: the introduction first, chapters of every problem, figures that move."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT
from tests.reader import DESKTOP
from tools.notebooks import chapters

PROBLEMS = ["bias_variance", "precision_recall_gain", "learning_rate", "layer_counts", "staleness"]
WHOLE = "staleness"  # whose answers are computed in a few seconds, so that its page is run whole
PLOTLY = "application/vnd.plotly.v1+json"
NUMBERS = ROOT / "tools" / "lab_extensions" / "book-numbers" / "static" / "numbers.js"
ROLE = re.compile(r"\{glue:text\}`((\w+)(?::([^`]*))?)`")
# the text of a notebook as jupyterlab-myst renders it, and what its cells have put out, in the hands of the extension
SHOW = """([roles, outputs]) => new Promise(resolve => _JUPYTERLAB["book-numbers"].get("./extension").then(factory => {
  const node = document.createElement("div");
  const cell = { model: { type: "code", sharedModel: { getOutputs: () => outputs } } };
  const docRegistry = { addWidgetExtension: (kind, extension) =>
    extension.createNew({ content: { node, widgets: [{ model: { type: "markdown" } }, cell] } }) };
  factory().default.activate({ docRegistry });
  node.innerHTML = `<div class="myst">${roles.map(role => `<span>${role}</span>`).join(" ")}</div>`;
  setTimeout(() => resolve([...node.querySelectorAll("span")].map(span => span.textContent)), 200);
}))"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A copy of the chapters and of what JupyterLab is set up with, the texts older than the notebooks or newer."""
    copy = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "book", copy / "book", ignore=shutil.ignore_patterns("results", ".*"))
    shutil.copytree(ROOT / "tools", copy / "tools")
    shutil.copy(ROOT / "jupytext.toml", copy)
    for place, path in enumerate(sorted(copy.rglob("*.md"))):
        os.utime(path, (place % 2 * 2_000_000_000,) * 2)  # a clone sets times as it likes
    return copy


@pytest.fixture(scope="module")
def lab(folder) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--config=tools/lab_config.py", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command = [sys.executable, "-m", "jupyterlab", *options, "--IdentityProvider.token="]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with open(folder / "lab.log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert server.poll() is None, (folder / "lab.log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:  # a busy machine; its kernels end with it
            server.kill()
            server.wait()


def test_it_opens_on_the_introduction(browser, lab):
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.goto(f"{lab}/")
    page.wait_for_url("**/lab/tree/book/intro.ipynb", timeout=120_000)
    page.wait_for_selector(".jp-Notebook h1:has-text('Five problems') >> visible=true", timeout=60_000)
    page.context.close()


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_chapter_of_every_problem_opens_shows_its_numbers_runs_and_is_saved_as_it_was(browser, lab, folder, problem):
    path = folder / "book" / problem / "1_answers.ipynb"
    before = path.read_bytes(), path.with_suffix(".md").read_bytes()
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.goto(f"{lab}/lab/tree/book/{problem}/1_answers.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell, .jp-Dialog", timeout=120_000)
    assert page.locator(".jp-Dialog").all_text_contents() == []
    page.wait_for_selector(".jp-NotebookPanel [data-status='idle']", timeout=120_000)  # its kernel is ready
    numbers = quoted(nbformat.read(path, 4))[1]
    shown = page.locator(".jp-Notebook .myst span[data-shown]")
    for _ in range(300):  # Lab draws its cells one after the other, and may draw one again
        texts = shown.all_text_contents()
        if texts and texts == numbers[: len(texts)]:
            break
        page.wait_for_timeout(100)
    assert texts and texts == numbers[: len(texts)]
    page.locator(".jp-Notebook .jp-Cell").first.click()
    page.keyboard.press("Escape")
    if problem == WHOLE:
        for item in ("Run", "Run All Cells"):
            page.get_by_role("menuitem", name=item, exact=True).click()
        page.wait_for_selector(".jp-NotebookPanel [data-status='busy']", state="attached", timeout=60_000)
        page.wait_for_selector(".jp-NotebookPanel [data-status='idle']", timeout=120_000)
    else:
        page.keyboard.press("Shift+Enter")
    page.wait_for_timeout(500)
    page.keyboard.press("Control+s")
    page.wait_for_function("() => !document.querySelector('.jp-NotebookPanel .jp-mod-dirty, .jp-Dialog')")
    page.wait_for_timeout(1500)
    assert page.locator(".jp-Dialog").all_text_contents() == []
    assert (path.read_bytes(), path.with_suffix(".md").read_bytes()) == before
    page.context.close()


def quoted(notebook) -> tuple[list[str], list[str]]:
    """Each glued number of a notebook's text as its role says it, and as Python formats it."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    glued = [output for output in outputs if "scrapbook" in output.get("metadata", {})]
    values = {o.metadata.scrapbook.name: ast.literal_eval("".join(*o.data.values())) for o in glued}
    uses = [use for cell in notebook.cells if cell.cell_type == "markdown" for use in ROLE.findall(cell.source)]
    return [role for role, _, _ in uses], [format(values[name], spec) for _, name, spec in uses]


def test_the_numbers_of_every_text_are_shown_as_python_formats_them(browser):
    page = browser.new_page()
    page.add_script_tag(path=NUMBERS)
    seen = 0
    for text in chapters():
        notebook = nbformat.read(text.with_suffix(".ipynb"), 4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        roles, numbers = quoted(notebook)
        assert page.evaluate(SHOW, [roles, outputs]) == numbers, text
        seen += len(numbers)
    assert seen > 500
    page.close()


def test_a_figure_moves_once_the_pointer_comes_and_the_saved_file_keeps_its_still_picture(browser, lab, folder):
    for problem in PROBLEMS:
        notebook = nbformat.read(folder / "book" / problem / "1_answers.ipynb", 4)
        cells = [cell for cell in notebook.cells if PLOTLY in str(cell.get("outputs"))]
        if cells:
            break
    else:
        pytest.skip("no answers page has a figure that moves")
    notebook.cells = cells[:1]  # Lab draws what is in view: the figure's cell alone needs no scrolling
    nbformat.write(notebook, folder / "figure.ipynb")
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.goto(f"{lab}/lab/tree/figure.ipynb?reset")
    picture = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-RenderedPlotly img")
    picture.first.wait_for(timeout=120_000)
    picture.first.dispatch_event("mouseenter")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .js-plotly-plot .slider-group", state="attached")
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)
    assert nbformat.read(folder / "figure.ipynb", 4).cells[0].outputs == notebook.cells[0].outputs
