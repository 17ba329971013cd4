"""The page of measured model files in a browser."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pnag.cli.app import run as pnag
from pnag.report.model_page import gather_models, models_data
from profiler.measuring.journal import Journal
from profiler.measuring.model_files import read_model_report
from profiler.tables.levels import Change, Load
from profiler.terminal import Terminal
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
from tests.profiler.measuring.test_model_files import SHORT, FakeModels, measured, model

pytestmark = pytest.mark.slow


NAME = "<i>b$&amp;.onnx"
LOAD = Load(
    minutes=3,
    times_s=(0.0, 60.0, 120.0, 175.0),
    ratios=(1.0, 1.002, 1.21, 1.19),
    temperatures_c=(30.1, None, 35.4, 38.0),
    clocks_mhz=(None,) * 4,
    changes=(Change(120.0, 1.2),),
    end_ratio=1.2,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three models, the second a fifth slower, the third in two threads, and their journal."""
    path = tmp_path_factory.mktemp("models") / "compared.json"
    device = FakeModels({"a.onnx": 10.0, NAME: 12.0})
    models = [(model("a.onnx"), 1), (model(NAME), 1), (model("a.onnx"), 2)]
    with Journal(path.with_name("compared.journal.sqlite")) as journal:
        report = measured(device, *models, journal=journal, protocol=SHORT)
    report = replace(report, load=LOAD)
    path.write_text(json.dumps(report.as_dict()))
    return path


@pytest.fixture(scope="module")
def opened(results):
    page = results.with_name("page.html")
    assert pnag(["report", "--models", str(results), "--out", str(page), "--quiet"]) == 0
    with opened_page(page, "#time .point") as opened:
        yield opened


@pytest.fixture
def page(opened):
    page, complaints = opened
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light", media="screen")
    yield page
    assert complaints == []


@pytest.fixture(scope="module")
def report(results):
    return read_model_report(results)


def test_every_model_has_its_latency_and_what_it_is_compared_with(page, report):
    rows = page.locator("#latencies tbody tr")
    names = ["a.onnx", NAME, "a.onnx, 2 threads"]
    assert rows.locator("th").all_inner_texts() == names
    shown = page.locator("#latencies tbody td:nth-child(2)").all_inner_texts()
    assert shown == [digits(one.latency_ms) for one in report.results]
    findings = page.locator("#comparisons .verdict").all_inner_texts()
    assert findings == [one.finding for one in report.comparisons] == ["slower", "faster"]
    ends = page.evaluate(
        "(({ x, error_x }) => x.map((x, i) => [x - error_x.arrayminus[i], x + error_x.array[i]]))"
        "(document.getElementById('comparison').data[0])"
    )
    expected = [[100 * (end - 1) for end in one.interval] for one in report.comparisons]
    assert np.array(ends) == pytest.approx(np.array(expected), abs=1e-3)


def test_distributions_stand_side_by_side_on_axes_of_one_span(page, report):
    charts = [f"distribution-{i}" for i in range(3)]
    counted = "(id) => document.getElementById(id).data[0].y.reduce((a, b) => a + b)"
    assert [page.evaluate(counted, one) for one in charts] == [r.n_samples for r in report.results]
    axis = "(id) => Array.from(document.getElementById(id).layout.xaxis.range)"
    spans = [
        np.array(page.evaluate(axis, one)) / result.latency_ms
        for one, result in zip(charts, report.results, strict=True)
    ]
    assert np.ptp(spans, axis=0) == pytest.approx([0, 0], abs=1e-4)
    boxes = [page.locator(f"#{one}").bounding_box() for one in charts]
    assert len({box["y"] for box in boxes}) == 1  # beside each other, and no wider than their cards
    for one, box in zip(charts, boxes, strict=True):
        assert page.locator(f"#{one} .main-svg").first.bounding_box()["width"] <= box["width"] + 1


def test_where_the_time_goes_adds_up_to_the_latency(page, report):
    sums = page.evaluate(
        "document.getElementById('kinds').data.map((t) => t.y.reduce((a, b) => a + b))"
    )
    assert sums == pytest.approx([one.latency_ms for one in report.results], rel=1e-4)
    page.get_by_text("4 ops of a.onnx", exact=True).click()
    assert page.locator("#model-ops-0 tbody th").all_inner_texts() == ["conv", "add ×3"]
    shares = page.locator("#model-ops-0 tbody td:nth-child(4)").all_inner_texts()
    assert shares == ["75.0 %", "25.0 %"]


def test_a_sustained_load_is_drawn_with_its_change_and_what_the_device_told(page):
    drawn = "(id) => document.getElementById(id).data.map((t) => [[...t.x], [...t.y]])"
    minutes = [time / 60 for time in LOAD.times_s]
    ((x, y),) = page.evaluate(drawn, "load")
    assert x == pytest.approx(minutes, rel=1e-5)
    assert y == pytest.approx([0, 0.2, 21, 19], abs=1e-4)
    assert page.evaluate(drawn, "load-temperature")[0][1] == list(LOAD.temperatures_c)
    assert page.locator("#load-clock").count() == 0  # nothing told it
    level = page.evaluate("document.getElementById('load').layout.shapes.at(-1)")
    assert (level["x0"], level["x1"]) == pytest.approx((2, 175 / 60), rel=1e-4)
    assert level["y0"] == level["y1"] == pytest.approx(20)
    note = page.locator("#load-note").inner_text()
    assert "The level changed at 2.0 min to +20.00 %. At the end it is +20.00 %." in note


