"""Every page in a real browser: no request elsewhere, no error, accessible, nothing cut off on any screen or paper."""

from __future__ import annotations

import pytest

from tests.page_faults import LEAST_CONTRAST, MANY, PALE, PROBLEMS, faults_of
from tests.reader import DESKTOP, Reader


def test_every_page_is_sound_on_every_screen_and_on_paper(browser, address, names):
    others = [name for name in names if not name.startswith(PROBLEMS)]
    assert faults_of(browser, address, others) == {}


@pytest.mark.parametrize(
    ("style", "pale"),
    [
        ("color: #595959", False),
        ("color: #777", True),
        ("color: #595959; opacity: 0.9", True),
        ("color: #595959; background: #eee linear-gradient(#eee, #777)", True),
        ("color: #595959; background: #999", True),
    ],
)
@pytest.mark.parametrize("around", ["<pre>x <span>=</span> {}</pre>", "<table><tr><td>x</td><td>{}</td></tr></table>"])
def test_a_word_of_code_or_in_a_table_that_is_hard_to_read_is_noticed(browser, around, style, pale):
    page = browser.new_page()
    word = f'<span style="{style}">1</span>'
    page.set_content(f"<article>{around.format(word)}</article>")
    assert [word in text for text in page.evaluate(PALE, [MANY, LEAST_CONTRAST])] == [True] * pale
    page.close()


def test_pages_open_from_files(browser, site, names):
    reader, wrong = Reader(browser, site.as_uri(), DESKTOP), {}
    answers = [name for name in names if name.endswith("1_answers.html")]
    for name in ["book/intro.html", *answers[:2]]:
        page = reader.open(name)
        if page.locator("article mjx-container").count() < page.locator("article .math").count():
            reader.faults.append("mathematics that is not typeset")
        for figure in page.locator(".plotly-offline").all():
            figure.scroll_into_view_if_needed()
            page.wait_for_selector(".plotly-offline.alive")
        if reader.faults:
            wrong[name] = reader.faults
    assert wrong == {}


def test_the_first_page_leads_to_the_introduction(browser, address):
    reader = Reader(browser, address, DESKTOP)
    reader.page.goto(f"{address}/index.html")
    reader.page.wait_for_url("**/book/intro.html")
    assert reader.faults == []


def test_one_switch_hides_all_code_and_is_remembered(browser, address, names):
    reader = Reader(browser, address, DESKTOP)
    first, second = [name for name in names if name.endswith("1_answers.html")][:2]
    page, code = reader.open(first), "article .cell :is(.cell_input, details.above-input)"
    assert page.locator(code).first.is_visible()
    page.locator(".code-switch").focus()
    page.keyboard.press("Enter")
    assert not any(block.is_visible() for block in page.locator(code).all())
    page = reader.open(second)
    assert page.locator(".code-switch").get_attribute("aria-pressed") == "true"
    assert not any(block.is_visible() for block in page.locator(code).all())
    page.emulate_media(media="print")
    assert not any(block.is_visible() for block in page.locator(code).all())
    page.emulate_media(media="screen")
    page.locator(".code-switch").click()
    assert page.locator(code).first.is_visible()
    assert reader.faults == []


def test_formulas_are_no_stops_of_the_keyboard(browser, address, names):
    page = Reader(browser, address, DESKTOP).open("book/bias_variance/1_answers.html")
    assert page.locator("mjx-container").count() > 10
    assert page.locator('mjx-container[tabindex="0"]:not([display="true"])').count() == 0


def test_a_result_of_a_search_leads_to_the_first_place_of_its_words(browser, address, names):
    reader = Reader(browser, address, DESKTOP)
    page = reader.open("search.html?q=staleness")
    page.locator("#search-results li a").first.wait_for()
    links = page.locator("#search-results li a")
    found = next(link for link in links.all() if "#" not in link.get_attribute("href"))
    found.click()
    page.wait_for_selector(".found")
    assert "staleness" in page.locator(".found").text_content().lower()
    page.wait_for_function(
        "() => { const { top, bottom } = document.querySelector('.found').getBoundingClientRect();"
        " return top < innerHeight && bottom > 0; }"
    )
