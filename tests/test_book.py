"""The rendered book: it builds without a warning, requests nothing from another host, and its links lead somewhere."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup, Tag
from pybtex.database import parse_file

from tests.conftest import ROOT, build
from tools.notebooks import chapters
from tools.typed_numbers import pages as text_pages

# the numbered parts of the assignment that each chapter answers
PARTS = {
    "bias_variance": ["1-1", "1-2", "1-3", "1-4", "1-5"],
    "precision_recall_gain": ["2-1", "2-2", "2-3"],
    "learning_rate": ["3-1", "3-2", "3-3"],
    "layer_counts": ["4-1", "4-2-a", "4-2-b", "4-2-c", "4-2-d"],
    "staleness": ["5"],
}
LOADING = {  # what a browser requests by itself
    "script": ["src"],
    "link": ["href"],
    "img": ["src", "srcset"],
    "source": ["src", "srcset"],
    "iframe": ["src"],
    "embed": ["src"],
    "object": ["data"],
    "video": ["src", "poster"],
    "audio": ["src"],
    "use": ["href", "xlink:href"],
    "image": ["href", "xlink:href"],
}
STYLE_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


@functools.cache
def parse(path: Path) -> BeautifulSoup:
    """A page; nobody changes it, for all tests look at the same one."""
    return BeautifulSoup(path.read_text("utf8"), "html.parser")


def requested(page: BeautifulSoup) -> Iterator[str]:
    """Addresses that a page loads without being asked."""
    for tag in page.find_all(list(LOADING)):
        for attribute in LOADING[tag.name]:
            if tag.get(attribute) and not {"canonical", "author", "license"} & set(tag.get("rel") or []):
                yield tag[attribute]
    for tag in page.find_all(style=True):
        yield from style_urls(tag["style"])
    for tag in page.find_all("style"):
        yield from style_urls(tag.get_text())
    for tag in page.find_all("meta", attrs={"http-equiv": re.compile("refresh", re.IGNORECASE)}):
        yield tag["content"].split("url=")[-1]


def style_urls(style: str) -> Iterator[str]:
    for groups in STYLE_URL.findall(style):
        yield from (group.strip() for group in groups if group)


def is_remote(address: str) -> bool:
    return bool(re.match(r"(?:https?|wss?|ftp):|//", address.strip()))


def images_without_description(page: BeautifulSoup) -> list[str]:
    """Images whose alternative text is missing, a file name or a number of words too small to describe one."""
    bad = []
    for image in page.find_all("img"):
        text = image.get("alt", "")
        enough = 2 if image.find_parent(class_="navbar-brand") else 4
        if len(text.split()) < enough or re.search(r"\.(?:png|svg|jpe?g)$|<Figure|_build/", text):
            bad.append(f"{image.get('src')}: {text!r}")
    return bad


def dead_links(path: Path, page: BeautifulSoup, site: Path, anchors: dict[Path, set[str]]) -> list[str]:
    """Links and loads within the site that lead to no file, or to no place in it."""
    bad = []
    for address in [link["href"] for link in page.find_all("a", href=True)] + list(requested(page)):
        if is_remote(address) or address.startswith(("mailto:", "data:", "javascript:")):
            continue
        parts = urlsplit(address)
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.is_relative_to(site.resolve()) or not target.is_file():
            bad.append(address)
        elif parts.fragment and target.suffix == ".html":
            if target not in anchors:
                anchors[target] = {tag["id"] for tag in parse(target).find_all(id=True)}
            if unquote(parts.fragment) not in anchors[target]:
                bad.append(address)
    return bad


def unresolved(page: BeautifulSoup) -> list[str]:
    """Signs of a reference, citation or glued value that was not found."""
    article = page.find("article") or page
    bad = [tag.get_text()[:80] for tag in article.select(".system-message, .problematic, a.reference[href='#']")]
    texts = (text for text in article.strings if not text.find_parent(["pre", "code", "script", "style"]))
    text = " ".join(texts)
    return bad + re.findall(r".{0,30}(?:\?\?|\{(?:glue|ref|eq|cite|numref|prf)[^}]*\}|No glue|%s\b).{0,30}", text)


def loaded_by_styles(site: Path) -> Iterator[tuple[Path, str]]:
    for sheet in site.rglob("*.css"):
        for address in style_urls(re.sub(r"(?s)/\*.*?\*/", "", sheet.read_text("utf8"))):
            yield sheet, address


def files(entries: list[dict]) -> Iterator[str]:
    """The pages that a part of _toc.yml names, at any depth."""
    for entry in entries:
        if "file" in entry:
            yield entry["file"]
        yield from files(entry.get("sections", []))


def test_the_strict_build_makes_every_page_of_the_contents(site):
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))
    listed = [contents["root"]] + [name for part in contents["parts"] for name in files(part["chapters"])]
    assert [name for name in listed if not (site / name).with_suffix(".html").is_file()] == []
    assert (site / "index.html").is_file()


def test_no_page_requests_anything_from_another_host(site, pages):
    remote = [f"{path.name}: {address}" for path in pages for address in requested(parse(path)) if is_remote(address)]
    remote += [f"{sheet.name}: {address}" for sheet, address in loaded_by_styles(site) if is_remote(address)]
    assert remote == []


def test_every_file_that_a_style_sheet_names_is_there(site):
    local = ((sheet, address) for sheet, address in loaded_by_styles(site) if not address.startswith(("data:", "#")))
    missing = [f"{s.name}: {a}" for s, a in local if not (s.parent / unquote(urlsplit(a).path)).is_file()]
    assert missing == []


def test_every_image_is_described(pages):
    assert {path.name: bad for path in pages if (bad := images_without_description(parse(path)))} == {}


def test_every_internal_link_and_anchor_resolves(site, pages):
    anchors: dict[Path, set[str]] = {}
    assert {path.name: bad for path in pages if (bad := dead_links(path, parse(path), site, anchors))} == {}


def test_every_reference_is_resolved(pages):
    assert {path.name: bad for path in pages if (bad := unresolved(parse(path)))} == {}


def test_every_page_has_its_own_title(pages):
    titles = [parse(path).title.get_text().strip() for path in pages if path.name != "index.html"]
    assert all(titles)
    assert len(set(titles)) == len(titles)


def test_every_chapter_can_be_downloaded_as_a_notebook_from_its_page(site):
    for text in chapters():
        path = (site / text.relative_to(ROOT)).with_suffix(".html")
        links = [link["href"] for link in parse(path).find_all("a", href=re.compile(r"\.ipynb$"))]
        assert links, text.name
        for link in links:
            downloaded = nbformat.read(path.parent / unquote(link), 4)
            assert downloaded == nbformat.read(text.with_suffix(".ipynb"), 4)


def test_no_button_leads_nowhere(pages):
    for path in pages:
        page = parse(path)
        for control in page.select(".article-header-buttons a"):
            assert control.get("href") not in (None, "", "#"), f"{path.name}: {control}"
        if not yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))["repository"]["url"]:
            buttons = ("source-buttons", "source-repository", "source-edit", "source-issues", "launch-")
            assert page.select(", ".join(f"[class*={button}]" for button in buttons)) == [], path.name


def test_every_numbered_part_of_a_chapter_has_its_place_and_the_introduction_links_to_it(site):
    introduction = {link["href"] for link in parse(site / "book" / "intro.html").find_all("a", href=True)}
    written = [name for name in PARTS if (site / "book" / name / "1_answers.html").exists()]
    assert written
    for name in written:
        ids = {tag["id"] for tag in parse(site / "book" / name / "1_answers.html").find_all(id=True)}
        anchors = [f"part-{part}" for part in PARTS[name]]
        assert [anchor for anchor in anchors if anchor not in ids] == []
        assert [anchor for anchor in anchors if f"{name}/1_answers.html#{anchor}" not in introduction] == []


NUMBERED = "figcaption .caption-number, .proof .caption-number, .exercise .caption-number, .eqno"


def numbers(page: BeautifulSoup) -> list[str]:
    return [found[0] for tag in page.select(NUMBERED) if (found := re.search(r"\S*\d\S*", tag.get_text().strip("()#")))]


def test_what_is_numbered_on_a_page_carries_the_number_of_the_page_and_never_that_of_a_part(site):
    for name in (name for name in PARTS if (site / "book" / name / "1_answers.html").exists()):
        problem = PARTS[name][0][0]
        for path in sorted((site / "book" / name).glob("*.html")):
            page = parse(path)
            (link,) = page.select(".bd-sidebar-primary a.current[href='#']")
            number = link.get_text(strip=True).partition(". ")[0]
            assert re.fullmatch(problem if path.stem == "1_answers" else problem + "[a-z]", number), path
            assert page.select_one("article h1 .section-number").get_text(strip=True) == f"{number}."
            assert page.select("article :is(h2, h3, h4) .section-number") == [], path
            assert [found for found in numbers(page) if not re.fullmatch(rf"{number}-\d+", found)] == [], path


def citations() -> set[str]:
    texts = [path.read_text("utf8") for path in text_pages()]
    found = [keys for text in texts for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)]
    return {key.strip() for keys in found for key in keys.split(",")}


def test_what_is_cited_is_listed_and_what_is_listed_is_cited():
    assert citations() == set(parse_file(ROOT / "book" / "references.bib").entries)


def test_every_entry_of_the_bibliography_can_be_found():
    for key, entry in parse_file(ROOT / "book" / "references.bib").entries.items():
        doi, places = entry.fields.get("doi"), {"doi", "url", "eprint", "isbn"}
        pages_of_a_volume = {"booktitle", "pages"} <= set(entry.fields)
        assert places & set(entry.fields) or pages_of_a_volume, f"{key} has none of {', '.join(sorted(places))}"
        assert doi is None or re.fullmatch(r"10\.\d{4,9}/[^\s{}]+", doi), f"{key}: {doi} is no DOI"
        assert entry.fields.get("year", "").isdigit(), f"{key} has no year"


def test_a_citation_and_the_entry_that_it_leads_to_carry_the_same_names_and_year(site, pages):
    entries = parse(site / "book" / "bibliography.html").select(".citation")
    labels = {entry["id"]: entry.select_one(".label").get_text().strip("[]") for entry in entries}
    assert len(set(labels.values())) == len(labels)
    cited = 0
    for path in pages:
        for link in parse(path).select("article a[href*='bibliography.html#']"):
            assert labels[urlsplit(link["href"]).fragment].endswith(link.get_text()), path.name
            cited += 1
    assert cited


def test_the_glossary_leads_to_the_index_and_every_term_stands_there(site):
    glossary = parse(site / "book" / "glossary.html")
    assert glossary.find("a", href="../genindex.html")
    terms = {term.get_text(strip=True).rstrip("#") for term in glossary.select("dt")}
    listed = {link.get_text(strip=True) for link in parse(site / "genindex.html").select("table.indextable a")}
    assert len(terms) > 25 and terms <= listed


# The checks above on pages that are wrong, and the site's extension on a small book of its own.


def code_cell(tags: list[str], data: dict[str, object], **metadata: object) -> dict:
    cell = nbformat.v4.new_code_cell("show()", metadata={"tags": tags, **metadata}, execution_count=1)
    cell.outputs = [nbformat.v4.new_output("execute_result", data, execution_count=1)]
    return cell


def notebook(*cells: dict) -> str:
    made = nbformat.v4.new_notebook(cells=list(cells))
    made.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.writes(made)


def text_cell(text: str) -> dict:
    return nbformat.v4.new_markdown_cell(text)


def figure_options(name: str) -> dict[str, object]:
    return {"mystnb": {"figure": {"name": name, "caption": f"A caption of {name}."}}}


DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


PLOTLY = {"data": [{"type": "scatter", "y": [1, 2]}], "layout": {"title": {"text": "</script>"}}}
CHAPTER = notebook(
    text_cell("(part-7-1)=\n# A chapter"),
    code_cell(["nbval-rtol-1e-3"], {"image/png": DOT, "text/plain": "A single   dot in\nthe middle"}),
    code_cell(
        ["nbval-atol-1e-9"],
        {"image/png": DOT, "text/plain": "An interactive dot, 0.5", "application/vnd.plotly.v1+json": PLOTLY},
        **figure_options("fig-moves"),
    ),
    code_cell(["nbval-atol-10"], {"text/plain": "0.25 and 3.9"}),
    code_cell([], {"text/html": "<table><tr><td>1</td></tr></table>"}, **figure_options("tab-x")),
    text_cell("{numref}`fig-moves` and {numref}`tab-x`, {eq}`eq-x`\n\n```{math}\n:label: eq-x\nx = 1\n```"),
    nbformat.v4.new_code_cell(
        "check()", outputs=[nbformat.v4.new_output("stream", text="check: a: True\ncheck: b: True\n")]
    ),
)
FURTHER = notebook(
    text_cell(
        "# A question\n\nSee {numref}`tab-x` and {numref}`fig-further`.\n\n:::{prf:theorem}\n:label: t\nIt is.\n:::"
    ),
    code_cell([], {"image/png": DOT, "text/plain": "A single dot in the middle"}, **figure_options("fig-further")),
)
CONTENTS = """\
format: jb-book
root: book/intro
parts:
  - caption: Problems
    numbered: 1
    chapters:
      - file: book/chapter.ipynb
        sections:
          - file: book/other.ipynb
          - file: book/further.ipynb
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A small book with the book's own settings, but for the one line that says where its repository is."""
    source = tmp_path_factory.mktemp("published")
    for folder in ("_ext", "_static", "_templates"):
        shutil.copytree(ROOT / "book" / folder, source / "book" / folder)
    config = (ROOT / "_config.yml").read_text("utf8")
    assert config.count('\n  url: ""') == 1
    (source / "_config.yml").write_text(config.replace('\n  url: ""', '\n  url: "https://github.com/someone/book"'))
    (source / "_toc.yml").write_text(CONTENTS)
    (source / "book" / "intro.md").write_text("# An introduction\n")
    (source / "book" / "references.bib").write_text("")
    (source / "book" / "chapter.ipynb").write_text(CHAPTER)
    (source / "book" / "other.ipynb").write_text(notebook(text_cell("# Another question")))
    (source / "book" / "further.ipynb").write_text(FURTHER)
    return build(source, source) / "book"


