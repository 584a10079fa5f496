"""Pictures with their descriptions, figures that move, tables with numbers, and how strictly an output is compared.

What lib.notebook shows as an interactive figure is Plotly's JSON beside a still picture. A page gets the picture; the
JSON becomes a small script of its own, _static/figures/NAME.js, loaded when the reader comes near.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

PLOTLY = "application/vnd.plotly.v1+json"
TAG = "interactive-"  # of a cell whose figure moves, before the figure's name
ELSEWHERE = "elsewhere"  # the tag of the cell for those who have the notebook without the book
TOLERANCE = re.compile(r"tag_nbval-([ra])tol-(.+)")
PRINTED = re.compile(r"(?<![\w.])\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?")
SCRIPT = "(window.bookFigures ??= {{}})[{name}] = {spec};\n"


def specs(notebook: dict) -> dict[int, tuple[str, str]]:
    """For each cell that shows a figure that moves, by its place, the figure's name and what it draws."""
    found = {}
    for place, cell in enumerate(notebook["cells"]):
        for output in cell.get("outputs", []):
            if PLOTLY in output.get("data", {}):
                text = json.dumps(output["data"][PLOTLY], sort_keys=True, separators=(",", ":"))
                found[place] = (hashlib.sha256(text.encode()).hexdigest()[:12], text)
    return found


def prepare_notebook(app: Sphinx, docname: str, source: list[str]) -> None:
    """Mark the cells whose figure moves by its name, and drop the cell that says where to read this page.

    The page shows the still picture of the same output.
    """
    if os.fspath(app.env.doc2path(docname)).endswith(".ipynb"):
        notebook = json.loads(source[0])
        for place, (name, _) in specs(notebook).items():
            cell = notebook["cells"][place]
            cell["metadata"].setdefault("tags", []).append(TAG + name)
            for output in cell["outputs"]:
                output.get("data", {}).pop(PLOTLY, None)
        notebook["cells"] = [cell for cell in notebook["cells"] if ELSEWHERE not in cell["metadata"].get("tags", [])]
        source[0] = json.dumps(notebook)


def write_specs(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_static" / "figures"
    for docname in app.env.found_docs:
        path = Path(app.env.doc2path(docname))
        if path.suffix == ".ipynb":
            for name, spec in specs(json.loads(path.read_text("utf8"))).values():
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{name}.js").write_text(SCRIPT.format(name=json.dumps(name), spec=spec), "utf8")


def element(node: nodes.Node) -> str | None:
    """What part of a notebook a doctree node stands for."""
    return node.get("nb_element") if isinstance(node, nodes.container) else None


class DescribeImages(SphinxPostTransform):
    """Give an image that a cell shows the plain-text form of the same output as its alternative text.

    Its size is the page's to choose (book.css): the width that it has in JupyterLab would make it a link to itself.
    """

    default_priority = 3  # just before myst-nb keeps one form of each output and drops the others

    def run(self, **kwargs: object) -> None:
        for bundle in self.document.findall(lambda node: element(node) == "mime_bundle"):
            texts = [form.astext() for form in bundle.children if form.get("mime_type") == "text/plain"]
            for image in bundle.findall(nodes.image):
                image.attributes.pop("width", None)
                if texts and not image.get("alt"):
                    image["alt"] = " ".join(texts[0].split())


class ShowTolerances(SphinxPostTransform):
    """Say under a cell that its outputs are compared less strictly than others (conftest.py reads the same tags)."""

    default_priority = 3

    def run(self, **kwargs: object) -> None:
        for cell in self.document.findall(lambda node: element(node) == "cell_code"):
            for kind, value in (found.groups() for name in cell["classes"] if (found := TOLERANCE.fullmatch(name))):
                cell += nodes.paragraph("", tolerance(kind, float(value), cell), classes=["tolerance"])


def tolerance(kind: str, value: float, cell: nodes.container) -> str:
    outputs = [node.astext() for node in cell.findall(lambda node: element(node) == "cell_code_output")]
    printed = [float(number.replace(",", "")) for number in PRINTED.findall(" ".join(outputs))]
    if value >= (1 if kind == "r" else max(printed, default=float("inf"))):
        return "The numbers of this output differ between processors, and tests do not compare them; the checks do."
    within = f"{100 * value:.2g} % of each number" if kind == "r" else f"{value:.2g} in the units of its numbers"
    return f"Tests compare this output to within {within}."


class CompactChecks(SphinxPostTransform):
    """Mark an output that consists of checks, so that it takes one compact line each."""

    default_priority = 3

    def run(self, **kwargs: object) -> None:
        for block in self.document.findall(nodes.literal_block):
            lines = block.astext().splitlines()
            if lines and all(line.startswith("check: ") for line in lines):
                block["classes"].append("checks")


class numbered_table(nodes.figure):
    """A table that a cell shows: a figure in everything but its number."""


class NumberTables(SphinxTransform):
    """`mystnb: figure: name: tab-x` makes a table."""

    default_priority = 200

    def apply(self, **kwargs: object) -> None:
        for figure in list(self.document.findall(nodes.figure)):
            if any(name.startswith("tab-") for name in figure["names"]):
                table = numbered_table(figure.rawsource, *figure.children, **figure.attributes)
                figure.replace_self(table)
                for name in table["ids"]:
                    self.document.ids[name] = table


def caption(node: nodes.Element) -> str | None:
    return next((child.astext() for child in node if isinstance(child, nodes.caption)), None)


def setup(app: Sphinx) -> None:
    app.connect("source-read", prepare_notebook)
    app.connect("build-finished", write_specs)
    app.add_enumerable_node(
        numbered_table,
        "table",
        caption,
        html=(lambda self, node: self.visit_figure(node), lambda self, node: self.depart_figure(node)),
    )
    app.add_transform(NumberTables)
    for transform in (DescribeImages, ShowTolerances, CompactChecks):
        app.add_post_transform(transform)
