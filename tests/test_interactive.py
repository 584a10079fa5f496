"""Figures that move, with mouse, finger and keyboard; and how soon a page can be read before anyone touches one."""

from __future__ import annotations

import io

from PIL import Image

from tests.reader import DESKTOP, LONGEST, PHONE, Reader, reading_time

ALIVE = ".plotly-offline.alive"
SHOWN = """plot => plot.data.filter(trace => trace.visible !== false && trace.visible !== "legendonly")
  .filter(trace => [...(trace.y ?? trace.x ?? [])].some(value => value !== null)).length"""
DRAWN = (
    "plot => JSON.stringify([...plot.querySelectorAll('path, text, rect')].map(part => part.outerHTML).slice(0, 4000))"
)
SMALL = """plot => [...plot.querySelectorAll("svg text")].filter(text => text.textContent.trim() &&
  text.checkVisibility() && text.getBoundingClientRect().width && parseFloat(getComputedStyle(text).fontSize) < 11)
  .map(text => text.textContent)"""
SCHEMES = [("light", None), ("dark", None), ("light", "active"), ("dark", "active")]


def bring_to_life(page) -> None:
    for figure in page.locator(".plotly-offline").all():
        figure.scroll_into_view_if_needed()
        figure.locator(".main-svg").first.wait_for(state="attached")
    page.wait_for_function("document.querySelectorAll('.plotly-offline:not(.alive)').length === 0")


def test_every_slider_and_list_of_a_figure_moves_by_keyboard_and_none_leads_to_an_empty_figure(
    browser, address, interactive
):
    assert interactive
    reader = Reader(browser, address, DESKTOP)
    for name in interactive:
        page = reader.open(name)
        bring_to_life(page)
        for controls in page.locator(".figure-controls").all():
            plot = controls.locator("xpath=following-sibling::*[1]").locator(".plot")
            for control in controls.get_by_role("slider").all():
                assert control.get_attribute("aria-label")
                control.focus()
                page.keyboard.press("Home")
                page.wait_for_timeout(100)
                first, before = control.get_attribute("aria-valuetext"), plot.evaluate(DRAWN)
                page.keyboard.press("ArrowRight")
                page.wait_for_timeout(150)
                assert control.get_attribute("aria-valuetext") != first, name
                assert plot.evaluate(DRAWN) != before, f"{name}: the slider moves nothing"
                for step in range(int(control.get_attribute("max")) + 1):
                    control.fill(str(step))
                    page.wait_for_timeout(30)
                    assert plot.evaluate(SHOWN), f"{name}: step {step} of {control} shows nothing"
            lists = [(c, len(c.locator("option").all())) for c in controls.get_by_role("combobox").all()]
            assert all(c.evaluate("list => list.labels[0].textContent.trim()") for c, _ in lists)
            for place in range(lists[0][1] if lists else 0):
                lists[0][0].select_option(str(place))
                for other, length in lists[1:]:
                    for choice in range(length):
                        other.select_option(str(choice))
                        page.wait_for_timeout(30)
                        assert plot.evaluate(SHOWN), f"{name}: choices {place}, {choice} show nothing"
        assert reader.faults == []


def swipe(page, line, x: float, y: float, distance: float) -> None:
    """One finger, upwards, or downwards by a negative distance."""
    touch = [{"x": x, "y": y - distance * step / 10} for step in range(11)]
    line.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": touch[:1]})
    for point in touch[1:]:
        line.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        page.wait_for_timeout(20)
    line.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(300)


