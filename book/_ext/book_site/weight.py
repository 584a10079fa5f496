"""What the built site is made of, once all pages are written: nothing that no page uses."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

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
# 1.5 MB that draw the icons as pictures; the fonts that the pages load anyway draw them too
ICON_SCRIPT = re.compile(r'\s*<script defer src="[^"]*/fontawesome\.js[^"]*"></script>')
MATHJAX = ("tex-chtml.js", "output/chtml/fonts/woff-v2")  # what the pages use of its 24 MB


def write_first_page(app: Sphinx) -> None:
    """Make the redirect to the introduction a page of its own: language, title, icon, and a link to follow."""
    target = f"{app.config.master_doc}.html"
    page = FIRST_PAGE.format(title=html.escape(app.config.html_title), target=target)
    (Path(app.outdir) / "index.html").write_text(page, "utf8")


def drop_icon_script(app: Sphinx) -> None:
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text("utf8")
        if (light := ICON_SCRIPT.sub("", text)) != text:
            path.write_text(light, "utf8")
    (Path(app.outdir) / "_static" / "scripts" / "fontawesome.js").unlink(missing_ok=True)


def drop_unused_mathematics(app: Sphinx) -> None:
    folder = Path(app.outdir) / "_static" / "mathjax"
    kept = [folder / name for name in MATHJAX]
    for path in sorted(folder.rglob("*"), reverse=True):  # a folder after what is in it
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif not any(path == keep or keep in path.parents for keep in kept):
            path.unlink()


def finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        write_first_page(app)
        drop_icon_script(app)
        drop_unused_mathematics(app)
        for unused in ("locales", "sphinx-thebe.js"):
            path = Path(app.outdir) / "_static" / unused
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def setup(app: Sphinx) -> None:
    app.connect("build-finished", finish, priority=900)  # after everyone's copies
