"""Pages in a real browser: Debian's Chromium, through Playwright.

Screenshots go to $PNAG_ARTIFACTS where it is set.
"""

import os
import re
import time
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import ViewportSize, sync_playwright

CHROMIUM = "/usr/bin/chromium"  # tests/install_debian_packages.sh
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
AA_CONTRAST = 4.5  # WCAG 2.2, 1.4.3
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


@contextmanager
def opened_page(path, drawn):
    """The page once `drawn` is there, and what the browser then complains about or asks for."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: complaints.append(f"request: {request.url}"))
        page.goto(path.as_uri())
        page.locator(drawn).first.wait_for()
        assert complaints.pop(0) == f"request: {path.as_uri()}"
        yield page, complaints
        browser.close()


def wait_until(page, expression, argument=None):
    """Playwright's own waiting evaluates text inside the page, which forbids it."""
    end = time.monotonic() + 10
    while not page.evaluate(expression, argument):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def keep_screenshot(page, name, tmp_path):
    folder = Path(os.environ.get("PNAG_ARTIFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"report-{name}.png", full_page=True)


def luminance(colour):
    """Relative luminance of `rgb(...)` (WCAG 2.2)."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(page, selector, background):
    """Of the text of an element over a background's luminance."""
    style = "(e, name) => getComputedStyle(e)[name]"
    ink = luminance(page.locator(selector).first.evaluate(style, "color"))
    low, high = sorted([ink, background])
    return (high + 0.05) / (low + 0.05)


def digits(value):
    """As pages write latencies: four significant digits."""
    return f"{value:#.4g}"


def saved(page, button):
    """Name and text of the file that a button saves."""
    with page.expect_download() as download:
        button.click()
    path = download.value.path()
    return download.value.suggested_filename, Path(path).read_bytes().decode()
