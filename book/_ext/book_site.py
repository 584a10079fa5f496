"""Sphinx extension of the book: no page asks another host for anything, no button leads nowhere, all pass axe."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.fileutil import copy_asset_file
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles

FIXES = (  # accessibility of what docutils, pandas and myst-nb write
    (re.compile(r' role="doc-biblioentry"'), ' role="listitem"'),
    (re.compile(r"<th></th>"), "<td></td>"),
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
)
FIRST_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={target}">
<title>{title}</title>
<link rel="icon" href="data:,">
</head>
<body><main><h1><a href="{target}">{title}</a></h1></main></body>
</html>
"""
PART = re.compile(
    r"part-(\d+)(?:-.*)?"
)  # the label of a numbered part of a problem
PLOTLY = "application/vnd.plotly.v1+json"
TOLERANCE = re.compile(r"tag_nbval-([ra])tol-(.+)")


def link_to_repository(app: Sphinx, config: Config) -> None:
    """Turn the repository, issue, edit and launch buttons on if the book has a repository, and off if not."""
    options = config.html_theme_options
    published = bool(options.get("repository_url"))
    for button in ("repository", "issues", "edit_page"):
        options[f"use_{button}_button"] = published
    if not published:
        options["launch_buttons"] = {}


def number_by_problem(assign_in_order):
    """Number a chapter, and so its figures, equations and theorems, by its problem and not by its place in the list."""

    def assign_section_numbers(
        self: TocTreeCollectorWithStyles, env: BuildEnvironment
    ) -> list[str]:
        before = env.toc_secnumbers
        assign_in_order(self, env)
        labels = env.get_domain("std").anonlabels.items()
        problems = {
            docname: int(found[1])
            for label, (docname, _) in labels
            if (found := PART.fullmatch(label))
        }
        for docname, number in problems.items():
            for anchor, old in env.toc_secnumbers.get(docname, {}).items():
                env.toc_secnumbers[docname][anchor] = old and (number, *old[1:])
            for node in (
                env.titles[docname],
                *env.tocs[docname].findall(nodes.reference),
            ):
                if node.get("secnumber"):
                    node["secnumber"] = [number, *node["secnumber"][1:]]
        return [
            docname
            for docname, numbers in env.toc_secnumbers.items()
            if numbers != before.get(docname)
        ]

    return assign_section_numbers


def drop_plotly_data(app: Sphinx, docname: str, source: list[str]) -> None:
    """Leave out what a live Jupyter draws a Plotly figure from: a page draws it from the HTML of the same output."""
    if app.env.doc2path(docname).endswith(".ipynb"):
        notebook = json.loads(source[0])
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                if "text/html" in output.get("data", {}):
                    output["data"].pop(PLOTLY, None)
        source[0] = json.dumps(notebook)


class DescribeImages(SphinxPostTransform):
    """Give an image that a cell shows the plain-text form of the same output as its alternative text."""

    default_priority = (
        3  # just before myst-nb keeps one form of each output and drops the others
    )

    def run(self, **kwargs: object) -> None:
        for bundle in self.document.findall(
            lambda node: element(node) == "mime_bundle"
        ):
            texts = [
                form.astext()
                for form in bundle.children
                if form.get("mime_type") == "text/plain"
            ]
            for image in bundle.findall(nodes.image):
                if texts and not image.get("alt"):
                    image["alt"] = " ".join(texts[0].split())


class ShowTolerances(SphinxPostTransform):
    """Say under a cell that its outputs are compared less strictly than others (conftest.py reads the same tags)."""

    default_priority = 3

    def run(self, **kwargs: object) -> None:
        for cell in self.document.findall(
            lambda node: element(node) == "cell_code"
        ):
            for kind, value in (
                found.groups()
                for name in cell["classes"]
                if (found := TOLERANCE.fullmatch(name))
            ):
                within = f"{float(value):.2g}"
                if kind == "r":
                    within = f"{100 * float(value):.2g} %"
                cell += nodes.paragraph(
                    "",
                    f"Tests compare this output to within {within}.",
                    classes=["tolerance"],
                )


def element(node: nodes.Node) -> str | None:
    """What part of a notebook a doctree node stands for."""
    return node.get("nb_element") if isinstance(node, nodes.container) else None


def adapt_page(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict,
    doctree: nodes.document | None,
) -> None:
    body = context.get("body", "")
    for pattern, replacement in FIXES:
        body = pattern.sub(replacement, body)
    if "body" in context:
        context["body"] = body
    if 'class="plotly-offline"' in body:
        app.add_js_file("plotly.min.js", loading_method="defer")
        app.add_js_file("plotly_figures.js", loading_method="defer")
    # sphinx-thebe (always loaded by Jupyter Book 1) declares a constant twice
    context["script_files"] = [
        script for script in context["script_files"] if not is_thebe(script)
    ]
    # edit links lead to the text half of a pair
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if "/edit/" in str(button.get("url")):
                button["url"] = re.sub(r"\.ipynb$", ".md", button["url"])


def is_thebe(script: object) -> bool:
    body = str(getattr(script, "attributes", {}).get("body", ""))
    return (
        "thebe" in str(getattr(script, "filename", script))
        or "THEBE_JS_URL" in body
    )


def write_first_page(app: Sphinx, exception: Exception | None) -> None:
    """Make the redirect to the introduction a page of its own: language, title, icon, and a link to follow."""
    if exception is None and app.builder.format == "html":
        target = f"{app.config.master_doc}.html"
        page = FIRST_PAGE.format(
            title=html.escape(app.config.html_title), target=target
        )
        (Path(app.outdir) / "index.html").write_text(page, "utf8")


def copy_plotly(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        import plotly

        source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
        copy_asset_file(str(source), str(Path(app.outdir) / "_static"))


def share_html_handlers(app: Sphinx) -> None:
    """sphinx-exercise registers 'singlehtml' handlers, which hides everyone's 'html' ones."""
    handlers = app.registry.translation_handlers
    if "singlehtml" in handlers:
        handlers["singlehtml"] = {
            **handlers.get("html", {}),
            **handlers["singlehtml"],
        }


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", link_to_repository)
    app.connect("builder-inited", share_html_handlers)
    app.connect("source-read", drop_plotly_data)
    app.connect("html-page-context", adapt_page, priority=900)
    app.connect("build-finished", copy_plotly)
    app.connect("build-finished", write_first_page, priority=900)
    # Sphinx has no setting for it; wrapped once, however many books a process builds
    if not hasattr(TocTreeCollectorWithStyles.assign_section_numbers, "in_order"):
        in_order = TocTreeCollectorWithStyles.assign_section_numbers
        TocTreeCollectorWithStyles.assign_section_numbers = number_by_problem(
            in_order
        )
        TocTreeCollectorWithStyles.assign_section_numbers.in_order = in_order
    app.add_post_transform(DescribeImages)
    app.add_post_transform(ShowTolerances)
    app.add_css_file("book.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
