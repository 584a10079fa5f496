"""Print the whole book as one PDF, from the pages that `make book` built: _build/html/book.pdf.

    python -m tools.pdf

The pages become one, in the order of the contents: links between them become links inside it, folded proofs and
solutions stand open, figures that move are their still pictures, code that the pages fold is left out. Chromium prints
it, with bookmarks and page numbers, in the light colours; contents and index get the numbers of the pages that they
lead to. Its path is the last line printed.
"""

from __future__ import annotations

import html
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import sync_playwright
from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.generic import DictionaryObject, NameObject, StreamObject, TextStringObject

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PLACE = "<!--book.pdf-->"  # in the footer of each page, where the link goes once there is a PDF
LEFT_OUT = (
    ".headerlink, .onlyprint, .prev-next-area, .copybtn, script, .tag_remove-on-paper, "
    ".cell details.hide, .cell.tag_hide-cell, .code-switch, .bd-header-article"
)
MADE = "Made from the pages of the book. Code that the pages fold is not printed; the notebooks hold it."
STYLE = """
body { font-size: 10.5pt; }
article { max-width: none; }
article > section, .title-page { break-before: page; }
.title-page { padding-top: 30vh; }
article > section > section:first-of-type > :is(h1, h2) { margin-top: 0; }
.contents ul { padding: 0; line-height: 1.45; }
.contents li { list-style: none; }
.contents a { display: flex; gap: 0.5em; text-decoration: none; }
.contents a::after { content: ""; flex: 1; order: 1; border-bottom: 1px dotted #999; margin-bottom: 0.35em; }
.contents .number { order: 2; width: 1.75em; }
#genindex li > a[href] { display: inline-block; width: 1.75em; height: 1em; }
.genindex-jumpbox { display: none; }
#genindex h2 { font-size: 1.1rem; margin: 0.75rem 0 0.25rem; }
.bd-article :is(h1, h2, h3, h4, h5) { font-weight: 600; }
.bd-article h1 { font-size: 1.9rem; } .bd-article h2 { font-size: 1.5rem; }
.bd-article h3 { font-size: 1.2rem; } .bd-article :is(h4, h5) { font-size: 1.05rem; }
table.dataframe { font-size: 0.75rem; }
mjx-container[display="true"] { font-size: 88%; }
img { max-height: 190mm; max-width: 120mm !important; object-fit: contain; }
"""
FOOTER = """<div style="width:100%;font:8px sans-serif;text-align:center;color:#444">
<span class="pageNumber"></span></div>"""
READY = "() => MathJax.startup.promise.then(() => document.fonts.ready).then(() => true)"
SIZE = 9  # points, of the numbers of pages
FONT = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
INDEX = "genindex"


def contents(toc: dict) -> Iterator[tuple[str, int]]:
    """The pages in their order, each with how deep it lies."""

    def walk(entries: list[dict], depth: int) -> Iterator[tuple[str, int]]:
        for entry in entries:
            if "file" in entry:
                yield entry["file"].removesuffix(".ipynb"), depth
            yield from walk(entry.get("sections", []), depth + 1)

    yield toc["root"].removesuffix(".ipynb"), 0
    for part in toc["parts"]:
        yield from walk(part["chapters"], 0)


def anchor(page: str, name: str = "") -> str:
    """An anchor of the whole book: those of a page are unique on that page only."""
    return f"{page.replace('/', '-')}--{name}" if name else page.replace("/", "-")


def point_inside(article: Tag, site: Path, page: str, pages: set[str]) -> None:
    """Anchors, links and pictures of a page as they are in the whole book."""
    for tag in article.find_all(id=True):
        tag["id"] = anchor(page, tag["id"])
    for tag in article.find_all(["a", "img"]):
        name = "href" if tag.name == "a" else "src"
        parts = urlsplit(tag.get(name, ""))
        if not tag.get(name) or parts.scheme or parts.netloc:
            continue
        target = (
            os.path.normpath(os.path.join(os.path.dirname(page), unquote(parts.path))) if parts.path else f"{page}.html"
        )
        other = target.removesuffix(".html")
        if tag.name == "a" and target.endswith(".html") and other in pages:
            tag["href"] = f"#{anchor(other, unquote(parts.fragment))}"
        elif tag.name == "a":  # a page that only the site has, such as the index
            del tag["href"]
        else:
            tag["src"] = (site / target).resolve().as_uri()


def article_of(site: Path, page: str, depth: int, pages: set[str]) -> str:
    text = (site / f"{page}.html").read_text("utf8")
    article = BeautifulSoup(text, "html.parser").select_one("article")
    for tag in article.select(LEFT_OUT):
        tag.decompose()
    for tag in article.select(".cell"):  # of which nothing is left, it could still begin a page
        if not (tag.get_text(strip=True) or tag.find("img")):
            tag.decompose()
    for tag in article.find_all("details"):
        tag["open"] = ""
    for tag in article.find_all("img"):
        tag["loading"] = "eager"
    for tag in article.find_all(re.compile(r"^h[1-5]$")):  # the bookmarks nest as the contents do
        tag.name = f"h{int(tag.name[1]) + depth}"
    point_inside(article, site, page, pages)
    if page == INDEX:
        make_room(article)
    return f'<section id="{anchor(page)}">{article.decode_contents()}</section>'


def make_room(index: Tag) -> None:
    """Make each link of the index room for the number of the page that it leads to, behind the entry."""
    for link in index.select("li > a[href]"):
        if re.fullmatch(r"\[\d+\]", link.get_text()):  # a further page of an entry, behind a comma
            link.previous_sibling.replace_with(" ")
        else:
            link.insert_before(f"{link.get_text()} ")
        link.clear()