def test_a_swipe_over_a_figure_scrolls_the_page_and_leaves_its_axes(browser, address, interactive):
    reader = Reader(browser, address, PHONE, has_touch=True, is_mobile=True)
    for name in interactive:
        page = reader.open(name)
        bring_to_life(page)
        line = page.context.new_cdp_session(page)
        for plot in page.locator(f"{ALIVE} .plot").all():
            plot.evaluate("plot => scrollTo(0, plot.getBoundingClientRect().top + scrollY - 200)")
            page.wait_for_timeout(100)
            axes = plot.evaluate("plot => JSON.stringify(plot._fullLayout.xaxis.range)")
            before = page.evaluate("scrollY")
            swipe(page, line, 187, 450, 150)
            assert (down := page.evaluate("scrollY")) - before > 100, f"{name}: the page does not move down"
            swipe(page, line, 187, 250, -150)
            assert down - page.evaluate("scrollY") > 100, f"{name}: the page does not move up"
            assert plot.evaluate("plot => JSON.stringify(plot._fullLayout.xaxis.range)") == axes, name
            assert plot.evaluate(SMALL) == [], name
        assert reader.faults == []


def brightness(color: tuple[int, ...]) -> float:
    """Relative luminance of WCAG."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in color[:3])]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    low, high = sorted((brightness(one), brightness(other)))
    return (high + 0.05) / (low + 0.05)


def test_sliders_and_figures_stand_out_from_the_page_in_every_scheme(browser, address, interactive):
    for name in interactive:
        reader = Reader(browser, address, DESKTOP)
        page = reader.open(name)
        bring_to_life(page)
        for slider in page.get_by_role("slider").all():
            slider.fill(str(int(slider.get_attribute("max")) // 2))
        for scheme, forced in SCHEMES:
            page.emulate_media(color_scheme=scheme, forced_colors=forced or "none")
            page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
            for slider in page.get_by_role("slider").all():
                shot = Image.open(io.BytesIO(slider.screenshot())).convert("RGB")
                third, middle, page_color = shot.width // 3, shot.height // 2, shot.getpixel((shot.width // 3, 1))
                thumb = max(contrast(shot.getpixel((x, middle)), page_color) for x in range(third, 2 * third))
                rail = max(contrast(shot.getpixel((5, y)), page_color) for y in range(shot.height))
                assert thumb >= 3 and rail >= 3, (name, scheme, forced, thumb, rail)
            if forced:  # the colours of a figure are its own: on white, as they were drawn
                looks = page.locator(ALIVE).evaluate_all(
                    "all => all.map(box => getComputedStyle(box)).map(look => [look.filter, look.backgroundColor])"
                )
                assert looks and all(look == ["none", "rgb(255, 255, 255)"] for look in looks), (name, scheme, looks)
        reader.close()


def test_figures_follow_the_colour_mode_when_the_reader_changes_it(browser, address, interactive):
    page = Reader(browser, address, DESKTOP).open(interactive[0])
    bring_to_life(page)
    for mode, inverted in (("dark", True), ("light", False)):
        page.evaluate("mode => { document.documentElement.dataset.theme = mode }", mode)
        pictures = page.locator("article .plotly-offline, article .cell_output img:not(.still, .photo)")
        filters = pictures.evaluate_all("all => all.map(figure => getComputedStyle(figure).filter)")
        assert filters and all(("invert" in found) == inverted for found in filters)


def test_on_paper_and_without_scripts_a_figure_that_moves_is_a_described_picture(browser, address, interactive):
    page = Reader(browser, address, DESKTOP).open(interactive[0])
    bring_to_life(page)
    page.emulate_media(media="print")
    assert page.locator(".plotly-offline img").first.is_visible()
    assert not page.locator(".plotly-offline .plot").first.is_visible()
    assert not page.locator(".figure-controls").first.is_visible()
    quiet = browser.new_context(java_script_enabled=False).new_page()
    quiet.goto(f"{address}/{interactive[0]}")
    picture = quiet.locator("[class*=tag_interactive-] .cell_output img").first
    assert picture.is_visible() and len(picture.get_attribute("alt").split()) > 5


def test_text_and_formulas_can_be_read_soon_on_a_slow_line(browser, address, names):
    slow = {}
    for name in [name for name in names if name.endswith("1_answers.html")] + ["book/intro.html"]:
        seconds = []
        while len(seconds) < 4 and min(seconds, default=LONGEST) >= LONGEST:  # again: the machine may be busy
            seconds.append(reading_time(browser, address, name)[0])
        if min(seconds) >= LONGEST:
            slow[name] = seconds
    assert slow == {}