def test_one_line_turns_on_the_links_to_the_repository(published):
    links = {link["href"] for link in parse(published / "chapter.html").find_all("a", href=True)}
    assert "https://github.com/someone/book" in links
    assert "https://github.com/someone/book/edit/main/book/chapter.md" in links
    assert any(link.startswith("https://github.com/someone/book/issues/new") for link in links)
    assert "https://mybinder.org/v2/gh/someone/book/main?urlpath=lab/tree/book/chapter.ipynb" in links
    assert parse(published / "chapter.html").select("[class*=source-repository], [class*=launch-buttons]")
    assert "https://colab.research.google.com/github/someone/book/blob/main/book/chapter.ipynb" in links
    links = {link["href"] for link in parse(published / "intro.html").find_all("a", href=True)}
    assert "https://github.com/someone/book/edit/main/book/intro.md" in links


def test_an_image_is_described_by_the_text_of_its_output(published):
    images = parse(published / "chapter.html").select(".cell_output img")
    assert [image["alt"] for image in images] == ["A single dot in the middle", "An interactive dot, 0.5"]


def test_a_wider_tolerance_is_visible_under_its_cell_and_one_wider_than_the_numbers_is_called_none(published):
    notes = [note.get_text() for note in parse(published / "chapter.html").select(".cell .tolerance")]
    assert notes == [
        "Tests compare this output to within 0.1 % of each number.",
        "Tests compare this output to within 1e-09 in the units of its numbers.",
        "The numbers of this output differ between processors, and tests do not compare them; the checks do.",
    ]