def head_of(site: Path, page: str) -> str:
    """Style sheets and mathematics of a page, as files."""
    head = BeautifulSoup((site / f"{page}.html").read_text("utf8"), "html.parser").head
    kept = []
    for tag in head.find_all(["link", "script"]):
        address = tag.get("href") or tag.get("src") or ""
        wanted = "stylesheet" in (tag.get("rel") or []) or "mathjax" in address or "MathJax" in tag.get_text()
        if wanted and address:
            tag["href" if tag.name == "link" else "src"] = (
                (site / page).parent.joinpath(address.split("?")[0]).resolve().as_uri()
            )
        if wanted:
            kept.append(str(tag))
    return "\n".join(kept)


def whole_book(site: Path) -> str:
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))
    listed = [*contents(yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))), (INDEX, 0)]
    pages = {page for page, _ in listed}
    sections, entries = [], []
    for page, depth in listed:
        sections.append(article_of(site, page, depth, pages))
        heading = BeautifulSoup(sections[-1], "html.parser").find(re.compile(r"^h[1-6]$")).get_text()
        entries.append(
            f'<li style="margin-left:{2 * depth}em"><a href="#{anchor(page)}">{html.escape(heading)}'
            '<span class="number"></span></a></li>'
        )
    title = html.escape(config["title"])
    return f"""<!doctype html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">
<title>{title}</title>{head_of(site, listed[1][0])}<style>{STYLE}</style></head><body>
<main class="bd-content"><article class="bd-article"><div class="title-page"><p style="font-size:2.4rem">{title}</p>
<p>{html.escape(config["author"])}, {html.escape(str(config["copyright"]))}</p><p>{MADE}</p>
{config["html"]["extra_footer"]}</div>
<section class="contents"><h1>Contents</h1><ul>{"".join(entries)}</ul></section>
{"".join(sections)}</article></main></body></html>"""


def write_numbers(writer: PdfWriter, places: dict[str, int]) -> None:
    """Write at each link of the contents and the index the number of the page that it leads to, counted from 1."""
    pages = [number for name, number in places.items() if "--" not in name]
    for number, page in enumerate(writer.pages, 1):
        if min(pages) <= number < max(pages):  # between the contents and the index, which is the last
            continue
        parts = []
        for link in (annotation.get_object() for annotation in page.get("/Annots", [])):
            if (name := str(link.get("/Dest", "")).lstrip("/")) in places:
                left, bottom, right, top = map(float, link["/Rect"])
                text = str(places[name])
                if number < min(pages):
                    left = right - 0.556 * SIZE * len(text)  # digits of Helvetica, to the right
                parts.append(f"1 0 0 1 {left:.1f} {(bottom + top) / 2 - 0.36 * SIZE:.1f} Tm ({text}) Tj")
        numbers = PageObject.create_blank_page(width=page.mediabox.width, height=page.mediabox.height)
        font = DictionaryObject({NameObject(key): NameObject(value) for key, value in FONT.items()})
        fonts = DictionaryObject({NameObject("/Number"): font})
        numbers[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = StreamObject()
        stream.set_data(f"BT /Number {SIZE} Tf {' '.join(parts)} ET".encode())
        numbers[NameObject("/Contents")] = stream
        page.merge_page(numbers)


def name_bookmarks(writer: PdfWriter, headings: list[str]) -> None:
    """Chromium repeats the words of headings in its bookmarks; the headings themselves come in the same order."""
    names = iter(headings)

    def walk(item) -> None:
        while item is not None:
            item = item.get_object()
            item[NameObject("/Title")] = TextStringObject(next(names))
            walk(item.get("/First"))
            item = item.get("/Next")

    walk(writer.root_object["/Outlines"].get_object().get("/First"))
    if (left := list(names)) or not headings:
        raise ValueError(f"headings without a bookmark: {left}")


def link_from_pages(site: Path, pdf: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text("utf8")
        if PLACE in text:
            address = os.path.relpath(pdf, path.parent)
            path.write_text(text.replace(PLACE, f'<p><a href="{address}">The whole book as one PDF</a></p>'), "utf8")


def print_book(site: Path, executable: str) -> Path:
    """Print the pages of a built site, put the PDF among them, and link it from their footers."""
    source, pdf = site.parent / "book.html", site / "book.pdf"
    source.write_text(whole_book(site), "utf8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(300_000)
        page.goto(source.as_uri())
        page.wait_for_function(READY)
        page.emulate_media(media="print")
        margins = {"top": "18mm", "bottom": "20mm", "left": "16mm", "right": "16mm"}
        look = {"display_header_footer": True, "header_template": "<span></span>", "footer_template": FOOTER}
        page.pdf(path=pdf, format="A4", print_background=True, outline=True, tagged=True, margin=margins, **look)
        headings = page.locator("article :is(h1, h2, h3, h4, h5, h6)").evaluate_all(
            "all => all.map(heading => heading.textContent.trim().replace(/\\s+/g, ' '))"
        )
        browser.close()
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # Chromium counts its objects otherwise
    reader = PdfReader(pdf)
    writer, named = PdfWriter(clone_from=reader), reader.named_destinations.items()
    name_bookmarks(writer, headings)
    write_numbers(writer, {name.lstrip("/"): reader.get_destination_page_number(place) + 1 for name, place in named})
    writer.write(pdf)
    source.unlink()
    link_from_pages(site, pdf)
    return pdf


def main() -> None:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not executable:
        sys.exit("error: no browser to print with: install Chromium (on Debian and Ubuntu: apt install chromium)")
    if not (SITE / "index.html").exists():
        sys.exit("error: the book is not built: make book")
    print(print_book(SITE, executable))


if __name__ == "__main__":
    main()
