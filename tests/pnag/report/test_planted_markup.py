"""Markup in every text that a page is given: none of it reaches the page as elements."""

import json
from importlib.resources import files

import pytest
from playwright.sync_api import sync_playwright

from pnag.report.contents import Sources, gather
from pnag.report.model_page import SCRIPTS as MODEL_SCRIPTS
from pnag.report.model_page import gather_models, models_data
from pnag.report.page import render_page
from pnag.report.run_page import SCRIPTS as RUN_SCRIPTS
from pnag.report.run_page import page_data
from profiler.measuring.journal import Journal, journal_path
from tests.pnag.profiled import SILENT, slower_run
from tests.pnag.report.browser import ARGUMENTS, CHROMIUM, opened_page
from tests.profiler.measuring.test_model_files import SHORT, FakeModels, measured, model

pytestmark = pytest.mark.slow

PLANTED = (
    '</script></title><img src=x onerror="planted = 1"><svg onload="planted = 1"></svg>'
    '<a href="javascript:planted = 1" data-planted>a</a><b data-planted>b</b> %{x} $x$'
)
KEYED_BY_DATA = {"elsewhere", "failures", "traces"}
FOUND = "document.querySelectorAll('img, [onerror], [onload], [data-planted]').length"
LINKS = "[...document.links].filter((a) => !a.hash).length"


def planted(value, within=""):
    """A document with markup after every text in it, and after every key that is data."""
    if isinstance(value, str):
        return value + PLANTED
    if isinstance(value, list | tuple):
        return [planted(one) for one in value]
    if isinstance(value, dict):
        added = PLANTED if within in KEYED_BY_DATA else ""
        return {key + added: planted(one, key) for key, one in value.items()}
    return value


def texts(value):
    """How many there are in a document."""
    if isinstance(value, dict):
        return sum(map(texts, value.values()))
    return sum(map(texts, value)) if isinstance(value, list | tuple) else isinstance(value, str)


def run_page(folder, tmp_path):
    networks = tmp_path / "published.csv"
    networks.write_text("name,latency_ms,top1_pct,device\none,90,76,phone\n")
    before = slower_run(folder, tmp_path / "before", 1.04)
    contents = gather(folder, Sources(published=[networks]), SILENT, [before], n_budgets=4)
    return "run", RUN_SCRIPTS, page_data(contents), "#frontier .point"


def model_page(folder, tmp_path):
    path = tmp_path / "models.json"
    models = [(model("a.onnx"), 1), (model("b.onnx"), 1)]
    with Journal(journal_path(path)) as journal:
        report = measured(
            FakeModels({"a.onnx": 10.0, "b.onnx": 12.0}), *models, journal=journal, protocol=SHORT
        )
    path.write_text(json.dumps(report.as_dict()))
    return "models", MODEL_SCRIPTS, models_data(gather_models(path, None, SILENT)), "#time .point"


@pytest.mark.parametrize("made", [run_page, model_page])
def test_no_text_of_a_report_is_markup(profiled_folder, tmp_path, made):
    kind, scripts, data, drawn = made(profiled_folder, tmp_path)
    document = planted(data)
    assert texts(document) > 50
    path = tmp_path / "page.html"
    path.write_text(render_page(document["title"], kind, scripts, document))
    with opened_page(path, drawn) as (page, complaints):
        for details in page.locator("details").all():
            details.locator("summary").first.click()
        assert page.evaluate(FOUND) == page.evaluate(LINKS) == 0
        assert page.evaluate("typeof planted") == "undefined"
        assert page.title() == f"{document['title']} · pnag"
        assert page.locator("h1").text_content() == document["title"]
        assert page.inner_text("main").count(PLANTED) > 10
        assert complaints == []


def test_no_text_of_the_services_answers_is_markup():
    """The page as it is served, with answers that a run of a hostile table could give."""
    answers = {
        "/health": {"space": PLANTED, "reachable_ms": [1, 9], "bounds": {PLANTED: PLANTED}},
        "/generate": {"results": [planted({
            "arch": "2,3", "latency_ms": 3, "interval_ms": None, "top1": 0.7, "ofa": {"d": ["2"]},
            "costs": {"latency": {}, PLANTED: {"value": 2, "unit": "mJ", "interval": None,
                                               "bound": 4, "used": 0.5}},
        })]},
    }  # fmt: skip
    text = files("pnag.serve").joinpath("page.html").read_text(encoding="utf-8")

    def answer(route):
        path = "/" + route.request.url.rpartition("/")[2]
        if path in answers:
            route.fulfill(json=answers[path])
        else:
            route.fulfill(body=text, content_type="text/html")

    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS).new_page()
        page.route("**/*", answer)
        page.goto("http://pnag.example/")
        page.get_by_text("on nothing is gained").wait_for()
        page.get_by_role("button").click()
        page.get_by_text("2,3").wait_for()
        assert page.evaluate(FOUND) == page.evaluate(LINKS) == 0
        assert page.evaluate("typeof planted") == "undefined"
        assert page.inner_text("main").count("onerror") == 7
        page.route("**/generate", lambda route: route.fulfill(status=409, json={"detail": PLANTED}))
        page.get_by_role("button").click()
        page.get_by_text("onerror").first.wait_for()
        assert page.evaluate(FOUND) == 0