def test_pages_below_a_problem_and_what_is_on_them_are_numbered_by_letters(published):
    chapter, further = (parse(published / name) for name in ("chapter.html", "further.html"))
    links = [link.get_text(strip=True) for link in chapter.select(".bd-sidebar-primary .bd-links a")]
    assert links[-3:] == ["7. A chapter", "7a. Another question", "7b. A question"]
    assert further.select_one("article h1").get_text().startswith("7b. A question")
    assert further.title.get_text().startswith("7b. ")
    assert numbers(chapter) == ["7-1", "7-1", "7-1"]
    assert numbers(further) == ["7b-1", "7b-1"]
    assert [link.get_text() for link in chapter.select("article a.reference.internal[href^='#']")][-3:] == [
        "Fig. 7-1",
        "Table 7-1",
        "(7-1)",
    ]
    assert [link.get_text() for link in further.select("article p a.reference.internal")] == ["Table 7-1", "Fig. 7b-1"]


def test_a_second_build_after_a_change_numbers_all_pages_as_the_first(published):
    def read(name: str) -> BeautifulSoup:
        return BeautifulSoup((published / name).read_text("utf8"), "html.parser")

    source, names = published.parents[2], ("chapter.html", "other.html", "further.html")
    before = [numbers(read(name)) for name in names]
    text = source / "book" / "intro.md"
    text.write_text(text.read_text() + "\nChanged.\n")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "--path-output", source, "-n", "-W"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Changed." in read("intro.html").get_text()
    assert [numbers(read(name)) for name in names] == before
    links = [link.get_text(strip=True) for link in read("intro.html").select(".bd-sidebar-primary .bd-links a")]
    assert links[-3:] == ["7. A chapter", "7a. Another question", "7b. A question"]


