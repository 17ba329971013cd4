"""The report page in a real browser: Debian's Chromium, through Playwright.

Screenshots go to $PNAG_ARTIFACTS where it is set.
"""

import json
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import ViewportSize, sync_playwright

from pnag.cli.app import run as pnag

CHROMIUM = "/usr/bin/chromium"  # tests/install_debian_packages.sh
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
AA_CONTRAST = 4.5  # WCAG 2.2, 1.4.3


@pytest.fixture(scope="module")
def report(profiled_folder, tmp_path_factory):
    """A report with one network measured at a budget of its own, and its embedded data."""
    folder, run = tmp_path_factory.mktemp("report"), profiled_folder
    points = json.loads((run / "frontier.json").read_text())["points"]
    point = points[len(points) // 2]
    latency_ms, budget_ms = point["latency_ms"], point["latency_ms"] * 1.001
    row = {"arch": point["arch"], "budget_ms": budget_ms, "measured_ms": 1.01 * latency_ms}
    row |= {"measured_ci95_ms": [latency_ms, 1.02 * latency_ms], "verdict": "stable"}
    measured = folder / "measured.json"
    measured.write_text(json.dumps({"rows": [row]}))
    networks = folder / "published.csv"
    networks.write_text("name,latency_ms,top1_pct\n<b>bold</b> & $x$,90,76\nother,80,75\n")
    page = folder / "report.html"
    arguments = ["report", "--run", run, "--out", page, "--measured", measured]
    assert pnag([*map(str, arguments), "--published", str(networks), "--quiet"]) == 0
    return page


@pytest.fixture(scope="module")
def data(report):
    text = report.read_text()
    found = re.search(r'id="report-data">(.*?)</script>', text)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def opened(report):
    """The page, and whatever the browser complained about or asked the network for."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport=DESKTOP, color_scheme="light")
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: complaints.append(f"request: {request.url}"))
        page.goto(report.as_uri())
        page.locator("#frontier .point").first.wait_for()
        assert complaints.pop(0) == f"request: {report.as_uri()}"
        yield page, complaints
        browser.close()


@pytest.fixture
def page(opened):
    """The page; a test fails if the browser complained meanwhile."""
    page, complaints = opened
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light")
    yield page
    assert complaints == []


def keep_screenshot(page, name, tmp_path):
    folder = Path(os.environ.get("PNAG_ARTIFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"report-{name}.png", full_page=True)


def shown(page, what):
    """The value of a fact beside the slider."""
    return page.locator("#result > div", has_text=what).locator("dd").inner_text()


def digits(value):
    """As the page writes latencies: four significant digits."""
    return f"{value:#.4g}"


def test_the_slider_moves_by_keyboard_and_everything_follows(page, data):
    slider = page.get_by_role("slider", name="Latency budget")
    slider.focus()
    seen = set()
    for key, index in [("Home", 0), ("ArrowRight", 1), ("End", -1), ("ArrowLeft", -2)]:
        page.keyboard.press(key)
        choice = data["choices"][index]
        assert page.locator("#budget-value").inner_text() == f"{digits(choice['budget_ms'])} ms"
        assert shown(page, "Predicted").startswith(f"{digits(choice['latency_ms'])} ms")
        assert digits(choice["interval_ms"][1]) in shown(page, "Predicted")
        assert shown(page, "Top-1").startswith(f"{100 * choice['top1']:.2f} %")
        assert page.locator("#arch").inner_text() == choice["arch"]
        assert digits(choice["latency_ms"]) in slider.get_attribute("aria-valuetext")
        picture = page.get_by_role("img", name="Architecture; stage 1").get_attribute("aria-label")
        for stage, depth in enumerate(choice["depths"], start=1):
            assert f"stage {stage}: {depth} blocks" in picture
        blocks = page.locator("#picture svg text", has_text=re.compile("^k[357]$"))
        assert blocks.count() == sum(choice["depths"])
        empty = page.locator("#picture svg rect[stroke-dasharray]")
        assert empty.count() == 5 * 4 - blocks.count()
        rows = page.locator("#cost tbody tr")
        assert rows.count() == len(choice["ops"]) + 1  # and the constant of the calibration
        seen.add(picture)
    assert len(seen) >= 3


def test_costs_add_up_on_the_page(page):
    cells = page.locator("#cost tbody td.number:nth-child(3)").all_inner_texts()
    total = float(page.locator("#cost tfoot td.number").inner_text())
    assert sum(map(float, cells)) == pytest.approx(total, abs=0.0006 * len(cells))


def test_a_measured_budget_shows_what_was_measured(page, data):
    index = max(i for i, choice in enumerate(data["choices"]) if choice["measured"])
    choice = data["choices"][index]
    page.locator("#budget").fill(str(index))
    text = shown(page, "Measured")
    assert text.startswith(f"{digits(choice['measured']['latency_ms'])} ms")
    low, high = choice["measured"]["ci95_ms"]
    assert f"{digits(low)} – {digits(high)} ms" in text
    other = next(i for i, choice in enumerate(data["choices"]) if not choice["measured"])
    page.locator("#budget").fill(str(other))
    assert "not measured" in shown(page, "Measured")


def test_a_click_on_the_frontier_chooses_its_budget(page, data):
    page.locator("#budget").fill("0")
    names = page.evaluate("document.getElementById('frontier').data.map((trace) => trace.name)")
    points = page.locator("#frontier .scatterlayer .trace").nth(names.index("generated"))
    box = points.locator(".point").nth(10).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    chosen = data["choices"][int(page.locator("#budget").input_value())]
    clicked = data["choices"][10]
    assert chosen["latency_ms"] == pytest.approx(clicked["latency_ms"], rel=0.03)  # or the next


def test_the_table_sorts_by_keyboard(page, data):
    table = page.get_by_role("table", name="Ops of the latency table")
    button = table.get_by_role("button", name="ms", exact=True)
    header = table.locator("th", has=page.get_by_role("button", name="ms", exact=True))
    expected = sorted(op["latency_ms"] for op in data["ops"])
    for state, order in [("ascending", 1), ("descending", -1)]:
        button.focus()
        page.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == state
        column = table.locator("tbody td:nth-child(7)").all_inner_texts()
        assert column == [digits(value) for value in expected[::order]]
    assert table.locator("th[aria-sort=descending]").count() == 1


def test_the_table_filters_and_shows_noise_floor_and_verdicts(page, data):
    page.get_by_label("Find").fill("kernel:5 stride:2")
    matching = [op for op in data["ops"] if "kernel:5-stride:2" in op["key"]]
    assert page.locator("#ops tbody tr:visible").count() == len(matching) == 12
    assert page.locator("#filter-count").inner_text() == "12 of 96 ops"
    page.get_by_label("Find").fill("")
    assert page.locator("#ops tbody tr:visible").count() == 96
    floor = data["noise_floor"]
    assert (
        f"{floor['n_repeats']} configurations measured twice" in page.locator("#noise").inner_text()
    )
    assert page.locator("#ops .verdict").all_inner_texts().count("stable") == sum(
        op["verdict"] == "stable" for op in data["ops"]
    )


def test_samples_of_any_op_are_a_button_away(page, data):
    key = data["ops"][40]["key"]
    page.get_by_role("button", name=f"Samples of {key}").press("Enter")
    select = page.get_by_label("Op or network")
    assert select.input_value() == key
    assert select.evaluate("(element) => element === document.activeElement")
    n_samples = sum(len(block) - 3 for trace in data["traces"][key] for block in trace["blocks"])
    drawn = page.evaluate(
        "document.getElementById('trace').data.filter((t) => t.mode === 'markers')"
        ".reduce((n, t) => n + t.y.length, 0)"
    )
    assert drawn == n_samples > 0
    options = select.locator("option").all_inner_texts()
    assert {op["key"] for op in data["ops"]} <= set(options)


def test_names_from_files_are_text(page):
    assert page.locator("b").count() == 0
    names = page.evaluate("document.getElementById('elsewhere-0').data[0].text")
    assert names[0] == "&lt;b&gt;bold&lt;/b&gt; &amp; &#36;x&#36;"
    assert "<b>bold</b> & $x$" in page.locator("#elsewhere-0 text").all_text_contents()
    assert page.locator("#elsewhere h3").inner_text() == "published"


def test_everything_has_a_name(page):
    assert page.locator("[role=img]:not([aria-label])").count() == 0
    for role in ("slider", "button", "combobox", "searchbox", "table", "region"):
        every = page.get_by_role(role)
        assert every.count() == page.get_by_role(role, name=re.compile(r"\w")).count() > 0, role


def luminance(colour):
    """Relative luminance of `rgb(...)` (WCAG 2.2)."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_are_readable(page, scheme, tmp_path):
    page.emulate_media(color_scheme=scheme)
    style = "(e, name) => getComputedStyle(e)[name]"
    background = page.locator(".card").first.evaluate(style, "backgroundColor")
    assert (luminance(background) > 0.5) == (scheme == "light")
    for selector in ("h1", "#budget-help", "#budget-value", "#ops .verdict", "thead th", "#noise"):
        ink = luminance(page.locator(selector).first.evaluate(style, "color"))
        low, high = sorted([ink, luminance(background)])
        assert (high + 0.05) / (low + 0.05) >= AA_CONTRAST, selector
    chart = page.locator("#frontier .xtitle").evaluate(style, "fill")
    assert (luminance(chart) < 0.5) == (scheme == "light")
    keep_screenshot(page, scheme, tmp_path)


def test_a_phone_sees_all_without_scrolling_sideways(page, data, tmp_path):
    page.set_viewport_size(PHONE)
    page.wait_for_function("document.querySelector('#picture svg').viewBox.baseVal.width < 390")
    page.wait_for_function("document.documentElement.scrollWidth === 390")
    choice = data["choices"][int(page.locator("#budget").input_value())]
    rows = page.locator("#picture svg text", has_text=re.compile("^k[357] e[346]$"))
    assert rows.count() == sum(choice["depths"])
    assert page.locator("#frontier").bounding_box()["width"] <= PHONE["width"]
    keep_screenshot(page, "phone", tmp_path)