def test_latency_over_time_is_every_sample_relative_to_the_latency(page, report):
    drawn = page.evaluate(
        "document.getElementById('time').data.filter((t) => t.mode === 'markers')"
        ".map((t) => [Array.from(t.x), Array.from(t.y)])"
    )
    for (times, values), result in zip(drawn, report.results, strict=True):
        assert len(values) == len(times) == result.n_samples
        assert np.median(values) == pytest.approx(
            100 * (result.median_ms / result.latency_ms - 1), abs=0.1
        )
    assert "canary" in page.evaluate("document.getElementById('time').data.map((t) => t.name)")


def test_names_of_files_are_text_and_everything_is_saved(page):
    assert page.locator("main i").count() == 0
    name, text = saved(page, page.get_by_role("button", name="Save as CSV: Latency of each model;"))
    assert name == "pnag-latencies.csv"
    assert text.splitlines()[2].startswith(f"{NAME},")
    assert page.get_by_role("button", name="Save as SVG").count() == page.locator(".chart").count()


def test_what_charts_save_has_names_as_files_have_them(page):
    for chart, column in (("comparison", 2), ("kinds", 0), ("time", 0), ("distribution-1", 0)):
        _, text = saved(page, page.locator(f"#{chart}-tools button", has_text="CSV"))
        assert NAME in [line.split(",")[column] for line in text.splitlines()]
    _, text = saved(page, page.locator("#comparison-tools button", has_text="CSV"))
    assert text.startswith("series,latency over a.onnx (%),")


def test_files_of_one_name_are_told_apart_in_title_and_hashes(tmp_path):
    device = FakeModels({"net.onnx": 10.0})
    models = [(model("a/net.onnx"), 1), (model("b/net.onnx"), 1), (model("b/net.onnx"), 2)]
    path = tmp_path / "compared.json"
    path.write_text(json.dumps(measured(device, *models, protocol=SHORT).as_dict()))
    gathered = gather_models(path, None, Terminal(quiet=True))
    assert gathered.title == "a/net.onnx and b/net.onnx on fake 0"
    groups = dict(models_data(gathered)["provenance"])
    assert groups["Files (SHA-256)"] == [
        ["a/net.onnx", "sha of a/net.onnx"], ["b/net.onnx", "sha of b/net.onnx"]
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_is_readable_at_both_widths_in_both_schemes(page, size, scheme, tmp_path):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    wait_until(page, f"document.documentElement.scrollWidth === {size['width']}")
    style = "(e, name) => getComputedStyle(e)[name]"
    card = luminance(page.locator(".card").first.evaluate(style, "backgroundColor"))
    assert (card > 0.5) == (scheme == "light")
    for selector in ("h1", "#contents a", "#comparisons .verdict", "thead th", ".tools"):
        assert contrast(page, selector, card) >= AA_CONTRAST, selector
    keep_screenshot(page, f"models-{size['width']}-{scheme}", tmp_path)


def test_without_a_journal_there_is_a_page_without_samples(results, tmp_path, capsys):
    alone, page = tmp_path / "alone.json", tmp_path / "alone.html"  # beside it by default
    alone.write_text(results.read_text())
    assert pnag(["report", "--models", str(alone)]) == 0
    assert "no raw samples" in capsys.readouterr().err
    assert '"traces":[]' in page.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"results": []}', "was not written by pnag profile --model"),
        ("[]", "was not written by pnag profile --model"),
        ("{", "is not JSON"),
    ],
)
def test_other_files_are_refused_in_one_line(text, message, tmp_path, capsys):
    path, page = tmp_path / "other.json", tmp_path / "page.html"
    path.write_text(text)
    assert pnag(["report", "--models", str(path), "--out", str(page)]) == 2
    assert message in capsys.readouterr().err
    assert not page.exists()


def test_numbers_that_no_measurement_gives_are_refused(results, tmp_path, capsys):
    path = tmp_path / "wrong.json"
    document = json.loads(results.read_text())
    document["results"][1]["latency_ms"] = -1.0
    path.write_text(json.dumps(document))
    assert pnag(["report", "--models", str(path), "--out", str(tmp_path / "page.html")]) == 2
    assert "the latency lies outside its interval" in capsys.readouterr().err


def test_a_report_is_of_runs_or_of_models(results, capsys):
    both = ["report", "--models", str(results), "--run", "r", "--out", "o.html"]
    assert pnag(both) == 2
    assert "give --run DIR or --models FILE" in capsys.readouterr().err
    figures = ["report", "--models", str(results), "--figures", str(Path("f"))]
    assert pnag(figures) == 2
    assert "are for a --run" in capsys.readouterr().err