def test_a_table_that_a_cell_shows_is_numbered_as_one(published):
    (table,) = parse(published / "chapter.html").select("figure:has(table)")
    assert table["id"] == "tab-x"
    assert table.figcaption.get_text(" ", strip=True).startswith("Table 7-1 A caption of tab-x.")


def test_a_figure_that_moves_is_its_still_picture_until_its_script_comes(published):
    cell = parse(published / "chapter.html").select_one("[class*=tag_interactive-]")
    (name,) = (found[1] for style in cell["class"] if (found := re.fullmatch(r"tag_interactive-(\w+)", style)))
    assert cell.select_one("figure img")["alt"] == "An interactive dot, 0.5"
    script = (published.parent / "_static" / "figures" / f"{name}.js").read_text("utf8")
    assert json.loads(script.partition("] = ")[2].rstrip(";\n")) == PLOTLY


def test_plotly_is_on_no_page_and_its_small_script_only_where_something_moves(published):
    scripts = {
        name: [str(script.get("src")) for script in parse(published / name).find_all("script")]
        for name in ("chapter.html", "further.html")
    }
    assert any("plotly_figures.js" in script for script in scripts["chapter.html"])
    assert not any("plotly" in script for script in scripts["further.html"])
    assert not any("vendor/plotly" in script for script in scripts["chapter.html"])
    assert not any("thebe" in script or "fontawesome" in script for script in scripts["chapter.html"])


