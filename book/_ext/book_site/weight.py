"""What the built site is made of, once all pages are written: nothing that no page uses."""

from __future__ import annotations

import html
import logging
import re
import shutil
from pathlib import Path

import pydata_sphinx_theme
from fontTools.subset import Subsetter
from fontTools.ttLib import TTFont
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
# fontawesome: 1.5 MB that draw the icons as pictures; the font that the pages load anyway draws them too
ICON_SCRIPT = re.compile(r'\s*<script defer src="[^"]*/fontawesome\.js[^"]*"></script>')
# for results as one types, which is off
SEARCH_SCRIPTS = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>')
TOGGLE = (
    '<summary><span class="toctree-toggle" role="presentation">',
    '<summary aria-label="Further pages"><span class="toctree-toggle" role="presentation">',
)
ICON_FILES = re.compile(r'url\([^)]*fa-solid-900\.woff2\) format\("woff2"\),')
ICON = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}')
logging.getLogger("fontTools").setLevel(logging.WARNING)  # else each build tells of every table of the font
MATHJAX = ("tex-chtml.js", "output/chtml/fonts/woff-v2")  # what the pages use of its 24 MB


def write_first_page(app: Sphinx) -> None:
    """Make the redirect to the introduction a page of its own: language, title, icon, and a link to follow."""
    target = f"{app.config.master_doc}.html"
    page = FIRST_PAGE.format(title=html.escape(app.config.html_title), target=target)
    (Path(app.outdir) / "index.html").write_text(page, "utf8")


def mend_files(app: Sphinx) -> None:
    """What no event lets one change: scripts that the theme's layout loads, and a toggle of its list without a name."""
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text("utf8")
        light = ICON_SCRIPT.sub("", text).replace(*TOGGLE)
        if path.name != "search.html":
            light = SEARCH_SCRIPTS.sub("", light)
        if light != text:
            path.write_text(light, "utf8")
    (Path(app.outdir) / "_static" / "scripts" / "fontawesome.js").unlink(missing_ok=True)


def icon_names(text: str) -> set[str]:
    return set(re.findall(r"fa-[\w-]+", text))


def icons(style: str, used: set[str]) -> set[int]:
    """The icons that a style sheet shows, as characters of the icon font: by names that are used, or directly."""
    named = {int(character, 16) for names, character in ICON.findall(style) if used & icon_names(names)}
    others = ICON.sub("", style)
    coded = {int(character, 16) for character in re.findall(r'"\\(f[0-9a-f]{3})"', others)}
    return named | coded | {ord(character) for character in others if "\ue000" <= character <= "\uf8ff"}


def keep_used_icons(app: Sphinx) -> None:
    """Of the 1,400 icons that each page would load, 156 kB and 20 kB of style, the few that are used."""
    statics = Path(app.outdir) / "_static"
    texts = [path.read_text("utf8") for path in (*statics.parent.rglob("*.html"), *statics.rglob("scripts/*.js"))]
    used = icon_names(" ".join(texts))
    styles = {path: path.read_text("utf8") for path in statics.rglob("*.css")}
    name = "vendor/fontawesome/webfonts/fa-solid-900.ttf"
    theme = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"
    font, subsetter = TTFont(theme / name, recalcTimestamp=False), Subsetter()
    subsetter.populate(unicodes=set.union(*(icons(style, used) for style in styles.values())))
    subsetter.subset(font)
    font.save(statics / name)
    (statics / name).with_suffix(".woff2").unlink(missing_ok=True)
    sheet = statics / "styles" / "pydata-sphinx-theme.css"
    light = ICON.sub(lambda found: found[0] if used & icon_names(found[1]) else "", styles[sheet])
    sheet.write_text(ICON_FILES.sub("", light), "utf8")


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
        mend_files(app)
        keep_used_icons(app)
        drop_unused_mathematics(app)
        for unused in ("locales", "sphinx-thebe.js"):
            path = Path(app.outdir) / "_static" / unused
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def setup(app: Sphinx) -> None:
    app.connect("build-finished", finish, priority=900)  # after everyone's copies
