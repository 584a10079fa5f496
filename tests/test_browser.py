"""The rendered book in a real browser: no request to another host, no error, accessible, no wider than the screen."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import axe_playwright_python
import nbformat
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROOT = Path(__file__).resolve().parent.parent
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 812}
SMALLEST_TEXT = 11  # pixels
# when MathJax and the interactive figures are done
READY = """() => (!window.MathJax || (MathJax.startup && MathJax.startup.promise.then(() => true))) &&
  [...document.querySelectorAll(".plotly-offline")].every(figure => figure.querySelector(".main-svg"))"""
WIDER_THAN_SCREEN = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("body *")].filter(element => element.getBoundingClientRect().right > innerWidth + 1)
    .map(element => element.outerHTML.slice(0, 120))"""
SMALL_TEXT = """smallest => [...document.querySelectorAll("article *")].filter(element =>
    [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.textContent.trim()) &&
    element.checkVisibility() && !element.closest("svg, mjx-container, sup, sub, script, style"))
  .filter(element => { const size = parseFloat(getComputedStyle(element).fontSize);
    return 0 < size && size < smallest })
  .map(element => element.outerHTML.slice(0, 120))"""
BRIGHTNESS_BEHIND = """all => all.map(figure => {
  let color = [0, 0, 0, 0], element = figure;
  for (; element && color[3] === 0; element = element.parentElement) {
    const found = getComputedStyle(element).backgroundColor.match(/[\\d.]+/g).map(Number);
    color = found.length === 4 ? found : [...found, 1];
  }
  return Math.max(...color.slice(0, 3)) / 255;
})"""
RUN_AXE = """([exclude, tags]) => axe.run({exclude}, {
  runOnly: tags, rules: {"label-content-name-mismatch": {enabled: true}}, preload: false, resultTypes: ["violations"]
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        missing = "no browser to look at the pages with: install Chromium (on Debian and Ubuntu: apt install chromium)"
        (pytest.fail if os.environ.get("BOOK_REQUIRE_BROWSER") == "1" else pytest.skip)(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """Where a web server of this machine offers the book."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Reader:
    """Somebody with a screen and a colour scheme who opens pages; `faults` collects what goes wrong meanwhile."""

    def __init__(self, browser: Browser, address: str, screen: dict[str, int] = DESKTOP, scheme: str = "light"):
        self.address = address
        self.faults: list[str] = []
        self.page: Page = browser.new_context(viewport=screen, color_scheme=scheme).new_page()
        self.page.on("request", self.see)
        self.page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url[:200]}"))
        self.page.on("response", self.receive)
        self.page.on("pageerror", lambda error: self.faults.append(f"script error: {error}"))
        self.page.on("console", self.hear)

    def see(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.faults.append(f"request to another host: {request.url[:200]}")

    def receive(self, answer) -> None:
        if answer.status >= 400:
            self.faults.append(f"{answer.status}: {answer.url}")

    def hear(self, message) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text[:200]}")

    def open(self, name: str) -> Page:
        """A page of the book, when everything in it is drawn."""
        self.faults = []
        self.page.goto(f"{self.address}/{name}")
        self.page.wait_for_function(READY)
        return self.page


