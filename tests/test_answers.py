"""Answer first: each numbered part opens with its answer in few words, and no page is longer than an hour's reading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag

from lib.notebook import stored_values
from tests.conftest import ROOT
from tests.test_book import PARTS, parse

BEFORE, WITHIN, PAGE = 60, 60, 6_500  # most words: from a part's heading to its answer, in it, and on a page
LABELS = [(problem, f"part-{part}") for problem, parts in PARTS.items() for part in parts]


def words(part: BeautifulSoup | Tag) -> list[str]:
    """The words that a reader sees: a formula counts as one, code that the page folds as none."""
    copy = BeautifulSoup(str(part), "html.parser")
    for hidden in copy.select("script, style, .headerlink, .onlyprint, details.hide, .prev-next-area"):
        hidden.decompose()
    for formula in copy.select(".math"):
        formula.replace_with(" formula ")
    for code in copy.find_all("pre"):  # the colours of code part what no blank parts
        code.replace_with(f" {code.get_text()} ")
    return copy.get_text().split()


def answer(page: BeautifulSoup, label: str) -> tuple[Tag, list[str]]:
    """The first answer behind a label, and the words between it and the heading there."""
    heading = page.find(id=label).find_next(re.compile("^h[1-6]$"))
    if (place := page.find(id=label)).name == "section":
        heading = place.find(re.compile("^h[1-6]$"))
    between: list[str] = []
    for sibling in heading.next_siblings:
        if isinstance(sibling, Tag):
            if "answer" in (sibling.get("class") or []):
                return sibling, between
            between += words(sibling)
    raise AssertionError(f"no answer behind {label}")


@pytest.mark.parametrize(("problem", "label"), LABELS)
def test_a_part_opens_with_its_answer_in_few_words(site, problem, label):
    box, between = answer(parse(site / "book" / problem / "1_answers.html"), label)
    assert len(between) <= BEFORE, between
    inside = [word for child in box.find_all("p")[1:] for word in words(child)]
    assert 5 <= len(inside) <= WITHIN, " ".join(inside)


def test_no_page_is_too_long(pages):
    lengths = {path.as_posix(): len(words(parse(path).select_one("article") or parse(path))) for path in pages}
    assert {Path(name).name: n for name, n in lengths.items() if n > PAGE and "genindex" not in name} == {}


def test_the_introduction_answers_every_part_in_a_sentence_with_the_numbers_of_the_chapters(site):
    page = parse(site / "book" / "intro.html")
    (table,) = page.select("table.answers")
    rows = {row.a["href"].partition("#")[2]: row.find_all("td")[-1].get_text() for row in table.select("tbody tr")}
    assert list(rows) == [label for _, label in LABELS]
    for problem, label in LABELS:
        stored = stored_values(ROOT / "book" / problem / "1_answers.ipynb").values()
        known = {form for value in stored for form in forms(value)}
        assert len(words(BeautifulSoup(rows[label], "html.parser"))) <= 40
        results = [
            found for found in NUMBER.findall(rows[label]) if float(found.replace(",", "")) > 100 or "." in found
        ]
        assert [found for found in results if found not in known | DEFINED] == [], label


NUMBER = re.compile(r"(?<![\w.,\[])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w.]*\])")
DEFINED = {"0.3", "256"}  # the noise's variance and the channels, which the assignment sets


def forms(value: object) -> list[str]:
    """A stored value as a sentence may quote it."""
    if isinstance(value, str):
        return NUMBER.findall(value)
    return [format(value, form) for form in (",", ".1f", ".2f", ".3f", ".4f", ".2g")]
