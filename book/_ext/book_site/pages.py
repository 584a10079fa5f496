"""What the theme and others wrote into the pages, put right: accessibility, buttons, scripts, addresses."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.config import Config

from .figures import TAG

FIXES = (  # accessibility of what docutils, pandas and myst-nb write
    (re.compile(r' role="doc-biblioentry"'), ' role="listitem"'),
    (re.compile(r"<th></th>"), "<td></td>"),
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
    (re.compile(r' id="proof-content"'), ""),  # the same on every proof
    (re.compile(r'<section id="proof-content">'), "<section>"),
    # a folded proof has no title to unfold it by, at which sphinx-togglebutton stops
    (
        re.compile(r'(<div class="proof dropdown admonition"[^>]*>)\s*<p>Proof\. '),
        r'\1<p class="admonition-title">Proof</p>\n<p>',
    ),
)
PICTURE = re.compile(r"<img (?=[^>]*src=\"[^\"]*_images/([^\"/]+)\")")


def link_to_repository(app: Sphinx, config: Config) -> None:
    """Turn the repository, issue, edit and launch buttons on if the book has a repository, and off if not."""
    options = config.html_theme_options
    published = bool(options.get("repository_url"))
    for button in ("repository", "issues", "edit_page"):
        options[f"use_{button}_button"] = published
    if not published:
        options["launch_buttons"] = {}


def say_if_it_has_code(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    context["has_code"] = "cell_input" in context.get("body", "")


def adapt_page(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    body = context.get("body", "")
    for pattern, replacement in FIXES:
        body = pattern.sub(replacement, body)
    if "body" in context:
        context["body"] = PICTURE.sub(size_picture(app), body)
    if pagename in app.env.titles and (number := app.env.titles[pagename].get("secnumber")):
        context["title"] = f"{'.'.join(number)}. {context['title']}"  # five pages are called "Exercises"
    app.add_js_file("book.js", loading_method="defer")
    if f"tag_{TAG}" in body:
        app.add_js_file("plotly_figures.js", loading_method="defer")
    # sphinx-thebe (always loaded by Jupyter Book 1) declares a constant twice
    context["script_files"] = [script for script in context["script_files"] if not is_thebe(script)]
    # edit links lead to the text half of a pair
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if "/edit/" in str(button.get("url")):
                button["url"] = re.sub(r"\.ipynb$", ".md", button["url"])


def size_picture(app: Sphinx):
    """Pictures are loaded when they come near; that nothing moves then, the page knows their sizes before."""
    files = {name: Path(app.srcdir) / uri for uri, name in app.builder.images.items()}

    def sized(found: re.Match) -> str:
        size = ""
        if Path(found[1]).suffix in (".png", ".jpg") and files.get(found[1], Path()).is_file():
            size = 'width="{}" height="{}" '.format(*Image.open(files[found[1]]).size)
        return f'<img loading="lazy" {size}'

    return sized


def is_thebe(script: object) -> bool:
    body = str(getattr(script, "attributes", {}).get("body", ""))
    return "thebe" in str(getattr(script, "filename", script)) or "THEBE_JS_URL" in body


def share_html_handlers(app: Sphinx) -> None:
    """sphinx-exercise registers 'singlehtml' handlers, which hides everyone's 'html' ones."""
    handlers = app.registry.translation_handlers
    if "singlehtml" in handlers:
        handlers["singlehtml"] = {**handlers.get("html", {}), **handlers["singlehtml"]}


def setup(app: Sphinx) -> None:
    app.connect("config-inited", link_to_repository)
    app.connect("builder-inited", share_html_handlers)
    app.connect("html-page-context", say_if_it_has_code, priority=100)  # before the theme drops what renders empty
    app.connect("html-page-context", adapt_page, priority=900)
    app.add_css_file("book.css")