def test_checks_are_compact(published):
    assert len(parse(published / "chapter.html").select(".cell_output .checks")) == 1


def test_plotly_of_the_pages_is_near_to_plotly_of_the_notebooks():
    import plotly

    ours = ROOT / "book" / "_static" / "vendor" / "plotly-finance.min.js"
    theirs = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    versions = [re.search(r"v(\d+)\.(\d+)", path.read_text("utf8")[:200]).groups() for path in (ours, theirs)]
    assert versions[0] == versions[1], "npm pack plotly.js-finance-dist-min@VERSION, and copy its .min.js there"


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example.org/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example.org/x.css">',
        '<img src="http://example.org/x.png" alt="four words of text">',
        '<p style="background: url(https://example.org/x.png)"></p>',
        "<style>@import 'https://example.org/x.css';</style>",
        '<iframe src="https://example.org"></iframe>',
        '<meta http-equiv="Refresh" content="0; url=https://example.org">',
    ],
)
def test_a_request_to_another_host_is_noticed(html):
    assert any(is_remote(address) for address in requested(BeautifulSoup(html, "html.parser")))


def test_a_link_to_another_host_is_not_a_request():
    page = BeautifulSoup('<a href="https://a.org">x</a><link rel="canonical" href="https://a.org">', "html.parser")
    assert not any(is_remote(address) for address in requested(page))


@pytest.mark.parametrize("alt", ["", "x.png", "<Figure size 640x480 with 1 Axes>", "plot", "_build/x/a b c d.png"])
def test_an_image_that_is_not_described_is_noticed(alt):
    image = Tag(name="img", attrs={"src": "x.png", "alt": alt})
    page = BeautifulSoup("", "html.parser")
    page.append(image)
    assert images_without_description(page)


@pytest.mark.parametrize("link", ["missing.html", "#missing", "b.html#missing", "../outside.html", "missing.ipynb"])
def test_a_dead_link_is_noticed(tmp_path, link):
    (tmp_path / "outside.html").write_text("")
    site = tmp_path / "site"
    site.mkdir()
    (site / "b.html").write_text('<p id="place"></p>')
    (site / "a.html").write_text(
        f'<p id="here"></p><a href="{link}">x</a><a href="b.html#place"></a><a href="#here"></a>'
    )
    assert dead_links((site / "a.html").resolve(), parse(site / "a.html"), site, {}) == [link]


@pytest.mark.parametrize("text", ["see Table ??.", "{glue:text}`x`", '<span class="problematic">x</span>', "Fig. %s x"])
def test_an_unresolved_reference_is_noticed(text):
    assert unresolved(BeautifulSoup(f"<article>{text}</article>", "html.parser"))
