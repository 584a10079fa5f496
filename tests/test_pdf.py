"""The whole book as one PDF: every page, bookmark and link inside it, and still pictures for what moves."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path

import pypdf
import pytest
import yaml
from bs4 import BeautifulSoup

from tests.conftest import ROOT
from tests.test_book import parse
from tools import pdf

CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))


@pytest.fixture(scope="module")
def printed(site, chromium, tmp_path_factory) -> Path:
    """A copy of the built pages with the PDF made of them."""
    folder = tmp_path_factory.mktemp("printed") / "html"
    shutil.copytree(site, folder)
    assert pdf.print_book(folder, chromium) == folder / "book.pdf"
    return folder


@pytest.fixture(scope="module")
def book(printed) -> pypdf.PdfReader:
    return pypdf.PdfReader(printed / "book.pdf")


def titles(outline: list) -> list[str]:
    return [title for item in outline for title in (titles(item) if isinstance(item, list) else [item.title])]


def test_every_heading_of_every_page_has_its_bookmark(site, book):
    marks = titles(book.outline)
    for page, _ in pdf.contents(CONTENTS):
        for heading in parse(site / f"{page}.html").select("article :is(h1, h2)"):
            texts = [text for text in heading.strings if not text.find_parent(class_="headerlink")]
            words = re.sub(r"\s+", " ", "".join(texts)).strip()
            assert words in marks or "\\(" in words, f"{page}: {words}"


def letters(text: str) -> str:
    """A text without what parts its words, which a PDF stores as places."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))


def written_numbers(pages: list[pypdf.PageObject]) -> list[int]:
    """Numbers on lines without words, but for each page's own, which comes before the others."""
    lines = [re.findall(r"(?m)^[\d ]*\d[\d ]*$", page.extract_text()) for page in pages]
    return [int(number) for found in lines for number in " ".join(found).split()[1:]]


def test_the_contents_and_the_index_name_the_page_of_every_place(site, book):
    places = book.named_destinations.items()
    numbers = {name.lstrip("/"): book.get_destination_page_number(place) + 1 for name, place in places}
    listed = [page for page, _ in pdf.contents(CONTENTS)] + [pdf.INDEX]
    starts = [numbers[pdf.anchor(page)] for page in listed]
    for page, start in zip(listed, starts, strict=True):
        heading = BeautifulSoup((site / f"{page}.html").read_text("utf8"), "html.parser").select_one("article h1")
        for link in heading.select(".headerlink"):
            link.decompose()
        assert letters(heading.get_text()) in letters(book.pages[start - 1].extract_text()), page
    assert written_numbers(book.pages[1 : starts[0] - 1]) == starts
    terms = BeautifulSoup((site / "genindex.html").read_text("utf8"), "html.parser").select("td li > a")
    addresses = [link["href"].partition(".html#") for link in terms]
    expected = [numbers[pdf.anchor(page, place)] for page, _, place in addresses]
    assert len(expected) > 40
    assert sorted(written_numbers(book.pages[starts[-1] - 1 :])) == sorted(expected)


def test_links_inside_the_book_lead_to_places_in_it(site, book):
    named = set(book.named_destinations)
    links = [annotation.get_object() for page in book.pages for annotation in page.get("/Annots", [])]
    inside = [link for link in links if "/Dest" in link or link.get("/A", {}).get("/S") == "/GoTo"]
    assert len(inside) > 100
    for link in inside:
        target = link.get("/Dest", link.get("/A", {}).get("/D"))
        assert not isinstance(target, str) or target.lstrip("/") in {name.lstrip("/") for name in named}, target
    addresses = [link["/A"]["/URI"] for link in links if link.get("/A", {}).get("/S") == "/URI"]
    assert [address for address in addresses if address.startswith("file:")] == []


def test_pages_are_numbered_and_code_and_tables_stay_on_the_paper(book):
    text = book.pages[len(book.pages) // 2].extract_text()
    assert re.search(rf"(?m)^{len(book.pages) // 2 + 1}$", text)
    assert all(float(page.mediabox.width) == pytest.approx(595, abs=2) for page in book.pages)


def test_no_page_is_blank(book):
    nearly = [page for page in book.pages if len(page.get_contents().get_data()) < 3000]  # the others draw much
    assert [text for page in nearly if len(text := page.extract_text()) < 15] == []


def test_what_the_pages_fold_or_move_stands_open_and_still(site):
    pages = {page for page, _ in pdf.contents(CONTENTS)}
    for page, depth in pdf.contents(CONTENTS):
        article = BeautifulSoup(pdf.article_of(site, page, depth, pages), "html.parser")
        assert not article.select("details:not([open]), script")
        shown = parse(site / f"{page}.html").select("article .cell_output img")
        folded = [image for image in shown if image.find_parent("details")]
        assert len(article.select(".cell_output img")) >= len(shown) - len(folded)


def test_the_pages_link_to_it(printed):
    footer = BeautifulSoup((printed / "book" / "intro.html").read_text("utf8"), "html.parser")
    assert footer.find("a", href="../book.pdf").get_text() == "The whole book as one PDF"


@pytest.mark.parametrize(("found", "message"), [(None, "install Chromium"), ("/bin/true", "make book")])
def test_what_is_missing_is_said(tmp_path, monkeypatch, found, message):
    monkeypatch.setattr(pdf, "SITE", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: found)
    with pytest.raises(SystemExit, match=message):
        pdf.main()


def test_the_path_is_the_last_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "index.html").write_text("")
    monkeypatch.setattr(pdf, "SITE", tmp_path)
    monkeypatch.setattr(pdf, "print_book", lambda site, executable: site / "book.pdf")
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/true")
    pdf.main()
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "book.pdf")
