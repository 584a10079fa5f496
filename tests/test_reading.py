"""Finding one's way: what the contents mark, what a search shows; and how code is printed."""

from __future__ import annotations

from tests.reader import DESKTOP, Reader

# the section that is read: the last whose heading has come into the upper third of the screen
READ = """() => {
  const links = [...document.querySelectorAll("#pst-page-toc-nav a[href^='#']")];
  const place = link => document.getElementById(decodeURIComponent(link.hash.slice(1)));
  return links.findLast(link => place(link).getBoundingClientRect().top < 0.3 * innerHeight)?.textContent ?? null;
}"""
MARKED = "() => [...document.querySelectorAll('#pst-page-toc-nav a.active')].map(link => link.textContent)"
# what keeps code from going on on the next page, and so leaves an empty box on this one
UNBROKEN = """() => {
  const kept = new Set();
  for (const code of document.querySelectorAll("article .cell_input pre")) {
    for (let box = code; box.tagName !== "ARTICLE"; box = box.parentElement) {
      const { display, breakInside, overflowX } = getComputedStyle(box);
      if (display === "flex" || breakInside === "avoid" || overflowX === "auto") kept.add(box.className);
    }
  }
  return [...kept];
}"""
PAGE = "book/bias_variance/1_answers.html"


def test_the_contents_mark_what_is_read_on_the_way_down_and_up(browser, address):
    reader = Reader(browser, address, DESKTOP)
    page = reader.open(PAGE)
    seen = set()
    for step in [1500] * 8 + [-700] * 12:
        page.mouse.wheel(0, step)
        page.wait_for_timeout(120)
        read = page.evaluate(READ)
        assert page.evaluate(MARKED) == ([read] if read else []), f"after a step of {step}"
        seen.add(read)
    assert len(seen) > 3
    page.locator("#pst-page-toc-nav a").last.click()  # a section so near the end that the page cannot scroll to it
    page.wait_for_timeout(300)
    assert page.evaluate(MARKED) == [page.locator("#pst-page-toc-nav a").last.text_content()]
    assert reader.faults == []
    reader.close()


def test_a_search_among_files_finds_titles_and_says_why_it_has_no_excerpts(browser, site):
    reader = Reader(browser, site.as_uri(), DESKTOP)
    page = reader.open("search.html?q=staleness")
    page.locator("#search-results li a").first.wait_for()
    assert "opened from files" in page.locator(".no-excerpts").text_content()
    assert reader.faults == []
    reader.close()


def test_a_search_on_the_web_shows_excerpts(browser, address):
    reader = Reader(browser, address, DESKTOP)
    page = reader.open("search.html?q=staleness")
    excerpts = page.locator("#search-results li p.context")
    excerpts.first.wait_for()
    page.wait_for_load_state("networkidle")
    assert page.locator(".no-excerpts").count() == 0
    assert excerpts.count() == page.locator("#search-results li").count()
    texts = [text.strip(". ") for text in excerpts.all_text_contents()]
    assert all(texts) and not any(text.startswith((".pdf", "Contents", "import ")) for text in texts)
    assert reader.faults == []
    reader.close()


def test_printed_code_goes_on_on_the_next_page(browser, address):
    reader = Reader(browser, address, DESKTOP)
    page = reader.open(PAGE)
    page.emulate_media(media="print")
    assert page.evaluate(UNBROKEN) == []
    reader.close()