def names(site: Path, pages: list[Path]) -> list[str]:
    """The book's pages; index.html only leads to the introduction."""
    return [path.relative_to(site).as_posix() for path in pages if path.name != "index.html"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_is_sound(browser, address, site, pages, screen, scheme):
    reader, wrong = Reader(browser, address, screen, scheme), {}
    for name in names(site, pages):
        page = reader.open(name)
        faults = reader.faults
        if page.evaluate("document.documentElement.dataset.theme") != scheme:
            faults.append(f"not shown in the reader's colour scheme, {scheme}")
        faults += [f"wider than the screen: {element}" for element in page.evaluate(WIDER_THAN_SCREEN)]
        faults += [f"text too small: {element}" for element in page.evaluate(SMALL_TEXT, SMALLEST_TEXT)]
        page.evaluate(AXE.read_text("utf8"))
        # formulas have the colour of their text, and code has the same colours on every screen; both are slow to check
        exclude = [["mjx-container"]] + ([[".highlight"]] if screen == PHONE else [])
        for violation in page.evaluate(RUN_AXE, [exclude, RULES])["violations"]:
            nodes = [node["html"][:150] for node in violation["nodes"][:3]]
            faults.append(f"{violation['id']}: {violation['help']}: {nodes}")
        if faults:
            wrong[name] = faults
    assert wrong == {}


def test_every_page_opens_from_a_file_with_its_mathematics_typeset(browser, site, pages):
    reader, wrong = Reader(browser, site.as_uri()), {}
    for name in names(site, pages):
        page = reader.open(name)
        if page.locator("mjx-merror").count():
            reader.faults.append("an error in the mathematics")
        if page.locator("article mjx-container").count() < page.locator("article .math").count():
            reader.faults.append("mathematics that is not typeset")
        if reader.faults:
            wrong[name] = reader.faults
    assert wrong == {}


def test_the_first_page_leads_to_the_introduction(browser, address):
    reader = Reader(browser, address)
    reader.page.goto(f"{address}/index.html")
    reader.page.wait_for_url("**/book/intro.html")
    assert reader.faults == []


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_slider_of_an_interactive_figure_works(browser, address, site, pages, screen):
    reader, tried = Reader(browser, address, screen), 0
    for name in names(site, pages):
        if "plotly-offline" not in (site / name).read_text("utf8"):
            continue
        page = reader.open(name)
        for figure in page.locator(".plotly-offline:has(.slider-group)").all():
            figure.scroll_into_view_if_needed()
            rail, label = figure.locator(".slider-rail-touch-rect").first, figure.locator(".slider-label").first
            values = set()
            for share in (0.02, 0.5, 0.98):
                box = rail.bounding_box()
                assert box["x"] >= 0 and box["x"] + box["width"] <= screen["width"], f"{name}: slider off the screen"
                rail.click(position={"x": share * box["width"], "y": box["height"] / 2}, force=True)
                page.wait_for_timeout(200)
                values.add(label.text_content())
            assert len(values) == 3, f"{name}: the slider does not move: {values}"
            tried += 1
        assert reader.faults == []
    if not tried:
        pytest.skip("no page has an interactive figure with a slider")


def test_figures_follow_the_colour_mode_when_the_reader_changes_it(browser, address, site, pages):
    reader = Reader(browser, address)
    for name in names(site, pages):
        if "plotly-offline" in (site / name).read_text("utf8"):
            page = reader.open(name)
            figures = page.locator("article .plotly-offline, article .cell_output img")
            for mode, inverted in (("dark", True), ("light", False)):
                page.evaluate("mode => { document.documentElement.dataset.theme = mode }", mode)
                filters = figures.evaluate_all("all => all.map(figure => getComputedStyle(figure).filter)")
                assert filters and all(("invert" in found) == inverted for found in filters), name
                behind = page.locator("article .plotly-offline").evaluate_all(BRIGHTNESS_BEHIND)
                assert all((brightness < 0.3) == inverted for brightness in behind), f"{name}: {mode} {behind}"


@pytest.fixture
def lab(tmp_path) -> Iterator[str]:
    """Where JupyterLab offers a copy of the chapters, as `make lab` would."""
    for suffix in ("md", "ipynb"):
        for path in (ROOT / "book").rglob(f"[!_.]*.{suffix}"):
            (tmp_path / path.relative_to(ROOT / "book")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / path.relative_to(ROOT / "book"))
    shutil.copy(ROOT / "jupytext.toml", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token="]
    with open(tmp_path / "lab.log", "wb") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], cwd=tmp_path, stdout=log, stderr=log)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert server.poll() is None, (tmp_path / "lab.log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:  # a busy machine; its kernels end with it
            server.kill()
            server.wait()


def test_chapter_opens_in_jupyterlab_and_its_interactive_figure_is_alive(browser, lab, tmp_path):
    os.utime(
        tmp_path / "bias_variance" / "1_answers.md", (0, 0)
    )  # the text much older than the notebook, as a clone may set it
    page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    page.goto(f"{lab}/lab/tree/bias_variance/1_answers.ipynb")
    page.wait_for_selector(".jp-Notebook .jp-Cell, .jp-Dialog", timeout=120_000)
    assert page.locator(".jp-Dialog").all_text_contents() == []
    # Lab draws what is in view: the figure's cell alone needs no scrolling
    notebook = nbformat.read(tmp_path / "bias_variance" / "1_answers.ipynb", 4)
    notebook.cells = [cell for cell in notebook.cells if "plotly-offline" in str(cell.get("outputs"))]
    nbformat.write(notebook, tmp_path / "figure.ipynb")
    page.goto(f"{lab}/lab/tree/figure.ipynb")
    # Lab may open the chapter's tab again behind this one, with the figure in it
    drawn = ".jp-NotebookPanel:not(.lm-mod-hidden) .js-plotly-plot .slider-group"
    page.wait_for_selector(drawn, timeout=120_000, state="attached")
    assert page.locator(drawn).count() == len(notebook.cells) == 1
