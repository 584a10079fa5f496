"""What is wrong with a page of the book in a real browser, opened once: on every screen, light, dark and on paper."""

from __future__ import annotations

from pathlib import Path

import axe_playwright_python
from playwright.sync_api import Browser

from tests.reader import DESKTOP, MOST_BYTES, PHONE, SMALL_PHONE, TABLET, Reader

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf8")
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
SCREEN_RULES = {"type": "rule", "values": ["color-contrast", "target-size", "scrollable-region-focusable"]}
RUN_AXE = """runOnly => axe.run({exclude: [["mjx-container"]]}, {runOnly, preload: false, resultTypes: ["violations"],
  ...(runOnly.type === "tag" && {rules: {"label-content-name-mismatch": {enabled: true}}})})"""
PROBLEMS = (
    "book/learning_rate/",
    "book/layer_counts/",
    "book/staleness/",
)  # whose pages test_browser_problems.py opens
# axe finds the contrast of each token of code and each cell of a table by itself, most of all its time; PALE looks at
# all of them at once
MANY = "article :is(pre, pre *, table *)"
LEAVE_MANY = f'axe.configure({{rules: [{{id: "color-contrast", selector: "*:not({MANY})"}}]}})'
PALE = """([many, least]) => {
  const numbers = color => color.match(/[\\d.]+/g).map(Number), solid = color => (numbers(color)[3] ?? 1) === 1;
  const brightness = color => {
    const [r, g, b] = numbers(color).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = element => {
    for (let box = element; box; box = box.parentElement) {
      const { backgroundColor, backgroundImage } = getComputedStyle(box);
      if (backgroundImage !== "none") return null;
      if (solid(backgroundColor)) return backgroundColor;
      if (numbers(backgroundColor)[3]) return null;
    }
    return "rgb(255, 255, 255)";
  };
  const pale = new Map(), seen = new Set();
  for (const element of document.querySelectorAll(many)) {
    if (![...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.textContent.trim())) continue;
    const { color, opacity } = getComputedStyle(element), behind = background(element), pair = `${color} on ${behind}`;
    if (seen.has(pair) && opacity === "1") continue;
    seen.add(pair);
    const [dark, light] = behind ? [color, behind].map(brightness).sort((a, b) => a - b) : [0, 0];
    if (!behind || !solid(color) || opacity !== "1" || (light + 0.05) / (dark + 0.05) < least)
      pale.set(pair, `${pair}: ${element.outerHTML.slice(0, 120)}`);
  }
  return [...pale.values()];
}"""
LEAST_CONTRAST = 4.5
SMALLEST_TEXT = 11  # pixels
STILL = """() => Promise.race([  // until what slides away is gone
  Promise.allSettled(document.getAnimations().filter(moves => moves.effect.getComputedTiming().endTime < Infinity)
    .map(moves => moves.finished)),
  new Promise(enough => setTimeout(enough, 500))])"""
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


# what is folded, open; then formulas that are wider than their place, in which they would scroll
UNFOLD = """() => {
  for (const fold of document.querySelectorAll("article details")) fold.open = true;
  for (const fold of document.querySelectorAll("article .toggle-hidden")) fold.classList.remove("toggle-hidden");
}"""
WIDE_FORMULAS = """() => [...document.querySelectorAll("article mjx-container")]
  .filter(formula => formula.checkVisibility() &&
    formula.querySelector("mjx-math").getBoundingClientRect().width > formula.clientWidth + 2)
  .map(formula => formula.querySelector("mjx-assistive-mml").textContent.replace(/\\s+/g, " ").slice(0, 80))"""


def as_it_opens(reader: Reader) -> list[str]:
    page, faults = reader.page, []
    if page.evaluate("document.documentElement.dataset.theme") != "dark":
        faults.append("not shown in the reader's colour scheme")
    if page.locator("mjx-merror").count():
        faults.append("an error in the mathematics")
    if page.locator("article mjx-container").count() < page.locator("article .math").count():
        faults.append("mathematics that is not typeset")
    return faults


def on_screen(reader: Reader, screens: list[dict[str, int]], rules: dict) -> list[str]:
    """What axe finds on the first of these screens; what is too small, cut off, or scrolls without saying so on any."""
    page, faults = reader.page, []
    for screen in screens:
        page.set_viewport_size(screen)
        page.evaluate(STILL)
        for _ in range(10):  # until the page has marked again what scrolls
            if not (silent := page.evaluate(SCROLLS_IN_SILENCE)):
                break
            page.wait_for_timeout(50)
        found = [*silent, *page.evaluate(CUT_OFF)]
        found += [f"text too small: {element}" for element in page.evaluate(SMALL_TEXT, SMALLEST_TEXT)]
        if screen is screens[0]:
            found += [f"hard to read: {text}" for text in page.evaluate(PALE, [MANY, LEAST_CONTRAST])]
            for violation in page.evaluate(RUN_AXE, rules)["violations"]:
                nodes = [node["html"][:150] for node in violation["nodes"][:3]]
                found.append(f"{violation['id']}: {violation['help']}: {nodes}")
        faults += [f"{screen['width']} px: {fault}" for fault in found]
    return faults


def formulas_on(reader: Reader, screens: list[dict[str, int]]) -> list[str]:
    faults = []
    reader.page.evaluate(UNFOLD)
    for screen in screens:
        reader.page.set_viewport_size(screen)
        faults += [f"{screen['width']} px: too wide: {text}" for text in reader.page.evaluate(WIDE_FORMULAS)]
    return faults


def on_paper(reader: Reader) -> list[str]:
    """Paper is white, and the reader's colours come back after printing."""
    page = reader.page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    faults = [f"pale on paper: {text}" for text in page.evaluate(TOO_LIGHT_FOR_PAPER)[:3]]
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    if page.evaluate("document.documentElement.dataset.theme") != "dark":
        faults.append("light after printing")
    return faults


def faults_of(browser: Browser, address: str, names: list[str]) -> dict[str, list[str]]:
    """What is wrong with each of these pages, opened once each: by a reader who likes it dark, without a cache."""
    reader = Reader(browser, address, PHONE, "dark")
    line, loaded = reader.context.new_cdp_session(reader.page), []
    line.send("Network.enable")
    line.send("Network.setCacheDisabled", {"cacheDisabled": True})
    line.on("Network.loadingFinished", lambda done: loaded.append(done["encodedDataLength"]))
    wrong = {}
    for name in names:
        loaded.clear()
        page = reader.open(name)
        page.evaluate(AXE)
        page.evaluate(LEAVE_MANY)
        faults = as_it_opens(reader)
        # formulas have the colour of their text; what does not depend on screen and scheme is checked once
        faults += on_screen(reader, [PHONE, SMALL_PHONE], SCREEN_RULES)
        page.wait_for_load_state("networkidle")
        if sum(loaded) > MOST_BYTES:
            faults.append(f"{sum(loaded)} bytes")
        faults += on_paper(reader)
        reader.page.emulate_media(color_scheme="light")
        reader.page.wait_for_function("document.documentElement.dataset.theme === 'light'")
        faults += on_screen(reader, [DESKTOP, TABLET], RULES)
        faults += formulas_on(reader, [PHONE, SMALL_PHONE])
        reader.page.emulate_media(color_scheme="dark")
        reader.page.set_viewport_size(PHONE)
        if faults := faults + reader.faults:
            wrong[name] = faults
    reader.close()
    return wrong
