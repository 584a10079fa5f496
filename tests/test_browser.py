"""Every page in a real browser: no request elsewhere, no error, accessible, nothing cut off on any screen or paper."""

from __future__ import annotations

from pathlib import Path

import axe_playwright_python
import pytest

from tests.reader import DESKTOP, PHONE, SMALL_PHONE, TABLET, Reader

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf8")
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
SCREEN_RULES = {"type": "rule", "values": ["color-contrast", "target-size", "scrollable-region-focusable"]}
RUN_AXE = """runOnly => axe.run({exclude: [["mjx-container"]]}, {runOnly, preload: false, resultTypes: ["violations"],
  ...(runOnly.type === "tag" && {rules: {"label-content-name-mismatch": {enabled: true}}})})"""
SMALLEST_TEXT = 11  # pixels
SMALL_TEXT = """smallest => [...document.querySelectorAll("article *")].filter(element =>
    [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.textContent.trim()) &&
    element.checkVisibility() && !element.closest("svg, mjx-container, sup, sub, script, style"))
  .filter(element => { const size = parseFloat(getComputedStyle(element).fontSize);
    return 0 < size && size < smallest })
  .map(element => element.outerHTML.slice(0, 120))"""
# what a reader cannot see: it ends beyond the screen, or beyond a box that cuts it off, and nothing around it scrolls
CUT_OFF = """() => {
  const bad = document.documentElement.scrollWidth > innerWidth ? ["the page is wider than the screen"] : [];
  const scrolls = element => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const within = element => { for (let box = element; box; box = box.parentElement) if (scrolls(box)) return true };
  const parts = "p, li, h1, h2, h3, pre, table, img, a, button, figure, mjx-container";
  for (const element of document.querySelectorAll(`.bd-main :is(${parts})`)) {
    if (!element.checkVisibility({visibilityProperty: true}) || within(element)) continue;
    if (element.closest("mjx-assistive-mml, .headerlink")) continue;
    const { right, left, width } = element.getBoundingClientRect(), start = element.outerHTML.slice(0, 120);
    if (width && (right > innerWidth + 1 || left < -1)) bad.push(`beyond the screen: ${start}`);
    const hides = getComputedStyle(element).overflowX === "hidden";
    if (hides && element.scrollWidth > element.clientWidth + 1) bad.push(`cut off: ${start}`);
  }
  return bad;
}"""
# a box that scrolls sideways says so, and the keyboard reaches it
SCROLLS_IN_SILENCE = """() => {
  const boxes = document.querySelectorAll("article :is(.cell_output, .output, div.math, mjx-container[display])");
  const scrolls = box => ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
  return [...boxes].filter(box => box.checkVisibility() && scrolls(box) && box.scrollWidth > box.clientWidth + 2)
    .filter(box => !(box.classList.contains("scrolls") && box.tabIndex === 0)).map(box => box.outerHTML.slice(0, 120));
}"""
TOO_LIGHT_FOR_PAPER = """() => {
  const texts = document.querySelectorAll("article :is(p, pre, code, li, td, figcaption)");
  const color = element => getComputedStyle(element).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
  return [...texts].filter(element => element.checkVisibility() && Math.min(...color(element)) > 160)
    .map(element => element.outerHTML.slice(0, 120));
}"""


def look(reader: Reader, name: str, scheme: str) -> list[str]:
    """What is wrong with a page as it opens."""
    page = reader.open(name)
    faults = reader.faults
    if page.evaluate("document.documentElement.dataset.theme") != scheme:
        faults.append(f"not shown in the reader's colour scheme, {scheme}")
    if page.locator("mjx-merror").count():
        faults.append("an error in the mathematics")
    if page.locator("article mjx-container").count() < page.locator("article .math").count():
        faults.append("mathematics that is not typeset")
    faults += [f"text too small: {element}" for element in page.evaluate(SMALL_TEXT, SMALLEST_TEXT)]
    page.evaluate(AXE)
    # formulas have the colour of their text; what does not depend on screen and scheme is checked once
    rules = RULES if scheme == "light" else SCREEN_RULES
    for violation in page.evaluate(RUN_AXE, rules)["violations"]:
        nodes = [node["html"][:150] for node in violation["nodes"][:3]]
        faults.append(f"{violation['id']}: {violation['help']}: {nodes}")
    return faults


def resize(reader: Reader, screens: list[dict[str, int]]) -> list[str]:
    """What is cut off, or scrolls without saying so, on screens of these sizes."""
    faults = []
    for screen in screens:
        reader.page.set_viewport_size(screen)
        reader.page.wait_for_timeout(350)  # until the page has marked again what scrolls
        for script in (CUT_OFF, SCROLLS_IN_SILENCE):
            faults += [f"{screen['width']} px: {fault}" for fault in reader.page.evaluate(script)]
    return faults


@pytest.mark.parametrize(
    ("scheme", "screens"), [("light", [DESKTOP, TABLET]), ("dark", [PHONE, SMALL_PHONE])], ids=["light", "dark"]
)
def test_every_page_is_sound_on_every_screen_and_on_paper(browser, address, names, scheme, screens):
    reader, wrong = Reader(browser, address, screens[0], scheme), {}
    for name in names:
        faults = look(reader, name, scheme)
        faults += resize(reader, screens)
        if scheme == "dark":  # paper is white
            reader.page.evaluate("dispatchEvent(new Event('beforeprint'))")
            reader.page.emulate_media(media="print")
            faults += [f"pale on paper: {text}" for text in reader.page.evaluate(TOO_LIGHT_FOR_PAPER)[:3]]
            reader.page.emulate_media(media="screen")
            reader.page.evaluate("dispatchEvent(new Event('afterprint'))")
            if reader.page.evaluate("document.documentElement.dataset.theme") != "dark":
                faults.append("light after printing")
        if faults:
            wrong[name] = faults
        reader.page.set_viewport_size(screens[0])
    assert wrong == {}


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
