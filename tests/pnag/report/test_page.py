"""The page of a run in a browser, with another run beside it."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pnag.cli.app import run as pnag
from tests.pnag.profiled import slower_run
from tests.pnag.report.browser import (
    AA_CONTRAST,
    DESKTOP,
    PHONE,
    contrast,
    digits,
    keep_screenshot,
    luminance,
    opened_page,
    saved,
    wait_until,
)

pytestmark = pytest.mark.slow

SLOWER = 1.04  # the run beside, a month ago


@pytest.fixture(scope="module")
def report(profiled_folder, tmp_path_factory):
    """A report with one network measured at a budget of its own, and a slower run beside it."""
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
    page, before = folder / "report.html", slower_run(run, folder / "before", SLOWER)
    arguments = ["report", "--run", run, "--run", before, "--out", page, "--measured", measured]
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
    with opened_page(report, "#frontier .point") as opened:
        yield opened


@pytest.fixture
def page(opened):
    """The page; a test fails if the browser complained meanwhile."""
    page, complaints = opened
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light", media="screen")
    yield page
    assert complaints == []


def shown(page, what):
    """The value of a fact beside the slider."""
    return page.locator("#result > div", has_text=what).locator("dd").inner_text()


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
        ends = " – ".join(f"{100 * end:.2f} %" for end in choice["top1_interval"])
        assert f"95 %: {ends}" in shown(page, "Top-1")
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
    points.locator(".point").nth(10).scroll_into_view_if_needed()
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
        column = table.locator("tbody td:nth-child(2)").all_inner_texts()
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_are_readable(page, scheme, tmp_path):
    page.emulate_media(color_scheme=scheme)
    style = "(e, name) => getComputedStyle(e)[name]"
    background = page.locator(".card").first.evaluate(style, "backgroundColor")
    assert (luminance(background) > 0.5) == (scheme == "light")
    for selector in (
        "h1", "#dates", "#contents a", "#budget-help", "#budget-value", "#ops .verdict",
        "#verdicts a", "#change-groups-0 .verdict", "thead th", "#noise", ".tools",
    ):  # fmt: skip
        assert contrast(page, selector, luminance(background)) >= AA_CONTRAST, selector
    chart = page.locator("#frontier .xtitle").evaluate(style, "fill")
    assert (luminance(chart) < 0.5) == (scheme == "light")
    keep_screenshot(page, scheme, tmp_path)


def test_a_phone_sees_all_without_scrolling_sideways(page, data, tmp_path):
    page.set_viewport_size(PHONE)
    wait_until(page, "document.querySelector('#picture svg').viewBox.baseVal.width < 390")
    wait_until(page, "document.documentElement.scrollWidth === 390")
    choice = data["choices"][int(page.locator("#budget").input_value())]
    rows = page.locator("#picture svg text", has_text=re.compile("^k[357] e[346]$"))
    assert rows.count() == sum(choice["depths"])
    assert page.locator("#frontier").bounding_box()["width"] <= PHONE["width"]
    keep_screenshot(page, "phone", tmp_path)


# --- The latency table, the contents, dates ---------------------------------------------------


def test_what_a_reader_wants_of_an_op_comes_first_and_stays_in_sight(page):
    headers = page.locator("#ops thead th").all_inner_texts()
    assert [text.split("\n")[0].strip() for text in headers[:4]] == [
        "Op",
        "ms",
        "95 % ±",
        "In network",
    ]
    page.set_viewport_size(PHONE)
    wait_until(page, "document.documentElement.scrollWidth === 390")
    table = page.get_by_role("region", name="Latency table, scrollable")
    op = page.locator("#ops tbody th").first
    before = op.bounding_box()["x"]
    table.evaluate("(element) => { element.scrollLeft = 400; }")
    assert op.bounding_box()["x"] == pytest.approx(before, abs=2)
    assert page.locator("#ops tbody td").first.bounding_box()["x"] < before
    table.evaluate("(element) => { element.scrollLeft = 0; }")


@pytest.mark.parametrize(
    ("words", "matches"),
    [
        ("14x14", lambda op: [14, 14] in (op["input"][:2], op["output"][:2])),
        (
            "14×14 k5",
            lambda op: [14, 14] in (op["input"][:2], op["output"][:2]) and op["kernel"] == 5,
        ),
        ("hard-swish", lambda op: op["activation"] == "hard-swish"),
        ("classifier", lambda op: op["name"] == "classifier"),
    ],
)
def test_find_works_on_what_is_shown(page, data, words, matches):
    page.get_by_label("Find").fill(words)
    expected = sum(map(matches, data["ops"]))
    assert page.locator("#ops tbody tr:visible").count() == expected > 0
    page.get_by_label("Find").fill("")


def test_counts_of_verdicts_are_links_to_these_ops(page, data):
    verdict = data["ops"][0]["verdict"]
    count = sum(op["verdict"] == verdict for op in data["ops"])
    page.get_by_role("link", name=f"{count} {verdict}").press("Enter")
    assert page.get_by_label("Find").input_value() == f"verdict:{verdict}"
    assert page.locator("#ops tbody tr:visible").count() == count
    page.get_by_label("Find").fill("verdict:noisy")
    noisy = sum(op["verdict"] == "noisy" for op in data["ops"])
    assert page.locator("#ops tbody tr:visible").count() == noisy
    page.get_by_label("Find").fill("")


def test_the_contents_lead_to_every_section_and_stay_in_sight(page):
    links = page.get_by_role("navigation", name="Contents").get_by_role("link")
    sections = page.locator("main > section:visible")
    assert links.count() == sections.count() == 7
    for i in range(links.count()):
        links.nth(i).press("Enter")
        name = links.nth(i).get_attribute("href")
        wait_until(
            page,
            "(id) => { const top = document.querySelector(id).getBoundingClientRect().top;"
            " return top >= 0 && top < innerHeight; }", name,
        )  # fmt: skip
        assert links.nth(i).bounding_box()["y"] < 60
    page.evaluate("scrollTo(0, 0)")


def test_dates_say_when_it_was_measured_trained_and_written(page, data):
    assert [what for what, _ in data["dates"]] == ["measured", "trained", "report written"]
    times = page.locator("#dates time").all_inner_texts()
    assert times == [f"{written[:10]} {written[11:16]} UTC" for _, written in data["dates"]]


# --- Budgets ---------------------------------------------------------------------------------


def test_a_typed_budget_gets_the_most_accurate_within_it(page, data):
    choices = data["choices"]
    typed = (choices[5]["latency_ms"] + choices[6]["latency_ms"]) / 2
    page.get_by_label("Or type one, in ms").fill(f"{typed:.5f}")
    best = max((c for c in choices if c["latency_ms"] <= typed), key=lambda c: c["top1"])
    assert page.locator("#arch").inner_text() == best["arch"]
    assert page.locator("#budget-value").inner_text() == f"{digits(typed)} ms"
    line = page.evaluate("document.getElementById('frontier').layout.shapes[0].x0")
    assert line == pytest.approx(typed, abs=1e-5)
    page.get_by_label("Or type one, in ms").fill("0.5")
    low = min(choice["latency_ms"] for choice in choices)
    note = page.locator("#typed-note").inner_text()
    assert note == f"Nothing is within 0.5000 ms; the cheapest takes {digits(low)} ms."
    page.locator("#budget").focus()
    page.keyboard.press("Home")
    assert page.get_by_label("Or type one, in ms").input_value() == ""
    assert page.locator("#budget-value").inner_text() == f"{digits(choices[0]['budget_ms'])} ms"


def test_the_slider_ends_where_the_frontier_does(page, data):
    last = data["generated"]["latency_ms"][-1]
    assert data["choices"][-1]["budget_ms"] == pytest.approx(last, rel=1e-5)
    assert page.locator("#budget-high").inner_text() == f"{digits(last)} ms"


def test_residuals_of_the_table_are_leave_one_out(page, data):
    drawn = page.evaluate(
        "document.getElementById('checks').data.map((t) => [t.name, Array.from(t.y)])"
    )
    fitted = [check for check in data["checks"] if check["fitted"]]
    errors = [100 * (c["measured_ms"] / c["predicted_ms"] - 1) for c in fitted]
    assert dict(drawn)["of the table"] == pytest.approx(errors)
    stated = next(float(text.split()[0]) for name, text in data["facts"] if "error" in name)
    assert np.mean(np.abs(errors)) == pytest.approx(stated, rel=0.06)  # two digits, other base
    assert "fitted to the others" in page.locator("#checks-note").inner_text()


def test_plotly_is_the_basic_bundle(page):
    kinds = page.evaluate("Object.keys(Plotly.PlotSchema.get().traces).sort()")
    assert kinds == ["bar", "pie", "scatter"]


# --- Saving and printing ----------------------------------------------------------------------


def rows_of(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_tables_are_saved_as_csv(page, data):
    name, text = saved(
        page, page.get_by_role("button", name="Save as CSV: Ops of the latency table")
    )
    header, *rows = rows_of(text)
    assert name == "pnag-ops.csv"
    assert header[:4] == ["Op", "ms", "95 % ±", "In network"]
    assert {row[0]: float(row[1]) for row in rows} == {
        op["key"]: op["latency_ms"] for op in data["ops"]
    }


def test_charts_are_saved_as_csv_and_svg(page, data):
    label = "Frontier of accuracy against latency"
    _, text = saved(page, page.get_by_role("button", name=f"Save as CSV: {label}"))
    header, *rows = rows_of(text)
    assert header == ["series", "latency (ms)", "top-1 (%)"]
    generated = [(float(x), float(y)) for name, x, y in rows if name == "generated"]
    expected = [(choice["latency_ms"], 100 * choice["top1"]) for choice in data["choices"]]
    assert np.array(generated) == pytest.approx(np.array(expected))
    name, text = saved(page, page.get_by_role("button", name=f"Save as SVG: {label}"))
    assert name == "pnag-frontier.svg"
    picture = ET.fromstring(text)
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    words = "".join(picture.itertext())
    assert all(word in words for word in ("latency (ms)", "top-1 (%)", "generated", "evolution"))


def test_the_picture_is_saved_with_its_colours(page):
    _, text = saved(page, page.get_by_role("button", name="Save as SVG: the architecture"))
    picture = ET.fromstring(text)
    drawn = page.locator("#picture svg rect").count()
    bars = picture.findall(".//{http://www.w3.org/2000/svg}rect")
    assert len(bars) == drawn > 20
    assert "var(" not in text
    assert {bar.get("fill") for bar in bars} >= {"rgb(217, 115, 13)"}  # what an op costs


def test_paper_has_charts_with_legends_in_its_own_width_and_colours(page):
    page.emulate_media(media="print", color_scheme="dark")
    style = "(e, name) => getComputedStyle(e)[name]"
    chart = page.locator("#frontier .main-svg").first
    wait_until(page, "document.querySelector('#frontier .main-svg').clientWidth === 640")
    assert page.locator("#frontier").bounding_box()["width"] >= chart.bounding_box()["width"]
    assert "generated" in page.locator("#frontier .legend").text_content()
    assert luminance(page.locator("#frontier .xtitle").evaluate(style, "fill")) < 0.2
    assert page.locator(".legend i").first.evaluate(style, "printColorAdjust") == "exact"
    for hidden in ("#contents", ".slider", ".tools"):
        assert not page.locator(hidden).first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF-")
    page.emulate_media(media="screen", color_scheme="light")
    wait_until(page, "document.querySelector('#frontier .main-svg').clientWidth > 900")


# --- Runs side by side ------------------------------------------------------------------------


def test_frontiers_of_runs_are_overlaid(page, data):
    drawn = page.evaluate(
        "document.getElementById('frontiers').data.map((t) => [t.name, Array.from(t.x)])"
    )
    assert [name for name, _ in drawn] == ["run", "before"]
    for (_, latencies), run in zip(drawn, data["runs"], strict=True):
        assert latencies == run["latency_ms"] == sorted(run["latency_ms"])
    note = page.locator("#beside-note").inner_text()
    assert "before: mbv3 width 1 at 224 px on fake 1, measured 2026-10-01" in note


def test_what_changed_since_last_time_has_its_interval(page, data):
    table = page.get_by_role("table", name="Latencies of run over those of before; headers sort")
    first = table.locator("tbody tr").first
    assert first.locator("th").inner_text() == "whole networks"
    assert "−3.85 %" in first.inner_text()  # 1 / 1.04
    (changes,) = data["changes"]
    assert len(changes["ops"]) == 96
    floor = 1 + data["noise_floor"]["p95_pct"] / 100
    for op in changes["ops"]:
        low, high = op["interval"]
        assert op["ratio"] == pytest.approx(1 / SLOWER, rel=1e-4)
        assert low <= op["ratio"] / floor * 1.0001 and high >= op["ratio"] * floor / 1.0001
        assert (op["finding"] == "faster") == (high < 1)


def test_runs_are_compared_at_the_same_budgets(page, data):
    assert len(data["budgets"]) == 8
    for row in data["budgets"]:
        for top1, run in zip(row["top1"], data["runs"], strict=True):
            known = zip(run["latency_ms"], run["top1"], strict=True)
            within = [accuracy for ms, accuracy in known if ms <= row["budget_ms"] * (1 + 1e-5)]
            assert top1 is None or top1 == max(within)
        if row["first_ms"][0] is not None:  # what fits here takes longer there
            assert row["first_ms"][0] <= SLOWER * row["budget_ms"] * (1 + 1e-4)
    page.get_by_text("Top-1 at the same budgets, as a table").click()
    assert page.locator("#budgets-table tbody tr").count() == 8
