"""Somebody who reads the book in a real browser, and a web server of this machine that offers it."""

from __future__ import annotations

import functools
import gzip
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, TABLET, PHONE, SMALL_PHONE = (
    {"width": w, "height": h} for w, h in ((1280, 900), (768, 1024), (375, 812), (320, 568))
)
# when the mathematics is typeset
READY = "() => !window.MathJax || (MathJax.startup && MathJax.startup.promise.then(() => true))"
# the same while a page still comes: at first there is no mathematics, and no MathJax either
TYPESET = """() => document.readyState !== "loading" && (!document.querySelector("article .math") ||
  (window.MathJax?.startup?.promise && MathJax.startup.promise.then(() => true)))"""
LINE = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 1.6e6 / 8}
MOST_BYTES = 1_000_000  # of a page and all it loads, packed, before a figure is touched
LONGEST = 5.0  # seconds until text and formulas can be read on this line
PACKED = {".woff", ".woff2", ".png"}


class Handler(http.server.SimpleHTTPRequestHandler):
    """Sends what can be packed as gzip, as every web server does."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            self.send_error(404)
            return
        body, pack = path.read_bytes(), path.suffix not in PACKED
        body = gzip.compress(body, 6) if pack else body
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Length", str(len(body)))
        if pack:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # a browser opens more than the usual 5 at once; one that is dropped is tried again late


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder is offered."""
    with Server(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Reader:
    """Somebody with a screen and a colour scheme who opens pages; `faults` collects what goes wrong meanwhile."""

    def __init__(
        self, browser: Browser, address: str, screen: dict[str, int], scheme: str = "light", **options: object
    ):
        self.address = address
        self.faults: list[str] = []
        self.context = browser.new_context(viewport=screen, color_scheme=scheme, **options)
        self.page: Page = self.context.new_page()
        self.page.on("request", self.see)
        self.page.on("requestfailed", self.miss)
        self.page.on("response", self.receive)
        self.page.on("pageerror", lambda error: self.faults.append(f"script error: {error}"))
        self.page.on("console", self.hear)

    def see(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.faults.append(f"request to another host: {request.url[:200]}")

    def miss(self, request) -> None:
        if "ERR_ABORTED" not in str(request.failure):  # a picture on its way when the reader goes on
            self.faults.append(f"failed: {request.url[:200]}")

    def receive(self, answer) -> None:
        if answer.status >= 400:
            self.faults.append(f"{answer.status}: {answer.url}")

    def hear(self, message) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text[:200]}")

    def open(self, name: str) -> Page:
        """A page of the book, when its mathematics is typeset."""
        self.faults = []
        self.page.goto(f"{self.address}/{name}")
        self.page.wait_for_function(READY)
        return self.page

    def close(self) -> None:
        self.context.close()


def reading_time(browser: Browser, address: str, name: str) -> tuple[float, int]:
    """Seconds until a page's text stands and its formulas are typeset with their fonts, on a slow line; and its bytes.

    The bytes are those of the page and all that it loads, packed, before a figure is touched.
    """
    reader = Reader(browser, address, PHONE)
    reader.page.set_default_timeout(120_000)
    line, loaded = reader.context.new_cdp_session(reader.page), []
    line.on("Network.loadingFinished", lambda done: loaded.append(done["encodedDataLength"]))
    line.send("Network.enable")
    line.send("Network.emulateNetworkConditions", LINE)
    reader.page.goto(f"{address}/{name}", wait_until="commit")
    reader.page.wait_for_function(TYPESET)
    seconds = reader.page.evaluate("document.fonts.ready.then(() => performance.now() / 1000)")
    reader.page.wait_for_load_state("networkidle")
    reader.close()
    return seconds, sum(loaded)
