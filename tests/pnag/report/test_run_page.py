"""The page of a run in a browser, with data that the run at hand does not have."""

import json
import re

import pytest

from pnag.cli.app import run as pnag
from tests.pnag.report.browser import digits, opened_page

pytestmark = pytest.mark.slow

DATA = re.compile(r'(?<=id="report-data">).*?(?=</script>)')


@pytest.fixture(scope="module")
def report(profiled_folder, tmp_path_factory):
    page = tmp_path_factory.mktemp("report") / "report.html"
    assert pnag(["report", "--run", str(profiled_folder), "--out", str(page), "--quiet"]) == 0
    return page


def changed(report, path, change):
    """The page with other data."""
    text = report.read_text()
    found = DATA.search(text)
    assert found
    data = json.loads(found[0])
    change(data)
    path.write_text(DATA.sub(lambda _: json.dumps(data), text))
    return path


def test_a_network_without_stages_is_no_stem(report, tmp_path):
    def change(data):
        for choice in data["choices"]:
            choice.update(n_stem_ops=len(choice["ops"]), room=[], depths=[], expands=[])

    path = changed(report, tmp_path / "page.html", change)
    with opened_page(path, "#frontier .point") as (page, complaints):
        texts = page.locator("#picture svg text").all_text_contents()
        assert "Network" in texts
        assert "1000 classes" in texts
        rows = page.locator("#cost tbody th").all_inner_texts()
        assert not [text for text in [*texts, *rows] if "Stem" in text]
        label = page.locator("#picture svg").get_attribute("aria-label")
        assert re.search(r"Architecture; [0-9]+ ops\. Costs", label)
        assert complaints == []


def test_samples_of_a_network_stand_beside_the_table_s_value(report, tmp_path):
    """Not beside what was measured of it later."""

    def change(data):
        (first, *_) = (check for check in data["checks"] if check["arch"] in data["traces"])
        data["checks"].insert(0, first | {"fitted": False, "measured_ms": 3 * first["measured_ms"]})

    path = changed(report, tmp_path / "page.html", change)
    found = DATA.search(path.read_text())
    assert found
    later, *checks = json.loads(found[0])["checks"]
    (of_table,) = (check for check in checks if check["arch"] == later["arch"])
    with opened_page(path, "#frontier .point") as (page, _):
        page.locator("#sample").select_option(later["arch"])
        assert (
            f"the table’s {digits(of_table['measured_ms'])} ms"
            in page.locator("#sample-note").inner_text()
        )


def test_costs_add_up_where_the_device_waits_for_launches(report, tmp_path):
    def change(data):
        for choice in data["choices"]:
            choice["latency_ms"] += 100
            choice["waiting_ms"] = 100

    path = changed(report, tmp_path / "page.html", change)
    with opened_page(path, "#frontier .point") as (page, _):
        *_, last = page.locator("#cost tbody tr").all()
        assert "waiting for launches" in last.inner_text()
        assert last.locator("td.number").first.inner_text() == "100.000"
        cells = page.locator("#cost tbody td.number:nth-child(3)").all_inner_texts()
        total = float(page.locator("#cost tfoot td.number").inner_text())
        assert sum(map(float, cells)) == pytest.approx(total, abs=0.0006 * len(cells))
        card = page.locator("#cost").evaluate("(e) => e.getBoundingClientRect().right")
        bars = page.locator("#cost .bar")
        assert bars.count() > 1
        assert all(
            box["x"] + box["width"] <= card for one in bars.all() if (box := one.bounding_box())
        )


def test_a_search_that_is_better_than_all_choices_is_in_sight(report, tmp_path):
    def change(data):
        points = data["baselines"]["evolution"]
        points["latency_ms"].append(data["reachable_ms"][1])
        points["top1"].append(0.99)

    path = changed(report, tmp_path / "page.html", change)
    with opened_page(path, "#frontier .point") as (page, _):
        low, high = page.evaluate("Array.from(byId('frontier').layout.yaxis.range)")
        assert low < 99 < high
