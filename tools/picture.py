"""Take the picture of the book that the README shows: book/_static/book.png, from the pages that `make book` built.

.venv/bin/python -m tools.picture
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PAGE, PLACE = ROOT / "_build" / "html" / "book" / "bias_variance" / "1_answers.html", ".plotly-offline"


def main() -> None:
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not (executable and PAGE.exists()):
        sys.exit("needs Chromium and the built book: apt install chromium, make book")
    halves = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            page = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme=scheme).new_page()
            page.goto(PAGE.as_uri())
            figure = page.locator(PLACE).first
            figure.evaluate("figure => scrollTo(0, figure.getBoundingClientRect().top + scrollY - 170)")
            page.wait_for_selector(f"{PLACE} .main-svg")  # drawn when it comes near
            page.wait_for_timeout(1000)
            halves.append(Image.open(io.BytesIO(page.screenshot())))
        browser.close()
    # the left of it in light, the right in dark, parted by a slanting line
    light, dark = (half.convert("RGB") for half in halves)
    mask = Image.new("L", light.size)
    width, height = light.size
    for y in range(height):
        mask.paste(255, (int(width * (0.62 - 0.24 * y / height)), y, width, y + 1))
    light.paste(dark, mask=mask)
    picture = ROOT / "book" / "_static" / "book.png"
    light.quantize(128).save(picture, optimize=True)
    print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
