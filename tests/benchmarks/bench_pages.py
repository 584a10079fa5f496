"""The pages on a slow line: what each weighs, packed, and when its text and formulas can be read.

python -m tests.benchmarks.bench_pages            # report, of the pages that `make book` built
python -m tests.benchmarks.bench_pages --store    # also write what the page on reproducibility shows
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.benchmarks.timing import report
from tests.conftest import BROWSERS
from tests.reader import FLAGS, LONGEST, MOST_BYTES, reading_time, served
from tools.pdf import SITE

STORED = Path(__file__).resolve().parents[2] / "book" / "pages.json"


def main() -> None:
    """Report the pages of the contents that weigh most and take longest."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not (executable and (SITE / "index.html").exists()):
        print("not measured: this needs Chromium and the pages that make book builds")
        return
    measured = {}
    with sync_playwright() as playwright, served(SITE) as address:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        for path in sorted(SITE.glob("book/**/*.html")):
            name = path.relative_to(SITE / "book").with_suffix("").as_posix()
            tries = [reading_time(browser, address, f"book/{name}.html")]
            while len(tries) < 3 and min(tries)[0] >= LONGEST:  # as in its test: the machine may be busy
                tries.append(reading_time(browser, address, f"book/{name}.html"))
            print(f"{name}: {min(tries)[0]:.1f} s, {tries[0][1] / 1000:.0f} kB", flush=True)
            measured[name] = {"seconds": round(min(tries)[0], 1), "kilobytes": round(tries[0][1] / 1000)}
        version = browser.version
        browser.close()
    for what, unit, bound in (("kilobytes", "kB", MOST_BYTES / 1000), ("seconds", "s", LONGEST)):
        worst = max(measured, key=lambda name: measured[name][what])
        report(f"most {what}, {worst}", measured[worst][what], unit, at_most=bound)
    if "--store" in sys.argv[1:]:
        STORED.write_text(json.dumps({"browser": f"Chromium {version}", "pages": measured}, indent=1) + "\n")
        print(f"written: {STORED}")


if __name__ == "__main__":
    main()
